"""Which providers there are for each stage: as what people write, and as data (a trace's header is read with these)."""

from __future__ import annotations

from .anthropic.options import AnthropicLLM, AnthropicSpec
from .chat.options import CerebrasLLM, ChatSpec, CompatibleLLM, GroqLLM, OpenAILLM
from .deepgram.options import DeepgramSpec, DeepgramSTT
from .elevenlabs.options import (
    ElevenLabsTTS,
    ElevenLabsVoiceSpec,
    ElevenLabsWebSocketTTS,
    ElevenLabsWsVoiceSpec,
)
from .local import CallableBrain, CallableEar, CallableVoice
from .openai_speech.options import (
    OpenAITranscribeSTT,
    OpenAITTS,
    OpenAIVoiceSpec,
    TranscribeSpec,
    WhisperSTT,
)
from .remote.options import RemoteLinkSpec, RemoteSpec

__all__ = ["BRAIN_OPTIONS", "EAR_OPTIONS", "VOICE_OPTIONS", "BrainSpec", "EarSpec", "VoiceSpec"]

EarSpec = CallableEar | DeepgramSpec | TranscribeSpec
BrainSpec = CallableBrain | ChatSpec | AnthropicSpec | RemoteSpec | RemoteLinkSpec
VoiceSpec = CallableVoice | ElevenLabsVoiceSpec | ElevenLabsWsVoiceSpec | OpenAIVoiceSpec

EAR_OPTIONS = (DeepgramSTT, OpenAITranscribeSTT, WhisperSTT)
BRAIN_OPTIONS = (OpenAILLM, GroqLLM, CerebrasLLM, CompatibleLLM, AnthropicLLM)
VOICE_OPTIONS = (ElevenLabsTTS, ElevenLabsWebSocketTTS, OpenAITTS)
