"""One call inside somebody else's server: they do the framing, this does the rest. The twin of
``patter_trio/_call.py``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from patter_core.call_board import CallBoard
from patter_core.contract import ConnId
from patter_core.edge.app import Plan, logged
from patter_core.edge.line import Line
from patter_core.errors import LocalProtocolError
from patter_core.reasons import EndReason

from ._carried import carried
from ._drive import Drive
from ._gate import Gate

__all__ = ["run_call"]

log = logging.getLogger("patter")

Receive = Callable[[], Awaitable[str | None]]
Send = Callable[[str], Awaitable[object]]


class TextLine(Line):
    """A WebSocket whose frames somebody else reads and writes: whole text messages."""

    def __init__(self, drive: Drive, conn: ConnId, receive: Receive, send: Send) -> None:
        super().__init__(drive, conn)
        self._receive = receive
        self._send = send
        self._gate = Gate()
        self._queue: asyncio.Queue[tuple[str, int | None] | None] = asyncio.Queue()

    async def carry(self) -> None:
        """Both directions, until there is nothing more to read or write."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.read())
            group.create_task(self.write())

    async def read(self) -> None:
        """Take messages in until there are no more. Whatever the framework raises then means the same: it is over."""
        try:
            while (text := await self._receive()) is not None:
                if not isinstance(text, str):
                    raise LocalProtocolError(f"receive() must give text messages or None, got {type(text).__name__}")
                self.got(text)
                await self._gate.passed()
        except LocalProtocolError as exc:
            log.error("%s", exc)
        except Exception:
            pass
        finally:
            self.ended()

    async def write(self) -> None:
        """Send what was put, in order, then let go."""
        try:
            while (item := await self._queue.get()) is not None:
                await self._send(item[0])
                if item[1] is not None:
                    self.left(item[1])
        except Exception:
            pass  # the peer is gone; reading says so too
        finally:
            self.gone()

    def _put(self, raw: bytes | str, total: int | None) -> None:
        self._queue.put_nowait((raw if isinstance(raw, str) else raw.decode(), total))

    def _end_output(self) -> None:
        self._queue.put_nowait(None)

    def _shut(self) -> None:
        self._queue.put_nowait(None)

    def _drop(self) -> None:
        self._queue.put_nowait(None)

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
    board = CallBoard(plan.spec, trace_dir=plan.trace, seed=plan.seed)
    drive = Drive(board, handlers=plan.handlers, secrets=plan.secrets, on_event=logged(on_event), leave_s=leave_s)
    line = TextLine(drive, board.conn, receive, send)
    drive.adopt(line)
    with plan.orders.given_to(drive):
        await carried(drive, lambda _: line.ready(), leave_s, line.carry)
    return board.reason
