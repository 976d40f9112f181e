"""The Calls API beyond its vectors: long texts, hostile answers, both ends together."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.carriers.carrier import DialPlan, HookPlace, RecordingStep, RestOutcome
from patter_core.carriers.form import parse_form
from patter_core.carriers.twilio import rest, rest_peer
from patter_core.carriers.twilio.twiml import MAX_INLINE, Conference, Dial, Hangup, Say, read_twiml
from patter_core.carriers.twilio.webhook import read_ref

ACCOUNT, CALL = "AC" + "1" * 32, "CA" + "2" * 32


def path_of(url: str) -> str:
    assert url.startswith(rest.BASE_URL)
    return url.removeprefix(rest.BASE_URL)


def test_hang_up_is_one_small_form_without_any_secret() -> None:
    request = rest.hang_up(ACCOUNT, CALL)
    assert request.method == "POST"
    assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json"
    assert request.body == b"Status=completed"
    assert dict(request.headers)["content-type"] == "application/x-www-form-urlencoded"
    assert request.auth == "twilio"


@given(call=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_hang_up_is_understood_by_the_other_side(call: str) -> None:
    request = rest.hang_up(ACCOUNT, call)
    assert rest_peer.read_request(request.method, path_of(request.url), request.body) == rest_peer.HangUpWanted(call)


@given(text=st.one_of(st.text(max_size=100), st.text(max_size=20).map(lambda text: text * 600)))
@example(text="&" * 5000)
@example(text="word " * 3000)
@example(text="x" * 20_000)
@example(text='"<>&' * 4000)
def test_last_words_always_fit_and_end_in_a_hang_up(text: str) -> None:
    request = rest.say_and_hang_up(ACCOUNT, CALL, text, "de")
    order = rest_peer.read_request(request.method, path_of(request.url), request.body)
    assert isinstance(order, rest_peer.UpdateTwiml)
    assert order.call_sid == CALL
    assert len(order.twiml) <= MAX_INLINE
    say, end = read_twiml(order.twiml)
    assert isinstance(say, Say)
    assert say.language == "de-DE"
    assert end == Hangup()


def test_last_words_are_cut_late_and_at_a_word() -> None:
    request = rest.say_and_hang_up(ACCOUNT, CALL, "word " * 3000)
    twiml = dict(parse_form(request.body))["Twiml"]
    assert MAX_INLINE - 60 < len(twiml) <= MAX_INLINE
    say = read_twiml(twiml)[0]
    assert isinstance(say, Say)
    assert say.text.endswith("word")
    short = "a sentence that fits"
    assert f"<Say>{short}</Say>" in dict(parse_form(rest.say_and_hang_up(ACCOUNT, CALL, short).body))["Twiml"]


def test_markup_that_is_too_long_is_our_own_mistake() -> None:
    rest.update_twiml(ACCOUNT, CALL, "x" * MAX_INLINE)
    with pytest.raises(ValueError, match="4000"):
        rest.update_twiml(ACCOUNT, CALL, "x" * (MAX_INLINE + 1))


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
@example(status=400, body=b"[" * 100_000)
@example(status=400, body=b'{"code":' + b"9" * 5000 + b"}")
@example(status=400, body=b'{"code":null,"message":null}')
@example(status=200, body=b'{"sid":null,"incoming_phone_numbers":[[[]]]}')
def test_no_answer_raises(status: int, body: bytes) -> None:
    found = rest.outcome(status, body)
    assert (found is RestOutcome.DONE) is (200 <= status < 300)
    assert rest.made(status, body) == ""
    assert rest.problem(status, body).startswith(f"HTTP {status}")
    assert isinstance(rest.read_number(status, body, "+15550001234"), str)


@given(method=st.sampled_from(["POST", "GET", "DELETE"]), path=st.text(max_size=60), body=st.binary(max_size=60))
@example(method="POST", path=f"/2010-04-01/Accounts/{ACCOUNT}/Calls/%ff.json", body=b"Status=completed")
@example(method="POST", path=f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json", body=b"&" * 5000)
@example(method="GET", path=f"/2010-04-01/Accounts/{ACCOUNT}/IncomingPhoneNumbers.json?\ud800&" + "&" * 5000, body=b"")
@example(method="POST", path=f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json", body=b"To=1&From=2&Url=x&Timeout=\xd9\xa3")
def test_no_request_raises(method: str, path: str, body: bytes) -> None:
    rest_peer.read_request(method, path, body)


def test_replies_say_what_the_outcome_reads() -> None:
    assert rest.outcome(200, rest_peer.reply_completed(CALL, ACCOUNT)) is RestOutcome.DONE
    assert json.loads(rest_peer.reply_completed(CALL, ACCOUNT))["sid"] == CALL
    gone = rest_peer.reply_not_found(CALL, ACCOUNT)
    assert rest.outcome(404, gone) is RestOutcome.ALREADY_ENDED
    assert json.loads(gone) == {
        "code": 20404,
        "message": f"The requested resource /2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json was not found",
        "more_info": "https://www.twilio.com/docs/errors/20404",
        "status": 404,
    }


# --- placing calls ---------------------------------------------------------------------------------------------------

HOOKS = "https://agent.example.com/webhooks/twilio"
PLAN = DialPlan("+15550100009", "+15550001234", HOOKS, "leg-1", brief="hello", language="de", room="room")


@given(text=st.one_of(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=20).map(lambda text: text * 500)))
@example(text="&" * 5000)
@example(text="word " * 3000)
def test_a_brief_always_fits_and_ends_in_the_room(text: str) -> None:
    request = rest.dial(ACCOUNT, msgspec.structs.replace(PLAN, brief=text))
    order = rest_peer.read_request("POST", path_of(request.url), request.body)
    assert isinstance(order, rest_peer.DialWanted)
    assert order.url == ""
    assert len(order.twiml) <= MAX_INLINE
    say, dial = read_twiml(order.twiml)
    assert isinstance(say, Say)
    assert isinstance(dial, Dial)
    room = Conference("room", False, True, False, f"{HOOKS}/conference?ref=leg-1", ("start", "end", "join", "leave"))
    assert dial == Dial(room)


def test_a_long_brief_is_cut_late_and_at_a_word() -> None:
    request = rest.dial(ACCOUNT, msgspec.structs.replace(PLAN, brief="word " * 3000))
    twiml = dict(parse_form(request.body))["Twiml"]
    assert MAX_INLINE - 60 < len(twiml) <= MAX_INLINE
    say = read_twiml(twiml)[0]
    assert isinstance(say, Say)
    assert say.text.endswith("word")


def test_addresses_too_long_for_a_request_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="4000"):
        rest.dial(ACCOUNT, msgspec.structs.replace(PLAN, webhooks="https://" + "x" * MAX_INLINE))


@given(ref=st.text(max_size=40))
@example(ref="a&To=+1900#?/%41 é")
def test_a_name_survives_the_url_it_travels_in(ref: str) -> None:
    try:
        request = rest.dial(ACCOUNT, msgspec.structs.replace(PLAN, brief="", ref=ref))
    except UnicodeEncodeError:
        assert not ref.isprintable()  # a lone surrogate: no name of ours has one
        return
    order = rest_peer.read_request("POST", path_of(request.url), request.body)
    assert isinstance(order, rest_peer.DialWanted)
    assert order.to == "+15550100009"
    assert read_ref(order.url.partition("?")[2]) == (ref if ref.isprintable() else "")


def test_every_request_is_authorized_by_name_and_asks_for_json() -> None:
    place = HookPlace("PN1", "https://a.example/")
    requests = [
        rest.dial(ACCOUNT, PLAN),
        rest.hang_up(ACCOUNT, CALL),
        rest.stream(ACCOUNT, CALL, "wss://a.example/s", {}),
        *(rest.record(ACCOUNT, CALL, step, HOOKS) for step in RecordingStep),
        rest.find_number(ACCOUNT, "+15550001234"),
        rest.set_number(ACCOUNT, place, "https://b.example/"),
    ]
    for request in requests:
        assert request.auth == "twilio"
        assert dict(request.headers)["accept"] == "application/json"
        assert (request.method == "GET") == (request.body == b"")
        assert rest_peer.read_request(request.method, path_of(request.url), request.body) is not None


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_problem_is_short_on_one_line_and_without_numbers() -> None:
    message = "The 'To' number +1 (555) 010-0009\nis not valid for AC" + "1" * 32 + ", see 21211. " + "x" * 500
    text = rest.problem(400, rest_peer.reply_problem(400, 21211, message))
    assert text.startswith("HTTP 400, 21211, The 'To' number +1 (5**) ***-**09 is not valid for AC1111")
    assert len(text) < 230
    assert text.isprintable()
    assert rest.problem(502, b"<html>") == "HTTP 502"
    for number in ("+15550100009", "sip:15550100009@x", "/tel/15550100009", "To+15550100009", "(555) 010-0009"):
        shown = rest.problem(400, rest_peer.reply_problem(400, 21211, f"{number}: no"))
        assert "0100009" not in shown
        assert "010-0009" not in shown
        assert shown.endswith("09: no") or "09@x" in shown
    assert rest.problem(401, rest_peer.reply_unauthorized()) == "HTTP 401, 20003, Authenticate"


def test_error_replies_are_what_the_outcome_reads() -> None:
    assert rest.outcome(429, rest_peer.reply_too_many()) is RestOutcome.RETRY
    assert rest.outcome(400, rest_peer.reply_not_in_progress()) is RestOutcome.ALREADY_ENDED
    assert rest.outcome(401, rest_peer.reply_unauthorized()) is RestOutcome.UNAUTHORIZED
    assert rest.outcome(400, rest_peer.reply_problem(400, 21211, "no")) is RestOutcome.REFUSED
    for status, body in ((429, rest_peer.reply_too_many()), (404, rest_peer.reply_not_found(CALL))):
        assert json.loads(body)["status"] == status


def test_what_a_reply_makes_is_named() -> None:
    recording = "RE" + "3" * 32
    assert rest.made(201, rest_peer.reply_call(CALL, ACCOUNT)) == CALL
    assert rest.made(201, rest_peer.reply_recording(recording, CALL, ACCOUNT)) == recording
    assert rest.made(404, rest_peer.reply_call(CALL, ACCOUNT)) == ""


def test_a_number_survives_being_read_changed_and_put_back() -> None:
    number = "+15550001234"
    listed = rest_peer.reply_numbers([rest_peer.reply_number("PN1", number, "https://old.example/", "GET")])
    place = rest.read_number(200, listed, number)
    assert place == HookPlace("PN1", "https://old.example/", "", "GET", "")
    ours = rest.set_number(ACCOUNT, place, f"{HOOKS}/voice")
    wanted = rest_peer.NumberUpdateWanted("PN1", f"{HOOKS}/voice", "POST")
    assert rest_peer.read_request("POST", path_of(ours.url), ours.body) == wanted
    back = rest.set_number(ACCOUNT, place, place.url)
    wanted = rest_peer.NumberUpdateWanted("PN1", "https://old.example/", "GET")
    assert rest_peer.read_request("POST", path_of(back.url), back.body) == wanted


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, rest_peer.reply_unauthorized(), "TWILIO_AUTH_TOKEN"),
        (429, rest_peer.reply_too_many(), "try again"),
        (500, b"", "try again"),
        (404, b"", "by hand"),
        (200, b"[]", "by hand"),
        (200, rest_peer.reply_numbers([]), "E.164"),
    ],
)
def test_what_is_wrong_with_a_number_says_what_to_do(status: int, body: bytes, advice: str) -> None:
    found = rest.read_number(status, body, "+15550001234")
    assert isinstance(found, str)
    assert advice in found
    assert "5550001" not in found
