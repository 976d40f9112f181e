"""OpenAI's speech as a voice: one request a sentence, raw PCM back as it is made.

A body is cut anywhere, in the middle of a sample, too: half a sample waits for its other half. What fails before any
audio came is tried once more where that may help; afterwards the sentence ends where it broke off, for a sentence said
twice is worse than half of one.
"""

from __future__ import annotations

import enum
from typing import Any

from ...audio.formats import L16_24K, AudioFormat
from ...call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted, Inward
from ...engines.engine import StageFailed, Used
from ...engines.stages import Lost, Spoke, Voiced, VoiceOrder
from ...engines.usage import Usage
from ...settings import CallSettings
from ...timers import Timers, later
from ..sendable import to_json
from .options import OpenAIVoiceSpec
from .trouble import ERROR_BYTES, Trouble, broken, refused

__all__ = ["OpenAIVoice"]

_TRIES = 2
_FAILURES = 3
"""Sentences in a row that came to nothing: the voice is lost."""
_LONGEST = 4_096
"""Characters of one request: the service's own limit. Sentences are cut at 300."""
_HEADERS = (("Content-Type", "application/json"),)


class _Timer(enum.Enum):
    LATE = "late"
    AGAIN = "again"


class OpenAIVoice:
    """One call's voice."""

    def __init__(self, spec: OpenAIVoiceSpec, prefix: str, line: AudioFormat, settings: CallSettings) -> None:
        del line  # the service makes 24 kHz PCM, or files
        self._spec = spec
        self._prefix = prefix
        self._settings = settings
        self._max_body = 2 * L16_24K.bytes_for_ms(round(settings.sentence_s * 1000)) + ERROR_BYTES
        self._timers: Timers[_Timer] = Timers()
        self._text = ""
        self._fetch = ""
        self._count = 0
        self._tries = 0
        self._failures = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._speech = False  # the answer is audio
        self._body = b""  # of an error
        self._half = b""
        self._voiced = False
        self._done = False

    @property
    def speaks(self) -> AudioFormat:
        return L16_24K

    @property
    def deadline(self) -> int | None:
        return None if self._done else self._timers.deadline

    def begin(self, now: int) -> list[VoiceOrder]:
        return []

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        out = self.stop(now)
        text = text.strip()
        if self._done:
            return out
        if not text:
            return [*out, Spoke()]
        self._text = text[:_LONGEST]
        self._tries = 0
        self._voiced = False
        self._wait(now)
        self._ask(out)
        return out

    def stop(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        self._let_go(out)
        return out

    def end(self, now: int) -> list[VoiceOrder]:
        out = self.stop(now)
        self._done = True
        return out

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if not self._fetch or fact.name != self._fetch:
            return out
        match fact:
            case FetchGot(_, data):
                if self._speech:
                    self._got(now, data, out)
                else:
                    self._body += data[: max(0, ERROR_BYTES - len(self._body))]
            case FetchStarted(_, status, headers):
                self._started(status, headers, out)
            case FetchEnded():
                self._fetch = ""
                self._ended(now, out)
            case FetchFailed(_, fault):
                self._fetch = ""
                if self._status >= 400:  # what matters of it is known
                    self._refused(now, out)
                else:
                    self._wrong(now, broken(fault), out)
        return out

    def tick(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        while not self._done and (timer := self._timers.due(now)) is not None:
            if timer is _Timer.AGAIN:
                self._ask(out)
            else:
                self._wrong(now, Trouble(f"OpenAI's voice sent no audio within tts_s ({self._settings.tts_s:g})"), out)
        return out

    # --- one sentence ------------------------------------------------------------------------------------------------

    def _ask(self, out: list[VoiceOrder]) -> None:
        spec = self._spec
        body: dict[str, Any] = {"model": spec.model, "input": self._text, "voice": spec.voice, "response_format": "pcm"}
        if spec.instructions:
            body["instructions"] = spec.instructions
        if spec.speed is not None:
            body["speed"] = spec.speed
        self._count += 1
        self._tries += 1
        self._fetch = f"{self._prefix}{self._count}"
        self._status = 0
        self._headers = {}
        self._speech = False
        self._body = self._half = b""
        url = f"{spec.base_url}/audio/speech"
        out.append(Fetch(self._fetch, "POST", url, _HEADERS, to_json(body), spec.auth, max_body=self._max_body))

    def _started(self, status: int, headers: dict[str, str], out: list[VoiceOrder]) -> None:
        self._status, self._headers = status, headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._speech = 200 <= status < 300 and kind != "application/json" and not kind.startswith("text/")
        if self._speech:
            usage = Usage(stage="tts", provider="openai_tts", model=self._spec.model, characters=len(self._text))
            out.append(Used(usage))

    def _got(self, now: int, data: bytes, out: list[VoiceOrder]) -> None:
        if self._half:
            data = self._half + data
        self._half = data[-1:] if len(data) % 2 else b""
        if self._half:
            data = data[:-1]
        if data:
            self._voiced = True
            self._wait(now)
            out.append(Voiced(data))

    def _ended(self, now: int, out: list[VoiceOrder]) -> None:
        if not self._speech:
            self._refused(now, out)
        elif self._voiced:
            self._failures = 0
            self._let_go(out)
            out.append(Spoke())
        else:
            self._wrong(now, Trouble("OpenAI's voice sent no audio for the sentence", passing=True), out)

    def _refused(self, now: int, out: list[VoiceOrder]) -> None:
        spec = self._spec
        status = self._status if not 200 <= self._status < 300 else 502  # an error that calls itself a success
        self._wrong(now, refused(status, self._headers, self._body, spec.model, spec.base_url), out)

    def _wrong(self, now: int, trouble: Trouble, out: list[VoiceOrder]) -> None:
        """This request came to nothing, or broke off. Once, and as long as nothing was heard, another one is made."""
        late = self._timers.when(_Timer.LATE)
        again = later(now, trouble.wait_s)
        hopeful = trouble.passing and not self._voiced and self._tries < _TRIES
        if hopeful and not trouble.fatal and late is not None and again < late:
            self._timers.set(_Timer.AGAIN, again)
            return
        self._failures += 1
        self._let_go(out)
        if trouble.fatal:
            self._lose(trouble.detail, out)
        elif self._failures >= _FAILURES:
            self._lose(f"{_FAILURES} sentences in a row came to nothing; the last: {trouble.detail}", out)
        else:
            out.append(StageFailed("tts", trouble.detail))
            out.append(Spoke())

    def _lose(self, detail: str, out: list[VoiceOrder]) -> None:
        self._done = True
        out.append(Lost(detail))

    def _wait(self, now: int) -> None:
        """Audio is to come within ``tts_s``."""
        self._timers.set(_Timer.LATE, later(now, self._settings.tts_s))

    def _let_go(self, out: list[VoiceOrder]) -> None:
        if self._fetch:
            out.append(Drop(self._fetch))
        self._fetch = self._text = ""
        self._body = self._half = b""
        self._timers.clear(_Timer.LATE)
        self._timers.clear(_Timer.AGAIN)
