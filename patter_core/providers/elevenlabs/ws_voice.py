"""ElevenLabs as a voice over one WebSocket a call: a context for each sentence.

A sentence is sent whole, flushed, and its context closed at once: ``isFinal`` then follows the last of its audio. One
that is stopped cannot be called back; its audio is dropped as it comes. ElevenLabs allows five contexts at a time, so
after too many of those a new WebSocket is the quicker way. One that nobody has used for three minutes is closed by
ElevenLabs; the next sentence opens another.
"""

from __future__ import annotations

from ...audio.formats import AudioFormat
from ...call.words import CloseLink, Inward, LinkClosed, LinkOpened, LinkSaid, OpenLink, SayOnLink
from ...engines.engine import ProviderWarned, StageFailed, Switched, Used
from ...engines.stages import Lost, Spoke, Voiced, VoiceOrder
from ...engines.usage import Usage
from ...settings import CallSettings, us
from . import wire
from .options import ElevenLabsWsVoiceSpec

__all__ = ["ElevenLabsWsVoice"]

_CONNECT_US = 5_000_000
"""One try; it takes a few tenths of a second."""
_WAIT_US = 250_000
"""Before another try; doubled each time."""
_FAILURES = 3
"""In a row, before another voice takes over."""
_MALFORMED = 100
"""Messages that are none, before the WebSocket is given up."""


