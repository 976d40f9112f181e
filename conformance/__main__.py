"""``python -m conformance``: every vector in process, then the adapter kit and the live checks on both loops.

python -m conformance [vectors] [kit] [live]        all of them, or those named
python -m conformance live --url http://127.0.0.1:8000 --public https://example.com --token TOKEN
                                                    the live checks against any running server (an echoing one)
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from urllib.parse import urlsplit

from . import vectors_runner
from .live.runner import ours, run_checks
from .live.target import ACCOUNT, PUBLIC_HOST, TOKEN, Target

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
    parser.add_argument("--account", default=ACCOUNT)
    parser.add_argument("--token", default=TOKEN)
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
            tally(case["id"], vectors_runner.problem(schema, case))


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
        parts = urlsplit(options.url)
        target = Target(
            parts.hostname or "127.0.0.1",
            parts.port or 8000,
            account=options.account,
            token=options.token,
            public=options.public.rstrip("/"),
        )
        run_checks(target, report=tally)
        return
    for loop in loops:
        with ours(loop) as target:
            run_checks(target, report=lambda title, problem, loop=loop: tally(f"{loop}: {title}", problem))  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main())
