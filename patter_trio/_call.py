"""One call inside somebody else's server: they do the framing, this does the rest. The twin of
``patter_asyncio/_call.py``."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from patter_core.call_board import CallBoard
from patter_core.contract import ConnId
from patter_core.edge.app import Plan, logged
from patter_core.edge.line import Line
from patter_core.reasons import EndReason

from ._drive import Drive
from ._gate import Gate

__all__ = ["run_call"]

Receive = Callable[[], Awaitable[str | None]]
Send = Callable[[str], Awaitable[object]]


class TextLine(Line):
    """A WebSocket whose frames somebody else reads and writes: whole text messages."""

    def __init__(self, drive: Drive, conn: ConnId, receive: Receive, send: Send) -> None:
        super().__init__(drive, conn)
        self._receive = receive
        self._send = send
        self._gate = Gate()
        self._queue, self._queued = trio.open_memory_channel[tuple[str, int | None] | None](math.inf)

    async def read(self) -> None:
        """Take messages in until there are no more. Whatever the framework raises then means the same: it is over."""
        try:
            while (text := await self._receive()) is not None:
                self.got(text)
                await self._gate.passed()
        except Exception:
            pass
        self.ended()

    async def write(self) -> None:
        """Send what was put, in order, then let go."""
        try:
            while (item := await self._queued.receive()) is not None:
                await self._send(item[0])
                if item[1] is not None:
                    self.left(item[1])
        except Exception:
            pass  # the peer is gone; reading says so too
        self.gone()

    def _put(self, raw: bytes | str, total: int | None) -> None:
        self._queue.send_nowait((raw if isinstance(raw, str) else raw.decode(), total))

    def _end_output(self) -> None:
        self._queue.send_nowait(None)

    def _shut(self) -> None:
        self._queue.send_nowait(None)

    def _drop(self) -> None:
        self._queue.send_nowait(None)

    def _hold(self) -> None:
        self._gate.shut()

    def _go_on(self) -> None:
        self._gate.open()


async def run_call(
    plan: Plan,
    receive: Receive,
    send: Send,
    *,
    on_event: Callable[[Any], object] | None = None,
    leave_s: float = 1.0,
) -> EndReason | None:
    """Carry one call: ``receive()`` gives the carrier's next text message (None, or any exception, when there are no
    more), ``send(text)`` sends ours. Returns why the call ended, once all it owed is done; close the socket then.

    Cancelled from outside it stops listening, gives ``on_call_end`` up to ``leave_s`` to run, and only then lets go.
    """
    board = CallBoard(plan.spec, trace_dir=plan.trace)
    drive = Drive(board, handlers=plan.handlers, secrets=plan.secrets, on_event=logged(on_event), leave_s=leave_s)
    line = TextLine(drive, board.conn, receive, send)
    drive.adopt(line)

    async def carried() -> None:
        # Shielded, so that a cancellation from outside ends the call in its own way; `watch` bounds how long.
        with trio.CancelScope(shield=True) as scope:
            shielded.append(scope)
            await drive.run(lambda _: line.ready())
        nursery.cancel_scope.cancel()

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if shielded and not nursery_done():
                drive.stop()
                shielded[0].deadline = trio.current_time() + leave_s
            raise

    shielded: list[trio.CancelScope] = []

    def nursery_done() -> bool:
        return board.reason is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carried)
        nursery.start_soon(watch)
        nursery.start_soon(line.read)
        nursery.start_soon(line.write)
    return board.reason
