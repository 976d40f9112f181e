"""From one audio format to another, in a stream: the one thing that stands between a carrier's codec and an engine's.

What needs no change is not touched: the same format in and out returns the very object it was given. At one rate,
re-coding is a single table look-up. Across rates the companding is part of the resampler's pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import AudioFormat, Encoding
from .g711 import ALAW_DECODE, ALAW_ENCODE, ULAW_DECODE, ULAW_ENCODE
from .resample import Resampler

__all__ = ["Transcoder"]

_DECODE = {Encoding.PCMU: ULAW_DECODE, Encoding.PCMA: ALAW_DECODE}
_ENCODE = {Encoding.PCMU: ULAW_ENCODE, Encoding.PCMA: ALAW_ENCODE}
_LINEAR = {encoding: table.astype(np.float64) for encoding, table in _DECODE.items()}


def _same_rate_table(src: Encoding, dst: Encoding) -> NDArray[Any]:
    """The look-up from one encoding to another: by code from G.711, by the sample's bit pattern from L16."""
    if src is Encoding.L16:
        return np.roll(_ENCODE[dst], 32768)
    if dst is Encoding.L16:
        return _DECODE[src]
    return _ENCODE[dst][_DECODE[src].astype(np.int32) + 32768]


_TABLES = {(src, dst): _same_rate_table(src, dst) for src in Encoding for dst in Encoding if src is not dst}
_KINDS = {encoding: np.dtype("<u2" if encoding is Encoding.L16 else np.uint8) for encoding in Encoding}


class Transcoder:
    """A stream of audio from ``src`` to ``dst``.

    Chunks may be of any size; half an L16 sample waits for its other half, except on pass-through. ValueError when
    the rates are not ones the resampler converts between.
    """

    __slots__ = ("_half", "_kind", "_resampler", "_table", "dst", "passthrough", "src")

    def __init__(self, src: AudioFormat, dst: AudioFormat) -> None:
        self.src = src
        self.dst = dst
        self.passthrough = src == dst
        """Nothing is changed: what goes in comes out, the same object."""
        self._half = b""
        self._kind = _KINDS[src.encoding]
        self._resampler: Resampler | None = None
        self._table: NDArray[Any] | None = None
        if src.rate != dst.rate:
            self._resampler = Resampler(
                src.rate, dst.rate, decode=_LINEAR.get(src.encoding), encode=_ENCODE.get(dst.encoding)
            )
        elif not self.passthrough:
            self._table = _TABLES[src.encoding, dst.encoding]

    @property
    def delay_us(self) -> int:
        """What this adds to the age of the sound, in microseconds."""
        return 0 if self._resampler is None else self._resampler.delay_us

    def reset(self) -> None:
        """Forget the sound so far, as after a clear: the next byte is the first, as in a new stream."""
        self._half = b""
        if self._resampler is not None:
            self._resampler.reset()

    def process(self, data: bytes) -> bytes:
        """Take in a chunk, give out every sample that is settled by it."""
        if self._resampler is not None:
            return self._resampler.process(data)
        if self._table is None:
            return data
        if self._kind.itemsize == 2:
            if self._half:
                data = self._half + data
                self._half = b""
            if len(data) % 2:
                self._half = data[-1:]
                data = data[:-1]
        return self._table.take(np.frombuffer(data, self._kind)).tobytes()

    def flush(self) -> bytes:
        """End the stream: give out what still rings in the filter (nothing at one rate), and reset."""
        self._half = b""
        return b"" if self._resampler is None else self._resampler.flush()
