"""The application's own functions as the stages of a pipeline. Each runs in its lane at the edge, under a time limit.

A recogniser or a reply that fails, fails once; the next may work. A voice that fails is ``Lost``: the function that
cannot speak one sentence will hardly speak the apology for it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..audio.formats import AudioFormat
from ..audio.transcode import Transcoder
from ..call.words import Drop, Inward, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded
from ..providers.local import CallableBrain, CallableEar, CallableVoice
from ..settings import CallSettings
from ..timers import later
from .engine import StageFailed, ToolAnswered
from .stages import BrainOrder, EarOrder, Lost, Question, Recognised, Replied, Spoke, Text, Voiced, VoiceOrder

__all__ = ["BrainFunction", "EarFunction", "VoiceFunction"]

_SLOW = "took too long"


class EarFunction:
    """``(pcm16, rate) -> text``, one utterance at a time. Those that wait are bounded: of more than ``utterance_s`` of
    sound the oldest is not recognised.

    It takes the line as it is: only utterances are converted, not the silence between them.
    """

    __slots__ = (
        "_at",
        "_count",
        "_deadline",
        "_limit",
        "_line",
        "_prefix",
        "_settings",
        "_spec",
        "_task",
        "_waiting",
        "_wrong",
    )

    def __init__(self, spec: CallableEar, prefix: str, line: AudioFormat, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._line = line
        self._settings = settings
        self._limit = max(1, line.bytes_for_ms(round(settings.utterance_s * 1000)))
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._task = ""
        self._at = -1
        self._wrong = ""  # what it gave that is not text
        self._count = 0
        self._deadline: int | None = None

    @property
    def hears(self) -> AudioFormat:
        return self._line

    @property
    def deadline(self) -> int | None:
        return self._deadline

    def begin(self, now: int) -> list[EarOrder]:
        return []

    def hear(self, now: int, audio: bytes) -> list[EarOrder]:
        return []

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[EarOrder]:
        out: list[EarOrder] = []
        self._waiting.append((stopped, audio))
        while len(self._waiting) > 1 and sum(len(sound) for _, sound in self._waiting) > self._limit:
            oldest, _ = self._waiting.popleft()
            out.append(StageFailed("stt", "too slow: more than utterance_s waits; the oldest was not recognised"))
            out.append(Recognised("", oldest))
        self._next(now, out)
        return out

    def handle(self, now: int, fact: Inward) -> list[EarOrder]:
        out: list[EarOrder] = []
        if not self._task or fact.name != self._task:
            return out
        match fact:
            case TaskReturned(_, str() as text):
                self._done(now, text, "", out)
            case TaskReturned(_, value):
                wrong = self._wrong if value is None else _kind(value)
                self._done(now, "", f"returned {wrong}, not text" if wrong else "", out)
            case TaskRaised(_, _, detail):
                self._done(now, "", detail or "raised", out)
            case TaskAudio():
                self._wrong = "audio"
            case TaskYielded():
                self._wrong = "a generator"
        return out

    def tick(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        if self._deadline is not None and self._deadline <= now:
            out.append(Drop(self._task))
            self._done(now, "", _SLOW, out)
        return out

    def end(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = [Drop(self._task)] if self._task else []
        self._task, self._deadline = "", None
        self._waiting.clear()
        return out

    def _next(self, now: int, out: list[EarOrder]) -> None:
        if self._task or not self._waiting:
            return
        self._at, sound = self._waiting.popleft()
        wanted = self._spec.format
        self._count += 1
        self._task = f"{self._prefix}{self._count}"
        self._deadline = later(now, self._settings.stt_s)
        pcm = Transcoder(self._line, wanted).process(sound)
        out.append(Run(self._task, self._spec.handler.lane, self._spec.handler.name, (pcm, wanted.rate)))

    def _done(self, now: int, text: str, failed: str, out: list[EarOrder]) -> None:
        self._task, self._deadline, self._wrong = "", None, ""
        if failed:
            out.append(StageFailed("stt", failed))
        out.append(Recognised(text, self._at))
        self._next(now, out)


class BrainFunction:
    """``on_message``: the payload -> text, or a generator of pieces. What is not text among pieces is left out; a reply
    of nothing else is a failure. None and '' are replies: the function chose to say nothing."""

    __slots__ = ("_began", "_count", "_deadline", "_prefix", "_settings", "_spec", "_task", "_wrong")

    def __init__(self, spec: CallableBrain, prefix: str, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._task = ""
        self._began = False
        self._wrong = ""
        self._count = 0
        self._deadline: int | None = None

    @property
    def deadline(self) -> int | None:
        return self._deadline

    def begin(self, now: int) -> list[BrainOrder]:
        return []

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        self._count += 1
        self._task = f"{self._prefix}{self._count}"
        self._began, self._wrong = False, ""
        self._deadline = later(now, self._settings.reply_s)
        return [Run(self._task, self._spec.handler.lane, self._spec.handler.name, (question.payload,))]

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        return []

    def stop(self, now: int) -> list[BrainOrder]:
        out: list[BrainOrder] = [Drop(self._task)] if self._task else []
        self._over()
        return out

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]:
        out: list[BrainOrder] = []
        if not self._task or fact.name != self._task:
            return out
        match fact:
            case TaskYielded(_, value):
                self._text(value, out)
            case TaskAudio():
                self._wrong = "audio"
            case TaskReturned(_, value):
                self._text(value, out)
                wrong = self._wrong if not self._began else ""
                self._over()
                out.append(StageFailed("reply", f"gave {wrong}, not text") if wrong else Replied())
            case TaskRaised(_, _, detail):
                self._over()
                out.append(StageFailed("reply", detail or "raised"))
        return out

    def tick(self, now: int) -> list[BrainOrder]:
        if self._deadline is None or self._deadline > now:
            return []
        return [*self.stop(now), StageFailed("reply", _SLOW)]

    def end(self, now: int) -> list[BrainOrder]:
        return self.stop(now)

    def _text(self, value: Any, out: list[BrainOrder]) -> None:
        if isinstance(value, str):
            self._began = self._began or bool(value.strip())
            if value:
                out.append(Text(value))
        elif value is not None:
            self._wrong = _kind(value)

    def _over(self) -> None:
        self._task, self._deadline = "", None


class VoiceFunction:
    """``(sentence) -> audio``, or a generator of pieces. Half a sample waits for its other half, and is not carried
    into the next sentence."""

    __slots__ = ("_count", "_deadline", "_half", "_prefix", "_settings", "_spec", "_task", "_voiced")

    def __init__(self, spec: CallableVoice, prefix: str, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._task = ""
        self._half = b""
        self._voiced = False
        self._count = 0
        self._deadline: int | None = None

    @property
    def speaks(self) -> AudioFormat:
        return self._spec.format

    @property
    def deadline(self) -> int | None:
        return self._deadline

    def begin(self, now: int) -> list[VoiceOrder]:
        return []

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        self._count += 1
        self._task = f"{self._prefix}{self._count}"
        self._half, self._voiced = b"", False
        self._deadline = later(now, self._settings.tts_s)
        return [Run(self._task, self._spec.handler.lane, self._spec.handler.name, (text,))]

    def stop(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = [Drop(self._task)] if self._task else []
        self._task, self._deadline = "", None
        return out

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]:
        if not self._task or fact.name != self._task:
            return []
        match fact:
            case TaskAudio(_, data) if data:
                return self._audio(now, data)
            case TaskReturned() if self._voiced:
                self._task, self._deadline = "", None
                return [Spoke()]
            case TaskReturned():
                return self._lost("the voice returned no audio")
            case TaskRaised(_, _, detail):
                return self._lost(detail or "raised")
        return []

    def tick(self, now: int) -> list[VoiceOrder]:
        if self._deadline is None or self._deadline > now:
            return []
        return [*self.stop(now), *self._lost(_SLOW)]

    def end(self, now: int) -> list[VoiceOrder]:
        return self.stop(now)

    def _audio(self, now: int, data: bytes) -> list[VoiceOrder]:
        self._deadline = later(now, self._settings.tts_s)
        if self._half:
            data = self._half + data
            self._half = b""
        if rest := len(data) % self._spec.format.bytes_per_sample:
            self._half, data = data[-rest:], data[:-rest]
        if not data:
            return []
        self._voiced = True
        return [Voiced(data)]

    def _lost(self, detail: str) -> list[VoiceOrder]:
        self._task, self._deadline = "", None
        return [StageFailed("tts", detail), Lost(detail)]


def _kind(value: Any) -> str:
    return type(value).__name__
