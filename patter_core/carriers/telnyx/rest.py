"""Telnyx's Call Control API: the requests that take, place, change and end calls, and what their answers mean.

JSON bodies to ``/v2/calls`` and ``/v2/calls/{call_control_id}/actions/{command}``; the edge adds the Bearer key.
Source: developers.telnyx.com/api-reference/call-commands, the official library's parameters (telnyx 4.189.0), and a
recorded error body. What their ``answer`` page leaves out (``stream_bidirectional_sampling_rate``,
``stream_auth_token``, ``custom_parameters``) is on their ``dial`` and ``streaming_start`` pages; servers in the field
send it with ``answer`` too.

A command's ``command_id`` makes its repetition harmless: Telnyx ignores the second one of a call.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from patter_core.audio.formats import Encoding
from patter_core.carriers.carrier import (
    DialPlan,
    HookPlace,
    Leg,
    RecordingStep,
    RestOutcome,
    RestRequest,
    StreamPlan,
    TransferPlan,
)

from .webhook import client_state

__all__ = [
    "AUTH",
    "BAD_CALL",
    "BASE_URL",
    "CODECS",
    "ENDED",
    "KEYS",
    "MAX_SPOKEN",
    "NOT_ANSWERED",
    "answer",
    "bridge",
    "dial",
    "find_hook",
    "hang_up",
    "made",
    "outcome",
    "problem",
    "read_hook",
    "record",
    "reject",
    "send_dtmf",
    "set_hook",
    "speak",
    "streaming_start",
    "transfer",
]

BASE_URL = "https://api.telnyx.com"

AUTH = "telnyx"
"""The name of the secret that the edge turns into Bearer authorization."""

MAX_SPOKEN = 3000
"""The longest text ``speak`` takes."""

VOICE = "female"
"""The plain voice that speaks every language of the list below."""

_LANGUAGES = """
    arb cmn-CN cy-GB da-DK de-DE en-AU en-GB en-GB-WLS en-IN en-US es-ES es-MX es-US fr-CA fr-FR hi-IN is-IS it-IT ja-JP
    ko-KR nb-NO nl-NL pl-PL pt-BR pt-PT ro-RO ru-RU sv-SE tr-TR
"""
_TAGS = {tag.lower(): tag for tag in _LANGUAGES.split()}
_REGIONS = {tag.partition("-")[0]: full for tag, full in _TAGS.items()} | {
    "ar": "arb",
    "en": "en-US",
    "es": "es-ES",
    "fr": "fr-FR",
    "no": "nb-NO",
    "pt": "pt-BR",
    "zh": "cmn-CN",
}

KEYS = re.compile(r"[0-9A-D*#wW]{1,64}")
"""What ``send_dtmf`` takes."""

CODECS = {Encoding.PCMU: "PCMU", Encoding.PCMA: "PCMA", Encoding.L16: "L16"}
"""The encodings we speak, in Telnyx's words. Case counts."""

ENDED = "90018"
BAD_CALL = "90015"
NOT_ANSWERED = "90034"
_TOO_MANY = frozenset({"10011", "10008"})  #: too many requests; timed out

_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{5,}[0-9]")
_WIDE = re.compile(r"\s+")


def answer(leg: Leg, plan: StreamPlan) -> RestRequest:
    """Take an incoming call, its stream with it: one round trip less than asking for the stream afterwards."""
    return _command(leg, "answer", _stream_options(plan))


def reject(leg: Leg) -> RestRequest:
    """Turn an incoming call away with a busy tone (SIP 486)."""
    return _command(leg, "reject", {"cause": "USER_BUSY"})


def streaming_start(leg: Leg, plan: StreamPlan) -> RestRequest:
    """Give an answered leg a (new) stream. Telnyx has one per call."""
    return _command(leg, "streaming_start", _stream_options(plan))


def dial(leg: Leg, plan: DialPlan) -> RestRequest:
    """Place a call from the connection ``leg.account``. Its webhooks carry ``plan.ref``."""
    fields: dict[str, Any] = {
        "connection_id": leg.account,
        "to": plan.to,
        "from": plan.caller_id,
        "timeout_secs": _ring(plan.ring_timeout_s),
        "client_state": client_state(plan.ref),
    }
    if plan.machine_detection:
        fields["answering_machine_detection"] = "greeting_end"
    return _post(leg, "/v2/calls", fields | _reported_to(plan.webhooks))


