"""From a Python function to the JSON schema of its arguments, so that nobody writes one by hand.

Types become schemas, ``Annotated[x, "..."]`` and the docstring become descriptions, a default makes an argument
optional. A parameter that takes the ``ToolContext`` is none of the model's business and is left out.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from .docstrings import read_docstring
from .errors import ConfigError
from .lanes import CONTEXT_NAMES

__all__ = ["ToolContext", "context_parameter", "hints_of", "schema_of", "summary_of"]

_DEPTH = 8
_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.time: {"type": "string", "format": "time"},
}
_ARRAYS = (list, set, frozenset, tuple, collections.abc.Sequence, collections.abc.Collection)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_META = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
    "description": "description",
}
_ADVICE = (
    "use str, int, float, bool, list[...], dict[str, ...], Literal, an Enum, a TypedDict or a dataclass, alone or in "
    "Optional, Union and Annotated[..., 'what it is'], or write parameters={...} yourself"
)


class ToolContext(msgspec.Struct, frozen=True):
    """Which call a tool is run for."""

    call_id: str = ""
    caller: str = ""
    callee: str = ""

    def __getitem__(self, key: str) -> str:
        """Like a dict's."""
        if key not in self.__struct_fields__:
            raise KeyError(key)
        return str(getattr(self, key))


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """JSON schema of the object of its arguments. What no schema can say of them is a ConfigError with advice."""
    where = _name(function)
    hints = hints_of(function)
    _, said = read_docstring(inspect.getdoc(function))
    skipped = context_parameter(function)
    properties: dict[str, Any] = {}
    required = []
    for one in _parameters(function).values():
        if one.name == skipped:
            continue
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise ConfigError(f"{where}: {one} cannot be named by a model; give every argument a name and a type")
        if one.name not in hints:
            raise ConfigError(f"{where}: {one.name} has no type; {_ADVICE}")
        schema = _schema(hints[one.name], f"{where}: {one.name}", 0, ())
        if one.default is None:
            schema = _not_null(schema)  # leaving it out says the same
        if one.name in said and "description" not in schema:
            schema = {**schema, "description": said[one.name]}
        properties[one.name] = schema
        if one.default is one.empty:
            required.append(one.name)
    return _object(properties, required)


def summary_of(function: Callable[..., Any]) -> str:
    """What its docstring says before it comes to the arguments."""
    return read_docstring(inspect.getdoc(_plain(function)))[0]


def context_parameter(function: Callable[..., Any]) -> str:
    """The parameter that takes the ``ToolContext``: annotated so, or named ``context`` or ``call``; '' for none."""
    hints = hints_of(function)
    parameters = _parameters(function)
    for name in parameters:
        if _bare(hints.get(name)) is ToolContext:
            return name
    return next((name for name in CONTEXT_NAMES if name in parameters), "")


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Its annotations as types."""
    plain = _plain(function)
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception as exc:  # annotations are code, and may raise anything
        raise ConfigError(
            f"{_name(function)}: its annotations cannot be read ({type(exc).__name__}: {exc}); types must be known at "
            "the level of the module, or write parameters={...} yourself"
        ) from None


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, under partials, methods and objects with a ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(_plain(function), "__qualname__", None) or type(function).__name__)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        found = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        raise ConfigError(f"{_name(function)} cannot be looked into; write parameters={{...}} yourself") from None
    given = function.keywords if isinstance(function, functools.partial) else {}
    return {name: one for name, one in found.items() if name not in given}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        out["required"] = required
    out["additionalProperties"] = False
    return out


def _bare(hint: Any) -> Any:
    """Without ``Annotated``, ``Optional`` and the like: what it is in the end."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _bare(hint.__origin__)
    if origin in (typing.Union, types.UnionType):
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        return _bare(others[0]) if len(others) == 1 else hint
    return hint


