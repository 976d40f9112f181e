"""A tunnel from a public name to this server, as a machine: what its program prints goes in, what to do comes out.

    STOPPED -> STARTING -> NAMED -> PROBING -> OPEN          (a program of ours: started, named, reached)
                  \\__________\\________\\_______\\-> BACKING_OFF -> STARTING
    STOPPED -> PROBING -> OPEN                               (somebody else's tunnel, whose name is known)
    any -> STOPPING -> STOPPED

A name that the program prints is worth nothing until something answers there: a carrier that is told of it sooner
hears "no such name", and so does our resolver, which remembers it. So the first probe waits until the program says that
it is connected (or ``tunnel_settle_s``), and the name is only told once it answers. When it never does, it depends on
who does not answer: the tunnel's far end, saying that it knows nothing of us, means a new tunnel; nobody at all,
although the program is connected, means that *we* cannot see it (a resolver that blocks such names), and carriers may.

What ``cloudflared`` prints, and when, is taken from its source (cmd/cloudflared/tunnel/quick_tunnel.go) and from the
output in cloudflare/cloudflared#555, #632, #972 and decolua/9router#1545. It goes to stderr; both kinds are read here.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from typing import TypeAlias

import msgspec

from .contract import Fault
from .errors import ConfigError
from .events import Event, TunnelLost, TunnelOpened, TunnelUnproven
from .settings import ServerSettings, us
from .timers import later

__all__ = [
    "CloudflareTunnel",
    "DropProbe",
    "Failed",
    "Kill",
    "Lines",
    "Ngrok",
    "Opened",
    "Probe",
    "Say",
    "Start",
    "Static",
    "Stop",
    "Tunnel",
    "TunnelOption",
    "TunnelOrder",
    "TunnelSpec",
    "TunnelState",
    "quick_host",
    "tunnel_spec",
]


# --- what people write, and what the machine holds -------------------------------------------------------------------


class TunnelSpec(msgspec.Struct, frozen=True):
    """A tunnel as data. ``program`` is the command line of one we run; else ``hostname`` is the name of one that
    somebody else runs. ``hint`` says how to get the program. ``probe`` is an origin to probe instead of the public one,
    for tests."""

    program: tuple[str, ...] = ()
    hostname: str = ""
    hint: str = ""
    probe: str = ""

    @property
    def ours(self) -> bool:
        """Do we run it? Then its name is only known at run time, and its visitors come from the loopback address."""
        return bool(self.program)


_INSTALL = (
    "install it (macOS: brew install cloudflared; Windows: winget install Cloudflare.cloudflared; else see "
    "https://developers.cloudflare.com/tunnel/downloads/), name it in CloudflareTunnel(program=...), "
    "or give webhook_url instead of tunnel"
)


class CloudflareTunnel(msgspec.Struct, frozen=True):
    """A free, account-less tunnel with a random name. ``program`` is where cloudflared is, if not on the PATH."""

    program: str = "cloudflared"

    def spec(self, port: int) -> TunnelSpec:
        """As data, for a server on this port."""
        if not self.program:
            raise ConfigError("CloudflareTunnel(program=...) must be the name or path of cloudflared")
        # Its own goodbye may take 30 s by default, which nobody waits for: our calls are over by then.
        options = ("--no-autoupdate", "--grace-period", "2s", "--url", f"http://127.0.0.1:{port}")
        return TunnelSpec((self.program, "tunnel", *options), hint=_INSTALL)


class Static(msgspec.Struct, frozen=True):
    """A tunnel (or any other way in) that somebody else runs, at a public name that is known."""

    hostname: str

    def __post_init__(self) -> None:
        _check_hostname("Static", self.hostname)

    def spec(self, port: int) -> TunnelSpec:
        """As data."""
        del port  # whoever runs it knows
        return TunnelSpec(hostname=self.hostname)


class Ngrok(msgspec.Struct, frozen=True):
    """An ngrok tunnel that you run yourself (``ngrok http PORT``); nothing is started here."""

    hostname: str = ""

    def __post_init__(self) -> None:
        _check_hostname("Ngrok", self.hostname, "run `ngrok http PORT` and give the name it shows")

    def spec(self, port: int) -> TunnelSpec:
        """As data."""
        del port  # whoever runs it knows
        return TunnelSpec(hostname=self.hostname)


TunnelOption: TypeAlias = CloudflareTunnel | Static | Ngrok


def _check_hostname(what: str, hostname: object, advice: str = "give the public name of the tunnel") -> None:
    if not isinstance(hostname, str) or not hostname.strip():
        raise ConfigError(f"{what}(hostname=...) is missing: {advice}, such as 'abc.example.com'; got {hostname!r}")


def tunnel_spec(tunnel: bool | TunnelOption | None, port: int) -> TunnelSpec | None:
    """What ``tunnel=`` means for a server on this port. True is ``CloudflareTunnel()``."""
    if tunnel is None or tunnel is False:
        return None
    if tunnel is True:
        tunnel = CloudflareTunnel()
    if not isinstance(tunnel, CloudflareTunnel | Static | Ngrok):
        raise ConfigError(f"tunnel must be True, CloudflareTunnel(), Static(...) or Ngrok(...); got {tunnel!r}")
    return tunnel.spec(port)


# --- reading what the program prints ---------------------------------------------------------------------------------

_LONGEST = 4096  # bytes of one line; the longest seen, a disclaimer, is under 1 KiB
_SHOWN = 200  # characters of one worth repeating
# A whole name: nothing of a host name, port, path or user may follow, or it is somebody else's or half of one.
_QUICK = re.compile(r"""https://([a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.trycloudflare\.com)(?=[\s|"',;)]|$)""")
_API = "api.trycloudflare.com"  # asked for the name: in its error lines it looks just like one
_CONNECTED = re.compile(r"\bRegistered tunnel connection\b|\bConnection \S+ registered\b")
_STAMP = re.compile(r"^\S*\d\d:\d\d:\d\d\S*\s+")
_QUIET = re.compile(r"^(?:INF|DBG)\b")


