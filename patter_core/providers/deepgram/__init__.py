"""Deepgram: streaming speech-to-text over a WebSocket."""

from __future__ import annotations

from .ear import DeepgramEar
from .options import DeepgramSpec, DeepgramSTT

__all__ = ["DeepgramEar", "DeepgramSTT", "DeepgramSpec"]
