"""OpenAI's audio API from its side, by script: what is sent to be transcribed says the next text, what is to be spoken
is a tone as long as the text.

An ``OpenAISpeech`` is the account: its script and its faults, which the requests meet in turn. Each request is an
``OpenAISpeechPeer``, whichever of the two endpoints it asks for.

Fields, formats, limits: the service's OpenAPI document, as its own Python library has it in ``types/audio``. Errors:
platform.openai.com/docs/guides/error-codes. That files below a tenth of a second are refused ("audio file is too
short"): community.openai.com, reports on ``audio_too_short``.
"""

from __future__ import annotations

from collections import deque
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..audio.tones import tone
from ..audio.wav import Wav, read_wav
from .provider_peer import PeerAnswer, PeerBody, PeerDone, PeerDrop, PeerOrder

__all__ = ["OpenAISpeech", "OpenAISpeechFault", "OpenAISpeechPeer"]

_VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)
_EARS = ("gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1")
_MOUTHS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_FORM = frozenset(
    ("file", "model", "response_format", "language", "prompt", "temperature", "stream", "chunking_strategy")
)
_SPEECH = frozenset(("model", "input", "voice", "response_format", "instructions", "speed", "stream_format"))
_LONGEST = 4_096
_CHARACTER_MS = 60
"""Speech for a character: about 16 a second."""
_PIECE_US = 20_000
"""Between pieces of a body: faster than it is played."""


