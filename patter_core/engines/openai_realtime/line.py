"""The caller's line as the engine hears it: our own voice detector, and the audio that may have to be said again.

Audio is kept until the service has committed it as a turn. While nobody speaks only a little is kept, from before our
detector is sure of a voice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...audio.detectors import VadSpec, make_detector
from ...audio.formats import AudioFormat
from ...audio.transcode import Transcoder
from ...audio.vad import SpeechStarted
from ...settings import CallSettings

__all__ = ["CallerLine"]

_STOP_MS = 500
"""So much quiet ends a voice."""
_BATCH_US = 500_000
"""Kept audio is handed out in pieces of this length."""
_GAP_US = 100_000
"""Audio that came later than that after what was before it does not belong together with it."""


class CallerLine:
    """One call's, in the format the service is given."""

    def __init__(self, format: AudioFormat, settings: CallSettings, vad: VadSpec | None = None) -> None:
        self._settings = settings
        self._told_by = vad
        self._kept: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._listen(format)

    def _listen(self, format: AudioFormat) -> None:
        self.format = format
        self._vad = make_detector(self._told_by, format, _STOP_MS)
        self._heard_us = 0
        self._now = 0  # and when that was
        self._preroll = format.bytes_for_ms(round(self._settings.preroll_s * 1000))
        self._most = format.bytes_for_ms(round(self._settings.utterance_s * 1000))
        self.voice_at = -1
        """When we last heard a voice begin."""

    @property
    def voiced(self) -> bool:
        """Do we hear a voice?"""
        return self._vad.speaking

    def hear(self, now: int, audio: bytes, idle: bool) -> bool:
        """The line carried this. Returns whether a voice has begun. ``idle``: as far as others know, nobody speaks."""
        began = False
        self._heard_us += self.format.duration_us(len(audio))
        self._now = now
        for event in self._vad.process(audio):
            if type(event) is SpeechStarted:
                self.voice_at = now - (self._heard_us - event.at_ms * 1000)
                began = True
        kept = self._kept
        kept.append((now, audio))
        self._bytes += len(audio)
        limit = self._preroll if idle and not self._vad.speaking else self._most
        while len(kept) > 1 and self._bytes - len(kept[0][1]) >= limit:
            self._bytes -= len(kept.popleft()[1])
        return began

    def voiced_us(self, since: int, silence_us: int) -> int:
        """How long somebody speaks who has spoken ``since`` then. ``silence_us``: after so much silence we would have
        been told that they stopped (0: we would not)."""
        began = self._heard_us - (self._now - since)
        ours = (self._vad.last_voiced_ms or 0) * 1000 - began
        if ours > 0:
            return ours
        return max(0, self._heard_us - began - silence_us) if silence_us else 0  # a voice too low for our detector

    def last_voice(self, now: int) -> int:
        """When we last heard a voice."""
        voiced = self._vad.last_voiced_ms
        return now if voiced is None else max(0, min(now, self._now - (self._heard_us - voiced * 1000)))

    def take(self) -> bytes:
        """What was kept; it is not any more."""
        audio = b"".join(piece for _, piece in self._kept)
        self._kept.clear()
        self._bytes = 0
        return audio

    def kept(self) -> Iterator[tuple[int, bytes]]:
        """What is kept, in larger pieces, each with the time at which its end was heard."""
        batch: list[bytes] = []
        last, length = 0, 0
        for at, piece in self._kept:
            duration = self.format.duration_us(len(piece))
            if batch and (length + duration > _BATCH_US or at - last > duration + _GAP_US):
                yield last, b"".join(batch)
                batch, length = [], 0
            batch.append(piece)
            last, length = at, length + duration
        if batch:
            yield last, b"".join(batch)

    def change(self, format: AudioFormat) -> None:
        """From now on the line comes in another format; what is kept is converted."""
        converter = Transcoder(self.format, format)
        self._kept = deque((at, converter.process(piece)) for at, piece in self._kept)
        self._bytes = sum(len(piece) for _, piece in self._kept)
        self._listen(format)
