"""What was said, as the caller heard it: what a conversation that takes the place of a lost one has to be told."""

from __future__ import annotations

from collections import deque

__all__ = ["Memory"]

_LINES = 200  # what callbacks are shown of a call, too
_CHARACTERS = 8_000  # of it, the newest: about 2,000 tokens in front of every answer


class _Line:
    __slots__ = ("item", "role", "settled", "text")

    def __init__(self, role: str, text: str, item: str, settled: bool) -> None:
        self.role = role
        self.text = text
        self.item = item
        self.settled = settled


class Memory:
    """One call's. An agent's line is what ElevenLabs says it said until it is known what was heard of it."""

    def __init__(self, past: tuple[tuple[str, str], ...]) -> None:
        self._lines: deque[_Line] = deque(maxlen=_LINES)
        for role, text in past:
            self._lines.append(_Line(role, text, "", True))

    def user(self, text: str) -> None:
        """The caller said this."""
        self._lines.append(_Line("user", text, "", True))

    def agent(self, item: str, text: str) -> None:
        """The agent is saying this."""
        self._lines.append(_Line("assistant", text, item, False))

    def played(self, item: str) -> None:
        """All of it was heard."""
        for line in self._lines:
            if line.item == item:
                line.settled = True

    def heard(self, item: str, text: str) -> None:
        """Only so much of it was heard."""
        for line in [line for line in self._lines if line.item == item and not line.settled]:
            line.settled = True
            line.text, text = text, ""
            if not line.text:
                self._lines.remove(line)

    def corrected(self, original: str, corrected: str) -> None:
        """ElevenLabs' own guess at what was heard. It does not know what the carrier played: where we do, we know."""
        for line in reversed(self._lines):
            if line.role == "assistant" and line.text == original and not line.settled:
                line.text = corrected
                return

    @property
    def last_said(self) -> str:
        """The caller's words, where nobody has answered them yet."""
        return self._lines[-1].text if self._lines and self._lines[-1].role == "user" else ""

    @property
    def text(self) -> str:
        """The newest lines; '' when nothing was said."""
        lines: list[str] = []
        size = 0
        for line in reversed(self._lines):
            one = f"{'Caller' if line.role == 'user' else 'You'}: {line.text}"
            size += len(one) + 1
            if size > _CHARACTERS:
                break
            lines.append(one)
        return "\n".join(reversed(lines))
