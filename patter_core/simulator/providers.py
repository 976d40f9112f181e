"""Providers that are not there: one server that plays them all, each on its own paths.

The other role of what a server under test dials: WebSockets and HTTP answers, streamed or whole, with the goodbyes, the
refusals and the vanishings of the real ones. What is said is decided by peers (``provider_peer.py``); this board holds
their connections and their time. Either adapter carries it, and the virtual network does without sockets.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..contract import (
    Abort,
    Accepted,
    Close,
    Closed,
    ConnId,
    Exit,
    Fact,
    Finish,
    InputEnded,
    Notify,
    Order,
    Pause,
    Received,
    Resume,
    Send,
    Sent,
    StopListening,
    StopRequested,
)
from ..timers import Timers
from ..wire.endpoint import Phase, Transport
from ..wire.events import Binary, Done, HttpRequest, Text, UpgradeRequest, WireEvent
from ..wire.limits import Limits
from ..wire.server import ServerConnection
from .provider_events import ProviderAsked, ProviderEvent, ProviderOdd, ProviderOver
from .provider_peer import (
    FetchPeer,
    LinkPeer,
    PeerAnswer,
    PeerBody,
    PeerClose,
    PeerDone,
    PeerDrop,
    PeerOrder,
    PeerRefuse,
    PeerSay,
)

__all__ = ["FetchMaker", "LinkMaker", "Routes", "SimulatedProviders"]

LinkMaker = Callable[[int], LinkPeer]
FetchMaker = Callable[[int], FetchPeer]
"""Who is at the other end: made anew for each exchange, given how many the route had before. What makers share between
exchanges (how far a script has got) belongs to one board: another board needs makers of its own."""

_CONNECTIONS = 8192  # more than any load test's calls have links
_REMEMBERED = 256  # peers per route, for whoever wants to see what they heard
_UNSENT = 32 << 20  # of a connection whose other side does not read: no answer of ours is as long
_ACK_ABOVE = 64 << 10  # unsent bytes from which on we ask what has left
#: A recording to transcribe may be 25 MiB (OpenAI's limit for an upload); a message may hold minutes of audio.
_LIMITS = Limits(body_bytes=26 << 20, message_bytes=16 << 20)
_NEVER_SENT = (1004, 1005, 1006, 1015)  # RFC 6455 7.4.1: close codes that are not for the wire
_BODILESS = (204, 304)
_PARTING: dict[Transport, Callable[[ConnId], Finish | Close | Abort]] = {
    Transport.FINISH: Finish,
    Transport.CLOSE: Close,
    Transport.ABORT: Abort,
}


class Routes(msgspec.Struct, frozen=True):
    """Which peer answers where. A key is the beginning of a path (``/v1/listen``), or of a path at one host only
    (``backup.example/v1/chat``); the longest that fits wins, and one with a host before one without."""

    links: Mapping[str, LinkMaker] = {}
    fetches: Mapping[str, FetchMaker] = {}

    def joined(self, other: Routes) -> Routes:
        """Both; where both have a key, the other's."""
        return Routes({**self.links, **other.links}, {**self.fetches, **other.fetches})


class _Seat:
    """One connection, and who answers on it now."""

    __slots__ = ("bodiless", "fetch", "goodbye", "link", "number", "paused", "route", "status", "transport", "wire")

    def __init__(self, wire: ServerConnection) -> None:
        self.wire = wire
        self.transport = Transport.OPEN
        self.paused = False
        self.link: LinkPeer | None = None
        self.fetch: FetchPeer | None = None
        self.route = ""
        self.number = 0
        self.status = 0  # of the HTTP answer, once it was begun
        self.bodiless = False
        self.goodbye = False  # our close frame is out

    @property
    def peer(self) -> LinkPeer | FetchPeer | None:
        return self.link or self.fetch


