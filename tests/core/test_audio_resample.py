"""Sample-rate conversion: the same however it is cut, and as clean as its masks say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio import Resampler, resample, tone
from patter_core.audio.resample import INPUT_RATES, OUTPUT_RATES, filter_design

SCRIPT = Path(__file__).parents[2] / "conformance" / "audio_quality.py"
_spec = importlib.util.spec_from_file_location("audio_quality", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
audio_quality = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(audio_quality)

PAIRS = [(a, b) for a in INPUT_RATES for b in OUTPUT_RATES if a != b]
MASKS = audio_quality.masks()


def noise(seed: int, samples: int) -> bytes:
    """Samples over the whole range, so that the filter clips too."""
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype("<i2").tobytes()


def cut(data: bytes, seed: int, longest: int) -> list[bytes]:
    """``data`` in chunks of 0 to ``longest`` bytes."""
    random = np.random.default_rng(seed)
    chunks, at = [], 0
    while at < len(data):
        size = int(random.integers(0, longest + 1))
        chunks.append(data[at : at + size])
        at += size
    return chunks


def centre_s(pcm: bytes, rate: int) -> float:
    """Where the energy of a recording lies, in seconds."""
    power = np.frombuffer(pcm, "<i2").astype(float) ** 2
    return float((power * np.arange(len(power))).sum() / power.sum() / rate)


def direct(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """The conversion by definition: stuff zeros, filter, take every M-th, round half up, clip. Exact integers."""
    design = filter_design(from_rate, to_rate)
    taps = np.round(design.taps * 2**24).astype(np.int64)
    assert (taps / 2**24 == design.taps).all()
    samples = np.frombuffer(pcm, "<i2").astype(np.int64)
    stuffed = np.zeros(len(samples) * design.up, np.int64)
    stuffed[:: design.up] = samples
    wanted = np.convolve(stuffed, taps)[design.down - 1 :: design.down][: len(samples) * design.up // design.down]
    return np.clip((wanted + 2**23) >> 24, -32768, 32767).astype("<i2").tobytes()


def test_the_masks_cover_every_pair():
    assert sorted((mask["from_hz"], mask["to_hz"]) for mask in MASKS) == sorted(PAIRS)


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask["id"])
def test_ripple_images_aliases_and_delay(mask):
    got = audio_quality.measure_pair(mask, tones=9)
    assert audio_quality.broken(mask, got) == []
    assert (got.alias_db is None) == (mask["stop_hz"] + 100 >= mask["from_hz"] / 2)
    assert got.delay_us == pytest.approx(Resampler(mask["from_hz"], mask["to_hz"]).delay_us, abs=2)


def test_the_instrument_sees_a_bad_conversion():
    """Dropping two of three samples folds everything: the measurement must say so."""
    mask = next(mask for mask in MASKS if mask["id"] == "codec/resample/24000-8000")

    def drop(pcm: bytes) -> bytes:
        return np.frombuffer(pcm, "<i2")[::3].tobytes()

    assert audio_quality.measure_tone(drop, 24000, 8000, 5000.3).spur_db == pytest.approx(0, abs=0.1)
    late = audio_quality.Quality(delay_us=2000, ripple_db=0.2, image_db=90, alias_db=90, tones=[])
    assert [fault.split()[0] for fault in audio_quality.broken(mask, late)] == ["delay", "ripple", "image", "alias"]


@pytest.mark.parametrize(("from_rate", "to_rate"), [pair for pair in PAIRS if pair[0] != 22050])
def test_equals_the_definition_to_the_last_bit(from_rate, to_rate):
    pcm = noise(1, 3001)
    assert Resampler(from_rate, to_rate).process(pcm) == direct(pcm, from_rate, to_rate)


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 5000), longest=st.integers(1, 1500))
def test_chunks_make_no_difference(from_rate, to_rate, seed, size, longest):
    pcm = noise(seed, size // 2 + 1)[:size]
    whole = Resampler(from_rate, to_rate).process(pcm)
    assert len(whole) == 2 * (size // 2 * to_rate // from_rate)
    stream = Resampler(from_rate, to_rate)
    assert b"".join(stream.process(chunk) for chunk in cut(pcm, seed, longest)) == whole
    stream.reset()
    assert stream.process(pcm) == whole


@pytest.mark.parametrize(("from_rate", "to_rate"), [pair for pair in PAIRS if pair[0] != 22050])
def test_single_bytes(from_rate, to_rate):
    pcm = noise(5, 400)
    stream = Resampler(from_rate, to_rate)
    out, count = b"", 0
    for at in range(len(pcm)):
        out += stream.process(pcm[at : at + 1])
        count = (at + 1) // 2
        assert len(out) == 2 * (count * to_rate // from_rate)  # nothing is held back, nothing comes early
    assert out == Resampler(from_rate, to_rate).process(pcm)


@pytest.mark.parametrize("rate", OUTPUT_RATES)
def test_one_rate_is_the_identity(rate):
    pcm = noise(2, 2500)
    stream = Resampler(rate, rate)
    assert b"".join(stream.process(chunk) for chunk in cut(pcm, 3, 700)) == pcm
    assert stream.delay_us == 0
    assert stream.flush() == b""


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_silence_stays_silence_and_a_reset_leaves_nothing_behind(from_rate, to_rate):
    stream = Resampler(from_rate, to_rate)
    assert set(stream.process(bytes(2000))) == {0}
    stream.process(noise(4, 777) + b"\x7f")
    stream.reset()
    assert set(stream.process(bytes(2000))) == {0}


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_flush_is_what_silence_would_have_brought_out(from_rate, to_rate):
    pcm = noise(6, 1234)
    stream = Resampler(from_rate, to_rate)
    out = stream.process(pcm) + stream.flush()
    longer = Resampler(from_rate, to_rate).process(pcm + bytes(2000))
    assert longer.startswith(out)
    assert set(longer[len(out) :]) == {0}
    assert stream.process(pcm) == Resampler(from_rate, to_rate).process(pcm)


def test_full_scale_clips_and_does_not_wrap():
    square = np.tile(np.repeat([32767, -32768], 20), 50).astype("<i2").tobytes()
    out = np.frombuffer(Resampler(8000, 24000).process(square), "<i2")
    assert (out.max(), out.min()) == (32767, -32768)
    assert (np.sign(out[200:-200].reshape(-1, 10).mean(axis=1)) != 0).all()
    assert (out == np.frombuffer(direct(square, 8000, 24000), "<i2")).all()


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_whole_recording_keeps_its_place_and_length(from_rate, to_rate):
    gap = bytes(2 * (from_rate // 10))
    pcm = gap + tone(1000, 30, from_rate) + gap
    out = resample(pcm, from_rate, to_rate)
    assert len(out) == 2 * -(-(len(pcm) // 2) * to_rate // from_rate)
    # Whole samples are left out, so what remains of the delay is at most half of one.
    assert centre_s(out, to_rate) == pytest.approx(centre_s(pcm, from_rate), abs=0.55 / to_rate)
    assert resample(b"", from_rate, to_rate) == b""


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 8000), (8000, 22050), (8000, 11025), (0, 8000)])
def test_other_rates_are_refused(from_rate, to_rate):
    with pytest.raises(ValueError, match="cannot convert"):
        Resampler(from_rate, to_rate)


def test_memory_does_not_grow_with_chunk_sizes():
    stream = Resampler(24000, 16000)
    for size in range(2, 400, 2):
        stream.process(bytes(size))
    stream.process(bytes(500_000))
    assert len(stream._plans) <= 16
    assert stream._buffer.nbytes < 16_384


def test_designs_are_shared():
    assert filter_design(8000, 16000) is filter_design(8000, 16000)
    with pytest.raises(ValueError, match="read-only"):
        filter_design(8000, 16000).matrix[0, 0] = 1
