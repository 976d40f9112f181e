"""Providers that fail in the middle of whole calls: another takes over, and the last resort is an apology."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core import (
    Agent,
    CompatibleLLM,
    DeepgramSTT,
    ElevenLabsConvAI,
    ElevenLabsTTS,
    Fallback,
    OpenAILLM,
    OpenAIRealtime,
    OpenAITTS,
    WhisperSTT,
)
from patter_core.events import CallEnded, ProviderSwitched
from patter_core.reasons import EndReason
from patter_core.simulator.deepgram_peer import DeepgramFaults
from patter_core.simulator.elevenlabs_peer import ConvAIPlan
from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
from patter_core.simulator.llm_peer import LlmAnswer
from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Wait
from tests.core.carriers_world import both, person, talk
from tests.core.provider_kit import ProviderWorld, spoken

pytestmark = pytest.mark.usefixtures(spoken.__name__)

HELLO = "Hello, this is the agent."
NOON = "It is noon."
SPARE = "The spare one says noon."
ASKS: tuple[Act, ...] = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(2_500), HangUp())


def says(text: str, **more: Any) -> LlmAnswer:
    return LlmAnswer(text=tuple(word + " " for word in text.split()), **more)


def a_call(carrier: str, agent: dict[str, Any], acts: tuple[Act, ...] = ASKS, **script: Any) -> ProviderWorld:
    made: dict[str, Any] = {
        "deepgram": ("What time is it?", "And now?"),
        "deepgram_key": "deepgram-key",
        "openai": ("What time is it?", "And now?"),
        "openai_key": "openai-key",
        "chat": (says(NOON),),
        "chat_key": "openai-key",
        "backup": (says(SPARE),),
        "voice": (SpeechPlan(),),
        **script,
    }
    given: dict[str, Any] = {"first_message": HELLO, **agent}
    if "engine" not in given:
        given = {"stt": DeepgramSTT(), "llm": OpenAILLM(), "tts": ElevenLabsTTS(), **given}
    return ProviderWorld(
        Agent(**given), person(*acts), routes=lambda: standard(ProviderScript(**made)), carrier=carrier
    )


def switched(world: ProviderWorld) -> list[str]:
    return [event.stage for event in world.told(ProviderSwitched)]


# --- stages ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("fault", [DeepgramFaults(refuse=401), DeepgramFaults(refuse=503)], ids=["401", "503"])
def test_another_recogniser_takes_over(carrier: str, fault: DeepgramFaults) -> None:
    """The caller's words of the time in between are not lost."""
    world = a_call(carrier, {"stt": Fallback(DeepgramSTT(), WhisperSTT())}, deepgram_faults=(fault,) * 50)
    world.run(40)
    assert "stt" in switched(world)
    assert world.said("user") == ["What time is it?"]
    assert world.whole(NOON)
    (end,) = world.calls["on_call_end"]
    assert end["metrics"].stt_model == "whisper-1"
    world.over()


@both
@pytest.mark.parametrize(
    "bad",
    [
        LlmAnswer(status=401, code="invalid_api_key"),
        LlmAnswer(status=503),
        LlmAnswer(fault="drop", first_us=100_000),
        LlmAnswer(fault="silent"),
    ],
    ids=["401", "503", "gone", "silent"],
)
def test_another_model_takes_over(carrier: str, bad: LlmAnswer) -> None:
    spare = CompatibleLLM(base_url="https://backup.example/v1", model="spare")
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(2_500, 60_000), HangUp())
    world = a_call(carrier, {"llm": Fallback(OpenAILLM(), spare)}, acts, chat=(bad,))
    world.run(80)
    assert "llm" in switched(world)
    assert world.whole(SPARE)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
