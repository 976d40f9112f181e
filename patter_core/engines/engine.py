"""What an engine is: caller's audio in, speech and words out, and the work it wants done elsewhere.

An engine never sees the carrier, the ledger or another call. It is told what the caller's line carries, what was played
of its speech, and what became of the handlers it asked for; it answers with orders. Who may interrupt whom is not its
business: it says when the caller starts and stops speaking, and is told when it was interrupted.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from ..audio.detectors import VadSpec
from ..audio.formats import AudioFormat
from ..call.words import Inward, Outward
from .policy import GuardSpec, Interruptions, ToolSpec
from .usage import Usage

__all__ = [
    "AskReply",
    "Asking",
    "CallTool",
    "CallerSaid",
    "CallerStarted",
    "CallerStopped",
    "CutShort",
    "Ended",
    "Engine",
    "EngineContext",
    "EngineFact",
    "EngineOrder",
    "GaveUp",
    "HungUp",
    "Interrupted",
    "Keyed",
    "Played",
    "ProviderWarned",
    "ReplyBegan",
    "Said",
    "Say",
    "Saying",
    "Speak",
    "SpeechEnded",
    "SpeechEnough",
    "SpeechWanted",
    "StageFailed",
    "Switched",
    "ToolAnswered",
    "Unasked",
    "Used",
    "Worded",
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
    prefix: str = ""  # of every name this engine gives to a task, link or fetch
    variables: dict[str, str] = {}
    tools: tuple[ToolSpec, ...] = ()
    guards: tuple[GuardSpec, ...] = ()
    interruptions: Interruptions | None = None  # None: as is usual for this engine
    past: tuple[tuple[str, str], ...] = ()  # what was said before this engine took over: (user | assistant, text)
    owed: str = ""  # what the caller said last, when the engine before gave no (whole) answer to it
    speech_goes_on: bool = False  # it took over in the middle of a call: the first message was said long ago
    epoch: int = 0  # the unix time, in microseconds, at which the clock of ``now`` was 0
    vad: VadSpec | None = None  # what tells the caller's voice; None: by energy


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


class Played(msgspec.Struct, frozen=True, gc=False):
    """The caller heard this item to its end."""

    item: str


class Asking(msgspec.Struct, frozen=True, gc=False):
    """Answers ``AskReply``: what the reply handler is to be given (text, call_id, caller, callee, history, ...)."""

    ask: str
    payload: dict[str, Any]


class Unasked(msgspec.Struct, frozen=True, gc=False):
    """Answers ``AskReply``: there is to be no reply now."""

    ask: str


class ToolAnswered(msgspec.Struct, frozen=True, gc=False):
    """A tool is done. ``output`` is JSON text for the model; with ``error`` it says what went wrong. With ``quiet``
    the model is told, and need not say anything (the call is being ended or handed over)."""

    call: str
    output: str
    error: bool = False
    quiet: bool = False


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The conversation is over: give up every task. Nothing follows."""


EngineFact: TypeAlias = (
    Interrupted | SpeechEnough | SpeechWanted | Say | Keyed | Played | Asking | Unasked | ToolAnswered | Ended | Inward
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


class Worded(msgspec.Struct, frozen=True, gc=False):
    """... and this, for an engine whose words come in pieces: ``text`` goes on where the last piece ended, as it is
    (with its own spaces)."""

    item: str
    text: str


class Said(msgspec.Struct, frozen=True, gc=False):
    """All the audio of ``item``'s last ``Saying`` has come; unless ``whole``, it broke off somewhere."""

    item: str
    whole: bool = True


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
    """What is the reply handler to be given, now that the caller said this? ``Asking`` or ``Unasked`` follows at once,
    under the same name."""

    ask: str
    text: str


class CallTool(msgspec.Struct, frozen=True, gc=False):
    """The model wants a tool run. ``arguments`` is its JSON text, unread. ``ToolAnswered`` follows, once."""

    call: str
    name: str
    arguments: str


class CutShort(msgspec.Struct, frozen=True, gc=False):
    """What was not heard of this item must not be: stop it, have the carrier drop it. ``Interrupted`` follows at once
    when there was something to stop."""

    item: str
    why: str


class Used(msgspec.Struct, frozen=True, gc=False):
    """This was consumed at a provider. ``item`` is the reply it was for; '' for the caller's side, or unknown."""

    usage: Usage
    item: str = ""


class Switched(msgspec.Struct, frozen=True, gc=False):
    """``stage`` (stt, llm, tts, engine) now runs on another provider; or on the same one again, on a new link."""

    stage: str
    to: str
    detail: str


class ProviderWarned(msgspec.Struct, frozen=True, gc=False):
    """Something of a provider's an operator should know of; the conversation goes on."""

    provider: str
    code: str
    detail: str


class StageFailed(msgspec.Struct, frozen=True, gc=False):
    """``stt``, ``reply``, ``tts``, ``hook`` or ``guard`` failed once; the engine goes on (and says so to the caller
    where it can)."""

    stage: str
    detail: str


class GaveUp(msgspec.Struct, frozen=True, gc=False):
    """The engine cannot talk any more. ``say`` is what the caller ought still to hear, by other means."""

    detail: str
    say: str


class HungUp(msgspec.Struct, frozen=True, gc=False):
    """The agent has ended the conversation, at its provider: nothing more will come. What it said last is still to be
    heard."""

    detail: str


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
    | HungUp
    | Worded
    | CallTool
    | CutShort
    | Used
    | Switched
    | ProviderWarned
    | Outward
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
        """Is it about to say something: thinking of it, or having it spoken? Waiting for a tool is neither."""
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
