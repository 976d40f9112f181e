"""The agent as people write it, and its way to plain data.

An ``Agent`` may hold callables and provider objects. ``resolve_agent`` puts those into a table for the edge and leaves
their names in an ``AgentSpec``, so that only data crosses into the machines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from .audio.formats import AudioFormat, Encoding
from .audio.resample import INPUT_RATES, OUTPUT_RATES
from .config import (
    FALLBACK_TEXT,
    TRANSFER_FAILED_TEXT,
    TRANSFER_REFUSED_TEXT,
    AgentSpec,
    EchoSpec,
    EngineSpec,
    HandlerSpec,
    PipelineSpec,
)
from .contract import Lane
from .errors import ConfigError

__all__ = ["CALLBACKS", "Agent", "Echo", "lane_of", "resolve_agent"]

Handler = Callable[..., Any]

_TEXTS = (
    "system_prompt",
    "voice",
    "language",
    "first_message",
    "fallback_message",
    "transfer_refused_message",
    "transfer_failed_message",
)
_TARGETS = ("+", "sip:", "sips:")

CALLBACKS = ("on_call_start", "on_call_end", "on_transcript", "on_metrics", "on_machine_detection")


class Echo(msgspec.Struct, frozen=True):
    """An engine that says back what it hears: for trying a line, for tests and for load."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What answers a call. Made by ``phone.agent(...)``, which checks it.

    ``stt`` is called with one utterance, ``(pcm16: bytes, rate: int) -> str``; ``tts`` with one sentence,
    ``(text: str) -> bytes`` or an iterator of them, PCM16 mono at its ``rate`` attribute (16000 when it has none).
    Either may be an object with a ``recognise`` or ``speak`` method, sync or async.

    ``transfer_allow`` are prefixes of the numbers and ``sip:`` addresses a caller may be sent to; without it a model
    may only name what is written in ``system_prompt``. ``transfer_refused_message`` is what the caller then hears,
    ``transfer_failed_message`` when nobody answered there.
    """

    system_prompt: str = ""
    engine: Any = None
    stt: Any = None
    tts: Any = None
    voice: str = "alloy"
    language: str = "en"
    first_message: str = ""
    variables: dict[str, Any] = {}
    barge_in_threshold_ms: int = 300
    fallback_message: str = FALLBACK_TEXT
    transfer_allow: tuple[str, ...] | None = None
    transfer_refused_message: str = TRANSFER_REFUSED_TEXT
    transfer_failed_message: str = TRANSFER_FAILED_TEXT

    def __post_init__(self) -> None:
        if self.engine is not None and (self.stt is not None or self.tts is not None):
            raise ConfigError("engine= and stt=/tts= exclude each other: an engine brings its own ears and voice")
        if self.engine is not None and not isinstance(self.engine, Echo):
            raise ConfigError(f"engine must be Echo() in this version, got {type(self.engine).__name__}")
        if self.stt is not None and _method(self.stt, "recognise") is None:
            raise ConfigError("stt must be callable as (pcm, rate) -> text, or have such a method named recognise")
        if self.tts is not None and _method(self.tts, "speak") is None:
            raise ConfigError("tts must be callable as (text) -> audio, or have such a method named speak")
        if isinstance(self.barge_in_threshold_ms, bool) or not 0 <= self.barge_in_threshold_ms <= 10_000:
            raise ConfigError(f"barge_in_threshold_ms must be 0 to 10000, got {self.barge_in_threshold_ms!r}")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, got {type(getattr(self, name)).__name__}")
        allow = self.transfer_allow
        if allow is not None and not all(str(one).startswith(_TARGETS) for one in allow):
            raise ConfigError("transfer_allow takes prefixes of targets, such as ['+1555', 'sip:desk@example.com']")


def _method(provider: Any, name: str) -> Handler | None:
    found = getattr(provider, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    return provider if callable(provider) else None


def lane_of(handler: Handler) -> Lane:
    """Coroutine functions and async generators run on the loop, everything else in a worker thread: a plain function
    may block, and must not hold up the other calls."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - the method, not a test for callability
    for candidate in (handler, call):
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            return Lane.LOOP
    return Lane.THREAD


def _rate_of(provider: Any, supported: Collection[int], default: int) -> int:
    """The sample rate a provider declares as ``sample_rate`` or ``rate``."""
    for name in ("sample_rate", "rate"):
        rate = getattr(provider, name, None)
        if isinstance(rate, int) and not isinstance(rate, bool):
            if rate not in supported:
                raise ConfigError(f"{type(provider).__name__}.{name} is {rate}; supported: {sorted(supported)}")
            return rate
    return default


def resolve_agent(
    agent: Agent, callbacks: Mapping[str, Handler | None], handlers: dict[str, Handler], prefix: str = ""
) -> AgentSpec:
    """The agent as data; its callables go into ``handlers``. ConfigError says what is missing or contradicts."""

    def name(key: str, handler: Handler) -> HandlerSpec:
        handlers[prefix + key] = handler
        return HandlerSpec(prefix + key, lane_of(handler))

    on_message = callbacks.get("on_message")
    for key, handler in callbacks.items():
        if handler is not None and not callable(handler):
            raise ConfigError(f"{key} must be callable, got {type(handler).__name__}")
    engine: EngineSpec
    if isinstance(agent.engine, Echo):
        if on_message is not None:
            raise ConfigError("on_message= has no part in an echo: leave it out, or give the agent stt= and tts=")
        engine = EchoSpec()
    elif agent.tts is None or on_message is None:
        missing = [text for text, value in (("tts=", agent.tts), ("on_message=", on_message)) if value is None]
        raise ConfigError(f"the agent cannot answer: it needs {' and '.join(missing)}, or engine=Echo()")
    else:
        speak = _method(agent.tts, "speak")
        assert speak is not None
        stt = None
        if agent.stt is not None:
            recognise = _method(agent.stt, "recognise")
            assert recognise is not None
            stt = name("stt", recognise)
        engine = PipelineSpec(
            reply=name("on_message", on_message),
            tts=name("tts", speak),
            stt=stt,
            stt_format=AudioFormat(Encoding.L16, _rate_of(agent.stt, OUTPUT_RATES, 16000)),
            tts_format=AudioFormat(Encoding.L16, _rate_of(agent.tts, INPUT_RATES, 16000)),
            fallback_text=agent.fallback_message,
        )
    specs = {key: name(key, handler) for key in CALLBACKS if (handler := callbacks.get(key)) is not None}
    return AgentSpec(
        engine=engine,
        system_prompt=agent.system_prompt,
        first_message=agent.first_message,
        language=agent.language,
        voice=agent.voice,
        variables={str(key): str(value) for key, value in agent.variables.items()},
        barge_in_threshold_ms=agent.barge_in_threshold_ms,
        transfer_allow=agent.transfer_allow,
        transfer_refused_message=agent.transfer_refused_message,
        transfer_failed_message=agent.transfer_failed_message,
        callbacks=specs,
    )
