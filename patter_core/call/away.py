"""A call's transfers carried out: who may be called, what the carrier is ordered, what the caller hears."""

from __future__ import annotations

import enum

from ..carriers.carrier import CallStatusChanged, TransferEnded, WebhookEvent
from ..carriers.dialects import dialect_of
from ..events import HangUpFailed, TransferStepped
from .conversation import Conversation
from .desk import deny, reply
from .leg import CarrierLeg
from .rests import Settled
from .spec import CallSpec
from .transfer import Move, Transfer, consultation, may_transfer, transfer_plan, valid_target
from .words import CallOrder, Tell, TransferWanted

__all__ = ["Away", "Turn"]


class Turn(enum.Enum):
    """What a transfer means for the call."""

    LEAVING = "leaving"  #: the carrier takes the caller over
    PARTED = "parted"  #: caller and target talk: our stream is over
    BACK = "back"  #: the caller is ours again, on the stream there is
    RETURNING = "returning"  #: ... and the carrier will ask for a new stream
    RESTART = "restart"  #: ... and we have to order one
    GONE = "gone"  #: the caller was served elsewhere


_REFS = 9  # consultations whose late reports are still understood
_ORDERS = frozenset({"send", "consult", "brief", "join"})
_STEPS = {
    Move.SEND: "sent",
    Move.CONSULT: "consulting",
    Move.BRIEF: "briefing",
    Move.JOIN: "joining",
    Move.AWAY: "joined",
}


