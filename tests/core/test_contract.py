"""Every line of the contract (``patter_core/contract.py``), held against the server, one embedded call and the carrier;
and the checker that holds it everywhere else, proven on boards that break it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from patter_core.agent import Agent, resolve_agent
from patter_core.call.spec import CallSpec
from patter_core.call_board import CallBoard
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.contract import (
    Abort,
    Accepted,
    Answer,
    Asked,
    AskId,
    Cancel,
    CancelRequest,
    Close,
    Closed,
    Connected,
    ConnId,
    Exit,
    Fact,
    Finish,
    InputEnded,
    Invoke,
    Lane,
    Notify,
    Order,
    Pause,
    Received,
    Refuse,
    Request,
    RequestId,
    Resume,
    Send,
    Sent,
    StopListening,
    StopRequested,
    TaskId,
    Ticked,
)
from patter_core.events import ShutdownStep
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.network import ContractBroken, VirtualNetwork
from patter_core.simulator.script import HangUp, Press, Speak, Wait
from patter_core.switchboard import Switchboard

from .world import ACCOUNT, ECHO, EPOCH, HOST, World, server_config, sid

SPEECH = bytes([0x10, 0x90]) * 80 * 50


def switchboard(**options: Any) -> Switchboard:
    return Switchboard(server_config(**options), epoch=EPOCH, seed=b"s" * 32, bulkhead=False)


def call_board() -> CallBoard:
    return CallBoard(CallSpec(call_id=sid(1), carrier="twilio", agent=ECHO, account=ACCOUNT), bulkhead=False)


def carrier() -> SimulatedCarrier:
    config = SimulatorConfig(webhook_url=f"https://{HOST}/webhooks/twilio/voice")
    return SimulatedCarrier(config, [CallPlan(acts=(Speak(SPEECH), Press("5"), Wait(100), HangUp()))])


BOARDS: list[Callable[[], Any]] = [switchboard, call_board, carrier]
boards = pytest.mark.parametrize("make", BOARDS, ids=lambda make: make.__name__)


def test_a_whole_call_keeps_the_contract_on_both_sides() -> None:
    net = VirtualNetwork(latency_us=20_000)
    made = [ContractChecker(make(), twin=make(), ticked=make()) for make in (switchboard, carrier)]
    server, caller = net.add("server", made[0]), net.add("carrier", made[1])
    net.place(HOST, 443, server)
    net.run(until_us=5_000_000)
    assert caller.exit_code == 0
    server.feed(StopRequested())
    net.run(until_us=30_000_000)
    assert server.exit_code == 0
    assert [checker.unbalanced() for checker in made] == [[], []]
    assert made[0].steps > 50


def test_an_embedded_call_keeps_the_contract() -> None:
    board, twin, ticked = call_board(), call_board(), call_board()
    checker = ContractChecker(board, twin=twin, ticked=ticked, given=(board.conn,))
    peer = TwilioStreamPeer("MZ" + "1" * 32, sid(1), ACCOUNT, {})
    now = 0
    checker.handle(now, Connected(board.conn))
    for text in (peer.connected(), peer.start()):
        checker.handle(now, Received(board.conn, text))
    for number in range(1, 51):
        now += 20_000
        orders = checker.handle(now, Received(board.conn, peer.media(SPEECH[:160], number * 20)))
        for order in orders:
            if isinstance(order, Send) and order.ack:
                checker.handle(now, Sent(board.conn, checker.sent[board.conn]))
    checker.handle(now, Received(board.conn, peer.stop()))
    assert checker.exited
    checker.handle(now, Closed(board.conn))
    assert checker.unbalanced() == []


# --- C1, C2 ----------------------------------------------------------------------------------------------------------


@boards
def test_c1_a_step_is_complete(make: Callable[[], Any]) -> None:
    """Time that does not pass brings nothing more."""
    board = make()
    board.handle(10, Ticked())
    assert board.handle(10, Ticked()) == []
    assert board.handle(10, Ticked()) == []


@boards
def test_c1_the_list_belongs_to_whoever_got_it(make: Callable[[], Any]) -> None:
    board = make()
    first = board.handle(1, Asked(AskId(-1), "nonsense"))
    copy = list(first)
    board.handle(2, Asked(AskId(-2), "nonsense"))
    assert first == copy


def test_c2_peers_never_make_it_raise() -> None:
    board = switchboard()
    for data in (b"", b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 70_000):
        conn = board.reserve()
        board.handle(0, Accepted(conn, "192.0.2.1"))
        board.handle(0, Received(conn, data))
        board.handle(0, InputEnded(conn))
        board.handle(0, Closed(conn))


# --- C3, C4 ----------------------------------------------------------------------------------------------------------


def test_c3_timers_come_before_the_fact_oldest_first() -> None:
    """Two silent connections and a request that comes too late for its own deadline."""
    board = switchboard()
    conns = [board.reserve() for _ in range(3)]
    for at, conn in enumerate(conns):
        board.handle(at * 1_000_000, Accepted(conn, "192.0.2.1"))
    orders = board.handle(60_000_000, Received(conns[2], b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert [order for order in orders if isinstance(order, Close)] == [Close(conn) for conn in conns]
    assert not any(isinstance(order, Send) for order in orders)


def test_c3_the_way_down_is_time_too() -> None:
    """A fact that comes after a deadline of the shutdown finds the shutdown that far."""
    world = World(rest=False)
    world.open(sid(1))
    world.server.feed(StopRequested())
    world.run(0)
    board = world.board
    conn = next(iter(board._conns))
    orders = board.handle(world.net.now + 60_000_000, Received(conn, b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"))
    steps = [
        order.event.step for order in orders if isinstance(order, Notify) and isinstance(order.event, ShutdownStep)
    ]
    assert steps == [3, 4]
    assert orders.index(Notify(ShutdownStep(4, "drain", "1 media socket"))) < len(orders) - 1


def test_c3_what_is_asked_after_the_time_was_up_is_refused_before_exit() -> None:
    world = World(rest=False)
    world.open(sid(1))
    world.server.feed(StopRequested())
    world.run(0)
    orders: list[Order] = []
    for step in range(1, 6):  # a loop that was away: each deadline is met late
        ask = AskId(-step)
        orders = world.board.handle(world.net.now + step * 100_000_000, Asked(ask, "calls"))
        if Exit(0) in orders:
            break
        assert Answer(ask, [sid(1)]) in orders or Answer(ask, []) in orders
    assert orders[-2:] == [Refuse(ask, "stopped", "the server has stopped"), Exit(0)]


@boards
def test_c3_time_never_runs_backwards(make: Callable[[], Any]) -> None:
    board = make()
    board.handle(5_000_000, Ticked())
    before = board.deadline
    assert board.handle(1_000_000, Ticked()) == []
    assert board.deadline == before


@boards
def test_c3_spurious_ticks_change_nothing(make: Callable[[], Any]) -> None:
    board = make()
    board.handle(0, Ticked())
    deadline = board.deadline
    if deadline is not None:
        for at in range(0, deadline, max(1, deadline // 7)):
            assert board.handle(at, Ticked()) == []
        assert board.deadline == deadline


@boards
def test_c4_the_deadline_is_later_or_none(make: Callable[[], Any]) -> None:
    board = make()
    now = 0
    for _ in range(20):
        board.handle(now, Ticked())
        if board.deadline is None:
            break
        assert board.deadline > now
        now = board.deadline


# --- C5 to C9 --------------------------------------------------------------------------------------------------------


def test_c5_every_question_has_one_answer_also_at_exit() -> None:
    world = World()
    world.open(sid(1))
    asks = [world.server.ask(verb, call_id=sid(1), text="x") for verb in ("calls", "say", "end_call", "end_call", "no")]
    asks += [world.server.ask("stop"), world.server.ask("stop")]
    world.run(30)
    assert world.server.exit_code == 0
    assert set(world.server.answers) == set(asks)
    answers = [world.server.answers[ask] for ask in asks]
    assert answers[0] == Answer(asks[0], [sid(1)])
    assert answers[1:4] == [Answer(ask, True) for ask in asks[1:4]]
    assert isinstance(answers[4], Refuse)
    assert answers[4].code == "unknown_command"
    assert answers[5:] == [Answer(ask, True) for ask in asks[5:]]
    assert all(world.checker.asks.values())


def test_c6_acks_are_asked_for_once_per_stretch_of_bytes() -> None:
    world = World()
    line = world.open(sid(1))
    for number in range(1, 300):
        world.frame(line, number)
        world.run(0.02)
    sends = world.orders(Send)
    acked = [send for send in sends if send.ack]
    sent = sum(len(send.data) for send in sends)
    assert 1 <= len(acked) <= sent // world.config.settings.ack_every + 1
    assert world.checker.acks == {conn: [] for conn in world.checker.acks}


def test_c7_nothing_follows_exit() -> None:
    board = switchboard()
    conn = board.reserve()
    board.handle(0, Accepted(conn, "192.0.2.1"))
    asked = board.handle(0, StopRequested())
    assert Close(conn) in asked
    orders = board.handle(60_000_000, Ticked())
    assert orders[-1] == Exit(0)
    facts: list[Fact] = [Ticked(), StopRequested(), Closed(conn), Received(conn, b"x"), Accepted(ConnId(77), "a")]
    for fact in facts:
        assert board.handle(61_000_000, fact) == []
    assert board.deadline is None


def test_c8_a_board_never_calls_itself() -> None:
    """A call that closes its own socket learns of it after its step, not in the middle (``CallBoard`` has no wire to
    tell it later)."""
    board = call_board()
    seen: list[str] = []
    host: Any = board._host
    step = host._step

    def watched(*args: Any) -> None:
        seen.append("in")
        step(*args)
        seen.append("out")

    host._step = watched
    board.handle(0, Connected(board.conn))
    for _ in range(200):
        board.handle(1, Received(board.conn, "not json"))
    assert board.conn is not None
    assert "".join(seen) == "inout" * (len(seen) // 2)


def test_c9_facts_about_unknown_names_are_ignored() -> None:
    world = World()
    from patter_core.contract import (
        BodyEnded,
        BodyReceived,
        ConnectFailed,
        Fault,
        Raised,
        RequestFailed,
        ResponseStarted,
        Returned,
        Yielded,
    )

    facts: list[Fact] = [
        Received(ConnId(999), b"x"), InputEnded(ConnId(999)), Sent(ConnId(999), 5), Closed(ConnId(999)),
        Connected(ConnId(999)), ConnectFailed(ConnId(999), Fault.REFUSED), ResponseStarted(RequestId(999), 200),
        BodyReceived(RequestId(999), b"x"), BodyEnded(RequestId(999)), RequestFailed(RequestId(999), Fault.RESET),
        Yielded(TaskId(999), 1), Returned(TaskId(999), b"x"), Raised(TaskId(999), Fault.USER),
    ]  # fmt: skip
    world.server.feed(Ticked())
    world.run(0)
    for fact in facts:
        assert world.checker.handle(1, fact) == [], fact


def test_c10_another_seed_differs_only_in_what_is_random() -> None:
    first, second = switchboard(), Switchboard(server_config(), epoch=EPOCH, seed=b"t" * 32, bulkhead=False)
    conns = [first.reserve(), second.reserve()]
    assert conns[0] == conns[1]
    assert first.handle(0, Accepted(conns[0], "a")) == second.handle(0, Accepted(conns[1], "a"))


# --- the checker itself ----------------------------------------------------------------------------------------------


class Scripted:
    """A board that gives the same orders whatever it is told."""

    def __init__(self, *steps: list[Order], deadline: int | None = None) -> None:
        self._steps = list(steps)
        self._deadline = deadline
        self._names = 0

    @property
    def deadline(self) -> int | None:
        return self._deadline

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        return self._steps.pop(0) if self._steps else []


CONN, ASK = ConnId(1), AskId(-1)
INVOKE = Invoke(TaskId(5), Lane.LOOP, "f")
REQUEST = Request(RequestId(6), "GET", "http://a/")
BREACHES: list[tuple[str, list[list[Order]]]] = [
    ("C7", [[Abort(CONN), Send(CONN, b"x")]]),
    ("C7", [[Abort(CONN), Abort(CONN)]]),
    ("C7", [[Abort(CONN), Pause(CONN)]]),
    ("C7", [[Close(CONN), Send(CONN, b"x")]]),
    ("C7", [[Close(CONN), Close(CONN)]]),
    ("C7", [[Close(CONN), Finish(CONN)]]),
    ("C7", [[Finish(CONN), Send(CONN, b"x")]]),
    ("C7", [[Exit(0), Send(CONN, b"x")]]),
    ("C7", [[Exit(0), Exit(0)]]),
    ("C7", [[StopListening(), StopListening()]]),
    ("C7", [[Abort(CONN), Resume(CONN)]]),
    ("C9", [[Send(ConnId(8), b"x")]]),
    ("C9", [[INVOKE, INVOKE]]),
    ("C9", [[REQUEST, REQUEST]]),
    ("C9", [[Cancel(TaskId(9))]]),
    ("C9", [[CancelRequest(RequestId(9))]]),
    ("C5", [[INVOKE, Cancel(TaskId(5)), Cancel(TaskId(5))]]),
    ("C5", [[Answer(ASK)]]),
    ("C5", [[], [Answer(ASK), Refuse(ASK, "no")]]),
    ("C5", [[], [Exit(0)]]),
]


@pytest.mark.parametrize(("line", "steps"), BREACHES)
def test_the_checker_finds_every_breach(line: str, steps: list[list[Order]]) -> None:
    checker = ContractChecker(Scripted(*steps))
    conn = checker.reserve()
    facts: list[Fact] = [Accepted(conn, "a"), Asked(ASK, "x")]
    with pytest.raises(ContractBroken, match=line):
        [checker.handle(0, fact) for fact in facts]


def test_the_checker_finds_a_stale_deadline() -> None:
    checker = ContractChecker(Scripted(deadline=5))
    checker.handle(4, Ticked())
    with pytest.raises(ContractBroken, match="C4"):
        checker.handle(5, Ticked())


def test_the_checker_finds_orders_after_closed_and_for_unknown_names() -> None:
    checker = ContractChecker(Scripted([], [], [Send(CONN, b"x")]))
    conn = checker.reserve()
    checker.handle(0, Accepted(conn, "a"))
    checker.handle(0, Closed(conn))
    with pytest.raises(ContractBroken, match="C5"):
        checker.handle(0, Ticked())
    checker = ContractChecker(Scripted([], [REQUEST]))
    checker.handle(0, Ticked())
    with pytest.raises(ContractBroken, match="C9"):
        checker.handle(0, Received(ConnId(44), b"x"))


def test_the_checker_finds_a_twin_that_differs() -> None:
    checker = ContractChecker(Scripted([REQUEST]), twin=Scripted([]))
    with pytest.raises(ContractBroken, match="C10"):
        checker.handle(0, Ticked())


def test_the_checker_finds_a_timer_that_comes_late() -> None:
    checker = ContractChecker(Scripted([], [INVOKE]), ticked=Scripted([], [], [], [REQUEST]))
    checker.handle(0, Ticked())
    with pytest.raises(ContractBroken, match="C3"):
        checker.handle(1, Ticked())


def test_agents_are_data_so_boards_can_be_made_twice() -> None:
    handlers: dict[str, Any] = {}
    agent = Agent(tts=lambda text: b"", first_message="Hello")
    spec = resolve_agent(agent, {"on_message": lambda data: "x"}, handlers)
    assert server_config({"": spec}) == server_config({"": spec})
    assert set(handlers) == {"on_message", "tts"}
