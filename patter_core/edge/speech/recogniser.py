"""Which of some known phrases was said: pocketsphinx behind one lock, and its absence said plainly.

What was measured on telephone speech is in the docstrings of the settings. Recognising holds Python's interpreter
lock for about 2 % of the length of the sound (pocketsphinx does not release it): call it from a worker thread, and
once per utterance, not per frame.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from patter_core.audio.resample import INPUT_RATES, resample
from patter_core.edge.speech.grammar import Grammar, build_grammar, model_path
from patter_core.errors import ConfigError

__all__ = ["Listener", "Recogniser", "Unrecognised", "find_recogniser"]

_MODEL_RATE = 16000
"""The rate of the bundled model, Hz. An 8 kHz front end is refused by it, so that telephone sound is up-sampled."""
_MIN_MS = 120
"""Shorter sounds hold no word; the decoder would call a click one."""
_MAX_GRAMMARS = 16
"""Grammars kept compiled; the one used longest ago goes, and is compiled again (milliseconds) when needed."""
_MIN_PHRASE = -4.5
"""Log likelihood per 10 ms frame of the phrase, against the best sound anywhere in the grammar at that frame. Right
phrases have a median of -2 and reach down to -4.3; most of what was not in the grammar lies below."""
_MIN_WORD = -6.0
"""The same of the worst word. With these limits 226 of 232 known phrases (human and flite, after mu-law) were
understood and none was mistaken for another; with the demo's phrases 6 of 212 other sentences passed, where the bare
decoder makes something of nearly all of them. A near twin ("users" for "user") does pass."""
_MIN_PAUSE = -7.0
"""The same of what the decoder took for a pause: speech hidden in a "pause" was not part of the phrase."""
_PAUSE_FRAMES = 10
"""Pauses shorter than 100 ms prove nothing: their edges are the words' edges."""


class Listener(Protocol):
    """What follows words: ``describe`` says in one line what it is and what it can do."""

    @property
    def describe(self) -> str: ...

    def recognise(self, pcm: bytes, rate: int | None = None) -> str:
        """The phrase said in PCM16 little-endian mono at ``rate`` Hz, or "" when none was understood."""


class _Decoder:
    """The one decoder of the process: 0.1 to 0.4 s and about 35 MB to load (no language model), shared by all calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoder: Any = None
        self._grammars: OrderedDict[str, str] = OrderedDict()
        self._named = 0

    def run(self, jsgf: str, pcm: bytes) -> tuple[str, list[tuple[str, int, float]]]:
        """The words heard in PCM16 at the model's rate, and the pieces: word, 10 ms frames, likelihood."""
        with self._lock:
            decoder = self._load()
            self._activate(decoder, jsgf)
            decoder.start_utt()
            try:
                # The whole utterance at once: the model's normalisation is over all of it. In pieces, with a running
                # mean, two phrases of three are lost.
                decoder.process_raw(pcm, full_utt=True)
            finally:
                decoder.end_utt()
            found = decoder.hyp()
            if found is None:
                return "", []
            pieces = [(piece.word, piece.end_frame - piece.start_frame + 1, piece.ascore) for piece in decoder.seg()]
            return found.hypstr, pieces

    def load(self) -> None:
        with self._lock:
            self._load()

    def _load(self) -> Any:
        if self._decoder is None:
            import pocketsphinx  # type: ignore[import-untyped,unused-ignore]

            model = model_path()
            self._decoder = pocketsphinx.Decoder(
                hmm=str(model / "en-us"),
                dict=str(model / "cmudict-en-us.dict"),
                lm=None,
                samprate=_MODEL_RATE,
                # "Does not match the grammar" is an answer here, not an error to print.
                loglevel="FATAL",
            )
        return self._decoder

    def _activate(self, decoder: Any, jsgf: str) -> None:
        name = self._grammars.get(jsgf)
        if name is None:
            while len(self._grammars) >= _MAX_GRAMMARS:
                _, oldest = self._grammars.popitem(last=False)
                decoder.remove_search(oldest)
            self._named += 1
            name = f"phrases-{self._named}"
            decoder.add_jsgf_string(name, jsgf)
            self._grammars[jsgf] = name
        self._grammars.move_to_end(jsgf)
        decoder.activate_search(name)


