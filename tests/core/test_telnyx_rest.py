"""The Call Control API beyond its vectors: the official client's requests, both ends together, the whole dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import telnyx
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, L16_24K, PCMA_8K, PCMU_8K, AudioFormat
from patter_core.carriers.carrier import (
    CallOffered,
    CarrierSpec,
    DialPlan,
    HookPlace,
    Leg,
    Malformed,
    MalformedCode,
    RecordingStep,
    RestOutcome,
    RestRequest,
    StreamPlan,
    StreamStarted,
    TransferPlan,
    Verdict,
    WebhookAnswer,
)
from patter_core.carriers.dialects import Dialect
from patter_core.carriers.telnyx import rest, rest_peer, webhook_peer
from patter_core.carriers.telnyx.dialect import STREAM_TOKEN, TelnyxDialect
from patter_core.carriers.telnyx.signature import public_key, sign
from patter_core.carriers.telnyx.stream_peer import Played, TelnyxStreamPeer

CALL = "v3:2EC-70CTEjlUq3tDM0CxKXIt5-5N4iP4wo7"
LEG = Leg("1293384261075731499", rest.BASE_URL, CALL, "cmd-1")
STREAM = StreamPlan("wss://agent.example.com/ws/stream/x/t", {"a": "1"}, L16_16K, "t")
HOOKS = "https://agent.example.com/webhooks/telnyx"
DIAL = DialPlan("+15550100003", "+15550100002", HOOKS, "leg-7", machine_detection=True, brief="Hello", language="en")
TRANSFER = TransferPlan("+15550100003", "+15550100002", HOOKS, "leg-7")
PLACE = HookPlace("1293384261075731499", "https://old.example.com", name="call-router")


# --- the official client ---------------------------------------------------------------------------------------------


class Their:
    """The official client, its requests caught before they leave."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.client = telnyx.Telnyx(
            api_key="key", http_client=httpx.Client(transport=httpx.MockTransport(self.answer)), max_retries=0
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200, json={"data": {}})


OPTIONS: dict[str, Any] = {
    "stream_url": STREAM.url,
    "stream_track": "inbound_track",
    "stream_codec": "L16",
    "stream_bidirectional_mode": "rtp",
    "stream_bidirectional_codec": "L16",
    "stream_bidirectional_target_legs": "self",
}
#: documented for ``dial`` and ``streaming_start``; their ``answer`` has no name for them
MORE: dict[str, Any] = {
    "stream_bidirectional_sampling_rate": 16000,
    "stream_auth_token": "t",
    "custom_parameters": [{"name": "a", "value": "1"}],
}
REPORTED: dict[str, Any] = {"webhook_url": f"{HOOKS}/voice", "webhook_url_method": "POST"}
ID: dict[str, Any] = {"command_id": "cmd-1"}
SAID: dict[str, Any] = {"payload": "Good bye.", "payload_type": "text", "voice": "female", "language": "de-DE"}

