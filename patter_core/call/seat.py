"""Who does the talking: the engine of a call, made before its stream is there, and replaced when it cannot go on."""

from __future__ import annotations

import msgspec

from ..audio.formats import AudioFormat
from ..config import AgentSpec, EngineSpec
from ..engines.build import build_engine, warms
from ..engines.engine import Ended, Engine, EngineContext, EngineOrder
from ..settings import CallSettings

__all__ = ["EngineSeat"]


class EngineSeat:
    """One call's. An engine with links is made early, so that dialling it hides behind the ringing; when what it was
    made for turns out to be something else (``on_call_start`` had its say, the line is another), it is made again."""

    def __init__(self, settings: CallSettings) -> None:
        self._settings = settings
        self._made: tuple[EngineSpec, EngineContext] | None = None
        self._number = 0
        self.engine: Engine | None = None
        self.hears: AudioFormat | None = None
        self.speaks: AudioFormat | None = None

    @property
    def prefix(self) -> str:
        """Of the names the next engine gives to what it asks for."""
        return f"e{self._number}." if self._number else ""

    def warm(self, now: int, agent: AgentSpec, context: EngineContext) -> list[EngineOrder]:
        """Dial ahead of the stream."""
        if self.engine is not None or not warms(agent.engine):
            return []
        return self._make(agent.engine, context).warm(now)  # type: ignore[attr-defined, no-any-return]  # ``warms`` knows

    def take(self, now: int, agent: AgentSpec, context: EngineContext) -> list[EngineOrder]:
        """The stream is there: the engine is the one that was warmed, if that is what is wanted now."""
        if self.engine is not None and self._made == (agent.engine, context):
            return []
        out = self.leave(now)
        self._make(agent.engine, self._again(context))
        return out

    def replace(self, now: int, agent: AgentSpec, context: EngineContext) -> AgentSpec:
        """The engine gave up: the first of the agent's ``fallbacks`` takes the seat. Returns the agent with it."""
        agent = agent.without_engine()
        self.leave(now)
        self._make(agent.engine, self._again(context))
        return agent

    def leave(self, now: int) -> list[EngineOrder]:
        """Let go of the engine."""
        engine, self.engine = self.engine, None
        if engine is None:
            return []
        self._number += 1
        return engine.handle(now, Ended())

    def moved(self) -> bool:
        """Did the engine change the formats it hears or speaks? True once for each change."""
        engine = self.engine
        if engine is None or (engine.hears == self.hears and engine.speaks == self.speaks):
            return False
        self.hears, self.speaks = engine.hears, engine.speaks
        return True

    def _again(self, context: EngineContext) -> EngineContext:
        return msgspec.structs.replace(context, prefix=self.prefix)

    def _make(self, spec: EngineSpec, context: EngineContext) -> Engine:
        engine = self.engine = build_engine(spec, context, self._settings)
        self._made = (spec, context)
        self.hears, self.speaks = engine.hears, engine.speaks
        return engine
