"""Scenarios about time, the application, and the way out."""

from __future__ import annotations

import itertools
import socket
import threading
from typing import Any

from patter_core.contract import (
    Accepted,
    Answer,
    Asked,
    BodyReceived,
    Connect,
    Fact,
    Invoke,
    Lane,
    Notify,
    Order,
    Refuse,
    Request,
    ResponseStarted,
    Returned,
    Send,
    StopRequested,
    Ticked,
    Yielded,
)
from patter_core.errors import RefusedError

from .connections import MUCH, SMALL_BUFFER, Listening
from .handlers import Invoking
from .peers import read_all, read_until
from .scenario import MS, Scenario, Script

__all__ = ["SCENARIOS"]


class Clockwork(Invoking):
    """Twenty ticks, none early; a deadline moved to an earlier time and one moved to a later one."""

    def on_nothing(self) -> None:
        pass

    def script(self) -> Script:
        for n in range(20):
            due = self.alarm = self.now + n * 500
            yield from self.until(Ticked)
            self.expect(self.now >= due, f"tick at {self.now}, due at {due}")
        self.alarm = self.now + 5_000 * MS
        yield from self.until(Returned, orders=[Invoke(self.name(), Lane.LOOP, "nothing")])
        self.alarm = self.now + 10 * MS
        yield from self.until(Ticked)
        self.alarm = self.now + 20 * MS
        yield from self.until(Returned, orders=[Invoke(self.name(), Lane.LOOP, "nothing")])
        due = self.alarm = self.now + 60 * MS
        yield from self.until(Ticked)
        self.expect(self.now >= due, f"tick at {self.now}, the deadline had moved to {due}")


class AskAnswered(Scenario):
    """Each question gets its own answer or refusal; the one left open at Exit is refused, as is one after it."""

    asks = (("double", {"n": 21}), ("forbidden", {}), ("never", {}))

    def script(self) -> Script:
        orders: list[Order] = []
        for _ in self.asks:
            asked = yield from self.until(Asked, orders=orders)
            if asked.verb == "double":
                orders = [Answer(asked.ask, asked.args["n"] * 2)]
            elif asked.verb == "forbidden":
                orders = [Refuse(asked.ask, "not_allowed", "ask somebody else")]
            else:
                orders = []
        yield from self.rest(5, orders)

    def check(self) -> None:
        said = [(each.code, each.detail) if isinstance(each, RefusedError) else each for each in self.replies]
        wanted = [42, ("not_allowed", "ask somebody else"), ("stopped", "")]
        self.expect(sorted(map(str, said)) == sorted(map(str, wanted)), f"answers {said}")


class StopFromAnywhere(Scenario):
    """A stop from another thread is a fact."""

    exit_code = 7

    def script(self) -> Script:
        yield from self.rest(1)
        if self.drive is not None:
            self.peers.run(self.drive.stop_soon)
        yield from self.until(StopRequested)


