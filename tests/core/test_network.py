"""The virtual network keeps an adapter's promises: order, time, one end for everything, silence after a cancel."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Fault,
    Finish,
    InputEnded,
    Invoke,
    Lane,
    Notify,
    Order,
    Pause,
    Raised,
    Received,
    Refuse,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Resume,
    Returned,
    Send,
    Sent,
    Spawn,
    StopListening,
    TaskId,
    Ticked,
    Yielded,
)
from patter_core.events import ServerReady
from patter_core.simulator.network import After, ContractBroken, Never, VirtualNetwork
from patter_core.simulator.puppet import Puppet

from .world import World


class Script:
    """A board that keeps what it is told and gives what it is given for a fact's type."""

    def __init__(self, **answers: list[Order]) -> None:
        self.facts: list[tuple[int, Fact]] = []
        self.deadline: int | None = None
        self.answers = answers
        self._names = 1000

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        self.facts.append((now, fact))
        if isinstance(fact, Ticked):
            self.deadline = None
        return self.answers.pop(type(fact).__name__, [])

    def kinds(self) -> list[str]:
        return [type(fact).__name__ for _, fact in self.facts]


CONN = ConnId(1)


def pair(latency_us: int = 0, strict: bool = True) -> tuple[VirtualNetwork, Any, Any, Script, Script]:
    net = VirtualNetwork(latency_us=latency_us, strict=strict)
    one, two = Script(), Script()
    a, b = net.add("a", one), net.add("b", two)
    net.place("b.test", 80, b, "192.0.2.9")
    return net, a, b, one, two


def test_dialling_talking_closing() -> None:
    net, a, b, one, two = pair(latency_us=10)
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    assert one.facts == [(20, Connected(CONN))]
    conn = ConnId(1001)
    assert two.facts == [(10, Accepted(conn, "192.0.2.9"))]
    net.perform(a, Send(CONN, b"hello", True))
    net.perform(a, Send(CONN, b"again", True))
    net.perform(b, Send(conn, b"hi"))
    net.run()
    assert one.facts[1:] == [(20, Sent(CONN, 5)), (20, Sent(CONN, 10)), (30, Received(CONN, b"hi"))]
    assert two.facts[1:] == [(30, Received(conn, b"hello")), (30, Received(conn, b"again"))]
    net.perform(a, Close(CONN))
    net.run()
    assert one.facts[-1] == (30, Closed(CONN))
    assert two.facts[-1] == (40, InputEnded(conn))
    net.perform(b, Close(conn))
    net.run()
    assert two.facts[-1] == (40, Closed(conn))
    assert one.kinds().count("Closed") == 1


def test_an_abort_is_seen_as_the_end() -> None:
    net, a, _b, one, two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.perform(a, Abort(CONN))
    net.perform(a, Abort(CONN))
    net.run()
    assert one.kinds().count("Closed") == 1
    assert two.kinds().count("Closed") == 1
    net.perform(a, Send(CONN, b"x"))  # gone: nothing happens
    net.run()


def test_finish_is_half_a_goodbye() -> None:
    net, a, b, one, two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.perform(a, Finish(CONN))
    net.run()
    assert two.kinds() == ["Accepted", "InputEnded"]
    net.perform(b, Send(ConnId(1001), b"still here"))
    net.run()
    assert one.kinds()[-1] == "Received"


@pytest.mark.parametrize("how", ["nowhere", "deaf", "gone"])
def test_nobody_there(how: str) -> None:
    net, a, b, one, _two = pair()
    if how == "deaf":
        net.perform(b, StopListening())
    elif how == "gone":
        net.perform(b, Exit(0))
    net.perform(a, Connect(CONN, "x.test" if how == "nowhere" else "b.test", 80))
    net.perform(a, Request(RequestId(2), "GET", "http://x.test/" if how == "nowhere" else "http://b.test/"))
    net.perform(a, Spawn(ConnId(3), ("ls",)))
    net.run()
    assert [fact for _, fact in one.facts] == [
        ConnectFailed(CONN, Fault.REFUSED),
        RequestFailed(RequestId(2), Fault.REFUSED),
        ConnectFailed(ConnId(3), Fault.REFUSED),
    ]


