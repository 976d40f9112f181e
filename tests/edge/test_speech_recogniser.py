"""The recogniser on the demo's own caller, over the telephone's coding."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from patter_core.audio import g711
from patter_core.audio.resample import resample
from patter_core.audio.tones import tone
from patter_core.edge.demo_agent import CALLER_SCRIPT, PHRASES
from patter_core.edge.speech.caller import Utterance, caller_utterances
from patter_core.edge.speech.recogniser import Recogniser, Unrecognised, find_recogniser
from patter_core.errors import ConfigError

needs_pocketsphinx = pytest.mark.skipif(
    isinstance(find_recogniser(["stop"]), Unrecognised), reason="pocketsphinx is missing: pip install 'patter[demo]'"
)


def telephoned(pcm: bytes) -> bytes:
    """As it arrives from a carrier: through 8-bit mu-law."""
    return g711.ulaw_decode(g711.ulaw_encode(pcm))


def silence(ms: int) -> bytes:
    return bytes(2 * 8 * ms)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(PHRASES)


@needs_pocketsphinx
@pytest.mark.parametrize("name", CALLER_SCRIPT)
@pytest.mark.parametrize(("before", "after"), [(0, 0), (200, 200), (300, 700)])
def test_every_utterance_of_the_caller_is_understood(
    recogniser: Recogniser, name: str, before: int, after: int
) -> None:
    said = caller_utterances()[name]
    heard = recogniser.recognise(telephoned(silence(before) + said.pcm + silence(after)), said.rate)
    assert heard == said.text


@needs_pocketsphinx
@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_the_level_of_the_line_does_not_matter(recogniser: Recogniser, gain: float) -> None:
    for said in caller_utterances().values():
        louder = (np.frombuffer(said.pcm, "<i2") * gain).astype("<i2").tobytes()
        assert recogniser.recognise(telephoned(louder)) == said.text


@needs_pocketsphinx
@pytest.mark.parametrize("rate", [16000, 24000])
def test_other_rates_are_converted(recogniser: Recogniser, rate: int) -> None:
    said = caller_utterances()["book"]
    assert recogniser.recognise(resample(said.pcm, said.rate, rate), rate) == said.text


@needs_pocketsphinx
def test_a_phrase_comes_back_spelt_as_it_was_given() -> None:
    said = caller_utterances()["stop"]
    assert Recogniser(["Stop, please!", "Goodbye."]).recognise(said.pcm) == "Stop, please!"


@needs_pocketsphinx
def test_what_is_not_in_the_list_is_not_guessed() -> None:
    caller = caller_utterances()
    without_hours = Recogniser(["book a table for two", "goodbye", "stop please"])
    assert without_hours.recognise(telephoned(caller["hours"].pcm)) == ""
    assert without_hours.recognise(telephoned(caller["menu"].pcm)) == ""


@needs_pocketsphinx
def test_half_a_phrase_is_not_a_phrase(recogniser: Recogniser) -> None:
    said = caller_utterances()["hours"]
    assert recogniser.recognise(telephoned(said.pcm[: len(said.pcm) // 4 * 2])) == ""


@needs_pocketsphinx
@pytest.mark.parametrize(
    "sound",
    [
        b"",
        b"\x01",
        silence(2000),
        tone(440, 1000, 8000),
        tone(440, 50, 8000),
        np.random.default_rng(7).integers(-3000, 3000, 16000).astype("<i2").tobytes(),
    ],
    ids=["nothing", "half a sample", "silence", "tone", "click", "noise"],
)
def test_sounds_that_are_not_speech_say_nothing(recogniser: Recogniser, sound: bytes) -> None:
    assert recogniser.recognise(sound) == ""


@needs_pocketsphinx
def test_of_an_endless_utterance_the_end_is_heard() -> None:
    said = caller_utterances()["goodbye"]
    patient = Recogniser(PHRASES, max_s=1.5)
    noise = np.random.default_rng(3).integers(-8000, 8000, 8000 * 20).astype("<i2").tobytes()
    assert patient.recognise(noise + silence(800) + said.pcm) == said.text


@needs_pocketsphinx
def test_threads_and_grammars_take_turns(recogniser: Recogniser) -> None:
    other = Recogniser(["goodbye", "read me the menu"])
    caller = list(caller_utterances().values())

    def one(job: tuple[Recogniser, Utterance]) -> tuple[str, str]:
        ears, said = job
        return said.text if said.text in ears.phrases else "", ears.recognise(telephoned(said.pcm))

    jobs = [(ears, said) for _ in range(4) for said in caller for ears in (recogniser, other)]
    with ThreadPoolExecutor(3) as threads:
        for expected, heard in threads.map(one, jobs):
            assert heard == expected


@needs_pocketsphinx
def test_more_grammars_than_are_kept() -> None:
    said = caller_utterances()["stop"]
    first = Recogniser(["stop please", "hello"])
    assert first.recognise(said.pcm) == said.text
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    for more in [*words, *(f"for {word}" for word in words), *(f"at {word}" for word in words)]:
        assert Recogniser(["stop please", f"table {more}"]).recognise(said.pcm) == said.text
    assert first.recognise(said.pcm) == said.text


@needs_pocketsphinx
def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="frobnicate"):
        Recogniser(["frobnicate the table"])
    with pytest.raises(ConfigError, match="11025"):
        Recogniser(["stop"], rate=11025)
    with pytest.raises(ConfigError, match="max_s"):
        Recogniser(["stop"], max_s=0)
    with pytest.raises(ConfigError, match="11025"):
        Recogniser(["stop"]).recognise(silence(500), 11025)


def test_without_the_package_it_says_so_and_hears_nothing() -> None:
    """In a process of its own, where the package cannot be found."""
    code = """
import sys
sys.modules["pocketsphinx"] = None
from patter_core.edge.speech import caller_utterances, find_recogniser
ears = find_recogniser(["stop please"])
ears.warm_up()
said = caller_utterances()["stop"]
print(type(ears).__name__, repr(ears.recognise(said.pcm, said.rate)), ears.describe)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("Unrecognised '' ")
    assert "demo" in done.stdout


@needs_pocketsphinx
def test_nothing_is_loaded_before_it_is_needed_and_nothing_is_printed() -> None:
    code = """
import sys
from patter_core.edge.speech import Recogniser, caller_utterances
ears = Recogniser(["what are your opening hours", "goodbye"])
print("pocketsphinx" in sys.modules, "espeakng_loader" in sys.modules)
said = caller_utterances()["hours"]
print(ears.recognise(said.pcm), "|", repr(ears.recognise(said.pcm[:12000])), "pocketsphinx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\nwhat are your opening hours | '' True\n"
    assert done.stderr == ""
