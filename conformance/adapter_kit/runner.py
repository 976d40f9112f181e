"""Plays scenarios through an adapter and says what went wrong."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from .adapters import Adapter
from .peers import Peers
from .scenario import Scenario

__all__ = ["Result", "run_kit", "run_one"]

_THREAD_END_S = 3.0  #: how long the adapter's idle threads have to go
_LIBRARY_THREADS = ("Trio thread", "kit peer", "waitpid-", "asyncio_")  # kept idle by the loops themselves


@dataclass(frozen=True)
class Result:
    """What one scenario came to."""

    adapter: str
    scenario: str
    errors: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.errors


class _Complaints(logging.Handler):
    """What the event loop logs about is a failure of the adapter: an exception nobody caught, a task destroyed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        self.texts.append(f"the loop complained: {record.getMessage()[:300]} {exc!r}")


def run_kit(adapter: Adapter, scenarios: Sequence[type[Scenario]] | None = None) -> list[Result]:
    """Play every scenario through ``adapter``."""
    from .scenarios import SCENARIOS

    return [run_one(adapter, scenario) for scenario in scenarios or SCENARIOS]


def run_one(adapter: Adapter, kind: type[Scenario], *, limit_s: float | None = None) -> Result:
    """Play one scenario. With ``limit_s``, that is its limit and its first error ends it: for broken adapters."""
    start = time.monotonic()
    gc.collect()
    threads = set(threading.enumerate())
    files = _open_files()
    peers = Peers()
    scenario = kind(peers, adapter)
    if limit_s is not None:
        scenario.limit_s = limit_s
        scenario.ends_at_first_error = True
    complaints = _Complaints()
    loggers = [logging.getLogger("asyncio"), logging.getLogger("trio")]
    for logger in loggers:
        logger.addHandler(complaints)
    ours = logging.getLogger("patter")  # it reports what the scenarios do on purpose
    ours.disabled = True
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                code = adapter.play(scenario)
            except TimeoutError:
                scenario.errors.append("the adapter did not end")
            except (Exception, SystemExit, GeneratorExit, BaseExceptionGroup) as exc:  # user code's, let out
                scenario.errors.append(f"the adapter raised {type(exc).__name__}: {exc}")
            else:
                if scenario.crash is not None and not scenario.crashes:
                    scenario.errors.append(f"run raised {scenario.crash!r:.300}")
                elif scenario.crash is None:
                    scenario.expect(code == scenario.exit_code, f"code {code}, wanted {scenario.exit_code}")
                scenario.check()
            peers.close()
            gc.collect()
        scenario.errors.extend(f"warning: {each.message}" for each in caught)
    finally:
        ours.disabled = False
        for logger in loggers:
            logger.removeHandler(complaints)
    errors = [*scenario.errors, *peers.errors, *complaints.texts, *_threads_left(threads)]
    del scenario
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    errors.extend(f"warning: {each.message}" for each in caught)
    left = _open_files() - files
    if left > 0:
        errors.append(f"{left} file descriptors left")
    return Result(adapter.name, kind.__name__, tuple(errors), time.monotonic() - start)


def _threads_left(before: set[threading.Thread]) -> list[str]:
    left = []
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(_LIBRARY_THREADS):
            thread.join(_THREAD_END_S)
            if thread.is_alive():
                left.append(f"thread left: {thread.name}")
    return left


def _open_files() -> int:
    """Open file descriptors; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
