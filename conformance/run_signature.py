"""Signature vectors against ``patter_core``: ``run(case)`` says what is wrong, or None."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any

from patter_core.carriers.carrier import CarrierSpec, Verdict
from patter_core.carriers.telnyx import signature as telnyx
from patter_core.carriers.telnyx.dialect import STREAM_TOKEN, TelnyxDialect
from patter_core.carriers.twilio import signature as twilio

__all__ = ["SCHEMES", "run"]


def _twilio_v1(given: dict[str, Any]) -> Verdict:
    body = b64decode(given["body_b64"], validate=True) if "body_b64" in given else None
    params = [(name, value) for name, value in given.get("params", ())]
    return twilio.verify(given["secrets"], given["url"], params, given["signature"], body)


def _twilio_upgrade(given: dict[str, Any]) -> Verdict:
    return twilio.verify_upgrade(given["secrets"], given["url"], given["signature"])


def _telnyx_ed25519(given: dict[str, Any]) -> Verdict:
    body = b64decode(given["body_b64"], validate=True)
    limits = {name: given[name] for name in ("future_s",) if name in given}
    verdict, _ = telnyx.verify(given["keys"], given["timestamp"], given["signature"], body, given["now"], **limits)
    return verdict


def _telnyx_upgrade(given: dict[str, Any]) -> Verdict:
    headers = {} if given["token"] is None else {STREAM_TOKEN: given["token"]}
    return TelnyxDialect().verify_upgrade(CarrierSpec("telnyx"), given["url"], headers, given["ticket"])


SCHEMES: dict[str, Callable[[dict[str, Any]], Verdict]] = {
    "twilio-v1": _twilio_v1,
    "twilio-upgrade": _twilio_upgrade,
    "telnyx-ed25519": _telnyx_ed25519,
    "telnyx-upgrade": _telnyx_upgrade,
}
"""How each scheme's ``in`` is judged."""


def run(case: dict[str, Any]) -> str | None:
    """A description of the problem, or None. An ``acceptable`` case may go either way, but must not raise."""
    scheme = case["in"]["scheme"]
    judge = SCHEMES.get(scheme)
    if judge is None:
        return f"{case['id']}: no scheme {scheme}"
    verdict = judge(case["in"])
    found = "valid" if verdict is Verdict.VALID else "invalid"
    if case["result"] != "acceptable" and found != case["result"]:
        return f"{case['id']}: {found} ({verdict.value}), expected {case['result']}"
    if "verdict" in case and verdict.value != case["verdict"]:
        return f"{case['id']}: verdict {verdict.value}, expected {case['verdict']}"
    return None
