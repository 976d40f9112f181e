"""The agent as people write it, and its way to plain data.

An ``Agent`` may hold callables and provider objects. ``resolve_agent`` puts those into a table for the edge and leaves
their names in an ``AgentSpec``, so that only data crosses into the machines.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from .audio.detectors import SileroVad, VadSpec
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
from .engines.elevenlabs_convai.options import ElevenLabsConvAI
from .engines.openai_realtime.options import OpenAIRealtime
from .engines.policy import HookSpecs, Interruptions, Patience
from .errors import ConfigError
from .fallback import choices
from .guardrails import resolve_guards
from .lanes import Handler, lane_of
from .pipeline_hooks import resolve_hooks
from .providers.keys import Resolving
from .providers.local import CallableBrain, CallableEar, CallableVoice
from .providers.remote.options import remote_spec
from .providers.specs import BRAIN_OPTIONS, EAR_OPTIONS, VOICE_OPTIONS, BrainSpec, EarSpec, VoiceSpec
from .tools import resolve_tools

__all__ = ["CALLBACKS", "Agent", "Echo", "lane_of", "resolve_agent", "voice_of"]

_TEXTS = (
    "system_prompt",
    "voice",
    "language",
    "model",
    "first_message",
    "fallback_message",
    "transfer_refused_message",
    "transfer_failed_message",
)
_TARGETS = ("+", "sip:", "sips:")
_REALTIME = (OpenAIRealtime, ElevenLabsConvAI)

_VOICE = "alloy"  # an agent's, where nobody named one

CALLBACKS = ("on_call_start", "on_call_end", "on_transcript", "on_metrics", "on_machine_detection")


class Echo(msgspec.Struct, frozen=True):
    """An engine that says back what it hears: for trying a line, for tests and for load."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What answers a call. Made by ``phone.agent(...)``, which checks it.

    Either an ``engine`` (OpenAIRealtime(), ElevenLabsConvAI(), Echo()), or a pipeline: ``stt`` -> ``llm`` (or the
    server's ``on_message``) -> ``tts``. With none of them it is OpenAIRealtime(). Each may be a ``Fallback`` of
    several, and the pipeline's three also functions of your own: ``stt`` is called with one utterance, ``(pcm16:
    bytes, rate: int) -> str``; ``llm`` with what an ``on_message`` gets; ``tts`` with one sentence, ``(text: str) ->
    bytes`` or an iterator of them, PCM16 mono at its ``rate`` attribute (16000 when it has none). An object with a
    ``recognise`` or ``speak`` method will do, sync or async.

    ``tools`` and ``guardrails`` work with every engine (what cannot is refused here); ``hooks`` and
    ``text_transforms`` are the pipeline's. ``interruptions`` and ``patience`` say when the caller may interrupt, and
    how long a call may last or be silent. ``vad`` is what tells their voice: None is by energy, ``"silero"`` or
    ``SileroVad(threshold=0.5)`` by a small model, which music and noise do not fool.

    ``transfer_allow`` are prefixes of the numbers and ``sip:`` addresses a caller may be sent to; without it a model
    may only name what is written in ``system_prompt``. ``transfer_refused_message`` is what the caller then hears,
    ``transfer_failed_message`` when nobody answered there.
    """

    system_prompt: str = ""
    engine: Any = None
    stt: Any = None
    llm: Any = None
    tts: Any = None
    voice: str = _VOICE
    model: str = ""
    language: str = "en"
    first_message: str = ""
    tools: Any = None
    built_in_tools: bool = True
    variables: dict[str, Any] = {}
    guardrails: Any = None
    hooks: Any = None
    text_transforms: Any = None
    vad: Any = None
    barge_in_threshold_ms: int = 300
    interruptions: Interruptions | None = None
    patience: Patience = Patience()
    fallback_message: str = FALLBACK_TEXT
    transfer_allow: tuple[str, ...] | None = None
    transfer_refused_message: str = TRANSFER_REFUSED_TEXT
    transfer_failed_message: str = TRANSFER_FAILED_TEXT

    def __post_init__(self) -> None:
        staged = {"stt": self.stt, "llm": self.llm, "tts": self.tts}
        for name, value in (*staged.items(), ("engine", self.engine)):
            for one in choices(value):
                if isinstance(one, type) and hasattr(one, "resolve"):
                    raise ConfigError(f"{name}={one.__name__} is the class: write {one.__name__}()")
        given = [name for name, value in staged.items() if value is not None]
        if self.engine is not None and given:
            raise ConfigError(f"engine= and {'=, '.join(given)}= exclude each other: an engine brings its own")
        for one in choices(self.engine):
            if isinstance(one, ElevenLabsConvAI) and self.guardrails:
                raise ConfigError(
                    "guardrails= cannot hold with ElevenLabsConvAI(): it may be heard before its words are known, and "
                    "it cannot be told to say the replacement. Use the guardrails of its dashboard, or another engine"
                )
            if not isinstance(one, (Echo, *_REALTIME)):
                raise ConfigError(
                    f"engine must be OpenAIRealtime(), ElevenLabsConvAI() or Echo(), or a Fallback of them; got "
                    f"{type(one).__name__}. Speech-to-text, a model and a voice go into stt=, llm= and tts="
                )
        for one in choices(self.stt):
            if not isinstance(one, EAR_OPTIONS) and _method(one, "recognise") is None:
                raise ConfigError("stt must be callable as (pcm, rate) -> text, or have such a method named recognise")
        for one in choices(self.tts):
            if not isinstance(one, VOICE_OPTIONS) and _method(one, "speak") is None:
                raise ConfigError("tts must be callable as (text) -> audio, or have such a method named speak")
        for one in choices(self.llm):
            if not isinstance(one, BRAIN_OPTIONS) and not callable(one):
                raise ConfigError(f"llm must be OpenAILLM(), AnthropicLLM(), ... or a function; got {one!r}")
        if self.engine is not None or not given:
            for name in ("hooks", "text_transforms"):
                if getattr(self, name):
                    raise ConfigError(
                        f"{name}= is for a pipeline (stt=, llm=, tts=): an engine that hears and speaks by itself has "
                        "no text in between that could be changed"
                    )
        if isinstance(self.barge_in_threshold_ms, bool) or not 0 <= self.barge_in_threshold_ms <= 10_000:
            raise ConfigError(f"barge_in_threshold_ms must be 0 to 10000, got {self.barge_in_threshold_ms!r}")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, got {type(getattr(self, name)).__name__}")
        if self.interruptions is not None and not isinstance(self.interruptions, Interruptions):
            raise ConfigError("interruptions takes Interruptions(...)")
        if self.vad is not None and self.vad != "silero" and not isinstance(self.vad, SileroVad):
            raise ConfigError(
                f"vad takes 'silero', SileroVad(...), or None for the detector by energy; got {self.vad!r}"
            )
        if not isinstance(self.patience, Patience):
            raise ConfigError("patience takes Patience(...)")
        allow = self.transfer_allow
        if allow is not None and not all(str(one).startswith(_TARGETS) for one in allow):
            raise ConfigError("transfer_allow takes prefixes of targets, such as ['+1555', 'sip:desk@example.com']")


def voice_of(agent: Agent) -> str:
    """The voice an engine is told to use; '' for its own. Where an agent names none, that of its engine counts."""
    named = any(isinstance(one, OpenAIRealtime) and one.voice for one in choices(agent.engine))
    return "" if named and agent.voice == _VOICE else agent.voice


def _voiced(option: Any, voice: str) -> Any:
    """A provider's option that names no voice takes the agent's, where that names one."""
    if voice == _VOICE:
        return option
    if not isinstance(option, VOICE_OPTIONS):
        raise ConfigError(f"voice={voice!r} has no part in a tts= of your own: give it to what speaks there")
    field = "voice" if hasattr(option, "voice") else "voice_id"
    plain = getattr(option, field) == getattr(type(option)(), field)
    return msgspec.structs.replace(option, **{field: voice}) if plain else option


def _method(provider: Any, name: str) -> Handler | None:
    found = getattr(provider, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    return provider if callable(provider) else None


def _rate_of(provider: Any, supported: Collection[int], default: int) -> int:
    """The sample rate a provider declares as ``sample_rate`` or ``rate``."""
    for name in ("sample_rate", "rate"):
        rate = getattr(provider, name, None)
        if isinstance(rate, int) and not isinstance(rate, bool):
            if rate not in supported:
                raise ConfigError(f"{type(provider).__name__}.{name} is {rate}; supported: {sorted(supported)}")
            return rate
    return default


def _speaking(option: Any, language: str) -> Any:
    """A provider's option that leaves its language open takes the agent's."""
    if getattr(option, "language", None) == "" and language:
        return msgspec.structs.replace(option, language=language)
    return option


class _Resolver:
    """One agent on its way to data."""

    def __init__(self, agent: Agent, handlers: dict[str, Handler], resolving: Resolving, prefix: str) -> None:
        self._agent = agent
        self._handlers = handlers
        self._resolving = resolving
        self._prefix = prefix

    def name(self, key: str, handler: Handler) -> HandlerSpec:
        """Put a function into the edge's table."""
        key = self._prefix + key
        number = 1
        free = key
        while self._handlers.get(free, handler) is not handler:
            number += 1
            free = f"{key}{number}"
        self._handlers[free] = handler
        return HandlerSpec(free, lane_of(handler))

    def engines(self, on_message: Any, secret: str) -> tuple[EngineSpec, ...]:
        """The engine, and what takes its place."""
        agent = self._agent
        if agent.engine is None and (agent.stt is not None or agent.llm is not None or agent.tts is not None):
            return (self._pipeline(on_message, secret),)
        options = choices(agent.engine) or (OpenAIRealtime(),)
        if on_message is not None:
            what = "an echo" if isinstance(options[0], Echo) else "an engine that thinks for itself"
            raise ConfigError(
                f"on_message= has no part in {what}: leave it out, or give the agent stt= and tts= instead of engine="
            )
        return tuple(self._engine(one) for one in options)

    def _engine(self, option: Any) -> EngineSpec:
        agent = self._agent
        if isinstance(option, Echo):
            if agent.guardrails or agent.tools:
                raise ConfigError("tools= and guardrails= have no part in an echo")
            if agent.vad is not None:
                raise ConfigError("vad= has no part in an echo: nobody listens for a voice there")
            return EchoSpec()
        option = _speaking(option, "" if isinstance(option, ElevenLabsConvAI) else agent.language)
        if agent.model:
            if not hasattr(option, "model"):
                raise ConfigError(f"model= is not for {type(option).__name__}: its model is chosen at the provider")
            option = msgspec.structs.replace(option, model=agent.model)
        if isinstance(option, OpenAIRealtime) and not option.voice and not voice_of(agent):
            option = msgspec.structs.replace(option, voice=agent.voice)
        if agent.fallback_message != FALLBACK_TEXT:  # the operator's own words, whatever the engine would say
            said = "apology" if isinstance(option, ElevenLabsConvAI) else "fallback_text"
            option = msgspec.structs.replace(option, **{said: agent.fallback_message})
        if isinstance(option, ElevenLabsConvAI):
            signed = option.signed_url
            handler = self.name("signed_url", signed) if callable(signed) else None
            return option.resolve(self._resolving, handler)
        return option.resolve(self._resolving)  # type: ignore[no-any-return]

    def _pipeline(self, on_message: Any, secret: str) -> PipelineSpec:
        agent = self._agent
        thinkers = choices(agent.llm)
        if agent.model:
            if not thinkers or not isinstance(thinkers[0], BRAIN_OPTIONS):
                raise ConfigError(
                    "model= names a language model, and this agent has none: its answers are a function's"
                )
            thinkers = (msgspec.structs.replace(thinkers[0], model=agent.model), *thinkers[1:])
        if agent.llm is not None and on_message is not None:
            raise ConfigError("llm= and on_message= exclude each other: both answer the caller")
        brains = (
            (self._replier(on_message, secret),)
            if on_message is not None
            else tuple(self._brain(one) for one in thinkers)
        )
        missing = [text for text, value in (("tts=", agent.tts), ("llm= or on_message=", brains)) if not value]
        if missing:
            raise ConfigError(f"the agent cannot answer: it needs {' and '.join(missing)}, or an engine=")
        return PipelineSpec(
            ear=tuple(self._ear(one) for one in choices(agent.stt)),
            brain=brains,
            voice=tuple(self._voice(one) for one in choices(agent.tts)),
            fallback_text=agent.fallback_message,
            hooks=self._hooks(),
            plain_speech=agent.text_transforms is not False,
        )

    def _hooks(self) -> HookSpecs:
        transforms = self._agent.text_transforms
        if transforms is None or transforms is False or transforms is True:
            return resolve_hooks(self._agent.hooks, self.name)
        chain = [transforms] if callable(transforms) else list(transforms)
        if not all(map(callable, chain)):
            raise ConfigError("text_transforms takes functions from text to text, such as [str.strip]; or False")
        hooks = resolve_hooks(self._agent.hooks, self.name)
        if hooks.before_synthesize is not None:
            raise ConfigError("text_transforms= and a before_synthesize hook do the same: use one of them")

        def transform(text: str, context: Any) -> str:
            for one in chain:
                text = one(text)
            return text

        return msgspec.structs.replace(hooks, before_synthesize=self.name("text_transforms", transform))

    def _ear(self, option: Any) -> EarSpec:
        if isinstance(option, EAR_OPTIONS):
            return _speaking(option, self._agent.language).resolve(self._resolving)  # type: ignore[no-any-return]
        recognise = _method(option, "recognise")
        assert recognise is not None
        rate = _rate_of(option, OUTPUT_RATES, 16000)
        return CallableEar(self.name("stt", recognise), AudioFormat(Encoding.L16, rate))

    def _brain(self, option: Any) -> BrainSpec:
        if isinstance(option, BRAIN_OPTIONS):
            return option.resolve(self._resolving)
        return CallableBrain(self.name("llm", option))

    def _replier(self, on_message: Any, secret: str) -> BrainSpec:
        if isinstance(on_message, str):
            return remote_spec(on_message, secret, self._resolving)
        return CallableBrain(self.name("on_message", on_message))

    def _voice(self, option: Any) -> VoiceSpec:
        option = _voiced(option, self._agent.voice)
        if isinstance(option, VOICE_OPTIONS):
            return _speaking(option, self._agent.language).resolve(self._resolving)  # type: ignore[no-any-return]
        speak = _method(option, "speak")
        assert speak is not None
        rate = _rate_of(option, INPUT_RATES, 16000)
        return CallableVoice(self.name("tts", speak), AudioFormat(Encoding.L16, rate))


