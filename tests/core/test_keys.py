"""The caller's keys: groups and collections, each limit at n, at n + 1, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.keys import (
    MOST_KEYS,
    MOST_TIMEOUT_S,
    MOST_WAITING,
    CollectionDone,
    CollectionRefused,
    Group,
    KeyResult,
    Keys,
    Refusal,
    Why,
)

S = 1_000_000


def type_in(keys: Keys, text: str, at: int = 0, every: int = 100_000) -> list[KeyResult]:
    return [result for n, digit in enumerate(text) for result in keys.pressed(at + n * every, digit)]


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_pause_ends_a_group() -> None:
    keys = Keys(pause_s=1.5)
    assert type_in(keys, "123", every=S) == []
    assert keys.deadline == 2 * S + 1_500_000
    assert keys.tick(keys.deadline - 1) == []
    assert keys.tick(keys.deadline) == [Group("123")]
    assert keys.deadline is None
    assert keys.tick(100 * S) == []


@pytest.mark.parametrize(("gap", "groups"), [(1_499_999, []), (1_500_000, [Group("1")]), (1_500_001, [Group("1")])])
def test_a_key_just_before_the_pause_is_over_belongs_to_the_group(gap: int, groups: list[KeyResult]) -> None:
    keys = Keys(pause_s=1.5)
    keys.pressed(0, "1")
    assert keys.pressed(gap, "2") == groups
    assert keys.deadline == gap + 1_500_000
    assert keys.tick(keys.deadline) == [Group("2" if groups else "12")]


def test_a_hash_ends_a_group_and_belongs_to_it() -> None:
    keys = Keys()
    assert type_in(keys, "*12#") == [Group("*12#")]
    assert keys.deadline is None
    assert type_in(keys, "#") == [Group("#")]


def test_a_group_has_a_length() -> None:
    keys = Keys(most=3)
    assert type_in(keys, "12") == []
    assert type_in(keys, "3") == [Group("123")]
    assert keys.deadline is None
    assert type_in(keys, "4567") == [Group("456")]
    assert keys.tick(100 * S) == [Group("7")]
    assert type_in(Keys(most=1), "12") == [Group("1"), Group("2")]


@pytest.mark.parametrize("nonsense", ["", "12", "x", "a", "#1", "\n", "١"])
def test_what_is_no_key_means_nothing(nonsense: str) -> None:
    keys = Keys()
    keys.pressed(0, "1")
    before = keys.deadline
    assert keys.pressed(10, nonsense) == []
    assert keys.deadline == before
    assert keys.pressed(2 * S, nonsense) == [Group("1")]  # but time passes


@pytest.mark.parametrize(
    "wrong",
    [{"pause_s": 0}, {"pause_s": 300.1}, {"pause_s": float("nan")}, {"most": 0}, {"most": MOST_KEYS + 1}],
)
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Keys(**wrong)  # type: ignore[arg-type]
    Keys(pause_s=300, most=MOST_KEYS)


# --- collections -----------------------------------------------------------------------------------------------------


def test_a_terminator_ends_a_collection_and_is_not_part_of_it() -> None:
    keys = Keys()
    assert keys.collect(0, "pin", 8) == []
    assert keys.collecting == "pin"
    assert type_in(keys, "12*4#") == [CollectionDone("pin", "12*4", Why.TERMINATOR)]
    assert (keys.collecting, keys.deadline) == (None, None)
    assert type_in(keys, "9#") == [Group("9#")]


def test_a_terminator_at_once() -> None:
    keys = Keys()
    keys.collect(0, "pin", 8)
    assert type_in(keys, "#") == [CollectionDone("pin", "", Why.TERMINATOR)]


def test_the_length_ends_a_collection() -> None:
    keys = Keys()
    keys.collect(0, "pin", 4)
    assert type_in(keys, "123") == []
    assert keys.pressed(S, "4") == [CollectionDone("pin", "1234", Why.LENGTH)]
    assert keys.deadline is None
    assert keys.pressed(S + 1, "5") == []
    assert keys.tick(10 * S) == [Group("5")]


def test_another_terminator_or_none() -> None:
    keys = Keys()
    keys.collect(0, "a", 4, terminator="*")
    assert type_in(keys, "1#*") == [CollectionDone("a", "1#", Why.TERMINATOR)]
    keys.collect(10 * S, "b", 4, terminator="")
    assert type_in(keys, "1#*2", at=10 * S) == [CollectionDone("b", "1#*2", Why.LENGTH)]


def test_timeouts() -> None:
    keys = Keys()
    keys.collect(0, "a", 4, timeout_s=2, first_timeout_s=10)
    assert keys.deadline == 10 * S
    assert keys.tick(10 * S - 1) == []
    assert keys.pressed(10 * S - 1, "1") == []
    assert keys.deadline == 12 * S - 1
    assert keys.pressed(12 * S - 2, "2") == []
    assert keys.tick(14 * S - 3) == []
    assert keys.tick(14 * S - 2) == [CollectionDone("a", "12", Why.TIMEOUT)]
    assert keys.deadline is None
    keys.collect(20 * S, "b", 4, timeout_s=2)
    assert keys.tick(22 * S) == [CollectionDone("b", "", Why.TIMEOUT)]


def test_a_key_that_comes_with_the_timeout_is_too_late() -> None:
    keys = Keys()
    keys.collect(0, "a", 1, timeout_s=2)
    assert keys.pressed(2 * S, "1") == [CollectionDone("a", "", Why.TIMEOUT)]
    assert keys.tick(10 * S) == [Group("1")]


def test_keys_pressed_before_are_a_group_of_their_own() -> None:
    keys = Keys()
    type_in(keys, "12")
    assert keys.collect(S, "a", 2) == [Group("12")]
    assert type_in(keys, "34", at=S) == [CollectionDone("a", "34", Why.LENGTH)]


def test_one_after_another() -> None:
    keys = Keys()
    for name in ("a", "b", "c"):
        assert keys.collect(0, name, 2, timeout_s=3) == []
    assert type_in(keys, "12") == [CollectionDone("a", "12", Why.LENGTH)]
    assert keys.collecting == "b"
    assert keys.deadline == 3_100_000  # it waits from when it became the first
    assert keys.tick(3_100_000) == [CollectionDone("b", "", Why.TIMEOUT)]
    assert type_in(keys, "7#", at=4 * S) == [CollectionDone("c", "7", Why.TERMINATOR)]
    assert keys.collecting is None


def test_a_late_tick_ends_one_and_gives_the_next_its_time() -> None:
    keys = Keys()
    keys.collect(0, "a", 2, timeout_s=3)
    keys.collect(0, "b", 2, timeout_s=3)
    assert keys.tick(100 * S) == [CollectionDone("a", "", Why.TIMEOUT)]
    assert keys.deadline == 103 * S


def test_a_terminator_out_of_habit() -> None:
    keys = Keys(pause_s=1.5)
    keys.collect(0, "a", 2)
    keys.collect(0, "b", 2)
    assert type_in(keys, "12#") == [CollectionDone("a", "12", Why.LENGTH)]  # and "b" is not ended by it
    assert keys.pressed(300_000, "#") == [CollectionDone("b", "", Why.TERMINATOR)]  # once
    assert keys.pressed(400_000, "#") == [Group("#")]


@pytest.mark.parametrize(("at", "results"), [(1_500_000 - 1, []), (1_500_000, [Group("#")])])
def test_a_habit_takes_a_moment(at: int, results: list[KeyResult]) -> None:
    keys = Keys(pause_s=1.5)
    keys.collect(0, "a", 1)
    assert keys.pressed(0, "1") == [CollectionDone("a", "1", Why.LENGTH)]
    assert keys.pressed(at, "#") == results


def test_another_key_first_is_no_habit() -> None:
    keys = Keys()
    keys.collect(0, "a", 1)
    assert type_in(keys, "12#") == [CollectionDone("a", "1", Why.LENGTH), Group("2#")]


def test_without_a_terminator_there_is_no_habit() -> None:
    keys = Keys()
    keys.collect(0, "a", 1, terminator="")
    assert type_in(keys, "1#") == [CollectionDone("a", "1", Why.LENGTH), Group("#")]


def test_cancelling() -> None:
    keys = Keys()
    for name in ("a", "b", "c"):
        keys.collect(0, name, 4, timeout_s=3)
    type_in(keys, "1")
    assert keys.cancel(S, "b") == [CollectionDone("b", "", Why.CANCELLED)]
    assert keys.cancel(S, "b") == []
    assert keys.cancel(S, "a") == [CollectionDone("a", "1", Why.CANCELLED)]
    assert (keys.collecting, keys.deadline) == ("c", 4 * S)
    assert type_in(keys, "2#", at=S) == [CollectionDone("c", "2", Why.TERMINATOR)]
    assert keys.cancel(5 * S, "c") == []


def test_cancelling_what_has_just_timed_out() -> None:
    keys = Keys()
    keys.collect(0, "a", 4, timeout_s=3)
    assert keys.cancel(3 * S, "a") == [CollectionDone("a", "", Why.TIMEOUT)]


def test_the_end() -> None:
    keys = Keys()
    type_in(keys, "12")
    assert keys.end(S) == [Group("12")]
    assert keys.end(S) == []
    keys.collect(S, "a", 4)
    keys.collect(S, "b", 4)
    keys.pressed(S, "3")
    assert keys.end(2 * S) == [CollectionDone("a", "3", Why.CANCELLED), CollectionDone("b", "", Why.CANCELLED)]
    assert (keys.collecting, keys.deadline) == (None, None)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "refusal"),
    [
        ({"most": 0}, Refusal.MOST),
        ({"most": MOST_KEYS + 1}, Refusal.MOST),
        ({"terminator": "##"}, Refusal.TERMINATOR),
        ({"terminator": "x"}, Refusal.TERMINATOR),
        ({"timeout_s": 0.0}, Refusal.TIMEOUT),
        ({"timeout_s": MOST_TIMEOUT_S + 0.001}, Refusal.TIMEOUT),
        ({"timeout_s": float("nan")}, Refusal.TIMEOUT),
        ({"timeout_s": float("inf")}, Refusal.TIMEOUT),
        ({"first_timeout_s": -1.0}, Refusal.TIMEOUT),
        ({"first_timeout_s": MOST_TIMEOUT_S + 0.001}, Refusal.TIMEOUT),
    ],
)
def test_a_wish_that_cannot_be(wish: dict[str, object], refusal: Refusal) -> None:
    keys = Keys()
    keys.pressed(0, "1")
    assert keys.collect(1, "a", **{"most": 4, **wish}) == [CollectionRefused("a", refusal)]  # type: ignore[arg-type]
    assert keys.collecting is None
    assert keys.pressed(2, "#") == [Group("1#")]  # nothing else happened


@pytest.mark.parametrize("wish", [{"most": 1}, {"most": MOST_KEYS}, {"timeout_s": MOST_TIMEOUT_S}, {"timeout_s": 1e-9}])
def test_a_wish_at_its_limit(wish: dict[str, object]) -> None:
    keys = Keys()
    assert keys.collect(0, "a", **{"most": 4, **wish}) == []  # type: ignore[arg-type]
    assert keys.deadline is not None
    assert keys.deadline > 0


def test_the_longest_collection() -> None:
    keys = Keys()
    keys.collect(0, "a", MOST_KEYS)
    assert type_in(keys, "5" * (MOST_KEYS - 1)) == []
    assert keys.pressed(MOST_KEYS * 100_000, "5") == [CollectionDone("a", "5" * MOST_KEYS, Why.LENGTH)]


def test_so_many_wait_and_no_more() -> None:
    keys = Keys()
    names = [f"c{n}" for n in range(MOST_WAITING + 1)]  # one is open, the others wait
    for name in names:
        assert keys.collect(0, name, 1) == []
    assert keys.collect(0, "more", 1) == [CollectionRefused("more", Refusal.WAITING)]
    assert keys.pressed(0, "1") == [CollectionDone("c0", "1", Why.LENGTH)]
    assert keys.collect(0, "more", 1) == []
    assert keys.collect(0, "still more", 1) == [CollectionRefused("still more", Refusal.WAITING)]
    done = type_in(keys, "1" * 9)
    assert [result.name for result in done if isinstance(result, CollectionDone)] == [*names[1:], "more"]


def test_a_name_is_used_once_at_a_time() -> None:
    keys = Keys()
    keys.collect(0, "a", 1)
    keys.collect(0, "b", 1)
    assert keys.collect(0, "a", 1) == [CollectionRefused("a", Refusal.NAME)]
    assert keys.collect(0, "b", 1) == [CollectionRefused("b", Refusal.NAME)]
    keys.pressed(0, "1")
    assert keys.collect(0, "a", 1) == []


# --- whatever happens ------------------------------------------------------------------------------------------------

ACTS = st.one_of(
    st.tuples(st.just("press"), st.sampled_from("0123456789*#ABCDx")),
    st.tuples(st.just("collect"), st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["#", "*", "", "??"])),
    st.tuples(st.just("cancel"), st.sampled_from("abc")),
    st.tuples(st.just("tick")),
)


@given(st.lists(st.tuples(st.integers(0, 4 * S), ACTS), max_size=60))
def test_every_key_is_told_once_and_every_collection_ends_once(history: list[tuple[int, tuple[object, ...]]]) -> None:
    keys = Keys(pause_s=1.5, most=4)
    again = Keys(pause_s=1.5, most=4)
    now, pressed = 0, 0
    asked: list[str] = []
    results: list[KeyResult] = []

    def act(machine: Keys, what: tuple[object, ...]) -> list[KeyResult]:
        match what:
            case ("press", str(digit)):
                return machine.pressed(now, digit)
            case ("collect", str(name), int(most), str(terminator)):
                return machine.collect(now, name, most, terminator, timeout_s=2)
            case ("cancel", str(name)):
                return machine.cancel(now, name)
        return machine.tick(now)

    for wait, what in history:
        now += wait
        got = act(keys, what)
        assert act(again, what) == got  # the same facts, the same results
        assert keys.deadline is None or keys.deadline > now
        results += got
        if what[0] == "collect" and not any(isinstance(result, CollectionRefused) for result in got):
            asked.append(str(what[1]))
        pressed += what[0] == "press" and what[1] != "x"
    results += keys.end(now)
    done = [result for result in results if isinstance(result, CollectionDone)]
    assert sorted(result.name for result in done) == sorted(asked)
    told = sum(len(r.text) for r in results if isinstance(r, Group)) + sum(len(r.digits) for r in done)
    ends = sum(r.why is Why.TERMINATOR for r in done)
    spare = sum(r.why is Why.LENGTH for r in done)
    assert pressed - ends - spare <= told <= pressed - ends
    assert all(len(r.text) <= 4 for r in results if isinstance(r, Group))
