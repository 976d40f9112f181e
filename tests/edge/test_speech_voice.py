"""The voices: that they are heard, at the rate they say, and that nothing is made before it is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from patter_core.audio.tones import level_dbfs, tone
from patter_core.edge.demo_agent import reply
from patter_core.edge.speech.phrasing import CHUNK_MS, GAP_MS, MAX_BREATH, breaths, spoken_chunks, trimmed
from patter_core.edge.speech.voice import ProgramVoice, Speaker, ToneVoice, Voice, find_voice
from patter_core.errors import ConfigError

SHORT = "Goodbye."
LONG = "We are open from nine in the morning until ten in the evening, and on Sunday from noon until nine."

try:
    Voice()
    HAS_ESPEAK = True
except (ImportError, OSError):
    HAS_ESPEAK = False
needs_espeak = pytest.mark.skipif(not HAS_ESPEAK, reason="espeakng-loader is missing: pip install 'patter[demo]'")


def voices() -> Iterator[Speaker]:
    yield ToneVoice()
    if HAS_ESPEAK:
        yield Voice()
    for program in ("espeak-ng", "flite"):
        if shutil.which(program):
            yield ProgramVoice(program)


@pytest.fixture(params=list(voices()), ids=lambda voice: voice.describe.split(",")[0])
def voice(request: pytest.FixtureRequest) -> Speaker:
    speaker: Speaker = request.param
    return speaker


def test_speech_is_audible_and_neither_clipped_nor_framed_in_silence(voice: Speaker) -> None:
    pcm = b"".join(voice.speak(LONG))
    assert len(pcm) % 2 == 0
    assert -30 < level_dbfs(pcm) < -8
    samples = np.abs(np.frombuffer(pcm, "<i2").astype(int))
    assert np.count_nonzero(samples >= 32767) == 0
    assert samples[: voice.rate // 20].max() > 150


def test_length_follows_the_text(voice: Speaker) -> None:
    short, long = (len(b"".join(voice.speak(text))) / 2 / voice.rate for text in (SHORT, LONG))
    # 20 words at 165 a minute are 7.3 s; a wrong rate or a wrong pace is far outside of this.
    assert 5.0 < long < 10.0
    assert 0.3 < short < 1.5


def test_chunks_are_short(voice: Speaker) -> None:
    sizes = [len(chunk) for chunk in voice.speak(LONG)]
    assert len(sizes) > 10
    assert min(sizes) > 0
    assert max(sizes) <= 2 * voice.rate * CHUNK_MS // 1000


@pytest.mark.parametrize("text", ["", "   ", "...", "\0", "\n\n"])
def test_a_text_without_words_is_no_sound(voice: Speaker, text: str) -> None:
    assert list(voice.speak(text)) == []


@pytest.mark.parametrize(
    "text", ["-v de --help", "<speak>stop</speak>", "naïve café, 1,234 €", "\ud800 stop", "日本語 stop"]
)
def test_odd_texts_are_only_text(voice: Speaker, text: str) -> None:
    assert level_dbfs(b"".join(voice.speak(text))) > -40


@needs_espeak
def test_espeak_speaks_the_same_thing_the_same_way_from_three_threads() -> None:
    voice, quick = Voice(), Voice(words_per_minute=300)
    texts = [SHORT, LONG, "Here is the menu."]
    jobs = [(speaker, text) for _ in range(3) for text in texts for speaker in (voice, quick)]
    alone = {(speaker.words_per_minute, text): b"".join(speaker.speak(text)) for speaker, text in jobs}
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda job: b"".join(job[0].speak(job[1])), jobs))
    # Espeak's first voiced pulses differ by a hair from run to run, so lengths and levels are compared, not bytes.
    for (speaker, text), pcm in zip(jobs, together, strict=True):
        expected = alone[speaker.words_per_minute, text]
        assert abs(len(pcm) - len(expected)) < 0.05 * len(expected)
        assert abs(level_dbfs(pcm) - level_dbfs(expected)) < 2
    assert len(alone[300, LONG]) < 0.75 * len(alone[165, LONG])


@needs_espeak
def test_espeak_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match="xx-nowhere"):
        Voice("xx-nowhere")
    with pytest.raises(ConfigError, match="words_per_minute"):
        Voice(words_per_minute=5)
    with pytest.raises(ConfigError, match="words_per_minute"):
        find_voice(words_per_minute=5000)


@needs_espeak
def test_the_best_voice_is_found() -> None:
    assert find_voice().describe.startswith("espeak-ng, voice en-us")


def test_programs() -> None:
    with pytest.raises(ConfigError, match="program"):
        ProgramVoice("rm")


def test_a_program_that_fails_is_passed_over(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    for name in ("espeak-ng", "flite"):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\nexit 3\n")
        os.chmod(path, 0o755)
    monkeypatch.setenv("PATH", folder)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr("patter_core.edge.speech.voice.shared_espeak", _missing)
    with pytest.raises(OSError, match="flite could not speak"):
        ProgramVoice("flite")
    assert isinstance(find_voice(), ToneVoice)


def _missing() -> None:
    raise ImportError("espeakng_loader")


def test_without_any_voice_there_are_tones_and_a_plain_word_about_it(tmp_path: object) -> None:
    """In a process of its own, where neither the package nor a program can be found."""
    code = """
