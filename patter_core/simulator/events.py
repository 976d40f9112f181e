"""What the simulated carrier tells: everything it did and saw."""

from __future__ import annotations

import msgspec

from .orders import SimOrder

__all__ = [
    "SimCallDone",
    "SimCallPlaced",
    "SimDelivered",
    "SimDialled",
    "SimEvent",
    "SimHook",
    "SimJoined",
    "SimKeys",
    "SimProblem",
    "SimRecording",
    "SimRest",
    "SimSaid",
    "SimSecondStream",
    "SimTransferred",
]


class SimEvent(msgspec.Struct, frozen=True, tag=True):
    """Base of the simulator's events."""


class SimCallPlaced(SimEvent, frozen=True, tag=True):
    """The webhook is on its way."""

    call_id: str


class SimDialled(SimEvent, frozen=True, tag=True):
    """The carrier calls a number: because the server ordered it, or for a transfer (of ``of``)."""

    call_id: str
    to: str
    caller: str
    of: str = ""


class SimRest(SimEvent, frozen=True, tag=True):
    """A REST order was understood, and answered with ``status`` (0: never)."""

    order: SimOrder
    status: int


class SimDelivered(SimEvent, frozen=True, tag=True):
    """A webhook was answered with ``status``; 0 when it was given up."""

    call_id: str
    url: str
    status: int


class SimSaid(SimEvent, frozen=True, tag=True):
    """The carrier's voice said this on a leg."""

    call_id: str
    text: str


class SimKeys(SimEvent, frozen=True, tag=True):
    """Keys were pressed by REST."""

    call_id: str
    digits: str


class SimTransferred(SimEvent, frozen=True, tag=True):
    """A transfer came to something: ``connected``, or ``why`` not (``busy``, ``no_answer``, ...)."""

    call_id: str
    other: str
    to: str
    connected: bool
    why: str = ""


class SimJoined(SimEvent, frozen=True, tag=True):
    """Two legs hear each other: bridged, or in one room."""

    call_id: str
    other: str


class SimRecording(SimEvent, frozen=True, tag=True):
    """A recording is finished."""

    call_id: str
    recording_id: str
    duration_ms: int


class SimHook(SimEvent, frozen=True, tag=True):
    """The URL where calls are reported was changed."""

    url: str


class SimSecondStream(SimEvent, frozen=True, tag=True):
    """A second stream for the same call was answered with this HTTP status (101: taken)."""

    call_id: str
    status: int


class SimProblem(SimEvent, frozen=True, tag=True):
    """The server did something a carrier would not have accepted."""

    call_id: str
    detail: str


class SimCallDone(SimEvent, frozen=True, tag=True):
    """One simulated leg is over. ``outcome``: ``completed`` (it was connected), ``busy``, ``rejected`` (HTTP error,
    bad TwiML, refused upgrade, refused call), ``unreachable``, ``unanswered`` (the caller gave up ringing),
    ``no_answer``, ``failed`` or ``cancelled``. ``caller`` and ``heard`` are mu-law, 8 kHz: what the person on the line
    said into media streams and what their ear got from them, of equal length. ``latencies_us`` are echo delays where
    the plan asked for them; ``streams`` counts the media streams; ``keys`` are those pressed by REST."""

    call_id: str
    outcome: str
    detail: str
    close_code: int
    duration_ms: int
    frames_sent: int
    frames_heard: int
    bytes_received: int
    cleared_bytes: int
    max_buffered_ms: int
    underruns: int
    hung_up_by_rest: bool
    said_by_carrier: tuple[str, ...]
    caller: bytes
    heard: bytes
    latencies_us: tuple[int, ...] = ()
    outgoing: bool = False
    streams: int = 0
    keys: str = ""