class Lines:
    """Bytes in, whole lines out. A line that is too long is dropped whole: half of one could hold half of a name."""

    def __init__(self, longest: int = _LONGEST) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes end."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._add(piece)
            if not self._skipping:
                lines.append(self._rest.decode("utf-8", "replace").rstrip("\r"))
            self._rest.clear()
            self._skipping = False
        self._add(rest)
        return lines

    def _add(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > self._longest:
            self._skipping = True
        if self._skipping:
            self._rest.clear()
        else:
            self._rest += piece


def quick_host(line: str) -> str:
    """The public name that a line of cloudflared's announces; '' for any other line."""
    for host in _QUICK.findall(line):
        if host != _API:
            return str(host)
    return ""


# --- orders ----------------------------------------------------------------------------------------------------------


class TunnelWord(msgspec.Struct, frozen=True, tag=True):
    """Base of a tunnel's orders."""


class Start(TunnelWord, frozen=True, tag=True):
    """Run the program; tell its ``output``, and its end with ``exited`` or ``not_started``."""


class Stop(TunnelWord, frozen=True, tag=True):
    """Ask it politely to end."""


class Kill(TunnelWord, frozen=True, tag=True):
    """End it. Nothing more is to be told about it."""


class Probe(TunnelWord, frozen=True, tag=True):
    """Ask this server's health by its public name; tell what came back with ``probed``."""

    host: str


class DropProbe(TunnelWord, frozen=True, tag=True):
    """Never mind the probe."""


class Opened(TunnelWord, frozen=True, tag=True):
    """Carriers reach us by this name from now on."""

    host: str


class Failed(TunnelWord, frozen=True, tag=True):
    """It cannot work at all; repeating it will not help."""

    code: str
    detail: str


class Say(TunnelWord, frozen=True, tag=True):
    """Tell whoever listens."""

    event: Event


TunnelOrder: TypeAlias = Start | Stop | Kill | Probe | DropProbe | Opened | Failed | Say


# --- the machine -----------------------------------------------------------------------------------------------------


class TunnelState(enum.Enum):
    """Where a tunnel is."""

    STOPPED = "stopped"
    STARTING = "starting"  #: the program runs; no name yet
    NAMED = "named"  #: it has a name, and is connecting to the far end
    PROBING = "probing"  #: the name is being tried
    OPEN = "open"
    BACKING_OFF = "backing_off"  #: it failed; the next start waits
    STOPPING = "stopping"


_LIVES = (TunnelState.STARTING, TunnelState.NAMED, TunnelState.PROBING, TunnelState.OPEN, TunnelState.STOPPING)
_STEADY_S = 60.0  # open this long, the next failure is a first one again
_PROBE_PAUSE_S = 1.0  # after the first probe that failed; a second more after each, up to five
_TOO_OFTEN = re.compile(r"\b429\b|\b1015\b|Too Many Requests", re.IGNORECASE)


class Tunnel:
    """One tunnel. Tell it what happens; carry out its orders; call ``tick`` at ``deadline``."""

    def __init__(self, spec: TunnelSpec, settings: ServerSettings) -> None:
        self.state = TunnelState.STOPPED
        self.host = ""
        self.deadline: int | None = None
        self._spec = spec
        self._settings = settings
        self._lines = Lines()
        self._words: deque[str] = deque(maxlen=2)  # what it last said that was not mere information
        self._connected = False
        self._was_open = False
        self._failures = 0
        self._opened_at = 0
        self._asking = False  # a probe is on its way
        self._probe_until = 0
        self._probes = 0
        self._status: int | None = None  # what the last probe brought
        self._misses = 0

    @property
    def alive(self) -> bool:
        """The program is running (or being started)."""
        return self._spec.ours and self.state in _LIVES

    @property
    def open(self) -> bool:
        """Carriers reach us."""
        return self.state is TunnelState.OPEN

    @property
    def trouble(self) -> str:
        """What it last complained of; '' when it did not."""
        return "; ".join(self._words)

    # --- what happens ------------------------------------------------------------------------------------------------

    def start(self, now: int) -> list[TunnelOrder]:
        """Open it."""
        if self.state not in (TunnelState.STOPPED, TunnelState.BACKING_OFF):
            return []
        if not self._spec.ours:
            self.host = self._spec.hostname
            return self._begin_probing(now)
        self.host = ""
        self._lines = Lines()
        self._words.clear()
        self._connected = False
        self._enter(TunnelState.STARTING, later(now, self._settings.tunnel_name_s))
        return [Start()]

    def output(self, now: int, data: bytes) -> list[TunnelOrder]:
        """The program printed something."""
        orders: list[TunnelOrder] = []
        if not self.alive:
            return orders
        for line in self._lines.feed(data):
            self._remember(line)
            if self.state is TunnelState.STARTING and (host := quick_host(line)):
                self.host = host
                self._enter(TunnelState.NAMED, later(now, self._settings.tunnel_settle_s))
            if _CONNECTED.search(line):
                self._connected = True
            if self.state is TunnelState.NAMED and self._connected:
                orders += self._begin_probing(now)
        return orders

    def exited(self, now: int, status: int | None) -> list[TunnelOrder]:
        """The program ended."""
        if not self.alive:
            return []
        if self.state is TunnelState.STOPPING:
            self._enter(TunnelState.STOPPED, None)
            return []
        how = f"{self._spec.program[0]} ended" + ("" if status is None else f" with status {status}")
        return self._back_off(now, how)

    def not_started(self, now: int, fault: Fault) -> list[TunnelOrder]:
        """The program could not be started."""
        if not self.alive:
            return []
        if self.state is TunnelState.STOPPING:
            self._enter(TunnelState.STOPPED, None)
            return []
        program = self._spec.program[0]
        what = "was not found" if fault is Fault.UNREACHABLE else f"could not be started ({fault.value})"
        if self._was_open:  # it is being replaced under our feet, most likely
            return self._back_off(now, f"{program} {what}")
        self._enter(TunnelState.STOPPED, None)
        return [Failed("no_tunnel_program", f"{program} {what}" + (f": {self._spec.hint}" if self._spec.hint else ""))]

    def probed(self, now: int, status: int | None) -> list[TunnelOrder]:
        """What came back: an HTTP status, or None when nobody answered."""
        if not self._asking:
            return []
        self._asking = False
        self._status = status
        if self.state is TunnelState.PROBING:
            return self._tried(now, status)
        if self.state is TunnelState.OPEN:
            return self._checked(now, status)
        return []

    def tick(self, now: int) -> list[TunnelOrder]:
        """Its deadline has come."""
        if self.deadline is None or now < self.deadline:
            return []
        match self.state:
            case TunnelState.STARTING:
                return self._give_up(now, f"it named no public host in {self._settings.tunnel_name_s:g} s")
            case TunnelState.NAMED:
                return self._begin_probing(now)
            case TunnelState.PROBING | TunnelState.OPEN if self._asking:
                return [DropProbe(), *self.probed(now, None)]
            case TunnelState.PROBING | TunnelState.OPEN:
                return self._probe(now)
            case TunnelState.BACKING_OFF:
                return self.start(now)
            case TunnelState.STOPPING:
                self._enter(TunnelState.STOPPED, None)
                return [Kill()]
        return []

    def stop(self, now: int) -> list[TunnelOrder]:
        """Close it: politely, then by force after ``close_tunnel_s``."""
        if self.state is TunnelState.STOPPING:
            return []
        orders = self._drop_probe()
        if self.alive:
            self._enter(TunnelState.STOPPING, later(now, self._settings.close_tunnel_s))
            orders.append(Stop())
        else:
            self._enter(TunnelState.STOPPED, None)
        return orders

    # --- the name ----------------------------------------------------------------------------------------------------

    def _begin_probing(self, now: int) -> list[TunnelOrder]:
        self.state = TunnelState.PROBING
        self._probe_until = now + us(self._settings.tunnel_probe_s)
        self._probes = 0
        return self._probe(now)

    def _probe(self, now: int) -> list[TunnelOrder]:
        self._asking = True
        self._probes += 1
        self.deadline = later(now, self._settings.tunnel_try_s)
        return [Probe(self.host)]

    def _tried(self, now: int, status: int | None) -> list[TunnelOrder]:
        if status == 200:
            return self._open(now, TunnelOpened(self.host))
        if now < self._probe_until:
            self.deadline = later(now, _PROBE_PAUSE_S * min(self._probes, 5))
            return []
        patience = f"in {self._settings.tunnel_probe_s:g} s"
        what = "nobody answered" if status is None else f"the answer was HTTP {status}"
        if self._spec.ours and (status is not None or not self._connected):
            return self._give_up(now, f"https://{self.host} did not lead here {patience}: {what}")
        detail = f"{what} {patience}: if no call comes, see whether this machine resolves and reaches that name"
        return self._open(now, TunnelUnproven(self.host, detail))

    def _open(self, now: int, event: Event) -> list[TunnelOrder]:
        self._was_open = True
        self._opened_at = now
        self._misses = 0
        self._enter(TunnelState.OPEN, self._next_check(now))
        return [Opened(self.host), Say(event)]

    def _next_check(self, now: int) -> int | None:
        return later(now, self._settings.tunnel_check_s) if self._spec.ours else None

    def _checked(self, now: int, status: int | None) -> list[TunnelOrder]:
        """A look at the open tunnel. Nobody answering says more about this machine's network than about the tunnel, and
        a new one would not help; the far end answering in our stead does."""
        if status == 200:
            self._misses = 0
        elif status is not None:
            self._misses += 1
            if self._misses >= self._settings.tunnel_misses:
                return self._give_up(now, f"https://{self.host} no longer leads here: HTTP {status}")
        self.deadline = self._next_check(now)
        return []

    # --- failures ----------------------------------------------------------------------------------------------------

    def _remember(self, line: str) -> None:
        text = _STAMP.sub("", line.strip())
        if text and not _QUIET.match(text):
            text = "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])
            self._words.append(text)

    def _give_up(self, now: int, why: str) -> list[TunnelOrder]:
        return [*self._back_off(now, why), Kill()]

    def _back_off(self, now: int, why: str) -> list[TunnelOrder]:
        orders = self._drop_probe()
        if self.open and now - self._opened_at >= us(_STEADY_S):
            self._failures = 0
        most = self._settings.tunnel_backoff_most_s
        wait = min(self._settings.tunnel_backoff_s * 2 ** min(self._failures, 20), most)
        if _TOO_OFTEN.search(self.trouble):
            wait = most
        self._failures += 1
        self._enter(TunnelState.BACKING_OFF, later(now, wait))
        detail = f"{why}; it said: {self.trouble}" if self.trouble else why
        return [*orders, Say(TunnelLost(detail, wait))]

    def _drop_probe(self) -> list[TunnelOrder]:
        asking, self._asking = self._asking, False
        return [DropProbe()] if asking else []

    def _enter(self, state: TunnelState, deadline: int | None) -> None:
        self.state = state
        self.deadline = deadline
