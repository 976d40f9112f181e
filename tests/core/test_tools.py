"""Tools as people write them, and what becomes of them: data for the machines, functions for the edge."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Awaitable, Iterator
from typing import Any, Literal

import msgspec
import pytest

from patter_core.built_in_tools import BUILT_INS
from patter_core.contract import Lane
from patter_core.engines.policy import HandlerSpec, ToolSpec
from patter_core.errors import ConfigError
from patter_core.lanes import lane_of
from patter_core.providers.keys import Resolving
from patter_core.tool_schema import schema_of
from patter_core.tools import Tool, ToolContext, resolve_tools, tool

CONTEXT = {"call_id": "CA1", "caller": "+15550100001", "callee": "+15550001234"}


class Table(dict[str, Any]):
    """The edge's table, as ``resolve_agent`` fills it."""

    def name(self, key: str, handler: Any) -> HandlerSpec:
        self[key] = handler
        return HandlerSpec("me:" + key, lane_of(handler))


def resolved(*given: Any, **options: Any) -> tuple[tuple[ToolSpec, ...], Table]:
    table = Table()
    options.setdefault("built_in_tools", False)
    return resolve_tools(list(given), table.name, Resolving({}), **options), table


def run(awaitable: Awaitable[Any]) -> Any:
    """Await without a loop what waits for nothing."""
    steps: Iterator[Any] = awaitable.__await__()
    with pytest.raises(StopIteration) as done:
        next(steps)
    return done.value.value


def plain_handler(arguments: dict[str, Any], context: dict[str, str]) -> Any:
    return arguments, context


def get_weather(city: str, days: int = 1) -> str:
    """What the weather will be.

    Args:
        city: Where.
    """
    return f"{city}: sun for {days} days"


# --- four ways to write one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        get_weather,
        tool(get_weather),
        tool()(get_weather),
        tool(name="get_weather")(get_weather),
        tool("get_weather", "What the weather will be.")(get_weather),
    ],
)
def test_a_function_is_read_off(given: Any) -> None:
    (spec,), table = resolved(given)
    assert spec == ToolSpec(
        name="get_weather",
        description="What the weather will be.",
        parameters=schema_of(get_weather),
        handler=HandlerSpec("me:tool:get_weather", Lane.THREAD),
    )
    assert table["tool:get_weather"]({"city": "Rome", "days": 2}, CONTEXT) == "Rome: sun for 2 days"
    assert table["tool:get_weather"]({"city": "Rome"}, CONTEXT) == "Rome: sun for 1 days"


def test_a_decorator_with_options_and_the_function_can_still_be_called() -> None:
    @tool(name="weather", description="Sun?", timeout_s=20, waiting_message="One moment.", cancel_on_barge_in=True)
    def get(city: str) -> str:
        return city

    assert isinstance(get, Tool)
    assert get("Rome") == "Rome"
    (spec,), _ = resolved(get)
    assert (spec.name, spec.description, spec.timeout_s) == ("weather", "Sun?", 20.0)
    assert (spec.waiting_message, spec.cancel_on_barge_in) == ("One moment.", True)

    @tool
    def bare(x: int) -> int:
        return x

    assert bare.name == "bare"
    assert bare(3) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tool("look", "Look up.", {"type": "object", "properties": {"id": {}}}, plain_handler),
        lambda: tool("look", "Look up.", {"properties": {"id": {}}}, plain_handler),
        lambda: tool(name="look", description="Look up.", parameters={"properties": {"id": {}}}, handler=plain_handler),
        lambda: {
            "name": "look",
            "description": "Look up.",
            "parameters": {"properties": {"id": {}}},
            "handler": plain_handler,
        },
    ],
)
def test_a_handler_gets_two_dicts(make: Any) -> None:
    (spec,), table = resolved(make())
    assert spec.parameters == {"type": "object", "properties": {"id": {}}}
    assert (spec.name, spec.description, spec.tries, spec.url) == ("look", "Look up.", 1, "")
    assert table["tool:look"]({"id": 5}, CONTEXT) == ({"id": 5}, CONTEXT)


def test_a_handler_may_leave_out_the_context() -> None:
    (_, _), table = resolved(Tool("a", handler=lambda arguments: arguments), Tool("b", handler=lambda a, b=1: (a, b)))
    assert table["tool:a"]({"id": 5}, CONTEXT) == {"id": 5}
    assert table["tool:b"]({"id": 5}, CONTEXT) == ({"id": 5}, 1)


def test_a_webhook() -> None:
    resolving = Resolving({})
    one = Tool("look", webhook_url="https://example.com/look?a=b", secret="s3cret", headers={"X-Shop": "7"}, tries=2)
    (spec, other) = resolve_tools([one, Tool("b", webhook_url="http://localhost:9000/")], Table().name, resolving,
                                  built_in_tools=False)  # fmt: skip
    assert (spec.url, spec.tries, spec.headers) == ("https://example.com/look?a=b", 2, (("X-Shop", "7"),))
    assert resolving.secrets[spec.sign] == ("", "s3cret")
    assert (other.sign, other.tries, other.handler) == ("", 3, None)
    assert "s3cret" not in repr(one)
    assert b"s3cret" not in msgspec.json.encode(spec)
    with pytest.raises(TypeError, match="posted to"):
        one(1)


