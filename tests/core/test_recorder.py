"""A call's recording: every sample where it was said or played, whatever the carrier does with time."""

from __future__ import annotations

import io
import random
import wave
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patter_core.audio import alaw_encode, read_wav, resample, tone, ulaw_decode, ulaw_encode
from patter_core.audio.formats import L16_8K, L16_16K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from patter_core.call.playback import Media, Playback, SetMark
from patter_core.call.recorder import PIECE_BYTES, TOLERANCE_MS, Recorder
from patter_core.settings import CallSettings
from patter_core.simulator.handset import Handset

MS, S = 1_000, 1_000_000
N = 160  # samples of a frame at 8 kHz
Samples = NDArray[Any]


def ramp(start: int, count: int) -> bytes:
    """Samples that say which they are, from 1."""
    return (np.arange(start, start + count) % 30_000 + 1).astype("<i2").tobytes()


def frame(k: int) -> bytes:
    return ramp(k * N, N)


class Reel:
    """A recorder and the file it makes."""

    def __init__(self, rate: int = 8000, **options: Any) -> None:
        self.recorder = Recorder(rate, **options)
        self.file = bytearray()
        self.pieces: list[int] = []

    def take(self, now: int, least: int = 1) -> None:
        while piece := self.recorder.take(now, least):
            assert len(piece) <= PIECE_BYTES + 44
            self.pieces.append(len(piece))
            self.file += piece

    def end(self, now: int) -> tuple[Samples, Samples]:
        self.recorder.finish(now)
        self.take(now)
        return self.channels()

    def channels(self) -> tuple[Samples, Samples]:
        if not self.file:
            return np.zeros(0, "<i2"), np.zeros(0, "<i2")
        offset, data = self.recorder.patch()
        file = bytearray(self.file)
        file[offset : offset + len(data)] = data
        with wave.open(io.BytesIO(bytes(file))) as reader:
            assert (reader.getnchannels(), reader.getsampwidth()) == (2, 2)
            assert reader.getframerate() == self.recorder.rate
            pcm = reader.readframes(reader.getnframes())
        assert len(pcm) == len(file) - 44 == self.recorder.data_bytes
        both = np.frombuffer(pcm, "<i2").reshape(-1, 2)
        return both[:, 0], both[:, 1]


def reel(audio: AudioFormat = L16_8K, rate: int = 8000, **options: Any) -> Reel:
    it = Reel(rate, **options)
    it.recorder.attach(0, audio)
    return it


def expect(channel: Samples, *sounds: tuple[int, bytes]) -> None:
    """Exactly these sounds (place, PCM16), silence everywhere else."""
    want = np.zeros(len(channel), "<i2")
    for place, pcm in sounds:
        samples = np.frombuffer(pcm, "<i2")
        want[place : place + len(samples)] = samples
        assert place + len(samples) <= len(want)
    wrong = np.flatnonzero(want != channel)
    assert not len(wrong), f"{len(wrong)} wrong, from {wrong[0]}: {channel[wrong[0]]}, not {want[wrong[0]]}"


def call(it: Reel, stamps: list[int], arrivals: list[int] | None = None, first: int = 0) -> None:
    """Frames with these timestamps, 20 ms apart unless told."""
    for k, stamp in enumerate(stamps):
        now = (20 * k if arrivals is None else arrivals[k]) * MS
        it.recorder.caller(now, stamp, frame(first + k))


# --- the caller ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 88, 102, 155, 171])
def test_frames_follow_each_other(first: int) -> None:
    """First timestamps as observed on Twilio streams."""
    it = reel()
    call(it, [first + 20 * k for k in range(50)])
    left, right = it.end(S)
    expect(left, (0, ramp(0, 50 * N)))
    expect(right)
    assert len(left) == 50 * N
    assert it.recorder.dropped_bytes == 0


def test_a_clock_that_runs_a_little_beside_the_sound() -> None:
    """72 frames in 1438 ms, observed on a Twilio stream."""
    it = reel()
    call(it, [102 + round(k * 1438 / 72) for k in range(1500)])
    left, _ = it.end(30 * S)
    expect(left, (0, ramp(0, 1500 * N)))


