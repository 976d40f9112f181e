"""A call on virtual time for tests: facts in by short names, orders out as lists, the contract checked each step."""

from __future__ import annotations

import base64
import heapq
import itertools
import json
from collections.abc import Callable
from typing import Any

from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.tones import tone
from patter_core.call.call import Call, CallState
from patter_core.call.spec import CallSpec
from patter_core.call.words import (
    CallFact,
    CallOrder,
    CarrierSaid,
    Over,
    Rest,
    RestDone,
    Run,
    StreamCame,
    StreamWent,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
    Tell,
    Ticked,
    ToCarrier,
)
from patter_core.carriers.carrier import RestOutcome
from patter_core.config import AgentSpec, EchoSpec, HandlerSpec, PipelineSpec
from patter_core.contract import Fault
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings
from patter_core.simulator.handset import Handset

CALL, STREAM, ACCOUNT = "CA" + "2" * 32, "MZ" + "1" * 32, "AC" + "3" * 32
MS, S = 1_000, 1_000_000
QUIET = b"\xff" * 160
VOICE = ulaw_encode(tone(300, 20, 8000))
ECHO = AgentSpec(engine=EchoSpec())
CALLBACKS = ("on_call_start", "on_call_end", "on_transcript", "on_metrics")


#: Reasons that only a call of ours can end for, or one that went somewhere else: tests/core/test_call_out.py
DIALLED_REASONS = (
    EndReason.TRANSFERRED,
    EndReason.VOICEMAIL_LEFT,
    EndReason.MACHINE_ANSWERED,
    EndReason.FAX_ANSWERED,
    EndReason.NO_ANSWER,
    EndReason.BUSY,
    EndReason.FAILED,
    EndReason.CANCELED,
    EndReason.CARRIER_REFUSED,
    EndReason.NOT_REPORTED,
)

#: Reasons that only a call with limits ends for: tests/core/test_patience.py
LIMIT_REASONS = (EndReason.IDLE, EndReason.MAX_COST)


def pipeline(*callbacks: str, engine: dict[str, Any] | None = None, **agent: Any) -> AgentSpec:
    """An agent whose handlers are called what they are."""
    stages = {
        "brain": (CallableBrain(HandlerSpec("reply")),),
        "voice": (CallableVoice(HandlerSpec("tts")),),
        "ear": (CallableEar(HandlerSpec("stt")),),
    }
    spec = PipelineSpec(**{**stages, **(engine or {})})
    return AgentSpec(engine=spec, callbacks={name: HandlerSpec(name) for name in callbacks}, **agent)


def echo(*callbacks: str) -> AgentSpec:
    return AgentSpec(engine=EchoSpec(), callbacks={name: HandlerSpec(name) for name in callbacks})


def text(event: str, **fields: Any) -> str:
    return json.dumps({"event": event, "streamSid": STREAM, **fields})


def start_text(call: str = CALL, parameters: dict[str, str] | None = None, **form: Any) -> str:
    media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1, **form}
    start = {"callSid": call, "streamSid": STREAM, "mediaFormat": media, "customParameters": parameters or {}}
    return text("start", start=start)


def media_text(payload: bytes) -> str:
    return text("media", media={"track": "inbound", "payload": base64.b64encode(payload).decode()})


def mark_text(name: str) -> str:
    return text("mark", mark={"name": name})


