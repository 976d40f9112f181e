"""``application/x-www-form-urlencoded``, both directions.

The reader keeps order, repeated names and blank values, because signatures are computed over all of them. It never
guesses a charset: the carriers send UTF-8, and bytes that are not become U+FFFD (the signature check then fails, which
is the right end for them).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote_plus, unquote_to_bytes

__all__ = ["MAX_FIELDS", "encode_form", "parse_form"]

MAX_FIELDS = 1000
"""A voice webhook has about 30 fields; a thousand leaves room and bounds what a hostile body costs."""


def parse_form(body: bytes, max_fields: int = MAX_FIELDS) -> list[tuple[str, str]]:
    """The fields of ``body`` in order. Raises ``ValueError`` when there are more than ``max_fields``, for nothing else.

    ``&`` separates (``;`` does not), ``+`` is a space, a broken ``%`` escape stays as it is, a field without ``=`` has
    an empty value, and empty fields (``a=1&&b=2``) are skipped.
    """
    if not body:
        return []
    if body.count(b"&") >= max_fields:
        raise ValueError(f"more than {max_fields} form fields")
    fields = []
    for field in body.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            fields.append((_decode(name), _decode(value)))
    return fields


def encode_form(pairs: Iterable[tuple[str, str]]) -> bytes:
    """``pairs`` as a form body: UTF-8, spaces as ``+``, order and repetition kept."""
    return "&".join(
        f"{quote_plus(name, errors='replace')}={quote_plus(value, errors='replace')}" for name, value in pairs
    ).encode("ascii")


def _decode(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8", "replace")
