"""The client's end of one HTTP/1.1 request whose answer is read as it comes, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable

import h11

from patter_core.errors import LocalProtocolError

from .http import BadMessage, HttpReader, encode_fields, fields
from .http_client import response_length
from .limits import Limits

__all__ = ["HttpDownload"]

_FRAMING = 8  # what chunk sizes may cost, as a multiple of the body: a piece may be a single letter


class HttpDownload:
    """One request, whose bytes are in ``data`` at once, and its answer.

    ``status`` is 0 until the head is in. ``ended``: the whole answer is; ``failed``: it will never be. Not more than
    ``max_body`` bytes of a body are given out; one byte above is ``too_large``.
    """

    def __init__(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes, *, max_body: int
    ) -> None:
        limits = Limits(body_bytes=_FRAMING * max(1, max_body))
        self._http = HttpReader(h11.CLIENT, limits)
        self._method = method
        self._left = max_body
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.ended = False
        self.failed = False
        self.too_large = False
        out = encode_fields(headers)
        if body or method in ("POST", "PUT", "PATCH"):
            out.append((b"Content-Length", b"%d" % len(body)))
        machine = self._http.h11
        try:
            head = machine.send(h11.Request(method=method, target=target, headers=out))
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"request: {exc}") from None
        content = machine.send(h11.Data(data=body)) if body else b""
        self.data = (head or b"") + (content or b"") + (machine.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> bytes:
        """Bytes from the peer, ``b""`` for its EOF; gives out what of the body they hold."""
        if self.ended or self.failed:
            return b""
        http = self._http
        http.buffer += data
        try:
            while not self.status:
                head = http.read_head()
                if head is None:
                    self.failed = not data
                    return b""
                if isinstance(head, h11.Response):
                    self.status, self.headers = head.status_code, fields(head)
                    http.expect_body(response_length(head, self._method))
                elif isinstance(head, h11.InformationalResponse) and head.status_code == 101:
                    raise BadMessage(400, "bad_response")  # nobody asked for an upgrade
            whole = http.read_body(eof=not data)
        except BadMessage:
            self.failed = True
            piece = bytes(http.body)
        else:
            self.ended = whole is not None
            piece = bytes(http.body)
        http.body.clear()
        if len(piece) > self._left:
            self.ended, self.failed, self.too_large = False, True, True
            return b""
        self._left -= len(piece)
        return piece
