"""Whatever comes in: no exception, books balance, and a server that is asked to stop always stops with empty tables."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.call.spec import CallSpec
from patter_core.call_board import CallBoard
from patter_core.carriers.form import encode_form
from patter_core.carriers.twilio import signature
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.carriers.twilio.webhook_peer import voice_params
from patter_core.config import AgentSpec
from patter_core.contract import (
    Abort,
    Accepted,
    Asked,
    AskId,
    BodyEnded,
    BodyReceived,
    Cancel,
    CancelRequest,
    ClockSet,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    Fault,
    Finish,
    InputEnded,
    Invoke,
    Notify,
    Order,
    Raised,
    Received,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Returned,
    Send,
    Sent,
    StopRequested,
    TaskId,
    Ticked,
    Yielded,
)
from patter_core.events import CallEnded, CallOffered, ShutdownStep
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.checker import ContractChecker
from patter_core.switchboard import Switchboard
from patter_core.wire.frames import encode_frame

from .world import ACCOUNT, EPOCH, HOST, TOKEN, server_config, sid

QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MASK = b"\x11\x22\x33\x44"


def agents(*callbacks: str) -> dict[str, AgentSpec]:
    return {"": resolve_agent(Agent(engine=Echo()), dict.fromkeys(callbacks, print), {})}


ALL = agents("on_call_start", "on_call_end", "on_transcript", "on_metrics")


class Hand:
    """Carries a board by hand: an honest adapter whose peers, carrier and callbacks do whatever the story says."""

    def __init__(self, **options: Any) -> None:
        config = server_config(
            ALL,
            settings=ServerSettings(max_calls=4, max_connections=12, kill_water=64 * 1024, ended_calls=3),
            call=CallSettings(on_call_start_s=1),
            trace_dir="t",
            **options,
        )
        self.config = config

        def make() -> Switchboard:
            return Switchboard(config, epoch=EPOCH, seed=b"s" * 32, bulkhead=False)

        self.board = make()
        self.checker = ContractChecker(self.board, twin=make(), ticked=make())
        self.now = 0
        self.open: list[ConnId] = []
        self.requests: list[RequestId] = []
        self.tasks: list[TaskId] = []
        self.queue: list[Fact] = []
        self.exits: list[int] = []
        self.stop_listening = False
        self.events: list[Any] = []
        self.tickets: dict[str, str] = {}
        self.texts: list[bytes] = []
        self.asks = 0
        self.peers: dict[str, TwilioStreamPeer] = {}
        self.stopped: set[int] = set()
        self.accepted = 0
        self.closed = 0

    def feed(self, fact: Fact) -> None:
        if self.exits:
            return
        for order in self.checker.handle(self.now, fact):
            self.perform(order)

    def perform(self, order: Order) -> None:
        match order:
            case Close(conn) | Abort(conn):
                if conn in self.open:
                    self.queue.append(Closed(conn))
            case Finish(conn):
                self.queue.append(InputEnded(conn))
            case Send(conn, data, ack):
                assert isinstance(data, bytes)
                self.texts.append(data)
                if ack:
                    self.queue.append(Sent(conn, self.checker.sent[conn]))
            case Request(request):
                self.requests.append(request)
            case CancelRequest(request):
                self.requests.remove(request)
            case Invoke(task):
                self.tasks.append(task)
            case Cancel(task):
                self.tasks.remove(task)
            case Notify(event):
                self.events.append(event)
            case Exit(code):
                self.exits.append(code)

    def settle(self) -> None:
        while self.queue and not self.exits:
            fact = self.queue.pop(0)
            if isinstance(fact, Closed):
                if fact.conn not in self.open:
                    continue
                self.open.remove(fact.conn)
                self.closed += 1
            self.feed(fact)

    def accept(self, peer: str = "192.0.2.1") -> ConnId:
        conn = self.checker.reserve()
        self.open.append(conn)
        self.accepted += 1
        self.feed(Accepted(conn, peer))
        return conn

    def pass_time(self, us: int) -> None:
        until = self.now + us
        while not self.exits:
            deadline = self.checker.deadline
            if deadline is None or deadline > until:
                break
            self.now = deadline
            self.feed(Ticked())
            self.settle()
        self.now = max(self.now, until)

    def stop(self) -> None:
        """Ask it to stop, and be honest from here on: every task and request ends."""
        self.feed(StopRequested())
        self.settle()
        for _ in range(200):
            if self.exits:
                return
            for task in list(self.tasks):
                if task in self.tasks:
                    self.tasks.remove(task)
                    self.feed(Returned(task))
            for request in list(self.requests):
                if request in self.requests:
                    self.requests.remove(request)
                    self.feed(RequestFailed(request, Fault.TIMEOUT))
            self.settle()
            self.pass_time(1_000_000)

    def assert_done(self) -> None:
        assert self.exits == [0]
        assert self.now < 3600 * 1_000_000
        assert self.checker.unbalanced() == []
        offered = [event.call_id for event in self.events if isinstance(event, CallOffered)]
        ended = [event.call_id for event in self.events if isinstance(event, CallEnded)]
        assert sorted(offered) == sorted(ended)
        assert [event.step for event in self.events if isinstance(event, ShutdownStep) if event.step] == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]
        board: Any = self.board
        host = board._host
        for table in (
            board._conns,
            board._touched,
            board._reception._peers,
            board._addresses,
            board._reception._answers,
            host._calls,
        ):
            assert len(table) == 0
        assert (len(host._tasks), len(host._requests), board._media) == (0, 0, 0)
        assert len(board._reception._ended) <= 3

    # --- what a story may do -----------------------------------------------------------------------------------------

    def pick(self, things: list[Any], choice: int, none: Any) -> Any:
        return things[choice % len(things)] if things else none

    def voice(self, number: int) -> None:
        """A true webhook, on a connection of its own; remembers the ticket."""
        pairs = voice_params(sid(number), ACCOUNT, "+15550100001", "+15550001234")
        url = f"https://{HOST}/webhooks/twilio/voice"
        body = encode_form(pairs)
        head = (
            f"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            f"X-Twilio-Signature: {signature.sign(TOKEN, url, pairs)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        conn = self.accept()
        self.texts.clear()
        self.feed(Received(conn, head.encode() + body))
        text = b"".join(self.texts).decode("latin-1")
        if "/ws/stream/" in text:
            self.tickets[sid(number)] = text.split("/ws/stream/")[1].split('"')[0]
        self.settle()

    def upgrade(self, number: int, extra: bytes = b"") -> None:
        path = self.tickets.get(sid(number), f"{sid(number)}/none")
        head = (
            f"GET /ws/stream/{path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        conn = self.accept()
        self.stopped.discard(number)
        peer = self.peers[sid(number)] = TwilioStreamPeer("MZ" + sid(number)[2:], sid(number), ACCOUNT, {})
        start = b"".join(text_frame(text) for text in (peer.connected(), peer.start()))
        self.feed(Received(conn, head.encode() + start + extra))
        self.settle()


def text_frame(text: str) -> bytes:
    return encode_frame(0x81, text.encode(), MASK)


#: One thing that happens: (what, two free choices, bytes).
KINDS = """
accept voice upgrade frame stop_stream raw closed ended sent returned raised yielded audio rest_ok rest_bad rest_none
ask_end ask_calls ask_say ask_odd clock time long_time unknown status
"""
ACTS = st.tuples(
    st.sampled_from(KINDS.split()),
    st.integers(0, 5),
    st.integers(0, 3),
    st.binary(max_size=60),
)


def act(hand: Hand, what: str, a: int, b: int, data: bytes) -> None:
    conn = hand.pick(hand.open, a, ConnId(10_000))
    task = hand.pick(hand.tasks, a, TaskId(10_000))
    request = hand.pick(hand.requests, a, RequestId(10_000))
    unknown: list[Fact] = [
        Received(ConnId(10_001), data), Closed(ConnId(10_001)), Sent(ConnId(10_001), 5), InputEnded(ConnId(10_001)),
        Connected(ConnId(10_001)), ConnectFailed(ConnId(10_001), Fault.REFUSED), BodyEnded(RequestId(10_001)),
        Returned(TaskId(10_001), data), Yielded(TaskId(10_001), 1), Raised(TaskId(10_001), Fault.USER),
        ResponseStarted(RequestId(10_001), 200), BodyReceived(RequestId(10_001), data),
        RequestFailed(RequestId(10_001), Fault.RESET), Ticked(),
    ]  # fmt: skip
    match what:
        case "accept":
            hand.accept(f"192.0.2.{a}")
        case "voice":
            hand.voice(b)
        case "upgrade":
            hand.upgrade(b, data)
        case "frame":
            peer = hand.peers.get(sid(b))
            frame = peer.media(data or b"\x80", hand.now // 1000) if peer and b not in hand.stopped else "{}"
            hand.feed(Received(conn, text_frame(frame)))
        case "stop_stream":
            peer = hand.peers.get(sid(b))
            text = peer.stop() if peer and b not in hand.stopped else "{}"
            hand.stopped.add(b)
            hand.feed(Received(conn, text_frame(text) + encode_frame(0x88, b"\x03\xe8", MASK)))
        case "raw":
            hand.feed(Received(conn, data))
        case "closed":
            hand.queue.append(Closed(conn))
        case "ended":
            hand.feed(InputEnded(conn))
        case "sent":
            hand.feed(Sent(conn, hand.checker.sent.get(conn, 0)))
        case "returned" | "raised":
            if task in hand.tasks:
                hand.tasks.remove(task)
            values: list[Any] = [None, data, {"voice": "x"}, [data.decode("latin-1")]]
            hand.feed(Returned(task, values[b]) if what == "returned" else Raised(task, Fault.USER, "x"))
        case "yielded":
            hand.feed(Yielded(task, "text"))
        case "audio":
            hand.feed(Yielded(task, data))
        case "rest_ok" | "rest_bad" | "rest_none":
            if request in hand.requests:
                hand.requests.remove(request)
            if what == "rest_none":
                hand.feed(RequestFailed(request, Fault.RESET))
            else:
                hand.feed(ResponseStarted(request, 200 if what == "rest_ok" else (401, 404, 429, 500)[b]))
                hand.feed(BodyReceived(request, data))
                hand.feed(BodyEnded(request))
        case "ask_end" | "ask_calls" | "ask_say" | "ask_odd":
            hand.asks += 1
            verb = {"ask_end": "end_call", "ask_calls": "calls", "ask_say": "say", "ask_odd": "?"}[what]
            hand.feed(Asked(AskId(-hand.asks), verb, {"call_id": sid(b), "text": "x"}))
        case "clock":
            hand.feed(ClockSet(EPOCH + (a - 2) * 100_000_000))
        case "time":
            hand.pass_time(a * 20_000 + b)
        case "long_time":
            hand.pass_time(a * 7_000_000)
        case "status":
            hand.feed(Received(conn, b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"))
        case "unknown":
            hand.feed(unknown[(a * 4 + b) % len(unknown)])
    hand.settle()


@QUIET
@given(st.lists(ACTS, max_size=40), st.booleans())
def test_any_history_ends_balanced(acts: list[tuple[str, int, int, bytes]], required: bool) -> None:
    hand = Hand(authenticate_streams=required)
    for what, a, b, data in acts:
        act(hand, what, a, b, data)
    hand.stop()
    hand.assert_done()


@QUIET
@given(st.lists(ACTS, max_size=15), st.lists(ACTS, max_size=15), st.integers(0, 4), st.floats(0, 30))
def test_any_history_of_the_way_down_ends_balanced(
    before: list[tuple[str, int, int, bytes]], after: list[tuple[str, int, int, bytes]], hurry: int, wait: float
) -> None:
    hand = Hand()
    hand.voice(0)
    hand.upgrade(0)
    for item in before:
        act(hand, *item)
    hand.feed(Asked(AskId(-1_000_000), "stop", {"finish_calls_s": wait}))
    hand.settle()
    for number, item in enumerate(after):
        if number < hurry:
            hand.feed(StopRequested())
        act(hand, *item)
    hand.stop()
    hand.assert_done()


@QUIET
@given(st.lists(ACTS, max_size=30))
def test_every_accepted_connection_closes_once_and_nothing_is_left(acts: list[tuple[str, int, int, bytes]]) -> None:
    """No stop: only time, and peers that go away."""
    hand = Hand()
    for item in acts:
        act(hand, *item)
    for task in list(hand.tasks):
        if task in hand.tasks:
            hand.tasks.remove(task)
            hand.feed(Returned(task))
    for conn in list(hand.open):
        hand.queue.append(Closed(conn))
    hand.settle()
    for _ in range(60):
        for task in list(hand.tasks):
            if task in hand.tasks:
                hand.tasks.remove(task)
                hand.feed(Returned(task))
        for request in list(hand.requests):
            if request in hand.requests:
                hand.requests.remove(request)
                hand.feed(ResponseStarted(request, 200))
                hand.feed(BodyEnded(request))
        hand.pass_time(5_000_000)
    assert hand.accepted == hand.closed
    assert hand.board.calls == 0
    assert hand.checker.unbalanced() == []
    board: Any = hand.board
    for table in (
        board._conns,
        board._touched,
        board._reception._peers,
        board._addresses,
        board._reception._answers,
        board._timers,
    ):
        assert len(table) == 0
    assert len(board._host._filing) == len(board._host._tasks) == len(board._host._requests) == 0


# --- bytes -----------------------------------------------------------------------------------------------------------

STARTS = [
    b"",
    b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nCallSid=CA1&From=+1",
    b"POST /webhooks/twilio/status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    f"GET /ws/stream/{sid(1)} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode(),
]  # fmt: skip


def _mutated() -> st.SearchStrategy[bytes]:
    def change(start: bytes, edits: list[tuple[int, int]], tail: bytes) -> bytes:
        data = bytearray(start)
        for place, value in edits:
            if data:
                data[place % len(data)] = value
        return bytes(data) + tail

    edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
    return st.builds(change, st.sampled_from(STARTS), edits, st.binary(max_size=80))


@settings(max_examples=200, deadline=None)
@given(st.lists(_mutated(), min_size=1, max_size=4), st.lists(st.integers(1, 50), max_size=8))
def test_any_bytes_on_a_connection(pieces: list[bytes], cuts: list[int]) -> None:
    hand = Hand(authenticate_streams=False)
    conn = hand.accept()
    data = b"".join(pieces)
    for cut in cuts:
        hand.feed(Received(conn, data[:cut]))
        data = data[cut:]
    hand.feed(Received(conn, data))
    hand.settle()
    hand.pass_time(200_000_000)
    hand.stop()
    hand.assert_done()


# --- one embedded call -----------------------------------------------------------------------------------------------

EMBEDDED = """
connected start frame stop junk ended closed returned raised audio rest_ok rest_none end say odd clock time long_time
stop_requested sent
"""
FACTS = st.sampled_from(EMBEDDED.split())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FACTS, st.integers(0, 5), st.binary(max_size=20)), max_size=40))
def test_any_history_of_an_embedded_call(acts: list[tuple[str, int, bytes]]) -> None:
    spec = CallSpec(call_id=sid(1), carrier="twilio", agent=ALL[""], account=ACCOUNT, base_url="http://twilio.test")
    board, twin, ticked = (CallBoard(spec, trace_dir="t", bulkhead=False) for _ in range(3))
    checker = ContractChecker(board, twin=twin, ticked=ticked, given=(board.conn,))
    peer = TwilioStreamPeer("MZ" + "1" * 32, sid(1), ACCOUNT, {})
    peer.connected(), peer.start()
    now = 0
    told: list[Any] = []

    def under_way(table: dict[int, bool], choice: int) -> int:
        names = [name for name, is_open in table.items() if is_open]
        return names[choice % len(names)] if names else 9999

    def feed(fact: Fact) -> None:
        told.extend(order.event for order in checker.handle(now, fact) if isinstance(order, Notify))

    for asks, (what, a, data) in enumerate(acts, 1):
        task, request = TaskId(under_way(checker.tasks, a)), RequestId(under_way(checker.requests, a))
        conn = board.conn
        match what:
            case "connected":
                feed(Connected(conn))
            case "start":
                feed(Received(conn, TwilioStreamPeer("MZ" + "1" * 32, sid(1), ACCOUNT, {}).start()))
            case "frame":
                feed(Received(conn, peer.media(data or b"\x80", a)))
            case "stop":
                feed(Received(conn, '{"event":"stop","streamSid":"MZ%s","sequenceNumber":"9","stop":{}}' % ("1" * 32)))
            case "junk":
                feed(Received(conn, data))
            case "ended":
                feed(InputEnded(conn))
            case "closed":
                feed(Closed(conn))
            case "returned":
                feed(Returned(task, [None, data, {"x": 1}][a % 3]))
            case "raised":
                feed(Raised(task, Fault.USER, "x"))
            case "audio":
                feed(Yielded(task, data))
            case "rest_ok":
                feed(ResponseStarted(request, 200))
                feed(BodyEnded(request))
            case "rest_none":
                feed(RequestFailed(request, Fault.RESET))
            case "end" | "say" | "odd":
                feed(Asked(AskId(-asks), {"end": "end_call"}.get(what, what), {"call_id": sid(1), "text": "x"}))
            case "clock":
                feed(ClockSet(EPOCH))
            case "time" | "long_time":
                now += a * (20_000 if what == "time" else 7_000_000)
                feed(Ticked())
            case "stop_requested":
                feed(StopRequested())
            case "sent":
                feed(Sent(conn, a))
    for _ in range(100):
        if checker.exited:
            break
        feed(StopRequested())
        for task in [name for name, is_open in checker.tasks.items() if is_open]:
            if checker.tasks[task]:
                feed(Returned(TaskId(task)))
        now += 1_000_000
        feed(Ticked())
    assert checker.exited
    assert all(checker.asks.values())
    assert len([event for event in told if isinstance(event, CallEnded)]) == 1
    assert board.deadline is None
