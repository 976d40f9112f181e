"""The speaking half of a pipeline: what is said and what is to be said, sentence by sentence, one voice.

A sentence is worded (hooks, clean-up, guardrails) as soon as it is known and spoken when its turn comes, while the rest
of its text is still being thought of.

A sentence that the voice could not speak is left out (the voice has tried what there was to try); two of them in a row,
and the voice is lost. A voice that runs away is cut.
"""

from __future__ import annotations

from collections import deque

from ..audio.formats import AudioFormat
from ..call.words import Inward
from ..settings import CallSettings, us
from .asides import Answered
from .clean import PlainSpeech
from .engine import EngineOrder, ProviderWarned, Said, Saying, Speak, SpeechEnded, StageFailed, Used
from .sentences import Sentences
from .stages import Lost, Spoke, Voice, Voiced, VoiceOrder
from .wording import Worder

__all__ = ["Line", "Speaking"]

_MUTE = 2
"""Sentences in a row that the voice could not speak: each may have taken ``tts_s``, in silence."""
_NO_AUDIO = "the voice returned no audio"


class Line:
    """One thing to say: an item, its sentences as they become known, and whether more will come."""

    __slots__ = (
        "again",
        "began",
        "cleaner",
        "complete",
        "failed",
        "item",
        "raw",
        "sentences",
        "voiced",
        "waiting",
        "written",
    )

    def __init__(self, item: str, written: bool = False) -> None:
        self.item = item
        self.written = written  # by a model: guardrails apply
        self.sentences = Sentences()
        self.cleaner = PlainSpeech()
        self.raw: deque[str] = deque()  # sentences not yet worded
        self.waiting: deque[str] = deque()  # and those not yet given to the voice
        self.complete = False
        self.began = False  # its first text is known
        self.voiced = False  # there is audio of it
        self.failed = False  # there is a sentence of which there is none
        self.again = False  # it was cut once, and is being said again

    @property
    def characters(self) -> int:
        """How much of it is still to be said."""
        return sum(map(len, self.raw)) + sum(map(len, self.waiting))


