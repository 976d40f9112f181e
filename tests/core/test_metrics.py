"""What a call took: the parts add up, and percentiles are those of spreadsheets."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.metrics import PARTS, CostBreakdown, LatencyBreakdown, Stage, TurnMetrics, percentile, summarise

INSTANT = st.integers(-1, 10**9)
FIELDS = Stage.__struct_fields__


def parts(latency: LatencyBreakdown) -> list[float]:
    return [getattr(latency, part) for part in PARTS]


@given(st.tuples(*[INSTANT] * len(FIELDS)))
def test_the_parts_add_up_to_the_silence_exactly(instants: tuple[int, ...]) -> None:
    stage = Stage(*instants)
    latency = LatencyBreakdown.of(stage)
    found = parts(latency)
    assert sum(found) == latency.agent_response_ms == latency.total_ms
    assert sum(reversed(found)) == latency.agent_response_ms  # in any order: no rounding is left in them
    assert all(part >= 0 and part == int(part) for part in found)
    if stage.voiced >= 0 and stage.sent >= stage.voiced:  # whatever the order of the rest: no more, no less
        end = max(stage.sent, stage.played)
        assert latency.agent_response_ms == (end + 500) // 1000 - (stage.voiced + 500) // 1000


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=8, max_size=8))
def test_a_complete_turn_takes_from_the_last_voice_to_the_first_sound(started: int, steps: list[int]) -> None:
    at, instants = started, []
    for step in steps:
        at += step
        instants.append(at)
    latency = LatencyBreakdown.of(Stage(started, *instants))
    assert abs(latency.agent_response_ms * 1000 - (instants[-1] - instants[0])) <= 1000
    assert abs(latency.user_speech_duration_ms * 1000 - (instants[0] - started)) <= 1000
    assert latency.llm_ms == latency.llm_ttft_ms + latency.llm_sentence_ms
    for part, step in zip(parts(latency), steps[1:], strict=True):
        assert abs(part * 1000 - step) <= 1000


def test_a_stage_that_did_not_happen_takes_no_time() -> None:
    latency = LatencyBreakdown.of(Stage(voiced=1_000_000, endpoint=1_600_000, first_audio=1_900_000, sent=1_901_000))
    assert parts(latency) == [600, 0, 0, 0, 300, 1, 0]


def test_the_silence_ends_when_the_caller_hears_something() -> None:
    stage = Stage(voiced=1_000_000, endpoint=1_600_000, first_audio=1_900_000, sent=1_901_000, played=1_960_000)
    latency = LatencyBreakdown.of(stage)
    assert parts(latency) == [600, 0, 0, 0, 300, 1, 59]
    assert latency.agent_response_ms == 960


def test_a_transcript_that_comes_after_the_answer_is_not_what_was_waited_for() -> None:
    """Voice to voice: the words of the caller are told while the answer is already being heard."""
    stage = Stage(voiced=0, endpoint=500_000, first_text=800_000, first_audio=810_000, sent=811_000, played=850_000)
    without = LatencyBreakdown.of(stage)
    stage.transcript = 2_000_000
    assert LatencyBreakdown.of(stage) == without
    assert parts(without) == [500, 0, 300, 0, 10, 1, 39]
    stage.transcript = 805_000  # after the reply had begun
    assert LatencyBreakdown.of(stage) == without
    stage.transcript = 795_000
    assert parts(LatencyBreakdown.of(stage)) == [500, 295, 5, 0, 10, 1, 39]


def test_words_known_before_the_end_of_the_turn_was_decided_cost_nothing() -> None:
    stage = Stage(voiced=0, transcript=100_000, endpoint=600_000, first_text=900_000, first_audio=950_000, sent=951_000)
    assert parts(LatencyBreakdown.of(stage)) == [600, 0, 300, 0, 50, 1, 0]


def test_totals_of_stages_and_the_barge_in() -> None:
    stage = Stage(0, 10, 20, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, last_sentence=9_000, last_audio=13_000)
    latency = LatencyBreakdown.of(stage, bargein_us=210_000)
    assert (latency.llm_total_ms, latency.tts_total_ms, latency.bargein_ms) == (8, 10, 210)


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


def turn(ms: float, interrupted: bool = False, heard: str = "Yes.", play: float = 0) -> TurnMetrics:
    latency = LatencyBreakdown(tts_ms=ms, play_ms=play, agent_response_ms=ms)
    return TurnMetrics(1, "", heard, latency, interrupted, 0.0, 0, 0.0)


def test_the_summary_is_of_answered_turns_only() -> None:
    turns = [turn(0), turn(100), turn(200), turn(0)]
    assert summarise(turns, None).agent_response_ms == 150
    assert summarise(turns, 0.5).tts_ms == 150
    assert summarise(turns, 0.9).tts_ms == 190
    assert summarise([], None) == summarise([turn(0)], 0.5) == LatencyBreakdown()


def test_a_turn_interrupted_before_it_was_heard_is_not_in_the_summary_and_one_cut_short_is() -> None:
    assert summarise([turn(100), turn(900, interrupted=True, heard="")], None).tts_ms == 100
    assert summarise([turn(100), turn(900, interrupted=True, heard="Yes")], None).tts_ms == 500


def test_a_stage_that_took_no_time_in_a_turn_is_left_out_for_that_stage_alone() -> None:
    figures = summarise([turn(100, play=40), turn(200, play=0)], None)
    assert (figures.tts_ms, figures.play_ms, figures.stt_ms) == (150, 40, 0)


def test_unknown_cost_is_not_nothing() -> None:
    assert CostBreakdown().telephony is None
    assert (CostBreakdown().stt, CostBreakdown().total, CostBreakdown().unknown) == (0.0, 0.0, ())
