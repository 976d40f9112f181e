"""What a local model thinks aloud, taken out of what it says: ``<think>...</think>`` in the middle of its text."""

from __future__ import annotations

__all__ = ["Thoughts"]

_OPEN = "<think>"
_CLOSE = "</think>"


class Thoughts:
    """One answer, in pieces cut anywhere. A tag that is never closed swallows the rest: it was thought, not said."""

    __slots__ = ("_held", "thinking")

    def __init__(self) -> None:
        self._held = ""  # may be the beginning of a tag
        self.thinking = False

    def push(self, text: str) -> str:
        """What of this is to be said."""
        if not self._held and not self.thinking and "<" not in text:
            return text
        text = self._held + text
        self._held = ""
        said: list[str] = []
        while text:
            tags = (_CLOSE,) if self.thinking else (_OPEN, _CLOSE)  # models whose prompt opens the tag only close it
            at, tag = min(((text.find(tag), tag) for tag in tags if tag in text), default=(-1, ""))
            if not tag:
                keep = max(_begun(text, tag) for tag in tags)
                self._held = text[len(text) - keep :]
                text = text[: len(text) - keep]
                if not self.thinking:
                    said.append(text)
                break
            if not self.thinking:
                said.append(text[:at])
            self.thinking = tag == _OPEN
            text = text[at + len(tag) :]
        return "".join(said)

    def end(self) -> str:
        """Nothing more comes: what looked like a tag was none."""
        held, self._held = self._held, ""
        return "" if self.thinking else held


def _begun(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)
