"""``CallControl``: what an ``on_message`` that takes two arguments gets, to act on its call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from patter_core.contract import Asked, AskId

__all__ = ["CallControl", "Orders", "with_control"]

log = logging.getLogger("patter")


class _Ordered:
    """Already ordered; awaiting it is allowed and takes no time."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class Orders:
    """Where the orders of callbacks go: the drive that carries their call, while there is one."""

    def __init__(self) -> None:
        self._drive: Any = None
        self._names = count(-1, -1)  # nobody waits for these answers; those somebody waits for count upwards

    @contextmanager
    def given_to(self, drive: Any) -> Iterator[None]:
        """Let ``drive`` have them."""
        self._drive = drive
        try:
            yield
        finally:
            self._drive = None

    def give(self, verb: str, **args: Any) -> None:
        """Order something, from any thread."""
        drive = self._drive
        if drive is None:
            log.warning("%s came after its call had ended; nothing was done", verb)
        else:
            drive.post(drive.feed, Asked(AskId(next(self._names)), verb, args))


class CallControl:
    """One call, from inside one of its callbacks. Its orders may be given from any thread, awaited or not."""

    def __init__(self, payload: dict[str, Any], provider: str, order: Callable[..., None]) -> None:
        self.call_id: str = payload["call_id"]
        self.caller: str = payload["caller"]
        self.callee: str = payload["callee"]
        self.telephony_provider = provider
        self.ended = False
        self._order = order

    def hangup(self) -> _Ordered:
        """End the call."""
        self.ended = True
        self._order("end_call", call_id=self.call_id)
        return _Ordered()

    def say(self, text: str) -> _Ordered:
        """Speak a line, after what is being said."""
        self._order("say", call_id=self.call_id, text=text)
        return _Ordered()


def with_control(handler: Callable[..., Any], provider: str, order: Callable[..., None]) -> Callable[..., Any]:
    """``handler`` with its second argument filled in. Its kind (sync, async, generator) is told by what it returns."""

    def call(payload: dict[str, Any]) -> Any:
        return handler(payload, CallControl(payload, provider, order))

    return call
