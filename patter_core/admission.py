"""Who may come in: stream tickets, the client's address, sockets per address. Pure arithmetic, decided before anything
is spent."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import heapq
import hmac
import ipaddress
from collections import Counter
from collections.abc import Sequence

from .errors import ConfigError

__all__ = ["PeerCounter", "TicketVerdict", "Tickets", "check_networks", "client_address", "is_proxy", "tunnel_visitor"]


class TicketVerdict(enum.Enum):
    """What a stream ticket is worth."""

    VALID = "valid"
    FORGED = "forged"  # not ours, or for another call
    EXPIRED = "expired"
    USED = "used"


class Tickets:
    """Single-use, expiring tickets that bind a media socket to the webhook that announced its call.

    A ticket is ``expiry (unix s, 5 bytes) | nonce (7 bytes) | HMAC-SHA256(secret, call id | expiry | nonce)[:18]``, as
    40 URL-safe base64 characters. Another process that knows the secret can admit it too; *used* is known to this
    process only. 18 bytes of tag leave 144 bits to guess.
    """

    def __init__(self, secret: bytes, lifetime_s: float) -> None:
        self._secret = secret
        self._lifetime = max(1, round(lifetime_s))
        self._count = 0
        self._used: set[bytes] = set()  # decoded: a ticket has more than one spelling in base64
        self._expiries: list[tuple[int, bytes]] = []  # a heap

    def mint(self, call_id: str, unix_s: int) -> str:
        """A fresh ticket for a call."""
        self._count += 1
        nonce = hashlib.blake2b(self._count.to_bytes(8, "big"), key=self._secret[:64], digest_size=7).digest()
        head = (unix_s + self._lifetime).to_bytes(5, "big") + nonce
        return base64.urlsafe_b64encode(head + self._tag(call_id, head)).decode("ascii")

    def _tag(self, call_id: str, head: bytes) -> bytes:
        return hmac.new(self._secret, call_id.encode("utf-8", "replace") + b"|" + head, hashlib.sha256).digest()[:18]

    def check(self, call_id: str, ticket: str, unix_s: int) -> TicketVerdict:
        """Judge a ticket without using it up."""
        raw = _decode(ticket)
        if len(raw) != 30 or not hmac.compare_digest(self._tag(call_id, raw[:12]), raw[12:]):
            return TicketVerdict.FORGED
        if unix_s > _expiry(raw):
            return TicketVerdict.EXPIRED
        return TicketVerdict.USED if raw in self._used else TicketVerdict.VALID

    def use(self, ticket: str, unix_s: int) -> None:
        """Use a valid ticket up. What has expired by itself is forgotten, so this stays as small as the traffic."""
        while self._expiries and self._expiries[0][0] < unix_s:
            self._used.discard(heapq.heappop(self._expiries)[1])
        raw = _decode(ticket)
        if raw not in self._used:
            self._used.add(raw)
            # By its own expiry: a process that shares the secret may give its tickets another lifetime.
            heapq.heappush(self._expiries, (_expiry(raw), raw))

    def __len__(self) -> int:
        return len(self._used)


def _expiry(raw: bytes) -> int:
    return int.from_bytes(raw[:5], "big")


def _decode(ticket: str) -> bytes:
    try:
        return base64.b64decode(ticket.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


class PeerCounter:
    """How many sockets each address has. An address with none is not kept."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __getitem__(self, peer: str) -> int:
        return self._counts.get(peer, 0)

    def add(self, peer: str) -> None:
        """One more."""
        self._counts[peer] += 1

    def remove(self, peer: str) -> None:
        """One less."""
        left = self._counts[peer] - 1
        if left > 0:
            self._counts[peer] = left
        else:
            del self._counts[peer]

    def __len__(self) -> int:
        return len(self._counts)


def check_networks(networks: Sequence[str]) -> None:
    """ConfigError for a proxy that is neither an address nor a network."""
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ConfigError(
                f"trusted_proxies takes addresses and networks such as '10.0.0.0/8', not {network!r}"
            ) from None


def is_proxy(peer: str, trusted_proxies: Sequence[str]) -> bool:
    """Is this one of the proxies the operator named? Everybody comes through it, so it is not one peer among others."""
    return bool(trusted_proxies) and _in(peer, trusted_proxies)


def _in(address: str, networks: Sequence[str]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    candidate = mapped or parsed
    return any(candidate in ipaddress.ip_network(network, strict=False) for network in networks)


def tunnel_visitor(peer: str, connecting: str | None) -> str:
    """Whose socket this is when we run the tunnel ourselves: its program connects from the loopback address and names
    the visitor in ``CF-Connecting-IP``. From any other address that header could be anybody's."""
    try:
        if connecting is None or not ipaddress.ip_address(peer).is_loopback:
            return peer
        return str(ipaddress.ip_address(connecting.strip()))
    except ValueError:
        return peer


def client_address(peer: str, forwarded_for: str | None, trusted_proxies: Sequence[str]) -> str:
    """Whose socket this is: the peer's, unless the peer is a proxy the operator named; then the rightmost hop of
    ``X-Forwarded-For`` that is not one (what is left of it anybody could have written)."""
    if not trusted_proxies or forwarded_for is None or not _in(peer, trusted_proxies):
        return peer
    client = peer
    for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
        try:
            parsed = ipaddress.ip_address(hop)
        except ValueError:
            return client  # not an address: whoever wrote it is not to be believed
        client = str(getattr(parsed, "ipv4_mapped", None) or parsed)  # one address, one spelling
        if not _in(client, trusted_proxies):
            return client
    return client
