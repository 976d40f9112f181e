"""What the simulated carrier tells."""

from __future__ import annotations

import msgspec

__all__ = ["SimCallDone", "SimCallPlaced", "SimEvent", "SimProblem"]


class SimEvent(msgspec.Struct, frozen=True, tag=True):
    """Base of the simulator's events."""


class SimCallPlaced(SimEvent, frozen=True, tag=True):
    """The webhook is on its way."""

    call_id: str


class SimProblem(SimEvent, frozen=True, tag=True):
    """The server did something a carrier would not have accepted."""

    call_id: str
    detail: str


class SimCallDone(SimEvent, frozen=True, tag=True):
    """One simulated call is over. ``outcome``: ``completed`` (it was connected), ``busy``, ``rejected`` (HTTP error,
    bad TwiML, refused upgrade) or ``unreachable``. ``caller`` and ``heard`` are mu-law, 8 kHz: what the caller said and
    what their ear got, of equal length. ``latencies_us`` are echo delays where the plan asked for them."""

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
