"""A process's percentiles: as near to the truth as they say, in bounded memory, and the same when merged."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.metrics import LatencyBreakdown, TurnMetrics, percentile
from patter_core.latency import STAGES, Histogram, Latencies, LatencySummary, _bucket, _middle

PS = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
VALUES = st.lists(st.one_of(st.integers(0, 200), st.integers(0, 20_000), st.integers(0, 3_600_000)), max_size=300)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


def turn(ms: float, interrupted: bool = False, heard: str = "Yes.") -> TurnMetrics:
    latency = LatencyBreakdown(endpoint_ms=ms / 2, tts_ms=ms / 2, agent_response_ms=ms)
    return TurnMetrics(1, "", heard, latency, interrupted, 0.0, 0, 0.0)


@given(VALUES, st.sampled_from(PS))
def test_percentiles_against_all_the_values(values: list[int], p: float) -> None:
    true = percentile(values, p)
    assert abs(histogram(values).percentile(p) - true) <= true / 64 + 1e-6


@given(VALUES, VALUES)
def test_merged_is_counted_together(ones: list[int], others: list[int]) -> None:
    merged, together = histogram(ones), histogram(ones + others)
    merged.merge(histogram(others))
    assert merged.summary() == together.summary()
    assert [merged.percentile(p) for p in PS] == [together.percentile(p) for p in PS]


@given(st.integers(0, 3_600_000))
def test_a_bucket_is_told_as_what_is_in_it(value: int) -> None:
    middle = _middle(_bucket(value))
    assert middle == value if value < 64 else abs(middle - value) * 64 <= value
    assert _bucket(round(middle)) == _bucket(value)


def test_buckets_follow_each_other_without_a_gap() -> None:
    seen = [_bucket(value) for value in range(20_000)]
    assert seen == sorted(seen)
    assert set(seen) == set(range(seen[-1] + 1))
    assert _bucket(3_600_000) < 600


def test_memory_is_bounded_whatever_comes() -> None:
    made = Histogram()
    for value in range(0, 4_000_000, 37):
        made.add(value)
    made.add(1e12)
    made.add(-5)
    assert made.buckets <= 575
    assert made.percentile(1) == 3_600_000
    assert made.percentile(0) == 0


def test_nothing_counted_is_zero() -> None:
    assert Histogram().percentile(0.5) == 0.0
    assert Histogram().summary() == LatencySummary()


@pytest.mark.parametrize("value", [1, 63, 64, 700, 1_234, 59_999])
def test_one_value_is_told_exactly(value: int) -> None:
    v = float(value)
    assert histogram([value]).summary() == LatencySummary(1, v, v, v, v, v, v)


def test_every_stage_that_took_time_is_counted() -> None:
    latencies = Latencies()
    for ms in range(100, 1100, 10):
        latencies.add(turn(ms))
    summary = latencies.summary()
    assert tuple(summary) == STAGES
    assert summary["agent_response_ms"].count == summary["tts_ms"].count == 100
    assert summary["stt_ms"] == LatencySummary()
    assert summary["agent_response_ms"].mean == 595
    assert summary["agent_response_ms"].max == 1090
    assert abs(summary["agent_response_ms"].p95 - 1040.5) <= 1040.5 / 64
    assert msgspec.json.encode(summary)


def test_turns_that_say_nothing_are_not_counted() -> None:
    latencies = Latencies()
    latencies.add(turn(0))
    latencies.add(turn(500, interrupted=True, heard=""))
    assert all(stage.count == 0 for stage in latencies.summary().values())
    latencies.add(turn(500, interrupted=True, heard="Yes"))
    assert latencies.summary()["agent_response_ms"].count == 1


def test_processes_are_merged() -> None:
    one, other, both = Latencies(), Latencies(), Latencies()
    for ms in range(10, 500, 7):
        one.add(turn(ms))
        other.add(turn(3 * ms))
        both.add(turn(ms))
        both.add(turn(3 * ms))
    one.merge(other)
    assert one.summary() == both.summary()
