"""What a unit costs: the price table and the arithmetic on it.

Money is integers of a femtodollar (10^-15 dollars) in here, so that parts add up exactly in any order: the smallest
price listed, half a cent for a million tokens, is five million of them. Dollars as floats are for the surface only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from ..engines.usage import Usage
from ..errors import ConfigError
from ..price_table import DEFAULTS, VERSION

__all__ = [
    "DEFAULT_TABLE",
    "DOLLAR",
    "PriceTable",
    "ProviderPrices",
    "Rates",
    "cost_of",
    "cost_of_minutes",
    "merge",
    "resolve_pricing",
    "saved_by_cache",
]

DOLLAR = 10**15
"""One dollar, in what money is counted in here."""

_MOST = 1_000
"""Dollars for one unit. A price above it is one in the wrong unit, such as that of a million tokens."""

_MINUTE_US = 60_000_000

_TIME_RATES = ("price", "inbound", "outbound")
_TOKEN_RATES = (
    "text_input_per_token",
    "text_output_per_token",
    "audio_input_per_token",
    "audio_output_per_token",
    "cached_text_input_per_token",
    "cached_audio_input_per_token",
)
_RATES = {"minute": _TIME_RATES, "1k_chars": ("price",), "token": _TOKEN_RATES}
"""By unit: what an entry may set a price for."""

_SNAPSHOT = re.compile(r"[-@](?:\d{4}-\d\d-\d\d|\d{8}|\d{4}|latest)")
"""What may follow a model's name without its being another model: the date of a snapshot."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Femtodollars for one unit; None where no price is known. ``price`` is for a minute or a thousand characters,
    whatever the direction; ``inbound`` and ``outbound`` are a carrier's where they differ."""

    price: int | None = None
    inbound: int | None = None
    outbound: int | None = None
    text_input_per_token: int | None = None
    text_output_per_token: int | None = None
    audio_input_per_token: int | None = None
    audio_output_per_token: int | None = None
    cached_text_input_per_token: int | None = None
    cached_audio_input_per_token: int | None = None