class SimulatedProviders:
    """The board. It serves until it is asked to stop, and then leaves at once."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._out: list[Order] = []
        self._timers: Timers[tuple[str, int]] = Timers()
        self._seats: dict[ConnId, _Seat] = {}
        self._names = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._links: dict[str, deque[LinkPeer]] = {}
        self._fetches: dict[str, deque[FetchPeer]] = {}
        self._now = 0
        self._exited = False

    # --- for whoever watches -----------------------------------------------------------------------------------------

    def links(self, route: str) -> list[LinkPeer]:
        """The peers of a route's WebSockets, oldest first: those that are over, too."""
        return list(self._links.get(route, ()))

    def fetches(self, route: str) -> list[FetchPeer]:
        """The peers of a route's requests, oldest first."""
        return list(self._fetches.get(route, ()))

    @property
    def open(self) -> int:
        """Exchanges under way."""
        return sum(seat.peer is not None for seat in self._seats.values())

    # --- the board ---------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        return None if self._exited else self._timers.deadline

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        if self._exited:
            return []
        now = self._now = max(now, self._now)
        while (key := self._timers.due(now)) is not None:
            self._due(now, *key)
        match fact:
            case Received(conn, data) if isinstance(data, bytes):
                self._bytes(now, conn, data)
            case Accepted(conn):
                self._accepted(now, conn)
            case InputEnded(conn):
                self._bytes(now, conn, b"")
            case Sent(conn, total):
                if (seat := self._seats.get(conn)) is not None:
                    seat.wire.sent(total)
            case Closed(conn):
                self._closed(now, conn)
            case StopRequested():
                self._leave(now)
        out = self._out[:]
        self._out.clear()
        return out

    def _due(self, now: int, kind: str, number: int) -> None:
        conn = ConnId(number)
        seat = self._seats.get(conn)
        if seat is None:
            return
        if kind == "wire":
            self._serve(now, conn, seat, seat.wire.tick(now))
        elif seat.link is not None:
            self._serve(now, conn, seat, self._on_link(now, conn, seat, seat.link.tick(now)))
        elif seat.fetch is not None:
            self._serve(now, conn, seat, self._on_fetch(now, conn, seat, seat.fetch.tick(now)))

    def _leave(self, now: int) -> None:
        self._exited = True
        for seat in self._seats.values():
            self._over(now, seat, "stopped", left=True)
        self._out.append(StopListening())
        self._out.extend(Abort(conn) for conn in self._seats)
        self._out.append(Exit(0))
        self._seats.clear()

    def _notify(self, event: ProviderEvent) -> None:
        self._out.append(Notify(event))

    # --- connections -------------------------------------------------------------------------------------------------

    def _accepted(self, now: int, conn: ConnId) -> None:
        if len(self._seats) >= _CONNECTIONS:
            self._notify(ProviderOdd(f"no room: {_CONNECTIONS} connections are open"))
            self._out.append(Abort(conn))
            return
        seat = self._seats[conn] = _Seat(ServerConnection(now, _LIMITS, server_name="simulated"))
        self._flush(now, conn, seat)

    def _bytes(self, now: int, conn: ConnId, data: bytes) -> None:
        seat = self._seats.get(conn)
        if seat is None:
            return
        self._serve(now, conn, seat, seat.wire.receive(now, data))
        if not data and seat.fetch is not None and conn in self._seats:
            # Whoever asks and closes their sending half is leaving: HTTP clients do so to give a request up.
            self._drop(now, conn, seat, "left")

    def _closed(self, now: int, conn: ConnId) -> None:
        seat = self._seats.get(conn)
        if seat is not None:
            self._over(now, seat, "left", left=True)
            self._forget(conn)

    def _drop(self, now: int, conn: ConnId, seat: _Seat, how: str) -> None:
        """Break the connection."""
        self._over(now, seat, how, left=True)
        self._out.append(Abort(conn))
        self._forget(conn)

    def _forget(self, conn: ConnId) -> None:
        del self._seats[conn]
        self._timers.clear(("wire", conn))
        self._timers.clear(("peer", conn))

    def _over(self, now: int, seat: _Seat, how: str, code: int = 0, *, left: bool = False) -> None:
        """The exchange on this connection is over. ``left``: the peer does not know yet."""
        peer = seat.peer
        if peer is None:
            return
        seat.link = seat.fetch = None
        if left:
            peer.closed(now)
        self._notify(ProviderOver(seat.route, seat.number, how, code))

    def _serve(self, now: int, conn: ConnId, seat: _Seat, events: Sequence[WireEvent]) -> None:
        """What a connection's bytes, or its peer's orders, led to."""
        queue = deque(events)
        while queue and conn in self._seats:
            event = queue.popleft()
            match event:
                case Text(data) | Binary(data):
                    if seat.link is not None:
                        queue.extend(self._on_link(now, conn, seat, seat.link.said(now, data)))
                case HttpRequest():
                    queue.extend(self._request(now, conn, seat, event))
                case UpgradeRequest():
                    queue.extend(self._upgrade(now, conn, seat, event))
                case Done(code):
                    self._over(now, seat, "left" if code == 1006 else "closed", code, left=True)
        if conn in self._seats:
            self._flush(now, conn, seat)

    def _flush(self, now: int, conn: ConnId, seat: _Seat) -> None:
        """Order what the connection wants done, and see to its clocks."""
        wire = seat.wire
        data = wire.data_to_send()
        if seat.transport in (Transport.CLOSE, Transport.ABORT):
            return
        if wire.unsent > _UNSENT:
            self._notify(ProviderOdd(f"{seat.route}: the other side left {wire.unsent} bytes unread"))
            self._drop(now, conn, seat, "dropped")
            return
        if data:
            self._out.append(Send(conn, data, ack=wire.unsent > _ACK_ABOVE))
        if wire.transport is not seat.transport:
            seat.transport = wire.transport
            self._out.append(_PARTING[wire.transport](conn))
            if wire.transport is Transport.ABORT:
                self._over(now, seat, "dropped", left=True)
                self._forget(conn)
                return
        elif wire.wants_input is seat.paused:
            seat.paused = not seat.paused
            self._out.append(Pause(conn) if seat.paused else Resume(conn))
        self._wind(now, ("wire", conn), wire.deadline)
        self._wind(now, ("peer", conn), None if seat.peer is None else seat.peer.deadline)

    def _wind(self, now: int, key: tuple[str, int], deadline: int | None) -> None:
        if deadline is None:
            self._timers.clear(key)
        else:
            self._timers.set(key, max(deadline, now + 1))

    # --- exchanges ---------------------------------------------------------------------------------------------------

    def _route(self, table: Mapping[str, object], event: HttpRequest | UpgradeRequest) -> str:
        """The key of the table that fits best; '' for none."""
        host = (event.header("host") or "").partition(":")[0].lower()
        for where in (host + event.path, event.path):
            fitting = [key for key in table if where == key or where.startswith(key if key[-1:] == "/" else key + "/")]
            if fitting:
                return max(fitting, key=len)
        self._notify(ProviderOdd(f"nobody is simulated at {host}{event.path[:200]}"))
        return ""

    def _begin(self, seat: _Seat, route: str, method: str, target: str) -> int:
        kind = ("link" if method == "WEBSOCKET" else "fetch", route)
        seat.route, seat.number = route, self._counts[kind]
        self._counts[kind] += 1
        self._notify(ProviderAsked(route, seat.number, method, target[:1000]))
        return seat.number

    def _upgrade(self, now: int, conn: ConnId, seat: _Seat, event: UpgradeRequest) -> list[WireEvent]:
        route = self._route(self._routes.links, event)
        if not route:
            return seat.wire.reject(now, 404, (), _nobody(self._routes.links))
        peer = self._routes.links[route](self._begin(seat, route, "WEBSOCKET", event.target))
        self._links.setdefault(route, deque(maxlen=_REMEMBERED)).append(peer)
        orders = peer.opened(now, event.target, _headers(event))
        seat.link, seat.goodbye = peer, False
        for order in orders:
            if isinstance(order, PeerRefuse):
                self._over(now, seat, "refused", order.status)
                return seat.wire.reject(now, order.status, [("Content-Type", "application/json")], order.body)
        if orders and isinstance(orders[0], PeerDrop):
            self._drop(now, conn, seat, "dropped")
            return []
        accepted = seat.wire.accept(now)
        return [*self._on_link(now, conn, seat, orders), *accepted]

    def _request(self, now: int, conn: ConnId, seat: _Seat, event: HttpRequest) -> list[WireEvent]:
        route = self._route(self._routes.fetches, event)
        if not route:
            headers = [("Content-Type", "application/json")]
            return seat.wire.respond(now, 404, headers, _nobody(self._routes.fetches))
        peer = self._routes.fetches[route](self._begin(seat, route, event.method, event.target))
        self._fetches.setdefault(route, deque(maxlen=_REMEMBERED)).append(peer)
        seat.fetch, seat.status, seat.bodiless = peer, 0, False
        orders = peer.asked(now, event.method, event.target, _headers(event), event.body)
        return self._on_fetch(now, conn, seat, orders)

    # --- what peers order --------------------------------------------------------------------------------------------

    def _on_link(self, now: int, conn: ConnId, seat: _Seat, orders: Sequence[PeerOrder]) -> list[WireEvent]:
        for order in orders:
            match order:
                case PeerSay(text):
                    if not seat.goodbye:
                        seat.wire.send(text)
                case PeerClose(code, reason) if code not in _NEVER_SENT:
                    seat.goodbye = True
                    seat.wire.close(now, code, reason)
                case PeerClose() | PeerDrop():
                    self._send_first(conn, seat)
                    self._drop(now, conn, seat, "dropped")
                    return []
                case _:
                    self._odd(seat, order)
        return []

    def _on_fetch(self, now: int, conn: ConnId, seat: _Seat, orders: Sequence[PeerOrder]) -> list[WireEvent]:
        wire = seat.wire
        for index, order in enumerate(orders):
            match order:
                case PeerAnswer(status, headers) if not seat.status:
                    seat.status, seat.bodiless = status, status in _BODILESS
                    whole = _whole(orders[index + 1 :])
                    if whole is not None:
                        self._over(now, seat, "answered", status)
                        return wire.respond(now, status, headers, b"" if seat.bodiless else whole)
                    wire.start_stream(now, status, headers)
                case PeerBody(data) if seat.status:
                    if not seat.bodiless:
                        wire.push(now, data)
                case PeerDone() if seat.status:
                    self._over(now, seat, "answered", seat.status)
                    return wire.end_stream(now)
                case PeerDrop():
                    self._send_first(conn, seat)
                    self._drop(now, conn, seat, "dropped")
                    return []
                case _:
                    self._odd(seat, order)
        return []

    def _send_first(self, conn: ConnId, seat: _Seat) -> None:
        """What was said before the end goes out; whether it arrives is another matter."""
        data = seat.wire.data_to_send()
        if data and seat.wire.phase in (Phase.WEBSOCKET, Phase.STREAMING):
            self._out.append(Send(conn, data))

    def _odd(self, seat: _Seat, order: PeerOrder) -> None:
        self._notify(ProviderOdd(f"{seat.route}: {type(order).__name__} is out of place"))


def _headers(event: HttpRequest | UpgradeRequest) -> dict[str, str]:
    return {name: event.header(name) or "" for name, _ in event.headers}


def _whole(orders: Sequence[PeerOrder]) -> bytes | None:
    """The body, when all of it is here and then the end: such an answer has a length and is no stream."""
    body = b""
    for order in orders:
        if isinstance(order, PeerDone):
            return body
        if not isinstance(order, PeerBody):
            return None
        body += order.data
    return None


def _nobody(table: Mapping[str, object]) -> bytes:
    there = ", ".join(sorted(table)) or "none"
    return msgspec.json.encode({"error": {"message": f"No provider is simulated here. There is: {there}."}})
