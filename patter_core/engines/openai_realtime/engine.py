"""The machine that talks by OpenAI's Realtime service: one link at a time, everything said on it, and its successor.

The service hears, thinks and speaks; what is left to decide here is what of its speech still counts, what it is told
about what was heard, when it is asked to speak, and what happens when it fails, expires or falls silent.

A reply is asked for only when none is under way; what must wait, waits in ``Asks``. A reply that was interrupted is
*silenced*: the service is told to cancel it, and whatever of it still arrives is dropped.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from ...audio.formats import L16_24K, AudioFormat, Encoding
from ...audio.transcode import Transcoder
from ...call.words import (
    LinkClosed,
    LinkOpened,
    LinkSaid,
    SayOnLink,
    TaskRaised,
    TaskReturned,
)
from ...settings import CallSettings, us
from ...timers import Timers, later
from ..engine import (
    CallerStarted,
    CallerStopped,
    CallTool,
    CutShort,
    Ended,
    EngineContext,
    EngineFact,
    EngineOrder,
    GaveUp,
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
    StageFailed,
    Switched,
    ToolAnswered,
    Used,
    Worded,
)
from ..policy import GuardSpec
from .caller import CallerTurns
from .events import CallItem, Event, Failure, audio_of, read, spoken_wait_s, transcription_usage, usage_of
from .guarding import Guarding
from .lifeline import FATAL, Lifeline
from .line import CallerLine
from .memory import Entry, Kind, Memory
from .options import PROVIDER, OpenAIRealtimeSpec
from .reply import Ask, Asks, Purpose, Reply, SpokenItem
from .session import Session, Stage
from .tools import Tools
from .wire import Wire, append, quoted

__all__ = ["OpenAIRealtimeEngine"]

_ASK_S = 8.0
"""From asking for a reply to its ``response.created``, which comes before any thinking."""
_TURN_S = 2.0
"""From the end of the caller's turn to the service's own reply to it; then it is asked for one."""
_WORDS_S = 8.0
"""For a turn's words; later, what follows is told without them."""
_DEAF_S = 3.0
"""``audio="auto"``: speech that the service shows no sign of having heard."""
_TRIES = 2
"""A reply that fails is asked for again so often."""
_SETTLE_S = 2.0
"""Beyond its length: how late it may become known that speech was heard."""
_WAIT_S = 5.0
"""The longest that a rate limit may have the caller wait."""
_ASKS = 32
"""Replies and texts that wait to be spoken."""
_ITEMS = 64
"""Stretches of speech remembered for what may still be heard of them."""
_WARNINGS = 100
"""Kinds of trouble that are told of, each once."""
_AT_ONCE_US = 3_600_000_000
"""``voiced_us`` where the service decides on interruptions: more than any threshold."""
_BENIGN = frozenset(
    {"response_cancel_not_active", "item_truncate_invalid_item_id", "item_not_found", "input_audio_buffer_commit_empty"}
)


class _Timer(enum.Enum):
    ASK = "ask"
    DELAY = "delay"
    REPLY = "reply"
    TURN = "turn"
    WORDS = "words"
    DEAF = "deaf"
    GUARD = "guard"