class Rig:
    """One call. ``out`` is everything it ever ordered, with its time."""

    def __init__(self, agent: AgentSpec = ECHO, at: int = 0, **settings: Any) -> None:
        self.spec = CallSpec(
            call_id=CALL,
            carrier="twilio",
            agent=agent,
            caller="+15550100001",
            callee="+15550001234",
            account=ACCOUNT,
            settings=CallSettings(**settings),
        )
        self.now = at
        self.call = Call(at, self.spec)
        self.out: list[tuple[int, CallOrder]] = []
        self.history: list[tuple[int, CallFact, list[CallOrder]]] = []
        self.over: list[Over] = []
        self.on_step: Callable[[int, list[CallOrder]], None] = lambda at, orders: None

    def do(self, fact: CallFact, at: int | None = None) -> list[CallOrder]:
        """One step; ``at`` in microseconds, now when left out."""
        self.now = self.now if at is None else max(at, self.now)
        orders = self.call.handle(self.now, fact)
        deadline = self.call.deadline
        assert deadline is None or deadline > self.now, f"C4: {deadline} at {self.now} after {fact}"
        assert not (self.over and orders), "nothing follows Over"
        self.over += [order for order in orders if type(order) is Over]
        assert len(self.over) <= 1
        if self.over:
            assert self.call.state is CallState.OVER
            assert deadline is None
            assert orders == [] or type(orders[-1]) is Over, "Over is the last order"
        self.out += [(self.now, order) for order in orders]
        self.history.append((self.now, fact, orders))
        self.on_step(self.now, orders)
        return orders

    def until(self, at: int) -> list[CallOrder]:
        """Let time go by, waking up exactly at each deadline."""
        out: list[CallOrder] = []
        while (deadline := self.call.deadline) is not None and deadline <= at:
            out += self.do(Ticked(), deadline)
        self.now = max(self.now, at)
        return out

    def later(self, us: int) -> list[CallOrder]:
        return self.until(self.now + us)

    def say(self, message: str) -> list[CallOrder]:
        return self.do(CarrierSaid(message))

    def hear(self, payload: bytes) -> list[CallOrder]:
        return self.say(media_text(payload))

    def listen(self, *frames: bytes) -> list[CallOrder]:
        """Frames of the caller, 20 ms apart; time ends 20 ms after the last."""
        out: list[CallOrder] = []
        for frame in frames:
            out += self.hear(frame)
            out += self.later(20 * MS)
        return out

    @property
    def asked(self) -> str:
        """The REST order that waits for its answer; '' when none does."""
        return next((order.name for order in self.call._leg.rests._open.values() if order.name), "")

    def attach(self) -> list[CallOrder]:
        return self.do(StreamCame())

    def begin(self, **form: Any) -> list[CallOrder]:
        """The socket is there, and says start."""
        return [*self.attach(), *self.say(text("connected")), *self.say(start_text(**form))]

    def lose(self, code: int = 1006) -> list[CallOrder]:
        return self.do(StreamWent(code))

    def stop(self) -> list[CallOrder]:
        return self.say(text("stop"))

    def returned(self, name: str, value: Any = None) -> list[CallOrder]:
        return self.do(TaskReturned(name, value))

    def yielded(self, name: str, value: Any) -> list[CallOrder]:
        return self.do(TaskYielded(name, value))

    def audio(self, name: str, data: bytes) -> list[CallOrder]:
        return self.do(TaskAudio(name, data))

    def raised(self, name: str, detail: str = "boom") -> list[CallOrder]:
        return self.do(TaskRaised(name, Fault.USER, detail))

    def rest(self, outcome: RestOutcome | None = RestOutcome.DONE, detail: str = "HTTP 200") -> list[CallOrder]:
        """The carrier's answer to the last request."""
        return self.do(RestDone(self.all(Rest)[-1].name, outcome, detail))

    # --- what came out -----------------------------------------------------------------------------------------------

    def all(self, kind: type) -> list[Any]:
        return of(kind, [order for _, order in self.out])

    def events(self, kind: type) -> list[Any]:
        return [order.event for order in self.all(Tell) if type(order.event) is kind]

    def running(self, handler: str) -> str:
        """The task of the last ``Run`` of this handler."""
        return str([order for order in self.all(Run) if order.handler == handler][-1].name)

    def runs(self, handler: str) -> list[Run]:
        return [order for order in self.all(Run) if order.handler == handler]

    def callback_returns(self, value: Any) -> list[CallOrder]:
        """``on_call_start`` returns this."""
        return self.returned(self.running("on_call_start"), value)

    def callback(self, value: Any = None) -> str:
        """The running callback returns. Which it was; empty when none runs."""
        for order in reversed([order for _, order in self.out]):
            if type(order) is Run and order.name.startswith("cb:"):
                if self.call._conversation.callbacks.owns(order.name):
                    self.returned(order.name, value)
                    return order.handler
                break
        return ""

    def speak(self, ms: int, rate: int = 16000) -> list[CallOrder]:
        """The running voice task gives so much audio and returns."""
        name = self.running("tts")
        return [*self.audio(name, b"\x01\x02" * (rate * ms // 1000)), *self.returned(name)]

    def utter(self, words: str, ms: int = 400, quiet_ms: int = 700) -> None:
        """The caller says this, and is recognised at once."""
        self.listen(*[VOICE] * (ms // 20), *[QUIET] * (quiet_ms // 20))
        self.returned(self.running("stt"), words)


def of(kind: type, orders: list[CallOrder]) -> list[Any]:
    return [order for order in orders if type(order) is kind]


def told(kind: type, orders: list[CallOrder]) -> list[Any]:
    return [order.event for order in of(Tell, orders) if type(order.event) is kind]


def sent(orders: list[CallOrder]) -> list[dict[str, Any]]:
    """The messages to the carrier, read."""
    return [json.loads(order.text) for order in of(ToCarrier, orders)]


def sent_bytes(orders: list[CallOrder]) -> bytes:
    return b"".join(base64.b64decode(m["media"]["payload"]) for m in sent(orders) if m["event"] == "media")


class Phone:
    """A rig's carrier: a handset behind a network of constant latency, playing a frame every 20 ms."""

    def __init__(self, rig: Rig, latency_us: int = 0, marks: bool = True) -> None:
        self.rig = rig
        self.handset = Handset()
        self.latency = latency_us
        self.marks = marks
        self.now = rig.now
        self.cleared_at: list[int] = []  # bytes heard when each clear took effect
        self.played = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._frame: Callable[[], bytes] = lambda: QUIET
        rig.on_step = self._take
        self._at(rig.now + 20 * MS, self._tick)

    def _at(self, at: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at, next(self._order), what))

    def _take(self, now: int, orders: list[CallOrder]) -> None:
        for message in sent(orders):
            self._at(now + self.latency, lambda message=message: self._arrived(message))

    def _arrived(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "media":
                self.handset.media(base64.b64decode(message["media"]["payload"]))
            case "mark":
                self._return(self.handset.mark(message["mark"]["name"]))
            case "clear":
                self.cleared_at.append(self.played)
                self._return(self.handset.clear())

    def _return(self, names: list[str]) -> None:
        for name in names:
            if self.marks:
                self._at(self.now + self.latency, lambda name=name: self._said(mark_text(name)))

    def _said(self, message: str) -> None:
        self.rig.do(CarrierSaid(message), self.now)

    def _tick(self) -> None:
        before = self.handset.buffered
        _, marks = self.handset.play()
        self.played += before - self.handset.buffered
        self._return(marks)
        frame = self._frame()
        self._at(self.now + self.latency, lambda: self._said(media_text(frame)))
        self._at(self.now + 20 * MS, self._tick)

    def run(self, us: int, frame: Callable[[], bytes] = lambda: QUIET) -> None:
        """Let time go by; ``frame`` is what the caller says."""
        self._frame = frame
        end = self.rig.now + us
        while True:
            deadline, at = self.rig.call.deadline, self._queue[0][0]
            if deadline is not None and deadline <= min(at, end):
                self.now = deadline
                self.rig.do(Ticked(), deadline)
            elif at <= end:
                self.now, _, what = heapq.heappop(self._queue)
                what()
            else:
                break
        self.rig.now = self.now = end
