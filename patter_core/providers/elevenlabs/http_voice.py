"""ElevenLabs as a voice over HTTP: a request for each sentence, its audio passed on as it comes."""

from __future__ import annotations

from ...audio.formats import AudioFormat
from ...call.words import Drop, Fetch, FetchEnded, FetchFailed, FetchGot, FetchStarted, Inward
from ...engines.engine import StageFailed, Used
from ...engines.stages import Lost, Spoke, Voiced, VoiceOrder
from ...engines.usage import Usage
from ...settings import CallSettings, us
from . import wire
from .options import ElevenLabsVoiceSpec

__all__ = ["ElevenLabsHttpVoice"]

_TRIES = 3
"""Of one sentence, while nothing of it was voiced; of those, ..."""
_FAILURES = 1
"""... so many after a failure that is not "too many requests": what is broken is seldom whole a moment later."""
_WAIT_US = 500_000
"""Before another try, where the answer did not say how long."""
_ERROR = 4_096
"""Bytes kept of an error's body."""
_HEADERS = (("Content-Type", "application/json"),)


class ElevenLabsHttpVoice:
    """One call's. It holds nothing but the sentence being spoken."""

    def __init__(self, spec: ElevenLabsVoiceSpec, prefix: str, line: AudioFormat, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._patience = us(settings.tts_s)
        self._format, self._speaks = wire.output_format(spec.output_format, line)
        self._max_body = 2 * self._speaks.bytes_for_ms(round(settings.sentence_s * 1000)) + _ERROR
        self._samples = wire.Samples(self._speaks)
        self._count = 0
        self._lost = False
        self._text = ""
        self._fetch = ""
        self._tries = 0
        self._failures = 0
        self._status = 0  # of the answer being read
        self._headers: dict[str, str] = {}
        self._body = b""  # of an error
        self._voiced = False
        self._late_at: int | None = None  # no audio by then is a failure
        self._again_at: int | None = None

    @property
    def speaks(self) -> AudioFormat:
        return self._speaks

    @property
    def deadline(self) -> int | None:
        if self._again_at is not None and (self._late_at is None or self._again_at < self._late_at):
            return self._again_at
        return self._late_at

    def begin(self, now: int) -> list[VoiceOrder]:
        return []

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        out = self.stop(now)
        text = text.strip()
        if self._lost or not text:
            return [*out, Spoke()]
        self._text = text
        self._tries = self._failures = 0
        self._voiced = False
        self._late_at = now + self._patience
        self._ask(out)
        return out

    def stop(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = [Drop(self._fetch)] if self._fetch else []
        self._over()
        return out

    def end(self, now: int) -> list[VoiceOrder]:
        out = self.stop(now)
        self._lost = True
        return out

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if not self._fetch or fact.name != self._fetch:
            return out
        match fact:
            case FetchGot(_, data) if self._status == 200:
                if audio := self._samples.whole(data):
                    self._voiced = True
                    self._late_at = now + self._patience
                    out.append(Voiced(audio))
            case FetchGot(_, data):
                self._body += data[: max(0, _ERROR - len(self._body))]
            case FetchStarted(_, status, headers):
                self._started(status, headers, out)
            case FetchEnded():
                self._ended(now, out)
            case FetchFailed(_, fault):
                self._fetch = ""
                self._failed(now, wire.failed(fault), out)
        return out

    def tick(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if self._late_at is not None and self._late_at <= now:
            out += self.stop(now)
            out.append(StageFailed("tts", "ElevenLabs sent no audio within tts_s"))
        elif self._again_at is not None and self._again_at <= now:
            self._again_at = None
            self._ask(out)
        return out

    # --- one request -------------------------------------------------------------------------------------------------

    def _ask(self, out: list[VoiceOrder]) -> None:
        self._count += 1
        self._tries += 1
        self._fetch = f"{self._prefix}{self._count}"
        self._status = 0
        self._body = b""
        self._samples.reset()
        url = wire.speech_url(self._spec, self._format)
        body = wire.speech_body(self._spec, self._text)
        out.append(Fetch(self._fetch, "POST", url, _HEADERS, body, self._spec.auth, max_body=self._max_body))

    def _started(self, status: int, headers: dict[str, str], out: list[VoiceOrder]) -> None:
        self._headers = headers
        self._status = status
        if status == 200 and headers.get("content-type", "").startswith("application/json"):
            self._status = 502  # an error that calls itself a success
        if self._status == 200:
            usage = Usage(stage="tts", provider=wire.PROVIDER, model=self._spec.model, characters=len(self._text))
            out.append(Used(usage))

    def _ended(self, now: int, out: list[VoiceOrder]) -> None:
        self._fetch = ""
        if self._status != 200:
            self._failed(now, wire.refused(self._status, self._headers, self._body, self._patience), out)
        elif self._voiced:
            self._over()
            out.append(Spoke())
        else:
            self._over()
            out.append(StageFailed("tts", "ElevenLabs returned no audio for the sentence"))

    def _failed(self, now: int, why: wire.Trouble, out: list[VoiceOrder]) -> None:
        at = now + (why.wait_us or _WAIT_US)
        busy = self._status == 429
        self._failures += not busy
        late = self._late_at is None or at >= self._late_at
        if why.fatal or self._voiced or late or self._tries >= _TRIES or self._failures > _FAILURES:
            self._over()
            out.append(StageFailed("tts", why.detail))
            if why.fatal:
                self._lost = True
                out.append(Lost(why.detail))
            return
        self._again_at = at

    def _over(self) -> None:
        self._fetch = self._text = ""
        self._status = 0
        self._body = b""
        self._late_at = self._again_at = None
