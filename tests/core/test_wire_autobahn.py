"""The cases of the Autobahn fuzzing client (families 1-7, 9, 10) as byte stories for the pure machine, both roles.

Each story is what the peer sends to an echoing application, and what must come back: the echoes, the pongs, our close
code, and how it ended. Every story runs whole, frame by frame and octet by octet. ``conformance/autobahn`` runs the
original against a socket.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from patter_core.wire import (
    Binary,
    ClientConnection,
    Done,
    Limits,
    Opened,
    ServerConnection,
    Text,
    Transport,
    UpgradeRequest,
)
from patter_core.wire.server import accept_token

LIMITS = Limits(message_bytes=16 << 20)
MASK = b"\x37\xfa\x21\x3d"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HELLO = b"Hello, world!"


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    def encode(self, mask: bytes) -> bytes:
        n = len(self.payload)
        first, bit = self.fin << 7 | self.rsv << 4 | self.opcode, 0x80 if mask else 0
        if n < 126:
            head = struct.pack("!BB", first, bit | n)
        elif n < 65536:
            head = struct.pack("!BBH", first, bit | 126, n)
        else:
            head = struct.pack("!BBQ", first, bit | 127, n)
        return head + mask + unmask(self.payload, mask)


def unmask(data: bytes, mask: bytes) -> bytes:
    if not mask:
        return data
    out = bytearray(data)
    for i in range(4):
        out[i::4] = out[i::4].translate(bytes(b ^ mask[i] for b in range(256)))
    return bytes(out)


def decode(data: bytes, masked: bool) -> Iterator[tuple[int, bytes]]:
    """Our output, frame by frame: whole, unfragmented, no reserved bits, masked if and only if we are the client."""
    i = 0
    while i < len(data):
        assert data[i] & 0xF0 == 0x80
        assert bool(data[i + 1] & 0x80) is masked
        opcode, n, at = data[i] & 15, data[i + 1] & 127, i + 2
        if n == 126:
            (n,) = struct.unpack_from("!H", data, at)
            assert n > 125
            at += 2
        elif n == 127:
            (n,) = struct.unpack_from("!Q", data, at)
            assert n > 65535
            at += 8
        mask = data[at : at + 4] if masked else b""
        at += len(mask)
        assert at + n <= len(data)
        yield opcode, unmask(data[at : at + n], mask)
        i = at + n


@dataclass(frozen=True)
class Story:
    name: str
    sent: tuple[Frame, ...]
    echoes: tuple[bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    #: The payload of our close frame; None: none is due, and the story ends with the connection open.
    close: bytes | None = None
    done: tuple[int, bool] | None = None
    cuts: tuple[int, ...] = field(default=(0, -1, 1))


def code(value: int) -> bytes:
    return struct.pack("!H", value)


def text(payload: bytes, fin: bool = True, rsv: int = 0) -> Frame:
    return Frame(TEXT, payload, fin, rsv)


def cont(payload: bytes, fin: bool = True) -> Frame:
    return Frame(CONT, payload, fin)


def echoed(name: str, *sent: Frame, echo: bytes, pongs: tuple[bytes, ...] = (), **more: tuple[int, ...]) -> Story:
    """The message comes back, and a close with 1000 is answered with 1000."""
    return Story(name, (*sent, Frame(CLOSE, code(1000))), (echo,), pongs, code(1000), (1000, True), **more)


def failed(
    name: str, *sent: Frame, why: int = 1002, echoes: tuple[bytes, ...] = (), pongs: tuple[bytes, ...] = ()
) -> Story:
    """We fail the connection with this code, once; a ping after that is not answered."""
    return Story(name, (*sent, Frame(PING, b"too late")), echoes, pongs, code(why), (why, False))


def framing() -> Iterator[Story]:
    for family, opcode, filler in (("1.1", TEXT, b"*"), ("1.2", BINARY, b"\xfe")):
        for i, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
            cuts = (0, -1, 1) if size < 1000 else (0, 997)
            yield echoed(f"{family}.{i}", Frame(opcode, filler * size), echo=filler * size, cuts=cuts)
        yield echoed(f"{family}.8", Frame(opcode, filler * 65536), echo=filler * 65536, cuts=(997,))


def pings() -> Iterator[Story]:
    end = Frame(CLOSE, code(1000))

    def answered(name: str, *sent: Frame, pongs: tuple[bytes, ...]) -> Story:
        return Story(name, (*sent, end), (), pongs, code(1000), (1000, True))

    binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    yield answered("2.1", Frame(PING), pongs=(b"",))
    yield answered("2.2", Frame(PING, HELLO), pongs=(HELLO,))
    yield answered("2.3", Frame(PING, binary), pongs=(binary,))
    yield answered("2.4", Frame(PING, b"\xfe" * 125), pongs=(b"\xfe" * 125,))
    yield failed("2.5", Frame(PING, b"\xfe" * 126))
    yield answered("2.6", Frame(PING, b"\xfe" * 125), pongs=(b"\xfe" * 125,))
    yield answered("2.7", Frame(PONG), pongs=())
    yield answered("2.8", Frame(PONG, b"unsolicited"), pongs=())
    yield answered("2.9", Frame(PONG, b"unsolicited"), Frame(PING, b"p"), pongs=(b"p",))
    ten = tuple(b"payload-%d" % i for i in range(10))
    yield answered("2.10-2.11", *(Frame(PING, p) for p in ten), pongs=ten)


def reserved() -> Iterator[Story]:
    yield failed("3.1", text(HELLO, rsv=1))
    for name, rsv in (("3.2", 2), ("3.3", 3), ("3.4", 4)):
        yield failed(name, text(HELLO), text(HELLO, rsv=rsv), echoes=(HELLO,))
    yield failed("3.5", Frame(BINARY, b"\0\xff", rsv=5))
    yield failed("3.6", Frame(PING, HELLO, rsv=6))
    yield failed("3.7", Frame(CLOSE, rsv=7))
    for family, opcodes in (("4.1", range(3, 8)), ("4.2", range(11, 16))):
        for i, opcode in enumerate(opcodes, 1):
            payload = HELLO if i in (2, 4) else b""
            before = (text(HELLO),) if i > 2 else ()
            yield failed(f"{family}.{i}", *before, Frame(opcode, payload), echoes=(HELLO,) * len(before))


def fragmentation() -> Iterator[Story]:
    yield failed("5.1", Frame(PING, b"f1", fin=False), cont(b"f2"))
    yield failed("5.2", Frame(PONG, b"f1", fin=False), cont(b"f2"))
    yield echoed("5.3-5.5", text(b"frag1", False), cont(b"frag2"), echo=b"frag1frag2")
    yield echoed("5.6-5.8", text(b"f1", False), Frame(PING, b"p"), cont(b"f2"), echo=b"f1f2", pongs=(b"p",))
    for name, fin, after in (
        ("5.9-5.11", True, (text(HELLO),)),
        ("5.12-5.14", False, (text(HELLO),)),
        ("5.x empty", True, ()),
    ):
        yield failed(name, cont(b"nothing to continue", fin), *after)
    yield failed("5.15", text(b"f1", False), cont(b"f2"), cont(b"f3", False), text(b"f4"), echoes=(b"f1f2",))
    yield failed("5.16", cont(b"f1", False), text(b"f2", False), cont(b"f3"))
    yield failed("5.17", cont(b"f1"), text(b"f2", False), cont(b"f3"))
    yield failed("5.18", text(b"f1", False), text(b"f2"))
    yield echoed(
        "5.19-5.20",
        text(b"f1", False), cont(b"f2", False), Frame(PING, b"p1"),
        cont(b"f3", False), cont(b"f4", False), Frame(PING, b"p2"), cont(b"f5"),
        echo=b"f1f2f3f4f5", pongs=(b"p1", b"p2"),
    )  # fmt: skip
    yield echoed("5.x empties", text(b"", False), cont(b"", False), cont(b"x", False), cont(b""), echo=b"x")
    yield echoed("5.x binary", Frame(BINARY, b"\xff", False), cont(b"\xfe"), echo=b"\xff\xfe")


VALID = {
    "6.2": "48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121",
    "6.5": "cebae1bdb9cf83cebcceb5",
    "6.7": "00 c280 e0a080 f0908080",
    "6.9": "7f dfbf efbfbf f48fbfbf",
    "6.11": "ed9fbf ee8080 efbfbd f48fbfbf",
    "6.22": "efbfbe efbfbf f09fbfbe f09fbfbf f0afbfbe f0afbfbf f0bfbfbe f0bfbfbf f18fbfbe f18fbfbf f19fbfbe f19fbfbf"
    " f1afbfbe f1afbfbf f1bfbfbe f1bfbfbf f28fbfbe f28fbfbf f29fbfbe f29fbfbf f2afbfbe f2afbfbf f2bfbfbe f2bfbfbf"
    " f38fbfbe f38fbfbf f39fbfbe f39fbfbf f3afbfbe f3afbfbf f3bfbfbe f3bfbfbf f48fbfbe f48fbfbf",
    "6.23": "efbfb9 efbfba efbfbb efbfbc efbfbd efbfbe efbfbf",
}
INVALID = {
    "6.3-6.4": "cebae1bdb9cf83cebcceb5eda080656469746564 cebae1bdb9cf83cebcceb5f4908080656469746564",
    "6.6": "ce cebae1 cebae1bd cebae1bdb9cf cebae1bdb9cf83ce cebae1bdb9cf83cebcce",
    "6.8": "f888808080 fc8480808080",
    "6.10": "f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf",
    "6.11.5": "f4908080",
    "6.12": "80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf 808182838485868788898a8b8c8d8e8f90b0bebf",
    "6.13": "c020c120df20 e020e120ef20 f020f120f720 f820f920fb20 fc20fd20",
    "6.14": "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf",
    "6.15": "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf",
    "6.16": "fe ff fefeffff",
    "6.17": "c0af e080af f08080af f8808080af fc80808080af",
    "6.18": "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf",
    "6.19": "c080 e08080 f0808080 f880808080 fc8080808080",
    "6.20": "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf",
    "6.21": "eda080edb080 eda080edbfbf edadbfedb080 edadbfedbfbf edae80edb080 edae80edbfbf edafbfedb080 edafbfedbfbf",
}


def utf8() -> Iterator[Story]:
    yield echoed("6.1.1", text(b""), echo=b"")
    yield echoed("6.1.2", text(b"", False), cont(b"", False), cont(b""), echo=b"")
    yield echoed("6.1.3", text(b"", False), cont(b"middle", False), cont(b""), echo=b"middle")
    for family, values in VALID.items():
        for i, payload in enumerate(map(bytes.fromhex, values.split()), 1):
            yield echoed(f"{family}.{i}", text(payload), echo=payload)
            single = [Frame(CONT if at else TEXT, payload[at : at + 1], fin=False) for at in range(len(payload))]
            yield echoed(f"{family}.{i} by octet", *single, cont(b""), echo=payload)
    for family, values in INVALID.items():
        for i, payload in enumerate(map(bytes.fromhex, values.split()), 1):
            yield failed(f"{family}.{i}", text(payload), why=1007)
            single = [Frame(CONT if at else TEXT, payload[at : at + 1], fin=False) for at in range(len(payload))]
            yield failed(f"{family}.{i} by octet", *single, cont(b""), why=1007)


def closing() -> Iterator[Story]:
    end = Frame(CLOSE, code(1000))

    def ended(
        name: str, *sent: Frame, echoes: tuple[bytes, ...] = (), close: bytes = code(1000), how: int = 1000
    ) -> Story:
        return Story(name, sent, echoes, (), close, (how, True))

    yield ended("7.1.1", text(HELLO), end, echoes=(HELLO,))
    yield ended("7.1.2", end, Frame(CLOSE))
    yield ended("7.1.3", end, Frame(PING))
    yield ended("7.1.4", end, text(HELLO))
    yield ended("7.1.5", text(b"f1", False), end, cont(b"f2"))
    long = b"B" * 262144
    yield Story(
        "7.1.6", (text(long), text(HELLO), end, Frame(PING)), (long, HELLO), (), code(1000), (1000, True), (0, 9973)
    )
    yield ended("7.3.1", Frame(CLOSE), close=b"", how=1005)
    yield failed("7.3.2", Frame(CLOSE, b"a"))
    yield ended("7.3.3", end)
    yield ended("7.3.4", Frame(CLOSE, code(1000) + b"Hello World!"))
    yield ended("7.3.5", Frame(CLOSE, code(1000) + b"*" * 123))
    yield failed("7.3.6", Frame(CLOSE, code(1000) + b"*" * 124))
    yield failed(
        "7.5.1", Frame(CLOSE, code(1000) + bytes.fromhex("cebae1bdb9cf83cebcceb5eda080656469746564")), why=1007
    )
    for i, good in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
        yield ended(f"7.7.{i}", Frame(CLOSE, code(good)), close=code(good), how=good)
    for i, bad in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield failed(f"7.9.{i}", Frame(CLOSE, code(bad)))
    for i, bad in enumerate((5000, 65535), 1):
        yield failed(f"7.13.{i}", Frame(CLOSE, code(bad)))


def load() -> Iterator[Story]:
    for family, opcode, filler in (("9.1", TEXT, b"*"), ("9.2", BINARY, b"\xfe")):
        for i, size in enumerate((1 << 16, 1 << 18, 1 << 20, 1 << 22), 1):
            yield echoed(f"{family}.{i}", Frame(opcode, filler * size), echo=filler * size, cuts=(0, 65536))
    for family, opcode, filler in (("9.3", TEXT, b"*"), ("9.4", BINARY, b"\xfe")):
        for i, (size, part) in enumerate(((1 << 16, 64), (1 << 18, 1024), (1 << 20, 16384), (1 << 22, 1 << 20)), 1):
            pieces = [Frame(CONT, filler * part, False) for _ in range(size // part - 1)]
            sent = [Frame(opcode, filler * part, False), *pieces, cont(b"")]
            yield echoed(f"{family}.{i}", *sent, echo=filler * size, cuts=(0, -1))
    for family, opcode, filler in (("9.5", TEXT, b"*"), ("9.6", BINARY, b"\xfe")):
        for i, chop in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            yield echoed(f"{family}.{i}", Frame(opcode, filler * (1 << 18)), echo=filler * (1 << 18), cuts=(chop,))
    for family, opcode in (("9.7", TEXT), ("9.8", BINARY)):
        for i, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            messages = (b"m" * size,) * 200
            sent = (*(Frame(opcode, m) for m in messages), Frame(CLOSE, code(1000)))
            yield Story(f"{family}.{i}", sent, messages, (), code(1000), (1000, True), (0, -1, 1000))
    parts = [Frame(CONT, b"*" * 1300, False) for _ in range(49)]
    yield echoed("10.1.1", text(b"*" * 1300, False), *parts, cont(b"*" * 536), echo=b"*" * 65536, cuts=(0, -1, 1300))


STORIES = [*framing(), *pings(), *reserved(), *fragmentation(), *utf8(), *closing(), *load()]


def opened(role: str) -> ServerConnection | ClientConnection:
    if role == "server":
        wire = ServerConnection(0, LIMITS)
        key = b64encode(hashlib.sha1(b"").digest()[:16]).decode()
        (request,) = wire.receive(
            0,
            f"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
        )
        assert isinstance(request, UpgradeRequest)
        assert wire.accept(0) == [Opened()]
        wire.data_to_send()
        return wire
    client = ClientConnection(0, "h", "/", (), LIMITS, seed=b"seed")
    key = client.data_to_send().decode().partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_token(key)}\r\n\r\n"
    )
    assert client.receive(0, answer.encode()) == [Opened()]
    return client


def pieces(frames: list[bytes], cut: int) -> Iterator[bytes]:
    """Whole (0), frame by frame (-1), or in pieces of ``cut``."""
    if cut == -1:
        yield from frames
        return
    data = b"".join(frames)
    size = cut or len(data)
    for i in range(0, len(data), size):
        yield data[i : i + size]


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_story(story: Story, role: str) -> None:
    frames = [frame.encode(MASK if role == "server" else b"") for frame in story.sent]
    for cut in story.cuts:
        wire = opened(role)
        output, ends = bytearray(), []
        for piece in pieces(frames, cut):
            for event in wire.receive(0, piece):
                if isinstance(event, Text | Binary):
                    assert not ends
                    wire.send(event.data)
                elif isinstance(event, Done):
                    ends.append((event.code, event.clean))
            output += wire.data_to_send()
        replies = list(decode(bytes(output), masked=role == "client"))
        assert tuple(p for op, p in replies if op in (TEXT, BINARY)) == story.echoes, cut
        assert tuple(p for op, p in replies if op == PONG) == story.pongs, cut
        assert [p for op, p in replies if op == CLOSE] == [story.close], cut
        assert replies[-1] == (CLOSE, story.close), cut
        assert ends == [story.done], cut
        assert wire.transport is (Transport.CLOSE if story.done and story.done[1] else Transport.FINISH)


def test_every_family_is_here() -> None:
    families = {story.name.partition(".")[0] for story in STORIES}
    assert families == {"1", "2", "3", "4", "5", "6", "7", "9", "10"}
    assert len(STORIES) > 230
