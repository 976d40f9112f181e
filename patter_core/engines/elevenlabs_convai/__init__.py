"""ElevenLabs' hosted agents ("ConvAI") as an engine. Here lives what its WebSocket says and how a call goes with it;
how to reach the WebSocket, and what is heard on the telephone, do not."""

from __future__ import annotations

from .options import ElevenLabsConvAI, ElevenLabsConvAISpec

__all__ = ["ElevenLabsConvAI", "ElevenLabsConvAISpec"]
