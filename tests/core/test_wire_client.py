"""The client's end: dialling a WebSocket, being refused, and plain requests; machine against machine where possible."""

from __future__ import annotations

import pytest

from patter_core.errors import LocalProtocolError
from patter_core.wire import (
    Binary,
    ClientConnection,
    Done,
    HttpClient,
    HttpRequest,
    HttpResponse,
    Limits,
    Opened,
    Phase,
    ServerConnection,
    Text,
    Transport,
    UpgradeRequest,
)

LIMITS = Limits(header_bytes=300, body_bytes=100, message_bytes=1000)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"


def dial(*headers: tuple[str, str], seed: bytes = b"seed") -> ClientConnection:
    return ClientConnection(0, "api.example:443", "/v1?model=m", headers, LIMITS, seed=seed)


def pair() -> tuple[ClientConnection, ServerConnection]:
    client, server = dial(), ServerConnection(0)
    server.receive(0, client.data_to_send())
    assert server.accept(0) == [Opened()]
    assert client.receive(0, server.data_to_send()) == [Opened()]
    return client, server


def answer(client: ClientConnection, *extra: str) -> bytes:
    server = ServerConnection(0, server_name="")
    server.receive(0, client.data_to_send())
    server.accept(0)
    return server.data_to_send()[:-2] + "".join(f"{line}\r\n" for line in extra).encode() + b"\r\n"


def test_the_upgrade_request_is_there_at_once() -> None:
    client = dial(("Authorization", "Bearer x"), ("OpenAI-Beta", "realtime=v1"))
    assert (client.phase, client.deadline) == (Phase.UPGRADING, LIMITS.header_timeout_us)
    (request,) = ServerConnection(0).receive(0, client.data_to_send())
    assert isinstance(request, UpgradeRequest)
    assert request.target == "/v1?model=m"
    assert request.header("host") == "api.example:443"
    assert request.header("authorization") == "Bearer x"
    assert request.header("sec-websocket-extensions") is None
    assert client.data_to_send() == b""


def test_key_and_masks_come_from_the_seed() -> None:
    assert dial(seed=b"a").data_to_send() == dial(seed=b"a").data_to_send()
    assert dial(seed=b"a").data_to_send() != dial(seed=b"b").data_to_send()
    assert len(dial(seed=b"x" * 1000).data_to_send()) > 100


def test_both_machines_talk_and_part() -> None:
    client, server = pair()
    for size in (0, 1, 125, 126, 999):
        client.send("x" * size)
        client.send(b"\xff" * size)
        assert server.receive(0, client.data_to_send()) == [Text("x" * size), Binary(b"\xff" * size)]
        server.send("y" * size)
        assert client.receive(0, server.data_to_send()) == [Text("y" * size)]
    server.ping(b"p")
    assert client.receive(0, server.data_to_send()) == []
    assert [type(event).__name__ for event in server.receive(0, client.data_to_send())] == ["Pong"]
    client.close(0, 1000, "bye")
    assert server.receive(0, client.data_to_send()) == [Done(1000, "bye", True)]
    assert client.receive(0, server.data_to_send()) == [Done(1000, "", True)]
    assert (client.transport, server.transport) == (Transport.CLOSE, Transport.CLOSE)


def test_a_masked_frame_from_a_server_and_a_bare_one_from_a_client_are_errors() -> None:
    client, server = pair()
    client.send("x")
    assert client.receive(0, client.data_to_send()) == [Done(1002, "protocol_error", False)]
    assert client.transport is Transport.FINISH
    server.send("x")
    assert server.receive(0, server.data_to_send()) == [Done(1002, "protocol_error", False)]


def test_frames_glued_to_the_answer_and_interim_responses() -> None:
    client = dial()
    data = b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(client) + b"\x81\x02hi"
    assert client.receive(0, data) == [Opened(), Text("hi")]
    assert client.deadline is None


def test_the_servers_limit_is_ours_too() -> None:
    client, server = pair()
    server.send("x" * 1001)
    assert client.receive(0, server.data_to_send()) == [Done(1009, "message_too_big", False)]


