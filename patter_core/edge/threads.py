"""Pools of daemon threads: a handler that blocks for ever keeps neither an event loop nor the process alive.

The loops' own pools are no use here: their threads are joined when the interpreter exits.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import count

__all__ = ["NoThreadError", "Pools", "Seat", "Threads"]

USER_LIMIT = 64  #: one blocking handler for each call of a busy server, at some 8 MiB of address space each
USER_MOST = 512  #: of address space 4 GiB, and half of what a container usually allows one of its processes
FILE_LIMIT = 4  #: a disk gets no faster by more
FILE_MOST = 16  #: a disk that hangs takes these, and with them the traces, but not the calls
NAME_LIMIT = 16  #: names asked for at once; the resolver may take half a minute over each
NAME_MOST = 64

log = logging.getLogger("patter")


class NoThreadError(RuntimeError):
    """There is no thread, and the system gives us none."""


class _Place(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    LEFT = "left"  #: still running, and nobody waits for it: it no longer counts against the limit
    OVER = "over"


class Seat:
    """A job's place in a pool: in the queue, then on a thread."""

    def __init__(self, pool: Threads, job: Callable[[], None]) -> None:
        self.job: Callable[[], None] | None = job
        self.place = _Place.WAITING
        self._pool = pool

    def give_up(self) -> None:
        """Nobody waits for the job any more: it does not start, or, if it has, another may take its place."""
        self._pool.leave(self)


class Threads:
    """Runs jobs in the order they came, on at most ``limit`` threads; more jobs than threads wait.

    A thread whose job was given up, and will not end, does not count: so that jobs which hang for ever do not stop all
    others. With those there are at most ``most`` threads.
    """

    def __init__(self, limit: int = USER_LIMIT, name: str = "patter", most: int = USER_MOST) -> None:
        self._limit = limit
        self._most = most
        self._name = name
        self._numbers = count(1)
        self._waiting: OrderedDict[Seat, None] = OrderedDict()
        self._changed = threading.Condition()
        self._count = 0  # threads
        self._left = 0  # threads of these whose job was given up
        self._free = 0  # threads of these without a job, or not yet begun
        self._closed = False
        self._said: set[str] = set()

    def submit(self, job: Callable[[], None]) -> Seat:
        """Run ``job`` soon. Never blocks. ``job`` reports its own errors. Raises ``NoThreadError``."""
        seat = Seat(self, job)
        with self._changed:
            if self._closed:
                seat.place = _Place.OVER
                return seat
            self._waiting[seat] = None
            self._fill()
            if not self._count:
                self._drop(seat)
                raise NoThreadError("no thread could be started")
        return seat

    def leave(self, seat: Seat) -> None:
        """``Seat.give_up``."""
        with self._changed:
            if seat.place is _Place.WAITING:
                self._drop(seat)  # at once: while all threads hang, a queue of what was given up would only grow
            elif seat.place is _Place.RUNNING:
                seat.place = _Place.LEFT
                self._left += 1
                self._fill()

    def close(self) -> None:
        """Take no more jobs and forget those not started. Idle threads end; busy ones end after their job."""
        with self._changed:
            self._closed = True
            for seat in list(self._waiting):
                self._drop(seat)
            self._changed.notify_all()

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _drop(self, seat: Seat) -> None:
        del self._waiting[seat]
        seat.place, seat.job = _Place.OVER, None

    def _fill(self) -> None:
        """Have threads for what waits."""
        self._changed.notify()
        while self._free < len(self._waiting) and self._count - self._left < self._limit:
            if self._count >= self._most:
                self._say(
                    "most", "%d threads of %s hang in jobs that were given up; others wait", self._left, self._name
                )
                return
            try:
                self._start()
            except (RuntimeError, MemoryError) as exc:
                self._say("start", "no further thread of %s could be started: %s", self._name, exc)
                return

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{next(self._numbers)}", daemon=True)
        thread.start()
        self._count += 1
        self._free += 1

    def _say(self, what: str, text: str, *args: object) -> None:
        if what not in self._said:  # once: it would be the same for every job
            self._said.add(what)
            log.error(text, *args)

    # --- in the threads ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (seat := self._take()) is not None:
            try:
                if seat.job is not None:
                    seat.job()
            except BaseException:  # even SystemExit: the thread is the pool's, not the job's
                log.exception("a job of %s failed", threading.current_thread().name)
            self._back(seat)
            del seat  # an idle thread must not keep the last job's objects alive

    def _take(self) -> Seat | None:
        """The next job; None when the thread is not needed any more."""
        with self._changed:
            while not (self._waiting or self._closed or self._count - self._left > self._limit):
                self._changed.wait()
            self._free -= 1
            if not self._waiting or self._count - self._left > self._limit:
                self._count -= 1
                return None
            seat, _ = self._waiting.popitem(last=False)
            seat.place = _Place.RUNNING
            return seat

    def _back(self, seat: Seat) -> None:
        with self._changed:
            if seat.place is _Place.LEFT:
                self._left -= 1
            seat.place, seat.job = _Place.OVER, None
            self._free += 1


class Pools:
    """The threads of a drive. User code has its own, so that it can block neither traces nor the looking up of names.

    No thread is started before it is needed.
    """

    def __init__(self) -> None:
        self._users = Threads()
        self._files = Threads(FILE_LIMIT, "patter-file", FILE_MOST)
        self.names = Threads(NAME_LIMIT, "patter-name", NAME_MOST)

    def of(self, handler: str) -> Threads:
        """The pool for a handler, by its name: ``file.*`` are ours."""
        return self._files if handler.startswith("file.") else self._users

    def close(self) -> None:
        """Close all."""
        for pool in (self._users, self._files, self.names):
            pool.close()
