"""What was said, as the caller heard it: what a language model is shown of the conversation.

Of a reply that was cut short it holds the words that were heard and no others: a model that is shown what nobody heard
builds on it. The words of a reply that is being spoken count as heard until the opposite is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

__all__ = ["Memory"]


class _Line:
    __slots__ = ("item", "role", "text")

    def __init__(self, role: str, text: str, item: str = "") -> None:
        self.role = role
        self.text = text
        self.item = item  # what speaks it, until it is known what was heard of it


class Memory:
    """The last ``limit`` lines of one conversation."""

    __slots__ = ("_lines",)

    def __init__(self, limit: int, past: Iterable[tuple[str, str]] = ()) -> None:
        self._lines: deque[_Line] = deque(
            (_Line("user" if role == "user" else "assistant", text) for role, text in past if text), max(1, limit)
        )

    def caller(self, text: str) -> None:
        """The caller said this."""
        self._lines.append(_Line("user", text))

    def ask(self, text: str, instead: int = 0) -> None:
        """``text`` is being answered, so it is the last that was said; it stands for the caller's last ``instead``
        lines, which had no answer."""
        for line in [line for line in reversed(self._lines) if line.role == "user"][:instead]:
            self._lines.remove(line)
        self.caller(text)

    def spoke(self, item: str, sentence: str) -> None:
        """The agent says this, in ``item``."""
        line = self._of(item)
        if line is None:
            self._lines.append(_Line("assistant", sentence, item))
        else:
            line.text = f"{line.text} {sentence}"

    def played(self, item: str) -> None:
        """All of the item was heard."""
        line = self._of(item)
        if line is not None:
            line.item = ""

    def interrupted(self, item: str, heard: str) -> None:
        """Only this was heard of the item."""
        line = self._of(item)
        if line is None:
            return
        if heard.strip():
            line.text, line.item = heard.strip(), ""
        else:
            self._lines.remove(line)

    def messages(self) -> tuple[dict[str, Any], ...]:
        """The conversation, as fresh {"role", "content"}."""
        return tuple({"role": line.role, "content": line.text} for line in self._lines)

    def _of(self, item: str) -> _Line | None:
        return next((line for line in reversed(self._lines) if line.item == item), None) if item else None
