"""Holds a board to its side of the contract while anything carries it.

A ``ContractChecker`` is itself a board: put it where the board was. It keeps books on every fact and order and raises
``ContractBroken`` at the step that breaks a line of ``contract.py``. A *twin*, made from the same configuration and
seed, is told the same facts and must give the same orders (C10); a *ticked* one is told the time before every fact,
which must make no difference (C3).
"""

from __future__ import annotations

import enum

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
from .network import ContractBroken

__all__ = ["ContractChecker"]


class _Is(enum.Enum):
    """Where a connection is, as the board's orders have it."""

    OPENING = "opening"
    OPEN = "open"
    FINISHED = "finished"
    CLOSING = "closing"
    ABORTED = "aborted"
    OVER = "over"


_SENDABLE = (_Is.OPENING, _Is.OPEN)
_CONN_FACTS = (Received, InputEnded, Sent, Connected, Closed, ConnectFailed)
_REQUEST_FACTS = (ResponseStarted, BodyReceived, BodyEnded, RequestFailed)
_TASK_FACTS = (Yielded, Returned, Raised)


class ContractChecker:
    """A board around a board. ``connections`` opened with the board are named in ``given`` (``CallBoard.conn``)."""

    def __init__(
        self,
        board: Board,
        *,
        twin: Board | None = None,
        ticked: Board | None = None,
        given: tuple[ConnId, ...] = (),
    ) -> None:
        self.board = board
        self._twin = twin
        self._ticked = ticked
        self._early_exit = False
        self._now = 0
        self._used: set[int] = set(given)
        self._reserved: set[int] = set()
        self.conns: dict[int, _Is] = dict.fromkeys(given, _Is.OPENING)
        self.requests: dict[int, bool] = {}  # is it still under way?
        self.tasks: dict[int, bool] = {}
        self.asks: dict[AskId, bool] = {}  # was it answered?
        self.sent: dict[int, int] = {}
        self.acks: dict[int, list[int]] = {}  # totals asked for and not acknowledged
        self.stopped_listening = False
        self.exited = False
        self.steps = 0

    # --- the board ---------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        return self.board.deadline

    def reserve(self) -> ConnId:
        name = self.board.reserve()
        self._fresh(name)
        self._reserved.add(name)
        for other in (self._twin, self._ticked):
            if other is not None and other.reserve() != name:
                raise ContractBroken("C10: the twin reserved another name")
        return name

    def handle(self, now: int, fact: Fact) -> list[Order]:
        self.steps += 1
        now = max(now, self._now)
        known = self._told(now, fact)
        orders = self.board.handle(now, fact)
        if self._ticked is not None:
            self._check_time_first(now, fact, orders, self._ticked)
        if self._twin is not None:
            # Told the board's own (monotonic) time, and the same fact: nothing but hidden state could differ.
            again = self._twin.handle(now, fact)
            if again != orders:
                raise ContractBroken(f"C10: {fact!r} gave {orders!r}, and its twin {again!r}")
            if self._twin.deadline != self.board.deadline:
                raise ContractBroken(f"C10: deadlines {self.board.deadline} and {self._twin.deadline}")
        self._now = now
        if not known and any(not isinstance(order, Notify) for order in orders):
            raise ContractBroken(f"C9: {fact!r} is about nothing known, and was answered {orders!r}")
        for order in orders:
            self._ordered(order)
        deadline = self.board.deadline
        if deadline is not None and deadline <= now:
            raise ContractBroken(f"C4: at {now} the deadline is {deadline}")
        if self.exited and deadline is not None:
            raise ContractBroken("C4: a deadline after Exit")
        return orders

    # --- facts -------------------------------------------------------------------------------------------------------

    def _check_time_first(self, now: int, fact: Fact, orders: list[Order], ticked: Board) -> None:
        """C3: being told the time and then the fact is the same as being told both at once."""
        if self._early_exit:
            return
        first = ticked.handle(now, Ticked())
        if any(isinstance(order, Exit) for order in first):
            self._early_exit = True  # and what is asked after that is refused after Exit, not before it
        elif orders != first + ticked.handle(now, fact):
            raise ContractBroken(f"C3: {fact!r} gave {orders!r}; told the time first, it did not")

    def _told(self, now: int, fact: Fact) -> bool:
        """Take a fact down. False when it names something unknown or over, and no deadline is due: then nothing may
        come of it."""
        due = self.board.deadline is not None and self.board.deadline <= now
        known = True
        if isinstance(fact, Accepted):
            self._accepted(fact)
        elif isinstance(fact, Asked):
            self.asks[fact.ask] = False
        elif isinstance(fact, _CONN_FACTS):
            known = self.conns.get(fact.conn, _Is.OVER) is not _Is.OVER
            if known:
                self._about_conn(fact)
        elif isinstance(fact, _REQUEST_FACTS):
            known = self.requests.get(fact.request, False)
            if isinstance(fact, BodyEnded | RequestFailed):
                self.requests[fact.request] = False
        elif isinstance(fact, _TASK_FACTS):
            known = self.tasks.get(fact.task, False)
            if isinstance(fact, Returned | Raised):
                self.tasks[fact.task] = False
        return known or due or self.steps == 1

    def _accepted(self, fact: Accepted) -> None:
        if fact.conn not in self._reserved:
            raise ContractBroken(f"C9: the adapter reported {fact!r} without reserving the name")
        self._reserved.discard(fact.conn)
        self.conns[fact.conn] = _Is.OPEN

    def _about_conn(self, fact: Received | InputEnded | Sent | Connected | Closed | ConnectFailed) -> None:
        conn = fact.conn
        if isinstance(fact, Closed | ConnectFailed):
            self.conns[conn] = _Is.OVER
            self.acks.pop(conn, None)
        elif isinstance(fact, Connected):
            if self.conns[conn] is _Is.OPENING:
                self.conns[conn] = _Is.OPEN
        elif isinstance(fact, Sent):
            waiting = self.acks.get(conn, [])
            while waiting and waiting[0] <= fact.total:
                del waiting[0]

    # --- orders ------------------------------------------------------------------------------------------------------

    def _fresh(self, name: int) -> None:
        if name in self._used:
            raise ContractBroken(f"C9: {name} was used before")
        self._used.add(name)

    def _ordered(self, order: Order) -> None:
        if self.exited and not isinstance(order, Refuse):  # a question after the end still gets its no
            raise ContractBroken(f"C7: {order!r} after Exit")
        match order:
            case Connect(conn) | Spawn(conn):
                self._fresh(conn)
                self.conns[conn] = _Is.OPENING
            case Send() | Finish() | Close() | Abort():
                self._to_conn(order)
            case Pause(source) | Resume(source):
                if self.conns.get(ConnId(source)) in (_Is.ABORTED, _Is.OVER):
                    raise ContractBroken(f"C7: {order!r} on a connection that is {self.conns[ConnId(source)].value}")
            case Request(request):
                self._fresh(request)
                self.requests[request] = True
            case CancelRequest(request):
                self._cancel(self.requests, request, order)
            case Invoke(task):
                self._fresh(task)
                self.tasks[task] = True
            case Cancel(task):
                self._cancel(self.tasks, task, order)
            case Answer(ask) | Refuse(ask):
                self._answered(ask)
            case StopListening():
                if self.stopped_listening:
                    raise ContractBroken("C7: StopListening twice")
                self.stopped_listening = True
            case Exit():
                self._exit()

    def _to_conn(self, order: Send | Finish | Close | Abort) -> None:
        conn = order.conn
        where = self.conns.get(conn)
        if where is None:
            raise ContractBroken(f"C9: {order!r} about a connection nobody opened")
        if where is _Is.OVER:
            raise ContractBroken(f"C5: {order!r} after Closed")
        if where is _Is.ABORTED:
            raise ContractBroken(f"C7: {order!r} after Abort")
        if isinstance(order, Abort):
            self.conns[conn] = _Is.ABORTED
        elif isinstance(order, Close):
            if where is _Is.CLOSING:
                raise ContractBroken(f"C7: Close({conn}) twice")
            self.conns[conn] = _Is.CLOSING
        elif where not in _SENDABLE:
            raise ContractBroken(f"C7: {order!r} on a connection that is {where.value}")
        elif isinstance(order, Finish):
            self.conns[conn] = _Is.FINISHED
        else:
            total = self.sent[conn] = self.sent.get(conn, 0) + len(order.data)
            if order.ack:
                self.acks.setdefault(conn, []).append(total)

    @staticmethod
    def _cancel(table: dict[int, bool], name: int, order: Order) -> None:
        if name not in table:
            raise ContractBroken(f"C9: {order!r} about nothing known")
        if not table[name]:
            raise ContractBroken(f"C5: {order!r} after its terminal fact, or twice")
        table[name] = False

    def _answered(self, ask: AskId) -> None:
        if ask not in self.asks:
            raise ContractBroken(f"C5: an answer to {ask}, which nobody asked")
        if self.asks[ask]:
            raise ContractBroken(f"C5: {ask} was answered twice")
        self.asks[ask] = True

    def _exit(self) -> None:
        self.exited = True
        waiting = [ask for ask, answered in self.asks.items() if not answered]
        if waiting:
            raise ContractBroken(f"C5: Exit, and {waiting} were never answered")

    # --- at the end --------------------------------------------------------------------------------------------------

    def unbalanced(self) -> list[str]:
        """What is still open: connections, requests, tasks, questions, acknowledgements. Empty when all is done. After
        ``Exit`` nobody tells of aborted connections, and the adapter ends what tasks are left."""
        done = (_Is.OVER, _Is.ABORTED) if self.exited else (_Is.OVER,)
        left = [f"connection {conn} is {where.value}" for conn, where in self.conns.items() if where not in done]
        left += [f"request {name} is under way" for name, under_way in self.requests.items() if under_way]
        left += [f"ask {ask} has no answer" for ask, answered in self.asks.items() if not answered]
        if not self.exited:
            left += [f"task {name} runs" for name, runs in self.tasks.items() if runs]
            left += [f"connection {conn} waits for Sent" for conn, totals in self.acks.items() if totals]
        return left