class Away:
    """One call's transfers, one at a time. Its methods return what each means for the call, in order."""

    def __init__(self, leg: CarrierLeg, talk: Conversation) -> None:
        self._leg = leg
        self._talk = talk
        self._transfer: Transfer | None = None
        self._count = 0
        self._refs: list[str] = []
        self._unwanted = False  # the other leg is still being dialled, and nobody waits for it any more

    @property
    def busy(self) -> bool:
        """A transfer is under way."""
        return self._transfer is not None

    @property
    def joined(self) -> bool:
        """Caller and target talk."""
        return self._transfer is not None and self._transfer.joined

    @property
    def listens(self) -> bool:
        """It waits for what is being said to be over."""
        return self._transfer is not None and self._transfer.listens

    @property
    def deadline(self) -> int | None:
        """When to ``tick``."""
        return None if self._transfer is None else self._transfer.deadline

    def concerns(self, ref: str) -> bool:
        """Is this the name of the leg that our transfer made?"""
        return self._transfer is not None and ref == self._transfer.ref

    @property
    def refs(self) -> list[str]:
        """The names of every leg we had dialled to be consulted."""
        return list(self._refs)

    def stray(self, now: int, event: WebhookEvent, ref: str, out: list[CallOrder]) -> None:
        """A leg of ours that nobody waits for any more turns up after all: it is hung up."""
        over = isinstance(event, CallStatusChanged) and event.status.final
        if ref in self._refs and event.call_id and not over and not isinstance(event, TransferEnded):
            self._leg.drop_other(now, event.call_id, out)

    # --- what happens ------------------------------------------------------------------------------------------------

    def wanted(self, now: int, spec: CallSpec, wanted: TransferWanted, out: list[CallOrder]) -> list[Turn]:
        """Somebody wants the caller sent elsewhere."""
        agent = self._talk.agent
        if not valid_target(wanted.to):
            why = "a target is an E.164 number (+15550001234) or sip:somebody@host"
            return self._refuse(now, spec, wanted, "bad_target", why, out)
        guarded = wanted.by_model or agent.transfer_allow is not None
        if guarded and not may_transfer(wanted.to, agent.transfer_allow, agent.system_prompt):
            why = "the operator did not name this target: see transfer_allow="
            return self._refuse(now, spec, wanted, "not_allowed", why, out)
        self._count += 1
        ref = f"{spec.call_id}/t{self._count}"
        if wanted.summary:
            self._refs = [*self._refs[-_REFS:], ref]
        self._transfer = Transfer(now, wanted.to, ref, wanted.summary, wanted.ask, spec.settings)
        return self._move(now, spec, self._transfer.begins, False, out)

    def _refuse(
        self, now: int, spec: CallSpec, wanted: TransferWanted, code: str, why: str, out: list[CallOrder]
    ) -> list[Turn]:
        deny(wanted.ask, code, why, out)
        out.append(Tell(TransferStepped(spec.call_id, "refused", wanted.to, why)))
        out += self._talk.say(now, spec.agent.transfer_refused_message)
        return []

    def quiet(self, now: int, spec: CallSpec, out: list[CallOrder]) -> list[Turn]:
        """Nothing is being said any more."""
        return [] if self._transfer is None else self._move(now, spec, self._transfer.quiet(now), True, out)

    def reported(
        self, now: int, spec: CallSpec, event: WebhookEvent, ours: bool, flowing: bool, out: list[CallOrder]
    ) -> list[Turn]:
        """The carrier reported something; ``ours``: about the leg that the transfer made."""
        transfer = self._transfer
        return [] if transfer is None else self._move(now, spec, transfer.reported(now, event, ours), flowing, out)

    def settled(
        self, now: int, spec: CallSpec, news: Settled, flowing: bool, out: list[CallOrder]
    ) -> list[Turn] | None:
        """What an order to the carrier came to. None: it was none of ours."""
        if news.tag not in _ORDERS:
            return None
        if self._unwanted and news.tag == "consult":
            self._unwanted = False
            if news.done and news.value:
                self._leg.drop_other(now, news.value, out)
            elif news.outcome is None:
                out.append(Tell(HangUpFailed(spec.call_id, "the carrier never said whether it dialled the other leg")))
            return []
        transfer = self._transfer
        return [] if transfer is None else self._move(now, spec, transfer.settled(now, news), flowing, out)

    def tick(self, now: int, spec: CallSpec, flowing: bool, out: list[CallOrder]) -> list[Turn]:
        """``deadline`` passed. ``flowing``: the caller's stream is still there."""
        transfer = self._transfer
        return [] if transfer is None else self._move(now, spec, transfer.tick(now, flowing), flowing, out)

    def end(self, now: int, gone: bool, out: list[CallOrder]) -> None:
        """The call is over: so is its transfer."""
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            if transfer.other_leg:
                self._leg.drop_other(now, transfer.other_leg, out)
            else:
                self._unwanted = "consult" in self._leg.rests
            reply(transfer.ask, {"transferred": gone, "reason": "" if gone else "call_ended"}, out)

    # --- what is done about it ---------------------------------------------------------------------------------------

    def _move(self, now: int, spec: CallSpec, moves: list[Move], flowing: bool, out: list[CallOrder]) -> list[Turn]:
        turns: list[Turn] = []
        for move in moves:
            transfer = self._transfer
            assert transfer is not None
            match move:
                case Move.SEND:
                    self._leg.transfer(now, transfer_plan(spec, transfer), out)
                    out += self._talk.hush(now)
                    turns.append(Turn.LEAVING)
                case Move.CONSULT:
                    self._leg.consult(now, consultation(spec, transfer), out)
                case Move.BRIEF:
                    self._leg.brief(now, transfer.other, consultation(spec, transfer), out)
                case Move.JOIN:
                    out += self._talk.hush(now)
                    self._leg.join(now, transfer.other, consultation(spec, transfer), out)
                    turns.append(Turn.LEAVING)
                case Move.DROP_OTHER:
                    self._leg.drop_other(now, transfer.other, out)
                case Move.AWAY:
                    turns.append(Turn.PARTED)
                case Move.GONE:
                    self._transfer = None
                    reply(transfer.ask, {"transferred": True, "reason": ""}, out)
                    turns.append(Turn.GONE)
                case Move.BACK:
                    self._transfer = None
                    turns.append(self._back(spec, transfer, flowing, out))
            if move in _STEPS:
                out.append(Tell(TransferStepped(spec.call_id, _STEPS[move], transfer.to)))
        return turns

    def _back(self, spec: CallSpec, transfer: Transfer, flowing: bool, out: list[CallOrder]) -> Turn:
        """Nobody is there: the caller is the agent's again."""
        reply(transfer.ask, {"transferred": False, "reason": transfer.failure}, out)
        out.append(Tell(TransferStepped(spec.call_id, "failed", transfer.to, transfer.failure)))
        if flowing and not transfer.moved:
            return Turn.BACK
        asks = not transfer.summary and "transfer" in dialect_of(spec.carrier).routes
        return Turn.RETURNING if asks else Turn.RESTART
