"""What a call is made from: data only, so that a trace's header can rebuild it."""

from __future__ import annotations

import msgspec

from ..config import AgentSpec
from ..settings import CallSettings

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
    settings: CallSettings = CallSettings()
    epoch: int = 0
