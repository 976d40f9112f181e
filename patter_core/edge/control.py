"""``CallControl``: what an ``on_message`` that takes two arguments gets, to act on its call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from patter_core.contract import Asked, AskId
from patter_core.errors import PatterConnectionError

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

    def ask(self, verb: str, **args: Any) -> Awaitable[Any]:
        """Order something and await its answer; on the loop only."""
        drive = self._drive
        if drive is None:
            raise PatterConnectionError(f"{verb} came after its call had ended")
        answer: Awaitable[Any] = drive.ask(verb, **args)
        return answer


class CallControl:
    """One call, from inside one of its callbacks. Its orders may be given from any thread, awaited or not."""

    def __init__(self, payload: dict[str, Any], order: Callable[..., None], ask: Callable[..., Awaitable[Any]]) -> None:
        self.call_id: str = payload["call_id"]
        self.caller: str = payload["caller"]
        self.callee: str = payload["callee"]
        self.telephony_provider: str = payload["telephony_provider"]
        self.ended = False
        self._order = order
        self._ask = ask

    def hangup(self, force: bool = False) -> _Ordered:
        """End the call: once what is being said has been heard and the caller has had a chance to speak; with
        ``force`` at once."""
        self.ended = True
        self._order("end_call", call_id=self.call_id, force=force)
        return _Ordered()

    def transfer(self, number: str, summary: str = "", *, by_model: bool = False) -> _Ordered:
        """Send the caller to ``number`` (E.164 or ``sip:``); they come back when nobody answers. With a ``summary``
        whoever answers hears it first, and only then gets the caller. ``by_model`` is for a number that a language
        model chose: it must then be one that the operator wrote."""
        self._order("transfer", call_id=self.call_id, to=number, summary=summary, by_model=by_model)
        return _Ordered()

    def send_dtmf(self, digits: str, delay_ms: int = 300) -> _Ordered:
        """Press keys (0-9 * # A-D; ``w`` and ``W`` wait half a second and a second), ``delay_ms`` apart."""
        self._order("send_dtmf", call_id=self.call_id, digits=digits, delay_ms=delay_ms)
        return _Ordered()

    def collect_digits(self, most: int = 32, terminator: str = "#", timeout_s: float = 10.0) -> Awaitable[Any]:
        """Await the caller's keys: ``{"digits", "ended_by"}``, where ``ended_by`` is terminator, length, timeout or
        cancelled. From coroutines and async generators only."""
        return self._ask("collect_digits", call_id=self.call_id, most=most, terminator=terminator, timeout_s=timeout_s)

    def pause_recording(self) -> _Ordered:
        """Let the carrier's recording rest, while somebody reads out their card's number, say."""
        self._order("record", call_id=self.call_id, step="pause")
        return _Ordered()

    def resume_recording(self) -> _Ordered:
        """... and go on."""
        self._order("record", call_id=self.call_id, step="resume")
        return _Ordered()

    def say(self, text: str) -> _Ordered:
        """Speak a line, after what is being said."""
        self._order("say", call_id=self.call_id, text=text)
        return _Ordered()


def with_control(handler: Callable[..., Any], orders: Orders) -> Callable[..., Any]:
    """``handler`` with its second argument filled in. Its kind (sync, async, generator) is told by what it returns."""

    def call(payload: dict[str, Any]) -> Any:
        return handler(payload, CallControl(payload, orders.give, orders.ask))

    return call
