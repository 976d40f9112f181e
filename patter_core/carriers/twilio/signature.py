"""Twilio's proof that a request is Twilio's: ``X-Twilio-Signature``.

``base64(HMAC-SHA1(auth token, URL + every form field's name and value))``, names sorted by code point, a repeated
name's values deduplicated and sorted. Source: twilio.com/docs/usage/security and the official libraries.

The URL is the one Twilio was configured with, as text. Which spelling of it Twilio signed is not always certain (it
drops ports and credentials on some products), so a *list* of spellings is tried. They are all spellings of the one
public URL that the operator configured: never rebuild it from ``Host`` or forwarded headers.

Every token is tried over every spelling and all comparisons are made, in constant time each, whatever the outcome.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from patter_core.carriers.carrier import Verdict

__all__ = ["HEADER", "sign", "spellings", "upgrade_spellings", "verify", "verify_upgrade"]

Params: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""A form's decoded fields: pairs, or a mapping where no name is repeated."""

HEADER = "x-twilio-signature"
"""The header's name, lower-case as it arrives on a WebSocket upgrade."""

_URL = re.compile(
    r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(?:([^/?#]*)@)?(\[[^\]/?#]*\]|[^/?#@:\[\]]*)(?::([0-9]*))?([/?].*)?"
)
_DEFAULT_PORTS = {"https": "443", "wss": "443", "http": "80", "ws": "80"}
_SIBLINGS = {"wss": "https", "https": "wss", "ws": "http", "http": "ws"}


def sign(token: str, url: str, params: Params = ()) -> str:
    """The signature over exactly this URL and these decoded form fields. Signing is the simulator's half."""
    return _digest(token, url, _suffix(params))


def spellings(url: str) -> tuple[str, ...]:
    """Every text Twilio may have signed for a webhook at ``url``, as given first; at most 24, none twice.

    Fragment dropped (never sent, never signed); port as is, removed, or the scheme's default added; credentials as is
    or removed; an apostrophe in the query escaped or not; the host in lower case.
    """
    url = url.partition("#")[0]
    return tuple(dict.fromkeys(quoted for authority in _authorities(url) for quoted in _apostrophes(authority)))


def upgrade_spellings(url: str) -> tuple[str, ...]:
    """Every text Twilio may have signed for the WebSocket upgrade of ``<Stream url>``, the literal first.

    That literal (``wss://...``, no fields) is what production logs show; the documentation says to try a trailing
    slash, a bare host is signed with one, and libraries in the field fall back to ``https``.
    """
    url = url.partition("#")[0]
    found = {url: None, _toggled_slash(url): None}
    for scheme in (_same, _sibling):
        for slash in (_same, _toggled_slash):
            for spelling in _authorities(slash(scheme(url))):
                found[spelling] = None
    return tuple(found)


def verify(
    tokens: str | Sequence[str],
    url: str,
    params: Params,
    signature: str | Sequence[str] | None,
    body: bytes | None = None,
) -> Verdict:
    """Judge a webhook.

    ``tokens`` is the account's auth token, or several while one is being rotated; ``url`` is the public URL, query too.
    ``params`` are the form's decoded fields, all of them, repetitions included; for a GET they are empty. ``body`` is
    the raw body when it is *not* a form (JSON): it counts only if the signed URL carries its ``bodySHA256``, and
    ``params`` are then not signed. ``signature`` is the header's text, or all of the header's texts: two are as good as
    a forged one.
    """
    suffix = "" if body is not None else _suffix(params)
    verdict = _judge(tokens, spellings(url), suffix, signature)
    if verdict is not Verdict.VALID or body is None:
        return verdict
    promised = _promised_hashes(url)
    if not promised:
        return Verdict.BODY_UNSIGNED
    actual = hashlib.sha256(body).hexdigest().encode("ascii")
    same = [hmac.compare_digest(_bytes(one), actual) for one in promised]
    return Verdict.VALID if all(same) else Verdict.BODY_CHANGED


def verify_upgrade(tokens: str | Sequence[str], url: str, signature: str | Sequence[str] | None) -> Verdict:
    """Judge a media stream's WebSocket upgrade. ``url`` is the text we put into ``<Stream url>``."""
    return _judge(tokens, upgrade_spellings(url), "", signature)


def _judge(
    tokens: str | Sequence[str], urls: Sequence[str], suffix: str, signature: str | Sequence[str] | None
) -> Verdict:
    keys = [token for token in ([tokens] if isinstance(tokens, str) else tokens) if token]
    if not keys:
        return Verdict.NO_KEY
    given = [signature] if isinstance(signature, str) else list(signature or ())
    if not any(given):
        return Verdict.MISSING
    if len(given) > 1:
        return Verdict.INVALID
    theirs = _bytes(given[0])
    good = False
    for key in keys:
        for url in urls:
            good |= hmac.compare_digest(_digest(key, url, suffix).encode("ascii"), theirs)
    return Verdict.VALID if good else Verdict.INVALID


def _digest(token: str, url: str, suffix: str) -> str:
    return b2a_base64(hmac.digest(_bytes(token), _bytes(url + suffix), "sha1"), newline=False).decode("ascii")


def _suffix(params: Params) -> str:
    if isinstance(params, Mapping):
        params = params.items()
    # A set of pairs in order is: names by code point, each name's distinct values by code point.
    return "".join(name + value for name, value in sorted(set(params)))


def _bytes(text: str) -> bytes:
    # A lone surrogate cannot come off the wire; encoding it must still not raise, nor equal anything else.
    return text.encode("utf-8", "surrogatepass")


def _authorities(url: str) -> list[str]:
    match = _URL.fullmatch(url)
    if match is None:
        return [url]
    scheme, userinfo, host, port, rest = match.groups(default="")
    default = _DEFAULT_PORTS.get(scheme.lower(), "")
    ports = [f":{port}" if port else "", ""]
    if not port and default:
        ports.append(f":{default}")
    hosts = [host, host.lower()]
    users = [f"{userinfo}@", ""] if userinfo else [""]
    return [url] + [f"{scheme}://{user}{name}{at}{rest}" for name in hosts for user in users for at in ports]


def _apostrophes(url: str) -> list[str]:
    head, mark, query = url.partition("?")
    return [url, f"{head}{mark}{query.replace(chr(39), '%27')}", f"{head}{mark}{query.replace('%27', chr(39))}"]


def _same(url: str) -> str:
    return url


def _sibling(url: str) -> str:
    scheme, colon, rest = url.partition("://")
    return f"{_SIBLINGS.get(scheme.lower(), scheme)}{colon}{rest}"


def _toggled_slash(url: str) -> str:
    head, mark, query = url.partition("?")
    return f"{head[:-1] if head.endswith('/') else head + '/'}{mark}{query}"


def _promised_hashes(url: str) -> list[str]:
    query = url.partition("#")[0].partition("?")[2]
    return [value for name, _, value in (field.partition("=") for field in query.split("&")) if name == "bodySHA256"]
