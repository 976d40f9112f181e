"""Run one async function on a fresh loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(async_fn: Callable[..., Awaitable[T]], *args: object) -> T:
    """Call ``async_fn(*args)`` on a fresh asyncio loop and give back what it returns."""

    async def main() -> T:
        return await async_fn(*args)

    return asyncio.run(main())