@given(
    st.lists(st.integers(-20, 20), min_size=100, max_size=100), st.lists(st.integers(0, 40), min_size=100, max_size=100)
)
def test_jitter_leaves_no_seam(stamps: list[int], arrivals: list[int]) -> None:
    it = reel()
    call(it, [102 + 20 * k + off for k, off in enumerate(stamps)], [20 * k + late for k, late in enumerate(arrivals)])
    left, _ = it.end(3 * S)
    expect(left, (0, ramp(0, 100 * N)))


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5, 50])
def test_lost_frames_are_silence_once_they_are_too_many(lost: int) -> None:
    it = reel()
    kept = [k for k in range(100) if not 40 <= k < 40 + lost]
    for k in kept:
        it.recorder.caller(20 * k * MS, 102 + 20 * k, frame(k))
    left, _ = it.end(2 * S)
    if 20 * lost <= TOLERANCE_MS:
        expect(left, (0, ramp(0, 40 * N)), (40 * N, ramp((40 + lost) * N, (60 - lost) * N)))
    else:
        expect(left, (0, ramp(0, 40 * N)), ((40 + lost) * N, ramp((40 + lost) * N, (60 - lost) * N)))


def test_the_tolerance() -> None:
    it = reel()
    for k, stamp in enumerate([100, 120 + 60, 140 + 61, 160 + 61, 180 + 61 + 60, 200 + 61 + 61 + 61]):
        it.recorder.caller(stamp * MS, stamp, frame(k))
    left, _ = it.end(S)
    gap = 8 * 61
    expect(left, (0, ramp(0, 2 * N)), (2 * N + gap, ramp(2 * N, 3 * N)), (5 * N + 3 * gap, frame(5)))


def test_a_gap_of_real_time_is_silence_as_long() -> None:
    it = reel()
    for k in [*range(10), *range(500, 510)]:
        it.recorder.caller(20 * k * MS, 102 + 20 * k, frame(k))
    left, _ = it.end(11 * S)
    expect(left, (0, ramp(0, 10 * N)), (500 * N, ramp(500 * N, 10 * N)))


def test_a_stall_of_the_network_is_made_good() -> None:
    """Nothing for two seconds, then all of it at once."""
    it = reel()
    call(it, [20 * k for k in range(200)], [20 * k if not 50 <= k < 150 else 3000 for k in range(200)])
    left, _ = it.end(5 * S)
    expect(left, (0, ramp(0, 200 * N)))
    assert it.recorder.dropped_bytes == 0


def test_of_a_stall_too_long_what_is_written_stays_written() -> None:
    it = reel(settle_s=1.0)
    for k in range(50):
        it.recorder.caller(20 * k * MS, 20 * k, frame(k))
        it.take(20 * k * MS)
    it.take(3000 * MS)  # written up to 2 s
    for k in range(50, 150):
        it.recorder.caller(3000 * MS, 20 * k, frame(k))
    left, _ = it.end(3 * S)
    expect(left, (0, ramp(0, 50 * N)), (100 * N, ramp(100 * N, 50 * N)))
    assert it.recorder.dropped_bytes == 50 * 2 * N


def test_a_first_frame_that_was_late_does_not_delay_the_call() -> None:
    """The first half second comes at once; from then on frames come as they are spoken."""
    it = reel()
    it.recorder.agent_sent(0, ramp(9000, N))
    call(it, [20 * k for k in range(100)], [max(500, 20 * k) for k in range(100)])
    left, right = it.end(2 * S)
    shift = np.flatnonzero(right)[0] - np.flatnonzero(left)[0]  # the agent spoke at 0, and so did the caller
    assert abs(shift) <= 8 * (TOLERANCE_MS + 20)
    start = int(np.flatnonzero(left)[0])
    expect(left, (start, ramp(0, 100 * N)))
    assert it.recorder.dropped_bytes == 0


