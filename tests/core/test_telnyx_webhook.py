"""Telnyx's webhooks beyond their vectors: totality, the official library's types, both ends together."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import telnyx.types as their_types
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.carriers.carrier import (
    Acknowledged,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    Direction,
    LegJoined,
    MachineDetected,
    Malformed,
    MalformedCode,
    RecordingChanged,
    StreamChanged,
    Webhook,
    WebhookEvent,
)
from patter_core.carriers.telnyx import webhook_peer as peer
from patter_core.carriers.telnyx.webhook import KNOWN, client_state, read

CALL = "v3:2EC-70CTEjlUq3tDM0CxKXIt5-5N4iP4wo7"
LEG = peer.TelnyxLeg(CALL, "leg", "session", "12", "+15550100001", "+15550100002", 1_763_868_600_000_000)
OUT = peer.TelnyxLeg(
    CALL, "leg", "session", "12", "+15550100002", "+15550100003", 0, direction="outgoing", state=client_state("leg-7")
)
AT = LEG.start_us + 2_000_000
URL = "https://voice.example.com/telnyx"


def body(kind: str, payload: dict[str, Any]) -> bytes:
    data = {"event_type": kind, "id": "e1", "occurred_at": "2026-01-02T03:04:05Z", "payload": payload}
    return json.dumps({"data": data}).encode()


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from([CALL, "incoming", "normal_clearing", "486", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"]),
)
_NAMES = """
    call_control_id client_state direction state from to hangup_cause sip_hangup_cause start_time end_time result
    recording_urls public_recording_urls wav mp3 channels recording_started_at recording_ended_at status
    call_quality_stats
