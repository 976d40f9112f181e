"""Calls, and what they need from outside: tasks, REST requests, timers, the application's commands.

A Host owns calls and gives their roles names the adapter can use. It does not know connections: whoever owns it (the
Switchboard; ``CallBoard`` for one call in somebody else's server) passes texts in and takes them out as ``Sockets``.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

from .call.call import Call, CallState
from .call.spec import CallSpec
from .call.words import (
    CallFact,
    CallOrder,
    CarrierSaid,
    CloseStream,
    Drop,
    EndWanted,
    Hurried,
    LegEnded,
    Over,
    Pressure,
    Rest,
    RestDone,
    Run,
    SayWanted,
    StreamCame,
    StreamWent,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
    Tell,
    Ticked,
    ToCarrier,
)
from .carriers.carrier import RestOutcome
from .carriers.dialects import dialect_of
from .contract import (
    Answer,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    ConnId,
    Fact,
    Fault,
    Invoke,
    Lane,
    Notify,
    Order,
    Raised,
    Refuse,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Returned,
    TaskId,
    Yielded,
)
from .events import Bug, CallEnded, CallOffered
from .plain import plain
from .reasons import EndReason
from .timers import Timers
from .trace import Tracer

__all__ = ["Host", "Names", "Sockets", "TimerKey"]

TimerKey = tuple[str, int | str]

_TRACE_PIECE = 32 * 1024
_SAY_CHARS = 5_000  # one line of the application's: minutes of speech


class Names:
    """Fresh names, never reused: connections, requests, tasks and asks share one counter."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> int:
        """The next one."""
        self._last += 1
        return self._last


class Sockets(Protocol):
    """What a Host's owner does with a call's media socket."""

    def say(self, conn: ConnId, text: str) -> None:
        """Send a message on it."""
        ...

    def close(self, conn: ConnId, code: int, reason: str) -> None:
        """Close it."""
        ...

    def call_over(self, call_id: str, reason: EndReason) -> None:
        """The call of this id is over."""
        ...


class _Entry:
    """A call and its names outside."""

    __slots__ = ("asks", "call", "conn", "dialect", "rests", "tasks", "tracer")

    def __init__(self, call: Call, tracer: Tracer | None) -> None:
        self.call = call
        self.conn: ConnId | None = None
        self.dialect = dialect_of(call.spec.carrier)
        self.tasks: dict[str, TaskId] = {}
        self.rests: dict[str, RequestId] = {}
        self.asks: list[AskId] = []
        self.tracer = tracer


class _Reply:
    """A REST answer as it comes in."""

    __slots__ = ("body", "call_id", "name", "status")

    def __init__(self, call_id: str, name: str) -> None:
        self.call_id = call_id
        self.name = name
        self.status = 0
        self.body = b""


