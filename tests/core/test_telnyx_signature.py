"""Telnyx's webhook proof beyond its vectors: all inputs, the configured keys, the official library, the options."""

from __future__ import annotations

import time
from base64 import b64encode
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st
from telnyx.lib import webhook_verification as theirs

from patter_core.carriers.carrier import Verdict
from patter_core.carriers.telnyx.options import Telnyx
from patter_core.carriers.telnyx.signature import SIGNATURE, TIMESTAMP, check_key, public_key, sign, verify
from patter_core.errors import ConfigError

SEED = bytes(range(32))
KEY = public_key(SEED)
NOW = 1_779_233_415
BODY = b'{"data":{"id":"1"}}'

# What a reader of HTTP can hand us: any text at all.
junk = st.text(st.characters(exclude_categories=()), max_size=100)


def genuine(body: bytes = BODY, at: int = NOW) -> tuple[str, str]:
    return str(at), sign(SEED, str(at), body)


@given(body=st.binary(max_size=300), at=st.integers(0, 10**12), age=st.integers(-300, 300), seed=st.binary(min_size=32))
def test_what_is_signed_verifies(body: bytes, at: int, age: int, seed: bytes) -> None:
    seed = seed[:32]
    made = sign(seed, str(at), body)
    assert verify([KEY, public_key(seed)], str(at), made, body, at + age) == (Verdict.VALID, "")
    verdict, why = verify([public_key(seed)], str(at), made, body + b"x", at + age)
    assert (verdict, why) == (Verdict.INVALID, "no key makes this signature")


@given(position=st.integers(0, 87), letter=st.characters(codec="ascii"))
def test_any_change_of_the_signature_is_a_forgery(position: int, letter: str) -> None:
    at, made = genuine()
    changed = made[:position] + letter + made[position + 1 :]
    expected = Verdict.VALID if changed == made else Verdict.INVALID
    assert verify([KEY], at, changed, BODY, NOW)[0] is expected


@given(
    keys=st.lists(st.one_of(junk, st.just(KEY)), max_size=3),
    at=st.one_of(st.none(), junk, st.just(str(NOW))),
    made=st.one_of(st.none(), junk, st.binary(max_size=70).map(lambda raw: b64encode(raw).decode())),
    body=st.binary(max_size=20),
    now=st.integers(-(10**20), 10**20),
)
@example(keys=[KEY], at="\ud800", made="\ud800", body=b"", now=0)
@example(keys=["\ud800"], at="1", made="A" * 88, body=b"", now=0)
def test_nothing_raises_and_nothing_foreign_passes(
    keys: list[str], at: str | None, made: str | None, body: bytes, now: int
) -> None:
    verdict, why = verify(keys, at, made, body, now)
    assert not verdict
    assert isinstance(why, str)


def test_the_measured_skew_is_named() -> None:
    at, made = genuine()
    assert "301 s ago" in verify([KEY], at, made, BODY, NOW + 301)[1]
    assert "4000 s ahead" in verify([KEY], at, made, BODY, NOW - 4000)[1]


def test_a_forgery_does_not_choose_the_skew_in_the_log() -> None:
    _, made = genuine()
    verdict, why = verify([KEY], "12345", made, BODY, NOW)
    assert verdict is Verdict.INVALID
    assert "12345" not in why
    assert " s ago" not in why


