"""Formats: bytes to time and back."""

from __future__ import annotations

import pytest

from patter_core.audio import (
    L16_8K,
    L16_16K,
    L16_24K,
    PCMA_8K,
    PCMU_8K,
    AudioFormat,
    Encoding,
    alaw_encode,
    ulaw_encode,
)


@pytest.mark.parametrize(
    ("fmt", "per_sample", "per_ms"),
    [(PCMU_8K, 1, 8), (PCMA_8K, 1, 8), (L16_8K, 2, 16), (L16_16K, 2, 32), (L16_24K, 2, 48)],
)
def test_sizes(fmt, per_sample, per_ms):
    assert fmt.bytes_per_sample == per_sample
    assert fmt.bytes_per_ms == per_ms
    assert fmt.bytes_for_ms(20) == 20 * per_ms
    assert fmt.duration_us(20 * per_ms) == 20_000
    assert len(fmt.silence(20)) == 20 * per_ms
    assert fmt.silence(0) == b""


def test_duration_is_exact_to_the_microsecond_and_rounds_down():
    assert PCMU_8K.duration_us(1) == 125
    assert L16_24K.duration_us(2) == 41
    assert L16_24K.duration_us(3) == 62
    assert PCMU_8K.duration_us(0) == 0


def test_silence_is_what_zero_encodes_to():
    zeros = L16_8K.silence(5)
    assert zeros == bytes(80)
    assert PCMU_8K.silence(5) == ulaw_encode(zeros)
    assert PCMA_8K.silence(5) == alaw_encode(zeros)


def test_a_rate_without_whole_milliseconds():
    voice = AudioFormat(Encoding.L16, 22050)
    with pytest.raises(ValueError, match="22050"):
        _ = voice.bytes_per_ms
    assert voice.bytes_for_ms(20) == 882
    assert voice.bytes_for_ms(1) == 44
    assert voice.duration_us(882) == 20_000


def test_formats_are_values():
    assert AudioFormat(Encoding.PCMU, 8000) == PCMU_8K
    assert {PCMU_8K: 1}[AudioFormat(Encoding("pcmu"), 8000)] == 1
    with pytest.raises(AttributeError):
        PCMU_8K.rate = 16000  # type: ignore[misc]
    with pytest.raises(ValueError, match="positive"):
        AudioFormat(Encoding.L16, 0)