def test_a_refusal_is_a_response_then_done() -> None:
    client = dial()
    assert client.receive(0, b"HTTP/1.1 401 No\r\nContent-Length: 4\r\nX-A: b\r\n\r\nsor") == []
    assert client.receive(0, b"ry") == [
        HttpResponse(401, (("content-length", "4"), ("x-a", "b")), b"sorr"),
        Done(1006, "upgrade_refused", False),
    ]
    assert client.transport is Transport.CLOSE
    client.send("not read yet")
    client.close(0)
    assert client.data_to_send().count(b"not read yet") == 0
    assert client.receive(0, b"") == []


@pytest.mark.parametrize("body", [b"x" * 101, b"x" * 5000])
def test_a_long_refusal_is_cut(body: bytes) -> None:
    client = dial()
    events = client.receive(0, b"HTTP/1.1 500 No\r\n\r\n" + body)
    assert events == [HttpResponse(500, (), b"x" * 100), Done(1006, "upgrade_refused", False)]


def test_a_refusal_that_ends_early_or_never_is_still_told() -> None:
    for end in ("eof", "deadline"):
        client = dial()
        client.receive(5, b"HTTP/1.1 500 No\r\nContent-Length: 50\r\n\r\nabc")
        assert client.deadline == 5 + LIMITS.body_timeout_us
        events = client.receive(6, b"") if end == "eof" else client.tick(5 + LIMITS.body_timeout_us)
        assert events == [
            HttpResponse(500, (("content-length", "50"),), b"abc"),
            Done(1006, "upgrade_refused", False),
        ]


@pytest.mark.parametrize(
    "data",
    [
        SWITCH + b"\r\n",
        SWITCH
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x15\x03\x01",
        b"HTTP/1.1 200 " + b"x" * 300,
    ],
)
def test_a_bad_handshake_ends_it(data: bytes) -> None:
    client = dial()
    assert client.receive(0, data) == [Done(1006, "bad_handshake", False)]
    assert client.transport is Transport.CLOSE
    assert client.receive(0, b"x") == []


def test_extensions_and_subprotocols_nobody_asked_for_end_it() -> None:
    for line in ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"):
        client = dial()
        assert client.receive(0, answer(client, line)) == [Done(1006, "bad_handshake", False)]
    client = dial(("Sec-WebSocket-Protocol", "realtime, chat"))
    assert client.receive(0, answer(client, "Sec-WebSocket-Protocol: chat")) == [Opened()]


def test_deadlines_of_the_handshake_and_the_close() -> None:
    client = dial()
    assert client.tick(LIMITS.header_timeout_us - 1) == []
    assert client.tick(LIMITS.header_timeout_us) == [Done(1006, "handshake_timeout", False)]
    assert (client.transport, client.deadline) == (Transport.ABORT, None)
    assert client.receive(LIMITS.header_timeout_us, b"") == []
    client, _ = pair()
    client.close(0)
    assert client.tick(LIMITS.close_timeout_us) == [Done(1006, "close_timeout", False)]
    assert client.transport is Transport.ABORT


@pytest.mark.parametrize("tail", [b"", SWITCH])
def test_eof_in_the_handshake(tail: bytes) -> None:
    client = dial()
    if tail:
        assert client.receive(0, tail) == []
    assert client.receive(0, b"") == [Done(1006, "bad_handshake", False)]
    assert client.receive(0, b"") == []


def test_eof_when_open() -> None:
    client, _ = pair()
    assert client.receive(0, b"") == [Done(1006, "", False)]
    assert client.data_to_send() == b""


def test_misuse() -> None:
    client = dial()
    for verb in (lambda: client.send("x"), client.ping, lambda: client.close(0)):
        with pytest.raises(LocalProtocolError):
            verb()
    for host, target, headers in (
        ("h\r\nX: y", "/", []),
        ("h", "/ x", []),
        ("h", "/\u20ac", []),
        ("h", "/", [("X", "a\nb")]),
    ):
        with pytest.raises(LocalProtocolError):
            ClientConnection(0, host, target, headers, seed=b"s")


# --- plain requests


def exchange(client: HttpClient, server: ServerConnection) -> HttpRequest:
    (request,) = server.receive(0, client.data_to_send())
    assert isinstance(request, HttpRequest)
    return request


