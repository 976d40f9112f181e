"""A call with an ElevenLabs agent: the caller's audio to it, its speech back, and who has the word.

ElevenLabs decides whose turn it is and tells it afterwards: ``interruption`` when the caller barged in,
``user_transcript`` when their turn was over. No event says that the agent has finished: an item ends when no more of
its audio has come for a moment. Our own voice detector dates the caller's turns, and interrupts only where ElevenLabs
lets a caller talk on for long.

Sources: see ``wire``. That audio with the event id of an interruption may belong to the reply to it is
elevenlabs/elevenlabs-python #829.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from ...audio.formats import AudioFormat
from ...audio.transcode import Transcoder
from ...call.words import LinkClosed, LinkOpened, LinkSaid, SayOnLink, TaskRaised, TaskReturned
from ...settings import CallSettings, us
from ..ears import Ears
from ..engine import (
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    Ended,
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
    StageFailed,
    Switched,
    ToolAnswered,
    Used,
    Worded,
)
from ..usage import Usage
from . import wire
from .dialler import Dialler
from .memory import Memory
from .options import PROVIDER, ElevenLabsConvAISpec

__all__ = ["ElevenLabsConvAIEngine", "refuses"]

_QUIET_US = 700_000
"""No audio for so long ends an item. Speech comes faster than it is played, in pieces a few tenths of a second apart;
later, "hang up after the goodbye" would wait for it."""
_VOICE_US = 2_000_000
"""An interruption after which neither words nor silence come: nobody spoke."""
_HEAD_START_US = 700_000
"""ElevenLabs knows better than energy does what is an interruption; it has so long to say so."""
_DECIDED_US = 60_000_000
"""``voiced_us`` once it has: more than any threshold."""
_EARLY_US = 5_000_000
"""The caller's audio kept while there is no conversation; of more, the newest."""
_OUTAGE_US = 15_000_000
"""Without a conversation for so long, callers think the line is dead."""
_BACKOFF_US = 250_000
"""Before the first new try; doubled each time."""
_TRIES = 4
"""In a row, before we give up."""
_STEADY_US = 30_000_000
"""A conversation that lasted so long was not one more failure in a row."""
_ITEM_US = 600_000_000
"""Speech in one item: an agent that runs away."""
_TEXT = 20_000
"""Characters of any one text of ElevenLabs': a very long answer, and no more."""
_TOOLS = 16
"""Tools at work at once."""
_REMEMBERED = 256
"""Tool calls."""
_UNHEARD = 64
"""Items remembered as perhaps still playing."""
_HELD = 256
"""Messages that came before the call was ready for them."""
_PIECE = 8_000
"""Bytes of kept audio in a message."""

_GUARDED = (
    "guardrails do not work with ElevenLabsConvAI: its speech may come before its words are known, and it cannot be "
    "told what to say instead; set them up in the agent's dashboard (Guardrails), or use another engine"
)
_WORD = re.compile(r"\w")
_Handler: TypeAlias = Callable[[int, wire.ServerEvent, list[EngineOrder]], None]


def refuses(context: EngineContext) -> str:
    """Why such a call cannot be had with this engine; '' when it can."""
    return _GUARDED if context.guards else ""


