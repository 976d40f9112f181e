"""What is said to the caller: converted for the line, sent as the ledger allows, and known by how much of it was heard.

It joins the ledger with the words that belong to its audio, with the keys we press in-band, and with the call's own
recording of both sides. Whose turn it is, and what follows from being interrupted, is the conversation's business.
"""

from __future__ import annotations

import msgspec

from ..audio.formats import AudioFormat, Encoding
from ..audio.tones import dtmf
from ..audio.transcode import Transcoder
from ..carriers.carrier import MediaStream
from ..settings import CallSettings
from .playback import Media, Playback, Played, SetMark
from .recorder import Recorder
from .transcript import Utterance
from .words import CallOrder, Tape, ToCarrier

__all__ = ["Cut", "Mouth", "Words"]

_LAST_PIECES = 64
"""Of a recording, when its call ends: ten megabytes, or as many minutes of which nothing was written yet."""

_PAUSES = {"w": 500, "W": 1000}  # milliseconds, as both carriers' REST APIs spell them
_TONE_PAUSE_MS = 50
"""The least silence between two tones (ITU-T Q.24 asks receivers to take 40 ms)."""


class Words(msgspec.Struct, frozen=True, gc=False):
    """What was heard of an item, and the turn it belongs to; -1 when nothing of it was known."""

    item: str
    text: str = ""
    turn: int = -1


class Cut(msgspec.Struct, frozen=True, gc=False):
    """An item that was stopped: so much of it was heard, so much never will be."""

    words: Words
    heard_us: int
    dropped_us: int
    whole: bool


