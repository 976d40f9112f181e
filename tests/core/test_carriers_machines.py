"""Machine detection, the same on every carrier: who answered is known, and a machine hears its message and no more."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.events import MachineAnswered
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Does, Misbehaviour
from patter_core.simulator.events import SimSaid
from patter_core.simulator.orders import HangUpCall
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Wait, WaitForAgent

from .carriers_world import ECHO, THEM, CarriersWorld, audible, both, hears, pitch, pitch_ms, speaker, talk

FIRST = "Hello, am I speaking to Ada, whom I have to tell something of great importance?"
MESSAGE = "Please call us back tomorrow."


def detecting(world: CarriersWorld, **args: Any) -> Any:
    """A call with machine detection; its result, and all is quiet."""
    ask = world.call(**{"wait": True, "machine_detection": True, "first_message": FIRST, **args})
    world.until(lambda: world.answered(ask))
    world.run(2)
    return world.answer(ask)


@both
@pytest.mark.parametrize("upset", [None, Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS])
def test_a_machine_hears_the_message_once_it_listens_and_then_the_line_is_free(
    carrier: str, upset: Misbehaviour | None
) -> None:
    world = CarriersWorld(
        carrier,
        speaker(),
        callee=Callee(does=Does.MACHINE, greeting_ms=4_000),
        misbehaves=frozenset({upset} if upset else ()),
    )
    found = detecting(world, voicemail_message=MESSAGE)
    assert (found.outcome, found.reason) == ("voicemail", EndReason.VOICEMAIL_LEFT)
    assert found.machine_detection.classification == "machine"
    assert found.machine_detection.carrier == carrier
    done = world.done(found.call_id)
    assert hears(done.heard, MESSAGE)
    assert pitch_ms(done.heard[: 8 * 4_400], pitch(MESSAGE)) == 0  # it talks, then it listens
    assert done.hung_up_by_rest
    assert len(world.rests(HangUpCall)) == 1
    (end,) = world.calls["on_call_end"]
    assert (end["outcome"], end["reason"]) == ("voicemail", "voicemail_left")
    (told,) = world.calls["on_machine_detection"]
    assert (told.call_id, told.classification) == (found.call_id, "machine")
    assert world.said()[-1] == MESSAGE
    world.over()


@both
def test_the_servers_message_is_left_where_the_call_brings_none(carrier: str) -> None:
    world = CarriersWorld(carrier, speaker(), callee=Callee(does=Does.MACHINE), config={"voicemail_message": MESSAGE})
    found = detecting(world)
    assert found.outcome == "voicemail"
    assert hears(world.done(found.call_id).heard, MESSAGE)
    world.over()


@both
def test_a_machine_without_a_message_is_hung_up_on(carrier: str) -> None:
    world = CarriersWorld(carrier, speaker(), callee=Callee(does=Does.MACHINE, greeting_ms=4_000))
    found = detecting(world)
    assert (found.outcome, found.reason) == ("voicemail", EndReason.MACHINE_ANSWERED)
    assert world.done(found.call_id).hung_up_by_rest
    world.over()


@both
def test_an_agent_without_a_voice_leaves_the_message_in_the_carriers(carrier: str) -> None:
    world = CarriersWorld(carrier, ECHO, callee=Callee(does=Does.MACHINE, greeting_ms=2_000))
    found = detecting(world, first_message="", voicemail_message=MESSAGE)
    assert found.outcome == "voicemail"
    assert [e.text for e in world.sim_told(SimSaid)] == [MESSAGE]
    assert world.done(found.call_id).said_by_carrier == (MESSAGE,)
    world.over()


@both
def test_a_person_hears_the_first_message_when_they_are_known_to_be_one(carrier: str) -> None:
    acts: tuple[Act, ...] = (ListenUntilQuiet(), HangUp())
    world = CarriersWorld(carrier, speaker(), callee=Callee(verdict_ms=1_500, acts=acts))
    found = detecting(world, voicemail_message=MESSAGE)
    assert (found.outcome, found.machine_detection.classification) == ("answered", "human")
    heard = world.done(found.call_id).heard
    assert audible(heard[: 8 * 1_400]) == 0
    assert hears(heard, FIRST)
    assert not hears(heard, MESSAGE)
    world.over()


@both
def test_a_person_who_says_hello_is_answered_without_waiting(carrier: str) -> None:
    acts: tuple[Act, ...] = (talk(400), WaitForAgent(20), ListenUntilQuiet(), HangUp())
    world = CarriersWorld(carrier, speaker(), callee=Callee(verdict_ms=3_900, acts=acts))
    found = detecting(world)
    assert found.outcome == "answered"
    assert audible(world.done(found.call_id).heard[: 8 * 2_500]) > 0
    world.over()


@both
def test_without_a_verdict_the_first_message_waits_four_seconds(carrier: str) -> None:
    """Decision of the project: the human verdict, the callee's first speech, or four seconds; whichever is first."""
    acts: tuple[Act, ...] = (Wait(3_000), ListenUntilQuiet(), HangUp())
    world = CarriersWorld(carrier, speaker(), callee=Callee(verdict_ms=60_000, acts=acts))
    found = detecting(world)
    assert found.outcome == "answered"
    assert found.machine_detection is None
    heard = world.done(found.call_id).heard
    assert audible(heard[: 8 * 3_800]) == 0
    assert hears(heard, FIRST)
    assert world.told(MachineAnswered) == []
    world.over()


@both
def test_a_fax_is_told_apart_where_the_carrier_can(carrier: str) -> None:
    """Twilio says fax; Telnyx's detection (other than its premium one) is not sure, so it is treated as a person."""
    world = CarriersWorld(carrier, speaker(), callee=Callee(does=Does.FAX, most_ms=15_000))
    found = detecting(world)
    if carrier == "twilio":
        assert (found.outcome, found.reason) == ("failed", EndReason.FAX_ANSWERED)
    else:
        assert found.outcome == "answered"
        assert found.machine_detection.classification == "unknown"
    world.over()


@both
def test_a_greeting_without_a_beep_ends_too(carrier: str) -> None:
    world = CarriersWorld(carrier, speaker(), callee=Callee(does=Does.MACHINE, greeting_ms=3_000, beep=False))
    found = detecting(world, voicemail_message=MESSAGE)
    assert found.outcome == "voicemail"
    assert hears(world.done(found.call_id).heard, MESSAGE)
    world.over()


@both
def test_a_machine_that_hangs_up_during_the_message(carrier: str) -> None:
    long = " ".join(["Please call us back tomorrow, it is important."] * 6)
    callee = Callee(does=Does.MACHINE, greeting_ms=2_000, acts=(Wait(2_000), HangUp()))
    world = CarriersWorld(carrier, speaker(), callee=callee)
    found = detecting(world, voicemail_message=long)
    assert found.machine_detection.classification == "machine"
    assert len(world.calls["on_call_end"]) == 1
    assert world.calls["on_call_end"][0]["callee"] == THEM
    assert found.reason is EndReason.CALLER_HUNG_UP
    world.over()
