"""ElevenLabs' text to speech, from its side: over HTTP and over the multi-context WebSocket, with faults.

Sources: see ``providers/elevenlabs/wire.py``.
"""

from __future__ import annotations

import heapq
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from .elevenlabs_peer import format_of, speech
from .provider_peer import PeerAnswer, PeerBody, PeerClose, PeerDone, PeerDrop, PeerOrder, PeerRefuse, PeerSay

__all__ = ["ElevenLabsSpeechPeer", "ElevenLabsSpeechSocketPeer", "SpeechPlan"]

_EVERY_US = 30_000  # between pieces: several times faster than they are played
_PIECE_MS = 200
_CONTEXTS = 5


class SpeechPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has, and what will go wrong with this exchange."""

    key: str = "xi-key"
    voices: tuple[str, ...] = ("21m00Tcm4TlvDq8ikWAM",)
    first_us: int = 150_000  # to the first audio
    cut: int = 0  # pieces of so many bytes
    # faults
    status: int = 0
    error: dict[str, Any] = {}  # an error body's ``detail``
    headers: tuple[tuple[str, str], ...] = ()
    empty: bool = False
    drop_after: int = -1  # pieces, and then nothing, not even a goodbye
    stall_after: int = -1  # pieces, and then nothing
    json_success: bool = False  # an error that calls itself 200
    close: tuple[int, str] | None = None  # the WebSocket, at the first text
    message: dict[str, Any] = {}  # ... after this message
    garbage: bool = False
    idle_us: int = 0  # instead of the timeout that was asked for


def _refusal(status: int, code: str, message: str) -> tuple[int, bytes]:
    return status, msgspec.json.encode({"detail": {"code": code, "status": code, "message": message}})


def _check(plan: SpeechPlan, target: str, headers: dict[str, str], tail: str) -> tuple[int, bytes] | None:
    """What is wrong with a request, as status and body."""
    parts = urlsplit(target)
    path = parts.path.strip("/").split("/")
    names = {name.lower(): value for name, value in headers.items()}
    if len(path) != 4 or path[:2] != ["v1", "text-to-speech"] or path[3] != tail:
        return 404, b'{"detail":"Not Found"}'
    if names.get("xi-api-key") != plan.key:
        return _refusal(401, "invalid_api_key", "Invalid API key")
    if path[2] not in plan.voices:
        return _refusal(404, "voice_not_found", f"A voice with voice_id {path[2]} was not found.")
    try:
        format_of(parse_qs(parts.query).get("output_format", [""])[0])
    except (KeyError, ValueError):
        return _refusal(400, "invalid_output_format", "unknown output_format")
    return None


class _Timed:
    """Things to do, each at its time."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Any]] = []
        self._count = 0
        self.gone = False

    @property
    def deadline(self) -> int | None:
        return self._queue[0][0] if self._queue and not self.gone else None

    def closed(self, now: int) -> None:
        self.gone = True

    def _at(self, at: int, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, what))

    def _due(self, now: int) -> list[Any]:
        out = []
        while self._queue and self._queue[0][0] <= now and not self.gone:
            out.append(heapq.heappop(self._queue)[2])
        return out


