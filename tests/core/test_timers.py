"""Named deadlines: against a dictionary, and at their edges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patter_core.timers import Timers, later

NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(st.sampled_from(["set", "clear", "due"]), NAMES, st.integers(0, 50)), max_size=200))
def test_like_a_dictionary(history: list[tuple[str, str, int]]) -> None:
    timers: Timers[str] = Timers()
    model: dict[str, tuple[int, int]] = {}  # name -> at, order of setting
    for count, (verb, name, at) in enumerate(history):
        if verb == "set":
            timers.set(name, at)
            if name not in model or model[name][0] != at:
                model[name] = (at, count)
        elif verb == "clear":
            timers.clear(name)
            model.pop(name, None)
        else:
            due = min(((when, n, who) for who, (when, n) in model.items() if when <= at), default=None)
            assert timers.due(at) == (None if due is None else due[2])
            if due is not None:
                del model[due[2]]
        assert len(timers) == len(model)
        assert timers.deadline == min((when for when, _ in model.values()), default=None)
        assert all(timers.when(who) == (model[who][0] if who in model else None) for who in "abcdef")


def test_due_at_exactly_its_time_and_not_before() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 10)
    assert timers.due(9) is None
    assert timers.due(10) == "a"
    assert timers.due(10) is None
    assert timers.deadline is None


def test_ties_fire_in_the_order_they_were_set() -> None:
    timers: Timers[str] = Timers()
    for name in "cab":
        timers.set(name, 5)
    timers.set("c", 6)
    timers.set("c", 5)  # moved away and back: last now
    assert [timers.due(5) for _ in range(4)] == ["a", "b", "c", None]


def test_a_deadline_that_is_moved_for_every_frame_does_not_fill_the_heap() -> None:
    timers: Timers[str] = Timers()
    timers.set("fixed", 10**9)
    for at in range(10_000):
        timers.set("moving", at)
    assert len(timers) == 2
    assert len(timers._heap) <= 65
    assert timers.deadline == 9_999


def test_later_is_later_even_for_nothing() -> None:
    assert later(7, 0) == 8
    assert later(7, 1e-9) == 8
    assert later(7, 0.000001) == 8
    assert later(7, 0.000002) == 9
    assert later(7, 2.5) == 2_500_007
