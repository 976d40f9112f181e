"""TLS as bytes in, bytes out.

The loops' own TLS streams differ in what matters here: when a write counts as sent, whether a connection exists before
its handshake, what a missing close_notify means, how to give up half-way. OpenSSL itself needs no socket, so both
adapters put this machine on a plain one.
"""

from __future__ import annotations

import ssl

import httpx

__all__ = ["Tls", "client_context"]

_PIECE = 65536


def client_context() -> ssl.SSLContext:
    """What a client trusts unless told otherwise: the HTTP library's roots, HTTP/1.1 only."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Tls:
    """One TLS session. ``ssl.SSLError`` (or ``ValueError`` for an impossible name) is the peer's fault: drop it."""

    def __init__(self, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
        """A server's side when ``server_name`` is None."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._unsealed = bytearray()
        self.ready = False  #: the handshake is over
        self.ended = False  #: the peer said, or showed, that it will send no more

    def start(self) -> None:
        """Begin the handshake; ``take`` has the first flight."""
        self._shake()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer, ``b""`` for its end; give back what they say. ``take`` may have an answer."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if not self.ready:
            self._shake()
        if not self.ready:
            return b""
        if self._unsealed:
            self._seal()
        return self._read()

    def send(self, data: bytes) -> bytes:
        """Seal ``data``; legal once ``ready``."""
        self._unsealed += data
        self._seal()
        return self.take()

    def farewell(self) -> bytes:
        """Say goodbye (close_notify). Nothing may be sent after it."""
        try:
            self._session.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's goodbye too, which nobody waits for: HTTP and WebSocket have their own
        return self.take()

    def take(self) -> bytes:
        """Bytes for the peer."""
        return self._outgoing.read()

    def _shake(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def _seal(self) -> None:
        try:
            while self._unsealed:
                del self._unsealed[: self._session.write(self._unsealed)]
        except ssl.SSLWantReadError:
            pass  # a renegotiating peer; the rest goes with the next bytes from it

    def _read(self) -> bytes:
        pieces = []
        try:
            while piece := self._session.read(_PIECE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        return b"".join(pieces)
