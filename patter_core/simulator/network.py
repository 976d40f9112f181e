"""Boards joined on virtual time: no socket, no thread, no sleep. A ten-minute call takes milliseconds.

The network is an adapter like any other, as pure as what it carries: it performs orders, keeps the contract's promises
(one terminal fact per opened thing, facts in order, silence after a cancel), and can be told to be slow, to stall a
connection or to drop one. With ``strict`` it also holds the boards to their side of the contract (C4, C7).
"""

from __future__ import annotations

import heapq
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

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
from ..wire.events import HttpResponse
from ..wire.http_client import HttpClient

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


class _Pipe:
    """One end of a virtual connection."""

    __slots__ = (
        "closed",
        "closing",
        "conn",
        "finished",
        "held",
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
        self.sent = 0
        self.unread: list[bytes | str] = []  # sent into a stall
        self.waiting: list[int] = []  # totals whose acknowledgement is due once the stall ends
        self.request: _Exchange | None = None


class _Exchange:
    """A request on its way: an HTTP client at the end of a pipe."""

    def __init__(self, node: Node, order: Request, client: HttpClient, pipe: _Pipe) -> None:
        self.node = node
        self.order = order
        self.client = client
        self.pipe = pipe
        self.done = False


class Node:
    """A board on the network, and what it has said."""

    def __init__(
        self, network: VirtualNetwork, name: str, board: Board, handlers: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.network = network
        self.name = name
        self.board = board
        self.handlers = dict(handlers)
        self.events: list[tuple[int, Any]] = []
        self.on_event: Callable[[int, Any], None] | None = None
        self.orders: list[tuple[int, Order]] | None = None  # set to [] to keep every order
        self.answers: dict[AskId, Order] = {}
        self.pipes: dict[ConnId, _Pipe] = {}
        self.exchanges: dict[int, _Exchange] = {}
        self.tasks: dict[int, Any] = {}
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
        self._places: dict[tuple[str, int], tuple[Node, str]] = {}

    # --- building ----------------------------------------------------------------------------------------------------

    def add(self, name: str, board: Board, handlers: Mapping[str, Callable[..., Any]] | None = None) -> Node:
        """A board joins."""
        node = Node(self, name, board, handlers or {})
        self._nodes.append(node)
        return node

    def place(self, host: str, port: int, node: Node, peer: str = "192.0.2.1") -> None:
        """``node`` is what answers at this address; it sees connections as coming from ``peer``."""
        self._places[host, port] = (node, peer)

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
            if pipe.paused and isinstance(fact, Received | InputEnded):
                pipe.held.append(fact)
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
            case Send(conn, data, ack):
                self._send(node, conn, data, ack)
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
                if (pipe := node.pipes.get(ConnId(source))) is not None:
                    pipe.paused = True
            case Resume(source):
                self._resume(node, ConnId(source))
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
            case Spawn(conn):
                node.pipes[conn] = _Pipe(node, conn)
                self.schedule(node, ConnectFailed(conn, Fault.REFUSED))

    def _pipe(self, node: Node, conn: ConnId, verb: str) -> _Pipe | None:
        pipe = node.pipes.get(conn)
        if pipe is not None and pipe.finished and self.strict:
            raise ContractBroken(f"C7: {node.name} ordered {verb} on {conn} after closing it")
        return pipe

    def _send(self, node: Node, conn: ConnId, data: bytes | str, ack: bool) -> None:
        pipe = self._pipe(node, conn, "Send")
        if pipe is None:
            return
        pipe.sent += len(data)
        if pipe.stalled:
            pipe.unread.append(data)
            if ack:
                pipe.waiting.append(pipe.sent)
            return
        if pipe.other is not None:
            self._arrive(pipe.other, Received(pipe.other.conn, data))
        if ack:
            self.schedule(node, Sent(conn, pipe.sent))

    def _arrive(self, pipe: _Pipe, fact: Fact) -> None:
        """Something reaches this end."""
        if pipe.node is not None:
            self.schedule(pipe.node, fact, self.latency_us)
        elif pipe.request is not None:
            exchange = pipe.request
            self.schedule(exchange.node, lambda: self._reply(exchange, fact), self.latency_us)

    def _connect(self, node: Node, order: Connect) -> None:
        pipe = node.pipes[order.conn] = _Pipe(node, order.conn)
        found = self._places.get((order.host, order.port))
        if found is None or not found[0].listening or found[0].exit_code is not None:
            self.schedule(node, ConnectFailed(order.conn, Fault.REFUSED), self.latency_us)
            return
        server, peer = found
        self._join(pipe, server, peer)
        self.schedule(node, Connected(order.conn), 2 * self.latency_us)

    def _join(self, pipe: _Pipe, server: Node, peer: str) -> None:
        conn = server.board.reserve()
        other = server.pipes[conn] = _Pipe(server, conn)
        pipe.other, other.other = other, pipe
        self.schedule(server, Accepted(conn, peer), self.latency_us)

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

    def _resume(self, node: Node, conn: ConnId) -> None:
        pipe = node.pipes.get(conn)
        if pipe is not None:
            pipe.paused = False
            while pipe.held:
                self.schedule(node, pipe.held.popleft())

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(self, node: Node, order: Request) -> None:
        parts = urlsplit(order.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = self._places.get((parts.hostname or "", port))
        if found is None or not found[0].listening or found[0].exit_code is not None:
            self.schedule(node, RequestFailed(order.request, Fault.REFUSED), self.latency_us)
            return
        server, peer = found
        pipe = _Pipe(None, ConnId(0))
        client = HttpClient(self.now)
        exchange = pipe.request = _Exchange(node, order, client, pipe)
        node.exchanges[order.request] = exchange
        self._join(pipe, server, peer)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = [("Host", parts.netloc), *order.headers]
        if order.auth:
            headers.append(("Authorization", f"<{order.auth}>"))
        client.request(self.now, order.method, target, headers, order.body)
        other = pipe.other
        assert other is not None
        self._arrive(other, Received(other.conn, client.data_to_send()))

    def _reply(self, exchange: _Exchange, fact: Fact) -> None:
        """What came back on a request's connection."""
        if exchange.done:
            return
        data = fact.data if isinstance(fact, Received) else b""
        assert isinstance(data, bytes)
        for event in exchange.client.receive(self.now, data):
            if isinstance(event, HttpResponse):
                self._finish_exchange(exchange, event)
                return
        if not isinstance(fact, Received):
            exchange.done = True
            if exchange.node.exchanges.pop(exchange.order.request, None) is not None:
                self._deliver(exchange.node, RequestFailed(exchange.order.request, Fault.RESET))

    def _finish_exchange(self, exchange: _Exchange, response: HttpResponse) -> None:
        node, request = exchange.node, exchange.order.request
        self._drop_exchange(exchange)
        if node.exchanges.pop(request, None) is None:
            return
        self.schedule(node, ResponseStarted(request, response.status, response.headers))
        if response.body:
            self.schedule(node, BodyReceived(request, response.body))
        self.schedule(node, BodyEnded(request))

    def _drop_exchange(self, exchange: _Exchange) -> None:
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
                self._step(node, fact)

        self.schedule(node, deliver, delay_us)

    def _generate(self, node: Node, task: Any, items: Iterator[Any], delay_us: int = 0) -> None:
        def step() -> None:
            if task not in node.tasks:
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
