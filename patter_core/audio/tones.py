"""Test tones, keypad tones and a level meter: sounds that need no voice and no file.

Levels are in dBFS after AES17: a sine wave that just reaches full scale is 0 dBFS.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTMF_HZ", "dtmf", "level_dbfs", "tone"]

_LOW_HZ = (697, 770, 852, 941)
_HIGH_HZ = (1209, 1336, 1477, 1633)
DTMF_HZ: dict[str, tuple[int, int]] = {
    key: (_LOW_HZ[at // 4], _HIGH_HZ[at % 4]) for at, key in enumerate("123A456B789C*0#D")
}
"""Keypad key -> its low and high tone in Hz (ITU-T Q.23)."""

_FADE_MS = 5
"""Long enough not to click, short beside the 40 ms a keypad tone must last."""
_LOW_DBFS, _HIGH_DBFS = -12.0, -10.0
"""The high group is 2 dB louder, as telephone sets send it: the line takes more from it (ITU-T Q.24)."""


def _sines(parts: list[tuple[float, float]], ms: int, rate: int) -> bytes:
    """The sum of sines of (Hz, dBFS), faded in and out, as PCM16."""
    count = ms * rate // 1000
    at = np.arange(count)
    wave: NDArray[np.float64] = np.zeros(count)
    for hz, dbfs in parts:
        if not 0 < hz < rate / 2:
            raise ValueError(f"{hz} Hz does not fit below half of {rate} Hz")
        wave += 32767 * 10 ** (dbfs / 20) * np.sin(2 * math.pi * hz / rate * at)
    fade = min(_FADE_MS * rate // 1000, count // 2)
    if fade:
        ramp = 0.5 - 0.5 * np.cos(math.pi * (np.arange(fade) + 0.5) / fade)
        wave[:fade] *= ramp
        wave[-fade:] *= ramp[::-1]
    return np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes()


def tone(freq_hz: float, ms: int, rate: int, level_dbfs: float = -12) -> bytes:
    """A sine wave of ``ms`` milliseconds, 5 ms faded at each end: PCM16 little-endian mono at ``rate`` Hz.

    ValueError when ``freq_hz`` is not between 0 and half the rate.
    """
    return _sines([(freq_hz, level_dbfs)], ms, rate)


def dtmf(digit: str, ms: int, rate: int) -> bytes:
    """The two tones of a keypad key (0-9, *, #, A-D): PCM16 little-endian mono at ``rate`` Hz.

    ValueError for another key.
    """
    pair = DTMF_HZ.get(digit.upper())
    if pair is None:
        raise ValueError(f"{digit!r} is not a key; keys are 0-9, *, # and A-D")
    return _sines([(pair[0], _LOW_DBFS), (pair[1], _HIGH_DBFS)], ms, rate)


def level_dbfs(pcm: bytes) -> float:
    """The level of PCM16 in dBFS; minus infinity for silence and for nothing."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    power = float(np.dot(samples, samples))
    return -math.inf if power == 0 else 10 * math.log10(2 * power / (len(samples) * 32768.0**2))