def test_a_gap_after_a_late_beginning_is_where_it_was() -> None:
    it = reel()
    stamps = [20 * k for k in range(100) if not 50 <= k < 70]
    for stamp in stamps:
        late = 40 if stamp == 1400 else 0
        it.recorder.caller(max(500, stamp + 20 + late) * MS, stamp, frame(stamp // 20))
    left, _ = it.end(2 * S)
    expect(left, (0, ramp(0, 50 * N)), (70 * N, ramp(70 * N, 30 * N)))


def test_out_of_order_by_number() -> None:
    it = reel()
    order = [0, 1, 3, 2, 4, 6, 7, 8, 5, 9, 11, 10]
    for at, k in enumerate(order):
        it.recorder.caller(20 * at * MS, 102 + 20 * k, frame(k), k + 1)
    left, _ = it.end(S)
    expect(left, (0, ramp(0, 12 * N)))
    assert it.recorder.dropped_bytes == 0


def test_a_missing_number_is_waited_for_and_given_up() -> None:
    it = reel()
    for k in [0, 1, 3, 4, 5, 6, 7, 8]:  # 2 never comes in time
        it.recorder.caller(20 * k * MS, 20 * k, frame(k), k + 1)
    it.recorder.caller(180 * MS, 40, frame(2), 3)
    it.recorder.caller(180 * MS, 160, frame(8), 9)  # and this one twice
    left, _ = it.end(S)
    expect(left, (0, ramp(0, 2 * N)), (2 * N, ramp(3 * N, 6 * N)))
    assert it.recorder.dropped_bytes == 2 * 2 * N


def test_what_waits_for_a_missing_number_is_in_the_recording() -> None:
    for ending in ("finish", "attach", "take"):
        it = reel()
        for k in [0, 1, 3, 4]:
            it.recorder.caller(20 * k * MS, 20 * k, frame(k), k + 1)
        if ending == "attach":
            it.recorder.attach(200 * MS, L16_8K)
        elif ending == "take":
            it.take(10 * S)
        left, _ = it.end(10 * S)
        expect(left, (0, ramp(0, 2 * N)), (2 * N, ramp(3 * N, 2 * N)))


def test_numbers_that_begin_anew() -> None:
    it = reel()
    for at, number in enumerate([*range(1000, 1010), *range(1, 11), *range(5000, 5010)]):
        it.recorder.caller(20 * at * MS, 20 * at, frame(at), number)
    left, _ = it.end(S)
    expect(left, (0, ramp(0, 30 * N)))


def test_an_overlap_is_dropped() -> None:
    it = reel()
    call(it, [20 * k for k in range(50)])
    for k in range(40, 45):  # once more, unnumbered
        it.recorder.caller(S, 20 * k, frame(k))
    for k in range(50, 60):
        it.recorder.caller(20 * k * MS, 20 * k, frame(k))
    left, _ = it.end(2 * S)
    expect(left, (0, ramp(0, 60 * N)))
    assert it.recorder.dropped_bytes == 5 * 2 * N


@pytest.mark.parametrize("jump_ms", [3_600_000, 100_000, -3_600_000, 1 << 53])
def test_a_clock_that_jumps_costs_nothing(jump_ms: int) -> None:
    it = reel()
    base = 4_000_000
    call(it, [base + 20 * k + (jump_ms if k >= 50 else 0) for k in range(100)])
    left, _ = it.end(2 * S)
    expect(left, (0, ramp(0, 100 * N)))
    assert it.recorder.dropped_bytes == 0


@pytest.mark.parametrize("late_ms", [0, 60, 61])
def test_a_clock_that_jumps_is_set_by_the_present(late_ms: int) -> None:
    """Within the tolerance without a seam, and the caller's clock is what the next frames are placed by."""
    it = reel()
    call(
        it, [20 * k + (0 if k < 50 else 100_000) for k in range(51)], [20 * k + late_ms * (k == 50) for k in range(51)]
    )
    it.recorder.caller((1400 + late_ms) * MS, 101_400, frame(51))
    left, _ = it.end(2 * S)
    gap = 8 * (late_ms if late_ms > TOLERANCE_MS else 0)
    expect(left, (0, ramp(0, 50 * N)), (50 * N + gap, frame(50)), (70 * N + gap, frame(51)))


def test_a_clock_that_goes_back_a_little_is_believed_soon() -> None:
    it = reel()
    call(it, [20 * k - (1000 if k >= 50 else 0) for k in range(200)])
    left, _ = it.end(4 * S)
    assert it.recorder.dropped_bytes == 10 * 2 * N
    expect(left, (0, ramp(0, 50 * N)), (60 * N, ramp(60 * N, 140 * N)))


def test_a_clock_that_stands() -> None:
    it = reel()
    call(it, [7] * 200)
    left, _ = it.end(4 * S)
    expect(left, (0, ramp(0, 200 * N)))


def test_a_clock_that_is_too_fast_never_leads() -> None:
    """More sound than time: 2 % too much of it. What has no room is lost, and the caller stays in the present."""
    it = reel()
    for k in range(2000):
        it.recorder.caller(int(19.6 * k) * MS, 20 * k, frame(k))
        it.take(int(19.6 * k) * MS)
    assert it.recorder._caller._held == sum(len(sound.data) for sound in it.recorder._caller._sounds)
    left, _ = it.end(39_200 * MS)
    assert abs(len(left) - 39_200 * 8) <= 8 * (TOLERANCE_MS + 20)


def test_half_samples_and_empty_frames() -> None:
    it = reel()
    for k, payload in enumerate([frame(0), frame(1) + b"x", b"", b"x", frame(4)]):
        it.recorder.caller(20 * k * MS, 20 * k, payload)
    left, _ = it.end(S)
    expect(left, (0, ramp(0, 2 * N)), (2 * N, frame(4)))


# --- the agent -------------------------------------------------------------------------------------------------------


def test_a_burst_is_laid_out_in_real_time() -> None:
    """Sent within 10 ms, played within 400."""
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    for k in range(20):
        it.recorder.agent_sent(500 * MS + k * 500, frame(k))
    it.recorder.agent_sent(890 * MS, frame(20))  # the buffer is not dry yet
    it.recorder.agent_sent(2 * S, frame(21))
    left, right = it.end(3 * S)
    expect(left, (0, frame(0)))
    expect(right, (4000, ramp(0, 21 * N)), (16_000, frame(21)))
    assert len(right) == 16_000 + N


@pytest.mark.parametrize("heard", [0, 2, 2 * N, 3 * N + 10, 4000, 4800, 5000])
def test_a_clear_cuts_at_what_was_heard(heard: int) -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 2000))
    it.recorder.agent_sent(10 * MS, ramp(2000, 500))
    it.recorder.agent_cleared(300 * MS, heard)
    it.recorder.agent_sent(300 * MS, ramp(5000, 100))  # the next reply; its positions begin anew
    it.recorder.agent_cleared(305 * MS, 80)
    _, right = it.end(S)
    first = ramp(0, min(heard, 5000) // 2)
    expect(right, (0, first), (max(2400, len(first) // 2), ramp(5000, 40)))


def test_a_clear_reaches_no_further_back_than_the_last_one() -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 800))
    it.recorder.agent_cleared(100 * MS, 1600)
    it.recorder.agent_cleared(150 * MS, 0)
    it.recorder.agent_sent(200 * MS, ramp(800, 800))
    it.recorder.agent_cleared(300 * MS, 1000)
    _, right = it.end(S)
    expect(right, (0, ramp(0, 800)), (1600, ramp(800, 500)))


def test_without_a_position_a_clear_cuts_at_the_present() -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 4000))
    it.recorder.agent_cleared(100 * MS)
    _, right = it.end(S)
    expect(right, (0, ramp(0, 800)))


