"""``OpenAITranscribeSTT``, ``WhisperSTT`` and ``OpenAITTS``: what people write to have OpenAI's audio API listen and
speak; ``TranscribeSpec`` and ``OpenAIVoiceSpec`` are what becomes of them.

Other servers have these two endpoints as well: ``base_url`` is then theirs, and where they want no key, any text will
do for one.

Source: the service's OpenAPI document, as its own Python library has it in ``types/audio``: transcription_create_params
and speech_create_params.
"""

from __future__ import annotations

import msgspec

from ...errors import ConfigError
from ..keyed import Keyed
from ..keys import Resolving
from ..sendable import check_base_url, check_key, check_number, check_text

__all__ = ["OpenAITTS", "OpenAITranscribeSTT", "OpenAIVoiceSpec", "TranscribeSpec", "WhisperSTT"]

_BASE_URL = "https://api.openai.com/v1"
_VARIABLE = "OPENAI_API_KEY"
_PROMPT = 4_000
"""Characters that guide the recogniser or the voice: the services read a few hundred words of it."""


class TranscribeSpec(msgspec.Struct, frozen=True, kw_only=True, tag="openai-transcribe"):
    """Where and how to have an utterance written down, as data. ``provider`` is its name in the price table."""

    auth: str
    model: str = "gpt-4o-mini-transcribe"
    provider: str = "openai_transcribe"
    language: str = ""  # '': the agent's
    prompt: str = ""
    temperature: float | None = None
    base_url: str = _BASE_URL


class OpenAIVoiceSpec(msgspec.Struct, frozen=True, kw_only=True, tag="openai-voice"):
    """Which voice speaks, and where, as data."""

    auth: str
    model: str = "gpt-4o-mini-tts"
    voice: str = "alloy"
    instructions: str = ""
    speed: float | None = None
    base_url: str = _BASE_URL


class OpenAITranscribeSTT(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI writes down each utterance once the caller is silent: the key from the argument, else OPENAI_API_KEY.

    * ``language``: '' is the agent's. Naming it is faster and surer than leaving it to be found out.
    * ``prompt``: names and jargon to expect, in that language.
    * ``temperature``: 0 to 1; None is the service's own choice.
    """

    model: str = "gpt-4o-mini-transcribe"
    language: str = ""
    prompt: str = ""
    temperature: float | None = None
    base_url: str = _BASE_URL

    def __repr__(self) -> str:
        return f"OpenAITranscribeSTT(model={self.model!r}, language={self.language!r})"

    def resolve(self, resolving: Resolving) -> TranscribeSpec:
        """Checked, with the key put away under a name."""
        return _transcribe(self, resolving, "openai_transcribe")


class WhisperSTT(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """Whisper at OpenAI's, or on a server of one's own that speaks like it (``base_url``). The rest is as with
    ``OpenAITranscribeSTT``."""

    model: str = "whisper-1"
    language: str = ""
    prompt: str = ""
    temperature: float | None = None
    base_url: str = _BASE_URL

    def __repr__(self) -> str:
        return f"WhisperSTT(model={self.model!r}, language={self.language!r})"

    def resolve(self, resolving: Resolving) -> TranscribeSpec:
        """Checked, with the key put away under a name."""
        return _transcribe(self, resolving, "whisper")


class OpenAITTS(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI speaks: the key from the argument, else OPENAI_API_KEY.

    * ``instructions``: how to speak ("calm, a little slower than usual"); not for the models ``tts-1`` and
      ``tts-1-hd``.
    * ``speed``: 0.25 to 4; None is the voice's own.
    """

    model: str = "gpt-4o-mini-tts"
    voice: str = "alloy"
    instructions: str = ""
    speed: float | None = None
    base_url: str = _BASE_URL

    def __repr__(self) -> str:
        return f"OpenAITTS(model={self.model!r}, voice={self.voice!r})"

    def resolve(self, resolving: Resolving) -> OpenAIVoiceSpec:
        """Checked, with the key put away under a name."""
        model = check_text("OpenAITTS", "model", self.model, "gpt-4o-mini-tts")
        instructions = _guide("OpenAITTS", "instructions", self.instructions)
        if instructions and model.startswith("tts-1"):
            raise ConfigError(f'OpenAITTS(instructions=...) means nothing to {model!r}: use model="gpt-4o-mini-tts"')
        check_number("OpenAITTS", "speed", self.speed, 0.25, 4)
        return OpenAIVoiceSpec(
            auth=_auth("OpenAITTS", self.api_key, resolving),
            model=model,
            voice=check_text("OpenAITTS", "voice", self.voice, "alloy"),
            instructions=instructions,
            speed=self.speed,
            base_url=check_base_url("OpenAITTS", self.base_url).removesuffix("/audio/speech"),
        )


def _transcribe(option: OpenAITranscribeSTT | WhisperSTT, resolving: Resolving, provider: str) -> TranscribeSpec:
    name = type(option).__name__
    check_number(name, "temperature", option.temperature, 0, 1)
    language: object = option.language
    if not isinstance(language, str) or len(language) > 35:
        raise ConfigError(f'{name}(language=...) must be a code like "en", got {language!r:.80}')
    return TranscribeSpec(
        auth=_auth(name, option.api_key, resolving),
        model=check_text(name, "model", option.model, "gpt-4o-mini-transcribe"),
        provider=provider,
        language=language.strip(),
        prompt=_guide(name, "prompt", option.prompt),
        temperature=option.temperature,
        base_url=check_base_url(name, option.base_url).removesuffix("/audio/transcriptions"),
    )


def _auth(option: str, api_key: str | None, resolving: Resolving) -> str:
    key = check_key(option, resolving.key(api_key, _VARIABLE))
    return resolving.secret("openai", "Authorization", f"Bearer {key}") if key else ""


def _guide(option: str, name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _PROMPT:
        raise ConfigError(f"{option}({name}=...) must be text of at most {_PROMPT} characters, got {value!r:.80}")
    return value.strip()
