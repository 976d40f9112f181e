"""The way up, as a machine: check, open the tunnel, set the webhooks, then take calls; or refuse, and say why.

    NEW -> [TUNNEL] -> [HOOKS] -> READY
      \\-------\\-> REFUSED (exit code 64: what was configured cannot take a call)

The adapter listens before the board's first step, so what is probed on the way up can answer, and a call that comes
early (the carrier knew the URL already) is taken. ``ServerReady`` is told once calls *can* come. With neither a tunnel
nor webhooks to manage that is in the first step.

Afterwards it keeps what it has put up: a tunnel that fails is opened again, and the webhooks follow its new name. On
the way down it puts the webhooks back (``stop``), and closes the tunnel last (``close_tunnel``).

Codes of ``StartupRefused``: ``no_carrier``, ``no_agent``, ``carrier_twice``, ``no_rest_credentials``, ``bad_tunnel``,
``no_tunnel_program``, ``no_tunnel``. Webhooks that cannot be set refuse nothing (see ``hooks``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from .config import PublicUrl, ServerConfig
from .contract import (
    Abort,
    BodyEnded,
    BodyReceived,
    CancelRequest,
    Close,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Fact,
    Notify,
    Order,
    Received,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Spawn,
)
from .errors import ConfigError
from .events import Event, ServerReady, SignatureUnchecked, StartupRefused
from .hooks import Fetch, Forget, HookKeeper, HookOrder, Tell
from .timers import later
from .tunnel import (
    DropProbe,
    Failed,
    Kill,
    Opened,
    Probe,
    Say,
    Start,
    Stop,
    Tunnel,
    TunnelOrder,
)

__all__ = ["REFUSED_CODE", "Phase", "WayUp"]

REFUSED_CODE = 64  # EX_USAGE of sysexits.h: the command was used incorrectly

_ANSWER_BYTES = 64 * 1024  # of a carrier's record; a number's is about 1 KiB


class Phase(enum.Enum):
    """Where the server is on its way up."""

    NEW = "new"
    TUNNEL = "tunnel"  # opening it, and probing its name
    HOOKS = "hooks"  # asking the carriers where they report calls
    READY = "ready"
    REFUSED = "refused"


class _Reply:
    """A carrier's answer as it comes in."""

    __slots__ = ("body", "place", "status")

    def __init__(self, place: int) -> None:
        self.place = place
        self.status = 0
        self.body = b""