"""
names = st.sampled_from(_NAMES.split())
nearly = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner)), max_leaves=20
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "event_type": st.one_of(nearly, st.sampled_from(sorted(KNOWN))),
        "id": leaves,
        "occurred_at": leaves,
        "payload": st.one_of(nearly, st.dictionaries(names, nearly)),
    },
)


@given(text=st.one_of(st.binary(max_size=60), envelopes.map(lambda data: json.dumps({"data": data}).encode())))
@example(text=b"[" * 200_000)
@example(text=b'{"data":' * 100_000)
@example(text=b'{"data":{"payload":' + b"9" * 5000 + b"}}")
@example(text=body("call.initiated", {"call_control_id": CALL, "x": 10**400}))
@example(text=b'{"data":{"event_type":"call.initiated","payload":{"call_control_id":"x","y":1e999,"z":"\\ud800"}}}')
def test_read_never_raises(text: bytes) -> None:
    found = read(text)
    assert isinstance(found, Webhook)
    assert isinstance(found.event, WebhookEvent | Malformed)
    assert isinstance(found.event_id, str)
    assert isinstance(found.ref, str)


@given(payload=st.dictionaries(names, nearly), kind=st.sampled_from(sorted(KNOWN)))
def test_odd_payloads_of_known_events_never_raise(payload: dict[str, Any], kind: str) -> None:
    found = read(body(kind, payload | {"call_control_id": CALL})).event
    assert not isinstance(found, Malformed)
    assert found.call_id == CALL
    if kind == "call.hangup":
        assert isinstance(found, CallStatusChanged)
        assert found.status.final
        assert found.raw


@given(payload=nearly, kind=st.text(min_size=1, max_size=100))
def test_unknown_events_are_acknowledged_and_told_apart(payload: Any, kind: str) -> None:
    if kind in KNOWN:
        return
    found = read(body(kind, {"call_control_id": CALL, "x": payload})).event
    assert found == Acknowledged(CALL, kind[:64], known=False)


def test_malformed_never_repeats_what_was_sent() -> None:
    secret = "4929-1234-5678"
    for text in (
        secret.encode(),
        json.dumps(secret).encode(),
        json.dumps({"data": secret}).encode(),
        json.dumps({"data": {"event_type": [secret], "payload": {}}}).encode(),
        json.dumps({"data": {"event_type": "call.hangup", "payload": secret}}).encode(),
        body("call.hangup", {"call_control_id": f"{secret} {secret}"}),
    ):
        found = read(text).event
        assert isinstance(found, Malformed)
        assert secret not in repr(found)


@given(ref=st.text(max_size=100))
def test_our_name_for_a_leg_survives(ref: str) -> None:
    found = read(body("call.bridged", {"call_control_id": CALL, "client_state": client_state(ref)}))
    assert found == Webhook(LegJoined(CALL), "e1", ref)


def test_a_name_that_cannot_be_encoded_still_makes_a_state() -> None:
    assert client_state("\ud800") == client_state("?")


# --- the official library --------------------------------------------------------------------------------------------


def documented_types() -> set[str]:
    """Every event type that a model of theirs names."""
    found = set()
    for name in dir(their_types):
        model = getattr(their_types, name)
        fields = getattr(model, "model_fields", {})
        inner = fields.get("data")
        models = [model, *(get_args(inner.annotation) if inner else ())]
        for one in models:
            field = getattr(one, "model_fields", {}).get("event_type")
            for choice in get_args(field.annotation) if field else ():
                found |= {word for word in get_args(choice) if isinstance(word, str)}
    return {word for word in found if word.startswith(("call.", "conference.", "streaming."))}


def test_every_call_event_of_the_official_library_is_known() -> None:
    documented = documented_types()
    assert {"call.initiated", "call.hangup", "streaming.failed", "conference.ended"} <= documented
    assert documented <= KNOWN


EVERY = [
    peer.initiated(LEG, "1", AT),
    peer.initiated(OUT, "1", AT),
    peer.answered(LEG, "1", AT, codec="L16", rate=16000),
    peer.hangup(LEG, "1", AT, packets=100),
    peer.hangup(OUT, "1", AT, cause="user_busy", sip="486", source="callee"),
    peer.machine_detected(OUT, "1", AT, "machine"),
    peer.machine_detected(OUT, "1", AT, "human_residence", premium=True),
    peer.machine_greeting(OUT, "1", AT, "beep_detected"),
    peer.machine_greeting(OUT, "1", AT, "no_beep_detected", premium=True),
    peer.recording_saved(LEG, "1", AT, recording_id="r", url="https://x.example/r.wav", start_us=0, end_us=AT),
    peer.recording_failed(LEG, "1", AT),
    peer.streaming_changed(LEG, "1", AT, "started", "wss://x.example/s"),
    peer.streaming_changed(LEG, "1", AT, "stopped", "wss://x.example/s"),
    peer.streaming_failed(LEG, "1", AT, stream_url="wss://x.example/s", stream_id="s"),
    peer.bridged(LEG, "1", AT),
    peer.speak_started(LEG, "1", AT, "s"),
    peer.speak_ended(LEG, "1", AT, "s", "call_hangup"),
    peer.dtmf_received(LEG, "1", AT, "5"),
]
THEIR_MODELS = {
    "call.initiated": their_types.CallInitiated,
    "call.answered": their_types.CallAnswered,
    "call.hangup": their_types.CallHangup,
    "call.machine.detection.ended": their_types.CallMachineDetectionEnded,
    "call.machine.premium.detection.ended": their_types.CallMachinePremiumDetectionEnded,
    "call.machine.greeting.ended": their_types.CallMachineGreetingEnded,
    "call.machine.premium.greeting.ended": their_types.CallMachinePremiumGreetingEnded,
    "call.recording.saved": their_types.CallRecordingSaved,
    "call.recording.error": their_types.CallRecordingError,
    "streaming.started": their_types.CallStreamingStarted,
    "streaming.stopped": their_types.CallStreamingStopped,
    "streaming.failed": their_types.CallStreamingFailed,
    "call.bridged": their_types.CallBridged,
    "call.speak.started": their_types.CallSpeakStarted,
    "call.speak.ended": their_types.CallSpeakEnded,
    "call.dtmf.received": their_types.CallDtmfReceived,
}


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.kind)
def test_the_carriers_bodies_satisfy_the_official_types(event: peer.Event) -> None:
    data = json.loads(peer.deliver(event, URL))["data"]
    THEIR_MODELS[event.kind].model_validate(data, strict=False)


# --- both ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.kind)
def test_a_repetition_differs_in_nothing_but_the_attempt(event: peer.Event) -> None:
    first, second = (json.loads(peer.deliver(event, URL, attempt)) for attempt in (1, 2))
    assert (first["meta"]["attempt"], second["meta"]["attempt"]) == (1, 2)
    assert first["data"] == second["data"]
    assert read(peer.deliver(event, URL, 2)) == read(peer.deliver(event, URL))
    assert list(first["data"]) == ["event_type", "id", "occurred_at", "payload", "record_type"]
    assert list(first["data"]["payload"]) == sorted(first["data"]["payload"])


def test_a_whole_call_both_ways() -> None:
    found = [read(peer.deliver(event, URL)).event for event in EVERY]
    assert [type(event) for event in found] == [
        CallOffered,
        CallStatusChanged,
        CallStatusChanged,
        CallStatusChanged,
        CallStatusChanged,
        MachineDetected,
        MachineDetected,
        MachineDetected,
        MachineDetected,
        RecordingChanged,
        RecordingChanged,
        StreamChanged,
        StreamChanged,
        StreamChanged,
        LegJoined,
        Acknowledged,
        CarrierSpoke,
        Acknowledged,
    ]
    moved = [event for event in found if isinstance(event, CallStatusChanged)]
    assert [event.status for event in moved] == [
        CallStatus.INITIATED,
        CallStatus.IN_PROGRESS,
        CallStatus.COMPLETED,
        CallStatus.BUSY,
    ]
    assert [event.direction for event in moved] == [
        Direction.OUTBOUND,
        Direction.INBOUND,
        Direction.INBOUND,
        Direction.OUTBOUND,
    ]
    assert moved[2].duration_s == 2
    assert [read(peer.deliver(event, URL)).ref for event in (EVERY[0], EVERY[1])] == ["", "leg-7"]


def test_times_are_written_as_recorded() -> None:
    assert peer.iso8601(1_763_868_600_076_316) == "2025-11-23T03:30:00.076316Z"
    assert peer.iso8601(0) == "1970-01-01T00:00:00.000000Z"


def test_version_1_of_the_webhook_api_is_explained() -> None:
    found = read(b'{"record_type":"event","event_type":"call_initiated","payload":{"call_control_id":"x"}}').event
    assert isinstance(found, Malformed)
    assert found.code is MalformedCode.MISSING_FIELD
    assert "version 2" in found.detail
