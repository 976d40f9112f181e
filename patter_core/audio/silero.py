"""Silero's voice detector in numpy: one set of weights for the whole process, a few kilobytes of state for each call.

The network (Silero VAD 5 and 6, the 8 kHz half: MIT, https://github.com/snakers4/silero-vad) judges 32 ms at a time,
with the 4 ms before them: spectrum, four convolutions, an LSTM cell, one number. It tells a voice from music and noise,
which energy cannot. Every line is judged at 8 kHz: that half is the cheaper one and, on telephone speech in noise, the
better one. The weights are not part of this project: the edge reads them from an installed package.

The arithmetic is exact, so that a trace replays bit for bit on any machine: weights and activations are whole
multiples of small powers of two, and bounded, so that every sum in a matrix product fits a double (say, multiples of
2**-38 below 2**15) and the order in which a BLAS adds does not show. Probabilities differ by less than 1e-4 from the
model's own for it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .formats import L16_8K, AudioFormat, Encoding
from .g711 import ALAW_DECODE, ULAW_DECODE
from .transcode import Transcoder
from .vad import SpeechStarted, SpeechStopped, VadEvent

__all__ = ["SILERO_WINDOW_MS", "SileroDetector", "SileroNet", "SileroWeights"]

SILERO_WINDOW_MS = 32
"""What the network was made for; no other length gives sense."""

_Floats: TypeAlias = NDArray[np.float64]

_RATE = 8000
_WINDOW = _RATE * SILERO_WINDOW_MS // 1000
_BEFORE = 32  # samples of the window before
_AFTER = 32  # ... and as many mirrored at the end
_FFT, _HOP, _BINS = 128, 64, 65
_FRAMES = 4
_CELL = 128  # values in the LSTM's state

_START_WINDOWS = 2
_START_WITHIN = 3
"""A start is confirmed by two voiced windows of three: a click fills one."""
_HYSTERESIS = 0.15
"""So much less than the threshold keeps a voice going, as in Silero's own iterator."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "stft.forward_basis_buffer": (2 * _BINS, 1, _FFT),
    "encoder.0.reparam_conv.weight": (128, _BINS, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (_CELL, 64, 3),
    "encoder.3.reparam_conv.bias": (_CELL,),
    "decoder.rnn.weight_ih": (4 * _CELL, _CELL),
    "decoder.rnn.weight_hh": (4 * _CELL, _CELL),
    "decoder.rnn.bias_ih": (4 * _CELL,),
    "decoder.rnn.bias_hh": (4 * _CELL,),
    "decoder.decoder.2.weight": (1, _CELL, 1),
    "decoder.decoder.2.bias": (1,),
}
"""The tensors, as the package's own model file names them."""

_BASIS_BITS = 30
_WEIGHT_BITS = (17, 20, 20, 20)
"""Binary places of the convolutions' weights (the first one's are larger), then of all others'."""
_LEVELS = 1.5 * 2.0 ** (52 - 22)
"""Added and taken away again, this rounds to a multiple of 2**-22: a spectrum is small in a quiet line."""
_VALUES = 1.5 * 2.0 ** (52 - 18)
_KEPT = 1.5 * 2.0 ** (52 - 36)
"""What the LSTM keeps is in no matrix product; rounding it hides the last bit in which one machine's tanh differs from
another's."""
_MOST = 400.0
"""The largest activation let through. Full-scale noise, tones and clicks stay below 350, speech far below."""
_MOST_IN = 250.0
"""The same for what goes into the LSTM; at most 46 was seen."""
_SLABS = 16
"""The LSTM's matrix is applied in slabs: a BLAS would spread the whole over threads, which takes longer than it does
and would have every call of the process wait for every other."""
_GATES = np.r_[0:128, 128:256, 384:512, 256:384]
"""In, forget, out, and then what is kept: the first three are sigmoids."""


