"""A call on disk as it goes: a stereo WAV, the caller left, the agent right.

Both channels show the call as our ledger sees it, at the time our end knew of it:

* **The caller** lies where the carrier's media clock says. That clock is set to ours by a stream's first frame, and
  set again when it jumps. Frames follow each other without a seam while their timestamps stay within ``TOLERANCE_MS``
  of that; beyond it there is silence, or the overlap is dropped. Frames that overtook each other are put in order by
  their number.
* **The agent** lies where it was played, not where it was sent: what reaches an idle carrier starts to play then, the
  rest follows on. A mark that comes back later than that by more than the tolerance moves what it proves played. A
  clear removes what was not heard.

Nothing is final until ``settle_s`` later, which is as far back as a clear, a mark or a late frame may reach; it must
exceed the ledger's ``mark_patience_s``. Memory holds that much, encoded, and never more than ``backlog_s`` of sound
when nobody takes the pieces. Silence is not held at all: an hour without a stream is written in bounded pieces, one
``take`` each.

The recording begins with the first sound and ends with the last. A file can hold 4 GiB; a longer one ends there.
"""

from __future__ import annotations

import enum

from ..audio.formats import AudioFormat
from ..audio.resample import OUTPUT_RATES
from ..audio.wav import MAX_DATA_BYTES, interleave, wav_header
from .tape import Tape

__all__ = ["PIECE_BYTES", "TOLERANCE_MS", "Recorder"]

PIECE_BYTES = 160_000
"""The most a ``take`` gives out: 5 s at 8 kHz."""
TOLERANCE_MS = 60
"""Between what a clock says and where a sound would be without a seam. Carriers' timestamps are taken from a wall
clock that runs a little beside the sound (Twilio: 1438 ms for 72 frames of 20 ms, observed), and marks travel."""
_LEAD_IN_MS = 1_000
"""What the first frames may turn out to be older than the first one seemed."""
_OVERLAP = 10
"""Frames in a row that lie before what is there already; after that many, it is the clock that went back."""
_MISSING = 5
"""Frames that wait for one with a lower number before it is given up: 100 ms."""
_RENUMBERED = 50
"""A frame whose number is that much lower is not late; its carrier counts anew."""
_AHEAD_S = 10
"""Agent's speech beyond the present; the ledger's window is a fraction of a second."""
_FRAME_BYTES = 4  # two channels of 16 bit


class _State(enum.Enum):
    WAITING = "waiting"  # no stream yet
    RUNNING = "running"
    FINISHED = "finished"  # nothing more comes in; what is there is to be taken
    FULL = "full"  # the file can hold no more


class _Frame:
    """One frame of the caller, as it came."""

    __slots__ = ("at", "number", "payload", "timestamp_ms")

    def __init__(self, at: int, timestamp_ms: int, payload: bytes, number: int) -> None:
        self.at = at
        self.timestamp_ms = timestamp_ms
        self.payload = payload
        self.number = number


