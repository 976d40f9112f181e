"""The live checks and a short load, against a server process on each loop."""

from __future__ import annotations

import argparse

import pytest

from conformance.live.checks import CHECKS, STOPPING
from conformance.live.runner import ours
from conformance.load.live import run


@pytest.fixture(scope="module", params=["asyncio-twilio", "asyncio-telnyx", "trio-twilio", "trio-telnyx"])
def target(request):
    with ours(*request.param.split("-")) as found:
        yield found


@pytest.mark.parametrize("check", [*CHECKS, *STOPPING], ids=lambda check: check.__name__)
def test_live(target, check):
    check(target)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize(("carrier", "codec"), [("twilio", "pcmu"), ("telnyx", "pcmu"), ("telnyx", "l16")])
def test_a_short_load_loses_nothing(loop, carrier, codec):
    options = {"calls": 10, "seconds": 2.0, "loop": loop, "ramp": 0.5, "pin": False, "carrier": carrier, "codec": codec}
    figures = run(argparse.Namespace(**options))
    assert figures["completed"] == 10
    assert figures["frames_lost"] == 0
    if codec == "pcmu":
        assert figures["echo_latency_ms"]["p50"] > 0
