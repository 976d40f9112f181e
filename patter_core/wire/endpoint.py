"""What both roles of a connection share: its states as a table, one deadline, and the bytes on their way out."""

from __future__ import annotations

import enum

from .limits import Limits

__all__ = ["STATES", "Endpoint", "Phase", "State", "Transport"]


class Transport(enum.Enum):
    """What the owner must do with the socket once ``data_to_send()`` is sent."""

    OPEN = "open"  #: nothing
    FINISH = "finish"  #: flush, say we will send no more, keep reading (into ``receive``) until the peer is done
    CLOSE = "close"  #: flush, close
    ABORT = "abort"  #: drop it now


class Phase(enum.Enum):
    """Where a connection is, as far as its owner cares."""

    HTTP = "http"  #: reading a request, or waiting for ``respond``/``start_stream``
    STREAMING = "streaming"  #: between ``start_stream`` and ``end_stream``
    UPGRADING = "upgrading"  #: server: waiting for ``accept``/``reject``; client: for the server's answer
    WEBSOCKET = "websocket"  #: open
    CLOSING = "closing"  #: a close handshake, or last bytes, under a deadline
    DONE = "done"  #: given up; nothing more will happen


class State(enum.Enum):
    """Where a connection is, exactly."""

    IDLE = "idle"  # server: between requests
    HEAD = "head"  # server: a request head is due
    BODY = "body"  # server: a request's body is due
    ANSWERING = "answering"  # server: the application has the request
    STREAMING = "streaming"  # server: the application is sending a stream
    UPGRADING = "upgrading"  # server: the application has the upgrade request
    AWAITING = "awaiting"  # client: a response head is due
    REFUSED = "refused"  # client: reading why the upgrade was refused
    READY = "ready"  # client (HTTP): no exchange under way
    READING = "reading"  # client (HTTP): a response's body is due
    OPEN = "open"  # WebSocket
    PARTING = "parting"  # WebSocket: our close frame is out
    LINGERING = "lingering"  # half-closed; input is thrown away
    FLUSHING = "flushing"  # closing once the last bytes are out
    DONE = "done"


_ENDS = frozenset({State.LINGERING, State.FLUSHING, State.DONE})

#: State -> what the owner sees, what becomes of the socket, and where it may go from here.
STATES: dict[State, tuple[Phase, Transport, frozenset[State]]] = {
    State.IDLE: (Phase.HTTP, Transport.OPEN, _ENDS | {State.HEAD}),
    State.HEAD: (Phase.HTTP, Transport.OPEN, _ENDS | {State.BODY}),
    State.BODY: (Phase.HTTP, Transport.OPEN, _ENDS | {State.ANSWERING, State.UPGRADING}),
    State.ANSWERING: (Phase.HTTP, Transport.OPEN, _ENDS | {State.IDLE, State.STREAMING}),
    State.STREAMING: (Phase.STREAMING, Transport.OPEN, _ENDS | {State.IDLE}),
    State.UPGRADING: (Phase.UPGRADING, Transport.OPEN, _ENDS | {State.OPEN}),
    State.AWAITING: (Phase.UPGRADING, Transport.OPEN, _ENDS | {State.OPEN, State.REFUSED, State.READING}),
    State.REFUSED: (Phase.UPGRADING, Transport.OPEN, _ENDS),
    State.READY: (Phase.HTTP, Transport.OPEN, _ENDS | {State.AWAITING}),
    State.READING: (Phase.HTTP, Transport.OPEN, _ENDS | {State.READY}),
    State.OPEN: (Phase.WEBSOCKET, Transport.OPEN, _ENDS | {State.PARTING}),
    State.PARTING: (Phase.CLOSING, Transport.OPEN, _ENDS),
    State.LINGERING: (Phase.CLOSING, Transport.FINISH, frozenset({State.FLUSHING, State.DONE})),
    State.FLUSHING: (Phase.CLOSING, Transport.CLOSE, frozenset({State.DONE})),
    State.DONE: (Phase.DONE, Transport.ABORT, frozenset()),
}


class Endpoint:
    """Base of the three connections. ``deadline`` is when to call ``tick`` if nothing else happens."""

    def __init__(self, limits: Limits, state: State, deadline: int | None) -> None:
        self._limits = limits
        self._state = state
        self._eof = False
        self._out: list[bytes] = []
        self._queued = 0
        self._sent = 0
        self.deadline: int | None = deadline

    @property
    def phase(self) -> Phase:
        """Where it is."""
        return STATES[self._state][0]

    @property
    def transport(self) -> Transport:
        """What the owner must do with the socket once ``data_to_send()`` is sent."""
        return STATES[self._state][1]

    def data_to_send(self) -> bytes:
        """The bytes queued since the last call."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def sent(self, total: int) -> None:
        """``total`` bytes of this connection have left the process since it opened: ``contract.Sent.total``."""
        if total > self._sent:
            self._sent = min(total, self._queued)

    @property
    def unsent(self) -> int:
        """Bytes queued, here or at the owner's, of which ``sent`` has not heard."""
        return self._queued - self._sent

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._queued += len(data)

    def _go(self, state: State, deadline: int | None) -> None:
        if state not in STATES[self._state][2]:
            raise AssertionError(f"{self._state} -> {state}")
        self._state = state
        self.deadline = deadline

    def _due(self, now: int) -> bool:
        return self.deadline is not None and now >= self.deadline
