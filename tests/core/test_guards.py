"""Guardrails: what is found, what is not, and that text still coming is looked at like text that is whole."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from patter_core.engines.guards import Guards, Watch, fold
from patter_core.engines.policy import GuardSpec, HandlerSpec
from patter_core.errors import ConfigError
from patter_core.guardrails import Guardrail, guardrail, resolve_guards
from patter_core.lanes import lane_of


def guards(*terms: str) -> Guards:
    return Guards((GuardSpec(name="g", blocked_terms=terms),))


def streamed(guards: Guards, pieces: list[str]) -> list[str]:
    watch = guards.watch()
    hits = [*(watch.feed(piece) for piece in pieces), watch.done()]
    return [hit.name for hit in hits if hit is not None]


FOUND = [
    ("ass", "you ass!"), ("ass", "ASS"), ("ass", "(ass)"), ("ass", "_ass_"), ("ass", "ass"), ("ass", "ＡＳＳ"),
    ("ass", "a\u200bs\u00ads"), ("Ass", "dumb-ass move"), ("credit card", "my Credit\n  card"), ("straße", "STRASSE"),
    ("café", "the cafe\u0301."), ("cafe\u0301", "the café."), ("can't", "I can’t"), ("C++", "C++11"), ("***", "x***y"),
    ("馬鹿", "あの馬鹿め"), ("iPhone", "iPhoneを買う"), ("바보", "바보야"), ("ไทย", "ภาษาไทย"), ("काम", "यह काम है"),
    ("$100", "it is $100."), ("💩", "oh💩no"), ("ﬁne", "a fine day"), ("sue", "Sue them"), ("éa", "ÉA"),
]  # fmt: skip
NOT_FOUND = [
    ("ass", "pass"), ("ass", "assume"), ("ass", "bass player"), ("ass", "as s"), ("credit card", "creditcard"),
    ("cafe", "café"), ("C++", "C"), ("$100", "$1000"), ("$100", "100"), ("कम", "कमी"), ("sue", "issue"), ("5", "15"),
    ("x", ""), ("ass", "Äass"), ("cafe", "cafe\u0301"),
]  # fmt: skip


@pytest.mark.parametrize(("term", "text"), FOUND)
def test_found(term: str, text: str) -> None:
    one = guards("other", term)
    assert one.blocked(text) is not None
    assert streamed(one, [text]) == ["g"]
    assert streamed(one, list(text)) == ["g"]


@pytest.mark.parametrize(("term", "text"), NOT_FOUND)
def test_not_found(term: str, text: str) -> None:
    one = guards("other", term)
    assert one.blocked(text) is None
    assert streamed(one, [text]) == []


def test_which_guard_and_which_first() -> None:
    first = GuardSpec(name="first", blocked_terms=("red", "dark red"))
    second = GuardSpec(name="second", blocked_terms=("blue", "re*"))
    both = Guards((first, second))
    assert both.blocked("a red one") is first
    assert both.blocked("a blue one, and red") is second
    assert both.blocked("re*") is second
    assert both.blocked("green") is None


def test_nothing_to_look_for() -> None:
    none = Guards(())
    assert not none
    assert none.checks == ()
    assert none.blocked("anything") is None
    assert streamed(none, ["any", "thing"]) == []
    empty = Guards((GuardSpec(name="g", blocked_terms=("", "  ", "\u200b")),))
    assert empty
    assert empty.blocked("") is None
    assert empty.blocked("  \u200b ") is None


def test_checks_are_those_with_a_handler() -> None:
    asked = GuardSpec(name="asked", check=HandlerSpec("guard:asked"))
    mixed = Guards((GuardSpec(name="terms", blocked_terms=("x",)), asked))
    assert mixed.checks == (asked,)
    only = Guards((asked,))
    assert only
    assert only.blocked("x") is None
    assert streamed(only, ["x"]) == []


def test_a_word_at_the_end_waits_for_what_follows() -> None:
    watch = guards("ass").watch()
    assert watch.feed("you ass") is None
    assert watch.feed("ume that") is None
    assert watch.feed(" ass") is None
    assert watch.feed(".") is not None


def test_done_decides_about_the_last_word() -> None:
    watch = guards("ass").watch()
    assert watch.feed("you ass") is None
    assert watch.done() is not None
    assert watch.done() is None


def test_a_hit_is_told_once() -> None:
    watch = guards("ass").watch()
    assert watch.feed("ass, ") is not None
    assert watch.feed("ass, ass, ") is None
    assert watch.done() is None
    assert watch.feed("ass, ") is not None  # of the next text


def test_what_was_before_the_tail_still_tells_where_a_word_begins() -> None:
    watch = guards("ass").watch()
    assert watch.feed("bass") is None
    assert watch.feed(" is") is None
    assert watch.done() is None


def test_a_watch_keeps_no_more_than_it_needs() -> None:
    one = guards("credit card")
    watch: Watch = one.watch()
    for _ in range(1000):
        assert watch.feed("hello there, ") is None
    assert len(watch._tail) == one.longest + 1
    assert watch.feed("cre") is None
    assert watch.feed("dit  car") is None
    assert watch.feed("d!") is not None


ALPHABET = "abs -é́AＢ馬\u200b"


@given(
    st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=12),
    st.lists(st.text("abs 馬-", max_size=4), max_size=4),
)
def test_pieces_and_whole_agree(pieces: list[str], terms: list[str]) -> None:
    one = Guards((GuardSpec(name="g", blocked_terms=tuple(terms)),))
    assert bool(streamed(one, pieces)) >= (one.blocked("".join(pieces)) is not None)
    assert streamed(one, ["".join(pieces)]) == (["g"] if one.blocked("".join(pieces)) else [])


@given(
    st.lists(st.text("abs \n.", min_size=1, max_size=4), max_size=12), st.lists(st.text("abs ", max_size=4), max_size=4)
)
def test_pieces_and_whole_agree_exactly_without_combining_signs(pieces: list[str], terms: list[str]) -> None:
    one = Guards((GuardSpec(name="g", blocked_terms=tuple(terms)),))
    assert bool(streamed(one, pieces)) == (one.blocked("".join(pieces)) is not None)


@given(st.text(), st.text())
@example("\u3164\uffa0", "")
def test_folding_again_changes_nothing(one: str, two: str) -> None:
    assume("\u0345" not in unicodedata.normalize("NFD", one))  # becomes a letter, behind which accents move
    assert fold(fold(one)) == fold(one)
    assert fold(fold(one) + two) == fold(one + two)


# --- as people write them --------------------------------------------------------------------------------------------


def names(table: dict[str, object]):  # type: ignore[no-untyped-def]
    def name(key: str, handler: object) -> HandlerSpec:
        table[key] = handler
        return HandlerSpec(key, lane_of(handler))  # type: ignore[arg-type]

    return name


def test_resolved() -> None:
    table: dict[str, object] = {}

    async def check(text: str) -> bool:
        return "x" in text

    specs = resolve_guards(
        [Guardrail("terms", iter(["a", "b"])), {"name": "asked", "check": check, "replacement": "No."}], names(table)
    )
    assert specs[0] == GuardSpec(name="terms", blocked_terms=("a", "b"))
    assert specs[1] == GuardSpec(name="asked", check=HandlerSpec("guard:asked", lane_of(check)), replacement="No.")
    assert table == {"guard:asked": check}
    assert resolve_guards(None, names(table)) == ()
    assert resolve_guards(guardrail("a", ["b"]), names(table))[0].name == "a"
    assert Guards(specs).blocked("b") == specs[0]


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: Guardrail(""), "needs a name"),
        (lambda: Guardrail(5, ["x"]), "needs a name"),  # type: ignore[arg-type]
        (lambda: Guardrail("a"), "blocks nothing"),
        (lambda: Guardrail("a", []), "blocks nothing"),
        (lambda: Guardrail("a", "word"), "['word']"),
        (lambda: Guardrail("a", 5), "list of terms"),  # type: ignore[arg-type]
        (lambda: Guardrail("a", ["x", " "]), "must be text"),
        (lambda: Guardrail("a", [None]), "must be text"),  # type: ignore[list-item]
        (lambda: Guardrail("a", ["x" * 201]), "at most 200"),
        (lambda: Guardrail("a", [str(n) for n in range(2001)]), "use check="),
        (lambda: Guardrail("a", check=5), "must be a function"),  # type: ignore[arg-type]
        (lambda: Guardrail("a", check=lambda: True), "must be a function"),
        (lambda: Guardrail("a", check=lambda text, more: True), "must be a function"),
        (lambda: Guardrail("a", ["x"], replacement=None), "replacement"),  # type: ignore[arg-type]
        (lambda: resolve_guards("x", names({})), "takes a list"),
        (lambda: resolve_guards(["x"], names({})), "made by Guardrail"),
        (lambda: resolve_guards([{"name": "a", "terms": ["x"]}], names({})), "blocked_terms"),
        (lambda: resolve_guards([{"blocked_terms": ["x"]}], names({})), "name always"),
        (lambda: resolve_guards([guardrail("a", ["x"])] * 2, names({})), "its own name"),
        (lambda: resolve_guards([guardrail(str(n), ["x"]) for n in range(101)], names({})), "at most 100"),
    ],
)  # fmt: skip
def test_refused_with_advice(make, advice: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        make()
    assert advice in str(caught.value)