_DECODER = _Decoder()


def _trusted(pieces: Iterable[tuple[str, int, float]]) -> bool:
    """Whether what was heard sounds like the words it was taken for.

    Scores of the decoder are relative to the best sound of each frame, which makes their mean comparable between
    utterances; a likelihood too small for a float is the worst there is.
    """
    total, spoken = 0.0, 0
    for word, frames, likelihood in pieces:
        score = math.log(likelihood) if likelihood > 0 else -math.inf
        if word.startswith(("<", "[", "(")):
            if frames >= _PAUSE_FRAMES and score < _MIN_PAUSE * frames:
                return False
            continue
        if score < _MIN_WORD * frames:
            return False
        total += score
        spoken += frames
    return spoken > 0 and total >= _MIN_PHRASE * spoken


class Recogniser:
    """Recognises a closed list of phrases in telephone speech.

    ``phrases`` as people say them (case and punctuation do not matter); ``rate`` is the rate in Hz of what will be
    given. ``max_s`` bounds one utterance: of longer ones the end is heard. ConfigError (a ValueError) for words with
    no known pronunciation, naming them, and for a rate that cannot be converted; ImportError without pocketsphinx.

    Safe for any number of threads, which take turns. The model is loaded by :meth:`warm_up` or the first use.
    """

    def __init__(self, phrases: Sequence[str], rate: int = 8000, *, max_s: float = 15.0) -> None:
        if not 1.0 <= max_s <= 60.0:
            raise ConfigError(f"max_s must be 1 to 60 seconds, not {max_s}")
        self.rate = self._check(rate)
        self.max_s = max_s
        self._grammar: Grammar = build_grammar(phrases)

    @property
    def describe(self) -> str:
        return f"pocketsphinx, {len(self._grammar.phrases)} phrases, offline"

    @property
    def phrases(self) -> tuple[str, ...]:
        """What can be recognised, as it was given."""
        return tuple(self._grammar.phrases.values())

    def warm_up(self) -> None:
        """Load the model now, so that the first caller does not wait for it."""
        _DECODER.load()

    def recognise(self, pcm: bytes, rate: int | None = None) -> str:
        """The phrase said in one utterance, spelt as it was given to the constructor; "" when none was.

        ``pcm`` is PCM16 little-endian mono at ``rate`` Hz (the constructor's by default), with little more silence
        than the pauses around the words. Half a phrase, and speech that is not in the list, should give "": a guard
        compares how well the words fit. It is a guard and not a proof: similar sentences can pass.
        """
        rate = self.rate if rate is None else self._check(rate)
        pcm = pcm[: len(pcm) & ~1][-2 * int(self.max_s * rate) :]
        if len(pcm) < 2 * rate * _MIN_MS // 1000 or not any(pcm):
            return ""
        if rate != _MODEL_RATE:
            pcm = resample(pcm, rate, _MODEL_RATE)
        words, pieces = _DECODER.run(self._grammar.jsgf, pcm)
        phrase = self._grammar.phrases.get(words, "")
        return phrase if phrase and _trusted(pieces) else ""

    @staticmethod
    def _check(rate: int) -> int:
        if rate not in INPUT_RATES:
            raise ConfigError(f"cannot listen at {rate} Hz; rates are {', '.join(map(str, INPUT_RATES))}")
        return rate


class Unrecognised:
    """Stands in where no recogniser is installed: it hears sound, but follows no words, and says so."""

    def __init__(self, phrases: Sequence[str] = (), rate: int = 8000) -> None:
        self.phrases = tuple(phrases)
        self.rate = rate

    @property
    def describe(self) -> str:
        return "no speech recogniser is installed, so spoken words cannot be followed; install the extra 'demo'"

    def warm_up(self) -> None:
        """Nothing to load."""

    def recognise(self, pcm: bytes, rate: int | None = None) -> str:
        """Always ""."""
        return ""


def find_recogniser(phrases: Sequence[str], rate: int = 8000) -> Recogniser | Unrecognised:
    """A recogniser of these phrases, or what says that none is installed.

    ConfigError for phrases that cannot be recognised: that is a mistake, not a missing package.
    """
    if importlib.util.find_spec("pocketsphinx") is None:
        return Unrecognised(phrases, rate)
    return Recogniser(phrases, rate)
