"""``Tool(...)`` and ``@tool``: what a model may do, as people write it, and its way to plain data.

A tool is a function of the application's, or a URL that is posted to. ``transfer_call``, ``end_call`` and ``send_dtmf``
are there unless the agent says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, overload
from urllib.parse import urlsplit

import msgspec

from .built_in_tools import BUILT_INS
from .engines.policy import ToolSpec
from .errors import ConfigError
from .lanes import Handler, Name, places_of, wrapped_as
from .plain import plain
from .providers.keys import Resolving
from .tool_schema import ToolContext, context_parameter, hints_of, schema_of, summary_of

__all__ = ["Tool", "ToolContext", "resolve_tools", "tool"]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what every model's provider takes
_TOOLS = 128  # likewise
_MOST_TIMEOUT_S = 300.0
_MOST_TRIES = 5
_WEBHOOK_TRIES = 3
_DESCRIPTION_CHARS = 8_000
_MESSAGE_CHARS = 500
_SCHEMA_BYTES = 65_536
_HEADERS = 32
_HEADER_CHARS = 4_096
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset(
    {"content-type", "content-length", "transfer-encoding", "host", "connection", "idempotency-key"}
    | {"x-patter-signature"}
)
_CREDENTIALS = re.compile(r"authorization|cookie|secret|token|password|api-?key")


class _Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How a tool behaves: by name only, so that nobody counts commas."""

    timeout_s: float = 10.0
    tries: int | None = None
    waiting_message: str = ""
    waiting_after_s: float = 1.5
    cancel_on_barge_in: bool = False
    secret: str = ""
    headers: Mapping[str, str] = {}
    spread: bool = False


