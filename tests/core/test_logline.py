"""One line per event, numbers masked, what was said left out, and no way for a stranger to write a second line."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from patter_core import events
from patter_core.call.metrics import TurnMetrics
from patter_core.carriers.carrier import CallStatus, CallStatusChanged
from patter_core.logline import DEBUG, ERROR, INFO, WARNING, describe, mask
from patter_core.reasons import EndReason
from patter_core.simulator.network import VirtualNetwork

from .world import World, sid


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+15550100001", "+15*******01"),
        ("15550100001", "15*******01"),
        ("5550100", "55***00"),
        ("555010", "555010"),
        ("+1 (555) 010-0001", "+1 (5**) ***-**01"),
        ("p15550100001", "p15*******01"),
        ("911", "911"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_masks(number: str, masked: str) -> None:
    assert mask(number) == masked


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (events.ServerReady(), INFO, "server ready"),
        (
            events.CallOffered("CA1", "+15550100001", "+15550001234", "inbound"),
            INFO,
            "call offered caller=+15*******01 callee=+15*******34 direction=inbound",
        ),
        (events.TranscriptLine("CA1", "user", "my card is 4111", 1), DEBUG, "user said 15 characters"),
        (events.TranscriptLine("CA1", "agent", "ok", 1, True), DEBUG, "agent said 2 characters, interrupted"),
        (
            events.ShutdownStep(2, "hang up active calls", "3 calls"),
            INFO,
            "shutdown 2/6: hang up active calls (3 calls)",
        ),
        (events.ShutdownStep(1, "stop accepting"), INFO, "shutdown 1/6: stop accepting"),
        (events.Bug("call", "KeyError: 5", "CA1"), ERROR, "bug where=call detail=KeyError: 5"),
        (
            events.Refused("webhook", 403, "bad_signature", "203.0.113.7"),
            WARNING,
            "refused what=webhook status=403 code=bad_signature peer=203.0.113.7",
        ),
        (
            events.CallEnded("CA1", EndReason.CALLER_HUNG_UP, 1000, 2, 50, 40, 3, 0, 0),
            INFO,
            "call ended reason=caller_hung_up duration_ms=1000 turns=2 frames_in=50 frames_out=40 marks_played=3 "
            "marks_discarded=0 malformed=0",
        ),
        (
            events.CarrierReported("CA1", CallStatusChanged("CA1", CallStatus.RINGING, "ringing", 0)),
            DEBUG,
            "carrier reported: CallStatusChanged",
        ),
    ],
)
def test_lines(event: Any, level: int, text: str) -> None:
    assert describe(event) == (level, text, getattr(event, "call_id", ""))


def test_numbers_in_details_are_masked_and_addresses_are_not() -> None:
    line = describe(events.HangUpFailed("CA1", "no answer for +15550100001 from 203.0.113.7"))[1]
    assert "+15550100001" not in line
    assert "203.0.113.7" in line


def test_odd_callers_are_masked_too() -> None:
    line = describe(events.CallOffered("CA1", "sip:+15550100001@x", "client:bob", "inbound"))[1]
    assert "5550100001" not in line
    assert "client:bob" in line


@pytest.mark.parametrize("nasty", ["a\nERROR all is lost", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "a\x00b"])
def test_a_stranger_cannot_begin_a_line(nasty: str) -> None:
    for event in (
        events.CallOffered("CA1", nasty, nasty, nasty),
        events.Refused("webhook", 403, nasty, nasty, nasty),
        events.CallbackFailed("CA1", "on_message", nasty),
        events.ShutdownStep(1, nasty),
    ):
        line = describe(event)[1]
        assert len(line.splitlines()) == 1
        assert line.isprintable()


def test_every_event_has_a_line() -> None:
    """Whatever its fields hold."""
    kinds = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, events.Event)]
    assert len(kinds) > 20
    for kind in kinds:
        if kind is events.Event:
            continue
        values = {
            "int": 1, "str": "x", "bool": True, "EndReason": EndReason.BUG, "float": 1.0,
        }  # fmt: skip
        fields: dict[str, Any] = {
            name: values.get(str(annotation), object()) for name, annotation in kind.__annotations__.items()
        }
        if kind is events.TurnCompleted:
            fields["turn"] = _turn()
        level, text, _ = describe(kind(**fields))
        assert level in (DEBUG, INFO, WARNING, ERROR)
        assert text


def _turn() -> Any:
    class Latency:
        agent_response_ms = 1.0

    class Turn:
        turn_index = 0
        latency = Latency()

    assert TurnMetrics is not None
    return Turn()


def test_a_whole_calls_log_has_no_number_and_no_key() -> None:
    world = World()
    line = world.open(sid(1))
    world.voice(sid(2), token="wrong")
    world.stop(line)
    world.run(1)
    assert isinstance(world.net, VirtualNetwork)
    text = "\n".join(describe(event)[1] for _, event in world.server.events)
    assert "5550100001" not in text
    assert "simulated" not in text
    assert "call ended" in text
