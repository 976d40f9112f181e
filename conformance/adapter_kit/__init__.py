"""The adapter kit: scripted boards that any event-loop adapter must carry correctly. See README.md."""

from __future__ import annotations

from .runner import Result, run_kit, run_one

__all__ = ["Result", "run_kit", "run_one"]
