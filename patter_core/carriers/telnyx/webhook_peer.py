"""Telnyx's end of the webhooks, for the simulator: the bodies as Telnyx posts them.

Fields, their order, and which of them are missing follow recorded bodies of 2025 and 2026; where there is no recording,
developers.telnyx.com/api-reference/callbacks. ``deliver`` puts the envelope around an event: a repetition is the same
event with another ``attempt``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

__all__ = [
    "Event",
    "TelnyxLeg",
    "answered",
    "bridged",
    "deliver",
    "dtmf_received",
    "hangup",
    "initiated",
    "iso8601",
    "machine_detected",
    "machine_greeting",
    "recording_failed",
    "recording_saved",
    "speak_ended",
    "speak_started",
    "streaming_changed",
    "streaming_failed",
]


class TelnyxLeg(msgspec.Struct, frozen=True):
    """A leg as Telnyx describes it in every webhook about it. ``state`` is the ``client_state`` it was given, if any;
    ``start_us`` is unix time."""

    call_control_id: str
    call_leg_id: str
    call_session_id: str
    connection_id: str
    caller: str
    callee: str
    start_us: int
    direction: str = "incoming"
    state: str | None = None
    party: str = "pstn"


class Event(msgspec.Struct, frozen=True):
    """One event of a leg: what ``data`` holds. ``at_us`` is unix time; a repetition has the same ``id``."""

    kind: str
    id: str
    at_us: int
    payload: dict[str, Any]


def deliver(event: Event, url: str, attempt: int = 1) -> bytes:
    """The body Telnyx posts to ``url``: keys in the recorded order. ``attempt`` counts from 1."""
    return msgspec.json.encode(
        {
            "data": {
                "event_type": event.kind,
                "id": event.id,
                "occurred_at": iso8601(event.at_us),
                "payload": dict(sorted(event.payload.items())),
                "record_type": "event",
            },
            "meta": {"attempt": attempt, "delivered_to": url},
        }
    )


def initiated(leg: TelnyxLeg, id: str, at_us: int, *, offered_codecs: str = "PCMU,G729") -> Event:
    """The leg exists: somebody calls us (and waits, parked), or our dialling began."""
    incoming = leg.direction == "incoming"
    payload = _parties(leg) | {"direction": leg.direction, "state": "parked" if incoming else "bridging"}
    payload |= {"from_sip_uri": f"{leg.caller}@192.0.2.10:5060", "to_sip_uri": f"{leg.callee}@sip.telnyx.com:5060"}
    if incoming:
        payload |= {
            "caller_id_name": leg.caller,
            "connection_codecs": "PCMA,PCMU,VP8,H264",
            "offered_codecs": offered_codecs,
            "start_time": iso8601(leg.start_us),
        }
    return Event("call.initiated", id, at_us, payload)


def answered(leg: TelnyxLeg, id: str, at_us: int, *, codec: str = "PCMU", rate: int = 8000) -> Event:
    """Somebody, or our ``answer``, picked up."""
    payload = _parties(leg) | {"codec": codec, "sampling_rate": rate, "start_time": iso8601(leg.start_us)}
    return Event("call.answered", id, at_us, payload)


def hangup(
    leg: TelnyxLeg,
    id: str,
    at_us: int,
    *,
    cause: str = "normal_clearing",
    source: str = "caller",
    sip: str = "200",
    packets: int | None = None,
) -> Event:
    """The leg is over. ``packets`` of audio that came in: None for a leg nobody answered, whose body is shorter."""
    payload = _parties(leg) | {
        "end_time": iso8601(at_us),
        "hangup_cause": cause,
        "hangup_source": source,
        "sip_hangup_cause": sip,
        "start_time": iso8601(leg.start_us),
    }
    if packets is None:
        payload["telnyx_error"] = None
        payload.pop("calling_party_type")
        if leg.state is None:
            payload.pop("client_state")
    else:
        payload["call_quality_stats"] = {
            "inbound": {
                "jitter_max_variance": "0.00",
                "jitter_packet_count": "0",
                "mos": "4.50",
                "packet_count": str(packets),
                "skip_packet_count": "0",
            },
            "outbound": {"packet_count": str(packets), "skip_packet_count": "0"},
        }
    return Event("call.hangup", id, at_us, payload)


def machine_detected(leg: TelnyxLeg, id: str, at_us: int, result: str, *, premium: bool = False) -> Event:
    """Detection's verdict: ``human``, ``machine``, ``not_sure``, or one of the premium words."""
    kind = "call.machine.premium.detection.ended" if premium else "call.machine.detection.ended"
    return Event(kind, id, at_us, _parties(leg) | {"result": result})


