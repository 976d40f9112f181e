"""The media stream beyond its vectors: totality, order restored, exact texts, both ends talking to each other."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from patter_core.carriers.carrier import (
    CallerAudio,
    Malformed,
    MalformedCode,
    MarkReturned,
    MediaStream,
    Pressed,
    StreamConnected,
    StreamIgnored,
    StreamStarted,
    StreamState,
    StreamStopped,
)
from patter_core.carriers.telnyx.stream import RESYNC, WINDOW, TelnyxStream
from patter_core.carriers.telnyx.stream_peer import Cleared, Marked, Played, TelnyxStreamPeer
from patter_core.errors import LocalProtocolError

STREAM, CALL, USER = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC", "v3:abc", "3E6F995F-85F7-4705-9741-53B116D28237"
EVENTS = (
    CallerAudio | MarkReturned | Pressed | StreamConnected | StreamStarted | StreamStopped | StreamIgnored | Malformed
)
FORMATS = [L16_16K, L16_8K, PCMU_8K, PCMA_8K]


def peer(**more: Any) -> TelnyxStreamPeer:
    return TelnyxStreamPeer(STREAM, CALL, USER, **({"format": L16_16K} | more))


def started(**more: Any) -> TelnyxStream:
    stream = TelnyxStream(**more)
    assert isinstance(stream.receive(peer().start()), StreamStarted)
    return stream


def frame(chunk: int, payload: bytes = b"") -> str:
    carrier = peer()
    carrier.start()
    message = json.loads(carrier.media(payload or bytes([chunk & 0xFF, chunk >> 8]), chunk * 20))
    message["media"]["chunk"] = str(chunk)
    return json.dumps(message)


# JSON that is nearly right: our keys, any values.
_NAMES = """
    event stream_id start media mark dtmf stop payload timestamp chunk track name digit call_control_id from to
    custom_parameters media_format encoding sample_rate channels code title
"""
keys = st.sampled_from(_NAMES.split())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["media", "start", "stop", "mark", "dtmf", "error", "connected", STREAM, "fw==", "1", "inbound"]),
)
nearly = st.dictionaries(
    keys, st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=6), max_leaves=12)
)


@given(text=st.one_of(st.text(st.characters(exclude_categories=())), nearly.map(json.dumps)))
@example(text="\ud800")
@example(text="[" * 200_000)
@example(text='{"a":' * 100_000)
@example(text='{"event":"media","x":' + "[" * 100_000 + "]" * 100_000 + "}")
@example(text='{"event":"start","start":{"call_control_id":"x","from":' + "[" * 100_000 + "]" * 100_000 + "}}")
@example(text='{"event":"media","media":{"payload":"' + "é" * 100 + '"}}')
@example(text='{"event":"error","payload":{"code":' + "9" * 5000 + "}}")
@example(text='{"event":"\ud800"}')
@example(text='{"event":"start","stream_id":5} trailing')
def test_receive_never_raises(text: str) -> None:
    running, stopped = started(), started()
    stopped.receive(json.dumps({"event": "stop", "stream_id": STREAM}))
    for stream in (TelnyxStream(), running, stopped, started(big_endian=True)):
        event = stream.receive(text)
        assert isinstance(event, EVENTS)
        if isinstance(event, Malformed):
            assert event.code in set(MalformedCode)
    running_peer = peer()
    running_peer.start()
    for other in (peer(), running_peer):
        assert isinstance(other.receive(text), Played | Marked | Cleared | Malformed)


@given(
    samples=st.binary(min_size=160, max_size=700),
    timestamp=st.integers(0, 1 << 40),
    hears=st.sampled_from(FORMATS),
    sends=st.sampled_from(FORMATS),
    big=st.booleans(),
)
def test_audio_survives_both_ways(
    samples: bytes, timestamp: int, hears: AudioFormat, sends: AudioFormat, big: bool
) -> None:
    payload = samples * 4
    carrier, server = peer(format=hears, plays=sends, big_endian=big), TelnyxStream(sends, big_endian=big)
    event = server.receive(carrier.start())
    assert isinstance(event, StreamStarted)
    assert (event.format, event.sends) == (hears, None if hears == sends else sends)
    assert server.receive(carrier.media(payload, timestamp)) == CallerAudio(timestamp, 1, payload, "inbound")
    assert carrier.receive(server.media(payload)) == Played(payload)


@given(size=st.integers(0, 1300), sends=st.sampled_from(FORMATS))
def test_every_message_is_long_enough(size: int, sends: AudioFormat) -> None:
    carrier, server = peer(plays=sends), TelnyxStream(sends)
    server.receive(carrier.start())
    payload = b"\x01" * (size - size % sends.bytes_per_sample)
    heard = carrier.receive(server.media(payload))
    assert isinstance(heard, Played)
    assert heard.payload == payload + sends.silence(20)[: max(0, len(sends.silence(20)) - len(payload))]


@given(name=st.text(max_size=40), parameters=st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_names_survive_both_ways(name: str, parameters: dict[str, str]) -> None:
    carrier = peer(parameters=parameters, caller="+15550100001", callee="+15550100002")
    server = TelnyxStream()
    event = server.receive(carrier.start())
    assert isinstance(event, StreamStarted)
    assert event.parameters == {"caller": "+15550100001", "callee": "+15550100002"} | parameters
    assert carrier.receive(server.mark(name)) == Marked(name)
    assert server.receive(carrier.mark(name)) == MarkReturned(name)


# --- order -----------------------------------------------------------------------------------------------------------


def heard(stream: TelnyxStream, chunks: list[int]) -> list[int]:
    """The chunks in the order they are heard: each frame's payload is its number."""
    found = []
    for chunk in chunks:
        event = stream.receive(frame(chunk))
        assert isinstance(event, CallerAudio | StreamIgnored)
        if isinstance(event, CallerAudio):
            numbers = [a + (b << 8) for a, b in zip(event.payload[::2], event.payload[1::2], strict=True)]
            assert event.chunk == numbers[0]
            assert event.timestamp_ms == numbers[0] * 20
            found += numbers
    return found


