"""The whole server against the whole simulated carrier, the same for every carrier: what the alike tests stand on.

Both boards run inside a ``ContractChecker`` with twins. Every call is traced, and ``over`` stops the server, sees that
nothing is left anywhere, and replays each trace: so every story here also tests the contract, the way down and replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.audio.g711 import ulaw_decode, ulaw_encode
from patter_core.audio.tones import tone
from patter_core.carriers.form import encode_form
from patter_core.carriers.telnyx import signature as telnyx_signature
from patter_core.carriers.telnyx import webhook_peer as telnyx_peer
from patter_core.carriers.twilio import signature as twilio_signature
from patter_core.carriers.twilio import webhook_peer as twilio_peer
from patter_core.config import AgentSpec, CarrierSpec, HandlerSpec, PublicUrl, ServerConfig
from patter_core.contract import Answer, AskId, Lane, Refuse, StopRequested
from patter_core.events import Bug, CallEnded, TranscriptLine
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.callee import Callee
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.events import SimCallDone, SimEvent, SimProblem, SimRest
from patter_core.simulator.leg import Leg as SimLeg
from patter_core.simulator.network import Node, VirtualNetwork
from patter_core.simulator.orders import SimOrder
from patter_core.simulator.puppet import Line, Puppet
from patter_core.simulator.script import Act, Speak, Wait
from patter_core.switchboard import Switchboard
from patter_core.trace import replay
from patter_core.wire.events import HttpResponse

CARRIERS = ("twilio", "telnyx")
both = pytest.mark.parametrize("carrier", CARRIERS)

HOST = "agent.example.com"
EPOCH = 1_700_000_000_000_000
ACCOUNT = "AC" + "0" * 31 + "1"
CALLER = "+15550100001"
US = "+15550001234"
THEM = "+15550100009"
DESK = "+15550002222"
SECOND = 1_000_000
CALLBACKS = ("on_call_start", "on_call_end", "on_transcript", "on_metrics", "on_machine_detection")

VOICE = ulaw_encode(tone(300, 20, 8000))
"""20 ms of somebody talking, mu-law."""


def talk(ms: int) -> Speak:
    """Somebody says something for so long."""
    return Speak(VOICE * (ms // 20))


def person(*acts: Act, **plan: Any) -> tuple[CallPlan, ...]:
    """One caller; without acts, one who says nothing and stays."""
    if not acts:
        acts = (Wait(600_000),)
    return (CallPlan(acts=acts, **{"caller": CALLER, "callee": US, "most_ms": 600_000, **plan}),)


# --- agents ----------------------------------------------------------------------------------------------------------


def pitch(text: str) -> int:
    """The frequency at which the test's voice says this text, so that an ear can tell which line it heard."""
    return 400 + 40 * (sum(text.encode()) % 40)


def say(text: str, rate: int = 16_000) -> bytes:
    """The test's voice: a tone for each text, 20 ms for a character."""
    return tone(pitch(text), 20 * len(text), rate)


class Ears:
    """A recogniser who understands what the story says was said, one utterance after the other."""

    rate = 16_000

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.got: list[bytes] = []

    def recognise(self, pcm: bytes, rate: int) -> str:
        assert rate == self.rate
        self.got.append(pcm)
        return self.texts.pop(0) if self.texts else ""


class Mouth:
    """A voice. ``broken``: it fails from that text on."""

    def __init__(self, rate: int = 16_000, broken: str = "") -> None:
        self.rate = rate
        self.broken = broken
        self.said: list[str] = []

    def speak(self, text: str) -> bytes:
        if self.broken and self.broken in text:
            raise RuntimeError("the voice is gone")
        self.said.append(text)
        return say(text, self.rate)


class Speaker(Agent, frozen=True, kw_only=True):
    """A small spoken agent; ``reply`` answers a caller's text."""

    reply: Callable[[dict[str, Any]], Any] = lambda message: f"You said {message['text']}"


def speaker(*heard: str, reply: Callable[[dict[str, Any]], Any] | None = None, mouth: Any = None, **agent: Any) -> Any:
    """An agent that understands these texts, and answers."""
    if reply is not None:
        agent["reply"] = reply
    return Speaker(stt=Ears(*heard), tts=mouth or Mouth(), **agent)


ECHO = Agent(engine=Echo())


# --- the world -------------------------------------------------------------------------------------------------------


