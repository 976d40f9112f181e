"""Scenarios about named handlers, on the loop and in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

from patter_core.contract import Cancel, Fact, Fault, Invoke, Lane, Order, Pause, Raised, Resume, Returned, Yielded

from .scenario import Scenario, Script

__all__ = ["SCENARIOS"]

LOOP, THREAD = Lane.LOOP, Lane.THREAD

FLOOD = 100_000  #: items of a stream that never waits: more than anybody takes before it is stopped

THREADS = 64  #: handlers that may block at once


class Invoking(Scenario):
    """A scenario whose methods ``on_<name>`` are the handlers."""

    def options(self) -> dict[str, Any]:
        names = [name for name in dir(self) if name.startswith("on_")]
        return {"handlers": {name.removeprefix("on_"): getattr(self, name) for name in names}}

    def outcome(self, lane: Lane, handler: str, *args: Any) -> Generator[list[Order], Fact, tuple[Any, list[Any]]]:
        """Call it; its terminal fact, and the items before it."""
        task, items = self.name(), []
        orders: list[Order] = [Invoke(task, lane, handler, args)]
        while isinstance(fact := (yield from self.until(Yielded, Returned, Raised, orders=orders)), Yielded):
            items.append(fact.value)
            orders = []
        self.expect(fact.task == task, f"told {fact} of another task")
        return fact, items


class InvokeReturns(Invoking):
    """Values, awaitables and threads; a list is a value, not a stream."""

    def on_add(self, a: int, b: int) -> int:
        return a + b

    async def on_later(self, value: str) -> str:
        await self.tools.breathe()
        return value + "!"

    def on_list(self) -> list[int]:
        return [1, 2]

    def on_thread(self) -> tuple[int, bool]:
        return threading.get_ident(), threading.current_thread().daemon

    def script(self) -> Script:
        for lane in (LOOP, THREAD):
            for handler, args, value in (("add", (2, 3), 5), ("later", ("a",), "a!"), ("list", (), [1, 2])):
                fact, items = yield from self.outcome(lane, handler, *args)
                told = fact.value if isinstance(fact, Returned) else fact
                self.expect(told == value and not items, f"{lane}: {handler} came to {told} {items}")
        fact, _ = yield from self.outcome(LOOP, "thread")
        self.expect(fact.value[0] == threading.get_ident(), "a LOOP handler ran elsewhere")
        fact, _ = yield from self.outcome(THREAD, "thread")
        self.expect(fact.value[0] != threading.get_ident(), "a THREAD handler ran on the loop")
        self.expect(fact.value[1], "the thread is no daemon: blocked, it would keep the process alive")


class InvokeRaises(Invoking):
    """What user code raises is a fact, and so is a handler that is not there."""

    def on_bad(self) -> None:
        raise KeyError("oops")

    async def on_bad_later(self) -> None:
        await self.tools.breathe()
        raise ExceptionGroup("several", [ValueError("oops")])

    def on_bad_items(self) -> Iterator[int]:
        yield 1
        raise ValueError("oops")

    def script(self) -> Script:
        for lane in (LOOP, THREAD):
            for handler, items in (("bad", []), ("bad_later", []), ("bad_items", [1])):
                fact, told = yield from self.outcome(lane, handler)
                fine = isinstance(fact, Raised) and fact.fault is Fault.USER and told == items
                self.expect(fine, f"{lane}: {handler} came to {fact} after {told}")
            fact, _ = yield from self.outcome(lane, "nobody")
            self.expect(isinstance(fact, Raised) and fact.fault is Fault.UNKNOWN_HANDLER, f"told {fact}")


class Mute(Exception):
    """An exception that cannot say what it is about."""

    def __str__(self) -> str:
        raise self


class InvokeRaisesAnything(Invoking):
    """User code ends its own call and nothing else, whatever it raises; the call always ends with a fact."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.failures: list[BaseException] = [
            Mute(),
            GeneratorExit(),
            BaseExceptionGroup("several", [SystemExit(3)]),
            asyncio.CancelledError(),
            KeyboardInterrupt(),
            SystemExit(3),
        ]
        self.entered = threading.Event()

    async def on_stray(self) -> None:
        self.failures.append(await self.tools.stray())

    def on_bad(self, number: int) -> None:
        raise self.failures[number]

    async def on_bad_later(self, number: int) -> None:
        await self.tools.breathe()
        raise self.failures[number]

    def on_bad_items(self, number: int) -> Iterator[int]:
        yield 1
        raise self.failures[number]

    async def on_bad_stream(self, number: int) -> AsyncIterator[int]:
        yield 1
        raise self.failures[number]

    async def on_bad_loser(self) -> None:
        self.entered.set()
        try:
            await self.tools.forever()
        finally:
            raise SystemExit(3)

    def script(self) -> Script:
        yield from self.outcome(LOOP, "stray")
        for number, failure in enumerate(self.failures):
            for lane in (LOOP, THREAD):
                for handler, items in (("bad", []), ("bad_later", []), ("bad_items", [1]), ("bad_stream", [1])):
                    fact, told = yield from self.outcome(lane, handler, number)
                    fine = isinstance(fact, Raised) and fact.fault is Fault.USER and told == items
                    fine = fine and type(failure).__name__ in fact.detail
                    self.expect(fine, f"{lane}: {handler} with {type(failure)} came to {fact} after {told}")
        task = self.name()
        yield from self.poll(self.entered.is_set, [Invoke(task, LOOP, "bad_loser")])
        yield from self.rest(5, [Cancel(task)])


