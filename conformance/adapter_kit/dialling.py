"""Scenarios about connections and processes that we start."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

from patter_core.contract import (
    Abort,
    Accepted,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    Fault,
    Finish,
    InputEnded,
    Received,
    Send,
    Sent,
    Spawn,
)

from .connections import Listening
from .peers import read_all
from .scenario import Scenario, Script

__all__ = ["SCENARIOS"]


class DialAndTalk(Scenario):
    """A dialled connection carries bytes both ways and ends like any other."""

    def script(self) -> Script:
        def serve(sock: socket.socket) -> None:
            sock.sendall(b"welcome")  # the server speaks first: Connected must still come before Received
            if read_all(sock) != b"thanks":
                raise ValueError("not what was sent")

        conn, port = self.name(), self.peers.server(serve)
        yield from self.until(Connected, orders=[Connect(conn, "localhost", port)])
        heard = yield from self.until(Received)
        self.expect(heard.data == b"welcome", f"received {heard.data!r}")
        yield from self.until(Closed, orders=[Send(conn, b"thanks"), Close(conn)])


class SendWithSecret(Scenario):
    """``Send(auth=)``: the secret's header goes after the first line and is not counted; a secret nobody has sends
    nothing and ends the connection."""

    def options(self) -> dict[str, Any]:
        return {"secrets": {"key": ("X-Key", "s3cret")}}

    def script(self) -> Script:
        heard: list[bytes] = []

        def serve(sock: socket.socket) -> None:
            heard.append(read_all(sock))

        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        conn, port = self.name(), self.peers.server(serve)
        yield from self.until(Connected, orders=[Connect(conn, "127.0.0.1", port)])
        sent = yield from self.until(Sent, orders=[Send(conn, head, ack=True, auth="key")])
        self.expect(sent.total == len(head), f"{sent.total} counted, not {len(head)}")
        yield from self.until(Closed, orders=[Close(conn)])
        yield from self.poll(lambda: bool(heard))
        self.expect(heard[0] == b"GET / HTTP/1.1\r\nX-Key: s3cret\r\nHost: a\r\n\r\n", f"arrived: {heard[0]!r}")
        other = self.name()
        yield from self.until(Connected, orders=[Connect(other, "127.0.0.1", port)])
        yield from self.until(Closed, orders=[Send(other, head, auth="nobody's")])
        yield from self.poll(lambda: len(heard) == 2)
        self.expect(heard[1] == b"", f"sent without its secret: {heard[1]!r}")


class DialRefused(Scenario):
    """Nobody listens: ConnectFailed, by whichever way we got the address."""

    def script(self) -> Script:
        port = self.peers.closed_port()
        for order in (
            Connect(self.name(), "127.0.0.1", port),
            Connect(self.name(), "localhost", port),
            Connect(self.name(), "127.0.0.1", port, tls=True),
            Connect(self.name(), "name.invalid", port, addresses=("127.0.0.1",)),
        ):
            failed = yield from self.until(ConnectFailed, orders=[order])
            self.expect(failed == ConnectFailed(order.conn, Fault.REFUSED), f"told {failed} for {order}")
            yield from self.rest(5)
        nonsense = Connect(self.name(), "a..b", port)
        failed = yield from self.until(ConnectFailed, orders=[nonsense])
        self.expect(failed == ConnectFailed(nonsense.conn, Fault.UNREACHABLE), f"told {failed} for {nonsense}")


class OnlyTheseAddresses(Scenario):
    """Given addresses are used in order, and the name is not looked up; TLS still checks the name."""

    def options(self) -> dict[str, Any]:
        return {"tls": self.peers.client_tls()}

    def script(self) -> Script:
        names: list[object] = []

        def serve(sock: socket.socket) -> None:
            sock.sendall(b"x")
            read_all(sock)

        context = self.peers.server_tls("name.invalid")
        context.sni_callback = lambda _, name, __: names.append(name)
        port = self.peers.server(serve, context)
        order = Connect(self.name(), "name.invalid", port, tls=True, addresses=("127.0.0.2", "127.0.0.1"))
        yield from self.until(Connected, orders=[order])
        yield from self.until(Received)
        yield from self.until(Closed, orders=[Close(order.conn)])
        self.expect(names == ["name.invalid"], f"server name {names}")


class ConnectAndAbort(Scenario):
    """Abort in the same breath as Connect: one ConnectFailed all the same."""

    def script(self) -> Script:
        def serve(sock: socket.socket) -> None:
            try:
                read_all(sock)
            except ConnectionError:
                pass

        port = self.peers.server(serve)
        for host, tls in (("127.0.0.1", False), ("localhost", False), ("127.0.0.1", True)):
            conn = self.name()
            failed = yield from self.until(ConnectFailed, orders=[Connect(conn, host, port, tls), Abort(conn)])
            self.expect(failed == ConnectFailed(conn, Fault.CANCELLED), f"told {failed}")
        yield from self.rest(20)


class GiveUpDialling(Scenario):
    """Abort while the network or the TLS handshake does not answer."""

    def script(self) -> Script:
        hello, gone = threading.Event(), threading.Event()

        def serve(sock: socket.socket) -> None:
            if sock.recv(1):
                hello.set()
            try:
                read_all(sock)
            except ConnectionError:
                pass
            gone.set()

        conn = self.name()
        yield from self.rest(20, [Connect(conn, "127.0.0.1", self.peers.black_hole())])
        failed = yield from self.until(ConnectFailed, orders=[Abort(conn)])
        self.expect(failed == ConnectFailed(conn, Fault.CANCELLED), f"told {failed}")
        conn = self.name()
        yield from self.poll(hello.is_set, [Connect(conn, "127.0.0.1", self.peers.server(serve), tls=True)])
        failed = yield from self.until(ConnectFailed, orders=[Abort(conn)])
        self.expect(failed == ConnectFailed(conn, Fault.CANCELLED), f"told {failed}")
        yield from self.poll(gone.is_set)


class ConnectTlsBad(Scenario):
    """A certificate nobody vouches for, one for another name, and no TLS at all: ConnectFailed(TLS)."""

    def options(self) -> dict[str, Any]:
        return {"tls": self.peers.client_tls()}

    def script(self) -> Script:
        def plain(sock: socket.socket) -> None:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            try:
                read_all(sock)
            except ConnectionError:
                pass

        def sealed(sock: socket.socket) -> None:
            try:
                sock.recv(1)
            except OSError:
                pass  # the client's alert

        for port in (
            self.peers.server(sealed, self.peers.server_tls(trusted=False)),
            self.peers.server(sealed, self.peers.server_tls("example.org")),
            self.peers.server(plain),
        ):
            conn = self.name()
            failed = yield from self.until(ConnectFailed, orders=[Connect(conn, "127.0.0.1", port, tls=True)])
            self.expect(failed == ConnectFailed(conn, Fault.TLS), f"told {failed}")


class TlsEcho(Listening):
    """TLS on both sides: bytes, acknowledgements, the end. Our own listener is the peer."""

    def options(self) -> dict[str, Any]:
        return {**super().options(), "tls": self.peers.client_tls(), "server_tls": self.peers.server_tls()}

    def script(self) -> Script:
        ours, theirs, question, answer = self.name(), -1, b"q" * 300_000, b"a" * 3_000_000
        facts = {Accepted: 0, Connected: 0}
        orders: list[Any] = [Connect(ours, "localhost", self.port, tls=True)]
        while not all(facts.values()):
            fact = yield from self.until(Accepted, Connected, orders=orders)
            facts[type(fact)], orders = 1, []
            if isinstance(fact, Accepted):
                theirs = fact.conn
        yield from self._transfer(ours, theirs, question)
        yield from self._transfer(theirs, ours, answer)
        words, ended, closed = b"", False, False
        orders = [Send(theirs, b"bye"), Close(theirs)]
        while not (ended and closed):
            fact = yield from self.until(Received, InputEnded, Closed, orders=orders)
            orders = []
            words += fact.data if isinstance(fact, Received) else b""
            ended = ended or fact == InputEnded(ours)
            closed = closed or fact == Closed(theirs)
        self.expect(words == b"bye", f"the last words were {words!r}")
        yield from self.until(Closed, conn=ours, orders=[Close(ours)])

    def _transfer(self, source: int, target: int, data: bytes) -> Script:
        got, acked = b"", False
        orders: list[Any] = [Send(source, data, ack=True)]
        while len(got) < len(data) or not acked:
            fact = yield from self.until(Received, Sent, orders=orders)
            orders = []
            if isinstance(fact, Sent):
                self.expect(fact == Sent(source, len(data)), f"told {fact}")
                acked = True
            else:
                self.expect(fact.conn == target, f"{fact.conn} received what was for {target}")
                got += fact.data
        self.expect(got == data, "bytes changed on the way")


class TlsFlushThenClose(Listening):
    """On TLS too, what is sent and closed in the step of Accepted arrives, though the handshake is not over."""

    def options(self) -> dict[str, Any]:
        return {**super().options(), "server_tls": self.peers.server_tls()}

    def script(self) -> Script:
        got: list[bytes] = []

        def talk(sock: socket.socket) -> None:
            with self.peers.client_tls().wrap_socket(sock, server_hostname="localhost") as sealed:
                got.append(read_all(sealed))

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        yield from self.until(Closed, orders=[Send(conn, b"busy" * 50_000), Close(conn)])
        yield from self.poll(lambda: bool(got))
        self.expect(got == [b"busy" * 50_000], "bytes lost")


class TlsEnds(Scenario):
    """A peer that leaves without close_notify has ended its input, no more; Finish, which TLS lacks, is Close."""

    def options(self) -> dict[str, Any]:
        return {"tls": self.peers.client_tls()}

    def script(self) -> Script:
        def ragged(sock: socket.socket) -> None:
            sock.sendall(b"x")  # closing does not say goodbye, only unwrap would

        def polite(sock: socket.socket) -> None:
            got.append(read_all(sock))

        got: list[bytes] = []
        conn, port = self.name(), self.peers.server(ragged, self.peers.server_tls())
        yield from self.until(Connected, orders=[Connect(conn, "localhost", port, tls=True)])
        yield from self.until(InputEnded, ignore=(Received,))
        yield from self.until(Closed, orders=[Close(conn)])
        conn, port = self.name(), self.peers.server(polite, self.peers.server_tls())
        yield from self.until(Connected, orders=[Connect(conn, "localhost", port, tls=True)])
        yield from self.until(Closed, orders=[Send(conn, b"last words"), Finish(conn)], ignore=(InputEnded,))
        yield from self.poll(lambda: bool(got))
        self.expect(got == [b"last words"], f"the peer got {got}")


PYTHON = (sys.executable, "-I", "-S", "-c")


class SpawnOutputAndStatus(Scenario):
    """A process is a connection: output of both kinds, input, and the exit code as Closed.status."""

    def script(self) -> Script:
        conn = self.name()
        code = "import sys; print(sys.stdin.read(), flush=True); print('err', file=sys.stderr); sys.exit(3)"
        yield from self.until(Connected, orders=[Spawn(conn, (*PYTHON, code))])
        output, orders = b"", [Send(conn, b"some words"), Finish(conn)]
        while isinstance(fact := (yield from self.until(Received, Closed, orders=orders)), Received):
            output += fact.data
            orders = []
        self.expect(fact == Closed(conn, 3), f"told {fact}")
        self.expect(output.split() == [b"some", b"words", b"err"], f"output {output!r}")


class SpawnEnds(Scenario):
    """A program that is not there; Close ends a process, Abort kills even one that will not listen."""

    def script(self) -> Script:
        conn = self.name()
        failed = yield from self.until(ConnectFailed, orders=[Spawn(conn, ("no-such-program-anywhere",))])
        self.expect(failed == ConnectFailed(conn, Fault.UNREACHABLE), f"told {failed}")
        deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
        meek = "import signal; print('up', flush=True); signal.pause()"
        for code, order, status in ((meek, Close, -15), (deaf, Abort, -9)):
            conn = self.name()
            yield from self.until(Connected, orders=[Spawn(conn, (*PYTHON, code))])
            yield from self.until(Received)
            closed = yield from self.until(Closed, orders=[order(conn)])
            self.expect(closed == Closed(conn, status), f"told {closed}, wanted status {status}")
        conn = self.name()
        over = yield from self.until(
            Closed, ConnectFailed, orders=[Spawn(conn, (*PYTHON, meek)), Abort(conn)], ignore=(Connected,)
        )
        self.expect(over == ConnectFailed(conn, Fault.CANCELLED), f"told {over} for a start given up at once")


SCENARIOS: tuple[type[Scenario], ...] = (
    DialAndTalk,
    SendWithSecret,
    DialRefused,
    OnlyTheseAddresses,
    ConnectAndAbort,
    GiveUpDialling,
    ConnectTlsBad,
    TlsEcho,
    TlsFlushThenClose,
    TlsEnds,
    SpawnOutputAndStatus,
    SpawnEnds,
)
