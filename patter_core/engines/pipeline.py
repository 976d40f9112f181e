"""Speech-to-text, then your function or a language model, then text-to-speech: streaming from the first sentence on.

The caller's voice is followed by the energy detector; a turn ends after ``endpoint_s`` of silence, or when the ear says
so. What the ear understood goes to the brain, what the brain answers goes to the voice sentence by sentence, while it
goes on. This machine decides when each of them works and what happens when one fails:

* nothing recognised: nobody spoke; we go on listening. If it had cut the agent short, what was cut is said after all.
* the ear or the brain fails, or the voice once: the caller hears the fallback line, never silence.
* the voice is lost, or the ear: nothing can be said, or heard, any more. The call is given up, and the last words go
  through the carrier's voice. Without a brain every turn is answered with the fallback line; three of them are enough.

What the caller says before any of the reply is heard is answered together with what they said before; what they say
while it is being spoken, too briefly to interrupt it, is answered after it.
"""

from __future__ import annotations

import re
from typing import Any

from ..audio.formats import AudioFormat
from ..call.words import Inward
from ..config import PipelineSpec
from ..settings import CallSettings, us
from .asides import Answered, Asides
from .engine import (
    Asking,
    Ended,
    EngineContext,
    EngineFact,
    EngineOrder,
    GaveUp,
    Interrupted,
    Keyed,
    Played,
    ReplyBegan,
    Say,
    SpeechEnough,
    SpeechWanted,
    StageFailed,
    ToolAnswered,
    Unasked,
)
from .guards import Guards
from .listening import HEARD, Heard, Listening
from .memory import Memory
from .policy import Interruptions
from .resuming import Resuming
from .speaking import Speaking
from .stage_table import brain_of, ear_of, voice_of
from .thinking import ASKING, Thinking
from .wording import Worder

__all__ = ["PipelineEngine"]

_UNANSWERED = 20
"""Utterances waiting for one reply. A reply takes at most ``reply_s``, so it is a caller who does not listen."""
_TURNS_WITHOUT_BRAIN = 3
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
"""Where one writes without spaces, a character counts as a word."""


