"""Telnyx's operations for ``run_messages``. Bodies are JSON values; a text stands for itself, so that it can be broken.

``stream`` of a server's operation names what was asked for (``encoding``, ``rate``) and the L16 ``byte_order``; of a
carrier's operation it also names the ids, and with ``plays`` what the server sends.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.carriers.carrier import DialPlan, HookPlace, Leg, RecordingStep, RestRequest, StreamPlan, TransferPlan
from patter_core.carriers.telnyx import rest, rest_peer, webhook, webhook_peer
from patter_core.carriers.telnyx.stream import TelnyxStream
from patter_core.carriers.telnyx.stream_peer import TelnyxStreamPeer
from patter_core.errors import LocalProtocolError

__all__ = ["OPERATIONS"]


def _text(message: Any) -> str:
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def _body(given: dict[str, Any]) -> bytes:
    if "body_b64" in given:
        return b64decode(given["body_b64"], validate=True)
    return _text(given["body"]).encode("utf-8")


def _format(described: dict[str, Any]) -> AudioFormat:
    return AudioFormat(Encoding(described.get("encoding", "l16")), described.get("rate", 16000))


def _rest_of(given: dict[str, Any], *taken: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in ("op", "carrier", *taken)}


# --- media streams ---------------------------------------------------------------------------------------------------


def _server(given: dict[str, Any]) -> TelnyxStream:
    described = given.get("stream", {})
    machine = TelnyxStream(_format(described), big_endian=described.get("byte_order") == "big")
    for message in given.get("before", ()):
        machine.receive(_text(message))
    return machine


def _peer(given: dict[str, Any]) -> TelnyxStreamPeer:
    described = given["stream"]
    peer = TelnyxStreamPeer(
        described["stream_id"],
        described["call_id"],
        described["user_id"],
        described.get("parameters"),
        _format(described),
        _format(described["plays"]) if "plays" in described else None,
        session_id=described.get("session_id", ""),
        caller=described.get("caller", ""),
        callee=described.get("callee", ""),
        client_state=described.get("client_state"),
        big_endian=described.get("byte_order") == "big",
    )
    if given["op"] == "carrier_reads":
        peer.start()
    return peer


def _server_reads(given: dict[str, Any]) -> Any:
    machine = _server(given)
    return [machine.receive(_text(message)) for message in given["messages"]]


def _server_writes(given: dict[str, Any]) -> Any:
    machine = _server(given)
    return [json.loads(_do(machine, action)) for action in given["actions"]]


def _carrier_reads(given: dict[str, Any]) -> Any:
    peer = _peer(given)
    return [peer.receive(_text(message)) for message in given["messages"]]


def _carrier_writes(given: dict[str, Any]) -> Any:
    peer = _peer(given)
    return [json.loads(_do(peer, action)) for action in given["actions"]]


def _do(machine: TelnyxStream | TelnyxStreamPeer, action: dict[str, Any]) -> str:
    arguments = {name: value for name, value in action.items() if name != "do"}
    if "payload" in arguments:
        arguments["payload"] = b64decode(arguments["payload"], validate=True)
    try:
        text: str = getattr(machine, action["do"])(**arguments)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from None
    return text


# --- webhooks --------------------------------------------------------------------------------------------------------

_BUILDERS: dict[str, Callable[..., webhook_peer.Event]] = {
    "initiated": webhook_peer.initiated,
    "answered": webhook_peer.answered,
    "hangup": webhook_peer.hangup,
    "machine_detected": webhook_peer.machine_detected,
    "machine_greeting": webhook_peer.machine_greeting,
    "recording_saved": webhook_peer.recording_saved,
    "recording_failed": webhook_peer.recording_failed,
    "streaming_changed": webhook_peer.streaming_changed,
    "streaming_failed": webhook_peer.streaming_failed,
    "bridged": webhook_peer.bridged,
    "speak_started": webhook_peer.speak_started,
    "speak_ended": webhook_peer.speak_ended,
    "dtmf_received": webhook_peer.dtmf_received,
}


def _read_webhook(given: dict[str, Any]) -> Any:
    return webhook.read(_body(given))


def _write_webhook(given: dict[str, Any]) -> Any:
    leg = webhook_peer.TelnyxLeg(**given["leg"])
    event = _BUILDERS[given["kind"]](leg, **_rest_of(given, "kind", "leg", "delivered_to", "attempt"))
    return json.loads(webhook_peer.deliver(event, given["delivered_to"], given.get("attempt", 1)))


# --- requests --------------------------------------------------------------------------------------------------------


def _stream_plan(given: dict[str, Any]) -> StreamPlan:
    plan = given["plan"]
    return StreamPlan(plan["url"], plan.get("parameters", {}), _format(plan["line"]), plan.get("token", ""))


def _write_request(given: dict[str, Any]) -> Any:
    leg = Leg(**given["leg"]) if "leg" in given else Leg("", "", "")
    match given["request"]:
        case "answer":
            request = rest.answer(leg, _stream_plan(given))
        case "streaming_start":
            request = rest.streaming_start(leg, _stream_plan(given))
        case "reject":
            request = rest.reject(leg)
        case "dial":
            request = rest.dial(leg, DialPlan(**given["plan"]))
        case "hang_up":
            request = rest.hang_up(leg)
        case "speak":
            request = rest.speak(leg, given["text"], given.get("language", ""))
        case "send_dtmf":
            request = rest.send_dtmf(leg, given["digits"], given["duration_ms"])
        case "transfer":
            request = rest.transfer(leg, TransferPlan(**given["plan"]))
        case "bridge":
            request = rest.bridge(leg, Leg(**given["other"]))
        case "record":
            request = rest.record(leg, RecordingStep(given["step"]))
        case "find_hook":
            request = rest.find_hook(given["application_id"])
        case "set_hook":
            request = rest.set_hook(HookPlace(**given["place"]), given["url"])
        case other:
            raise AssertionError(f"no request {other}")
    return _shown(request)


def _shown(request: RestRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "content_type": dict(request.headers).get("content-type"),
        "json": json.loads(request.body) if request.body else None,
    }


def _read_answer(given: dict[str, Any]) -> Any:
    return rest.outcome(given["status"], _body(given))


def _read_made(given: dict[str, Any]) -> Any:
    return rest.made(given["status"], _body(given))


def _read_hook(given: dict[str, Any]) -> Any:
    found = rest.read_hook(given["status"], _body(given))
    return {"refused": True} if isinstance(found, str) else found


def _read_request(given: dict[str, Any]) -> Any:
    return rest_peer.read_request(given["method"], given["path"], _body(given))


_REPLIES: dict[str, Callable[..., tuple[int, bytes]]] = {
    "ok": rest_peer.reply_ok,
    "dialled": rest_peer.reply_dialled,
    "application": rest_peer.reply_application,
    "ended": rest_peer.reply_ended,
    "not_answered": rest_peer.reply_not_answered,
    "bad_call": rest_peer.reply_bad_call,
    "not_found": rest_peer.reply_not_found,
    "unauthorized": rest_peer.reply_unauthorized,
    "too_many": rest_peer.reply_too_many,
}


def _write_reply(given: dict[str, Any]) -> Any:
    status, body = _REPLIES[given["reply"]](**_rest_of(given, "reply"))
    return {"status": status, "json": json.loads(body)}


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "server_reads": _server_reads,
    "server_writes": _server_writes,
    "carrier_reads": _carrier_reads,
    "carrier_writes": _carrier_writes,
    "read_webhook": _read_webhook,
    "write_webhook": _write_webhook,
    "write_request": _write_request,
    "read_answer": _read_answer,
    "read_made": _read_made,
    "read_hook": _read_hook,
    "read_request": _read_request,
    "write_reply": _write_reply,
}
"""What a Telnyx case's ``op`` asks for."""