class Mouth:
    """One call's. ``taping``: keep a recording of both sides."""

    def __init__(self, settings: CallSettings, taping: bool) -> None:
        self._settings = settings
        self._taping = taping
        self._stream: MediaStream | None = None
        self._line: AudioFormat | None = None
        self._voice: AudioFormat | None = None  # the engine's
        self._playback: Playback | None = None
        self._to_line: Transcoder | None = None
        self._utterances: dict[str, Utterance] = {}
        self._tones: set[str] = set()  # items of keys being pressed: nobody barges in on those
        self._recorder: Recorder | None = None
        self.pressed: list[str] = []  # of those, the ones that were heard whole; whoever looks takes them
        self.unpressed: list[str] = []  # ... and the ones that never will be

    # --- the line ----------------------------------------------------------------------------------------------------

    def attach(self, now: int, stream: MediaStream, hears: AudioFormat, sends: AudioFormat) -> None:
        """A (new) stream: what we hear on it, and what we must send."""
        self._stream = stream
        if sends != self._line:
            self._line = sends
            self._convert()
        if self._playback is None:
            self._playback = Playback(sends, self._settings)
        self._playback.attach(now, sends)
        if self._taping:
            if self._recorder is None:
                settle_s = max(3.0, self._settings.mark_patience_s + 1)
                self._recorder = Recorder(hears.rate, settle_s=settle_s)
            self._recorder.attach(now, hears, sends)

    def detach(self) -> None:
        """The stream is gone."""
        self._stream = None

    def speak_as(self, voice: AudioFormat) -> None:
        """The format in which speech will come."""
        self._voice = voice
        self._convert()

    def _convert(self) -> None:
        if self._voice is not None and self._line is not None:
            self._to_line = Transcoder(self._voice, self._line)

    @property
    def open(self) -> bool:
        """There is a line to speak on."""
        return self._stream is not None and self._playback is not None

    # --- what to say -------------------------------------------------------------------------------------------------

    def saying(self, item: str, turn: int, text: str) -> None:
        """The audio of this item that follows says this."""
        utterance = self._utterances.get(item)
        if utterance is None:
            utterance = self._utterances[item] = Utterance(item, turn)
        utterance.saying(text)

    def worded(self, item: str, turn: int, text: str) -> None:
        """The audio of this item goes on to say this."""
        utterance = self._utterances.get(item)
        if utterance is None:
            utterance = self._utterances[item] = Utterance(item, turn)
        utterance.worded(text)

    def said(self, item: str, whole: bool = True) -> None:
        """That was all of that audio; or all there will be of it."""
        if item in self._utterances:
            self._utterances[item].said(whole)

    def speak(self, item: str, audio: bytes, live: bool) -> tuple[bool, bool]:
        """Queue speech. Returns whether its words are known, and whether something older had to go for it."""
        playback, to_line = self._playback, self._to_line
        if playback is None or to_line is None or self._stream is None:
            return False, False
        audio = audio if to_line.passthrough else to_line.process(audio)
        known = self._count(item, audio)
        return known, bool(playback.queue(item, audio, live))

    def ended(self, item: str) -> bool:
        """Nothing more will be said in this item. False: there was nothing to hear it on."""
        playback, to_line = self._playback, self._to_line
        if playback is None or to_line is None or self._stream is None:
            return False
        if tail := to_line.flush():  # the last milliseconds are still in the resampler
            playback.queue(item, tail)
            self._count(item, tail)
        playback.end(item)
        return True

    def _count(self, item: str, audio: bytes) -> bool:
        utterance = self._utterances.get(item)
        if utterance is None or self._line is None:
            return False
        utterance.audio(self._line.duration_us(len(audio)))
        return True

    def press(self, item: str, digits: str, gap_ms: int, tone_ms: int) -> None:
        """Press keys in-band: their tones go between what is being said and what is said next."""
        playback, line = self._playback, self._line
        if playback is None or line is None or self._stream is None:
            return
        to_line = Transcoder(AudioFormat(Encoding.L16, line.rate), line)
        pause = max(_TONE_PAUSE_MS, gap_ms - tone_ms)
        pcm = b"".join(
            bytes(2 * line.rate * _PAUSES[key] // 1000)
            if key in _PAUSES
            else dtmf(key, tone_ms, line.rate) + bytes(2 * line.rate * pause // 1000)
            for key in digits
        )
        playback.queue(item, to_line.process(pcm) + to_line.flush())
        playback.end(item)
        self._tones.add(item)

    # --- sending and hearing -----------------------------------------------------------------------------------------

    def pump(self, now: int, out: list[CallOrder]) -> list[str]:
        """Send what may leave. Returns the items that were heard to their end."""
        playback, stream = self._playback, self._stream
        if playback is None or stream is None:
            return []
        played: list[str] = []
        for order in playback.pump(now):
            kind = type(order)
            if kind is Media:
                if self._recorder is not None:
                    self._recorder.agent_sent(now, order.payload)  # type: ignore[union-attr]
                out.append(ToCarrier(stream.media(order.payload)))  # type: ignore[union-attr]
            elif kind is SetMark:
                out.append(ToCarrier(stream.mark(order.name)))  # type: ignore[union-attr]
            else:
                assert isinstance(order, Played)
                self._heard(order.item, played)
        return played

    def mark(self, now: int, name: str) -> list[str]:
        """The carrier returned a mark. Returns the items that were heard to their end."""
        playback = self._playback
        if playback is None:
            return []
        before = playback.confirmed
        played: list[str] = []
        for one in playback.mark_returned(now, name):
            self._heard(one.item, played)
        if self._recorder is not None and playback.confirmed != before:
            self._recorder.agent_played(now, playback.confirmed)
        return played

    def first_heard(self) -> list[tuple[str, int]]:
        """Items the caller is now known to have begun to hear, and when; ask after ``mark``."""
        return [] if self._playback is None else self._playback.first_heard()

    def _heard(self, item: str, played: list[str]) -> None:
        if item in self._tones:
            self._tones.discard(item)
            self.pressed.append(item)
        else:
            played.append(item)

    def words(self, item: str) -> Words:
        """All that was said in an item that was heard to its end. It is forgotten."""
        utterance = self._utterances.pop(item, None)
        return Words(item) if utterance is None else Words(item, utterance.text, utterance.turn)

    def knows(self, item: str) -> bool:
        """Something of this item was not heard yet."""
        return item in self._utterances

    def clear(self, now: int, out: list[CallOrder], tell: bool) -> list[Cut]:
        """Stop: throw away what was not heard, and with ``tell`` have the carrier do so too. Returns what was cut."""
        playback = self._playback
        if playback is None:
            return []
        if self._recorder is not None:
            self._recorder.agent_cleared(now, playback.heard_position(now))
        heard, at_carrier = playback.clear(now)
        if at_carrier and tell and self._stream is not None:
            out.append(ToCarrier(self._stream.clear()))
        if self._to_line is not None:
            self._to_line.reset()  # or the end of what was cut would begin what is said next
        cuts: list[Cut] = []
        for one in heard:
            if one.item in self._tones:
                self._tones.discard(one.item)
                (self.pressed if one.whole else self.unpressed).append(one.item)
            elif one.whole:
                cuts.append(Cut(self.words(one.item), one.heard_us, one.dropped_us, True))
            else:
                cuts.append(Cut(self._words_until(one.item, one.heard_us), one.heard_us, one.dropped_us, False))
        return cuts

    def _words_until(self, item: str, heard_us: int) -> Words:
        utterance = self._utterances.pop(item, None)
        return Words(item) if utterance is None else Words(item, utterance.heard(heard_us), utterance.turn)

    def forget(self, item: str) -> Words:
        """An item of which no audio had come yet will never be heard."""
        return self._words_until(item, 0)

    # --- questions ---------------------------------------------------------------------------------------------------

    @property
    def unheard(self) -> list[str]:
        """Items whose words are known, and that were not heard to their end."""
        return list(self._utterances)

    @property
    def queued_us(self) -> int:
        """Speech waiting here, not yet sent."""
        return 0 if self._playback is None else self._playback.queued_us

    @property
    def deadline(self) -> int | None:
        """When to ``pump`` next."""
        return None if self._playback is None or self._stream is None else self._playback.deadline

    @property
    def pressing(self) -> bool:
        """Keys are being pressed in-band."""
        return bool(self._tones)

    def audible(self, now: int) -> bool:
        """Something is queued, or at the carrier and not known to be played."""
        return self._playback is not None and self._stream is not None and self._playback.audible(now)

    def sent_at(self, item: str) -> int:
        """When the first byte of an unfinished item left; -1 while it has not."""
        return -1 if self._playback is None else self._playback.sent_at(item)

    def hold(self, held: bool) -> None:
        """The socket is under pressure, or is not any more."""
        if self._playback is not None:
            self._playback.held = held

    def counts(self) -> tuple[int, int, int]:
        """Media messages sent, marks played, marks discarded."""
        playback = self._playback
        if playback is None:
            return 0, 0, 0
        return playback.frames_out, playback.marks_played + playback.marks_assumed, playback.marks_discarded

    # --- the recording -----------------------------------------------------------------------------------------------

    def heard(self, now: int, timestamp_ms: int, payload: bytes, chunk: int) -> None:
        """A frame of the caller, for the recording."""
        if self._recorder is not None:
            self._recorder.caller(now, timestamp_ms, payload, chunk)

    def tape(self, now: int, out: list[CallOrder]) -> None:
        """Hand out the next piece of the recording, if there is one worth writing."""
        if self._recorder is not None and (data := self._recorder.take(now)):
            out.append(Tape(data))

    def end_tape(self, now: int, out: list[CallOrder]) -> None:
        """The last pieces, and the header that says how long it is."""
        recorder = self._recorder
        if recorder is None:
            return
        recorder.finish(now)
        for _ in range(_LAST_PIECES):
            if not (data := recorder.take(now)):
                break
            out.append(Tape(data))
        if recorder.data_bytes:
            offset, header = recorder.patch()
            out.append(Tape(header, offset))

    @property
    def taped(self) -> bool:
        """There is a recording."""
        return self._recorder is not None and self._recorder.data_bytes > 0
