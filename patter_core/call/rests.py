"""A call's REST orders to its carrier: each bounded, repeated while that may help, settled exactly once.

An order is known by its ``tag``; at most one of each tag is open. What certainly had no effect is repeated, and so is
anything that a carrier does once only however often it is asked; dialling is not among those.
"""

from __future__ import annotations

import msgspec

from ..carriers.carrier import RestOutcome, RestRequest
from ..timers import Timers, later
from .words import CallOrder, Drop, Rest, RestDone

__all__ = ["Rests", "Settled"]

_FIRST_PAUSE_US = 250_000
_AGAIN = (RestOutcome.RETRY, RestOutcome.NOT_YET, None)


class Settled(msgspec.Struct, frozen=True, gc=False):
    """An order is done with. ``outcome`` is None when no answer came in time, or none that says whether an order that
    must be done once was; ``value`` is the id of what was made."""

    tag: str
    outcome: RestOutcome | None
    detail: str
    value: str = ""

    @property
    def done(self) -> bool:
        """It had its effect (or there was nothing left to affect)."""
        return self.outcome in (RestOutcome.DONE, RestOutcome.ALREADY_ENDED)


class _Open:
    __slots__ = ("name", "once", "pause", "request", "until")

    def __init__(self, request: RestRequest, until: int, once: bool) -> None:
        self.request = request
        self.until = until
        self.once = once
        self.name = ""  # '' while it waits to be repeated
        self.pause = _FIRST_PAUSE_US


class Rests:
    """The open orders of one call."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._count = 0
        self._timers: Timers[tuple[str, str]] = Timers()

    @property
    def deadline(self) -> int | None:
        """When to call ``tick``."""
        return self._timers.deadline

    def __contains__(self, tag: str) -> bool:
        return tag in self._open

    def any(self, prefix: str) -> bool:
        """Is an order of this kind open?"""
        return any(tag.startswith(prefix) for tag in self._open)

    def ask(
        self, now: int, tag: str, request: RestRequest, within_s: float, out: list[CallOrder], once: bool = False
    ) -> None:
        """Give an order; it is settled within ``within_s``. ``once``: repeat it only when it had no effect for sure."""
        self.drop(tag, out)
        entry = self._open[tag] = _Open(request, later(now, within_s), once)
        self._timers.set(("until", tag), entry.until)
        self._send(tag, entry, out)

    def drop(self, tag: str, out: list[CallOrder]) -> None:
        """Nobody wants to know any more."""
        entry = self._open.pop(tag, None)
        if entry is not None:
            self._timers.clear(("until", tag))
            self._timers.clear(("again", tag))
            if entry.name:
                out.append(Drop(entry.name))

    def done(self, now: int, fact: RestDone) -> Settled | None:
        """What became of a request. None: nothing that settles an order."""
        tag = fact.name.rpartition(":")[0]
        entry = self._open.get(tag)
        if entry is None or entry.name != fact.name:
            return None
        harmless = fact.safe or fact.outcome is RestOutcome.NOT_YET or not entry.once
        if fact.outcome in _AGAIN and harmless and now + entry.pause < entry.until:
            entry.name = ""
            self._timers.set(("again", tag), now + entry.pause)
            entry.pause *= 2
            return None
        entry.name = ""  # done with; or another try would come too late, and this is what there is to say
        self.drop(tag, [])
        outcome = fact.outcome
        if entry.once and outcome in _AGAIN:
            outcome = RestOutcome.REFUSED if harmless else None
        return Settled(tag, outcome, fact.detail, fact.value)

    def tick(self, now: int, out: list[CallOrder]) -> list[Settled]:
        """Repeat what is due; give up what has taken too long."""
        settled: list[Settled] = []
        while (timer := self._timers.due(now)) is not None:
            kind, tag = timer
            entry = self._open.get(tag)
            if entry is None:
                continue
            if kind == "until":
                self.drop(tag, out)
                settled.append(Settled(tag, None, "the carrier did not answer in time"))
            else:
                self._send(tag, entry, out)
        return settled

    def _send(self, tag: str, entry: _Open, out: list[CallOrder]) -> None:
        self._count += 1
        entry.name = f"{tag}:{self._count}"
        out.append(Rest(entry.name, entry.request))
