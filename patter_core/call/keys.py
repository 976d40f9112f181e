"""The keys a caller presses: joined into something one can answer, or collected for the application.

Keys come one by one. Left alone, they make a *group*, which is a turn of the caller's: it ends with ``#`` (which
belongs to it), with a pause, or when it is long enough. When the application asks for keys (a PIN, a menu's choice),
they belong to that *collection* and to no group. Collections are asked one after another, in the order they came;
each waits for its keys from the moment it is the first.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TypeAlias

import msgspec

from ..timers import later

__all__ = [
    "KEYS",
    "MOST_KEYS",
    "MOST_TIMEOUT_S",
    "MOST_WAITING",
    "CollectionDone",
    "CollectionRefused",
    "Group",
    "KeyResult",
    "Keys",
    "Refusal",
    "Why",
]

KEYS = frozenset("0123456789*#ABCD")
"""What a keypad has. Anything else is no key, and ignored."""
MOST_KEYS = 128
"""Of one collection or group."""
MOST_TIMEOUT_S = 300.0
"""An application that waits longer for a key has lost its caller."""
MOST_WAITING = 8
"""Collections behind the one that is open."""


class Why(enum.Enum):
    """What ended a collection."""

    TERMINATOR = "terminator"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class Refusal(enum.Enum):
    """Why a collection was not begun."""

    NAME = "name"  #: another one of this name is not done yet
    MOST = "most"  #: ``most`` is not from 1 to MOST_KEYS
    TERMINATOR = "terminator"  #: it is neither one key nor empty
    TIMEOUT = "timeout"  #: a timeout is not above 0 and at most MOST_TIMEOUT_S
    WAITING = "waiting"  #: MOST_WAITING others wait already


class Group(msgspec.Struct, frozen=True, gc=False):
    """Keys pressed one after another: what the caller says with them."""

    text: str


class CollectionDone(msgspec.Struct, frozen=True, gc=False):
    """The keys of a collection, without its terminator."""

    name: str
    digits: str
    why: Why


class CollectionRefused(msgspec.Struct, frozen=True, gc=False):
    """This collection was not begun; the others are as they were."""

    name: str
    refusal: Refusal


KeyResult: TypeAlias = Group | CollectionDone | CollectionRefused


class _Wanted(msgspec.Struct, frozen=True, gc=False):
    name: str
    most: int
    terminator: str
    timeout_s: float
    first_timeout_s: float


class Keys:
    """The keys of one call. No clock: every method is told ``now`` in microseconds, settles what is due by then, and
    returns what came of it, oldest first."""

    __slots__ = ("_deadline", "_digits", "_most", "_open", "_pause_s", "_spare", "_spare_until", "_waiting")

    def __init__(self, pause_s: float = 1.5, most: int = 32) -> None:
        if not 0 < pause_s <= MOST_TIMEOUT_S:
            raise ValueError(f"pause_s must be above 0 and at most {MOST_TIMEOUT_S:g} seconds, got {pause_s!r}")
        if not 1 <= most <= MOST_KEYS:
            raise ValueError(f"most must be from 1 to {MOST_KEYS} keys, got {most!r}")
        self._pause_s = pause_s
        self._most = most
        self._digits = ""  # of the open collection, else of the group
        self._deadline: int | None = None
        self._open: _Wanted | None = None
        self._waiting: deque[_Wanted] = deque()
        self._spare = ""  # the terminator of a collection that was full before it was pressed
        self._spare_until = 0

    @property
    def deadline(self) -> int | None:
        """When to call ``tick`` if nothing happens."""
        return self._deadline

    @property
    def collecting(self) -> str | None:
        """The name of the collection the next key belongs to."""
        return None if self._open is None else self._open.name

    # --- what happens ------------------------------------------------------------------------------------------------

    def pressed(self, now: int, digit: str) -> list[KeyResult]:
        """The caller pressed a key. Many press ``#`` after the last digit whether or not it is needed: right after a
        collection that ended by its length, one press of its terminator means nothing."""
        out = self.tick(now)
        if digit not in KEYS:
            return out
        spare, self._spare = self._spare, ""
        if digit == spare and now < self._spare_until:
            return out
        wanted = self._open
        if wanted is None:
            self._digits += digit
            if digit == "#" or len(self._digits) >= self._most:
                self._end_group(out)
            else:
                self._deadline = later(now, self._pause_s)
        elif digit == wanted.terminator:
            self._done(now, wanted, Why.TERMINATOR, out)
        else:
            self._digits += digit
            self._deadline = later(now, wanted.timeout_s)
            if len(self._digits) >= wanted.most:
                self._done(now, wanted, Why.LENGTH, out)
                self._spare = wanted.terminator
                self._spare_until = later(now, self._pause_s)
        return out

    def tick(self, now: int) -> list[KeyResult]:
        """Do what is due."""
        out: list[KeyResult] = []
        if self._deadline is not None and now >= self._deadline:
            if self._open is None:
                self._end_group(out)
            else:
                self._done(now, self._open, Why.TIMEOUT, out)
        return out

    # --- what the application wants ----------------------------------------------------------------------------------

    def collect(
        self,
        now: int,
        name: str,
        most: int,
        terminator: str = "#",
        timeout_s: float = 5.0,
        first_timeout_s: float | None = None,
    ) -> list[KeyResult]:
        """Give the next keys to ``name``: at most ``most``, up to ``terminator`` ("" for none), each at most
        ``timeout_s`` after the one before and the first at most ``first_timeout_s`` (by default as long). Keys pressed
        before that are a group of their own."""
        out = self.tick(now)
        first = timeout_s if first_timeout_s is None else first_timeout_s
        refusal = self._refusal(name, most, terminator, timeout_s, first)
        if refusal is not None:
            out.append(CollectionRefused(name, refusal))
            return out
        self._waiting.append(_Wanted(name, most, terminator, timeout_s, first))
        if self._open is None:
            self._end_group(out)
            self._next(now)
        return out

    def cancel(self, now: int, name: str) -> list[KeyResult]:
        """Give up a collection. A name that is not there means nothing."""
        out = self.tick(now)
        if self._open is not None and self._open.name == name:
            self._done(now, self._open, Why.CANCELLED, out)
        for wanted in self._waiting:
            if wanted.name == name:
                self._waiting.remove(wanted)
                out.append(CollectionDone(name, "", Why.CANCELLED))
                break
        return out

    def end(self, now: int) -> list[KeyResult]:
        """The call is over: what was pressed so far, and nothing waits any more."""
        out = self.tick(now)
        if self._open is None:
            self._end_group(out)
        while self._open is not None:
            self._done(now, self._open, Why.CANCELLED, out)
        return out

    def _refusal(self, name: str, most: int, terminator: str, timeout_s: float, first_s: float) -> Refusal | None:
        others = list(self._waiting) if self._open is None else [self._open, *self._waiting]
        if any(wanted.name == name for wanted in others):
            return Refusal.NAME
        if not 1 <= most <= MOST_KEYS:
            return Refusal.MOST
        if terminator and terminator not in KEYS:
            return Refusal.TERMINATOR
        if not (0 < timeout_s <= MOST_TIMEOUT_S and 0 < first_s <= MOST_TIMEOUT_S):
            return Refusal.TIMEOUT
        if len(self._waiting) >= MOST_WAITING:
            return Refusal.WAITING
        return None

    # --- one after another -------------------------------------------------------------------------------------------

    def _end_group(self, out: list[KeyResult]) -> None:
        if self._digits:
            out.append(Group(self._digits))
        self._digits = ""
        self._deadline = None

    def _done(self, now: int, wanted: _Wanted, why: Why, out: list[KeyResult]) -> None:
        out.append(CollectionDone(wanted.name, self._digits, why))
        self._next(now)

    def _next(self, now: int) -> None:
        self._digits = ""
        self._open = self._waiting.popleft() if self._waiting else None
        self._deadline = None if self._open is None else later(now, self._open.first_timeout_s)
