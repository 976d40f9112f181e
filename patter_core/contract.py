"""Facts in, orders out: the whole vocabulary between a board and the adapter that carries it.

A *board* is anything with ``handle(now, fact) -> list[order]``, ``deadline`` and ``reserve()``. It decides; it does no
I/O. An *adapter* (``patter_asyncio``, ``patter_trio``, the simulator's virtual network, yours) carries its orders out
and reports what happened. Facts are in the past tense, orders in the imperative.

``now`` is integer microseconds since the board was made. It is neither wall time (``epoch + now``) nor media time.

The contract. Every line has a test (``tests/core/test_contract.py``, ``conformance/adapter_kit``):

C1  One call of ``handle`` is one step; its list is complete. Nothing is left to drain.
C2  ``handle`` is total: it never raises for anything a peer, a carrier, a provider or user code does. It raises only
    for a bug or a broken adapter.
C3  Time first: every timer due at ``now`` fires, oldest first, before the fact is taken in. ``now`` going backwards is
    ignored. Early and spurious ``Ticked`` are legal. Timers are never orders.
C4  After ``handle(now, ...)``, ``deadline`` is None or later than ``now``.
C5  One terminal fact per opened thing: ``Connect``/``Spawn`` -> ``ConnectFailed`` or (``Connected`` ... ``Closed``);
    ``Accepted`` ... ``Closed``; ``Request`` -> ``BodyEnded`` or ``RequestFailed``, silence after ``CancelRequest``;
    ``Invoke`` -> ``Yielded``* then ``Returned`` or ``Raised``, silence after ``Cancel``; ``Asked`` -> exactly one
    ``Answer`` or ``Refuse``, also at ``Exit``.
C6  Every ``Send(ack=True)`` is answered by ``Sent(conn, total)`` or by ``Closed``.
C7  After ``Close(c)`` no ``Send(c)``; after ``Abort(c)`` nothing about ``c``; after ``Exit`` nothing.
C8  The adapter starts orders in order, without awaiting, and never calls ``handle`` while performing: a fact found
    meanwhile waits in its queue.
C9  Names are never reused. Facts about unknown names are ignored: late facts are normal.
C10 Same configuration, seed, epoch and facts give the same orders. Prose is for people and is never compared.
"""

from __future__ import annotations

import enum
from typing import Any, NewType, Protocol, TypeAlias

import msgspec

__all__ = [
    "Abort",
    "Accepted",
    "Answer",
    "AskId",
    "Asked",
    "Board",
    "BodyEnded",
    "BodyReceived",
    "Cancel",
    "CancelRequest",
    "ClockSet",
    "Close",
    "Closed",
    "ConnId",
    "Connect",
    "ConnectFailed",
    "Connected",
    "Exit",
    "Fact",
    "Fault",
    "Finish",
    "InputEnded",
    "Invoke",
    "Lane",
    "Notify",
    "Order",
    "Pause",
    "Raised",
    "Received",
    "Refuse",
    "Request",
    "RequestFailed",
    "RequestId",
    "ResponseStarted",
    "Resume",
    "Returned",
    "Send",
    "Sent",
    "Spawn",
    "StopListening",
    "StopRequested",
    "TaskId",
    "Ticked",
    "Word",
    "Yielded",
]

ConnId = NewType("ConnId", int)
RequestId = NewType("RequestId", int)
TaskId = NewType("TaskId", int)
AskId = NewType("AskId", int)


class Fault(enum.Enum):
    """Why something outside failed, as a closed list, so that traces never hold ``repr(exception)``."""

    REFUSED = "refused"  #: nobody listens there
    UNREACHABLE = "unreachable"  #: no route, no such name
    TLS = "tls"  #: handshake or certificate
    TIMEOUT = "timeout"  #: the operating system or the library gave up
    RESET = "reset"  #: the peer went away without the usual goodbye
    CANCELLED = "cancelled"  #: we gave up first
    BAD_REPLY = "bad_reply"  #: what came back was not the protocol
    TOO_LARGE = "too_large"  #: more than ``max_body``
    USER = "user"  #: a named handler raised
    UNKNOWN_HANDLER = "unknown_handler"  #: the edge has no handler of that name
    OTHER = "other"


