"""What the kit, which plays whole boards, does not look at: the edges of ``Drive`` and ``carry``."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import patter_asyncio
import patter_trio
from conformance.adapter_kit import run_one
from conformance.adapter_kit.adapters import Adapter, AsyncioAdapter
from conformance.adapter_kit.life import Clockwork
from patter_core.contract import (
    Accepted,
    Answer,
    Asked,
    CancelRequest,
    Close,
    Closed,
    Connect,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Fault,
    InputEnded,
    Invoke,
    Lane,
    Notify,
    Order,
    Raised,
    Received,
    Request,
    RequestId,
    Returned,
    Send,
    Sent,
    StopRequested,
    TaskId,
    Ticked,
    Yielded,
)
from patter_core.edge.line import Line
from patter_core.edge.sockets import listen
from patter_core.edge.threads import USER_LIMIT, Threads
from patter_core.errors import RefusedError
from patter_trio import _jobs, _transport

LIMIT_S = 10.0


class Scripted:
    """A board that answers each fact by a function, and remembers them."""

    def __init__(self, step: Callable[[Fact], list[Order]]) -> None:
        self.facts: list[Fact] = []
        self.deadline: int | None = None
        self._step = step
        self._conns = 0

    def handle(self, now: int, fact: Fact) -> list[Order]:
        self.facts.append(fact)
        return self._step(fact)

    def reserve(self) -> ConnId:
        self._conns += 1
        return ConnId(self._conns)


def until_stopped(fact: Fact) -> list[Order]:
    if isinstance(fact, StopRequested):
        return [Exit(3)]
    return [Answer(fact.ask, fact.args)] if isinstance(fact, Asked) else []


def test_the_first_step_comes_before_anything_else_and_then_what_was_fed(adapter: Adapter) -> None:
    board = Scripted(until_stopped)
    drive = adapter.package.Drive(board)
    drive.feed(Ticked())
    drive.stop_soon()
    assert board.facts == []
    assert adapter.run(drive.run) == 3
    assert board.facts == [Ticked(), Ticked(), StopRequested()]


def test_facts_after_the_end_are_dropped_and_questions_refused(adapter: Adapter) -> None:
    board = Scripted(until_stopped)
    drive = adapter.package.Drive(board)

    async def main() -> None:
        drive.stop()
        await drive.run()
        drive.stop()
        with pytest.raises(RefusedError) as refusal:
            await drive.ask("anything")
        assert refusal.value.code == "stopped"

    adapter.run(main)
    drive.stop_soon()  # the loop is gone: nothing happens
    assert board.facts == [Ticked(), StopRequested()]


def test_ask_gets_its_own_answer_and_one_that_gave_up_is_forgotten(adapter: Adapter) -> None:
    answers: list[Answer] = []

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Asked) and fact.verb == "slow":
            answers.append(Answer(fact.ask, "late"))
            return []
        return [*until_stopped(fact), *(answers if isinstance(fact, Asked) else [])]

    drive = adapter.package.Drive(Scripted(step))

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            await adapter.within(0.02, lambda: drive.ask("slow"))
        assert await drive.ask("echo", a=1, verb="own") == {"a": 1, "verb": "own"}
        drive.stop()

    async def main() -> None:
        assert (await adapter.within(LIMIT_S, lambda: adapter.together(drive.run, impatient)))[0] == 3

    adapter.run(main)
    assert len(answers) == 1


def test_carry_on_asyncio_tells_who_started() -> None:
    board, drives = Scripted(until_stopped), []

    def started(drive: patter_asyncio.Drive) -> None:
        assert board.facts == [Ticked()]
        drives.append(drive)
        drive.stop()

    assert patter_asyncio.run(lambda: patter_asyncio.carry(board, started=started)) == 3
    assert len(drives) == 1


def test_carry_on_trio_can_be_started_by_a_nursery() -> None:
    board = Scripted(until_stopped)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            drive = await nursery.start(patter_trio.carry, board)
            assert await drive.ask("echo", x=1) == {"x": 1}
            drive.stop()

    patter_trio.run(main)
    assert isinstance(board.facts[-1], StopRequested)


def test_several_listeners_and_none_left_open(adapter: Adapter) -> None:
    listeners = [listen("127.0.0.1", 0) for _ in range(2)]
    ports = [each.getsockname()[1] for each in listeners]
    closed: list[ConnId] = []

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Accepted | InputEnded):
            return [Close(fact.conn)]
        if isinstance(fact, Closed):
            closed.append(fact.conn)
        return [Exit(0)] if len(closed) == 2 else []

    def dial() -> None:
        for port in ports:
            with socket.create_connection(("127.0.0.1", port), LIMIT_S) as sock:
                sock.recv(1)

    thread = threading.Thread(target=dial)
    thread.start()

    async def main() -> int:
        return await adapter.within(LIMIT_S, adapter.package.Drive(Scripted(step), listener=listeners).run)

    assert adapter.run(main) == 0
    thread.join()
    assert sorted(closed) == [1, 2]
    assert [each.fileno() for each in listeners] == [-1, -1]


def test_listening_is_over_when_the_first_step_says_so(adapter: Adapter) -> None:
    from patter_core.contract import StopListening

    listener = listen("127.0.0.1", 0)
    board = Scripted(lambda fact: [StopListening()] if isinstance(fact, Ticked) else until_stopped(fact))
    drive = adapter.package.Drive(board, listener=listener)

    async def stop() -> None:
        await adapter.breathe()
        drive.stop()

    async def main() -> None:
        await adapter.together(drive.run, stop)

    adapter.run(main)
    assert listener.fileno() == -1


class Text(Line):
    """A connection whose framing somebody else does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.did: list[object] = []

    def _put(self, raw: bytes | str, total: int | None) -> None:
        self.did.append(raw)
        if total is not None:
            self._drive.feed(Sent(self.conn, total))

    def _end_output(self) -> None:
        self.did.append("finish")

    def _shut(self) -> None:
        self.did.append("close")
        self.gone()

    def _drop(self) -> None:
        self.did.append("abort")
        self.gone()

    def _hold(self) -> None:
        self.did.append("pause")

    def _go_on(self) -> None:
        self.did.append("resume")


