"""What is said in a call: who is heard, who is interrupted, what is written down, and what each turn took."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.audio.formats import PCMA_8K, PCMU_8K
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.tones import tone
from patter_core.audio.transcode import Transcoder
from patter_core.call.words import Drop, Pressure, Rest, SayWanted, TaskAudio, TaskReturned, ToCarrier
from patter_core.engines.pipeline import PipelineEngine
from patter_core.events import (
    BargedIn,
    CallbackFailed,
    CallbackTimedOut,
    CallEnded,
    FramesDropped,
    OverrideIgnored,
    SpeechFailed,
    TranscriptLine,
    TurnCompleted,
)
from patter_core.reasons import EndReason
from tests.core.call_kit import (
    CALL,
    MS,
    QUIET,
    VOICE,
    Phone,
    Rig,
    S,
    mark_text,
    of,
    pipeline,
    sent,
    sent_bytes,
    told,
)


def talking(*callbacks: str, first: str = "", at: int = 0, **settings: Any) -> Rig:
    rig = Rig(pipeline(*callbacks, first_message=first), at=at, **settings)
    rig.begin()
    return rig


def clears(orders: list[Any]) -> int:
    return [m["event"] for m in sent(orders)].count("clear")


# --- echo ------------------------------------------------------------------------------------------------------------


def test_an_echo_is_what_came_byte_for_byte() -> None:
    rig = Rig()
    rig.begin()
    heard = b"".join(bytes([n % 256]) * 160 for n in range(40))
    out = rig.listen(*[heard[at : at + 160] for at in range(0, len(heard), 160)])
    assert sent_bytes(out) == heard


def test_an_empty_frame_is_no_message() -> None:
    rig = Rig()
    rig.begin()
    assert rig.hear(b"") == []


def test_live_audio_under_pressure_is_dropped_oldest_first_and_told_once() -> None:
    rig = Rig()
    rig.begin()
    rig.do(Pressure(True))
    out = rig.listen(*[bytes([n]) * 160 for n in range(50)])
    assert sent(out) == []
    assert told(FramesDropped, out) == []
    out = rig.listen(*[bytes([n]) * 160 for n in range(50, 60)])
    assert told(FramesDropped, out) == [FramesDropped(CALL, 1)]
    assert sent_bytes(rig.do(Pressure(False)))[:160] == bytes([10]) * 160
    rig.do(Pressure(True))
    out = rig.listen(*[QUIET] * 100)
    assert told(FramesDropped, out) == []


def test_pressure_dies_with_its_socket() -> None:
    rig = Rig()
    rig.begin()
    rig.do(Pressure(True))
    rig.lose()
    rig.begin()
    assert sent_bytes(rig.hear(VOICE)) == VOICE


# --- on_call_start ---------------------------------------------------------------------------------------------------


def test_on_call_start_is_asked_first_and_its_answer_is_used() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello {who}, from {place}."))
    out = rig.begin(parameters={"caller": "+1", "x": "y"})
    (run,) = rig.runs("on_call_start")
    assert run.args[0] == {
        "call_id": CALL,
        "caller": "+15550100001",
        "callee": "+15550001234",
        "direction": "inbound",
        "custom_params": {"caller": "+1", "x": "y"},
        "telephony_provider": "twilio",
    }
    assert rig.runs("tts") == []
    out = rig.callback_returns(
        {"variables": {"who": "{place}", "place": "here", 7: 8}, "first_message": "Hi {who}. {7}"}
    )
    assert told(OverrideIgnored, out) == []
    assert rig.runs("tts")[0].args == ("Hi {place}.",)  # filled in once


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (None, []),
        ({}, []),
        ("text", [""]),
        (["first_message"], [""]),
        (True, [""]),
        ({"first_message": None}, ["first_message"]),
        ({"first_message": 7}, ["first_message"]),
        ({"variables": ["a"]}, ["variables"]),
        ({"stt": []}, ["stt"]),
        ({"tools": ["other"]}, ["tools"]),
        ({"zz": 1, "aa": 2, "language": "de"}, ["zz", "aa"]),
        ({"unsupported": "Agent"}, ["unsupported"]),
    ],
)
def test_what_cannot_be_applied_is_told_and_the_call_goes_on(value: Any, keys: list[str]) -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    out = rig.callback_returns(value)
    assert [event.key for event in told(OverrideIgnored, out)] == keys
    assert rig.runs("tts")[0].args == ("Hello.",)


def test_on_call_start_that_fails_changes_nothing() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    out = rig.raised(rig.running("on_call_start"), "KeyError: 'x'")
    assert told(CallbackFailed, out) == [CallbackFailed(CALL, "on_call_start", "KeyError: 'x'")]
    assert len(rig.runs("tts")) == 1


def test_on_call_start_too_slow_is_given_up_at_two_seconds_and_a_late_answer_is_nothing() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    name = rig.running("on_call_start")
    assert rig.until(2 * S - 1) == []
    out = rig.until(2 * S)
    assert out[0] == Drop(name)
    assert told(CallbackTimedOut, out) == [CallbackTimedOut(CALL, "on_call_start", 2_000)]
    assert rig.runs("tts")[0].args == ("Hello.",)
    assert rig.returned(name, {"first_message": "Late."}) == []


def test_on_call_start_is_asked_once_however_often_the_stream_comes_back() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    rig.lose()
    rig.begin()
    assert len(rig.runs("on_call_start")) == 1
    rig.callback_returns({"first_message": "Hi."})
    assert [run.args for run in rig.runs("tts")] == [("Hi.",)]


def test_on_call_start_that_answers_while_the_stream_is_gone_is_used_when_it_is_back() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    rig.lose()
    rig.callback_returns({"first_message": "Hi."})
    assert rig.runs("tts") == []
    rig.begin()
    assert [run.args for run in rig.runs("tts")] == [("Hi.",)]
    assert len(rig.runs("on_call_start")) == 1


def test_what_the_caller_says_meanwhile_is_heard_and_timed_as_if_nothing_had_held_it_up() -> None:
    def turn(slow: bool) -> Any:
        rig = Rig(pipeline(*["on_call_start"] * slow))
        rig.begin()
        rig.listen(*[QUIET] * 10, *[VOICE] * 20, *[QUIET] * 40)
        if slow:
            rig.callback_returns(None)
        rig.later(20 * MS)
        return rig, rig.call._conversation._turns._stopped[0]

    (quick, expected), (slow, found) = turn(False), turn(True)
    assert (found.started, found.voiced, found.endpoint) == (expected.started, expected.voiced, expected.endpoint)
    assert slow.runs("stt")[0].args == quick.runs("stt")[0].args


def test_of_what_the_caller_says_meanwhile_the_newest_is_kept() -> None:
    rig = Rig(pipeline("on_call_start"), utterance_s=1.0, on_call_start_s=60.0)
    rig.begin()
    rig.listen(*[VOICE] * 50)
    assert rig.call._conversation._early_bytes == 8_000
    rig.listen(VOICE)
    assert rig.call._conversation._early_bytes == 8_000
    for _ in range(100):
        rig.hear(b"\xff" * 100_000)
    assert rig.call._conversation._early_bytes <= 8_000
    rig.callback_returns(None)
    assert rig.call._conversation._early_bytes == 0


def test_a_recogniser_whose_time_was_up_before_on_call_start_returned() -> None:
    rig = Rig(pipeline("on_call_start"), stt_s=0.1, on_call_start_s=30.0)
    rig.begin()
    rig.listen(*[VOICE] * 20, *[QUIET] * 200)
    rig.callback_returns(None)  # the rig checks that no deadline is in the past
    assert [event.stage for event in rig.events(SpeechFailed)] == ["stt"]


# --- the transcript and the turns ------------------------------------------------------------------------------------


def exchange(rig: Rig, phone: Phone, said: str, answer: str, ms: int = 400) -> None:
    phone.run(400 * MS, lambda: VOICE)
    phone.run(700 * MS)
    rig.returned(rig.running("stt"), said)
    rig.later(30 * MS)
    rig.yielded(rig.running("reply"), answer)
    rig.returned(rig.running("reply"))
    rig.later(20 * MS)
    rig.speak(ms)


def test_a_turn_is_written_down_when_it_was_heard_and_its_parts_add_up() -> None:
    rig = talking("on_transcript", "on_metrics")
    phone = Phone(rig)
    exchange(rig, phone, "Hello?", "Hi there. ")
    phone.run(300 * MS)
    assert [line.text for line in rig.events(TranscriptLine)] == ["Hello?"]
    phone.run(300 * MS)
    assert rig.events(TranscriptLine)[-1] == TranscriptLine(CALL, "assistant", "Hi there.", 1, False)
    (turn,) = [event.turn for event in rig.events(TurnCompleted)]
    latency = turn.latency
    assert (turn.turn_index, turn.user_text, turn.agent_text) == (1, "Hello?", "Hi there.")
    assert turn.tts_characters == len("Hi there.")
    assert turn.stt_audio_seconds == pytest.approx(0.4, abs=0.02)
    assert latency.llm_ttft_ms == 30
    assert latency.tts_ms == 20
    assert (
        latency.endpoint_ms
        + latency.stt_ms
        + latency.llm_ttft_ms
        + latency.llm_sentence_ms
        + latency.tts_ms
        + latency.send_ms
        == latency.agent_response_ms
    )
    assert latency.agent_response_ms == pytest.approx(600 + 100 + 50, abs=21)


def test_an_answer_to_two_utterances_is_measured_from_the_second() -> None:
    rig = talking()
    phone = Phone(rig)
    phone.run(400 * MS, lambda: VOICE)
    phone.run(700 * MS)
    rig.returned(rig.running("stt"), "One.")
    phone.run(400 * MS, lambda: VOICE)
    phone.run(700 * MS)
    rig.returned(rig.running("stt"), "Two.")
    rig.returned(rig.running("reply"), "Both.")
    rig.speak(100)
    phone.run(S)
    first, second = [event.turn for event in rig.events(TurnCompleted)]
    assert (first.user_text, first.agent_text, first.latency.agent_response_ms) == ("One.", "", 0)
    assert (second.user_text, second.agent_text) == ("Two.", "Both.")
    assert second.latency.agent_response_ms == pytest.approx(700, abs=21)


def test_each_turn_keeps_its_own_stages_when_the_recogniser_is_behind() -> None:
    rig = talking()
    phone = Phone(rig)
    stops = []
    for _ in range(2):
        phone.run(400 * MS, lambda: VOICE)
        phone.run(700 * MS)
        stops.append(rig.now - 700 * MS)
    one = rig.running("stt")
    phone.run(100 * MS, lambda: VOICE)  # and is speaking again
    rig.returned(one, "One.")
    rig.returned(rig.running("stt"), "Two.")
    rig.returned(rig.running("reply"), "Yes.")
    turns = rig.call._conversation._turns
    assert turns._open["r" + rig.running("reply").removeprefix("reply:")].stage.voiced == pytest.approx(
        stops[1], abs=20 * MS
    )


def test_the_history_a_reply_is_given_is_bounded() -> None:
    rig = talking(history=2)
    for n in range(4):
        rig.utter(f"w{n}.")
        rig.returned(rig.running("reply"), None)
    payload = rig.runs("reply")[-1].args[0]
    assert payload["text"] == "w3."
    assert [line["text"] for line in payload["history"]] == ["w2.", "w3."]
    assert (payload["call_id"], payload["caller"], payload["callee"]) == (CALL, "+15550100001", "+15550001234")


def test_keys_are_lines_of_the_caller() -> None:
    rig = talking("on_transcript")
    rig.say('{"event":"dtmf","streamSid":"' + "MZ" + "1" * 32 + '","dtmf":{"digit":"5"}}')
    out = rig.later(1_000_000)  # keys_pause_s: nothing more is being keyed in
    assert told(TranscriptLine, out) == [TranscriptLine(CALL, "user", "[DTMF: 5]", 1)]
    assert rig.runs("on_transcript")[0].args[0]["history"][0]["text"] == "[DTMF: 5]"


def test_say_before_there_is_a_voice_is_said_when_there_is_one() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.do(SayWanted("Early."))
    rig.begin()
    rig.do(SayWanted("Also."))
    rig.callback_returns(None)
    for _ in range(3):
        rig.speak(100)
    assert [run.args[0] for run in rig.runs("tts")] == ["Hello.", "Early.", "Also."]


def test_a_slow_voice_reader_makes_the_next_sentence_wait() -> None:
    rig = talking(first="One. Two. Three.")
    phone = Phone(rig)
    rig.speak(4_900)
    assert len(rig.runs("tts")) == 2  # 4.7 s are queued
    rig.speak(1_100)
    assert len(rig.runs("tts")) == 2  # 5.8
    phone.run(3_200 * MS)
    assert len(rig.runs("tts")) == 2
    phone.run(300 * MS)
    assert len(rig.runs("tts")) == 3  # half of it is spoken


# --- barge-in --------------------------------------------------------------------------------------------------------


def interrupted(latency: int = 20 * MS, marks: bool = True, **agent: Any) -> tuple[Rig, Phone]:
    rig = Rig(pipeline(first_message="One two three four five six seven eight nine ten.", **agent))
    phone = Phone(rig, latency, marks)
    rig.begin()
    rig.audio(rig.running("tts"), b"\x01\x02" * 16 * 2_000)
    rig.returned(rig.running("tts"))
    phone.run(500 * MS)
    return rig, phone


@pytest.mark.parametrize("latency", [0, 20 * MS, 60 * MS])
@pytest.mark.parametrize("threshold", [0, 100, 300, 600])
def test_a_barge_in_stops_the_agent_within_two_frames_of_being_known(latency: int, threshold: int) -> None:
    rig, phone = interrupted(latency, barge_in_threshold_ms=threshold)
    began = rig.now
    phone.run(1_200 * MS, lambda: VOICE)
    (at,) = [at for at, order in rig.out if type(order) is ToCarrier and '"clear"' in order.text]
    # 60 ms of voice make a start; a frame is only known when it is complete and has come.
    known = began + latency + max(threshold, 60) * MS
    assert known - 20 * MS <= at <= known + 40 * MS
    after = [order for when, order in rig.out if when > at]
    assert sent_bytes(after) == b""
    assert phone.handset.buffered == 0


@pytest.mark.parametrize("marks", [True, False])
def test_what_was_heard_at_a_barge_in_is_what_is_written_down(marks: bool) -> None:
    rig, phone = interrupted(marks=marks)
    phone.run(600 * MS, lambda: VOICE)
    (event,) = rig.events(BargedIn)
    heard = phone.cleared_at[0] / 8
    assert event.heard_ms <= heard + 40
    assert event.heard_ms >= heard - 40 - 2 * 20
    assert event.heard_ms + event.dropped_ms == pytest.approx(2_000, abs=3)
    (line,) = rig.events(TranscriptLine)
    assert line.interrupted
    words = ["One", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten."]
    assert line.text.split() == words[: len(line.text.split())]
    assert 0 < len(line.text) / 49 <= heard / 2_000


@pytest.mark.parametrize("ms", [60, 100, 200, 280])
def test_a_cough_does_not_stop_the_agent(ms: int) -> None:
    """The end of speech is known only 600 ms later: by then a timer would have taken it for an interruption."""
    rig, phone = interrupted()
    phone.run(ms * MS, lambda: VOICE)
    phone.run(3 * S)
    assert rig.events(BargedIn) == []
    assert phone.handset.cleared == 0
    assert rig.events(TranscriptLine)[0].text.endswith("ten.")


def test_the_threshold_exactly() -> None:
    for frames, stopped in ((14, 0), (15, 1), (16, 1)):  # 300 ms are 15 frames
        rig, _ = interrupted(0)
        out = rig.listen(*[VOICE] * frames, *[QUIET] * 3)
        assert clears(out) == stopped, frames


def test_two_coughs_do_not_add_up() -> None:
    rig, phone = interrupted()
    for _ in range(2):
        phone.run(200 * MS, lambda: VOICE)
        phone.run(640 * MS)
    assert rig.events(BargedIn) == []


def test_only_an_audible_agent_is_interrupted() -> None:
    rig = talking()
    rig.listen(*[VOICE] * 50)
    assert rig.events(BargedIn) == []
    assert sent(rig.listen(*[VOICE] * 5)) == []


def test_an_agent_that_has_finished_is_not_interrupted() -> None:
    rig, phone = interrupted()
    phone.run(2 * S)
    assert rig.events(TranscriptLine)[0].interrupted is False
    phone.run(500 * MS, lambda: VOICE)
    assert rig.events(BargedIn) == []
    assert phone.handset.cleared == 0


def test_a_mark_makes_room_for_more_at_once() -> None:
    """What waits for a mark does not wait for the next frame as well."""
    rig = talking(first="One two three four five six.", unconfirmed_s=0.2, mark_patience_s=60.0)
    rig.speak(2_000)
    assert sent_bytes(rig.later(S)) == b""
    (name,) = [m["mark"]["name"] for m in sent([order for _, order in rig.out]) if m["event"] == "mark"]
    assert len(sent_bytes(rig.say(mark_text(name)))) == 1_600


def test_speech_that_comes_while_the_caller_speaks_is_not_begun() -> None:
    rig = talking()
    phone = Phone(rig)
    rig.utter("Hello.")
    rig.returned(rig.running("reply"), "An answer.")
    phone.run(400 * MS, lambda: VOICE)
    rig.audio(rig.running("tts"), bytes(32 * 500))
    phone.run(100 * MS, lambda: VOICE)
    assert phone.handset.received == 0
    (event,) = rig.events(BargedIn)
    assert (event.heard_ms, event.dropped_ms) == (0, pytest.approx(500, abs=5))
    assert rig.events(TurnCompleted)[0].turn.agent_text == ""


def test_an_agent_that_pauses_in_the_middle_does_not_go_on_while_the_caller_speaks() -> None:
    rig = talking(first="One. Two.")
    phone = Phone(rig)
    name = rig.running("tts")
    rig.audio(name, bytes(32 * 500))
    phone.run(600 * MS)
    phone.run(400 * MS, lambda: VOICE)
    assert rig.events(BargedIn) == []  # nothing to hear, nothing to interrupt
    assert clears(rig.audio(name, bytes(32 * 500))) <= 1
    assert [event.heard_ms for event in rig.events(BargedIn)] == [pytest.approx(500, abs=5)]
    assert phone.handset.received == pytest.approx(4_000, abs=40)


def test_late_audio_of_a_dropped_task_is_silence() -> None:
    rig = talking(first="One. Two.")
    phone = Phone(rig)
    name = rig.running("tts")
    rig.audio(name, bytes(32 * 1_000))
    phone.run(200 * MS)
    phone.run(400 * MS, lambda: VOICE)
    assert Drop(name) in rig.all(Drop)
    received = phone.handset.received
    for _ in range(10):
        assert rig.audio(name, b"\x11\x22" * 8_000) == []
    assert rig.returned(name) == []
    phone.run(S)
    assert phone.handset.received == received


def test_the_marks_that_a_clear_brings_back_are_not_hearing() -> None:
    rig, phone = interrupted()
    phone.run(600 * MS, lambda: VOICE)
    phone.run(500 * MS)
    rig.stop()
    rig.lose()
    (ended,) = rig.events(CallEnded)
    assert ended.marks_discarded >= 1
    assert [line.interrupted for line in rig.events(TranscriptLine)] == [True]


def test_the_end_of_what_was_cut_does_not_begin_what_is_said_next() -> None:
    """The down-sampler still holds the last milliseconds of what it was given."""
    rig = talking(first="Loud loud loud.")
    phone = Phone(rig)
    rig.audio(rig.running("tts"), b"\xff\x7f" * 16 * 1_000)
    phone.run(300 * MS)
    phone.run(400 * MS, lambda: VOICE)
    phone.run(700 * MS)
    rig.returned(rig.running("stt"), "What?")
    rig.returned(rig.running("reply"), "Quiet.")
    pcm = tone(400, 200, 16000)
    before = len(phone.handset.heard)
    out = [*rig.audio(rig.running("tts"), pcm), *rig.returned(rig.running("tts"))]
    assert before
    fresh = Transcoder(rig.call._conversation._engine.speaks, PCMU_8K)  # type: ignore[union-attr]
    expected = fresh.process(pcm) + fresh.flush()
    out += rig.later(500 * MS)
    assert sent_bytes(out) == expected


def test_an_item_that_was_heard_to_its_end_was_not_interrupted() -> None:
    """Its last mark is on the way when the caller answers at once."""
    rig = talking(first="Hi.")
    rig.speak(400)
    rig.listen(*[QUIET] * 8, *[VOICE] * 20)
    assert rig.events(BargedIn) == []
    assert rig.events(TranscriptLine) == [TranscriptLine(CALL, "assistant", "Hi.", 0, False)]


def test_a_reply_that_began_but_was_not_heard_closes_its_turn_when_it_is_interrupted() -> None:
    rig = talking(first="One two three four five six.")
    phone = Phone(rig)
    rig.speak(2_000)
    phone.run(200 * MS)
    phone.run(100 * MS, lambda: VOICE)
    phone.run(660 * MS)
    rig.returned(rig.running("stt"), "Hm.")
    rig.yielded(rig.running("reply"), "Well")
    phone.run(400 * MS, lambda: VOICE)
    assert len(rig.events(BargedIn)) == 1
    assert [event.turn.user_text for event in rig.events(TurnCompleted)] == ["Hm."]
    assert not rig.call._conversation._turns.open


# --- streams that come and go ----------------------------------------------------------------------------------------


def test_a_stream_that_is_lost_settles_what_was_heard_and_says_nothing_into_the_void() -> None:
    rig = talking(first="One two three four five six seven eight nine ten.")
    phone = Phone(rig)
    rig.speak(2_000)
    phone.run(500 * MS)
    rig.on_step = lambda at, orders: None
    rig.lose()
    (line,) = rig.events(TranscriptLine)
    assert line.interrupted
    assert 0 < len(line.text) < 20
    rig.do(SayWanted("Are you there?"))
    assert len(rig.runs("tts")) == 1
    rig.later(S)
    rig.begin()
    assert [run.args[0] for run in rig.runs("tts")][1:] == ["Are you there?"]
    out = [*rig.speak(100), *rig.later(S)]
    assert sent_bytes(out)


def test_a_question_asked_before_the_stream_was_lost_is_answered_when_it_is_back() -> None:
    rig = talking()
    rig.listen(*[VOICE] * 20, *[QUIET] * 35)
    rig.lose()
    rig.returned(rig.running("stt"), "Hello?")
    rig.returned(rig.running("reply"), "Hi.")
    assert rig.runs("tts") == []
    rig.later(S)
    rig.begin()
    assert rig.runs("tts")[0].args == ("Hi.",)


def test_a_stream_may_come_back_in_another_format() -> None:
    rig = talking(first="One. Two.")
    rig.lose()
    rig.begin(encoding="audio/x-alaw")
    pcm = tone(400, 500, 16000)
    rig.do(SayWanted("Three."))
    name = rig.running("tts")
    out = [*rig.do(TaskAudio(name, pcm)), *rig.do(TaskReturned(name)), *rig.later(S)]
    alaw = Transcoder(rig.call._conversation._engine.speaks, PCMA_8K)  # type: ignore[union-attr]
    assert sent_bytes(out) == alaw.process(pcm) + alaw.flush()
    frame = Transcoder(PCMU_8K, PCMA_8K).process(VOICE)
    rig.listen(*[frame] * 20, *[b"\xd5" * 160] * 35)
    assert len(rig.runs("stt")) == 1


def test_what_was_heard_early_in_another_format_is_not_mixed_in() -> None:
    rig = Rig(pipeline("on_call_start"))
    rig.begin()
    rig.listen(VOICE)
    rig.lose()
    rig.begin(encoding="audio/x-alaw")
    assert not rig.call._conversation._early
    assert rig.call._conversation._early_bytes == 0


def test_the_end_drops_whatever_runs() -> None:
    rig = talking(first="Hello.")
    rig.listen(*[VOICE] * 20, *[QUIET] * 35)
    tasks = {rig.running("tts"), rig.running("stt")}
    assert {order.name for order in of(Drop, rig.stop())} == tasks


def test_an_echo_in_another_format_is_coded_anew() -> None:
    rig = Rig()
    rig.begin()
    rig.lose()
    rig.begin(encoding="audio/x-alaw")
    frame = Transcoder(PCMU_8K, PCMA_8K).process(VOICE)
    assert len(sent_bytes(rig.listen(frame, frame))) == 320


# --- failing engines -------------------------------------------------------------------------------------------------


def test_without_a_voice_the_carrier_speaks_and_the_call_ends() -> None:
    rig = talking("on_call_end", first="Hello.")
    rig.raised(rig.running("tts"), "OSError: no voice")
    assert rig.call.reason is EndReason.ENGINE_FAILED
    request = rig.all(Rest)[0].request
    assert b"%3CSay" in request.body
    assert b"something+went+wrong" in request.body
    assert rig.events(SpeechFailed)[0].stage == "tts"


def test_a_fallback_of_the_agents_own() -> None:
    rig = Rig(pipeline(engine={"fallback_text": "Bis gleich & tschüß"}, first_message="Hallo.", language="de-DE"))
    rig.begin()
    rig.raised(rig.running("tts"))
    request = rig.all(Rest)[0].request
    assert b"de-DE" in request.body
    assert b"tsch%C3%BC%C3%9F" in request.body


def test_without_last_words_it_just_hangs_up() -> None:
    rig = Rig(pipeline(engine={"fallback_text": ""}, first_message="Hallo."))
    rig.begin()
    rig.raised(rig.running("tts"))
    request = rig.all(Rest)[0].request
    assert request.body == b"Status=completed"


def test_a_callback_that_yields_is_not_done_until_it_returns() -> None:
    rig = Rig(pipeline("on_call_start", first_message="Hello."))
    rig.begin()
    name = rig.running("on_call_start")
    assert rig.yielded(name, {"first_message": "x"}) == []
    assert rig.audio(name, b"x") == []
    rig.returned(name)
    assert rig.runs("tts")[0].args == ("Hello.",)


def test_engines_are_told_of_their_own_tasks_only() -> None:
    rig = talking(first="Hello.")
    assert isinstance(rig.call._conversation._engine, PipelineEngine)
    for name in ("", "tts:99", "cb:1:on_call_start", "stt:0", "reply:7"):
        assert rig.returned(name, "x") == []
        assert rig.audio(name, b"xx") == []
        assert rig.raised(name) == []


def test_unknown_marks_mean_nothing() -> None:
    rig = talking(first="Hello.")
    rig.speak(100)
    assert rig.say(mark_text("somebody else's")) == []
    assert rig.events(TranscriptLine) == []


def test_turn_metrics_reach_their_callback() -> None:
    rig = talking("on_metrics", "on_call_end")
    phone = Phone(rig)
    exchange(rig, phone, "Hello?", "Hi. ")
    phone.run(S)
    (run,) = rig.runs("on_metrics")
    assert run.args[0]["call_id"] == CALL
    assert run.args[0]["turn"].user_text == "Hello?"
    rig.callback()
    rig.stop()
    (end,) = rig.runs("on_call_end")
    metrics = end.args[0]["metrics"]
    assert metrics.turns == (run.args[0]["turn"],)
    assert metrics.latency_p95 == metrics.latency_avg
    assert metrics.provider_mode == "pipeline"
    assert end.args[0]["transcript"] == [{"role": "user", "text": "Hello?"}, {"role": "assistant", "text": "Hi."}]


def test_a_voice_is_a_voice() -> None:
    """What these tests take for speech is speech to the detector, and quiet is not."""
    assert ulaw_encode(tone(300, 20, 8000)) == VOICE
    rig = talking()
    rig.listen(*[QUIET] * 200)
    assert rig.runs("stt") == []
