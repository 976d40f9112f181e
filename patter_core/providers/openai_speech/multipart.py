"""A form with a file in it, as bytes.

Source: RFC 7578. The boundary must not occur in any part; ours is a digest of them all, so that the same form has the
same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["multipart"]


def multipart(fields: Sequence[tuple[str, str]], name: str, filename: str, kind: str, data: bytes) -> tuple[str, bytes]:
    """The Content-Type, and the body: ``fields``, then the file. Names are ours; values may be anything."""
    values = [(key, value.encode("utf-8", "replace")) for key, value in fields]
    digest = hashlib.sha256(data)
    for key, value in values:
        digest.update(key.encode() + b"\0" + value + b"\0")
    boundary = b"patter-" + digest.hexdigest()[:40].encode()
    while boundary in data or any(boundary in value for _, value in values):
        digest.update(boundary)
        boundary = b"patter-" + digest.hexdigest()[:40].encode()
    parts = [_part(boundary, f'name="{key}"', b"", value) for key, value in values]
    file = f'name="{name}"; filename="{filename}"'
    parts.append(_part(boundary, file, b"Content-Type: " + kind.encode() + b"\r\n", data))
    body = b"".join([*parts, b"--" + boundary + b"--\r\n"])
    return f"multipart/form-data; boundary={boundary.decode()}", body


def _part(boundary: bytes, disposition: str, more: bytes, data: bytes) -> bytes:
    head = b"--" + boundary + b"\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n" + more + b"\r\n"
    return head + data + b"\r\n"