def test_a_foreign_line_can_be_adopted(adapter: Adapter) -> None:
    conn = ConnId(9)

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Received):
            return [Send(conn, "grüße", ack=True)]
        if isinstance(fact, Sent):
            assert fact.total == 5
            return [Close(conn)]
        return [Exit(0)] if isinstance(fact, Closed) else []

    board = Scripted(step)
    drive = adapter.package.Drive(board)
    line = Text(drive, conn, announced=True)
    drive.adopt(line)
    line.ready()
    line.got("hello")
    assert adapter.run(drive.run) == 0
    assert line.did == ["grüße", "close"]
    assert board.facts == [Ticked(), Received(conn, "hello"), Sent(conn, 5), Closed(conn)]


def test_no_secret_in_a_repr(adapter: Adapter) -> None:
    drive = adapter.package.Drive(Scripted(until_stopped), secrets={"key": "hunter2"})
    assert "hunter2" not in repr(drive) + repr(drive.__dict__)


def test_a_timer_that_rings_a_little_early_is_not_early_for_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio fires timers up to its clock's resolution before they are due; some clocks are coarse."""
    make = asyncio.new_event_loop

    def coarse() -> asyncio.AbstractEventLoop:
        loop = make()
        loop._clock_resolution = 0.02  # type: ignore[attr-defined]
        return loop

    monkeypatch.setattr(asyncio, "new_event_loop", coarse)
    monkeypatch.setattr(asyncio.events, "new_event_loop", coarse)
    assert run_one(AsyncioAdapter(), Clockwork).errors == ()


