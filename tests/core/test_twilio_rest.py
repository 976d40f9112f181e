"""The Calls API beyond its vectors: long texts, hostile answers, both ends together."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.carriers.carrier import RestOutcome
from patter_core.carriers.form import parse_form
from patter_core.carriers.twilio import rest
from patter_core.carriers.twilio.twiml import MAX_INLINE, Hangup, Say, read_twiml

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
    assert rest.read_request(request.method, path_of(request.url), request.body) == rest.HangUpWanted(call)


@given(text=st.one_of(st.text(max_size=100), st.text(max_size=20).map(lambda text: text * 600)))
@example(text="&" * 5000)
@example(text="word " * 3000)
@example(text="x" * 20_000)
@example(text='"<>&' * 4000)
def test_last_words_always_fit_and_end_in_a_hang_up(text: str) -> None:
    request = rest.say_and_hang_up(ACCOUNT, CALL, text, "de")
    order = rest.read_request(request.method, path_of(request.url), request.body)
    assert isinstance(order, rest.UpdateTwiml)
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
@example(status=400, body=b'{"code":null}')
def test_no_answer_raises(status: int, body: bytes) -> None:
    found = rest.outcome(status, body)
    assert (found is RestOutcome.DONE) is (200 <= status < 300)


@given(method=st.sampled_from(["POST", "GET", "DELETE"]), path=st.text(max_size=60), body=st.binary(max_size=60))
@example(method="POST", path=f"/2010-04-01/Accounts/{ACCOUNT}/Calls/%ff.json", body=b"Status=completed")
@example(method="POST", path=f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json", body=b"&" * 5000)
def test_no_request_raises(method: str, path: str, body: bytes) -> None:
    rest.read_request(method, path, body)


def test_replies_say_what_the_outcome_reads() -> None:
    assert rest.outcome(200, rest.reply_completed(CALL, ACCOUNT)) is RestOutcome.DONE
    assert json.loads(rest.reply_completed(CALL, ACCOUNT))["sid"] == CALL
    gone = rest.reply_not_found(CALL, ACCOUNT)
    assert rest.outcome(404, gone) is RestOutcome.ALREADY_ENDED
    assert json.loads(gone) == {
        "code": 20404,
        "message": f"The requested resource /2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json was not found",
        "more_info": "https://www.twilio.com/docs/errors/20404",
        "status": 404,
    }
