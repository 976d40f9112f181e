"""Twilio's webhooks: form fields in, typed events out; and, for the simulator, the fields as Twilio sends them.

Bodies are ``application/x-www-form-urlencoded``: parse them with ``carriers.form`` and check the signature over those
very pairs first. Of a repeated name the first value counts. Unknown fields are normal: Twilio adds some any time.
Source: twilio.com/docs/voice/twiml (request parameters), /docs/voice/api/call-resource (status callbacks),
/docs/voice/answering-machine-detection, /docs/voice/twiml/recording, /docs/voice/twiml/stream, and recorded bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from patter_core.carriers.carrier import (
    Answerer,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    Direction,
    MachineDetected,
    Malformed,
    MalformedCode,
    RecordingChanged,
    RecordingStatus,
    StreamChange,
    StreamChanged,
)

__all__ = [
    "Pairs",
    "machine_params",
    "parse_machine",
    "parse_recording",
    "parse_status",
    "parse_stream",
    "parse_voice",
    "recording_params",
    "rfc2822",
    "status_params",
    "stream_params",
    "valid_call_sid",
    "voice_params",
]

Pairs = list[tuple[str, str]]

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
_WIRE_STATUS = {status: wire for wire, status in _STATUSES.items() if wire != "answered"}
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


def valid_call_sid(text: str) -> bool:
    """``CA`` and 32 hexadecimal digits, and nothing before, between or after."""
    return _CALL_SID.fullmatch(text) is not None


# --- the server's role -----------------------------------------------------------------------------------------------


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


# --- Twilio's role ---------------------------------------------------------------------------------------------------

_API_VERSION = "2010-04-01"
_DIRECTIONS = {"inbound": "inbound", "outbound": "outbound-api"}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def voice_params(
    call_sid: str,
    account_sid: str,
    caller: str,
    callee: str,
    direction: str = "inbound",
    *,
    status: str = "",
    country: str = "US",
) -> Pairs:
    """What Twilio posts to a Voice URL, in the recorded order: numbers twice, places mostly empty."""
    outbound = direction != "inbound"
    return [
        ("To", callee),
        ("From", caller),
        ("Called", callee),
        ("Caller", caller),
        ("FromCity", ""),
        ("CalledState", ""),
        ("FromZip", ""),
        ("FromState", ""),
        ("CallerCountry", country),
        ("ToCountry", country),
        ("FromCountry", country),
        ("CalledCountry", country),
        ("ToState", ""),
        ("ToZip", ""),
        ("CallerZip", ""),
        ("CalledZip", ""),
        ("CalledCity", ""),
        ("CallerCity", ""),
        ("ToCity", ""),
        ("CallSid", call_sid),
        ("CallStatus", status or ("in-progress" if outbound else "ringing")),
        ("Direction", _DIRECTIONS.get(direction, direction)),
        ("AccountSid", account_sid),
        ("CallerState", ""),
        ("ApiVersion", _API_VERSION),
    ]


def status_params(
    call_sid: str,
    account_sid: str,
    caller: str,
    callee: str,
    status: CallStatus,
    sequence: int,
    at_s: int,
    direction: str = "outbound",
    *,
    duration_s: int | None = None,
    sip_code: int | None = None,
    answered_by: str = "",
    country: str = "US",
) -> Pairs:
    """What Twilio posts to a status callback. ``at_s`` is unix time. With ``duration_s`` the call is over."""
    pairs = [
        ("Called", callee),
        ("ToState", ""),
        ("CallerCountry", country),
        ("Direction", _DIRECTIONS.get(direction, direction)),
        ("Timestamp", rfc2822(at_s)),
        ("CallbackSource", "call-progress-events"),
    ]
    if sip_code is not None:
        pairs.append(("SipResponseCode", str(sip_code)))
    pairs += [
        ("CallerState", ""),
        ("ToZip", ""),
        ("SequenceNumber", str(sequence)),
        ("CallSid", call_sid),
        ("To", callee),
        ("CallerZip", ""),
        ("ToCountry", country),
        ("CalledZip", ""),
        ("ApiVersion", _API_VERSION),
        ("CalledCity", ""),
        ("CallStatus", _WIRE_STATUS[status]),
    ]
    if duration_s is not None:
        pairs.append(("Duration", str(-(-duration_s // 60))))
    pairs.append(("From", caller))
    if duration_s is not None:
        pairs.append(("CallDuration", str(duration_s)))
    pairs += [
        ("AccountSid", account_sid),
        ("CalledCountry", country),
        ("CallerCity", ""),
        ("ToCity", ""),
        ("FromCountry", country),
        ("Caller", caller),
        ("FromCity", ""),
        ("CalledState", ""),
        ("FromZip", ""),
    ]
    if answered_by:
        pairs.append(("AnsweredBy", answered_by))
    pairs.append(("FromState", ""))
    return pairs


def machine_params(call_sid: str, account_sid: str, answered_by: str, duration_ms: int) -> Pairs:
    """What Twilio posts when asynchronous machine detection is done. ``answered_by`` is Twilio's word."""
    return [
        ("MachineDetectionDuration", str(duration_ms)),
        ("CallSid", call_sid),
        ("AnsweredBy", answered_by),
        ("AccountSid", account_sid),
    ]


def recording_params(
    call_sid: str,
    account_sid: str,
    recording_sid: str,
    status: str,
    duration_s: int,
    at_s: int,
    base_url: str = "https://api.twilio.com",
) -> Pairs:
    """What Twilio posts about a recording. ``at_s`` (unix time) is when it began."""
    return [
        ("AccountSid", account_sid),
        ("CallSid", call_sid),
        ("RecordingSid", recording_sid),
        ("RecordingUrl", f"{base_url}/{_API_VERSION}/Accounts/{account_sid}/Recordings/{recording_sid}"),
        ("RecordingStatus", status),
        ("RecordingDuration", str(duration_s)),
        ("RecordingChannels", "1"),
        ("RecordingStartTime", rfc2822(at_s)),
        ("ErrorCode", "0"),
        ("RecordingSource", "OutboundAPI"),
        ("RecordingTrack", "both"),
    ]


def stream_params(call_sid: str, account_sid: str, stream_sid: str, event: str, at_us: int, error: str = "") -> Pairs:
    """What Twilio posts about a stream: ``stream-started``, ``stream-stopped``, ``stream-error``; unix microseconds."""
    seconds, rest = divmod(at_us, 1_000_000)
    pairs = [
        ("StreamName", stream_sid),  # what an unnamed stream is called
        ("StreamEvent", event),
        ("CallSid", call_sid),
        ("Timestamp", f"{_utc(seconds).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:06d}000Z"),
        ("AccountSid", account_sid),
        ("StreamSid", stream_sid),
    ]
    if error:
        pairs.append(("StreamError", error))
    return pairs


def rfc2822(at_s: int) -> str:
    """Unix time as Twilio writes it, in any locale: ``Thu, 12 Feb 2026 11:48:25 +0000``."""
    at = _utc(at_s)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year:04d} "
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d} +0000"
    )


def _utc(at_s: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
