"""The server's paths. Matching is exact: nothing is decoded twice, nothing is guessed."""

from __future__ import annotations

import enum
from urllib.parse import unquote

import msgspec

__all__ = ["Route", "Target", "find_route", "split_stream_path"]


class Target(enum.Enum):
    """What a path leads to."""

    HEALTH = "health"
    READY = "ready"
    WEBHOOK = "webhook"
    STREAM = "stream"
    NOTHING = "nothing"


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes. ``carrier`` and ``kind`` are a webhook's."""

    target: Target
    methods: tuple[str, ...] = ()
    carrier: str = ""
    kind: str = ""


_LONGEST_ID = 256  # Twilio's have 34 characters, Telnyx's some 90

_NOTHING = Route(Target.NOTHING)
_HEALTH = Route(Target.HEALTH, ("GET", "HEAD"))
_READY = Route(Target.READY, ("GET", "HEAD"))
_STREAM = Route(Target.STREAM, ())


def find_route(path: str, prefix: str) -> Route:
    """The route of a path. A configured path prefix may have been stripped by the proxy or not: both are accepted."""
    if prefix and path.startswith(prefix + "/"):
        path = path[len(prefix) :]
    match path:
        case "/health":
            return _HEALTH
        case "/ready":
            return _READY
    if path.startswith("/webhooks/"):
        parts = path.split("/")
        if len(parts) == 4:
            return Route(Target.WEBHOOK, ("POST",), parts[2], parts[3])
    if path.startswith("/ws/stream/"):
        return _STREAM
    return _NOTHING


def split_stream_path(path: str, prefix: str) -> tuple[str, str] | None:
    """``/ws/stream/{callId}/{ticket}`` as (call id, ticket); the ticket is empty in ``/ws/stream/{callId}``."""
    if prefix and path.startswith(prefix + "/"):
        path = path[len(prefix) :]
    parts = path.removesuffix("/").split("/")
    if len(parts) not in (4, 5) or not parts[3]:
        return None
    call_id = unquote(parts[3], errors="replace")
    if len(call_id) > _LONGEST_ID or not call_id.isprintable():
        return None
    return call_id, parts[4] if len(parts) == 5 else ""