def hang_up(leg: Leg) -> RestRequest:
    """End the call, whatever it is doing."""
    return _command(leg, "hangup", {})


def speak(leg: Leg, text: str, language: str = "") -> RestRequest:
    """Say ``text`` in Telnyx's voice; ``call.speak.ended`` tells when it is done. What is too long loses its end."""
    return _command(
        leg,
        "speak",
        {"payload": _shortened(text), "payload_type": "text", "voice": VOICE, "language": _language(language)},
    )


def send_dtmf(leg: Leg, digits: str, duration_ms: int) -> RestRequest:
    """Press keys: ``0-9``, ``A-D``, ``*``, ``#``; ``w`` waits half a second, ``W`` a whole one. At most 64."""
    if KEYS.fullmatch(digits) is None:
        raise ValueError("keys are 0-9, A-D, * and #, with w and W as pauses, 1 to 64 of them")
    return _command(leg, "send_dtmf", {"digits": digits, "duration_millis": max(100, min(500, duration_ms))})


def transfer(leg: Leg, plan: TransferPlan) -> RestRequest:
    """Dial somebody else and connect them with the caller. If nobody answers, the new leg hangs up and this one lives
    on; the new leg's webhooks carry ``plan.ref``."""
    fields: dict[str, Any] = {
        "to": plan.to,
        "timeout_secs": _ring(plan.ring_timeout_s),
        "target_leg_client_state": client_state(plan.ref),
    }
    if plan.caller_id:
        fields["from"] = plan.caller_id
    return _command(leg, "transfer", fields | _reported_to(plan.webhooks))


def bridge(leg: Leg, other: Leg) -> RestRequest:
    """Connect two answered legs. When one hangs up, so does the other."""
    return _command(leg, "bridge", {"call_control_id": other.call_id})


def record(leg: Leg, step: RecordingStep) -> RestRequest:
    """Start, pause, resume or stop a recording: one wav file, each party its own channel."""
    fields = {"format": "wav", "channels": "dual"} if step is RecordingStep.START else {}
    return _command(leg, f"record_{step.value}", fields)


def find_hook(application_id: str, base_url: str = BASE_URL) -> RestRequest:
    """Ask for a Call Control application."""
    return RestRequest("GET", _application(application_id, base_url), (("accept", "application/json"),), b"", AUTH)


def set_hook(place: HookPlace, url: str, base_url: str = BASE_URL) -> RestRequest:
    """Have the application's calls reported to ``url``. Its name is required, so it goes back unchanged."""
    body = _dump({"application_name": place.name, "webhook_event_url": url})
    return RestRequest("PATCH", _application(place.id, base_url), _JSON, body, AUTH)


def read_hook(status: int, body: bytes) -> HookPlace | str:
    """What ``find_hook`` was answered; as a text, what is wrong and what to do about it."""
    if status in (401, 403):
        return "Telnyx refused the API key: check TELNYX_API_KEY (Mission Control, API Keys)"
    if status in (404, 422):
        return (
            "TELNYX_CONNECTION_ID is not a Call Control application of this account. SIP, TeXML and AI-assistant "
            "connections report calls in other ways. Create a Voice API application in Mission Control, give it the "
            "phone number, and use its id"
        )
    data = _data(body)
    if status >= 300 or data is None:
        return f"Telnyx could not say where the application's calls are reported ({problem(status, body)})"
    application, name, url = data.get("id"), data.get("application_name"), data.get("webhook_event_url")
    kind = data.get("record_type", "call_control_application")
    if kind != "call_control_application" or not isinstance(application, str) or not isinstance(name, str):
        return "Telnyx described something that is not a Call Control application: check TELNYX_CONNECTION_ID"
    if str(data.get("webhook_api_version", "2")) not in ("2", "None"):
        return f"the Telnyx application {name!r} reports calls by webhook API version 1: set it to 2 in Mission Control"
    ruled_by = "active=false (the application is switched off)" if data.get("active") is False else ""
    return HookPlace(application, url if isinstance(url, str) else "", name=name, ruled_by=ruled_by)


