"""The official ``openai`` package as judge: it must be able to read all we send and all our simulated service says, and
our machine must be able to read what it writes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from patter_core.audio.formats import L16_16K, PCMA_8K, PCMU_8K, AudioFormat
from patter_core.call.words import LinkOpened, LinkSaid
from patter_core.engines.engine import (
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    Interrupted,
    Keyed,
    ReplyBegan,
    Said,
    Saying,
    Speak,
    SpeechEnded,
    StageFailed,
    ToolAnswered,
    Used,
    Worded,
)
from patter_core.engines.openai_realtime import OpenAIRealtimeEngine, SemanticVad
from patter_core.engines.policy import GuardSpec, ToolSpec
from patter_core.settings import CallSettings
from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
from patter_core.simulator.provider_peer import PeerSay
from tests.core.realtime_kit import KEY, Stand, decoded, make_context, make_spec

pytest.importorskip("openai", reason="the official package, whose types are the judge here, is not installed")
pydantic = pytest.importorskip("pydantic", reason="comes with the openai package")

from openai.types import realtime as official  # noqa: E402
from openai.types.realtime.realtime_client_event import RealtimeClientEvent  # noqa: E402
from openai.types.realtime.realtime_server_event import RealtimeServerEvent  # noqa: E402

CLIENT = pydantic.TypeAdapter(RealtimeClientEvent)
SERVER = pydantic.TypeAdapter(RealtimeServerEvent)


def unknown_fields(value: Any, path: str = "") -> list[str]:
    """Fields of a message that the official types have no name for."""
    if isinstance(value, pydantic.BaseModel):
        found = [f"{path}.{name}" for name in (value.model_extra or {})]
        for name in type(value).model_fields:
            found += unknown_fields(getattr(value, name), f"{path}.{name}")
        return found
    if isinstance(value, list):
        return [one for item in value for one in unknown_fields(item, f"{path}[]")]
    return []


def judge(adapter: Any, message: dict[str, Any]) -> None:
    value = adapter.validate_python(message)
    assert value.type == message["type"], "it was taken for another event"
    assert unknown_fields(value, message["type"]) == []


def rich_call(line: AudioFormat = PCMU_8K, **options: Any) -> tuple[Stand, list[str]]:
    """A call in which about everything happens. Also returns what the service said."""
    plan = RealtimePlan(
        key=KEY,
        words=("What time is it?", "", "And now?", "Go on.", "Well?"),
        answers=(
            Answer(texts=("Let me see.",), calls=(("get_time", '{"zone": "UTC"}'), ("get_date", "{}"))),
            Answer(texts=("It is noon, and it will be noon for as long as you listen to me, which is quite long.",)),
            Answer(fail="server_error"),
            Answer(texts=("A blockhead says such things, and more, and more.",)),
            Answer(texts=("In part.",), incomplete="max_output_tokens"),
        ),
        lifetime_s=90,
    )
    context = make_context(
        line,
        first_message='Hello, "friend".',
        tools=(ToolSpec(name="get_time", parameters={"type": "object"}), ToolSpec(name="get_date")),
        guards=(GuardSpec(name="rude", blocked_terms=("blockhead",)),),
        past=(("user", "Before."), ("assistant", "Indeed.")),
    )
    heard: list[str] = []
    stand = Stand(plan, context=context, **options)
    original = stand._from_peer

    def listen(name: str, orders: list[Any]) -> None:
        heard.extend(order.text for order in orders if isinstance(order, PeerSay))
        original(name, orders)

    stand._from_peer = listen  # type: ignore[method-assign]
    stand.begin()
    stand.run(2500)
    stand.say(800, 2500)
    for call in stand.tools:
        stand.tell(ToolAnswered(call.call, '{"ok": true}'))
    stand.run(2500)
    stand.say(800, 4000)  # barges in
    stand.tell(Keyed("[DTMF: 5]"))
    stand.run(6000)
    for _ in range(3):
        stand.say(800, 6000)
    stand.run(60_000)
    assert stand.gave_up == []
    return stand, heard


OPTIONS: list[tuple[AudioFormat, dict[str, Any]]] = [
    (PCMU_8K, {}),
    (PCMA_8K, {"voice": "marin", "turn_detection": SemanticVad(eagerness="high"), "noise_reduction": "near_field"}),
    (L16_16K, {"transcription_model": "", "max_output_tokens": 900, "tool_choice": "get_time", "speed": 0.9,
               "reasoning_effort": "low", "model": "gpt-realtime-2"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "options"), OPTIONS)
def test_all_that_we_send_is_readable(line: AudioFormat, options: dict[str, Any]) -> None:
    stand, _ = rich_call(line, **options)
    kinds = set()
    for text in stand.sent:
        message = decoded(text)
        kinds.add(message["type"])
        judge(CLIENT, message)
    assert kinds >= {
        "session.update", "input_audio_buffer.append", "conversation.item.create", "response.create", "response.cancel",
        "conversation.item.truncate",
    }  # fmt: skip


@pytest.mark.parametrize(("line", "options"), OPTIONS)
def test_all_that_the_simulated_service_says_is_what_the_real_one_could_say(
    line: AudioFormat, options: dict[str, Any]
) -> None:
    _, heard = rich_call(line, **options)
    kinds = set()
    for text in heard:
        message = decoded(text)
        kinds.add(message["type"])
        if message["type"] in ("session.created", "session.updated"):
            message["session"] = {key: value for key, value in message["session"].items() if key in SESSION}
        judge(SERVER, message)
    assert kinds >= {
        "session.created", "session.updated", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed", "conversation.item.added", "conversation.item.done", "response.created",
        "response.output_item.added", "response.content_part.added", "response.output_audio.delta",
        "response.output_audio_transcript.delta", "response.output_audio.done", "response.done",
        "response.output_audio_transcript.done", "response.content_part.done", "response.output_item.done",
        "response.function_call_arguments.done", "conversation.item.truncated", "rate_limits.updated",
    }  # fmt: skip


#: The event's type lists what a client may ask for; the service adds these of ``RealtimeSessionCreateResponse``.
SESSION = set(official.RealtimeSessionCreateRequest.model_fields)


def test_what_the_service_adds_to_a_session_is_where_we_look_for_it() -> None:
    assert {"id", "object", "expires_at"} <= set(official.RealtimeSessionCreateResponse.model_fields)


# --- what the official types write ----------------------------------------------------------------------------------


class Machine:
    """An engine that is fed with events of the official types."""

    def __init__(self) -> None:
        context = make_context(tools=(ToolSpec(name="get_time"),))
        self.engine = OpenAIRealtimeEngine(context, make_spec(), CallSettings())
        self.now = 0
        self.orders: list[Any] = []
        self.engine.begin(0)
        self.engine.handle(0, LinkOpened("engine:1"))
        session = official.RealtimeSessionCreateRequest(type="realtime", model="gpt-realtime")
        self.feed(official.SessionCreatedEvent(type="session.created", event_id="e", session=session))
        self.feed(official.SessionUpdatedEvent(type="session.updated", event_id="e", session=session))

    def feed(self, event: Any) -> list[Any]:
        self.now += 20_000
        out = self.engine.hear(self.now, b"\xff" * 160)
        out += self.engine.handle(self.now, LinkSaid("engine:1", event.model_dump_json()))
        kept = [order for order in out if type(order).__name__ != "SayOnLink"]
        self.orders += kept
        return kept


def place(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "e", "response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0, **changes,
    }  # fmt: skip


def response(status: Any, **changes: Any) -> Any:
    return official.RealtimeResponse(id="resp_1", object="realtime.response", status=status, **changes)


def test_a_turn_in_official_events() -> None:
    machine = Machine()
    started = machine.feed(
        official.InputAudioBufferSpeechStartedEvent(
            type="input_audio_buffer.speech_started", event_id="e", audio_start_ms=0, item_id="item_0"
        )
    )
    assert [type(order) for order in started] == [CallerStarted]
    for _ in range(50):
        machine.engine.hear(machine.now, b"\xff" * 160)
        machine.now += 20_000
    stopped = machine.feed(
        official.InputAudioBufferSpeechStoppedEvent(
            type="input_audio_buffer.speech_stopped", event_id="e", audio_end_ms=1000, item_id="item_0"
        )
    )
    assert [type(order) for order in stopped] == [CallerStopped]
    machine.feed(
        official.InputAudioBufferCommittedEvent(
            type="input_audio_buffer.committed", event_id="e", item_id="item_0", previous_item_id=None
        )
    )
    tokens = {"type": "tokens", "input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    said = machine.feed(
        official.ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(
            {
                "type": "conversation.item.input_audio_transcription.completed", "event_id": "e", "item_id": "item_0",
                "content_index": 0, "transcript": " What time is it? ", "usage": tokens,
            }
        )
    )  # fmt: skip
    assert [type(order) for order in said] == [Used, CallerSaid]
    assert said[1].text == "What time is it?"
    assert said[1].stopped == stopped[0].at
    machine.feed(official.ResponseCreatedEvent(type="response.created", event_id="e", response=response("in_progress")))
    words = machine.feed(
        official.ResponseAudioTranscriptDeltaEvent(
            type="response.output_audio_transcript.delta", delta="It is", **place()
        )
    )
    assert [type(order) for order in words] == [ReplyBegan, Saying, Worded]
    sound = base64.b64encode(b"\x7f" * 800).decode()
    audio = machine.feed(official.ResponseAudioDeltaEvent(type="response.output_audio.delta", delta=sound, **place()))
    assert audio == [Speak(words[0].item, b"\x7f" * 800)]
    rest = machine.feed(
        official.ResponseAudioTranscriptDoneEvent(
            type="response.output_audio_transcript.done", transcript="It is noon.", **place()
        )
    )
    assert rest == [Worded(words[0].item, " noon.")]
    message = official.RealtimeConversationItemAssistantMessage.model_validate(
        {"id": "item_1", "type": "message", "role": "assistant", "status": "completed", "content": []}
    )
    call = official.RealtimeConversationItemFunctionCall(
        id="item_2", type="function_call", call_id="call_1", name="get_time", arguments="{}", status="completed"
    )
    done = machine.feed(
        official.ResponseOutputItemDoneEvent(
            type="response.output_item.done", event_id="e", response_id="resp_1", output_index=0, item=message
        )
    )
    assert [type(order) for order in done] == [Said, SpeechEnded]
    called = machine.feed(
        official.ResponseOutputItemDoneEvent(
            type="response.output_item.done", event_id="e", response_id="resp_1", output_index=1, item=call
        )
    )
    assert called == [CallTool("call_1", "get_time", "{}")]
    usage = official.RealtimeResponseUsage.model_validate(
        {
            "input_tokens": 100, "output_tokens": 30, "total_tokens": 130,
            "input_token_details": {
                "audio_tokens": 60, "text_tokens": 40, "cached_tokens": 50,
                "cached_tokens_details": {"audio_tokens": 20, "text_tokens": 30},
            },
            "output_token_details": {"audio_tokens": 25, "text_tokens": 5},
        }
    )  # fmt: skip
    whole = response("completed", usage=usage, output=[message, call])
    over = machine.feed(official.ResponseDoneEvent(type="response.done", event_id="e", response=whole))
    assert [type(order) for order in over] == [Used]
    figures = over[0].usage
    assert (figures.input_text, figures.cached_text, figures.input_audio, figures.cached_audio) == (10, 30, 40, 20)
    assert (figures.output_text, figures.output_audio) == (5, 25)


def test_arguments_that_were_broken_off_call_nothing() -> None:
    """``response.function_call_arguments.done`` comes also when a response is cancelled."""
    machine = Machine()
    machine.feed(official.ResponseCreatedEvent(type="response.created", event_id="e", response=response("in_progress")))
    done = official.ResponseFunctionCallArgumentsDoneEvent(
        type="response.function_call_arguments.done", event_id="e", response_id="resp_1", item_id="item_2",
        output_index=0, call_id="call_1", name="get_time", arguments='{"zo',
    )  # fmt: skip
    assert machine.feed(done) == []
    call = official.RealtimeConversationItemFunctionCall(
        id="item_2", type="function_call", call_id="call_1", name="get_time", arguments='{"zo', status="incomplete"
    )
    cancelled = response(
        "cancelled",
        output=[call],
        status_details=official.RealtimeResponseStatus(type="cancelled", reason="turn_detected"),
    )
    machine.feed(official.ResponseDoneEvent(type="response.done", event_id="e", response=cancelled))
    assert machine.orders == []


def test_a_failure_and_an_error_in_official_events() -> None:
    machine = Machine()
    machine.engine.handle(machine.now, Interrupted("", 0, ""))
    failed = official.RealtimeErrorEvent(
        type="error", event_id="e", error=official.RealtimeError(message="Odd.", type="server_error", code="odd")
    )
    [warning] = machine.feed(failed)
    assert (warning.code, warning.detail) == ("odd", "odd: Odd.")
    transcription = official.ConversationItemInputAudioTranscriptionFailedEvent.model_validate(
        {
            "type": "conversation.item.input_audio_transcription.failed", "event_id": "e", "item_id": "item_9",
            "content_index": 0, "error": {"code": "audio_unintelligible", "message": "?"},
        }
    )  # fmt: skip
    assert machine.feed(transcription) == []  # nobody knows of such a turn
    assert not any(isinstance(order, StageFailed) for order in machine.orders)


def test_the_judge_finds_faults() -> None:
    with pytest.raises(pydantic.ValidationError):
        judge(CLIENT, {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0})
    with pytest.raises(AssertionError, match="temperature"):
        judge(CLIENT, {"type": "session.update", "session": {"type": "realtime", "temperature": 1}})
