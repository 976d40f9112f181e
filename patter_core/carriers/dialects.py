"""What a carrier must be able to do, and the one table of carriers. A new carrier is a folder and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..config import CarrierSpec
from .carrier import Malformed, MediaStream, RestOutcome, RestRequest, Verdict, WebhookEvent
from .twilio.dialect import TwilioDialect

__all__ = ["DIALECTS", "Dialect", "dialect_of"]


class Dialect(Protocol):
    """A carrier, as the server needs it. Stateless; every method is a pure function."""

    name: str
    #: webhook routes below ``/webhooks/<name>/``: which kind of report each brings
    routes: tuple[str, ...]

    def verify_webhook(self, spec: CarrierSpec, url: str, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Is this webhook the carrier's? ``url`` is the public one."""
        ...

    def read_webhook(self, kind: str, headers: Mapping[str, str], body: bytes) -> WebhookEvent | Malformed:
        """What the webhook says."""
        ...

    def answer(self, stream_url: str, parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Status, content type and body that connect the call to our media stream."""
        ...

    def busy(self) -> tuple[int, str, bytes]:
        """... that turn the caller away with a busy tone."""
        ...

    def verify_upgrade(self, spec: CarrierSpec, url: str, headers: Mapping[str, str]) -> Verdict:
        """Is this media socket the carrier's? ``url`` is the public ``wss://`` one. MISSING: it brought no proof."""
        ...

    def upgrade_spellings(self, url: str) -> tuple[str, ...]:
        """The URLs ``verify_upgrade`` tries, for the log."""
        ...

    def stream(self) -> MediaStream:
        """A fresh media stream, our side of it."""
        ...

    def hang_up(self, account: str, base_url: str, call_id: str) -> RestRequest:
        """End the call."""
        ...

    def say_and_hang_up(self, account: str, base_url: str, call_id: str, text: str, language: str) -> RestRequest:
        """Say a last line in the carrier's own voice, then end the call."""
        ...

    def outcome(self, status: int, body: bytes) -> RestOutcome:
        """What the answer to one of those requests means."""
        ...

    def authorization(self, spec: CarrierSpec) -> str:
        """The Authorization header of REST requests. Used at the edge only."""
        ...


DIALECTS: dict[str, Dialect] = {"twilio": TwilioDialect()}


def dialect_of(name: str) -> Dialect:
    """The carrier of this name; KeyError for one we do not speak."""
    return DIALECTS[name]
