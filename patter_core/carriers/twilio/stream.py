"""Twilio Media Streams, the server's end: JSON texts on a WebSocket, one object each; text in, text out.

Twilio's end, which the simulator plays, is ``stream_peer``. Source:
twilio.com/docs/voice/media-streams/websocket-messages and recorded streams of 2019-2026.

What the wire really does, and this reader therefore allows: numbers come as strings (``"chunk": "73"``) and as numbers,
the protocol version varies, key order varies, the first timestamp is not 0 and does not advance by exactly 20 ms, a
track is ``inbound`` here and ``inbound_track`` there, ``customParameters`` may be null.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Annotated

import msgspec

from patter_core.audio.formats import PCMU_8K, AudioFormat, Encoding
from patter_core.carriers.carrier import (
    CallerAudio,
    Malformed,
    MalformedCode,
    MarkReturned,
    MediaEvent,
    Pressed,
    StreamConnected,
    StreamIgnored,
    StreamStarted,
    StreamState,
    StreamStopped,
)
from patter_core.carriers.messages import diagnose, quoted
from patter_core.errors import LocalProtocolError

__all__ = ["ENCODINGS", "WRONG_STREAM", "MarkText", "TwilioStream", "diagnose", "quoted"]

_DIGITS = frozenset("0123456789*#ABCD")
ENCODINGS = {"audio/x-mulaw": Encoding.PCMU, "audio/x-alaw": Encoding.PCMA, "audio/x-l16": Encoding.L16}
_MAX_RATE = 48_000

# The lax decoder turns numeric strings into these; 2**53 bounds what a hostile number can do to arithmetic downstream.
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _ConnectedText(msgspec.Struct, tag_field="event", tag="connected", gc=False):
    pass


class _Format(msgspec.Struct):
    encoding: str = "audio/x-mulaw"
    sampleRate: _Count = 8000
    channels: _Count = 1


class _Start(msgspec.Struct):
    callSid: Annotated[str, msgspec.Meta(min_length=1)]
    streamSid: str = ""
    tracks: tuple[str, ...] = ("inbound",)
    mediaFormat: _Format | None = None
    customParameters: dict[str, str] | None = None


class _StartText(msgspec.Struct, tag_field="event", tag="start"):
    streamSid: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]  # it goes into everything we send
    start: _Start


class _Media(msgspec.Struct, gc=False):
    payload: bytes
    timestamp: Annotated[int, msgspec.Meta(ge=-1, le=1 << 53)] = -1
    chunk: _Count = 0
    track: str = "inbound"


class _MediaText(msgspec.Struct, tag_field="event", tag="media", gc=False):
    streamSid: str
    media: _Media


class _Dtmf(msgspec.Struct, gc=False):
    digit: str


class _DtmfText(msgspec.Struct, tag_field="event", tag="dtmf", gc=False):
    streamSid: str
    dtmf: _Dtmf


class _Mark(msgspec.Struct, gc=False):
    name: str


class MarkText(msgspec.Struct, tag_field="event", tag="mark", gc=False):
    streamSid: str
    mark: _Mark


class _StopText(msgspec.Struct, tag_field="event", tag="stop", gc=False):
    streamSid: str


# ``strict=False`` reads "73" as 73 in C; ``bytes`` fields are base64, decoded in place. 0.46 us for a 160-byte frame.
_FROM_TWILIO = msgspec.json.Decoder(
    _MediaText | MarkText | _DtmfText | _ConnectedText | _StartText | _StopText, strict=False
)
_from_twilio = _FROM_TWILIO.decode
_KNOWN = frozenset({"connected", "start", "media", "mark", "dtmf", "stop"})


class TwilioStream:
    """The server's end of one stream (``MediaStream``).

    ``receive`` is total. What is optional on reading: ``sequenceNumber`` (never read), ``track``, ``chunk``,
    ``timestamp``, ``tracks``, ``mediaFormat`` and ``customParameters``; a frame without a timestamp is placed after the
    unstamped audio before it.
    """

    __slots__ = ("_format", "_prefix", "_state", "_stream_id", "_tail", "_unstamped")

    def __init__(self) -> None:
        self._state = StreamState.CONNECTING
        self._stream_id = ""
        self._format = PCMU_8K
        self._prefix = ""
        self._tail = ""
        self._unstamped = 0

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self._state

    @property
    def stream_id(self) -> str:
        """Twilio's name for the stream (``MZ...``); empty before the start."""
        return self._stream_id

    def receive(self, text: str) -> MediaEvent:
        """Read one message. Never raises."""
        try:
            message = _from_twilio(text)
        except (ValueError, RecursionError) as error:
            return self._unreadable(text, error)
        if type(message) is _MediaText:
            if self._state is not StreamState.STREAMING:
                return self._out_of_order("media")
            if message.streamSid != self._stream_id:
                return WRONG_STREAM
            media = message.media
            if media.track != "inbound" and media.track != "inbound_track":
                return StreamIgnored("media of another track")
            timestamp = media.timestamp
            if timestamp < 0:
                timestamp = self._format.duration_us(self._unstamped) // 1000
                self._unstamped += len(media.payload)
            return CallerAudio(timestamp, media.chunk, media.payload, "inbound")
        return self._other(message)

    def media(self, payload: bytes) -> str:
        """Play ``payload``: mu-law 8 kHz without any header, of any length."""
        if not self._prefix:
            raise LocalProtocolError("the stream has not started")
        return f'{self._prefix}{b2a_base64(payload, newline=False).decode("ascii")}"}}}}'

    def mark(self, name: str) -> str:
        """Ask for ``name`` back after everything sent before it."""
        return f'{{"event":"mark",{self._sid()},"mark":{{"name":{quoted(name)}}}}}'

    def clear(self) -> str:
        """Throw away what is not played yet."""
        return f'{{"event":"clear",{self._sid()}}}'

    def _sid(self) -> str:
        if not self._tail:
            raise LocalProtocolError("the stream has not started")
        return self._tail

    def _other(self, message: object) -> MediaEvent:
        if self._state is StreamState.STOPPED:
            return StreamIgnored("after stop")
        if type(message) is _ConnectedText:
            return StreamConnected() if self._state is StreamState.CONNECTING else StreamIgnored("connected")
        if type(message) is _StartText:
            return self._started(message)
        if self._state is StreamState.CONNECTING:
            return Malformed(MalformedCode.NOT_STARTED, "before start")
        assert isinstance(message, MarkText | _DtmfText | _StopText)
        if message.streamSid != self._stream_id:
            return WRONG_STREAM
        if type(message) is MarkText:
            return MarkReturned(message.mark.name)
        if type(message) is _DtmfText:
            digit = message.dtmf.digit
            return Pressed(digit) if digit in _DIGITS else Malformed(MalformedCode.BAD_FIELD, "not a telephone key")
        self._state = StreamState.STOPPED
        return StreamStopped()

    def _started(self, message: _StartText) -> MediaEvent:
        if self._state is StreamState.STREAMING:
            return Malformed(MalformedCode.SECOND_START, "this stream has started")
        start, stream_id = message.start, message.streamSid
        if start.streamSid and start.streamSid != stream_id:
            return Malformed(MalformedCode.WRONG_STREAM, "start names two streams")
        wire = start.mediaFormat
        if wire is None:
            audio = PCMU_8K
        else:
            encoding = ENCODINGS.get(wire.encoding.lower())
            if encoding is None or wire.channels != 1 or not 0 < wire.sampleRate <= _MAX_RATE:
                return Malformed(MalformedCode.UNSUPPORTED_FORMAT, "encoding, rate or channels")
            audio = AudioFormat(encoding, wire.sampleRate)
        self._state = StreamState.STREAMING
        self._stream_id = stream_id
        self._format = audio
        self._tail = f'"streamSid":{quoted(stream_id)}'
        self._prefix = f'{{"event":"media",{self._tail},"media":{{"payload":"'
        return StreamStarted(stream_id, start.callSid, audio, start.customParameters or {}, start.tracks)

    def _out_of_order(self, what: str) -> MediaEvent:
        if self._state is StreamState.STOPPED:
            return StreamIgnored("after stop")
        return Malformed(MalformedCode.MEDIA_BEFORE_START, f"{what} before start")

    def _unreadable(self, text: str, error: Exception) -> MediaEvent:
        problem = diagnose(text, error, _KNOWN)
        if isinstance(problem, Malformed):
            return problem
        return StreamIgnored("after stop" if self._state is StreamState.STOPPED else f"event {problem[:32]!r}")


WRONG_STREAM = Malformed(MalformedCode.WRONG_STREAM, "the message names another stream")