def test_the_built_ins() -> None:
    specs, table = resolved(get_weather, built_in_tools=True)
    assert [spec.name for spec in specs] == ["get_weather", "transfer_call", "end_call", "send_dtmf"]
    assert list(table) == ["tool:get_weather"]
    assert all(spec.built_in == spec.name and spec.description for spec in BUILT_INS)
    assert resolved(built_in_tools=True)[0] == BUILT_INS
    assert resolve_tools(None, table.name, Resolving({})) == BUILT_INS
    with pytest.raises(ConfigError, match="end_call is built in"):
        resolved(Tool("end_call", handler=plain_handler), built_in_tools=True)
    assert len(resolved(Tool("end_call", handler=plain_handler))[0]) == 1


def test_specs_survive_a_trace() -> None:
    specs, _ = resolved(
        get_weather, Tool("b", webhook_url="http://localhost/", headers={"a": "b"}), built_in_tools=True
    )
    assert msgspec.json.decode(msgspec.json.encode(specs), type=tuple[ToolSpec, ...]) == specs


# --- at the edge -----------------------------------------------------------------------------------------------------


class Size(enum.Enum):
    SMALL = "S"


@dataclasses.dataclass
class Guest:
    name: str
    age: int = 0


def test_arguments_come_as_annotated() -> None:
    def book(
        guest: Guest, size: Size, day: datetime.date, others: list[Guest], note: Any, kind: Literal["a"] = "a"
    ) -> list[Any]:
        return [guest, size, day, others, note, kind]

    _, table = resolved(book)
    got = table["tool:book"](
        {
            "guest": {"name": "A"},
            "size": "S",
            "day": "2026-11-22",
            "others": [{"name": "B", "age": 3}],
            "note": {"x": 1},
        },
        CONTEXT,
    )
    assert got == [Guest("A"), Size.SMALL, datetime.date(2026, 11, 22), [Guest("B", 3)], {"x": 1}, "a"]
    with pytest.raises(msgspec.ValidationError):
        table["tool:book"]({"day": "tomorrow"}, CONTEXT)


def test_the_context_comes_as_annotated() -> None:
    def named(context: ToolContext, x: int) -> Any:
        return context, x

    def as_dict(x: int, call: dict[str, str]) -> Any:
        return call, x

    def bare(x: int, context=None):  # type: ignore[no-untyped-def]
        return context, x

    specs, table = resolved(named, as_dict, bare)
    about = ToolContext("CA1", "+15550100001", "+15550001234")
    assert table["tool:named"]({"x": 1}, CONTEXT) == (about, 1)
    assert table["tool:as_dict"]({"x": 1}, CONTEXT) == (CONTEXT, 1)
    assert table["tool:bare"]({"x": 1}, CONTEXT) == (about, 1)
    assert all(list(spec.parameters["properties"]) == ["x"] for spec in specs)
    assert about["caller"] == about.caller
    with pytest.raises(KeyError):
        about["handler"]


def test_results_that_are_objects_become_data() -> None:
    def plainly() -> Guest:
        return Guest("A", 5)

    async def awaited() -> Guest:
        return Guest("B", 6)

    async def yielding() -> Any:
        yield {"progress": "..."}

    specs, table = resolved(plainly, awaited, yielding)
    assert [spec.handler.lane for spec in specs if spec.handler] == [Lane.THREAD, Lane.LOOP, Lane.LOOP]
    assert table["tool:plainly"]({}, CONTEXT) == {"name": "A", "age": 5}
    assert run(table["tool:awaited"]({}, CONTEXT)) == {"name": "B", "age": 6}
    assert hasattr(table["tool:yielding"]({}, CONTEXT), "__anext__")


def test_a_coroutine_that_raises() -> None:
    async def awaited() -> None:
        raise LookupError("gone")

    _, table = resolved(awaited)
    with pytest.raises(LookupError, match="gone"):
        next(table["tool:awaited"]({}, CONTEXT).__await__())


# --- what is refused -------------------------------------------------------------------------------------------------


def hook(**more: Any) -> Tool:
    return Tool("a", webhook_url="https://example.com/", **more)