@given(data=st.data(), count=st.integers(1, 30))
def test_a_small_disorder_loses_nothing(data: st.DataObject, count: int) -> None:
    # Every frame comes at most WINDOW - 1 places late: what is then held is never a full window.
    order = sorted(range(1, count + 1), key=lambda n: n + data.draw(st.integers(0, WINDOW - 1)) + n / 1000)
    assert heard(started(), order) == list(range(1, count + 1))


@given(chunks=st.lists(st.integers(1, 40), max_size=60))
def test_what_is_heard_is_in_order_and_heard_once(chunks: list[int]) -> None:
    stream = started()
    found = heard(stream, chunks)
    if len(chunks) < RESYNC:
        assert found == sorted(set(found))
    assert set(found) <= set(chunks)
    assert len(stream._held) < WINDOW


@given(lost=st.sets(st.integers(1, 40)), count=st.just(60))
def test_lost_frames_cost_themselves_only(lost: set[int], count: int) -> None:
    sent = [n for n in range(1, count + 1) if n not in lost]
    found = heard(started(), sent)
    assert found == sent[: len(found)]
    assert len(sent) - len(found) < WINDOW


def test_one_wild_number_does_not_silence_the_call() -> None:
    stream = started()
    assert heard(stream, [1, 2]) == [1, 2]
    stream.receive(frame(60_000))
    assert heard(stream, list(range(3, 200))) == list(range(3, 200))


def test_a_numbering_that_begins_again_is_followed() -> None:
    stream = started()
    assert heard(stream, list(range(1, 101))) == list(range(1, 101))
    again = heard(stream, list(range(1, 101)))
    assert again == list(range(RESYNC, 101))


def test_nothing_is_held_while_frames_come_in_order() -> None:
    stream = started()
    for chunk in range(1, 200):
        event = stream.receive(frame(chunk))
        assert isinstance(event, CallerAudio)
        assert event.chunk == chunk


# --- texts and states ------------------------------------------------------------------------------------------------


def test_a_whole_call() -> None:
    carrier = peer(format=PCMA_8K, plays=L16_16K, caller="+15550100001", callee="+15550100002")
    server = TelnyxStream(L16_16K)
    assert server.state.value == "connecting"
    assert server.receive(carrier.connected()) == StreamConnected()
    parameters = {"caller": "+15550100001", "callee": "+15550100002"}
    assert server.receive(carrier.start()) == StreamStarted(
        STREAM, CALL, PCMA_8K, parameters, ("inbound",), sends=L16_16K
    )
    assert (server.state.value, server.stream_id) == ("streaming", STREAM)
    assert server.receive(carrier.media(b"\xd5" * 160, 5)) == CallerAudio(5, 1, b"\xd5" * 160, "inbound")
    assert server.receive(carrier.dtmf("#")) == Pressed("#")
    assert carrier.receive(server.media(bytes(640))) == Played(bytes(640))
    assert carrier.receive(server.mark("p1")) == Marked("p1")
    assert carrier.receive(server.clear()) == Cleared()
    assert server.receive(carrier.mark("p1")) == MarkReturned("p1")
    assert server.receive(carrier.error(100003, "x")) == StreamIgnored("telnyx error 100003 malformed_frame")
    assert server.receive(carrier.stop()) == StreamStopped()
    assert server.state is StreamState.STOPPED
    assert server.receive(carrier.connected()) == StreamIgnored("after stop")


def test_exact_texts_of_the_server() -> None:
    stream = started()
    encoded = b64encode(b"\x00\x01" * 320).decode()
    assert stream.media(b"\x00\x01" * 320) == f'{{"event":"media","media":{{"payload":"{encoded}"}}}}'
    assert stream.mark('p"1') == '{"event":"mark","mark":{"name":"p\\"1"}}'
    assert stream.clear() == '{"event":"clear"}'
    assert stream.mark("\ud800") == stream.mark("?")


