"""What a ``Patter`` is on every loop: options checked, agents resolved, a board and its tables built.

The adapters' own ``Patter`` classes add only what awaits.
"""

from __future__ import annotations

import inspect
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from patter_core.admission import check_networks
from patter_core.agent import Agent, lane_of, resolve_agent
from patter_core.call.pricing import DEFAULT_TABLE, PriceTable, resolve_pricing
from patter_core.call.spec import CallSpec
from patter_core.carriers.dialects import DIALECTS, dialect_of
from patter_core.carriers.telnyx.options import Telnyx
from patter_core.carriers.twilio.options import Twilio
from patter_core.config import AgentSpec, CarrierSpec, HandlerSpec, PipelineSpec, PublicUrl, ServerConfig, check_port
from patter_core.dialling import valid_number
from patter_core.errors import ConfigError, PatterConnectionError
from patter_core.logline import describe
from patter_core.providers.keys import Resolving, Secret
from patter_core.settings import CallSettings, ServerSettings
from patter_core.switchboard import Switchboard
from patter_core.tunnel import TunnelSpec, tunnel_spec

from . import files
from .control import Orders, with_control
from .silero import load_silero
from .sockets import descriptor_limit, listen

__all__ = ["App", "PatterBase", "Plan", "log_event", "logged"]

log = logging.getLogger("patter")

Carrier = Twilio | Telnyx
_CALLBACKS = ("on_call_start", "on_call_end", "on_transcript", "on_message", "on_metrics")

_LATER = {
    "audio_filter": "audio filters",
    "background_audio": "background audio",
}


_AGENT_MORE = {
    "built_in_tools",
    "fallback_message",
    "interruptions",
    "patience",
    "transfer_allow",
    "transfer_failed_message",
    "transfer_refused_message",
}

#: What stands for the public address while a tunnel has no name yet: nothing can be reached there.
UNPLACED = PublicUrl("tunnel.invalid")


#: What every board may name beside the application's own handlers.
_BUILT_IN: dict[str, Callable[..., Any]] = {
    "file.create": files.create,
    "file.append": files.append,
    "file.patch": files.patch,
}


def log_event(event: Any) -> None:
    """One log record for one event: the call's id, numbers masked, never a secret."""
    level, text, call_id = describe(event)
    log.log(level, "%s%s", f"[{call_id}] " if call_id else "", text, extra={"call_id": call_id})


def logged(on_event: Callable[[Any], object] | None) -> Callable[[Any], None]:
    """What hears every event: the log, then whoever else wants to."""

    def hear(event: Any) -> None:
        log_event(event)
        if on_event is not None:
            on_event(event)

    return hear


def _epoch() -> int:
    return int(time.time() * 1_000_000)


class App:
    """A board with everything an adapter needs to carry it."""

    def __init__(
        self,
        board: Switchboard,
        handlers: dict[str, Callable[..., Any]],
        resolving: Resolving,
        listeners: list[socket.socket],
        on_event: Callable[[Any], object],
        server_tls: ssl.SSLContext | None,
        orders: Orders,
        callbacks: Mapping[str, Any],
    ) -> None:
        self.orders = orders
        self.callbacks = callbacks
        self.board = board
        self.handlers = handlers
        self.resolving = resolving
        self.secrets = resolving.secrets
        self.listeners = listeners
        self.on_event = on_event
        self.server_tls = server_tls


class Plan:
    """One call to be carried inside somebody else's server, by ``run_call``."""

    def __init__(
        self,
        spec: CallSpec,
        handlers: dict[str, Callable[..., Any]],
        secrets: dict[str, Secret],
        trace: str,
        orders: Orders,
        seed: bytes = b"",
    ) -> None:
        self.seed = seed
        self.spec = spec
        self.handlers = handlers
        self.secrets = secrets
        self.trace = trace
        self.orders = orders


