"""Options, validated and resolved once: what the application wrote becomes plain data the machines can hold.

Two layers. *Options* (the carriers' ``options.py``, ``Agent``, engines) are what people write; they may hold callables
and keys, and keep ``None`` for what the environment is to supply. *Specs* are data only: callables became handler
names, keys became names of secrets. ``resolve`` goes from one to the other, given the environment; what is missing
raises one ``ConfigError`` naming every variable at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .audio.detectors import VadSpec
from .call.pricing import PriceTable
from .carriers.carrier import CarrierSpec
from .engines.elevenlabs_convai.options import ElevenLabsConvAISpec
from .engines.openai_realtime.options import OpenAIRealtimeSpec
from .engines.policy import GuardSpec, HandlerSpec, HookSpecs, Interruptions, Patience, ToolSpec
from .errors import ConfigError
from .providers.specs import BrainSpec, EarSpec, VoiceSpec
from .settings import CallSettings, ServerSettings
from .tunnel import TunnelSpec

__all__ = [
    "AgentSpec",
    "CarrierSpec",
    "EchoSpec",
    "EngineSpec",
    "HandlerSpec",
    "PipelineSpec",
    "PublicUrl",
    "ServerConfig",
    "check_port",
    "fill",
    "with_model",
]

FALLBACK_TEXT = "Sorry, something went wrong on our side. Could you say that again, please?"
TRANSFER_REFUSED_TEXT = "I am sorry, I cannot transfer you there."
TRANSFER_FAILED_TEXT = "I am sorry, nobody is answering there at the moment. How else can I help you?"


# --- what the machines hold ------------------------------------------------------------------------------------------


class EchoSpec(msgspec.Struct, frozen=True, tag="echo"):
    """Says back what it hears."""


class PipelineSpec(msgspec.Struct, frozen=True, tag="pipeline", kw_only=True):
    """Speech-to-text, reply, text-to-speech; of each stage the first, and what takes its place when it fails. Without
    an ``ear`` the agent only speaks."""

    brain: tuple[BrainSpec, ...]
    voice: tuple[VoiceSpec, ...]
    ear: tuple[EarSpec, ...] = ()
    fallback_text: str = FALLBACK_TEXT
    hooks: HookSpecs = HookSpecs()
    plain_speech: bool = True  # markdown and emoji are taken out of what is spoken


EngineSpec = EchoSpec | PipelineSpec | OpenAIRealtimeSpec | ElevenLabsConvAISpec


def with_model(engine: EngineSpec, model: str) -> EngineSpec | None:
    """The engine with another model; None when it has none that could be changed."""
    if isinstance(engine, PipelineSpec):
        first = engine.brain[0]
        if not hasattr(first, "model"):
            return None
        changed = msgspec.structs.replace(first, model=model)
        return msgspec.structs.replace(engine, brain=(changed, *engine.brain[1:]))
    return msgspec.structs.replace(engine, model=model) if hasattr(engine, "model") else None


class AgentSpec(msgspec.Struct, frozen=True):
    """An agent as data."""

    engine: EngineSpec
    fallbacks: tuple[EngineSpec, ...] = ()  # what takes its place, in order, when it cannot go on
    system_prompt: str = ""
    first_message: str = ""
    language: str = "en"
    voice: str = ""
    variables: dict[str, str] = {}
    barge_in_threshold_ms: int = 300
    transfer_allow: tuple[str, ...] | None = None  # prefixes; None: what the system prompt names
    transfer_refused_message: str = TRANSFER_REFUSED_TEXT
    transfer_failed_message: str = TRANSFER_FAILED_TEXT
    callbacks: dict[str, HandlerSpec] = {}  # on_call_start, on_call_end, on_transcript, on_metrics
    tools: tuple[ToolSpec, ...] = ()
    guards: tuple[GuardSpec, ...] = ()
    interruptions: Interruptions | None = None  # None: ``barge_in_threshold_ms``, or what is usual for the engine
    patience: Patience = Patience()
    vad: VadSpec | None = None  # what tells the caller's voice; None: by energy

    def without_engine(self) -> AgentSpec:
        """The agent with the first of ``fallbacks`` in its engine's place."""
        return msgspec.structs.replace(self, engine=self.fallbacks[0], fallbacks=self.fallbacks[1:])


