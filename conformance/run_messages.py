"""Message vectors against ``patter_core``: ``run(case)`` says what is wrong, or None.

Events in a vector are ``{"type": "caller_audio", ...}``: the type's name in snake case and the fields to compare; bytes
are base64. Prose (``detail``) is never compared. JSON is compared as JSON and XML in canonical form: key order, quotes
and spaces inside a tag are not protocol.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from enum import Enum
from typing import Any
from xml.etree import ElementTree

import msgspec

from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.carriers import form
from patter_core.carriers.carrier import (
    CallStatus,
    CarrierSpec,
    DialPlan,
    HookPlace,
    Leg,
    RecordingStep,
    RestRequest,
    StreamPlan,
    TransferPlan,
)
from patter_core.carriers.dialects import dialect_of
from patter_core.carriers.twilio import rest, rest_peer, stream, stream_peer, twiml, webhook, webhook_peer

from . import messages_telnyx

__all__ = ["CARRIERS", "OPERATIONS", "run"]

_PROSE = {"detail", "what"}


def plain(value: Any) -> Any:
    """A value of the core as the vectors spell it."""
    if isinstance(value, msgspec.Struct):
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__ if name not in _PROSE}
        return {"type": re.sub(r"(?<!^)(?=[A-Z])", "_", type(value).__name__).lower(), **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def _differs(found: Any, expected: Any) -> bool:
    """An event (an object with a ``type``) may have more fields than a vector names; all else is equal or not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if "type" not in expected and found.keys() != expected.keys():
            return True
        return any(name not in found or _differs(found[name], value) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) != len(expected) or any(map(_differs, found, expected))
    return bool(found != expected) or isinstance(found, bool) is not isinstance(expected, bool)


def _text(message: Any) -> str:
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"), ensure_ascii=False)


# --- media streams ---------------------------------------------------------------------------------------------------


def _started(given: dict[str, Any]) -> stream.TwilioStream:
    machine = stream.TwilioStream()
    for message in given.get("before", ()):
        machine.receive(_text(message))
    return machine


def _peer(given: dict[str, Any]) -> stream_peer.TwilioStreamPeer:
    described = given["stream"]
    peer = stream_peer.TwilioStreamPeer(
        described["stream_id"],
        described["call_id"],
        described["account_id"],
        described.get("parameters"),
        tuple(described.get("tracks", ("inbound",))),
        AudioFormat(Encoding(described.get("encoding", "pcmu")), described.get("rate", 8000)),
    )
    if given["op"] == "carrier_reads":
        peer.start()
    return peer


def _server_reads(given: dict[str, Any]) -> Any:
    machine = _started(given)
    return [machine.receive(_text(message)) for message in given["messages"]]


def _server_writes(given: dict[str, Any]) -> Any:
    machine = _started(given)
    return [json.loads(_do(machine, action)) for action in given["actions"]]


def _carrier_reads(given: dict[str, Any]) -> Any:
    peer = _peer(given)
    return [peer.receive(_text(message)) for message in given["messages"]]


def _carrier_writes(given: dict[str, Any]) -> Any:
    peer = _peer(given)
    return [json.loads(_do(peer, action)) for action in given["actions"]]


def _do(machine: stream.TwilioStream | stream_peer.TwilioStreamPeer, action: dict[str, Any]) -> str:
    arguments = {name: value for name, value in action.items() if name != "do"}
    if "payload" in arguments:
        arguments["payload"] = b64decode(arguments["payload"], validate=True)
    text: str = getattr(machine, action["do"])(**arguments)
    return text


# --- answers ---------------------------------------------------------------------------------------------------------

_VERBS: dict[str, Callable[..., twiml.Verb]] = {
    "connect": twiml.Connect,
    "reject": twiml.Reject,
    "say": twiml.Say,
    "hangup": twiml.Hangup,
    "pause": twiml.Pause,
    "dial": lambda to, **rest: twiml.Dial(_NOUNS[to["type"]](**{k: v for k, v in to.items() if k != "type"}), **rest),
    "redirect": twiml.Redirect,
}
_NOUNS: dict[str, Callable[..., twiml.Number | twiml.Sip | twiml.Conference]] = {
    "number": twiml.Number,
    "sip": twiml.Sip,
    "conference": lambda events=(), **rest: twiml.Conference(events=tuple(events), **rest),
}


