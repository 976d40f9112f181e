"""``Patter``, but for the two things that differ between the loops: what carries a board, and what an event is.

Everything awaited here is the loop's own; nothing here knows which loop that is.
"""

from __future__ import annotations

import abc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, Self

from patter_core.agent import Agent
from patter_core.contract import Fact
from patter_core.errors import ConfigError, LocalProtocolError, PatterConnectionError, RefusedError

from .app import PatterBase

__all__ = ["AnyDrive", "AnyEvent", "LoopPatter", "Ready"]

log = logging.getLogger("patter")

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        self._stop_wanted = False  # asked to stop before there was anything to stop

    @abc.abstractmethod
    def _new_event(self) -> AnyEvent:
        """An event of this loop."""

    @abc.abstractmethod
    async def _carried(self, drive: Any, started: Callable[[Any], object], grace_s: float) -> int:
        """Run a drive to its end; cancelled from outside, stop it before dropping it."""

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
        stop_on_signals: bool = False,
        cancel_s: float = 3.0,
        leave_s: float = 1.0,
    ) -> int:
        """Take calls until stopped (``disconnect``, or cancellation). Returns the exit code, 0 for a clean end.

        ``dashboard`` and ``manage_webhook`` are accepted for programs written for the reference; this version has no
        dashboard and changes nothing at the carrier. Other options it does not have yet are refused, not ignored.
        ``stop_on_signals`` lets SIGINT and SIGTERM mean ``disconnect`` while serving (main thread only). Cancelled from
        outside, the six steps have ``cancel_s`` before they are hurried. ``on_draining(deadline)`` is told, when the
        way down begins, at what unix time active calls will be hung up.
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
        self._ended = self._new_event()
        try:
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
            place = app.listeners[0].getsockname()[:2]
            if self._stop_wanted:
                drive.stop_soon()
            with app.orders.given_to(drive), self._signals(stop_on_signals):
                return await self._carried(drive, lambda _: self._listens(place), cancel_s)
        finally:
            self._ready.resolve(None)
            self._drive = None
            self._stop_wanted = False
            self._ready = Ready(self._new_event)
            self._ended.set()

    def _listens(self, place: tuple[str, int]) -> None:
        host, port = place
        voice = ", ".join(f"{self.public_url.origin}/webhooks/{carrier.name}/voice" for carrier in self.carriers)
        log.info("listening on %s:%s; carriers call %s", host, port, voice)
        if not self.public_url.secure:
            log.warning("webhook_url is http: carriers open media streams over wss only, so only a simulator can call")
        self._ready.resolve((host, port))

    @contextmanager
    def _signals(self, wanted: bool) -> Iterator[None]:
        """While serving, let SIGINT and SIGTERM mean ``disconnect``; afterwards they are whoever's they were."""
        if not wanted:
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop_soon()) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def disconnect(self, finish_calls_s: float | None = None) -> None:
        """Stop in the six documented steps; returns when ``serve`` has. With ``finish_calls_s``, calls may first end by
        themselves for so long. Doing it again hurries."""
        if finish_calls_s is not None and (
            isinstance(finish_calls_s, bool) or not isinstance(finish_calls_s, int | float)
        ):
            raise ConfigError(f"finish_calls_s must be seconds, got {finish_calls_s!r}")
        drive, ended = self._drive, self._ended
        if drive is None or ended is None:
            return
        try:
            await drive.ask("stop", finish_calls_s=finish_calls_s)
        except RefusedError as exc:
            if exc.code != "stopped":
                raise
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
        else:
            self._stop_wanted = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.disconnect()
