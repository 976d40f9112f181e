"""Pause and resume, for whoever reads."""

from __future__ import annotations

import trio

__all__ = ["Gate"]


class Gate:
    """Open, unless shut."""

    def __init__(self) -> None:
        self._opened: trio.Event | None = None

    def shut(self) -> None:
        """Let nobody pass."""
        if self._opened is None:
            self._opened = trio.Event()

    def open(self) -> None:
        """Let everybody pass."""
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    @property
    def is_shut(self) -> bool:
        """Whether ``passed`` would wait."""
        return self._opened is not None

    async def passed(self) -> None:
        """Wait until it is open."""
        while self._opened is not None:
            await self._opened.wait()
