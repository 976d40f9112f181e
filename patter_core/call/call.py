"""One telephone call as the carrier sees it, from the webhook until everything it owed is done.

    OFFERED --start--> TALKING <--start / lost--> DETACHED
       |                  |                           |
       +------------------+------ end ---------------+--> ENDING --> OVER

``OFFERED`` has a webhook but no stream, ``DETACHED`` lost its stream without a ``stop`` and waits a moment for it
to come back, ``ENDING`` has settled what was heard, asks the carrier to hang up where the leg is still up, and lets
``on_call_end`` finish. ``OVER`` is reached once from every path, with one reason.
"""

from __future__ import annotations

import enum
from collections import deque

import msgspec

from ..audio.resample import OUTPUT_RATES
from ..carriers.carrier import (
    CallerAudio,
    Malformed,
    MalformedCode,
    MarkReturned,
    MediaStream,
    Pressed,
    RestOutcome,
    RestRequest,
    StreamStarted,
    StreamState,
    StreamStopped,
)
from ..carriers.dialects import dialect_of
from ..events import CallEnded, CallStarted, HangUpFailed, MalformedMessage, StreamAttached, StreamDetached
from ..reasons import EndReason
from ..settings import us
from ..timers import Timers, later
from .conversation import Conversation
from .spec import CallSpec
from .words import (
    CallFact,
    CallOrder,
    CarrierSaid,
    CloseStream,
    Drop,
    EndWanted,
    Hurried,
    LegEnded,
    Over,
    Pressure,
    Rest,
    RestDone,
    SayWanted,
    StreamCame,
    StreamWent,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
    Tell,
)

__all__ = ["Call", "CallState"]


class CallState(enum.Enum):
    """Where the call is; see the module's drawing."""

    OFFERED = "offered"
    TALKING = "talking"
    DETACHED = "detached"
    ENDING = "ending"
    OVER = "over"


class Socket(enum.Enum):
    """Where the call's media socket is."""

    NONE = "none"
    OPEN = "open"  # admitted, not started
    STREAMING = "streaming"
    CLOSING = "closing"  # we asked for its close


class Leg(enum.Enum):
    """Whether the carrier still has the caller on the line."""

    UP = "up"
    HANGING_UP = "hanging_up"
    DOWN = "down"


class _Timer(enum.Enum):
    OFFER = "offer"
    START = "start"
    REATTACH = "reattach"
    SILENCE = "silence"
    LONGEST = "longest"
    HANGUP = "hangup"
    RETRY = "retry"
    LINGER = "linger"


_LIVE = frozenset({CallState.OFFERED, CallState.TALKING, CallState.DETACHED})