import sys
sys.modules["espeakng_loader"] = None
from patter_core.edge.speech import find_voice
voice = find_voice()
print(type(voice).__name__, voice.rate, len(b"".join(voice.speak("two words"))) > 4000, voice.describe)
"""
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout.startswith("ToneVoice 8000 True no voice is installed")
    assert "\n" not in done.stdout.strip()


def test_tones_differ_by_word_and_repeat_for_the_same() -> None:
    def said(text: str) -> bytes:
        return b"".join(ToneVoice().speak(text))

    assert said("stop") == said("stop")
    assert said("stop") != said("menu")
    assert len(said("one two three")) > 2.5 * len(said("one")) - 2 * 2 * 800


def test_a_sentence_is_made_only_when_it_is_reached() -> None:
    asked: list[str] = []

    def synthesise(text: str) -> bytes:
        asked.append(text)
        return tone(440, 250, 8000)

    chunks = spoken_chunks("One. Two! Three?", 8000, synthesise)
    assert asked == []
    first = next(chunks)
    assert asked == ["One."]
    assert len(first) == 1600
    rest = list(chunks)
    assert asked == ["One.", "Two!", "Three?"]
    # Three sounds and two gaps, and the gap is real silence.
    total = len(first) + sum(map(len, rest))
    assert abs(total - 2 * 8 * (3 * 250 + 2 * GAP_MS)) < 2 * 8 * 10
    assert bytes(2 * 8 * GAP_MS) in first + b"".join(rest)


@needs_espeak
def test_the_first_chunk_of_a_long_reading_comes_before_the_rest_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = Voice()
    espeak = voice._espeak
    made: list[str] = []
    real = espeak.synthesise

    def counted(text: str, name: str, pace: int) -> bytes:
        made.append(text)
        return real(text, name, pace)

    monkeypatch.setattr(espeak, "synthesise", counted)
    menu = reply("read me the menu", 2)
    reading = voice.speak(menu)
    next(reading)
    assert len(made) == 1
    assert sum(1 for _ in reading) > 200
    assert len(made) == len(list(breaths(menu))) > 4


def test_silence_around_a_sound_is_trimmed_but_for_its_edges() -> None:
    sound = tone(440, 300, 8000)
    kept = trimmed(bytes(8000) + sound + bytes(4000) + b"\x00", 8000)
    assert abs(len(kept) - len(sound)) <= 2 * 2 * 80
    assert trimmed(bytes(8000), 8000) == b""
    assert trimmed(b"", 8000) == b""


@pytest.mark.parametrize("text", ["word " * 400, "x" * 3000, "one, two and three, " * 60])
def test_no_breath_is_too_long_and_nothing_is_lost(text: str) -> None:
    pieces = list(breaths(text))
    assert max(map(len, pieces)) <= MAX_BREATH
    assert "".join("".join(pieces).split()) == "".join(text.split())
