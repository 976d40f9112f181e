"""A server and simulated carriers on one loop, over loopback sockets."""

from __future__ import annotations

import importlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from patter_core import Telnyx, Twilio
from patter_core.edge.sockets import listen
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone

ACCOUNT, TOKEN, HOST = "AC" + "0" * 31 + "1", "secret-token", "test.example.com"
CARRIERS = ("twilio", "telnyx")


@pytest.fixture(params=["patter_asyncio", "patter_trio"])
def loop(request) -> ModuleType:
    """The adapter under test."""
    return importlib.import_module(request.param)


class Line:
    """What a test needs of one run: the server's events, the carriers', and the calls' ends."""

    def __init__(self, loop: ModuleType, carriers: Sequence[str] = ("twilio",), **options: Any) -> None:
        self.loop = loop
        self.names = tuple(carriers)
        self.server_socket = listen("127.0.0.1", 0)
        self.rest_sockets = {name: listen("127.0.0.1", 0) for name in carriers}
        self.rest_socket = self.rest_sockets[self.names[0]]
        self.port = self.server_socket.getsockname()[1]
        options.setdefault("webhook_url", HOST)
        self.phone = loop.Patter(carrier=[self._option(name) for name in carriers], environ={}, **options)
        self.events: list[Any] = []
        self.carrier_events: list[Any] = []
        self.code: int | None = None
        self.carrier: SimulatedCarrier | None = None
        self.carriers: dict[str, SimulatedCarrier] = {}
        self.on_event: Callable[[Any], None] | None = None
        self._changed: list[Any] = []
        self.native = importlib.import_module(loop.__name__.removeprefix("patter_"))

    def _option(self, name: str) -> Twilio | Telnyx:
        rest = f"http://127.0.0.1:{self.rest_sockets[name].getsockname()[1]}"
        if name == "twilio":
            return Twilio(ACCOUNT, TOKEN, base_url=rest)
        plain = SimulatorConfig(webhook_url="")
        return Telnyx("KEY", plain.connection_id, plain.public_key, base_url=rest)

    def hear(self, event: Any) -> None:
        self._note(self.events, event)
        if self.on_event is not None:
            self.on_event(event)

    def hear_carrier(self, event: Any) -> None:
        self._note(self.carrier_events, event)

    def _note(self, events: list[Any], event: Any) -> None:
        events.append(event)
        changed, self._changed = self._changed, []
        for one in changed:
            one.set()

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def seen(self, kind: type) -> list[Any]:
        """What the carriers told."""
        return [event for event in self.carrier_events if isinstance(event, kind)]

    async def until(self, kind: type, count: int = 1) -> None:
        """Wait for so many of the server's events of a kind."""
        await self.met(lambda: len(self.told(kind)) >= count)

    async def met(self, condition: Callable[[], object]) -> None:
        """Wait until something holds; it is looked at whenever an event is told."""
        while not condition():
            changed = self.native.Event()
            self._changed.append(changed)
            await changed.wait()

    @property
    def done(self) -> list[SimCallDone]:
        return self.seen(SimCallDone)

    def config(self, carrier: str = "", **options: Any) -> SimulatorConfig:
        carrier = carrier or self.names[0]
        config = {
            "webhook_url": f"https://{HOST}/webhooks/{carrier}/voice",
            "connect_to": ("127.0.0.1", self.port),
            "carrier": carrier,
            "account_sid": ACCOUNT,
            "auth_token": TOKEN,
            "epoch": int(time.time() * 1e6),
        }
        return SimulatorConfig(**{**config, **options})

    def run(
        self,
        agent: Any,
        plans: list[CallPlan],
        meanwhile: Callable[[], Any] | None = None,
        disconnect: bool = True,
        simulator: dict[str, Any] | None = None,
        **serve: Any,
    ) -> None:
        """Serve, place the calls, and stop once they are over."""
        self.carrier = SimulatedCarrier(self.config(**(simulator or {})), plans)

        async def server() -> None:
            self.code = await self.phone.serve(agent, listener=self.server_socket, on_event=self.hear, **serve)

        async def caller() -> None:
            await self.phone.ready
            await self.loop.carry(self.carrier, listener=self.rest_socket, on_event=self.hear_carrier)
            if disconnect:
                await self.phone.disconnect()

        jobs = [server, caller]
        if meanwhile is not None:

            async def other() -> None:
                await self.phone.ready
                await meanwhile()

            jobs.append(other)
        self.loop.run(lambda: self.loop.together(*jobs))

    def talk(
        self,
        agent: Any,
        scenario: Callable[[], Awaitable[object]],
        plans: Mapping[str, Sequence[CallPlan]] | None = None,
        simulator: Mapping[str, Any] | None = None,
        **serve: Any,
    ) -> None:
        """Serve beside carriers that stay until the scenario is over and the server has stopped. ``plans`` by carrier:
        who calls in."""
        drives: list[Any] = []

        async def server() -> None:
            self.code = await self.phone.serve(agent, listener=self.server_socket, on_event=self.hear, **serve)

        async def play(name: str) -> None:
            config = self.config(name, leave_when_done=False, **(simulator or {}))
            board = self.carriers[name] = SimulatedCarrier(config, (plans or {}).get(name, ()), seed=name.encode())
            drive = self.loop.Drive(board, listener=self.rest_sockets[name], on_event=self.hear_carrier)
            drives.append(drive)
            await drive.run()

        async def story() -> None:
            await self.phone.ready
            await scenario()
            await self.phone.disconnect()
            for drive in drives:
                drive.stop()

        self.loop.run(lambda: self.loop.together(server, *(_job(play, name) for name in self.names), story))


def _job(play: Callable[[str], Awaitable[None]], name: str) -> Callable[[], Awaitable[None]]:
    return lambda: play(name)


@pytest.fixture
def line(loop):
    """Makes lines: ``line(carriers, **patter_options)``; one Twilio line by default."""
    return lambda carriers=("twilio",), **options: Line(loop, carriers, **options)
