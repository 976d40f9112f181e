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
from itertools import count
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from patter_core.agent import Agent, lane_of, voice_of
from patter_core.call.result import CallResult, MachineDetection
from patter_core.config import AgentSpec, HandlerSpec, PublicUrl
from patter_core.contract import Fact
from patter_core.errors import ConfigError, LocalProtocolError, PatterConnectionError, RefusedError
from patter_core.events import CallEnded, ServerReady, StartupRefused, TunnelOpened, TunnelUnproven, TurnCompleted
from patter_core.latency import Latencies
from patter_core.startup import REFUSED_CODE

from .app import App, PatterBase, logged
from .terminal import CALL_ID, CALLER, Terminal, TextCall, in_text

__all__ = ["AnyDrive", "AnyEvent", "LoopPatter", "Ready"]

log = logging.getLogger("patter")

T = TypeVar("T")

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


class Ready(Generic[T]):
    """Something the server will know. ``await`` it, as often as you like, before or after ``serve`` has begun."""

    def __init__(self, new_event: Callable[[], AnyEvent], what: str = "the server was ready") -> None:
        self._event = new_event()
        self._what = what
        self._value: T | None = None

    def resolve(self, value: T | None) -> None:
        """This is it; None: it never will be."""
        self._value = value
        self._event.set()

    async def _wait(self) -> T:
        await self._event.wait()
        if self._value is None:
            raise PatterConnectionError(f"serve() ended before {self._what}")
        return self._value

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()


