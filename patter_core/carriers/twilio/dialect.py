"""Twilio as the server needs it: the modules of this folder behind the one interface of ``carriers.dialects``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping

from ...audio.formats import PCMU_8K, AudioFormat
from ..carrier import (
    CarrierSpec,
    DialPlan,
    HookPlace,
    Leg,
    Malformed,
    MalformedCode,
    MediaStream,
    RecordingStep,
    RestOutcome,
    RestRequest,
    StreamPlan,
    TransferPlan,
    Verdict,
    Webhook,
    WebhookAnswer,
    WebhookEvent,
)
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
    "transfer": webhook.parse_transfer,
    "conference": webhook.parse_conference,
}
_XML = "text/xml; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"


class TwilioDialect:
    """Stateless; every method is a pure function."""

    name = "twilio"
    routes = tuple(_READERS)

    def verify_webhook(
        self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes, unix_s: int
    ) -> tuple[Verdict, str]:
        return self._verify(spec, url, headers, body), ""

    def _verify(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes) -> Verdict:
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

    def read_webhook(self, kind: str, query: str, headers: Mapping[str, str], body: bytes) -> Webhook:
        ref = webhook.read_ref(query)
        try:
            pairs = parse_form(body)
        except ValueError as exc:
            return Webhook(Malformed(MalformedCode.BAD_FIELD, str(exc)), ref=ref)
        return Webhook(_READERS[kind](pairs), ref=ref)

    def offered(self, plan: StreamPlan) -> WebhookAnswer:
        return WebhookAnswer(
            200, _XML, twiml.connect_stream(plan.url, plan.parameters, status_callback=_told(plan)).encode()
        )

    def busy(self) -> WebhookAnswer:
        return WebhookAnswer(200, _XML, twiml.reject("busy").encode())

    def thanks(self) -> WebhookAnswer:
        return WebhookAnswer(204)

    def transferred(self) -> WebhookAnswer:
        return WebhookAnswer(200, _XML, twiml.hang_up().encode())

    def answer(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        return None

    def reject(self, leg: Leg) -> RestRequest | None:
        return None

    def begin_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        return None

    def restart_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest:
        return rest.stream(leg.account, leg.call_id, plan.url, plan.parameters, _base(leg), _told(plan))

    def dial(self, leg: Leg, plan: DialPlan) -> RestRequest:
        return rest.dial(leg.account, plan, _base(leg))

    def brief(self, leg: Leg, plan: DialPlan) -> RestRequest | None:
        return None

    def join(self, leg: Leg, other: Leg, plan: DialPlan) -> RestRequest:
        action = rest.callback(plan.webhooks, "transfer", plan.ref)
        return rest.update_twiml(leg.account, leg.call_id, twiml.join_room(plan.room, action), _base(leg))

    def transfer(self, leg: Leg, plan: TransferPlan) -> RestRequest:
        action = rest.callback(plan.webhooks, "transfer", plan.ref)
        told = rest.callback(plan.webhooks, "status", plan.ref)
        document = twiml.transfer(plan.to, action, plan.caller_id, plan.ring_timeout_s, told)
        return rest.update_twiml(leg.account, leg.call_id, document, _base(leg))

    def hang_up(self, leg: Leg) -> RestRequest:
        return rest.hang_up(leg.account, leg.call_id, _base(leg))

    def speak(self, leg: Leg, text: str, language: str) -> tuple[RestRequest, bool]:
        return rest.say_and_hang_up(leg.account, leg.call_id, text, language, _base(leg)), True

    def send_keys(self, leg: Leg, digits: str, duration_ms: int) -> RestRequest | None:
        return None

    def record(self, leg: Leg, step: RecordingStep, webhooks: str) -> RestRequest:
        return rest.record(leg.account, leg.call_id, step, webhooks, _base(leg))

    def outcome(self, status: int, body: bytes) -> RestOutcome:
        return rest.outcome(status, body)

    def made(self, status: int, body: bytes) -> str:
        return rest.made(status, body)

    def problem(self, status: int, body: bytes) -> str:
        return rest.problem(status, body)

    def line(self, wanted: AudioFormat) -> AudioFormat:
        return PCMU_8K

    def stream(self, options: Mapping[str, str], asked: AudioFormat) -> MediaStream:
        return TwilioStream()

    def verify_upgrade(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], ticket: str) -> Verdict:
        return signature.verify_upgrade(spec.keys, url, headers.get("x-twilio-signature"))

    def upgrade_spellings(self, url: str) -> tuple[str, ...]:
        return signature.upgrade_spellings(url)

    def find_hook(self, spec: CarrierSpec, number: str) -> RestRequest | None:
        return rest.find_number(spec.account, number, spec.base_url or rest.BASE_URL) if number else None

    def read_hook(self, status: int, body: bytes, number: str) -> HookPlace | str:
        return rest.read_number(status, body, number)

    def set_hook(self, spec: CarrierSpec, place: HookPlace, url: str) -> RestRequest:
        return rest.set_number(spec.account, place, url, spec.base_url or rest.BASE_URL)

    def authorization(self, spec: CarrierSpec) -> str:
        return "Basic " + base64.b64encode(f"{spec.account}:{spec.api_key}".encode()).decode("ascii")


def _told(plan: StreamPlan) -> str:
    return rest.callback(plan.webhooks, "stream", "") if plan.webhooks else ""


def _base(leg: Leg) -> str:
    return leg.base_url or rest.BASE_URL
