"""A brain and the other side of its wire, shuttled by hand in virtual time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from patter_core.audio.formats import PCMU_8K
from patter_core.call.words import (
    CloseLink,
    Drop,
    Fetch,
    FetchEnded,
    FetchFailed,
    FetchGot,
    FetchStarted,
    LinkClosed,
    LinkOpened,
    LinkSaid,
    OpenLink,
    SayOnLink,
)
from patter_core.contract import Fault
from patter_core.engines.engine import CallTool, EngineContext, ProviderWarned, StageFailed, ToolAnswered, Used
from patter_core.engines.policy import ToolSpec
from patter_core.engines.stages import Brain, BrainOrder, Lost, Question, Replied, Text
from patter_core.simulator.provider_peer import (
    FetchPeer,
    LinkPeer,
    PeerAnswer,
    PeerBody,
    PeerClose,
    PeerDone,
    PeerDrop,
    PeerOrder,
    PeerRefuse,
    PeerSay,
)

__all__ = ["TOOLS", "Talk", "ask", "context"]

TOOLS = (
    ToolSpec(
        name="weather",
        description="The weather in a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    ),
    ToolSpec(name="end_call", built_in="end_call"),
)


def context(prompt: str = "Be brief.", tools: tuple[ToolSpec, ...] = TOOLS) -> EngineContext:
    return EngineContext("CA1", "+15550001111", "+15550002222", PCMU_8K, prompt, "", "en", "", tools=tools)


def ask(*said: str) -> Question:
    """A conversation in turns, of which the last is the caller's."""
    roles = ("user", "assistant") if len(said) % 2 else ("assistant", "user")
    messages = tuple({"role": roles[index % 2], "content": text} for index, text in enumerate(said))
    return Question(said[-1], messages, {"text": said[-1], "call_id": "CA1", "history": []})


class _Exchange:
    def __init__(self, peer: FetchPeer | LinkPeer) -> None:
        self.peer = peer
        self.started = False


