"""Reading and writing the JSON texts of media streams, whichever carrier's: why one could not be read, and how a string
is written."""

from __future__ import annotations

import msgspec

from .carrier import Malformed, MalformedCode

__all__ = ["diagnose", "quoted"]


class _Head(msgspec.Struct, gc=False):
    event: str


_HEAD = msgspec.json.Decoder(_Head)


def diagnose(text: str, error: Exception, known: frozenset[str]) -> Malformed | str:
    """Why a text could not be read; or, as a string, the event of a well-formed message we do not know."""
    if isinstance(error, RecursionError):
        return Malformed(MalformedCode.TOO_DEEP, "nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return Malformed(MalformedCode.NOT_JSON, "not JSON")
    if text.lstrip(" \t\r\n")[:1] != "{":
        return Malformed(MalformedCode.NOT_AN_OBJECT, "not a JSON object")
    try:
        event = _HEAD.decode(text).event
    except RecursionError:
        return Malformed(MalformedCode.TOO_DEEP, "nested too deeply")
    except msgspec.ValidationError:
        return Malformed(MalformedCode.NO_EVENT, "no event")
    except ValueError:  # valid up to the wrong field, garbage after it
        return Malformed(MalformedCode.NOT_JSON, "not JSON")
    if event not in known:
        return event
    prose = str(error)  # names our fields and types; of the peer's text at most a tag
    if "missing required field" in prose:
        return Malformed(MalformedCode.MISSING_FIELD, prose)
    if "base64" in prose:
        return Malformed(MalformedCode.BAD_BASE64, prose)
    return Malformed(MalformedCode.BAD_FIELD, prose)


def quoted(text: str) -> str:
    """``text`` as a JSON string. A lone surrogate, which UTF-8 cannot carry, becomes a question mark."""
    return msgspec.json.encode(text.encode("utf-8", "replace").decode("utf-8")).decode("utf-8")
