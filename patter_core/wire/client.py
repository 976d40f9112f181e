"""The client's end: a WebSocket that dials. ``HttpClient`` for plain requests is re-exported beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import h11

from patter_core.errors import LocalProtocolError

from .endpoint import State
from .events import Done, HttpResponse, Opened, WireEvent
from .frames import Masks
from .http import BadMessage, HttpReader, encode_fields, fields, tokens
from .http_client import HttpClient, response_length
from .limits import Limits
from .server import accept_token
from .websocket import WebSocket, WebSocketEndpoint, WsState

__all__ = ["ClientConnection", "HttpClient"]


class ClientConnection(WebSocketEndpoint):
    """One dialled WebSocket. ``data_to_send`` has the upgrade request at once; then ``Opened`` or ``HttpResponse``
    (the refusal) comes, and ``Done`` last, exactly once, in every case.

    ``host`` is the Host header's value, ``target`` the path with its query. ``seed`` (any length) yields the
    handshake's key and the masks: it must differ between connections and be secret.
    """

    def __init__(
        self,
        now: int,
        host: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        limits: Limits | None = None,
        *,
        seed: bytes,
    ) -> None:
        limits = limits or Limits()
        super().__init__(limits, State.AWAITING, now + limits.header_timeout_us)
        self._http = HttpReader(h11.CLIENT, limits)
        self._masks = Masks(seed)
        self._refusal: h11.Response | None = None
        self._key = base64.b64encode(hashlib.blake2b(seed, digest_size=16, person=b"patter ws key").digest()).decode()
        extra = encode_fields(headers)
        self._offered = [
            part.strip()
            for name, value in extra
            if name.lower() == b"sec-websocket-protocol"
            for part in value.decode("latin-1").split(",")
        ]
        own = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", "13"),
        ]
        try:
            request = h11.Request(method="GET", target=target, headers=encode_fields(own) + extra)
            self._write(self._http.h11.send(request) + self._http.h11.send(h11.EndOfMessage()))
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"upgrade request: {exc}") from None

    def receive(self, now: int, data: bytes) -> list[WireEvent]:
        """Bytes from the peer; ``b""`` is its EOF."""
        events = self.tick(now) if self._due(now) else []
        ws = self._ws
        if ws is not None and data:
            found = ws.receive(data)
            if ws.state is WsState.CLOSED:
                self._after_websocket(now)
            return events + found if events else found
        if self._eof:
            return events
        self._eof = not data
        if self._state is State.LINGERING:
            if self._eof:
                self._flush(now)
        elif ws is not None:
            events += ws.lost()
            self._after_websocket(now)
        elif self._state in (State.AWAITING, State.REFUSED):
            self._http.buffer += data
            events += self._handshake(now)
        return events

    def tick(self, now: int) -> list[WireEvent]:
        """Do what is due at ``now``; early calls are harmless."""
        if not self._due(now):
            return []
        if self._state is State.REFUSED:
            return self._refused(now)
        awaiting = self._state is State.AWAITING
        self._go(State.DONE, None)
        if awaiting:
            return [Done(1006, "handshake_timeout", False)]
        return self._ws.lost("close_timeout") if self._ws is not None else []

    def _handshake(self, now: int) -> list[WireEvent]:
        http = self._http
        try:
            while self._state is State.AWAITING:
                head = http.read_head()
                if isinstance(head, h11.Response):
                    self._refusal = head
                    http.expect_body(response_length(head, "GET"))
                    self._go(State.REFUSED, now + self._limits.body_timeout_us)
                elif head is None:
                    if self._eof:
                        raise BadMessage(400, "incomplete")
                    return []
                elif isinstance(head, h11.InformationalResponse) and head.status_code == 101:
                    return self._open(now, head)
        except BadMessage:
            self._flush(now)
            return [Done(1006, "bad_handshake", False)]
        try:
            if http.read_body(self._eof) is None:
                return []
        except BadMessage:
            pass  # too long, cut off or garbled: what came of it is still the best explanation there is
        return self._refused(now)

    def _refused(self, now: int) -> list[WireEvent]:
        head = self._refusal
        assert head is not None
        body = bytes(self._http.body[: self._limits.body_bytes])
        self._flush(now)
        return [HttpResponse(head.status_code, fields(head), body), Done(1006, "upgrade_refused", False)]

    def _open(self, now: int, head: h11.InformationalResponse) -> list[WireEvent]:
        headers = fields(head)
        names = dict(headers)
        if (
            tokens(headers, "upgrade") != ["websocket"]
            or "upgrade" not in tokens(headers, "connection")
            or names.get("sec-websocket-accept") != accept_token(self._key)
            or names.get("sec-websocket-extensions")
            or ("sec-websocket-protocol" in names and names["sec-websocket-protocol"] not in self._offered)
        ):
            raise BadMessage(400, "bad_handshake")
        self._ws = ws = WebSocket(self._limits.message_bytes, self._write, self._masks)
        self._go(State.OPEN, None)
        events: list[WireEvent] = [Opened(), *ws.receive(bytes(self._http.buffer))]
        self._http.buffer.clear()
        if self._eof:
            events += ws.lost()
        self._after_websocket(now)
        return events

    def _flush(self, now: int) -> None:
        self._http.buffer.clear()
        self._go(State.FLUSHING, now + self._limits.flush_timeout_us)
