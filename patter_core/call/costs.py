"""A call's cost book: what was consumed, at what price, for which turn, and what nobody knows the price of.

Every amount is in one place only: in the turn it was spent on while that is open, among the closed turns after, or
outside the turns (the first message, the carrier, what is reported for a turn after it has closed). The call's cost is
their sum, exactly.
"""

from __future__ import annotations

from ..engines.usage import Usage
from .metrics import CostBreakdown
from .pricing import DOLLAR, PriceTable, cost_of, cost_of_minutes, saved_by_cache

__all__ = ["NO_TURN", "Costs"]

NO_TURN = 0
"""Turns are counted from one."""

_OPEN_TURNS = 64
"""Turns that are being paid for at the same time; of more, the oldest count as closed."""

_UNKNOWN = 32
"""Names kept of what has no price: a call has a handful of providers."""

_MICRO = DOLLAR // 1_000_000

_MOST = 1_000_000 * DOLLAR
"""For one report: a provider that asks for more miscounts, and no figure of ours may overflow a float."""

STAGES = ("stt", "tts", "llm")


class _Account:
    """Femtodollars by stage; of a stage in ``unknown``, something has no price."""

    __slots__ = ("saved", "spent", "unknown")

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0)
        self.saved = 0
        self.unknown: dict[str, str] = {}  # what has no price, and its stage

    def add(self, other: _Account) -> None:
        for stage in STAGES:
            self.spent[stage] += other.spent[stage]
        self.saved += other.saved
        for name, stage in other.unknown.items():
            self.unpriced(stage, name)

    def unpriced(self, stage: str, name: str) -> None:
        if name in self.unknown or len(self.unknown) < _UNKNOWN:
            self.unknown.setdefault(name, stage)

    @property
    def total(self) -> int:
        return sum(self.spent.values())

    def breakdown(self, telephony: int | None, carrier: str) -> CostBreakdown:
        """In dollars. The parts are rounded first, so that those that are shown add up to the total that is."""
        micros: dict[str, int | None] = {}
        for stage in STAGES:
            nothing_known = not self.spent[stage] and stage in self.unknown.values()
            micros[stage] = None if nothing_known else _micros(self.spent[stage])
        micros["telephony"] = None if telephony is None else _micros(telephony)
        unknown = (*self.unknown, *((carrier,) if telephony is None else ()))
        return CostBreakdown(
            stt=_dollars(micros["stt"]),
            tts=_dollars(micros["tts"]),
            llm=_dollars(micros["llm"]),
            telephony=_dollars(micros["telephony"]),
            total=sum(part for part in micros.values() if part is not None) / 1_000_000,
            llm_cached_savings=_micros(self.saved) / 1_000_000,
            unknown=unknown,
        )


def _micros(amount: int) -> int:
    return (2 * amount + _MICRO) // (2 * _MICRO)


def _dollars(micros: int | None) -> float | None:
    return None if micros is None else micros / 1_000_000


class Costs:
    """One call's. Times are microseconds on the call's clock."""

    __slots__ = (
        "_answered",
        "_carrier",
        "_closed",
        "_direction",
        "_ended",
        "_open",
        "_outside",
        "_providers",
        "_table",
    )

    def __init__(self, table: PriceTable, carrier: str = "", direction: str = "inbound") -> None:
        self._table = table
        self._carrier = carrier
        self._direction = direction
        self._answered = -1
        self._ended = -1
        self._open: dict[int, _Account] = {}
        self._closed = _Account()
        self._outside = _Account()
        self._providers: dict[str, tuple[str, str]] = {}

    # --- what is spent -----------------------------------------------------------------------------------------------

    def used(self, usage: Usage, turn: int = NO_TURN) -> None:
        """This was consumed, for that turn. A turn that has closed is not opened again: whoever calls knows which are
        open."""
        stage = usage.stage if usage.stage in STAGES else "llm"
        self._providers[stage] = (usage.provider, usage.model)
        account = self._account(turn)
        cost = cost_of(usage, self._table)
        if cost is None:
            account.unpriced(stage, f"{usage.provider}/{usage.model}" if usage.model else usage.provider)
        else:
            account.spent[stage] += min(cost, _MOST)
            account.saved += min(saved_by_cache(usage, self._table), _MOST)

    def unpriced(self, stage: str, name: str, turn: int = NO_TURN) -> None:
        """Something was spent that nobody counts: an application's own model, say."""
        self._account(turn).unpriced(stage, name)

    def _account(self, turn: int) -> _Account:
        if turn <= NO_TURN:
            return self._outside
        account = self._open.get(turn)
        if account is None:
            if len(self._open) >= _OPEN_TURNS:
                self._closed.add(self._open.pop(min(self._open)))
            account = self._open[turn] = _Account()
        return account

    def turn_closed(self, turn: int) -> CostBreakdown:
        """Nothing more will be spent on it. Returns what was; telephony is the call's and no turn's."""
        account = self._open.pop(turn, None)
        if account is None:
            return CostBreakdown(telephony=0.0)
        self._closed.add(account)
        return account.breakdown(0, "")

    # --- the carrier -------------------------------------------------------------------------------------------------

    def answered(self, now: int) -> None:
        """From here on the carrier's clock runs; a call that was never answered costs nothing there."""
        if self._answered < 0:
            self._answered = now

    def ended(self, now: int) -> None:
        """The carrier's clock has stopped."""
        if self._ended < 0:
            self._ended = now

    def _telephony(self, now: int) -> int | None:
        """What the carrier would bill if the call ended now: a minute that was started is owed whole, so that is what
        is told; ``max_cost`` would otherwise be overrun by it."""
        if self._answered < 0 or not self._carrier:
            return 0
        until = self._ended if self._ended >= 0 else now
        return cost_of_minutes(self._table, self._carrier, self._direction, max(0, until - self._answered))

    # --- questions ---------------------------------------------------------------------------------------------------

    def total(self, now: int) -> int:
        """All that is known to have been spent, in femtodollars: what ``max_cost`` is compared with."""
        spent = sum(account.total for account in self._open.values())
        return spent + self._closed.total + self._outside.total + (self._telephony(now) or 0)

    def so_far(self, now: int) -> CostBreakdown:
        """The call's cost if it ended now; after ``ended``, the call's cost."""
        account = _Account()
        for one in (self._closed, *self._open.values(), self._outside):
            account.add(one)
        return account.breakdown(self._telephony(now), self._carrier)

    def outside_turns(self, now: int) -> CostBreakdown:
        """What is no closed turn's: with their costs it makes the call's."""
        account = _Account()
        for one in (*self._open.values(), self._outside):
            account.add(one)
        return account.breakdown(self._telephony(now), self._carrier)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What was used and has no price, as provider/model."""
        return self.so_far(-1).unknown

    def provider(self, stage: str) -> tuple[str, str]:
        """The provider and model that were used last for a stage; '' and '' when none was."""
        return self._providers.get(stage, ("", ""))
