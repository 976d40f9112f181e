"""Server-sent events (WHATWG HTML, section 9.2): what goes into ``push``."""

from __future__ import annotations

import re

__all__ = ["sse_comment", "sse_frame"]

# Only these end a line in an event stream; ``str.splitlines`` would also cut at U+2028 and friends.
_LINE_END = re.compile("\r\n|\r|\n")


def sse_frame(event: str, data: str, id: str = "") -> bytes:
    """One event. ``event`` and ``id`` are left out when empty; a line end in them cannot start a field of its own."""
    lines = []
    if event:
        lines.append("event: " + _LINE_END.sub(" ", event))
    if id:
        # A NUL makes the reader ignore the whole field.
        lines.append("id: " + _LINE_END.sub(" ", id).replace("\0", ""))
    lines.extend("data: " + line for line in _LINE_END.split(data))
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def sse_comment(text: str = "") -> bytes:
    """A comment: keeps proxies from closing a quiet stream."""
    return (": " + _LINE_END.sub(" ", text) + "\n\n").encode("utf-8", "replace")
