"""What the application asked of a call and waits for: keys pressed, keys collected, the recording's steps."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..carriers.carrier import RecordingStep, RestOutcome
from ..events import KeysSent, RecordingStepped
from ..settings import CallSettings, us
from .conversation import Conversation
from .keys import CollectionDone, CollectionRefused, Group, KeyResult, Keys
from .leg import CarrierLeg
from .rests import Settled
from .words import CallOrder, CollectWanted, Deny, KeysWanted, Reply, Tell

__all__ = ["Desk", "deny", "reply"]

_TONE_MS = 100
_PRESSES = 8  # orders to press keys that may wait: each can be minutes of tones


def reply(ask: str, value: Any, out: list[CallOrder]) -> None:
    """Answer whoever asked; '' is nobody."""
    if ask:
        out.append(Reply(ask, value))


def deny(ask: str, code: str, detail: str, out: list[CallOrder]) -> None:
    """Refuse whoever asked."""
    if ask:
        out.append(Deny(ask, code, detail))


class Desk:
    """One call's."""

    def __init__(self, settings: CallSettings, leg: CarrierLeg, talk: Conversation) -> None:
        self._leg = leg
        self._talk = talk
        self._keys = Keys(settings.keys_pause_s)
        self._window_us = us(settings.keys_window_s)
        self._keys_at: deque[int] = deque(maxlen=max(1, settings.keys))
        self._presses = 0
        self._pressing: dict[str, str] = {}  # keys we press: by name, who waits for them
        self._recording: dict[str, str] = {}  # by step, who waits for it

    @property
    def deadline(self) -> int | None:
        """When to ``tick``."""
        return self._keys.deadline

    def tick(self, now: int, out: list[CallOrder]) -> None:
        """Do what is due."""
        self._keyed(now, self._keys.tick(now), out)

    # --- the caller's keys -------------------------------------------------------------------------------------------

    def key(self, now: int, digit: str, out: list[CallOrder]) -> bool:
        """The caller pressed one. False: faster than fingers could, so it is skipped: each costs a line and a
        callback."""
        times = self._keys_at
        if len(times) == times.maxlen and now - times[0] <= self._window_us:
            return False
        times.append(now)
        self._talk.voices += 1
        self._keyed(now, self._keys.pressed(now, digit), out)
        return True

    def collect(self, now: int, wanted: CollectWanted, out: list[CallOrder]) -> None:
        """The next keys are for the application."""
        found = self._keys.collect(now, wanted.ask, wanted.most, wanted.terminator, wanted.timeout_s)
        self._keyed(now, found, out)

    def _keyed(self, now: int, results: list[KeyResult], out: list[CallOrder]) -> None:
        for result in results:
            match result:
                case CollectionDone(name, digits, why):
                    reply(name, {"digits": digits, "ended_by": why.value}, out)
                case CollectionRefused(name, refusal):
                    deny(name, "bad_arguments", f"these keys cannot be collected: {refusal.value}", out)
                case Group(text):
                    out += self._talk.pressed(now, text)

    # --- ours --------------------------------------------------------------------------------------------------------

    def press(self, now: int, wanted: KeysWanted, out: list[CallOrder]) -> None:
        """Press keys: by the carrier's API where it has one, else in-band."""
        if len(self._pressing) >= _PRESSES:
            deny(wanted.ask, "busy", f"{_PRESSES} orders to press keys are waiting already", out)
            return
        self._presses += 1
        name = f"keys:{self._presses}"
        if not self._leg.press(now, name, wanted.digits, _TONE_MS, out):
            out += self._talk.press(now, name, wanted.digits, wanted.gap_ms, _TONE_MS)
        self._pressing[name] = wanted.ask
        out.append(Tell(KeysSent(self._leg.call_id, len(wanted.digits))))

    def heard(self, out: list[CallOrder]) -> None:
        """Were keys heard that we pressed in-band?"""
        mouth = self._talk.mouth
        for name in mouth.pressed:
            reply(self._pressing.pop(name, ""), True, out)
        for name in mouth.unpressed:
            deny(self._pressing.pop(name, ""), "not_heard", "the media stream was lost before they were played", out)
        mouth.pressed.clear()
        mouth.unpressed.clear()

    # --- the recording -----------------------------------------------------------------------------------------------

    def record(self, now: int, step: RecordingStep, ask: str, out: list[CallOrder]) -> None:
        """Start, pause, resume or stop it."""
        deny(self._recording.pop(step.value, ""), "superseded", "it was asked for again", out)
        self._recording[step.value] = ask
        self._leg.record(now, step, out)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def settled(self, news: Settled, out: list[CallOrder]) -> bool:
        """What an order to the carrier came to. False: it was none of ours. One that came too late was not done."""
        done = news.outcome is RestOutcome.DONE
        if news.tag.startswith("keys:"):
            ask = self._pressing.pop(news.tag, "")
            if done:
                reply(ask, True, out)
        elif news.tag.startswith("record_"):
            step = news.tag.removeprefix("record_")
            ask = self._recording.pop(step, "")
            if done:
                out.append(Tell(RecordingStepped(self._leg.call_id, step)))
                reply(ask, True, out)
        else:
            return False
        if not done:
            deny(ask, "carrier_refused", news.detail, out)
        return True

    def end(self, now: int, out: list[CallOrder]) -> None:
        """Nobody waits for a call that is over. What the caller was keying in is still told."""
        self._keyed(now, self._keys.end(now), out)
        for ask in [*self._pressing.values(), *self._recording.values()]:
            deny(ask, "call_ended", "the call ended first", out)
        self._pressing.clear()
        self._recording.clear()