class Tool(_Manners, frozen=True):
    """Something a model may do.

    ``handler(arguments, context)`` gets the arguments as a dict and ``{"call_id", "caller", "callee"}``; it may take
    the arguments alone, be async, and be an async generator: it is run once, whatever happens, since what it does may
    not be undone. What a generator yields as ``{"progress": text}`` is spoken, ``{"result": x}`` or else the last value
    is the result. With ``spread`` its arguments are given by name, as the schema of its signature says (that is what
    ``@tool`` makes).

    ``webhook_url`` is posted ``{"tool", "arguments", "call_id", "caller", "callee", "attempt"}``, up to ``tries`` times
    (a refused connection, 429 and 5xx are tried again) with the same ``Idempotency-Key``, and signed when there is a
    ``secret``: ``X-Patter-Signature`` is then the hex HMAC-SHA256 of the body.

    ``timeout_s`` bounds each try. After ``waiting_after_s`` the agent says ``waiting_message``, once. With
    ``cancel_on_barge_in`` the caller's interrupting gives the tool up.
    """

    name: str = ""
    description: str = ""
    parameters: dict[str, Any] | None = None
    handler: Handler | None = None
    webhook_url: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, so that what ``@tool`` decorates can still be called."""
        if self.handler is None:
            raise TypeError(f"tool {self.name!r} has no function: it is posted to {self.webhook_url}")
        return self.handler(*args, **kwargs)


def _check(given: Any) -> None:
    """ConfigError for what makes no sense. ``Any``: people write anything."""
    if not isinstance(given.name, str) or _NAME.fullmatch(given.name) is None:
        raise ConfigError(
            f"a tool's name is 1 to 64 letters, digits, _ and -, such as 'book_table'; got {given.name!r}"
        )
    where = f"tool {given.name!r}"
    for key, most in (
        ("description", _DESCRIPTION_CHARS),
        ("waiting_message", _MESSAGE_CHARS),
        ("webhook_url", _HEADER_CHARS),
        ("secret", _HEADER_CHARS),
    ):
        value = getattr(given, key)
        if not isinstance(value, str) or len(value) > most:
            raise ConfigError(f"{where}: {key} must be text of at most {most} characters")
    if (given.handler is None) == (not given.webhook_url):
        raise ConfigError(f"{where} needs exactly one of handler= (a function) and webhook_url=")
    if given.handler is None:
        _check_webhook(given, where)
    else:
        _check_handler(given, where)
    for key, least in (("timeout_s", 0.1), ("waiting_after_s", 0.0)):
        value = getattr(given, key)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not least <= value <= _MOST_TIMEOUT_S:
            raise ConfigError(f"{where}: {key} must be {least:g} to {_MOST_TIMEOUT_S:g} seconds, got {value!r}")
    if given.parameters is not None:
        _check_parameters(given.parameters, where)


def _check_handler(given: Any, where: str) -> None:
    if not callable(given.handler):
        raise ConfigError(f"{where}: handler must be a function, got {type(given.handler).__name__}")
    if given.tries not in (None, 1):
        raise ConfigError(
            f"{where}: tries= is for webhook_url=; a function is run once, since what it did before it failed stays "
            "done. Try again inside it where that is safe"
        )
    for key in ("secret", "headers"):
        if getattr(given, key):
            raise ConfigError(f"{where}: {key}= is for webhook_url=")
    if given.spread:
        if given.parameters is None:
            schema_of(given.handler)
        _check_hints(given.handler, where)
    elif not given.spread and places_of(given.handler, 2) < 1:
        raise ConfigError(
            f"{where}: handler is called as handler(arguments, context), with two dicts; for arguments by name use "
            "@tool, or tool(function)"
        )


def _check_hints(function: Handler, where: str) -> None:
    """Arguments come as JSON and go as what the parameters are annotated with: that must be possible."""
    for key, hint in hints_of(function).items():
        if key not in ("return", context_parameter(function)) and _convertible(hint):
            try:
                msgspec.json.Decoder(hint)
            except (TypeError, RecursionError) as exc:
                raise ConfigError(f"{where}: no argument can be made for {key} ({str(exc).splitlines()[0]})") from None


def _check_webhook(given: Any, where: str) -> None:
    if given.spread:
        raise ConfigError(f"{where}: spread= is for handler=")
    try:
        parts = urlsplit(given.webhook_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
        parts = urlsplit("")
    if not good or not given.webhook_url.isascii() or re.search(r"[\x00-\x20\x7f]", given.webhook_url):
        raise ConfigError(f"{where}: webhook_url must be like 'https://example.com/tool', got {given.webhook_url!r}")
    if "@" in parts.netloc:
        raise ConfigError(f"{where}: no credentials in webhook_url, which goes into traces; use secret= and check it")
    if given.tries is not None and (type(given.tries) is not int or not 1 <= given.tries <= _MOST_TRIES):
        raise ConfigError(f"{where}: tries must be 1 to {_MOST_TRIES}, got {given.tries!r}")
    if not isinstance(given.headers, Mapping) or len(given.headers) > _HEADERS:
        raise ConfigError(f"{where}: headers must be a dict of at most {_HEADERS}")
    for key, value in given.headers.items():
        if not isinstance(key, str) or not isinstance(value, str) or _HEADER_NAME.fullmatch(key) is None:
            raise ConfigError(f"{where}: headers go from names to texts, got {key!r}")
        if len(value) > _HEADER_CHARS or not value.isascii() or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise ConfigError(
                f"{where}: the header {key} must be printable ASCII of at most {_HEADER_CHARS} characters"
            )
        if key.lower() in _OWN_HEADERS:
            raise ConfigError(f"{where}: the header {key} is set for you")
        if _CREDENTIALS.search(key.lower()):
            raise ConfigError(
                f"{where}: the header {key} looks like a credential, and headers go into traces; "
                "use secret= and check X-Patter-Signature instead"
            )


def _check_parameters(parameters: Any, where: str) -> None:
    advice = 'such as {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise ConfigError(f"{where}: parameters must be the JSON schema of an object, {advice}")
    try:
        size = len(msgspec.json.encode(parameters))
        same = plain(dict(parameters)) == msgspec.json.decode(msgspec.json.encode(parameters))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        size, same = 0, False
    if not same:
        raise ConfigError(f"{where}: parameters must be plain JSON data, {advice}")
    if size > _SCHEMA_BYTES:
        raise ConfigError(f"{where}: parameters must be at most {_SCHEMA_BYTES} bytes of JSON; models read all of it")
    if not isinstance(parameters.get("properties", {}), Mapping):
        raise ConfigError(f"{where}: properties must be a dict, {advice}")
    required = parameters.get("required", [])
    if not isinstance(required, list | tuple) or not all(isinstance(one, str) for one in required):
        raise ConfigError(f"{where}: required must be a list of names, {advice}")
    unknown = [one for one in required if one not in parameters.get("properties", {})]
    if unknown:
        raise ConfigError(f"{where}: required names {', '.join(unknown)}, which properties does not have")


@overload
def tool(function: Handler, /, **options: Any) -> Tool: ...
@overload
def tool(
    name: str, description: str, parameters: dict[str, Any] | None, handler: Handler, /, **options: Any
) -> Tool: ...
@overload
def tool(
    name: str = ...,
    description: str = ...,
    parameters: dict[str, Any] | None = ...,
    *,
    handler: Handler,
    **options: Any,
) -> Tool: ...
@overload
def tool(
    name: str = ...,
    description: str = ...,
    parameters: dict[str, Any] | None = ...,
    *,
    webhook_url: str,
    **options: Any,
) -> Tool: ...
@overload
def tool(
    name: str = ..., description: str = ..., parameters: dict[str, Any] | None = ..., **options: Any
) -> Callable[[Handler], Tool]: ...
def tool(given: Any = None, /, *args: Any, **options: Any) -> Any:
    """A ``Tool``: ``tool(function)``, ``@tool``, ``@tool(timeout_s=20)``, ``tool("name", handler=...)``.

    Of a function, name, description and parameters are read off its signature and docstring, and its arguments are
    given by name; a parameter named ``context`` or ``call`` gets the ``ToolContext``. A ``handler=`` is called as
    ``Tool`` says.
    """
    keys = ("name", "description", "parameters", "handler", "webhook_url")
    if callable(given) and not isinstance(given, Tool):
        if args:
            raise ConfigError("tool(function) takes its options by name, such as timeout_s=20")
        return _of_function(given, options)
    if len(args) >= len(keys):
        raise ConfigError(f"tool() takes {', '.join(keys)} by position, everything else by name")
    placed = dict(zip(keys, (given, *args), strict=False))
    if given is None and not args:
        placed = {}
    twice = sorted(set(placed) & set(options))
    if twice:
        raise ConfigError(f"tool() was given {', '.join(twice)} twice")
    options = {**placed, **options}
    if options.get("handler") is not None or options.get("webhook_url"):
        return _made(options)

    def decorate(function: Handler) -> Tool:
        return _of_function(function, options)

    return decorate


def _made(options: Mapping[str, Any]) -> Tool:
    unknown = sorted(str(key) for key in options if key not in Tool.__struct_fields__)
    if unknown:
        raise ConfigError(f"a tool has no option {', '.join(unknown)}; it has {', '.join(Tool.__struct_fields__)}")
    return Tool(**options)


def _of_function(function: Handler, options: Mapping[str, Any]) -> Tool:
    if not callable(function):
        raise ConfigError(f"tool() takes a function, got {type(function).__name__}")
    if options.get("handler") is not None or options.get("webhook_url"):
        raise ConfigError("tool(function) has its function: leave out handler= and webhook_url=")
    name = options.get("name") or getattr(function, "__name__", "") or type(function).__name__
    description = options.get("description") or summary_of(function)
    return _made({**options, "name": name, "description": description, "handler": function, "spread": True})


# --- to data ---------------------------------------------------------------------------------------------------------


def resolve_tools(given: Any, name: Name, resolving: Resolving, *, built_in_tools: bool = True) -> tuple[ToolSpec, ...]:
    """What was given as ``tools=`` as data: tools, dicts with their keys, or plain functions."""
    if given is None:
        given = []
    if not isinstance(given, list | tuple):
        raise ConfigError(f"tools takes a list of Tool(...) or functions, got {type(given).__name__}")
    tools = [_tool(one) for one in given]
    if len(tools) > _TOOLS:
        raise ConfigError(f"at most {_TOOLS} tools, got {len(tools)}: models lose their way among many")
    reserved = {spec.name for spec in BUILT_INS} if built_in_tools else set()
    seen: set[str] = set()
    for one in tools:
        if one.name in reserved:
            raise ConfigError(f"{one.name} is built in: name yours otherwise, or pass built_in_tools=False")
        if one.name in seen:
            raise ConfigError(f"two tools are named {one.name!r}: a model could not tell them apart")
        seen.add(one.name)
    specs = tuple(_spec(one, name, resolving) for one in tools)
    return specs + BUILT_INS if built_in_tools else specs


def _tool(given: Any) -> Tool:
    if isinstance(given, Tool):
        return given
    if isinstance(given, Mapping):
        if given.get("handler") is None and not given.get("webhook_url"):
            raise ConfigError(f"tool {given.get('name')!r} needs exactly one of handler and webhook_url")
        return _made({str(key): value for key, value in given.items()})
    if callable(given):
        return _of_function(given, {})
    raise ConfigError(f"a tool is a Tool(...), a function or a dict; got {type(given).__name__}")


def _spec(one: Tool, name: Name, resolving: Resolving) -> ToolSpec:
    parameters = one.parameters
    if parameters is None:
        parameters = schema_of(one.handler) if one.spread and one.handler is not None else {}
    handler = None
    if one.handler is not None:
        handler = wrapped_as(name, f"tool:{one.name}", one.handler, _by_name(one) if one.spread else _by_place(one))
    return ToolSpec(
        name=one.name,
        description=one.description,
        parameters={"type": "object", "properties": {}, **plain(dict(parameters))},
        handler=handler,
        url=one.webhook_url,
        sign=resolving.signing(one.secret),
        headers=tuple((key, value) for key, value in one.headers.items()),
        timeout_s=float(one.timeout_s),
        tries=1 if handler is not None else one.tries or _WEBHOOK_TRIES,
        waiting_message=one.waiting_message,
        waiting_after_s=float(one.waiting_after_s),
        cancel_on_barge_in=bool(one.cancel_on_barge_in),
    )


# --- at the edge -----------------------------------------------------------------------------------------------------


def _by_place(one: Tool) -> Handler:
    handler = one.handler
    assert handler is not None
    both = places_of(handler, 2) == 2

    def call(arguments: dict[str, Any], context: dict[str, str]) -> Any:
        return _data(handler(arguments, context) if both else handler(arguments))

    return call


def _by_name(one: Tool) -> Handler:
    """Arguments by name, each as its parameter is annotated (a dataclass, an Enum, a date)."""
    function = one.handler
    assert function is not None
    hints = hints_of(function)
    about = context_parameter(function)
    wants_dict = about != "" and hints.get(about, ToolContext) in (dict, dict[str, str], dict[str, Any], Mapping)

    def call(arguments: dict[str, Any], context: dict[str, str]) -> Any:
        given = {
            key: msgspec.convert(value, hints[key], strict=False) if _convertible(hints.get(key)) else value
            for key, value in arguments.items()
        }
        if about:
            given[about] = context if wants_dict else ToolContext(**context)
        return _data(function(**given))

    return call


def _convertible(hint: Any) -> bool:
    return hint not in (None, Any, object, str, int, float, bool)


class _Awaited:
    """An awaitable whose result is turned into data when it comes; the core itself never awaits."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        result = yield from self._awaitable.__await__()
        return _data(result)


def _data(result: Any) -> Any:
    """A dataclass or a struct as a dict; everything else as it is."""
    if isinstance(result, Awaitable):
        return _Awaited(result)
    if isinstance(result, msgspec.Struct) or hasattr(type(result), "__dataclass_fields__"):
        return msgspec.to_builtins(result, enc_hook=plain)
    return result