def _schema(hint: Any, where: str, depth: int, inside: tuple[Any, ...]) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ConfigError(f"{where}: its type is nested too deeply for a model; {_ADVICE}")
    if isinstance(hint, typing.NewType):
        return _schema(hint.__supertype__, where, depth + 1, inside)
    if type(hint).__name__ == "TypeAliasType":  # of ``type X = ...``, from Python 3.12 on
        return _schema(hint.__value__, where, depth + 1, inside)
    if hint is Any or hint is object:
        return {}
    try:
        simple = _SIMPLE.get(hint)
    except TypeError:  # unhashable: an annotation that is no type
        simple = None
    if simple is not None:
        return dict(simple)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = _schema(args[0], where, depth, inside)
        return {**schema, **_notes(hint.__metadata__, "Items" if schema.get("type") == "array" else "Length")}
    if origin in (typing.Required, typing.NotRequired):
        return _schema(args[0], where, depth, inside)
    if origin in (typing.Union, types.UnionType):
        return _any_of([_schema(one, where, depth + 1, inside) for one in args])
    if origin is typing.Literal:
        return _choice(args, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(tuple(member.value for member in hint), where)
    if hint in _ARRAYS or origin in _ARRAYS:
        return _array(hint if origin is None else origin, args, where, depth, inside)
    if hint in _OBJECTS or origin in _OBJECTS:
        if args and _bare(args[0]) is not str:
            raise ConfigError(f"{where}: the keys of an object are text; use dict[str, ...]")
        values = _schema(args[1], where, depth + 1, inside) if args else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    fields = _fields(hint)
    if fields is None:
        raise ConfigError(f"{where}: no schema can be made of {_spelt(hint)}; {_ADVICE}")
    if hint in inside:
        raise ConfigError(f"{where}: {_spelt(hint)} contains itself; {_ADVICE}")
    properties = {
        name: _schema(kind, f"{where}.{name}", depth + 1, (*inside, hint)) for name, (kind, _) in fields.items()
    }
    return _object(properties, [name for name, (_, needed) in fields.items() if needed])


def _notes(metadata: tuple[Any, ...], size: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for note in metadata:
        if isinstance(note, str):
            out["description"] = " ".join(note.split())
        elif isinstance(note, msgspec.Meta):
            keys = {**_META, "min_length": f"min{size}", "max_length": f"max{size}"}
            out.update({key: value for ours, key in keys.items() if (value := getattr(note, ours)) is not None})
    return out


def _array(origin: Any, args: tuple[Any, ...], where: str, depth: int, inside: tuple[Any, ...]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "array"}
    if origin is tuple and args and (len(args) != 2 or args[1] is not Ellipsis):
        kinds = [_schema(one, where, depth + 1, inside) for one in args]
        if any(kind != kinds[0] for kind in kinds):
            raise ConfigError(f"{where}: items of different types in one list; use a TypedDict or a dataclass")
        return {**out, "items": kinds[0], "minItems": len(kinds), "maxItems": len(kinds)}
    if args and (items := _schema(args[0], where, depth + 1, inside)):
        out["items"] = items
    return out


def _choice(values: tuple[Any, ...], where: str) -> dict[str, Any]:
    values = tuple(value.value if isinstance(value, enum.Enum) else value for value in values)
    types_ = []
    for value in values:
        kind = next((name for name, of in _SIMPLE_VALUES if type(value) is of), "")
        if not kind:
            raise ConfigError(f"{where}: {value!r} cannot be chosen by a model; choices are text, numbers or bools")
        if kind not in types_:
            types_.append(kind)
    if not types_:
        raise ConfigError(f"{where}: there is nothing to choose from")
    return {"type": types_[0] if len(types_) == 1 else types_, "enum": list(values)}


_SIMPLE_VALUES = (("boolean", bool), ("string", str), ("integer", int), ("number", float), ("null", type(None)))


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several simple types a list of types, which every model reads; else ``anyOf``."""
    if any(not one for one in schemas):
        return {}
    if all(set(one) == {"type"} and isinstance(one["type"], str) for one in schemas):
        kinds = list(dict.fromkeys(one["type"] for one in schemas))
        return {"type": kinds if len(kinds) > 1 else kinds[0]}
    return {"anyOf": schemas}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, list) and "enum" not in schema and "null" in kind:
        rest = [one for one in kind if one != "null"]
        return {**schema, "type": rest[0] if len(rest) == 1 else rest} if rest else schema
    if "anyOf" in schema:
        others = [one for one in schema["anyOf"] if one != {"type": "null"}]
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**others[0], **outer} if len(others) == 1 else {**schema, "anyOf": others}
    return schema


def _spelt(hint: Any) -> str:
    return getattr(hint, "__qualname__", None) or str(hint)


def _fields(hint: Any) -> dict[str, tuple[Any, bool]] | None:
    """Of a class with named fields: each one's type, and whether it must be there."""
    if not isinstance(hint, type):
        return None
    try:
        if typing.is_typeddict(hint):
            needed: frozenset[str] = getattr(hint, "__required_keys__", frozenset())
            return {
                name: (kind, _needed(kind, name in needed))
                for name, kind in typing.get_type_hints(hint, include_extras=True).items()
            }
        if issubclass(hint, msgspec.Struct):
            kinds = typing.get_type_hints(hint, include_extras=True)
            return {one.encode_name: (kinds[one.name], one.required) for one in msgspec.structs.fields(hint)}
        if dataclasses.is_dataclass(hint):
            kinds = typing.get_type_hints(hint, include_extras=True)
            none = dataclasses.MISSING
            return {
                one.name: (kinds[one.name], one.default is none and one.default_factory is none)
                for one in dataclasses.fields(hint)
                if one.init
            }
    except Exception:  # annotations that cannot be read: the same advice as for any other type
        return None
    return None


def _needed(kind: Any, otherwise: bool) -> bool:
    """The annotation itself may say; where annotations are text, the class has not seen it."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _needed(kind.__origin__, otherwise)
    return origin is typing.Required or (otherwise and origin is not typing.NotRequired)
