"""Twilio's Calls API: the requests that change a live call, and what their answers mean.

Form bodies to ``/2010-04-01/Accounts/{account}/Calls/{call}.json``, Basic authentication by the edge. Source: Twilio's
published OpenAPI description, twilio.com/docs/voice/api/call-resource, and a recorded error body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import quote, unquote

import msgspec

from patter_core.carriers.carrier import RestOutcome, RestRequest
from patter_core.carriers.form import encode_form, parse_form
from patter_core.carriers.twilio.twiml import MAX_INLINE
from patter_core.carriers.twilio.twiml import say_and_hang_up as _say_and_hang_up

__all__ = [
    "BASE_URL",
    "CallOrder",
    "HangUpWanted",
    "UpdateTwiml",
    "hang_up",
    "outcome",
    "read_request",
    "reply_completed",
    "reply_not_found",
    "say_and_hang_up",
    "update_twiml",
]

BASE_URL = "https://api.twilio.com"
"""Other regions: ``https://api.{edge}.{region}.twilio.com``."""

AUTH = "twilio"
"""The name of the secret that the edge turns into Basic authentication."""

_NOT_FOUND = 20404
_NOT_IN_PROGRESS = 21220
_TOO_MANY = 20429
_API = "2010-04-01"
_CALL_PATH = re.compile(rf"/{_API}/Accounts/([^/?#]+)/Calls/([^/?#]+)\.json(?:\?.*)?$")


# --- the client's role -----------------------------------------------------------------------------------------------


def hang_up(account_sid: str, call_sid: str, base_url: str = BASE_URL) -> RestRequest:
    """End the call, whatever it is doing."""
    return _update(account_sid, call_sid, base_url, [("Status", "completed")])


def update_twiml(account_sid: str, call_sid: str, twiml: str, base_url: str = BASE_URL) -> RestRequest:
    """Let the call do something else from here: its stream ends. ``ValueError`` beyond ``MAX_INLINE`` characters."""
    if len(twiml) > MAX_INLINE:
        raise ValueError(f"Twilio takes {MAX_INLINE} characters of inline TwiML, not {len(twiml)}")
    return _update(account_sid, call_sid, base_url, [("Twiml", twiml)])


def say_and_hang_up(
    account_sid: str, call_sid: str, text: str, language: str = "", base_url: str = BASE_URL
) -> RestRequest:
    """The carrier's voice says ``text``, then the call ends: the last resort when the agent's own voice is gone.

    Text too long for one request loses its end, at a word where there is one.
    """
    twiml = _say_and_hang_up(text, language)
    while len(twiml) > MAX_INLINE:
        # Escaping lengthens the text, so its share of the excess is at least a fifth ("&" becomes "&amp;").
        kept = text[: max(0, len(text) - max(1, (len(twiml) - MAX_INLINE) // 5))]
        text = kept.rsplit(" ", 1)[0] if " " in kept[-40:] else kept
        twiml = _say_and_hang_up(text, language)
    return update_twiml(account_sid, call_sid, twiml, base_url)


def outcome(status: int, body: bytes) -> RestOutcome:
    """What an answer means for the order we gave.

    A call that is over answers 404 (code 20404) or, for some updates, 400 with code 21220. A 404 whose body cannot be
    read counts as over too: asking again would not help. 429 says that nothing was done; so it is safe to repeat.
    """
    if 200 <= status < 300:
        return RestOutcome.DONE
    if status in (401, 403):
        return RestOutcome.UNAUTHORIZED
    code = _code(body)
    if status == 429 or status >= 500 or code == _TOO_MANY:
        return RestOutcome.RETRY
    if code == _NOT_IN_PROGRESS or (status == 404 and code in (None, _NOT_FOUND)):
        return RestOutcome.ALREADY_ENDED
    return RestOutcome.REFUSED


class _Problem(msgspec.Struct, gc=False):
    code: int | None = None


def _code(body: bytes) -> int | None:
    try:
        return msgspec.json.decode(body, type=_Problem).code
    except (ValueError, RecursionError):
        return None


def _update(account_sid: str, call_sid: str, base_url: str, fields: Sequence[tuple[str, str]]) -> RestRequest:
    account, call = quote(account_sid, safe=""), quote(call_sid, safe="")
    return RestRequest(
        "POST",
        f"{base_url.rstrip('/')}/{_API}/Accounts/{account}/Calls/{call}.json",
        (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")),
        encode_form(fields),
        AUTH,
    )


# --- Twilio's role ---------------------------------------------------------------------------------------------------


class HangUpWanted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """End this call (``Status=completed``, or ``canceled`` for one that has not been answered)."""

    call_sid: str


class UpdateTwiml(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Run this TwiML on the call now."""

    call_sid: str
    twiml: str


CallOrder: TypeAlias = HangUpWanted | UpdateTwiml


def read_request(method: str, path: str, body: bytes) -> CallOrder | None:
    """What a client wants of a call; None for any request that is not one of these two."""
    match = _CALL_PATH.search(path)
    if method != "POST" or match is None:
        return None
    try:
        fields = dict(parse_form(body))
    except ValueError:
        return None
    call_sid = unquote(match[2])
    if fields.get("Status") in ("completed", "canceled"):
        return HangUpWanted(call_sid)
    if fields.get("Twiml"):
        return UpdateTwiml(call_sid, fields["Twiml"])
    return None


def reply_completed(call_sid: str, account_sid: str = "") -> bytes:
    """The body of the 200 that confirms a hang-up (the fields a client may look at)."""
    return msgspec.json.encode(
        {
            "sid": call_sid,
            "account_sid": account_sid,
            "status": "completed",
            "api_version": _API,
            "uri": f"/{_API}/Accounts/{account_sid}/Calls/{call_sid}.json",
        }
    )


def reply_not_found(call_sid: str, account_sid: str = "") -> bytes:
    """The body of the 404 that a call already over answers with."""
    return msgspec.json.encode(
        {
            "code": _NOT_FOUND,
            "message": f"The requested resource /{_API}/Accounts/{account_sid}/Calls/{call_sid}.json was not found",
            "more_info": f"https://www.twilio.com/docs/errors/{_NOT_FOUND}",
            "status": 404,
        }
    )