class PipelineEngine:
    """The pipeline of one call."""

    def __init__(self, context: EngineContext, spec: PipelineSpec, settings: CallSettings) -> None:
        self._context = context
        self._settings = settings
        self._policy = context.interruptions or Interruptions()
        self._fallback = spec.fallback_text
        hooks, beside = spec.hooks, self._hook_context
        asides = self._asides = Asides(f"{context.prefix}hook:")
        memory = self._memory = Memory(settings.history, context.past)
        worder = Worder(Guards(context.guards), hooks, spec.plain_speech, asides, beside)
        ear = ear_of(spec.ear, context, settings)
        self._listening = Listening(context, settings, ear, hooks.after_transcribe, asides, beside)
        speaking = self._speaking = Speaking(settings, voice_of(spec.voice, context, settings), worder)
        brain = brain_of(spec.brain, context, settings)
        self._thinking = Thinking(context.prefix, settings, brain, speaking, memory, hooks.before_llm, asides, beside)
        self._resuming = Resuming(settings.reply_chars)
        self._resume_at: int | None = None  # when what was cut is to be said, if nothing was recognised until then
        self._count = 0
        self._unanswered: list[str] = []  # what the running reply answers
        self._next: list[str] = []  # what was said while it was being spoken
        self._without_brain = 0  # turns
        self._warm = False
        self._done = False  # given up or ended

    @property
    def hears(self) -> AudioFormat:
        return self._context.line

    @property
    def speaks(self) -> AudioFormat:
        return self._speaking.speaks

    @property
    def voiced_us(self) -> int:
        return self._listening.voiced_us

    @property
    def says(self) -> bool:
        return not self._done

    @property
    def busy(self) -> bool:
        line = self._thinking.line
        thinks = line is not None and not self._thinking.tools
        return (thinks or self._speaking.unsaid(line) or bool(self._listening.waiting)) and not self._done

    @property
    def deadline(self) -> int | None:
        if self._done:
            return None
        at = self._resume_at
        stages = self._listening.deadline, self._thinking.deadline, self._speaking.deadline
        for other in (*stages, self._asides.deadline):
            if other is not None and (at is None or other < at):
                at = other
        return at

    # --- what happens ------------------------------------------------------------------------------------------------

    def warm(self, now: int) -> list[EngineOrder]:
        """There will be a conversation: open what takes time to open."""
        out: list[EngineOrder] = []
        if not self._warm:
            self._warm = True
            self._listening.begin(now, out)
            self._thinking.begin(now, out)
            self._speaking.begin(now, out)
            self._settle(now, out)
        return out

    def begin(self, now: int) -> list[EngineOrder]:
        out = self.warm(now)
        if self._context.first_message and not self._context.speech_goes_on and not self._done:
            self._speaking.say(now, "first", self._context.first_message, out)
            self._settle(now, out)
        if self._context.owed and not self._done:
            self._unanswered = [self._context.owed]
            self._ask(1, out)
            self._settle(now, out)
        return out

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        self._listening.hear(now, audio, out)
        if out:
            self._settle(now, out)
        return out

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done or getattr(fact, "name", None) == "":  # no task is called that; a stage that does not run is
            return out
        match fact:
            case Interrupted(item, _, heard):
                self._interrupted(now, item, heard, out)
            case Played(item):
                self._memory.played(item)
                self._resuming.played(item)
            case SpeechEnough():
                self._speaking.hold()
            case SpeechWanted():
                self._speaking.resume(now, out)
            case Say(item, text):
                if self._speaking.characters + len(text) > self._settings.reply_chars:
                    out.append(StageFailed("tts", f"{item}: more than reply_chars waits to be said; left out"))
                else:
                    # While the reply waits for a tool, what is to be said meanwhile does not wait for the reply.
                    self._speaking.say(now, item, text, out, self._thinking.line if self._thinking.tools else None)
            case Keyed(text):
                self._resuming.cancel()
                self._listening.keyed(text)
            case Asking(ask, payload):
                self._thinking.asking(now, ask, payload, out)
            case Unasked(ask):
                self._thinking.unasked(ask)
            case ToolAnswered():
                self._thinking.tool_answered(now, fact, out)
            case Ended():
                self._stop(now, out)
            case _:
                self._inward(now, fact, out)
        self._settle(now, out)
        return out

    def _inward(self, now: int, fact: Inward, out: list[EngineOrder]) -> None:
        """Names tell whose it is; to the others it is nothing."""
        answer = self._asides.handle(fact)
        if answer is not None:
            self._answered(now, answer, out)
            return
        self._listening.handle(now, fact, out)
        self._thinking.handle(now, fact, out)
        self._speaking.handle(now, fact, out)

    def tick(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done:
            return out
        while (answer := self._asides.due(now, out)) is not None:
            self._answered(now, answer, out)
        for half in (self._listening, self._thinking, self._speaking):
            if half.deadline is not None and half.deadline <= now:
                half.tick(now, out)
        self._settle(now, out)
        return out

    def _answered(self, now: int, answer: Answered, out: list[EngineOrder]) -> None:
        if answer.purpose == HEARD:
            self._listening.hooked(answer, out)
        elif answer.purpose == ASKING:
            self._thinking.hooked(now, answer, out)
        else:
            self._speaking.worded(now, answer, out)

    def _hook_context(self) -> dict[str, Any]:
        """What a hook gets beside the value."""
        context = self._context
        history = [*self._memory.messages()]
        return {"call_id": context.call_id, "caller": context.caller, "callee": context.callee, "history": history}

    # --- what follows from it ----------------------------------------------------------------------------------------

    def _settle(self, now: int, out: list[EngineOrder]) -> None:
        """The halves have moved; do what follows, until nothing does."""
        listening, thinking, speaking = self._listening, self._thinking, self._speaking
        while not self._done:
            while speaking.said:
                line, sentence = speaking.said.popleft()
                self._memory.spoke(line.item, sentence)
                self._resuming.aired(line, sentence)
            if speaking.lost or listening.lost:
                self._give_up(now, speaking.lost or listening.lost, out)
            elif speaking.blocked:
                if speaking.blocked.popleft() is thinking.line:
                    thinking.drop(now, out)
                    self._ask_next(out)
                speaking.go_on(now, out)
            elif thinking.ended:
                self._reply_ended(now, out)
            elif listening.failed:
                listening.failed = False
                self._apologise(now, False, out)
            elif speaking.unheard:
                speaking.unheard = False
                self._apologise(now, False, out)
            elif (heard := listening.next(now, out)) is not None:
                self._answer(now, heard, out)
            elif not self._resumed(now, out):
                return

    def _give_up(self, now: int, detail: str, out: list[EngineOrder]) -> None:
        self._stop(now, out)
        out.append(GaveUp(detail, self._fallback))

    def _stop(self, now: int, out: list[EngineOrder]) -> None:
        """Nothing more is done."""
        self._done = True
        self._asides.drop_all(out)
        self._listening.end(now, out)
        self._thinking.end(now, out)
        self._speaking.end(now, out)
        self._resuming.forget()

    def _apologise(self, now: int, answers: bool, out: list[EngineOrder]) -> None:
        """Say the fallback line, once at a time. ``answers``: it is what the caller gets for a reply."""
        prefix = f"{self._context.prefix}sorry:"
        if any(line.item.startswith(prefix) for line in self._speaking.lines):
            return
        self._count += 1
        item = f"{prefix}{self._count}"
        if answers:
            out.append(ReplyBegan(item))
        self._speaking.say(now, item, self._fallback, out)

    # --- the reply ---------------------------------------------------------------------------------------------------

    def _answer(self, now: int, heard: Heard, out: list[EngineOrder]) -> None:
        """The caller said this."""
        self._resuming.cancel()
        line = self._thinking.line
        if line is not None and (line.voiced or not self._restarts(heard)):
            self._memory.caller(heard.text)
            self._next.append(heard.text)
            del self._next[:-_UNANSWERED]
            return
        instead = 0
        if line is None:
            self._unanswered.clear()
        else:  # nothing of the reply was heard: answer everything at once
            self._thinking.drop(now, out)
            self._speaking.silence(now, line, out)
            instead = 1 + len(self._next)
            self._unanswered += self._next
            self._next.clear()
        self._unanswered.append(heard.text)
        del self._unanswered[:-_UNANSWERED]
        self._ask(instead, out)
        if line is not None:
            self._speaking.go_on(now, out)

    def _restarts(self, heard: Heard) -> bool:
        """Are these words enough to begin the reply again, which is not heard yet?"""
        if heard.keyed:
            return True
        policy = self._policy
        if heard.voiced_us < policy.thinking_ms * 1000:
            return False
        return policy.thinking_words <= 0 or len(_WORD.findall(heard.text)) >= policy.thinking_words

    def _ask(self, instead: int, out: list[EngineOrder]) -> None:
        text = " ".join(self._unanswered)
        self._memory.ask(text, instead)
        self._thinking.ask(text, out)

    def _ask_next(self, out: list[EngineOrder]) -> None:
        """The reply is complete: is there something it did not answer yet?"""
        if self._next and self._thinking.line is None:
            self._unanswered, self._next = self._next, []
            self._ask(len(self._unanswered), out)

    def _reply_ended(self, now: int, out: list[EngineOrder]) -> None:
        thinking, speaking = self._thinking, self._speaking
        failed = thinking.failed
        line = thinking.take()
        if line.began:
            speaking.finish(line)
        else:
            speaking.lines.remove(line)
        if failed and thinking.lost:
            self._without_brain += 1
            if self._without_brain >= _TURNS_WITHOUT_BRAIN:
                self._give_up(now, thinking.lost, out)
                return
        self._ask_next(out)
        speaking.go_on(now, out)
        if failed:
            self._apologise(now, not line.began, out)

    # --- barge-in ----------------------------------------------------------------------------------------------------

    def _interrupted(self, now: int, item: str, heard: str, out: list[EngineOrder]) -> None:
        """Everything that was to be said is moot; what the caller says now is what counts."""
        self._thinking.drop(now, out)
        cut = self._speaking.clear(now, out)
        self._memory.interrupted(item, heard)
        listening = self._listening
        if item and self._policy.resume_s > 0 and listening.hears_words and listening.speaking:
            self._resuming.cut(item, heard)
            self._resuming.dropped(cut, item)
        else:
            self._resuming.forget()
        self._unanswered.clear()
        self._next.clear()

    def _resumed(self, now: int, out: list[EngineOrder]) -> bool:
        """Was it an interruption at all? Say what was cut, when the caller has been silent for long enough and nothing
        was recognised. False when there is nothing to do now."""
        listening = self._listening
        if not self._resuming.pending or listening.speaking or listening.silent_at < 0:
            self._resume_at = None
            return False
        at = listening.silent_at + us(self._policy.resume_s)
        if at > now or listening.waiting:
            self._resume_at = at if at > now else None  # later: when the words of all that was said are known
            return False
        self._resume_at = None
        for line in self._resuming.take():
            self._count += 1
            line.item = f"{self._context.prefix}rest:{self._count}"
            self._speaking.say_again(now, line, out)
        return True
