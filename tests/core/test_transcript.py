"""What was said: never a word whose audio was not played."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.transcript import Line, Transcript, Utterance

MS = 1_000
WORDS = st.lists(st.text("abcdefghij.,", min_size=1, max_size=9), min_size=1, max_size=8)


def utterance(*segments: tuple[str, int], ended: bool = True) -> Utterance:
    said = Utterance("r1", 1)
    for text, us in segments:
        said.saying(text)
        if us:
            said.audio(us)
    if ended:
        said.said()
    return said


@pytest.mark.parametrize(
    ("heard_ms", "expected"),
    [
        (0, ""),
        (499, ""),
        (500, "hello"),
        (599, "hello"),
        (600, "hello"),  # the space, too, is heard; the next word has not begun
        (700, "hello"),
        (1_099, "hello"),
        (1_100, "hello there"),
        (5_000, "hello there"),
    ],
)
def test_a_cut_sentence_keeps_its_whole_words(heard_ms: int, expected: str) -> None:
    assert utterance(("hello there", 1_100 * MS)).heard(heard_ms * MS) == expected


def test_whole_sentences_then_a_part() -> None:
    said = utterance(("One two.", 800 * MS), ("Three four.", 1_100 * MS))
    assert said.heard(800 * MS) == "One two."
    assert said.heard(1_400 * MS) == "One two. Three"
    assert said.heard(1_900 * MS) == said.text == "One two. Three four."


def test_a_sentence_whose_audio_is_still_coming_is_not_taken_for_whole() -> None:
    said = utterance(("One two three four five six", 500 * MS), ended=False)
    assert said.heard(500 * MS) == "One"  # at the slowest anybody speaks
    said.said()
    assert said.heard(500 * MS) == "One two three four five six"


def test_a_sentence_without_audio_was_not_said() -> None:
    said = utterance(("One.", 400 * MS), ("Two.", 0))
    assert said.text == "One."
    assert said.heard(10_000 * MS) == "One."
    assert utterance(("", 0)).heard(5) == ""
    assert Utterance("r", 1).heard(5) == Utterance("r", 1).text == ""


@given(
    st.lists(st.tuples(WORDS, st.integers(0, 200), st.booleans()), max_size=4), st.integers(0, 120_000), st.booleans()
)
def test_never_a_word_whose_audio_was_not_played(
    parts: list[tuple[list[str], int, bool]], heard: int, ended: bool
) -> None:
    """With a voice that takes the same time for each character, every word's end is known."""
    segments, ends, words, clock = [], [], [], 0
    for spoken, per_char, has_audio in parts:
        text, us = " ".join(spoken), 0
        if has_audio and per_char:
            us, at = len(text) * per_char, clock
            for word in spoken:
                at += len(word) * per_char
                ends.append(at)
                words.append(word)
                at += per_char
        segments.append((text, us))
        clock += us
    found = utterance(*segments, ended=True).heard(heard).split()
    assert found == words[: len(found)]
    assert all(end <= heard for end in ends[: len(found)])
    if heard >= clock:
        assert found == words
    if not ended:
        assert len(utterance(*segments, ended=False).heard(heard).split()) <= len(found)


@given(WORDS, st.integers(1, 200_000))
def test_more_hearing_is_never_fewer_words(words: list[str], us: int) -> None:
    said = utterance((" ".join(words), us))
    counts = [len(said.heard(us * n // 50).split()) for n in range(51)]
    assert counts == sorted(counts)
    assert counts[-1] == len(words)


def test_the_transcript_keeps_the_newest_lines() -> None:
    transcript = Transcript(3)
    for n in range(3):
        transcript.add(Line("user", str(n), float(n), n))
    assert [line["text"] for line in transcript.history(10)] == ["0", "1", "2"]
    transcript.add(Line("assistant", "3", 3.0, 3, True))
    assert transcript.pairs() == [
        {"role": "user", "text": "1"},
        {"role": "user", "text": "2"},
        {"role": "assistant", "text": "3", "interrupted": True},
    ]
    assert transcript.history(2) == [
        {"role": "user", "text": "2", "timestamp": 2.0},
        {"role": "assistant", "text": "3", "timestamp": 3.0},
    ]
    assert transcript.history(0) == []


def test_of_a_sentence_that_broke_off_only_what_was_surely_in_it() -> None:
    utterance = Utterance("r1", 1)
    utterance.saying("One two three four five.")
    utterance.audio(1_000_000)  # eight characters at the slowest anybody speaks
    utterance.said(False)
    utterance.saying("And on.")
    utterance.audio(500_000)
    utterance.said()
    assert utterance.text == "One two And on."
    assert utterance.heard(1_000_000) == "One two"
    assert utterance.heard(1_500_000) == "One two And on."
