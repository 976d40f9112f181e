"""The providers' end of ``conformance.live.engines``, in a process of its own. Prints its port as a JSON line, and when
it is told to stop how every exchange ended, what was refused, and how much of the caller it heard."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from typing import Any

from conformance.live.engine_story import ENGINES, links_of, routes
from patter_core.edge.sockets import listen
from patter_core.simulator.provider_events import ProviderOdd, ProviderOver
from patter_core.simulator.providers import SimulatedProviders


def main() -> int:
    """Answer until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    options = parser.parse_args()
    board = SimulatedProviders(routes(options.engine, options.turns, options.calls))
    listener = listen("127.0.0.1", 0)
    over: list[list[Any]] = []
    odd: list[str] = []

    def hear(event: Any) -> None:
        if isinstance(event, ProviderOver):
            over.append([event.route, event.number, event.how, event.code])
        elif isinstance(event, ProviderOdd):
            odd.append(event.detail)

    loop = importlib.import_module("patter_asyncio")
    drive = loop.Drive(board, listener=listener, on_event=hear)
    signal.signal(signal.SIGTERM, lambda *_: drive.stop_soon())
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    code: int = loop.run(lambda: drive.run())
    peers = [(route, peer) for route in links_of(options.engine) for peer in board.links(route)]
    summary = {
        "over": over,
        "odd": odd,
        "links": [
            {
                "route": route,
                "heard_bytes": len(getattr(peer, "audio", b"")),
                "refused": list(getattr(peer, "refused", ())),
                "truncated": sum(
                    message.get("type") == "conversation.item.truncate" for message in getattr(peer, "messages", ())
                ),
            }
            for route, peer in peers
        ],
    }
    print(json.dumps(summary), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
