"""Named handlers: what a call of one came to, and how one runs in a thread.

A handler is any callable. It may return a value, an awaitable, an async iterator or a generator; the four are told
apart here so that both loops agree. Awaitables and async iterators belong to the loop even if a thread made them.
"""

from __future__ import annotations

import contextvars
import enum
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, NamedTuple

from patter_core.contract import Fault, Invoke, Raised, Returned, Yielded

from .faults import explain

__all__ = ["Handler", "Kind", "Loopwards", "Pulled", "ThreadWork", "kind_of", "pull", "raised"]

Handler = Callable[..., Any]

log = logging.getLogger("patter")


class Kind(enum.Enum):
    """What a handler gave back."""

    VALUE = "value"
    AWAITABLE = "awaitable"
    STREAM = "stream"  #: an async iterator
    ITEMS = "items"  #: a generator


def kind_of(result: Any) -> Kind:
    """Classify a handler's result. A list, a file or a string is a value: only a real generator is iterated."""
    if isinstance(result, Generator):
        return Kind.ITEMS
    if inspect.isawaitable(result):
        return Kind.AWAITABLE
    if isinstance(result, AsyncIterator):
        return Kind.STREAM
    return Kind.VALUE


class Pulled(NamedTuple):
    """One step of a generator: an item, or, when ``done``, what it returned."""

    done: bool
    value: Any


def pull(generator: Generator[Any, None, Any]) -> Pulled:
    """Take the next item."""
    try:
        return Pulled(False, next(generator))
    except StopIteration as stop:
        return Pulled(True, stop.value)


def raised(order: Invoke, exc: BaseException) -> Raised:
    """The fact that a handler raised, be it ``SystemExit``: user code ends its own call at most, never the server.

    The traceback, which no fact may carry, goes to the log.
    """
    log.error("handler %s raised", order.handler, exc_info=exc)
    return Raised(order.task, Fault.USER, explain(exc))


class Loopwards(NamedTuple):
    """A thread's handler gave back something only a loop can run."""

    result: Any


class ThreadWork:
    """One call of a handler in a worker thread; what it comes to is told one piece at a time.

    ``tell`` carries a ``Yielded``, ``Returned``, ``Raised`` or ``Loopwards`` into the loop and must not raise. After a
    ``Yielded`` the thread waits for ``go_on``, so at most one item is ever on its way. The whole generator runs on one
    thread, since many libraries' objects may not change threads.
    """

    def __init__(
        self,
        order: Invoke,
        handler: Handler,
        tell: Callable[[Yielded | Returned | Raised | Loopwards], None],
    ) -> None:
        self._order = order
        self._handler = handler
        self._tell = tell
        self._turn = threading.Semaphore(0)
        self._stopped = False
        self._context = contextvars.copy_context()

    def go_on(self) -> None:
        """The last item was taken: fetch the next."""
        self._turn.release()

    def stop(self) -> None:
        """Nobody listens any more: do not start, or stop at the next item."""
        self._stopped = True
        self._turn.release()

    def __call__(self) -> None:
        """Run in the worker thread."""
        if not self._stopped:
            self._context.run(self._run)

    def _run(self) -> None:
        try:
            last: Returned | Raised | Loopwards | None = self._outcome(self._handler(*self._order.args))
        except BaseException as exc:
            last = raised(self._order, exc)
        if last is not None:
            self._tell(last)

    def _outcome(self, result: Any) -> Returned | Loopwards | None:
        kind = kind_of(result)
        if kind is Kind.VALUE:
            return Returned(self._order.task, result)
        if kind is not Kind.ITEMS:
            return Loopwards(result)
        try:
            while not (step := pull(result)).done:
                self._tell(Yielded(self._order.task, step.value))
                self._turn.acquire()
                if self._stopped:
                    return None
            return Returned(self._order.task, step.value)
        finally:
            result.close()
