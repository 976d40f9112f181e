"""``ElevenLabsTTS(...)`` and ``ElevenLabsWebSocketTTS(...)``: what people write to have ElevenLabs speak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigError
from ..keyed import Keyed
from ..keys import Resolving
from ..sendable import check_key

__all__ = [
    "OUTPUT_FORMATS",
    "ElevenLabsTTS",
    "ElevenLabsVoiceSpec",
    "ElevenLabsWebSocketTTS",
    "ElevenLabsWsVoiceSpec",
    "VoiceSettings",
]

DEFAULT_VOICE = "21m00Tcm4TlvDq8ikWAM"  # "Rachel", one of the vendor's own
DEFAULT_MODEL = "eleven_flash_v2_5"  # the one with the least latency
OUTPUT_FORMATS = ("ulaw_8000", "alaw_8000", "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_48000")
_RANGES = {"stability": (0.0, 1.0), "similarity_boost": (0.0, 1.0), "style": (0.0, 1.0), "speed": (0.7, 1.2)}


class VoiceSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the voice speaks; what is None is as the voice's owner set it."""

    stability: float | None = None
    similarity_boost: float | None = None
    style: float | None = None
    speed: float | None = None
    use_speaker_boost: bool | None = None


class ElevenLabsVoiceSpec(msgspec.Struct, frozen=True, tag="elevenlabs-voice", kw_only=True):
    """ElevenLabs over HTTP, one request a sentence, as data. ``auth`` names the secret with its key."""

    auth: str
    voice_id: str = DEFAULT_VOICE
    model: str = DEFAULT_MODEL
    output_format: str = "auto"
    language: str = ""
    voice_settings: VoiceSettings | None = None
    base_url: str = "https://api.elevenlabs.io"


class ElevenLabsWsVoiceSpec(msgspec.Struct, frozen=True, tag="elevenlabs-ws-voice", kw_only=True):
    """ElevenLabs over one WebSocket a call, as data. ``auth`` names the secret with its key."""

    auth: str
    voice_id: str = DEFAULT_VOICE
    model: str = DEFAULT_MODEL
    output_format: str = "auto"
    language: str = ""
    voice_settings: VoiceSettings | None = None
    base_url: str = "wss://api.elevenlabs.io"


class _Options(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    voice_id: str = DEFAULT_VOICE
    model: str = DEFAULT_MODEL
    output_format: str = "auto"
    language: str = ""
    voice_settings: Mapping[str, Any] | None = None
    base_url: str = "https://api.elevenlabs.io"

    def __post_init__(self) -> None:
        for name in ("voice_id", "model", "language", "base_url"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, got {type(getattr(self, name)).__name__}")
        if not self.voice_id or not self.voice_id.isascii() or any(char <= " " for char in self.voice_id):
            raise ConfigError("voice_id must be the id of a voice, as its page in ElevenLabs' voice library shows it")
        if self.output_format != "auto" and self.output_format not in OUTPUT_FORMATS:
            raise ConfigError(f"output_format must be auto or one of {', '.join(OUTPUT_FORMATS)}")
        _settings(self.voice_settings)
        self._check_url()

    def _check_url(self) -> None:
        _check_url(self.base_url, ("https", "http"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(voice_id={self.voice_id!r}, model={self.model!r})"

    def _auth(self, resolving: Resolving) -> str:
        key = resolving.key(self.api_key, "ELEVENLABS_API_KEY")
        return resolving.secret("elevenlabs", "xi-api-key", check_key(type(self).__name__, key)) if key else ""


class ElevenLabsTTS(_Options, frozen=True, kw_only=True):
    """ElevenLabs' text to speech over HTTP. The key is ``api_key`` or ELEVENLABS_API_KEY.

    ``output_format`` "auto" is what the call's line carries, so that nothing is converted on the way: mu-law or A-law
    as it is, 16 kHz PCM for a wide-band line. ``voice_settings`` may hold stability, similarity_boost, style, speed and
    use_speaker_boost.
    """

    def resolve(self, resolving: Resolving) -> ElevenLabsVoiceSpec:
        """As data; notes a missing key."""
        return ElevenLabsVoiceSpec(
            auth=self._auth(resolving),
            voice_id=self.voice_id,
            model=self.model,
            output_format=self.output_format,
            language=self.language,
            voice_settings=_settings(self.voice_settings),
            base_url=self.base_url.rstrip("/"),
        )


class ElevenLabsWebSocketTTS(_Options, frozen=True, kw_only=True):
    """ElevenLabs' text to speech over one WebSocket for the whole call: no new connection for each sentence.

    Options are those of ``ElevenLabsTTS``. The model eleven_v3 has no WebSocket.
    """

    base_url: str = "wss://api.elevenlabs.io"

    def _check_url(self) -> None:
        if self.model.startswith("eleven_v3"):
            raise ConfigError(f"ElevenLabs has no WebSocket for {self.model}: use ElevenLabsTTS, or {DEFAULT_MODEL}")
        _check_url(self.base_url, ("wss", "ws"))

    def resolve(self, resolving: Resolving) -> ElevenLabsWsVoiceSpec:
        """As data; notes a missing key."""
        return ElevenLabsWsVoiceSpec(
            auth=self._auth(resolving),
            voice_id=self.voice_id,
            model=self.model,
            output_format=self.output_format,
            language=self.language,
            voice_settings=_settings(self.voice_settings),
            base_url=self.base_url.rstrip("/"),
        )


def _check_url(url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"base_url must begin with {schemes[0]}:// and name a host, got {url!r}")


def _settings(given: Any) -> VoiceSettings | None:
    if given is None:
        return None
    known = VoiceSettings.__struct_fields__
    if not isinstance(given, Mapping) or (unknown := [key for key in given if key not in known]):
        what = f"not {unknown[0]!r}" if isinstance(given, Mapping) else f"not {type(given).__name__}"
        raise ConfigError(f"voice_settings is a dict of {', '.join(known)}; {what}")
    for key, value in given.items():
        if key == "use_speaker_boost":
            if not isinstance(value, bool):
                raise ConfigError(f"voice_settings: use_speaker_boost must be True or False, got {value!r}")
            continue
        low, high = _RANGES[key]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            raise ConfigError(f"voice_settings: {key} must be {low} to {high}, got {value!r}")
    return VoiceSettings(**given)
