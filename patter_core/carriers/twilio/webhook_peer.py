"""Twilio's webhooks as Twilio makes them: what the simulated carrier posts, read by ``webhook``.

Field lists and their order are those of recorded bodies, where there are any, else of twilio.com/docs/voice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from patter_core.carriers.carrier import CallStatus

__all__ = [
    "Pairs",
    "conference_params",
    "machine_params",
    "recording_params",
    "rfc2822",
    "status_params",
    "stream_params",
    "transfer_params",
    "voice_params",
]

Pairs = list[tuple[str, str]]

_API_VERSION = "2010-04-01"
_DIRECTIONS = {"inbound": "inbound", "outbound": "outbound-api"}
_WIRE_STATUS: dict[CallStatus, str] = {
    status: status.value.replace("_", "-") for status in CallStatus if status is not CallStatus.UNKNOWN
}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def voice_params(
    call_sid: str,
    account_sid: str,
    caller: str,
    callee: str,
    direction: str = "inbound",
    *,
    status: str = "",
    country: str = "US",
) -> Pairs:
    """What Twilio posts to a Voice URL, in the recorded order: numbers twice, places mostly empty."""
    outbound = direction != "inbound"
    return [
        ("To", callee),
        ("From", caller),
        ("Called", callee),
        ("Caller", caller),
        ("FromCity", ""),
        ("CalledState", ""),
        ("FromZip", ""),
        ("FromState", ""),
        ("CallerCountry", country),
        ("ToCountry", country),
        ("FromCountry", country),
        ("CalledCountry", country),
        ("ToState", ""),
        ("ToZip", ""),
        ("CallerZip", ""),
        ("CalledZip", ""),
        ("CalledCity", ""),
        ("CallerCity", ""),
        ("ToCity", ""),
        ("CallSid", call_sid),
        ("CallStatus", status or ("in-progress" if outbound else "ringing")),
        ("Direction", _DIRECTIONS.get(direction, direction)),
        ("AccountSid", account_sid),
        ("CallerState", ""),
        ("ApiVersion", _API_VERSION),
    ]


def status_params(
    call_sid: str,
    account_sid: str,
    caller: str,
    callee: str,
    status: CallStatus,
    sequence: int,
    at_s: int,
    direction: str = "outbound",
    *,
    duration_s: int | None = None,
    sip_code: int | None = None,
    answered_by: str = "",
    country: str = "US",
) -> Pairs:
    """What Twilio posts to a status callback. ``at_s`` is unix time. With ``duration_s`` the call is over."""
    pairs = [
        ("Called", callee),
        ("ToState", ""),
        ("CallerCountry", country),
        ("Direction", _DIRECTIONS.get(direction, direction)),
        ("Timestamp", rfc2822(at_s)),
        ("CallbackSource", "call-progress-events"),
    ]
    if sip_code is not None:
        pairs.append(("SipResponseCode", str(sip_code)))
    pairs += [
        ("CallerState", ""),
        ("ToZip", ""),
        ("SequenceNumber", str(sequence)),
        ("CallSid", call_sid),
        ("To", callee),
        ("CallerZip", ""),
        ("ToCountry", country),
        ("CalledZip", ""),
        ("ApiVersion", _API_VERSION),
        ("CalledCity", ""),
        ("CallStatus", _WIRE_STATUS[status]),
    ]
    if duration_s is not None:
        pairs.append(("Duration", str(-(-duration_s // 60))))
    pairs.append(("From", caller))
    if duration_s is not None:
        pairs.append(("CallDuration", str(duration_s)))
    pairs += [
        ("AccountSid", account_sid),
        ("CalledCountry", country),
        ("CallerCity", ""),
        ("ToCity", ""),
        ("FromCountry", country),
        ("Caller", caller),
        ("FromCity", ""),
        ("CalledState", ""),
        ("FromZip", ""),
    ]
    if answered_by:
        pairs.append(("AnsweredBy", answered_by))
    pairs.append(("FromState", ""))
    return pairs


def machine_params(call_sid: str, account_sid: str, answered_by: str, duration_ms: int) -> Pairs:
    """What Twilio posts when asynchronous machine detection is done. ``answered_by`` is Twilio's word."""
    return [
        ("MachineDetectionDuration", str(duration_ms)),
        ("CallSid", call_sid),
        ("AnsweredBy", answered_by),
        ("AccountSid", account_sid),
    ]


