"""The media stream beyond its vectors: totality, exact texts, both ends talking to each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_16K, PCMU_8K
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
from patter_core.carriers.twilio.stream import TwilioStream
from patter_core.carriers.twilio.stream_peer import Cleared, Marked, Played, TwilioStreamPeer
from patter_core.errors import LocalProtocolError

STREAM, CALL, ACCOUNT = "MZ" + "1" * 32, "CA" + "2" * 32, "AC" + "3" * 32
EVENTS = (
    CallerAudio | MarkReturned | Pressed | StreamConnected | StreamStarted | StreamStopped | StreamIgnored | Malformed
)


def peer(**more: Any) -> TwilioStreamPeer:
    return TwilioStreamPeer(STREAM, CALL, ACCOUNT, **more)


def started() -> TwilioStream:
    stream = TwilioStream()
    assert isinstance(stream.receive(peer().start()), StreamStarted)
    return stream


# JSON that is nearly right: our keys, any values.
_ENVELOPE = ["event", "streamSid", "start", "media", "mark", "dtmf", "stop", "payload", "timestamp", "chunk", "track"]
_START = ["name", "digit", "callSid", "customParameters", "mediaFormat", "encoding", "sampleRate", "channels", "tracks"]
keys = st.sampled_from(_ENVELOPE + _START)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["media", "start", "stop", "mark", "dtmf", "connected", STREAM, "fw==", "1", "inbound"]),
)
nearly = st.dictionaries(
    keys, st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=6), max_leaves=12)
)


@given(text=st.one_of(st.text(st.characters(exclude_categories=())), nearly.map(json.dumps)))
@example(text="\ud800")
@example(text="[" * 200_000)
@example(text='{"a":' * 100_000)
@example(text='{"event":"media","x":' + "[" * 100_000 + "]" * 100_000 + "}")
@example(text='{"event":"media","media":{"payload":"' + "é" * 100 + '"},"streamSid":"x"}')
@example(text='{"event":"\ud800"}')
@example(text='{"event":"start","streamSid":5} trailing')
def test_receive_never_raises(text: str) -> None:
    running = started()
    stopped = started()
    stopped.receive(json.dumps({"event": "stop", "streamSid": STREAM}))
    for stream in (TwilioStream(), running, stopped):
        event = stream.receive(text)
        assert isinstance(event, EVENTS)
        if isinstance(event, Malformed):
            assert event.code in set(MalformedCode)
    for other in (peer(), _running_peer()):
        assert isinstance(other.receive(text), Played | Marked | Cleared | Malformed)


def _running_peer() -> TwilioStreamPeer:
    made = peer()
    made.start()
    return made


@given(payload=st.binary(max_size=2000), timestamp=st.integers(0, 1 << 40))
def test_audio_survives_both_ways(payload: bytes, timestamp: int) -> None:
    carrier, server = peer(), TwilioStream()
    server.receive(carrier.start())
    assert server.receive(carrier.media(payload, timestamp)) == CallerAudio(timestamp, 1, payload, "inbound")
    assert carrier.receive(server.media(payload)) == Played(payload)


@given(name=st.text(max_size=40), parameters=st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_names_survive_both_ways(name: str, parameters: dict[str, str]) -> None:
    carrier, server = peer(parameters=parameters), TwilioStream()
    assert server.receive(carrier.start()) == StreamStarted(STREAM, CALL, PCMU_8K, parameters, ("inbound",))
    assert carrier.receive(server.mark(name)) == Marked(name)
    assert server.receive(carrier.mark(name)) == MarkReturned(name)


def test_a_whole_call() -> None:
    carrier, server = peer(parameters={"caller": "+15550100001"}), TwilioStream()
    assert server.state.value == "connecting"
    assert server.receive(carrier.connected()) == StreamConnected()
    assert server.state.value == "connecting"
    server.receive(carrier.start())
    assert (server.state.value, server.stream_id) == ("streaming", STREAM)
    assert [server.receive(carrier.media(b"\xff" * 160, at)) for at in (88, 108)] == [
        CallerAudio(88, 1, b"\xff" * 160, "inbound"),
        CallerAudio(108, 2, b"\xff" * 160, "inbound"),
    ]
    assert server.receive(carrier.dtmf("#")) == Pressed("#")
    assert carrier.receive(server.clear()) == Cleared()
    assert server.receive(carrier.stop()) == StreamStopped()
    assert server.state is StreamState.STOPPED
    assert server.receive(carrier.connected()) == StreamIgnored("after stop")


def test_exact_texts_of_the_server() -> None:
    stream = started()
    sid = f'"streamSid":"{STREAM}"'
    assert stream.media(b"\x00\x01\xff") == f'{{"event":"media",{sid},"media":{{"payload":"AAH/"}}}}'
    assert stream.mark('p"1') == f'{{"event":"mark",{sid},"mark":{{"name":"p\\"1"}}}}'
    assert stream.clear() == f'{{"event":"clear",{sid}}}'
    assert stream.mark("\ud800") == stream.mark("?")


def test_exact_texts_of_the_carrier_have_the_recorded_key_order() -> None:
    carrier = peer()
    assert carrier.connected() == '{"event":"connected","protocol":"Call","version":"1.0.0"}'
    recorded = [
        (carrier.start(), ["event", "sequenceNumber", "start", "streamSid"]),
        (carrier.media(b"\xff", 155), ["event", "sequenceNumber", "media", "streamSid"]),
        (carrier.dtmf("1"), ["event", "streamSid", "sequenceNumber", "dtmf"]),
        (carrier.mark("m"), ["event", "sequenceNumber", "streamSid", "mark"]),
        (carrier.stop(), ["event", "sequenceNumber", "streamSid", "stop"]),
    ]
    for number, (text, order) in enumerate(recorded, 1):
        message = json.loads(text)
        assert list(message) == order
        assert message["sequenceNumber"] == str(number)
    start = json.loads(recorded[0][0])["start"]
    assert list(start) == ["accountSid", "streamSid", "callSid", "tracks", "mediaFormat", "customParameters"]
    assert list(json.loads(recorded[1][0])["media"]) == ["track", "chunk", "timestamp", "payload"]


def test_a_stream_id_that_needs_escaping_is_escaped() -> None:
    stream = TwilioStream()
    odd = 'M"Z\\é\n'
    stream.receive(json.dumps({"event": "start", "streamSid": odd, "start": {"callSid": CALL}}))
    for text in (stream.media(b"x"), stream.mark("m"), stream.clear()):
        assert json.loads(text)["streamSid"] == odd


def test_our_own_misuse_raises() -> None:
    stream, carrier = TwilioStream(), peer()
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


def test_texts_can_still_be_built_after_the_stop() -> None:
    # The stop and our last words cross on the wire; that is nobody's mistake.
    stream = started()
    stream.receive(json.dumps({"event": "stop", "streamSid": STREAM}))
    assert json.loads(stream.clear())["event"] == "clear"


def test_unstamped_frames_are_placed_by_the_format_of_the_stream() -> None:
    stream = TwilioStream()
    assert isinstance(stream.receive(peer(format=L16_16K).start()), StreamStarted)
    frame = json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "AAAA" * 160}})
    events = [stream.receive(frame) for _ in range(3)]
    assert [event.timestamp_ms for event in events if isinstance(event, CallerAudio)] == [0, 15, 30]


def test_the_carriers_side_refuses_what_comes_before_its_start() -> None:
    carrier = peer()
    event = carrier.receive(json.dumps({"event": "clear", "streamSid": STREAM}))
    assert event == Malformed(MalformedCode.NOT_STARTED, "before start")


def test_malformed_never_repeats_what_was_sent() -> None:
    secret = "4929-1234-5678"
    stream = started()
    for message in (
        {"event": "media", "streamSid": STREAM, "media": {"payload": secret}},
        {"event": "media", "streamSid": secret, "media": {"payload": ""}},
        {"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": secret}},
        {"event": "mark", "streamSid": STREAM, "mark": secret},
        [secret],
        {"event": {"x": secret}},
    ):
        event = stream.receive(json.dumps(message))
        assert isinstance(event, Malformed)
        assert secret not in repr(event)
    assert secret not in repr(stream.receive(secret))


def test_the_machine_is_a_media_stream() -> None:
    stream: MediaStream = TwilioStream()
    assert stream.state is StreamState.CONNECTING
