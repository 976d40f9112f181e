"""``OpenAIRealtime(...)``: what an application writes to have its calls answered by OpenAI's Realtime service.

Which settings there are, and their ranges: ``openai.types.realtime`` of the official package (3.54), the types
``RealtimeSessionCreateRequest``, ``RealtimeAudioInputTurnDetection`` and ``RealtimeReasoningEffort``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigError
from ...providers.keys import Resolving
from ...providers.sendable import check_key

__all__ = ["PROVIDER", "OpenAIRealtime", "OpenAIRealtimeSpec", "SemanticVad", "ServerVad", "TurnDetection"]

PROVIDER = "openai_realtime"
"""The provider's name in prices, events and logs."""

_FALLBACK_TEXT = "Sorry, something went wrong on our side. Could you say that again, please?"
_AUDIO = ("auto", "pcmu", "pcm24")
_PROTOCOLS = ("ga", "beta")
_NOISE = ("near_field", "far_field")
_EAGERNESS = ("low", "medium", "high", "auto")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")


class ServerVad(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    """A turn ends with silence. ``threshold`` is 0 to 1: more needs a louder caller."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500


class SemanticVad(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when a model thinks the caller has finished. ``eagerness``: low, medium, high or auto; low waits up
    to 8 s, medium 4 s, high 2 s."""

    eagerness: str = "auto"


TurnDetection: TypeAlias = ServerVad | SemanticVad


class OpenAIRealtimeSpec(msgspec.Struct, frozen=True, tag="openai-realtime", kw_only=True):
    """The engine as data. ``auth`` names the secret with the key."""

    model: str
    voice: str = ""
    url: str = "wss://api.openai.com/v1/realtime"
    audio: str = "auto"
    protocol: str = "ga"
    turn_detection: TurnDetection = ServerVad()
    transcription_model: str = "gpt-4o-mini-transcribe"
    noise_reduction: str = ""
    max_output_tokens: int | None = None  # None: as many as the model gives
    tool_choice: str = "auto"
    reasoning_effort: str = ""
    speed: float | None = None
    temperature: float | None = None  # beta only
    fallback_text: str = _FALLBACK_TEXT
    auth: str = ""


class OpenAIRealtime(msgspec.Struct, frozen=True):
    """An agent that hears and speaks by OpenAI's Realtime service. The key: from ``api_key``, else OPENAI_API_KEY.

    * ``voice``: '' for the service's own choice; an agent's ``voice`` wins.
    * ``audio``: ``pcmu`` passes the telephone's own codec through, untouched; ``pcm24`` always converts to 24 kHz;
      ``auto`` begins as ``pcmu`` and changes to 24 kHz should the service turn out to be deaf to it.
    * ``protocol``: ``ga``, or ``beta`` for compatible servers that speak the protocol before its general availability.
    * ``turn_detection``: ``ServerVad(...)``, ``SemanticVad(...)``, or the same as a dict with ``type``.
    * ``transcription_model``: what writes down the caller's words; '' for none (the transcript then lacks them).
    * ``noise_reduction``: '' (none), ``near_field`` or ``far_field``.
    * ``max_output_tokens``: 1 to 4096 for one reply; None for no limit.
    * ``tool_choice``: auto, none, required, or the name of a tool.
    * ``reasoning_effort``: '', minimal, low, medium, high or xhigh; only for models that reason.
    * ``speed``: 0.25 to 1.5.
    * ``temperature``: with ``protocol="beta"`` only.
    * ``fallback_text``: what the caller hears when a reply fails for good.
    """

    api_key: str | None = None
    voice: str = ""
    model: str = "gpt-realtime-2"
    base_url: str = "wss://api.openai.com/v1/realtime"
    audio: str = "auto"
    protocol: str = "ga"
    turn_detection: TurnDetection | Mapping[str, Any] | None = None
    transcription_model: str = "gpt-4o-mini-transcribe"
    noise_reduction: str = ""
    max_output_tokens: int | None = None
    tool_choice: str = "auto"
    reasoning_effort: str = ""
    speed: float | None = None
    temperature: float | None = None
    fallback_text: str = _FALLBACK_TEXT

    def __repr__(self) -> str:
        return f"OpenAIRealtime(model={self.model!r}, voice={self.voice!r})"

    def resolve(self, resolving: Resolving) -> OpenAIRealtimeSpec:
        """Check everything, fill in the key from the environment. ConfigError says what to change."""
        for name in ("voice", "model", "base_url", "transcription_model", "tool_choice", "fallback_text"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"OpenAIRealtime({name}=...) must be text, got {getattr(self, name)!r}")
        if not self.model.strip():
            raise ConfigError("OpenAIRealtime(model=...) must name a model, such as 'gpt-realtime-2'")
        if not self.fallback_text.strip():
            raise ConfigError("OpenAIRealtime(fallback_text=...) must say something: silence is never an answer")
        _one_of("audio", self.audio, _AUDIO)
        _one_of("protocol", self.protocol, _PROTOCOLS)
        if self.noise_reduction:
            _one_of("noise_reduction", self.noise_reduction, _NOISE)
        if self.reasoning_effort:
            _one_of("reasoning_effort", self.reasoning_effort, _EFFORTS)
        if self.max_output_tokens is not None:
            _whole("max_output_tokens", self.max_output_tokens, 1, 4096)
        if self.speed is not None:
            _number("speed", self.speed, 0.25, 1.5)
        if not self.tool_choice:
            raise ConfigError("OpenAIRealtime(tool_choice=...) is auto, none, required or the name of a tool")
        self._check_temperature()
        key = check_key("OpenAIRealtime", resolving.key(self.api_key, "OPENAI_API_KEY"))
        return OpenAIRealtimeSpec(
            model=self.model.strip(),
            voice=self.voice,
            url=_checked_url(self.base_url),
            audio=self.audio,
            protocol=self.protocol,
            turn_detection=_turn_detection(self.turn_detection),
            transcription_model=self.transcription_model,
            noise_reduction=self.noise_reduction,
            max_output_tokens=self.max_output_tokens,
            tool_choice=self.tool_choice,
            reasoning_effort=self.reasoning_effort,
            speed=self.speed,
            temperature=self.temperature,
            fallback_text=self.fallback_text,
            auth=resolving.secret("openai", "Authorization", f"Bearer {key}") if key else "",
        )

    def _check_temperature(self) -> None:
        if self.temperature is None:
            return
        if self.protocol == "ga":
            raise ConfigError(
                "OpenAIRealtime(temperature=...) does not exist in the service's present protocol and would be refused;"
                " leave it out and steer by the system prompt (protocol='beta' is for compatible servers that know it)"
            )
        _number("temperature", self.temperature, 0.0, 2.0)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"OpenAIRealtime({name}=...) must be one of {', '.join(allowed)}; got {value!r}")


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"OpenAIRealtime({name}=...) must be a whole number from {low} to {high}; got {value!r}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"OpenAIRealtime({name}=...) must be a number; got {value!r}")
    if not low <= value <= high:
        raise ConfigError(f"OpenAIRealtime({name}=...) must be from {low} to {high}; got {value!r}")


