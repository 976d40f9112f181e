"""The brain that asks Anthropic's models."""

from __future__ import annotations

from ...engines.engine import EngineContext
from ...settings import CallSettings
from ..language import LanguageBrain
from .options import AnthropicSpec
from .wire import AnthropicWire

__all__ = ["AnthropicBrain"]


class AnthropicBrain(LanguageBrain):
    """``Brain`` of one call over the messages API."""

    def __init__(self, spec: AnthropicSpec, prefix: str, context: EngineContext, settings: CallSettings) -> None:
        super().__init__(AnthropicWire(spec, context.system_prompt, context.tools), spec, prefix, settings)
