"""Handlers of the application's that something waits for, briefly: hooks and checks. One at a time for each purpose;
late is failed, and what was dropped is not heard of again."""

from __future__ import annotations

from typing import Any

import msgspec

from ..call.words import Drop, Inward, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded
from ..timers import Timers, later
from .engine import EngineOrder
from .policy import HandlerSpec

__all__ = ["Answered", "Asides"]


class Answered(msgspec.Struct, frozen=True):
    """What ``purpose`` came to: a value, or in ``failed`` why there is none."""

    purpose: str
    value: Any
    failed: str = ""


class Asides:
    """The asides of one engine, by purpose."""

    __slots__ = ("_count", "_prefix", "_running", "_timers", "_wrong")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self._running: dict[str, str] = {}  # by task: the purpose
        self._wrong: dict[str, str] = {}
        self._timers: Timers[str] = Timers()

    @property
    def deadline(self) -> int | None:
        return self._timers.deadline

    def running(self, purpose: str) -> bool:
        """Is it waited for?"""
        return purpose in self._running.values()

    def start(
        self,
        now: int,
        purpose: str,
        handler: HandlerSpec,
        args: tuple[Any, ...],
        seconds: float,
        out: list[EngineOrder],
    ) -> None:
        """Run a handler; whatever ran for this purpose is given up."""
        self.drop(purpose, out)
        self._count += 1
        name = f"{self._prefix}{self._count}"
        self._running[name] = purpose
        self._timers.set(name, later(now, seconds))
        out.append(Run(name, handler.lane, handler.name, args))

    def drop(self, purpose: str, out: list[EngineOrder]) -> None:
        """Do not wait for this any longer."""
        for name in [name for name, its in self._running.items() if its == purpose]:
            self._forget(name)
            out.append(Drop(name))

    def drop_all(self, out: list[EngineOrder]) -> None:
        """Wait for nothing."""
        for name in list(self._running):
            self._forget(name)
            out.append(Drop(name))

    def handle(self, fact: Inward) -> Answered | None:
        """Something of a task: the answer, when that is what it is."""
        purpose = self._running.get(fact.name)
        if purpose is None:
            return None
        match fact:
            case TaskYielded():
                self._wrong[fact.name] = "a generator"
            case TaskAudio():
                self._wrong[fact.name] = "audio"
            case TaskReturned(name, value):
                wrong = self._wrong.get(name, "") if value is None else ""
                self._forget(name)
                return Answered(purpose, value, f"gave {wrong}, not a value" if wrong else "")
            case TaskRaised(name, _, detail):
                self._forget(name)
                return Answered(purpose, None, detail or "raised")
        return None

    def due(self, now: int, out: list[EngineOrder]) -> Answered | None:
        """The next one that took too long."""
        name = self._timers.due(now)
        if name is None:
            return None
        purpose = self._running[name]
        self._forget(name)
        out.append(Drop(name))
        return Answered(purpose, None, "took too long")

    def _forget(self, name: str) -> None:
        self._running.pop(name, None)
        self._wrong.pop(name, None)
        self._timers.clear(name)
