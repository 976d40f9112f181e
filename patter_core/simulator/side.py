"""What the simulated carrier needs to know of the carrier it plays: its webhooks, its REST API, its end of the stream.

One file per carrier (``twilio_side.py``, ``telnyx_side.py``); ``side_of`` is the table. A side is stateless: it reads
and writes texts with the carrier's-role functions of ``patter_core.carriers`` and decides nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ..audio.formats import AudioFormat
from ..carriers.carrier import Malformed
from .leg import Leg
from .orders import Report, SimOrder, Step, StreamWanted

__all__ = ["CarrierSide", "Cleared", "Marked", "Played", "Post", "Reply", "ServerSaid", "StreamPeer", "Why"]


class Played(msgspec.Struct, frozen=True, gc=False):
    """The server wants this heard."""

    payload: bytes


class Marked(msgspec.Struct, frozen=True, gc=False):
    """The server wants this name back."""

    name: str


class Cleared(msgspec.Struct, frozen=True, gc=False):
    """The server wants what is not played yet thrown away."""


ServerSaid = Played | Marked | Cleared | Malformed


class StreamPeer(Protocol):
    """The carrier's end of one media stream: texts for the server, and what the server's texts mean."""

    def greeting(self) -> list[str]:
        """The first messages."""
        ...

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """One frame of the caller."""
        ...

    def dtmf(self, digit: str) -> str:
        """A key of the caller."""
        ...

    def mark(self, name: str) -> str:
        """A mark comes back."""
        ...

    def stop(self) -> str:
        """The last message."""
        ...

    def receive(self, text: str) -> ServerSaid:
        """What the server says. Never raises."""
        ...


class Post(msgspec.Struct, frozen=True):
    """A webhook to be posted. ``content`` is the side's own, sealed (dated, numbered, signed) when it goes out.

    ``program``: the answer says what the call does next. ``vital``: without a good answer the call cannot go on.
    """

    url: str
    content: Any
    token: str
    program: bool = False
    vital: bool = False
    attempts: int = 1
    patience_ms: int = 15_000


class Why(enum.Enum):
    """Why an order is refused."""

    UNKNOWN_REQUEST = "unknown_request"
    NO_SUCH_CALL = "no_such_call"
    ENDED = "ended"
    NOT_ANSWERED = "not_answered"
    BUSY_STREAM = "busy_stream"  #: it has a stream already
    NOTHING_THERE = "nothing_there"  #: no such recording, number, application


class Reply(msgspec.Struct, frozen=True):
    """An answer of the REST API."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class CarrierSide(Protocol):
    """A carrier, as its simulator needs it."""

    #: a leg with nothing left to do is hung up (else it waits for orders)
    ends_when_idle: bool
    #: how much longer than asked it lets a number ring
    ring_slack_ms: int
    #: the WebSocket close code after ``stop``
    close_code: int

    def call_id(self, digest: str) -> str:
        """A call's id, made of 32 hexadecimal digits."""
        ...

    def stream_id(self, digest: str) -> str:
        """A stream's."""
        ...

    def recording_id(self, digest: str) -> str:
        """A recording's."""
        ...

    def tell(self, leg: Leg, report: Report, at_us: int) -> Post | None:
        """The webhook that says this of a leg; None where this carrier (or leg) has none. ``at_us`` is unix time."""
        ...

    def seal(self, post: Post, attempt: int, at_us: int) -> tuple[tuple[tuple[str, str], ...], bytes]:
        """Headers and body of a webhook, signed."""
        ...

    def program(self, status: int, body: bytes) -> Sequence[Step] | str:
        """What the answer to a ``Post.program`` has the call do; as a text, why that cannot be said."""
        ...

    def upgrade_headers(self, wanted: StreamWanted) -> list[tuple[str, str]]:
        """The headers of the media socket's upgrade, proofs among them."""
        ...

    def peer(self, leg: Leg, stream_id: str, wanted: StreamWanted, hears: AudioFormat) -> StreamPeer:
        """This carrier's end of a stream."""
        ...

    def read(self, method: str, target: str, body: bytes) -> SimOrder | None:
        """What a REST request orders; None when it is nothing this simulator knows."""
        ...

    def has(self, key: str) -> bool:
        """Is there a number or an application of this id?"""
        ...

    def done(self, order: SimOrder, leg: Leg | None, made: str, hook: str) -> Reply:
        """The order was taken. ``made`` is the id of what it made; ``hook`` the URL where calls are reported."""
        ...

    def refused(self, order: SimOrder | None, why: Why) -> Reply:
        """The order cannot be carried out."""
        ...

    def trouble(self, order: SimOrder | None, status: int, code: str) -> Reply:
        """A failure of the carrier itself (429, 500, ...), or one that was planned (400 with code 21211)."""
        ...
