"""The simulated carrier's sockets: what every connection has to send, when it wants to be woken, how it parts."""

from __future__ import annotations

from collections.abc import Callable

from ..contract import Abort, Close, ConnId, Finish, Order, Send
from ..timers import Timers
from ..wire.client import ClientConnection
from ..wire.endpoint import Transport
from ..wire.server import ServerConnection

__all__ = ["Wires"]

_PARTING: dict[Transport, Callable[[ConnId], Finish | Close | Abort]] = {
    Transport.FINISH: Finish,
    Transport.CLOSE: Close,
    Transport.ABORT: Abort,
}


class Wires:
    """Shared by media sockets and the REST server. Orders go to ``out``; a connection's timer is ``("wire", n)``."""

    def __init__(self, out: list[Order], timers: Timers[tuple[str, int]]) -> None:
        self._out = out
        self._timers = timers
        self._transports: dict[ConnId, Transport] = {}

    def open(self, conn: ConnId) -> None:
        """A connection begins."""
        self._transports[conn] = Transport.OPEN

    def gone(self, conn: ConnId) -> None:
        """It is over."""
        self._transports.pop(conn, None)
        self._timers.clear(("wire", int(conn)))

    def abort(self, conn: ConnId) -> None:
        """Drop it, if it is there."""
        if self._transports.get(conn) not in (None, Transport.ABORT):
            self._out.append(Abort(conn))
            self.gone(conn)

    def flush(self, conn: ConnId, wire: ClientConnection | ServerConnection) -> None:
        """Order what the wire wants done."""
        data = wire.data_to_send()
        known = self._transports.get(conn)
        if known in (None, Transport.CLOSE, Transport.ABORT):
            return
        if data:
            self._out.append(Send(conn, data))
        transport = wire.transport
        if transport is not known:
            self._transports[conn] = transport
            if transport is not Transport.OPEN:
                self._out.append(_PARTING[transport](conn))
        if wire.deadline is not None:
            key = ("wire", int(conn))
            when = self._timers.when(key)
            if when is None or wire.deadline < when:
                self._timers.set(key, wire.deadline)

    def all(self) -> tuple[ConnId, ...]:
        """The connections that are open, oldest first."""
        return tuple(self._transports)
