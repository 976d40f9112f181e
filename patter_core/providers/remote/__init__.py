"""``on_message`` as a URL: the application's own server as the brain, over HTTP or a WebSocket."""

from __future__ import annotations

from .http_brain import RemoteBrain
from .options import RemoteLinkSpec, RemoteSpec, remote_spec
from .ws_brain import RemoteLinkBrain

__all__ = ["RemoteBrain", "RemoteLinkBrain", "RemoteLinkSpec", "RemoteSpec", "remote_spec"]
