"""``Patter``, but for the two things that differ between the loops: what carries a board, and what an event is.

Everything awaited here is the loop's own; nothing here knows which loop that is.
"""

from __future__ import annotations

import abc
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from itertools import count
from typing import Any, Protocol, Self

from patter_core.agent import Agent
from patter_core.contract import Asked, AskId, Fact
from patter_core.errors import ConfigError, LocalProtocolError, PatterConnectionError, RefusedError

from .app import PatterBase

__all__ = ["AnyDrive", "AnyEvent", "LoopPatter", "Ready"]


class AnyEvent(Protocol):
    """An event of either loop."""

    def set(self) -> object: ...

    def wait(self) -> Awaitable[object]: ...


class AnyDrive(Protocol):
    """A drive of either loop."""

    def run(self, started: Callable[[Any], object] | None = None) -> Awaitable[int]: ...

    def ask(self, verb: str, /, **args: Any) -> Awaitable[Any]: ...

    def stop_soon(self) -> None: ...

    def feed(self, fact: Fact) -> None: ...

    def post(self, call: Callable[..., None], *args: Any) -> None: ...


class Ready:
    """Where the server listens. ``await`` it, as often as you like, before or after ``serve`` has begun."""

    def __init__(self, new_event: Callable[[], AnyEvent]) -> None:
        self._event = new_event()
        self._place: tuple[str, int] | None = None

    def resolve(self, place: tuple[str, int] | None) -> None:
        """The server listens at (host, port); None: it never will."""
        self._place = place
        self._event.set()

    async def _wait(self) -> tuple[str, int]:
        await self._event.wait()
        if self._place is None:
            raise PatterConnectionError("serve() ended before the server was ready")
        return self._place

    def __await__(self) -> Generator[Any, Any, tuple[str, int]]:
        return self._wait().__await__()


class LoopPatter(PatterBase, abc.ABC):
    """A server for one or more carriers' numbers. Options are checked here; nothing is opened before ``serve``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._drive: AnyDrive | None = None
        self._ready = Ready(self._new_event)
        self._ended: AnyEvent | None = None
        self._orders = count(-1, -1)  # names of commands nobody waits for; `ask` counts upwards

    @abc.abstractmethod
    def _new_event(self) -> AnyEvent:
        """An event of this loop."""

    @abc.abstractmethod
    def _new_drive(self, board: Any, **options: Any) -> AnyDrive:
        """What carries a board on this loop."""

    @property
    def ready(self) -> Ready:
        """Awaitable: (host, port) once the server takes calls."""
        return self._ready

    async def serve(
        self,
        agent: Agent | Mapping[str, Agent],
        port: int = 8000,
        recording: bool = False,
        on_call_start: Callable[..., Any] | None = None,
        on_call_end: Callable[..., Any] | None = None,
        on_transcript: Callable[..., Any] | None = None,
        on_message: Callable[..., Any] | None = None,
        on_metrics: Callable[..., Any] | None = None,
        voicemail_message: str = "",
        dashboard: bool = True,
        dashboard_token: str = "",
        tunnel: Any = False,
        pricing: Any = None,
        manage_webhook: bool = True,
        *,
        host: str = "0.0.0.0",
        listener: socket.socket | Sequence[socket.socket] | None = None,
        trace: str = "",
        on_event: Callable[[Any], object] | None = None,
        on_draining: Callable[[float], Any] | None = None,
        on_stuck: Callable[[list[str]], object] | None = None,
        ssl_certfile: str = "",
        ssl_keyfile: str = "",
        finish_calls_s: float = 0.0,
        leave_s: float = 1.0,
    ) -> int:
        """Take calls until stopped (``disconnect``, or cancellation). Returns the exit code, 0 for a clean end.

        ``dashboard`` and ``manage_webhook`` are accepted for programs written for the reference; this version has no
        dashboard and changes nothing at the carrier. Other options it does not have yet are refused, not ignored.
        ``on_draining(deadline)`` is told, when the way down begins, at what unix time active calls will be hung up.
        """
        later = {
            "recording": recording,
            "voicemail_message": voicemail_message,
            "dashboard_token": dashboard_token,
            "tunnel": tunnel,
            "pricing": pricing,
        }
        for name, value in later.items():
            if value:
                raise ConfigError(f"{name}= is not available in this version")
        if self._drive is not None:
            raise LocalProtocolError("this Patter is serving already; make another for another server")
        callbacks = {
            "on_call_start": on_call_start,
            "on_call_end": on_call_end,
            "on_transcript": on_transcript,
            "on_message": on_message,
            "on_metrics": on_metrics,
            "on_draining": on_draining,
        }
        app = self._app(
            agent,
            host=host,
            port=port,
            listener=listener,
            callbacks=callbacks,
            trace=trace,
            on_event=on_event,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            finish_calls_s=finish_calls_s,
        )
        place = app.listeners[0].getsockname()[:2]
        drive = self._drive = self._new_drive(
            app.board,
            listener=app.listeners,
            handlers=app.handlers,
            secrets=app.secrets,
            on_event=app.on_event,
            server_tls=app.server_tls,
            leave_s=leave_s,
            on_stuck=on_stuck,
        )
        self._order = self._post_order
        self._ended = self._new_event()
        try:
            return await drive.run(lambda _: self._ready.resolve(place))
        finally:
            self._ready.resolve(None)
            self._drive = None
            self._ready = Ready(self._new_event)
            self._ended.set()

    async def disconnect(self, finish_calls_s: float | None = None) -> None:
        """Stop in the six documented steps; returns when ``serve`` has. With ``finish_calls_s``, calls may first end by
        themselves for so long. Doing it again hurries."""
        drive, ended = self._drive, self._ended
        if drive is None or ended is None:
            return
        try:
            await drive.ask("stop", finish_calls_s=finish_calls_s)
        except RefusedError:
            pass  # it had stopped already
        await ended.wait()

    async def end_call(self, call_id: str) -> bool:
        """Hang up one call; returns when it is over. False: it was over already."""
        if self._drive is None:
            raise PatterConnectionError("the server is not running: end_call() works while serve() does")
        return bool(await self._drive.ask("end_call", call_id=call_id))

    async def say(self, call_id: str, text: str) -> None:
        """Have the agent of an active call speak a line, after what it is saying."""
        if self._drive is None:
            raise PatterConnectionError("the server is not running: say() works while serve() does")
        await self._drive.ask("say", call_id=call_id, text=text)

    async def active_calls(self) -> list[str]:
        """The ids of the calls that are not over."""
        return list(await self._drive.ask("calls")) if self._drive is not None else []

    def stop_soon(self) -> None:
        """``disconnect`` from a signal handler or another thread, without waiting. Once more hurries."""
        if self._drive is not None:
            self._drive.stop_soon()

    def _post_order(self, verb: str, **args: Any) -> None:
        if self._drive is not None:
            self._drive.post(self._drive.feed, Asked(AskId(next(self._orders)), verb, args))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.disconnect()
