"""What an engine is: caller's audio in, speech and words out, and the work it wants done elsewhere.

An engine never sees the carrier, the ledger or another call. It is told what the caller's line carries, what was played
of its speech, and what became of the handlers it asked for; it answers with orders. Who may interrupt whom is not its
business: it says when the caller starts and stops speaking, and is told when it was interrupted.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from ..audio.formats import AudioFormat
from ..call.words import Drop, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded

__all__ = [
    "AskReply",
    "CallerSaid",
    "CallerStarted",
    "CallerStopped",
    "Ended",
    "Engine",
    "EngineContext",
    "EngineFact",
    "EngineOrder",
    "GaveUp",
    "Interrupted",
    "Keyed",
    "ReplyBegan",
    "Said",
    "Say",
    "Saying",
    "Speak",
    "SpeechEnded",
    "SpeechEnough",
    "SpeechWanted",
    "StageFailed",
]


class EngineContext(msgspec.Struct, frozen=True):
    """What an engine knows of its call. ``line`` is the audio format of the carrier's stream."""

    call_id: str
    caller: str
    callee: str
    line: AudioFormat
    system_prompt: str
    first_message: str
    language: str
    voice: str


# --- facts -----------------------------------------------------------------------------------------------------------


class Interrupted(msgspec.Struct, frozen=True, gc=False):
    """The caller barged in: ``heard_us`` of ``item`` was played (0 when nothing of it was); the rest never will be."""

    item: str
    heard_us: int
    heard_text: str


class SpeechEnough(msgspec.Struct, frozen=True, gc=False):
    """So much speech is queued that producing more can wait for ``SpeechWanted``."""


class SpeechWanted(msgspec.Struct, frozen=True, gc=False):
    """The queue of speech runs low: more may be produced."""


class Say(msgspec.Struct, frozen=True, gc=False):
    """Speak this, word for word, after what is being said."""

    item: str
    text: str


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """The caller pressed these keys, one after the other; ``text`` is how transcripts spell them. It comes in order
    with what they said: an engine tells it as ``CallerSaid``, and answers it like words."""

    text: str


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The conversation is over: give up every task. Nothing follows."""


EngineFact: TypeAlias = (
    Interrupted
    | SpeechEnough
    | SpeechWanted
    | Say
    | Keyed
    | Ended
    | TaskYielded
    | TaskAudio
    | TaskReturned
    | TaskRaised
)


# --- orders ----------------------------------------------------------------------------------------------------------


class Speak(msgspec.Struct, frozen=True, gc=False):
    """Play this audio, in the format the engine ``speaks``. ``live`` audio is dropped rather than queued for long."""

    item: str
    audio: bytes
    live: bool = False


class Saying(msgspec.Struct, frozen=True, gc=False):
    """The audio of ``item`` that follows, up to the next ``Saying``, says this."""

    item: str
    text: str


class Said(msgspec.Struct, frozen=True, gc=False):
    """All the audio of ``item``'s last ``Saying`` has come."""

    item: str


class SpeechEnded(msgspec.Struct, frozen=True, gc=False):
    """Nothing more will be said in this item."""

    item: str


class CallerStarted(msgspec.Struct, frozen=True, gc=False):
    """The caller speaks, since ``at`` (on the call's clock)."""

    at: int


class CallerStopped(msgspec.Struct, frozen=True, gc=False):
    """The caller's turn ended; the last voice was heard at ``at``."""

    at: int


class CallerSaid(msgspec.Struct, frozen=True, gc=False):
    """What the caller said. ``final`` or a partial that may still change. ``stopped`` is the ``CallerStopped.at`` of
    the turn in which it was said; -1 when the engine does not know."""

    text: str
    final: bool = True
    stopped: int = -1


class ReplyBegan(msgspec.Struct, frozen=True, gc=False):
    """The first text of the reply ``item`` is known."""

    item: str


class AskReply(msgspec.Struct, frozen=True, gc=False):
    """Run the reply handler, as task ``task``, on what the caller said; the conversation adds caller and history."""

    task: str
    text: str


class StageFailed(msgspec.Struct, frozen=True, gc=False):
    """``stt``, ``reply`` or ``tts`` failed once; the engine goes on (and says so to the caller where it can)."""

    stage: str
    detail: str


class GaveUp(msgspec.Struct, frozen=True, gc=False):
    """The engine cannot talk any more. ``say`` is what the caller ought still to hear, by other means."""

    detail: str
    say: str


EngineOrder: TypeAlias = (
    Speak
    | Saying
    | Said
    | SpeechEnded
    | CallerStarted
    | CallerStopped
    | CallerSaid
    | ReplyBegan
    | AskReply
    | StageFailed
    | GaveUp
    | Run
    | Drop
)


class Engine(Protocol):
    """One per call, made when its stream starts. Never blocks, never raises for what a provider does."""

    @property
    def hears(self) -> AudioFormat:
        """The format ``hear`` takes. Equal to the line's where the engine can, so that nothing is transcoded."""
        ...

    @property
    def speaks(self) -> AudioFormat:
        """The format of ``Speak.audio``."""
        ...

    @property
    def voiced_us(self) -> int:
        """From the last ``CallerStarted`` to the latest sound of that voice, as measured on the caller's line (not by
        when frames arrive, which jitters); 0 while the caller is quiet. The end of a turn is known late, so a cough
        looks like the start of one: this is what tells them apart."""
        ...

    @property
    def says(self) -> bool:
        """Does it speak a ``Say``?"""
        ...

    @property
    def busy(self) -> bool:
        """Is it about to say something: thinking of it, or having it spoken?"""
        ...

    @property
    def deadline(self) -> int | None:
        """When to call ``tick`` if nothing else happens."""
        ...

    def begin(self, now: int) -> list[EngineOrder]:
        """The conversation starts (callbacks have had their say)."""
        ...

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        """The caller's line carried this. The hot path: 50 times a second."""
        ...

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        """Something else happened."""
        ...

    def tick(self, now: int) -> list[EngineOrder]:
        """``deadline`` passed."""
        ...
