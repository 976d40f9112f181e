"""The carriers' ends of a check: what each posts, sends and expects, for a server that must not notice a difference."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from patter_core import Telnyx, Twilio
from patter_core.audio.formats import PCMU_8K
from patter_core.carriers.form import encode_form
from patter_core.carriers.telnyx import rest_peer, stream_peer, webhook_peer
from patter_core.carriers.telnyx import signature as ed25519
from patter_core.carriers.telnyx.dialect import STREAM_TOKEN
from patter_core.carriers.twilio import signature, twiml
from patter_core.carriers.twilio import webhook_peer as twilio_peer
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer

__all__ = ["ACCOUNT", "CARRIERS", "TOKEN", "CarrierEnd", "Letter", "RestCall", "TelnyxEnd", "TwilioEnd"]

ACCOUNT, TOKEN = "AC" + "0" * 31 + "1", "conformance"
CONNECTION, SEED = "1684641123236054244", b"the conformance checks' own seed"
CALLER, CALLEE = "+15550100001", "+15550001234"
_NUMBERS = itertools.count(1)


class Letter(NamedTuple):
    """A webhook, ready to be posted. ``what`` is its name for people."""

    what: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class RestCall(NamedTuple):
    """A request that the server made of the carrier's REST API."""

    path: str
    fields: dict[str, Any]
    authorization: str


class CarrierEnd(Protocol):
    """One carrier. ``thanks``: how its callbacks are answered. ``scheme``: what its REST credentials begin with."""

    name: str
    thanks: int
    scheme: str

    def option(self, rest: str) -> Twilio | Telnyx:
        """What a server of ours is configured with."""
        ...

    def stranger(self) -> CarrierEnd:
        """The same carrier, with another's key."""
        ...

    def new_call_id(self) -> str:
        """A call id nobody has used."""
        ...

    def voice(self, public: str, call_id: str, *, sign: bool = True) -> Letter:
        """A call is announced."""
        ...

    def reports(self, public: str, call_id: str) -> list[Letter]:
        """Reports about a call that the server must take, known to it or not."""
        ...

    def after_stop(self, public: str, call_id: str) -> list[Letter]:
        """What is reported once a call's stream has stopped because the caller hung up."""
        ...

    def stream_url(self, body: bytes, call_id: str, orders: Sequence[RestCall]) -> str:
        """Where the server wants the call's audio: in its answer, or in an order; '' while it has not said."""
        ...

    def proof(self, url: str, call_id: str) -> list[tuple[str, str]]:
        """The headers that show a media socket to be the carrier's."""
        ...

    def false_proof(self) -> list[tuple[str, str]]:
        """The same, made up."""
        ...

    def peer(self, call_id: str) -> TwilioStreamPeer | stream_peer.TelnyxStreamPeer:
        """Its end of the stream."""
        ...

    def hung_up(self, order: RestCall) -> str:
        """The call that this order ends; '' when it ends none."""
        ...


class TwilioEnd:
    """Twilio: forms, signed with a shared token; the answer says where the audio goes."""

    name = "twilio"
    thanks = 204
    scheme = "Basic "

    def __init__(self, account: str = ACCOUNT, token: str = TOKEN) -> None:
        self.account, self.token = account, token

    def option(self, rest: str) -> Twilio:
        return Twilio(self.account, self.token, base_url=rest)

    def stranger(self) -> TwilioEnd:
        return TwilioEnd(self.account, "another")

    def new_call_id(self) -> str:
        return f"CA{next(_NUMBERS):08x}" + secrets.token_hex(12)

    def _letter(self, public: str, kind: str, fields: list[tuple[str, str]], sign: bool = True) -> Letter:
        path = f"/webhooks/twilio/{kind}"
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        if sign:
            headers.append(("X-Twilio-Signature", signature.sign(self.token, public + path, fields)))
        return Letter(kind, path, headers, encode_form(fields))

    def voice(self, public: str, call_id: str, *, sign: bool = True) -> Letter:
        return self._letter(public, "voice", twilio_peer.voice_params(call_id, self.account, CALLER, CALLEE), sign)

    def reports(self, public: str, call_id: str) -> list[Letter]:
        common = [("CallSid", call_id), ("AccountSid", self.account)]
        recording = [("RecordingSid", "RE" + "0" * 32), ("RecordingStatus", "completed")]
        return [
            self._letter(public, "status", [*common, ("CallStatus", "ringing")]),
            self._letter(public, "recording", [*common, *recording]),
            self._letter(public, "amd", [*common, ("AnsweredBy", "human")]),
        ]

    def after_stop(self, public: str, call_id: str) -> list[Letter]:
        return []  # nobody asked for status reports of this call

    def stream_url(self, body: bytes, call_id: str, orders: Sequence[RestCall]) -> str:
        verbs = twiml.read_twiml(body.decode("utf-8", "replace"))
        return next((verb.url for verb in verbs if isinstance(verb, twiml.Connect)), "")

    def proof(self, url: str, call_id: str) -> list[tuple[str, str]]:
        return [("x-twilio-signature", signature.sign(self.token, url))]

    def false_proof(self) -> list[tuple[str, str]]:
        return [("x-twilio-signature", "A" * 27 + "=")]

    def peer(self, call_id: str) -> TwilioStreamPeer:
        return TwilioStreamPeer("MZ" + secrets.token_hex(16), call_id, self.account)

    def hung_up(self, order: RestCall) -> str:
        ends = order.fields.get("Status") == "completed"
        return order.path.rsplit("/", 1)[1].removesuffix(".json") if ends else ""


