"""A reply in pieces, cut into sentences: nothing lost, nothing twice, nothing held for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.engines.sentences import _END, Sentences


def cut(*pieces: str) -> list[str]:
    sentences = Sentences()
    out = [sentence for piece in pieces for sentence in sentences.push(piece)]
    return out + sentences.flush()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Hi! Yes… No.", ["Hi!", "Yes…", "No."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("(Really?) Yes.", ["(Really?)", "Yes."]),
        ("Dr. Who met Mr. Smith at 5 p.m. sharp. Fine.", ["Dr. Who met Mr. Smith at 5 p.m. sharp.", "Fine."]),
        ("It is 3.14 or so. OK.", ["It is 3.14 or so.", "OK."]),
        ("J. R. Smith. So am I. Yes.", ["J. R. Smith.", "So am I.", "Yes."]),
        ("1. Apples. 2. Pears.", ["1. Apples.", "2. Pears."]),
        ("It has 12. Or 13?", ["It has 12.", "Or 13?"]),
        ("In 2024. Yes.", ["In 2024.", "Yes."]),
        ("2024. Yes.", ["2024.", "Yes."]),
        ("One\nTwo\n\nThree", ["One", "Two", "Three"]),
        ("今天很好。明天呢？", ["今天很好。", "明天呢？"]),
        ("", []),
        ("  \n ", []),
        ("no end", ["no end"]),
        ("Wait... what?", ["Wait...", "what?"]),
        ("Is he a Dr? Yes. And so on etc... Fine.", ["Is he a Dr?", "Yes.", "And so on etc...", "Fine."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected
    assert cut(*text) == expected  # letter by letter


def test_the_first_sentence_leaves_as_soon_as_it_is_known_to_have_ended() -> None:
    sentences = Sentences()
    assert sentences.push("Hello there.") == []  # it could be "there.com"
    assert sentences.push(" ") == ["Hello there."]
    assert sentences.push("And") == []
    assert sentences.flush() == ["And"]
    assert sentences.flush() == []


@pytest.mark.parametrize("n", [299, 300, 301])
def test_a_text_without_an_end_is_cut_at_three_hundred(n: int) -> None:
    sentences = Sentences()
    out = sentences.push("x" * n)
    assert out == (["x" * 300] if n > 300 else [])
    assert sentences.flush() == (["x"] if n > 300 else ["x" * n])


def test_it_is_cut_at_a_comma_or_else_a_space() -> None:
    assert cut("a" * 200 + ", " + "b" * 200) == ["a" * 200 + ",", "b" * 200]
    assert cut("a" * 200 + " " + "b" * 200) == ["a" * 200, "b" * 200]
    assert cut(" " + "a" * 400) == ["a" * 299, "a" * 101]


@given(st.lists(st.text(st.sampled_from("ab .!?,\n\"'。…DrJ1"), max_size=40), max_size=20))
def test_nothing_is_lost_nothing_is_twice(pieces: list[str]) -> None:
    out = cut(*pieces)
    assert "".join("".join(out).split()) == "".join("".join(pieces).split())
    assert all(sentence and sentence == sentence.strip() and len(sentence) <= 301 for sentence in out if sentence)


@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_text_at_all(pieces: list[str]) -> None:
    sentences = Sentences()
    for piece in pieces:
        assert all(sentences.push(piece) or [True])
        assert len(sentences._text) <= 300
    sentences.flush()


def test_a_text_of_abbreviations_takes_no_longer_than_its_length() -> None:
    """Steps are counted, not seconds: the text looked at for each full stop is bounded."""

    class Counting(str):
        looked = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def,override]
            found = str.__getitem__(self, key)
            Counting.looked += len(found)
            return found

    sentences = Sentences()
    sentences._text = Counting("")
    text = Counting("mr. " * 5000)
    sentences._text = text
    for match in _END.finditer(text):
        assert sentences._is_abbreviation(0, match)
    assert Counting.looked <= 5000 * 24
