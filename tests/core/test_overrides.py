"""What ``on_call_start`` may change, and what of it is ignored and said so."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.call.payloads import apply_override
from patter_core.config import AgentSpec, EchoSpec, PipelineSpec
from patter_core.engines.elevenlabs_convai.options import ElevenLabsConvAISpec
from patter_core.engines.openai_realtime.options import OpenAIRealtimeSpec
from patter_core.engines.policy import HandlerSpec, ToolSpec
from patter_core.providers.chat.options import ChatSpec
from patter_core.providers.local import CallableBrain, CallableVoice

VOICE = (CallableVoice(HandlerSpec("tts")),)
TOOLS = (ToolSpec(name="book"), ToolSpec(name="cancel"), ToolSpec(name="end_call", built_in="end_call"))


def override(engine: Any, value: Any, **agent: Any) -> tuple[AgentSpec, list[tuple[str, str]]]:
    return apply_override(AgentSpec(engine=engine, **agent), value)


def test_texts_and_variables() -> None:
    given = {"system_prompt": "p", "first_message": "f", "language": "de", "voice": "v", "variables": {"a": 1}}
    agent, ignored = override(EchoSpec(), given, variables={"a": "0", "b": "2"})
    assert ignored == []
    assert (agent.system_prompt, agent.first_message, agent.language, agent.voice) == ("p", "f", "de", "v")
    assert agent.variables == {"a": "1", "b": "2"}


def test_the_model_of_an_engine_and_of_a_pipeline() -> None:
    agent, ignored = override(OpenAIRealtimeSpec(model="m", auth="openai"), {"model": "other"})
    assert ignored == []
    assert isinstance(agent.engine, OpenAIRealtimeSpec)
    assert agent.engine.model == "other"
    chat = ChatSpec(provider="openai", base_url="https://api.openai.com/v1", model="m")
    agent, ignored = override(PipelineSpec(brain=(chat, chat), voice=VOICE), {"model": "other"})
    assert ignored == []
    assert isinstance(agent.engine, PipelineSpec)
    assert [brain.model for brain in agent.engine.brain if isinstance(brain, ChatSpec)] == ["other", "m"]


@pytest.mark.parametrize(
    "engine",
    [
        EchoSpec(),
        ElevenLabsConvAISpec(agent_id="a"),
        PipelineSpec(brain=(CallableBrain(HandlerSpec("r")),), voice=VOICE),
    ],
)
def test_where_there_is_no_model_to_choose(engine: Any) -> None:
    agent, ignored = override(engine, {"model": "other"})
    assert agent.engine == engine
    assert [key for key, _ in ignored] == ["model"]


def test_fewer_tools_but_never_others() -> None:
    agent, ignored = override(EchoSpec(), {"tools": ["cancel"]}, tools=TOOLS)
    assert ignored == []
    assert [tool.name for tool in agent.tools] == ["cancel", "end_call"]
    agent, ignored = override(EchoSpec(), {"tools": ["cancel", "pay"]}, tools=TOOLS)
    assert agent.tools == TOOLS
    assert ignored == [("tools", "names of the agent's own tools; it has no pay")]


@pytest.mark.parametrize("value", [5, "x", [1]])
def test_what_is_no_dict_changes_nothing(value: Any) -> None:
    agent, ignored = override(EchoSpec(), value)
    assert agent == AgentSpec(engine=EchoSpec())
    assert len(ignored) == 1


def test_other_keys_are_named() -> None:
    _, ignored = override(EchoSpec(), {"stt": "x", "voice": 5})
    assert [key for key, _ in ignored] == ["stt", "voice"]
