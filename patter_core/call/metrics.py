"""What a call took and cost: the public figures, built from integer stages that add up.

A turn's stages are consecutive instants on the call's clock, so the parts sum exactly to the silence the caller
heard: last voice -> end of turn decided -> transcript -> first text -> first sentence -> first audio -> sent -> played.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = [
    "PARTS",
    "CallMetrics",
    "CostBreakdown",
    "LatencyBreakdown",
    "Stage",
    "TurnMetrics",
    "measured",
    "percentile",
    "summarise",
]

PARTS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "llm_sentence_ms", "tts_ms", "send_ms", "play_ms")
"""Of ``agent_response_ms``, in their order."""


class Stage(msgspec.Struct):
    """The instants of one turn, in microseconds on the call's clock; -1 when it has not come, or is not known."""

    started: int = -1  # the caller began to speak
    voiced: int = -1  # the caller's last voiced sample
    endpoint: int = -1  # the end of the turn was decided
    transcript: int = -1
    first_text: int = -1
    first_sentence: int = -1
    first_audio: int = -1
    sent: int = -1  # first audio handed to the carrier's socket
    played: int = -1  # ... and in the caller's ear, as the carrier's mark proves (see ``Playback.first_heard``)
    last_sentence: int = -1
    last_audio: int = -1


def _ms(instant: int) -> int:
    return (instant + 500) // 1000


def _between(since: int, until: int) -> int:
    return max(0, _ms(until) - _ms(since)) if since >= 0 and until >= 0 else 0


class LatencyBreakdown(msgspec.Struct, frozen=True):
    """Where the silence went, in whole milliseconds. ``endpoint + stt + llm_ttft + llm_sentence + tts + send + play ==
    agent_response``, exactly.

    A stage that did not happen counts 0, and so does one that was not on the way to the answer: a voice-to-voice
    engine has neither text nor sentences, and tells what the caller said when it is already answering, so its whole
    thinking is ``tts`` and its ``stt`` is 0. ``play`` is 0 when the carrier never acknowledged any of the answer;
    the silence is then counted up to ``sent``.
    """

    endpoint_ms: float = 0.0
    stt_ms: float = 0.0
    llm_ttft_ms: float = 0.0
    llm_sentence_ms: float = 0.0
    tts_ms: float = 0.0
    send_ms: float = 0.0
    play_ms: float = 0.0
    agent_response_ms: float = 0.0
    user_speech_duration_ms: float = 0.0
    llm_total_ms: float = 0.0  # from the transcript to the last sentence
    tts_total_ms: float = 0.0  # from the first sentence to the last audio
    bargein_ms: float = 0.0  # from the caller's voice to our silence, where they interrupted

    @property
    def llm_ms(self) -> float:
        """From the transcript to the first sentence worth speaking."""
        return self.llm_ttft_ms + self.llm_sentence_ms

    @property
    def total_ms(self) -> float:
        """The silence the caller heard."""
        return self.agent_response_ms

    @classmethod
    def of(cls, stage: Stage, bargein_us: int = 0) -> LatencyBreakdown:
        """From a turn's instants. Only a turn that was spoken by the caller and answered has any."""
        if stage.voiced < 0 or stage.sent < 0:
            return cls()
        known = stage.transcript
        if 0 <= known < stage.endpoint:
            known = stage.endpoint  # the words were there first: what was waited for is the end of the turn
        played = stage.played if stage.played >= stage.sent else -1
        instants = [
            stage.endpoint,
            known,
            stage.first_text,
            stage.first_sentence,
            stage.first_audio,
            stage.sent,
            played,
        ]
        limit = max(stage.sent, played)
        for i in range(len(instants) - 1, -1, -1):
            if instants[i] > limit:
                instants[i] = -1  # later than what it should have led to: not what was waited for
            elif instants[i] >= 0:
                limit = instants[i]
        parts: list[int] = []
        last = _ms(stage.voiced)  # instants are rounded, not differences: that is why the parts add up
        for at in instants:
            now = max(last, _ms(at))  # a stage that did not happen takes no time
            parts.append(now - last)
            last = now
        figures = (
            *parts,
            sum(parts),
            _between(stage.started, stage.voiced),
            _between(instants[1], stage.last_sentence),
            _between(instants[3], stage.last_audio),
            max(0, _ms(bargein_us)),
        )
        return cls(*map(float, figures))


class CostBreakdown(msgspec.Struct, frozen=True):
    """What was spent, in US dollars to the sixth decimal.

    A part that is None is unknown, which is not the same as nothing. ``unknown`` names what has no price in the table
    (``provider/model``); where it names something, the parts and ``total`` are what is known, and the least it was.
    ``telephony`` is what the carrier would bill if the call ended now: started minutes whole, where it bills those.
    """

    stt: float | None = 0.0
    tts: float | None = 0.0
    llm: float | None = 0.0
    telephony: float | None = None
    total: float = 0.0
    llm_cached_savings: float = 0.0
    unknown: tuple[str, ...] = ()


class TurnMetrics(msgspec.Struct, frozen=True):
    """One exchange: what the caller said, what they heard in answer, how long it took and what it cost.

    ``turn_id`` is the call's id and the turn's number. The cost is what was reported until the turn was over, without
    the carrier's; whatever comes later is in the call's ``cost_outside_turns``.
    """

    turn_index: int
    user_text: str
    agent_text: str
    latency: LatencyBreakdown
    interrupted: bool
    stt_audio_seconds: float
    tts_characters: int
    timestamp: float
    turn_id: str = ""
    cost: CostBreakdown = CostBreakdown(telephony=0.0)


class CallMetrics(msgspec.Struct, frozen=True):
    """A whole call, as ``on_call_end`` gets it. ``*_provider`` and ``*_model`` are those used last; ``error_code`` is
    '' when nothing failed for good."""

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
    stt_provider: str = ""
    stt_model: str = ""
    tts_provider: str = ""
    tts_model: str = ""
    llm_provider: str = ""
    llm_model: str = ""
    error_code: str = ""
    cost_outside_turns: CostBreakdown = CostBreakdown()
    pricing_version: str = ""


def percentile(values: Sequence[float], p: float) -> float:
    """Hyndman-Fan type 7 (what spreadsheets do) of an unsorted sequence; 0.0 when there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = (len(ordered) - 1) * p
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def measured(turn: TurnMetrics) -> bool:
    """Does its latency say anything? Not when it was never answered, nor when the caller spoke on before they had heard
    a word of the answer: how long they would have waited is not known."""
    return turn.latency.agent_response_ms > 0 and not (turn.interrupted and not turn.agent_text)


def summarise(turns: Sequence[TurnMetrics], p: float | None) -> LatencyBreakdown:
    """The p-quantile (None: the mean) of every stage over the turns in which it took any time."""
    latencies = [turn.latency for turn in turns if measured(turn)]
    figures = []
    for field in LatencyBreakdown.__struct_fields__:
        values = [value for latency in latencies if (value := getattr(latency, field)) > 0]
        figure = percentile(values, p) if p is not None else (sum(values) / len(values) if values else 0.0)
        figures.append(round(figure, 1))
    return LatencyBreakdown(*figures)
