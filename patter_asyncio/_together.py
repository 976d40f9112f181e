"""A few things that run side by side, for the command line. The twin of ``patter_trio/_together.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["together"]


async def together(*jobs: Callable[[], Awaitable[object]]) -> None:
    """Run them all; returns when all have returned. What one raises cancels the others."""

    async def one(job: Callable[[], Awaitable[object]]) -> None:
        await job()

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(one(job))
