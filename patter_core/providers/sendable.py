"""What goes to a provider over HTTP: JSON that always encodes, and the checks its options have in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..errors import ConfigError

__all__ = ["check_base_url", "check_extra", "check_headers", "check_key", "check_number", "check_text", "to_json"]


def to_json(value: Any) -> bytes:
    """JSON in the order the keys were given. Half a surrogate pair, which is no text, becomes a question mark; what
    JSON does not know becomes its ``str``."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(msgspec.to_builtins(value, enc_hook=str)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def check_base_url(option: str, url: Any) -> str:
    """The URL without a slash at its end."""
    advice = f"{option}(base_url=...) must be like https://api.example.com/v1, got {url!r}"
    if not isinstance(url, str) or not url.isascii() or any(char <= " " for char in url.strip()):
        raise ConfigError(advice)
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise ConfigError(advice) from None
    if "@" in parts.netloc:
        raise ConfigError(f"{option}(base_url=...) must not hold credentials: use api_key= or headers=")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(advice)
    return url.strip().rstrip("/")


def check_text(option: str, name: str, value: Any, example: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{option}({name}=...) must be a text like {example!r}, got {value!r}")
    return value.strip()


def check_number(
    option: str, name: str, value: Any, least: float, most: float, whole: bool = False, needed: bool = False
) -> None:
    """A number from ``least`` to ``most``; or None, unless it is ``needed``."""
    if value is None and not needed:
        return
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{option}({name}=...) must be {what} from {least} to {most}, got {value!r}")


def check_key(option: str, key: Any) -> str:
    """A key as it may stand in a header. What is wrong with it is said without showing it."""
    if not isinstance(key, str):
        raise ConfigError(f"{option}(api_key=...) must be a text, got {type(key).__name__}")
    bare: str = key.strip()
    if any(not "!" <= char <= "~" for char in bare):
        raise ConfigError(f"{option}(api_key=...) has a character no key has (a space, a line end?): copy it again")
    return bare


def check_headers(option: str, headers: Any) -> tuple[tuple[str, str], ...]:
    """Headers as pairs, in the order given."""
    if not isinstance(headers, dict):
        raise ConfigError(f"{option}(headers=...) must be a dict of texts, got {type(headers).__name__}")
    for name, value in headers.items():
        good = isinstance(name, str) and isinstance(value, str) and name.isascii() and value.isascii()
        if not good or not name.replace("-", "").replace("_", "").isalnum() or not value.isprintable():
            raise ConfigError(f"{option}(headers=...): {name!r} is no header that can be sent")
    return tuple(headers.items())


def check_extra(option: str, extra: Any) -> dict[str, Any]:
    """Fields for the request's body."""
    if not isinstance(extra, dict) or not all(isinstance(key, str) for key in extra):
        raise ConfigError(f"{option}(extra=...) must be a dict of fields for the request's body, got {extra!r}")
    try:
        msgspec.json.encode(extra)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{option}(extra=...) must be plain JSON: {error}") from None
    return dict(extra)