class OpenAIRealtimeEngine:
    """One call's. ``epoch`` is the wall time of the call's clock at 0, in microseconds; without it a session's
    ``expires_at`` cannot be read, and a session is taken to live for an hour."""

    def __init__(
        self, context: EngineContext, spec: OpenAIRealtimeSpec, settings: CallSettings, epoch: int = 0
    ) -> None:
        self._context = context
        self._spec = spec
        self._settings = settings
        self._names = 0
        self._wire = Wire(
            spec, context.system_prompt, context.voice, context.language, context.tools, context.interruptions is None
        )
        line = context.line
        g711 = line.rate == 8000 and line.encoding in (Encoding.PCMU, Encoding.PCMA)
        self._format = line if g711 and spec.audio != "pcm24" else L16_24K
        self._doubtful = spec.audio == "auto" and g711  # does the service hear this format?
        self._line = CallerLine(self._format, settings, context.vad)
        self._lifeline = Lifeline(self, spec, self._wire, self._format, epoch)
        self._timers: Timers[_Timer] = Timers()
        self._memory = Memory(context.past, settings.history)
        self._turns = CallerTurns(bool(spec.transcription_model))
        self._guarding = Guarding(context.guards)
        self._tools = Tools()
        self._warned: set[str] = set()
        self._begun = self._done = False

        self._speaking = False  # the caller, as the service says
        self._started_at = 0
        self._unanswered = False  # a turn of the caller's that the service has not begun to answer

        self._asks = Asks()
        self._asked: Ask | None = None  # sent, and not created yet
        self._active: Reply | None = None
        self._replies: dict[str, Reply] = {}
        self._items: dict[str, SpokenItem] = {}  # by our name

    # --- what the conversation asks ----------------------------------------------------------------------------------

    @property
    def hears(self) -> AudioFormat:
        return self._format

    @property
    def speaks(self) -> AudioFormat:
        return self._format

    @property
    def says(self) -> bool:
        return not self._done

    @property
    def busy(self) -> bool:
        if self._done:
            return False
        thinking = self._active is not None and not self._active.silenced
        return thinking or bool(self._asks or self._asked or self._unanswered)

    @property
    def voiced_us(self) -> int:
        if not self._speaking:
            return 0
        if self._context.interruptions is None:
            return _AT_ONCE_US
        return self._line.voiced_us(self._started_at, self._wire.silence_ms * 1000)

    @property
    def deadline(self) -> int | None:
        if self._done:
            return None
        mine, other = self._timers.deadline, self._lifeline.deadline
        return other if mine is None else mine if other is None else min(mine, other)

    # --- facts -------------------------------------------------------------------------------------------------------

    def warm(self, now: int) -> list[EngineOrder]:
        """Dial before the conversation begins, so that it need not wait. What fails now is tried again by ``begin``."""
        out: list[EngineOrder] = []
        if not self._done and not self._begun:
            self._lifeline.dial(now, out)
        return out

    def begin(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._begun or self._done:
            return out
        self._begun = self._lifeline.begun = True
        self._lifeline.dial(now, out)
        if self._context.first_message and not self._context.speech_goes_on:
            self._asks.add(Ask(Purpose.SAY, "first", self._context.first_message))
        if self._context.owed:
            self._asks.add(Ask(Purpose.TURN))
        self._go_on(now, out)
        return out

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done or not audio:
            return out
        lifeline = self._lifeline
        ready = lifeline.ready
        idle = ready and not self._speaking and self._timers.when(_Timer.DEAF) is None
        if self._line.hear(now, audio, idle):
            self._doubt(now)
        if ready:
            session = lifeline.session
            assert session is not None
            session.gave(now, self._format.duration_us(len(audio)))
            out.append(SayOnLink(session.name, append(audio)))
        return out

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done:
            return out
        match fact:
            case LinkSaid(name, text):
                self._link_said(now, name, text, out)
            case LinkOpened(name):
                self._lifeline.opened(now, name)
            case LinkClosed():
                self._lifeline.closed(now, fact, out)
            case Interrupted():
                self._interrupted(fact, out)
            case Played(item):
                self._played(item)
            case Say(item, text):
                self._say(item, text, out)
            case Keyed(text):
                self._keyed(now, text, out)
            case ToolAnswered(call, output, _, quiet):
                self._tool_answered(call, output, quiet, out)
            case TaskReturned(name, value) if self._guarding.owns(name):
                if (stops := self._guarding.returned(name, value, out)) is not None:
                    self._block(*stops, out)
            case TaskRaised(name, _, detail) if self._guarding.owns(name):
                self._guarding.raised(name, detail, out)
            case Ended():
                self._stop(out)
        self._go_on(now, out)
        return out

    def tick(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if not self._done:
            self._lifeline.tick(now, out)
        while not self._done and (timer := self._timers.due(now)) is not None:
            match timer:
                case _Timer.ASK:
                    self._lifeline.stalled(now, "no reply was begun", out)
                case _Timer.REPLY:
                    self._reply_silent(now, out)
                case _Timer.TURN:
                    self._not_answered()
                case _Timer.WORDS:
                    self._turns.late(out)
                case _Timer.DEAF:
                    self._deaf(now, out)
                case _Timer.GUARD:
                    self._guarding.tick(now, out)
                case _Timer.DELAY:
                    pass  # what waited for it is looked at below
        self._go_on(now, out)
        return out

    def _go_on(self, now: int, out: list[EngineOrder]) -> None:
        """The end of every step: whatever can now be done that could not before."""
        if self._done:
            return
        self._lifeline.go_on(now, out)
        self._ask_next(now, out)
        waiting = self._turns.waits_since
        self._watch(now, _Timer.WORDS, later(waiting, _WORDS_S) if waiting >= 0 else None)
        self._watch(now, _Timer.GUARD, self._guarding.deadline)

    def _watch(self, now: int, timer: _Timer, at: int | None) -> None:
        if at is None:
            self._timers.clear(timer)
        else:
            self._timers.set(timer, max(now + 1, at))

    def _stop(self, out: list[EngineOrder]) -> None:
        self._done = True
        self._lifeline.stop(out)
        self._guarding.stop(out)
        self._asks.drop()
        self._line.take()

    # --- what the lifeline asks --------------------------------------------------------------------------------------

    def name(self) -> str:
        """For a link, a task or a stretch of speech; never the same again."""
        self._names += 1
        return f"{self._context.prefix}{self._names}"

    def warn(self, code: str, detail: str, out: list[EngineOrder]) -> None:
        """Once for each code."""
        if code not in self._warned and len(self._warned) < _WARNINGS:
            self._warned.add(code)
            out.append(ProviderWarned(PROVIDER, code, detail))

    def give_up(self, detail: str, out: list[EngineOrder]) -> None:
        """Nothing more can be done."""
        self._stop(out)
        out.append(GaveUp(f"OpenAI Realtime: {detail}", self._spec.fallback_text))

    def leave(self, now: int, out: list[EngineOrder]) -> None:
        """This session hears and says nothing more: what it was in the middle of is to be done by another."""
        if self._speaking:
            self._speaking = False
            out.append(CallerStopped(self._line.last_voice(now)))
        active, asked = self._active, self._asked
        self._active = self._asked = None
        for timer in (_Timer.ASK, _Timer.REPLY, _Timer.TURN, _Timer.DEAF):
            self._timers.clear(timer)
        if asked is not None and not asked.moot:
            self._asks.again(asked)
        if active is not None:
            self._finish(now, active, out)
            if not active.silenced:
                self._ask_again(active)
            active.silenced = True
        elif self._unanswered:
            self._asks.add(Ask(Purpose.TURN))
        self._unanswered = False
        self._replies.clear()
        self._turns.give_up(out)

    def take_over(self, now: int, session: Session, out: list[EngineOrder]) -> None:
        """Tell the new session what was said, and what the caller says now."""
        for entry in self._memory.tell():
            self._tell(session, entry, out)
        self.refreshed(session, out)
        if self._line.voiced:
            self._doubt(now)

    def refreshed(self, session: Session, out: list[EngineOrder]) -> None:
        """Give it what the caller said before it could listen. It is still kept: nothing was committed yet."""
        for at, audio in self._line.kept():
            session.gave(at, self._format.duration_us(len(audio)))
            out.append(SayOnLink(session.name, append(audio)))

    def _tell(self, session: Session, entry: Entry, out: list[EngineOrder]) -> None:
        wire, name = self._wire, session.name
        if entry.kind is Kind.CALL:
            out.append(SayOnLink(name, wire.function_call(entry.call, entry.name, entry.text, entry.item)))
            if entry.output is not None:
                out.append(SayOnLink(name, wire.function_output(entry.call, entry.output)))
        elif entry.text:
            out.append(SayOnLink(name, wire.message(entry.kind.value, entry.text, entry.item)))
        elif entry.format is not None:
            audio = entry.audio
            if entry.format != self._format:
                audio = Transcoder(entry.format, self._format).process(audio)
            out.append(SayOnLink(name, wire.spoken(audio, entry.item)))

    def quiet(self, now: int) -> bool:
        """Nobody speaks, nothing is being thought of, and all that was said has been heard or never will be."""
        return not (
            self._speaking
            or self._line.voiced
            or self.busy
            or self._active is not None
            or self._turns.waits_since >= 0
            or any(not item.settled and item.until + us(_SETTLE_S) > now for item in self._items.values())
        )

    # --- does it hear? -----------------------------------------------------------------------------------------------

    def _doubt(self, now: int) -> None:
        """We hear a voice. Does the service?"""
        listening = self._lifeline.ready and not self._speaking
        if self._doubtful and listening and self._timers.when(_Timer.DEAF) is None:
            self._timers.set(_Timer.DEAF, later(now, _DEAF_S))

    def _deaf(self, now: int, out: list[EngineOrder]) -> None:
        """It does not: say it again, in the format that it is known to hear."""
        if not self._lifeline.ready:
            return
        was, self._format = self._format, L16_24K
        self._doubtful = False
        detail = f"no sign that {was.encoding.value} audio was heard within {_DEAF_S:g} s: changed to 24 kHz"
        self.warn("audio_ignored", detail, out)
        out.append(Switched("engine", PROVIDER, detail))
        self._line.change(self._format)
        self._lifeline.refresh(now, self._format, out)

    # --- what the service says ---------------------------------------------------------------------------------------

    def _link_said(self, now: int, name: str, text: str, out: list[EngineOrder]) -> None:
        session = self._lifeline.find(name)
        if session is None:
            return
        event = read(text)
        if event is None:
            self.warn("malformed", f"a message could not be read and was skipped: {text[:200]}", out)
            return
        kind = event.kind
        if kind == "session.created":
            self._lifeline.created(now, session, _expires_at(event), out)
        elif kind == "session.updated":
            self._lifeline.updated(now, session, out)
        elif kind == "error":
            self._error(now, session, event.error or Failure(), out)
        elif session is self._lifeline.session:
            act = _ACTS.get(kind)
            if act is not None:
                act(self, now, event, out)

    # --- the caller's turns ------------------------------------------------------------------------------------------

    def _speech_started(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        session = self._lifeline.session
        if self._speaking or session is None:
            return
        self._speaking = True
        self._doubtful = False
        self._timers.clear(_Timer.DEAF)
        at = now
        if event.audio_start_ms == 0:  # its audio begins in a voice: nobody knows how much of the padding is in it
            at = session.heard_at(0, now)
            voice = self._line.voice_at
            at = voice if at <= voice <= at + self._wire.padding_ms * 1000 else at
        elif event.audio_start_ms is not None:
            at = session.heard_at((event.audio_start_ms + self._wire.padding_ms) * 1000, now)
        self._started_at = max(0, at)
        out.append(CallerStarted(self._started_at))

    def _speech_stopped(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        session = self._lifeline.session
        if not self._speaking or session is None:
            return
        self._speaking = False
        at = self._line.last_voice(now)
        if event.audio_end_ms is not None and self._wire.silence_ms:
            at = session.heard_at((event.audio_end_ms - self._wire.silence_ms) * 1000, now)
        at = max(self._started_at, at)
        out.append(CallerStopped(at))
        turn = self._turns.spoken(now, event.item_id or "", at, out)
        sound = self._line.take()
        turn.heard_us = self._format.duration_us(len(sound))
        turn.entry = self._memory.heard(sound, self._format)
        self._unanswered = True
        self._timers.set(_Timer.TURN, later(now, _TURN_S))

    def _committed(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        if self._speaking:  # it was not said that the caller has stopped
            self._speech_stopped(now, Event(item_id=event.item_id), out)

    def _not_answered(self) -> None:
        """The service has not begun a reply of its own."""
        if self._unanswered and self._active is None:
            self._unanswered = False
            if not self._speaking:
                self._asks.add(Ask(Purpose.TURN))

    def _words_delta(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        self._turns.words_so_far(event.item_id or "", event.delta or "", out)

    def _words_done(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        if event.usage is not None:
            turn = self._turns.find(event.item_id or "")
            heard_us = 0 if turn is None else turn.heard_us
            out.append(Used(transcription_usage(event.usage, self._spec.transcription_model, heard_us)))
        self._turns.words(event.item_id or "", event.transcript or "", out)

    def _words_failed(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        detail = (event.error or Failure()).detail or "the words of a turn could not be written down"
        self._turns.no_words(event.item_id or "", detail, out)

    def _keyed(self, now: int, text: str, out: list[EngineOrder]) -> None:
        self._turns.typed(now, text, out)
        self._memory.add(Kind.USER, text)
        self._lifeline.send(self._wire.message("user", text), out)
        if not (self._speaking or self._unanswered):  # or the reply to what is being said answers this, too
            self._asks.add(Ask(Purpose.ANSWER))

    # --- asking for replies ------------------------------------------------------------------------------------------

    def _say(self, item: str, text: str, out: list[EngineOrder]) -> None:
        if len(self._asks) >= _ASKS or self._asks.characters + len(text) > self._settings.reply_chars:
            out.append(StageFailed("tts", f"{item}: more waits to be said than ever will be; left out"))
        elif text.strip():
            self._asks.add(Ask(Purpose.SAY, item, text))

    def _ask_next(self, now: int, out: list[EngineOrder]) -> None:
        if not self._lifeline.ready or not self._begun or self._active or self._asked:
            return
        ask = self._asks.first(self._speaking or self._unanswered)
        if ask is None:
            return
        if ask.not_before > now:
            self._timers.set(_Timer.DELAY, ask.not_before)
            return
        self._asks.remove(ask)
        if ask.purpose is Purpose.GO_ON:
            note = (
                "A technical fault cut you off. This is what you had said, as a JSON string; go on from there without"
                " repeating it: " + quoted(ask.text[-1000:])
            )
            self._lifeline.send(self._wire.message("system", note), out)
        for item in self._items.values():
            if item.blocked and not item.settled:  # nobody said that anything of it was heard
                self._forget_unheard(item, 0, "", out)
        ask.mark = self.name()
        ask.tries += 1
        self._asked = ask
        say = ask.text if ask.purpose is Purpose.SAY else None
        self._lifeline.send(self._wire.response_create(ask.mark, say), out)
        self._timers.set(_Timer.ASK, later(now, _ASK_S))

    def _response_created(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        response = event.response
        if response is None or not response.id or response.id in self._replies:
            return
        mark = (response.metadata or {}).get("patter")
        ask = self._asked
        if ask is not None and (mark == ask.mark or (mark is None and not self._unanswered)):
            self._asked = None
            self._timers.clear(_Timer.ASK)
        else:
            ask = None
        own = ask is None
        reply = Reply(response.id, ask, now)
        if own or (ask is not None and ask.purpose in (Purpose.TURN, Purpose.GO_ON)):
            self._unanswered = False
            self._timers.clear(_Timer.TURN)
            self._asks.drop(Purpose.TURN, Purpose.GO_ON)
        if self._active is not None:  # one that ended without a word
            self._finish(now, self._active, out)
        self._replies[reply.id] = reply
        while len(self._replies) > _ITEMS:
            del self._replies[next(iter(self._replies))]
        self._active = reply
        self._timers.set(_Timer.REPLY, later(now, self._settings.reply_s))
        if ask is not None and ask.moot:
            self._silence(reply, out)

    def _reply_silent(self, now: int, out: list[EngineOrder]) -> None:
        reply = self._active
        if reply is None:
            return
        since = reply.last + us(self._settings.reply_s)
        if since > now:
            self._timers.set(_Timer.REPLY, since)
            return
        out.append(StageFailed("reply", "took too long"))
        self._lifeline.stalled(now, "a reply was not continued", out)

    # --- what is spoken ----------------------------------------------------------------------------------------------

    def _speaking_item(self, now: int, event: Event, out: list[EngineOrder]) -> SpokenItem | None:
        """The item that this event's piece of speech belongs to; None when it is not to be heard."""
        reply = self._replies.get(event.response_id or "")
        if reply is None or reply.silenced:
            return None
        reply.last = now
        key = event.item_id or ""
        item = reply.items.get(key)
        if item is not None:
            return None if item.ended else item
        session = self._lifeline.session
        assert session is not None
        ask = reply.ask
        if ask is not None and ask.item:
            name = ask.item if not reply.items else f"{ask.item}.{len(reply.items) + 1}"
        else:
            name = f"{self.name()}:reply"
        item = SpokenItem(name, key, session.name, reply)
        if _is_free(ask):  # what the application wants said is its own business
            self._guarding.start(item)
        item.entry = self._memory.add(Kind.ASSISTANT, "")
        if not reply.items:
            reply.name = name
            if _is_free(ask):
                out.append(ReplyBegan(name))
        reply.items[key] = item
        self._items[name] = item
        while len(self._items) > _ITEMS:
            del self._items[next(iter(self._items))]
        out.append(Saying(name, ""))
        return item

    def _audio_delta(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        if not event.delta:
            return
        audio = audio_of(event.delta)
        if audio is None:
            self.warn("malformed", "audio that is no base64 was skipped", out)
            return
        item = self._speaking_item(now, event, out)
        if item is None:
            return
        self._timers.clear(_Timer.DEAF)
        if item.half:
            audio, item.half = item.half + audio, b""
        if len(audio) % self._format.bytes_per_sample:
            audio, item.half = audio[:-1], audio[-1:]
        if audio:
            item.reply.spoke = True
            duration = self._format.duration_us(len(audio))
            item.audio_us += duration
            item.until = max(item.until, now) + duration
            out.append(Speak(item.name, audio))

    def _transcript_delta(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        if event.delta and (item := self._speaking_item(now, event, out)) is not None:
            self._word(now, item, event.delta, out)

    def _transcript_done(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        """All the words at once: what the deltas lacked."""
        if not event.transcript:
            return
        item = self._speaking_item(now, event, out)
        if item is not None and event.transcript.startswith(item.text):
            self._word(now, item, event.transcript[len(item.text) :], out)

    def _word(self, now: int, item: SpokenItem, delta: str, out: list[EngineOrder]) -> None:
        limit = self._settings.reply_chars
        delta = delta[: max(0, limit - len(item.text))]
        if not delta:
            if len(item.text) >= limit and not item.reply.silenced:
                out.append(StageFailed("reply", f"longer than reply_chars ({limit}); cut"))
                self._silence(item.reply, out)
                self._finish(now, item.reply, out)
            return
        hit, sentences = self._guarding.words(item, delta)
        item.text += delta
        if item.entry is not None:
            item.entry.text = item.text
        if hit is not None:
            self._block(item, hit, out)
            return
        out.append(Worded(item.name, delta))
        self._check(now, item, sentences, out)

    def _check(self, now: int, item: SpokenItem, sentences: list[str], out: list[EngineOrder]) -> None:
        for sentence in sentences:
            names = [self.name() for _ in range(self._guarding.checks)]
            self._guarding.check(now, item, names, sentence, out)

    def _item_done(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        reply = self._replies.get(event.response_id or "")
        item = event.item
        if reply is None or item is None:
            return
        reply.last = now
        if item.type == "function_call":
            if item.status in (None, "completed"):
                self._call_tool(reply, item, out)
            return
        spoken = reply.items.get(item.id or "")
        if spoken is not None:
            self._end_item(now, spoken, out)

    def _end_item(self, now: int, item: SpokenItem, out: list[EngineOrder]) -> None:
        if item.ended:
            return
        item.ended = True
        if item.reply.silenced:
            return
        hit, rest = self._guarding.done(item)
        if hit is not None:
            self._block(item, hit, out)
            return
        self._check(now, item, rest, out)
        out.append(Said(item.name))
        out.append(SpeechEnded(item.name))

    def _finish(self, now: int, reply: Reply, out: list[EngineOrder]) -> None:
        for item in list(reply.items.values()):
            self._end_item(now, item, out)

    def _silence(self, reply: Reply, out: list[EngineOrder]) -> None:
        """Nothing more of this reply is to be heard; if it still goes on, it is stopped."""
        reply.silenced = True
        if reply is self._active and not reply.cancelled:
            reply.cancelled = self._lifeline.send(self._wire.response_cancel(reply.id), out)

    # --- the end of a reply ------------------------------------------------------------------------------------------

    def _response_done(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        response = event.response
        reply = self._replies.get((response.id if response is not None else "") or "")
        if response is None or reply is None:
            return
        if reply is self._active:
            self._active = None
            self._timers.clear(_Timer.REPLY)
        for item in response.output or []:
            if item.type == "function_call" and item.status in (None, "completed"):
                self._call_tool(reply, item, out)
        self._finish(now, reply, out)
        if response.usage is not None:
            out.append(Used(usage_of(response.usage, self._spec.model), reply.name))
        del self._replies[reply.id]
        if self._unanswered:
            self._timers.set(_Timer.TURN, later(now, _TURN_S / 2))
        self._batch_done(reply.id)
        details = response.status_details
        failure = details.error if details is not None and details.error is not None else Failure()
        reason = (details.reason if details is not None else "") or ""
        if reply.silenced:
            return
        if response.status == "failed":
            self._failed(now, reply, failure, out)
        elif response.status == "cancelled":
            if reason not in ("turn_detected", "client_cancelled") and not reply.spoke and not self._speaking:
                self._failed(now, reply, Failure(code="cancelled", message="the service gave up the reply"), out)
        elif response.status == "incomplete":
            out.append(ProviderWarned(PROVIDER, reason or "incomplete", _INCOMPLETE.get(reason, "a reply broke off")))
            if not reply.spoke and not reply.calls:
                self._failed(now, reply, Failure(code=reason or "incomplete", message="nothing was said"), out)
        elif not reply.spoke and not reply.calls:
            text = "".join(part.text or "" for item in response.output or [] for part in item.content or [])
            if text.strip() and _is_free(reply.ask):
                self._written(reply, text, out)
            else:
                self._failed(now, reply, Failure(code="empty", message="a reply without a word"), out)
        else:
            self._lifeline.worked()

    def _written(self, reply: Reply, text: str, out: list[EngineOrder]) -> None:
        """It answered in writing, which nobody hears."""
        blocked = self._guarding.blocked(text)
        ask = Ask(Purpose.SAY, f"{self.name()}:reply", text if blocked is None else blocked.replacement)
        out.append(ReplyBegan(ask.item))
        self._asks.add(ask)

    def _ask_again(self, reply: Reply) -> Ask:
        """This reply broke off."""
        ask = reply.ask
        if ask is not None and ask.purpose is Purpose.SAY:
            if reply.spoke:
                ask.item += "+"  # the item it began as has ended
        elif reply.spoke:
            tries = 0 if ask is None else ask.tries
            ask = Ask(Purpose.GO_ON, text="".join(item.text for item in reply.items.values()))
            ask.tries = tries
        elif ask is None:
            ask = Ask(Purpose.TURN)
        self._asks.again(ask)
        return ask

    def _failed(self, now: int, reply: Reply, failure: Failure, out: list[EngineOrder]) -> None:
        """A reply came to nothing, or broke off: once more, or an apology, or the end."""
        code = failure.code or failure.type or "failed"
        if code in FATAL:
            self.give_up(f"{failure.detail} ({FATAL[code]})", out)
            return
        wait = 0.3 * (reply.ask.tries if reply.ask is not None else 0)
        if "rate_limit" in code:
            wait = spoken_wait_s(failure.message or "") or 1.0
        tries = reply.ask.tries if reply.ask is not None else 1
        if tries <= _TRIES and wait <= _WAIT_S:
            self.warn(f"reply_{code}", f"{failure.detail}; asked again", out)
            ask = self._ask_again(reply)
            ask.tries = max(ask.tries, tries)
            ask.not_before = later(now, wait)
            return
        out.append(StageFailed("reply", failure.detail or "failed"))
        if reply.ask is not None and reply.ask.apology:
            self.give_up(f"not even an apology could be spoken: {failure.detail}", out)
        elif not reply.spoke:
            ask = Ask(Purpose.SAY, f"{self.name()}:sorry", self._spec.fallback_text, apology=True)
            if _is_free(reply.ask):
                out.append(ReplyBegan(ask.item))
            self._asks.add(ask)

    # --- errors ------------------------------------------------------------------------------------------------------

    def _error(self, now: int, session: Session, failure: Failure, out: list[EngineOrder]) -> None:
        code = failure.code or ""
        purpose = (failure.event_id or "").partition("_")[0]
        if code in _BENIGN or purpose in ("truncate", "cancel", "delete"):
            return  # it was done already, or there is nothing to do it to
        if code in FATAL:
            said = code if code == "invalid_api_key" else failure.detail  # some quote the key
            self._lifeline.fail(now, session, f"{said} ({FATAL[code]})", True, out)
        elif code == "session_expired":
            self._lifeline.fail(now, session, failure.detail, False, out)
        elif session.stage is Stage.TELLING and purpose in ("update", ""):
            self._lifeline.update_refused(now, session, failure, out)
        elif self._asked is not None and session is self._lifeline.session and _is_refusal(purpose, failure):
            self._ask_refused(now, self._asked, failure, out)
        else:
            self.warn(code or failure.type or "error", failure.detail, out)

    def _ask_refused(self, now: int, ask: Ask, failure: Failure, out: list[EngineOrder]) -> None:
        busy = _is_busy(failure)
        self._asked = None
        self._timers.clear(_Timer.ASK)
        if ask.moot or (busy and ask.purpose is Purpose.TURN):
            return  # the service answers after all
        if busy:
            ask.tries -= 1
            ask.not_before = later(now, 0.5)
            self._asks.again(ask)
            return
        self._failed(now, Reply("", ask, now), failure, out)

    # --- interruptions -----------------------------------------------------------------------------------------------

    def _interrupted(self, fact: Interrupted, out: list[EngineOrder]) -> None:
        item = self._items.get(fact.item)
        guarded = item is not None and item.blocked
        moot = not guarded and (not fact.item or self._speaking or (item is not None and item.reply is self._active))
        if item is not None:
            self._silence(item.reply, out)
            self._forget_unheard(item, fact.heard_us, fact.heard_text, out)
        if moot:  # whatever was to be said: what the caller says now is what counts
            self._asks.drop()
            if self._asked is not None:
                self._asked.moot = True
            if self._active is not None and not self._active.silenced:
                self._silence(self._active, out)

    def _forget_unheard(self, item: SpokenItem, heard_us: int, heard_text: str, out: list[EngineOrder]) -> None:
        """The model is to know what was heard, and nothing else."""
        if item.settled:
            return
        item.settled = True
        lifeline, entry = self._lifeline, item.entry
        if entry is not None:
            entry.text = heard_text
            if entry.item:  # a session was told of it, in writing
                before, told = self._memory.before(entry), entry.item
                entry.item = f"{told}b" if heard_text else ""
                if lifeline.send(self._wire.delete(told), out) and heard_text:
                    lifeline.send(self._wire.message("assistant", heard_text, entry.item, before), out)
            if not heard_text:
                self._memory.remove(entry)
        if self._is_here(item) and item.audio_us:
            lifeline.send(self._wire.truncate(item.item, min(max(0, heard_us), item.audio_us) // 1000), out)

    def _is_here(self, item: SpokenItem) -> bool:
        """Is it in the present session that it was spoken?"""
        session = self._lifeline.session
        return session is not None and bool(item.item) and item.session == session.name

    def _played(self, name: str) -> None:
        item = self._items.get(name)
        if item is not None:
            item.settled = True

    # --- guardrails --------------------------------------------------------------------------------------------------

    def _block(self, item: SpokenItem, guard: GuardSpec, out: list[EngineOrder]) -> None:
        """This must not be said."""
        reply = item.reply
        if reply.silenced:
            return
        for one in reply.items.values():
            one.blocked = True
            one.watch = one.sentences = None
        self._silence(reply, out)
        out.extend(CutShort(one.name, guard.name) for one in reply.items.values() if not one.settled)
        for one in reply.items.values():
            if not one.audio_us and self._is_here(one):  # no sound of it, only words
                self._lifeline.send(self._wire.delete(one.item), out)
                one.settled = True
                if one.entry is not None:
                    self._memory.remove(one.entry)
        note = (
            f"A guardrail ({guard.name}) stopped what you were saying. Do not say it again in other words."
            " The caller was told this instead, as a JSON string: " + quoted(guard.replacement)
        )
        self._memory.add(Kind.SYSTEM, note)
        self._lifeline.send(self._wire.message("system", note), out)
        if guard.replacement.strip():
            self._asks.add(Ask(Purpose.SAY, f"{self.name()}:guard", guard.replacement))

    # --- tools -------------------------------------------------------------------------------------------------------

    def _arguments_done(self, now: int, event: Event, out: list[EngineOrder]) -> None:
        """The arguments of a call are whole, or it was broken off: that the item is done says which."""
        reply = self._replies.get(event.response_id or "")
        if reply is not None:
            reply.last = now

    def _call_tool(self, reply: Reply, item: CallItem, out: list[EngineOrder]) -> None:
        call, name, arguments = item.call_id or "", item.name or "", item.arguments or "{}"
        if not self._tools.is_new(call):
            return
        fits = self._tools.fits(name, arguments)
        entry = self._memory.called(call, name[:200], arguments if fits else "{}")
        if fits and not reply.silenced:
            reply.calls += 1
            self._tools.expect(call, reply.id, entry)
            out.append(CallTool(call, name, arguments))
            return
        entry.output = _INTERRUPTED if reply.silenced else _TOO_MUCH
        self._lifeline.send(self._wire.function_output(call, entry.output), out)
        if not reply.silenced:
            reply.calls += 1
            self.warn("tool_refused", f"{name[:200]}: too many tools at a time, or too long", out)
            self._asks.add(Ask(Purpose.ANSWER))

    def _tool_answered(self, call: str, output: str, quiet: bool, out: list[EngineOrder]) -> None:
        batch = self._tools.answered(call, output, quiet)
        if batch is not None:
            self._lifeline.send(self._wire.function_output(call, output), out)
            self._batch_done(batch)

    def _batch_done(self, batch: str) -> None:
        """Has everything come that the model waits for?"""
        if batch in self._replies or not self._tools.finish(batch):
            return
        if not (self._speaking or self._unanswered):  # or the reply to what is being said knows of it
            self._asks.add(Ask(Purpose.ANSWER))


_INTERRUPTED = '{"error":"not done: the caller interrupted"}'
_TOO_MUCH = '{"error":"not done: too many tools at a time, or too long"}'


def _expires_at(event: Event) -> int:
    return (event.session.expires_at or 0) if event.session is not None else 0


def _is_free(ask: Ask | None) -> bool:
    """May the model say what it likes?"""
    return ask is None or ask.purpose is not Purpose.SAY


def _is_busy(failure: Failure) -> bool:
    """Another reply is under way."""
    return failure.code == "conversation_already_has_active_response" or (
        not failure.code and "active response" in (failure.message or "")
    )


def _is_refusal(purpose: str, failure: Failure) -> bool:
    """Is this about a reply we asked for?"""
    return purpose == "create" or (not purpose and (_is_busy(failure) or "rate_limit" in (failure.code or "")))


_INCOMPLETE = {
    "max_output_tokens": "a reply broke off: it was longer than max_output_tokens",
    "content_filter": "a reply broke off: the service's own filter stopped it",
}

_Act = Callable[[OpenAIRealtimeEngine, int, Event, list[EngineOrder]], None]
_ACTS: dict[str, _Act] = {
    "input_audio_buffer.speech_started": OpenAIRealtimeEngine._speech_started,
    "input_audio_buffer.speech_stopped": OpenAIRealtimeEngine._speech_stopped,
    "input_audio_buffer.committed": OpenAIRealtimeEngine._committed,
    "conversation.item.input_audio_transcription.delta": OpenAIRealtimeEngine._words_delta,
    "conversation.item.input_audio_transcription.completed": OpenAIRealtimeEngine._words_done,
    "conversation.item.input_audio_transcription.failed": OpenAIRealtimeEngine._words_failed,
    "response.created": OpenAIRealtimeEngine._response_created,
    "response.output_audio.delta": OpenAIRealtimeEngine._audio_delta,
    "response.output_audio_transcript.delta": OpenAIRealtimeEngine._transcript_delta,
    "response.output_audio_transcript.done": OpenAIRealtimeEngine._transcript_done,
    "response.output_item.done": OpenAIRealtimeEngine._item_done,
    "response.function_call_arguments.done": OpenAIRealtimeEngine._arguments_done,
    "response.done": OpenAIRealtimeEngine._response_done,
}