def no_schema(x: bytes) -> None: ...
def two_classes(x: Guest | ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: Tool(handler=plain_handler), "a tool's name"),
        (lambda: Tool("a b", handler=plain_handler), "a tool's name"),
        (lambda: Tool("é", handler=plain_handler), "a tool's name"),
        (lambda: Tool("a\n", handler=plain_handler), "a tool's name"),
        (lambda: Tool("a" * 65, handler=plain_handler), "1 to 64"),
        (lambda: Tool(5, handler=plain_handler), "a tool's name"),  # type: ignore[arg-type]
        (lambda: Tool("a"), "exactly one"),
        (lambda: Tool("a", handler=plain_handler, webhook_url="https://example.com"), "exactly one"),
        (lambda: Tool("a", handler=5), "must be a function"),  # type: ignore[arg-type]
        (lambda: Tool("a", handler=lambda: 1), "handler(arguments, context)"),
        (lambda: Tool("a", handler=lambda a, b, c: 1), "handler(arguments, context)"),
        (lambda: Tool("a", handler=plain_handler, tries=3), "run once"),
        (lambda: Tool("a", handler=plain_handler, secret="x"), "secret= is for webhook_url="),
        (lambda: Tool("a", handler=plain_handler, headers={"a": "b"}), "headers= is for"),
        (lambda: Tool("a", 5, handler=plain_handler), "description must be text"),  # type: ignore[arg-type]
        (lambda: Tool("a", "x" * 8001, handler=plain_handler), "at most 8000"),
        (lambda: hook(timeout_s=0), "timeout_s must be"),
        (lambda: hook(timeout_s=float("nan")), "timeout_s must be"),
        (lambda: hook(timeout_s=301), "timeout_s must be"),
        (lambda: hook(timeout_s="5"), "timeout_s must be"),
        (lambda: hook(waiting_after_s=-1), "waiting_after_s must be"),
        (lambda: hook(tries=0), "tries must be 1 to 5"),
        (lambda: hook(tries=6), "tries must be 1 to 5"),
        (lambda: hook(tries=True), "tries must be 1 to 5"),
        (lambda: hook(spread=True), "spread= is for handler="),
        (lambda: hook(headers={"Host": "x"}), "set for you"),
        (lambda: hook(headers={"Idempotency-Key": "x"}), "set for you"),
        (lambda: hook(headers={"Authorization": "Bearer x"}), "looks like a credential"),
        (lambda: hook(headers={"X-Api-Key": "x"}), "looks like a credential"),
        (lambda: hook(headers={"a": "b\r\nc: d"}), "printable ASCII"),
        (lambda: hook(headers={"a b": "c"}), "from names to texts"),
        (lambda: hook(headers={"a": 5}), "from names to texts"),
        (lambda: hook(headers=[("a", "b")]), "must be a dict"),
        (lambda: Tool("a", webhook_url="example.com/x"), "must be like"),
        (lambda: Tool("a", webhook_url="ftp://example.com/x"), "must be like"),
        (lambda: Tool("a", webhook_url="https://"), "must be like"),
        (lambda: Tool("a", webhook_url="https://[x"), "must be like"),
        (lambda: Tool("a", webhook_url="https://example.com:99999/"), "must be like"),
        (lambda: Tool("a", webhook_url="https://example.com/a b"), "must be like"),
        (lambda: Tool("a", webhook_url="https://me:pass@example.com/"), "no credentials"),
        (lambda: hook(parameters=[]), "JSON schema of an object"),
        (lambda: hook(parameters={"type": "string"}), "JSON schema of an object"),
        (lambda: hook(parameters={"properties": {"a": object()}}), "plain JSON data"),
        (lambda: hook(parameters={"properties": []}), "properties must be a dict"),
        (lambda: hook(parameters={"required": "x"}), "list of names"),
        (lambda: hook(parameters={"properties": {}, "required": ["x"]}), "required names x"),
        (lambda: hook(parameters={"description": "x" * 70_000}), "bytes of JSON"),
        (lambda: tool(no_schema), "bytes"),
        (lambda: tool(two_classes), "no argument can be made for x"),
        (lambda: tool(get_weather, "x"), "by name"),  # type: ignore[call-overload]
        (lambda: tool(get_weather, handler=plain_handler), "leave out handler="),
        (lambda: tool(get_weather, timeout=5), "no option timeout"),
        (lambda: tool("a", name="b", handler=plain_handler), "name twice"),  # type: ignore[call-overload]
        (lambda: tool("a", "b", {}, plain_handler, "", 5), "by position"),  # type: ignore[call-overload]
        (lambda: tool(lambda x: x), "a tool's name"),
        (lambda: tool()(5), "takes a function"),  # type: ignore[arg-type]
        (lambda: resolved(5), "a function or a dict"),
        (lambda: resolved({"name": "a"}), "exactly one"),
        (lambda: resolved({"name": "a", "handler": plain_handler, "url": "x"}), "no option url"),
        (lambda: resolved(get_weather, tool(get_weather)), "two tools are named"),
        (lambda: resolved(*[Tool(f"t{n}", handler=plain_handler) for n in range(129)]), "at most 128"),
        (lambda: resolve_tools("x", Table().name, Resolving({})), "takes a list"),
        (lambda: resolve_tools(get_weather, Table().name, Resolving({})), "takes a list"),
    ],
)
def test_refused_with_advice(make: Any, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert advice in str(caught.value)


def test_limits_that_are_still_good() -> None:
    Tool("a" * 64, "x" * 8000, handler=plain_handler, tries=1, timeout_s=300, waiting_after_s=0)
    hook(tries=5, timeout_s=0.1, parameters={}, headers={"X-Trace": "\tok "})
    hook(parameters={"properties": {"a": {}}, "required": ["a"]})
    resolved(*[Tool(f"t{n}", handler=plain_handler) for n in range(128)])
