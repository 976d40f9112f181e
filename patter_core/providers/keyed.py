"""What every provider's option begins with."""

from __future__ import annotations

import msgspec

__all__ = ["Keyed"]


class Keyed(msgspec.Struct, frozen=True):
    """A key may stand first, without its name: ``DeepgramSTT("...")``. Everything else is by name."""

    api_key: str | None = None