def test_the_window_is_a_setting() -> None:
    at, made = genuine()
    assert verify([KEY], at, made, BODY, NOW + 11, max_age_s=10)[0] is Verdict.INVALID
    assert verify([KEY], at, made, BODY, NOW + 10, max_age_s=10)[0] is Verdict.VALID
    assert verify([KEY], at, made, BODY, NOW - 301, future_s=301)[0] is Verdict.VALID


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----", "PEM"),
        ("not base64!", "not base64"),
        (KEY.rstrip("="), "not base64"),
        (b64encode(bytes(range(31))).decode(), "31 bytes"),
        (b64encode(bytes(range(64))).decode(), "64 bytes"),
        (b64encode(bytes(32)).decode(), "anybody"),
        ("\ud800", "not base64"),
    ],
)
def test_a_bad_key_says_what_to_do(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as caught:
        check_key(text)
    assert "Mission Control" in str(caught.value)
    assert verify([text], *genuine(), BODY, NOW)[0] is Verdict.NO_KEY


def test_a_key_may_be_raw_or_der() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    raw = key.public_bytes_raw()
    der = b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    assert check_key(KEY) == check_key(der) == check_key(f" {der[:20]}\r\n{der[20:]} ") == raw


def test_why_weak_keys_are_refused() -> None:
    # Under the neutral point, one and the same signature verifies for any message.
    neutral = b"\x01" + bytes(31)
    for message in (b"one", b"another"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), message)
    with pytest.raises(ValueError, match="anybody"):
        check_key(b64encode(neutral).decode())


# --- the official library --------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(time=lambda: NOW + 0.5)
    monkeypatch.setattr(theirs, "time", now)
    assert time.time() != NOW + 0.5
    return now


def accepted_by_them(body: bytes, at: str, made: str) -> bool:
    try:
        theirs.verify_webhook_signature(body, {SIGNATURE.title(): made, TIMESTAMP.title(): at}, KEY)
    except theirs.WebhookVerificationError:
        return False
    return True


@pytest.mark.parametrize("body", [BODY, b"", "héllo €".encode(), b"a|b"])
def test_our_signatures_verify_with_theirs(clock: SimpleNamespace, body: bytes) -> None:
    at, made = genuine(body)
    assert accepted_by_them(body, at, made)
    assert not accepted_by_them(body + b" ", at, made)


@pytest.mark.parametrize("age", [-301, -300, -299, 0, 299, 300, 301])
def test_the_window_has_their_edges(clock: SimpleNamespace, age: int) -> None:
    at, made = genuine(at=NOW - age)
    assert accepted_by_them(BODY, at, made) is bool(verify([KEY], at, made, BODY, NOW)[0])


def test_signatures_made_as_they_describe_verify_with_ours() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    made = b64encode(key.sign(f"{NOW}|{BODY.decode()}".encode())).decode()
    assert verify([KEY], str(NOW), made, BODY, NOW)[0] is Verdict.VALID


# --- the options -----------------------------------------------------------------------------------------------------


def test_options_check_the_key_at_once() -> None:
    with pytest.raises(ConfigError, match=r"TELNYX_PUBLIC_KEY.*31 bytes.*Mission Control"):
        Telnyx(api_key="k", public_key=b64encode(bytes(31)).decode()).resolve({}, [])
    missing: list[str] = []
    environ = {"TELNYX_API_KEY": "k", "TELNYX_PUBLIC_KEY": f"{KEY}, {KEY}", "TELNYX_CONNECTION_ID": "12"}
    spec = Telnyx(future_tolerance_s=30, l16_byte_order="big").resolve(environ, missing)
    assert (spec.keys, spec.account, spec.api_key, missing) == ((KEY, KEY), "12", "k", [])
    assert spec.options == {"l16": "big", "future_s": "30"}
    assert "sekrit" not in repr(Telnyx(api_key="sekrit"))


def test_options_name_everything_that_is_missing() -> None:
    missing: list[str] = []
    Telnyx().resolve({}, missing)
    assert [text.split()[0] for text in missing] == ["TELNYX_API_KEY", "TELNYX_PUBLIC_KEY"]
    missing.clear()
    Telnyx(api_key="k").resolve({}, missing, need_key=False)
    assert missing == []


@pytest.mark.parametrize("odd", [{"l16_byte_order": "LE"}, {"future_tolerance_s": -1}, {"future_tolerance_s": True}])
def test_options_refuse_what_they_cannot_mean(odd: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Telnyx(**odd)  # type: ignore[arg-type]
