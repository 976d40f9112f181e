"""What must not be said: terms looked for in text, whole or while it is still coming.

Text and terms are folded first (NFKC, case, white space, typographic quotes, characters one cannot see), so that wide
letters, or letters with nothing visible between them, are what they look like. A term is looked for as a whole word:
``ass`` is in neither *pass* nor *assume*. Where one writes without spaces (Chinese, Japanese, Thai, ...), or the term
begins or ends with a sign (``C++``, ``***``), that end needs no edge of a word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .policy import GuardSpec

__all__ = ["Guards", "Watch", "fold"]

_SPACES = re.compile(r"\s+")
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_LIKE_ASCII = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "‐": "-", "–": "-"})
#: Scripts whose words are not set apart, or (Korean) carry their endings: Thai to Khmer, kana, Han, Hangul.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
#: Signs that go on with a word although they are no letters: accents, points, the vowels of India's scripts.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
_WORD = rf"(?:[^\W_{_SPACELESS}]|[{_MARKS}])"
_IS_WORD = re.compile(_WORD)


def fold(text: str) -> str:
    """``text`` as it is compared. Folding what was folded changes nothing, also with more text behind it."""
    if not text.isascii():
        text = _UNSEEN.sub("", text)
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_LIKE_ASCII)
    else:
        text = text.lower()
    return _SPACES.sub(" ", text)


class _Terms:
    """All terms of some guards as one expression."""

    __slots__ = ("longest", "pattern", "whose")

    def __init__(self, guards: tuple[GuardSpec, ...]) -> None:
        kinds: dict[tuple[bool, bool], dict[int, list[str]]] = {}
        self.longest = 0
        for number, guard in enumerate(guards):
            for term in sorted(
                {fold(one).strip() for one in guard.blocked_terms} - {""}, key=lambda one: (-len(one), one)
            ):
                self.longest = max(self.longest, len(term))
                edges = (_IS_WORD.match(term[0]) is not None, _IS_WORD.match(term[-1]) is not None)
                kinds.setdefault(edges, {}).setdefault(number, []).append(re.escape(term))
        self.whose: list[int] = []  # of each group of the expression, the guard
        parts = []
        for (left, right), terms in kinds.items():
            self.whose += terms
            groups = "|".join(f"({'|'.join(each)})" for each in terms.values())
            parts.append(("" if not left else f"(?<!{_WORD})") + f"(?:{groups})" + (f"(?!{_WORD})" if right else ""))
        self.pattern = re.compile("|".join(parts)) if parts else None


_terms = lru_cache(maxsize=64)(
    _Terms
)  # every call of an agent has the same guards, and compiling many terms takes long


class Guards:
    """The guardrails of one agent."""

    __slots__ = ("_specs", "_terms")

    def __init__(self, specs: tuple[GuardSpec, ...]) -> None:
        self._specs = specs
        self._terms = _terms(specs)

    def __bool__(self) -> bool:
        return bool(self._specs)

    @property
    def checks(self) -> tuple[GuardSpec, ...]:
        """Those with a handler of the application's to ask."""
        return tuple(spec for spec in self._specs if spec.check is not None)

    @property
    def longest(self) -> int:
        """Of the terms, in characters; 0 when there is none."""
        return self._terms.longest

    def blocked(self, text: str) -> GuardSpec | None:
        """The guard one of whose terms is in ``text``, which is whole. Handlers are not asked here."""
        return self.found(fold(text)) if self._terms.pattern is not None else None

    def found(self, folded: str, start: int = 0, *, whole: bool = True) -> GuardSpec | None:
        """As ``blocked``, in text that is folded, from ``start`` on. Text that is not ``whole`` may go on: what ends
        with it may yet be the beginning of another word."""
        terms = self._terms
        if terms.pattern is None:
            return None
        for match in terms.pattern.finditer(folded, start):
            if whole or match.end() < len(folded) or _IS_WORD.match(folded[-1]) is None:
                assert match.lastindex is not None
                return self._specs[terms.whose[match.lastindex - 1]]
        return None

    def watch(self) -> Watch:
        """For text that is still coming."""
        return Watch(self)


class Watch:
    """Looks at one text while it comes. Each piece is looked at once, with as much of what was before it as a term is
    long. A hit is told once; the text is then lost anyway."""

    __slots__ = ("_guards", "_hit", "_tail", "_whole_tail")

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._tail = ""
        self._whole_tail = True  # nothing was before it
        self._hit = False

    def feed(self, piece: str) -> GuardSpec | None:
        """The text goes on with ``piece``. A word at its very end waits for what follows, or for ``done``."""
        if self._hit or not self._guards.longest:
            return None
        text = fold(self._tail + piece)
        spec = self._look(text, whole=False)
        room = self._guards.longest + 1  # and the character before it, which tells whether a word begins there
        if len(text) > room:
            self._whole_tail = False
            text = text[-room:]
        self._tail = text
        return spec

    def done(self) -> GuardSpec | None:
        """The text is complete. What is fed from now on is another text."""
        spec = None if self._hit else self._look(self._tail, whole=True)
        self._tail = ""
        self._whole_tail = True
        self._hit = False
        return spec

    def _look(self, text: str, whole: bool) -> GuardSpec | None:
        spec = self._guards.found(text, 0 if self._whole_tail else 1, whole=whole)
        self._hit = spec is not None
        return spec
