"""Upgrade, messages and the closing handshake; and one test for each known trap of h11 and wsproto."""

from __future__ import annotations

import json

import pytest

from patter_core.errors import LocalProtocolError
from patter_core.wire import (
    Binary,
    ClientConnection,
    Done,
    HttpRequest,
    Limits,
    Opened,
    Phase,
    Pong,
    Refused,
    ServerConnection,
    Text,
    Transport,
    UpgradeRequest,
)
from patter_core.wire.endpoint import STATES
from patter_core.wire.frames import Masks, encode_close, encode_frame, xor

LIMITS = Limits(message_bytes=1000)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3, with its answer below
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\1\2\3\4"


def upgrade(*extra: str, method: str = "GET", version: str = "13", key: str = KEY, host: str = "h") -> bytes:
    lines = [f"{method} /ws/1?x=2 HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: keep-alive, Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}", *extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(first: int, payload: bytes = b"") -> bytes:
    return encode_frame(first, payload, MASK)


def opened(limits: Limits = LIMITS) -> ServerConnection:
    wire = ServerConnection(0, limits)
    wire.receive(0, upgrade())
    assert wire.accept(0) == [Opened()]
    wire.data_to_send()
    return wire


HI = frame(0x81, b"hi")
BYE = frame(0x88, b"\x03\xe8bye")


# --- the handshake


def test_upgrade_is_offered_and_accepted() -> None:
    wire = ServerConnection(0, LIMITS)
    (request,) = wire.receive(0, upgrade("X-Sig: s", "Sec-WebSocket-Extensions: permessage-deflate"))
    assert isinstance(request, UpgradeRequest)
    assert (request.target, request.path, request.query) == ("/ws/1?x=2", "/ws/1", "x=2")
    assert request.header("X-Sig") == "s"
    assert (wire.phase, wire.deadline) == (Phase.UPGRADING, None)
    assert wire.accept(0) == [Opened()]
    head = wire.data_to_send().decode()
    assert head.startswith("HTTP/1.1 101 ")
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in head
    assert "Extensions" not in head
    assert "Protocol:" not in head
    assert (wire.phase, wire.deadline, wire.transport) == (Phase.WEBSOCKET, None, Transport.OPEN)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (upgrade(version="8"), 426, "unsupported_websocket_version"),
        (upgrade(version="13, 8"), 426, "unsupported_websocket_version"),
        (upgrade().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426, "unsupported_websocket_version"),
        (upgrade(method="POST"), 405, "method_not_allowed"),
        (upgrade("Content-Length: 3") + b"abc", 400, "bad_upgrade"),
        (upgrade("Transfer-Encoding: chunked"), 400, "bad_upgrade"),
        (upgrade(key="short"), 400, "bad_upgrade"),
        (upgrade(key="\xe9" * 24), 400, "bad_upgrade"),
        (upgrade().replace(b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n", b""), 400, "bad_upgrade"),
        (upgrade().replace(b"keep-alive, Upgrade", b"keep-alive"), 400, "bad_upgrade"),
        (upgrade().replace(b"Host: h\r\n", b""), 400, "bad_request"),
    ],
)
def test_a_bad_upgrade_is_refused_by_its_code(data: bytes, status: int, code: str) -> None:
    wire = ServerConnection(0, LIMITS)
    assert wire.receive(0, data) == [Refused(status, code)]
    sent = wire.data_to_send()
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    assert (b"Sec-WebSocket-Version: 13" in sent) is (status == 426)
    assert (b"Allow: GET" in sent) is (status == 405)
    assert json.loads(sent.partition(b"\r\n\r\n")[2]) == {"error": code}
    assert wire.transport is Transport.FINISH


def test_other_upgrades_are_ordinary_requests() -> None:
    for data in (upgrade().replace(b"websocket", b"h2c"), upgrade().replace(b"HTTP/1.1", b"HTTP/1.0")):
        (request,) = ServerConnection(0, LIMITS).receive(0, data)
        assert isinstance(request, HttpRequest)


def test_an_upgrade_may_be_rejected_and_the_peer_can_read_it() -> None:
    wire = ServerConnection(0, LIMITS)
    wire.receive(0, upgrade() + HI)
    assert wire.reject(5, 429, [("Retry-After", "3")], b"busy") == []
    sent = wire.data_to_send()
    assert sent.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 3\r\n" in sent
    assert b"close" in sent
    assert sent.endswith(b"busy")
    assert (wire.transport, wire.deadline) == (Transport.FINISH, 5 + LIMITS.linger_us)
    assert wire.receive(6, HI) == []


def test_eof_before_the_answer_does_not_surprise_the_application() -> None:
    wire = ServerConnection(0, LIMITS)
    wire.receive(0, upgrade() + HI)
    assert wire.receive(0, b"") == []
    assert wire.accept(0) == [Opened(), Text("hi"), Done(1006, "", False)]
    assert wire.transport is Transport.CLOSE


# --- messages


def test_messages_both_ways() -> None:
    wire = opened()
    data = HI + frame(0x82, b"\xff") + frame(0x8A, b"pong") + frame(0x89, b"ping")
    assert wire.receive(0, data) == [Text("hi"), Binary(b"\xff"), Pong(b"pong")]
    wire.send("h\xe9")
    wire.send(b"\0")
    wire.ping(b"p")
    assert wire.data_to_send() == b"\x8a\x04ping\x81\x03h\xc3\xa9\x82\x01\0\x89\x01p"
    with pytest.raises(LocalProtocolError):
        wire.ping(b"x" * 126)
    with pytest.raises(LocalProtocolError):
        wire.accept(0)
    with pytest.raises(LocalProtocolError):
        wire.respond(0, 200)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_sent_lengths_are_the_shortest(size: int) -> None:
    wire = opened()
    wire.send("x" * size)
    data = wire.data_to_send()
    assert len(data) == size + (2 if size < 126 else 4 if size < 65536 else 10)
    client = ClientConnection(0, "h", "/", seed=b"s")
    client.receive(0, _answer(client))
    assert client.receive(0, data) == [Text("x" * size)]


def test_a_lone_surrogate_from_a_provider_does_not_crash_us() -> None:
    wire = opened()
    wire.send("a\ud800b")
    assert wire.data_to_send() == b"\x81\x03a?b"


@pytest.mark.parametrize("fragments", [1, 2, 7])
@pytest.mark.parametrize("opcode", [1, 2])
def test_message_limit_at_n_and_above_and_at_n_again(fragments: int, opcode: int) -> None:
    def message(size: int) -> bytes:
        sizes = [size // fragments] * (fragments - 1)
        sizes.append(size - sum(sizes))
        return b"".join(
            frame((0x80 if i == fragments - 1 else 0) | (0 if i else opcode), b"x" * n) for i, n in enumerate(sizes)
        )

    wire = opened()
    for _ in range(2):
        (event,) = wire.receive(0, message(1000))
        assert isinstance(event, Text | Binary)
        assert len(event.data) == 1000
    assert wire.receive(0, message(1001)) == [Done(1009, "message_too_big", False)]
    assert wire.data_to_send() == encode_frame(0x88, encode_close(1009, ""))


def test_a_ping_between_fragments_does_not_count() -> None:
    wire = opened()
    data = frame(0x01, b"x" * 999) + frame(0x89, b"p" * 125) + frame(0x80, b"y")
    assert wire.receive(0, data) == [Text("x" * 999 + "y")]


# --- the end


def test_the_peer_closes() -> None:
    wire = opened()
    assert wire.receive(0, HI + BYE + HI) == [Text("hi"), Done(1000, "bye", True)]
    wire.send("last words")  # the application answers "hi" before it reads Done
    assert wire.data_to_send() == b"\x81\x0alast words\x88\x02\x03\xe8"
    wire.send("too late")
    wire.ping()
    wire.close(0)
    assert wire.data_to_send() == b""
    assert (wire.transport, wire.deadline) == (Transport.CLOSE, LIMITS.flush_timeout_us)
    assert wire.receive(1, HI) == []
    assert wire.receive(1, b"") == []
    assert wire.tick(LIMITS.flush_timeout_us) == []
    assert (wire.phase, wire.transport, wire.deadline) == (Phase.DONE, Transport.ABORT, None)


def test_we_close_and_nothing_but_done_follows() -> None:
    wire = opened()
    wire.close(7, 1001, "Server shutting down")
    assert wire.data_to_send() == b"\x88\x16\x03\xe9Server shutting down"
    assert (wire.phase, wire.deadline) == (Phase.CLOSING, 7 + LIMITS.close_timeout_us)
    wire.close(8)
    assert wire.receive(9, HI + frame(0x89, b"p") + frame(0x8A, b"p")) == []
    with pytest.raises(LocalProtocolError):
        wire.send("x")
    assert wire.receive(10, frame(0x88, b"\x03\xe9")) == [Done(1001, "", True)]
    assert wire.data_to_send() == b""
    assert wire.transport is Transport.CLOSE


def test_a_peer_that_does_not_answer_our_close_is_dropped() -> None:
    wire = opened()
    wire.close(7)
    at = 7 + LIMITS.close_timeout_us
    assert wire.tick(at - 1) == []
    assert wire.deadline == at
    assert wire.tick(at) == [Done(1006, "close_timeout", False)]
    assert (wire.transport, wire.deadline) == (Transport.ABORT, None)
    assert wire.receive(at + 1, BYE) == []
    assert wire.receive(at + 1, b"") == []


def test_an_answer_at_the_deadline_is_late() -> None:
    wire = opened()
    wire.close(0)
    assert wire.receive(LIMITS.close_timeout_us, BYE) == [Done(1006, "close_timeout", False)]


def test_wrong_frames_while_we_close_end_it_without_another_close_frame() -> None:
    wire = opened()
    wire.close(0)
    wire.data_to_send()
    assert wire.receive(0, b"\xff\xff") == [Done(1002, "protocol_error", False)]
    assert wire.data_to_send() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 5000])
