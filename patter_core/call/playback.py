"""The playback ledger: what was sent to the carrier, what the caller heard, what was thrown away.

Speech is queued in *items* (one per reply, spoken one after another). It leaves ahead of the caller's ear by a
bounded window, in small messages, with a uniquely named mark at least every ``mark_s`` and after each item. A mark
that comes back before a ``clear`` proves that everything before it was *played*; one that comes back because of the
``clear`` proves that it was *discarded* (carriers echo every pending mark when their buffer is emptied). Bytes
never sent were never heard.

Positions are bytes since the stream was attached. Two clocks are kept apart on purpose:

* ``_dry_at``, when the carrier's buffer runs dry by our own arithmetic, paces sending. Marks do not correct it: they
  come back late by the network's delay, and believing them would shrink the window by exactly that.
* ``_anchor``, a (position, time) pair known to be true, measures what was heard. Marks do correct it.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..audio.formats import AudioFormat
from ..settings import CallSettings, us
from ..timers import later

__all__ = ["Heard", "Media", "Playback", "Played", "SetMark"]


class Media(msgspec.Struct, frozen=True, gc=False):
    """Send this audio to the carrier."""

    payload: bytes


class SetMark(msgspec.Struct, frozen=True, gc=False):
    """Send this mark to the carrier."""

    name: str


class Played(msgspec.Struct, frozen=True, gc=False):
    """Every byte of this item has been played."""

    item: str


class Heard(msgspec.Struct, frozen=True, gc=False):
    """How much of an item was heard, in microseconds, when playback stopped. ``whole``: all of it, and no more was to
    come; only the mark that proves it was still on its way."""

    item: str
    heard_us: int
    dropped_us: int
    whole: bool = False


_FRAME_MS = 20
"""The shortest message a carrier takes (Telnyx: "20 milliseconds to 30 seconds"; Twilio takes any)."""


class _Item:
    __slots__ = ("ended", "first_sent_us", "heard", "marked", "name", "queued", "sent", "start")

    def __init__(self, name: str) -> None:
        self.name = name
        self.queued = 0  # bytes ever queued
        self.sent = 0  # bytes sent
        self.start = -1  # position of its first byte, once sent
        self.first_sent_us = -1
        self.ended = False
        self.heard = False  # a mark behind its beginning came back
        self.marked = False  # its last byte is behind a mark; the item goes when that mark comes back


class _Mark(msgspec.Struct):
    name: str
    position: int
    due: int  # when it is back at the latest, by our own arithmetic
    item: _Item | None  # the item that ends here


class Playback:
    """One call's ledger. No clock: every method is told ``now`` in microseconds."""

    __slots__ = (
        "_anchor",
        "_bytes_per_ms",
        "_chunks",
        "_confirmed",
        "_dry_at",
        "_epoch",
        "_first_heard",
        "_frame_bytes",
        "_items",
        "_live_limit",
        "_mark_bytes",
        "_mark_count",
        "_mark_patience",
        "_marked",
        "_marks",
        "_message_bytes",
        "_message_us",
        "_queued",
        "_sent",
        "_settings",
        "_unconfirmed",
        "_void",
        "_window_us",
        "dropped_bytes",
        "frames_out",
        "held",
        "marks_assumed",
        "marks_discarded",
        "marks_played",
    )

    def __init__(self, audio: AudioFormat, settings: CallSettings) -> None:
        self._settings = settings
        self._window_us = us(settings.window_s)
        self._message_us = us(settings.message_s)
        self._mark_patience = settings.mark_patience_s
        self._speak(audio)
        self._epoch = 0
        self._mark_count = 0
        self.marks_played = 0
        self.marks_discarded = 0
        self.marks_assumed = 0
        self.frames_out = 0
        self.dropped_bytes = 0
        self.held = False  # the socket is under pressure: send nothing more for now
        self._first_heard: deque[tuple[str, int]] = deque(maxlen=64)
        self._void: deque[str] = deque(maxlen=256)  # marks a clear made worthless and that are still to come back
        self._reset(0)

    def _speak(self, audio: AudioFormat) -> None:
        """The stream's audio is in this format."""
        settings = self._settings
        least = audio.bytes_for_ms(1)  # below that a limit is none, and a message would be empty
        self._bytes_per_ms = audio.bytes_per_ms
        self._message_bytes = max(least, audio.bytes_for_ms(round(settings.message_s * 1000)))
        self._frame_bytes = min(self._message_bytes, audio.bytes_for_ms(_FRAME_MS))
        self._mark_bytes = audio.bytes_for_ms(round(settings.mark_s * 1000))
        self._unconfirmed = max(least, audio.bytes_for_ms(round(settings.unconfirmed_s * 1000)))
        self._live_limit = max(least, audio.bytes_for_ms(round(settings.live_backlog_s * 1000)))

    def _reset(self, now: int) -> None:
        self._chunks: deque[tuple[_Item, bytes]] = deque()
        self._items: dict[str, _Item] = {}  # queued or sent and not yet played whole
        self._marks: deque[_Mark] = deque()
        self._queued = 0
        self._sent = 0  # position
        self._confirmed = 0  # position known to be played
        self._marked = 0  # position of the last mark sent
        self._anchor = (0, now)
        self._dry_at = now

    # --- what to play ------------------------------------------------------------------------------------------------

    def attach(self, now: int, audio: AudioFormat) -> None:
        """A (new) stream: its buffer is empty, its marks are its own, and nothing holds it up yet."""
        self._speak(audio)
        self._epoch += 1
        self.held = False
        self._void.clear()
        self._reset(now)

    def queue(self, item: str, audio: bytes, live: bool = False) -> int:
        """Queue speech of an item. ``live`` audio (an echo) is worthless when old: what exceeds the backlog is dropped,
        oldest first. Returns the bytes dropped."""
        entry = self._items.get(item)
        if entry is None:
            entry = self._items[item] = _Item(item)
        if not audio:
            return 0  # a resampler that is still filling gives nothing
        entry.queued += len(audio)
        self._chunks.append((entry, audio))
        self._queued += len(audio)
        dropped = 0
        if live:
            while self._queued > self._live_limit and len(self._chunks) > 1:
                dropped += self._drop_oldest(len(self._chunks[0][1]))
            if self._queued > self._live_limit:  # one chunk longer than the backlog: its newest part is kept
                dropped += self._drop_oldest(self._queued - self._live_limit)
            self.dropped_bytes += dropped
        return dropped

    def _drop_oldest(self, n: int) -> int:
        item, data = self._chunks.popleft()
        if n < len(data):
            self._chunks.appendleft((item, data[n:]))
        item.queued -= n
        self._queued -= n
        return n

    def end(self, item: str) -> None:
        """No more audio will be queued for this item."""
        entry = self._items.get(item)
        if entry is None:
            entry = self._items[item] = _Item(item)
        entry.ended = True

    # --- sending -----------------------------------------------------------------------------------------------------

    def pump(self, now: int) -> list[Media | SetMark | Played]:
        """What may leave now. Call it whenever ``deadline`` passes, and whenever convenient (each inbound frame)."""
        out: list[Media | SetMark | Played] = []
        if self._marks and now >= self._marks[0].due:
            self._assume(now, out)  # first: it may make room for more
        self._end_items(now, out)
        while (
            self._chunks
            and not self.held
            and self._worth_sending
            and self._dry_at - now + self._message_us <= self._window_us
            and self._sent - self._confirmed < self._unconfirmed
        ):
            self._send_message(now, out)
        self._end_items(now, out)
        return out

    @property
    def _worth_sending(self) -> bool:
        """Less than a frame is kept until more of it comes, or nothing more will: carriers take no shorter message, and
        one that is filled up would put silence into a word."""
        item = self._chunks[0][0]
        return self._queued >= self._frame_bytes or item.ended or self._chunks[-1][0] is not item

    def _send_message(self, now: int, out: list[Media | SetMark | Played]) -> None:
        item, data = self._chunks.popleft()
        left = item.queued - item.sent  # an item's end goes along with what comes before it, if it is shorter than that
        room = left if left < self._message_bytes + self._frame_bytes and item.ended else self._message_bytes
        if len(data) > room:
            self._chunks.appendleft((item, data[room:]))
            data = data[:room]
        elif len(data) < room:  # fill the message from the same item, so that odd provider chunks do not jitter
            parts = [data]
            room -= len(data)
            while room and self._chunks and self._chunks[0][0] is item:
                more = self._chunks.popleft()[1]
                if len(more) > room:
                    self._chunks.appendleft((item, more[room:]))
                    more = more[:room]
                parts.append(more)
                room -= len(more)
            if len(parts) > 1:
                data = b"".join(parts)
        n = len(data)
        self._queued -= n
        if self._dry_at <= now:  # the buffer had run dry: from here on, hearing starts now
            self._dry_at = now
            self._anchor = (self._sent, now)
        if item.start < 0:
            item.start = self._sent
            item.first_sent_us = now
        self._sent += n
        item.sent += n
        self._dry_at += n * 1000 // self._bytes_per_ms
        self.frames_out += 1
        out.append(Media(data))
        done = item.ended and item.sent == item.queued
        stuck = self._sent - self._confirmed >= self._unconfirmed  # nothing more leaves until something comes back
        if done or stuck or self._sent - self._marked >= self._mark_bytes:
            self._mark(now, item, done, out)

    def _mark(self, now: int, item: _Item, done: bool, out: list[Media | SetMark | Played]) -> None:
        self._mark_count += 1
        name = f"p{self._epoch}.{self._mark_count}"
        due = later(max(now, self._dry_at), self._mark_patience)
        self._marks.append(_Mark(name, self._sent, due, item if done else None))
        self._marked = self._sent
        item.marked = done
        out.append(SetMark(name))

    def _end_items(self, now: int, out: list[Media | SetMark | Played]) -> None:
        """Items that were ended after their last byte had left, or that never had one; each in its turn."""
        ended: list[_Item] = []
        for item in self._items.values():
            if item.sent < item.queued:
                break
            if item.ended and not item.marked:
                ended.append(item)
        for item in ended:
            if self._sent == self._confirmed:
                del self._items[item.name]
                out.append(Played(item.name))
            elif self._marks and self._marks[-1].position == self._sent and self._marks[-1].item is None:
                self._marks[-1].item = item  # its last byte is behind that mark already
                item.marked = True
            else:
                self._mark(now, item, True, out)

    @property
    def deadline(self) -> int | None:
        """When to call ``pump`` next."""
        at: int | None = None
        flows = not self.held and self._sent - self._confirmed < self._unconfirmed
        if self._chunks and flows and self._worth_sending:
            at = self._dry_at + self._message_us - self._window_us
        if self._marks and (at is None or self._marks[0].due < at):
            at = self._marks[0].due
        return at

    # --- what came back ----------------------------------------------------------------------------------------------

    def mark_returned(self, now: int, name: str) -> list[Played]:
        """The carrier echoed a mark. Unknown names (another epoch's, somebody else's) mean nothing."""
        if name in self._void:
            self._void.remove(name)
            self.marks_discarded += 1
            return []
        position = next((mark.position for mark in self._marks if mark.name == name), -1)
        if position < 0:
            return []
        self._begun(now, position)
        played: list[Played] = []
        while self._marks:  # marks come back in order; one that was lost is proven by its successor
            mark = self._marks.popleft()
            self.marks_played += 1
            self._confirm(now, mark, played)
            if mark.name == name:
                break
        return played

    def _begun(self, now: int, position: int) -> None:
        """Playback has passed ``position``, as a mark proves. Whatever began before it began by now less the audio in
        between, and not before it was sent."""
        for item in self._items.values():
            if not item.heard and 0 <= item.start < position:
                item.heard = True
                at = now - (position - item.start) * 1000 // self._bytes_per_ms
                self._first_heard.append((item.name, max(at, item.first_sent_us)))

    def first_heard(self) -> list[tuple[str, int]]:
        """Items that are known to have begun to play, and when; each is told once, before it is told as played.

        The instant is that of the first mark to come back from behind an item's first byte, less the audio between the
        two. The way of the mark back to us is in it, and a gap in between would be: it is late rather than early.
        Nothing is told of an item of which no mark ever came back.
        """
        begun = list(self._first_heard)
        self._first_heard.clear()
        return begun

    def _confirm(self, now: int, mark: _Mark, played: list[Played]) -> None:
        self._confirmed = mark.position
        self._anchor = (mark.position, now)
        if mark.item is not None:
            del self._items[mark.item.name]
            played.append(Played(mark.item.name))

    def _assume(self, now: int, out: list[Media | SetMark | Played]) -> None:
        """A mark far overdue is taken as played: a carrier that returns none must not leave a call hanging."""
        played: list[Played] = []
        while self._marks and now >= self._marks[0].due:
            self.marks_assumed += 1
            self._confirm(now, self._marks.popleft(), played)
        out.extend(played)

    # --- barge-in ----------------------------------------------------------------------------------------------------

    def clear(self, now: int) -> tuple[list[Heard], bool]:
        """Throw everything away. Returns what was heard of each unfinished item, and whether the carrier holds audio
        that a ``clear`` message must empty."""
        position = self.heard_position(now)
        at_carrier = self._sent > self._confirmed  # a clear too many costs nothing, one too few a second of chatter
        heard = [self._heard(item, position) for item in self._items.values()]
        self.dropped_bytes += self._queued + self._sent - position
        for mark in self._marks:
            self._void.append(mark.name)
        self._reset(now)
        return heard, at_carrier

    def _heard(self, item: _Item, position: int) -> Heard:
        heard = 0 if item.start < 0 else max(0, min(position - item.start, item.sent))
        rest = item.queued - heard
        per_ms = self._bytes_per_ms
        return Heard(item.name, heard * 1000 // per_ms, rest * 1000 // per_ms, item.ended and not rest)

    # --- questions ---------------------------------------------------------------------------------------------------

    def sent_at(self, item: str) -> int:
        """When the first byte of an unfinished item left; -1 while it has not."""
        entry = self._items.get(item)
        return -1 if entry is None else entry.first_sent_us

    @property
    def confirmed(self) -> int:
        """The position that is known to be played: a mark behind it came back."""
        return self._confirmed

    def heard_position(self, now: int) -> int:
        """The position the caller's ear has reached: the last mark plus the time since, never beyond what was sent."""
        position, at = self._anchor
        return min(self._sent, position + (now - at) * self._bytes_per_ms // 1000)

    def audible(self, now: int) -> bool:
        """Something is queued, or at the carrier and not known to be played."""
        return bool(self._chunks) or bool(self._marks) or now < self._dry_at

    @property
    def queued_us(self) -> int:
        """Speech waiting here, not yet sent."""
        return self._queued * 1000 // self._bytes_per_ms

    def ahead_us(self, now: int) -> int:
        """Speech at the carrier and not yet in the caller's ear, by our own arithmetic."""
        return max(0, self._dry_at - now)
