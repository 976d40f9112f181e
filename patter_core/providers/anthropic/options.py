"""``AnthropicLLM(...)``: what an application writes to have a Claude model answer; ``AnthropicSpec`` is what becomes
of it. Source: docs.claude.com/en/api/messages."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import ConfigError
from ..keyed import Keyed
from ..keys import Resolving
from ..sendable import check_base_url, check_extra, check_headers, check_key, check_number, check_text

__all__ = ["AnthropicLLM", "AnthropicSpec"]


class AnthropicSpec(msgspec.Struct, frozen=True, kw_only=True, tag="anthropic"):
    """Which model to ask and how, as data."""

    auth: str
    model: str
    base_url: str = "https://api.anthropic.com"
    provider: str = "anthropic"
    variable: str = "ANTHROPIC_API_KEY"
    max_tokens: int = 1024
    temperature: float | None = None
    cache_prompt: bool = True
    extra: dict[str, Any] = {}
    headers: tuple[tuple[str, str], ...] = ()


class AnthropicLLM(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """A model of Anthropic's: the key from the argument, else ANTHROPIC_API_KEY.

    * ``max_tokens``: of one answer; the service wants a number. 1024 is five minutes of speech.
    * ``cache_prompt``: the system prompt and the tools are marked for Anthropic's cache: writing them costs a quarter
      more, reading them a tenth. One too short to be cached is not, and costs what it always did.
    * ``extra``: more fields for the request's body; None as a value leaves a field of ours out.
    * ``headers``: more headers; not for secrets, as they are kept in traces.
    """

    model: str = "claude-haiku-4-5"
    base_url: str = "https://api.anthropic.com"
    max_tokens: int = 1024
    temperature: float | None = None
    cache_prompt: bool = True
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"AnthropicLLM(model={self.model!r})"

    def resolve(self, resolving: Resolving) -> AnthropicSpec:
        """Checked, with the key put away under a name."""
        name = "AnthropicLLM"
        check_number(name, "temperature", self.temperature, 0, 1)
        check_number(name, "max_tokens", self.max_tokens, 1, 1_000_000, whole=True, needed=True)
        if not isinstance(self.cache_prompt, bool):
            raise ConfigError(f"{name}(cache_prompt=...) must be True or False, got {self.cache_prompt!r}")
        key = check_key(name, resolving.key(self.api_key, "ANTHROPIC_API_KEY"))
        url = check_base_url(name, self.base_url).removesuffix("/messages").removesuffix("/v1")
        return AnthropicSpec(
            auth=resolving.secret("anthropic", "x-api-key", key) if key else "",
            model=check_text(name, "model", self.model, "claude-haiku-4-5"),
            base_url=url,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            cache_prompt=self.cache_prompt,
            extra=check_extra(name, self.extra),
            headers=check_headers(name, self.headers),
        )
