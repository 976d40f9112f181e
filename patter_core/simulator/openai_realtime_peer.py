"""OpenAI's Realtime service, from its side: a session on one WebSocket, scripted, with the faults of a real one.

What a caller says is not recognised but scripted: each time the voice on the line ends, the next of ``words`` was said
and the next of ``answers`` answers it. Everything else is as the service does it: which events come in which order with
which fields, what is refused and with which code, what interrupts what, what is left of an item that was truncated.

Sources: the types and their descriptions in ``openai.types.realtime`` (3.54); error codes as reported in
openai/openai-agents-python issue 1466 (an active response), openai/openai-agents-js issue 189 (nothing to cancel),
livekit/agents issue 2341 (an expired session) and 2967 (failed responses); audio that is accepted and ignored:
PatterAI/Patter issue 154.
"""

from __future__ import annotations

import functools
import heapq
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any

import msgspec

from ..audio.formats import L16_24K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from ..audio.tones import tone
from ..audio.transcode import Transcoder
from ..audio.vad import EnergyVad, SpeechStarted
from .provider_peer import PeerClose, PeerDrop, PeerOrder, PeerRefuse, PeerSay

__all__ = ["Answer", "OpenAIRealtimePeer", "RealtimePlan", "realtime_links"]

_CHARACTER_MS = 60  # of speech: about 1,000 a minute
_CHUNK_MS = 200
_CHUNK_EVERY_US = 40_000  # five times faster than it is played
_TALK = "spoken by the model"

