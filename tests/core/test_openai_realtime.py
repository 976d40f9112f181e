"""Calls with OpenAI's Realtime service: what is said, heard, interrupted, called and counted."""

from __future__ import annotations

import msgspec
import pytest

from patter_core.audio.formats import L16_16K, L16_24K, PCMA_8K, PCMU_8K, AudioFormat
from patter_core.call.words import CloseLink, Drop, OpenLink, TaskRaised, TaskReturned
from patter_core.contract import Fault, Lane
from patter_core.engines.engine import (
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    CutShort,
    Ended,
    Interrupted,
    Keyed,
    Played,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    SpeechWanted,
    ToolAnswered,
)
from patter_core.engines.openai_realtime.session import Session
from patter_core.engines.policy import GuardSpec, HandlerSpec, Interruptions, ToolSpec
from patter_core.engines.usage import Usage
from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
from tests.core.realtime_kit import KEY, Stand, decoded, make_context

TIME = ToolSpec(name="get_time", description="The time.", parameters={"type": "object", "properties": {}})


def plan(*texts: str, **changes: object) -> RealtimePlan:
    values: dict[str, object] = {
        "key": KEY,
        "words": ("First question.", "Second question.", "Third question."),
        "answers": tuple(Answer(texts=(text,)) for text in texts),
    }
    return RealtimePlan(**{**values, **changes})  # type: ignore[arg-type]


def begun(the_plan: RealtimePlan, **changes: object) -> Stand:
    stand = Stand(the_plan, **changes)  # type: ignore[arg-type]
    stand.begin()
    stand.run(500)
    return stand


# --- the session -----------------------------------------------------------------------------------------------------


def test_a_question_and_its_answer() -> None:
    stand = begun(plan("It is noon."), context=make_context(first_message="Hello there."))
    stand.run(2000)
    stand.say(1000, 4000)
    assert stand.heard == ["Hello there.", "It is noon."]
    assert stand.said == ["First question."]
    assert stand.peer.refused == []
    assert stand.warned == []
    assert stand.failed == []


def test_the_first_message_is_data_and_what_was_spoken_is_told() -> None:
    text = 'Say "no" to quotes.\nIgnore this: {"a": [1]} \\" and speak\u2028on.'
    stand = begun(plan(), context=make_context(first_message=text))
    stand.run(8000)
    assert stand.heard == [text]
    create = stand.messages("response.create")[0]["response"]
    last = create["instructions"].rpartition("\n")[2]
    assert msgspec.json.decode(last) == text
    assert create["tool_choice"] == "none"


def test_the_transcript_says_what_was_spoken_not_what_was_asked() -> None:
    stand = begun(plan("Hi, whoever you are!", verbatim=False), context=make_context(first_message="Hello."))
    stand.run(3000)
    assert stand.heard == ["Hi, whoever you are!"]


def test_warm_dials_before_the_conversation_begins() -> None:
    stand = Stand(plan(), context=make_context(first_message="Hello."))
    stand.warm()
    stand.warm()
    stand.run(1000)
    assert stand.messages("response.create") == []
    stand.begin()
    stand.run(1000)
    assert len(stand.told(OpenLink)) == 1
    assert stand.when(Speak)[0] < 1_400_000
    assert stand.heard == ["Hello."]


def test_a_call_that_took_over_says_no_first_message() -> None:
    past = (("assistant", "Hello, this is Acme."), ("user", "My name is Ada."))
    stand = begun(plan("Ada."), context=make_context(first_message="Hello.", speech_goes_on=True, past=past))
    stand.run(1000)
    assert stand.heard == []
    assert [(item["role"], item["text"]) for item in stand.peer.items] == list(past)


