"""The WebSockets a server's calls hold to providers: dialled, upgraded, kept alive, and let go.

An engine speaks in messages and names; this turns them into connections and back. A link is never paused: it carries
control beside audio. What it owes a provider that does not read is bounded, and a provider that has vanished without a
goodbye is found out by pings.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlsplit

from .call.words import CallFact, LinkClosed, LinkOpened, LinkSaid, OpenLink
from .contract import (
    Abort,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Fact,
    Fault,
    Finish,
    InputEnded,
    Order,
    Received,
    Send,
    Sent,
)
from .errors import LocalProtocolError
from .timers import Timers, later
from .wire.client import ClientConnection
from .wire.endpoint import Phase, Transport
from .wire.events import Done, HttpResponse, Opened, Pong, Text, WireEvent
from .wire.limits import Limits

__all__ = ["Links"]

_CONNECT_S = 10.0  # TCP, TLS and the upgrade's answer, together: a caller is waiting
_PING_S = 20.0  # a link that heard nothing for so long is asked whether it lives, and given as long to say so
_KILL_WATER = 1 << 20  # bytes a provider has not read: two minutes of speech; it is not going to
_ACK_EVERY = 32 * 1024
_REASON = 300  # characters of a refusal's body: enough for any provider's error message
_LIMITS = Limits(message_bytes=4 << 20, flush_timeout_us=5_000_000, close_timeout_us=2_000_000)


class _Link:
    __slots__ = (
        "acked",
        "asked",
        "auth",
        "heard",
        "name",
        "opened",
        "owner",
        "pinged",
        "queued",
        "refusal",
        "seed",
        "transport",
        "wire",
    )

    def __init__(self, owner: Any, name: str, auth: str) -> None:
        self.owner = owner  # None: let go, nobody is told anything
        self.name = name
        self.auth = auth
        self.wire: ClientConnection | None = None
        self.transport = Transport.OPEN
        self.opened = False
        self.heard = 0  # when the provider last said anything
        self.pinged = False
        self.queued = self.asked = self.acked = 0
        self.refusal: HttpResponse | None = None
        self.seed = b""


class Links:
    """All links of a Host. ``owner`` is whatever the Host wants back with a fact. ``seed`` must be secret."""

    def __init__(self, out: list[Order], new_name: Any, timers: Timers[Any], seed: bytes) -> None:
        self._out = out
        self._new_name = new_name
        self._timers = timers
        self._seed = seed
        self._links: dict[ConnId, _Link] = {}
        self._places: dict[ConnId, tuple[str, str, tuple[tuple[str, str], ...]]] = {}  # host header, target, headers

    def __len__(self) -> int:
        return len(self._links)

    def __contains__(self, conn: ConnId) -> bool:
        return conn in self._links

    # --- orders ------------------------------------------------------------------------------------------------------

    def open(self, now: int, owner: Any, order: OpenLink) -> ConnId:
        """Dial. What becomes of it comes back from ``handle`` or ``due``."""
        conn = ConnId(self._new_name())
        link = self._links[conn] = _Link(owner, order.name, order.auth)
        link.seed = hashlib.blake2b(str(conn).encode(), key=self._seed[:64], digest_size=32).digest()
        place = _place(order.url)
        if place is None:
            link.transport = Transport.ABORT
            self._timers.set(("link", conn), now + 1)
            return conn
        host, port, tls, netloc, target = place
        self._places[conn] = (netloc, target, order.headers)
        self._timers.set(("link", conn), later(now, _CONNECT_S))
        self._out.append(Connect(conn, host, port, tls))
        return conn

    def say(self, now: int, conn: ConnId, data: str | bytes) -> None:
        """Send a message; on a link that is not open it is nothing. The hot path."""
        link = self._links.get(conn)
        if link is None or link.wire is None or not link.opened or link.wire.phase is not Phase.WEBSOCKET:
            return
        link.wire.send(data)
        self._flush(now, conn, link)

    def close(self, now: int, conn: ConnId, code: int) -> None:
        """Say goodbye. Nothing more is told of it."""
        link = self._links.get(conn)
        if link is None:
            return
        link.owner = None
        if self._timers.when(("link", conn)) is not None and link.transport is Transport.ABORT:
            return  # its URL was none: its timer, which is due at once, is all there is of it
        if link.wire is not None and link.wire.phase is Phase.WEBSOCKET:
            link.wire.close(now, code)
            self._flush(now, conn, link)
            self._wind(now, conn, link)
        else:
            self._abort(conn, link)

    def abandon(self) -> None:
        """Drop them all, now."""
        for conn, link in list(self._links.items()):
            link.owner = None
            self._abort(conn, link)

    # --- facts -------------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Fact) -> list[tuple[Any, CallFact]]:
        """Take in a fact about a connection of ours (see ``in``); what it means to whom."""
        conn = fact.conn  # type: ignore[union-attr]
        link = self._links[conn]
        told: list[tuple[Any, CallFact]] = []
        match fact:
            case Received(_, data):
                if link.wire is not None and link.transport in (Transport.OPEN, Transport.FINISH):
                    link.heard = now
                    link.pinged = False
                    self._events(now, conn, link, link.wire.receive(now, data), told)  # type: ignore[arg-type]
            case InputEnded():
                if link.wire is not None and link.transport is Transport.OPEN:
                    self._events(now, conn, link, link.wire.receive(now, b""), told)
            case Sent(_, total):
                link.acked = total
            case Connected():
                self._connected(now, conn, link, told)
            case ConnectFailed(_, fault):
                self._gone(conn)
                self._tell(link, LinkClosed(link.name, 1006, f"not reached: {fault.value}", 0, fault), told)
            case Closed():
                self._gone(conn)
                if link.wire is not None and link.wire.phase is Phase.WEBSOCKET:
                    self._events_only(link, link.wire.receive(now, b""), told)
                self._tell(link, LinkClosed(link.name, 1006, "", 0, Fault.RESET), told)
        return told

    def due(self, now: int, conn: ConnId) -> list[tuple[Any, CallFact]]:
        """The link's timer fired."""
        link = self._links.get(conn)
        told: list[tuple[Any, CallFact]] = []
        if link is None:
            return told
        if link.wire is None:
            known = conn in self._places
            detail = "not reached in time" if known else "not a ws:// or wss:// URL"
            self._tell(link, LinkClosed(link.name, 1006, detail, 0, Fault.TIMEOUT if known else Fault.OTHER), told)
            if known:
                self._abort(conn, link)
            else:
                self._gone(conn)
            return told
        wire = link.wire
        if wire.deadline is not None and wire.deadline <= now:
            self._events(now, conn, link, wire.tick(now), told)
        elif link.opened and wire.phase is Phase.WEBSOCKET and now >= later(link.heard, _PING_S):
            if link.pinged and now >= later(link.heard, 2 * _PING_S):
                self._tell(link, LinkClosed(link.name, 1006, "it does not answer pings", 0, Fault.TIMEOUT), told)
                self._abort(conn, link)
                return told
            if not link.pinged:
                link.pinged = True
                wire.ping()
                self._flush(now, conn, link)
        self._wind(now, conn, link)
        return told

    # --- inside ------------------------------------------------------------------------------------------------------

    def _connected(self, now: int, conn: ConnId, link: _Link, told: list[tuple[Any, CallFact]]) -> None:
        if link.transport is Transport.ABORT:
            return
        netloc, target, headers = self._places.pop(conn)
        link.heard = now
        try:
            link.wire = ClientConnection(now, netloc, target, headers, _LIMITS, seed=link.seed)
        except LocalProtocolError as exc:
            self._tell(link, LinkClosed(link.name, 1006, str(exc), 0, Fault.OTHER), told)
            self._abort(conn, link)
            return
        data = link.wire.data_to_send()
        link.queued += len(data)
        self._out.append(Send(conn, data, False, link.auth))
        self._wind(now, conn, link)

    def _events(
        self, now: int, conn: ConnId, link: _Link, events: list[WireEvent], told: list[tuple[Any, CallFact]]
    ) -> None:
        self._events_only(link, events, told)
        self._flush(now, conn, link)
        if events and conn in self._links and type(events[-1]) is not Text:
            self._wind(now, conn, link)

    def _events_only(self, link: _Link, events: list[WireEvent], told: list[tuple[Any, CallFact]]) -> None:
        for event in events:
            kind = type(event)
            if kind is Text:
                if link.owner is not None:
                    told.append((link.owner, LinkSaid(link.name, event.data)))  # type: ignore[union-attr, arg-type]
            elif kind is Opened:
                link.opened = True
                if link.owner is not None:
                    told.append((link.owner, LinkOpened(link.name)))
            elif kind is HttpResponse:
                link.refusal = event  # type: ignore[assignment]
            elif kind is Done:
                self._done(link, event, told)  # type: ignore[arg-type]
            elif kind is Pong:
                pass  # that it was heard is all there is to it

    def _done(self, link: _Link, event: Done, told: list[tuple[Any, CallFact]]) -> None:
        refusal = link.refusal
        if refusal is not None:
            body = refusal.body[: 4 * _REASON].decode("utf-8", "replace")[:_REASON]
            self._tell(link, LinkClosed(link.name, event.code, body, refusal.status), told)
        else:
            self._tell(link, LinkClosed(link.name, event.code, event.reason[:_REASON]), told)

    @staticmethod
    def _tell(link: _Link, fact: LinkClosed, told: list[tuple[Any, CallFact]]) -> None:
        """Last word about it."""
        if link.owner is not None:
            told.append((link.owner, fact))
            link.owner = None

    def _flush(self, now: int, conn: ConnId, link: _Link) -> None:
        wire = link.wire
        if wire is None or link.transport is Transport.ABORT:
            return
        data = wire.data_to_send()
        if data and link.transport is not Transport.CLOSE:
            link.queued += len(data)
            ack = link.queued - link.asked >= _ACK_EVERY
            if ack:
                link.asked = link.queued
            self._out.append(Send(conn, data, ack))
            if link.queued - link.acked >= _KILL_WATER:
                self._timers.set(("link", conn), now + 1)
                link.heard = now - int(3 * _PING_S * 1_000_000)  # found dead at its next look
                link.pinged = True
        transport = wire.transport
        if transport is not link.transport:
            link.transport = transport
            if transport is Transport.FINISH:
                self._out.append(Finish(conn))
            elif transport is Transport.CLOSE:
                self._out.append(Close(conn))
            else:
                self._out.append(Abort(conn))

    def _wind(self, now: int, conn: ConnId, link: _Link) -> None:
        """When to look at it next. Looking early is harmless, so it is only ever moved when it rang."""
        wire = link.wire
        if wire is None or link.transport is Transport.ABORT:
            return
        at = wire.deadline
        if at is None:
            at = later(link.heard, (2 if link.pinged else 1) * _PING_S)
        self._timers.set(("link", conn), max(at, now + 1))

    def _abort(self, conn: ConnId, link: _Link) -> None:
        self._timers.clear(("link", conn))
        self._places.pop(conn, None)
        if link.transport is not Transport.ABORT:
            link.transport = Transport.ABORT
            self._out.append(Abort(conn))

    def _gone(self, conn: ConnId) -> None:
        self._links.pop(conn, None)
        self._places.pop(conn, None)
        self._timers.clear(("link", conn))


def _place(url: str) -> tuple[str, int, bool, str, str] | None:
    """Host, port, TLS, Host header and target of a ws(s) URL; None when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    secure = parts.scheme == "wss"
    if parts.scheme not in ("ws", "wss") or not parts.hostname or "@" in parts.netloc:
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname, port or (443 if secure else 80), secure, parts.netloc, target
