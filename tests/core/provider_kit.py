"""The whole server, a simulated carrier and simulated providers on the virtual network: what stories about agents with
real providers stand on.

The providers answer under their own names (``HOSTS``), want TLS, and get the keys of ``ENVIRON`` to see, which the
network puts in as the edge would. ``over`` also sees that the server let go of every link and every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from patter_core.agent import Agent, resolve_agent
from patter_core.config import AgentSpec
from patter_core.contract import ConnId, StopRequested
from patter_core.providers.keys import Resolving
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.network import Node
from patter_core.simulator.provider_events import ProviderAsked, ProviderEvent, ProviderOdd, ProviderOver
from patter_core.simulator.providers import Routes, SimulatedProviders
from tests.core.carriers_world import CALLBACKS, ECHO, CarriersWorld

__all__ = ["ENVIRON", "HOSTS", "ProviderWorld", "join_providers"]

ENVIRON = {
    "OPENAI_API_KEY": "openai-key",
    "ELEVENLABS_API_KEY": "xi-key",
    "DEEPGRAM_API_KEY": "deepgram-key",
    "ANTHROPIC_API_KEY": "anthropic-key",
    "GROQ_API_KEY": "groq-key",
    "CEREBRAS_API_KEY": "cerebras-key",
}

HOSTS = (
    "api.openai.com", "api.elevenlabs.io", "api.deepgram.com", "api.anthropic.com", "api.groq.com", "api.cerebras.ai",
    "llm.example", "backup.example", "hooks.example",
)  # fmt: skip
"""The providers' own names, an endpoint that speaks like OpenAI's, another to fall back on, and a user's webhook."""

PLAIN = ("provider.test", 80)
"""The same board without TLS: for options with a ``base_url`` of one's own."""


def join_providers(
    world: Any, routes: Callable[[], Routes], *, latency_us: int | None = None, cut: int = 0
) -> ContractChecker:
    """Put simulated providers on a world's network, inside a checker with twins, each with ``routes()`` of its own.

    ``latency_us``: one way to them; ``cut``: what goes to and fro arrives in pieces of so many bytes.
    """
    boards = [SimulatedProviders(routes()) for _ in range(3)]
    checker = ContractChecker(boards[0], twin=boards[1], ticked=boards[2])
    node = world.net.add("providers", checker)
    for host in HOSTS:
        world.net.place(host, 443, node, "203.0.113.7", tls=True, latency_us=latency_us, cut=cut)
    world.net.place(*PLAIN, node, "203.0.113.7", tls=False, latency_us=latency_us, cut=cut)
    world.providers = node
    return checker


class ProviderWorld(CarriersWorld):
    """``providers`` is the node, ``provider_board`` what is in it. What else there is: see ``CarriersWorld``."""

    providers: Node

    def __init__(
        self,
        agent: Agent | Mapping[str, Agent] = ECHO,
        plans: tuple[CallPlan, ...] = (),
        *,
        routes: Callable[[], Routes],
        carrier: str = "twilio",
        environ: Mapping[str, str] = ENVIRON,
        webhook_secret: str = "",
        provider_latency_us: int | None = None,
        cut: int = 0,
        **options: Any,
    ) -> None:
        self.resolving = Resolving(environ)
        self.webhook_secret = webhook_secret
        super().__init__(carrier, agent, plans, **options)
        self.server.secrets = self.resolving.secrets
        for name in {spec.name for spec in self.config.carriers}:
            self.resolving.secrets.setdefault(name, ("Authorization", "carrier"))
        self.odd_expected = False
        self.provider_checker = join_providers(self, routes, latency_us=provider_latency_us, cut=cut)
        board = self.provider_checker.board
        assert isinstance(board, SimulatedProviders)
        self.provider_board = board

    def _resolve(self, agent: Agent, on: Mapping[str, Any], handlers: dict[str, Any], number: str) -> AgentSpec:
        """As the server's application would: providers' options become specs, keys go to the edge's table. ``on`` may
        have an ``on_message``: a function, or the address of the application's own server."""
        callbacks: dict[str, Any] = {name: self._keep(name, on.get(name)) for name in CALLBACKS}
        reply = on.get("on_message")
        if reply is not None:
            callbacks["on_message"] = reply if isinstance(reply, str) else self._keep("on_message", reply)
        spec = resolve_agent(
            agent, callbacks, handlers, prefix=f"{number}/", resolving=self.resolving, secret=self.webhook_secret
        )
        assert self.resolving.missing == []
        return spec

    # --- what was said there -----------------------------------------------------------------------------------------

    def links(self, route: str) -> list[Any]:
        """The peers of a route's WebSockets, oldest first."""
        return list(self.provider_board.links(route))

    def fetches(self, route: str) -> list[Any]:
        """The peers of a route's requests, oldest first."""
        return list(self.provider_board.fetches(route))

    def provider_told(self, kind: type[ProviderEvent]) -> list[Any]:
        return self.providers.told(kind)

    def asked(self, route: str) -> list[ProviderAsked]:
        """The exchanges of a route."""
        return [event for event in self.provider_told(ProviderAsked) if event.route == route]

    def outcomes(self, route: str = "") -> list[tuple[str, int]]:
        """How exchanges ended, and with which code."""
        return [(event.how, event.code) for event in self.provider_told(ProviderOver) if route in ("", event.route)]

    # --- trouble -----------------------------------------------------------------------------------------------------

    def break_links(self) -> int:
        """Every connection to the providers breaks, now; how many there were."""
        conns = list(self.providers.pipes)
        for conn in conns:
            self.net.drop(self.providers, conn)
        return len(conns)

    def hush(self) -> list[ConnId]:
        """What the providers send no longer arrives, and nobody knows: a cable was cut."""
        conns = list(self.providers.pipes)
        for conn in conns:
            self.net.stall(self.providers, conn)
        return conns

    def take_down(self) -> None:
        """The providers are gone: connections break, and nobody answers any more."""
        self.providers.feed(StopRequested())
        self.run(0)

    # --- at the end --------------------------------------------------------------------------------------------------

    def over(self, within_s: float = 60) -> None:
        """As every world's, and the server owes the providers nothing."""
        super().over(within_s)
        assert self.provider_board.open == 0, "the server left a provider waiting"
        if not self.odd_expected:
            assert self.provider_told(ProviderOdd) == []
        if self.providers.exit_code is None:
            self.take_down()
        assert self.providers.exit_code == 0
        assert self.provider_checker.unbalanced() == []
