"""What a call took: the public figures, built from integer stages that add up.

A turn's stages are consecutive instants on the call's clock, so the parts sum exactly to the silence the caller
heard: last voice -> end of turn decided -> transcript -> first text -> first sentence -> first audio -> sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["CallMetrics", "CostBreakdown", "LatencyBreakdown", "Stage", "TurnMetrics", "percentile"]


class Stage(msgspec.Struct):
    """The instants of one turn, in microseconds on the call's clock; -1 when it has not come."""

    started: int = -1  # the caller began to speak
    voiced: int = -1  # the caller's last voiced sample
    endpoint: int = -1  # the end of the turn was decided
    transcript: int = -1
    first_text: int = -1
    first_sentence: int = -1
    first_audio: int = -1
    sent: int = -1  # first audio handed to the carrier's socket


def _ms(instant: int) -> int:
    return (instant + 500) // 1000


class LatencyBreakdown(msgspec.Struct, frozen=True):
    """Where the silence went, in whole milliseconds. ``endpoint + stt + llm_ttft + llm_sentence + tts + send ==
    agent_response``, exactly; a stage that did not happen counts 0."""

    endpoint_ms: float = 0.0
    stt_ms: float = 0.0
    llm_ttft_ms: float = 0.0
    llm_sentence_ms: float = 0.0
    tts_ms: float = 0.0
    send_ms: float = 0.0
    agent_response_ms: float = 0.0
    user_speech_duration_ms: float = 0.0

    @property
    def llm_ms(self) -> float:
        """From the transcript to the first sentence worth speaking."""
        return self.llm_ttft_ms + self.llm_sentence_ms

    @property
    def total_ms(self) -> float:
        """The silence the caller heard."""
        return self.agent_response_ms

    @classmethod
    def of(cls, stage: Stage) -> LatencyBreakdown:
        """From a turn's instants. Only a turn that was spoken by the caller and answered has any."""
        if stage.voiced < 0 or stage.sent < 0:
            return cls()
        parts: list[int] = []
        last = _ms(stage.voiced)  # instants are rounded, not differences: that is why the parts add up
        for at in (
            stage.endpoint,
            stage.transcript,
            stage.first_text,
            stage.first_sentence,
            stage.first_audio,
            stage.sent,
        ):
            now = max(last, _ms(at))  # a stage that did not happen takes no time
            parts.append(now - last)
            last = now
        speech = _ms(stage.voiced) - _ms(stage.started) if stage.started >= 0 else 0
        return cls(*map(float, (*parts, sum(parts), speech)))


class CostBreakdown(msgspec.Struct, frozen=True):
    """What was spent, in US dollars. None: unknown, which is not the same as nothing."""

    stt: float | None = 0.0
    tts: float | None = 0.0
    llm: float | None = 0.0
    telephony: float | None = None
    llm_cached_savings: float = 0.0

    @property
    def total(self) -> float:
        """The known parts."""
        return sum(part for part in (self.stt, self.tts, self.llm, self.telephony) if part is not None)


class TurnMetrics(msgspec.Struct, frozen=True):
    """One exchange: what the caller said, what they heard in answer, and how long it took."""

    turn_index: int
    user_text: str
    agent_text: str
    latency: LatencyBreakdown
    interrupted: bool
    stt_audio_seconds: float
    tts_characters: int
    timestamp: float


class CallMetrics(msgspec.Struct, frozen=True):
    """A whole call, as ``on_call_end`` gets it."""

    call_id: str
    duration_seconds: float
    turns: tuple[TurnMetrics, ...]
    cost: CostBreakdown
    latency_avg: LatencyBreakdown
    latency_p50: LatencyBreakdown
    latency_p90: LatencyBreakdown
    latency_p95: LatencyBreakdown
    latency_p99: LatencyBreakdown
    provider_mode: str
    telephony_provider: str
    frames_in: int
    frames_out: int
    marks_played: int
    marks_discarded: int
    malformed_messages: int
    frames_dropped: int


def percentile(values: Sequence[float], p: float) -> float:
    """Hyndman-Fan type 7 (what spreadsheets do) of an unsorted sequence; 0.0 when there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = (len(ordered) - 1) * p
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def summarise(turns: Sequence[TurnMetrics], p: float | None) -> LatencyBreakdown:
    """The p-quantile (None: the mean) of every stage over the turns that were answered."""
    answered = [turn.latency for turn in turns if turn.latency.agent_response_ms > 0]
    figures = []
    for field in LatencyBreakdown.__struct_fields__:
        values = [getattr(latency, field) for latency in answered]
        figure = percentile(values, p) if p is not None else (sum(values) / len(values) if values else 0.0)
        figures.append(round(figure, 1))
    return LatencyBreakdown(*figures)