@pytest.mark.parametrize(("late_ms", "moved_ms"), [(0, 0), (60, 0), (61, 61), (900, 900), (3000, 3000), (3001, 0)])
def test_a_late_mark_moves_what_it_proves(late_ms: int, moved_ms: int) -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    for k in range(40):
        it.recorder.agent_sent(20 * k * MS, frame(k))
    it.recorder.agent_played((200 + late_ms) * MS, 10 * 2 * N)
    _, right = it.end(5 * S)
    expect(right, (8 * moved_ms, ramp(0, 40 * N)))


def test_a_mark_late_in_the_middle_is_a_pause_there() -> None:
    """The carrier stalls for half a second behind the first mark."""
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    for k in range(40):
        it.recorder.agent_sent(20 * k * MS, frame(k))
    it.recorder.agent_played(210 * MS, 10 * 2 * N)
    it.recorder.agent_played(900 * MS, 20 * 2 * N)
    it.recorder.agent_played(1100 * MS, 30 * 2 * N)
    it.recorder.agent_cleared(1150 * MS, 32 * 2 * N)
    _, right = it.end(5 * S)
    assert 10 * N + 4000 == 5600
    expect(right, (0, ramp(0, 10 * N)), (5600, ramp(10 * N, 22 * N)))


def test_speech_behind_a_delayed_one_is_not_run_into() -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 1600))
    it.recorder.agent_sent(250 * MS, ramp(1600, 1600))
    it.recorder.agent_played(600 * MS, 3200)  # 400 ms late
    it.recorder.agent_sent(500 * MS, ramp(3200, 800))
    _, right = it.end(5 * S)
    expect(right, (3200, ramp(0, 4000)))


def test_marks_of_what_was_never_sent_or_is_long_written() -> None:
    it = reel(settle_s=0.5)
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 800))
    it.recorder.agent_played(10 * S, 1 << 60)
    it.recorder.agent_sent(10 * S, ramp(800, 800))
    it.recorder.agent_played(10 * S + 300 * MS, 3200)  # what was said before does not count: 200 ms late
    it.take(20 * S)
    it.recorder.agent_played(20 * S, 800)
    it.recorder.agent_cleared(20 * S, 10)
    _, right = it.end(20 * S)
    expect(right, (0, ramp(0, 800)), (81_600, ramp(800, 800)))


def test_what_was_to_be_played_after_the_end_was_not() -> None:
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.agent_sent(0, ramp(0, 4000))
    _, right = it.end(250 * MS)
    expect(right, (0, ramp(0, 2000)))
    assert len(right) == 2000


