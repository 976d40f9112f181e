"""What a connection reports. Codes are for programs, from closed lists; prose is never compared."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "Binary",
    "Done",
    "HttpRequest",
    "HttpResponse",
    "Opened",
    "Pong",
    "Refused",
    "Text",
    "UpgradeRequest",
    "WireEvent",
]


def _field(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    name = name.lower()
    found = [value for key, value in headers if key == name]
    return ", ".join(found) if found else None


class _Event(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Base of every event."""


class HttpRequest(_Event, frozen=True, gc=False, tag=True):
    """A whole request. Answer it with ``respond`` or ``start_stream``; later ones wait behind it.

    ``path`` and ``query`` are the target's parts as sent, still percent-encoded; ``query`` has no question mark.
    Header names are lower-case, values latin-1. ``version`` is ``"1.0"`` or ``"1.1"``.
    """

    method: str
    target: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    version: str

    def header(self, name: str) -> str | None:
        """The field's value. A repeated field is joined with ``", "`` (RFC 9110 5.3), so that a second, contradicting
        copy of a credential can never pass for the first."""
        return _field(self.headers, name)


class UpgradeRequest(_Event, frozen=True, gc=False, tag=True):
    """A valid WebSocket handshake. Answer it with ``accept`` or ``reject``. Fields as in ``HttpRequest``."""

    target: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """As ``HttpRequest.header``."""
        return _field(self.headers, name)


class HttpResponse(_Event, frozen=True, gc=False, tag=True):
    """Client role: a whole response; on a ``ClientConnection``, the refusal of the upgrade (its body may be cut at
    ``body_bytes``)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """As ``HttpRequest.header``."""
        return _field(self.headers, name)


class Opened(_Event, frozen=True, gc=False, tag=True):
    """The WebSocket is open."""


class Text(_Event, frozen=True, gc=False, tag=True):
    """A whole text message."""

    data: str


class Binary(_Event, frozen=True, gc=False, tag=True):
    """A whole binary message."""

    data: bytes


class Pong(_Event, frozen=True, gc=False, tag=True):
    """A pong, asked for or not. Pings are answered here and not reported."""

    data: bytes


class Done(_Event, frozen=True, gc=False, tag=True):
    """The WebSocket (or the stream) is over: always the last event, exactly once.

    ``code`` is the peer's close code (1005: its close frame had none); ours when its frames were wrong (1002, 1007,
    1009); 1006 when it went away without a close frame. ``reason`` is the peer's prose then, else one of
    ``"protocol_error"``, ``"invalid_utf8"``, ``"message_too_big"``, ``"close_timeout"``, ``"handshake_timeout"``,
    ``"bad_handshake"``, ``"upgrade_refused"``, ``"response_timeout"``, ``"response_too_large"``, ``"bad_response"``
    or ``""``. ``clean`` says both sides said goodbye.
    """

    code: int
    reason: str
    clean: bool


class Refused(_Event, frozen=True, gc=False, tag=True):
    """A bad request was answered here; nothing is to be done but to count it.

    ``code`` is one of ``bad_request``, ``incomplete_request``, ``unsupported_coding``, ``unsupported_version``,
    ``method_not_allowed``, ``headers_too_large``, ``body_too_large``, ``header_timeout``, ``body_timeout``,
    ``bad_upgrade``, ``unsupported_websocket_version``.
    """

    status: int
    code: str


WireEvent: TypeAlias = HttpRequest | UpgradeRequest | HttpResponse | Opened | Text | Binary | Pong | Done | Refused
