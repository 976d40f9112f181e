"""The links to providers, against our own server connection, in virtual time and without a socket."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from patter_core.call.words import LinkClosed, LinkOpened, LinkSaid, OpenLink
from patter_core.contract import (
    Abort,
    Close,
    Closed,
    Connect,
    Connected,
    ConnectFailed,
    ConnId,
    Fault,
    InputEnded,
    Order,
    Received,
    Send,
    Sent,
)
from patter_core.links import Links
from patter_core.timers import Timers
from patter_core.wire.events import Text, UpgradeRequest
from patter_core.wire.server import ServerConnection

S = 1_000_000


class Kit:
    """Links, and one provider at a time."""

    def __init__(self) -> None:
        self.out: list[Order] = []
        self.timers: Timers[Any] = Timers()
        self.links = Links(self.out, count(1).__next__, self.timers, b"s" * 64)
        self.peer = ServerConnection(0)
        self.now = 0
        self.told: list[Any] = []
        self.heard: list[str] = []
        self.upgrade: UpgradeRequest | None = None

    def open(self, url: str = "wss://voice.example.com/v1?model=a%20b", **more: Any) -> ConnId:
        return self.links.open(self.now, "call", OpenLink("rt:1", url, **more))

    def feed(self, fact: Any) -> None:
        self.told += [what for owner, what in self.links.handle(self.now, fact) if owner == "call"]
        self.move()

    def move(self) -> None:
        """What was sent goes to the peer, what it answers comes back."""
        while self.out:
            order = self.out.pop(0)
            if not isinstance(order, Send):
                self.last = order
                continue
            assert isinstance(order.data, bytes)
            for event in self.peer.receive(self.now, order.data):
                if isinstance(event, UpgradeRequest):
                    self.upgrade = event
                    self.peer.accept(self.now)
                elif isinstance(event, Text):
                    self.heard.append(event.data)
            if order.ack:
                self.feed(Sent(order.conn, 10**9))
            if data := self.peer.data_to_send():
                self.feed(Received(order.conn, data))

    def say(self, conn: ConnId, text: str) -> None:
        self.peer.send(text)
        self.feed(Received(conn, self.peer.data_to_send()))

    def pass_time(self, seconds: float) -> None:
        until = self.now + round(seconds * S)
        while (at := self.timers.deadline) is not None and at <= until:
            self.now = max(self.now, at)
            key = self.timers.due(self.now)
            assert key is not None
            self.told += [what for _, what in self.links.due(self.now, key[1])]
            self.move()
        self.now = until


def opened() -> tuple[Kit, ConnId]:
    kit = Kit()
    conn = kit.open()
    kit.out.clear()
    kit.feed(Connected(conn))
    assert kit.told == [LinkOpened("rt:1")]
    return kit, conn


def test_it_dials_upgrades_and_talks() -> None:
    kit = Kit()
    conn = kit.open(headers=(("OpenAI-Beta", "realtime=v1"),), auth="openai")
    assert kit.out == [Connect(conn, "voice.example.com", 443, True)]
    kit.out.clear()
    told = kit.links.handle(0, Connected(conn))
    assert told == []
    (request,) = kit.out
    assert isinstance(request, Send)
    assert request.auth == "openai"
    kit.move()
    assert kit.upgrade is not None
    assert kit.upgrade.target == "/v1?model=a%20b"
    assert kit.upgrade.header("host") == "voice.example.com"
    assert kit.upgrade.header("openai-beta") == "realtime=v1"
    assert kit.told == [LinkOpened("rt:1")]
    kit.links.say(0, conn, '{"type":"hello"}')
    kit.move()
    assert kit.heard == ['{"type":"hello"}']
    kit.say(conn, "hi")
    assert kit.told[-1] == LinkSaid("rt:1", "hi")


@pytest.mark.parametrize("url", ["https://a.example", "ws://", "ws://a:b@c/", "ws://h:99999/", "nonsense", "ws://[::1"])
def test_what_is_no_websocket_url_closes_at_once(url: str) -> None:
    kit = Kit()
    kit.open(url)
    assert kit.out == []
    kit.pass_time(1)
    assert [type(one) for one in kit.told] == [LinkClosed]
    assert len(kit.links) == 0


def test_ports_and_plain() -> None:
    kit = Kit()
    conn = kit.open("ws://localhost:9000")
    assert kit.out == [Connect(conn, "localhost", 9000, False)]


def test_not_reached() -> None:
    kit = Kit()
    conn = kit.open()
    kit.out.clear()
    kit.feed(ConnectFailed(conn, Fault.REFUSED))
    assert kit.told == [LinkClosed("rt:1", 1006, "not reached: refused", 0, Fault.REFUSED)]
    assert len(kit.links) == 0


def test_not_reached_in_time() -> None:
    kit = Kit()
    conn = kit.open()
    kit.out.clear()
    kit.pass_time(9.9)
    assert kit.told == []
    kit.pass_time(0.2)
    assert kit.told[0].fault is Fault.TIMEOUT
    assert kit.last == Abort(conn)
    kit.feed(ConnectFailed(conn, Fault.CANCELLED))
    assert len(kit.told) == 1
    assert len(kit.links) == 0


def test_refused_says_what_the_provider_said() -> None:
    kit = Kit()
    conn = kit.open()
    kit.out.clear()
    kit.links.handle(0, Connected(conn))
    kit.out.clear()
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 11\r\n\r\nno such key"
    kit.feed(Received(conn, answer))
    assert kit.told == [LinkClosed("rt:1", 1006, "no such key", 401)]
    kit.feed(Closed(conn))
    assert len(kit.told) == 1
    assert len(kit.links) == 0


def test_the_provider_says_goodbye() -> None:
    kit, conn = opened()
    kit.peer.close(0, 1001, "going away")
    kit.feed(Received(conn, kit.peer.data_to_send()))
    assert kit.told[-1] == LinkClosed("rt:1", 1001, "going away")
    kit.feed(Closed(conn))
    assert len(kit.told) == 2
    assert len(kit.links) == 0


@pytest.mark.parametrize("fact", [InputEnded, Closed])
def test_the_provider_vanishes(fact: Any) -> None:
    kit, conn = opened()
    kit.feed(fact(conn))
    assert kit.told[-1].name == "rt:1"
    assert kit.told[-1].code == 1006
    if fact is InputEnded:
        kit.feed(Closed(conn))
    assert len(kit.told) == 2
    assert len(kit.links) == 0


def test_we_say_goodbye_and_hear_no_more() -> None:
    kit, conn = opened()
    kit.links.close(0, conn, 1000)
    kit.peer.send("too late")
    kit.move()
    kit.feed(Closed(conn)) if conn in kit.links else None
    assert kit.told == [LinkOpened("rt:1")]


def test_we_give_up_while_dialling() -> None:
    kit = Kit()
    conn = kit.open()
    kit.out.clear()
    kit.links.close(0, conn, 1000)
    assert kit.out == [Abort(conn)]
    kit.out.clear()
    kit.feed(Connected(conn))  # it was on its way
    kit.feed(Closed(conn))
    assert kit.told == []
    assert kit.out == []
    assert len(kit.links) == 0


def test_a_quiet_provider_is_asked_whether_it_lives() -> None:
    kit, conn = opened()
    kit.pass_time(65)  # our own server answers pings
    assert kit.told == [LinkOpened("rt:1")]
    kit.peer = ServerConnection(0)  # ... and one that vanished does not
    kit.peer.receive = lambda now, data: []  # type: ignore[method-assign]
    kit.pass_time(45)
    assert kit.told[-1].reason == "it does not answer pings"
    assert kit.last == Abort(conn)


def test_a_provider_that_reads_nothing_is_let_go() -> None:
    kit, conn = opened()
    kit.out.clear()
    size = 0
    while size < (1 << 20):
        kit.links.say(0, conn, "x" * 60_000)
        size += 60_000
    kit.out.clear()
    kit.pass_time(0.1)
    assert kit.told[-1].fault is Fault.TIMEOUT
    assert kit.last == Abort(conn)


def test_keys_differ_between_links() -> None:
    kit = Kit()
    keys = set()
    for _ in range(3):
        conn = kit.open()
        kit.out.clear()
        kit.links.handle(0, Connected(conn))
        (request,) = kit.out
        assert isinstance(request, Send)
        assert isinstance(request.data, bytes)
        keys.add(next(line for line in request.data.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")))
        kit.out.clear()
    assert len(keys) == 3


def test_abandoned_all_are_dropped() -> None:
    kit, conn = opened()
    kit.links.abandon()
    assert Abort(conn) in kit.out
    kit.out.clear()
    kit.feed(Closed(conn))
    assert kit.told == [LinkOpened("rt:1")]
    assert len(kit.links) == 0


def test_close_finishes_by_itself() -> None:
    kit, conn = opened()
    kit.links.close(0, conn, 1000)
    kit.out.clear()  # the provider never answers the goodbye
    kit.pass_time(10)
    assert any(isinstance(order, Close | Abort) for order in [kit.last])
