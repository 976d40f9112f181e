"""Whole calls with an ElevenLabs agent, simulated: from the webhook to the hang-up, on every carrier."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core import Agent, ElevenLabsConvAI, Interruptions, Patience, Tool
from patter_core.events import BargedIn, CallEnded, ProviderSwitched, ToolRan
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Does
from patter_core.simulator.elevenlabs_peer import ConvAIPlan, ConvAITool
from patter_core.simulator.network import After
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Press, Wait, WaitForAgent
from tests.core.carriers_world import DESK, THEM, both, person, talk
from tests.core.provider_kit import ProviderWorld, spoken, voiced_frames

pytestmark = pytest.mark.usefixtures(spoken.__name__)

ROUTE = "/v1/convai/conversation"
HELLO = "Hello, this is the agent."
NOON = "It is noon."
LONG = "Well, that is a long story which I shall tell you from the very beginning to its happy end, if I may."


def a_call(
    carrier: str, *plans: ConvAIPlan, acts: tuple[Act, ...] = (), agent: Any = None, **options: Any
) -> ProviderWorld:
    """A call to an agent of ElevenLabs'."""
    script = ProviderScript(convai=plans)
    given = {"engine": ElevenLabsConvAI(agent_id="agent_1"), **(agent or {})}
    return ProviderWorld(Agent(**given), person(*acts), routes=lambda: standard(script), carrier=carrier, **options)


def plan(*replies: Any, heard: tuple[str, ...] = ("What time is it?", "And now?"), **more: Any) -> ConvAIPlan:
    return ConvAIPlan(heard=heard, replies=replies, **more)


@both
@pytest.mark.parametrize("format", ["ulaw_8000", "pcm_16000"])
def test_a_call_from_the_webhook_to_the_hang_up(carrier: str, format: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), talk(600), ListenUntilQuiet(), HangUp())
    world = a_call(
        carrier,
        plan(NOON, "Still noon.", output_format=format, input_format=format),
        acts=acts,
        provider_latency_us=7_000,
    )
    world.run(20)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    assert world.whole("Still noon.")
    assert world.said("user") == ["What time is it?", "And now?"]
    assert world.said() == [HELLO, NOON, "Still noon."]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert world.outcomes() == [("closed", 1000)]
    (peer,) = world.links(ROUTE)
    assert peer.pongs
    world.over()


@both
@pytest.mark.parametrize("after_ms", [600, 4_000], ids=["while it is being made", "long after it was made"])
def test_the_caller_barges_in(carrier: str, after_ms: int) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(after_ms), talk(900), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, plan(LONG, NOON), acts=acts)
    world.run(25)
    (barged,) = world.told(BargedIn)
    heard = world.ms_of(LONG)
    assert after_ms <= heard <= after_ms + 700
    assert abs(barged.heard_ms - heard) <= 40
    assert LONG not in world.said()
    assert world.whole(NOON)
    world.over()


@both
def test_audio_that_is_cut_in_the_middle_of_samples_is_heard_whole(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    odd = plan(NOON, output_format="pcm_16000", input_format="pcm_16000", odd_cut=3_333)
    world = a_call(carrier, odd, acts=acts)
    world.run(15)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    world.over()


@both
def test_a_client_tool_runs_here_and_is_waited_for_with_patience(carrier: str) -> None:
    def weather(arguments: dict[str, Any]) -> After:
        return After(3_000_000, f"sunny in {arguments['city']}")

    acts = (ListenUntilQuiet(), talk(1_000), Wait(8_000), HangUp())
    tool = Tool("weather", parameters={"properties": {"city": {"type": "string"}}}, handler=weather)
    world = a_call(carrier, plan(ConvAITool("weather", {"city": "Rome"}, "It is")), acts=acts, agent={"tools": [tool]})
    world.run(20)
    assert [ran.ok for ran in world.told(ToolRan)] == [True]
    assert world.said()[-1].startswith("It is")
    assert "sunny in Rome" in world.said()[-1]
    world.over()


@both
def test_a_client_tool_transfers_and_the_caller_comes_back(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(9_000, 60_000), talk(700), ListenUntilQuiet(), HangUp())
    transfer = ConvAITool("transfer_call", {"number": DESK}, "Well:")
    world = a_call(
        carrier,
        plan(transfer, NOON),
        acts=acts,
        agent={"transfer_allow": (DESK,)},
        callees={DESK: Callee(does=Does.BUSY)},
    )
    world.until(lambda: world.told(CallEnded), 120)
    (peer,) = world.links(ROUTE)
    (result,) = [message for message in peer.messages if message["type"] == "client_tool_result"]
    assert "busy" in result["result"]
    assert world.whole(NOON)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
def test_keys_are_told_as_context(carrier: str) -> None:
    acts = (ListenUntilQuiet(), Press("4"), Press("2"), Wait(4_000), HangUp())
    world = a_call(carrier, plan(NOON), acts=acts)
    world.run(12)
    (peer,) = world.links(ROUTE)
    assert "[DTMF: 42]" in str(peer.messages)
    assert world.said("user") == ["[DTMF: 42]"]
    world.over()


@both
def test_a_lost_conversation_begins_again_with_what_was_said(carrier: str) -> None:
    """It cannot be resumed: the new one is told the past, and does not greet again."""
    first = plan(NOON, drop_after_us=6_000_000)
    second = plan("So be it.", heard=("And now?",))
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), Wait(4_000), talk(1_000), ListenUntilQuiet(), HangUp())
    engine = ElevenLabsConvAI(agent_id="agent_1", allow_first_message_override=True)
    world = a_call(carrier, first, second, acts=acts, agent={"engine": engine})
    world.run(30)
    _, new = world.links(ROUTE)
    assert NOON in str(new.messages)
    assert "What time is it?" in str(new.messages)
    assert world.said().count(HELLO) == 1
    assert world.whole("So be it.")
    assert len(world.told(ProviderSwitched)) == 1
    world.over()