def test_requests_one_after_the_other() -> None:
    client, server = HttpClient(0, host="a.example"), ServerConnection(0)
    for i in range(3):
        client.request(0, "POST", f"/{i}", [("X-A", "b")], b"body")
        assert not client.idle
        request = exchange(client, server)
        assert (request.target, request.body, request.header("host")) == (f"/{i}", b"body", "a.example")
        server.respond(0, 200 + i, [("X-C", "d")], b"answer")
        (response,) = client.receive(0, server.data_to_send())
        assert isinstance(response, HttpResponse)
        assert (response.status, response.body, response.header("x-c")) == (200 + i, b"answer", "d")
        assert (client.idle, client.deadline) == (True, None)
    assert client.receive(0, b"") == [Done(1000, "", True)]
    assert client.transport is Transport.CLOSE


def test_head_and_204_and_streams() -> None:
    client, server = HttpClient(0), ServerConnection(0)
    client.request(0, "HEAD", "/")
    exchange(client, server)
    server.respond(0, 200, (), b"12345")
    (response,) = client.receive(0, server.data_to_send())
    assert isinstance(response, HttpResponse)
    assert (response.header("content-length"), response.body) == ("5", b"")
    client.request(0, "DELETE", "/")
    exchange(client, server)
    server.respond(0, 204)
    assert client.receive(0, server.data_to_send()) == [HttpResponse(204, (("server", "patter"),), b"")]
    client.request(0, "GET", "/")
    exchange(client, server)
    server.start_stream(0, 200, ())
    server.push(0, b"a")
    assert client.receive(0, server.data_to_send()) == []
    server.push(0, b"b")
    server.end_stream(0)
    (response,) = client.receive(0, server.data_to_send())
    assert isinstance(response, HttpResponse)
    assert response.body == b"ab"


def test_a_body_until_eof_and_a_closing_response() -> None:
    client = HttpClient(0)
    client.request(0, "GET", "/")
    assert client.receive(0, b"HTTP/1.0 200 OK\r\n\r\nab") == []
    assert client.receive(0, b"") == [HttpResponse(200, (), b"ab"), Done(1000, "", True)]
    client = HttpClient(0)
    client.request(0, "GET", "/")
    assert client.receive(0, b"HTTP/1.1 200 OK\r\n\r\nab") == []
    assert client.receive(0, b"") == [HttpResponse(200, (), b"ab"), Done(1000, "", True)]
    assert not client.idle
    client = HttpClient(0)
    client.request(0, "GET", "/")
    events = client.receive(0, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert events[1:] == [Done(1000, "", True)]


def test_what_a_response_may_not_be() -> None:
    for data, done in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, Done(1009, "response_too_large", False)),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300, Done(1009, "response_too_large", False)),
        (b"nonsense\r\n\r\n", Done(1006, "bad_response", False)),
        (SWITCH + b"\r\n", Done(1006, "bad_response", False)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", Done(1006, "bad_response", False)),
    ):
        client = HttpClient(0, LIMITS)
        client.request(0, "GET", "/")
        assert client.receive(0, data) == [done]
        assert client.receive(0, b"x") == []
    client = HttpClient(0, LIMITS)
    client.request(0, "GET", "/")
    (response, done) = client.receive(0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nextra")
    assert isinstance(response, HttpResponse)
    assert done == Done(1006, "bad_response", False)
    assert HttpClient(0).receive(0, b"x") == [Done(1006, "bad_response", False)]


def test_eof_inside_a_response() -> None:
    for tail in (b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"):
        client = HttpClient(0)
        client.request(0, "GET", "/")
        assert client.receive(0, tail) == []
        assert client.receive(0, b"") == [Done(1006, "bad_response", False)]


def test_the_deadline_of_a_response() -> None:
    client = HttpClient(0, LIMITS)
    client.request(4, "GET", "/")
    client.receive(9, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    at = 4 + LIMITS.response_timeout_us
    assert client.deadline == at
    assert client.tick(at - 1) == []
    assert client.tick(at) == [Done(1006, "response_timeout", False)]
    assert (client.transport, client.deadline) == (Transport.ABORT, None)


def test_misuse_of_requests() -> None:
    client = HttpClient(0)
    for target, headers in (("/ x", []), ("/", [("X", "a\r\nb")]), ("/", [("X", "\u20ac")])):
        with pytest.raises(LocalProtocolError):
            client.request(0, "GET", target, headers)
    client.request(0, "GET", "/")
    with pytest.raises(LocalProtocolError):
        client.request(0, "GET", "/")
