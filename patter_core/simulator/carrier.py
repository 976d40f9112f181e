"""A carrier that is not there: it calls the server, plays a caller, and obeys what it is told.

The other role of the same machines the server is made of. It posts the signed voice webhook, reads the TwiML, opens the
media stream with the upgrade's signature, sends 20 ms frames, plays what it receives on a virtual handset, and takes
the REST hang-up. A board: either adapter carries it, and the virtual network does without sockets.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..carriers.carrier import Malformed
from ..carriers.form import encode_form
from ..carriers.twilio import rest, signature, twiml, webhook
from ..carriers.twilio.stream import Cleared, Marked, Played, TwilioStreamPeer
from ..contract import (
    Abort,
    Accepted,
    BodyEnded,
    BodyReceived,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Finish,
    InputEnded,
    Notify,
    Order,
    Received,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Send,
    StopListening,
    StopRequested,
)
from ..timers import Timers
from ..wire.client import ClientConnection
from ..wire.endpoint import Phase as WirePhase
from ..wire.endpoint import Transport
from ..wire.events import Done, HttpRequest, HttpResponse, Opened, Text, UpgradeRequest
from ..wire.limits import Limits
from ..wire.server import ServerConnection
from .events import SimCallDone, SimCallPlaced, SimProblem
from .handset import Handset
from .script import Act, HangUp, Player, Press

__all__ = ["CallPlan", "SimulatedCarrier", "SimulatorConfig"]

_FRAME_US = 20_000
_PARTING: dict[Transport, Callable[[ConnId], Finish | Close | Abort]] = {
    Transport.FINISH: Finish,
    Transport.CLOSE: Close,
    Transport.ABORT: Abort,
}
_AUDIBLE = frozenset(range(256)) - {0xFF, 0x7F, 0xFE, 0x7E}  # mu-law codes that are not (nearly) zero


class CallPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One call to place. ``at_ms`` from the start; ``most_ms`` is when the caller loses patience and hangs up."""

    acts: tuple[Act, ...]
    caller: str = "+15550100001"
    callee: str = "+15550001234"
    at_ms: int = 0
    most_ms: int = 120_000
    call_sid: str = ""


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and which account calls it.

    ``webhook_url`` is the public voice URL, which is what is signed; ``connect_to`` (host, port) is where it really is.
    ``rate`` above 1 plays faster than real time. ``record`` keeps the audio of both sides. ``probe`` measures the echo
    delay of marked frames: only with an echoing server.
    """

    webhook_url: str
    account_sid: str = "AC" + "0" * 31 + "1"
    auth_token: str = "simulated"
    connect_to: tuple[str, int] | None = None
    tls: bool | None = None
    rate: float = 1.0
    record: bool = True
    probe: bool = False
    sign_upgrade: bool = True
    leave_when_done: bool = True
    epoch: int = 1_700_000_000_000_000


class State(enum.Enum):
    """Where a simulated call is."""

    PLANNED = "planned"
    RINGING = "ringing"  # the webhook is out
    CONNECTING = "connecting"  # the stream's socket is being opened
    STREAMING = "streaming"
    CLOSING = "closing"  # `stop` is said; the socket goes
    DONE = "done"


class _SimCall:
    def __init__(self, number: int, plan: CallPlan, sid: str, stream_sid: str) -> None:
        self.number = number
        self.plan = plan
        self.sid = sid
        self.stream_sid = stream_sid
        self.state = State.PLANNED
        self.request: RequestId | None = None
        self.status = 0
        self.body = b""
        self.conn: ConnId | None = None
        self.wire: ClientConnection | None = None
        self.peer: TwilioStreamPeer | None = None
        self.player = Player(plan.acts)
        self.handset = Handset()
        self.url = ""
        self.parameters: dict[str, str] = {}
        self.frames = 0
        self.started = 0
        self.next_frame = 0
        self.caller = bytearray()
        self.rest = False
        self.said: list[str] = []
        self.close_code = 0
        self.outcome = ""
        self.detail = ""
        self.probes: dict[bytes, int] = {}
        self.latencies: list[int] = []


class SimulatedCarrier:
    """The board. Every call of the plan ends in one ``SimCallDone``; then, if asked to, it exits."""

    def __init__(self, config: SimulatorConfig, plans: Sequence[CallPlan], *, seed: bytes = b"simulated") -> None:
        self._config = config
        self._seed = seed
        self._now = 0
        self._names = 0
        self._out: list[Order] = []
        self._frame_us = max(1, round(_FRAME_US / config.rate))
        self._calls = [
            _SimCall(i, p, p.call_sid or self._sid("CA", i), self._sid("MZ", i)) for i, p in enumerate(plans)
        ]
        self._by_sid = {call.sid: call for call in self._calls}
        self._by_conn: dict[ConnId, _SimCall] = {}
        self._by_request: dict[RequestId, _SimCall] = {}
        self._servers: dict[ConnId, ServerConnection] = {}
        self._transports: dict[ConnId, Transport] = {}
        self._timers: Timers[tuple[str, int]] = Timers()
        self._left = len(self._calls)
        self._stopping = False
        self._exited = False
        for call in self._calls:
            self._timers.set(("place", call.number), max(1, call.plan.at_ms * 1000))

    def _sid(self, prefix: str, number: int) -> str:
        return prefix + hashlib.blake2b(f"{prefix}{number}".encode(), key=self._seed[:64], digest_size=16).hexdigest()

    # --- the board ---------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        return None if self._exited else self._timers.deadline

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    @property
    def call_ids(self) -> list[str]:
        """The calls' ids, in the plan's order."""
        return [call.sid for call in self._calls]

    def handle(self, now: int, fact: Fact) -> list[Order]:
        if self._exited:
            return []
        now = self._now = max(now, self._now)
        while (key := self._timers.due(now)) is not None:
            kind, number = key
            if kind == "frame":
                self._frames(now, self._calls[number])
            elif kind == "place":
                self._place(self._calls[number])
            elif kind == "patience":
                self._say_stop(now, self._calls[number], "patience")
            elif kind == "wire":
                self._wire_tick(now, ConnId(number))
        match fact:
            case Received(conn, data):
                self._received(now, conn, data)
            case Accepted(conn, _):
                self._servers[conn] = ServerConnection(now, Limits())
                self._transports[conn] = Transport.OPEN
                self._flush(conn, self._servers[conn])
            case Connected(conn):
                if (call := self._by_conn.get(conn)) is not None and call.wire is not None:
                    self._flush(conn, call.wire)
            case ConnectFailed(conn, fault):
                if (call := self._by_conn.pop(conn, None)) is not None:
                    self._done(now, call, "unreachable", f"media stream: {fault.value}")
            case InputEnded(conn):
                self._received(now, conn, b"")
            case Closed(conn):
                self._closed(now, conn)
            case ResponseStarted(request, status):
                if (call := self._by_request.get(request)) is not None:
                    call.status = status
            case BodyReceived(request, data):
                if (call := self._by_request.get(request)) is not None:
                    call.body += data
            case BodyEnded(request):
                if (call := self._by_request.pop(request, None)) is not None:
                    self._answered(now, call)
            case RequestFailed(request, fault):
                if (call := self._by_request.pop(request, None)) is not None:
                    self._done(now, call, "unreachable", f"webhook: {fault.value}")
            case StopRequested():
                self._stop(now)
        if self._left == 0 and (self._config.leave_when_done or self._stopping):
            self._leave()
        out, self._out = self._out, []
        return out

    def _stop(self, now: int) -> None:
        self._stopping = True
        for call in self._calls:
            if call.state is State.PLANNED:
                self._done(now, call, "cancelled", "stopped before it was placed")
            elif call.state is State.STREAMING:
                self._say_stop(now, call, "stopped")

    def _leave(self) -> None:
        self._exited = True
        self._out.append(StopListening())
        self._out.extend(Abort(conn) for conn in (*self._servers, *self._by_conn))
        self._out.append(Exit(0))

    # --- placing a call ----------------------------------------------------------------------------------------------

    def _place(self, call: _SimCall) -> None:
        config, plan = self._config, call.plan
        pairs = webhook.voice_params(call.sid, config.account_sid, plan.caller, plan.callee)
        proof = signature.sign(config.auth_token, config.webhook_url, pairs)
        headers = (
            ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
            ("X-Twilio-Signature", proof),
            ("User-Agent", "TwilioProxy/1.1"),
        )
        self._names += 1
        call.request = RequestId(self._names)
        call.state = State.RINGING
        self._by_request[call.request] = call
        self._out.append(Notify(SimCallPlaced(call.sid)))
        url = self._reach(config.webhook_url)
        self._out.append(Request(call.request, "POST", url, headers, encode_form(pairs)))

    def _reach(self, url: str) -> str:
        """The URL under which the public one is really reached."""
        if self._config.connect_to is None:
            return url
        host, port = self._config.connect_to
        parts = urlsplit(url)
        scheme = "https" if self._config.tls else "http"
        return f"{scheme}://{host}:{port}{parts.path}" + (f"?{parts.query}" if parts.query else "")

    def _answered(self, now: int, call: _SimCall) -> None:
        if call.status != 200:
            self._done(
                now,
                call,
                "rejected",
                f"webhook answered HTTP {call.status}: {call.body[:200].decode('utf-8', 'replace')}",
            )
            return
        try:
            verbs = twiml.read_twiml(call.body.decode("utf-8"))
        except ValueError as exc:
            self._done(now, call, "rejected", f"TwiML: {exc}")
            return
        for verb in verbs:
            if isinstance(verb, twiml.Connect):
                self._open_stream(call, verb.url, dict(verb.parameters))
                return
            if isinstance(verb, twiml.Reject):
                self._done(now, call, "busy" if verb.reason == "busy" else "rejected", "rejected by TwiML")
                return
        self._done(now, call, "rejected", "no verb that connects")

    def _open_stream(self, call: _SimCall, url: str, parameters: dict[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "wss" and self._config.connect_to is None:
            self._problem(call, f"stream URL {parts.scheme}: carriers take wss only")
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        if self._config.connect_to is not None:
            host, port = self._config.connect_to
            secure = bool(self._config.tls)
        call.url, call.parameters = url, parameters
        call.state = State.CONNECTING
        call.conn = self.reserve()
        headers = [("User-Agent", "Twilio.TmeWs/1.0")]
        if self._config.sign_upgrade:
            headers.append(("x-twilio-signature", signature.sign(self._config.auth_token, url)))
        seed = hashlib.blake2b(call.sid.encode(), key=self._seed[:64]).digest()
        call.wire = ClientConnection(self._now, parts.netloc, parts.path or "/", headers, Limits(), seed=seed)
        self._by_conn[call.conn] = call
        self._transports[call.conn] = Transport.OPEN
        self._out.append(Connect(call.conn, host, port, secure))

    # --- the stream --------------------------------------------------------------------------------------------------

    def _received(self, now: int, conn: ConnId, data: Any) -> None:
        call = self._by_conn.get(conn)
        if call is not None and call.wire is not None:
            for event in call.wire.receive(now, data):
                self._event(now, call, event)
            if conn in self._by_conn:
                self._flush(conn, call.wire)
        elif (server := self._servers.get(conn)) is not None:
            self._serve(now, conn, server, server.receive(now, data))

    def _event(self, now: int, call: _SimCall, event: Any) -> None:
        if isinstance(event, Text):
            self._server_said(now, call, event.data)
        elif isinstance(event, Opened):
            self._stream_opened(now, call)
        elif isinstance(event, HttpResponse):
            detail = f"the upgrade was answered HTTP {event.status}: {event.body[:200].decode('utf-8', 'replace')}"
            call.outcome, call.detail, call.close_code = "rejected", detail, event.status
        elif isinstance(event, Done):
            call.close_code = call.close_code or event.code

    def _stream_opened(self, now: int, call: _SimCall) -> None:
        call.state = State.STREAMING
        call.started = now
        call.next_frame = now + self._frame_us
        call.peer = TwilioStreamPeer(call.stream_sid, call.sid, self._config.account_sid, call.parameters)
        self._say(call, call.peer.connected())
        self._say(call, call.peer.start())
        self._timers.set(("frame", call.number), call.next_frame)
        self._timers.set(("patience", call.number), now + round(call.plan.most_ms * 1000 / self._config.rate))

    def _say(self, call: _SimCall, text: str) -> None:
        if call.wire is not None and call.wire.phase is WirePhase.WEBSOCKET:
            call.wire.send(text)

    def _frames(self, now: int, call: _SimCall) -> None:
        """Play and send every frame that is due: deadlines are absolute, lateness never adds up."""
        if call.state is not State.STREAMING or call.peer is None or call.conn is None or call.wire is None:
            return
        while call.next_frame <= now and call.state is State.STREAMING:
            call.next_frame += self._frame_us
            heard, marks = call.handset.play()
            for name in marks:
                self._say(call, call.peer.mark(name))
            payload, acts = call.player.frame(not _AUDIBLE.isdisjoint(heard))
            if self._config.probe:
                payload = self._probe(now, call)
            call.frames += 1
            if self._config.record:
                call.caller += payload
            self._say(call, call.peer.media(payload, call.frames * 20))
            for act in acts:
                if isinstance(act, Press):
                    self._say(call, call.peer.dtmf(act.digit))
                elif isinstance(act, HangUp):
                    self._say_stop(now, call, "hung up")
        if not self._config.record:
            call.handset.heard.clear()
        if call.state is State.STREAMING:
            self._timers.set(("frame", call.number), call.next_frame)
        if call.conn in self._by_conn:
            self._flush(call.conn, call.wire)

    def _probe(self, now: int, call: _SimCall) -> bytes:
        """A frame no other frame of this call equals, so that its echo can be told."""
        head = call.frames.to_bytes(4, "big")
        payload = head + bytes(156)
        call.probes[head] = now
        return payload

    def _server_said(self, now: int, call: _SimCall, text: str) -> None:
        assert call.peer is not None
        if call.state is not State.STREAMING:
            return
        match call.peer.receive(text):
            case Played(payload):
                if self._config.probe:
                    for start in range(0, len(payload), 160):  # a server that fell behind sends two frames in one
                        sent = call.probes.pop(payload[start : start + 4], None)
                        if sent is not None:
                            call.latencies.append(now - sent)
                call.handset.media(payload)
            case Marked(name):
                for back in call.handset.mark(name):
                    self._say(call, call.peer.mark(back))
            case Cleared():
                for back in call.handset.clear():
                    self._say(call, call.peer.mark(back))
            case Malformed(code, detail):
                self._problem(call, f"{code.value}: {detail}")

    def _problem(self, call: _SimCall, detail: str) -> None:
        self._out.append(Notify(SimProblem(call.sid, detail)))

    def _say_stop(self, now: int, call: _SimCall, why: str) -> None:
        """The telephone call is over: say ``stop``, then close the socket."""
        if call.state is not State.STREAMING or call.peer is None or call.wire is None or call.conn is None:
            return
        call.state = State.CLOSING
        call.detail = call.detail or why
        self._say(call, call.peer.stop())
        if call.wire.phase is WirePhase.WEBSOCKET:
            call.wire.close(now, 1000, "")
        self._flush(call.conn, call.wire)

    def _closed(self, now: int, conn: ConnId) -> None:
        self._servers.pop(conn, None)
        self._transports.pop(conn, None)
        self._timers.clear(("wire", conn))
        call = self._by_conn.pop(conn, None)
        if call is not None:
            if call.wire is not None and not call.outcome:
                for event in call.wire.receive(now, b""):
                    self._event(now, call, event)
            completed = call.state in (State.STREAMING, State.CLOSING)
            self._done(now, call, call.outcome or ("completed" if completed else "rejected"), call.detail)

    def _done(self, now: int, call: _SimCall, outcome: str, detail: str) -> None:
        if call.state is State.DONE:
            return
        call.state = State.DONE
        self._left -= 1
        for kind in ("frame", "patience", "place"):
            self._timers.clear((kind, call.number))
        heard = call.handset
        self._out.append(
            Notify(
                SimCallDone(
                    call_id=call.sid,
                    outcome=outcome,
                    detail=detail,
                    close_code=call.close_code,
                    duration_ms=(now - call.started) // 1000 if call.frames else 0,
                    frames_sent=call.frames,
                    frames_heard=heard.frames,
                    bytes_received=heard.received,
                    cleared_bytes=heard.cleared,
                    max_buffered_ms=heard.max_buffered // 8,
                    underruns=heard.underruns,
                    hung_up_by_rest=call.rest,
                    said_by_carrier=tuple(call.said),
                    caller=bytes(call.caller),
                    heard=bytes(heard.heard),
                    latencies_us=tuple(call.latencies),
                )
            )
        )

    # --- the carrier's REST API --------------------------------------------------------------------------------------

    def _serve(self, now: int, conn: ConnId, server: ServerConnection, events: list[Any]) -> None:
        queue = list(events)
        while queue:
            event = queue.pop(0)
            if isinstance(event, HttpRequest):
                queue += self._rest(now, server, event)
            elif isinstance(event, UpgradeRequest):
                queue += server.reject(now, 404)
        self._flush(conn, server)

    def _rest(self, now: int, server: ServerConnection, request: HttpRequest) -> list[Any]:
        headers = (("Content-Type", "application/json"),)
        order = rest.read_request(request.method, request.target, request.body)
        if order is None:
            return server.respond(now, 404, headers, rest.reply_not_found(""))
        call = self._by_sid.get(order.call_sid)
        if call is None or call.state in (State.DONE, State.CLOSING, State.PLANNED):
            return server.respond(now, 404, headers, rest.reply_not_found(order.call_sid))
        call.rest = True
        if isinstance(order, rest.UpdateTwiml):
            call.said += [verb.text for verb in twiml.read_twiml(order.twiml) if isinstance(verb, twiml.Say)]
        self._say_stop(now, call, "hung up by the server")
        return server.respond(now, 200, headers, rest.reply_completed(order.call_sid, self._config.account_sid))

    # --- wires -------------------------------------------------------------------------------------------------------

    def _wire_tick(self, now: int, conn: ConnId) -> None:
        call = self._by_conn.get(conn)
        if call is not None and call.wire is not None:
            for event in call.wire.tick(now):
                self._event(now, call, event)
            self._flush(conn, call.wire)
        elif (server := self._servers.get(conn)) is not None:
            self._serve(now, conn, server, server.tick(now))

    def _flush(self, conn: ConnId, wire: ClientConnection | ServerConnection) -> None:
        data = wire.data_to_send()
        known = self._transports.get(conn)
        if known in (None, Transport.CLOSE, Transport.ABORT):
            return
        if data:
            self._out.append(Send(conn, data))
        transport = wire.transport
        if transport is not known:
            self._transports[conn] = transport
            if transport is not Transport.OPEN:
                self._out.append(_PARTING[transport](conn))
        if wire.deadline is not None:
            key = ("wire", int(conn))
            when = self._timers.when(key)
            if when is None or wire.deadline < when:
                self._timers.set(key, wire.deadline)
