"""An open WebSocket, either role: messages, pings, the closing handshake. Its owner has the clock and the socket."""

from __future__ import annotations

import enum
from collections.abc import Callable

from patter_core.errors import LocalProtocolError

from .endpoint import Endpoint, State
from .events import Done, WireEvent
from .frames import BINARY, CLOSE, PING, PONG, TEXT, End, FrameReader, Masks, encode_close, encode_frame
from .limits import Limits

__all__ = ["WebSocket", "WebSocketEndpoint", "WsState"]


class WsState(enum.Enum):
    """``OPEN -> CLOSING -> CLOSED``, or ``OPEN -> CLOSED`` when the peer, or its bytes, ended it."""

    OPEN = "open"
    CLOSING = "closing"  #: we sent our close frame and wait for the peer's
    CLOSED = "closed"  #: ``Done`` was reported


class WebSocket:
    """Frames to messages and back. ``masks`` makes it a client."""

    __slots__ = ("_closed_by_us", "_masks", "_reader", "_write", "failed", "farewell", "state")

    def __init__(self, limit: int, write: Callable[[bytes], None], masks: Masks | None = None) -> None:
        self._reader = FrameReader(client=masks is not None, limit=limit)
        self._write = write
        self._masks = masks
        self._closed_by_us = False
        self.state = WsState.OPEN
        #: The peer's frames were wrong: it should get the time to read our close frame.
        self.failed = False
        #: Our close frame in answer to the peer. It waits until the owner asks for bytes, so that what the owner says
        #: to the messages before the end still goes out before it, however the bytes were cut.
        self.farewell = b""

    def receive(self, data: bytes) -> list[WireEvent]:
        """What these bytes complete. Nothing after ``Done``; nothing but ``Done`` after our close."""
        if self.state is WsState.CLOSED:
            return []
        reader = self._reader
        events: list[WireEvent] = list(reader.receive(data))
        if self.state is WsState.CLOSING:
            events = []
        if reader.pings:
            if self.state is WsState.OPEN:
                for payload in reader.pings:
                    self._frame(PONG, payload)
            reader.pings.clear()
        if reader.end is not None:
            events.append(self._over(reader.end))
        return events

    def lost(self, reason: str = "") -> list[WireEvent]:
        """The connection ended, or is given up, without the peer's close frame."""
        if self.state is WsState.CLOSED:
            return []
        self.state = WsState.CLOSED
        return [Done(1006, reason, False)]

    def _over(self, end: End) -> Done:
        if self.state is WsState.OPEN:
            # The peer's code goes back to it; its prose does not.
            self.farewell = self._encode(CLOSE, encode_close(end.code, ""))
        self.state = WsState.CLOSED
        self.failed = end.failed
        return Done(end.code, end.reason, not end.failed)

    def send(self, message: str | bytes) -> None:
        """Queue one message. Dropped when the peer has ended it, which the owner may not have read yet; an error
        after our own ``close``."""
        if self.state is not WsState.OPEN and not self.farewell:
            if self._closed_by_us:
                raise LocalProtocolError("send after close")
            return
        if isinstance(message, str):
            # A provider's JSON may smuggle in a lone surrogate; a question mark beats a crash.
            first, payload = TEXT, message.encode("utf-8", "replace")
        else:
            first, payload = BINARY, message
        masks = self._masks
        self._write(encode_frame(first, payload, None if masks is None else masks.take()))

    def ping(self, data: bytes) -> None:
        """Queue a ping of at most 125 bytes; dropped unless open."""
        if len(data) > 125:
            raise LocalProtocolError("a ping carries at most 125 bytes")
        if self.state is WsState.OPEN:
            self._frame(PING, data)

    def close(self, code: int, reason: str) -> bool:
        """Queue our close frame; False when it is closing or over already."""
        if not (1000 <= code <= 4999) or code in (1004, 1005, 1006, 1015):
            raise LocalProtocolError(f"{code} may not be sent in a close frame")
        if self.state is not WsState.OPEN:
            return False
        self._frame(CLOSE, encode_close(code, reason))
        self._closed_by_us = True
        self.state = WsState.CLOSING
        return True

    def _encode(self, first: int, payload: bytes) -> bytes:
        return encode_frame(first, payload, None if self._masks is None else self._masks.take())

    def _frame(self, first: int, payload: bytes) -> None:
        self._write(self._encode(first, payload))


class WebSocketEndpoint(Endpoint):
    """A connection that is, or may become, a WebSocket: what server and client do alike once it is one."""

    def __init__(self, limits: Limits, state: State, deadline: int | None) -> None:
        super().__init__(limits, state, deadline)
        self._ws: WebSocket | None = None

    def data_to_send(self) -> bytes:
        """The bytes queued since the last call."""
        ws = self._ws
        if ws is not None and ws.farewell:
            self._write(ws.farewell)
            ws.farewell = b""
        return super().data_to_send()

    def send(self, message: str | bytes) -> None:
        """Queue one message; dropped when the peer has ended it, an error before ``Opened`` and after ``close``."""
        ws = self._ws
        if ws is not None:
            ws.send(message)
        else:
            self._not_open("send")

    def ping(self, data: bytes = b"") -> None:
        """Queue a ping (at most 125 bytes); the answer is ``Pong``."""
        if self._ws is not None:
            self._ws.ping(data)
        else:
            self._not_open("ping")

    def close(self, now: int, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake; ``Done`` follows within ``close_timeout_us``. Again: does nothing."""
        if self._ws is None:
            self._not_open("close")
        elif self._ws.close(code, reason):
            self._go(State.PARTING, now + self._limits.close_timeout_us)

    def _not_open(self, verb: str) -> None:
        # A client whose handshake just failed may not have read so yet: that is no misuse.
        if self._state not in (State.LINGERING, State.FLUSHING, State.DONE):
            raise LocalProtocolError(f"{verb} while {self._state.value}")

    def _after_websocket(self, now: int) -> None:
        """Once it is over: a peer whose frames were wrong gets the time to read why; else flush and close."""
        ws = self._ws
        if ws is None or ws.state is not WsState.CLOSED or self._state not in (State.OPEN, State.PARTING):
            return
        if ws.failed and not self._eof:
            self._go(State.LINGERING, now + self._limits.close_timeout_us)
        else:
            self._go(State.FLUSHING, now + self._limits.flush_timeout_us)
