"""The price table: what a unit costs, which entry is meant, and what people may write over it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.pricing import (
    DEFAULT_TABLE,
    DOLLAR,
    PriceTable,
    Rates,
    cost_of,
    cost_of_minutes,
    merge,
    resolve_pricing,
    saved_by_cache,
)
from patter_core.engines.usage import Usage
from patter_core.errors import ConfigError
from patter_core.price_table import DEFAULTS

S, MINUTE = 1_000_000, 60_000_000


def dollars(text: str) -> int:
    return int(Decimal(text) * DOLLAR)


def usage(provider: str, model: str = "", **amounts: int) -> Usage:
    return Usage(stage="llm", provider=provider, model=model, **amounts)


# --- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (usage("deepgram", "nova-3", audio_us=MINUTE), "0.0048"),
        (usage("deepgram", "nova-3", audio_us=2500 * 1000), "0.0002"),
        (usage("whisper", "gpt-4o-mini-transcribe", audio_us=20 * S), "0.001"),
        (usage("elevenlabs", "eleven_flash_v2_5", characters=1), "0.00005"),
        (usage("elevenlabs_ws", "eleven_multilingual_v2", characters=250), "0.025"),
        (usage("openai_tts", "tts-1-hd", characters=1000), "0.03"),
        (usage("openai", "gpt-4o-mini", input_text=1_000_000, output_text=1), "0.1500006"),
        (usage("openai", "gpt-4o-mini", cached_text=1_000_000), "0.075"),
        (usage("openai", "gpt-5-nano", cached_text=1), "0.000000005"),
        (usage("anthropic", "claude-sonnet-4-5-20250929", input_text=10, output_text=10), "0.00018"),
        (usage("openai_realtime", "gpt-realtime", input_audio=100, output_audio=200, input_text=50), "0.0162"),
        (usage("openai_realtime", "gpt-realtime-mini", cached_audio=10, cached_text=10, output_text=10), "0.0000276"),
        (usage("elevenlabs_convai", "agent_x", audio_us=30 * S), "0.06"),
    ],
)
def test_what_a_report_costs(used: Usage, expected: str) -> None:
    assert cost_of(used, DEFAULT_TABLE) == dollars(expected)


@pytest.mark.parametrize(
    "used",
    [
        usage("acme", "m", input_text=1),
        usage("openai", "gpt-99", input_text=1),
        usage("openai", "", input_text=1),
        usage("openai", "gpt-4o", input_audio=1),  # a text model that hears: nobody said what that costs
        usage("openai_realtime", "gpt-realtime-3", input_audio=1),
        usage("deepgram", "nova-9", audio_us=S),
        usage("deepgram", "nova-3", characters=9),  # it bills minutes, and those were not counted
        usage("elevenlabs", "eleven_v3", audio_us=S),
    ],
)
def test_an_unknown_price_is_unknown_and_not_nothing(used: Usage) -> None:
    assert cost_of(used, DEFAULT_TABLE) is None


def test_nothing_used_costs_nothing_whoever_asks() -> None:
    assert cost_of(usage("acme"), DEFAULT_TABLE) == cost_of(usage("openai", "gpt-4o"), DEFAULT_TABLE) == 0


def test_a_cached_token_without_a_price_costs_a_whole_one() -> None:
    full = cost_of(usage("groq", "llama-3.1-8b-instant", input_text=7), DEFAULT_TABLE)
    cached = usage("groq", "llama-3.1-8b-instant", cached_text=7)
    assert full == cost_of(cached, DEFAULT_TABLE) == dollars("0.00000035")
    assert saved_by_cache(cached, DEFAULT_TABLE) == 0


def test_what_the_cache_saved() -> None:
    used = usage("openai_realtime", "gpt-realtime", cached_text=1000, cached_audio=1000, input_text=5)
    uncached = usage("openai_realtime", "gpt-realtime", input_text=1005, input_audio=1000)
    cost, full = cost_of(used, DEFAULT_TABLE), cost_of(uncached, DEFAULT_TABLE)
    assert cost is not None
    assert full is not None
    assert saved_by_cache(used, DEFAULT_TABLE) == full - cost == dollars("0.0352")
    assert saved_by_cache(usage("acme", cached_text=9), DEFAULT_TABLE) == 0


TOKENS = ("input_text", "input_audio", "cached_text", "cached_audio", "output_text", "output_audio")


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(TOKENS, st.integers(0, 10**6))), max_size=8))
def test_token_costs_add_up_however_they_are_reported(reports: list[dict[str, int]]) -> None:
    whole = {name: sum(one[name] for one in reports) for name in TOKENS}
    each = [cost_of(usage("openai_realtime", "gpt-realtime-2", **one), DEFAULT_TABLE) for one in reports]
    together = cost_of(usage("openai_realtime", "gpt-realtime-2", **whole), DEFAULT_TABLE)
    assert together == sum(cost for cost in each if cost is not None)


@given(st.integers(0, 10**11), st.integers(1, 10**15))
def test_time_is_billed_to_the_nearest_femtodollar(audio_us: int, rate: int) -> None:
    table = merge(PriceTable(), {"x": {"unit": "minute", "price": Decimal(rate) / DOLLAR}})
    cost = cost_of(usage("x", audio_us=audio_us), table)
    assert cost is not None
    assert abs(cost * MINUTE - rate * audio_us) * 2 <= MINUTE


# --- carriers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carrier", "direction", "seconds", "expected"),
    [
        ("twilio", "inbound", 0.4, "0.0085"),
        ("twilio", "inbound", 60, "0.0085"),
        ("twilio", "inbound", 60.000001, "0.017"),
        ("twilio", "outbound", 80, "0.028"),
        ("telnyx", "inbound", 61, "0.007"),
        ("telnyx", "outbound", 1, "0.007"),
        ("plivo", "outbound", 1, "0.0055"),
        ("browser", "inbound", 600, "0"),
    ],
)
def test_minutes_by_direction(carrier: str, direction: str, seconds: float, expected: str) -> None:
    assert cost_of_minutes(DEFAULT_TABLE, carrier, direction, round(seconds * S)) == dollars(expected)


def test_a_carrier_without_prices_is_unknown() -> None:
    assert cost_of_minutes(DEFAULT_TABLE, "acme", "inbound", S) is None
    assert cost_of_minutes(DEFAULT_TABLE, "openai_tts", "inbound", S) is None  # not one that bills time
    assert cost_of_minutes(DEFAULT_TABLE, "deepgram", "inbound", S) is None  # one whose price depends on a model


@pytest.mark.parametrize(
    ("round_up", "seconds", "billed"), [(6, 11, 12), (6, 12, 12), (1, 0.2, 1), (False, 11, 11), (True, 11, 60)]
)
def test_other_increments(round_up: Any, seconds: float, billed: int) -> None:
    table = merge(DEFAULT_TABLE, {"telnyx": {"price": "0.6", "round_up": round_up}})
    assert cost_of_minutes(table, "telnyx", "inbound", round(seconds * S)) == dollars("0.01") * billed


# --- which entry is meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        ("openai_realtime", "gpt-realtime", "gpt-realtime"),
        ("openai_realtime", "gpt-realtime-2025-08-28", "gpt-realtime"),
        ("openai_realtime", "gpt-realtime-mini", "gpt-realtime-mini"),
        ("openai_realtime", "gpt-realtime-mini-2025-10-06", "gpt-realtime-mini"),
        ("openai_realtime", "gpt-realtime-2", "gpt-realtime-2"),
        ("openai_realtime", "gpt-realtime-nano", None),
        ("openai_realtime", "gpt-realtime-3", None),
        ("openai_realtime", "gpt-realtime-", None),
        ("openai_realtime", "gpt-realtimes", None),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-4o-audio-preview", None),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("anthropic", "claude-opus-4-6", "claude-opus-4-6"),
        ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku"),
    ],
)
def test_a_model_is_looked_up_by_its_name_or_as_a_snapshot(provider: str, model: str, entry: str | None) -> None:
    expected = None if entry is None else DEFAULT_TABLE.providers[provider].models[entry]
    assert DEFAULT_TABLE.rates(provider, model) == expected


def test_the_longest_name_wins_and_the_provider_comes_last() -> None:
    models = {"m": {"price": 1}, "m-2024": {"price": 2}}
    table = merge(PriceTable(), {"x": {"unit": "minute", "price": 9, "models": models}})
    for model, price in {"m": 1, "m-2024": 2, "m-2024-20250101": 2, "m-20250101": 1, "n": 9, "": 9}.items():
        assert table.rates("x", model) == Rates(price=price * DOLLAR)


def test_every_default_has_a_source_and_is_complete() -> None:
    assert DEFAULT_TABLE.version
    assert DEFAULT_TABLE.providers.keys() == DEFAULTS.keys()
    for name, prices in DEFAULT_TABLE.providers.items():
        assert prices.source, name
        assert prices.models or prices.rates != Rates(), name


def test_the_table_is_data() -> None:
    table = merge(DEFAULT_TABLE, {"acme": {"unit": "1k_chars", "price": 1, "models": {"a": {"price": 2}}}})
    assert msgspec.json.decode(msgspec.json.encode(table), type=PriceTable) == table


# --- overrides -------------------------------------------------------------------------------------------------------


def test_one_rate_is_changed_and_the_others_stay() -> None:
    models = {"gpt-4o": {"text_output_per_token": 9e-6}}
    before, after = DEFAULT_TABLE.rates("openai", "gpt-4o"), None
    after = merge(DEFAULT_TABLE, {"openai": {"models": models}}).rates("openai", "gpt-4o")
    assert before is not None
    assert after == msgspec.structs.replace(before, text_output_per_token=dollars("0.000009"))


def test_a_price_for_the_provider_is_for_all_its_models_but_those_named_with_it() -> None:
    table = merge(DEFAULT_TABLE, {"deepgram": {"price": 0.001, "models": {"nova": {"price": "0.002"}}}})
    for model, price in {"nova-3": "0.001", "nova-9": "0.001", "": "0.001", "nova": "0.002"}.items():
        assert table.rates("deepgram", model) == Rates(price=dollars(price))
    text = merge(DEFAULT_TABLE, {"openai_realtime": {"audio_input_per_token": 1e-5}}).rates(
        "openai_realtime", "gpt-realtime"
    )
    assert text is not None
    assert (text.audio_input_per_token, text.text_input_per_token) == (dollars("0.00001"), dollars("0.000004"))


def test_one_price_for_a_carrier_is_for_both_directions_and_one_direction_for_itself() -> None:
    both = merge(DEFAULT_TABLE, {"twilio": {"price": 0.01}})
    one = merge(DEFAULT_TABLE, {"twilio": {"outbound": 0.5}})
    mixed = merge(DEFAULT_TABLE, {"twilio": {"price": 0.01, "outbound": 0.5}})
    for table, inbound, outbound in ((both, "0.01", "0.01"), (one, "0.0085", "0.5"), (mixed, "0.01", "0.5")):
        assert cost_of_minutes(table, "twilio", "inbound", S) == dollars(inbound)
        assert cost_of_minutes(table, "twilio", "outbound", S) == dollars(outbound)


def test_a_new_model_starts_from_what_it_would_have_cost() -> None:
    models = {"gpt-realtime-2025-08-28": {"text_output_per_token": 0}}
    table = merge(DEFAULT_TABLE, {"openai_realtime": {"models": models}})
    base = DEFAULT_TABLE.rates("openai_realtime", "gpt-realtime")
    assert base is not None
    assert table.rates("openai_realtime", "gpt-realtime-2025-08-28") == msgspec.structs.replace(
        base, text_output_per_token=0
    )
    assert table.rates("openai_realtime", "gpt-realtime") == base


def test_a_new_provider_may_be_added_when_it_is_complete() -> None:
    tokens = {"text_input_per_token": 1e-6, "text_output_per_token": "2e-6"}
    table = merge(
        DEFAULT_TABLE, {"acme": {"unit": "token", "models": {"a": tokens}}, "v": {"unit": "minute", "price": 1}}
    )
    assert cost_of(usage("acme", "a", input_text=1, output_text=1), table) == dollars("0.000003")
    assert cost_of(usage("acme", "b", input_text=1), table) is None
    assert cost_of_minutes(table, "v", "inbound", S) == dollars("1") // 60 + 1  # to the nearest


def test_the_table_given_is_not_changed() -> None:
    before = msgspec.json.encode(DEFAULT_TABLE)
    merge(DEFAULT_TABLE, {"deepgram": {"price": 5, "models": {"nova-3": {"price": 6}, "x": {"price": 1}}}})
    assert msgspec.json.encode(DEFAULT_TABLE) == before


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0085, "0.0085"), ("0.0085", "0.0085"), (Decimal("0.0085"), "0.0085"), (2, "2"), (0, "0"), (1e-9, "1e-9"),
     (0.1 + 0.2, "0.3000000000000000"), (1000, "1000")],
)  # fmt: skip
def test_a_price_is_the_decimal_number_it_is_written_as(value: Any, expected: str) -> None:
    rates = merge(PriceTable(), {"x": {"unit": "minute", "price": value}}).rates("x", "")
    assert rates is not None
    assert rates.price == dollars(expected)


@pytest.mark.parametrize(
    "value",
    [True, None, [], {}, b"1", "", "cheap", "nan", "sNaN", float("nan"), float("inf"), "-inf", -1, -0.5, "-1e-9",
     1000.01, 1e300, "1e999999", 10**40],
)  # fmt: skip
def test_a_wrong_price_is_refused_by_name(value: Any) -> None:
    for given_, where in (
        ({"deepgram": {"price": value}}, "pricing['deepgram']['price']"),
        ({"deepgram": {"models": {"nova-3": {"price": value}}}}, "pricing['deepgram']['models']['nova-3']['price']"),
    ):
        with pytest.raises(ConfigError) as raised:
            merge(DEFAULT_TABLE, given_)
        assert where in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "a dict of providers"),
        ("deepgram", "a dict of providers"),
        ({1: {"price": 1}}, "names as its keys"),
        ({"": {"unit": "minute", "price": 1}}, "names as its keys"),
        ({"deepgram": 0.01}, "pricing['deepgram'] must be a dict of unit, price"),
        ({"acme": 0.01}, "pricing['acme'] must be a dict"),
        ({"deepgram": {"prise": 1}}, "pricing['deepgram']['prise'] is not known; allowed here: unit, price"),
        ({"deepgram": {"text_input_per_token": 1}}, "not known"),
        ({"openai": {"price": 1}}, "allowed here: unit, text_input_per_token"),
        ({"elevenlabs": {"inbound": 1}}, "not known"),
        ({"elevenlabs": {"round_up": True}}, "not known"),
        ({"deepgram": {"unit": "hour"}}, "must be one of minute, 1k_chars, token"),
        ({"deepgram": {"unit": ["minute"]}}, "must be one of"),
        ({"deepgram": {"unit": "token"}}, "is 'minute' for this provider"),
        ({"deepgram": {"models": 3}}, "must be a dict of models"),
        ({"deepgram": {"models": {"nova-3": 3}}}, "pricing['deepgram']['models']['nova-3'] must be a dict"),
        ({"deepgram": {"models": {"nova-3": {"unit": "minute"}}}}, "['unit'] is not known"),
        ({"deepgram": {"models": {2: {"price": 1}}}}, "names as its keys"),
        ({"deepgram": {"models": {"nova-9": {}}}}, "is a new model, and needs price"),
        (
            {"openai": {"models": {"x": {"text_input_per_token": 1}}}},
            "is a new model, and needs text_input_per_token and",
        ),
        ({"acme": {"price": 1}}, "is a new provider, and needs a 'unit'"),
        ({"acme": {"unit": "minute"}}, "is a new provider, and needs price (or inbound and outbound)"),
        ({"acme": {"unit": "minute", "inbound": 1}}, "needs price (or inbound and outbound)"),
        ({"acme": {"unit": "token", "text_input_per_token": 1}}, "needs text_input_per_token and"),
        ({"twilio": {"round_up": 0.5}}, "pricing['twilio']['round_up'] must be True"),
        ({"twilio": {"round_up": -1}}, "must be True"),
        ({"twilio": {"round_up": 3601}}, "must be True"),
        ({"twilio": {"source": 1}}, "must be text"),
    ],
)
def test_wrong_shapes_are_refused_by_name(overrides: Any, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        merge(DEFAULT_TABLE, overrides)
    assert words in str(raised.value)


def test_pricing_is_none_a_table_or_overrides() -> None:
    table = PriceTable(version="mine")
    assert resolve_pricing(None) is DEFAULT_TABLE
    assert resolve_pricing(None, table) is resolve_pricing(table) is table
    assert resolve_pricing({"twilio": {"price": 1}}) == merge(DEFAULT_TABLE, {"twilio": {"price": 1}})
    with pytest.raises(ConfigError):
        resolve_pricing(3)


RATE = st.one_of(st.integers(0, 1000), st.floats(0, 1000), st.decimals(0, 1000, places=9))
OVERRIDES = st.dictionaries(
    st.sampled_from(["deepgram", "whisper", "twilio", "assemblyai"]),
    st.fixed_dictionaries(
        {}, optional={"price": RATE, "models": st.dictionaries(st.sampled_from(["nova-3", "m"]), st.just({"price": 1}))}
    ),
)


@given(OVERRIDES)
def test_overrides_twice_are_overrides_once(overrides: dict[str, Any]) -> None:
    once = merge(DEFAULT_TABLE, overrides)
    assert merge(once, overrides) == once


@given(OVERRIDES)
def test_who_is_not_named_keeps_their_prices(overrides: dict[str, Any]) -> None:
    merged = merge(DEFAULT_TABLE, overrides)
    assert merged.providers.keys() == DEFAULT_TABLE.providers.keys()
    for name, prices in DEFAULT_TABLE.providers.items():
        if not overrides.get(name):
            assert merged.providers[name] == prices
