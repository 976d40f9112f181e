"""Twilio's REST API: the requests that place, change and record calls, and what their answers mean.

Form bodies below ``/2010-04-01/Accounts/{account}/``, Basic authentication by the edge. The other role, for the
simulator, is ``rest_peer``. Source: Twilio's published OpenAPI description (api_v2010),
twilio.com/docs/voice/api/call-resource and /recording, twilio.com/docs/phone-numbers/api/incomingphonenumber-resource,
and a recorded error body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from patter_core.carriers.carrier import DialPlan, HookPlace, RecordingStep, RestOutcome, RestRequest
from patter_core.carriers.form import encode_form
from patter_core.carriers.twilio import twiml as _twiml
from patter_core.carriers.twilio.twiml import MAX_INLINE
from patter_core.logline import mask

__all__ = [
    "API",
    "BASE_URL",
    "CURRENT_RECORDING",
    "callback",
    "dial",
    "find_number",
    "hang_up",
    "made",
    "outcome",
    "problem",
    "read_number",
    "record",
    "say_and_hang_up",
    "set_number",
    "stream",
    "update_twiml",
]

BASE_URL = "https://api.twilio.com"
"""Other regions: ``https://api.{edge}.{region}.twilio.com``."""

AUTH = "twilio"
"""The name of the secret that the edge turns into Basic authentication."""

API = "2010-04-01"
CURRENT_RECORDING = "Twilio.CURRENT"
"""Names whatever recording a call has running."""

_NOT_FOUND = 20404
_NOT_IN_PROGRESS = 21220
_TOO_MANY = 20429
_PROBLEM_CHARACTERS = 200


def callback(webhooks: str, kind: str, ref: str = "") -> str:
    """The URL of one of our webhooks; ``ref`` comes back in it."""
    return f"{webhooks.rstrip('/')}/{kind}" + (f"?ref={quote(ref, safe='')}" if ref else "")


# --- calls -----------------------------------------------------------------------------------------------------------


def dial(account_sid: str, plan: DialPlan, base_url: str = BASE_URL) -> RestRequest:
    """Place a call. Once it is answered Twilio asks ``voice`` what to do; a consulted leg is told here and now."""
    fields = [("To", plan.to), ("From", plan.caller_id)]
    if plan.brief:
        reports = callback(plan.webhooks, "conference", plan.ref)
        fields.append(
            ("Twiml", _fitted(plan.brief, lambda text: _twiml.consult(text, plan.language, plan.room, reports)))
        )
    else:
        fields += [("Url", callback(plan.webhooks, "voice", plan.ref)), ("Method", "POST")]
    fields += [("StatusCallback", callback(plan.webhooks, "status", plan.ref)), ("StatusCallbackMethod", "POST")]
    fields += [("StatusCallbackEvent", event) for event in ("initiated", "ringing", "answered", "completed")]
    fields.append(("Timeout", str(plan.ring_timeout_s)))
    if plan.machine_detection:
        fields += [
            ("MachineDetection", "DetectMessageEnd"),
            ("AsyncAmd", "true"),
            ("AsyncAmdStatusCallback", callback(plan.webhooks, "amd", plan.ref)),
            ("AsyncAmdStatusCallbackMethod", "POST"),
        ]
    return _post(base_url, account_sid, "Calls.json", fields)


def hang_up(account_sid: str, call_sid: str, base_url: str = BASE_URL) -> RestRequest:
    """End the call, whatever it is doing: one that is still ringing stops ringing."""
    return _post(base_url, account_sid, f"Calls/{_path(call_sid)}.json", [("Status", "completed")])


def update_twiml(account_sid: str, call_sid: str, twiml: str, base_url: str = BASE_URL) -> RestRequest:
    """Let the call do something else from here: its stream ends. ``ValueError`` beyond ``MAX_INLINE`` characters."""
    if len(twiml) > MAX_INLINE:
        raise ValueError(f"Twilio takes {MAX_INLINE} characters of inline TwiML, not {len(twiml)}")
    return _post(base_url, account_sid, f"Calls/{_path(call_sid)}.json", [("Twiml", twiml)])


