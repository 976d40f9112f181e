"""Who is let in and what they are told: health, webhooks, media sockets' upgrades. Decides before anything is spent.

It knows requests, not connections: it answers a request with an ``HttpAnswer``, and an upgrade with that or with
``Admitted``. What it lets in it hands to the Host.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from .admission import PeerCounter, Tickets, TicketVerdict, client_address
from .call.call import CallState
from .call.spec import CallSpec
from .carriers.carrier import CallOffered, CallStatusChanged, Malformed, Verdict
from .carriers.dialects import dialect_of
from .config import AgentSpec, CarrierSpec, ServerConfig
from .contract import Notify, Order
from .events import CarrierReported, Refused, UpgradeUnsigned
from .host import Host
from .routes import Target, find_route, split_stream_path
from .wire.events import HttpRequest, UpgradeRequest

__all__ = ["Admitted", "HttpAnswer", "Reception"]

_SHOWN = 300  # characters of a stranger's URL worth a log line


class HttpAnswer(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """This upgrade is the media socket of ``call_id``, of a client at ``peer``."""

    call_id: str
    peer: str


def _error(status: int, code: str, *headers: tuple[str, str]) -> HttpAnswer:
    body = json.dumps({"error": code}).encode()
    return HttpAnswer(status, (("Content-Type", "application/json"), *headers), body)


def _answer(status: int, content_type: str, body: bytes) -> HttpAnswer:
    return HttpAnswer(status, (("Content-Type", content_type),), body)


class Reception:
    """The front desk of a server. ``serving`` says whether new calls are taken."""

    def __init__(
        self, config: ServerConfig, host: Host, out: list[Order], serving: Callable[[], bool], seed: bytes, epoch: int
    ) -> None:
        self._config = config
        self._settings = config.settings
        self._host = host
        self._out = out
        self._serving = serving
        self.epoch = epoch
        secret = config.ticket_secret.encode() or hashlib.blake2b(b"tickets", key=seed[:64]).digest()
        self._tickets = Tickets(secret, self._settings.ticket_s)
        self._answers: dict[str, tuple[int, str, bytes]] = {}  # voice answers of calls that have no stream yet
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unsigned_told = False
        self._carriers = {carrier.name: carrier for carrier in config.carriers}
        self._peers = PeerCounter()  # media sockets by client address

    def left(self, peer: str) -> None:
        """An admitted socket of this client's is over: its place is free."""
        self._peers.remove(peer)

    def call_over(self, call_id: str) -> None:
        """A call is over: its id is remembered, so that a late webhook does not start it again."""
        self._answers.pop(call_id, None)
        self._ended[call_id] = None
        if len(self._ended) > self._settings.ended_calls:
            self._ended.popitem(last=False)

    def refused(self, what: str, status: int, code: str, peer: str, detail: str = "") -> None:
        """Report a refusal, once per cause and peer: whoever is refused a thousand times fills no log."""
        key = (code, peer)
        if key in self._refusals:
            return
        self._refusals[key] = None
        if len(self._refusals) > self._settings.remembered_refusals:
            self._refusals.popitem(last=False)
        self._out.append(Notify(Refused(what, status, code, peer, detail)))

    def request(self, now: int, peer: str, request: HttpRequest) -> HttpAnswer:
        """Answer a request."""
        route = find_route(request.path, self._config.public_url.prefix)
        if route.target is Target.WEBHOOK and not self._has_webhook(route.carrier, route.kind):
            return _error(404, "not_found")
        if route.target is Target.NOTHING:
            return _error(404, "not_found")
        if route.target is Target.STREAM:
            return _error(426, "upgrade_required", ("Upgrade", "websocket"))
        if request.method not in route.methods:
            return _error(405, "method_not_allowed", ("Allow", ", ".join(route.methods)))
        if route.target is Target.HEALTH:
            return _answer(200, "application/json", b'{"status":"ok","mode":"local"}')
        if route.target is Target.READY:
            serving = self._serving()
            body = b'{"status":"ready"}' if serving else b'{"status":"draining"}'
            return _answer(200 if serving else 503, "application/json", body)
        if len(request.body) > self._settings.webhook_bytes:
            self.refused("webhook", 413, "webhook_too_large", peer)
            return _error(413, "webhook_too_large")
        return self._webhook(now, peer, request, self._carriers[route.carrier], route.kind)

    def _has_webhook(self, carrier: str, kind: str) -> bool:
        return carrier in self._carriers and kind in dialect_of(carrier).routes

    def _webhook(self, now: int, peer: str, request: HttpRequest, carrier: CarrierSpec, kind: str) -> HttpAnswer:
        dialect = dialect_of(carrier.name)
        headers = {name: request.header(name) or "" for name, _ in request.headers}
        url = f"{self._config.public_url.origin}/webhooks/{carrier.name}/{kind}"
        if request.query:
            url += f"?{request.query}"
        if self._config.require_signature:
            verdict = dialect.verify_webhook(carrier, url, headers, request.body)
            if verdict is Verdict.NO_KEY:
                self.refused("webhook", 503, "no_key", peer, f"no key to check {carrier.name} signatures with")
                return _error(503, "signature_required")
            if verdict is not Verdict.VALID:
                detail = f"signature {verdict.value} for {url[:_SHOWN]}; is webhook_url the address the carrier calls?"
                self.refused("webhook", 403, "bad_signature", peer, detail)
                return _error(403, "invalid_signature")
        report = dialect.read_webhook(kind, headers, request.body)
        if isinstance(report, Malformed):
            self.refused("webhook", 400, report.code.value, peer, report.detail)
            return _error(400, report.code.value)
        if isinstance(report, CallOffered):
            return self._offered(now, peer, carrier, report)
        self._out.append(Notify(CarrierReported(report.call_id, report)))
        if isinstance(report, CallStatusChanged) and report.status.final:
            self._host.leg_ended(now, report.call_id)
        return HttpAnswer(204)

    def _offered(self, now: int, peer: str, carrier: CarrierSpec, offer: CallOffered) -> HttpAnswer:
        """A verified voice webhook. The same call may announce itself again: carriers retry."""
        dialect = dialect_of(carrier.name)
        call_id = offer.call_id
        state = self._host.state(call_id)
        if state is CallState.OFFERED and call_id in self._answers:
            return _answer(*self._answers[call_id])
        busy = self._busy_because(offer, state)
        if busy:
            code, detail = busy
            if detail:
                self.refused("call", 200, code, peer, detail)
            return _answer(*dialect.busy())
        if state is None:
            agent = self._config.agent_for(offer.callee)
            assert agent is not None  # or it would have been busy
            self._host.offer(
                now, self._spec(carrier, call_id, offer.caller, offer.callee, offer.direction.value, agent)
            )
        answer = dialect.answer(self._stream_url(now, call_id), {"caller": offer.caller, "callee": offer.callee})
        self._answers[call_id] = answer
        return _answer(*answer)

    def _busy_because(self, offer: CallOffered, state: CallState | None) -> tuple[str, str] | None:
        """Why this caller gets a busy tone, if they do, and what the log says of it."""
        if not self._serving():
            return "draining", "the server is shutting down"
        if offer.call_id in self._ended:
            return "ended", ""
        if state is CallState.ENDING or (state is not None and self._host.attached(offer.call_id)):
            return "live", ""
        if state is None:
            limit = self._settings.max_calls
            if limit is not None and len(self._host) >= limit:
                return "max_calls", f"max_calls={limit} reached"
            if self._config.agent_for(offer.callee) is None:
                return "no_agent", "no agent answers this number: see serve({number: agent})"
        return None

    def _spec(
        self, carrier: CarrierSpec, call_id: str, caller: str, callee: str, direction: str, agent: AgentSpec
    ) -> CallSpec:
        return CallSpec(
            call_id=call_id,
            carrier=carrier.name,
            agent=agent,
            caller=caller,
            callee=callee,
            direction=direction,
            account=carrier.account,
            base_url=carrier.base_url,
            settings=self._config.call,
            epoch=self.epoch,
        )

    def _stream_url(self, now: int, call_id: str) -> str:
        url = f"{self._config.public_url.stream_origin}/ws/stream/{quote(call_id, safe='')}"
        if self._config.authenticate_streams:
            url += f"/{self._tickets.mint(call_id, self._unix(now))}"
        return url

    def unix_us(self, now: int) -> int:
        """Wall time, in microseconds."""
        return self.epoch + now

    def _unix(self, now: int) -> int:
        return (self.epoch + now) // 1_000_000

    # --- media sockets -----------------------------------------------------------------------------------------------

    def upgrade(self, now: int, socket_peer: str, request: UpgradeRequest) -> Admitted | HttpAnswer:
        """Decide about an upgrade. One that is admitted holds a place until ``left``."""
        prefix = self._config.public_url.prefix
        if find_route(request.path, prefix).target is not Target.STREAM:
            return _error(404, "not_found")
        if not self._serving():
            return _error(503, "draining", ("Retry-After", "5"))
        found = split_stream_path(request.path, prefix)
        if found is None:
            return _error(404, "not_found")
        call_id, ticket = found
        forwarded = request.header("x-forwarded-for")
        peer = client_address(socket_peer, forwarded, self._config.trusted_proxies)
        verdict = self._tickets.check(call_id, ticket, self._unix(now))
        good = verdict is TicketVerdict.VALID or not self._config.authenticate_streams
        if self._peers[peer] >= self._settings.max_streams_per_ip:
            limit = self._settings.max_streams_per_ip
            detail = f"max_streams_per_ip={limit} reached; raise it if this address is a proxy or a load test"
            self.refused("stream", 429, "max_streams_per_ip", peer, detail if good else "")
            return _error(429, "too_many_streams", ("Retry-After", "1"))
        if not good:
            self.refused("stream", 403, f"ticket_{verdict.value}", peer)
            return _error(403, "bad_ticket")
        carrier = self._carrier_of(call_id)
        if carrier is None or not self._proven(carrier, request, call_id, ticket, peer):
            return _error(403, "bad_signature")
        problem = self._stream_problem(now, carrier, call_id)
        if problem:
            self.refused("stream", 403, problem, peer)
            return _error(403, problem)
        if verdict is TicketVerdict.VALID:
            self._tickets.use(ticket, self._unix(now))
        self._answers.pop(call_id, None)
        self._peers.add(peer)
        return Admitted(call_id, peer)

    def _carrier_of(self, call_id: str) -> CarrierSpec | None:
        spec = self._host.spec(call_id)
        if spec is not None:
            return self._carriers.get(spec.carrier)
        return next(iter(self._carriers.values()), None)

    def _proven(self, carrier: CarrierSpec, request: UpgradeRequest, call_id: str, ticket: str, peer: str) -> bool:
        """The carrier's own proof on the upgrade: wrong is worse than absent."""
        dialect = dialect_of(carrier.name)
        url = f"{self._config.public_url.stream_origin}{request.path.removeprefix(self._config.public_url.prefix)}"
        headers = {name: request.header(name) or "" for name, _ in request.headers}
        verdict = dialect.verify_upgrade(carrier, url, headers)
        if verdict is Verdict.VALID:
            return True
        if verdict in (Verdict.MISSING, Verdict.NO_KEY) and not self._config.require_upgrade_signature:
            if not self._unsigned_told and verdict is Verdict.MISSING:
                self._unsigned_told = True
                self._out.append(Notify(UpgradeUnsigned(call_id)))
            return True
        tried = ", ".join(spelling[:_SHOWN] for spelling in dialect.upgrade_spellings(url))
        if ticket:
            tried = tried.replace(ticket, "<ticket>")
        self.refused("stream", 403, f"upgrade_signature_{verdict.value}", peer, f"URLs tried: {tried}")
        return False

    def _stream_problem(self, now: int, carrier: CarrierSpec, call_id: str) -> str:
        """Why a proven socket still cannot be this call's; '' when it can."""
        state = self._host.state(call_id)
        if call_id in self._ended or state is CallState.ENDING:
            return "call_ended"
        if self._host.attached(call_id):
            return "already_attached"
        if state is None:
            # Its webhook was answered by another process with the same ticket secret (or streams are open to anyone).
            agent = self._config.agent_for("")
            limit = self._settings.max_calls
            if agent is None or (limit is not None and len(self._host) >= limit):
                return "unknown_call"
            self._host.offer(now, self._spec(carrier, call_id, "", "", "inbound", agent))
        return ""