def test_speech_far_ahead_of_the_present_is_not_kept() -> None:
    it = reel()
    for _ in range(40):
        it.recorder.agent_sent(0, bytes(16_000))
    assert 10 * 16_000 <= 40 * 16_000 - it.recorder.dropped_bytes <= 11 * 16_000
    it.recorder.agent_sent(20 * S, ramp(0, N))
    it.recorder.caller(0, 0, frame(0))
    _, right = it.end(21 * S)
    expect(right, (160_000, ramp(0, N)))


# --- with the ledger, against a handset that hears --------------------------------------------------------------------


@pytest.mark.parametrize("way_ms", [0, 20, 40, 100, 300])
@pytest.mark.parametrize("seed", range(4))
def test_the_right_channel_is_what_the_ear_got(seed: int, way_ms: int) -> None:
    """Speech, pauses and interruptions through the real ledger, over a line that takes ``way_ms`` each way."""
    rng = random.Random(seed)
    playback, handset, it = Playback(PCMU_8K, CallSettings()), Handset(), reel(PCMU_8K)
    playback.attach(0, PCMU_8K)
    there: list[tuple[int, Media | SetMark | None]] = []  # on its way to the carrier; None is a clear
    back: list[tuple[int, str]] = []
    sent = bytearray()
    ours: list[int] = []  # what was heard, by our ledger: indices into what was sent
    proven: set[int] = set()
    theirs: list[int] = []  # what was heard, really
    base = gone = 0
    for ms in range(0, 20_000, 5):
        now = ms * MS
        if ms % 1000 == 0 and ms < 17_000 and rng.random() < 0.7:
            playback.queue(f"i{ms}", bytes(rng.choices(b"\x10\x20\x30\x90\xa0", k=rng.randrange(800, 16_000))))
            playback.end(f"i{ms}")
        while back and back[0][0] <= now:
            playback.mark_returned(now, back.pop(0)[1])
            it.recorder.agent_played(now, playback._confirmed)
            proven.update(range(base, base + playback._confirmed))
        if rng.random() < 0.002 or ms == 17_000:
            heard = playback.heard_position(now)
            _, at_carrier = playback.clear(now)
            it.recorder.agent_cleared(now, heard)
            ours += range(base, base + heard)
            base = len(sent)
            there += [(now + way_ms * MS, None)] * at_carrier
        for order in playback.pump(now):
            if isinstance(order, Media):
                it.recorder.agent_sent(now, order.payload)
                sent += order.payload
            if isinstance(order, Media | SetMark):
                there.append((now + way_ms * MS, order))
        while there and there[0][0] <= now:
            what = there.pop(0)[1]
            marks = []
            if isinstance(what, Media):
                handset.media(what.payload)
            elif isinstance(what, SetMark):
                marks = handset.mark(what.name)
            else:
                theirs += range(gone, handset.received - handset.buffered)
                gone = handset.received
                marks = handset.clear()
            back += [(now + way_ms * MS, name) for name in marks]
        if ms % 20 == 0:
            it.recorder.caller(now, ms, b"\xff" * N)
            back += [(now + (20 + way_ms) * MS, name) for name in handset.play()[1]]
            back.sort(key=lambda each: each[0])
        it.take(now, 32_768)
    _, right = it.end(20 * S)
    ours += range(base, len(sent))
    theirs += range(gone, len(sent))
    assert len(ours) > 20_000
    places = np.flatnonzero(right)
    assert right[places].tobytes() == ulaw_decode(bytes(sent[k] for k in ours))  # every byte that was heard, no other
    ear = np.flatnonzero(np.frombuffer(bytes(handset.heard), np.uint8) != 0xFF)
    at_ear = dict(zip(theirs, (ear / 8).tolist(), strict=True))
    for k, place in zip(ours, (places / 8).tolist(), strict=True):
        if k in at_ear:  # our end knows of it one way later
            off = place - (at_ear[k] + way_ms)
            assert -2 * way_ms - 45 <= off <= TOLERANCE_MS + 45
            assert k not in proven or abs(off) <= TOLERANCE_MS + 45


# --- streams and formats ---------------------------------------------------------------------------------------------


