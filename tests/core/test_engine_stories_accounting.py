"""What a call took and cost, held against what was heard at the telephone: figures that add up."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core import (
    Agent,
    DeepgramSTT,
    ElevenLabsConvAI,
    ElevenLabsTTS,
    OpenAILLM,
    OpenAIRealtime,
    OpenAITranscribeSTT,
    OpenAITTS,
)
from patter_core.call.metrics import PARTS, CallMetrics, CostBreakdown, TurnMetrics
from patter_core.call.pricing import resolve_pricing
from patter_core.events import CallEnded, TurnCompleted
from patter_core.simulator.elevenlabs_peer import ConvAIPlan
from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
from patter_core.simulator.llm_peer import LlmAnswer
from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, WaitForAgent
from tests.core.carriers_world import both, person, talk
from tests.core.provider_kit import ProviderWorld, spoken

pytestmark = pytest.mark.usefixtures(spoken.__name__)

HELLO = "Hello, this is the agent."
TEXTS = ("It is noon.", "Still noon, I am afraid.", "Goodbye to you.")
WORDS = ("What time is it?", "And now?", "Thanks.")
NEAR_MS = 60
"""How exactly the silence is known: a frame of the caller's, one of the carrier's, and the ways between us."""

AGENTS: dict[str, dict[str, Any]] = {
    "openai": {"engine": OpenAIRealtime()},
    "openai, 24 kHz": {"engine": OpenAIRealtime(audio="pcm24")},
    "convai": {"engine": ElevenLabsConvAI(agent_id="agent_1")},
    "pipeline": {"stt": DeepgramSTT(), "llm": OpenAILLM(), "tts": ElevenLabsTTS()},
    "openai's stages": {"stt": OpenAITranscribeSTT(), "llm": OpenAILLM(), "tts": OpenAITTS()},
}
every = pytest.mark.parametrize("kind", AGENTS)
TALKS: tuple[Act, ...] = (
    ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), talk(600), ListenUntilQuiet(), talk(1_400), ListenUntilQuiet(),
    HangUp(),
)  # fmt: skip


def a_call(carrier: str, kind: str, acts: tuple[Act, ...] = TALKS, **options: Any) -> ProviderWorld:
    chat = [LlmAnswer(text=tuple(word + " " for word in text.split())) for text in TEXTS]
    agent = {**AGENTS[kind], **options.pop("agent", {})}
    script = ProviderScript(
        realtime=(RealtimePlan(key="openai-key", words=WORDS, answers=tuple(Answer(texts=(text,)) for text in TEXTS)),),
        convai=(ConvAIPlan(heard=WORDS, replies=TEXTS, first_message=HELLO),),
        deepgram=WORDS,
        openai=WORDS,
        chat=chat,
        voice=(SpeechPlan(),),
    )
    return ProviderWorld(
        Agent(first_message="" if kind == "convai" else HELLO, **agent),
        person(*acts),
        routes=lambda: standard(script),
        carrier=carrier,
        **options,
    )


def turns_of(world: ProviderWorld) -> list[TurnMetrics]:
    return [event.turn for event in world.told(TurnCompleted)]


def figures(world: ProviderWorld) -> CallMetrics:
    (end,) = world.calls["on_call_end"]
    found = end["metrics"]
    assert isinstance(found, CallMetrics)
    return found


def micro(amount: float | None) -> int:
    return 0 if amount is None else round(amount * 1_000_000)


@both
@every
def test_the_parts_of_every_silence_add_up_to_what_was_heard(carrier: str, kind: str) -> None:
    world = a_call(carrier, kind, provider_latency_us=4_000)
    world.run(40)
    turns = turns_of(world)
    assert [(turn.user_text, turn.agent_text) for turn in turns] == list(zip(WORDS, TEXTS, strict=True))
    silences = world.silences()
    assert len(silences) == 3
    for turn, silence in zip(turns, silences, strict=True):
        latency = turn.latency
        assert sum(getattr(latency, part) for part in PARTS) == latency.agent_response_ms
        assert abs(latency.agent_response_ms - silence) <= NEAR_MS, (turn.turn_index, latency, silence)
    for turn, spoke in zip(turns, (1_000, 600, 1_400), strict=True):
        assert abs(turn.latency.user_speech_duration_ms - spoke) <= 60
    world.over()


@both
@every
def test_every_turn_is_told_once_and_the_call_has_them_all(carrier: str, kind: str) -> None:
    world = a_call(carrier, kind)
    world.run(40)
    told = [payload["turn"] for payload in world.calls["on_metrics"]]
    assert told == turns_of(world)
    assert [turn.turn_id for turn in told] == [f"{world.first}/{n}" for n in (1, 2, 3)]
    metrics = figures(world)
    assert list(metrics.turns) == told
    assert metrics.telephony_provider == carrier
    assert metrics.latency_p50.agent_response_ms > 0
    assert metrics.error_code == ""
    world.over()


@both
@every
def test_what_a_call_cost_is_the_sum_of_its_parts(carrier: str, kind: str) -> None:
    world = a_call(carrier, kind)
    world.run(40)
    metrics = figures(world)
    cost, outside = metrics.cost, metrics.cost_outside_turns
    assert micro(cost.telephony) > 0
    assert abs(micro(cost.stt) + micro(cost.llm) + micro(cost.tts) + micro(cost.telephony) - micro(cost.total)) <= 2
    for part in ("stt", "tts", "llm"):
        whole = sum(micro(getattr(turn.cost, part)) for turn in metrics.turns) + micro(getattr(outside, part))
        if getattr(cost, part) is not None:
            assert abs(whole - micro(getattr(cost, part))) <= len(metrics.turns) + 1  # each is rounded
    assert cost.total > 0
    world.over()


@both
@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (
            "openai",
            {
                "llm_provider": "openai_realtime",
                "llm_model": "gpt-realtime",
                "stt_provider": "openai_transcribe",
            },
        ),
        ("convai", {"llm_provider": "elevenlabs_convai"}),
        (
            "pipeline",
            {
                "stt_provider": "deepgram", "stt_model": "nova-3", "llm_provider": "openai",
                "llm_model": OpenAILLM().model, "tts_provider": "elevenlabs", "tts_model": ElevenLabsTTS().model,
            },
        ),
    ],
)  # fmt: skip
def test_the_call_says_which_providers_it_had(carrier: str, kind: str, wanted: dict[str, str]) -> None:
    agent = {"engine": OpenAIRealtime(model="gpt-realtime")} if kind == "openai" else {}
    world = a_call(carrier, kind, agent=agent)
    world.run(40)
    metrics = figures(world)
    assert {key: getattr(metrics, key) for key in wanted} == wanted
    assert metrics.provider_mode
    world.over()


@both
def test_a_pipeline_has_a_price_for_every_stage(carrier: str) -> None:
    world = a_call(carrier, "pipeline")
    world.run(40)
    cost = figures(world).cost
    assert cost.unknown == ()
    assert micro(cost.stt) > 0
    assert micro(cost.llm) > 0
    characters = len(HELLO) + sum(map(len, TEXTS))
    assert micro(cost.tts) == pytest.approx(characters * 50, abs=2)  # eleven_flash_v2_5: 5 cents for a thousand
    world.over()


@both
def test_a_realtime_call_has_a_price_for_its_words_too(carrier: str) -> None:
    """The service reports tokens for writing down what the caller said; its price is for a minute."""
    world = a_call(carrier, "openai", agent={"engine": OpenAIRealtime(model="gpt-realtime")})
    world.run(40)
    cost = figures(world).cost
    assert cost.unknown == ()
    said_ms = 1_000 + 600 + 1_400
    least, most = said_ms * 3_000 / 60_000, (said_ms + 3 * 1_500) * 3_000 / 60_000  # 0.003 for a minute, in millionths
    assert least <= micro(cost.stt) <= most
    world.over()


@both
def test_a_model_nobody_knows_the_price_of_is_named(carrier: str) -> None:
    world = a_call(carrier, "pipeline", agent={"llm": OpenAILLM(model="gpt-from-tomorrow")})
    world.run(40)
    cost = figures(world).cost
    assert cost.llm is None
    assert cost.unknown == ("openai/gpt-from-tomorrow",)
    assert cost.total > 0  # what is known
    world.over()


@both
def test_prices_can_be_overridden(carrier: str) -> None:
    prices = {
        "openai": {
            "models": {"gpt-from-tomorrow": {"text_input_per_token": "1e-4", "text_output_per_token": "1e-3"}},
        },
        carrier: {"inbound": "0.5"},
    }
    table = resolve_pricing(prices)
    world = a_call(
        carrier,
        "pipeline",
        agent={"llm": OpenAILLM(model="gpt-from-tomorrow")},
        config={"prices": table},
    )
    world.run(40)
    cost = figures(world).cost
    assert cost.unknown == ()
    assert micro(cost.llm) == 3 * (120 * 100 + 20 * 1000)  # what the simulated model reports, three times
    assert cost.telephony == 0.5
    world.over()


@both
@every
def test_an_interrupted_turn_says_how_soon_the_agent_fell_silent(carrier: str, kind: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(300), talk(900), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, kind, acts)
    world.run(30)
    first = turns_of(world)[0]
    assert first.interrupted
    assert 20 <= first.latency.bargein_ms <= 700
    assert world.told(CallEnded)
    world.over()


@both
def test_a_call_without_a_word_costs_its_minute(carrier: str) -> None:
    world = a_call(carrier, "pipeline", (ListenUntilQuiet(), HangUp()))
    world.run(20)
    metrics = figures(world)
    assert metrics.turns == ()
    assert micro(metrics.cost.telephony) > 0
    assert isinstance(metrics.cost_outside_turns, CostBreakdown)
    assert micro(metrics.cost_outside_turns.tts) == pytest.approx(len(HELLO) * 50, abs=1)
    world.over()