class InvokeYields(Invoking):
    """Generators of both kinds: each item, then the end, in order. Paused, they hold."""

    def on_items(self) -> Generator[int, None, str]:
        for n in range(30):
            self.taken = n
            yield n
        return "done"

    async def on_stream(self) -> AsyncIterator[int]:
        for n in range(30):
            self.taken = n
            yield n
            await self.tools.breathe()

    def script(self) -> Script:
        for lane in (LOOP, THREAD):
            for handler, value in (("items", "done"), ("stream", None)):
                fact, items = yield from self.outcome(lane, handler)
                fine = isinstance(fact, Returned) and fact.value == value and items == list(range(30))
                self.expect(fine, f"{lane}: {handler} came to {fact} after {items}")
                task = self.name()
                yield from self.until(Yielded, orders=[Invoke(task, lane, handler)])
                yield from self.rest(20, [Pause(task)], ignore=(Yielded,))
                self.expect(self.taken < 5, f"{lane}: {handler} ran ahead to {self.taken} while paused")
                yield from self.until(Returned, orders=[Resume(task)], ignore=(Yielded,))


class InvokeCancelled(Invoking):
    """After Cancel nothing is heard; what can be stopped is stopped, and what cannot is left to finish."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cleaned: list[str] = []
        self.release = threading.Event()
        self.entered = threading.Event()

    async def on_wait(self) -> None:
        self.entered.set()
        try:
            await self.tools.forever()
        finally:
            self.cleaned.append("wait")

    async def on_wait_stream(self) -> AsyncIterator[int]:
        try:
            yield 1
            await self.tools.forever()
        finally:
            self.cleaned.append("stream")

    def on_block(self) -> str:
        self.entered.set()
        self.release.wait(10)
        self.cleaned.append("block")
        return "unheard"

    def on_items(self) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.cleaned.append("items")

    def script(self) -> Script:
        task = self.name()
        yield from self.poll(self.entered.is_set, [Invoke(task, LOOP, "wait")])
        yield from self.poll(lambda: self.cleaned == ["wait"], [Cancel(task)])
        task = self.name()
        yield from self.until(Yielded, orders=[Invoke(task, LOOP, "wait_stream")])
        yield from self.poll(lambda: self.cleaned == ["wait", "stream"], [Cancel(task)])
        for lane in (LOOP, THREAD):
            before, task = len(self.cleaned), self.name()
            yield from self.until(Yielded, orders=[Invoke(task, lane, "items")])
            yield from self.poll(lambda n=before: len(self.cleaned) == n + 1, [Cancel(task)])
        self.entered.clear()
        task = self.name()
        yield from self.poll(self.entered.is_set, [Invoke(task, THREAD, "block")])
        yield from self.rest(1, [Cancel(task)])
        self.release.set()
        yield from self.poll(lambda: self.cleaned[-1] == "block")
        task = self.name()
        yield from self.rest(20, [Invoke(task, LOOP, "wait"), Cancel(task)])


class EndlessStream(Invoking):
    """A stream that never waits lets others have their turn, and Cancel ends it, even one it has swallowed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.closed = 0
        self.taken = 0

    async def on_flood(self) -> AsyncIterator[int]:
        try:
            for self.taken in range(FLOOD):
                yield self.taken
        finally:
            self.closed += 1

    async def on_stubborn(self) -> AsyncIterator[int]:
        try:
            yield 0
            try:
                await self.tools.forever()
            except BaseException:  # the worst there is
                pass
            for self.taken in range(FLOOD):
                yield self.taken
        finally:
            self.closed += 1

    def script(self) -> Script:
        task = self.name()
        yield from self.rest(5, [Invoke(task, LOOP, "flood")], ignore=(Yielded,))
        self.expect(self.taken < FLOOD - 1, "time stood still until the stream was over")
        yield from self.poll(lambda: self.closed == 1, [Cancel(task)])
        self.expect(self.taken < FLOOD - 1, "Cancel did not end the stream")
        self.taken, task = 0, self.name()
        yield from self.rest(5, [Invoke(task, LOOP, "stubborn")], ignore=(Yielded,))
        yield from self.poll(lambda: self.closed == 2, [Cancel(task)])
        self.expect(self.taken < FLOOD - 1, "a swallowed Cancel did not end the stream")