def outcome(status: int, body: bytes) -> RestOutcome:
    """What an answer means for the order we gave.

    | Telnyx says | meaning |
    |---|---|
    | 2xx | DONE |
    | 401, 403 | UNAUTHORIZED |
    | 90018 the call has already ended (422, recorded) | ALREADY_ENDED |
    | 90034 the call is not answered yet | NOT_YET |
    | 429 or 10011 too many requests, 408 or 10008 timed out, 5xx | RETRY: ``command_id`` makes it safe |
    | 90015 the call control id is not valid, and all else | REFUSED |

    90015 is no success for a hang-up: it does not say that the call is over, and calling it over would leave one
    running unseen.
    """
    if 200 <= status < 300:
        return RestOutcome.DONE
    if status in (401, 403):
        return RestOutcome.UNAUTHORIZED
    codes = {code for code, _, _ in _errors(body)}
    if ENDED in codes:
        return RestOutcome.ALREADY_ENDED
    if NOT_ANSWERED in codes:
        return RestOutcome.NOT_YET
    if status in (408, 429) or status >= 500 or codes & _TOO_MANY:
        return RestOutcome.RETRY
    return RestOutcome.REFUSED


def made(status: int, body: bytes) -> str:
    """The call that ``dial`` made, or the recording that a command began; '' when none is named."""
    data = _data(body) if 200 <= status < 300 else None
    for name in ("call_control_id", "recording_id"):
        value = (data or {}).get(name)
        if isinstance(value, str):
            return value
    return ""


def problem(status: int, body: bytes) -> str:
    """A refusal in Telnyx's words, for the log: bounded, telephone numbers masked."""
    parts = [f"HTTP {status}"]
    for code, title, detail in _errors(body)[:3]:
        parts.append(" ".join(part for part in (code, _mild(title), f"({_mild(detail)})" if detail else "") if part))
    return "; ".join(parts)[:300]


_JSON = (("content-type", "application/json"), ("accept", "application/json"))


def _command(leg: Leg, action: str, fields: dict[str, Any]) -> RestRequest:
    return _post(leg, f"/v2/calls/{quote(leg.call_id, safe='', errors='replace')}/actions/{action}", fields)


def _post(leg: Leg, path: str, fields: dict[str, Any]) -> RestRequest:
    if leg.command:
        fields["command_id"] = leg.command
    url = (leg.base_url or BASE_URL).rstrip("/") + path
    return RestRequest("POST", url, _JSON, _dump(fields), AUTH)


def _dump(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:  # half a surrogate pair, from some text of the application's
        clean = {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in fields.items()}
        return msgspec.json.encode(clean)


def _application(application_id: str, base_url: str) -> str:
    return f"{(base_url or BASE_URL).rstrip('/')}/v2/call_control_applications/{quote(application_id, safe='')}"


def _stream_options(plan: StreamPlan) -> dict[str, Any]:
    # Every default of these is wrong for us or not documented: mode mp3, rate 8000, legs unknown.
    codec = CODECS[plan.line.encoding]
    fields: dict[str, Any] = {
        "stream_url": plan.url,
        "stream_track": "inbound_track",
        "stream_codec": codec,
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_sampling_rate": plan.line.rate,
        "stream_bidirectional_target_legs": "self",
    }
    if plan.token:
        fields["stream_auth_token"] = plan.token
    if plan.parameters:
        fields["custom_parameters"] = [{"name": name, "value": value} for name, value in plan.parameters.items()]
    return fields


def _reported_to(webhooks: str) -> dict[str, Any]:
    return {"webhook_url": f"{webhooks}/voice", "webhook_url_method": "POST"} if webhooks else {}


def _ring(seconds: int) -> int:
    return max(5, min(600, seconds))


def _language(tag: str) -> str:
    tag = tag.replace("_", "-").lower()
    return _TAGS.get(tag) or _REGIONS.get(tag.partition("-")[0], "en-US")


def _shortened(text: str) -> str:
    if len(text) <= MAX_SPOKEN:
        return text
    kept = text[:MAX_SPOKEN]
    return kept.rsplit(" ", 1)[0] if " " in kept[-40:] else kept


def _data(body: bytes) -> dict[str, Any] | None:
    document = _document(body)
    data = document.get("data")
    return data if isinstance(data, dict) else None


def _errors(body: bytes) -> list[tuple[str, str, str]]:
    errors = _document(body).get("errors")
    if not isinstance(errors, list):
        return []
    return [
        (_plain(error.get("code")), _plain(error.get("title")), _plain(error.get("detail")))
        for error in errors[:20]
        if isinstance(error, dict)
    ]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and abs(value) < 1_000_000 else ""


def _mild(text: str) -> str:
    return _NUMBER.sub("<number>", _WIDE.sub(" ", text).strip())[:120]