def test_codes_that_may_not_be_sent(code: int) -> None:
    wire = opened()
    with pytest.raises(LocalProtocolError):
        wire.close(0, code)
    assert wire.phase is Phase.WEBSOCKET


def test_a_long_reason_is_cut_between_characters() -> None:
    assert encode_close(1000, "\u20ac" * 60) == b"\x03\xe8" + ("\u20ac" * 41).encode()
    assert encode_close(1000, "xy" + "\u20ac" * 60) == b"\x03\xe8xy" + ("\u20ac" * 40).encode()
    assert encode_close(1000, "x" * 123) == b"\x03\xe8" + b"x" * 123
    assert encode_close(1005, "x") == b""


def test_a_peer_with_wrong_frames_gets_time_to_read_why() -> None:
    wire = opened()
    assert wire.receive(3, frame(0xC1, b"x")) == [Done(1002, "protocol_error", False)]
    assert (wire.transport, wire.deadline) == (Transport.FINISH, 3 + LIMITS.close_timeout_us)
    assert wire.tick(3 + LIMITS.close_timeout_us) == []
    assert wire.transport is Transport.ABORT


# --- the traps, by their numbers in the project's notes on h11 0.16 and wsproto 1.3


def test_trap_1_frames_glued_to_the_upgrade_are_not_lost() -> None:
    wire = ServerConnection(0, LIMITS)
    assert len(wire.receive(0, upgrade() + HI + HI[:3])) == 1
    assert wire.accept(0) == [Opened(), Text("hi")]
    assert wire.receive(0, HI[3:]) == [Text("hi")]


