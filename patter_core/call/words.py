"""The vocabulary between a Call and its Host: roles, texts and results, no bytes of any wire. Traces are made of it."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..carriers.carrier import RecordingStep, RestOutcome, RestRequest, WebhookEvent
from ..contract import Fault, Lane
from ..reasons import EndReason
from .result import CallResult

__all__ = [
    "INWARD",
    "Begun",
    "CallFact",
    "CallOrder",
    "CarrierSaid",
    "CloseLink",
    "CloseStream",
    "CollectWanted",
    "Deny",
    "Drop",
    "EndWanted",
    "Fetch",
    "FetchEnded",
    "FetchFailed",
    "FetchGot",
    "FetchStarted",
    "GoOn",
    "Hold",
    "Hurried",
    "Inward",
    "KeysWanted",
    "LegEnded",
    "LinkClosed",
    "LinkOpened",
    "LinkSaid",
    "MintStream",
    "OpenLink",
    "Outward",
    "Over",
    "Pressure",
    "RecordingWanted",
    "Reply",
    "Reported",
    "Rest",
    "RestDone",
    "Run",
    "SayOnLink",
    "SayWanted",
    "SendOnLink",
    "StreamCame",
    "StreamMinted",
    "StreamWent",
    "Tape",
    "TaskAudio",
    "TaskRaised",
    "TaskReturned",
    "TaskYielded",
    "Tell",
    "Ticked",
    "ToCarrier",
    "TransferWanted",
]


class CallWord(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Base of a call's facts and orders."""


# --- facts -----------------------------------------------------------------------------------------------------------


class Begun(CallWord, frozen=True, gc=False, tag=True):
    """The call begins. ``url`` is where its media stream is to come, with its ticket (and that again as ``token``);
    '' where somebody else has seen to the stream."""

    url: str = ""
    token: str = ""


class StreamMinted(CallWord, frozen=True, gc=False, tag=True):
    """Answers ``MintStream``. ``url`` is '' where there can be none: the socket is somebody else's."""

    url: str
    token: str = ""


class Reported(CallWord, frozen=True, tag=True):
    """The carrier said something by webhook about this call or, where ``ref`` names it, about a leg of its making."""

    event: WebhookEvent
    ref: str = ""


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


class LinkOpened(CallWord, frozen=True, gc=False, tag=True):
    """A link asked for with ``OpenLink`` can be spoken on."""

    name: str


class LinkSaid(CallWord, frozen=True, gc=False, tag=True):
    """A text message came on a link. (A binary one, which no provider of ours sends, is dropped.)"""

    name: str
    text: str


class LinkClosed(CallWord, frozen=True, gc=False, tag=True):
    """A link is over, or never was; last fact about it.

    ``code`` is the WebSocket close code (1006: no goodbye). ``status`` is the HTTP status with which the upgrade was
    refused, 0 when it was not; ``reason`` then begins with what the refusal said. ``fault`` is why it could not be
    reached at all.
    """

    name: str
    code: int
    reason: str = ""
    status: int = 0
    fault: Fault | None = None


class FetchStarted(CallWord, frozen=True, tag=True):
    """Status and headers (names in lower case) of an answer are in."""

    name: str
    status: int
    headers: dict[str, str] = {}


class FetchGot(CallWord, frozen=True, gc=False, tag=True):
    """A piece of an answer's body, of any length and cut anywhere."""

    name: str
    data: bytes


class FetchEnded(CallWord, frozen=True, gc=False, tag=True):
    """The whole answer is in; last fact about it."""

    name: str


class FetchFailed(CallWord, frozen=True, gc=False, tag=True):
    """No (whole) answer; last fact about it."""

    name: str
    fault: Fault


class RestDone(CallWord, frozen=True, gc=False, tag=True):
    """What became of a REST request to the carrier; ``outcome`` is None when no answer came.

    ``value`` is the id of what it made. ``safe``: it certainly had no effect, so doing it again does nothing twice.
    """

    name: str
    outcome: RestOutcome | None
    detail: str
    value: str = ""
    safe: bool = False


class EndWanted(CallWord, frozen=True, gc=False, tag=True):
    """Somebody outside the call wants it over. With ``keep_stream`` the Host closes the media socket itself.

    ``gently``: once what is being said has been played and the caller has had a chance to speak.
    """

    reason: EndReason
    keep_stream: bool = False
    gently: bool = False


class LegEnded(CallWord, frozen=True, gc=False, tag=True):
    """The carrier reported, by webhook, that the telephone call is over."""


class SayWanted(CallWord, frozen=True, gc=False, tag=True):
    """The application wants this spoken."""

    text: str


class TransferWanted(CallWord, frozen=True, gc=False, tag=True):
    """Send the caller to ``to`` (E.164 or ``sip:``). With a ``summary`` whoever answers there hears it first.

    ``by_model``: a model chose the number, so it must be one the operator wrote. ``ask`` names who waits for the
    outcome.
    """

    to: str
    summary: str = ""
    by_model: bool = False
    ask: str = ""


