"""Guardrails on speech that is already under way: terms as the words come, the application's own checks by sentence."""

from __future__ import annotations

from typing import Any

from ...call.words import Drop, Run
from ...timers import later
from ..engine import EngineOrder, StageFailed
from ..guards import Guards
from ..policy import GuardSpec
from ..sentences import Sentences
from .reply import SpokenItem

__all__ = ["Guarding"]

_CHECKS = 16
"""Checks that run at the same time; a sentence that comes when so many do is not checked, and that is reported."""
_CHECK_S = 10.0
"""A check that takes longer has no say: what it was asked about was heard long ago."""


class Guarding:
    """One call's."""

    def __init__(self, specs: tuple[GuardSpec, ...]) -> None:
        self._guards = Guards(specs)
        self._running: dict[str, tuple[SpokenItem, GuardSpec, int]] = {}  # by task, and until when

    def blocked(self, text: str) -> GuardSpec | None:
        """The guard one of whose terms is in a whole text."""
        return self._guards.blocked(text)

    def start(self, item: SpokenItem) -> None:
        """Watch what is said in ``item``."""
        if self._guards:
            item.watch = self._guards.watch()
            item.sentences = Sentences() if self._guards.checks else None

    def words(self, item: SpokenItem, delta: str) -> tuple[GuardSpec | None, list[str]]:
        """It goes on: the guard that stops it, and sentences to check."""
        hit = item.watch.feed(delta) if item.watch is not None else None
        return hit, item.sentences.push(delta) if item.sentences is not None and hit is None else []

    def done(self, item: SpokenItem) -> tuple[GuardSpec | None, list[str]]:
        """That was all of it."""
        hit = item.watch.done() if item.watch is not None else None
        rest = item.sentences.flush() if item.sentences is not None and hit is None else []
        item.watch = item.sentences = None
        return hit, rest

    def check(self, now: int, item: SpokenItem, names: list[str], sentence: str, out: list[EngineOrder]) -> None:
        """Ask the application about a sentence, under these names."""
        for spec, name in zip(self._guards.checks, names, strict=True):
            if len(self._running) >= _CHECKS:
                out.append(StageFailed("guard", f"{spec.name}: too slow; a sentence was not checked"))
                continue
            assert spec.check is not None
            self._running[name] = (item, spec, later(now, _CHECK_S))
            out.append(Run(name, spec.check.lane, spec.check.name, (sentence,)))

    @property
    def checks(self) -> int:
        """Handlers to ask about each sentence."""
        return len(self._guards.checks)

    def returned(self, name: str, value: Any, out: list[EngineOrder]) -> tuple[SpokenItem, GuardSpec] | None:
        """A check has returned: what it stops."""
        item, spec, _ = self._running.pop(name)
        if value is not True and value is not False and value is not None:
            out.append(StageFailed("guard", f"{spec.name}: returned {type(value).__name__}, not True or False"))
        return (item, spec) if value is True else None

    def raised(self, name: str, detail: str, out: list[EngineOrder]) -> None:
        """A check has failed."""
        _, spec, _ = self._running.pop(name)
        out.append(StageFailed("guard", f"{spec.name}: {detail}"))

    def owns(self, name: str) -> bool:
        """Is this a check that runs?"""
        return name in self._running

    @property
    def deadline(self) -> int | None:
        """When the oldest check has taken too long."""
        return next(iter(self._running.values()))[2] if self._running else None

    def tick(self, now: int, out: list[EngineOrder]) -> None:
        """Give up checks that take too long."""
        while (deadline := self.deadline) is not None and deadline <= now:
            name = next(iter(self._running))
            out.append(Drop(name))
            self.raised(name, "took too long", out)

    def stop(self, out: list[EngineOrder]) -> None:
        """Ask no more."""
        out.extend(Drop(name) for name in self._running)
        self._running.clear()
