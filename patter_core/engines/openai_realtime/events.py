"""What the service says, read once: one wide struct holds every field of every event we use.

Both spellings of the events are known: those of general availability and those of the beta that preceded it. Unknown
events and fields are nothing; a field of the wrong type makes the whole event unreadable, which is the caller's to
report.

Source of the shapes: ``openai.types.realtime.RealtimeServerEvent`` and ``openai.types.beta.realtime`` (3.54).
"""

from __future__ import annotations

import binascii
import re
from typing import Any

import msgspec

from ..usage import Usage
from .options import PROVIDER

__all__ = ["CallItem", "Event", "Failure", "audio_of", "read", "spoken_wait_s", "transcription_usage", "usage_of"]

_NOW_CALLED = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "conversation.item.created": "conversation.item.added",
}
"""The beta's names of events that have another name now."""

_TEXT_LIMIT = 2000
"""Characters of an error message that are passed on."""


class Failure(msgspec.Struct, frozen=True):
    """What went wrong: in an ``error`` event, or in a response that failed."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None

    @property
    def detail(self) -> str:
        """For people."""
        return ": ".join(part for part in (self.code or self.type or "", (self.message or "")[:_TEXT_LIMIT]) if part)


class Part(msgspec.Struct, frozen=True):
    """A piece of an item's content."""

    type: str | None = None
    text: str | None = None
    transcript: str | None = None


class CallItem(msgspec.Struct, frozen=True):
    """An item of the conversation, as far as we look at it."""

    id: str | None = None
    type: str | None = None
    status: str | None = None
    role: str | None = None
    name: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    content: list[Part] | None = None


class StatusDetails(msgspec.Struct, frozen=True):
    """Why a response is not complete."""

    type: str | None = None
    reason: str | None = None
    error: Failure | None = None


class CachedTokens(msgspec.Struct, frozen=True):
    """Cached tokens by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None


class InputTokens(msgspec.Struct, frozen=True):
    """Input tokens by kind; cached ones are among them."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: CachedTokens | None = None


class OutputTokens(msgspec.Struct, frozen=True):
    """Output tokens by kind."""

    text_tokens: int | None = None
    audio_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True):
    """A response's usage, or a transcription's: that one may be by ``seconds`` instead."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: InputTokens | None = None
    output_token_details: OutputTokens | None = None
    seconds: float | None = None


class Response(msgspec.Struct, frozen=True):
    """A response."""

    id: str | None = None
    status: str | None = None
    status_details: StatusDetails | None = None
    output: list[CallItem] | None = None
    usage: Tokens | None = None
    metadata: dict[str, Any] | None = None


class SessionState(msgspec.Struct, frozen=True):
    """A session."""

    id: str | None = None
    expires_at: int | None = None


class Event(msgspec.Struct, frozen=True):
    """Any event."""

    type: str = ""
    event_id: str | None = None
    response_id: str | None = None
    item_id: str | None = None
    delta: str | None = None
    text: str | None = None
    transcript: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    item: CallItem | None = None
    response: Response | None = None
    session: SessionState | None = None
    error: Failure | None = None
    usage: Tokens | None = None

    @property
    def kind(self) -> str:
        """Its name of today."""
        return _NOW_CALLED.get(self.type, self.type)


_decoder = msgspec.json.Decoder(Event)


def read(text: str) -> Event | None:
    """An event, or None when it cannot be read."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def audio_of(delta: str) -> bytes | None:
    """The audio of a delta; None when it is no base64."""
    try:
        return binascii.a2b_base64(delta, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def _count(value: int | None) -> int:
    return value if value is not None and value > 0 else 0


def usage_of(tokens: Tokens, model: str) -> Usage:
    """A response's usage, each token in one place. Pictures, which we never send, would be counted with text."""
    inputs = tokens.input_token_details or InputTokens(text_tokens=tokens.input_tokens)
    outputs = tokens.output_token_details or OutputTokens(text_tokens=tokens.output_tokens)
    text, audio = _count(inputs.text_tokens) + _count(inputs.image_tokens), _count(inputs.audio_tokens)
    if inputs.cached_tokens_details is not None:
        cached_text = min(text, _count(inputs.cached_tokens_details.text_tokens))
        cached_audio = min(audio, _count(inputs.cached_tokens_details.audio_tokens))
    else:
        cached_text = min(text, _count(inputs.cached_tokens))
        cached_audio = min(audio, _count(inputs.cached_tokens) - cached_text)
    return Usage(
        stage="llm",
        provider=PROVIDER,
        model=model,
        input_text=text - cached_text,
        input_audio=audio - cached_audio,
        cached_text=cached_text,
        cached_audio=cached_audio,
        output_text=_count(outputs.text_tokens),
        output_audio=_count(outputs.audio_tokens),
    )


def transcription_usage(tokens: Tokens, model: str, heard_us: int = 0) -> Usage:
    """What writing down the caller's words took: tokens, or time. Where only tokens are told, the time is that of the
    sound itself, ``heard_us``: price lists have the minute."""
    inputs = tokens.input_token_details or InputTokens(audio_tokens=tokens.input_tokens)
    seconds = tokens.seconds if tokens.seconds is not None and 0 < tokens.seconds < 1e6 else 0.0
    return Usage(
        stage="stt",
        provider="openai_transcribe",
        model=model,
        audio_us=round(seconds * 1_000_000) or heard_us,
        input_text=_count(inputs.text_tokens),
        input_audio=_count(inputs.audio_tokens),
        output_text=_count(tokens.output_tokens),
    )


_WAIT = re.compile(
    r"try again in (?:(\d{1,3})h)?(?:(\d{1,4})m(?!s))?(?:(\d{1,6}(?:\.\d{1,12})?)(ms|s))?", re.IGNORECASE
)


def spoken_wait_s(message: str) -> float | None:
    """The time a rate limit's message asks to wait, in seconds: "Please try again in 1m26.4s", "... in 350ms"."""
    match = _WAIT.search(message[:_TEXT_LIMIT])
    if match is None or not any(match.group(1, 2, 3)):
        return None
    seconds = float(match[3] or 0) * (0.001 if (match[4] or "").lower() == "ms" else 1.0)
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + seconds