class SileroWeights:
    """The network's weights, laid out for ``SileroNet``. Nothing changes them: any number of calls share one.

    ``digest`` names them by what they are, so that a recorded call can say which ones it was made with. ValueError
    when ``tensors`` is not the 8 kHz half of Silero VAD 5 or 6.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        found: dict[str, _Floats] = {}
        seen = hashlib.sha256()
        for name, shape in _SHAPES.items():
            tensor = tensors.get(name)
            if tensor is None:
                raise ValueError(f"there is no tensor {name}")
            if tensor.shape != shape:
                raise ValueError(f"{name} has the shape {tensor.shape}, not {shape}")
            values = np.ascontiguousarray(tensor, "<f4")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds values that are no numbers")
            seen.update(values.tobytes())
            found[name] = values.astype(np.float64)
        self.digest = seen.hexdigest()[:16]
        conv = [found[f"encoder.{n}.reparam_conv.weight"] for n in range(4)]
        self.basis = _grid(found["stft.forward_basis_buffer"][:, 0, :].T, _BASIS_BITS)
        # Each convolution has three taps and a row of zeros at both ends. Where the input is too short for all three,
        # those that would only see zeros are left out.
        self.conv = tuple(
            _grid(np.concatenate([kernel[:, :, tap].T for tap in taps]), bits)
            for kernel, taps, bits in zip(conv, ((0, 1, 2), (0, 1, 2), (1, 2), (1,)), _WEIGHT_BITS, strict=True)
        )
        self.bias = tuple(_grid(found[f"encoder.{n}.reparam_conv.bias"]) for n in range(4))
        cell = np.concatenate([found["decoder.rnn.weight_ih"], found["decoder.rnn.weight_hh"]], axis=1)[_GATES]
        bias = (found["decoder.rnn.bias_ih"] + found["decoder.rnn.bias_hh"])[_GATES]
        # A sigmoid is half a tanh of half the argument: one tanh then does all four gates.
        half = np.ones(4 * _CELL)
        half[: 3 * _CELL] = 0.5
        self.cell = _grid(cell * half[:, None]).reshape(_SLABS, 4 * _CELL // _SLABS, 2 * _CELL)
        self.cell_bias = _grid(bias * half)
        self.out = _grid(found["decoder.decoder.2.weight"][0, :, 0])
        self.out_bias = float(_grid(found["decoder.decoder.2.bias"])[0])
        self._check_bounds()
        for array in (self.basis, *self.conv, *self.bias, self.cell, self.cell_bias, self.out):
            array.setflags(write=False)

    def _check_bounds(self) -> None:
        """Every sum must stay exact, whatever is heard."""
        loudest = math.sqrt(2) * _longest(self.basis)
        most = [
            _longest(self.basis) / (1 << 7),
            loudest * _longest(self.conv[0]) / (1 << 14),
            *(_MOST * _longest(matrix) / (1 << 15) for matrix in self.conv[1:]),
            _MOST_IN * _longest(self.cell.reshape(4 * _CELL, -1).T) / (1 << 15),
        ]
        if max(most) > 1:
            raise ValueError("the weights are larger than those of the models this was made for")

    def __repr__(self) -> str:
        return f"SileroWeights({self.digest})"


def _longest(matrix: _Floats) -> float:
    """The largest output for inputs of at most 1."""
    return float(np.abs(matrix).sum(axis=0).max())


def _grid(values: _Floats, bits: int = _WEIGHT_BITS[-1]) -> _Floats:
    scale = float(1 << bits)
    return np.ascontiguousarray(np.rint(values * scale) / scale)


def _rectify(values: _Floats, most: float = _MOST) -> None:
    np.maximum(values, 0.0, out=values)
    np.minimum(values, most, out=values)
    _round(values, _VALUES)


def _round(values: _Floats, to: float) -> None:
    values += to
    values -= to


class SileroNet:
    """One stream's network: feed it windows in order."""

    def __init__(self, weights: SileroWeights) -> None:
        self._weights = weights
        self._wave = np.zeros(_BEFORE + _WINDOW + _AFTER)
        size = self._wave.itemsize
        self._frames = as_strided(self._wave, (_FRAMES, _FFT), (_HOP * size, size))
        self._parts = np.zeros((_FRAMES, 2 * _BINS))
        # The rows of zeros around a convolution's input are never written.
        levels = np.zeros((_FRAMES + 2, _BINS))
        self._levels = levels[1:-1]
        self._level_taps = as_strided(levels, (_FRAMES, 3 * _BINS), (_BINS * size, size))
        first = np.zeros((_FRAMES + 1, 128))
        self._first = first[1:]
        self._first_taps = as_strided(first, (2, 3 * 128), (2 * 128 * size, size))
        self._second = np.zeros((2, 64))
        self._third = np.zeros(64)
        self._both = np.zeros(2 * _CELL)  # what goes into the cell, and what last came out of it
        self._kept = np.zeros(_CELL)

    def reset(self) -> None:
        """A new stream begins."""
        self._wave[:] = 0.0
        self._both[:] = 0.0
        self._kept[:] = 0.0

    def judge(self, window: _Floats) -> float:
        """256 samples of -1 to 1 at 8 kHz; the log odds that there is a voice in them."""
        weights = self._weights
        conv, bias = weights.conv, weights.bias
        wave = self._wave
        wave[:_BEFORE] = wave[_WINDOW : _WINDOW + _BEFORE]
        wave[_BEFORE : _BEFORE + _WINDOW] = window
        wave[_BEFORE + _WINDOW :] = wave[-_AFTER - 2 : -2 * _AFTER - 2 : -1]

        parts, levels = self._parts, self._levels
        np.dot(self._frames, weights.basis, out=parts)
        np.multiply(parts, parts, out=parts)
        np.add(parts[:, :_BINS], parts[:, _BINS:], out=levels)
        np.sqrt(levels, out=levels)
        _round(levels, _LEVELS)

        values = self._first
        np.dot(self._level_taps, conv[0], out=values)
        values += bias[0]
        _rectify(values)
        values = self._second
        np.dot(self._first_taps, conv[1], out=values)
        values += bias[1]
        _rectify(values)
        third = self._third
        np.dot(values.reshape(-1), conv[2], out=third)
        third += bias[2]
        _rectify(third)
        values = self._both[:_CELL]
        np.dot(third, conv[3], out=values)
        values += bias[3]
        _rectify(values, _MOST_IN)

        gates = np.matmul(weights.cell, self._both).reshape(-1)
        gates += weights.cell_bias
        np.tanh(gates, out=gates)
        open_ = gates[: 3 * _CELL]
        open_ *= 0.5
        open_ += 0.5
        kept, out = self._kept, self._both[_CELL:]
        kept *= gates[_CELL : 2 * _CELL]
        kept += gates[:_CELL] * gates[3 * _CELL :]
        _round(kept, _KEPT)
        np.tanh(kept, out=out)
        out *= gates[2 * _CELL : 3 * _CELL]
        _round(out, _VALUES)
        return float(np.maximum(out, 0.0).dot(weights.out)) + weights.out_bias


