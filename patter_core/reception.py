"""Who is let in and what they are told: health, webhooks, media sockets' upgrades. Decides before anything is spent.

It knows requests, not connections: it answers a request with an ``HttpAnswer``, and an upgrade with that or with
``Admitted``. What it lets in it hands to the Host.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

from .admission import PeerCounter, Tickets, TicketVerdict, client_address, tunnel_visitor
from .audio.formats import PCMU_8K
from .call.call import CallState
from .call.spec import CallSpec
from .carriers.carrier import (
    Acknowledged,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    Direction,
    Leg,
    Malformed,
    RecordingChanged,
    StreamPlan,
    TransferEnded,
    Verdict,
    WebhookAnswer,
)
from .carriers.dialects import dialect_of
from .config import AgentSpec, CarrierSpec, PublicUrl, ServerConfig
from .contract import Notify, Order
from .dialling import BadDial, dial_spec
from .events import CarrierReported, Refused, UpgradeUnsigned
from .host import Host
from .routes import Target, find_route, split_stream_path
from .wire.events import HttpRequest, UpgradeRequest

__all__ = ["Admitted", "HttpAnswer", "Reception"]

_LATEST = (1 << 39) - 1  # what a ticket can say; some 17,000 years
_EVENT_ID = 128  # characters; a UUID has 36
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


def _answer(answer: WebhookAnswer) -> HttpAnswer:
    headers = (("Content-Type", answer.content_type),) if answer.body else ()
    return HttpAnswer(answer.status, headers, answer.body)


def _json(status: int, body: bytes) -> HttpAnswer:
    return HttpAnswer(status, (("Content-Type", "application/json"),), body)


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
        self._refs = hashlib.blake2b(b"refs", key=seed[:64]).digest()
        self._dials = 0
        self._events: OrderedDict[tuple[str, str], None] = OrderedDict()  # webhooks that carry an id, taken in
        self._answers: dict[str, WebhookAnswer] = {}  # voice answers of calls that have no stream yet
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unsigned_told = False
        self._carriers = {carrier.name: carrier for carrier in config.carriers}
        self._peers = PeerCounter()  # media sockets by client address

    def moved(self, url: PublicUrl) -> None:
        """Carriers reach us at another address from now on."""
        self._config = msgspec.structs.replace(self._config, public_url=url)

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
            return _json(200, b'{"status":"ok","mode":"local"}')
        if route.target is Target.READY:
            serving = self._serving()
            body = b'{"status":"ready"}' if serving else b'{"status":"draining"}'
            return _json(200 if serving else 503, body)
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
            verdict, why = dialect.verify_webhook(carrier, url, headers, request.body, self._unix(now))
            if verdict is Verdict.NO_KEY:
                self.refused("webhook", 503, "no_key", peer, f"no key to check {carrier.name} signatures with")
                return _error(503, "signature_required")
            if verdict is not Verdict.VALID:
                why = why or f"is webhook_url the address that {carrier.name} calls?"
                detail = f"signature {verdict.value} for {url[:_SHOWN]}: {why}"
                self.refused("webhook", 403, "bad_signature", peer, detail)
                return _error(403, "invalid_signature")
        webhook = dialect.read_webhook(kind, request.query, headers, request.body)
        report = webhook.event
        if isinstance(report, Malformed):
            self.refused("webhook", 400, report.code.value, peer, report.detail)
            return _error(400, report.code.value)
        if webhook.event_id and self._seen(carrier.name, webhook.event_id):
            return _answer(dialect.thanks())  # carriers repeat themselves, and so may whoever overheard them
        match report:
            case CallOffered():
                return self._offered(now, peer, carrier, report, webhook.ref)
            case TransferEnded():
                return self._transferred(now, carrier, report, webhook.ref)
            case Acknowledged(_, what, known):
                if not known:
                    self.refused("webhook", 200, "unknown_event", peer, f"{carrier.name} sent {what[:80]!r}; ignored")
            case _:
                self._out.append(Notify(CarrierReported(report.call_id, report)))
                self._host.report(now, report, webhook.ref)
                if isinstance(report, RecordingChanged):
                    self._host.recording(now, self.unix_us(now), report, carrier.name)
        return _answer(dialect.thanks())

    def _seen(self, carrier: str, event_id: str) -> bool:
        """Was this very event taken in before?"""
        if len(event_id) > _EVENT_ID:
            event_id = hashlib.blake2b(event_id.encode("utf-8", "replace"), digest_size=32).hexdigest()
        key = (carrier, event_id)
        if key in self._events:
            return True
        self._events[key] = None
        if len(self._events) > self._settings.remembered_events:
            self._events.popitem(last=False)
        return False

    def _offered(self, now: int, peer: str, carrier: CarrierSpec, offer: CallOffered, ref: str) -> HttpAnswer:
        """A verified voice webhook. The same call may announce itself again: carriers retry."""
        dialect = dialect_of(carrier.name)
        if offer.direction is Direction.OUTBOUND:
            return self._picked_up(now, carrier, offer, ref)
        call_id = offer.call_id
        state = self._host.state(call_id)
        if state is CallState.OFFERED and call_id in self._answers:
            return _answer(self._answers[call_id])
        busy = self._busy_because(offer, state)
        if busy:
            code, detail = busy
            if detail:
                self.refused("call", 200, code, peer, detail)
                self._host.aside(dialect.reject(Leg(carrier.account, carrier.base_url, call_id, f"{call_id}:busy")))
            return _answer(dialect.busy())
        url, token = self.mint(now, call_id)
        who = {"caller": offer.caller, "callee": offer.callee}
        plan = StreamPlan(url, who, PCMU_8K, token, self._webhooks(carrier))
        if state is None:
            agent = self._config.agent_for(offer.callee)
            assert agent is not None  # or it would have been busy
            spec = self._spec(carrier, call_id, offer.caller, offer.callee, offer.direction.value, agent)
            self._host.offer(now, spec, url, token)
        answer = self._answers[call_id] = dialect.offered(plan)
        return _answer(answer)

    def _picked_up(self, now: int, carrier: CarrierSpec, offer: CallOffered, ref: str) -> HttpAnswer:
        """A call of ours was answered, and its carrier asks what now."""
        dialect = dialect_of(carrier.name)
        answered = CallStatusChanged(offer.call_id, CallStatus.IN_PROGRESS, raw="answered")
        known = self._host.report(now, answered, ref)
        call_id = self._host.find(offer.call_id, ref)
        if not known or self._host.state(call_id) is CallState.ENDING:
            return _answer(dialect.transferred())  # nobody wants it any more: hang up
        if call_id in self._answers:
            return _answer(self._answers[call_id])
        if self._host.attached(call_id):
            return _answer(dialect.busy())
        answer = self._answers[call_id] = dialect.offered(self._plan(now, call_id))
        return _answer(answer)

    def _transferred(self, now: int, carrier: CarrierSpec, report: TransferEnded, ref: str) -> HttpAnswer:
        """A transfer is over, and the carrier asks what to do with the caller."""
        dialect = dialect_of(carrier.name)
        self._out.append(Notify(CarrierReported(report.call_id, report)))
        self._host.report(now, report, ref)
        call_id = self._host.find(report.call_id, ref)
        if self._host.state(call_id) is not CallState.AWAY or not self._serving():
            return _answer(dialect.transferred())
        return _answer(dialect.offered(self._plan(now, call_id)))

    def _plan(self, now: int, call_id: str) -> StreamPlan:
        spec = self._host.spec(call_id)
        assert spec is not None
        url, token = self.mint(now, call_id)
        return StreamPlan(url, {"caller": spec.caller, "callee": spec.callee}, PCMU_8K, token, spec.webhooks)

    def _busy_because(self, offer: CallOffered, state: CallState | None) -> tuple[str, str] | None:
        """Why this caller gets a busy tone, if they do, and what the log says of it."""
        if offer.call_id in self._ended:
            return "ended", ""
        if state is CallState.ENDING or (state is not None and self._host.attached(offer.call_id)):
            return "live", ""
        if not self._serving():
            return "draining", "the server is shutting down"
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
        config = self._config
        return CallSpec(
            call_id=call_id,
            carrier=carrier.name,
            agent=agent,
            caller=caller,
            callee=callee,
            direction=direction,
            account=carrier.account,
            base_url=carrier.base_url,
            options=carrier.options,
            webhooks=self._webhooks(carrier),
            recording=config.recording,
            recording_announcement=config.recording_announcement,
            local_recording=config.local_recording,
            settings=config.call,
            prices=config.prices,
            epoch=self.epoch,
        )

    def _webhooks(self, carrier: CarrierSpec) -> str:
        """Where this carrier reports."""
        return f"{self._config.public_url.origin}/webhooks/{carrier.name}"

    def dialled(self, args: dict[str, Any]) -> CallSpec | BadDial:
        """The call that the application wants placed, named until its carrier names it."""
        if not self._serving():
            return BadDial("the server is shutting down")
        limit = self._settings.max_calls
        if limit is not None and len(self._host) >= limit:
            return BadDial(f"max_calls={limit} reached")
        self._dials += 1
        token = hashlib.blake2b(self._dials.to_bytes(8, "big"), key=self._refs, digest_size=12).hexdigest()
        origin = self._config.public_url.origin
        return dial_spec(self._config, args, ref=f"dial-{token}", origin=origin, epoch=self.epoch)

    def mint(self, now: int, call_id: str) -> tuple[str, str]:
        """A fresh address for a call's media stream, and the ticket in it ('' when streams are open to anyone)."""
        url = f"{self._config.public_url.stream_origin}/ws/stream/{quote(call_id, safe='')}"
        if not self._config.authenticate_streams:
            return url, ""
        ticket = self._tickets.mint(call_id, self._unix(now))
        return f"{url}/{ticket}", ticket

    def unix_us(self, now: int) -> int:
        """Wall time, in microseconds."""
        return self.epoch + now

    def _unix(self, now: int) -> int:
        return min(max(0, self.epoch + now) // 1_000_000, _LATEST)

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
        if self._config.tunnel is not None and self._config.tunnel.ours:
            peer = tunnel_visitor(peer, request.header("cf-connecting-ip"))
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
        verdict = dialect.verify_upgrade(carrier, url, headers, ticket)
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
