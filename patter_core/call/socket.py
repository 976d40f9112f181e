"""The media socket of a call: where it is, what came on it, and how much nonsense it may say."""

from __future__ import annotations

import enum
from collections import deque

from ..carriers.carrier import Malformed, MalformedCode, MediaStream, StreamState
from ..events import MalformedMessage, StreamAttached, StreamDetached
from ..settings import CallSettings, us
from .words import CallOrder, CloseStream, Tell

__all__ = ["Bad", "MediaSocket", "Socket"]


class Socket(enum.Enum):
    """Where the call's media socket is."""

    NONE = "none"
    OPEN = "open"  # admitted, not started
    STREAMING = "streaming"
    CLOSING = "closing"  # we asked for its close


class Bad(enum.Enum):
    """What a malformed message means."""

    NOTED = "noted"  #: it is counted, and skipped
    CODEC = "codec"  #: the stream's audio is none that we can read
    FLOOD = "flood"  #: there are too many of them: the socket is closed


class MediaSocket:
    """One call's, through all its attachments."""

    def __init__(self, now: int, settings: CallSettings) -> None:
        self.state = Socket.NONE
        self.stream: MediaStream | None = None
        self.keep = False  # somebody else closes it
        self.heard_at = now
        self.frames_in = 0
        self.malformed = 0
        self._settings = settings
        self._epoch = 0
        self._codes: set[MalformedCode] = set()  # membership only, never iterated
        self._times: deque[int] = deque(maxlen=max(1, settings.malformed))

    @property
    def there(self) -> bool:
        """There is one, or it is on its way out."""
        return self.state is not Socket.NONE

    @property
    def open(self) -> bool:
        """There is one that nobody has said goodbye on."""
        return self.state in (Socket.OPEN, Socket.STREAMING)

    @property
    def flowing(self) -> bool:
        """Audio flows both ways."""
        return self.state is Socket.STREAMING and self.stream is not None and self.stream.state is StreamState.STREAMING

    def came(self, now: int, call_id: str, stream: MediaStream, out: list[CallOrder]) -> None:
        """A socket was admitted."""
        self.state = Socket.OPEN
        self.stream = stream
        self.heard_at = now
        self._epoch += 1
        out.append(Tell(StreamAttached(call_id, self._epoch)))

    def went(self, call_id: str, out: list[CallOrder]) -> None:
        """It is gone."""
        clean = self.stream is not None and self.stream.state is StreamState.STOPPED
        out.append(Tell(StreamDetached(call_id, self._epoch, clean)))
        self.state = Socket.NONE
        self.stream = None

    def close(self, code: int, reason: str, out: list[CallOrder]) -> None:
        """Say goodbye, once."""
        if self.open:
            self.state = Socket.CLOSING
            out.append(CloseStream(code, reason))

    def bad(self, now: int, call_id: str, event: Malformed, out: list[CallOrder]) -> Bad:
        """It said something wrong. Told once per call and kind."""
        self.malformed += 1
        if event.code not in self._codes:
            self._codes.add(event.code)
            out.append(Tell(MalformedMessage(call_id, event.code.value, event.detail)))
        if event.code is MalformedCode.UNSUPPORTED_FORMAT and self.state is Socket.OPEN:
            return Bad.CODEC
        times = self._times
        times.append(now)
        if len(times) == times.maxlen and now - times[0] <= us(self._settings.malformed_window_s):
            times.clear()
            self.close(1008, "too many malformed messages", out)
            return Bad.FLOOD
        return Bad.NOTED
