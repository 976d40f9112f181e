"""The server as one board: slow readers, the application's commands, bulkheads, tables that empty themselves."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.call.call import Call
from patter_core.call.words import CarrierSaid, EndWanted
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    Close,
    Closed,
    Finish,
    Notify,
    Pause,
    Received,
    Refuse,
    Request,
    Send,
    Sent,
)
from patter_core.events import Bug, CallEnded, CallStarted, FramesDropped, MalformedMessage, Refused, StreamDetached
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.network import Never
from patter_core.switchboard import Switchboard
from patter_core.wire.frames import encode_frame

from .world import ACCOUNT, CARRIER, EPOCH, World, server_config, sid


def conn_of(world: World, call_id: str) -> Any:
    return next(name for name, conn in world.board._conns.items() if conn.call_id == call_id)


def talk(world: World, line: Any, frames: int) -> None:
    number = getattr(line, "frames", 0)
    for _ in range(frames):
        number += 1
        world.frame(line, number)
        world.run(0.02)
    line.frames = number


def ended(world: World) -> dict[str, EndReason]:
    return {event.call_id: event.reason for event in world.told(CallEnded)}


# --- slow readers ----------------------------------------------------------------------------------------------------


def test_a_carrier_that_reads_slowly_loses_old_audio_and_comes_back() -> None:
    world = World(server_config(settings=ServerSettings(high_water=16 * 1024, kill_water=1 << 20)))
    line = world.open(sid(1))
    talk(world, line, 50)
    conn = conn_of(world, sid(1))
    assert world.board._conns[conn].high is False
    line.stall(world.server, conn)
    talk(world, line, 200)
    assert world.board._conns[conn].high is True
    waiting = world.board._conns[conn].queued - world.board._conns[conn].acked
    assert waiting < 24 * 1024  # live audio is not queued for somebody who does not read
    talk(world, line, 200)
    assert world.board._conns[conn].queued - world.board._conns[conn].acked == waiting
    assert world.told(FramesDropped)
    world.net.unstall(world.server, conn)
    world.run(0.1)
    assert world.board._conns[conn].high is False
    heard = len(line.texts)
    talk(world, line, 50)
    assert len(line.texts) > heard + 20
    world.stop(line)
    world.run(1)
    assert ended(world) == {sid(1): EndReason.CALLER_HUNG_UP}


def test_a_carrier_too_far_behind_is_dropped() -> None:
    settings = ServerSettings(high_water=8 * 1024, kill_water=16 * 1024, ack_every=1024)
    world = World(server_config(settings=settings))
    line = world.open(sid(1))
    conn = conn_of(world, sid(1))
    line.stall(world.server, conn)
    talk(world, line, 60)
    for n in range(400):  # marks and clears are not audio: control is never held back, but it is bounded all the same
        line.send(encode_frame(0x89, b"p" * 120, b"\0\0\0\0"))
        if n % 50 == 0:
            world.run(0)
    world.run(0.1)
    assert world.orders(Abort) == [Abort(conn)]
    assert [event.code for event in world.told(Refused)] == ["kill_water"]
    world.run(10)
    assert ended(world) == {sid(1): EndReason.STREAM_LOST}
    assert world.hangups() == [sid(1)]


def test_somebody_who_asks_and_never_listens_is_dropped() -> None:
    world = World(server_config(settings=ServerSettings(kill_water=64 * 1024)))
    line = world.line()
    conn = next(iter(world.board._conns))
    line.stall(world.server, conn)
    for _ in range(50):
        line.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
    world.run(1)
    assert world.orders(Abort) == [Abort(conn)]
    assert world.board._conns == {}
    world.assert_empty()


def test_pressure_does_not_follow_a_call_to_its_next_socket() -> None:
    world = World(server_config(settings=ServerSettings(high_water=8 * 1024)))
    line = world.open(sid(1))
    conn = conn_of(world, sid(1))
    line.stall(world.server, conn)
    talk(world, line, 100)
    assert world.board._conns[conn].high is True
    line.reset()
    world.run(0.1)
    path = world.stream_path(world.voice(sid(1)))
    back = world.line()
    assert back.upgrade(path, [world.proof(path)]) == 101
    world.start(back, sid(1))
    talk(world, back, 50)
    assert len(back.texts) > 20


def test_a_late_ack_of_an_old_socket_is_not_the_new_ones() -> None:
    world = World(server_config(settings=ServerSettings(high_water=8 * 1024)))
    line = world.open(sid(1))
    old = conn_of(world, sid(1))
    line.stall(world.server, old)
    talk(world, line, 100)
    line.polite = False
    line.hang_up()  # says goodbye and keeps its socket open
    world.run(0.1)
    path = world.stream_path(world.voice(sid(1)))
    back = world.line()
    assert back.upgrade(path, [world.proof(path)]) == 101
    world.start(back, sid(1))
    new = next(name for name, conn in world.board._conns.items() if conn.call_id == sid(1) and name != old)
    back.stall(world.server, new)
    talk(world, back, 100)
    assert world.board._conns[new].high is True
    world.server.feed(Sent(old, 10**9))
    held = world.board._conns[new].queued
    talk(world, back, 100)
    assert world.board._conns[new].queued - held < 1024


# --- the media socket ------------------------------------------------------------------------------------------------


def test_a_socket_that_does_not_start_is_closed_after_five_seconds() -> None:
    world = World()
    line = world.socket(sid(1))
    world.run(4.9)
    assert not line.close_code
    world.run(0.2)
    assert line.close_code == 1008


def test_binary_messages_are_malformed_and_no_more() -> None:
    world = World()
    line = world.open(sid(1))
    line.send(encode_frame(0x82, b"\x00\x01", b"\0\0\0\0"))
    talk(world, line, 10)
    assert [event.code for event in world.told(MalformedMessage)] == ["not_json"]
    assert len(line.texts) > 5


def test_a_flood_of_nonsense_is_closed_with_1008() -> None:
    world = World()
    line = world.open(sid(1))
    for _ in range(150):
        line.say("{")
    world.run(1)
    assert line.close_code == 1008
    assert ended(world) == {sid(1): EndReason.PROTOCOL_ERROR}
    assert [event.malformed for event in world.told(CallEnded)] == [100]  # nothing was listened to after that


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_however_the_bytes_are_cut_what_follows_our_goodbye_is_not_heard(cut: int) -> None:
    world = World()
    line = world.open(sid(1))
    flood = b"".join(encode_frame(0x81, b"{", b"\0\0\0\0") for _ in range(300))
    for start in range(0, len(flood), cut):
        line.send(flood[start : start + cut])
    world.run(1)
    assert [event.malformed for event in world.told(CallEnded)] == [100]


def test_a_stream_for_another_call_is_closed() -> None:
    world = World()
    line = world.socket(sid(1))
    peer = TwilioStreamPeer("MZ" + "1" * 32, sid(2), ACCOUNT, {})
    line.say(peer.connected())
    line.say(peer.start())
    world.run(0.5)
    assert line.close_code == 1008
    assert not world.told(CallStarted)


def test_frames_glued_to_the_upgrade_are_heard() -> None:
    world = World()
    path = world.stream_path(world.voice(sid(1)))
    peer = TwilioStreamPeer("MZ" + "1" * 32, sid(1), ACCOUNT, {})
    line = world.line()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    texts = [encode_frame(0x81, text.encode(), b"\0\0\0\0") for text in (peer.connected(), peer.start())]
    line.send(head.encode() + b"".join(texts))
    world.run(0)
    assert [event.call_id for event in world.told(CallStarted)] == [sid(1)]


# --- what the application asks ---------------------------------------------------------------------------------------


def test_ending_calls() -> None:
    world = World()
    line = world.open(sid(1))
    unknown = world.server.ask("end_call", call_id=sid(9))
    ask = world.server.ask("end_call", call_id=sid(1), force=True)
    again = world.server.ask("end_call", call_id=sid(1), force=True)
    world.run(2)
    assert world.server.answers[unknown] == Answer(unknown, False)
    assert world.server.answers[ask] == Answer(ask, True)
    assert world.server.answers[again] == Answer(again, True)
    assert world.hangups() == [sid(1)]
    assert ended(world) == {sid(1): EndReason.AGENT_HUNG_UP}
    assert line.close_code == 1000
    late = world.server.ask("end_call", call_id=sid(1))
    world.run(0)
    assert world.server.answers[late] == Answer(late, False)
    world.run(100)
    world.assert_empty()


def test_other_questions() -> None:
    world = World()
    world.open(sid(2))
    world.open(sid(1))
    calls, say, no = (
        world.server.ask("calls"),
        world.server.ask("say", call_id="x", text="y"),
        world.server.ask("dance"),
    )
    world.run(0)
    assert world.server.answers[calls] == Answer(calls, [sid(2), sid(1)])
    assert isinstance(refusal := world.server.answers[say], Refuse)
    assert refusal.code == "unknown_call"
    assert isinstance(refusal := world.server.answers[no], Refuse)
    assert refusal.code == "unknown_command"


@pytest.mark.parametrize("args", [{}, {"call_id": None}, {"call_id": 7}, {"call_id": ["x"]}])
@pytest.mark.parametrize("verb", ["end_call", "say", "calls"])
def test_questions_with_nonsense_in_them(verb: str, args: dict[str, Any]) -> None:
    world = World()
    ask = world.server.ask(verb, **args)
    world.run(0)
    assert isinstance(world.server.answers[ask], Answer | Refuse)


# --- bulkheads -------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls named in here raise at every ``media`` message."""
    names: list[str] = []
    handle = Call.handle

    def raising(self: Call, now: int, fact: Any) -> Any:
        if self.spec.call_id in names and isinstance(fact, CarrierSaid) and '"media"' in fact.text:
            raise ZeroDivisionError("a bug of ours")
        return handle(self, now, fact)

    monkeypatch.setattr(Call, "handle", raising)
    return names


