"""The user's callbacks: one at a time, in order, each bounded, none able to harm the call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.callbacks import Callbacks
from patter_core.call.words import Drop, Run, Tell
from patter_core.config import HandlerSpec
from patter_core.contract import Lane
from patter_core.events import CallbackDropped, CallbackFailed, CallbackTimedOut
from patter_core.settings import CallSettings
from tests.core.call_kit import CALL, CALLBACKS, S, of, told

SPECS = {name: HandlerSpec(f"user.{name}", Lane.THREAD) for name in CALLBACKS}


def queue(*names: str, **settings: Any) -> Callbacks:
    return Callbacks(CALL, {name: SPECS[name] for name in names or CALLBACKS}, CallSettings(**settings))


def handlers(orders: list[Any]) -> list[str]:
    return [order.handler for order in of(Run, orders)]


def test_one_at_a_time_in_order() -> None:
    callbacks = queue()
    assert callbacks.idle
    (run,) = callbacks.call(0, "on_call_start", {"n": 0})
    assert (run.lane, run.handler, run.args) == (Lane.THREAD, "user.on_call_start", ({"n": 0},))
    assert callbacks.call(0, "on_transcript", {"n": 1}) == []
    assert callbacks.call(0, "on_metrics", {"n": 2}) == []
    names = [run.name]
    for expected in ("user.on_transcript", "user.on_metrics"):
        assert callbacks.owns(names[-1])
        orders, _ = callbacks.finished(1, None)
        (run,) = orders
        assert run.handler == expected
        names.append(run.name)
    assert callbacks.finished(2, None) == ([], "on_metrics")
    assert callbacks.idle
    assert callbacks.deadline is None
    assert len(set(names)) == 3


def test_what_the_user_did_not_write_is_not_called() -> None:
    callbacks = queue("on_call_end")
    assert callbacks.call(0, "on_transcript", {}) == []
    assert callbacks.idle
    assert callbacks.wants("on_call_end")
    assert not callbacks.wants("on_transcript")
    assert not callbacks.owns("")


def test_a_failing_one_is_reported_and_the_next_runs() -> None:
    callbacks = queue()
    callbacks.call(0, "on_transcript", {})
    callbacks.call(0, "on_metrics", {})
    orders, callback = callbacks.finished(1, "ValueError: boom")
    assert told(CallbackFailed, orders) == [CallbackFailed(CALL, "on_transcript", "ValueError: boom")]
    assert callback == "on_transcript"
    assert handlers(orders) == ["user.on_metrics"]


@pytest.mark.parametrize(
    ("callback", "us"), [("on_call_start", 2 * S), ("on_call_end", 10 * S), ("on_transcript", 10 * S)]
)
def test_a_slow_one_is_given_up_at_its_time_and_not_before(callback: str, us: int) -> None:
    callbacks = queue()
    (run,) = callbacks.call(5, callback, {})
    assert callbacks.deadline == 5 + us
    assert callbacks.tick(4 + us) == ([], "")
    orders, which = callbacks.tick(5 + us)
    assert orders == [Drop(run.name), Tell(CallbackTimedOut(CALL, callback, us // 1000))]
    assert which == callback
    assert not callbacks.owns(run.name)
    assert callbacks.idle


@pytest.mark.parametrize("backlog", [0, 1, 2, 256])
def test_the_backlog(backlog: int) -> None:
    callbacks = queue(callback_backlog=backlog)
    callbacks.call(0, "on_transcript", {"n": 0})
    for n in range(1, backlog + 1):
        assert callbacks.call(0, "on_transcript", {"n": n}) == []
    assert callbacks.call(0, "on_transcript", {"n": backlog + 1}) == [Tell(CallbackDropped(CALL, "on_transcript"))]
    ran = []
    while not callbacks.idle:
        orders, _ = callbacks.finished(1, None)
        ran += [run.args[0]["n"] for run in of(Run, orders)]
    assert ran == ([] if backlog == 0 else list(range(2, backlog + 2)))  # the oldest went
    callbacks.call(2, "on_transcript", {})
    if backlog:
        assert callbacks.call(2, "on_transcript", {}) == []  # and there is room again


def test_on_call_end_is_never_the_one_that_is_dropped() -> None:
    callbacks = queue(callback_backlog=0)
    callbacks.call(0, "on_transcript", {})
    assert callbacks.call(0, "on_call_end", {}) == []
    assert handlers(callbacks.finished(1, None)[0]) == ["user.on_call_end"]


def test_on_call_end_waits_behind_slow_ones_for_a_bounded_time() -> None:
    """256 callbacks of 10 s each would hold an ended call for most of an hour."""
    callbacks = queue()
    for _ in range(257):
        callbacks.call(0, "on_transcript", {})
    callbacks.call(3 * S, "on_call_end", {})
    now, ran = 3 * S, []
    while not callbacks.idle and now < 60 * S:
        deadline = callbacks.deadline
        assert deadline is not None
        assert deadline > now
        now = deadline
        ran += [(now, name) for name in handlers(callbacks.tick(now)[0])]
    assert ran == [(10 * S, "user.on_transcript"), (13 * S, "user.on_call_end")]
    assert now == 23 * S


def test_in_a_hurry_only_the_last_runs_and_what_is_skipped_is_told() -> None:
    callbacks = queue()
    (slow,) = callbacks.call(0, "on_transcript", {})
    callbacks.call(0, "on_metrics", {})
    callbacks.call(0, "on_call_end", {})
    orders = callbacks.only_the_last(1)
    assert told(CallbackDropped, orders) == [
        CallbackDropped(CALL, "on_metrics"),
        CallbackDropped(CALL, "on_transcript"),
    ]
    assert Drop(slow.name) in orders
    assert handlers(orders) == ["user.on_call_end"]
    assert callbacks.only_the_last(2) == []
    assert not callbacks.idle


def test_in_a_hurry_a_running_one_goes_on_when_nothing_waits_for_it() -> None:
    callbacks = queue()
    (run,) = callbacks.call(0, "on_transcript", {})
    assert callbacks.only_the_last(1) == []
    assert callbacks.owns(run.name)


def test_a_bound_of_nothing_is_over_at_once_but_not_now() -> None:
    callbacks = queue(callback_s=0.0, on_call_start_s=0.0, on_call_end_s=0.0)
    for callback in CALLBACKS:
        callbacks.call(7, callback, {})
    assert callbacks.deadline == 8


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["call", "finish", "fail", "tick", "hurry"]),
            st.sampled_from(CALLBACKS[2:]),
            st.integers(0, 12 * S),
        )
    ),
    st.integers(0, 3),
)
def test_any_history(history: list[tuple[str, str, int]], backlog: int) -> None:
    callbacks = queue(callback_backlog=backlog)
    now, running, ended = 0, "", False
    asked, seen = 0, 0
    for verb, callback, step in [*history, ("end", "on_call_end", 0)]:
        now += step
        orders: list[Any] = []
        if verb in ("call", "end"):
            asked += 1
            ended = verb == "end"
            orders = callbacks.call(now, callback, {})
        elif verb in ("finish", "fail") and running:
            orders, _ = callbacks.finished(now, "x" if verb == "fail" else None)
        elif verb == "tick":
            orders, _ = callbacks.tick(now)
        elif verb == "hurry":
            orders = callbacks.only_the_last(now)
        runs = of(Run, orders)
        assert len(runs) <= 1
        if runs:
            running = runs[0].name
        elif callbacks.idle:
            running = ""
        seen += len(runs) + len(told(CallbackDropped, orders))
        assert len(callbacks._waiting) <= backlog + ended
        assert (callbacks.deadline is None) == callbacks.idle
    for _ in range(1_000):
        if callbacks.idle:
            break
        assert callbacks.deadline is not None
        now = max(now, callbacks.deadline)
        orders, _ = callbacks.tick(now)
        seen += len(of(Run, orders)) + len(told(CallbackDropped, orders))
    assert callbacks.idle
    assert seen >= asked, "each was run or reported"
