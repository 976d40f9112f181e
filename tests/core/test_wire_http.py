"""The server's HTTP: requests, answers, limits at n and n + 1, deadlines at the microsecond."""

from __future__ import annotations

import json

import pytest

from patter_core.errors import ConfigError, LocalProtocolError
from patter_core.wire import (
    Done,
    HttpClient,
    HttpRequest,
    HttpResponse,
    Limits,
    Phase,
    Refused,
    ServerConnection,
    Transport,
    sse_comment,
    sse_frame,
)

LIMITS = Limits(header_bytes=200, body_bytes=100, pipeline_bytes=300, high_water=50)
GET = b"GET /a?b=c%20d HTTP/1.1\r\nHost: h\r\n\r\n"


def server(limits: Limits = LIMITS) -> ServerConnection:
    return ServerConnection(0, limits)


def post(body: bytes, *extra: str) -> bytes:
    head = ["POST /hook HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *extra]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def chunked(*chunks: bytes) -> bytes:
    out = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    return out + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def answer(data: bytes, method: str = "GET") -> HttpResponse:
    """Read our own bytes back with the client's machine."""
    client = HttpClient(0)
    client.request(0, method, "/")
    events = client.receive(0, data)
    if not events:
        events = client.receive(0, b"")
    assert isinstance(events[0], HttpResponse), events
    return events[0]


def refused(wire: ServerConnection, events: list[object]) -> tuple[int, str]:
    assert len(events) == 1
    assert isinstance(events[0], Refused), events
    response = answer(wire.data_to_send())
    assert response.status == events[0].status
    assert json.loads(response.body) == {"error": events[0].code}
    assert response.header("connection") == "close"
    assert wire.phase is Phase.CLOSING
    return events[0].status, events[0].code


# --- requests and answers -------------------------------------------------------------------------------


def test_request_has_its_parts_and_is_answered_and_the_connection_goes_on() -> None:
    wire = server()
    (request,) = wire.receive(0, GET)
    assert request == HttpRequest("GET", "/a?b=c%20d", "/a", "b=c%20d", (("host", "h"),), b"", "1.1")
    assert wire.deadline is None
    assert wire.respond(5, 200, [("X-A", "1")], b"hello") == []
    response = answer(wire.data_to_send())
    assert (response.status, response.body) == (200, b"hello")
    assert response.header("content-length") == "5"
    assert response.header("server") == "patter"
    assert response.header("x-a") == "1"
    assert response.header("connection") is None
    assert wire.transport is Transport.OPEN
    assert len(wire.receive(6, GET)) == 1


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a%2Fb?x=1?y", "/a%2Fb", "x=1?y"),
        ("http://h:80/p?q", "/p", "q"),
        ("http://h", "/", ""),
        ("*", "*", ""),
        ("/p#f", "/p", ""),
        ("/r?u=http://x/y", "/r", "u=http://x/y"),
    ],
)
def test_target_is_split_but_not_decoded(target: str, path: str, query: str) -> None:
    (request,) = server().receive(0, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert isinstance(request, HttpRequest)
    assert (request.target, request.path, request.query) == (target, path, query)


def test_repeated_header_is_joined_and_names_are_lower_case() -> None:
    (request,) = server().receive(0, b"GET / HTTP/1.1\r\nHost: h\r\nX-Sig: a\r\nx-sig: \xe9\r\n\r\n")
    assert isinstance(request, HttpRequest)
    assert request.header("X-SIG") == "a, \xe9"
    assert request.header("nothing") is None


def test_pipelined_requests_wait_behind_the_unanswered_one() -> None:
    wire = server()
    events = wire.receive(0, post(b"one") + post(b"two") + GET)
    seen = []
    while events:
        (request,) = events
        assert isinstance(request, HttpRequest)
        seen.append(request.body)
        assert wire.tick(10**12) == []
        events = wire.respond(0, 200, (), request.body)
    assert seen == [b"one", b"two", b""]
    assert wire.data_to_send().count(b"HTTP/1.1 200 OK") == 3


def test_a_flood_behind_an_unanswered_request_asks_for_a_pause() -> None:
    wire = server()
    wire.receive(0, GET)
    wire.receive(0, b"x" * 300)
    assert wire.wants_input
    wire.receive(0, b"x")
    assert not wire.wants_input
    (verdict,) = wire.respond(0, 204)
    assert verdict == Refused(431, "headers_too_large")
    assert wire.wants_input


def test_connection_close_and_http_1_0_close_after_the_answer() -> None:
    for head in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"):
        wire = server()
        (request,) = wire.receive(0, head)
        assert wire.respond(0, 200, (), b"x") == []
        assert answer(wire.data_to_send()).header("connection") == "close"
        assert wire.transport is Transport.CLOSE
        assert wire.deadline == LIMITS.flush_timeout_us
        assert wire.tick(LIMITS.flush_timeout_us) == []
        assert (wire.transport, wire.phase, wire.deadline) == (Transport.ABORT, Phase.DONE, None)
    assert isinstance(request, HttpRequest)


def test_our_own_connection_close_header_closes() -> None:
    wire = server()
    wire.receive(0, GET)
    wire.respond(0, 200, [("Connection", "close")])
    assert wire.transport is Transport.CLOSE


def test_head_has_the_length_but_not_the_body() -> None:
    wire = server()
    wire.receive(0, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
    wire.respond(0, 200, (), b"12345")
    data = wire.data_to_send()
    assert b"Content-Length: 5" in data
    assert data.endswith(b"\r\n\r\n")
    assert len(wire.receive(0, GET)) == 1


def test_204_has_no_length_and_no_body() -> None:
    wire = server()
    wire.receive(0, GET)
    with pytest.raises(LocalProtocolError):
        wire.respond(0, 204, (), b"x")
    wire.respond(0, 204)
    assert b"ength" not in wire.data_to_send()


def test_a_body_may_come_chunked() -> None:
    wire = server()
    (request,) = wire.receive(0, chunked(b"ab", b"c" * 17) + GET)
    assert isinstance(request, HttpRequest)
    assert request.body == b"ab" + b"c" * 17
    (following,) = wire.respond(0, 200)
    assert isinstance(following, HttpRequest)
    assert following.method == "GET"


def test_100_continue_only_when_the_body_is_welcome() -> None:
    wire = server()
    head = post(b"x" * 100, "Expect: 100-continue")[:-100]
    assert wire.receive(0, head) == []
    assert wire.data_to_send().startswith(b"HTTP/1.1 100 ")
    assert len(wire.receive(0, b"x" * 100)) == 1
    wire = server()
    assert refused(wire, wire.receive(0, post(b"x" * 101, "Expect: 100-continue")[:-101])) == (413, "body_too_large")


def test_no_100_continue_where_no_body_is_due() -> None:
    wire = server()
    assert len(wire.receive(0, b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n")) == 1
    assert wire.data_to_send() == b""


def test_half_closed_peer_still_gets_its_answers() -> None:
    wire = server()
    assert len(wire.receive(0, GET + GET)) == 1
    assert wire.receive(0, b"") == []
    assert len(wire.respond(0, 200)) == 1
    assert wire.transport is Transport.OPEN
    assert wire.respond(0, 200) == []
    assert wire.transport is Transport.CLOSE


@pytest.mark.parametrize("tail", [b"G", GET[:-2], post(b"abc")[:-1], chunked(b"abc")[:-3]])
def test_eof_inside_a_request_is_incomplete(tail: bytes) -> None:
    wire = server()
    wire.receive(0, tail)
    assert refused(wire, wire.receive(0, b"")) == (400, "incomplete_request")
    assert wire.transport is Transport.CLOSE


def test_eof_between_requests_just_closes() -> None:
    wire = server()
    assert wire.receive(0, b"") == []
    assert wire.transport is Transport.CLOSE
    assert wire.data_to_send() == b""


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00", 400, "bad_request"),  # a TLS hello on a plain port
        (b"\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "unsupported_coding"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported_version"),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method_not_allowed"),
    ],
)
def test_a_bad_request_is_refused_by_its_code(data: bytes, status: int, code: str) -> None:
    wire = server()
    assert refused(wire, wire.receive(0, data)) == (status, code)
    assert wire.transport is Transport.FINISH
    assert wire.receive(1, GET) == []
    assert wire.receive(2, b"") == []
    assert wire.transport is Transport.CLOSE


def test_the_peer_gets_its_time_to_read_a_refusal_then_is_dropped() -> None:
    wire = server()
    wire.receive(7, b"\0")
    assert wire.deadline == 7 + LIMITS.linger_us
    assert wire.tick(6 + LIMITS.linger_us) == []
    assert wire.transport is Transport.FINISH
    assert wire.tick(7 + LIMITS.linger_us) == []
    assert (wire.transport, wire.deadline) == (Transport.ABORT, None)


def test_both_lengths_are_read_as_chunked_and_the_connection_is_not_trusted_again() -> None:
    wire = server()
    smuggled = chunked(b"abc").replace(b"Host: h", b"Host: h\r\nContent-Length: 5")
    (request,) = wire.receive(0, smuggled + GET)
    assert isinstance(request, HttpRequest)
    assert request.body == b"abc"
    assert wire.respond(0, 200) == []
    assert wire.transport is Transport.CLOSE


def test_obsolete_line_folding_is_one_value() -> None:
    (request,) = server().receive(0, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n")
    assert isinstance(request, HttpRequest)
    assert request.header("x") == "a b"


# --- limits ---------------------------------------------------------------------------------------------


def head_of(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: h\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_head_limit_at_n_and_above_and_at_n_again() -> None:
    wire = server()
    assert len(wire.receive(0, head_of(200))) == 1
    wire.respond(0, 200)
    assert len(wire.receive(0, head_of(200))) == 1
    for size in (201, 5000):
        wire = server()
        assert refused(wire, wire.receive(0, head_of(size))) == (431, "headers_too_large")
    wire = server()
    assert wire.receive(0, head_of(900)[:200]) == []
    assert refused(wire, wire.receive(0, b"x")) == (431, "headers_too_large")


@pytest.mark.parametrize("make", [post, lambda body: chunked(body), lambda body: chunked(body[:60], body[60:])])
def test_body_limit_at_n_and_above_and_at_n_again(make: object) -> None:
    assert callable(make)
    wire = server()
    for _ in range(2):
        (request,) = wire.receive(0, make(b"x" * 100))
        assert isinstance(request, HttpRequest)
        assert len(request.body) == 100
        wire.respond(0, 200)
        wire.data_to_send()
    assert refused(wire, wire.receive(0, make(b"x" * 101))) == (413, "body_too_large")


def test_a_declared_length_is_refused_before_its_body() -> None:
    wire = server()
    assert refused(wire, wire.receive(0, post(b"x" * 101)[:-101])) == (413, "body_too_large")


def test_chunk_extensions_are_not_free() -> None:
    wire = server()
    wire.receive(0, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    budget = 2 * LIMITS.body_bytes + LIMITS.header_bytes
    assert wire.receive(0, b"e" * (budget - 3)) == []
    assert refused(wire, wire.receive(0, b"e")) == (413, "body_too_large")


def test_a_long_trailer_is_metered_here_and_not_by_the_way_it_is_cut() -> None:
    data = chunked(b"x")[:-2] + b"T: " + b"t" * 20_000 + b"\r\n\r\n"
    for cut in (len(data), 1000):
        wire = ServerConnection(0)
        events = [event for i in range(0, len(data), cut) for event in wire.receive(0, data[i : i + cut])]
        assert [type(event) for event in events] == [HttpRequest]


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_limits_are_greater_than_zero(name: str) -> None:
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: bad})


# --- deadlines ------------------------------------------------------------------------------------------


def test_a_slow_head_is_told_so() -> None:
    wire = ServerConnection(100, LIMITS)
    assert wire.deadline == 100 + LIMITS.header_timeout_us
    wire.receive(5_000_000, b"GET")
    assert wire.deadline == 100 + LIMITS.header_timeout_us  # the first head is timed from the accept
    assert wire.tick(99 + LIMITS.header_timeout_us) == []
    assert refused(wire, wire.tick(100 + LIMITS.header_timeout_us)) == (408, "header_timeout")


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    wire = server()
    assert wire.tick(LIMITS.header_timeout_us) == []
    assert wire.transport is Transport.CLOSE
    assert wire.data_to_send() == b""


def test_a_later_head_is_timed_from_its_first_byte() -> None:
    wire = server()
    wire.receive(0, GET)
    wire.respond(10, 200)
    wire.data_to_send()
    assert wire.deadline == 10 + LIMITS.idle_timeout_us
    wire.receive(20, b"G")
    wire.receive(9_000_000, b"E")
    assert wire.deadline == 20 + LIMITS.header_timeout_us
    assert refused(wire, wire.tick(20 + LIMITS.header_timeout_us)) == (408, "header_timeout")


def test_a_slow_body_is_told_so() -> None:
    wire = server()
    wire.receive(3, post(b"abc")[:-1])
    assert wire.deadline == 3 + LIMITS.body_timeout_us
    assert wire.tick(2 + LIMITS.body_timeout_us) == []
    assert refused(wire, wire.tick(3 + LIMITS.body_timeout_us)) == (408, "body_timeout")


def test_time_comes_before_bytes() -> None:
    wire = server()
    wire.receive(0, post(b"abc")[:-1])
    assert refused(wire, wire.receive(LIMITS.body_timeout_us, b"c")) == (408, "body_timeout")


def test_an_idle_connection_is_closed_without_a_word() -> None:
    wire = server()
    wire.receive(0, GET)
    wire.respond(1, 200)
    wire.data_to_send()
    assert wire.tick(LIMITS.idle_timeout_us) == []
    assert wire.transport is Transport.OPEN
    assert wire.tick(1 + LIMITS.idle_timeout_us) == []
    assert wire.transport is Transport.CLOSE
    assert wire.data_to_send() == b""


# --- streams --------------------------------------------------------------------------------------------


def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    wire = server()
    wire.receive(0, GET + GET)
    wire.start_stream(0, 200, [("Content-Type", "text/event-stream")])
    assert (wire.phase, wire.deadline) == (Phase.STREAMING, None)
    wire.push(0, sse_frame("tick", "1"))
    wire.push(0, b"")
    wire.push(0, sse_comment())
    events = wire.end_stream(0)
    response = answer(wire.data_to_send())
    assert response.body == b"event: tick\ndata: 1\n\n: \n\n"
    assert isinstance(events[0], HttpRequest)


def test_a_stream_on_http_1_0_ends_with_the_connection() -> None:
    wire = server()
    wire.receive(0, b"GET / HTTP/1.0\r\n\r\n")
    wire.start_stream(0, 200, ())
    wire.push(0, b"abc")
    assert wire.end_stream(0) == []
    assert answer(wire.data_to_send()).body == b"abc"
    assert wire.transport is Transport.CLOSE


def test_a_head_request_gets_no_stream() -> None:
    wire = server()
    wire.receive(0, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
    wire.start_stream(0, 200, ())
    wire.push(0, b"abc")
    wire.end_stream(0)
    assert b"abc" not in wire.data_to_send()
    assert len(wire.receive(0, GET)) == 1


def test_a_slow_reader_shows() -> None:
    wire = server()
    wire.receive(0, GET)
    assert not wire.can_push
    wire.start_stream(0, 200, ())
    wire.sent(len(wire.data_to_send()))
    total = wire._queued
    assert (wire.unsent, wire.can_push) == (0, True)
    wire.push(0, b"x" * 45)
    assert wire.unsent == 51
    assert not wire.can_push
    wire.sent(total + 1)
    assert (wire.unsent, wire.can_push) == (50, True)
    wire.sent(total)  # late news
    assert wire.unsent == 50


def test_a_reader_that_leaves_is_reported_once_and_pushes_are_dropped() -> None:
    wire = server()
    wire.receive(0, GET)
    wire.start_stream(0, 200, ())
    wire.data_to_send()
    assert wire.receive(0, b"") == [Done(1006, "", False)]
    assert wire.receive(0, b"") == []
    wire.push(0, b"x")
    assert wire.end_stream(0) == []
    assert wire.data_to_send() == b""
    assert wire.transport is Transport.CLOSE


def test_sse_frames() -> None:
    assert sse_frame("call", "a\nb\r\nc\rd", "7") == b"event: call\nid: 7\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
    assert sse_frame("", "") == b"data: \n\n"
    assert sse_frame("x\ndata: evil", "\u2028", "1\r\n2\0") == "event: x data: evil\nid: 1 2\ndata: \u2028\n\n".encode()
    assert sse_frame("e", "\ud800") == b"event: e\ndata: ?\n\n"
    assert sse_comment("a\n\nb") == b": a  b\n\n"


# --- our own mistakes -----------------------------------------------------------------------------------


def test_misuse_raises_and_harms_nothing() -> None:
    wire = server()
    for verb in (
        lambda: wire.respond(0, 200),
        lambda: wire.start_stream(0, 200, ()),
        lambda: wire.push(0, b"x"),
        lambda: wire.end_stream(0),
        lambda: wire.accept(0),
        lambda: wire.reject(0, 400),
        lambda: wire.send("x"),
        lambda: wire.ping(),
        lambda: wire.close(0),
    ):
        with pytest.raises(LocalProtocolError):
            verb()
    wire.receive(0, GET)
    for headers in ([("X", "a\r\nSet-Cookie: b")], [("X\n", "a")], [("X", "\u20ac")]):
        with pytest.raises(LocalProtocolError):
            wire.respond(0, 200, headers)
    with pytest.raises(LocalProtocolError):
        wire.respond(0, 99)
    assert wire.data_to_send() == b""
    wire.respond(0, 500, [("Content-Length", "7")], b"x")
    assert answer(wire.data_to_send()).body == b"x"
    with pytest.raises(LocalProtocolError):
        wire.respond(0, 200)
