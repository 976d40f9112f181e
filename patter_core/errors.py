"""The errors this project raises. A peer's mistake is never one of them: those are events."""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "ConfigError",
    "LocalProtocolError",
    "PatterConnectionError",
    "PatterError",
    "ProvisionError",
    "RefusedError",
]


class PatterError(Exception):
    """Base of this project's own errors."""


class ConfigError(PatterError, ValueError):
    """An option or a missing credential; the message says what to change."""


class LocalProtocolError(PatterError):
    """We misused our own API (sent on a closed connection, answered twice): a bug on this side."""


class PatterConnectionError(PatterError):
    """The other side could not be reached, or went away."""


class AuthenticationError(PatterError):
    """A carrier or provider refused our credentials."""


class ProvisionError(PatterError):
    """A carrier refused to set something up."""


class RefusedError(PatterError):
    """The server refused an application's command; ``code`` is from a closed list."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