class ExitIsLast(Listening, Invoking):
    """After Exit not a fact; connections, requests and handlers are let go, and asynchronous cleanup is awaited."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cleaned = False
        self.ended = threading.Event()

    def options(self) -> dict[str, Any]:
        return {**Listening.options(self), **Invoking.options(self)}

    async def on_wait(self) -> None:
        try:
            await self.tools.forever()
        finally:
            self.cleaned = True

    def script(self) -> Script:
        def talk(sock: socket.socket) -> None:
            sock.sendall(b"x")
            try:
                read_all(sock)
            except ConnectionError:
                pass
            self.ended.set()

        self.peers.client(self.port, talk)
        conn = (yield from self.until(Accepted)).conn
        yield [Invoke(self.name(), Lane.LOOP, "wait"), Send(conn, bytes(MUCH))]
        return [Connect(self.name(), "127.0.0.1", self.peers.black_hole())]

    def check(self) -> None:
        self.expect(self.cleaned, "the handler's cleanup did not run")
        self.expect(self.ended.wait(2), "the connection was left open")


class DeafHandler(Invoking):
    """A handler that ignores its cancellation is named after ``leave_s``; one that blocks a thread holds up nobody."""

    may_detach = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.named: list[str] = []
        self.release = threading.Event()

    def options(self) -> dict[str, Any]:
        return {**super().options(), "leave_s": 0.05, "on_stuck": self.named.extend}

    async def on_deaf(self) -> None:
        patience = itertools.count()  # an adapter that names nobody must not hang the kit
        await self.tools.deaf(lambda: bool(self.named) or next(patience) > 300)

    def on_block(self) -> None:
        self.release.wait(10)

    def script(self) -> Script:
        yield from self.rest(20, [Invoke(self.name(), Lane.LOOP, "deaf"), Invoke(self.name(), Lane.THREAD, "block")])

    def check(self) -> None:
        self.expect(self.named == ["deaf"], f"named {self.named}")
        self.expect(not self.release.is_set(), "waited for the thread")
        self.release.set()


class EventsAreHeard(Scenario):
    """Every Notify is heard, in order, although the listener raises."""

    def options(self) -> dict[str, Any]:
        self.heard: list[Any] = []
        return {"on_event": self._on_event}

    def _on_event(self, event: Any) -> None:
        self.heard.append(event)
        raise ValueError("a bad listener")

    def script(self) -> Script:
        yield from self.rest(1, [Notify(n) for n in range(3)])

    def check(self) -> None:
        self.expect(self.heard == [0, 1, 2], f"heard {self.heard}")


class BoardBug(Scenario):
    """A board that raises ends the drive, and whoever runs it learns why."""

    crashes = True
    exit_code = None

    def script(self) -> Script:
        yield from self.rest(1)
        raise ZeroDivisionError("a bug")

    def check(self) -> None:
        self.expect(isinstance(self.crash, ZeroDivisionError), f"run raised {self.crash!r}")


class OuterCancellation(Listening, Invoking):
    """Cancelled from outside in the middle of everything: not a fact more, nothing left open, running or unsaid."""

    exit_code = None
    asks = (("never", {}),)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cancelled = False
        self.told_after: list[Fact] = []
        self.ended, self.released = threading.Semaphore(0), threading.Event()

    def options(self) -> dict[str, Any]:
        return {**Listening.options(self), **Invoking.options(self)}

    async def on_wait(self) -> None:
        await self.tools.forever()

    def on_block(self) -> None:
        self.released.wait(10)

    def on_items(self) -> Any:
        yield 1
        self.released.wait(10)
        yield 2

    def script(self) -> Script:
        def until_end(sock: socket.socket) -> None:
            try:
                read_all(sock)
            except ConnectionError:
                pass
            self.ended.release()

        def serve(sock: socket.socket) -> None:
            read_until(sock, b"\r\n\r\n")
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            until_end(sock)

        def late_reader(sock: socket.socket) -> None:
            self.peers.wait(self.released, "the end")
            until_end(sock)

        self.peers.client(self.port, late_reader, SMALL_BUFFER)
        conn = (yield from self.until(Accepted, ignore=(Asked,))).conn
        url = f"http://127.0.0.1:{self.peers.server(serve)}/"
        everything: list[Order] = [
            Send(conn, bytes(MUCH), ack=True),
            Connect(self.name(), "127.0.0.1", self.peers.black_hole()),
            Connect(self.name(), "127.0.0.1", self.peers.server(until_end), tls=True),
            Request(self.name(), "GET", url),
            Invoke(self.name(), Lane.LOOP, "wait"),
            Invoke(self.name(), Lane.THREAD, "block"),
            Invoke(self.name(), Lane.THREAD, "items"),
        ]
        wanted = {ResponseStarted, BodyReceived, Yielded, Asked}
        wanted -= {type(fact) for fact in self.facts}
        orders = everything
        while wanted:
            wanted.discard(type((yield orders)))
            orders = []
        yield from self.rest(10)
        self.cancel_from_outside()
        self.cancelled = True
        while True:
            self.told_after.append((yield []))

    def check(self) -> None:
        self.released.set()
        self.expect(self.cancelled, "never got to the cancellation")
        self.expect(not self.told_after, f"told {self.told_after} after it was cancelled")
        codes = [getattr(reply, "code", reply) for reply in self.replies]
        self.expect(codes == ["stopped"], f"the open question came to {codes}")
        for what in ("the accepted connection", "the TLS handshake", "the request"):
            self.expect(self.ended.acquire(timeout=5), f"not let go of: {what}, or another")


SCENARIOS: tuple[type[Scenario], ...] = (
    Clockwork,
    AskAnswered,
    StopFromAnywhere,
    ExitIsLast,
    DeafHandler,
    EventsAreHeard,
    BoardBug,
    OuterCancellation,
)
