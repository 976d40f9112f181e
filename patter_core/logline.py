"""One line for the log per event: the call's id, numbers masked, what was said left out unless asked for."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from . import events as ev

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "describe", "mask"]

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # the standard library's levels

_LEVELS: dict[type, int] = {
    ev.TranscriptLine: DEBUG,
    ev.TurnCompleted: DEBUG,
    ev.StreamAttached: DEBUG,
    ev.StreamDetached: DEBUG,
    ev.CarrierReported: DEBUG,
    ev.Refused: WARNING,
    ev.MalformedMessage: WARNING,
    ev.FramesDropped: WARNING,
    ev.CallbackFailed: ERROR,
    ev.CallbackTimedOut: ERROR,
    ev.CallbackDropped: ERROR,
    ev.SpeechFailed: ERROR,
    ev.ProviderSwitched: WARNING,
    ev.ProviderReported: WARNING,
    ev.HangUpFailed: ERROR,
    ev.OverrideIgnored: WARNING,
    ev.SignatureUnchecked: WARNING,
    ev.UpgradeUnsigned: WARNING,
    ev.StartupRefused: ERROR,
    ev.Bug: ERROR,
    ev.OrderRefused: WARNING,
    ev.OrderIgnored: WARNING,
    ev.RecordingBroken: ERROR,
    ev.TunnelLost: WARNING,
    ev.TunnelUnproven: WARNING,
    ev.WebhookUntouched: WARNING,
    ev.WebhookFailed: ERROR,
}
# Seven digits or more, with what people write between them; not part of a word (a call's id) or of an address.
_NUMBER = re.compile(r"(?<![\w.])(?<!\d:)(?:%2B|\+)?\(?\d(?:[ ()/-]{0,3}\d){6,}(?!\w)(?!\.\d)")
_DIGIT = re.compile(r"\d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


def mask(number: str) -> str:
    """A phone number with only its first two and last two digits left, however it is written: ``+15*******01``.
    What has fewer than seven digits is no phone number."""
    count = len(_DIGIT.findall(number))
    if count < 7:
        return number
    seen = 0

    def hide(match: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        return match[0] if seen <= 2 or seen > count - 2 else "*"

    return _DIGIT.sub(hide, number)


def _value(field: str, value: Any) -> str:
    if field in ("caller", "callee"):
        return mask(str(value))
    if isinstance(value, str):
        return _NUMBER.sub(lambda m: mask(m[0]), value)
    if hasattr(value, "value"):
        return str(value.value)
    return str(value)


def describe(event: Any) -> tuple[int, str, str]:
    """Level, text and call id of an event. A transcript's line is its role and length only."""
    level, text, call_id = _describe(event)
    return level, _one_line(text), _one_line(call_id)


def _one_line(text: str) -> str:
    """What a stranger wrote must not be able to begin a line of its own."""
    return text if text.isprintable() else _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)


def _describe(event: Any) -> tuple[int, str, str]:
    kind = type(event)
    level = _LEVELS.get(kind, INFO)
    title = _WORDS.sub(" ", kind.__name__).lower()
    call_id = str(getattr(event, "call_id", ""))
    if isinstance(event, ev.TranscriptLine):
        cut = ", interrupted" if event.interrupted else ""
        return level, f"{event.role} said {len(event.text)} characters{cut}", call_id
    if isinstance(event, ev.ShutdownStep):
        return level, f"shutdown {event.step}/6: {event.name}" + (f" ({event.detail})" if event.detail else ""), call_id
    if isinstance(event, ev.CarrierReported):
        return level, f"{title}: {type(event.report).__name__}", call_id
    if isinstance(event, ev.TurnCompleted):
        return level, f"turn {event.turn.turn_index}: answered in {event.turn.latency.agent_response_ms:g} ms", call_id
    if isinstance(event, ev.WebhookChanged):
        whose = f"{event.carrier} {mask(event.number)}".strip()
        return level, f"{title} ({whose}): it was {event.was or 'empty'} and is {event.now or 'empty'}", call_id
    fields = []
    if isinstance(event, msgspec.Struct):
        for field in event.__struct_fields__:
            value = getattr(event, field)
            if field != "call_id" and value not in ("", None):
                fields.append(f"{field}={_value(field, value)}")
    return level, f"{title} {' '.join(fields)}".strip(), call_id
