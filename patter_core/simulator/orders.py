"""The words between the simulated carrier and the carrier it plays: what a server can order, and what it can be told.

A side (``side.py``) turns its carrier's REST requests and answers into orders and steps, and turns reports into that
carrier's webhooks. Everything that happens to a call is decided with these words alone.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from ..audio.formats import PCMU_8K, AudioFormat
from ..carriers.carrier import RecordingStep

__all__ = [
    "AnswerCall",
    "Answered",
    "Bridge",
    "Bridged",
    "Cause",
    "Dial",
    "DialOut",
    "DialOver",
    "End",
    "EnterRoom",
    "Fetch",
    "FindHook",
    "GreetingEnded",
    "HangUpCall",
    "HungUp",
    "Initiated",
    "KeyHeard",
    "Machine",
    "Odd",
    "Offered",
    "OpenStream",
    "Pause",
    "PressKeys",
    "Record",
    "Recorded",
    "Refuse",
    "RejectCall",
    "Report",
    "Reports",
    "Ringing",
    "RoomChanged",
    "Run",
    "SayText",
    "SetHook",
    "SimOrder",
    "Speak",
    "Spoke",
    "StartStream",
    "Step",
    "StreamDown",
    "StreamFailed",
    "StreamUp",
    "StreamWanted",
    "Transfer",
    "Verdict",
]


class Reports(msgspec.Struct, frozen=True):
    """Where one leg's reports go, and what is echoed in them. A field that a carrier does not have stays empty."""

    url: str = ""  #: everything (Telnyx); '' is the connection's own URL
    state: str = ""  #: echoed in every report (Telnyx ``client_state``, as it came)
    answer_url: str = ""  #: fetched when the leg is answered (Twilio ``Url``)
    status_url: str = ""
    status_events: tuple[str, ...] = ("completed",)
    machine_url: str = ""
    detect: str = ""  #: which machine detection was asked for, in the carrier's word
    recording_url: str = ""
    recording_events: tuple[str, ...] = ("completed",)
    room_url: str = ""
    room_events: tuple[str, ...] = ()


class StreamWanted(msgspec.Struct, frozen=True):
    """A media stream that the server asked for. ``hears`` is what it wants to be sent (None: whatever the line has),
    ``plays`` what it will send."""

    url: str
    parameters: dict[str, str] = {}
    token: str = ""
    hears: AudioFormat | None = None
    plays: AudioFormat = PCMU_8K
    report_url: str = ""  # where to say what becomes of it, where the carrier has no one place for that


class Machine(enum.Enum):
    """When machine detection speaks up."""

    OFF = "off"
    AT_ONCE = "at_once"  #: as soon as it knows
    AT_THE_END = "at_the_end"  #: for a machine, only when its greeting is over
    BOTH = "both"  #: the verdict, and later the end of the greeting


# --- steps: what an answer has a call do, one after the other --------------------------------------------------------


class OpenStream(msgspec.Struct, frozen=True, tag=True):
    """Connect the call to a media stream until that ends."""

    stream: StreamWanted


class SayText(msgspec.Struct, frozen=True, tag=True):
    """The carrier's voice."""

    text: str
    language: str = ""


class Pause(msgspec.Struct, frozen=True, tag=True):
    """Nothing, for so long."""

    ms: int


class DialOut(msgspec.Struct, frozen=True, tag=True):
    """Call somebody else and let the two talk. ``action`` is fetched when that is over."""

    to: str
    caller: str = ""
    action: str = ""
    timeout_s: int = 30
    reports: Reports = Reports()


class EnterRoom(msgspec.Struct, frozen=True, tag=True):
    """Join a conference. ``starts``: others waiting in it hear each other from now on; ``ends``: it is over for all
    when this leg leaves."""

    room: str
    starts: bool = True
    ends: bool = False
    action: str = ""
    reports: Reports = Reports()


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Ask the server what to do next."""

    url: str


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Do not answer."""

    busy: bool


class End(msgspec.Struct, frozen=True, tag=True):
    """Hang up."""


class Odd(msgspec.Struct, frozen=True, tag=True):
    """Something this simulator does not do; skipped, and told."""

    name: str


Step: TypeAlias = OpenStream | SayText | Pause | DialOut | EnterRoom | Fetch | Refuse | End | Odd


# --- orders: what a server wants by REST ------------------------------------------------------------------------------


class _ForCall(msgspec.Struct, frozen=True, tag=True):
    """Base: about the leg ``call_id``. The same ``command`` twice is done once. ``state`` replaces what is echoed."""

    call_id: str
    command: str = ""
    state: str | None = None


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Call ``to``. Once answered the leg follows ``program``, or fetches one, or waits for orders."""

    to: str
    caller: str
    timeout_s: int = 30
    machine: Machine = Machine.OFF
    reports: Reports = Reports()
    program: tuple[Step, ...] = ()
    stream: StreamWanted | None = None
    command: str = ""
    call_id: str = ""


class AnswerCall(_ForCall, frozen=True, tag=True, kw_only=True):
    """Pick up, with a stream or without."""

    stream: StreamWanted | None = None


class RejectCall(_ForCall, frozen=True, tag=True, kw_only=True):
    """Do not pick up."""

    busy: bool = True


class StartStream(_ForCall, frozen=True, tag=True, kw_only=True):
    """Give an answered leg a stream."""

    stream: StreamWanted


class HangUpCall(_ForCall, frozen=True, tag=True, kw_only=True):
    """End the leg."""


class Speak(_ForCall, frozen=True, tag=True, kw_only=True):
    """The carrier's voice on a leg, over whatever it is doing."""

    text: str
    language: str = ""


