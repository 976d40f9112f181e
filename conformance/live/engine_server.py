"""The server under test of ``conformance.live.engines``: one engine on one loop, in a process of its own.

Prints JSON lines: its port, then everything worth a look as it happens, the figures of each call among it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import signal
import sys
from typing import Any

import msgspec

from conformance.live.carriers import CARRIERS
from conformance.live.engine_story import ENGINES, KEY, agent_options
from conformance.live.target import PUBLIC_HOST
from patter_core.edge.sockets import listen

#: Events that say how the call went; the rest (offered, attached, ...) is how every call goes.
TOLD = {
    "BargedIn", "Bug", "CallbackDropped", "CallbackFailed", "CallbackTimedOut", "CallEnded", "CallStarted",
    "FramesDropped", "HangUpFailed", "MalformedMessage", "OrderRefused", "ProviderReported", "ProviderSwitched",
    "Refused", "SpeechFailed", "TranscriptLine",
}  # fmt: skip


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--carrier", default="twilio", choices=CARRIERS)
    parser.add_argument("--rest", required=True, help="base URL of the carrier's REST API")
    parser.add_argument("--providers", type=int, required=True, help="port of the simulated providers")
    options = parser.parse_args()
    logging.getLogger("patter").setLevel(logging.ERROR)
    loop = importlib.import_module(f"patter_{options.loop}")
    listener = listen("127.0.0.1", 0)
    carrier = CARRIERS[options.carrier]().option(options.rest)
    phone = loop.Patter(carrier=carrier, webhook_url=PUBLIC_HOST, webhook_secret=KEY, environ={})
    signal.signal(signal.SIGTERM, lambda *_: phone.stop_soon())

    def say(what: str, value: Any) -> None:
        print(json.dumps({"at": what, **msgspec.to_builtins(value)}), flush=True)

    def hear(event: Any) -> None:
        if type(event).__name__ in TOLD:
            say(type(event).__name__, event)

    def on_metrics(told: dict[str, Any]) -> None:
        say("on_metrics", {"turn": told["turn"]})

    def on_call_end(told: dict[str, Any]) -> None:
        say("on_call_end", {"metrics": told["metrics"], "reason": told["reason"]})

    agent, serve = agent_options(options.engine, options.providers)
    spoken = phone.agent(**agent)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    code: int = loop.run(
        lambda: phone.serve(
            spoken,
            listener=listener,
            manage_webhook=False,
            on_event=hear,
            on_metrics=on_metrics,
            on_call_end=on_call_end,
            **serve,
        )
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