def test_exact_texts_of_the_carrier_have_the_documented_key_order() -> None:
    carrier = peer()
    assert carrier.connected() == '{"event":"connected","version":"1.0.0"}'
    documented = [
        (carrier.start(), ["event", "sequence_number", "start", "stream_id"]),
        (carrier.media(b"\xff", 155), ["event", "sequence_number", "media", "stream_id"]),
        (carrier.dtmf("1"), ["event", "stream_id", "occurred_at", "sequence_number", "dtmf"]),
        (carrier.mark("m"), ["event", "stream_id", "sequence_number", "mark"]),
        (carrier.stop(), ["event", "sequence_number", "stop", "stream_id"]),
    ]
    for number, (text, order) in enumerate(documented, 1):
        message = json.loads(text)
        assert list(message) == order
        assert message["sequence_number"] == str(number)
    start = json.loads(documented[0][0])["start"]
    assert list(start)[:4] == ["user_id", "call_control_id", "call_session_id", "from"]
    assert list(start)[-1] == "media_format"


def test_our_own_misuse_raises() -> None:
    stream, carrier = TelnyxStream(), peer()
    misuses: list[Callable[[], str]] = [
        lambda: stream.media(b""),
        lambda: stream.mark("m"),
        stream.clear,
        lambda: carrier.media(b"", 0),
        lambda: carrier.mark("m"),
        lambda: carrier.dtmf("1"),
        carrier.stop,
    ]
    for misuse in misuses:
        with pytest.raises(LocalProtocolError):
            misuse()
    carrier.start()
    with pytest.raises(LocalProtocolError):
        carrier.start()
    carrier.stop()
    with pytest.raises(LocalProtocolError):
        carrier.media(b"", 0)


def test_half_a_minute_is_the_most() -> None:
    stream = TelnyxStream(PCMU_8K)
    stream.receive(peer(format=PCMU_8K).start())
    assert json.loads(stream.media(b"\xff" * 240_000))["event"] == "media"
    with pytest.raises(LocalProtocolError, match="30 s"):
        stream.media(b"\xff" * 240_001)
    with pytest.raises(LocalProtocolError, match="half a sample"):
        started().media(b"\xff" * 641)


def test_a_deaf_stream_is_streaming() -> None:
    stream = TelnyxStream()
    start = json.loads(peer().start())
    start["start"]["media_format"]["encoding"] = "G722"
    assert stream.receive(json.dumps(start)) == Malformed(MalformedCode.UNSUPPORTED_FORMAT, "G722")
    assert stream.state is StreamState.STREAMING
    assert isinstance(stream.receive(frame(1)), StreamIgnored)
    for text in (stream.clear(), stream.mark("m"), stream.media(bytes(640))):
        assert json.loads(text)["event"] in ("clear", "mark", "media")


def test_texts_can_still_be_built_after_the_stop() -> None:
    # The stop and our last words cross on the wire; that is nobody's mistake.
    stream = started()
    stream.receive(json.dumps({"event": "stop", "stream_id": STREAM}))
    assert json.loads(stream.clear())["event"] == "clear"


def test_half_a_sample_is_lost_where_bytes_are_turned() -> None:
    stream = started(big_endian=True)
    event = stream.receive(frame(1, b"\x01\x02\x03"))
    assert isinstance(event, CallerAudio)
    assert event.payload == b"\x02\x01"


def test_malformed_never_repeats_what_was_sent() -> None:
    secret = "4929-1234-5678"
    stream = started()
    for message in (
        {"event": "media", "media": {"payload": secret}},
        {"event": "media", "stream_id": secret, "media": {"payload": ""}},
        {"event": "dtmf", "dtmf": {"digit": secret}},
        {"event": "mark", "mark": secret},
        [secret],
        {"event": {"x": secret}},
    ):
        event = stream.receive(json.dumps(message))
        assert isinstance(event, Malformed)
        assert secret not in repr(event)
    fresh = TelnyxStream()
    start = {"call_control_id": "x", "media_format": {"encoding": secret}}
    assert secret not in repr(fresh.receive(json.dumps({"event": "start", "start": start})))


def test_a_complaint_is_told_bounded_and_without_its_detail() -> None:
    stream = started()
    payload = {"code": 100004, "title": "invalid_media" + "x" * 1000, "detail": "4929-1234-5678"}
    event = stream.receive(json.dumps({"event": "error", "payload": payload}))
    assert isinstance(event, StreamIgnored)
    assert event.what.startswith("telnyx error 100004 invalid_media")
    assert len(event.what) < 100
    assert "4929" not in event.what


def test_the_machine_is_a_media_stream() -> None:
    stream: MediaStream = TelnyxStream(AudioFormat(Encoding.PCMU, 8000))
    assert stream.state is StreamState.CONNECTING
