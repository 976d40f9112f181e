"""One TCP connection, both roles: bytes in, messages out, with limits and deadlines.

Here lives everything that knows HTTP/1.1 and WebSocket syntax, and nothing else does: the only place that imports h11
and wsproto. Nobody here knows a route, a carrier, a socket or a clock; ``now`` (integer microseconds) arrives with
every call. A peer's mistake becomes an event; only our own misuse raises (``LocalProtocolError``).
"""

from __future__ import annotations

from .client import ClientConnection
from .endpoint import Phase, Transport
from .events import (
    Binary,
    Done,
    HttpRequest,
    HttpResponse,
    Opened,
    Pong,
    Refused,
    Text,
    UpgradeRequest,
    WireEvent,
)
from .http_client import HttpClient
from .limits import Limits
from .server import ServerConnection
from .sse import sse_comment, sse_frame

__all__ = [
    "Binary",
    "ClientConnection",
    "Done",
    "HttpClient",
    "HttpRequest",
    "HttpResponse",
    "Limits",
    "Opened",
    "Phase",
    "Pong",
    "Refused",
    "ServerConnection",
    "Text",
    "Transport",
    "UpgradeRequest",
    "WireEvent",
    "sse_comment",
    "sse_frame",
]
