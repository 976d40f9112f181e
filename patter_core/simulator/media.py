"""One media stream, the carrier's end: a socket, the carrier's messages on it, and the line's audio made to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audio.formats import PCMU_8K, AudioFormat
from ..audio.transcode import Transcoder
from ..contract import ConnId
from ..wire.client import ClientConnection
from ..wire.endpoint import Phase as WirePhase
from .callee import Misbehaviour
from .orders import StreamWanted

if TYPE_CHECKING:
    from .leg import Leg
    from .side import StreamPeer

__all__ = ["StreamEnd"]


class StreamEnd:
    """``main`` streams carry the call; another is only there because a carrier opened one too many.

    The person on the line speaks and hears mu-law; other formats are converted here.
    """

    def __init__(
        self,
        leg: Leg,
        conn: ConnId,
        wire: ClientConnection,
        peer: StreamPeer,
        stream_id: str,
        wanted: StreamWanted,
        hears: AudioFormat,
        upset: frozenset[Misbehaviour],
        main: bool = True,
    ) -> None:
        self.leg = leg
        self.conn = conn
        self.wire = wire
        self.peer = peer
        self.id = stream_id
        self.wanted = wanted
        self.main = main
        self.opened = False
        self.stopping = False  # `stop` is said
        self.refused = ""
        self.code = 0  # how it closed, or the status it was refused with
        self.frames = 0
        self._swaps = Misbehaviour.SWAPPED_MEDIA in upset
        self._doubles = Misbehaviour.DOUBLED_MEDIA in upset
        self._held = ""
        self._hears = None if hears == PCMU_8K else Transcoder(PCMU_8K, hears)
        self._plays = None if wanted.plays == PCMU_8K else Transcoder(wanted.plays, PCMU_8K)
        self._frame_bytes = hears.bytes_for_ms(20)
        # A resampler gives its first samples late: that much silence goes first, so that every frame is whole.
        self._ready = bytearray()
        if self._hears is not None and self._hears.delay_us:
            self._ready += hears.silence(20)

    @property
    def streaming(self) -> bool:
        """Audio flows."""
        return self.opened and not self.stopping

    def say(self, text: str) -> None:
        """Send one message, while the socket takes any."""
        if self.wire.phase is WirePhase.WEBSOCKET:
            self.wire.send(text)

    def frame(self, payload: bytes) -> None:
        """The caller's next 20 ms, mu-law."""
        self.frames += 1
        if self._hears is not None:
            self._ready += self._hears.process(payload)
            payload = bytes(self._ready[: self._frame_bytes])
            del self._ready[: self._frame_bytes]
        text = self.peer.media(payload, self.frames * 20)
        if self._swaps and self.frames % 10 == 0:
            self._held = text
            return
        self.say(text)
        if self._held:
            self.say(self._held)
            self._held = ""
        if self._doubles and self.frames % 10 == 0:
            self.say(text)

    def played(self, payload: bytes) -> bytes:
        """What the server sent, as mu-law."""
        return payload if self._plays is None else self._plays.process(payload)

    def cleared(self) -> None:
        """The server threw away what it sent: what it sends next begins anew."""
        if self._plays is not None:
            self._plays.reset()
