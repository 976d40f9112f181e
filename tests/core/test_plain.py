"""User code may return anything; what crosses is JSON, and nothing raises."""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.plain import plain


class Colour(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 7


class Nasty(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")

    def encode(self, *args: Any) -> bytes:
        raise RuntimeError("no")


class NastyKey:
    def __str__(self) -> str:
        raise RuntimeError("no")


class NastyDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (10**5_000, {"unsupported": "int"}),
        (-(10**5_000), {"unsupported": "int"}),
        (1.5, 1.5),
        (float("nan"), None),
        (float("inf"), None),
        (-float("inf"), None),
        ("text", "text"),
        ("tschüß", "tschüß"),
        ("half \ud800 pair", "half ? pair"),
        (Colour.RED, "red"),
        (Level.HIGH, 7),
        (Nasty("fine"), "fine"),
        (Nasty("fïne"), "fïne"),
        (np.float64(2.5), 2.5),
        (np.int64(2), {"unsupported": "int64"}),
        (b"bytes", {"unsupported": "bytes"}),
        ({1, 2}, {"unsupported": "set"}),
        (object(), {"unsupported": "object"}),
        ((1, [2]), [1, [2]]),
        ({1: "a", None: "b", "\ud800": "c"}, {"1": "a", "None": "b", "?": "c"}),
        ({NastyKey(): 1}, {"unsupported": "dict"}),
        (NastyDict(a=1), {"unsupported": "NastyDict"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_depth_and_size_are_bounded() -> None:
    deep: Any = "bottom"
    for _ in range(15):
        deep = [deep]
    assert "bottom" in json.dumps(plain([deep]))
    assert "bottom" not in json.dumps(plain([[deep]]))
    endless: list[Any] = []
    endless.append(endless)
    assert "unsupported" in json.dumps(plain(endless))
    bomb: Any = []
    for _ in range(15):
        bomb = [bomb] * 20
    assert len(json.dumps(plain(bomb))) < 10_000_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.characters(categories=["Cs", "L"]) | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@given(JSON)
def test_json_crosses_unchanged(value: Any) -> None:
    assert plain(value) == value
    assert msgspec.json.decode(msgspec.json.encode(plain(value))) == value


@given(ANYTHING)
def test_whatever_comes_out_is_json_and_stays_the_same(value: Any) -> None:
    found = plain(value)
    assert plain(found) == found
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
