"""Sending the caller to somebody else, so that they come back when nobody is there.

    cold:  SPEAKING --quiet--> SENT --answered--> JOINED --> OVER
                                 \\--refused, nobody answered--> OVER (back with the agent)
    warm:  CONSULTING --answered--> BRIEFING --heard--> JOINING --> JOINED --> OVER
                \\--------------------\\------------------\\--> OVER (back with the agent)

Cold, the carrier moves the caller while the other leg still rings. Warm, the caller stays with the agent until the
other party has heard what it is about.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

from ..carriers.carrier import (
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    DialPlan,
    LegJoined,
    RestOutcome,
    TransferEnded,
    TransferPlan,
    WebhookEvent,
)
from ..settings import CallSettings
from ..timers import later
from .progress import Progress
from .rests import Settled
from .spec import CallSpec

__all__ = ["Move", "Stage", "Transfer", "consultation", "may_transfer", "transfer_plan", "valid_target"]


class Stage(enum.Enum):
    """Where a transfer is."""

    SPEAKING = "speaking"  # what is being said ("one moment, please") is heard first
    SENT = "sent"
    CONSULTING = "consulting"
    BRIEFING = "briefing"
    JOINING = "joining"
    JOINED = "joined"
    OVER = "over"


class Move(enum.Enum):
    """What the call does now."""

    SEND = "send"  #: order the carrier to transfer; the agent is quiet from here on
    CONSULT = "consult"  #: have the other leg dialled
    BRIEF = "brief"  #: have it told what this is about
    JOIN = "join"  #: connect both legs; the agent is quiet from here on
    DROP_OTHER = "drop_other"  #: hang up the other leg
    AWAY = "away"  #: caller and target talk: our stream is over
    BACK = "back"  #: the caller is the agent's again; ``failure`` says why
    GONE = "gone"  #: the caller was served elsewhere: the call is over


_LEG_MAY_BE_UP = frozenset({Stage.CONSULTING, Stage.BRIEFING, Stage.JOINING, Stage.SENT})
_GRACE_S = 15.0  # how late a carrier may report that nobody answered
_UNSURE_S = 2.0  # how long a carrier that did not say whether it took the caller over may take to show it


class Transfer:
    """One transfer. ``ref`` is what the carrier echoes in the reports of the leg it makes."""

    def __init__(self, now: int, to: str, ref: str, summary: str, ask: str, settings: CallSettings) -> None:
        self.to = to
        self.ref = ref
        self.summary = summary
        self.ask = ask
        self.other = ""  # the other leg's id, once known
        self.failure = ""
        self.stage = Stage.CONSULTING if summary else Stage.SPEAKING
        self.deadline: int | None = later(now, settings.goodbye_s)
        self._settings = settings
        self._progress = Progress()
        self.moved = False  # the carrier took the caller over: whatever stream there was is not the caller's any more
        self._known_by: int | None = None  # the deadline there was before the carrier left us guessing
        if summary:
            self.deadline = later(now, settings.ring_s + _GRACE_S)

    @property
    def begins(self) -> list[Move]:
        """What to do first."""
        return [Move.CONSULT] if self.stage is Stage.CONSULTING else []

    @property
    def other_leg(self) -> str:
        """The other leg, while it has to be hung up if the caller leaves; '' when there is none."""
        return self.other if self.stage in _LEG_MAY_BE_UP and self.summary else ""

    @property
    def away(self) -> bool:
        """The carrier has the caller: a stream that stops says nothing about the call."""
        return self.stage in (Stage.SENT, Stage.JOINING, Stage.JOINED)

    @property
    def listens(self) -> bool:
        """It waits for what is being said to be over."""
        return self.stage is Stage.SPEAKING

    @property
    def joined(self) -> bool:
        """Caller and target talk."""
        return self.stage is Stage.JOINED

    def quiet(self, now: int) -> list[Move]:
        """Nothing is being said any more."""
        if self.stage is not Stage.SPEAKING:
            return []
        self.stage = Stage.SENT
        self.deadline = later(now, self._settings.ring_s + _GRACE_S)
        return [Move.SEND]

    def settled(self, now: int, news: Settled) -> list[Move]:
        """What became of the order of one of our moves (its tag is the move's value)."""
        move = Move(news.tag)
        if move is Move.CONSULT and news.done:
            self.other = self.other or news.value
            return []
        if move is Move.JOIN and news.outcome is RestOutcome.ALREADY_ENDED:
            # One of the two legs is over. If it is the caller's, that is reported; if not, they are to be talked to.
            return self._back("hung up before they were joined")
        if move is Move.JOIN and news.done:
            self.moved = True  # accepted; that they are connected is reported
            return []
        if news.done or self.stage is Stage.OVER:
            return []
        if news.outcome is None and move is Move.CONSULT:
            return []  # it may ring there all the same: its reports, or the deadline, tell
        if news.outcome is None and move in (Move.SEND, Move.JOIN):
            if self.stage in (Stage.SENT, Stage.JOINING):
                self._known_by = self.deadline
                self.deadline = later(now, _UNSURE_S)
            return []
        return self._back(f"the carrier refused: {news.detail}", refused=True)

    def reported(self, now: int, event: WebhookEvent, ours: bool) -> list[Move]:
        """The carrier reported something; ``ours``: about the other leg."""
        if self.stage is Stage.OVER:
            return []
        if ours and event.call_id and not self.other:
            self.other = event.call_id
        match event:
            case TransferEnded(status=status):
                self.moved = True
                if status is CallStatus.COMPLETED and self.stage is not Stage.JOINING:
                    return self._gone()
                # Out of a room in which they were alone, the carrier sends the caller as from one that was a success.
                return self._back("hung up before they were joined" if self.summary else status.value)
            case CallStatusChanged() if ours:
                return self._status(now, event)
            case LegJoined() if self.stage is Stage.SENT or (not ours and self.stage is Stage.JOINING):
                return self._joined()
            case CarrierSpoke(completed=False) if ours and self.stage is Stage.BRIEFING:
                return self._back("hung up before they were joined")
            case LegJoined() | CarrierSpoke() if ours and self.stage in (Stage.CONSULTING, Stage.BRIEFING):
                return self._heard(now)
        return []

    def _status(self, now: int, report: CallStatusChanged) -> list[Move]:
        if not self._progress.take(report):
            return []
        if report.status is CallStatus.IN_PROGRESS:
            if self.stage is Stage.CONSULTING:
                self.stage = Stage.BRIEFING
                self.deadline = later(now, self._settings.brief_s)
                return [Move.BRIEF]
            return self._joined() if self.stage is Stage.SENT else []
        if not report.status.final:
            return []
        self.other = ""  # whatever it was, it is no leg any more
        if self.stage is Stage.JOINED:
            return self._gone()
        named = report.status is not CallStatus.COMPLETED
        return self._back(report.status.value if named else "hung up before they were joined")

    def _heard(self, now: int) -> list[Move]:
        self.stage = Stage.JOINING
        self.deadline = later(now, self._settings.order_s + _GRACE_S)
        return [Move.JOIN]

    def _joined(self) -> list[Move]:
        if self.stage is Stage.JOINED:
            return []
        self.stage = Stage.JOINED
        self.deadline = None
        return [Move.AWAY]

    def _gone(self) -> list[Move]:
        self.stage = Stage.OVER
        self.deadline = None
        return [Move.GONE]

    def _back(self, why: str, refused: bool = False) -> list[Move]:
        if self.stage is Stage.JOINING and not refused:
            self.moved = True  # the carrier was told to take the caller over, and may be about to
        drop = [Move.DROP_OTHER] if self.other_leg else []
        self.stage = Stage.OVER
        self.deadline = None
        self.failure = why
        return [*drop, Move.BACK]

    def tick(self, now: int, stream: bool) -> list[Move]:
        """``deadline`` passed. ``stream``: the caller's media stream is still ours."""
        if self.deadline is None or now < self.deadline:
            return []
        if self.stage is Stage.SPEAKING:
            return self.quiet(now)
        if self._known_by is not None:
            return self._guess(now, stream)
        if self.stage is Stage.JOINING and self.moved:
            return self._joined()  # nobody says so, but nobody says otherwise
        if self.stage is Stage.SENT and not stream:
            self.deadline = None  # the carrier has them, and tells when it is done
            return []
        return self._back("no_answer")

    def _guess(self, now: int, stream: bool) -> list[Move]:
        """The carrier never said whether it took the caller over; what it has done since tells."""
        known_by, self._known_by = self._known_by, None
        taken = not stream or (self.stage is Stage.SENT and bool(self.other))
        if not taken:
            return self._back("the carrier did not answer")
        self.moved = self.moved or not stream
        assert known_by is not None
        self.deadline = max(known_by, now + 1)
        return []


# --- what the carrier is told ----------------------------------------------------------------------------------------


def _our_number(spec: CallSpec) -> str:
    return spec.callee if spec.direction == "inbound" else spec.caller


def transfer_plan(spec: CallSpec, transfer: Transfer) -> TransferPlan:
    """The order that sends the caller of this call away."""
    return TransferPlan(
        to=transfer.to,
        caller_id=_our_number(spec),
        webhooks=spec.webhooks,
        ref=transfer.ref,
        ring_timeout_s=round(spec.settings.ring_s),
    )


def consultation(spec: CallSpec, transfer: Transfer) -> DialPlan:
    """The order that dials whoever is to take the caller over."""
    return DialPlan(
        to=transfer.to,
        caller_id=_our_number(spec),
        webhooks=spec.webhooks,
        ref=transfer.ref,
        ring_timeout_s=round(spec.settings.ring_s),
        brief=transfer.summary,
        language=spec.agent.language,
        room=transfer.ref,
    )


# --- where a caller may be sent --------------------------------------------------------------------------------------

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SIP = re.compile(r"sips?:[A-Za-z0-9._~%+!*'&=$-]{1,128}@[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(;[A-Za-z0-9.;=_-]{0,128})?")
_NUMBER_IN_TEXT = re.compile(r"\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}")


def valid_target(to: str) -> bool:
    """An E.164 number or a ``sip:`` address, and nothing else."""
    return _E164.fullmatch(to) is not None or _SIP.fullmatch(to) is not None


def may_transfer(to: str, allowed: Iterable[str] | None, written: str) -> bool:
    """May a model send a caller to ``to``? ``allowed`` are the operator's prefixes (``+1555``, ``sip:desk@``); without
    any, only what the operator wrote out in ``written`` (the system prompt, the configuration)."""
    if allowed is not None:
        return any(prefix and to.startswith(prefix) for prefix in allowed)
    if to.startswith("+"):
        return any(re.sub(r"[^+0-9]", "", found) == to for found in _NUMBER_IN_TEXT.findall(written))
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(to)}(?![A-Za-z0-9.@-])", written) is not None