class Lane(enum.Enum):
    """Where a handler runs: on the event loop, or in a worker thread."""

    LOOP = "loop"
    THREAD = "thread"


class Word(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Base of every fact and order: frozen, comparable, JSON-codable, 45 ns to build."""


# --- connections -----------------------------------------------------------------------------------------------------


class Connect(Word, frozen=True, gc=False, tag=True):
    """Open a TCP (or TLS) connection. Terminal fact: ``ConnectFailed``, or ``Connected`` and later ``Closed``.

    ``addresses``, when given, are the only addresses that may be used (they were checked in the core); ``host`` is then
    the TLS server name only.
    """

    conn: ConnId
    host: str
    port: int
    tls: bool = False
    addresses: tuple[str, ...] = ()


class Spawn(Word, frozen=True, gc=False, tag=True):
    """Start a process: a connection whose received bytes are its output; ``Closed.status`` is its exit code."""

    conn: ConnId
    argv: tuple[str, ...]


class Accepted(Word, frozen=True, gc=False, tag=True):
    """A peer connected to the listener. The adapter took ``conn`` from ``board.reserve()``. Ends with ``Closed``."""

    conn: ConnId
    peer: str


class Connected(Word, frozen=True, gc=False, tag=True):
    """A ``Connect`` is ready for bytes (TLS included), or a ``Spawn`` runs."""

    conn: ConnId


class ConnectFailed(Word, frozen=True, gc=False, tag=True):
    """A ``Connect`` or ``Spawn`` came to nothing. Terminal."""

    conn: ConnId
    fault: Fault


class Send(Word, frozen=True, gc=False, tag=True):
    """Write these bytes. With ``ack``, ``Sent`` follows once they, and all before them, left this process.

    ``data`` is text only on a connection whose framing someone else does (``run_call``).

    ``auth`` names a secret: ``data`` is then the head of an HTTP request, and the edge puts the secret's header line
    after its first line, so that no order holds a key. ``Sent`` does not count that line.
    """

    conn: ConnId
    data: bytes | str
    ack: bool = False
    auth: str = ""


class Sent(Word, frozen=True, gc=False, tag=True):
    """Answers ``Send(ack=True)``: ``total`` bytes (or characters) of this connection have left since it opened."""

    conn: ConnId
    total: int


class Received(Word, frozen=True, gc=False, tag=True):
    """Bytes came in (text where someone else does the framing)."""

    conn: ConnId
    data: bytes | str


class InputEnded(Word, frozen=True, gc=False, tag=True):
    """The peer will send no more; it may still read."""

    conn: ConnId


class Finish(Word, frozen=True, gc=False, tag=True):
    """Flush, then say we will send no more; keep reading until the peer is done. On TLS this is ``Close``."""

    conn: ConnId


class Close(Word, frozen=True, gc=False, tag=True):
    """Flush, then close. ``Closed`` follows."""

    conn: ConnId


class Abort(Word, frozen=True, gc=False, tag=True):
    """Drop it now, unsent bytes too. ``Closed`` (or ``ConnectFailed``) follows."""

    conn: ConnId


class Closed(Word, frozen=True, gc=False, tag=True):
    """It is over. Terminal. ``status`` is a process's exit code; None for a socket."""

    conn: ConnId
    status: int | None = None


class Pause(Word, frozen=True, gc=False, tag=True):
    """Stop reading this source: a connection, a streamed response, a generator. At most one more fact may slip out."""

    source: int


class Resume(Word, frozen=True, gc=False, tag=True):
    """Read on."""

    source: int


# --- requests --------------------------------------------------------------------------------------------------------


class Request(Word, frozen=True, gc=False, tag=True):
    """Make an HTTP request; the answer is streamed back. Terminal: ``BodyEnded`` or ``RequestFailed``.

    ``auth`` names a secret; the edge adds its header, so no order holds a key. ``sign`` names a signing key; the edge
    adds ``X-Patter-Signature``, the hex HMAC-SHA256 of the body. No redirect is followed and no timeout applies: the
    core has the deadline and sends ``CancelRequest``.
    """

    request: RequestId
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    auth: str = ""
    max_body: int = 1 << 20
    sign: str = ""


class CancelRequest(Word, frozen=True, gc=False, tag=True):
    """Give it up. No further fact about it."""

    request: RequestId


class ResponseStarted(Word, frozen=True, gc=False, tag=True):
    """Status and headers are in."""

    request: RequestId
    status: int
    headers: tuple[tuple[str, str], ...] = ()


class BodyReceived(Word, frozen=True, gc=False, tag=True):
    """A piece of the body, decoded from its transfer coding."""

    request: RequestId
    data: bytes


class BodyEnded(Word, frozen=True, gc=False, tag=True):
    """The whole answer is in. Terminal."""

    request: RequestId


class RequestFailed(Word, frozen=True, gc=False, tag=True):
    """No (whole) answer. Terminal."""

    request: RequestId
    fault: Fault


# --- named handlers --------------------------------------------------------------------------------------------------


class Invoke(Word, frozen=True, tag=True):
    """Run the handler of this name. A generator's items come as ``Yielded``; then ``Returned`` or ``Raised``."""

    task: TaskId
    lane: Lane
    handler: str
    args: tuple[Any, ...] = ()


class Cancel(Word, frozen=True, gc=False, tag=True):
    """Give the task up. No further fact about it; a thread that cannot be stopped is left to finish unheard."""

    task: TaskId


class Yielded(Word, frozen=True, tag=True):
    """A generator handler yielded."""

    task: TaskId
    value: Any = None


class Returned(Word, frozen=True, tag=True):
    """The handler returned. Terminal."""

    task: TaskId
    value: Any = None


class Raised(Word, frozen=True, gc=False, tag=True):
    """The handler raised. Terminal. ``detail`` is prose for the log."""

    task: TaskId
    fault: Fault
    detail: str = ""


# --- the application, and the way out --------------------------------------------------------------------------------


class Asked(Word, frozen=True, tag=True):
    """The application wants something: ``verb`` and its arguments. Exactly one ``Answer`` or ``Refuse`` follows."""

    ask: AskId
    verb: str
    args: dict[str, Any] = {}


class Answer(Word, frozen=True, tag=True):
    """What an ``Asked`` gets."""

    ask: AskId
    value: Any = None


class Refuse(Word, frozen=True, gc=False, tag=True):
    """Why an ``Asked`` gets nothing. ``code`` is from a closed list; ``detail`` says what to do."""

    ask: AskId
    code: str
    detail: str = ""


class Notify(Word, frozen=True, tag=True):
    """Tell whoever listens: a typed event (``patter_core.events``). Logs, metrics and progress lines hang off it."""

    event: Any


class StopListening(Word, frozen=True, gc=False, tag=True):
    """Accept no more connections."""


class Exit(Word, frozen=True, gc=False, tag=True):
    """The board is done; nothing follows. 0 is a clean end."""

    code: int = 0


class ClockSet(Word, frozen=True, gc=False, tag=True):
    """Wall time was stepped: ``epoch`` is the unix time, in microseconds, at which ``now`` was 0."""

    epoch: int


class StopRequested(Word, frozen=True, gc=False, tag=True):
    """Somebody wants us to stop. A second one hurries."""


class Ticked(Word, frozen=True, gc=False, tag=True):
    """Nothing happened but time."""


Fact: TypeAlias = (
    Accepted
    | Connected
    | ConnectFailed
    | Received
    | InputEnded
    | Sent
    | Closed
    | ResponseStarted
    | BodyReceived
    | BodyEnded
    | RequestFailed
    | Yielded
    | Returned
    | Raised
    | Asked
    | ClockSet
    | StopRequested
    | Ticked
)

Order: TypeAlias = (
    Connect
    | Spawn
    | Send
    | Finish
    | Close
    | Abort
    | Pause
    | Resume
    | Request
    | CancelRequest
    | Invoke
    | Cancel
    | Answer
    | Refuse
    | Notify
    | StopListening
    | Exit
)


class Board(Protocol):
    """What an adapter carries. See the module's docstring for the contract."""

    def handle(self, now: int, fact: Fact) -> list[Order]:
        """Take one complete step. Never blocks; never raises for what a peer does."""
        ...

    @property
    def deadline(self) -> int | None:
        """When to call ``handle(now, Ticked())`` if nothing else happens."""
        ...

    def reserve(self) -> ConnId:
        """A fresh name for a connection the adapter is about to report with ``Accepted``."""
        ...
