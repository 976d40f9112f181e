"""The cost book: every amount is somewhere, in one place, and what has no price is said."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.costs import NO_TURN, Costs
from patter_core.call.metrics import CostBreakdown
from patter_core.call.pricing import DEFAULT_TABLE, DOLLAR, cost_of
from patter_core.engines.usage import Usage

S, MINUTE = 1_000_000, 60_000_000

STT = Usage(stage="stt", provider="deepgram", model="nova-3", audio_us=30 * S)  # 0.0024
TTS = Usage(stage="tts", provider="elevenlabs", model="eleven_flash_v2_5", characters=100)  # 0.005
LLM = Usage(stage="llm", provider="openai", model="gpt-4o", input_text=1000, cached_text=400, output_text=100)  # 0.004
STRANGE = Usage(stage="llm", provider="acme", model="m1", input_text=10)


def book(carrier: str = "twilio", direction: str = "inbound") -> Costs:
    return Costs(DEFAULT_TABLE, carrier, direction)


def test_a_call_by_stage_and_by_turn() -> None:
    costs = book()
    costs.answered(5 * S)
    costs.used(TTS)  # the first message
    costs.used(STT, 1)
    costs.used(LLM, 1)
    costs.used(TTS, 1)
    one = costs.turn_closed(1)
    assert one == CostBreakdown(
        stt=0.0024, tts=0.005, llm=0.004, telephony=0.0, total=0.0114, llm_cached_savings=0.0005
    )
    costs.used(STT, 2)
    costs.ended(70 * S)
    whole = costs.so_far(99 * S)
    assert whole == CostBreakdown(0.0048, 0.01, 0.004, 0.017, 0.0358, 0.0005)
    outside = costs.outside_turns(99 * S)
    assert outside == CostBreakdown(0.0024, 0.005, 0.0, 0.017, 0.0244)
    assert costs.total(99 * S) == int(Decimal("0.0358") * DOLLAR)


def test_a_turn_closes_once_and_what_comes_later_is_outside_it() -> None:
    costs = book("")
    costs.used(LLM, 1)
    assert costs.turn_closed(1).total == 0.004
    assert costs.turn_closed(1).total == 0.0
    assert costs.turn_closed(7) == CostBreakdown(telephony=0.0)
    costs.used(LLM, NO_TURN)
    assert costs.outside_turns(0).llm == 0.004
    assert costs.so_far(0).llm == 0.008


def test_what_has_no_price_is_said_and_is_not_nothing() -> None:
    costs = book("")
    costs.used(STRANGE, 1)
    turn = costs.turn_closed(1)
    assert turn == CostBreakdown(stt=0.0, tts=0.0, llm=None, telephony=0.0, total=0.0, unknown=("acme/m1",))
    costs.used(LLM, 2)
    assert costs.turn_closed(2).llm == 0.004
    assert costs.so_far(0).llm == 0.004  # the least it was ...
    assert costs.so_far(0).unknown == costs.unknown == ("acme/m1",)  # ... and what is missing


def test_what_nobody_counts_can_be_said_to_be_unknown() -> None:
    costs = book("")
    costs.unpriced("llm", "on_message", 1)
    assert costs.turn_closed(1).llm is None
    assert costs.unknown == ("on_message",)


def test_names_of_the_unknown_are_bounded_and_each_is_told_once() -> None:
    costs = book("")
    for i in range(100):
        costs.used(Usage(stage="tts", provider="p", model=f"m{i}", characters=1), i % 9)
        costs.used(Usage(stage="tts", provider="p", model=f"m{i}", characters=1), i % 9)
    assert len(costs.unknown) == 32
    assert len(set(costs.unknown)) == 32
    assert costs.so_far(0).tts is None


def test_an_unknown_carrier_is_unknown_when_it_was_used() -> None:
    costs = book("acme")
    assert costs.so_far(S).telephony == 0.0  # not answered
    costs.answered(0)
    assert costs.so_far(S).telephony is None
    assert costs.unknown == ("acme",)
    assert costs.total(S) == 0


def test_a_call_that_was_never_answered_costs_nothing_at_the_carrier() -> None:
    costs = book(direction="outbound")
    costs.ended(40 * S)
    assert costs.so_far(50 * S) == CostBreakdown(telephony=0.0)


@pytest.mark.parametrize(
    ("now", "expected"), [(0, 0.014), (1, 0.014), (MINUTE, 0.014), (MINUTE + 1, 0.028), (200 * S, 0.056)]
)
def test_so_far_is_what_would_be_owed_if_the_call_ended_now(now: int, expected: float) -> None:
    costs = book(direction="outbound")
    costs.answered(10 * S)
    costs.answered(11 * S)  # the first one counts
    assert costs.so_far(10 * S + now).telephony == expected


def test_the_carriers_clock_stops_with_the_call() -> None:
    costs = book()
    costs.answered(0)
    costs.ended(59 * S)
    costs.ended(99 * S)
    assert costs.so_far(500 * S).telephony == 0.0085


def test_the_last_provider_of_each_stage_is_known() -> None:
    costs = book()
    assert costs.provider("tts") == ("", "")
    costs.used(TTS)
    costs.used(LLM)
    costs.used(STRANGE)
    assert costs.provider("tts") == ("elevenlabs", "eleven_flash_v2_5")
    assert costs.provider("llm") == ("acme", "m1")


def test_a_stage_nobody_knows_counts_as_the_models() -> None:
    costs = book("")
    costs.used(Usage(stage="embedding", provider="openai", model="gpt-4o", input_text=1000))
    assert costs.so_far(0).llm == 0.0025


def test_turns_that_are_never_closed_are_bounded_and_nothing_of_them_is_lost() -> None:
    costs = book("")
    for turn in range(1, 1001):
        costs.used(LLM, turn)
    assert len(costs._open) == 64
    assert costs.so_far(0).llm == 4.0


USAGE = st.builds(
    Usage,
    stage=st.sampled_from(["stt", "tts", "llm"]),
    provider=st.sampled_from(["openai", "deepgram", "elevenlabs", "acme"]),
    model=st.sampled_from(["gpt-4o", "gpt-5-nano", "nova-3", "eleven_v3", "x"]),
    audio_us=st.integers(0, 10**8),
    characters=st.integers(0, 10**4),
    input_text=st.integers(0, 10**5),
    cached_text=st.integers(0, 10**5),
    output_text=st.integers(0, 10**5),
)


@given(st.lists(st.one_of(st.tuples(USAGE, st.integers(0, 5)), st.integers(1, 5)), max_size=40), st.integers(0, 10**9))
def test_turns_and_what_is_no_turns_add_up_to_the_call_exactly(events: list[int | tuple[Usage, int]], now: int) -> None:
    costs = book()
    costs.answered(0)
    known = 0
    shown = Decimal(0)
    closed = 0
    for event in events:
        if isinstance(event, int):
            before = costs.total(0)
            breakdown = costs.turn_closed(event)
            closed += breakdown.total > 0
            assert costs.total(0) == before  # it only moves
            shown += Decimal(str(breakdown.total))
        else:
            used, turn = event
            costs.used(used, turn)
            known += cost_of(used, DEFAULT_TABLE) or 0
    minutes = max(1, -(-now // MINUTE))
    assert costs.total(now) == known + minutes * int(Decimal("0.0085") * DOLLAR)
    whole, outside = costs.so_far(now), costs.outside_turns(now)
    for one in (whole, outside):
        parts = [Decimal(str(part)) for part in (one.stt, one.tts, one.llm, one.telephony) if part is not None]
        assert sum(parts) == Decimal(str(one.total))
    # What is shown is rounded to a millionth part by part: three parts a turn, each off by half of one.
    rounded = (3 * (closed + 2) + 2) * Decimal("0.0000005")
    assert abs(shown + Decimal(str(outside.total)) - Decimal(str(whole.total))) <= rounded
