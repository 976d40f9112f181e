"""What was said in this call, as far as it was heard: what a new session is told.

The service keeps the conversation itself, but a session ends after an hour at most, and a connection can be lost.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator

from ...audio.formats import AudioFormat

__all__ = ["Entry", "Kind", "Memory"]

_AUDIO_ENTRIES = 2
"""Turns of the caller whose sound is kept while their words are not known; a recogniser is not further behind."""
_TEXT_LIMIT = 60_000
"""Characters told to a new session: about an hour of talk, and well within what a model takes in."""


class Kind(enum.Enum):
    """Whose an entry is."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    CALL = "call"


class Entry:
    """One thing that was said or done."""

    __slots__ = ("audio", "call", "format", "item", "kind", "name", "output", "text")

    def __init__(self, kind: Kind, text: str) -> None:
        self.kind = kind
        self.text = text  # of a call, its arguments
        self.audio = b""  # of the caller, while ``text`` is not known
        self.format: AudioFormat | None = None
        self.item = ""  # under which the present session was told of it, by us
        self.call = ""
        self.name = ""
        self.output: str | None = None


class Memory:
    """A call's. The newest entries are kept."""

    def __init__(self, past: tuple[tuple[str, str], ...], limit: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=max(1, limit))
        self._count = 0
        for role, text in past:
            if text:
                self.add(Kind.USER if role == "user" else Kind.ASSISTANT, text)

    def add(self, kind: Kind, text: str) -> Entry:
        """Something new."""
        entry = Entry(kind, text)
        self._entries.append(entry)
        return entry

    def heard(self, audio: bytes, format: AudioFormat) -> Entry:
        """The caller said something; its words will be known later."""
        entry = self.add(Kind.USER, "")
        entry.audio, entry.format = audio, format
        with_audio = [one for one in self._entries if one.audio]
        for old in with_audio[:-_AUDIO_ENTRIES]:
            old.audio = b""
        return entry

    def called(self, call: str, name: str, arguments: str) -> Entry:
        """The model asked for a tool."""
        entry = self.add(Kind.CALL, arguments)
        entry.call, entry.name = call, name
        return entry

    def remove(self, entry: Entry) -> None:
        """Nothing of it was heard."""
        if entry in self._entries:
            self._entries.remove(entry)

    def before(self, entry: Entry) -> str:
        """The item told of just before ``entry``; ``root`` when there is none."""
        item = "root"
        for one in self._entries:
            if one is entry:
                break
            item = one.item or item
        return item

    def tell(self) -> Iterator[Entry]:
        """What a new session is to be told, oldest first, each under a fresh ``item``; the rest has none."""
        room = _TEXT_LIMIT
        told: list[Entry] = []
        for entry in reversed(self._entries):
            entry.item = ""
            room -= len(entry.text) + len(entry.output or "")
            if room >= 0 and (entry.text or entry.audio or entry.kind is Kind.CALL):
                told.append(entry)
        for entry in reversed(told):
            self._count += 1
            entry.item = f"past_{self._count}"
            yield entry
