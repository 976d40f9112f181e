"""The brain that asks for chat completions."""

from __future__ import annotations

from ...engines.engine import EngineContext
from ...settings import CallSettings
from ..language import LanguageBrain
from .options import ChatSpec
from .wire import ChatWire

__all__ = ["ChatBrain"]


class ChatBrain(LanguageBrain):
    """``Brain`` of one call over any server that speaks chat completions."""

    def __init__(self, spec: ChatSpec, prefix: str, context: EngineContext, settings: CallSettings) -> None:
        super().__init__(ChatWire(spec, context.system_prompt, context.tools), spec, prefix, settings)
