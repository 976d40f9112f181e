"""The caller's turns, told in the order in which they were spoken, whatever order their words become known in.

A reply usually begins before the words it answers are written down.
"""

from __future__ import annotations

from collections import deque

from ..engine import CallerSaid, EngineOrder, StageFailed
from .memory import Entry

__all__ = ["CallerTurn", "CallerTurns"]

_WAITING = 16
"""Turns whose words are awaited. A recogniser further behind has lost some."""
_TEXT_LIMIT = 20_000


class CallerTurn:
    """One turn."""

    __slots__ = ("entry", "heard_us", "item", "known", "partial", "since", "stopped", "text")

    def __init__(self, item: str, stopped: int, since: int) -> None:
        self.item = item
        self.stopped = stopped  # the last voice; -1: it was not spoken
        self.since = since  # its words are awaited since
        self.partial = ""
        self.text = ""
        self.known = False
        self.heard_us = 0  # how much sound there is of it
        self.entry: Entry | None = None


class CallerTurns:
    """A call's. ``expects_words``: there is a recogniser."""

    def __init__(self, expects_words: bool) -> None:
        self._expects = expects_words
        self._waiting: deque[CallerTurn] = deque()

    @property
    def waits_since(self) -> int:
        """Since when the oldest turn's words are awaited; -1 when none are."""
        return self._waiting[0].since if self._waiting else -1

    def spoken(self, now: int, item: str, stopped: int, out: list[EngineOrder]) -> CallerTurn:
        """The caller has said something; its words will follow."""
        turn = CallerTurn(item, stopped, now)
        if not self._expects:
            turn.known = True
            return turn
        self._waiting.append(turn)
        if len(self._waiting) > _WAITING:
            self._lose(self._waiting[0], "further turns came meanwhile", out)
        return turn

    def typed(self, now: int, text: str, out: list[EngineOrder]) -> CallerTurn:
        """The caller pressed keys."""
        turn = CallerTurn("", -1, now)
        turn.text, turn.known = text, True
        self._waiting.append(turn)
        self._tell(out)
        return turn

    def find(self, item: str) -> CallerTurn | None:
        """The turn that waits for the words of this item."""
        return next((turn for turn in self._waiting if item and turn.item == item), None)

    def words_so_far(self, item: str, delta: str, out: list[EngineOrder]) -> None:
        """The recogniser goes on."""
        turn = self.find(item)
        if turn is None or turn.known or len(turn.partial) > _TEXT_LIMIT:
            return
        turn.partial += delta
        if turn is self._waiting[0] and turn.partial.strip():
            out.append(CallerSaid(turn.partial.strip(), False, turn.stopped))

    def words(self, item: str, text: str, out: list[EngineOrder]) -> None:
        """The recogniser is done with it."""
        turn = self.find(item)
        if turn is None or turn.known:
            return
        turn.text, turn.known = text.strip()[:_TEXT_LIMIT], True
        self._remember(turn)
        self._tell(out)

    def no_words(self, item: str, detail: str, out: list[EngineOrder]) -> None:
        """The recogniser failed."""
        turn = self.find(item)
        if turn is not None and not turn.known:
            self._lose(turn, detail, out)

    def late(self, out: list[EngineOrder]) -> None:
        """The oldest turn's words do not come."""
        if self._waiting:
            self._lose(self._waiting[0], "the words of a turn did not come in time", out)

    def give_up(self, out: list[EngineOrder]) -> None:
        """The session that was to write them down is gone."""
        while self._waiting:
            self._lose(self._waiting[0], "the connection was lost before the words of a turn were known", out)

    def _lose(self, turn: CallerTurn, detail: str, out: list[EngineOrder]) -> None:
        out.append(StageFailed("stt", detail))
        turn.text, turn.known = turn.partial.strip(), True  # as much as was known
        self._remember(turn)
        self._tell(out)

    def _remember(self, turn: CallerTurn) -> None:
        if turn.entry is not None and turn.text:
            turn.entry.text, turn.entry.audio = turn.text, b""

    def _tell(self, out: list[EngineOrder]) -> None:
        while self._waiting and self._waiting[0].known:
            turn = self._waiting.popleft()
            if turn.text:
                out.append(CallerSaid(turn.text, True, turn.stopped))
