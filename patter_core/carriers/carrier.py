"""What a carrier is to the rest of the core: the events it sends us, the orders it takes, the verdicts on its proofs.

Every dialect (a folder beside this file) turns its wire texts into these words and builds its texts from them. No word
here belongs to one carrier; a name that only one of them uses stays in that carrier's folder.
"""

from __future__ import annotations

import enum
from typing import Protocol, TypeAlias

import msgspec

from patter_core.audio.formats import AudioFormat

__all__ = [
    "Acknowledged",
    "Answerer",
    "CallOffered",
    "CallStatus",
    "CallStatusChanged",
    "CallerAudio",
    "CarrierSpec",
    "CarrierSpoke",
    "DialPlan",
    "Direction",
    "HookPlace",
    "Leg",
    "LegJoined",
    "MachineDetected",
    "Malformed",
    "MalformedCode",
    "MarkReturned",
    "MediaEvent",
    "MediaStream",
    "Pressed",
    "RecordingChanged",
    "RecordingStatus",
    "RecordingStep",
    "RestOutcome",
    "RestRequest",
    "StreamChange",
    "StreamChanged",
    "StreamConnected",
    "StreamIgnored",
    "StreamPlan",
    "StreamStarted",
    "StreamState",
    "StreamStopped",
    "TransferEnded",
    "TransferPlan",
    "Verdict",
    "Webhook",
    "WebhookAnswer",
    "WebhookEvent",
]


# --- what a media stream tells us ------------------------------------------------------------------------------------


class MalformedCode(enum.StrEnum):
    """Every way a carrier's message can be wrong. Codes are compared; the prose beside them is for people."""

    NOT_JSON = "not_json"  #: not a JSON text, or not text at all
    NOT_AN_OBJECT = "not_an_object"  #: JSON, but a list, a number, ...
    TOO_DEEP = "too_deep"  #: nested beyond what the reader allows
    NO_EVENT = "no_event"  #: no ``event``, or one that is not a string
    MISSING_FIELD = "missing_field"  #: something needed is not there
    BAD_FIELD = "bad_field"  #: wrong type, out of range, not one of the known values
    BAD_BASE64 = "bad_base64"  #: audio that does not decode
    UNSUPPORTED_FORMAT = "unsupported_format"  #: an encoding, rate or channel count we cannot read
    WRONG_STREAM = "wrong_stream"  #: the message names another stream
    SECOND_START = "second_start"  #: ``start`` again on a stream that has started
    MEDIA_BEFORE_START = "media_before_start"  #: audio before ``start``
    NOT_STARTED = "not_started"  #: anything else that makes sense only after ``start``
    UNKNOWN_EVENT = "unknown_event"  #: (carrier's side only) a message no server may send
    BAD_CALL_SID = "bad_call_sid"  #: a webhook without a well-formed call id


