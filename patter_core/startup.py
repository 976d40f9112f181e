"""The way up, as a machine: check, then take calls; or refuse, and say why.

    NEW -> READY
       \\-> REFUSED (exit code 64: what was configured cannot take a call)

The adapter listens before the board's first step, so a server that is ready can be called. What has to be waited for
before that (a tunnel, a probe of the public address, the carrier's webhook) goes between NEW and READY.
"""

from __future__ import annotations

import enum

from .config import ServerConfig
from .events import Event, ServerReady, SignatureUnchecked, StartupRefused

__all__ = ["REFUSED_CODE", "Phase", "WayUp"]

REFUSED_CODE = 64  # EX_USAGE of sysexits.h: the command was used incorrectly


class Phase(enum.Enum):
    """Where the server is on its way up."""

    NEW = "new"
    READY = "ready"
    REFUSED = "refused"


class WayUp:
    """Ask it once, at the first step; it tells what to say and leaves ``phase`` READY or REFUSED."""

    def __init__(self, config: ServerConfig) -> None:
        self.phase = Phase.NEW
        self._config = config

    def begin(self) -> list[Event]:
        """Check what can only be wrong as a whole, remind loudly of what was switched off, and be ready."""
        if self.phase is not Phase.NEW:
            return []
        refusal = self._refusal()
        if refusal is not None:
            self.phase = Phase.REFUSED
            return [refusal]
        self.phase = Phase.READY
        return [*self._reminders(), ServerReady()]

    def _refusal(self) -> StartupRefused | None:
        config = self._config
        if not config.carriers:
            return StartupRefused("no_carrier", "no carrier is configured: nothing could call this server")
        if not config.agents:
            return StartupRefused("no_agent", "no agent is configured: every caller would get a busy tone")
        names = [carrier.name for carrier in config.carriers]
        if len(set(names)) < len(names):
            return StartupRefused("carrier_twice", f"a carrier is configured twice: {', '.join(names)}")
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
