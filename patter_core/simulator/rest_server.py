"""The HTTP half of the simulated carrier's REST API: connections in, orders read, replies out."""

from __future__ import annotations

from collections.abc import Callable

from ..contract import ConnId
from ..wire.events import HttpRequest, UpgradeRequest, WireEvent
from ..wire.limits import Limits
from ..wire.server import ServerConnection
from .orders import SimOrder
from .side import CarrierSide, Reply, Why
from .wires import Wires

__all__ = ["Obeyed", "RestServer"]

Obeyed = tuple[Reply | None, Callable[[], None] | None]
"""The reply to an order (None: never any), and what is done once it is sent."""


class RestServer:
    """``obey`` decides. What an order does comes after its reply on the wire, as with the real thing."""

    def __init__(self, side: CarrierSide, wires: Wires, obey: Callable[[int, SimOrder], Obeyed]) -> None:
        self._side = side
        self._wires = wires
        self._obey = obey
        self._conns: dict[ConnId, ServerConnection] = {}

    def accepted(self, now: int, conn: ConnId) -> None:
        """A client connects."""
        server = self._conns[conn] = ServerConnection(now, Limits())
        self._wires.open(conn)
        self._wires.flush(conn, server)

    def received(self, now: int, conn: ConnId, data: bytes) -> None:
        """Bytes of a client; ``b""`` is its end."""
        if (server := self._conns.get(conn)) is not None:
            self._serve(now, conn, server, server.receive(now, data))

    def tick(self, now: int, conn: ConnId) -> None:
        """A connection's timer fired."""
        if (server := self._conns.get(conn)) is not None:
            self._serve(now, conn, server, server.tick(now))

    def closed(self, conn: ConnId) -> None:
        """A connection is over."""
        if self._conns.pop(conn, None) is not None:
            self._wires.gone(conn)

    def _serve(self, now: int, conn: ConnId, server: ServerConnection, events: list[WireEvent]) -> None:
        queue = list(events)
        then: list[Callable[[], None]] = []
        while queue:
            event = queue.pop(0)
            if isinstance(event, HttpRequest):
                order = self._side.read(event.method, event.target, event.body)
                reply: Reply | None
                if order is None:
                    reply, effect = self._side.refused(None, Why.UNKNOWN_REQUEST), None
                else:
                    reply, effect = self._obey(now, order)
                if effect is not None:
                    then.append(effect)
                if reply is not None:
                    queue += server.respond(now, reply.status, reply.headers, reply.body)
            elif isinstance(event, UpgradeRequest):
                queue += server.reject(now, 404)
        self._wires.flush(conn, server)
        for effect in then:
            effect()
