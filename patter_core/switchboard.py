"""The whole server as one board: connections, routes, admission, calls, the way down.

One call of ``handle`` is one step for everything, so a whole server runs in simulated time. What belongs to one call is
the Host's; what one connection's bytes mean is ``wire``'s; this file joins them.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any

from .admission import PeerCounter, is_proxy
from .call.call import CallState
from .call.spec import CallSpec
from .config import ServerConfig
from .contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    ClockSet,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Finish,
    InputEnded,
    Invoke,
    Notify,
    Order,
    Raised,
    Received,
    Refuse,
    RequestFailed,
    ResponseStarted,
    Send,
    Sent,
    StopListening,
    StopRequested,
    TaskId,
    Ticked,
)
from .contract import Pause as PauseReading
from .contract import Resume as ResumeReading
from .dialling import BadDial
from .events import (
    Bug,
    CallbackFailed,
    ShutdownStep,
)
from .host import Host, Names, TimerKey
from .reasons import EndReason
from .reception import HttpAnswer, Reception
from .routes import Target, find_route
from .shutdown import Phase, Step, WayDown
from .startup import REFUSED_CODE, WayUp
from .startup import Phase as Started
from .timers import Timers
from .wire.endpoint import Phase as WirePhase
from .wire.endpoint import Transport
from .wire.events import Binary, Done, HttpRequest, Opened, Text, UpgradeRequest
from .wire.events import Refused as WireRefused
from .wire.limits import Limits
from .wire.server import ServerConnection

__all__ = ["Switchboard"]


_NOT_TEXT = "\0"  # a binary frame, as the call's media stream sees it: not JSON


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Role(enum.Enum):
    """What a connection is for."""

    HTTP = "http"
    MEDIA = "media"
    PARTED = "parted"  # its media stream is over; its bytes are still on the way out


class _Conn:
    """One accepted connection."""

    __slots__ = (
        "acked",
        "asked_ack",
        "call_id",
        "closing",
        "high",
        "paused",
        "peer",
        "queued",
        "role",
        "socket_peer",
        "transport",
        "wire",
    )

    def __init__(self, wire: ServerConnection, peer: str) -> None:
        self.wire = wire
        self.socket_peer = peer
        self.peer = peer  # the client's address, once known to be another
        self.role = Role.HTTP
        self.call_id = ""
        self.transport = Transport.OPEN
        self.closing = False  # we said goodbye on its WebSocket: what the peer still says is not listened to
        self.queued = 0  # bytes ordered to be sent
        self.asked_ack = 0
        self.acked = 0
        self.high = False
        self.paused = False


class Switchboard:
    """The server. ``epoch`` is the unix time, in microseconds, of this board's 0; ``seed`` feeds ids and tickets."""

    def __init__(
        self, config: ServerConfig, *, epoch: int, seed: bytes, limits: Limits | None = None, bulkhead: bool = True
    ) -> None:
        self._config = config
        self._settings = config.settings
        self._limits = limits or Limits()
        self._bulkhead = bulkhead
        self._now = 0
        self._out: list[Order] = []
        self._names = Names()
        self._timers: Timers[TimerKey] = Timers()
        self._host = Host(
            self,
            self._out,
            self._names,
            self._timers,
            trace_dir=config.trace_dir,
            bulkhead=bulkhead,
            on_recording=config.on_recording,
            seed=hashlib.blake2b(b"links", key=seed[:64]).digest(),
        )
        self._conns: dict[ConnId, _Conn] = {}
        self._media = 0  # how many of them are media sockets
        self._touched: dict[ConnId, None] = {}  # connections with something to flush, in order
        self._addresses = PeerCounter()  # sockets of any kind by peer address
        self._way_down = WayDown(self._settings)
        self._reception = Reception(config, self._host, self._out, self._serving, seed, epoch)
        self._way_up = WayUp(config, self._out, self._names.new, self._reception.moved)
        self._stops: list[AskId] = []
        self._draining: TaskId | None = None
        self._exited = False

    # --- the board ---------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        return None if self._exited else self._timers.deadline

    @property
    def phase(self) -> Phase:
        """Where the server is."""
        return self._way_down.phase

    @property
    def calls(self) -> int:
        """Calls that are not over."""
        return len(self._host)

    @property
    def media_sockets(self) -> int:
        """Media sockets that are open."""
        return self._media

    def reserve(self) -> ConnId:
        return ConnId(self._names.new())

    def handle(self, now: int, fact: Fact) -> list[Order]:
        if self._exited:
            if isinstance(fact, Asked):
                return [Refuse(fact.ask, "stopped", "the server has stopped")]
            return []
        now = self._now = max(now, self._now)
        if self._way_up.phase is Started.NEW:
            self._way_up.begin(now)
            self._look_up(now)
            if self._exited:
                return self._taken(fact)
        deadline = self._timers.deadline
        if deadline is not None and deadline <= now:
            self._tick(now)
            if self._way_down.phase is not Phase.SERVING and not self._exited:
                self._advance(now)  # what time alone brings about comes before what happens at the same moment
            if self._exited:
                return self._taken(fact)
        kind = type(fact)
        if kind is Received:
            self._received(now, fact)  # type: ignore[arg-type]
        elif kind is not Ticked:
            self._other(now, fact)
        if self._touched:
            self._flush(now)
        if self._way_down.phase is not Phase.SERVING:
            self._advance(now)
        return self._taken()

    def _taken(self, unheard: Fact | None = None) -> list[Order]:
        """The step's orders. ``unheard`` came too late: time alone had the server exit before it."""
        out = self._out.copy()
        self._out.clear()  # the Host holds the same list
        if isinstance(unheard, Asked):
            out.insert(len(out) - 1, Refuse(unheard.ask, "stopped", "the server has stopped"))
        return out

    def _other(self, now: int, fact: Fact) -> None:
        match fact:
            case Accepted(conn, peer):
                self._accepted(now, conn, peer)
            case Sent(conn, total) if conn in self._conns:
                self._sent(now, conn, total)
            case InputEnded(conn) if conn in self._conns:
                self._wire_input(now, conn, b"")
            case Closed(conn) if conn in self._conns:
                self._closed(now, conn)
            case Closed() | Connected() | ConnectFailed() | Sent() | InputEnded():
                if not self._host.handle(now, fact):
                    self._went_up(now, fact)
            case ResponseStarted() | BodyReceived() | BodyEnded() | RequestFailed() if self._went_up(now, fact):
                pass
            case StopRequested():
                self._steps(now, self._way_down.request(now))
            case ClockSet(epoch):
                self._reception.epoch = epoch
            case Asked(ask, "stop", args):
                wait = args.get("finish_calls_s")
                if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
                    self._out.append(
                        Refuse(ask, "bad_arguments", f"finish_calls_s must be seconds, not {type(wait).__name__}")
                    )
                else:
                    self._stops.append(ask)
                    self._steps(now, self._way_down.request(now, wait))
            case Raised(task, _, detail) if task == self._draining:
                self._out.append(Notify(CallbackFailed("", "on_draining", detail)))
            case Asked(ask, "calls"):
                self._out.append(Answer(ask, self._host.call_ids()))
            case _:
                if not self._host.handle(now, fact) and isinstance(fact, Asked):
                    self._out.append(Refuse(fact.ask, "unknown_command", f"no command {fact.verb!r}"))

    # --- the way up --------------------------------------------------------------------------------------------------

    def _went_up(self, now: int, fact: Fact) -> bool:
        """Is this fact about the tunnel or the carriers' webhooks?"""
        if not self._way_up.handle(now, fact):
            return False
        self._look_up(now)
        return True

    def _look_up(self, now: int) -> None:
        """See where the way up (and what it keeps up) has got to."""
        if self._way_up.phase is Started.REFUSED and not self._exited:
            self._out.append(StopListening())
            self._exit(REFUSED_CODE)
        deadline = None if self._exited else self._way_up.deadline
        if deadline is None:
            self._timers.clear(("up", 0))
        else:
            self._timers.set(("up", 0), max(deadline, now + 1))

    def _tick(self, now: int) -> None:
        while (key := self._timers.due(now)) is not None:
            kind, name = key
            if kind == "call":
                self._host.due(now, str(name))
            elif kind == "link":
                self._host.link_due(now, ConnId(int(name)))
            elif kind == "aside":
                self._host.aside_due(TaskId(int(name)))
            elif kind == "up":
                self._way_up.tick(now)
                self._look_up(now)
                if self._exited:
                    return
            elif kind == "conn":
                conn = self._conns.get(ConnId(int(name)))
                if conn is not None:
                    self._wire_step(now, ConnId(int(name)), conn, None)
            if self._touched:
                self._flush(now)
            if kind == "down":
                self._advance(now)
                if self._exited:
                    return

    # --- connections -------------------------------------------------------------------------------------------------

    def _accepted(self, now: int, conn: ConnId, peer: str) -> None:
        too_many = len(self._conns) >= self._settings.max_connections
        crowd = self._addresses[peer] >= self._settings.max_connections_per_ip
        if too_many or (crowd and not is_proxy(peer, self._config.trusted_proxies)):
            # Not even a byte is read: whoever opens this many sockets is not asking for an explanation.
            code = "max_connections" if too_many else "max_connections_per_ip"
            self._reception.refused("connection", 0, code, peer, f"raise {code} if this is legitimate traffic")
            self._addresses.add(peer)
            wire = ServerConnection(now, self._limits)
            self._conns[conn] = entry = _Conn(wire, peer)
            entry.transport = Transport.ABORT
            self._out.append(Abort(conn))
            return
        self._addresses.add(peer)
        entry = self._conns[conn] = _Conn(ServerConnection(now, self._limits), peer)
        self._touched[conn] = None
        if self._way_down.phase in (Phase.CLOSING_HTTP, Phase.CLOSING_TUNNEL):
            entry.transport = Transport.ABORT
            self._out.append(Abort(conn))

    def _received(self, now: int, fact: Received) -> None:
        conn = self._conns.get(fact.conn)
        if conn is None:
            if not self._host.handle(now, fact):
                self._went_up(now, fact)
            return
        if conn.transport in (Transport.CLOSE, Transport.ABORT):
            return
        self._wire_step(now, fact.conn, conn, fact.data)  # type: ignore[arg-type]

    def _wire_step(self, now: int, name: ConnId, conn: _Conn, data: bytes | None) -> None:
        """Bytes for one connection's wire, or None: its time is up."""
        if self._bulkhead:
            try:
                self._events(now, name, conn, conn.wire.tick(now) if data is None else conn.wire.receive(now, data))
            except Exception as exc:
                self._bug(now, name, conn, exc)
        else:
            self._events(now, name, conn, conn.wire.tick(now) if data is None else conn.wire.receive(now, data))

    def _wire_input(self, now: int, name: ConnId, data: bytes) -> None:
        self._received(now, Received(name, data))

    def _bug(self, now: int, name: ConnId, conn: _Conn, exc: Exception) -> None:
        self._out.append(Notify(Bug("connection", f"{type(exc).__name__}: {exc}", conn.call_id)))
        self._abort(name, conn)

    def _abort(self, name: ConnId, conn: _Conn) -> None:
        if conn.transport is not Transport.ABORT:
            conn.transport = Transport.ABORT
            self._out.append(Abort(name))

    def _events(self, now: int, name: ConnId, conn: _Conn, events: list[Any]) -> None:
        self._touched[name] = None
        queue = list(events)
        for event in queue:  # an answer may bring the next, pipelined request: it goes to the end
            kind = type(event)
            if kind is Text:
                if not conn.closing:
                    self._host.carrier_said(now, conn.call_id, event.data)
            elif kind is HttpRequest:
                answer = self._early(event) or self._reception.request(now, conn.peer, event)
                queue += conn.wire.respond(now, answer.status, answer.headers, answer.body)
            elif kind is UpgradeRequest:
                queue += self._upgrade(now, name, conn, event)
            elif kind is Done:
                self._stream_over(now, name, conn, event.code)
            elif kind is Binary:
                # Carriers speak text. To the call it is one more malformed message.
                if not conn.closing:
                    self._host.carrier_said(now, conn.call_id, _NOT_TEXT)
            elif kind is WireRefused:
                self._reception.refused("request", event.status, event.code, conn.peer)
            elif kind is Opened:
                pass

    def _flush(self, now: int) -> None:
        """Send what the touched connections have to say, and do to their sockets what they ask."""
        while self._touched:  # telling a call that its socket is slow may make it say something more
            touched = list(self._touched)
            self._touched.clear()
            for name in touched:
                conn = self._conns.get(name)
                if conn is not None:
                    self._flush_one(now, name, conn)

    def _flush_one(self, now: int, name: ConnId, conn: _Conn) -> None:
        wire = conn.wire
        data = wire.data_to_send()
        if conn.transport is Transport.ABORT:
            return
        if data and conn.transport is not Transport.CLOSE:
            conn.queued += len(data)
            ack = conn.queued - conn.asked_ack >= self._settings.ack_every
            if ack:
                conn.asked_ack = conn.queued
            self._out.append(Send(name, data, ack))
            if not self._keeps_up(now, name, conn):
                return
        transport = wire.transport
        if conn.transport is Transport.CLOSE and transport is not Transport.ABORT:
            transport = Transport.CLOSE  # a closing connection only ever gets dropped
        if conn.paused and transport is not Transport.CLOSE and wire.wants_input:
            conn.paused = False
            self._out.append(ResumeReading(name))
        if transport is not conn.transport:
            conn.transport = transport
            if transport is Transport.FINISH:
                self._out.append(Finish(name))
            elif transport is Transport.CLOSE:
                self._out.append(Close(name))
            else:
                self._out.append(Abort(name))
                return
        if conn.transport is Transport.OPEN and not conn.paused and not wire.wants_input:
            conn.paused = True
            self._out.append(PauseReading(name))
        deadline = wire.deadline
        if deadline is not None:
            key = ("conn", name)
            known = self._timers.when(key)
            if known is None or deadline < known:
                self._timers.set(key, deadline)

    def _keeps_up(self, now: int, name: ConnId, conn: _Conn) -> bool:
        """Does the peer read what it is sent? One that never does is dropped: what it is owed must not grow for ever,
        whether it is a carrier's socket or somebody who asks without listening to the answers."""
        waiting = conn.queued - conn.acked
        if waiting >= self._settings.kill_water:
            self._reception.refused("connection", 0, "kill_water", conn.peer, f"{waiting} bytes unread")
            self._abort(name, conn)
            return False
        if conn.role is Role.MEDIA and not conn.high and waiting >= self._settings.high_water:
            conn.high = True
            self._host.pressure(now, conn.call_id, name, True)
        return True

    def _sent(self, now: int, name: ConnId, total: int) -> None:
        conn = self._conns.get(name)
        if conn is None:
            return
        conn.acked = total
        conn.wire.sent(total)
        if conn.high and conn.queued - total <= self._settings.high_water // 2:
            conn.high = False
            self._host.pressure(now, conn.call_id, name, False)

    def _closed(self, now: int, name: ConnId) -> None:
        conn = self._conns.pop(name, None)
        if conn is None:
            return
        self._timers.clear(("conn", name))
        self._touched.pop(name, None)
        self._addresses.remove(conn.socket_peer)
        self._stream_over(now, name, conn, 1006)
        if conn.role is not Role.HTTP:
            self._media -= 1

    def _stream_over(self, now: int, name: ConnId, conn: _Conn, code: int) -> None:
        """A media stream ended. Its place is free at once: who has seen our goodbye may come back right away."""
        if conn.role is Role.MEDIA:
            conn.role = Role.PARTED
            self._reception.left(conn.peer)
            self._host.stream_went(now, conn.call_id, name, code)

    def _upgrade(self, now: int, name: ConnId, conn: _Conn, request: UpgradeRequest) -> list[Any]:
        found = self._reception.upgrade(now, conn.socket_peer, request)
        if isinstance(found, HttpAnswer):
            return conn.wire.reject(now, found.status, found.headers, found.body)
        conn.role = Role.MEDIA
        self._media += 1
        conn.peer = found.peer
        conn.call_id = found.call_id
        events = conn.wire.accept(now)
        self._host.attach(now, found.call_id, name)
        return events

    def _early(self, request: HttpRequest) -> HttpAnswer | None:
        """``/ready`` while calls cannot come, though this server would take them."""
        if self._way_up.ready or not self._serving() or request.method not in ("GET", "HEAD"):
            return None
        if find_route(request.path, self._way_up.public_url.prefix).target is not Target.READY:
            return None
        return HttpAnswer(503, (("Content-Type", "application/json"),), b'{"status":"starting"}')

    def _serving(self) -> bool:
        return self._way_down.phase is Phase.SERVING

    # --- the Host's sockets ------------------------------------------------------------------------------------------

    def say(self, conn: ConnId, text: str) -> None:
        """Send a message on a call's media socket. Sending to one that is closing is nothing."""
        entry = self._conns.get(conn)
        if entry is not None and entry.transport is Transport.OPEN and entry.wire.phase is WirePhase.WEBSOCKET:
            entry.wire.send(text)
            self._touched[conn] = None

    def close(self, conn: ConnId, code: int, reason: str) -> None:
        """Close a call's media socket."""
        entry = self._conns.get(conn)
        if entry is not None and entry.transport is Transport.OPEN and entry.wire.phase is WirePhase.WEBSOCKET:
            entry.wire.close(self._now, code, reason)
            entry.closing = True
            self._touched[conn] = None

    def mint(self, now: int, call_id: str) -> tuple[str, str]:
        """A fresh address for a call's media stream, and its ticket."""
        return self._reception.mint(now, call_id)

    def dialled(self, args: dict[str, Any]) -> CallSpec | BadDial:
        """The call that the application wants placed."""
        return self._reception.dialled(args)

    def call_over(self, call_id: str, reason: EndReason) -> None:
        """A call is over."""
        self._reception.call_over(call_id)

    # --- the way down ------------------------------------------------------------------------------------------------

    def _advance(self, now: int) -> None:
        host, down = self._host, self._way_down
        while not self._exited:
            legs = down.phase is Phase.HANGING_UP and (host.any_leg_up or self._way_up.restoring)
            # Exit waits (within its bound) for the traces' last pieces too: nobody would write them afterwards.
            left = len(self._conns) + host.links + host.unwritten
            steps = down.advance(now, len(host), legs, self._media, left, self._way_up.tunnel_up)
            if not steps:
                break
            self._steps(now, steps)
        if down.deadline is None:
            self._timers.clear(("down", 0))
        else:
            self._timers.set(("down", 0), down.deadline)

    def _steps(self, now: int, steps: list[Step]) -> None:
        for step in steps:
            number, title = step.value
            if step is not Step.EXIT:
                self._out.append(Notify(ShutdownStep(number, title, self._step_detail(step))))
            match step:
                case Step.STOP_ACCEPTING:
                    self._out.append(StopListening())
                    self._way_up.stop(now)
                    self._look_up(now)
                    self._tell_draining(now)
                case Step.WAIT:
                    # An announced call can no longer bring its stream in: its caller need not wait for the deadline.
                    for call_id in self._host.call_ids():
                        # Nor can one that is being dialled: its carrier's reports do not reach us any more.
                        state = self._host.state(call_id)
                        waits = state in (CallState.DIALLING, CallState.OFFERED)
                        if waits and not self._host.attached(call_id):
                            self._host.end(now, call_id, EndReason.SHUTDOWN)
                case Step.HANG_UP:
                    for call_id in self._host.call_ids():
                        self._host.end(now, call_id, EndReason.SHUTDOWN, keep_stream=True)
                case Step.CLOSE_SOCKETS:
                    self._host.hurry(now)
                    for name, conn in self._conns.items():
                        if conn.role is Role.MEDIA:
                            self.close(name, 1001, "Server shutting down")
                case Step.ABORT:
                    self._host.abandon(now)
                    for name, conn in self._conns.items():
                        if conn.role is not Role.HTTP:
                            self._abort(name, conn)
                case Step.CLOSE_HTTP:
                    for name, conn in self._conns.items():
                        if conn.role is Role.HTTP and conn.transport is Transport.OPEN:
                            conn.transport = Transport.CLOSE
                            self._out.append(Close(name))
                case Step.CLOSE_TUNNEL:
                    self._way_up.close_tunnel(now)
                    self._look_up(now)
                case Step.EXIT:
                    self._exit()
                    return
        self._flush(now)

    def _tell_draining(self, now: int) -> None:
        """Let the application know how long its calls may still last. Nothing waits for what it does about it."""
        handler = self._config.on_draining
        if handler is not None:
            waiting = self._way_down.phase is Phase.WAITING and self._way_down.deadline is not None
            at = self._way_down.deadline if waiting else now
            task = self._draining = TaskId(self._names.new())
            self._out.append(Invoke(task, handler.lane, handler.name, (self._reception.unix_us(at or now) / 1e6,)))

    def _step_detail(self, step: Step) -> str:
        if step in (Step.HANG_UP, Step.WAIT):
            return _count(len(self._host), "call")
        if step in (Step.CLOSE_SOCKETS, Step.DRAIN, Step.ABORT):
            return _count(self._media, "media socket")
        if step is Step.CLOSE_HTTP:
            return _count(len(self._conns), "connection")
        return ""

    def _exit(self, code: int = 0) -> None:
        self._exited = True
        self._way_up.abandon()
        self._host.let_go()
        for ask in self._stops:
            self._out.append(Answer(ask, True))
        for name, conn in list(self._conns.items()):
            self._abort(name, conn)
            self._closed(self._now, name)  # nobody will tell us
        self._touched.clear()
        self._out.append(Exit(code))