@pytest.mark.parametrize(
    "plan",
    [SpeechPlan(status=401), SpeechPlan(status=503), SpeechPlan(drop_after=0), SpeechPlan(empty=True)],
    ids=["401", "503", "gone", "empty"],
)
def test_another_voice_takes_over(carrier: str, plan: SpeechPlan) -> None:
    world = a_call(carrier, {"tts": Fallback(ElevenLabsTTS(), OpenAITTS())}, voice=(plan,))
    world.run(60)
    assert "tts" in switched(world)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    world.over()


@both
def test_a_voice_that_dies_in_the_middle_of_a_word_is_replaced(carrier: str) -> None:
    """Once may be an accident; the next time, another voice goes on. Nothing is said twice that was heard."""
    plans = (SpeechPlan(), SpeechPlan(drop_after=1))
    text = (
        "This sentence is a good deal longer than what the first voice has. As is this one, my dear. And it ends here."
    )
    world = a_call(carrier, {"tts": Fallback(ElevenLabsTTS(), OpenAITTS())}, voice=plans, chat=(says(text),))
    world.run(60)
    assert world.whole(HELLO)
    assert world.whole("And it ends here.")
    assert switched(world) == ["tts"]
    assert 140 <= world.ms_of("As is this one, my dear.") <= 220
    world.over()


# --- engines ---------------------------------------------------------------------------------------------------------


def engines() -> dict[str, Any]:
    return {
        "engine": Fallback(OpenAIRealtime(), ElevenLabsConvAI(agent_id="agent_1", allow_first_message_override=True))
    }


@both
def test_another_engine_takes_over_in_the_middle_of_a_call(carrier: str) -> None:
    """It knows what was said, and does not greet."""
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), Wait(9_000), talk(1_000), ListenUntilQuiet(), HangUp())
    good = RealtimePlan(
        key="openai-key", words=("What time is it?",), answers=(Answer(texts=(NOON,)),), drop_after_us=6_000_000
    )
    world = a_call(
        carrier,
        engines(),
        acts,
        realtime=(good, RealtimePlan(refuse=401)),
        convai=(ConvAIPlan(heard=("And now?",), replies=("So be it.",)),),
    )
    world.run(40)
    assert "engine" in switched(world)
    (peer,) = world.links("/v1/convai/conversation")
    assert NOON in str(peer.messages)
    assert world.said().count(HELLO) == 1
    assert "Hello, this is the agent." not in world.said()[1:]
    assert world.whole("So be it.")
    assert world.said("user") == ["What time is it?", "And now?"]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    (end,) = world.calls["on_call_end"]
    assert end["metrics"].llm_provider == "elevenlabs_convai"
    world.over()


@both
def test_another_engine_takes_over_before_anything_was_said(carrier: str) -> None:
    world = a_call(
        carrier,
        engines(),
        realtime=(RealtimePlan(refuse=401),),
        convai=(ConvAIPlan(heard=("What time is it?",), replies=(NOON,)),),
    )
    world.run(30)
    assert "engine" in switched(world)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    world.over()


# --- the last resort -------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", ["engines", "voices", "ears"])
def test_nothing_is_left_and_the_carrier_apologises(carrier: str, kind: str) -> None:
    agents: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "engines": (
            engines(),
            {"realtime": (RealtimePlan(refuse=401),), "convai": (ConvAIPlan(refuse=401),)},
        ),
        "voices": (
            {"tts": ElevenLabsTTS()}, {"voice": (SpeechPlan(status=401),)},
        ),
        "ears": (
            {}, {"deepgram_faults": (DeepgramFaults(refuse=401),) * 50},
        ),
    }  # fmt: skip
    agent, script = agents[kind]
    world = a_call(carrier, agent, (ListenUntilQuiet(500, 3_000), talk(1_000), Wait(60_000)), **script)
    world.until(lambda: world.told(CallEnded), 70)
    assert world.reason() is EndReason.ENGINE_FAILED
    world.run(10)
    assert len(world.calls["on_call_start"]) == 1
    assert len(world.done().said_by_carrier) == 1
    (end,) = world.calls["on_call_end"]
    assert end["metrics"].error_code == "engine_failed"
    world.over()
