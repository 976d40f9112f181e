"""A voice without a network: espeak-ng in this process, else an installed program, else tones.

espeak-ng is a GPLv3 library that the optional extra ``demo`` brings; it is loaded at run time and never part of this
project (see ``espeak.py``). The programs ``espeak-ng`` (GPLv3) and ``flite`` (CMU's BSD-style licence) are run as
programs if somebody installed them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from patter_core.audio.tones import tone
from patter_core.audio.wav import read_wav, to_mono
from patter_core.edge.speech.espeak import Espeak, shared_espeak
from patter_core.edge.speech.phrasing import breaths, spoken_chunks
from patter_core.errors import ConfigError

__all__ = ["WORDS_PER_MINUTE", "ProgramVoice", "Speaker", "ToneVoice", "Voice", "find_voice"]

WORDS_PER_MINUTE = 165
"""A little slower than espeak-ng's own 175: a telephone takes away the sounds that make fast speech clear."""
_PROGRAM_TIMEOUT_S = 10.0
"""A sentence takes a program about 0.05 s; one that takes this long is stuck and is killed."""
_FLITE_VOICE = "slt"
_FLITE_PACE = 165
"""What flite's voices speak at, in words per minute, when not stretched."""


class Speaker(Protocol):
    """What speaks: ``rate`` in Hz of everything it says; ``describe`` says in one line what it is."""

    @property
    def rate(self) -> int: ...

    @property
    def describe(self) -> str: ...

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 little-endian mono at ``rate``, in chunks of at most 100 ms, a sentence made as it is reached."""


def _checked_pace(words_per_minute: int) -> int:
    if not 80 <= words_per_minute <= 450:
        raise ConfigError(f"words_per_minute must be 80 to 450, not {words_per_minute}")
    return words_per_minute


class Voice:
    """espeak-ng in this process, 22,050 Hz: about 5 ms for a sentence.

    ``name`` is one of its voices ("en-us", "en-gb", "de"). ImportError or OSError when the library is not there,
    ConfigError for a voice or pace it does not have. Safe for any number of threads, which take turns by sentence.
    """

    def __init__(self, name: str = "en-us", words_per_minute: int = WORDS_PER_MINUTE) -> None:
        self.words_per_minute = _checked_pace(words_per_minute)
        self._espeak: Espeak = shared_espeak()
        if not self._espeak.has(name):
            raise ConfigError(f"espeak-ng has no voice {name!r}")
        self.name = name

    @property
    def rate(self) -> int:
        return self._espeak.rate

    @property
    def describe(self) -> str:
        return f"espeak-ng, voice {self.name}, offline"

    def speak(self, text: str) -> Iterator[bytes]:
        """See :class:`Speaker`."""
        return spoken_chunks(
            text, self.rate, lambda breath: self._espeak.synthesise(breath, self.name, self.words_per_minute)
        )


class ProgramVoice:
    """An installed ``espeak-ng`` or ``flite``, run once per sentence.

    ConfigError for another program; OSError when it is not there, fails, or says nothing usable.
    """

    def __init__(self, program: str, name: str = "en-us", words_per_minute: int = WORDS_PER_MINUTE) -> None:
        if program not in ("espeak-ng", "flite"):
            raise ConfigError(f"the program must be espeak-ng or flite, not {program!r}")
        found = shutil.which(program)
        if found is None:
            raise OSError(f"{program} is not installed")
        self.program = program
        self.name = name
        self.words_per_minute = _checked_pace(words_per_minute)
        self._path = found
        # The rate is the voice's; only its sound tells.
        self._rate, _ = self._run("one")

    @property
    def rate(self) -> int:
        return self._rate

    @property
    def describe(self) -> str:
        return f"the installed program {self.program}, offline"

    def speak(self, text: str) -> Iterator[bytes]:
        """See :class:`Speaker`."""
        return spoken_chunks(text, self._rate, lambda breath: self._run(breath)[1])

    def _run(self, text: str) -> tuple[int, bytes]:
        with tempfile.TemporaryDirectory(prefix="patter-voice-") as folder:
            target = Path(folder) / "speech.wav"
            if self.program == "espeak-ng":
                options = ["-v", self.name, "-s", str(self.words_per_minute), "-w", str(target), "--stdin"]
            else:
                stretch = f"duration_stretch={_FLITE_PACE / self.words_per_minute:.3f}"
                source = Path(folder) / "text.txt"
                source.write_text(text, encoding="utf-8")
                options = ["-voice", _FLITE_VOICE, "--setf", stretch, "-f", str(source), "-o", str(target)]
            try:
                subprocess.run(
                    [self._path, *options],
                    input=text.encode(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_PROGRAM_TIMEOUT_S,
                    check=True,
                )
                wav = read_wav(target.read_bytes())
            except (subprocess.SubprocessError, ValueError) as error:
                raise OSError(f"{self.program} could not speak: {error}") from error
        return wav.rate, to_mono(wav)


class ToneVoice:
    """No voice at all: a tone for every word, longer for longer words, so that a call without speech is audible."""

    rate = 8000
    _LOW_HZ, _STEP_HZ, _STEPS = 330, 55, 8

    @property
    def describe(self) -> str:
        return "no voice is installed, so each word is a tone; install the extra 'demo', espeak-ng or flite"

    def speak(self, text: str) -> Iterator[bytes]:
        """One tone per word: its pitch follows the letters, its length their number."""
        for breath in breaths(text):
            for word in breath.split():
                pitch = self._LOW_HZ + self._STEP_HZ * (sum(word.encode()) % self._STEPS)
                sound = tone(pitch, 90 + 35 * min(len(word), 12), self.rate, -18) + bytes(2 * self.rate * 60 // 1000)
                step = 2 * self.rate // 10
                for at in range(0, len(sound), step):
                    yield sound[at : at + step]
            yield bytes(2 * self.rate // 10)


def find_voice(name: str = "en-us", words_per_minute: int = WORDS_PER_MINUTE) -> Speaker:
    """The best voice there is: espeak-ng in process, an installed espeak-ng, an installed flite, tones.

    ConfigError when ``words_per_minute`` is impossible, or espeak-ng is there and has no such voice.
    """
    _checked_pace(words_per_minute)
    try:
        return Voice(name, words_per_minute)
    except (ImportError, OSError):
        pass  # not installed or unusable here: the next one may be
    for program in ("espeak-ng", "flite"):
        try:
            return ProgramVoice(program, name, words_per_minute)
        except OSError:
            continue
    return ToneVoice()
