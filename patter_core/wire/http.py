"""HTTP/1.1 messages out of bytes: h11, fed exactly one message at a time.

h11 has limits of its own, but whether they bite depends on how the bytes were cut. So heads are cut out here, bodies
metered here, and h11 is told never to mind; a fresh h11 connection serves each exchange, and what belongs to the next
one never enters it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

import h11

from patter_core.errors import LocalProtocolError

from .limits import Limits

__all__ = ["BadMessage", "HttpReader", "encode_fields", "fields", "phrase", "split_target", "tokens"]

Headers = tuple[tuple[str, str], ...]

_HEAD_END = re.compile(rb"\n\r?\n")
_ABSOLUTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class BadMessage(Exception):
    """The peer's message cannot be read. Never leaves this package."""

    def __init__(self, status: int, code: str, *headers: tuple[str, str]) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.headers = headers


def fields(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    """Header names in lower case, values as latin-1: bytes are never lost and never raise."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)


def encode_fields(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The application's headers for the wire, without those that frame the body, which are ours."""
    try:
        return [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers
            if name.lower() not in ("content-length", "transfer-encoding")
        ]
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(f"a header does not fit into latin-1: {exc.object!r}") from None


def tokens(headers: Headers, name: str) -> list[str]:
    """The comma-separated, case-insensitive values of a field, lower-case."""
    return [
        token for key, value in headers if key == name for part in value.split(",") if (token := part.strip().lower())
    ]


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target in origin or absolute form, still percent-encoded."""
    rest = _ABSOLUTE.sub("", target).partition("#")[0]
    path, _, query = rest.partition("?")
    return path or "/", query


def phrase(status: int) -> bytes:
    """The reason phrase."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


class HttpReader:
    """The incoming half of one connection's HTTP. ``buffer`` holds what no message has claimed yet."""

    __slots__ = ("_budget", "_fed_eof", "_left", "_limits", "_role", "_searched", "body", "buffer", "h11")

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], limits: Limits) -> None:
        self._role = role
        self._limits = limits
        self.buffer = bytearray()
        self.next_exchange()

    def next_exchange(self) -> None:
        """Forget the exchange that is over; ``buffer`` stays."""
        self.h11 = h11.Connection(self._role, max_incomplete_event_size=1 << 62)
        self.body = bytearray()
        self._searched = 0
        self._left: int | None = 0
        self._budget = 0
        self._fed_eof = False

    def read_head(self) -> h11.Request | h11.Response | h11.InformationalResponse | None:
        """The next head, or None if it is not complete. Raises ``BadMessage``."""
        buffer, limit = self.buffer, self._limits.header_bytes
        if not buffer:
            return None
        if buffer[0] < 0x21:
            # A TLS hello, a stray line end: waiting for a blank line would only tie up a socket.
            raise BadMessage(400, "bad_request")
        found = _HEAD_END.search(buffer, self._searched, limit)
        if found is None:
            if len(buffer) > limit:
                raise BadMessage(431, "headers_too_large")
            self._searched = max(0, len(buffer) - 2)
            return None
        head = bytes(buffer[: found.end()])
        del buffer[: found.end()]
        self._searched = 0
        try:
            self.h11.receive_data(head)
            event = self.h11.next_event()
        except h11.RemoteProtocolError as exc:
            # h11's prose depends on what else it was fed; its status does not.
            status = exc.error_status_hint
            raise BadMessage(status, "unsupported_coding" if status == 501 else "bad_request") from None
        if not isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
            raise BadMessage(400, "bad_request")
        return event

    def expect_body(self, length: int | None) -> None:
        """``length`` decoded bytes follow the head; None: h11 finds the end (chunked, or until EOF)."""
        self._left = length
        # Chunk sizes, extensions and trailers are not body, and must not be free either.
        self._budget = 2 * self._limits.body_bytes + self._limits.header_bytes

    def read_body(self, eof: bool) -> bytes | None:
        """The whole body, or None if it is not complete. What came so far is in ``body``. Raises ``BadMessage``."""
        buffer, machine = self.buffer, self.h11
        room = self._budget if self._left is None else self._left
        piece = bytes(buffer[:room])
        del buffer[:room]
        if self._left is None:
            self._budget -= len(piece)
        else:
            self._left -= len(piece)
        try:
            if piece:
                machine.receive_data(piece)
            while True:
                event = machine.next_event()
                if isinstance(event, h11.Data):
                    self.body += event.data
                    if len(self.body) > self._limits.body_bytes:
                        raise BadMessage(413, "body_too_large")
                elif isinstance(event, h11.EndOfMessage):
                    rest = machine.trailing_data[0]
                    if rest:
                        buffer[:0] = rest
                    return bytes(self.body)
                elif event is not h11.NEED_DATA:
                    raise BadMessage(400, "bad_request")
                elif self._left is None and self._budget == 0:
                    raise BadMessage(413, "body_too_large")
                elif eof and not self._fed_eof:
                    self._fed_eof = True
                    machine.receive_data(b"")
                else:
                    return None
        except h11.RemoteProtocolError:
            raise BadMessage(400, "incomplete_request" if self._fed_eof else "bad_request") from None
