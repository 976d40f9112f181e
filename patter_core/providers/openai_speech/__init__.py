"""OpenAI's audio API: transcription of utterances, and speech."""

from __future__ import annotations

from .ear import TranscribeEar
from .options import OpenAITranscribeSTT, OpenAITTS, OpenAIVoiceSpec, TranscribeSpec, WhisperSTT
from .voice import OpenAIVoice

__all__ = [
    "OpenAITTS",
    "OpenAITranscribeSTT",
    "OpenAIVoice",
    "OpenAIVoiceSpec",
    "TranscribeEar",
    "TranscribeSpec",
    "WhisperSTT",
]
