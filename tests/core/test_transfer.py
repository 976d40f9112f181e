"""Where a caller may be sent, and the transfer's own states."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.rests import Settled
from patter_core.call.transfer import Move, Stage, Transfer, may_transfer, valid_target
from patter_core.carriers.carrier import (
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    LegJoined,
    RestOutcome,
    TransferEnded,
)
from patter_core.settings import CallSettings

PROMPT = "Sales is +1 (555) 000-2222, the desk is +15550003333. Write to sip:desk@example.com, not to +155500044445."


@pytest.mark.parametrize(
    ("to", "good"),
    [
        ("+15550002222", True),
        ("+1555000", True),
        ("+155500", False),
        ("+155500022223333", True),
        ("+1555000222233334", False),
        ("+05550002222", False),
        ("15550002222", False),
        ("+1 555 000 2222", False),
        ("+15550002222,9", False),
        ("+15550002222\n", False),
        ("sip:desk@example.com", True),
        ("sips:desk@example.com:5061;transport=tls", True),
        ("sip:desk", False),
        ("sip:a@b,sip:c@d", False),
        ("sip:<script>@example.com", False),
        ("tel:+15550002222", False),
        ("", False),
    ],
)
def test_targets(to: str, good: bool) -> None:
    assert valid_target(to) is good


@pytest.mark.parametrize(
    ("to", "allowed"),
    [
        ("+15550002222", True),
        ("+15550003333", True),
        ("+1555000333", False),  # the beginning of one that is written is not written
        ("+155500033334", False),
        ("+15550004444", False),
        ("+155500044445", True),
        ("sip:desk@example.com", True),
        ("sip:desk@example.co", False),
        ("sip:helpdesk@example.com", False),
        ("+19005550100", False),
    ],
)
def test_without_a_list_only_what_the_operator_wrote(to: str, allowed: bool) -> None:
    assert may_transfer(to, None, PROMPT) is allowed


@pytest.mark.parametrize(
    ("to", "prefixes", "allowed"),
    [
        ("+15550002222", ("+1555",), True),
        ("+15560002222", ("+1555",), False),
        ("sip:desk@example.com", ("sip:desk@",), True),
        ("+15550003333", (), False),  # a list that is empty allows nothing, whatever the prompt says
        ("+15550003333", ("",), False),
    ],
)
def test_with_a_list_its_prefixes(to: str, prefixes: tuple[str, ...], allowed: bool) -> None:
    assert may_transfer(to, prefixes, PROMPT) is allowed


@given(st.text(max_size=40), st.text(max_size=80))
def test_no_text_can_raise(to: str, prompt: str) -> None:
    may_transfer(to, None, prompt)
    valid_target(to)


# --- the states ------------------------------------------------------------------------------------------------------

REF, A, B = "call/t1", "leg-a", "leg-b"
SETTINGS = CallSettings()


def make(summary: str = "") -> Transfer:
    return Transfer(0, "+15550002222", REF, summary, "", SETTINGS)


def status(value: CallStatus) -> Any:
    return CallStatusChanged(B, value, value.value)


def test_cold_and_nobody_is_there() -> None:
    for end in (CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.FAILED, CallStatus.CANCELED):
        transfer = make()
        assert transfer.quiet(1) == [Move.SEND]
        assert transfer.reported(2, status(CallStatus.RINGING), True) == []
        assert transfer.reported(3, status(end), True) == [Move.BACK]
        assert transfer.failure == end.value
        assert transfer.reported(4, status(end), True) == []


def test_cold_and_they_talk() -> None:
    transfer = make()
    transfer.quiet(1)
    assert transfer.reported(2, status(CallStatus.IN_PROGRESS), True) == [Move.AWAY]
    assert transfer.reported(3, LegJoined(A), False) == []
    assert transfer.reported(4, status(CallStatus.COMPLETED), True) == [Move.GONE]


@pytest.mark.parametrize(("end", "move"), [(CallStatus.COMPLETED, Move.GONE), (CallStatus.NO_ANSWER, Move.BACK)])
def test_cold_on_a_carrier_that_only_says_how_it_ended(end: CallStatus, move: Move) -> None:
    transfer = make()
    transfer.quiet(1)
    assert transfer.reported(2, TransferEnded(A, end, end.value), False) == [move]


def test_what_is_being_said_has_a_bound() -> None:
    transfer = make()
    assert transfer.tick(round(SETTINGS.goodbye_s * 1e6) - 1, True) == []
    assert transfer.tick(round(SETTINGS.goodbye_s * 1e6), True) == [Move.SEND]


def test_a_target_that_nobody_reports() -> None:
    transfer = make()
    transfer.quiet(0)
    assert transfer.tick(40_000_000 - 1, True) == []
    assert transfer.tick(40_000_000, True) == [Move.BACK]
    gone = make()
    gone.quiet(0)
    assert gone.tick(40_000_000, False) == []  # the carrier has the caller, and will say
    assert gone.deadline is None


def test_warm() -> None:
    transfer = make("It is about a refund.")
    assert transfer.begins == [Move.CONSULT]
    assert transfer.settled(1, Settled("consult", RestOutcome.DONE, "", B)) == []
    assert transfer.other_leg == B
    assert transfer.reported(2, status(CallStatus.IN_PROGRESS), True) == [Move.BRIEF]
    assert transfer.reported(3, CarrierSpoke(B, True), True) == [Move.JOIN]
    assert transfer.settled(4, Settled("join", RestOutcome.DONE, "", "")) == []
    assert transfer.reported(5, LegJoined(A), False) == [Move.AWAY]
    assert transfer.other_leg == ""
    assert transfer.reported(6, status(CallStatus.COMPLETED), True) == [Move.GONE]


@pytest.mark.parametrize("stage", ["consulting", "briefing", "joining"])
def test_warm_and_they_leave(stage: str) -> None:
    transfer = make("It is about a refund.")
    if stage != "consulting":
        transfer.reported(1, status(CallStatus.IN_PROGRESS), True)
    if stage == "joining":
        transfer.reported(2, LegJoined(B), True)
    assert transfer.stage is Stage(stage)
    assert transfer.reported(3, status(CallStatus.COMPLETED), True) == [Move.BACK]


@pytest.mark.parametrize("stage", ["consulting", "briefing", "joining"])
def test_warm_and_nothing_more_is_heard(stage: str) -> None:
    transfer = make("It is about a refund.")
    transfer.settled(0, Settled("consult", RestOutcome.DONE, "", B))
    if stage != "consulting":
        transfer.reported(1, status(CallStatus.IN_PROGRESS), True)
    if stage == "joining":
        transfer.reported(2, CarrierSpoke(B, True), True)
    assert transfer.deadline is not None
    assert transfer.tick(transfer.deadline - 1, True) == []
    assert transfer.tick(transfer.deadline, True) == [Move.DROP_OTHER, Move.BACK]


def test_whoever_hangs_up_during_the_briefing_is_not_joined() -> None:
    transfer = make("It is about a refund.")
    transfer.reported(1, status(CallStatus.IN_PROGRESS), True)
    assert transfer.reported(2, CarrierSpoke(B, False), True) == [Move.DROP_OTHER, Move.BACK]


EVENTS: list[Any] = [
    lambda t, n: t.quiet(n),
    lambda t, n: t.settled(n, Settled("send", RestOutcome.DONE, "", "")),
    lambda t, n: t.settled(n, Settled("send", RestOutcome.REFUSED, "no", "")),
    lambda t, n: t.settled(n, Settled("consult", RestOutcome.DONE, "", B)),
    lambda t, n: t.settled(n, Settled("join", RestOutcome.DONE, "", "")),
    lambda t, n: t.settled(n, Settled("join", RestOutcome.REFUSED, "no", "")),
    lambda t, n: t.reported(n, status(CallStatus.IN_PROGRESS), True),
    lambda t, n: t.reported(n, status(CallStatus.NO_ANSWER), True),
    lambda t, n: t.reported(n, LegJoined(A), False),
    lambda t, n: t.reported(n, LegJoined(B), True),
    lambda t, n: t.reported(n, CarrierSpoke(B, True), True),
    lambda t, n: t.reported(n, TransferEnded(A, CallStatus.COMPLETED, ""), False),
    lambda t, n: t.tick(n * 100_000_000, True),
]


@pytest.mark.parametrize("summary", ["", "A refund."])
def test_any_three_events_end_it_at_most_once(summary: str) -> None:
    """The caller comes back, or is gone, once; and after that nothing moves any more."""
    for events in itertools.product(range(len(EVENTS)), repeat=3):
        transfer = make(summary)
        moves = list(transfer.begins)
        for number, event in enumerate(events, 1):
            before = transfer.stage
            found = EVENTS[event](transfer, number)
            assert not (before is Stage.OVER and found), (events, found)
            moves += found
        ends = [move for move in moves if move in (Move.BACK, Move.GONE)]
        assert len(ends) == (1 if transfer.stage is Stage.OVER else 0), (events, moves)