class LoopPatter(PatterBase, abc.ABC):
    """A server for one or more carriers' numbers. Options are checked here; nothing is opened before ``serve``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._drive: AnyDrive | None = None
        self._forget()
        self._own_handlers: dict[str, str] = {}  # by call: its own on_machine_detection
        self._names = count(1)
        self._ended: AnyEvent | None = None
        self.latencies = Latencies()  #: of every turn of every call: ``latencies.summary()`` has p50 to p99 by stage
        self._place_found = ("", 0)
        self._refusal = ""  # why the server did not start
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

    def _forget(self) -> None:
        self._app_running: App | None = None
        self._providers: dict[tuple[object, ...], tuple[AgentSpec, Agent]] = {}  # resolved into that app's tables
        self._ready: Ready[tuple[str, int]] = Ready(self._new_event)
        self._tunnel_ready: Ready[str] = Ready(self._new_event, "the tunnel had a name")

    @property
    def ready(self) -> Ready[tuple[str, int]]:
        """Awaitable: (host, port) once the server takes calls."""
        return self._ready

    @property
    def tunnel_ready(self) -> Ready[str]:
        """Awaitable: the public host name of ``tunnel=``, once carriers can reach the server there."""
        return self._tunnel_ready

    async def serve(
        self,
        agent: Agent | Mapping[str, Agent],
        port: int = 8000,
        recording: bool = False,
        on_call_start: Callable[..., Any] | None = None,
        on_call_end: Callable[..., Any] | None = None,
        on_transcript: Callable[..., Any] | None = None,
        on_message: Callable[..., Any] | str | None = None,
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
        on_recording: Callable[[dict[str, Any]], Any] | None = None,
        recording_announcement: str = "",
        local_recording: str = "",
        on_draining: Callable[[float], Any] | None = None,
        on_stuck: Callable[[list[str]], object] | None = None,
        ssl_certfile: str = "",
        ssl_keyfile: str = "",
        finish_calls_s: float = 0.0,
        stop_on_signals: bool = False,
        cancel_s: float = 3.0,
        leave_s: float = 1.0,
    ) -> int:
        """Take calls until stopped (``disconnect``, or cancellation). Returns the exit code, 0 for a clean end; a
        server that cannot start (no program for the tunnel, nothing to hang up with) raises ConfigError.

        ``manage_webhook``: on start the carriers are told to report calls here, if they do not yet (Twilio for
        ``phone_number``, Telnyx for the connection). ``recording`` has the carrier record both sides; ``on_recording``
        is told where, once a recording can be fetched; ``recording_announcement`` is said first. ``local_recording``
        is a directory for a stereo WAV of each call. ``voicemail_message`` is left when a machine takes a call that
        was dialled with machine detection.

        ``dashboard`` is accepted for programs written for the reference; this version has none. Other options it does
        not have yet are refused, not ignored.
        ``stop_on_signals`` lets SIGINT and SIGTERM mean ``disconnect`` while serving (main thread only). Cancelled from
        outside, the six steps have ``cancel_s`` before they are hurried. ``on_draining(deadline)`` is told, when the
        way down begins, at what unix time active calls will be hung up.
        """
        later = {
            "dashboard_token": dashboard_token,
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
            "on_recording": on_recording,
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
                on_event=self._hearing(on_event),
                tunnel=tunnel,
                pricing=pricing,
                manage_webhook=manage_webhook,
                recording=recording,
                recording_announcement=recording_announcement,
                local_recording=local_recording,
                voicemail_message=voicemail_message,
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
            self._app_running = app
            self._place_found = app.listeners[0].getsockname()[:2]
            if self._stop_wanted:
                drive.stop_soon()
            with app.orders.given_to(drive), self._signals(stop_on_signals):
                code = await self._carried(drive, lambda _: None, cancel_s)
            if code == REFUSED_CODE:
                raise ConfigError(f"the server did not start: {self._refusal}")
            return code
        finally:
            self._ready.resolve(None)
            self._tunnel_ready.resolve(None)
            self._drive = None
            self._stop_wanted = False
            self._forget()
            self._own_handlers.clear()
            self._ended.set()

    def _hearing(self, on_event: Callable[[Any], object] | None) -> Callable[[Any], None]:
        """What this object itself wants to know of what happens, then whoever else does."""

        def hear(event: Any) -> None:
            match event:
                case ServerReady():
                    self._listens(self._place_found)
                case TunnelOpened(host=host) | TunnelUnproven(host=host):
                    self._tunnel_ready.resolve(host)
                case StartupRefused(detail=detail):
                    self._refusal = detail
                case TurnCompleted(turn=turn):
                    self.latencies.add(turn)
                case CallEnded(call_id=call_id):
                    self._release(self._own_handlers.pop(call_id, ""))
            if on_event is not None:
                on_event(event)

        return hear

    def _release(self, handler: str) -> None:
        if handler and self._app_running is not None:
            self._app_running.handlers.pop(handler, None)

    def _listens(self, place: tuple[str, int]) -> None:
        host, port = place
        log.info("listening on %s:%s", host, port)
        for voice in self._voice_urls():
            log.info("carriers call %s", voice)
            if not voice.startswith("https:"):
                log.warning("webhook_url is http: carriers open media streams over wss only: only a simulator can call")
        self._ready.resolve((host, port))

    def _voice_urls(self) -> list[str]:
        if not self._webhook_url:
            return []
        origin = PublicUrl.parse(self._webhook_url).origin
        return [f"{origin}/webhooks/{carrier.name}/voice" for carrier in self.carriers]

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

    async def call(
        self,
        to: str,
        agent: Agent | None = None,
        first_message: str = "",
        from_number: str = "",
        machine_detection: bool = False,
        on_machine_detection: Callable[[MachineDetection], Any] | None = None,
        voicemail_message: str = "",
        ring_timeout: float | None = 25,
        wait: bool = False,
        *,
        variables: Mapping[str, Any] | None = None,
        carrier: str = "",
    ) -> str | CallResult:
        """Call somebody: ``agent`` (default: the one served for ``from_number``) talks to whoever answers.

        Returns the call's id once the carrier has taken the order; with ``wait=True``, once the call is over, a
        ``CallResult`` that says what became of it: answered, voicemail, no_answer, busy, failed or canceled.
        ``from_number`` defaults to the first ``phone_number``, ``carrier`` to the first carrier. A message or an
        ``on_machine_detection`` of this call's own turns machine detection on. RefusedError says why a call could not
        be placed.
        """
        drive, app = self._drive, self._app_running
        if drive is None or app is None:
            raise PatterConnectionError("the server is not running: call() works while serve() does")
        args: dict[str, Any] = {
            "to": to,
            "first_message": first_message,
            "from_number": from_number,
            "machine_detection": machine_detection or on_machine_detection is not None or bool(voicemail_message),
            "voicemail_message": voicemail_message,
            "ring_timeout": ring_timeout,
            "variables": {str(key): str(value) for key, value in (variables or {}).items()},
            "carrier": carrier,
            "wait": wait,
        }
        if agent is not None:
            args["agent"] = self._served(app, agent)
        own = ""
        if on_machine_detection is not None:
            own = f"call{next(self._names)}:on_machine_detection"
            app.handlers[own] = on_machine_detection
            args["on_machine_detection"] = HandlerSpec(own, lane_of(on_machine_detection))
        try:
            answer = await drive.ask("call", **args)
        except BaseException:
            self._release(own)
            raise
        if isinstance(answer, CallResult):
            self._release(own)
            return answer
        if own:
            self._own_handlers[answer] = own
            if answer not in await self.active_calls():  # it was over before we were told its id
                self._release(self._own_handlers.pop(answer, ""))
        return str(answer)

    def _served(self, app: App, agent: Agent) -> AgentSpec:
        """The agent as data. Its functions stay in the table for as long as the server runs; agents that share their
        providers share them there too, so that a campaign of a thousand calls does not fill it."""
        if not isinstance(agent, Agent):
            raise ConfigError("agent must be made by phone.agent(...)")
        parts = (agent.engine, agent.stt, agent.llm, agent.tts, agent.tools, agent.guardrails, agent.hooks)
        options = (agent.vad, agent.built_in_tools, agent.language, agent.model, agent.voice, agent.fallback_message)
        key = (*map(id, (*parts, agent.text_transforms)), *options)
        known = self._providers.get(key)
        if known is None:
            callbacks = dict(app.callbacks)
            staged = agent.engine is None and (agent.stt is not None or agent.tts is not None)
            if not staged or agent.llm is not None:
                callbacks.pop("on_message", None)  # it is for the agents that ask it; this one answers by itself
            spec = self._resolve(agent, callbacks, app.handlers, app.resolving, f"agent{next(self._names)}:")
            known = self._providers[key] = (spec, agent)
        return msgspec.structs.replace(
            known[0],
            system_prompt=agent.system_prompt,
            first_message=agent.first_message,
            voice=voice_of(agent),
            variables={str(name): str(value) for name, value in agent.variables.items()},
            barge_in_threshold_ms=agent.barge_in_threshold_ms,
            interruptions=agent.interruptions,
            patience=agent.patience,
            transfer_allow=agent.transfer_allow,
            transfer_refused_message=agent.transfer_refused_message,
            transfer_failed_message=agent.transfer_failed_message,
        )

    async def test(
        self,
        agent: Agent,
        on_message: Callable[..., Any] | str | None = None,
        on_call_start: Callable[..., Any] | None = None,
        on_call_end: Callable[..., Any] | None = None,
        *,
        read: Callable[[], str] | None = None,
        write: Callable[[str], object] = print,
    ) -> None:
        """Talk to an agent in the terminal: no carrier, no audio. Its model or ``on_message``, tools, hooks, guardrails
        and callbacks run as in a call. ``/transfer NUMBER``, ``/hangup``, ``/history``, ``/quit``. Engines that hear
        and speak by themselves have no text in between: they are refused."""
        typed: list[TextCall] = []
        callbacks: dict[str, Any] = {
            "on_message": on_message,
            "on_call_start": on_call_start,
            "on_call_end": on_call_end,
        }
        plan = self.plan(
            in_text(agent, on_message, lambda pcm, rate: typed[0].understood(pcm, rate)),
            CALL_ID,
            caller=CALLER,
            callee=next(iter(self.phone_numbers), ""),
            **callbacks,
        )
        typed.append(TextCall(plan.spec, plan.seed))
        terminal = Terminal(typed[0], read, write)
        drive = self._new_drive(
            typed[0], handlers=plan.handlers, secrets=plan.secrets, on_event=logged(terminal.told), leave_s=1.0
        )
        with plan.orders.given_to(drive):
            await self._carried(drive, terminal.begin, 3.0)

    async def _ask(self, what: str, verb: str, **args: Any) -> Any:
        if self._drive is None:
            raise PatterConnectionError(f"the server is not running: {what}() works while serve() does")
        return await self._drive.ask(verb, **args)

    async def end_call(self, call_id: str, force: bool = False) -> bool:
        """Hang up one call, once what is being said was heard and the caller had a chance to speak (with ``force`` at
        once); returns when it is over. False: it was over already."""
        return bool(await self._ask("end_call", "end_call", call_id=call_id, force=force))

    async def say(self, call_id: str, text: str) -> None:
        """Have the agent of an active call speak a line, after what it is saying."""
        await self._ask("say", "say", call_id=call_id, text=text)

    async def transfer(self, call_id: str, number: str, summary: str = "", *, by_model: bool = False) -> dict[str, Any]:
        """Send a caller to ``number`` (E.164 or ``sip:``). Returns, when it is settled, ``{"transferred", "reason"}``:
        a caller whom nobody takes over is the agent's again. With a ``summary`` whoever answers hears it first."""
        result: dict[str, Any] = await self._ask(
            "transfer", "transfer", call_id=call_id, to=number, summary=summary, by_model=by_model
        )
        return result

    async def send_dtmf(self, call_id: str, digits: str, delay_ms: int = 300) -> None:
        """Press keys on an active call; returns when they have been sent (in-band: heard)."""
        await self._ask("send_dtmf", "send_dtmf", call_id=call_id, digits=digits, delay_ms=delay_ms)

    async def collect_digits(
        self, call_id: str, most: int = 32, terminator: str = "#", timeout_s: float = 10.0
    ) -> dict[str, str]:
        """The caller's next keys, up to ``terminator``: ``{"digits", "ended_by"}``."""
        found: dict[str, str] = await self._ask(
            "collect_digits",
            "collect_digits",
            call_id=call_id,
            most=most,
            terminator=terminator,
            timeout_s=timeout_s,
        )
        return found

    async def record(self, call_id: str, step: str) -> None:
        """``start``, ``pause``, ``resume`` or ``stop`` the carrier's recording of an active call."""
        await self._ask("record", "record", call_id=call_id, step=step)

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
