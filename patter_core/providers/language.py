"""What every language model behind HTTP has in common, whatever its wire: ask, read the answer as it comes, run the
tools it wants, ask again; and what to do when any of that fails.

A reply is one or more *rounds*: a request, its answer read to the end, and the tools the answer wanted. What can be
done again is done again once, as long as nothing of that round was said: a second voice that starts over is worse than
an apology. A reply that fails for good is ``StageFailed`` and ``Replied``; ``Lost`` is for what will not get better by
itself (the key, the model's name, an unpaid account) and for three failures in a row.

A body that has said all it has to say is left to end by itself, so that its connection can be used for the next one.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec

from ..call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted, Inward
from ..contract import Fault
from ..engines.engine import CallTool, ProviderWarned, StageFailed, ToolAnswered, Used
from ..engines.stages import BrainOrder, Lost, Question, Replied, Text
from ..engines.usage import Usage
from ..settings import CallSettings, us
from ..timers import Timers, later
from .events import SseEvent, SseReader
from .exchanges import Called, Exchanges, Round

__all__ = ["ANSWER_BYTES", "LanguageBrain", "ModelSpec", "Reading", "Spent", "Wanted", "Wire"]

ANSWER_BYTES = 8 << 20  # of one answer: some 300 bytes around each token, and reasoning nobody hears
_FIRST_S = 10.0  # to the first sign of an answer: a caller waiting longer thinks the line is dead
_IDLE_S = 8.0  # between two pieces of an answer
_TAIL_S = 1.0  # from the last word to the end of the stream: only the bill is in between
_CLOSE_S = 2.0  # a body that is over, but does not end
_AGAIN_S = 0.25  # before asking again
_LIMITED_S = 1.0  # the same, when there were too many requests and nobody says how long to wait
_AGAIN_MOST_S = 5.0  # a provider that wants us to wait longer is one that failed
_REPETITIONS = 1  # of a reply
_ROUNDS = 8  # of tools: a model that wants more goes in circles
_CALLS = 16  # tools of one round
_FAILURES = 3  # replies in a row
_ERROR_BYTES = 16 << 10
_WHOLE_BYTES = 1 << 20  # an answer in one piece
_MESSAGE = 200  # characters of a provider's own words in ours
#: Codes rather than words: Groq names its billing page whenever it asks for patience.
_UNPAID = re.compile(r"insufficient_quota|billing_\w+|credit balance|enforced_spend_limit", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_FINAL_FAULTS = (Fault.TOO_LARGE, Fault.CANCELLED, Fault.UNKNOWN_HANDLER)


class ModelSpec(Protocol):
    """What the brain itself needs to know of its provider."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def variable(self) -> str:
        """The environment variable of the key; '' where there is none."""
        ...


class Wanted(msgspec.Struct):
    """A tool the model wants run, as it was read. ``kept`` is what the provider wants to see again with it."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    kept: dict[str, Any] = {}


class Spent(msgspec.Struct, frozen=True):
    """Tokens, each in one of the three."""

    input: int = 0
    cached: int = 0
    output: int = 0


class Reading(Protocol):
    """One answer being read."""

    calls: list[Wanted]
    spent: Spent | None
    alive: bool  # something of the answer came, be it only a thought
    finished: bool  # the model has said why it stopped
    done: bool  # the stream has said that it is over
    wrong: str  # what the provider reported in the middle of its stream
    passing: bool  # ... and whether that may go away by itself
    why: str  # why there may be nothing to say
    warnings: list[tuple[str, str]]
    kept: dict[str, Any]

    def push(self, event: SseEvent) -> str:
        """An event; returns what it adds to the text."""
        ...

    def whole(self, body: bytes) -> str:
        """An answer in one piece, from a server that does not stream."""
        ...

    def end(self) -> str:
        """Nothing more comes; returns the text that waited for it."""
        ...


class Wire(Protocol):
    """One provider's requests and answers."""

    def fetch(self, name: str, exchanges: Exchanges, question: Question) -> Fetch: ...

    def reading(self) -> Reading: ...