class ProviderPrices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One provider's or carrier's. ``rates`` are for a model that ``models`` does not name; with none set, the price of
    such a model is unknown. ``round_up``: time is billed in whole steps of so many seconds; 0: as long as it took."""

    unit: str
    rates: Rates = Rates()
    models: dict[str, Rates] = {}
    round_up: int = 0
    source: str = ""


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """Every price that is known, by provider. Data only: it travels with a call and in its trace."""

    version: str = ""
    providers: dict[str, ProviderPrices] = {}

    def rates(self, provider: str, model: str) -> Rates | None:
        """What a model costs: by its exact name, else as a dated snapshot of one that is listed (the longest such
        name), else what its provider asks for any model. None: nobody said."""
        prices = self.providers.get(provider)
        if prices is None:
            return None
        found = prices.models.get(model)
        if found is None:
            names = [n for n in prices.models if model.startswith(n) and _SNAPSHOT.fullmatch(model, len(n))]
            found = prices.models[max(names, key=len)] if names else prices.rates
        return None if found == _NOTHING else found


_NOTHING = Rates()


# --- arithmetic ------------------------------------------------------------------------------------------------------


def _share(rate: int, amount: int, unit: int) -> int:
    """``rate * amount / unit``, to the nearest femtodollar."""
    return (2 * rate * amount + unit) // (2 * unit)


def _billed_us(duration_us: int, round_up_s: int) -> int:
    """A carrier bills steps that were started, and at least one: also for a call shorter than a second (Twilio's
    changelog of 2021-06-14 says so of its own)."""
    if not round_up_s:
        return max(0, duration_us)
    step = round_up_s * 1_000_000
    return max(1, -(-duration_us // step)) * step


def cost_of(usage: Usage, table: PriceTable) -> int | None:
    """In femtodollars; None when the price of something in it is unknown, which is not the same as nothing.

    A cached token without a price of its own costs what an uncached one does: no discount is known of.
    """
    prices, rates = table.providers.get(usage.provider), table.rates(usage.provider, usage.model)
    tokens = (
        (usage.input_text, "text_input_per_token", ""),
        (usage.input_audio, "audio_input_per_token", ""),
        (usage.output_text, "text_output_per_token", ""),
        (usage.output_audio, "audio_output_per_token", ""),
        (usage.cached_text, "cached_text_input_per_token", "text_input_per_token"),
        (usage.cached_audio, "cached_audio_input_per_token", "audio_input_per_token"),
    )
    used = {"minute": usage.audio_us, "1k_chars": usage.characters, "token": sum(count for count, _, _ in tokens)}
    if not any(used.values()):
        return 0
    if prices is None or rates is None or not used[prices.unit]:
        return None  # nobody said, or what is billed was not counted
    if prices.unit == "1k_chars":
        return None if rates.price is None else _share(rates.price, usage.characters, 1000)
    if prices.unit == "minute":
        billed = _billed_us(usage.audio_us, prices.round_up)
        return None if rates.price is None else _share(rates.price, billed, _MINUTE_US)
    total = 0
    for count, name, otherwise in tokens:
        if count:
            rate = getattr(rates, name)
            if rate is None and otherwise:
                rate = getattr(rates, otherwise)
            if rate is None:
                return None
            total += count * rate
    return total


def saved_by_cache(usage: Usage, table: PriceTable) -> int:
    """What the cached tokens would have cost more, had they not been; 0 where that is unknown."""
    rates = table.rates(usage.provider, usage.model)
    if rates is None:
        return 0
    saved = 0
    for count, full, cached in (
        (usage.cached_text, rates.text_input_per_token, rates.cached_text_input_per_token),
        (usage.cached_audio, rates.audio_input_per_token, rates.cached_audio_input_per_token),
    ):
        if count and full is not None and cached is not None:
            saved += count * (full - cached)
    return saved


def cost_of_minutes(table: PriceTable, carrier: str, direction: str, duration_us: int) -> int | None:
    """What a carrier asks for a call that was answered and lasted so long; None when its prices are unknown.
    ``direction`` is ``inbound`` or ``outbound``."""
    prices = table.providers.get(carrier)
    if prices is None or prices.unit != "minute":
        return None
    rates = prices.rates
    rate = rates.outbound if direction == "outbound" else rates.inbound
    if rate is None:
        rate = rates.price
    return None if rate is None else _share(rate, _billed_us(duration_us, prices.round_up), _MINUTE_US)


# --- what people write -----------------------------------------------------------------------------------------------


def _dollars(where: str, value: Any) -> int:
    """A price as people write it, in femtodollars. A float means the decimal number it is printed as."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ConfigError(f"{where} must be a price in US dollars, such as 0.0085 or '0.0085'; got {value!r}")
    try:
        amount = Decimal(repr(float(value))) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        raise ConfigError(f"{where} must be a number of US dollars; got {value!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigError(f"{where} must be a finite price of at least 0; got {value!r}")
    if amount > _MOST:
        raise ConfigError(
            f"{where} is more than $1000 for one unit: prices are for a minute, 1000 characters or one token "
            f"(that of a million tokens / 1_000_000); got {value!r}"
        )
    return round(amount * DOLLAR)


def _entry(where: str, given: Any, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} must be a dict of {', '.join(allowed)}; got {type(given).__name__}")
    for key in given:
        if key not in allowed:
            raise ConfigError(f"{where}[{key!r}] is not known; allowed here: {', '.join(allowed)}")
    return given


def _name(where: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where} must have names as its keys; got {name!r}")
    return name


def _changes(where: str, given: Mapping[str, Any], unit: str) -> dict[str, int | None]:
    changes: dict[str, int | None] = {}
    for rate in _RATES[unit]:
        if rate in given:
            changes[rate] = _dollars(f"{where}[{rate!r}]", given[rate])
    if "price" in changes:  # for both directions, unless it is said otherwise beside it
        for rate in ("inbound", "outbound"):
            changes.setdefault(rate, None)
    return changes


def _complete(rates: Rates, unit: str) -> str:
    """What is missing for a price, '' for nothing."""
    if unit == "token":
        for kind in ("text", "audio"):
            both = getattr(rates, f"{kind}_input_per_token"), getattr(rates, f"{kind}_output_per_token")
            if None not in both:
                return ""
        return "text_input_per_token and text_output_per_token (or the same of audio)"
    if rates.price is not None or (unit == "minute" and None not in (rates.inbound, rates.outbound)):
        return ""
    return "price" if unit == "1k_chars" else "price (or inbound and outbound)"


def _round_up(where: str, value: Any) -> int:
    if isinstance(value, bool):
        return 60 if value else 0
    if not isinstance(value, int) or not 0 <= value <= 3600:
        raise ConfigError(f"{where} must be True (started minutes), False, or 0 to 3600 seconds; got {value!r}")
    return value


def _merge_provider(where: str, old: ProviderPrices | None, given: Any) -> ProviderPrices:
    unit = given.get("unit") if isinstance(given, Mapping) else None
    if unit is not None and (not isinstance(unit, str) or unit not in _RATES):
        raise ConfigError(f"{where}['unit'] must be one of {', '.join(_RATES)}; got {unit!r}")
    if old is not None and unit not in (None, old.unit):
        raise ConfigError(f"{where}['unit'] is {old.unit!r} for this provider; got {unit!r}")
    known = old.unit if old is not None else unit
    if known is None:
        if isinstance(given, Mapping):
            raise ConfigError(f"{where} is a new provider, and needs a 'unit': one of {', '.join(_RATES)}")
        known = "minute"
    extra = ("round_up",) if known == "minute" else ()
    entry = _entry(where, given, ("unit", *_RATES[known], *extra, "models", "source"))
    base = old or ProviderPrices(unit=known)
    source = entry.get("source", base.source)
    if not isinstance(source, str):
        raise ConfigError(f"{where}['source'] must be text; got {source!r}")
    changes = _changes(where, entry, known)
    rates = msgspec.structs.replace(base.rates, **changes)
    models = {name: msgspec.structs.replace(one, **changes) for name, one in base.models.items()}
    asked = entry.get("models", {})
    if not isinstance(asked, Mapping):
        raise ConfigError(f"{where}['models'] must be a dict of models; got {type(asked).__name__}")
    so_far = PriceTable(providers={"": msgspec.structs.replace(base, rates=rates, models=models)})
    for name, one in asked.items():
        at = f"{where}['models'][{_name(f'{where}[models]', name)!r}]"
        model = _changes(at, _entry(at, one, _RATES[known]), known)
        models[name] = msgspec.structs.replace(so_far.rates("", name) or _NOTHING, **model)
        if missing := _complete(models[name], known):
            raise ConfigError(f"{at} is a new model, and needs {missing}")
    if old is None and (rates != _NOTHING or not models) and (missing := _complete(rates, known)):
        raise ConfigError(f"{where} is a new provider, and needs {missing}, or 'models'")
    round_up = _round_up(f"{where}['round_up']", entry["round_up"]) if "round_up" in entry else base.round_up
    return ProviderPrices(unit=known, rates=rates, models=models, round_up=round_up, source=source)


def merge(table: PriceTable, overrides: Mapping[str, Any]) -> PriceTable:
    """The table with these prices in place of its own, field by field: what is not named stays.

    A price for a provider as a whole holds for each of its models, except where the same overrides name one: who says
    what they pay is not outvoted by this table. ``price`` replaces a carrier's two directions. A model that is new
    starts from what it would have cost.
    """
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"pricing must be a dict of providers; got {type(overrides).__name__}")
    providers = dict(table.providers)
    for name, given in overrides.items():
        where = f"pricing[{_name('pricing', name)!r}]"
        providers[name] = _merge_provider(where, providers.get(name), given)
    return PriceTable(version=table.version, providers=providers)


DEFAULT_TABLE = merge(PriceTable(version=VERSION), DEFAULTS)


def resolve_pricing(given: Any, base: PriceTable = DEFAULT_TABLE) -> PriceTable:
    """``pricing=`` as a table: None, a table of its own, or a dict that goes over ``base``."""
    if given is None:
        return base
    return given if isinstance(given, PriceTable) else merge(base, given)
