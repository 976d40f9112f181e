"""Streaming sample-rate conversion between the telephone's 8 kHz and the engines' 16, 24 and 48 kHz.

A conversion by L/M is a low-pass filter at L times the input rate, of which every M-th value is wanted. ``M`` inputs
make ``L`` outputs, so a few such units in a row are one small matrix: the stream is cut into overlapping rows of inputs
and each row times the matrix is a row of outputs. Every output leaves as soon as its newest input is in; nothing is
held back to fill a block.

Samples are integers and taps are multiples of 2**-24, so every product and every sum is exact in float64. That is why
the output is the same, bit for bit, however the input is cut and whatever order the linear-algebra library adds in.

Between 8, 16, 24 and 48 kHz: images and aliases at least 95 dB down outside the transition band, ripple below 0.1 dB,
delay below 1.9 ms with an 8 kHz side and below 1.2 ms without. The transition band is 3.4 to 4.6 kHz at 8 kHz: what
a telephone line carries in its last 600 Hz may fold, and closing the band at 4.0 kHz would cost another millisecond.
22,050 Hz (recorded and synthesised voices) is an input only, and is filtered with a longer window.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

__all__ = ["INPUT_RATES", "OUTPUT_RATES", "FilterDesign", "Resampler", "filter_design", "resample"]

Floats: TypeAlias = NDArray[np.float64]

OUTPUT_RATES = (8000, 16000, 24000, 48000)
"""What can be converted to, in Hz."""
INPUT_RATES = (8000, 16000, 22050, 24000, 48000)
"""What can be converted from, in Hz."""

_EXACT = float(1 << 24)
"""Taps are multiples of 1/_EXACT: 16 bits of sample, 25 of tap and the sum's growth stay below float64's 53. 2**-20
would be as exact and cost up to 4 dB of stop band."""
_STOP_WEIGHT = 300.0
"""How much more an error weighs in the stop band: 100 dB there against 0.03 dB in the pass band."""
_PIECE = 960
"""Inputs filtered at a time (20 ms at 48 kHz): it bounds a stream's buffer, not what ``process`` may be given."""
_PLANS = 16
"""Chunk sizes remembered by a stream. A carrier sends one or two; a random chunking only loses the short cut."""

_PCM = np.dtype("<i2")
_SAMPLES: NDArray[np.int16] = np.arange(-32768, 32768).astype(_PCM)
"""The identity as an encoding table: taking from it clips and converts in one pass."""


class FilterDesign(NamedTuple):
    """The filter of one pair of rates; see :func:`filter_design`."""

    up: int
    """L: outputs of a unit."""
    down: int
    """M: inputs of a unit."""
    pass_hz: float
    """Upper edge of the pass band."""
    stop_hz: float
    """Lower edge of the stop band."""
    taps: Floats
    """Symmetric, odd in number, at ``up`` times the input rate, with a gain of ``up``."""
    history: int
    """Inputs before a unit that still matter to it."""
    block: int
    """Units the matrix does at a time."""
    matrix: Floats
    """(history + block * down, block * up): a row of inputs times this is a row of outputs."""


