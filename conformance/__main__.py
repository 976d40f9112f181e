"""``python -m conformance``: every vector in process, then the adapter kit and the live checks on both loops.

python -m conformance [vectors] [kit] [live]        all of them, or those named
python -m conformance live --carrier telnyx         only that carrier
python -m conformance live --url http://127.0.0.1:8000 --public https://example.com --token TOKEN
                                                    the live checks against any running server (an echoing one)
python -m conformance live --url ... --carrier telnyx --rest-port 8001
                                                    the same as Telnyx, whose API the server finds on that port
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from . import run_trace, vectors_runner
from .live.carriers import CARRIERS, CarrierEnd, TelnyxEnd, TwilioEnd
from .live.runner import ours, run_checks
from .live.target import ACCOUNT, PUBLIC_HOST, TOKEN, CarrierApi, Target

LOOPS = ("asyncio", "trio")


class Tally:
    """Counts and prints."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.passed = self.failed = 0

    def __call__(self, title: str, problem: str | None) -> None:
        """One result."""
        if problem is None:
            self.passed += 1
            if self.verbose:
                print(f"ok    {title}")
        else:
            self.failed += 1
            print(f"FAIL  {title}\n      {problem}")


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; 1 when anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", choices=["vectors", "kit", "live", []], default=[], metavar="WHAT")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what passes too")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="only this event loop")
    parser.add_argument("--url", help="live: a running server, instead of ours")
    parser.add_argument("--public", default=f"https://{PUBLIC_HOST}", help="live: the URL it believes to have")
    parser.add_argument("--carrier", choices=CARRIERS, action="append", help="live: only this carrier")
    parser.add_argument("--account", default=ACCOUNT, help="live, with --url: Twilio's account")
    parser.add_argument("--token", default=TOKEN, help="live, with --url: Twilio's auth token")
    parser.add_argument("--rest-port", type=int, help="live, with --url: where we play the carrier's REST API")
    options = parser.parse_args(argv)
    log, level = logging.getLogger("patter"), logging.getLogger("patter").level
    log.setLevel(logging.CRITICAL)  # what goes wrong here goes wrong on purpose
    try:
        return _run(options)
    finally:
        log.setLevel(level)


def _run(options: argparse.Namespace) -> int:
    what = options.what or ["vectors", "kit", "live"]
    loops = options.loop or LOOPS
    tally = Tally(options.verbose)
    start = time.monotonic()
    if "vectors" in what:
        _vectors(tally)
    if "kit" in what:
        _kit(tally, loops)
    if "live" in what:
        _live(tally, loops, options)
    print(f"{tally.passed} passed, {tally.failed} failed ({time.monotonic() - start:.1f} s)")
    return 1 if tally.failed else 0


def _vectors(tally: Tally) -> None:
    for path in vectors_runner.files():
        name = path.relative_to(vectors_runner.VECTORS)
        try:
            for problem in vectors_runner.schema_problems(path):
                tally(f"{name} against its schema", problem)
        except ImportError:
            print("schemas not checked: pip install jsonschema", file=sys.stderr)
        for schema, case in vectors_runner.cases(path):
            for one in run_trace.each(case) if schema == "trace-1" else [case]:
                tally(one["id"], vectors_runner.problem(schema, one))


def _kit(tally: Tally, loops: tuple[str, ...]) -> None:
    from .adapter_kit import run_one
    from .adapter_kit.adapters import ADAPTERS
    from .adapter_kit.scenarios import SCENARIOS

    for adapter in ADAPTERS:
        if adapter.name in loops:
            for scenario in SCENARIOS:
                result = run_one(adapter, scenario)
                tally(f"{adapter.name}: {result.scenario}", "; ".join(result.errors) or None)


def _live(tally: Tally, loops: tuple[str, ...], options: argparse.Namespace) -> None:
    if options.url:
        _live_elsewhere(tally, options)
        return
    for carrier in options.carrier or CARRIERS:
        for loop in loops:
            with ours(loop, carrier) as target:
                run_checks(target, report=_under(f"{loop}, {carrier}", tally))


def _under(title: str, tally: Tally) -> Callable[[str, str | None], None]:
    return lambda check, problem: tally(f"{title}: {check}", problem)


def _live_elsewhere(tally: Tally, options: argparse.Namespace) -> None:
    parts = urlsplit(options.url)
    carrier: CarrierEnd = TwilioEnd(options.account, options.token)
    if "telnyx" in (options.carrier or ()):
        carrier = telnyx = TelnyxEnd()
        print(f"the server's TELNYX_PUBLIC_KEY must be {telnyx.public_key}")
        if options.rest_port is None:
            raise SystemExit("Telnyx gives its orders by REST: say with --rest-port where the server finds its API")
    api = None if options.rest_port is None else CarrierApi(options.rest_port)
    try:
        target = Target(
            parts.hostname or "127.0.0.1",
            parts.port or 8000,
            carrier=carrier,
            public=options.public.rstrip("/"),
            api=api,
        )
        run_checks(target, report=tally)
    finally:
        if api is not None:
            api.close()


if __name__ == "__main__":
    sys.exit(main())
