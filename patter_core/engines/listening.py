"""The hearing half of a pipeline: the caller's line in, what the caller said out, in the order in which it was said.

Our own voice detector follows the line in any case: it says when the caller speaks, and cuts utterances. The ear, which
knows words, hears all of the line and is told of each utterance; or it decides itself that a turn is over. Keys are put
in order with speech: what was keyed in during a sentence is known after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ..audio.transcode import Transcoder
from ..call.words import Inward
from ..settings import CallSettings
from .asides import Answered, Asides
from .ears import Ears, Spoken
from .engine import CallerSaid, CallerStarted, CallerStopped, EngineContext, EngineOrder, StageFailed
from .policy import HandlerSpec
from .stages import Ear, EarOrder, Lost, Partial, Recognised

__all__ = ["HEARD", "HOOK_S", "Heard", "Listening"]

HEARD = "heard"
HOOK_S = 2.0
"""One hook: the caller waits for it."""
_WAITING = 64
"""Utterances and keys that wait for the words of an utterance before them."""


class Heard(msgspec.Struct, frozen=True, gc=False):
    """The caller said ``text`` (or keyed it in), with so much voice."""

    text: str
    voiced_us: int
    keyed: bool = False


class _Waiting:
    """Its words are not known, or not yet told."""

    __slots__ = ("hooked", "keyed", "stopped", "text", "voiced_us")

    def __init__(self, stopped: int, voiced_us: int, text: str | None = None, keyed: bool = False) -> None:
        self.stopped = stopped
        self.voiced_us = voiced_us
        self.text = text
        self.keyed = keyed
        self.hooked = keyed


class Listening:
    """One caller's line, and the ear that is on it."""

    def __init__(
        self,
        context: EngineContext,
        settings: CallSettings,
        ear: Ear | None,
        hook: HandlerSpec | None,
        asides: Asides,
        context_of: Callable[[], dict[str, Any]],
    ) -> None:
        self._line = context.line
        self._ear = ear
        self._ears = Ears(context.line, settings, context.vad)
        self._to_ear = Transcoder(context.line, ear.hears) if ear is not None else None
        self._hook = hook
        self._asides = asides
        self._context_of = context_of  # what a hook gets beside the text
        self._queue: deque[_Waiting] = deque()
        self._last_stopped = -1
        self.silent_at = -1  # when the caller fell silent; -1 while they speak, or have not
        self.lost = ""  # the ear cannot go on, and why
        self.failed = False  # something the caller said is not known, and they should be told

    @property
    def voiced_us(self) -> int:
        return self._ears.voiced_us

    @property
    def speaking(self) -> bool:
        """The caller is in the middle of an utterance."""
        return self._ears.speaking

    @property
    def waiting(self) -> int:
        """Utterances and keys not told yet."""
        return len(self._queue)

    @property
    def hears_words(self) -> bool:
        return self._ear is not None

    @property
    def deadline(self) -> int | None:
        return None if self._ear is None else self._ear.deadline

    # --- what comes in -----------------------------------------------------------------------------------------------

    def begin(self, now: int, out: list[EngineOrder]) -> None:
        if self._ear is not None:
            self._obey(now, self._ear.begin(now), out)

    def hear(self, now: int, audio: bytes, out: list[EngineOrder]) -> None:
        """The hot path."""
        ear, to_ear = self._ear, self._to_ear
        if ear is not None and to_ear is not None:
            orders = ear.hear(now, audio if to_ear.passthrough else to_ear.process(audio))
            if orders:
                self._obey(now, orders, out)
        for event in self._ears.hear(now, audio):
            if type(event) is Spoken:
                out.append(CallerStopped(event.at))
                self.silent_at = event.at
                self._spoken(now, event, out)
            else:
                assert type(event) is CallerStarted
                self.silent_at = -1
                out.append(event)

    def keyed(self, text: str) -> None:
        """The caller pressed keys."""
        self._append(_Waiting(-1, 0, text, True))

    def handle(self, now: int, fact: Inward, out: list[EngineOrder]) -> None:
        if self._ear is not None:
            self._obey(now, self._ear.handle(now, fact), out)

    def tick(self, now: int, out: list[EngineOrder]) -> None:
        if self._ear is not None:
            self._obey(now, self._ear.tick(now), out)

    def end(self, now: int, out: list[EngineOrder]) -> None:
        ear, self._ear = self._ear, None
        self._queue.clear()
        if ear is not None:
            out.extend(order for order in ear.end(now) if not isinstance(order, Partial | Recognised | Lost))

    # --- what comes out ----------------------------------------------------------------------------------------------

    def next(self, now: int, out: list[EngineOrder]) -> Heard | None:
        """What the caller said next, if that is known."""
        while self._queue:
            head = self._queue[0]
            if head.text is None:
                return None
            if not head.text:  # nobody spoke
                self._queue.popleft()
                continue
            if self._hook is not None and not head.hooked:
                if not self._asides.running(HEARD):
                    self._asides.start(now, HEARD, self._hook, (head.text, self._context_of()), HOOK_S, out)
                return None
            self._queue.popleft()
            out.append(CallerSaid(head.text, True, head.stopped))
            return Heard(head.text, head.voiced_us, head.keyed)
        return None

    def hooked(self, answer: Answered, out: list[EngineOrder]) -> None:
        """``after_transcribe`` had its say: another text, or None for none at all."""
        if not self._queue:
            return
        head = self._queue[0]
        head.hooked = True
        if answer.failed or not isinstance(answer.value, str | None):
            detail = answer.failed or f"gave {type(answer.value).__name__}, not text"
            out.append(StageFailed("hook", f"after_transcribe: {detail}"))
        else:
            head.text = (answer.value or "").strip()

    # --- the ear -----------------------------------------------------------------------------------------------------

    def _spoken(self, now: int, spoken: Spoken, out: list[EngineOrder]) -> None:
        self._last_stopped = spoken.at
        ear = self._ear
        if ear is None:
            return
        self._append(_Waiting(spoken.at, spoken.voiced_us))
        audio = spoken.audio
        if ear.hears != self._line:
            audio = Transcoder(self._line, ear.hears).process(audio)
        self._obey(now, ear.utterance(now, spoken.at, audio), out)

    def _append(self, one: _Waiting) -> None:
        self._queue.append(one)
        if len(self._queue) > _WAITING:  # not the first: it may be at its hook
            del self._queue[1]

    def _obey(self, now: int, orders: list[EarOrder], out: list[EngineOrder]) -> None:
        for order in orders:
            match order:
                case Recognised(text, stopped) if stopped >= 0:
                    self._known(stopped, text)
                case Recognised(text):
                    self._turn_over(now, text, out)
                case Partial(text):
                    if text.strip():
                        out.append(CallerSaid(text.strip(), False))
                case StageFailed():
                    self.failed = True
                    out.append(order)
                case Lost(detail):
                    self._ear = None
                    self.lost = detail or "the recogniser is gone"
                    if not self.failed:
                        out.append(StageFailed("stt", self.lost))
                case _:
                    out.append(order)

    def _known(self, stopped: int, text: str) -> None:
        for one in self._queue:
            if one.stopped == stopped and one.text is None:
                one.text = text.strip()
                return

    def _turn_over(self, now: int, text: str, out: list[EngineOrder]) -> None:
        """The ear itself decided that a turn is over. What it heard is older than all whose words are not known."""
        closed = self._ears.close(now)
        voiced = 0
        if closed is not None:
            self._last_stopped, voiced = closed
            self.silent_at = self._last_stopped
            out.append(CallerStopped(self._last_stopped))
        if text.strip():
            place = next((n for n, one in enumerate(self._queue) if one.text is None), len(self._queue))
            self._queue.insert(place, _Waiting(self._last_stopped, voiced, text.strip()))
