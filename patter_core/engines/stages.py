"""The three stages of a pipeline, each a pure machine behind one small interface: ear, brain, voice.

A stage names its tasks, links and fetches ``<prefix><n>``; facts about names it does not know (any more) are nothing to
it. It holds deadlines itself, never blocks, never raises for what a provider does. A stage that cannot go on says
``Lost`` once, having let go of everything, and is not used again: whoever runs it has another one, or apologises.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from ..audio.formats import AudioFormat
from ..call.words import Inward, Outward
from .engine import CallTool, ProviderWarned, StageFailed, Switched, ToolAnswered, Used

__all__ = [
    "Brain",
    "BrainOrder",
    "Ear",
    "EarOrder",
    "Lost",
    "Partial",
    "Question",
    "Recognised",
    "Replied",
    "Spoke",
    "Text",
    "Voice",
    "VoiceOrder",
    "Voiced",
]


# --- orders ----------------------------------------------------------------------------------------------------------


class Lost(msgspec.Struct, frozen=True, gc=False):
    """This stage cannot go on. Its last order."""

    detail: str


class Partial(msgspec.Struct, frozen=True, gc=False):
    """What the caller has said so far; it may still change."""

    text: str


class Recognised(msgspec.Struct, frozen=True, gc=False):
    """What the caller said, finally. ``stopped`` is the ``utterance`` it answers; -1 when the provider itself decided
    that the turn is over. ``text`` may be '': nobody spoke."""

    text: str
    stopped: int = -1


class Text(msgspec.Struct, frozen=True, gc=False):
    """The reply goes on with this."""

    text: str


class Replied(msgspec.Struct, frozen=True, gc=False):
    """The reply is complete. No more ``Text`` until the next question."""


class Voiced(msgspec.Struct, frozen=True, gc=False):
    """Audio of the sentence being spoken: whole samples in the voice's format."""

    audio: bytes


class Spoke(msgspec.Struct, frozen=True, gc=False):
    """All audio of the sentence has come."""


EarOrder: TypeAlias = Partial | Recognised | StageFailed | Lost | Used | Switched | ProviderWarned | Outward
BrainOrder: TypeAlias = Text | Replied | CallTool | StageFailed | Lost | Used | Switched | ProviderWarned | Outward
VoiceOrder: TypeAlias = Voiced | Spoke | StageFailed | Lost | Used | Switched | ProviderWarned | Outward


class Question(msgspec.Struct, frozen=True):
    """What a brain is to answer.

    ``text`` is what the caller said now. ``messages`` is the conversation as the caller heard it, ending with ``text``
    as a ``user`` message: {"role": user | assistant, "content"}. ``payload`` is what an ``on_message`` gets.
    """

    text: str
    messages: tuple[dict[str, Any], ...]
    payload: dict[str, Any]


# --- stages ----------------------------------------------------------------------------------------------------------


class Ear(Protocol):
    """Speech to text."""

    @property
    def hears(self) -> AudioFormat: ...

    @property
    def deadline(self) -> int | None: ...

    def begin(self, now: int) -> list[EarOrder]: ...

    def hear(self, now: int, audio: bytes) -> list[EarOrder]:
        """The caller's line, all of it, speech or silence, in the format it ``hears``. The hot path."""
        ...

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[EarOrder]:
        """Our voice detector heard the caller speak and fall silent at ``stopped``; ``audio`` is all of that utterance
        (it was in ``hear``, too). Exactly one ``Recognised(text, stopped)`` is owed, within the stage's own bound."""
        ...

    def handle(self, now: int, fact: Inward) -> list[EarOrder]: ...

    def tick(self, now: int) -> list[EarOrder]: ...

    def end(self, now: int) -> list[EarOrder]:
        """Let go of everything (links closed, tasks dropped)."""
        ...


class Brain(Protocol):
    """From what the caller said to what to say."""

    @property
    def deadline(self) -> int | None: ...

    def begin(self, now: int) -> list[BrainOrder]: ...

    def reply(self, now: int, question: Question) -> list[BrainOrder]:
        """Answer. One question at a time: the one before is done or was ``stop``ped."""
        ...

    def tool_answered(self, now: int, answer: ToolAnswered) -> list[BrainOrder]:
        """A tool that the reply wanted is done. The reply goes on when all are (unless it was stopped meanwhile)."""
        ...

    def stop(self, now: int) -> list[BrainOrder]:
        """Give up the reply: the caller barged in, or said more."""
        ...

    def handle(self, now: int, fact: Inward) -> list[BrainOrder]: ...

    def tick(self, now: int) -> list[BrainOrder]: ...

    def end(self, now: int) -> list[BrainOrder]: ...


class Voice(Protocol):
    """Text to speech."""

    @property
    def speaks(self) -> AudioFormat: ...

    @property
    def deadline(self) -> int | None: ...

    def begin(self, now: int) -> list[VoiceOrder]: ...

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        """Speak one sentence: ``Voiced`` as it comes, then ``Spoke``. One at a time."""
        ...

    def stop(self, now: int) -> list[VoiceOrder]:
        """Give up the sentence being spoken. Neither ``Voiced`` nor ``Spoke`` follows for it."""
        ...

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]: ...

    def tick(self, now: int) -> list[VoiceOrder]: ...

    def end(self, now: int) -> list[VoiceOrder]: ...
