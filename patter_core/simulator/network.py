"""Boards joined on virtual time: no socket, no thread, no sleep. A ten-minute call takes milliseconds.

The network is an adapter like any other, as pure as what it carries: it performs orders, keeps the contract's promises
(one terminal fact per opened thing, facts in order, silence after a cancel), and can be told to be slow, to cut what
it carries into pieces, to stall a connection or to drop one. With ``strict`` it also holds the boards to their side of
the contract (C4, C7).
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ..contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    Board,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Fault,
    Finish,
    InputEnded,
    Invoke,
    Notify,
    Order,
    Pause,
    Raised,
    Received,
    Refuse,
    Request,
    RequestFailed,
    ResponseStarted,
    Resume,
    Returned,
    Send,
    Sent,
    Spawn,
    StopListening,
    Ticked,
    Yielded,
)
from ..errors import LocalProtocolError
from ..wire.http_download import HttpDownload
from .places import read_place

__all__ = ["After", "ContractBroken", "Never", "Node", "VirtualNetwork"]


class ContractBroken(AssertionError):
    """A board did what the contract forbids."""


class After:
    """What a handler returns to take its time: the value comes ``us`` microseconds later."""

    def __init__(self, us: int, value: Any = None) -> None:
        self.us = us
        self.value = value


class Never:
    """What a handler returns to never finish."""


class _Place(msgspec.Struct, frozen=True):
    """Who answers at an address, whom they see coming, and what the way there is like."""

    node: Node
    peer: str
    tls: bool | None
    latency_us: int | None
    cut: int


class _Pipe:
    """One end of a virtual connection."""

    __slots__ = (
        "closed",
        "closing",
        "conn",
        "cut",
        "finished",
        "held",
        "latency_us",
        "latest",
        "node",
        "other",
        "paused",
        "request",
        "sent",
        "stalled",
        "unread",
        "waiting",
    )

    def __init__(self, node: Node | None, conn: ConnId) -> None:
        self.node = node
        self.conn = conn
        self.other: _Pipe | None = None
        self.closed = False  # its owner has been told, or never will be
        self.finished = False  # its owner sends no more
        self.closing = False  # ordered to close, but the peer does not take what is still to be sent
        self.paused = False
        self.stalled = False  # the peer does not read: what is sent neither arrives nor is acknowledged
        self.held: deque[Fact] = deque()
        self.latency_us: int | None = None  # one way; None: as everywhere
        self.latest = 0  # when the last of what is on its way to here arrives
        self.cut = 0  # what comes is cut into pieces of so many bytes; 0: as it was sent
        self.sent = 0
        self.unread: list[bytes | str] = []  # sent into a stall
        self.waiting: list[int] = []  # totals whose acknowledgement is due once the stall ends
        self.request: _Exchange | None = None


class _Exchange:
    """A request on its way: an HTTP client at the end of a pipe. ``told`` waits for its board."""

    def __init__(self, node: Node, order: Request) -> None:
        self.node = node
        self.order = order
        self.client: HttpDownload | None = None
        self.pipe = _Pipe(None, ConnId(0))
        self.pipe.request = self
        self.done = False
        self.paused = False
        self.told: deque[Fact] = deque()


class Node:
    """A board on the network, and what it has said.

    ``secrets`` are what ``auth`` and ``sign`` name, as (header, value); a signing key's header is ''. Without any, a
    name stands for itself: ``Authorization: <name>``, and the name is the key.
    """

    def __init__(
        self,
        network: VirtualNetwork,
        name: str,
        board: Board,
        handlers: Mapping[str, Callable[..., Any]],
        secrets: Mapping[str, tuple[str, str]] | None,
    ) -> None:
        self.network = network
        self.name = name
        self.board = board
        self.handlers = dict(handlers)
        self.secrets = secrets
        self.events: list[tuple[int, Any]] = []
        self.on_event: Callable[[int, Any], None] | None = None
        self.orders: list[tuple[int, Order]] | None = None  # set to [] to keep every order
        self.answers: dict[AskId, Order] = {}
        self.pipes: dict[ConnId, _Pipe] = {}
        self.exchanges: dict[int, _Exchange] = {}
        self.tasks: dict[int, Any] = {}
        self.shut: dict[int, Callable[[], None] | None] = {}  # paused generators, and how each goes on
        self.invoked: list[tuple[int, str, tuple[Any, ...]]] = []
        self.exit_code: int | None = None
        self.listening = True
        self._asks = 0

    def feed(self, fact: Fact, delay_us: int = 0) -> None:
        """Let the board know something."""
        self.network.schedule(self, fact, delay_us)

    def ask(self, verb: str, delay_us: int = 0, **args: Any) -> AskId:
        """Have the application ask; the answer will be in ``answers``."""
        self._asks += 1
        ask = AskId(-self._asks)
        self.feed(Asked(ask, verb, args), delay_us)
        return ask

    def told(self, kind: type) -> list[Any]:
        """The events of a kind, oldest first."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def secret(self, name: str) -> tuple[str, str] | None:
        """What a name stands for; None when it is nobody's."""
        if self.secrets is None:
            return ("Authorization", f"<{name}>")
        return self.secrets.get(name)