@pytest.mark.parametrize(
    "data",
    [
        upgrade(host="\xff"),
        upgrade(host="xn--a"),
        upgrade("Sec-WebSocket-Protocol: \xe9"),
        upgrade("Sec-WebSocket-Extensions: \xe9"),
        upgrade().replace(b"keep-alive, Upgrade", b"Upgrade, \xff"),
    ],
)
def test_trap_2_odd_header_values_are_a_400_and_not_a_unicode_error(data: bytes) -> None:
    wire = ServerConnection(0, LIMITS)
    assert wire.receive(0, data) == [Refused(400, "bad_upgrade")]


def test_trap_3_a_huge_frame_is_refused_by_its_head() -> None:
    wire = opened()
    assert wire.receive(0, b"\x82\xff" + (1 << 30).to_bytes(8, "big") + MASK) == [Done(1009, "message_too_big", False)]


def test_trap_4_nothing_is_read_after_a_parse_failure() -> None:
    wire = opened()
    assert wire.receive(0, b"\x83\x80" + MASK) == [Done(1002, "protocol_error", False)]
    assert wire.receive(0, HI + BYE) == []
    assert wire.data_to_send() == encode_frame(0x88, b"\x03\xea")


def test_trap_5_a_ping_while_we_close_is_not_answered() -> None:
    wire = opened()
    wire.close(0)
    wire.data_to_send()
    assert wire.receive(0, frame(0x89, b"p")) == []
    assert wire.data_to_send() == b""


