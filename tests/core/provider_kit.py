"""The whole server, a simulated carrier and simulated providers on the virtual network: what stories about agents with
real providers stand on.

The providers answer under their own names (``HOSTS``), want TLS, and get the keys of ``ENVIRON`` to see, which the
network puts in as the edge would. ``over`` also sees that the server let go of every link and every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from patter_core.agent import Agent, resolve_agent
from patter_core.audio.formats import L16_24K, AudioFormat, Encoding
from patter_core.audio.g711 import ulaw_decode
from patter_core.audio.tones import tone
from patter_core.audio.transcode import Transcoder
from patter_core.config import AgentSpec
from patter_core.contract import ConnId, StopRequested
from patter_core.providers.keys import Resolving
from patter_core.simulator import elevenlabs_peer, elevenlabs_voice_peer
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.events import SimCallDone
from patter_core.simulator.media import StreamEnd
from patter_core.simulator.network import Node
from patter_core.simulator.openai_realtime_peer import OpenAIRealtimePeer, RealtimePlan
from patter_core.simulator.openai_speech_peer import OpenAISpeechPeer
from patter_core.simulator.provider_events import ProviderAsked, ProviderEvent, ProviderOdd, ProviderOver
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import Routes, SimulatedProviders
from tests.core.carriers_world import CALLBACKS, ECHO, CarriersWorld, pitch, pitch_ms

__all__ = ["ENVIRON", "HOSTS", "ProviderWorld", "join_providers", "realtime", "spoken", "voiced_frames"]

CHARACTER_MS = 60
"""How long the simulated providers take to say one."""

ENVIRON = {
    "OPENAI_API_KEY": "openai-key",
    "ELEVENLABS_API_KEY": "xi-key",
    "DEEPGRAM_API_KEY": "deepgram-key",
    "ANTHROPIC_API_KEY": "anthropic-key",
    "GROQ_API_KEY": "groq-key",
    "CEREBRAS_API_KEY": "cerebras-key",
}

HOSTS = (
    "api.openai.com", "api.elevenlabs.io", "api.deepgram.com", "api.anthropic.com", "api.groq.com", "api.cerebras.ai",
    "llm.example", "backup.example", "hooks.example",
)  # fmt: skip
"""The providers' own names, an endpoint that speaks like OpenAI's, another to fall back on, and a user's webhook."""

PLAIN = ("provider.test", 80)
"""The same board without TLS: for options with a ``base_url`` of one's own."""


def join_providers(
    world: Any, routes: Callable[[], Routes], *, latency_us: int | None = None, cut: int = 0
) -> ContractChecker:
    """Put simulated providers on a world's network, inside a checker with twins, each with ``routes()`` of its own.

    ``latency_us``: one way to them; ``cut``: what goes to and fro arrives in pieces of so many bytes.
    """
    boards = [SimulatedProviders(routes()) for _ in range(3)]
    checker = ContractChecker(boards[0], twin=boards[1], ticked=boards[2])
    node = world.net.add("providers", checker)
    for host in HOSTS:
        world.net.place(host, 443, node, "203.0.113.7", tls=True, latency_us=latency_us, cut=cut)
    world.net.place(*PLAIN, node, "203.0.113.7", tls=False, latency_us=latency_us, cut=cut)
    world.providers = node
    return checker


# --- voices that can be told apart -----------------------------------------------------------------------------------


def _sung(text: str, ms: int, format: AudioFormat) -> bytes:
    pcm = tone(pitch(text), ms, format.rate)
    return Transcoder(AudioFormat(Encoding.L16, format.rate), format).process(pcm)


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every simulated provider says each text at a pitch of its own (``pitch``), so that an ear knows what it hears.
    What a Realtime service sent is kept as ``sent`` of its peer, what a carrier played as ``played`` of its stream."""

    def speech(text: str, format: AudioFormat, ms_per_character: int = CHARACTER_MS) -> bytes:
        return _sung(text, max(ms_per_character, len(text) * ms_per_character), format)

    monkeypatch.setattr(elevenlabs_peer, "speech", speech)
    monkeypatch.setattr(elevenlabs_voice_peer, "speech", speech)

    piece = OpenAIRealtimePeer._piece

    def sing(self: Any, response: Any, words: str, sound: bytes) -> None:
        item = response.items[-1]
        text = response.answer.texts[len(response.items) - 1]
        ms = item["audio_ms"] + self._speaks.duration_us(len(sound)) // 1000
        whole = _sung(text, ms, self._speaks)
        sound = whole[len(whole) - len(sound) :]
        self.sent = getattr(self, "sent", b"") + sound
        piece(self, response, words, sound)

    monkeypatch.setattr(OpenAIRealtimePeer, "_piece", sing)

    body = OpenAISpeechPeer._speak

    def speak(self: Any, *args: Any) -> Any:
        kind, sound = body(self, *args)
        text = self._account.spoken[-1]["input"]
        return kind, _sung(text, len(sound) // 48, L16_24K)

    monkeypatch.setattr(OpenAISpeechPeer, "_speak", speak)

    played = StreamEnd.played

    def keep(self: Any, payload: bytes) -> bytes:
        self.kept = getattr(self, "kept", b"") + payload
        return played(self, payload)

    monkeypatch.setattr(StreamEnd, "played", keep)


def voiced_frames(sound: bytes) -> list[int]:
    """Which 20 ms of this mu-law are not silence."""
    samples = np.frombuffer(ulaw_decode(sound), "<i2").astype(np.int64)
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return [int(n) for n in np.nonzero(np.abs(frames).max(axis=1) > 200)[0]] if len(frames) else []


def realtime(*answers: Any, words: tuple[str, ...] = (), **plan: Any) -> Callable[[], Routes]:
    """OpenAI's Realtime service, that answers this."""
    made = RealtimePlan(key="openai-key", words=words, answers=answers, **plan)
    return lambda: standard(ProviderScript(realtime=(made,)))


