"""A drive that is not dropped when whoever runs it is cancelled. The twin of ``patter_trio/_carried.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

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
    running = asyncio.ensure_future(drive.run(started))
    other = asyncio.ensure_future(beside()) if beside is not None else None
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.done():
            drive.stop()
            await asyncio.wait([running], timeout=grace_s)
        if not running.done():
            for _ in range(HURRIES):
                drive.stop()
            await asyncio.wait([running], timeout=LAST_S)
        raise
    finally:
        left = [task for task in (running, other) if task is not None and not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
