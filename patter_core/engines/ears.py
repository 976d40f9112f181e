"""From the caller's line to utterances: where a voice begins and ends, and the audio of what was said.

A little sound from before the detector was sure is kept, and a monologue is cut into pieces, so that what is held is
bounded whatever comes down the line.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..audio.formats import AudioFormat
from ..audio.vad import EnergyVad, SpeechStarted
from ..settings import CallSettings
from .engine import CallerStarted

__all__ = ["Ears", "Spoken"]


class Spoken(msgspec.Struct, frozen=True, gc=False):
    """An utterance has ended; its last voice was heard at ``at`` (on the call's clock). ``audio`` is as on the line."""

    at: int
    audio: bytes


class Ears:
    """One caller's line, in the line's own format."""

    def __init__(self, line: AudioFormat, settings: CallSettings) -> None:
        self._line = line
        self._vad = EnergyVad(format=line, stop_ms=max(1, round(settings.endpoint_s * 1000)))
        self._preroll_limit = line.bytes_for_ms(round(settings.preroll_s * 1000))
        self.limit = max(1, line.bytes_for_ms(round(settings.utterance_s * 1000)))
        self._heard_us = 0
        self._preroll: deque[bytes] = deque()
        self._preroll_bytes = 0
        self._utterance: list[bytes] | None = None
        self._utterance_bytes = 0
        self._started_ms = 0

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
            at = max(0, now - (self._heard_us - event.at_ms * 1000))
            if type(event) is SpeechStarted:
                self._begin(list(self._preroll), self._preroll_bytes, event.at_ms)
                self._preroll.clear()
                self._preroll_bytes = 0
                out.append(CallerStarted(at))
            elif self._utterance is not None:
                out.append(self._end(at))
        if self._utterance is not None and self._utterance_bytes >= self.limit:
            out.append(self._end(now))
            self._begin([], 0, self._vad.position_ms)
            out.append(CallerStarted(now))  # who is cut in the middle of a monologue has not stopped speaking
        return out

    def _begin(self, audio: list[bytes], size: int, at_ms: int) -> None:
        self._utterance = audio
        self._utterance_bytes = size
        self._started_ms = at_ms

    def _end(self, at: int) -> Spoken:
        assert self._utterance is not None
        audio = b"".join(self._utterance)
        self._utterance = None
        self._utterance_bytes = 0
        return Spoken(at, audio)

    def _keep_preroll(self, audio: bytes) -> None:
        self._preroll.append(audio)
        self._preroll_bytes += len(audio)
        while len(self._preroll) > 1 and self._preroll_bytes - len(self._preroll[0]) >= self._preroll_limit:
            self._preroll_bytes -= len(self._preroll.popleft())
