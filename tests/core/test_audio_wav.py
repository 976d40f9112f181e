"""WAV: what telephony writes is read, what is broken is named."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio import Wav, alaw_decode, interleave, read_wav, to_mono, ulaw_decode, wav_header, write_wav

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
PCM = np.arange(-300, 300, 3).astype("<i2").tobytes()


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def fmt(code: int, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b"") -> bytes:
    align = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, rate, rate * align, align, bits) + extra)


def extensible(sub: int, bits: int, channels: int = 1, tail: bytes = GUID_TAIL) -> bytes:
    return fmt(0xFFFE, channels, 8000, bits, struct.pack("<HHIH", 22, bits, 4, sub) + tail)


@given(
    rate=st.sampled_from([8000, 16000, 22050, 24000, 48000]),
    channels=st.integers(1, 3),
    frames=st.binary(max_size=600),
)
def test_what_is_written_is_read(rate, channels, frames):
    pcm = frames[: len(frames) - len(frames) % (2 * channels)]
    data = write_wav(rate, channels, pcm)
    assert read_wav(data) == Wav(rate, channels, pcm)
    assert data[:44] == wav_header(rate, channels, len(pcm))
    with wave.open(io.BytesIO(data)) as other:
        assert (other.getframerate(), other.getnchannels(), other.getsampwidth()) == (rate, channels, 2)
        assert other.readframes(other.getnframes()) == pcm


def test_reads_what_the_standard_library_writes():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 16000, 0, "NONE", ""))
        writer.writeframes(PCM)
    assert read_wav(file.getvalue()) == Wav(16000, 2, PCM)


def test_eight_bits_are_unsigned():
    wav = read_wav(riff(fmt(1, bits=8), chunk(b"data", bytes([0, 127, 128, 129, 255]))))
    assert np.frombuffer(wav.pcm, "<i2").tolist() == [-32768, -256, 0, 256, 32512]


@pytest.mark.parametrize("head", [lambda code: fmt(code, bits=8), lambda code: extensible(code, 8)])
def test_g711(head):
    codes = bytes(range(256))
    assert read_wav(riff(head(7), chunk(b"data", codes))).pcm == ulaw_decode(codes)
    assert read_wav(riff(head(6), chunk(b"data", codes))).pcm == alaw_decode(codes)


def test_extensible_pcm():
    assert read_wav(riff(extensible(1, 16, 2), chunk(b"data", PCM))) == Wav(8000, 2, PCM)


def test_other_chunks_are_passed_over():
    data = riff(
        chunk(b"JUNK", b"odd"), fmt(1), chunk(b"fact", bytes(4)), chunk(b"data", PCM), chunk(b"LIST", b"INFOISFT")
    )
    assert read_wav(data) == Wav(8000, 1, PCM)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_size_means_to_the_end(size):
    assert read_wav(riff(fmt(1), chunk(b"data", PCM, size), size=0xFFFFFFFF)).pcm == PCM


@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF])
def test_a_crashed_writers_zero_means_to_the_end(riff_size):
    assert read_wav(riff(fmt(1), chunk(b"data", PCM, 0), size=riff_size)).pcm == PCM


def test_an_honest_zero_is_empty():
    assert read_wav(riff(fmt(1), chunk(b"data", b""), chunk(b"LIST", b"INFO"))).pcm == b""
    assert read_wav(write_wav(8000, 1, b"")) == Wav(8000, 1, b"")


def test_half_a_sample_frame_at_the_end_is_dropped():
    assert read_wav(riff(fmt(1, 2), chunk(b"data", b"abcdefg"))).pcm == b"abcd"


GOOD = riff(fmt(1), chunk(b"data", PCM))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no RIFF/WAVE"),
        (b"RIFF", "no RIFF/WAVE"),
        (b"RIFX" + GOOD[4:], "no RIFF/WAVE"),
        (GOOD[:8] + b"AVI " + GOOD[12:], "no RIFF/WAVE"),
        (GOOD[:12], "no fmt chunk"),
        (riff(fmt(1)), "no data chunk"),
        (riff(chunk(b"data", PCM), fmt(1)), "before the fmt"),
        (riff(chunk(b"fmt ", bytes(10)), chunk(b"data", PCM)), "fmt chunk of 10 bytes"),
        (riff(fmt(3, bits=32), chunk(b"data", PCM)), "format 3 with 32 bits"),
        (riff(fmt(1, bits=24), chunk(b"data", PCM)), "format 1 with 24 bits"),
        (riff(fmt(7, bits=16), chunk(b"data", PCM)), "format 7 with 16 bits"),
        (riff(fmt(1, channels=0), chunk(b"data", PCM)), "0 channels"),
        (riff(fmt(1, rate=0), chunk(b"data", PCM)), "at 0 Hz"),
        (riff(fmt(0xFFFE), chunk(b"data", PCM)), "extensible fmt chunk of 16"),
        (riff(extensible(1, 16, tail=bytes(14)), chunk(b"data", PCM)), "unknown sub-format"),
        (riff(extensible(3, 32), chunk(b"data", PCM)), "format 3"),
        (GOOD.replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 4, 16)), "block align 4"),
        (GOOD[:-50], f"data chunk of {len(PCM)} bytes, only {len(PCM) - 50}"),
    ],
)
def test_what_is_wrong_is_said(data, what):
    with pytest.raises(ValueError, match=what):
        read_wav(data)


@given(st.binary(max_size=120), st.integers(0, 60))
def test_garbage_is_only_ever_a_value_error(junk, keep):
    for data in (junk, GOOD[:keep] + junk):
        try:
            read_wav(data)
        except ValueError:
            continue


def test_writing_refuses_what_no_file_can_hold():
    with pytest.raises(ValueError, match="sample frames"):
        write_wav(8000, 2, bytes(6))
    with pytest.raises(ValueError, match="do not fit"):
        wav_header(8000, 1, 0xFFFFFFFF)
    for rate, channels in ((0, 1), (8000, 0)):
        with pytest.raises(ValueError, match="channels at"):
            wav_header(rate, channels, 0)
    assert len(wav_header(8000, 2, 0xFFFFFFFF - 36)) == 44


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [(b"aAbB", b"cCdD", b"aAcCbBdD"), (b"aAbB", b"cC", b"aAcCbB\0\0"), (b"", b"cC", b"\0\0cC"), (b"", b"", b"")],
)
def test_interleave_fills_up_the_shorter(left, right, both):
    assert interleave(left, right) == both


def test_to_mono_is_the_rounded_mean():
    assert to_mono(Wav(8000, 1, PCM)) is PCM
    frames = np.array([[1, 2], [-1, -2], [32767, 32767], [-32768, -32768], [100, -100]], "<i2")
    assert np.frombuffer(to_mono(Wav(8000, 2, frames.tobytes())), "<i2").tolist() == [2, -1, 32767, -32768, 0]
    assert to_mono(Wav(8000, 2, interleave(PCM, PCM))) == PCM
