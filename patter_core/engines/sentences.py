"""Cuts a reply that arrives in pieces into sentences, so that speech starts before the reply is whole."""

from __future__ import annotations

import re

__all__ = ["Sentences"]

# An ender, perhaps a closing quote or bracket, then white space (Latin), or an ender of a script without spaces.
_END = re.compile(r"""(?:[.!?…]+["'”’)\]]*(?=\s)|[。！？]+["'”’)\]]*|\n+)""")
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "etc", "e.g", "i.e", "no", "inc", "ltd", "co", "corp"}
    | {"dept", "approx", "apt", "ave", "blvd", "u.s", "a.m", "p.m"}
)
_LONGEST = 24  # characters looked back for an abbreviation: looking at all of them is quadratic
_ITEM = 3  # digits of a number that begins an item of a list
_MAX = 300  # characters without an end: cut at a comma or a space rather than let the caller wait


class Sentences:
    """``push`` text as it comes, get whole sentences back; ``flush`` gives the rest."""

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = ""

    def push(self, text: str) -> list[str]:
        """Add text; return the sentences it completed, stripped, none empty."""
        self._text += text
        out: list[str] = []
        start = 0
        for match in _END.finditer(self._text):
            if self._is_abbreviation(start, match):
                continue
            sentence = self._text[start : match.end()].strip()
            if sentence:
                out.append(sentence)
            start = match.end()
        self._text = self._text[start:]
        while len(self._text) > _MAX:
            cut = max(self._text.rfind(", ", 0, _MAX) + 1, 0) or self._text.rfind(" ", 0, _MAX)
            cut = cut if cut > 0 else _MAX
            out.append(self._text[:cut].strip())
            self._text = self._text[cut:]
        return [sentence for sentence in out if sentence]

    def flush(self) -> list[str]:
        """The rest, if there is any."""
        rest, self._text = self._text.strip(), ""
        return [rest] if rest else []

    def _is_abbreviation(self, start: int, match: re.Match[str]) -> bool:
        if not match.group().startswith(".") or len(match.group()) > 1:
            return False
        words = self._text[max(start, match.start() - _LONGEST) : match.start()].split()
        if not words:
            return False
        if len(words) == 1 and words[0].isdecimal() and len(words[0]) <= _ITEM:
            return True  # "1. First": the number belongs to what follows
        word = words[-1].lstrip("(\"'“‘").lower()
        return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
