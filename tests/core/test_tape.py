"""One channel of a recording: what was begun to be rendered can still be extended, cut and moved."""

from __future__ import annotations

import numpy as np
import pytest

from patter_core.audio import tone
from patter_core.audio.formats import L16_8K, L16_16K, PCMU_8K
from patter_core.audio.resample import resample
from patter_core.call.tape import Tape

RAMP = np.arange(1, 4001).astype("<i2").tobytes()


def part(start: int, end: int) -> bytes:
    return RAMP[2 * start : 2 * end]


def silence(samples: int) -> bytes:
    return bytes(2 * samples)


def test_sounds_and_silence() -> None:
    tape = Tape(8000, -100)
    assert (tape.start, tape.end) == (None, -100)
    assert tape.add(-50, L16_8K, part(0, 10)) == 0
    assert tape.add(-40, L16_8K, part(10, 20)) == 0
    assert tape.add(100, L16_8K, part(20, 30)) == 0
    assert (tape.start, tape.end) == (-50, 110)
    assert tape.render(-45) == silence(50) + part(0, 5)
    assert tape.render(-45) == tape.render(-60) == b""
    assert tape.render(105) == part(5, 20) + silence(130) + part(20, 25)
    assert tape.render(120) == part(25, 30) + silence(10)
    assert (tape.start, tape.end, tape.at) == (None, 110, 120)


@pytest.mark.parametrize(("place", "late"), [(100, 0), (99, 1), (91, 9), (90, 10), (0, 10)])
def test_what_comes_too_late(place: int, late: int) -> None:
    tape = Tape(8000, 0)
    tape.render(100)
    assert tape.add(place, L16_8K, part(0, 10), 500) == 2 * late
    tape.cut_from(500 + 2 * late + 6)
    assert tape.render(110) == (part(late, 10)[:6] + silence(10))[:20]


def test_a_sound_goes_on_while_it_is_rendered() -> None:
    """At another rate, in small steps: the filter sees one sound."""
    sound = tone(700, 200, 8000)
    tape = Tape(16_000, 0)
    out = b""
    for k in range(10):
        assert tape.add(320 * k, L16_8K, sound[320 * k : 320 * k + 320]) == 0
        if k:
            out += tape.render(320 * k - 20 + k)
    assert out + tape.render(3200) == resample(sound, 8000, 16_000)


@pytest.mark.parametrize("left", [0, 1, 5])
def test_what_follows_a_sound_rendered_to_its_end_is_another(left: int) -> None:
    sound = tone(700, 40, 8000)
    tape = Tape(16_000, 0)
    tape.add(0, L16_8K, sound)
    out = tape.render(640 - left)
    tape.add(640, L16_8K, sound)
    assert out + tape.render(1280) == 2 * resample(sound, 8000, 16_000)


def test_formats_and_positions_are_not_mixed() -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 10), 0)
    tape.add(10, PCMU_8K, b"\xff" * 10, 20)
    tape.add(20, L16_8K, part(20, 30), 900)
    tape.add(30, L16_8K, part(30, 40))
    tape.cut_from(0)
    assert tape.end == 40  # what has no position is not the ledger's
    tape.cut(30)
    tape.cut_from(906)
    assert tape.render(40) == part(0, 10) + silence(10) + part(20, 23) + silence(17)


@pytest.mark.parametrize("place", [0, 40, 41, 45, 50, 60])
def test_cutting_what_is_begun(place: int) -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 50), 0)
    assert tape.render(40) == part(0, 40)
    other = Tape(8000, 0)
    other.add(0, L16_8K, part(0, 50), 0)
    other.render(40)
    tape.cut(place)
    other.cut_from(2 * place)
    kept = part(40, max(40, min(place, 50)))
    assert tape.render(60) == other.render(60) == kept.ljust(40, b"\0")
    assert tape.has_room(10, 10)
    assert not tape.has_room(11, 10)


@pytest.mark.parametrize("known", [0, 20, 100])
def test_what_is_rendered_is_not_moved(known: int) -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 100), 0)
    assert tape.render(40) == part(0, 40)
    tape.delay(known, 160, 180, 10, 1000)  # 100 later than it lies there
    first = max(40, known // 2)
    assert tape.render(300) == part(40, first) + silence(100) + part(first, 100) + silence(100)


@pytest.mark.parametrize(("place", "moved"), [(90, 0), (91, 11), (130, 50), (131, 0), (0, 0)])
def test_how_far_a_sound_is_moved(place: int, moved: int) -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 100), 0)
    tape.delay(0, 160, place, 10, 50)
    assert tape.render(200) == silence(moved) + part(0, 100) + silence(100 - moved)


def test_moving_between_rates() -> None:
    sound = tone(700, 100, 16_000)
    tape = Tape(8000, 0)
    tape.add(0, L16_16K, sound, 0)
    tape.delay(1002, 2000, 1000, 10, 1000)
    assert tape.end == 800 + 500
    assert len(tape.render(1300)) == 2600
    assert tape.start is None


@pytest.mark.parametrize(("count", "lost"), [(0, 0), (40, 0), (50, 0), (51, 1), (60, 10), (70, 10)])
def test_pulling(count: int, lost: int) -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 50))
    tape.add(100, L16_8K, part(50, 60))
    assert tape.pull(count) == 2 * lost
    place = max(50, 100 - count)
    assert tape.render(120) == part(0, 50) + silence(place - 50) + part(50 + lost, 60) + silence(110 - place + lost)
    assert Tape(8000, 0).pull(5) == 0


def test_pulling_what_is_begun() -> None:
    tape = Tape(8000, 0)
    tape.add(0, L16_8K, part(0, 50))
    assert tape.render(20) == part(0, 20)
    assert tape.pull(10) == 20
    assert tape.end == 40
    assert tape.render(40) == part(30, 50)
    up = Tape(16_000, 0)
    up.add(0, L16_8K, part(0, 500))
    up.render(300)
    assert up.pull(100) == 100
    assert up.end == 900
    assert len(up.render(900)) == 1200
    assert up.start is None
