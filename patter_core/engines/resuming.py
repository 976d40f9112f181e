"""Interruptions that were none: a cough, a door, somebody else's voice. What was cut is then said, once.

From the sentence that was cut, in whole sentences: nobody wants the second half of a word. Of a reply that was still
being thought of, what was known of it.
"""

from __future__ import annotations

from collections import deque

from .speaking import Line

__all__ = ["Resuming"]

_AIRED = 32
"""Items whose end is not known: more are not being played at a time."""


class Resuming:
    """What the voice was given, and what of it was cut."""

    __slots__ = ("_aired", "_cut", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit  # characters kept of what was cut
        self._aired: dict[str, tuple[Line, list[str]]] = {}
        self._cut: list[Line] = []

    @property
    def pending(self) -> bool:
        """Something was cut and may have to be said after all."""
        return bool(self._cut)

    def aired(self, line: Line, sentence: str) -> None:
        """A sentence went to the voice."""
        if line.again:
            return
        if line.item not in self._aired and len(self._aired) >= _AIRED:
            del self._aired[next(iter(self._aired))]
        self._aired.setdefault(line.item, (line, []))[1].append(sentence)

    def played(self, item: str) -> None:
        """All of it was heard."""
        self._aired.pop(item, None)

    def cut(self, item: str, heard: str) -> None:
        """Only this was heard of an item."""
        line, sentences = self._aired.pop(item, (None, []))
        if line is not None:
            self._keep(line, [*_unheard(sentences, heard), *line.waiting])

    def dropped(self, lines: list[Line], item: str) -> None:
        """These were still to be said when ``item`` was cut, and everything with it. Of what the voice had already,
        each item is told of by itself."""
        for line in lines:
            if not line.again and line.item not in self._aired and line.item != item and line.began:
                self._keep(line, list(line.waiting))

    def cancel(self) -> None:
        """The caller has words of their own."""
        self._cut.clear()

    def forget(self) -> None:
        """Nothing of all this will be said again."""
        self._cut.clear()
        self._aired.clear()

    def take(self) -> list[Line]:
        """What is to be said after all: for each item that was cut a line with its rest, and its name."""
        cut, self._cut = self._cut, []
        return cut

    def _keep(self, line: Line, sentences: list[str]) -> None:
        rest = Line(line.item, line.written)
        rest.cleaner = line.cleaner
        rest.waiting = deque(sentences)
        rest.raw = deque(line.raw)
        if (rest.waiting or rest.raw) and sum(one.characters for one in self._cut) + rest.characters <= self._limit:
            self._cut.append(rest)


def _unheard(sentences: list[str], heard: str) -> list[str]:
    """From the first sentence on that was not heard to its end."""
    end = 0
    for number, sentence in enumerate(sentences):
        end += len(sentence) + (number > 0)
        if end > len(heard):
            return sentences[number:]
    return []
