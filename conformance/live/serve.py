"""The server under test when it is ours: an echo line on the loop asked for. Prints its port as one JSON line."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import signal
import sys

from conformance.live.carriers import CARRIERS
from conformance.live.target import PUBLIC_HOST
from patter_core import Echo
from patter_core.edge.sockets import listen


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--carrier", default="twilio", choices=CARRIERS)
    parser.add_argument("--rest", required=True, help="base URL of the carrier's REST API")
    options = parser.parse_args()
    logging.getLogger("patter").setLevel(logging.CRITICAL)  # what it refuses here it refuses on purpose
    loop = importlib.import_module(f"patter_{options.loop}")
    listener = listen("127.0.0.1", 0)
    carrier = CARRIERS[options.carrier]().option(options.rest)
    phone = loop.Patter(carrier=carrier, webhook_url=PUBLIC_HOST, max_calls=50, environ={})
    signal.signal(signal.SIGTERM, lambda *_: phone.stop_soon())
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    echo = phone.agent(engine=Echo())
    code: int = loop.run(lambda: phone.serve(echo, listener=listener, manage_webhook=False))
    return code


if __name__ == "__main__":
    sys.exit(main())