class PatterBase:
    """The options of a ``Patter``, checked at construction.

    ``carrier`` is one carrier or a list; ``webhook_url`` the public origin (a host, or a URL with port and path);
    credentials come from the arguments or from ``environ`` (default: the process's environment). What is missing or
    wrong raises ``ConfigError`` (a ``ValueError``) that says what to change.
    """

    def __init__(
        self,
        carrier: Carrier | Sequence[Carrier] | None = None,
        phone_number: str | Sequence[str] = "",
        webhook_url: str = "",
        tunnel: Any = None,
        pricing: Any = None,
        *,
        require_signature: bool = True,
        require_upgrade_signature: bool = False,
        authenticate_streams: bool = True,
        ticket_secret: str = "",
        trusted_proxies: Sequence[str] = (),
        max_calls: int | None = None,
        max_streams_per_ip: int | None = None,
        settings: ServerSettings | None = None,
        call_settings: CallSettings | None = None,
        webhook_secret: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.prices = resolve_pricing(pricing)
        self._webhook_secret = webhook_secret
        env = self._environ = dict(os.environ if environ is None else environ)
        carriers = [Twilio()] if carrier is None else [carrier] if isinstance(carrier, Carrier) else list(carrier)
        if not carriers or not all(hasattr(one, "resolve") for one in carriers):
            raise ConfigError(f"carrier must be one of {sorted(DIALECTS)} (Twilio(), Telnyx()), or a list of them")
        names = [one.carrier for one in carriers]
        if len(set(names)) < len(names):
            raise ConfigError(f"each carrier once, got {', '.join(names)}")
        missing: list[str] = []
        specs = [one.resolve(env, missing, need_key=require_signature) for one in carriers]
        if missing:
            raise ConfigError(f"missing credentials: {', '.join(missing)}")
        self.carriers: tuple[CarrierSpec, ...] = tuple(specs)
        self._webhook_url = webhook_url
        self._tunnel = tunnel
        if webhook_url or tunnel:
            self._place(tunnel, 8000)  # what contradicts itself is refused before anything runs
        numbers = [phone_number] if isinstance(phone_number, str) else list(phone_number)
        self.phone_numbers = [number for number in numbers if number]
        for number in self.phone_numbers:
            if not valid_number(number):
                raise ConfigError(f"phone_number must be in E.164 form, such as '+15550001234'; got {number!r}")
        given = {"max_calls": max_calls, "max_streams_per_ip": max_streams_per_ip}
        own = {name: value for name, value in given.items() if value is not None}
        self.settings = msgspec.structs.replace(settings or ServerSettings(), **own)
        self.call_settings = call_settings or CallSettings()
        check_networks(trusted_proxies)
        self._admission = ServerConfig(
            public_url=UNPLACED,
            numbers=tuple(self.phone_numbers),
            carriers=self.carriers,
            agents={},
            call=self.call_settings,
            require_signature=require_signature,
            require_upgrade_signature=require_upgrade_signature,
            authenticate_streams=authenticate_streams,
            ticket_secret=ticket_secret,
            trusted_proxies=tuple(trusted_proxies),
        )

    def agent(
        self,
        system_prompt: str = "",
        engine: Any = None,
        stt: Any = None,
        llm: Any = None,
        tts: Any = None,
        voice: str = "alloy",
        model: str = "",
        language: str = "en",
        first_message: str = "",
        tools: Any = None,
        variables: Mapping[str, Any] | None = None,
        guardrails: Any = None,
        hooks: Any = None,
        text_transforms: Any = None,
        vad: Any = None,
        audio_filter: Any = None,
        background_audio: Any = None,
        barge_in_threshold_ms: int = 300,
        aggressive_first_flush: bool = False,
        **more: Any,
    ) -> Agent:
        """An agent, checked. Options of the reference that this version does not have yet are refused, not ignored."""
        given = {"audio_filter": audio_filter, "background_audio": background_audio}
        for name, value in given.items():
            if value:
                raise ConfigError(f"{name}= is not available in this version ({_LATER[name]})")
        if aggressive_first_flush:
            raise ConfigError("aggressive_first_flush= is not available: speech starts at the first sentence")
        if more.get("transfer_allow") is not None:
            more["transfer_allow"] = tuple(more["transfer_allow"])
        unknown = sorted(set(more) - _AGENT_MORE)
        if unknown:
            raise ConfigError(f"agent() has no option {', '.join(unknown)}")
        agent = Agent(
            system_prompt=system_prompt,
            engine=engine,
            stt=stt,
            llm=llm,
            tts=tts,
            voice=voice,
            model=model,
            language=language,
            first_message=first_message,
            tools=tools,
            guardrails=guardrails,
            hooks=hooks,
            text_transforms=text_transforms,
            variables=dict(variables or {}),
            vad=vad,
            barge_in_threshold_ms=barge_in_threshold_ms,
            **more,
        )
        if agent.vad is not None:
            load_silero()  # rather here than on a loop that carries calls
        return agent

    # --- for the adapters --------------------------------------------------------------------------------------------

    def _callbacks(self, given: Mapping[str, Any], orders: Orders) -> dict[str, Any]:
        callbacks = dict(given)
        handler = callbacks.get("on_message")
        if callable(handler) and _takes_two(handler):
            callbacks["on_message"] = _like(handler, with_control(handler, orders))
        return callbacks

    def _place(self, tunnel: Any, port: int) -> tuple[PublicUrl, TunnelSpec | None]:
        """Where carriers reach this server, and by which tunnel; ConfigError when that is unknown or contradictory."""
        spec = tunnel_spec(tunnel, port)
        if spec is not None and self._webhook_url:
            raise ConfigError("tunnel= and webhook_url= exclude each other: a tunnel brings its own public name")
        if spec is None:
            if not self._webhook_url:
                raise ConfigError(
                    "webhook_url is missing: the public host the carrier reaches, such as 'abc.example.com' "
                    "(or tunnel=True for a temporary one)"
                )
            return PublicUrl.parse(self._webhook_url), None
        return PublicUrl.parse(spec.hostname) if spec.hostname else UNPLACED, spec

    def _secrets(self) -> dict[str, Secret]:
        return {spec.name: ("Authorization", dialect_of(spec.name).authorization(spec)) for spec in self.carriers}

    def _resolving(self) -> Resolving:
        """For keys of providers; those of carriers are in its table already."""
        resolving = Resolving(self._environ)
        resolving.secrets.update(self._secrets())
        return resolving

    def _resolve(
        self,
        agent: Agent,
        callbacks: Mapping[str, Any],
        handlers: dict[str, Callable[..., Any]],
        resolving: Resolving,
        prefix: str = "",
    ) -> AgentSpec:
        if agent.vad is not None:
            load_silero()
        spec = resolve_agent(agent, callbacks, handlers, prefix, resolving=resolving, secret=self._webhook_secret)
        if isinstance(spec.engine, PipelineSpec) and not spec.engine.ear:
            log.warning("this agent only speaks: without stt= (or an engine=) it hears nothing but keys")
        return spec

    def _app(
        self,
        agent: Agent | Mapping[str, Agent],
        *,
        host: str,
        port: int,
        listener: socket.socket | Sequence[socket.socket] | None,
        callbacks: Mapping[str, Any],
        trace: str,
        on_event: Callable[[Any], object] | None,
        ssl_certfile: str,
        ssl_keyfile: str,
        finish_calls_s: float,
        tunnel: Any = None,
        manage_webhook: bool = False,
        recording: bool = False,
        recording_announcement: str = "",
        local_recording: str = "",
        voicemail_message: str = "",
        pricing: Any = None,
    ) -> App:
        """Everything ``serve`` needs, checked before a socket is opened."""
        check_port(port)
        agents = {"": agent} if isinstance(agent, Agent) else dict(agent)
        if not agents or not all(isinstance(one, Agent) for one in agents.values()):
            raise ConfigError("serve() takes an agent made by phone.agent(...), or a dict from numbers to agents")
        if bool(ssl_certfile) != bool(ssl_keyfile):
            raise ConfigError("ssl_certfile= and ssl_keyfile= belong together")
        handlers = dict(_BUILT_IN)
        orders = Orders()
        wired = self._callbacks(callbacks, orders)
        given = [listener] if isinstance(listener, socket.socket) else list(listener or ())
        place, passage = self._place(tunnel or self._tunnel, given[0].getsockname()[1] if given else port)
        resolving = self._resolving()
        specs = {
            number: self._resolve(one, wired, handlers, resolving, f"{number}:" if number else "")
            for number, one in agents.items()
        }
        changed: dict[str, Any] = {"finish_calls_s": finish_calls_s or self.settings.finish_calls_s}
        fits = descriptor_limit(self.settings.max_connections)
        if fits < self.settings.max_connections:
            log.warning(
                "this process may open %d connections, not max_connections=%d (ulimit -n)",
                fits,
                self.settings.max_connections,
            )
            changed["max_connections"] = fits
            # One address must not be able to take them all.
            changed["max_connections_per_ip"] = min(self.settings.max_connections_per_ip, max(1, fits // 2))
        on_draining = wired.get("on_draining")
        config = msgspec.structs.replace(
            self._admission,
            agents=specs,
            settings=msgspec.structs.replace(self.settings, **changed),
            trace_dir=str(trace),
            on_draining=_named("on_draining", on_draining, handlers),
            on_recording=_named("on_recording", wired.get("on_recording"), handlers),
            public_url=place,
            tunnel=passage,
            manage_webhook=manage_webhook,
            recording=recording,
            recording_announcement=recording_announcement,
            local_recording=str(local_recording),
            voicemail_message=voicemail_message,
            prices=self._prices(pricing),
        )
        server_tls = None
        if ssl_certfile:
            server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            server_tls.load_cert_chain(ssl_certfile, ssl_keyfile)
        if local_recording:
            for path in files.repair_wavs(str(local_recording)):
                log.warning("%s was not finished; its header is repaired", path)
        board = Switchboard(config, epoch=_epoch(), seed=os.urandom(32))
        if passage is not None and passage.ours and host == "0.0.0.0":
            host = "127.0.0.1"  # visitors come through the tunnel, and no other way
        if not given:
            try:
                given = [listen(host, port)]
            except OSError as exc:
                raise PatterConnectionError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
        return App(board, handlers, resolving, given, logged(on_event), server_tls, orders, wired)

    def _prices(self, pricing: Any) -> PriceTable | None:
        """The price table where it is not the one that comes with this version; ``pricing`` goes over the Patter's."""
        table = resolve_pricing(pricing, self.prices)
        return None if table == DEFAULT_TABLE else table

    def _carrier_named(self, name: str) -> CarrierSpec:
        for carrier in self.carriers:
            if not name or carrier.name == name:
                return carrier
        raise ConfigError(f"carrier_name must be one of {', '.join(one.name for one in self.carriers)}, got {name!r}")

    def plan(
        self,
        agent: Agent,
        call_id: str,
        *,
        caller: str = "",
        callee: str = "",
        direction: str = "inbound",
        trace: str = "",
        local_recording: str = "",
        carrier_name: str = "",
        **callbacks: Any,
    ) -> Plan:
        """One call for ``run_call``. You have checked its webhook and its socket; ``call_id`` is the carrier's, and
        ``carrier_name`` its name where there is more than one."""
        unknown = sorted(set(callbacks) - set(_CALLBACKS))
        if unknown:
            raise ConfigError(f"plan() has no option {', '.join(unknown)}")
        handlers = dict(_BUILT_IN)
        orders = Orders()
        resolving = self._resolving()
        spec = self._resolve(agent, self._callbacks(callbacks, orders), handlers, resolving)
        carrier = self._carrier_named(carrier_name)
        call = CallSpec(
            call_id=call_id,
            carrier=carrier.name,
            agent=spec,
            caller=caller,
            callee=callee,
            direction=direction,
            account=carrier.account,
            base_url=carrier.base_url,
            options=carrier.options,
            local_recording=str(local_recording),
            settings=self.call_settings,
            prices=self._prices(None),
            epoch=_epoch(),
        )
        return Plan(call, handlers, resolving.secrets, str(trace), orders, os.urandom(32))


def _named(
    name: str, handler: Callable[..., Any] | None, handlers: dict[str, Callable[..., Any]]
) -> HandlerSpec | None:
    """A server-wide callback as data, its function in the table."""
    if handler is None:
        return None
    if not callable(handler):
        raise ConfigError(f"{name} must be callable, got {type(handler).__name__}")
    handlers[name] = handler
    return HandlerSpec(name, lane_of(handler))


def _takes_two(handler: Callable[..., Any]) -> bool:
    """Does ``on_message`` want a ``CallControl`` too?"""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(places) == 2


def _like(original: Callable[..., Any], wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """``wrapped``, of the same kind as ``original``: what is a coroutine function stays one to those who ask."""
    if inspect.iscoroutinefunction(original):

        async def coroutine(payload: Any) -> Any:
            return await wrapped(payload)

        return coroutine
    if inspect.isasyncgenfunction(original):

        async def generator(payload: Any) -> Any:
            async for item in wrapped(payload):
                yield item

        return generator
    return wrapped
