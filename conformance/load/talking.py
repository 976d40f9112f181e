"""What calls with a provider need for a load: cheap scripted providers, and a stamp on the first sound of each reply.

The providers and the carrier are in one process, so one clock sees both ends of our part: the first bytes of a reply
are replaced by a number as they leave the provider, and the carrier's handset recognises them when they arrive. That
works where bytes pass through untouched, which is how these engines run here: mu-law all the way.
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from collections.abc import Callable
from functools import partial
from typing import Any

from patter_core import DeepgramSTT, ElevenLabsTTS, OpenAILLM, OpenAIRealtime
from patter_core.audio.g711 import ulaw_encode
from patter_core.edge.speech import caller_utterances
from patter_core.simulator.carrier import SimulatedCarrier
from patter_core.simulator.deepgram_peer import Deepgram
from patter_core.simulator.elevenlabs_voice_peer import ElevenLabsSpeechPeer, SpeechPlan
from patter_core.simulator.handset import Handset
from patter_core.simulator.llm_peer import ChatPeer, LlmAnswer
from patter_core.simulator.openai_realtime_peer import Answer, OpenAIRealtimePeer, RealtimePlan
from patter_core.simulator.provider_peer import FetchPeer, LinkPeer, PeerAnswer, PeerBody, PeerOrder, PeerSay
from patter_core.simulator.providers import Routes
from patter_core.simulator.script import Act, HangUp, Speak, Wait

__all__ = ["ENGINES", "Stamps", "acts", "agent_options", "ears", "routes"]

ENGINES = ("openai", "pipeline")
KEY = "simulated-key"
REPLY = "It is ten to nine."
_SAYS = "goodbye"
_PERIOD_MS = 3_600  # the caller's 0.8 s, the providers' thinking, the reply's 1.1 s, and room
_MAGIC = b"\x11\x91\x22\xa2\x33"
_STAMP_BYTES = len(_MAGIC) + 4  # whole groups of base64
_DELTA = '"delta":"'


class Stamps:
    """First sounds on their way: when each left the provider, and how long it took (microseconds): the calls' first
    messages, while calls still begin, and the replies after that."""

    def __init__(self, calls: int) -> None:
        self.left: dict[bytes, int] = {}
        self.greetings_us: list[int] = []
        self.replies_us: list[int] = []
        self._calls = calls
        self._count = 0

    def next(self) -> bytes:
        """What the reply that leaves now begins with."""
        self._count += 1
        stamp = _MAGIC + self._count.to_bytes(4, "big")
        self.left[stamp] = time.monotonic_ns()
        return stamp

    def seen(self, payload: bytes) -> None:
        """A message with audio arrived at the carrier."""
        if payload.startswith(_MAGIC):
            left = self.left.pop(payload[:_STAMP_BYTES], None)
            if left is not None:
                first = int.from_bytes(payload[len(_MAGIC) : _STAMP_BYTES], "big") <= self._calls
                (self.greetings_us if first else self.replies_us).append((time.monotonic_ns() - left) // 1000)


class _Ear(Handset):
    """A handset that looks at what arrives."""

    def __init__(self, stamps: Stamps) -> None:
        super().__init__()
        self._stamps = stamps

    def media(self, payload: bytes) -> None:
        self._stamps.seen(payload)
        super().media(payload)


def ears(carrier: SimulatedCarrier, stamps: Stamps) -> None:
    """Give every planned call such a handset."""
    for leg in carrier._exchange.legs:
        leg.handset = _Ear(stamps)


class _StampedLink:
    """A Realtime session whose replies are stamped as they leave."""

    def __init__(self, peer: LinkPeer, stamps: Stamps) -> None:
        self._peer = peer
        self._stamps = stamps
        self._begins = False

    @property
    def deadline(self) -> int | None:
        return self._peer.deadline

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        return self._peer.opened(now, target, headers)

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        return self._stamped(self._peer.said(now, data))

    def tick(self, now: int) -> list[PeerOrder]:
        return self._stamped(self._peer.tick(now))

    def closed(self, now: int) -> None:
        self._peer.closed(now)

    def _stamped(self, orders: list[PeerOrder]) -> list[PeerOrder]:
        for index, order in enumerate(orders):
            if not isinstance(order, PeerSay):
                continue
            if order.text.startswith('{"type":"response.created"'):
                self._begins = True
            elif self._begins and order.text.startswith('{"type":"response.output_audio.delta"'):
                self._begins = False
                at = order.text.rindex(_DELTA) + len(_DELTA)
                stamp = b2a_base64(self._stamps.next(), newline=False).decode("ascii")
                orders[index] = PeerSay(order.text[:at] + stamp + order.text[at + len(stamp) :])
        return orders


class _StampedFetch:
    """A request for speech whose first piece is stamped."""

    def __init__(self, peer: FetchPeer, stamps: Stamps) -> None:
        self._peer = peer
        self._stamps = stamps
        self._begins = True

    @property
    def deadline(self) -> int | None:
        return self._peer.deadline

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        if "output_format=ulaw_8000" not in target:
            raise ValueError(f"the load measures mu-law that passes through, and was asked for {target}")
        return self._stamped(self._peer.asked(now, method, target, headers, body))

    def tick(self, now: int) -> list[PeerOrder]:
        return self._stamped(self._peer.tick(now))

    def closed(self, now: int) -> None:
        self._peer.closed(now)

    def _stamped(self, orders: list[PeerOrder]) -> list[PeerOrder]:
        for index, order in enumerate(orders):
            if isinstance(order, PeerAnswer) and order.status != 200:
                self._begins = False
            elif self._begins and isinstance(order, PeerBody) and len(order.data) >= _STAMP_BYTES:
                self._begins = False
                orders[index] = PeerBody(self._stamps.next() + order.data[_STAMP_BYTES:])
        return orders


def routes(engine: str, stamps: Stamps) -> Routes:
    """The engine's providers."""
    if engine == "openai":
        plan = RealtimePlan(key=KEY, answers=(Answer(texts=(REPLY,), think_us=250_000),))
        return Routes({"/v1/realtime": lambda number: _StampedLink(OpenAIRealtimePeer(plan), stamps)})
    said = (_SAYS,) * 10_000
    answer = LlmAnswer(text=tuple(word + " " for word in REPLY.split()), first_us=150_000, piece_us=10_000)
    voice = SpeechPlan(key=KEY, first_us=120_000)

    def speaks(number: int) -> FetchPeer:
        return _StampedFetch(ElevenLabsSpeechPeer(voice), stamps)

    fetches: dict[str, Callable[[int], FetchPeer]] = {
        "/v1/text-to-speech": speaks,
        "/v1/chat/completions": partial(ChatPeer, (answer,), key=KEY),
    }
    return Routes({"/v1/listen": lambda number: Deepgram(said, key=KEY).link()}, fetches)


def agent_options(engine: str, port: int) -> dict[str, Any]:
    """What ``phone.agent`` is given."""
    http, ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    if engine == "openai":
        return {"engine": OpenAIRealtime(api_key=KEY, base_url=f"{ws}/v1/realtime"), "first_message": "Hello."}
    return {
        "stt": DeepgramSTT(api_key=KEY, base_url=ws),
        "llm": OpenAILLM(api_key=KEY, base_url=f"{http}/v1"),
        "tts": ElevenLabsTTS(api_key=KEY, base_url=http),
        "first_message": "Hello.",
    }


def acts(wait_ms: int, length_ms: int) -> tuple[Act, ...]:
    """A caller who listens for ``wait_ms``, asks again and again until ``length_ms`` have gone by, and hangs up."""
    audio = ulaw_encode(caller_utterances()[_SAYS].pcm)
    spoken_ms = len(audio) // 8
    done: list[Act] = [Wait(wait_ms)]
    left = length_ms - wait_ms
    while left >= _PERIOD_MS:
        done += [Speak(audio), Wait(_PERIOD_MS - spoken_ms)]
        left -= _PERIOD_MS
    return (*done, Wait(max(0, left)), HangUp())
