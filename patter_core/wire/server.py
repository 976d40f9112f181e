"""The server's end of one TCP connection: HTTP/1.1 that may become a WebSocket, or a stream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.utilities import LocalProtocolError as WsLocalError
from wsproto.utilities import RemoteProtocolError as WsRemoteError

from patter_core.errors import LocalProtocolError

from .endpoint import State
from .events import Done, HttpRequest, Opened, Refused, UpgradeRequest, WireEvent
from .http import BadMessage, HttpReader, encode_fields, fields, phrase, split_target, tokens
from .limits import Limits
from .websocket import WebSocket, WebSocketEndpoint, WsState

__all__ = ["ServerConnection", "accept_token"]


def accept_token(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode("ascii")


class ServerConnection(WebSocketEndpoint):
    """One accepted connection. Feed it ``receive`` and ``tick``; send what ``data_to_send`` has; obey ``transport``.

    ``receive``, ``tick`` and the answers return what happened; remote bytes never make them raise. At most one
    request is with the application at a time, pipelined ones wait in here. ``Refused`` was answered already.
    """

    def __init__(self, now: int, limits: Limits | None = None, *, server_name: str = "patter") -> None:
        limits = limits or Limits()
        super().__init__(limits, State.HEAD, now + limits.header_timeout_us)
        self._http = HttpReader(h11.SERVER, limits)
        self._server_name = server_name
        self._request: h11.Request | None = None
        self._close_after = False
        self._accept = ""

    # --- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, now: int, data: bytes) -> list[WireEvent]:
        """Bytes from the peer; ``b""`` is its EOF."""
        events = self.tick(now) if self._due(now) else []
        if not data:
            return events + self._end_of_input(now)
        ws = self._ws
        if ws is not None:
            found = ws.receive(data)
            if ws.state is WsState.CLOSED:
                self._after_websocket(now)
            return events + found if events else found
        if self._eof or self._state in (State.LINGERING, State.FLUSHING, State.DONE):
            return events
        self._http.buffer += data
        return events + self._pump(now)

    def _end_of_input(self, now: int) -> list[WireEvent]:
        if self._eof:
            return []
        self._eof = True
        if self._state is State.LINGERING:
            self._flush(now)
        elif self._ws is not None:
            events = self._ws.lost()
            self._after_websocket(now)
            return events
        elif self._state is State.STREAMING:
            # Whoever reads a stream and closes its sending half is leaving: nobody else would tell us.
            self._flush(now)
            return [Done(1006, "", False)]
        return self._pump(now)

    def tick(self, now: int) -> list[WireEvent]:
        """Do what is due at ``now``; early calls are harmless."""
        if not self._due(now):
            return []
        state = self._state
        if state is State.HEAD and self._http.buffer:
            return [self._refuse(now, 408, "header_timeout", ())]
        if state is State.BODY:
            return [self._refuse(now, 408, "body_timeout", ())]
        if state in (State.HEAD, State.IDLE):
            # Nothing was asked, so nothing is answered: browsers open connections in advance.
            self._flush(now)
            return []
        self._go(State.DONE, None)
        return self._ws.lost("close_timeout") if self._ws is not None else []

    @property
    def wants_input(self) -> bool:
        """False while more than ``pipeline_bytes`` wait behind an unanswered request: pause reading."""
        return len(self._http.buffer) <= self._limits.pipeline_bytes or self._state not in (
            State.ANSWERING,
            State.STREAMING,
            State.UPGRADING,
        )

    # --- requests ----------------------------------------------------------------------------------------------------

    def _pump(self, now: int) -> list[WireEvent]:
        """Read as far as the bytes go, or until the application has a request."""
        limits, http = self._limits, self._http
        try:
            if self._state is State.IDLE and http.buffer:
                self._go(State.HEAD, now + limits.header_timeout_us)
            if self._state is State.HEAD:
                head = http.read_head()
                if isinstance(head, h11.Request):
                    self._begin(now, head)
                elif self._eof and http.buffer:
                    raise BadMessage(400, "incomplete_request")
            if self._state is State.BODY:
                body = http.read_body(self._eof)
                if body is not None:
                    return [self._whole(body)]
            elif self._eof and self._state in (State.IDLE, State.HEAD):
                self._flush(now)
        except BadMessage as bad:
            return [self._refuse(now, bad.status, bad.code, bad.headers)]
        return []

    def _begin(self, now: int, head: h11.Request) -> None:
        """A request head is in: decide how its body is framed and whether we want it."""
        self._request = head
        headers = fields(head)
        names = dict(headers)
        chunked = "transfer-encoding" in names
        length = int(names.get("content-length", "0"))
        if head.http_version[:1] != b"1":
            raise BadMessage(505, "unsupported_version")
        if head.method == b"CONNECT":
            raise BadMessage(405, "method_not_allowed", ("Allow", "GET, POST"))
        self._close_after = chunked and "content-length" in names  # RFC 9112 6.1: one of the two is a lie
        if head.http_version >= b"1.1" and "websocket" in tokens(headers, "upgrade"):
            if head.method != b"GET":
                raise BadMessage(405, "method_not_allowed", ("Allow", "GET"))
            if chunked or length:
                raise BadMessage(400, "bad_upgrade")
            self._accept = _check_upgrade(head, names)
        elif not chunked and length > self._limits.body_bytes:
            raise BadMessage(413, "body_too_large")
        elif (chunked or length) and self._http.h11.they_are_waiting_for_100_continue:
            self._write(self._http.h11.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))
        self._http.expect_body(None if chunked else length)
        self._go(State.BODY, now + self._limits.body_timeout_us)

    def _whole(self, body: bytes) -> HttpRequest | UpgradeRequest:
        head = self._request
        assert head is not None
        target = head.target.decode("latin-1")
        path, query = split_target(target)
        if self._accept:
            self._go(State.UPGRADING, None)
            return UpgradeRequest(target, path, query, fields(head))
        self._go(State.ANSWERING, None)
        method, version = head.method.decode("latin-1"), head.http_version.decode("latin-1")
        return HttpRequest(method, target, path, query, fields(head), body, version)

    # --- answers -----------------------------------------------------------------------------------------------------

    def respond(
        self, now: int, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> list[WireEvent]:
        """Answer the request. Adds Content-Length and Server; a HEAD request gets no body. Returns what the next,
        pipelined request holds. A ``Connection: close`` header closes afterwards."""
        self._must_be(State.ANSWERING, "respond")
        self._respond(status, headers, body)
        return self._next(now)

    def start_stream(self, now: int, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Answer with a body of unknown length (chunked; on HTTP/1.0 until the close). ``push`` follows."""
        self._must_be(State.ANSWERING, "start_stream")
        self._head(status, encode_fields(headers))
        self._go(State.STREAMING, None)

    def push(self, now: int, data: bytes) -> None:
        """The next piece of the stream. Dropped once the peer has left."""
        if self._streaming("push") and data and not self._is_head():
            self._write(self._http.h11.send(h11.Data(data=data)))

    def end_stream(self, now: int) -> list[WireEvent]:
        """End the stream; returns as ``respond``."""
        if not self._streaming("end_stream"):
            return []
        self._write(self._http.h11.send(h11.EndOfMessage()))
        return self._next(now)

    @property
    def can_push(self) -> bool:
        """False while more than ``high_water`` bytes are unsent: the reader is slow, skip or drop it."""
        return self._state is State.STREAMING and self.unsent <= self._limits.high_water

    def _streaming(self, verb: str) -> bool:
        if self._state in (State.FLUSHING, State.LINGERING, State.DONE):
            return False
        self._must_be(State.STREAMING, verb)
        return True

    def _must_be(self, state: State, verb: str) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"{verb} while {self._state.value}")

    def _is_head(self) -> bool:
        return self._request is not None and self._request.method == b"HEAD"

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self._server_name and not any(name.lower() == b"server" for name, _ in headers):
            headers.append((b"Server", self._server_name.encode("latin-1")))
        if self._close_after:
            headers.append((b"Connection", b"close"))
        try:
            # Checked while nothing is sent yet, so that the application can still answer something else.
            response = h11.Response(status_code=status, headers=headers, reason=phrase(status))
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(f"response: {exc}") from None
        self._write(self._http.h11.send(response))

    def _respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        out = encode_fields(headers)
        if status in (204, 304):
            if body:
                raise LocalProtocolError(f"a {status} has no body")
        else:
            out.append((b"Content-Length", b"%d" % len(body)))
        self._head(status, out)
        if body and not self._is_head():
            self._write(self._http.h11.send(h11.Data(data=body)))
        self._write(self._http.h11.send(h11.EndOfMessage()))

    def _next(self, now: int) -> list[WireEvent]:
        """An exchange is over: on to the next one, or to the end."""
        http = self._http
        if http.h11.our_state is not h11.DONE:
            self._flush(now)
            return []
        http.next_exchange()
        self._request = None
        self._close_after = False
        self._go(State.IDLE, now + self._limits.idle_timeout_us)
        return self._pump(now)

    def _refuse(self, now: int, status: int, code: str, headers: Sequence[tuple[str, str]]) -> Refused:
        """Answer a bad request ourselves, and give the peer time to read it."""
        self._close_after = True
        body = b'{"error":"%s"}' % code.encode("ascii")
        self._respond(status, [("Content-Type", "application/json"), *headers], body)
        self._linger(now)
        return Refused(status, code)

    def _linger(self, now: int) -> None:
        self._http.buffer.clear()
        if self._eof:
            self._flush(now)
        else:
            self._go(State.LINGERING, now + self._limits.linger_us)

    def _flush(self, now: int) -> None:
        self._http.buffer.clear()
        self._go(State.FLUSHING, now + self._limits.flush_timeout_us)

    # --- WebSocket ---------------------------------------------------------------------------------------------------

    def accept(self, now: int) -> list[WireEvent]:
        """Open the WebSocket: no subprotocol, no extensions. Returns ``Opened`` and what came glued to the request."""
        self._must_be(State.UPGRADING, "accept")
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append("Sec-WebSocket-Accept: " + self._accept)
        if self._server_name:
            lines.append("Server: " + self._server_name)
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        self._ws = ws = WebSocket(self._limits.message_bytes, self._write)
        self._go(State.OPEN, None)
        glued = bytes(self._http.buffer)
        self._http.buffer.clear()
        events: list[WireEvent] = [Opened(), *ws.receive(glued)]
        if self._eof:
            events += ws.lost()
        self._after_websocket(now)
        return events

    def reject(
        self, now: int, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> list[WireEvent]:
        """Answer the upgrade with a plain response, and close: the peer may have sent frames already."""
        self._must_be(State.UPGRADING, "reject")
        self._close_after = True
        self._respond(status, headers, body)
        self._linger(now)
        return []


def _check_upgrade(head: h11.Request, names: dict[str, str]) -> str:
    """The Sec-WebSocket-Accept of a correct handshake. Raises ``BadMessage``."""
    if names.get("sec-websocket-version") != "13":
        raise BadMessage(
            426, "unsupported_websocket_version", ("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")
        )
    key = names.get("sec-websocket-key", "")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadMessage(400, "bad_upgrade")
        WSConnection(ConnectionType.SERVER).initiate_upgrade_connection(list(head.headers), head.target)
    except (WsRemoteError, WsLocalError, h11.ProtocolError, ValueError):
        # ValueError: bad base64, and the UnicodeError that wsproto lets out for an odd Host or subprotocol.
        raise BadMessage(400, "bad_upgrade") from None
    return accept_token(key)
