"""``Twilio(...)``: what an application writes to have Twilio's calls."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..carrier import CarrierSpec

__all__ = ["Twilio"]


class Twilio(msgspec.Struct, frozen=True, kw_only=False):
    """Twilio credentials: from the arguments, else TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.

    ``auth_token`` may be several, comma-separated, while one is being rotated: any verifies, the first signs.
    """

    account_sid: str | None = None
    auth_token: str | None = None
    base_url: str = "https://api.twilio.com"

    def __repr__(self) -> str:
        return f"Twilio(account_sid={self.account_sid!r})"

    @property
    def carrier(self) -> str:
        """The carrier's name, as in its routes."""
        return "twilio"

    def resolve(self, environ: Mapping[str, str], missing: list[str], need_key: bool = True) -> CarrierSpec:
        """Fill in from the environment; add what is missing to ``missing``. ``need_key``: signatures are checked (the
        one token is the REST credential too, so it is needed either way)."""
        del need_key
        sid = self.account_sid or environ.get("TWILIO_ACCOUNT_SID", "")
        token = self.auth_token or environ.get("TWILIO_AUTH_TOKEN", "")
        if not sid:
            missing.append("TWILIO_ACCOUNT_SID (or Twilio(account_sid=...))")
        if not token:  # it signs the webhooks, and without it a call that was answered could not be hung up
            missing.append("TWILIO_AUTH_TOKEN (or Twilio(auth_token=...))")
        keys = tuple(part.strip() for part in token.split(",") if part.strip())
        first = keys[0] if keys else ""
        return CarrierSpec(name="twilio", account=sid, keys=keys, base_url=self.base_url.rstrip("/"), api_key=first)
