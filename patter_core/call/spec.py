"""What a call is made from: data only, so that a trace's header can rebuild it."""

from __future__ import annotations

import msgspec

from ..carriers.carrier import DialPlan
from ..config import AgentSpec
from ..settings import CallSettings
from .pricing import DEFAULT_TABLE, PriceTable

__all__ = ["CallSpec"]


class CallSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One call. ``epoch`` is the unix time in microseconds at which the board's clock was 0."""

    call_id: str
    carrier: str
    agent: AgentSpec
    caller: str = ""
    callee: str = ""
    direction: str = "inbound"
    account: str = ""
    base_url: str = ""
    options: dict[str, str] = {}  # the carrier's own settings
    webhooks: str = ""  # where the carrier reports: our origin with /webhooks/<carrier>
    dial: DialPlan | None = None  # a call of ours; ``call_id`` is then its ``ref`` until the carrier names it
    recording: bool = False  # by the carrier
    recording_announcement: str = ""
    local_recording: str = ""  # a path without its .wav
    voicemail_message: str = ""
    settings: CallSettings = CallSettings()
    prices: PriceTable | None = None  # None: those that come with this version

    epoch: int = 0

    @property
    def price_table(self) -> PriceTable:
        """What a unit costs."""
        return DEFAULT_TABLE if self.prices is None else self.prices
