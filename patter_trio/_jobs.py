"""Requests and handlers under way on trio.

The twin of ``patter_asyncio/_jobs.py``: same classes, same methods, same order (``tests/adapters/test_alike.py``).
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import trio

from patter_core.contract import (
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    Fact,
    Fault,
    Invoke,
    Lane,
    Raised,
    Request,
    RequestFailed,
    ResponseStarted,
    Returned,
    Yielded,
)
from patter_core.edge.faults import fault_of
from patter_core.edge.handlers import Handler, Kind, Loopwards, ThreadWork, kind_of, pull, raised
from patter_core.edge.http import HeaderList, new_client, streamed
from patter_core.edge.secrets import Secrets
from patter_core.edge.threads import NoThreadError, Seat

from ._gate import Gate

if TYPE_CHECKING:
    from ._drive import Drive

__all__ = ["Job", "Jobs"]

log = logging.getLogger("patter")


class Job:
    """A request or a handler's call. ``heard`` until its terminal fact, or until it was given up."""

    def __init__(self, name: int, label: str) -> None:
        self.name = name
        self.label = label
        self.heard = True
        self.gate = Gate()
        self.work: ThreadWork | None = None
        self.seat: Seat | None = None
        self._item_owed = False
        self._scope: trio.CancelScope | None = None

    def runs_in(self, scope: trio.CancelScope) -> None:
        """Cancelling this ends it."""
        self._scope = scope

    def item_taken(self) -> None:
        """A thread's item was told: the next may come, once the gate is open."""
        if self.gate.is_shut:
            self._item_owed = True
        elif self.work is not None:
            self.work.go_on()

    def pause(self) -> None:
        """``Pause``."""
        self.gate.shut()

    def resume(self) -> None:
        """``Resume``."""
        self.gate.open()
        if self._item_owed:
            self._item_owed = False
            self.item_taken()

    def cancel(self) -> None:
        """Give it up; nothing more is heard of it."""
        self.heard = False
        if self.work is not None:
            self.work.stop()
        if self.seat is not None:
            self.seat.give_up()
        if self._scope is not None:
            self._scope.cancel()


