"""Bad days, the same on every carrier: voices that fail, streams that break, a REST API that does not answer."""

from __future__ import annotations

import pytest

from patter_core.events import HangUpFailed, SpeechFailed, StreamDetached
from patter_core.reasons import EndReason
from patter_core.settings import CallSettings
from patter_core.simulator.callee import Callee, Misbehaviour, RestTrouble
from patter_core.simulator.events import SimSaid
from patter_core.simulator.orders import HangUpCall, Run, Speak
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import (
    ECHO,
    THEM,
    CarriersWorld,
    Mouth,
    audible,
    both,
    hears,
    person,
    speaker,
    talk,
)

SORRY = "Something is wrong on our side, goodbye."


def voiceless(text: str = "") -> object:
    """An agent whose voice fails at its first word, or at that text."""
    return speaker(
        "anybody?", first_message="Good morning.", fallback_message=SORRY, mouth=Mouth(broken=text or "Good")
    )


# --- last words ------------------------------------------------------------------------------------------------------


@both
def test_when_the_agents_voice_fails_the_carriers_has_the_last_word(carrier: str) -> None:
    world = CarriersWorld(carrier, voiceless(), person())
    world.run(10)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert world.done().said_by_carrier == (SORRY,)
    assert world.done().hung_up_by_rest
    assert [e.stage for e in world.told(SpeechFailed)] == ["tts"]
    (end,) = world.calls["on_call_end"]
    assert end["reason"] == "engine_failed"
    (said,) = [at for at, e in world.carrier.events if isinstance(e, SimSaid)]
    assert world.leg().ended_at - said > 1_000_000, "it was heard before the line was cut"
    world.over()


@both
def test_in_the_middle_of_a_call_too(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(800), Wait(20_000))
    world = CarriersWorld(carrier, voiceless("You said"), person(*acts))
    world.run(15)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert hears(world.done().heard, "Good morning.")
    assert world.done().said_by_carrier == (SORRY,)
    world.over()


@both
def test_on_a_dialled_call_too(carrier: str) -> None:
    world = CarriersWorld(carrier, voiceless(), callee=Callee(acts=(Wait(30_000),)))
    ask = world.call(wait=True)
    world.run(20)
    assert world.answer(ask).reason is EndReason.ENGINE_FAILED
    assert world.done(world.leg_to(THEM).id).said_by_carrier == (SORRY,)
    world.over()


@both
def test_a_carrier_that_will_not_speak_for_us_at_least_frees_the_line(carrier: str) -> None:
    order = "Run" if carrier == "twilio" else "Speak"
    world = CarriersWorld(
        carrier, voiceless(), person(), rest_trouble=(RestTrouble(status=400, on=order, code="21211"),)
    )
    world.run(10)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert world.done().said_by_carrier == ()
    assert len(world.rests(HangUpCall)) == 1
    world.over()


@both
def test_the_caller_does_not_wait_for_the_last_words(carrier: str) -> None:
    world = CarriersWorld(carrier, voiceless(), person(most_ms=1_000))
    world.run(10)
    assert len(world.calls["on_call_end"]) == 1
    assert len(world.rests(Run, Speak)) == 1
    world.over()


@both
def test_the_server_stops_during_the_last_words(carrier: str) -> None:
    world = CarriersWorld(carrier, voiceless(), person())
    world.until(lambda: world.sim_told(SimSaid))
    world.stop(25)
    assert world.server.exit_code == 0
    world.over()


# --- streams ---------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "upset",
    [
        Misbehaviour.LATE_STOP,
        Misbehaviour.NO_STOP,
        Misbehaviour.LOST_MARKS,
        Misbehaviour.SWAPPED_MEDIA,
        Misbehaviour.DOUBLED_MEDIA,
        Misbehaviour.UNTOLD_HANGUP,
    ],
)
def test_a_call_with_a_carrier_on_a_bad_day(carrier: str, upset: Misbehaviour) -> None:
    hello = "Good morning, how are you?"
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = CarriersWorld(
        carrier,
        speaker("fine", first_message=hello),
        person(*acts),
        misbehaves=frozenset({upset}),
        status_url=f"https://agent.example.com/webhooks/{carrier}/status" if carrier == "twilio" else "",
    )
    world.run(20)
    assert hears(world.leg().handset.heard or world.done().heard, hello)
    assert [m["text"] for m in world.calls["on_message"]] == ["fine"]
    if upset is not Misbehaviour.NO_STOP:
        assert world.reason() is EndReason.CALLER_HUNG_UP
    world.run(70)
    assert len(world.calls["on_call_end"]) == 1
    assert world.board.calls == 0
    world.over()