class TelnyxEnd:
    """Telnyx: JSON events, signed with Ed25519; a REST order says where the audio goes."""

    name = "telnyx"
    thanks = 200
    scheme = "Bearer "

    def __init__(self, connection: str = CONNECTION, seed: bytes = SEED) -> None:
        self.connection, self.seed = connection, seed
        self._wishes: dict[str, rest_peer.StreamWish] = {}

    @property
    def public_key(self) -> str:
        """What the server verifies with."""
        return ed25519.public_key(self.seed)

    def option(self, rest: str) -> Telnyx:
        return Telnyx("conformance", self.connection, self.public_key, base_url=rest)

    def stranger(self) -> TelnyxEnd:
        return TelnyxEnd(self.connection, self.seed[::-1])

    def new_call_id(self) -> str:
        return f"v3:{next(_NUMBERS):08x}-" + base64.urlsafe_b64encode(secrets.token_bytes(36)).decode()

    def _letter(
        self, public: str, make: Callable[..., webhook_peer.Event], call_id: str, sign: bool = True, **more: Any
    ) -> Letter:
        path, now = "/webhooks/telnyx/voice", time.time_ns() // 1000
        ids = f"{call_id}-leg", f"{call_id}-session"
        leg = webhook_peer.TelnyxLeg(call_id, *ids, self.connection, CALLER, CALLEE, now)
        event = make(leg, secrets.token_hex(16), now, **more)
        body = webhook_peer.deliver(event, public + path)
        headers = [("Content-Type", "application/json")]
        if sign:
            timestamp = str(now // 1_000_000)
            headers += [
                (ed25519.SIGNATURE, ed25519.sign(self.seed, timestamp, body)),
                (ed25519.TIMESTAMP, timestamp),
            ]
        return Letter(event.kind, path, headers, body)

    def voice(self, public: str, call_id: str, *, sign: bool = True) -> Letter:
        return self._letter(public, webhook_peer.initiated, call_id, sign)

    def reports(self, public: str, call_id: str) -> list[Letter]:
        now = time.time_ns() // 1000
        taped = {"recording_id": "r1", "url": "https://example.com/r1.wav", "start_us": now - 1_000_000, "end_us": now}
        return [
            self._letter(public, webhook_peer.answered, call_id),
            self._letter(public, webhook_peer.machine_detected, call_id, result="human"),
            self._letter(public, webhook_peer.recording_saved, call_id, **taped),
            self._letter(public, webhook_peer.hangup, call_id),
        ]

    def after_stop(self, public: str, call_id: str) -> list[Letter]:
        return [self._letter(public, webhook_peer.hangup, call_id, packets=1)]

    def stream_url(self, body: bytes, call_id: str, orders: Sequence[RestCall]) -> str:
        for order in orders:
            wanted = rest_peer.read_request("POST", order.path, json.dumps(order.fields).encode())
            if not isinstance(wanted, rest_peer.AnswerWanted | rest_peer.StreamWanted) or wanted.stream is None:
                continue
            if wanted.call_id == call_id:
                self._wishes[call_id] = wanted.stream
                return wanted.stream.url
        return ""

    def proof(self, url: str, call_id: str) -> list[tuple[str, str]]:
        wish = self._wishes.get(call_id)
        return [(STREAM_TOKEN, wish.token)] if wish is not None and wish.token else []

    def false_proof(self) -> list[tuple[str, str]]:
        return [(STREAM_TOKEN, "made-up")]

    def peer(self, call_id: str) -> stream_peer.TelnyxStreamPeer:
        wish = self._wishes.get(call_id) or rest_peer.StreamWish("")
        return stream_peer.TelnyxStreamPeer(
            secrets.token_hex(16), call_id, "user", wish.parameters, wish.hears or PCMU_8K, wish.plays or PCMU_8K
        )

    def hung_up(self, order: RestCall) -> str:
        head, _, action = order.path.rpartition("/actions/")
        return unquote(head.rsplit("/", 1)[1]) if action == "hangup" else ""


CARRIERS: dict[str, Callable[[], CarrierEnd]] = {"twilio": TwilioEnd, "telnyx": TelnyxEnd}
