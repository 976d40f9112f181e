"""How long answers take in this process: percentiles of every stage over all calls, in bounded memory.

A histogram whose buckets grow with what is in them: milliseconds are counted one by one below 64; above, every power
of two is divided into 32 buckets of equal width, [m * 2^k, (m + 1) * 2^k) for m of 32 to 63. A value is told as its
bucket's middle, which is off by at most 1/64 of it: 1.6 %. Up to an hour that makes 575 buckets, whatever the load.
"""

from __future__ import annotations

import math

import msgspec

from .call.metrics import PARTS, TurnMetrics, measured

__all__ = ["STAGES", "Histogram", "Latencies", "LatencySummary"]

STAGES = (*PARTS, "agent_response_ms", "llm_total_ms", "tts_total_ms", "bargein_ms")

_EXACT = 64
_STEPS = _EXACT // 2
_STEP_BITS = _EXACT.bit_length() - 1
_MOST = 3_600_000
"""An hour; what takes longer is counted as that long."""


class LatencySummary(msgspec.Struct, frozen=True):
    """One stage, in milliseconds. ``mean`` and ``max`` are exact, percentiles to within 1.6 %."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Histogram:
    """Whole milliseconds, counted."""

    __slots__ = ("_buckets", "_highest", "_lowest", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}
        self._total = 0
        self._lowest = _MOST
        self._highest = 0

    def add(self, ms: float) -> None:
        """Count one."""
        value = min(max(0, round(ms)), _MOST)
        bucket = _bucket(value)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self._total += value
        self._lowest = min(self._lowest, value)
        self._highest = max(self._highest, value)

    def merge(self, other: Histogram) -> None:
        """Count all that another has counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self._total += other._total
        self._lowest = min(self._lowest, other._lowest)
        self._highest = max(self._highest, other._highest)

    def percentile(self, p: float) -> float:
        """Hyndman-Fan type 7, as ``call.metrics.percentile``; 0.0 when nothing was counted."""
        return self._percentiles((p,))[0]

    def _percentiles(self, ps: tuple[float, ...]) -> list[float]:
        if not self.count:
            return [0.0] * len(ps)
        order = sorted(self._buckets)
        figures = []
        for p in ps:
            rank = (self.count - 1) * p
            low = math.floor(rank)
            below = self._at(order, low)
            above = self._at(order, min(low + 1, self.count - 1))
            figures.append(below + (above - below) * (rank - low))
        return figures

    def _at(self, order: list[int], index: int) -> float:
        """The value at that place among all, in their order; the first and the last are known exactly."""
        if index <= 0:
            return float(self._lowest)
        if index >= self.count - 1:
            return float(self._highest)
        for bucket in order:
            index -= self._buckets[bucket]
            if index < 0:
                return min(max(_middle(bucket), float(self._lowest)), float(self._highest))
        return float(self._highest)

    def summary(self) -> LatencySummary:
        """Its figures, rounded to a tenth of a millisecond."""
        if not self.count:
            return LatencySummary()
        p50, p90, p95, p99 = self._percentiles((0.5, 0.9, 0.95, 0.99))
        mean = self._total / self.count
        return LatencySummary(
            self.count, *(round(figure, 1) for figure in (mean, p50, p90, p95, p99, float(self._highest)))
        )

    @property
    def buckets(self) -> int:
        """Those in use."""
        return len(self._buckets)


def _bucket(value: int) -> int:
    if value < _EXACT:
        return value
    shift = value.bit_length() - _STEP_BITS
    return _EXACT + (shift - 1) * _STEPS + (value >> shift) - _STEPS


def _middle(bucket: int) -> float:
    if bucket < _EXACT:
        return float(bucket)
    shift, step = divmod(bucket - _EXACT, _STEPS)
    low = (step + _STEPS) << (shift + 1)
    return low + ((1 << (shift + 1)) - 1) / 2


class Latencies:
    """One process's, or one agent's: whoever has it feeds it every turn."""

    __slots__ = ("_stages",)

    def __init__(self) -> None:
        self._stages = {stage: Histogram() for stage in STAGES}

    def add(self, turn: TurnMetrics) -> None:
        """A turn is over. One that says nothing is not counted, nor is a stage that took no time."""
        if measured(turn):
            for stage, histogram in self._stages.items():
                if (value := getattr(turn.latency, stage)) > 0:
                    histogram.add(value)

    def merge(self, other: Latencies) -> None:
        """Count all that another has counted."""
        for stage, histogram in self._stages.items():
            histogram.merge(other._stages[stage])

    def summary(self) -> dict[str, LatencySummary]:
        """By stage."""
        return {stage: histogram.summary() for stage, histogram in self._stages.items()}