def test_what_the_caller_said_before_the_session_was_ready_is_answered() -> None:
    stand = Stand(plan("Yes.", greet_us=1_500_000))
    stand.begin()
    stand.speak(800)
    stand.run(5000)
    assert stand.said == ["First question."]
    assert stand.heard == ["Yes."]
    assert stand.told(CallerStarted)[0].at <= 40_000  # when it was said, not when it was sent
    assert 700_000 <= stand.told(CallerStopped)[0].at <= 900_000


def test_audio_kept_before_the_session_is_bounded() -> None:
    stand = Stand(plan("Yes.", greet_us=4_900_000))
    stand.engine._line._most = PCMU_8K.bytes_for_ms(2000)
    stand.begin()
    stand.run(5500)
    assert len(stand.peer.audio) <= PCMU_8K.bytes_for_ms(2700)


@pytest.mark.parametrize(
    ("line", "audio", "form", "wire"),
    [
        (PCMU_8K, "auto", PCMU_8K, {"type": "audio/pcmu"}),
        (PCMU_8K, "pcmu", PCMU_8K, {"type": "audio/pcmu"}),
        (PCMA_8K, "auto", PCMA_8K, {"type": "audio/pcma"}),
        (PCMU_8K, "pcm24", L16_24K, {"type": "audio/pcm", "rate": 24000}),
        (L16_16K, "auto", L16_24K, {"type": "audio/pcm", "rate": 24000}),
    ],
)
def test_the_lines_codec_passes_through(
    line: AudioFormat, audio: str, form: AudioFormat, wire: dict[str, object]
) -> None:
    stand = begun(plan("Yes."), context=make_context(line), audio=audio)
    assert stand.engine.hears == stand.engine.speaks == form
    update = stand.messages("session.update")[0]["session"]
    assert update["audio"]["input"]["format"] == update["audio"]["output"]["format"] == wire
    stand.say(800, 3000)
    assert stand.heard == ["Yes."]


def test_mu_law_is_byte_identical_both_ways() -> None:
    stand = begun(plan())
    frame = bytes(range(160))
    stand.hearing = False
    stand.obey(stand.engine.hear(stand.now, frame))
    stand.run(100)
    assert bytes(stand.peer.audio[-160:]) == frame


def test_the_session_is_told_everything() -> None:
    spec = {
        "voice": "marin", "transcription_model": "gpt-4o-transcribe", "noise_reduction": "far_field",
        "max_output_tokens": 300, "tool_choice": "get_time", "reasoning_effort": "low", "speed": 1.2,
        "turn_detection": {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 400},
    }  # fmt: skip
    stand = begun(plan(), context=make_context(tools=(TIME,), language="de-DE"), **spec)
    session = stand.messages("session.update")[0]["session"]
    assert session == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "Be brief.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-4o-transcribe", "language": "de"},
                "noise_reduction": {"type": "far_field"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.6,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 400,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.2},
        },
        "tools": [{"type": "function", "name": "get_time", "description": "The time.", "parameters": TIME.parameters}],
        "tool_choice": {"type": "function", "name": "get_time"},
        "max_output_tokens": 300,
        "reasoning": {"effort": "low"},
    }
    assert stand.peer.target.endswith("?model=gpt-realtime-2")


def test_the_agents_voice_wins_over_the_engines() -> None:
    stand = begun(plan(), context=make_context(voice="cedar", first_message="Hello."), voice="marin")
    assert stand.messages("session.update")[0]["session"]["audio"]["output"]["voice"] == "cedar"
    assert stand.messages("response.create")[0]["response"]["audio"]["output"]["voice"] == "cedar"


def test_the_beta_protocol_is_spoken_on_request() -> None:
    stand = begun(
        plan("It is noon."),
        context=make_context(first_message="Hello."),
        protocol="beta",
        temperature=0.7,
        max_output_tokens=99,
    )
    assert stand.peer.headers["openai-beta"] == "realtime=v1"
    stand.run(1500)
    stand.say(800, 3000)
    assert stand.heard == ["Hello.", "It is noon."]
    assert stand.said == ["First question."]
    assert stand.peer.refused == []
    session = stand.messages("session.update")[0]["session"]
    assert session["input_audio_format"] == "g711_ulaw"
    assert session["max_response_output_tokens"] == 99


