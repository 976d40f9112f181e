"""Chat completions, the protocol OpenAI made and most others speak: options, spec, wire, brain."""

from __future__ import annotations

from .brain import ChatBrain
from .options import CerebrasLLM, ChatSpec, CompatibleLLM, GroqLLM, OpenAILLM

__all__ = ["CerebrasLLM", "ChatBrain", "ChatSpec", "CompatibleLLM", "GroqLLM", "OpenAILLM"]
