"""What a model wrote as arguments: what is taken as meant, and what is told back."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.tool_arguments import MOST_CHARS, read_arguments


def one(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}, "required": ["x"], "additionalProperties": False}


def fit(schema: dict[str, Any], value: Any) -> tuple[Any, str]:
    got, problem = read_arguments(msgspec.json.encode({"x": value}).decode(), one(schema))
    return got.get("x"), problem


STR, INT, NUM, BOOL = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
DAYS = {"type": "string", "enum": ["Monday", "Tuesday"]}


@pytest.mark.parametrize(
    ("schema", "value", "taken"),
    [
        (STR, "a", "a"),
        (INT, 5, 5),
        (NUM, 5, 5),
        (NUM, 5.5, 5.5),
        (BOOL, False, False),
        ({}, [None], [None]),
        ({"type": "array", "items": INT}, [1, "2"], [1, 2]),
        ({"type": ["string", "null"]}, None, None),
        (INT, "5", 5),
        (INT, " -5 ", -5),
        (INT, 5.0, 5),
        (INT, "5.0", 5),
        (INT, "٥", 5),
        (NUM, "5.5", 5.5),
        (NUM, "5", 5),
        (STR, 5, "5"),
        (STR, 5.5, "5.5"),
        (BOOL, "true", True),
        (BOOL, "False", False),
        (DAYS, "Monday", "Monday"),
        (DAYS, " monday ", "Monday"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": [1, 2]}, 2.0, 2),
        ({"type": "integer", "enum": [1, 2]}, "2", 2),
        ({"enum": [None, True]}, True, True),
        ({"anyOf": [INT, STR]}, "5", "5"),
        ({"anyOf": [INT, BOOL]}, "5", 5),
        ({"oneOf": [INT, {"type": "null"}]}, None, None),
        ({"anyOf": [{"type": "null"}, one(INT)]}, {"x": "1"}, {"x": 1}),
        ({"type": "object"}, {"any": 1}, {"any": 1}),
        ({"type": "object", "additionalProperties": INT}, {"a": "1"}, {"a": 1}),
        ({"const": 5}, 5, 5),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 5, 5),
        ({"type": "invented"}, "x", "x"),
        ({"type": ["integer", "string"]}, 5, 5),
        ({"type": "string", "maxLength": 2}, "ab", "ab"),
        ({"type": 5}, "x", "x"),
        ({"items": 5, "type": "array"}, [1], [1]),
        ({"type": "string", "pattern": "("}, "x", "x"),
    ],
)
def test_taken(schema: dict[str, Any], value: Any, taken: Any) -> None:
    got, problem = fit(schema, value)
    assert (problem, got, type(got)) == ("", taken, type(taken))


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        (STR, None, "x must be of type string, not null"),
        (STR, True, "x must be of type string, not true"),
        (STR, ["a"], "type string"),
        (INT, "five", 'x must be of type integer, not "five"'),
        (INT, 5.5, "integer"),
        (INT, True, "integer"),
        (INT, "", "integer"),
        (INT, "1e9", "integer"),
        (INT, "9" * 16, "integer"),
        (NUM, "1_000", "number"),
        (BOOL, 1, "boolean"),
        (BOOL, "yes", "boolean"),
        ({"type": "array"}, "a", "array"),
        (DAYS, "Sunday", 'x must be one of "Monday", "Tuesday"; not "Sunday"'),
        ({"enum": [1, 2]}, 3, "one of 1, 2; not 3"),
        ({"enum": [1]}, True, "one of 1"),
        ({"const": 1}, True, "x must be 1, not true"),
        ({"anyOf": [INT, BOOL]}, "x", "integer"),
        ({"type": ["integer", "null"]}, "x", "type integer or null"),
        ({"type": "integer", "minimum": 1}, "0", "x must be at least 1, not 0"),
        ({"type": "number", "maximum": 1}, 1.5, "at most 1"),
        ({"type": "number", "exclusiveMinimum": 1}, 1, "more than 1"),
        ({"type": "number", "exclusiveMaximum": 1}, 1, "less than 1"),
        ({"type": "string", "minLength": 2}, "a", "at least 2 characters"),
        ({"type": "string", "maxLength": 2}, "abc", "at most 2 characters"),
        ({"type": "array", "minItems": 1}, [], "at least 1 items"),
        ({"type": "array", "maxItems": 1}, [1, 2], "at most 1 items"),
        ({"type": "array", "items": INT}, [1, "b"], 'x[1] must be of type integer, not "b"'),
        (one(INT), {}, "x.x is missing"),
        (one(INT), {"x": "b"}, "x.x must be"),
        (one(INT), {"x": 1, "y": 2}, 'there is no "x.y"; there are: x'),
        ({"type": "object", "additionalProperties": INT}, {"a": "b"}, "x.a must be of type integer"),
    ],
)
def test_told_back(schema: dict[str, Any], value: Any, told: str) -> None:
    _, problem = fit(schema, value)
    assert told in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("nonsense", "not JSON"),
        ("[1]", "must be a JSON object"),
        ("null", "JSON object"),
        ("5", "JSON object"),
        ("[" * 100_000, "longer than"),
        ("[" * 60_000, "not JSON"),
        ("{}", "x is missing"),
        ("", "x is missing"),
        ("  ", "x is missing"),
        ('{"x":1,"x":', "not JSON"),
        ("{'x': 1}", "not JSON"),
        ('{"x": NaN}', "not JSON"),
        ('{"x": "\ud800"}', "not JSON"),
        ('{"X": 1}', "x is missing"),
        (" " * (MOST_CHARS + 1), "longer than"),
    ],
)
def test_text_that_is_no_object(text: str, told: str) -> None:
    assert told in read_arguments(text, one(INT))[1]


def test_nothing_is_no_arguments() -> None:
    assert read_arguments("", {"type": "object", "properties": {}}) == ({}, "")
    assert read_arguments(" \n", {}) == ({}, "")
    assert read_arguments('{"any": 1}', {}) == ({"any": 1}, "")


def test_null_for_what_may_be_left_out_is_leaving_it_out() -> None:
    schema = {
        "type": "object",
        "properties": {"a": INT, "b": {"type": ["integer", "null"]}, "c": {}, "d": {"anyOf": [INT]}},
    }
    assert read_arguments('{"a": null, "b": null, "c": null, "d": null}', schema) == ({"b": None, "c": None}, "")


def test_problems_are_few_and_short() -> None:
    names = [f"n{at}" for at in range(100)]
    schema = {"type": "object", "properties": dict.fromkeys(names, INT), "required": names}
    _, problem = read_arguments(msgspec.json.encode(dict.fromkeys(names, "x" * 500)).decode(), schema)
    assert problem.count(";") == 4
    assert len(problem) < 1_100


def test_huge_numbers_are_still_plain_data() -> None:
    got, _ = read_arguments('{"x": 99999999999999999999999999, "y": 1e999}', {})
    assert msgspec.json.decode(msgspec.json.encode(got)) == got


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["", "a", "b", "5", "true", "1.5"])
    | st.floats(-5, 5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
SCHEMAS = st.recursive(
    st.builds(lambda kind: {"type": kind}, KINDS | st.lists(KINDS, min_size=1, max_size=3, unique=True))
    | st.builds(
        lambda values: {"enum": values}, st.lists(st.sampled_from(["a", "b", 1, 2, None]), min_size=1, unique=True)
    )
    | st.just({}),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner)
        | st.builds(
            lambda properties, needed, more: {
                "type": "object",
                "properties": properties,
                "required": [key for key in properties if key in needed],
                "additionalProperties": more,
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.sets(st.sampled_from("abc")),
            st.booleans() | inner,
        )
    ),
    max_leaves=6,
)


@given(SCHEMAS, JSON)
def test_what_is_taken_is_valid_and_what_is_valid_is_taken_as_it_is(schema: dict[str, Any], value: Any) -> None:
    whole = one(schema)
    got, problem = read_arguments(msgspec.json.encode({"x": value}).decode(), whole)
    valid = jsonschema.Draft202012Validator(whole)
    if not problem:
        assert valid.is_valid(got)
    if valid.is_valid({"x": value}):
        assert problem == ""
        assert got == {"x": value}


@given(st.text() | st.text('{}[]":,x123 '))
def test_no_text_raises(text: str) -> None:
    got, problem = read_arguments(text, one(INT))
    assert problem or isinstance(got["x"], int)
