"""How long a call may go on: with nobody saying anything, at all, and for what money. Warns before it acts."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from ..engines.policy import Patience
from ..reasons import EndReason
from ..timers import Timers, later

__all__ = ["Act", "Leave", "Limits", "Remark"]

_COST_LOOK_S = 5.0  # between looks at what the call has cost: telephony grows by time alone


class Remark(msgspec.Struct, frozen=True, gc=False):
    """Say this to the caller."""

    text: str


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Say goodbye with this, and hang up."""

    reason: EndReason
    text: str


Act: TypeAlias = Remark | Leave


class _Timer(enum.Enum):
    IDLE = "idle"
    WARNING = "warning"
    END = "end"
    COST = "cost"


class Limits:
    """One call's, from the moment it is talked on."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._timers: Timers[_Timer] = Timers()
        self._active = 0  # when somebody was last heard
        self._tries = 0
        self._warned = False
        self._left = False

    def begin(self, now: int) -> None:
        """The conversation starts."""
        patience = self._patience
        self._active = now
        if patience.idle_s:
            self._timers.set(_Timer.IDLE, later(now, patience.idle_s))
        if patience.max_duration_s:
            self._timers.set(_Timer.END, later(now, patience.max_duration_s))
            if patience.warning_s < patience.max_duration_s:
                self._timers.set(_Timer.WARNING, later(now, patience.max_duration_s - patience.warning_s))
        if patience.max_cost:
            self._timers.set(_Timer.COST, later(now, _COST_LOOK_S))

    def end(self) -> None:
        """Nothing is watched any more."""
        for timer in _Timer:
            self._timers.clear(timer)

    @property
    def watches_silence(self) -> bool:
        """Does it matter who is heard?"""
        return bool(self._patience.idle_s)

    @property
    def deadline(self) -> int | None:
        """When to ``tick``."""
        return self._timers.deadline

    def active(self, now: int, caller: bool) -> None:
        """Somebody is heard; the ``caller``, or the agent."""
        self._active = now
        if caller:
            self._tries = 0

    def tick(self, now: int, cost: float) -> list[Act]:
        """Do what is due. ``cost`` is the known cost so far, in US dollars."""
        out: list[Act] = []
        while not self._left and (timer := self._timers.due(now)) is not None:
            match timer:
                case _Timer.IDLE:
                    self._idle(now, out)
                case _Timer.WARNING:
                    self._warn(out)
                case _Timer.END:
                    self._leave(EndReason.MAX_DURATION, out)
                case _Timer.COST:
                    self._cost(now, cost, out)
        return out

    def _idle(self, now: int, out: list[Act]) -> None:
        patience = self._patience
        due = later(self._active, patience.idle_s)
        if due > now:  # somebody was heard since it was set: looking now is cheaper than moving it for every frame
            self._timers.set(_Timer.IDLE, due)
        elif self._tries < patience.idle_tries:
            self._tries += 1
            self._active = now
            self._timers.set(_Timer.IDLE, later(now, patience.idle_s))
            out.append(Remark(patience.idle_message))
        else:
            self._leave(EndReason.IDLE, out)

    def _cost(self, now: int, cost: float, out: list[Act]) -> None:
        most = self._patience.max_cost
        if cost >= most:
            self._leave(EndReason.MAX_COST, out)
            return
        if cost >= 0.9 * most:
            self._warn(out)
        self._timers.set(_Timer.COST, later(now, _COST_LOOK_S))

    def _warn(self, out: list[Act]) -> None:
        if not self._warned:
            self._warned = True
            out.append(Remark(self._patience.limit_message))

    def _leave(self, reason: EndReason, out: list[Act]) -> None:
        self._left = True
        self.end()
        out.append(Leave(reason, self._patience.goodbye_message))