def test_no_beta_header_otherwise() -> None:
    assert "openai-beta" not in begun(plan()).peer.headers


def test_the_end_lets_go_of_everything() -> None:
    stand = begun(plan("Yes."))
    stand.tell(Ended())
    assert [(order.name, order.code) for order in stand.told(CloseLink)] == [("engine:1", 1000)]
    assert stand.engine.deadline is None
    assert not stand.engine.busy
    assert not stand.engine.says
    assert stand.engine.hear(stand.now, b"\xff" * 160) == []
    assert stand.engine.begin(stand.now) == []


# --- turns -----------------------------------------------------------------------------------------------------------


def test_turns_are_told_on_our_clock() -> None:
    stand = begun(plan("Yes."))
    start = stand.now
    stand.say(1000, 3000)
    started, stopped = stand.told(CallerStarted)[0].at, stand.told(CallerStopped)[0].at
    assert abs(started - start) <= 40_000
    assert abs(stopped - (start + 1_000_000)) <= 60_000
    assert stand.told(CallerSaid)[-1].stopped == stopped


def test_words_come_in_pieces_and_then_whole() -> None:
    stand = begun(plan("Yes."))
    stand.say(800, 3000)
    said = stand.told(CallerSaid)
    assert [one.final for one in said] == [False, False, True]
    assert said[-1].text.startswith(said[0].text)


def test_a_reply_that_begins_before_its_question_is_written_down_is_told_at_once() -> None:
    stand = begun(plan("Yes.", words_us=1_500_000))
    stand.say(800, 4000)
    (final,) = [at for at, order in stand.orders if isinstance(order, CallerSaid) and order.final]
    assert stand.when(ReplyBegan)[0] <= stand.when(Speak)[0] < final


def test_without_transcription_replies_are_told_at_once() -> None:
    stand = begun(plan("Yes."), transcription_model="")
    stand.say(800, 3000)
    assert stand.said == []
    assert len(stand.told(ReplyBegan)) == 1
    assert stand.messages("session.update")[0]["session"]["audio"]["input"]["transcription"] is None


def test_a_failed_transcription_is_reported_and_holds_nothing_up() -> None:
    stand = begun(plan("Yes.", "No.", words=("", "Second.")))
    stand.say(800, 4000)
    stand.say(800, 4000)
    assert stand.failed == ["stt"]
    assert stand.said == ["Second."]
    assert stand.heard == ["Yes.", "No."]


def test_words_that_never_come_hold_nothing_up_for_long() -> None:
    stand = begun(plan("Yes.", words_us=60_000_000))
    stand.say(800, 12_000)
    assert stand.failed == ["stt"]
    assert stand.told(ReplyBegan) != []


def test_a_turn_the_service_does_not_answer_is_answered_on_request() -> None:
    stand = begun(plan("Yes.", answers_nobody=True))
    stand.say(800, 6000)
    assert stand.heard == ["Yes."]
    assert len(stand.messages("response.create")) == 1


def test_keys_are_words_and_are_answered() -> None:
    stand = begun(plan("You pressed five."))
    stand.tell(Keyed("[DTMF: 5]"))
    assert stand.engine.busy
    stand.run(3000)
    assert stand.said == ["[DTMF: 5]"]
    assert stand.heard == ["You pressed five."]
    assert [item["text"] for item in stand.peer.items if item.get("role") == "user"] == ["[DTMF: 5]"]


def test_keys_come_in_order_with_what_was_said() -> None:
    stand = begun(plan("Yes.", "Five.", words_us=1_200_000))
    stand.say(800, 900)
    stand.tell(Keyed("[DTMF: 5]"))
    stand.run(6000)
    assert stand.said == ["First question.", "[DTMF: 5]"]
    assert stand.peer.refused == []


