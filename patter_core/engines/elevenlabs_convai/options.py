"""``ElevenLabsConvAI(...)``: what people write to have an ElevenLabs agent answer their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigError
from ...providers.keys import Resolving
from ...providers.sendable import check_key
from ..policy import HandlerSpec

__all__ = ["APOLOGY", "PROVIDER", "ElevenLabsConvAI", "ElevenLabsConvAISpec"]

PROVIDER = "elevenlabs_convai"
APOLOGY = "I'm sorry, I have a technical problem and must end this call. Please try again later."
_TEXTS = ("agent_id", "voice", "language", "user_id", "base_url", "apology")


class ElevenLabsConvAISpec(msgspec.Struct, frozen=True, tag="elevenlabs-convai", kw_only=True):
    """An ElevenLabs agent as data. ``auth`` names the secret with its key ('' for none)."""

    agent_id: str
    auth: str = ""
    base_url: str = "wss://api.elevenlabs.io"
    url: str = ""  # signed, and good for a short time only
    signed_url: HandlerSpec | None = None  # a fresh one for each conversation
    voice: str = ""
    language: str = ""
    user_id: str = ""
    allow_audio_override: bool = False
    allow_first_message_override: bool = False
    apology: str = APOLOGY


class ElevenLabsConvAI(msgspec.Struct, frozen=True):
    """An agent that was made in ElevenLabs' dashboard, as the engine of a call.

    The key is ``api_key`` or ELEVENLABS_API_KEY, the agent ``agent_id`` or ELEVENLABS_AGENT_ID. An agent that needs no
    key is ``public=True``. ``signed_url`` replaces both: a URL, or (since one is good for some minutes only) a function
    without arguments that returns a fresh one.

    The agent's system prompt, first message, ``language`` and ``voice`` (an ElevenLabs voice id) override what the
    dashboard says, each only when set, and each only if the agent's Security tab allows that override: where it does
    not, ElevenLabs refuses the conversation. ``allow_first_message_override`` says that the first message may be
    overridden although none is set, so that an agent that takes over in mid-call does not greet.
    ``allow_audio_override`` asks for the telephone's own mu-law; better, choose "u-law 8000 Hz" as the agent's input
    and output format in the dashboard, which needs no override.

    Tools are those the dashboard knows: a *client* tool there with the name of a tool here runs here; one that the
    dashboard does not know is never called. Who may interrupt the agent is ElevenLabs' decision, too.
    """

    api_key: str | None = None
    agent_id: str = ""
    voice: str = ""
    language: str = ""
    user_id: str = ""
    signed_url: str | Callable[[], Any] | None = None
    public: bool = False
    base_url: str = "wss://api.elevenlabs.io"
    allow_audio_override: bool = False
    allow_first_message_override: bool = False
    apology: str = APOLOGY

    def __post_init__(self) -> None:
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, got {type(getattr(self, name)).__name__}")
        _check_url("base_url", self.base_url)
        if isinstance(self.signed_url, str):
            _check_url("signed_url", self.signed_url)
        elif self.signed_url is not None and not callable(self.signed_url):
            raise ConfigError("signed_url must be a wss:// URL, or a function that returns one")

    def __repr__(self) -> str:
        return f"ElevenLabsConvAI(agent_id={self.agent_id!r}, base_url={self.base_url!r})"

    def resolve(self, resolving: Resolving, signed_url: HandlerSpec | None = None) -> ElevenLabsConvAISpec:
        """As data. ``signed_url`` is the handler that a callable of that name became."""
        agent_id, auth, url = self.agent_id, "", ""
        if self.signed_url is None:
            agent_id = resolving.key(self.agent_id, "ELEVENLABS_AGENT_ID")
            if not self.public and (key := resolving.key(self.api_key, "ELEVENLABS_API_KEY")):
                auth = resolving.secret("elevenlabs", "xi-api-key", check_key("ElevenLabsConvAI", key))
            if not agent_id.isascii() or any(char <= " " for char in agent_id):
                raise ConfigError(f"agent_id must be an id like agent_01jz..., got {agent_id!r}")
        elif isinstance(self.signed_url, str):
            url = self.signed_url
        elif signed_url is None:
            raise ConfigError("signed_url is a function, and this server has no place to run it: give a URL instead")
        return ElevenLabsConvAISpec(
            agent_id=agent_id,
            auth=auth,
            base_url=self.base_url.rstrip("/"),
            url=url,
            signed_url=None if url or self.signed_url is None else signed_url,
            voice=self.voice,
            language=self.language,
            user_id=self.user_id,
            allow_audio_override=self.allow_audio_override,
            allow_first_message_override=self.allow_first_message_override,
            apology=self.apology,
        )


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"{name} must begin with wss:// and name a host, such as wss://api.elevenlabs.io")