def test_one_calls_bug_does_not_harm_the_others(broken: list[str]) -> None:
    handlers: dict[str, Any] = {}
    payloads: list[Any] = []
    agents = {"": resolve_agent(Agent(engine=Echo()), {"on_call_end": payloads.append}, handlers)}
    world = World(server_config(agents), handlers, bulkhead=True)
    lines = [world.open(sid(n)) for n in (1, 2, 3)]
    for line in lines:
        talk(world, line, 5)
    broken.append(sid(2))
    media = world.peers[lines[1]].media(b"x" * 160, 120).encode()
    lines[1].send(encode_frame(0x81, media, b"\0\0\0\0") * 3)  # more than one in the same bytes
    for line in (lines[0], lines[2]):
        talk(world, line, 20)
    assert [(event.where, event.call_id) for event in world.told(Bug)] == [("call", sid(2))]
    assert lines[1].close_code == 1011
    assert ended(world) == {sid(2): EndReason.BUG}
    assert [payload["call_id"] for payload in payloads] == [sid(2)]
    assert world.hangups() == [sid(2)]
    assert all(len(line.texts) > 15 for line in (lines[0], lines[2]))
    world.stop(lines[0])
    world.stop(lines[2])
    world.run(2)
    assert [payload["call_id"] for payload in payloads] == [sid(2), sid(1), sid(3)]
    world.run(100)
    world.assert_empty()


