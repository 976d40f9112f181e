"""Telnyx media streaming, the server's end: JSON texts on a WebSocket, one object each; text in, text out.

Telnyx's end, which the simulator plays, is ``stream_peer``. Source:
developers.telnyx.com/docs/voice/programmable-voice/media-streaming and
/api-reference/websockets/stream-call-media-over-websocket; no recording of a whole stream is public.

Where it differs from what one would expect:

- What we hear and what we send are two formats. ``start.media_format`` tells the first, and it may be the call's own
  codec (A-law in Europe) whatever was asked for; the second is the one we asked for.
- The order of media messages is not promised: ``chunk`` is. A frame that comes early is held, at most ``WINDOW`` of
  them, until the gap is filled or given up.
- A media message to Telnyx holds 20 ms to 30 s of audio.
- L16 is little-endian on the wire, against RFC 3551 and undocumented; who sees static can say ``big_endian``.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Annotated, Any

import msgspec

from patter_core.audio.formats import L16_16K, AudioFormat, Encoding
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

__all__ = [
    "ENCODINGS",
    "MAX_MESSAGE_MS",
    "MIN_MESSAGE_MS",
    "RESYNC",
    "WINDOW",
    "MarkText",
    "TelnyxStream",
    "diagnose",
    "quoted",
    "swapped",
]

MIN_MESSAGE_MS = 20
MAX_MESSAGE_MS = 30_000
"""How much audio a message to Telnyx may hold."""

WINDOW = 5
"""Frames held for one that is missing: 100 ms, which is also what a lost frame costs in delay, once."""

RESYNC = 50
"""That many late frames in a row (one second) are a numbering that began again, not late frames."""

_DIGITS = frozenset("0123456789*#ABCD")
ENCODINGS = {"PCMU": Encoding.PCMU, "PCMA": Encoding.PCMA, "L16": Encoding.L16}
_OTHER_CODECS = frozenset({"G722", "OPUS", "AMR-WB"})
_MAX_RATE = 48_000

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _ConnectedText(msgspec.Struct, tag_field="event", tag="connected", gc=False):
    pass


class _Format(msgspec.Struct):
    encoding: str = "PCMU"
    sample_rate: _Count = 8000
    channels: _Count = 1


class _Start(msgspec.Struct, rename={"from_": "from"}):
    call_control_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    media_format: _Format | None = None
    from_: Any = None
    to: Any = None
    custom_parameters: Any = None


class _StartText(msgspec.Struct, tag_field="event", tag="start"):
    start: _Start
    stream_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class _Media(msgspec.Struct, gc=False):
    payload: bytes
    timestamp: Annotated[int, msgspec.Meta(ge=-1, le=1 << 53)] = -1
    chunk: _Count = 0
    track: str = "inbound"


class _MediaText(msgspec.Struct, tag_field="event", tag="media", gc=False):
    media: _Media
    stream_id: str | None = None


class _Dtmf(msgspec.Struct, gc=False):
    digit: str


class _DtmfText(msgspec.Struct, tag_field="event", tag="dtmf", gc=False):
    dtmf: _Dtmf
    stream_id: str | None = None


class _Mark(msgspec.Struct, gc=False):
    name: str


class MarkText(msgspec.Struct, tag_field="event", tag="mark", gc=False):
    mark: _Mark
    stream_id: str | None = None


class _Error(msgspec.Struct):
    code: Any = None
    title: Any = None


class _ErrorText(msgspec.Struct, tag_field="event", tag="error"):
    payload: _Error | None = None


class _StopText(msgspec.Struct, tag_field="event", tag="stop", gc=False):
    stream_id: str | None = None


# ``strict=False`` reads "73" as 73 in C; ``bytes`` fields are base64, decoded in place.
_FROM_TELNYX = msgspec.json.Decoder(
    _MediaText | MarkText | _DtmfText | _ConnectedText | _StartText | _StopText | _ErrorText, strict=False
)
_from_telnyx = _FROM_TELNYX.decode
_KNOWN = frozenset({"connected", "start", "media", "mark", "dtmf", "stop", "error"})


class TelnyxStream:
    """The server's end of one stream (``MediaStream``). ``asked`` is the audio that was asked for: what we send.

    ``receive`` is total. What is optional on reading: ``sequence_number`` (never read), ``stream_id``, ``track``,
    ``chunk``, ``timestamp``, ``media_format`` and ``custom_parameters``. After a ``start`` in a codec we cannot read
    (``UNSUPPORTED_FORMAT``) the stream is deaf, not dead: what comes is ignored, what is sent still plays.
    """

    __slots__ = ("_asked", "_big", "_deaf", "_format", "_held", "_late", "_next", "_state", "_stream_id", "_unstamped")

    def __init__(self, asked: AudioFormat = L16_16K, big_endian: bool = False) -> None:
        self._asked = asked
        self._big = big_endian
        self._state = StreamState.CONNECTING
        self._stream_id = ""
        self._format = asked
        self._deaf = False
        self._next = 1
        self._held: dict[int, _Media] = {}
        self._late = 0
        self._unstamped = 0

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self._state

    @property
    def stream_id(self) -> str:
        """Telnyx's name for the stream (a UUID); empty before the start, and where it gave none."""
        return self._stream_id

    def receive(self, text: str) -> MediaEvent:
        """Read one message. Never raises. Audio that waited for a missing frame comes joined, in one event."""
        try:
            message = _from_telnyx(text)
        except (ValueError, RecursionError) as error:
            return self._unreadable(text, error)
        if type(message) is _MediaText:
            if self._state is not StreamState.STREAMING:
                return self._out_of_order()
            if message.stream_id and message.stream_id != self._stream_id:
                return _WRONG_STREAM
            media = message.media
            if media.track != "inbound" and media.track != "inbound_track":
                return StreamIgnored("media of another track")
            if self._deaf:
                return StreamIgnored("media in a codec we cannot read")
            if media.chunk == self._next and not self._held:
                self._next += 1
                self._late = 0
                return self._heard(media, media.payload)
            return self._reordered(media)
        return self._other(message)

    def media(self, payload: bytes) -> str:
        """Play ``payload``, encoded as asked for (L16 little-endian, whatever the wire has). What is shorter than 20 ms
        is filled up with silence; more than 30 s is our own mistake."""
        self._open()
        asked = self._asked
        if len(payload) % asked.bytes_per_sample:
            raise LocalProtocolError("half a sample")
        if len(payload) > asked.bytes_for_ms(MAX_MESSAGE_MS):
            raise LocalProtocolError("Telnyx takes at most 30 s of audio in a message: send less at a time")
        least = asked.bytes_for_ms(MIN_MESSAGE_MS)
        if len(payload) < least:
            payload += asked.silence(MIN_MESSAGE_MS)[: least - len(payload)]
        if self._big and asked.encoding is Encoding.L16:
            payload = swapped(payload)
        return f'{{"event":"media","media":{{"payload":"{b2a_base64(payload, newline=False).decode("ascii")}"}}}}'

    def mark(self, name: str) -> str:
        """Ask for ``name`` back after everything sent before it."""
        self._open()
        return f'{{"event":"mark","mark":{{"name":{quoted(name)}}}}}'

    def clear(self) -> str:
        """Throw away what is not played yet."""
        self._open()
        return '{"event":"clear"}'

    def _open(self) -> None:
        if self._state is StreamState.CONNECTING:
            raise LocalProtocolError("the stream has not started")

    def _heard(self, first: _Media, payload: bytes) -> CallerAudio:
        timestamp = first.timestamp
        if timestamp < 0:
            timestamp = self._format.duration_us(self._unstamped) // 1000
            self._unstamped += len(payload)
        if self._big and self._format.encoding is Encoding.L16:
            payload = swapped(payload)
        return CallerAudio(timestamp, first.chunk, payload, "inbound")

    def _reordered(self, media: _Media) -> MediaEvent:
        chunk = media.chunk
        if chunk == 0:  # not numbered: then it is where it is
            return self._heard(media, media.payload)
        if chunk < self._next:
            self._late += 1
            if self._late < RESYNC:
                return StreamIgnored("a late or repeated frame")
            self._next = chunk
            self._held.clear()
        elif chunk in self._held:
            return StreamIgnored("a repeated frame")
        self._late = 0
        self._held[chunk] = media
        if chunk != self._next:
            if len(self._held) < WINDOW:
                return StreamIgnored("an early frame, held")
            self._next = min(self._held)  # the missing ones are given up
        return self._released()

    def _released(self) -> CallerAudio:
        first = self._held[self._next]
        parts = []
        while (media := self._held.pop(self._next, None)) is not None:
            parts.append(media.payload)
            self._next += 1
        return self._heard(first, parts[0] if len(parts) == 1 else b"".join(parts))

    def _other(self, message: object) -> MediaEvent:
        if self._state is StreamState.STOPPED:
            return StreamIgnored("after stop")
        if type(message) is _ConnectedText:
            return StreamConnected() if self._state is StreamState.CONNECTING else StreamIgnored("connected")
        if type(message) is _ErrorText:
            return StreamIgnored(_complaint(message.payload))
        if type(message) is _StartText:
            return self._started(message)
        if self._state is StreamState.CONNECTING:
            return Malformed(MalformedCode.NOT_STARTED, "before start")
        assert isinstance(message, MarkText | _DtmfText | _StopText)
        if message.stream_id and message.stream_id != self._stream_id:
            return _WRONG_STREAM
        if type(message) is MarkText:
            return MarkReturned(message.mark.name)
        if type(message) is _DtmfText:
            digit = message.dtmf.digit
            return Pressed(digit) if digit in _DIGITS else Malformed(MalformedCode.BAD_FIELD, "not a telephone key")
        self._state = StreamState.STOPPED
        self._held.clear()
        return StreamStopped()

    def _started(self, message: _StartText) -> MediaEvent:
        if self._state is StreamState.STREAMING:
            return Malformed(MalformedCode.SECOND_START, "this stream has started")
        start = message.start
        self._state = StreamState.STREAMING
        self._stream_id = message.stream_id or ""
        wire = start.media_format or _Format()
        encoding = ENCODINGS.get(wire.encoding.upper())
        if encoding is None or wire.channels != 1 or not 0 < wire.sample_rate <= _MAX_RATE:
            self._deaf = True
            codec = wire.encoding.upper()
            what = codec if codec in _OTHER_CODECS else "encoding, rate or channels"
            return Malformed(MalformedCode.UNSUPPORTED_FORMAT, what)
        self._format = heard = AudioFormat(encoding, wire.sample_rate)
        sends = None if heard == self._asked else self._asked
        return StreamStarted(
            self._stream_id, start.call_control_id, heard, _parameters(start), ("inbound",), sends=sends
        )

    def _out_of_order(self) -> MediaEvent:
        if self._state is StreamState.STOPPED:
            return StreamIgnored("after stop")
        return Malformed(MalformedCode.MEDIA_BEFORE_START, "media before start")

    def _unreadable(self, text: str, error: Exception) -> MediaEvent:
        problem = diagnose(text, error, _KNOWN)
        if isinstance(problem, Malformed):
            return problem
        return StreamIgnored("after stop" if self._state is StreamState.STOPPED else f"event {problem[:32]!r}")


