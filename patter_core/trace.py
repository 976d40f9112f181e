"""A call's facts and orders, recorded and replayed.

A trace is a text file of JSON lines: a header with everything the call was made from, then one line per step with its
time, its fact and the orders that answered it. A call reads nothing shared, so its trace replays alone, bit for bit, on
any machine: that is how a user reports a bug and how a bug becomes a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .call.call import Call
from .call.spec import CallSpec
from .call.words import CallFact, CallOrder
from .plain import plain

__all__ = ["VERSION", "Difference", "Header", "TraceError", "Tracer", "header_line", "replay", "step_line", "steps"]

VERSION = 1


class TraceError(ValueError):
    """The file is not a trace this version can read; the message says which line and why."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. ``at`` is the board's clock when the call was made. ``lossy`` traces compare codes and times."""

    patter_trace: int = VERSION
    at: int
    spec: CallSpec
    lossy: bool = False


class _Step(msgspec.Struct, frozen=True):
    at: int
    fact: CallFact
    orders: list[msgspec.Raw]


class Difference(msgspec.Struct, frozen=True):
    """The first step whose orders differ. ``expected`` and ``got`` are JSON lines."""

    line: int
    at: int
    fact: str
    expected: tuple[str, ...]
    got: tuple[str, ...]


_orders = msgspec.json.Encoder(order="deterministic")  # what is compared
_facts = msgspec.json.Encoder()  # what is given again: the order of a dict's keys is part of it
_header = msgspec.json.Decoder(Header)
_step = msgspec.json.Decoder(_Step)


def header_line(now: int, spec: CallSpec) -> bytes:
    """The header of a trace that begins now."""
    return _json(_facts, Header(at=now, spec=spec)) + b"\n"


def step_line(now: int, fact: CallFact, orders: list[CallOrder]) -> bytes:
    """One step."""
    try:
        given = _orders.encode(orders)
    except (TypeError, ValueError, OverflowError):
        given = b"[%b]" % b",".join(_json(_orders, order) for order in orders)
    return b'{"at":%d,"fact":%b,"orders":%b}\n' % (now, _json(_facts, fact), given)


def _json(encoder: msgspec.json.Encoder, word: Any) -> bytes:
    """What has no JSON form (half a surrogate pair in a text of the application's) is replaced: better a trace that
    differs there than none."""
    try:
        return encoder.encode(word)
    except (TypeError, ValueError, OverflowError):
        return encoder.encode(plain(msgspec.to_builtins(word, enc_hook=plain)))


def steps(lines: Iterable[bytes]) -> Iterator[tuple[int, int, CallFact, list[msgspec.Raw]]]:
    """The steps after the header: line number, time, fact, expected orders as raw JSON."""
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            step = _step.decode(line)
        except (ValueError, RecursionError) as exc:
            raise TraceError(f"line {number} is not a step of a trace: {exc}") from None
        yield number, step.at, step.fact, step.orders


def read_header(line: bytes) -> Header:
    """The header, or TraceError."""
    try:
        header = _header.decode(line)
    except (ValueError, RecursionError) as exc:
        raise TraceError(f"line 1 is not a trace's header: {exc}") from None
    if header.patter_trace != VERSION:
        raise TraceError(f"line 1: a version {header.patter_trace} trace; this is version {VERSION}")
    return header


def replay(lines: Iterable[bytes]) -> tuple[int, Difference | None]:
    """Run a trace again. Returns how many steps agreed, and the first that did not. ``TraceError`` for a file that is
    no trace or breaks off within a line. A trace whose last step found a bug finds it again: that exception is
    raised."""
    iterator = iter(lines)
    header = read_header(next(iterator, b""))
    try:
        call = Call(header.at, header.spec)
    except (LookupError, ValueError) as exc:
        raise TraceError(f"line 1: no call can be made from this header: {exc!r}") from None
    count = 0
    for number, at, fact, expected in steps(iterator):
        got = [_orders.encode(order) for order in call.handle(at, fact)]
        wanted = [bytes(raw) for raw in expected]
        if got != wanted:
            fact_text = _facts.encode(fact).decode()
            texts = tuple(w.decode() for w in wanted), tuple(g.decode() for g in got)
            return count, Difference(number, at, fact_text, *texts)
        count += 1
    return count, None


class Tracer:
    """Collects a call's trace in pieces worth writing. Bounded: a disk that does not keep up truncates the trace, and
    the trace says so by ending early."""

    __slots__ = ("_bytes", "_limit", "_parts", "begun", "busy", "complete", "path", "truncated")

    def __init__(self, path: str, now: int, spec: CallSpec, limit: int = 8 << 20) -> None:
        self.path = path
        self._parts: list[bytes] = [header_line(now, spec)]
        self._bytes = len(self._parts[0])
        self._limit = limit
        self.begun = False  # its first piece was taken: that one replaces an older file of this name
        self.busy = False  # a piece is being written; the next waits, so that pieces stay in order
        self.complete = False  # its call is over: what is left is written, however little
        self.truncated = False

    def step(self, now: int, fact: CallFact, orders: list[Any]) -> None:
        """Record one step."""
        if self.truncated:
            return
        line = step_line(now, fact, orders)
        if self._bytes + len(line) > self._limit:
            self.truncated = True
            return
        self._parts.append(line)
        self._bytes += len(line)

    def take(self, least: int) -> bytes:
        """What is to be written now, if it is at least that much."""
        if self.busy or self._bytes < least or not self._parts:
            return b""
        data = b"".join(self._parts)
        self._parts.clear()
        self._bytes = 0
        return data
