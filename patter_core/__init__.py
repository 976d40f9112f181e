"""patter's core: everything that can be decided about a telephone call, without a socket, a clock or a thread.

The names below are the public ones; each also lives in a module you can import alone:

* codecs: ``patter_core.audio``, ``patter_core.carriers.twilio`` (signatures, webhooks, TwiML, media streams, REST);
* machines: ``patter_core.wire`` (a connection), ``patter_core.call`` (a call), ``patter_core.switchboard`` (a server);
* the contract between a machine and whoever carries it: ``patter_core.contract``;
* the other side of every wire: ``patter_core.simulator``.
"""

from __future__ import annotations

from .agent import Agent, Echo
from .call.metrics import CallMetrics, CostBreakdown, LatencyBreakdown, TurnMetrics
from .call.result import CallResult, MachineDetection
from .carriers.telnyx.options import Telnyx
from .carriers.twilio.options import Twilio
from .errors import (
    AuthenticationError,
    ConfigError,
    LocalProtocolError,
    PatterConnectionError,
    PatterError,
    ProvisionError,
    RefusedError,
)
from .reasons import EndReason
from .settings import CallSettings, ServerSettings
from .tunnel import CloudflareTunnel, Ngrok, Static

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AuthenticationError",
    "CallMetrics",
    "CallResult",
    "CallSettings",
    "CloudflareTunnel",
    "ConfigError",
    "CostBreakdown",
    "Echo",
    "EndReason",
    "LatencyBreakdown",
    "LocalProtocolError",
    "MachineDetection",
    "Ngrok",
    "PatterConnectionError",
    "PatterError",
    "ProvisionError",
    "RefusedError",
    "ServerSettings",
    "Static",
    "Telnyx",
    "TurnMetrics",
    "Twilio",
    "__version__",
]