def test_a_stream_that_comes_back_has_its_own_clock_and_its_own_buffer() -> None:
    it = reel()
    for k in range(50):
        it.recorder.caller(20 * k * MS, 102 + 20 * k, frame(k), k + 1)
    it.recorder.agent_sent(900 * MS, ramp(0, 3200))
    it.recorder.attach(1100 * MS, PCMA_8K)  # what the old carrier's buffer held is lost
    for k in range(20):
        payload = alaw_encode(frame(k))
        it.recorder.caller((1500 + 20 * k) * MS, 20 * k, payload, k + 1)
    it.recorder.agent_sent(1500 * MS, alaw_encode(ramp(0, 800)))
    it.recorder.agent_cleared(1600 * MS, 400)
    left, right = it.end(2 * S)
    coarse = read_wav(_alaw_wav(alaw_encode(ramp(0, 20 * N)))).pcm
    expect(left, (0, ramp(0, 50 * N)), (12_000, coarse))
    expect(right, (7200, ramp(0, 1600)), (12_000, coarse[:800]))


def test_a_stream_that_comes_back_at_once_in_another_format() -> None:
    it = reel()
    call(it, [20 * k for k in range(10)])
    it.recorder.agent_sent(0, ramp(0, 1600))
    it.recorder.attach(200 * MS, PCMU_8K)
    it.recorder.caller(200 * MS, 0, ulaw_encode(frame(10)))
    it.recorder.agent_sent(200 * MS, ulaw_encode(ramp(1600, 160)))
    left, right = it.end(S)
    rest = ulaw_decode(ulaw_encode(ramp(1600, 160)))
    expect(left, (0, ramp(0, 1600)), (1600, rest))
    expect(right, (0, ramp(0, 1600)), (1600, rest))


def _alaw_wav(codes: bytes) -> bytes:
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x06\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data"
    return head + len(codes).to_bytes(4, "little") + codes


def test_two_directions_in_two_formats() -> None:
    it = Reel(16_000)
    it.recorder.attach(0, L16_16K, PCMU_8K)
    it.recorder.caller(0, 0, ramp(0, 320))
    it.recorder.agent_sent(0, ulaw_encode(tone(440, 200, 8000, -12)))
    left, right = it.end(S)
    expect(left, (0, ramp(0, 320)))
    assert len(right) == 3200
    want = np.frombuffer(resample(ulaw_decode(ulaw_encode(tone(440, 200, 8000, -12))), 8000, 16_000), "<i2")
    assert np.array_equal(right, want)  # without the delay of the filter, and as long as it was


@pytest.mark.parametrize("cut", [1, 7, 160, 333, 5000])
def test_however_it_is_cut_it_is_the_same(cut: int) -> None:
    """Pieces of any size, at another rate: the resampler sees one stream."""
    speech = ulaw_encode(tone(700, 4000, 8000, -6))
    whole = np.frombuffer(resample(ulaw_decode(speech), 8000, 16_000), "<i2")
    it = Reel(16_000, settle_s=0.5)
    it.recorder.attach(0, PCMU_8K)
    for k in range(200):
        it.recorder.caller(20 * k * MS, 20 * k, speech[k * N : k * N + N])
        it.take(20 * k * MS, cut * 4)
    left, _ = it.end(4 * S)
    assert np.array_equal(left, whole)


@pytest.mark.parametrize("line", [L16_16K, AudioFormat(Encoding.L16, 24_000), AudioFormat(Encoding.L16, 48_000)])
def test_downwards_it_is_as_long_as_it_was(line: AudioFormat) -> None:
    it = Reel(8000, settle_s=0.5)
    it.recorder.attach(0, line)
    wave_form = tone(500, 3000, line.rate, -6)
    size = line.bytes_for_ms(20)
    for k in range(150):
        it.recorder.caller(20 * k * MS, 20 * k, wave_form[k * size : k * size + size])
        it.take(20 * k * MS, 100)
    left, _ = it.end(3 * S)
    assert np.array_equal(left, np.frombuffer(resample(wave_form, line.rate, 8000), "<i2"))


@pytest.mark.parametrize("heard_ms", [0, 35, 100, 200])
def test_a_clear_cuts_at_another_rate_too(heard_ms: int) -> None:
    it = Reel(16_000)
    it.recorder.attach(0, PCMU_8K)
    it.recorder.caller(0, 0, b"\xff" * N)
    it.recorder.agent_sent(0, ulaw_encode(tone(440, 200, 8000, -6)))
    it.recorder.agent_cleared(250 * MS, 8 * heard_ms)
    it.recorder.caller(400 * MS, 400, b"\xff" * N)
    _, right = it.end(S)
    heard = right[: 16 * heard_ms]
    assert not right[16 * heard_ms :].any()
    if heard_ms:
        assert np.count_nonzero(heard) > 15 * heard_ms


