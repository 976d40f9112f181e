"""Run one async function on a fresh loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["run"]

T = TypeVar("T")


def run(async_fn: Callable[..., Awaitable[T]], *args: object) -> T:
    """Call ``async_fn(*args)`` on a fresh trio loop and give back what it returns."""

    async def main() -> T:
        return await async_fn(*args)

    return trio.run(main)
