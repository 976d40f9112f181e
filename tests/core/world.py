"""A whole server on virtual time, a carrier that answers REST, and puppets to call it: what the server tests stand on.

Every server here runs inside a ``ContractChecker`` with both twins, so that each story also tests the contract.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from patter_core.carriers.form import encode_form
from patter_core.carriers.twilio import signature
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.carriers.twilio.webhook_peer import voice_params
from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.contract import Request
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.network import Node, VirtualNetwork
from patter_core.simulator.puppet import Line, Puppet
from patter_core.switchboard import Switchboard
from patter_core.wire.events import HttpResponse

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "simulated"
HOST = "agent.example.com"
CARRIER = "203.0.113.7"  # where our carrier's sockets come from
EPOCH = 1_700_000_000_000_000
FORM = ("Content-Type", "application/x-www-form-urlencoded")
ECHO = AgentSpec(engine=EchoSpec())


def sid(number: int) -> str:
    return f"CA{number:032x}"


def server_config(
    agents: Mapping[str, AgentSpec] | None = None,
    *,
    url: str = HOST,
    keys: tuple[str, ...] = (TOKEN,),
    settings: ServerSettings | None = None,
    call: CallSettings | None = None,
    **options: Any,
) -> ServerConfig:
    return ServerConfig(
        public_url=PublicUrl.parse(url),
        carriers=(CarrierSpec(name="twilio", account=ACCOUNT, keys=keys, base_url="http://twilio.test", api_key="t"),),
        agents=dict(agents or {"": ECHO}),
        settings=settings or ServerSettings(),
        call=call or CallSettings(),
        **options,
    )


class World:
    """``server`` is the node, ``board`` the Switchboard, ``checker`` between them. ``line()`` dials."""

    def __init__(
        self,
        config: ServerConfig | None = None,
        handlers: Mapping[str, Callable[..., Any]] | None = None,
        *,
        latency_us: int = 0,
        bulkhead: bool = False,
        plans: tuple[CallPlan, ...] = (),
        twins: bool = True,
        rest: bool = True,
        **simulator: Any,
    ) -> None:
        self.config = config or server_config()

        def make() -> Switchboard:
            return Switchboard(self.config, epoch=EPOCH, seed=b"s" * 32, bulkhead=bulkhead)

        self.board = make()
        self.checker = ContractChecker(self.board, twin=make() if twins else None, ticked=make() if twins else None)
        self.net = VirtualNetwork(latency_us=latency_us)
        self.server: Node = self.net.add("server", self.checker, handlers)
        self.server.orders = []
        self.net.place(HOST, 443, self.server, CARRIER)
        sim = SimulatorConfig(
            webhook_url=self.config.public_url.origin + "/webhooks/twilio/voice",
            leave_when_done=False,
            connect_to=(HOST, 443),
            tls=True,
            **simulator,
        )
        self.sim = SimulatedCarrier(sim, plans)
        self.carrier = self.net.add("carrier", self.sim)
        if rest:
            self.net.place("twilio.test", 80, self.carrier)
        self.puppet = Puppet(self.net, self.server)
        self.peers: dict[Line, TwilioStreamPeer] = {}

    # --- time --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        self.net.run(until_us=self.net.now + round(seconds * 1_000_000))

    def told(self, kind: type) -> list[Any]:
        return self.server.told(kind)

    def orders(self, *kinds: type) -> list[Any]:
        assert self.server.orders is not None
        return [order for _, order in self.server.orders if isinstance(order, kinds)]

    def when(self, *kinds: type) -> list[int]:
        assert self.server.orders is not None
        return [at for at, order in self.server.orders if isinstance(order, kinds)]

    def hangups(self) -> list[str]:
        """The call ids of our REST hang-ups, in order."""
        return [order.url.rpartition("/")[2].removesuffix(".json") for order in self.orders(Request)]

    # --- doing -------------------------------------------------------------------------------------------------------

    def line(self, peer: str = CARRIER) -> Line:
        return self.puppet.dial(peer)

    def get(self, path: str, method: str = "GET", peer: str = CARRIER) -> HttpResponse:
        return self.line(peer).ask(method, path)

    def post(
        self,
        path: str,
        pairs: list[tuple[str, str]],
        *,
        token: str | None = TOKEN,
        line: Line | None = None,
        query: str = "",
    ) -> HttpResponse:
        """A signed webhook (``token`` None: unsigned). ``path`` is below the public origin."""
        url = self.config.public_url.origin + path + query
        headers = [FORM]
        if token is not None:
            headers.append(("X-Twilio-Signature", signature.sign(token, url, pairs)))
        target = self.config.public_url.prefix + path + query
        return (line or self.line()).ask("POST", target, headers, encode_form(pairs))

    def voice(self, call_id: str, *, callee: str = "+15550001234", **options: Any) -> HttpResponse:
        """The voice webhook of a call."""
        pairs = list(voice_params(call_id, ACCOUNT, "+15550100001", callee))
        return self.post("/webhooks/twilio/voice", pairs, **options)

    def stream_path(self, response: HttpResponse) -> str:
        """Where the answer to a voice webhook sends the media stream."""
        found = re.search(r'<Stream url="([^"]+)"', response.body.decode())
        assert found is not None, response.body
        parts = urlsplit(unescape(found[1]))
        assert parts.scheme == "wss"
        assert parts.netloc == HOST
        return parts.path

    def proof(self, path: str, token: str = TOKEN) -> tuple[str, str]:
        """The carrier's signature on an upgrade."""
        public = self.config.public_url
        return "X-Twilio-Signature", signature.sign(token, public.stream_origin + path.removeprefix(public.prefix))

    def open(self, call_id: str, peer: str = CARRIER) -> Line:
        """Webhook, upgrade, ``start``: a call that talks."""
        line = self.socket(call_id, peer)
        self.start(line, call_id)
        return line

    def socket(self, call_id: str, peer: str = CARRIER) -> Line:
        """Webhook and upgrade; no ``start`` yet."""
        path = self.stream_path(self.voice(call_id))
        line = self.line(peer)
        assert line.upgrade(path, [self.proof(path)]) == 101
        return line

    def start(self, line: Line, call_id: str) -> None:
        peer = self.peers[line] = TwilioStreamPeer("MZ" + call_id[2:], call_id, ACCOUNT, {})
        line.say(peer.connected())
        line.say(peer.start())
        self.run(0)

    def frame(self, line: Line, number: int, payload: bytes = b"\x80" * 160) -> None:
        line.say(self.peers[line].media(payload, number * 20))

    def stop(self, line: Line) -> None:
        """The caller hangs up: the carrier says ``stop`` and closes."""
        line.say(self.peers[line].stop())
        line.hang_up()

    # --- at the end --------------------------------------------------------------------------------------------------

    def assert_empty(self) -> None:
        """No table holds anything but what it is bounded to remember."""
        board: Any = self.board
        host = board._host
        tables = {
            "conns": board._conns, "touched": board._touched,
            "peers": board._reception._peers, "addresses": board._addresses,
            "answers": board._reception._answers, "out": board._out, "calls": host._calls, "tasks": host._tasks,
            "requests": host._requests, "filing": host._filing, "asides": host._asides, "refs": host._refs,
        }  # fmt: skip
        assert {name: len(table) for name, table in tables.items() if len(table)} == {}
        assert board._media == 0
        assert len(board._reception._ended) <= board._settings.ended_calls
        assert len(board._reception._refusals) <= board._settings.remembered_refusals
        assert self.checker.unbalanced() == []
        left = list(board._timers._live)
        assert left == []
