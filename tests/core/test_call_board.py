"""One call in somebody else's server: texts in, texts out, and an end whatever happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.call.spec import CallSpec
from patter_core.call_board import CallBoard
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.contract import (
    Abort,
    Answer,
    Asked,
    AskId,
    BodyEnded,
    Cancel,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    Exit,
    Fact,
    Fault,
    InputEnded,
    Invoke,
    Notify,
    Order,
    Received,
    Refuse,
    Request,
    ResponseStarted,
    Returned,
    Send,
    StopRequested,
    Ticked,
)
from patter_core.events import CallEnded, CallStarted
from patter_core.reasons import EndReason
from patter_core.simulator.checker import ContractChecker

from .world import ACCOUNT, sid


class Embedded:
    """A board, its checker, and what it said."""

    def __init__(self, *callbacks: str, trace_dir: str = "") -> None:
        agent = resolve_agent(Agent(engine=Echo()), dict.fromkeys(callbacks, print), {})
        spec = CallSpec(call_id=sid(1), carrier="twilio", agent=agent, account=ACCOUNT, base_url="http://twilio.test")
        boards = [CallBoard(spec, trace_dir=trace_dir, bulkhead=False) for _ in range(3)]
        self.board = boards[0]
        self.conn = self.board.conn
        self.checker = ContractChecker(boards[0], twin=boards[1], ticked=boards[2], given=(self.conn,))
        self.now = 0
        self.peer = TwilioStreamPeer("MZ" + "1" * 32, sid(1), ACCOUNT, {})
        self.orders: list[Order] = []

    def feed(self, *facts: Fact) -> list[Order]:
        out: list[Order] = []
        for fact in facts:
            out += self.checker.handle(self.now, fact)
        self.orders += out
        return out

    def say(self, *texts: str) -> list[Order]:
        return self.feed(*(Received(self.conn, text) for text in texts))

    def start(self) -> None:
        self.feed(Connected(self.conn))
        self.say(self.peer.connected(), self.peer.start())

    def pass_time(self, us: int) -> None:
        until = self.now + us
        while (deadline := self.checker.deadline) is not None and deadline <= until:
            self.now = deadline
            self.feed(Ticked())
        self.now = until

    def of(self, *kinds: type) -> list[Any]:
        return [order for order in self.orders if isinstance(order, kinds)]

    def told(self, kind: type) -> list[Any]:
        return [order.event for order in self.of(Notify) if isinstance(order.event, kind)]

    @property
    def reason(self) -> EndReason | None:
        return self.board.reason


def test_a_call_from_beginning_to_end() -> None:
    call = Embedded("on_call_end")
    call.start()
    assert [event.call_id for event in call.told(CallStarted)] == [sid(1)]
    for number in range(1, 51):
        call.now += 20_000
        call.say(call.peer.media(b"\x80" * 160, number * 20))
    sent = [json.loads(order.data)["event"] for order in call.of(Send)]
    assert sent.count("media") > 20
    assert "mark" in sent
    orders = call.say(call.peer.stop())
    assert Close(call.conn) in orders
    task = next(order for order in orders if isinstance(order, Invoke)).task
    assert not call.of(Exit)
    call.feed(Closed(call.conn))
    assert call.feed(Returned(task))[-1] == Exit(0)
    assert call.reason is EndReason.CALLER_HUNG_UP
    assert len(call.told(CallEnded)) == 1
    assert not call.of(Request)
    assert call.checker.unbalanced() == []


@pytest.mark.parametrize("how", ["ended", "closed", "both"])
def test_a_socket_that_goes_without_stop_ends_the_call(how: str) -> None:
    call = Embedded()
    call.start()
    if how != "closed":
        assert Close(call.conn) in call.feed(InputEnded(call.conn))
    if how != "ended":
        call.feed(Closed(call.conn))
    request = call.of(Request)
    assert len(request) == 1  # the leg is hung up: nobody is left to talk to
    call.feed(ResponseStarted(request[0].request, 200), BodyEnded(request[0].request))
    assert call.orders[-1] == Exit(0)
    assert call.reason is EndReason.STREAM_LOST
    assert len(call.of(Close)) == (0 if how == "closed" else 1)


@pytest.mark.parametrize("first", ["failed", "closed"])
def test_a_socket_that_never_comes_ends_the_call(first: str) -> None:
    call = Embedded("on_call_end")
    call.feed(ConnectFailed(call.conn, Fault.RESET) if first == "failed" else Closed(call.conn))
    call.pass_time(4_000_000)
    assert call.orders[-1] == Exit(0)
    assert not call.of(Invoke, Abort, Close)
    assert len(call.told(CallEnded)) == 1


def test_no_start_in_time() -> None:
    call = Embedded()
    call.feed(Connected(call.conn))
    call.pass_time(40_000_000)
    assert call.orders[-1] == Exit(0)
    assert len(call.of(Close)) == 1
    assert len(call.told(CallEnded)) == 1


def test_a_stop_hangs_up_and_a_second_one_hurries() -> None:
    call = Embedded("on_call_end")
    call.start()
    call.feed(StopRequested())
    assert len(call.of(Request)) == 1
    assert len(call.of(Invoke)) == 1
    assert not call.of(Exit)
    call.feed(StopRequested())
    assert call.orders[-1] == Exit(0)
    assert call.reason is EndReason.CANCELLED
    assert len(call.told(CallEnded)) == 1
    assert call.told(CallEnded)[0].reason is EndReason.CANCELLED


def test_on_call_end_runs_even_when_it_could_only_begin_at_the_very_end() -> None:
    call = Embedded("on_call_start", "on_call_end")
    call.start()
    (start,) = call.of(Invoke)
    call.feed(StopRequested())
    assert len(call.of(Invoke)) == 1  # one callback at a time: it waits behind the stuck one
    call.feed(StopRequested())
    assert [order.handler for order in call.of(Invoke)] == ["on_call_start", "on_call_end"]
    assert call.of(Cancel) == [Cancel(start.task)]  # the other is the adapter's to end, after Exit
    assert call.orders[-1] == Exit(0)
    assert len(call.told(CallEnded)) == 1


def test_a_stop_before_the_socket_came() -> None:
    call = Embedded()
    call.feed(StopRequested())
    call.feed(Connected(call.conn))
    call.pass_time(4_000_000)
    assert call.orders[-1] == Exit(0)
    call.feed(Closed(call.conn))
    assert call.checker.unbalanced() == []


def test_questions() -> None:
    call = Embedded()
    call.start()
    asks = [AskId(-n) for n in range(1, 4)]
    call.feed(Asked(asks[0], "end_call", {"call_id": sid(1), "force": True}))
    assert Refuse(asks[1], "unknown_command", "no command 'dance'") in call.feed(Asked(asks[1], "dance"))
    request = call.of(Request)[0]
    call.feed(ResponseStarted(request.request, 200), BodyEnded(request.request), Closed(call.conn))
    assert Answer(asks[0], True) in call.orders
    assert call.reason is EndReason.AGENT_HUNG_UP
    assert call.board.handle(call.now, Asked(asks[2], "end_call"))[0] == Refuse(asks[2], "stopped", "the call is over")


def test_a_flood_of_nonsense_closes_once() -> None:
    call = Embedded()
    call.start()
    call.say(*["nonsense"] * 300)
    call.pass_time(4_000_000)
    assert len(call.of(Close)) == 1
    assert call.orders[-1] == Exit(0)
    assert call.reason is EndReason.PROTOCOL_ERROR
    assert call.told(CallEnded)[0].malformed == 100


def test_bytes_that_are_not_text_are_only_malformed() -> None:
    call = Embedded()
    call.start()
    call.feed(Received(call.conn, b"\xff\xfe\x00"))
    assert not call.of(Close, Abort, Exit)


def test_the_trace_is_written_before_the_exit() -> None:
    call = Embedded(trace_dir="t")
    call.start()
    call.say(call.peer.stop())
    call.feed(Closed(call.conn))
    writes = call.of(Invoke)
    assert [order.handler for order in writes] == ["file.create"]
    assert not call.of(Exit)
    assert call.feed(Returned(writes[0].task))[-1] == Exit(0)