def test_a_call_that_cannot_even_end_is_over_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(bulkhead=True)
    line = world.open(sid(1))
    other = world.open(sid(2))
    handle = Call.handle

    def raising(self: Call, now: int, fact: Any) -> Any:
        if self.spec.call_id == sid(1) and isinstance(fact, CarrierSaid | EndWanted):
            raise ZeroDivisionError
        return handle(self, now, fact)

    monkeypatch.setattr(Call, "handle", raising)
    talk(world, line, 3)
    talk(world, other, 3)
    assert ended(world) == {sid(1): EndReason.BUG}
    assert line.close_code == 1011
    assert world.board.calls == 1


def test_a_bug_while_a_callback_returns_is_walled_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that breaks takes the task's name away under the one that was about to."""
    handlers: dict[str, Any] = {}
    agents = {"": resolve_agent(Agent(engine=Echo()), {"on_call_start": lambda data: b"audio?"}, handlers)}
    world = World(server_config(agents), handlers, bulkhead=True)
    handle = Call.handle

    def raising(self: Call, now: int, fact: Any) -> Any:
        if type(fact).__name__ in ("TaskAudio", "EndWanted"):
            raise ZeroDivisionError
        return handle(self, now, fact)

    monkeypatch.setattr(Call, "handle", raising)
    world.open(sid(1))
    world.run(1)
    assert ended(world) == {sid(1): EndReason.BUG}
    world.run(100)
    world.assert_empty()


