"""The pipeline's hooks as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.contract import Lane
from patter_core.engines.policy import HandlerSpec, HookSpecs
from patter_core.errors import ConfigError
from patter_core.lanes import lane_of
from patter_core.pipeline_hooks import HookContext, PipelineHooks, resolve_hooks

CONTEXT = {"call_id": "CA1", "caller": "+15550100001", "callee": "+15550001234", "history": [{"role": "user"}], "x": 1}


class Table(dict[str, Any]):
    def name(self, key: str, handler: Any) -> HandlerSpec:
        self[key] = handler
        return HandlerSpec("me:" + key, lane_of(handler))


def test_none_is_none() -> None:
    assert resolve_hooks(None, Table().name) == HookSpecs()
    assert resolve_hooks(PipelineHooks(), Table().name) == HookSpecs()
    assert resolve_hooks({}, Table().name) == HookSpecs()


def test_a_hook_gets_its_context_as_an_object() -> None:
    table = Table()
    seen: list[Any] = []

    def after_transcribe(text: str, context: HookContext) -> str:
        seen.append(context)
        return text.upper()

    specs = resolve_hooks(PipelineHooks(after_transcribe=after_transcribe), table.name)
    assert specs == HookSpecs(after_transcribe=HandlerSpec("me:hook:after_transcribe", Lane.THREAD))
    assert table["hook:after_transcribe"]("hi", CONTEXT) == "HI"
    assert seen == [HookContext("CA1", "+15550100001", "+15550001234", [{"role": "user"}])]
    assert seen[0]["caller"] == seen[0].caller
    with pytest.raises(KeyError):
        seen[0]["x"]


def test_it_runs_where_its_function_belongs() -> None:
    table = Table()

    async def before_llm(messages: list[Any], context: HookContext) -> list[Any]:
        return messages

    async def after_llm(text: str) -> Any:
        yield text

    specs = resolve_hooks(
        {"before_llm": before_llm, "after_llm": after_llm, "before_synthesize": str.strip}, table.name
    )
    assert specs.before_llm == HandlerSpec("me:hook:before_llm", Lane.LOOP)
    assert specs.after_llm == HandlerSpec("me:hook:after_llm", Lane.LOOP)
    assert specs.before_synthesize == HandlerSpec("me:hook:before_synthesize", Lane.THREAD)
    assert table["hook:before_synthesize"](" x ", CONTEXT) == "x"
    waiting = table["hook:before_llm"]([1], CONTEXT)
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    assert done.value.value == [1]


@pytest.mark.parametrize(
    ("hook", "wants_context"),
    [
        (lambda value: [value], False),
        (lambda value, context: [value, context], True),
        (lambda value, context=None: [value, context], True),
        (lambda value, strict=False: [value, strict], False),
        (lambda *all: list(all), True),
    ],
)
def test_the_context_may_be_left_out(hook: Any, wants_context: bool) -> None:
    table = Table()
    resolve_hooks(PipelineHooks(after_llm=hook), table.name)
    got = table["hook:after_llm"]("x", {})
    assert got[0] == "x"
    assert (HookContext("", "", "") in got) == wants_context


@pytest.mark.parametrize("hook", ["before_send_to_stt", "after_synthesize"])
def test_the_audio_hooks_are_refused_with_a_reason(hook: str) -> None:
    with pytest.raises(ConfigError, match="every") as caught:
        PipelineHooks(**{hook: lambda audio: audio})
    assert hook in str(caught.value)
    assert "stt=" in str(caught.value) or "tts=" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"after_llm": "x"}, "must be a function"),
        ({"after_llm": lambda: 1}, "must be a function"),
        ({"after_llm": lambda a, b, c: 1}, "must be a function"),
        ({"after_lunch": len}, "there are after_transcribe"),
        ([len], "takes PipelineHooks"),
    ],
)
def test_refused_with_advice(given: Any, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_hooks(given, Table().name)
    assert advice in str(caught.value)
