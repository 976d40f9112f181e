"""Twilio's end of its REST API: what a client asks for, and the answers. The simulated carrier's half of ``rest``.

Error bodies are in the form of the recorded one; codes and messages are those of twilio.com/docs/errors and of bodies
quoted in public issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from patter_core.carriers.carrier import RecordingStep
from patter_core.carriers.form import parse_form
from patter_core.carriers.twilio.rest import API

__all__ = [
    "DialWanted",
    "HangUpWanted",
    "NumberUpdateWanted",
    "NumbersWanted",
    "Order",
    "RecordingWanted",
    "UpdateTwiml",
    "read_request",
    "reply_call",
    "reply_completed",
    "reply_not_found",
    "reply_not_in_progress",
    "reply_number",
    "reply_numbers",
    "reply_problem",
    "reply_recording",
    "reply_too_many",
    "reply_unauthorized",
]


class DialWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Place a call. It runs ``twiml``, or else what ``url`` answers once it is answered."""

    to: str
    caller_id: str
    url: str = ""
    twiml: str = ""
    status_callback: str = ""
    events: tuple[str, ...] = ()
    timeout_s: int = 60
    machine_detection: str = ""
    amd_callback: str = ""
    call_sid: str = ""  #: none yet


class HangUpWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """End this call (``Status=completed``, or ``canceled`` for one that has not been answered)."""

    call_sid: str