def test_without_bulkhead_a_bug_is_loud(broken: list[str]) -> None:
    world = World()
    line = world.open(sid(1))
    broken.append(sid(1))
    world.frame(line, 1)
    with pytest.raises(ZeroDivisionError):
        world.run(0.1)


def test_a_bug_in_a_connection_costs_that_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(bulkhead=True)
    line, other = world.line(), world.line()
    conn = next(iter(world.board._conns))

    def raising(now: int, data: bytes) -> Any:
        raise ZeroDivisionError

    for board in (world.board, world.checker._twin, world.checker._ticked):
        monkeypatch.setattr(board._conns[conn].wire, "receive", raising)  # type: ignore[union-attr]
    line.send(b"x")
    world.run(0)
    assert line.closed
    assert [event.where for event in world.told(Bug)] == ["connection"]
    assert other.ask("GET", "/health").status == 200
    world.run(100)
    world.assert_empty()


# --- callbacks and time ----------------------------------------------------------------------------------------------


def test_a_stuck_on_call_end_holds_its_call_ten_seconds() -> None:
    handlers: dict[str, Any] = {}
    agents = {"": resolve_agent(Agent(engine=Echo()), {"on_call_end": lambda data: Never}, handlers)}
    world = World(server_config(agents), handlers)
    line = world.open(sid(1))
    world.stop(line)
    world.run(9.9)
    assert world.board.calls == 1
    world.run(0.2)
    assert world.board.calls == 0
    world.run(100)
    world.assert_empty()


def test_a_stream_lost_without_stop_ends_after_two_seconds() -> None:
    world = World()
    line = world.open(sid(1))
    line.reset()
    world.run(1.9)
    assert not world.told(CallEnded)
    assert [event.clean for event in world.told(StreamDetached)] == [False]
    world.run(0.5)
    assert ended(world) == {sid(1): EndReason.STREAM_LOST}
    assert world.hangups() == [sid(1)]


def test_a_bounded_memory_of_ended_calls() -> None:
    world = World(server_config(settings=ServerSettings(ended_calls=5, remembered_refusals=3)), twins=False)
    for n in range(1, 21):
        line = world.open(sid(n))
        world.stop(line)
        world.run(0.1)
        world.line(f"198.51.100.{n}").upgrade("/ws/stream/x/y")
    assert len(world.board._reception._ended) == 5
    assert len(world.board._reception._refusals) == 3
    world.run(100)
    world.assert_empty()
    assert len(world.board._reception._tickets) <= 21


def test_the_timer_heap_does_not_grow_with_frames() -> None:
    world = World(twins=False)
    line = world.open(sid(1))
    talk(world, line, 3000)
    assert len(world.board._timers._heap) < 64
    assert len(world.board._timers) <= 2


# --- bytes by hand ---------------------------------------------------------------------------------------------------


def test_a_half_closed_request_is_answered_then_closed() -> None:
    world = World()
    line = world.line()
    line.polite = False
    line.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    line.close()
    world.run(0.1)
    assert len(world.orders(Send)) == 1
    assert len(world.orders(Close)) == 1
    world.assert_empty()


def test_a_refusal_lingers_so_that_it_can_be_read() -> None:
    board = Switchboard(server_config(), epoch=EPOCH, seed=b"s" * 32, bulkhead=False)
    conn = board.reserve()
    board.handle(0, Accepted(conn, CARRIER))
    orders = board.handle(0, Received(conn, b"bad\r\n\r\n"))
    assert [type(order) for order in orders if not isinstance(order, Notify)] == [Send, Finish]
    assert board.handle(1, Received(conn, b"more" * 1000)) == []
    assert board.handle(2_000_000, Asked(AskId(-1), "calls")) == [Abort(conn), Answer(AskId(-1), [])]
    assert board.handle(2_000_001, Received(conn, b"more")) == []
    assert board.handle(2_000_002, Closed(conn)) == []
    assert not any(isinstance(order, Pause | Request) for order in orders)


def test_stale_and_odd_settings_are_refused() -> None:
    from patter_core.errors import ConfigError

    for bad in (-1, float("nan"), float("inf"), "5", True):
        with pytest.raises(ConfigError, match="drain_s"):
            ServerSettings(drain_s=bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="hangup_s"):
            CallSettings(hangup_s=bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_streams_per_ip"):
        ServerSettings(max_streams_per_ip=0)
    with pytest.raises(ConfigError, match="message_s"):
        CallSettings(message_s=0.3)
