"""Schemas from signatures: every type, every way to describe an argument, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Required, TypedDict, Union

import jsonschema
import msgspec
import pytest

from patter_core.docstrings import read_docstring
from patter_core.errors import ConfigError
from patter_core.tool_schema import ToolContext, context_parameter, schema_of, summary_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(TypedDict):
    street: str
    number: NotRequired[int]


class Loose(TypedDict, total=False):
    street: Required[str]
    number: Annotated[int, "of the house"]


@dataclasses.dataclass
class Person:
    name: str
    age: int = 0
    address: Address | None = None


class Order(msgspec.Struct):
    item: Annotated[str, "what"]
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1


@dataclasses.dataclass
class Tree:
    children: list[Tree]


UserId = NewType("UserId", str)
STR = {"type": "string"}
INT = {"type": "integer"}
ADDRESS = {
    "type": "object",
    "properties": {"street": STR, "number": INT},
    "required": ["street"],
    "additionalProperties": False,
}
TYPES: list[tuple[Any, dict[str, Any]]] = [
    (str, STR),
    (int, INT),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (Any, {}),
    (object, {}),
    (list, {"type": "array"}),
    (list[int], {"type": "array", "items": INT}),
    (Sequence[str], {"type": "array", "items": STR}),
    (set[str], {"type": "array", "items": STR}),
    (tuple[int, ...], {"type": "array", "items": INT}),
    (tuple[int, int], {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}),
    (dict, {"type": "object"}),
    (dict[str, int], {"type": "object", "additionalProperties": INT}),
    (dict[str, Any], {"type": "object"}),
    (Mapping[str, str], {"type": "object", "additionalProperties": STR}),
    (str | None, {"type": ["string", "null"]}),
    (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045
    (Union[int, str], {"type": ["integer", "string"]}),  # noqa: UP007
    (list[int] | None, {"anyOf": [{"type": "array", "items": INT}, {"type": "null"}]}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1, None], {"type": ["string", "integer", "null"], "enum": ["a", 1, None]}),
    (Colour, {"type": "string", "enum": ["red", "blue"]}),
    (Level, {"type": "integer", "enum": [1, 2]}),
    (Literal[Colour.RED], {"type": "string", "enum": ["red"]}),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
    (Annotated[str, msgspec.Meta(min_length=1)], {"type": "string", "minLength": 1}),
    (Annotated[list[int], msgspec.Meta(max_length=3)], {"type": "array", "items": INT, "maxItems": 3}),
    (UserId, STR),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (Address, ADDRESS),
    (
        Loose,
        {
            "type": "object",
            "properties": {"street": STR, "number": {"type": "integer", "description": "of the house"}},
            "required": ["street"],
            "additionalProperties": False,
        },
    ),
    (
        Person,
        {
            "type": "object",
            "properties": {"name": STR, "age": INT, "address": {"anyOf": [ADDRESS, {"type": "null"}]}},
            "required": ["name"],
            "additionalProperties": False,
        },
    ),
    (
        Order,
        {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "what"},
                "count": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["item"],
            "additionalProperties": False,
        },
    ),
]


def with_type(kind: Any, *default: Any) -> Any:
    def function(x=None):  # type: ignore[no-untyped-def]
        return x

    function.__annotations__ = {"x": kind}
    function.__defaults__ = default
    return function


@pytest.mark.parametrize(("kind", "schema"), TYPES, ids=lambda one: str(one)[:40])
def test_a_type_becomes_a_schema(kind: Any, schema: dict[str, Any]) -> None:
    whole = schema_of(with_type(kind))
    assert whole == {"type": "object", "properties": {"x": schema}, "required": ["x"], "additionalProperties": False}
    jsonschema.Draft202012Validator.check_schema(whole)


def test_a_default_makes_it_optional_and_none_needs_no_null() -> None:
    def book(name: str, seats: int = 2, note: str | None = None, tags: list[str] | None = None) -> None: ...

    assert schema_of(book) == {
        "type": "object",
        "properties": {"name": STR, "seats": INT, "note": STR, "tags": {"type": "array", "items": STR}},
        "required": ["name"],
        "additionalProperties": False,
    }


def test_no_arguments() -> None:
    def now() -> None: ...

    assert schema_of(now) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize("annotation", [ToolContext, Optional[ToolContext], Annotated[ToolContext, "x"], None])  # noqa: UP045
@pytest.mark.parametrize("name", ["context", "call", "about"])
def test_the_context_is_left_out(annotation: Any, name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def f(x: int, {name}=None): ...", scope)
    function = scope["f"]
    if annotation is not None:
        function.__annotations__[name] = annotation
    if annotation is None and name == "about":
        with pytest.raises(ConfigError, match="about has no type"):
            schema_of(function)
    else:
        assert context_parameter(function) == name
        assert list(schema_of(function)["properties"]) == ["x"]


class Bookings:
    def book(self, name: str) -> None:
        """Book a table.

        Args:
            name: Who comes.
        """

    def __call__(self, seats: int) -> None:
        """Count."""

    @classmethod
    def all(cls, limit: int = 5) -> None: ...

    @staticmethod
    def one(key: str) -> None: ...


def test_methods_objects_and_partials() -> None:
    bookings = Bookings()
    assert schema_of(bookings.book)["properties"] == {"name": {"type": "string", "description": "Who comes."}}
    assert summary_of(bookings.book) == "Book a table."
    assert list(schema_of(bookings)["properties"]) == ["seats"]
    assert summary_of(bookings) == "Count."
    assert list(schema_of(Bookings.all)["properties"]) == ["limit"]
    assert list(schema_of(Bookings.one)["properties"]) == ["key"]

    def add(a: int, b: int) -> None: ...

    assert list(schema_of(functools.partial(add, b=1))["properties"]) == ["a"]
    assert list(schema_of(functools.partial(add, 1))["properties"]) == ["b"]


async def _coroutine(city: str) -> None: ...


async def _generator(city: str) -> Any:
    yield city


@pytest.mark.parametrize("function", [_coroutine, _generator])
def test_asynchronous_functions(function: Any) -> None:
    assert schema_of(function)["properties"] == {"city": STR}


def untyped(x) -> None: ...  # type: ignore[no-untyped-def]
def starred(*x: int) -> None: ...
def double_starred(**x: int) -> None: ...
def positional(x: int, /) -> None: ...
def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (untyped, "x has no type"),
        (starred, "give every argument a name"),
        (double_starred, "give every argument a name"),
        (positional, "give every argument a name"),
        (unknown, "level of the module"),
        (with_type(bytes), "bytes"),
        (with_type(complex), "dataclass"),
        (with_type(Tree), "contains itself"),
        (with_type(dict[int, str]), "dict[str, ...]"),
        (with_type(tuple[int, str]), "different types"),
        (with_type(Literal[b"x"]), "text, numbers or bools"),
        (with_type(enum.Enum), "nothing to choose from"),
        (with_type(list[list[list[list[list[list[list[list[list[list[int]]]]]]]]]]), "too deeply"),
        (dict, ""),
    ],
)
def test_refused_with_advice(function: Any, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema_of(function)
    assert advice in str(caught.value)


# --- docstrings ------------------------------------------------------------------------------------------------------

GOOGLE = """Book a table
    for tonight.

    We are open until ten.

    Args:
        name (str): Who comes,
            and their family.
        seats: How many: two or more
        *rest: more

    Returns:
        nothing: really
    """
NUMPY = """Book a table
    for tonight.

    We are open until ten.

    Parameters
    ----------
    name : str
        Who comes,
        and their family.
    seats, chairs : int, optional
        How many: two or more

    Returns
    -------
    name : str
        Not this one.
    """
REST = """Book a table
    for tonight.

    We are open until ten.

    :param name: Who comes,
        and their family.
    :param int seats: How many: two or more
    :type name: str
    :returns: nothing
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_three_ways_to_write_a_docstring(text: str) -> None:
    summary, said = read_docstring(text)
    assert summary == "Book a table for tonight.\n\nWe are open until ten."
    assert said["name"] == "Who comes, and their family."
    assert said["seats"] == "How many: two or more"
    assert set(said) <= {"name", "seats", "chairs", "rest"}


