"""The way down, as a machine: six steps in order, each visible, each bounded.

    SERVING -> [WAITING] -> HANGING_UP -> DRAINING -> CLOSING_HTTP -> [CLOSING_TUNNEL] -> STOPPED
     step 1: stop accepting      step 2: hang up calls     step 3: 1001 to every WebSocket, then
     step 4: drain               step 5: abort what is left step 6: close the HTTP server, then the tunnel that led
                                                                    to it

A second request (and every further one) hurries: it ends the phase it finds.
"""

from __future__ import annotations

import enum

from .settings import ServerSettings, us

__all__ = ["Phase", "Step", "WayDown"]


class Phase(enum.Enum):
    """Where the server is."""

    SERVING = "serving"
    WAITING = "waiting"  # calls may end by themselves
    HANGING_UP = "hanging_up"
    DRAINING = "draining"
    CLOSING_HTTP = "closing_http"
    CLOSING_TUNNEL = "closing_tunnel"
    STOPPED = "stopped"


class Step(enum.Enum):
    """What the server must do now. The values are (number, name) of the documented step."""

    STOP_ACCEPTING = (1, "stop accepting")
    WAIT = (0, "wait for calls to end")
    HANG_UP = (2, "hang up active calls")
    CLOSE_SOCKETS = (3, "close media sockets with 1001")
    DRAIN = (4, "drain")
    ABORT = (5, "abort what is left")
    CLOSE_HTTP = (6, "close the HTTP server")
    CLOSE_TUNNEL = (6, "close the tunnel")
    EXIT = (7, "exit")


_LONGEST_S = 86_400.0  # "until the last call is over" in practice, and a number the clock can hold


class WayDown:
    """Tell it what is left, obey its steps."""

    def __init__(self, settings: ServerSettings) -> None:
        self.phase = Phase.SERVING
        self.deadline: int | None = None
        self._settings = settings

    def request(self, now: int, finish_calls_s: float | None = None) -> list[Step]:
        """Somebody wants the server stopped; or wants it faster."""
        if self.phase is Phase.SERVING:
            wait = self._settings.finish_calls_s if finish_calls_s is None else finish_calls_s
            if wait > 0:
                wait = min(wait, _LONGEST_S)
                self._enter(Phase.WAITING, now + us(wait))
                return [Step.STOP_ACCEPTING, Step.WAIT]
            return [Step.STOP_ACCEPTING, *self._hang_up(now)]
        if self.phase is not Phase.STOPPED:
            self.deadline = now  # `advance` finds the phase's time is up
        return []

    def advance(self, now: int, calls: int, legs_up: bool, sockets: int, left: int, tunnel: bool = False) -> list[Step]:
        """What follows from what is left: calls not over, a telephone leg still up (asked for while hanging up only; or
        a carrier's configuration not put back yet), media sockets, ``left``: connections of any kind and files still
        being written, ``tunnel``: a program of ours. Call it, with fresh counts, until it has nothing more to say."""
        up = self.deadline is not None and now >= self.deadline
        match self.phase:
            case Phase.WAITING if up or calls == 0:
                return self._hang_up(now)
            case Phase.HANGING_UP if up or not legs_up:
                self._enter(Phase.DRAINING, now + us(self._settings.drain_s))
                return [Step.CLOSE_SOCKETS, Step.DRAIN]
            case Phase.DRAINING if up or (sockets == 0 and calls == 0):
                self._enter(Phase.CLOSING_HTTP, now + us(self._settings.close_http_s))
                return [Step.ABORT, Step.CLOSE_HTTP]
            case Phase.CLOSING_HTTP if (up or left == 0) and tunnel:
                # A little longer than the tunnel's own bound, so that it is killed rather than left.
                self._enter(Phase.CLOSING_TUNNEL, now + us(self._settings.close_tunnel_s + 1.0))
                return [Step.CLOSE_TUNNEL]
            case Phase.CLOSING_HTTP if up or left == 0:
                return self._stop()
            case Phase.CLOSING_TUNNEL if up or not tunnel:
                return self._stop()
        return []

    def _stop(self) -> list[Step]:
        self._enter(Phase.STOPPED, None)
        return [Step.EXIT]

    def _hang_up(self, now: int) -> list[Step]:
        self._enter(Phase.HANGING_UP, now + us(self._settings.hangup_all_s))
        return [Step.HANG_UP]

    def _enter(self, phase: Phase, deadline: int | None) -> None:
        self.phase = phase
        self.deadline = deadline
