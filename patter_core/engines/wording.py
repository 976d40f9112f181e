"""What happens to a sentence between the one who thought of it and the voice: hooks, clean-up, guardrails.

In this order: ``after_llm``, clean-up, guardrails (terms, then checks), ``before_synthesize``. The first and the
guardrails are for what a model wrote; what the operator wrote passes them by. One sentence at a time, so that they stay
in order; where the application has no hook and no check, nothing waits and nothing is late.

A hook that fails changes nothing. A check that fails, or takes longer than three seconds, blocks: whoever has a guard
wants nothing said that it did not see.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from .asides import Answered, Asides
from .clean import PlainSpeech, has_words
from .engine import EngineOrder, StageFailed
from .guards import Guards
from .listening import HOOK_S
from .policy import GuardSpec, HandlerSpec, HookSpecs

__all__ = ["WORDS", "Worder", "Wording"]

WORDS = "words"
CHECK_S = 3.0
"""One check of a guardrail: the caller waits for it."""


class Wording(msgspec.Struct, frozen=True):
    """How a sentence of ``item`` is to be spoken: '' when nothing of it is; ``blocked`` when it must not be."""

    item: str
    text: str
    blocked: GuardSpec | None = None


class Worder:
    """One sentence at a time."""

    def __init__(
        self, guards: Guards, hooks: HookSpecs, plain: bool, asides: Asides, context: Callable[[], dict[str, Any]]
    ) -> None:
        self._guards = guards
        self._hooks = hooks
        self._plain = plain
        self._asides = asides
        self._steps: deque[str | GuardSpec] = deque()
        self._cleaner = PlainSpeech()
        self._item = ""
        self._sentence = ""
        self._text = ""
        self._context = context  # what a hook gets beside the text
        self.done: Wording | None = None

    @property
    def item(self) -> str:
        """Whose sentence is being worded; '' when none is."""
        return self._item

    def start(
        self, now: int, item: str, sentence: str, written: bool, cleaner: PlainSpeech, out: list[EngineOrder]
    ) -> None:
        """Word a sentence; a model has ``written`` it. ``done`` is set now or after an answer."""
        self._item, self._sentence, self._text = item, sentence, sentence
        self._cleaner, self.done = cleaner, None
        hooks, steps = self._hooks, self._steps
        steps.clear()
        if written and hooks.after_llm is not None:
            steps.append("after_llm")
        if self._plain:
            steps.append("clean")
        if written and self._guards:
            steps.append("terms")
            steps.extend(self._guards.checks)
        if hooks.before_synthesize is not None:
            steps.append("before_synthesize")
        self._go(now, out)

    def answered(self, now: int, answer: Answered, out: list[EngineOrder]) -> None:
        """The hook or check that was asked has answered."""
        if not self._item or not self._steps:
            return
        step = self._steps.popleft()
        if isinstance(step, GuardSpec):
            if answer.failed or not isinstance(answer.value, bool | None):
                detail = answer.failed or f"gave {type(answer.value).__name__}, not a bool"
                out.append(StageFailed("guard", f"{step.name}: {detail}; taken as blocked"))
                self._finish("", step)
                return
            if answer.value:
                self._finish("", step)
                return
        elif answer.failed or not isinstance(answer.value, str | None):
            detail = answer.failed or f"gave {type(answer.value).__name__}, not text"
            out.append(StageFailed("hook", f"{step}: {detail}"))
        else:
            self._text = (answer.value or "").strip()
        self._go(now, out)

    def drop(self, out: list[EngineOrder]) -> tuple[str, str]:
        """The sentence is not to be said after all: whose it was, and how it came; ('', '') when there is none."""
        item, self._item = self._item, ""
        self._steps.clear()
        if not item:
            return "", ""
        self._asides.drop(WORDS, out)
        return item, self._sentence

    def _go(self, now: int, out: list[EngineOrder]) -> None:
        while self._steps:
            step = self._steps[0]
            if step == "clean":  # whatever it is: the end of a block of code, say
                self._text = self._cleaner.clean(self._text)
            elif not has_words(self._text):
                pass  # a voice has nothing to say to "***"
            elif isinstance(step, GuardSpec):
                assert step.check is not None
                self._asides.start(now, WORDS, step.check, (self._text,), CHECK_S, out)
                return
            elif step == "terms":
                if (guard := self._guards.blocked(self._text)) is not None:
                    self._finish("", guard)
                    return
            else:
                handler: HandlerSpec = getattr(self._hooks, step)
                self._asides.start(now, WORDS, handler, (self._text, self._context()), HOOK_S, out)
                return
            self._steps.popleft()
        self._finish(self._text if has_words(self._text) else "")

    def _finish(self, text: str, blocked: GuardSpec | None = None) -> None:
        self.done = Wording(self._item, text, blocked)
        self._item = ""
        self._steps.clear()
