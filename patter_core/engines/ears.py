"""From the caller's line to utterances: where a voice begins and ends, and the audio of what was said.

A little sound from before the detector was sure is kept, and a monologue is cut into pieces, so that what is held is
bounded whatever comes down the line.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..audio.detectors import VadSpec, make_detector, window_ms
from ..audio.formats import AudioFormat
from ..audio.vad import SpeechStarted
from ..settings import CallSettings
from .engine import CallerStarted

__all__ = ["Ears", "Spoken"]

_SURE = 3
"""Voiced windows that make a voice, as in the detector."""


class Spoken(msgspec.Struct, frozen=True, gc=False):
    """An utterance has ended; its last voice was heard at ``at`` (on the call's clock), ``voiced_us`` after its first.
    ``audio`` is as on the line."""

    at: int
    audio: bytes
    voiced_us: int = 0


class Ears:
    """One caller's line, in the line's own format. ``vad`` is what tells a voice; None: by energy."""

    def __init__(self, line: AudioFormat, settings: CallSettings, vad: VadSpec | None = None) -> None:
        self._line = line
        self._vad = make_detector(vad, line, max(1, round(settings.endpoint_s * 1000)))
        self._window_ms = window_ms(vad)
        self._preroll_limit = line.bytes_for_ms(round(settings.preroll_s * 1000))
        self.limit = max(1, line.bytes_for_ms(round(settings.utterance_s * 1000)))
        self._heard_us = 0
        self._preroll: deque[bytes] = deque()
        self._preroll_bytes = 0
        self._utterance: list[bytes] | None = None
        self._utterance_bytes = 0
        self._started_ms = 0
        self._closed_ms = -1  # the last voice of a turn that was closed by somebody else, and what came after it
        self._voices = 0

    @property
    def speaking(self) -> bool:
        """The caller is in the middle of an utterance."""
        return self._utterance is not None

    @property
    def voiced_us(self) -> int:
        """From the start of this utterance to its latest voiced sound; 0 while the caller is quiet."""
        if self._utterance is None:
            return 0
        return max(0, (self._vad.last_voiced_ms or 0) - self._started_ms) * 1000

    def hear(self, now: int, audio: bytes) -> list[CallerStarted | Spoken]:
        """The line carried this. The hot path."""
        out: list[CallerStarted | Spoken] = []
        if not audio:
            return out
        self._heard_us += self._line.duration_us(len(audio))
        if self._utterance is None:
            self._keep_preroll(audio)
        else:
            self._utterance.append(audio)
            self._utterance_bytes += len(audio)
        for event in self._vad.process(audio):
            at = self._at(now, event.at_ms)
            if type(event) is SpeechStarted:
                self._begin(list(self._preroll), self._preroll_bytes, event.at_ms)
                self._preroll.clear()
                self._preroll_bytes = 0
                out.append(CallerStarted(at))
            elif self._utterance is not None:
                out.append(self._end(at))
        if self._utterance is None and self._closed_ms >= 0:
            out += self._goes_on(now)
        if self._utterance is not None and self._utterance_bytes >= self.limit:
            out.append(self._end(now))
            self._begin([], 0, self._vad.position_ms)
            out.append(CallerStarted(now))  # who is cut in the middle of a monologue has not stopped speaking
        return out

    def close(self, now: int) -> tuple[int, int] | None:
        """Somebody else decided that the turn is over: its end is not reported again. When its last voice was, and for
        how long there was voice; None when the caller is quiet. Who goes on to speak begins a new one."""
        if self._utterance is None:
            return None
        voiced = self.voiced_us
        last_ms = self._vad.last_voiced_ms or 0
        self._utterance = None
        self._utterance_bytes = 0
        self._closed_ms = last_ms
        self._voices = 0
        return self._at(now, last_ms), voiced

    def _at(self, now: int, position_ms: int) -> int:
        """When a position of the sound was heard."""
        return max(0, now - (self._heard_us - position_ms * 1000))

    def _goes_on(self, now: int) -> list[CallerStarted | Spoken]:
        """The turn was closed before the detector saw its end, so it will not report another start: is there more of
        that voice? (One window of sound may be a click.)"""
        last_ms = self._vad.last_voiced_ms or 0
        if not self._vad.speaking or self._closed_ms < 0 or last_ms <= self._closed_ms:
            return []
        self._closed_ms = last_ms
        self._voices += 1
        if self._voices < _SURE:
            return []
        started_ms = max(0, last_ms - _SURE * self._window_ms)
        self._begin(list(self._preroll), self._preroll_bytes, started_ms)
        self._preroll.clear()
        self._preroll_bytes = 0
        return [CallerStarted(self._at(now, started_ms))]

    def _begin(self, audio: list[bytes], size: int, at_ms: int) -> None:
        self._closed_ms = -1
        self._utterance = audio
        self._utterance_bytes = size
        self._started_ms = at_ms

    def _end(self, at: int) -> Spoken:
        assert self._utterance is not None
        audio = b"".join(self._utterance)
        voiced = self.voiced_us
        self._utterance = None
        self._utterance_bytes = 0
        return Spoken(at, audio, voiced)

    def _keep_preroll(self, audio: bytes) -> None:
        self._preroll.append(audio)
        self._preroll_bytes += len(audio)
        while len(self._preroll) > 1 and self._preroll_bytes - len(self._preroll[0]) >= self._preroll_limit:
            self._preroll_bytes -= len(self._preroll.popleft())
