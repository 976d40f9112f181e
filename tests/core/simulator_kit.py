"""A small server that speaks through the real dialects, for stories about the simulated carrier.

What a webhook, a REST answer or a media message must look like is checked by reading it with the server's own readers
and verifiers; the facts behind them are in the carriers' modules and their vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from patter_core.audio.formats import PCMU_8K, AudioFormat
from patter_core.carriers.carrier import (
    CallOffered,
    CallStatus,
    CallStatusChanged,
    CarrierSpec,
    DialPlan,
    Leg,
    Malformed,
    RestOutcome,
    RestRequest,
    StreamPlan,
    TransferPlan,
    Verdict,
    Webhook,
    WebhookAnswer,
)
from patter_core.carriers.telnyx.dialect import TelnyxDialect
from patter_core.carriers.twilio.dialect import TwilioDialect
from patter_core.contract import (
    Accepted,
    BodyEnded,
    BodyReceived,
    Close,
    Closed,
    ConnId,
    Fact,
    Finish,
    InputEnded,
    Order,
    Received,
    Request,
    RequestFailed,
    RequestId,
    ResponseStarted,
    Send,
    StopRequested,
)
from patter_core.simulator.callee import Misbehaviour
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.events import (
    SimCallDone,
    SimEvent,
)
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.script import Act, Wait
from patter_core.wire.endpoint import Transport
from patter_core.wire.events import Done, HttpRequest, Text, UpgradeRequest
from patter_core.wire.limits import Limits
from patter_core.wire.server import ServerConnection

HOST = "agent.example.com"
API = "http://carrier.test"
EPOCH = 1_700_000_000_000_000
CALLER = "+15550100001"
US = "+15550001234"
THEM = "+15550100009"
VOICE = bytes([0x10, 0x90]) * 80
CARRIERS = ("twilio", "telnyx")
TELNYX_APP = SimulatorConfig(webhook_url="").connection_id


class Server:
    """A server that answers webhooks as told, keeps everything, and orders what the test says."""

    def __init__(self, carrier: str, config: SimulatorConfig) -> None:
        self.carrier = carrier
        self.dialect: Any = TwilioDialect() if carrier == "twilio" else TelnyxDialect()
        self.spec = CarrierSpec(
            name=carrier,
            account=config.account_sid if carrier == "twilio" else config.connection_id,
            keys=(config.auth_token,) if carrier == "twilio" else (config.public_key,),
            base_url=API,
        )
        self.deadline: int | None = None
        self.heard: list[tuple[int, str, Webhook]] = []
        self.ids: list[str] = []
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self.sockets: list[dict[str, Any]] = []
        self.attach = True  # take media sockets
        self.status = 0  # answer every webhook with this instead
        self.silent = False  # never answer webhooks
        self.takes = True  # offered calls are answered with a stream
        self.next: dict[str, WebhookAnswer] = {}  # by kind
        self.line: AudioFormat = PCMU_8K
        self.on_text: Callable[[dict[str, Any], Any], None] | None = None
        self.commands = 0
        self._names = 0
        self._conns: dict[ConnId, ServerConnection] = {}
        self._media: dict[ConnId, dict[str, Any]] = {}
        self._pending: dict[RequestId, list[Any]] = {}
        self._out: list[Order] = []
        self._now = 0

    def reserve(self) -> ConnId:
        self._names += 1
        return ConnId(self._names)

    # --- ordering

    def leg(self, call_id: str = "") -> Leg:
        self.commands += 1
        return Leg(self.spec.account, API, call_id, f"cmd-{self.commands}")

    def plan(self) -> StreamPlan:
        return StreamPlan(f"wss://{HOST}/ws/stream/x/ticket", {"a": "b"}, self.line, "ticket")

    def rest(self, request: RestRequest | None) -> RequestId:
        assert request is not None
        name = RequestId(self.reserve())
        self._pending[name] = [0, b"", {}]
        self._out.append(Request(name, request.method, request.url, request.headers, request.body, request.auth))
        return name

    # --- the board

    def handle(self, now: int, fact: Fact) -> list[Order]:
        self._now = now
        match fact:
            case Accepted(conn):
                self._conns[conn] = ServerConnection(now, Limits())
            case Received(conn, data) if conn in self._conns and isinstance(data, bytes):
                self._serve(now, conn, self._conns[conn].receive(now, data))
            case InputEnded(conn) if conn in self._conns:
                self._serve(now, conn, self._conns[conn].receive(now, b""))
            case Closed(conn):
                self._conns.pop(conn, None)
            case ResponseStarted(request, status, headers):
                self._pending[request][0] = status
                self._pending[request][2] = {name.lower(): value for name, value in headers}
            case BodyReceived(request, data):
                self._pending[request][1] += data
            case BodyEnded(request):
                self.answers.append(tuple(self._pending.pop(request)))
            case RequestFailed(request):
                self._pending.pop(request)
                self.answers.append((0, b"", {}))
        out, self._out = self._out, []
        return out

    def _serve(self, now: int, conn: ConnId, events: list[Any]) -> None:
        wire = self._conns[conn]
        queue = list(events)
        while queue:
            event = queue.pop(0)
            if isinstance(event, HttpRequest):
                answer = self._webhook(event)
                if answer is not None:
                    headers = [("Content-Type", answer.content_type)]
                    queue += wire.respond(now, answer.status, headers, answer.body)
            elif isinstance(event, UpgradeRequest):
                headers_ = dict(event.headers)
                url = f"wss://{HOST}{event.target}"
                verdict = self.dialect.verify_upgrade(self.spec, url, headers_, "ticket")
                if not self.attach:
                    queue += wire.reject(now, 403)
                    continue
                queue += wire.accept(now)
                socket = {"proof": verdict, "events": [], "texts": [], "conn": conn, "closed": 0}
                socket["stream"] = self.dialect.stream({}, self.line)
                self.sockets.append(socket)
                self._media[conn] = socket
            elif isinstance(event, Text):
                socket = self._media[conn]
                got = socket["stream"].receive(event.data)
                socket["texts"].append(event.data)
                socket["events"].append(got)
                if self.on_text is not None:
                    self.on_text(socket, got)
            elif isinstance(event, Done) and conn in self._media:
                self._media[conn]["closed"] = event.code
        self._flush(conn)

    def _flush(self, conn: ConnId) -> None:
        wire = self._conns[conn]
        if data := wire.data_to_send():
            self._out.append(Send(conn, data))
        if wire.transport is not Transport.OPEN and not getattr(wire, "left", False):
            wire.left = True  # type: ignore[attr-defined]
            self._out.append(Finish(conn) if wire.transport is Transport.FINISH else Close(conn))

    def say(self, socket: dict[str, Any], text: str) -> None:
        self._conns[socket["conn"]].send(text)
        self._flush(socket["conn"])

    def close(self, socket: dict[str, Any]) -> None:
        self._conns[socket["conn"]].close(self._now, 1000)
        self._flush(socket["conn"])

    def _webhook(self, request: HttpRequest) -> WebhookAnswer | None:
        kind = request.path.rpartition("/")[2]
        headers = dict(request.headers)
        url = f"https://{HOST}{request.target}"
        unix_s = (EPOCH + self._now) // 1_000_000
        verdict, why = self.dialect.verify_webhook(self.spec, url, headers, request.body, unix_s)
        assert verdict is Verdict.VALID, (verdict, why, url)
        hook = self.dialect.read_webhook(kind, request.query, headers, request.body)
        assert not isinstance(hook.event, Malformed), hook
        self.heard.append((self._now, kind, hook))
        self.ids.append(headers.get("i-twilio-idempotency-token", hook.event_id))
        if self.silent:
            return None
        if self.status:
            return WebhookAnswer(self.status)
        if kind in self.next:
            return self.next.pop(kind)
        if isinstance(hook.event, CallOffered) and self.takes:
            order = self.dialect.answer(self.leg(hook.event.call_id), self.plan())
            if order is not None:
                self.rest(order)
            return self.dialect.offered(self.plan())  # type: ignore[no-any-return]
        return self.dialect.thanks()  # type: ignore[no-any-return]


class World:
    def __init__(self, carrier: str, plans: tuple[CallPlan, ...] = (), latency_us: int = 1_000, **options: Any) -> None:
        self.carrier = carrier
        voice = f"https://{HOST}/webhooks/{carrier}/voice"
        options.setdefault("leave_when_done", False)
        self.config = SimulatorConfig(
            webhook_url=voice, carrier=carrier, connect_to=(HOST, 443), tls=True, epoch=EPOCH, **options
        )
        self.net = VirtualNetwork(latency_us=latency_us)
        self.server = Server(carrier, self.config)
        self.node = self.net.add("server", self.server)
        self.net.place(HOST, 443, self.node)
        self.sim, twin, ticked = (SimulatedCarrier(self.config, plans) for _ in range(3))
        self.sim_node = self.net.add("carrier", ContractChecker(self.sim, twin=twin, ticked=ticked))
        self.net.place("carrier.test", 80, self.sim_node)

    def run(self, seconds: float) -> None:
        self.net.run(until_us=self.net.now + round(seconds * 1_000_000))

    def rest(self, request: RestRequest | None) -> tuple[int, bytes]:
        """Order something; its answer."""
        before = len(self.server.answers)
        self.server.rest(request)
        self.node.feed(StopRequested())  # any fact: the order leaves
        self.run(0.01)
        assert len(self.server.answers) == before + 1
        return self.server.answers[-1][:2]

    def outcome(self, request: RestRequest | None) -> RestOutcome:
        return self.server.dialect.outcome(*self.rest(request))  # type: ignore[no-any-return]

    def do(self, what: Callable[[], None]) -> None:
        what()
        self.node.feed(StopRequested())
        self.run(0.01)

    def dial(self, to: str = THEM, **plan: Any) -> str:
        """Order a call; its id."""
        request = self.server.dialect.dial(self.server.leg(), dial_plan(self.carrier, to, **plan))
        status, body = self.rest(request)
        assert self.server.dialect.outcome(status, body) is RestOutcome.DONE, body
        return self.server.dialect.made(status, body)  # type: ignore[no-any-return]

    def begin_stream(self, call_id: str) -> None:
        order = self.server.dialect.begin_stream(self.server.leg(call_id), self.server.plan())
        if order is not None:
            self.rest(order)

    def told(self, kind: type[SimEvent]) -> list[Any]:
        return self.sim_node.told(kind)

    def done(self, call_id: str = "") -> Any:
        (found,) = [one for one in self.told(SimCallDone) if not call_id or one.call_id == call_id]
        return found

    def hooks(self, *kinds: type, call_id: str = "") -> list[Any]:
        events = [hook.event for _, _, hook in self.server.heard]
        return [
            one
            for one in events
            if (not kinds or isinstance(one, kinds)) and (not call_id or getattr(one, "call_id", "") == call_id)
        ]

    def statuses(self, call_id: str = "") -> list[CallStatus]:
        return [one.status for one in self.hooks(CallStatusChanged, call_id=call_id)]


def dial_plan(carrier: str, to: str = THEM, **options: Any) -> DialPlan:
    return DialPlan(to=to, caller_id=US, webhooks=f"https://{HOST}/webhooks/{carrier}", ref="our-ref", **options)


def transfer_plan(carrier: str, to: str = THEM, ring: int = 25) -> TransferPlan:
    return TransferPlan(to, US, f"https://{HOST}/webhooks/{carrier}", "their-ref", ring)


def one(*acts: Act, **options: Any) -> tuple[CallPlan, ...]:
    return (CallPlan(acts=acts, caller=CALLER, callee=US, **options),)


LONG = one(Wait(600_000), most_ms=600_000)
both = pytest.mark.parametrize("carrier", CARRIERS)


def upset(*kinds: Misbehaviour) -> frozenset[Misbehaviour]:
    return frozenset(kinds)