def _least_squares_taps(half: int, rate: float, pass_hz: float, stop_hz: float) -> Floats:
    """A symmetric low-pass of ``2 * half + 1`` taps, nearly equiripple.

    Weighted least squares over points that crowd at the band edges (Chebyshev nodes), where a plain least-squares
    filter overshoots; then twice Lawson's correction, which weighs each point by the error left there. It is within
    0.5 dB of the Remez optimum, in closed form. A Kaiser window of the same stop band would be half as long again.
    """

    def nodes(low: float, high: float) -> Floats:
        count = 8 * max(4, math.ceil(half * (high - low) / rate))
        return (low + high) / 2 - (high - low) / 2 * np.cos((np.arange(count) + 0.5) * np.pi / count)

    # Both bands are symmetric (about 0 and about half the rate); only the lower or upper half carries information.
    passing, stopping = nodes(-pass_hz, pass_hz), nodes(stop_hz, rate - stop_hz)
    passing, stopping = passing[len(passing) // 2 :], stopping[: len(stopping) // 2]
    want = np.repeat([1.0, 0.0], [len(passing), len(stopping)])
    tolerance = np.repeat([1.0, _STOP_WEIGHT], [len(passing), len(stopping)])
    order = np.arange(half + 1)
    scale = np.where(order, 2.0, 1.0)
    cosines = np.cos(2 * np.pi / rate * np.outer(np.concatenate([passing, stopping]), np.arange(2 * half + 1)))
    basis = cosines[:, : half + 1] * scale

    def solve(weight: Floats) -> Floats:
        # The normal equations, whose matrix needs only 2 * half + 1 moments, then refined against the basis itself:
        # the taps must come out the same to far below 2**-24 on every machine. Sums are spelt out because a threaded
        # matrix product may wait for a busy core for longer than all of this takes.
        square = weight * weight
        moment = (cosines * square[:, None]).sum(0)
        normal = (moment[abs(order[:, None] - order)] + moment[order[:, None] + order]) * (scale[:, None] * scale / 2)
        side: Floats = np.zeros(half + 1)
        for _ in range(3):
            miss = want - (basis * side).sum(1)
            side += np.linalg.solve(normal, (basis * (square * miss)[:, None]).sum(0))
        return side

    weight = tolerance.copy()
    side = solve(weight)
    for _ in range(2):
        error = np.abs((basis * side).sum(1) - want) * tolerance
        weight *= np.sqrt(error / error.max() + 0.02)
        side = solve(weight)
    taps: Floats = np.concatenate([side[:0:-1], side])
    return taps


def _kaiser_taps(half: int, rate: float, cutoff_hz: float) -> Floats:
    """A windowed sinc, 100 dB: for ratios whose filter is too long to solve for (22,050 Hz to 8 kHz: 18,875 taps)."""
    n = np.arange(-half, half + 1)
    share = 2 * cutoff_hz / rate
    taps: Floats = share * np.sinc(share * n) * np.kaiser(2 * half + 1, 0.1102 * (100 - 8.7))
    return taps


@functools.cache
def filter_design(from_rate: int, to_rate: int) -> FilterDesign:
    """The filter between two rates in Hz; made once per process (a few milliseconds) and shared.

    Ask for it at start-up to keep that out of the first call. ValueError for a rate not in ``INPUT_RATES`` and
    ``OUTPUT_RATES``.
    """
    if from_rate not in INPUT_RATES or to_rate not in OUTPUT_RATES:
        raise ValueError(f"cannot convert {from_rate} Hz to {to_rate} Hz: from {INPUT_RATES} to {OUTPUT_RATES}")
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    rate = float(from_rate * up)
    nyquist = min(from_rate, to_rate) / 2
    margin = 0.15 if nyquist == 4000 else 0.125
    pass_hz, stop_hz = nyquist * (1 - margin), nyquist * (1 + margin)
    if from_rate == to_rate:
        taps = np.ones(1)
    elif from_rate == 22050:
        taps = _kaiser_taps(round(3.21 * rate / (stop_hz - pass_hz)), rate, nyquist)
    else:
        taps = _least_squares_taps(round(2.17 * rate / (stop_hz - pass_hz)), rate, pass_hz, stop_hz)
    taps = np.round(taps * (up * _EXACT)) / _EXACT
    taps.setflags(write=False)

    # The last output of a unit lands on the last filter position its newest input reaches; see `newest` below.
    history = math.ceil((len(taps) - 1) / up)
    block = max(1, round(24 / max(up, down)))
    inputs = np.arange(-history, block * down)
    newest = np.arange(block * up) * down + (down - 1)
    tap = newest[None, :] - up * inputs[:, None]
    inside = (tap >= 0) & (tap < len(taps))
    matrix = np.where(inside, taps[np.clip(tap, 0, len(taps) - 1)], 0.0)
    matrix.setflags(write=False)
    return FilterDesign(up, down, pass_hz, stop_hz, taps, history, block, matrix)


class _Plan(NamedTuple):
    """The views and scratch space for one chunk size, so that a frame costs no slicing."""

    write: Floats
    rows: Any
    out: Floats
    ready: Floats
    codes: NDArray[np.intp]
    keep_from: Floats
    keep_to: Floats
    pending: int


class Resampler:
    """A stream of PCM16 little-endian mono from one rate to another, in Hz.

    Chunks may be of any size, half samples included. After n whole samples in, floor(n * to / from) are out. With
    ``decode`` (float64[256], code -> sample) the input is bytes of codes; with ``encode`` (65,536 entries, sample +
    32768 -> code) the output is: that fuses G.711 into the pass over the samples that is made anyway.

    Not for two threads at once. ValueError for a rate it does not know.
    """

    __slots__ = ("_buffer", "_decode", "_design", "_encode", "_half", "_kind", "_pending", "_plans", "_width", "rates")

    def __init__(
        self,
        from_rate: int,
        to_rate: int,
        *,
        decode: Floats | None = None,
        encode: NDArray[np.uint8] | NDArray[np.int16] | None = None,
    ) -> None:
        self._design = filter_design(from_rate, to_rate)
        self.rates = (from_rate, to_rate)
        self._decode = decode
        self._encode: NDArray[Any] = _SAMPLES if encode is None else encode
        self._kind = _PCM if decode is None else np.dtype(np.uint8)
        self._width = self._kind.itemsize
        # History, the inputs of an unfinished unit, a piece, and what the last row reads beyond it. What stands there
        # is old but finite, and only ever meets taps of zero or outputs that are cut off.
        down, block = self._design.down, self._design.block
        self._buffer = np.zeros(self._design.history + down + _PIECE + block * down)
        self._plans: dict[tuple[int, int], _Plan] = {}
        self._pending = 0
        self._half = b""

    @property
    def delay_us(self) -> int:
        """What the filter adds to the age of the sound, in microseconds, rounded."""
        from_rate, _ = self.rates
        design = self._design
        return round(1e6 * ((len(design.taps) - 1) / 2 - (design.down - 1)) / (from_rate * design.up))

    def reset(self) -> None:
        """Forget the sound so far: the next sample is the first, as in a new stream."""
        self._buffer[: self._design.history] = 0.0
        self._pending = 0
        self._half = b""

    def process(self, pcm: bytes) -> bytes:
        """Take in a chunk, give out every sample that is settled by it."""
        if self._half:
            pcm = self._half + pcm
            self._half = b""
        width = self._width
        size = len(pcm)
        if size % width:
            size -= 1
            self._half = pcm[size:]
            pcm = pcm[:size]
        if size <= _PIECE * width:
            return self._piece(pcm, size // width)
        step = _PIECE * width
        return b"".join(
            [self._piece(pcm[at : at + step], min(step, size - at) // width) for at in range(0, size, step)]
        )

    def flush(self) -> bytes:
        """End the stream: give out what still rings in the filter, as if silence followed, and reset.

        Half a sample at the end is dropped.
        """
        plan = self._plan(self._pending, self._design.history)
        plan.write[:] = 0.0
        rest = self._settle(plan)
        self.reset()
        return rest

    def _piece(self, chunk: bytes, count: int) -> bytes:
        plan = self._plan(self._pending, count)
        data: NDArray[Any] = np.frombuffer(chunk, self._kind)
        if self._decode is None:
            plan.write[:] = data
        else:
            self._decode.take(data, out=plan.write, mode="clip")
        return self._settle(plan)

    def _settle(self, plan: _Plan) -> bytes:
        """Filter what the plan's inputs settle, and move the history up."""
        _, rows, out, ready, codes, keep_from, keep_to, self._pending = plan
        rows.dot(self._design.matrix, out)
        # Half a step up and truncated is rounded (ties upwards); outside the table is clipped; then it is looked up.
        np.add(ready, 32768.5, out=codes, casting="unsafe")
        keep_to[:] = keep_from
        return self._encode.take(codes, mode="clip").tobytes()

    def _plan(self, pending: int, count: int) -> _Plan:
        """How ``count`` inputs are taken in when ``pending`` of a unit are there already.

        An unfinished unit is done again with the inputs that complete it, leaving out what it has given already:
        simpler than remembering where in a unit the stream stands, and free for up-sampling from 8 kHz.
        """
        known = self._plans.get((pending, count))
        if known is not None:
            return known
        up, down, _, _, _, history, block, matrix = self._design
        total = pending + count
        given, due = pending * up // down, total * up // down
        rows = max(1, -(-total // (block * down)))
        out = np.empty((rows, matrix.shape[1]))
        buffer, item = self._buffer, self._buffer.itemsize
        used = total - total % down
        keep = history + total % down
        plan = _Plan(
            write=buffer[history + pending : history + total],
            rows=as_strided(buffer, (rows, matrix.shape[0]), (block * down * item, item), writeable=False),
            out=out,
            ready=out.reshape(-1)[given:due],
            codes=np.empty(due - given, np.intp),
            keep_from=buffer[used : used + keep],
            keep_to=buffer[:keep],
            pending=total % down,
        )
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[pending, count] = plan
        return plan


def resample(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """Convert a whole PCM16 recording: no delay, and as long as it was (to the nearest whole sample, upwards)."""
    stream = Resampler(from_rate, to_rate)
    length = -(-(len(pcm) // 2) * to_rate // from_rate)
    late = round(stream.delay_us * to_rate / 1e6)
    whole = stream.process(pcm) + stream.flush()
    return whole[2 * late : 2 * (late + length)]