def test_on_trio_failed_accepts_are_said_once_and_those_peers_cause_not_at_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """trio only: what asyncio does is in the kit; a listener cannot be put in its place."""
    answers: list[object] = [
        OSError(errno.ECONNABORTED, "aborted"),
        *(OSError(errno.EMFILE, "too many open files") for _ in range(9)),
        trio.ClosedResourceError(),
    ]
    times: list[float] = []

    class Listener:
        async def accept(self) -> object:
            await trio.lowlevel.checkpoint()
            times.append(trio.current_time())
            raise answers.pop(0)  # type: ignore[misc]

    async def main() -> None:
        await _transport.listening(None, Listener())  # type: ignore[arg-type]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert answers == []
    assert times[1] == times[0]
    assert times[10] - times[1] == pytest.approx(0.9)
    assert caplog.text.count("cannot accept") == 1


def test_on_asyncio_a_connection_that_cannot_be_set_up_is_closed_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """asyncio only: trio needs nothing more from the system."""
    adapter = AsyncioAdapter()
    listener = listen("127.0.0.1", 0)
    address = listener.getsockname()
    board = Scripted(lambda fact: [Exit(0)] if isinstance(fact, Accepted) else [])
    heard: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        works = loop.connect_accepted_socket

        async def fails_once(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(loop, "connect_accepted_socket", works)
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(loop, "connect_accepted_socket", fails_once)
        drive = patter_asyncio.Drive(board, listener=listener)
        thread = threading.Thread(target=dial)
        thread.start()
        await adapter.within(LIMIT_S, drive.run)
        thread.join()

    def dial() -> None:
        for _ in range(2):
            with socket.create_connection(address, LIMIT_S) as sock:
                try:
                    heard.append(sock.recv(1))
                except ConnectionResetError:
                    heard.append(b"")

    adapter.run(main)
    assert heard == [b"", b""]
    assert [type(fact) for fact in board.facts] == [Ticked, Accepted]


def test_on_trio_a_handler_whose_nursery_fails_while_cancelled_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """trio only: such errors come as groups, and would take down the nursery they end up in."""
    from patter_core.contract import Cancel

    async def bad_loser() -> None:
        raise_late = trio.Event()

        async def child() -> None:
            try:
                await raise_late.wait()
            finally:
                raise ValueError("sore")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    async def fine() -> str:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        return "fine"

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Invoke(TaskId(1), Lane.LOOP, "bad"), Invoke(TaskId(2), Lane.LOOP, "fine")]
        if fact == Returned(TaskId(2), "fine"):
            return [Cancel(TaskId(1)), Invoke(TaskId(3), Lane.LOOP, "fine")]
        return [Exit(0)] if isinstance(fact, Returned) else []

    drive = patter_trio.Drive(Scripted(step), handlers={"bad": bad_loser, "fine": fine})
    assert patter_trio.run(drive.run) == 0
    assert "handler bad raised" in caplog.text


def test_on_trio_a_request_whose_nursery_fails_while_cancelled_harms_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trio only: the HTTP library's errors, with cancellations among them."""

    @asynccontextmanager
    async def sore(jobs: object, order: object, headers: object) -> AsyncIterator[None]:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("sore")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
            yield

    async def fine() -> None:
        await trio.testing.wait_all_tasks_blocked()

    monkeypatch.setattr(_jobs.Jobs, "_open", sore)

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Request(RequestId(1), "GET", "http://127.0.0.1/"), Invoke(TaskId(2), Lane.LOOP, "fine")]
        if fact == Returned(TaskId(2)):
            return [CancelRequest(RequestId(1)), Invoke(TaskId(3), Lane.LOOP, "fine")]
        return [Exit(0)] if isinstance(fact, Returned) else []

    drive = patter_trio.Drive(Scripted(step), handlers={"fine": fine})
    assert patter_trio.run(drive.run) == 0
    assert "GET request failed while it was cancelled" in caplog.text


