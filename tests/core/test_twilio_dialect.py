"""Twilio behind the carriers' common interface: webhooks with names, answers, and what needs no request at all."""

from __future__ import annotations

import base64

import pytest

from patter_core.audio.formats import PCMU_8K
from patter_core.carriers.carrier import (
    CallOffered,
    CallStatus,
    CarrierSpec,
    DialPlan,
    Direction,
    HookPlace,
    Leg,
    LegJoined,
    Malformed,
    RecordingStep,
    RestRequest,
    StreamPlan,
    TransferEnded,
    TransferPlan,
    Verdict,
    Webhook,
)
from patter_core.carriers.dialects import Dialect
from patter_core.carriers.form import encode_form
from patter_core.carriers.twilio import rest_peer, twiml, webhook_peer
from patter_core.carriers.twilio.dialect import TwilioDialect
from patter_core.carriers.twilio.signature import sign

ACCOUNT, CALL, OTHER = "AC" + "1" * 32, "CA" + "2" * 32, "CA" + "3" * 32
HOOKS = "https://agent.example.com/webhooks/twilio"
SPEC = CarrierSpec("twilio", ACCOUNT, ("secret",), "https://api.twilio.com", "secret")
LEG = Leg(ACCOUNT, "https://api.twilio.com", CALL)
DIAL = DialPlan("+15550100009", "+15550001234", HOOKS, "leg 7&", room="room")
TALK = StreamPlan("wss://agent.example.com/ws/stream/CA/t", {"caller": "+15550100001"}, PCMU_8K)
dialect: Dialect = TwilioDialect()


def order(request: RestRequest | None) -> rest_peer.Order:
    assert request is not None
    path = request.url.removeprefix("https://api.twilio.com")
    found = rest_peer.read_request(request.method, path, request.body)
    assert found is not None
    return found


def markup(request: RestRequest | None) -> list[twiml.Verb]:
    found = order(request)
    assert isinstance(found, rest_peer.UpdateTwiml)
    assert found.call_sid == CALL
    return twiml.read_twiml(found.twiml)


def report(kind: str, pairs: webhook_peer.Pairs, query: str = "") -> Webhook:
    """The webhook as the server gets it, its signature checked over the URL with its query."""
    url = f"{HOOKS}/{kind}" + (f"?{query}" if query else "")
    headers = {"x-twilio-signature": sign("secret", url, pairs), "content-type": "application/x-www-form-urlencoded"}
    body = encode_form(pairs)
    assert dialect.verify_webhook(SPEC, url, headers, body, 0) == (Verdict.VALID, "")
    assert dialect.verify_webhook(SPEC, f"{HOOKS}/{kind}?ref=other", headers, body, 0)[0] is Verdict.INVALID
    return dialect.read_webhook(kind, query, headers, body)


def test_a_dialled_call_comes_back_under_its_name() -> None:
    wanted = order(dialect.dial(LEG, DIAL))
    assert isinstance(wanted, rest_peer.DialWanted)
    query = wanted.url.removeprefix(f"{HOOKS}/voice?")
    answered = report("voice", webhook_peer.voice_params(CALL, ACCOUNT, wanted.caller_id, wanted.to, "outbound"), query)
    assert answered.ref == "leg 7&"
    assert isinstance(answered.event, CallOffered)
    assert answered.event.direction is Direction.OUTBOUND
    assert (answered.event.caller, answered.event.callee) == ("+15550001234", "+15550100009")
    assert wanted.status_callback == f"{HOOKS}/status?{query}"


def test_a_transfer_asks_back_and_a_room_reports_under_their_names() -> None:
    (dial,) = markup(dialect.transfer(LEG, TransferPlan("+15550100009", "+15550001234", HOOKS, "t1")))
    assert dial == twiml.Dial(
        twiml.Number("+15550100009", f"{HOOKS}/status?ref=t1", ("answered", "completed")),
        f"{HOOKS}/transfer?ref=t1",
        "+15550001234",
        25,
    )
    pairs = webhook_peer.transfer_params(CALL, ACCOUNT, "+15550100001", "+15550001234", "no-answer")
    assert report("transfer", pairs, "ref=t1") == Webhook(
        TransferEnded(CALL, CallStatus.NO_ANSWER, "no-answer"), ref="t1"
    )
    (dial,) = markup(dialect.join(LEG, Leg(ACCOUNT, "", OTHER), DIAL))
    assert isinstance(dial, twiml.Dial)
    assert dial.action == f"{HOOKS}/transfer?ref=leg%207%26"
    pairs = webhook_peer.conference_params(OTHER, ACCOUNT, "CF1", "room", "participant-join", 1, 0)
    assert report("conference", pairs, "ref=t1") == Webhook(LegJoined(OTHER), ref="t1")


