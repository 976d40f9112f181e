"""From an engine's spec to its machine: the one table of engines."""

from __future__ import annotations

from ..config import EchoSpec, EngineSpec
from ..settings import CallSettings
from .echo import EchoEngine
from .engine import Engine, EngineContext
from .pipeline import PipelineEngine

__all__ = ["build_engine"]


def build_engine(spec: EngineSpec, context: EngineContext, settings: CallSettings) -> Engine:
    """A fresh engine for one call."""
    if isinstance(spec, EchoSpec):
        return EchoEngine(context)
    return PipelineEngine(context, spec, settings)
