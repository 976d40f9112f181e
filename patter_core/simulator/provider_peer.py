"""The other role of a provider's protocol, as small machines: what a simulated provider does on one connection.

A peer for a WebSocket (``LinkPeer``) or for one HTTP exchange (``FetchPeer``) knows messages, not sockets; whoever
holds it (the simulated provider's board, or a test that shuttles messages by hand) moves them and keeps time.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

__all__ = [
    "FetchPeer",
    "LinkPeer",
    "PeerAnswer",
    "PeerBody",
    "PeerClose",
    "PeerDone",
    "PeerDrop",
    "PeerOrder",
    "PeerRefuse",
    "PeerSay",
]


class PeerSay(msgspec.Struct, frozen=True, gc=False):
    """Send a text message on the WebSocket."""

    text: str


class PeerClose(msgspec.Struct, frozen=True, gc=False):
    """Close the WebSocket with this code."""

    code: int
    reason: str = ""


class PeerRefuse(msgspec.Struct, frozen=True, gc=False):
    """Refuse the upgrade (only from ``opened``)."""

    status: int
    body: bytes = b""


class PeerDrop(msgspec.Struct, frozen=True, gc=False):
    """Vanish: no goodbye on a WebSocket, a body that breaks off in HTTP."""


class PeerAnswer(msgspec.Struct, frozen=True, gc=False):
    """Status and headers of the HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


class PeerBody(msgspec.Struct, frozen=True, gc=False):
    """A piece of the HTTP answer's body."""

    data: bytes


class PeerDone(msgspec.Struct, frozen=True, gc=False):
    """That was the whole HTTP answer."""


PeerOrder: TypeAlias = PeerSay | PeerClose | PeerRefuse | PeerDrop | PeerAnswer | PeerBody | PeerDone


class LinkPeer(Protocol):
    """One WebSocket, from its upgrade to its end. Times are microseconds on the holder's clock."""

    @property
    def deadline(self) -> int | None: ...

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        """Somebody wants the WebSocket. It is accepted unless ``PeerRefuse`` comes back."""
        ...

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        """A message came."""
        ...

    def tick(self, now: int) -> list[PeerOrder]: ...

    def closed(self, now: int) -> None:
        """The other side is gone."""
        ...


class FetchPeer(Protocol):
    """One HTTP exchange."""

    @property
    def deadline(self) -> int | None: ...

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        """The whole request is in."""
        ...

    def tick(self, now: int) -> list[PeerOrder]: ...

    def closed(self, now: int) -> None:
        """The other side gave it up."""
        ...
