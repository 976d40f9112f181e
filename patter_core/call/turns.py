"""The exchanges of a call: who said what in which turn, and when each stage of it happened.

A turn opens when the caller's words are known and closes when its reply was played, was cut short, or will never come.
Its stages are found by three names: the end of the caller's speech (``stopped``), then nothing while the reply is
awaited, then the item that speaks the reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .metrics import LatencyBreakdown, Stage, TurnMetrics

__all__ = ["Turn", "Turns"]

_PENDING = 16
"""Utterances that have ended and whose words are not known. A recogniser further behind than that has lost some."""


class Turn:
    """One exchange while it is open."""

    __slots__ = ("characters", "index", "item", "speech_s", "stage", "user_text")

    def __init__(self, index: int, user_text: str, stage: Stage) -> None:
        self.index = index
        self.user_text = user_text
        self.stage = stage
        self.item = ""
        self.characters = 0
        self.speech_s = (stage.voiced - stage.started) / 1e6 if stage.voiced >= stage.started >= 0 else 0.0


class Turns:
    """A call's turns. The closing methods return the turns they closed, as their figures."""

    __slots__ = ("_asked", "_caller", "_open", "_stopped", "closed", "count")

    def __init__(self, limit: int) -> None:
        self.count = 0
        self.closed: deque[TurnMetrics] = deque(maxlen=limit)
        self._caller: Stage | None = None  # the caller is speaking
        self._stopped: deque[Stage] = deque(maxlen=_PENDING)
        self._asked: Turn | None = None  # it has no reply yet
        self._open: dict[str, Turn] = {}  # by item: the reply is known, and not played to its end

    # --- the caller --------------------------------------------------------------------------------------------------

    def started(self, at: int) -> None:
        """The caller began to speak."""
        self._caller = Stage(started=at)

    def stopped(self, now: int, at: int) -> None:
        """The caller's turn ended; the last voice was at ``at``."""
        stage = self._caller
        if stage is not None:
            stage.voiced, stage.endpoint = at, now
            self._stopped.append(stage)
            self._caller = None

    def said(self, now: int, wall: float, text: str, stopped: int) -> tuple[Turn, list[TurnMetrics]]:
        """What the caller said in the turn that ``stopped`` then. The one before closes, if nothing answered it."""
        closed = [self._close(self._asked, wall, "", False)] if self._asked is not None else []
        stage = Stage(endpoint=now)
        while self._stopped and (stopped < 0 or self._stopped[0].voiced <= stopped):
            # In those passed over, nothing was recognised.
            stage = self._stopped.popleft()
        stage.transcript = now
        self.count += 1
        self._asked = Turn(self.count, text, stage)
        return self._asked, closed

    # --- the reply ---------------------------------------------------------------------------------------------------

    def began(self, now: int, item: str) -> None:
        """The first text of the reply is known; ``item`` will speak it."""
        turn = self._asked
        if turn is not None:
            self._asked = None
            turn.item = item
            turn.stage.first_text = now
            self._open[item] = turn

    def saying(self, now: int, item: str, text: str) -> int:
        """A sentence goes to the voice. Returns the turn it belongs to."""
        turn = self._open.get(item)
        if turn is None:
            return self.count
        turn.characters += len(text)
        if turn.stage.first_sentence < 0:
            turn.stage.first_sentence = now
        return turn.index

    def audio(self, now: int, item: str) -> None:
        """The voice gave some audio."""
        turn = self._open.get(item)
        if turn is not None and turn.stage.first_audio < 0:
            turn.stage.first_audio = now

    def sent(self, sent_at: Callable[[str], int]) -> None:
        """Speech may have left: ``sent_at(item)`` is when an item's first did, -1 when none has."""
        for item, turn in self._open.items():
            if turn.stage.sent < 0 and turn.stage.first_audio >= 0:
                turn.stage.sent = sent_at(item)

    def spoken(self, item: str, wall: float, text: str, interrupted: bool) -> list[TurnMetrics]:
        """Of the item, this was heard, and no more will be."""
        turn = self._open.pop(item, None)
        return [] if turn is None else [self._close(turn, wall, text, interrupted)]

    @property
    def open(self) -> list[str]:
        """The items of turns that are being answered."""
        return list(self._open)

    def end(self, wall: float) -> list[TurnMetrics]:
        """The call is over: close what is open."""
        turns = [*self._open.values(), *([self._asked] if self._asked is not None else [])]
        self._open.clear()
        self._asked = None
        return [self._close(turn, wall, "", False) for turn in turns]

    def _close(self, turn: Turn, wall: float, text: str, interrupted: bool) -> TurnMetrics:
        metrics = TurnMetrics(
            turn_index=turn.index,
            user_text=turn.user_text,
            agent_text=text,
            latency=LatencyBreakdown.of(turn.stage),
            interrupted=interrupted,
            stt_audio_seconds=turn.speech_s,
            tts_characters=turn.characters,
            timestamp=wall,
        )
        self.closed.append(metrics)
        return metrics
