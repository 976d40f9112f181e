"""Telnyx's end of a media stream, for the simulator: what Telnyx sends, and what it makes of what a server sends.

Source: as ``stream``. Nothing there says what Telnyx does with a message of less than 20 ms: here it is refused, so
that a server that sends one is noticed.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from patter_core.audio.formats import PCMU_8K, AudioFormat, Encoding
from patter_core.carriers.carrier import Malformed, MalformedCode, StreamState
from patter_core.errors import LocalProtocolError

from .stream import ENCODINGS, MAX_MESSAGE_MS, MIN_MESSAGE_MS, MarkText, diagnose, quoted, swapped

__all__ = ["Cleared", "Marked", "PeerEvent", "Played", "TelnyxStreamPeer"]

_NAMES = {encoding: name for name, encoding in ENCODINGS.items()}


class _ClearText(msgspec.Struct, tag_field="event", tag="clear", gc=False):
    pass


class _Played(msgspec.Struct, gc=False):
    payload: bytes


class _PlayedText(msgspec.Struct, tag_field="event", tag="media", gc=False):
    media: _Played


_TO_TELNYX = msgspec.json.Decoder(_PlayedText | MarkText | _ClearText)
_KNOWN_TO_TELNYX = frozenset({"media", "mark", "clear"})


class Played(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants this audio played, after what it sent before."""

    payload: bytes


class Marked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants this name back once everything before it was played."""

    name: str


class Cleared(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The server wants the buffer emptied and every outstanding mark back."""


PeerEvent: TypeAlias = Played | Marked | Cleared | Malformed

_ERROR_TITLES = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media",
    100005: "rate_limit_reached",
}


class TelnyxStreamPeer:
    """Telnyx's end of one stream: builds what Telnyx sends, reads what a server answers. Keys in the documented order.

    ``format`` is what the server hears, ``plays`` what it sends (the same unless given). When the call ends real Telnyx
    sends ``stop`` and closes without a status (1005, as recorded). A ``Malformed`` here is what Telnyx answers with an
    ``error`` message.
    """

    __slots__ = (
        "_big",
        "_callee",
        "_caller",
        "_chunks",
        "_client_state",
        "_format",
        "_least",
        "_most",
        "_parameters",
        "_plays",
        "_sequence",
        "_session_id",
        "_state",
        "_tail",
        "_user_id",
        "call_id",
        "stream_id",
    )

    def __init__(
        self,
        stream_id: str,
        call_id: str,
        user_id: str,
        parameters: Mapping[str, str] | None = None,
        format: AudioFormat = PCMU_8K,
        plays: AudioFormat | None = None,
        *,
        session_id: str = "",
        caller: str = "",
        callee: str = "",
        client_state: str | None = None,
        big_endian: bool = False,
    ) -> None:
        self.stream_id = stream_id
        self.call_id = call_id
        self._user_id = user_id
        self._session_id = session_id
        self._caller = caller
        self._callee = callee
        self._client_state = client_state
        self._parameters = dict(parameters or {})
        self._format = format
        self._plays = plays or format
        self._big = big_endian
        self._least = self._plays.bytes_for_ms(MIN_MESSAGE_MS)
        self._most = self._plays.bytes_for_ms(MAX_MESSAGE_MS)
        self._sequence = 0
        self._chunks: dict[str, int] = {}
        self._tail = f'"}},"stream_id":{quoted(stream_id)}}}'
        self._state = StreamState.CONNECTING

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self._state

    def connected(self) -> str:
        """The first message."""
        return '{"event":"connected","version":"1.0.0"}'

    def start(self) -> str:
        """The second: which call this is."""
        if self._state is not StreamState.CONNECTING:
            raise LocalProtocolError("start is sent once")
        self._state = StreamState.STREAMING
        start: dict[str, object] = {
            "user_id": self._user_id,
            "call_control_id": self.call_id,
            "call_session_id": self._session_id,
            "from": self._caller,
            "to": self._callee,
            "tags": [],
            "client_state": self._client_state,
            "media_format": {
                "encoding": _NAMES[self._format.encoding],
                "sample_rate": self._format.rate,
                "channels": 1,
            },
        }
        if self._parameters:
            start["custom_parameters"] = self._parameters
        return _dump({"event": "start", "sequence_number": self._next(), "start": start, "stream_id": self.stream_id})

    def media(self, payload: bytes, timestamp_ms: int, track: str = "inbound") -> str:
        """One frame (L16 little-endian, whatever the wire has); ``chunk`` counts per track, from 1."""
        sequence = self._running()
        chunk = self._chunks.get(track, 0) + 1
        self._chunks[track] = chunk
        if self._big and self._format.encoding is Encoding.L16:
            payload = swapped(payload)
        return (
            f'{{"event":"media","sequence_number":"{sequence}","media":{{"track":"{track}","chunk":"{chunk}",'
            f'"timestamp":"{timestamp_ms}","payload":"{b2a_base64(payload, newline=False).decode("ascii")}{self._tail}'
        )

    def dtmf(self, digit: str, occurred_at: str = "2018-02-02T22:25:27.521992Z") -> str:
        """The caller pressed a key."""
        sequence = self._running()
        return _dump(
            {
                "event": "dtmf",
                "stream_id": self.stream_id,
                "occurred_at": occurred_at,
                "sequence_number": sequence,
                "dtmf": {"digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        """A mark comes back: what was before it is played, or cleared."""
        sequence = self._running()
        return _dump(
            {"event": "mark", "stream_id": self.stream_id, "sequence_number": sequence, "mark": {"name": name}}
        )

    def error(self, code: int, detail: str = "") -> str:
        """What the server sent could not be used: 100002 to 100005."""
        payload = {"code": code, "title": _ERROR_TITLES.get(code, "unknown_error"), "detail": detail}
        return _dump({"event": "error", "payload": payload, "stream_id": self.stream_id})

    def stop(self) -> str:
        """The last message."""
        sequence = self._running()
        self._state = StreamState.STOPPED
        return _dump(
            {
                "event": "stop",
                "sequence_number": sequence,
                "stop": {"user_id": self._user_id, "call_control_id": self.call_id},
                "stream_id": self.stream_id,
            }
        )

    def receive(self, text: str) -> PeerEvent:
        """Read what the server sent. Never raises. Audio comes out little-endian."""
        try:
            message = _TO_TELNYX.decode(text)
        except (ValueError, RecursionError) as error:
            problem = diagnose(text, error, _KNOWN_TO_TELNYX)
            return problem if isinstance(problem, Malformed) else Malformed(MalformedCode.UNKNOWN_EVENT, "event")
        if self._state is StreamState.CONNECTING:
            return Malformed(MalformedCode.NOT_STARTED, "before start")
        if isinstance(message, _PlayedText):
            payload = message.media.payload
            if not self._least <= len(payload) <= self._most:
                return Malformed(MalformedCode.BAD_FIELD, "a media message holds 20 ms to 30 s")
            if self._big and self._plays.encoding is Encoding.L16:
                payload = swapped(payload)
            return Played(payload)
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
