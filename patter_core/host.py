"""Calls, and what they need from outside: tasks, REST requests, timers, the application's commands.

A Host owns calls and gives their roles names the adapter can use. It does not know connections: whoever owns it (the
Switchboard; ``CallBoard`` for one call in somebody else's server) passes texts in and takes them out as ``Sockets``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Protocol
from urllib.parse import quote

from .call.call import Call, CallState
from .call.payloads import recorded, recording_path
from .call.spec import CallSpec
from .call.words import (
    Begun,
    CallFact,
    CallOrder,
    CarrierSaid,
    CloseLink,
    CloseStream,
    Deny,
    Drop,
    EndWanted,
    Fetch,
    FetchEnded,
    FetchFailed,
    FetchGot,
    FetchStarted,
    GoOn,
    Hold,
    Hurried,
    LegEnded,
    LinkClosed,
    MintStream,
    OpenLink,
    Over,
    Pressure,
    Reply,
    Reported,
    Rest,
    RestDone,
    Run,
    SayOnLink,
    SendOnLink,
    StreamCame,
    StreamMinted,
    StreamWent,
    Tape,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
    Tell,
    Ticked,
    ToCarrier,
)
from .carriers.carrier import (
    CallStatusChanged,
    Leg,
    RecordingChanged,
    RecordingStatus,
    RestOutcome,
    RestRequest,
    WebhookEvent,
)
from .carriers.dialects import dialect_of
from .commands import COMMANDS, BadCommand, read_command
from .config import HandlerSpec
from .contract import (
    Answer,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Fact,
    Fault,
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
    RequestId,
    ResponseStarted,
    Resume,
    Returned,
    Sent,
    TaskId,
    Yielded,
)
from .dialling import BadDial
from .events import Bug, CallbackDropped, CallbackFailed, CallbackTimedOut, CallEnded, CallOffered, OrderIgnored
from .filing import Filing
from .links import Links
from .plain import plain
from .reasons import EndReason
from .timers import Timers, later
from .trace import Tracer
from .writer import Writer

__all__ = ["Host", "Names", "Sockets", "TimerKey"]

TimerKey = tuple[str, int | str]

_ASIDE_S = 30.0  # one of them; it may fetch the recording
_ASIDES = 100  # on_recording callbacks at a time; more of them than that nobody is listening to
_UNNAMED = 1_000  # dialled calls that ended before the carrier named them
_RECORDINGS = 10_000  # recordings whose report is remembered, so that its repetition is not told again
_HEADERS = 64  # of an answer, as an engine sees them
_HEADER = 1024  # characters of one
_ID = re.compile(r"[!-~]{1,256}")  # of a call or a recording, as carriers make them
_NOTHING_DONE = frozenset({Fault.REFUSED, Fault.UNREACHABLE, Fault.TLS})  # the request never got there


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

    def mint(self, now: int, call_id: str) -> tuple[str, str]:
        """A fresh address for the call's media stream, and its ticket; ('', '') where there can be none."""
        ...

    def dialled(self, args: dict[str, Any]) -> CallSpec | BadDial:
        """The call that the application wants placed."""
        ...


