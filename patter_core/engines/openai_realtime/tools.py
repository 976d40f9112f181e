"""Tools the model wants run: which are awaited, and when all of a reply's have been answered."""

from __future__ import annotations

from .memory import Entry

__all__ = ["Tools"]

_AWAITED = 64
"""Tools that are awaited at the same time."""
_REMEMBERED = 256
"""Calls remembered, so that none runs twice."""
_ARGUMENTS = 100_000
_NAME = 200


class Tools:
    """One call's. A ``batch`` is the reply that wanted them."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[str, Entry]] = {}
        self._seen: dict[str, None] = {}
        self._quiet: dict[str, bool] = {}  # batches not finished yet

    def __bool__(self) -> bool:
        """Is any awaited?"""
        return bool(self._awaited)

    def is_new(self, call: str) -> bool:
        """Was this call never seen? It now was."""
        if not call or len(call) > _NAME or call in self._seen:
            return False
        self._seen[call] = None
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def fits(self, name: str, arguments: str) -> bool:
        """Is it within bounds?"""
        return len(self._awaited) < _AWAITED and len(arguments) <= _ARGUMENTS and len(name) <= _NAME

    def expect(self, call: str, batch: str, entry: Entry) -> None:
        """It is run."""
        self._awaited[call] = (batch, entry)
        self._quiet.setdefault(batch, False)

    def answered(self, call: str, output: str, quiet: bool) -> str | None:
        """It is done. Returns its batch, None when nobody waits for it."""
        found = self._awaited.pop(call, None)
        if found is None:
            return None
        batch, entry = found
        entry.output = output
        self._quiet[batch] = self._quiet.get(batch, False) or quiet
        return batch

    def finish(self, batch: str) -> bool:
        """The reply is complete. Have all its tools been answered, and does it want to hear the model's view of it?
        Says so once."""
        if batch not in self._quiet or any(each == batch for each, _ in self._awaited.values()):
            return False
        return not self._quiet.pop(batch)
