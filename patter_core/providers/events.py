"""Server-sent events from pieces of a body (WHATWG HTML, section 9.2.6): bytes cut anywhere go in, events come out.

The other role is ``wire/sse.py``. Two liberties: the last event counts although no blank line follows it (servers that
leave it out are common, and half an event is found out by whoever reads its data), and ``id`` and ``retry`` are not
kept, as nobody reconnects to the middle of an answer.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["SseEvent", "SseReader"]

_LIMIT = 1 << 20  # bytes of one event: the largest seen are a few KiB
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """``event`` is '' where the server named none."""

    event: str
    data: str


class SseReader:
    """One body. An event longer than ``limit`` bytes is left out and counted in ``overlong``."""

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_first",
        "_limit",
        "_line",
        "_size",
        "_skipping",
        "_spoilt",
        "overlong",
    )

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._line = bytearray()  # of a line that has not ended
        self._after_cr = False  # the last piece ended in CR: an LF now is the rest of that line end
        self._first = True  # no line has ended yet
        self._skipping = False  # the line being read is too long
        self._spoilt = False  # the event being read is too long
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self.overlong = 0

    def push(self, data: bytes) -> list[SseEvent]:
        """A piece of the body."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        events: list[SseEvent] = []
        pieces = _LINE_END.split(data)
        self._take(pieces[0])
        for piece in pieces[1:]:
            self._line_over(events)
            self._take(piece)
        return events

    def end(self) -> list[SseEvent]:
        """The body is over."""
        events: list[SseEvent] = []
        if self._line or self._skipping:
            self._line_over(events)
        self._line_over(events)
        return events

    def _take(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._line += piece
        if len(self._line) > self._limit:
            self._line.clear()
            self._skipping = True

    def _line_over(self, events: list[SseEvent]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if self._skipping:
            self._skipping = False
            self._spoilt = True
        elif line:
            self._field(line)
        else:
            self._event_over(events)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit:
                self._spoilt = True
                self._data.clear()
            else:
                self._data.append(value.decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value[:200].decode("utf-8", "replace")

    def _event_over(self, events: list[SseEvent]) -> None:
        if self._spoilt:
            self.overlong += 1
        elif self._data:
            events.append(SseEvent(self._event, "\n".join(self._data)))
        self._spoilt = False
        self._event = ""
        self._data = []
        self._size = 0
