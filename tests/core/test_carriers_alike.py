"""Everything at once, the same on every carrier: many calls in every state, the way down, the carriers' own settings.

Whatever works on one carrier works on the other: these files are one set of stories run against each. By topic:
``test_carriers_incoming``, ``_out``, ``_transfer``, ``_machines``, ``_recording``, ``_keys``, ``_audio``, ``_trouble``.
"""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.call.call import CallState
from patter_core.carriers.dialects import DIALECTS
from patter_core.contract import StopRequested
from patter_core.events import (
    CallOffered,
    HangUpFailed,
    ServerReady,
    ShutdownStep,
    WebhookChanged,
    WebhookFailed,
    WebhookKept,
    WebhookUntouched,
)
from patter_core.reasons import EndReason
from patter_core.settings import ServerSettings
from patter_core.simulator.callee import Callee, Does, Misbehaviour, RestTrouble
from patter_core.simulator.events import SimCallDone, SimHook, SimJoined, SimTransferred
from patter_core.simulator.network import Never
from patter_core.simulator.orders import FindHook, SetHook
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import CARRIERS, DESK, ECHO, SECOND, THEM, CarriersWorld, both, hears, person, speaker, talk

RINGS, TALKS = "+15550003001", "+15550003002"
OURS = {name: f"https://agent.example.com/webhooks/{name}/voice" for name in CARRIERS}
OTHERS = "https://other.example.com/voice"


def test_every_carrier_there_is_takes_part() -> None:
    assert set(CARRIERS) == set(DIALECTS)


# --- the way down ----------------------------------------------------------------------------------------------------


def busy_world(carrier: str, **options: Any) -> tuple[CarriersWorld, dict[str, Any]]:
    """A call in every state there is; and what was asked for them."""
    world = CarriersWorld(
        carrier,
        speaker(first_message="Good morning."),
        tuple(plan for _ in range(6) for plan in person()),
        callees={
            RINGS: Callee(ring_ms=600_000),
            TALKS: Callee(ring_ms=500, talk_ms=600_000, acts=(Wait(600_000),), most_ms=600_000),
            THEM: Callee(ring_ms=500, acts=(Wait(600_000),), most_ms=600_000),
        },
        config={"recording": True},
        **options,
    )
    world.run(2)
    ids = world.sim.call_ids
    asks: dict[str, Any] = {}
    asks["cold, talks"] = world.ask("transfer", call_id=ids[1], to=TALKS)
    asks["warm, talks"] = world.ask("transfer", call_id=ids[2], to=TALKS, summary="An invoice.")
    asks["dialled, talks"] = world.call(THEM, wait=True)
    world.run(8)
    asks["cold, rings"] = world.ask("transfer", call_id=ids[3], to=RINGS)
    asks["warm, rings"] = world.ask("transfer", call_id=ids[4], to=RINGS, summary="An invoice.")
    asks["warm, summary"] = world.ask("transfer", call_id=ids[5], to=TALKS, summary="A long story. " * 30)
    asks["dialled, rings"] = world.call(RINGS, wait=True)
    asks["keys"] = world.ask("collect_digits", call_id=ids[0], timeout_s=100)
    world.run(2.5)
    asks["dialled now"] = world.call(RINGS, wait=True)
    return world, asks


@both
def test_the_server_stops_with_calls_in_every_state(carrier: str) -> None:
    """Every leg is hung up at the carrier, every ask answered, every ``on_call_end`` told, in order and in time."""
    world, asks = busy_world(carrier)
    states = {world.board._host.state(call_id) for call_id in world.board._host.call_ids()}
    assert states == {CallState.TALKING, CallState.AWAY, CallState.DIALLING}
    connected = {e.call_id for e in (*world.sim_told(SimJoined), *world.sim_told(SimTransferred))}
    assert set(world.sim.call_ids[1:3]) <= connected
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 20)
    assert world.net.now - began < 6 * SECOND
    assert [e.step for e in world.told(ShutdownStep)] == [1, 2, 3, 4, 5, 6]
    assert all(world.answered(ask) for ask in asks.values())
    for what in ("dialled, rings", "dialled now"):
        assert world.answer(asks[what]).outcome == "canceled"
    assert world.answer(asks["dialled, talks"]).reason is EndReason.SHUTDOWN
    assert world.answer(asks["warm, rings"])["transferred"] is False
    assert world.answer(asks["keys"])["ended_by"] == "cancelled"
    assert world.told(HangUpFailed) == []
    assert len(world.calls["on_call_end"]) == 9
    assert len({end["call_id"] for end in world.calls["on_call_end"]}) == 9
    world.over()


