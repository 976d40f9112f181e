"""What happens to simulated legs: they ring, are answered, follow their programs, get streams, are connected, end.

The board (``carrier.py``) says when: it owns the clock, the facts and the REST API. Everything a carrier does by itself
is here, in words of no carrier; the media sockets are in ``streams.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..contract import ConnId, Order
from ..timers import Timers
from .callee import Callee, Does, Misbehaviour
from .config import SimulatorConfig
from .events import (
    SimCallDone,
    SimDelivered,
    SimDialled,
    SimJoined,
    SimRecording,
    SimSaid,
    SimTransferred,
)
from .leg import Leg, Phase, Taping
from .orders import (
    Answered,
    Bridged,
    Cause,
    DialOut,
    DialOver,
    End,
    EnterRoom,
    Fetch,
    GreetingEnded,
    HungUp,
    Initiated,
    Machine,
    Odd,
    Offered,
    OpenStream,
    Pause,
    Recorded,
    Refuse,
    Report,
    Reports,
    Ringing,
    SayText,
    Spoke,
    Step,
    Verdict,
)
from .postman import Delivered, Postman
from .rooms import Rooms
from .script import Act
from .side import CarrierSide
from .streams import Streams

__all__ = ["Exchange"]

_SETUP_MS = 50  # from the answer to a dialling order to its first report
_RING_MS = 300  # from there until it rings
_DIALLED_AT_ONCE = 200  # legs that may be up because the server dialled
_SAVED_MS = 2_000  # from the end of a recording until it can be fetched
_GIVE_UP_MS = 60_000  # for a socket that nobody closes
_LIFE = ("place", "frame", "patience", "step", "dialled", "ringing", "pickup", "unanswered", "verdict", "greeting")
_TIMERS = (*_LIFE, "talked", "speech")
_CAUSES = {Does.BUSY: Cause.BUSY, Does.REJECTED: Cause.REJECTED, Does.FAILED: Cause.FAILED}


def _saying_ms(text: str) -> int:
    """How long a voice takes for a text."""
    return min(30_000, max(400, 60 * len(text)))


class Exchange(Streams):
    """The legs and all that happens to them. Orders go to ``out``."""

    def __init__(
        self, config: SimulatorConfig, side: CarrierSide, seed: bytes, out: list[Order], timers: Timers[tuple[str, int]]
    ) -> None:
        super().__init__(config, side, seed, out, timers)
        self.legs: list[Leg] = []
        self.by_id: dict[str, Leg] = {}
        self.live = 0  # legs not done yet
        self.dialled_done = 0  # of those that the server dialled
        reach = None if config.connect_to is None else (*config.connect_to, bool(config.tls))
        self.post = Postman(side, out, timers, self.name, reach, config.misbehaves, config.epoch)
        self._rooms = Rooms(self.tell, self._room_over, self._joined)
        self._tapings: dict[int, tuple[Leg, Taping]] = {}

    # --- small things ------------------------------------------------------------------------------------------------

    @property
    def recordings_pending(self) -> bool:
        """A recording is still being made ready."""
        return bool(self._tapings)

    def tell(self, now: int, leg: Leg, report: Report) -> None:
        """Tell the server, if this carrier tells such a thing."""
        at_us = self.epoch + now
        leg.began_us = leg.began_us or at_us
        post = self.side.tell(leg, report, at_us)
        if post is None:
            return
        if self.post.post(now, leg, post):
            return
        self._problem(leg, f"not a URL to post to: {post.url[:100]}")
        if post.vital and leg.live:
            cause = Cause.FAILED if leg.answered_at < 0 else Cause.NORMAL
            self.end(now, leg, "completed" if leg.started else "unreachable", "not a URL", cause, "unknown")

    # --- legs come into being ----------------------------------------------------------------------------------------

    def add(self, caller: str, callee: str, acts: Sequence[Act], call_id: str = "") -> Leg:
        """A leg, not yet placed."""
        number = len(self.legs)
        leg = Leg(number, call_id or self.side.call_id(self.digest("CA", number)), caller, callee, tuple(acts))
        leg.session = self.digest("session", number)
        self.legs.append(leg)
        self.by_id[leg.id] = leg
        self.live += 1
        return leg

    def place(self, now: int, leg: Leg, ring_ms: int) -> None:
        """Somebody calls the server's number."""
        leg.phase = Phase.RINGING
        self._set(now, "unanswered", leg, ring_ms)
        self.tell(now, leg, Offered())

    def dial(self, now: int, leg: Leg, timeout_s: int) -> None:
        """The carrier calls somebody. What becomes of it is the callee's plan."""
        leg.outgoing = True
        leg.phase = Phase.RINGING
        leg.timeout_ms = timeout_s * 1000 + self.side.ring_slack_ms
        leg.callee_plan = self.config.callees.get(leg.callee, self.config.callee)
        of = "" if leg.parent is None else leg.parent.id
        self.notify(SimDialled(leg.id, leg.callee, leg.caller, of))
        self._set(now, "dialled", leg, _SETUP_MS)

    @property
    def full(self) -> bool:
        """No more dialled calls: the bound on what a server can order."""
        return sum(leg.outgoing and leg.live for leg in self.legs) >= _DIALLED_AT_ONCE

    def child(self, now: int, parent: Leg, to: str, caller: str, timeout_s: int, reports: Reports) -> Leg:
        """A leg that is to be connected with ``parent``."""
        plan = self.config.callees.get(to, self.config.callee)
        leg = self.add(caller or parent.callee, to, plan.script)
        leg.parent, leg.reports, leg.session = parent, reports, parent.session
        parent.dialling = leg
        self.dial(now, leg, timeout_s)
        return leg

    # --- timers ------------------------------------------------------------------------------------------------------

    def due(self, now: int, kind: str, number: int) -> None:
        """A timer of a leg fired."""
        if kind == "taped":
            self._taped(now, *self._tapings.pop(number))
            return
        if kind == "giveup":
            self._give_up(now, ConnId(number))
            return
        leg = self.legs[number]
        plan = leg.callee_plan or Callee()
        match kind:
            case "frame":
                self.frames(now, leg)
            case "patience":
                self.end(now, leg, "completed", "patience", Cause.NORMAL, self._person(leg))
            case "unanswered":
                if leg.outgoing:
                    self.end(now, leg, "no_answer", "nobody answered", Cause.NO_ANSWER, "unknown")
                else:
                    self.end(now, leg, "unanswered", "the caller gave up", Cause.CANCELLED, "caller")
            case "step":
                self.advance(now, leg)
            case "dialled":
                self._dialled(now, leg, plan)
            case "ringing":
                self.tell(now, leg, Ringing())
            case "pickup":
                self._picked_up(now, leg, plan)
            case "verdict":
                leg.verdict_told = True
                self.tell(now, leg, Verdict(plan.does.value, plan.verdict_ms))
            case "greeting":
                self.tell(now, leg, GreetingEnded(plan.beep, plan.greeting_over_ms, leg.verdict_told))
            case "talked":
                self.end(now, leg, "completed", "talked", Cause.NORMAL, "callee")
            case "speech":
                self.tell(now, leg, Spoke(leg.speaking, True))
            case "stop":
                self._stop_streams(now, leg)
                self._settle(now, leg)

    def _dialled(self, now: int, leg: Leg, plan: Callee) -> None:
        self.tell(now, leg, Initiated())
        if plan.does is Does.FAILED:
            self._set(now, "pickup", leg, _RING_MS)
            return
        self._set(now, "ringing", leg, _RING_MS)
        self._timers.set(("unanswered", leg.number), self._in(now, leg.timeout_ms))
        if plan.does is not Does.NO_ANSWER and plan.ring_ms < leg.timeout_ms:
            self._set(now, "pickup", leg, max(plan.ring_ms, _RING_MS + 1))

    def _picked_up(self, now: int, leg: Leg, plan: Callee) -> None:
        """The callee does something about the ringing."""
        if not plan.does.answers:
            cause = _CAUSES[plan.does]
            self.end(now, leg, cause.value, f"the callee: {cause.value}", cause, "callee")
            return
        self.pick_up(now, leg)
        self._set(now, "patience", leg, plan.most_ms)
        self._clock(now, leg)
        if leg.machine is not Machine.OFF:
            machine = plan.does is Does.MACHINE
            if not (machine and leg.machine is Machine.AT_THE_END):
                self._set(now, "verdict", leg, plan.verdict_ms)
            if machine and leg.machine is not Machine.AT_ONCE:
                self._set(now, "greeting", leg, plan.greeting_over_ms)
        if leg.parent is not None:
            self._connected(now, leg.parent, leg, plan)
        elif leg.wanted is not None:
            self.open_stream(now, leg, leg.wanted)
        elif leg.program:
            self.advance(now, leg)
        elif leg.reports.answer_url:
            self.tell(now, leg, Fetch(leg.reports.answer_url))

    def pick_up(self, now: int, leg: Leg) -> None:
        """The leg is answered, if it is not yet."""
        if leg.phase is Phase.RINGING:
            leg.phase = Phase.UP
            leg.answered_at = now
            self._timers.clear(("unanswered", leg.number))
            self._timers.clear(("ringing", leg.number))
            self.tell(now, leg, Answered())

    # --- programs ----------------------------------------------------------------------------------------------------

    def delivered(self, now: int, letter: Delivered) -> None:
        """A webhook was answered, or given up."""
        leg, post = letter.leg, letter.post
        self.notify(SimDelivered(leg.id, post.url, letter.status))
        if not leg.live or letter.epoch != leg.epoch:
            return
        why = "" if letter.fault is None else f"webhook: {letter.fault.value}"
        if post.program and not why:
            steps = self.side.program(letter.status, letter.body)
            if not isinstance(steps, str):
                self.follow(now, leg, steps)
                return
            why = steps
        elif not why and not 200 <= letter.status < 300:
            why = f"webhook answered HTTP {letter.status}: {letter.body[:200].decode('utf-8', 'replace')}"
        if why and post.vital:
            outcome = "completed" if leg.started else "rejected" if letter.fault is None else "unreachable"
            self._problem(leg, why)
            self.end(now, leg, outcome, why, Cause.FAILED if leg.answered_at < 0 else Cause.NORMAL, "unknown")

    def follow(self, now: int, leg: Leg, steps: Iterable[Step]) -> None:
        """Do this from here on."""
        leg.epoch += 1
        leg.program.clear()
        leg.program.extend(steps)
        self.advance(now, leg)

    def divert(self, now: int, leg: Leg, steps: Iterable[Step]) -> None:
        """Leave whatever the leg is doing, and do this."""
        self._timers.clear(("step", leg.number))
        leg.voice_until = 0
        self._stop_streams(now, leg)
        action, leg.action = leg.action, ""
        if leg.dialling is not None:
            other, leg.dialling = leg.dialling, None
            other.parent = None
            talked = other.answered_at >= 0
            self._hang_up_other(now, other)
            if action:
                cause = Cause.NORMAL if talked else Cause.CANCELLED
                self.tell(now, leg, DialOver(action, cause, other.id, self._seconds(other, now)))
        elif leg.room:
            self._rooms.leave(now, leg)
            if action:
                self.tell(now, leg, DialOver(action, Cause.NORMAL, "", 0, room=True))
        self.follow(now, leg, steps)

    def advance(self, now: int, leg: Leg) -> None:
        """The next steps of the program, until one takes time."""
        while leg.program and leg.live:
            step = leg.program.popleft()
            if isinstance(step, Odd):
                self._problem(leg, f"not simulated: {step.name}")
                continue
            if isinstance(step, Refuse) and leg.phase is Phase.RINGING:
                cause = Cause.BUSY if step.busy else Cause.REJECTED
                self.end(now, leg, cause.value, "rejected by TwiML", cause, "callee")
                return
            if isinstance(step, Fetch):
                self.tell(now, leg, step)
                return
            if isinstance(step, Pause):
                self._set(now, "step", leg, step.ms)
                return
            self.pick_up(now, leg)
            match step:
                case OpenStream(wanted):
                    self.open_stream(now, leg, wanted)
                case SayText(text):
                    self.say(now, leg, text)
                    self._set(now, "step", leg, _saying_ms(text))
                case DialOut(to, caller, action, timeout_s, reports):
                    leg.action = action
                    self.child(now, leg, to, caller, timeout_s, reports)
                case EnterRoom():
                    leg.action = step.action
                    self._rooms.enter(now, leg, step)
                case End() | Refuse():
                    if not (leg.started or leg.said or leg.outgoing):
                        self.end(now, leg, "rejected", "no verb that connects", Cause.NORMAL, "callee")
                    else:
                        self.end(now, leg, "completed", "hung up by the server", Cause.NORMAL, self._server(leg))
            return
        if leg.live and self.side.ends_when_idle:
            if leg.phase is Phase.RINGING:
                self.end(now, leg, "rejected", "no verb that connects", Cause.NORMAL, "callee")
            else:
                self.end(now, leg, "completed", "nothing left to do", Cause.NORMAL, self._server(leg))

    def say(self, now: int, leg: Leg, text: str) -> None:
        """The carrier's voice."""
        leg.said.append(text)
        leg.voice_until = self._in(now, _saying_ms(text))
        self.notify(SimSaid(leg.id, text))

    def speak(self, now: int, leg: Leg, text: str) -> None:
        """The carrier's voice over what the leg is doing, with its own reports."""
        if self._timers.when(("speech", leg.number)) is not None:
            self.tell(now, leg, Spoke(leg.speaking, True, False))
        leg.speaking += 1
        self.say(now, leg, text)
        self.tell(now, leg, Spoke(leg.speaking, False))
        self._set(now, "speech", leg, _saying_ms(text))

    # --- others on the line ------------------------------------------------------------------------------------------

    def _connected(self, now: int, leg: Leg, other: Leg, plan: Callee) -> None:
        """A transfer was answered."""
        self.notify(SimTransferred(leg.id, other.id, other.callee, True))
        self._set(now, "talked", other, plan.talk_ms)
        if other.bridges:
            leg.dialling = other.parent = None
            self.bridge(now, leg, other)

    def bridge(self, now: int, leg: Leg, other: Leg) -> None:
        """Two legs hear each other until one hangs up. The consulted one talks for its time."""
        leg.bridged, other.bridged = other, leg
        for one in (leg, other):
            self.tell(now, one, Bridged())
        self._joined(now, leg, other)

    def _joined(self, now: int, leg: Leg, other: Leg) -> None:
        self.notify(SimJoined(leg.id, other.id))
        plan = other.callee_plan
        if plan is not None and self._timers.when(("talked", other.number)) is None:
            self._set(now, "talked", other, plan.talk_ms)

    def _room_over(self, now: int, leg: Leg, step: EnterRoom) -> None:
        leg.action = ""
        if not leg.live:
            return
        if step.action:
            self.tell(now, leg, DialOver(step.action, Cause.NORMAL, "", 0, room=True))
        else:
            self.advance(now, leg)

    def _hang_up_other(self, now: int, other: Leg) -> None:
        cause = Cause.NORMAL if other.answered_at >= 0 else Cause.CANCELLED
        outcome = "completed" if cause is Cause.NORMAL else "cancelled"
        self.end(now, other, outcome, "the other side hung up", cause, "caller")

    def _part(self, now: int, leg: Leg) -> None:
        """A leg ended: what that means for those it was connected with."""
        if leg.dialling is not None:
            other, leg.dialling = leg.dialling, None
            other.parent = None
            self._hang_up_other(now, other)
        if leg.parent is not None:
            parent, leg.parent = leg.parent, None
            parent.dialling = None
            action, parent.action = parent.action, ""
            if leg.answered_at < 0:
                self.notify(SimTransferred(parent.id, leg.id, leg.callee, False, leg.cause.value))
            if action:
                self.tell(now, parent, DialOver(action, leg.cause, leg.id, self._seconds(leg, now)))
            elif not leg.bridges:
                self.advance(now, parent)
        if leg.bridged is not None:
            other, leg.bridged = leg.bridged, None
            other.bridged = None
            if not other.parks:
                self.end(now, other, "completed", "the other side hung up", Cause.NORMAL, "unknown")
        if leg.room:
            self._rooms.leave(now, leg)

    # --- the end of a leg --------------------------------------------------------------------------------------------

    def _seconds(self, leg: Leg, now: int) -> int:
        return 0 if leg.answered_at < 0 else -(-(now - leg.answered_at) // 1_000_000)

    def hang_up(self, now: int, leg: Leg) -> None:
        """The server ends it."""
        leg.rest = True
        if leg.phase is Phase.RINGING and leg.outgoing:
            self.end(now, leg, "cancelled", "hung up by the server", Cause.CANCELLED, "caller")
        else:
            self.end(now, leg, "completed", "hung up by the server", Cause.NORMAL, self._server(leg))

    def end(self, now: int, leg: Leg, outcome: str, detail: str, cause: Cause, source: str) -> None:
        """The telephone call is over; its stream follows."""
        if leg.phase in (Phase.ENDED, Phase.DONE):
            return
        planned = leg.phase is Phase.PLANNED
        leg.phase = Phase.ENDED
        leg.ended_at = now
        leg.outcome, leg.detail = leg.outcome or outcome, leg.detail or detail
        leg.cause, leg.source = cause, source
        speaking = self._timers.when(("speech", leg.number)) is not None
        for kind in _TIMERS:
            self._timers.clear((kind, leg.number))
        leg.program.clear()
        if leg.stream is not None and leg.stream.streaming and Misbehaviour.LATE_STOP in self._upset:
            self._timers.set(("frame", leg.number), leg.next_frame)
            self._set(now, "stop", leg, self.config.late_stop_ms)
        elif leg.stream is not None and leg.stream.streaming and Misbehaviour.NO_STOP in self._upset:
            self._timers.set(("giveup", int(leg.stream.conn)), now + _GIVE_UP_MS * 1000)
        else:
            self._stop_streams(now, leg)
        if planned:
            self._settle(now, leg)
            return
        if speaking:
            self.tell(now, leg, Spoke(leg.speaking, True, False))
        if Misbehaviour.UNTOLD_HANGUP not in self._upset:
            self.tell(now, leg, HungUp(cause, source, self._seconds(leg, now)))
        for taping in leg.tapings:
            self.stop_taping(now, leg, taping)
        self._part(now, leg)
        self._settle(now, leg)

    def _settle(self, now: int, leg: Leg) -> None:
        """Once the call and its streams are over, that is told."""
        if leg.phase is not Phase.ENDED or leg.stream is not None or leg.spare:
            return
        leg.phase = Phase.DONE
        self.live -= 1
        if leg.outgoing and leg.parent is None:
            self.dialled_done += 1
        heard = leg.handset
        began = leg.started if leg.frames else now
        self.notify(
            SimCallDone(
                call_id=leg.id,
                outcome=leg.outcome,
                detail=leg.detail,
                close_code=leg.close_code,
                duration_ms=(now - began) // 1000,
                frames_sent=leg.frames,
                frames_heard=heard.frames,
                bytes_received=heard.received,
                cleared_bytes=heard.cleared,
                max_buffered_ms=heard.max_buffered // 8,
                underruns=heard.underruns,
                hung_up_by_rest=leg.rest,
                said_by_carrier=tuple(leg.said),
                caller=bytes(leg.sent),
                heard=bytes(heard.heard),
                latencies_us=tuple(leg.latencies),
                outgoing=leg.outgoing,
                streams=leg.streams,
                keys="".join(leg.keys),
            )
        )
        leg.sent.clear()
        heard.heard.clear()

    # --- recordings --------------------------------------------------------------------------------------------------

    def tape(self, now: int, leg: Leg, reports: Reports) -> str:
        """Start a recording; its id."""
        number = sum(len(one.tapings) for one in self.legs)
        taping = Taping(number, self.side.recording_id(self.digest("RE", number)), now, reports.recording_url)
        leg.tapings.append(taping)
        if "in-progress" in reports.recording_events:
            self.tell(now, leg, Recorded(taping.id, self.epoch + now, 0, taping.url, ready=False))
        return taping.id

    def stop_taping(self, now: int, leg: Leg, taping: Taping) -> None:
        """End one."""
        if taping.ended < 0:
            taping.ended = now
            self._tapings[taping.number] = (leg, taping)
            self._timers.set(("taped", taping.number), self._in(now, _SAVED_MS))

    def _taped(self, now: int, leg: Leg, taping: Taping) -> None:
        length = taping.ended - taping.began
        self.notify(SimRecording(leg.id, taping.id, length // 1000))
        report = Recorded(taping.id, self.epoch + taping.began, -(-length // 1_000_000), taping.url)
        self.tell(now, leg, report)
