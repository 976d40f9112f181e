"""An echo client over ``ClientConnection`` for the Autobahn fuzzing server: every case, then the report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from patter_core.wire import Binary, ClientConnection, Done, Limits, Text, Transport

LIMITS = Limits(message_bytes=64 << 20)


async def talk(host: str, port: int, target: str, seed: int) -> str:
    """One connection, echoing until it is over; the last text that came."""
    reader, writer = await asyncio.open_connection(host, port)
    loop = asyncio.get_running_loop()
    wire = ClientConnection(int(loop.time() * 1e6), f"{host}:{port}", target, (), LIMITS, seed=b"autobahn %d" % seed)
    last, finished = "", False
    try:
        while True:
            data = wire.data_to_send()
            if data:
                writer.write(data)
            if wire.transport is Transport.FINISH and not finished:
                finished = True
                with contextlib.suppress(OSError):  # the peer may have reset it first
                    writer.write_eof()
            elif wire.transport in (Transport.CLOSE, Transport.ABORT):
                return last
            now = int(loop.time() * 1e6)
            left = None if wire.deadline is None else max(0.0, (wire.deadline - now) / 1e6)
            try:
                piece = await asyncio.wait_for(reader.read(65536), left)
            except TimeoutError:
                events = wire.tick(int(loop.time() * 1e6))
            except ConnectionError:
                return last
            else:
                events = wire.receive(int(loop.time() * 1e6), piece)
            for event in events:
                if isinstance(event, Text | Binary):
                    wire.send(event.data)
                    last = event.data if isinstance(event, Text) else last
                elif isinstance(event, Done) and event.reason in ("bad_handshake", "upgrade_refused"):
                    raise SystemExit(f"{target}: {event}")
    finally:
        writer.close()


async def main() -> None:
    """Ask how many cases there are, run them one by one, have the report written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    options = parser.parse_args()
    count = int(await talk(options.host, options.port, "/getCaseCount", 0))
    for case in range(1, count + 1):
        await talk(options.host, options.port, f"/runCase?case={case}&agent=patter", case)
    await talk(options.host, options.port, "/updateReports?agent=patter", count + 1)
    print(f"{count} cases done")


if __name__ == "__main__":
    asyncio.run(main())