def recording_params(
    call_sid: str,
    account_sid: str,
    recording_sid: str,
    status: str,
    duration_s: int,
    at_s: int,
    base_url: str = "https://api.twilio.com",
    *,
    channels: int = 1,
    source: str = "OutboundAPI",
) -> Pairs:
    """What Twilio posts about a recording. ``at_s`` (unix time) is when it began; ``source`` is
    ``StartCallRecordingAPI`` for one that a live call was given."""
    return [
        ("AccountSid", account_sid),
        ("CallSid", call_sid),
        ("RecordingSid", recording_sid),
        ("RecordingUrl", f"{base_url}/{_API_VERSION}/Accounts/{account_sid}/Recordings/{recording_sid}"),
        ("RecordingStatus", status),
        ("RecordingDuration", str(duration_s)),
        ("RecordingChannels", str(channels)),
        ("RecordingStartTime", rfc2822(at_s)),
        ("ErrorCode", "0"),
        ("RecordingSource", source),
        ("RecordingTrack", "both"),
    ]


def stream_params(call_sid: str, account_sid: str, stream_sid: str, event: str, at_us: int, error: str = "") -> Pairs:
    """What Twilio posts about a stream: ``stream-started``, ``stream-stopped``, ``stream-error``; unix microseconds."""
    seconds, rest = divmod(at_us, 1_000_000)
    pairs = [
        ("StreamName", stream_sid),  # what an unnamed stream is called
        ("StreamEvent", event),
        ("CallSid", call_sid),
        ("Timestamp", f"{_utc(seconds).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:06d}000Z"),
        ("AccountSid", account_sid),
        ("StreamSid", stream_sid),
    ]
    if error:
        pairs.append(("StreamError", error))
    return pairs


def transfer_params(
    call_sid: str,
    account_sid: str,
    caller: str,
    callee: str,
    dialled: str,
    *,
    dial_sid: str = "",
    duration_s: int | None = None,
    bridged: bool | None = None,
    direction: str = "inbound",
) -> Pairs:
    """What Twilio posts to a ``<Dial action>``. ``dialled`` is Twilio's word for the other leg's end: ``completed``,
    ``busy``, ``no-answer``, ``failed``, ``canceled``; after a room ``answered``, always."""
    pairs = voice_params(call_sid, account_sid, caller, callee, direction, status="in-progress")
    pairs.append(("DialCallStatus", dialled))
    if dial_sid:
        pairs.append(("DialCallSid", dial_sid))
    if duration_s is not None:
        pairs.append(("DialCallDuration", str(duration_s)))
    if bridged is not None:
        pairs.append(("DialBridged", "true" if bridged else "false"))
    return pairs


def conference_params(
    call_sid: str,
    account_sid: str,
    conference_sid: str,
    room: str,
    event: str,
    sequence: int,
    at_s: int,
    *,
    starts: bool = True,
    ends: bool = False,
) -> Pairs:
    """What Twilio posts about a room. ``event`` is Twilio's word: ``conference-start``, ``conference-end``,
    ``participant-join``, ``participant-leave``; ``call_sid`` is who did it. ``at_s`` is unix time."""
    pairs = [
        ("ConferenceSid", conference_sid),
        ("FriendlyName", room),
        ("AccountSid", account_sid),
        ("SequenceNumber", str(sequence)),
        ("Timestamp", rfc2822(at_s)),
        ("StatusCallbackEvent", event),
    ]
    if event == "conference-end":
        pairs += [("CallSidEndingConference", call_sid), ("ReasonConferenceEnded", _LEFT if ends else _EMPTY)]
    elif event != "conference-start":
        pairs += [
            ("CallSid", call_sid),
            ("Muted", "false"),
            ("Hold", "false"),
            ("Coaching", "false"),
            ("StartConferenceOnEnter", "true" if starts else "false"),
            ("EndConferenceOnExit", "true" if ends else "false"),
        ]
    return pairs


_LEFT, _EMPTY = "participant-with-end-conference-on-exit-left", "last-participant-left"


def rfc2822(at_s: int) -> str:
    """Unix time as Twilio writes it, in any locale: ``Thu, 12 Feb 2026 11:48:25 +0000``."""
    at = _utc(at_s)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year:04d} "
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d} +0000"
    )


def _utc(at_s: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
