"""Deepgram's live transcription, texts on a WebSocket: the address to ask for, what we say, and reading what comes.

Audio goes out as binary messages, and never an empty one: that ends the stream. Everything that comes is a JSON object
told apart by ``type``. Times in it are seconds of audio since the stream began, whatever the clock says. A ``Results``
with ``is_final`` settles its stretch of the audio, the next begins where it ended; ``speech_final`` says that the
speaker paused there, ``from_finalize`` that it answers our ``Finalize``, which the service promises only where there
was a noticeable amount of audio to settle. ``channel`` is an object in Results and a list elsewhere.

Source: the service's AsyncAPI document (github.com/deepgram/deepgram-api-specs, asyncapi.yml) and, below
developers.deepgram.com/docs: finalize, audio-keep-alive, close-stream, endpointing, utterance-end, encoding,
stt-troubleshooting-websocket-data-and-net-errors.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec

from ...audio.formats import AudioFormat, Encoding
from .options import DeepgramSpec

__all__ = ["CLOSE_STREAM", "FINALIZE", "KEEP_ALIVE", "Complaint", "Result", "TurnEnded", "Word", "listen_url", "read"]

KEEP_ALIVE = '{"type":"KeepAlive"}'
FINALIZE = '{"type":"Finalize"}'
CLOSE_STREAM = '{"type":"CloseStream"}'

_ENCODINGS = {Encoding.PCMU: "mulaw", Encoding.PCMA: "alaw", Encoding.L16: "linear16"}
_LONGEST = 10_000
"""Characters of one result: ten minutes of speech."""

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]


class Word(msgspec.Struct, gc=False):
    """A word, and from when to when it was said."""

    word: str = ""
    punctuated_word: str = ""
    start: _Seconds = 0.0
    end: _Seconds = 0.0


class _Alternative(msgspec.Struct, gc=False):
    transcript: str = ""
    words: list[Word] = []


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative] = []


class _Results(msgspec.Struct, tag_field="type", tag="Results"):
    channel: _Channel
    start: _Seconds = 0.0
    duration: _Seconds = 0.0
    is_final: bool = False
    speech_final: bool = False
    from_finalize: bool = False


class _UtteranceEnd(msgspec.Struct, tag_field="type", tag="UtteranceEnd"):
    last_word_end: float = 0.0


class _Error(msgspec.Struct, tag_field="type", tag="Error"):
    description: Any = None
    message: Any = None


class _Warning(msgspec.Struct, tag_field="type", tag="Warning"):
    description: Any = None
    message: Any = None


class _Head(msgspec.Struct):
    type: str


_DECODER = msgspec.json.Decoder(_Results | _UtteranceEnd | _Error | _Warning)
_HEAD = msgspec.json.Decoder(_Head)
_KNOWN = frozenset({"Results", "UtteranceEnd", "Error", "Warning"})


class Result(msgspec.Struct, frozen=True, gc=False):
    """What was said from ``start`` to ``end`` (seconds of the stream), as far as is known now."""

    text: str
    words: list[Word]
    start: float
    end: float
    final: bool
    speech_final: bool
    from_finalize: bool


class TurnEnded(msgspec.Struct, frozen=True, gc=False):
    """No word came for ``utterance_end_ms``."""


class Complaint(msgspec.Struct, frozen=True, gc=False):
    """The service says that something is wrong, or what it said could not be read."""

    code: str
    detail: str


def read(text: str) -> Result | TurnEnded | Complaint | None:
    """Read a message; None for one that does not concern us."""
    try:
        message = _DECODER.decode(text)
    except RecursionError:
        return Complaint("malformed", "nested too deeply")
    except msgspec.ValidationError as error:
        return _unread(text, error)
    except ValueError:
        return Complaint("malformed", "not JSON")
    if type(message) is _Results:
        first = message.channel.alternatives[0] if message.channel.alternatives else _Alternative()
        return Result(
            first.transcript.strip()[:_LONGEST],
            first.words,
            message.start,
            message.start + message.duration,
            message.is_final or message.speech_final or message.from_finalize,
            message.speech_final,
            message.from_finalize,
        )
    if type(message) is _UtteranceEnd:
        return TurnEnded()
    told = [str(part)[:300] for part in (message.description, message.message) if isinstance(part, str)]
    return Complaint("error" if type(message) is _Error else "warning", ": ".join(told) or "no reason given")


def _unread(text: str, error: msgspec.ValidationError) -> Complaint | None:
    """Of a known kind: malformed. Of another: the service has more to say than we need to hear."""
    try:
        kind = _HEAD.decode(text).type
    except (ValueError, RecursionError):
        return Complaint("malformed", "not an object with a type")
    return Complaint("malformed", f"{kind}: {str(error)[:200]}") if kind in _KNOWN else None


def listen_url(spec: DeepgramSpec, line: AudioFormat, language: str) -> str:
    """Where to listen, with everything the service is to know."""
    query: list[tuple[str, str]] = [
        ("model", spec.model),
        ("language", spec.language or language or "en"),
        ("encoding", _ENCODINGS[line.encoding]),
        ("sample_rate", str(line.rate)),
        ("channels", "1"),
        ("interim_results", _flag(spec.interim_results)),
        ("endpointing", str(spec.endpointing_ms) if spec.endpointing_ms else "false"),
        ("smart_format", _flag(spec.smart_format)),
        ("punctuate", _flag(spec.punctuate)),
    ]
    if spec.utterance_end_ms:
        query.append(("utterance_end_ms", str(spec.utterance_end_ms)))
    wanted = {name: getattr(spec, name) for name in ("numerals", "profanity_filter", "filler_words", "vad_events")}
    query += [(name, "true") for name, value in wanted.items() if value]
    query += [("keyterm", term) for term in spec.keyterms]
    if spec.tag:
        query.append(("tag", spec.tag))
    if spec.mip_opt_out:
        query.append(("mip_opt_out", "true"))
    return f"{spec.url}?{urlencode(query, quote_via=quote)}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
