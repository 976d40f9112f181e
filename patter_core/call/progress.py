"""How far a leg has come, from reports that arrive late, twice and out of order."""

from __future__ import annotations

from ..carriers.carrier import CallStatus, CallStatusChanged
from ..reasons import EndReason

__all__ = ["Progress", "ending_of", "was_answered"]

_RANK = {
    CallStatus.UNKNOWN: -1,
    CallStatus.QUEUED: 0,
    CallStatus.INITIATED: 1,
    CallStatus.RINGING: 2,
    CallStatus.IN_PROGRESS: 3,
    CallStatus.COMPLETED: 4,
    CallStatus.BUSY: 4,
    CallStatus.NO_ANSWER: 4,
    CallStatus.FAILED: 4,
    CallStatus.CANCELED: 4,
}

_ENDINGS = {
    CallStatus.BUSY: EndReason.BUSY,
    CallStatus.NO_ANSWER: EndReason.NO_ANSWER,
    CallStatus.CANCELED: EndReason.CANCELED,
    CallStatus.FAILED: EndReason.FAILED,
}

#: What a SIP answer says of a call that "completed" without ever being answered (RFC 3261, section 21).
_SIP = {
    486: EndReason.BUSY,
    600: EndReason.BUSY,
    603: EndReason.BUSY,
    408: EndReason.NO_ANSWER,
    480: EndReason.NO_ANSWER,
    487: EndReason.CANCELED,
}


def was_answered(report: CallStatusChanged) -> bool:
    """Does this last report of a leg say by itself that somebody had taken the call?"""
    normal = report.sip_code in (None, 200)
    return report.status is CallStatus.COMPLETED and normal and (report.duration_s or 0) > 0


def ending_of(report: CallStatusChanged) -> EndReason:
    """Why a dialled leg ended that was never answered."""
    reason = _ENDINGS.get(report.status)
    if reason is None:
        reason = _SIP.get(report.sip_code or 0, EndReason.FAILED)
    return reason


class Progress:
    """The furthest a leg is known to have come. A leg never goes back, whatever order its reports come in."""

    __slots__ = ("_sequence", "status")

    def __init__(self) -> None:
        self.status = CallStatus.QUEUED
        self._sequence = -1

    def take(self, report: CallStatusChanged) -> bool:
        """Does this report tell anything new?"""
        if _RANK[report.status] <= _RANK[self.status] or self.status.final:
            return False
        if report.sequence is not None:
            if report.sequence <= self._sequence and not report.status.final:
                return False
            self._sequence = max(self._sequence, report.sequence)
        self.status = report.status
        return True

    @property
    def answered(self) -> bool:
        """Somebody (or something) took the call."""
        return self.status in (CallStatus.IN_PROGRESS, CallStatus.COMPLETED)
