"""Telnyx as the server needs it: the modules of this folder behind the one interface of ``carriers.dialects``.

All reports come by one webhook route, and its answer's body means nothing to Telnyx: every order is a REST request.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from ...audio.formats import L16_16K, PCMU_8K, AudioFormat, Encoding
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
)
from . import rest, signature, webhook
from .stream import TelnyxStream

__all__ = ["STREAM_TOKEN", "TelnyxDialect"]

STREAM_TOKEN = "x-telnyx-streaming-auth-token"
"""The header of a media socket's upgrade that carries ``stream_auth_token``. Telnyx signs no upgrade."""

_FORM = "application/x-www-form-urlencoded"
_TAKEN = WebhookAnswer(200)


class TelnyxDialect:
    """Stateless; every method is a pure function."""

    name = "telnyx"
    routes: tuple[str, ...] = ("voice",)

    # --- webhooks

    def verify_webhook(
        self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes, unix_s: int
    ) -> tuple[Verdict, str]:
        timestamp, made = headers.get(signature.TIMESTAMP), headers.get(signature.SIGNATURE)
        return signature.verify(spec.keys, timestamp, made, body, unix_s, _ahead(spec.options))

    def read_webhook(self, kind: str, query: str, headers: Mapping[str, str], body: bytes) -> Webhook:
        if headers.get("content-type", "").lower().startswith(_FORM):
            advice = "a form: this is a TeXML application's callback; use a Call Control (Voice API) application"
            return Webhook(Malformed(MalformedCode.NOT_JSON, advice))
        return webhook.read(body)

    def offered(self, plan: StreamPlan) -> WebhookAnswer:
        return _TAKEN

    def busy(self) -> WebhookAnswer:
        return _TAKEN

    def thanks(self) -> WebhookAnswer:
        return _TAKEN

    def transferred(self) -> WebhookAnswer:
        return _TAKEN

    # --- orders

    def answer(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        return rest.answer(leg, plan)

    def reject(self, leg: Leg) -> RestRequest | None:
        return rest.reject(leg)

    def begin_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        return rest.streaming_start(leg, plan)

    def restart_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest:
        return rest.streaming_start(leg, plan)

    def dial(self, leg: Leg, plan: DialPlan) -> RestRequest:
        return rest.dial(leg, plan)

    def brief(self, leg: Leg, plan: DialPlan) -> RestRequest | None:
        return rest.speak(leg, plan.brief, plan.language)

    def join(self, leg: Leg, other: Leg, plan: DialPlan) -> RestRequest:
        return rest.bridge(leg, other)

    def transfer(self, leg: Leg, plan: TransferPlan) -> RestRequest:
        return rest.transfer(leg, plan)

    def hang_up(self, leg: Leg) -> RestRequest:
        return rest.hang_up(leg)

    def speak(self, leg: Leg, text: str, language: str) -> tuple[RestRequest, bool]:
        return rest.speak(leg, text, language), False

    def send_keys(self, leg: Leg, digits: str, duration_ms: int) -> RestRequest | None:
        """``ValueError`` for what is no telephone key."""
        return rest.send_dtmf(leg, digits, duration_ms)

    def record(self, leg: Leg, step: RecordingStep, webhooks: str) -> RestRequest:
        return rest.record(leg, step)

    def outcome(self, status: int, body: bytes) -> RestOutcome:
        return rest.outcome(status, body)

    def made(self, status: int, body: bytes) -> str:
        return rest.made(status, body)

    def problem(self, status: int, body: bytes) -> str:
        return rest.problem(status, body)

    # --- media streams

    def line(self, wanted: AudioFormat) -> AudioFormat:
        """Linear 16 kHz for an engine that takes 16 kHz or more of it, else mu-law: 8 kHz is all a G.711 call has."""
        return L16_16K if wanted.encoding is Encoding.L16 and wanted.rate >= 16_000 else PCMU_8K

    def stream(self, options: Mapping[str, str], asked: AudioFormat) -> MediaStream:
        return TelnyxStream(asked, big_endian=options.get("l16") == "big")

    def verify_upgrade(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], ticket: str) -> Verdict:
        given = headers.get(STREAM_TOKEN)
        if given is None:
            return Verdict.MISSING
        same = hmac.compare_digest(given.encode("utf-8", "replace"), ticket.encode("utf-8", "replace"))
        return Verdict.VALID if ticket and same else Verdict.INVALID

    def upgrade_spellings(self, url: str) -> tuple[str, ...]:
        return ()

    # --- the carrier's own configuration

    def find_hook(self, spec: CarrierSpec, number: str) -> RestRequest | None:
        return rest.find_hook(spec.account, spec.base_url) if spec.account else None

    def read_hook(self, status: int, body: bytes, number: str) -> HookPlace | str:
        return rest.read_hook(status, body)

    def set_hook(self, spec: CarrierSpec, place: HookPlace, url: str) -> RestRequest:
        return rest.set_hook(place, url, spec.base_url)

    def authorization(self, spec: CarrierSpec) -> str:
        return f"Bearer {spec.api_key}"


def _ahead(options: Mapping[str, str]) -> int:
    text = options.get("future_s", "")
    return int(text) if text.isascii() and text.isdigit() else signature.MAX_AHEAD_S
