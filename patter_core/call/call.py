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
from collections import deque
from typing import Any

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
    MediaStream,
    Pressed,
    RecordingChanged,
    RecordingStep,
    RestOutcome,
    StreamChange,
    StreamChanged,
    StreamStarted,
    StreamState,
    StreamStopped,
    WebhookEvent,
)
from ..events import (
    CallEnded,
    CallNamed,
    CallProgressed,
    CallStarted,
    HangUpFailed,
    KeysSent,
    MachineAnswered,
    MalformedMessage,
    OrderRefused,
    RecordingStepped,
    StreamAttached,
    StreamDetached,
    TransferStepped,
)
from ..reasons import EndReason
from ..settings import us
from ..timers import Timers, later
from . import payloads
from .conversation import Conversation
from .keys import CollectionDone, CollectionRefused, KeyResult, Keys
from .leg import CarrierLeg, LegState
from .progress import ending_of
from .rests import Settled
from .result import CallResult, MachineDetection, outcome_of
from .screening import Cue, Screening
from .screening import Stage as Screened
from .spec import CallSpec
from .transfer import Move, Transfer, consultation, may_transfer, transfer_plan, valid_target
from .words import (
    Begun,
    CallFact,
    CallOrder,
    CarrierSaid,
    CloseStream,
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
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
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


class Socket(enum.Enum):
    """Where the call's media socket is."""

    NONE = "none"
    OPEN = "open"  # admitted, not started
    STREAMING = "streaming"
    CLOSING = "closing"  # we asked for its close


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
_TONE_MS = 100
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
        self._transfer: Transfer | None = None
        self._transfers = 0
        self._timers: Timers[_Timer] = Timers()
        if spec.dial is None:
            self._timers.set(_Timer.OFFER, later(now, spec.settings.offer_s))
        self._now = now
        self._stream: MediaStream | None = None
        self._socket = Socket.NONE
        self._next = Next.NOTHING
        self._keep_stream = False
        self._lingering = False  # the carrier is given a moment to close the socket itself
        self._epoch = 0
        self._started_at = -1  # the stream's first `start`
        self._heard_at = now
        self._ended_at = now
        self._frames_in = 0
        self._malformed = 0
        self._malformed_codes: set[MalformedCode] = set()  # membership only, never iterated
        self._malformed_at: deque[int] = deque(maxlen=max(1, spec.settings.malformed))
        self._keys_at: deque[int] = deque(maxlen=max(1, spec.settings.keys))
        self._keys = Keys(spec.settings.keys_pause_s)
        self._presses = 0
        self._pressing: dict[str, str] = {}  # keys we press: by name, who waits for them
        self._leaving: EndReason | None = None  # why, once what is being said was heard
        self._quiet_at: int | None = None  # since when nobody speaks, while leaving
        self._last_words = ""  # said in the carrier's voice when ours is gone
        self._recording: RecordingChanged | None = None
        self._recording_asks: dict[str, str] = {}
        self._detection: MachineDetection | None = None
        self._refusal = ""  # why the carrier did not do what the call hung on
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
        others = [self._conversation.deadline, self._leg.deadline, self._keys.deadline, self._screening.deadline]
        if self._transfer is not None:
            others.append(self._transfer.deadline)
        for other in others:
            if other is not None and (at is None or other < at):
                at = other
        return at

    @property
    def leg_up(self) -> bool:
        """The carrier may still have the other party on the line."""
        return self.state is not CallState.OVER and self._leg.up

    @property
    def attached(self) -> bool:
        """A media socket is there (or on its way out)."""
        return self._socket is not Socket.NONE

    def handle(self, now: int, fact: CallFact) -> list[CallOrder]:
        """One complete step."""
        now = self._now = max(now, self._now)
        if self.state is CallState.OVER:
            return []
        out: list[CallOrder] = []
        deadline = self._deadline
        if deadline is not None and deadline <= now:
            self._tick(now, out)
        if type(fact) is CarrierSaid:
            self._carrier_said(now, fact.text, out)
        else:
            self._other(now, fact, out)
        self._look_around(now, out)
        self._finish(now, out)
        self._deadline = self._wake()
        return out

    def _other(self, now: int, fact: CallFact, out: list[CallOrder]) -> None:
        match fact:
            case TaskAudio() | TaskYielded() | TaskReturned() | TaskRaised():
                out += self._conversation.task(now, fact)
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
                self._keep_stream = self._keep_stream or keep_stream
                if gently and self.state is CallState.TALKING:
                    self._leave(now, reason)
                else:
                    self._end(now, reason, out)
            case LegEnded():
                self._leg_ended(now, out)
            case SayWanted(text):
                out += self._conversation.say(now, text)
            case TransferWanted():
                self._transfer_wanted(now, fact, out)
            case KeysWanted(digits, gap_ms, ask):
                self._press(now, digits, gap_ms, ask, out)
            case CollectWanted(ask, most, terminator, timeout_s):
                if self.state is CallState.TALKING:
                    self._keyed(now, self._keys.collect(now, ask, most, terminator, timeout_s), out)
                else:
                    self._deny(ask, "not_talking", "keys are collected while the call is talking", out)
            case RecordingWanted(step, ask):
                self._record(now, step, ask, out)
            case Hurried():
                out += self._conversation.callbacks.only_the_last(now)

    def _look_around(self, now: int, out: list[CallOrder]) -> None:
        """What follows from this step in the conversation."""
        talk = self._conversation
        if talk.mouth.pressed:
            for item in talk.mouth.pressed:
                self._answer_ask(self._pressing.pop(item, ""), True, out)
            talk.mouth.pressed.clear()
        if talk.voices and self._screening.stage is Screened.WAITING:
            self._cues(now, self._screening.spoke(), out)
        if talk.gave_up is not None and self.state in _LIVE:
            self._last_words = talk.gave_up.say
            self._end(now, EndReason.ENGINE_FAILED, out)
        transfer = self._transfer
        if transfer is not None and transfer.listens:
            if talk.speaking(now):
                self._timers.set(_Timer.CHANCE, later(now, _LOOK_S))
            else:
                self._moves(now, transfer.quiet(now), out)
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
        self._keyed(now, self._keys.tick(now), out)
        self._cues(now, self._screening.tick(now), out)
        if self._transfer is not None:
            self._moves(now, self._transfer.tick(now, self._socket is Socket.STREAMING), out)

    def _fire(self, now: int, timer: _Timer, out: list[CallOrder]) -> None:
        match timer:
            case _Timer.OFFER:
                self._end(now, EndReason.NEVER_STARTED, out)
            case _Timer.RINGING:
                self._end(now, EndReason.NOT_REPORTED, out)
            case _Timer.START:
                self._close_socket(1008, "no start", out)
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
                if not self._keep_stream:
                    self._close_socket(1000, "call ended", out)

    # --- the leg -----------------------------------------------------------------------------------------------------

    def _begun(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        plan = self.spec.dial
        if plan is not None:
            self._timers.set(_Timer.RINGING, later(now, plan.ring_timeout_s + self._settings.dial_grace_s))
            self._leg.dial(now, plan, out)
        elif url:
            self._leg.answer(now, url, token, out)

    def _mint(self, purpose: Next, out: list[CallOrder]) -> None:
        """Have a stream, as soon as the old socket is out of its way."""
        self._next = purpose
        if self._socket is Socket.NONE:
            out.append(MintStream())

    def _minted(self, now: int, url: str, token: str, out: list[CallOrder]) -> None:
        purpose, self._next = self._next, Next.NOTHING
        if purpose is Next.NOTHING or self.state not in _LIVE:
            return
        if not url:
            self._end(now, EndReason.UNSUPPORTED_CODEC if self._malformed else EndReason.STREAM_LOST, out)
        elif purpose is Next.BEGIN:
            self._leg.begin_stream(now, url, token, out)
        else:
            self._leg.restart_stream(now, url, token, out)

    def _reported(self, now: int, event: WebhookEvent, ref: str, out: list[CallOrder]) -> None:
        transfer = self._transfer
        if transfer is not None and ref == transfer.ref and event.call_id != self.spec.call_id:
            self._moves(now, transfer.reported(now, event, True), out)
            return
        if ref and event.call_id != self.spec.call_id and (self.spec.dial is None or ref != self.spec.dial.ref):
            return  # a leg we are done with
        self._name(now, event.call_id, out)
        match event:
            case CallStatusChanged():
                self._status(now, event, out)
            case MachineDetected():
                self._cues(now, self._screening.detected(now, event), out)
            case RecordingChanged():
                self._recording = event
            case CarrierSpoke():
                self._leg.spoken(now, out)
            case StreamChanged(change=StreamChange.ERROR, error=error) if self.state is CallState.OFFERED:
                self._refusal = error
                self._end(now, EndReason.NEVER_STARTED, out)
        if transfer is not None and self._transfer is transfer:
            self._moves(now, transfer.reported(now, event, False), out)

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
        self._mint(Next.BEGIN, out)

    def _settled(self, now: int, news: Settled, out: list[CallOrder]) -> None:
        """One of our orders to the carrier is done with."""
        if not news.done and news.tag not in ("hangup", "speak", "drop_other"):
            out.append(Tell(OrderRefused(self.spec.call_id, news.tag, news.detail)))
        over = news.outcome is RestOutcome.ALREADY_ENDED
        if news.tag == "dial":
            if news.done:
                self._name(now, news.value, out)
            elif self.state is CallState.DIALLING and news.outcome is not None:
                self._refusal = news.detail
                self._leg.down(out)
                self._end(now, EndReason.CARRIER_REFUSED, out)
            # No answer: it may have been dialled all the same. The ringing timer bounds the wait for its reports.
        elif news.tag in ("answer", "stream", "send", "join") and over:
            self._leg_ended(now, out)
        elif news.tag in ("answer", "stream") and not news.done:
            self._refusal = news.detail
            self._end(now, EndReason.CARRIER_REFUSED, out)
        elif news.tag in ("send", "consult", "brief", "join") and self._transfer is not None:
            self._moves(now, self._transfer.settled(now, news.tag, news.done, news.value, news.detail), out)
        elif news.tag.startswith("record_"):
            self._recorded(news, out)
        elif news.tag.startswith("keys:"):
            self._answer_ask(self._pressing.pop(news.tag, ""), news.done, out)
        self._leg.settled(now, news, out)
        self._line_is_free(now, out)

    def _line_is_free(self, now: int, out: list[CallOrder]) -> None:
        """The leg is down at last: the carrier closes the socket; if it does not, we do."""
        if self._leg.up or self.state is not CallState.ENDING:
            return
        if self._leg.failure is not None:
            out.append(Tell(HangUpFailed(self.spec.call_id, self._leg.failure)))
            self._leg.failure = None
        if self._socket in (Socket.OPEN, Socket.STREAMING) and not self._lingering:
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
        if self._socket is not Socket.NONE:
            self._stream_went(now, out)  # whoever admitted a second one has let go of the first
        self._socket = Socket.OPEN
        self._stream = self._leg.stream()
        self._epoch += 1
        self._heard_at = now
        out.append(Tell(StreamAttached(self.spec.call_id, self._epoch)))
        if self.state in _LIVE:
            self._timers.set(_Timer.START, later(now, self._settings.start_s))
        else:
            self._close_socket(1000, "call ended", out)

    def _carrier_said(self, now: int, text: str, out: list[CallOrder]) -> None:
        stream = self._stream
        if stream is None:
            return
        self._heard_at = now
        event = stream.receive(text)
        kind = type(event)
        if self._socket is Socket.CLOSING:  # whatever is still on its way means nothing, but for the end of the leg
            if isinstance(event, StreamStopped) and self.state is CallState.ENDING:
                self._leg_ended(now, out)
        elif kind is CallerAudio:
            self._frames_in += 1
            if self.state is CallState.TALKING:
                out += self._conversation.hear(now, event.payload, event.timestamp_ms, event.chunk)  # type: ignore[union-attr]
        elif kind is MarkReturned:
            if self.state is CallState.TALKING:
                out += self._conversation.mark(now, event.name)  # type: ignore[union-attr]
        elif isinstance(event, StreamStarted):
            self._stream_started(now, event, out)
        elif isinstance(event, Pressed):
            if self.state is CallState.TALKING:
                self._pressed(now, event, out)
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
            self._close_socket(1008, "wrong call", out)
            self._stream = None  # nothing that it says is about this call
            return
        if self.state not in _LIVE or self._stream is None:
            return
        sends = event.sends or event.format
        if event.format.rate not in OUTPUT_RATES or sends.rate not in OUTPUT_RATES:
            detail = f"{event.format.rate} Hz; supported: {', '.join(map(str, OUTPUT_RATES))}"
            self._malformed_message(now, Malformed(MalformedCode.UNSUPPORTED_FORMAT, detail), out)
            return
        first = self._started_at < 0
        back = self.state is CallState.AWAY
        self._socket = Socket.STREAMING
        for timer in (_Timer.START, _Timer.REATTACH, _Timer.OFFER, _Timer.RINGING):
            self._timers.clear(timer)
        self._timers.set(_Timer.SILENCE, later(now, self._settings.silence_s))
        self.state = CallState.TALKING
        self._leg.streams(out)
        if first:
            self._adopt(event.parameters)
            self._timers.set(_Timer.LONGEST, later(now, self._settings.max_duration_s))
            self._started_at = now
            spec = self.spec
            out.append(Tell(CallStarted(spec.call_id, spec.caller, spec.callee, spec.direction)))
            if self._screening.stage is Screened.WAITING:
                self._conversation.wait_for_cue()
            elif self._screening.stage is Screened.MACHINE:
                out += self._conversation.hush(now)
        out += self._conversation.attach(now, self._stream, event.format, event.parameters, sends)
        if first:
            self._screening.started(now)
            if self.spec.recording:
                self._record(now, RecordingStep.START, "", out)
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
        if self._socket is Socket.NONE:
            return
        clean = self._stream is not None and self._stream.state is StreamState.STOPPED
        out.append(Tell(StreamDetached(self.spec.call_id, self._epoch, clean)))
        self._socket = Socket.NONE
        self._stream = None
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
        due = later(self._heard_at, self._settings.silence_s)
        if due > now:  # something was heard since the timer was set: that is cheaper than moving it per frame
            self._timers.set(_Timer.SILENCE, due)
        else:
            self._end(now, EndReason.STREAM_SILENT, out)

    def _close_socket(self, code: int, reason: str, out: list[CallOrder]) -> None:
        if self._socket in (Socket.OPEN, Socket.STREAMING):
            self._socket = Socket.CLOSING
            out.append(CloseStream(code, reason))

    def _malformed_message(self, now: int, event: Malformed, out: list[CallOrder]) -> None:
        self._malformed += 1
        if event.code not in self._malformed_codes:
            self._malformed_codes.add(event.code)
            out.append(Tell(MalformedMessage(self.spec.call_id, event.code.value, event.detail)))
        if event.code is MalformedCode.UNSUPPORTED_FORMAT and self._socket is Socket.OPEN:
            if self._leg.other_codec():  # once more, with what every carrier knows
                self._next = Next.RESTART
                self._close_socket(1000, "asking for another codec", out)
            else:
                self._end(now, EndReason.UNSUPPORTED_CODEC, out)
            return
        times = self._malformed_at
        times.append(now)
        if len(times) == times.maxlen and now - times[0] <= us(self._settings.malformed_window_s):
            times.clear()
            self._close_socket(1008, "too many malformed messages", out)
            if self.state not in _UNHEARD:  # before `start` it is the socket that is bad, not the call
                self._end(now, EndReason.PROTOCOL_ERROR, out)

    # --- keys --------------------------------------------------------------------------------------------------------

    def _pressed(self, now: int, event: Pressed, out: list[CallOrder]) -> None:
        """A key. More of them than fingers could press are skipped and counted: each costs a line and a callback."""
        times = self._keys_at
        if len(times) == times.maxlen and now - times[0] <= us(self._settings.keys_window_s):
            self._malformed_message(now, Malformed(MalformedCode.BAD_FIELD, "keys faster than any dialler's"), out)
            return
        times.append(now)
        self._conversation.voices += 1
        self._keyed(now, self._keys.pressed(now, event.digit), out)

    def _keyed(self, now: int, results: list[KeyResult], out: list[CallOrder]) -> None:
        for result in results:
            if isinstance(result, CollectionDone):
                self._answer_ask(result.name, {"digits": result.digits, "ended_by": result.why.value}, out)
            elif isinstance(result, CollectionRefused):
                self._deny(result.name, "bad_arguments", f"these keys cannot be collected: {result.refusal.value}", out)
            else:
                out += self._conversation.pressed(now, result.text)

    def _press(self, now: int, digits: str, gap_ms: int, ask: str, out: list[CallOrder]) -> None:
        """Press keys for the application: by the carrier's API where it has one, else in-band."""
        if self.state is not CallState.TALKING:
            self._deny(ask, "not_talking", "keys can be pressed while the media stream is there", out)
            return
        self._presses += 1
        name = f"keys:{self._presses}"
        if not self._leg.press(now, name, digits, _TONE_MS, out):
            out += self._conversation.press(now, name, digits, gap_ms, _TONE_MS)
        self._pressing[name] = ask
        out.append(Tell(KeysSent(self.spec.call_id, len(digits))))

    def _answer_ask(self, ask: str, value: Any, out: list[CallOrder]) -> None:
        if ask:
            out.append(Reply(ask, value))

    def _deny(self, ask: str, code: str, detail: str, out: list[CallOrder]) -> None:
        if ask:
            out.append(Deny(ask, code, detail))

    # --- recording ---------------------------------------------------------------------------------------------------

    def _record(self, now: int, step: RecordingStep, ask: str, out: list[CallOrder]) -> None:
        if self.state is not CallState.TALKING:
            self._deny(ask, "not_talking", "a call is recorded while its media stream is there", out)
            return
        self._deny(self._recording_asks.pop(step.value, ""), "superseded", "it was asked for again", out)
        self._recording_asks[step.value] = ask
        self._leg.record(now, step, out)

    def _recorded(self, news: Settled, out: list[CallOrder]) -> None:
        step = news.tag.removeprefix("record_")
        ask = self._recording_asks.pop(step, "")
        if news.done:
            out.append(Tell(RecordingStepped(self.spec.call_id, step)))
            self._answer_ask(ask, True, out)
        else:
            self._deny(ask, "carrier_refused", news.detail, out)

    # --- transfer ----------------------------------------------------------------------------------------------------

    def _transfer_wanted(self, now: int, wanted: TransferWanted, out: list[CallOrder]) -> None:
        agent = self.spec.agent
        guarded = wanted.by_model or agent.transfer_allow is not None
        if self.state is not CallState.TALKING or self._transfer is not None or self._leaving is not None:
            self._deny(wanted.ask, "busy", "the call is not in a state to be transferred", out)
        elif not valid_target(wanted.to):
            advice = "a target is an E.164 number (+15550001234) or sip:somebody@host"
            self._refuse_transfer(now, wanted, "bad_target", advice, out)
        elif guarded and not may_transfer(wanted.to, agent.transfer_allow, agent.system_prompt):
            advice = "the operator did not name this target: see transfer_allow="
            self._refuse_transfer(now, wanted, "not_allowed", advice, out)
        else:
            self._transfers += 1
            ref = f"{self.spec.call_id}/t{self._transfers}"
            self._transfer = Transfer(now, wanted.to, ref, wanted.summary, wanted.ask, self._settings)
            self._moves(now, self._transfer.begins, out)

    def _refuse_transfer(self, now: int, wanted: TransferWanted, code: str, why: str, out: list[CallOrder]) -> None:
        self._deny(wanted.ask, code, why, out)
        out.append(Tell(TransferStepped(self.spec.call_id, "refused", wanted.to, why)))
        out += self._conversation.say(now, self.spec.agent.transfer_refused_message)

    def _moves(self, now: int, moves: list[Move], out: list[CallOrder]) -> None:
        for move in moves:
            transfer = self._transfer
            if transfer is None or self.state not in _LIVE:
                return
            spec = self.spec
            match move:
                case Move.SEND:
                    self.state = CallState.AWAY
                    self._leg.transfer(now, transfer_plan(spec, transfer), out)
                    out += self._conversation.hush(now)
                case Move.CONSULT:
                    self._leg.consult(now, consultation(spec, transfer), out)
                case Move.BRIEF:
                    self._leg.brief(now, transfer.other, consultation(spec, transfer), out)
                case Move.JOIN:
                    self.state = CallState.AWAY
                    out += self._conversation.hush(now)
                    self._leg.join(now, transfer.other, consultation(spec, transfer), out)
                case Move.DROP_OTHER:
                    self._leg.drop_other(now, transfer.other, out)
                case Move.AWAY:
                    self._close_socket(1000, "transferred", out)
                case Move.GONE:
                    self._answer_ask(transfer.ask, {"transferred": True, "reason": ""}, out)
                    self._transfer = None
                    self._end(now, EndReason.TRANSFERRED, out)
                case Move.BACK:
                    self._come_back(now, transfer, out)
            if move not in (Move.BACK, Move.GONE, Move.DROP_OTHER):
                out.append(Tell(TransferStepped(spec.call_id, move.value, transfer.to)))

    def _come_back(self, now: int, transfer: Transfer, out: list[CallOrder]) -> None:
        """Nobody is there: the caller is the agent's again, and is told so."""
        self._answer_ask(transfer.ask, {"transferred": False, "reason": transfer.failure}, out)
        self._transfer = None
        out.append(Tell(TransferStepped(self.spec.call_id, "failed", transfer.to, transfer.failure)))
        stream = self._stream
        here = self._socket is Socket.STREAMING and stream is not None and stream.state is StreamState.STREAMING
        if here and not transfer.moved:
            self.state = CallState.TALKING
            self._welcome_back(now, out)
        else:
            self.state = CallState.AWAY
            self._timers.set(_Timer.OFFER, later(now, self._settings.offer_s))
            self._close_socket(1000, "transferred", out)
            if transfer.summary:  # after a cold one the carrier asks what to do, and is told
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
        self._release_asks(now, out)
        unheard = self._started_at < 0
        if not unheard:
            out += self._conversation.end(now)
        if not unheard or self.spec.dial is not None:
            out += self._conversation.callbacks.call(now, "on_call_end", self._end_payload(now))
        if reason is EndReason.NEVER_STARTED and not self._leg.kept:
            self._leg.down(out)  # the carrier ends a call whose stream it could not open
        if self._leg.up:
            words = self._last_words if reason in (EndReason.ENGINE_FAILED, EndReason.VOICEMAIL_LEFT) else ""
            self._leg.hang_up(now, words, out)
        elif not self._keep_stream:
            self._close_socket(1000, "call ended", out)

    def _release_asks(self, now: int, out: list[CallOrder]) -> None:
        """Nobody waits for a call that is over."""
        for result in self._keys.end(now):
            if (not isinstance(result, CollectionDone) and self._started_at >= 0) or isinstance(result, CollectionDone):
                self._keyed(now, [result], out)
        for ask in [*self._pressing.values(), *self._recording_asks.values()]:
            self._deny(ask, "call_ended", "the call ended first", out)
        self._pressing.clear()
        self._recording_asks.clear()
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            if transfer.other_leg:
                self._leg.drop_other(now, transfer.other_leg, out)
            gone = self.reason is EndReason.TRANSFERRED
            self._answer_ask(transfer.ask, {"transferred": gone, "reason": "" if gone else "call_ended"}, out)

    def _leg_ended(self, now: int, out: list[CallOrder]) -> None:
        """The carrier says the telephone call is over."""
        if self._leg.state is LegState.HANGING_UP:
            self._leg.down(out)
            self._line_is_free(now, out)
        elif self._leg.up:
            self._leg.down(out)
            joined = self._transfer is not None and self._transfer.joined
            self._end(now, EndReason.TRANSFERRED if joined else EndReason.CALLER_HUNG_UP, out)

    def _end_payload(self, now: int) -> dict[str, Any]:
        assert self.reason is not None
        started = self._started_at if self._started_at >= 0 else now
        payload = self._conversation.end_payload(now, self.reason.value, started, self._frames_in, self._malformed)
        payload["recording"] = payloads.recording(self.spec, self._recording, now)
        if self._conversation.mouth.taped:
            payload["recording_path"] = payloads.recording_path(self.spec)
        if self.spec.dial is not None:
            payload["outcome"] = outcome_of(self.reason, self._started_at >= 0, self._leg.progress.status)
        return payload

    def _result(self) -> CallResult | None:
        if self.spec.dial is None or self.reason is None:
            return None
        payload = self._end_payload(self._ended_at)
        metrics = payload["metrics"]
        return CallResult(
            call_id=self.spec.call_id,
            outcome=payload["outcome"],
            reason=self.reason,
            status=self._leg.progress.status.value,
            duration_seconds=metrics.duration_seconds,
            transcript=tuple(payload["transcript"]),
            cost=metrics.cost,
            metrics=metrics,
            detail=self._refusal,
            machine_detection=self._detection,
            recording=payload["recording"],
        )

    def _finish(self, now: int, out: list[CallOrder]) -> None:
        """Everything owed is done: say so, once."""
        if (
            self.state is not CallState.ENDING
            or self._leg.up
            or "drop_other" in self._leg.rests
            or self._socket is not Socket.NONE
            or not self._conversation.callbacks.idle
        ):
            return
        self.state = CallState.OVER
        assert self.reason is not None
        frames_out, played, discarded = self._conversation.counts()
        out.append(
            Tell(
                CallEnded(
                    call_id=self.spec.call_id,
                    reason=self.reason,
                    duration_ms=(self._ended_at - self._started_at) // 1000 if self._started_at >= 0 else 0,
                    turns=self._conversation.turns,
                    frames_in=self._frames_in,
                    frames_out=frames_out,
                    marks_played=played,
                    marks_discarded=discarded,
                    malformed=self._malformed,
                )
            )
        )
        out.append(Over(self.reason, self._result()))