def _write_markup(given: dict[str, Any]) -> Any:
    verbs = [_VERBS[verb["type"]](**{k: v for k, v in verb.items() if k != "type"}) for verb in given["verbs"]]
    return ElementTree.canonicalize(twiml.write_twiml(verbs))


def _answer_markup(given: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in given.items() if name not in ("op", "carrier", "answer")}
    match given["answer"]:
        case "connect_stream":
            text = twiml.connect_stream(**arguments)
        case "reject":
            text = twiml.reject(**arguments)
        case "say_and_hang_up":
            text = twiml.say_and_hang_up(**arguments)
        case "hang_up":
            text = twiml.hang_up(**arguments)
        case "transfer":
            text = twiml.transfer(**arguments)
        case "consult":
            text = twiml.consult(**arguments)
        case "join_room":
            text = twiml.join_room(**arguments)
        case other:
            raise AssertionError(f"no answer {other}")
    return ElementTree.canonicalize(text)


def _read_markup(given: dict[str, Any]) -> Any:
    return twiml.read_twiml(given["xml"])


# --- webhooks and requests -------------------------------------------------------------------------------------------

_PARSERS: dict[str, Callable[[list[tuple[str, str]]], Any]] = {
    "voice": webhook.parse_voice,
    "status": webhook.parse_status,
    "machine": webhook.parse_machine,
    "recording": webhook.parse_recording,
    "stream": webhook.parse_stream,
    "transfer": webhook.parse_transfer,
    "conference": webhook.parse_conference,
}


def _read_webhook(given: dict[str, Any]) -> Any:
    if "body" in given:
        pairs = form.parse_form(given["body"].encode("utf-8"))
    else:
        pairs = [(name, value) for name, value in given["params"]]
    return _PARSERS[given["kind"]](pairs)


def _read_report(given: dict[str, Any]) -> Any:
    """The whole of a webhook, as its carrier's dialect reads it: from its URL's query, headers and body."""
    body = given["body"].encode("utf-8") if "body" in given else form.encode_form(map(tuple, given["params"]))
    headers = given.get("headers", {})
    return dialect_of(given["carrier"]).read_webhook(given["kind"], given.get("query", ""), headers, body)


def _write_webhook(given: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in given.items() if name not in ("op", "carrier", "kind")}
    match given["kind"]:
        case "voice":
            return webhook_peer.voice_params(**arguments)
        case "status":
            return webhook_peer.status_params(**(arguments | {"status": CallStatus(arguments["status"])}))
        case "machine":
            return webhook_peer.machine_params(**arguments)
        case "recording":
            return webhook_peer.recording_params(**arguments)
        case "stream":
            return webhook_peer.stream_params(**arguments)
        case "transfer":
            return webhook_peer.transfer_params(**arguments)
        case "conference":
            return webhook_peer.conference_params(**arguments)
        case other:
            raise AssertionError(f"no webhook {other}")


def _read_form(given: dict[str, Any]) -> Any:
    return form.parse_form(b64decode(given["body_b64"], validate=True), given.get("max_fields", form.MAX_FIELDS))


def _write_request(given: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in given.items() if name not in ("op", "carrier", "request")}
    match given["request"]:
        case "hang_up":
            request = rest.hang_up(**arguments)
        case "say_and_hang_up":
            request = rest.say_and_hang_up(**arguments)
        case "update_markup":
            request = rest.update_twiml(
                arguments["account_sid"],
                arguments["call_sid"],
                arguments["markup"],
                arguments.get("base_url", rest.BASE_URL),
            )
        case other:
            raise AssertionError(f"no request {other}")
    return _shown(request)


def _shown(request: RestRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "content_type": dict(request.headers).get("content-type", ""),
        "form": [list(pair) for pair in form.parse_form(request.body)],
    }


