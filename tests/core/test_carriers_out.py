"""Calls that we dial, the same on every carrier: whatever becomes of them, whoever waits for it is told once."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.call.result import CallResult
from patter_core.carriers.carrier import CallStatus
from patter_core.events import CallNamed, CallProgressed, HangUpFailed, OrderRefused
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.callee import Callee, Does, Misbehaviour, RestTrouble
from patter_core.simulator.events import SimDialled
from patter_core.simulator.orders import Dial, HangUpCall
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import THEM, US, CarriersWorld, audible, both, hears, person, speaker, talk

HELLO = "Hello, this is a call."


def result(world: CarriersWorld, ask: Any) -> CallResult:
    found = world.answer(ask)
    assert isinstance(found, CallResult), found
    return found


def assert_told_once(world: CarriersWorld, outcome: str, reason: EndReason, call_id: str) -> None:
    """``on_call_end`` came once, and says what the result says."""
    (end,) = world.calls["on_call_end"]
    assert (end["call_id"], end["caller"], end["callee"], end["direction"]) == (call_id, US, THEM, "outbound")
    assert (end["outcome"], end["reason"]) == (outcome, reason.value)
    assert world.reasons() == {call_id: reason}


@both
def test_somebody_answers_and_talks(carrier: str) -> None:
    human = Callee(acts=(ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp()), ring_ms=3_000)
    world = CarriersWorld(carrier, speaker("yes"), callee=human)
    ask = world.call(wait=True, first_message=HELLO)
    world.until(lambda: world.answered(ask))
    world.run(1)
    found = result(world, ask)
    leg = world.leg_to(THEM)
    assert (found.call_id, found.outcome, found.reason) == (leg.id, "answered", EndReason.CALLER_HUNG_UP)
    assert 3 < found.duration_seconds < 15
    assert [line["text"] for line in found.transcript if line["role"] == "assistant"] == [HELLO, "You said yes"]
    heard = world.done(leg.id).heard
    assert hears(heard, HELLO)
    assert hears(heard, "You said yes")
    assert_told_once(world, "answered", EndReason.CALLER_HUNG_UP, leg.id)
    assert len(world.calls["on_call_start"]) == 1
    assert world.calls["on_call_start"][0]["direction"] == "outbound"
    ranks = [e.status for e in world.told(CallProgressed)]
    assert ranks == sorted(ranks, key=list(CallStatus).index)
    assert ranks[-1] is CallStatus.COMPLETED or ranks[-1] is CallStatus.IN_PROGRESS
    world.over()


@both
def test_without_waiting_the_answer_is_the_calls_name(carrier: str) -> None:
    world = CarriersWorld(carrier, callee=Callee(ring_ms=5_000, acts=(Wait(1_000), HangUp())))
    ask = world.call(wait=False)
    world.run(1)
    leg = world.leg_to(THEM)
    assert world.answer(ask) == leg.id
    assert [e.call_id for e in world.told(CallNamed)] == [leg.id]
    assert world.board._host.call_ids() == [leg.id]
    world.run(10)
    assert_told_once(world, "answered", EndReason.CALLER_HUNG_UP, leg.id)
    world.over()


@both
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    ("does", "outcome", "reason"),
    [
        (Does.NO_ANSWER, "no_answer", EndReason.NO_ANSWER),
        (Does.BUSY, "busy", EndReason.BUSY),
        (Does.REJECTED, "busy", EndReason.BUSY),
        (Does.FAILED, "failed", EndReason.FAILED),
    ],
)
def test_nobody_answers(carrier: str, wait: bool, does: Does, outcome: str, reason: EndReason) -> None:
    world = CarriersWorld(carrier, callee=Callee(does=does))
    ask = world.call(wait=wait, ring_timeout=10)
    world.run(30)
    leg = world.leg_to(THEM)
    if wait:
        found = result(world, ask)
        assert (found.call_id, found.outcome, found.reason) == (leg.id, outcome, reason)
        assert found.duration_seconds == 0
        assert found.transcript == ()
    else:
        assert world.answer(ask) == leg.id
    assert_told_once(world, outcome, reason, leg.id)
    assert world.calls["on_call_start"] == []
    assert world.rests(HangUpCall) == []
    world.over()


@both
def test_ringing_lasts_as_long_as_was_asked(carrier: str) -> None:
    world = CarriersWorld(carrier, callee=Callee(does=Does.NO_ANSWER))
    ask = world.call(wait=True, ring_timeout=40)
    world.run(39)
    assert not world.answered(ask)
    world.run(10)
    assert result(world, ask).outcome == "no_answer"
    world.over()


@both
@pytest.mark.parametrize("wait", [True, False])
def test_the_carrier_refuses_to_dial(carrier: str, wait: bool) -> None:
    world = CarriersWorld(carrier, callee=Callee(trouble=RestTrouble(status=400)))
    ask = world.call(wait=wait)
    world.run(5)
    if wait:
        found = result(world, ask)
        assert (found.outcome, found.reason) == ("failed", EndReason.CARRIER_REFUSED)
        assert "400" in found.detail
    else:
        assert world.answer(ask)[0] == "carrier_refused"
    assert world.sim_told(SimDialled) == []
    assert [e.order for e in world.told(OrderRefused)] == ["dial"]
    (end,) = world.calls["on_call_end"]
    assert (end["outcome"], end["reason"]) == ("failed", "carrier_refused")
    world.over()


@both
@pytest.mark.parametrize("args", [{"to": "12"}, {"to": THEM, "ring_timeout": 1}, {"to": THEM, "from_number": "x"}])
def test_what_cannot_be_dialled_is_refused_and_costs_nothing(carrier: str, args: dict[str, Any]) -> None:
    world = CarriersWorld(carrier)
    assert world.answer(world.ask("call", **args))[0] == "cannot_dial"
    assert world.rests(Dial) == []
    world.over()


@both
def test_max_calls_counts_dialled_calls_too(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(at_ms=4_000), settings=ServerSettings(max_calls=1))
    world.call(wait=False)
    assert world.answer(world.call())[0] == "cannot_dial"
    world.run(5)
    assert world.done().outcome == "busy"
    world.over()


# --- reports ---------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", [Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS])
@pytest.mark.parametrize("does", [Does.HUMAN, Does.BUSY, Does.NO_ANSWER])
def test_reports_that_come_twice_or_in_the_wrong_order(carrier: str, kind: Misbehaviour, does: Does) -> None:
    callee = Callee(does=does, acts=(ListenUntilQuiet(), HangUp()))
    world = CarriersWorld(carrier, speaker(), callee=callee, misbehaves=frozenset({kind}))
    ask = world.call(wait=True, first_message=HELLO, ring_timeout=10)
    world.run(40)
    outcome = {Does.HUMAN: "answered", Does.BUSY: "busy", Does.NO_ANSWER: "no_answer"}[does]
    assert result(world, ask).outcome == outcome
    assert len(world.calls["on_call_end"]) == 1
    assert world.sim_told(SimDialled)[1:] == []
    if does is Does.HUMAN:
        assert hears(world.done(world.leg_to(THEM).id).heard, HELLO)
    world.over()


@both
def test_a_call_whose_end_is_never_reported(carrier: str) -> None:
    """An answered one ends with its stream; one that only rings is waited for no longer than its time."""
    world = CarriersWorld(
        carrier, callee=Callee(acts=(talk(500), HangUp())), misbehaves=frozenset({Misbehaviour.UNTOLD_HANGUP})
    )
    ask = world.call(wait=True)
    world.run(10)
    assert result(world, ask).outcome == "answered"
    world.over()

    world = CarriersWorld(carrier, callee=Callee(does=Does.BUSY), misbehaves=frozenset({Misbehaviour.UNTOLD_HANGUP}))
    ask = world.call(wait=True, ring_timeout=10)
    world.run(60)
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.NOT_REPORTED)
    world.over()


# --- the order to dial -----------------------------------------------------------------------------------------------


@both
def test_too_many_requests_is_asked_again_and_dials_once(carrier: str) -> None:
    world = CarriersWorld(
        carrier,
        callee=Callee(acts=(Wait(500), HangUp())),
        rest_trouble=(RestTrouble(status=429, on="Dial", times=2),),
    )
    ask = world.call(wait=True)
    world.run(20)
    assert result(world, ask).outcome == "answered"
    assert len(world.rests(Dial)) == 3
    assert len(world.sim_told(SimDialled)) == 1
    world.over()


@both
def test_their_fault_may_have_dialled_and_is_not_repeated(carrier: str) -> None:
    """A 5xx leaves open whether the call is placed; asking again might call somebody twice."""
    world = CarriersWorld(carrier, rest_trouble=(RestTrouble(status=500, on="Dial"),))
    ask = world.call(wait=True, ring_timeout=5)
    world.run(15)
    assert not world.answered(ask)  # it might ring
    world.run(25)
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.NOT_REPORTED)
    assert len(world.rests(Dial)) == 1
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@pytest.mark.parametrize("status", [0, 500])
@pytest.mark.parametrize("wait", [True, False])
def test_an_order_whose_answer_was_lost_but_that_was_carried_out(carrier: str, status: int, wait: bool) -> None:
    """The reports carry our name of the call, so it is found all the same."""
    world = CarriersWorld(
        carrier,
        callee=Callee(acts=(talk(500), HangUp())),
        rest_trouble=(RestTrouble(status=status, on="Dial", done_anyway=True),),
    )
    ask = world.call(wait=wait)
    world.run(20)
    leg = world.leg_to(THEM)
    if wait:
        found = result(world, ask)
        assert (found.call_id, found.outcome) == (leg.id, "answered")
    else:
        assert world.answer(ask) == leg.id
    assert len(world.sim_told(SimDialled)) == 1
    assert audible(world.done(leg.id).heard) >= 400
    world.over()


@both
def test_an_order_that_is_never_answered_nor_carried_out(carrier: str) -> None:
    world = CarriersWorld(carrier, rest_trouble=(RestTrouble(status=0, on="Dial"),))
    ask = world.call(wait=True, ring_timeout=10)
    world.run(60)
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.NOT_REPORTED)
    world.over()


@both
def test_a_rest_api_that_is_not_there(carrier: str) -> None:
    """A connection that is refused did nothing: it is tried again, within bounds."""
    world = CarriersWorld(carrier, rest=False)
    ask = world.call(wait=True, ring_timeout=60)
    world.run(11)
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.CARRIER_REFUSED)
    world.over()


@both
@pytest.mark.parametrize("status", [400, 401])
def test_a_call_that_was_refused_and_rings_all_the_same_is_hung_up(carrier: str, status: int) -> None:
    """Nobody is there to talk on it: its first report gives it away."""
    trouble = (RestTrouble(status=status, on="Dial", done_anyway=True),)
    world = CarriersWorld(carrier, callee=Callee(ring_ms=5_000), rest_trouble=trouble)
    ask = world.call(wait=True)
    world.run(10)
    assert result(world, ask).reason is EndReason.CARRIER_REFUSED
    assert world.done(world.leg_to(THEM).id).outcome == "cancelled"
    assert len(world.rests(HangUpCall)) == 1
    assert len(world.calls["on_call_end"]) == 1
    world.over()


# --- called off ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("after_s", [0.5, 5])
def test_a_ringing_call_is_called_off(carrier: str, after_s: float) -> None:
    world = CarriersWorld(carrier, callee=Callee(ring_ms=20_000))
    ask = world.call(wait=True)
    world.run(after_s)
    leg = world.leg_to(THEM)
    end = world.ask("end_call", call_id=leg.id)
    world.run(3)
    assert world.answer(end) is True
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("canceled", EndReason.AGENT_HUNG_UP)
    assert world.done(leg.id).outcome == "cancelled"
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("after_s", [0, 0.5, 3])
def test_shutdown_while_it_is_dialled_or_rings(carrier: str, wait: bool, after_s: float) -> None:
    world = CarriersWorld(carrier, callee=Callee(ring_ms=20_000))
    ask = world.call(wait=wait)
    world.run(after_s)
    world.stop(20)
    assert world.server.exit_code == 0
    leg = world.leg_to(THEM)
    if wait:
        found = result(world, ask)
        assert (found.outcome, found.reason) == ("canceled", EndReason.SHUTDOWN)
    else:
        assert world.answer(ask) == leg.id
    assert world.done(leg.id).outcome == "cancelled"
    assert world.told(HangUpFailed) == []
    world.over()


@both
def test_shutdown_while_the_order_to_dial_is_under_way(carrier: str) -> None:
    """A call being placed is awaited, then hung up."""
    world = CarriersWorld(carrier, callee=Callee(ring_ms=60_000), latency_us=800_000)
    ask = world.call(wait=True)
    world.stop(20)
    assert world.server.exit_code == 0
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("canceled", EndReason.SHUTDOWN)
    assert world.done(world.leg_to(THEM).id).outcome == "cancelled"
    world.over()


@both
def test_shutdown_when_the_carrier_never_says_what_it_dialled(carrier: str) -> None:
    """Nobody can hang up what has no name; that is said, and the way down keeps its bounds."""
    world = CarriersWorld(carrier, rest_trouble=(RestTrouble(status=0, on="Dial"),))
    ask = world.call(wait=True)
    world.stop(20)
    assert world.server.exit_code == 0
    assert result(world, ask).outcome == "canceled"
    assert len(world.told(HangUpFailed)) == 1
    world.over()


@both
def test_variables_and_first_message_are_this_calls(carrier: str) -> None:
    world = CarriersWorld(
        carrier,
        speaker(first_message="Hello {name}."),
        callee=Callee(acts=(ListenUntilQuiet(), HangUp())),
    )
    ask = world.call(wait=True, variables={"name": "Ada"})
    world.run(20)
    assert result(world, ask).transcript[0]["text"] == "Hello Ada."
    world.over()


@both
def test_a_dialled_call_on_which_no_stream_can_be_opened(carrier: str) -> None:
    """Somebody answered and hears nothing: they are not left on the line."""
    world = CarriersWorld(
        carrier, sign_upgrade=False, config={"require_upgrade_signature": True}, call=CallSettings(offer_s=5)
    )
    world.problems_expected = True
    ask = world.call(wait=True)
    world.run(30)
    found = result(world, ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.NEVER_STARTED) or carrier == "twilio"
    assert found.outcome == "failed"
    assert not world.leg_to(THEM).live
    world.over()
