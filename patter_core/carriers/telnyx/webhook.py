"""Telnyx's Call Control webhooks: JSON bodies in, typed events out.

``{"data": {"event_type", "id", "occurred_at", "payload", "record_type"}, "meta": {"attempt", "delivered_to"}}``.
Source: developers.telnyx.com/api-reference/callbacks, the official library's types (telnyx 4.189.0), and recorded
bodies of 2025 and 2026, which win: any field but the event's type and the call's id may be absent, null or of another
type.

There is no ringing event. ``call.answered`` and all that follow do not say the call's direction: a leg that carries
our name (``client_state``) is one we had dialled.

How a ``call.hangup`` becomes a status; ``raw`` keeps Telnyx's word. A recorded call ended ``normal_clearing`` with SIP
503, so the cause alone never means success:

| hangup_cause | status |
|---|---|
| user_busy | BUSY |
| timeout, no_answer, no_user_response | NO_ANSWER |
| originator_cancel | CANCELED |
| time_limit | COMPLETED |
| not_found | FAILED |
| call_rejected | BUSY; FAILED where the SIP code is another than 486, 600, 603 |
| normal_clearing | COMPLETED; by the SIP code where that is 400 or more |
| unspecified, anything else | by the SIP code; else COMPLETED where media flowed, FAILED where none did |

The SIP code: 486, 600, 603 BUSY; 408, 480 NO_ANSWER; 487 CANCELED; any other from 400 on FAILED; below 400 COMPLETED.
``duration_s`` runs from ``start_time``, so ringing is in it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from patter_core.carriers.carrier import (
    Acknowledged,
    Answerer,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    Direction,
    LegJoined,
    MachineDetected,
    Malformed,
    MalformedCode,
    RecordingChanged,
    RecordingStatus,
    StreamChange,
    StreamChanged,
    Webhook,
    WebhookEvent,
)

__all__ = [
    "KNOWN",
    "URL_LIFE_S",
    "client_state",
    "read",
]

URL_LIFE_S = 600
"""How long Telnyx's ``recording_urls`` work."""

_CALL_ID = re.compile(r"[!-~]{1,256}")
_SIP = re.compile(r"[1-6][0-9]{2}")
_MAX_STATE = 512

_BUSY_CODES = frozenset({486, 600, 603})
_BY_CODE = dict.fromkeys(_BUSY_CODES, CallStatus.BUSY) | {
    408: CallStatus.NO_ANSWER,
    480: CallStatus.NO_ANSWER,
    487: CallStatus.CANCELED,
}
_BY_CAUSE = {
    "user_busy": CallStatus.BUSY,
    "timeout": CallStatus.NO_ANSWER,
    "no_answer": CallStatus.NO_ANSWER,
    "no_user_response": CallStatus.NO_ANSWER,
    "originator_cancel": CallStatus.CANCELED,
    "time_limit": CallStatus.COMPLETED,
    "not_found": CallStatus.FAILED,
}
_ANSWERERS = {
    "human": Answerer.HUMAN,
    "human_residence": Answerer.HUMAN,
    "human_business": Answerer.HUMAN,
    "machine": Answerer.MACHINE,
    "fax_detected": Answerer.FAX,
}
_GREETING_OVER = frozenset({"ended", "beep_detected"})
_CHANNELS = {"single": 1, "dual": 2}

Payload = Mapping[str, Any]


def read(body: bytes) -> Webhook:
    """What a webhook's body says. Never raises."""
    try:
        document = msgspec.json.decode(body)
    except RecursionError:
        return Webhook(Malformed(MalformedCode.TOO_DEEP, "nested too deeply"))
    except ValueError:
        return Webhook(Malformed(MalformedCode.NOT_JSON, "not JSON"))
    if not isinstance(document, dict):
        return Webhook(Malformed(MalformedCode.NOT_AN_OBJECT, "not a JSON object"))
    data = document.get("data")
    if not isinstance(data, dict):
        return Webhook(_absent(data, "data: is the application's webhook API version 2?"))
    event_id, kind, payload = _text(data, "id"), data.get("event_type"), data.get("payload")
    if not isinstance(kind, str) or not kind:
        return Webhook(Malformed(MalformedCode.NO_EVENT, "no data.event_type"), event_id)
    if not isinstance(payload, dict):
        return Webhook(_absent(payload, "data.payload"), event_id)
    return Webhook(_event(kind, payload, data), event_id, _ref(payload))


