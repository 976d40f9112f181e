"""Adapters broken on purpose: the kit must fail each of them, or it proves nothing.

Each mutant breaks patter_asyncio in one place and names the scenarios that have to notice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.cookiejar import DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from patter_asyncio import _drive, _jobs, _transport
from patter_core.contract import Closed, ConnectFailed, Exit, Fact, Fault, Ticked
from patter_core.edge import http as edge_http
from patter_core.edge.line import Line, Stage
from patter_core.edge.sockets import AcceptTrouble
from patter_core.edge.threads import Pools, Seat, Threads

from .connections import (
    AbortIsNow,
    AcksAreTrue,
    Echo,
    FlushThenClose,
    HalfCloseOurs,
    HalfClosePeer,
    ManySmallSends,
    NoReentrancy,
    OutOfDescriptors,
    PauseHolds,
    StopListeningRefuses,
)
from .dialling import ConnectAndAbort, ConnectTlsBad, DialRefused, SpawnOutputAndStatus
from .handlers import (
    EndlessStream,
    HungThreads,
    InvokeCancelled,
    InvokeRaisesAnything,
    InvokeReturns,
    InvokeYields,
)
from .life import AskAnswered, Clockwork, DeafHandler, ExitIsLast, StopFromAnywhere
from .requests import CancelledRequestIsSilent, PausedBody, RequestDecidesNothing, RequestTooLarge
from .scenario import Scenario

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """One way to be wrong."""

    name: str
    broken: Callable[[], AbstractContextManager[Any]]
    noticed_by: tuple[type[Scenario], ...]


Drive, Jobs, SocketLine, Outlet = _drive.Drive, _jobs.Jobs, _transport.SocketLine, _transport._Outlet


def _mutant(name: str, broken: Callable[[], AbstractContextManager[Any]], *noticed_by: type[Scenario]) -> Mutant:
    return Mutant(name, broken, noticed_by)


def _instead(owner: Any, name: str, new: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(owner, name, new)


def _close_aborts(line: SocketLine) -> None:
    if line._transport is not None:
        line._transport.abort()


def _ack_at_once(line: Outlet, raw: bytes, total: int | None) -> None:
    _PUT(line, raw, None)
    if total is not None:
        line._loop.call_soon(line.left, total)


def _ack_twice(line: Line, total: int) -> None:
    _LEFT(line, total)
    _LEFT(line, total)


def _no_ack(line: Line, total: int) -> None:
    pass


def _ring_anyway(drive: Drive) -> None:
    drive._armed = None
    drive.feed(Ticked())


def _ticks_early() -> AbstractContextManager[Any]:
    def wind(drive: Drive, deadline: int | None) -> None:
        if deadline is not None:
            _WIND(drive, max(1, deadline - 300))

    return patch.multiple(Drive, _wind=wind, _ring=_ring_anyway)


def _never_earlier(drive: Drive, deadline: int | None) -> None:
    if drive._armed is None:
        _WIND(drive, deadline)


def _abort_flushes(line: Line) -> None:
    if line.stage is Stage.OPEN:
        line.close()
    else:
        _ABORT(line)


def _abort_goes_on(line: SocketLine) -> None:
    line._loop.call_later(0.005, line.gone)


def _reenter(drive: Drive, fact: Fact) -> None:
    if drive._phase in (_drive.Phase.IDLE, _drive.Phase.BUSY):
        for order in drive._board.handle(drive._now(), fact):
            drive._arms[type(order)](order)
        drive._wind(drive._board.deadline)
    else:
        _FEED(drive, fact)


def _gone_twice(line: Line, fault: Fault | None = None, status: int | None = None) -> None:
    _GONE(line, fault, status)
    line._drive.feed(Closed(line.conn, status) if line._announced else ConnectFailed(line.conn, Fault.RESET))


def _closed_after_failure(line: Line, fault: Fault | None = None, status: int | None = None) -> None:
    _GONE(line, fault, status)
    if not line._announced:
        line._drive.feed(Closed(line.conn))


def _no_status(line: Line, fault: Fault | None = None, status: int | None = None) -> None:
    _GONE(line, fault)


def _deaf_to_failed_start(line: SocketLine, order: Any) -> None:
    line._dialling = line._loop.create_task(line._dial(order))


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _silent_end(line: Line) -> None:
    line._drive.forget(line.conn)


def _half_close_closes(line: SocketLine) -> bool:
    line.ended()
    return False


def _shuffled(line: Line, data: bytes, ack: bool) -> None:
    if ack or line.stage is not Stage.OPEN:
        _SEND(line, data, ack)
    else:
        line._drive._loop.call_soon(_SEND, line, data, ack)  # type: ignore[attr-defined]


def _forgets_asks(drive: Drive) -> None:
    drive._asks.clear()
    _STOP_ALL(drive)


def _stop_leaves_lines(drive: Drive) -> None:
    drive._lines.clear()
    _STOP_ALL(drive)


def _goes_on_after_exit(drive: Drive, order: Exit) -> None:
    _EXIT(drive, order)
    drive._board.handle(drive._now(), Ticked())


def _tell_anyway(jobs: Jobs, job: _jobs.Job, fact: Fact) -> None:
    jobs._drive.feed(fact)


def _end_anyway(jobs: Jobs, table: dict[int, Any], job: _jobs.Job, last: Fact) -> None:
    table.pop(job.name, None)
    jobs._drive.feed(last)


def _eager_items(job: _jobs.Job) -> None:
    if job.work is not None:
        job.work.go_on()


def _wrong_lane(jobs: Jobs, job: Any, handler: Any, order: Any) -> None:
    jobs._on_loop(job, handler, order)


def _greedy(jobs: Jobs, order: Any) -> None:
    _REQUEST(jobs, msgspec.structs.replace(order, max_body=1 << 30))


def _trusting() -> AbstractContextManager[Any]:
    class Careless(_transport.Tls):
        def __init__(self, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
            if server_name is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            super().__init__(context, server_name=server_name)

    return patch.object(_transport, "Tls", Careless)


def _redirecting(*args: Any, **kwargs: Any) -> Any:
    client = edge_http.new_client(*args, **kwargs)
    client.follow_redirects = True
    return client


def _keeps_cookies(*args: Any, **kwargs: Any) -> Any:
    client = edge_http.new_client(*args, **kwargs)
    client.cookies.jar.set_policy(DefaultCookiePolicy())
    return client


def _breathless() -> AbstractContextManager[Any]:
    async def sleep(delay: float) -> None:
        pass

    return patch.object(_jobs, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))


def _let_out(order: Any, exc: BaseException) -> Any:
    raise exc


def _any_cancellation(jobs: Jobs, job: _jobs.Job, exc: BaseException) -> bool:
    return isinstance(exc, asyncio.CancelledError)


def _one_pool(pools: Pools, handler: str) -> Threads:
    return pools._users


def _at_once(trouble: AcceptTrouble, exc: OSError, now_s: float) -> float:
    return 0.0


async def _leave_at_once(drive: Drive) -> None:
    await drive._jobs.close(1.0)


async def _leave_for_good(drive: Drive) -> None:
    while drive._jobs.running:
        await asyncio.sleep(0.01)


_PUT, _LEFT, _WIND, _ABORT, _FEED = Outlet._put, Line.left, Drive._wind, Line.abort, Drive.feed
_GONE, _SEND, _STOP_ALL, _EXIT, _REQUEST = Line.gone, Line.send, Drive._stop_all, Drive._exit, Jobs.request

MUTANTS: tuple[Mutant, ...] = (
    _mutant("drops the last bytes on Close", _instead(SocketLine, "_shut", _close_aborts), FlushThenClose),
    _mutant("acknowledges before the bytes left", _instead(Outlet, "_put", _ack_at_once), AcksAreTrue),
    _mutant("acknowledges twice", _instead(Line, "left", _ack_twice), Echo),
    _mutant("never acknowledges", _instead(Line, "left", _no_ack), Echo),
    _mutant("sends out of order", _instead(Line, "send", _shuffled), ManySmallSends),
    _mutant("flushes on Abort", _instead(Line, "abort", _abort_flushes), AbortIsNow),
    _mutant("goes on after Abort", _instead(SocketLine, "_drop", _abort_goes_on), AbortIsNow),
    _mutant("ignores Pause", _instead(SocketLine, "_hold", _nothing), PauseHolds),
    _mutant("ignores Resume", _instead(SocketLine, "_go_on", _nothing), PauseHolds),
    _mutant(
        "closes at a half-close",
        _instead(SocketLine, "eof_received", _half_close_closes),
        HalfClosePeer,
    ),
    _mutant("ignores Finish", _instead(SocketLine, "_end_output", _nothing), HalfCloseOurs),
    _mutant("ignores StopListening", _instead(Drive, "_stop_listening", _nothing), StopListeningRefuses),
    _mutant("re-enters handle", _instead(Drive, "feed", _reenter), NoReentrancy),
    _mutant("tells Closed twice", _instead(Line, "gone", _gone_twice), Echo),
    _mutant("tells no Closed", _instead(Line, "gone", _silent_end), Echo),
    _mutant("tells Closed after ConnectFailed", _instead(Line, "gone", _closed_after_failure), DialRefused),
    _mutant(
        "loses a dial given up at once",
        _instead(SocketLine, "dial", _deaf_to_failed_start),
        ConnectAndAbort,
    ),
    _mutant("trusts any certificate", _trusting, ConnectTlsBad),
    _mutant("tells no exit code", _instead(Line, "gone", _no_status), SpawnOutputAndStatus),
    _mutant("ticks early", _ticks_early, Clockwork),
    _mutant("rings for deadlines that moved on", _instead(Drive, "_ring", _ring_anyway), Clockwork),
    _mutant("misses deadlines that move earlier", _instead(Drive, "_wind", _never_earlier), Clockwork),
    _mutant("goes on after CancelRequest", _instead(Jobs, "cancel_request", _nothing), CancelledRequestIsSilent),
    _mutant("ignores max_body", _instead(Jobs, "request", _greedy), RequestTooLarge),
    _mutant("follows redirects", _instead(_jobs, "new_client", _redirecting), RequestDecidesNothing),
    _mutant("keeps cookies", _instead(_jobs, "new_client", _keeps_cookies), RequestDecidesNothing),
    _mutant(
        "ignores Pause of other sources",
        _instead(_jobs.Job, "pause", _nothing),
        PausedBody,
        InvokeYields,
    ),
    _mutant("lets a thread's generator run ahead", _instead(_jobs.Job, "item_taken", _eager_items), InvokeYields),
    _mutant("tells of cancelled tasks", _instead(Jobs, "_end", _end_anyway), InvokeCancelled),
    _mutant("ignores Cancel", _instead(Jobs, "cancel", _nothing), InvokeCancelled),
    _mutant("lets no one else run between items", _breathless, EndlessStream),
    _mutant("lets out what handlers raise", _instead(_jobs, "raised", _let_out), InvokeRaisesAnything),
    _mutant(
        "takes any cancellation for its own",
        _instead(Jobs, "_given_up", _any_cancellation),
        InvokeRaisesAnything,
    ),
    _mutant("counts threads that hang", _instead(Seat, "give_up", _nothing), HungThreads),
    _mutant("has one pool for all threads", _instead(Pools, "of", _one_pool), HungThreads),
    _mutant("never rests when it cannot accept", _instead(AcceptTrouble, "met", _at_once), OutOfDescriptors),
    _mutant("runs threads' handlers on the loop", _instead(Jobs, "_on_thread", _wrong_lane), InvokeReturns),
    _mutant("leaves questions open at Exit", _instead(Drive, "_stop_all", _forgets_asks), AskAnswered),
    _mutant("leaves connections open at Exit", _instead(Drive, "_stop_all", _stop_leaves_lines), ExitIsLast),
    _mutant("goes on after Exit", _instead(Drive, "_exit", _goes_on_after_exit), StopFromAnywhere),
    _mutant("does not wait for cleanup", _instead(Drive, "_leave", _leave_at_once), ExitIsLast),
    _mutant("waits for ever for what is deaf", _instead(Drive, "_leave", _leave_for_good), DeafHandler),
)
