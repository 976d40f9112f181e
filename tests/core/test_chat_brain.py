"""The brain over chat completions, against a service that checks what it is asked, in virtual time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from patter_core.call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted
from patter_core.contract import Fault
from patter_core.engines.engine import CallTool, ProviderWarned, StageFailed, ToolAnswered, Used
from patter_core.engines.stages import Lost, Replied
from patter_core.errors import ConfigError
from patter_core.providers.chat import CerebrasLLM, ChatBrain, ChatSpec, CompatibleLLM, GroqLLM, OpenAILLM
from patter_core.providers.chat.wire import ChatReading
from patter_core.providers.events import SseEvent
from patter_core.providers.keys import Resolving
from patter_core.providers.thoughts import Thoughts
from patter_core.settings import CallSettings
from patter_core.simulator.llm_peer import ChatPeer, LlmAnswer, ToolUse
from patter_core.simulator.provider_peer import PeerBody
from tests.core.brain_kit import TOOLS, Talk, ask, context

KEY = "sk-secret"
HELLO = LlmAnswer(text=("Hel", "lo the", "re."), usage=(100, 60, 5))
WEATHER = ToolUse("call_1", "weather", '{"city":"Paris"}')


def talk(*script: LlmAnswer, option: Any = None, dialect: str = "openai", reply_s: float = 30, **more: Any) -> Talk:
    resolving = Resolving({"OPENAI_API_KEY": KEY, "GROQ_API_KEY": KEY})
    spec = (option or OpenAILLM()).resolve(resolving)
    brain = ChatBrain(spec, "reply:", context(), CallSettings(reply_s=reply_s))
    key = KEY if spec.auth else ""
    return Talk(brain, lambda n: ChatPeer(script, n, key, dialect), secrets=resolving.secrets, **more)


def sunny(call: CallTool) -> ToolAnswered:
    return ToolAnswered(call.call, '{"sky":"sunny"}')


def bodies(one: Talk) -> list[dict[str, Any]]:
    return [msgspec.json.decode(fetch.body) for fetch in one.fetches]


# --- a reply ---------------------------------------------------------------------------------------------------------


def test_a_reply_is_streamed_and_accounted_for() -> None:
    one = talk(HELLO)
    one.reply(ask("Hi"))
    assert one.gist == ["text:Hello there.", "used:40/60/5", "Replied"]
    assert [at for at, order in one.log if type(order).__name__ == "Text"] == [330_000, 360_000, 390_000]
    used = one.of(Used)[0].usage
    assert (used.stage, used.provider, used.model) == ("llm", "openai", "gpt-4.1-mini")
    one.end()


def test_the_request_is_what_openai_takes() -> None:
    option = OpenAILLM(
        temperature=0.5, max_tokens=200, reasoning_effort="low", extra={"user": "u"}, headers={"X-A": "b"}
    )
    one = talk(HELLO, option=option)
    one.reply(ask("Welcome!", "Hi"))
    (fetch,) = one.fetches
    assert (fetch.method, fetch.url) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert ("X-A", "b") in fetch.headers
    assert KEY not in repr(fetch)
    (body,) = bodies(one)
    TypeAdapter(CompletionCreateParamsStreaming).validate_python(body)
    assert body == {
        "model": "gpt-4.1-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "assistant", "content": "Welcome!"},
            {"role": "user", "content": "Hi"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "parameters": dict(TOOLS[0].parameters),
                    "description": "The weather in a city.",
                },
            },
            {"type": "function", "function": {"name": "end_call", "parameters": {"type": "object", "properties": {}}}},
        ],
        "temperature": 0.5,
        "max_completion_tokens": 200,
        "reasoning_effort": "low",
        "user": "u",
    }


def test_the_same_question_is_the_same_request() -> None:
    one, two = talk(HELLO), talk(HELLO)
    one.reply(ask("Hi"))
    two.reply(ask("Hi"))
    assert one.fetches == two.fetches


def test_a_field_can_be_left_out_and_half_a_character_does_no_harm() -> None:
    one = talk(HELLO, option=CompatibleLLM(base_url="http://127.0.0.1:1/v1", model="m", max_tokens=9,
                                           extra={"stream_options": None}))  # fmt: skip
    one.reply(ask("Hi \ud800"))
    (body,) = bodies(one)
    assert "stream_options" not in body
    assert body["max_tokens"] == 9
    assert body["messages"][-1]["content"] == "Hi ?"
    assert one.fetches[0].auth == ""
    assert one.gist == ["text:Hello there.", "warned:no_usage", "Replied"]


def test_that_nothing_is_accounted_for_is_said_once() -> None:
    one = talk(LlmAnswer(text=("Yes.",), usage=None))
    one.reply(ask("Hi"))
    one.reply(ask("Hi", "Yes.", "Again"))
    assert one.gist == ["text:Yes.", "warned:no_usage", "Replied", "text:Yes.", "Replied"]


def test_groq_says_the_usage_in_its_own_field() -> None:
    one = talk(HELLO, option=GroqLLM(), dialect="groq")
    one.reply(ask("Hi"))
    assert one.gist == ["text:Hello there.", "used:40/60/5", "Replied"]
    assert one.fetches[0].url == "https://api.groq.com/openai/v1/chat/completions"


def test_usage_told_with_every_chunk_counts_once() -> None:  # x.ai does
    reading = ChatReading()
    for n in (1, 2, 3):
        reading.push(SseEvent("", f'{{"choices":[],"usage":{{"prompt_tokens":10,"completion_tokens":{n}}}}}'))
    assert reading.spent is not None
    assert (reading.spent.input, reading.spent.output) == (10, 3)


def test_a_refusal_is_spoken_and_thoughts_are_not() -> None:
    one = talk(LlmAnswer(thoughts=("They want ", "x."), refusal="I cannot help with that."))
    one.reply(ask("Hi"))
    assert one.text == "I cannot help with that."
    one = talk(LlmAnswer(text=("<thi", "nk>hmm</th", "ink>\n\nIt is", " 5 < 6.")))
    one.reply(ask("Hi"))
    assert one.text == "It is 5 < 6."


def test_an_answer_in_one_piece_is_read_too() -> None:
    option = CompatibleLLM(base_url="http://127.0.0.1:1/v1", model="m", extra={"stream": False})
    one = talk(LlmAnswer(text=("Hello.",), tools=(WEATHER,)), HELLO, option=option, tool=sunny)
    one.reply(ask("Hi"))
    assert one.gist == ["text:Hello.", "used:120/0/20", 'tool:weather:{"city":"Paris"}', "text: Hello there.",
                        "used:40/60/5", "Replied"]  # fmt: skip


# --- tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "groq", "ollama"])
def test_tools_in_parallel_then_the_answer(dialect: str) -> None:
    both = (WEATHER, ToolUse("call_2", "weather", '{"city":"Rome"}'))
    one = talk(LlmAnswer(text=("One moment.",), tools=both), LlmAnswer(text=("Sunny.",)), dialect=dialect, tool=sunny)
    one.reply(ask("Weather?"))
    assert one.gist == [
        "text:One moment.", "used:120/0/20", 'tool:weather:{"city":"Paris"}', 'tool:weather:{"city":"Rome"}',
        "text: Sunny.", "used:120/0/20", "Replied",
    ]  # fmt: skip
    second = bodies(one)[1]
    TypeAdapter(CompletionCreateParamsStreaming).validate_python(second)
    assert second["messages"][2:] == [
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {"id": tool.id, "type": "function", "function": {"name": "weather", "arguments": tool.arguments}}
                for tool in both
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"sunny"}'},
        {"role": "tool", "tool_call_id": "call_2", "content": '{"sky":"sunny"}'},
    ]


def test_it_waits_for_all_tools() -> None:
    one = talk(LlmAnswer(tools=(WEATHER, ToolUse("call_2", "weather"))), HELLO)
    one.reply(ask("Weather?"))
    first, second = one.of(CallTool)
    one.answer(ToolAnswered(second.call, "2"))
    one.answer(ToolAnswered("nobody", "0"))
    one.run(20)
    assert len(one.fetches) == 1
    one.answer(ToolAnswered(first.call, "1", error=True))
    one.run(20)
    assert [message["content"] for message in bodies(one)[1]["messages"][-2:]] == ["1", "2"]
    assert one.gist[-1] == "Replied"


def test_a_quiet_tool_ends_the_reply() -> None:
    one = talk(
        LlmAnswer(tools=(ToolUse("c", "end_call", ""),)), tool=lambda call: ToolAnswered(call.call, "{}", quiet=True)
    )
    one.reply(ask("Bye"))
    assert one.gist == ["used:120/0/20", "tool:end_call:{}", "Replied"]
    assert len(one.fetches) == 1


def test_after_a_quiet_tool_others_are_answered_aloud() -> None:
    script = (LlmAnswer(tools=(ToolUse("c", "end_call"),)), LlmAnswer(tools=(WEATHER,)), HELLO)
    one = talk(*script, tool=lambda call: ToolAnswered(call.call, "{}", quiet=call.name == "end_call"))
    one.reply(ask("Bye"))
    one.reply(ask("Bye", "Bye!", "But the weather?"))
    assert one.text == "Hello there."


def test_a_model_that_goes_in_circles_is_stopped() -> None:
    one = talk(LlmAnswer(tools=(WEATHER,)), tool=sunny)
    one.reply(ask("Weather?"), 600)
    assert len(one.of(CallTool)) == 8
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert "8 times" in one.of(StageFailed)[0].detail


def test_what_tools_were_used_for_is_remembered_in_its_place() -> None:
    one = talk(LlmAnswer(tools=(WEATHER,)), LlmAnswer(text=("Sunny.",)), tool=sunny)
    one.reply(ask("Hi", "Hello.", "Weather?"))
    one.reply(ask("Hi", "Hello.", "Weather?", "Sunny.", "And Rome?"))
    assert [message["role"] for message in bodies(one)[-1]["messages"]] == [
        "system", "user", "assistant", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    one.reply(ask("Weather?", "Sunny.", "And Rome?", "Sunny.", "Thanks"))  # the oldest lines are forgotten
    roles = [message["role"] for message in bodies(one)[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user", "assistant", "user"]
    one.reply(ask("Thanks", "Welcome.", "Bye"))  # and at last the question itself
    assert [message["role"] for message in bodies(one)[-1]["messages"]] == ["system", "user", "assistant", "user"]
    assert all(peer.refused == "" for peer in one.peers)


def test_a_tool_that_ends_after_the_caller_barged_in_is_known_of_later() -> None:
    one = talk(LlmAnswer(tools=(WEATHER,)), HELLO)
    one.reply(ask("Weather?"))
    one.stop()
    one.reply(ask("Weather? Well?"))
    assert "not finished" in bodies(one)[1]["messages"][-1]["content"]
    one.answer(ToolAnswered(one.of(CallTool)[0].call, "sunny"))
    one.reply(ask("Weather? Well?", "Hello there.", "So?"))
    assert [m["content"] for m in bodies(one)[2]["messages"] if m["role"] == "tool"] == ["sunny"]
    assert all(peer.refused == "" for peer in one.peers)


def test_broken_arguments_reach_the_tool_but_not_the_model_again() -> None:
    broken = (ToolUse("c", "no such tool!", '{"city":'), ToolUse("c", "weather", "[1]"))
    one = talk(LlmAnswer(tools=broken), HELLO, tool=sunny)
    one.reply(ask("Weather?"))
    assert [call.arguments for call in one.of(CallTool)] == ['{"city":', "[1]"]
    calls = bodies(one)[1]["messages"][-3]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "no_such_tool_", "arguments": "{}"}, {"name": "weather", "arguments": "{}"},
    ]  # fmt: skip
    assert len({call["id"] for call in calls}) == 2
    assert one.gist[-1] == "Replied"


def test_a_server_that_gives_every_call_index_0_and_arguments_as_an_object() -> None:
    reading = ChatReading()
    for id in ("a", "b"):
        call = {"index": 0, "id": id, "function": {"name": "weather", "arguments": {"city": id}}}
        reading.push(SseEvent("", msgspec.json.encode({"choices": [{"delta": {"tool_calls": [call]}}]}).decode()))
    assert [(call.id, call.arguments) for call in reading.calls] == [("a", '{"city":"a"}'), ("b", '{"city":"b"}')]


def test_what_a_provider_wants_back_with_a_call_it_gets() -> None:
    """DeepSeek its reasoning, Gemini its signature; only while the reply is being made."""
    call = {
        "index": 0,
        "id": "a",
        "function": {"name": "weather"},
        "extra_content": {"google": {"thought_signature": "x"}},
    }
    deltas = [{"reasoning_content": "Let me "}, {"reasoning_content": "see."}, {"tool_calls": [call]}]
    data = b"".join(b"data: " + msgspec.json.encode({"choices": [{"delta": delta}]}) + b"\n\n" for delta in deltas)
    brain = ChatBrain(ChatSpec(provider="p", base_url="http://x", model="m"), "b", context(), CallSettings())
    brain.reply(0, ask("Weather?"))
    brain.handle(1, FetchStarted("b1", 200, {"content-type": "text/event-stream"}))
    brain.handle(1, FetchGot("b1", data))
    (tool,) = [order for order in brain.handle(2, FetchEnded("b1")) if isinstance(order, CallTool)]
    (fetch,) = brain.tool_answered(3, ToolAnswered(tool.call, "1"))
    assert isinstance(fetch, Fetch)
    said = msgspec.json.decode(fetch.body)["messages"][-2]
    assert said["reasoning_content"] == "Let me see."
    assert said["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "x"}}
    brain.stop(4)
    (fetch,) = brain.reply(5, ask("Weather?", "Hm.", "So?"))
    assert isinstance(fetch, Fetch)
    assert b"reasoning_content" not in fetch.body


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "invalid_api_key", "OPENAI_API_KEY"),
        (403, "unsupported_country", "gpt-4.1-mini"),
        (404, "model_not_found", "model='gpt-4.1-mini'"),
        (429, "insufficient_quota", "billing"),
    ],
)
def test_what_will_not_get_better_loses_the_brain_at_once(status: int, code: str, words: str) -> None:
    one = talk(LlmAnswer(status=status, code=code, message="No."))
    one.reply(ask("Hi"))
    assert one.gist == ["Lost"]
    assert words in one.of(Lost)[0].detail
    assert one.brain.reply(one.now, ask("Hi")) == []
    one.end()


def test_a_wrong_key_is_named_by_its_variable_and_never_shown() -> None:
    resolving = Resolving({"GROQ_API_KEY": "other"})
    brain = ChatBrain(GroqLLM().resolve(resolving), "b", context(), CallSettings())
    one = Talk(brain, lambda n: ChatPeer((HELLO,), n, KEY), secrets=resolving.secrets)
    one.reply(ask("Hi"))
    assert "GROQ_API_KEY" in one.of(Lost)[0].detail
    assert "other" not in repr(one.log)


def test_too_many_requests_are_waited_for_as_asked_and_only_once() -> None:
    busy = LlmAnswer(
        status=429, code="rate_limit_exceeded", message="see /settings/billing", headers=(("Retry-After", "2"),)
    )
    one = talk(busy, HELLO)
    one.reply(ask("Hi"))
    assert one.gist[0] == "text:Hello there."
    assert 2.6 < one.when(Replied) < 3.2
    one = talk(busy)
    one.reply(ask("Hi"))
    assert (one.gist, len(one.fetches)) == (["StageFailed", "Replied"], 2)
    assert "429" in one.of(StageFailed)[0].detail
    for wait in ("6", "60", "inf"):  # a caller does not wait so long
        one = talk(msgspec.structs.replace(busy, headers=(("Retry-After", wait),)), HELLO)
        one.reply(ask("Hi"))
        assert (one.gist, len(one.fetches)) == (["StageFailed", "Replied"], 1)


@pytest.mark.parametrize(
    "bad",
    [
        LlmAnswer(status=500, message="Oops"),
        LlmAnswer(status=503, message="<html>"),
        LlmAnswer(fault="drop"),
        LlmAnswer(fault="error", code="server_error"),
        LlmAnswer(fault="silent"),
        LlmAnswer(fault="hang"),
    ],
)
def test_what_may_pass_is_tried_once_more_as_long_as_nothing_was_said(bad: LlmAnswer) -> None:
    one = talk(bad, HELLO)
    one.reply(ask("Hi"))
    assert one.gist == ["text:Hello there.", "used:40/60/5", "Replied"]
    one = talk(bad)
    one.reply(ask("Hi"))
    assert (one.gist, len(one.fetches)) == (["StageFailed", "Replied"], 2)
    one.end()


def test_every_reply_may_be_tried_once_more() -> None:
    one = talk(LlmAnswer(status=500), HELLO, LlmAnswer(status=500), HELLO)
    one.reply(ask("Hi"))
    one.reply(ask("Hi", "Hello there.", "Hi"))
    assert one.text == "Hello there.Hello there."


@pytest.mark.parametrize("fault", ["drop", "error", "hang"])
def test_what_breaks_off_in_the_middle_is_not_begun_again(fault: str) -> None:
    one = talk(LlmAnswer(text=("Let me", " see"), fault=fault), HELLO)
    one.reply(ask("Hi"))
    assert one.gist == ["text:Let me see", "StageFailed", "Replied"]
    assert len(one.fetches) == 1


def test_a_body_that_ends_without_its_last_events_is_an_answer() -> None:
    one = talk(LlmAnswer(text=("All right.",), fault="end"))
    one.reply(ask("Hi"))
    assert one.gist == ["text:All right.", "warned:no_usage", "Replied"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (LlmAnswer(), "nothing to say"),
        (LlmAnswer(finish="length", thoughts=("hm",)), "max_tokens"),
        (LlmAnswer(finish="content_filter"), "filter"),
        (LlmAnswer(text=("<think>only thoughts",)), "nothing to say"),
        (LlmAnswer(status=400, code="context_length_exceeded", message="too long"), "context_length_exceeded"),
    ],
)
def test_silence_is_a_failure_that_says_why(answer: LlmAnswer, words: str) -> None:
    one = talk(answer)
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert words in one.of(StageFailed)[0].detail


def test_an_answer_cut_at_its_limit_is_warned_of() -> None:
    one = talk(LlmAnswer(text=("A long", " story"), finish="length"))
    one.reply(ask("Hi"))
    assert one.gist == ["text:A long story", "used:120/0/20", "warned:max_tokens", "Replied"]


def test_a_chunk_that_is_no_json_is_left_out_and_said_once() -> None:
    one = talk(LlmAnswer(text=("One", " two"), fault="malformed"))
    one.reply(ask("Hi"))
    one.reply(ask("Hi", "One two", "Again"))
    assert one.gist.count("warned:malformed") == 1
    assert one.text == "One twoOne two"


def test_three_failures_in_a_row_and_it_is_lost() -> None:
    one = talk(LlmAnswer(status=400, message="No"))
    for n in range(3):
        one.reply(ask("Hi", "x", f"Hi {n}"))
    assert one.gist == ["StageFailed", "Replied", "StageFailed", "Replied", "Lost"]
    script = [LlmAnswer(status=400), LlmAnswer(status=400), HELLO, LlmAnswer(status=400), LlmAnswer(status=400), HELLO]
    one = talk(*script)
    for _ in script:
        one.reply(ask("Hi"))
    assert one.of(Lost) == []


def test_the_third_failure_after_text_ends_the_reply_first() -> None:
    one = talk(LlmAnswer(text=("Well",), fault="drop"))
    for _ in range(3):
        one.reply(ask("Hi"))
    assert one.gist[-4:] == ["text:Well", "StageFailed", "Replied", "Lost"]


def test_a_reply_has_a_time_in_all_in_which_tools_do_not_count() -> None:
    slow = LlmAnswer(text=("word ",) * 50, piece_us=1_000_000)
    one = talk(slow, reply_s=5)
    one.reply(ask("Hi"))
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    assert one.when(Replied) == 5.0
    one = talk(LlmAnswer(tools=(WEATHER,), first_us=1_000_000), slow, reply_s=5)
    one.reply(ask("Hi"), 3)
    called = one.when(CallTool)
    one.run(60)
    one.answer(ToolAnswered(one.of(CallTool)[0].call, "1"))
    at = one.now / 1e6
    one.run(60)
    assert one.when(Replied) == pytest.approx(at + 5 - called)


def test_a_reply_that_runs_away_is_cut() -> None:
    brain = ChatBrain(
        ChatSpec(provider="p", base_url="http://x", model="m"), "b", context(), CallSettings(reply_chars=50)
    )
    one = Talk(brain, lambda n: ChatPeer((LlmAnswer(text=("1234567890",) * 20),), n))
    one.reply(ask("Hi"))
    assert one.text == "1234567890" * 5
    assert one.gist[-2:] == ["StageFailed", "Replied"]
    one.end()


def test_stopping_drops_the_request_and_nothing_of_it_is_heard_again() -> None:
    one = talk(HELLO)
    one.start(ask("Hi"))
    one.run(0.34)
    one.stop()
    assert isinstance(one.wire[-1], Drop)
    assert one.text == "Hel"
    one.run(10)
    name = one.fetches[0].name
    assert one.brain.handle(one.now, FetchGot(name, b"data: x\n\n")) == []
    assert one.brain.handle(one.now, FetchFailed(name, Fault.RESET)) == []
    assert one.brain.handle(one.now, FetchEnded("")) == []
    one.reply(ask("Hi there"))
    assert one.text == "HelHello there."
    one.end()


def test_a_body_that_does_not_end_after_its_end_is_dropped() -> None:
    brain = ChatBrain(ChatSpec(provider="p", base_url="http://x", model="m"), "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(1, FetchStarted("b1", 200, {"content-type": "text/event-stream"}))
    out = brain.handle(2, FetchGot("b1", b'data: {"choices":[{"delta":{"content":"Hi."}}]}\n\ndata: [DONE]\n\n'))
    assert isinstance(out[-1], Replied)
    assert brain.deadline == 2_000_002
    assert brain.tick(2_000_002) == [Drop("b1")]
    assert brain.deadline is None


def test_a_stream_that_stops_after_its_last_word_is_an_answer() -> None:
    brain = ChatBrain(ChatSpec(provider="p", base_url="http://x", model="m"), "b", context(), CallSettings())
    brain.reply(0, ask("Hi"))
    brain.handle(1, FetchStarted("b1", 200))
    brain.handle(2, FetchGot("b1", b'data: {"choices":[{"delta":{"content":"Hi."},"finish_reason":"stop"}]}\n\n'))
    assert brain.deadline == 1_000_002
    assert any(isinstance(order, Replied) for order in brain.tick(1_000_002))


# --- whatever comes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 64])
def test_bytes_cut_anywhere_are_the_same_conversation(cut: int) -> None:
    script = (
        LlmAnswer(text=("Où? ", "<think>né</think>", "日本 😀 ", "a < b."), tools=(WEATHER,), thoughts=("hm é",)),
        LlmAnswer(text=("Voilà.",), fault="malformed"),
    )
    whole, pieces = talk(*script, tool=sunny), talk(*script, tool=sunny, cut=cut)
    whole.reply(ask("Hi"))
    pieces.reply(ask("Hi"))
    assert pieces.gist == whole.gist
    assert pieces.fetches == whole.fetches


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think", ">", "a", "</", " "]), max_size=12))
def test_thoughts_do_not_depend_on_the_cuts(parts: list[str]) -> None:
    text = "".join(parts)
    whole = Thoughts()
    expected = whole.push(text) + whole.end()
    single = Thoughts()
    assert "".join([single.push(char) for char in text]) + single.end() == expected
    assert "<think>" not in expected


SOUP = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"data: [DONE]\n\n", b"data: {}\n\n", b'data: {"choices":[]}\n\n', b'data: {"choices":null}\n\n',
                b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
                b'data: {"choices":[{"delta":{"content":5}}]}\n\n',
                b'data: {"choices":[{"delta":{"tool_calls":[{}]}}]}\n\n', b'data: {"error":"x"}\n\n', b"data: [[[[\n\n",
                b'data: {"choices":[{"delta":{"tool_calls":[{"index":-1,"id":"","function":{}}]}}]}\n\n',
                b'data: {"choices":[{"delta":null,"finish_reason":"tool_calls"}]}\n\n',
                b"data: " + b"[" * 5000 + b"\n\n",
                b'data: {"usage":{"prompt_tokens":-5,"completion_tokens":null}}\n\n',
                b'data: {"x_groq":{"error":1}}\n\n',
                b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n',
            ]
        ),
    ),
    max_size=12,
)  # fmt: skip
HEADERS = st.sampled_from([{}, {"content-type": "application/json"}, {"retry-after": "nan"}, {"retry-after-ms": "-1"}])


@settings(max_examples=200)
@given(
    SOUP, st.sampled_from([200, 204, 302, 400, 401, 429, 500, 999]), HEADERS, st.sampled_from(["end", "fail", "tick"])
)
def test_soup_never_raises_and_every_reply_ends(
    soup: list[bytes], status: int, headers: dict[str, str], last: str
) -> None:
    brain = ChatBrain(ChatSpec(provider="p", base_url="http://x", model="m"), "b", context(), CallSettings())
    orders = list(brain.reply(0, ask("Hi")))
    now = 0
    for _ in range(30):
        name = next((order.name for order in reversed(orders) if isinstance(order, Fetch)), "")
        orders += brain.handle(now, FetchStarted(name, status, headers))
        for piece in soup:
            orders += brain.handle(now, FetchGot(name, piece))
        if last == "end":
            orders += brain.handle(now, FetchEnded(name))
        elif last == "fail":
            orders += brain.handle(now, FetchFailed(name, Fault.RESET))
        answered = [order for order in orders if isinstance(order, CallTool)]
        for call in answered:
            orders += brain.tool_answered(now, ToolAnswered(call.call, "{}"))
        if brain.deadline is not None:
            now = brain.deadline
            orders += brain.tick(now)
    assert sum(isinstance(order, Replied | Lost) for order in orders) == 1
    orders += brain.end(now)
    assert brain.deadline is None
    msgspec.json.encode([msgspec.to_builtins(order) for order in orders if not isinstance(order, Fetch)])


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_become_specs_without_keys() -> None:
    resolving = Resolving({"CEREBRAS_API_KEY": " csk-1\n"})
    spec = CerebrasLLM().resolve(resolving)
    assert (spec.provider, spec.base_url, spec.auth) == ("cerebras", "https://api.cerebras.ai/v1", "cerebras")
    assert resolving.secrets == {"cerebras": ("Authorization", "Bearer csk-1")}
    assert msgspec.convert(msgspec.to_builtins(spec), ChatSpec) == spec
    option = OpenAILLM(api_key=KEY)
    assert KEY not in repr(option)
    assert option.resolve(Resolving({})).auth == "openai"
    missing = Resolving({})
    GroqLLM().resolve(missing)
    assert missing.missing == ["GROQ_API_KEY"]


def test_a_server_of_ones_own_needs_no_key() -> None:
    resolving = Resolving({})
    spec = CompatibleLLM(base_url="http://127.0.0.1:11434/v1/", model="llama3.2", provider="ollama").resolve(resolving)
    assert (spec.base_url, spec.auth, spec.max_tokens_field) == ("http://127.0.0.1:11434/v1", "", "max_tokens")
    assert resolving.missing == []
    assert CompatibleLLM(base_url="http://h/v1", model="m", api_key="k").resolve(resolving).auth == "compatible"


@pytest.mark.parametrize(
    "option",
    [
        OpenAILLM(model=" "),
        OpenAILLM(temperature=3),
        OpenAILLM(temperature=True),
        OpenAILLM(temperature=float("nan")),
        OpenAILLM(max_tokens=0),
        OpenAILLM(max_tokens=1.5),  # type: ignore[arg-type]
        OpenAILLM(api_key="sk two words"),
        OpenAILLM(api_key="sk-\u200b"),
        OpenAILLM(base_url="api.openai.com"),
        OpenAILLM(base_url="https://user:secret@h/v1"),
        OpenAILLM(base_url="https://h/v1?x=1"),
        OpenAILLM(base_url="ftp://h"),
        OpenAILLM(base_url="https://h:99999"),
        OpenAILLM(extra={"x": object()}),
        OpenAILLM(extra=[]),  # type: ignore[arg-type]
        OpenAILLM(headers={"X A": "b"}),
        OpenAILLM(headers={"X": "a\r\nb"}),
        OpenAILLM(reasoning_effort=3),  # type: ignore[arg-type]
        CompatibleLLM(base_url="", model="m"),
        CompatibleLLM(base_url="http://h", model="m", provider=""),
    ],
)
def test_bad_values_are_refused_with_advice(option: Any) -> None:
    with pytest.raises(ConfigError, match=type(option).__name__) as caught:
        option.resolve(Resolving({"OPENAI_API_KEY": KEY}))
    assert "secret" not in str(caught.value)
    assert "two words" not in str(caught.value)


# --- the peer --------------------------------------------------------------------------------------------------------


def test_the_simulated_service_sends_what_openai_sends() -> None:
    answer = LlmAnswer(text=("a",), tools=(WEATHER,), refusal="no")
    peer = ChatPeer((answer,))
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True,
               "stream_options": {"include_usage": True}}  # fmt: skip
    orders = peer.asked(0, "POST", "/v1/chat/completions", {}, msgspec.json.encode(request))
    while peer.deadline is not None:
        orders += peer.tick(peer.deadline)
    chunks = [order.data.removeprefix(b"data: ").strip() for order in orders if isinstance(order, PeerBody)]
    assert chunks.pop() == b"[DONE]"
    read = [ChatCompletionChunk.model_validate_json(chunk) for chunk in chunks]
    assert read[-1].usage is not None
    assert read[-1].choices == []
    assert read[-2].choices[0].finish_reason == "tool_calls"
    peer = ChatPeer((answer,))
    orders = peer.asked(0, "POST", "/v1/chat/completions", {}, msgspec.json.encode({**request, "stream": False}))
    orders += peer.tick(1_000_000)
    (body,) = [order.data for order in orders if isinstance(order, PeerBody)]
    assert ChatCompletion.model_validate_json(body).choices[0].message.content == "a"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "tool", "tool_call_id": "x", "content": "y"}],
        [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}],
        [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"arguments": "{"}}]}],
        [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}, {"role": "user"}],
        [{"role": "nobody", "content": "x"}],
        [{"role": "user"}],
    ],
)  # fmt: skip
def test_the_simulated_service_refuses_what_the_real_one_does(messages: list[dict[str, Any]]) -> None:
    peer = ChatPeer((HELLO,))
    peer.asked(0, "POST", "/v1/chat/completions", {}, msgspec.json.encode({"model": "m", "messages": messages}))
    assert peer.refused


def test_warnings_and_usage_name_the_provider() -> None:
    one = talk(
        LlmAnswer(text=("x",), usage=None), option=CompatibleLLM(base_url="http://h/v1", model="m", provider="vllm")
    )
    one.reply(ask("Hi"))
    assert one.of(ProviderWarned)[0].provider == "vllm"
