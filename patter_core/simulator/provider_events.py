"""What the simulated providers tell: who asked for what, and how it ended. No header is in here, so no key either."""

from __future__ import annotations

import msgspec

__all__ = ["ProviderAsked", "ProviderEvent", "ProviderOdd", "ProviderOver"]


class ProviderEvent(msgspec.Struct, frozen=True, tag=True):
    """Base of the simulated providers' events."""


class ProviderAsked(ProviderEvent, frozen=True, tag=True):
    """Somebody wants a WebSocket (``method`` is then ``WEBSOCKET``), or an answer. ``number`` counts them per route,
    from 0; with ``route`` it names the exchange."""

    route: str
    number: int
    method: str
    target: str


class ProviderOver(ProviderEvent, frozen=True, tag=True):
    """An exchange is over.

    ``how``: ``answered`` (``code`` is the HTTP status), ``refused`` (the upgrade, with a status), ``closed`` (a
    goodbye, ``code`` is the WebSocket's), ``dropped`` (by us, without one), ``left`` (by the other side, without one)
    or ``stopped``.
    """

    route: str
    number: int
    how: str
    code: int = 0


class ProviderOdd(ProviderEvent, frozen=True, tag=True):
    """Something no provider expects: a path nobody serves, more than there is room for, a peer's order out of place."""

    detail: str
