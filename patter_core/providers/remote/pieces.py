"""What an application's server may say, piece by piece: text, or {"text"} and {"done": true}."""

from __future__ import annotations

import msgspec

__all__ = ["REPLY_BYTES", "Piece", "Utf8", "piece_of"]

REPLY_BYTES = 64 << 10  # of a reply's text, in UTF-8: an hour of speech


class Piece(msgspec.Struct):
    """Fields of others are ignored. ``text`` may be null: nothing to say."""

    text: str | None = None
    done: bool | None = None
    error: str | None = None
    id: str | int | None = None


_DECODER = msgspec.json.Decoder(Piece)


def piece_of(said: str) -> Piece | None:
    """A JSON object, or else the text as it is; None for an object that cannot be read."""
    if not said.lstrip().startswith("{"):
        return Piece(text=said)
    try:
        return _DECODER.decode(said)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


class Utf8:
    """Text from bytes cut anywhere, also in the middle of a character. What is no UTF-8 becomes U+FFFD."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> str:
        data = self._rest + data
        cut = _whole(data)
        self._rest = data[cut:]
        return data[:cut].decode("utf-8", "replace")

    def end(self) -> str:
        rest, self._rest = self._rest, b""
        return rest.decode("utf-8", "replace")


def _whole(data: bytes) -> int:
    """Where the character begins that ``data`` has only the beginning of; its end, if there is none."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
        return len(data) - back if length > back else len(data)
    return len(data)