class ProviderWorld(CarriersWorld):
    """``providers`` is the node, ``provider_board`` what is in it. What else there is: see ``CarriersWorld``."""

    providers: Node

    def __init__(
        self,
        agent: Agent | Mapping[str, Agent] = ECHO,
        plans: tuple[CallPlan, ...] = (),
        *,
        routes: Callable[[], Routes],
        carrier: str = "twilio",
        environ: Mapping[str, str] = ENVIRON,
        webhook_secret: str = "",
        provider_latency_us: int | None = None,
        cut: int = 0,
        **options: Any,
    ) -> None:
        self.resolving = Resolving(environ)
        self.webhook_secret = webhook_secret
        super().__init__(carrier, agent, plans, **options)
        self.server.secrets = self.resolving.secrets
        for name in {spec.name for spec in self.config.carriers}:
            self.resolving.secrets.setdefault(name, ("Authorization", "carrier"))
        self.odd_expected = False
        self.provider_checker = join_providers(self, routes, latency_us=provider_latency_us, cut=cut)
        board = self.provider_checker.board
        assert isinstance(board, SimulatedProviders)
        self.provider_board = board

    def _resolve(self, agent: Agent, on: Mapping[str, Any], handlers: dict[str, Any], number: str) -> AgentSpec:
        """As the server's application would: providers' options become specs, keys go to the edge's table. ``on`` may
        have an ``on_message``: a function, or the address of the application's own server."""
        callbacks: dict[str, Any] = {name: self._keep(name, on.get(name)) for name in CALLBACKS}
        reply = on.get("on_message")
        if reply is not None:
            callbacks["on_message"] = reply if isinstance(reply, str) else self._keep("on_message", reply)
        spec = resolve_agent(
            agent, callbacks, handlers, prefix=f"{number}/", resolving=self.resolving, secret=self.webhook_secret
        )
        assert self.resolving.missing == []
        return spec

    # --- what was heard ----------------------------------------------------------------------------------------------

    def ear(self, call_id: str = "") -> bytes:
        """What the caller has heard so far, mu-law."""
        return self._tape(call_id)[1]

    def mouth(self, call_id: str = "") -> bytes:
        """What the caller has said so far, mu-law; frame by frame as old as what they heard."""
        return self._tape(call_id)[0]

    def _tape(self, call_id: str) -> tuple[bytes, bytes]:
        call_id = call_id or self.first
        for event in self.sim_told(SimCallDone):
            if event.call_id == call_id:
                return event.caller, event.heard
        leg = self.leg(call_id)
        return bytes(leg.sent), bytes(leg.handset.heard)

    def ms_of(self, text: str, call_id: str = "") -> int:
        """For how many milliseconds the caller heard this being said."""
        return pitch_ms(self.ear(call_id), pitch(text))

    def whole(self, text: str, call_id: str = "") -> bool:
        """The caller heard this to its end."""
        return self.ms_of(text, call_id) >= CHARACTER_MS * len(text) - 60

    def silences(self, call_id: str = "") -> list[int]:
        """Milliseconds from each end of the caller's speech to the first sound of the agent's after it, as the caller
        heard it: a frame that leaves the handset now, and one that is played now, are as old as each other."""
        mine, theirs = voiced_frames(self.mouth(call_id)), voiced_frames(self.ear(call_id))
        ends = [n for n, after in zip(mine, [*mine[1:], 1 << 60], strict=True) if after - n > 15]
        firsts = [next((n for n in theirs if n > end), None) for end in ends]
        return [(first - end) * 20 for end, first in zip(ends, firsts, strict=True) if first is not None]

    # --- what was said there -----------------------------------------------------------------------------------------

    def links(self, route: str) -> list[Any]:
        """The peers of a route's WebSockets, oldest first."""
        return list(self.provider_board.links(route))

    def fetches(self, route: str) -> list[Any]:
        """The peers of a route's requests, oldest first."""
        return list(self.provider_board.fetches(route))

    def provider_told(self, kind: type[ProviderEvent]) -> list[Any]:
        return self.providers.told(kind)

    def asked(self, route: str) -> list[ProviderAsked]:
        """The exchanges of a route."""
        return [event for event in self.provider_told(ProviderAsked) if event.route == route]

    def outcomes(self, route: str = "") -> list[tuple[str, int]]:
        """How exchanges ended, and with which code."""
        return [(event.how, event.code) for event in self.provider_told(ProviderOver) if route in ("", event.route)]

    # --- trouble -----------------------------------------------------------------------------------------------------

    def break_links(self) -> int:
        """Every connection to the providers breaks, now; how many there were."""
        conns = list(self.providers.pipes)
        for conn in conns:
            self.net.drop(self.providers, conn)
        return len(conns)

    def hush(self) -> list[ConnId]:
        """What the providers send no longer arrives, and nobody knows: a cable was cut."""
        conns = list(self.providers.pipes)
        for conn in conns:
            self.net.stall(self.providers, conn)
        return conns

    def take_down(self) -> None:
        """The providers are gone: connections break, and nobody answers any more."""
        self.providers.feed(StopRequested())
        self.run(0)

    # --- at the end --------------------------------------------------------------------------------------------------

    def over(self, within_s: float = 60) -> None:
        """As every world's, and the server owes the providers nothing."""
        super().over(within_s)
        assert self.provider_board.open == 0, "the server left a provider waiting"
        if not self.odd_expected:
            assert self.provider_told(ProviderOdd) == []
        if self.providers.exit_code is None:
            self.take_down()
        assert self.providers.exit_code == 0
        assert self.provider_checker.unbalanced() == []
