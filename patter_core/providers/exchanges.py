"""The tools a model has used, kept and put back in their places, so that it knows later what it did and learned.

What the caller heard is somebody else's to know: a question brings the conversation. It does not bring tool calls and
their results; those are kept here, each with what the caller had said, and go back behind those words as long as they
are part of the conversation. A call whose answer has not come (the caller spoke meanwhile) is put back with a note in
place of it, for every protocol demands that each call be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..engines.engine import ToolAnswered
from ..engines.stages import Question

__all__ = ["Called", "Exchanges", "Round", "arguments_of"]

_ROUNDS = 16  # of earlier replies: older ones have had their effect on what was said
_OUTPUT = 16_000  # characters of a tool's output: some 4,000 tokens, paid for again with every reply
_UNANSWERED = '{"status":"not finished yet; the caller went on speaking"}'


class Called:
    """A tool call: as the provider knows it (``id``) and as the engine does (``call``)."""

    __slots__ = ("arguments", "call", "error", "id", "kept", "name", "output")

    def __init__(self, call: str, id: str, name: str, arguments: str, kept: dict[str, Any]) -> None:
        self.call = call
        self.id = id
        self.name = name
        self.arguments = arguments
        self.kept = kept  # what the provider wants to see again with it
        self.output = _UNANSWERED
        self.error = False


class Round:
    """One answer of the model that wanted tools. ``text`` and ``kept`` are what came before the calls; they are left
    out once the reply is over, when the conversation has what was heard of it."""

    __slots__ = ("calls", "kept", "text")

    def __init__(self, text: str, calls: list[Called], kept: dict[str, Any]) -> None:
        self.text = text
        self.calls = calls
        self.kept = kept


class _Exchange:
    """The rounds of one reply, and which words of the caller it answers: the message's place then, and its text."""

    __slots__ = ("at", "rounds", "text")

    def __init__(self, at: int, text: str) -> None:
        self.at = at
        self.text = text
        self.rounds: list[Round] = []


class Exchanges:
    """All of one call."""

    def __init__(self) -> None:
        self._past: list[_Exchange] = []
        self._now = _Exchange(-1, "")

    def begin(self, question: Question) -> None:
        """A new reply begins."""
        if self._now.rounds:
            for one in self._now.rounds:
                one.text = ""
                one.kept = {}
            self._past.append(self._now)
        while sum(len(past.rounds) for past in self._past) > _ROUNDS and len(self._past) > 1:
            del self._past[0]
        last = question.messages[-1] if question.messages else {}
        self._now = _Exchange(len(question.messages) - 1, _content(last))

    def add(self, one: Round) -> None:
        """The reply being made wants these tools."""
        self._now.rounds.append(one)

    def answered(self, answer: ToolAnswered) -> None:
        """What became of a call, of this reply or of one before it."""
        for exchange in (self._now, *self._past):
            for one in exchange.rounds:
                for called in one.calls:
                    if called.call == answer.call:
                        called.output = answer.output[:_OUTPUT]
                        called.error = answer.error

    def script(self, messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str] | Round]:
        """The conversation with its tools: (role, text), or a round of tool calls."""
        places: dict[int, list[Round]] = {}
        before = len(messages)
        for past in reversed(self._past):
            at = _find(messages, past, before)
            if at is not None:
                before = at + 1
                places[at] = past.rounds + places.get(at, [])
        for index, message in enumerate(messages):
            text = _content(message)
            role = message.get("role")
            if text.strip() and isinstance(role, str):
                yield role, text
            yield from places.get(index, ())
        yield from self._now.rounds


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _find(messages: Sequence[dict[str, Any]], past: _Exchange, before: int) -> int | None:
    """Where it belongs: at its old place, or (the oldest lines of a long call are forgotten) at the latest before the
    next exchange's where the caller said that. What they said may have grown since."""
    if not past.text:
        return None
    at: int
    for at in (past.at, *range(before - 1, -1, -1)):
        if 0 <= at < before and messages[at].get("role") == "user" and _content(messages[at]).startswith(past.text):
            return at
    return None


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as an object. Models do write broken JSON, and a server that is shown it again refuses the
    whole conversation: what is no object becomes an empty one."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