def test_a_format_that_cannot_be_converted_is_silence() -> None:
    it = Reel(8000)
    it.recorder.attach(0, AudioFormat(Encoding.L16, 11_025), L16_8K)
    it.recorder.caller(0, 0, ramp(0, 220))
    it.recorder.agent_sent(100 * MS, ramp(0, N))
    left, right = it.end(S)
    expect(left)
    expect(right, (0, ramp(0, N)))  # the recording begins with the first sound


def test_a_rate_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="choose one of"):
        Recorder(11_025)


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_nothing_is_given_before_it_is_settled() -> None:
    it = reel(settle_s=3.0)
    call(it, [20 * k for k in range(200)])
    size = 1000 * 4
    assert it.recorder.take(3 * S + 124_999, size) == b""  # 999.99 samples of the second
    assert it.recorder.take(3 * S, 1) == b""
    first = it.recorder.take(3 * S + 125_000, size)
    assert first[:4] == b"RIFF"
    assert len(first) == 44 + size
    assert it.recorder.take(3 * S + 249_999, size) == b""
    assert len(it.recorder.take(3 * S + 250_000, size)) == size
    assert len(it.recorder.take(3 * S + 999_999, size)) > size


def test_more_than_a_piece_can_be_is_not_waited_for() -> None:
    it = reel(settle_s=1.0, most_bytes=2 * PIECE_BYTES - 4000)
    call(it, [20 * k for k in range(700)])
    assert it.recorder.take(5999 * MS, 1 << 30) == b""
    assert len(it.recorder.take(6 * S, 1 << 30)) == PIECE_BYTES + 44
    assert it.recorder.take(10 * S, 1 << 30) == b""
    assert len(it.recorder.take(11 * S, 1 << 30)) == PIECE_BYTES - 4000  # nor more than there will ever be
    assert it.recorder.full


def test_pieces_are_bounded_and_silence_is_not_held() -> None:
    """An hour without a stream, as in a transfer that comes back: 115 MB of silence, a piece at a time."""
    it = reel()
    it.recorder.caller(0, 0, frame(0))
    it.recorder.attach(3600 * S, L16_8K)
    it.recorder.caller(3600 * S, 0, frame(1))
    it.take(3600 * S)
    assert max(it.pieces) <= PIECE_BYTES + 44
    left, _ = it.end(3601 * S)
    assert len(left) == 3600 * 8000 + N
    assert np.flatnonzero(left)[[0, N - 1, N, 2 * N - 1]].tolist() == [0, N - 1, 28_800_000, 28_800_000 + N - 1]


@pytest.mark.parametrize(("limit_s", "lost"), [(2.0, 0), (1.98, 1), (1.979, 2)])
def test_when_nobody_takes_pieces_memory_is_bounded(limit_s: float, lost: int) -> None:
    it = reel(backlog_s=limit_s)
    call(it, [20 * k for k in range(100)])
    for k in range(100):
        it.recorder.agent_sent(20 * k * MS, frame(k))
    left, right = it.end(2 * S)
    expect(left, (0, ramp(0, (100 - lost) * N)))
    expect(right, (0, ramp(0, (100 - lost) * N)))
    assert it.recorder.dropped_bytes == 2 * lost * 2 * N


def test_however_short_its_sounds_are_memory_is_bounded() -> None:
    it = reel()
    for k in range(1200):
        it.recorder.caller(k * 100 * MS, 100 * k, ramp(k, 1))
        it.recorder.agent_sent(k * 100 * MS, ramp(k, 1))
    assert it.recorder.dropped_bytes == 2 * 200 * 2
    it.take(120 * S)
    it.recorder.caller(121 * S, 121_000, ramp(0, 1))  # there is room again
    left, right = it.end(122 * S)
    assert np.count_nonzero(left) == 1001
    assert np.count_nonzero(right) == 1000


def test_memory_is_bounded_whatever_a_carrier_sends() -> None:
    """A thousand seconds of sound in one, with any timestamps and numbers, and nobody takes a piece."""
    rng = random.Random(7)
    it = reel(PCMU_8K, backlog_s=20.0)
    it.recorder.agent_sent(0, b"\x10")
    for k in range(50_000):
        stamp = rng.choice([20 * k, 0, rng.randrange(1 << 53), rng.randrange(100_000)])
        it.recorder.caller(k * 20, stamp, b"\x10" * N, rng.choice([0, k + 1, rng.randrange(1 << 53)]))
    held = sum(len(sound.data) for sound in it.recorder._caller._sounds)
    assert held <= 8000 * 4
    assert len(it.recorder._caller._sounds) <= 100
    assert len(it.recorder._early) <= 5
    left, _ = it.end(S)
    assert len(left) <= 8000 * 4


