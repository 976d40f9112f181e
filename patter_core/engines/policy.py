"""What an engine is told about how to behave, as data: tools, guardrails, hooks, when the caller may interrupt."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ..contract import Lane
from ..errors import ConfigError

__all__ = ["GuardSpec", "HandlerSpec", "HookSpecs", "Interruptions", "Patience", "ToolSpec"]


def _check(options: msgspec.Struct) -> None:
    """Numbers that are numbers, and none below 0; texts that are texts."""
    for name in options.__struct_fields__:
        value, wanted = getattr(options, name), options.__annotations__[name]
        what = f"{type(options).__name__}({name}=...)"
        if wanted == "str":
            if not isinstance(value, str):
                raise ConfigError(f"{what} must be text, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ConfigError(f"{what} must be a number, at least 0; got {value!r}")
        elif wanted == "int" and not isinstance(value, int):
            raise ConfigError(f"{what} must be a whole number, got {value!r}")


class HandlerSpec(msgspec.Struct, frozen=True):
    """A named handler at the edge and the lane it runs in."""

    name: str
    lane: Lane = Lane.LOOP


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as data. Exactly one of ``handler``, ``url`` and ``built_in``."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}  # JSON schema of an object
    handler: HandlerSpec | None = None
    url: str = ""
    sign: str = ""  # names the secret that signs what is posted to ``url``
    headers: tuple[tuple[str, str], ...] = ()
    built_in: str = ""  # transfer_call, end_call, send_dtmf
    timeout_s: float = 10.0  # one try
    tries: int = 1
    waiting_message: str = ""  # said when the tool takes longer than ``waiting_after_s``
    waiting_after_s: float = 1.5
    cancel_on_barge_in: bool = False


class GuardSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail as data: terms that must not be said, or a handler that is given the text and returns True when it
    must not be said."""

    name: str
    blocked_terms: tuple[str, ...] = ()
    check: HandlerSpec | None = None
    replacement: str = "I'm sorry, I can't respond to that."


class HookSpecs(msgspec.Struct, frozen=True, kw_only=True):
    """The pipeline's hooks. Each handler is given (value, context dict) and returns the value to go on with, or None
    to leave this one out."""

    after_transcribe: HandlerSpec | None = None
    before_llm: HandlerSpec | None = None
    after_llm: HandlerSpec | None = None
    before_synthesize: HandlerSpec | None = None


class Interruptions(msgspec.Struct, frozen=True, kw_only=True):
    """When the caller's voice stops the agent. Both conditions must hold; 0 is none.

    ``speaking_*`` apply while the agent is heard, ``thinking_*`` while it is about to speak. ``first_message`` is
    ``allow`` or ``protect``. When nothing was recognised within ``resume_s`` of the caller's falling silent, the
    interruption was false and the agent says the rest; 0 turns that off.
    """

    ALLOW: ClassVar[str] = "allow"
    PROTECT: ClassVar[str] = "protect"

    speaking_ms: int = 300
    speaking_words: int = 0
    thinking_ms: int = 0
    thinking_words: int = 0
    first_message: str = "allow"
    resume_s: float = 2.0

    def __post_init__(self) -> None:
        _check(self)
        if self.first_message not in (self.ALLOW, self.PROTECT):
            raise ConfigError(f"Interruptions(first_message=...) is 'allow' or 'protect', got {self.first_message!r}")


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call may go on, and with nobody saying anything. 0 is no limit of this kind.

    After ``idle_s`` of silence from both sides ``idle_message`` is said, ``idle_tries`` times; then
    ``goodbye_message``, and the call is hung up. ``warning_s`` before ``max_duration_s`` (of the agent; the setting of
    the same name always holds), or when the cost has come within a tenth of ``max_cost`` (US dollars), the caller
    hears ``limit_message``; at the limit, ``goodbye_message``. ``hang_up_guard_s``: how long a model may not hang up on
    a caller who has not said anything yet.
    """

    idle_s: float = 0.0
    idle_tries: int = 2
    idle_message: str = "Are you still there?"
    max_duration_s: float = 0.0
    max_cost: float = 0.0
    warning_s: float = 30.0
    limit_message: str = "I am sorry, we have to come to an end soon."
    goodbye_message: str = "Thank you for calling. Goodbye."
    hang_up_guard_s: float = 10.0

    def __post_init__(self) -> None:
        _check(self)