def _odds(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


_UNIT = {
    Encoding.PCMU: ULAW_DECODE / 32768.0,
    Encoding.PCMA: ALAW_DECODE / 32768.0,
}


class SileroDetector:
    """One stream's detector, with the interface of ``EnergyVad``: ``process`` takes what ``format`` says.

    ``threshold`` is the probability above which a window holds a voice; ``stop_ms`` how much quiet, counted in windows
    of 32 ms and rounded up, ends it. ValueError for a format whose rate cannot be converted to 8 kHz, and for settings
    that make no sense.
    """

    def __init__(
        self, weights: SileroWeights, format: AudioFormat = L16_8K, *, threshold: float = 0.5, stop_ms: int = 500
    ) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
        if stop_ms <= 0:
            raise ValueError(f"stop_ms must be positive, not {stop_ms}")
        self.format = format
        self._narrow = Transcoder(format, L16_8K) if format.rate != _RATE else None
        self._unit = _UNIT.get(format.encoding) if self._narrow is None else None
        self._window_bytes = _WINDOW * (2 if self._unit is None else 1)
        self._start_odds = _odds(threshold)
        self._stay_odds = _odds(max(threshold - _HYSTERESIS, threshold / 5))
        self._stop_windows = -(-stop_ms // SILERO_WINDOW_MS)
        self._net = SileroNet(weights)
        self.reset()

    def reset(self) -> None:
        """Forget everything, the position too: the next sample is at 0 ms."""
        if self._narrow is not None:
            self._narrow = Transcoder(self.format, L16_8K)
        self._net.reset()
        self._rest = b""
        self._windows = 0
        self._recent = 0  # one bit per window, newest lowest: was it voiced?
        self._quiet = 0
        self._speaking = False
        self._last_voiced = 0

    @property
    def speaking(self) -> bool:
        """A start has been reported and its end has not."""
        return self._speaking

    @property
    def last_voiced_ms(self) -> int | None:
        """Where the last window of confirmed speech ended; None before the first start."""
        return self._last_voiced * SILERO_WINDOW_MS if self._last_voiced else None

    @property
    def position_ms(self) -> int:
        """How much sound has been judged; less than a window may be waiting."""
        return self._windows * SILERO_WINDOW_MS

    def process(self, data: bytes) -> list[VadEvent]:
        """Take in a chunk of any size; return what it decided, in order."""
        events: list[VadEvent] = []
        if self._narrow is not None:
            data = self._narrow.process(data)
        if self._rest:
            data = self._rest + data
        size = self._window_bytes
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        for at in range(0, whole, size):
            self._window(data[at : at + size], events)
        return events

    def _window(self, data: bytes, events: list[VadEvent]) -> None:
        if self._unit is None:
            wave = np.frombuffer(data, "<i2") * (1 / 32768)
        else:
            wave = self._unit.take(np.frombuffer(data, np.uint8))
        voiced = self._net.judge(wave) >= (self._stay_odds if self._speaking else self._start_odds)
        self._windows += 1
        self._recent = (self._recent << 1 | voiced) & ((1 << _START_WITHIN) - 1)
        if voiced:
            self._quiet = 0
            if self._speaking:
                self._last_voiced = self._windows
            elif self._recent.bit_count() >= _START_WINDOWS:
                self._speaking = True
                self._last_voiced = self._windows
                events.append(SpeechStarted((self._windows - self._recent.bit_length()) * SILERO_WINDOW_MS))
        elif self._speaking:
            self._quiet += 1
            if self._quiet >= self._stop_windows:
                self._speaking = False
                self._recent = 0
                events.append(SpeechStopped(self._last_voiced * SILERO_WINDOW_MS))