class CarriersWorld:
    """``server`` and ``carrier`` are the nodes, ``board`` and ``sim`` what is in them.

    Options that a simulator's configuration knows go there, ``config`` takes the server's. ``calls[name]`` is every
    payload that callback got.
    """

    def __init__(
        self,
        carrier: str,
        agent: Agent | Mapping[str, Agent] = ECHO,
        plans: tuple[CallPlan, ...] = (),
        *,
        settings: ServerSettings | None = None,
        call: CallSettings | None = None,
        config: Mapping[str, Any] | None = None,
        on: Mapping[str, Callable[..., Any]] | None = None,
        rest: bool = True,
        twins: bool = True,
        latency_us: int = 1_000,
        **simulator: Any,
    ) -> None:
        self.name = carrier
        self.files: dict[str, bytes] = {}
        self.calls: dict[str, list[Any]] = {}
        self.bugs_expected = False
        self.problems_expected = False
        handlers: dict[str, Any] = {"file.create": self._create, "file.append": self._append}
        agents = agent if isinstance(agent, Mapping) else {"": agent}
        specs = {number: self._resolve(one, on or {}, handlers, number) for number, one in agents.items()}
        handlers["on_recording"] = self._keep("on_recording")

        voice = f"https://{HOST}/webhooks/{carrier}/voice"
        simulator.setdefault("leave_when_done", False)
        simulator.setdefault("numbers", (US,))
        self.sim_config = SimulatorConfig(
            webhook_url=voice, carrier=carrier, connect_to=(HOST, 443), tls=True, epoch=EPOCH, **simulator
        )
        account = ACCOUNT if carrier == "twilio" else self.sim_config.connection_id
        options = dict(config or {})
        account = options.pop("account", account)
        key = self.sim_config.auth_token if carrier == "twilio" else self.sim_config.public_key
        self.spec = CarrierSpec(
            name=carrier,
            account=account,
            keys=options.pop("keys", (key,)),
            base_url="http://carrier.test",
            api_key="key",
            options=options.pop("options", {}),
        )
        self.config = ServerConfig(
            public_url=PublicUrl.parse(options.pop("url", HOST)),
            carriers=(self.spec,),
            agents=specs,
            settings=settings or ServerSettings(),
            call=call or CallSettings(),
            trace_dir="traces",
            on_recording=HandlerSpec("on_recording"),
            **{"numbers": (US,), **options},
        )

        def make() -> Switchboard:
            return Switchboard(self.config, epoch=EPOCH, seed=b"s" * 32, bulkhead=False)

        def simulate() -> SimulatedCarrier:
            return SimulatedCarrier(self.sim_config, plans)

        self.net = VirtualNetwork(latency_us=latency_us)
        self.board = make()
        self.checker = ContractChecker(self.board, twin=make() if twins else None, ticked=make() if twins else None)
        self.server: Node = self.net.add("server", self.checker, handlers)
        self.server.orders = []
        self.net.place(HOST, 443, self.server, "203.0.113.7")
        self.sim = simulate()
        self.sim_checker = ContractChecker(
            self.sim, twin=simulate() if twins else None, ticked=simulate() if twins else None
        )
        self.carrier: Node = self.net.add("carrier", self.sim_checker)
        if rest:
            self.net.place("carrier.test", 80, self.carrier)
        self.puppet = Puppet(self.net, self.server)
        self._hooks = 0

    # --- handlers ----------------------------------------------------------------------------------------------------

    def _resolve(self, agent: Agent, on: Mapping[str, Any], handlers: dict[str, Any], number: str) -> AgentSpec:
        callbacks = {name: self._keep(name, on.get(name)) for name in CALLBACKS}
        if isinstance(agent, Speaker):
            callbacks["on_message"] = self._keep("on_message", agent.reply)
        return resolve_agent(agent, callbacks, handlers, f"{number}/")

    def _keep(self, name: str, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
        kept = self.calls.setdefault(name, [])

        def callback(payload: Any) -> Any:
            kept.append(payload)
            return None if then is None else then(payload)

        return callback

    def _create(self, path: str, data: bytes) -> None:
        self.files[path] = bytes(data)

    def _append(self, path: str, data: bytes) -> None:
        self.files[path] += bytes(data)

    # --- time --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        self.net.run(until_us=self.net.now + round(seconds * SECOND))

    def until(self, condition: Callable[[], Any], within_s: float = 120) -> None:
        """Let time pass until something is so; it must come to be so."""
        self.net.run(until_us=self.net.now + round(within_s * SECOND), while_=lambda: not condition())
        assert condition(), f"not within {within_s} s"

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def ask(self, verb: str, **args: Any) -> AskId:
        """The application wants something; let it get there."""
        ask = self.server.ask(verb, **args)
        self.run(0)
        return ask

    def answer(self, ask: AskId) -> Any:
        """What it was answered: the value, or the code of a refusal in a tuple. It must have been."""
        order = self.server.answers[ask]
        assert isinstance(order, Answer | Refuse)
        return order.value if isinstance(order, Answer) else (order.code, order.detail)

    def answered(self, ask: AskId) -> bool:
        return ask in self.server.answers

    def call(self, to: str = THEM, **args: Any) -> AskId:
        """Have a number called."""
        return self.ask("call", to=to, **{"from_number": US, **args})

    def stop(self, seconds: float = 0) -> None:
        self.server.feed(StopRequested())
        self.run(seconds)

    # --- what was told -----------------------------------------------------------------------------------------------

    def told(self, kind: type) -> list[Any]:
        return self.server.told(kind)

    def sim_told(self, kind: type[SimEvent]) -> list[Any]:
        return self.carrier.told(kind)

    def orders(self, *kinds: type) -> list[Any]:
        """What the server ordered of its adapter."""
        assert self.server.orders is not None
        return [order for _, order in self.server.orders if isinstance(order, kinds)]

    def when(self, kind: type) -> list[int]:
        """When the server told events of a kind."""
        return [at for at, event in self.server.events if isinstance(event, kind)]

    def reasons(self) -> dict[str, EndReason]:
        return {event.call_id: event.reason for event in self.told(CallEnded)}

    def reason(self) -> EndReason:
        """Why the one call ended."""
        (event,) = self.told(CallEnded)
        return event.reason  # type: ignore[no-any-return]

    def rests(self, *kinds: type[SimOrder], status: int | None = None) -> list[Any]:
        """The orders that the carrier understood, oldest first."""
        told = self.sim_told(SimRest)
        return [e.order for e in told if isinstance(e.order, kinds) and (status is None or e.status == status)]

    def said(self, role: str = "assistant") -> list[str]:
        """The transcript of one side."""
        return [line.text for line in self.told(TranscriptLine) if line.role == role]

    @property
    def first(self) -> str:
        """The id of the first planned call."""
        return self.sim.call_ids[0]

    def leg(self, call_id: str = "") -> SimLeg:
        """A leg as the carrier has it: the first planned one, or this one."""
        return self.sim._exchange.by_id[call_id or self.first]

    def leg_to(self, number: str) -> SimLeg:
        """The newest leg that was dialled to a number."""
        return [leg for leg in self.sim._exchange.legs if leg.callee == number and leg.outgoing][-1]

    def done(self, call_id: str = "") -> SimCallDone:
        (found,) = [one for one in self.sim_told(SimCallDone) if one.call_id == (call_id or self.first)]
        return found  # type: ignore[no-any-return]

    # --- posting by hand ---------------------------------------------------------------------------------------------

    def line(self) -> Line:
        return self.puppet.dial("203.0.113.7")

    def offer(self, call_id: str, callee: str = US, event_id: str = "") -> Any:
        """The content of the webhook that announces a call: form pairs, or a JSON body."""
        if self.name == "twilio":
            return list(twilio_peer.voice_params(call_id, ACCOUNT, CALLER, callee))
        leg = telnyx_peer.TelnyxLeg(
            call_id, "leg-" + call_id[3:], "session", self.spec.account, CALLER, callee, EPOCH, direction="incoming"
        )
        self._hooks += 1
        event = telnyx_peer.initiated(leg, event_id or f"event-{self._hooks}", EPOCH)
        return telnyx_peer.deliver(event, self.hook(), 1)

    def new_id(self, number: int) -> str:
        """A call's id, as this carrier makes them."""
        return self.sim._side.call_id(f"{number:032x}")

    def hook(self, kind: str = "voice") -> str:
        return f"https://{HOST}/webhooks/{self.name}/{kind}"

    def post(
        self, content: Any, *, kind: str = "voice", proof: str = "good", ago_s: int = 0, line: Line | None = None
    ) -> HttpResponse:
        """Post a webhook. ``content``: pairs, or a raw body. ``proof``: good, bad, another (somebody else's key) or
        none; ``ago_s``: how old the signature is, where that can be seen."""
        raw = content if isinstance(content, bytes) else encode_form(content)
        headers = [
            ("Content-Type", "application/x-www-form-urlencoded" if self.name == "twilio" else "application/json")
        ]
        if self.name == "twilio":
            token = "simulated" if proof == "good" else "somebody else's"
            made = twilio_signature.sign(token, self.hook(kind), [] if isinstance(content, bytes) else content)
            if proof != "none":
                headers.append(("X-Twilio-Signature", made if proof != "bad" else "!" + made[1:]))
        else:
            seed = self.sim_config.signing_seed if proof == "good" else b"e" * 32
            stamp = str((EPOCH + self.net.now) // SECOND - ago_s)
            made = telnyx_signature.sign(seed, stamp, raw)
            if proof != "none":
                headers += [
                    (telnyx_signature.SIGNATURE, made if proof != "bad" else "!" + made[1:]),
                    (telnyx_signature.TIMESTAMP, stamp),
                ]
        return (line or self.line()).ask("POST", f"/webhooks/{self.name}/{kind}", headers, raw)

    # --- at the end --------------------------------------------------------------------------------------------------

    def over(self, within_s: float = 60) -> None:
        """Stop the server, if it still runs; then nothing is left, anywhere, and every trace replays."""
        self.run(5)
        if self.server.exit_code is None:
            self.stop()
            self.until(lambda: self.server.exit_code is not None, within_s)
        assert self.server.exit_code == 0
        self.run(5)
        assert self.told(Bug) == []
        if not self.problems_expected:
            assert self.sim_told(SimProblem) == []
        assert self.checker.unbalanced() == []
        board: Any = self.board
        host = board._host
        tables = {
            "conns": board._conns, "peers": board._reception._peers, "addresses": board._addresses,
            "answers": board._reception._answers, "calls": host._calls, "tasks": host._tasks,
            "requests": host._requests, "refs": host._refs, "links": host._links, "fetches": host._fetches,
        }  # fmt: skip
        assert {name: len(table) for name, table in tables.items() if len(table)} == {}
        live = [leg.id for leg in self.sim._exchange.legs if leg.live]
        assert live == [], "somebody is still on the line"
        self.replays()

    def replays(self) -> None:
        """Every trace, run again, gives the same orders."""
        for path, data in self.files.items():
            steps, difference = replay(data.splitlines(keepends=True))
            assert difference is None, (path, difference)
            assert steps > 0, path


# --- listening -------------------------------------------------------------------------------------------------------


def audible(heard: bytes) -> int:
    """How many milliseconds of this mu-law are not silence."""
    samples = np.frombuffer(ulaw_decode(heard), "<i2").astype(np.int64)
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return int((np.abs(frames).max(axis=1) > 200).sum()) * 20 if len(frames) else 0


def pitch_ms(heard: bytes, hz: float) -> int:
    """For how many milliseconds this mu-law is (mostly) a tone of ``hz``."""
    samples = np.frombuffer(ulaw_decode(heard), "<i2").astype(np.float64)
    count = 0
    at = np.arange(160) / 8000.0
    probe = np.exp(-2j * np.pi * hz * at)
    for start in range(0, len(samples) - 159, 160):
        frame = samples[start : start + 160]
        power = float(np.dot(frame, frame))
        if power > 160 * 200.0**2 and abs(np.dot(frame, probe)) ** 2 / 80 > 0.7 * power:
            count += 20
    return count


def hears(heard: bytes, text: str) -> bool:
    """Was this line heard, in the test's voice, for most of its length?"""
    return pitch_ms(heard, pitch(text)) >= 0.7 * 20 * len(text)


def trace_name(call_id: str) -> str:
    return f"traces/{quote(call_id, safe='')}.jsonl"


__all__ = [
    "ACCOUNT",
    "CALLER",
    "CARRIERS",
    "DESK",
    "ECHO",
    "EPOCH",
    "HOST",
    "SECOND",
    "THEM",
    "US",
    "VOICE",
    "Callee",
    "CarriersWorld",
    "Ears",
    "Lane",
    "Mouth",
    "Speaker",
    "audible",
    "both",
    "hears",
    "person",
    "pitch",
    "pitch_ms",
    "say",
    "speaker",
    "talk",
    "trace_name",
]
