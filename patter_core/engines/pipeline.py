"""Speech-to-text, then your function, then text-to-speech: streaming from the first sentence on.

The caller's voice is followed by the energy detector; a turn ends after ``endpoint_s`` of silence. The utterance
goes to the recogniser, its text to the reply handler, the reply sentence by sentence to the voice. All three are
named handlers at the edge; this machine only decides when each runs and what happens when one fails:

* nothing recognised: nobody spoke; we go on listening.
* the recogniser or the reply fails: the caller hears the fallback line, never silence.
* the voice fails: nothing can be said any more; the call is given up, and the last words go through the carrier's
  voice.

What the caller says before any of the reply is heard is answered together with what they said before; what they say
while it is being spoken, too briefly to interrupt it, is answered after it.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

from ..audio.formats import AudioFormat
from ..audio.transcode import Transcoder
from ..call.words import Drop, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded
from ..config import PipelineSpec
from ..settings import CallSettings, us
from ..timers import Timers, later
from .ears import Ears, Spoken
from .engine import (
    AskReply,
    CallerSaid,
    CallerStopped,
    Ended,
    EngineContext,
    EngineFact,
    EngineOrder,
    GaveUp,
    Interrupted,
    Keyed,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    SpeechWanted,
    StageFailed,
)
from .sentences import Sentences

__all__ = ["PipelineEngine"]

_UNANSWERED = 20
"""Utterances waiting for one reply. A reply takes at most ``reply_s``, so it is a caller who does not listen."""


class _Timer(enum.Enum):
    STT = "stt"
    REPLY = "reply"
    TTS = "tts"


class _Line:
    """One thing to say: an item, its sentences as they become known, and whether more will come."""

    __slots__ = ("began", "complete", "item", "sentences", "voiced", "waiting")

    def __init__(self, item: str) -> None:
        self.item = item
        self.sentences = Sentences()
        self.waiting: deque[str] = deque()  # sentences not yet given to the voice
        self.complete = False
        self.began = False  # its first text is known
        self.voiced = False  # there is audio of it


class PipelineEngine:
    """The pipeline of one call."""

    def __init__(self, context: EngineContext, spec: PipelineSpec, settings: CallSettings) -> None:
        self._context = context
        self._spec = spec
        self._settings = settings
        self._timers: Timers[_Timer] = Timers()
        self._ears = Ears(context.line, settings)
        self._spoken: deque[Spoken | str] = deque()  # utterances waiting for the recogniser; keys pressed among them
        self._lines: deque[_Line] = deque()  # what is being said, then what is to be said
        self._count = 0
        self._stt = ""  # the running recogniser task
        self._stt_at = -1  # when the utterance it is at ended
        self._stt_wrong = ""  # what it gave that is not text
        self._reply = ""  # the running reply task
        self._reply_line: _Line | None = None
        self._reply_chars = 0
        self._reply_wrong = ""
        self._tts = ""  # the running voice task
        self._tts_spoke = False
        self._tts_room = 0  # microseconds of audio this sentence may still have
        self._enough = False  # so much speech is queued that the next sentence may wait
        self._unanswered: list[str] = []  # what the running reply answers
        self._next: list[str] = []  # what was said while it was being spoken
        self._done = False  # given up or ended

    @property
    def hears(self) -> AudioFormat:
        return self._context.line

    @property
    def speaks(self) -> AudioFormat:
        return self._spec.tts_format

    @property
    def voiced_us(self) -> int:
        return self._ears.voiced_us

    @property
    def says(self) -> bool:
        return not self._done

    @property
    def busy(self) -> bool:
        return bool(self._lines or self._reply or self._stt or self._spoken) and not self._done

    @property
    def deadline(self) -> int | None:
        return None if self._done else self._timers.deadline

    def begin(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._context.first_message:
            self._say(now, "first", self._context.first_message, out)
        return out

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        for event in self._ears.hear(now, audio):
            if type(event) is Spoken:
                out.append(CallerStopped(event.at))
                self._recognise(now, event, out)
            else:
                out.append(event)  # type: ignore[arg-type]  # the other kind is CallerStarted
        return out

    # --- results -----------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done or getattr(fact, "name", None) == "":  # no task is called that; a stage that does not run is
            return out
        match fact:
            case Interrupted():
                self._interrupted(out)
            case SpeechEnough():
                self._enough = True
            case SpeechWanted():
                self._enough = False
                self._speak_next(now, out)
            case Say(item, text):
                if sum(map(_waiting_chars, self._lines)) + len(text) > self._settings.reply_chars:
                    out.append(StageFailed("tts", f"{item}: more than reply_chars waits to be said; left out"))
                else:
                    self._say(now, item, text, out)
            case Keyed(text):
                self._spoken.append(text)
                self._recognise_next(now, out)
            case Ended():
                self._stop(out)
            case TaskAudio(name, data):
                if name == self._tts:
                    self._voiced(now, data, out)
                else:
                    self._not_text(name, "audio")
            case TaskYielded(name, value):
                if name == self._reply:
                    self._replied(now, value, False, out)
                else:
                    self._not_text(name, "a generator")
            case TaskReturned(name, value):
                if name == self._stt:
                    self._recognised(now, value, out)
                elif name == self._reply:
                    self._replied(now, value, True, out)
                elif name == self._tts:
                    self._sentence_done(now, out)
            case TaskRaised(name, _, detail):
                self._failed(now, name, detail, out)
        return out

    def _not_text(self, name: str, what: str) -> None:
        if name == self._stt:
            self._stt_wrong = what
        elif name == self._reply:
            self._reply_wrong = what

    def tick(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        while not self._done and (timer := self._timers.due(now)) is not None:
            name = {_Timer.STT: self._stt, _Timer.REPLY: self._reply, _Timer.TTS: self._tts}[timer]
            out.append(Drop(name))
            self._failed(now, name, "took too long", out)
        return out

    def _failed(self, now: int, name: str, detail: str, out: list[EngineOrder]) -> None:
        if not name:
            return
        if name == self._stt:
            self._end_stt()
            out.append(StageFailed("stt", detail))
            self._apologise(now, False, out)
            self._recognise_next(now, out)
        elif name == self._reply:
            self._reply_failed(now, detail, out)
        elif name == self._tts:
            self._tts = ""  # it has ended
            self._stop(out)
            out.append(StageFailed("tts", detail))
            out.append(GaveUp(detail, self._spec.fallback_text))

    def _stop(self, out: list[EngineOrder]) -> None:
        """Nothing more is done."""
        self._done = True
        out.extend(Drop(task) for task in (self._stt, self._reply, self._tts) if task)
        self._stt = self._reply = self._tts = ""

    def _apologise(self, now: int, answers: bool, out: list[EngineOrder]) -> None:
        """Say the fallback line, once at a time. ``answers``: it is what the caller gets for a reply."""
        if any(line.item.startswith("sorry:") for line in self._lines):
            return
        self._count += 1
        item = f"sorry:{self._count}"
        if answers:
            out.append(ReplyBegan(item))
        self._say(now, item, self._spec.fallback_text, out)

    # --- speech to text ----------------------------------------------------------------------------------------------

    def _recognise(self, now: int, spoken: Spoken, out: list[EngineOrder]) -> None:
        if self._spec.stt is None or self._done:
            return
        self._spoken.append(spoken)
        while len(self._spoken) > 1 and sum(map(_audio_bytes, self._spoken)) > self._ears.limit:
            oldest = next(one for one in self._spoken if isinstance(one, Spoken))
            self._spoken.remove(oldest)
            out.append(StageFailed("stt", "too slow: more than utterance_s waits; the oldest was not recognised"))
        self._recognise_next(now, out)

    def _recognise_next(self, now: int, out: list[EngineOrder]) -> None:
        stt = self._spec.stt
        while not self._stt and self._spoken and isinstance(text := self._spoken[0], str):
            self._spoken.popleft()
            out.append(CallerSaid(text))
            self._answer(now, text, out)
        if stt is None or self._stt or not self._spoken:
            return
        spoken = self._spoken.popleft()
        assert isinstance(spoken, Spoken)
        pcm = Transcoder(self._context.line, self._spec.stt_format).process(spoken.audio)
        self._count += 1
        self._stt = f"stt:{self._count}"
        self._stt_at = spoken.at
        self._timers.set(_Timer.STT, later(now, self._settings.stt_s))
        out.append(Run(self._stt, stt.lane, stt.name, (pcm, self._spec.stt_format.rate)))

    def _end_stt(self) -> None:
        self._stt = self._stt_wrong = ""
        self._timers.clear(_Timer.STT)

    def _recognised(self, now: int, value: Any, out: list[EngineOrder]) -> None:
        wrong = self._stt_wrong if value is None else "" if isinstance(value, str) else type(value).__name__
        if wrong:
            self._failed(now, self._stt, f"returned {wrong}, not text", out)
            return
        self._end_stt()
        text = value.strip() if isinstance(value, str) else ""
        if text:
            out.append(CallerSaid(text, True, self._stt_at))
            self._answer(now, text, out)
        self._recognise_next(now, out)

    # --- the reply ---------------------------------------------------------------------------------------------------

    def _answer(self, now: int, text: str, out: list[EngineOrder]) -> None:
        line = self._reply_line
        if line is not None and line.voiced:
            self._next.append(text)
            del self._next[:-_UNANSWERED]
            return
        if line is not None:  # nothing of the reply was heard: answer everything at once
            out.append(Drop(self._reply))
            self._silence(line, out)
            self._end_reply()
        else:
            self._unanswered.clear()
        self._unanswered.append(text)
        del self._unanswered[:-_UNANSWERED]
        self._ask(now, out)

    def _ask(self, now: int, out: list[EngineOrder]) -> None:
        self._count += 1
        self._reply = f"reply:{self._count}"
        self._reply_line = _Line(f"r{self._count}")
        self._reply_chars = 0
        self._lines.append(self._reply_line)
        self._timers.set(_Timer.REPLY, later(now, self._settings.reply_s))
        out.append(AskReply(self._reply, " ".join(self._unanswered)))

    def _ask_next(self, now: int, out: list[EngineOrder]) -> None:
        """The reply is complete: is there something it did not answer yet?"""
        if self._next and not self._reply:
            self._unanswered, self._next = self._next, []
            self._ask(now, out)

    def _replied(self, now: int, value: Any, ended: bool, out: list[EngineOrder]) -> None:
        line = self._reply_line
        assert line is not None
        text = value if isinstance(value, str) else ""
        if value is not None and not isinstance(value, str):
            self._reply_wrong = type(value).__name__
        room = self._settings.reply_chars - self._reply_chars
        if len(text) > room:  # a runaway reply is cut, said so, and spoken up to here
            text = text[:room]
            if not ended:
                out.append(Drop(self._reply))
            ended = True
            out.append(StageFailed("reply", f"longer than reply_chars ({self._settings.reply_chars}); cut"))
        self._reply_chars += len(text)
        if text.strip() and not line.began:
            line.began = True
            out.append(ReplyBegan(line.item))
        line.waiting.extend(line.sentences.push(text))
        if not ended:
            self._speak_next(now, out)
        elif self._reply_wrong and not line.began:
            self._reply_failed(now, f"gave {self._reply_wrong}, not text", out)
        else:  # None or "" is a reply too: the function chose to say nothing
            self._complete(now, line, out)

    def _reply_failed(self, now: int, detail: str, out: list[EngineOrder]) -> None:
        line = self._reply_line
        assert line is not None
        out.append(StageFailed("reply", detail))
        self._complete(now, line, out)
        self._apologise(now, not line.began, out)

    def _end_reply(self) -> None:
        self._reply = self._reply_wrong = ""
        self._reply_line = None
        self._timers.clear(_Timer.REPLY)

    def _complete(self, now: int, line: _Line, out: list[EngineOrder]) -> None:
        self._end_reply()
        if line.began:
            line.waiting.extend(line.sentences.flush())
            line.complete = True
        else:
            self._lines.remove(line)
        self._ask_next(now, out)
        self._speak_next(now, out)

    def _silence(self, line: _Line, out: list[EngineOrder]) -> None:
        """A reply of which nothing was heard yet is not to be heard any more."""
        if self._tts and self._lines[0] is line:
            out.append(Drop(self._tts))
            self._end_tts()
        if line.began:
            out.append(SpeechEnded(line.item))
        self._lines.remove(line)

    # --- text to speech ----------------------------------------------------------------------------------------------

    def _say(self, now: int, item: str, text: str, out: list[EngineOrder]) -> None:
        line = _Line(item)
        line.began = True
        line.waiting.extend(line.sentences.push(text[: self._settings.reply_chars]))
        line.waiting.extend(line.sentences.flush())
        line.complete = True
        self._lines.append(line)
        self._speak_next(now, out)

    def _speak_next(self, now: int, out: list[EngineOrder]) -> None:
        """Give the voice its next sentence, in order, one at a time."""
        while self._lines and not self._tts and not self._enough:
            line = self._lines[0]
            if line.waiting:
                sentence = line.waiting.popleft()
                if not any(map(str.isalnum, sentence)):
                    continue  # "***" or a dash: a voice has nothing to say there
                self._count += 1
                self._tts = f"tts:{self._count}"
                self._tts_spoke = False
                self._tts_room = us(self._settings.sentence_s)
                self._timers.set(_Timer.TTS, later(now, self._settings.tts_s))
                out.append(Saying(line.item, sentence))
                out.append(Run(self._tts, self._spec.tts.lane, self._spec.tts.name, (sentence,)))
            elif line.complete:
                self._lines.popleft()
                out.append(SpeechEnded(line.item))
            else:
                return

    def _voiced(self, now: int, audio: bytes, out: list[EngineOrder]) -> None:
        if not audio:
            return
        self._tts_spoke = True
        line, speaks = self._lines[0], self._spec.tts_format
        duration = speaks.duration_us(len(audio))
        if duration > self._tts_room:  # a voice that runs away is cut
            audio = audio[: speaks.bytes_for_ms(self._tts_room // 1000)]
        self._timers.set(_Timer.TTS, later(now, self._settings.tts_s))
        if audio:
            line.voiced = True
            out.append(Speak(line.item, audio))
        if duration > self._tts_room:
            out.append(Drop(self._tts))
            out.append(StageFailed("tts", f"a sentence longer than sentence_s ({self._settings.sentence_s}); cut"))
            self._sentence_done(now, out)
        else:
            self._tts_room -= duration

    def _sentence_done(self, now: int, out: list[EngineOrder]) -> None:
        if not self._tts_spoke:
            self._failed(now, self._tts, "the voice returned no audio", out)
            return
        out.append(Said(self._lines[0].item))
        self._end_tts()
        self._speak_next(now, out)

    def _end_tts(self) -> None:
        self._tts = ""
        self._timers.clear(_Timer.TTS)

    # --- barge-in ----------------------------------------------------------------------------------------------------

    def _interrupted(self, out: list[EngineOrder]) -> None:
        """Everything that was to be said is moot; what the caller says now is what counts."""
        out.extend(Drop(task) for task in (self._reply, self._tts) if task)
        self._end_reply()
        self._end_tts()
        self._enough = False
        self._lines.clear()
        self._unanswered.clear()
        self._next.clear()


def _audio_bytes(one: Spoken | str) -> int:
    return 0 if isinstance(one, str) else len(one.audio)


def _waiting_chars(line: _Line) -> int:
    return sum(map(len, line.waiting))
