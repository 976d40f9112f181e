"""The brain over Anthropic's messages, against a service that checks what it is asked, in virtual time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from patter_core.call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted
from patter_core.contract import Fault
from patter_core.engines.engine import CallTool, StageFailed, ToolAnswered
from patter_core.engines.stages import Lost, Question, Replied
from patter_core.errors import ConfigError
from patter_core.providers.anthropic import AnthropicBrain, AnthropicLLM, AnthropicSpec
from patter_core.providers.events import SseReader
from patter_core.providers.keys import Resolving
from patter_core.settings import CallSettings
from patter_core.simulator.llm_peer import AnthropicPeer, LlmAnswer, ToolUse
from patter_core.simulator.provider_peer import PeerBody
from tests.core.brain_kit import Talk, ask, context

KEY = "sk-ant-secret"
HELLO = LlmAnswer(text=("Hel", "lo the", "re."), usage=(100, 60, 5))
WEATHER = ToolUse("toolu_1", "weather", '{"city":"Paris"}')
SPEC = AnthropicSpec(auth="", model="m", base_url="http://x")


def talk(*script: LlmAnswer, option: AnthropicLLM | None = None, prompt: str = "Be brief.", **more: Any) -> Talk:
    resolving = Resolving({"ANTHROPIC_API_KEY": KEY})
    spec = (option or AnthropicLLM()).resolve(resolving)
    brain = AnthropicBrain(spec, "reply:", context(prompt), CallSettings())
    return Talk(brain, lambda n: AnthropicPeer(script, n, KEY), secrets=resolving.secrets, **more)


def sunny(call: CallTool) -> ToolAnswered:
    return ToolAnswered(call.call, '{"sky":"sunny"}')


def bodies(one: Talk) -> list[dict[str, Any]]:
    return [msgspec.json.decode(fetch.body) for fetch in one.fetches]


def test_a_reply_is_streamed_and_accounted_for() -> None:
    one = talk(HELLO)
    one.reply(ask("Hi"))
    assert one.gist == ["text:Hello there.", "used:40/60/5", "Replied"]
    one.end()


def test_the_request_is_what_anthropic_takes() -> None:
    option = AnthropicLLM(max_tokens=300, temperature=0.5, extra={"top_k": 5}, headers={"anthropic-beta": "x"})
    one = talk(HELLO, option=option)
    one.reply(ask("Hi"))
    (fetch,) = one.fetches
    assert (fetch.method, fetch.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert {("anthropic-version", "2023-06-01"), ("anthropic-beta", "x")} <= set(fetch.headers)
    assert KEY not in repr(fetch)
    (body,) = bodies(one)
    TypeAdapter(MessageCreateParamsStreaming).validate_python(body)
    assert body == {
        "model": "claude-haiku-4-5",
        "max_tokens": 300,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [
            {
                "name": "weather",
                "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                "description": "The weather in a city.",
            },
            {"name": "end_call", "input_schema": {"type": "object"}},
        ],
        "temperature": 0.5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "top_k": 5,
    }


def test_the_prompt_need_not_be_cached_nor_be_there() -> None:
    one = talk(HELLO, option=AnthropicLLM(cache_prompt=False))
    one.reply(ask("Hi"))
    assert bodies(one)[0]["system"] == [{"type": "text", "text": "Be brief."}]
    one = talk(HELLO, prompt="")
    one.reply(ask("Hi"))
    assert "system" not in bodies(one)[0]


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


@pytest.mark.parametrize(
    "said",
    [
        [("assistant", "Welcome!"), ("user", "Hi")],
        [("user", "Hi"), ("user", "Are you there?")],
        [("assistant", "a"), ("assistant", "b"), ("user", "c"), ("user", "d")],
        [("user", "Hi"), ("assistant", "  "), ("user", "You there?")],
        [("system", "A hook's word."), ("user", "Hi")],
        [("user", "Hi"), ("assistant", "It ends with us")],
        [],
    ],
)  # fmt: skip
def test_roles_alternate_beginning_with_the_user(said: list[tuple[str, str]]) -> None:
    one = talk(HELLO)
    messages = tuple({"role": role, "content": text} for role, text in said)
    one.reply(Question("Hi", messages, {}))
    assert one.peers[0].refused == ""
    assert one.text == "Hello there."
    (body,) = bodies(one)
    TypeAdapter(MessageCreateParamsStreaming).validate_python(body)
    sent = msgspec.json.encode(body).decode()
    assert all(text in sent for _, text in said if text.strip())


def test_tools_in_parallel_then_the_answer() -> None:
    both = (WEATHER, ToolUse("toolu_2", "weather", '{"city":"Rome"}'))

    def tool(call: CallTool) -> ToolAnswered:
        return ToolAnswered(call.call, "no such city", error=True) if "Rome" in call.arguments else sunny(call)

    first = LlmAnswer(text=("One moment.",), tools=both, thoughts=("I should ", "look."))
    one = talk(first, LlmAnswer(text=("Sunny.",)), tool=tool)
    one.reply(ask("Weather?"))
    assert one.gist == [
        "text:One moment.", "used:120/0/20", 'tool:weather:{"city":"Paris"}', 'tool:weather:{"city":"Rome"}',
        "text: Sunny.", "used:120/0/20", "Replied",
    ]  # fmt: skip
    TypeAdapter(MessageCreateParamsStreaming).validate_python(bodies(one)[1])
    assert bodies(one)[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": '{"sky":"sunny"}'},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True},
            ],
        },
    ]


def test_a_tool_without_arguments_and_a_quiet_one() -> None:
    one = talk(LlmAnswer(tools=(ToolUse("t", "end_call", ""),)), tool=lambda c: ToolAnswered(c.call, "", quiet=True))
    one.reply(ask("Bye"))
    assert one.gist == ["used:120/0/20", "tool:end_call:{}", "Replied"]
    one.reply(ask("Bye", "Bye!", "One more thing"))
    assert one.peers[1].refused == ""


def test_results_come_first_when_the_caller_spoke_before_the_answer() -> None:
    one = talk(LlmAnswer(tools=(WEATHER,)), HELLO)
    one.reply(ask("Weather?"))
    one.stop()
    messages = ({"role": "user", "content": "Weather?"}, {"role": "user", "content": "Hello?"})
    one.reply(Question("Hello?", messages, {}))
    assert one.peers[1].refused == ""
    last = bodies(one)[1]["messages"][-1]["content"]
    assert [block["type"] for block in last] == ["tool_result", "text"]
    one.answer(ToolAnswered(one.of(CallTool)[0].call, "sunny"))
    one.reply(
        Question("So?", (*messages, {"role": "assistant", "content": "x"}, {"role": "user", "content": "So?"}), {})
    )
    assert "sunny" in one.fetches[2].body.decode()
    assert one.peers[2].refused == ""


def test_what_was_spent_until_the_caller_barged_in_is_accounted_for() -> None:
    one = talk(HELLO)
    one.start(ask("Hi"))
    one.run(0.35)
    one.stop()
    assert one.gist[-1] == "used:40/60/1"
    assert isinstance(one.wire[-1], Drop)
    one.end()


def test_what_was_written_to_the_cache_was_input() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 1000, "cache_read_input_tokens": 7, "output_tokens": 1}
    brain = AnthropicBrain(SPEC, "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(0, FetchStarted("b1", 200, {}))
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    ]
    for event in events:
        brain.handle(0, FetchGot("b1", b"data: " + msgspec.json.encode(event) + b"\n\n"))
    used = brain.handle(0, FetchGot("b1", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'))[0]
    assert (used.usage.input_text, used.usage.cached_text, used.usage.output_text) == (1005, 7, 9)  # type: ignore[union-attr]


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, "authentication_error", "ANTHROPIC_API_KEY"),
        (403, "permission_error", "claude-haiku-4-5"),
        (404, "not_found_error", "model='claude-haiku-4-5'"),
        (402, "billing_error", "billing"),
    ],
)
def test_what_will_not_get_better_loses_the_brain_at_once(status: int, kind: str, words: str) -> None:
    one = talk(LlmAnswer(status=status, code=kind, message="No."))
    one.reply(ask("Hi"))
    assert one.gist == ["Lost"]
    assert words in one.of(Lost)[0].detail


def test_an_empty_account_is_not_a_bad_request_and_a_spent_limit_is_not_haste() -> None:
    one = talk(LlmAnswer(status=400, code="invalid_request_error", message="Your credit balance is too low."))
    one.reply(ask("Hi"))
    assert one.gist == ["Lost"]
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "x" * 400,
                                       "details": {"error_code": "enforced_spend_limit_reached"}}}  # fmt: skip
    brain = AnthropicBrain(SPEC, "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(0, FetchStarted("b1", 429, {}))
    brain.handle(0, FetchGot("b1", msgspec.json.encode(body)))
    assert isinstance(brain.handle(0, FetchEnded("b1"))[-1], Lost)


@pytest.mark.parametrize(
    "bad",
    [
        LlmAnswer(status=529, code="overloaded_error", message="Overloaded"),
        LlmAnswer(status=429, code="rate_limit_error", headers=(("retry-after", "1"),)),
        LlmAnswer(fault="error"),
        LlmAnswer(fault="drop"),
        LlmAnswer(fault="hang"),
        LlmAnswer(fault="silent"),
    ],
)
def test_what_may_pass_is_tried_once_more_as_long_as_nothing_was_said(bad: LlmAnswer) -> None:
    one = talk(bad, HELLO)
    one.reply(ask("Hi"))
    assert one.text == "Hello there."
    assert one.gist[-1] == "Replied"
    one = talk(bad)
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert len(one.fetches) == 2
    one.end()


@pytest.mark.parametrize("fault", ["drop", "error", "hang"])
def test_what_breaks_off_in_the_middle_is_not_begun_again(fault: str) -> None:
    one = talk(LlmAnswer(text=("Let me", " see"), fault=fault), HELLO)
    one.reply(ask("Hi"))
    assert [one.gist[0], *one.gist[-2:]] == ["text:Let me see", "StageFailed", "Replied"]
    assert len(one.fetches) == 1


def test_an_error_that_will_not_pass_is_not_tried_again() -> None:
    one = talk(LlmAnswer(fault="error", code="invalid_request_error", message="bad"), HELLO)
    one.reply(ask("Hi"))
    assert len(one.fetches) == 1
    assert "invalid_request_error" in one.of(StageFailed)[0].detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (LlmAnswer(), "nothing to say"),
        (LlmAnswer(finish="refusal"), "refused"),
        (LlmAnswer(finish="max_tokens"), "max_tokens"),
        (LlmAnswer(finish="model_context_window_exceeded"), "longer than"),
    ],
)
def test_silence_is_a_failure_that_says_why(answer: LlmAnswer, words: str) -> None:
    one = talk(answer)
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert words in one.of(StageFailed)[0].detail


def test_pings_are_no_sign_of_an_answer() -> None:
    brain = AnthropicBrain(SPEC, "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(0, FetchStarted("b1", 200, {}))
    for second in range(1, 10):
        brain.handle(second * 1_000_000, FetchGot("b1", b'event: ping\ndata: {"type": "ping"}\n\n'))
    assert brain.deadline == 10_000_000
    assert Drop("b1") in brain.tick(10_000_000)


def test_an_event_that_is_no_json_is_left_out_and_said_once() -> None:
    one = talk(LlmAnswer(text=("One", " two"), fault="malformed"))
    one.reply(ask("Hi"))
    one.reply(ask("Hi"))
    assert one.text == "One twoOne two"
    assert one.gist.count("warned:malformed") == 1


def test_something_that_does_not_stream_is_no_messages_api() -> None:
    brain = AnthropicBrain(SPEC, "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(0, FetchStarted("b1", 200, {"content-type": "application/json"}))
    brain.handle(0, FetchGot("b1", b"{}"))
    (failed, _) = brain.handle(0, FetchEnded("b1"))
    assert "base_url" in failed.detail  # type: ignore[union-attr]


# --- whatever comes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 64])
def test_bytes_cut_anywhere_are_the_same_conversation(cut: int) -> None:
    script = (
        LlmAnswer(text=("Où? ", "日本 😀 "), tools=(WEATHER,), thoughts=("hm é",)),
        LlmAnswer(text=("Voilà", "."), fault="malformed"),
    )
    whole, pieces = talk(*script, tool=sunny), talk(*script, tool=sunny, cut=cut)
    whole.reply(ask("Hi"))
    pieces.reply(ask("Hi"))
    assert pieces.gist == whole.gist
    assert pieces.fetches == whole.fetches


def line(**event: Any) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


TEXT = {"type": "text_delta", "text": "x"}
SOUP = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                line(type="content_block_delta", index=0, delta=TEXT), line(type="content_block_delta", delta=None),
                line(type="content_block_delta", index="a", delta=TEXT), line(type="content_block_start", index=1),
                line(type="content_block_start", index=1, content_block={"type": "tool_use", "input": [1]}),
                line(type="content_block_start", index=2, content_block={"type": "thinking"}),
                line(type="content_block_delta", index=2, delta={"type": "signature_delta"}),
                line(type="content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "{"}),
                line(type="message_start", message={"usage": {"input_tokens": -3}}), line(type="message_start"),
                line(type="message_delta", delta={"stop_reason": "tool_use"}), line(type="message_stop"),
                line(type="error"), line(type="error", error={"type": "overloaded_error"}), line(type=[]),
                b"data: []\n\n", b"data: " + b"[" * 5000 + b"\n\n",
            ]
        ),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=200)
@given(SOUP, st.sampled_from([200, 302, 400, 401, 429, 529]), st.sampled_from(["end", "fail", "tick"]))
def test_soup_never_raises_and_every_reply_ends(soup: list[bytes], status: int, last: str) -> None:
    brain = AnthropicBrain(SPEC, "b", context(), CallSettings())
    orders = list(brain.reply(0, ask("Hi")))
    now = 0
    for _ in range(30):
        name = next((order.name for order in reversed(orders) if isinstance(order, Fetch)), "")
        orders += brain.handle(now, FetchStarted(name, status, {}))
        for piece in soup:
            orders += brain.handle(now, FetchGot(name, piece))
        if last == "end":
            orders += brain.handle(now, FetchEnded(name))
        elif last == "fail":
            orders += brain.handle(now, FetchFailed(name, Fault.RESET))
        for call in [order for order in orders if isinstance(order, CallTool)]:
            orders += brain.tool_answered(now, ToolAnswered(call.call, "{}"))
        if brain.deadline is not None:
            now = brain.deadline
            orders += brain.tick(now)
    assert sum(isinstance(order, Replied | Lost) for order in orders) == 1
    orders += brain.end(now)
    assert brain.deadline is None


# --- options, and the peer -------------------------------------------------------------------------------------------


def test_options_become_specs_without_keys() -> None:
    resolving = Resolving({})
    spec = AnthropicLLM(api_key=KEY, base_url="http://127.0.0.1:1/v1/").resolve(resolving)
    assert (spec.auth, spec.base_url) == ("anthropic", "http://127.0.0.1:1")
    assert resolving.secrets == {"anthropic": ("x-api-key", KEY)}
    assert KEY not in repr(AnthropicLLM(api_key=KEY))
    assert msgspec.convert(msgspec.to_builtins(spec), AnthropicSpec) == spec
    AnthropicLLM().resolve(missing := Resolving({}))
    assert missing.missing == ["ANTHROPIC_API_KEY"]


@pytest.mark.parametrize(
    "option",
    [
        AnthropicLLM(max_tokens=None),  # type: ignore[arg-type]
        AnthropicLLM(max_tokens=0),
        AnthropicLLM(temperature=1.5),
        AnthropicLLM(cache_prompt="yes"),  # type: ignore[arg-type]
        AnthropicLLM(model=""),
        AnthropicLLM(base_url="x"),
    ],
)
def test_bad_values_are_refused_with_advice(option: AnthropicLLM) -> None:
    with pytest.raises(ConfigError, match=r"AnthropicLLM\("):
        option.resolve(Resolving({"ANTHROPIC_API_KEY": KEY}))


def test_the_simulated_service_sends_what_anthropic_sends() -> None:
    peer = AnthropicPeer((LlmAnswer(text=("a",), tools=(WEATHER,), thoughts=("b",)),))
    request = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "stream": True}
    headers = {"Anthropic-Version": "2023-06-01"}
    orders = peer.asked(0, "POST", "/v1/messages", headers, msgspec.json.encode(request))
    while peer.deadline is not None:
        orders += peer.tick(peer.deadline)
    events = SseReader().push(b"".join(order.data for order in orders if isinstance(order, PeerBody)))
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    read = [adapter.validate_json(event.data) for event in events if event.event != "ping"]
    assert [event.type for event in read][:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert all(event.event == msgspec.json.decode(event.data)["type"] for event in events)
    assert read[-1].type == "message_stop"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
        [{"role": "user", "content": " "}],
        [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]},
            {"role": "user", "content": "y"},
        ],
        [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]},
            {"role": "user", "content": [{"type": "text", "text": "y"}, {"type": "tool_result", "tool_use_id": "t"}]},
        ],
    ],
)
def test_the_simulated_service_refuses_what_the_real_one_does(messages: list[dict[str, Any]]) -> None:
    peer = AnthropicPeer((HELLO,))
    body = msgspec.json.encode({"model": "m", "max_tokens": 5, "messages": messages})
    peer.asked(0, "POST", "/v1/messages", {"anthropic-version": "2023-06-01"}, body)
    assert peer.refused
