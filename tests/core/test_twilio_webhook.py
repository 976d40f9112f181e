"""Forms and webhooks beyond their vectors: round trips, totality, and what the simulator sends is what we read."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.carriers.carrier import (
    Acknowledged,
    Answerer,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    Direction,
    LegJoined,
    MachineDetected,
    Malformed,
    MalformedCode,
    RecordingChanged,
    RecordingStatus,
    StreamChange,
    StreamChanged,
    TransferEnded,
    Verdict,
)
from patter_core.carriers.form import MAX_FIELDS, encode_form, parse_form
from patter_core.carriers.twilio import webhook, webhook_peer
from patter_core.carriers.twilio.signature import sign, verify

ACCOUNT, CALL = "AC" + "1" * 32, "CA" + "2" * 32
FROM, TO = "+15550100001", "+15550100002"
PARSERS = (
    webhook.parse_voice,
    webhook.parse_status,
    webhook.parse_machine,
    webhook.parse_recording,
    webhook.parse_stream,
    webhook.parse_transfer,
    webhook.parse_conference,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(body=st.binary(max_size=300), bound=st.integers(1, 20))
@example(body=b"%", bound=1)
@example(body=b"\xff=%ff&%80", bound=5)
def test_a_form_raises_nothing_but_value_error(body: bytes, bound: int) -> None:
    try:
        pairs = parse_form(body, bound)
    except ValueError:
        assert body.count(b"&") >= bound
        return
    assert len(pairs) <= bound
    for name, value in pairs:
        (name + value).encode("utf-8")


@given(pairs=st.lists(st.tuples(texts, texts), max_size=20))
def test_a_form_survives_both_ways(pairs: list[tuple[str, str]]) -> None:
    body = encode_form(pairs)
    assert body.isascii()
    assert b" " not in body
    assert parse_form(body) == pairs


def test_the_bound_of_a_form_has_a_default() -> None:
    assert len(parse_form(b"&".join([b"a=1"] * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(ValueError, match="form fields"):
        parse_form(b"&".join([b"a=1"] * (MAX_FIELDS + 1)))


@given(pairs=st.lists(st.tuples(texts, texts), max_size=10))
def test_a_signed_form_verifies_after_the_wire(pairs: list[tuple[str, str]]) -> None:
    url = "https://agent.example.com/webhooks/twilio/voice"
    made = sign("token", url, pairs)
    assert verify(["token"], url, parse_form(encode_form(pairs)), made) is Verdict.VALID


_WORDS = [
    "CallSid",
    "CallStatus",
    "AnsweredBy",
    "RecordingSid",
    "RecordingStatus",
    "StreamSid",
    "StreamEvent",
    "From",
    "DialCallStatus",
]
_NUMBERS = [
    "SequenceNumber",
    "CallDuration",
    "SipResponseCode",
    "ErrorCode",
    "MachineDetectionDuration",
    "Direction",
    "StatusCallbackEvent",
]
names = st.sampled_from(_WORDS + _NUMBERS)


@given(pairs=st.lists(st.tuples(names, st.one_of(st.text(), st.just(CALL), st.integers().map(str)))))
@example(pairs=[("CallSid", CALL), ("CallStatus", "completed"), ("SequenceNumber", "9" * 5000)])
@example(pairs=[("CallSid", CALL), ("CallStatus", "completed"), ("SequenceNumber", "²")])
def test_no_webhook_raises(pairs: list[tuple[str, str]]) -> None:
    for parse in PARSERS:
        event = parse(pairs)
        if isinstance(event, Acknowledged):  # what a room reports of itself names no call
            assert event.call_id == "" or webhook.valid_call_sid(event.call_id)
        elif not isinstance(event, Malformed):
            assert webhook.valid_call_sid(event.call_id)


@pytest.mark.parametrize("sid", ["", "CA", "CA" + "1" * 31, "CA" + "1" * 33, "CA" + "1" * 32 + "\n", "xCA" + "1" * 32])
def test_call_ids_are_matched_whole(sid: str) -> None:
    assert not webhook.valid_call_sid(sid)
    for parse in PARSERS:
        event = parse([("CallSid", sid), ("CallStatus", "ringing"), ("StatusCallbackEvent", "participant-join")])
        assert isinstance(event, Malformed)
        assert event.code is MalformedCode.BAD_CALL_SID


def test_what_the_simulated_carrier_posts_is_read_back() -> None:
    pairs = webhook_peer.voice_params(CALL, ACCOUNT, FROM, TO)
    offered = webhook.parse_voice(parse_form(encode_form(pairs)))
    assert offered == CallOffered(CALL, FROM, TO, Direction.INBOUND, dict(pairs))
    assert dict(pairs)["CallStatus"] == "ringing"
    assert dict(webhook_peer.voice_params(CALL, ACCOUNT, FROM, TO, "outbound"))["Direction"] == "outbound-api"

    status = webhook.parse_status(
        webhook_peer.status_params(
            CALL,
            ACCOUNT,
            FROM,
            TO,
            CallStatus.COMPLETED,
            3,
            1770896905,
            duration_s=61,
            sip_code=200,
            answered_by="human",
        )
    )
    assert status == CallStatusChanged(
        CALL,
        CallStatus.COMPLETED,
        "completed",
        sequence=3,
        duration_s=61,
        sip_code=200,
        answered_by=Answerer.HUMAN,
        caller=FROM,
        callee=TO,
        direction=Direction.OUTBOUND,
        timestamp="Thu, 12 Feb 2026 11:48:25 +0000",
    )
    machine = webhook.parse_machine(webhook_peer.machine_params(CALL, ACCOUNT, "machine_end_beep", 4100))
    assert machine == MachineDetected(CALL, Answerer.MACHINE, "machine_end_beep", True, 4100)
    recording = webhook.parse_recording(
        webhook_peer.recording_params(CALL, ACCOUNT, "RE1", "completed", 15, 1559009882)
    )
    assert recording == RecordingChanged(
        CALL,
        "RE1",
        RecordingStatus.COMPLETED,
        "completed",
        url=f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Recordings/RE1",
        duration_s=15,
        channels=1,
        started_at="Tue, 28 May 2019 02:18:02 +0000",
    )
    stream = webhook.parse_stream(webhook_peer.stream_params(CALL, ACCOUNT, "MZ1", "stream-error", 1_500_000, "31921"))
    assert stream == StreamChanged(
        CALL, "MZ1", StreamChange.ERROR, "stream-error", "31921", "1970-01-01T00:00:01.500000000Z"
    )
    transfer = webhook.parse_transfer(
        webhook_peer.transfer_params(CALL, ACCOUNT, FROM, TO, "completed", duration_s=7, bridged=True)
    )
    assert transfer == TransferEnded(CALL, CallStatus.COMPLETED, "completed", 7)
    room = ("CF1", "room", "participant-join", 1, 1770896905)
    joined = webhook.parse_conference(webhook_peer.conference_params(CALL, ACCOUNT, *room))
    assert joined == LegJoined(CALL)
    over = webhook_peer.conference_params(CALL, ACCOUNT, "CF1", "room", "conference-end", 4, 1770896905)
    assert webhook.parse_conference(over) == Acknowledged("", "conference-end", True)


@given(query=st.one_of(st.text(max_size=60), st.text(max_size=400).map("ref={}".format)))
@example(query="ref=" + "%F0%9F%93%9E" * 256)
@example(query="ref=" + "%" * 4000)
@example(query="ref=%ED%A0%80")
def test_a_name_that_is_believed_is_short_and_printable(query: str) -> None:
    ref = webhook.read_ref(query)
    assert len(ref) <= webhook.MAX_REF
    assert ref.isprintable()
    assert ref == "" or "ref=" in query


def test_billed_minutes_are_rounded_up() -> None:
    for seconds, minutes in ((0, "0"), (1, "1"), (60, "1"), (61, "2")):
        pairs = webhook_peer.status_params(CALL, ACCOUNT, FROM, TO, CallStatus.COMPLETED, 1, 0, duration_s=seconds)
        assert dict(pairs)["Duration"] == minutes


def test_only_final_statuses_are_final() -> None:
    final = {status for status in CallStatus if status.final}
    assert final == {
        CallStatus.COMPLETED,
        CallStatus.BUSY,
        CallStatus.NO_ANSWER,
        CallStatus.FAILED,
        CallStatus.CANCELED,
    }


@given(at=st.integers(0, 4_000_000_000))
def test_dates_are_the_mail_standards(at: int) -> None:
    assert webhook_peer.rfc2822(at) == format_datetime(datetime.fromtimestamp(at, UTC))
