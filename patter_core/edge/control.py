"""``CallControl``: what an ``on_message`` that takes two arguments gets, to act on its call."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

__all__ = ["CallControl", "with_control"]


class _Ordered:
    """Already ordered; awaiting it is allowed and takes no time."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


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
