"""Twilio Media Streams, Twilio's end: what the simulator plays. Text in, text out, like the server's end in ``stream``.

Source: twilio.com/docs/voice/media-streams/websocket-messages and recorded streams of 2019-2026.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from patter_core.audio.formats import PCMU_8K, AudioFormat
from patter_core.carriers.carrier import Malformed, MalformedCode, StreamState
from patter_core.carriers.twilio.stream import ENCODINGS, WRONG_STREAM, MarkText, diagnose, quoted
from patter_core.errors import LocalProtocolError

__all__ = ["Cleared", "Marked", "PeerEvent", "Played", "TwilioStreamPeer"]

_MIME = {encoding: mime for mime, encoding in ENCODINGS.items()}


class _ClearText(msgspec.Struct, tag_field="event", tag="clear", gc=False):
    streamSid: str


class _Played(msgspec.Struct, gc=False):
    payload: bytes


class _PlayedText(msgspec.Struct, tag_field="event", tag="media", gc=False):
    streamSid: str
    media: _Played


_TO_TWILIO = msgspec.json.Decoder(_PlayedText | MarkText | _ClearText)
_KNOWN_TO_TWILIO = frozenset({"media", "mark", "clear"})


class Played(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants this audio played, after what it sent before."""

    payload: bytes


class Marked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants this name back once everything before it was played."""

    name: str


class Cleared(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants the buffer emptied and every outstanding mark back."""


PeerEvent: TypeAlias = Played | Marked | Cleared | Malformed


class TwilioStreamPeer:
    """Twilio's end of one stream: builds what Twilio sends, reads what a server answers. Keys in the recorded order.

    Real Twilio sends ``connected`` and ``start`` about 4 ms after the upgrade, then a 160-byte frame every 20 ms,
    during silence too. When the call ends it sends ``stop`` and closes. A ``Malformed`` here is
    what Twilio calls error 31924.
    """

    __slots__ = (
        "_account",
        "_chunks",
        "_format",
        "_parameters",
        "_sequence",
        "_state",
        "_tail",
        "_tracks",
        "call_id",
        "stream_id",
    )

    def __init__(
        self,
        stream_id: str,
        call_id: str,
        account_id: str,
        parameters: Mapping[str, str] | None = None,
        tracks: tuple[str, ...] = ("inbound",),
        format: AudioFormat = PCMU_8K,
    ) -> None:
        self.stream_id = stream_id
        self.call_id = call_id
        self._account = account_id
        self._parameters = dict(parameters or {})
        self._tracks = tracks
        self._format = format
        self._sequence = 0
        self._chunks: dict[str, int] = {}
        self._tail = f'"}},"streamSid":{quoted(stream_id)}}}'
        self._state = StreamState.CONNECTING

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self._state

    def connected(self) -> str:
        """The first message."""
        return '{"event":"connected","protocol":"Call","version":"1.0.0"}'

    def start(self) -> str:
        """The second: which call this is."""
        if self._state is not StreamState.CONNECTING:
            raise LocalProtocolError("start is sent once")
        self._state = StreamState.STREAMING
        return _dump(
            {
                "event": "start",
                "sequenceNumber": self._next(),
                "start": {
                    "accountSid": self._account,
                    "streamSid": self.stream_id,
                    "callSid": self.call_id,
                    "tracks": list(self._tracks),
                    "mediaFormat": {
                        "encoding": _MIME[self._format.encoding],
                        "sampleRate": self._format.rate,
                        "channels": 1,
                    },
                    "customParameters": self._parameters,
                },
                "streamSid": self.stream_id,
            }
        )

    def media(self, payload: bytes, timestamp_ms: int, track: str = "inbound") -> str:
        """One frame; ``chunk`` counts per track, from 1."""
        sequence = self._running()
        chunk = self._chunks.get(track, 0) + 1
        self._chunks[track] = chunk
        return (
            f'{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"{track}","chunk":"{chunk}",'
            f'"timestamp":"{timestamp_ms}","payload":"{b2a_base64(payload, newline=False).decode("ascii")}{self._tail}'
        )

    def dtmf(self, digit: str) -> str:
        """The caller pressed a key. Bidirectional streams only."""
        sequence = self._running()
        return _dump(
            {
                "event": "dtmf",
                "streamSid": self.stream_id,
                "sequenceNumber": sequence,
                "dtmf": {"track": "inbound_track", "digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        """A mark comes back: what was before it is played, or cleared."""
        sequence = self._running()
        return _dump({"event": "mark", "sequenceNumber": sequence, "streamSid": self.stream_id, "mark": {"name": name}})

    def stop(self) -> str:
        """The last message."""
        sequence = self._running()
        self._state = StreamState.STOPPED
        return _dump(
            {
                "event": "stop",
                "sequenceNumber": sequence,
                "streamSid": self.stream_id,
                "stop": {"accountSid": self._account, "callSid": self.call_id},
            }
        )

    def receive(self, text: str) -> PeerEvent:
        """Read what the server sent. Never raises."""
        try:
            message = _TO_TWILIO.decode(text)
        except (ValueError, RecursionError) as error:
            problem = diagnose(text, error, _KNOWN_TO_TWILIO)
            return problem if isinstance(problem, Malformed) else Malformed(MalformedCode.UNKNOWN_EVENT, "event")
        if self._state is StreamState.CONNECTING:
            return Malformed(MalformedCode.NOT_STARTED, "before start")
        if message.streamSid != self.stream_id:
            return WRONG_STREAM
        if isinstance(message, _PlayedText):
            return Played(message.media.payload)
        if isinstance(message, MarkText):
            return Marked(message.mark.name)
        return Cleared()

    def _running(self) -> str:
        if self._state is not StreamState.STREAMING:
            raise LocalProtocolError(f"the stream is {self._state.value}")
        return self._next()

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)


def _dump(message: dict[str, object]) -> str:
    return msgspec.json.encode(message).decode("utf-8")
