"""Says back what it hears, at once. For tests and for load: the least an engine can cost."""

from __future__ import annotations

from ..audio.formats import AudioFormat
from .engine import CallerSaid, EngineContext, EngineFact, EngineOrder, Keyed, Speak

__all__ = ["EchoEngine"]


class EchoEngine:
    """One endless item of live audio, in the line's own format."""

    __slots__ = ("_line",)

    def __init__(self, context: EngineContext) -> None:
        self._line = context.line

    @property
    def hears(self) -> AudioFormat:
        return self._line

    @property
    def speaks(self) -> AudioFormat:
        return self._line

    @property
    def voiced_us(self) -> int:
        return 0

    @property
    def says(self) -> bool:
        return False

    @property
    def busy(self) -> bool:
        return False

    @property
    def deadline(self) -> int | None:
        return None

    def begin(self, now: int) -> list[EngineOrder]:
        return []

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        return [Speak("echo", audio, True)] if audio else []

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        return [CallerSaid(fact.text)] if isinstance(fact, Keyed) else []

    def tick(self, now: int) -> list[EngineOrder]:
        return []
