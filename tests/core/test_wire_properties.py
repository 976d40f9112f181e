"""What must hold for any bytes: nothing raises, how they are cut does not matter, the short cut changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from patter_core.wire import (
    ClientConnection,
    Done,
    HttpClient,
    HttpRequest,
    HttpResponse,
    Limits,
    Phase,
    ServerConnection,
    Text,
    Transport,
    UpgradeRequest,
)
from patter_core.wire.frames import FrameReader, encode_frame

LIMITS = Limits(header_bytes=400, body_bytes=60, message_bytes=300, pipeline_bytes=500)
MASK = b"\x11\x82\xf3\x64"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REQUESTS = [
    b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD / HTTP/1.1\nHost: h\n\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 61\r\n\r\n" + b"x" * 61,
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nab\r\n3\r\ncde\r\n0\r\nT: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1;" + b"e" * 300 + b"\r\na\r\n" + b"1;" + b"e" * 300 + b"\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"40\r\n" + b"x" * 64 + b"!!0\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 400 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    UPGRADE,
    UPGRADE.replace(b": h\r", b": xn--a\r"),
    UPGRADE.replace(b": 13", b": 12"),
]  # fmt: skip

short = st.one_of(st.text(max_size=12).map(str.encode), st.sampled_from([b"", b"x" * 125, b"x" * 126, b"x" * 299]))
payloads = st.one_of(
    short,
    st.binary(max_size=12),
    st.integers(290, 320).map(lambda n: b"x" * n),
    st.integers(95, 105).map(lambda n: "\u20ac".encode() * n),
    st.sampled_from([b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x03", b"\xce", b"\xba\xf4", b"\xff"]),
)


def bare(first: int, payload: bytes) -> bytes:
    return encode_frame(first, payload)


def masked(first: int, payload: bytes) -> bytes:
    return encode_frame(first, payload, MASK)


def long_form(first: int, payload: bytes) -> bytes:
    """Lengths that are not in their shortest form."""
    return bytes((first, 0xFE)) + len(payload).to_bytes(2, "big") + masked(first, payload)[-len(payload) - 4 :]


@st.composite
def frames(draw: st.DrawFn, encode: Callable[[int, bytes], bytes]) -> bytes:
    """A conversation that is right for a while, and then sometimes is not."""
    out = b""
    for kind in draw(st.lists(st.sampled_from("wwwwcffffo"), max_size=7)):
        if kind == "w":
            out += encode(draw(st.sampled_from([0x81, 0x81, 0x82])), draw(short))
        elif kind == "c":
            out += encode(draw(st.sampled_from([0x89, 0x8A])), draw(st.binary(max_size=125)))
        elif kind == "f":
            opcode, parts = (
                draw(st.sampled_from([1, 1, 2])),
                draw(st.lists(st.binary(max_size=3), min_size=1, max_size=4)),
            )
            if opcode == 1:
                # Cut a correct text anywhere, also within a character.
                data = draw(st.text(max_size=8)).encode()
                at = draw(st.integers(0, len(data)))
                parts = [data[:at], data[at:]]
            for i, part in enumerate(parts):
                out += encode(0 if i else opcode, part)
                if draw(st.integers(0, 3)) == 0:
                    out += encode(0x89, b"between")
            if draw(st.integers(0, 5)):
                out += encode(0x80, b"")
        else:
            odd = draw(st.integers(0, 2))
            if odd == 0:
                out += draw(st.binary(max_size=6))
            elif odd == 1:
                out += long_form(draw(st.sampled_from([0x81, 0x82, 0x89])), draw(st.binary(min_size=1, max_size=4)))
            else:
                first = draw(st.sampled_from([0x81, 0x01, 0x00, 0x80, 0x88, 0x88, 0xC1, 0x83, 0x09, 0x89]))
                out += encode(first, draw(payloads))
    return out


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            at = draw(st.integers(0, len(data) - 1))
            kind = draw(st.integers(0, 2))
            if kind == 0:
                data[at] = draw(st.sampled_from([0, 10, 13, 32, 44, 58, 127, 128, 255]))
            elif kind == 1:
                del data[at]
            else:
                data[at:at] = draw(st.sampled_from([b"\xff", b"\r\n", b": ", b"xn--a", b"\0", b"Host: a\r\n"]))
    return bytes(data)


requests = st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4).map(b"".join)
stories = st.one_of(
    mutated(requests),
    mutated(st.builds(lambda head, rest: head + rest, st.just(UPGRADE), frames(masked))),
    st.builds(lambda a, b, c: a + b + c, st.sampled_from(REQUESTS[:5]), st.just(UPGRADE), frames(masked)),
    st.binary(max_size=80),
)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(i for i in at if i < len(data))})
    return [data[a:b] for a, b in pairwise(marks)]


def serve(pieces: list[bytes], *, eof: bool) -> tuple[list[object], bytes, Transport]:
    """An application that echoes everything; what it saw, what the peer got, and how the socket ends."""
    wire = ServerConnection(0, LIMITS)
    seen: list[object] = []
    output = b""
    for piece in [*pieces, b""] if eof else pieces:
        events = list(wire.receive(0, piece))
        while events:
            event = events.pop(0)
            seen.append(event)
            if isinstance(event, HttpRequest):
                events += wire.respond(0, 200, (), event.body)
            elif isinstance(event, UpgradeRequest):
                events += wire.accept(0)
            elif isinstance(event, Text):
                wire.send(event.data)
        output += wire.data_to_send()
        assert wire.deadline is None or wire.deadline > 0
    return seen, output, wire.transport


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories, st.lists(st.integers(0, 600), max_size=6), st.booleans())
@example(UPGRADE + masked(0x81, b"x" * 301 + b"\xff"), [300], True)
@example(UPGRADE + masked(0x01, b"\xce") + masked(0x89, b"p") + masked(0x80, b"\xba"), [], True)
@example(UPGRADE + masked(0x00, b"x" * 301), [], True)
@example(REQUESTS[0] * 3 + REQUESTS[10], [], True)
@example(REQUESTS[6], [500], False)
@example(REQUESTS[7], [120], False)
def test_how_bytes_are_cut_does_not_matter(data: bytes, at: list[int], eof: bool) -> None:
    whole = serve([data] if data else [], eof=eof)
    for pieces in (cut(data, range(len(data))), cut(data, at)):
        seen, output, transport = serve(pieces, eof=eof)
        assert seen == whole[0]
        assert transport is whole[2]
        # Pongs overtake echoes when both are due in one call, so the order of frames may differ, never their bytes.
        assert sorted(output) == sorted(whole[1])
    assert sum(type(event) is Done for event in whole[0]) <= 1


@settings(max_examples=300, deadline=None)
@given(frames(masked), st.lists(st.integers(0, 600), max_size=4), st.sampled_from([300, 10]))
def test_the_short_cut_changes_nothing_for_a_server(data: bytes, at: list[int], limit: int) -> None:
    assert read(data, at, client=False, limit=limit, fast=True) == read(data, at, client=False, limit=limit, fast=False)


@settings(max_examples=300, deadline=None)
@given(frames(bare), st.lists(st.integers(0, 600), max_size=4), st.sampled_from([300, 10]))
def test_the_short_cut_changes_nothing_for_a_client(data: bytes, at: list[int], limit: int) -> None:
    assert read(data, at, client=True, limit=limit, fast=True) == read(data, at, client=True, limit=limit, fast=False)


def read(data: bytes, at: list[int], *, client: bool, limit: int, fast: bool) -> tuple[object, ...]:
    reader = FrameReader(client=client, limit=limit, fast=fast)
    events = [event for piece in cut(data, at) for event in reader.receive(piece)]
    end = reader.end
    return events, reader.pings, None if end is None else (end.code, end.reason, end.failed)


@pytest.mark.parametrize("client", [False, True])
def test_the_short_cut_is_taken(client: bool) -> None:
    reader = FrameReader(client=client, limit=1000)
    reader._ws = None  # type: ignore[assignment]
    encode = bare if client else masked
    data = encode(0x81, b"x" * 372) + encode(0x82, b"y" * 5) + encode(0x81, b"")
    assert len(reader.receive(data)) == 3


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(stories, st.binary(max_size=30)), max_size=4), st.lists(st.integers(0, 200_000_000), max_size=8)
)
def test_no_bytes_and_no_time_make_a_server_raise_and_its_deadline_is_ahead(
    pieces: list[bytes], times: list[int]
) -> None:
    wire = ServerConnection(0, LIMITS)
    now = 0
    done = 0
    for i, piece in enumerate(pieces):
        now += times[i] if i < len(times) else 1
        events = wire.tick(now) if i % 2 else []
        events = events + wire.receive(now, piece)
        for event in events:
            done += type(event) is Done
            if isinstance(event, UpgradeRequest):
                wire.accept(now)
        assert wire.deadline is None or wire.deadline > now
    for _ in range(4):
        if wire.deadline is not None:
            now = wire.deadline
            done += sum(type(event) is Done for event in wire.tick(now))
            assert wire.deadline is None or wire.deadline > now
    assert done <= 1
    assert wire.deadline is None
    assert wire.phase in (Phase.DONE, Phase.HTTP, Phase.UPGRADING, Phase.WEBSOCKET)


RESPONSES = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nContent-Length: 61\r\n\r\n" + b"x" * 61,
    b"HTTP/1.0 404 No\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]


def client_answer() -> bytes:
    server = ServerConnection(0, LIMITS)
    server.receive(0, ClientConnection(0, "h", "/", limits=LIMITS, seed=b"s").data_to_send())
    server.accept(0)
    return server.data_to_send()


SWITCHED = client_answer()
answers = st.one_of(
    mutated(st.lists(st.sampled_from(RESPONSES), min_size=1, max_size=3).map(b"".join)),
    frames(bare).map(lambda data: SWITCHED + data),
    mutated(frames(bare).map(lambda data: SWITCHED + data)),
    st.binary(max_size=60),
)


@settings(max_examples=300, deadline=None)
@given(answers, st.lists(st.integers(0, 600), max_size=6))
def test_how_bytes_are_cut_does_not_matter_to_a_dialling_websocket(data: bytes, at: list[int]) -> None:
    def story(pieces: list[bytes]) -> tuple[list[object], Transport]:
        wire = ClientConnection(0, "h", "/", limits=LIMITS, seed=b"s")
        return [event for piece in [*pieces, b""] for event in wire.receive(0, piece)], wire.transport

    whole = story([data] if data else [])
    assert story(cut(data, range(len(data)))) == whole
    assert story(cut(data, at)) == whole
    assert [type(event) is Done for event in whole[0]].count(True) == 1
    assert type(whole[0][-1]) is Done


@settings(max_examples=300, deadline=None)
@given(answers, st.lists(st.integers(0, 600), max_size=6), st.sampled_from(["GET", "HEAD"]))
def test_how_bytes_are_cut_does_not_matter_to_a_request(data: bytes, at: list[int], method: str) -> None:
    def story(pieces: list[bytes]) -> tuple[list[object], Transport]:
        wire = HttpClient(0, LIMITS)
        wire.request(0, method, "/")
        return [event for piece in [*pieces, b""] for event in wire.receive(0, piece)], wire.transport

    whole = story([data] if data else [])
    assert story(cut(data, range(len(data)))) == whole
    assert story(cut(data, at)) == whole
    assert sum(isinstance(event, HttpResponse) for event in whole[0]) <= 1
    assert type(whole[0][-1]) is Done
