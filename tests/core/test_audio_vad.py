"""The energy detector: when it starts, when it stops, what it takes for noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio import (
    L16_8K,
    L16_16K,
    L16_24K,
    PCMA_8K,
    PCMU_8K,
    AudioFormat,
    Encoding,
    EnergyVad,
    SpeechStarted,
    SpeechStopped,
    Transcoder,
)

RATE = 8000


def quiet(ms: int) -> bytes:
    return L16_8K.silence(ms)


def loud(ms: int, level_dbfs: float = -20.0) -> bytes:
    """A 400 Hz tone without fades: whole periods, so every window holds the same energy."""
    at = np.arange(ms * RATE // 1000)
    return np.rint(32767 * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 400 / RATE * at)).astype("<i2").tobytes()


def hiss(ms: int, level_dbfs: float, seed: int = 1) -> np.ndarray:
    sigma = 32768 * 10 ** (level_dbfs / 20) / np.sqrt(2)
    return np.random.default_rng(seed).normal(0, sigma, ms * RATE // 1000)


def voice(ms: int, level_dbfs: float) -> np.ndarray:
    """Harmonics of 120 Hz, swelling four times a second: syllables."""
    at = np.arange(ms * RATE // 1000) / RATE
    wave = sum(np.sin(2 * np.pi * 120 * k * at) / k for k in range(1, 25))
    wave = wave * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * at))
    return np.asarray(wave / np.sqrt((wave**2).mean()) * 32768 * 10 ** (level_dbfs / 20) / np.sqrt(2))


def pcm(wave: np.ndarray) -> bytes:
    return np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes()


def conversation(floor_dbfs: float, voice_dbfs: float) -> bytes:
    """Noise for 9 s, with a voice from 2.0 to 3.0 s and from 5.0 to 5.6 s."""
    wave = hiss(9000, floor_dbfs)
    wave[2000 * 8 : 3000 * 8] += voice(1000, voice_dbfs)
    wave[5000 * 8 : 5600 * 8] += voice(600, voice_dbfs)
    return pcm(wave)


@pytest.mark.parametrize(("windows", "starts"), [(2, False), (3, True)])
def test_start_ms_is_reached_or_not(windows, starts):
    vad = EnergyVad(start_ms=60)
    events = vad.process(quiet(200) + loud(20 * windows) + quiet(200))
    assert events == ([SpeechStarted(200)] if starts else [])
    assert vad.speaking is starts
    assert vad.last_voiced_ms == (260 if starts else None)


@pytest.mark.parametrize(("gap_ms", "starts"), [(60, True), (80, False)])
def test_voice_must_come_within_start_within_ms(gap_ms, starts):
    vad = EnergyVad(start_ms=60, start_within_ms=120)
    events = vad.process(quiet(200) + loud(40) + quiet(gap_ms) + loud(20))
    assert events == ([SpeechStarted(200)] if starts else [])


@pytest.mark.parametrize(("silent_ms", "stops"), [(480, False), (500, True)])
def test_stop_ms_is_reached_or_not(silent_ms, stops):
    vad = EnergyVad(stop_ms=500)
    assert vad.process(quiet(200) + loud(300)) == [SpeechStarted(200)]
    assert vad.process(quiet(silent_ms)) == ([SpeechStopped(500)] if stops else [])
    assert vad.speaking is not stops
    assert vad.last_voiced_ms == 500


def test_a_pause_shorter_than_stop_ms_is_part_of_the_speech():
    vad = EnergyVad(stop_ms=500)
    events = vad.process(quiet(200) + loud(300) + quiet(480) + loud(20) + quiet(480))
    assert events == [SpeechStarted(200)]
    assert vad.process(quiet(20)) == [SpeechStopped(1000)]


def test_times_round_up_to_windows():
    assert EnergyVad(start_ms=41).process(quiet(100) + loud(40) + quiet(100)) == []
    assert EnergyVad(start_ms=40).process(quiet(100) + loud(40) + quiet(100)) == [SpeechStarted(100)]


def test_a_call_that_begins_with_a_voice():
    vad = EnergyVad()
    assert vad.process(loud(400) + quiet(500)) == [SpeechStarted(0), SpeechStopped(400)]


@pytest.mark.parametrize(("level", "voiced"), [(-50.5, True), (-51.5, False)])
def test_in_digital_silence_the_lowest_floor_counts(level, voiced):
    vad = EnergyVad(floor_min_dbfs=-60, threshold_db=9)
    assert bool(vad.process(quiet(1000) + loud(200, level))) is voiced


def test_hysteresis_keeps_a_fading_voice():
    vad = EnergyVad(floor_min_dbfs=-60, threshold_db=9, hysteresis_db=3)
    assert vad.process(quiet(400) + loud(100, -30) + loud(100, -53) + quiet(500)) == [
        SpeechStarted(400),
        SpeechStopped(600),
    ]


@pytest.mark.parametrize("floor", [-75, -60, -50, -40, -35])
def test_a_voice_over_noise_is_found_where_it_is(floor):
    vad = EnergyVad()
    vad.process(pcm(hiss(2000, floor, seed=7)))  # the floor is known
    events = vad.process(conversation(floor, -18))
    assert [type(event) for event in events][-4:] == [SpeechStarted, SpeechStopped] * 2
    for event, at in zip(events[-4:], (4000, 5000, 7000, 7600), strict=True):
        assert event.at_ms == pytest.approx(at, abs=60)


@pytest.mark.parametrize("floor", [-70, -55, -46])
def test_steady_noise_is_not_a_voice(floor):
    assert EnergyVad().process(pcm(hiss(10_000, floor))) == []


def test_louder_noise_becomes_floor_in_time():
    vad = EnergyVad(floor_memory_ms=3000)
    vad.process(pcm(hiss(4000, -60)))
    events = vad.process(pcm(hiss(8000, -35, seed=2)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert events[0].at_ms == 4000
    assert events[1].at_ms <= 4000 + 3000 + 200
    assert vad.process(pcm(voice(300, -12))) == [SpeechStarted(12_000)]


def test_one_lost_frame_does_not_pull_the_floor_down():
    vad = EnergyVad()
    noise = pcm(hiss(3000, -42))
    vad.process(pcm(hiss(3000, -42, seed=3)))
    assert vad.process(noise[:16000] + quiet(20) + noise[16000:]) == []


def test_direct_current_is_not_energy():
    vad = EnergyVad()
    assert vad.process(np.full(8000, 9000, "<i2").tobytes()) == []


@pytest.mark.parametrize("fmt", [PCMU_8K, PCMA_8K, L16_16K, L16_24K, AudioFormat(Encoding.L16, 22050)])
def test_every_format_hears_the_same(fmt):
    sound = quiet(1000) + loud(400) + quiet(600)
    if fmt.rate == 22050:
        at = np.arange(44100) / 22050
        sound = pcm(np.where((at >= 1.0) & (at < 1.4), 3000 * np.sin(2 * np.pi * 400 * at), 0))
    else:
        sound = Transcoder(L16_8K, fmt).process(sound)
    started, stopped = EnergyVad(format=fmt).process(sound)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.at_ms == 1000
    assert stopped.at_ms in (1400, 1420)  # the resampler's tail


def test_rate_is_a_short_way_to_say_pcm16():
    assert EnergyVad().format == L16_8K
    assert EnergyVad(16000).format == L16_16K


@pytest.mark.parametrize("fmt", [PCMU_8K, L16_8K])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.integers(50, 2000))
def test_chunks_make_no_difference(fmt, seed, longest):
    sound = Transcoder(L16_8K, fmt).process(conversation(-50, -20))
    whole = EnergyVad(format=fmt)
    want = whole.process(sound)
    assert len(want) == 4
    random = np.random.default_rng(seed)
    vad, got, at = EnergyVad(format=fmt), [], 0
    while at < len(sound):
        size = int(random.integers(0, longest + 1))
        got += vad.process(sound[at : at + size])
        at += size
    assert got == want
    assert (vad.last_voiced_ms, vad.position_ms) == (whole.last_voiced_ms, whole.position_ms) == (5600, 9000)
    vad.reset()
    assert (vad.last_voiced_ms, vad.position_ms, vad.speaking) == (None, 0, False)
    assert vad.process(sound) == want


def test_a_reset_forgets_half_a_window_and_a_running_voice():
    vad = EnergyVad()
    vad.process(loud(300) + b"\x01")
    vad.reset()
    assert vad.process(quiet(200) + loud(100)) == [SpeechStarted(200)]


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"start_ms": 0}, "start_ms must be positive"),
        ({"start_ms": 140}, "at most start_within_ms, not 140"),
        ({"start_within_ms": 2001}, "start_within_ms must be at most 2000"),
        ({"stop_ms": 0}, "stop_ms"),
        ({"hysteresis_db": 9.0}, "hysteresis_db"),
        ({"hysteresis_db": -1.0}, "hysteresis_db"),
        ({"floor_memory_ms": 199}, "floor_memory_ms must be at least 200"),
        ({"rate": 11025}, "11025 Hz"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, what):
    with pytest.raises(ValueError, match=what):
        EnergyVad(**setting)


def test_other_keyword_names_are_refused():
    with pytest.raises(TypeError):
        EnergyVad(sensitivity=3)  # type: ignore[call-arg]
