"""Price vectors against ``patter_core``: ``run(case)`` says what is wrong, or None. Money is whole femtodollars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patter_core.call.pricing import PriceTable, cost_of, cost_of_minutes, merge, saved_by_cache
from patter_core.engines.usage import Usage
from patter_core.errors import ConfigError

__all__ = ["OPERATIONS", "run"]


def _table(given: dict[str, Any]) -> PriceTable:
    table = PriceTable()
    for layer in given["prices"]:
        table = merge(table, layer)
    return table


def _usage(given: dict[str, Any]) -> Usage:
    fields: dict[str, Any] = {"stage": "llm", **given["usage"]}
    if "audio_ms" in fields:
        fields["audio_us"] = fields.pop("audio_ms") * 1000
    return Usage(**fields)


def _cost(given: dict[str, Any]) -> Any:
    return cost_of(_usage(given), _table(given))


def _saved(given: dict[str, Any]) -> Any:
    return saved_by_cache(_usage(given), _table(given))


def _carrier(given: dict[str, Any]) -> Any:
    return cost_of_minutes(_table(given), given["carrier"], given["direction"], given["duration_ms"] * 1000)


def _refused(given: dict[str, Any]) -> Any:
    try:
        _table(given)
    except ConfigError:
        return True
    return False


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "cost": _cost,
    "saved": _saved,
    "carrier": _carrier,
    "refused": _refused,
}
"""What a case's ``op`` asks for."""


def run(case: dict[str, Any]) -> str | None:
    """What is wrong with our answer, or None."""
    operation = OPERATIONS.get(case["in"]["op"])
    if operation is None:
        return f"no operation {case['in']['op']}"
    found, expected = operation(case["in"]), case["out"]
    same = found == expected and type(found) is type(expected)
    return None if same else f"{found!r} instead of {expected!r}"