def test_a_pause_holds_bytes_and_their_end() -> None:
    net, a, b, _one, two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.perform(b, Pause(1001))
    net.perform(a, Send(CONN, b"one"))
    net.perform(a, Send(CONN, b"two"))
    net.perform(a, Close(CONN))
    net.run()
    assert two.kinds() == ["Accepted"]
    net.perform(b, Resume(1001))
    net.run()
    assert two.kinds() == ["Accepted", "Received", "Received", "InputEnded"]


def test_a_stall_delays_bytes_acks_and_the_close() -> None:
    net, a, _b, one, two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.stall(a, CONN)
    net.perform(a, Send(CONN, b"one", True))
    net.perform(a, Close(CONN))
    net.run()
    assert one.kinds() == ["Connected"]
    assert two.kinds() == ["Accepted"]
    net.unstall(a, CONN)
    net.run()
    assert one.kinds() == ["Connected", "Sent", "Closed"]
    assert two.kinds() == ["Accepted", "Received", "InputEnded"]


def test_a_stalled_close_can_be_aborted() -> None:
    net, a, _b, one, _two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.stall(a, CONN)
    net.perform(a, Close(CONN))
    net.perform(a, Abort(CONN))
    net.run()
    assert one.kinds().count("Closed") == 1


def test_a_drop_is_told_to_both() -> None:
    net, a, _b, one, two = pair()
    net.perform(a, Connect(CONN, "b.test", 80))
    net.run()
    net.drop(a, CONN)
    net.drop(a, ConnId(99))
    net.run()
    assert (one.kinds()[-1], two.kinds()[-1]) == ("Closed", "Closed")


def test_requests_reach_a_server_and_come_back() -> None:
    world = World()
    script = Script()
    node = world.net.add("client", script)
    world.net.perform(node, Request(RequestId(1), "GET", "https://agent.example.com/health", auth="key"))
    world.net.perform(node, Request(RequestId(2), "GET", "https://agent.example.com/nope"))
    world.net.perform(node, Request(RequestId(3), "GET", "https://agent.example.com/health"))
    world.net.perform(node, CancelRequest(RequestId(3)))
    world.run(1)
    facts = [fact for _, fact in script.facts]
    started = [fact for fact in facts if isinstance(fact, ResponseStarted)]
    assert [(fact.request, fact.status) for fact in started] == [(1, 200), (2, 404)]
    assert [fact.request for fact in facts if isinstance(fact, BodyEnded)] == [1, 2]
    assert {fact.request for fact in facts if isinstance(fact, BodyReceived)} == {1, 2}
    world.run(100)
    world.assert_empty()


def test_a_request_cut_off_fails() -> None:
    net, a, _b, one, two = pair()
    two.answers["Received"] = [Abort(ConnId(1001))]
    net.perform(a, Request(RequestId(1), "GET", "http://b.test/"))
    net.run()
    assert [fact for _, fact in one.facts] == [RequestFailed(RequestId(1), Fault.RESET)]


# --- handlers --------------------------------------------------------------------------------------------------------


def boom(*args: Any) -> None:
    raise ValueError("boom")


async def coroutine(x: int) -> int:
    return x + 1


async def waits() -> None:
    import asyncio

    await asyncio.sleep(0)


def generator() -> Any:
    yield 1
    yield After(50, 2)
    yield After(10)
    raise KeyError("late")


async def async_generator() -> Any:
    yield "a"
    yield "b"


def hangs() -> Any:
    yield 1
    yield Never


HANDLERS: dict[str, Any] = {
    "plain": lambda x: x * 2, "later": lambda: After(100, "late"), "never": lambda: Never, "boom": boom,
    "coroutine": coroutine, "waits": waits, "generator": generator, "async_generator": async_generator,
    "hangs": hangs,
}  # fmt: skip


def invoke(name: str, *args: Any) -> list[tuple[int, Any]]:
    net = VirtualNetwork()
    script = Script()
    node = net.add("a", script, HANDLERS)
    net.perform(node, Invoke(TaskId(1), Lane.LOOP, name, args))
    net.run()
    return script.facts