def test_recording_goes_on_when_pieces_are_taken_again() -> None:
    it = reel(backlog_s=5.0)
    call(it, [20 * k for k in range(1000)])  # 20 s
    it.take(20 * S)
    call(it, [20_000 + 20 * k for k in range(50)], [20_000 + 20 * k for k in range(50)], first=1000)
    left, _ = it.end(22 * S)
    assert left[1000 * N : 1050 * N].tobytes() == ramp(1000 * N, 50 * N)


def test_the_end_of_what_a_file_can_hold() -> None:
    for most, full in ((4 * 10 * N, True), (4 * 10 * N + 3, True), (4 * 10 * N + 4, False)):
        it = reel(most_bytes=most)
        call(it, [20 * k for k in range(10)])
        left, _ = it.end(S)
        assert it.recorder.full is full
        expect(left, (0, ramp(0, 10 * N)))


def test_a_full_recording_wants_nothing_more() -> None:
    it = reel(most_bytes=4 * 8000)
    call(it, [20 * k for k in range(300)])
    it.take(6 * S)
    assert it.recorder.full
    it.recorder.caller(7 * S, 7000, frame(0))
    it.recorder.agent_sent(7 * S, frame(0))
    it.recorder.attach(8 * S, PCMU_8K)
    it.recorder.agent_cleared(8 * S, 5)
    left, _ = it.end(60 * S)
    expect(left, (0, ramp(0, 8000)))
    assert it.recorder.full


def test_a_call_without_a_sound_makes_no_file() -> None:
    for it in (Reel(), reel()):
        assert it.recorder.take(S, 1) == b""
        it.recorder.finish(10 * S)
        assert it.recorder.take(10 * S, 1) == b""
        it.recorder.attach(11 * S, L16_8K)
        it.recorder.caller(11 * S, 0, frame(0))
        it.recorder.finish(12 * S)
        assert it.recorder.take(20 * S, 1) == b""


def test_the_recording_says_when_it_began() -> None:
    it = Reel()
    it.recorder.attach(5 * S, L16_8K)
    it.recorder.caller(5 * S + 102 * MS, 102, frame(0))
    it.take(9 * S)
    assert it.recorder.began == 5 * S + 102 * MS


def test_a_file_is_readable_while_it_grows() -> None:
    """Without its header's sizes: what a crash leaves."""
    it = reel()
    call(it, [20 * k for k in range(500)])
    it.take(10 * S, 32_768)
    left = np.frombuffer(read_wav(bytes(it.file)).pcm, "<i2").reshape(-1, 2)[:, 0]
    expect(left, (0, ramp(0, len(left))))
    assert len(left) > 6 * 8000


# --- always the same -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 400),  # ms
        st.sampled_from(["frame", "frame", "frame", "sent", "sent", "played", "cleared", "attach", "take"]),
        st.integers(-200, 4000),
        st.integers(0, 700),
    ),
    max_size=80,
)
FORMATS = (PCMU_8K, PCMA_8K, L16_8K, L16_16K)


@hypothesis_settings(deadline=None)
@given(STEPS, st.sampled_from([8000, 16_000]))
def test_whatever_happens_the_same_facts_make_the_same_file(steps: list[tuple[int, str, int, int]], rate: int) -> None:
    """Total and bounded, too: no longer than the call, and never more held than was said."""
    one, two = Reel(rate, settle_s=1.0, backlog_s=4.0), Reel(rate, settle_s=1.0, backlog_s=4.0)
    for it in (one, two):
        it.recorder.attach(0, PCMU_8K)
    now = 0
    for ms, what, number, size in steps:
        now += ms * MS
        for it in (one, two):
            rec = it.recorder
            if what == "frame":
                rec.caller(now, max(0, now // MS + number - 2000), b"\x10" * size, max(0, number))
            elif what == "sent":
                rec.agent_sent(now, b"\x20" * size)
            elif what == "played":
                rec.agent_played(now, size)
            elif what == "cleared":
                rec.agent_cleared(now, None if number < 0 else size)
            elif what == "attach":
                rec.attach(now, FORMATS[number % 4], FORMATS[size % 4])
            else:
                it.take(now, 1)
            for tape in (rec._caller, rec._agent):
                sounds = list(tape._sounds)
                assert tape._held == sum(len(sound.data) for sound in sounds)
                assert all(a.end <= b.start for a, b in pairwise(sounds))
    if any(len(channel) for channel in one.end(now)) or one.file:
        two.end(now)
        assert one.file == two.file
        assert one.pieces == two.pieces
        longest = (now // 1000 + 1000) * rate // 1000 + 4 * rate
        assert one.recorder.data_bytes <= 4 * longest
