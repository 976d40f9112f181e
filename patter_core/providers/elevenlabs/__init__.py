"""ElevenLabs' text to speech, over HTTP and over a WebSocket. The engine of its hosted agents is in ``engines``."""

from __future__ import annotations

from .options import ElevenLabsTTS, ElevenLabsVoiceSpec, ElevenLabsWebSocketTTS, ElevenLabsWsVoiceSpec

__all__ = ["ElevenLabsTTS", "ElevenLabsVoiceSpec", "ElevenLabsWebSocketTTS", "ElevenLabsWsVoiceSpec"]
