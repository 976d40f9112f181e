"""ElevenLabs' hosted agents, from their side: a conversation on one WebSocket, scripted, with the faults of a real one.

What a caller says is not recognised but scripted: each time the voice on the line ends, the next of ``heard`` was said
and the next of ``replies`` answers it. Everything else is as the service does it: which events come in which order,
what closes a conversation and how (see ``engines/elevenlabs_convai/wire.py`` for sources).
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from ..audio.formats import AudioFormat, Encoding
from ..audio.tones import tone
from ..audio.transcode import Transcoder
from ..audio.vad import EnergyVad, SpeechStarted
from .provider_peer import PeerClose, PeerDrop, PeerOrder, PeerRefuse, PeerSay

__all__ = ["ConvAIPeer", "ConvAIPlan", "ConvAITool", "speech"]

_CHARACTER_MS = 60  # of speech: about 1,000 a minute
_CHUNK_MS = 240
_CHUNK_EVERY_US = 40_000  # several times faster than it is played
_START_US = 60_000  # to the metadata
_INSIST_MS = 300  # a voice over the agent's own for so long is an interruption
_ENCODINGS = {"pcm": Encoding.L16, "ulaw": Encoding.PCMU, "alaw": Encoding.PCMA}


@functools.lru_cache(maxsize=64)
def speech(text: str, format: AudioFormat, ms_per_character: int = _CHARACTER_MS) -> bytes:
    """Something as long as the text takes to say."""
    pcm = tone(220, max(ms_per_character, len(text) * ms_per_character), format.rate)
    return Transcoder(AudioFormat(Encoding.L16, format.rate), format).process(pcm)


def format_of(name: str) -> AudioFormat:
    """A format by ElevenLabs' name."""
    encoding, _, rate = name.partition("_")
    return AudioFormat(_ENCODINGS[encoding], int(rate))


class ConvAITool(msgspec.Struct, frozen=True):
    """A reply that calls a client tool first. What the tool returned is said behind ``text``."""

    name: str
    parameters: dict[str, Any] = {}
    text: str = ""


class ConvAIPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is set up, what it will say, and what will go wrong."""

    agent_id: str = "agent_1"
    key: str = "xi-key"  # '' for a public agent
    signature: str = ""  # of a signed URL that is good
    output_format: str = "ulaw_8000"
    input_format: str = "ulaw_8000"
    first_message: str = "Hello, this is the agent."
    overrides: tuple[str, ...] = ("prompt", "first_message", "language", "voice_id", "output_format", "input_format")
    ignores_overrides: bool = False  # rather than refuse those that are not allowed
    needs: tuple[str, ...] = ()  # dynamic variables
    heard: tuple[str, ...] = ()
    replies: tuple[str | ConvAITool, ...] = ()
    think_us: int = 400_000
    ping_every_us: int = 2_000_000
    audio_first: bool = False  # its first piece comes before the words
    tentative: bool = False
    event_base: int = 1
    # faults
    refuse: int = 0
    refuse_body: bytes = b'{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}'
    start_us: int = _START_US
    drop_after_us: int = 0  # vanish so long after the metadata
    drop_in_reply: int = -1  # vanish in the middle of this reply
    close_after_reply: int = -1  # end the conversation after this reply
    close: tuple[int, str] = (1000, "")  # ... like this
    error: Mapping[str, Any] | None = None  # an error event before that close
    mute_reply: int = -1  # words without audio
    odd_cut: int = 0  # chunks are cut after so many bytes, in the middle of samples
    garbage: bool = False  # what is no message, between the messages


class ConvAIPeer:
    """One conversation. What came is kept for whoever wants to look."""

    def __init__(self, plan: ConvAIPlan | None = None) -> None:
        self.plan = plan if plan is not None else ConvAIPlan()
        self.target = ""
        self.headers: dict[str, str] = {}
        self.initiation: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []  # all but audio
        self.audio = bytearray()
        self.pongs: list[int] = []
        self.gone = False
        self._queue: list[tuple[int, int, str, Any]] = []
        self._count = 0
        self._now = 0
        self._started = False
        self._event = self.plan.event_base - 1
        self._turn = 0
        self._reply = 0
        self._speaks_until = 0  # as long as it thinks it is heard
        self._saying = ""
        self._hears = format_of(self.plan.input_format)
        self._speaks = AudioFormat(Encoding.L16, 16000)
        self._vad = EnergyVad(format=self._hears) if self._hears.rate * 20 % 1000 == 0 else None
        self._voice_ms = -1
        self._tool: ConvAITool | None = None

    @property
    def deadline(self) -> int | None:
        return self._queue[0][0] if self._queue and not self.gone else None

    # --- the WebSocket -----------------------------------------------------------------------------------------------

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        plan = self.plan
        self.target, self.headers = target, {name.lower(): value for name, value in headers.items()}
        if plan.refuse:
            return [PeerRefuse(plan.refuse, plan.refuse_body)]
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        if not parts.path.endswith("/v1/convai/conversation"):
            return [PeerRefuse(404, b'{"detail":"Not Found"}')]
        if signature := query.get("conversation_signature", [""])[0]:
            if signature != plan.signature:
                return [PeerRefuse(403, b'{"detail":{"status":"expired","message":"signed URL has expired"}}')]
        elif query.get("agent_id", [""])[0] != plan.agent_id:
            return [PeerRefuse(404, b'{"detail":{"status":"agent_not_found","message":"no such agent"}}')]
        elif plan.key and self.headers.get("xi-api-key") != plan.key:
            return [PeerRefuse(401, b'{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}')]
        return []

    def closed(self, now: int) -> None:
        self.gone = True

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        self._now = now
        if self.gone:
            return []
        try:
            message = msgspec.json.decode(data)
        except msgspec.MsgspecError:
            return self._error(1008, "invalid_message", "Invalid message received")
        if not isinstance(message, dict):
            return self._error(1008, "invalid_message", "Invalid message received")
        if (chunk := message.get("user_audio_chunk")) is not None:
            return self._heard(now, msgspec.convert(chunk, bytes))
        self.messages.append(message)
        match message.get("type"):
            case "conversation_initiation_client_data":
                return self._initiate(now, message)
            case "pong":
                self.pongs.append(int(message["event_id"]))
            case "user_message":
                out = self._interrupt()
                self._think(now)
                return out
            case "client_tool_result" if self._tool is not None:
                tool, self._tool = self._tool, None
                self._say(now + self.plan.think_us, f"{tool.text} {message.get('result', '')}".strip())
        return []

    def tick(self, now: int) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        while self._queue and self._queue[0][0] <= now and not self.gone:
            at, _, kind, value = heapq.heappop(self._queue)
            self._now = at
            self._do(at, kind, value, out)
        return out

    # --- what it does ------------------------------------------------------------------------------------------------

    def _at(self, at: int, kind: str, value: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, kind, value))

    def _do(self, at: int, kind: str, value: Any, out: list[PeerOrder]) -> None:
        match kind:
            case "start":
                self._start(at, out)
            case "ping":
                self._event += 1
                self._send(out, "ping", ping_event={"event_id": self._event, "ping_ms": 30})
                self._at(at + self.plan.ping_every_us, "ping")
            case "reply":
                self._next_reply(at, out)
            case "words":
                self._saying = value
                self._event += 1
                event = {"agent_response": value, "event_id": self._event}
                self._send(out, "agent_response", agent_response_event=event)
            case "audio":
                self._event += 1
                event = {"audio_base_64": msgspec.to_builtins(value), "event_id": self._event}
                self._send(out, "audio", audio_event=event)
                self._speaks_until = max(self._speaks_until, at) + self._speaks.duration_us(len(value))
            case "close":
                if self.plan.error is not None:
                    self._send(out, "error", error_event=dict(self.plan.error))
                out.append(PeerClose(*self.plan.close))
                self.gone = True
            case "drop":
                out.append(PeerDrop())
                self.gone = True

    def _send(self, out: list[PeerOrder], kind: str, **event: Any) -> None:
        if self.plan.garbage:
            out.append(PeerSay('{"type":"audio","audio_event":{"audio_base_64":"%%%","event_id":"x"}}'))
            out.append(PeerSay('{"type":"something_new","something_new_event":{}}'))
        out.append(PeerSay(msgspec.json.encode({"type": kind, **event}).decode()))

    def _error(self, code: int, kind: str, message: str) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        self._send(out, "error", error_event={"code": code, "error_type": kind, "message": message})
        out.append(PeerClose(code, message))
        self.gone = True
        return out

    def _initiate(self, now: int, message: dict[str, Any]) -> list[PeerOrder]:
        if self._started:
            return []
        self._started = True
        self.initiation = message
        for part in message.get("conversation_config_override", {}).values():
            for field in part:
                if field not in self.plan.overrides and not self.plan.ignores_overrides:
                    text = f"Override for field '{field}' is not allowed by config."
                    self.gone = True
                    return [PeerClose(1008, text)]
        missing = [name for name in self.plan.needs if name not in message.get("dynamic_variables", {})]
        if missing:
            text = f"Missing required dynamic variables in first message: {missing}"
            return self._error(1008, "missing_dynamic_variable", text)
        self._at(now + self.plan.start_us, "start")
        return []

    def _override(self, part: str, field: str) -> Any:
        given = self.initiation.get("conversation_config_override", {}).get(part, {})
        return given.get(field) if field in self.plan.overrides else None

    def _start(self, at: int, out: list[PeerOrder]) -> None:
        plan = self.plan
        output = self._override("tts", "output_format") or plan.output_format
        hears = self._override("asr", "input_format") or plan.input_format
        self._hears = format_of(hears)
        self._vad = EnergyVad(format=self._hears) if self._hears.rate * 20 % 1000 == 0 else None
        self._speaks = format_of(output)
        event = {"conversation_id": "conv_1", "agent_output_audio_format": output, "user_input_audio_format": hears}
        self._send(out, "conversation_initiation_metadata", conversation_initiation_metadata_event=event)
        self._at(at + plan.ping_every_us, "ping")
        first = self._override("agent", "first_message")
        if text := plan.first_message if first is None else first:
            self._say(at, text)
        if plan.drop_after_us:
            self._at(at + plan.drop_after_us, "drop")

    def _say(self, at: int, text: str, mute: bool = False) -> int:
        """Words and audio from ``at`` on; returns when the last of it leaves."""
        audio = b"" if mute else speech(text, self._speaks)
        size = self.plan.odd_cut or self._speaks.bytes_for_ms(_CHUNK_MS)
        chunks = [audio[start : start + size] for start in range(0, len(audio), size)]
        if not self.plan.audio_first:
            self._at(at, "words", text)
        for chunk in chunks:
            self._at(at, "audio", chunk)
            if self.plan.audio_first and chunk is chunks[0]:
                self._at(at, "words", text)
            at += _CHUNK_EVERY_US
        return at

    def _think(self, now: int) -> None:
        self._at(now + self.plan.think_us, "reply")

    def _next_reply(self, at: int, out: list[PeerOrder]) -> None:
        number, self._reply = self._reply, self._reply + 1
        reply = self.plan.replies[number] if number < len(self.plan.replies) else "I see."
        if isinstance(reply, ConvAITool):
            self._tool = reply
            event = {
                "tool_name": reply.name,
                "tool_call_id": f"tool_{number}",
                "parameters": reply.parameters,
                "event_id": self._event,
            }
            self._send(out, "client_tool_call", client_tool_call=event)
            return
        end = self._say(at, reply, mute=number == self.plan.mute_reply)
        if number == self.plan.drop_in_reply:
            self._at(at + (end - at) // 2, "drop")
        if number == self.plan.close_after_reply:
            self._at(end + _CHUNK_EVERY_US, "close")

    # --- the caller --------------------------------------------------------------------------------------------------

    def _heard(self, now: int, audio: bytes) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        self.audio += audio
        if self._vad is None:
            return out
        for event in self._vad.process(audio):
            if isinstance(event, SpeechStarted):
                self._voice_ms = event.at_ms
            else:
                self._voice_ms = -1
                self._turn_over(now, out)
        voiced = (self._vad.last_voiced_ms or 0) - self._voice_ms
        if self._voice_ms >= 0 and voiced >= _INSIST_MS:
            out += self._interrupt()
        return out

    def _turn_over(self, now: int, out: list[PeerOrder]) -> None:
        turn, self._turn = self._turn, self._turn + 1
        text = self.plan.heard[turn] if turn < len(self.plan.heard) else "..."
        self._event += 1
        said = {"user_transcript": text, "event_id": self._event}
        if self.plan.tentative:
            self._send(out, "tentative_user_transcript", tentative_user_transcription_event=said)
        self._send(out, "user_transcript", user_transcription_event=said)
        self._think(now)

    def _interrupt(self) -> list[PeerOrder]:
        """The agent stops, if it thinks that it is still heard."""
        out: list[PeerOrder] = []
        queued = [one for one in self._queue if one[2] in ("words", "audio")]
        if self._now >= self._speaks_until and not queued:
            return out
        self._queue = [one for one in self._queue if one[2] not in ("words", "audio")]
        heapq.heapify(self._queue)
        self._speaks_until = self._now
        self._send(out, "interruption", interruption_event={"event_id": self._event})
        half = self._saying[: len(self._saying) // 2]
        correction = {
            "original_agent_response": self._saying,
            "corrected_agent_response": half,
            "event_id": self._event,
        }
        self._send(out, "agent_response_correction", agent_response_correction_event=correction)
        return out
