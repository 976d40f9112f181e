"""Scenarios about HTTP requests."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import Generator
from typing import Any

from patter_core.contract import (
    BodyEnded,
    BodyReceived,
    CancelRequest,
    Fact,
    Fault,
    Order,
    Pause,
    Request,
    RequestFailed,
    ResponseStarted,
    Resume,
)

from .peers import read_all, read_until
from .scenario import Scenario, Script

__all__ = ["SCENARIOS"]


def _head(sock: socket.socket) -> bytes:
    return read_until(sock, b"\r\n\r\n")


class Requesting(Scenario):
    """A scenario with a server that answers each connection with one canned answer."""

    def answering(self, answer: bytes) -> str:
        def serve(sock: socket.socket) -> None:
            self.asked.append(_head(sock))
            sock.sendall(answer)

        return f"http://127.0.0.1:{self.peers.server(serve)}/"

    @property
    def asked(self) -> list[bytes]:
        """The heads of requests so far."""
        return self.__dict__.setdefault("_asked", [])  # type: ignore[no-any-return]

    def outcome(self, order: Request) -> Generator[list[Order], Fact, tuple[Fact, bytes]]:
        """Make it; its terminal fact and its body."""
        body, orders = b"", [order]
        while not isinstance(fact := (yield orders), BodyEnded | RequestFailed):
            body += fact.data if isinstance(fact, BodyReceived) else b""
            orders = []
        return fact, body


class RequestStreamsBody(Scenario):
    """Status and headers, then pieces as they come, then the end. What we sent arrived, the secret with it."""

    def options(self) -> dict[str, Any]:
        return {"secrets": {"key": ("Authorization", "Bearer s3cret"), "signer": ("", "k3y")}}

    def script(self) -> Script:
        first, heads = threading.Event(), []

        def serve(sock: socket.socket) -> None:
            heads.append(read_until(sock, b"the body"))
            sock.sendall(
                b"HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            )
            self.peers.wait(first, "the first piece")
            sock.sendall(b"6\r\nsecond\r\n0\r\n\r\n")

        name, url = self.name(), f"http://127.0.0.1:{self.peers.server(serve)}/path?q=%2F"
        order = Request(name, "PATCH", url, (("X-B", "b"),), b"the body", auth="key", sign="signer")
        started = yield from self.until(ResponseStarted, orders=[order])
        values = [value for header, value in started.headers if header.lower() == "x-a"]
        self.expect((started.status, values) == (201, ["1", "2"]), f"told {started}")
        piece = yield from self.until(BodyReceived)
        self.expect(piece.data == b"first", f"first piece {piece.data!r}")
        first.set()
        body = b""
        while isinstance(fact := (yield from self.until(BodyReceived, BodyEnded)), BodyReceived):
            body += fact.data
        self.expect(body == b"second", f"the rest was {body!r}")
        head = heads[0].lower()
        signature = hmac.new(b"k3y", b"the body", hashlib.sha256).hexdigest().encode()
        for wanted in (
            b"patch /path?q=%2f http/1.1\r\n",
            b"x-b: b\r\n",
            b"authorization: bearer s3cret\r\n",
            b"x-patter-signature: " + signature + b"\r\n",
        ):
            self.expect(wanted in head, f"{wanted!r} did not arrive in {head!r}")


class RequestDecidesNothing(Requesting):
    """No redirect is followed, no cookie kept, an error status is an answer, and an unknown secret sends nothing."""

    def script(self) -> Script:
        url = self.answering(
            b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        for _ in range(2):
            started = yield from self.until(ResponseStarted, orders=[Request(self.name(), "GET", url)])
            self.expect(started.status == 302, f"told {started}")
            yield from self.until(BodyEnded)
        self.expect(len(self.asked) == 2, f"{len(self.asked)} requests arrived")
        self.expect(b"cookie" not in self.asked[-1].lower(), "a cookie came back")
        url = self.answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno")
        started = yield from self.until(ResponseStarted, orders=[Request(self.name(), "GET", url)])
        self.expect(started.status == 503, f"told {started}")
        yield from self.until(BodyEnded, ignore=(BodyReceived,))
        fact, _ = yield from self.outcome(Request(self.name(), "GET", url, auth="nobody's"))
        self.expect(isinstance(fact, RequestFailed), f"told {fact} though the secret is unknown")
        self.expect(len(self.asked) == 3, "a request without its secret was sent")


class RequestTooLarge(Requesting):
    """Not a byte more than max_body is told."""

    def script(self) -> Script:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000)
        fact, body = yield from self.outcome(Request(self.name(), "GET", self.answering(answer), max_body=4999))
        self.expect(isinstance(fact, RequestFailed) and fact.fault is Fault.TOO_LARGE, f"told {fact}")
        self.expect(len(body) < 5000, f"{len(body)} bytes told")
        fact, body = yield from self.outcome(Request(self.name(), "GET", self.answering(answer), max_body=5000))
        self.expect(isinstance(fact, BodyEnded) and len(body) == 5000, f"told {fact} after {len(body)} bytes")


class RequestFails(Requesting):
    """Nobody there, nonsense, a broken promise, a bad address: each is a fault."""

    def script(self) -> Script:
        cases = (
            (f"http://127.0.0.1:{self.peers.closed_port()}/", Fault.REFUSED),
            (self.answering(b"220 mail.example ESMTP\r\n"), Fault.BAD_REPLY),
            (self.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), Fault.BAD_REPLY),
            ("gopher://127.0.0.1/", Fault.OTHER),
            ("http://[", Fault.UNREACHABLE),
        )
        for url, fault in cases:
            fact, _ = yield from self.outcome(Request(self.name(), "GET", url))
            told = fact.fault if isinstance(fact, RequestFailed) else fact
            self.expect(told is fault, f"told {told} for {url}")


class RequestOverTls(Scenario):
    """Requests trust what connections trust."""

    def options(self) -> dict[str, Any]:
        return {"tls": self.peers.client_tls()}

    def script(self) -> Script:
        def serve(sock: socket.socket) -> None:
            if _head(sock):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            try:
                read_all(sock)
            except OSError:
                pass

        good = self.peers.server(serve, self.peers.server_tls())
        bad = self.peers.server(serve, self.peers.server_tls(trusted=False))
        yield from self.until(ResponseStarted, orders=[Request(self.name(), "GET", f"https://localhost:{good}/")])
        yield from self.until(BodyEnded, ignore=(BodyReceived,))
        failed = yield from self.until(RequestFailed, orders=[Request(self.name(), "GET", f"https://localhost:{bad}/")])
        self.expect(failed.fault is Fault.TLS, f"told {failed}")


class CancelledRequestIsSilent(Scenario):
    """CancelRequest at once, before the answer, and in the middle of it: not a fact more, and the server sees us go."""

    def script(self) -> Script:
        asked, gone = threading.Semaphore(0), threading.Semaphore(0)

        def serve(sock: socket.socket) -> None:
            if b"/stream" in _head(sock):
                sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            asked.release()
            try:
                read_all(sock)
                for _ in range(100):
                    sock.sendall(b"1\r\nb\r\n")
            except OSError:
                pass
            gone.release()

        url = f"http://127.0.0.1:{self.peers.server(serve)}"
        name = self.name()
        yield from self.rest(5, [Request(name, "GET", url + "/at-once"), CancelRequest(name)])
        name = self.name()
        yield from self.poll(lambda: asked.acquire(blocking=False), [Request(name, "GET", url + "/never")])
        yield from self.poll(lambda: gone.acquire(blocking=False), [CancelRequest(name)])
        name = self.name()
        yield from self.until(BodyReceived, orders=[Request(name, "GET", url + "/stream")], ignore=(ResponseStarted,))
        yield from self.poll(lambda: gone.acquire(blocking=False), [CancelRequest(name)])
        yield from self.rest(20)


class PausedBody(Scenario):
    """A paused answer holds; resumed it is whole."""

    def script(self) -> Script:
        total = 8 << 20

        def serve(sock: socket.socket) -> None:
            _head(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            sock.sendall(bytes(range(256)) * (total // 256))

        name, url = self.name(), f"http://127.0.0.1:{self.peers.server(serve)}/"
        yield from self.until(ResponseStarted, orders=[Request(name, "GET", url, max_body=total)])
        data = bytearray()
        for _ in range(5):
            before = len(self.facts)
            yield from self.rest(20, [Pause(name)], ignore=(BodyReceived,))
            data += b"".join(fact.data for fact in self.facts[before:] if isinstance(fact, BodyReceived))
            data += (yield from self.until(BodyReceived, orders=[Resume(name)])).data
        while isinstance(fact := (yield from self.until(BodyReceived, BodyEnded)), BodyReceived):
            data += fact.data
        self.expect(data == bytes(range(256)) * (total // 256), f"{len(data)} bytes of {total}, or out of order")


SCENARIOS: tuple[type[Scenario], ...] = (
    RequestStreamsBody,
    RequestDecidesNothing,
    RequestTooLarge,
    RequestFails,
    RequestOverTls,
    CancelledRequestIsSilent,
    PausedBody,
)
