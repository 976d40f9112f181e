"""Whole calls with a pipeline: a recogniser, a model or the application's own reply, and a voice, all simulated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core import (
    Agent,
    AnthropicLLM,
    DeepgramSTT,
    ElevenLabsTTS,
    ElevenLabsWebSocketTTS,
    Guardrail,
    Interruptions,
    OpenAILLM,
    OpenAITranscribeSTT,
    OpenAITTS,
    PipelineHooks,
    Tool,
)
from patter_core.events import BargedIn, CallEnded, SpeechFailed, ToolRan
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Does
from patter_core.simulator.deepgram_peer import DeepgramFaults
from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
from patter_core.simulator.events import SimJoined, SimTransferred
from patter_core.simulator.llm_peer import LlmAnswer, ToolUse
from patter_core.simulator.network import After
from patter_core.simulator.provider_peer import PeerAnswer, PeerBody, PeerDone, PeerOrder
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import Routes
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Press, Wait, WaitForAgent
from tests.core.carriers_world import DESK, THEM, both, person, pitch, pitch_ms, talk
from tests.core.provider_kit import ProviderWorld, spoken, voiced_frames

pytestmark = pytest.mark.usefixtures(spoken.__name__)

EAR, CHAT, VOICE = "/v1/listen", "/v1/chat/completions", "/v1/text-to-speech"
HELLO = "Hello, this is the agent."
NOON = "It is noon."
LONG = "Well, that is a long story which I shall tell you from the very beginning to its happy end, if I may."
SORRY = "Sorry, something went wrong."


def says(*texts: str, **more: Any) -> LlmAnswer:
    """An answer in words, as models stream them."""
    return LlmAnswer(text=texts if len(texts) > 1 else tuple(word + " " for word in texts[0].split()), **more)


def uses(name: str, arguments: Any = None, *texts: str) -> LlmAnswer:
    """An answer that calls a tool, perhaps after a word."""
    return LlmAnswer(text=texts, tools=(ToolUse("t1", name, msgspec.json.encode(arguments or {}).decode()),))


def a_call(
    carrier: str,
    *answers: LlmAnswer,
    heard: tuple[str, ...] = ("What time is it?", "And now?", "Thanks."),
    acts: tuple[Act, ...] = (),
    script: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    **options: Any,
) -> ProviderWorld:
    """A call to Deepgram, OpenAI's chat completions and ElevenLabs' voice, unless ``agent`` says otherwise."""
    made = {
        "deepgram": heard,
        "deepgram_key": "deepgram-key",
        "openai": heard,
        "openai_key": "openai-key",
        "chat": answers or (says(NOON),),
        "chat_key": "openai-key",
        "anthropic": answers or (says(NOON),),
        "anthropic_key": "anthropic-key",
        "voice": (SpeechPlan(),),
        "voice_socket": (SpeechPlan(),),
        **(script or {}),
    }
    more = options.pop("more", None)
    given: dict[str, Any] = {
        "stt": DeepgramSTT(),
        "llm": None if "on_message" in options.get("on", {}) else OpenAILLM(),
        "tts": ElevenLabsTTS(),
        "first_message": HELLO,
        "fallback_message": SORRY,
        **(agent or {}),
    }
    return ProviderWorld(
        Agent(**given),
        person(*acts),
        routes=lambda: standard(ProviderScript(**made), more() if more else None),
        carrier=carrier,
        **options,
    )


def asked(world: ProviderWorld) -> list[list[dict[str, Any]]]:
    """The messages of each question to the model."""
    return [fetch.body["messages"] for fetch in world.fetches(CHAT)]


TALKS = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), talk(600), ListenUntilQuiet(), HangUp())
ASKS = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(1_500), HangUp())


@both
@pytest.mark.parametrize(
    "agent",
    [
        {},
        {"llm": AnthropicLLM(), "tts": ElevenLabsWebSocketTTS()},
        {"stt": OpenAITranscribeSTT(), "tts": OpenAITTS()},
    ],
    ids=["deepgram, openai, elevenlabs", "anthropic, a voice's socket", "all of openai's"],
)
def test_a_call_from_the_webhook_to_the_hang_up(carrier: str, agent: dict[str, Any]) -> None:
    world = a_call(carrier, says(NOON), says("Still noon."), acts=TALKS, agent=agent, provider_latency_us=5_000)
    world.run(25)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    assert world.whole("Still noon.")
    assert world.said("user") == ["What time is it?", "And now?"]
    assert world.said() == [HELLO, NOON, "Still noon."]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert {how for how, _ in world.outcomes()} <= {"answered", "closed"}
    assert world.told(SpeechFailed) == []
    world.over()


@both
def test_the_model_is_told_what_was_said(carrier: str) -> None:
    world = a_call(carrier, says(NOON), says("Still noon."), acts=TALKS, agent={"system_prompt": "Be kind."})
    world.run(25)
    first, second = asked(world)
    assert [(one["role"], one["content"]) for one in first] == [
        ("system", "Be kind."), ("assistant", HELLO), ("user", "What time is it?"),
    ]  # fmt: skip
    assert [(one["role"], one["content"].strip()) for one in second[3:]] == [("assistant", NOON), ("user", "And now?")]
    world.over()


# --- interruptions ---------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("after_ms", [600, 4_000], ids=["while it is being made", "long after it was made"])
def test_the_caller_barges_in_and_the_model_learns_what_was_heard(carrier: str, after_ms: int) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(after_ms), talk(900), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, says(LONG), says(NOON), acts=acts)
    world.run(25)
    (barged,) = world.told(BargedIn)
    heard = world.ms_of(LONG)
    assert after_ms <= heard <= after_ms + 600
    assert abs(barged.heard_ms - heard) <= 40
    assert world.whole(NOON)
    (line,) = [text for text in world.said() if LONG.startswith(text)]
    assert 60 * len(line) <= heard + 60  # better a word too few than one that was never heard
    assert len(line) > (60 if after_ms == 4_000 else 4)
    last = asked(world)[-1]
    assert any(line in message["content"] and LONG not in message["content"] for message in last)
    world.over()


@both
def test_a_cough_is_no_interruption_where_words_are_wanted(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_000), talk(400), Wait(9_000), HangUp())
    agent = {"interruptions": Interruptions(speaking_words=2)}
    world = a_call(carrier, says(LONG), heard=("What time is it?", ""), acts=acts, agent=agent)
    world.run(25)
    assert world.told(BargedIn) == []
    assert world.whole(LONG)
    world.over()


@both
def test_a_false_interruption_is_taken_back(carrier: str) -> None:
    """A noise long enough to stop the agent, in which nothing was recognised: it says the rest."""
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_500), talk(700), Wait(14_000), HangUp())
    agent = {"interruptions": Interruptions(resume_s=1.0)}
    text = LONG + " And this is another sentence."
    world = a_call(carrier, says(text), heard=("What time is it?", ""), acts=acts, agent=agent)
    world.run(30)
    assert len(world.told(BargedIn)) == 1
    assert world.whole("And this is another sentence.")
    world.over()


@both
def test_the_first_message_is_protected(carrier: str) -> None:
    acts = (WaitForAgent(200), talk(900), Wait(6_000), HangUp())
    agent = {"interruptions": Interruptions(first_message=Interruptions.PROTECT)}
    world = a_call(carrier, says(NOON), acts=acts, agent=agent)
    world.run(14)
    assert world.told(BargedIn) == []
    assert world.whole(HELLO)
    assert world.whole(NOON)
    world.over()


@both
def test_no_tail_of_an_interrupted_answer_is_heard_in_the_next(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_000), talk(900), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, says(LONG), says(NOON), acts=acts, agent={"tts": OpenAITTS()})
    world.run(20)
    ear = world.ear()
    frames = voiced_frames(ear)
    first = next(n for n in range(max(frames), 0, -1) if n - 1 not in frames)
    assert pitch_ms(ear[first * 160 :], pitch(LONG)) == 0
    assert pitch_ms(ear[first * 160 :], pitch(NOON)) >= 60 * len(NOON) - 60
    world.over()


@both
@pytest.mark.parametrize("cut", [1_333, 4_801])
def test_a_voice_whose_pieces_end_in_the_middle_of_samples(carrier: str, cut: int) -> None:
    voice = ElevenLabsTTS(output_format="pcm_16000")
    world = a_call(carrier, says(NOON), acts=ASKS, agent={"tts": voice}, script={"voice": (SpeechPlan(cut=cut),)})
    world.run(20)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    world.over()


# --- keys ------------------------------------------------------------------------------------------------------------


@both
def test_keys_are_a_turn_of_their_own(carrier: str) -> None:
    acts = (ListenUntilQuiet(), Press("4"), Press("2"), Wait(4_000), HangUp())
    world = a_call(carrier, says("Forty-two it is."), acts=acts)
    world.run(15)
    assert world.said("user") == ["[DTMF: 42]"]
    assert asked(world)[0][-1]["content"] == "[DTMF: 42]"
    assert world.whole("Forty-two it is.")
    world.over()


# --- tools -----------------------------------------------------------------------------------------------------------


@both
def test_a_word_before_a_slow_tool_is_not_held_back(carrier: str) -> None:
    def slow(arguments: dict[str, Any]) -> After:
        return After(5_000_000, {"table": arguments["for"]})

    wait = "I am still looking."
    tool = Tool("book", parameters={"properties": {"for": {"type": "integer"}}}, handler=slow, waiting_message=wait)
    acts = (ListenUntilQuiet(), talk(1_000), Wait(12_000), HangUp())
    world = a_call(
        carrier, uses("book", {"for": 2}, "Let me see."), says("Table two."), acts=acts, agent={"tools": [tool]}
    )
    world.run(20)
    assert [ran.ok for ran in world.told(ToolRan)] == [True]
    assert world.whole("Let me see.")
    assert world.whole("Table two.")
    assert asked(world)[1][-1]["role"] == "tool"
    frames = voiced_frames(world.ear())
    (asked_at,) = [at for at, _, args in world.server.invoked if args and args[0] == {"for": 2}]
    early = [n for n in frames if asked_at <= n * 20_000 <= asked_at + 2_000_000]
    assert early, "it was heard before the tool was done"
    world.over()


@both
def test_a_tool_is_given_up_when_the_caller_barges_in(carrier: str) -> None:
    def slow(arguments: dict[str, Any]) -> After:
        return After(30_000_000, "done")

    tool = Tool("slow", handler=slow, timeout_s=60, cancel_on_barge_in=True)
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_500), talk(900), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, uses("slow", {}, LONG), says(NOON), acts=acts, agent={"tools": [tool]})
    world.run(25)
    assert [ran.ok for ran in world.told(ToolRan)] == [False]
    assert world.whole(NOON)
    world.over()


@both
def test_the_goodbye_is_heard_whole_before_the_model_hangs_up(carrier: str) -> None:
    bye = "Goodbye then, and do come back whenever you like."
    acts = (ListenUntilQuiet(), talk(1_000), Wait(60_000))
    world = a_call(carrier, uses("end_call", {"reason": "done"}, bye), acts=acts)
    world.until(lambda: world.told(CallEnded), 30)
    assert world.reason() is EndReason.AGENT_HUNG_UP
    assert world.whole(bye)
    world.over()


@both
def test_a_model_transfers_as_soon_as_it_was_said(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), Wait(60_000))
    world = a_call(
        carrier,
        uses("transfer_call", {"number": DESK}, "I put you through."),
        acts=acts,
        agent={"transfer_allow": (DESK,)},
        callees={DESK: Callee(talk_ms=3_000)},
    )
    world.until(lambda: world.sim_told(SimJoined) or world.sim_told(SimTransferred), 60)
    frames = voiced_frames(world.ear())
    assert world.net.now / 1e6 < (max(frames) + 1) * 0.02 + 5.0  # two seconds of ringing are in it
    world.until(lambda: world.told(CallEnded), 60)
    assert world.whole("I put you through.")
    assert world.reason() is EndReason.TRANSFERRED
    world.over()


@both
def test_nobody_answers_there_and_the_same_call_goes_on(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(9_000, 60_000), talk(800), ListenUntilQuiet(), HangUp())
    world = a_call(
        carrier,
        uses("transfer_call", {"number": DESK}),
        says("Anything else, perhaps?"),
        says(NOON),
        acts=acts,
        agent={"transfer_allow": (DESK,), "transfer_failed_message": "Nobody is there."},
        callees={DESK: Callee(does=Does.BUSY)},
    )
    world.until(lambda: world.told(CallEnded), 120)
    assert world.whole("Nobody is there.")
    assert world.said("user")[-1] == "And now?"
    assert any(message["role"] == "tool" and "busy" in message["content"] for message in asked(world)[-1])
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


# --- guardrails and hooks --------------------------------------------------------------------------------------------


@both
def test_blocked_words_are_never_heard(carrier: str) -> None:
    """A sentence is looked at before it is spoken: nothing of it is heard."""
    bad, good = "You could sue them for a lot of money.", "A friendly word first."
    agent = {"guardrails": [Guardrail("legal", ("sue",), replacement="I may not advise on that.")]}
    world = a_call(carrier, says(good, " ", bad, " Really."), acts=ASKS, agent=agent)
    world.run(20)
    assert world.whole(good)
    assert world.ms_of(bad) == 0
    assert world.whole("I may not advise on that.")
    assert all("sue" not in line for line in world.said())
    assert "sue" not in str([fetch.body for fetch in world.fetches(VOICE)])
    world.over()


@both
def test_hooks_see_and_change_what_passes(carrier: str) -> None:
    hooks = PipelineHooks(
        after_transcribe=lambda text, context: text.replace("time", "hour"),
        after_llm=lambda text, context: text.replace("noon", "midday"),
    )
    world = a_call(carrier, says(NOON), acts=ASKS, agent={"hooks": hooks})
    world.run(20)
    assert world.said("user") == ["What hour is it?"]
    assert world.whole("It is midday.")
    world.over()


# --- an application's own replies ------------------------------------------------------------------------------------


class Refusing:
    """An application's server that has a bad day."""

    deadline: int | None = None

    def asked(self, now: int, method: str, target: str, headers: dict[str, str], body: bytes) -> list[PeerOrder]:
        return [PeerAnswer(500, (("Content-Type", "text/plain"),)), PeerBody(b"oh no"), PeerDone()]

    def tick(self, now: int) -> list[PeerOrder]:
        return []

    def closed(self, now: int) -> None:
        pass