class ElevenLabsWsVoice:
    """One call's."""

    def __init__(self, spec: ElevenLabsWsVoiceSpec, prefix: str, line: AudioFormat, settings: CallSettings) -> None:
        self._spec = spec
        self._prefix = prefix
        self._patience = us(settings.tts_s)
        self._format, self._speaks = wire.output_format(spec.output_format, line)
        self._samples = wire.Samples(self._speaks)
        self._count = 0  # of links
        self._lost = False
        self._link = ""
        self._open = False
        self._opened = False  # some link was
        self._open_by: int | None = None
        self._again_at: int | None = None
        self._failures = 0
        self._malformed = 0
        self._warned = False
        self._contexts: dict[str, None] = {}  # open on this link
        self._context_count = 0
        self._text = ""  # being spoken
        self._context = ""  # ... there; '' while there is no link to say it on
        self._billed = False
        self._voiced = False
        self._late_at: int | None = None

    @property
    def speaks(self) -> AudioFormat:
        return self._speaks

    @property
    def deadline(self) -> int | None:
        at = self._late_at
        for one in (self._open_by, self._again_at):
            if one is not None and (at is None or one < at):
                at = one
        return at

    def begin(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if not self._link and not self._lost:
            self._dial(now, out)
        return out

    def speak(self, now: int, text: str) -> list[VoiceOrder]:
        out = self.stop(now)
        text = text.strip()
        if self._lost or not text:
            return [*out, Spoke()]
        self._text = text
        self._voiced = self._billed = False
        self._late_at = now + self._patience
        if self._open and len(self._contexts) >= wire.CONTEXTS:
            self._hang_up(out)
        if self._open:
            self._send(out)
        elif not self._link and self._again_at is None:
            self._dial(now, out)
        return out

    def stop(self, now: int) -> list[VoiceOrder]:
        self._over()
        return []

    def end(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        self._over()
        self._hang_up(out)
        self._again_at = None
        self._lost = True
        return out

    def handle(self, now: int, fact: Inward) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if not self._link or fact.name != self._link:
            return out
        match fact:
            case LinkSaid(_, text):
                self._said(now, text, out)
            case LinkOpened():
                self._open, self._open_by = True, None
                if self._opened:
                    out.append(Switched("tts", wire.PROVIDER, "a new connection to the same voice"))
                self._opened = True
                if self._text:
                    self._send(out)
            case LinkClosed(_, code, reason, status, fault):
                self._forget()
                self._failed(now, wire.socket_closed(code, reason, status, fault, None), out)
        return out

    def tick(self, now: int) -> list[VoiceOrder]:
        out: list[VoiceOrder] = []
        if self._late_at is not None and self._late_at <= now:
            self._over()
            out.append(StageFailed("tts", "ElevenLabs sent no audio within tts_s"))
            if self._open:
                self._hang_up(out)  # it may be dead; and what it owes us would come into the next sentence's time
        if self._open_by is not None and self._open_by <= now:
            self._hang_up(out)
            self._failed(now, wire.Trouble("ElevenLabs' WebSocket could not be opened in time"), out)
        elif self._again_at is not None and self._again_at <= now:
            self._again_at = None
            if self._text:
                self._dial(now, out)
        return out

    # --- the link ----------------------------------------------------------------------------------------------------

    def _dial(self, now: int, out: list[VoiceOrder]) -> None:
        self._count += 1
        self._link = f"{self._prefix}{self._count}"
        self._open_by = now + _CONNECT_US
        out.append(OpenLink(self._link, wire.socket_url(self._spec, self._format), auth=self._spec.auth))

    def _hang_up(self, out: list[VoiceOrder]) -> None:
        if self._link:
            out.append(CloseLink(self._link))
        self._forget()

    def _forget(self) -> None:
        self._link = self._context = ""
        self._open = False
        self._open_by = None
        self._malformed = 0
        self._contexts.clear()

    def _failed(self, now: int, why: wire.Trouble, out: list[VoiceOrder]) -> None:
        """The link is gone. Without a sentence to speak that is nothing: the next one opens another."""
        idle = not self._text
        if idle and not why.fatal:
            return
        self._failures += 1
        at = now + (_WAIT_US << (self._failures - 1))
        lost = why.fatal or self._failures >= _FAILURES
        if lost or self._voiced or self._late_at is None or at >= self._late_at:
            self._over()
            out.append(StageFailed("tts", why.detail))
            if lost:
                self._lost = True
                self._again_at = None
                out.append(Lost(why.detail))
            return
        self._again_at = at

    # --- one sentence ------------------------------------------------------------------------------------------------

    def _send(self, out: list[VoiceOrder]) -> None:
        self._context_count += 1
        context = self._context = f"c{self._context_count}"
        self._contexts[context] = None
        self._samples.reset()
        link = self._link
        out.append(SayOnLink(link, wire.open_context(context, self._spec.voice_settings)))
        out.append(SayOnLink(link, wire.say(context, self._text)))
        out.append(SayOnLink(link, wire.close_context(context)))
        if not self._billed:
            self._billed = True
            usage = Usage(stage="tts", provider=wire.PROVIDER, model=self._spec.model, characters=len(self._text))
            out.append(Used(usage))

    def _said(self, now: int, text: str, out: list[VoiceOrder]) -> None:
        message = wire.parse(text)
        if message is None:
            self._bad(now, out)
            return
        if message.error or (message.message and not message.audio and not message.final):
            self._hang_up(out)
            self._failed(now, wire.socket_closed(message.code or 0, "", 0, None, message), out)
            return
        ours = bool(self._context) and message.context in (self._context, None)
        if ours and message.audio and (audio := self._samples.whole(message.audio)):
            self._voiced = True
            self._late_at = now + self._patience
            out.append(Voiced(audio))
        if message.final or message.final_too:
            self._contexts.pop(message.context or self._context, None)
            if ours:
                self._final(out)

    def _final(self, out: list[VoiceOrder]) -> None:
        if self._voiced:
            self._failures = 0
            out.append(Spoke())
        else:
            out.append(StageFailed("tts", "ElevenLabs returned no audio for the sentence"))
        self._over()

    def _bad(self, now: int, out: list[VoiceOrder]) -> None:
        self._malformed += 1
        if not self._warned:
            self._warned = True
            detail = "ElevenLabs sent what is not its protocol; it is skipped"
            out.append(ProviderWarned(wire.PROVIDER, "malformed", detail))
        if self._malformed >= _MALFORMED:
            self._hang_up(out)
            self._failed(now, wire.Trouble("ElevenLabs did not speak its protocol"), out)

    def _over(self) -> None:
        self._text = self._context = ""
        self._late_at = None
