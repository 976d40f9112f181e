"""Files, for the boards that want them: named handlers that run in worker threads."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["append", "create"]


def create(path: str, data: bytes) -> None:
    """Begin a file, in place of an older one. Traces hold what was said: nobody else may read them."""
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, os.O_TRUNC, data)


def append(path: str, data: bytes) -> None:
    """Add to a file."""
    _write(path, os.O_APPEND, data)


def _write(path: str, how: int, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
