"""Tones: the right pitch, the right level, no clicks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patter_core.audio import dtmf, level_dbfs, tone
from patter_core.audio.tones import DTMF_HZ


def peaks(pcm: bytes, rate: int, count: int) -> list[tuple[float, float]]:
    """The ``count`` strongest frequencies and their dBFS, in order of frequency."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    window = np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window)) * 2 / window.sum() / 32768
    found = []
    for _ in range(count):
        at = int(spectrum.argmax())
        found.append((at * rate / len(samples), 20 * math.log10(spectrum[at])))
        spectrum[max(0, at - 4) : at + 5] = 0
    return sorted(found)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000])
@pytest.mark.parametrize(("hz", "level"), [(440, -12), (1000, -3), (3000, -30)])
def test_pitch_length_and_level(rate, hz, level):
    pcm = tone(hz, 1000, rate, level)
    assert len(pcm) == 2 * rate
    [(found_hz, found_db)] = peaks(pcm, rate, 1)
    assert found_hz == pytest.approx(hz, abs=1)
    assert found_db == pytest.approx(level, abs=0.2)
    assert level_dbfs(pcm) == pytest.approx(level, abs=0.1)


def test_the_default_level():
    assert level_dbfs(tone(1000, 1000, 8000)) == pytest.approx(-12, abs=0.1)


def test_ends_are_faded():
    samples = np.abs(np.frombuffer(tone(1000, 100, 8000, 0), "<i2").astype(int))
    assert samples[:4].max() < 500
    assert samples[-4:].max() < 500
    assert samples[40:-40].max() > 32000


@pytest.mark.parametrize("ms", [0, 1, 3])
def test_very_short_tones(ms):
    assert len(tone(1000, ms, 8000)) == 16 * ms


@pytest.mark.parametrize("hz", [0, -5, 4000, 9000])
def test_pitch_must_fit_the_rate(hz):
    with pytest.raises(ValueError, match="Hz"):
        tone(hz, 10, 8000)


def test_keypad_pairs():
    assert len(DTMF_HZ) == 16
    assert DTMF_HZ["1"] == (697, 1209)
    assert DTMF_HZ["5"] == (770, 1336)
    assert DTMF_HZ["0"] == (941, 1336)
    assert DTMF_HZ["*"] == (941, 1209)
    assert DTMF_HZ["#"] == (941, 1477)
    assert DTMF_HZ["D"] == (941, 1633)


@pytest.mark.parametrize("key", list(DTMF_HZ))
@pytest.mark.parametrize("rate", [8000, 16000])
def test_keypad_tones(key, rate):
    pcm = dtmf(key, 200, rate)
    (low, low_db), (high, high_db) = peaks(pcm, rate, 2)
    assert low == pytest.approx(DTMF_HZ[key][0], abs=5)
    assert high == pytest.approx(DTMF_HZ[key][1], abs=5)
    assert 0.5 < high_db - low_db < 3.5  # the high group is sent 2 dB louder; a Hann window reads +-1.4
    assert np.abs(np.frombuffer(pcm, "<i2").astype(int)).max() < 32767


def test_small_letters_are_keys_and_others_are_not():
    assert dtmf("a", 50, 8000) == dtmf("A", 50, 8000)
    for key in ("", "E", "12", " "):
        with pytest.raises(ValueError, match="key"):
            dtmf(key, 50, 8000)


def test_level_of_nothing():
    assert level_dbfs(b"") == -math.inf
    assert level_dbfs(bytes(100)) == -math.inf
    assert level_dbfs(np.full(100, -32768, "<i2").tobytes()) == pytest.approx(3.01, abs=0.01)
