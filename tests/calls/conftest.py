"""A server and a simulated carrier on one loop, over loopback sockets."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from patter_core import Twilio
from patter_core.edge.sockets import listen
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone

ACCOUNT, TOKEN, HOST = "AC" + "0" * 31 + "1", "secret-token", "test.example.com"


@pytest.fixture(params=["patter_asyncio", "patter_trio"])
def loop(request) -> ModuleType:
    """The adapter under test."""
    return importlib.import_module(request.param)


class Line:
    """What a test needs of one run: the server's events, the carrier's, and the calls' ends."""

    def __init__(self, loop: ModuleType, **options: Any) -> None:
        self.loop = loop
        self.server_socket, self.rest_socket = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
        self.port = self.server_socket.getsockname()[1]
        rest = f"http://127.0.0.1:{self.rest_socket.getsockname()[1]}"
        self.phone = loop.Patter(carrier=Twilio(ACCOUNT, TOKEN, base_url=rest), webhook_url=HOST, environ={}, **options)
        self.events: list[Any] = []
        self.carrier_events: list[Any] = []
        self.code: int | None = None
        self.carrier: SimulatedCarrier | None = None
        self.on_event: Callable[[Any], None] | None = None
        self._changed: Any = None
        self._event = importlib.import_module(loop.__name__.removeprefix("patter_")).Event

    def hear(self, event: Any) -> None:
        self.events.append(event)
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()
        if self.on_event is not None:
            self.on_event(event)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type, count: int = 1) -> None:
        """Wait for so many events of a kind."""
        while len(self.told(kind)) < count:
            self._changed = self._event()
            await self._changed.wait()

    @property
    def done(self) -> list[SimCallDone]:
        return [event for event in self.carrier_events if isinstance(event, SimCallDone)]

    def config(self, **options: Any) -> SimulatorConfig:
        return SimulatorConfig(
            webhook_url=f"https://{HOST}/webhooks/twilio/voice",
            connect_to=("127.0.0.1", self.port),
            account_sid=ACCOUNT,
            auth_token=TOKEN,
            **options,
        )

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
            await self.loop.carry(self.carrier, listener=self.rest_socket, on_event=self.carrier_events.append)
            if disconnect:
                await self.phone.disconnect()

        jobs = [server, caller]
        if meanwhile is not None:

            async def other() -> None:
                await self.phone.ready
                await meanwhile()

            jobs.append(other)
        self.loop.run(lambda: self.loop.together(*jobs))


@pytest.fixture
def line(loop):
    """Makes lines: ``line(**patter_options)``."""
    return lambda **options: Line(loop, **options)
