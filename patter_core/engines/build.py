"""From an engine's spec to its machine: the one table of engines."""

from __future__ import annotations

from ..audio.formats import L16_16K, PCMU_8K, AudioFormat
from ..config import EchoSpec, EngineSpec, PipelineSpec
from ..providers.local import CallableBrain, CallableEar, CallableVoice
from ..settings import CallSettings
from .echo import EchoEngine
from .elevenlabs_convai.engine import ElevenLabsConvAIEngine
from .elevenlabs_convai.options import ElevenLabsConvAISpec
from .engine import Engine, EngineContext
from .openai_realtime.engine import OpenAIRealtimeEngine
from .openai_realtime.options import OpenAIRealtimeSpec
from .pipeline import PipelineEngine

__all__ = ["build_engine", "speaks_on_cue", "wanted_line", "warms"]

_LOCAL = (CallableEar, CallableBrain, CallableVoice)
_OWN_FORMAT = (CallableEar, CallableVoice)


def build_engine(spec: EngineSpec, context: EngineContext, settings: CallSettings) -> Engine:
    """A fresh engine for one call."""
    if isinstance(spec, EchoSpec):
        return EchoEngine(context)
    if isinstance(spec, OpenAIRealtimeSpec):
        return OpenAIRealtimeEngine(context, spec, settings, context.epoch)
    if isinstance(spec, ElevenLabsConvAISpec):
        return ElevenLabsConvAIEngine(context, spec, settings)
    return PipelineEngine(context, spec, settings)


def speaks_on_cue(spec: EngineSpec) -> bool:
    """Can its first message wait for a cue, while it listens? One that greets by itself must wait altogether."""
    return not isinstance(spec, ElevenLabsConvAISpec)


def warms(spec: EngineSpec) -> bool:
    """Is it worth making this engine before the call's stream is there? Only one that dials has anything to do then."""
    if isinstance(spec, EchoSpec):
        return False
    if isinstance(spec, PipelineSpec):
        return not all(isinstance(stage, _LOCAL) for stage in (*spec.ear, *spec.brain, *spec.voice))
    return True


def wanted_line(spec: EngineSpec) -> AudioFormat:
    """The carrier's line as this engine would like it: wide-band where the engine has use for more than 8 kHz, so that
    nothing is resampled on the way; else the telephone network's own mu-law."""
    if isinstance(spec, PipelineSpec):
        rates = [stage.format.rate for stage in (*spec.ear, *spec.voice) if isinstance(stage, _OWN_FORMAT)]
        return L16_16K if max(rates, default=0) >= L16_16K.rate else PCMU_8K
    return PCMU_8K
