"""What is said to ElevenLabs' text to speech and what it answers: requests, messages, formats, errors as advice.

Sources: the vendor's API reference ("Create speech", "Multi-Context WebSocket"), its page "Errors" (``detail`` with
``type``, ``code``, ``message``; 429 is rate_limit_exceeded or concurrent_limit_exceeded), its help page on 400 and 401
(``detail.status`` invalid_api_key, quota_exceeded, voice_not_found), its published schema of the WebSockets
(elevenlabs/elevenlabs-docs, ``fern/apis/api/asyncapi.yml``). That a flush alone brings no ``isFinal``, and a flush with
a close of the context exactly one after all audio: bolna-ai/bolna #790, tried there against the live service. That
``voice_settings`` must stay the same on a socket: pipecat-ai/pipecat #4520. At most 5 contexts, and the error message:
livekit/agents-js #1985.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ...audio.formats import L16_16K, AudioFormat, Encoding
from ...contract import Fault
from ..sendable import to_json
from .options import ElevenLabsVoiceSpec, ElevenLabsWsVoiceSpec, VoiceSettings

__all__ = [
    "CONTEXTS",
    "PROVIDER",
    "Samples",
    "Spoken",
    "Trouble",
    "close_context",
    "failed",
    "open_context",
    "output_format",
    "parse",
    "refused",
    "say",
    "socket_closed",
    "socket_url",
    "speech_body",
    "speech_url",
]

PROVIDER = "elevenlabs"
CONTEXTS = 5
"""Open at once on one WebSocket."""
_IDLE_S = 180  # the longest the WebSocket may be told to wait for us
_SPAN = 300  # characters of a peer's text in one of our details


# --- formats ---------------------------------------------------------------------------------------------------------

_ENCODINGS = {"pcm": Encoding.L16, "ulaw": Encoding.PCMU, "alaw": Encoding.PCMA}


def output_format(wanted: str, line: AudioFormat) -> tuple[str, AudioFormat]:
    """The format to ask for, by ElevenLabs' name, and what it is. ``auto`` is the line's own."""
    if wanted == "auto":
        if line.encoding is not Encoding.L16 and line.rate == 8000:
            wanted = "ulaw_8000" if line.encoding is Encoding.PCMU else "alaw_8000"
        elif line.rate in (8000, 16000, 24000, 48000):
            wanted = f"pcm_{line.rate}"
        else:
            return "pcm_16000", L16_16K
    encoding, _, rate = wanted.partition("_")
    return wanted, AudioFormat(_ENCODINGS[encoding], int(rate))


class Samples:
    """Whole samples out of audio that is cut anywhere."""

    __slots__ = ("_half", "_size")

    def __init__(self, format: AudioFormat) -> None:
        self._size = format.bytes_per_sample
        self._half = b""

    def whole(self, data: bytes) -> bytes:
        """What of it is whole; half a sample waits for its other half."""
        if self._size == 1:
            return data
        if self._half:
            data = self._half + data
            self._half = b""
        if len(data) % 2:
            self._half = data[-1:]
            data = data[:-1]
        return data

    def reset(self) -> None:
        self._half = b""


# --- HTTP ------------------------------------------------------------------------------------------------------------


def speech_url(spec: ElevenLabsVoiceSpec, format: str) -> str:
    return f"{spec.base_url}/v1/text-to-speech/{quote(spec.voice_id, safe='')}/stream?output_format={format}"


def speech_body(spec: ElevenLabsVoiceSpec, text: str) -> bytes:
    body: dict[str, Any] = {"text": text, "model_id": spec.model}
    if spec.language:
        body["language_code"] = spec.language
    if spec.voice_settings is not None:
        body["voice_settings"] = spec.voice_settings
    return to_json(body)


# --- the WebSocket ---------------------------------------------------------------------------------------------------


def socket_url(spec: ElevenLabsWsVoiceSpec, format: str) -> str:
    """The multi-context one: the only one that says when a sentence is done without closing the socket."""
    query = {
        "model_id": spec.model,
        "output_format": format,
        "inactivity_timeout": str(_IDLE_S),
        "auto_mode": "true",  # whole sentences come, so nothing is gained by waiting for more text
    }
    if spec.language:
        query["language_code"] = spec.language
    return f"{spec.base_url}/v1/text-to-speech/{quote(spec.voice_id, safe='')}/multi-stream-input?{urlencode(query)}"


def open_context(context: str, settings: VoiceSettings | None) -> str:
    """A sentence begins."""
    data: dict[str, Any] = {"text": " ", "context_id": context}
    if settings is not None:
        data["voice_settings"] = settings
    return to_json(data).decode()


def say(context: str, text: str) -> str:
    """The sentence, all of it; ElevenLabs wants a space at its end."""
    return to_json({"text": f"{text} ", "context_id": context, "flush": True}).decode()


def close_context(context: str) -> str:
    """What was flushed still comes, and then ``isFinal``."""
    return to_json({"context_id": context, "close_context": True}).decode()


class Spoken(msgspec.Struct, frozen=True, rename={"context": "contextId", "final": "isFinal", "final_too": "is_final"}):
    """A message from the WebSocket. ``isFinal`` is also documented as ``is_final``."""

    context: str | None = None
    audio: bytes | None = None  # decoded while it is read
    final: bool | None = None
    final_too: bool | None = None
    error: str | None = None
    message: str | None = None
    code: int | None = None


_DECODER = msgspec.json.Decoder(Spoken)


def parse(text: str) -> Spoken | None:
    """A message, or None for what is none."""
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


# --- what went wrong -------------------------------------------------------------------------------------------------


class Trouble(msgspec.Struct, frozen=True):
    """``fatal``: another try would end alike."""

    detail: str
    fatal: bool = False
    wait_us: int = 0  # before the next try


class _Detail(msgspec.Struct, frozen=True):
    code: str | None = None
    status: str | None = None
    message: str | None = None


class _Invalid(msgspec.Struct, frozen=True):
    msg: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    detail: str | _Detail | list[_Invalid]


_BODY = msgspec.json.Decoder(_ErrorBody)
_KEY = "check ELEVENLABS_API_KEY (or api_key=)"
_PLAN = "the ElevenLabs plan does not cover this: see its Subscription page"
_VOICE = "check voice_id: this account has no such voice"
_BUSY = "too many requests at once for the ElevenLabs plan"
_SECONDS = re.compile(r"\d{1,5}(?:\.\d{1,6})?")


def _said(body: bytes) -> tuple[str, str]:
    """An error body's code and message."""
    try:
        detail = _BODY.decode(body).detail
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "", body[:_SPAN].decode("utf-8", "replace").strip()
    if isinstance(detail, str):
        return "", detail[:_SPAN]
    if isinstance(detail, list):
        return "", "; ".join(one.msg for one in detail[:4])[:_SPAN]
    return (detail.code or detail.status or "")[:64], (detail.message or "")[:_SPAN]


