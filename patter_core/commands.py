"""What an application may order about a call, checked: a verb and its arguments become a fact for the call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .call.words import CallFact, CollectWanted, EndWanted, KeysWanted, RecordingWanted, SayWanted, TransferWanted
from .carriers.carrier import RecordingStep
from .plain import plain
from .reasons import EndReason

__all__ = ["COMMANDS", "BadCommand", "read_command"]

_SAY_CHARS = 5_000  # one line of the application's: minutes of speech
_DIGITS = re.compile(r"[0-9*#A-DwW]{1,64}")  # what every carrier takes in one order
_KEYS = frozenset("0123456789*#ABCD")
_SUMMARY_CHARS = 1_000
_COLLECT_MOST, _COLLECT_LONGEST_S = 128, 300


class BadCommand(msgspec.Struct, frozen=True):
    """The arguments make no sense; ``detail`` says what would."""

    detail: str


def _text(value: Any, most: int) -> str | None:
    value = plain(value)
    return value if isinstance(value, str) and len(value) <= most else None


def _end(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    return EndWanted(EndReason.AGENT_HUNG_UP, gently=not args.get("force", False))


def _say(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    text = _text(args.get("text"), _SAY_CHARS)
    return SayWanted(text) if text else BadCommand(f"text must be 1 to {_SAY_CHARS} characters")


def _transfer(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    to, summary = _text(args.get("to"), 512), _text(args.get("summary", ""), _SUMMARY_CHARS)
    if not to:
        return BadCommand("to must be an E.164 number (+15550001234) or sip:somebody@host")
    if summary is None:
        return BadCommand(f"summary must be text of at most {_SUMMARY_CHARS} characters")
    return TransferWanted(to, summary, bool(args.get("by_model", False)), ask)


def _send_keys(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    digits, delay = args.get("digits"), args.get("delay_ms", 300)
    if not isinstance(digits, str) or _DIGITS.fullmatch(digits) is None:
        return BadCommand("digits must be 1 to 64 of 0-9 * # A-D, w (half a second) and W (a second)")
    if isinstance(delay, bool) or not isinstance(delay, int) or not 100 <= delay <= 5_000:
        return BadCommand("delay_ms must be 100 to 5000")
    return KeysWanted(digits, delay, ask)


def _collect(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    most, terminator, timeout = args.get("most", 32), args.get("terminator", "#"), args.get("timeout_s", 10.0)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= _COLLECT_MOST:
        return BadCommand(f"most must be 1 to {_COLLECT_MOST} keys")
    if terminator not in ("", *_KEYS):
        return BadCommand("terminator must be one key (0-9 * # A-D), or '' for none")
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= _COLLECT_LONGEST_S:
        return BadCommand(f"timeout_s must be above 0 and at most {_COLLECT_LONGEST_S}")
    return CollectWanted(ask, most, terminator, float(timeout))


def _record(args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    try:
        return RecordingWanted(RecordingStep(args.get("step")), ask)
    except ValueError:
        return BadCommand(f"step must be one of {', '.join(step.value for step in RecordingStep)}")


#: Verb -> how it is read, and whether the call itself answers (else it is answered once taken).
COMMANDS: dict[str, tuple[Callable[[Mapping[str, Any], str], CallFact | BadCommand], bool]] = {
    "end_call": (_end, True),
    "say": (_say, False),
    "transfer": (_transfer, True),
    "send_dtmf": (_send_keys, True),
    "collect_digits": (_collect, True),
    "record": (_record, True),
}


def read_command(verb: str, args: Mapping[str, Any], ask: str) -> CallFact | BadCommand:
    """The fact that tells the call; ``ask`` names who waits for its answer. Whatever the application passes is looked
    at in here only: an object of its own may raise from anywhere."""
    try:
        return COMMANDS[verb][0](args, ask)
    except Exception as exc:
        return BadCommand(f"the arguments must be plain data ({type(exc).__name__} while reading them)")
