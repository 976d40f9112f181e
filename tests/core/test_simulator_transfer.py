"""Transfers and consultations by the simulated carrier, on both carriers."""

from __future__ import annotations

import pytest

from patter_core.carriers.carrier import (
    CallerAudio,
    CallStatus,
    CarrierSpoke,
    LegJoined,
    RestOutcome,
    StreamStarted,
    StreamStopped,
    TransferEnded,
)
from patter_core.simulator.callee import Callee, Does
from patter_core.simulator.events import (
    SimCallDone,
    SimJoined,
    SimSaid,
    SimTransferred,
)
from patter_core.simulator.script import Speak, Wait

from .simulator_kit import (
    LONG,
    THEM,
    VOICE,
    World,
    dial_plan,
    one,
    transfer_plan,
)


def test_twilio_transfer_that_is_answered() -> None:
    """The stream stops, the two talk, then the action is fetched; what it answers ends the call or goes on with it."""
    world = World("twilio", LONG, callees={THEM: Callee(ring_ms=2_000, talk_ms=5_000)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    world.server.next["transfer"] = world.server.dialect.transferred()
    assert world.outcome(world.server.dialect.transfer(world.server.leg(call_id), transfer_plan("twilio"))) is (
        RestOutcome.DONE
    )
    world.run(1)
    assert isinstance(world.server.sockets[0]["events"][-1], StreamStopped)
    world.run(4)
    assert world.hooks(TransferEnded) == []
    (transferred,) = world.told(SimTransferred)
    assert (transferred.call_id, transferred.to, transferred.connected) == (call_id, THEM, True)
    world.run(5)
    (over,) = world.hooks(TransferEnded)
    assert (over.call_id, over.status, over.duration_s) == (call_id, CallStatus.COMPLETED, 5)
    assert [hook.ref for _, kind, hook in world.server.heard if kind == "transfer"] == ["their-ref"]
    assert world.done(call_id).outcome == "completed"
    assert world.done(transferred.other).outgoing


@pytest.mark.parametrize(
    ("does", "status"),
    [
        (Does.BUSY, CallStatus.BUSY),
        (Does.NO_ANSWER, CallStatus.NO_ANSWER),
        (Does.FAILED, CallStatus.FAILED),
    ],
)
def test_twilio_transfer_that_fails_brings_the_caller_back(does: Does, status: CallStatus) -> None:
    world = World("twilio", one(Wait(2_000), Speak(VOICE), Wait(100_000)), callees={THEM: Callee(does=does)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    world.server.next["transfer"] = world.server.dialect.offered(world.server.plan())
    world.rest(world.server.dialect.transfer(world.server.leg(call_id), transfer_plan("twilio", ring=5)))
    world.run(20)
    (over,) = world.hooks(TransferEnded)
    assert over.status is status
    assert [e.why for e in world.told(SimTransferred)] == [does.value]
    assert len(world.server.sockets) == 2
    second = world.server.sockets[1]["events"]
    assert any(isinstance(e, StreamStarted) and e.call_id == call_id for e in second)
    assert VOICE in b"".join(e.payload for e in second if isinstance(e, CallerAudio))  # the caller was away meanwhile
    world.rest(world.server.dialect.hang_up(world.server.leg(call_id)))
    world.run(1)
    assert world.done(call_id).streams == 2


def test_a_twilio_caller_who_hangs_up_during_the_transfer() -> None:
    world = World("twilio", one(Wait(600_000), most_ms=5_000), callees={THEM: Callee(ring_ms=60_000)})
    world.run(1)
    world.rest(world.server.dialect.transfer(world.server.leg(world.sim.call_ids[0]), transfer_plan("twilio")))
    world.run(10)
    assert sorted((e.outcome, e.outgoing) for e in world.told(SimCallDone)) == [
        ("cancelled", True),
        ("completed", False),
    ]
    assert world.hooks(TransferEnded) == []


def test_telnyx_transfer_that_is_answered() -> None:
    world = World("telnyx", LONG, callees={THEM: Callee(ring_ms=2_000, talk_ms=5_000)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    assert world.outcome(world.server.dialect.transfer(world.server.leg(call_id), transfer_plan("telnyx"))) is (
        RestOutcome.DONE
    )
    world.run(3)
    (transferred,) = world.told(SimTransferred)
    other = transferred.other
    assert world.statuses(other) == [CallStatus.INITIATED, CallStatus.IN_PROGRESS]
    assert {e.call_id for e in world.hooks(LegJoined)} == {call_id, other}
    refs = {hook.ref for _, _, hook in world.server.heard if getattr(hook.event, "call_id", "") == other}
    assert refs == {"their-ref"}
    assert world.server.sockets[0]["closed"] == 0  # the original keeps its stream
    world.run(6)
    assert world.statuses(other)[-1] is CallStatus.COMPLETED
    assert world.statuses(call_id)[-1] is CallStatus.COMPLETED
    assert world.done(call_id).outcome == world.done(other).outcome == "completed"


def test_telnyx_transfer_that_fails_leaves_the_caller_where_they_are() -> None:
    world = World("telnyx", LONG, callees={THEM: Callee(does=Does.BUSY)})
    world.run(1)
    call_id = world.sim.call_ids[0]
    world.rest(world.server.dialect.transfer(world.server.leg(call_id), transfer_plan("telnyx")))
    world.run(10)
    (transferred,) = world.told(SimTransferred)
    assert (transferred.connected, transferred.why) == (False, "busy")
    assert world.statuses(transferred.other) == [CallStatus.INITIATED, CallStatus.BUSY]
    assert world.hooks(LegJoined) == []
    assert [e.call_id for e in world.told(SimCallDone)] == [transferred.other]


def test_twilio_consultation() -> None:
    """The specialist hears the brief and waits in the room; the caller comes in; whoever leaves ends it for both."""
    world = World("twilio", LONG, callees={THEM: Callee(ring_ms=1_000, talk_ms=4_000)})
    world.run(1)
    caller = world.sim.call_ids[0]
    plan = dial_plan("twilio", brief="A caller about an invoice.", language="en", room="room-1")
    specialist = world.dial(brief=plan.brief, language=plan.language, room=plan.room)
    world.run(5)
    assert [(e.call_id, e.text) for e in world.told(SimSaid)] == [(specialist, plan.brief)]
    assert [e.call_id for e in world.hooks(LegJoined)] == [specialist]
    assert world.told(SimJoined) == []
    assert world.server.sockets[0]["closed"] == 0
    world.server.next["transfer"] = world.server.dialect.transferred()
    assert (
        world.outcome(world.server.dialect.join(world.server.leg(caller), world.server.leg(specialist), plan))
        is RestOutcome.DONE
    )
    world.run(2)
    assert [(e.call_id, e.other) for e in world.told(SimJoined)] == [(caller, specialist)]
    assert [e.call_id for e in world.hooks(LegJoined)] == [specialist, caller]
    world.run(5)
    (over,) = world.hooks(TransferEnded)
    assert (over.call_id, over.raw) == (caller, "answered")
    assert {world.done(one).outcome for one in (caller, specialist)} == {"completed"}


def test_telnyx_consultation() -> None:
    world = World("telnyx", LONG, callees={THEM: Callee(ring_ms=1_000, talk_ms=4_000)})
    world.run(1)
    caller = world.sim.call_ids[0]
    plan = dial_plan("telnyx", brief="A caller about an invoice.", room="room-1")
    specialist = world.dial(brief=plan.brief, room=plan.room)
    world.run(2)
    dialect = world.server.dialect
    assert world.outcome(dialect.brief(world.server.leg(specialist), plan)) is RestOutcome.DONE
    world.run(4)
    assert [(e.call_id, e.completed) for e in world.hooks(CarrierSpoke)] == [(specialist, True)]
    assert world.outcome(dialect.join(world.server.leg(caller), world.server.leg(specialist), plan)) is RestOutcome.DONE
    world.run(1)
    assert {e.call_id for e in world.hooks(LegJoined)} == {caller, specialist}
    world.run(5)
    assert {world.done(one).outcome for one in (caller, specialist)} == {"completed"}