_FORMATS = {
    "audio/pcm": L16_24K,
    "audio/pcmu": PCMU_8K,
    "audio/pcma": PCMA_8K,
    "pcm16": L16_24K,
    "g711_ulaw": PCMU_8K,
    "g711_alaw": PCMA_8K,
}
_BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}
_FIELDS = {
    "session.update": {"session"},
    "input_audio_buffer.append": {"audio"},
    "input_audio_buffer.commit": set(),
    "input_audio_buffer.clear": set(),
    "conversation.item.create": {"item", "previous_item_id"},
    "conversation.item.truncate": {"item_id", "content_index", "audio_end_ms"},
    "conversation.item.delete": {"item_id"},
    "conversation.item.retrieve": {"item_id"},
    "response.create": {"response"},
    "response.cancel": {"response_id"},
}
_SESSION_FIELDS = {
    "type", "output_modalities", "instructions", "audio", "tools", "tool_choice", "max_output_tokens", "reasoning",
    "include", "model", "parallel_tool_calls", "prompt", "tracing", "truncation",
}  # fmt: skip
_BETA_SESSION_FIELDS = {
    "modalities", "instructions", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
    "input_audio_noise_reduction", "turn_detection", "tools", "tool_choice", "temperature", "speed",
    "max_response_output_tokens", "model", "tracing",
}  # fmt: skip
_RESPONSE_FIELDS = {
    "audio", "conversation", "input", "instructions", "max_output_tokens", "metadata", "output_modalities",
    "parallel_tool_calls", "prompt", "reasoning", "tool_choice", "tools",
}  # fmt: skip
_BETA_RESPONSE_FIELDS = _RESPONSE_FIELDS - {"output_modalities", "audio"} | {"modalities", "voice", "temperature"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model answers once: some messages, then calls of tools (name, arguments as JSON)."""

    texts: tuple[str, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    think_us: int = 300_000
    written: bool = False  # text without a voice
    # faults
    fail: str = ""  # the response fails with this code ...
    message: str = ""  # ... and this message
    incomplete: str = ""  # it breaks off after the first message, for this reason
    drop_after_ms: int = -1  # vanish when so much of it was sent
    hang: bool = False  # begins, and never goes on
    refuse: str = ""  # asked for, it is refused with this code


class RealtimePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How the service is, what it will say, and what will go wrong."""

    key: str = ""
    words: tuple[str, ...] = ()  # what the caller says, turn by turn; '' is a failed transcription
    answers: tuple[Answer, ...] = ()
    repeat: bool = True  # the last answer again and again, rather than silence
    words_us: int = 400_000  # after the end of a turn
    greet_us: int = 30_000
    epoch: int = 1_700_000_000_000_000
    lifetime_s: float = 3600.0
    verbatim: bool = True  # a text to be read aloud is read as it is
    # faults
    refuse: int = 0  # the upgrade, with this status
    first_error: str = ""  # an error with this code instead of session.created
    mute: bool = False  # no session.created
    no_updated: bool = False  # no answer to session.update
    refuse_update: str = ""  # session.update is refused with this code
    deaf_to_g711: bool = False
    drop_after_us: int = 0
    garbage: bool = False  # between the events
    answers_nobody: bool = False  # no reply to a turn unless asked for
    never_begins: bool = False  # response.create is not answered at all


class Progress:
    """How far the script has got: what the sessions of a call share."""

    def __init__(self) -> None:
        self.turns = 0
        self.answers = 0
        self.items = 0


class _Response:
    def __init__(self, id: str, answer: Answer, metadata: Any) -> None:
        self.id = id
        self.answer = answer
        self.metadata = metadata
        self.items: list[dict[str, Any]] = []
        self.open: dict[str, Any] | None = None  # the item being spoken


def realtime_links(plan: RealtimePlan, *later: RealtimePlan) -> Callable[[int], OpenAIRealtimePeer]:
    """Sessions that go on with one script: the first with ``plan``, the next with the next one, and the last again."""
    progress = Progress()
    plans = (plan, *later)
    return lambda number: OpenAIRealtimePeer(plans[min(number, len(plans) - 1)], progress)


class OpenAIRealtimePeer:
    """One session. What came, and what the model knows, is kept for whoever wants to look."""

    def __init__(self, plan: RealtimePlan | None = None, progress: Progress | None = None) -> None:
        self.plan = plan if plan is not None else RealtimePlan()
        self.progress = progress if progress is not None else Progress()
        self.target = ""
        self.headers: dict[str, str] = {}
        self.messages: list[dict[str, Any]] = []  # all but audio
        self.refused: list[str] = []  # codes of errors we answered with
        self.audio = bytearray()  # that was taken in
        self.appends = 0
        self.items: list[dict[str, Any]] = []  # what the model knows: id, type, role, text, audio_ms, ...
        self.spoken: list[str] = []  # texts of items whose speech was sent whole
        self.session: dict[str, Any] = {}
        self.gone = False
        self._beta = False
        self._queue: list[tuple[int, int, str, Any]] = []
        self._count = 0
        self._active: _Response | None = None
        self._spoke_once = False
        self._hears = self._speaks = L16_24K
        self._vad = EnergyVad(format=self._hears)
        self._vad_from_ms = 0  # where it began
        self._judged = 0  # bytes of audio before that
        self._listens: tuple[AudioFormat, int] | None = None
        self._turn_item = ""
        self._out: list[PeerOrder] = []

    @property
    def deadline(self) -> int | None:
        return self._queue[0][0] if self._queue and not self.gone else None

    # --- the WebSocket -----------------------------------------------------------------------------------------------

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        plan = self.plan
        self.target, self.headers = target, {name.lower(): value for name, value in headers.items()}
        self._beta = self.headers.get("openai-beta") == "realtime=v1"
        if plan.refuse:
            self.gone = True
            return [PeerRefuse(plan.refuse, _refusal(plan.refuse))]
        if plan.key and self.headers.get("authorization") != f"Bearer {plan.key}":
            self.gone = True
            return [PeerRefuse(401, _refusal(401))]
        if plan.first_error:
            self._later(now + plan.greet_us, "error", (plan.first_error, "refused", ""))
        elif not plan.mute:
            self._later(now + plan.greet_us, "greet", None)
        if plan.drop_after_us:
            self._later(now + plan.drop_after_us, "drop", None)
        self._later(now + round(plan.lifetime_s * 1e6), "expire", now + round(plan.lifetime_s * 1e6))
        return []

    def closed(self, now: int) -> None:
        self.gone = True

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        if self.gone:
            return []
        try:
            event = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            event = None
        if not isinstance(event, dict):
            self._error("invalid_json", "That is no JSON object.", "")
        else:
            self._event(now, event)
        return self._take()

    def tick(self, now: int) -> list[PeerOrder]:
        while self._queue and self._queue[0][0] <= now and not self.gone:
            at, _, kind, what = heapq.heappop(self._queue)
            self._due(at, kind, what)
        return self._take()

    def _take(self) -> list[PeerOrder]:
        out, self._out = self._out, []
        return out

    def _later(self, at: int, kind: str, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, kind, what))

    def _emit(self, kind: str, **fields: Any) -> None:
        self._count += 1
        if self.plan.garbage:
            self._out.append(PeerSay('{"type": "response.output_audio.delta", "delta": 7'))
        name = _BETA_NAMES.get(kind, kind) if self._beta else kind
        event = {"type": name, "event_id": f"event_{self._count}", **fields}
        self._out.append(PeerSay(msgspec.json.encode(event).decode()))

    def _error(self, code: str, message: str, event_id: str, param: str | None = None) -> None:
        self.refused.append(code)
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
        self._emit("error", error={**error, "event_id": event_id or None})

    # --- what is due -------------------------------------------------------------------------------------------------

    def _due(self, now: int, kind: str, what: Any) -> None:
        if kind == "greet":
            expires = (self.plan.epoch + now) // 1_000_000 + round(self.plan.lifetime_s)
            self.session = {"type": "realtime", "id": "sess_1", "object": "realtime.session", "expires_at": expires}
            self._emit("session.created", session=self.session)
        elif kind == "error":
            self._error(*what)
        elif kind == "drop":
            self._vanish()
        elif kind == "expire":
            minutes = round(self.plan.lifetime_s / 60)
            message = f"Your session hit the maximum duration of {minutes} minutes."
            self._error("session_expired", message, "")
            self._out.append(PeerClose(1001, message))
            self.gone = True
        elif kind == "words":
            self._words(*what)
        elif kind == "step":
            response, step, rest = what
            if isinstance(response, _Response) and response is self._active:
                self._step(now, response, step, rest)

    def _vanish(self) -> None:
        self._out.append(PeerDrop())
        self.gone = True

    # --- what we are told --------------------------------------------------------------------------------------------

    def _event(self, now: int, event: dict[str, Any]) -> None:
        kind, event_id = event.get("type"), event.get("event_id") or ""
        if not isinstance(kind, str) or kind not in _FIELDS:
            self._error("invalid_value", f"Invalid value: {kind!r}.", event_id, "type")
            return
        unknown = sorted(set(event) - _FIELDS[kind] - {"type", "event_id"})
        if unknown:
            self._unknown(unknown[0], event_id)
            return
        if kind == "input_audio_buffer.append":
            self._append(now, event, event_id)
            return
        self.messages.append(event)
        if kind == "session.update":
            self._update(event.get("session"), event_id)
        elif kind == "conversation.item.create":
            self._create_item(event, event_id)
        elif kind == "conversation.item.truncate":
            self._truncate(event, event_id)
        elif kind == "conversation.item.delete":
            self._delete(event, event_id)
        elif kind == "response.create":
            self._create(now, event.get("response") or {}, event_id)
        elif kind == "response.cancel":
            self._cancel(now, event.get("response_id"), event_id)

    def _unknown(self, name: str, event_id: str) -> None:
        self._error("unknown_parameter", f"Unknown parameter: '{name}'.", event_id, name)

    def _update(self, session: Any, event_id: str) -> None:
        plan = self.plan
        if plan.no_updated:
            return
        if plan.refuse_update:
            self._error(plan.refuse_update, "Invalid session.", event_id, "session.model")
            return
        fields = _BETA_SESSION_FIELDS if self._beta else _SESSION_FIELDS
        if not isinstance(session, dict) or (not self._beta and session.get("type") != "realtime"):
            self._error("missing_required_parameter", "Missing required parameter: 'session.type'.", event_id)
            return
        if unknown := sorted(set(session) - fields):
            self._unknown(f"session.{unknown[0]}", event_id)
            return
        voice = session.get("voice") or (session.get("audio") or {}).get("output", {}).get("voice")
        if voice and self._spoke_once:
            self._error("cannot_update_voice", "Cannot update a conversation's voice.", event_id, "session.voice")
            return
        _merge(self.session, session)
        self._set_formats()
        self._emit("session.updated", session=self.session)

    def _set_formats(self) -> None:
        if self._beta:
            hears = _FORMATS[self.session.get("input_audio_format", "pcm16")]
            speaks = _FORMATS[self.session.get("output_audio_format", "pcm16")]
        else:
            hears = _FORMATS[_at(self.session, "audio", "input", "format", "type") or "audio/pcm"]
            speaks = _FORMATS[_at(self.session, "audio", "output", "format", "type") or "audio/pcm"]
        self._speaks = speaks
        turns = self._turn_detection
        stop_ms = turns.get("silence_duration_ms", 500) if turns.get("type") != "semantic_vad" else 700
        if (hears, stop_ms) != self._listens:
            self._listens = (hears, stop_ms)
            self._vad_from_ms += self._hears.duration_us(len(self.audio) - self._judged) // 1000
            self._judged = len(self.audio)
            self._vad = EnergyVad(format=hears, stop_ms=max(20, int(stop_ms)))
        self._hears = hears

    @property
    def _turn_detection(self) -> dict[str, Any]:
        value = self.session.get("turn_detection") if self._beta else _at(
            self.session, "audio", "input", "turn_detection"
        )  # fmt: skip
        return value if isinstance(value, dict) else {}

    # --- the caller --------------------------------------------------------------------------------------------------

    def _append(self, now: int, event: dict[str, Any], event_id: str) -> None:
        self.appends += 1
        try:
            audio = a2b_base64(event.get("audio", ""), strict_mode=True)
        except (Base64Error, ValueError, TypeError):
            self._error("invalid_value", "Invalid 'audio'.", event_id, "audio")
            return
        if self.plan.deaf_to_g711 and self._hears.encoding is not Encoding.L16:
            return
        self.audio += audio
        for heard in self._vad.process(audio):
            at_ms = self._vad_from_ms + heard.at_ms
            if type(heard) is SpeechStarted:
                self._turn_started(now, at_ms)
            else:
                self._turn_ended(now, at_ms)

    def _turn_started(self, now: int, at_ms: int) -> None:
        self._turn_item = self._new_item()
        padding = self._turn_detection.get("prefix_padding_ms", 300)
        self._emit("input_audio_buffer.speech_started", audio_start_ms=max(0, at_ms - padding), item_id=self._turn_item)
        if self._active is not None and self._turn_detection.get("interrupt_response", True):
            self._end(now, self._active, "cancelled", reason="turn_detected")

    def _turn_ended(self, now: int, at_ms: int) -> None:
        turns, item = self._turn_detection, self._turn_item
        self._emit(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=at_ms + turns.get("silence_duration_ms", 500),
            item_id=item,
        )
        previous = self.items[-1]["id"] if self.items else None
        self._emit("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        number = self.progress.turns
        self.progress.turns += 1
        said = self.plan.words[number] if number < len(self.plan.words) else "(something)"
        self._add({"id": item, "type": "message", "role": "user", "text": said, "sound": True})
        if self._transcribes:
            self._later(now + self.plan.words_us, "words", (item, said))
        if not turns.get("create_response", True) or self.plan.answers_nobody:
            return
        if self._active is not None:
            self._error("conversation_already_has_active_response", "There is one already.", "")
        else:
            self._begin(now, None, None)

    @property
    def _transcribes(self) -> bool:
        if self._beta:
            return bool(self.session.get("input_audio_transcription"))
        return bool(_at(self.session, "audio", "input", "transcription"))

    def _words(self, item: str, said: str) -> None:
        head = "conversation.item.input_audio_transcription"
        if not said:
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "Not understood."}
            self._emit(f"{head}.failed", item_id=item, content_index=0, error=error)
            return
        half = len(said) // 2
        self._emit(f"{head}.delta", item_id=item, content_index=0, delta=said[:half])
        self._emit(f"{head}.delta", item_id=item, content_index=0, delta=said[half:])
        usage = {
            "type": "tokens", "input_tokens": 10, "output_tokens": 3, "total_tokens": 13,
            "input_token_details": {"audio_tokens": 10, "text_tokens": 0},
        }  # fmt: skip
        self._emit(f"{head}.completed", item_id=item, content_index=0, transcript=said, usage=usage)

    # --- items -------------------------------------------------------------------------------------------------------

    def _new_item(self) -> str:
        self.progress.items += 1
        return f"item_{self.progress.items}"

    def _find(self, item: Any) -> dict[str, Any] | None:
        return next((one for one in self.items if one["id"] == item), None)

    def _shape(self, item: dict[str, Any], status: str = "completed") -> dict[str, Any]:
        """An item as it is in events."""
        head = {"id": item["id"], "object": "realtime.item", "type": item["type"], "status": status}
        if item["type"] == "message":
            return head | {"role": item["role"], "content": [self._content(item)]}
        return head | {key: item[key] for key in ("call_id", "name", "arguments", "output") if key in item}

    def _content(self, item: dict[str, Any]) -> dict[str, Any]:
        text = item.get("text")
        if item["role"] != "assistant":
            return {"type": "input_audio", "transcript": None} if item.get("sound") else {
                "type": "input_text", "text": text
            }  # fmt: skip
        if item.get("audio_ms") is not None:
            return {"type": "audio" if self._beta else "output_audio", "transcript": text}
        return {"type": "text" if self._beta else "output_text", "text": text}

    def _add(self, item: dict[str, Any], after: str | None = None) -> None:
        at = len(self.items)
        if after == "root":
            at = 0
        elif after:
            at = next(n for n, one in enumerate(self.items) if one["id"] == after) + 1
        previous = self.items[at - 1]["id"] if at else None
        self.items.insert(at, item)
        self._emit("conversation.item.added", item=self._shape(item), previous_item_id=previous)
        if not self._beta:
            self._emit("conversation.item.done", item=self._shape(item), previous_item_id=previous)

    def _create_item(self, event: dict[str, Any], event_id: str) -> None:
        given, after = event.get("item"), event.get("previous_item_id")
        if not isinstance(given, dict) or len(str(given.get("id", ""))) > 32:
            self._error("invalid_value", "Invalid 'item'.", event_id, "item")
            return
        if self._find(given.get("id")) is not None:
            self._error("item_create_invalid_item_id", "There is an item of that id.", event_id, "item.id")
            return
        if after and after != "root" and self._find(after) is None:
            self._error("item_create_invalid_previous_item_id", "No such item.", event_id, "previous_item_id")
            return
        item: dict[str, Any] = {"id": given.get("id") or self._new_item(), "type": given.get("type")}
        if item["type"] == "message":
            role, content = given.get("role"), (given.get("content") or [{}])[0]
            kinds = {
                "user": {"input_text", "input_audio"},
                "system": {"input_text"},
                "assistant": {"text"} if self._beta else {"output_text"},
            }
            if role not in kinds or content.get("type") not in kinds[role]:
                self._error("invalid_value", f"Invalid content for {role}.", event_id, "item.content")
                return
            item |= {"role": role, "text": content.get("text")}
            if content["type"] == "input_audio":
                item |= {"sound": True, "bytes": len(a2b_base64(content["audio"], strict_mode=True))}
        elif item["type"] in ("function_call", "function_call_output"):
            item |= {key: given[key] for key in ("call_id", "name", "arguments", "output") if key in given}
            calls = [one for one in self.items if one["type"] == "function_call"]
            if item["type"] == "function_call_output" and all(one["call_id"] != item["call_id"] for one in calls):
                self._error("invalid_tool_call_id", "No such call.", event_id, "item.call_id")
                return
        self._add(item, after)

    def _truncate(self, event: dict[str, Any], event_id: str) -> None:
        item, end = self._find(event.get("item_id")), event.get("audio_end_ms")
        if item is None or item.get("audio_ms") is None:
            self._error("item_truncate_invalid_item_id", "No such item with audio.", event_id, "item_id")
        elif not isinstance(end, int) or end < 0 or end > item["audio_ms"]:
            message = f"Audio content of {item['audio_ms']}ms is already shorter than {end}ms"
            self._error("invalid_value", message, event_id, "audio_end_ms")
        else:
            item["audio_ms"], item["text"] = end, None  # what it said is deleted with what was not heard
            self._emit("conversation.item.truncated", item_id=item["id"], content_index=0, audio_end_ms=end)

    def _delete(self, event: dict[str, Any], event_id: str) -> None:
        item = self._find(event.get("item_id"))
        if item is None:
            self._error("item_delete_invalid_item_id", "No such item.", event_id, "item_id")
        else:
            self.items.remove(item)
            self._emit("conversation.item.deleted", item_id=item["id"])

    # --- responses ---------------------------------------------------------------------------------------------------

    def _create(self, now: int, response: dict[str, Any], event_id: str) -> None:
        if unknown := sorted(set(response) - (_BETA_RESPONSE_FIELDS if self._beta else _RESPONSE_FIELDS)):
            self._unknown(f"response.{unknown[0]}", event_id)
        elif self.plan.never_begins:
            pass
        elif self._active is not None:
            message = f"Conversation already has an active response in progress: {self._active.id}."
            self._error("conversation_already_has_active_response", message, event_id)
        else:
            instructions = response.get("instructions")
            text = _to_be_read(instructions) if instructions and self.plan.verbatim else None
            self._begin(now, text, response.get("metadata"), event_id)

    def _begin(self, now: int, text: str | None, metadata: Any, event_id: str = "") -> None:
        if text is not None:
            answer = Answer(texts=(text,), think_us=200_000)
        else:
            answers, number = self.plan.answers, self.progress.answers
            if not answers or (number >= len(answers) and not self.plan.repeat):
                answer = Answer(texts=("Fine.",))
            else:
                answer = answers[min(number, len(answers) - 1)]
            self.progress.answers += 1
        if answer.refuse:
            self._error(answer.refuse, answer.message or "Refused.", event_id)
            return
        self._count += 1
        active = self._active = _Response(f"resp_{self._count}", answer, metadata)
        self._emit("response.created", response=self._response(active, "in_progress"))
        if not answer.hang:
            self._plan_steps(now + answer.think_us, active)

    def _response(self, response: _Response, status: str) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": None,
            "output": [self._shape(item) for item in response.items],
            "metadata": response.metadata,
            "usage": None,
        }

    def _plan_steps(self, at: int, response: _Response) -> None:
        answer = response.answer
        if answer.fail:
            self._later(at, "step", (response, "fail", None))
            return
        sent_ms = 0
        for number, text in enumerate(answer.texts):
            self._later(at, "step", (response, "open", (number, text)))
            if answer.written:
                self._later(at + 50_000, "step", (response, "shut", (number, text)))
                at += 50_000
                continue
            audio_ms = max(_CHARACTER_MS, len(text) * _CHARACTER_MS)
            sound = _voice(audio_ms, self._speaks)
            size = self._speaks.bytes_for_ms(_CHUNK_MS)
            pieces = [sound[start : start + size] for start in range(0, len(sound), size)]
            for n, piece in enumerate(pieces):
                words = text[len(text) * n // len(pieces) : len(text) * (n + 1) // len(pieces)]
                if 0 <= answer.drop_after_ms <= sent_ms:
                    self._later(at, "drop", None)
                    return
                self._later(at, "step", (response, "piece", (words, piece)))
                at += _CHUNK_EVERY_US
                sent_ms += _CHUNK_MS
            self._later(at, "step", (response, "shut", (number, text)))
            if answer.incomplete:
                self._later(at, "step", (response, "incomplete", None))
                return
        for number, (name, arguments) in enumerate(answer.calls):
            self._later(at + 20_000 * (number + 1), "step", (response, "call", (name, arguments)))
        self._later(at + 20_000 * (len(answer.calls) + 1), "step", (response, "end", None))

    def _step(self, now: int, response: _Response, step: str, what: Any) -> None:
        if step == "open":
            self._open_item(response, what[1])
        elif step == "piece":
            self._piece(response, *what)
        elif step == "shut":
            self._shut_item(response, what[1], "completed")
        elif step == "call":
            self._call(response, *what)
        elif step == "fail":
            answer = response.answer
            error = {"type": "server_error", "code": answer.fail, "message": answer.message or "Something failed."}
            self._end(now, response, "failed", error=error)
        elif step == "incomplete":
            self._end(now, response, "incomplete", reason=response.answer.incomplete)
        else:
            self._end(now, response, "completed")

    def _open_item(self, response: _Response, text: str) -> None:
        spoken = not response.answer.written
        item = {"id": self._new_item(), "type": "message", "role": "assistant", "text": "", "by": _TALK}
        if spoken:
            item["audio_ms"] = 0  # type: ignore[assignment]
        response.items.append(item)
        response.open = item
        empty = {**self._shape(item, "in_progress"), "content": []}
        index = len(response.items) - 1
        self._emit("response.output_item.added", response_id=response.id, output_index=index, item=empty)
        previous = self.items[-1]["id"] if self.items else None
        self.items.append(item)
        self._emit("conversation.item.added", item=empty, previous_item_id=previous)
        part = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        self._emit("response.content_part.added", **self._place(response), part=part)

    def _place(self, response: _Response) -> dict[str, Any]:
        item = response.items[-1]
        return {
            "response_id": response.id,
            "item_id": item["id"],
            "output_index": len(response.items) - 1,
            "content_index": 0,
        }

    def _piece(self, response: _Response, words: str, sound: bytes) -> None:
        item = response.items[-1]
        item["text"] += words
        item["audio_ms"] += self._speaks.duration_us(len(sound)) // 1000
        self._spoke_once = True
        if words:
            self._emit("response.output_audio_transcript.delta", **self._place(response), delta=words)
        delta = b2a_base64(sound, newline=False).decode("ascii")
        self._emit("response.output_audio.delta", **self._place(response), delta=delta)

    def _shut_item(self, response: _Response, text: str, status: str) -> None:
        item = response.open
        if item is None:
            return
        response.open = None
        place = self._place(response)
        if response.answer.written:
            item["text"] = text
            self._emit("response.output_text.done", **place, text=text)
            part = {"type": "text", "text": text}
        else:
            self._emit("response.output_audio.done", **place)
            self._emit("response.output_audio_transcript.done", **place, transcript=item["text"])
            part = {"type": "audio", "transcript": item["text"]}
            if status == "completed":
                self.spoken.append(item["text"])
        self._emit("response.content_part.done", **place, part=part)
        shape = self._shape(item, status)
        if not self._beta:
            self._emit("conversation.item.done", item=shape, previous_item_id=None)
        index = len(response.items) - 1
        self._emit("response.output_item.done", response_id=response.id, output_index=index, item=shape)

    def _call(self, response: _Response, name: str, arguments: str) -> None:
        item = {
            "id": self._new_item(),
            "type": "function_call",
            "call_id": f"call_{self.progress.items}",
            "name": name,
            "arguments": arguments,
        }
        response.items.append(item)
        index = len(response.items) - 1
        begun = {**self._shape(item, "in_progress"), "arguments": ""}
        self._emit("response.output_item.added", response_id=response.id, output_index=index, item=begun)
        self.items.append(item)
        place = {"response_id": response.id, "item_id": item["id"], "output_index": index, "call_id": item["call_id"]}
        self._emit("response.function_call_arguments.delta", **place, delta=arguments)
        named = {} if self._beta else {"name": name}
        self._emit("response.function_call_arguments.done", **place, **named, arguments=arguments)
        self._emit("response.output_item.done", response_id=response.id, output_index=index, item=self._shape(item))

    def _cancel(self, now: int, response: Any, event_id: str) -> None:
        active = self._active
        if active is None or (response and response != active.id):
            self._error("response_cancel_not_active", "Cancellation failed: no active response found", event_id)
        else:
            self._end(now, active, "cancelled", reason="client_cancelled")

    def _end(self, now: int, response: _Response, status: str, reason: str = "", error: Any = None) -> None:
        self._shut_item(response, "", "incomplete")
        self._active = None
        details = {"type": status, "reason": reason or None, "error": error} if status != "completed" else None
        body = self._response(response, status) | {"status_details": details, "usage": self._usage(response)}
        self._emit("response.done", response=body)
        self._emit("rate_limits.updated", rate_limits=[{"name": "tokens", "limit": 1000, "remaining": 900}])

    def _usage(self, response: _Response) -> dict[str, Any]:
        spoken = sum(item.get("audio_ms") or 0 for item in response.items) // 50
        written = sum(len(item.get("text") or "") for item in response.items) // 4
        return {
            "total_tokens": 200 + spoken + written,
            "input_tokens": 200,
            "output_tokens": spoken + written,
            "input_token_details": {
                "text_tokens": 120,
                "audio_tokens": 80,
                "cached_tokens": 96,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 32},
            },
            "output_token_details": {"text_tokens": written, "audio_tokens": spoken},
        }


def _refusal(status: int) -> bytes:
    code = {401: "invalid_api_key", 404: "model_not_found"}.get(status)
    return msgspec.json.encode({"error": {"type": "error", "code": code, "message": "Not with me."}})


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key in ("audio", "input", "output"):
            _merge(old, value)
        else:
            into[key] = value


@functools.lru_cache(maxsize=64)
def _voice(ms: int, format: AudioFormat) -> bytes:
    pcm = tone(220, ms, format.rate)
    return Transcoder(AudioFormat(Encoding.L16, format.rate), format).process(pcm)


def _to_be_read(instructions: str) -> str | None:
    """The text that instructions want read aloud: the JSON string in their last line."""
    try:
        value = msgspec.json.decode(instructions.rpartition("\n")[2])
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return value if isinstance(value, str) else None
