"""WAV files as bytes in memory: read what telephony systems write, write plain PCM16.

Read are format 1 (8 and 16 bit), 6 (A-law) and 7 (mu-law), bare or inside WAVE_FORMAT_EXTENSIBLE. Source: Microsoft's
RIFF/WAVE documents (mmreg.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from .g711 import alaw_decode, ulaw_decode

__all__ = [
    "MAX_DATA_BYTES",
    "Wav",
    "interleave",
    "read_wav",
    "repaired_header",
    "to_mono",
    "wav_header",
    "write_wav",
]

_PCM, _ALAW, _ULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format's two bytes in an extensible header's sub-format."""
_ENDLESS = 0x7FFFF000
"""Sizes from here on are what writers put who cannot know (0xFFFFFFFF, sox's 0x7FFFF000): read to the end."""
_UNKNOWN = 0xFFFFFFFF
"""What we put ourselves while a file grows."""
MAX_DATA_BYTES = 0xFFFFFFFF - 36
"""The most a WAV file can hold: a RIFF size is 32 bits."""


class Wav(msgspec.Struct, frozen=True, gc=False):
    """What was in a WAV file: ``pcm`` is PCM16 little-endian, channels interleaved, whole sample frames."""

    rate: int
    channels: int
    pcm: bytes


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a RIFF file: name, declared size, where its content starts."""
    at = 12
    while at + 8 <= len(data):
        name = data[at : at + 4]
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield name, size, at + 8
        at += 8 + size + size % 2  # chunks are padded to an even length


def _format(fmt: bytes) -> tuple[int, int, int, int]:
    """Code, channels, rate, bits per sample of a ``fmt`` chunk."""
    if len(fmt) < 16:
        raise ValueError(f"WAV: fmt chunk of {len(fmt)} bytes, 16 are needed")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", fmt)
    if code == _EXTENSIBLE:
        if len(fmt) < 40:
            raise ValueError(f"WAV: extensible fmt chunk of {len(fmt)} bytes, 40 are needed")
        if fmt[26:40] != _GUID_TAIL:
            raise ValueError(f"WAV: unknown sub-format {fmt[24:40].hex()}")
        code = int.from_bytes(fmt[24:26], "little")
    if (code, bits) not in ((_PCM, 8), (_PCM, 16), (_ALAW, 8), (_ULAW, 8)):
        raise ValueError(f"WAV: format {code} with {bits} bits is not PCM of 8 or 16 bits, A-law or mu-law")
    if channels == 0 or rate == 0:
        raise ValueError(f"WAV: {channels} channels at {rate} Hz")
    if align != channels * bits // 8:
        raise ValueError(f"WAV: block align {align} with {channels} channels of {bits} bits")
    return code, channels, rate, bits


def _content(data: bytes, size: int, start: int) -> bytes:
    """The samples of the data chunk, also where the writer never came back to fill in its size."""
    there = len(data) - start
    if size >= _ENDLESS:
        return data[start:]
    if size == 0 and int.from_bytes(data[4:8], "little") != len(data) - 8:
        return data[start:]
    if size > there:
        raise ValueError(f"WAV: data chunk of {size} bytes, only {there} are there")
    return data[start : start + size]


def read_wav(data: bytes) -> Wav:
    """Read a WAV file.

    A data size of 0 or 0xFFFFFFFF left by a writer that crashed or streamed means: to the end of the file. Half a
    sample frame at the end is dropped. ValueError says what is wrong or not supported.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("WAV: no RIFF/WAVE header")
    fmt: tuple[int, int, int, int] | None = None
    for name, size, start in _chunks(data):
        if name == b"fmt ":
            fmt = _format(data[start : start + size])
        elif name == b"data":
            if fmt is None:
                raise ValueError("WAV: data chunk before the fmt chunk")
            code, channels, rate, bits = fmt
            body = _content(data, size, start)
            body = body[: len(body) - len(body) % (channels * bits // 8)]
            if code == _ULAW:
                body = ulaw_decode(body)
            elif code == _ALAW:
                body = alaw_decode(body)
            elif bits == 8:
                body = ((np.frombuffer(body, np.uint8).astype("<i2") - 128) << 8).tobytes()
            return Wav(rate, channels, body)
    raise ValueError("WAV: no data chunk" if fmt is not None else "WAV: no fmt chunk")


def wav_header(rate: int, channels: int, data_bytes: int | None) -> bytes:
    """The 44 bytes before ``data_bytes`` of PCM16; None while nobody knows how many (readers take what is there).
    ValueError when that does not fit a WAV file."""
    if data_bytes is not None and not 0 <= data_bytes <= MAX_DATA_BYTES:
        raise ValueError(f"WAV: {data_bytes} bytes do not fit a WAV file")
    if not 0 < channels < 0x8000 or not 0 < rate < 1 << 32:
        raise ValueError(f"WAV: {channels} channels at {rate} Hz")
    align = 2 * channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", _UNKNOWN if data_bytes is None else 36 + data_bytes, b"WAVE"),
        *(b"fmt ", 16, _PCM, channels, rate, min(rate * align, 0xFFFFFFFF), align, 16),
        *(b"data", _UNKNOWN if data_bytes is None else data_bytes),
    )


def repaired_header(head: bytes, file_size: int) -> bytes | None:
    """What to write over the beginning of a file whose writer never came back to say how long it is.

    ``head`` is the file's beginning, up to its samples or further. Repaired is a size nobody filled in, and one that is
    more than there is (its last samples never reached the disk). None when there is nothing to repair: it is not a WAV
    file we read, all it says is true, or its samples begin beyond ``head``. Half a sample frame at the end does not
    count.
    """
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    align = 0
    for name, size, start in _chunks(head):
        if name == b"fmt ":
            try:
                _, channels, _, bits = _format(head[start : start + size])
            except ValueError:
                return None
            align = channels * bits // 8
        elif name == b"data":
            there = file_size - start
            unsaid = size > there or size == _UNKNOWN
            unsaid |= size == 0 and int.from_bytes(head[4:8], "little") != file_size - 8
            if not align or not unsaid or there < 0:
                return None
            there = min(there, _UNKNOWN + 8 - start)
            there -= there % align
            riff, data = (each.to_bytes(4, "little") for each in (start - 8 + there, there))
            return head[:4] + riff + head[8 : start - 4] + data
    return None


def write_wav(rate: int, channels: int, pcm: bytes) -> bytes:
    """A WAV file of PCM16 little-endian, channels interleaved. ValueError for half a sample frame."""
    if len(pcm) % (2 * channels):
        raise ValueError(f"WAV: {len(pcm)} bytes are no whole number of {channels}-channel sample frames")
    return wav_header(rate, channels, len(pcm)) + pcm


def interleave(left: bytes, right: bytes) -> bytes:
    """Two PCM16 mono recordings as one stereo; silence fills up the shorter."""
    size = max(len(left), len(right))
    both = np.empty((size // 2, 2), "<i2")
    both[:, 0] = np.frombuffer(left.ljust(size, b"\0"), "<i2")
    both[:, 1] = np.frombuffer(right.ljust(size, b"\0"), "<i2")
    return both.tobytes()


def to_mono(wav: Wav) -> bytes:
    """The mean of a file's channels, rounded: PCM16 little-endian."""
    if wav.channels == 1:
        return wav.pcm
    samples: NDArray[np.int16] = np.frombuffer(wav.pcm, "<i2").reshape(-1, wav.channels)
    total: NDArray[np.int64] = samples.sum(axis=1, dtype=np.int64)
    return ((2 * total + wav.channels) // (2 * wav.channels)).astype("<i2").tobytes()
