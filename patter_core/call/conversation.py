"""What is said in a call: one engine, the ledger of what was heard, turns, transcript, interruptions, callbacks.

It exists before the stream's audio flows and survives a stream that is lost and comes back; each attachment has its
own ledger epoch. It speaks to the carrier only through the attached ``MediaStream``, whose dialect it does not
know.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

from ..audio.formats import AudioFormat, Encoding
from ..audio.tones import dtmf
from ..audio.transcode import Transcoder
from ..carriers.carrier import MediaStream
from ..config import AgentSpec, fill
from ..engines.build import build_engine
from ..engines.engine import (
    AskReply,
    CallerSaid,
    CallerStarted,
    CallerStopped,
    Ended,
    Engine,
    EngineContext,
    EngineFact,
    EngineOrder,
    GaveUp,
    Interrupted,
    Keyed,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    SpeechWanted,
    StageFailed,
)
from ..events import BargedIn, FramesDropped, OverrideIgnored, SpeechFailed, TranscriptLine, TurnCompleted
from ..plain import plain
from ..settings import us
from . import payloads
from .callbacks import Callbacks
from .metrics import TurnMetrics
from .playback import Heard, Media, Playback, Played, SetMark
from .recorder import Recorder
from .spec import CallSpec
from .transcript import Line, Transcript, Utterance
from .turns import Turns
from .words import CallOrder, Drop, Run, Tape, TaskAudio, TaskRaised, TaskYielded, Tell, ToCarrier

__all__ = ["Conversation"]

_EARLY_SAYS = 16
"""Lines the application wants spoken before there is a voice; more are the newest."""


_LAST_PIECES = 64
"""Of a recording, when its call ends: ten megabytes, or as many minutes of which nothing was written yet."""

_PAUSES = {"w": 500, "W": 1000}  # milliseconds, as both carriers' REST APIs spell them
_TONE_PAUSE_MS = 50
"""The least silence between two tones (ITU-T Q.24 asks receivers to take 40 ms)."""


class Phase(enum.Enum):
    """Where the conversation is."""

    WAITING = "waiting"  # no stream yet
    STARTING = "starting"  # on_call_start has its say
    READY = "ready"  # it had its say, but the stream is gone
    TALKING = "talking"
    ENDED = "ended"


class Manner(enum.Enum):
    """How the agent takes part."""

    OPEN = "open"
    WAITING = "waiting"  # it listens, but its first message waits for a cue
    HUSHED = "hushed"  # it neither listens nor answers; it says what it is told to


class Voice(enum.Enum):
    """The caller's."""

    QUIET = "quiet"
    SPEAKING = "speaking"  # perhaps a cough
    INSISTING = "insisting"  # for long enough: the agent does not speak now