class InvokeInOrder(Invoking):
    """Handlers start in the order they were ordered."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.begun: list[int] = []

    async def on_note(self, number: int) -> None:
        self.begun.append(number)

    def script(self) -> Script:
        for _ in range(5):
            self.begun.clear()
            orders: list[Order] = [Invoke(self.name(), LOOP, "note", (number,)) for number in range(20)]
            for _ in range(20):
                yield from self.until(Returned, orders=orders)
                orders = []
            self.expect(self.begun == list(range(20)), f"began as {self.begun}")


class ManyThreads(Invoking):
    """More blocking handlers than threads: all are run in the end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.release = threading.Event()

    def on_block(self, number: int) -> int:
        self.release.wait(10)
        return number

    def script(self) -> Script:
        tasks = [self.name() for _ in range(100)]
        yield from self.rest(20, [Invoke(task, THREAD, "block", (task,)) for task in tasks])
        self.release.set()
        told = set()
        for _ in tasks:
            told.add((yield from self.until(Returned)).value)
        self.expect(told == set(tasks), f"{len(told)} of {len(tasks)} came back")


class HungThreads(Invoking):
    """Threads that hang in handlers stop neither our own files nor, once those are given up, other handlers."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.release = threading.Event()
        self.begun = 0

    def options(self) -> dict[str, Any]:
        options = super().options()
        options["handlers"]["file.note"] = lambda: "noted"
        return options

    def on_block(self) -> None:
        self.begun += 1
        self.release.wait(10)

    def on_add(self, a: int, b: int) -> int:
        return a + b

    def script(self) -> Script:
        tasks = [self.name() for _ in range(THREADS)]
        yield from self.poll(lambda: self.begun == THREADS, [Invoke(task, THREAD, "block") for task in tasks])
        fact, _ = yield from self.outcome(THREAD, "file.note")
        self.expect(fact == Returned(fact.task, "noted"), f"told {fact}")
        waiting = self.name()
        yield from self.rest(5, [Invoke(waiting, THREAD, "block"), Cancel(waiting)])
        yield from self.rest(1, [Cancel(task) for task in tasks])
        fact, _ = yield from self.outcome(THREAD, "add", 2, 3)
        self.expect(fact == Returned(fact.task, 5), f"told {fact}")
        self.expect(self.begun == THREADS, "what was given up while it waited began all the same")
        self.release.set()
        for _ in range(2 * THREADS):
            yield from self.outcome(THREAD, "add", 2, 3)


SCENARIOS: tuple[type[Scenario], ...] = (
    InvokeReturns,
    InvokeRaises,
    InvokeRaisesAnything,
    InvokeYields,
    InvokeCancelled,
    EndlessStream,
    InvokeInOrder,
    ManyThreads,
    HungThreads,
)
