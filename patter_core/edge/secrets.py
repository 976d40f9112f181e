"""The table of secrets, and the two places where they enter what is sent: never in an order, a log or a trace."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping

from patter_core.contract import Request, Send

__all__ = ["SIGNATURE", "Secrets"]

log = logging.getLogger("patter")

SIGNATURE = "X-Patter-Signature"


class Secrets:
    """By name: a header and its whole value, or ('', key) for a key that signs."""

    def __init__(self, table: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._table = table if table is not None else {}  # not a copy: an agent that comes later brings its keys

    def __repr__(self) -> str:
        return f"Secrets({sorted(self._table)})"

    def headers(self, order: Request) -> list[tuple[str, str]] | None:
        """A request's headers with the secret ones; None (and a line in the log) when it names a secret we lack."""
        headers = list(order.headers)
        if order.auth:
            found = self._find(order.auth)
            if found is None:
                return None
            headers.append(found)
        if order.sign:
            found = self._find(order.sign)
            if found is None:
                return None
            headers.append((SIGNATURE, hmac.new(found[1].encode(), order.body, hashlib.sha256).hexdigest()))
        return headers

    def line(self, order: Send) -> bytes | None:
        """The header line that goes after the first line of what is sent; None when we lack it."""
        if not order.auth:
            return b""
        found = self._find(order.auth)
        if found is None:
            return None
        line = f"{found[0]}: {found[1]}"
        if not (line.isascii() and line.isprintable()):
            log.error("the secret named %r is no header: it has characters that none may have", order.auth)
            return None
        return f"{line}\r\n".encode("ascii")

    def _find(self, name: str) -> tuple[str, str] | None:
        found = self._table.get(name)
        if found is None:
            log.error("no secret is named %r", name)
        return found
