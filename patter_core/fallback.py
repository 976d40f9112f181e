"""``Fallback(first, second, ...)``: what takes over, in the middle of a call, when a provider cannot go on."""

from __future__ import annotations

from typing import Any

from .errors import ConfigError

__all__ = ["Fallback", "choices"]


class Fallback:
    """Alternatives of one kind, in order: recognisers, models, voices or whole engines."""

    def __init__(self, *options: Any) -> None:
        if len(options) < 2 or any(one is None or isinstance(one, Fallback) for one in options):
            raise ConfigError("Fallback takes two or more of one kind, such as Fallback(DeepgramSTT(), WhisperSTT())")
        self.options = options

    def __repr__(self) -> str:
        return f"Fallback({', '.join(map(repr, self.options))})"


def choices(given: Any) -> tuple[Any, ...]:
    """What was given for a stage, as alternatives; none for None."""
    if given is None:
        return ()
    return given.options if isinstance(given, Fallback) else (given,)
