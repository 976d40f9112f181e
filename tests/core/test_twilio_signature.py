"""What the signature vectors cannot say: properties over all inputs, and the spellings one by one."""

from __future__ import annotations

import hmac
import inspect

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patter_core.carriers.carrier import Verdict
from patter_core.carriers.twilio import signature
from patter_core.carriers.twilio.signature import sign, spellings, upgrade_spellings, verify, verify_upgrade

TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://agent.example.com/webhooks/twilio/voice?x=1"

texts = st.text(max_size=30)
params = st.lists(st.tuples(texts, texts), max_size=8)
# What a reader of HTTP can hand us: any text at all.
junk = st.text(st.characters(exclude_categories=()), max_size=60)
paths = st.text(st.characters(codec="ascii", exclude_characters="#?", categories=["L", "N", "P"]), max_size=30)
urls = st.builds("https://{}/{}".format, st.sampled_from(["a.example", "A.Example:8443", "u:p@a.example"]), paths)


@given(token=st.text(min_size=1, max_size=40), url=urls, params=params)
def test_what_is_signed_verifies(token: str, url: str, params: list[tuple[str, str]]) -> None:
    made = sign(token, url, params)
    assert verify([token], url, params, made) is Verdict.VALID
    assert verify(["other", token], url, params[::-1], [made]) is Verdict.VALID
    assert verify([token + "x"], url, params, made) is Verdict.INVALID


@given(params=params, position=st.integers(0, 27), letter=st.characters(codec="ascii"))
def test_any_change_of_the_signature_is_a_forgery(params: list[tuple[str, str]], position: int, letter: str) -> None:
    made = sign(TOKEN, URL, params)
    changed = made[:position] + letter + made[position + 1 :]
    assert verify([TOKEN], URL, params, changed) is (Verdict.VALID if changed == made else Verdict.INVALID)


@given(data=st.data())
def test_any_change_of_a_value_is_a_forgery(data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.tuples(texts, st.text(min_size=1, max_size=20)), min_size=1, max_size=6))
    made = sign(TOKEN, URL, fields)
    index = data.draw(st.integers(0, len(fields) - 1))
    name, value = fields[index]
    at = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.characters())
    changed = [*fields]
    changed[index] = (name, value[:at] + letter + value[at + 1 :])

    def signed(pairs: list[tuple[str, str]]) -> str:
        return "".join(n + v for n, v in sorted(set(pairs)))

    # Nothing separates names from values under Twilio's signature, so a few changes give the very same text.
    same = signed(changed) == signed(fields)
    assert verify([TOKEN], URL, changed, made) is (Verdict.VALID if same else Verdict.INVALID)


@given(path=paths, position=st.integers(0, 60), letter=st.characters(codec="ascii"))
def test_any_change_of_the_url_is_a_forgery(path: str, position: int, letter: str) -> None:
    url = f"https://agent.example.com/{path}"
    changed = url[:position] + letter + url[position + 1 :]
    expected = Verdict.VALID if url in spellings(changed) else Verdict.INVALID
    assert verify([TOKEN], changed, [], sign(TOKEN, url)) is expected


@given(tokens=st.lists(junk, max_size=3), url=junk, params=st.lists(st.tuples(junk, junk), max_size=3), given=junk)
@example(tokens=["t"], url="https://", params=[], given="\ud800")
@example(tokens=["\ud800"], url="://@:#?", params=[("\ud800", "\ud800")], given="x")
def test_nothing_a_peer_sends_raises(tokens: list[str], url: str, params: list[tuple[str, str]], given: str) -> None:
    assert verify(tokens, url, params, given) is not Verdict.VALID
    assert verify(tokens, url, [], given, b"\xff") is not Verdict.VALID
    assert verify_upgrade(tokens, url, given) is not Verdict.VALID


@given(url=st.one_of(junk, urls, st.from_regex(r"\A(https|wss|http|ws)://[a-zA-Z.@:\[\]0-9/?'#%]{0,30}\Z")))
def test_spellings_are_few_distinct_and_start_with_ours(url: str) -> None:
    for made, most in ((spellings(url), 24), (upgrade_spellings(url), 50)):
        assert made[0] == url.partition("#")[0]
        assert len(set(made)) == len(made) <= most
        assert not any("#" in one for one in made)


def test_webhook_spellings_one_by_one() -> None:
    assert spellings("https://a.example/x") == ("https://a.example/x", "https://a.example:443/x")
    assert spellings("http://a.example:80/x#f") == ("http://a.example:80/x", "http://a.example/x")
    assert set(spellings("https://u:p@A.example:1/x?'")) == {
        f"https://{user}{host}{port}/x?{quote}"
        for user in ("u:p@", "")
        for host in ("A.example", "a.example")
        for port in (":1", "")
        for quote in ("'", "%27")
    }


def test_upgrade_spellings_in_the_documented_order() -> None:
    made = upgrade_spellings("wss://a.example/s/1")
    assert made[:3] == ("wss://a.example/s/1", "wss://a.example/s/1/", "wss://a.example:443/s/1")
    assert set(made[4:]) == {f"https://a.example{port}/s/1{slash}" for port in ("", ":443") for slash in ("", "/")}
    assert all(one.startswith(("wss:", "https:")) for one in made)


def test_every_token_is_tried_over_every_spelling_whatever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    real = hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        nonlocal compared
        compared += 1
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    url, tokens = "https://u@a.example:8443/x", ["one", "two", "three"]
    expected = len(tokens) * len(spellings(url))
    for right in (sign("one", url), sign("three", url), "forged"):
        compared = 0
        verify(tokens, url, [], right)
        assert compared == expected


def test_the_module_never_compares_signatures_with_equals() -> None:
    source = inspect.getsource(signature._judge) + inspect.getsource(verify)
    assert "==" not in source


def test_verdict_without_key_comes_before_everything_else() -> None:
    assert verify([], URL, [], None) is Verdict.NO_KEY
    assert verify([""], URL, [], "x", b"{}") is Verdict.NO_KEY
    assert verify_upgrade([], "wss://a.example", None) is Verdict.NO_KEY


def test_only_valid_is_true():
    form = [("CallSid", "CA1")]
    assert bool(verify(["t"], "https://x.example.com/", form, sign("t", "https://x.example.com/", form)))
    assert not any(bool(verdict) for verdict in Verdict if verdict is not Verdict.VALID)


def test_one_token_may_be_given_as_text():
    url, form = "https://x.example.com/", {"CallSid": "CA1", "From": "+1"}
    assert verify("secret", url, form, sign("secret", url, form)) is Verdict.VALID
    assert verify("secret", url, form, sign("s", url, form)) is Verdict.INVALID  # a letter of it is not a token
    assert verify("", url, form, sign("", url, form)) is Verdict.NO_KEY