def test_every_route_reads_anything() -> None:
    assert set(dialect.routes) == {"voice", "status", "recording", "amd", "stream", "transfer", "conference"}
    for kind in dialect.routes:
        for body in (b"", b"\xff" * 50, b"CallSid=" + CALL.encode(), b"&" * 5000):
            found = dialect.read_webhook(kind, "ref=r", {}, body)
            assert isinstance(found.event, Malformed | CallOffered)
            assert found.ref == "r"


def test_webhooks_are_answered_with_markup_or_nothing() -> None:
    assert dialect.thanks().status == 204
    assert dialect.thanks().body == b""
    for answer, verbs in (
        (dialect.transferred(), [twiml.Hangup()]),
        (dialect.busy(), [twiml.Reject("busy")]),
        (dialect.offered(TALK), [twiml.Connect(TALK.url, TALK.parameters)]),
    ):
        assert (answer.status, answer.content_type) == (200, "text/xml; charset=utf-8")
        assert twiml.read_twiml(answer.body.decode()) == verbs


def test_what_twilio_does_by_itself_needs_no_request() -> None:
    assert dialect.answer(LEG, TALK) is None
    assert dialect.reject(LEG) is None
    assert dialect.begin_stream(LEG, TALK) is None
    assert dialect.brief(LEG, DIAL) is None
    assert dialect.send_keys(LEG, "1", 100) is None
    assert dialect.find_hook(SPEC, "") is None


def test_orders_name_their_leg() -> None:
    assert order(dialect.hang_up(LEG)) == rest_peer.HangUpWanted(CALL)
    assert markup(dialect.restart_stream(LEG, TALK)) == [twiml.Connect(TALK.url, TALK.parameters)]
    request, ends = dialect.speak(LEG, "Goodbye", "en")
    assert ends
    assert markup(request) == [twiml.Say("Goodbye", "en-US"), twiml.Hangup()]
    recording = order(dialect.record(LEG, RecordingStep.START, HOOKS))
    events = ("in-progress", "completed", "absent")
    assert recording == rest_peer.RecordingWanted(CALL, RecordingStep.START, "", "dual", f"{HOOKS}/recording", events)
    for step in (RecordingStep.PAUSE, RecordingStep.RESUME, RecordingStep.STOP):
        assert order(dialect.record(LEG, step, HOOKS)) == rest_peer.RecordingWanted(CALL, step, "Twilio.CURRENT")


def test_a_leg_without_a_base_url_is_in_the_first_region() -> None:
    assert dialect.hang_up(Leg(ACCOUNT, "", CALL)).url.startswith("https://api.twilio.com/2010-04-01/")
    found = dialect.find_hook(CarrierSpec("twilio", ACCOUNT), "+15550001234")
    assert found is not None
    assert found.url.startswith("https://api.twilio.com/2010-04-01/")


def test_the_hook_of_a_number_is_found_and_set() -> None:
    assert order(dialect.find_hook(SPEC, "+15550001234")) == rest_peer.NumbersWanted("+15550001234")
    listed = rest_peer.reply_numbers(
        [rest_peer.reply_number("PN1", "+15550001234", "https://old.example/", trunk_sid="TK1")]
    )
    place = dialect.read_hook(200, listed, "+15550001234")
    assert isinstance(place, HookPlace)
    assert place.ruled_by == "TrunkSid TK1"
    assert order(dialect.set_hook(SPEC, place, f"{HOOKS}/voice")) == rest_peer.NumberUpdateWanted(
        "PN1", f"{HOOKS}/voice"
    )


def test_requests_are_authorized_with_the_account_and_its_key() -> None:
    scheme, _, text = dialect.authorization(SPEC).partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(text).decode() == f"{ACCOUNT}:secret"


@pytest.mark.parametrize("length", [1000, 100_000])
def test_a_caller_of_any_name_gets_a_stream_again(length: int) -> None:
    plan = StreamPlan(TALK.url, {"caller": "&" * min(length, 490), "callee": "<" * length, "x": "&" * 490}, PCMU_8K)
    assert markup(dialect.restart_stream(LEG, plan))[0] in (
        twiml.Connect(plan.url, {}),
        twiml.Connect(plan.url, {"caller": plan.parameters["caller"]}),
    )
