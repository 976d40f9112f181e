"""Plain data: what may cross from user code into the core, and into a trace, unchanged."""

from __future__ import annotations

from typing import Any

__all__ = ["plain"]

_DEPTH = 16
_NODES = 100_000
"""Values in one value: more is a mistake, or something that contains itself many times over."""
_DIGITS = 1 << 1024
"""Whole numbers up to here become decimal texts; turning longer ones into text takes the interpreter too long."""


def plain(value: Any) -> Any:
    """``value`` as JSON-codable data. What has no such form becomes ``{"unsupported": <type name>}``, never an error:
    user code may return anything. Whole numbers beyond 64 bits become text, NaN and infinities None, half of a
    surrogate pair a question mark; sets and other sequences than list and tuple are unsupported, for their order means
    nothing."""
    return _plain(value, 0, [_NODES])


def _plain(value: Any, depth: int, room: list[int]) -> Any:
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    room[0] -= 1
    try:
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int):
            number = int.__index__(value)
            if -(1 << 63) <= number < 1 << 63:
                return number
            return str(number) if -_DIGITS < number < _DIGITS else {"unsupported": kind.__name__}
        if isinstance(value, float):
            figure = float.__float__(value)
            return figure if figure - figure == 0 else None
        if depth < _DEPTH and room[0] > 0:
            if isinstance(value, list | tuple | dict) and len(value) > room[0]:
                return {"unsupported": f"{kind.__name__} of {len(value)}"}
            if isinstance(value, list | tuple):
                return [_plain(item, depth + 1, room) for item in value]
            if isinstance(value, dict):
                return {_key(key): _plain(item, depth + 1, room) for key, item in value.items()}
    except Exception:  # a subclass of somebody's whose methods raise
        pass
    return {"unsupported": kind.__name__}


def _text(value: str) -> str:
    text = str.__str__(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _key(key: Any) -> str:
    """As text: JSON has no other keys."""
    return _text(key) if isinstance(key, str) else _text(str(key))
