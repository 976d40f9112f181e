"""The audio of a line that may have to be said again, by its position in it."""

from __future__ import annotations

from collections import deque

__all__ = ["Kept"]


class Kept:
    """The latest of a line's audio. Positions are bytes since the line began, whatever is kept of it."""

    __slots__ = ("_chunks", "_limit", "end", "start")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self.start = 0
        """The position of the first byte that is kept."""
        self.end = 0
        """The position after the last byte of the line."""

    def add(self, audio: bytes) -> None:
        """The line goes on with this. More than the limit is not kept: the oldest goes."""
        self._chunks.append(audio)
        self.end += len(audio)
        while self.end - self.start > self._limit and len(self._chunks) > 1:
            self.start += len(self._chunks.popleft())

    def forget(self, position: int) -> None:
        """What is before ``position`` need not be kept any more."""
        position = min(position, self.end)
        while self.start < position:
            chunk = self._chunks.popleft()
            rest = self.start + len(chunk) - position
            if rest > 0:
                self._chunks.appendleft(chunk[-rest:])
                self.start = position
            else:
                self.start += len(chunk)

    def whole(self) -> bytes:
        """All that is kept."""
        return b"".join(self._chunks)
