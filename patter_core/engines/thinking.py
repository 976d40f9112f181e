"""The thinking half of a pipeline: one question at a time, from what the caller said to the text of the reply.

The conversation is asked first what the brain is to be given (it may have nothing asked now), then the hook before the
model, then the brain. The reply is spoken while it comes; one that runs away is cut, and spoken up to there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..call.words import Inward
from ..settings import CallSettings
from .asides import Answered, Asides
from .engine import AskReply, CallTool, EngineOrder, ReplyBegan, StageFailed, ToolAnswered, Used
from .listening import HOOK_S
from .memory import Memory
from .policy import HandlerSpec
from .speaking import Line, Speaking
from .stages import Brain, BrainOrder, Lost, Question, Replied, Text

__all__ = ["ASKING", "Thinking"]

ASKING = "asking"


class Thinking:
    """One brain, and the reply it is at."""

    def __init__(
        self,
        prefix: str,
        settings: CallSettings,
        brain: Brain,
        speaking: Speaking,
        memory: Memory,
        hook: HandlerSpec | None,
        asides: Asides,
        context: Callable[[], dict[str, Any]],
    ) -> None:
        self._prefix = prefix
        self._settings = settings
        self._brain = brain
        self._speaking = speaking
        self._memory = memory
        self._hook = hook
        self._asides = asides
        self._context = context
        self._count = 0
        self._ask = ""  # what the conversation was asked
        self._text = ""
        self._payload: dict[str, Any] = {}
        self._messages: tuple[dict[str, Any], ...] = ()
        self._running = False  # the brain is at it
        self._room = 0  # characters the reply may still have
        self.line: Line | None = None  # the reply under way
        self.tools: set[str] = set()  # that it waits for
        self.ended = False  # that reply, which nobody has taken note of yet
        self.failed = False  # and it did so before it was whole
        self.lost = ""  # the brain cannot go on, and why

    @property
    def deadline(self) -> int | None:
        return None if self.lost else self._brain.deadline

    def begin(self, now: int, out: list[EngineOrder]) -> None:
        self._obey(now, self._brain.begin(now), out)

    def end(self, now: int, out: list[EngineOrder]) -> None:
        self.line = None
        if not self.lost:
            self._let_go(self._brain.end(now), out)

    # --- a question --------------------------------------------------------------------------------------------------

    def ask(self, text: str, out: list[EngineOrder]) -> None:
        """What is there to say to this?"""
        self._count += 1
        self._ask = f"{self._prefix}ask:{self._count}"
        self._text = text
        self._messages = self._memory.messages()
        self._room = self._settings.reply_chars
        self.ended = self.failed = False
        self.tools.clear()
        self.line = Line(f"{self._prefix}r{self._count}", written=True)
        self._speaking.lines.append(self.line)
        out.append(AskReply(self._ask, text))

    def asking(self, now: int, ask: str, payload: dict[str, Any], out: list[EngineOrder]) -> None:
        """The conversation gave what is to be given to the brain."""
        if ask != self._ask or not ask:
            return
        self._ask = ""
        self._payload = payload
        if self._hook is not None:
            args = ([dict(message) for message in self._messages], self._context())
            self._asides.start(now, ASKING, self._hook, args, HOOK_S, out)
        else:
            self._question(now, out)

    def unasked(self, ask: str) -> None:
        """There is to be no reply now."""
        if ask == self._ask and ask:
            self._ask = ""
            self.ended = True

    def hooked(self, now: int, answer: Answered, out: list[EngineOrder]) -> None:
        """``before_llm`` had its say."""
        value = answer.value
        if not answer.failed and isinstance(value, list | tuple) and all(map(_is_message, value)):
            self._messages = tuple(value)
        elif answer.failed or value is not None:  # None: as they are
            detail = answer.failed or "gave no list of {role, content}"
            out.append(StageFailed("hook", f"before_llm: {detail}"))
        self._question(now, out)

    def drop(self, now: int, out: list[EngineOrder]) -> None:
        """There is to be no (more of this) reply."""
        self._ask = ""
        self._asides.drop(ASKING, out)
        self.line = None
        self.ended = False
        if self._running:
            self._running = False
            self._let_go(self._brain.stop(now), out)

    def take(self) -> Line:
        """The reply that has ended."""
        line = self.line
        assert line is not None
        self.line = None
        self.ended = False
        return line

    def _question(self, now: int, out: list[EngineOrder]) -> None:
        if self.line is None:
            return
        if self.lost:
            out.append(StageFailed("reply", self.lost))
            self.ended = self.failed = True
            return
        self._running = True
        question = Question(self._text, self._messages, self._payload)
        self._payload, self._messages = {}, ()
        self._obey(now, self._brain.reply(now, question), out)

    # --- the brain ---------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Inward, out: list[EngineOrder]) -> None:
        if not self.lost:
            self._obey(now, self._brain.handle(now, fact), out)

    def tick(self, now: int, out: list[EngineOrder]) -> None:
        if not self.lost:
            self._obey(now, self._brain.tick(now), out)

    def tool_answered(self, now: int, answer: ToolAnswered, out: list[EngineOrder]) -> None:
        self.tools.discard(answer.call)
        if not self.lost:
            self._obey(now, self._brain.tool_answered(now, answer), out)

    def _obey(self, now: int, orders: list[BrainOrder], out: list[EngineOrder]) -> None:
        """A failure ends the reply, whether or not the brain says so too."""
        ended = failed = False
        asked = self._running
        for order in orders:
            match order:
                case Text(text):
                    if self._running and not ended:
                        ended = self._goes_on(now, text, out)
                case Replied():
                    self._running, ended = False, ended or self._running
                case CallTool():
                    if self._running and not ended:
                        self._waits(now, order, out)
                case StageFailed():
                    failed = True
                    out.append(order)
                case Lost(detail):
                    self.lost = detail or "no reply can be given any more"
                    if not failed:
                        failed = True
                        out.append(StageFailed("reply", self.lost))
                case Used(usage, "") if self.line is not None:
                    out.append(Used(usage, self.line.item))
                case _:
                    out.append(order)
        if failed and asked:
            if self._running and not self.lost:
                self._let_go(self._brain.stop(now), out)
            self._running = False
            self.failed = ended = True
        if ended and self.line is not None:
            self.ended = True

    def _waits(self, now: int, wanted: CallTool, out: list[EngineOrder]) -> None:
        """The reply goes on when the tool has answered: what was said before is not held back until then."""
        self.tools.add(wanted.call)
        if self.line is not None:
            self._speaking.pause(self.line)
            self._speaking.go_on(now, out)
        out.append(wanted)

    def _goes_on(self, now: int, text: str, out: list[EngineOrder]) -> bool:
        """The reply goes on with this; True when it was cut here."""
        line = self.line
        assert line is not None
        cut = len(text) > self._room
        if cut:
            text = text[: self._room]
            self._running = False
            self._let_go(self._brain.stop(now), out)
            out.append(StageFailed("reply", f"longer than reply_chars ({self._settings.reply_chars}); cut"))
        self._room -= len(text)
        if text.strip() and not line.began:
            line.began = True
            out.append(ReplyBegan(line.item))
        self._speaking.push(line, text)
        if not cut:
            self._speaking.go_on(now, out)
        return cut

    def _let_go(self, orders: list[BrainOrder], out: list[EngineOrder]) -> None:
        """A brain that was told to stop has nothing more to say; it may have things to let go of."""
        for order in orders:
            match order:
                case Text() | Replied() | CallTool():
                    pass
                case Lost(detail):
                    self.lost = detail or "no reply can be given any more"
                case _:
                    out.append(order)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)
