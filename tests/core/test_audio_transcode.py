"""Transcoding: the parts, fused, give what the parts give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio import (
    L16_8K,
    L16_16K,
    L16_24K,
    PCMA_8K,
    PCMU_8K,
    AudioFormat,
    Encoding,
    Resampler,
    Transcoder,
    alaw_decode,
    alaw_encode,
    ulaw_decode,
    ulaw_encode,
)

FORMATS = [PCMU_8K, PCMA_8K, L16_8K, L16_16K, L16_24K, AudioFormat(Encoding.L16, 48000)]
CHANGES = [(src, dst) for src in FORMATS for dst in FORMATS if src != dst]
DECODE = {Encoding.PCMU: ulaw_decode, Encoding.PCMA: alaw_decode, Encoding.L16: bytes}
ENCODE = {Encoding.PCMU: ulaw_encode, Encoding.PCMA: alaw_encode, Encoding.L16: bytes}


def name(fmt: object) -> str | None:
    return f"{fmt.encoding.value}-{fmt.rate}" if isinstance(fmt, AudioFormat) else None


def one_after_another(data: bytes, src: AudioFormat, dst: AudioFormat) -> bytes:
    return ENCODE[dst.encoding](Resampler(src.rate, dst.rate).process(DECODE[src.encoding](data)))


@pytest.mark.parametrize("fmt", FORMATS, ids=name)
def test_the_same_format_is_not_touched(fmt):
    stream = Transcoder(fmt, AudioFormat(fmt.encoding, fmt.rate))
    assert stream.passthrough
    assert stream.delay_us == 0
    for data in (b"", b"\x01", b"\x00\x7f\xff" * 53):
        assert stream.process(data) is data
    assert stream.flush() == b""


@pytest.mark.parametrize(("src", "dst"), CHANGES, ids=name)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_fused_equals_one_after_another_however_cut(src, dst, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, data.draw(st.integers(0, 4000)), np.uint8).tobytes()
    whole = raw[: len(raw) - len(raw) % src.bytes_per_sample]
    want = one_after_another(whole, src, dst)
    stream = Transcoder(src, dst)
    assert not stream.passthrough
    out, at = b"", 0
    longest = data.draw(st.integers(1, 700))
    while at < len(raw):
        size = int(random.integers(0, longest + 1))
        out += stream.process(raw[at : at + size])
        at += size
    assert out == want
    stream.reset()
    assert stream.process(raw) == want


@pytest.mark.parametrize(("src", "dst"), CHANGES, ids=name)
def test_frames_stay_frames(src, dst):
    stream = Transcoder(src, dst)
    for _ in range(5):
        assert len(stream.process(src.silence(20))) == dst.bytes_for_ms(20)


@pytest.mark.parametrize(("src", "dst"), CHANGES, ids=name)
def test_silence_stays_silence(src, dst):
    out = Transcoder(src, dst).process(src.silence(100))
    level = np.abs(np.frombuffer(DECODE[dst.encoding](out), "<i2")).max()
    assert level <= 9  # A-law has no zero: its silence is 8


def test_all_codes_between_mu_law_and_a_law():
    codes = bytes(range(256))
    assert Transcoder(PCMU_8K, PCMA_8K).process(codes) == alaw_encode(ulaw_decode(codes))
    assert Transcoder(PCMA_8K, PCMU_8K).process(codes) == ulaw_encode(alaw_decode(codes))


def test_all_samples_to_g711():
    pcm = np.arange(-32768, 32768).astype("<i2").tobytes()
    assert Transcoder(L16_8K, PCMU_8K).process(pcm) == ulaw_encode(pcm)
    assert Transcoder(L16_8K, PCMA_8K).process(pcm) == alaw_encode(pcm)


def test_reset_drops_half_a_sample():
    stream = Transcoder(L16_8K, PCMU_8K)
    assert stream.process(b"\x00") == b""
    stream.reset()
    assert stream.process(bytes(4)) == b"\xff\xff"


@pytest.mark.parametrize(("src", "dst"), CHANGES, ids=name)
def test_flush_brings_the_tail_and_starts_anew(src, dst):
    random = np.random.default_rng(9)
    raw = random.integers(0, 256, 800, np.uint8).tobytes()
    stream = Transcoder(src, dst)
    body = stream.process(raw)
    tail = stream.flush()
    assert bool(tail) == (src.rate != dst.rate)
    assert len(tail) <= dst.bytes_for_ms(5)
    assert stream.process(raw) == body


def test_delay_is_the_filters():
    assert Transcoder(PCMU_8K, L16_24K).delay_us == Resampler(8000, 24000).delay_us
    assert Transcoder(PCMU_8K, PCMA_8K).delay_us == 0


def test_unknown_rates_are_refused():
    with pytest.raises(ValueError, match="11025"):
        Transcoder(PCMU_8K, AudioFormat(Encoding.L16, 11025))
