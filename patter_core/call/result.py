"""What became of a dialled call, for whoever waits for it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..carriers.carrier import CallStatus
from ..reasons import EndReason
from .metrics import CallMetrics, CostBreakdown

__all__ = ["CallResult", "MachineDetection", "outcome_of"]


class MachineDetection(msgspec.Struct, frozen=True):
    """Who took a dialled call. ``classification``: human, machine, fax or unknown; ``raw`` is the carrier's word;
    ``detected_at`` is unix time."""

    call_id: str
    carrier: str
    classification: str
    raw: str
    detected_at: float


class CallResult(msgspec.Struct, frozen=True, kw_only=True):
    """A dialled call that is over.

    ``outcome``: answered, voicemail, no_answer, busy, failed or canceled. ``reason`` is the one typed reason of its
    end, ``status`` the carrier's last word. ``duration_seconds`` counts from the media stream's start.
    """

    call_id: str
    outcome: str
    reason: EndReason
    status: str
    duration_seconds: float
    transcript: tuple[dict[str, Any], ...]
    cost: CostBreakdown
    metrics: CallMetrics
    detail: str = ""
    machine_detection: MachineDetection | None = None
    recording: dict[str, Any] | None = None


_OUTCOMES = {
    EndReason.VOICEMAIL_LEFT: "voicemail",
    EndReason.MACHINE_ANSWERED: "voicemail",
    EndReason.NO_ANSWER: "no_answer",
    EndReason.BUSY: "busy",
    EndReason.CANCELED: "canceled",
    EndReason.FAILED: "failed",
    EndReason.FAX_ANSWERED: "failed",
    EndReason.CARRIER_REFUSED: "failed",
    EndReason.NOT_REPORTED: "failed",
    EndReason.NEVER_STARTED: "failed",
    EndReason.UNSUPPORTED_CODEC: "failed",
}

_CALLED_OFF = frozenset({EndReason.SHUTDOWN, EndReason.CANCELLED, EndReason.AGENT_HUNG_UP})


def outcome_of(reason: EndReason, talked: bool, status: CallStatus) -> str:
    """``talked``: its media stream had started."""
    known = _OUTCOMES.get(reason)
    if known is not None:
        return known
    answered = status in (CallStatus.IN_PROGRESS, CallStatus.COMPLETED)
    if talked or (answered and reason is EndReason.CALLER_HUNG_UP):  # the latter hung up before they could be talked to
        return "answered"
    if reason in _CALLED_OFF and not answered:
        return "canceled"
    return "failed"
