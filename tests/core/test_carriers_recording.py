"""Recording, the same on every carrier: asked for, told about once it can be fetched, paused, announced."""

from __future__ import annotations

import pytest

from patter_core.carriers.carrier import RecordingStep
from patter_core.contract import Request
from patter_core.events import OrderRefused, RecordingStepped
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Misbehaviour, RestTrouble
from patter_core.simulator.events import SimRecording
from patter_core.simulator.orders import Record
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import EPOCH, SECOND, CarriersWorld, both, hears, person, speaker

RECORDED = {"recording": True}


@both
@pytest.mark.parametrize("upset", [None, Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS])
def test_a_recorded_call_is_told_about_once_it_can_be_fetched(carrier: str, upset: Misbehaviour | None) -> None:
    world = CarriersWorld(
        carrier,
        plans=person(Wait(6_000), HangUp()),
        config=RECORDED,
        misbehaves=frozenset({upset} if upset else ()),
    )
    world.run(1)
    (order,) = world.rests(Record)
    assert (order.call_id, order.step) == (world.first, RecordingStep.START)
    if carrier == "twilio":  # Telnyx reports recordings where it reports everything
        assert order.reports.recording_url == world.hook("recording")
    assert [e.step for e in world.told(RecordingStepped)] == ["start"]
    world.run(7)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert world.calls["on_recording"] == []
    world.run(8)
    (told,) = world.calls["on_recording"]
    (made,) = world.sim_told(SimRecording)
    assert (told["call_id"], told["recording_id"]) == (world.first, made.recording_id)
    assert made.recording_id in told["url"]
    assert told["status"] == "completed"
    assert told["telephony_provider"] == carrier
    assert abs(told["duration"] - 6) <= 1
    assert told["channels"] == 2
    if carrier == "telnyx":  # its links work for ten minutes
        assert 590 <= told["expires_at"] - (EPOCH + world.net.now) / SECOND <= 600
    else:
        assert told["expires_at"] is None
    world.over()
    assert len(world.calls["on_recording"]) == 1


@both
def test_without_being_asked_nothing_is_recorded(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(Wait(2_000), HangUp()))
    world.run(8)
    assert world.rests(Record) == []
    assert world.calls["on_recording"] == []
    world.over()


@both
def test_a_dialled_call_is_recorded_too(carrier: str) -> None:
    world = CarriersWorld(carrier, config=RECORDED, callee=Callee(acts=(Wait(4_000), HangUp())))
    ask = world.call(wait=True)
    world.run(20)
    (told,) = world.calls["on_recording"]
    assert told["call_id"] == world.answer(ask).call_id
    world.over()


@both
def test_pause_resume_and_stop(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(), config=RECORDED)
    world.run(1)
    for step in ("pause", "resume", "stop"):
        ask = world.ask("record", call_id=world.first, step=step)
        world.run(1)
        assert world.answer(ask) is True
    assert [order.step.value for order in world.rests(Record)] == ["start", "pause", "resume", "stop"]
    assert [e.step for e in world.told(RecordingStepped)] == ["start", "pause", "resume", "stop"]
    world.run(5)
    (told,) = world.calls["on_recording"]  # while the call goes on
    assert world.leg().live
    world.ask("end_call", call_id=world.first, force=True)
    world.run(3)
    assert world.calls["on_call_end"][0]["recording"]["recording_id"] == told["recording_id"]
    world.over()


@both
def test_what_is_not_recorded_cannot_be_paused(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person())
    world.run(1)
    ask = world.ask("record", call_id=world.first, step="pause")
    world.run(6)
    assert world.answer(ask)[0] == "carrier_refused"
    assert world.answer(world.ask("record", call_id=world.first, step="rewind"))[0] == "bad_arguments"
    assert world.leg().live
    world.over()


@both
def test_a_recording_that_the_carrier_refuses_does_not_end_the_call(carrier: str) -> None:
    world = CarriersWorld(
        carrier, plans=person(), config=RECORDED, rest_trouble=(RestTrouble(status=400, on="Record", code="20001"),)
    )
    world.run(3)
    assert [e.order for e in world.told(OrderRefused)] == ["record_start"]
    assert world.leg().live
    world.over()


@both
def test_the_announcement_is_heard_before_anything_else(carrier: str) -> None:
    words, hello = "This call is recorded.", "How can I help you?"
    world = CarriersWorld(
        carrier,
        speaker(first_message=hello),
        person(ListenUntilQuiet(), HangUp()),
        config={**RECORDED, "recording_announcement": words},
    )
    world.run(10)
    heard = world.done().heard
    assert hears(heard, words)
    assert hears(heard, hello)
    assert world.said() == [f"{words} {hello}"]
    world.over()


@both
def test_a_recorded_call_that_the_server_ends_on_its_way_down(carrier: str) -> None:
    """``on_call_end`` does not wait for what can no longer arrive."""
    world = CarriersWorld(carrier, plans=person(), config=RECORDED)
    world.run(2)
    world.stop(3)
    assert world.server.exit_code == 0
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
def test_two_orders_of_one_kind(carrier: str) -> None:
    """The second takes the first one's place; nobody is left without an answer."""
    world = CarriersWorld(carrier, plans=person(), config=RECORDED, latency_us=50_000)
    world.run(1)
    asks = [world.ask("record", call_id=world.first, step="pause") for _ in range(2)]
    world.run(2)
    assert world.answer(asks[0])[0] == "superseded"
    assert world.answer(asks[1]) is True
    assert [order for order in world.orders(Request) if not order.url] == []
    world.over()
