"""Listening sockets and lists of addresses, without a loop."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

__all__ = ["BACKLOG", "Address", "interleave", "listen", "numeric", "peer_name"]

Address: TypeAlias = tuple[Any, ...]  #: one row of ``getaddrinfo``

BACKLOG = 512  #: connections the kernel may hold for us; it caps the number itself, and a burst of webhooks is short


def listen(host: str, port: int, *, backlog: int = BACKLOG) -> socket.socket:
    """A bound, listening, non-blocking TCP socket. ``host`` is an IPv4 or IPv6 address or a name; port 0 picks one.

    Raises ``OSError``: the address is taken, or is not ours.
    """
    family, kind, proto, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def numeric(hosts: Sequence[str], port: int) -> list[Address]:
    """Rows for hosts that are addresses already, in their order. Never asks a resolver; ``OSError`` for a name."""
    return [
        row
        for host in hosts
        for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    ]


def interleave(rows: Sequence[Address]) -> list[Address]:
    """The resolver's order, families taking turns (RFC 8305, section 4), so that one dead family costs one delay."""
    first = [row for row in rows if row[0] == rows[0][0]]
    other = [row for row in rows if row[0] != rows[0][0]]
    return [row for pair in zip_longest(first, other) for row in pair if row is not None]


def peer_name(address: object) -> str:
    """The IP address of a peer, without its port; empty when the peer was gone before anybody could ask."""
    return str(address[0]) if isinstance(address, tuple) and address else ""
