"""The adapters under test, each behind the same few verbs. A third adapter adds a class here and is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

import patter_asyncio
import patter_trio

from .scenario import Scenario

__all__ = ["ADAPTERS", "Adapter", "AsyncioAdapter", "TrioAdapter"]

T = TypeVar("T")

GRACE_S = 3.0  #: beyond a scenario's own limit, before the adapter itself counts as stuck


class AsyncioAdapter:
    """patter_asyncio."""

    name = "asyncio"
    package = patter_asyncio

    def run(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call ``async_fn`` on a fresh loop. Raises ``RuntimeError`` when it left tasks behind."""

        async def main() -> T:
            result = await async_fn(*args)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:
                raise RuntimeError(f"tasks left: {left}")
            return result

        return patter_asyncio.run(main)

    def play(self, scenario: Scenario) -> int | None:
        """Run a scenario to its end; its exit code, None when it was cancelled. Raises ``TimeoutError``."""
        return asyncio.run(self._play(scenario))

    async def _play(self, scenario: Scenario) -> int | None:
        drive = patter_asyncio.Drive(scenario, **scenario.options())
        scenario.drive = drive
        before = asyncio.all_tasks()
        running = asyncio.ensure_future(drive.run())
        scenario.cancel_from_outside = running.cancel
        asking = [asyncio.ensure_future(self._ask(scenario, verb, args)) for verb, args in scenario.asks]
        code = None
        async with asyncio.timeout(scenario.limit_s + GRACE_S):
            try:
                code = await running
            except asyncio.CancelledError:
                if not running.cancelled():
                    raise
            except Exception as exc:
                scenario.crash = exc
            await asyncio.gather(*asking)
        left = asyncio.all_tasks() - before - {running, *asking}
        if left and scenario.may_detach:
            left = (await asyncio.wait(left, timeout=GRACE_S))[1]
        if left:
            scenario.errors.append(f"tasks left: {[task.get_name() for task in left]}")
        return code

    async def _ask(self, scenario: Scenario, verb: str, args: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        try:
            scenario.replies.append(await scenario.drive.ask(verb, **args))  # type: ignore[union-attr]
        except Exception as exc:
            scenario.replies.append(exc)

    async def together(self, *async_fns: Callable[[], Awaitable[T]]) -> list[T]:
        """Run all at once; their results in order."""
        return await asyncio.gather(*(async_fn() for async_fn in async_fns))

    async def within(self, seconds: float, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Raises ``TimeoutError`` when it takes longer."""
        async with asyncio.timeout(seconds):
            return await async_fn(*args)

    async def forever(self) -> None:
        """Wait until cancelled."""
        await asyncio.Event().wait()

    async def breathe(self) -> None:
        """Let others run once."""
        await asyncio.sleep(0)

    async def stray(self) -> BaseException:
        """What the loop cancels with, left over from a cancellation that is over."""
        task = asyncio.ensure_future(self.forever())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as exc:
            return exc
        raise AssertionError("it was cancelled")

    async def deaf(self, done: Callable[[], bool]) -> None:
        """Ignore cancellation until ``done()``."""
        while not done():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass


class TrioAdapter:
    """patter_trio."""

    name = "trio"
    package = patter_trio

    def run(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call ``async_fn`` on a fresh loop."""
        return patter_trio.run(async_fn, *args)

    def play(self, scenario: Scenario) -> int | None:
        """Run a scenario to its end; its exit code, None when it was cancelled. Raises ``TimeoutError``."""
        return trio.run(self._play, scenario)

    async def _play(self, scenario: Scenario) -> int | None:
        drive = patter_trio.Drive(scenario, **scenario.options())
        scenario.drive = drive
        running = trio.CancelScope()
        scenario.cancel_from_outside = running.cancel
        code = None
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.fail_after(scenario.limit_s + GRACE_S):
                async with trio.open_nursery() as asking:
                    for verb, args in scenario.asks:
                        asking.start_soon(self._ask, scenario, verb, args)
                    with running:
                        try:
                            code = await drive.run()
                        except Exception as exc:
                            scenario.crash = exc
        except trio.TooSlowError as exc:
            raise TimeoutError from exc
        left = trio.lowlevel.current_statistics().tasks_living - before
        if left:
            scenario.errors.append(f"{left} tasks left")
        return code

    async def _ask(self, scenario: Scenario, verb: str, args: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        try:
            scenario.replies.append(await scenario.drive.ask(verb, **args))  # type: ignore[union-attr]
        except Exception as exc:
            scenario.replies.append(exc)

    async def together(self, *async_fns: Callable[[], Awaitable[T]]) -> list[T]:
        """Run all at once; their results in order."""
        results: dict[int, T] = {}

        async def one(index: int, async_fn: Callable[[], Awaitable[T]]) -> None:
            results[index] = await async_fn()

        async with trio.open_nursery() as nursery:
            for index, async_fn in enumerate(async_fns):
                nursery.start_soon(one, index, async_fn)
        return [results[index] for index in range(len(async_fns))]

    async def within(self, seconds: float, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Raises ``TimeoutError`` when it takes longer."""
        try:
            with trio.fail_after(seconds):
                return await async_fn(*args)
        except trio.TooSlowError as exc:
            raise TimeoutError from exc

    async def forever(self) -> None:
        """Wait until cancelled."""
        await trio.sleep_forever()

    async def breathe(self) -> None:
        """Let others run once."""
        await trio.lowlevel.checkpoint()

    async def stray(self) -> BaseException:
        """What the loop cancels with, left over from a cancellation that is over."""
        left: list[BaseException] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                left.append(exc)
                raise
        return left[0]

    async def deaf(self, done: Callable[[], bool]) -> None:
        """Ignore cancellation until ``done()``."""
        with trio.CancelScope(shield=True):
            while not done():
                await trio.sleep(0.01)


Adapter = AsyncioAdapter | TrioAdapter

ADAPTERS: tuple[Adapter, ...] = (AsyncioAdapter(), TrioAdapter())