PAIRS: dict[str, tuple[RestRequest, Callable[[telnyx.Telnyx], object]]] = {
    "answer": (rest.answer(LEG, STREAM), lambda c: c.calls.actions.answer(CALL, **OPTIONS, **ID, extra_body=MORE)),
    "reject": (rest.reject(LEG), lambda c: c.calls.actions.reject(CALL, cause="USER_BUSY", **ID)),
    "streaming_start": (
        rest.streaming_start(LEG, STREAM),
        lambda c: c.calls.actions.start_streaming(CALL, **OPTIONS, **MORE, **ID),
    ),
    "dial": (
        rest.dial(LEG, DIAL),
        lambda c: c.calls.dial(
            connection_id=LEG.account,
            to=DIAL.to,
            from_=DIAL.caller_id,
            timeout_secs=25,
            client_state="bGVnLTc=",
            answering_machine_detection="greeting_end",
            **REPORTED,
            **ID,
        ),
    ),
    "hangup": (rest.hang_up(LEG), lambda c: c.calls.actions.hangup(CALL, **ID)),
    "speak": (rest.speak(LEG, "Good bye.", "de"), lambda c: c.calls.actions.speak(CALL, **SAID, **ID)),
    "send_dtmf": (
        rest.send_dtmf(LEG, "12#", 250),
        lambda c: c.calls.actions.send_dtmf(CALL, digits="12#", duration_millis=250, **ID),
    ),
    "transfer": (
        rest.transfer(LEG, TRANSFER),
        lambda c: c.calls.actions.transfer(
            CALL,
            to=TRANSFER.to,
            from_=TRANSFER.caller_id,
            timeout_secs=25,
            target_leg_client_state="bGVnLTc=",
            **REPORTED,
            **ID,
        ),
    ),
    "bridge": (
        rest.bridge(LEG, Leg("", "", "v3:other")),
        lambda c: c.calls.actions.bridge(CALL, call_control_id_to_bridge_with="v3:other", **ID),
    ),
    "record_start": (
        rest.record(LEG, RecordingStep.START),
        lambda c: c.calls.actions.start_recording(CALL, channels="dual", format="wav", **ID),
    ),
    "record_pause": (
        rest.record(LEG, RecordingStep.PAUSE),
        lambda c: c.calls.actions.pause_recording(CALL, **ID),
    ),
    "record_resume": (
        rest.record(LEG, RecordingStep.RESUME),
        lambda c: c.calls.actions.resume_recording(CALL, **ID),
    ),
    "record_stop": (rest.record(LEG, RecordingStep.STOP), lambda c: c.calls.actions.stop_recording(CALL, **ID)),
    "find_hook": (rest.find_hook(PLACE.id), lambda c: c.call_control_applications.retrieve(PLACE.id)),
    "set_hook": (
        rest.set_hook(PLACE, "https://new.example.com"),
        lambda c: c.call_control_applications.update(
            PLACE.id, application_name="call-router", webhook_event_url="https://new.example.com"
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_request_is_the_official_clients(name: str) -> None:
    ours, call = PAIRS[name]
    their = Their()
    call(their.client)
    (sent,) = their.seen
    assert ours.method == sent.method
    assert httpx.URL(ours.url).path == sent.url.path  # both percent-decoded: they leave the colon as it is
    assert httpx.URL(ours.url).host == sent.url.host
    assert (json.loads(ours.body) if ours.body else None) == (json.loads(sent.content) if sent.content else None)
    if ours.body:
        assert dict(ours.headers)["content-type"] == sent.headers["content-type"]
    assert TelnyxDialect().authorization(CarrierSpec("telnyx", api_key="key")) == sent.headers["authorization"]


@pytest.mark.parametrize("name", PAIRS)
def test_the_simulated_carrier_understands_both_clients_alike(name: str) -> None:
    ours, call = PAIRS[name]
    their = Their()
    call(their.client)
    (sent,) = their.seen
    order = rest_peer.read_request(ours.method, ours.url.removeprefix(rest.BASE_URL), ours.body)
    assert order is not None
    assert order == rest_peer.read_request(sent.method, sent.url.raw_path.decode(), sent.content)


# --- totality --------------------------------------------------------------------------------------------------------

_NAMES = """
    stream_url cause digits duration_millis to from timeout_secs payload voice format channels errors code title data id
    connection_id call_control_id recording_id application_name webhook_event_url active webhook_api_version
"""
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.sampled_from(["90018", 90018]))
nearly = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_NAMES.split()), inner, max_size=6)
    ),
    max_leaves=15,
)
bodies = st.one_of(st.binary(max_size=60), nearly.map(lambda value: json.dumps(value).encode()))


@given(status=st.integers(100, 599), body=bodies)
@example(status=422, body=b"[" * 100_000)
@example(status=422, body=b'{"errors":[{"code":' + b"9" * 5000 + b"}]}")
@example(status=200, body=b'{"data":{"id":"\\ud800"}}')
def test_no_answer_raises(status: int, body: bytes) -> None:
    assert (rest.outcome(status, body) is RestOutcome.DONE) is (200 <= status < 300)
    assert isinstance(rest.made(status, body), str)
    assert len(rest.problem(status, body)) <= 300
    assert isinstance(rest.read_hook(status, body), HookPlace | str)


@given(
    method=st.sampled_from(["POST", "GET", "PATCH", "DELETE"]),
    action=st.sampled_from(["answer", "reject", "speak", "send_dtmf", "transfer", "bridge", "record_start", "x"]),
    body=bodies,
)
@example(method="POST", action="hangup", body=b"[" * 100_000)
def test_no_request_raises(method: str, action: str, body: bytes) -> None:
    for path in (f"/v2/calls/%ff%3A/actions/{action}", "/v2/calls", "/v2/call_control_applications/1", action, ""):
        rest_peer.read_request(method, path, body)