def say_and_hang_up(
    account_sid: str, call_sid: str, text: str, language: str = "", base_url: str = BASE_URL
) -> RestRequest:
    """The carrier's voice says ``text``, then the call ends: the last resort when the agent's own voice is gone.

    Text too long for one request loses its end, at a word where there is one.
    """
    twiml = _fitted(text, lambda kept: _twiml.say_and_hang_up(kept, language))
    return update_twiml(account_sid, call_sid, twiml, base_url)


def stream(
    account_sid: str,
    call_sid: str,
    url: str,
    parameters: dict[str, str],
    base_url: str = BASE_URL,
    status_callback: str = "",
) -> RestRequest:
    """Give the call a (new) media stream. Parameters that do not fit one request are left out, all of them."""
    twiml = _twiml.connect_stream(url, parameters, status_callback=status_callback)
    if len(twiml) > MAX_INLINE:  # a caller may be named anything
        twiml = _twiml.connect_stream(url, {}, status_callback=status_callback)
    return update_twiml(account_sid, call_sid, twiml, base_url)


def _fitted(text: str, write: Callable[[str], str]) -> str:
    """``write(text)`` with as much of ``text`` as Twilio takes inline."""
    twiml = write(text)
    while len(twiml) > MAX_INLINE and text:
        # Escaping lengthens the text, so its share of the excess is at least a fifth ("&" becomes "&amp;").
        kept = text[: max(0, len(text) - max(1, (len(twiml) - MAX_INLINE) // 5))]
        text = kept.rsplit(" ", 1)[0] if " " in kept[-40:] else kept
        twiml = write(text)
    if len(twiml) > MAX_INLINE:
        raise ValueError(f"Twilio takes {MAX_INLINE} characters of inline TwiML, and the addresses alone are longer")
    return twiml


# --- recordings ------------------------------------------------------------------------------------------------------

_STATUSES = {RecordingStep.PAUSE: "paused", RecordingStep.RESUME: "in-progress", RecordingStep.STOP: "stopped"}


def record(
    account_sid: str, call_sid: str, step: RecordingStep, webhooks: str, base_url: str = BASE_URL
) -> RestRequest:
    """Record a live call, the two sides on a channel each; or pause, resume, stop that. A pause is heard as silence."""
    place = f"Calls/{_path(call_sid)}/Recordings"
    if step is not RecordingStep.START:
        return _post(base_url, account_sid, f"{place}/{CURRENT_RECORDING}.json", [("Status", _STATUSES[step])])
    fields = [
        ("RecordingChannels", "dual"),
        ("RecordingStatusCallback", callback(webhooks, "recording")),
        ("RecordingStatusCallbackMethod", "POST"),
    ]
    fields += [("RecordingStatusCallbackEvent", event) for event in ("in-progress", "completed", "absent")]
    return _post(base_url, account_sid, f"{place}.json", fields)


# --- numbers ---------------------------------------------------------------------------------------------------------


class _NumberRecord(msgspec.Struct):
    sid: str
    phone_number: str = ""
    voice_url: str | None = None
    voice_method: str | None = None
    voice_application_sid: str | None = None
    trunk_sid: str | None = None


class _NumberPage(msgspec.Struct):
    incoming_phone_numbers: list[_NumberRecord]


def find_number(account_sid: str, number: str, base_url: str = BASE_URL) -> RestRequest:
    """Ask for the record of a number of ours."""
    url = f"{_account(base_url, account_sid)}/IncomingPhoneNumbers.json?PhoneNumber={quote(number, safe='')}"
    return RestRequest("GET", url, (("accept", "application/json"),), b"", AUTH)


def read_number(status: int, body: bytes, number: str) -> HookPlace | str:
    """The answer of ``find_number``: where the number's calls are reported, or what is wrong and what to do.

    Twilio's filter also finds numbers that only contain what was asked for, so the record must be the very number's.
    Its Voice URL counts for nothing while a TwiML application or a SIP trunk is set.
    """
    verdict = outcome(status, body)
    if verdict is RestOutcome.UNAUTHORIZED:
        return (
            f"Twilio refused the credentials ({problem(status, body)}): "
            "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, which must be of one account"
        )
    if verdict is not RestOutcome.DONE:
        advice = "try again in a minute" if verdict is RestOutcome.RETRY else "set the number's Voice URL by hand"
        return f"Twilio did not say where {mask(number)} is reported ({problem(status, body)}): {advice}"
    try:
        page = msgspec.json.decode(body, type=_NumberPage)
    except (ValueError, RecursionError):
        return "Twilio's list of numbers could not be read: set the number's Voice URL by hand"
    for found in page.incoming_phone_numbers:
        if found.phone_number == number:
            ruled = f"VoiceApplicationSid {found.voice_application_sid}" if found.voice_application_sid else ""
            ruled = f"TrunkSid {found.trunk_sid}" if found.trunk_sid else ruled
            return HookPlace(found.sid, found.voice_url or "", "", found.voice_method or "POST", ruled)
    return (
        f"this Twilio account has no number {mask(number)}: "
        "give phone_number as E.164, exactly as the console shows it, of the account whose credentials are used"
    )


def set_number(account_sid: str, place: HookPlace, url: str, base_url: str = BASE_URL) -> RestRequest:
    """Have the number's calls reported to ``url``, by POST; its own URL is put back with its own method."""
    method = place.method if url == place.url else "POST"
    fields = [("VoiceUrl", url), ("VoiceMethod", method)]
    return _post(base_url, account_sid, f"IncomingPhoneNumbers/{_path(place.id)}.json", fields)


# --- answers ---------------------------------------------------------------------------------------------------------


class _Problem(msgspec.Struct, gc=False):
    code: int | None = None
    message: str | None = None


class _Made(msgspec.Struct, gc=False):
    sid: str = ""


_SID = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
# What a 404 about anything but one call names: the account is wrong then, and no call is over.
_NOT_A_CALL = re.compile(r"/Accounts/[^/\s]*/(?:Calls\.json|IncomingPhoneNumbers)")
# Seven digits or more, as people write numbers; not part of a word (an id), nor a date (the API's version).
_DIGITS = re.compile(r"(?<!\w)(?!\d{4}-\d\d-\d\d(?!\d))\+?\(?\d(?:[ ().-]{0,3}\d){6,}(?!\w)")


def outcome(status: int, body: bytes) -> RestOutcome:
    """What an answer means for the order we gave.

    A call that is over answers 404 (code 20404) or, for some updates and recordings, 400 with code 21220. A 404 whose
    body cannot be read counts as over too: asking again would not help. 429 says that nothing was done; so it is safe
    to repeat.
    """
    if 200 <= status < 300:
        return RestOutcome.DONE
    if status in (401, 403):
        return RestOutcome.UNAUTHORIZED
    found = _problem(body)
    code = found.code
    if status == 429 or status >= 500 or code == _TOO_MANY:
        return RestOutcome.RETRY
    if code == _NOT_IN_PROGRESS:
        return RestOutcome.ALREADY_ENDED
    if status == 404 and code in (None, _NOT_FOUND) and not _NOT_A_CALL.search(found.message or ""):
        return RestOutcome.ALREADY_ENDED
    return RestOutcome.REFUSED


def made(status: int, body: bytes) -> str:
    """The id (``CA...``, ``RE...``) of what a request made; '' when the answer names none."""
    if not 200 <= status < 300:
        return ""
    try:
        sid = msgspec.json.decode(body, type=_Made).sid
    except (ValueError, RecursionError):
        return ""
    return sid if _SID.fullmatch(sid) else ""


def problem(status: int, body: bytes) -> str:
    """A refusal in Twilio's words, on one line, telephone numbers masked."""
    found = _problem(body)
    words = " ".join("".join(c if c.isprintable() else " " for c in (found.message or "")[:2000]).split())
    words = _DIGITS.sub(lambda match: mask(match[0]), words)
    if len(words) > _PROBLEM_CHARACTERS:
        words = words[: _PROBLEM_CHARACTERS - 1] + "…"
    code = "" if found.code is None else str(found.code)
    return f"HTTP {status}" + "".join(f", {part}" for part in (code, words) if part)


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except (ValueError, RecursionError):
        return _Problem()


def _account(base_url: str, account_sid: str) -> str:
    return f"{base_url.rstrip('/')}/{API}/Accounts/{_path(account_sid)}"


def _path(text: str) -> str:
    return quote(text, safe="")


def _post(base_url: str, account_sid: str, place: str, fields: Sequence[tuple[str, str]]) -> RestRequest:
    return RestRequest(
        "POST",
        f"{_account(base_url, account_sid)}/{place}",
        (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")),
        encode_form(fields),
        AUTH,
    )
