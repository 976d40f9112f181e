"""What was said. The caller's words as recognised; the agent's words only as far as they were played."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

__all__ = ["Line", "Transcript", "Utterance"]


class Line(msgspec.Struct, frozen=True):
    """One line. ``role`` is ``user``, ``assistant`` or ``system``; ``timestamp`` is unix time in seconds."""

    role: str
    text: str
    timestamp: float
    turn: int
    interrupted: bool = False


_SLOWEST_US = 125_000
"""A character at the slowest anybody speaks (8 a second). How long a sentence whose audio is still coming will be is a
guess, and this one errs towards words that were not heard."""


_STREAMED_US = 80_000
"""The same where words and audio come together, as a realtime engine's do: slower than most, not the slowest."""


class _Segment:
    __slots__ = ("character_us", "duration", "text", "whole")

    def __init__(self, text: str) -> None:
        self.text = text
        self.character_us = _SLOWEST_US
        self.duration = 0  # microseconds of audio so far
        self.whole = False  # all of its audio has come


class Utterance:
    """The words of one item of agent speech, and how much audio each sentence has."""

    __slots__ = ("_segments", "item", "turn")

    def __init__(self, item: str, turn: int) -> None:
        self.item = item
        self.turn = turn
        self._segments: list[_Segment] = []

    def saying(self, text: str) -> None:
        """The audio that follows says this."""
        self.said()
        self._segments.append(_Segment(text))

    def worded(self, text: str) -> None:
        """... and this, which goes on where the last words ended."""
        if self._segments:
            self._segments[-1].text += text
            self._segments[-1].character_us = _STREAMED_US
        else:
            self._segments.append(_Segment(text))

    def audio(self, duration_us: int) -> None:
        """Some of that audio."""
        if self._segments:
            self._segments[-1].duration += duration_us

    def said(self, whole: bool = True) -> None:
        """That was all of that audio; or all there will be of it, for it broke off: its words are then those that
        were surely in it."""
        if not self._segments or self._segments[-1].whole:
            return
        segment = self._segments[-1]
        if not whole:
            segment.text = _until(segment.text, segment.duration, len(segment.text) * segment.character_us)
        segment.whole = True

    @property
    def text(self) -> str:
        """All that has audio."""
        return " ".join(segment.text.strip() for segment in self._segments if segment.duration)

    def heard(self, heard_us: int) -> str:
        """The words of the first ``heard_us``: whole sentences, then whole words of the one that was cut, in proportion
        to its audio (rounded down: better one word short than one never heard)."""
        words: list[str] = []
        for segment in self._segments:
            text, duration = segment.text, segment.duration
            if segment.whole and heard_us >= duration:
                if duration:
                    words.append(text)
                heard_us -= duration
                continue
            if not segment.whole:
                duration = max(duration, len(text) * segment.character_us)
            words.append(_until(text, heard_us, duration))
            break
        return " ".join(filter(None, words))


def _until(text: str, heard_us: int, duration_us: int) -> str:
    """The whole words of a text that were heard, when so much was of so much."""
    cut = len(text) * heard_us // duration_us if duration_us else 0
    spoken = text[:cut].split()
    if cut < len(text) and spoken and not text[cut - 1].isspace() and not text[cut].isspace():
        spoken.pop()  # in the middle of a word
    return " ".join(spoken)


class Transcript:
    """The lines of a call, bounded; the newest are kept."""

    __slots__ = ("_lines",)

    def __init__(self, limit: int) -> None:
        self._lines: deque[Line] = deque(maxlen=limit)

    def add(self, line: Line) -> None:
        """Append a line."""
        self._lines.append(line)

    def newest(self, limit: int) -> list[Line]:
        """The newest ``limit`` lines."""
        return list(self._lines)[-limit:] if limit > 0 else []

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The newest ``limit`` lines as ``{"role", "text", "timestamp"}``."""
        start = max(0, len(self._lines) - limit)
        return [
            {"role": line.role, "text": line.text, "timestamp": line.timestamp}
            for i, line in enumerate(self._lines)
            if i >= start
        ]

    def pairs(self) -> list[dict[str, Any]]:
        """Every line as ``{"role", "text"}``; an interrupted one also says so."""
        return [
            {"role": line.role, "text": line.text, "interrupted": True}
            if line.interrupted
            else {"role": line.role, "text": line.text}
            for line in self._lines
        ]
