"""Listening sockets and lists of addresses, without a loop."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

__all__ = [
    "BACKLOG",
    "AcceptTrouble",
    "Address",
    "descriptor_limit",
    "interleave",
    "listen",
    "numeric",
    "peer_name",
]

Address: TypeAlias = tuple[Any, ...]  #: one row of ``getaddrinfo``

BACKLOG = 512  #: connections the kernel may hold for us; it caps the number itself, and a burst of webhooks is short
ACCEPT_PAUSE_S = 0.1  #: after an accept that failed for want of something; what frees it is a connection that ends
COMPLAIN_EVERY_S = 60.0  #: enough to see in the log that it lasts
DESCRIPTOR_RESERVE = 64  #: descriptors for what is no connection: the loop, listeners, traces, libraries

#: What a peer can cause by being gone again, as often as it likes.
_PEER_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO})

log = logging.getLogger("patter")


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


class AcceptTrouble:
    """What to do when ``accept`` fails: the connection stays in the backlog, so trying at once would fail at once."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def met(self, exc: OSError, now_s: float) -> float:
        """Seconds to wait before the next try. Said in the log at most once a minute, by the loop's clock."""
        if exc.errno in _PEER_GONE:
            return 0.0
        if now_s >= self._quiet_until:
            self._quiet_until = now_s + COMPLAIN_EVERY_S
            log.error("cannot accept connections for now: %s", exc)
        return ACCEPT_PAUSE_S


def descriptor_limit(wanted: int) -> int:
    """How many connections fit, after the soft limit of open files was raised for ``wanted``, as far as is allowed.

    The limit less a reserve of 64 for all else; ``wanted`` where there is no limit or none can be asked for.
    """
    try:
        import resource
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + DESCRIPTOR_RESERVE
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < need:
        aim = need if hard == resource.RLIM_INFINITY else min(need, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
        except (OSError, ValueError):
            pass  # some systems have another limit, which they do not tell
        else:
            soft = aim
    return max(0, soft - DESCRIPTOR_RESERVE)
