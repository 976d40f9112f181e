"""A call's REST orders: bounded, repeated where that may help, settled once."""

from __future__ import annotations

import pytest

from patter_core.call.rests import Rests, Settled
from patter_core.call.words import CallOrder, Drop, Rest, RestDone
from patter_core.carriers.carrier import RestOutcome, RestRequest

MS, S = 1_000, 1_000_000
REQUEST = RestRequest("POST", "https://carrier.test/x", (), b"", "carrier")


def ask(once: bool = False, within_s: float = 5.0) -> tuple[Rests, list[CallOrder]]:
    rests, out = Rests(), []
    rests.ask(0, "hangup", REQUEST, within_s, out, once=once)
    assert [type(order) for order in out] == [Rest]
    return rests, out


@pytest.mark.parametrize(
    "outcome", [RestOutcome.DONE, RestOutcome.ALREADY_ENDED, RestOutcome.REFUSED, RestOutcome.UNAUTHORIZED]
)
def test_an_answer_settles_it_once(outcome: RestOutcome) -> None:
    rests, _ = ask()
    assert rests.done(1, RestDone("hangup:1", outcome, "detail", "id")) == Settled("hangup", outcome, "detail", "id")
    assert rests.done(2, RestDone("hangup:1", outcome, "detail")) is None
    assert rests.deadline is None


@pytest.mark.parametrize("outcome", [RestOutcome.RETRY, RestOutcome.NOT_YET, None])
def test_what_may_work_later_is_repeated_with_longer_pauses(outcome: RestOutcome | None) -> None:
    rests, out = ask()
    at, asked = 0, [0]
    for number in range(1, 5):
        assert rests.done(at, RestDone(f"hangup:{number}", outcome, "")) is None
        assert rests.deadline is not None
        at = rests.deadline
        assert rests.tick(at, out) == []
        asked.append(at)
    assert asked == [0, 250 * MS, 750 * MS, 1750 * MS, 3750 * MS]
    last = rests.done(at, RestDone("hangup:5", outcome, "the last words"))
    assert last == Settled("hangup", outcome, "the last words")  # the next would come after within_s


def test_what_takes_too_long_is_given_up() -> None:
    rests, out = ask(within_s=2)
    assert rests.deadline == 2 * S
    assert rests.tick(2 * S - 1, out) == []
    (settled,) = rests.tick(2 * S, out)
    assert settled.outcome is None
    assert isinstance(out[-1], Drop)
    assert rests.done(2 * S, RestDone("hangup:1", RestOutcome.DONE, "")) is None


@pytest.mark.parametrize(
    ("outcome", "safe", "again"),
    [
        (RestOutcome.RETRY, True, True),
        (RestOutcome.RETRY, False, False),
        (None, True, True),
        (None, False, False),
        (RestOutcome.NOT_YET, False, True),
    ],
)
def test_what_may_be_done_once_only_is_repeated_only_when_it_had_no_effect(
    outcome: RestOutcome | None, safe: bool, again: bool
) -> None:
    rests, _ = ask(once=True)
    settled = rests.done(0, RestDone("hangup:1", outcome, "", "", safe))
    assert (settled is None) is again


def test_an_order_of_the_same_kind_takes_the_place_of_the_one_before() -> None:
    rests, out = ask()
    rests.ask(5, "hangup", REQUEST, 5.0, out)
    assert [type(order) for order in out] == [Rest, Drop, Rest]
    assert rests.done(6, RestDone("hangup:1", RestOutcome.DONE, "")) is None
    assert rests.done(6, RestDone("hangup:2", RestOutcome.DONE, "")) is not None


def test_names_that_were_never_given() -> None:
    rests, _ = ask()
    for name in ("", "hangup", "hangup:9", "dial:1", ":1"):
        assert rests.done(1, RestDone(name, RestOutcome.DONE, "")) is None
