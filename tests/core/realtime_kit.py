"""A call with the Realtime engine and the simulated service, shuttled by hand in virtual time.

``Stand`` plays the conversation's part as far as an engine can tell: it sends a frame of the caller's line every 20 ms,
plays speech at the speed of speech, reports what was heard of it, and interrupts.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from patter_core.audio.formats import PCMU_8K, AudioFormat, Encoding
from patter_core.audio.tones import tone
from patter_core.audio.transcode import Transcoder
from patter_core.call.words import (
    CloseLink,
    LinkClosed,
    LinkOpened,
    LinkSaid,
    OpenLink,
    Run,
    SayOnLink,
)
from patter_core.engines.engine import (
    CallerSaid,
    CallTool,
    CutShort,
    EngineContext,
    EngineOrder,
    GaveUp,
    Interrupted,
    Played,
    ProviderWarned,
    Said,
    Saying,
    Speak,
    SpeechEnded,
    StageFailed,
    Switched,
    Used,
    Worded,
)
from patter_core.engines.openai_realtime import OpenAIRealtime, OpenAIRealtimeEngine
from patter_core.providers.keys import Resolving
from patter_core.settings import CallSettings
from patter_core.simulator.openai_realtime_peer import OpenAIRealtimePeer, RealtimePlan, realtime_links
from patter_core.simulator.provider_peer import PeerClose, PeerDrop, PeerOrder, PeerRefuse, PeerSay

KEY = "sk-test"
FRAME_US = 20_000
LATENCY_US = 15_000


def make_context(line: AudioFormat = PCMU_8K, **changes: Any) -> EngineContext:
    values: dict[str, Any] = {
        "call_id": "CA1",
        "caller": "+15550001111",
        "callee": "+15550002222",
        "line": line,
        "system_prompt": "Be brief.",
        "first_message": "",
        "language": "en",
        "voice": "",
        "prefix": "engine:",
    }
    return EngineContext(**{**values, **changes})


def make_spec(**options: Any) -> Any:
    return OpenAIRealtime(api_key=KEY, **options).resolve(Resolving({}))


class Item:
    """Speech of the engine's, as the caller hears it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.us = 0
        self.heard_us = 0
        self.ended = False
        self.over = False  # heard to its end, or cut
        self.cut = False

    @property
    def heard(self) -> str:
        return self.text if not self.cut else self.text[: len(self.text) * self.heard_us // max(1, self.us)]


class Stand:
    """One call."""

    def __init__(
        self,
        plan: RealtimePlan | None = None,
        *later: RealtimePlan,
        context: EngineContext | None = None,
        settings: CallSettings | None = None,
        threshold_us: int = 300_000,
        epoch: int = RealtimePlan().epoch,
        interrupts: bool = True,
        **options: Any,
    ) -> None:
        self.context = context if context is not None else make_context()
        self.spec = make_spec(**options)
        self.engine = OpenAIRealtimeEngine(self.context, self.spec, settings or CallSettings(), epoch)
        plans = (plan or RealtimePlan(key=KEY), *later)
        self.maker: Callable[[int], OpenAIRealtimePeer] = realtime_links(*plans)
        self.peers: list[OpenAIRealtimePeer] = []
        self.by_link: dict[str, OpenAIRealtimePeer] = {}
        self.orders: list[tuple[int, EngineOrder]] = []
        self.sent: list[str] = []  # every message on any link, as text
        self.now = 0
        self.threshold_us = threshold_us
        self.interrupts = interrupts
        self.items: dict[str, Item] = {}
        self.words_order: list[str] = []  # items in the order they began
        self.runs: list[Run] = []
        self.open_links: set[str] = set()
        self._speaks = self.engine.speaks
        self._hears = self.engine.hears
        self._mail: list[tuple[int, int, Callable[[], Any]]] = []
        self._count = 0
        self._frame_at = 0
        self._phase = 0
        self.voice_until = -1
        self.hearing = True  # the line carries frames
        self._tone = tone(300, 10_000, 8000)
        self._to_line = Transcoder(AudioFormat(Encoding.L16, 8000), self.context.line)
        self._to_engine = Transcoder(self.context.line, self._hears)

    # --- what a test does --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.obey(self.engine.begin(self.now))

    def warm(self) -> None:
        self.obey(self.engine.warm(self.now))

    def tell(self, fact: Any) -> None:
        self.obey(self.engine.handle(self.now, fact))

    def speak(self, ms: int) -> None:
        """The caller speaks from now on, for so long."""
        self.voice_until = self.now + ms * 1000

    def run(self, ms: int) -> None:
        end = self.now + ms * 1000
        while True:
            at = min([end, self._frame_at, *(m[0] for m in self._mail[:1]), *self._deadlines()])
            self.now = max(self.now, at)
            if self._mail and self._mail[0][0] <= self.now:
                heapq.heappop(self._mail)[2]()
                continue
            if self._tick():
                continue
            if self._frame_at <= self.now:
                self._frame()
                continue
            if self.now >= end:
                return

    def say(self, ms: int, then: int) -> None:
        """The caller speaks, and time passes."""
        self.speak(ms)
        self.run(ms + then)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def told(self, kind: type[Any]) -> list[Any]:
        return [order for _, order in self.orders if isinstance(order, kind)]

    def when(self, kind: type[Any]) -> list[int]:
        return [at for at, order in self.orders if isinstance(order, kind)]

    @property
    def said(self) -> list[str]:
        """What the caller said, finally."""
        return [one.text for one in self.told(CallerSaid) if one.final]

    @property
    def heard(self) -> list[str]:
        """What the caller heard, in order."""
        return [self.items[name].heard for name in self.words_order if self.items[name].heard]

    @property
    def warned(self) -> list[str]:
        return [one.code for one in self.told(ProviderWarned)]

    @property
    def failed(self) -> list[str]:
        return [one.stage for one in self.told(StageFailed)]

    @property
    def gave_up(self) -> list[GaveUp]:
        return self.told(GaveUp)

    @property
    def switched(self) -> list[Switched]:
        return self.told(Switched)

    @property
    def used(self) -> list[Used]:
        return self.told(Used)

    @property
    def tools(self) -> list[CallTool]:
        return self.told(CallTool)

    @property
    def peer(self) -> OpenAIRealtimePeer:
        return self.peers[-1]

    def messages(self, kind: str, peer: OpenAIRealtimePeer | None = None) -> list[dict[str, Any]]:
        peers = [peer] if peer is not None else self.peers
        return [message for one in peers for message in one.messages if message["type"] == kind]

    # --- the conversation's part -------------------------------------------------------------------------------------

    def obey(self, orders: list[EngineOrder]) -> None:
        for order in orders:
            if not isinstance(order, SayOnLink):
                self.orders.append((self.now, order))
            match order:
                case OpenLink():
                    self._open(order)
                case SayOnLink(name, text):
                    self.sent.append(text)
                    self._post(partial(self._to_peer, name, text))
                case CloseLink(name):
                    self.open_links.discard(name)
                    peer = self.by_link.pop(name)
                    self._post(partial(peer.closed, self.now))
                case Saying(item, text) | Worded(item, text):
                    self._item(item).text += text
                case Speak(item, audio):
                    assert audio
                    self._item(item).us += self._speaks.duration_us(len(audio))
                case Said():
                    pass
                case SpeechEnded(item):
                    self._item(item).ended = True
                case CutShort(item):
                    self._cut(item)
                case Run():
                    self.runs.append(order)
        if self.engine.hears != self._hears:
            self._hears = self.engine.hears
            self._to_engine = Transcoder(self.context.line, self._hears)
        self._speaks = self.engine.speaks

    def _item(self, name: str) -> Item:
        if name not in self.items:
            self.items[name] = Item(name)
            self.words_order.append(name)
        return self.items[name]

    def _cut(self, name: str) -> None:
        item = self.items.get(name)
        if item is None or item.over:
            return
        item.over = item.cut = True
        self.tell(Interrupted(name, item.heard_us, item.heard))

    def interrupt(self) -> None:
        """The caller barged in."""
        for name in list(self.words_order):
            self._cut(name)

    @property
    def audible(self) -> bool:
        return any(item.us > item.heard_us and not item.over for item in self.items.values())

    def _play(self) -> None:
        """20 ms pass at the caller's ear."""
        for name in self.words_order:
            item = self.items[name]
            if item.over:
                continue
            item.heard_us = min(item.us, item.heard_us + FRAME_US)
            if item.ended and item.heard_us >= item.us:
                item.over = True
                self.tell(Played(name))
                continue
            return

    def _frame(self) -> None:
        self._frame_at += FRAME_US
        self._play()
        if not self.hearing:
            return
        voiced = self.now < self.voice_until
        samples = self._tone[self._phase * 320 : self._phase * 320 + 320] if voiced else bytes(320)
        self._phase = (self._phase + 1) % 400
        frame = self._to_line.process(samples)
        self.obey(self.engine.hear(self.now, self._to_engine.process(frame)))
        if self.interrupts and self.engine.voiced_us >= self.threshold_us and self.audible:
            self.interrupt()

    # --- the network -------------------------------------------------------------------------------------------------

    def _post(self, what: Callable[[], Any], delay: int = LATENCY_US) -> None:
        self._count += 1
        heapq.heappush(self._mail, (self.now + delay, self._count, what))

    def _open(self, order: OpenLink) -> None:
        peer = self.maker(len(self.peers))
        self.peers.append(peer)
        self.by_link[order.name] = peer
        self.open_links.add(order.name)
        headers = dict(order.headers)
        assert order.auth == "openai"
        headers["authorization"] = f"Bearer {KEY}"

        def upgrade() -> None:
            answer = peer.opened(self.now, order.url, headers)
            if not any(isinstance(one, PeerRefuse) for one in answer):
                self._post(lambda: self._hear_link(order.name, LinkOpened(order.name)))
            self._from_peer(order.name, answer)

        self._post(upgrade)

    def _to_peer(self, name: str, text: str) -> None:
        peer = self.by_link.get(name)
        if peer is not None and not peer.gone:
            self._from_peer(name, peer.said(self.now, text))

    def _from_peer(self, name: str, orders: list[PeerOrder]) -> None:
        for order in orders:
            fact: Any
            match order:
                case PeerSay(text):
                    fact = LinkSaid(name, text)
                case PeerClose(code, reason):
                    fact = LinkClosed(name, code, reason)
                case PeerRefuse(status, body):
                    fact = LinkClosed(name, 1006, body.decode(), status)
                case PeerDrop():
                    fact = LinkClosed(name, 1006)
                case _:
                    raise AssertionError(order)
            self._post(partial(self._hear_link, name, fact))

    def _hear_link(self, name: str, fact: Any) -> None:
        if name not in self.open_links:
            return
        if isinstance(fact, LinkClosed):
            self.open_links.discard(name)
            self.by_link.pop(name)
        self.tell(fact)

    def _deadlines(self) -> list[int]:
        all_of = [self.engine.deadline, *(peer.deadline for peer in self.by_link.values())]
        return [one for one in all_of if one is not None]

    def _tick(self) -> bool:
        for name, peer in list(self.by_link.items()):
            if peer.deadline is not None and peer.deadline <= self.now:
                self._from_peer(name, peer.tick(self.now))
                return True
        deadline = self.engine.deadline
        if deadline is not None and deadline <= self.now:
            self.obey(self.engine.tick(self.now))
            after = self.engine.deadline
            assert after is None or after > self.now, "a deadline that does not move"
            return True
        return False


def decoded(text: str) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    assert isinstance(value, dict)
    return value
