"""The exchanges of a call: who said what in which turn, and when each stage of it happened.

A turn opens when the caller's words are known and closes when its reply was played, was cut short, or will never come.
Its stages are found by three names: the end of the caller's speech (``stopped``), then nothing while the reply is
awaited, then the item that speaks the reply. A voice-to-voice engine replies before it knows the words: the turn then
opens with the reply, and the words are put into it when they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .metrics import CostBreakdown, LatencyBreakdown, Stage, TurnMetrics

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
    """A call's turns. The closing methods return the turns they closed, as their figures. ``cost`` is asked for what a
    turn cost, once, when it closes."""

    __slots__ = (
        "_asked",
        "_caller",
        "_cost",
        "_early",
        "_open",
        "_past",
        "_stopped",
        "_wordless",
        "call_id",
        "closed",
        "count",
    )

    def __init__(self, limit: int, call_id: str = "", cost: Callable[[int], CostBreakdown] | None = None) -> None:
        self.count = 0
        self.call_id = call_id  # a dialled call's is known later
        self._cost = cost
        self.closed: deque[TurnMetrics] = deque(maxlen=limit)
        self._caller: Stage | None = None  # the caller is speaking
        self._stopped: deque[Stage] = deque(maxlen=_PENDING)
        self._asked: Turn | None = None  # it has no reply yet
        self._open: dict[str, Turn] = {}  # by item: the reply is known, and not played to its end
        self._early: dict[str, Stage] = {}  # of items that are heard before it is known what they answer
        self._past: deque[str] = deque(maxlen=_PENDING)  # items of turns that are over
        self._wordless: deque[Turn] = deque(maxlen=_PENDING)  # answered, open or not, before their words were known

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
        """What the caller said in the turn that ``stopped`` then. The one before closes, if nothing answered it.

        It may be a turn that was answered already. When that is over, too, its figures are out, and the words come too
        late for them; they still belong to it."""
        if (answered := self._answered(stopped)) is not None:
            answered.user_text = text
            answered.stage.transcript = now
            return answered, []
        closed = [self._close(self._asked, wall, "", False)] if self._asked is not None else []
        stage = Stage(endpoint=now)
        while self._stopped and (stopped < 0 or self._stopped[0].voiced <= stopped):
            # In those passed over, nothing was recognised.
            stage = self._stopped.popleft()
        stage.transcript = now
        self.count += 1
        self._asked = Turn(self.count, text, stage)
        return self._asked, closed

    def _answered(self, stopped: int) -> Turn | None:
        """The turn that was answered before its words, and whose words these are. For those before it, none will come.
        Words of which it is not known when they were spoken (pressed keys) are nobody's but their own."""
        waiting = self._wordless
        while waiting and waiting[0].stage.voiced <= stopped:
            turn = waiting.popleft()
            if turn.stage.voiced == stopped:
                return turn
        return None

    # --- the reply ---------------------------------------------------------------------------------------------------

    def began(self, now: int, item: str) -> None:
        """The reply begins; ``item`` will speak it. It answers what was said, or the speech whose words are not known
        yet."""
        turn = self._asked
        if turn is not None:
            self._asked = None
        elif self._stopped:
            stage = self._stopped[-1]
            self._stopped.clear()
            self.count += 1
            turn = Turn(self.count, "", stage)
            self._wordless.append(turn)
        else:
            return
        turn.item = item
        turn.stage.first_text = now
        if (early := self._early.pop(item, None)) is not None:
            turn.stage.first_audio, turn.stage.last_audio = early.first_audio, early.last_audio
            turn.stage.played = early.played
        self._open[item] = turn

    def payer(self, item: str, stage: str) -> int:
        """The turn that was consumed for; 0 for none, or for one that is over.

        It is the one ``item`` answers. What a model consumed before its reply began is for the turn that waits for it.
        Recognition is for the turn whose words it brings, open or about to open."""
        if (turn := self._open.get(item)) is not None:
            return turn.index
        if item and (stage != "llm" or item in self._past):
            return 0
        if self._asked is not None:
            return self._asked.index
        if stage != "stt":
            return 0
        wordless = self._wordless[-1] if self._wordless else None
        return wordless.index if wordless is not None and wordless.item in self._open else self.count + 1

    def saying(self, now: int, item: str, text: str) -> int:
        """A sentence goes to the voice. Returns the turn it belongs to."""
        turn = self._open.get(item)
        if turn is None:
            return self.count
        turn.characters += len(text)
        turn.stage.last_sentence = now
        if turn.stage.first_sentence < 0:
            turn.stage.first_sentence = now
        return turn.index

    def audio(self, now: int, item: str) -> None:
        """The voice gave some audio."""
        stage = self._stage(item)
        stage.last_audio = now
        if stage.first_audio < 0:
            stage.first_audio = now

    def _stage(self, item: str) -> Stage:
        """Of the item's turn, or of the one it may turn out to belong to."""
        turn = self._open.get(item)
        if turn is not None:
            return turn.stage
        stage = self._early.get(item)
        if stage is None:
            if len(self._early) >= _PENDING:
                del self._early[next(iter(self._early))]
            stage = self._early[item] = Stage()
        return stage

    def sent(self, sent_at: Callable[[str], int]) -> None:
        """Speech may have left: ``sent_at(item)`` is when an item's first did, -1 when none has."""
        for item, turn in self._open.items():
            if turn.stage.sent < 0 and turn.stage.first_audio >= 0:
                turn.stage.sent = sent_at(item)

    def played(self, item: str, at: int) -> None:
        """The caller had begun to hear it by then."""
        stage = self._stage(item)
        if stage.played < 0:
            stage.played = at

    def spoken(self, item: str, wall: float, text: str, interrupted: bool, now: int = -1) -> list[TurnMetrics]:
        """Of the item, this was heard, and no more will be. ``now``: when the caller interrupted it."""
        turn = self._open.pop(item, None)
        self._early.pop(item, None)
        if turn is None:
            return []
        self._past.append(item)
        caller = self._caller
        bargein = now - caller.started if interrupted and caller is not None and now >= 0 else 0
        return [self._close(turn, wall, text, interrupted, bargein)]

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

    def _close(self, turn: Turn, wall: float, text: str, interrupted: bool, bargein_us: int = 0) -> TurnMetrics:
        metrics = TurnMetrics(
            turn_index=turn.index,
            user_text=turn.user_text,
            agent_text=text,
            latency=LatencyBreakdown.of(turn.stage, bargein_us),
            interrupted=interrupted,
            stt_audio_seconds=turn.speech_s,
            tts_characters=turn.characters,
            timestamp=wall,
            turn_id=f"{self.call_id}/{turn.index}",
            cost=self._cost(turn.index) if self._cost is not None else CostBreakdown(telephony=0.0),
        )
        self.closed.append(metrics)
        return metrics
