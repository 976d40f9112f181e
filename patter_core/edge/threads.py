"""A pool of daemon threads: a handler that blocks for ever keeps neither an event loop nor the process alive.

The loops' own pools are no use here: their threads are joined when the interpreter exits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Threads"]

log = logging.getLogger("patter")


class Threads:
    """Runs jobs in the order they came, on at most ``limit`` threads; more jobs than threads wait.

    ``limit`` is 64: one blocking handler for each call of a busy server, at some 8 MiB of address space each.
    """

    def __init__(self, limit: int = 64, name: str = "patter") -> None:
        self._limit = limit
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._count = 0
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` soon. Never blocks. ``job`` reports its own errors."""
        with self._changed:
            if self._closed:
                return
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif self._count < self._limit:
                self._count += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()

    def close(self) -> None:
        """Take no more jobs and forget those not started. Idle threads end; busy ones end after their job."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._jobs and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if self._closed:
                    self._count -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a job of %s failed", threading.current_thread().name)
            del job  # an idle thread must not keep the last job's objects alive
