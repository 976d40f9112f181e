"""Book-keeping over every fact an adapter tells: the parts of the contract that hold in any scenario."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from patter_core.contract import (
    Abort,
    Accepted,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    Exit,
    Fact,
    InputEnded,
    Invoke,
    Order,
    Pause,
    Raised,
    Received,
    Request,
    RequestFailed,
    ResponseStarted,
    Resume,
    Returned,
    Send,
    Sent,
    Spawn,
    Yielded,
)

__all__ = ["Books"]

_CONN = (Accepted, Connected, ConnectFailed, Received, InputEnded, Sent, Closed)
_REQUEST = (ResponseStarted, BodyReceived, BodyEnded, RequestFailed)
_TASK = (Yielded, Returned, Raised)
_END = (Closed, ConnectFailed, BodyEnded, RequestFailed, Returned, Raised)
_FLOW = (Received, ResponseStarted, BodyReceived, Yielded)


@dataclass
class _Thing:
    opened: bool = False
    over: bool = False
    given_up: bool = False
    silent: bool = False  # given up in a way that promises no fact at all
    sent: int = 0
    acks: list[int] = field(default_factory=list)
    paused: bool = False
    slipped: int = 0


class _Watched(list[Order]):
    """A list that tells when it was walked to its end."""

    def __init__(self, orders: list[Order], walked: Callable[[], None]) -> None:
        super().__init__(orders)
        self._walked = walked

    def __iter__(self) -> Iterator[Order]:
        yield from super().__iter__()
        self._walked()


class Books:
    """Checks C5-C9. ``errors`` says what was broken."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._things: dict[tuple[str, int], _Thing] = {}
        self._thread: int | None = None
        self._inside = False
        self._exited = False

    def enter(self, fact: Fact) -> None:
        """A step begins."""
        self._thread = self._thread or threading.get_ident()
        if self._thread != threading.get_ident():
            self.errors.append(f"C8: handle({fact}) in another thread")
        if self._inside:
            self.errors.append(f"C8: handle({fact}) while a step or its orders were under way")
        self._inside = True
        if self._exited:
            self.errors.append(f"C7: {fact} after Exit")
        self._told(fact)

    def leave(self, orders: list[Order]) -> list[Order]:
        """The step ends with these orders; give the adapter the list that comes back."""
        for order in orders:
            self._ordered(order)
        if not orders:
            self._inside = False
        return _Watched(orders, self._performed)

    def _performed(self) -> None:
        self._inside = False

    def open_names(self) -> list[int]:
        """Things opened and not over."""
        return [name for (_, name), thing in self._things.items() if not thing.over and not thing.silent]

    def _told(self, fact: Fact) -> None:
        found = self._find(fact)
        if found is None:
            return
        thing, label = found
        if thing.over:
            self.errors.append(f"C5: {label} after its terminal fact")
        elif thing.silent or (thing.given_up and not isinstance(fact, _END)):
            self.errors.append(f"C5/C7: {label} after it was given up")
        if isinstance(fact, Accepted | Connected):
            if thing.opened:
                self.errors.append(f"C5: {label}, a second opening")
            thing.opened = True
        elif isinstance(fact, ConnectFailed):
            if thing.opened:
                self.errors.append(f"C5: {label} after Connected")
        elif isinstance(fact, _CONN) and not thing.opened:
            self.errors.append(f"C5: {label} before it was open")
        if isinstance(fact, Sent):
            self._acknowledged(thing, fact)
        if isinstance(fact, _FLOW) and thing.paused:
            thing.slipped += 1
            if thing.slipped > 1:
                self.errors.append(f"Pause: {label} is fact {thing.slipped} since")
        thing.over = thing.over or isinstance(fact, _END)

    def _acknowledged(self, thing: _Thing, fact: Sent) -> None:
        if not thing.acks:
            self.errors.append(f"C6: {fact} that nobody asked for")
        elif not thing.acks[0] <= fact.total <= thing.sent:
            self.errors.append(f"C6: {fact}, but {thing.acks[0]}..{thing.sent} was due")
        del thing.acks[:1]

    def _find(self, fact: Fact) -> tuple[_Thing, str] | None:
        if isinstance(fact, _CONN):
            key = ("conn", fact.conn)
            if isinstance(fact, Accepted):
                if key in self._things:
                    self.errors.append(f"C9: {fact}, a name already used")
                self._things[key] = _Thing()
        elif isinstance(fact, _REQUEST):
            key = ("request", fact.request)
        elif isinstance(fact, _TASK):
            key = ("task", fact.task)
        else:
            return None
        thing = self._things.get(key)
        label = type(fact).__name__ + f"({key[1]})"
        if thing is None:
            self.errors.append(f"C9: {label}, a name never given")
            return None
        return thing, label

    def _ordered(self, order: Order) -> None:
        things = self._things
        if isinstance(order, Connect | Spawn):
            things["conn", order.conn] = _Thing()
        elif isinstance(order, Request):
            things["request", order.request] = _Thing(opened=True)
        elif isinstance(order, Invoke):
            things["task", order.task] = _Thing(opened=True)
        elif isinstance(order, Send):
            thing = things["conn", order.conn]
            thing.sent += len(order.data)
            if order.ack:
                thing.acks.append(thing.sent)
        elif isinstance(order, Close):
            things["conn", order.conn].paused = False
        elif isinstance(order, Abort):
            things["conn", order.conn].given_up = True
        elif isinstance(order, CancelRequest):
            things["request", order.request].silent = True
        elif isinstance(order, Cancel):
            things["task", order.task].silent = True
        elif isinstance(order, Pause | Resume):
            for kind in ("conn", "request", "task"):
                if (kind, order.source) in things:
                    thing = things[kind, order.source]
                    thing.paused, thing.slipped = isinstance(order, Pause), 0
        elif isinstance(order, Exit):
            self._exited = True