class Talk:
    """``fetch`` and ``link`` make the peers, given how many there were before. ``cut``: bodies arrive in pieces of so
    many bytes. ``tool`` answers tools, None leaves them to the test. ``log`` is what the brain ordered, with its time,
    but for the wire's own orders, which are in ``wire``."""

    def __init__(
        self,
        brain: Brain,
        fetch: Callable[[int], FetchPeer] | None = None,
        link: Callable[[int], LinkPeer] | None = None,
        *,
        secrets: dict[str, tuple[str, str]] | None = None,
        cut: int = 0,
        tool: Callable[[CallTool], ToolAnswered | None] | None = None,
    ) -> None:
        self.brain = brain
        self.now = 0
        self.log: list[tuple[int, BrainOrder]] = []
        self.wire: list[BrainOrder] = []
        self.peers: list[Any] = []
        self.fetches: list[Fetch] = []
        self._make_fetch = fetch
        self._make_link = link
        self._live: dict[str, _Exchange] = {}
        self._secrets = secrets or {}
        self._cut = cut
        self._tool = tool
        self._names: set[str] = set()
        self._do(brain.begin(0))

    # --- what a test does --------------------------------------------------------------------------------------------

    def reply(self, question: Question, seconds: float = 60) -> list[BrainOrder]:
        """Ask, and run until all is quiet; what was ordered."""
        at = len(self.log)
        self.start(question)
        self.run(seconds)
        return [order for _, order in self.log[at:]]

    def start(self, question: Question) -> None:
        self._do(self.brain.reply(self.now, question))

    def stop(self) -> None:
        self._do(self.brain.stop(self.now))

    def end(self) -> None:
        self._do(self.brain.end(self.now))
        assert self._live == {}
        assert self.brain.deadline is None

    def answer(self, answer: ToolAnswered) -> None:
        self._do(self.brain.tool_answered(self.now, answer))

    def run(self, seconds: float) -> None:
        """So much time passes; it stands still when nothing is left to happen."""
        end = self.now + round(seconds * 1e6)
        for _ in range(100_000):
            due = [(at, 1, name) for name, one in self._live.items() if (at := one.peer.deadline) is not None]
            if self.brain.deadline is not None:
                due.append((self.brain.deadline, 0, ""))
            at, _, name = min(due, default=(end + 1, 0, ""))
            if at > end:
                self.now = end
                return
            self.now = max(self.now, at)
            if name:
                self._peer_said(name, self._live[name].peer.tick(self.now))
            else:
                self._do(self.brain.tick(self.now))
                assert self.brain.deadline is None or self.brain.deadline > self.now
        raise AssertionError("it never comes to rest")

    # --- what came of it ---------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        return "".join(order.text for _, order in self.log if isinstance(order, Text))

    def of(self, kind: type[Any]) -> list[Any]:
        return [order for _, order in self.log if isinstance(order, kind)]

    def when(self, kind: type[Any]) -> float:
        """Seconds, of the last."""
        return [at for at, order in self.log if isinstance(order, kind)][-1] / 1e6

    @property
    def gist(self) -> list[str]:
        """What happened, without times, text in one piece, and details left out."""
        out: list[str] = []
        for _, order in self.log:
            match order:
                case Text(text):
                    if out and out[-1].startswith("text:"):
                        out[-1] += text
                    else:
                        out.append(f"text:{text}")
                case CallTool(_, name, arguments):
                    out.append(f"tool:{name}:{arguments}")
                case Replied() | StageFailed() | Lost():
                    out.append(type(order).__name__)
                case ProviderWarned(_, code, _):
                    out.append(f"warned:{code}")
                case Used(usage):
                    out.append(f"used:{usage.input_text}/{usage.cached_text}/{usage.output_text}")
        return out

    # --- inside ------------------------------------------------------------------------------------------------------

    def _do(self, orders: Sequence[BrainOrder]) -> None:
        answers: list[ToolAnswered] = []
        for order in orders:
            match order:
                case Fetch(name):
                    self.wire.append(order)
                    self.fetches.append(order)
                    self._fetch(name, order)
                case OpenLink(name):
                    self.wire.append(order)
                    self._open(name, order)
                case SayOnLink(name, text):
                    self.wire.append(order)
                    one = self._live[name]
                    assert one.started, "it spoke on a link that is not open"
                    self._peer_said(name, one.peer.said(self.now, text))  # type: ignore[union-attr]
                case Drop(name) | CloseLink(name):
                    self.wire.append(order)
                    self._live.pop(name).peer.closed(self.now)  # what is dropped is live: nothing is dropped twice
                case _:
                    self.log.append((self.now, order))
                    if isinstance(order, CallTool) and self._tool is not None:
                        answer = self._tool(order)
                        if answer is not None:
                            answers.append(answer)
        for answer in answers:
            self.answer(answer)

    def _fetch(self, name: str, order: Fetch) -> None:
        assert name not in self._names, "a name is used again"
        self._names.add(name)
        assert self._make_fetch is not None
        peer = self._make_fetch(len(self.fetches) - 1)
        self.peers.append(peer)
        self._live[name] = _Exchange(peer)
        headers = dict(order.headers)
        if order.auth:
            header, value = self._secrets[order.auth]
            headers[header] = value
        if order.sign:
            key = self._secrets[order.sign][1]
            headers["X-Patter-Signature"] = hmac.new(key.encode(), order.body, hashlib.sha256).hexdigest()
        parts = urlsplit(order.url)
        self._peer_said(name, peer.asked(self.now, order.method, parts.path, headers, order.body))

    def _open(self, name: str, order: OpenLink) -> None:
        assert name not in self._names, "a name is used again"
        self._names.add(name)
        assert self._make_link is not None
        peer = self._make_link(sum(isinstance(one, OpenLink) for one in self.wire) - 1)
        self.peers.append(peer)
        one = self._live[name] = _Exchange(peer)
        headers = dict(order.headers)
        if order.auth:
            header, value = self._secrets[order.auth]
            headers[header] = value
        orders = peer.opened(self.now, urlsplit(order.url).path, headers)
        if any(isinstance(told, PeerRefuse) for told in orders):
            refusal = next(told for told in orders if isinstance(told, PeerRefuse))
            del self._live[name]
            self._do(self.brain.handle(self.now, LinkClosed(name, 1006, refusal.body.decode(), refusal.status)))
            return
        one.started = True
        self._do(self.brain.handle(self.now, LinkOpened(name)))
        self._peer_said(name, orders)

    def _peer_said(self, name: str, orders: Sequence[PeerOrder]) -> None:
        for order in orders:
            if name not in self._live:
                return
            match order:
                case PeerAnswer(status, headers):
                    lower = {key.lower(): value for key, value in headers}
                    self._do(self.brain.handle(self.now, FetchStarted(name, status, lower)))
                case PeerBody(data):
                    size = self._cut or max(1, len(data))
                    for at in range(0, len(data), size):
                        self._do(self.brain.handle(self.now, FetchGot(name, data[at : at + size])))
                case PeerDone():
                    self._live.pop(name, None)
                    self._do(self.brain.handle(self.now, FetchEnded(name)))
                case PeerSay(text):
                    self._do(self.brain.handle(self.now, LinkSaid(name, text)))
                case PeerClose(code, reason):
                    self._live.pop(name)
                    self._do(self.brain.handle(self.now, LinkClosed(name, code, reason)))
                case PeerDrop():
                    one = self._live.pop(name)
                    if hasattr(one.peer, "asked"):
                        self._do(self.brain.handle(self.now, FetchFailed(name, Fault.RESET)))
                    else:
                        self._do(self.brain.handle(self.now, LinkClosed(name, 1006)))
