"""patter's core: everything that can be decided about a telephone call, without a socket, a clock or a thread.

The names below are the public ones; each also lives in a module you can import alone:

* codecs: ``patter_core.audio``, ``patter_core.carriers.twilio`` (signatures, webhooks, TwiML, media streams, REST);
* machines: ``patter_core.wire`` (a connection), ``patter_core.call`` (a call), ``patter_core.switchboard`` (a server);
* the contract between a machine and whoever carries it: ``patter_core.contract``;
* the other side of every wire: ``patter_core.simulator``.
"""

from __future__ import annotations

from .agent import Agent, Echo
from .audio.detectors import SileroVad
from .call.metrics import CallMetrics, CostBreakdown, LatencyBreakdown, TurnMetrics
from .call.pricing import PriceTable
from .call.result import CallResult, MachineDetection
from .carriers.telnyx.options import Telnyx
from .carriers.twilio.options import Twilio
from .engines.elevenlabs_convai.options import ElevenLabsConvAI
from .engines.openai_realtime.options import OpenAIRealtime
from .engines.policy import Interruptions, Patience
from .errors import (
    AuthenticationError,
    ConfigError,
    LocalProtocolError,
    PatterConnectionError,
    PatterError,
    ProvisionError,
    RefusedError,
)
from .fallback import Fallback
from .guardrails import Guardrail, guardrail
from .latency import Latencies
from .pipeline_hooks import HookContext, PipelineHooks
from .providers.anthropic.options import AnthropicLLM
from .providers.chat.options import CerebrasLLM, CompatibleLLM, GroqLLM, OpenAILLM
from .providers.deepgram.options import DeepgramSTT
from .providers.elevenlabs.options import ElevenLabsTTS, ElevenLabsWebSocketTTS
from .providers.openai_speech.options import OpenAITranscribeSTT, OpenAITTS, WhisperSTT
from .reasons import EndReason
from .settings import CallSettings, ServerSettings
from .tool_schema import ToolContext
from .tools import Tool, tool
from .tunnel import CloudflareTunnel, Ngrok, Static

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AnthropicLLM",
    "AuthenticationError",
    "CallMetrics",
    "CallResult",
    "CallSettings",
    "CerebrasLLM",
    "CloudflareTunnel",
    "CompatibleLLM",
    "ConfigError",
    "CostBreakdown",
    "DeepgramSTT",
    "Echo",
    "ElevenLabsConvAI",
    "ElevenLabsTTS",
    "ElevenLabsWebSocketTTS",
    "EndReason",
    "Fallback",
    "GroqLLM",
    "Guardrail",
    "HookContext",
    "Interruptions",
    "Latencies",
    "LatencyBreakdown",
    "LocalProtocolError",
    "MachineDetection",
    "Ngrok",
    "OpenAILLM",
    "OpenAIRealtime",
    "OpenAITTS",
    "OpenAITranscribeSTT",
    "Patience",
    "PatterConnectionError",
    "PatterError",
    "PipelineHooks",
    "PriceTable",
    "ProvisionError",
    "RefusedError",
    "ServerSettings",
    "SileroVad",
    "Static",
    "Telnyx",
    "Tool",
    "ToolContext",
    "TurnMetrics",
    "Twilio",
    "WhisperSTT",
    "__version__",
    "guardrail",
    "tool",
]
