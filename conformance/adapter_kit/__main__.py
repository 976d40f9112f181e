"""Play the kit through both adapters and print a line for each scenario: ``python -m conformance.adapter_kit``."""

from __future__ import annotations

import sys

from . import run_one
from .adapters import ADAPTERS
from .scenarios import SCENARIOS


def main(wanted: list[str]) -> int:
    """Play all scenarios, or those named. 1 if any failed."""
    failed = 0
    for adapter in ADAPTERS:
        for scenario in SCENARIOS:
            if wanted and scenario.__name__ not in wanted:
                continue
            result = run_one(adapter, scenario)
            failed += not result.passed
            print(
                f"{'ok  ' if result.passed else 'FAIL'} {result.adapter:8} {result.scenario:24} {result.seconds:5.2f} s"
            )
            for error in result.errors[:8]:
                print(f"       {error}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
