"""An echo server over ``ServerConnection`` for the Autobahn fuzzing client, on a bare asyncio protocol.

It has no adapter underneath on purpose: what the fuzzing client sees is the wire machine, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

from patter_core.wire import Binary, HttpRequest, Limits, ServerConnection, Text, Transport, UpgradeRequest, WireEvent

# Cases 9.1 and 9.2 echo single messages of 16 MiB.
LIMITS = Limits(message_bytes=64 << 20)


class Echo(asyncio.Protocol):
    """Carries one machine: bytes in, bytes out, one alarm."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = ServerConnection(self._now(), LIMITS)
        self._transport: asyncio.Transport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._finished = False

    def _now(self) -> int:
        return int(self._loop.time() * 1_000_000)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._after([])

    def data_received(self, data: bytes) -> None:
        self._after(self._wire.receive(self._now(), data))

    def eof_received(self) -> bool:
        self._after(self._wire.receive(self._now(), b""))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._alarm is not None:
            self._alarm.cancel()

    def _tick(self) -> None:
        self._after(self._wire.tick(self._now()))

    def _after(self, events: list[WireEvent]) -> None:
        for event in events:
            if isinstance(event, (Text, Binary)):
                self._wire.send(event.data)
            elif isinstance(event, UpgradeRequest):
                self._after(self._wire.accept(self._now()))
            elif isinstance(event, HttpRequest):
                self._wire.respond(self._now(), 404)
        transport = self._transport
        if transport is None:
            return
        data = self._wire.data_to_send()
        if data:
            transport.write(data)
        match self._wire.transport:
            case Transport.FINISH if not self._finished:
                self._finished = True
                with contextlib.suppress(OSError):  # the peer may have reset it first
                    transport.write_eof()
            case Transport.CLOSE:
                transport.close()
            case Transport.ABORT:
                transport.abort()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._wire.deadline is not None:
            self._alarm = self._loop.call_at(self._wire.deadline / 1_000_000, self._tick)


async def main() -> None:
    """Serve until killed; write the port to ``--port-file`` once it is listening."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path)
    options = parser.parse_args()
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", options.port)
    port = server.sockets[0].getsockname()[1]
    print(f"echoing on ws://127.0.0.1:{port}/", flush=True)
    if options.port_file is not None:
        options.port_file.write_text(str(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
