"""The tools of one call: what a model wants done is checked, done elsewhere, bounded, and answered exactly once.

    wants ── wrong name, arguments, too many ─────────────────────────────► answered
      └─► a handler runs ──── returned, raised, time ─────────────────────► answered
      └─► a URL is posted to ─ answered, failed, time ────────────────────► answered
      │      └── connection failed, 429, 5xx ── a pause ── posted again
      └─► the call is asked (a built-in) ─── done_built_in, time ─────────► answered

Nothing here waits: while a tool runs the conversation goes on. Whatever goes wrong is told to the model in a sentence
that says what it can do about it; the caller hears nothing of it but, perhaps, the tool's ``waiting_message``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from ..contract import Fault
from ..engines.engine import ToolAnswered
from ..engines.policy import ToolSpec
from ..plain import plain
from ..settings import CallSettings
from ..timers import Timers, later
from .tool_arguments import read_arguments
from .words import (
    Drop,
    Fetch,
    FetchEnded,
    FetchFailed,
    FetchGot,
    FetchStarted,
    Inward,
    Run,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
)

__all__ = ["BuiltIn", "SayWhile", "ToolOrder", "ToolTold", "Tools"]

PREFIX = "tool:"
MOST_AT_ONCE = 16
"""More are refused: a model that wants more has run away."""
MOST_RESULT = 16_384
"""Bytes of a result that reach the model; it pays for every one of them, and reads them all before it speaks."""
MOST_REPLY = 65_536
"""Bytes of a webhook's answer."""
_REMEMBERED = 1_000  # ids of calls answered, so that none is done twice
_PROGRESS = 20  # lines of progress spoken for one tool
_SPOKEN_CHARS = 500
_ERROR_CHARS = 500
_SHOWN_BODY = 300
_PAUSE_S = 0.5  # before the second try; doubled before each further one
_BUILT_IN_S = 15.0  # beyond the longest a transfer may take: the call always says what became of what it was asked

#: Nobody there, or gone before a word was said: trying again may help. A certificate or a reply that is none stays so.
_UNREACHED = frozenset({Fault.REFUSED, Fault.UNREACHABLE, Fault.RESET, Fault.TIMEOUT})
_FAULTS = {
    Fault.REFUSED: "nothing listens at its address",
    Fault.UNREACHABLE: "its address cannot be reached",
    Fault.RESET: "the connection was cut",
    Fault.TIMEOUT: "the connection timed out",
    Fault.TLS: "no secure connection could be made",
    Fault.TOO_LARGE: f"its answer is longer than {MOST_REPLY} bytes",
    Fault.BAD_REPLY: "its answer was not HTTP",
}


class SayWhile(msgspec.Struct, frozen=True, gc=False):
    """Say this to the caller while the tool runs; it is no part of the reply."""

    text: str


class BuiltIn(msgspec.Struct, frozen=True):
    """The model wants this of its call: ``transfer_call``, ``end_call``, ``send_dtmf``. ``done_built_in`` is owed."""

    call: str
    name: str
    arguments: dict[str, Any]


class ToolTold(msgspec.Struct, frozen=True):
    """For events and the transcript: what was run, or refused, and what came of it."""

    name: str
    arguments: dict[str, Any]
    result: str
    ok: bool
    ms: int


ToolOrder: TypeAlias = ToolAnswered | Run | Drop | Fetch | SayWhile | BuiltIn | ToolTold


class _Busy:
    """One tool that is being run."""

    __slots__ = (
        "arguments", "attempt", "began", "body", "call", "key", "progress", "result", "spec", "status", "task",
    )  # fmt: skip

    def __init__(self, now: int, call: str, spec: ToolSpec, arguments: dict[str, Any]) -> None:
        self.began = now
        self.call = call
        self.spec = spec
        self.arguments = arguments
        self.task = ""  # of the handler or the request that runs; '' while none does
        self.attempt = 0
        self.key = ""
        self.status = 0
        self.body = bytearray()
        self.result: str | None = None  # what a generator said so far, as JSON
        self.progress = 0


