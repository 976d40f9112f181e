"""From text that was written for a screen to text that can be spoken: no markdown, no emoji, addresses one can say.

Models write ``**bold**`` however they are asked not to, and a voice reads the stars. What is taken out is only what
cannot be spoken; numbers, signs between numbers and words with underscores stay as they are.
"""

from __future__ import annotations

import re

__all__ = ["PlainSpeech", "has_words"]

_FENCE = re.compile(r"^\s*(?:```|~~~)")
_RULE = re.compile(r"^\s*(?:[-*_=]\s*){3,}$")
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-*:?\s*)*$")
_LINE_START = re.compile(r"^\s*(?:>\s+|#{1,6}\s+|[-*+•▪◦‣]\s+(?:\[[ xX]\]\s+)?)+")
_HEADING_END = re.compile(r"\s+#+\s*$")
_IMAGE_OR_LINK = re.compile(
    r"!?\[([^\[\]\n]{0,300})\]\(([^()\s]{0,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?)[^()\n]{0,200}\)"
)
_REFERENCE = re.compile(r"\[([^\[\]\n]{1,300})\]\[[^\[\]\n]{0,100}\]")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,30}\]")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]{1,2000})>")
_URL = re.compile(r"\bhttps?://(?:www\.)?([^\s<>\"]+)", re.IGNORECASE)
_MAIL = re.compile(r"\bmailto:", re.IGNORECASE)
_CODE = re.compile(r"`+([^`]*)`+")
_HTML = re.compile(
    r"</?(?:b|i|u|em|strong|br|p|div|span|ul|ol|li|h[1-6]|code|pre|sup|sub|small|hr)\b[^<>]{0,200}/?>", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|>~])")
# Emphasis need not be closed in the sentence in which it is opened, so its marks are taken one by one: two stars
# anywhere but between numbers, one star or underscore where it touches a word on one side only. ``*67`` is dialled.
_STRONG = re.compile(r"(?<![0-9])\*{2,3}|\*{2,3}(?![0-9])")
_UNDERLINED = re.compile(r"(?<!\w)_{1,3}(?=\S)|(?<=[^\s_])_{1,3}(?!\w)")
_STAR = re.compile(r"(?<![\w*])\*(?=[^\s*])(?!\d{1,4}#?(?![\w*]))|(?<=[^\s*])\*(?![\w*])")
_STRUCK = re.compile(r"~~")
_KEYCAP = re.compile("([0-9#*])\ufe0f?\u20e3")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U0001fb00-\U0001fbef\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u23e9-\u23fa"
    "\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2934\u2935\u3030\u303d\u3297\u3299\u200d\ufe0e\ufe0f\U000e0020-\U000e007f]+"
)
_BEFORE_SIGN = re.compile(r"\s+([,.!?;:])(?=\s|$)")
_SPACES = re.compile(r"\s+")


def has_words(text: str) -> bool:
    """Is there anything in it that a voice can say?"""
    return any(map(str.isalnum, text))


class PlainSpeech:
    """Of one text, sentence by sentence: it remembers whether it is within a block of code."""

    __slots__ = ("_code",)

    def __init__(self) -> None:
        self._code = False

    def clean(self, sentence: str) -> str:
        """The sentence as it is to be spoken; '' when nothing is left."""
        return _SPACES.sub(" ", " ".join(filter(None, map(self._line, sentence.split("\n"))))).strip()

    def _line(self, line: str) -> str:
        if _FENCE.match(line):
            self._code = not self._code
            return ""
        if self._code:
            return line.strip()
        if _RULE.match(line) or _TABLE_RULE.match(line):
            return ""
        line = _LINE_START.sub("", _PLACE.sub("", line))
        line = _KEYCAP.sub(r"\1", line)
        line = _EMOJI.sub("", line)
        line = _IMAGE_OR_LINK.sub(_linked, line)
        line = _REFERENCE.sub(r"\1", line)
        line = _FOOTNOTE.sub("", line)
        line = _AUTOLINK.sub(r"\1", line)
        line = _HTML.sub(" ", line)
        kept: list[str] = []  # addresses and code: their stars and underscores are their own
        line = _CODE.sub(lambda found: _keep(found[1], kept), line)
        line = _URL.sub(lambda found: _keep_url(found[1], kept), line)
        line = _MAIL.sub("", line)
        if line.lstrip().startswith("|") or line.count("|") > 1:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            line = ", ".join(cell for cell in cells if cell)
        line = _ESCAPED.sub(lambda found: _keep(found[1], kept), line)
        line = _STRUCK.sub("", _STAR.sub("", _UNDERLINED.sub("", _STRONG.sub("", line))))
        line = _HEADING_END.sub("", line).replace("`", "")
        line = _BEFORE_SIGN.sub(r"\1", line)
        return _PLACE.sub(
            lambda found: kept[ord(found[0]) - _FIRST] if ord(found[0]) - _FIRST < len(kept) else "", line
        )


_FIRST = 0xE000
_MOST = 500
_PLACE = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + _MOST)}]")  # private use: no text anybody means to be spoken


def _keep(text: str, kept: list[str]) -> str:
    if len(kept) >= _MOST:
        return text
    kept.append(text)
    return chr(_FIRST + len(kept) - 1)


def _keep_url(rest: str, kept: list[str]) -> str:
    """``example.com/help`` of ``https://www.example.com/help/?from=chat``, and the full stop behind it."""
    address = rest.rstrip(".,;:!?)]}'\"*_~")
    after = rest[len(address) :]
    address = re.split(r"[?#]", address, maxsplit=1)[0].rstrip("/")
    return _keep(address, kept) + after


def _linked(found: re.Match[str]) -> str:
    text, target = found[1].strip(), found[2]
    return text if text or found[0].startswith("!") else target