class VirtualNetwork:
    """Everything that happens, in order of virtual time. ``latency_us`` is one way."""

    def __init__(self, *, latency_us: int = 0, strict: bool = True) -> None:
        self.now = 0
        self.latency_us = latency_us
        self.strict = strict
        self.steps = 0
        self._queue: list[tuple[int, int, Node, Fact | Callable[[], None]]] = []
        self._sequence = 0
        self._nodes: list[Node] = []
        self._places: dict[tuple[str, int], _Place] = {}

    # --- building ----------------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        board: Board,
        handlers: Mapping[str, Callable[..., Any]] | None = None,
        secrets: Mapping[str, tuple[str, str]] | None = None,
    ) -> Node:
        """A board joins. ``secrets``: see ``Node``."""
        node = Node(self, name, board, handlers or {}, secrets)
        self._nodes.append(node)
        return node

    def place(
        self,
        host: str,
        port: int,
        node: Node,
        peer: str = "192.0.2.1",
        *,
        tls: bool | None = None,
        latency_us: int | None = None,
        cut: int = 0,
    ) -> None:
        """``node`` is what answers at this address; it sees connections as coming from ``peer``.

        ``tls``: it wants to be spoken to with (or without) TLS; None: it does not care, and nothing is encrypted in
        either case. ``latency_us`` is one way, for connections made from now on. ``cut``: what is sent on them, either
        way, arrives in pieces of so many bytes.
        """
        self._places[host, port] = _Place(node, peer, tls, latency_us, cut)

    def schedule(self, node: Node, what: Fact | Callable[[], None], delay_us: int = 0) -> None:
        """A fact for a node (or something to do) after a delay."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_us, self._sequence, node, what))

    # --- running -----------------------------------------------------------------------------------------------------

    def run(
        self, until_us: int | None = None, while_: Callable[[], bool] | None = None, most: int = 50_000_000
    ) -> None:
        """Let time pass until nothing is left to happen, ``until_us``, or ``while_()`` is false."""
        for _ in range(most):
            if while_ is not None and not while_():
                return
            at = self._queue[0][0] if self._queue else None
            sleeper: Node | None = None
            for node in self._nodes:
                deadline = None if node.exit_code is not None else node.board.deadline
                if deadline is not None and (at is None or deadline < at):
                    at, sleeper = deadline, node
            if at is None or (until_us is not None and at > until_us):
                if until_us is not None:
                    self.now = max(self.now, until_us)
                return
            self.now = max(self.now, at)
            if sleeper is not None:
                self._step(sleeper, Ticked())
                continue
            _, _, node, what = heapq.heappop(self._queue)
            if callable(what):
                what()
            else:
                self._deliver(node, what)
        raise RuntimeError(f"the network did not come to rest within {most} steps")

    def _deliver(self, node: Node, fact: Fact) -> None:
        conn = getattr(fact, "conn", None)
        if conn is not None:
            pipe = node.pipes.get(conn)
            if pipe is None:
                return
            if (pipe.paused or pipe.held) and isinstance(fact, Received | InputEnded):
                pipe.held.append(fact)
                if not pipe.paused:
                    self.schedule(node, lambda: self._release(pipe))
                return
            if isinstance(fact, Closed | ConnectFailed):
                del node.pipes[conn]
                pipe.closed = True
        self._step(node, fact)

    def perform(self, node: Node, order: Order) -> None:
        """Carry out an order that no step gave: what ``Puppet`` does for whoever pulls its strings."""
        self._perform(node, order)

    def _step(self, node: Node, fact: Fact) -> None:
        if node.exit_code is not None:
            return
        self.steps += 1
        orders = node.board.handle(self.now, fact)
        if self.strict:
            deadline = node.board.deadline
            if deadline is not None and deadline <= self.now:
                raise ContractBroken(f"C4: {node.name} at {self.now} wants to be woken at {deadline}")
        for order in orders:
            if node.orders is not None:
                node.orders.append((self.now, order))
            self._perform(node, order)

    # --- orders ------------------------------------------------------------------------------------------------------

    def _perform(self, node: Node, order: Order) -> None:
        if node.exit_code is not None and self.strict:
            raise ContractBroken(f"C7: {node.name} ordered {order!r} after Exit")
        match order:
            case Send():
                self._send(node, order)
            case Notify(event):
                node.events.append((self.now, event))
                if node.on_event is not None:
                    node.on_event(self.now, event)
            case Connect():
                self._connect(node, order)
            case Close(conn):
                self._close(node, conn, "Close")
            case Abort(conn):
                self._abort(node, conn)
            case Finish(conn):
                self._finish(node, conn)
            case Pause(source):
                self._pause(node, source)
            case Resume(source):
                self._resume(node, source)
            case Request():
                self._request(node, order)
            case CancelRequest(request):
                exchange = node.exchanges.pop(request, None)
                if exchange is not None:
                    self._drop_exchange(exchange)
            case Invoke():
                self._invoke(node, order)
            case Cancel(task):
                node.tasks.pop(task, None)
                node.shut.pop(task, None)
            case Answer(ask) | Refuse(ask):
                if self.strict and ask in node.answers:
                    raise ContractBroken(f"C5: {node.name} answered {ask} twice")
                node.answers[ask] = order
            case StopListening():
                node.listening = False
            case Exit(code):
                node.exit_code = code
                for pipe in list(node.pipes.values()):
                    self._cut(pipe)
                node.pipes.clear()
                for exchange in list(node.exchanges.values()):
                    self._drop_exchange(exchange)
                node.exchanges.clear()
            case Spawn(conn):
                node.pipes[conn] = _Pipe(node, conn)
                self.schedule(node, ConnectFailed(conn, Fault.REFUSED))

    def _pipe(self, node: Node, conn: ConnId, verb: str) -> _Pipe | None:
        pipe = node.pipes.get(conn)
        if pipe is not None and pipe.finished and self.strict:
            raise ContractBroken(f"C7: {node.name} ordered {verb} on {conn} after closing it")
        return pipe

    def _send(self, node: Node, order: Send) -> None:
        conn, data = order.conn, order.data
        pipe = self._pipe(node, conn, "Send")
        if pipe is None:
            return
        pipe.sent += len(data)
        if order.auth:
            secret = node.secret(order.auth)
            if secret is None or not isinstance(data, bytes):
                self.drop(node, conn)  # as the edges do: nothing is sent that should have had a key
                return
            first, _, rest = data.partition(b"\r\n")
            data = b"%b\r\n%b: %b\r\n%b" % (first, secret[0].encode("latin-1"), secret[1].encode("latin-1"), rest)
        if pipe.stalled:
            pipe.unread.append(data)
            if order.ack:
                pipe.waiting.append(pipe.sent)
            return
        if pipe.other is not None:
            self._arrive(pipe.other, Received(pipe.other.conn, data))
        if order.ack:
            self.schedule(node, Sent(conn, pipe.sent))

    def _arrive(self, pipe: _Pipe, fact: Fact) -> None:
        """Something reaches this end."""
        if pipe.cut and isinstance(fact, Received) and len(fact.data) > pipe.cut:
            for at in range(0, len(fact.data), pipe.cut):
                self._arrive(pipe, Received(fact.conn, fact.data[at : at + pipe.cut]))
            return
        latency = self.latency_us if pipe.latency_us is None else pipe.latency_us
        pipe.latest = max(pipe.latest, self.now + latency)  # nothing overtakes what went before it
        if pipe.node is not None:
            self.schedule(pipe.node, fact, pipe.latest - self.now)
        elif pipe.request is not None:
            exchange = pipe.request
            self.schedule(exchange.node, lambda: self._reply(exchange, fact), pipe.latest - self.now)

    def _find(self, host: str, port: int, tls: bool) -> _Place | Fault:
        """Who answers there, or why nobody does."""
        place = self._places.get((host, port))
        if place is None or not place.node.listening or place.node.exit_code is not None:
            return Fault.REFUSED
        return place if place.tls in (None, tls) else Fault.TLS

    def _connect(self, node: Node, order: Connect) -> None:
        pipe = node.pipes[order.conn] = _Pipe(node, order.conn)
        place = self._find(order.host, order.port, order.tls)
        if isinstance(place, Fault):
            self.schedule(node, ConnectFailed(order.conn, place), self.latency_us)
            return
        self._join(pipe, place)
        latency = self.latency_us if place.latency_us is None else place.latency_us
        pipe.latest = self.now + 2 * latency
        self.schedule(node, Connected(order.conn), 2 * latency)

    def _join(self, pipe: _Pipe, place: _Place) -> None:
        server = place.node
        conn = server.board.reserve()
        other = server.pipes[conn] = _Pipe(server, conn)
        pipe.other, other.other = other, pipe
        pipe.latency_us = other.latency_us = place.latency_us
        pipe.cut = other.cut = place.cut
        self._arrive(other, Accepted(conn, place.peer))

    def _close(self, node: Node, conn: ConnId, verb: str) -> None:
        pipe = self._pipe(node, conn, verb)
        if pipe is None:
            return
        if pipe.stalled:
            pipe.finished = pipe.closing = True
            return
        self._half_close(pipe)
        self.schedule(node, Closed(conn))

    def _half_close(self, pipe: _Pipe) -> None:
        pipe.finished = True
        if pipe.other is not None:
            self._arrive(pipe.other, InputEnded(pipe.other.conn))

    def _finish(self, node: Node, conn: ConnId) -> None:
        pipe = self._pipe(node, conn, "Finish")
        if pipe is not None and pipe.other is not None:
            self._arrive(pipe.other, InputEnded(pipe.other.conn))

    def _abort(self, node: Node, conn: ConnId) -> None:
        pipe = node.pipes.get(conn)
        if pipe is None:
            return
        pipe.finished = True
        pipe.closing = False
        self._cut(pipe)
        self.schedule(node, Closed(conn))

    def _cut(self, pipe: _Pipe) -> None:
        """The other end learns that this one is gone for good."""
        other = pipe.other
        if other is not None and not other.closed:
            other.other = None
            self._arrive(other, Closed(other.conn))
        pipe.other = None

    def _pause(self, node: Node, source: int) -> None:
        if (pipe := node.pipes.get(ConnId(source))) is not None:
            pipe.paused = True
        elif (exchange := node.exchanges.get(source)) is not None:
            exchange.paused = True
        elif source in node.tasks:
            node.shut.setdefault(source, None)

    def _resume(self, node: Node, source: int) -> None:
        if (pipe := node.pipes.get(ConnId(source))) is not None:
            pipe.paused = False
            for _ in pipe.held:
                self.schedule(node, lambda: self._release(pipe))
        elif (exchange := node.exchanges.get(source)) is not None:
            exchange.paused = False
            for _ in exchange.told:
                self.schedule(node, lambda: self._pass_on(exchange))
        elif (go_on := node.shut.pop(source, None)) is not None:
            self.schedule(node, go_on)

    def _release(self, pipe: _Pipe) -> None:
        """Deliver the next of what a pause held back."""
        node = pipe.node
        if node is not None and pipe.held and not pipe.paused and not pipe.closed:
            self._step(node, pipe.held.popleft())

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(self, node: Node, order: Request) -> None:
        exchange = node.exchanges[order.request] = _Exchange(node, order)
        fault = self._ask(exchange)
        if fault is not None:
            exchange.done = True
            self._tell(exchange, RequestFailed(order.request, fault), self.latency_us)

    def _ask(self, exchange: _Exchange) -> Fault | None:
        """Send a request on its way, or say why it cannot be."""
        node, order = exchange.node, exchange.order
        url = read_place(order.url, ("http", "https"))
        sealed = self._sealed(node, order)
        if url is None or sealed is None:
            return Fault.OTHER
        place = self._find(url.host, url.port, url.secure)
        if isinstance(place, Fault):
            return place
        target = url.path + (f"?{url.query}" if url.query else "")
        headers = [("Host", url.netloc), *sealed]
        try:
            client = HttpDownload(order.method, target, headers, order.body, max_body=order.max_body)
        except LocalProtocolError:
            return Fault.OTHER
        exchange.client = client
        pipe = exchange.pipe
        self._join(pipe, place)
        if pipe.other is not None:
            self._arrive(pipe.other, Received(pipe.other.conn, client.data))
        return None

    @staticmethod
    def _sealed(node: Node, order: Request) -> list[tuple[str, str]] | None:
        """The headers with the secret one and the signature; None when a name is nobody's."""
        headers = list(order.headers)
        if order.auth:
            if (secret := node.secret(order.auth)) is None:
                return None
            headers.append(secret)
        if order.sign:
            if (secret := node.secret(order.sign)) is None:
                return None
            key = order.sign if node.secrets is None else secret[1]
            headers.append(("X-Patter-Signature", hmac.new(key.encode(), order.body, hashlib.sha256).hexdigest()))
        return headers

    def _reply(self, exchange: _Exchange, fact: Fact) -> None:
        """What came back on a request's connection."""
        client, request = exchange.client, exchange.order.request
        if exchange.done or client is None:
            return
        started = client.status
        if isinstance(fact, Received | InputEnded):
            data = fact.data if isinstance(fact, Received) else b""
            assert isinstance(data, bytes)
            piece = client.receive(data)
            if client.status and not started:
                self._tell(exchange, ResponseStarted(request, client.status, client.headers))
            if piece:
                self._tell(exchange, BodyReceived(request, piece))
            if not (client.ended or client.failed):
                return
            self._drop_exchange(exchange)
            fault = Fault.TOO_LARGE if client.too_large else Fault.BAD_REPLY
            self._tell(exchange, BodyEnded(request) if client.ended else RequestFailed(request, fault))
        else:
            exchange.done = True
            self._tell(exchange, RequestFailed(request, Fault.RESET))

    def _tell(self, exchange: _Exchange, fact: Fact, delay_us: int = 0) -> None:
        exchange.told.append(fact)
        self.schedule(exchange.node, lambda: self._pass_on(exchange), delay_us)

    def _pass_on(self, exchange: _Exchange) -> None:
        """Tell the board the next thing about its request, unless it gave it up or wants none now."""
        node, request = exchange.node, exchange.order.request
        if exchange.paused or not exchange.told or node.exchanges.get(request) is not exchange:
            return
        fact = exchange.told.popleft()
        if isinstance(fact, BodyEnded | RequestFailed):
            del node.exchanges[request]
        self._step(node, fact)

    def _drop_exchange(self, exchange: _Exchange) -> None:
        if not exchange.done:
            exchange.done = True
            self._half_close(exchange.pipe)

    # --- handlers ----------------------------------------------------------------------------------------------------

    def _invoke(self, node: Node, order: Invoke) -> None:
        task = order.task
        node.invoked.append((self.now, order.handler, order.args))
        handler = node.handlers.get(order.handler)
        if handler is None:
            self.schedule(node, Raised(task, Fault.UNKNOWN_HANDLER, f"no handler {order.handler!r}"))
            return
        node.tasks[task] = order
        try:
            result = handler(*order.args)
            if inspect.iscoroutine(result):
                result = _run_coroutine(result)
        except Exception as exc:
            self._settle(node, task, Raised(task, Fault.USER, f"{type(exc).__name__}: {exc}"))
            return
        if inspect.isgenerator(result):
            self._generate(node, task, result)
        elif inspect.isasyncgen(result):
            self._generate(node, task, _run_async_generator(result))
        elif isinstance(result, After):
            self._settle(node, task, Returned(task, result.value), result.us)
        elif not (isinstance(result, Never) or result is Never):
            self._settle(node, task, Returned(task, result))

    def _settle(self, node: Node, task: int, fact: Fact, delay_us: int = 0) -> None:
        def deliver() -> None:
            if node.tasks.pop(task, None) is not None:
                node.shut.pop(task, None)
                self._step(node, fact)

        self.schedule(node, deliver, delay_us)

    def _generate(self, node: Node, task: Any, items: Iterator[Any], delay_us: int = 0) -> None:
        def step() -> None:
            if task not in node.tasks:
                return
            if task in node.shut:
                node.shut[task] = step
                return
            try:
                item = next(items)
            except StopIteration:
                self._settle(node, task, Returned(task, None))
                return
            except Exception as exc:
                self._settle(node, task, Raised(task, Fault.USER, f"{type(exc).__name__}: {exc}"))
                return
            wait = item.us if isinstance(item, After) else 0
            value = item.value if isinstance(item, After) else item

            def give() -> None:
                if task in node.tasks:
                    if value is not None:
                        self._step(node, Yielded(task, value))
                    step()

            if isinstance(item, Never) or item is Never:
                return
            self.schedule(node, give, wait)

        self.schedule(node, step, delay_us)

    # --- trouble -----------------------------------------------------------------------------------------------------

    def stall(self, node: Node, conn: ConnId) -> None:
        """The peer of this connection stops reading: what is sent is neither delivered nor acknowledged, and a
        ``Close`` does not finish."""
        node.pipes[conn].stalled = True

    def unstall(self, node: Node, conn: ConnId) -> None:
        """It reads again: all that was sent meanwhile arrives at once."""
        pipe = node.pipes[conn]
        pipe.stalled = False
        if pipe.other is not None:
            for data in pipe.unread:
                self._arrive(pipe.other, Received(pipe.other.conn, data))
        pipe.unread.clear()
        for total in pipe.waiting:
            self.schedule(node, Sent(conn, total))
        pipe.waiting.clear()
        if pipe.closing:
            pipe.closing = False
            self._half_close(pipe)
            self.schedule(node, Closed(conn))

    def drop(self, node: Node, conn: ConnId) -> None:
        """The connection breaks: both ends learn of it."""
        pipe = node.pipes.get(conn)
        if pipe is not None:
            self._cut(pipe)
            self.schedule(node, Closed(conn))


def _run_coroutine(coroutine: Any) -> Any:
    """Run a coroutine that never really waits. One that does needs an event loop, and virtual time has none."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("a handler awaited something: on virtual time return After(us, value) instead")


def _run_async_generator(generator: Any) -> Iterator[Any]:
    while True:
        try:
            yield _run_coroutine(generator.__anext__())
        except StopAsyncIteration:
            return