class StreamConnected(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The carrier said hello. Says nothing about the call yet."""


class StreamStarted(msgspec.Struct, frozen=True, tag=True):
    """The stream belongs to ``call_id``; its audio is in ``format``. ``parameters`` come from the answer we gave."""

    stream_id: str
    call_id: str
    format: AudioFormat
    parameters: dict[str, str]
    tracks: tuple[str, ...]
    sends: AudioFormat | None = None  #: what we must send, where that is another format than what we hear


class CallerAudio(msgspec.Struct, frozen=True, gc=False, tag=True):
    """One frame from the caller, still encoded as ``StreamStarted.format`` says.

    ``timestamp_ms`` is the carrier's media clock: it need not start at 0, nor advance by the frame's length. ``chunk``
    counts the track's frames from 1; 0 when the carrier gave none.
    """

    timestamp_ms: int
    chunk: int
    payload: bytes
    track: str


class MarkReturned(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A mark came back: all audio before it was played, or thrown away by a clear. The ledger knows which."""

    name: str


class Pressed(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The caller pressed one key: ``0``-``9``, ``*``, ``#``, ``A``-``D``."""

    digit: str


class StreamStopped(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The carrier ended the stream; usually the call is over."""


class StreamIgnored(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Legal, and of no use to us: an event of a later protocol version, our own echo, anything after the stop."""

    what: str


class Malformed(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The peer sent something wrong. It is counted and skipped. ``detail`` is prose and never holds what was sent."""

    code: MalformedCode
    detail: str = ""


MediaEvent: TypeAlias = (
    CallerAudio | MarkReturned | Pressed | StreamConnected | StreamStarted | StreamStopped | StreamIgnored | Malformed
)


class StreamState(enum.Enum):
    """Where one media stream is."""

    CONNECTING = "connecting"  #: the socket is open; nothing says which call it is
    STREAMING = "streaming"  #: started: audio flows both ways
    STOPPED = "stopped"  #: the carrier is done with it


class MediaStream(Protocol):
    """One carrier's media protocol on one socket, the server's side. Texts in, events out; no clock, no socket."""

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        ...

    def receive(self, text: str) -> MediaEvent:
        """Read one message. Never raises: what is wrong with it comes back as ``Malformed``."""
        ...

    def media(self, payload: bytes) -> str:
        """The message that plays ``payload`` (encoded as the stream's outbound format). Before the start it raises
        ``LocalProtocolError``."""
        ...

    def mark(self, name: str) -> str:
        """The message that asks for ``name`` back once everything sent before it was played."""
        ...

    def clear(self) -> str:
        """The message that throws away what the carrier has not played yet. Outstanding marks come back at once."""
        ...


# --- webhooks --------------------------------------------------------------------------------------------------------


class Direction(enum.StrEnum):
    """Who called whom, as the agent sees it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class CallStatus(enum.StrEnum):
    """The carrier's word on where a telephone call is."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"  #: a word we have not met; ``raw`` has it

    @property
    def final(self) -> bool:
        """Nothing follows it."""
        return self in _FINAL


_FINAL = frozenset(
    {CallStatus.COMPLETED, CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.FAILED, CallStatus.CANCELED}
)


class Answerer(enum.StrEnum):
    """What machine detection heard."""

    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    UNKNOWN = "unknown"


class RecordingStatus(enum.StrEnum):
    """Where a recording is."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    ABSENT = "absent"  #: nothing was recorded, or it was too short
    FAILED = "failed"
    UNKNOWN = "unknown"


class StreamChange(enum.StrEnum):
    """What became of a media stream, told by webhook."""

    STARTED = "started"
    STOPPED = "stopped"
    ERROR = "error"
    UNKNOWN = "unknown"


class CallOffered(msgspec.Struct, frozen=True, tag=True):
    """A call wants an answer. ``params`` is everything the carrier said, first value of a repeated name."""

    call_id: str
    caller: str
    callee: str
    direction: Direction
    params: dict[str, str]


class CallStatusChanged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A call moved on. Order by ``sequence``, where there is one: arrival order means nothing.

    ``duration_s`` is the call's length (not the billed one), only at the end. ``sip_code`` says why a call failed.
    """

    call_id: str
    status: CallStatus
    raw: str
    sequence: int | None = None
    duration_s: int | None = None
    sip_code: int | None = None
    answered_by: Answerer | None = None
    caller: str = ""
    callee: str = ""
    direction: Direction = Direction.INBOUND
    timestamp: str = ""


class MachineDetected(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Machine detection's verdict. ``greeting_ended``: the machine is done talking, a message may be left now."""

    call_id: str
    classification: Answerer
    raw: str
    greeting_ended: bool = False
    duration_ms: int | None = None


class RecordingChanged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A recording moved on. ``url`` has no file extension; fetching it needs the carrier's credentials."""

    call_id: str
    recording_id: str
    status: RecordingStatus
    raw: str
    url: str = ""
    duration_s: int | None = None
    channels: int | None = None
    started_at: str = ""
    error_code: int | None = None
    expires_s: int | None = None  #: how long ``url`` works; None: until the recording is deleted


class StreamChanged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A media stream started, stopped or failed, told by webhook. ``error`` is the carrier's prose."""

    call_id: str
    stream_id: str
    change: StreamChange
    raw: str
    error: str = ""
    timestamp: str = ""


class TransferEnded(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The carrier is done with a transfer that it made of the call itself, and asks what to do with the caller now.

    ``status`` is the other leg's: COMPLETED when they talked; anything else never connected.
    """

    call_id: str
    status: CallStatus
    raw: str
    duration_s: int | None = None


class LegJoined(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The leg ``call_id`` is now connected to another leg (a bridge, or a room both are in)."""

    call_id: str


class CarrierSpoke(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The carrier's own voice is done on this leg; ``completed`` when every word was played."""

    call_id: str
    completed: bool


class Acknowledged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A report that needs nothing done. ``known``: the carrier documents it; else somebody should look."""

    call_id: str
    what: str
    known: bool = True


WebhookEvent: TypeAlias = (
    CallOffered
    | CallStatusChanged
    | MachineDetected
    | RecordingChanged
    | StreamChanged
    | TransferEnded
    | LegJoined
    | CarrierSpoke
    | Acknowledged
)


class Webhook(msgspec.Struct, frozen=True):
    """One webhook, read.

    ``event_id`` is the carrier's own id of this event, by which a repetition is recognised; '' when it has none.
    ``ref`` is the name that *we* gave the leg when we had it dialled, as the carrier echoes it; '' for other legs.
    """

    event: WebhookEvent | Malformed
    event_id: str = ""
    ref: str = ""


class WebhookAnswer(msgspec.Struct, frozen=True):
    """What a webhook's sender is told."""

    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b""


# --- accounts --------------------------------------------------------------------------------------------------------


class CarrierSpec(msgspec.Struct, frozen=True):
    """A carrier's account. ``keys`` verify webhooks, ``api_key`` authorizes REST requests; neither ever leaves this
    object: its repr hides them. ``account`` names the account (or connection) in REST requests; ``options`` are the
    dialect's own settings."""

    name: str
    account: str = ""
    keys: tuple[str, ...] = ()
    base_url: str = ""
    api_key: str = ""
    options: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"CarrierSpec(name={self.name!r}, account={self.account!r}, keys=<{len(self.keys)} hidden>)"


# --- proofs and requests ---------------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What a signature check found. Only ``VALID`` lets anything through, and only it is true."""

    VALID = "valid"
    MISSING = "missing"  #: no signature was sent
    INVALID = "invalid"  #: no key makes this signature over any spelling of this request
    NO_KEY = "no_key"  #: we have no key to check with: our configuration, not the peer's fault
    BODY_UNSIGNED = "body_unsigned"  #: the URL is signed, but nothing binds this body to it
    BODY_CHANGED = "body_changed"  #: the URL is signed and promises another body

    def __bool__(self) -> bool:
        return self is Verdict.VALID  # so that ``if verify(...)`` fails closed


class RestRequest(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A request to a carrier's REST API. ``auth`` is the *name* of a secret; the edge turns it into a header."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    auth: str


class Leg(msgspec.Struct, frozen=True, gc=False):
    """A telephone leg, as orders to a REST API name it.

    ``command`` is unique to one order and the same when the order is repeated: carriers that can then do it once only.
    """

    account: str
    base_url: str
    call_id: str
    command: str = ""


class StreamPlan(msgspec.Struct, frozen=True):
    """The media stream a leg is to be given. ``line`` is the audio we would like; the carrier's ``start`` decides.

    ``token`` is the ticket again, for carriers that can carry one in a header.
    """

    url: str
    parameters: dict[str, str]
    line: AudioFormat
    token: str = ""
    webhooks: str = ""  # where the stream's own fate is reported, on carriers that want to be told where


class DialPlan(msgspec.Struct, frozen=True):
    """A leg to be dialled. ``webhooks`` is our origin with ``/webhooks/<carrier>``; ``ref`` is echoed in its reports.

    ``brief`` makes it a consultation: whoever answers first hears this text in the carrier's voice, then waits in
    ``room`` to be joined. Else the leg gets a media stream once it is answered.
    """

    to: str
    caller_id: str
    webhooks: str
    ref: str
    ring_timeout_s: int = 25
    machine_detection: bool = False
    brief: str = ""
    language: str = ""
    room: str = ""


class TransferPlan(msgspec.Struct, frozen=True):
    """Where a caller is to be sent. ``to`` is E.164 or ``sip:``; ``ref`` is echoed in the new leg's reports."""

    to: str
    caller_id: str
    webhooks: str
    ref: str
    ring_timeout_s: int = 25


class RecordingStep(enum.Enum):
    """What may be done to a leg's recording."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class HookPlace(msgspec.Struct, frozen=True):
    """Where a carrier's webhook URL is configured: a number's or an application's record.

    ``name`` must be given back unchanged where the carrier wants it; ``ruled_by`` names what makes the carrier ignore
    this URL ('' when nothing does).
    """

    id: str
    url: str
    name: str = ""
    method: str = "POST"
    ruled_by: str = ""


class RestOutcome(enum.Enum):
    """What an answer of a carrier's REST API means for the order we gave."""

    DONE = "done"
    ALREADY_ENDED = "already_ended"  #: the call was over: for a hang-up, success
    RETRY = "retry"  #: not now: rate limit or their fault
    REFUSED = "refused"  #: not like this: repeating it will not help
    UNAUTHORIZED = "unauthorized"  #: our credentials are wrong
    NOT_YET = "not_yet"  #: the leg is not answered (or not ready) yet: the same order may work later