@pytest.mark.parametrize(
    ("text", "summary", "said"),
    [
        (None, "", {}),
        ("", "", {}),
        ("Just this: nothing else", "Just this: nothing else", {}),
        ("Do.\n\nArgs:\n", "Do.", {}),
        ("Do.\n\nArgs:\n    no colon here\n    a: b", "Do.", {"a": "b"}),
        ("Do.\n\nExample:\n    Args: x", "Do.", {}),
        ("\nArgs:\n    a: b", "", {"a": "b"}),
        ("Do.\n\nArgs:\n    a: b\n\n    c: d\nTail.", "Do.", {"a": "b", "c": "d"}),
        ("Do.\n\n:param: x", "Do.", {}),
        ("Do.\n\n:param a:", "Do.", {}),
        ("Do.\n---\n", "", {}),
    ],
)
def test_other_docstrings(text: str | None, summary: str, said: dict[str, str]) -> None:
    assert read_docstring(text) == (summary, said)


def test_annotated_wins_over_the_docstring() -> None:
    def f(a: Annotated[int, "annotated"], b: int) -> None:
        """Do.

        :param a: said
        :param b: said too
        """

    properties = schema_of(f)["properties"]
    assert properties["a"]["description"] == "annotated"
    assert properties["b"]["description"] == "said too"
