"""What every voice needs around its synthesiser: text cut into breaths; sound trimmed, spaced and cut into chunks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["CHUNK_MS", "GAP_MS", "MAX_BREATH", "breaths", "spoken_chunks", "trimmed"]

CHUNK_MS = 100
"""Length of the chunks given out: a tenth of a second is one message on the way to a carrier."""
GAP_MS = 180
"""Silence between two sentences. Longer sounds on the telephone as if the other side waited for an answer."""
MAX_BREATH = 240
"""Characters synthesised at a time: about 15 s of speech, which bounds how long a voice is held for one caller."""
_EDGE_MS = 10
"""Kept around the sound, so that soft consonants at the edges survive the trimming."""
_SILENT = 150
"""Samples no louder than this (-47 dBFS) at the edges are taken for silence."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\s*\n\s*")


def breaths(text: str) -> Iterator[str]:
    """The text in sentences, and sentences that are too long in pieces: at a comma, else at a space, else anywhere."""
    # Half of a surrogate pair has no UTF-8, and a zero byte ends a C string.
    text = text.encode("utf-8", "replace").decode().replace("\0", " ")
    for sentence in _SENTENCE_END.split(text):
        rest = sentence.strip()
        while len(rest) > MAX_BREATH:
            cut = max(rest.rfind(", ", 0, MAX_BREATH) + 1, 0) or rest.rfind(" ", 0, MAX_BREATH)
            cut = cut if cut > 0 else MAX_BREATH
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if any(letter.isalnum() for letter in rest):
            yield rest


def trimmed(pcm: bytes, rate: int) -> bytes:
    """PCM16 little-endian mono without the silence before and after the sound; b"" when there is no sound."""
    samples = np.frombuffer(pcm[: len(pcm) & ~1], "<i2").astype(np.int32)
    loud = np.flatnonzero(np.abs(samples) > _SILENT)
    if not len(loud):
        return b""
    edge = rate * _EDGE_MS // 1000
    first, last = max(0, int(loud[0]) - edge), int(loud[-1]) + 1 + edge
    return pcm[2 * first : 2 * min(last, len(samples))]


def spoken_chunks(text: str, rate: int, synthesise: Callable[[str], bytes]) -> Iterator[bytes]:
    """The speech of a text in chunks, one sentence synthesised at a time and only when it is asked for.

    A caller who interrupts therefore costs nothing beyond the sentence being said.
    """
    step = 2 * (rate * CHUNK_MS // 1000)
    gap = bytes(2 * (rate * GAP_MS // 1000))
    said = False
    for breath in breaths(text):
        sound = trimmed(synthesise(breath), rate)
        if not sound:
            continue
        sound = gap + sound if said else sound
        said = True
        for at in range(0, len(sound), step):
            yield sound[at : at + step]
