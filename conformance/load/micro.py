"""What one frame costs an engine, alone: no socket, no loop, no call around it. Prints microseconds; nothing is gated.

    python -m conformance.load.micro [--frames 5000]

*In*: a caller's frame of 20 ms, from ``Engine.hear`` (for Deepgram: ``Ear.hear``) to the message for its link. *Out*: a
message of the provider's with 200 ms of speech (ConvAI: 240), to the order to play it; divide by ten (twelve) for a
frame's share. Conversion between the line's mu-law and the engine's format is in it, where there is any. Not in it: the
carrier's message, the ledger, WebSocket framing, the system calls (``conformance.load.live`` has all that).
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from patter_core import DeepgramSTT, ElevenLabsConvAI, OpenAIRealtime
from patter_core.audio.formats import PCMU_8K, AudioFormat
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.transcode import Transcoder
from patter_core.call.metrics import percentile
from patter_core.call.words import LinkOpened, LinkSaid, OpenLink, SayOnLink, SendOnLink
from patter_core.edge.speech import caller_utterances
from patter_core.engines.build import build_engine
from patter_core.engines.engine import EngineContext, Speak
from patter_core.engines.stage_table import build_ear
from patter_core.providers.keys import Resolving
from patter_core.settings import CallSettings
from patter_core.simulator.deepgram_peer import Deepgram
from patter_core.simulator.elevenlabs_peer import ConvAIPeer, ConvAIPlan
from patter_core.simulator.openai_realtime_peer import Answer, OpenAIRealtimePeer, RealtimePlan
from patter_core.simulator.provider_peer import LinkPeer, PeerSay

__all__ = ["main", "measure"]

KEY = "simulated-key"
FRAME_US = 20_000
_FRAME = 160
_PAUSE_FRAMES = 150  # between two questions: the answer is given in it
_REPLY = "An answer that takes a while to say, so that there is something to play."


def _between(source: AudioFormat, target: AudioFormat) -> Transcoder | None:
    return None if source == target else Transcoder(source, target)


class _Bench:
    """An engine (or an ear) and its provider, in virtual time; only the engine's own work is measured."""

    def __init__(self, subject: Any, peer: LinkPeer) -> None:
        self._subject = subject
        self._peer = peer
        self._link = ""
        self._now = 0
        self._to_engine = _between(PCMU_8K, getattr(subject, "hears", PCMU_8K))
        self._to_line = _between(getattr(subject, "speaks", PCMU_8K), PCMU_8K)
        self.heard_ns: list[int] = []
        self.played_ns: list[int] = []

    def begin(self) -> None:
        """Dial, and let the session begin."""
        self._obey(self._subject.begin(self._now))

    def frame(self, audio: bytes) -> None:
        """20 ms."""
        self._now += FRAME_US
        began = time.perf_counter_ns()
        if self._to_engine is not None:
            audio = self._to_engine.process(audio)
        orders = self._subject.hear(self._now, audio)
        took = time.perf_counter_ns() - began
        if any(type(order) in (SayOnLink, SendOnLink) for order in orders):
            self.heard_ns.append(took)
        self._obey(orders)
        while self._peer.deadline is not None and self._peer.deadline <= self._now:
            self._answered(self._peer.tick(self._now))
        while self._subject.deadline is not None and self._subject.deadline <= self._now:
            self._obey(self._subject.tick(self._now))

    def _obey(self, orders: Sequence[Any]) -> None:
        for order in orders:
            if isinstance(order, OpenLink):
                self._link = order.name
                parts = urlsplit(order.url)
                self._answered(self._peer.opened(self._now, f"{parts.path}?{parts.query}", {}))
                self._obey(self._subject.handle(self._now, LinkOpened(order.name)))
            elif isinstance(order, SayOnLink):
                self._answered(self._peer.said(self._now, order.text))
            elif isinstance(order, SendOnLink):
                self._answered(self._peer.said(self._now, order.data))

    def _answered(self, orders: Sequence[Any]) -> None:
        for order in orders:
            assert isinstance(order, PeerSay), order
            fact = LinkSaid(self._link, order.text)
            began = time.perf_counter_ns()
            back = self._subject.handle(self._now, fact)
            if self._to_line is not None:
                for one in back:
                    if type(one) is Speak:
                        self._to_line.process(one.audio)
            took = time.perf_counter_ns() - began
            if any(type(one) is Speak for one in back):
                self.played_ns.append(took)
            self._obey(back)


def measure(kind: str, frames: int) -> _Bench:
    """``openai pcmu``, ``openai pcm24``, ``convai`` or ``deepgram``, with so many frames of a caller who asks and
    listens in turns."""
    context = EngineContext("CA1", "+15550100001", "+15550001234", PCMU_8K, "Be brief.", "", "en", "", "engine:")
    settings, resolving = CallSettings(), Resolving({})
    subject: Any
    peer: LinkPeer
    if kind.startswith("openai"):
        option = OpenAIRealtime(api_key=KEY, audio=kind.partition(" ")[2])
        subject = build_engine(option.resolve(resolving), context, settings)
        peer = OpenAIRealtimePeer(RealtimePlan(answers=(Answer(texts=(_REPLY,)),)))
    elif kind == "convai":
        hosted = ElevenLabsConvAI(agent_id="agent_1", api_key=KEY)
        subject = build_engine(hosted.resolve(resolving), context, settings)
        peer = ConvAIPeer(ConvAIPlan(key="", replies=(_REPLY,) * 1000, ping_every_us=1 << 60))
    else:
        subject = build_ear(DeepgramSTT(api_key=KEY).resolve(resolving), "ear:", context, settings)
        peer = Deepgram(("goodbye",) * 1000).link()
    bench = _Bench(subject, peer)
    question = ulaw_encode(caller_utterances()["goodbye"].pcm)
    audio = [question[at : at + _FRAME].ljust(_FRAME, b"\xff") for at in range(0, len(question), _FRAME)]
    audio += [b"\xff" * _FRAME] * _PAUSE_FRAMES
    bench.begin()
    gc.collect()
    for number in range(frames):
        bench.frame(audio[number % len(audio)])
    return bench


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=5000)
    options = parser.parse_args(argv)
    print(f"Python {sys.version.split()[0]}; microseconds{'p50':>18}{'p99':>8}{'n':>8}")
    for kind in ("openai pcmu", "openai pcm24", "convai", "deepgram"):
        bench = measure(kind, options.frames)
        for title, took in ((f"{kind}: frame in", bench.heard_ns), (f"{kind}: speech out", bench.played_ns)):
            if took:
                at = [percentile(took, level) / 1000 for level in (0.5, 0.99)]
                print(f"{title:<36}" + "".join(f"{figure:>8.1f}" for figure in at) + f"{len(took):>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
