"""What an application writes to have a model answer over chat completions; ``ChatSpec`` is what becomes of each.

Sources: platform.openai.com/docs/api-reference/chat/create; console.groq.com/docs/openai; inference-docs.cerebras.ai
(both take OpenAI's shapes, and call the limit ``max_completion_tokens``); for servers of one's own, docs.vllm.ai,
Ollama's docs/openai.md and llama.cpp's tools/server/README.md, which know it as ``max_tokens``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..keyed import Keyed
from ..keys import Resolving
from ..sendable import check_base_url, check_extra, check_headers, check_key, check_number, check_text

__all__ = ["CerebrasLLM", "ChatSpec", "CompatibleLLM", "GroqLLM", "OpenAILLM"]


class ChatSpec(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """Which model to ask, where and how, as data."""

    provider: str
    base_url: str
    model: str
    auth: str = ""
    variable: str = ""  # the key's environment variable, for advice
    temperature: float | None = None
    max_tokens: int | None = None
    max_tokens_field: str = "max_completion_tokens"
    reasoning_effort: str = ""
    extra: dict[str, Any] = {}
    headers: tuple[tuple[str, str], ...] = ()


class OpenAILLM(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """A model of OpenAI's: the key from the argument, else OPENAI_API_KEY.

    * ``temperature``, ``max_tokens``: None is the model's own. Reasoning models take no temperature.
    * ``reasoning_effort``: for models that reason; the less, the sooner the caller hears an answer.
    * ``extra``: more fields for the request's body; None as a value leaves a field of ours out.
    * ``headers``: more headers; not for secrets, as they are kept in traces.
    """

    model: str = "gpt-4.1-mini"
    base_url: str = "https://api.openai.com/v1"
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str = ""
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"OpenAILLM(model={self.model!r})"

    def resolve(self, resolving: Resolving) -> ChatSpec:
        """Checked, with the key put away under a name."""
        return _resolve(self, resolving, "openai", "OPENAI_API_KEY")


class GroqLLM(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """A model at Groq: the key from the argument, else GROQ_API_KEY. The rest is as with ``OpenAILLM``."""

    model: str = "llama-3.3-70b-versatile"
    base_url: str = "https://api.groq.com/openai/v1"
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str = ""
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"GroqLLM(model={self.model!r})"

    def resolve(self, resolving: Resolving) -> ChatSpec:
        """Checked, with the key put away under a name."""
        return _resolve(self, resolving, "groq", "GROQ_API_KEY")


class CerebrasLLM(Keyed, msgspec.Struct, frozen=True, kw_only=True):
    """A model at Cerebras: the key from the argument, else CEREBRAS_API_KEY. The rest is as with ``OpenAILLM``."""

    model: str = "gpt-oss-120b"
    base_url: str = "https://api.cerebras.ai/v1"
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str = ""
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"CerebrasLLM(model={self.model!r})"

    def resolve(self, resolving: Resolving) -> ChatSpec:
        """Checked, with the key put away under a name."""
        return _resolve(self, resolving, "cerebras", "CEREBRAS_API_KEY")


class CompatibleLLM(msgspec.Struct, frozen=True, kw_only=True):
    """A server that speaks chat completions: Ollama, vLLM, llama.cpp, or somebody else's.

    ``base_url`` is what comes before ``/chat/completions``, such as ``http://127.0.0.1:11434/v1``. ``api_key`` only
    where the server wants one. ``provider`` is its name in logs and in the price table. The rest is as with
    ``OpenAILLM``.
    """

    base_url: str
    model: str
    api_key: str | None = None
    provider: str = "compatible"
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str = ""
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"CompatibleLLM(base_url={self.base_url!r}, model={self.model!r})"

    def resolve(self, resolving: Resolving) -> ChatSpec:
        """Checked, with the key, if there is one, put away under a name."""
        return _resolve(self, resolving, check_text("CompatibleLLM", "provider", self.provider, "ollama"), "")


def _resolve(
    option: OpenAILLM | GroqLLM | CerebrasLLM | CompatibleLLM, resolving: Resolving, provider: str, variable: str
) -> ChatSpec:
    name = type(option).__name__
    check_number(name, "temperature", option.temperature, 0, 2)
    check_number(name, "max_tokens", option.max_tokens, 1, 1_000_000, whole=True)
    effort = option.reasoning_effort
    if effort != "":
        effort = check_text(name, "reasoning_effort", effort, "low")
    key = resolving.key(option.api_key, variable) if variable else option.api_key or ""
    key = check_key(name, key)
    return ChatSpec(
        provider=provider,
        base_url=check_base_url(name, option.base_url).removesuffix("/chat/completions"),
        model=check_text(name, "model", option.model, "gpt-4.1-mini"),
        auth=resolving.secret(provider, "Authorization", f"Bearer {key}") if key else "",
        variable=variable,
        temperature=option.temperature,
        max_tokens=option.max_tokens,
        max_tokens_field="max_completion_tokens" if variable else "max_tokens",
        reasoning_effort=effort,
        extra=check_extra(name, option.extra),
        headers=check_headers(name, option.headers),
    )