@given(call=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_hang_up_is_understood_by_the_other_side(call: str) -> None:
    request = rest.hang_up(Leg("", "", call, "c"))
    path = request.url.removeprefix(rest.BASE_URL)
    assert rest_peer.read_request(request.method, path, request.body) == rest_peer.HangUpWanted(call, "c")


@given(text=st.one_of(st.text(st.characters(exclude_categories=()), max_size=60), st.just("word " * 2000)))
def test_last_words_always_fit(text: str) -> None:
    request = rest.speak(LEG, text, "en")
    assert len(json.loads(request.body)["payload"]) <= rest.MAX_SPOKEN


def test_replies_say_what_the_outcome_reads() -> None:
    expected = {
        rest_peer.reply_ok: RestOutcome.DONE,
        rest_peer.reply_ended: RestOutcome.ALREADY_ENDED,
        rest_peer.reply_not_answered: RestOutcome.NOT_YET,
        rest_peer.reply_bad_call: RestOutcome.REFUSED,
        rest_peer.reply_not_found: RestOutcome.REFUSED,
        rest_peer.reply_unauthorized: RestOutcome.UNAUTHORIZED,
        rest_peer.reply_too_many: RestOutcome.RETRY,
    }
    for reply, meaning in expected.items():
        assert rest.outcome(*reply()) is meaning, reply
    assert rest.made(*rest_peer.reply_dialled(CALL, "leg", "session")) == CALL
    found = rest.read_hook(*rest_peer.reply_application("12", "name", "https://x.example"))
    assert found == HookPlace("12", "https://x.example", name="name")


def test_a_problem_is_told_without_numbers() -> None:
    error = {"code": "10016", "title": "Phone number must be in +E.164 format", "detail": "Got +1 555 010 0003\n(x)"}
    told = rest.problem(422, json.dumps({"errors": [error, {"code": 90018}]}).encode())
    assert told == "HTTP 422; 10016 Phone number must be in +E.164 format (Got <number> (x)); 90018"
    assert rest.problem(500, b"<html>") == "HTTP 500"


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (404, rest_peer.reply_not_found()[1], "Voice API application"),
        (401, b"", "TELNYX_API_KEY"),
        (500, b"", "HTTP 500"),
        (200, b'{"data":{"record_type":"texml_application"}}', "TELNYX_CONNECTION_ID"),
        (200, b'{"data":{"id":"1","application_name":"n","webhook_api_version":"1"}}', "set it to 2"),
    ],
)
def test_a_hook_that_cannot_be_used_says_what_to_do(status: int, body: bytes, advice: str) -> None:
    found = rest.read_hook(status, body)
    assert isinstance(found, str)
    assert advice in found


def test_keys_that_are_none_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="0-9, A-D"):
        rest.send_dtmf(LEG, "call me", 100)


# --- the dialect -----------------------------------------------------------------------------------------------------

TELNYX = TelnyxDialect()
SEED = bytes(range(32))
SPEC = CarrierSpec("telnyx", "12", (public_key(SEED),), rest.BASE_URL, "sekrit", {"l16": "little", "future_s": "30"})


def test_the_dialect_is_one() -> None:
    dialect: Dialect = TELNYX
    assert (dialect.name, dialect.routes) == ("telnyx", ("voice",))


def test_a_webhook_goes_through_the_dialect() -> None:
    leg = webhook_peer.TelnyxLeg(CALL, "l", "s", "12", "+15550100001", "+15550100002", 0)
    body = webhook_peer.deliver(webhook_peer.initiated(leg, "e1", 0), HOOKS)
    headers = {"telnyx-timestamp": "1000", "telnyx-signature-ed25519": sign(SEED, "1000", body)}
    assert TELNYX.verify_webhook(SPEC, "", headers, body, 1300) == (Verdict.VALID, "")
    assert TELNYX.verify_webhook(SPEC, "", headers, body, 970) == (Verdict.VALID, "")
    verdict, why = TELNYX.verify_webhook(SPEC, "", headers, body, 969)
    assert verdict is Verdict.INVALID
    assert "31 s ahead" in why
    assert TELNYX.verify_webhook(SPEC, "", {}, body, 1000)[0] is Verdict.MISSING
    assert TELNYX.verify_webhook(CarrierSpec("telnyx"), "", headers, body, 1000)[0] is Verdict.NO_KEY
    found = TELNYX.read_webhook("voice", "", {"content-type": "application/json"}, body)
    assert isinstance(found.event, CallOffered)
    assert found.event_id == "e1"


def test_a_texml_callback_is_explained() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    found = TELNYX.read_webhook("voice", "", headers, b"CallSid=x").event
    assert isinstance(found, Malformed)
    assert found.code is MalformedCode.NOT_JSON
    assert "TeXML" in found.detail