def refused(status: int, headers: dict[str, str], body: bytes, longest_us: int) -> Trouble:
    """An HTTP status other than 200, as advice. ``longest_us``: what it pays to wait."""
    code, message = _said(body)
    said = " ".join(part for part in (f"HTTP {status}", code, message) if part)
    if status == 402 or "quota" in code or "payment" in code or "paid_plan" in code:
        return Trouble(f"{_PLAN} ({said})", fatal=True)
    if status in (401, 403):
        return Trouble(f"ElevenLabs refused the key: {_KEY} (HTTP {status})", fatal=True)  # some quote it
    if "voice" in code or status == 404 or (status in (400, 422) and "voice" in message.lower()):
        return Trouble(f"{_VOICE} ({said})", fatal=True)
    if status == 429:
        match = _SECONDS.fullmatch(headers.get("retry-after", "").strip())
        wait = round(float(match[0]) * 1_000_000) if match else 0
        return Trouble(f"{_BUSY} ({said})", fatal=wait > longest_us, wait_us=wait)
    return Trouble(f"ElevenLabs refused the request ({said})", fatal=status < 500)


def failed(fault: Fault) -> Trouble:
    """No answer at all, or half of one."""
    return Trouble(f"ElevenLabs did not answer ({fault.value})")


def socket_closed(code: int, reason: str, status: int, fault: Fault | None, error: Spoken | None) -> Trouble:
    """Why the WebSocket is gone. ``error`` is the error message that came before."""
    if fault is not None:
        return failed(fault)
    if status:
        return refused(status, {}, reason.encode(), 0)
    kind = (error.error or "")[:64] if error is not None else ""
    message = (error.message or "")[:_SPAN] if error is not None else ""
    said = " ".join(part for part in (str(code), kind, message or reason[:_SPAN]) if part)
    lower = said.lower()
    if "quota" in lower or "payment" in lower or "paid_plan" in lower or "subscription" in lower:
        return Trouble(f"{_PLAN} ({said})", fatal=True)
    if "api_key" in lower or "api key" in lower or "authoriz" in lower or "authenticat" in lower:
        return Trouble(f"ElevenLabs refused the key: {_KEY} (HTTP {status})", fatal=True)  # some quote it
    if "voice_not_found" in lower or "voice_id" in lower:
        return Trouble(f"{_VOICE} ({said})", fatal=True)
    if "max_active" in lower or "concurrent" in lower or "rate_limit" in lower or "too_many" in lower:
        return Trouble(f"{_BUSY} ({said})")
    return Trouble(f"ElevenLabs closed the connection ({said})")
