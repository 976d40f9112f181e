"""The whole server as one board: connections, routes, admission, calls, the way down.

One call of ``handle`` is one step for everything, so a whole server runs in simulated time. What belongs to one call is
the Host's; what one connection's bytes mean is ``wire``'s; this file joins them.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

from .admission import PeerCounter, Tickets, TicketVerdict, client_address
from .call.call import CallState
from .call.spec import CallSpec
from .carriers.carrier import CallOffered as Offered
from .carriers.carrier import CallStatusChanged, Malformed, Verdict
from .carriers.dialects import dialect_of
from .config import CarrierSpec, ServerConfig
from .contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    ClockSet,
    Close,
    Closed,
    ConnId,
    Exit,
    Fact,
    Finish,
    InputEnded,
    Notify,
    Order,
    Received,
    Refuse,
    Send,
    Sent,
    StopListening,
    StopRequested,
    Ticked,
)
from .contract import Pause as PauseReading
from .contract import Resume as ResumeReading
from .events import (
    Bug,
    CarrierReported,
    Refused,
    ServerReady,
    ShutdownStep,
    SignatureUnchecked,
    UpgradeUnsigned,
)
from .host import Host, Names, TimerKey
from .reasons import EndReason
from .routes import Target, find_route, split_stream_path
from .shutdown import Phase, Step, WayDown
from .timers import Timers
from .wire.endpoint import Phase as WirePhase
from .wire.endpoint import Transport
from .wire.events import Binary, Done, HttpRequest, Opened, Text, UpgradeRequest
from .wire.events import Refused as WireRefused
from .wire.limits import Limits
from .wire.server import ServerConnection

__all__ = ["Switchboard"]


_SHOWN = 300  # characters of a stranger's URL worth a log line
_NOT_TEXT = "\0"  # a binary frame, as the call's media stream sees it: not JSON


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
        self._epoch = epoch
        self._bulkhead = bulkhead
        self._now = 0
        self._out: list[Order] = []
        self._names = Names()
        self._timers: Timers[TimerKey] = Timers()
        self._host = Host(self, self._out, self._names, self._timers, trace_dir=config.trace_dir, bulkhead=bulkhead)
        self._conns: dict[ConnId, _Conn] = {}
        self._media = 0  # how many of them are media sockets
        self._touched: dict[ConnId, None] = {}  # connections with something to flush, in order
        self._peers = PeerCounter()  # media sockets by client address
        self._addresses = PeerCounter()  # sockets of any kind by peer address
        secret = config.ticket_secret.encode() or hashlib.blake2b(b"tickets", key=seed[:64]).digest()
        self._tickets = Tickets(secret, self._settings.ticket_s)
        self._answers: dict[str, tuple[int, str, bytes]] = {}  # voice answers of calls that have no stream yet
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unsigned_told = False
        self._carriers = {carrier.name: carrier for carrier in config.carriers}
        self._way_down = WayDown(self._settings)
        self._stops: list[AskId] = []
        self._ready = False
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
        if not self._ready:
            self._ready = True
            self._begin()
        deadline = self._timers.deadline
        if deadline is not None and deadline <= now:
            self._tick(now)
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
            case Sent(conn, total):
                self._sent(now, conn, total)
            case InputEnded(conn):
                self._wire_input(now, conn, b"")
            case Closed(conn):
                self._closed(now, conn)
            case StopRequested():
                self._steps(now, self._way_down.request(now))
            case ClockSet(epoch):
                self._epoch = epoch
            case Asked(ask, "stop", args):
                wait = args.get("finish_calls_s")
                if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
                    self._out.append(Refuse(ask, "bad_arguments", f"finish_calls_s must be seconds, got {wait!r}"))
                else:
                    self._stops.append(ask)
                    self._steps(now, self._way_down.request(now, wait))
            case Asked(ask, "calls"):
                self._out.append(Answer(ask, self._host.call_ids()))
            case _:
                if not self._host.handle(now, fact) and isinstance(fact, Asked):
                    self._out.append(Refuse(fact.ask, "unknown_command", f"no command {fact.verb!r}"))

    def _begin(self) -> None:
        if not self._config.require_signature:
            detail = "require_signature=False: webhooks are not checked; anybody can make this server take calls"
            self._out.append(Notify(SignatureUnchecked("webhooks", detail)))
        if not self._config.authenticate_streams:
            detail = "authenticate_streams=False: media sockets need no ticket; anybody can talk to the agent"
            self._out.append(Notify(SignatureUnchecked("streams", detail)))
        self._out.append(Notify(ServerReady()))

    def _tick(self, now: int) -> None:
        while (key := self._timers.due(now)) is not None:
            kind, name = key
            if kind == "call":
                self._host.due(now, str(name))
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
        if too_many or self._addresses[peer] >= self._settings.max_connections_per_ip:
            # Not even a byte is read: whoever opens this many sockets is not asking for an explanation.
            code = "max_connections" if too_many else "max_connections_per_ip"
            self._refused("connection", 0, code, peer, f"raise {code} if this is legitimate traffic")
            self._addresses.add(peer)
            wire = ServerConnection(now, self._limits)
            self._conns[conn] = entry = _Conn(wire, peer)
            entry.transport = Transport.ABORT
            self._out.append(Abort(conn))
            return
        self._addresses.add(peer)
        entry = self._conns[conn] = _Conn(ServerConnection(now, self._limits), peer)
        self._touched[conn] = None
        if self._way_down.phase is Phase.CLOSING_HTTP:
            entry.transport = Transport.ABORT
            self._out.append(Abort(conn))

    def _received(self, now: int, fact: Received) -> None:
        conn = self._conns.get(fact.conn)
        if conn is None or conn.transport in (Transport.CLOSE, Transport.ABORT):
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
                queue += self._request(now, conn, event)
            elif kind is UpgradeRequest:
                queue += self._upgrade(now, name, conn, event)
            elif kind is Done:
                self._stream_over(now, name, conn, event.code)
            elif kind is Binary:
                # Carriers speak text. To the call it is one more malformed message.
                if not conn.closing:
                    self._host.carrier_said(now, conn.call_id, _NOT_TEXT)
            elif kind is WireRefused:
                self._refused("request", event.status, event.code, conn.peer)
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
            self._refused("connection", 0, "kill_water", conn.peer, f"{waiting} bytes unread")
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
            self._peers.remove(conn.peer)
            self._host.stream_went(now, conn.call_id, name, code)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _answer(
        self, now: int, conn: _Conn, status: int, content_type: str, body: bytes, *headers: tuple[str, str]
    ) -> list[Any]:
        fields = (("Content-Type", content_type), *headers) if body else headers
        return conn.wire.respond(now, status, fields, body)

    def _error(self, now: int, conn: _Conn, status: int, code: str, *headers: tuple[str, str]) -> list[Any]:
        body = json.dumps({"error": code}).encode()
        return self._answer(now, conn, status, "application/json", body, *headers)

    def _refused(self, what: str, status: int, code: str, peer: str, detail: str = "") -> None:
        """Report a refusal, once per cause and peer: whoever is refused a thousand times fills no log."""
        key = (code, peer)
        if key in self._refusals:
            return
        self._refusals[key] = None
        if len(self._refusals) > self._settings.remembered_refusals:
            self._refusals.popitem(last=False)
        self._out.append(Notify(Refused(what, status, code, peer, detail)))

    def _request(self, now: int, conn: _Conn, request: HttpRequest) -> list[Any]:
        route = find_route(request.path, self._config.public_url.prefix)
        if route.target is Target.WEBHOOK and not self._has_webhook(route.carrier, route.kind):
            return self._error(now, conn, 404, "not_found")
        if route.target is Target.NOTHING:
            return self._error(now, conn, 404, "not_found")
        if route.target is Target.STREAM:
            return self._error(now, conn, 426, "upgrade_required", ("Upgrade", "websocket"))
        if request.method not in route.methods:
            return self._error(now, conn, 405, "method_not_allowed", ("Allow", ", ".join(route.methods)))
        if route.target is Target.HEALTH:
            return self._answer(now, conn, 200, "application/json", b'{"status":"ok","mode":"local"}')
        if route.target is Target.READY:
            serving = self._way_down.phase is Phase.SERVING
            body = b'{"status":"ready"}' if serving else b'{"status":"draining"}'
            return self._answer(now, conn, 200 if serving else 503, "application/json", body)
        return self._webhook(now, conn, request, self._carriers[route.carrier], route.kind)

    def _has_webhook(self, carrier: str, kind: str) -> bool:
        return carrier in self._carriers and kind in dialect_of(carrier).routes

    def _webhook(self, now: int, conn: _Conn, request: HttpRequest, carrier: CarrierSpec, kind: str) -> list[Any]:
        dialect = dialect_of(carrier.name)
        headers = {name: request.header(name) or "" for name, _ in request.headers}
        url = f"{self._config.public_url.origin}/webhooks/{carrier.name}/{kind}"
        if request.query:
            url += f"?{request.query}"
        if self._config.require_signature:
            verdict = dialect.verify_webhook(carrier, url, headers, request.body)
            if verdict is Verdict.NO_KEY:
                self._refused("webhook", 503, "no_key", conn.peer, f"no key to check {carrier.name} signatures with")
                return self._error(now, conn, 503, "signature_required")
            if verdict is not Verdict.VALID:
                detail = f"signature {verdict.value} for {url[:_SHOWN]}; is webhook_url the address the carrier calls?"
                self._refused("webhook", 403, "bad_signature", conn.peer, detail)
                return self._error(now, conn, 403, "invalid_signature")
        report = dialect.read_webhook(kind, headers, request.body)
        if isinstance(report, Malformed):
            self._refused("webhook", 400, report.code.value, conn.peer, report.detail)
            return self._error(now, conn, 400, report.code.value)
        if isinstance(report, Offered):
            return self._offered(now, conn, carrier, report)
        self._out.append(Notify(CarrierReported(report.call_id, report)))
        if isinstance(report, CallStatusChanged) and report.status.final:
            self._host.leg_ended(now, report.call_id)
        return self._answer(now, conn, 204, "", b"")

    def _offered(self, now: int, conn: _Conn, carrier: CarrierSpec, offer: Offered) -> list[Any]:
        """A verified voice webhook. The same call may announce itself again: carriers retry."""
        dialect = dialect_of(carrier.name)
        call_id = offer.call_id
        state = self._host.state(call_id)
        if state is CallState.OFFERED and call_id in self._answers:
            return self._answer(now, conn, *self._answers[call_id])
        busy = self._busy_because(offer, state)
        if busy:
            code, detail = busy
            if detail:
                self._refused("call", 200, code, conn.peer, detail)
            return self._answer(now, conn, *dialect.busy())
        if state is None:
            agent = self._config.agent_for(offer.callee)
            assert agent is not None  # or it would have been busy
            self._host.offer(
                now, self._spec(carrier, call_id, offer.caller, offer.callee, offer.direction.value, agent)
            )
        answer = dialect.answer(self._stream_url(now, call_id), {"caller": offer.caller, "callee": offer.callee})
        self._answers[call_id] = answer
        return self._answer(now, conn, *answer)

    def _busy_because(self, offer: Offered, state: CallState | None) -> tuple[str, str] | None:
        """Why this caller gets a busy tone, if they do, and what the log says of it."""
        if self._way_down.phase is not Phase.SERVING:
            return "draining", "the server is shutting down"
        if offer.call_id in self._ended:
            return "ended", ""
        if state is CallState.ENDING or (state is not None and self._host.attached(offer.call_id)):
            return "live", ""
        if state is None:
            limit = self._settings.max_calls
            if limit is not None and len(self._host) >= limit:
                return "max_calls", f"max_calls={limit} reached"
            if self._config.agent_for(offer.callee) is None:
                return "no_agent", "no agent answers this number: see serve({number: agent})"
        return None

    def _spec(
        self, carrier: CarrierSpec, call_id: str, caller: str, callee: str, direction: str, agent: Any
    ) -> CallSpec:
        return CallSpec(
            call_id=call_id,
            carrier=carrier.name,
            agent=agent,
            caller=caller,
            callee=callee,
            direction=direction,
            account=carrier.account,
            base_url=carrier.base_url,
            settings=self._config.call,
            epoch=self._epoch,
        )

    def _stream_url(self, now: int, call_id: str) -> str:
        url = f"{self._config.public_url.stream_origin}/ws/stream/{quote(call_id, safe='')}"
        if self._config.authenticate_streams:
            url += f"/{self._tickets.mint(call_id, self._unix(now))}"
        return url

    def _unix(self, now: int) -> int:
        return (self._epoch + now) // 1_000_000

    # --- media sockets -----------------------------------------------------------------------------------------------

    def _upgrade(self, now: int, name: ConnId, conn: _Conn, request: UpgradeRequest) -> list[Any]:
        prefix = self._config.public_url.prefix
        if find_route(request.path, prefix).target is not Target.STREAM:
            return self._reject(now, conn, 404, "not_found")
        if self._way_down.phase is not Phase.SERVING:
            return self._reject(now, conn, 503, "draining", ("Retry-After", "5"))
        found = split_stream_path(request.path, prefix)
        if found is None:
            return self._reject(now, conn, 404, "not_found")
        call_id, ticket = found
        forwarded = request.header("x-forwarded-for")
        peer = client_address(conn.socket_peer, forwarded, self._config.trusted_proxies)
        verdict = self._tickets.check(call_id, ticket, self._unix(now))
        good = verdict is TicketVerdict.VALID or not self._config.authenticate_streams
        if self._peers[peer] >= self._settings.max_streams_per_ip:
            limit = self._settings.max_streams_per_ip
            detail = f"max_streams_per_ip={limit} reached; raise it if this address is a proxy or a load test"
            self._refused("stream", 429, "max_streams_per_ip", peer, detail if good else "")
            return self._reject(now, conn, 429, "too_many_streams", ("Retry-After", "1"))
        if not good:
            self._refused("stream", 403, f"ticket_{verdict.value}", peer)
            return self._reject(now, conn, 403, "bad_ticket")
        carrier = self._carrier_of(call_id)
        if carrier is None or not self._proven(conn, carrier, request, call_id, ticket, peer):
            return self._reject(now, conn, 403, "bad_signature")
        problem = self._stream_problem(now, carrier, call_id)
        if problem:
            self._refused("stream", 403, problem, peer)
            return self._reject(now, conn, 403, problem)
        if verdict is TicketVerdict.VALID:
            self._tickets.use(ticket, self._unix(now))
        self._answers.pop(call_id, None)
        conn.role = Role.MEDIA
        self._media += 1
        conn.peer = peer
        conn.call_id = call_id
        self._peers.add(peer)
        events = conn.wire.accept(now)
        self._host.attach(now, call_id, name)
        return events

    def _carrier_of(self, call_id: str) -> CarrierSpec | None:
        spec = self._host.spec(call_id)
        if spec is not None:
            return self._carriers.get(spec.carrier)
        return next(iter(self._carriers.values()), None)

    def _proven(
        self, conn: _Conn, carrier: CarrierSpec, request: UpgradeRequest, call_id: str, ticket: str, peer: str
    ) -> bool:
        """The carrier's own proof on the upgrade: wrong is worse than absent."""
        dialect = dialect_of(carrier.name)
        url = f"{self._config.public_url.stream_origin}{request.path.removeprefix(self._config.public_url.prefix)}"
        headers = {name: request.header(name) or "" for name, _ in request.headers}
        verdict = dialect.verify_upgrade(carrier, url, headers)
        if verdict is Verdict.VALID:
            return True
        if verdict in (Verdict.MISSING, Verdict.NO_KEY) and not self._config.require_upgrade_signature:
            if not self._unsigned_told and verdict is Verdict.MISSING:
                self._unsigned_told = True
                self._out.append(Notify(UpgradeUnsigned(call_id)))
            return True
        tried = ", ".join(spelling[:_SHOWN] for spelling in dialect.upgrade_spellings(url))
        if ticket:
            tried = tried.replace(ticket, "<ticket>")
        self._refused("stream", 403, f"upgrade_signature_{verdict.value}", peer, f"URLs tried: {tried}")
        return False

    def _stream_problem(self, now: int, carrier: CarrierSpec, call_id: str) -> str:
        """Why a proven socket still cannot be this call's; '' when it can."""
        state = self._host.state(call_id)
        if call_id in self._ended or state is CallState.ENDING:
            return "call_ended"
        if self._host.attached(call_id):
            return "already_attached"
        if state is None:
            # Its webhook was answered by another process with the same ticket secret (or streams are open to anyone).
            agent = self._config.agent_for("")
            limit = self._settings.max_calls
            if agent is None or (limit is not None and len(self._host) >= limit):
                return "unknown_call"
            self._host.offer(now, self._spec(carrier, call_id, "", "", "inbound", agent))
        return ""

    def _reject(self, now: int, conn: _Conn, status: int, code: str, *headers: tuple[str, str]) -> list[Any]:
        body = json.dumps({"error": code}).encode()
        return conn.wire.reject(now, status, (("Content-Type", "application/json"), *headers), body)

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

    def call_over(self, call_id: str, reason: EndReason) -> None:
        """A call is over: its id is remembered, so that a late webhook does not start it again."""
        self._answers.pop(call_id, None)
        self._ended[call_id] = None
        if len(self._ended) > self._settings.ended_calls:
            self._ended.popitem(last=False)

    # --- the way down ------------------------------------------------------------------------------------------------

    def _advance(self, now: int) -> None:
        host, down = self._host, self._way_down
        while not self._exited:
            legs = down.phase is Phase.HANGING_UP and host.any_leg_up
            # Exit waits (within its bound) for the traces' last pieces too: nobody would write them afterwards.
            left = len(self._conns) + host.unwritten
            steps = down.advance(now, len(host), legs, self._media, left)
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
                case Step.WAIT:
                    # An announced call can no longer bring its stream in: its caller need not wait for the deadline.
                    for call_id in self._host.call_ids():
                        if self._host.state(call_id) is CallState.OFFERED and not self._host.attached(call_id):
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
                case Step.EXIT:
                    self._exit()
                    return
        self._flush(now)

    def _step_detail(self, step: Step) -> str:
        if step in (Step.HANG_UP, Step.WAIT):
            return f"{len(self._host)} calls"
        if step in (Step.CLOSE_SOCKETS, Step.DRAIN, Step.ABORT):
            return f"{self._media} media sockets"
        if step is Step.CLOSE_HTTP:
            return f"{len(self._conns)} connections"
        return ""

    def _exit(self) -> None:
        self._exited = True
        for ask in self._stops:
            self._out.append(Answer(ask, True))
        for name, conn in list(self._conns.items()):
            self._abort(name, conn)
            self._closed(self._now, name)  # nobody will tell us
        self._touched.clear()
        self._out.append(Exit(0))
