"""The way down: six steps in order, each visible, each bounded, whatever the carrier and the callbacks do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.contract import (
    Abort,
    Answer,
    Cancel,
    CancelRequest,
    Close,
    Exit,
    Notify,
    Refuse,
    Request,
    Send,
    StopListening,
    StopRequested,
)
from patter_core.events import CallEnded, CallOffered, HangUpFailed, Refused, ShutdownStep
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings, ServerSettings
from patter_core.shutdown import Phase, Step, WayDown
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.network import After, Never
from patter_core.simulator.script import HangUp, Speak
from patter_core.trace import replay
from patter_core.wire.frames import encode_close

from .world import ACCOUNT, World, server_config, sid

SIX = [1, 2, 3, 4, 5, 6]
SECOND = 1_000_000
NAMES = [
    "stop accepting",
    "hang up active calls",
    "close media sockets with 1001",
    "drain",
    "abort what is left",
    "close the HTTP server",
]


def agent_with(handlers: dict[str, Any], **callbacks: Any) -> Any:
    return {"": resolve_agent(Agent(engine=Echo()), callbacks, handlers)}


def steps(world: World) -> list[int]:
    return [event.step for event in world.told(ShutdownStep)]


def step_times(world: World) -> dict[int, float]:
    return {event.step: at / SECOND for at, event in world.server.events if isinstance(event, ShutdownStep)}


def stop(world: World, seconds: float = 0) -> None:
    world.server.feed(StopRequested())
    world.run(seconds)


def ended(world: World) -> dict[str, EndReason]:
    return {event.call_id: event.reason for event in world.told(CallEnded)}


# --- the machine by itself -------------------------------------------------------------------------------------------


def test_the_machine_walks_down_without_anything_to_do() -> None:
    down = WayDown(ServerSettings())
    assert down.request(0) == [Step.STOP_ACCEPTING, Step.HANG_UP]
    told = []
    while found := down.advance(0, 0, False, 0, 0):
        told += found
    assert told == [Step.CLOSE_SOCKETS, Step.DRAIN, Step.ABORT, Step.CLOSE_HTTP, Step.EXIT]
    assert (down.phase, down.deadline) == (Phase.STOPPED, None)
    assert down.request(0) == []
    assert down.deadline is None


def test_every_phase_has_its_bound() -> None:
    down = WayDown(ServerSettings())
    down.request(0)
    times = []
    now = 0
    while down.deadline is not None:
        now = down.deadline
        assert down.advance(now - 1, 1, True, 1, 1) == []
        assert down.advance(now, 1, True, 1, 1)
        times.append(now / SECOND)
    assert times == [5, 15, 17]


@pytest.mark.parametrize("wait", [float("inf"), 1e30])
def test_waiting_for_ever_is_a_number_too(wait: float) -> None:
    down = WayDown(ServerSettings())
    assert down.request(0, wait) == [Step.STOP_ACCEPTING, Step.WAIT]
    assert down.deadline is not None


@pytest.mark.parametrize("wait", [0, -1, float("nan")])
def test_no_wait(wait: float) -> None:
    assert WayDown(ServerSettings(finish_calls_s=9)).request(0, wait) == [Step.STOP_ACCEPTING, Step.HANG_UP]


# --- nothing to do ---------------------------------------------------------------------------------------------------


def test_an_idle_server_exits_at_once() -> None:
    world = World()
    stop(world)
    assert steps(world) == SIX
    assert [event.name for event in world.told(ShutdownStep)] == NAMES
    assert world.server.exit_code == 0
    assert [type(order) for order in world.orders(StopListening, Exit)] == [StopListening, Exit]
    world.assert_empty()


# --- three calls -----------------------------------------------------------------------------------------------------


def plans() -> tuple[CallPlan, ...]:
    talk = Speak(bytes([0x10, 0x90]) * 80 * 50 * 60)
    return tuple(CallPlan(acts=(talk, HangUp()), call_sid=sid(n), at_ms=n) for n in (1, 2, 3))


def test_three_calls_are_hung_up_in_parallel_and_all_is_told_in_order() -> None:
    handlers: dict[str, Any] = {}
    payloads: list[Any] = []
    agents = agent_with(handlers, on_call_end=payloads.append)
    world = World(server_config(agents), handlers, latency_us=20_000, plans=plans())
    world.run(2)
    assert world.board.calls == 3
    assert world.server.orders is not None
    world.server.orders.clear()
    stop(world, 20)
    assert steps(world) == SIX
    assert world.server.exit_code == 0
    assert sorted(world.hangups()) == [sid(1), sid(2), sid(3)]
    assert len(set(world.when(Request))) == 1  # in parallel: one step asked for all three
    assert ended(world) == dict.fromkeys((sid(1), sid(2), sid(3)), EndReason.SHUTDOWN)
    assert sorted(p["call_id"] for p in payloads) == [sid(1), sid(2), sid(3)]
    done = {event.call_id: event for _, event in world.carrier.events if type(event).__name__ == "SimCallDone"}
    assert all(event.hung_up_by_rest for event in done.values())
    order = [
        ("step", order.event.step) if isinstance(order, Notify) else (type(order).__name__, 0)
        for order in world.orders(Notify, StopListening, Request, Exit)
        if not isinstance(order, Notify) or isinstance(order.event, ShutdownStep)
    ]
    assert order == [
        ("step", 1), ("StopListening", 0), ("step", 2), ("Request", 0), ("Request", 0), ("Request", 0),
        ("step", 3), ("step", 4), ("step", 5), ("step", 6), ("Exit", 0),
    ]  # fmt: skip
    times = step_times(world)
    assert times[6] - times[1] < 1
    world.assert_empty()


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_calls_ending_by_themselves_in_every_order_end_the_wait(order: tuple[int, ...]) -> None:
    world = World()
    lines = {n: world.open(sid(n)) for n in (1, 2, 3)}
    world.server.ask("stop", finish_calls_s=30)
    world.run(1)
    assert steps(world) == [1, 0]
    for n in order:
        world.run(2)
        assert world.board.phase is Phase.WAITING
        world.stop(lines[n])
    world.run(0.1)
    assert steps(world) == [1, 0, 2, 3, 4, 5, 6]
    assert world.server.exit_code == 0
    assert list(ended(world)) == [sid(n) for n in order]
    assert set(ended(world).values()) == {EndReason.CALLER_HUNG_UP}
    assert not world.orders(Request)
    world.assert_empty()


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_sockets_that_close_in_every_order(order: tuple[int, ...]) -> None:
    """Carriers close by themselves once hung up; here each takes its time."""
    world = World(rest=False)
    lines = {n: world.open(sid(n)) for n in (1, 2, 3)}
    for line in lines.values():
        line.polite = False
    stop(world, 3.1)  # REST is refused until the bound of a hang-up
    assert steps(world) == [1, 2, 3, 4]
    for n in order:
        world.run(0.5)
        assert world.board.phase is Phase.DRAINING
        lines[n].close()
    world.run(0.1)
    assert steps(world) == SIX
    assert world.server.exit_code == 0
    world.assert_empty()


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_rest_api_that_never_answers_costs_three_seconds() -> None:
    world = World(rest=False)
    world.net.place("twilio.test", 80, world.net.add("deaf", _Deaf()))
    lines = [world.open(sid(n)) for n in (1, 2, 3)]
    stop(world, 10)
    times = step_times(world)
    assert times[2] == times[1] == 0
    assert times[3] == times[4] == 3
    assert len(world.orders(Request)) == len(world.orders(CancelRequest)) == 3
    assert {event.call_id for event in world.told(HangUpFailed)} == {sid(1), sid(2), sid(3)}
    assert {line.close_code for line in lines} == {1001}
    assert {line.close_reason for line in lines} == {"Server shutting down"}
    assert times[6] == 3
    assert world.server.exit_code == 0
    world.assert_empty()


class _Deaf:
    """A server that accepts and never says a word."""

    deadline = None
    _names = 0

    def reserve(self) -> Any:
        self._names += 1
        return self._names

    def handle(self, now: int, fact: Any) -> list[Any]:
        return []


def test_a_rest_api_that_refuses_is_asked_again_within_the_bound() -> None:
    world = World(rest=False)
    world.open(sid(1))
    stop(world, 10)
    assert world.when(Request) == [0, 250_000, 750_000, 1_750_000]  # 0.25 s, 0.5 s, 1 s apart
    assert step_times(world)[3] == 1.75  # the next pause would end after hangup_s


def test_all_hang_ups_together_have_a_bound_of_their_own() -> None:
    world = World(server_config(settings=ServerSettings(hangup_all_s=1.5), call=CallSettings(hangup_s=60)), rest=False)
    world.open(sid(1))
    stop(world, 10)
    assert step_times(world)[3] == 1.5
    world.run(3)
    assert step_times(world)[5] == 11.5  # the hang-up went on being tried while the rest drained
    assert world.server.exit_code == 0


def test_carriers_that_never_close_their_socket_are_aborted() -> None:
    world = World()
    lines = [world.open(sid(n)) for n in (1, 2, 3)]
    for line in lines:
        line.polite = False
    stop(world, 4.9)
    assert steps(world) == [1, 2, 3, 4]
    assert [order.data[-22:] for order in world.orders(Send)[-3:]] == [encode_close(1001, "Server shutting down")] * 3
    world.run(0.2)  # the wire's own bound of a closing handshake: 5 s
    assert len(world.orders(Abort)) == 3
    assert steps(world) == SIX
    assert set(ended(world).values()) == {EndReason.SHUTDOWN}
    world.assert_empty()


def test_a_socket_that_reads_nothing_is_aborted_at_the_latest_after_the_drain() -> None:
    world = World(server_config(settings=ServerSettings(drain_s=1)))
    line = world.open(sid(1))
    conn = next(name for name, c in world.board._conns.items() if c.call_id)
    line.stall(world.server, conn)
    stop(world, 10)
    times = step_times(world)
    assert times[5] - times[4] == 1
    assert world.orders(Abort) == [Abort(conn)]
    assert world.server.exit_code == 0
    world.assert_empty()


def test_stuck_on_call_ends_cost_the_drain_and_no_more() -> None:
    handlers: dict[str, Any] = {}
    calls: list[str] = []

    def deaf(data: Any) -> Any:
        calls.append(data["call_id"])
        return Never

    world = World(server_config(agent_with(handlers, on_call_end=deaf)), handlers)
    for n in (1, 2, 3):
        world.open(sid(n))
    stop(world, 20)
    times = step_times(world)
    assert times[4] == 0
    assert 9.9 <= times[5] <= 10.1
    assert calls == [sid(1), sid(2), sid(3)]
    assert set(ended(world).values()) == {EndReason.SHUTDOWN}
    assert world.server.exit_code == 0
    world.assert_empty()


def test_on_call_end_still_runs_once_behind_a_stuck_callback() -> None:
    handlers: dict[str, Any] = {}
    ends: list[Any] = []
    starts: list[Any] = []

    def start(data: Any) -> Any:
        starts.append(data)
        return Never

    agents = agent_with(handlers, on_call_start=start, on_call_end=ends.append)
    world = World(server_config(agents, call=CallSettings(on_call_start_s=3600)), handlers)
    for n in (1, 2, 3):
        world.open(sid(n))
    stop(world, 20)
    assert len(starts) == 3
    assert sorted(end["call_id"] for end in ends) == [sid(1), sid(2), sid(3)]
    assert steps(world) == SIX
    assert step_times(world)[6] < 1  # the stuck ones were dropped when the drain began
    assert len(world.orders(Cancel)) == 3
    world.assert_empty()


def test_a_call_still_offered_is_hung_up_without_callbacks() -> None:
    handlers: dict[str, Any] = {}
    ends: list[Any] = []
    world = World(server_config(agent_with(handlers, on_call_end=ends.append)), handlers)
    world.voice(sid(1))
    stop(world, 10)
    assert world.hangups() == [sid(1)]
    assert ended(world) == {sid(1): EndReason.SHUTDOWN}
    assert ends == []
    assert world.server.exit_code == 0
    world.assert_empty()


def test_while_calls_may_finish_a_call_that_cannot_start_any_more_is_hung_up_at_once() -> None:
    world = World()
    line = world.open(sid(1))
    waiting = world.socket(sid(2))  # its socket is in: it may still say `start`
    world.voice(sid(3))
    world.server.ask("stop", finish_calls_s=20)
    world.run(0.1)
    assert ended(world) == {sid(3): EndReason.SHUTDOWN}
    world.start(waiting, sid(2))
    world.run(5)
    assert world.board.calls == 2
    world.stop(line)
    world.stop(waiting)
    world.run(0.1)
    assert world.server.exit_code == 0
    world.assert_empty()


def test_a_call_mid_upgrade_is_refused_and_hung_up() -> None:
    world = World(rest=False)
    path = world.stream_path(world.voice(sid(1)))
    line = world.line()
    line.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n".encode())
    stop(world, 0.1)
    assert world.board.phase is Phase.HANGING_UP
    line.send(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    world.run(0.1)
    assert line.received.startswith(b"HTTP/1.1 503 ")
    world.run(20)
    assert ended(world) == {sid(1): EndReason.SHUTDOWN}
    assert world.server.exit_code == 0
    world.assert_empty()


def test_a_socket_that_has_not_said_start_gets_1001_too() -> None:
    world = World(rest=False)
    line = world.socket(sid(1))
    stop(world, 10)
    assert (line.close_code, line.close_reason) == (1001, "Server shutting down")
    assert ended(world) == {sid(1): EndReason.SHUTDOWN}
    world.assert_empty()


# --- who comes meanwhile ---------------------------------------------------------------------------------------------


def test_new_calls_are_turned_away_on_open_connections() -> None:
    world = World(rest=False)
    world.open(sid(1))
    web, socket, health = world.line(), world.line(), world.line()
    path = world.stream_path(world.voice(sid(2)))
    stop(world)
    assert b"<Reject" in world.voice(sid(3), line=web).body
    assert b"<Reject" in world.voice(sid(2), line=web).body
    assert socket.upgrade(path, [world.proof(path)]) == 503
    assert socket.responses[-1].header("retry-after")
    assert health.ask("GET", "/ready").status == 503
    assert health.ask("GET", "/health").status == 200
    assert world.post("/webhooks/twilio/status", _status(sid(1)), line=web).status == 204
    assert [event.call_id for event in world.told(CallOffered)] == [sid(1), sid(2)]
    assert [event.code for event in world.told(Refused)] == ["draining"]
    world.run(20)
    assert world.server.exit_code == 0
    world.assert_empty()


def _status(call_id: str) -> list[tuple[str, str]]:
    return [("CallSid", call_id), ("AccountSid", ACCOUNT), ("CallStatus", "in-progress")]


def test_the_listener_is_closed_first() -> None:
    world = World(rest=False)
    world.open(sid(1))
    stop(world)
    assert not world.server.listening
    late = world.line()
    assert late.closed


def test_a_completed_callback_ends_the_wait_for_a_hang_up() -> None:
    world = World(rest=False)
    line = world.open(sid(1))
    web = world.line()
    stop(world, 1)
    assert steps(world) == [1, 2]
    world.post("/webhooks/twilio/status", [*_status(sid(1))[:2], ("CallStatus", "completed")], line=web)
    world.run(0)
    assert steps(world) == SIX
    world.run(0)
    assert line.close_code == 1001


# --- hurry -----------------------------------------------------------------------------------------------------------


def test_a_second_request_ends_the_phase_it_finds() -> None:
    world = World(rest=False)
    world.net.place("twilio.test", 80, world.net.add("deaf", _Deaf()))
    line = world.open(sid(1))
    line.polite = False
    world.server.ask("stop", finish_calls_s=100)
    world.run(1)
    assert world.board.phase is Phase.WAITING
    stop(world, 0.1)
    assert world.board.phase is Phase.HANGING_UP
    stop(world, 0.1)
    assert world.board.phase is Phase.DRAINING
    stop(world, 0.1)
    assert steps(world) == [1, 0, 2, 3, 4, 5, 6]
    assert [event.call_id for event in world.told(HangUpFailed)] == [sid(1)]  # the leg may still be up: say so
    assert ended(world) == {sid(1): EndReason.SHUTDOWN}
    stop(world, 0.1)
    assert world.server.exit_code == 0
    world.assert_empty()


def test_hurrying_cancels_what_runs_but_on_call_end_still_came() -> None:
    handlers: dict[str, Any] = {}
    ends: list[Any] = []
    agents = agent_with(handlers, on_call_start=lambda data: Never, on_call_end=ends.append)
    world = World(server_config(agents, call=CallSettings(on_call_start_s=3600)), handlers, rest=False)
    world.open(sid(1))
    for _ in range(4):
        stop(world)
    world.run(3)
    assert world.server.exit_code == 0
    assert [end["call_id"] for end in ends] == [sid(1)]
    assert ended(world) == {sid(1): EndReason.SHUTDOWN}


def test_every_question_is_answered_at_exit_too() -> None:
    handlers: dict[str, Any] = {}
    agents = agent_with(handlers, on_call_end=lambda data: Never)
    world = World(server_config(agents), handlers)
    world.open(sid(1))
    asks = [world.server.ask("end_call", call_id=sid(1)), world.server.ask("stop"), world.server.ask("stop")]
    world.run(30)
    assert [world.server.answers[ask] for ask in asks] == [Answer(ask, True) for ask in asks]
    assert world.server.exit_code == 0
    exit_at = world.server.orders.index((world.when(Exit)[0], Exit(0)))  # type: ignore[union-attr]
    assert exit_at == len(world.server.orders) - 1  # type: ignore[arg-type]


def test_the_last_pieces_of_traces_are_waited_for() -> None:
    written: list[Any] = []

    def slow(path: str, data: bytes) -> Any:
        written.append((path, data))
        return After(500_000)

    handlers = {"file.create": slow, "file.append": slow}
    world = World(server_config(trace_dir="traces"), handlers, rest=False)
    world.open(sid(1))
    stop(world, 2.1)
    assert steps(world) == SIX
    assert world.server.exit_code is None
    world.run(0.7)
    assert world.server.exit_code == 0
    text = b"".join(data for _, data in written)
    assert text.splitlines()[-1].count(b'"Over"') == 1
    count, difference = replay(text.splitlines())
    assert difference is None
    assert count > 5


@pytest.mark.parametrize("hurry", [0, 1, 2, 3])
def test_traces_replay_through_the_hardest_way_down(hurry: int) -> None:
    written: dict[str, bytes] = {}

    def write(path: str, data: bytes) -> None:
        written[path] = written.get(path, b"") + data

    handlers: dict[str, Any] = {"file.create": write, "file.append": write}
    agents = agent_with(handlers, on_call_start=lambda data: Never, on_call_end=lambda data: Never)
    config = server_config(agents, call=CallSettings(on_call_start_s=3600), trace_dir="traces")
    world = World(config, handlers, rest=False)
    for n in (1, 2):
        world.open(sid(n)).polite = False
    stop(world, 1)
    for _ in range(hurry):
        stop(world, 0.1)
    world.run(20)
    assert world.server.exit_code == 0
    assert sorted(written) == [f"traces/{sid(1)}.jsonl", f"traces/{sid(2)}.jsonl"]
    for data in written.values():
        assert data.splitlines()[-1].count(b'"Over"') == 1
        assert replay(data.splitlines())[1] is None


def test_a_disk_that_hangs_costs_two_seconds() -> None:
    handlers = {"file.create": lambda path, data: Never}
    world = World(server_config(trace_dir="traces"), handlers)
    world.open(sid(1))
    stop(world, 1.9)
    assert world.server.exit_code is None
    world.run(0.2)
    assert world.server.exit_code == 0


def test_http_connections_are_closed_and_dropped_after_two_seconds() -> None:
    world = World()
    lines = [world.line() for _ in range(3)]
    conns = list(world.board._conns)
    lines[0].stall(world.server, conns[0])
    lines[0].begin("GET", "/health")
    stop(world, 1.9)
    assert len(world.orders(Close)) == 3
    assert world.server.exit_code is None
    world.run(0.2)
    assert world.orders(Abort) == [Abort(conns[0])]
    assert world.server.exit_code == 0


def test_the_whole_way_down_has_a_bound() -> None:
    """5 + 10 + 2 s, however bad everything is."""
    handlers: dict[str, Any] = {}
    agents = agent_with(
        handlers, on_call_start=lambda data: Never, on_call_end=lambda data: Never, on_transcript=lambda data: Never
    )
    world = World(
        server_config(agents, call=CallSettings(on_call_start_s=60, on_call_end_s=60, hangup_s=60)),
        handlers,
        rest=False,
    )
    world.net.place("twilio.test", 80, world.net.add("deaf", _Deaf()))
    for n in (1, 2, 3):
        line = world.open(sid(n))
        line.polite = False
    for conn in list(world.board._conns):
        if conn in world.server.pipes:
            world.net.stall(world.server, conn)
    stop(world, 16.9)
    assert world.server.exit_code is None
    world.run(0.2)
    assert world.server.exit_code == 0
    times = step_times(world)
    assert (times[3] - times[1], times[5] - times[4]) == (5, 10)
    assert set(ended(world).values()) == {EndReason.SHUTDOWN}
    world.assert_empty()


@pytest.mark.parametrize("wait", ["10", True, [1]])
def test_a_wait_that_is_no_time_is_refused(wait: Any) -> None:
    world = World()
    ask = world.server.ask("stop", finish_calls_s=wait)
    world.run(1)
    refusal = world.server.answers[ask]
    assert isinstance(refusal, Refuse)
    assert refusal.code == "bad_arguments"
    assert world.board.phase is Phase.SERVING


def test_waiting_for_calls_is_off_by_default() -> None:
    world = World(rest=False)
    world.open(sid(1))
    stop(world)
    assert steps(world) == [1, 2]
