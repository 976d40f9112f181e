"""Both adapters pass the adapter kit, and the kit fails every adapter that was broken on purpose."""

from __future__ import annotations

import pytest

from conformance.adapter_kit import adapters, run_kit, run_one
from conformance.adapter_kit.adapters import Adapter, AsyncioAdapter
from conformance.adapter_kit.mutants import MUTANTS, Mutant
from conformance.adapter_kit.scenario import Scenario
from conformance.adapter_kit.scenarios import SCENARIOS

MUTANT_LIMIT_S = 0.8  #: a stuck mutant is noticed; the unbroken adapters need a fraction of it


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_the_adapter_plays_it_right(adapter: Adapter, scenario: type[Scenario]) -> None:
    result = run_one(adapter, scenario)
    assert result.errors == ()


def test_run_kit_gives_a_result_for_each_scenario(adapter: Adapter) -> None:
    some = SCENARIOS[:1] + SCENARIOS[-1:]
    results = run_kit(adapter, some)
    assert [(each.adapter, each.scenario, each.passed) for each in results] == [
        (adapter.name, each.__name__, True) for each in some
    ]


def test_scenarios_are_listed_once_and_described() -> None:
    names = [each.__name__ for each in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(each.__doc__ for each in SCENARIOS)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_broken_adapter_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "GRACE_S", 0.3)
    for scenario in mutant.noticed_by:
        with mutant.broken():
            result = run_one(AsyncioAdapter(), scenario, limit_s=MUTANT_LIMIT_S)
        assert not result.passed, f"{scenario.__name__} did not notice"