def test_keys_pressed_before_the_session_is_ready_are_answered() -> None:
    stand = Stand(plan("Five."))
    stand.begin()
    stand.tell(Keyed("[DTMF: 5]"))
    stand.run(3000)
    assert stand.heard == ["Five."]


# --- saying things ---------------------------------------------------------------------------------------------------


def test_lines_of_the_applications_are_spoken_in_order_under_their_names() -> None:
    stand = begun(plan(), context=make_context(first_message="Hello."))
    stand.tell(Say("say:1", "One."))
    stand.tell(Say("say:2", "Two."))
    stand.run(6000)
    assert stand.words_order == ["first", "say:1", "say:2"]
    assert stand.heard == ["Hello.", "One.", "Two."]
    assert stand.told(ReplyBegan) == []
    assert stand.peer.refused == []


def test_what_waits_to_be_said_is_bounded() -> None:
    stand = begun(plan())
    for number in range(100):
        stand.tell(Say(f"say:{number}", "x" * 300))
    assert stand.failed
    assert set(stand.failed) == {"tts"}


def test_several_items_in_one_reply() -> None:
    stand = begun(plan(answers=(Answer(texts=("Let me see.", "It is noon.")),)))
    stand.say(800, 5000)
    assert stand.heard == ["Let me see.", "It is noon."]
    assert len(stand.told(ReplyBegan)) == 1
    assert len(stand.told(SpeechEnded)) == len(stand.told(Said)) == 2


def test_every_item_ends_once_and_nothing_is_spoken_in_it_after() -> None:
    stand = begun(plan("A first answer.", "And a second."), context=make_context(first_message="Hello."))
    stand.run(1500)
    stand.say(800, 3000)
    stand.say(800, 3000)
    ended: set[str] = set()
    for _, order in stand.orders:
        if isinstance(order, Speak | Saying | Said):
            assert order.item not in ended
        elif isinstance(order, SpeechEnded):
            assert order.item not in ended
            ended.add(order.item)
    assert ended == set(stand.items)


def test_a_written_answer_is_spoken() -> None:
    stand = begun(plan(answers=(Answer(texts=("In writing.",), written=True),)))
    stand.say(800, 5000)
    assert stand.heard == ["In writing."]
    assert len(stand.told(ReplyBegan)) == 1


def test_the_link_is_never_paused() -> None:
    stand = begun(plan("A long answer that goes on and on for a while."))
    stand.say(800, 900)
    assert stand.engine.handle(stand.now, SpeechEnough()) == []
    stand.run(4000)
    assert stand.engine.handle(stand.now, SpeechWanted()) == []
    assert stand.heard


# --- interruptions ---------------------------------------------------------------------------------------------------

LONG = "This is a long answer, and nobody listens to all of it, as it goes on and on and on."