class Call:
    """One call: ``handle(now, fact) -> orders`` and ``deadline``, like every machine, in the words of ``words.py``."""

    def __init__(self, now: int, spec: CallSpec) -> None:
        self.spec = spec
        self.state = CallState.OFFERED
        self.reason: EndReason | None = None
        self._settings = spec.settings
        self._dialect = dialect_of(spec.carrier)
        self._conversation = Conversation(spec)
        self._timers: Timers[_Timer] = Timers()
        self._timers.set(_Timer.OFFER, later(now, spec.settings.offer_s))
        self._now = now
        self._stream: MediaStream | None = None
        self._socket = Socket.NONE
        self._leg = Leg.UP
        self._keep_stream = False
        self._epoch = 0
        self._started_at = -1  # the stream's first `start`
        self._heard_at = now
        self._ended_at = now
        self._frames_in = 0
        self._malformed = 0
        self._malformed_codes: set[MalformedCode] = set()  # membership only, never iterated
        self._malformed_at: deque[int] = deque(maxlen=max(1, spec.settings.malformed))
        self._keys_at: deque[int] = deque(maxlen=max(1, spec.settings.keys))
        self._last_words: tuple[str, str] | None = None  # said in the carrier's voice when ours is gone
        self._rest_count = 0
        self._rest = ""
        self._rest_request: RestRequest | None = None
        self._rest_delay = 250_000
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
        talk = self._conversation.deadline
        if talk is None or (at is not None and at <= talk):
            return at
        return talk

    @property
    def leg_up(self) -> bool:
        """The carrier may still have the caller on the line."""
        return self.state is not CallState.OVER and self._leg is not Leg.DOWN

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
        kind = type(fact)
        if kind is CarrierSaid:
            self._carrier_said(now, fact.text, out)  # type: ignore[union-attr]
        else:
            match fact:
                case TaskAudio() | TaskYielded() | TaskReturned() | TaskRaised():
                    out += self._conversation.task(now, fact)
                case StreamCame():
                    self._stream_came(now, out)
                case StreamWent():
                    self._stream_went(now, out)
                case Pressure(high):
                    out += self._conversation.pressure(now, high)
                case RestDone(name, outcome, detail):
                    self._rest_done(now, name, outcome, detail, out)
                case EndWanted(reason, keep_stream):
                    self._keep_stream = self._keep_stream or keep_stream
                    self._end(now, reason, out)
                case LegEnded():
                    self._leg_ended(now, out)
                case SayWanted(text):
                    out += self._conversation.say(now, text)
                case Hurried():
                    out += self._conversation.callbacks.only_the_last(now)
        self._check_engine(now, out)
        self._finish(now, out)
        self._deadline = self._wake()
        return out

    def _check_engine(self, now: int, out: list[CallOrder]) -> None:
        """Nothing is left that could talk? Then the carrier says the last words, and the call ends."""
        gave_up = self._conversation.gave_up
        if gave_up is not None and self.state in _LIVE:
            if gave_up.say:
                self._last_words = (gave_up.say, self.spec.agent.language)
            self._end(now, EndReason.ENGINE_FAILED, out)

    def _tick(self, now: int, out: list[CallOrder]) -> None:
        """Fire what is due, oldest first; the conversation's own deadlines all at once."""
        while (at := self._timers.deadline) is not None and at <= now:
            talk = self._conversation.deadline
            if talk is not None and talk <= at:
                out += self._conversation.tick(now)
                self._check_engine(now, out)
            timer = self._timers.due(now)
            if timer is not None:
                self._fire(now, timer, out)
        talk = self._conversation.deadline
        if talk is not None and talk <= now:
            out += self._conversation.tick(now)
            self._check_engine(now, out)

    def _fire(self, now: int, timer: _Timer, out: list[CallOrder]) -> None:
        match timer:
            case _Timer.OFFER:
                self._end(now, EndReason.NEVER_STARTED, out)
            case _Timer.START:
                self._close_socket(1008, "no start", out)
            case _Timer.REATTACH:
                self._end(now, EndReason.STREAM_LOST, out)
            case _Timer.SILENCE:
                self._check_silence(now, out)
            case _Timer.LONGEST:
                self._end(now, EndReason.MAX_DURATION, out)
            case _Timer.RETRY:
                self._ask_again(out)
            case _Timer.HANGUP:
                if self._rest:
                    out.append(Drop(self._rest))
                self._hung_up(now, "the carrier did not answer in time", out)
            case _Timer.LINGER:
                if not self._keep_stream:
                    self._close_socket(1000, "call ended", out)

    # --- the media socket --------------------------------------------------------------------------------------------

    def _stream_came(self, now: int, out: list[CallOrder]) -> None:
        if self._socket is not Socket.NONE:
            self._stream_went(now, out)  # whoever admitted a second one has let go of the first
        self._socket = Socket.OPEN
        self._stream = self._dialect.stream()
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
                out += self._conversation.hear(now, event.payload)  # type: ignore[union-attr]
        elif kind is MarkReturned:
            if self.state is CallState.TALKING:
                out += self._conversation.mark(now, event.name)  # type: ignore[union-attr]
        elif isinstance(event, StreamStarted):
            self._stream_started(now, event, out)
        elif isinstance(event, Pressed):
            if self.state is CallState.TALKING:
                self._pressed(now, event, out)
        elif isinstance(event, StreamStopped):
            self._leg_ended(now, out)
        elif isinstance(event, Malformed):
            self._malformed_message(now, event, out)

    def _stream_started(self, now: int, event: StreamStarted, out: list[CallOrder]) -> None:
        if event.call_id != self.spec.call_id:
            self._malformed_message(now, Malformed(MalformedCode.BAD_FIELD, "start names another call"), out)
            self._close_socket(1008, "wrong call", out)
            self._stream = None  # nothing that it says is about this call
            return
        if self.state not in _LIVE or self._stream is None:
            return
        if event.format.rate not in OUTPUT_RATES:
            detail = f"{event.format.rate} Hz; supported: {', '.join(map(str, OUTPUT_RATES))}"
            self._malformed_message(now, Malformed(MalformedCode.UNSUPPORTED_FORMAT, detail), out)
            return
        first = self.state is CallState.OFFERED
        self._socket = Socket.STREAMING
        self._timers.clear(_Timer.START)
        self._timers.clear(_Timer.REATTACH)
        self._timers.set(_Timer.SILENCE, later(now, self._settings.silence_s))
        self.state = CallState.TALKING
        if first:
            self._adopt(event.parameters)
            self._timers.clear(_Timer.OFFER)
            self._timers.set(_Timer.LONGEST, later(now, self._settings.max_duration_s))
            self._started_at = now
            spec = self.spec
            out.append(Tell(CallStarted(spec.call_id, spec.caller, spec.callee, spec.direction)))
        out += self._conversation.attach(now, self._stream, event.format, event.parameters)

    def _adopt(self, parameters: dict[str, str]) -> None:
        """A call admitted by its ticket alone (another process took its webhook) learns who is calling from the
        parameters that webhook's answer carried."""
        if not self.spec.caller and not self.spec.callee:
            caller, callee = parameters.get("caller", ""), parameters.get("callee", "")
            self.spec = msgspec.structs.replace(self.spec, caller=caller, callee=callee)
            self._conversation.adopt(self.spec)

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

    def _pressed(self, now: int, event: Pressed, out: list[CallOrder]) -> None:
        """A key. More of them than fingers could press are skipped and counted: each costs a line and a callback."""
        times = self._keys_at
        if len(times) == times.maxlen and now - times[0] <= us(self._settings.keys_window_s):
            self._malformed_message(now, Malformed(MalformedCode.BAD_FIELD, "keys faster than any dialler's"), out)
            return
        times.append(now)
        out += self._conversation.pressed(now, event.digit)

    def _malformed_message(self, now: int, event: Malformed, out: list[CallOrder]) -> None:
        self._malformed += 1
        if event.code not in self._malformed_codes:
            self._malformed_codes.add(event.code)
            out.append(Tell(MalformedMessage(self.spec.call_id, event.code.value, event.detail)))
        if event.code is MalformedCode.UNSUPPORTED_FORMAT and self._socket is Socket.OPEN:
            self._end(now, EndReason.UNSUPPORTED_CODEC, out)
            return
        times = self._malformed_at
        times.append(now)
        if len(times) == times.maxlen and now - times[0] <= us(self._settings.malformed_window_s):
            times.clear()
            self._close_socket(1008, "too many malformed messages", out)
            if self.state is not CallState.OFFERED:  # before `start` it is the socket that is bad, not the call
                self._end(now, EndReason.PROTOCOL_ERROR, out)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end(self, now: int, reason: EndReason, out: list[CallOrder]) -> None:
        if self.state not in _LIVE:
            return
        never_started = self.state is CallState.OFFERED
        self.state = CallState.ENDING
        self.reason = reason
        self._ended_at = now
        for timer in (_Timer.OFFER, _Timer.START, _Timer.REATTACH, _Timer.SILENCE, _Timer.LONGEST):
            self._timers.clear(timer)
        if not never_started:
            out += self._conversation.end(now)
            payload = self._conversation.end_payload(
                now, reason.value, self._started_at, self._frames_in, self._malformed
            )
            out += self._conversation.callbacks.call(now, "on_call_end", payload)
        elif reason is EndReason.NEVER_STARTED:
            self._leg = Leg.DOWN  # the carrier ends a call whose stream it could not open
        if self._leg is Leg.UP:
            self._hang_up(now, out)
        elif not self._keep_stream:
            self._close_socket(1000, "call ended", out)

    def _leg_ended(self, now: int, out: list[CallOrder]) -> None:
        if self._leg is Leg.HANGING_UP:
            if self._rest:
                out.append(Drop(self._rest))
            self._hung_up(now, None, out)
        elif self._leg is Leg.UP:
            self._leg = Leg.DOWN
            self._end(now, EndReason.CALLER_HUNG_UP, out)

    def _hang_up(self, now: int, out: list[CallOrder]) -> None:
        self._leg = Leg.HANGING_UP
        self._timers.set(_Timer.HANGUP, later(now, self._settings.hangup_s))
        spec = self.spec
        if self._last_words is not None:
            text, language = self._last_words
            request = self._dialect.say_and_hang_up(spec.account, spec.base_url, spec.call_id, text, language)
        else:
            request = self._dialect.hang_up(spec.account, spec.base_url, spec.call_id)
        self._rest_request = request
        self._ask_again(out)

    def _ask_again(self, out: list[CallOrder]) -> None:
        assert self._rest_request is not None
        self._rest_count += 1
        self._rest = f"hangup:{self._rest_count}"
        out.append(Rest(self._rest, self._rest_request))

    def _rest_done(self, now: int, name: str, outcome: RestOutcome | None, detail: str, out: list[CallOrder]) -> None:
        if not name or name != self._rest or self._leg is not Leg.HANGING_UP:
            return
        self._rest = ""
        if outcome in (RestOutcome.DONE, RestOutcome.ALREADY_ENDED):
            self._hung_up(now, None, out)
        elif outcome in (RestOutcome.RETRY, None):
            self._timers.set(_Timer.RETRY, now + self._rest_delay)  # HANGUP bounds them all
            self._rest_delay *= 2
        elif outcome is RestOutcome.REFUSED and self._last_words is not None:
            self._last_words = None  # the carrier will not speak for us: then at least the line is freed
            self._rest_request = self._dialect.hang_up(self.spec.account, self.spec.base_url, self.spec.call_id)
            self._ask_again(out)
        else:
            self._hung_up(now, detail or outcome.value, out)

    def _hung_up(self, now: int, failure: str | None, out: list[CallOrder]) -> None:
        self._leg = Leg.DOWN
        self._rest = ""
        self._timers.clear(_Timer.HANGUP)
        self._timers.clear(_Timer.RETRY)
        if failure is not None:
            out.append(Tell(HangUpFailed(self.spec.call_id, failure)))
        if self._socket is not Socket.NONE:  # the carrier closes it; if it does not, we do
            self._timers.set(_Timer.LINGER, later(now, self._settings.linger_s))

    def _finish(self, now: int, out: list[CallOrder]) -> None:
        """Everything owed is done: say so, once."""
        if (
            self.state is not CallState.ENDING
            or self._leg is not Leg.DOWN
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
        out.append(Over(self.reason))
