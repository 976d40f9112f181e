"""OpenAI's transcription as an ear: each utterance, once it is over, is sent as a WAV file and comes back as text.

One request at a time, in the order in which the utterances were spoken. What it says is believed: recognisers invent
words where nobody spoke, but which words were invented cannot be told from the words, and a filter of phrases drops
callers who say "bye bye". An utterance that came to nothing is ``StageFailed`` and then the empty ``Recognised`` it is
owed. Those owed at ``Lost`` stay with whoever takes over: they have their audio.
"""

from __future__ import annotations

import enum
from collections import deque

import msgspec

from ...audio.formats import L16_16K, AudioFormat
from ...audio.wav import wav_header
from ...call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted, Inward
from ...engines.engine import StageFailed, Used
from ...engines.stages import EarOrder, Lost, Recognised
from ...engines.usage import Usage
from ...settings import CallSettings
from ...timers import Timers, later
from .multipart import multipart
from .options import TranscribeSpec
from .trouble import ERROR_BYTES, Trouble, broken, refused

__all__ = ["TranscribeEar"]

_TRIES = 2
_FAILURES = 3
"""Utterances in a row that came to nothing: the ear is lost."""
_SHORTEST_MS = 100
"""The service refuses less ("audio file is too short"), and nobody says anything in it."""
_ANSWER_BYTES = 256 * 1024
"""Half a minute of speech is a few hundred characters; the rest is what the service says about it."""
_LONGEST = 10_000
"""Characters of a transcript."""


class _Timer(enum.Enum):
    LATE = "late"
    AGAIN = "again"


class _Answer(msgspec.Struct):
    text: str


_ANSWER = msgspec.json.Decoder(_Answer)