class Jobs:
    """The requests and handler calls of one drive."""

    def __init__(self, drive: Drive, handlers: Mapping[str, Handler], secrets: Secrets, *, trust_env: bool) -> None:
        self._drive = drive
        self._handlers = handlers
        self._secrets = secrets
        self._trust_env = trust_env
        self._client: httpx.AsyncClient | None = None
        self._requests: dict[int, Job] = {}
        self._calls: dict[int, Job] = {}
        self._lanes = {Lane.LOOP: self._on_loop, Lane.THREAD: self._on_thread}
        self.running: dict[trio.CancelScope, str] = {}  #: what runs on the loop, by name
        self._starts: deque[tuple[trio.CancelScope, str, Callable[[], Awaitable[None]]]] = deque()

    def find(self, name: int) -> Job | None:
        """What ``Pause`` and ``Resume`` call by this name."""
        return self._requests.get(name) or self._calls.get(name)

    def stop_all(self) -> None:
        """Cancel everything; nothing more is heard of it."""
        for job in [*self._requests.values(), *self._calls.values()]:
            job.cancel()

    async def close(self, within_s: float) -> None:
        """Let go of the HTTP client."""
        if self._client is not None:
            with trio.CancelScope(deadline=trio.current_time() + within_s, shield=True):
                await self._client.aclose()

    # --- requests --------------------------------------------------------------------------------------------

    def request(self, order: Request) -> None:
        """``Request``."""
        headers = self._secrets.headers(order)
        if headers is None:
            self._drive.feed(RequestFailed(order.request, Fault.OTHER))
            return
        job = self._requests[order.request] = Job(order.request, f"{order.method} request")
        self._begin(job, partial(self._fetch, job, order, headers))

    async def _fetch(self, job: Job, order: Request, headers: HeaderList) -> None:
        last: BodyEnded | RequestFailed
        size = 0
        try:
            with trio.CancelScope() as reading:
                async with self._open(order, headers) as response:
                    fields = tuple(response.headers.multi_items())
                    self._tell(job, ResponseStarted(order.request, response.status_code, fields))
                    await job.gate.passed()
                    async for piece in response.aiter_bytes():
                        # No way out of this loop but through httpx: its generators must not be left half-way, so who
                        # wants to stop lets the next read be cancelled.
                        size += len(piece)
                        if size > order.max_body:
                            reading.cancel()
                        if reading.cancel_called:
                            continue
                        self._tell(job, BodyReceived(order.request, piece))
                        try:
                            await job.gate.passed()
                        except trio.Cancelled:
                            reading.cancel()
            too_large = size > order.max_body
            last = RequestFailed(order.request, Fault.TOO_LARGE) if too_large else BodyEnded(order.request)
        except Exception as exc:
            last = RequestFailed(order.request, fault_of(exc))
        self._end(self._requests, job, last)

    def cancel_request(self, order: CancelRequest) -> None:
        """``CancelRequest``."""
        job = self._requests.pop(order.request, None)
        if job is not None:
            job.cancel()

    def _open(self, order: Request, headers: HeaderList) -> AbstractAsyncContextManager[httpx.Response]:
        if self._client is None:
            self._client = new_client(self._drive.client_tls(), trust_env=self._trust_env)
        return streamed(self._client, order.method, order.url, headers, order.body)

    # --- handlers --------------------------------------------------------------------------------------------

    def invoke(self, order: Invoke) -> None:
        """``Invoke``."""
        handler = self._handlers.get(order.handler)
        if handler is None:
            self._drive.feed(Raised(order.task, Fault.UNKNOWN_HANDLER, order.handler))
            return
        job = self._calls[order.task] = Job(order.task, order.handler)
        self._lanes[order.lane](job, handler, order)

    def _on_loop(self, job: Job, handler: Handler, order: Invoke) -> None:
        self._begin(job, partial(self._call, job, order, partial(handler, *order.args)))

    def _on_thread(self, job: Job, handler: Handler, order: Invoke) -> None:
        job.work = ThreadWork(order, handler, partial(self._drive.post, self._from_thread, job, order))
        try:
            job.seat = self._drive.threads.of(order.handler).submit(job.work)
        except NoThreadError as exc:
            self._end(self._calls, job, Raised(order.task, Fault.OTHER, str(exc)))

    def _from_thread(self, job: Job, order: Invoke, said: Yielded | Returned | Raised | Loopwards) -> None:
        if isinstance(said, Yielded):
            self._tell(job, said)
            job.item_taken()
        elif isinstance(said, Loopwards):
            if job.heard:
                self._begin(job, partial(self._call, job, order, lambda: said.result))
        else:
            self._end(self._calls, job, said)

    async def _call(self, job: Job, order: Invoke, begin: Callable[[], Any]) -> None:
        last: Returned | Raised
        try:
            result = begin()
            while (kind := kind_of(result)) is Kind.AWAITABLE:
                result = await result
            if kind is Kind.STREAM:
                async with aclosing(result) if hasattr(result, "aclose") else nullcontext():
                    async for value in result:
                        self._tell(job, Yielded(order.task, value))
                        await trio.lowlevel.checkpoint()  # here Cancel arrives, though the iterator may never wait
                        if not job.heard:
                            break  # it arrived while the iterator waited, and was swallowed there
                        await job.gate.passed()
                result = None
            elif kind is Kind.ITEMS:
                with closing(result):
                    while not (item := pull(result)).done:
                        self._tell(job, Yielded(order.task, item.value))
                        await trio.lowlevel.checkpoint()
                        await job.gate.passed()
                result = item.value
            last = Returned(order.task, result)
        except BaseException as exc:
            if self._given_up(job, exc):
                raise
            last = raised(order, exc)
        self._end(self._calls, job, last)

    def _given_up(self, job: Job, exc: BaseException) -> bool:
        """Whether this is our cancellation, come back: user code may raise one that nobody asked for."""
        if trio.current_effective_deadline() != -math.inf:
            return False
        if isinstance(exc, BaseExceptionGroup):
            return exc.split(trio.Cancelled)[1] is None
        return isinstance(exc, trio.Cancelled)

    def cancel(self, order: Cancel) -> None:
        """``Cancel``."""
        job = self._calls.pop(order.task, None)
        if job is not None:
            job.cancel()

    def _begin(self, job: Job, body: Callable[[], Awaitable[None]]) -> None:
        scope = trio.CancelScope()
        job.runs_in(scope)
        self._starts.append((scope, job.label, body))
        self._drive.start(self._next)

    async def _next(self) -> None:
        # trio starts tasks in any order; whichever starts first takes what was ordered first.
        scope, label, body = self._starts.popleft()
        self.running[scope] = label
        try:
            with scope:
                await body()
        except BaseExceptionGroup as group:
            # A library whose own nursery failed while it was cancelled: that must not take the server with it.
            errors, rest = group.split(Exception)
            log.error("%s failed while it was cancelled", label, exc_info=errors)
            if rest is not None:
                raise rest from None
        finally:
            del self.running[scope]

    def _tell(self, job: Job, fact: Fact) -> None:
        if job.heard:
            self._drive.feed(fact)

    def _end(self, jobs: dict[int, Job], job: Job, last: Fact) -> None:
        if job.heard:
            job.heard = False
            del jobs[job.name]
            self._drive.feed(last)
