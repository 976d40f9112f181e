"""``PipelineHooks(...)``: the application's functions between the stages of a pipeline, and their way to plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .engines.policy import HandlerSpec, HookSpecs
from .errors import ConfigError
from .lanes import Handler, Name, places_of, wrapped_as

__all__ = ["HookContext", "PipelineHooks", "resolve_hooks"]

_AUDIO = {
    "before_send_to_stt": "a function of Python's, asked 50 times a second, is too slow for every call of the process "
    "at once; give stt= a recogniser of your own that changes the audio before it listens",
    "after_synthesize": "speech is played while it is still being made, and a function that is asked for every piece "
    "of it would hold up every call; give tts= a voice of your own that changes its audio",
}


class HookContext(msgspec.Struct, frozen=True):
    """Which call a hook is asked about. ``history`` is what was said: {"role", "text", ...}, oldest first."""

    call_id: str
    caller: str
    callee: str
    history: list[dict[str, Any]] = []

    def __getitem__(self, key: str) -> Any:
        """Like a dict's."""
        if key not in self.__struct_fields__:
            raise KeyError(key)
        return getattr(self, key)


class PipelineHooks(msgspec.Struct, frozen=True, kw_only=True):
    """Functions asked between the stages, as ``hook(value, context)`` or ``hook(value)``, sync or async. Each returns
    the value to go on with, or None to leave it out.

    ``after_transcribe``: what the caller said (None: it was not said). ``before_llm``: the messages for the model.
    ``after_llm``: a piece of its reply. ``before_synthesize``: a sentence about to be spoken.
    """

    before_send_to_stt: Handler | None = None
    after_transcribe: Handler | None = None
    before_llm: Handler | None = None
    after_llm: Handler | None = None
    before_synthesize: Handler | None = None
    after_synthesize: Handler | None = None

    def __post_init__(self) -> None:
        for hook in self.__struct_fields__:
            handler = getattr(self, hook)
            if handler is None:
                continue
            if hook in _AUDIO:
                raise ConfigError(f"{hook} is not available: {_AUDIO[hook]}")
            if not callable(handler) or places_of(handler, 2) < 1:
                raise ConfigError(f"{hook} must be a function, (value, context) -> value or None; got {handler!r}")


def resolve_hooks(given: Any, name: Name) -> HookSpecs:
    """What was given as ``hooks=`` as data: ``PipelineHooks``, or a dict with its keys."""
    if given is None:
        return HookSpecs()
    if isinstance(given, Mapping):
        unknown = sorted(str(key) for key in given if key not in PipelineHooks.__struct_fields__)
        if unknown:
            raise ConfigError(
                f"there is no hook {', '.join(unknown)}; there are {', '.join(HookSpecs.__struct_fields__)}"
            )
        given = PipelineHooks(**given)
    if not isinstance(given, PipelineHooks):
        raise ConfigError(f"hooks takes PipelineHooks(...), or a dict with its keys; got {type(given).__name__}")

    def spec(hook: str) -> HandlerSpec | None:
        handler = getattr(given, hook)
        if handler is None:
            return None
        return wrapped_as(name, f"hook:{hook}", handler, _with_context(handler))

    return HookSpecs(**{hook: spec(hook) for hook in HookSpecs.__struct_fields__})


def _with_context(handler: Handler) -> Handler:
    """``handler`` with the core's dict turned into a ``HookContext``."""
    both = places_of(handler, 2) == 2

    def call(value: Any, context: dict[str, Any]) -> Any:
        return handler(value, _context(context)) if both else handler(value)

    return call


def _context(given: dict[str, Any]) -> HookContext:
    return HookContext(
        call_id=str(given.get("call_id", "")),
        caller=str(given.get("caller", "")),
        callee=str(given.get("callee", "")),
        history=list(given.get("history", ())),
    )