def test_answers_to_webhooks_say_nothing() -> None:
    for answer in (TELNYX.offered(STREAM), TELNYX.busy(), TELNYX.thanks(), TELNYX.transferred()):
        assert answer == WebhookAnswer(200, "text/plain", b"")


def test_orders_go_through_the_dialect() -> None:
    assert TELNYX.answer(LEG, STREAM) == rest.answer(LEG, STREAM)
    assert TELNYX.begin_stream(LEG, STREAM) == TELNYX.restart_stream(LEG, STREAM) == rest.streaming_start(LEG, STREAM)
    assert TELNYX.reject(LEG) == rest.reject(LEG)
    assert TELNYX.dial(LEG, DIAL) == rest.dial(LEG, DIAL)
    assert TELNYX.brief(LEG, DIAL) == rest.speak(LEG, "Hello", "en")
    other = Leg("", "", "v3:other")
    assert TELNYX.join(LEG, other, DIAL) == rest.bridge(LEG, other)
    assert TELNYX.transfer(LEG, TRANSFER) == rest.transfer(LEG, TRANSFER)
    assert TELNYX.hang_up(LEG) == rest.hang_up(LEG)
    assert TELNYX.speak(LEG, "Hello", "en") == (rest.speak(LEG, "Hello", "en"), False)
    assert TELNYX.send_keys(LEG, "1", 100) == rest.send_dtmf(LEG, "1", 100)
    assert TELNYX.record(LEG, RecordingStep.STOP, HOOKS) == rest.record(LEG, RecordingStep.STOP)
    ended = rest_peer.reply_ended()
    assert TELNYX.outcome(*ended) is RestOutcome.ALREADY_ENDED
    assert TELNYX.problem(*ended).startswith("HTTP 422; 90018 Call has already ended")
    assert TELNYX.made(*rest_peer.reply_dialled(CALL, "l", "s")) == CALL


def test_the_hook_is_the_connections() -> None:
    assert TELNYX.find_hook(SPEC, "+15550100002") == rest.find_hook("12")
    assert TELNYX.find_hook(CarrierSpec("telnyx"), "+15550100002") is None
    place = TELNYX.read_hook(*rest_peer.reply_application("12", "name", "https://x.example"), "+15550100002")
    assert isinstance(place, HookPlace)
    assert TELNYX.set_hook(SPEC, place, "https://y.example") == rest.set_hook(place, "https://y.example")


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [(L16_24K, L16_16K), (L16_16K, L16_16K), (L16_8K, PCMU_8K), (PCMU_8K, PCMU_8K), (PCMA_8K, PCMU_8K)],
)
def test_the_line_asked_for(wanted: AudioFormat, asked: AudioFormat) -> None:
    assert TELNYX.line(wanted) == asked


def test_a_stream_of_the_dialect_has_its_byte_order() -> None:
    carrier = TelnyxStreamPeer("s", CALL, "u", format=L16_16K, big_endian=True)
    stream = TELNYX.stream({"l16": "big"}, L16_16K)
    assert isinstance(stream.receive(carrier.start()), StreamStarted)
    assert carrier.receive(stream.media(b"\x01\x02" * 320)) == Played(b"\x01\x02" * 320)
    assert json.loads(stream.media(b"\x01\x02" * 320))["media"]["payload"].startswith("AgEC")


def test_the_token_of_a_media_socket() -> None:
    def judged(headers: dict[str, str], ticket: str = "ticket") -> Verdict:
        return TELNYX.verify_upgrade(SPEC, "wss://x.example/ws", headers, ticket)

    assert judged({}) is Verdict.MISSING
    assert judged({STREAM_TOKEN: "ticket"}) is Verdict.VALID
    assert judged({STREAM_TOKEN: "Ticket"}) is Verdict.INVALID
    assert judged({STREAM_TOKEN: ""}, "") is Verdict.INVALID
    assert judged({STREAM_TOKEN: "\ud800"}) is Verdict.INVALID
    assert TELNYX.upgrade_spellings("wss://x.example/ws") == ()


def test_a_broken_tolerance_is_the_default() -> None:
    body = b"{}"
    headers = {"telnyx-timestamp": "1000", "telnyx-signature-ed25519": sign(SEED, "1000", body)}
    for odd in ({}, {"future_s": ""}, {"future_s": "-1"}, {"future_s": "²"}):
        spec = CarrierSpec("telnyx", keys=SPEC.keys, options=odd)
        assert TELNYX.verify_webhook(spec, "", headers, body, 700)[0] is Verdict.VALID
        assert TELNYX.verify_webhook(spec, "", headers, body, 699)[0] is Verdict.INVALID
