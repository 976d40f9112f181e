"""Calls that the simulated carrier places because the server ordered them, on both carriers."""

from __future__ import annotations

import pytest

from patter_core.carriers.carrier import (
    Answerer,
    CallerAudio,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    MachineDetected,
    RestOutcome,
    StreamStarted,
)
from patter_core.contract import (
    CancelRequest,
    StopRequested,
)
from patter_core.simulator.callee import Callee, Does, RestTrouble
from patter_core.simulator.events import (
    SimCallDone,
    SimDialled,
    SimRest,
)
from patter_core.simulator.script import HangUp, Speak, Wait

from .simulator_kit import (
    THEM,
    US,
    VOICE,
    World,
    both,
    dial_plan,
)


@both
def test_a_dialled_call_that_a_human_answers(carrier: str) -> None:
    callee = Callee(acts=(Wait(500), Speak(VOICE * 10), Wait(500), HangUp()), ring_ms=3_000)
    world = World(carrier, callees={THEM: callee})
    call_id = world.dial()
    world.run(2.9)
    assert world.server.sockets == []
    world.run(0.2)
    if carrier == "telnyx":
        assert world.statuses() == [CallStatus.INITIATED, CallStatus.IN_PROGRESS]
    world.begin_stream(call_id)
    world.run(5)
    assert [hook.ref for _, _, hook in world.server.heard] == ["our-ref"] * len(world.server.heard)
    (socket,) = world.server.sockets
    (started,) = [e for e in socket["events"] if isinstance(e, StreamStarted)]
    assert started.call_id == call_id
    assert VOICE * 10 in b"".join(e.payload for e in socket["events"] if isinstance(e, CallerAudio))
    call = world.done(call_id)
    assert (call.outcome, call.detail, call.outgoing) == ("completed", "hung up", True)
    (dialled,) = world.told(SimDialled)
    assert (dialled.to, dialled.caller, dialled.of) == (THEM, US, "")
    if carrier == "twilio":
        changes = world.hooks(CallStatusChanged)
        assert [(e.status, e.sequence) for e in changes] == [
            (CallStatus.INITIATED, 0),
            (CallStatus.RINGING, 1),
            (CallStatus.IN_PROGRESS, 2),
            (CallStatus.COMPLETED, 3),
        ]
        assert changes[-1].duration_s == 2
        (offered,) = world.hooks(CallOffered)
        assert offered.params["Direction"] == "outbound-api"
    else:
        assert world.statuses() == [CallStatus.INITIATED, CallStatus.IN_PROGRESS, CallStatus.COMPLETED]


@both
@pytest.mark.parametrize(
    ("does", "status", "outcome"),
    [
        (Does.BUSY, CallStatus.BUSY, "busy"),
        (Does.REJECTED, CallStatus.BUSY, "rejected"),
        (Does.NO_ANSWER, CallStatus.NO_ANSWER, "no_answer"),
        (Does.FAILED, CallStatus.FAILED, "failed"),
    ],
)
def test_a_dialled_call_that_comes_to_nothing(carrier: str, does: Does, status: CallStatus, outcome: str) -> None:
    world = World(carrier, callees={THEM: Callee(does=does, ring_ms=2_000)})
    call_id = world.dial(ring_timeout_s=20)
    world.run(60)
    assert world.done(call_id).outcome == outcome
    assert world.statuses()[-1] is status
    assert world.hooks(CallStatusChanged)[-1].sip_code is not None
    assert world.server.sockets == []


@both
def test_ringing_ends_when_the_order_says(carrier: str) -> None:
    """Twilio adds about 5 s to what was asked."""
    world = World(carrier, callees={THEM: Callee(ring_ms=120_000)})
    world.dial(ring_timeout_s=10)
    world.run(60)
    (at,) = [at for at, _, hook in world.server.heard if getattr(hook.event, "status", None) is CallStatus.NO_ANSWER]
    assert at // 1_000_000 == (15 if carrier == "twilio" else 10)


@both
def test_hanging_up_what_rings_cancels_it(carrier: str) -> None:
    world = World(carrier, callees={THEM: Callee(ring_ms=10_000)})
    call_id = world.dial()
    world.run(1)
    assert world.outcome(world.server.dialect.hang_up(world.server.leg(call_id))) is RestOutcome.DONE
    world.run(1)
    assert world.statuses()[-1] is CallStatus.CANCELED
    assert world.done(call_id).outcome == "cancelled"