class KeysWanted(CallWord, frozen=True, gc=False, tag=True):
    """Press these keys (0-9, *, #, A-D; ``w`` waits half a second, ``W`` a whole one), ``gap_ms`` apart."""

    digits: str
    gap_ms: int = 300
    ask: str = ""


class CollectWanted(CallWord, frozen=True, gc=False, tag=True):
    """Collect keys of the caller: up to ``most``, or until ``terminator``, or ``timeout_s`` after the last one."""

    ask: str
    most: int
    terminator: str
    timeout_s: float


class RecordingWanted(CallWord, frozen=True, gc=False, tag=True):
    """Start, pause, resume or stop the carrier's recording."""

    step: RecordingStep
    ask: str = ""


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


class OpenLink(CallWord, frozen=True, gc=False, tag=True):
    """Open a WebSocket to a provider. ``LinkOpened`` or ``LinkClosed`` follows; ``name`` is unique within the call.

    ``url`` is ws(s)://host[:port]/path?query. ``auth`` names a secret; the edge adds its header.
    """

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    auth: str = ""


class SayOnLink(CallWord, frozen=True, gc=False, tag=True):
    """Send a text message on a link. On one that is not open it is nothing."""

    name: str
    text: str


class SendOnLink(CallWord, frozen=True, gc=False, tag=True):
    """Send a binary message on a link."""

    name: str
    data: bytes


class CloseLink(CallWord, frozen=True, gc=False, tag=True):
    """Say goodbye on a link and let it go. No further fact about it."""

    name: str
    code: int = 1000


class Fetch(CallWord, frozen=True, gc=False, tag=True):
    """Make an HTTP request whose answer is streamed back; ``Drop`` gives it up. ``name`` is unique within the call.

    ``auth`` and ``sign`` name secrets: the edge adds the header of the one, and with the other an
    ``X-Patter-Signature`` (hex HMAC-SHA256 of the body). No deadline applies: whoever fetches has one.
    """

    name: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    auth: str = ""
    sign: str = ""
    max_body: int = 1 << 20


class Hold(CallWord, frozen=True, gc=False, tag=True):
    """Stop reading a ``Fetch``'s answer or a ``Run``'s generator for now. One more fact may slip out."""

    name: str


class GoOn(CallWord, frozen=True, gc=False, tag=True):
    """Read on."""

    name: str


class MintStream(CallWord, frozen=True, gc=False, tag=True):
    """A fresh address for the media stream is needed. ``StreamMinted`` follows at once."""


class Reply(CallWord, frozen=True, tag=True):
    """Who asked as ``ask`` gets this answer."""

    ask: str
    value: Any


class Deny(CallWord, frozen=True, gc=False, tag=True):
    """Who asked as ``ask`` is refused."""

    ask: str
    code: str
    detail: str


class Drop(CallWord, frozen=True, gc=False, tag=True):
    """Give up a ``Run``, a ``Fetch`` or a ``Rest``: no further fact about it."""

    name: str


class Tape(CallWord, frozen=True, gc=False, tag=True):
    """Append this to the call's own recording; at an ``offset``, write over what is there."""

    data: bytes
    offset: int = -1


class Tell(CallWord, frozen=True, tag=True):
    """An event for whoever listens."""

    event: Any


class Over(CallWord, frozen=True, tag=True):
    """The call is over and everything it owed is done. Last order, exactly once. ``result`` is a dialled call's."""

    reason: EndReason
    result: CallResult | None = None


CallFact: TypeAlias = (
    StreamCame
    | CarrierSaid
    | StreamWent
    | Pressure
    | TaskYielded
    | TaskAudio
    | TaskReturned
    | TaskRaised
    | LinkOpened
    | LinkSaid
    | LinkClosed
    | FetchStarted
    | FetchGot
    | FetchEnded
    | FetchFailed
    | RestDone
    | EndWanted
    | LegEnded
    | SayWanted
    | Begun
    | StreamMinted
    | Reported
    | TransferWanted
    | KeysWanted
    | CollectWanted
    | RecordingWanted
    | Hurried
    | Ticked
)

#: What only an outsider can do for an engine, and what comes of it; both pass through the call untouched.
Outward: TypeAlias = Run | Drop | OpenLink | SayOnLink | SendOnLink | CloseLink | Fetch | Hold | GoOn
Inward: TypeAlias = (
    TaskYielded
    | TaskAudio
    | TaskReturned
    | TaskRaised
    | LinkOpened
    | LinkSaid
    | LinkClosed
    | FetchStarted
    | FetchGot
    | FetchEnded
    | FetchFailed
)

#: The same, for looking a fact up by its type.
INWARD = frozenset(
    {
        TaskYielded,
        TaskAudio,
        TaskReturned,
        TaskRaised,
        LinkOpened,
        LinkSaid,
        LinkClosed,
        FetchStarted,
        FetchGot,
        FetchEnded,
        FetchFailed,
    }
)

CallOrder: TypeAlias = ToCarrier | CloseStream | Rest | Outward | Tell | Tape | MintStream | Reply | Deny | Over
