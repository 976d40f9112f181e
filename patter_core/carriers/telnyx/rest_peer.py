"""Telnyx's end of the Call Control API, for the simulator: a client's requests in, typed orders out; and the replies.

It takes what ``rest.py`` builds and what any other client sends: bodies that the reference calls wrong are refused.
Source: developers.telnyx.com/api-reference/call-commands; the reply to a call that is over is a recorded one.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.carriers.carrier import RecordingStep

from .rest import BAD_CALL, CODECS, ENDED, KEYS, MAX_SPOKEN, NOT_ANSWERED

__all__ = [
    "AnswerWanted",
    "BridgeWanted",
    "DialWanted",
    "HangUpWanted",
    "HookAsked",
    "HookWanted",
    "KeysWanted",
    "Order",
    "RecordWanted",
    "RejectWanted",
    "SpeakWanted",
    "StreamWanted",
    "StreamWish",
    "TransferWanted",
    "read_request",
    "reply_application",
    "reply_bad_call",
    "reply_dialled",
    "reply_ended",
    "reply_not_answered",
    "reply_not_found",
    "reply_ok",
    "reply_too_many",
    "reply_unauthorized",
]

_ENCODINGS = {name: encoding for encoding, name in CODECS.items()}


class StreamWish(msgspec.Struct, frozen=True):
    """The stream a client asked for. ``hears`` and ``plays`` are None where Telnyx's own choice stands, and where the
    codec is one we cannot simulate. ``mode`` is ``mp3`` unless the client said ``rtp``."""

    url: str
    track: str = "inbound_track"
    mode: str = "mp3"
    hears: AudioFormat | None = None
    plays: AudioFormat | None = None
    target_legs: str = ""
    token: str = ""
    parameters: dict[str, str] = {}


class AnswerWanted(msgspec.Struct, frozen=True, tag=True):
    """Take this call; with a stream, if it names one."""

    call_id: str
    stream: StreamWish | None = None
    command: str = ""
    state: str | None = None


class RejectWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Turn this call away."""

    call_id: str
    cause: str
    command: str = ""


class StreamWanted(msgspec.Struct, frozen=True, tag=True):
    """Open a stream for this call."""

    call_id: str
    stream: StreamWish
    command: str = ""


class DialWanted(msgspec.Struct, frozen=True, tag=True):
    """Place a call. ``detect`` is the machine detection asked for, '' for none."""

    connection_id: str
    to: str
    caller: str
    ring_timeout_s: int = 30
    detect: str = ""
    state: str | None = None
    webhook_url: str = ""
    command: str = ""
    stream: StreamWish | None = None


class HangUpWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """End this call."""

    call_id: str
    command: str = ""


class SpeakWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Say this."""

    call_id: str
    text: str
    voice: str
    language: str = ""
    command: str = ""


class KeysWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Press these keys."""

    call_id: str
    digits: str
    duration_ms: int = 250
    command: str = ""


class TransferWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Dial ``to`` and connect it with this call. ``state`` goes into the new leg's webhooks."""

    call_id: str
    to: str
    caller: str = ""
    ring_timeout_s: int = 30
    state: str | None = None
    webhook_url: str = ""
    command: str = ""


class BridgeWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Connect this call with the other."""

    call_id: str
    other: str
    command: str = ""


class RecordWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Do this to the call's recording."""

    call_id: str
    step: RecordingStep
    format: str = ""
    channels: str = ""
    command: str = ""


class HookAsked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Describe this application."""

    application_id: str


class HookWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Report this application's calls to ``url``."""

    application_id: str
    name: str
    url: str


Order: TypeAlias = (
    AnswerWanted
    | RejectWanted
    | StreamWanted
    | DialWanted
    | HangUpWanted
    | SpeakWanted
    | KeysWanted
    | TransferWanted
    | BridgeWanted
    | RecordWanted
    | HookAsked
    | HookWanted
)

_CALL_PATH = re.compile(r"/v2/calls/([^/?#]+)/actions/([a-z_]+)")
_APPLICATION_PATH = re.compile(r"/v2/call_control_applications/([^/?#]+)")
_Fields = Mapping[str, Any]


