"""Twilio's webhooks: form fields in, typed events out. The fields as Twilio sends them are made in ``webhook_peer``.

Bodies are ``application/x-www-form-urlencoded``: parse them with ``carriers.form`` and check the signature over those
very pairs first. Of a repeated name the first value counts. Unknown fields are normal: Twilio adds some any time.
Source: twilio.com/docs/voice/twiml (request parameters), /docs/voice/api/call-resource (status callbacks),
/docs/voice/answering-machine-detection, /docs/voice/twiml/recording, /docs/voice/twiml/stream, /docs/voice/twiml/dial,
/docs/voice/twiml/conference, and recorded bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from patter_core.carriers.carrier import (
    Acknowledged,
    Answerer,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    Direction,
    LegJoined,
    MachineDetected,
    Malformed,
    MalformedCode,
    RecordingChanged,
    RecordingStatus,
    StreamChange,
    StreamChanged,
    TransferEnded,
)

__all__ = [
    "MAX_REF",
    "parse_conference",
    "parse_machine",
    "parse_recording",
    "parse_status",
    "parse_stream",
    "parse_transfer",
    "parse_voice",
    "read_ref",
    "valid_call_sid",
]

MAX_REF = 256
"""The longest name of a leg that is believed: ours are far shorter."""

_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"[0-9]{1,15}")

_STATUSES = {
    "queued": CallStatus.QUEUED,
    "initiated": CallStatus.INITIATED,
    "ringing": CallStatus.RINGING,
    "in-progress": CallStatus.IN_PROGRESS,
    "answered": CallStatus.IN_PROGRESS,
    "completed": CallStatus.COMPLETED,
    "busy": CallStatus.BUSY,
    "no-answer": CallStatus.NO_ANSWER,
    "failed": CallStatus.FAILED,
    "canceled": CallStatus.CANCELED,
}
_RECORDINGS = {
    "in-progress": RecordingStatus.IN_PROGRESS,
    "paused": RecordingStatus.IN_PROGRESS,
    "processing": RecordingStatus.IN_PROGRESS,
    "stopped": RecordingStatus.IN_PROGRESS,  # stopped, but not yet there to fetch
    "completed": RecordingStatus.COMPLETED,
    "absent": RecordingStatus.ABSENT,
    "deleted": RecordingStatus.ABSENT,
    "failed": RecordingStatus.FAILED,
}
_STREAM_CHANGES = {
    "stream-started": StreamChange.STARTED,
    "stream-stopped": StreamChange.STOPPED,
    "stream-error": StreamChange.ERROR,
}
# What a room reports; only who came in matters to us.
_ROOM_EVENTS = frozenset(
    {
        "conference-start",
        "conference-end",
        "participant-leave",
        "participant-mute",
        "participant-unmute",
        "participant-hold",
        "participant-unhold",
        "participant-modify",
        "participant-speech-start",
        "participant-speech-stop",
        "announcement-end",
        "announcement-fail",
    }
)


def valid_call_sid(text: str) -> bool:
    """``CA`` and 32 hexadecimal digits, and nothing before, between or after."""
    return _CALL_SID.fullmatch(text) is not None


def read_ref(query: str) -> str:
    """The name we gave a leg, from the query of the webhook's URL (``ref=``); '' when there is none worth believing:
    longer than ``MAX_REF``, not UTF-8, or with a character that cannot be printed."""
    for field in query.split("&"):
        name, _, value = field.partition("=")
        if name == "ref" and len(value) <= MAX_REF * 12:  # four bytes of UTF-8 are twelve characters escaped
            try:
                ref = unquote(value, errors="strict")
            except ValueError:
                return ""
            return ref if len(ref) <= MAX_REF and ref.isprintable() else ""
    return ""


def parse_voice(pairs: Iterable[tuple[str, str]]) -> CallOffered | Malformed:
    """A call wants TwiML. The caller is ``From``, or else ``Caller``; the callee ``To``, or else ``Called``."""
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    return CallOffered(call_id, _caller(fields), _callee(fields), _direction(fields), fields)


def parse_status(pairs: Iterable[tuple[str, str]]) -> CallStatusChanged | Malformed:
    """A call moved on. ``CallDuration`` (seconds) is read, ``Duration`` (billed minutes) is not."""
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    raw = fields.get("CallStatus", "")
    if not raw:
        return Malformed(MalformedCode.MISSING_FIELD, "CallStatus")
    answered_by = fields.get("AnsweredBy", "")
    return CallStatusChanged(
        call_id,
        status=_STATUSES.get(raw, CallStatus.UNKNOWN),
        raw=raw,
        sequence=_number(fields, "SequenceNumber"),
        duration_s=_number(fields, "CallDuration"),
        sip_code=_number(fields, "SipResponseCode"),
        answered_by=_answerer(answered_by) if answered_by else None,
        caller=_caller(fields),
        callee=_callee(fields),
        direction=_direction(fields),
        timestamp=fields.get("Timestamp", ""),
    )


def parse_machine(pairs: Iterable[tuple[str, str]]) -> MachineDetected | Malformed:
    """Asynchronous machine detection has a verdict. ``machine_end_*`` means that the greeting is over."""
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    raw = fields.get("AnsweredBy", "")
    if not raw:
        return Malformed(MalformedCode.MISSING_FIELD, "AnsweredBy")
    return MachineDetected(
        call_id,
        classification=_answerer(raw),
        raw=raw,
        greeting_ended=raw.startswith("machine_end_"),
        duration_ms=_number(fields, "MachineDetectionDuration"),
    )


def parse_recording(pairs: Iterable[tuple[str, str]]) -> RecordingChanged | Malformed:
    """A recording moved on."""
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    recording_id, raw = fields.get("RecordingSid", ""), fields.get("RecordingStatus", "")
    if not recording_id or not raw:
        return Malformed(MalformedCode.MISSING_FIELD, "RecordingSid, RecordingStatus")
    error = _number(fields, "ErrorCode")
    return RecordingChanged(
        call_id,
        recording_id,
        status=_RECORDINGS.get(raw, RecordingStatus.UNKNOWN),
        raw=raw,
        url=fields.get("RecordingUrl", ""),
        duration_s=_number(fields, "RecordingDuration"),
        channels=_number(fields, "RecordingChannels"),
        started_at=fields.get("RecordingStartTime", ""),
        error_code=error or None,  # "0" is Twilio's word for none
    )


def parse_stream(pairs: Iterable[tuple[str, str]]) -> StreamChanged | Malformed:
    """A media stream started, stopped or failed (``<Stream statusCallback>``)."""
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    stream_id, raw = fields.get("StreamSid", ""), fields.get("StreamEvent", "")
    if not stream_id or not raw:
        return Malformed(MalformedCode.MISSING_FIELD, "StreamSid, StreamEvent")
    return StreamChanged(
        call_id,
        stream_id,
        change=_STREAM_CHANGES.get(raw, StreamChange.UNKNOWN),
        raw=raw,
        error=fields.get("StreamError", ""),
        timestamp=fields.get("Timestamp", ""),
    )


def parse_transfer(pairs: Iterable[tuple[str, str]]) -> TransferEnded | Malformed:
    """A ``<Dial>`` is over and Twilio asks what to do with the caller (``<Dial action>``).

    A room (``<Conference>``) reports ``answered`` where a leg reports ``completed``. A leg that answered and hung up
    before it was connected is ``completed`` too, but says ``DialBridged=false``: nobody talked. A ``<Dial>`` that we
    cut short with another order reports ``completed`` as well; how this request is answered then counts for nothing.
    """
    fields = _fields(pairs)
    call_id = fields.get("CallSid", "")
    if not valid_call_sid(call_id):
        return _BAD_CALL_SID
    raw = fields.get("DialCallStatus", "")
    if not raw:
        return Malformed(MalformedCode.MISSING_FIELD, "DialCallStatus")
    status = CallStatus.COMPLETED if raw == "answered" else _STATUSES.get(raw, CallStatus.UNKNOWN)
    if raw == "completed" and fields.get("DialBridged", "").lower() == "false":
        status = CallStatus.NO_ANSWER
    return TransferEnded(call_id, status, raw, _number(fields, "DialCallDuration"))


def parse_conference(pairs: Iterable[tuple[str, str]]) -> LegJoined | Acknowledged | Malformed:
    """Something happened in a room (``<Conference statusCallback>``). The room's own events name no call."""
    fields = _fields(pairs)
    event, call_id = fields.get("StatusCallbackEvent", ""), fields.get("CallSid", "")
    if not event:
        return Malformed(MalformedCode.MISSING_FIELD, "StatusCallbackEvent")
    joined = event == "participant-join"
    if not valid_call_sid(call_id) and (call_id or joined):
        return _BAD_CALL_SID
    return LegJoined(call_id) if joined else Acknowledged(call_id, event[:64], event in _ROOM_EVENTS)


_BAD_CALL_SID = Malformed(MalformedCode.BAD_CALL_SID, "CallSid is not CA and 32 hexadecimal digits")


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def _caller(fields: dict[str, str]) -> str:
    return fields.get("From") or fields.get("Caller", "")


def _callee(fields: dict[str, str]) -> str:
    return fields.get("To") or fields.get("Called", "")


def _direction(fields: dict[str, str]) -> Direction:
    return Direction.OUTBOUND if fields.get("Direction", "").startswith("outbound") else Direction.INBOUND


def _answerer(raw: str) -> Answerer:
    if raw.startswith("machine"):
        return Answerer.MACHINE
    return {"human": Answerer.HUMAN, "fax": Answerer.FAX}.get(raw, Answerer.UNKNOWN)


def _number(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) else None