def test_trap_6_bytes_after_the_end_do_not_raise() -> None:
    wire = opened()
    wire.close(0)
    assert wire.receive(0, BYE) == [Done(1000, "bye", True)]
    assert wire.receive(0, HI) == []


def test_trap_7_data_behind_a_close_frame_is_dropped() -> None:
    assert opened().receive(0, BYE + HI + frame(0x89)) == [Done(1000, "bye", True)]


def test_trap_8_a_post_on_the_same_port_is_a_request() -> None:
    (request,) = ServerConnection(0, LIMITS).receive(0, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
    assert isinstance(request, HttpRequest)


@pytest.mark.parametrize("tail", [b"", HI[:4], frame(0x01, b"x")])
def test_trap_9_eof_without_a_close_frame_is_1006_and_nothing_is_sent(tail: bytes) -> None:
    wire = opened()
    if tail:
        assert wire.receive(0, tail) == []
    assert wire.receive(0, b"") == [Done(1006, "", False)]
    assert wire.receive(0, b"") == []
    assert wire.data_to_send() == b""
    assert wire.transport is Transport.CLOSE


@pytest.mark.parametrize("data", [b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", frame(0x81, b"ab\xff\xff")])
def test_trap_10_what_is_reported_does_not_depend_on_how_the_bytes_were_cut(data: bytes) -> None:
    def story(cut: int) -> tuple[object, bytes]:
        wire = opened() if data[0] == 0x81 else ServerConnection(0, LIMITS)
        events = [event for i in range(0, len(data), cut) for event in wire.receive(0, data[i : i + cut])]
        return events, wire.data_to_send()

    assert story(1) == story(len(data)) == story(5)


def test_trap_11_deeply_nested_json_is_just_text_here() -> None:
    wire = opened(Limits())
    assert wire.receive(0, frame(0x81, b"[" * 100_000)) == [Text("[" * 100_000)]


# --- masks, and the table


def test_masks_are_fresh_reproducible_and_differ_by_seed() -> None:
    one, again, other = Masks(b"one"), Masks(b"one"), Masks(b"other")
    taken = [one.take() for _ in range(1000)]
    assert all(len(mask) == 4 for mask in taken)
    assert len(set(taken)) == 1000
    assert taken == [again.take() for _ in range(1000)]
    assert taken != [other.take() for _ in range(1000)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 371, 372, 1023])
def test_xor_is_xor(size: int) -> None:
    data = bytes(i * 7 & 255 for i in range(size))
    assert xor(data, MASK) == bytes(b ^ MASK[i % 4] for i, b in enumerate(data))


def test_the_table_of_states() -> None:
    for state, (phase, transport, following) in STATES.items():
        assert state not in following
        assert (phase is Phase.DONE) == (transport is Transport.ABORT) == (not following)
        if transport is not Transport.OPEN:
            # Once the socket is on its way out there is no way back.
            assert all(STATES[then][1] is not Transport.OPEN for then in following)


def _answer(client: ClientConnection) -> bytes:
    server = ServerConnection(0)
    server.receive(0, client.data_to_send())
    server.accept(0)
    return server.data_to_send()
