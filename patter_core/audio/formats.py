"""The audio formats a carrier or an engine can speak, and the arithmetic between bytes and time.

Audio is always mono ``bytes``: G.711 codes, or little-endian signed 16-bit PCM (``L16``; the carriers' media streams
send L16 little-endian although RTP's ``audio/L16`` is big-endian).
"""

from __future__ import annotations

import enum

import msgspec

__all__ = ["L16_8K", "L16_16K", "L16_24K", "PCMA_8K", "PCMU_8K", "AudioFormat", "Encoding"]


class Encoding(enum.Enum):
    """How a sample is written down; the names are RTP's, in lower case."""

    PCMU = "pcmu"
    """G.711 mu-law, one byte per sample."""
    PCMA = "pcma"
    """G.711 A-law, one byte per sample."""
    L16 = "l16"
    """Linear PCM, signed 16 bit, little-endian."""


_SAMPLE_BYTES = {Encoding.PCMU: 1, Encoding.PCMA: 1, Encoding.L16: 2}
_SILENCE = {Encoding.PCMU: b"\xff", Encoding.PCMA: b"\xd5", Encoding.L16: b"\x00\x00"}


class AudioFormat(msgspec.Struct, frozen=True, gc=False):
    """An encoding at a sample rate in Hz, mono."""

    encoding: Encoding
    rate: int

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"sample rate must be positive, not {self.rate}")

    @property
    def bytes_per_sample(self) -> int:
        """1 for G.711, 2 for L16."""
        return _SAMPLE_BYTES[self.encoding]

    @property
    def bytes_per_ms(self) -> int:
        """Bytes in a millisecond. ValueError where that is no whole number (22,050 Hz)."""
        samples, rest = divmod(self.rate, 1000)
        if rest:
            raise ValueError(f"{self.rate} Hz has no whole number of samples in a millisecond")
        return samples * _SAMPLE_BYTES[self.encoding]

    def duration_us(self, nbytes: int) -> int:
        """How long ``nbytes`` play, in microseconds, rounded down."""
        return nbytes * 1_000_000 // (self.rate * _SAMPLE_BYTES[self.encoding])

    def bytes_for_ms(self, ms: int) -> int:
        """The bytes of the whole samples that fit in ``ms`` milliseconds."""
        return ms * self.rate // 1000 * _SAMPLE_BYTES[self.encoding]

    def silence(self, ms: int) -> bytes:
        """``ms`` milliseconds of silence: 0xFF in mu-law, 0xD5 in A-law (the codes nearest to zero), zeros in L16."""
        return _SILENCE[self.encoding] * (ms * self.rate // 1000)


PCMU_8K = AudioFormat(Encoding.PCMU, 8000)
PCMA_8K = AudioFormat(Encoding.PCMA, 8000)
L16_8K = AudioFormat(Encoding.L16, 8000)
L16_16K = AudioFormat(Encoding.L16, 16000)
L16_24K = AudioFormat(Encoding.L16, 24000)
