"""What a call took: the parts add up, and percentiles are those of spreadsheets."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.metrics import CostBreakdown, LatencyBreakdown, Stage, TurnMetrics, percentile, summarise

INSTANT = st.integers(-1, 10**9)
PARTS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "llm_sentence_ms", "tts_ms", "send_ms")


@given(st.tuples(*[INSTANT] * 8))
def test_the_parts_add_up_to_the_silence_exactly(instants: tuple[int, ...]) -> None:
    latency = LatencyBreakdown.of(Stage(*instants))
    parts = [getattr(latency, part) for part in PARTS]
    assert sum(parts) == latency.agent_response_ms == latency.total_ms
    assert sum(reversed(parts)) == latency.agent_response_ms  # in any order: no rounding is left in them
    assert all(part >= 0 and part == int(part) for part in parts)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=7, max_size=7))
def test_a_complete_turn_takes_from_the_last_voice_to_the_first_audio(started: int, steps: list[int]) -> None:
    at, instants = started, []
    for step in steps:
        at += step
        instants.append(at)
    latency = LatencyBreakdown.of(Stage(started, *instants))
    assert abs(latency.agent_response_ms * 1000 - (instants[-1] - instants[0])) <= 1000
    assert abs(latency.user_speech_duration_ms * 1000 - (instants[0] - started)) <= 1000
    assert latency.llm_ms == latency.llm_ttft_ms + latency.llm_sentence_ms


def test_a_stage_that_did_not_happen_takes_no_time() -> None:
    latency = LatencyBreakdown.of(Stage(voiced=1_000_000, endpoint=1_600_000, first_audio=1_900_000, sent=1_901_000))
    assert [getattr(latency, part) for part in PARTS] == [600, 0, 0, 0, 300, 1]


def test_a_turn_that_was_not_spoken_or_not_answered_has_no_latency() -> None:
    assert LatencyBreakdown.of(Stage(endpoint=5, transcript=6, sent=9)) == LatencyBreakdown()
    assert LatencyBreakdown.of(Stage(started=1, voiced=5, endpoint=6)) == LatencyBreakdown()


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_percentiles_are_type_seven(values: list[float], p: float) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[round(p * 100) - 1]
    assert percentile(values, p) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0], 0.9, 3.7),
        ([1.0, 2.0, 3.0], 0.0, 1.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
    ],
)
def test_percentile(values: list[float], p: float, expected: float) -> None:
    assert percentile(values, p) == pytest.approx(expected)


def test_the_summary_is_of_answered_turns_only() -> None:
    def turn(ms: float) -> TurnMetrics:
        return TurnMetrics(1, "", "", LatencyBreakdown(tts_ms=ms, agent_response_ms=ms), False, 0.0, 0, 0.0)

    turns = [turn(0), turn(100), turn(200), turn(0)]
    assert summarise(turns, None).agent_response_ms == 150
    assert summarise(turns, 0.5).tts_ms == 150
    assert summarise(turns, 0.9).tts_ms == 190
    assert summarise([], None) == summarise([turn(0)], 0.5) == LatencyBreakdown()


def test_unknown_cost_is_not_nothing() -> None:
    assert CostBreakdown(stt=0.5, tts=None, telephony=0.25).total == 0.75