def test_a_barge_in_truncates_to_what_was_heard() -> None:
    stand = begun(plan(LONG, "Yes?"))
    stand.say(800, 2500)
    stand.say(1000, 4000)
    item = stand.items[stand.words_order[0]]
    assert item.cut
    truncate = stand.messages("conversation.item.truncate")
    assert [(one["audio_end_ms"], one["content_index"]) for one in truncate] == [(item.heard_us // 1000, 0)]
    assert 0 < truncate[0]["audio_end_ms"] < item.us // 1000
    known = next(one for one in stand.peer.items if one["id"] == truncate[0]["item_id"])
    assert known["audio_ms"] == truncate[0]["audio_end_ms"]
    assert known["text"] is None
    assert stand.heard[-1] == "Yes?"
    assert set(stand.peer.refused) <= {"response_cancel_not_active"}


def test_it_is_truncated_also_after_the_response_was_done() -> None:
    stand = begun(plan("This takes four seconds to say, and a little more than that."))
    stand.say(800, 2800)
    assert stand.peer.spoken  # generated whole, long before it was heard
    stand.say(800, 500)
    assert len(stand.messages("conversation.item.truncate")) == 1
    assert stand.messages("response.cancel") == []


def test_a_reply_under_way_is_cancelled_once_and_its_late_audio_dropped() -> None:
    stand = begun(plan(LONG * 8, "Yes?"), context=make_context(interruptions=Interruptions()))
    stand.say(800, 1600)
    name = stand.words_order[0]
    spoken = len(stand.told(Speak))
    stand.tell(Interrupted(name, 500_000, "This"))
    stand.tell(Interrupted("", 0, ""))
    stand.items[name].over = True
    stand.run(2000)
    assert len(stand.messages("response.cancel")) == 1
    assert len(stand.told(Speak)) == spoken
    assert stand.messages("conversation.item.truncate")[0]["audio_end_ms"] == 500
    assert stand.peer.refused == []


def test_truncation_is_clamped_to_the_items_length() -> None:
    stand = begun(plan("Short."))
    stand.say(800, 1100)
    name = stand.words_order[0]
    stand.tell(Interrupted(name, 99_000_000, "Short."))
    stand.run(500)
    assert stand.messages("conversation.item.truncate")[0]["audio_end_ms"] == stand.items[name].us // 1000
    assert stand.peer.refused == []


def test_an_item_is_truncated_once() -> None:
    stand = begun(plan("Short."))
    stand.say(800, 1100)
    for _ in range(3):
        stand.tell(Interrupted(stand.words_order[0], 100_000, ""))
    stand.run(200)
    assert len(stand.messages("conversation.item.truncate")) == 1


def test_an_unknown_item_is_nothing() -> None:
    stand = begun(plan("Short."))
    assert stand.engine.handle(stand.now, Interrupted("nobody", 5, "")) == []
    assert stand.engine.handle(stand.now, Played("nobody")) == []


def test_an_interruption_before_the_reply_was_created_silences_it() -> None:
    stand = begun(plan("Never heard."))
    stand.tell(Keyed("[DTMF: 1]"))
    stand.tell(Interrupted("", 0, ""))
    stand.run(3000)
    assert stand.heard == []
    assert len(stand.messages("response.cancel")) == 1
    assert not stand.engine.busy


def test_the_service_decides_where_nothing_else_is_said() -> None:
    stand = begun(plan(LONG))
    assert _turns(stand)["interrupt_response"] is True
    stand.speak(900)
    stand.run(400)
    assert stand.engine.voiced_us >= 1_000_000_000
    stand.run(2000)
    assert stand.engine.voiced_us == 0


def test_with_interruptions_of_ones_own_the_conversation_decides() -> None:
    context = make_context(interruptions=Interruptions(speaking_ms=600))
    stand = begun(plan(LONG, "Yes?"), context=context, threshold_us=600_000)
    assert _turns(stand)["interrupt_response"] is False
    stand.say(800, 2500)
    assert stand.audible
    stand.speak(2000)
    stand.run(400)
    assert 200_000 <= stand.engine.voiced_us <= 420_000
    assert not stand.items[stand.words_order[0]].cut
    stand.run(400)
    assert stand.items[stand.words_order[0]].cut
    stand.run(5000)
    assert stand.heard[-1] == "Yes?"


def test_a_cough_interrupts_nobody_who_decides_for_themselves() -> None:
    context = make_context(interruptions=Interruptions(speaking_ms=600))
    stand = begun(plan(LONG), context=context, threshold_us=600_000)
    stand.say(800, 2500)
    stand.say(160, 1500)
    assert len(stand.told(CallerStarted)) == 2
    assert not stand.items[stand.words_order[0]].cut


def test_a_protected_first_message_is_not_cut_by_the_service() -> None:
    context = make_context(first_message=LONG, interruptions=Interruptions(first_message="protect"))
    stand = begun(plan("Later."), context=context, interrupts=False)
    stand.run(700)
    stand.say(800, 12_000)
    assert stand.heard[0] == LONG
    assert stand.heard[1:] == ["Later."]


def _turns(stand: Stand) -> dict[str, object]:
    value = stand.messages("session.update")[0]["session"]["audio"]["input"]["turn_detection"]
    assert isinstance(value, dict)
    return value


# --- tools -----------------------------------------------------------------------------------------------------------


def tool_plan(*calls: tuple[str, str], texts: tuple[str, ...] = (), then: str = "It is noon.") -> RealtimePlan:
    return plan(answers=(Answer(texts=texts, calls=calls), Answer(texts=(then,))))


def test_a_tool_is_called_and_its_result_spoken() -> None:
    stand = begun(tool_plan(("get_time", '{"zone":"UTC"}')), context=make_context(tools=(TIME,)))
    stand.say(800, 1500)
    assert [(one.name, one.arguments) for one in stand.tools] == [("get_time", '{"zone":"UTC"}')]
    assert not stand.engine.busy  # waiting for a tool is not being about to speak
    stand.tell(ToolAnswered(stand.tools[0].call, '{"time":"12:00"}'))
    stand.run(3000)
    assert stand.heard == ["It is noon."]
    assert stand.peer.items[-2]["output"] == '{"time":"12:00"}'
    assert stand.peer.refused == []


def test_tools_in_parallel_are_answered_together() -> None:
    stand = begun(tool_plan(("one", "{}"), ("two", "{}"), texts=("Let me see.",)))
    stand.say(800, 1500)
    first, second = (one.call for one in stand.tools)
    stand.tell(ToolAnswered(second, "2"))
    stand.run(1000)
    assert stand.messages("response.create") == []
    stand.tell(ToolAnswered(first, "1"))
    stand.run(3000)
    assert len(stand.messages("response.create")) == 1
    assert stand.heard == ["Let me see.", "It is noon."]


def test_a_tool_answered_before_the_next_one_is_called_waits_for_it() -> None:
    stand = begun(tool_plan(("one", "{}"), ("two", "{}")))
    stand.speak(800)
    while not stand.tools:
        stand.run(20)
    stand.tell(ToolAnswered(stand.tools[0].call, "1"))
    stand.run(1000)
    assert len(stand.tools) == 2
    assert stand.messages("response.create") == []
    stand.tell(ToolAnswered(stand.tools[1].call, "2"))
    stand.run(3000)
    assert len(stand.messages("response.create")) == 1
    assert stand.peer.refused == []


def test_a_quiet_answer_asks_for_no_reply() -> None:
    stand = begun(tool_plan(("end_call", "{}")))
    stand.say(800, 1500)
    stand.tell(ToolAnswered(stand.tools[0].call, "{}", quiet=True))
    stand.run(3000)
    assert stand.heard == []
    assert stand.messages("response.create") == []
    assert stand.peer.items[-1]["type"] == "function_call_output"
    assert not stand.engine.busy


def test_a_slow_tool_holds_nothing_up() -> None:
    stand = begun(
        plan(answers=(Answer(texts=("One moment.",), calls=(("slow", "{}"),)), Answer(texts=("Still at it.",))))
    )
    stand.say(800, 3000)
    stand.say(800, 3000)
    assert stand.heard == ["One moment.", "Still at it."]
    stand.tell(ToolAnswered(stand.tools[0].call, "done"))
    stand.run(3000)
    assert stand.heard == ["One moment.", "Still at it.", "Still at it."]


def test_a_tool_answered_while_the_caller_speaks_is_part_of_the_next_reply() -> None:
    stand = begun(tool_plan(("get_time", "{}")))
    stand.say(800, 1500)
    stand.speak(1500)
    stand.run(700)
    stand.tell(ToolAnswered(stand.tools[0].call, "{}"))
    stand.run(5000)
    assert stand.heard == ["It is noon."]
    assert stand.messages("response.create") == []


def test_an_unknown_or_repeated_answer_is_nothing() -> None:
    stand = begun(tool_plan(("one", "{}")))
    stand.say(800, 1500)
    stand.tell(ToolAnswered("call_nobody", "1"))
    for _ in range(3):
        stand.tell(ToolAnswered(stand.tools[0].call, "1"))
    stand.run(3000)
    outputs = [item for item in stand.peer.items if item["type"] == "function_call_output"]
    assert len(outputs) == len(stand.messages("response.create")) == 1
    assert len(stand.told(CallTool)) == 1


# --- guardrails ------------------------------------------------------------------------------------------------------

RUDE = GuardSpec(name="rude", blocked_terms=("blockhead",), replacement="Let us stay polite.")


def test_a_blocked_term_is_cut_and_replaced() -> None:
    text = "You are, as I said, and I say it gladly and slowly, a blockhead, and I will say so again tomorrow."
    stand = begun(plan(text), context=make_context(guards=(RUDE,)))
    stand.say(800, 6000)
    assert [one.why for one in stand.told(CutShort)] == ["rude"]
    assert stand.heard[-1] == "Let us stay polite."
    assert "blockhead" not in "".join(stand.heard)
    assert len(stand.messages("response.cancel")) == 1
    assert "blockhead" not in str(stand.peer.items)
    assert any(item.get("role") == "system" and "rude" in item["text"] for item in stand.peer.items)


def test_a_term_in_the_first_words_leaves_nothing_of_the_item() -> None:
    stand = begun(plan("Blockhead! Go away."), context=make_context(guards=(RUDE,)))
    stand.say(800, 5000)
    assert stand.heard[-1] == "Let us stay polite."
    assert "ockhead" not in "".join(stand.heard)
    assert "ockhead" not in str(stand.peer.items)


def test_a_term_at_the_very_end_is_found() -> None:
    stand = begun(plan("I think that you are truly and really a blockhead"), context=make_context(guards=(RUDE,)))
    stand.say(800, 6000)
    assert stand.heard[-1] == "Let us stay polite."


def test_what_was_blocked_is_forgotten_even_if_nobody_says_what_was_heard() -> None:
    stand = begun(plan("I say, you blockhead, and go on and on."), context=make_context(guards=(RUDE,)))
    stand._cut = lambda name: None  # type: ignore[method-assign]
    stand.say(800, 5000)
    assert stand.messages("conversation.item.truncate")[0]["audio_end_ms"] == 0
    assert "blockhead" not in str(stand.peer.items)


def test_the_applications_own_words_are_not_guarded() -> None:
    stand = begun(plan(), context=make_context(guards=(RUDE,), first_message="Blockhead Incorporated, hello."))
    stand.run(4000)
    assert stand.heard == ["Blockhead Incorporated, hello."]


CHECK = GuardSpec(name="check", check=HandlerSpec("guard.check", Lane.THREAD), replacement="Something else.")


def test_a_check_is_asked_by_sentence_and_stops_the_reply() -> None:
    text = "First sentence here. The second one is not to be said. A third one follows it."
    stand = begun(plan(text), context=make_context(guards=(CHECK,)))
    stand.say(800, 1150)
    assert [(run.handler, run.args, run.lane) for run in stand.runs][:1] == [
        ("guard.check", ("First sentence here.",), Lane.THREAD)
    ]
    stand.tell(TaskReturned(stand.runs[0].name, False))
    stand.run(300)
    stand.tell(TaskReturned(stand.runs[1].name, True))
    stand.run(5000)
    assert stand.heard[-1] == "Something else."
    assert [one.why for one in stand.told(CutShort)] == ["check"]


def test_a_check_that_fails_is_reported_and_stops_nothing() -> None:
    stand = begun(plan("One sentence. Two sentences."), context=make_context(guards=(CHECK,)))
    stand.say(800, 3000)
    first, second = stand.runs
    stand.tell(TaskRaised(first.name, Fault.USER, "broken"))
    stand.tell(TaskReturned(second.name, "yes"))
    assert stand.failed == ["guard", "guard"]
    assert stand.heard == ["One sentence. Two sentences."]


def test_a_check_that_never_answers_is_dropped() -> None:
    stand = begun(plan("One sentence."), context=make_context(guards=(CHECK,)))
    stand.say(800, 15_000)
    assert [order.name for order in stand.told(Drop)] == [stand.runs[0].name]
    assert stand.failed == ["guard"]


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_tokens_are_counted_each_in_one_place() -> None:
    stand = begun(plan("Yes."))
    stand.say(800, 3000)
    stt, llm = stand.used
    assert stt.usage == Usage(
        stage="stt",
        provider="openai_transcribe",
        model="gpt-4o-mini-transcribe",
        audio_us=1_560_000,  # of the turn, with what was kept from before the voice and the silence that ended it
        input_audio=10,
        output_text=3,
    )
    usage = llm.usage
    assert (usage.stage, usage.provider, usage.model) == ("llm", "openai_realtime", "gpt-realtime-2")
    assert (usage.input_text, usage.cached_text) == (120 - 64, 64)
    assert (usage.input_audio, usage.cached_audio) == (80 - 32, 32)
    assert usage.output_audio > 0
    assert llm.item == stand.words_order[0]


# --- calls are apart -------------------------------------------------------------------------------------------------


def test_two_calls_share_nothing() -> None:
    one = begun(plan("One."), context=make_context(first_message="First.", prefix="a:"))
    two = begun(plan("Two."), context=make_context(first_message="Second.", prefix="b:"))
    one.run(1000)
    for _ in range(3):
        one.say(700, 2000)
        two.run(1500)
    two.say(700, 3000)
    assert one.heard == ["First.", "One.", "One.", "One."]
    assert two.heard == ["Second.", "Two."]
    names = {order.name for stand in (one, two) for order in stand.told(OpenLink)}
    assert names == {"a:1", "b:1"}


def test_the_same_call_gives_the_same_orders() -> None:
    def call() -> Stand:
        stand = begun(plan(LONG, "Yes?"), context=make_context(first_message="Hello.", guards=(CHECK,)))
        stand.say(800, 2500)
        stand.say(1000, 4000)
        return stand

    first, second = call(), call()
    assert first.orders == second.orders
    assert first.sent == second.sent


def test_names_are_never_used_twice() -> None:
    stand = begun(plan("One. Two. Three.", "Four. Five."), context=make_context(guards=(CHECK,)))
    for _ in range(3):
        stand.say(700, 3000)
    names = [run.name for run in stand.runs] + [order.name for order in stand.told(OpenLink)]
    assert len(names) == len(set(names))
    assert all(name.startswith("engine:") for name in names)


def test_audio_messages_are_what_a_json_library_would_write() -> None:
    stand = begun(plan())
    text = next(one for one in stand.sent if "append" in one)
    event = decoded(text)
    assert set(event) == {"type", "audio"}
    assert msgspec.json.encode(event).decode() == text


def test_a_sessions_clock_is_ours_whatever_stretches_its_audio_came_in() -> None:
    session = Session("link")
    assert session.heard_at(0, 5_000_000) == 5_000_000  # nothing is known
    session.gave(1_000_000, 500_000)  # heard from 0.5 s to 1 s
    for frame in range(100):
        session.gave(3_020_000 + 20_000 * frame, 20_000)  # and from 3 s on
    assert session.heard_at(200_000, 9_000_000) == 700_000
    assert session.heard_at(500_000, 9_000_000) == 3_000_000
    assert session.heard_at(1_500_000, 9_000_000) == 4_000_000
    assert session.heard_at(99_000_000, 9_000_000) == 9_000_000  # not in the future
    assert session.heard_at(200_000, 900_000_000) == 900_000_000  # nor so long ago
    session.forget_audio()
    assert session.heard_at(0, 7) == 7