def test_handlers() -> None:
    task = TaskId(1)
    assert invoke("plain", 4) == [(0, Returned(task, 8))]
    assert invoke("later") == [(100, Returned(task, "late"))]
    assert invoke("never") == []
    assert invoke("boom") == [(0, Raised(task, Fault.USER, "ValueError: boom"))]
    assert invoke("coroutine", 1) == [(0, Returned(task, 2))]
    assert invoke("generator") == [
        (0, Yielded(task, 1)), (50, Yielded(task, 2)), (60, Raised(task, Fault.USER, "KeyError: 'late'"))
    ]  # fmt: skip
    assert invoke("async_generator") == [(0, Yielded(task, "a")), (0, Yielded(task, "b")), (0, Returned(task))]
    assert invoke("hangs") == [(0, Yielded(task, 1))]
    assert invoke("nobody") == [(0, Raised(task, Fault.UNKNOWN_HANDLER, "no handler 'nobody'"))]
    (fact,) = invoke("waits")
    assert "virtual time" in fact[1].detail


@pytest.mark.parametrize("name", ["plain", "later", "generator"])
def test_a_cancelled_task_is_silent(name: str) -> None:
    net = VirtualNetwork()
    script = Script()
    node = net.add("a", script, HANDLERS)
    net.perform(node, Invoke(TaskId(1), Lane.LOOP, name, (1,) if name == "plain" else ()))
    net.perform(node, Cancel(TaskId(1)))
    net.run()
    assert script.facts == []


# --- time, answers, strictness ---------------------------------------------------------------------------------------


def test_deadlines_are_met_exactly() -> None:
    net, a, _b, one, two = pair()
    one.deadline, two.deadline = 70, 30
    a.feed(Ticked(), 50)
    net.run(until_us=1000)
    assert [at for at, _ in one.facts] == [50]
    assert [at for at, _ in two.facts] == [30]
    assert net.now == 1000


def test_events_answers_and_exit() -> None:
    net, a, _b, one, _two = pair()
    heard: list[Any] = []
    a.on_event = lambda now, event: heard.append(event)
    ask = AskId(-1)
    one.answers["Asked"] = [Notify(ServerReady()), Answer(ask, 5), Exit(3)]
    assert a.ask("x") == ask
    a.feed(Ticked(), 10)
    net.run()
    assert heard == a.told(ServerReady) == [ServerReady()]
    assert a.answers == {ask: Answer(ask, 5)}
    assert a.exit_code == 3
    assert one.kinds() == ["Asked"]  # nothing is told after Exit
    assert isinstance(one.facts[0][1], Asked)


@pytest.mark.parametrize(
    ("orders", "line"),
    [
        ([Exit(0), Notify(1)], "C7"),
        ([Answer(AskId(-1)), Refuse(AskId(-1), "x")], "C5"),
        ([Connect(CONN, "b.test", 80), Close(CONN), Send(CONN, b"x")], "C7"),
    ],
)
def test_a_strict_network_holds_boards_to_the_contract(orders: list[Order], line: str) -> None:
    for strict in (True, False):
        net, a, _b, one, _two = pair(strict=strict)
        one.answers["Asked"] = list(orders)
        a.ask("x")
        if strict:
            with pytest.raises(ContractBroken, match=line):
                net.run()
        else:
            net.run()


def test_a_stale_deadline_is_found() -> None:
    net, a, _b, one, _two = pair()
    one.deadline = 5
    a.feed(Received(CONN, b""), 0)
    net.pipes = None  # type: ignore[attr-defined]
    a.feed(Asked(AskId(-1), "x"), 5)
    one.handle = lambda now, fact: []  # type: ignore[method-assign]
    with pytest.raises(ContractBroken, match="C4"):
        net.run()


def test_a_story_that_never_rests_is_stopped() -> None:
    net, a, _b, one, _two = pair()
    one.handle = lambda now, fact: [Send(CONN, b"x", True)]  # type: ignore[method-assign]
    net.perform(a, Connect(CONN, "b.test", 80))
    with pytest.raises(RuntimeError, match="did not come to rest"):
        net.run(most=1000)


# --- puppets ---------------------------------------------------------------------------------------------------------


def test_a_puppet_is_seen_as_whom_it_likes() -> None:
    net = VirtualNetwork()
    script = Script()
    server = net.add("server", script)
    puppet = Puppet(net, server)
    line = puppet.dial("2001:db8::7")
    assert line.connected
    assert script.facts == [(0, Accepted(ConnId(1001), "2001:db8::7"))]
    line.send(b"raw")
    line.close()
    net.run()
    assert script.kinds() == ["Accepted", "Received", "InputEnded"]
    line.send(b"too late")
    with pytest.raises(AssertionError, match="no answer"):
        puppet.dial().ask("GET", "/")