def read_request(method: str, path: str, body: bytes) -> Order | None:
    """What a client wants; None for a request that is none of these, or whose body Telnyx would not take."""
    if method == "GET":
        found = _APPLICATION_PATH.fullmatch(path)
        return HookAsked(unquote(found[1])) if found else None
    try:
        fields = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    if method == "PATCH":
        return _read_hook_order(path, fields)
    if method != "POST":
        return None
    if path == "/v2/calls":
        return _read_dial(fields)
    found = _CALL_PATH.fullmatch(path)
    reader = _ACTIONS.get(found[2]) if found else None
    return reader(unquote(found[1]), fields) if found and reader else None


def reply_ok() -> tuple[int, bytes]:
    """A command was taken. Its effect is told by webhook."""
    return 200, msgspec.json.encode({"data": {"result": "ok"}})


def reply_dialled(call_id: str, leg_id: str, session_id: str) -> tuple[int, bytes]:
    """A call is being placed; ``is_alive`` is always false here."""
    data = {
        "call_control_id": call_id,
        "call_leg_id": leg_id,
        "call_session_id": session_id,
        "is_alive": False,
        "record_type": "call",
    }
    return 200, msgspec.json.encode({"data": data})


def reply_application(application_id: str, name: str, url: str, *, active: bool = True) -> tuple[int, bytes]:
    """An application as ``GET`` and ``PATCH`` show it (the fields a client may look at)."""
    data = {
        "active": active,
        "application_name": name,
        "id": application_id,
        "record_type": "call_control_application",
        "webhook_api_version": "2",
        "webhook_event_url": url,
    }
    return 200, msgspec.json.encode({"data": data})


def reply_ended() -> tuple[int, bytes]:
    """The recorded answer to any command for a call that is over."""
    return _error(422, ENDED, "Call has already ended", "This call is no longer active and can't receive commands.")


def reply_not_answered() -> tuple[int, bytes]:
    """A command that needs an answered call came before the answer (code documented, words ours)."""
    return _error(422, NOT_ANSWERED, "Call not answered yet", "The call has not been answered.")


def reply_bad_call() -> tuple[int, bytes]:
    """No call has this id."""
    return _error(422, BAD_CALL, "Invalid Call Control ID", "The call_control_id is not valid.")


def reply_not_found() -> tuple[int, bytes]:
    """Nothing is there: a path, or an application of another kind."""
    return _error(404, "10005", "Resource not found", "The requested resource or URL could not be found.")


def reply_unauthorized() -> tuple[int, bytes]:
    """The API key is missing or wrong."""
    return _error(401, "10009", "Authentication failed", "The authorization header is missing or invalid.")


def reply_too_many() -> tuple[int, bytes]:
    """Slow down: nothing was done."""
    return _error(429, "10011", "Too many requests", "The allowed number of requests was exceeded.")


def _error(status: int, code: str, title: str, detail: str) -> tuple[int, bytes]:
    return status, msgspec.json.encode({"errors": [{"code": code, "title": title, "detail": detail}]})


def _said(fields: _Fields, name: str, default: str = "") -> str:
    value = fields.get(name, default)
    return value if isinstance(value, str) else default


def _number(fields: _Fields, name: str, default: int) -> int:
    value = fields.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _state(fields: _Fields, name: str = "client_state") -> str | None:
    """A client state if it is one: Telnyx wants base64."""
    text = _said(fields, name)
    try:
        b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, ValueError):
        return None
    return text or None


def _wish(fields: _Fields) -> StreamWish | None:
    url = _said(fields, "stream_url")
    if not url:
        return None
    rate = _number(fields, "stream_bidirectional_sampling_rate", 8000)
    given = fields.get("custom_parameters")
    pairs = [pair for pair in given if isinstance(pair, dict)] if isinstance(given, list) else []
    return StreamWish(
        url,
        track=_said(fields, "stream_track", "inbound_track"),
        mode=_said(fields, "stream_bidirectional_mode", "mp3"),
        hears=_format(_said(fields, "stream_codec", "default"), rate),
        plays=_format(_said(fields, "stream_bidirectional_codec", "PCMU"), rate),
        target_legs=_said(fields, "stream_bidirectional_target_legs"),
        token=_said(fields, "stream_auth_token"),
        parameters={_said(pair, "name"): _said(pair, "value") for pair in pairs},
    )


