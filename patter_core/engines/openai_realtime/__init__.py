"""OpenAI's Realtime service as an engine: what people write, what goes over the wire, and the machine that speaks it.

No socket, no carrier and no clock live here; the service's own role, for tests and demos, is in the simulator.
"""

from .engine import OpenAIRealtimeEngine
from .options import OpenAIRealtime, OpenAIRealtimeSpec, SemanticVad, ServerVad

__all__ = ["OpenAIRealtime", "OpenAIRealtimeEngine", "OpenAIRealtimeSpec", "SemanticVad", "ServerVad"]