@both
@pytest.mark.parametrize("status", [0, 500])
def test_it_stops_in_time_though_the_carrier_obeys_nothing(carrier: str, status: int) -> None:
    trouble = tuple(RestTrouble(status=status, times=-1, on=order) for order in ("HangUpCall",))
    world, asks = busy_world(carrier, rest_trouble=trouble)
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 30)
    assert world.net.now - began <= 17 * SECOND
    assert all(world.answered(ask) for ask in asks.values())
    assert len(world.calls["on_call_end"]) == 9
    assert world.told(HangUpFailed)
    world.carrier.feed(StopRequested())  # the people hang up by themselves
    world.over()


@both
def test_it_stops_in_time_though_callbacks_never_return(carrier: str) -> None:
    world, asks = busy_world(carrier, on={"on_call_end": lambda end: Never})
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 30)
    assert world.net.now - began <= 17 * SECOND
    assert all(world.answered(ask) for ask in asks.values())
    assert len(world.calls["on_call_end"]) == 9
    world.over()


@both
def test_waiting_for_calls_to_end_by_themselves(carrier: str) -> None:
    plans = (*person(Wait(4_000), HangUp()), *person(Wait(60_000), HangUp()))
    world = CarriersWorld(carrier, ECHO, plans)
    world.run(1)
    ask = world.ask("stop", finish_calls_s=6)
    world.run(30)
    assert world.server.exit_code == 0
    assert world.answer(ask) is True
    first, second = world.sim.call_ids
    assert world.reasons() == {first: EndReason.CALLER_HUNG_UP, second: EndReason.SHUTDOWN}
    world.over()


# --- many at once ----------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("upset", [None, Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS])
def test_many_calls_in_and_out_do_not_mix(carrier: str, upset: Misbehaviour | None) -> None:
    """Eight incoming and eight dialled, all speaking: each ear hears its own number."""
    acts = (ListenUntilQuiet(), HangUp())
    plans = tuple(p for n in range(8) for p in person(*acts, caller=f"+1555010{1000 + n}", at_ms=1 + 137 * n))
    callees = {f"+1555020{1000 + n}": Callee(ring_ms=300 + 211 * n, acts=acts) for n in range(8)}

    def greet(start: dict[str, Any]) -> dict[str, Any]:
        return {"first_message": f"Hello number {start['caller' if start['direction'] == 'inbound' else 'callee']}."}

    world = CarriersWorld(
        carrier,
        speaker(),
        plans,
        callees=callees,
        on={"on_call_start": greet},
        misbehaves=frozenset({upset} if upset else ()),
        twins=False,
        settings=ServerSettings(max_streams_per_ip=100),
    )
    asks = [world.call(to, wait=True) for to in callees]
    world.run(40)
    assert [world.answer(ask).outcome for ask in asks] == ["answered"] * 8
    for done in world.sim_told(SimCallDone):
        (leg,) = [one for one in world.sim._exchange.legs if one.id == done.call_id]
        number = leg.callee if leg.outgoing else leg.caller
        assert hears(done.heard, f"Hello number {number}."), number
    assert len(world.calls["on_call_end"]) == 16
    world.over()


@both
def test_the_same_story_is_the_same_twice(carrier: str) -> None:
    """Time, names and audio: everything follows from what happened, so the files of its calls are equal."""
    files = []
    for _ in range(2):
        acts = (ListenUntilQuiet(), talk(700), ListenUntilQuiet(), HangUp())
        world = CarriersWorld(
            carrier, speaker("yes", first_message="Hello."), person(*acts), callees={DESK: Callee(does=Does.BUSY)},
            twins=False,
        )  # fmt: skip
        world.run(3)
        world.ask("transfer", call_id=world.first, to=DESK)
        world.call(wait=False)
        world.run(20)
        world.over()
        files.append(world.files)
    assert files[0] == files[1]
    assert len(files[0]) == 2


