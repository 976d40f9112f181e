"""One telephone call as the carrier sees it, from the webhook or the order to dial until everything it owed is done.

    DIALLING --answered--> OFFERED --start--> TALKING <--start / lost--> DETACHED
       |                      |               |     \\--transferred--> AWAY --comes back--> TALKING
       +----------------------+----- end -----+-------------------------+--> ENDING --> OVER

``OFFERED`` was announced (or answered) but has no stream, ``DETACHED`` lost its stream without a ``stop`` and waits a
moment for it to come back, ``AWAY`` is with the carrier or somebody else and may return, ``ENDING`` has settled what
was heard, asks the carrier to hang up where the leg is still up, and lets ``on_call_end`` finish. ``OVER`` is reached
once from every path, with one reason.
"""

from __future__ import annotations

import enum

import msgspec

from ..audio.resample import OUTPUT_RATES
from ..carriers.carrier import (
    CallerAudio,
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    MachineDetected,
    Malformed,
    MalformedCode,
    MarkReturned,
    Pressed,
    RecordingChanged,
    RecordingStep,
    RestOutcome,
    StreamChange,
    StreamChanged,
    StreamStarted,
    StreamStopped,
    TransferEnded,
    WebhookEvent,
)
from ..commands import BadCommand, read_command
from ..events import (
    CallNamed,
    CallProgressed,
    CallStarted,
    HangUpFailed,
    MachineAnswered,
    OrderRefused,
)
from ..reasons import EndReason
from ..timers import Timers, later
from .away import Away, Turn
from .conversation import Conversation
from .desk import Desk, deny, reply
from .ending import Ending
from .leg import CarrierLeg, LegState
from .patience import Leave, Limits
from .progress import ending_of, was_answered
from .rests import Settled
from .result import MachineDetection
from .screening import Cue, Screening
from .screening import Stage as Screened
from .socket import Bad, MediaSocket, Socket
from .spec import CallSpec
from .tools import BuiltIn
from .words import (
    INWARD,
    Begun,
    CallFact,
    CallOrder,
    CarrierSaid,
    CollectWanted,
    Deny,
    EndWanted,
    Hurried,
    KeysWanted,
    LegEnded,
    MintStream,
    Over,
    Pressure,
    RecordingWanted,
    Reply,
    Reported,
    RestDone,
    SayWanted,
    StreamCame,
    StreamMinted,
    StreamWent,
    Tell,
    TransferWanted,
)

__all__ = ["Call", "CallState"]


class CallState(enum.Enum):
    """Where the call is; see the module's drawing."""

    DIALLING = "dialling"
    OFFERED = "offered"
    TALKING = "talking"
    DETACHED = "detached"
    AWAY = "away"
    ENDING = "ending"
    OVER = "over"


class Next(enum.Enum):
    """What a fresh stream address is for, once there is one and no old socket is in the way."""

    NOTHING = "nothing"
    BEGIN = "begin"
    RESTART = "restart"


class _Timer(enum.Enum):
    OFFER = "offer"
    START = "start"
    REATTACH = "reattach"
    SILENCE = "silence"
    LONGEST = "longest"
    LINGER = "linger"
    RINGING = "ringing"
    LEAVE = "leave"
    CHANCE = "chance"


_LIVE = frozenset({CallState.DIALLING, CallState.OFFERED, CallState.TALKING, CallState.DETACHED, CallState.AWAY})
_UNHEARD = frozenset({CallState.DIALLING, CallState.OFFERED})  # no stream has started yet
_TOLD = frozenset({"bad_target", "not_allowed"})  # refusals of a transfer, of which the caller hears from us
_LOOK_S = 0.1  # how often to look whether the agent is done speaking, when something waits for that