def _checked_url(url: str) -> str:
    advice = "OpenAIRealtime(base_url=...) is the service's WebSocket, such as 'wss://api.openai.com/v1/realtime'"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is the access that checks it
    except ValueError as exc:
        raise ConfigError(f"{advice}; got {url!r} ({exc})") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{advice}; got {url!r}")
    return url


def _turn_detection(given: TurnDetection | Mapping[str, Any] | None) -> TurnDetection:
    if given is None:
        return ServerVad()
    if isinstance(given, Mapping):
        kinds: dict[Any, type[ServerVad] | type[SemanticVad]] = {"server_vad": ServerVad, "semantic_vad": SemanticVad}
        kind = kinds.get(given.get("type", "server_vad"))
        if kind is None:
            raise ConfigError(
                f"OpenAIRealtime(turn_detection=...): type is server_vad or semantic_vad; got {given.get('type')!r}"
            )
        values = {key: value for key, value in given.items() if key != "type"}
        unknown = sorted(str(key) for key in values if key not in kind.__struct_fields__)
        if unknown:
            known = ", ".join(kind.__struct_fields__)
            raise ConfigError(f"OpenAIRealtime(turn_detection=...): unknown {', '.join(unknown)}; there are {known}")
        given = kind(**values)
    if isinstance(given, ServerVad):
        _number("turn_detection.threshold", given.threshold, 0.0, 1.0)
        _whole("turn_detection.prefix_padding_ms", given.prefix_padding_ms, 0, 5000)
        _whole("turn_detection.silence_duration_ms", given.silence_duration_ms, 50, 10_000)
    elif isinstance(given, SemanticVad):
        _one_of("turn_detection.eagerness", given.eagerness, _EAGERNESS)
    else:
        raise ConfigError(f"OpenAIRealtime(turn_detection=...) is ServerVad(...) or SemanticVad(...); got {given!r}")
    return given
