"""Call traces in the words that carriers share, for ``run_trace``: one case, run once for each carrier it names.

``each`` makes plain cases of a shared one. ``CarrierSide`` is the carrier of a running trace: it says a message as its
own stream peer writes it, and reads what it is told and asked as its own peers read it, so a trace never holds a wire.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from patter_core.audio.formats import PCMU_8K, AudioFormat, Encoding
from patter_core.call import words
from patter_core.carriers import carrier as shared
from patter_core.carriers.carrier import RestRequest, StreamState
from patter_core.carriers.telnyx import rest_peer as telnyx_rest
from patter_core.carriers.telnyx import stream_peer as telnyx_stream
from patter_core.carriers.telnyx.stream_peer import TelnyxStreamPeer
from patter_core.carriers.twilio import rest_peer as twilio_rest
from patter_core.carriers.twilio import stream_peer as twilio_stream
from patter_core.carriers.twilio import twiml
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer

__all__ = ["STREAM_URL", "CarrierSide", "each"]

IDS = {
    "twilio": {
        "carrier": "twilio",
        "account": "AC" + "3" * 32,
        "call": "CA" + "7" * 32,
        "other": "CA" + "8" * 32,
        "stranger": "CA" + "9" * 32,
        "dial": "dial-1",
        "stream": "stream-1",
    },
    "telnyx": {
        "carrier": "telnyx",
        "account": "1234567890",
        "call": "v3:this-call",
        "other": "v3:other-leg",
        "stranger": "v3:stranger",
        "dial": "dial-1",
        "stream": "stream-1",
    },
}
"""What ``{"$id": ...}`` stands for: ids as each carrier writes them."""

STREAM_URL = "wss://agent.example/ws/stream/call/ticket"


# --- one case for each carrier ---------------------------------------------------------------------------------------


def each(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The case as it is, or, where it names ``carriers``, once for each, with ``@carrier`` behind its id."""
    if "carriers" not in case:
        return [case]
    return [_of(case, carrier) for carrier in case["carriers"]]


def _of(case: dict[str, Any], carrier: str) -> dict[str, Any]:
    ids = IDS[carrier]
    dialled = "dial" in case["config"]
    names = {"carrier": carrier, "call_id": ids["dial" if dialled else "call"], "account": ids["account"]}
    own: dict[str, Any] = _chosen({name: value for name, value in case.items() if name != "carriers"}, carrier)
    return {**own, "id": f"{case['id']}@{carrier}", "on": carrier, "config": {**own["config"], **names}}


def _chosen(value: Any, carrier: str) -> Any:
    if isinstance(value, dict):
        if "$per" in value:
            return _chosen(value["$per"][carrier], carrier)
        if "$id" in value:
            return IDS[carrier][value["$id"]]
        return {name: _chosen(item, carrier) for name, item in value.items() if name != "only"}
    if isinstance(value, list):
        return [_chosen(item, carrier) for item in value if _here(item, carrier)]
    return value


def _here(item: Any, carrier: str) -> bool:
    return not isinstance(item, dict) or item.get("only", carrier) == carrier


# --- the carrier of a running trace ----------------------------------------------------------------------------------

_EVENTS = {
    "call_status_changed": shared.CallStatusChanged,
    "machine_detected": shared.MachineDetected,
    "recording_changed": shared.RecordingChanged,
    "stream_changed": shared.StreamChanged,
    "transfer_ended": shared.TransferEnded,
    "leg_joined": shared.LegJoined,
    "carrier_spoke": shared.CarrierSpoke,
}
_FRAME_MS = 20


