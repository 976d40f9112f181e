"""One server that plays every provider: who answers where, whole and streamed answers, goodbyes, refusals, vanishings,
and a board that keeps the contract. The peers here are small ones that do one thing each."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from patter_core.contract import (
    Abort,
    Accepted,
    BodyEnded,
    BodyReceived,
    CancelRequest,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Fact,
    Fault,
    Invoke,
    Lane,
    Order,
    Pause,
    Received,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Resume,
    Returned,
    Send,
    Sent,
    StopRequested,
    TaskId,
    Ticked,
    Yielded,
)
from patter_core.simulator import providers
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.provider_events import ProviderAsked, ProviderOdd, ProviderOver
from patter_core.simulator.provider_peer import (
    PeerAnswer,
    PeerBody,
    PeerClose,
    PeerDone,
    PeerDrop,
    PeerOrder,
    PeerRefuse,
    PeerSay,
)
from patter_core.simulator.providers import Routes, SimulatedProviders
from patter_core.simulator.puppet import Line, Puppet
from patter_core.wire.client import ClientConnection
from patter_core.wire.events import Opened
from patter_core.wire.http_download import HttpDownload

HOST = "api.provider.test"
MS = 1_000


class Talker:
    """A WebSocket peer: does some things when opened, answers messages, and says more when its time comes."""

    def __init__(
        self,
        opening: Sequence[PeerOrder] = (),
        answers: dict[str, Sequence[PeerOrder]] | None = None,
        later: Sequence[tuple[int, PeerOrder]] = (),
    ) -> None:
        self.opening, self.answers = opening, answers
        self.later = list(later)
        self.target = ""
        self.headers: dict[str, str] = {}
        self.heard: list[str | bytes] = []
        self.ended: list[int] = []

    @property
    def deadline(self) -> int | None:
        return self.later[0][0] if self.later else None

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        self.target, self.headers = target, headers
        return list(self.opening)

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        self.heard.append(data)
        if self.answers is not None and isinstance(data, str):
            return list(self.answers.get(data, ()))
        return [PeerSay(f"you said {data!r}")]

    def tick(self, now: int) -> list[PeerOrder]:
        return [self.later.pop(0)[1] for _ in list(self.later) if self.later[0][0] <= now]

    def closed(self, now: int) -> None:
        self.ended.append(now)


class Teller:
    """An HTTP peer: orders, each so many microseconds after the last."""

    def __init__(self, *orders: PeerOrder, every: int = 0) -> None:
        self.orders = list(orders)
        self.every = every
        self.deadline: int | None = None
        self.asked_for: tuple[str, str, dict[str, str], bytes] | None = None
        self.ended: list[int] = []

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        self.asked_for = (method, target, headers, body)
        return self.tick(now)

    def tick(self, now: int) -> list[PeerOrder]:
        if not self.every:
            orders, self.orders = self.orders, []
            return orders
        order = self.orders.pop(0)
        self.deadline = now + self.every if self.orders else None
        return [order]

    def closed(self, now: int) -> None:
        self.ended.append(now)
        self.deadline = None


STREAM = (PeerAnswer(200, (("Content-Type", "text/event-stream"),)), PeerBody(b"data: a\n\n"), PeerBody(b"data: b\n\n"))
CLOCK = ((50 * MS, PeerSay("50")), (50 * MS, PeerSay("again")), (70 * MS, PeerSay("70")))

ROUTES = Routes(
    links={
        "/echo": lambda n: Talker(),
        "/echo/first": lambda n: Talker([PeerSay(f"number {n}")], {}),
        "other.test/echo": lambda n: Talker([PeerSay("another house")], {}),
        "/refused": lambda n: Talker([PeerRefuse(401, b'{"error":"key"}')]),
        "/gone": lambda n: Talker([PeerDrop()]),
        "/leaving": lambda n: Talker([PeerSay("hello")], {"x": [PeerClose(4008, "timeout"), PeerSay("too late")]}),
        "/vanishing": lambda n: Talker([], {"x": [PeerSay("last words"), PeerDrop()], "y": [PeerClose(1006)]}),
        "/clock": lambda n: Talker([], {}, CLOCK),
        "/confused": lambda n: Talker([], {"x": [PeerDone(), PeerRefuse(400)]}),
    },
    fetches={
        "/whole": lambda n: Teller(PeerAnswer(201, (("X-N", str(n)),)), PeerBody(b"one"), PeerBody(b"two"), PeerDone()),
        "/empty": lambda n: Teller(PeerAnswer(204), PeerBody(b"never"), PeerDone()),
        "/empty-later": lambda n: Teller(PeerAnswer(204), PeerBody(b"never"), PeerDone(), every=MS),
        "/stream": lambda n: Teller(*STREAM, PeerDone(), every=20 * MS),
        "/breaks": lambda n: Teller(*STREAM, PeerDrop(), every=20 * MS),
        "/mute": lambda n: Teller(PeerDrop()),
        "/silent": lambda n: Teller(),
        "/early": lambda n: Teller(PeerBody(b"x"), PeerDone(), *STREAM, PeerAnswer(500), PeerDone(), every=MS),
        "/large": lambda n: Teller(PeerAnswer(200), *[PeerBody(b"x" * 1000)] * 10, PeerDone(), every=MS),
    },
)  # fmt: skip


class Asker:
    """A board that keeps what it is told, and answers a kind of fact once."""

    def __init__(self) -> None:
        self.facts: list[tuple[int, Fact]] = []
        self.answers: dict[type, list[Order]] = {}
        self.deadline: int | None = None
        self._names = 100

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        self.facts.append((now, fact))
        return self.answers.pop(type(fact), [])


class World:
    """The providers on the network, held to the contract; a puppet for WebSockets and an asker for requests."""

    def __init__(self, routes: Routes = ROUTES, **place: Any) -> None:
        self.net = VirtualNetwork()
        self.board = SimulatedProviders(routes)
        self.checker = ContractChecker(self.board, twin=SimulatedProviders(routes), ticked=SimulatedProviders(routes))
        self.node = self.net.add("providers", self.checker)
        self.net.place(HOST, 443, self.node, **place)
        self.puppet = Puppet(self.net, self.node, host=HOST)
        self.asker = Asker()
        self.asking = self.net.add("asker", self.asker)

    def link(self, target: str) -> Line:
        line = self.puppet.dial()
        assert line.upgrade(target) == 101
        return line

    def ask(self, path: str, number: int = 1, **request: Any) -> RequestId:
        name = RequestId(number)
        order = Request(name, request.pop("method", "POST"), f"https://{HOST}{path}", **request)
        self.net.perform(self.asking, order)
        return name

    def run(self, ms: int = 1000) -> None:
        self.net.run(until_us=self.net.now + ms * MS)

    @property
    def told(self) -> list[tuple[int, Fact]]:
        """What the asker was told, times in milliseconds."""
        return [(now // MS, fact) for now, fact in self.asker.facts]

    def outcomes(self) -> list[tuple[str, str, int]]:
        return [(over.route, over.how, over.code) for over in self.node.told(ProviderOver)]

    def over(self) -> None:
        """Stop; then nothing is left."""
        self.node.feed(StopRequested())
        self.run()
        assert self.node.exit_code == 0
        assert self.board.open == 0
        assert self.board.deadline is None
        assert self.checker.unbalanced() == []
        assert not self.board._seats


# --- WebSockets ------------------------------------------------------------------------------------------------------


def test_messages_go_both_ways_and_the_peer_knows_where_it_is() -> None:
    world = World()
    line = world.puppet.dial()
    assert line.upgrade("/echo?model=m", [("Authorization", "Bearer k"), ("X-A", "1"), ("X-A", "2")]) == 101
    line.say("hello")
    world.run()
    assert line.texts == ["you said 'hello'"]
    (peer,) = world.board.links("/echo")
    assert isinstance(peer, Talker)
    assert (peer.target, peer.heard) == ("/echo?model=m", ["hello"])
    assert (peer.headers["authorization"], peer.headers["x-a"], peer.headers["host"]) == ("Bearer k", "1, 2", HOST)
    assert world.node.told(ProviderAsked) == [ProviderAsked("/echo", 0, "WEBSOCKET", "/echo?model=m")]
    assert world.board.open == 1
    line.hang_up(1000)
    world.run()
    assert world.outcomes() == [("/echo", "closed", 1000)]
    assert len(peer.ended) == 1
    assert line.closed
    world.over()


def test_binary_messages_arrive_as_bytes() -> None:
    world = World()
    line = world.link("/echo")
    assert line._ws is not None
    line._ws.send(b"\x00\x01")
    line.send(line._ws.data_to_send())
    world.run()
    assert line.texts == ["you said b'\\x00\\x01'"]
    world.over()


def test_the_longest_path_wins_hosts_first_and_exchanges_are_counted() -> None:
    world = World()
    for number in range(2):
        line = world.link("/echo/first/anything")
        world.run()
        assert line.texts == [f"number {number}"]
    line = world.puppet.dial()
    line._puppet.host = "OTHER.test:8443"
    assert line.upgrade("/echo/first") == 101
    world.run()
    assert line.texts == ["another house"]
    assert [len(world.board.links(route)) for route in ("/echo", "/echo/first", "other.test/echo")] == [0, 2, 1]
    world.over()


@pytest.mark.parametrize("target", ["/echoes", "/", "/whole", "/nowhere"])
def test_nobody_there(target: str) -> None:
    world = World()
    line = world.puppet.dial()
    assert line.upgrade(target) == 404
    assert b"/echo/first" in line.responses[0].body
    (odd,) = world.node.told(ProviderOdd)
    assert target in odd.detail
    assert world.puppet.dial().ask("GET", "/echo").status == 404
    world.over()


def test_an_upgrade_is_refused() -> None:
    world = World()
    line = world.puppet.dial()
    assert line.upgrade("/refused") == 401
    assert line.responses[0].body == b'{"error":"key"}'
    world.run()
    assert world.outcomes() == [("/refused", "refused", 401)]
    assert line.closed
    world.over()


def test_a_provider_vanishes_instead_of_answering() -> None:
    world = World()
    line = world.puppet.dial()
    assert line.upgrade("/gone") == 0
    assert (line.closed, bytes(line.received)) == (True, b"")
    assert world.outcomes() == [("/gone", "dropped", 0)]
    world.over()


def test_a_provider_says_goodbye_and_then_no_more() -> None:
    world = World()
    line = world.link("/leaving")
    line.say("x")
    world.run()
    assert line.texts == ["hello"]
    assert (line.close_code, line.close_reason) == (4008, "timeout")
    assert world.outcomes() == [("/leaving", "closed", 4008)]
    assert line.closed
    world.over()


@pytest.mark.parametrize(("word", "texts"), [("x", ["last words"]), ("y", [])])
def test_a_provider_vanishes_in_the_middle(word: str, texts: list[str]) -> None:
    world = World()
    line = world.link("/vanishing")
    line.say(word)
    world.run()
    assert line.texts == texts
    assert line.closed
    assert line.close_code == 1006
    assert world.outcomes() == [("/vanishing", "dropped", 0)]
    world.over()


def test_a_client_that_vanishes_is_told_to_the_peer_once() -> None:
    world = World()
    line = world.link("/echo")
    line.reset()
    world.run()
    (peer,) = world.board.links("/echo")
    assert isinstance(peer, Talker)
    assert len(peer.ended) == 1
    assert world.outcomes() == [("/echo", "left", 0)]
    world.over()


def test_a_peer_speaks_when_its_time_comes() -> None:
    world = World()
    line = world.link("/clock")
    world.net.run(until_us=50 * MS - 1)
    assert line.texts == []
    world.net.run(until_us=50 * MS)
    assert line.texts == ["50", "again"]
    world.net.run(until_us=70 * MS)
    assert line.texts == ["50", "again", "70"]
    world.over()


def test_orders_out_of_place_are_told_and_do_nothing() -> None:
    world = World()
    line = world.link("/confused")
    line.say("x")
    world.run()
    assert len(world.node.told(ProviderOdd)) == 2
    assert not line.closed
    world.over()


# --- requests --------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_all_there_has_a_length() -> None:
    world = World()
    line = world.puppet.dial()
    response = line.ask("POST", "/whole?a=b", [("X-Key", "k")], b"body")
    assert (response.status, response.body) == (201, b"onetwo")
    assert (response.header("content-length"), response.header("x-n")) == ("6", "0")
    (peer,) = world.board.fetches("/whole")
    assert isinstance(peer, Teller)
    assert peer.asked_for is not None
    assert peer.asked_for[:2] == ("POST", "/whole?a=b")
    assert (peer.asked_for[2]["x-key"], peer.asked_for[3]) == ("k", b"body")
    assert line.ask("POST", "/whole").header("x-n") == "1"  # on the same connection
    assert world.outcomes() == [("/whole", "answered", 201)] * 2
    world.over()


@pytest.mark.parametrize("path", ["/empty", "/empty-later"])
def test_an_answer_without_a_body(path: str) -> None:
    world = World()
    response = world.puppet.dial().ask("POST", path)
    assert (response.status, response.body) == (204, b"")
    world.run()
    assert world.outcomes() == [(path, "answered", 204)]
    world.over()


def test_a_stream_comes_piece_by_piece() -> None:
    world = World()
    name = world.ask("/stream")
    world.run()
    (at, started), *rest = world.told
    assert at == 0
    assert isinstance(started, ResponseStarted)
    assert dict(started.headers)["transfer-encoding"] == "chunked"
    assert rest == [
        (20, BodyReceived(name, b"data: a\n\n")), (40, BodyReceived(name, b"data: b\n\n")), (60, BodyEnded(name))
    ]  # fmt: skip
    world.over()


@pytest.mark.parametrize("path", ["/breaks", "/mute"])
def test_a_broken_answer_is_a_failure(path: str) -> None:
    world = World()
    name = world.ask(path)
    world.run()
    assert world.told[-1][1] == RequestFailed(name, Fault.RESET)
    assert [type(fact) for _, fact in world.told].count(BodyReceived) == (2 if path == "/breaks" else 0)
    assert world.outcomes() == [(path, "dropped", 0)]
    world.over()


@pytest.mark.parametrize("path", ["/silent", "/stream"])
def test_a_request_given_up_is_told_to_the_peer_once(path: str) -> None:
    world = World()
    name = world.ask(path)
    world.run(ms=30)
    before = len(world.told)
    world.net.perform(world.asking, CancelRequest(name))
    world.run()
    assert len(world.told) == before
    (peer,) = world.board.fetches(path)
    assert isinstance(peer, Teller)
    assert len(peer.ended) == 1
    assert [how for _, how, _ in world.outcomes()] == ["left"]
    world.over()


def test_parts_of_an_answer_in_the_wrong_order_are_told() -> None:
    world = World()
    world.ask("/early")
    world.run()
    assert [type(fact).__name__ for _, fact in world.told] == [
        "ResponseStarted", "BodyReceived", "BodyReceived", "BodyEnded"
    ]  # fmt: skip
    assert [odd.detail.split()[1] for odd in world.node.told(ProviderOdd)] == ["PeerBody", "PeerDone", "PeerAnswer"]
    world.over()


def test_requests_wait_behind_one_another_and_their_sender_behind_them() -> None:
    world = World()
    line = world.puppet.dial()
    asked = HttpDownload("POST", "/stream", [("Host", HOST)], b"x" * 60_000, max_body=1).data
    line.send(asked * 3)
    line.send(asked)
    world.run(ms=1)
    assert world.node.told(ProviderAsked) == [ProviderAsked("/stream", 0, "POST", "/stream")]
    assert any(pipe.paused for pipe in world.node.pipes.values())
    world.run()
    assert [event.number for event in world.node.told(ProviderAsked)] == [0, 1, 2, 3]
    assert not any(pipe.paused for pipe in world.node.pipes.values())
    assert world.outcomes() == [("/stream", "answered", 200)] * 4
    world.over()


def test_somebody_who_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_UNSENT", 5_000)
    world = World()
    name = world.ask("/large")
    world.net.run(until_us=10)
    (conn,) = world.node.pipes
    world.net.stall(world.node, conn)
    world.run()
    assert world.outcomes() == [("/large", "dropped", 0)]
    assert isinstance(world.node.told(ProviderOdd)[0], ProviderOdd)
    assert world.told[-1][1] == RequestFailed(name, Fault.RESET)
    world.over()


def test_somebody_who_reads_late_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_UNSENT", 5_000)
    monkeypatch.setattr(providers, "_ACK_ABOVE", 2_000)
    world = World()
    name = world.ask("/large")
    world.run()
    assert world.told[-1][1] == BodyEnded(name)
    world.over()


def test_there_is_a_bound_on_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_CONNECTIONS", 1)
    world = World()
    assert world.puppet.dial().connected
    second = world.puppet.dial()
    world.run(ms=1)
    assert second.closed
    assert len(world.node.told(ProviderOdd)) == 1
    world.over()


def test_peers_are_remembered_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_REMEMBERED", 2)
    world = World()
    line = world.puppet.dial()
    for _ in range(3):
        line.ask("POST", "/whole")
    assert len(world.board.fetches("/whole")) == 2
    assert world.board.fetches("/nowhere") == []
    world.over()


def test_stopping_leaves_nobody_waiting() -> None:
    world = World()
    line = world.link("/echo")
    name = world.ask("/silent")
    world.run(ms=5)
    world.over()
    assert sorted(world.outcomes()) == [("/echo", "stopped", 0), ("/silent", "stopped", 0)]
    assert line.closed
    assert [fact for _, fact in world.told] == [RequestFailed(name, Fault.RESET)]
    net, node = world.net, world.asking
    net.perform(node, Connect(ConnId(9), HOST, 443))
    net.run(until_us=net.now + 10)
    assert world.asker.facts[-1][1] == ConnectFailed(ConnId(9), Fault.REFUSED)


def test_facts_about_nobody_are_nothing() -> None:
    board = SimulatedProviders(ROUTES)
    for fact in (Received(ConnId(7), b"x"), Sent(ConnId(7), 1), Received(ConnId(7), "text"), Ticked()):
        assert board.handle(0, fact) == []
    conn = board.reserve()
    board.handle(0, Accepted(conn, "192.0.2.1"))
    assert [type(order) for order in board.handle(0, StopRequested())][1:2] == [Abort]
    assert board.handle(1, StopRequested()) == []


# --- the network between ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 7, 100])
def test_whatever_the_pieces(cut: int) -> None:
    world = World(cut=cut)
    name = world.ask("/stream", body=b"a body", headers=(("X-A", "1"),))
    world.run()
    body = b"".join(fact.data for _, fact in world.told if isinstance(fact, BodyReceived))
    assert body == b"data: a\n\ndata: b\n\n"
    assert all(len(fact.data) <= cut for _, fact in world.told if isinstance(fact, BodyReceived))
    assert world.told[-1] == (60, BodyEnded(name))
    (peer,) = world.board.fetches("/stream")
    assert isinstance(peer, Teller)
    assert peer.asked_for is not None
    assert peer.asked_for[3] == b"a body"
    world.over()


def test_a_way_has_a_length_of_its_own() -> None:
    world = World(latency_us=7 * MS)
    world.ask("/stream")
    world.net.perform(world.asking, Connect(ConnId(5), HOST, 443))
    world.run()
    told = [(now, type(fact).__name__) for now, fact in world.told]
    assert sorted(told[:2]) == [(14, "Connected"), (14, "ResponseStarted")]
    assert told[2:] == [(34, "BodyReceived"), (54, "BodyReceived"), (74, "BodyEnded")]


def test_who_wants_tls_wants_tls() -> None:
    world = World(tls=True)
    net, node = world.net, world.asking
    net.perform(node, Connect(ConnId(5), HOST, 443))
    net.perform(node, Connect(ConnId(6), HOST, 443, tls=True))
    net.perform(node, Request(RequestId(7), "GET", f"http://{HOST}:443/whole"))
    world.run(ms=1)
    assert [(type(fact).__name__, getattr(fact, "fault", None)) for _, fact in world.told] == [
        ("ConnectFailed", Fault.TLS), ("Connected", None), ("RequestFailed", Fault.TLS)
    ]  # fmt: skip


def test_a_pause_holds_an_answer() -> None:
    world = World()
    name = world.ask("/stream")
    world.asker.answers[ResponseStarted] = [Pause(name)]
    world.run()
    assert [type(fact) for _, fact in world.told] == [ResponseStarted]
    world.asker.answers[BodyReceived] = [Pause(name)]
    world.net.perform(world.asking, Resume(name))
    world.run()
    assert [type(fact) for _, fact in world.told] == [ResponseStarted, BodyReceived]
    world.net.perform(world.asking, Resume(name))
    world.run()
    assert [type(fact) for _, fact in world.told] == [ResponseStarted, BodyReceived, BodyReceived, BodyEnded]
    world.over()


def test_an_answer_that_is_too_long_is_cut_off() -> None:
    for most, last in ((9_999, Fault.TOO_LARGE), (10_000, None)):
        world = World()
        world.ask("/large", max_body=most)
        world.run()
        assert getattr(world.told[-1][1], "fault", None) is last
        body = b"".join(fact.data for _, fact in world.told if isinstance(fact, BodyReceived))
        assert len(body) == (9_000 if last else 10_000)
        world.over()


SECRETS = {"provider": ("Authorization", "Bearer k"), "voices": ("xi-api-key", "v"), "signing": ("", "s")}


def test_keys_are_put_in_on_the_way() -> None:
    world = World()
    world.asking.secrets = SECRETS
    world.ask("/whole", body=b"signed", auth="voices", sign="signing")
    world.ask("/whole", 2, auth="nobody's")
    world.ask("/whole", 3, sign="nobody's")
    world.run()
    (peer,) = world.board.fetches("/whole")
    assert isinstance(peer, Teller)
    assert peer.asked_for is not None
    assert peer.asked_for[2]["xi-api-key"] == "v"
    made = hmac.new(b"s", b"signed", hashlib.sha256).hexdigest()
    assert peer.asked_for[2]["x-patter-signature"] == made
    assert [fact for _, fact in world.told if isinstance(fact, RequestFailed)] == [
        RequestFailed(RequestId(2), Fault.OTHER), RequestFailed(RequestId(3), Fault.OTHER)
    ]  # fmt: skip
    world.over()


def test_without_a_table_a_name_stands_for_itself() -> None:
    world = World()
    world.ask("/whole", auth="voices", sign="signing")
    world.run()
    (peer,) = world.board.fetches("/whole")
    assert isinstance(peer, Teller)
    assert peer.asked_for is not None
    assert peer.asked_for[2]["authorization"] == "<voices>"
    assert peer.asked_for[2]["x-patter-signature"] == hmac.new(b"signing", b"", hashlib.sha256).hexdigest()


@pytest.mark.parametrize("stalled", [False, True])
def test_a_websocket_gets_its_key_on_the_way(stalled: bool) -> None:
    world = World()
    net, node, conn = world.net, world.asking, ConnId(5)
    node.secrets = SECRETS
    wire = ClientConnection(0, HOST, "/echo", [("X-A", "1")], seed=b"seed")
    net.perform(node, Connect(conn, HOST, 443, tls=True))
    if stalled:
        net.stall(node, conn)
    asked = wire.data_to_send()
    net.perform(node, Send(conn, asked, ack=True, auth="provider"))
    if stalled:
        net.unstall(node, conn)
    world.run()
    (peer,) = world.board.links("/echo")
    assert isinstance(peer, Talker)
    assert (peer.headers["authorization"], peer.headers["x-a"]) == ("Bearer k", "1")
    facts = [fact for _, fact in world.told]
    assert Sent(conn, len(asked)) in facts  # the key is not counted: it is no order's
    (answer,) = [fact for fact in facts if isinstance(fact, Received)]
    assert isinstance(answer.data, bytes)
    assert wire.receive(0, answer.data) == [Opened()]


def test_a_websocket_without_its_key_is_not_asked_for() -> None:
    world = World()
    world.asking.secrets = {}
    world.net.perform(world.asking, Connect(ConnId(5), HOST, 443))
    world.net.perform(world.asking, Send(ConnId(5), b"GET /echo HTTP/1.1\r\n\r\n", auth="provider"))
    world.run()
    assert [type(fact) for _, fact in world.told] == [Connected, Closed]
    assert world.node.told(ProviderAsked) == world.node.told(ProviderOdd) == []


def test_pieces_held_by_a_pause_stay_in_order() -> None:
    world = World(cut=3)
    net, node, conn = world.net, world.asking, ConnId(5)
    net.perform(node, Connect(conn, HOST, 443))
    world.run()
    world.asker.answers[Received] = [Pause(conn)]
    wanted = HttpDownload("GET", "/whole", [("Host", HOST)], b"", max_body=1).data
    net.perform(node, Send(conn, wanted))
    world.run()
    first = [fact for _, fact in world.told if isinstance(fact, Received)]
    assert [fact.data for fact in first] == [b"HTT"]
    net.perform(node, Resume(conn))
    net.perform(node, Send(conn, wanted))
    world.run()
    data = b"".join(fact.data for _, fact in world.told if isinstance(fact, Received))  # type: ignore[misc]
    assert data.count(b"HTTP/1.1 201") == 2
    assert data.endswith(b"onetwo")


def test_a_generator_holds_while_it_is_paused() -> None:
    world = World()
    world.asking.handlers["count"] = lambda: iter_of(3)
    task = TaskId(8)
    world.asker.answers[Yielded] = [Pause(task)]
    world.net.perform(world.asking, Invoke(task, Lane.LOOP, "count"))
    world.run()
    assert [type(fact) for _, fact in world.told] == [Yielded]
    world.net.perform(world.asking, Resume(task))
    world.run()
    assert [type(fact) for _, fact in world.told] == [Yielded, Yielded, Yielded, Returned]
    assert world.asking.shut == {}


def iter_of(most: int) -> Iterator[int]:
    yield from range(most)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://nowhere.test/", Fault.REFUSED), ("gopher://x/", Fault.OTHER), ("http://[", Fault.OTHER),
        ("", Fault.OTHER), (f"http://{HOST}/", Fault.REFUSED),
    ],
)  # fmt: skip
def test_a_request_to_nowhere(url: str, fault: Fault) -> None:
    world = World()
    world.net.perform(world.asking, Request(RequestId(1), "GET", url))
    world.run()
    assert world.told == [(0, RequestFailed(RequestId(1), fault))]


def test_a_request_that_cannot_be_written() -> None:
    world = World()
    world.ask("/whole", headers=(("Bad Name", "x"),))
    world.run()
    assert world.told == [(0, RequestFailed(RequestId(1), Fault.OTHER))]


class Garbled:
    """A server that answers everything with the same bytes, and closes."""

    deadline = None

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self._names = 0

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    def handle(self, now: int, fact: Fact) -> list[Order]:
        return [Send(fact.conn, self.answer), Close(fact.conn)] if isinstance(fact, Received) else []


@pytest.mark.parametrize(
    ("answer", "started", "last"),
    [
        (b"", False, Fault.BAD_REPLY),
        (b"220 mail.example ESMTP\r\n\r\n", False, Fault.BAD_REPLY),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", False, Fault.BAD_REPLY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", True, Fault.BAD_REPLY),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", True, Fault.BAD_REPLY),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", True, Fault.BAD_REPLY),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end", True, None),
    ],
)
def test_odd_answers(answer: bytes, started: bool, last: Fault | None) -> None:
    net = VirtualNetwork()
    asker = Asker()
    asking = net.add("asker", asker)
    net.place("odd.test", 80, net.add("odd", Garbled(answer)))
    net.perform(asking, Request(RequestId(1), "GET", "http://odd.test/"))
    net.run()
    facts = [fact for _, fact in asker.facts]
    assert any(isinstance(fact, ResponseStarted) for fact in facts) is started
    assert (facts[-1] == BodyEnded(RequestId(1))) if last is None else (facts[-1] == RequestFailed(RequestId(1), last))
    assert sum(isinstance(fact, BodyEnded | RequestFailed) for fact in facts) == 1
