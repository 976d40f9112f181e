"""Files, for the boards that want them: named handlers that run in worker threads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..audio.wav import repaired_header

__all__ = ["append", "create", "patch", "repair_wav", "repair_wavs"]

_HEAD_BYTES = 4096  # other programs' headers are longer than our 44 bytes, but not that long


def create(path: str, data: bytes) -> None:
    """Begin a file, in place of an older one. Traces hold what was said: nobody else may read them."""
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, os.O_TRUNC, data)


def append(path: str, data: bytes) -> None:
    """Add to a file."""
    _write(path, os.O_APPEND, data)


def patch(path: str, offset: int, data: bytes) -> None:
    """Write over bytes that are there; never a new file, and never beyond the end of one."""
    handle = os.open(path, os.O_WRONLY)
    with open(handle, "wb") as file:
        size = os.fstat(handle).st_size
        if not 0 <= offset <= size - len(data):
            raise ValueError(f"cannot write {len(data)} bytes at {offset} over a file of {size}: {path}")
        file.seek(offset)
        file.write(data)


def repair_wav(path: str) -> bool:
    """Let a WAV file whose writer crashed say how long it is. False when it needs no repair or is none.

    Nothing is cut off, so a file that is still being written takes no harm: its writer has the last word.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
    repaired = repaired_header(head, size)
    if repaired is None:
        return False
    patch(path, 0, repaired)
    return True


def repair_wavs(directory: str) -> list[str]:
    """Repair every ``*.wav`` file in a directory of recordings, before new ones are made. Returns those that needed
    it. Links are not followed, folders within not entered; what cannot be read or written is left as it is."""
    repaired: list[str] = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return repaired
    for name in names:
        path = os.path.join(directory, name)
        try:
            if name.endswith(".wav") and stat.S_ISREG(os.lstat(path).st_mode) and repair_wav(path):
                repaired.append(path)
        except OSError:
            continue
    return repaired


def _write(path: str, how: int, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