def machine_greeting(leg: TelnyxLeg, id: str, at_us: int, result: str, *, premium: bool = False) -> Event:
    """The machine's greeting: ``ended``, ``beep_detected``, ``not_sure``, or one of the premium words."""
    kind = "call.machine.premium.greeting.ended" if premium else "call.machine.greeting.ended"
    return Event(kind, id, at_us, _parties(leg) | {"result": result})


def recording_saved(
    leg: TelnyxLeg, id: str, at_us: int, *, recording_id: str, url: str, start_us: int, end_us: int
) -> Event:
    """A recording can be fetched. The recorded body names neither party."""
    payload = _bare(leg) | {
        "channels": "dual",
        "end_time": iso8601(at_us),
        "flow_destination": "telnyx_number_cc_app",
        "format": "wav",
        "public_recording_urls": {},
        "recording_ended_at": iso8601(end_us),
        "recording_id": recording_id,
        "recording_started_at": iso8601(start_us),
        "recording_urls": {"wav": url},
        "start_time": iso8601(leg.start_us),
    }
    if leg.state is None:
        payload.pop("client_state")
    return Event("call.recording.saved", id, at_us, payload)


def recording_failed(leg: TelnyxLeg, id: str, at_us: int, reason: str = "Internal server error") -> Event:
    """There will be no recording."""
    return Event("call.recording.error", id, at_us, _bare(leg) | {"reason": reason})


def streaming_changed(leg: TelnyxLeg, id: str, at_us: int, change: str, stream_url: str) -> Event:
    """The media stream ``started`` or ``stopped``."""
    payload = _bare(leg) | {"stream_url": stream_url}
    payload.pop("calling_party_type")
    return Event(f"streaming.{change}", id, at_us, payload)


def streaming_failed(
    leg: TelnyxLeg, id: str, at_us: int, *, stream_url: str, stream_id: str, reason: str = "connection_failed"
) -> Event:
    """The media stream could not be opened."""
    payload = _bare(leg) | {
        "failure_reason": reason,
        "stream_id": stream_id,
        "stream_params": {"stream_url": stream_url, "track": "inbound_track"},
        "stream_type": "websocket",
    }
    payload.pop("calling_party_type")
    return Event("streaming.failed", id, at_us, payload)


def bridged(leg: TelnyxLeg, id: str, at_us: int) -> Event:
    """The leg talks with another one now."""
    return Event("call.bridged", id, at_us, _parties(leg) | {"start_time": iso8601(leg.start_us)})


def speak_started(leg: TelnyxLeg, id: str, at_us: int, speak_id: str) -> Event:
    """Telnyx's voice begins."""
    return Event("call.speak.started", id, at_us, _bare(leg) | {"speak_id": speak_id})


def speak_ended(leg: TelnyxLeg, id: str, at_us: int, speak_id: str, status: str = "completed") -> Event:
    """Telnyx's voice is done: ``completed``, ``call_hangup`` or ``cancelled_amd``."""
    return Event("call.speak.ended", id, at_us, _bare(leg) | {"speak_id": speak_id, "status": status})


def dtmf_received(leg: TelnyxLeg, id: str, at_us: int, digit: str) -> Event:
    """A key was pressed. The stream tells it too."""
    return Event("call.dtmf.received", id, at_us, _parties(leg) | {"digit": digit})


def iso8601(at_us: int) -> str:
    """Unix microseconds as Telnyx writes them: ``2025-11-23T03:30:00.076316Z``."""
    seconds, rest = divmod(at_us, 1_000_000)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{rest:06d}Z"


def _bare(leg: TelnyxLeg) -> dict[str, Any]:
    return {
        "call_control_id": leg.call_control_id,
        "call_leg_id": leg.call_leg_id,
        "call_session_id": leg.call_session_id,
        "calling_party_type": leg.party,
        "client_state": leg.state,
        "connection_id": leg.connection_id,
    }


def _parties(leg: TelnyxLeg) -> dict[str, Any]:
    return _bare(leg) | {"from": leg.caller, "to": leg.callee}
