"""What a function's docstring says of it and of its parameters, in the three ways people write that.

Google (``Args:``), NumPy (``Parameters`` underlined) and reStructuredText (``:param name:``). Anything else is summary.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["read_docstring"]

_GOOGLE = re.compile(r"(?:args|arguments|parameters|params|keyword args|keyword arguments)\s*:", re.IGNORECASE)
_OTHER_GOOGLE = re.compile(
    r"(?:returns?|raises?|yields?|examples?|notes?|see also|warnings?|attributes|todo|references)\s*:", re.IGNORECASE
)
_UNDERLINE = re.compile(r"-{3,}\s*")
_PARAMETERS = re.compile(r"(?:other )?parameters\s*", re.IGNORECASE)
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\w+)*)\s*(?::.*)?")
_FIELD = re.compile(r":(\w+)(?:\s+([^:]*))?:\s*(.*)")
_PARAM_FIELDS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The summary (everything before the first section) and what is said of each parameter."""
    lines = inspect.cleandoc(text or "").splitlines()
    summary: list[str] = []
    named: dict[str, list[str]] = {}
    at = 0
    began = False  # a section has: what follows it is no summary
    while at < len(lines):
        line = lines[at]
        if _indent(line) == 0 and _GOOGLE.fullmatch(line.strip()):
            at, began = _google(lines, at + 1, named), True
        elif _underlined(lines, at):
            began = True
            is_parameters = _PARAMETERS.fullmatch(line) is not None
            at = _numpy(lines, at + 2, named) if is_parameters else _skip_numpy(lines, at + 2)
        elif field := _FIELD.match(line):
            at, began = _rest(lines, at + 1, field, named), True
        elif _indent(line) == 0 and _OTHER_GOOGLE.fullmatch(line.strip()):
            at, began = _block(lines, at + 1), True
        else:
            if not began:
                summary.append(line)
            at += 1
    return _joined(summary), {name: _joined(said) for name, said in named.items() if _joined(said)}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    """Lines of one paragraph become one line; paragraphs stay apart."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines).strip())
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _underlined(lines: list[str], at: int) -> bool:
    return at + 1 < len(lines) and bool(lines[at].strip()) and _UNDERLINE.fullmatch(lines[at + 1]) is not None


def _block(lines: list[str], at: int) -> int:
    """Past the lines that belong to the heading before ``at``."""
    while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) > 0):
        at += 1
    return at


def _google(lines: list[str], at: int, named: dict[str, list[str]]) -> int:
    end = _block(lines, at)
    body = [line for line in lines[at:end] if line.strip()]
    least = min((_indent(line) for line in body), default=0)
    said: list[str] = []
    for line in body:
        if _indent(line) == least:
            entry = _ENTRY.match(line.strip())
            said = named.setdefault(entry[1], []) if entry else []
            if entry:
                said.append(entry[2])
        else:
            said.append(line)
    return end


def _numpy(lines: list[str], at: int, named: dict[str, list[str]]) -> int:
    said: list[list[str]] = []
    while at < len(lines) and not _underlined(lines, at):
        line = lines[at]
        if line.strip() and _indent(line) == 0:
            entry = _NUMPY_ENTRY.fullmatch(line)
            if entry is None:
                break
            names = [name.strip().lstrip("*") for name in entry[1].split(",")]
            said = [named.setdefault(name, []) for name in names]
        else:
            for each in said:
                each.append(line)
        at += 1
    return at


def _skip_numpy(lines: list[str], at: int) -> int:
    while at < len(lines) and not _underlined(lines, at):
        at += 1
    return at


def _rest(lines: list[str], at: int, field: re.Match[str], named: dict[str, list[str]]) -> int:
    """A field and the indented lines that go on with it. ``:param int count:`` names its last word."""
    words = (field[2] or "").split()
    said = named.setdefault(words[-1].lstrip("*"), []) if words and field[1] in _PARAM_FIELDS else []
    said.append(field[3])
    while at < len(lines) and lines[at].strip() and _indent(lines[at]) > 0:
        said.append(lines[at])
        at += 1
    return at
