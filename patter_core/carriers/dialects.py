"""What a carrier must be able to do, and the one table of carriers. A new carrier is a folder and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..audio.formats import AudioFormat
from .carrier import (
    CarrierSpec,
    DialPlan,
    HookPlace,
    Leg,
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
from .telnyx.dialect import TelnyxDialect
from .twilio.dialect import TwilioDialect

__all__ = ["DIALECTS", "Dialect", "dialect_of"]


class Dialect(Protocol):
    """A carrier, as the server needs it. Stateless; every method is a pure function.

    Where a method may return None, the carrier needs no request for that: something else already does it.
    """

    name: str
    #: webhook routes below ``/webhooks/<name>/``: which kind of report each brings
    routes: tuple[str, ...]

    # --- webhooks

    def verify_webhook(
        self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes, unix_s: int
    ) -> tuple[Verdict, str]:
        """Is this webhook the carrier's? ``url`` is the public one, ``headers`` have lower-case names. The text is for
        the log: why not (the measured clock skew, say); '' when there is nothing to add."""
        ...

    def read_webhook(self, kind: str, query: str, headers: Mapping[str, str], body: bytes) -> Webhook:
        """What the webhook says. Total."""
        ...

    def offered(self, plan: StreamPlan) -> WebhookAnswer:
        """Answers the webhook of a call that is taken (and the one of a dialled call that was answered)."""
        ...

    def busy(self) -> WebhookAnswer:
        """Answers the webhook of a call that is turned away with a busy tone."""
        ...

    def thanks(self) -> WebhookAnswer:
        """Answers any other webhook."""
        ...

    def transferred(self) -> WebhookAnswer:
        """Answers the webhook after a transfer that succeeded: the call may end."""
        ...

    # --- orders

    def answer(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        """Take an incoming call, with its stream. None: ``offered`` did."""
        ...

    def reject(self, leg: Leg) -> RestRequest | None:
        """Turn an incoming call away, busy. None: ``busy`` did."""
        ...

    def begin_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest | None:
        """Give a dialled leg that was answered its stream. None: it asks by webhook (``offered``)."""
        ...

    def restart_stream(self, leg: Leg, plan: StreamPlan) -> RestRequest:
        """Give a live leg a (new) stream."""
        ...

    def dial(self, leg: Leg, plan: DialPlan) -> RestRequest:
        """Place a call (``leg.call_id`` is not known yet)."""
        ...

    def brief(self, leg: Leg, plan: DialPlan) -> RestRequest | None:
        """A consulted leg was answered: say ``plan.brief`` to it. None: its dialling said all that."""
        ...

    def join(self, leg: Leg, other: Leg, plan: DialPlan) -> RestRequest:
        """Connect the caller's ``leg`` with the ``other``, consulted and briefed one."""
        ...

    def transfer(self, leg: Leg, plan: TransferPlan) -> RestRequest:
        """Send the caller somewhere else, so that they come back if nobody answers there."""
        ...

    def hang_up(self, leg: Leg) -> RestRequest:
        """End the call."""
        ...

    def speak(self, leg: Leg, text: str, language: str) -> tuple[RestRequest, bool]:
        """Say a last line in the carrier's own voice. True: the same request then ends the call. False:
        ``CarrierSpoke`` is reported when it is done, and the call is still to be hung up."""
        ...

    def send_keys(self, leg: Leg, digits: str, duration_ms: int) -> RestRequest | None:
        """Press keys. None: the carrier cannot on a stream; the tones go in-band."""
        ...

    def record(self, leg: Leg, step: RecordingStep, webhooks: str) -> RestRequest:
        """Start (dual channel, reported to ``webhooks``), pause, resume or stop recording a leg."""
        ...

    def outcome(self, status: int, body: bytes) -> RestOutcome:
        """What the answer to one of those requests means."""
        ...

    def made(self, status: int, body: bytes) -> str:
        """The id of what a request made: the call of ``dial``, the recording of ``record``; '' when none is named."""
        ...

    def problem(self, status: int, body: bytes) -> str:
        """A refusal in the carrier's words, short, without numbers or secrets, for the log."""
        ...

    # --- media streams

    def line(self, wanted: AudioFormat) -> AudioFormat:
        """The audio to ask for when the engine would like ``wanted``."""
        ...

    def stream(self, options: Mapping[str, str], asked: AudioFormat) -> MediaStream:
        """A fresh media stream, our side of it; ``options`` are ``CarrierSpec.options``, ``asked`` is what
        ``StreamPlan.line`` asked for."""
        ...

    def verify_upgrade(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], ticket: str) -> Verdict:
        """Is this media socket the carrier's? ``url`` is the public ``wss://`` one. MISSING: it brought no proof."""
        ...

    def upgrade_spellings(self, url: str) -> tuple[str, ...]:
        """The URLs ``verify_upgrade`` tries, for the log; empty when it tries none."""
        ...

    # --- the carrier's own configuration

    def find_hook(self, spec: CarrierSpec, number: str) -> RestRequest | None:
        """Ask where ``number``'s calls are reported. None: nothing to look for (no number, no connection)."""
        ...

    def read_hook(self, status: int, body: bytes, number: str) -> HookPlace | str:
        """Its answer; or, as a text, what is wrong and what to do about it."""
        ...

    def set_hook(self, spec: CarrierSpec, place: HookPlace, url: str) -> RestRequest:
        """Have them reported to ``url``."""
        ...

    def authorization(self, spec: CarrierSpec) -> str:
        """The Authorization header of REST requests. Used at the edge only."""
        ...


DIALECTS: dict[str, Dialect] = {"twilio": TwilioDialect(), "telnyx": TelnyxDialect()}


def dialect_of(name: str) -> Dialect:
    """The carrier of this name; KeyError for one we do not speak."""
    return DIALECTS[name]
