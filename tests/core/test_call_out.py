"""Calls of ours, on both carriers: from the order to dial until the one result, whatever the carrier reports, late,
twice, out of order or never."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest

from patter_core.audio.formats import L16_16K
from patter_core.call.call import CallState
from patter_core.call.words import (
    EndWanted,
    LegEnded,
    MintStream,
    Rest,
    RestDone,
    Run,
    SayWanted,
    StreamCame,
    StreamMinted,
    TransferWanted,
)
from patter_core.carriers.carrier import (
    Answerer,
    CallStatus,
    CarrierSpoke,
    MachineDetected,
    RestOutcome,
    StreamChange,
    StreamChanged,
    TransferEnded,
)
from patter_core.events import (
    CallEnded,
    CallNamed,
    CallProgressed,
    CallStarted,
    HangUpFailed,
    MachineAnswered,
    OrderRefused,
    TranscriptLine,
)
from patter_core.reasons import EndReason
from tests.core.call_kit import DIALLED_REASONS, MS, QUIET, VOICE, S, echo, of, pipeline, sent
from tests.core.out_kit import CARRIERS, REF, THEM, US, CarrierRig

both = pytest.mark.parametrize("carrier", CARRIERS)


def out(carrier: str, *callbacks: str, **options: Any) -> CarrierRig:
    return CarrierRig(carrier, echo("on_call_end", *callbacks), out=True, **options)


# --- the way to an answer --------------------------------------------------------------------------------------------


@both
def test_a_call_is_dialled_answered_talked_and_hung_up(carrier: str) -> None:
    rig = out(carrier, "on_call_start")
    assert rig.call.state is CallState.DIALLING
    (dial,) = of(Rest, rig.begin_call())
    assert dial.request.method == "POST"
    assert THEM[1:].encode() in dial.request.body
    rig.did("dial", value=rig.id)
    assert rig.call.spec.call_id == rig.id
    assert rig.events(CallNamed) == [CallNamed(rig.id, REF)]
    for sequence, status in enumerate((CallStatus.INITIATED, CallStatus.RINGING, CallStatus.IN_PROGRESS)):
        rig.status(status, sequence)
    assert rig.call.state is CallState.OFFERED
    rig.mint()
    assert (rig.request("stream") is not None) == (carrier == "telnyx")  # Twilio asks by webhook
    rig.stream()
    assert rig.events(CallStarted) == [CallStarted(rig.id, US, THEM, "outbound")]
    start = rig.runs("on_call_start")[0].args[0]
    assert (start["caller"], start["callee"], start["direction"]) == (US, THEM, "outbound")
    rig.callback()
    rig.later(5 * S)
    rig.stop_stream()
    rig.status(CallStatus.COMPLETED, 3)
    rig.finish_call()
    end = rig.runs("on_call_end")[0].args[0]
    assert (end["outcome"], end["caller"], end["direction"]) == ("answered", US, "outbound")
    result = rig.result
    assert (result.outcome, result.reason) == ("answered", EndReason.CALLER_HUNG_UP)
    assert result.duration_seconds == 5.0
    assert result.metrics.call_id == rig.id


@both
def test_the_name_comes_from_whatever_is_first(carrier: str) -> None:
    for first in ("report", "stream", "answer"):
        rig = out(carrier)
        rig.begin_call()
        if first == "report":
            rig.status(CallStatus.RINGING, 1)
        elif first == "stream":
            rig.stream()
        else:
            rig.did("dial", value=rig.id)
        assert rig.call.spec.call_id == rig.id
        assert len(rig.events(CallNamed)) == 1
        if first != "answer":
            rig.did("dial", value=rig.id)
        assert len(rig.events(CallNamed)) == 1


REPORTS = ((CallStatus.INITIATED, 0), (CallStatus.RINGING, 1), (CallStatus.IN_PROGRESS, 2))


@both
@pytest.mark.parametrize("order", list(itertools.permutations(REPORTS)), ids=str)
def test_reports_in_any_order_and_twice_mean_the_same(carrier: str, order: tuple[Any, ...]) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    for status, sequence in order:
        rig.status(status, sequence)
        rig.status(status, sequence)
    told = [event.status for event in rig.events(CallProgressed)]
    assert told == sorted(told, key=[status for status, _ in REPORTS].index)
    assert told[-1] is CallStatus.IN_PROGRESS
    assert len(rig.all(MintStream)) == 1
    assert rig.call.state is CallState.OFFERED


@both
def test_a_wide_band_engine_is_asked_for_a_wide_band_line_where_the_carrier_has_one(carrier: str) -> None:
    rig = CarrierRig(carrier, pipeline(), out=True)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.IN_PROGRESS)
    rig.mint()
    if carrier == "telnyx":
        request = rig.request("stream")
        assert request is not None
        body = json.loads(request.request.body)
        assert (body["stream_bidirectional_codec"], body["stream_bidirectional_sampling_rate"]) == ("L16", 16000)
        rig.stream(L16_16K)
        talk = rig.call._conversation
        assert talk._to_engine is not None
        assert talk._to_engine.passthrough
    else:
        assert rig.request("stream") is None


# --- every ending that is no conversation ----------------------------------------------------------------------------


ENDINGS = [
    (CallStatus.BUSY, None, EndReason.BUSY, "busy"),
    (CallStatus.NO_ANSWER, None, EndReason.NO_ANSWER, "no_answer"),
    (CallStatus.FAILED, None, EndReason.FAILED, "failed"),
    (CallStatus.CANCELED, None, EndReason.CANCELED, "canceled"),
    (CallStatus.COMPLETED, 486, EndReason.BUSY, "busy"),
    (CallStatus.COMPLETED, 480, EndReason.NO_ANSWER, "no_answer"),
    (CallStatus.COMPLETED, 503, EndReason.FAILED, "failed"),
    (CallStatus.COMPLETED, None, EndReason.FAILED, "failed"),
]


@both
@pytest.mark.parametrize(("status", "sip", "reason", "outcome"), ENDINGS, ids=str)
def test_a_call_that_nobody_took(
    carrier: str, status: CallStatus, sip: int | None, reason: EndReason, outcome: str
) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.RINGING, 1)
    rig.status(status, 2, sip=sip)
    rig.status(status, 2, sip=sip)
    rig.finish_call()
    assert rig.request("hangup") is None  # there is no line to free
    assert (rig.result.reason, rig.result.outcome, rig.result.status) == (reason, outcome, status.value)
    assert rig.runs("on_call_end")[0].args[0]["outcome"] == outcome
    assert len(rig.runs("on_call_end")) == 1


@both
@pytest.mark.parametrize("outcome", [RestOutcome.REFUSED, RestOutcome.UNAUTHORIZED])
def test_a_refused_order_to_dial(carrier: str, outcome: RestOutcome) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", outcome, detail="HTTP 400: the number is not valid")
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.CARRIER_REFUSED, "failed")
    assert "not valid" in rig.result.detail
    assert rig.events(OrderRefused)[0].order == "dial"
    assert rig.request("hangup") is None


@both
def test_dialling_again_only_when_nothing_can_have_been_dialled(carrier: str) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", RestOutcome.RETRY, detail="HTTP 429", safe=True)
    rig.later(250 * MS)
    assert rig.ordered("dial") == 2
    rig.did("dial", None, detail="refused", safe=True)
    rig.later(500 * MS)
    assert rig.ordered("dial") == 3
    rig.did("dial", RestOutcome.RETRY, detail="HTTP 500")  # perhaps it rings already
    rig.later(9 * S)
    assert rig.ordered("dial") == 3


@both
def test_an_order_to_dial_that_is_never_answered_may_still_ring(carrier: str) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.later(11 * S)
    assert rig.call.state is CallState.DIALLING
    rig.status(CallStatus.RINGING, 1)
    rig.status(CallStatus.IN_PROGRESS, 2)
    assert rig.call.state is CallState.OFFERED


@both
def test_a_carrier_that_never_reports_is_waited_for_no_longer_than_that(carrier: str) -> None:
    rig = out(carrier, ring_s=30)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.until(45 * S - 1)
    assert rig.call.state is CallState.DIALLING
    rig.until(45 * S)
    assert rig.call.state is CallState.ENDING
    assert rig.ordered("hangup") == 1  # whatever it is doing, it stops
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.NOT_REPORTED, "failed")


@both
def test_a_carrier_that_says_nothing_at_all(carrier: str) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.later(120 * S)
    rig.finish_call()
    assert rig.result.reason is EndReason.NOT_REPORTED
    assert len(rig.events(HangUpFailed)) == 1


@both
def test_answered_but_no_stream_is_hung_up(carrier: str) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.IN_PROGRESS)
    rig.mint()
    if rig.request("stream"):
        rig.did("stream")
    rig.later(30 * S)
    assert rig.ordered("hangup") == 1
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.NEVER_STARTED, "failed")


def test_a_refused_stream_ends_the_call() -> None:
    rig = out("telnyx")
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.IN_PROGRESS)
    rig.mint()
    rig.did("stream", RestOutcome.REFUSED, detail="HTTP 422: 90046")
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.CARRIER_REFUSED, "failed")
    assert rig.ordered("hangup") == 1


# --- called off ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("named", ["before", "after", "never"])
def test_a_call_that_is_called_off_while_it_is_being_dialled(carrier: str, named: str) -> None:
    """The order to dial may still be carried out: its answer names what is to be hung up."""
    rig = out(carrier)
    rig.begin_call()
    if named == "before":
        rig.did("dial", value=rig.id)
    rig.do(EndWanted(EndReason.SHUTDOWN))
    if named == "after":
        assert rig.ordered("hangup") == 0
        rig.did("dial", value=rig.id)
    if named != "never":
        assert rig.ordered("hangup") == 1
        request = rig.request("hangup")
        assert request is not None
        tail = "CA7" if carrier == "twilio" else "v3%3Acall-control-id"
        assert tail in request.request.url
    rig.finish_call() if named != "never" else rig.later(20 * S)
    if not rig.over:
        rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.SHUTDOWN, "canceled")


@both
def test_a_refusal_to_dial_after_it_was_called_off_leaves_nothing_to_hang_up(carrier: str) -> None:
    rig = out(carrier)
    rig.begin_call()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.did("dial", RestOutcome.REFUSED)
    rig.finish_call()
    assert rig.ordered("hangup") == 0
    assert rig.result.outcome == "canceled"


# --- who answered ----------------------------------------------------------------------------------------------------


def verdict(rig: CarrierRig, who: Answerer, *, ended: bool = False) -> list[Any]:
    return rig.report(MachineDetected(rig.id, who, who.value, greeting_ended=ended), REF)


def screened(carrier: str, *, agent: Any = None, voicemail: str = "", **settings: Any) -> CarrierRig:
    agent = agent or pipeline("on_machine_detection", "on_call_end", first_message="Hello, it is me.")
    return CarrierRig(carrier, agent, out=True, detect=True, voicemail=voicemail, **settings).talking()


def said_to_voice(rig: CarrierRig) -> list[str]:
    return [run.args[0] for run in rig.runs("tts")]


@both
@pytest.mark.parametrize("who", [Answerer.HUMAN, Answerer.UNKNOWN])
def test_the_first_message_waits_for_the_verdict(carrier: str, who: Answerer) -> None:
    rig = screened(carrier)
    rig.later(2 * S)
    assert said_to_voice(rig) == []
    verdict(rig, who)
    assert said_to_voice(rig) == ["Hello, it is me."]
    (run,) = rig.runs("on_machine_detection")
    detection = run.args[0]
    assert (detection.classification, detection.carrier, detection.call_id) == (who.value, carrier, rig.id)
    verdict(rig, who)
    assert len(rig.events(MachineAnswered)) == 1
    assert len(rig.runs("on_machine_detection")) == 1


@both
def test_the_first_message_waits_no_longer_than_screening_s(carrier: str) -> None:
    rig = screened(carrier)
    rig.until(4 * S - 1)
    assert said_to_voice(rig) == []
    rig.until(4 * S)
    assert said_to_voice(rig) == ["Hello, it is me."]


@both
def test_the_callee_who_speaks_is_answered(carrier: str) -> None:
    rig = screened(carrier)
    for _ in range(20):
        rig.hear_frame(VOICE)
        rig.later(20 * MS)
    assert said_to_voice(rig) == []  # not into their "hello?"
    for _ in range(40):
        rig.hear_frame(QUIET)
        rig.later(20 * MS)
    assert said_to_voice(rig)[0] == "Hello, it is me."


@both
def test_without_detection_nothing_waits(carrier: str) -> None:
    rig = CarrierRig(carrier, pipeline(first_message="Hello."), out=True).talking()
    assert said_to_voice(rig) == ["Hello."]
    verdict(rig, Answerer.MACHINE, ended=True)
    assert rig.call.state is CallState.TALKING


@both
def test_a_machine_without_a_message_is_hung_up_on(carrier: str) -> None:
    rig = screened(carrier)
    verdict(rig, Answerer.MACHINE)
    assert said_to_voice(rig) == []
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.MACHINE_ANSWERED, "voicemail")
    assert rig.result.machine_detection.classification == "machine"


@both
def test_a_fax_is_hung_up_on(carrier: str) -> None:
    rig = screened(carrier, voicemail="Please call back.")
    verdict(rig, Answerer.FAX)
    rig.finish_call()
    assert said_to_voice(rig) == []
    assert (rig.result.reason, rig.result.outcome) == (EndReason.FAX_ANSWERED, "failed")


@both
def test_the_message_is_left_once_when_the_greeting_is_over_and_played_before_the_hang_up(carrier: str) -> None:
    rig = screened(carrier, voicemail="Please call back.")
    verdict(rig, Answerer.MACHINE)
    rig.later(3 * S)
    assert said_to_voice(rig) == []  # not into the greeting
    verdict(rig, Answerer.MACHINE, ended=True)
    verdict(rig, Answerer.MACHINE, ended=True)
    assert said_to_voice(rig) == ["Please call back."]
    rig.speak(400)
    assert rig.call.state is CallState.TALKING
    rig.later(1 * S)
    assert rig.call.state is CallState.TALKING  # its mark has not come back
    for message in sent([order for _, order in rig.out]):
        if message["event"] == "mark":
            assert rig.peer is not None
            rig.say(rig.peer.mark(message["mark"]["name"]))
    assert rig.call.state is CallState.ENDING
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.VOICEMAIL_LEFT, "voicemail")
    assert [line.text for line in rig.events(TranscriptLine)] == ["Please call back."]


@both
def test_a_late_machine_verdict_clears_what_is_being_said(carrier: str) -> None:
    rig = screened(carrier, voicemail="Please call back.")
    rig.later(4 * S)
    rig.audio(rig.running("tts"), b"\x01\x02" * 16000)
    before = len(rig.out)
    verdict(rig, Answerer.MACHINE)
    messages = sent([order for _, order in rig.out[before:]])
    assert [message["event"] for message in messages] == ["clear"]
    verdict(rig, Answerer.MACHINE, ended=True)
    assert said_to_voice(rig)[-1] == "Please call back."


@both
def test_a_greeting_that_nobody_reports_as_ended(carrier: str) -> None:
    rig = screened(carrier, voicemail="Please call back.")
    verdict(rig, Answerer.MACHINE)
    rig.later(30 * S - 1)
    assert said_to_voice(rig) == []
    rig.later(1)
    assert said_to_voice(rig) == ["Please call back."]


@both
def test_a_machine_that_is_known_before_the_stream(carrier: str) -> None:
    agent = pipeline("on_call_start", first_message="Hello.")
    rig = CarrierRig(carrier, agent, out=True, detect=True, voicemail="Please call back.")
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.IN_PROGRESS, 2)
    verdict(rig, Answerer.MACHINE, ended=True)
    rig.mint()
    if rig.request("stream"):
        rig.did("stream")
    rig.stream()
    assert said_to_voice(rig) == []
    rig.later(1 * S)
    rig.callback()
    rig.later(1 * S)
    assert said_to_voice(rig) == ["Please call back."]


@both
def test_an_engine_without_words_leaves_the_message_in_the_carriers_voice(carrier: str) -> None:
    rig = screened(carrier, agent=echo("on_call_end"), voicemail="Please call back.")
    verdict(rig, Answerer.MACHINE, ended=True)
    said = rig.all(Rest)[-1].request
    assert b"call back" in said.body.replace(b"+", b" ")
    rig.rest()
    if carrier == "telnyx":  # speaking does not end the call there
        assert rig.call.leg_up
        rig.report(CarrierSpoke(rig.id, True), REF)
        assert rig.request("hangup") is not None
    rig.finish_call()
    assert (rig.result.reason, rig.result.outcome) == (EndReason.VOICEMAIL_LEFT, "voicemail")


def test_a_carrier_that_never_says_it_has_spoken_is_hung_up_on() -> None:
    rig = screened("telnyx", agent=echo("on_call_end"), voicemail="Please call back.")
    verdict(rig, Answerer.MACHINE, ended=True)
    rig.rest()
    rig.later(60 * S - 1)
    assert rig.ordered("hangup") == 0
    rig.later(1)
    assert rig.ordered("hangup") == 1


# --- totality --------------------------------------------------------------------------------------------------------


@both
def test_facts_that_come_too_late_or_from_elsewhere_change_nothing(carrier: str) -> None:
    rig = out(carrier).talking()
    before = rig.call.state
    assert rig.do(StreamMinted("wss://x", "t")) == []
    assert rig.do(RestDone("dial:99", RestOutcome.REFUSED, "")) == []
    assert rig.status(CallStatus.BUSY, 9, ref="somebody-else", of="CAother") == []
    assert rig.call.state is before
    rig.do(LegEnded())
    rig.finish_call()
    assert rig.result.outcome == "answered"
    assert len(rig.events(CallEnded)) == 1


@both
def test_gently_waits_until_the_goodbye_was_heard(carrier: str) -> None:
    rig = CarrierRig(carrier, pipeline("on_call_end"), out=True).talking()
    rig.do(SayWanted("Goodbye."))
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP, gently=True))
    assert rig.call.state is CallState.TALKING
    rig.speak(300)
    rig.later(300 * MS)
    for message in sent([order for _, order in rig.out]):
        if message["event"] == "mark":
            assert rig.peer is not None
            rig.say(rig.peer.mark(message["mark"]["name"]))
    assert rig.call.state is CallState.TALKING  # the callee has not had a chance to speak
    quiet = rig.now
    rig.until(quiet + 2 * S - 1)
    assert rig.call.state is CallState.TALKING
    rig.until(quiet + 2 * S + 100 * MS)  # how closely it is looked at
    assert rig.call.state is CallState.ENDING
    assert [line.text for line in rig.events(TranscriptLine)] == ["Goodbye."]


@both
def test_gently_has_an_end(carrier: str) -> None:
    rig = CarrierRig(carrier, pipeline("on_call_end"), out=True).talking()
    rig.do(SayWanted("Goodbye."))
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP, gently=True))
    for _ in range(20):  # a voice that never stops
        rig.audio(rig.running("tts"), b"\x01\x02" * 8000)
        rig.later(500 * MS)
    assert rig.call.state is CallState.ENDING
    assert not of(Run, rig.do(SayWanted("More.")))


@both
def test_who_has_spoken_before_needs_no_second_chance(carrier: str) -> None:
    rig = CarrierRig(carrier, pipeline("on_call_end"), out=True).talking()
    rig.press("1")
    rig.press("#")
    rig.returned(rig.running("reply"), "")
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP, gently=True))
    assert rig.call.state is CallState.ENDING


@both
def test_what_the_agent_was_thinking_of_is_not_said_to_a_machine(carrier: str) -> None:
    rig = screened(carrier, voicemail="Please call back.")
    rig.later(4 * S)
    rig.speak(100)
    rig.press("1")
    rig.press("#")  # somebody is there, it seems: the reply is being made
    reply = rig.running("reply")
    verdict(rig, Answerer.MACHINE)
    rig.returned(reply, "I am still talking.")
    rig.press("2")
    rig.press("#")
    assert len(rig.runs("reply")) == 1
    assert said_to_voice(rig) == ["Hello, it is me."]
    verdict(rig, Answerer.MACHINE, ended=True)
    assert said_to_voice(rig)[1:] == ["Please call back."]


def _reported(status: CallStatus) -> Any:
    return lambda rig: (rig.begin_call(), rig.did("dial", value=rig.id), rig.status(status, 1))


def _heard(who: Answerer, *, ended: bool = False) -> Any:
    return lambda rig: (rig.talking(), verdict(rig, who, ended=ended))


def _moved(rig: CarrierRig) -> None:
    rig.talking()
    rig.do(TransferWanted("+15550002222"))
    rig.did("send")
    rig.report(TransferEnded(rig.id, CallStatus.COMPLETED, "completed"), f"{rig.id}/t1")


REACHED: dict[EndReason, tuple[str, Any]] = {
    EndReason.NO_ANSWER: ("", _reported(CallStatus.NO_ANSWER)),
    EndReason.BUSY: ("", _reported(CallStatus.BUSY)),
    EndReason.FAILED: ("", _reported(CallStatus.FAILED)),
    EndReason.CANCELED: ("", _reported(CallStatus.CANCELED)),
    EndReason.CARRIER_REFUSED: ("", lambda rig: (rig.begin_call(), rig.did("dial", RestOutcome.REFUSED))),
    EndReason.NOT_REPORTED: ("", lambda rig: (rig.begin_call(), rig.later(60 * S))),
    EndReason.MACHINE_ANSWERED: ("", _heard(Answerer.MACHINE)),
    EndReason.FAX_ANSWERED: ("", _heard(Answerer.FAX)),
    EndReason.VOICEMAIL_LEFT: ("Call back.", _heard(Answerer.MACHINE, ended=True)),
    EndReason.TRANSFERRED: ("", _moved),
}


@both
@pytest.mark.parametrize("reason", DIALLED_REASONS)
def test_every_reason_is_reached_once_and_told_everywhere(carrier: str, reason: EndReason) -> None:
    voicemail, story = REACHED[reason]
    rig = out(carrier, detect=True, voicemail=voicemail)
    story(rig)
    rig.finish_call()
    assert [over.reason for over in rig.over] == [reason]
    assert [event.reason for event in rig.events(CallEnded)] == [reason]
    assert [run.args[0]["reason"] for run in rig.runs("on_call_end")] == [reason.value]
    assert rig.result.reason is reason


@both
def test_a_stream_that_could_not_be_opened_ends_the_wait_unless_another_is_here(carrier: str) -> None:
    failed = StreamChanged("", "MZ1", StreamChange.ERROR, "stream-error", error="403")
    rig = out(carrier)
    rig.begin_call()
    rig.did("dial", value=rig.id)
    rig.status(CallStatus.IN_PROGRESS)
    rig.mint()
    rig.do(StreamCame())  # the first of two that the carrier opens
    rig.report(msgspec.structs.replace(failed, call_id=rig.id), REF)
    assert rig.call.state is CallState.OFFERED
    rig.lose()
    rig.report(msgspec.structs.replace(failed, call_id=rig.id), REF)
    rig.finish_call()
    assert (rig.result.reason, rig.result.detail) == (EndReason.NEVER_STARTED, "403")