def _format(codec: str, rate: int) -> AudioFormat | None:
    encoding = _ENCODINGS.get(codec)
    if encoding is None or not 0 < rate <= 48_000:
        return None
    return AudioFormat(encoding, rate if encoding is Encoding.L16 else 8000)


def _read_answer(call_id: str, fields: _Fields) -> Order | None:
    return AnswerWanted(call_id, _wish(fields), _said(fields, "command_id"), _state(fields))


def _read_reject(call_id: str, fields: _Fields) -> Order | None:
    cause = _said(fields, "cause")
    if cause not in ("CALL_REJECTED", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE", "USER_BUSY"):
        return None
    return RejectWanted(call_id, cause, _said(fields, "command_id"))


def _read_stream(call_id: str, fields: _Fields) -> Order | None:
    wish = _wish(fields)
    return StreamWanted(call_id, wish, _said(fields, "command_id")) if wish else None


def _read_hangup(call_id: str, fields: _Fields) -> Order | None:
    return HangUpWanted(call_id, _said(fields, "command_id"))


def _read_speak(call_id: str, fields: _Fields) -> Order | None:
    text, voice = _said(fields, "payload"), _said(fields, "voice")
    if not text or not voice or len(text) > MAX_SPOKEN:
        return None
    return SpeakWanted(call_id, text, voice, _said(fields, "language"), _said(fields, "command_id"))


def _read_keys(call_id: str, fields: _Fields) -> Order | None:
    digits, duration = _said(fields, "digits"), _number(fields, "duration_millis", 250)
    if KEYS.fullmatch(digits) is None or not 100 <= duration <= 500:
        return None
    return KeysWanted(call_id, digits, duration, _said(fields, "command_id"))


def _read_transfer(call_id: str, fields: _Fields) -> Order | None:
    to, ring = _said(fields, "to"), _number(fields, "timeout_secs", 30)
    if not to or not 5 <= ring <= 600:
        return None
    return TransferWanted(
        call_id,
        to,
        _said(fields, "from"),
        ring,
        _state(fields, "target_leg_client_state"),
        _said(fields, "webhook_url"),
        _said(fields, "command_id"),
    )


def _read_bridge(call_id: str, fields: _Fields) -> Order | None:
    other = _said(fields, "call_control_id")
    return BridgeWanted(call_id, other, _said(fields, "command_id")) if other else None


def _recording(step: RecordingStep) -> Callable[[str, _Fields], Order | None]:
    def reader(call_id: str, fields: _Fields) -> Order | None:
        kind, channels = _said(fields, "format"), _said(fields, "channels")
        if step is RecordingStep.START and (kind not in ("wav", "mp3") or channels not in ("single", "dual")):
            return None
        return RecordWanted(call_id, step, kind, channels, _said(fields, "command_id"))

    return reader


def _read_dial(fields: _Fields) -> Order | None:
    connection, to, caller = _said(fields, "connection_id"), _said(fields, "to"), _said(fields, "from")
    ring = _number(fields, "timeout_secs", 30)
    if not connection or not to or not caller or not 5 <= ring <= 600:
        return None
    detect = _said(fields, "answering_machine_detection", "disabled")
    return DialWanted(
        connection,
        to,
        caller,
        ring,
        "" if detect == "disabled" else detect,
        _state(fields),
        _said(fields, "webhook_url"),
        _said(fields, "command_id"),
        _wish(fields),
    )


def _read_hook_order(path: str, fields: _Fields) -> Order | None:
    found = _APPLICATION_PATH.fullmatch(path)
    name, url = _said(fields, "application_name"), _said(fields, "webhook_event_url")
    return HookWanted(unquote(found[1]), name, url) if found and name and url else None


_ACTIONS: dict[str, Callable[[str, _Fields], Order | None]] = {
    "answer": _read_answer,
    "reject": _read_reject,
    "streaming_start": _read_stream,
    "hangup": _read_hangup,
    "speak": _read_speak,
    "send_dtmf": _read_keys,
    "transfer": _read_transfer,
    "bridge": _read_bridge,
} | {f"record_{step.value}": _recording(step) for step in RecordingStep}
