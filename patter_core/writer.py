"""A file written piece by piece through named handlers: in order, one piece at a time, bounded while it waits."""

from __future__ import annotations

from collections import deque

__all__ = ["Writer"]


class Writer:
    """The pieces of one file. ``next`` gives the next handler and its arguments; ``written`` says that it is done."""

    __slots__ = ("_begun", "_busy", "_bytes", "_limit", "_pieces", "broken", "path")

    def __init__(self, path: str, limit: int = 16 << 20) -> None:
        self.path = path
        self.broken = False  # a piece was lost: nothing that follows it would be in its place
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._limit = limit
        self._begun = False
        self._busy = False

    def put(self, data: bytes, offset: int = -1) -> bool:
        """Append ``data``; or, at an ``offset``, write over what is there. False: a disk this slow gets no more."""
        if self.broken:
            return False
        if self._bytes + len(data) > self._limit:
            self.broken = True
            return False
        self._pieces.append((offset, data))
        self._bytes += len(data)
        return True

    def next(self) -> tuple[str, tuple[object, ...]] | None:
        """What to do now, if nothing is being done."""
        if self._busy or not self._pieces:
            return None
        offset, data = self._pieces.popleft()
        self._bytes -= len(data)
        self._busy = True
        if offset >= 0:
            return "file.patch", (self.path, offset, data)
        begun, self._begun = self._begun, True
        return "file.append" if begun else "file.create", (self.path, data)

    def written(self, ok: bool) -> None:
        """The last piece was written, or could not be."""
        self._busy = False
        if not ok:
            self.broken = True
            self._pieces.clear()
            self._bytes = 0

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return not self._busy and not self._pieces