class Tools:
    """One call's. Names its tasks and fetches ``tool:<n>``; ``who`` is what handlers and webhooks are told of the
    call (call_id, caller, callee) and may be set when it becomes known."""

    def __init__(self, specs: tuple[ToolSpec, ...], settings: CallSettings, who: dict[str, str]) -> None:
        self.who = who
        self._specs = {spec.name: spec for spec in specs}
        self._built_in_s = settings.ring_s + settings.brief_s + settings.order_s + _BUILT_IN_S
        self._busy: dict[str, _Busy] = {}
        self._by_task: dict[str, _Busy] = {}
        self._seen: dict[bytes, None] = {}
        self._timers: Timers[tuple[str, str]] = Timers()
        self._count = 0
        self._spoken = False  # the caller was told to wait, and is waiting still
        self._ended = False

    @property
    def deadline(self) -> int | None:
        """When to call ``tick`` if nothing else happens."""
        return self._timers.deadline

    @property
    def busy(self) -> bool:
        """Is any tool being run?"""
        return bool(self._busy)

    @property
    def works(self) -> bool:
        """Is one of the application's being run? Its result will be talked of; what the call itself does for a model
        waits for the agent to be quiet, so nobody may wait for that."""
        return any(not one.spec.built_in for one in self._busy.values())

    def owns(self, name: str) -> bool:
        """Is a task or fetch of this name one of these?"""
        return name.startswith(PREFIX)

    # --- what happens ------------------------------------------------------------------------------------------------

    def wants(self, now: int, call: str, name: str, arguments: str) -> list[ToolOrder]:
        """The model wants a tool run. ``call`` is its name for that; a second time it means nothing."""
        if self._ended or not self._first_time(call):
            return []
        spec = self._specs.get(name)
        if spec is None:
            known = ", ".join(self._specs) or "none"
            return _refused(call, name[:64], {}, f"There is no tool {name[:64]!r}. The tools are: {known}.")
        if len(self._busy) >= MOST_AT_ONCE:
            detail = f"{MOST_AT_ONCE} tools are running already. Wait for their results, then call this one again."
            return _refused(call, name, {}, detail)
        read, problem = read_arguments(arguments, spec.parameters)
        if problem:
            return _refused(call, name, {}, f"The tool was not run: {problem}. Call it again with correct arguments.")
        busy = self._busy[call] = _Busy(now, call, spec, read)
        if spec.waiting_message:
            self._timers.set(("say", call), later(now, spec.waiting_after_s))
        if spec.built_in:
            self._timers.set(("late", call), later(now, self._built_in_s))
            return [BuiltIn(call, spec.built_in, read)]
        if spec.handler is None:
            return [self._post(now, busy)]
        self._timers.set(("late", call), later(now, spec.timeout_s))
        return [Run(self._named(busy), spec.handler.lane, spec.handler.name, (read, dict(self.who)))]

    def handle(self, now: int, fact: Inward) -> list[ToolOrder]:
        """What became of a handler or a request. Facts about names it does not know (any more) are nothing."""
        busy = self._by_task.get(fact.name)
        if busy is None:
            return []
        match fact:
            case TaskYielded(_, value):
                return self._yielded(busy, value)
            case TaskAudio(_, data):
                busy.result = _json(f"({len(data)} bytes that are no text)")
            case TaskReturned(_, value):
                if value is not None or busy.result is None:
                    value = value["result"] if _is_result(value) else value
                    return self._succeed(now, busy, _json(value))
                return self._succeed(now, busy, busy.result)
            case TaskRaised(_, fault, detail):
                if busy.result is not None:  # it had said what came of it
                    return self._succeed(now, busy, busy.result)
                why = "it is not available" if fault is Fault.UNKNOWN_HANDLER else detail[:_ERROR_CHARS]
                return self._fail(now, busy, f"The tool failed: {why}")
            case FetchStarted(_, status, _):
                busy.status = status
                if (status == 429 or status >= 500) and busy.attempt < busy.spec.tries:
                    return self._again(now, busy)
            case FetchGot(_, data):
                busy.body += data
                if len(busy.body) > MOST_REPLY:
                    return self._fail(now, busy, f"The tool failed: {_FAULTS[Fault.TOO_LARGE]}.", drop=True)
            case FetchEnded():
                return self._replied(now, busy)
            case FetchFailed(_, fault):
                if fault in _UNREACHED and not busy.status and busy.attempt < busy.spec.tries:
                    return self._again(now, busy)
                return self._fail(now, busy, f"The tool failed: {_FAULTS.get(fault, 'it did not answer')}.")
            case _:
                pass
        return []

    def tick(self, now: int) -> list[ToolOrder]:
        """Do what is due."""
        out: list[ToolOrder] = []
        while (due := self._timers.due(now)) is not None:
            what, call = due
            busy = self._busy[call]
            if what == "say":
                if not self._spoken:  # of several tools the first speaks for all
                    self._spoken = True
                    out.append(SayWhile(busy.spec.waiting_message))
            elif what == "again":
                out.append(self._post(now, busy))
            elif busy.result is not None:
                out += self._succeed(now, busy, busy.result, drop=True)
            else:
                limit = self._built_in_s if busy.spec.built_in else busy.spec.timeout_s
                detail = f"The tool did not answer within {limit:g} seconds. It may still have had its effect."
                out += self._fail(now, busy, detail, drop=True)
        return out

    def barged_in(self, now: int) -> list[ToolOrder]:
        """The caller interrupted: give up what is of no use to them any more."""
        out: list[ToolOrder] = []
        for busy in [one for one in self._busy.values() if one.spec.cancel_on_barge_in and not one.spec.built_in]:
            detail = "The caller spoke, so the tool was stopped before it was done. It may still have had its effect."
            out += self._fail(now, busy, detail, drop=True)
        return out

    def done_built_in(self, now: int, call: str, ok: bool, detail: str, quiet: bool) -> list[ToolOrder]:
        """The call did, or refused, what a built-in asked. With ``quiet`` the model need not say anything to it."""
        busy = self._busy.get(call)
        if busy is None or not busy.spec.built_in:
            return []
        if ok:
            return self._succeed(
                now, busy, _json({"ok": True, "detail": detail} if detail else {"ok": True}), quiet=quiet
            )
        return self._fail(now, busy, detail[:_ERROR_CHARS] or "The call refused.", quiet=quiet)

    def end(self, now: int) -> list[ToolOrder]:
        """The conversation is over: drop everything. Nobody is left to answer."""
        del now
        self._ended = True
        out: list[ToolOrder] = [Drop(name) for name in self._by_task]
        self._busy.clear()
        self._by_task.clear()
        self._timers = Timers()
        return out

    # --- running -----------------------------------------------------------------------------------------------------

    def _first_time(self, call: str) -> bool:
        digest = hashlib.blake2b(call.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if call in self._busy or digest in self._seen:
            return False
        self._seen[digest] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def _named(self, busy: _Busy) -> str:
        self._count += 1
        busy.task = f"{PREFIX}{self._count}"
        self._by_task[busy.task] = busy
        return busy.task

    def _let_go(self, busy: _Busy, drop: bool) -> list[ToolOrder]:
        """Of what runs for this tool. With ``drop`` it is running still."""
        task, busy.task = busy.task, ""
        if self._by_task.pop(task, None) is None or not drop:
            return []
        return [Drop(task)]

    def _yielded(self, busy: _Busy, value: Any) -> list[ToolOrder]:
        if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("progress"), str):
            text = " ".join(value["progress"].split())[:_SPOKEN_CHARS]
            busy.progress += 1
            if not text or busy.progress > _PROGRESS:
                return []
            self._timers.clear(("say", busy.call))  # the caller knows by now
            return [SayWhile(text)]
        busy.result = _json(value["result"] if _is_result(value) else value)
        return []

    def _post(self, now: int, busy: _Busy) -> Fetch:
        busy.attempt += 1
        busy.status = 0
        busy.body = bytearray()
        spec = busy.spec
        name = self._named(busy)
        if not busy.key:
            about = f"{self.who.get('call_id', '')}\n{busy.call}\n{name}"
            busy.key = hashlib.sha256(about.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        body = msgspec.json.encode(
            plain({"tool": spec.name, "arguments": busy.arguments, **self.who, "attempt": busy.attempt})
        )
        headers = (("content-type", "application/json"), ("idempotency-key", busy.key), *spec.headers)
        self._timers.set(("late", busy.call), later(now, spec.timeout_s))
        return Fetch(name, "POST", spec.url, headers, body, sign=spec.sign, max_body=MOST_REPLY)

    def _again(self, now: int, busy: _Busy) -> list[ToolOrder]:
        out = self._let_go(busy, drop=busy.status != 0)  # one that failed is over by itself
        self._timers.clear(("late", busy.call))
        self._timers.set(("again", busy.call), later(now, _PAUSE_S * 2 ** (busy.attempt - 1)))
        return out

    def _replied(self, now: int, busy: _Busy) -> list[ToolOrder]:
        body = bytes(busy.body)
        if 200 <= busy.status < 300:
            return self._succeed(now, busy, _bounded(body.decode("utf-8")) if _is_json(body) else _json(_text(body)))
        shown = " ".join(_text(body)[:_SHOWN_BODY].split())
        detail = f"The tool failed: it answered HTTP {busy.status}" + (f": {shown}" if shown else "")
        return self._fail(now, busy, detail[:_ERROR_CHARS])

    # --- answering ---------------------------------------------------------------------------------------------------

    def _succeed(
        self, now: int, busy: _Busy, output: str, *, drop: bool = False, quiet: bool = False
    ) -> list[ToolOrder]:
        return self._answer(now, busy, ToolAnswered(busy.call, output, quiet=quiet), drop)

    def _fail(self, now: int, busy: _Busy, detail: str, *, drop: bool = False, quiet: bool = False) -> list[ToolOrder]:
        return self._answer(now, busy, ToolAnswered(busy.call, _error(detail), error=True, quiet=quiet), drop)

    def _answer(self, now: int, busy: _Busy, answer: ToolAnswered, drop: bool) -> list[ToolOrder]:
        out = self._let_go(busy, drop)
        del self._busy[busy.call]
        for what in ("late", "again", "say"):
            self._timers.clear((what, busy.call))
        if not self._busy:
            self._spoken = False
        ms = max(0, now - busy.began) // 1000
        return [*out, ToolTold(busy.spec.name, busy.arguments, answer.output, not answer.error, ms), answer]


def _refused(call: str, name: str, arguments: dict[str, Any], detail: str) -> list[ToolOrder]:
    output = _error(detail)
    return [ToolTold(name, arguments, output, False, 0), ToolAnswered(call, output, error=True)]


# --- JSON text for a model -------------------------------------------------------------------------------------------


def _encoded(value: Any) -> str:
    return msgspec.json.encode(plain(value)).decode("utf-8")


def _error(detail: str) -> str:
    return _encoded({"error": detail})


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and "result" in value


def _is_json(body: bytes) -> bool:
    """One JSON value. (Msgspec reads UTF-8 only, as JSON is sent.)"""
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return False
    return True


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _json(value: Any) -> str:
    """Any plain value; text that is a JSON object or list is taken as that."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        data = value.encode("utf-8", "replace")
        if _is_json(data):
            return _bounded(data.decode("utf-8"))
    return _bounded(_encoded(value))


def _bounded(text: str) -> str:
    """``text``, or what of it fits with a note: a model that is given half an object takes it for the whole."""
    size = len(text.encode("utf-8"))
    if size <= MOST_RESULT:
        return text
    note = f"The result has {size} bytes; this is its beginning. Ask for less, or for a part of it."

    def cut(length: int) -> str:
        return _encoded({"beginning": text[:length], "note": note})

    return cut(_most(lambda length: len(cut(length).encode("utf-8")) <= MOST_RESULT))


def _most(fits: Callable[[int], bool]) -> int:
    """The greatest length that fits."""
    least, most = 0, MOST_RESULT
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least
