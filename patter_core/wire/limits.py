"""What one connection may cost: sizes in bytes, times in microseconds."""

from __future__ import annotations

import msgspec

from patter_core.errors import ConfigError

__all__ = ["Limits"]

_S = 1_000_000


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one connection. All must be greater than 0; ``ConfigError`` names the one that is not."""

    #: A request line and its headers, blank line included. Carriers send 1-3 KiB; 32 KiB leaves room for a long
    #: stream URL and for a browser's cookies.
    header_bytes: int = 32 * 1024
    #: A request's body, decoded. The largest webhook seen is some 20 KiB; 1 MiB is for the API.
    body_bytes: int = 1 << 20
    #: One WebSocket message, reassembled, in payload bytes. A provider's longest audio delta is some 100 KiB.
    message_bytes: int = 1 << 20
    #: Input kept while an earlier request waits for its answer; above it ``wants_input`` says stop reading.
    pipeline_bytes: int = 64 * 1024
    #: A whole request head, from its first byte (the first one: from the accept), so that drip-feeding does not help.
    header_timeout_us: int = 10 * _S
    #: A whole body from the end of its head: 1 MiB in 30 s is 35 KiB/s, slower than any carrier.
    body_timeout_us: int = 30 * _S
    #: A keep-alive connection between requests. Above the 60 s for which common proxies keep theirs, so that the side
    #: that closes first is theirs and no request meets a closing socket.
    idle_timeout_us: int = 75 * _S
    #: Client role: a response, from its request.
    response_timeout_us: int = 30 * _S
    #: Our close frame until the peer's; and, after a fatal frame, the wait for the peer to read why and leave.
    close_timeout_us: int = 5 * _S
    #: After a refusal: how long what the peer still sends is read and thrown away, since closing on unread input
    #: makes the kernel reset the connection and the peer never sees the answer.
    linger_us: int = 2 * _S
    #: The last bytes of a connection that is being closed. They may be a whole export on a slow line; a peer that
    #: has not read them by then is dropped.
    flush_timeout_us: int = 30 * _S
    #: Unsent bytes of a stream (server-sent events) above which ``can_push`` says the reader is too slow.
    high_water: int = 256 * 1024

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ConfigError(f"Limits.{name} must be an integer greater than 0, not {value!r}")