class LanguageBrain:
    """A ``Brain`` over a ``Wire``."""

    def __init__(self, wire: Wire, spec: ModelSpec, prefix: str, settings: CallSettings) -> None:
        self._wire = wire
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._timers: Timers[str] = Timers()
        self._exchanges = Exchanges()
        self._count = 0  # names given to fetches and tool calls
        self._failures = 0  # replies in a row
        self._warned: set[str] = set()
        self._gone = False
        # the reply
        self._question: Question | None = None
        self._left = 0  # microseconds it may still take, tools not counted
        self._since = 0  # when it began to take them
        self._again = 0  # requests repeated
        self._rounds = 0  # of tools
        self._chars = 0
        self._said = ""  # the end of what was said, at most one character
        self._waiting: dict[str, None] = {}  # tool calls without an answer
        self._quiet = False
        # its request
        self._fetch = ""
        self._reading: Reading = wire.reading()
        self._stream = SseReader()
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: bytearray | None = None  # an answer that is no stream
        self._text: list[str] = []  # what it said

    @property
    def deadline(self) -> int | None:
        return self._timers.deadline

    def begin(self, now: int) -> list[BrainOrder]:
        return []

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        if self._gone:
            return out
        self._let_go(out)
        self._exchanges.begin(question)
        self._question = question
        self._left = us(self._settings.reply_s)
        self._again = self._rounds = self._chars = 0
        self._said = ""
        self._resume(now, out)
        return out

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        self._exchanges.answered(answer)
        if answer.call not in self._waiting:
            return out
        del self._waiting[answer.call]
        self._quiet = self._quiet or answer.quiet
        if self._waiting:
            return out
        if self._quiet:
            self._over(out)
        else:
            self._resume(now, out)
        return out

    def stop(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        self._let_go(out)
        return out

    def end(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        self._let_go(out)
        self._close(out)
        return out

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        name = fact.name
        if not name or name != self._fetch:
            if isinstance(fact, FetchEnded | FetchFailed):
                self._timers.clear(f"tail {name}")
            return out
        match fact:
            case FetchGot(_, data):
                self._got(now, data, out)
            case FetchStarted(_, status, headers):
                self._status = status
                self._headers = headers
                kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                if not 200 <= status < 300 or kind == "application/json":
                    self._body = bytearray()
            case FetchEnded():
                self._fetch = ""
                self._ended(now, out)
            case FetchFailed(_, fault):
                self._fetch = ""
                if self._status and not 200 <= self._status < 300:
                    self._refused(now, out)
                elif self._reading.finished:
                    self._answered(now, out)
                else:
                    self._broken(now, f"the connection failed ({fault.value})", fault not in _FINAL_FAULTS, out)
        return out

    def tick(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        while (timer := self._timers.due(now)) is not None:
            if timer.startswith("tail "):
                out.append(Drop(timer.removeprefix("tail ")))
            elif timer == "again":
                self._ask(now, out)
            elif timer == "total":
                self._fail(f"took longer than reply_s ({self._settings.reply_s:g} s)", out)
            elif self._status and not 200 <= self._status < 300:
                self._refused(now, out)
            elif self._reading.finished:
                self._answered(now, out)
            elif timer == "first":
                self._broken(now, f"no answer within {_FIRST_S:g} s", True, out)
            else:
                self._broken(now, f"nothing more came for {_IDLE_S:g} s", True, out)
        return out

    # --- asking ------------------------------------------------------------------------------------------------------

    def _resume(self, now: int, out: list[BrainOrder]) -> None:
        """The next round."""
        self._since = now
        self._timers.set("total", now + max(1, self._left))
        self._ask(now, out)

    def _ask(self, now: int, out: list[BrainOrder]) -> None:
        assert self._question is not None
        self._fetch = self._name()
        self._reading = self._wire.reading()
        self._stream = SseReader()
        self._status = 0
        self._headers = {}
        self._body = None
        self._text = []
        self._timers.set("first", later(now, _FIRST_S))
        out.append(self._wire.fetch(self._fetch, self._exchanges, self._question))

    def _name(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"

    # --- reading -----------------------------------------------------------------------------------------------------

    def _got(self, now: int, data: bytes, out: list[BrainOrder]) -> None:
        fetch = self._fetch
        if self._body is not None:
            room = (_WHOLE_BYTES if 200 <= self._status < 300 else _ERROR_BYTES) - len(self._body)
            self._body += data[: max(0, room)]
            return
        for event in self._stream.push(data):
            self._event(now, event, out)
            if self._fetch != fetch:
                return
        if self._reading.alive:
            self._timers.clear("first")
            self._timers.set("idle", later(now, _TAIL_S if self._reading.finished else _IDLE_S))

    def _event(self, now: int, event: SseEvent, out: list[BrainOrder]) -> None:
        fetch = self._fetch
        self._say(self._reading.push(event), out)
        if self._fetch != fetch:  # it was too long
            return
        if self._reading.wrong:
            self._broken(now, self._reading.wrong, self._reading.passing, out)
        elif self._reading.done:
            self._answered(now, out)

    def _ended(self, now: int, out: list[BrainOrder]) -> None:
        if not 200 <= self._status < 300:
            self._refused(now, out)
            return
        if self._body is not None:
            self._say(self._reading.whole(bytes(self._body)), out)
        else:
            for event in self._stream.end():
                self._say(self._reading.push(event), out)
        if self._question is None:
            return
        if self._reading.wrong:
            self._broken(now, self._reading.wrong, self._reading.passing, out)
        else:
            self._answered(now, out)

    def _say(self, text: str, out: list[BrainOrder]) -> None:
        if not text or self._question is None:
            return
        if not self._text:  # models begin with line ends; and what was said before the tools is not to run into this
            text = text.lstrip()
            if not text:
                return
            if self._said and not self._said.isspace():
                text = " " + text
        room = self._settings.reply_chars - self._chars
        cut = len(text) > room
        text = text[:room]
        if text:
            self._chars += len(text)
            self._said = text[-1]
            self._text.append(text)
            out.append(Text(text))
        if cut:
            self._fail(f"longer than reply_chars ({self._settings.reply_chars}); cut", out)

    def _answered(self, now: int, out: list[BrainOrder]) -> None:
        """The whole answer is in."""
        reading = self._reading
        self._say(reading.end(), out)
        if self._question is None:
            return
        self._account(out, True)
        if self._fetch:
            self._timers.set(f"tail {self._fetch}", later(now, _CLOSE_S))
            self._fetch = ""
        self._quieten()
        if reading.calls:
            self._call(now, reading, out)
        elif self._said:
            self._over(out)
        else:
            self._fail(reading.why or "an answer with nothing to say", out)

    def _call(self, now: int, reading: Reading, out: list[BrainOrder]) -> None:
        self._rounds += 1
        if self._rounds > _ROUNDS:
            self._fail(f"wanted tools {_ROUNDS} times in a row and came to no answer", out)
            return
        self._left -= now - self._since
        self._timers.clear("total")
        if len(reading.calls) > _CALLS:
            self._warn("tools", f"{len(reading.calls)} tools at once; the first {_CALLS} are run", out)
        calls: list[Called] = []
        ids: set[str] = set()
        for wanted in reading.calls[:_CALLS]:
            name = self._name()
            id = wanted.id
            if not id or id in ids:
                id = f"call{self._count:05d}"  # nine letters and digits, which is what the strictest servers take
            ids.add(id)
            called = Called(name, id, wanted.name, wanted.arguments if wanted.arguments.strip() else "{}", wanted.kept)
            calls.append(called)
            self._waiting[name] = None
            out.append(CallTool(name, called.name, called.arguments))
        self._quiet = False
        self._exchanges.add(Round("".join(self._text).strip(), calls, reading.kept))

    # --- the end of it -----------------------------------------------------------------------------------------------

    def _over(self, out: list[BrainOrder]) -> None:
        self._failures = 0
        self._let_go(out)
        out.append(Replied())

    def _refused(self, now: int, out: list[BrainOrder]) -> None:
        """An answer that is none."""
        spec, status = self._spec, self._status
        said = _error(bytes(self._body or b""))
        where = f"{spec.provider} answered {status}" + (f": {said}" if said else "")
        if status == 401:  # their words are left out: some quote the key
            fix = f"check {spec.variable} or api_key=" if spec.variable else "it wants a key: pass api_key="
            self._lose(f"{spec.provider} refused the key (401); {fix}", out)
        elif status == 402 or (status in (400, 429) and _UNPAID.search(said)):
            self._lose(f"{where}; the account cannot pay for this: see to its billing", out)
        elif status == 403:
            self._lose(f"{where}; the key may not use {spec.model!r}: check its rights, or model=", out)
        elif status == 404:
            self._lose(f"{where}; check model={spec.model!r} and base_url={spec.base_url!r}", out)
        else:
            wait = _retry_after(self._headers)
            if wait is None:
                wait = _LIMITED_S if status == 429 else _AGAIN_S
            self._broken(now, where, status in (408, 409, 429) or status >= 500, out, wait)

    def _broken(self, now: int, detail: str, passing: bool, out: list[BrainOrder], wait: float = _AGAIN_S) -> None:
        """This request came to nothing. Once, and as long as nothing of it was said, another is made."""
        total = self._timers.when("total")
        soon = wait <= _AGAIN_MOST_S and total is not None and later(now, wait) < total
        if not passing or self._text or self._again >= _REPETITIONS or not soon:
            self._fail(detail, out)
            return
        self._again += 1
        self._account(out, False)
        self._drop(out)
        self._quieten()
        self._timers.set("again", later(now, wait))

    def _fail(self, detail: str, out: list[BrainOrder]) -> None:
        detail = detail if detail.startswith(self._spec.provider) else f"{self._spec.provider}: {detail}"
        self._failures += 1
        lost = self._failures >= _FAILURES
        said = bool(self._said)
        self._let_go(out)
        if said or not lost:
            out.append(StageFailed("reply", detail))
            out.append(Replied())
        if lost:
            self._lose(f"{_FAILURES} replies in a row failed; the last one: {detail}", out)

    def _lose(self, detail: str, out: list[BrainOrder]) -> None:
        self._let_go(out)
        self._close(out)
        out.append(Lost(detail))

    def _let_go(self, out: list[BrainOrder]) -> None:
        """No reply is being made any more."""
        if self._question is None:
            return
        self._account(out, False)
        self._drop(out)
        self._quieten()
        self._timers.clear("total")
        self._question = None
        self._waiting.clear()

    def _close(self, out: list[BrainOrder]) -> None:
        self._gone = True
        while (at := self._timers.deadline) is not None:
            timer = self._timers.due(at)
            if timer is not None and timer.startswith("tail "):
                out.append(Drop(timer.removeprefix("tail ")))

    def _drop(self, out: list[BrainOrder]) -> None:
        if self._fetch:
            out.append(Drop(self._fetch))
            self._fetch = ""

    def _quieten(self) -> None:
        for timer in ("first", "idle", "again"):
            self._timers.clear(timer)

    def _account(self, out: list[BrainOrder], whole: bool) -> None:
        """What the answer cost, as far as it was said; of a ``whole`` answer it should have been."""
        spec, reading = self._spec, self._reading
        spent, reading.spent = reading.spent, None
        if spent is not None:
            usage = Usage(
                stage="llm",
                provider=spec.provider,
                model=spec.model,
                input_text=spent.input,
                cached_text=spent.cached,
                output_text=spent.output,
            )
            out.append(Used(usage))
        elif whole:
            self._warn("no_usage", f"{spec.model!r} does not say what its answers cost; none is accounted for", out)
        for code, detail in reading.warnings:
            self._warn(code, detail, out)
        if self._stream.overlong:
            self._warn("malformed", "an event larger than any should be was left out", out)

    def _warn(self, code: str, detail: str, out: list[BrainOrder]) -> None:
        if code not in self._warned:
            self._warned.add(code)
            out.append(ProviderWarned(self._spec.provider, code, detail))


def _error(body: bytes) -> str:
    """What a refusal says, in one line: {"error": {"message", "type", "code"}}, {"error": "..."}, {"message": "..."},
    {"detail": ...} or plain words."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = body.decode("utf-8", "replace")
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        error = next((value[key] for key in ("error", "message", "detail") if value.get(key)), "")
        if isinstance(error, dict):
            details = error.get("details")
            parts = [error.get("code"), error.get("type"), error.get("message")]
            parts.insert(0, details.get("error_code") if isinstance(details, dict) else None)
            error = " / ".join(part for part in parts if isinstance(part, str) and part)
        value = error
    text = value if isinstance(value, str) else ""
    if text.lstrip().startswith("<"):
        return ""  # a proxy's page
    return _SPACE.sub(" ", text).strip()[:_MESSAGE]


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds, as asked for; None when nothing is asked for, or in a date, which needs a clock."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(header, "")) * unit
        except ValueError:
            continue
        if wait >= 0:
            return wait
    return None
