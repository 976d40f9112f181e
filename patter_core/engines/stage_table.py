"""From a stage's spec to its machine: the one table of ears, brains and voices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..providers.anthropic.brain import AnthropicBrain
from ..providers.anthropic.options import AnthropicSpec
from ..providers.chat.brain import ChatBrain
from ..providers.chat.options import ChatSpec
from ..providers.deepgram.ear import DeepgramEar
from ..providers.deepgram.options import DeepgramSpec
from ..providers.elevenlabs.http_voice import ElevenLabsHttpVoice
from ..providers.elevenlabs.options import ElevenLabsVoiceSpec, ElevenLabsWsVoiceSpec
from ..providers.elevenlabs.ws_voice import ElevenLabsWsVoice
from ..providers.local import CallableBrain, CallableEar, CallableVoice
from ..providers.openai_speech.ear import TranscribeEar
from ..providers.openai_speech.options import OpenAIVoiceSpec, TranscribeSpec
from ..providers.openai_speech.voice import OpenAIVoice
from ..providers.remote.http_brain import RemoteBrain
from ..providers.remote.options import RemoteLinkSpec, RemoteSpec
from ..providers.remote.ws_brain import RemoteLinkBrain
from ..providers.specs import BrainSpec, EarSpec, VoiceSpec
from ..settings import CallSettings
from .engine import EngineContext
from .local_stages import BrainFunction, EarFunction, VoiceFunction
from .relay import BrainRelay, EarRelay, VoiceRelay
from .stages import Brain, Ear, Voice

__all__ = ["brain_of", "build_brain", "build_ear", "build_voice", "ear_of", "name_of", "voice_of"]


def build_ear(spec: EarSpec, prefix: str, context: EngineContext, settings: CallSettings) -> Ear:
    """A fresh ear for one call, whose tasks, links and fetches are called ``<prefix><n>``."""
    match spec:
        case CallableEar():
            return EarFunction(spec, prefix, context.line, settings)
        case DeepgramSpec():
            return DeepgramEar(spec, prefix, context.line, settings, context.language)
        case TranscribeSpec():
            return TranscribeEar(spec, prefix, settings, context.language)
    raise TypeError(f"no ear is made of {spec!r}")


def build_brain(spec: BrainSpec, prefix: str, context: EngineContext, settings: CallSettings) -> Brain:
    """A fresh brain for one call."""
    match spec:
        case CallableBrain():
            return BrainFunction(spec, prefix, settings)
        case ChatSpec():
            return ChatBrain(spec, prefix, context, settings)
        case AnthropicSpec():
            return AnthropicBrain(spec, prefix, context, settings)
        case RemoteSpec():
            return RemoteBrain(spec, prefix, context, settings)
        case RemoteLinkSpec():
            return RemoteLinkBrain(spec, prefix, context, settings)
    raise TypeError(f"no brain is made of {spec!r}")


def build_voice(spec: VoiceSpec, prefix: str, context: EngineContext, settings: CallSettings) -> Voice:
    """A fresh voice for one call."""
    match spec:
        case CallableVoice():
            return VoiceFunction(spec, prefix, settings)
        case ElevenLabsVoiceSpec():
            return ElevenLabsHttpVoice(spec, prefix, context.line, settings)
        case ElevenLabsWsVoiceSpec():
            return ElevenLabsWsVoice(spec, prefix, context.line, settings)
        case OpenAIVoiceSpec():
            return OpenAIVoice(spec, prefix, context.line, settings)
    raise TypeError(f"no voice is made of {spec!r}")


def name_of(spec: Any) -> str:
    """What an operator calls it: the spec's tag."""
    return str(spec.__struct_config__.tag)


def ear_of(specs: Sequence[EarSpec], context: EngineContext, settings: CallSettings) -> Ear | None:
    """The ear of a pipeline: the only one, or a relay of all; None when there is none."""
    ears = [build_ear(spec, _prefix(context, "stt", n), context, settings) for n, spec in enumerate(specs)]
    if len(ears) < 2:
        return ears[0] if ears else None
    limit = max(1, ears[0].hears.bytes_for_ms(round(settings.utterance_s * 1000)))
    return EarRelay(ears, [name_of(spec) for spec in specs], limit)


def brain_of(specs: Sequence[BrainSpec], context: EngineContext, settings: CallSettings) -> Brain:
    """The brain of a pipeline: the only one, or a relay of all."""
    brains = [build_brain(spec, _prefix(context, "reply", n), context, settings) for n, spec in enumerate(specs)]
    return brains[0] if len(brains) == 1 else BrainRelay(brains, [name_of(spec) for spec in specs])


def voice_of(specs: Sequence[VoiceSpec], context: EngineContext, settings: CallSettings) -> Voice:
    """The voice of a pipeline: the only one, or a relay of all."""
    voices = [build_voice(spec, _prefix(context, "tts", n), context, settings) for n, spec in enumerate(specs)]
    return voices[0] if len(voices) == 1 else VoiceRelay(voices, [name_of(spec) for spec in specs])


def _prefix(context: EngineContext, stage: str, number: int) -> str:
    return f"{context.prefix}{stage}{number + 1 if number else ''}:"
