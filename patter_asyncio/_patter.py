"""``Patter`` on asyncio: the whole server behind five lines. All of it that does not name the loop is in
``patter_core.edge.patter``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from patter_core.edge.patter import LoopPatter

from ._carried import carried
from ._drive import Drive

__all__ = ["Patter"]


class Patter(LoopPatter):
    """A server for one or more carriers' numbers, on asyncio."""

    def _new_event(self) -> asyncio.Event:
        return asyncio.Event()

    def _new_drive(self, board: Any, **options: Any) -> Drive:
        return Drive(board, **options)

    async def _carried(self, drive: Any, started: Callable[[Any], object], grace_s: float) -> int:
        return await carried(drive, started, grace_s)
