"""Scenarios about connections that peers make to us."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from typing import Any

from patter_core.contract import (
    Abort,
    Accepted,
    Close,
    Closed,
    Finish,
    InputEnded,
    Notify,
    Pause,
    Received,
    Resume,
    Send,
    Sent,
    StopListening,
    Ticked,
)

from .peers import read_all, read_until, reset
from .scenario import Scenario, Script

__all__ = ["SCENARIOS"]

PIECE = 1 << 16
#: More than loopback's kernel buffers together can hold, with a small receive buffer on the peer's side: a smaller
#: amount would hide bytes lost in the adapter.
MUCH = 24 << 20
SMALL_BUFFER = 1 << 16


class Listening(Scenario):
    """A scenario with a listener."""

    def options(self) -> dict[str, Any]:
        listener = self.peers.listener()
        self.port = listener.getsockname()[1]
        return {"listener": listener}


class Echo(Listening):
    """A peer is reported with its address, what it sends comes in, what we send goes out, its end and ours are told."""

    def script(self) -> Script:
        def talk(sock: socket.socket) -> None:
            sock.sendall(b"hello")
            if read_until(sock, b"hello back") != b"hello back":
                raise ValueError("no echo")
            self.peers.wait(told, "Sent")

        told = threading.Event()
        self.peers.client(self.port, talk)
        accepted = yield from self.until(Accepted)
        self.expect(accepted.peer == "127.0.0.1", f"peer is {accepted.peer!r}")
        data = b""
        while len(data) < 5:
            data += (yield from self.until(Received)).data
        self.expect(data == b"hello", f"received {data!r}")
        sent = yield from self.until(Sent, orders=[Send(accepted.conn, b"hello back", ack=True)])
        self.expect(sent == Sent(accepted.conn, 10), f"told {sent}")
        told.set()
        yield from self.until(InputEnded)
        closed = yield from self.until(Closed, orders=[Close(accepted.conn)])
        self.expect(closed == Closed(accepted.conn), f"told {closed}")
        yield from self.rest(5)


class FlushThenClose(Listening):
    """Close waits for every byte sent before it, though the peer takes its time; the last Send's Sent comes first."""

    def script(self) -> Script:
        ordered, got = threading.Event(), []

        def talk(sock: socket.socket) -> None:
            self.peers.wait(ordered, "Close")
            got.append(len(read_all(sock)))

        self.peers.client(self.port, talk, SMALL_BUFFER)
        conn = (yield from self.until(Accepted)).conn
        sends = [Send(conn, bytes(PIECE)) for _ in range(MUCH // PIECE)]
        ordered.set()
        yield from self.until(
            Closed, orders=[*sends[:-1], Send(conn, bytes(PIECE), ack=True), Close(conn)], ignore=(Sent,)
        )
        self.expect(any(isinstance(fact, Sent) for fact in self.facts), "closed without Sent")
        yield from self.poll(lambda: bool(got))
        self.expect(got == [MUCH], f"the peer got {got} of {MUCH} bytes")


class AbortIsNow(Listening):
    """Abort does not flush, and nothing but Closed is told after it, though the peer goes on sending."""

    def script(self) -> Script:
        closed, got = threading.Event(), []

        def talk(sock: socket.socket) -> None:
            def flood() -> None:
                try:
                    while not closed.is_set():
                        sock.sendall(bytes(PIECE))
                except OSError:
                    pass  # reset: as it should be

            self.peers.run(flood)
            self.peers.wait(closed, "Closed")
            try:
                while piece := sock.recv(PIECE):
                    got.append(len(piece))
            except ConnectionError:
                pass

        self.peers.client(self.port, talk, SMALL_BUFFER)
        conn = (yield from self.until(Accepted)).conn
        yield from self.until(Received)
        sends = [Send(conn, bytes(PIECE)) for _ in range(MUCH // PIECE)]
        yield from self.rest(20, sends, ignore=(Received,))
        yield from self.until(Closed, orders=[Abort(conn)])
        closed.set()
        yield from self.rest(20)
        self.expect(sum(got) < MUCH, "everything was flushed")


class AcksAreTrue(Listening):
    """No Sent before the bytes left: the last one waits until the peer reads. Each comes once, in order."""

    def script(self) -> Script:
        reading, count = threading.Event(), MUCH // (1 << 20)

        def talk(sock: socket.socket) -> None:
            self.peers.wait(reading, "the go-ahead")
            read_all(sock)

        self.peers.client(self.port, talk, SMALL_BUFFER)
        conn = (yield from self.until(Accepted)).conn
        yield from self.rest(100, [Send(conn, bytes(1 << 20), ack=True) for _ in range(count)], ignore=(Sent,))
        early = sum(isinstance(fact, Sent) for fact in self.facts)
        self.expect(early < count, f"{early} acknowledgements before the peer read")
        reading.set()
        for _ in range(count - early):
            yield from self.until(Sent)
        totals = [fact.total for fact in self.facts if isinstance(fact, Sent)]
        self.expect(totals == sorted(totals) and totals[-1] == MUCH, f"totals {totals}")
        yield from self.until(Closed, orders=[Close(conn)], ignore=(InputEnded,))


class ManySmallSends(Listening):
    """Thousands of small sends arrive in order."""

    def script(self) -> Script:
        expected, got = b"".join(b"%06d" % n for n in range(6000)), []

        def talk(sock: socket.socket) -> None:
            got.append(read_all(sock))

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        for batch in range(20):
            numbers = range(batch * 300, batch * 300 + 300)
            sends = [Send(conn, b"%06d" % n, ack=n % 300 == 299) for n in numbers]
            yield from self.until(Sent, orders=sends)
        yield from self.until(Closed, orders=[Close(conn)])
        yield from self.poll(lambda: bool(got))
        self.expect(got[0] == expected, "bytes lost or out of order")


class PauseHolds(Listening):
    """After Pause at most one more read is told; after Resume nothing is missing."""

    def script(self) -> Script:
        total = 8 << 20

        def talk(sock: socket.socket) -> None:
            sock.sendall(bytes(range(256)) * (total // 256))
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        data = bytearray((yield from self.until(Received)).data)
        for _ in range(5):
            before = len(self.facts)
            yield from self.rest(20, [Pause(conn)], ignore=(Received,))
            data += b"".join(fact.data for fact in self.facts[before:] if isinstance(fact, Received))
            data += (yield from self.until(Received, orders=[Resume(conn)])).data
        while not isinstance(fact := (yield from self.until(Received, InputEnded)), InputEnded):
            data += fact.data
        self.expect(data == bytes(range(256)) * (total // 256), f"{len(data)} bytes of {total}, or out of order")
        yield from self.until(Closed, orders=[Close(conn)])


class HalfClosePeer(Listening):
    """The peer says it will send no more and still gets its answer."""

    def script(self) -> Script:
        got: list[bytes] = []

        def talk(sock: socket.socket) -> None:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            got.append(read_all(sock))

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        yield from self.until(InputEnded, ignore=(Received,))
        yield from self.rest(20)
        yield from self.until(Closed, orders=[Send(conn, b"answer"), Close(conn)])
        yield from self.poll(lambda: bool(got))
        self.expect(got == [b"answer"], f"the peer got {got}")


class HalfCloseOurs(Listening):
    """After Finish the peer sees our end and can still talk; when it ends too, the connection is over."""

    def script(self) -> Script:
        def talk(sock: socket.socket) -> None:
            if read_all(sock) != b"last words":
                raise ValueError("not what was sent")
            sock.sendall(b"reply")

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        heard = yield from self.until(Received, orders=[Send(conn, b"last words"), Finish(conn)])
        self.expect(heard.data == b"reply", f"received {heard.data!r}")
        yield from self.until(InputEnded)
        yield from self.until(Closed)


class SendBeforeHello(Listening):
    """What is sent and closed in the very step of Accepted still arrives."""

    def script(self) -> Script:
        got: list[bytes] = []

        def talk(sock: socket.socket) -> None:
            got.append(read_all(sock))

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        yield from self.until(Closed, orders=[Send(conn, b"busy"), Close(conn)])
        yield from self.poll(lambda: bool(got))
        self.expect(got == [b"busy"], f"the peer got {got}")


class ResetBeforeAccept(Listening):
    """Two hundred peers that are gone before anybody looks harm nobody."""

    def script(self) -> Script:
        def rude(sock: socket.socket) -> None:
            for _ in range(200):
                other = socket.create_connection(("127.0.0.1", self.port))
                reset(other)
            sock.sendall(b"still there?")
            if read_until(sock, b"yes") != b"yes":
                raise ValueError("the server is gone")

        self.peers.client(self.port, rude)
        open_names: set[int] = set()
        said: dict[int, bytes] = {}
        orders: list[Any] = []
        while not any(words == b"still there?" for words in said.values()):
            fact = yield orders
            orders = []
            if isinstance(fact, Accepted):
                open_names.add(fact.conn)
            elif isinstance(fact, Received):
                said[fact.conn] = said.get(fact.conn, b"") + bytes(fact.data)
            elif isinstance(fact, InputEnded):
                orders = [Close(fact.conn)]
            elif isinstance(fact, Closed):
                open_names.discard(fact.conn)
        asker = next(conn for conn, words in said.items() if words)
        orders = [Send(asker, b"yes")]
        while open_names:
            fact = yield orders
            orders = [Close(fact.conn)] if isinstance(fact, InputEnded) else []
            if isinstance(fact, Closed):
                open_names.discard(fact.conn)
            elif isinstance(fact, Accepted):
                open_names.add(fact.conn)


class StopListeningRefuses(Listening):
    """After StopListening new peers are refused and old ones served."""

    def script(self) -> Script:
        stopped = threading.Event()

        def talk(sock: socket.socket) -> None:
            self.peers.wait(stopped, "StopListening")
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except ConnectionRefusedError:
                sock.sendall(b"refused")
            else:
                sock.sendall(b"accepted")

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        yield from self.rest(1, [StopListening()])
        stopped.set()
        heard = yield from self.until(Received)
        self.expect(heard.data == b"refused", f"a new peer was {heard.data!r}")
        yield from self.until(InputEnded)
        yield from self.until(Closed, orders=[Close(conn)])


class NoReentrancy(Listening):
    """A fact found while orders are being started waits until all of them were."""

    def options(self) -> dict[str, Any]:
        return {**super().options(), "on_event": self._on_event}

    def _on_event(self, event: object) -> None:
        if self.drive is not None and event == "feed":
            self.drive.feed(Ticked())

    def script(self) -> Script:
        got: list[bytes] = []

        def talk(sock: socket.socket) -> None:
            got.append(read_all(sock))

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        self.alarm = 0  # the tick is ours
        yield from self.until(Ticked, orders=[Send(conn, b"1"), Notify("feed"), Send(conn, b"2", ack=True)])
        yield from self.until(Sent)
        yield from self.until(Closed, orders=[Send(conn, b"3"), Close(conn)])
        yield from self.poll(lambda: bool(got))
        self.expect(got == [b"123"], f"the peer got {got}")


class OutOfDescriptors(Listening):
    """While there are no file descriptors left, accepting rests; then whoever has waited is let in."""

    def script(self) -> Script:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_connection(("127.0.0.1", self.port)) as sock:  # the kernel does that without us
            free = os.dup(sock.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                before = time.thread_time()
                yield from self.rest(250)
                busy = time.thread_time() - before
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            self.expect(busy < 0.1, f"busy for {busy:.3f} of 0.25 s")
            conn = (yield from self.until(Accepted)).conn
            yield from self.until(Closed, orders=[Close(conn)])


SCENARIOS: tuple[type[Scenario], ...] = (
    Echo,
    FlushThenClose,
    AbortIsNow,
    AcksAreTrue,
    ManySmallSends,
    PauseHolds,
    HalfClosePeer,
    HalfCloseOurs,
    SendBeforeHello,
    ResetBeforeAccept,
    StopListeningRefuses,
    NoReentrancy,
    OutOfDescriptors,
)
