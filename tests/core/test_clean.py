"""Text for a screen becomes text for a voice: what cannot be spoken goes, everything else stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.engines.clean import PlainSpeech, has_words


def clean(*sentences: str) -> list[str]:
    speech = PlainSpeech()
    return [speech.clean(sentence) for sentence in sentences]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Plain text.", "Plain text."),
        ("**Bold** and *slanted* and ***both***.", "Bold and slanted and both."),
        ("__Bold__ and _slanted_.", "Bold and slanted."),
        ("**Your order", "Your order"),
        ("is on its way.**", "is on its way."),
        ("~~Not~~ this.", "Not this."),
        ("## Opening hours", "Opening hours"),
        ("### Hours ###", "Hours"),
        ("- An apple", "An apple"),
        ("* An apple", "An apple"),
        ("  + An apple", "An apple"),
        ("• An apple", "An apple"),
        ("- [x] Done", "Done"),
        ("> She said so.", "She said so."),
        ("> - Both", "Both"),
        ("1. First", "1. First"),
        ("Run `make all` now.", "Run make all now."),
        ("Use `snake_case` or `*args`.", "Use snake_case or *args."),
        ("A snake_case_name stays.", "A snake_case_name stays."),
        ("See [our site](https://example.com/a?b=c).", "See our site."),
        ("See [this](https://en.example.org/wiki/A_(b)).", "See this."),
        ("See [this][1].", "See this."),
        ("A fact.[^1]", "A fact."),
        ("![A cat](cat.png)", "A cat"),
        ("![](cat.png)", ""),
        ("Go to https://www.example.com/help/?from=chat.", "Go to example.com/help."),
        ("Go to <https://example.com>, please.", "Go to example.com, please."),
        ("Is it http://example.com/a_b_c?", "Is it example.com/a_b_c?"),
        ("Write to <mailto:help@example.com>.", "Write to help@example.com."),
        ("[](https://example.com/x)", "example.com/x"),
        ("Hello 👋 there 😀!", "Hello there!"),
        ("👩‍👩‍👧 ❤️ 🇩🇪 👍🏽", ""),
        ("Press 1️⃣ or #️⃣.", "Press 1 or #."),
        ("First<br>second <b>bold</b>", "First second bold"),
        ("| Size | Price |", "Size, Price"),
        ("|:-----|------:|", ""),
        ("| Small | $5 |", "Small, $5"),
        ("---", ""),
        ("* * *", ""),
        (r"\*not slanted\*", "*not slanted*"),
        ("", ""),
    ],
)
def test_what_is_spoken(written: str, spoken: str) -> None:
    assert clean(written) == [spoken]


@pytest.mark.parametrize(
    "text",
    [
        "It is 3 * 4 = 12, or 3*4, or 2**3.",
        "It costs $1,234.56 or 5 % less.",
        "Call +1 555 010 0001, or dial *67 and then #.",
        "From 9:00 - 17:00, at -5 degrees.",
        "x < 5 and y > 3, AT&T, C++, C#.",
        "Version 1.2.3 of a_b.",
        "Order #12 is for you & me.",
        "今天很好。",
        "Ça va? Está bien: 50 €.",
    ],
)
def test_what_can_be_said_stays_as_it_is(text: str) -> None:
    assert clean(text) == [text]


def test_a_block_of_code_is_read_as_it_stands() -> None:
    assert clean("```python", "x = a * b * c", "# note", "```", "# Heading") == [
        "",
        "x = a * b * c",
        "# note",
        "",
        "Heading",
    ]


def test_one_text_does_not_know_of_another() -> None:
    assert clean("```") == [""]
    assert clean("**bold**") == ["bold"]


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=200))
def test_any_text(text: str) -> None:
    spoken = PlainSpeech().clean(text)
    assert spoken == spoken.strip()
    assert "\n" not in spoken
    assert len(spoken) <= len(text) * 2


@given(st.text(alphabet="abc 12.,", max_size=100))
def test_words_and_numbers_are_never_touched(text: str) -> None:
    assert PlainSpeech().clean(text).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "unit", ["[", "[](", "![](", "`", "*", "_", "<b ", "| ", "> ", "\\", "https://", "[a](b(", "- "]
)
def test_a_hostile_text_takes_no_longer_than_its_length(unit: str) -> None:
    """A sentence has at most 300 characters; of far more, this would not end if it were exponential."""
    assert len(PlainSpeech().clean(unit * 3_000)) <= 3_000 * len(unit)


def test_has_words() -> None:
    assert has_words("a")
    assert has_words("7")
    assert has_words("。今")
    assert not has_words("*** -- !")
    assert not has_words("")
