"""Voice activity by energy over an adaptive noise floor: no model, a few microseconds for a frame.

The sound is cut into windows of 20 ms, whatever the chunks it came in, and the energy of each (without its mean: lines
carry direct current) is compared with the noise floor. The floor is the minimum of the smoothed energy over the last
seconds ("minimum statistics"): speech has gaps, so the minimum is what is under it, and a steady sound becomes floor
after that time. It tells a voice from quiet and from steady noise. It does not tell a voice from music or babble:
where an engine or a model detects turns, prefer that.

Positions are milliseconds of the sound that was fed, from the start of the stream. No clock is involved.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import msgspec
import numpy as np

from .formats import AudioFormat, Encoding
from .g711 import ALAW_DECODE, ULAW_DECODE

__all__ = ["WINDOW_MS", "EnergyVad", "SpeechStarted", "SpeechStopped", "VadEvent"]

WINDOW_MS = 20
"""A carrier's frame, and long enough to hold a period of a deep voice."""

_CELL_WINDOWS = 10
"""Windows whose minimum is remembered as one number: the floor's memory moves in steps of 200 ms."""
_SMOOTHING = 0.25
"""One-pole smoothing of the energy (about 80 ms) before minima are taken: a dropped frame is not the noise floor."""
_SETTLE_MS = 1000
"""For so long the floor is not believed above ``settle_floor_dbfs``: a call may begin in the middle of a word."""

_LINEAR = {
    Encoding.PCMU: ULAW_DECODE.astype(np.float64),
    Encoding.PCMA: ALAW_DECODE.astype(np.float64),
}


class SpeechStarted(msgspec.Struct, frozen=True, gc=False):
    """A voice began at ``at_ms``, the start of its first window; it is reported once confirmed."""

    at_ms: int


class SpeechStopped(msgspec.Struct, frozen=True, gc=False):
    """The voice ended at ``at_ms``, the end of its last window; it is reported once the hang-over is through."""

    at_ms: int


VadEvent: TypeAlias = SpeechStarted | SpeechStopped


