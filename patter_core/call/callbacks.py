"""The user's callbacks of one call: in order, one at a time, each bounded; none can harm the call.

A slow callback makes the next ones wait, never the conversation. What waits is bounded too, and so is the wait of the
last one: ``callback_s`` after the call ended, ``on_call_end`` runs whatever was before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ..config import HandlerSpec
from ..events import CallbackDropped, CallbackFailed, CallbackTimedOut
from ..settings import CallSettings
from ..timers import later
from .words import CallOrder, Drop, Run, Tell

__all__ = ["Callbacks"]


class Callbacks:
    """A queue of one. ``result`` is what a finished callback returned, for whoever asked."""

    def __init__(self, call_id: str, specs: Mapping[str, HandlerSpec], settings: CallSettings) -> None:
        self._call_id = call_id
        self._specs = specs
        self._settings = settings
        self._waiting: deque[tuple[str, Any]] = deque()
        self._running = ""
        self._callback = ""
        self._until = 0
        self._last_by: int | None = None  # when on_call_end waits no longer
        self._count = 0

    def wants(self, callback: str) -> bool:
        """Is there such a callback?"""
        return callback in self._specs

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._running

    @property
    def deadline(self) -> int | None:
        """When the running callback's time is up, or on_call_end's patience."""
        if not self._running:
            return None
        return self._until if self._last_by is None else min(self._until, self._last_by)

    def _bound(self, callback: str) -> float:
        if callback == "on_call_start":
            return self._settings.on_call_start_s
        if callback == "on_call_end":
            return self._settings.on_call_end_s
        return self._settings.callback_s

    def call(self, now: int, callback: str, payload: Any) -> list[CallOrder]:
        """Have a callback run, if the user wrote it."""
        if callback not in self._specs:
            return []
        if not self._running:
            return [self._start(now, callback, payload)]
        self._waiting.append((callback, payload))
        if callback == "on_call_end":
            self._last_by = later(now, self._settings.callback_s)
        out: list[CallOrder] = []
        while len(self._waiting) > self._settings.callback_backlog and self._waiting[0][0] != "on_call_end":
            out.append(self._skip())
        return out

    def _skip(self) -> CallOrder:
        return Tell(CallbackDropped(self._call_id, self._waiting.popleft()[0]))

    def _start(self, now: int, callback: str, payload: Any) -> CallOrder:
        spec = self._specs[callback]
        self._count += 1
        self._running = f"cb:{self._count}:{callback}"
        self._callback = callback
        self._until = later(now, self._bound(callback))
        if callback == "on_call_end":
            self._last_by = None
        return Run(self._running, spec.lane, spec.name, (payload,))

    def owns(self, name: str) -> bool:
        """Is this the running callback's task?"""
        return name == self._running and bool(name)

    def finished(self, now: int, failed: str | None) -> tuple[list[CallOrder], str]:
        """The running callback ended (``failed`` says how). Returns orders and which callback it was."""
        callback = self._callback
        out: list[CallOrder] = []
        if failed is not None:
            out.append(Tell(CallbackFailed(self._call_id, callback, failed)))
        self._next(now, out)
        return out, callback

    def tick(self, now: int) -> tuple[list[CallOrder], str]:
        """The running callback's time is up: go on without it. Returns orders and which callback it was, or ''."""
        if self._last_by is not None and now >= self._last_by:
            return self.only_the_last(now), ""
        if not self._running or now < self._until:
            return [], ""
        callback = self._callback
        after = round(self._bound(callback) * 1000)
        out: list[CallOrder] = [Drop(self._running), Tell(CallbackTimedOut(self._call_id, callback, after))]
        self._next(now, out)
        return out, callback

    def _next(self, now: int, out: list[CallOrder]) -> None:
        self._running = self._callback = ""
        if self._waiting:
            out.append(self._start(now, *self._waiting.popleft()))

    def only_the_last(self, now: int) -> list[CallOrder]:
        """The call is being torn down: of what waits, only ``on_call_end`` still runs, and at once."""
        out: list[CallOrder] = []
        while self._waiting and self._waiting[0][0] != "on_call_end":
            out.append(self._skip())
        if self._waiting:  # on_call_end waits, hence something runs
            out += [Drop(self._running), Tell(CallbackDropped(self._call_id, self._callback))]
            self._next(now, out)
        return out
