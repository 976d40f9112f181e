"""A closed grammar from a list of phrases.

The bundled acoustic model was made for wide-band speech, and dictation over a telephone line is beyond it. Choosing
between known phrases is not: that is why everything here is told beforehand what may be said.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

import msgspec

from patter_core.errors import ConfigError

__all__ = ["DECOYS", "MAX_PHRASES", "MAX_WORDS", "Grammar", "build_grammar", "dictionary", "model_path", "spoken_words"]

MAX_PHRASES = 500
"""Phrases in one grammar: the time to recognise grows with them, and a list this long means dictation was wanted."""
MAX_WORDS = 30
"""Words in one phrase: people do not repeat longer ones word by word."""

DECOYS = (
    "the people were walking down the street",
    "she had never seen such a beautiful house before",
    "my brother works for a large company",
    "it is raining very hard this morning",
    "we should go there another time",
    "he could not find his old shoes",
    "they went fishing with their father",
    "nobody knows where the child is",
    "please check this number",
    "join us",
    "change which folder",
    "enjoy your visit",
    "a voice through the garden",
    "measure the water",
    "just under the chair",
    "thursday evening",
    "big blue boats",
    "charge my battery",
    "vacation",
    "several of those things",
    "how often do you eat chicken",
    "my good friend laughs",
)
"""Phrases in every grammar that count as nothing understood. They hold every sound of English between them, so that
what was not in the list has something else to resemble: of 144 foreign sentences a list of three phrases let 19 pass
without them and 5 with them. Computing every sound of the model at every frame does as well at 2.5 times the cost."""

_APOSTROPHES = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "`": "'"})


class Grammar(msgspec.Struct, frozen=True):
    """What may be heard: ``jsgf`` is the text of the grammar, ``phrases`` maps its words to the phrase as given."""

    jsgf: str
    phrases: dict[str, str]


def spoken_words(phrase: str) -> list[str]:
    """The words of a phrase as a dictionary has them: lower case, no punctuation, apostrophes only inside words."""
    text = unicodedata.normalize("NFKC", phrase).translate(_APOSTROPHES).casefold()
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in text)
    words = (word.strip("'") for word in kept.split())
    return [word for word in words if word]


def model_path() -> Path:
    """Where the installed pocketsphinx keeps its English model; ImportError when it is not installed.

    The package is found, not imported: checking a grammar must not cost loading the recogniser.
    """
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("pocketsphinx is not installed; install the extra 'demo'")
    return Path(spec.submodule_search_locations[0]) / "model" / "en-us"


def dictionary() -> Callable[[str], bool]:
    """Whether a word is in pocketsphinx's English dictionary (134,000 words); ImportError when it is not installed.

    Keep the answer only as long as needed: it holds the 3 MB file.
    """
    # A scan of the text answers a few words sooner than 134,000 entries can be put into a set.
    text = b"\n" + (model_path() / "cmudict-en-us.dict").read_bytes()
    return lambda word: b"\n" + word.encode() + b" " in text


def build_grammar(phrases: Sequence[str], knows: Callable[[str], bool] | None = None) -> Grammar:
    """The grammar (JSGF 1.0) of the phrases, each as a whole, and the decoys.

    Case and punctuation do not matter; of phrases that differ in nothing else the first is kept. ``knows`` says
    whether a word has a known pronunciation; by default pocketsphinx's dictionary does.

    ConfigError (a ValueError) when there is no phrase, one without words, too many or too long ones, or words that
    are unknown: it names every one of them. Digits are not words; write "two".
    """
    if isinstance(phrases, str):
        raise ConfigError("phrases must be a list of phrases, not one string")
    if not 1 <= len(phrases) <= MAX_PHRASES:
        raise ConfigError(f"a grammar takes 1 to {MAX_PHRASES} phrases, not {len(phrases)}")
    knows = knows or dictionary()
    known: dict[str, bool] = {}
    accepted: dict[str, str] = {}
    for phrase in phrases:
        words = spoken_words(phrase)
        if not 1 <= len(words) <= MAX_WORDS:
            raise ConfigError(f"a phrase takes 1 to {MAX_WORDS} words: {phrase!r}")
        for word in words:
            if word not in known:
                known[word] = knows(word)
        accepted.setdefault(" ".join(words), phrase)
    unknown = sorted(word for word, found in known.items() if not found)
    if unknown:
        raise ConfigError(f"not in the pronouncing dictionary: {', '.join(unknown)}; use other words or spell them out")
    rules = f"<known> =\n  {_alternatives(accepted)};\n<decoy> =\n  {_alternatives(_decoys_beside(accepted))};\n"
    return Grammar(f"#JSGF V1.0;\ngrammar phrases;\n{rules}public <phrase> = <known> | <decoy>;\n", accepted)


def _decoys_beside(accepted: Container[str]) -> list[str]:
    """The decoys for a grammar: all but those that are among its own phrases."""
    return [decoy for decoy in DECOYS if decoy not in accepted]


def _alternatives(phrases: Iterable[str]) -> str:
    return "\n  | ".join(phrases)