def raising(message: dict[str, Any]) -> str:
    raise RuntimeError("the application is broken")


@both
@pytest.mark.parametrize(
    "reply",
    [raising, "https://hooks.example/broken", "https://nobody.example/reply"],
    ids=["a function that raises", "a URL that fails", "a URL nobody answers at"],
)
def test_an_application_that_fails_is_apologised_for(carrier: str, reply: Any) -> None:
    world = a_call(
        carrier,
        acts=(ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(2_000), HangUp()),
        on={"on_message": reply},
        more=lambda: Routes(fetches={"/broken": lambda number: Refusing()}),
    )
    world.run(60)
    assert world.whole(SORRY)
    assert [failed.stage for failed in world.told(SpeechFailed)][:1] == ["reply"]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
@pytest.mark.parametrize("url", ["https://hooks.example/webhook", "wss://hooks.example/webhook"])
def test_an_application_answers_from_its_own_server(carrier: str, url: str) -> None:
    def webhook(payload: dict[str, Any]) -> list[str]:
        return ["You said: ", f"{payload['text']}"]

    world = a_call(carrier, acts=ASKS, on={"on_message": url}, script={"webhook": webhook})
    world.run(20)
    assert world.whole("You said: What time is it?")
    world.over()


# --- links -----------------------------------------------------------------------------------------------------------


