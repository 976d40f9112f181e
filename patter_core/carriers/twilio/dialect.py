"""Twilio as the server needs it: the modules of this folder behind the one interface of ``carriers.dialects``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping

from ...config import CarrierSpec
from ..carrier import Malformed, MalformedCode, MediaStream, RestOutcome, RestRequest, Verdict, WebhookEvent
from ..form import parse_form
from . import rest, signature, twiml, webhook
from .stream import TwilioStream

__all__ = ["TwilioDialect"]

_Reader = Callable[[Iterable[tuple[str, str]]], WebhookEvent | Malformed]
_READERS: dict[str, _Reader] = {
    "voice": webhook.parse_voice,
    "status": webhook.parse_status,
    "recording": webhook.parse_recording,
    "amd": webhook.parse_machine,
    "stream": webhook.parse_stream,
}
_XML = "text/xml; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"


class TwilioDialect:
    """Stateless; every method is a pure function."""

    name = "twilio"
    routes = tuple(_READERS)

    def verify_webhook(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes) -> Verdict:
        given = headers.get("x-twilio-signature")
        if not spec.keys:
            return Verdict.NO_KEY
        if not given:
            return Verdict.MISSING  # before the body costs anything
        if body and not headers.get("content-type", _FORM).lower().startswith(_FORM):
            return signature.verify(spec.keys, url, (), given, body)
        try:
            pairs = parse_form(body)
        except ValueError:
            return Verdict.INVALID
        return signature.verify(spec.keys, url, pairs, given)

    def read_webhook(self, kind: str, headers: Mapping[str, str], body: bytes) -> WebhookEvent | Malformed:
        try:
            pairs = parse_form(body)
        except ValueError as exc:
            return Malformed(MalformedCode.BAD_FIELD, str(exc))
        return _READERS[kind](pairs)

    def answer(self, stream_url: str, parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        return 200, _XML, twiml.connect_stream(stream_url, parameters).encode()

    def busy(self) -> tuple[int, str, bytes]:
        return 200, _XML, twiml.reject("busy").encode()

    def verify_upgrade(self, spec: CarrierSpec, url: str, headers: Mapping[str, str]) -> Verdict:
        return signature.verify_upgrade(spec.keys, url, headers.get("x-twilio-signature"))

    def upgrade_spellings(self, url: str) -> tuple[str, ...]:
        return signature.upgrade_spellings(url)

    def stream(self) -> MediaStream:
        return TwilioStream()

    def hang_up(self, account: str, base_url: str, call_id: str) -> RestRequest:
        return rest.hang_up(account, call_id, base_url or rest.BASE_URL)

    def say_and_hang_up(self, account: str, base_url: str, call_id: str, text: str, language: str) -> RestRequest:
        return rest.say_and_hang_up(account, call_id, text, language, base_url or rest.BASE_URL)

    def outcome(self, status: int, body: bytes) -> RestOutcome:
        return rest.outcome(status, body)

    def authorization(self, spec: CarrierSpec) -> str:
        key = spec.keys[0] if spec.keys else ""
        return "Basic " + base64.b64encode(f"{spec.account}:{key}".encode()).decode("ascii")