class OpenAISpeechFault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with one request."""

    status: int = 0  # it is refused with this
    code: str = ""  # ... and this error code
    retry_after: str = ""
    latency_s: float = 0.0  # to the head of the answer, beside the usual
    drop: bool = False  # vanish instead of answering
    drop_after: int = -1  # pieces of the body, and then vanish
    stall_after: int = -1  # pieces of the body, and then nothing more
    malformed: bool = False  # a success whose body is not what it should be
    empty: bool = False  # a success without a body
    piece: int = 0  # bytes in a piece of the body


class OpenAISpeech:
    """The account. ``texts`` are what callers say; ``faults`` meet its requests in turn."""

    def __init__(
        self,
        texts: tuple[str, ...] = (),
        faults: tuple[OpenAISpeechFault, ...] = (),
        *,
        key: str = "",
        latency_s: float = 0.15,
        piece: int = 4_801,
    ) -> None:
        self.texts = deque(texts)
        self.key = key
        self.latency_s = latency_s
        self.piece = piece
        self.forms: list[dict[str, str]] = []  # the fields of each transcription
        self.heard: list[Wav] = []  # and its file
        self.spoken: list[dict[str, Any]] = []  # the body of each request for speech
        self._faults = deque(faults)

    def fetch(self) -> OpenAISpeechPeer:
        """Somebody asks."""
        return OpenAISpeechPeer(self, self._faults.popleft() if self._faults else OpenAISpeechFault())


class _Refusal(Exception):
    def __init__(self, status: int, message: str, code: str = "", param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error = {
            "message": message,
            "type": "invalid_request_error" if status < 500 else "server_error",
            "param": param or None,
            "code": code or None,
        }


class OpenAISpeechPeer:
    """One request."""

    def __init__(self, account: OpenAISpeech, fault: OpenAISpeechFault) -> None:
        self._account = account
        self._fault = fault
        self._later: deque[tuple[int, PeerOrder]] = deque()

    @property
    def deadline(self) -> int | None:
        return self._later[0][0] if self._later else None

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        fault = self._fault
        at = now + round((self._account.latency_s + fault.latency_s) * 1e6)
        headers = {name.lower(): value for name, value in headers.items()}
        if fault.drop:
            self._later.append((at, PeerDrop()))
            return self.tick(now)
        try:
            kind, answer = self._answer(method, urlsplit(target).path, headers, body)
            self._tell(at, 200, (("Content-Type", kind),), answer)
        except _Refusal as refusal:
            more = (("Retry-After", fault.retry_after),) if fault.retry_after else ()
            error = msgspec.json.encode({"error": refusal.error})
            self._tell(at, refusal.status, (("Content-Type", "application/json"), *more), error)
        return self.tick(now)

    def _tell(self, at: int, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        fault = self._fault
        self._later.append((at, PeerAnswer(status, headers)))
        size = fault.piece or self._account.piece
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        for number, piece in enumerate(pieces):
            if number == fault.stall_after:
                return
            if number == fault.drop_after:
                break
            self._later.append((at, PeerBody(piece)))
            at += _PIECE_US
        self._later.append((at, PeerDrop() if 0 <= fault.drop_after <= len(pieces) else PeerDone()))

    def tick(self, now: int) -> list[PeerOrder]:
        out: list[PeerOrder] = []
        while self._later and self._later[0][0] <= now:
            out.append(self._later.popleft()[1])
        return out

    def closed(self, now: int) -> None:
        del now
        self._later.clear()

    # --- what it answers ---------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        fault = self._fault
        if self._account.key and headers.get("authorization") != f"Bearer {self._account.key}":
            raise _Refusal(401, "Incorrect API key provided: sk-a***b.", "invalid_api_key")
        if method != "POST":
            raise _Refusal(405, f"Not allowed to {method} on {path}", "method_not_supported")
        if path.endswith("/audio/transcriptions"):
            answer = self._transcribe(headers.get("content-type", ""), body)
        elif path.endswith("/audio/speech"):
            answer = self._speak(headers.get("content-type", ""), body)
        else:
            raise _Refusal(404, f"Invalid URL (POST {path})")
        if fault.malformed:
            return "application/json", b'{"transcript": 5'
        return answer[0], b"" if fault.empty else answer[1]

    def _fail(self) -> None:
        """The fault, once the request is known to be a good one."""
        if self._fault.status:
            message = "You exceeded your current quota." if self._fault.code == "insufficient_quota" else "Try again."
            raise _Refusal(self._fault.status, message, self._fault.code)

    def _transcribe(self, kind: str, body: bytes) -> tuple[str, bytes]:
        form, file = _form(kind, body)
        for name in form:
            if name not in _FORM:
                raise _Refusal(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        if file is None:
            raise _Refusal(400, "'file' is a required property", param="file")
        model = form.get("model", "")
        if not model.startswith(_EARS):
            raise _Refusal(404, f"The model `{model}` does not exist", "model_not_found")
        language = form.get("language", "en")
        if len(language) != 2 or not language.isascii() or not language.islower():
            raise _Refusal(400, f"Language '{language}' is not in ISO-639-1", "unsupported_language", "language")
        if form.get("response_format", "json") != "json":
            raise _Refusal(400, "this peer answers in json only", param="response_format")
        try:
            wav = read_wav(file)
        except ValueError as error:
            raise _Refusal(400, f"Audio file might be corrupted or unsupported: {error}", "invalid_value") from error
        if len(wav.pcm) < wav.rate * wav.channels * 2 // 10:
            raise _Refusal(400, "Audio file is too short. Minimum audio length is 0.1 seconds.", "audio_too_short")
        self._account.forms.append(form)
        self._account.heard.append(wav)
        self._fail()
        if self._fault.drop_after >= 0 or self._fault.stall_after >= 0 or not self._account.texts:
            text = self._account.texts[0] if self._account.texts else ""
        else:
            text = self._account.texts.popleft()
        seconds = len(wav.pcm) // 2 / wav.rate
        usage: dict[str, Any] = {"type": "duration", "seconds": seconds}
        if not model.startswith("whisper"):
            tokens = round(seconds * 10)
            usage = {"type": "tokens", "input_tokens": tokens, "output_tokens": 5, "total_tokens": tokens + 5}
        return "application/json", msgspec.json.encode({"text": text, "usage": usage})

    def _speak(self, kind: str, body: bytes) -> tuple[str, bytes]:
        if kind.partition(";")[0] != "application/json":
            raise _Refusal(400, f"Unsupported content type: '{kind}'.", "unsupported_content_type")
        try:
            wanted = msgspec.json.decode(body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise _Refusal(400, "We could not parse the JSON body of your request.") from error
        for name in wanted:
            if name not in _SPEECH:
                raise _Refusal(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        text, model = wanted.get("input"), str(wanted.get("model"))
        if not isinstance(text, str) or not text or len(text) > _LONGEST:
            raise _Refusal(400, f"input must be 1 to {_LONGEST} characters", "string_too_long", "input")
        if not model.startswith(_MOUTHS):
            raise _Refusal(404, f"The model `{model}` does not exist", "model_not_found")
        if wanted.get("voice") not in _VOICES:
            raise _Refusal(400, f"Input should be one of {sorted(_VOICES)}", param="voice")
        if wanted.get("response_format") != "pcm":
            raise _Refusal(400, "this peer speaks pcm only", param="response_format")
        speed = wanted.get("speed", 1)
        if not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
            raise _Refusal(400, "speed must be 0.25 to 4", "invalid_value", "speed")
        self._account.spoken.append(wanted)
        self._fail()
        return "audio/pcm", tone(220, max(100, int(len(text) * _CHARACTER_MS / speed)), 24_000)


def _form(kind: str, body: bytes) -> tuple[dict[str, str], bytes | None]:
    """The fields of a form, and its file."""
    if not kind.startswith("multipart/form-data"):
        raise _Refusal(400, f"Unsupported content type: '{kind}'.", "unsupported_content_type")
    message = message_from_bytes(b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    parts = message.get_payload()
    form: dict[str, str] = {}
    file: bytes | None = None
    for part in parts if isinstance(parts, list) else []:
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise _Refusal(400, "Could not parse multipart form")
        if name == "file":
            file = data
        else:
            form[name] = data.decode("utf-8", "replace")
    return form, file
