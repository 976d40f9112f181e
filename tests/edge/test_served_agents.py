"""Agents of ``phone.call(agent=...)``: resolved once for a server, and again for the next one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import patter_asyncio
from patter_core.config import AgentSpec, PipelineSpec
from patter_core.providers.keys import Resolving

phone = patter_asyncio.Patter(carrier=patter_asyncio.Twilio("AC" + "0" * 32, "token"), environ={})


def an_app() -> Any:
    return SimpleNamespace(callbacks={"on_message": print}, handlers={}, resolving=Resolving({}))


def served(app: Any, **options: Any) -> AgentSpec:
    return phone._served(app, phone.agent(tts=PARTS["tts"], **options))


PARTS = {"tts": lambda text: b""}


def test_agents_of_the_same_parts_share_a_place_in_the_table() -> None:
    phone._forget()
    app = an_app()
    one, two = served(app, first_message="One."), served(app, first_message="Two.")
    assert one.engine == two.engine
    assert (one.first_message, two.first_message) == ("One.", "Two.")
    assert len(app.handlers) == 2


def test_what_is_resolved_differently_is_not_shared() -> None:
    phone._forget()
    app = an_app()
    assert served(app, fallback_message="Oh.").engine != served(app).engine
    llm = patter_asyncio.OpenAILLM("key")
    assert served(app, llm=llm).tools != served(app, llm=llm, built_in_tools=False).tools


def test_the_next_server_has_its_own_table() -> None:
    phone._forget()
    served(an_app())
    phone._forget()  # that server has stopped
    app = an_app()
    spec = served(app)
    assert isinstance(spec.engine, PipelineSpec)
    assert {stage.handler.name for stage in (*spec.engine.brain, *spec.engine.voice)} <= set(app.handlers)  # type: ignore[union-attr]
