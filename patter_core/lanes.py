"""What can be seen of an application's function before it runs: where it belongs, and how many arguments it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from .contract import Lane
from .engines.policy import HandlerSpec

__all__ = ["CONTEXT_NAMES", "Handler", "Name", "lane_of", "places_of", "wrapped_as"]

CONTEXT_NAMES = ("context", "call")
"""What a function calls the parameter that tells it about its telephone call."""

Handler = Callable[..., Any]
Name = Callable[[str, Handler], HandlerSpec]
"""Puts a function into the edge's table under (something with) this key."""


def lane_of(handler: Handler) -> Lane:
    """Coroutine functions and async generators run on the loop, everything else in a worker thread: a plain function
    may block, and must not hold up the other calls."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - the method, not a test for callability
    for candidate in (handler, call):
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            return Lane.LOOP
    return Lane.THREAD


def places_of(handler: Handler, most: int) -> int:
    """With how many arguments, by position, to call it: at most ``most``; -1 when it takes none, or wants more.

    A parameter with a default counts when it is the first, or is named ``context`` or ``call``: what else has a default
    means something of its own. A function nobody can look into gets ``most``."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return most
    if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters):
        return -1
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return most
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = sum(one.default is one.empty for one in placed)
    if not placed or needed > most:
        return -1
    room = max(needed, 1)
    while room < min(most, len(placed)) and placed[room].name in CONTEXT_NAMES:
        room += 1
    return room


def wrapped_as(name: Name, key: str, original: Handler, wrapped: Handler) -> HandlerSpec:
    """``wrapped`` under ``key``, in the lane of what it calls in the end."""
    return msgspec.structs.replace(name(key, wrapped), lane=lane_of(original))