class WayUp:
    """Tell it what happens; it appends its orders to ``out``. ``name`` gives fresh names; ``moved`` hears the public
    URL whenever the tunnel gives a new one."""

    def __init__(
        self,
        config: ServerConfig,
        out: list[Order],
        name: Callable[[], int],
        moved: Callable[[PublicUrl], None],
    ) -> None:
        self.phase = Phase.NEW
        self._config = config
        self._settings = config.settings
        self._out = out
        self._name = name
        self._moved = moved
        self._url = config.public_url
        self._tunnel = None if config.tunnel is None else Tunnel(config.tunnel, config.settings)
        self._keeper: HookKeeper | None = None
        self._give_up_at: int | None = None  # the tunnel must be open by then
        self._stopping = False
        self._conn: ConnId | None = None  # the tunnel's program
        self._probe: RequestId | None = None
        self._replies: dict[RequestId, _Reply] = {}
        self._requests: dict[int, RequestId] = {}  # by place

    # --- questions ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Calls can come: everything is up, and has not failed since."""
        return self.phase is Phase.READY and (self._tunnel is None or self._tunnel.open)

    @property
    def public_url(self) -> PublicUrl:
        """Where carriers reach us, as far as is known."""
        return self._url

    @property
    def own_tunnel(self) -> bool:
        """Visitors come through a tunnel of ours, so from the loopback address."""
        return self._config.tunnel is not None and self._config.tunnel.ours

    @property
    def restoring(self) -> bool:
        """On the way down: webhooks are still being put back."""
        return self._stopping and self._keeper is not None and self._keeper.busy

    @property
    def tunnel_up(self) -> bool:
        """The tunnel's program is still running."""
        return self._conn is not None

    @property
    def deadline(self) -> int | None:
        """When to call ``tick``."""
        tunnel = self._tunnel.deadline if self._tunnel is not None else None
        hooks = self._keeper.deadline if self._keeper is not None else None
        return min((at for at in (self._give_up_at, tunnel, hooks) if at is not None), default=None)

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def begin(self, now: int) -> None:
        """Check what can only be wrong as a whole, remind loudly of what was switched off, and start."""
        if self.phase is not Phase.NEW:
            return
        refusal = self._refusal()
        if refusal is not None:
            self._refuse(refusal)
            return
        self._tell(*self._reminders())
        if self._config.manage_webhook or self.own_tunnel:
            self._keeper = HookKeeper(self._config.carriers, self._config.numbers, self._settings)
        if self._tunnel is None:
            self._set_hooks(now)
        else:
            self.phase = Phase.TUNNEL
            self._give_up_at = later(now, self._settings.tunnel_start_s)
            self._obey_tunnel(now, self._tunnel.start(now))

    def stop(self, now: int) -> None:
        """The way down has begun: put the webhooks back, where their URL ends with us."""
        if self._stopping:
            return
        self._stopping = True
        self._give_up_at = None
        if self._keeper is not None:
            self._obey_hooks(now, self._keeper.restore(now) if self.own_tunnel else self._keeper.abandon())

    def close_tunnel(self, now: int) -> None:
        """Nobody needs the tunnel any more."""
        if self._tunnel is not None:
            self._obey_tunnel(now, self._tunnel.stop(now))

    def abandon(self) -> None:
        """The end: let go of everything."""
        if self._conn is not None:
            self._out.append(Abort(self._conn))
            self._conn = None
        if self._probe is not None:
            self._out.append(CancelRequest(self._probe))
            self._probe = None
        self._out.extend(CancelRequest(request) for request in self._replies)
        self._replies.clear()
        self._requests.clear()
        self._tunnel = self._keeper = None
        self._give_up_at = None

    # --- what happens ------------------------------------------------------------------------------------------------

    def handle(self, now: int, fact: Fact) -> bool:
        """Take in a fact about the tunnel's program, a probe or a carrier's answer. False when it is about something
        else."""
        match fact:
            case Received(conn, data) if conn == self._conn:
                self._feed(now, data if isinstance(data, bytes) else data.encode())
            case Connected(conn) if conn == self._conn:
                pass
            case ConnectFailed(conn, fault) if conn == self._conn:
                self._conn = None
                if self._tunnel is not None:
                    self._obey_tunnel(now, self._tunnel.not_started(now, fault))
            case Closed(conn, status) if conn == self._conn:
                self._conn = None
                if self._tunnel is not None:
                    self._obey_tunnel(now, self._tunnel.exited(now, status))
            case ResponseStarted(request, status) if request == self._probe:
                self._out.append(CancelRequest(request))  # the status is all we want to know
                self._probed(now, status)
            case RequestFailed(request) if request == self._probe:
                self._probed(now, None)
            case ResponseStarted(request, status) if request in self._replies:
                self._replies[request].status = status
            case BodyReceived(request, data) if request in self._replies:
                self._replies[request].body += data
            case BodyEnded(request) if request in self._replies:
                reply = self._taken(request)
                if self._keeper is not None:
                    self._obey_hooks(now, self._keeper.answered(now, reply.place, reply.status, reply.body))
            case RequestFailed(request, fault) if request in self._replies:
                reply = self._taken(request)
                if self._keeper is not None:
                    self._obey_hooks(now, self._keeper.failed(now, reply.place, fault))
            case _:
                return False
        return True

    def tick(self, now: int) -> None:
        """Its deadline has come."""
        if self._tunnel is not None:
            self._obey_tunnel(now, self._tunnel.tick(now))
        if self._keeper is not None:
            self._obey_hooks(now, self._keeper.tick(now))
        if self._give_up_at is not None and now >= self._give_up_at:
            trouble = self._tunnel.trouble if self._tunnel is not None else ""
            detail = f"the tunnel did not open in {self._settings.tunnel_start_s:g} s"
            self._refuse(StartupRefused("no_tunnel", f"{detail}; it said: {trouble}" if trouble else detail))

    def _feed(self, now: int, data: bytes) -> None:
        if self._tunnel is not None:
            self._obey_tunnel(now, self._tunnel.output(now, data))

    def _probed(self, now: int, status: int | None) -> None:
        self._probe = None
        if self._tunnel is not None:
            self._obey_tunnel(now, self._tunnel.probed(now, status))

    def _taken(self, request: RequestId) -> _Reply:
        reply = self._replies.pop(request)
        self._requests.pop(reply.place, None)
        return reply

    # --- steps -------------------------------------------------------------------------------------------------------

    def _refusal(self) -> StartupRefused | None:
        config = self._config
        if not config.carriers:
            return StartupRefused("no_carrier", "no carrier is configured: nothing could call this server")
        if not config.agents:
            return StartupRefused("no_agent", "no agent is configured: every caller would get a busy tone")
        names = [carrier.name for carrier in config.carriers]
        if len(set(names)) < len(names):
            return StartupRefused("carrier_twice", f"a carrier is configured twice: {', '.join(names)}")
        keyless = [carrier.name for carrier in config.carriers if not carrier.api_key]
        if keyless:
            detail = f"no REST credentials for {', '.join(keyless)}: a call could be answered, but not hung up"
            return StartupRefused("no_rest_credentials", detail)
        if config.tunnel is not None and not config.tunnel.ours:
            try:
                self._url = PublicUrl.parse(config.tunnel.hostname)
            except ConfigError as exc:
                return StartupRefused("bad_tunnel", f"the tunnel's hostname is no public address: {exc}")
        return None

    def _reminders(self) -> list[Event]:
        reminders: list[Event] = []
        if not self._config.require_signature:
            detail = "require_signature=False: webhooks are not checked; anybody can make this server take calls"
            reminders.append(SignatureUnchecked("webhooks", detail))
        if not self._config.authenticate_streams:
            detail = "authenticate_streams=False: media sockets need no ticket; anybody can talk to the agent"
            reminders.append(SignatureUnchecked("streams", detail))
        return reminders

    def _refuse(self, refusal: StartupRefused) -> None:
        self.phase = Phase.REFUSED
        self._tell(refusal)
        self.abandon()

    def _opened(self, now: int, host: str) -> None:
        """Carriers reach us at this name. A name that came back needs no second look at the webhooks."""
        url = PublicUrl.parse(host)
        again = self.phase in (Phase.READY, Phase.HOOKS) and url == self._url
        self._url = url
        self._give_up_at = None
        self._moved(url)
        if not self._stopping and not again:
            self._set_hooks(now)

    def _set_hooks(self, now: int) -> None:
        if self.phase is not Phase.READY:
            self.phase = Phase.HOOKS
        self._obey_hooks(now, self._keeper.keep(now, self._url.origin) if self._keeper is not None else [])

    # --- orders ------------------------------------------------------------------------------------------------------

    def _obey_tunnel(self, now: int, orders: list[TunnelOrder]) -> None:
        for order in orders:
            match order:
                case Start():
                    assert self._config.tunnel is not None  # or nobody could order it
                    self._conn = ConnId(self._name())
                    self._out.append(Spawn(self._conn, self._config.tunnel.program))
                case Stop() if self._conn is not None:
                    self._out.append(Close(self._conn))
                case Kill() if self._conn is not None:
                    self._out.append(Abort(self._conn))
                    self._conn = None
                case Probe(host):
                    self._probe = RequestId(self._name())
                    url = f"{self._origin(host)}/health"
                    self._out.append(Request(self._probe, "GET", url, max_body=_ANSWER_BYTES))
                case DropProbe() if self._probe is not None:
                    self._out.append(CancelRequest(self._probe))
                    self._probe = None
                case Opened(host):
                    self._opened(now, host)
                case Failed(code, detail):
                    if not self._stopping:
                        self._refuse(StartupRefused(code, detail))
                case Say(event):
                    self._tell(event)

    def _origin(self, host: str) -> str:
        tunnel = self._config.tunnel
        return tunnel.probe if tunnel is not None and tunnel.probe else PublicUrl.parse(host).origin

    def _obey_hooks(self, now: int, orders: list[HookOrder]) -> None:
        for order in orders:
            match order:
                case Fetch(place, rest):
                    request = RequestId(self._name())
                    self._requests[place] = request
                    self._replies[request] = _Reply(place)
                    self._out.append(
                        Request(
                            request, rest.method, rest.url, rest.headers, rest.body, rest.auth, max_body=_ANSWER_BYTES
                        )
                    )
                case Forget(place):
                    request = self._requests.pop(place)
                    del self._replies[request]
                    self._out.append(CancelRequest(request))
                case Tell(event):
                    self._tell(event)
        if self.phase is Phase.HOOKS and not self._stopping and (self._keeper is None or not self._keeper.busy):
            self.phase = Phase.READY
            self._tell(ServerReady())

    def _tell(self, *events: Event) -> None:
        self._out.extend(Notify(event) for event in events)
