"""What is told when a call is over: to ``on_call_end``, to who placed it and waits, and as the last event."""

from __future__ import annotations

from typing import Any

import msgspec

from ..carriers.carrier import CallStatus, RecordingChanged
from ..events import CallEnded
from ..reasons import EndReason
from . import payloads
from .conversation import Conversation
from .result import CallResult, MachineDetection, outcome_of
from .spec import CallSpec

__all__ = ["Ending"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say. ``started`` is when the first stream started, -1 if none did; times are the call's clock."""

    spec: CallSpec
    reason: EndReason
    started: int
    ended: int
    status: CallStatus
    frames_in: int
    malformed: int
    refusal: str = ""
    recording: RecordingChanged | None = None
    detection: MachineDetection | None = None

    def payload(self, talk: Conversation) -> dict[str, Any]:
        """For ``on_call_end``."""
        spec, reason = self.spec, self.reason
        started = self.started if self.started >= 0 else self.ended
        payload = talk.end_payload(self.ended, reason.value, started, self.frames_in, self.malformed)
        payload["recording"] = payloads.recording(spec, self.recording, self.ended)
        if talk.mouth.taped:
            payload["recording_path"] = payloads.recording_path(spec)
        if spec.dial is not None:
            payload["outcome"] = outcome_of(reason, self.started >= 0, self.status)
        return payload

    def result(self, talk: Conversation) -> CallResult | None:
        """For whoever placed the call; None when nobody of ours did."""
        if self.spec.dial is None:
            return None
        payload = self.payload(talk)
        metrics = payload["metrics"]
        return CallResult(
            call_id=self.spec.call_id,
            outcome=payload["outcome"],
            reason=self.reason,
            status=self.status.value,
            duration_seconds=metrics.duration_seconds,
            transcript=tuple(payload["transcript"]),
            cost=metrics.cost,
            metrics=metrics,
            detail=self.refusal,
            machine_detection=self.detection,
            recording=payload["recording"],
        )

    def event(self, talk: Conversation) -> CallEnded:
        """The last event."""
        frames_out, played, discarded = talk.counts()
        return CallEnded(
            call_id=self.spec.call_id,
            reason=self.reason,
            duration_ms=(self.ended - self.started) // 1000 if self.started >= 0 else 0,
            turns=talk.turns,
            frames_in=self.frames_in,
            frames_out=frames_out,
            marks_played=played,
            marks_discarded=discarded,
            malformed=self.malformed,
        )
