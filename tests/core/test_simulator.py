"""The simulated carrier against the server: what it reports is what happened; and against servers that misbehave."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.contract import Request, StopRequested
from patter_core.events import CallEnded, CallStarted, UpgradeUnsigned
from patter_core.reasons import EndReason
from patter_core.settings import ServerSettings
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone, SimCallPlaced, SimProblem
from patter_core.simulator.handset import Handset
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Player, Press, Speak, Wait, WaitForAgent

from .world import World, server_config, sid

VOICE = bytes([0x10, 0x90]) * 80
SILENCE = b"\xff" * 160


def done(world: World) -> list[SimCallDone]:
    return world.carrier.told(SimCallDone)


def one(*acts: Any, **options: Any) -> tuple[CallPlan, ...]:
    return (CallPlan(acts=acts, **options),)


# --- handset ---------------------------------------------------------------------------------------------------------


def test_a_handset_plays_what_it_gets_in_frames() -> None:
    handset = Handset()
    handset.media(b"a" * 100)
    assert handset.mark("m") == []
    handset.media(b"b" * 100)
    assert handset.play() == (b"a" * 100 + b"b" * 60, ["m"])
    assert handset.play() == (b"b" * 40 + b"\xff" * 120, [])
    assert handset.play() == (SILENCE, [])
    assert len(handset.heard) == 480
    assert (handset.received, handset.max_buffered, handset.buffered) == (200, 200, 0)


def test_a_mark_with_nothing_buffered_comes_back_at_once() -> None:
    assert Handset().mark("m") == ["m"]


def test_a_mark_at_the_end_of_a_frame_comes_back_with_it() -> None:
    handset = Handset()
    handset.media(b"a" * 160)
    handset.mark("m")
    assert handset.play()[1] == ["m"]


def test_a_clear_returns_every_mark_in_order() -> None:
    handset = Handset()
    handset.media(b"a" * 500)
    for name in "xyz":
        handset.mark(name)
    handset.play()
    assert handset.clear() == ["x", "y", "z"]
    assert (handset.cleared, handset.buffered) == (340, 0)
    assert handset.play() == (SILENCE, [])


def test_underruns_are_short_gaps_in_the_middle_of_speech() -> None:
    handset = Handset()
    for gap, expected in ((0, 0), (2, 2), (40, 2)):
        handset.media(VOICE)
        handset.play()
        for _ in range(gap):
            handset.play()
        handset.media(VOICE)
        handset.play()
        assert handset.underruns == expected


# --- script ----------------------------------------------------------------------------------------------------------


def frames(player: Player, audible: list[bool]) -> tuple[list[bytes], list[Any]]:
    heard, acts = [], []
    for a in audible:
        frame, did = player.frame(a)
        heard.append(frame)
        acts += did
    return heard, acts


def test_a_script_is_played_twenty_milliseconds_at_a_time() -> None:
    heard, acts = frames(Player([Wait(40), Speak(VOICE + b"x" * 80), Press("5"), Wait(20), HangUp()]), [False] * 7)
    assert heard == [SILENCE, SILENCE, VOICE, b"x" * 80 + b"\xff" * 80, SILENCE, SILENCE, SILENCE]
    assert acts == [Press("5"), HangUp()]


def test_listening_until_quiet() -> None:
    player = Player([ListenUntilQuiet(60), Press("1")])
    assert frames(player, [False] * 10)[1] == []  # not spoken yet: quiet does not count
    assert frames(player, [True] * 5 + [False] * 2)[1] == []
    assert frames(player, [False] * 2)[1] == [Press("1")]


def test_waiting_for_the_agent_and_its_limits() -> None:
    player = Player([WaitForAgent(60, 200), Press("1")])
    assert frames(player, [True, True, False, True, True, True])[1] == [Press("1")]
    assert frames(Player([WaitForAgent(60, 200), Press("1")]), [False] * 12)[1] == [Press("1")]
    assert frames(Player([ListenUntilQuiet(60, 200), Press("1")]), [False] * 12)[1] == [Press("1")]


# --- whole calls -----------------------------------------------------------------------------------------------------


def test_a_call_is_heard_back_whole() -> None:
    world = World(latency_us=20_000, plans=one(Wait(100), Speak(VOICE * 50), Wait(400), HangUp()))
    world.run(10)
    (call,) = done(world)
    assert (call.outcome, call.detail, call.close_code) == ("completed", "hung up", 1000)
    assert call.frames_sent == call.frames_heard
    assert len(call.caller) == len(call.heard) == call.frames_sent * 160
    spoken = call.caller.replace(b"\xff", b"")
    assert spoken == VOICE * 50
    assert call.heard.replace(b"\xff", b"") == spoken
    assert call.underruns == 0
    assert not call.hung_up_by_rest
    (event,) = world.told(CallEnded)
    assert (event.reason, event.frames_in) == (EndReason.CALLER_HUNG_UP, call.frames_sent)
    assert world.carrier.told(SimProblem) == []
    world.run(100)
    world.assert_empty()


def test_echo_delay_is_measured_per_frame() -> None:
    world = World(latency_us=20_000, plans=one(Wait(1000), HangUp()), probe=True)
    world.run(5)
    (call,) = done(world)
    assert len(call.latencies_us) > 40
    assert min(call.latencies_us) == 40_000  # there and back
    assert max(call.latencies_us) <= 80_000


def test_the_caller_loses_patience() -> None:
    world = World(plans=one(Speak(VOICE * 1000), most_ms=2000))
    world.run(10)
    (call,) = done(world)
    assert (call.outcome, call.detail) == ("completed", "patience")
    assert 1900 <= call.duration_ms <= 2100


def test_faster_than_life() -> None:
    world = World(plans=one(Speak(VOICE * 50), HangUp()), rate=10.0, twins=False)
    world.run(1)
    (call,) = done(world)
    assert call.frames_sent >= 50
    assert call.duration_ms <= 200


def test_keys_are_pressed() -> None:
    world = World(plans=one(Wait(100), Press("7"), Wait(100), HangUp()))
    world.run(2)
    assert done(world)[0].outcome == "completed"


def test_the_server_hangs_up() -> None:
    world = World(latency_us=5_000, plans=one(Speak(VOICE * 500), call_sid=sid(7)))
    world.run(1)
    ask = world.server.ask("end_call", call_id=sid(7), force=True)
    world.run(2)
    (call,) = done(world)
    assert (call.outcome, call.hung_up_by_rest, call.detail) == ("completed", True, "hung up by the server")
    assert world.server.answers[ask]


def test_refusals_are_outcomes() -> None:
    busy = World(server_config(settings=ServerSettings(max_calls=0)), plans=one(HangUp()))
    forged = World(plans=one(HangUp()), auth_token="wrong")
    unproven = World(server_config(require_upgrade_signature=True), plans=one(HangUp()), sign_upgrade=False)
    unsigned = World(plans=one(Wait(100), HangUp()), sign_upgrade=False)
    for world in (busy, forged, unproven, unsigned):
        world.run(5)
    assert done(busy)[0].outcome == "busy"
    assert (done(forged)[0].outcome, "HTTP 403" in done(forged)[0].detail) == ("rejected", True)
    assert (done(unproven)[0].outcome, done(unproven)[0].close_code) == ("rejected", 403)
    assert done(unsigned)[0].outcome == "completed"
    assert len(unsigned.told(UpgradeUnsigned)) == 1


def test_nobody_there() -> None:
    net = VirtualNetwork()
    sim = SimulatedCarrier(SimulatorConfig(webhook_url="https://nobody.example/webhooks/twilio/voice"), one(HangUp()))
    node = net.add("carrier", sim)
    net.run()
    (call,) = node.told(SimCallDone)
    assert (call.outcome, call.detail) == ("unreachable", "webhook: refused")
    assert node.exit_code == 0


def test_calls_are_placed_when_planned() -> None:
    plans = tuple(CallPlan(acts=(Wait(100), HangUp()), at_ms=n * 500) for n in range(3))
    world = World(plans=plans)
    world.run(5)
    placed = [at for at, event in world.carrier.events if isinstance(event, SimCallPlaced)]
    assert placed == [1, 500_000, 1_000_000]
    assert len({event.call_id for event in done(world)}) == 3
    assert [event.call_id for event in world.told(CallStarted)] == world.sim.call_ids


def test_a_stopped_carrier_says_goodbye_and_leaves() -> None:
    plans = (CallPlan(acts=(Speak(VOICE * 500),)), CallPlan(acts=(HangUp(),), at_ms=60_000))
    world = World(plans=plans)
    world.run(1)
    world.carrier.feed(StopRequested())
    world.run(1)
    assert [event.outcome for event in done(world)] == ["cancelled", "completed"]
    assert world.carrier.exit_code == 0
    world.run(1)
    assert [event.reason for event in world.told(CallEnded)] == [EndReason.CALLER_HUNG_UP]
    assert not world.orders(Request)


@pytest.mark.parametrize("count", [0, 1])
def test_it_leaves_when_its_plan_is_done(count: int) -> None:
    net = VirtualNetwork()
    sim = SimulatedCarrier(SimulatorConfig(webhook_url="https://x.example/"), one(HangUp()) * count)
    node = net.add("carrier", sim)
    node.feed(StopRequested())
    net.run(until_us=5_000_000)
    assert node.exit_code == 0


def test_the_rest_api_knows_only_its_calls() -> None:
    world = World(plans=one(Speak(VOICE * 100), call_sid=sid(5)))
    world.run(0.5)
    line = world.puppet.dial()
    client = world.net.add("client", _Client())
    for path, status in (
        (f"/2010-04-01/Accounts/AC1/Calls/{sid(6)}.json", 404),
        ("/nonsense", 404),
        (f"/2010-04-01/Accounts/AC1/Calls/{sid(5)}.json", 200),
        (f"/2010-04-01/Accounts/AC1/Calls/{sid(5)}.json", 404),
    ):
        board: Any = client.board
        world.net.perform(client, Request(board.fresh(), "POST", f"http://twilio.test{path}", (), b"Status=completed"))
        world.run(0.01)
        assert board.status == status, path
    assert line.connected


class _Client:
    deadline = None
    status = 0
    _names = 0

    def fresh(self) -> Any:
        self._names += 1
        return self._names

    reserve = fresh

    def handle(self, now: int, fact: Any) -> list[Any]:
        self.status = getattr(fact, "status", self.status)
        return []
