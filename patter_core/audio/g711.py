"""G.711 companding by table, equal to the ITU-T reference on all 65,536 samples and all 256 codes.

Source: ITU-T G.711, and the rules of the ITU-T G.191 software tools where implementations differ: a negative sample is
folded by one's complement (``~x``), and its 16 bits are truncated, not rounded, to the 14 (mu-law) or 13 (A-law) that
G.711 defines. The standard library's late ``audioop`` shifts before it negates and is one code off at 508 mu-law
decision values. Decoders all agree.

0x7F and 0xFF both decode to zero in mu-law, so a decode and an encode keep 255 of its 256 codes; A-law keeps all.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALAW_DECODE",
    "ALAW_ENCODE",
    "ULAW_DECODE",
    "ULAW_ENCODE",
    "alaw_decode",
    "alaw_encode",
    "ulaw_decode",
    "ulaw_encode",
]

DecodeTable: TypeAlias = NDArray[np.int16]
EncodeTable: TypeAlias = NDArray[np.uint8]

_PCM = np.dtype("<i2")
_WORD = np.dtype("<u2")


def _frozen(table: NDArray[Any]) -> NDArray[Any]:
    table.setflags(write=False)
    return table


def _ulaw_decode_table() -> DecodeTable:
    code = ~np.arange(256) & 0xFF
    exponent = code >> 4 & 7
    mantissa = code & 15
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return _frozen(np.where(code & 0x80, -magnitude, magnitude).astype(_PCM))


def _alaw_decode_table() -> DecodeTable:
    code = np.arange(256) ^ 0x55
    exponent = code >> 4 & 7
    mantissa = code & 15
    # Segment 0 is linear; every other one has a leading 1 above the mantissa. The 8 is half a quantising step.
    magnitude = np.where(exponent, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0), (mantissa << 4) + 8)
    return _frozen(np.where(code & 0x80, magnitude, -magnitude).astype(_PCM))


def _segment(value: NDArray[np.int64], first_bit: int) -> NDArray[np.int64]:
    """The segment of a magnitude: how many of the powers of two from ``1 << first_bit`` on it has reached."""
    return np.searchsorted(1 << np.arange(first_bit, first_bit + 7), value, side="right")


def _by_sample(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> EncodeTable:
    """Spread the codes of all folded magnitudes over the 65,536 samples, most negative first.

    The fold is one's complement, so -1 has magnitude 0 and -32768 has 32767: the negative half is a mirror image.
    """
    repeat = 32768 // len(positive)
    halves = np.concatenate([negative[::-1], positive]).astype(np.uint8)
    return _frozen(np.repeat(halves, repeat))


def _ulaw_encode_table() -> EncodeTable:
    biased = np.minimum(np.arange(8192) + 33, 8191)
    segment = _segment(biased, 6)
    code = segment << 4 | biased >> (segment + 1) & 15
    return _by_sample(~code & 0xFF, ~code & 0x7F)


def _alaw_encode_table() -> EncodeTable:
    magnitude = np.arange(2048)
    segment = _segment(magnitude, 4)
    code = segment << 4 | magnitude >> np.maximum(segment - 1, 0) & 15
    return _by_sample((code | 0x80) ^ 0x55, code ^ 0x55)


ULAW_DECODE: DecodeTable = _ulaw_decode_table()
"""int16[256]: code -> sample."""
ULAW_ENCODE: EncodeTable = _ulaw_encode_table()
"""uint8[65536]: sample + 32768 -> code."""
ALAW_DECODE: DecodeTable = _alaw_decode_table()
"""int16[256]: code -> sample."""
ALAW_ENCODE: EncodeTable = _alaw_encode_table()
"""uint8[65536]: sample + 32768 -> code."""

# The same, indexed by the sample's bit pattern: no addition per sample.
_ULAW_BY_WORD: EncodeTable = _frozen(np.roll(ULAW_ENCODE, 32768))
_ALAW_BY_WORD: EncodeTable = _frozen(np.roll(ALAW_ENCODE, 32768))


def ulaw_decode(codes: bytes) -> bytes:
    """Mu-law codes to PCM16 little-endian, two bytes for each."""
    return ULAW_DECODE.take(np.frombuffer(codes, np.uint8)).tobytes()


def ulaw_encode(pcm: bytes) -> bytes:
    """PCM16 little-endian to mu-law codes. ValueError when ``pcm`` ends in half a sample."""
    return _ULAW_BY_WORD.take(np.frombuffer(pcm, _WORD)).tobytes()


def alaw_decode(codes: bytes) -> bytes:
    """A-law codes to PCM16 little-endian, two bytes for each."""
    return ALAW_DECODE.take(np.frombuffer(codes, np.uint8)).tobytes()


def alaw_encode(pcm: bytes) -> bytes:
    """PCM16 little-endian to A-law codes. ValueError when ``pcm`` ends in half a sample."""
    return _ALAW_BY_WORD.take(np.frombuffer(pcm, _WORD)).tobytes()