# --- where calls are reported ----------------------------------------------------------------------------------------


def managing(carrier: str, **options: Any) -> CarriersWorld:
    config = {"manage_webhook": True, **options.pop("config", {})}
    world = CarriersWorld(carrier, ECHO, config=config, plans=person(at_ms=20_000, ring_ms=3_000), **options)
    world.line().ask("GET", "/health")  # a first step
    world.run(18)
    return world


def ready(world: CarriersWorld) -> bool:
    return len(world.told(ServerReady)) == 1


@both
def test_another_url_is_changed(carrier: str) -> None:
    world = managing(carrier, hook_url=OTHERS)
    assert ready(world)
    (changed,) = world.told(WebhookChanged)
    assert (changed.carrier, changed.was, changed.now) == (carrier, OTHERS, OURS[carrier])
    assert world.sim.hook_url == OURS[carrier]
    world.run(4)
    assert len(world.told(CallOffered)) == 1
    world.over()
    assert world.sim.hook_url == OURS[carrier]  # it does not die with this process, so it is not put back


@both
def test_our_url_is_kept(carrier: str) -> None:
    world = managing(carrier, hook_url=OURS[carrier])
    assert ready(world)
    assert [e.carrier for e in world.told(WebhookKept)] == [carrier]
    assert world.rests(SetHook) == []
    world.over()


@both
def test_a_url_that_something_else_rules_is_left_alone(carrier: str) -> None:
    ruled = "AP" + "0" * 32 if carrier == "twilio" else "switched off"
    world = managing(carrier, hook_url=OTHERS, hook_ruled_by=ruled)
    assert ready(world)
    (untouched,) = world.told(WebhookUntouched)
    assert ("VoiceApplicationSid" if carrier == "twilio" else "active=false") in untouched.why
    assert OURS[carrier] in untouched.why
    assert world.sim.hook_url == OTHERS
    world.over()


@both
def test_a_number_or_connection_that_the_account_does_not_have(carrier: str) -> None:
    """The wrong number on Twilio, another kind of connection on Telnyx: a clear error, and the server goes on."""
    if carrier == "twilio":
        world = managing(carrier, hook_url=OTHERS, config={"numbers": ("+15550009999",)})
    else:
        world = managing(carrier, hook_url=OTHERS, connection_id="1", config={"account": "2"})
    assert ready(world)
    (failed,) = world.told(WebhookFailed)
    assert ("no number" if carrier == "twilio" else "not a Call Control application") in failed.detail
    assert OURS[carrier] in failed.detail
    assert world.sim.hook_url == OTHERS
    world.run(4)
    assert len(world.told(CallOffered)) == 1
    world.over()


@both
@pytest.mark.parametrize("trouble", ["down", "silent", "401", "500"])
def test_a_rest_api_that_does_not_help_does_not_keep_the_server_down(carrier: str, trouble: str) -> None:
    if trouble == "down":
        world = managing(carrier, rest=False)
    else:
        status = 0 if trouble == "silent" else int(trouble)
        world = managing(carrier, rest_trouble=(RestTrouble(status=status, times=-1, on="FindHook"),))
    assert ready(world)
    (failed,) = world.told(WebhookFailed)
    assert OURS[carrier] in failed.detail
    world.run(4)
    assert len(world.told(CallOffered)) == 1
    world.over()


@both
def test_not_now_is_asked_again(carrier: str) -> None:
    trouble = (RestTrouble(status=429, times=2, on="FindHook"), RestTrouble(status=500, on="SetHook"))
    world = managing(carrier, hook_url=OTHERS, rest_trouble=trouble)
    assert ready(world)
    assert len(world.rests(FindHook)) == 3
    assert len(world.rests(SetHook)) == 2
    assert [e.url for e in world.sim_told(SimHook)] == [OURS[carrier]]
    world.over()