class Speaking:
    """One voice, and what it is to say."""

    def __init__(self, settings: CallSettings, voice: Voice, worder: Worder) -> None:
        self._settings = settings
        self._voice = voice
        self._worder = worder
        self.lines: deque[Line] = deque()  # what is being said, then what is to be said
        self._sentence = ""  # the voice is at it
        self._spoke = False  # and gave some audio of it
        self._mute = 0
        self._room = 0  # microseconds of audio this sentence may still have
        self._enough = False  # so much speech is queued that the next sentence may wait
        self.said: deque[tuple[Line, str]] = deque()  # sentences that went to the voice, for whoever remembers them
        self.blocked: deque[Line] = deque()  # a guardrail ended them
        self.unheard = False  # a line came to nothing: the caller is waiting for it
        self.lost = ""  # the voice cannot go on, and why

    @property
    def speaks(self) -> AudioFormat:
        return self._voice.speaks

    @property
    def deadline(self) -> int | None:
        return self._voice.deadline

    @property
    def characters(self) -> int:
        """How much waits to be said."""
        return sum(line.characters for line in self.lines)

    def unsaid(self, unfinished: Line | None) -> bool:
        """Is there anything to be said yet? Of an ``unfinished`` line, what is known of it so far."""
        if self._sentence or self._worder.item:
            return True
        return any(line is not unfinished or line.raw or line.waiting for line in self.lines)

    def begin(self, now: int, out: list[EngineOrder]) -> None:
        self._obey(now, self._voice.begin(now), out)

    def end(self, now: int, out: list[EngineOrder]) -> None:
        """Nothing more is said."""
        self._worder.drop(out)
        self.lines.clear()
        self._sentence = ""
        self._let_go(self._voice.end(now), out)

    # --- what is to be said ------------------------------------------------------------------------------------------

    def say(self, now: int, item: str, text: str, out: list[EngineOrder], before: Line | None = None) -> None:
        """Say this, which is the operator's, after everything else; or ``before`` a line of which nothing is known."""
        line = Line(item)
        line.began = True
        if before is not None and not before.began and before in self.lines:
            self.lines.insert(self.lines.index(before), line)
        else:
            self.lines.append(line)
        self.push(line, text[: self._settings.reply_chars])
        self.finish(line)
        self.go_on(now, out)

    def say_again(self, now: int, line: Line, out: list[EngineOrder]) -> None:
        """Say a line whose sentences are known."""
        line.began = line.complete = line.again = True
        self.lines.append(line)
        self.go_on(now, out)

    def push(self, line: Line, text: str) -> None:
        """The line goes on with this."""
        if not line.complete:  # a guardrail may have ended it
            line.raw.extend(line.sentences.push(text))

    def pause(self, line: Line) -> None:
        """The line may go on, but not soon: what is known of it is a sentence as it is."""
        if not line.complete:
            line.raw.extend(line.sentences.flush())

    def finish(self, line: Line) -> None:
        """The line is complete."""
        line.raw.extend(line.sentences.flush())
        line.complete = True

    def silence(self, now: int, line: Line, out: list[EngineOrder]) -> None:
        """A line of which nothing was heard yet is not to be heard any more."""
        if self._sentence and self.lines[0] is line:
            self._stop(now, out)
        if self._worder.item == line.item:
            self._worder.drop(out)
        if line.began:
            out.append(SpeechEnded(line.item))
        self.lines.remove(line)

    def clear(self, now: int, out: list[EngineOrder]) -> list[Line]:
        """Everything that was to be said is moot. Returns what it was."""
        self._stop(now, out)
        item, sentence = self._worder.drop(out)
        self._enough = False
        cut = list(self.lines)
        self.lines.clear()
        for line in cut:
            if line.item == item:
                line.raw.appendleft(sentence)
        return cut

    def hold(self) -> None:
        """The next sentence may wait."""
        self._enough = True

    def resume(self, now: int, out: list[EngineOrder]) -> None:
        """The next sentence is wanted."""
        self._enough = False
        self.go_on(now, out)

    # --- what happens ------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Inward, out: list[EngineOrder]) -> None:
        self._obey(now, self._voice.handle(now, fact), out)

    def tick(self, now: int, out: list[EngineOrder]) -> None:
        self._obey(now, self._voice.tick(now), out)

    def worded(self, now: int, answer: Answered, out: list[EngineOrder]) -> None:
        """A hook or a check has answered."""
        self._worder.answered(now, answer, out)
        self.go_on(now, out)

    def go_on(self, now: int, out: list[EngineOrder]) -> None:
        """Word what can be worded, speak what can be spoken."""
        self._word(now, out)
        while self.lines and not self._sentence and not self._enough and not self.lost:
            line = self.lines[0]
            if line.waiting:
                self._speak(now, line, line.waiting.popleft(), out)
            elif line.complete and not line.raw and self._worder.item != line.item:
                self.lines.popleft()
                out.append(SpeechEnded(line.item))
                self.unheard = self.unheard or (line.failed and not line.voiced)
            else:
                return

    def _word(self, now: int, out: list[EngineOrder]) -> None:
        worder = self._worder
        while True:
            if (done := worder.done) is not None:
                worder.done = None
                line = next((one for one in self.lines if one.item == done.item), None)
                if line is not None and done.blocked is not None:
                    out.append(ProviderWarned("guardrail", done.blocked.name, "a sentence of the reply was not said"))
                    line.raw.clear()
                    line.sentences = Sentences()
                    line.waiting.append(done.blocked.replacement)
                    line.complete = True
                    self.blocked.append(line)
                elif line is not None and done.text:
                    line.waiting.append(done.text)
            if worder.item:
                return
            line = next((one for one in self.lines if one.raw), None)
            if line is None:
                return
            worder.start(now, line.item, line.raw.popleft(), line.written, line.cleaner, out)

    # --- the voice ---------------------------------------------------------------------------------------------------

    def _speak(self, now: int, line: Line, sentence: str, out: list[EngineOrder]) -> None:
        out.append(Saying(line.item, sentence))
        self.said.append((line, sentence))
        self._sentence = sentence
        self._spoke = False
        self._room = us(self._settings.sentence_s)
        self._obey(now, self._voice.speak(now, sentence), out)

    def _obey(self, now: int, orders: list[VoiceOrder], out: list[EngineOrder]) -> None:
        """A failure ends the sentence, whether or not the voice says so too."""
        failed = ended = lost = False
        for order in orders:
            match order:
                case Voiced(audio):
                    if self._sentence and not ended and audio:
                        ended = self._voiced(now, audio, out)
                case Spoke():
                    ended = True
                case StageFailed():
                    failed = True
                    out.append(order)
                case Lost(detail):
                    lost = True
                    self.lost = detail or "the voice is gone"
                    if not failed:
                        out.append(StageFailed("tts", self.lost))
                case Used(usage, ""):
                    out.append(Used(usage, self.lines[0].item if self.lines and self._sentence else ""))
                case _:
                    out.append(order)
        if lost:
            self._sentence = ""
        elif self._sentence and (failed or ended):
            if failed and not ended:
                self._let_go(self._voice.stop(now), out)
            self._sentence_done(now, failed, out)

    def _voiced(self, now: int, audio: bytes, out: list[EngineOrder]) -> bool:
        """Pass audio on; True when the sentence was cut here."""
        self._spoke = True
        line, speaks = self.lines[0], self._voice.speaks
        duration = speaks.duration_us(len(audio))
        over = duration > self._room
        if over:
            audio = audio[: speaks.bytes_for_ms(self._room // 1000)]
        if audio:
            line.voiced = True
            out.append(Speak(line.item, audio))
        if over:
            self._let_go(self._voice.stop(now), out)
            out.append(StageFailed("tts", f"a sentence longer than sentence_s ({self._settings.sentence_s}); cut"))
        self._room -= duration
        return over

    def _sentence_done(self, now: int, failed: bool, out: list[EngineOrder]) -> None:
        self._sentence = ""
        if self._spoke:
            self._mute = 0
        else:
            if not failed:
                out.append(StageFailed("tts", _NO_AUDIO))
            self.lines[0].failed = True
            self._mute += 1
            if self._mute >= _MUTE:
                self.lost = _NO_AUDIO
                return
        out.append(Said(self.lines[0].item, not failed))
        self.go_on(now, out)

    def _stop(self, now: int, out: list[EngineOrder]) -> None:
        if self._sentence:
            self._sentence = ""
            self._let_go(self._voice.stop(now), out)

    def _let_go(self, orders: list[VoiceOrder], out: list[EngineOrder]) -> None:
        """A voice that was told to stop has nothing more to say; it may have things to let go of."""
        for order in orders:
            match order:
                case Voiced() | Spoke():
                    pass
                case Lost(detail):
                    self.lost = detail or "the voice is gone"
                case _:
                    out.append(order)