@both
@pytest.mark.parametrize("does", [Does.HUMAN, Does.MACHINE, Does.FAX])
def test_machine_detection(carrier: str, does: Does) -> None:
    callee = Callee(does=does, ring_ms=1_000, verdict_ms=1_500, greeting_ms=4_000, acts=(Wait(30_000),))
    world = World(carrier, callees={THEM: callee})
    call_id = world.dial(machine_detection=True)
    world.run(1.1)
    world.begin_stream(call_id)
    world.run(10)
    found = world.hooks(MachineDetected)
    verdict = Answerer(does.value) if carrier == "twilio" or does is not Does.FAX else Answerer.UNKNOWN
    if does is not Does.MACHINE:
        assert [e.classification for e in found] == [verdict]
    elif carrier == "twilio":  # asked to wait for the end of the greeting
        assert [(e.classification, e.greeting_ended) for e in found] == [(verdict, True)]
    else:
        assert [e.classification for e in found][:1] == [verdict]
        assert [e.greeting_ended for e in found] == [False, True]
    # The greeting is spoken whether or not anybody listens: what was missed of it is the way to the stream.
    audio = b"".join(e.payload for e in world.server.sockets[0]["events"] if isinstance(e, CallerAudio))
    audible = len(audio) - audio.count(b"\xff")
    assert (audible > 8 * 4_000) == (does is Does.MACHINE)


@both
@pytest.mark.parametrize(
    ("trouble", "first"),
    [
        (RestTrouble(status=400, code="21211"), RestOutcome.REFUSED),
        (RestTrouble(status=401), RestOutcome.UNAUTHORIZED),
        (RestTrouble(status=429), RestOutcome.RETRY),
        (RestTrouble(status=429, retry_after_s=7), RestOutcome.RETRY),
        (RestTrouble(status=503), RestOutcome.RETRY),
    ],
)
def test_the_dialling_order_goes_wrong(carrier: str, trouble: RestTrouble, first: RestOutcome) -> None:
    world = World(carrier, callees={THEM: Callee(trouble=trouble)})
    request = world.server.dialect.dial(world.server.leg(), dial_plan(carrier))
    assert world.outcome(request) is first
    assert world.told(SimDialled) == []
    expected = "7" if trouble.retry_after_s else None
    assert world.server.answers[-1][2].get("retry-after") == expected
    if trouble.code and carrier == "twilio":
        assert "21211" in world.server.dialect.problem(*world.server.answers[-1][:2])
    assert world.outcome(request) is RestOutcome.DONE  # once was enough
    assert len(world.told(SimDialled)) == 1
    assert next(e.status for e in world.told(SimRest)) == trouble.status


@both
@pytest.mark.parametrize("anyway", [False, True])
def test_a_dialling_order_is_never_answered(carrier: str, anyway: bool) -> None:
    """With ``done_anyway`` the call is placed all the same: the ambiguity of every timeout."""
    trouble = RestTrouble(status=0, done_anyway=anyway)
    world = World(carrier, callees={THEM: Callee(trouble=trouble, acts=(Wait(60_000),))})
    name = world.server.rest(world.server.dialect.dial(world.server.leg(), dial_plan(carrier)))
    world.node.feed(StopRequested())
    world.run(5)
    assert world.server.answers == []
    world.net.perform(world.node, CancelRequest(name))
    assert (len(world.told(SimDialled)) == 1) == anyway
    assert [e.status for e in world.told(SimRest)] == [0]
    assert (world.statuses()[:1] == [CallStatus.INITIATED]) == anyway


def test_a_repeated_dialling_command_dials_once() -> None:
    world = World("telnyx")
    leg = world.server.leg()
    made = {world.server.dialect.made(*world.rest(world.server.dialect.dial(leg, dial_plan("telnyx")))) for _ in "12"}
    assert len(made) == 1
    assert len(world.told(SimDialled)) == 1


def test_it_waits_for_the_calls_it_is_to_dial() -> None:
    world = World("twilio", callees={THEM: Callee(acts=(Wait(500), HangUp()))}, dials=2, leave_when_done=True)
    for _ in range(2):
        world.dial()
        world.run(10)
    assert world.sim_node.exit_code == 0
    assert len(world.told(SimCallDone)) == 2