def test_on_trio_a_handler_with_a_nursery_is_cancelled_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """trio only: a nursery's cancellations may come back as a group."""
    from patter_core.contract import Cancel

    async def split() -> None:
        caught: list[BaseException] = []
        for _ in range(2):
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                caught.append(exc)
        raise BaseExceptionGroup("both", caught)

    async def fine() -> None:
        await trio.testing.wait_all_tasks_blocked()

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Invoke(TaskId(1), Lane.LOOP, "split"), Invoke(TaskId(2), Lane.LOOP, "fine")]
        if fact == Returned(TaskId(2)):
            return [Cancel(TaskId(1)), Invoke(TaskId(3), Lane.LOOP, "fine")]
        return [Exit(0)] if isinstance(fact, Returned) else []

    drive = patter_trio.Drive(Scripted(step), handlers={"split": split, "fine": fine})
    assert patter_trio.run(drive.run) == 0
    assert caplog.text == ""


def test_on_asyncio_a_handler_whose_own_future_was_cancelled_has_raised() -> None:
    """asyncio only: a CancelledError that nobody asked for must not leave the task without an end."""

    async def handler() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Invoke(TaskId(1), Lane.LOOP, "handler")]
        assert isinstance(fact, Raised)
        assert fact.fault is Fault.USER
        return [Exit(0)]

    assert patter_asyncio.run(patter_asyncio.Drive(Scripted(step), handlers={"handler": handler}).run) == 0


def test_ctrl_c_while_the_board_takes_a_step_ends_the_run(adapter: Adapter) -> None:
    """Even in a step that a handler's item caused: it is not the handler's."""

    async def stream() -> AsyncIterator[int]:
        yield 1

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Yielded):
            raise KeyboardInterrupt
        return [Invoke(TaskId(1), Lane.LOOP, "stream")] if isinstance(fact, Ticked) else []

    board = Scripted(step)
    with pytest.raises(KeyboardInterrupt):
        adapter.run(adapter.package.Drive(board, handlers={"stream": stream}).run)
    assert board.facts == [Ticked(), Yielded(TaskId(1), 1)]


def test_an_on_event_that_wants_to_end_the_process_does_not(adapter: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    def on_event(event: object) -> None:
        raise SystemExit(9)

    board = Scripted(lambda fact: [Notify("one"), Notify("two"), Exit(4)])
    assert adapter.run(adapter.package.Drive(board, on_event=on_event).run) == 4
    assert caplog.text.count("on_event raised; said once") == 1


def test_a_handler_for_which_there_is_no_thread_has_raised(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Invoke(TaskId(1), Lane.THREAD, "handler")]
        assert fact == Raised(TaskId(1), Fault.OTHER, "no thread could be started")
        return [Exit(0)]

    drive = adapter.package.Drive(Scripted(step), handlers={"handler": list})

    def no_thread(threads: Threads) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Threads, "_start", no_thread)
    assert adapter.run(drive.run) == 0
    assert drive._jobs.find(1) is None


def test_on_asyncio_a_name_for_which_there_is_no_thread_is_a_dial_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio only: trio asks the resolver in threads of its own."""

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Connect(ConnId(1), "localhost", 1)]
        assert fact == ConnectFailed(ConnId(1), Fault.OTHER)
        return [Exit(0)]

    def no_thread(threads: Threads) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Threads, "_start", no_thread)
    assert patter_asyncio.run(patter_asyncio.Drive(Scripted(step)).run) == 0


def test_at_the_end_a_handler_given_up_makes_no_room_for_the_next(adapter: Adapter) -> None:
    began: list[int] = []
    release = threading.Event()

    def block(number: int) -> None:
        began.append(number)
        if number < USER_LIMIT:
            release.wait(LIMIT_S)

    def step(fact: Fact) -> list[Order]:
        if isinstance(fact, Ticked):
            return [Invoke(TaskId(each), Lane.THREAD, "block", (each,)) for each in range(USER_LIMIT + 8)]
        return [Exit(0)]

    drive = adapter.package.Drive(Scripted(step), handlers={"block": block})

    async def stop() -> None:
        while len(began) < USER_LIMIT:
            await adapter.breathe()
        drive.stop()

    async def main() -> None:
        await adapter.within(LIMIT_S, lambda: adapter.together(drive.run, stop))

    adapter.run(main)
    release.set()
    assert sorted(began) == list(range(USER_LIMIT))
