"""From an engine's spec to its machine: the one table of engines."""

from __future__ import annotations

from ..audio.formats import L16_16K, PCMU_8K, AudioFormat
from ..config import EchoSpec, EngineSpec
from ..settings import CallSettings
from .echo import EchoEngine
from .engine import Engine, EngineContext
from .pipeline import PipelineEngine

__all__ = ["build_engine", "wanted_line"]


def build_engine(spec: EngineSpec, context: EngineContext, settings: CallSettings) -> Engine:
    """A fresh engine for one call."""
    if isinstance(spec, EchoSpec):
        return EchoEngine(context)
    return PipelineEngine(context, spec, settings)


def wanted_line(spec: EngineSpec) -> AudioFormat:
    """The carrier's line as this engine would like it: wide-band where the engine has use for more than 8 kHz, so that
    nothing is resampled on the way; else the telephone network's own mu-law."""
    if isinstance(spec, EchoSpec):
        return PCMU_8K
    return L16_16K if max(spec.stt_format.rate, spec.tts_format.rate) >= L16_16K.rate else PCMU_8K
