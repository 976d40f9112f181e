"""A carrier's end of the audio: it buffers what a server sends, plays it, and returns marks when played.

A ``clear`` empties the buffer and returns every pending mark at once, as carriers do: which is why a returned mark
alone proves nothing.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Handset"]

_SILENCE = 0xFF


class Handset:
    """Plays mu-law frame by frame. ``heard`` is what the ear got; ``marks`` are to be returned in that order."""

    def __init__(self, frame_bytes: int = 160) -> None:
        self._frame = frame_bytes
        self._queue: deque[bytes | str] = deque()  # audio, or a mark's name
        self._buffered = 0
        self.heard = bytearray()
        self.frames = 0  # heard so far, whether or not `heard` is kept
        self.underruns = 0  # frames of silence in the middle of speech: the server fed us too late
        self.max_buffered = 0
        self.received = 0
        self.cleared = 0
        self._gap = 0
        self._spoken = False

    def media(self, payload: bytes) -> None:
        """Audio from the server."""
        if payload:
            if self._spoken and self._gap <= 25:
                self.underruns += self._gap
            self._gap = 0
            self._spoken = True
            self._queue.append(payload)
            self._buffered += len(payload)
            self.received += len(payload)
            self.max_buffered = max(self.max_buffered, self._buffered)

    def mark(self, name: str) -> list[str]:
        """A mark from the server. Returns the marks to send back at once: with nothing buffered, this one."""
        if not self._queue:
            return [name]
        self._queue.append(name)
        return []

    def clear(self) -> list[str]:
        """Empty the buffer. Returns the marks to send back: all of them."""
        self.cleared += self._buffered
        marks = [item for item in self._queue if isinstance(item, str)]
        self._queue.clear()
        self._buffered = 0
        return marks

    def forget(self) -> None:
        """The line to the server is gone, and with it what was still to be played."""
        self._queue.clear()
        self._buffered = 0
        self._spoken = False

    def play(self) -> tuple[bytes, list[str]]:
        """20 ms go by: the frame that was heard (silence where there was nothing) and the marks it passed."""
        marks: list[str] = []
        parts: list[bytes] = []
        room = self._frame
        while self._queue:
            item = self._queue[0]
            if isinstance(item, str):
                marks.append(item)
                self._queue.popleft()
            elif room == 0:
                break
            else:
                self._queue.popleft()
                if len(item) > room:
                    self._queue.appendleft(item[room:])
                    item = item[:room]
                parts.append(item)
                room -= len(item)
        frame = b"".join(parts)
        self._buffered -= len(frame)
        if not frame:
            self._gap += 1
        frame += bytes([_SILENCE]) * (self._frame - len(frame))
        self.heard += frame
        self.frames += 1
        return frame, marks

    @property
    def buffered(self) -> int:
        """Bytes not played yet."""
        return self._buffered