def _write_order(given: dict[str, Any]) -> Any:
    """A request as the carrier's dialect builds it; None where that carrier needs none."""
    dialect = dialect_of(given["carrier"])
    leg = Leg(**given["leg"]) if "leg" in given else Leg("", "", "")
    spec = CarrierSpec(given["carrier"], leg.account, base_url=leg.base_url)
    plan = given.get("plan", {})
    match given["order"]:
        case "dial":
            made: RestRequest | None = dialect.dial(leg, DialPlan(**plan))
        case "brief":
            made = dialect.brief(leg, DialPlan(**plan))
        case "join":
            made = dialect.join(leg, Leg(**given["other"]), DialPlan(**plan))
        case "transfer":
            made = dialect.transfer(leg, TransferPlan(**plan))
        case "answer" | "begin_stream" | "restart_stream" as order:
            line = AudioFormat(Encoding(plan["line"]["encoding"]), plan["line"]["rate"])
            made = getattr(dialect, order)(leg, StreamPlan(**(plan | {"line": line})))
        case "reject":
            made = dialect.reject(leg)
        case "hang_up":
            made = dialect.hang_up(leg)
        case "speak":
            made = dialect.speak(leg, given["text"], given["language"])[0]
        case "send_keys":
            made = dialect.send_keys(leg, given["digits"], given["duration_ms"])
        case "record":
            made = dialect.record(leg, RecordingStep(given["step"]), given["webhooks"])
        case "find_hook":
            made = dialect.find_hook(spec, given["number"])
        case "set_hook":
            made = dialect.set_hook(spec, HookPlace(**given["place"]), given["url"])
        case other:
            raise AssertionError(f"no order {other}")
    return None if made is None else _shown(made)


def _read_made(given: dict[str, Any]) -> Any:
    return dialect_of(given["carrier"]).made(given["status"], _text(given["body"]).encode("utf-8"))


def _read_hook(given: dict[str, Any]) -> Any:
    """Where a number is reported, or ``{"refused": true}``: why not is prose."""
    body = _text(given["body"]).encode("utf-8")
    found = dialect_of(given["carrier"]).read_hook(given["status"], body, given["number"])
    return {"refused": True} if isinstance(found, str) else found


_REPLIES: dict[str, Callable[..., bytes]] = {
    "call": rest_peer.reply_call,
    "completed": rest_peer.reply_completed,
    "recording": rest_peer.reply_recording,
    "number": rest_peer.reply_number,
    "numbers": lambda numbers: rest_peer.reply_numbers([rest_peer.reply_number(**one) for one in numbers]),
    "not_found": rest_peer.reply_not_found,
    "not_in_progress": rest_peer.reply_not_in_progress,
    "unauthorized": rest_peer.reply_unauthorized,
    "too_many": rest_peer.reply_too_many,
}


def _write_reply(given: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in given.items() if name not in ("op", "carrier", "reply")}
    return json.loads(_REPLIES[given["reply"]](**arguments))


def _read_answer(given: dict[str, Any]) -> Any:
    body = given["body"]
    return rest.outcome(given["status"], _text(body).encode("utf-8"))


def _read_request(given: dict[str, Any]) -> Any:
    return rest_peer.read_request(given["method"], given["path"], given["body"].encode("utf-8"))


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "server_reads": _server_reads,
    "server_writes": _server_writes,
    "carrier_reads": _carrier_reads,
    "carrier_writes": _carrier_writes,
    "answer_markup": _answer_markup,
    "write_markup": _write_markup,
    "read_markup": _read_markup,
    "read_webhook": _read_webhook,
    "read_report": _read_report,
    "write_webhook": _write_webhook,
    "read_form": _read_form,
    "write_request": _write_request,
    "write_order": _write_order,
    "write_reply": _write_reply,
    "read_answer": _read_answer,
    "read_made": _read_made,
    "read_hook": _read_hook,
    "read_request": _read_request,
}
"""What a case's ``op`` asks for. ``{"error": true}`` as ``out`` means that the input is refused."""

CARRIERS = {"telnyx": messages_telnyx.OPERATIONS}
"""The same question means another text for another carrier: a carrier with operations of its own has a module."""

_MARKUP = {"answer_markup", "write_markup"}


def run(case: dict[str, Any]) -> str | None:
    """A description of the problem, or None."""
    operation = CARRIERS.get(case["in"].get("carrier", ""), OPERATIONS).get(case["in"]["op"])
    if operation is None:
        return f"{case['id']}: no operation {case['in']['op']}"
    expected = case["out"]
    try:
        if case["in"]["op"] in _MARKUP and isinstance(expected, str):
            expected = ElementTree.canonicalize(expected)
        found = plain(operation(case["in"]))
    except (ValueError, ElementTree.ParseError) as error:
        return None if expected == {"error": True} else f"{case['id']}: refused: {error}"
    if expected == {"error": True} or _differs(found, expected):
        return f"{case['id']}: found {found!r}, expected {expected!r}"
    return None
