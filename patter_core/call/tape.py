"""One channel of a recording: sounds at their places, and silence wherever nothing was put.

Places are counted in samples of the recording and may be negative. A *sound* is a stretch of encoded audio without a
gap; it stays encoded until it is rendered, so it can still be cut and moved, a frame costs an append, and silence
costs nothing until somebody writes it down.
"""

from __future__ import annotations

from collections import deque

from ..audio.formats import AudioFormat, Encoding
from ..audio.transcode import Transcoder

__all__ = ["Tape"]

_UNIT = 6
"""Inputs are resampled in multiples of this: a whole number of outputs between any two of the telephone's rates."""
_NOWHERE = -1
_MOST_SOUNDS = 1_000
"""However short they are: each costs more than its bytes."""


class _Sound:
    """``start`` is the place of ``data[0]``, the first byte not converted; ``position`` the ledger's name for it."""

    __slots__ = (
        "_made",
        "_skip",
        "_transcoder",
        "bytes_per_sample",
        "data",
        "flushed",
        "format",
        "position",
        "start",
        "to",
        "unit",
    )

    def __init__(self, start: int, audio: AudioFormat, rate: int, data: bytes | bytearray, position: int) -> None:
        self.start = start
        self.format = audio
        self.to = rate
        self.unit = 1 if audio.rate == rate else _UNIT
        self.bytes_per_sample = audio.bytes_per_sample
        self.data = bytearray(data)
        self.position = position
        self.flushed = False  # its end was rendered: what follows is another sound
        self._transcoder: Transcoder | None = None  # once some of it was rendered
        self._made = bytearray()  # PCM16 converted and not yet rendered
        self._skip = 0

    @property
    def end(self) -> int:
        return self.start + self.samples(len(self.data))

    @property
    def begun(self) -> bool:
        return self._transcoder is not None

    def samples(self, nbytes: int) -> int:
        return nbytes // self.bytes_per_sample * self.to // self.format.rate

    def nbytes(self, samples: int) -> int:
        return samples * self.format.rate // self.to * self.bytes_per_sample

    def take(self, nbytes: int) -> bytes:
        """The first bytes, which leave."""
        head = bytes(self.data[:nbytes])
        del self.data[:nbytes]
        if self.position >= 0:
            self.position += nbytes
        return head

    def render(self, count: int) -> bytes:
        """The next ``count`` samples, as PCM16: no more than there are. Without the resampler's delay: its first
        outputs are skipped and the last ones flushed."""
        transcoder = self._transcoder
        if transcoder is None:
            transcoder = self._transcoder = Transcoder(self.format, AudioFormat(Encoding.L16, self.to))
            self._skip = 2 * round(transcoder.delay_us * self.to / 1e6)
        made, need, width = self._made, 2 * count, self.bytes_per_sample
        while len(made) < need and len(self.data) >= width:
            missing = (need - len(made) + self._skip) // 2
            inputs = -(-missing * self.format.rate // (self.to * self.unit)) * self.unit
            head = self.take(min(inputs, len(self.data) // width) * width)
            self.start += self.samples(len(head))
            self._keep(transcoder.process(head))
        if len(made) < need:
            self.flushed = True
            self._keep(transcoder.flush())
        out = bytes(made[:need])
        del made[:need]
        return out.ljust(need, b"\0")

    def _keep(self, pcm: bytes) -> None:
        if self._skip:
            skipped = min(self._skip, len(pcm))
            self._skip -= skipped
            pcm = pcm[skipped:]
        self._made += pcm


class Tape:
    """The sounds of one channel that are not rendered yet, in order and without overlap."""

    __slots__ = ("_end", "_held", "_rate", "_sounds", "at")

    def __init__(self, rate: int, at: int) -> None:
        self.at = at
        """Everything before this place was rendered."""
        self._rate = rate
        self._end = at
        self._held = 0  # bytes of all sounds
        self._sounds: deque[_Sound] = deque()

    @property
    def start(self) -> int | None:
        """Where the first sound is; None when there is none."""
        return self._sounds[0].start if self._sounds else None

    @property
    def end(self) -> int:
        """Where the last sound ends, or ended."""
        return self._sounds[-1].end if self._sounds else self._end

    def has_room(self, nbytes: int, most: int) -> bool:
        """With so many bytes more, it would hold at most ``most``."""
        return self._held + nbytes <= most and len(self._sounds) < _MOST_SOUNDS

    # --- putting -----------------------------------------------------------------------------------------------------

    def add(self, place: int, audio: AudioFormat, data: bytes, position: int = _NOWHERE) -> int:
        """Put a piece of sound at ``place``, which is not before ``end``. Returns the bytes that came too late, their
        place being rendered."""
        if self._sounds:
            last = self._sounds[-1]
            if last.end == place and not last.flushed and last.format == audio and _follows(last, position):
                last.data += data
                self._held += len(data)
                return 0
        late = 0
        if place < self.at:
            sound = _Sound(place, audio, self._rate, data, position)
            late = min(sound.nbytes(self.at - place), len(data))
            data = data[late:]
            place = self.at
            if position >= 0:
                position += late
        if data:
            self._sounds.append(_Sound(place, audio, self._rate, data, position))
            self._held += len(data)
        return late

    def pull(self, count: int) -> int:
        """Let the last sound be ``count`` samples earlier; what then has no room is lost from its front. Returns those
        bytes."""
        if not self._sounds:
            return 0
        sound = self._sounds[-1]
        floor = max(self.at, self._sounds[-2].end if len(self._sounds) > 1 else self._end)
        if sound.begun:  # what is converted stays where it is
            floor = sound.start
        start = sound.start - count
        lost = len(sound.take(sound.nbytes(floor - start))) if start < floor else 0
        sound.start = max(start, floor)
        self._held -= lost
        return lost

    # --- taking back -------------------------------------------------------------------------------------------------

    def cut(self, place: int) -> None:
        """Remove what lies at ``place`` and after it."""
        while self._sounds and self._sounds[-1].end > place:
            sound = self._sounds[-1]
            if sound.start < place:
                self._keep(sound, sound.nbytes(place - sound.start))
                break
            self._keep(self._sounds.pop(), 0)

    def cut_from(self, position: int) -> None:
        """Remove what the ledger calls ``position`` and what follows it."""
        while self._sounds and self._sounds[-1].position >= 0:
            sound = self._sounds[-1]
            if sound.position < position:
                self._keep(sound, position - sound.position)
                break
            self._keep(self._sounds.pop(), 0)

    def _keep(self, sound: _Sound, nbytes: int) -> None:
        before = len(sound.data)
        del sound.data[nbytes:]
        self._held -= before - len(sound.data)

    def settle(self) -> None:
        """What is there stays: the ledger begins to count again, and new positions are no longer these."""
        for sound in self._sounds:
            sound.position = _NOWHERE

    def delay(self, known: int, position: int, place: int, least: int, most: int) -> None:
        """``position`` was reached at ``place``. When it lies here more than ``least`` samples earlier, and no more
        than ``most``, move back what lies behind ``known``, the last position of which the same was known."""
        for index, sound in enumerate(self._sounds):
            if sound.position >= 0 and sound.position < position <= sound.position + len(sound.data):
                late = place - sound.start - sound.samples(position - sound.position)
                if least < late <= most:
                    self._move_back(index, max(0, known - sound.position), late)
                return

    def _move_back(self, index: int, offset: int, late: int) -> None:
        sound = self._sounds[index]
        offset -= offset % (sound.unit * sound.bytes_per_sample)
        if offset or sound.begun:
            tail = _Sound(
                sound.start + sound.samples(offset),
                sound.format,
                self._rate,
                sound.data[offset:],
                sound.position + offset,
            )
            del sound.data[offset:]
            index += 1
            self._sounds.insert(index, tail)
            sound = tail
        sound.start += late
        end = sound.end
        for other in list(self._sounds)[index + 1 :]:
            other.start = max(other.start, end)
            end = other.end

    # --- rendering ---------------------------------------------------------------------------------------------------

    def skip(self, place: int) -> None:
        """Nothing lies before ``place``: leave that out."""
        self.at = self._end = place

    def render(self, upto: int) -> bytes:
        """PCM16 from ``at`` up to a place. Sounds that reach beyond it stay."""
        parts: list[bytes] = []
        while self.at < upto:
            sound = self._sounds[0] if self._sounds else None
            begin = upto if sound is None else self.at if sound.begun else min(upto, sound.start)
            if begin > self.at:
                parts.append(bytes(2 * (begin - self.at)))
                self.at = begin
            elif sound is not None:
                count = min(upto, sound.end) - self.at
                before = len(sound.data)
                if count > 0:
                    parts.append(sound.render(count))
                    self.at += count
                if self.at >= sound.end:
                    self._end = sound.end
                    self._sounds.popleft().data.clear()
                self._held -= before - len(sound.data)
        return b"".join(parts)


def _follows(sound: _Sound, position: int) -> bool:
    if position < 0 or sound.position < 0:
        return position < 0 and sound.position < 0
    return sound.position + len(sound.data) == position