@both
def test_a_stream_that_breaks_and_does_not_come_back(carrier: str) -> None:
    world = CarriersWorld(carrier, ECHO, person())
    world.run(2)
    (conn,) = [name for name, conn in world.board._conns.items() if conn.call_id]
    world.net.drop(world.server, conn)
    world.run(6)
    assert world.reason() is EndReason.STREAM_LOST
    assert [e.clean for e in world.told(StreamDetached)] == [False]
    assert not world.leg().live
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
def test_a_call_has_its_longest(carrier: str) -> None:
    world = CarriersWorld(carrier, ECHO, person(), call=CallSettings(max_duration_s=5))
    world.run(10)
    assert world.reason() is EndReason.MAX_DURATION
    assert world.done().hung_up_by_rest
    world.over()


# --- REST ------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("status", [429, 500, 503])
def test_hanging_up_is_asked_again_while_that_may_help(carrier: str, status: int) -> None:
    trouble = (RestTrouble(status=status, on="HangUpCall", times=2),)
    world = CarriersWorld(carrier, ECHO, person(), rest_trouble=trouble)
    world.run(1)
    ask = world.ask("end_call", call_id=world.first, force=True)
    world.run(5)
    assert world.answer(ask) is True
    assert len(world.rests(HangUpCall)) == 3
    assert not world.leg().live
    assert world.told(HangUpFailed) == []
    world.over()


@both
@pytest.mark.parametrize("status", [0, 500])
def test_a_hang_up_that_is_done_but_never_confirmed(carrier: str, status: int) -> None:
    """The stream's end, or the carrier's report, says it as well."""
    trouble = (RestTrouble(status=status, on="HangUpCall", done_anyway=True),)
    world = CarriersWorld(carrier, ECHO, person(), rest_trouble=trouble)
    world.run(1)
    ask = world.ask("end_call", call_id=world.first, force=True)
    world.run(5)
    assert world.answer(ask) is True
    assert world.told(HangUpFailed) == []
    assert world.reason() is EndReason.AGENT_HUNG_UP
    world.over()


@both
@pytest.mark.parametrize("status", [0, 400, 401, 500])
def test_a_hang_up_that_never_works_is_told_loudly_and_the_stream_is_closed(carrier: str, status: int) -> None:
    trouble = (RestTrouble(status=status, on="HangUpCall", times=-1, code="10015" if status == 400 else ""),)
    world = CarriersWorld(carrier, ECHO, person(most_ms=20_000), rest_trouble=trouble)
    world.run(1)
    ask = world.ask("end_call", call_id=world.first, force=True)
    world.run(10)
    assert world.answer(ask) is True
    assert len(world.told(HangUpFailed)) == 1
    assert world.board.calls == 0
    assert world.board.media_sockets == 0
    world.run(20)  # on Telnyx the caller stays on the line until they hang up
    world.over()


@both
def test_an_answer_that_the_carrier_refuses_is_no_call(carrier: str) -> None:
    """Telnyx takes a call by REST; Twilio by the webhook's answer, which cannot be refused."""
    world = CarriersWorld(
        carrier, ECHO, person(most_ms=5_000), rest_trouble=(RestTrouble(status=400, on="AnswerCall"),)
    )
    world.run(10)
    if carrier == "telnyx":
        assert world.reason() is EndReason.CARRIER_REFUSED
        assert world.calls["on_call_start"] == world.calls["on_call_end"] == []
    else:
        assert world.reason() is EndReason.CALLER_HUNG_UP
    assert not world.leg().live
    world.over()


@both
@pytest.mark.parametrize("status", [0, 429, 500])
def test_an_answer_that_works_in_the_end(carrier: str, status: int) -> None:
    trouble = (RestTrouble(status=status, on="AnswerCall", done_anyway=status != 429),)
    world = CarriersWorld(carrier, ECHO, person(talk(1_000), Wait(6_000), HangUp()), rest_trouble=trouble)
    world.run(12)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert audible(world.done().heard) >= 900
    world.over()


@both
@pytest.mark.parametrize("ring_ms", [1, 500, 5_000])
def test_a_caller_who_gives_up_before_the_stream_is_there(carrier: str, ring_ms: int) -> None:
    """With a network so slow that the call is over before it is answered."""
    world = CarriersWorld(carrier, ECHO, person(ring_ms=ring_ms), latency_us=400_000)
    world.problems_expected = True
    world.run(60)
    if ring_ms < 1_000:
        assert not world.leg().live
        assert world.calls["on_call_start"] == []
        assert world.board.calls == 0
    world.over()
