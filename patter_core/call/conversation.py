"""What is said in a call: one engine, the ledger of what was heard, turns, transcript, interruptions, callbacks.

It exists before the stream's audio flows and survives a stream that is lost and comes back; each attachment has its
own ledger epoch. It speaks to the carrier only through the attached ``MediaStream``, whose dialect it does not
know.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

import msgspec

from ..audio.detectors import check_detector
from ..audio.formats import PCMU_8K, AudioFormat
from ..audio.transcode import Transcoder
from ..carriers.carrier import MediaStream
from ..config import AgentSpec, PipelineSpec, fill
from ..engines.build import speaks_on_cue
from ..engines.engine import (
    Asking,
    AskReply,
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    CutShort,
    Engine,
    EngineContext,
    EngineFact,
    EngineOrder,
    GaveUp,
    HungUp,
    Interrupted,
    Keyed,
    Played,
    ProviderWarned,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    SpeechWanted,
    StageFailed,
    Switched,
    ToolAnswered,
    Unasked,
    Used,
    Worded,
)
from ..engines.policy import Interruptions
from ..events import (
    BargedIn,
    FramesDropped,
    OverrideIgnored,
    ProviderReported,
    ProviderSwitched,
    SpeechFailed,
    ToolRan,
    TranscriptLine,
    TurnCompleted,
)
from ..plain import plain
from ..settings import us
from . import payloads
from .callbacks import Callbacks
from .costs import Costs
from .metrics import TurnMetrics
from .mouth import Cut, Mouth, Words
from .pricing import DOLLAR
from .seat import EngineSeat
from .spec import CallSpec
from .tools import BuiltIn, SayWhile, ToolOrder, Tools, ToolTold
from .transcript import Line, Transcript
from .turns import Turns
from .variables import known_variables
from .words import (
    CallOrder,
    Inward,
    TaskAudio,
    TaskRaised,
    TaskYielded,
    Tell,
)

__all__ = ["Conversation"]

_EARLY_SAYS = 16
"""Lines the application wants spoken before there is a voice; more are the newest."""


_MOST_QUEUED_US = 600_000_000
"""Speech that waits to be heard: an engine that cannot be told to wait, and runs away."""


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
        check_detector(spec.agent.vad)  # now, rather than in the middle of a call or of a trace
        self._spec = spec
        self._settings = spec.settings
        self._agent: AgentSpec = spec.agent
        self._phase = Phase.WAITING
        self._seat = EngineSeat(spec.settings)
        self._tools = self._new_tools()
        self._to_engine: Transcoder | None = None
        self._line: AudioFormat | None = None  # what we hear
        self.mouth = Mouth(spec.settings, bool(spec.local_recording))
        self.callbacks = Callbacks(spec.call_id, spec.agent.callbacks, spec.settings)
        self._early: deque[tuple[int, bytes]] = deque()  # when it came, and what the caller said, before the engine
        self._early_bytes = 0
        self._early_says: deque[str] = deque(maxlen=_EARLY_SAYS)
        self._transcript = Transcript(spec.settings.transcript)
        self.costs = Costs(spec.price_table, spec.carrier, spec.direction)
        self._turns = Turns(spec.settings.transcript, spec.call_id, self.costs.turn_closed)
        self._voice = Voice.QUIET
        self._enough = False  # the engine was told to produce no more speech for now
        self._says = 0
        self._manner = Manner.OPEN
        self._first = ""  # the first message, while it waits for its cue
        self._postponed = False
        self._first_open = False  # it is being said, or about to be
        self._parameters: dict[str, str] = {}
        self._words = 0  # the caller has said since they began to speak
        self._unwanted: deque[str] = deque(maxlen=_EARLY_SAYS)  # items of replies that began while it is hushed
        self.wishes: deque[BuiltIn] = deque()  # what a model wants done that only the call can do
        self.voices = 0  # times the caller has spoken or pressed a key
        self._gave_up_with: GaveUp | None = None
        self.hung_up = False  # the agent did, at its provider
        self.replied = False  # the agent has spoken since the caller last did
        self.frames_dropped = 0

    def adopt(self, spec: CallSpec) -> None:
        """Who is calling has become known, before anything was said."""
        self._spec = spec
        self._turns.call_id = spec.call_id
        self._tools = self._new_tools()

    def _new_tools(self) -> Tools:
        spec = self._spec
        who = {"call_id": spec.call_id, "caller": spec.caller, "callee": spec.callee}
        return Tools(self._agent.tools, spec.settings, who)

    @property
    def _engine(self) -> Engine | None:
        return self._seat.engine

    def warm(self, now: int, line: AudioFormat) -> list[CallOrder]:
        """The call will be talked on, probably in this format: what takes long to get ready begins to."""
        out: list[CallOrder] = []
        if self._phase is Phase.WAITING:
            context = self._context(line)
            if self._manner is not Manner.OPEN:
                context = msgspec.structs.replace(context, first_message="")
            self._obey(now, self._seat.warm(now, self._agent, context), out)
        return out

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
        if line != self._line:
            self._line = line
            self._early.clear()
            self._early_bytes = 0
            if self._engine is not None and self._phase is Phase.TALKING:
                self._to_engine = Transcoder(line, self._engine.hears)
        self.mouth.attach(now, stream, line, sends or line)
        self._parameters = self._parameters or parameters
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
        if self.mouth.open:
            self._interrupt(now, out, tell=False)
            self.mouth.detach()
            if self._engine is not None and self._phase is Phase.TALKING:
                self._enough = True
                self._obey(now, self._engine.handle(now, SpeechEnough()), out)
        return out

    def _started(self, now: int, out: list[CallOrder]) -> None:
        """``on_call_start`` had its say."""
        if self._phase is Phase.STARTING:
            if self.mouth.open:
                self._begin(now, out)
            else:
                self._phase = Phase.READY

    def _context(self, line: AudioFormat) -> EngineContext:
        """What an engine that takes over now is to know."""
        agent, spec = self._agent, self._spec
        variables = known_variables(agent.variables, self._parameters, spec)
        first = fill(agent.first_message, variables)
        if spec.recording_announcement:
            first = f"{spec.recording_announcement} {first}".rstrip()
        return EngineContext(
            call_id=spec.call_id,
            caller=spec.caller,
            callee=spec.callee,
            line=line,
            system_prompt=fill(agent.system_prompt, variables),
            first_message=first,
            language=agent.language,
            voice=agent.voice,
            epoch=spec.epoch,
            prefix=self._seat.prefix,
            variables=variables,
            tools=agent.tools,
            guards=agent.guards,
            interruptions=agent.interruptions,
            vad=agent.vad,
        )

    def _begin(self, now: int, out: list[CallOrder]) -> None:
        line = self._line
        assert line is not None
        if self._manner is Manner.WAITING and not speaks_on_cue(self._agent.engine):
            self._phase = Phase.STARTING
            self._postponed = True  # it would greet at once: it does not begin before the cue
            return
        self._postponed = False
        self._phase = Phase.TALKING
        context = self._context(line)
        if self._manner is not Manner.OPEN:
            self._first = context.first_message
            context = msgspec.structs.replace(context, first_message="")
        self._first_open = bool(context.first_message)
        warmed = self._engine
        self._obey(now, self._seat.take(now, self._agent, context), out)
        engine = self._engine
        assert engine is not None
        if engine is not warmed:
            self._gave_up_with = None  # that was another
        self._to_engine = Transcoder(line, engine.hears)
        self.mouth.speak_as(engine.speaks)
        self._obey(now, engine.begin(now), out)
        self._reformat()
        while self._early:  # at the times it came, or every latency of this turn would be wrong
            at, payload = self._early.popleft()
            self._obey(at, engine.hear(at, self._to_engine.process(payload)), out)
        self._early_bytes = 0
        while self._early_says:
            self._say_now(now, self._early_says.popleft(), out)
        self._tick_engine(now, out)
        self._pump(now, out)

    # --- the caller's line -------------------------------------------------------------------------------------------

    def hear(self, now: int, payload: bytes, timestamp_ms: int = 0, chunk: int = 0) -> list[CallOrder]:
        """One frame of the caller, at this time of the carrier's media clock. The hot path."""
        self.mouth.heard(now, timestamp_ms, payload, chunk)
        engine, to_engine = self._engine, self._to_engine
        if engine is None or to_engine is None or self._phase is not Phase.TALKING:
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
        played = self.mouth.mark(now, name)
        for item, at in self.mouth.first_heard():
            self._turns.played(item, at)
        for item in played:
            self._played(now, item, out)
        self._pump(now, out)
        return out

    def pressed(self, now: int, keys: str) -> list[CallOrder]:
        """The caller pressed keys. The engine hears of them in order with what is said."""
        out: list[CallOrder] = []
        self.replied = False
        text = f"[DTMF: {keys}]"
        if self._phase is Phase.TALKING and self._manner is not Manner.HUSHED:
            self._tell_engine(now, Keyed(text), out)
        else:
            self._add_line(now, Line("user", text, self._wall(now), self._turns.count), out)
        return out

    def press(self, now: int, item: str, digits: str, gap_ms: int, tone_ms: int) -> list[CallOrder]:
        """Press keys in-band, between what is being said and what is said next."""
        out: list[CallOrder] = []
        self.mouth.press(item, digits, gap_ms, tone_ms)
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
            if self._postponed:
                self._begin(now, out)
                return out
            self._first_open = bool(self._first)
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
            if self.mouth.open:
                self._interrupt(now, out, tell=True, barged=False)
            if self._engine is not None and self._phase is Phase.TALKING:
                self._obey(now, self._engine.handle(now, Interrupted("", 0, "")), out)  # nor what it is thinking of
            self._early_says.clear()
        return out

    def resume(self) -> None:
        """Talk and listen again."""
        if self._manner is Manner.HUSHED:
            self._manner = Manner.OPEN

    @property
    def gave_up(self) -> GaveUp | None:
        """Nobody is left to talk. What gave up before the conversation began counts from there on: what
        ``on_call_start`` wants may be something else."""
        return self._gave_up_with if self._phase is Phase.TALKING else None

    @property
    def agent(self) -> AgentSpec:
        """As ``on_call_start`` wants it."""
        return self._agent

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
        if self._phase is not Phase.TALKING or not self.mouth.open:
            return False
        assert self._engine is not None
        return self._engine.busy or self._tools.works or self.mouth.audible(now)

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
        self.mouth.hold(high)
        self._pump(now, out)
        return out

    # --- tasks -------------------------------------------------------------------------------------------------------

    def inward(self, now: int, fact: Inward) -> list[CallOrder]:
        """A task, link or fetch that was asked for in here has something to say."""
        out: list[CallOrder] = []
        if self.callbacks.owns(fact.name):
            if isinstance(fact, TaskYielded | TaskAudio):
                return out
            failed = fact.detail if isinstance(fact, TaskRaised) else None
            orders, callback = self.callbacks.finished(now, failed)
            out += orders
            if callback == "on_call_start":
                self._agent, ignored = payloads.apply_override(self._agent, getattr(fact, "value", None))
                self._tools = self._new_tools()  # there may be fewer now, and not every engine is told which
                out += [Tell(OverrideIgnored(self._spec.call_id, key, why)) for key, why in ignored]
                self._started(now, out)
        elif self._tools.owns(fact.name):
            self._tooled(now, self._tools.handle(now, fact), out)
        elif self._engine is not None and self._phase is not Phase.ENDED:
            self._tell_engine(now, fact, out)
        return out

    # --- tools -------------------------------------------------------------------------------------------------------

    def _tooled(self, now: int, orders: list[ToolOrder], out: list[CallOrder]) -> None:
        for order in orders:
            match order:
                case ToolAnswered():
                    if self._engine is not None and self._phase is Phase.TALKING:
                        self._tell_engine(now, order, out)
                case SayWhile(text):
                    if self.says and self._manner is not Manner.HUSHED and not self.mouth.audible(now):
                        self._say_now(now, text, out)
                case BuiltIn():
                    self.wishes.append(order)
                case ToolTold(name, arguments, result, ok, ms):
                    out.append(Tell(ToolRan(self._spec.call_id, name, ok, ms)))
                    if self.callbacks.wants("on_transcript"):
                        history = self._transcript.history(self._settings.history)
                        told = payloads.tool(self._spec, name, arguments, result, history)
                        out += self.callbacks.call(now, "on_transcript", told)
                case _:
                    out.append(order)

    def built_in_done(self, now: int, call: str, ok: bool, detail: str, quiet: bool) -> list[CallOrder]:
        """What a model wished for was done, or refused."""
        out: list[CallOrder] = []
        self._tooled(now, self._tools.done_built_in(now, call, ok, detail, quiet), out)
        return out

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """The earliest of everything this conversation waits for."""
        at = self.callbacks.deadline
        engine = self._engine
        if engine is not None:
            for other in (engine.deadline, self._tools.deadline):
                if other is not None and (at is None or other < at):
                    at = other
        mouth = self.mouth.deadline
        if mouth is not None and (at is None or mouth < at):
            at = mouth
        return at

    def tick(self, now: int) -> list[CallOrder]:
        """Do what is due."""
        out: list[CallOrder] = []
        orders, callback = self.callbacks.tick(now)
        out += orders
        if callback == "on_call_start":
            self._started(now, out)
        if self._engine is not None:
            self._tooled(now, self._tools.tick(now), out)
            self._tick_engine(now, out)
        self._pump(now, out)
        return out

    def _tick_engine(self, now: int, out: list[CallOrder]) -> None:
        engine = self._engine
        deadline = None if engine is None else engine.deadline
        if engine is not None and deadline is not None and deadline <= now:
            self._obey(now, engine.tick(now), out)
            self._reformat()

    def _reformat(self) -> None:
        """An engine may find out late what it hears and speaks."""
        if self._seat.moved() and self._line is not None and self._phase is Phase.TALKING:
            engine = self._engine
            assert engine is not None
            self._to_engine = Transcoder(self._line, engine.hears)
            self.mouth.speak_as(engine.speaks)

    # --- the engine's orders -----------------------------------------------------------------------------------------

    def _tell_engine(self, now: int, fact: EngineFact, out: list[CallOrder]) -> None:
        engine = self._engine
        if engine is None:
            return
        self._obey(now, engine.handle(now, fact), out)
        self._reformat()
        self._pump(now, out)

    def _obey(self, now: int, orders: list[EngineOrder], out: list[CallOrder]) -> None:
        for order in orders:
            kind = type(order)
            if self._unwanted and getattr(order, "item", None) in self._unwanted and kind is not Used:
                continue
            if kind is Speak:
                self._speak(now, order, out)  # type: ignore[arg-type]  # the dispatch by type is for speed
                continue
            match order:
                case AskReply(ask, text):
                    answer: Asking | Unasked = Unasked(ask)
                    if self._manner is not Manner.HUSHED:
                        history = self._transcript.history(self._settings.history)
                        answer = Asking(ask, payloads.message(self._spec, text, history))
                    if self._engine is not None:
                        self._obey(now, self._engine.handle(now, answer), out)
                case CallerStarted(at):
                    self._turns.started(at)
                    self._voice = Voice.SPEAKING
                    self._words = 0
                    self.replied = False
                case CallerStopped(at):
                    self.voices += 1
                    self._turns.stopped(now, at)
                    self._voice = Voice.QUIET
                case CallerSaid(text, final, stopped):
                    self._words = len(text.split())
                    if final:
                        self.replied = self.replied and stopped >= 0  # typed words were not heard to begin
                        self._caller_said(now, text, stopped, out)
                case ReplyBegan(item) if self._manner is Manner.HUSHED:  # not even a reply it was asked for before
                    self._unwanted.append(item)
                    if self._engine is not None:
                        self._obey(now, self._engine.handle(now, Interrupted(item, 0, "")), out)
                case ReplyBegan(item):
                    self.replied = True
                    self._turns.began(now, item)
                case Saying(item, text):
                    self.mouth.saying(item, self._turns.saying(now, item, text), text)
                case Worded(item, text):
                    self.mouth.worded(item, self._turns.saying(now, item, text), text)
                case Said(item, whole):
                    self.mouth.said(item, whole)
                case SpeechEnded(item):
                    if not self.mouth.ended(item):
                        self._played(now, item, out)  # there was nothing to hear it on
                case StageFailed(stage, detail):
                    out.append(Tell(SpeechFailed(self._spec.call_id, stage, detail)))
                case CallTool(call, name, arguments):
                    self._tooled(now, self._tools.wants(now, call, name, arguments), out)
                case CutShort(item):
                    if self.mouth.knows(item):
                        self._interrupt(now, out, tell=True, barged=False)
                case Used():
                    self.costs.used(order.usage, self._turns.payer(order.item, order.usage.stage))
                case Switched(stage, to, detail):
                    out.append(Tell(ProviderSwitched(self._spec.call_id, stage, to, detail)))
                case ProviderWarned(provider, code, detail):
                    out.append(Tell(ProviderReported(self._spec.call_id, provider, code, detail)))
                case HungUp(detail) if self._manner is Manner.HUSHED:  # of boredom: no goodbye was said
                    self._gave_up(now, GaveUp(detail, ""), out)
                case HungUp():
                    self.hung_up = True
                case GaveUp():
                    self._gave_up(now, order, out)
                case Speak():
                    pass  # done above
                case _:
                    out.append(order)  # for outside

    def _gave_up(self, now: int, order: GaveUp, out: list[CallOrder]) -> None:
        """The engine cannot go on: another takes over, with what was said so far; or the call cannot go on either."""
        line = self._line
        agent = self._agent
        if not agent.fallbacks or self._phase is Phase.ENDED:
            if self._gave_up_with is None and not isinstance(agent.engine, PipelineSpec):  # which has told already
                out.append(Tell(SpeechFailed(self._spec.call_id, "engine", order.detail)))
            self._gave_up_with = order
            return
        if self.mouth.open:
            self._interrupt(now, out, tell=True, barged=False)
        talking = self._phase is Phase.TALKING
        context = self._context(line or PCMU_8K)
        past = tuple((one.role, one.text) for one in self._transcript.newest(self._settings.history))
        last = self._transcript.newest(1)
        owed = next((text for role, text in reversed(past) if role == "user"), "") if talking else ""
        if not last or not (last[0].role == "user" or last[0].interrupted) or self._manner is Manner.HUSHED:
            owed = ""  # it was answered
        if past or talking:
            context = msgspec.structs.replace(
                context,
                past=past,
                owed=owed,
                speech_goes_on=bool(past),
                first_message="" if past else context.first_message,
            )
        self._tooled(now, self._tools.end(now), out)
        self._tools = self._new_tools()
        found = self._agent = self._seat.replace(now, agent, context)
        out.append(Tell(ProviderSwitched(self._spec.call_id, "engine", type(found.engine).__name__, order.detail)))
        engine = self._engine
        assert engine is not None
        if talking:
            assert line is not None
            self._to_engine = Transcoder(line, engine.hears)
            self.mouth.speak_as(engine.speaks)
            self._obey(now, engine.begin(now), out)

    def _speak(self, now: int, order: Speak, out: list[CallOrder]) -> None:
        if not order.live and self.mouth.queued_us > _MOST_QUEUED_US:
            if not self.frames_dropped:
                out.append(Tell(FramesDropped(self._spec.call_id, 1)))
            self.frames_dropped += 1
            return
        known, dropped = self.mouth.speak(order.item, order.audio, order.live)
        self.replied = self.replied or not order.live
        if known or not order.live:  # an engine may speak before it says what it speaks
            self._turns.audio(now, order.item)
        if dropped:
            if not self.frames_dropped:
                out.append(Tell(FramesDropped(self._spec.call_id, 1)))
            self.frames_dropped += 1
        if not order.live and not self._enough and self.mouth.queued_us > us(self._settings.speech_ahead_s):
            self._enough = True
            assert self._engine is not None
            self._obey(now, self._engine.handle(now, SpeechEnough()), out)

    def _pump(self, now: int, out: list[CallOrder]) -> None:
        mouth = self.mouth
        if not mouth.open:
            return
        if self._voice is Voice.SPEAKING:
            self._insist()
        if self._voice is Voice.INSISTING and not mouth.pressing and mouth.audible(now):
            self._interrupt(now, out, tell=True)  # and speech that comes while the caller still speaks is not begun
        for item in mouth.pump(now, out):
            self._played(now, item, out)
        self._turns.sent(mouth.sent_at)
        if self._enough and mouth.queued_us <= us(self._settings.speech_ahead_s) // 2:
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
        self._spoken(now, self.mouth.words(item), False, out)
        if item == "first":
            self._first_open = False
        if self._engine is not None and self._phase is Phase.TALKING:
            self._obey(now, self._engine.handle(now, Played(item)), out)

    def _spoken(self, now: int, words: Words, interrupted: bool, out: list[CallOrder]) -> None:
        wall = self._wall(now)
        if words.text:
            self._add_line(now, Line("assistant", words.text, wall, words.turn, interrupted), out)
        self._closed(now, self._turns.spoken(words.item, wall, words.text, interrupted, now), out)

    def _closed(self, now: int, turns: list[TurnMetrics], out: list[CallOrder]) -> None:
        for turn in turns:
            out.append(Tell(TurnCompleted(self._spec.call_id, turn)))
            if self.callbacks.wants("on_metrics"):
                out += self.callbacks.call(
                    now, "on_metrics", payloads.metrics(self._spec, turn, self.costs.so_far(now))
                )

    # --- interruptions -----------------------------------------------------------------------------------------------

    def _insist(self) -> None:
        """Has the caller spoken for long enough? Then the agent, if it is audible, stops (see ``_pump``)."""
        engine = self._engine
        if self._voice is not Voice.SPEAKING or engine is None:
            return
        policy = self._agent.interruptions
        if policy is None:
            enough = engine.voiced_us >= self._agent.barge_in_threshold_ms * 1000
        elif self._first_open and policy.first_message == Interruptions.PROTECT:
            enough = False
        else:
            enough = engine.voiced_us >= policy.speaking_ms * 1000 and self._words >= policy.speaking_words
        if enough:
            self._voice = Voice.INSISTING

    def _interrupt(self, now: int, out: list[CallOrder], tell: bool, barged: bool = True) -> None:
        """Stop the agent. ``tell`` the carrier; it was the caller who ``barged`` in."""
        mouth = self.mouth
        self._turns.sent(mouth.sent_at)
        self._enough = False
        self._first_open = False
        if barged and tell:
            self._tooled(now, self._tools.barged_in(now), out)
        for cut in mouth.clear(now, out, tell):
            self._cut(now, cut, tell and barged, out)
        for item in dict.fromkeys([*mouth.unheard, *self._turns.open]):  # known, but no audio had come yet
            self._cut(now, Cut(mouth.forget(item), 0, 0, False), False, out)

    def _cut(self, now: int, cut: Cut, tell: bool, out: list[CallOrder]) -> None:
        words = cut.words
        if tell and not cut.whole:
            out.append(Tell(BargedIn(self._spec.call_id, words.item, cut.heard_us // 1000, cut.dropped_us // 1000)))
        self._spoken(now, words, not cut.whole, out)
        if self._engine is not None and self._phase is Phase.TALKING:
            became = Played(words.item) if cut.whole else Interrupted(words.item, cut.heard_us, words.text)
            self._obey(now, self._engine.handle(now, became), out)

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
        return self.mouth.counts()

    def end(self, now: int) -> list[CallOrder]:
        """Stop talking and listening; settle what was heard. Callbacks still run."""
        out = self.detach(now)
        self.mouth.end_tape(now, out)
        self._tooled(now, self._tools.end(now), out)
        self._obey(now, self._seat.leave(now), out)
        self._closed(now, self._turns.end(self._wall(now)), out)
        self._phase = Phase.ENDED
        return out

    def cost(self, now: int) -> float:
        """What the call has cost so far, as far as it is known, in US dollars."""
        return self.costs.total(now) / DOLLAR

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
            costs=self.costs,
            now=now,
            reason=reason,
        )
        history = self._transcript.history(self._settings.transcript)
        return payloads.end(self._spec, reason, self._wall(now), self._transcript.pairs(), history, figures)
