"""Start a server of ours, or take the URL of any, and run the checks."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

from .carriers import CARRIERS
from .checks import CHECKS, STOPPING
from .target import CarrierApi, Failed, Target

__all__ = ["ours", "run_checks"]


@contextlib.contextmanager
def ours(loop: str, carrier: str = "twilio") -> Iterator[Target]:
    """Our own server on this loop, of this carrier, in a process of its own."""
    api = CarrierApi()
    command = [sys.executable, "-m", "conformance.live.serve", "--loop", loop, "--carrier", carrier]
    command += ["--rest", api.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        yield Target(
            "127.0.0.1",
            port,
            carrier=CARRIERS[carrier](),
            api=api,
            stop=lambda: process.send_signal(signal.SIGTERM),
            wait=lambda limit: process.wait(limit),
        )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        api.close()


def run_checks(target: Target, *, report: Callable[[str, str | None], None]) -> int:
    """Run every check the target allows; ``report(title, problem)`` for each. Returns how many failed."""
    failed = 0
    checks = CHECKS + (STOPPING if target.stop is not None else [])
    for check in checks:
        title = (check.__doc__ or check.__name__).splitlines()[0]
        try:
            check(target)
            problem = None
        except Failed as exc:
            problem = str(exc)
        except OSError as exc:
            problem = f"{type(exc).__name__}: {exc}"
        failed += problem is not None
        report(title, problem)
    return failed
