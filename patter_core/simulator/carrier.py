"""A carrier that is not there: it calls the server, dials for it, plays the people, and obeys what it is told.

The other role of the same machines the server is made of: signed webhooks, a REST API, media streams with 20 ms frames,
a virtual handset that plays what it receives. Twilio or Telnyx, as the configuration says (``side.py``). A board:
either adapter carries it, and the virtual network does without sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..carriers.carrier import RecordingStep
from ..contract import (
    Abort,
    Accepted,
    BodyEnded,
    BodyReceived,
    ClockSet,
    Closed,
    Connected,
    ConnectFailed,
    ConnId,
    Exit,
    Fact,
    InputEnded,
    Order,
    Received,
    RequestFailed,
    ResponseStarted,
    StopListening,
    StopRequested,
)
from ..timers import Timers
from .callee import RestTrouble
from .config import CallPlan, SimulatorConfig
from .events import SimCallPlaced, SimHook, SimKeys, SimRest
from .exchange import Exchange
from .leg import Leg, Phase
from .orders import (
    AnswerCall,
    Bridge,
    Cause,
    Dial,
    End,
    FindHook,
    HangUpCall,
    PressKeys,
    Record,
    RejectCall,
    Reports,
    Run,
    SetHook,
    SimOrder,
    Speak,
    StartStream,
    Transfer,
)
from .postman import Delivered
from .rest_server import Obeyed, RestServer
from .side import CarrierSide, Reply, Why
from .telnyx_side import TelnyxSide
from .twilio_side import TwilioSide

__all__ = ["CallPlan", "SimulatedCarrier", "SimulatorConfig"]

_SIDES: dict[str, Callable[[SimulatorConfig], CarrierSide]] = {"twilio": TwilioSide, "telnyx": TelnyxSide}
_COMMANDS = 256  # remembered per leg
_BEFORE_THE_ANSWER = (AnswerCall, RejectCall, HangUpCall)


class SimulatedCarrier:
    """The board. Every leg ends in one ``SimCallDone``; then, if asked to, it exits."""

    def __init__(self, config: SimulatorConfig, plans: Sequence[CallPlan], *, seed: bytes = b"simulated") -> None:
        self._config = config
        self._side = _SIDES[config.carrier](config)
        self._now = 0
        self._out: list[Order] = []
        self._timers: Timers[tuple[str, int]] = Timers()
        self._exchange = Exchange(config, self._side, seed, self._out, self._timers)
        self._rest = RestServer(self._side, self._exchange.wires, self._obey)
        self._plans = tuple(plans)
        self._dials: dict[str, str] = {}  # the dialling orders that came with a command's id
        self._troubles: dict[str, int] = {}  # how often each planned trouble was made
        self._stopping = False
        self._exited = False
        self.hook_url = config.hook_url
        """Where the account says that calls are reported; the server may change it."""
        for plan in self._plans:
            leg = self._exchange.add(plan.caller, plan.callee, plan.acts, plan.call_sid)
            leg.line, leg.most_ms = plan.line, plan.most_ms
            leg.reports = Reports(status_url=config.status_url)
            self._timers.set(("place", leg.number), max(1, plan.at_ms * 1000))

    # --- the board ---------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        return None if self._exited else self._timers.deadline

    def reserve(self) -> ConnId:
        return ConnId(self._exchange.name())

    @property
    def call_ids(self) -> list[str]:
        """The ids of the planned calls, in the plan's order."""
        return [leg.id for leg in self._exchange.legs[: len(self._plans)]]

    def handle(self, now: int, fact: Fact) -> list[Order]:
        if self._exited:
            return []
        now = self._now = max(now, self._now)
        exchange = self._exchange
        while (key := self._timers.due(now)) is not None:
            self._due(now, *key)
        match fact:
            case Received(conn, data) if isinstance(data, bytes):
                self._bytes(now, conn, data)
            case Accepted(conn):
                self._rest.accepted(now, conn)
            case Connected(conn):
                if (stream := exchange.streams.get(conn)) is not None:
                    exchange.wires.flush(conn, stream.wire)
            case ConnectFailed(conn, fault):
                exchange.failed(now, conn, fault.value)
            case InputEnded(conn):
                self._bytes(now, conn, b"")
            case Closed(conn):
                exchange.closed(now, conn)
                self._rest.closed(conn)
            case ResponseStarted(request, status):
                exchange.post.started(request, status)
            case BodyReceived(request, data):
                exchange.post.body(request, data)
            case BodyEnded(request):
                self._delivered(now, exchange.post.ended(now, request, None))
            case RequestFailed(request, fault):
                self._delivered(now, exchange.post.ended(now, request, fault))
            case ClockSet(epoch):
                exchange.epoch = epoch
                exchange.post.epoch = epoch
            case StopRequested():
                self._stop(now)
        if self._over():
            self._leave()
        out = self._out[:]
        self._out.clear()
        return out

    def _due(self, now: int, kind: str, number: int) -> None:
        if kind == "frame":
            self._exchange.frames(now, self._exchange.legs[number])
        elif kind == "place":
            leg = self._exchange.legs[number]
            self._exchange.notify(SimCallPlaced(leg.id))
            self._exchange.place(now, leg, self._plans[number].ring_ms)
        elif kind == "wire":
            self._exchange.tick(now, ConnId(number))
            self._rest.tick(now, ConnId(number))
        elif kind in ("post", "repost", "held"):
            self._delivered(now, self._exchange.post.due(now, kind, number))
        else:
            self._exchange.due(now, kind, number)

    def _bytes(self, now: int, conn: ConnId, data: bytes) -> None:
        if conn in self._exchange.streams:
            self._exchange.received(now, conn, data)
        else:
            self._rest.received(now, conn, data)

    def _delivered(self, now: int, letter: Delivered | None) -> None:
        if letter is not None:
            self._exchange.delivered(now, letter)

    # --- the way out -------------------------------------------------------------------------------------------------

    def _over(self) -> bool:
        exchange = self._exchange
        if exchange.live or not (self._config.leave_when_done or self._stopping):
            return False
        if self._stopping:
            return not exchange.post.pending
        waiting = exchange.dialled_done < self._config.dials
        return not (waiting or exchange.post.pending or exchange.recordings_pending)

    def _stop(self, now: int) -> None:
        if self._stopping:
            self._leave()
            return
        self._stopping = True
        for leg in self._exchange.legs:
            if leg.phase is Phase.PLANNED:
                self._exchange.end(now, leg, "cancelled", "stopped before it was placed", Cause.CANCELLED, "caller")
            elif leg.live:
                up = leg.phase is Phase.UP
                outcome, cause = ("completed", Cause.NORMAL) if up else ("cancelled", Cause.CANCELLED)
                self._exchange.end(now, leg, outcome, "stopped", cause, "callee" if leg.outgoing else "caller")

    def _leave(self) -> None:
        if not self._exited:
            self._exited = True
            self._out.append(StopListening())
            self._out.extend(Abort(conn) for conn in self._exchange.wires.all())
            self._out.append(Exit(0))

    # --- the REST API ------------------------------------------------------------------------------------------------

    def _obey(self, now: int, order: SimOrder) -> Obeyed:
        """Decide about an order: the reply, and what is done after it."""
        trouble = self._trouble(order)
        if trouble is not None and not trouble.done_anyway:
            reply, effect = None, None
        else:
            reply, effect = self._decide(now, order)
        if trouble is not None:
            reply = self._failing(order, trouble)
        self._exchange.notify(SimRest(order, 0 if reply is None else reply.status))
        return reply, effect

    def _trouble(self, order: SimOrder) -> RestTrouble | None:
        """The trouble that is planned for this order, if some is left."""
        planned = {str(number): trouble for number, trouble in enumerate(self._config.rest_trouble)}
        if isinstance(order, Dial):
            callee = self._config.callees.get(order.to, self._config.callee)
            if callee.trouble is not None:
                planned[f"callee {order.to}"] = callee.trouble
        for key, trouble in planned.items():
            made = self._troubles.get(key, 0)
            if trouble.on in ("", type(order).__name__) and (trouble.times < 0 or made < trouble.times):
                self._troubles[key] = made + 1
                return trouble
        return None

    def _failing(self, order: SimOrder, trouble: RestTrouble) -> Reply | None:
        if trouble.status == 0:
            return None
        reply = self._side.trouble(order, trouble.status, trouble.code)
        if trouble.retry_after_s is None:
            return reply
        return Reply(reply.status, reply.body, (*reply.headers, ("Retry-After", str(trouble.retry_after_s))))

    def _decide(self, now: int, order: SimOrder) -> Obeyed:
        if isinstance(order, FindHook | SetHook):
            return self._hook(order)
        if isinstance(order, Dial):
            return self._dial(now, order)
        leg = self._exchange.by_id.get(order.call_id)
        if leg is None or leg.phase is Phase.PLANNED:
            return self._side.refused(order, Why.NO_SUCH_CALL), None
        if not leg.live:
            return self._side.refused(order, Why.ENDED), None
        if order.command and order.command in leg.commands:
            return self._side.done(order, leg, "", ""), None
        if leg.phase is Phase.RINGING and not isinstance(order, _BEFORE_THE_ANSWER):
            return self._side.refused(order, Why.NOT_ANSWERED), None
        made = ""
        if isinstance(order, StartStream) and leg.stream is not None:
            return self._side.refused(order, Why.BUSY_STREAM), None
        if isinstance(order, Bridge):
            other = self._exchange.by_id.get(order.other)
            if other is None or other is leg:
                return self._side.refused(order, Why.NO_SUCH_CALL), None
            if other.phase is not Phase.UP:
                why = Why.NOT_ANSWERED if other.live else Why.ENDED
                return self._side.refused(order, why), None
        if isinstance(order, Record):
            taping = next((one for one in leg.tapings if one.ended < 0), None)
            if order.step is RecordingStep.START:
                made = self._exchange.tape(now, leg, order.reports)
            elif taping is None:
                return self._side.refused(order, Why.NOTHING_THERE), None
            else:
                made = taping.id
        if order.command:
            leg.commands[order.command] = None
            if len(leg.commands) > _COMMANDS:
                del leg.commands[next(iter(leg.commands))]
        if order.state is not None:
            leg.reports = _with_state(leg, order.state)
        return self._side.done(order, leg, made, ""), lambda: self._do(self._now, leg, order)

    def _do(self, now: int, leg: Leg, order: SimOrder) -> None:
        """The order was taken and its reply is out."""
        exchange = self._exchange
        if not leg.live:
            return
        match order:
            case HangUpCall():
                exchange.hang_up(now, leg)
            case Run(program=program):
                leg.rest = leg.rest or any(isinstance(step, End) for step in program)
                exchange.divert(now, leg, program)
            case AnswerCall(stream=stream):
                if leg.phase is Phase.RINGING and not leg.outgoing:
                    exchange.pick_up(now, leg)
                    if stream is not None:
                        exchange.open_stream(now, leg, stream)
            case RejectCall(busy=busy):
                cause = Cause.BUSY if busy else Cause.REJECTED
                exchange.end(now, leg, cause.value, "rejected by the server", cause, "callee")
            case StartStream(stream=stream):
                exchange.open_stream(now, leg, stream)
            case Speak(text=text):
                exchange.speak(now, leg, text)
            case PressKeys(digits=digits):
                leg.keys.append(digits)
                exchange.notify(SimKeys(leg.id, digits))
            case Transfer():
                leg.parks = order.parks
                other = exchange.child(now, leg, order.to, order.caller, order.timeout_s, order.reports)
                other.bridges = True
            case Bridge():
                leg.parks = order.parks
                exchange.bridge(now, leg, exchange.by_id[order.other])
            case Record(step=RecordingStep.STOP):
                for taping in leg.tapings:
                    exchange.stop_taping(now, leg, taping)

    def _dial(self, now: int, order: Dial) -> Obeyed:
        exchange = self._exchange
        if order.command in self._dials:
            made = self._dials[order.command]
            return self._side.done(order, exchange.by_id.get(made), made, ""), None
        if exchange.full:
            return self._side.trouble(order, 429, ""), None
        plan = self._config.callees.get(order.to, self._config.callee)
        leg = exchange.add(order.caller, order.to, plan.script)
        leg.reports, leg.machine, leg.wanted = order.reports, order.machine, order.stream
        leg.program.extend(order.program)
        leg.phase = Phase.RINGING
        if order.command:
            self._dials[order.command] = leg.id
        return self._side.done(order, leg, leg.id, ""), lambda: exchange.dial(self._now, leg, order.timeout_s)

    def _hook(self, order: FindHook | SetHook) -> Obeyed:
        if not self._side.has(order.key):
            return self._side.refused(order, Why.NOTHING_THERE), None
        if isinstance(order, SetHook):
            self.hook_url = order.url
            self._exchange.notify(SimHook(order.url))
        return self._side.done(order, None, "", self.hook_url), None


def _with_state(leg: Leg, state: str) -> Reports:
    return msgspec.structs.replace(leg.reports, state=state)
