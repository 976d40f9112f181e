"""A few things that run side by side, for the command line. The twin of ``patter_asyncio/_together.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["together"]


async def together(*jobs: Callable[[], Awaitable[object]]) -> None:
    """Run them all; returns when all have returned. What one raises cancels the others."""

    async def one(job: Callable[[], Awaitable[object]]) -> None:
        await job()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(one, job)