def client_state(ref: str) -> str:
    """Our name for a leg as Telnyx wants to carry it: base64, echoed in every later webhook about the leg."""
    return b64encode(ref.encode("utf-8", "replace")).decode("ascii")


def _event(kind: str, payload: Payload, data: Payload) -> WebhookEvent | Malformed:
    call_id = _text(payload, "call_control_id")
    if _CALL_ID.fullmatch(call_id) is None:
        call_id = ""
    reader = _READERS.get(kind)
    if reader is None:
        return Acknowledged(call_id, kind[:64], kind in KNOWN)
    if not call_id:
        return Malformed(MalformedCode.BAD_CALL_SID, "no well-formed data.payload.call_control_id")
    return reader(call_id, payload, data)


def _initiated(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    direction = _text(payload, "direction")
    if direction == "outgoing" or (direction != "incoming" and _text(payload, "state") == "bridging"):
        return _moved(call_id, CallStatus.INITIATED, "initiated", payload, data, Direction.OUTBOUND)
    params = {name: text for name, value in payload.items() if (text := _as_text(value)) is not None}
    return CallOffered(call_id, _text(payload, "from"), _text(payload, "to"), Direction.INBOUND, params)


def _answered(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    return _moved(call_id, CallStatus.IN_PROGRESS, "answered", payload, data)


def _hung_up(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    cause, code = _text(payload, "hangup_cause"), _sip_code(payload)
    status = _ended_as(cause, code, isinstance(payload.get("call_quality_stats"), dict))
    seconds = _seconds_between(payload, "start_time", "end_time")
    return _moved(call_id, status, cause or "hangup", payload, data, duration_s=seconds, sip_code=code)


def _ended_as(cause: str, code: int | None, media_flowed: bool) -> CallStatus:
    if cause in _BY_CAUSE:
        return _BY_CAUSE[cause]
    if cause == "call_rejected":
        return CallStatus.BUSY if code is None or code in _BUSY_CODES else CallStatus.FAILED
    if code is not None and (code >= 400 or cause != "normal_clearing"):
        return _BY_CODE.get(code, CallStatus.FAILED if code >= 400 else CallStatus.COMPLETED)
    if cause == "normal_clearing" or media_flowed:
        return CallStatus.COMPLETED
    return CallStatus.FAILED


def _moved(
    call_id: str,
    status: CallStatus,
    raw: str,
    payload: Payload,
    data: Payload,
    direction: Direction | None = None,
    *,
    duration_s: int | None = None,
    sip_code: int | None = None,
) -> CallStatusChanged:
    return CallStatusChanged(
        call_id,
        status,
        raw,
        duration_s=duration_s,
        sip_code=sip_code,
        caller=_text(payload, "from"),
        callee=_text(payload, "to"),
        direction=direction or _direction(payload),
        timestamp=_text(data, "occurred_at"),
    )


def _machine(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    raw = _text(payload, "result")
    return MachineDetected(call_id, _ANSWERERS.get(raw, Answerer.UNKNOWN), raw)


def _greeting(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    # That a machine answered was said before; this is only about whether it has stopped talking.
    raw = _text(payload, "result")
    return MachineDetected(call_id, Answerer.MACHINE, raw, greeting_ended=raw in _GREETING_OVER)


def _recorded(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    url, expires_s = _link(payload, "recording_urls"), URL_LIFE_S
    lasting = "" if url else _link(payload, "public_recording_urls")
    return RecordingChanged(
        call_id,
        _text(payload, "recording_id"),
        RecordingStatus.COMPLETED,
        "saved",
        url=url or lasting,
        duration_s=_seconds_between(payload, "recording_started_at", "recording_ended_at"),
        channels=_CHANNELS.get(_text(payload, "channels")),
        started_at=_text(payload, "recording_started_at"),
        expires_s=None if lasting else expires_s,
    )


def _not_recorded(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    reason = _text(payload, "reason") or "error"
    return RecordingChanged(call_id, _text(payload, "recording_id"), RecordingStatus.FAILED, reason)


def _stream(change: StreamChange, raw: str) -> _Reader:
    def reader(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
        return StreamChanged(
            call_id,
            _text(payload, "stream_id"),
            change,
            raw,
            error=_text(payload, "failure_reason"),
            timestamp=_text(data, "occurred_at"),
        )

    return reader


def _joined(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    return LegJoined(call_id)


def _spoke(call_id: str, payload: Payload, data: Payload) -> WebhookEvent:
    return CarrierSpoke(call_id, _text(payload, "status") == "completed")


_Reader = Callable[[str, Payload, Payload], WebhookEvent]
_READERS: dict[str, _Reader] = {
    "call.initiated": _initiated,
    "call.answered": _answered,
    "call.hangup": _hung_up,
    "call.machine.detection.ended": _machine,
    "call.machine.premium.detection.ended": _machine,
    "call.machine.greeting.ended": _greeting,
    "call.machine.premium.greeting.ended": _greeting,
    "call.recording.saved": _recorded,
    "call.recording.error": _not_recorded,
    "call.bridged": _joined,
    "call.speak.ended": _spoke,
}
for _prefix in ("", "call."):  # the reference pages and the client libraries disagree about the prefix
    _READERS[f"{_prefix}streaming.started"] = _stream(StreamChange.STARTED, "started")
    _READERS[f"{_prefix}streaming.stopped"] = _stream(StreamChange.STOPPED, "stopped")
    _READERS[f"{_prefix}streaming.failed"] = _stream(StreamChange.ERROR, "failed")

_ONLY_ACKNOWLEDGED = """
    call.ai_gather.ended call.ai_gather.message_history_updated call.ai_gather.partial_results call.analyzed
    call.conversation.created call.conversation.ended call.conversation.start_failed
    call.conversation_insights.generated call.cost call.deepfake_detection.error call.deepfake_detection.result
    call.dequeued call.dtmf.received call.enqueued call.fork.started call.fork.stopped call.gather.ended call.hold
    call.machine.premium.call_screening.detected call.machine.premium.detection.started call.payment.completed
    call.payment.progress call.playback.ended call.playback.started call.recording.transcription.saved
    call.refer.completed call.refer.failed call.refer.started call.speak.started call.transcription call.unhold
    conference.created conference.ended conference.floor.changed conference.participant.joined
    conference.participant.left conference.participant.playback.ended conference.participant.playback.started
    conference.participant.speak.ended conference.participant.speak.started conference.playback.ended
    conference.playback.started conference.recording.saved conference.speak.ended conference.speak.started
"""
KNOWN = frozenset(_READERS) | frozenset(_ONLY_ACKNOWLEDGED.split())
"""Every event type the reference or the official library names."""


def _absent(value: object, what: str) -> Malformed:
    return Malformed(MalformedCode.MISSING_FIELD if value is None else MalformedCode.BAD_FIELD, f"no {what}")


def _text(fields: Payload, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode("utf-8")
    except (ValueError, OverflowError, RecursionError):  # a number or a nesting that could be read but not written
        return None


def _ref(payload: Payload) -> str:
    """What we had Telnyx carry; anything that is not base64 of a short text is somebody else's."""
    state = _text(payload, "client_state")
    if not state or len(state) > _MAX_STATE:
        return ""
    try:
        return b64decode(state.encode("ascii"), validate=True).decode("utf-8")
    except (Base64Error, ValueError):
        return ""


def _direction(payload: Payload) -> Direction:
    said = _text(payload, "direction")
    if said:
        return Direction.OUTBOUND if said == "outgoing" else Direction.INBOUND
    return Direction.OUTBOUND if _ref(payload) else Direction.INBOUND


def _sip_code(payload: Payload) -> int | None:
    value = payload.get("sip_hangup_cause")
    if isinstance(value, str) and _SIP.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and 100 <= value < 700 else None


def _seconds_between(payload: Payload, start: str, end: str) -> int | None:
    begun, over = _moment(_text(payload, start)), _moment(_text(payload, end))
    if begun is None or over is None or over < begun:
        return None
    return (over - begun) // timedelta(seconds=1)


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _link(payload: Payload, name: str) -> str:
    urls = payload.get(name)
    if not isinstance(urls, dict):
        return ""
    return _text(urls, "wav") or _text(urls, "mp3")
