"""The client's end of plain HTTP/1.1: one request and its response at a time."""

from __future__ import annotations

from collections.abc import Iterable

import h11

from patter_core.errors import LocalProtocolError

from .endpoint import Endpoint, State
from .events import Done, HttpResponse, WireEvent
from .http import BadMessage, HttpReader, encode_fields, fields
from .limits import Limits

__all__ = ["HttpClient", "response_length"]


def response_length(head: h11.Response, method: str) -> int | None:
    """How long a response's body is; None: chunked, or until EOF (RFC 9112 6.3)."""
    if method == "HEAD" or head.status_code in (204, 304):
        return 0
    names = dict(head.headers)
    if b"transfer-encoding" in names or b"content-length" not in names:
        return None
    return int(names[b"content-length"])


class HttpClient(Endpoint):
    """Requests over one connection. Each ``request`` ends in ``HttpResponse`` or in ``Done``, the last event of all:
    ``Done(1000, "", True)`` when the connection ended between exchanges, 1006 within one, 1009 for a body above
    ``body_bytes``. Interim (1xx) responses are skipped."""

    def __init__(self, now: int = 0, limits: Limits | None = None, *, host: str = "localhost") -> None:
        super().__init__(limits or Limits(), State.READY, None)
        self._http = HttpReader(h11.CLIENT, self._limits)
        self._host = host
        self._method = ""
        self._head: h11.Response | None = None

    @property
    def idle(self) -> bool:
        """True when ``request`` may be called."""
        return self._state is State.READY

    def request(
        self, now: int, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Queue a request; adds Host and Content-Length where needed."""
        if self._state is not State.READY:
            raise LocalProtocolError(f"request while {self._state.value}")
        out = encode_fields(headers)
        if not any(name.lower() == b"host" for name, _ in out):
            out.insert(0, (b"Host", self._host.encode("latin-1")))
        if body or method in ("POST", "PUT", "PATCH"):
            out.append((b"Content-Length", b"%d" % len(body)))
        try:
            head = h11.Request(method=method, target=target, headers=out)
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"request: {exc}") from None
        machine = self._http.h11
        self._write(machine.send(head))
        if body:
            self._write(machine.send(h11.Data(data=body)))
        self._write(machine.send(h11.EndOfMessage()))
        self._method = method
        self._go(State.AWAITING, now + self._limits.response_timeout_us)

    def receive(self, now: int, data: bytes) -> list[WireEvent]:
        """Bytes from the peer; ``b""`` is its EOF."""
        events = self.tick(now) if self._due(now) else []
        if self._eof or self._state in (State.FLUSHING, State.DONE):
            return events
        self._eof = not data
        if self._state is State.READY:
            # EOF between exchanges is the peer's right; bytes nobody asked for are not.
            return [*events, self._over(now, *((1000, "", True) if self._eof else (1006, "bad_response", False)))]
        self._http.buffer += data
        try:
            return events + self._read(now)
        except BadMessage as bad:
            code, reason = (1009, "response_too_large") if bad.status in (413, 431) else (1006, "bad_response")
            return [*events, self._over(now, code, reason, False)]

    def tick(self, now: int) -> list[WireEvent]:
        """Do what is due at ``now``; early calls are harmless."""
        if not self._due(now):
            return []
        waiting = self._state is not State.FLUSHING
        self._go(State.DONE, None)
        return [Done(1006, "response_timeout", False)] if waiting else []

    def _read(self, now: int) -> list[WireEvent]:
        http = self._http
        while self._state is State.AWAITING:
            head = http.read_head()
            if head is None:
                if self._eof:
                    raise BadMessage(400, "incomplete")
                return []
            if isinstance(head, h11.Response):
                self._head = head
                http.expect_body(response_length(head, self._method))
                self._go(State.READING, self.deadline)
            elif isinstance(head, h11.InformationalResponse) and head.status_code == 101:
                raise BadMessage(400, "bad_response")  # nobody asked for an upgrade
        body = http.read_body(self._eof)
        if body is None:
            return []
        assert self._head is not None
        events: list[WireEvent] = [HttpResponse(self._head.status_code, fields(self._head), body)]
        reusable = http.h11.our_state is h11.DONE and http.h11.their_state is h11.DONE
        if not reusable or self._eof:
            events.append(self._over(now, 1000, "", True))
        elif http.buffer:
            # Bytes beyond the response answer nothing: such a connection cannot be trusted with another request.
            events.append(self._over(now, 1006, "bad_response", False))
        else:
            http.next_exchange()
            self._go(State.READY, None)
        return events

    def _over(self, now: int, code: int, reason: str, clean: bool) -> Done:
        self._http.buffer.clear()
        self._go(State.FLUSHING, now + self._limits.flush_timeout_us)
        return Done(code, reason, clean)
