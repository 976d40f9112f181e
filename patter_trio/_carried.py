"""A drive that is not dropped when whoever runs it is cancelled. The twin of ``patter_asyncio/_carried.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ._drive import Drive

__all__ = ["carried"]

HURRIES = 6  #: more than there are phases on the way down
LAST_S = 0.5  #: for what a hurried ending still has to say


async def carried(
    drive: Drive,
    started: Callable[[Any], object],
    grace_s: float,
    beside: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run ``drive`` to its end, with ``beside`` next to it. Cancelled from outside, the board is asked to stop and has
    ``grace_s`` to do it properly; then it is hurried, and only then dropped. The cancellation goes on afterwards."""
    done = trio.Event()
    codes: list[int] = []
    crashes: list[Exception] = []
    shielded = trio.CancelScope(shield=True)

    async def run() -> None:
        with shielded:
            async with trio.open_nursery() as inner:
                if beside is not None:
                    inner.start_soon(beside)
                try:
                    codes.append(await drive.run(started))
                except Exception as exc:
                    crashes.append(exc)  # raised below, outside the groups that nurseries make
                inner.cancel_scope.cancel()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            await done.wait()
        except trio.Cancelled:
            drive.stop()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + grace_s):
                await done.wait()
            if not done.is_set():
                for _ in range(HURRIES):
                    drive.stop()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_S):
                    await done.wait()
            shielded.cancel()
            raise
    if crashes:
        raise crashes[0]
    return codes[0]
