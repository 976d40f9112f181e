"""``Telnyx(...)``: what an application writes to have Telnyx's calls."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from patter_core.carriers.carrier import CarrierSpec
from patter_core.errors import ConfigError

from .signature import check_key

__all__ = ["Telnyx"]


class Telnyx(msgspec.Struct, frozen=True, kw_only=False):
    """Telnyx credentials: from the arguments, else TELNYX_API_KEY, TELNYX_CONNECTION_ID and TELNYX_PUBLIC_KEY.

    ``connection_id`` is the Call Control (Voice API) application's id; without one, calls can be taken but none placed.
    ``public_key`` verifies webhooks (base64 of the 32 bytes the portal shows, or DER); it may be several,
    comma-separated, while one is being rotated. ``l16_byte_order``: ``little`` is what is observed, though RFC 3551
    says big-endian. ``future_tolerance_s``: how far ahead of our clock a webhook's timestamp may be.
    """

    api_key: str | None = None
    connection_id: str | None = None
    public_key: str | None = None
    base_url: str = "https://api.telnyx.com"
    l16_byte_order: str = "little"
    future_tolerance_s: int = 300

    def __post_init__(self) -> None:
        if self.l16_byte_order not in ("little", "big"):
            raise ConfigError(f"l16_byte_order is 'little' or 'big', got {self.l16_byte_order!r}")
        seconds = self.future_tolerance_s
        if type(seconds) is not int or seconds < 0:
            raise ConfigError(f"future_tolerance_s is a whole number of seconds, 0 or more, got {seconds!r}")

    def __repr__(self) -> str:
        return f"Telnyx(connection_id={self.connection_id!r})"

    @property
    def carrier(self) -> str:
        """The carrier's name, as in its routes."""
        return "telnyx"

    def resolve(self, environ: Mapping[str, str], missing: list[str], need_key: bool = True) -> CarrierSpec:
        """Fill in from the environment; add what is missing to ``missing``. ``need_key``: signatures are checked.

        A public key that is there and wrong is a ``ConfigError`` at once: webhooks could never be verified with it."""
        api_key = self.api_key or environ.get("TELNYX_API_KEY", "")
        connection = self.connection_id or environ.get("TELNYX_CONNECTION_ID", "")
        public = self.public_key or environ.get("TELNYX_PUBLIC_KEY", "")
        keys = tuple(part.strip() for part in public.split(",") if part.strip())
        if not api_key:
            missing.append("TELNYX_API_KEY (or Telnyx(api_key=...))")
        if not keys and need_key:
            missing.append("TELNYX_PUBLIC_KEY (or Telnyx(public_key=...))")
        for key in keys:
            try:
                check_key(key)
            except ValueError as exc:
                raise ConfigError(f"TELNYX_PUBLIC_KEY (or Telnyx(public_key=...)): {exc}") from None
        return CarrierSpec(
            name="telnyx",
            account=connection,
            keys=keys,
            base_url=self.base_url.rstrip("/"),
            api_key=api_key,
            options={"l16": self.l16_byte_order, "future_s": str(self.future_tolerance_s)},
        )