class EnergyVad:
    """One stream's detector; ``process`` takes PCM16 at ``rate``, or what ``format`` says (mu-law needs no decoding).

    * ``start_ms``: how much voice, within ``start_within_ms`` (at most 2 s: later, a start is old news), confirms a
      start. Less is quicker and starts on clicks.
    * ``stop_ms``: how much quiet confirms the end. Less cuts pauses for thought.
    * ``threshold_db``: how far above the noise floor a voice is; ``hysteresis_db`` less keeps one going.
    * ``floor_min_dbfs``: the quietest floor believed, so that in digital silence not every rustle is a voice.
    * ``settle_floor_dbfs``: the loudest floor believed in the first second.
    * ``floor_memory_ms``: a steady sound of this length becomes floor.

    Levels are dBFS with a full-scale sine wave at 0. Times count in windows of 20 ms, rounded up. ValueError for
    settings that make no sense.
    """

    def __init__(
        self,
        rate: int = 8000,
        *,
        format: AudioFormat | None = None,
        start_ms: int = 60,
        start_within_ms: int = 120,
        stop_ms: int = 500,
        threshold_db: float = 9.0,
        hysteresis_db: float = 3.0,
        floor_min_dbfs: float = -60.0,
        settle_floor_dbfs: float = -45.0,
        floor_memory_ms: int = 3000,
    ) -> None:
        self.format = format if format is not None else AudioFormat(Encoding.L16, rate)
        if self.format.rate * WINDOW_MS % 1000:
            raise ValueError(f"{self.format.rate} Hz has no whole number of samples in {WINDOW_MS} ms")
        if not 0 < start_ms <= start_within_ms:
            raise ValueError(f"start_ms must be positive and at most start_within_ms, not {start_ms}")
        if start_within_ms > 2000:
            raise ValueError(f"start_within_ms must be at most 2000, not {start_within_ms}")
        if stop_ms <= 0:
            raise ValueError(f"stop_ms must be positive, not {stop_ms}")
        if not 0 <= hysteresis_db < threshold_db:
            raise ValueError(f"hysteresis_db must be at least 0 and below threshold_db, not {hysteresis_db}")
        if floor_memory_ms < WINDOW_MS * _CELL_WINDOWS:
            raise ValueError(f"floor_memory_ms must be at least {WINDOW_MS * _CELL_WINDOWS}, not {floor_memory_ms}")

        samples = self.format.rate * WINDOW_MS // 1000
        self._window_bytes = samples * self.format.bytes_per_sample
        self._linear = _LINEAR.get(self.format.encoding)
        self._ones = np.ones(samples)
        self._per_sample = 1.0 / samples
        # The energy of a window at a level: all comparisons are of energies, none needs a logarithm.
        full_scale = samples * 32768.0**2 / 2
        self._floor_min = full_scale * 10 ** (floor_min_dbfs / 10)
        self._settle_floor = full_scale * 10 ** (max(settle_floor_dbfs, floor_min_dbfs) / 10)
        self._settle_windows = _SETTLE_MS // WINDOW_MS
        self._start_factor = 10 ** (threshold_db / 10)
        self._stay_factor = 10 ** ((threshold_db - hysteresis_db) / 10)
        self._start_windows = -(-start_ms // WINDOW_MS)
        self._start_mask = (1 << -(-start_within_ms // WINDOW_MS)) - 1
        self._stop_windows = -(-stop_ms // WINDOW_MS)
        self._cells: deque[float] = deque(maxlen=floor_memory_ms // (WINDOW_MS * _CELL_WINDOWS))
        self.reset()

    def reset(self) -> None:
        """Forget everything, the position too: the next sample is at 0 ms."""
        self._rest = b""
        self._windows = 0
        self._recent = 0  # one bit per window, newest lowest: was it voiced?
        self._quiet = 0
        self._speaking = False
        self._last_voiced = 0
        self._smooth = -1.0
        self._cells.clear()
        self._past_floor = float("inf")
        self._cell_floor = float("inf")

    @property
    def speaking(self) -> bool:
        """A start has been reported and its end has not."""
        return self._speaking

    @property
    def last_voiced_ms(self) -> int | None:
        """Where the last window of confirmed speech ended; None before the first start."""
        return self._last_voiced * WINDOW_MS if self._last_voiced else None

    @property
    def position_ms(self) -> int:
        """How much sound has been judged; less than a window may be waiting."""
        return self._windows * WINDOW_MS

    def process(self, data: bytes) -> list[VadEvent]:
        """Take in a chunk of any size; return what it decided, in order."""
        events: list[VadEvent] = []
        size = self._window_bytes
        if self._rest:
            data = self._rest + data
        if len(data) == size:
            self._rest = b""
            self._window(data, events)
            return events
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        for at in range(0, whole, size):
            self._window(data[at : at + size], events)
        return events

    def _window(self, data: bytes, events: list[VadEvent]) -> None:
        if self._linear is None:
            wave = np.frombuffer(data, "<i2").astype(np.float64)
        else:
            wave = self._linear.take(np.frombuffer(data, np.uint8))
        # Both sums are whole numbers below 2**53: exact, whatever order they are added in.
        mean = float(wave.dot(self._ones))
        energy = float(wave.dot(wave)) - mean * mean * self._per_sample
        floor = self._floor(energy)
        factor = self._stay_factor if self._speaking else self._start_factor
        voiced = energy > floor * factor
        self._windows += 1
        self._recent = (self._recent << 1 | voiced) & self._start_mask
        if voiced:
            self._quiet = 0
            if self._speaking:
                self._last_voiced = self._windows
            elif self._recent.bit_count() >= self._start_windows:
                self._speaking = True
                self._last_voiced = self._windows
                events.append(SpeechStarted((self._windows - self._recent.bit_length()) * WINDOW_MS))
        elif self._speaking:
            self._quiet += 1
            if self._quiet >= self._stop_windows:
                self._speaking = False
                self._recent = 0
                events.append(SpeechStopped(self._last_voiced * WINDOW_MS))

    def _floor(self, energy: float) -> float:
        """Take a window's energy into the floor, and return the floor it is to be judged by."""
        smooth = self._smooth
        smooth = energy if smooth < 0 else smooth + (energy - smooth) * _SMOOTHING
        self._smooth = smooth
        if smooth < self._cell_floor:
            self._cell_floor = smooth
        floor = min(self._past_floor, self._cell_floor)
        if self._windows < self._settle_windows and floor > self._settle_floor:
            floor = self._settle_floor
        if self._windows % _CELL_WINDOWS == _CELL_WINDOWS - 1:
            self._cells.append(self._cell_floor)
            self._past_floor = min(self._cells)
            self._cell_floor = float("inf")
        return max(floor, self._floor_min)