class TranscribeEar:
    """One call's ear. ``language`` is the agent's, for a spec that names none."""

    def __init__(self, spec: TranscribeSpec, prefix: str, settings: CallSettings, language: str = "") -> None:
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._language = (spec.language or language).replace("_", "-").partition("-")[0].lower()  # ISO 639-1 is wanted
        self._limit = L16_16K.bytes_for_ms(round(settings.utterance_s * 1000))
        self._timers: Timers[_Timer] = Timers()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._running: tuple[int, bytes] | None = None
        self._fetch = ""
        self._count = 0
        self._tries = 0
        self._failures = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = b""
        self._done = False

    @property
    def hears(self) -> AudioFormat:
        return L16_16K

    @property
    def deadline(self) -> int | None:
        return None if self._done else self._timers.deadline

    def begin(self, now: int) -> list[EarOrder]:
        return []

    def hear(self, now: int, audio: bytes) -> list[EarOrder]:
        return []

    def utterance(self, now: int, stopped: int, audio: bytes) -> list[EarOrder]:
        out: list[EarOrder] = []
        if self._done:
            return out
        audio = audio[: len(audio) // 2 * 2]
        self._waiting.append((stopped, audio))
        self._waiting_bytes += len(audio)
        while len(self._waiting) > 1 and self._waiting_bytes > self._limit:
            oldest, audio = self._waiting.popleft()
            self._waiting_bytes -= len(audio)
            out.append(StageFailed("stt", "too slow: more than utterance_s waits; the oldest was not recognised"))
            out.append(Recognised("", oldest))
        self._next(now, out)
        return out

    def handle(self, now: int, fact: Inward) -> list[EarOrder]:
        out: list[EarOrder] = []
        if not self._fetch or fact.name != self._fetch:
            return out
        match fact:
            case FetchStarted(_, status, headers):
                self._status, self._headers = status, headers
            case FetchGot(_, data):
                room = (_ANSWER_BYTES if 200 <= self._status < 300 else ERROR_BYTES) - len(self._body)
                self._body += data[: max(0, room)]
            case FetchEnded():
                self._fetch = ""
                self._answered(now, out)
            case FetchFailed(_, fault):
                self._fetch = ""
                if self._status >= 400:  # what matters of it is known
                    self._refused(now, out)
                else:
                    self._wrong(now, broken(fault), out)
        return out

    def tick(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        while not self._done and (timer := self._timers.due(now)) is not None:
            if timer is _Timer.AGAIN:
                self._ask(out)
            else:
                self._drop(out)
                detail = f"OpenAI's transcription took too long (stt_s {self._settings.stt_s:g})"
                self._wrong(now, Trouble(detail), out)
        return out

    def end(self, now: int) -> list[EarOrder]:
        out: list[EarOrder] = []
        self._close(out)
        return out

    # --- one utterance -----------------------------------------------------------------------------------------------

    def _next(self, now: int, out: list[EarOrder]) -> None:
        while self._running is None and self._waiting and not self._done:
            stopped, audio = self._waiting.popleft()
            self._waiting_bytes -= len(audio)
            if len(audio) < L16_16K.bytes_for_ms(_SHORTEST_MS):
                out.append(Recognised("", stopped))
                continue
            self._running = stopped, audio
            self._tries = 0
            self._timers.set(_Timer.LATE, later(now, self._settings.stt_s))
            self._ask(out)

    def _ask(self, out: list[EarOrder]) -> None:
        assert self._running is not None
        spec, (_, audio) = self._spec, self._running
        fields = [("model", spec.model), ("response_format", "json")]
        if self._language:
            fields.append(("language", self._language))
        if spec.prompt:
            fields.append(("prompt", spec.prompt))
        if spec.temperature is not None:
            fields.append(("temperature", f"{spec.temperature:g}"))
        wav = wav_header(L16_16K.rate, 1, len(audio)) + audio
        kind, body = multipart(fields, "file", "utterance.wav", "audio/wav", wav)
        self._count += 1
        self._tries += 1
        self._fetch = f"{self._prefix}{self._count}"
        self._status = 0
        self._headers = {}
        self._body = b""
        url = f"{spec.base_url}/audio/transcriptions"
        headers = (("Content-Type", kind),)
        out.append(Fetch(self._fetch, "POST", url, headers, body, spec.auth, max_body=_ANSWER_BYTES))

    def _answered(self, now: int, out: list[EarOrder]) -> None:
        spec = self._spec
        if not 200 <= self._status < 300:
            self._refused(now, out)
            return
        assert self._running is not None
        stopped, audio = self._running
        usage = Usage(stage="stt", provider=spec.provider, model=spec.model, audio_us=L16_16K.duration_us(len(audio)))
        try:
            text = _ANSWER.decode(self._body).text.strip()[:_LONGEST]
        except (ValueError, RecursionError):
            out.append(Used(usage))
            self._wrong(now, Trouble('OpenAI\'s transcription answered with something else than {"text"}'), out)
            return
        self._failures = 0
        self._over()
        out.append(Recognised(text, stopped))
        out.append(Used(usage))
        self._next(now, out)

    def _refused(self, now: int, out: list[EarOrder]) -> None:
        spec = self._spec
        self._wrong(now, refused(self._status, self._headers, self._body, spec.model, spec.base_url), out)

    def _wrong(self, now: int, trouble: Trouble, out: list[EarOrder]) -> None:
        """This request came to nothing; once, another one is made."""
        if trouble.fatal:
            self._lose(trouble.detail, out)
            return
        late = self._timers.when(_Timer.LATE)
        again = later(now, trouble.wait_s)
        if trouble.passing and self._tries < _TRIES and late is not None and again < late:
            self._timers.set(_Timer.AGAIN, again)
            return
        self._failures += 1
        if self._failures >= _FAILURES:
            self._lose(f"{_FAILURES} utterances in a row came to nothing; the last: {trouble.detail}", out)
            return
        assert self._running is not None
        stopped = self._running[0]
        self._over()
        out.append(StageFailed("stt", trouble.detail))
        out.append(Recognised("", stopped))
        self._next(now, out)

    def _over(self) -> None:
        self._running = None
        self._body = b""
        self._timers.clear(_Timer.LATE)
        self._timers.clear(_Timer.AGAIN)

    def _drop(self, out: list[EarOrder]) -> None:
        if self._fetch:
            out.append(Drop(self._fetch))
            self._fetch = ""

    def _close(self, out: list[EarOrder]) -> None:
        self._done = True
        self._drop(out)
        self._over()
        self._waiting.clear()

    def _lose(self, detail: str, out: list[EarOrder]) -> None:
        self._close(out)
        out.append(Lost(detail))