class UpdateTwiml(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Run this TwiML on the call now."""

    call_sid: str
    twiml: str


class RecordingWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Record this call, or pause, resume, stop ``recording_sid`` (``Twilio.CURRENT``: whichever is running)."""

    call_sid: str
    step: RecordingStep
    recording_sid: str = ""
    channels: str = "mono"
    status_callback: str = ""
    events: tuple[str, ...] = ()


class NumbersWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """List the account's numbers that contain ``number``."""

    number: str
    call_sid: str = ""  #: no call


class NumberUpdateWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Report this number's calls to ``voice_url``."""

    number_sid: str
    voice_url: str
    voice_method: str = "POST"
    call_sid: str = ""  #: no call


Order: TypeAlias = DialWanted | HangUpWanted | UpdateTwiml | RecordingWanted | NumbersWanted | NumberUpdateWanted
"""``call_sid`` is '' in what is asked of no existing call."""

_PATH = re.compile(rf"/{API}/Accounts/[^/?#]+/([^?#]+)\.json(?:\?([^#]*))?$")
_STEPS = {"paused": RecordingStep.PAUSE, "in-progress": RecordingStep.RESUME, "stopped": RecordingStep.STOP}
_TIMEOUT = re.compile("[0-9]{1,3}")


def read_request(method: str, path: str, body: bytes) -> Order | None:
    """What a client wants; None for any request that is not one of these. ``path`` has the query. Total."""
    match = _PATH.search(path)
    if match is None:
        return None
    try:
        pairs = parse_form(body if method == "POST" else (match[2] or "").encode("utf-8", "replace"))
    except ValueError:
        return None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    match method, [unquote(part) for part in match[1].split("/")]:
        case "POST", ["Calls"]:
            return _dial(fields, pairs)
        case "POST", ["Calls", call_sid]:
            if fields.get("Status") in ("completed", "canceled"):
                return HangUpWanted(call_sid)
            return UpdateTwiml(call_sid, fields["Twiml"]) if fields.get("Twiml") else None
        case "POST", ["Calls", call_sid, "Recordings"]:
            return RecordingWanted(
                call_sid,
                RecordingStep.START,
                channels=fields.get("RecordingChannels", "mono"),
                status_callback=fields.get("RecordingStatusCallback", ""),
                events=_events(pairs, "RecordingStatusCallbackEvent", "completed"),
            )
        case "POST", ["Calls", call_sid, "Recordings", recording_sid]:
            step = _STEPS.get(fields.get("Status", ""))
            return None if step is None else RecordingWanted(call_sid, step, recording_sid)
        case "GET", ["IncomingPhoneNumbers"]:
            return NumbersWanted(fields.get("PhoneNumber", ""))
        case "POST", ["IncomingPhoneNumbers", number_sid] if "VoiceUrl" in fields:
            return NumberUpdateWanted(number_sid, fields["VoiceUrl"], fields.get("VoiceMethod", "POST"))
    return None


def _dial(fields: dict[str, str], pairs: Iterable[tuple[str, str]]) -> DialWanted | None:
    url, twiml, timeout = fields.get("Url", ""), fields.get("Twiml", ""), fields.get("Timeout", "60")
    if not fields.get("To") or not fields.get("From") or not (url or twiml) or not _TIMEOUT.fullmatch(timeout):
        return None
    return DialWanted(
        fields["To"],
        fields["From"],
        url,
        "" if url else twiml,  # with both, Twilio looks at the URL only
        fields.get("StatusCallback", ""),
        _events(pairs, "StatusCallbackEvent", "completed"),
        min(int(timeout), 600),
        fields.get("MachineDetection", ""),
        fields.get("AsyncAmdStatusCallback", "") if fields.get("AsyncAmd") == "true" else "",
    )


def _events(pairs: Iterable[tuple[str, str]], name: str, default: str) -> tuple[str, ...]:
    return tuple(value for key, value in pairs if key == name) or (default,)


# --- answers ---------------------------------------------------------------------------------------------------------


def reply_call(
    call_sid: str, account_sid: str = "", status: str = "queued", caller_id: str = "", to: str = ""
) -> bytes:
    """The body of the 201 of a call that was placed, or the 200 of one that was changed: what a client may look at."""
    return _json(
        {
            "sid": call_sid,
            "account_sid": account_sid,
            "from": caller_id,
            "to": to,
            "status": status,
            "direction": "outbound-api",
            "api_version": API,
            "uri": f"/{API}/Accounts/{account_sid}/Calls/{call_sid}.json",
        }
    )


def reply_completed(call_sid: str, account_sid: str = "") -> bytes:
    """The body of the 200 that confirms a hang-up (the fields a client may look at)."""
    return _json(
        {
            "sid": call_sid,
            "account_sid": account_sid,
            "status": "completed",
            "api_version": API,
            "uri": f"/{API}/Accounts/{account_sid}/Calls/{call_sid}.json",
        }
    )


def reply_recording(
    recording_sid: str, call_sid: str, account_sid: str = "", status: str = "in-progress", channels: int = 2
) -> bytes:
    """The body of the 201 of a recording that began, or the 200 of one that was changed."""
    return _json(
        {
            "sid": recording_sid,
            "call_sid": call_sid,
            "account_sid": account_sid,
            "status": status,
            "channels": channels,
            "source": "StartCallRecordingAPI",
            "api_version": API,
            "uri": f"/{API}/Accounts/{account_sid}/Calls/{call_sid}/Recordings/{recording_sid}.json",
        }
    )


def reply_number(
    number_sid: str,
    number: str,
    voice_url: str = "",
    voice_method: str = "POST",
    *,
    application_sid: str = "",
    trunk_sid: str = "",
) -> bytes:
    """The body of the 200 of a number that was changed."""
    return _json(_number(number_sid, number, voice_url, voice_method, application_sid, trunk_sid))


def reply_numbers(numbers: Iterable[bytes]) -> bytes:
    """The body of the 200 with the account's numbers, each a ``reply_number``."""
    listed = [msgspec.Raw(one) for one in numbers]
    return _json({"incoming_phone_numbers": listed, "page": 0, "page_size": 50, "start": 0, "next_page_uri": None})


def _number(sid: str, number: str, url: str, method: str, application: str, trunk: str) -> dict[str, Any]:
    return {
        "sid": sid,
        "phone_number": number,
        "voice_url": url,
        "voice_method": method,
        "voice_application_sid": application,  # "" where none is set, but a trunk is null then
        "trunk_sid": trunk or None,
    }


def reply_problem(status: int, code: int, message: str) -> bytes:
    """The body of any refusal."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return _json({"code": code, "message": message, "more_info": more, "status": status})


def reply_not_found(call_sid: str, account_sid: str = "") -> bytes:
    """The body of the 404 that a call already over answers with. Source: pipecat-ai/pipecat#2145."""
    path = f"/{API}/Accounts/{account_sid}/Calls/{call_sid}.json"
    return reply_problem(404, 20404, f"The requested resource {path} was not found")


def reply_not_in_progress() -> bytes:
    """The body of the 400 that new TwiML for a call not in progress answers with. Source: bmlt-enabled/yap#570."""
    return reply_problem(400, 21220, "Call is not in-progress. Cannot redirect.")


def reply_unauthorized() -> bytes:
    """The body of the 401 for wrong credentials. Source: twilio.com/docs/api/errors/20003."""
    return reply_problem(401, 20003, "Authenticate")


def reply_too_many() -> bytes:
    """The body of the 429; nothing was done. Source: twilio.com/docs/api/errors/20429."""
    return reply_problem(429, 20429, "Too Many Requests")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