class PressKeys(_ForCall, frozen=True, tag=True, kw_only=True):
    """Press keys towards the other side of the line."""

    digits: str
    duration_ms: int = 0


class Transfer(_ForCall, frozen=True, tag=True, kw_only=True):
    """Call ``to`` and connect it with this leg. ``parks``: this leg lives on when the other one ends."""

    to: str
    caller: str = ""
    timeout_s: int = 30
    reports: Reports = Reports()
    parks: bool = False


class Bridge(_ForCall, frozen=True, tag=True, kw_only=True):
    """Connect two legs."""

    other: str
    parks: bool = False


class Run(_ForCall, frozen=True, tag=True, kw_only=True):
    """Leave whatever the leg is doing and follow this."""

    program: tuple[Step, ...]


class Record(_ForCall, frozen=True, tag=True, kw_only=True):
    """Start, pause, resume or stop recording."""

    step: RecordingStep
    recording_id: str = ""
    reports: Reports = Reports()


class FindHook(msgspec.Struct, frozen=True, tag=True):
    """Where are calls reported? ``key`` is what was asked for: a number, or an application's id."""

    key: str
    call_id: str = ""
    command: str = ""


class SetHook(msgspec.Struct, frozen=True, tag=True):
    """Report them there."""

    key: str
    url: str
    call_id: str = ""
    command: str = ""


SimOrder: TypeAlias = (
    Dial
    | AnswerCall
    | RejectCall
    | StartStream
    | HangUpCall
    | Speak
    | PressKeys
    | Transfer
    | Bridge
    | Run
    | Record
    | FindHook
    | SetHook
)


# --- reports: what a server is told by webhook ------------------------------------------------------------------------


class Cause(enum.Enum):
    """Why a leg ended."""

    NORMAL = "normal"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"  #: whoever called gave up before it was answered


class Offered(msgspec.Struct, frozen=True, tag=True):
    """A caller rings."""


class Initiated(msgspec.Struct, frozen=True, tag=True):
    """A leg is being dialled."""


class Ringing(msgspec.Struct, frozen=True, tag=True):
    """It rings there."""


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The leg is up."""


class HungUp(msgspec.Struct, frozen=True, tag=True):
    """The leg is over. ``source`` is who ended it: ``caller``, ``callee`` or ``unknown``."""

    cause: Cause
    source: str
    duration_s: int = 0


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """Machine detection: ``human``, ``machine``, ``fax`` or ``unknown``."""

    who: str
    after_ms: int


class GreetingEnded(msgspec.Struct, frozen=True, tag=True):
    """The machine is done talking. ``told``: a verdict was reported before."""

    beep: bool
    after_ms: int
    told: bool = True


class StreamUp(msgspec.Struct, frozen=True, tag=True):
    """A media stream is connected."""

    url: str
    stream_id: str
    report_url: str = ""


class StreamDown(msgspec.Struct, frozen=True, tag=True):
    """A media stream is over."""

    url: str
    stream_id: str
    report_url: str = ""


class StreamFailed(msgspec.Struct, frozen=True, tag=True):
    """A media stream could not be connected."""

    url: str
    stream_id: str
    why: str
    report_url: str = ""


class Spoke(msgspec.Struct, frozen=True, tag=True):
    """The carrier's voice began (``ended`` false), or is done."""

    number: int
    ended: bool
    completed: bool = True


class KeyHeard(msgspec.Struct, frozen=True, tag=True):
    """The other side pressed a key."""

    digit: str


class Bridged(msgspec.Struct, frozen=True, tag=True):
    """The leg is connected with another."""


class Recorded(msgspec.Struct, frozen=True, tag=True):
    """A recording can be fetched (or, not ``ready``, began). ``began_us`` is unix time; ``url`` is where to tell,
    where there is such a place."""

    recording_id: str
    began_us: int
    duration_s: int
    url: str
    ready: bool = True


class DialOver(msgspec.Struct, frozen=True, tag=True):
    """``DialOut`` is over: the other leg was answered and has ended (NORMAL), or never was. Fetches ``action``."""

    action: str
    cause: Cause
    other: str
    duration_s: int
    room: bool = False  #: it was a conference


class RoomChanged(msgspec.Struct, frozen=True, tag=True):
    """A conference changed for this leg: ``start``, ``join``, ``leave`` or ``end``. Told to ``url``."""

    what: str
    room: str
    room_id: str
    sequence: int
    url: str
    starts: bool = True
    ends: bool = False


Report: TypeAlias = (
    Offered
    | Initiated
    | Ringing
    | Answered
    | HungUp
    | Verdict
    | GreetingEnded
    | StreamUp
    | StreamDown
    | StreamFailed
    | Spoke
    | KeyHeard
    | Bridged
    | Recorded
    | DialOver
    | RoomChanged
    | Fetch
)
