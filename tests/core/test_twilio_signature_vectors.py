"""Where ``conformance/vectors/signature/twilio.json`` comes from, and that it says what this file says.

Every case states, letter by letter, the text under its signature, and the signature is made from it by three lines of
HMAC that share nothing with the implementation. Run this file to write the vectors again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors" / "signature" / "twilio.json"

TOKEN = "12345"
URL = "https://agent.example.com/webhooks/twilio/voice"
WSS = "wss://agent.example.com/ws/stream/CA1/ticket"
VOICE = [["To", "+15550100002"], ["From", "+15550100001"], ["CallSid", "CA1"]]
VOICE_TEXT = "CallSidCA1From+15550100001To+15550100002"
BODY = b'{"a":1}'
HASH = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SECURITY = "twilio.com/docs/usage/security"


def tag(text: str, token: str = TOKEN) -> str:
    """Base64 of HMAC-SHA1, and nothing more."""
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


NOTES = {
    "Published": ("FUNCTIONALITY", "An example whose token, input and signature the carrier or its library publishes."),
    "Basic": ("FUNCTIONALITY", "The plain rule."),
    "ModifiedTag": ("AUTH_BYPASS", "The signature is not the one of this request."),
    "TruncatedTag": ("AUTH_BYPASS", "Only a part of a right signature; comparing prefixes would accept it."),
    "EmptyTag": ("AUTH_BYPASS", "No signature, or an empty one."),
    "WrongCase": ("AUTH_BYPASS", "Letters of a name, a path or the signature in another case."),
    "WrongEncoding": ("AUTH_BYPASS", "The right bytes in another alphabet, or with something around them."),
    "WrongHash": ("AUTH_BYPASS", "A right MAC of the wrong hash function."),
    "HeaderTwice": ("AUTH_BYPASS", "Two signature headers: whoever picks one lets the other smuggle."),
    "ExtraParam": ("AUTH_BYPASS", "A field more or less than was signed."),
    "ModifiedParam": ("AUTH_BYPASS", "A field's value is not the signed one."),
    "DuplicateParam": ("FUNCTIONALITY", "A name more than once: distinct values, sorted, each after the name."),
    "ParamOrder": ("FUNCTIONALITY", "Names are sorted by code point, alone, without their values."),
    "EmptyValue": ("FUNCTIONALITY", "A field without a value still contributes its name."),
    "Whitespace": ("FUNCTIONALITY", "Values are signed untrimmed, as decoded."),
    "NonAscii": ("FUNCTIONALITY", "Text is UTF-8 under the signature."),
    "EmptyBody": ("FUNCTIONALITY", "A body of no bytes, or a form of no fields."),
    "JsonBody": ("AUTH_BYPASS", "A body that is no form counts only if the signed URL carries its SHA-256."),
    "PortVariants": ("FUNCTIONALITY", "Which port is under the signature differs between the carrier's products."),
    "Userinfo": ("FUNCTIONALITY", "Credentials in the URL may or may not be under the signature."),
    "Fragment": ("FUNCTIONALITY", "What follows # configures the carrier; it is neither sent nor signed."),
    "TrailingSlash": (
        "FUNCTIONALITY",
        "A slash at the end is another URL for webhooks, and a known spelling for upgrades.",
    ),
    "QueryEncoding": ("FUNCTIONALITY", "The query is signed as it is spelled."),
    "HostCase": ("FUNCTIONALITY", "URL libraries lower a host's case; the carrier may not."),
    "Scheme": ("FUNCTIONALITY", "An upgrade is signed over the wss URL; some stacks see https."),
    "WrongHost": ("AUTH_BYPASS", "A request signed for another public URL."),
    "Rotation": ("FUNCTIONALITY", "Two tokens are good while one replaces the other."),
    "WrongKey": ("AUTH_BYPASS", "Signed with a key that is not ours."),
    "NoKey": ("AUTH_BYPASS", "Without a key nothing can be genuine; an empty key is no key."),
}


def v1(
    name: str,
    title: str,
    flags: str,
    signed: str,
    result: str,
    *,
    url: str = URL,
    params: list[list[str]] | None = None,
    body: bytes | None = None,
    signature: Any = ...,
    secrets: list[str] | None = None,
    token: str = TOKEN,
    comment: str = "",
    ref: str = SECURITY,
    scheme: str = "twilio-v1",
) -> dict[str, Any]:
    given: dict[str, Any] = {"scheme": scheme, "secrets": [TOKEN] if secrets is None else secrets, "url": url}
    if body is not None:
        given["body_b64"] = base64.b64encode(body).decode()
    elif scheme == "twilio-v1":
        given["params"] = VOICE if params is None else params
    given["signature"] = tag(signed, token) if signature is ... else signature
    case: dict[str, Any] = {"id": f"twilio/{name}", "title": title, "level": "MUST", "flags": flags.split(), "ref": ref}
    if comment:
        case["comment"] = comment
    if signature is ...:
        case["signed"] = signed
    return case | {"in": given, "result": "valid" if result == "valid" else "invalid", "verdict": result}


def upgrade(name: str, title: str, flags: str, signed: str, result: str, **more: Any) -> dict[str, Any]:
    more.setdefault("url", WSS)
    return v1(f"upgrade-{name}", title, flags, signed, result, scheme="twilio-upgrade", **more)


GOOD = tag(URL + VOICE_TEXT)
DOCS_FIELDS = [["CallSid", "CA1234567890ABCDE"], ["Digits", "1234"], ["To", "+18005551212"]]


def docs(number: str) -> list[list[str]]:
    return [*DOCS_FIELDS, ["Caller", number], ["From", number]]


def cases() -> list[dict[str, Any]]:
    def json_url(promised: str) -> str:
        return f"{URL}?bodySHA256={promised}"

    return [
        v1(
            "published-documentation",
            "the documentation's worked example verifies",
            "Published",
            "",
            "valid",
            url="https://example.com/myapp.php?foo=1&bar=2",
            params=docs("+14158675310"),
            signature="L/OH5YylLD5NRKLltdqwSvS0BnU=",
        ),
        v1(
            "published-library",
            "the official libraries' worked example verifies",
            "Published",
            "",
            "valid",
            url="https://mycompany.com/myapp.php?foo=1&bar=2",
            params=docs("+14158675309"),
            signature="RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        ),
        v1(
            "published-swapped",
            "one published example's signature fails on the other",
            "Published ModifiedTag",
            "",
            "invalid",
            url="https://example.com/myapp.php?foo=1&bar=2",
            params=docs("+14158675310"),
            signature="RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        ),
        v1("voice", "a voice webhook verifies", "Basic", URL + VOICE_TEXT, "valid"),
        v1(
            "get",
            "a GET signs its URL alone",
            "Basic",
            URL + "?CallSid=CA1",
            "valid",
            url=URL + "?CallSid=CA1",
            params=[],
        ),
        v1("no-fields", "a form without fields signs the URL alone", "EmptyBody", URL, "valid", params=[]),
        # the signature itself
        v1(
            "tag-first-letter",
            "another first letter is a forgery",
            "ModifiedTag",
            "",
            "invalid",
            signature=("A" if GOOD[0] != "A" else "B") + GOOD[1:],
        ),
        v1(
            "tag-last-bits",
            "another spelling of the same base64 bytes is a forgery",
            "ModifiedTag WrongEncoding",
            "",
            "invalid",
            signature=GOOD[:-2] + chr(ord(GOOD[-2]) + 1) + "=",
            comment="The last letter's two unused bits differ: a lenient decoder sees the same bytes.",
        ),
        v1("tag-truncated", "half a signature is a forgery", "TruncatedTag", "", "invalid", signature=GOOD[:14]),
        v1(
            "tag-unpadded",
            "a signature without its padding is a forgery",
            "TruncatedTag",
            "",
            "invalid",
            signature=GOOD[:-1],
        ),
        v1(
            "tag-longer",
            "a signature with more behind it is a forgery",
            "ModifiedTag",
            "",
            "invalid",
            signature=GOOD + "AAAA",
        ),
        v1("tag-empty", "an empty signature is no signature", "EmptyTag", "", "missing", signature=""),
        v1("tag-absent", "no signature header is no signature", "EmptyTag", "", "missing", signature=None),
        v1("tag-absent-list", "an empty list of headers is no signature", "EmptyTag", "", "missing", signature=[]),
        v1(
            "tag-case",
            "a signature in another case is a forgery",
            "WrongCase",
            "",
            "invalid",
            signature=GOOD.swapcase(),
        ),
        v1(
            "tag-hex",
            "the right MAC in hexadecimal is a forgery",
            "WrongEncoding",
            "",
            "invalid",
            signature=base64.b64decode(GOOD).hex(),
        ),
        v1(
            "tag-urlsafe",
            "the URL-safe base64 alphabet is a forgery",
            "WrongEncoding",
            "",
            "invalid",
            url="https://example.com/?4",
            params=[],
            signature=base64.urlsafe_b64encode(base64.b64decode(tag("https://example.com/?4"))).decode(),
            comment="The genuine signature of this URL holds a character in which the alphabets differ.",
        ),
        v1(
            "tag-space",
            "a space around the signature is a forgery",
            "WrongEncoding",
            "",
            "invalid",
            signature=GOOD + " ",
        ),
        v1(
            "tag-non-ascii",
            "a signature of other letters is a forgery",
            "WrongEncoding",
            "",
            "invalid",
            signature="é" * 28,
        ),
        v1(
            "tag-sha256",
            "HMAC-SHA256 is a forgery",
            "WrongHash",
            "",
            "invalid",
            signature=base64.b64encode(
                hmac.new(TOKEN.encode(), (URL + VOICE_TEXT).encode(), "sha256").digest()
            ).decode(),
        ),
        v1("header-once-in-list", "one header given as a list verifies", "HeaderTwice", "", "valid", signature=[GOOD]),
        v1(
            "header-twice",
            "a forged header before the right one is a forgery",
            "HeaderTwice",
            "",
            "invalid",
            signature=["forged", GOOD],
        ),
        v1(
            "header-twice-same",
            "the right header twice is a forgery",
            "HeaderTwice",
            "",
            "invalid",
            signature=[GOOD, GOOD],
        ),
        v1(
            "header-comma",
            "two signatures joined by a comma are a forgery",
            "HeaderTwice",
            "",
            "invalid",
            signature=f"{GOOD},{GOOD}",
        ),
        # fields
        v1(
            "param-extra",
            "an unsigned field is refused",
            "ExtraParam",
            URL + VOICE_TEXT,
            "invalid",
            params=[*VOICE, ["Evil", "1"]],
        ),
        v1("param-missing", "a removed field is refused", "ExtraParam", URL + VOICE_TEXT, "invalid", params=VOICE[:2]),
        v1(
            "param-empty-extra",
            "an unsigned field without a value is refused",
            "ExtraParam EmptyValue",
            URL + VOICE_TEXT,
            "invalid",
            params=[*VOICE, ["X", ""]],
        ),
        v1(
            "param-changed",
            "a changed value is refused",
            "ModifiedParam",
            URL + VOICE_TEXT,
            "invalid",
            params=[["To", "+15550100003"], *VOICE[1:]],
        ),
        v1(
            "param-name-case",
            "a name in another case is another field",
            "WrongCase",
            URL + VOICE_TEXT,
            "invalid",
            params=[["to", "+15550100002"], *VOICE[1:]],
        ),
        v1(
            "param-new",
            "fields nobody has heard of are signed too",
            "Basic",
            URL + "NewFieldx" + "To1",
            "valid",
            params=[["To", "1"], ["NewField", "x"]],
        ),
        v1(
            "param-order",
            "the order on the wire does not matter",
            "ParamOrder",
            URL + VOICE_TEXT,
            "valid",
            params=VOICE[::-1],
        ),
        v1(
            "param-order-code-point",
            "capitals sort before small letters",
            "ParamOrder",
            URL + "B2a1",
            "valid",
            params=[["a", "1"], ["B", "2"]],
        ),
        v1(
            "param-order-names-only",
            "names are sorted, not names with their values",
            "ParamOrder",
            URL + "az" + "a1b",
            "valid",
            params=[["a1", "b"], ["a", "z"]],
            comment="Sorting name+value would put a1b first.",
        ),
        v1(
            "param-order-names-values-joined",
            "sorting names with their values makes a forgery",
            "ParamOrder",
            URL + "a1b" + "az",
            "invalid",
            params=[["a1", "b"], ["a", "z"]],
        ),
        v1(
            "duplicate-sorted",
            "a repeated name's values are sorted",
            "DuplicateParam",
            URL + "Ev1Ev2",
            "valid",
            params=[["Ev", "2"], ["Ev", "1"]],
        ),
        v1(
            "duplicate-same",
            "a repeated pair is signed once",
            "DuplicateParam",
            URL + "Ev1",
            "valid",
            params=[["Ev", "1"], ["Ev", "1"]],
        ),
        v1(
            "duplicate-submission-order",
            "a repeated name's values in wire order are a forgery",
            "DuplicateParam",
            URL + "Ev2Ev1",
            "invalid",
            params=[["Ev", "2"], ["Ev", "1"]],
        ),
        v1(
            "duplicate-last-only",
            "signing only the last of a repeated name is a forgery",
            "DuplicateParam ExtraParam",
            URL + "Ev1",
            "invalid",
            params=[["Ev", "2"], ["Ev", "1"]],
        ),
        v1(
            "empty-values",
            "names without values are signed",
            "EmptyValue",
            URL + "CallSidCA1FromCityToCity",
            "valid",
            params=[["ToCity", ""], ["FromCity", ""], ["CallSid", "CA1"]],
        ),
        v1(
            "empty-values-dropped",
            "leaving out names without values is a forgery",
            "EmptyValue",
            URL + "CallSidCA1",
            "invalid",
            params=[["ToCity", ""], ["CallSid", "CA1"]],
        ),
        v1(
            "value-spaces",
            "values are not trimmed",
            "Whitespace",
            URL + "Body hi  To1",
            "valid",
            params=[["To", "1"], ["Body", " hi  "]],
        ),
        v1(
            "value-spaces-trimmed",
            "a trimmed value is a forgery",
            "Whitespace",
            URL + "Bodyhi",
            "invalid",
            params=[["Body", " hi "]],
        ),
        v1(
            "value-plus",
            "a plus in a decoded value stays a plus",
            "Whitespace",
            URL + "To+1",
            "valid",
            params=[["To", "+1"]],
        ),
        v1(
            "value-utf8",
            "values beyond ASCII are UTF-8",
            "NonAscii",
            URL + "CalledCitySão Paulo",
            "valid",
            params=[["CalledCity", "São Paulo"]],
        ),
        v1(
            "value-astral",
            "values beyond the basic plane are UTF-8",
            "NonAscii",
            URL + "CallerName☎🎙",
            "valid",
            params=[["CallerName", "☎🎙"]],
        ),
        v1(
            "value-decomposed",
            "another normal form is another value",
            "NonAscii",
            URL + "CalledCityS\u00e3o",
            "invalid",
            params=[["CalledCity", "Sa\u0303o"]],
        ),
        v1(
            "url-non-ascii",
            "a path beyond ASCII is signed as configured",
            "NonAscii",
            "https://example.com/ação",
            "valid",
            url="https://example.com/ação",
            params=[],
        ),
        # the URL
        v1(
            "port-443-unsigned",
            "the default port in our URL is not signed",
            "PortVariants",
            "https://a.example/x",
            "valid",
            url="https://a.example:443/x",
            params=[],
        ),
        v1(
            "port-443-signed",
            "the default port is signed though our URL has none",
            "PortVariants",
            "https://a.example:443/x",
            "valid",
            url="https://a.example/x",
            params=[],
        ),
        v1(
            "port-80-signed",
            "http adds port 80",
            "PortVariants",
            "http://a.example:80/x",
            "valid",
            url="http://a.example/x",
            params=[],
        ),
        v1(
            "port-custom-kept",
            "a custom port is signed",
            "PortVariants",
            "https://a.example:8443/x",
            "valid",
            url="https://a.example:8443/x",
            params=[],
        ),
        v1(
            "port-custom-dropped",
            "a custom port is not signed for voice over https",
            "PortVariants",
            "https://a.example/x",
            "valid",
            url="https://a.example:8443/x",
            params=[],
        ),
        v1(
            "port-other",
            "a port that is neither ours nor the default is refused",
            "PortVariants WrongHost",
            "https://a.example:8444/x",
            "invalid",
            url="https://a.example/x",
            params=[],
        ),
        v1(
            "port-https-80",
            "port 80 is no default of https",
            "PortVariants",
            "https://a.example:80/x",
            "invalid",
            url="https://a.example/x",
            params=[],
        ),
        v1(
            "port-ipv6",
            "an address in brackets keeps its colons",
            "PortVariants",
            "https://[2001:db8::1]/x",
            "valid",
            url="https://[2001:db8::1]:8443/x",
            params=[],
        ),
        v1(
            "userinfo-kept",
            "credentials in the URL are signed",
            "Userinfo",
            "https://user:pw@a.example/x",
            "valid",
            url="https://user:pw@a.example/x",
            params=[],
        ),
        v1(
            "userinfo-dropped",
            "credentials in the URL are not signed for voice",
            "Userinfo PortVariants",
            "https://a.example/x",
            "valid",
            url="https://user:p@w@a.example:8443/x",
            params=[],
        ),
        v1(
            "userinfo-other",
            "other credentials are refused",
            "Userinfo",
            "https://root:pw@a.example/x",
            "invalid",
            url="https://user:pw@a.example/x",
            params=[],
        ),
        v1(
            "fragment-unsigned",
            "the fragment is not signed",
            "Fragment",
            "https://a.example/x?y=1",
            "valid",
            url="https://a.example/x?y=1#rc=2&rp=all",
            params=[],
        ),
        v1(
            "fragment-signed",
            "a signature over the fragment is refused",
            "Fragment",
            "https://a.example/x#rc=2",
            "invalid",
            url="https://a.example/x#rc=2",
            params=[],
        ),
        v1(
            "slash-added",
            "a webhook with a slash more is another URL",
            "TrailingSlash",
            URL + "/" + VOICE_TEXT,
            "invalid",
        ),
        v1(
            "slash-kept",
            "a configured slash at the end is signed",
            "TrailingSlash",
            URL + "/" + VOICE_TEXT,
            "valid",
            url=URL + "/",
        ),
        v1(
            "query-order",
            "the query is not sorted",
            "QueryEncoding",
            "https://a.example/x?b=1&a=2",
            "valid",
            url="https://a.example/x?b=1&a=2",
            params=[],
        ),
        v1(
            "query-sorted",
            "a sorted query is another URL",
            "QueryEncoding",
            "https://a.example/x?a=2&b=1",
            "invalid",
            url="https://a.example/x?b=1&a=2",
            params=[],
        ),
        v1(
            "query-escapes",
            "escapes in the query stay as they are",
            "QueryEncoding",
            "https://a.example/x?n=%2B1&s=a+b%20c",
            "valid",
            url="https://a.example/x?n=%2B1&s=a+b%20c",
            params=[],
        ),
        v1(
            "query-escape-case",
            "an escape in another case is another URL",
            "QueryEncoding WrongCase",
            "https://a.example/x?n=%2b1",
            "invalid",
            url="https://a.example/x?n=%2B1",
            params=[],
        ),
        v1(
            "query-apostrophe",
            "an apostrophe in the query may be signed escaped",
            "QueryEncoding",
            "https://a.example/x?n=O%27Hara",
            "valid",
            url="https://a.example/x?n=O'Hara",
            params=[],
        )
        | {"level": "MAY"},
        v1(
            "host-case-kept",
            "a host in mixed case is signed as configured",
            "HostCase",
            "https://Agent.Example/x",
            "valid",
            url="https://Agent.Example/x",
            params=[],
        ),
        v1(
            "host-case-lowered",
            "a host in mixed case may be signed in lower case",
            "HostCase",
            "https://agent.example/x",
            "valid",
            url="https://Agent.Example/x",
            params=[],
        )
        | {"level": "MAY"},
        v1(
            "path-case",
            "a path in another case is another URL",
            "WrongCase",
            "https://a.example/X",
            "invalid",
            url="https://a.example/x",
            params=[],
        ),
        v1(
            "host-other",
            "a signature for another host is refused",
            "WrongHost",
            "https://b.example/x",
            "invalid",
            url="https://a.example/x",
            params=[],
        ),
        v1(
            "scheme-other",
            "a signature for http is refused on https",
            "WrongHost",
            "http://a.example/x",
            "invalid",
            url="https://a.example/x",
            params=[],
            comment="Behind a proxy, configure the public origin; guessing it from headers lets a caller choose it.",
        ),
        # keys
        v1(
            "rotation-first",
            "the first of two tokens verifies",
            "Rotation",
            URL + VOICE_TEXT,
            "valid",
            secrets=[TOKEN, "next"],
        ),
        v1(
            "rotation-second",
            "the second of two tokens verifies",
            "Rotation",
            URL + VOICE_TEXT,
            "valid",
            secrets=["next", TOKEN],
        ),
        v1("key-other", "another account's token is refused", "WrongKey", URL + VOICE_TEXT, "invalid", token="54321"),
        v1("key-none", "without a token nothing is genuine", "NoKey", URL + VOICE_TEXT, "no_key", secrets=[]),
        v1("key-empty", "an empty token is no token", "NoKey", URL + VOICE_TEXT, "no_key", secrets=[""], token=""),
        v1(
            "key-empty-beside",
            "an empty token beside a real one opens nothing",
            "NoKey",
            URL + VOICE_TEXT,
            "invalid",
            secrets=["", TOKEN],
            token="",
        ),
        # bodies that are no forms
        v1(
            "json",
            "a JSON body promised by the URL verifies",
            "JsonBody",
            json_url(HASH),
            "valid",
            url=json_url(HASH),
            body=BODY,
        ),
        v1(
            "json-changed",
            "a JSON body that was changed is refused",
            "JsonBody",
            json_url(HASH),
            "body_changed",
            url=json_url(HASH),
            body=b'{"a":2}',
        ),
        v1(
            "json-respaced",
            "a JSON body that was re-encoded is refused",
            "JsonBody",
            json_url(HASH),
            "body_changed",
            url=json_url(HASH),
            body=b'{"a": 1}',
        ),
        v1(
            "json-hash-truncated",
            "the beginning of a hash promises nothing",
            "JsonBody TruncatedTag",
            json_url(HASH[:32]),
            "body_changed",
            url=json_url(HASH[:32]),
            body=BODY,
        ),
        v1(
            "json-hash-empty",
            "an empty hash promises nothing",
            "JsonBody",
            json_url(""),
            "body_changed",
            url=json_url(""),
            body=BODY,
        ),
        v1(
            "json-hash-case",
            "a hash in capitals is refused",
            "JsonBody WrongCase",
            json_url(HASH.upper()),
            "body_changed",
            url=json_url(HASH.upper()),
            body=BODY,
        ),
        v1(
            "json-unsigned",
            "a JSON body without a promise is refused",
            "JsonBody",
            URL + "?x=1",
            "body_unsigned",
            url=URL + "?x=1",
            body=BODY,
        ),
        v1("json-no-query", "a JSON body without any query is refused", "JsonBody", URL, "body_unsigned", body=BODY),
        v1(
            "json-forged",
            "a promised body under a forged signature is a forgery",
            "JsonBody ModifiedTag",
            "",
            "invalid",
            url=json_url(HASH),
            body=BODY,
            signature=GOOD,
        ),
        v1(
            "json-name-case",
            "bodysha256 is not bodySHA256",
            "JsonBody WrongCase",
            f"{URL}?bodysha256={HASH}",
            "body_unsigned",
            url=f"{URL}?bodysha256={HASH}",
            body=BODY,
        ),
        v1(
            "json-in-fragment",
            "a promise in the fragment is none",
            "JsonBody Fragment",
            URL,
            "body_unsigned",
            url=f"{URL}#bodySHA256={HASH}",
            body=BODY,
        ),
        v1(
            "json-in-fragment-after-query",
            "a promise in the fragment behind a query is none",
            "JsonBody Fragment",
            URL + "?x=1",
            "body_unsigned",
            url=f"{URL}?x=1#&bodySHA256={HASH}",
            body=BODY,
        ),
        v1(
            "json-last-in-query",
            "the promise is found behind other parameters",
            "JsonBody",
            f"{URL}?x=1&bodySHA256={HASH}",
            "valid",
            url=f"{URL}?x=1&bodySHA256={HASH}",
            body=BODY,
        ),
        v1(
            "json-two-promises",
            "two different promises are not kept by one body",
            "JsonBody DuplicateParam",
            f"{URL}?bodySHA256={HASH}&bodySHA256={EMPTY_HASH}",
            "body_changed",
            url=f"{URL}?bodySHA256={HASH}&bodySHA256={EMPTY_HASH}",
            body=BODY,
        ),
        v1(
            "json-empty-body",
            "an empty body has a hash too",
            "JsonBody EmptyBody",
            json_url(EMPTY_HASH),
            "valid",
            url=json_url(EMPTY_HASH),
            body=b"",
        ),
        v1(
            "json-empty-body-unsigned",
            "an empty body without a promise is refused",
            "JsonBody EmptyBody",
            URL,
            "body_unsigned",
            body=b"",
        ),
        v1(
            "form-with-hash",
            "a form's fields are signed beside a hash in the URL",
            "JsonBody",
            json_url(HASH) + VOICE_TEXT,
            "valid",
            url=json_url(HASH),
        ),
        # WebSocket upgrades
        upgrade("literal", "an upgrade is signed over the literal stream URL", "Scheme Basic", WSS, "valid"),
        upgrade("slash-added", "an upgrade is signed with a slash more", "TrailingSlash", WSS + "/", "valid"),
        upgrade(
            "slash-removed", "an upgrade is signed with a slash less", "TrailingSlash", WSS, "valid", url=WSS + "/"
        ),
        upgrade(
            "bare-host",
            "a bare host is signed with a slash",
            "TrailingSlash",
            "wss://a.example/",
            "valid",
            url="wss://a.example",
        ),
        upgrade(
            "port-added",
            "an upgrade is signed with port 443",
            "PortVariants",
            "wss://a.example:443/x",
            "valid",
            url="wss://a.example/x",
        ),
        upgrade(
            "port-removed",
            "an upgrade is signed without port 443",
            "PortVariants",
            "wss://a.example/x",
            "valid",
            url="wss://a.example:443/x",
        ),
        upgrade(
            "port-80",
            "port 80 is no default of wss",
            "PortVariants",
            "wss://a.example:80/x",
            "invalid",
            url="wss://a.example/x",
            comment="An official library adds 80 to every scheme but https.",
        ),
        upgrade(
            "https",
            "an upgrade is signed over the https spelling",
            "Scheme",
            "https://a.example/x",
            "valid",
            url="wss://a.example/x",
        ),
        upgrade(
            "https-slash",
            "an upgrade is signed over https and a slash",
            "Scheme TrailingSlash",
            "https://a.example/x/",
            "valid",
            url="wss://a.example/x",
        ),
        upgrade(
            "ws",
            "a signature for ws is refused on wss",
            "Scheme WrongHost",
            "ws://a.example/x",
            "invalid",
            url="wss://a.example/x",
        ),
        upgrade("other-ticket", "a signature for another stream is refused", "WrongHost", WSS[:-1], "invalid"),
        upgrade("two-slashes", "two slashes at the end are another URL", "TrailingSlash", WSS + "//", "invalid"),
        upgrade("absent", "an upgrade without a signature is told apart", "EmptyTag", "", "missing", signature=None),
        upgrade(
            "truncated",
            "half a signature is a forgery on an upgrade",
            "TruncatedTag",
            "",
            "invalid",
            signature=tag(WSS)[:14],
        ),
        upgrade("no-key", "without a token no upgrade is genuine", "NoKey", WSS, "no_key", secrets=[]),
        upgrade(
            "rotation",
            "the second of two tokens verifies an upgrade",
            "Rotation",
            WSS,
            "valid",
            secrets=["next", TOKEN],
        ),
    ]


def document() -> dict[str, Any]:
    """The file, as data."""
    return {
        "schema": "signature-1",
        "suite": "signature/twilio",
        "source": {
            "rules": "https://www.twilio.com/docs/usage/security",
            "libraries": ["twilio-python", "twilio-node", "twilio-java", "twilio-csharp"],
            "upgrades": "a production log of 2026-02-12; twilio-labs/twilio-aspnet#162",
            "tags": "computed by tests/core/test_twilio_signature_vectors.py, published examples excepted",
        },
        "notes": {flag: {"kind": kind, "description": text} for flag, (kind, text) in NOTES.items()},
        "cases": cases(),
    }


def test_the_vectors_are_what_this_file_makes() -> None:
    assert json.loads(VECTORS.read_text("utf-8")) == document()


def test_the_generator_knows_the_published_signatures() -> None:
    fields = "CallSidCA1234567890ABCDECaller{0}Digits1234From{0}To+18005551212"
    published = "https://{}/myapp.php?foo=1&bar=2"
    assert tag(published.format("example.com") + fields.format("+14158675310")) == "L/OH5YylLD5NRKLltdqwSvS0BnU="
    assert tag(published.format("mycompany.com") + fields.format("+14158675309")) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert hashlib.sha256(BODY).hexdigest() == HASH


def test_traps_are_real() -> None:
    # A case that says "same bytes, other spelling" is only a trap if the bytes are the same and the spelling is not.
    by_id = {case["id"]: case["in"]["signature"] for case in cases()}
    assert base64.b64decode(by_id["twilio/tag-last-bits"]) == base64.b64decode(GOOD)
    assert by_id["twilio/tag-last-bits"] != GOOD
    assert set(by_id["twilio/tag-urlsafe"]) & {"-", "_"}
    assert by_id["twilio/tag-case"] != GOOD


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", "utf-8")
