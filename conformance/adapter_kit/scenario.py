"""A scripted board: plays one scenario through the adapter under test and checks what it is told."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from patter_core.contract import ConnId, Exit, Fact, Order, Ticked

from .books import Books

if TYPE_CHECKING:
    from .peers import Peers

__all__ = ["MS", "Drive", "Scenario", "Script", "Tools"]

F = TypeVar("F")

#: Yields the orders of one step, gets the next fact.
Script: TypeAlias = Generator[list[Order], Fact, Any]

MS = 1_000  #: microseconds


class Drive(Protocol):
    """What the kit needs of a drive while it runs."""

    def feed(self, fact: Fact) -> None: ...

    def stop_soon(self) -> None: ...

    def ask(self, verb: str, /, **args: Any) -> Awaitable[Any]: ...


class Tools(Protocol):
    """What only the loop under test can do, for handlers that run on it."""

    async def forever(self) -> None:
        """Wait until cancelled."""

    async def breathe(self) -> None:
        """Let others run once."""

    async def stray(self) -> BaseException:
        """What the loop cancels with, left over from a cancellation that is over."""

    async def deaf(self, done: Callable[[], bool]) -> None:
        """Ignore cancellation until ``done()``."""


class Scenario(abc.ABC):
    """One scenario. ``script`` runs step by step; when it returns, the board exits with code 0."""

    limit_s = 8.0  #: how long it may take before it counts as stuck
    may_detach = False  #: whether user code may outlive ``run`` for a moment
    crashes = False  #: whether ``run`` may raise; ``check`` looks at what
    exit_code: int | None = 0  #: what ``run`` must return; None where it is cancelled from outside
    asks: tuple[tuple[str, dict[str, Any]], ...] = ()  #: what the application asks once the drive runs

    def __init__(self, peers: Peers, tools: Tools) -> None:
        self.peers = peers
        self.tools = tools
        self.books = Books()
        self.errors = self.books.errors
        self.now = 0
        self.alarm: int | None = None
        self.drive: Drive | None = None
        self.ends_at_first_error = False
        self.cancel_from_outside: Callable[[], object] = lambda: None
        self.replies: list[object] = []  # an answer's value, or the exception
        self.crash: BaseException | None = None  # what ``run`` raised
        self.facts: list[Fact] = []
        self._count = itertools.count(100)
        self._script: Script | None = None
        self._over = False

    # --- for scripts -------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def script(self) -> Script:
        """The scenario."""

    def options(self) -> dict[str, Any]:
        """Options of the drive."""
        return {}

    def check(self) -> None:  # noqa: B027  # most have nothing to add
        """What is to be checked after the drive has ended."""

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note an error unless ``holds``."""
        if not holds:
            self.errors.append(otherwise)

    def name(self) -> Any:
        """A fresh name for a connection, request or task."""
        return next(self._count)

    def until(
        self, *kinds: type, orders: Iterable[Order] = (), conn: int | None = None, ignore: tuple[type, ...] = ()
    ) -> Generator[list[Order], Fact, Any]:
        """Give these orders, then wait for a fact of one of ``kinds`` (about ``conn``). Others are an error, unless
        ``ignore`` has their type."""
        fact = yield list(orders)
        while not (isinstance(fact, kinds) and (conn is None or getattr(fact, "conn", None) == conn)):
            self.expect(isinstance(fact, ignore), f"told {fact!r:.120}, wanted {[kind.__name__ for kind in kinds]}")
            fact = yield []
        return fact

    def rest(
        self, ms: int, orders: Iterable[Order] = (), ignore: tuple[type, ...] = ()
    ) -> Generator[list[Order], Fact, None]:
        """Give these orders, then let ``ms`` go by."""
        self.alarm = self.now + ms * MS
        yield from self.until(Ticked, orders=orders, ignore=ignore)

    def poll(
        self, condition: Callable[[], bool], orders: Iterable[Order] = (), ignore: tuple[type, ...] = ()
    ) -> Generator[list[Order], Fact, None]:
        """Give these orders, then wait for something outside, looking again every few milliseconds."""
        pending = list(orders)
        while pending or not condition():
            yield from self.rest(5, pending, ignore)
            pending = []

    # --- the board ---------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Fact) -> list[Order]:
        """Take one step."""
        self.now = max(now, self.now)
        self.books.enter(fact)
        self.facts.append(fact)
        orders = [] if self._over else self._step(fact)
        return self.books.leave(orders)

    @property
    def deadline(self) -> int | None:
        """The script's alarm, or the moment when all this takes too long."""
        limit = int(self.limit_s * 1_000_000)
        return limit if self.alarm is None else min(self.alarm, limit)

    def reserve(self) -> ConnId:
        """A name for an accepted connection."""
        return ConnId(self.name())

    def _step(self, fact: Fact) -> list[Order]:
        if self.now >= self.limit_s * 1_000_000:
            self.errors.append(f"stuck; the last fact before was {self.facts[-2:][0]!r:.120}")
            self._over = True
            return [Exit(70)]
        if self.errors and self.ends_at_first_error:
            self._over = True
            return [Exit(70)]
        if isinstance(fact, Ticked) and self._script is not None:
            self.expect(self.alarm is not None and self.now >= self.alarm, f"early tick at {self.now}")
            if self.alarm is not None and self.now >= self.alarm:
                self.alarm = None
        try:
            if self._script is None:
                self._script = self.script()
                return next(self._script)
            return self._script.send(fact)
        except StopIteration as stop:
            self._over = True
            return [*(stop.value or []), Exit(self.exit_code or 0)]
