"""The closed grammar: what is accepted, and how a mistake is reported."""

from __future__ import annotations

import pytest

from patter_core.edge.speech.grammar import DECOYS, MAX_PHRASES, MAX_WORDS, build_grammar, dictionary, spoken_words
from patter_core.errors import ConfigError


def everything(word: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("What are your opening hours?", ["what", "are", "your", "opening", "hours"]),
        ("  Well-done,   THANKS! ", ["well", "done", "thanks"]),
        ("I’d like 'that'", ["i'd", "like", "that"]),
        ("<b>|stop|;</b>", ["b", "stop", "b"]),
        ("...", []),
    ],
)
def test_words_are_what_a_dictionary_has(phrase: str, words: list[str]) -> None:
    assert spoken_words(phrase) == words


def test_the_grammar_names_each_phrase_once_and_remembers_its_spelling() -> None:
    grammar = build_grammar(["Stop, please!", "Goodbye.", "stop please"], everything)
    assert grammar.phrases == {"stop please": "Stop, please!", "goodbye": "Goodbye."}
    assert grammar.jsgf.startswith("#JSGF V1.0;\ngrammar phrases;\n<known> =\n  stop please\n  | goodbye;\n<decoy> =\n")
    assert grammar.jsgf.endswith(f"{DECOYS[-1]};\npublic <phrase> = <known> | <decoy>;\n")


def test_a_phrase_that_is_also_a_decoy_is_meant() -> None:
    grammar = build_grammar(["Join us!", "goodbye"], everything)
    assert grammar.jsgf.count("join us") == 1
    assert all(grammar.jsgf.count(f" {decoy}\n") + grammar.jsgf.count(f" {decoy};") == 1 for decoy in DECOYS)


def test_the_decoys_can_be_pronounced() -> None:
    pytest.importorskip("pocketsphinx")
    assert set(build_grammar(DECOYS).phrases) == set(DECOYS)


def test_all_unknown_words_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="dictionary") as caught:
        build_grammar(
            ["call the frobnicator", "the quuxly menu", "table 2"], {"call", "the", "menu", "table"}.__contains__
        )
    assert "2, frobnicator, quuxly" in str(caught.value)
    assert "menu" not in str(caught.value)


def test_the_real_dictionary_is_asked_by_default() -> None:
    pytest.importorskip("pocketsphinx")
    knows = dictionary()
    # The first and the last entry, one in the middle, and parts and prefixes of words that are in it.
    assert knows("a")
    assert knows("goodbye")
    assert knows("zywicki")
    assert not knows("goodby e")
    assert not knows("goodbyez")
    with pytest.raises(ConfigError, match="frobnicator"):
        build_grammar(["call the frobnicator"])


@pytest.mark.parametrize(
    "phrases",
    [
        [],
        ["?!"],
        ["yes"] * (MAX_PHRASES + 1),
        [" ".join(["no"] * (MAX_WORDS + 1))],
        "one string",
    ],
)
def test_lists_that_are_no_grammar(phrases: list[str]) -> None:
    with pytest.raises(ConfigError):
        build_grammar(phrases, everything)
