"""A board of one call, for somebody else's server: that server does the framing, this does the rest.

It has one connection, whose data is text: the carrier's messages in, ours out. It exits when the call is over.
"""

from __future__ import annotations

import enum
from typing import Any

from .call.spec import CallSpec
from .contract import (
    Abort,
    Asked,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    InputEnded,
    Order,
    Received,
    Refuse,
    Send,
    Sent,
    StopRequested,
)
from .dialling import BadDial
from .host import Host, Names, TimerKey
from .plain import plain
from .reasons import EndReason
from .settings import ServerSettings
from .timers import Timers

__all__ = ["CallBoard"]


class _Socket(enum.Enum):
    """Where the one connection is."""

    AWAITED = "awaited"
    OPEN = "open"
    GONE = "gone"


class CallBoard:
    """Feed ``Connected(conn)`` once the socket is there; then ``Received`` texts, and ``InputEnded`` or ``Closed``."""

    def __init__(
        self,
        spec: CallSpec,
        *,
        settings: ServerSettings | None = None,
        trace_dir: str = "",
        bulkhead: bool = True,
        seed: bytes = b"",
    ) -> None:
        self._spec = spec
        self._out: list[Order] = []
        self._names = Names()
        self._timers: Timers[TimerKey] = Timers()
        self._host = Host(self, self._out, self._names, self._timers, trace_dir=trace_dir, bulkhead=bulkhead, seed=seed)
        self.conn = ConnId(self._names.new())
        self.reason: EndReason | None = None
        self._now = 0
        self._offered = False
        self._socket = _Socket.AWAITED
        self._went: int | None = None  # we closed the socket, and the call has not been told
        self._settings = settings or ServerSettings()
        self._queued = self._asked_ack = self._acked = 0  # characters ordered to be sent
        self._high = False
        self._stopping = False
        self._exited = False

    @property
    def deadline(self) -> int | None:
        return None if self._exited else self._timers.deadline

    def reserve(self) -> ConnId:
        return ConnId(self._names.new())

    def handle(self, now: int, fact: Fact) -> list[Order]:
        if self._exited:
            return [Refuse(fact.ask, "stopped", "the call is over")] if isinstance(fact, Asked) else []
        now = self._now = max(now, self._now)
        call_id = self._spec.call_id
        if not self._offered:
            self._offered = True
            self._host.offer(now, self._spec)
        while (key := self._timers.due(now)) is not None:
            if key[0] == "link":
                self._host.link_due(now, ConnId(int(key[1])))
            else:
                self._host.due(now, str(key[1]))
        match fact:
            case Received(c) | Sent(c) | Connected(c) | InputEnded(c) | Closed(c) | ConnectFailed(c) if c != self.conn:
                self._host.handle(now, fact)
            case Received(_, data):
                if self._socket is _Socket.OPEN:
                    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
                    if not text.isascii():
                        text = plain(text)  # somebody else's framing may have let half a surrogate pair through
                    self._host.carrier_said(now, call_id, text)
            case Sent(_, total):
                self._acked = total
            case Connected():
                if self._socket is _Socket.AWAITED:
                    self._socket = _Socket.OPEN
                    if call_id in self._host:
                        self._host.attach(now, call_id, self.conn)
            case InputEnded() | Closed() | ConnectFailed():
                if self._socket is not _Socket.GONE:
                    self._socket = _Socket.GONE
                    if isinstance(fact, InputEnded):
                        self._out.append(Close(self.conn))
                    self._host.stream_went(now, call_id, self.conn, 1006)
                    # Nobody can bring the socket back to this board: do not wait for it.
                    self._host.end(now, call_id, EndReason.STREAM_LOST)
            case StopRequested():
                if self._stopping:
                    self._host.abandon(now)
                    self._host.let_go()
                self._stopping = True
                self._host.end(now, call_id, EndReason.CANCELLED)
                self.close(self.conn, 1000, "cancelled")  # whoever cancelled us is about to take the socket away
            case _:
                if not self._host.handle(now, fact) and isinstance(fact, Asked):
                    self._out.append(Refuse(fact.ask, "unknown_command", f"no command {fact.verb!r}"))
        self._watch_pressure(now, call_id)
        if self._went is not None:
            # Told after its own step, never in the middle of it: a call takes one fact at a time.
            code, self._went = self._went, None
            self._host.stream_went(now, call_id, self.conn, code)
        if not len(self._host) and not self._host.unwritten and not self._host.links:
            self._exited = True
            if self._socket is not _Socket.GONE:
                self._out.append(Abort(self.conn))
            self._out.append(Exit(0))
        out = self._out.copy()
        self._out.clear()
        return out

    def _watch_pressure(self, now: int, call_id: str) -> None:
        """Does whoever sends our messages keep up? Told after the step, never in the middle of it."""
        waiting = self._queued - self._acked
        if self._socket is not _Socket.OPEN:
            return
        if waiting >= self._settings.kill_water:
            self._socket = _Socket.GONE
            self._out.append(Abort(self.conn))
            self._went = 1006
        elif self._high is not (
            waiting >= (self._settings.high_water // 2 if self._high else self._settings.high_water)
        ):
            self._high = not self._high
            self._host.pressure(now, call_id, self.conn, self._high)

    # --- the Host's sockets ------------------------------------------------------------------------------------------

    def say(self, conn: ConnId, text: str) -> None:
        """Send a message."""
        if self._socket is _Socket.OPEN:
            self._queued += len(text)
            ack = self._queued - self._asked_ack >= self._settings.ack_every
            if ack:
                self._asked_ack = self._queued
            self._out.append(Send(self.conn, text, ack))

    def close(self, conn: ConnId, code: int, reason: str) -> None:
        """Close the socket: whoever does the framing chooses how."""
        if self._socket is _Socket.OPEN:
            self._socket = _Socket.GONE
            self._out.append(Close(self.conn))
            self._went = code

    def mint(self, now: int, call_id: str) -> tuple[str, str]:
        """A fresh address for the media stream: there is none, the socket is somebody else's."""
        return "", ""

    def dialled(self, args: dict[str, Any]) -> CallSpec | BadDial:
        """Another call: not here."""
        return BadDial("this program carries one call; dial from a Patter that serves")

    def call_over(self, call_id: str, reason: EndReason) -> None:
        """The call is over."""
        self.reason = reason
