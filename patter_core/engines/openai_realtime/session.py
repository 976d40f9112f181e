"""One WebSocket to the service, and what its clock says in ours.

The service counts milliseconds of the audio it was given. That is no clock: audio kept from before the session was
ready is given in one go. So each stretch of audio is remembered with the time at which it was really heard.
"""

from __future__ import annotations

import enum
from collections import deque

__all__ = ["Session", "Stage"]

_STRETCHES = 64
_JITTER_US = 100_000
"""Frames come a little early or late; that is not another stretch."""
_BELIEVED_US = 60_000_000
"""A position that would be longer ago than this is a mistake."""


class Stage(enum.Enum):
    """How far the session has come."""

    DIALLING = "dialling"  # no WebSocket yet
    GREETING = "greeting"  # session.created is awaited
    TELLING = "telling"  # session.updated is awaited
    READY = "ready"


class Session:
    """One session. ``name`` is its link's."""

    __slots__ = ("_stretches", "expires", "name", "ready_at", "refresh", "sent_us", "stage")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stage = Stage.DIALLING
        self.ready_at = -1
        self.expires = 0  # on our clock
        self.refresh = False  # it was ready before, and is being told something new
        self.sent_us = 0  # audio given
        self._stretches: deque[tuple[int, int]] = deque(maxlen=_STRETCHES)  # (from this position on, add this)

    @property
    def ready(self) -> bool:
        """May audio and items be sent?"""
        return self.stage is Stage.READY

    @property
    def usable(self) -> bool:
        """May items be sent, whether audio may or not?"""
        return self.stage is Stage.READY or self.refresh

    def gave(self, heard_at: int, duration_us: int) -> None:
        """It was given audio whose last sample was heard then."""
        start = self.sent_us
        self.sent_us += duration_us
        shift = heard_at - self.sent_us
        if not self._stretches or abs(self._stretches[-1][1] - shift) > _JITTER_US:
            self._stretches.append((start, shift))

    def heard_at(self, position_us: int, now: int) -> int:
        """When the audio at this position of the session was heard."""
        shift: int | None = None
        for start, each in self._stretches:
            if shift is None or start <= position_us:
                shift = each
        at = now if shift is None else position_us + shift
        return min(now, at) if at >= now - _BELIEVED_US else now

    def forget_audio(self) -> None:
        """Its audio starts anew."""
        self.sent_us = 0
        self._stretches.clear()