class Call:
    """One call: ``handle(now, fact) -> orders`` and ``deadline``, like every machine, in the words of ``words.py``."""

    def __init__(self, now: int, spec: CallSpec) -> None:
        self.spec = spec
        self.state = CallState.OFFERED if spec.dial is None else CallState.DIALLING
        self.reason: EndReason | None = None
        self._settings = spec.settings
        self._leg = CarrierLeg(spec)
        self._conversation = Conversation(spec)
        self._screening = Screening(spec.dial is not None and spec.dial.machine_detection, spec.settings)
        self._away = Away(self._leg, self._conversation)
        self._desk = Desk(spec.settings, self._leg, self._conversation)
        self._socket = MediaSocket(now, spec.settings)
        self._timers: Timers[_Timer] = Timers()
        if spec.dial is None:
            self._timers.set(_Timer.OFFER, later(now, spec.settings.offer_s))
        self._now = now
        self._next = Next.NOTHING
        self._lingering = False  # the carrier is given a moment to close the socket itself
        self._started_at = -1  # the stream's first `start`
        self._ended_at = now
        self._leaving: EndReason | None = None  # why, once what is being said was heard
        self._quiet_at: int | None = None  # since when nobody speaks, while leaving
        self._last_words = ""  # said in the carrier's voice when ours is gone
        self._recording: RecordingChanged | None = None
        self._detection: MachineDetection | None = None
        self._refusal = ""  # why the carrier did not do what the call hung on
        self._limits = Limits(spec.agent.patience)
        self._voices = 0  # as many times the caller was known to have spoken
        self._asked: dict[str, str] = {}  # what a model waits for, by the name it was asked under
        self._deadline = self._wake()

    # --- the board's shape -------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """When to come back with ``Ticked``."""
        return self._deadline

    def _wake(self) -> int | None:
        if self.state is CallState.OVER:
            return None
        at = self._timers.deadline
        others = (
            self._conversation.deadline,
            self._leg.deadline,
            self._desk.deadline,
            self._screening.deadline,
            self._away.deadline,
            self._limits.deadline,
        )
        for other in others:
            if other is not None and (at is None or other < at):
                at = other
        return at

    @property
    def leg_up(self) -> bool:
        """The carrier may still have the other party on the line."""
        return self.state is not CallState.OVER and self._leg.up

    @property
    def refusal(self) -> str:
        """Why the carrier did not do what the call hung on, in its words; '' when it did."""
        return self._refusal

    @property
    def consulted(self) -> list[str]:
        """The names of legs we had dialled to hand the caller over to."""
        return self._away.refs

    @property
    def attached(self) -> bool:
        """A media socket is there (or on its way out)."""
        return self._socket.there

    def handle(self, now: int, fact: CallFact) -> list[CallOrder]:
        """One complete step."""
        now = self._now = max(now, self._now)
        if self.state is CallState.OVER:
            return []
        out: list[CallOrder] = []
        deadline = self._deadline
        if deadline is not None and deadline <= now:
            self._tick(now, out)
        kind = type(fact)
        if kind is CarrierSaid:
            self._carrier_said(now, fact.text, out)  # type: ignore[union-attr]
        elif kind in INWARD:
            out += self._conversation.inward(now, fact)  # type: ignore[arg-type]
        else:
            self._other(now, fact, out)
        self._look_around(now, out)
        if self._asked:
            out = self._answer_model(now, out)
        self._finish(now, out)
        self._deadline = self._wake()
        return out

    def _other(self, now: int, fact: CallFact, out: list[CallOrder]) -> None:
        match fact:
            case StreamCame():
                self._stream_came(now, out)
            case StreamWent():
                self._stream_went(now, out)
            case Pressure(high):
                out += self._conversation.pressure(now, high)
            case RestDone():
                settled = self._leg.rests.done(now, fact)
                if settled is not None:
                    self._settled(now, settled, out)
            case Begun(url, token):
                self._begun(now, url, token, out)
            case StreamMinted(url, token):
                self._minted(now, url, token, out)
            case Reported(event, ref):
                self._reported(now, event, ref, out)
            case EndWanted(reason, keep_stream, gently):
                self._socket.keep = self._socket.keep or keep_stream
                if gently and self.state is CallState.TALKING:
                    self._leave(now, reason)
                else:
                    self._end(now, reason, out)
                if reason is EndReason.SHUTDOWN:
                    self._leg.hurry(now)
            case LegEnded():
                self._leg_ended(now, out)
            case SayWanted(text):
                out += self._conversation.say(now, text)
            case TransferWanted() | KeysWanted() | CollectWanted() | RecordingWanted():
                self._wanted(now, fact, out)
            case Hurried():
                out += self._conversation.callbacks.only_the_last(now)

    def _wanted(
        self,
        now: int,
        wanted: TransferWanted | KeysWanted | CollectWanted | RecordingWanted,
        out: list[CallOrder],
    ) -> None:
        """The application wants something that only a call that is talking can do."""
        transfer = type(wanted) is TransferWanted
        if transfer and (self._away.busy or self._leaving is not None):
            deny(wanted.ask, "busy", "the call is being transferred, or hung up, already", out)
            return
        if self.state is not CallState.TALKING:
            deny(wanted.ask, "not_talking", "that can be done while the call's media stream is there", out)
            return
        match wanted:
            case TransferWanted():
                self._turn(now, self._away.wanted(now, self.spec, wanted, out), out)
            case KeysWanted():
                self._desk.press(now, wanted, out)
            case CollectWanted():
                self._desk.collect(now, wanted, out)
            case RecordingWanted(step, ask):
                self._desk.record(now, step, ask, out)

    def _look_around(self, now: int, out: list[CallOrder]) -> None:
        """What follows from this step in the conversation."""
        talk = self._conversation
        if talk.mouth.pressed or talk.mouth.unpressed:
            self._desk.heard(out)
        if talk.voices and self._screening.stage is Screened.WAITING:
            self._cues(now, self._screening.spoke(), out)
        while talk.wishes:
            self._wish(now, talk.wishes.popleft(), out)
        if self._limits.watches_silence and self.state is CallState.TALKING:
            if talk.caller_speaking or talk.voices != self._voices:
                self._voices = talk.voices
                self._limits.active(now, True)
            elif talk.speaking(now):
                self._limits.active(now, False)
        if talk.hung_up and self.state is CallState.TALKING:
            self._leave(now, EndReason.AGENT_HUNG_UP)
        if talk.gave_up is not None and self.state in _LIVE and self.state is not CallState.AWAY:  # somebody else talks
            self._last_words = talk.gave_up.say
            self._end(now, EndReason.ENGINE_FAILED, out)
        if self._away.listens:
            if talk.speaking(now):
                self._timers.set(_Timer.CHANCE, later(now, _LOOK_S))
            else:
                self._turn(now, self._away.quiet(now, self.spec, out), out)
        if self._leaving is not None:
            self._maybe_leave(now, out)
        if self.state is CallState.TALKING:
            talk.mouth.tape(now, out)

    def _tick(self, now: int, out: list[CallOrder]) -> None:
        """Fire what is due: the call's own timers oldest first; each part's deadlines all at once."""
        while (at := self._timers.deadline) is not None and at <= now:
            talk = self._conversation.deadline
            if talk is not None and talk <= at:
                out += self._conversation.tick(now)
                self._look_around(now, out)
            timer = self._timers.due(now)
            if timer is not None:
                self._fire(now, timer, out)
        talk = self._conversation.deadline
        if talk is not None and talk <= now:
            out += self._conversation.tick(now)
            self._look_around(now, out)
        for settled in self._leg.tick(now, out):
            self._settled(now, settled, out)
        self._line_is_free(now, out)
        self._desk.tick(now, out)
        self._cues(now, self._screening.tick(now), out)
        self._turn(now, self._away.tick(now, self.spec, self._socket.flowing, out), out)
        if (due := self._limits.deadline) is not None and due <= now:
            self._limit(now, out)

    def _limit(self, now: int, out: list[CallOrder]) -> None:
        """The call has gone on for long enough, or is about to."""
        talk = self._conversation
        for act in self._limits.tick(now, talk.cost(now)):
            if self.state is not CallState.TALKING or self._leaving is not None or self._away.busy:
                return  # somebody else talks to the caller, or nobody does any more
            if act.text and talk.says:
                out += talk.say(now, act.text)
            if isinstance(act, Leave):
                self._leave(now, act.reason)

    def _wish(self, now: int, wish: BuiltIn, out: list[CallOrder]) -> None:
        """A model wants something done that only the call can do."""
        talk, given = self._conversation, wish.arguments
        ask = f"tool:{wish.call}"
        self._asked[ask] = wish.call
        match wish.name:
            case "transfer_call":
                target = {"to": given.get("number"), "summary": given.get("summary", ""), "by_model": True}
                self._wished(now, read_command("transfer", target, ask), ask, out)
            case "send_dtmf":
                self._wished(now, read_command("send_dtmf", {"digits": given.get("digits")}, ask), ask, out)
            case _:
                guard_s = self.spec.agent.patience.hang_up_guard_s
                if not talk.voices and now < later(self._started_at, guard_s):
                    deny(ask, "too_soon", "the caller has not said anything yet: ask them, or wait", out)
                else:
                    self._leave(now, EndReason.AGENT_HUNG_UP)
                    reply(ask, "the call ends once your goodbye was heard", out)

    def _wished(self, now: int, wanted: CallFact | BadCommand, ask: str, out: list[CallOrder]) -> None:
        """A model is held to what an application is held to."""
        if isinstance(wanted, TransferWanted | KeysWanted):
            self._wanted(now, wanted, out)
        else:
            deny(ask, "bad_arguments", wanted.detail if isinstance(wanted, BadCommand) else "", out)

    def _answer_model(self, now: int, orders: list[CallOrder]) -> list[CallOrder]:
        """What the application would be told, the model that asked is told."""
        out: list[CallOrder] = []
        talk = self._conversation
        for order in orders:
            if isinstance(order, Reply | Deny) and order.ask in self._asked:
                call = self._asked.pop(order.ask)
                done = isinstance(order, Reply)
                detail = str(order.value) if isinstance(order, Reply) else f"{order.code}: {order.detail}"
                # Who was refused to be handed over hears so from us; who is hung up on has heard a goodbye.
                quiet = order.code in _TOLD if isinstance(order, Deny) else False
                if self._leaving is not None:
                    quiet = talk.replied
                out += talk.built_in_done(now, call, done, detail, quiet)
            else:
                out.append(order)
        return out

    def _fire(self, now: int, timer: _Timer, out: list[CallOrder]) -> None:
        match timer:
            case _Timer.OFFER:
                # After a transfer that failed: the carrier does not come back with a caller who is not there any more.
                self._end(now, EndReason.NEVER_STARTED if self._started_at < 0 else EndReason.CALLER_HUNG_UP, out)
            case _Timer.RINGING:
                self._end(now, EndReason.NOT_REPORTED, out)
            case _Timer.START:
                self._socket.close(1008, "no start", out)
            case _Timer.REATTACH:
                self._end(now, EndReason.STREAM_LOST, out)
            case _Timer.SILENCE:
                self._check_silence(now, out)
            case _Timer.LONGEST:
                self._end(now, EndReason.MAX_DURATION, out)
            case _Timer.LEAVE:
                if self._leaving is not None:
                    self._end(now, self._leaving, out)
            case _Timer.CHANCE:
                pass  # ``_look_around`` does what is to be done
            case _Timer.LINGER:
                if not self._socket.keep:
                    self._socket.close(1000, "call ended", out)

    # --- the leg -----------------------------------------------------------------------------------------------------

    def _begun(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        plan = self.spec.dial
        if plan is not None:
            self._timers.set(_Timer.RINGING, later(now, plan.ring_timeout_s + self._settings.dial_grace_s))
            self._leg.dial(now, plan, out)
        elif url:
            self._leg.answer(now, url, token, out)
            out += self._conversation.warm(now, self._leg.line)

    def _mint(self, purpose: Next, out: list[CallOrder]) -> None:
        """Have a stream, as soon as the old socket is out of its way."""
        self._next = purpose
        if not self._socket.there:
            out.append(MintStream())

    def _minted(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        purpose, self._next = self._next, Next.NOTHING
        if purpose is Next.NOTHING or self.state not in _LIVE:
            return
        if not url:
            self._end(now, EndReason.UNSUPPORTED_CODEC if self._socket.malformed else EndReason.STREAM_LOST, out)
        elif purpose is Next.BEGIN:
            self._leg.begin_stream(now, url, token, out)
            if self._screening.stage is Screened.WAITING:
                self._conversation.wait_for_cue()
            out += self._conversation.warm(now, self._leg.line)
        else:
            self._leg.restart_stream(now, url, token, out)

    def _reported(self, now: int, event: WebhookEvent, ref: str, out: list[CallOrder]) -> None:
        ours = event.call_id == self.spec.call_id
        if not ours and self._away.concerns(ref):
            self._away_reported(now, event, True, out)
            return
        if ref and not ours and (self.spec.dial is None or ref != self.spec.dial.ref):
            self._away.stray(now, event, ref, out)
            return
        transferring = self._away.busy
        self._name(now, event.call_id, out)
        match event:
            case CallStatusChanged():
                self._status(now, event, out)
            case MachineDetected() if self.state in _LIVE:
                self._cues(now, self._screening.detected(now, event), out)
            case RecordingChanged():
                self._recording = event
            case CarrierSpoke():
                self._leg.spoken(now, out)
            case StreamChanged(change=StreamChange.ERROR, error=error) if self._hopeless:
                self._refusal = error
                self._end(now, EndReason.NEVER_STARTED, out)
        stale = isinstance(event, TransferEnded) and ref and not self._away.concerns(ref)
        if transferring and not stale:
            self._away_reported(now, event, False, out)

    @property
    def _hopeless(self) -> bool:
        """No stream ever came, and none is here: what the carrier could not open was the one we wait for."""
        return self.state is CallState.OFFERED and not self._socket.there

    def _away_reported(self, now: int, event: WebhookEvent, ours: bool, out: list[CallOrder]) -> None:
        flowing = self._socket.flowing
        self._turn(now, self._away.reported(now, self.spec, event, ours, flowing, out), out)

    @property
    def _named(self) -> bool:
        """The carrier has named the call that we dialled: it exists, whatever else is said."""
        return self.spec.dial is None or self.spec.call_id != self.spec.dial.ref

    def _name(self, now: int, call_id: str, out: list[CallOrder]) -> None:
        """A dialled call learns its name: from the order's answer, a report, or its stream; whatever is first."""
        plan = self.spec.dial
        if plan is None or self.spec.call_id != plan.ref or not call_id or call_id == plan.ref:
            return
        self.spec = msgspec.structs.replace(self.spec, call_id=call_id)
        self._conversation.adopt(self.spec)
        self._leg.adopt(self.spec)
        out.append(Tell(CallNamed(call_id, plan.ref)))
        self._leg.named(now, call_id, out)

    def _status(self, now: int, report: CallStatusChanged, out: list[CallOrder]) -> None:
        answered = self._leg.progress.answered
        if not self._leg.progress.take(report):
            return
        out.append(Tell(CallProgressed(self.spec.call_id, report.status, report.raw)))
        if report.status.final:
            self._timers.clear(_Timer.RINGING)
            answered = answered or was_answered(report)  # the report that it was may still be on its way
            if self.spec.dial is not None and self.state in _UNHEARD and not answered:
                self._leg.down(out)
                self._end(now, ending_of(report), out)
            else:
                self._leg_ended(now, out)
        elif report.status is CallStatus.IN_PROGRESS and self.state is CallState.DIALLING:
            self._answered(now, out)

    def _answered(self, now: int, out: list[CallOrder]) -> None:
        """The callee took the call: now there is a stream to be had."""
        self.state = CallState.OFFERED
        self._timers.clear(_Timer.RINGING)
        self._timers.set(_Timer.OFFER, later(now, self._settings.offer_s))
        self._leg.state = LegState.UP
        self._conversation.costs.answered(now)
        self._mint(Next.BEGIN, out)

    def _settled(self, now: int, news: Settled, out: list[CallOrder]) -> None:
        """One of our orders to the carrier is done with."""
        if news.tag.startswith("drop_other:"):
            if not news.done:
                detail = f"the other leg of a transfer: {news.detail}"
                out.append(Tell(HangUpFailed(self.spec.call_id, detail)))
        elif not news.done and news.tag not in ("hangup", "speak"):
            out.append(Tell(OrderRefused(self.spec.call_id, news.tag, news.detail)))
        over = news.outcome is RestOutcome.ALREADY_ENDED
        if news.tag == "dial":
            if news.done:
                self._name(now, news.value, out)
            elif self.state is CallState.DIALLING and news.outcome is not None and not self._named:
                self._refusal = news.detail
                self._leg.down(out)
                self._end(now, EndReason.CARRIER_REFUSED, out)
            # No answer: it may have been dialled all the same. The ringing timer bounds the wait for its reports.
        elif news.tag in ("answer", "stream", "send") and over:
            self._leg_ended(now, out)
        elif news.tag in ("answer", "stream") and not news.done:
            self._refusal = news.detail
            self._end(now, EndReason.CARRIER_REFUSED, out)
        elif self._desk.settled(news, out):
            pass
        elif turns := self._away.settled(now, self.spec, news, self._socket.flowing, out):
            self._turn(now, turns, out)
        self._leg.settled(now, news, out)
        self._line_is_free(now, out)

    def _line_is_free(self, now: int, out: list[CallOrder]) -> None:
        """The leg is down at last: the carrier closes the socket; if it does not, we do."""
        if self._leg.up or self.state is not CallState.ENDING:
            return
        if self._leg.failure is not None:
            out.append(Tell(HangUpFailed(self.spec.call_id, self._leg.failure)))
            self._leg.failure = None
        if self._socket.open and not self._lingering:
            self._lingering = True
            self._timers.set(_Timer.LINGER, later(now, self._settings.linger_s))

    # --- who answered ------------------------------------------------------------------------------------------------

    def _cues(self, now: int, cues: list[Cue], out: list[CallOrder]) -> None:
        for cue in cues:
            match cue:
                case Cue.TELL:
                    self._tell_machine(now, out)
                case Cue.SPEAK_FIRST:
                    out += self._conversation.speak_first(now)
                case Cue.HUSH:
                    out += self._conversation.hush(now)
                    if not self.spec.voicemail_message:
                        self._end(now, EndReason.MACHINE_ANSWERED, out)
                case Cue.LEAVE_MESSAGE:
                    self._leave_message(now, out)
                case Cue.GIVE_UP:
                    out += self._conversation.hush(now)
                    self._end(now, EndReason.FAX_ANSWERED, out)

    def _tell_machine(self, now: int, out: list[CallOrder]) -> None:
        verdict = self._screening.verdict
        assert verdict is not None
        self._detection = MachineDetection(
            call_id=self.spec.call_id,
            carrier=self.spec.carrier,
            classification=verdict.classification.value,
            raw=verdict.raw,
            detected_at=(self.spec.epoch + now) / 1e6,
        )
        out.append(Tell(MachineAnswered(self.spec.call_id, verdict.classification.value, verdict.raw)))
        out += self._conversation.callbacks.call(now, "on_machine_detection", self._detection)

    def _leave_message(self, now: int, out: list[CallOrder]) -> None:
        """The machine listens: leave the message in the agent's voice, or else in the carrier's; then hang up."""
        if self.state is not CallState.TALKING:
            self._screening.again(now)  # it is heard once the stream is there
        elif self._conversation.says:
            out += self._conversation.say(now, self.spec.voicemail_message)
            self._leaving = EndReason.VOICEMAIL_LEFT
            self._timers.set(_Timer.LEAVE, later(now, self._settings.voicemail_s))
        elif self._conversation.starting:
            self._screening.again(now)
        else:
            self._last_words = self.spec.voicemail_message
            self._end(now, EndReason.VOICEMAIL_LEFT, out)

    # --- the media socket --------------------------------------------------------------------------------------------

    def _stream_came(self, now: int, out: list[CallOrder]) -> None:
        if self._socket.there:
            self._stream_went(now, out)  # whoever admitted a second one has let go of the first
        self._socket.came(now, self.spec.call_id, self._leg.stream(), out)
        if self.state in _LIVE:
            self._timers.set(_Timer.START, later(now, self._settings.start_s))
        else:
            self._socket.close(1000, "call ended", out)

    def _carrier_said(self, now: int, text: str, out: list[CallOrder]) -> None:
        socket = self._socket
        stream = socket.stream
        if stream is None:
            return
        socket.heard_at = now
        event = stream.receive(text)
        kind = type(event)
        if socket.state is Socket.CLOSING:  # whatever is still on its way means nothing, but for the end of the leg
            if isinstance(event, StreamStopped) and self.state is CallState.ENDING:
                self._leg_ended(now, out)
        elif kind is CallerAudio:
            socket.frames_in += 1
            if self.state is CallState.TALKING:
                out += self._conversation.hear(now, event.payload, event.timestamp_ms, event.chunk)  # type: ignore[union-attr]
        elif kind is MarkReturned:
            if self.state is CallState.TALKING:
                out += self._conversation.mark(now, event.name)  # type: ignore[union-attr]
        elif isinstance(event, StreamStarted):
            self._stream_started(now, event, out)
        elif isinstance(event, Pressed):
            if self.state is CallState.TALKING and not self._desk.key(now, event.digit, out):
                bad = Malformed(MalformedCode.BAD_FIELD, "keys faster than any dialler's")
                self._malformed_message(now, bad, out)
        elif isinstance(event, StreamStopped):
            if self.state is not CallState.AWAY:
                self._leg_ended(now, out)
        elif isinstance(event, Malformed):
            self._malformed_message(now, event, out)

    def _stream_started(self, now: int, event: StreamStarted, out: list[CallOrder]) -> None:
        if self.state is CallState.DIALLING:
            self._name(now, event.call_id, out)  # the stream overtook every report
        if event.call_id != self.spec.call_id:
            self._malformed_message(now, Malformed(MalformedCode.BAD_FIELD, "start names another call"), out)
            self._socket.close(1008, "wrong call", out)
            self._socket.stream = None  # nothing that it says is about this call
            return
        stream = self._socket.stream
        if self.state not in _LIVE or stream is None:
            return
        sends = event.sends or event.format
        if event.format.rate not in OUTPUT_RATES or sends.rate not in OUTPUT_RATES:
            detail = f"{event.format.rate} Hz; supported: {', '.join(map(str, OUTPUT_RATES))}"
            self._malformed_message(now, Malformed(MalformedCode.UNSUPPORTED_FORMAT, detail), out)
            return
        first = self._started_at < 0
        back = self.state is CallState.AWAY
        self._socket.state = Socket.STREAMING
        for timer in (_Timer.START, _Timer.REATTACH, _Timer.OFFER, _Timer.RINGING):
            self._timers.clear(timer)
        self._timers.set(_Timer.SILENCE, later(now, self._settings.silence_s))
        self.state = CallState.TALKING
        self._leg.streams(out)
        if first:
            self._adopt(event.parameters)
            self._timers.set(_Timer.LONGEST, later(now, self._settings.max_duration_s))
            self._started_at = now
            self._limits.begin(now)
            self._conversation.costs.answered(now)
            spec = self.spec
            out.append(Tell(CallStarted(spec.call_id, spec.caller, spec.callee, spec.direction)))
            if self._screening.stage is Screened.WAITING:
                self._conversation.wait_for_cue()
            elif self._screening.stage is Screened.MACHINE:
                out += self._conversation.hush(now)
        out += self._conversation.attach(now, stream, event.format, event.parameters, sends)
        if first:
            self._screening.started(now)
            if self.spec.recording:
                self._desk.record(now, RecordingStep.START, "", out)
        if back:
            self._welcome_back(now, out)

    def _adopt(self, parameters: dict[str, str]) -> None:
        """A call admitted by its ticket alone (another process took its webhook) learns who is calling from the
        parameters that webhook's answer carried."""
        if not self.spec.caller and not self.spec.callee:
            caller, callee = parameters.get("caller", ""), parameters.get("callee", "")
            self.spec = msgspec.structs.replace(self.spec, caller=caller, callee=callee)
            self._conversation.adopt(self.spec)
            self._leg.adopt(self.spec)

    def _stream_went(self, now: int, out: list[CallOrder]) -> None:
        if not self._socket.there:
            return
        self._socket.went(self.spec.call_id, out)
        for timer in (_Timer.START, _Timer.SILENCE, _Timer.LINGER):
            self._timers.clear(timer)
        if self.state is CallState.TALKING:
            self.state = CallState.DETACHED
            out += self._conversation.detach(now)
            self._timers.set(_Timer.REATTACH, later(now, self._settings.reattach_s))
        elif self.state is CallState.AWAY:
            out += self._conversation.detach(now)
        if self._next is not Next.NOTHING and self.state in _LIVE:
            out.append(MintStream())

    def _check_silence(self, now: int, out: list[CallOrder]) -> None:
        due = later(self._socket.heard_at, self._settings.silence_s)
        if due > now:  # something was heard since the timer was set: that is cheaper than moving it per frame
            self._timers.set(_Timer.SILENCE, due)
        else:
            self._end(now, EndReason.STREAM_SILENT, out)

    def _malformed_message(self, now: int, event: Malformed, out: list[CallOrder]) -> None:
        match self._socket.bad(now, self.spec.call_id, event, out):
            case Bad.CODEC if self._leg.other_codec():  # once more, with what every carrier knows
                self._next = Next.RESTART
                self._socket.close(1000, "asking for another codec", out)
            case Bad.CODEC:
                self._end(now, EndReason.UNSUPPORTED_CODEC, out)
            case Bad.FLOOD if self.state not in _UNHEARD:  # before `start` it is the socket that is bad, not the call
                self._end(now, EndReason.PROTOCOL_ERROR, out)

    # --- transfer ----------------------------------------------------------------------------------------------------

    def _turn(self, now: int, turns: list[Turn], out: list[CallOrder]) -> None:
        """What a transfer means for the call."""
        for turn in turns:
            if self.state not in _LIVE:
                return
            match turn:
                case Turn.LEAVING:
                    self.state = CallState.AWAY
                case Turn.PARTED:
                    self._socket.close(1000, "transferred", out)
                case Turn.GONE:
                    self._end(now, EndReason.TRANSFERRED, out)
                case Turn.BACK:
                    self.state = CallState.TALKING
                    self._welcome_back(now, out)
                case Turn.RETURNING | Turn.RESTART:
                    self.state = CallState.AWAY
                    self._timers.set(_Timer.OFFER, later(now, self._settings.offer_s))
                    self._socket.close(1000, "transferred", out)
                    if turn is Turn.RESTART:
                        self._mint(Next.RESTART, out)

    def _welcome_back(self, now: int, out: list[CallOrder]) -> None:
        self._conversation.resume()
        out += self._conversation.say(now, self.spec.agent.transfer_failed_message)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _leave(self, now: int, reason: EndReason) -> None:
        """Hang up once what is being said was heard, and the caller has had a chance to say something."""
        if self._leaving is None:
            self._leaving = reason
            self._quiet_at = None
            self._timers.set(_Timer.LEAVE, later(now, self._settings.goodbye_s))

    def _maybe_leave(self, now: int, out: list[CallOrder]) -> None:
        assert self._leaving is not None
        talk = self._conversation
        if self.state is not CallState.TALKING:
            return
        if talk.speaking(now):
            self._quiet_at = None
            self._timers.set(_Timer.CHANCE, later(now, _LOOK_S))
            return
        if self._quiet_at is None:
            self._quiet_at = now
            self._timers.set(_Timer.CHANCE, later(now, self._settings.chance_s))
        heard = talk.voices > 0 and not talk.caller_speaking
        waited = now >= later(self._quiet_at, self._settings.chance_s)
        if heard or waited or self._leaving is EndReason.VOICEMAIL_LEFT:
            self._end(now, self._leaving, out)

    def _end(self, now: int, reason: EndReason, out: list[CallOrder]) -> None:
        if self.state not in _LIVE:
            return
        self.state = CallState.ENDING
        self.reason = reason
        self._ended_at = now
        for timer in _Timer:
            self._timers.clear(timer)
        self._leaving = None
        self._next = Next.NOTHING
        self._screening.deadline = None
        self._limits.end()
        self._conversation.costs.ended(now)
        self._desk.end(now, out)
        self._away.end(now, reason is EndReason.TRANSFERRED, out)
        unheard = self._started_at < 0
        if not unheard:
            out += self._conversation.end(now)
        if not unheard or self.spec.dial is not None:
            payload = self._ending(reason).payload(self._conversation)
            out += self._conversation.callbacks.call(now, "on_call_end", payload)
        if reason is EndReason.NEVER_STARTED and not self._leg.kept:
            self._leg.down(out)  # the carrier ends a call whose stream it could not open
        if self._leg.up:
            words = self._last_words if reason in (EndReason.ENGINE_FAILED, EndReason.VOICEMAIL_LEFT) else ""
            self._leg.hang_up(now, words, out)
        elif not self._socket.keep:
            self._socket.close(1000, "call ended", out)

    def _ending(self, reason: EndReason) -> Ending:
        return Ending(
            spec=self.spec,
            reason=reason,
            started=self._started_at,
            ended=self._ended_at,
            status=self._leg.progress.status,
            frames_in=self._socket.frames_in,
            malformed=self._socket.malformed,
            refusal=self._refusal,
            recording=self._recording,
            detection=self._detection,
        )

    def _leg_ended(self, now: int, out: list[CallOrder]) -> None:
        """The carrier says the telephone call is over."""
        if self._leg.state is LegState.HANGING_UP:
            self._leg.down(out)
            self._line_is_free(now, out)
        elif self._leg.up:
            self._leg.down(out)
            self._end(now, EndReason.TRANSFERRED if self._away.joined else EndReason.CALLER_HUNG_UP, out)

    def _finish(self, now: int, out: list[CallOrder]) -> None:
        """Everything owed is done: say so, once."""
        if (
            self.state is not CallState.ENDING
            or self._leg.up
            or self._leg.rests.any("drop_other:")
            or "consult" in self._leg.rests
            or self._socket.there
            or not self._conversation.callbacks.idle
        ):
            return
        self.state = CallState.OVER
        assert self.reason is not None
        ending = self._ending(self.reason)
        out.append(Tell(ending.event(self._conversation)))
        out.append(Over(self.reason, ending.result(self._conversation)))
