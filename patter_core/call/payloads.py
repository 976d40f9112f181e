"""What the user's callbacks are given, and what ``on_call_start`` may give back. Plain data, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ..carriers.carrier import RecordingChanged
from ..config import AgentSpec, with_model
from ..reasons import EndReason
from .costs import Costs
from .metrics import CallMetrics, CostBreakdown, TurnMetrics, summarise
from .spec import CallSpec
from .transcript import Line

__all__ = [
    "apply_override",
    "call_metrics",
    "end",
    "message",
    "metrics",
    "recorded",
    "recording",
    "recording_path",
    "start",
    "tool",
    "transcript",
]

#: Ends that are somebody's fault.
_ERRORS = frozenset(
    reason.value
    for reason in (
        EndReason.STREAM_LOST,
        EndReason.STREAM_SILENT,
        EndReason.PROTOCOL_ERROR,
        EndReason.UNSUPPORTED_CODEC,
        EndReason.ENGINE_FAILED,
        EndReason.FAILED,
        EndReason.CARRIER_REFUSED,
        EndReason.NOT_REPORTED,
        EndReason.BUG,
    )
)

_OVERRIDES = {
    "system_prompt": str,
    "first_message": str,
    "language": str,
    "voice": str,
    "model": str,
    "tools": list,
    "variables": dict,
}


def start(spec: CallSpec, parameters: dict[str, str]) -> dict[str, Any]:
    """For ``on_call_start``."""
    return {
        "call_id": spec.call_id,
        "caller": spec.caller,
        "callee": spec.callee,
        "direction": spec.direction,
        "custom_params": dict(parameters),
        "telephony_provider": spec.carrier,
    }


def apply_override(agent: AgentSpec, value: Any) -> tuple[AgentSpec, list[tuple[str, str]]]:
    """The agent with what ``on_call_start`` returned, checked; and what could not be applied, as (key, why)."""
    if value is None:
        return agent, []
    if not isinstance(value, dict):
        return agent, [("", f"on_call_start returned {type(value).__name__}, not a dict")]
    good: dict[str, Any] = {}
    ignored: list[tuple[str, str]] = []
    for key, new in value.items():
        wanted = _OVERRIDES.get(key) if isinstance(key, str) else None
        if wanted is None:
            ignored.append((str(key), f"only {', '.join(sorted(_OVERRIDES))} can be overridden"))
        elif not isinstance(new, wanted):
            ignored.append((key, f"must be {wanted.__name__}, not {type(new).__name__}"))
        elif key == "model":
            engine = with_model(agent.engine, new)
            if engine is None:
                ignored.append((key, "the engine's model is chosen at its provider, or is a function of yours"))
            else:
                good["engine"] = engine
        elif key == "tools":
            unknown = sorted({str(name) for name in new} - {tool.name for tool in agent.tools})
            if unknown:
                ignored.append((key, f"names of the agent's own tools; it has no {', '.join(unknown)}"))
            else:
                good["tools"] = tuple(tool for tool in agent.tools if tool.name in new or tool.built_in)
        elif key == "variables":
            good[key] = {**agent.variables, **{str(name): str(text) for name, text in new.items()}}
        else:
            good[key] = new
    return msgspec.structs.replace(agent, **good), ignored


def transcript(spec: CallSpec, line: Line, history: list[dict[str, Any]]) -> dict[str, Any]:
    """For ``on_transcript``."""
    return {"role": line.role, "text": line.text, "call_id": spec.call_id, "history": history}


def tool(spec: CallSpec, name: str, arguments: Any, result: Any, history: list[dict[str, Any]]) -> dict[str, Any]:
    """For ``on_transcript``: a tool was run."""
    return {
        "role": "tool",
        "text": name,
        "tool_name": name,
        "tool_args": arguments,
        "tool_result": result,
        "call_id": spec.call_id,
        "history": history,
    }


def message(spec: CallSpec, text: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """For the reply handler (``on_message``)."""
    return {
        "text": text,
        "call_id": spec.call_id,
        "caller": spec.caller,
        "callee": spec.callee,
        "telephony_provider": spec.carrier,
        "history": history,
    }


def metrics(spec: CallSpec, turn: TurnMetrics, cost: CostBreakdown) -> dict[str, Any]:
    """For ``on_metrics``."""
    return {
        "call_id": spec.call_id,
        "turn": turn,
        "cost_so_far": cost,
        "llm_ttft_ms": turn.latency.llm_ttft_ms,
    }


def call_metrics(
    spec: CallSpec,
    duration_us: int,
    turns: Sequence[TurnMetrics],
    *,
    frames_in: int,
    frames_out: int,
    marks_played: int,
    marks_discarded: int,
    malformed: int,
    frames_dropped: int,
    costs: Costs,
    now: int,
    reason: str,
) -> CallMetrics:
    """The figures of a whole call."""
    stt, tts, llm = map(costs.provider, ("stt", "tts", "llm"))
    return CallMetrics(
        call_id=spec.call_id,
        duration_seconds=round(duration_us / 1e6, 3),
        turns=tuple(turns),
        cost=costs.so_far(now),
        cost_outside_turns=costs.outside_turns(now),
        pricing_version=spec.price_table.version,
        stt_provider=stt[0],
        stt_model=stt[1],
        tts_provider=tts[0],
        tts_model=tts[1],
        llm_provider=llm[0],
        llm_model=llm[1],
        error_code=reason if reason in _ERRORS else "",
        latency_avg=summarise(turns, None),
        latency_p50=summarise(turns, 0.5),
        latency_p90=summarise(turns, 0.9),
        latency_p95=summarise(turns, 0.95),
        latency_p99=summarise(turns, 0.99),
        provider_mode=str(spec.agent.engine.__struct_config__.tag),
        telephony_provider=spec.carrier,
        frames_in=frames_in,
        frames_out=frames_out,
        marks_played=marks_played,
        marks_discarded=marks_discarded,
        malformed_messages=malformed,
        frames_dropped=frames_dropped,
    )


def end(
    spec: CallSpec,
    reason: str,
    ended_at: float,
    pairs: list[dict[str, Any]],
    history: list[dict[str, Any]],
    figures: CallMetrics,
) -> dict[str, Any]:
    """For ``on_call_end``."""
    return {
        "call_id": spec.call_id,
        "caller": spec.caller,
        "callee": spec.callee,
        "direction": spec.direction,
        "telephony_provider": spec.carrier,
        "ended_at": ended_at,
        "reason": reason,
        "transcript": pairs,
        "conversation_history": history,
        "metrics": figures,
    }


def recording(spec: CallSpec, report: RecordingChanged | None, now: int) -> dict[str, Any] | None:
    """What is known of the call's recording, for ``on_call_end``; None when nothing is."""
    return None if report is None else recorded(report, spec.epoch + now, spec.carrier)


def recording_path(spec: CallSpec) -> str:
    """Where the call's own recording is written. An id is no path: whatever is special in one is not in a file name."""
    return f"{spec.local_recording}/{quote(spec.call_id, safe='')[:200]}.wav"


def recorded(report: RecordingChanged, unix_us: int, carrier: str) -> dict[str, Any]:
    """A recording as the application sees it. ``expires_at`` is unix time; None when the URL works until the recording
    is deleted."""
    expires = None if report.expires_s is None else unix_us / 1e6 + report.expires_s
    return {
        "call_id": report.call_id,
        "recording_id": report.recording_id,
        "status": report.status.value,
        "url": report.url,
        "duration": report.duration_s,
        "channels": report.channels,
        "expires_at": expires,
        "telephony_provider": carrier,
    }