class Recorder:
    """One call's recording at ``rate`` Hz. No clock and no file: every method is told ``now`` in microseconds, and
    ``take`` gives what is to be appended. Told anything after ``finish``, it does nothing."""

    def __init__(
        self, rate: int, *, settle_s: float = 3.0, backlog_s: float = 60.0, most_bytes: int = MAX_DATA_BYTES
    ) -> None:
        if rate not in OUTPUT_RATES:
            raise ValueError(f"cannot record at {rate} Hz; choose one of {OUTPUT_RATES}")
        self.rate = rate
        self.began = 0
        """``now`` at the recording's first sample; known once the first piece was taken."""
        self.dropped_bytes = 0
        """Audio that is not in the recording although it was said: it came too late, twice, or nobody took pieces."""
        self.data_bytes = 0
        """Taken so far, without the header."""
        self._settle = round(settle_s * rate)
        self._backlog_s = backlog_s
        self._most = min(most_bytes, MAX_DATA_BYTES) // _FRAME_BYTES * _FRAME_BYTES
        self._tolerance = TOLERANCE_MS * rate // 1000
        self._state = _State.WAITING
        self._origin = 0
        self._caller = Tape(rate, 0)
        self._agent = Tape(rate, 0)
        self._hears: AudioFormat | None = None
        self._speaks: AudioFormat | None = None
        self._most_heard = self._most_spoken = 0  # bytes
        # The caller's clock.
        self._zero: int | None = None  # the place of the carrier's time 0; None until a stream's first frame
        self._last_ms = -1
        self._overlap = 0
        self._number = 0
        self._early: list[_Frame] = []  # came before one with a lower number
        # The agent's ledger.
        self._sent = 0
        self._known = 0

    # --- streams -----------------------------------------------------------------------------------------------------

    def attach(self, now: int, hears: AudioFormat, speaks: AudioFormat | None = None) -> None:
        """A (new) stream: its clock, its numbers and its playback buffer are its own. ``speaks`` where what we send
        has another format than what we hear. A format that cannot be converted is recorded as silence."""
        if self._state is _State.WAITING:
            self._state = _State.RUNNING
            self._origin = now
            lead = -_LEAD_IN_MS * self.rate // 1000
            self._caller.skip(lead)
            self._agent.skip(lead)
        elif self._state is _State.RUNNING:
            self._release()
            self.agent_cleared(now)
        speaks = hears if speaks is None else speaks
        self._hears = hears if hears.rate in OUTPUT_RATES else None
        self._speaks = speaks if speaks.rate in OUTPUT_RATES else None
        self._most_heard = round(self._backlog_s * hears.rate) * hears.bytes_per_sample
        self._most_spoken = round(self._backlog_s * speaks.rate) * speaks.bytes_per_sample
        self._zero = None
        self._number = 0

    def _place(self, now: int) -> int:
        return (now - self._origin) * self.rate // 1_000_000

    # --- the caller --------------------------------------------------------------------------------------------------

    def caller(self, now: int, timestamp_ms: int, payload: bytes, number: int = 0) -> None:
        """A frame. ``number`` is its place among the stream's frames (``CallerAudio.chunk``), 0 when unknown."""
        if self._state is not _State.RUNNING:
            return
        last = self._number
        if number and last and number != last + 1:
            if last - _RENUMBERED < number <= last:
                self.dropped_bytes += len(payload)
            else:
                self._out_of_turn(_Frame(now, timestamp_ms, payload, number))
            return
        if number:
            self._number = number
        self._lay(now, timestamp_ms, payload)
        if self._early:
            self._follow_on()

    def _out_of_turn(self, frame: _Frame) -> None:
        early = self._early
        if frame.number <= self._number or (early and abs(frame.number - early[-1].number) > _RENUMBERED):
            self._release()  # the carrier counts anew
            self._number = frame.number
            self._lay(frame.at, frame.timestamp_ms, frame.payload)
            return
        at = len(early)
        while at and early[at - 1].number > frame.number:
            at -= 1
        if at and early[at - 1].number == frame.number:
            self.dropped_bytes += len(frame.payload)
            return
        early.insert(at, frame)
        if len(early) >= _MISSING:
            self._number = early[0].number - 1  # what is missing is lost
            self._follow_on()

    def _follow_on(self) -> None:
        """Lay the frames whose turn has come."""
        while self._early and self._early[0].number == self._number + 1:
            frame = self._early.pop(0)
            self._number = frame.number
            self._lay(frame.at, frame.timestamp_ms, frame.payload)

    def _release(self) -> None:
        """Wait no longer for the frames that are missing."""
        while self._early:
            self._number = self._early[0].number - 1
            self._follow_on()

    def _lay(self, now: int, timestamp_ms: int, payload: bytes) -> None:
        audio, tape = self._hears, self._caller
        if audio is None:
            return
        width = audio.bytes_per_sample
        if len(payload) % width:
            payload = payload[: -(len(payload) % width)]
        here, end = self._place(now), tape.end
        if not payload or not tape.has_room(len(payload), self._most_heard):
            self.dropped_bytes += len(payload)
            return
        place = self._by_clock(timestamp_ms, here, end)
        if place < end:
            skip = min((end - place) * audio.rate // self.rate * width, len(payload))
            self.dropped_bytes += skip
            payload, place = payload[skip:], end
            if not payload:
                return
        self.dropped_bytes += tape.add(place, audio, payload)
        ahead = tape.end - here - len(payload) // width * self.rate // audio.rate
        if ahead > self._tolerance:  # nobody is heard before he speaks: the stream's first frames were late
            self.dropped_bytes += tape.pull(ahead)
            if self._zero is not None:
                self._zero -= ahead

    def _by_clock(self, timestamp_ms: int, here: int, end: int) -> int:
        """Where a frame belongs that arrives ``here``, when the last one ended at ``end``."""
        stamp = timestamp_ms * self.rate // 1000
        stands = timestamp_ms == self._last_ms
        self._last_ms = timestamp_ms
        if self._zero is None:
            place = max(here, end)
        else:
            place = self._zero + stamp
            off = place - end
            if abs(off) <= self._tolerance:
                self._overlap = 0
                return end
            if off > 0 and place <= here + self._tolerance:
                self._overlap = 0
                return place
            if off < 0 and not stands and -off <= self._settle and self._overlap < _OVERLAP:
                self._overlap += 1
                return place
            place = max(here, end)
            if place - end <= self._tolerance:
                place = end
        self._overlap = 0
        self._zero = place - stamp
        return place

    # --- the agent ---------------------------------------------------------------------------------------------------

    def agent_sent(self, now: int, payload: bytes) -> None:
        """This audio was sent to the carrier."""
        audio, tape = self._speaks, self._agent
        if self._state is not _State.RUNNING or audio is None:
            return
        position = self._sent
        self._sent += len(payload)
        here = self._place(now)
        place = max(here, tape.end)
        if place - here > _AHEAD_S * self.rate or not tape.has_room(len(payload), self._most_spoken):
            self.dropped_bytes += len(payload)
            return
        self.dropped_bytes += tape.add(place, audio, payload, position)

    def agent_played(self, now: int, position: int) -> None:
        """A mark came back: the first ``position`` bytes since the stream's start, or since the last clear, were
        played."""
        position = min(position, self._sent)
        if self._state is _State.RUNNING and position > self._known:
            self._agent.delay(self._known, position, self._place(now), self._tolerance, self._settle)
            self._known = position

    def agent_cleared(self, now: int, position: int | None = None) -> None:
        """Playback was stopped. The first ``position`` bytes since the stream's start, or since the last clear, were
        heard (the ledger's ``heard_position``); by default, what had its time by now."""
        if self._state is not _State.RUNNING:
            return
        if position is None:
            self._agent.cut(self._place(now))
        else:
            self._agent.cut_from(position)
        self._agent.settle()
        self._sent = self._known = 0

    # --- what is to be written ---------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """The file holds as much as it can; the rest of the call is not recorded."""
        return self._state is _State.FULL

    def take(self, now: int, least: int = 32 * 1024) -> bytes:
        """The next piece to append, if there is that much to write; ``b""`` if not. The first piece begins with the
        header of a file whose length is not known yet. After ``finish`` every piece is given, whatever its size."""
        if self._state in (_State.WAITING, _State.FULL):
            return b""
        if self._state is _State.FINISHED:
            upto = max(self._caller.end, self._agent.end)
        else:
            if self._early and now - self._early[0].at > 500_000:
                self._release()
            upto = self._place(now) - self._settle
        head = b""
        if not self.data_bytes:
            self._find_start(upto)
            head = wav_header(self.rate, 2, None)
        at = self._caller.at
        room = self._most - self.data_bytes
        most = min(PIECE_BYTES, room)
        size = min((upto - at) * _FRAME_BYTES, most)
        if size <= 0 or (self._state is _State.RUNNING and size < min(least, most)):
            return b""
        upto = at + size // _FRAME_BYTES
        if not self.data_bytes:
            self.began = self._origin + at * 1_000_000 // self.rate
        data = interleave(self._caller.render(upto), self._agent.render(upto))
        self.data_bytes += len(data)
        if self.data_bytes == self._most:
            self._state = _State.FULL
            self._forget()
        return head + data

    def _find_start(self, upto: int) -> None:
        """The recording begins with the first sound."""
        starts = [start for start in (self._caller.start, self._agent.start) if start is not None]
        first = max(self._caller.at, min([upto, *starts]))
        self._caller.skip(first)
        self._agent.skip(first)

    def _forget(self) -> None:
        self._caller = Tape(self.rate, 0)
        self._agent = Tape(self.rate, 0)
        self._early.clear()

    def finish(self, now: int) -> None:
        """The call is over. What was to be played later was not. ``take`` until it gives ``b""``, then ``patch``."""
        if self._state is _State.RUNNING:
            self._release()
            self.agent_cleared(now)
        if self._state is not _State.FULL:
            self._state = _State.FINISHED

    def patch(self) -> tuple[int, bytes]:
        """Where to write what in the file, so that its header says how long it is: all that was taken so far."""
        return 0, wav_header(self.rate, 2, self.data_bytes)