class Host:
    """The calls of a server."""

    def __init__(
        self,
        sockets: Sockets,
        out: list[Order],
        names: Names,
        timers: Timers[TimerKey],
        *,
        trace_dir: str = "",
        bulkhead: bool = True,
    ) -> None:
        self._sockets = sockets
        self._out = out
        self._names = names
        self._timers = timers
        self._trace_dir = trace_dir
        self._bulkhead = bulkhead
        self._calls: dict[str, _Entry] = {}
        self._tasks: dict[TaskId, tuple[str, str]] = {}
        self._requests: dict[RequestId, _Reply] = {}
        self._writes: dict[TaskId, Tracer] = {}  # trace pieces on their way to the disk

    # --- questions ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._calls

    def state(self, call_id: str) -> CallState | None:
        """Where a call is; None when it is not here."""
        entry = self._calls.get(call_id)
        return None if entry is None else entry.call.state

    def spec(self, call_id: str) -> CallSpec | None:
        """What a call was made from; None when it is not here."""
        entry = self._calls.get(call_id)
        return None if entry is None else entry.call.spec

    def attached(self, call_id: str) -> bool:
        """Does the call have a media socket?"""
        entry = self._calls.get(call_id)
        return entry is not None and entry.call.attached

    def call_ids(self) -> list[str]:
        """Every call that is not over, oldest first."""
        return list(self._calls)

    @property
    def any_leg_up(self) -> bool:
        """The carrier may still have one of the calls on the line."""
        return any(entry.call.leg_up for entry in self._calls.values())

    @property
    def unwritten(self) -> bool:
        """Trace pieces are on their way to the disk."""
        return bool(self._writes)

    # --- what the owner tells ----------------------------------------------------------------------------------------

    def offer(self, now: int, spec: CallSpec) -> None:
        """A call begins."""
        tracer = None
        if self._trace_dir:
            name = quote(spec.call_id, safe="")[:200]
            tracer = Tracer(f"{self._trace_dir}/{name}.jsonl", now, spec)
        entry = self._calls[spec.call_id] = _Entry(Call(now, spec), tracer)
        self._out.append(Notify(CallOffered(spec.call_id, spec.caller, spec.callee, spec.direction)))
        self._rearm(spec.call_id, entry)

    def attach(self, now: int, call_id: str, conn: ConnId) -> None:
        """A media socket was admitted for the call."""
        entry = self._calls[call_id]
        entry.conn = conn
        self._step(now, call_id, entry, StreamCame())

    def carrier_said(self, now: int, call_id: str, text: str) -> None:
        """A message on the call's media socket. The hot path."""
        entry = self._calls.get(call_id)
        if entry is not None:
            self._step(now, call_id, entry, CarrierSaid(text))

    def stream_went(self, now: int, call_id: str, conn: ConnId, code: int) -> None:
        """The call's media socket is gone."""
        entry = self._calls.get(call_id)
        if entry is not None and entry.conn == conn:
            entry.conn = None
            self._step(now, call_id, entry, StreamWent(code))

    def pressure(self, now: int, call_id: str, conn: ConnId, high: bool) -> None:
        """The call's media socket does not keep up, or does again."""
        entry = self._calls.get(call_id)
        if entry is not None and entry.conn == conn:
            self._step(now, call_id, entry, Pressure(high))

    def leg_ended(self, now: int, call_id: str) -> None:
        """The carrier reported the call as over."""
        entry = self._calls.get(call_id)
        if entry is not None:
            self._step(now, call_id, entry, LegEnded())

    def end(self, now: int, call_id: str, reason: EndReason, keep_stream: bool = False) -> None:
        """Have a call ended."""
        entry = self._calls.get(call_id)
        if entry is not None:
            self._step(now, call_id, entry, EndWanted(reason, keep_stream))

    def hurry(self, now: int) -> None:
        """Time gets short: of the callbacks waiting behind a slow one only ``on_call_end`` still runs, and at once."""
        for call_id, entry in list(self._calls.items()):
            self._step(now, call_id, entry, Hurried())

    def abandon(self, now: int) -> None:
        """The time for graceful endings is up: every call is over now, whatever it still waits for. It is told so in
        its own words, so that its books are closed and its end is reported like any other."""
        for call_id, entry in list(self._calls.items()):
            tasks, conn = dict(entry.tasks), entry.conn
            self._step(now, call_id, entry, Hurried())
            self._last_word(now, call_id, entry, EndWanted(EndReason.SHUTDOWN, True))
            for name, request in list(entry.rests.items()):
                self._give_up(entry.rests, self._requests, name)
                self._out.append(CancelRequest(request))
                detail = "the server stopped before the carrier answered"
                self._last_word(now, call_id, entry, RestDone(name, RestOutcome.REFUSED, detail))
            self._last_word(now, call_id, entry, LegEnded())
            if conn is not None:
                self._sockets.close(conn, 1001, "Server shutting down")
                entry.conn = None
                self._last_word(now, call_id, entry, StreamWent(1006))
            for name, task in list(entry.tasks.items()):
                # A callback that began in this very step (`on_call_end`, most likely) is left running until Exit.
                if tasks.get(name) == task:
                    self._out.append(Cancel(task))
                self._give_up(entry.tasks, self._tasks, name)
                self._last_word(now, call_id, entry, TaskRaised(name, Fault.CANCELLED, "the server stopped"))
            if call_id in self._calls:
                self._lost(call_id, entry, EndReason.SHUTDOWN)

    def _last_word(self, now: int, call_id: str, entry: _Entry, fact: CallFact) -> None:
        if call_id in self._calls:
            self._step(now, call_id, entry, fact)

    @staticmethod
    def _give_up(names: dict[str, Any], table: dict[Any, Any], name: str) -> None:
        number = names.pop(name, None)
        table.pop(number, None)

    def _lost(self, call_id: str, entry: _Entry, reason: EndReason) -> None:
        """A call that cannot close its own books any more: it is over all the same, and reported, counts unknown."""
        reason = entry.call.reason or reason
        self._out.append(Notify(CallEnded(call_id, reason, 0, 0, 0, 0, 0, 0, 0)))
        self._over(call_id, entry, reason)

    # --- facts -------------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Fact) -> bool:
        """Take in a fact about a task, a request or a command. False when it is about something else."""
        match fact:
            case Yielded(task, value):
                self._task(now, task, value, False)
            case Returned(task, value):
                if task in self._writes:
                    self._written(now, task)
                else:
                    self._task(now, task, value, True)
            case Raised(task, fault, detail):
                self._raised(now, task, fault, detail)
            case ResponseStarted(request, status):
                if (reply := self._requests.get(request)) is not None:
                    reply.status = status
            case BodyReceived(request, data):
                if (reply := self._requests.get(request)) is not None:
                    reply.body += data
            case BodyEnded(request):
                self._answered(now, request)
            case RequestFailed(request, fault):
                self._unanswered(now, request, fault)
            case Asked(ask, verb, args):
                return self._asked(now, ask, verb, args)
            case _:
                return False
        return True

    def _find(self, task: TaskId) -> tuple[str, _Entry, str] | None:
        found = self._tasks.get(task)
        if found is None:
            return None
        call_id, name = found
        return call_id, self._calls[call_id], name

    def _task(self, now: int, task: TaskId, value: Any, ended: bool) -> None:
        found = self._find(task)
        if found is None:
            return
        call_id, entry, name = found
        if ended:
            del self._tasks[task]  # from here on there is nothing to cancel
        if isinstance(value, bytes | bytearray | memoryview):
            try:
                audio = bytes(value)
            except Exception:  # a released view, a class of its own: user code may return anything
                audio = b""
            self._step(now, call_id, entry, TaskAudio(name, audio))
            value = None
            if not ended or entry.tasks.get(name) != task:
                return
        if ended:
            del entry.tasks[name]
            self._step(now, call_id, entry, TaskReturned(name, plain(value)))
        else:
            self._step(now, call_id, entry, TaskYielded(name, plain(value)))

    def _raised(self, now: int, task: TaskId, fault: Fault, detail: str) -> None:
        if task in self._writes:
            tracer = self._writes.pop(task)
            tracer.truncated = True
            self._out.append(Notify(Bug("trace", f"cannot write {tracer.path}: {detail}")))
            return
        found = self._find(task)
        if found is not None:
            call_id, entry, name = found
            del self._tasks[task]
            entry.tasks.pop(name, None)
            self._step(now, call_id, entry, TaskRaised(name, fault, plain(detail)))

    def _answered(self, now: int, request: RequestId) -> None:
        reply = self._requests.pop(request, None)
        if reply is not None:
            entry = self._calls[reply.call_id]
            entry.rests.pop(reply.name, None)
            outcome = entry.dialect.outcome(reply.status, reply.body)
            self._step(now, reply.call_id, entry, RestDone(reply.name, outcome, f"HTTP {reply.status}"))

    def _unanswered(self, now: int, request: RequestId, fault: Fault) -> None:
        reply = self._requests.pop(request, None)
        if reply is not None:
            entry = self._calls[reply.call_id]
            entry.rests.pop(reply.name, None)
            self._step(now, reply.call_id, entry, RestDone(reply.name, None, fault.value))

    def _asked(self, now: int, ask: AskId, verb: str, args: dict[str, Any]) -> bool:
        if verb not in ("end_call", "say"):
            return False
        call_id = str(args.get("call_id", ""))
        entry = self._calls.get(call_id)
        if verb == "end_call":
            if entry is None:
                self._out.append(Answer(ask, False))  # over already (or never here): there is nothing to hang up
            else:
                entry.asks.append(ask)
                self._step(now, call_id, entry, EndWanted(EndReason.AGENT_HUNG_UP))
        elif entry is None:
            self._out.append(Refuse(ask, "unknown_call", f"no call {call_id!r} is active"))
        else:
            text = plain(args.get("text"))
            if not isinstance(text, str) or not 0 < len(text) <= _SAY_CHARS:
                self._out.append(Refuse(ask, "bad_arguments", f"text must be 1 to {_SAY_CHARS} characters"))
            else:
                self._step(now, call_id, entry, SayWanted(text))
                self._out.append(Answer(ask, True))
        return True

    def due(self, now: int, call_id: str) -> None:
        """The call's timer fired (the owner keeps the one heap)."""
        entry = self._calls.get(call_id)
        if entry is not None:
            self._step(now, call_id, entry, Ticked())

    # --- one step of one call ----------------------------------------------------------------------------------------

    def _step(self, now: int, call_id: str, entry: _Entry, fact: CallFact) -> None:
        if self._bulkhead:
            try:
                orders = entry.call.handle(now, fact)
            except Exception as exc:
                if entry.tracer is not None:
                    entry.tracer.step(now, fact, [])  # the last line of the trace is the step that broke
                self._bug(now, call_id, entry, exc)
                return
        else:
            orders = entry.call.handle(now, fact)
        if entry.tracer is not None:
            entry.tracer.step(now, fact, orders)
            self._write(entry.tracer, _TRACE_PIECE)
        for order in orders:
            kind = type(order)
            if kind is ToCarrier:
                if entry.conn is not None:
                    self._sockets.say(entry.conn, order.text)  # type: ignore[union-attr]
            elif kind is Over:
                self._over(call_id, entry, order.reason)  # type: ignore[union-attr, arg-type]
                return
            else:
                self._perform(call_id, entry, order)
        if entry.asks and not entry.call.leg_up and not entry.call.attached:
            # The telephone call is over. Its callbacks may still run, and one of them may be who asked.
            self._answer_asks(entry)
        self._rearm(call_id, entry)

    def _answer_asks(self, entry: _Entry) -> None:
        for ask in entry.asks:
            self._out.append(Answer(ask, True))
        entry.asks.clear()

    def _perform(self, call_id: str, entry: _Entry, order: CallOrder) -> None:
        match order:
            case Tell(event):
                self._out.append(Notify(event))
            case Run(name, lane, handler, args):
                task = TaskId(self._names.new())
                self._tasks[task] = (call_id, name)
                entry.tasks[name] = task
                self._out.append(Invoke(task, lane, handler, args))
            case Drop(name):
                if name in entry.tasks:
                    task = entry.tasks.pop(name)
                    if self._tasks.pop(task, None) is not None:
                        self._out.append(Cancel(task))
                elif name in entry.rests:
                    request = entry.rests.pop(name)
                    del self._requests[request]
                    self._out.append(CancelRequest(request))
            case Rest(name, rest):
                request = RequestId(self._names.new())
                self._requests[request] = _Reply(call_id, name)
                entry.rests[name] = request
                self._out.append(
                    Request(request, rest.method, rest.url, rest.headers, rest.body, rest.auth, max_body=64 * 1024)
                )
            case CloseStream(code, reason):
                if entry.conn is not None:
                    self._sockets.close(entry.conn, code, reason)

    def _rearm(self, call_id: str, entry: _Entry) -> None:
        """Let the call wake up in time. A deadline that moved later is left where it is: waking up early is harmless
        and cheaper than moving the heap for every frame."""
        deadline = entry.call.deadline
        if deadline is not None:
            key = ("call", call_id)
            known = self._timers.when(key)
            if known is None or deadline < known:
                self._timers.set(key, deadline)

    def _over(self, call_id: str, entry: _Entry, reason: EndReason) -> None:
        self._out.extend(Cancel(task) for task in entry.tasks.values() if task in self._tasks)
        self._out.extend(CancelRequest(request) for request in entry.rests.values())
        self._forget(call_id, entry)
        self._sockets.call_over(call_id, reason)

    def _forget(self, call_id: str, entry: _Entry) -> None:
        for task in entry.tasks.values():
            self._tasks.pop(task, None)
        for request in entry.rests.values():
            self._requests.pop(request, None)
        entry.tasks.clear()
        entry.rests.clear()
        self._answer_asks(entry)
        if entry.conn is not None:
            self._sockets.close(entry.conn, 1000, "call ended")
        self._timers.clear(("call", call_id))
        del self._calls[call_id]
        if entry.tracer is not None:
            self._write(entry.tracer, 1)

    def _bug(self, now: int, call_id: str, entry: _Entry, exc: Exception) -> None:
        """Our own mistake ends one call, not the server."""
        where = f"{type(exc).__name__}: {exc}"
        self._out.append(Notify(Bug("call", where, call_id)))
        conn = entry.conn
        try:
            orders = entry.call.handle(now, EndWanted(EndReason.BUG))
        except Exception:
            orders = []
        for order in orders:
            if not isinstance(order, ToCarrier | Over):
                self._perform(call_id, entry, order)
        if conn is not None:
            self._sockets.close(conn, 1011, "internal error")
        if not orders or any(isinstance(order, Over) for order in orders):
            if orders:
                self._over(call_id, entry, entry.call.reason or EndReason.BUG)
            else:
                self._lost(call_id, entry, EndReason.BUG)
        else:
            self._rearm(call_id, entry)

    # --- traces ------------------------------------------------------------------------------------------------------

    def _write(self, tracer: Tracer, least: int) -> None:
        data = tracer.take(least)
        if data:
            task = TaskId(self._names.new())
            tracer.busy = True
            self._writes[task] = tracer
            handler = "file.append" if tracer.begun else "file.create"
            tracer.begun = True
            self._out.append(Invoke(task, Lane.THREAD, handler, (tracer.path, data)))

    def _written(self, now: int, task: TaskId) -> None:
        tracer = self._writes.pop(task)
        tracer.busy = False
        live = any(entry.tracer is tracer for entry in self._calls.values())
        self._write(tracer, _TRACE_PIECE if live else 1)