_WRONG_STREAM = Malformed(MalformedCode.WRONG_STREAM, "the message names another stream")


def _parameters(start: _Start) -> dict[str, str]:
    """The parameters we gave (as an object or as a list of names and values), and who calls whom."""
    given = start.custom_parameters
    if isinstance(given, list):
        pairs = [(item.get("name"), item.get("value")) for item in given if isinstance(item, dict)]
    else:
        pairs = list(given.items()) if isinstance(given, dict) else []
    found = {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}
    for name, value in (("caller", start.from_), ("callee", start.to)):
        if isinstance(value, str):
            found.setdefault(name, value)
    return found


def _complaint(payload: _Error | None) -> str:
    """What Telnyx did not like, bounded: its code and title. The detail could repeat what we sent."""
    code, title = (payload.code, payload.title) if payload else (None, None)
    words = [str(code)[:16] if isinstance(code, int | str) else "", title[:48] if isinstance(title, str) else ""]
    return " ".join(["telnyx error", *filter(None, words)])


def swapped(payload: bytes) -> bytes:
    """The other byte order; half a sample at the end is lost."""
    turned = bytearray(len(payload) & ~1)
    turned[0::2] = payload[1::2]
    turned[1::2] = payload[0 : len(turned) : 2]
    return bytes(turned)
