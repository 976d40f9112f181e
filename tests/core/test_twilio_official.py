"""Against Twilio's own library: its markup builder, its signature validator and its REST client agree with ours.

The library is a dependency of the tests only. Nothing goes out: its HTTP client is replaced by one that notes requests.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio.formats import PCMU_8K
from patter_core.carriers.carrier import (
    CarrierSpec,
    DialPlan,
    HookPlace,
    Leg,
    RecordingStep,
    RestRequest,
    StreamPlan,
    TransferPlan,
    Verdict,
)
from patter_core.carriers.form import encode_form, parse_form
from patter_core.carriers.twilio import rest_peer, twiml
from patter_core.carriers.twilio.dialect import TwilioDialect
from patter_core.carriers.twilio.signature import sign, verify

pytest.importorskip("twilio", reason="Twilio's own library is not installed: pip install twilio")

from twilio.base.exceptions import TwilioRestException
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.twiml.voice_response import Connect, Dial, VoiceResponse

ACCOUNT, CALL, NUMBER = "AC" + "1" * 32, "CA" + "2" * 32, "PN" + "3" * 32
HOOKS = "https://agent.example.com/webhooks/twilio"
LEG = Leg(ACCOUNT, "https://api.twilio.com", CALL)
SPEC = CarrierSpec("twilio", ACCOUNT, ("secret",), "https://api.twilio.com", "secret")
DIALECT = TwilioDialect()
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Cs"]), max_size=30)


# --- markup ----------------------------------------------------------------------------------------------------------


def same(ours: str, theirs: VoiceResponse) -> bool:
    return ElementTree.canonicalize(ours) == ElementTree.canonicalize(str(theirs))


def our_verbs(theirs: VoiceResponse) -> list[twiml.Verb]:
    return twiml.read_twiml(str(theirs))


@given(url=texts.map("wss://agent.example.com/{}".format), parameters=st.dictionaries(texts.filter(bool), texts))
def test_a_stream_is_written_as_theirs(url: str, parameters: dict[str, str]) -> None:
    theirs, connect = VoiceResponse(), Connect()
    stream = connect.stream(url=url)
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    theirs.append(connect)
    verb = twiml.Connect(url, parameters)
    assert same(twiml.write_twiml([verb]), theirs)
    assert our_verbs(theirs) == [verb]


@given(to=texts.filter(bool), action=texts.filter(bool), caller=texts.filter(bool), timeout=st.integers(1, 600))
def test_a_transfer_is_written_as_theirs(to: str, action: str, caller: str, timeout: int) -> None:
    theirs = VoiceResponse()
    dial = Dial(action=action, caller_id=caller, timeout=timeout)
    dial.number(to)
    theirs.append(dial)
    assert same(twiml.write_twiml([twiml.Dial(twiml.Number(to), action, caller, timeout)]), theirs)
    assert our_verbs(theirs) == [twiml.Dial(twiml.Number(to.strip()), action, caller, timeout)]


def test_a_transfer_whose_leg_is_reported_is_written_as_theirs() -> None:
    theirs = VoiceResponse()
    dial = theirs.dial(action="https://a.example/t", timeout=20)
    dial.number("+15550001111", status_callback_event="answered completed", status_callback="https://a.example/s")
    ours = twiml.transfer("+15550001111", "https://a.example/t", "", 20, "https://a.example/s")
    assert same(ours, theirs)
    number = twiml.Number("+15550001111", "https://a.example/s", ("answered", "completed"))
    assert our_verbs(theirs) == [twiml.Dial(number, "https://a.example/t", "", 20)]


def test_a_sip_transfer_is_written_as_theirs() -> None:
    theirs = VoiceResponse()
    dial = theirs.dial(action="https://a.example/?a=1&b=2", timeout=20, answer_on_bridge=True)
    dial.sip("sip:desk@sip.example.com;x=1&y")
    to = twiml.Sip("sip:desk@sip.example.com;x=1&y")
    verb = twiml.Dial(to, "https://a.example/?a=1&b=2", "", 20, True)
    assert same(twiml.write_twiml([verb]), theirs)
    assert our_verbs(theirs) == [verb]


@given(text=texts.filter(bool), room=texts.filter(bool))
def test_a_consultation_is_written_as_theirs(text: str, room: str) -> None:
    theirs = VoiceResponse()
    theirs.say(text, language="de-DE")
    theirs.dial().conference(
        room,
        start_conference_on_enter=False,
        end_conference_on_exit=True,
        beep="false",
        status_callback="https://a.example/c?ref=1&x",
        status_callback_event="start end join leave",
    )
    assert same(twiml.consult(text, "de", room, "https://a.example/c?ref=1&x"), theirs)
    theirs = VoiceResponse()
    theirs.dial(action="https://a.example/t").conference(
        room, start_conference_on_enter=True, end_conference_on_exit=True, beep="false"
    )
    assert same(twiml.join_room(room, "https://a.example/t"), theirs)


def test_the_small_verbs_are_written_as_theirs() -> None:
    for ours, build in (
        (twiml.reject("busy"), lambda response: response.reject(reason="busy")),
        (twiml.reject("rejected"), lambda response: response.reject(reason="rejected")),
        (twiml.hang_up(), lambda response: response.hangup()),
        (twiml.write_twiml([twiml.Pause(3)]), lambda response: response.pause(length=3)),
        (twiml.write_twiml([twiml.Redirect("/x?a&b")]), lambda response: response.redirect("/x?a&b", method="POST")),
    ):
        theirs = VoiceResponse()
        build(theirs)
        assert same(ours, theirs)
        assert our_verbs(theirs) == twiml.read_twiml(ours)


# --- signatures ------------------------------------------------------------------------------------------------------

fields = st.lists(st.tuples(texts, texts), max_size=12)
queries = st.sampled_from(["", "?ref=leg-1", "?ref=%C3%A9%20x&b=2", "?bare"])


class Fields(dict[str, list[str]]):
    """A form with repeated names, in the shape that their validator takes from web frameworks."""

    def getall(self, name: str) -> list[str]:
        return self[name]


def grouped(pairs: list[tuple[str, str]]) -> Fields:
    found = Fields()
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@given(pairs=fields, query=queries, token=st.text("abcdef0123456789", min_size=32, max_size=32))
def test_signatures_verify_both_ways(pairs: list[tuple[str, str]], query: str, token: str) -> None:
    url = f"{HOOKS}/voice{query}"
    validator, params = RequestValidator(token), grouped(pairs)
    assert validator.validate(url, params, sign(token, url, pairs))
    assert verify([token], url, pairs, validator.compute_signature(url, params)) is Verdict.VALID
    assert not validator.validate(url, params, sign(f"{token}x", url, pairs))
    assert verify([f"{token}x"], url, pairs, validator.compute_signature(url, params)) is Verdict.INVALID


@given(params=st.dictionaries(texts.filter(bool), texts, max_size=8))
def test_a_signed_webhook_of_theirs_passes_the_dialect(params: dict[str, str]) -> None:
    url = f"{HOOKS}/status?ref=leg-1"
    headers = {"x-twilio-signature": RequestValidator("secret").compute_signature(url, params)}
    body = urlencode(params).encode()
    assert DIALECT.verify_webhook(SPEC, url, headers, body, 0)[0] is Verdict.VALID


# --- the REST client -------------------------------------------------------------------------------------------------


class Recorder:
    """An HTTP client of theirs that sends nothing."""

    def __init__(self, status: int = 200, body: bytes = b"{}") -> None:
        self.answer = Response(status, body.decode())
        self.asked: list[tuple[str, str, list[tuple[str, str]], tuple[str, str]]] = []

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        assert auth is not None
        query = urlencode(params or {}, doseq=True)
        form = parse_qsl(urlencode(data or {}, doseq=True), keep_blank_values=True)
        self.asked.append((method, url + (f"?{query}" if query else ""), form, auth))
        return self.answer


def asked(use: Callable[[Any], Any], body: bytes = b"{}", status: int = 200) -> tuple[str, str, Counter[Any]]:
    recorder = Recorder(status, body)
    use(Client(ACCOUNT, "secret", http_client=recorder))
    ((method, url, form, auth),) = recorder.asked
    scheme, _, token = DIALECT.authorization(SPEC).partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == ":".join(auth)
    return method, url, Counter(form)


def ours(request: RestRequest | None) -> tuple[str, str, Counter[Any]]:
    assert request is not None
    return request.method, request.url, Counter(parse_form(request.body))


EVENTS = ["initiated", "ringing", "answered", "completed"]
CALL_REPLY = rest_peer.reply_call(CALL, ACCOUNT)


def test_a_call_is_placed_as_theirs() -> None:
    plan = DialPlan("+15550100009", "+15550001234", HOOKS, "a b&c", ring_timeout_s=30, machine_detection=True)
    ref = "ref=a%20b%26c"
    theirs = asked(
        lambda client: client.calls.create(
            to="+15550100009",
            from_="+15550001234",
            url=f"{HOOKS}/voice?{ref}",
            method="POST",
            status_callback=f"{HOOKS}/status?{ref}",
            status_callback_method="POST",
            status_callback_event=EVENTS,
            timeout=30,
            machine_detection="DetectMessageEnd",
            async_amd="true",
            async_amd_status_callback=f"{HOOKS}/amd?{ref}",
            async_amd_status_callback_method="POST",
        ),
        CALL_REPLY,
        201,
    )
    assert ours(DIALECT.dial(LEG, plan)) == theirs


def test_a_consulted_leg_is_dialled_as_theirs() -> None:
    plan = DialPlan("+15550100009", "+15550001234", HOOKS, "r", brief="Hi", language="en", room="room")
    theirs = asked(
        lambda client: client.calls.create(
            to="+15550100009",
            from_="+15550001234",
            twiml=twiml.consult("Hi", "en", "room", f"{HOOKS}/conference?ref=r"),
            status_callback=f"{HOOKS}/status?ref=r",
            status_callback_method="POST",
            status_callback_event=EVENTS,
            timeout=25,
        ),
        CALL_REPLY,
        201,
    )
    assert ours(DIALECT.dial(LEG, plan)) == theirs


def test_a_live_call_is_changed_as_theirs() -> None:
    transfer = TransferPlan("+15550100009", "+15550001234", HOOKS, "r")
    stream = StreamPlan("wss://agent.example.com/ws/1", {"caller": "é"}, PCMU_8K)
    dial = DialPlan("+15550100009", "+15550001234", HOOKS, "r", room="room")
    for request, markup in (
        (
            DIALECT.transfer(LEG, transfer),
            twiml.transfer("+15550100009", f"{HOOKS}/transfer?ref=r", "+15550001234", 25, f"{HOOKS}/status?ref=r"),
        ),
        (DIALECT.restart_stream(LEG, stream), twiml.connect_stream(stream.url, stream.parameters)),
        (DIALECT.join(LEG, LEG, dial), twiml.join_room("room", f"{HOOKS}/transfer?ref=r")),
        (DIALECT.speak(LEG, "Bye", "")[0], twiml.say_and_hang_up("Bye")),
    ):
        theirs = asked(lambda client, markup=markup: client.calls(CALL).update(twiml=markup), CALL_REPLY)
        assert ours(request) == theirs
    theirs = asked(lambda client: client.calls(CALL).update(status="completed"), CALL_REPLY)
    assert ours(DIALECT.hang_up(LEG)) == theirs


def test_a_recording_is_made_as_theirs() -> None:
    reply = rest_peer.reply_recording("RE" + "4" * 32, CALL, ACCOUNT)
    theirs = asked(
        lambda client: client.calls(CALL).recordings.create(
            recording_channels="dual",
            recording_status_callback=f"{HOOKS}/recording",
            recording_status_callback_method="POST",
            recording_status_callback_event=["in-progress", "completed", "absent"],
        ),
        reply,
        201,
    )
    assert ours(DIALECT.record(LEG, RecordingStep.START, HOOKS)) == theirs
    for step, status in (
        (RecordingStep.PAUSE, "paused"),
        (RecordingStep.RESUME, "in-progress"),
        (RecordingStep.STOP, "stopped"),
    ):
        theirs = asked(
            lambda client, status=status: client.calls(CALL).recordings("Twilio.CURRENT").update(status=status), reply
        )
        assert ours(DIALECT.record(LEG, step, HOOKS)) == theirs


def test_a_number_is_found_and_changed_as_theirs() -> None:
    number = rest_peer.reply_number(NUMBER, "+15550001234")
    recorder = Recorder(200, rest_peer.reply_numbers([number]))
    client: Any = Client(ACCOUNT, "secret", http_client=recorder)
    (found,) = client.incoming_phone_numbers.list(phone_number="+15550001234")
    assert found.sid == NUMBER
    assert found.phone_number == "+15550001234"
    (method, url, form, _) = recorder.asked[0]
    request = DIALECT.find_hook(SPEC, "+15550001234")
    assert request is not None
    assert (method, form, urlsplit(url).path) == ("GET", [], urlsplit(request.url).path)
    assert set(parse_qsl(urlsplit(request.url).query)) <= set(parse_qsl(urlsplit(url).query))  # theirs may ask in pages

    place = HookPlace(NUMBER, "https://old.example/", method="GET")
    theirs = asked(
        lambda client: client.incoming_phone_numbers(NUMBER).update(voice_url=f"{HOOKS}/voice", voice_method="POST"),
        number,
    )
    assert ours(DIALECT.set_hook(SPEC, place, f"{HOOKS}/voice")) == theirs


def test_another_region_is_addressed_as_theirs() -> None:
    recorder = Recorder(200, CALL_REPLY)
    client: Any = Client(ACCOUNT, "secret", region="ie1", edge="dublin", http_client=recorder)
    client.calls(CALL).update(status="completed")
    leg = Leg(ACCOUNT, "https://api.dublin.ie1.twilio.com", CALL)
    assert DIALECT.hang_up(leg).url == recorder.asked[0][1]


# --- the simulated carrier's answers, read by their client -----------------------------------------------------------


def test_their_client_reads_our_answers() -> None:
    client: Any = Client(ACCOUNT, "secret", http_client=Recorder(201, CALL_REPLY))
    call = client.calls.create(to="+15550100009", from_="+15550001234", url="https://a.example/")
    assert (call.sid, call.status, call.account_sid) == (CALL, "queued", ACCOUNT)
    client = Client(ACCOUNT, "secret", http_client=Recorder(200, rest_peer.reply_completed(CALL, ACCOUNT)))
    assert client.calls(CALL).update(status="completed").status == "completed"
    client = Client(ACCOUNT, "secret", http_client=Recorder(201, rest_peer.reply_recording("RE1", CALL, ACCOUNT)))
    recording = client.calls(CALL).recordings.create()
    assert (recording.sid, recording.call_sid, recording.status, recording.channels) == ("RE1", CALL, "in-progress", 2)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, rest_peer.reply_not_found(CALL, ACCOUNT), 20404),
        (400, rest_peer.reply_not_in_progress(), 21220),
        (401, rest_peer.reply_unauthorized(), 20003),
        (429, rest_peer.reply_too_many(), 20429),
    ],
)
def test_their_client_reads_our_errors(status: int, body: bytes, code: int) -> None:
    client: Any = Client(ACCOUNT, "secret", http_client=Recorder(status, body))
    with pytest.raises(TwilioRestException) as caught:
        client.calls(CALL).update(status="completed")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert DIALECT.problem(status, body) == f"HTTP {status}, {code}, {caught.value.msg.partition(': ')[2]}"


def test_the_simulated_carrier_understands_their_client() -> None:
    recorder = Recorder(201, CALL_REPLY)
    client: Any = Client(ACCOUNT, "secret", http_client=recorder)
    client.calls.create(to="+15550100009", from_="+15550001234", twiml="<Response/>", timeout=7)
    client.calls(CALL).update(status="canceled")
    client.calls(CALL).update(twiml="<Response/>")
    client.calls(CALL).recordings.create(recording_channels="mono")
    found = [
        rest_peer.read_request(method, url.removeprefix("https://api.twilio.com"), encode_form(form))
        for method, url, form, _ in recorder.asked
    ]
    assert found == [
        rest_peer.DialWanted("+15550100009", "+15550001234", "", "<Response/>", "", ("completed",), 7),
        rest_peer.HangUpWanted(CALL),
        rest_peer.UpdateTwiml(CALL, "<Response/>"),
        rest_peer.RecordingWanted(CALL, RecordingStep.START, events=("completed",)),
    ]
