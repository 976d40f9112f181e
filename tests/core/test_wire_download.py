"""An answer that is read as it comes: the same however its bytes are cut, never a byte too much."""

from __future__ import annotations

import pytest

from patter_core.errors import LocalProtocolError
from patter_core.wire import HttpRequest, ServerConnection
from patter_core.wire.http_download import HttpDownload

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6;x=y\r\nsecond\r\n0\r\nTrailer: t\r\n\r\n"
MEASURED = HEAD + b"Content-Length: 11\r\n\r\nfirstsecond"
UNTIL_EOF = HEAD + b"\r\nfirstsecond"


def download(method: str = "GET", body: bytes = b"", max_body: int = 100) -> HttpDownload:
    return HttpDownload(method, "/x?y=z", [("Host", "h"), ("X-A", "1")], body, max_body=max_body)


def pieces(data: bytes, cut: int, reader: HttpDownload) -> list[bytes]:
    """What comes of it, fed in pieces, with the end behind them."""
    found = [reader.receive(data[at : at + cut]) for at in range(0, len(data), cut)]
    return [piece for piece in [*found, reader.receive(b"")] if piece]


def test_the_request_is_one_a_server_reads() -> None:
    server = ServerConnection(0)
    (request,) = server.receive(0, download("POST", b"the body").data)
    assert isinstance(request, HttpRequest)
    assert (request.method, request.target, request.body) == ("POST", "/x?y=z", b"the body")
    assert (request.header("host"), request.header("x-a"), request.header("content-length")) == ("h", "1", "8")
    assert b"Content-Length: 0" in download("POST").data
    assert b"Content-Length" not in download("GET").data


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("answer", [CHUNKED, MEASURED, UNTIL_EOF])
def test_an_answer_however_it_is_cut(answer: bytes, cut: int) -> None:
    reader = download()
    assert b"".join(pieces(answer, cut, reader)) == b"firstsecond"
    assert (reader.status, reader.ended, reader.failed) == (200, True, False)
    assert dict(reader.headers)["content-type"] == "text/event-stream"
    assert reader.receive(b"more") == b""


def test_pieces_are_given_out_as_they_come() -> None:
    reader = download()
    head, _, body = CHUNKED.partition(b"\r\n\r\n")
    assert reader.receive(head) == b""
    assert reader.status == 0
    assert reader.receive(b"\r\n\r\n") == b""
    assert reader.status == 200
    assert reader.receive(body[:5]) == b"fi"
    assert reader.receive(body[5:11]) == b"rst"
    assert not reader.ended
    assert reader.receive(body[11:]) == b"second"
    assert reader.ended


@pytest.mark.parametrize("answer", [CHUNKED, MEASURED, UNTIL_EOF])
def test_the_bound_at_n_and_one_above(answer: bytes) -> None:
    reader = download(max_body=11)
    assert sum(map(len, pieces(answer, 4, reader))) == 11
    assert reader.ended
    reader = download(max_body=10)
    assert sum(map(len, pieces(answer, 4, reader))) <= 10
    assert (reader.ended, reader.failed, reader.too_large) == (False, True, True)


def test_no_body_at_all_within_no_bound_at_all() -> None:
    reader = download(max_body=0)
    assert reader.receive(b"HTTP/1.1 204 No Content\r\n\r\n") == b""
    assert (reader.status, reader.ended) == (204, True)
    reader = download("HEAD", max_body=0)
    reader.receive(HEAD + b"Content-Length: 11\r\n\r\n")
    assert reader.ended


def test_single_letters_are_a_body_too() -> None:
    answer = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    reader = download(max_body=10_000)
    assert len(b"".join(pieces(answer, 64, reader))) == 10_000
    assert reader.ended


def test_framing_is_not_free() -> None:
    reader = download(max_body=10)
    reader.receive(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100_000)
    assert (reader.failed, reader.ended) == (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP", b"220 mail ESMTP\r\n\r\n", HEAD, HEAD + b"Content-Length: 12\r\n\r\nfirstsecond", CHUNKED[:-4],
        HEAD + b"Content-Length: x\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"x" * 40_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [1, 1000])
def test_what_is_no_answer(answer: bytes, cut: int) -> None:
    reader = download()
    pieces(answer, cut, reader)
    assert (reader.failed, reader.ended, reader.too_large) == (True, False, False)


def test_interim_answers_are_passed_over() -> None:
    reader = download()
    assert pieces(b"HTTP/1.1 100 Continue\r\n\r\n" + MEASURED, 9, reader)[-1].endswith(b"d")
    assert reader.status == 200


def test_our_own_mistakes_raise() -> None:
    for headers in ([("Bad Name", "x")], [("X", "\u20ac")], [("X", "a\r\nb")]):
        with pytest.raises(LocalProtocolError):
            HttpDownload("GET", "/", headers, b"", max_body=1)
    with pytest.raises(LocalProtocolError):
        HttpDownload("GET", "/\u20ac", [], b"", max_body=1)
