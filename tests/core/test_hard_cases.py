"""What was once got wrong: a leg forgotten, an application's odd object, a report of the transfer before."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.call.call import CallState
from patter_core.call.words import EndWanted, KeysWanted, TransferWanted
from patter_core.carriers.carrier import (
    CallStatus,
    CallStatusChanged,
    LegJoined,
    RecordingChanged,
    RecordingStatus,
    RestOutcome,
    TransferEnded,
)
from patter_core.config import HandlerSpec
from patter_core.contract import Cancel, Invoke, Refuse
from patter_core.events import CallbackTimedOut, HangUpFailed, TransferStepped
from patter_core.logline import describe
from patter_core.reasons import EndReason
from tests.core.call_kit import MS, QUIET, S, echo
from tests.core.out_kit import CARRIERS, DESK, CarrierRig
from tests.core.world import World, server_config, sid

both = pytest.mark.parametrize("carrier", CARRIERS)


def talking(carrier: str) -> CarrierRig:
    return CarrierRig(carrier, echo("on_call_end")).talking()


def of_other(rig: CarrierRig, status: CallStatus, number: int = 1) -> None:
    rig.report(CallStatusChanged(rig.other, status, status.value), f"{rig.id}/t{number}")


def consulted(rig: CarrierRig) -> None:
    rig.do(TransferWanted(DESK, "It is about a refund."))
    rig.did("consult", value=rig.other)
    of_other(rig, CallStatus.IN_PROGRESS)


# --- legs that must not be forgotten ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("answer", [RestOutcome.ALREADY_ENDED, RestOutcome.DONE])
def test_a_target_who_leaves_while_the_caller_is_being_joined(carrier: str, answer: RestOutcome) -> None:
    rig = talking(carrier)
    consulted(rig)
    rig.report(LegJoined(rig.other), f"{rig.id}/t1")
    assert rig.request("join") is not None
    rig.did("join", answer)
    of_other(rig, CallStatus.COMPLETED)
    assert rig.call.leg_up
    assert rig.call.state is CallState.AWAY
    rig.stop_stream()  # the carrier carried the order out: the stream there was is over
    rig.lose(1000)
    rig.mint()
    assert rig.request("stream") is not None  # the caller is fetched out of that room
    rig.stream()
    assert rig.call.state is CallState.TALKING


@both
def test_a_consulted_leg_that_turns_up_when_nobody_waits_for_it(carrier: str) -> None:
    rig = talking(carrier)
    rig.do(TransferWanted(DESK, "It is about a refund."))
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    of_other(rig, CallStatus.RINGING)
    assert rig.ordered(f"drop_other:{rig.other}") == 1


@both
def test_an_unknown_answer_to_the_dialling_does_not_stop_the_hang_up(carrier: str) -> None:
    rig = CarrierRig(carrier, echo("on_call_end"), out=True)
    rig.begin_call()
    rig.status(CallStatus.RINGING, 1)  # a report names it before the order is answered
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.did("dial", None, detail="timeout")
    assert rig.call.leg_up
    rig.did("hangup")
    rig.finish_call()
    assert rig.events(HangUpFailed) == []


@both
def test_a_refusal_to_dial_what_is_ringing_already_is_not_believed(carrier: str) -> None:
    rig = CarrierRig(carrier, echo("on_call_end"), out=True)
    rig.begin_call()
    rig.status(CallStatus.RINGING, 1)
    rig.did("dial", RestOutcome.REFUSED)
    assert rig.call.state is CallState.DIALLING


@both
def test_two_other_legs_are_dropped_and_what_fails_is_told(carrier: str) -> None:
    rig = CarrierRig(carrier, echo("on_call_end"), brief_s=5.0).talking()
    for number, leg in enumerate(("leg-one", "leg-two"), 1):
        rig.do(TransferWanted(DESK, "A refund."))
        rig.did("consult", value=leg)
        rig.report(CallStatusChanged(leg, CallStatus.IN_PROGRESS, ""), f"{rig.id}/t{number}")
        rig.later(5 * S)
    assert rig.ordered("drop_other:leg-one") == rig.ordered("drop_other:leg-two") == 1
    rig.did("drop_other:leg-two", RestOutcome.REFUSED)
    assert len(rig.events(HangUpFailed)) == 2  # the first was never answered


def test_a_caller_whose_stream_a_failed_transfer_ended_gets_another() -> None:
    rig = talking("telnyx")
    rig.do(TransferWanted(DESK))
    rig.did("send")
    rig.stop_stream()
    rig.lose(1000)
    of_other(rig, CallStatus.NO_ANSWER)
    rig.mint()
    assert rig.request("stream") is not None


def test_a_report_of_the_transfer_before_is_not_about_this_one() -> None:
    rig = talking("twilio")
    rig.do(TransferWanted(DESK))
    rig.did("send", RestOutcome.REFUSED)
    rig.do(TransferWanted(DESK))
    rig.did("send")
    rig.report(TransferEnded(rig.id, CallStatus.COMPLETED, "completed"), f"{rig.id}/t1")
    assert rig.call.state is CallState.AWAY
    rig.report(TransferEnded(rig.id, CallStatus.COMPLETED, "completed"), f"{rig.id}/t2")
    assert rig.call.state is CallState.ENDING


# --- keys ------------------------------------------------------------------------------------------------------------


@both
def test_keys_that_wait_are_bounded(carrier: str) -> None:
    rig = talking(carrier)
    for number in range(1, 10):
        rig.do(KeysWanted("1", 300, f"ask{number}"))
        assert ("ask9" in rig.denials()) is (number == 9)


def test_keys_cut_off_with_the_stream_are_answered() -> None:
    rig = talking("twilio")
    rig.do(KeysWanted("1234567890", 1000, "ask"))
    rig.hear_frame(QUIET)
    rig.lose()
    rig.later(10 * MS)
    assert rig.denials() == {"ask": "not_heard"}


# --- the application's odd objects -----------------------------------------------------------------------------------


class Odd:
    def _no(self, *_: Any) -> Any:
        raise RuntimeError("do not look")

    __bool__ = __eq__ = __str__ = __repr__ = __len__ = __hash__ = _no  # type: ignore[assignment]


ODD_ASKS: list[tuple[str, dict[str, Any]]] = [
    ("collect_digits", {"timeout_s": 10**400}),
    ("collect_digits", {"terminator": Odd()}),
    ("end_call", {"call_id": 10**5000}),
    ("end_call", {"force": Odd()}),
    ("say", {"call_id": Odd(), "text": "x"}),
    ("transfer", {"to": "+15550002222", "by_model": Odd()}),
    ("record", {"step": Odd()}),
    ("call", {"to": "+15550100001", "from_number": "+15550001234", "variables": {10**5000: "x"}}),
    ("call", {"to": "+15550100001", "from_number": "+15550001234", "wait": Odd()}),
    ("call", {"to": "+15550100001", "from_number": Odd()}),
    ("stop", {"finish_calls_s": Odd()}),
]


@pytest.mark.parametrize(("verb", "args"), ODD_ASKS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_odd_object_is_refused_and_harms_nothing(verb: str, args: dict[str, Any]) -> None:
    world = World(twins=False)
    world.open(sid(1))
    ask = world.server.ask(verb, **{"call_id": sid(1), **args})
    world.run(1)
    answer = world.server.answers.get(ask)
    assert isinstance(answer, Refuse) or verb == "end_call"
    assert world.server.exit_code is None


# --- the rest --------------------------------------------------------------------------------------------------------


def test_an_on_recording_that_hangs_is_given_up() -> None:
    world = World(server_config(on_recording=HandlerSpec("on_recording")), twins=False)
    host = world.board._host
    for number in ("RE1", "RE2", ""):
        event = RecordingChanged("CA1", number, RecordingStatus.COMPLETED, "completed", url=f"https://x/{number}")
        host.recording(0, 0, event, "twilio")
        host.recording(0, 0, event, "twilio")
    assert len([order for order in world.board._out if isinstance(order, Invoke)]) == 3
    for task in list(host._asides):
        host.aside_due(task)
    assert len([order for order in world.board._out if isinstance(order, Cancel)]) == 3
    assert sum(isinstance(getattr(order, "event", None), CallbackTimedOut) for order in world.board._out) == 3


@pytest.mark.parametrize(
    "text",
    ["sip:15550002222@host", "sips:5550002222@host.example", "call +15550002222.", "From=%2B15550002222"],
)
def test_no_spelling_of_a_number_reaches_the_log(text: str) -> None:
    _, line, _ = describe(TransferStepped("CA1", "failed", text, text))
    assert "5550002222" not in line


@pytest.mark.parametrize("text", ["203.0.113.77:8000", "10:15:30.123456", "v1.2.3", "/ws/stream/CA1234567890abcdef"])
def test_what_is_no_number_is_left_alone(text: str) -> None:
    _, line, _ = describe(TransferStepped("CA1", "failed", "", text))
    assert text in line
