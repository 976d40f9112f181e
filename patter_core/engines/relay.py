"""Several ears, brains or voices as one: when one cannot go on, the next takes its place for the rest of the call.

One failure is enough where there is another and nothing was heard of the failed attempt: the caller is waiting, and
should not wait for the same failure twice. What was asked for is then asked of the next one. The last of them is kept,
failures and all, until it says itself that it is ``Lost``.

* **Ear**: the utterances it still owed are given to the next one, with their sound; so is what the caller is saying.
* **Brain**: before the first word (and before a tool was called, which may have had effects) the question goes to the
  next one; after it, the reply ends there, as failed.
* **Voice**: a sentence of which nothing was heard is spoken by the next one; else it ends there, and the next one goes
  on with the next sentence.

Formats are those of the first: the others are converted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from ..audio.formats import AudioFormat
from ..audio.transcode import Transcoder
from ..call.words import Inward
from .engine import CallTool, StageFailed, Switched, ToolAnswered
from .stages import (
    Brain,
    BrainOrder,
    Ear,
    EarOrder,
    Lost,
    Partial,
    Question,
    Recognised,
    Replied,
    Spoke,
    Text,
    Voice,
    Voiced,
    VoiceOrder,
)

__all__ = ["BrainRelay", "EarRelay", "VoiceRelay"]

_O = TypeVar("_O")

_RECENT_MS = 5_000
"""Of what the caller is saying when the ear changes, so much is told to the next one."""

_BROKEN = 2
"""Sentences in a row that a voice broke off in the middle of: the next one does not."""


class EarRelay:
    """Ears in order of preference. ``limit`` bounds the sound kept for the next one, in bytes."""

    def __init__(self, ears: Sequence[Ear], names: Sequence[str], limit: int) -> None:
        self._ears = deque(zip(names, ears, strict=True))
        self._ear = self._ears.popleft()[1]
        self.hears = self._ear.hears
        self._to_ear = Transcoder(self.hears, self.hears)
        self._limit = limit
        self._owed: deque[tuple[int, bytes | None]] = deque()  # utterances without an answer; None: too long to keep
        self._recent: deque[bytes] = deque()  # the line since the last utterance
        self._recent_bytes = 0
        self._recent_limit = self.hears.bytes_for_ms(_RECENT_MS)

    @property
    def deadline(self) -> int | None:
        return self._ear.deadline

    def begin(self, now: int) -> list[EarOrder]:
        return self._pass(now, self._ear.begin(now))

    def hear(self, now: int, audio: bytes) -> list[EarOrder]:
        if self._ears:
            self._recent.append(audio)
            self._recent_bytes += len(audio)
            while self._recent_bytes > self._recent_limit:
                self._recent_bytes -= len(self._recent.popleft())
        to_ear = self._to_ear
        orders = self._ear.hear(now, audio if to_ear.passthrough else to_ear.process(audio))
        return self._pass(now, orders) if orders else orders

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[EarOrder]:
        self._forget_recent()
        if self._ears:
            self._owed.append((stopped, audio))
            while sum(len(sound or b"") for _, sound in self._owed) > self._limit:
                number = next(n for n, (_, sound) in enumerate(self._owed) if sound)
                self._owed[number] = (self._owed[number][0], None)
        return self._pass(now, self._ear.utterance(now, stopped, self._converted(audio)))

    def handle(self, now: int, fact: Inward) -> list[EarOrder]:
        return self._pass(now, self._ear.handle(now, fact))

    def tick(self, now: int) -> list[EarOrder]:
        return self._pass(now, self._ear.tick(now))

    def end(self, now: int) -> list[EarOrder]:
        self._owed.clear()
        self._forget_recent()
        return self._ear.end(now)

    def _pass(self, now: int, orders: list[EarOrder]) -> list[EarOrder]:
        out: list[EarOrder] = []
        why = _failure(orders, "stt") if self._ears else ""
        for order in orders:
            match order:
                case StageFailed("stt") | Lost() if why:
                    continue
                case Recognised("", stopped) if why and stopped >= 0:
                    continue  # the next one is asked
                case Recognised(_, stopped):
                    self._answered(stopped)
            out.append(order)
        if why:
            if not _is_lost(orders):
                out += _letting_go(self._ear.end(now))
            out += self._switch(now, why)
        return out

    def _switch(self, now: int, why: str) -> list[EarOrder]:
        name, self._ear = self._ears.popleft()
        self._to_ear = Transcoder(self.hears, self._ear.hears)
        owed, self._owed = self._owed, deque()
        recent = b"".join(self._recent)
        self._forget_recent()
        out: list[EarOrder] = [Switched("stt", name, why), *self._pass(now, self._ear.begin(now))]
        for stopped, audio in owed:
            if _is_lost(out):
                return out
            if audio is None:
                out += [StageFailed("stt", why), Recognised("", stopped)]
            else:
                out += self.hear(now, audio)
                out += self.utterance(now, stopped, audio)
        if recent and not _is_lost(out):
            out += self.hear(now, recent)
        return out

    def _answered(self, stopped: int) -> None:
        for one in self._owed:
            if one[0] == stopped:
                self._owed.remove(one)
                return

    def _converted(self, audio: bytes) -> bytes:
        if self._ear.hears == self.hears:
            return audio
        return Transcoder(self.hears, self._ear.hears).process(audio)

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._recent_bytes = 0


class BrainRelay:
    """Brains in order of preference."""

    def __init__(self, brains: Sequence[Brain], names: Sequence[str]) -> None:
        self._brains = deque(zip(names, brains, strict=True))
        self._brain = self._brains.popleft()[1]
        self._question: Question | None = None  # what it is at
        self._began = False  # there is something of the reply, or a tool was called for it
        self._calls: set[str] = set()  # tools that this brain waits for

    @property
    def deadline(self) -> int | None:
        return self._brain.deadline

    def begin(self, now: int) -> list[BrainOrder]:
        return self._pass(now, self._brain.begin(now))

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        self._question, self._began = question, False
        return self._pass(now, self._brain.reply(now, question))

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        if answer.call not in self._calls:
            return []  # another one asked for it
        self._calls.discard(answer.call)
        return self._pass(now, self._brain.tool_answered(now, answer))

    def stop(self, now: int) -> list[BrainOrder]:
        self._question = None
        return self._pass(now, self._brain.stop(now))

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]:
        return self._pass(now, self._brain.handle(now, fact))

    def tick(self, now: int) -> list[BrainOrder]:
        return self._pass(now, self._brain.tick(now))

    def end(self, now: int) -> list[BrainOrder]:
        self._question = None
        return self._brain.end(now)

    def _pass(self, now: int, orders: list[BrainOrder]) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        for order in orders:
            match order:
                case Text(text):
                    self._began = self._began or bool(text.strip())
                case CallTool(call):
                    self._began = True
                    self._calls.add(call)
        why = _failure(orders, "reply") if self._brains else ""
        lost = _is_lost(orders)
        if not why or (self._began and not lost):
            if any(isinstance(order, Replied | StageFailed) for order in orders):
                self._question, self._began = None, False
            return orders
        again = self._question if not self._began else None
        for order in orders:
            match order:
                case StageFailed("reply") if again is not None:
                    pass
                case Lost():
                    if again is None and self._question is not None and not _has_failed(orders, "reply"):
                        out.append(StageFailed("reply", why))
                case Replied():
                    pass
                case _:
                    out.append(order)
        if not lost:
            out += _letting_go(self._brain.end(now))
        self._calls.clear()
        name, self._brain = self._brains.popleft()
        self._question = None
        out.append(Switched("llm", name, why))
        out += self._pass(now, self._brain.begin(now))
        if again is not None and not _is_lost(out):
            out += self.reply(now, again)
        return out


class VoiceRelay:
    """Voices in order of preference."""

    def __init__(self, voices: Sequence[Voice], names: Sequence[str]) -> None:
        self._voices = deque(zip(names, voices, strict=True))
        self._voice = self._voices.popleft()[1]
        self.speaks: AudioFormat = self._voice.speaks
        self._from_voice = Transcoder(self.speaks, self.speaks)
        self._sentence = ""  # what it is at
        self._voiced = False  # there is audio of it
        self._broken = 0  # sentences in a row that it did not bring to their end

    @property
    def deadline(self) -> int | None:
        return self._voice.deadline

    def begin(self, now: int) -> list[VoiceOrder]:
        return self._pass(now, self._voice.begin(now))

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        self._sentence, self._voiced = text, False
        return self._pass(now, self._voice.speak(now, text))

    def stop(self, now: int) -> list[VoiceOrder]:
        self._sentence = ""
        self._from_voice.reset()
        return self._pass(now, self._voice.stop(now))

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]:
        return self._pass(now, self._voice.handle(now, fact))

    def tick(self, now: int) -> list[VoiceOrder]:
        return self._pass(now, self._voice.tick(now))

    def end(self, now: int) -> list[VoiceOrder]:
        self._sentence = ""
        return self._voice.end(now)

    def _pass(self, now: int, orders: list[VoiceOrder]) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        failed = ended = lost = False
        why = ""
        for order in orders:
            match order:
                case Voiced(audio):
                    self._convert(audio, out)
                case Spoke():
                    ended = True
                case StageFailed("tts", detail) if self._voices:
                    failed, why = True, detail
                case Lost(detail) if self._voices:
                    failed = lost = True
                    why = why or detail or "lost"
                case _:
                    out.append(order)
        mute = bool(self._sentence) and ended and not self._voiced and bool(self._voices)
        if failed and not lost and self._voiced:
            self._broken += 1
        if failed and not lost and self._voiced and self._broken < _BROKEN:
            if not ended:  # it failed in the middle: it may do better with the next sentence
                out += _letting_go(self._voice.stop(now))
            out.append(StageFailed("tts", why))
            self._over(out)
            return out
        if not failed and not mute:
            if ended:
                self._broken = 0
                self._over(out)
            return out
        self._broken = 0
        sentence = "" if self._voiced else self._sentence
        if self._sentence and self._voiced:
            self._over(out)
        if not lost:
            out += _letting_go(self._voice.end(now))
        name, self._voice = self._voices.popleft()
        self._from_voice = Transcoder(self._voice.speaks, self.speaks)
        out.append(Switched("tts", name, why or "the voice returned no audio"))
        out += self._pass(now, self._voice.begin(now))
        if sentence and not _is_lost(out):
            out += self.speak(now, sentence)
        return out

    def _convert(self, audio: bytes, out: list[VoiceOrder]) -> None:
        if not self._from_voice.passthrough:
            audio = self._from_voice.process(audio)
        self._voiced = True
        if audio:
            out.append(Voiced(audio))

    def _over(self, out: list[VoiceOrder]) -> None:
        self._sentence = ""
        if tail := self._from_voice.flush():
            out.append(Voiced(tail))
        out.append(Spoke())


def _failure(orders: Sequence[EarOrder | BrainOrder], stage: str) -> str:
    """Why a stage is to be replaced; '' when it is not."""
    why = ""
    for order in orders:
        match order:
            case StageFailed(its, detail) if its == stage:
                why = why or detail or "failed"
            case Lost(detail):
                why = why or detail or "lost"
    return why


def _is_lost(orders: Sequence[EarOrder | BrainOrder | VoiceOrder]) -> bool:
    return any(isinstance(order, Lost) for order in orders)


def _has_failed(orders: Sequence[BrainOrder], stage: str) -> bool:
    return any(isinstance(order, StageFailed) and order.stage == stage for order in orders)


def _letting_go(orders: Sequence[_O]) -> list[_O]:
    """What a stage that is replaced still orders: it lets go of things, and says nothing more."""
    said = (Partial, Recognised, Text, Replied, Voiced, Spoke, CallTool, StageFailed, Lost)
    return [order for order in orders if not isinstance(order, said)]