_HOST = re.compile(r"^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$")


class PublicUrl(msgspec.Struct, frozen=True):
    """Where the carrier reaches us: what signatures are checked against and stream URLs are built from."""

    host: str
    port: int | None = None
    prefix: str = ""
    secure: bool = True

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """A host, or a URL with optional port and path prefix."""
        url = text if "://" in text else f"https://{text}"
        advice = (
            "webhook_url is the public host of this server, such as 'abc.example.com' or 'https://example.com/voice'"
        )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ConfigError(f"{advice}; got {text!r} ({exc})") from None
        scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
        host = parts.netloc.rpartition("@")[2]
        if port is not None:
            host = host.rpartition(":")[0]
        host = host.removesuffix(":")
        if (
            scheme not in ("https", "http")
            or not _HOST.match(host)
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigError(f"{advice}; got {text!r}")
        return cls(host=host, port=port, prefix=parts.path.rstrip("/"), secure=scheme == "https")

    @property
    def origin(self) -> str:
        """``https://host[:port]/prefix``"""
        return self._url("https" if self.secure else "http")

    @property
    def stream_origin(self) -> str:
        """``wss://host[:port]/prefix``"""
        return self._url("wss" if self.secure else "ws")

    def _url(self, scheme: str) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{scheme}://{self.host}{port}{self.prefix}"


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a Switchboard needs to know, as data."""

    public_url: PublicUrl
    carriers: tuple[CarrierSpec, ...]
    agents: dict[str, AgentSpec]  # by called number; "" for any other
    settings: ServerSettings = ServerSettings()
    call: CallSettings = CallSettings()
    require_signature: bool = True
    require_upgrade_signature: bool = False
    authenticate_streams: bool = True
    ticket_secret: str = ""
    trace_dir: str = ""
    on_draining: HandlerSpec | None = None  # told, when the way down begins, when calls will be hung up
    trusted_proxies: tuple[str, ...] = ()
    recording: bool = False  # by the carrier, both sides
    recording_announcement: str = ""  # said before anything else when a call is answered
    local_recording: str = ""  # a directory for a stereo WAV of each call
    voicemail_message: str = ""  # left on a machine, where the call brings no message of its own
    on_recording: HandlerSpec | None = None  # told when a recording can be fetched, which is after its call
    tunnel: TunnelSpec | None = None  # with our own, public_url is a placeholder until the tunnel has its name
    manage_webhook: bool = False  # set the carriers' webhook URLs; with our own tunnel they are set in any case
    prices: PriceTable | None = None  # None: those that come with this version
    numbers: tuple[str, ...] = ()  # whose webhook URLs, where a carrier keeps one for each number

    def __repr__(self) -> str:
        return f"ServerConfig(public_url={self.public_url.origin!r}, carriers={[c.name for c in self.carriers]})"

    def agent_for(self, number: str) -> AgentSpec | None:
        """The agent that answers a called number."""
        return self.agents.get(number) or self.agents.get("")


def check_port(port: Any) -> int:
    """``port`` as an int of 1 to 65535, or ConfigError."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ConfigError(f"port must be an integer from 1 to 65535, got {port!r}")
    return port


_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def fill(text: str, variables: Mapping[str, Any]) -> str:
    """Put ``{variables}`` into a text in one pass: a value that contains braces is not expanded again, an unknown name
    stays as it is."""
    return _VARIABLE.sub(lambda m: str(variables[m[1]]) if m[1] in variables else m[0], text)
