"""One spoken call with every engine on both loops: three processes, real sockets; what happened, not when."""

from __future__ import annotations

import argparse
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from conformance.live.engine_run import Run, run
from conformance.live.engine_story import ENGINES, FIRST, MENU, replies, speech_missing, words
from conformance.load.live import run as load
from conformance.load.talking import ENGINES as TALKING

LOOPS = ("asyncio", "trio")
TURNS = 1
AT_ONCE = 5  # they mostly wait: for the caller to have spoken, for the providers to have thought

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(speech_missing()), reason=speech_missing() or "there is a caller"),
]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str], Future[Run]]:
    """All of them, over when the first test begins."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {(engine, loop): pool.submit(run, engine, loop, turns=TURNS) for loop in LOOPS for engine in ENGINES}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_call_is_talked_interrupted_and_ended(
    engine: str, loop: str, runs: dict[tuple[str, str], Future[Run]]
) -> None:
    found = runs[engine, loop].result()
    assert found.problems == []
    assert found.codes == {"server": 0, "providers": 0}
    (call,) = found.calls
    lines = [(line["role"], line["text"]) for line in call.told("TranscriptLine")]
    assert [text for role, text in lines if role == "user"] == words(TURNS)
    agent = [text for role, text in lines if role == "assistant"]
    assert agent[0] == FIRST
    assert agent[1] == replies(TURNS)[0]
    assert MENU.startswith(agent[2].rstrip())
    assert agent[2] != MENU
    assert agent[3] == replies(TURNS)[-1]
    assert call.done.cleared_bytes > 0
    metrics = call.metrics
    assert metrics["frames_in"] == call.done.frames_sent
    assert metrics["marks_played"] > 0
    answered = [turn["latency"] for turn in metrics["turns"] if turn["user_text"]]
    assert len(answered) == TURNS + 2
    for latency in answered:
        stages = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "llm_sentence_ms", "tts_ms", "send_ms", "play_ms")
        assert sum(latency[stage] for stage in stages) == latency["agent_response_ms"] > 0


@pytest.mark.parametrize("engine", TALKING)
def test_a_short_load_with_providers_loses_nothing(engine: str) -> None:
    options = {"engine": engine, "calls": 4, "seconds": 6.5, "loop": "asyncio", "ramp": 0.5}
    figures = load(argparse.Namespace(**options, pin=False, carrier="twilio", codec="pcmu"))
    assert figures["completed"] == 4 + figures["echo_calls"]
    assert figures["frames_lost"] == 0
    assert figures["replies"] >= 4
    assert figures["added_latency_ms"]["p50"] > 0
    assert figures["echo_latency_ms"]["p50"] > 0