@both
def test_the_agent_hangs_up_at_its_provider(carrier: str) -> None:
    bye = "Goodbye, and thank you for calling."
    acts = (ListenUntilQuiet(), talk(1_000), Wait(60_000))
    world = a_call(carrier, plan(bye, close_after_reply=0), acts=acts)
    world.until(lambda: world.told(CallEnded), 30)
    assert world.reason() is EndReason.AGENT_HUNG_UP
    assert world.whole(bye)
    world.over()


@both
def test_what_on_call_start_returns_counts(carrier: str) -> None:
    def start(data: dict[str, Any]) -> dict[str, Any]:
        return {"system_prompt": "Speak like a pirate.", "first_message": "Ahoy!"}

    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, plan(NOON), acts=acts, on={"on_call_start": start})
    world.run(15)
    assert world.whole("Ahoy!")
    assert world.ms_of(HELLO) == 0
    assert world.whole(NOON)
    last = world.links(ROUTE)[-1]
    assert last.initiation["conversation_config_override"]["agent"]["prompt"] == {"prompt": "Speak like a pirate."}
    world.over()


@both
def test_a_refused_override_ends_the_call_with_words(carrier: str) -> None:
    world = a_call(carrier, plan(NOON, overrides=()), acts=(Wait(30_000),), agent={"system_prompt": "Be a pirate."})
    world.run(20)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert len(world.done().said_by_carrier) == 1
    world.over()


@both
def test_a_key_that_is_not_good_ends_the_call_with_words(carrier: str) -> None:
    engine = ElevenLabsConvAI(agent_id="agent_1", api_key="no-good-key")
    world = a_call(carrier, plan(NOON), acts=(Wait(30_000),), agent={"engine": engine})
    world.run(20)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert len(world.done().said_by_carrier) == 1
    assert "no-good-key" not in str(world.server.events)
    world.over()


@both
def test_a_call_never_answered_leaves_no_conversation(carrier: str) -> None:
    world = a_call(carrier, plan(NOON), acts=(Wait(2_000), HangUp()))
    assert world.post(world.offer(world.new_id(7))).status == 200
    world.run(60)
    assert len(world.outcomes()) == len(world.links(ROUTE)) == 2
    world.over()


@both
def test_the_first_message_waits_until_it_is_known_who_answered(carrier: str) -> None:
    """This agent greets as soon as its conversation begins: so that does not begin before."""
    callee = Callee(acts=(Wait(8_000), HangUp()), verdict_ms=2_500)
    world = a_call(carrier, plan(NOON), callee=callee)
    world.run(3)
    world.call(THEM, machine_detection=True)
    world.run(20)
    leg = world.leg_to(THEM)
    assert voiced_frames(world.ear(leg.id))[0] * 20 >= 2_400
    assert world.whole(HELLO, leg.id)
    world.over()


@both
def test_a_caller_who_is_silent_is_taken_leave_of(carrier: str) -> None:
    """It cannot be told to say a line: the call still ends."""
    world = a_call(carrier, plan(NOON), acts=(Wait(120_000),), agent={"patience": Patience(idle_s=5, idle_tries=1)})
    world.until(lambda: world.told(CallEnded), 60)
    assert world.reason() is EndReason.IDLE
    world.over()


@both
def test_nothing_is_left_of_a_call_when_the_server_stops(carrier: str) -> None:
    world = a_call(carrier, plan(LONG), acts=(ListenUntilQuiet(), talk(1_000), Wait(600_000)))
    world.run(5)
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 60)
    assert world.net.now - began < 20_000_000
    assert world.outcomes() == [("closed", 1000)]
    assert world.reason() is EndReason.SHUTDOWN
    world.over()


@both
def test_the_first_message_is_protected(carrier: str) -> None:
    """Who may interrupt is the provider's own decision; what we have of its speech is played to the end."""
    acts = (WaitForAgent(200), talk(250), Wait(6_000), HangUp())
    agent = {"interruptions": Interruptions(first_message=Interruptions.PROTECT)}
    world = a_call(carrier, plan(NOON), acts=acts, agent=agent)
    world.run(12)
    assert world.told(BargedIn) == []
    assert world.whole(HELLO)
    world.over()
