"""The vocabulary between a Call and its Host: roles, texts and results, no bytes of any wire. Traces are made of it."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..carriers.carrier import RestOutcome, RestRequest
from ..contract import Fault, Lane
from ..reasons import EndReason

__all__ = [
    "CallFact",
    "CallOrder",
    "CarrierSaid",
    "CloseStream",
    "Drop",
    "EndWanted",
    "Hurried",
    "LegEnded",
    "Over",
    "Pressure",
    "Rest",
    "RestDone",
    "Run",
    "SayWanted",
    "StreamCame",
    "StreamWent",
    "TaskAudio",
    "TaskRaised",
    "TaskReturned",
    "TaskYielded",
    "Tell",
    "Ticked",
    "ToCarrier",
]


class CallWord(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Base of a call's facts and orders."""


# --- facts -----------------------------------------------------------------------------------------------------------


class StreamCame(CallWord, frozen=True, gc=False, tag=True):
    """A media socket was admitted for this call."""


class CarrierSaid(CallWord, frozen=True, gc=False, tag=True):
    """A message on the media stream."""

    text: str


class StreamWent(CallWord, frozen=True, gc=False, tag=True):
    """The media socket is gone. ``code`` is its WebSocket close code (1006: no goodbye)."""

    code: int


class Pressure(CallWord, frozen=True, gc=False, tag=True):
    """The media socket's unacknowledged bytes passed high water (or came back under it)."""

    high: bool


class TaskYielded(CallWord, frozen=True, tag=True):
    """A generator the call asked for yielded plain data."""

    name: str
    value: Any


class TaskAudio(CallWord, frozen=True, gc=False, tag=True):
    """A handler yielded or returned audio. Its own word, so that a trace keeps bytes apart from text."""

    name: str
    data: bytes


class TaskReturned(CallWord, frozen=True, tag=True):
    """A handler the call asked for is done."""

    name: str
    value: Any = None


class TaskRaised(CallWord, frozen=True, gc=False, tag=True):
    """A handler the call asked for failed."""

    name: str
    fault: Fault
    detail: str


class RestDone(CallWord, frozen=True, gc=False, tag=True):
    """What became of a REST request to the carrier; None when no answer came."""

    name: str
    outcome: RestOutcome | None
    detail: str


class EndWanted(CallWord, frozen=True, gc=False, tag=True):
    """Somebody outside the call wants it over. With ``keep_stream`` the Host closes the media socket itself."""

    reason: EndReason
    keep_stream: bool = False


class LegEnded(CallWord, frozen=True, gc=False, tag=True):
    """The carrier reported, by webhook, that the telephone call is over."""


class SayWanted(CallWord, frozen=True, gc=False, tag=True):
    """The application wants this spoken."""

    text: str


class Hurried(CallWord, frozen=True, gc=False, tag=True):
    """Time gets short: of the callbacks waiting behind a slow one only ``on_call_end`` still runs, and at once."""


class Ticked(CallWord, frozen=True, gc=False, tag=True):
    """Nothing happened but time."""


# --- orders ----------------------------------------------------------------------------------------------------------


class ToCarrier(CallWord, frozen=True, gc=False, tag=True):
    """Send a message on the media stream."""

    text: str


class CloseStream(CallWord, frozen=True, gc=False, tag=True):
    """Close the media socket."""

    code: int
    reason: str


class Rest(CallWord, frozen=True, tag=True):
    """Ask the carrier's REST API. ``RestDone(name)`` follows."""

    name: str
    request: RestRequest


class Run(CallWord, frozen=True, tag=True):
    """Run a named handler. ``name`` is unique within the call."""

    name: str
    lane: Lane
    handler: str
    args: tuple[Any, ...]


class Drop(CallWord, frozen=True, gc=False, tag=True):
    """Give up a ``Run`` or a ``Rest``: no further fact about it."""

    name: str


class Tell(CallWord, frozen=True, tag=True):
    """An event for whoever listens."""

    event: Any


class Over(CallWord, frozen=True, gc=False, tag=True):
    """The call is over and everything it owed is done. Last order, exactly once."""

    reason: EndReason


CallFact: TypeAlias = (
    StreamCame
    | CarrierSaid
    | StreamWent
    | Pressure
    | TaskYielded
    | TaskAudio
    | TaskReturned
    | TaskRaised
    | RestDone
    | EndWanted
    | LegEnded
    | SayWanted
    | Hurried
    | Ticked
)

CallOrder: TypeAlias = ToCarrier | CloseStream | Rest | Run | Drop | Tell | Over