class CarrierSide:
    """What a carrier has to remember: its stream, and the name that it echoes in the reports of the other leg."""

    def __init__(self, config: dict[str, Any]) -> None:
        carrier = self.carrier = config["carrier"]
        self.hears = PCMU_8K
        self.plays = PCMU_8K
        self._ids = IDS[carrier]
        self._dialled = "dial" in config
        self._parameters = {"caller": config.get("caller", ""), "callee": config.get("callee", "")}
        self._peer: TwilioStreamPeer | TelnyxStreamPeer | None = None
        self._streams = 0
        self._clock_ms = 0
        self._other_ref = ""

    # --- the stream

    def came(self) -> None:
        """A media socket was opened."""
        self._streams += 1
        self.hears = self.plays = PCMU_8K
        self._peer = self._fresh(self._ids["call"], {})

    def _fresh(self, call_id: str, parameters: dict[str, str]) -> TwilioStreamPeer | TelnyxStreamPeer:
        name = f"stream-{self._streams}"
        if self.carrier == "twilio":
            return TwilioStreamPeer(name, call_id, self._ids["account"], parameters)
        return TelnyxStreamPeer(name, call_id, "user-1", parameters, self.hears, self.plays)

    def says(self, fact: dict[str, Any]) -> str:
        """A message of the carrier's on the stream."""
        assert self._peer is not None, "stream_came comes first"
        match fact["event"]:
            case "connected":
                return self._peer.connected()
            case "start":
                return self._start(fact)
            case "media":
                self._clock_ms += _FRAME_MS
                return self._peer.media(b64decode(fact["audio"]), self._clock_ms)
            case "mark":
                return self._peer.mark(fact["name"])
            case "dtmf":
                return self._peer.dtmf(fact["digit"])
            case "stop":
                return self._peer.stop()
        raise AssertionError(f"no stream event {fact['event']}")

    def _start(self, fact: dict[str, Any]) -> str:
        self.hears = _format(fact.get("codec", "pcmu/8000"))
        self.plays = _format(fact.get("plays", fact.get("codec", "pcmu/8000")))
        again = self._fresh(fact.get("call", self._ids["call"]), fact.get("parameters", self._parameters))
        text = again.start()
        if self._peer is None or self._peer.state is StreamState.CONNECTING:
            self._peer = again
        codec = fact.get("unreadable_codec")
        return text if codec is None else text.replace('"PCMU"', f'"{codec}"').replace('"audio/x-mulaw"', f'"{codec}"')

    def told(self, text: str) -> dict[str, Any]:
        """What the carrier makes of a message on the stream."""
        assert self._peer is not None
        found: dict[str, Any] = {"type": "to_stream"}
        match self._peer.receive(text):
            case twilio_stream.Played(payload) | telnyx_stream.Played(payload):
                wide = self.plays.rate if self.plays.encoding is Encoding.L16 else 0
                return found | {"event": "media", "audio": b64encode(payload).decode("ascii"), "linear": wide}
            case twilio_stream.Marked(name) | telnyx_stream.Marked(name):
                return found | {"event": "mark", "name": name}
            case twilio_stream.Cleared() | telnyx_stream.Cleared():
                return found | {"event": "clear"}
            case wrong:
                return found | {"event": "malformed", "code": wrong.code.value}

    # --- reports

    def reports(self, fact: dict[str, Any]) -> words.Reported:
        """A webhook of the carrier's, read."""
        about, event = fact["about"], dict(fact["event"])
        kind = _EVENTS[event.pop("type")]
        fields = {"call_id": self._ids[about], "type": kind.__name__, **event}
        if "raw" in kind.__struct_fields__:
            fields.setdefault("raw", str(event.get("status") or event.get("classification") or event.get("change")))
        ref = self._ids["dial"] if about == "call" and self._dialled else ""
        if about == "stranger":
            ref = "somebody-else"
        elif about == "other" or kind is shared.TransferEnded:
            ref = self._other_ref
        return words.Reported(msgspec.convert(fields, kind), ref)

    # --- the REST API

    def asked(self, name: str, request: RestRequest) -> dict[str, Any]:
        """What a request is about, as the carrier's own end of the API reads it."""
        url = urlsplit(request.url)
        path = url.path + (f"?{url.query}" if url.query else "")
        read = _twilio if self.carrier == "twilio" else _telnyx
        order = name.partition(":")[0]
        found = dict(read(request.method, path, request.body))
        ref = found.pop("ref", "")
        if order in ("send", "consult"):
            self._other_ref = ref
        body = request.body.decode()
        fields = msgspec.json.decode(body) if body[:1] == "{" else dict(parse_qsl(body, keep_blank_values=True))
        plain = {"method": request.method, "url": request.url, "body": fields}
        return {"type": "rest", "name": name, "order": order, **found, "request": plain}


def _format(name: str) -> AudioFormat:
    encoding, _, rate = name.partition("/")
    return AudioFormat(Encoding(encoding), int(rate))


_Fields = Iterator[tuple[str, Any]]


def _twilio(method: str, path: str, body: bytes) -> _Fields:
    wanted = twilio_rest.read_request(method, path, body)
    assert wanted is not None, f"Twilio has no such request: {method} {path}"
    if isinstance(wanted, twilio_rest.DialWanted):
        yield "to", wanted.to
        yield "from", wanted.caller_id
        yield "ring_timeout", wanted.timeout_s * 1000
        yield "machine_detection", bool(wanted.machine_detection)
        yield "ref", _ref(wanted.status_callback)
        yield from _verbs(wanted.twiml)
    elif isinstance(wanted, twilio_rest.HangUpWanted | twilio_rest.UpdateTwiml | twilio_rest.RecordingWanted):
        yield "leg", wanted.call_sid
        if isinstance(wanted, twilio_rest.UpdateTwiml):
            yield from _verbs(wanted.twiml)
        elif isinstance(wanted, twilio_rest.RecordingWanted):
            yield "step", wanted.step.value


def _verbs(document: str) -> _Fields:
    for verb in twiml.read_twiml(document) if document else ():
        match verb:
            case twiml.Say(text=text):
                yield "says", text
            case twiml.Connect(url=url):
                yield "stream", url
            case twiml.Dial(to=twiml.Number(number=to) | twiml.Sip(uri=to)):
                yield "to", to
                yield "from", verb.caller_id
                yield "ring_timeout", (verb.timeout_s or 0) * 1000
                yield "ref", _ref(verb.action)


def _ref(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query)).get("ref", "")


def _telnyx(method: str, path: str, body: bytes) -> _Fields:
    wanted = telnyx_rest.read_request(method, path, body)
    assert wanted is not None, f"Telnyx has no such request: {method} {path}"
    if isinstance(wanted, telnyx_rest.DialWanted | telnyx_rest.TransferWanted):
        yield "to", wanted.to
        yield "from", wanted.caller
        yield "ring_timeout", wanted.ring_timeout_s * 1000
        yield "ref", b64decode(wanted.state or "").decode()
    if isinstance(wanted, telnyx_rest.DialWanted):
        yield "machine_detection", bool(wanted.detect)
    elif not isinstance(wanted, telnyx_rest.HookAsked | telnyx_rest.HookWanted):
        yield "leg", wanted.call_id
    match wanted:
        case telnyx_rest.SpeakWanted(text=text):
            yield "says", text
        case telnyx_rest.KeysWanted(digits=digits):
            yield "digits", digits
        case telnyx_rest.RecordWanted(step=step):
            yield "step", step.value
        case telnyx_rest.BridgeWanted(other=other):
            yield "other", other
        case (
            telnyx_rest.AnswerWanted(stream=telnyx_rest.StreamWish(url=url, plays=plays))
            | telnyx_rest.StreamWanted(stream=telnyx_rest.StreamWish(url=url, plays=plays))
        ):
            yield "stream", url
            yield "codec", f"{plays.encoding.value}/{plays.rate}" if plays else ""
