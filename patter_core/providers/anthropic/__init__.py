"""Anthropic's messages: options, spec, wire, brain."""

from __future__ import annotations

from .brain import AnthropicBrain
from .options import AnthropicLLM, AnthropicSpec

__all__ = ["AnthropicBrain", "AnthropicLLM", "AnthropicSpec"]