class ElevenLabsSpeechPeer(_Timed):
    """One HTTP exchange."""

    def __init__(self, plan: SpeechPlan | None = None) -> None:
        super().__init__()
        self.plan = plan if plan is not None else SpeechPlan()
        self.body: dict[str, Any] = {}
        self.target = ""

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        plan, self.target = self.plan, target
        if plan.status:
            return self._refuse(plan.status, msgspec.json.encode({"detail": plan.error}), plan.headers)
        if wrong := _check(plan, target, headers, "stream"):
            return self._refuse(*wrong)
        try:
            self.body = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError:
            return self._refuse(422, b'{"detail":[{"loc":["body"],"msg":"invalid JSON","type":"json_invalid"}]}')
        if method != "POST" or not isinstance(self.body.get("text"), str) or not self.body.get("model_id"):
            return self._refuse(422, b'{"detail":[{"loc":["body","text"],"msg":"field required","type":"missing"}]}')
        if plan.json_success:
            return [
                PeerAnswer(200, (("Content-Type", "application/json"),)),
                PeerBody(b'{"detail":{"code":"internal_error","message":"try again"}}'),
                PeerDone(),
            ]
        format = format_of(parse_qs(urlsplit(target).query)["output_format"][0])
        audio = b"" if plan.empty else speech(self.body["text"], format)
        size = plan.cut or format.bytes_for_ms(_PIECE_MS)
        pieces = [audio[start : start + size] for start in range(0, len(audio), size)]
        at = now + plan.first_us
        self._at(at, PeerAnswer(200, (("Content-Type", "audio/basic"), *plan.headers)))
        for number, piece in enumerate(pieces):
            if number == plan.drop_after:
                self._at(at, PeerDrop())
                return []
            if number == plan.stall_after:
                return []
            self._at(at, PeerBody(piece))
            at += _EVERY_US
        self._at(at, PeerDone())
        return []

    def tick(self, now: int) -> list[PeerOrder]:
        return self._due(now)

    def _refuse(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> list[PeerOrder]:
        return [PeerAnswer(status, (("Content-Type", "application/json"), *headers)), PeerBody(body), PeerDone()]


class ElevenLabsSpeechSocketPeer(_Timed):
    """One multi-context WebSocket."""

    def __init__(self, plan: SpeechPlan | None = None) -> None:
        super().__init__()
        self.plan = plan if plan is not None else SpeechPlan()
        self.target = ""
        self.messages: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._format = format_of("pcm_16000")
        self._idle_us = 20_000_000
        self._contexts: dict[str, dict[str, Any]] = {}
        self._settings: Any = None
        self._first = True
        self._last = 0
        self._pieces = 0

    def opened(self, now: int, target: str, headers: dict[str, str]) -> list[PeerOrder]:
        plan, self.target = self.plan, target
        if plan.status:
            return [PeerRefuse(plan.status, msgspec.json.encode({"detail": plan.error}))]
        if wrong := _check(plan, target, headers, "multi-stream-input"):
            return [PeerRefuse(*wrong)]
        query = parse_qs(urlsplit(target).query)
        self._format = format_of(query["output_format"][0])
        self._idle_us = plan.idle_us or int(query.get("inactivity_timeout", ["20"])[0]) * 1_000_000
        self._heard(now)
        return []

    def said(self, now: int, data: str | bytes) -> list[PeerOrder]:
        if self.gone:
            return []
        message = msgspec.json.decode(data, type=dict[str, Any])
        self.messages.append(message)
        self._heard(now)
        if self.plan.close is not None:
            out: list[PeerOrder] = (
                [PeerSay(msgspec.json.encode(self.plan.message).decode())] if self.plan.message else []
            )
            return [*out, *self._close(*self.plan.close)]
        name = message.get("context_id", "")
        context = self._contexts.get(name)
        if context is None:
            if message.get("close_context"):
                return []
            if len(self._contexts) >= _CONTEXTS:
                text = f"Maximum simultaneous contexts per WebSocket connection exceeded ({_CONTEXTS})."
                wrong = {"message": text, "error": "max_active_conversations", "code": 1008}
                return [PeerSay(msgspec.json.encode(wrong).decode()), *self._close(1008, text)]
            settings = message.get("voice_settings")
            if not self._first and settings != self._settings:
                return self._close(1008, "voice_settings field must be provided in the first message and not change")
            self._first, self._settings = False, settings
            context = self._contexts[name] = {"text": "", "at": now + self.plan.first_us}
        context["text"] += message.get("text") or ""
        if message.get("flush"):
            self._speak(now, name, context)
        if message.get("close_context"):
            self._at(max(now, context["at"]), ("final", name))
        return []

    def tick(self, now: int) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        for what, value in self._due(now):
            match what:
                case "idle" if value == self._last:
                    text = "Have not received a new text input within the timeout. Streaming input terminated."
                    out += self._close(1008, text)
                case "drop":
                    self.gone = True
                    out.append(PeerDrop())
                case "audio":
                    name, audio = value
                    if self.plan.garbage:
                        out.append(PeerSay('{"audio":"***","contextId":7}'))
                    data = msgspec.json.encode({"audio": audio, "contextId": name, "alignment": None}).decode()
                    out.append(PeerSay(data))
                case "final":
                    self._contexts.pop(value, None)
                    out.append(PeerSay(msgspec.json.encode({"isFinal": True, "contextId": value}).decode()))
        return out

    def _speak(self, now: int, name: str, context: dict[str, Any]) -> None:
        text, context["text"] = context["text"].strip(), ""
        self.texts.append(text)
        audio = b"" if self.plan.empty or not text else speech(text, self._format)
        size = self.plan.cut or self._format.bytes_for_ms(_PIECE_MS)
        at = max(context["at"], now + self.plan.first_us)
        for start in range(0, len(audio), size):
            if self._pieces == self.plan.drop_after:
                self._at(at, ("drop", None))
            if 0 <= self.plan.stall_after <= self._pieces:
                at += 3_600_000_000
                break
            self._pieces += 1
            self._at(at, ("audio", (name, audio[start : start + size])))
            at += _EVERY_US
        context["at"] = at

    def _heard(self, now: int) -> None:
        self._last = now
        self._at(now + self._idle_us, ("idle", now))

    def _close(self, code: int, reason: str) -> list[PeerOrder]:
        self.gone = True
        return [PeerClose(code, reason)]
