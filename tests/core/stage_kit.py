"""Scripted stages for tests: they record what they are told, and say what the test has them say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patter_core.audio.formats import L16_8K, PCMU_8K, AudioFormat
from patter_core.call.words import CloseLink, TaskReturned
from patter_core.engines.engine import ToolAnswered
from patter_core.engines.stages import Question


class Stage:
    """What all three have in common. ``then[what]`` makes the orders that answer a call of that method; an inward fact
    for ``name`` whose value is a list of orders is obeyed: ``TaskReturned(name, [orders])``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[tuple[Any, ...]] = []
        self.then: dict[str, Callable[[], list[Any]]] = {}
        self.deadline: int | None = None
        self.gone = False

    def did(self, *what: Any) -> list[Any]:
        assert not self.gone, f"{self.name} is used although it is gone"
        self.told.append(what)
        make = self.then.get(what[0])
        return make() if make is not None else []

    def all(self, what: str) -> list[Any]:
        return [one[1:] if len(one) > 2 else one[1] for one in self.told if one[0] == what and len(one) > 1]

    def begin(self, now: int) -> list[Any]:
        return self.did("begin")

    def handle(self, now: int, fact: Any) -> list[Any]:
        if fact.name != self.name or self.gone:
            return []
        orders: list[Any] = list(fact.value)
        return orders

    def tick(self, now: int) -> list[Any]:
        self.deadline = None
        return self.did("tick")

    def end(self, now: int) -> list[Any]:
        orders = self.did("end")
        self.gone = True
        return [*orders, CloseLink(self.name)]


class ScriptedEar(Stage):
    def __init__(self, name: str = "ear", hears: AudioFormat = PCMU_8K) -> None:
        super().__init__(name)
        self.hears = hears

    def hear(self, now: int, audio: bytes) -> list[Any]:
        return self.did("hear", audio)

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[Any]:
        return self.did("utterance", stopped, audio)


class ScriptedBrain(Stage):
    def __init__(self, name: str = "brain") -> None:
        super().__init__(name)

    def reply(self, now: int, question: Question) -> list[Any]:
        return self.did("reply", question)

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[Any]:
        return self.did("tool_answered", answer)

    def stop(self, now: int) -> list[Any]:
        return self.did("stop")


class ScriptedVoice(Stage):
    def __init__(self, name: str = "voice", speaks: AudioFormat = L16_8K) -> None:
        super().__init__(name)
        self.speaks = speaks

    def speak(self, now: int, text: str) -> list[Any]:
        return self.did("speak", text)

    def stop(self, now: int) -> list[Any]:
        return self.did("stop")


def says(name: str, *orders: Any) -> TaskReturned:
    """The fact that makes the stage of this name order these."""
    return TaskReturned(name, list(orders))