class Conversation:
    """The conversation of one call."""

    def __init__(self, spec: CallSpec) -> None:
        self._spec = spec
        self._settings = spec.settings
        self._agent: AgentSpec = spec.agent
        self._phase = Phase.WAITING
        self._stream: MediaStream | None = None
        self._engine: Engine | None = None
        self._playback: Playback | None = None
        self._to_engine: Transcoder | None = None
        self._to_line: Transcoder | None = None
        self._line: AudioFormat | None = None  # what we hear
        self._sends: AudioFormat | None = None  # what we send
        self.callbacks = Callbacks(spec.call_id, spec.agent.callbacks, spec.settings)
        self._early: deque[tuple[int, bytes]] = deque()  # when it came, and what the caller said, before the engine
        self._early_bytes = 0
        self._early_says: deque[str] = deque(maxlen=_EARLY_SAYS)
        self._transcript = Transcript(spec.settings.transcript)
        self._utterances: dict[str, Utterance] = {}
        self._turns = Turns(spec.settings.transcript)
        self._voice = Voice.QUIET
        self._enough = False  # the engine was told to produce no more speech for now
        self._recorder: Recorder | None = None
        self._says = 0
        self._manner = Manner.OPEN
        self._first = ""  # the first message, while it waits for its cue
        self._tones: set[str] = set()  # items of keys being pressed: nobody barges in on those
        self.played: list[str] = []  # of those, the ones that were heard whole; whoever looks takes them
        self.voices = 0  # times the caller has spoken or pressed a key
        self.gave_up: GaveUp | None = None
        self.frames_dropped = 0

    def adopt(self, spec: CallSpec) -> None:
        """Who is calling has become known, before anything was said."""
        self._spec = spec

    # --- streams -----------------------------------------------------------------------------------------------------

    def attach(
        self,
        now: int,
        stream: MediaStream,
        line: AudioFormat,
        parameters: dict[str, str],
        sends: AudioFormat | None = None,
    ) -> list[CallOrder]:
        """A stream started: its audio is in ``line``, and ours must be in ``sends`` where that is another format. The
        first one starts the conversation; a later one continues it."""
        out: list[CallOrder] = []
        self._stream = stream
        sends = sends or line
        if line != self._line:
            self._line = line
            self._early.clear()
            self._early_bytes = 0
            if self._engine is not None:
                self._to_engine = Transcoder(line, self._engine.hears)
        if sends != self._sends:
            self._sends = sends
            if self._engine is not None:
                self._to_line = Transcoder(self._engine.speaks, sends)
        if self._playback is None:
            self._playback = Playback(sends, self._settings)
        self._playback.attach(now, sends)
        if self._spec.local_recording:
            if self._recorder is None:
                settle_s = max(3.0, self._settings.mark_patience_s + 1)
                self._recorder = Recorder(line.rate, settle_s=settle_s)
            self._recorder.attach(now, line, sends)
        if self._phase is Phase.WAITING and self.callbacks.wants("on_call_start"):
            self._phase = Phase.STARTING
            out += self.callbacks.call(now, "on_call_start", payloads.start(self._spec, parameters))
        elif self._phase in (Phase.WAITING, Phase.READY):
            self._begin(now, out)
        elif self._phase is Phase.TALKING:
            self._enough = False
            self._tell_engine(now, SpeechWanted(), out)
        return out

    def detach(self, now: int) -> list[CallOrder]:
        """The stream is gone: what was in the air is settled as heard or not, and nothing is said into the void."""
        out: list[CallOrder] = []
        if self._stream is not None:
            self._interrupt(now, out, tell=False)
            self._stream = None
            if self._engine is not None and self._phase is Phase.TALKING:
                self._enough = True
                self._obey(now, self._engine.handle(now, SpeechEnough()), out)
        return out

    def _started(self, now: int, out: list[CallOrder]) -> None:
        """``on_call_start`` had its say."""
        if self._phase is Phase.STARTING:
            if self._stream is None:
                self._phase = Phase.READY
            else:
                self._begin(now, out)

    def _begin(self, now: int, out: list[CallOrder]) -> None:
        agent, spec, line = self._agent, self._spec, self._line
        assert line is not None
        assert self._sends is not None
        self._phase = Phase.TALKING
        first = fill(agent.first_message, agent.variables)
        if spec.recording_announcement:
            first = f"{spec.recording_announcement} {first}".rstrip()
        if self._manner is not Manner.OPEN:
            self._first, first = first, ""
        context = EngineContext(
            call_id=spec.call_id,
            caller=spec.caller,
            callee=spec.callee,
            line=line,
            system_prompt=fill(agent.system_prompt, agent.variables),
            first_message=first,
            language=agent.language,
            voice=agent.voice,
        )
        engine = self._engine = build_engine(agent.engine, context, self._settings)
        to_engine = self._to_engine = Transcoder(line, engine.hears)
        self._to_line = Transcoder(engine.speaks, self._sends)
        self._obey(now, engine.begin(now), out)
        while self._early:  # at the times it came, or every latency of this turn would be wrong
            at, payload = self._early.popleft()
            self._obey(at, engine.hear(at, to_engine.process(payload)), out)
        self._early_bytes = 0
        while self._early_says:
            self._say_now(now, self._early_says.popleft(), out)
        self._tick_engine(now, out)
        self._insist()
        self._pump(now, out)

    # --- the caller's line -------------------------------------------------------------------------------------------

    def hear(self, now: int, payload: bytes, timestamp_ms: int = 0, chunk: int = 0) -> list[CallOrder]:
        """One frame of the caller, at this time of the carrier's media clock. The hot path."""
        if self._recorder is not None:
            self._recorder.caller(now, timestamp_ms, payload, chunk)
        engine, to_engine = self._engine, self._to_engine
        if engine is None or to_engine is None:
            if self._phase is Phase.STARTING and payload:
                self._keep_early(now, payload)
            return []
        out: list[CallOrder] = []
        if self._manner is Manner.HUSHED:
            self._pump(now, out)
            return out
        orders = engine.hear(now, payload if to_engine.passthrough else to_engine.process(payload))
        if orders:
            self._obey(now, orders, out)
        if self._voice is Voice.SPEAKING:
            self._insist()
        self._pump(now, out)
        return out

    def _keep_early(self, now: int, payload: bytes) -> None:
        """What the caller says while on_call_start runs is not lost; of more than an utterance, the newest is kept."""
        assert self._line is not None
        self._early.append((now, payload))
        self._early_bytes += len(payload)
        limit = self._line.bytes_for_ms(round(self._settings.utterance_s * 1000))
        while self._early_bytes > limit:
            self._early_bytes -= len(self._early.popleft()[1])

    def mark(self, now: int, name: str) -> list[CallOrder]:
        """The carrier returned a mark."""
        out: list[CallOrder] = []
        if self._playback is not None:
            before = self._playback.confirmed
            for played in self._playback.mark_returned(now, name):
                self._played(now, played.item, out)
            if self._recorder is not None and self._playback.confirmed != before:
                self._recorder.agent_played(now, self._playback.confirmed)
            self._pump(now, out)
        return out

    def pressed(self, now: int, keys: str) -> list[CallOrder]:
        """The caller pressed keys. The engine hears of them in order with what is said."""
        out: list[CallOrder] = []
        text = f"[DTMF: {keys}]"
        if self._phase is Phase.TALKING and self._manner is not Manner.HUSHED:
            self._tell_engine(now, Keyed(text), out)
        else:
            self._add_line(now, Line("user", text, self._wall(now), self._turns.count), out)
        return out

    def press(self, now: int, item: str, digits: str, gap_ms: int, tone_ms: int) -> list[CallOrder]:
        """Press keys in-band: their tones go between what is being said and what is said next. ``played`` tells when
        they were heard."""
        out: list[CallOrder] = []
        playback, sends = self._playback, self._sends
        if playback is None or sends is None or self._stream is None:
            return out
        to_line = Transcoder(AudioFormat(Encoding.L16, sends.rate), sends)
        pause = max(_TONE_PAUSE_MS, gap_ms - tone_ms)
        pcm = b"".join(
            bytes(2 * sends.rate * _PAUSES[key] // 1000)
            if key in _PAUSES
            else dtmf(key, tone_ms, sends.rate) + bytes(2 * sends.rate * pause // 1000)
            for key in digits
        )
        playback.queue(item, to_line.process(pcm) + to_line.flush())
        playback.end(item)
        self._tones.add(item)
        self._pump(now, out)
        return out

    # --- the agent's manners -----------------------------------------------------------------------------------------

    def wait_for_cue(self) -> None:
        """The first message waits for ``speak_first``."""
        if self._phase in (Phase.WAITING, Phase.STARTING, Phase.READY):
            self._manner = Manner.WAITING

    def speak_first(self, now: int) -> list[CallOrder]:
        """The cue for the first message."""
        out: list[CallOrder] = []
        if self._manner is Manner.WAITING:
            self._manner = Manner.OPEN
            if self._phase is Phase.TALKING and self._first:
                self._tell_engine(now, Say("first", self._first), out)
            self._first = ""
        return out

    def hush(self, now: int) -> list[CallOrder]:
        """Stop talking and listening, at once; lines that are asked for are still said."""
        out: list[CallOrder] = []
        if self._manner is not Manner.HUSHED:
            self._manner = Manner.HUSHED
            self._voice = Voice.QUIET
            if self._playback is not None and self._stream is not None:
                self._interrupt(now, out, tell=True, barged=False)
            self._early_says.clear()
        return out

    def resume(self) -> None:
        """Talk and listen again."""
        if self._manner is Manner.HUSHED:
            self._manner = Manner.OPEN

    @property
    def starting(self) -> bool:
        """There will be a voice, but not yet."""
        return self._phase in (Phase.WAITING, Phase.STARTING, Phase.READY)

    @property
    def says(self) -> bool:
        """Can a line be said in the agent's own voice?"""
        return self._phase is Phase.TALKING and self._engine is not None and self._engine.says

    def speaking(self, now: int) -> bool:
        """Something is being said, or about to be."""
        if self.starting:
            return True
        if self._phase is not Phase.TALKING or self._stream is None:
            return False
        assert self._engine is not None
        return self._engine.busy or (self._playback is not None and self._playback.audible(now))

    @property
    def caller_speaking(self) -> bool:
        """The caller is in the middle of saying something."""
        return self._voice is not Voice.QUIET

    def say(self, now: int, text: str) -> list[CallOrder]:
        """Speak a line of the application's, after what is being said."""
        out: list[CallOrder] = []
        text = plain(text)
        if self._phase is Phase.TALKING:
            self._say_now(now, text, out)
        elif self._phase is not Phase.ENDED:
            self._early_says.append(text)
        return out

    def _say_now(self, now: int, text: str, out: list[CallOrder]) -> None:
        self._says += 1
        self._tell_engine(now, Say(f"say:{self._says}", text), out)

    def pressure(self, now: int, high: bool) -> list[CallOrder]:
        """The media socket does not keep up (or does again)."""
        out: list[CallOrder] = []
        if self._playback is not None:
            self._playback.held = high
            self._pump(now, out)
        return out

    # --- tasks -------------------------------------------------------------------------------------------------------

    def task(self, now: int, fact: Any) -> list[CallOrder]:
        """A handler this conversation asked for yielded, returned or raised."""
        out: list[CallOrder] = []
        if self.callbacks.owns(fact.name):
            if isinstance(fact, TaskYielded | TaskAudio):
                return out
            failed = fact.detail if isinstance(fact, TaskRaised) else None
            orders, callback = self.callbacks.finished(now, failed)
            out += orders
            if callback == "on_call_start":
                self._agent, ignored = payloads.apply_override(self._agent, getattr(fact, "value", None))
                out += [Tell(OverrideIgnored(self._spec.call_id, key, why)) for key, why in ignored]
                self._started(now, out)
        elif self._engine is not None and self._phase is Phase.TALKING:
            self._tell_engine(now, fact, out)
        return out

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """The earliest of everything this conversation waits for."""
        at = self.callbacks.deadline
        if self._phase is Phase.TALKING:
            assert self._engine is not None
            engine = self._engine.deadline
            if engine is not None and (at is None or engine < at):
                at = engine
        if self._playback is not None and self._stream is not None:
            playback = self._playback.deadline
            if playback is not None and (at is None or playback < at):
                at = playback
        return at

    def tick(self, now: int) -> list[CallOrder]:
        """Do what is due."""
        out: list[CallOrder] = []
        orders, callback = self.callbacks.tick(now)
        out += orders
        if callback == "on_call_start":
            self._started(now, out)
        if self._phase is Phase.TALKING:
            self._tick_engine(now, out)
        self._pump(now, out)
        return out

    def _tick_engine(self, now: int, out: list[CallOrder]) -> None:
        engine = self._engine
        assert engine is not None
        deadline = engine.deadline
        if deadline is not None and deadline <= now:
            self._obey(now, engine.tick(now), out)

    # --- the engine's orders -----------------------------------------------------------------------------------------

    def _tell_engine(self, now: int, fact: EngineFact, out: list[CallOrder]) -> None:
        assert self._engine is not None
        self._obey(now, self._engine.handle(now, fact), out)
        self._pump(now, out)

    def _obey(self, now: int, orders: list[EngineOrder], out: list[CallOrder]) -> None:
        for order in orders:
            kind = type(order)
            if kind is Speak:
                self._speak(now, order, out)  # type: ignore[arg-type]  # the dispatch by type is for speed
                continue
            match order:
                case Run() | Drop():
                    out.append(order)
                case AskReply(task, text):
                    reply = self._agent.engine.reply  # type: ignore[union-attr]  # only a pipeline asks
                    payload = payloads.message(self._spec, text, self._transcript.history(self._settings.history))
                    out.append(Run(task, reply.lane, reply.name, (payload,)))
                case CallerStarted(at):
                    self._turns.started(at)
                    self._voice = Voice.SPEAKING
                case CallerStopped(at):
                    self.voices += 1
                    self._turns.stopped(now, at)
                    self._voice = Voice.QUIET
                case CallerSaid(text, final, stopped):
                    if final:
                        self._caller_said(now, text, stopped, out)
                case ReplyBegan(item):
                    self._turns.began(now, item)
                case Saying(item, text):
                    self._saying(now, item, text)
                case Said(item):
                    if item in self._utterances:
                        self._utterances[item].said()
                case SpeechEnded(item):
                    self._speech_ended(now, item, out)
                case StageFailed(stage, detail):
                    out.append(Tell(SpeechFailed(self._spec.call_id, stage, detail)))
                case GaveUp():
                    self.gave_up = order

    def _saying(self, now: int, item: str, text: str) -> None:
        turn = self._turns.saying(now, item, text)
        utterance = self._utterances.get(item)
        if utterance is None:
            utterance = self._utterances[item] = Utterance(item, turn)
        utterance.saying(text)

    def _speak(self, now: int, order: Speak, out: list[CallOrder]) -> None:
        playback, to_line = self._playback, self._to_line
        if playback is None or to_line is None or self._stream is None:
            return
        audio = order.audio if to_line.passthrough else to_line.process(order.audio)
        utterance = self._utterances.get(order.item)
        if utterance is not None:
            assert self._sends is not None
            utterance.audio(self._sends.duration_us(len(audio)))
            self._turns.audio(now, order.item)
        if playback.queue(order.item, audio, order.live):
            if not self.frames_dropped:
                out.append(Tell(FramesDropped(self._spec.call_id, 1)))
            self.frames_dropped += 1
        if not order.live and not self._enough and playback.queued_us > us(self._settings.speech_ahead_s):
            self._enough = True
            assert self._engine is not None
            self._obey(now, self._engine.handle(now, SpeechEnough()), out)

    def _speech_ended(self, now: int, item: str, out: list[CallOrder]) -> None:
        playback, to_line = self._playback, self._to_line
        if playback is None or to_line is None or self._stream is None:
            self._played(now, item, out)  # there was nothing to hear it on
            return
        if tail := to_line.flush():  # the last milliseconds are still in the resampler
            playback.queue(item, tail)
            if item in self._utterances:
                assert self._sends is not None
                self._utterances[item].audio(self._sends.duration_us(len(tail)))
        playback.end(item)

    def _pump(self, now: int, out: list[CallOrder]) -> None:
        playback, stream = self._playback, self._stream
        if playback is None or stream is None:
            return
        if self._voice is Voice.INSISTING:
            self._maybe_interrupt(now, out)  # and speech that comes while the caller is already speaking is not begun
        for order in playback.pump(now):
            kind = type(order)
            if kind is Media:
                if self._recorder is not None:
                    self._recorder.agent_sent(now, order.payload)  # type: ignore[union-attr]
                out.append(ToCarrier(stream.media(order.payload)))  # type: ignore[union-attr]
            elif kind is SetMark:
                out.append(ToCarrier(stream.mark(order.name)))  # type: ignore[union-attr]
            else:
                assert isinstance(order, Played)
                self._played(now, order.item, out)
        self._turns.sent(playback.sent_at)
        if self._enough and playback.queued_us <= us(self._settings.speech_ahead_s) // 2:
            self._enough = False
            self._tell_engine(now, SpeechWanted(), out)

    # --- turns -------------------------------------------------------------------------------------------------------

    def _caller_said(self, now: int, text: str, stopped: int, out: list[CallOrder]) -> None:
        wall = self._wall(now)
        turn, closed = self._turns.said(now, wall, text, stopped)
        self._closed(now, closed, out)
        self._add_line(now, Line("user", text, wall, turn.index), out)

    def _played(self, now: int, item: str, out: list[CallOrder]) -> None:
        """Whatever there is of this item was heard."""
        if item in self._tones:
            self._tones.discard(item)
            self.played.append(item)
            return
        utterance = self._utterances.pop(item, None)
        self._spoken(now, item, utterance, "" if utterance is None else utterance.text, False, out)

    def _spoken(
        self, now: int, item: str, utterance: Utterance | None, text: str, interrupted: bool, out: list[CallOrder]
    ) -> None:
        wall = self._wall(now)
        if text and utterance is not None:
            self._add_line(now, Line("assistant", text, wall, utterance.turn, interrupted), out)
        self._closed(now, self._turns.spoken(item, wall, text, interrupted), out)

    def _closed(self, now: int, turns: list[TurnMetrics], out: list[CallOrder]) -> None:
        for turn in turns:
            out.append(Tell(TurnCompleted(self._spec.call_id, turn)))
            if self.callbacks.wants("on_metrics"):
                out += self.callbacks.call(now, "on_metrics", payloads.metrics(self._spec, turn))

    # --- interruptions -----------------------------------------------------------------------------------------------

    def _insist(self) -> None:
        """Has the caller spoken for long enough? Then the agent, if it is audible, stops (see ``_pump``)."""
        assert self._engine is not None
        threshold = self._agent.barge_in_threshold_ms * 1000
        if self._voice is Voice.SPEAKING and self._engine.voiced_us >= threshold:
            self._voice = Voice.INSISTING

    def _maybe_interrupt(self, now: int, out: list[CallOrder]) -> None:
        if self._tones or self._playback is None or self._stream is None:
            return
        if self._playback.audible(now):
            self._interrupt(now, out, tell=True)

    def _interrupt(self, now: int, out: list[CallOrder], tell: bool, barged: bool = True) -> None:
        """Stop the agent. ``tell`` the carrier; it was the caller who ``barged`` in."""
        playback = self._playback
        assert playback is not None
        self._turns.sent(playback.sent_at)
        if self._recorder is not None:
            self._recorder.agent_cleared(now, playback.heard_position(now))
        heard, at_carrier = playback.clear(now)
        if at_carrier and tell and self._stream is not None:
            out.append(ToCarrier(self._stream.clear()))
        if self._to_line is not None:
            self._to_line.reset()  # or the end of what was cut would begin what is said next
        self._enough = False
        for item in heard:
            self._settle(now, item, tell and barged, out)
        for name in dict.fromkeys([*self._utterances, *self._turns.open]):  # known, but no audio had come yet
            self._settle(now, Heard(name, 0, 0), False, out)

    def _settle(self, now: int, item: Heard, tell: bool, out: list[CallOrder]) -> None:
        if item.whole:
            self._played(now, item.item, out)
            return
        if item.item in self._tones:
            self._tones.discard(item.item)
            return
        utterance = self._utterances.pop(item.item, None)
        text = "" if utterance is None else utterance.heard(item.heard_us)
        if tell:
            event = BargedIn(self._spec.call_id, item.item, item.heard_us // 1000, item.dropped_us // 1000)
            out.append(Tell(event))
        self._spoken(now, item.item, utterance, text, True, out)
        if self._engine is not None and self._phase is Phase.TALKING:
            self._obey(now, self._engine.handle(now, Interrupted(item.item, item.heard_us, text)), out)

    # --- what is told ------------------------------------------------------------------------------------------------

    def _wall(self, now: int) -> float:
        return (self._spec.epoch + now) / 1e6

    def _add_line(self, now: int, line: Line, out: list[CallOrder]) -> None:
        self._transcript.add(line)
        out.append(Tell(TranscriptLine(self._spec.call_id, line.role, line.text, line.turn, line.interrupted)))
        if self.callbacks.wants("on_transcript"):
            history = self._transcript.history(self._settings.history)
            out += self.callbacks.call(now, "on_transcript", payloads.transcript(self._spec, line, history))

    # --- the end -----------------------------------------------------------------------------------------------------

    @property
    def turns(self) -> int:
        """Exchanges so far."""
        return len(self._turns.closed)

    def counts(self) -> tuple[int, int, int]:
        """Media messages sent, marks played, marks discarded."""
        playback = self._playback
        if playback is None:
            return 0, 0, 0
        return playback.frames_out, playback.marks_played + playback.marks_assumed, playback.marks_discarded

    def tape(self, now: int, out: list[CallOrder]) -> None:
        """Hand out the next piece of the recording, if there is one worth writing."""
        if self._recorder is not None and (data := self._recorder.take(now)):
            out.append(Tape(data))

    def _end_tape(self, now: int, out: list[CallOrder]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        recorder.finish(now)
        for _ in range(_LAST_PIECES):
            if not (data := recorder.take(now)):
                break
            out.append(Tape(data))
        if recorder.data_bytes:
            offset, header = recorder.patch()
            out.append(Tape(header, offset))

    @property
    def taped(self) -> bool:
        """There is a recording of our own."""
        return self._recorder is not None and self._recorder.data_bytes > 0

    def end(self, now: int) -> list[CallOrder]:
        """Stop talking and listening; settle what was heard. Callbacks still run."""
        out = self.detach(now)
        self._end_tape(now, out)
        if self._engine is not None and self._phase is Phase.TALKING:
            self._obey(now, self._engine.handle(now, Ended()), out)
        self._closed(now, self._turns.end(self._wall(now)), out)
        self._phase = Phase.ENDED
        return out

    def end_payload(self, now: int, reason: str, started: int, frames_in: int, malformed: int) -> dict[str, Any]:
        """What ``on_call_end`` gets."""
        frames_out, played, discarded = self.counts()
        figures = payloads.call_metrics(
            self._spec,
            now - started,
            tuple(self._turns.closed),
            frames_in=frames_in,
            frames_out=frames_out,
            marks_played=played,
            marks_discarded=discarded,
            malformed=malformed,
            frames_dropped=self.frames_dropped,
        )
        history = self._transcript.history(self._settings.transcript)
        return payloads.end(self._spec, reason, self._wall(now), self._transcript.pairs(), history, figures)
