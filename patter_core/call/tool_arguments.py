"""What a model wrote as the arguments of a tool, read and compared with the tool's schema.

Models err in small ways, and a question back costs the caller a second of silence. So what can only mean one thing is
taken as that: ``"5"`` where a number is wanted, 5 where text is, ``"true"`` for a bool, 5.0 for 5, ``monday`` for the
choice ``Monday``, null for something that may be left out, nothing at all for no arguments. Everything else is told
back, with the path, in words a model can act on.

Of JSON schema: type, enum, const, required, properties, additionalProperties, items, anyOf, oneOf, minimum, maximum and
their exclusive kinds, minLength, maxLength, minItems, maxItems. Other keywords mean nothing here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from ..plain import plain

__all__ = ["MOST_CHARS", "read_arguments"]

MOST_CHARS = 65_536
"""Of arguments as text: a model that writes more has run away."""
_DEPTH = 16
_SHOWN = 60
_PROBLEMS = 5
_PROBLEM_CHARS = 200
_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")
_WHOLE = 1 << 53


def read_arguments(text: str, schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The arguments, and what is wrong with them ('' for nothing)."""
    if len(text) > MOST_CHARS:
        return {}, f"the arguments are longer than {MOST_CHARS} characters"
    try:
        value = plain(msgspec.json.decode(text)) if text.strip() else {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as exc:
        return {}, f"the arguments are not JSON ({str(exc)[:_PROBLEM_CHARS]})"
    if not isinstance(value, dict):
        return {}, "the arguments must be a JSON object"
    problems: list[str] = []
    fixed = _object(value, schema, "", problems, 0)
    return fixed, "; ".join(problem[:_PROBLEM_CHARS] for problem in problems[:_PROBLEMS])


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _at(path: str) -> str:
    return path or "the arguments"


def _fit(value: Any, schema: Any, path: str, problems: list[str], depth: int) -> Any:
    """``value`` as the schema wants it; what it cannot be made into is added to ``problems``."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return value
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            value = _one_of(value, schema[key], path, problems, depth)
    if "const" in schema and not _same(value, schema["const"]):
        problems.append(f"{_at(path)} must be {_shown(schema['const'])}, not {_shown(value)}")
        return value
    kinds = schema.get("type")
    if kinds is not None:
        value, fits = _typed(value, kinds if isinstance(kinds, list) else [kinds])
        if not fits:
            wanted = " or ".join(str(kind) for kind in kinds) if isinstance(kinds, list) else kinds
            problems.append(f"{_at(path)} must be of type {wanted}, not {_shown(value)}")
            return value
    if isinstance(schema.get("enum"), list):
        value = _chosen(value, schema["enum"], path, problems)
    _bounded(value, schema, path, problems)
    if isinstance(value, dict):
        return _object(value, schema, path, problems, depth)
    if isinstance(value, list) and "items" in schema:
        return [_fit(one, schema["items"], f"{path}[{at}]", problems, depth + 1) for at, one in enumerate(value)]
    return value


def _object(
    value: dict[str, Any], schema: dict[str, Any], path: str, problems: list[str], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    more = schema.get("additionalProperties", True)
    prefix = f"{path}." if path else ""
    out: dict[str, Any] = {}
    for key, one in value.items():
        if key in properties:
            if one is None and key not in required and not _may_be_null(properties[key], 0):
                continue
            out[key] = _fit(one, properties[key], prefix + key, problems, depth + 1)
        elif more is False:
            known = ", ".join(str(name) for name in properties) or "none"
            problems.append(f"there is no {_shown(prefix + key)}; there are: {known}")
        else:
            out[key] = _fit(one, more, prefix + key, problems, depth + 1)
    problems += [f"{prefix}{key} is missing" for key in required if key not in value]
    return out


def _may_be_null(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return True
    kinds = schema.get("type")
    if kinds is not None:
        return "null" in kinds if isinstance(kinds, list) else bool(kinds == "null")
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return any(_may_be_null(one, depth + 1) for one in schema[key])
    if isinstance(schema.get("enum"), list):
        return None in schema["enum"]
    return True


def _one_of(value: Any, schemas: list[Any], path: str, problems: list[str], depth: int) -> Any:
    """The first that fits as it is, else the first it can be made to fit."""
    fixed: list[Any] = []
    first: list[str] = []
    for schema in schemas:
        found: list[str] = []
        fit = _fit(value, schema, path, found, depth + 1)
        if not found:
            if _same(fit, value):
                return fit
            fixed.append(fit)
        first = first or found
    if fixed:
        return _nearest(fixed, value)
    problems += first
    return value


def _nearest(made: list[Any], value: Any) -> Any:
    """What is still equal (5 for 5.0), else the first."""
    return next((one for one in made if one == value), made[0])


def _same(one: Any, other: Any) -> bool:
    """Equal, and not as True is to 1."""
    return type(one) is type(other) and bool(one == other)


def _typed(value: Any, kinds: list[Any]) -> tuple[Any, bool]:
    if any(_is(value, kind) for kind in kinds):
        return value, True
    made = [one for kind in kinds if (one := _made(value, kind)) is not None]
    if made:
        return _nearest(made, value), True
    return value, not any(isinstance(kind, str) and kind in _KINDS for kind in kinds)


_KINDS: dict[Any, Any] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
    "integer": int,
    "number": int | float,
}


def _is(value: Any, kind: Any) -> bool:
    of = _KINDS.get(kind) if isinstance(kind, str) else None
    return of is not None and isinstance(value, of) and (kind == "boolean" or not isinstance(value, bool))


def _made(value: Any, kind: Any) -> Any:
    """``value`` as one of ``kind``, where that is beyond doubt; else None."""
    if kind == "integer":
        if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
            return int(value)
        number = _number(value)
        return int(number) if number is not None and float(number).is_integer() else None
    if kind == "number":
        return _number(value)
    if kind == "boolean" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _number(value: Any) -> int | float | None:
    if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()) is None:
        return None
    text = value.strip()
    return float(text) if "." in text else int(text)


def _chosen(value: Any, choices: list[Any], path: str, problems: list[str]) -> Any:
    if any(_same(value, one) for one in choices):
        return value
    alike: list[Any] = [
        one for one in choices if isinstance(one, int | float) and not isinstance(one, bool) and one == value
    ]
    if isinstance(value, str):
        alike = [one for one in choices if isinstance(one, str) and one.casefold() == value.strip().casefold()]
        alike = alike or [one for one in choices if not isinstance(one, str) and _shown(one) == value.strip()]
    if len(alike) == 1 and not isinstance(value, bool):
        return alike[0]
    listed = ", ".join(_shown(one) for one in choices[:20])
    problems.append(f"{_at(path)} must be one of {listed}; not {_shown(value)}")
    return value


_LIMITS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("minimum", "at least", operator.lt),
    ("exclusiveMinimum", "more than", operator.le),
    ("maximum", "at most", operator.gt),
    ("exclusiveMaximum", "less than", operator.ge),
)


def _bounded(value: Any, schema: dict[str, Any], path: str, problems: list[str]) -> None:
    def bound(key: str) -> Any:
        found = schema.get(key)
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None

    if isinstance(value, int | float) and not isinstance(value, bool):
        for key, words, breaks in _LIMITS:
            limit = bound(key)
            if limit is not None and breaks(value, limit):
                problems.append(f"{_at(path)} must be {words} {limit}, not {_shown(value)}")
    elif isinstance(value, str | list):
        keys, unit = (
            (("minLength", "maxLength"), "characters")
            if isinstance(value, str)
            else (("minItems", "maxItems"), "items")
        )
        least, most = bound(keys[0]), bound(keys[1])
        if least is not None and len(value) < least:
            problems.append(f"{_at(path)} must have at least {least} {unit}")
        if most is not None and len(value) > most:
            problems.append(f"{_at(path)} must have at most {most} {unit}")
