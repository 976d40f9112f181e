"""URLs that a server gave the simulated carrier: read with care, because anything may be in them."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import msgspec

__all__ = ["Place", "absolute", "read_place"]

_PRINTABLE = re.compile("[!-~]{1,4096}")
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Place(msgspec.Struct, frozen=True):
    """Where a URL leads. ``netloc`` is for the Host header; ``path`` is never empty and has no query."""

    scheme: str
    host: str
    port: int
    netloc: str
    path: str
    query: str

    @property
    def secure(self) -> bool:
        """TLS."""
        return self.scheme in ("https", "wss")


def read_place(url: str, schemes: tuple[str, ...]) -> Place | None:
    """None for a URL that leads nowhere."""
    if _PRINTABLE.fullmatch(url) is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in schemes or not host:
        return None
    path = parts.path or "/"
    return Place(parts.scheme, host, port or _PORTS[parts.scheme], parts.netloc, path, parts.query)


def absolute(base: str, url: str) -> str:
    """A URL in an answer, which may be relative to what was asked."""
    try:
        return urljoin(base, url)
    except ValueError:
        return url