@both
def test_a_recogniser_that_vanishes_loses_nothing(carrier: str) -> None:
    """Audio that was not recognised yet is sent again on the new link."""
    acts = (ListenUntilQuiet(), talk(3_000), ListenUntilQuiet(), HangUp())
    faults = (DeepgramFaults(drop_at_s=3.5),)
    world = a_call(carrier, says(NOON), acts=acts, script={"deepgram_faults": faults})
    world.run(30)
    assert len(world.links(EAR)) == 2
    assert world.said("user") == ["What time is it?"]
    assert world.whole(NOON)
    world.over()


@both
def test_it_is_dialled_with_the_webhook_and_a_call_never_answered_leaves_nothing(carrier: str) -> None:
    world = a_call(carrier, acts=(Wait(2_000), HangUp()), agent={"tts": ElevenLabsWebSocketTTS()})
    assert world.post(world.offer(world.new_id(7))).status == 200
    world.run(60)
    assert world.provider_board.open == 0
    world.over()


@both
def test_what_on_call_start_returns_counts(carrier: str) -> None:
    def start(data: dict[str, Any]) -> dict[str, Any]:
        return {"system_prompt": "Speak like a pirate.", "first_message": "Ahoy!"}

    world = a_call(carrier, says(NOON), acts=ASKS, on={"on_call_start": start})
    world.run(20)
    assert world.whole("Ahoy!")
    assert world.ms_of(HELLO) == 0
    assert asked(world)[0][0]["content"] == "Speak like a pirate."
    world.over()


@both
def test_the_first_message_waits_until_it_is_known_who_answered(carrier: str) -> None:
    callee = Callee(acts=(Wait(8_000), HangUp()), verdict_ms=2_500)
    world = a_call(carrier, acts=(Wait(100), HangUp()), callee=callee)
    world.run(3)
    world.call(THEM, machine_detection=True)
    world.run(20)
    leg = world.leg_to(THEM)
    assert voiced_frames(world.ear(leg.id))[0] * 20 >= 2_400
    assert world.whole(HELLO, leg.id)
    world.over()


@both
def test_nothing_is_left_of_a_call_when_the_server_stops(carrier: str) -> None:
    world = a_call(
        carrier,
        says(LONG),
        acts=(ListenUntilQuiet(), talk(1_000), Wait(600_000)),
        agent={"tts": ElevenLabsWebSocketTTS()},
    )
    world.run(5)
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 60)
    assert world.net.now - began < 20_000_000
    assert {outcome for outcome in world.outcomes() if outcome[0] != "answered"} == {("closed", 1000)}
    assert world.reason() is EndReason.SHUTDOWN
    world.over()
