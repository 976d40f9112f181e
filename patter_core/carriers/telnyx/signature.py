"""Telnyx's proof that a webhook is Telnyx's: ``telnyx-signature-ed25519`` and ``telnyx-timestamp``.

An Ed25519 signature over ``<timestamp header's text>|<raw body>``, base64, 64 bytes. Source: developers.telnyx.com
(receiving webhooks) and the official libraries. JSON webhooks and TeXML's forms are signed alike.

The body is bytes and stays bytes: whoever decodes it first rejects what is not UTF-8 with an exception. The
timestamp's *text* is signed, so it is never printed again from a number.

The official libraries decode base64 leniently (``sig,sig`` passes in one) and read a timestamp leniently (``abc`` skips
the window in another). Here both are strict.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from patter_core.carriers.carrier import Verdict

__all__ = ["MAX_AGE_S", "MAX_AHEAD_S", "SIGNATURE", "TIMESTAMP", "check_key", "public_key", "sign", "verify"]

SIGNATURE = "telnyx-signature-ed25519"
TIMESTAMP = "telnyx-timestamp"
"""The headers' names in lower case; real requests show them in both cases."""

MAX_AGE_S = 300
"""What the official libraries allow: exactly this old passes, a second more does not."""

MAX_AHEAD_S = 300
"""How far ahead of our clock a timestamp may be. As many seconds as it may be old, as in the official libraries."""

_SECONDS = re.compile(r"[0-9]{1,15}")
_SPKI = bytes.fromhex("302a300506032b6570032100")
_ADVICE = (
    "a Telnyx public key is the base64 text of 32 bytes, as Mission Control shows it under Keys & Credentials "
    "(Public Key); DER (SubjectPublicKeyInfo) in base64 will do too"
)
# Points of small order: with one of these as the key anybody can sign anything. The sign bit is not compared.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def check_key(text: str) -> bytes:
    """The 32 bytes of a configured public key. ``ValueError`` says what is wrong with it and where to find it."""
    compact = "".join(text.split())
    if not compact:
        raise ValueError(f"the public key is empty; {_ADVICE}")
    if compact.startswith("-----BEGIN"):
        raise ValueError(f"the public key is a PEM file; {_ADVICE}: give only the text between its two lines")
    raw = _strict_base64(compact)
    if raw is None:
        raise ValueError(f"the public key is not base64; {_ADVICE}")
    if len(raw) == len(_SPKI) + 32 and raw.startswith(_SPKI):
        raw = raw[len(_SPKI) :]
    if len(raw) != 32:
        raise ValueError(f"the public key has {len(raw)} bytes; {_ADVICE}")
    if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER:
        raise ValueError(f"the public key would accept anybody's signature; {_ADVICE}")
    return raw


def verify(
    keys: Sequence[str],
    timestamp: str | None,
    signature: str | None,
    body: bytes,
    unix_s: int,
    future_s: int = MAX_AHEAD_S,
    max_age_s: int = MAX_AGE_S,
) -> tuple[Verdict, str]:
    """Judge a webhook received at ``unix_s``. Any of ``keys`` may match, so that one can be replaced.

    The text is for the log: why not. A genuine webhook outside the window names the measured skew, because nine times
    of ten it is a clock that is wrong. The signature is checked first: the skew of a forgery is the forger's choice.
    """
    usable = _usable(keys)
    if not usable:
        return Verdict.NO_KEY, "no usable Telnyx public key is configured" if keys else ""
    if not timestamp or not signature:
        return Verdict.MISSING, f"no {SIGNATURE if timestamp else TIMESTAMP} header"
    if _SECONDS.fullmatch(timestamp) is None:
        return Verdict.INVALID, f"{TIMESTAMP} is not a whole number of seconds"
    made = _strict_base64(signature)
    if made is None or len(made) != 64:
        return Verdict.INVALID, f"{SIGNATURE} is not 64 bytes in base64"
    message = timestamp.encode("ascii") + b"|" + body
    good = False
    for key in usable:
        good |= _matches(key, made, message)
    if not good:
        return Verdict.INVALID, "no key makes this signature"
    age = unix_s - int(timestamp)
    if age > max_age_s:
        return Verdict.INVALID, f"signed {age} s ago by our clock, {max_age_s} s are allowed: is the clock right?"
    if -age > future_s:
        return Verdict.INVALID, f"signed {-age} s ahead of our clock, {future_s} s are allowed: is the clock right?"
    return Verdict.VALID, ""


def sign(seed: bytes, timestamp: str, body: bytes) -> str:
    """Telnyx's half, for the simulator: the header's text. ``seed`` is the private key's 32 bytes."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return b64encode(key.sign(timestamp.encode("utf-8", "surrogatepass") + b"|" + body)).decode("ascii")


def public_key(seed: bytes) -> str:
    """The public key that goes with a private one, as the portal would show it."""
    return b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode("ascii")


def _usable(keys: Sequence[str]) -> list[bytes]:
    usable = []
    for text in keys:
        try:
            usable.append(check_key(text))
        except ValueError:
            continue  # said loudly when the options were resolved; here it must not open the door
    return usable


def _matches(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _strict_base64(text: str) -> bytes | None:
    """Exactly what an encoder writes, else None: one text per value, nothing before, between or after."""
    try:
        raw = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, ValueError):
        return None
    return raw if b64encode(raw).decode("ascii") == text else None