class ElevenLabsConvAIEngine:
    """One call's.

    ``hears`` and ``speaks`` are the line's format until ElevenLabs has said what the agent's are. Tools must be client
    tools in the agent's dashboard: nothing about them is sent, and one that is not known there is never called. A
    ``Say`` is not spoken, for ElevenLabs cannot be told to say a line word for word.
    """

    def __init__(self, context: EngineContext, spec: ElevenLabsConvAISpec, settings: CallSettings) -> None:
        self._context = context
        self._spec = spec
        self._settings = settings
        self._dialler = Dialler(spec, context.prefix)
        self._memory = Memory(context.past)
        self._hears = context.line
        self._speaks = context.line
        self._ears = Ears(context.line, settings, context.vad)
        self._begun = False
        self._done = False
        self._live = False  # there is a conversation
        self._since = 0  # ... since then
        self._conversations = 0
        self._fails = 0
        self._outage_by: int | None = None
        self._redial_at: int | None = None
        self._held: deque[str] = deque(maxlen=_HELD)
        self._early: deque[bytes] = deque()
        self._early_bytes = 0
        self._malformed = 0
        self._warned: set[str] = set()
        # the caller
        self._told = False  # that they speak
        self._started = 0
        self._stopped = -1  # of the turn whose words are still to come
        self._decided = False  # ElevenLabs says that they interrupt
        self._voice_until: int | None = None
        self._reply_by: int | None = None  # they have spoken, and nobody has answered
        self._keyed = ""
        # the agent
        self._item = ""
        self._newest_item = ""
        self._items = 0
        self._worded = False
        self._item_us = 0
        self._odd = b""
        self._stopped_item = False  # what is open was interrupted: new audio belongs to the next
        self._quiet_at: int | None = None
        self._unheard: dict[str, None] = {}  # items that may still be playing
        self._newest = -1  # event id of audio
        self._cut_below = -1
        self._muted = False  # until there are new words
        self._skip = False  # and the next words, with their audio, are not to be heard
        self._tools: dict[str, tuple[str, str, str]] = {}  # our name -> link, ElevenLabs' name, the tool's
        self._asked_for: dict[tuple[str, str], None] = {}  # so that none is done twice
        self._tool_count = 0
        self._events: dict[str, _Handler] = {
            "audio": self._on_audio,
            "agent_response": self._on_response,
            "agent_response_correction": self._on_correction,
            "interruption": self._on_interruption,
            "user_transcript": self._on_transcript,
            "tentative_user_transcript": self._on_tentative,
            "conversation_initiation_metadata": self._on_metadata,
            "client_tool_call": self._on_tool,
            "agent_tool_response": self._on_tool_response,
            "ping": self._on_ping,
            "guardrail_triggered": self._on_guardrail,
            "error": self._on_error,
        }

    # --- what an engine says of itself -------------------------------------------------------------------------------

    @property
    def hears(self) -> AudioFormat:
        return self._hears

    @property
    def speaks(self) -> AudioFormat:
        return self._speaks

    @property
    def voiced_us(self) -> int:
        if not self._told:
            return 0
        return _DECIDED_US if self._decided else max(0, self._ears.voiced_us - _HEAD_START_US)

    @property
    def says(self) -> bool:
        return False

    @property
    def busy(self) -> bool:
        return bool(self._item) or (self._reply_by is not None and not self._tools)

    @property
    def deadline(self) -> int | None:
        if self._done:
            return None
        at = self._dialler.deadline if self._begun else None
        for one in (self._outage_by, self._redial_at, self._quiet_at, self._voice_until, self._reply_by):
            if one is not None and (at is None or one < at):
                at = one
        return at

    # --- the call ----------------------------------------------------------------------------------------------------

    def warm(self, now: int) -> list[EngineOrder]:
        """Dial before the call begins. The conversation itself, which costs money, begins with ``begin``."""
        out: list[EngineOrder] = []
        if not self._begun and not self._done and not self._dialler.busy:
            out += self._dialler.dial(now)
        return out

    def begin(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._begun or self._done:
            return out
        self._begun = True
        if reason := refuses(self._context):
            self._give_up(now, reason, out)
            return out
        self._outage_by = now + _OUTAGE_US
        if not self._dialler.busy:
            out += self._dialler.dial(now)
        elif self._dialler.open:
            self._introduce(now, out)
            while self._held and not self._done:
                self._said(now, self._held.popleft(), out)
        else:
            self._dialler.begun(now)
        return out

    def hear(self, now: int, audio: bytes) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done or not audio:
            return out
        for event in self._ears.hear(now, audio):
            if type(event) is CallerStarted:
                self._caller_starts(event.at, out)
            elif self._told:
                self._caller_stops(event.at, out)
        if self._live:
            out.append(SayOnLink(self._dialler.name, wire.audio_message(audio)))
        else:
            self._keep(audio)
        return out

    def handle(self, now: int, fact: EngineFact) -> list[EngineOrder]:
        deadline = self.deadline
        out = self.tick(now) if deadline is not None and deadline <= now else []
        if self._done:
            return out
        kind = type(fact)
        if kind is LinkSaid:
            if fact.name == self._dialler.name:  # type: ignore[union-attr]
                self._said(now, fact.text, out)  # type: ignore[union-attr]
            return out
        match fact:
            case Interrupted(item, _, text):
                self._interrupted(item, text, out)
            case Played(item):
                self._unheard.pop(item, None)
                self._memory.played(item)
            case Keyed(text):
                self._pressed(now, text, out)
            case Say(item):
                self._warn("cannot_say", "an ElevenLabs agent cannot be told to say a line word for word", out)
                out.append(SpeechEnded(item))
            case ToolAnswered(call, output, error):
                self._answered(call, output, error, out)
            case LinkOpened():
                if self._dialler.opened(fact) and self._begun:
                    self._introduce(now, out)
            case LinkClosed():
                if (why := self._dialler.closed(fact)) is not None:
                    self._lost(now, why, out)
            case TaskReturned() | TaskRaised():
                orders, trouble = self._dialler.returned(fact)
                out += orders
                if trouble is not None:
                    self._lost(now, trouble, out)
            case Ended():
                self._end(now, out)
        return out

    def tick(self, now: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        if self._done:
            return out
        if _due(self._quiet_at, now):
            self._quiet(out)
        if _due(self._voice_until, now):
            self._voice_until = None
            if not self._ears.speaking:
                self._caller_stops(now, out)
        if _due(self._reply_by, now):
            self._reply_by = None
        if _due(self._outage_by, now):
            self._give_up(now, "there was no conversation with the ElevenLabs agent for too long", out)
        elif self._begun and _due(self._dialler.deadline, now):
            out += self._dialler.drop()
            self._lost(now, wire.Trouble("ElevenLabs did not answer in time"), out)
        elif _due(self._redial_at, now):
            self._redial_at = None
            out += self._dialler.dial(now)
        return out

    # --- conversations -----------------------------------------------------------------------------------------------

    def _introduce(self, now: int, out: list[EngineOrder]) -> None:
        context, spec = self._context, self._spec
        first: str | None = context.first_message or None
        if self._resumed:
            first = "" if first is not None or spec.allow_first_message_override else None
        ulaw = spec.allow_audio_override and context.line.rate == 8000
        text, overrides = wire.client_data(spec, context.system_prompt, first, context.variables, ulaw)
        self._skip = self._muted = self._resumed and first is None
        self._dialler.overrides = overrides
        self._dialler.begun(now)
        out.append(SayOnLink(self._dialler.name, text))

    @property
    def _resumed(self) -> bool:
        """The caller has been greeted."""
        return self._conversations > 0 or self._context.speech_goes_on

    def _on_metadata(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.conversation_initiation_metadata_event
        if data is None or self._live:
            return
        hears = wire.audio_format(data.user_input_audio_format, ours=True)
        speaks = wire.audio_format(data.agent_output_audio_format, ours=False)
        if hears is None or speaks is None:
            wrong = data.user_input_audio_format if hears is None else data.agent_output_audio_format
            detail = f"the agent's audio format {wrong[:40]!r} cannot be used: choose u-law 8000 Hz or PCM 16000 Hz"
            self._give_up(now, f"{detail} for its input and its output in ElevenLabs' dashboard", out)
            return
        self._dialler.settled()
        self._outage_by = None
        self._live, self._since = True, now
        resumed = self._resumed
        self._conversations += 1
        self._newest = self._cut_below = -1  # ids are a conversation's own
        name = self._dialler.name
        if resumed and (past := self._memory.text):
            out.append(SayOnLink(name, wire.contextual_update(f"This call is already going on. So far:\n{past}")))
        self._speaks = speaks
        self._flush_early(name, hears, out)
        if hears != self._hears:
            self._hears = hears
            self._ears = Ears(hears, self._settings, self._context.vad)
            if self._told:
                self._caller_stops(now, out)
        if self._conversations == 1 and self._context.owed:
            self._skip = self._muted = False
            self._reply_by = now + us(self._settings.reply_s)
            out.append(SayOnLink(name, wire.user_message(self._context.owed)))
        if self._conversations > 1:
            out.append(Switched("engine", PROVIDER, "a new conversation continues the one that was lost"))
            if self._reply_by is not None and (text := self._memory.last_said):
                self._skip = self._muted = False  # rather a second greeting than an answer taken for one
                out.append(SayOnLink(name, wire.user_message(text)))

    def _flush_early(self, name: str, hears: AudioFormat, out: list[EngineOrder]) -> None:
        """The caller's audio from before there was a conversation, in the format it wants."""
        convert = Transcoder(self._hears, hears)
        audio = convert.process(b"".join(self._early))
        self._early.clear()
        self._early_bytes = 0
        pieces = [audio[at : at + _PIECE] for at in range(0, len(audio), _PIECE)]
        out += [SayOnLink(name, wire.audio_message(piece)) for piece in pieces]

    def _keep(self, audio: bytes) -> None:
        self._early.append(audio)
        self._early_bytes += len(audio)
        while self._early and self._hears.duration_us(self._early_bytes) > _EARLY_US:
            self._early_bytes -= len(self._early.popleft())

    def _lost(self, now: int, why: wire.Trouble, out: list[EngineOrder]) -> None:
        was_live = self._live
        self._use(now, out)
        self._live = False
        self._held.clear()
        if not self._begun:
            return  # it was only being warmed; ``begin`` dials again
        self._close_item(out)
        if why.over and was_live:
            self._agent_left(now, why.detail, out)
            return
        if was_live and now - self._since >= _STEADY_US:
            self._fails = 0
        self._fails += 1
        if why.fatal or self._fails >= _TRIES:
            self._give_up(now, why.detail, out)
            return
        if self._outage_by is None:
            self._outage_by = now + _OUTAGE_US
        self._redial_at = now + (_BACKOFF_US << (self._fails - 1))
        out.append(ProviderWarned(PROVIDER, "lost", why.detail))

    def _agent_left(self, now: int, detail: str, out: list[EngineOrder]) -> None:
        """Its own decision, after its own goodbye: ours to hang up once that is heard."""
        self._use(now, out)
        out += self._dialler.drop()
        self._close_item(out)
        out.append(HungUp(detail))
        self._finish()

    def _give_up(self, now: int, detail: str, out: list[EngineOrder]) -> None:
        self._use(now, out)
        out += self._dialler.drop()
        self._close_item(out)
        out.append(GaveUp(detail, self._spec.apology))
        self._finish()

    def _end(self, now: int, out: list[EngineOrder]) -> None:
        self._use(now, out)
        out += self._dialler.drop()
        self._finish()

    def _finish(self) -> None:
        self._done, self._live = True, False
        self._item = ""
        self._reply_by = None
        self._told = False
        self._tools.clear()
        self._early.clear()

    def _use(self, now: int, out: list[EngineOrder]) -> None:
        """ElevenLabs bills by the time a conversation lasts."""
        if self._live:
            out.append(Used(Usage(stage="llm", provider=PROVIDER, audio_us=max(0, now - self._since))))

    # --- the caller --------------------------------------------------------------------------------------------------

    def _caller_starts(self, at: int, out: list[EngineOrder]) -> None:
        if not self._told:
            self._told, self._started = True, at
            out.append(CallerStarted(at))

    def _caller_stops(self, at: int, out: list[EngineOrder]) -> None:
        self._decided = False
        self._voice_until = None
        if self._told:
            self._told = False
            self._stopped = max(at, self._started)
            out.append(CallerStopped(self._stopped))

    def _turn_over(self, now: int, out: list[EngineOrder]) -> None:
        """ElevenLabs says that the caller has finished, usually before our detector has waited for long enough."""
        closed = self._ears.close(now)
        self._caller_stops(now if closed is None else closed[0], out)

    def _on_transcript(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.user_transcription_event
        if data is None:
            return
        self._turn_over(now, out)
        self._skip = self._muted = False
        text = data.user_transcript.strip()[:_TEXT]
        self._reply_by = now + us(self._settings.reply_s)
        if text == self._keyed:
            self._keyed = ""  # told when it was pressed
        elif _WORD.search(text):  # "..." is a caller who says nothing
            out.append(CallerSaid(text, True, self._stopped))
            self._stopped = -1
            self._memory.user(text)

    def _on_tentative(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.tentative_user_transcription_event
        if data is not None and _WORD.search(data.user_transcript):
            out.append(CallerSaid(data.user_transcript.strip()[:_TEXT], False))

    def _pressed(self, now: int, text: str, out: list[EngineOrder]) -> None:
        """As context, so that the agent knows what they are, and as a message, for context alone it does not answer."""
        out.append(CallerSaid(text))
        self._memory.user(text)
        self._reply_by = now + us(self._settings.reply_s)
        if self._live:
            self._keyed = text
            name = self._dialler.name
            note = f"The caller pressed keys on the telephone's keypad: {text}"
            out.append(SayOnLink(name, wire.contextual_update(note)))
            out.append(SayOnLink(name, wire.user_message(text)))

    def _on_interruption(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.interruption_event
        if data is None:
            return
        self._skip = False
        if data.event_id is None:
            self._muted = True
        else:
            # Audio of that very id is what was cut if some of it came before; else it is the reply's.
            cut = data.event_id + (1 if self._newest >= data.event_id else 0)
            self._cut_below = max(self._cut_below, cut)
            self._muted = False
        if not self._item and not self._unheard:
            return  # nothing to interrupt
        if self._item:
            self._stopped_item = True
            self._quiet_at = now + _QUIET_US
        self._caller_starts(now, out)
        self._decided = True
        self._voice_until = now + _VOICE_US

    # --- the agent ---------------------------------------------------------------------------------------------------

    def _on_audio(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.audio_event
        if data is None or not data.audio_base_64:
            return
        if data.event_id is not None:
            if data.event_id < self._cut_below:
                return
            self._newest = max(self._newest, data.event_id)
        if self._muted:
            return
        if self._item and self._stopped_item:
            self._close_item(out)
        if self._decided:
            self._turn_over(now, out)
        if not self._item:
            self._open_item("", out)
        self._quiet_at = now + _QUIET_US
        audio = data.audio_base_64
        if self._speaks.bytes_per_sample == 2:
            if self._odd:
                audio = self._odd + audio
            self._odd = audio[-1:] if len(audio) % 2 else b""
            if self._odd:
                audio = audio[:-1]
        if not audio:
            return
        self._item_us += self._speaks.duration_us(len(audio))
        if self._item_us > _ITEM_US:
            self._warn("too_long", "the agent speaks without an end: the rest is left out", out)
            return
        out.append(Speak(self._item, audio))

    def _on_response(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.agent_response_event
        text = data.agent_response.strip()[:_TEXT] if data is not None else ""
        if not text:
            return
        if self._skip:
            self._skip = False
            return
        self._muted = False
        self._cut_below = min(self._cut_below, self._newest)  # what has the id of the interruption is the reply, now
        if self._item and (self._worded or self._stopped_item):
            self._close_item(out)
        if self._told:
            self._turn_over(now, out)
        if self._item:
            self._worded = True
            out.append(Worded(self._item, text))
        else:
            self._open_item(text, out)
            self._quiet_at = now + us(self._settings.tts_s)
        self._memory.agent(self._item, text)
        wanted = self._context.first_message
        fresh = self._items == 1 and self._conversations == 1 and not self._context.speech_goes_on
        if fresh and wanted and "{{" not in wanted and text.split() != wanted.split():
            detail = "the agent did not say our first message: switch on Security > Overrides > First message"
            self._warn("override_ignored", detail, out)

    def _open_item(self, text: str, out: list[EngineOrder]) -> None:
        self._items += 1
        greeting = self._items == 1 and self._context.first_message and not self._context.speech_goes_on
        self._item = self._newest_item = "first" if greeting else f"{self._context.prefix}i{self._items}"
        self._unheard[self._item] = None
        if len(self._unheard) > _UNHEARD:
            del self._unheard[next(iter(self._unheard))]
        self._worded = bool(text)
        self._item_us = 0
        self._odd = b""
        self._stopped_item = False
        self._reply_by = None
        out.append(ReplyBegan(self._item))
        out.append(Saying(self._item, text))

    def _close_item(self, out: list[EngineOrder]) -> None:
        """No more audio for it. One that was interrupted was not all said."""
        self._quiet_at = None
        if self._item:
            if not self._stopped_item:
                out.append(Said(self._item))
            out.append(SpeechEnded(self._item))
            self._item = ""

    def _quiet(self, out: list[EngineOrder]) -> None:
        if self._item and not self._item_us and not self._stopped_item:
            out.append(StageFailed("tts", "ElevenLabs sent no audio for what the agent said"))
        self._close_item(out)

    def _interrupted(self, item: str, text: str, out: list[EngineOrder]) -> None:
        """Of this item no more is heard. Where that was not ElevenLabs' decision, it does not know, and sends on."""
        self._unheard.pop(item, None)
        self._memory.heard(item, text)
        if not item and self._reply_by is not None:  # nor is what it is thinking of to be heard
            self._reply_by = None
            self._skip = self._muted = True
        if item and item == self._newest_item and not self._decided:
            self._muted = True
            if self._live:
                note = f"Your last answer was cut off. The caller heard only this of it: {text or '(nothing)'}"
                out.append(SayOnLink(self._dialler.name, wire.contextual_update(note)))
        if item and item == self._item:
            self._item = ""
            self._quiet_at = None

    def _on_correction(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.agent_response_correction_event
        if data is not None:
            original, corrected = data.original_agent_response, data.corrected_agent_response
            self._memory.corrected(original.strip()[:_TEXT], corrected.strip()[:_TEXT])

    # --- tools -------------------------------------------------------------------------------------------------------

    def _on_tool(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.client_tool_call
        if data is None or not data.tool_name or not data.tool_call_id:
            return
        link = self._dialler.name
        if (link, data.tool_call_id) in self._asked_for:
            return
        self._asked_for[(link, data.tool_call_id)] = None
        if len(self._asked_for) > _REMEMBERED:
            del self._asked_for[next(iter(self._asked_for))]
        arguments = bytes(data.parameters).decode("utf-8", "replace")
        if len(self._tools) >= _TOOLS or len(arguments) > _TEXT:
            out.append(SayOnLink(link, wire.tool_result(data.tool_call_id, "too much is asked at once", True)))
            return
        self._tool_count += 1
        call = f"{self._context.prefix}t{self._tool_count}"
        self._tools[call] = (link, data.tool_call_id, data.tool_name)
        out.append(CallTool(call, data.tool_name, arguments))

    def _answered(self, call: str, output: str, error: bool, out: list[EngineOrder]) -> None:
        known = self._tools.pop(call, None)
        if known is None or not self._live:
            return
        link, theirs, tool = known
        name = self._dialler.name
        if link == name:
            out.append(SayOnLink(name, wire.tool_result(theirs, output, error)))
        else:  # asked for in the conversation before
            out.append(SayOnLink(name, wire.contextual_update(f"The tool {tool} returned: {output}")))

    def _on_tool_response(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.agent_tool_response
        if data is not None and data.is_error and data.tool_type != "client":
            out.append(ProviderWarned(PROVIDER, "tool_failed", f"the agent's own tool {data.tool_name[:100]!r} failed"))

    # --- the link ----------------------------------------------------------------------------------------------------

    def _said(self, now: int, text: str, out: list[EngineOrder]) -> None:
        if not self._begun:
            self._held.append(text)
            return
        event = wire.parse(text)
        if event is None:
            self._malformed += 1
            self._warn("malformed", "ElevenLabs sent what is not its protocol; it is skipped", out)
            if self._malformed >= self._settings.malformed:
                self._malformed = 0
                out += self._dialler.drop(1002)
                self._lost(now, wire.Trouble("ElevenLabs did not speak its protocol"), out)
            return
        handler = self._events.get(event.type)
        if handler is not None:
            handler(now, event, out)

    def _on_ping(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        data = event.ping_event
        if data is not None and data.event_id is not None:
            out.append(SayOnLink(self._dialler.name, wire.pong(data.event_id)))

    def _on_guardrail(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        out.append(ProviderWarned(PROVIDER, "guardrail", "a guardrail of the agent's dashboard was triggered"))

    def _on_error(self, now: int, event: wire.ServerEvent, out: list[EngineOrder]) -> None:
        """A close follows, and is judged by it."""
        self._dialler.error = event.error_event

    def _warn(self, code: str, detail: str, out: list[EngineOrder]) -> None:
        """Once a call."""
        if code not in self._warned:
            self._warned.add(code)
            out.append(ProviderWarned(PROVIDER, code, detail))


def _due(at: int | None, now: int) -> bool:
    return at is not None and at <= now
