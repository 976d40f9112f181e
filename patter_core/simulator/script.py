"""What a simulated caller does: a list of small acts, played 20 ms at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

__all__ = ["Act", "HangUp", "ListenUntilQuiet", "Player", "Press", "Speak", "Wait", "WaitForAgent"]


class Speak(msgspec.Struct, frozen=True):
    """Say this (mu-law, 8 kHz)."""

    audio: bytes


class Wait(msgspec.Struct, frozen=True):
    """Say nothing for so long."""

    ms: int


class WaitForAgent(msgspec.Struct, frozen=True):
    """Say nothing until the agent has been audible for ``ms``, or ``limit_ms`` went by."""

    ms: int = 20
    limit_ms: int = 15_000


class ListenUntilQuiet(msgspec.Struct, frozen=True):
    """Let the agent speak: until it was audible and has then been quiet for ``quiet_ms``, or ``limit_ms`` went by."""

    quiet_ms: int = 800
    limit_ms: int = 30_000


class Press(msgspec.Struct, frozen=True):
    """Press a key."""

    digit: str


class HangUp(msgspec.Struct, frozen=True):
    """Hang up."""


Act: TypeAlias = Speak | Wait | WaitForAgent | ListenUntilQuiet | Press | HangUp

_FRAME = 160
_SILENCE = b"\xff" * _FRAME


class Player:
    """Plays a script. The carrier calls ``frame`` every 20 ms with whether the agent is audible."""

    def __init__(self, acts: Sequence[Act]) -> None:
        self._acts: deque[Act] = deque(acts)
        self._offset = 0
        self._waited = 0
        self._audible = 0
        self._quiet = 0
        self._was_audible = False

    def frame(self, audible: bool) -> tuple[bytes, list[Press | HangUp]]:
        """The caller's next 20 ms, and what they press or do. A script that is over goes on in silence."""
        self._audible = self._audible + 20 if audible else 0
        self._quiet = 0 if audible else self._quiet + 20
        self._was_audible = self._was_audible or audible
        done: list[Press | HangUp] = []
        while self._acts:
            act = self._acts[0]
            match act:
                case Speak(audio):
                    if self._offset < len(audio):
                        frame = audio[self._offset : self._offset + _FRAME]
                        self._offset += _FRAME
                        return frame + _SILENCE[len(frame) :], done
                case Press() | HangUp():
                    done.append(act)
                case Wait(ms):
                    if self._waited < ms:
                        self._waited += 20
                        return _SILENCE, done
                case WaitForAgent(ms, limit):
                    if self._audible < ms and self._waited < limit:
                        self._waited += 20
                        return _SILENCE, done
                case ListenUntilQuiet(quiet, limit):
                    if not (self._was_audible and self._quiet >= quiet) and self._waited < limit:
                        self._waited += 20
                        return _SILENCE, done
            self._next()
        return _SILENCE, done

    def _next(self) -> None:
        act = self._acts.popleft()
        self._offset = self._waited = 0
        if isinstance(act, Speak):
            self._was_audible = False  # what is listened for next is the answer to this
