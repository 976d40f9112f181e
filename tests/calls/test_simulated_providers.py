"""The simulated providers on a real port, carried by either adapter, talked to with httpx and our own WebSocket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeVar

import httpx
import pytest

from patter_core.edge.sockets import listen
from patter_core.simulator.provider_events import ProviderOver
from patter_core.simulator.providers import SimulatedProviders
from patter_core.wire import ClientConnection, Done, HttpResponse, Opened, Text, WireEvent
from tests.core.test_simulated_providers import ROUTES

T = TypeVar("T")
PATIENCE_S = 20


def talk(loop: ModuleType, client: Callable[[int], T]) -> tuple[T, list[ProviderOver]]:
    """Carry the providers while ``client(port)`` talks to them from a thread; what it found, and how things ended."""
    board = SimulatedProviders(ROUTES)
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    told: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        found = []

        def started(drive: Any) -> None:
            def job() -> T:
                try:
                    return client(port)
                finally:
                    drive.stop_soon()

            found.append(pool.submit(job))

        code = loop.run(lambda: loop.Drive(board, listener=sock, on_event=told.append).run(started))
        assert code == 0
        assert board.open == 0
        return found[0].result(), [event for event in told if isinstance(event, ProviderOver)]


class Link:
    """A WebSocket over a blocking socket."""

    def __init__(self, port: int, target: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._wire = ClientConnection(0, f"127.0.0.1:{port}", target, [("Authorization", "Bearer k")], seed=b"seed")
        self._events: list[WireEvent] = []

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def next(self) -> WireEvent:
        """The next thing that happens."""
        while not self._events:
            self._sock.sendall(self._wire.data_to_send())
            try:
                data = self._sock.recv(65536)
            except ConnectionError:
                data = b""
            self._events += self._wire.receive(0, data)
        return self._events.pop(0)

    def say(self, data: str | bytes) -> None:
        self._wire.send(data)

    def hang_up(self) -> None:
        self._wire.close(0, 1000)


def test_websockets_on_a_real_port(loop: ModuleType) -> None:
    def client(port: int) -> list[WireEvent]:
        seen = []
        with Link(port, "/echo?model=m") as link:
            seen.append(link.next())
            link.say("hello")
            seen.append(link.next())
            link.say(b"\x00")
            seen.append(link.next())
            link.hang_up()
            seen.append(link.next())
        with Link(port, "/clock") as link:
            seen += [link.next() for _ in range(4)]
        with Link(port, "/refused") as link:
            refusal = link.next()
            assert isinstance(refusal, HttpResponse)
            assert (refusal.status, refusal.body) == (401, b'{"error":"key"}')
        with Link(port, "/vanishing") as link:
            assert link.next() == Opened()
            link.say("y")
            assert link.next() == Done(1006, "", False)
        return seen

    seen, ended = talk(loop, client)
    assert seen == [
        Opened(), Text("you said 'hello'"), Text("you said b'\\x00'"), Done(1000, "", True),
        Opened(), Text("50"), Text("again"), Text("70"),
    ]  # fmt: skip
    outcomes = {(over.route, over.how, over.code) for over in ended}
    assert {("/echo", "closed", 1000), ("/refused", "refused", 401), ("/vanishing", "dropped", 0)} <= outcomes


def test_requests_on_a_real_port(loop: ModuleType) -> None:
    def client(port: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S) as web:
            whole = web.post("/whole", content=b"body")
            assert (whole.status_code, whole.content, whole.headers["content-length"]) == (201, b"onetwo", "6")
            with web.stream("POST", "/stream") as answer:
                assert answer.headers["transfer-encoding"] == "chunked"
                assert b"".join(answer.iter_raw()) == b"data: a\n\ndata: b\n\n"
            with pytest.raises(httpx.TransportError), web.stream("POST", "/breaks") as answer:
                answer.read()
            with pytest.raises(httpx.TransportError):
                web.post("/mute")
            with web.stream("POST", "/stream") as answer:
                next(answer.iter_raw())  # and away
            nobody = web.get("/nowhere")
            assert nobody.status_code == 404
            assert "/stream" in nobody.json()["error"]["message"]

    _, ended = talk(loop, client)
    outcomes = [(over.route, over.how) for over in ended]
    assert outcomes[:4] == [
        ("/whole", "answered"),
        ("/stream", "answered"),
        ("/breaks", "dropped"),
        ("/mute", "dropped"),
    ]
    assert outcomes[4:] in ([("/stream", "left")], [("/stream", "stopped")])
