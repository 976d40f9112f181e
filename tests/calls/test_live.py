"""The live checks and a short load, against a server process on each loop."""

from __future__ import annotations

import argparse

import pytest

from conformance.live.checks import CHECKS, STOPPING
from conformance.live.runner import ours
from conformance.load.live import run


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def target(request):
    with ours(request.param) as found:
        yield found


@pytest.mark.parametrize("check", [*CHECKS, *STOPPING], ids=lambda check: check.__name__)
def test_live(target, check):
    check(target)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_short_load_loses_nothing(loop):
    figures = run(argparse.Namespace(calls=10, seconds=2.0, loop=loop, ramp=0.5, pin=False))
    assert figures["completed"] == 10
    assert figures["frames_lost"] == 0
    assert figures["echo_latency_ms"]["p50"] > 0
