"""What went wrong with a request to OpenAI's audio API, what to do about it, and whether it is worth another try.

An error's body is {"error": {"message", "type", "param", "code"}}; compatible servers put less in it. An account
without money is told 429 with the code ``insufficient_quota``, which no waiting cures. Source:
platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...contract import Fault

__all__ = ["ERROR_BYTES", "Trouble", "broken", "refused", "wait_for"]

ERROR_BYTES = 4_096
"""Kept of an error's body."""
_SPAN = 200
"""Characters of it that are told."""
_WAIT_S = 0.5
_WAIT_MOST_S = 3600.0  # no later than never: what is longer than ``tts_s`` or ``stt_s`` is not waited for

_FINAL = frozenset({Fault.TLS, Fault.TOO_LARGE})
"""What a second try will not change."""


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """``fatal``: no request will do better. ``passing``: this one may, ``wait_s`` later."""

    detail: str
    fatal: bool = False
    passing: bool = False
    wait_s: float = _WAIT_S


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: _Error | str


_BODY = msgspec.json.Decoder(_Body)


def refused(status: int, headers: Mapping[str, str], body: bytes, model: str, base_url: str) -> Trouble:
    """An answer that is an error."""
    error = _read(body)
    where = f"OpenAI's audio API answered {status}"
    said = " ".join((error.message or "")[:_SPAN].split())
    told = f"{where}: {said}" if said else where
    if status == 401:  # their words are left out: they quote the key
        return Trouble(f"{where}: it refused the key; check OPENAI_API_KEY or api_key=", fatal=True)
    if status == 402 or "insufficient_quota" in (error.code, error.type):
        return Trouble(f"{where}: the account has no credit left; see to its billing", fatal=True)
    if status == 403:
        return Trouble(f"{told}; the key's project may not use {model!r}: check its rights, or model=", fatal=True)
    if status == 404:
        return Trouble(f"{told}; check model={model!r} and base_url={base_url!r}", fatal=True)
    passing = status in (408, 409, 429) or status >= 500
    return Trouble(told, passing=passing, wait_s=wait_for(headers))


def broken(fault: Fault) -> Trouble:
    """No whole answer."""
    return Trouble(f"OpenAI's audio API: no answer ({fault.value})", passing=fault not in _FINAL)


def wait_for(headers: Mapping[str, str]) -> float:
    """How long to wait before another try: as asked for, if that is a number of seconds."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if wait >= 0:  # not for nan
            return min(max(wait, 0.05), _WAIT_MOST_S)
    return _WAIT_S


def _read(body: bytes) -> _Error:
    try:
        error = _BODY.decode(body).error
    except (ValueError, RecursionError):
        return _Error()
    return _Error(message=error) if isinstance(error, str) else error