class _Entry:
    """A call and its names outside."""

    __slots__ = (
        "asks",
        "call",
        "conn",
        "dialect",
        "dialling",
        "ends",
        "fetches",
        "key",
        "links",
        "rests",
        "tasks",
        "tracer",
        "waiting",
        "writer",
    )

    def __init__(self, call: Call, tracer: Tracer | None) -> None:
        self.call = call
        self.key = call.spec.call_id  # under which the Host has it
        self.conn: ConnId | None = None
        self.links: dict[str, ConnId] = {}
        self.fetches: dict[str, RequestId] = {}
        self.dialect = dialect_of(call.spec.carrier)
        self.tasks: dict[str, TaskId] = {}
        self.rests: dict[str, RequestId] = {}
        self.ends: list[AskId] = []  # who wants to know when the leg is down
        self.asks: dict[str, AskId] = {}  # whom the call itself answers, by the name it knows them by
        self.dialling: AskId | None = None  # who wants to know what the call is called
        self.waiting: AskId | None = None  # who wants to know what became of it
        self.tracer = tracer
        self.writer: Writer | None = None


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
        on_recording: HandlerSpec | None = None,
        seed: bytes = b"",
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
        self._fetches: dict[RequestId, tuple[_Entry, str]] = {}
        self._links = Links(out, names.new, timers, seed)
        self._refs: dict[str, str] = {}  # what a dialled call was called before the carrier named it
        self._unnamed: OrderedDict[str, CallSpec] = OrderedDict()
        self._on_recording = on_recording
        self._asides: set[TaskId] = set()
        self._side_requests: dict[RequestId, None] = {}  # orders that belong to no call, oldest first
        self._recordings: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._filing = Filing(out, names.new)

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
    def links(self) -> int:
        """Connections to providers, also those on their way out."""
        return len(self._links)

    @property
    def unwritten(self) -> bool:
        """Pieces of traces or recordings are on their way to the disk."""
        return len(self._filing) > 0

    # --- what the owner tells ----------------------------------------------------------------------------------------

    def offer(self, now: int, spec: CallSpec, url: str = "", token: str = "") -> None:
        """A call begins: one that was announced, whose stream is to come to ``url``; or one that we dial."""
        tracer = None
        if self._trace_dir:
            name = quote(spec.call_id, safe="")[:200]
            tracer = Tracer(f"{self._trace_dir}/{name}.jsonl", now, spec)
        entry = self._calls[spec.call_id] = _Entry(Call(now, spec), tracer)
        self._out.append(Notify(CallOffered(spec.call_id, spec.caller, spec.callee, spec.direction)))
        if url or spec.dial is not None:
            self._step(now, spec.call_id, entry, Begun(url, token))
        else:
            self._rearm(spec.call_id, entry)

    def find(self, call_id: str, ref: str = "") -> str:
        """The id under which a call is known here, by the carrier's id or by a name of ours; '' when it is not."""
        for name in (call_id, ref, ref.rpartition("/t")[0]):
            name = self._refs.get(name, name)
            if name in self._calls:
                return name
        return ""

    def report(self, now: int, event: WebhookEvent, ref: str = "") -> bool:
        """The carrier reported something of a call. False: it is none of ours (any more)."""
        call_id = self.find(event.call_id, ref)
        if call_id:
            self._step(now, call_id, self._calls[call_id], Reported(event, ref))
        elif ref in self._unnamed:
            self._too_late(event, self._unnamed.pop(ref))
        return bool(call_id)

    def _remember(self, ref: str, spec: CallSpec) -> None:
        """A leg we had dialled may turn up when its call is over."""
        self._unnamed[ref] = spec
        if len(self._unnamed) > _UNNAMED:
            self._unnamed.popitem(last=False)

    def _too_late(self, event: WebhookEvent, spec: CallSpec) -> None:
        """The carrier dialled after all, when we had given the call up: nobody is there to talk on it."""
        if event.call_id and not (isinstance(event, CallStatusChanged) and event.status.final):
            leg = Leg(spec.account, spec.base_url, event.call_id, f"{spec.call_id}:late")
            self.aside(dialect_of(spec.carrier).hang_up(leg))

    def recording(self, now: int, unix_us: int, event: RecordingChanged, carrier: str) -> None:
        """A recording can be fetched. Its call may be over long since, so this is told by the server, once."""
        key = (event.recording_id or f"{event.call_id} {event.url}", event.status.value)
        if event.status is not RecordingStatus.COMPLETED or key in self._recordings or self._on_recording is None:
            return
        self._recordings[key] = None
        if len(self._recordings) > _RECORDINGS:
            self._recordings.popitem(last=False)
        if len(self._asides) >= _ASIDES:
            self._out.append(Notify(CallbackDropped(event.call_id, "on_recording")))
            return
        task = TaskId(self._names.new())
        self._asides.add(task)
        self._timers.set(("aside", task), later(now, _ASIDE_S))
        handler = self._on_recording
        self._out.append(Invoke(task, handler.lane, handler.name, (recorded(event, unix_us, carrier),)))

    def aside_due(self, task: TaskId) -> None:
        """An ``on_recording`` took too long."""
        if task in self._asides:
            self._asides.discard(task)
            self._out.append(Cancel(task))
            self._out.append(Notify(CallbackTimedOut("", "on_recording", round(_ASIDE_S * 1000))))

    def aside(self, request: RestRequest | None) -> None:
        """Order something of the carrier that belongs to no call; what becomes of it changes nothing."""
        if request is not None:
            name = RequestId(self._names.new())
            self._side_requests[name] = None
            if len(self._side_requests) > _ASIDES:  # a carrier that never answers
                self._drop_side_request()
            self._out.append(
                Request(name, request.method, request.url, request.headers, request.body, request.auth, max_body=4096)
            )

    def _drop_side_request(self) -> None:
        oldest = next(iter(self._side_requests))
        del self._side_requests[oldest]
        self._out.append(CancelRequest(oldest))

    def attach(self, now: int, call_id: str, conn: ConnId) -> None:
        """A media socket was admitted for the call."""
        entry = self._calls[call_id]
        entry.conn = conn
        self._step(now, call_id, entry, StreamCame())

    def carrier_said(self, now: int, call_id: str, text: str) -> None:
        """A message on the call's media socket. The hot path."""
        entry = self._calls.get(call_id) or self._calls.get(self._refs.get(call_id, ""))
        if entry is not None:
            self._step(now, call_id, entry, CarrierSaid(text))

    def stream_went(self, now: int, call_id: str, conn: ConnId, code: int) -> None:
        """The call's media socket is gone."""
        call_id = self._refs.get(call_id, call_id)
        entry = self._calls.get(call_id)
        if entry is not None and entry.conn == conn:
            entry.conn = None
            self._step(now, call_id, entry, StreamWent(code))

    def pressure(self, now: int, call_id: str, conn: ConnId, high: bool) -> None:
        """The call's media socket does not keep up, or does again."""
        call_id = self._refs.get(call_id, call_id)
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
        while self._side_requests:
            self._drop_side_request()
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
                self._lost(now, call_id, entry, EndReason.SHUTDOWN)

    def _last_word(self, now: int, call_id: str, entry: _Entry, fact: CallFact) -> None:
        if call_id in self._calls:
            self._step(now, call_id, entry, fact)

    @staticmethod
    def _give_up(names: dict[str, Any], table: dict[Any, Any], name: str) -> None:
        number = names.pop(name, None)
        table.pop(number, None)

    def _lost(self, now: int, call_id: str, entry: _Entry, reason: EndReason) -> None:
        """A call that cannot close its own books any more: it is over all the same, and reported, counts unknown."""
        reason = entry.call.reason or reason
        self._out.append(Notify(CallEnded(call_id, reason, 0, 0, 0, 0, 0, 0, 0)))
        self._over(now, call_id, entry, reason)

    # --- facts -------------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Fact) -> bool:
        """Take in a fact about a task, a request, a link or a command. False when it is about something else."""
        match fact:
            case Received(conn) | Sent(conn) | Connected(conn) | ConnectFailed(conn) | InputEnded(conn) | Closed(conn):
                if conn not in self._links:
                    return False
                self._linked(now, self._links.handle(now, fact))
            case Yielded(task, value):
                self._task(now, task, value, False)
            case Returned(task, value):
                if task in self._asides:
                    self._asides.discard(task)
                    self._timers.clear(("aside", task))
                elif not self._filing.done(task):
                    self._task(now, task, value, True)
            case Raised(task, fault, detail):
                self._raised(now, task, fault, detail)
            case ResponseStarted(request, status, headers) if request in self._fetches:
                entry, name = self._fetches[request]
                few = {key.lower(): value[:_HEADER] for key, value in headers[:_HEADERS]}
                self._step(now, entry.key, entry, FetchStarted(name, status, few))
            case BodyReceived(request, data) if request in self._fetches:
                entry, name = self._fetches[request]
                self._step(now, entry.key, entry, FetchGot(name, data))
            case BodyEnded(request) if request in self._fetches:
                entry, name = self._fetched(request)
                self._step(now, entry.key, entry, FetchEnded(name))
            case RequestFailed(request, fault) if request in self._fetches:
                entry, name = self._fetched(request)
                self._step(now, entry.key, entry, FetchFailed(name, fault))
            case ResponseStarted(request, status):
                if (reply := self._requests.get(request)) is not None:
                    reply.status = status
            case BodyReceived(request, data):
                if (reply := self._requests.get(request)) is not None:
                    reply.body += data
            case BodyEnded(request):
                self._side_requests.pop(request, None)
                self._answered(now, request)
            case RequestFailed(request, fault):
                self._side_requests.pop(request, None)
                self._unanswered(now, request, fault)
            case Asked(ask, verb, args):
                return self._asked(now, ask, verb, args)
            case _:
                return False
        return True

    def _fetched(self, request: RequestId) -> tuple[_Entry, str]:
        """A fetch has ended."""
        entry, name = self._fetches.pop(request)
        entry.fetches.pop(name, None)
        return entry, name

    def _linked(self, now: int, told: list[tuple[Any, CallFact]]) -> None:
        """Links said something to their calls."""
        for entry, fact in told:
            name = fact.name  # type: ignore[union-attr]
            if name not in entry.links:
                continue  # what it said before made its call let go of it
            if type(fact) is LinkClosed:
                del entry.links[name]
            self._step(now, entry.key, entry, fact)

    def link_due(self, now: int, conn: ConnId) -> None:
        """A link's timer fired."""
        self._linked(now, self._links.due(now, conn))

    def let_go(self) -> None:
        """Drop every connection to a provider: nobody will wait for their goodbyes."""
        self._links.abandon()

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
        if task in self._asides:
            self._asides.discard(task)
            self._timers.clear(("aside", task))
            self._out.append(Notify(CallbackFailed("", "on_recording", str(plain(detail)))))
            return
        if self._filing.done(task, str(plain(detail)) or "failed"):
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
            value, detail = "", f"HTTP {reply.status}"
            if outcome is RestOutcome.DONE:
                value = entry.dialect.made(reply.status, reply.body)
                if not _ID.fullmatch(value):
                    value = ""
            elif problem := entry.dialect.problem(reply.status, reply.body):
                detail = f"{detail}: {problem}"
            safe = reply.status == 429
            self._step(now, reply.call_id, entry, RestDone(reply.name, outcome, detail, value, safe))

    def _unanswered(self, now: int, request: RequestId, fault: Fault) -> None:
        reply = self._requests.pop(request, None)
        if reply is not None:
            entry = self._calls[reply.call_id]
            entry.rests.pop(reply.name, None)
            safe = fault in _NOTHING_DONE
            self._step(now, reply.call_id, entry, RestDone(reply.name, None, fault.value, "", safe))

    def _asked(self, now: int, ask: AskId, verb: str, args: dict[str, Any]) -> bool:
        if verb == "call":
            self._dial(now, ask, args)
            return True
        if verb not in COMMANDS:
            return False
        given = args.get("call_id")
        call_id = self.find(given) if isinstance(given, str) else ""
        entry = self._calls.get(call_id)
        if entry is None:
            if verb == "end_call":
                self._out.append(Answer(ask, False))  # over already (or never here): there is nothing to hang up
            else:
                known = f"no call {given!r} is active" if isinstance(given, str) else "call_id must be text"
                self._refuse(ask, "unknown_call", known, verb)
            return True
        name = f"ask{ask}"
        fact = read_command(verb, args, name)
        if isinstance(fact, BadCommand):
            self._refuse(ask, "bad_arguments", fact.detail, verb, call_id)
            return True
        if verb == "end_call":
            entry.ends.append(ask)
        elif COMMANDS[verb][1]:
            entry.asks[name] = ask
        self._step(now, call_id, entry, fact)
        if not COMMANDS[verb][1]:
            self._out.append(Answer(ask, True))
        return True

    def _refuse(self, ask: AskId, code: str, detail: str, verb: str, call_id: str = "") -> None:
        """Refuse an order; where nobody waits for the answer (a callback gave it), say so in the log."""
        self._out.append(Refuse(ask, code, detail))
        if ask < 0:
            self._out.append(Notify(OrderIgnored(call_id, verb, detail)))

    def _dial(self, now: int, ask: AskId, args: dict[str, Any]) -> None:
        """Place a call for the application."""
        try:
            spec, wait = self._sockets.dialled(args), bool(args.get("wait"))
        except Exception as exc:  # an object of the application's own may raise from anywhere
            detail = f"the arguments must be plain data ({type(exc).__name__} while reading them)"
            self._out.append(Refuse(ask, "bad_arguments", detail))
            return
        if isinstance(spec, BadDial):
            self._out.append(Refuse(ask, "cannot_dial", spec.detail))
            return
        self.offer(now, spec)
        entry = self._calls.get(spec.call_id)
        if entry is None:
            self._out.append(Refuse(ask, "bug", "the call could not be placed"))
        elif wait:
            entry.waiting = ask
        else:
            entry.dialling = ask

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
            self._filing.trace(entry.tracer)
        if entry.call.spec.call_id != call_id:
            if entry.call.spec.call_id in self._calls:
                # The carrier gave two calls one name. The one that had it first keeps it.
                self._lost(now, call_id, entry, EndReason.FAILED)
                return
            call_id = self._renamed(call_id, entry)
        minted = False
        for order in orders:
            kind = type(order)
            if kind is ToCarrier:
                if entry.conn is not None:
                    self._sockets.say(entry.conn, order.text)  # type: ignore[union-attr]
            elif kind is Over:
                if entry.waiting is not None:
                    self._out.append(Answer(entry.waiting, order.result))  # type: ignore[union-attr]
                    entry.waiting = None
                self._over(now, call_id, entry, order.reason)  # type: ignore[union-attr, arg-type]
                return
            elif kind is SendOnLink or kind is SayOnLink:
                if (conn := entry.links.get(order.name)) is not None:  # type: ignore[union-attr]
                    data = order.data if kind is SendOnLink else order.text  # type: ignore[union-attr]
                    self._links.say(now, conn, data)
            elif kind is MintStream:
                minted = True
            else:
                self._perform(now, call_id, entry, order)
        if entry.ends and not entry.call.leg_up and not entry.call.attached:
            # The telephone call is over. Its callbacks may still run, and one of them may be who asked.
            self._answer_ends(entry)
        self._rearm(call_id, entry)
        if minted:
            self._step(now, call_id, entry, StreamMinted(*self._sockets.mint(now, call_id)))

    def _renamed(self, ref: str, entry: _Entry) -> str:
        """The carrier has named a call that we dialled."""
        call_id = entry.call.spec.call_id
        self._calls[call_id] = self._calls.pop(ref)
        self._refs[ref] = call_id
        entry.key = call_id
        self._timers.clear(("call", ref))
        for task in entry.tasks.values():
            self._tasks[task] = (call_id, self._tasks[task][1])
        for request in entry.rests.values():
            self._requests[request].call_id = call_id
        if entry.dialling is not None:
            self._out.append(Answer(entry.dialling, call_id))
            entry.dialling = None
        return call_id

    def _answer_ends(self, entry: _Entry) -> None:
        for ask in entry.ends:
            self._out.append(Answer(ask, True))
        entry.ends.clear()

    def _release(self, entry: _Entry, reason: EndReason) -> None:
        """Whoever still waits for an answer about this call gets one."""
        self._answer_ends(entry)
        for ask in entry.asks.values():
            self._out.append(Refuse(ask, "call_ended", f"the call ended: {reason.value}"))
        entry.asks.clear()
        for dialler in (entry.dialling, entry.waiting):
            if dialler is not None:
                self._out.append(
                    Refuse(dialler, reason.value, entry.call.refusal or f"the call was not placed: {reason.value}")
                )
        entry.dialling = entry.waiting = None

    def _perform(self, now: int, call_id: str, entry: _Entry, order: CallOrder) -> None:
        match order:
            case Tell(event):
                self._out.append(Notify(event))
            case Tape(data, offset):
                if entry.writer is None:
                    entry.writer = Writer(recording_path(entry.call.spec))
                self._filing.tape(entry.writer, call_id, data, offset)
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
                elif name in entry.fetches:
                    request = entry.fetches[name]
                    self._fetched(request)
                    self._out.append(CancelRequest(request))
                elif name in entry.rests:
                    request = entry.rests.pop(name)
                    del self._requests[request]
                    self._out.append(CancelRequest(request))
            case OpenLink(name):
                entry.links[name] = self._links.open(now, entry, order)
            case CloseLink(name, code):
                if name in entry.links:
                    self._links.close(now, entry.links.pop(name), code)
            case Fetch(name):
                self._fetch(entry, order)
            case Hold(name) | GoOn(name):
                source = entry.fetches.get(name) or entry.tasks.get(name)
                if source is not None:
                    self._out.append(Pause(source) if isinstance(order, Hold) else Resume(source))
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
            case Reply(name, value):
                if (ask := entry.asks.pop(name, None)) is not None:
                    self._out.append(Answer(ask, value))
            case Deny(name, refusal, detail):
                if (ask := entry.asks.pop(name, None)) is not None:
                    self._refuse(ask, refusal, detail, "order", call_id)

    def _fetch(self, entry: _Entry, order: Fetch) -> None:
        request = RequestId(self._names.new())
        self._fetches[request] = (entry, order.name)
        entry.fetches[order.name] = request
        self._out.append(
            Request(
                request,
                order.method,
                order.url,
                order.headers,
                order.body,
                order.auth,
                max_body=order.max_body,
                sign=order.sign,
            )
        )

    def _rearm(self, call_id: str, entry: _Entry) -> None:
        """Let the call wake up in time. A deadline that moved later is left where it is: waking up early is harmless
        and cheaper than moving the heap for every frame."""
        deadline = entry.call.deadline
        if deadline is not None:
            key = ("call", call_id)
            known = self._timers.when(key)
            if known is None or deadline < known:
                self._timers.set(key, deadline)

    def _over(self, now: int, call_id: str, entry: _Entry, reason: EndReason) -> None:
        self._out.extend(Cancel(task) for task in entry.tasks.values() if task in self._tasks)
        self._out.extend(CancelRequest(request) for request in (*entry.rests.values(), *entry.fetches.values()))
        self._release(entry, reason)
        self._forget(now, call_id, entry)
        self._sockets.call_over(call_id, reason)

    def _forget(self, now: int, call_id: str, entry: _Entry) -> None:
        for task in entry.tasks.values():
            self._tasks.pop(task, None)
        for request in entry.rests.values():
            self._requests.pop(request, None)
        for request in entry.fetches.values():
            self._fetches.pop(request, None)
        for conn in entry.links.values():
            self._links.close(now, conn, 1000)
        entry.tasks.clear()
        entry.rests.clear()
        entry.fetches.clear()
        entry.links.clear()
        if entry.conn is not None:
            self._sockets.close(entry.conn, 1000, "call ended")
        self._timers.clear(("call", call_id))
        del self._calls[call_id]
        if entry.call.spec.dial is not None:
            self._refs.pop(entry.call.spec.dial.ref, None)
            if call_id == entry.call.spec.dial.ref:
                self._remember(call_id, entry.call.spec)
        for ref in entry.call.consulted:
            self._remember(ref, entry.call.spec)
        if entry.tracer is not None:
            entry.tracer.complete = True
            self._filing.trace(entry.tracer)

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
                self._perform(now, call_id, entry, order)
        if conn is not None:
            self._sockets.close(conn, 1011, "internal error")
        if not orders or any(isinstance(order, Over) for order in orders):
            if orders:
                self._over(now, call_id, entry, entry.call.reason or EndReason.BUG)
            else:
                self._lost(now, call_id, entry, EndReason.BUG)
        else:
            self._rearm(call_id, entry)