def resolve_agent(
    agent: Agent,
    callbacks: Mapping[str, Any],
    handlers: dict[str, Handler],
    prefix: str = "",
    *,
    resolving: Resolving | None = None,
    secret: str = "",
) -> AgentSpec:
    """The agent as data; its callables go into ``handlers``, its keys into ``resolving``. ConfigError says what is
    missing or contradicts. ``secret`` signs what is posted to an ``on_message`` URL."""
    if resolving is None:
        resolving = Resolving({})
    resolver = _Resolver(agent, handlers, resolving, prefix)
    for key, handler in callbacks.items():
        if handler is not None and not callable(handler) and not (key == "on_message" and isinstance(handler, str)):
            raise ConfigError(f"{key} must be callable, got {type(handler).__name__}")
    engine, *fallbacks = resolver.engines(callbacks.get("on_message"), secret)
    specs = {key: resolver.name(key, handler) for key in CALLBACKS if (handler := callbacks.get(key)) is not None}
    echo = isinstance(engine, EchoSpec)
    spec = AgentSpec(
        engine=engine,
        fallbacks=tuple(fallbacks),
        system_prompt=agent.system_prompt,
        first_message=agent.first_message,
        language=agent.language,
        voice=voice_of(agent),
        variables={str(key): str(value) for key, value in agent.variables.items()},
        barge_in_threshold_ms=agent.barge_in_threshold_ms,
        transfer_allow=agent.transfer_allow,
        transfer_refused_message=agent.transfer_refused_message,
        transfer_failed_message=agent.transfer_failed_message,
        callbacks=specs,
        tools=()
        if echo
        else resolve_tools(
            agent.tools, resolver.name, resolving, built_in_tools=agent.built_in_tools and _thinks(engine)
        ),
        guards=resolve_guards(agent.guardrails, resolver.name),
        interruptions=agent.interruptions,
        patience=agent.patience,
        vad=_detector(agent.vad),
    )
    if resolving.missing:
        wanted = ", ".join(resolving.missing)
        raise ConfigError(f"missing: {wanted} (or give it where the provider is named, as in OpenAILLM(api_key=...))")
    return spec


def _detector(option: Any) -> VadSpec | None:
    if option is None:
        return None
    return (option if isinstance(option, SileroVad) else SileroVad()).resolve()


def _thinks(engine: EngineSpec) -> bool:
    """Is there a model that could use a tool? An ``on_message`` has its CallControl instead."""
    return not isinstance(engine, PipelineSpec) or not all(isinstance(one, CallableBrain) for one in engine.brain)
