"""A peer on the virtual network that does exactly what its owner says, good manners or bad: for stories about servers.

A ``Line`` is one TCP connection to a server, spoken as raw bytes, as HTTP or as a WebSocket. Time passes only while a
line waits for an answer, or while the owner runs the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..contract import Abort, Close, Closed, Connect, Connected, ConnectFailed, ConnId, Fact, InputEnded, Order
from ..contract import Received as GotBytes
from ..contract import Send as SendBytes
from ..wire.client import ClientConnection
from ..wire.events import Done, HttpResponse, Opened, Text
from ..wire.http_client import HttpClient
from .network import Node, VirtualNetwork

__all__ = ["Line", "Puppet"]


class Line:
    """One connection. ``received`` is every byte that came; ``ended``, the server sends no more; ``closed``, it is
    over."""

    def __init__(self, puppet: Puppet, conn: ConnId) -> None:
        self.conn = conn
        self.received = bytearray()
        self.connected = False
        self.ended = False
        self.closed = False
        self.texts: list[str] = []
        self.responses: list[HttpResponse] = []
        self.close_code = 0
        self.close_reason = ""
        self.polite = True  # closes when the server does
        self.opened = False
        self._puppet = puppet
        self._http: HttpClient | None = None
        self._ws: ClientConnection | None = None

    # --- doing -------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send raw bytes; dropped once the connection is over."""
        if not self.closed:
            self._puppet.perform(SendBytes(self.conn, data))

    def close(self) -> None:
        """Close the TCP connection."""
        if not self.closed:
            self._puppet.perform(Close(self.conn))

    def reset(self) -> None:
        """Break it."""
        if not self.closed:
            self._puppet.perform(Abort(self.conn))

    def begin(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Send a request, and do not wait."""
        self._http = self._http or HttpClient(self._puppet.network.now, host=self._puppet.host)
        self._http.request(self._puppet.network.now, method, target, headers, body)
        self.send(self._http.data_to_send())

    def ask(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        within_us: int = 1_000_000,
    ) -> HttpResponse:
        """Send a request and let time pass until its answer is in."""
        before = len(self.responses)
        self.begin(method, target, headers, body)
        self._puppet.wait(lambda: len(self.responses) == before and not self.closed, within_us)
        if len(self.responses) == before:
            raise AssertionError(f"no answer to {method} {target}: got {bytes(self.received)!r}")
        return self.responses[-1]

    def begin_upgrade(self, target: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Ask for a WebSocket, and do not wait."""
        seed = hashlib.blake2b(b"puppet %d" % self.conn).digest()
        self._ws = ClientConnection(self._puppet.network.now, self._puppet.host, target, headers, seed=seed)
        self.send(self._ws.data_to_send())

    def upgrade(self, target: str, headers: Iterable[tuple[str, str]] = (), within_us: int = 1_000_000) -> int:
        """Ask for a WebSocket; the status of the answer, 101 when it is open."""
        self.begin_upgrade(target, headers)
        self._puppet.wait(lambda: not (self.opened or self.responses or self.closed), within_us)
        return 101 if self.opened else self.responses[-1].status if self.responses else 0

    def say(self, text: str) -> None:
        """Send a text message on the WebSocket."""
        if self._ws is not None:
            self._ws.send(text)
            self.send(self._ws.data_to_send())

    def hang_up(self, code: int = 1000) -> None:
        """Start the WebSocket's closing handshake."""
        if self._ws is not None:
            self._ws.close(self._puppet.network.now, code)
            self.send(self._ws.data_to_send())

    def stall(self, server: Node, server_conn: ConnId) -> None:
        """Read nothing any more: what the server sends on ``server_conn`` stays with it."""
        self._puppet.network.stall(server, server_conn)

    # --- being told --------------------------------------------------------------------------------------------------

    def told(self, now: int, fact: Fact) -> None:
        """Something happened on the connection."""
        match fact:
            case Connected():
                self.connected = True
            case GotBytes(_, data):
                assert isinstance(data, bytes)
                self.received += data
                self._read(now, data)
            case InputEnded():
                self.ended = True
                self._read(now, b"")
                if self.polite:
                    self.close()
            case Closed() | ConnectFailed():
                self.closed = self.ended = True
                self._read(now, b"")

    def _read(self, now: int, data: bytes) -> None:
        for wire in (self._http, self._ws):
            if wire is None:
                continue
            for event in wire.receive(now, data):
                if isinstance(event, Text):
                    self.texts.append(event.data)
                elif isinstance(event, HttpResponse):
                    self.responses.append(event)
                elif isinstance(event, Opened):
                    self.opened = True
                elif isinstance(event, Done) and wire is self._ws and not self.close_code:
                    self.close_code, self.close_reason = event.code, event.reason
            answer = wire.data_to_send()
            if answer and self.polite:
                self.send(answer)


class Puppet:
    """The board behind the lines. ``host`` is the name the server is asked for, and the Host header."""

    def __init__(self, network: VirtualNetwork, server: Node, *, host: str = "agent.example.com") -> None:
        self.network = network
        self.host = host
        self._server = server
        self._lines: dict[ConnId, Line] = {}
        self._names = 0
        self._node = network.add("puppet", self)

    @property
    def deadline(self) -> int | None:
        return None

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        conn = getattr(fact, "conn", None)
        line = None if conn is None else self._lines.get(conn)
        if line is not None:
            line.told(now, fact)
        return []

    def perform(self, order: Order) -> None:
        """Do something on the network."""
        self.network.perform(self._node, order)

    def dial(self, peer: str = "192.0.2.1") -> Line:
        """Connect to the server, which sees us as ``peer``."""
        conn = self.reserve()
        line = self._lines[conn] = Line(self, conn)
        where = f"seen-as-{peer}"
        self.network.place(where, 1, self._server, peer)
        self.perform(Connect(conn, where, 1))
        self.wait(lambda: not (line.connected or line.closed), 1_000_000)
        return line

    def wait(self, while_: object, within_us: int) -> None:
        """Let time pass while ``while_()``, at most so long."""
        assert callable(while_)
        self.network.run(until_us=self.network.now + within_us, while_=while_)
