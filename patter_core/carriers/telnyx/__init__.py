"""Telnyx: request signatures, webhooks, media streams, the Call Control API. Both roles of each, for the simulator.

Nothing here knows a call, a clock or a socket. Facts are Telnyx's documentation and recorded bodies; where they
disagree the module's docstring says which one it follows.
"""

from __future__ import annotations

__all__: list[str] = []
