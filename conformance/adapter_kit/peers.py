"""The other ends of the wire: blocking sockets in threads, so that they depend on no event loop."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import trustme

from patter_core.edge.sockets import listen

__all__ = ["Peers", "read_all", "read_until", "reset"]

LIMIT_S = 10.0  #: no peer waits longer for anything
PATIENCE_S = 0.05  #: how soon a waiting peer notices that the scenario is over


class Peers:
    """Sockets and threads of one scenario; ``close`` ends them all."""

    _ca: trustme.CA | None = None
    _wrong_ca: trustme.CA | None = None

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._over = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    # --- sockets -----------------------------------------------------------------------------------------------------

    def listener(self) -> socket.socket:
        """A listening socket for the adapter, which will close it."""
        return listen("127.0.0.1", 0)

    def server(self, serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> int:
        """Accept one connection after another and ``serve`` each in its thread. The port."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(LIMIT_S)
        self._sockets.append(listener)

        def one(sock: socket.socket) -> None:
            self._sockets.append(sock)
            with sock:
                if tls is not None:
                    try:
                        sock = tls.wrap_socket(sock, server_side=True)
                    except OSError:
                        return  # the scenario is about just that
                with sock:
                    serve(sock)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                sock.settimeout(LIMIT_S)
                self.run(one, sock)

        self.run(accept)
        return int(listener.getsockname()[1])

    def closed_port(self) -> int:
        """A port of ours on which nobody listens."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self._sockets.append(sock)
        return int(sock.getsockname()[1])

    def black_hole(self) -> int:
        """A port that answers no SYN: its backlog is full."""
        hole = socket.socket()
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        self._sockets.append(hole)
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
            self._sockets.append(filler)
        return int(hole.getsockname()[1])

    def client(self, port: int, talk: Callable[[socket.socket], None], receive_buffer: int = 0) -> None:
        """Connect to the adapter's listener and ``talk``."""

        def dial() -> None:
            sock = socket.socket()
            self._sockets.append(sock)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(LIMIT_S)
            with sock:
                sock.connect(("127.0.0.1", port))
                talk(sock)

        self.run(dial)

    # --- threads -----------------------------------------------------------------------------------------------------

    def run(self, body: Callable[..., None], *args: Any) -> None:
        """Run ``body`` in a thread; what it raises is an error of the scenario."""

        def guarded() -> None:
            try:
                body(*args)
            except OSError as exc:
                if not self._over:  # else it was we who cut it off
                    self.errors.append(f"peer: {type(exc).__name__}: {exc}")
            except Exception as exc:
                self.errors.append(f"peer: {type(exc).__name__}: {exc}")

        thread = threading.Thread(target=guarded, name="kit peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, event: threading.Event, what: str) -> None:
        """In a peer: wait for the board to get there."""
        for _ in range(int(LIMIT_S / PATIENCE_S)):
            if event.wait(PATIENCE_S):
                return
            if self._over:
                break
        raise TimeoutError(f"waited in vain for {what}")

    def close(self) -> None:
        """End every peer."""
        self._over = True
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes an accept; close alone does not
            except OSError:
                pass
            sock.close()
        for thread in list(self._threads):
            thread.join(LIMIT_S)
            if thread.is_alive():
                self.errors.append("peer: did not end")

    # --- certificates ------------------------------------------------------------------------------------------------

    @classmethod
    def ca(cls) -> trustme.CA:
        """The authority that the scenarios' clients trust."""
        if cls._ca is None:
            cls._ca = trustme.CA()
        return cls._ca

    def client_tls(self) -> ssl.SSLContext:
        """A context that trusts our authority only."""
        context = ssl.create_default_context()
        self.ca().configure_trust(context)
        return context

    def server_tls(self, *names: str, trusted: bool = True) -> ssl.SSLContext:
        """A context with a certificate for ``names``."""
        cls = type(self)
        if not trusted and cls._wrong_ca is None:
            cls._wrong_ca = trustme.CA()
        ca = cls._wrong_ca if not trusted and cls._wrong_ca is not None else self.ca()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)
        return context


def read_all(sock: socket.socket) -> bytes:
    """Read until the other side is done."""
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Read until these bytes were seen, or the end."""
    data = b""
    while end not in data and (piece := sock.recv(65536)):
        data += piece
    return data


def reset(sock: socket.socket) -> None:
    """Go away without the usual goodbye."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
