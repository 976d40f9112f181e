"""Callers sent to somebody else, the same on every carrier: they talk there, or they come back and are told so.

Cold: the carrier dials and connects. Warm (with a summary): the other side is dialled first and hears what it is about,
then both are joined.
"""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.events import TransferStepped
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Does, Misbehaviour, RestTrouble
from patter_core.simulator.events import SimDialled, SimJoined, SimSaid, SimTransferred
from patter_core.simulator.orders import HangUpCall
from patter_core.simulator.script import HangUp, Wait

from .carriers_world import DESK, HOST, US, CarriersWorld, both, hears, person, speaker, talk

FAILED = "I am sorry, nobody is answering there at the moment."
REFUSED = "I am sorry, I cannot transfer you there."
SUMMARY = "A caller about an invoice."
manners = pytest.mark.parametrize("summary", ["", SUMMARY], ids=["cold", "warm"])


def transferring(
    carrier: str, summary: str, desk: Callee, *, plans: Any = None, agent: Any = None, **options: Any
) -> tuple[CarriersWorld, Any]:
    """A call in which the caller is being sent to the desk; and the ask."""
    world = CarriersWorld(
        carrier,
        agent or speaker("Hello?", first_message="Good morning.", transfer_failed_message=FAILED),
        plans or person(),
        callees={DESK: desk},
        **options,
        # Without status reports Twilio does not tell that a caller hung up who is away.
        status_url=f"https://{HOST}/webhooks/twilio/status" if carrier == "twilio" else "",
    )
    world.run(2)
    return world, world.ask("transfer", call_id=world.first, to=DESK, summary=summary)


def steps(world: CarriersWorld) -> list[str]:
    return [e.step for e in world.told(TransferStepped)]


# --- they talk there -------------------------------------------------------------------------------------------------


@both
@manners
@pytest.mark.parametrize("upset", [None, Misbehaviour.DUPLICATE_WEBHOOKS, Misbehaviour.REORDERED_REPORTS])
def test_the_other_side_answers_and_the_call_ends_as_transferred(
    carrier: str, summary: str, upset: Misbehaviour | None
) -> None:
    world, ask = transferring(
        carrier, summary, Callee(ring_ms=3_000, talk_ms=20_000), misbehaves=frozenset({upset} if upset else ())
    )
    world.until(lambda: world.sim_told(SimJoined) or world.sim_told(SimTransferred))
    world.run(12)  # they talk; a report may come late
    assert world.calls["on_call_end"] == []
    assert world.leg().live
    assert world.leg(world.leg_to(DESK).id).live
    world.run(40)
    assert world.answer(ask) == {"transferred": True, "reason": ""}
    assert world.reason() is EndReason.TRANSFERRED
    (end,) = world.calls["on_call_end"]
    assert end["reason"] == "transferred"
    dialled = [e for e in world.sim_told(SimDialled) if e.to == DESK]
    assert [e.caller for e in dialled] == [US]
    assert "failed" not in steps(world)
    assert [e.text for e in world.sim_told(SimSaid)] == ([summary] if summary else [])
    assert not hears(world.done().heard, FAILED)
    world.over()


@both
def test_warm_the_other_side_hears_the_summary_before_the_caller(carrier: str) -> None:
    world, _ = transferring(carrier, SUMMARY, Callee(ring_ms=3_000, talk_ms=8_000))
    world.run(30)
    (said,) = [at for at, e in world.carrier.events if isinstance(e, SimSaid)]
    (joined,) = [at for at, e in world.carrier.events if isinstance(e, SimJoined)]
    assert said + 1_000_000 < joined
    assert world.done(world.leg_to(DESK).id).said_by_carrier == (SUMMARY,)
    assert world.done().said_by_carrier == ()
    world.over()


@both
@manners
def test_the_caller_hangs_up_while_they_talk(carrier: str, summary: str) -> None:
    world, _ = transferring(carrier, summary, Callee(ring_ms=1_000, talk_ms=600_000), plans=person(most_ms=20_000))
    world.run(40)
    assert world.reason() is EndReason.TRANSFERRED
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@manners
def test_what_is_being_said_is_heard_before_the_caller_is_sent_away(carrier: str, summary: str) -> None:
    line = "One moment please, I am putting you through to somebody who knows."
    world = CarriersWorld(carrier, speaker(first_message=line), person(), callees={DESK: Callee(talk_ms=3_000)})
    world.run(0.3)
    world.ask("transfer", call_id=world.first, to=DESK, summary=summary)
    world.run(30)
    assert hears(world.done().heard, line)
    assert world.reason() is EndReason.TRANSFERRED
    world.over()


# --- nobody is there -------------------------------------------------------------------------------------------------


@both
@manners
@pytest.mark.parametrize("does", [Does.BUSY, Does.NO_ANSWER, Does.FAILED, Does.REJECTED])
def test_nobody_is_there_and_the_caller_is_told_so_and_goes_on(carrier: str, summary: str, does: Does) -> None:
    desk = Callee(does=does)
    plans = person(Wait(55_000), talk(1_000), Wait(8_000), HangUp())
    world, ask = transferring(carrier, summary, desk, plans=plans)
    world.run(110)  # the caller's minute stands still while they are away
    answer = world.answer(ask)
    assert answer["transferred"] is False
    assert answer["reason"] != ""
    heard = world.done().heard
    assert hears(heard, FAILED)
    assert FAILED in world.said()
    assert hears(heard, "You said Hello?"), "the agent goes on with the call"
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert len(world.calls["on_call_end"]) == len(world.calls["on_call_start"]) == 1
    texts = [line["text"] for line in world.calls["on_call_end"][0]["conversation_history"]]
    assert texts[0] == "Good morning."
    assert texts[-1] == "You said Hello?"
    assert steps(world)[-1] == "failed"
    world.over()


@both
@manners
def test_a_second_try_may_succeed(carrier: str, summary: str) -> None:
    other = "+15550003333"
    world = CarriersWorld(
        carrier, speaker(), person(), callees={DESK: Callee(does=Does.BUSY), other: Callee(talk_ms=3_000)}
    )
    world.run(1)
    first = world.ask("transfer", call_id=world.first, to=DESK, summary=summary)
    world.run(15)
    assert world.answer(first)["transferred"] is False
    second = world.ask("transfer", call_id=world.first, to=other, summary=summary)
    world.run(40)
    assert world.answer(second)["transferred"] is True
    assert world.reason() is EndReason.TRANSFERRED
    world.over()


@both
@pytest.mark.parametrize("stage", ["summary", "waiting"])
def test_warm_the_other_side_hangs_up_before_they_are_joined(carrier: str, stage: str) -> None:
    """While the summary is read to them; the caller stays with the agent."""
    acts = (Wait(500 if stage == "summary" else 1_400), HangUp())
    world, ask = transferring(carrier, SUMMARY, Callee(ring_ms=1_000, acts=acts))
    world.run(30)
    assert world.answer(ask)["transferred"] is False
    assert FAILED in world.said()
    assert world.leg().live
    world.over()


@both
@manners
def test_the_carrier_refuses_to_transfer(carrier: str, summary: str) -> None:
    """The caller never left."""
    order = "Dial" if summary else "Run" if carrier == "twilio" else "Transfer"
    world, ask = transferring(
        carrier, summary, Callee(), rest_trouble=(RestTrouble(status=400, on=order, code="21211"),)
    )
    world.run(10)
    answer = world.answer(ask)
    assert answer["transferred"] is False
    assert "refused" in answer["reason"]
    assert FAILED in world.said()
    assert world.sim_told(SimDialled) == []
    assert world.leg().live
    world.over()
    assert hears(world.done().heard, FAILED)


@both
def test_warm_the_carrier_refuses_to_join_them(carrier: str) -> None:
    order = "Run" if carrier == "twilio" else "Bridge"
    world, ask = transferring(
        carrier, SUMMARY, Callee(ring_ms=1_000), rest_trouble=(RestTrouble(status=400, on=order, code="21211"),)
    )
    world.run(20)
    assert world.answer(ask)["transferred"] is False
    assert not world.leg_to(DESK).live
    assert FAILED in world.said()
    assert world.leg().live
    world.over()


@both
@manners
@pytest.mark.parametrize("status", [0, 500, 429])
def test_the_order_is_carried_out_but_its_answer_is_lost(carrier: str, summary: str, status: int) -> None:
    """They talk all the same, and nobody is cut off."""
    order = "Dial" if summary else "Run" if carrier == "twilio" else "Transfer"
    world, _ = transferring(
        carrier,
        summary,
        Callee(ring_ms=8_000, talk_ms=40_000),
        rest_trouble=(RestTrouble(status=status, on=order, done_anyway=status != 429),),
    )
    world.run(100)
    assert world.reason() is EndReason.TRANSFERRED
    assert len(world.calls["on_call_end"]) == 1
    desk = world.done(world.leg_to(DESK).id)
    assert desk.outcome == "completed"
    world.over()


@both
@pytest.mark.parametrize("status", [0, 500])
def test_warm_the_order_to_join_is_carried_out_but_its_answer_is_lost(carrier: str, status: int) -> None:
    order = "Run" if carrier == "twilio" else "Bridge"
    world, _ = transferring(
        carrier,
        SUMMARY,
        Callee(ring_ms=1_000, talk_ms=60_000),
        rest_trouble=(RestTrouble(status=status, on=order, done_anyway=True),),
    )
    world.run(120)
    assert world.reason() is EndReason.TRANSFERRED
    assert world.done(world.leg_to(DESK).id).outcome == "completed"
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@manners
def test_an_order_that_is_lost_altogether_brings_the_caller_back(carrier: str, summary: str) -> None:
    order = "Dial" if summary else "Run" if carrier == "twilio" else "Transfer"
    world, ask = transferring(carrier, summary, Callee(), rest_trouble=(RestTrouble(status=0, on=order, times=-1),))
    world.run(60)
    assert world.answer(ask)["transferred"] is False
    assert FAILED in world.said()
    assert world.leg().live
    world.over()


# --- the caller leaves -----------------------------------------------------------------------------------------------


@both
@manners
@pytest.mark.parametrize("after_ms", [2_500, 4_000, 5_400, 6_500, 8_500])
def test_the_caller_hangs_up_on_the_way(carrier: str, summary: str, after_ms: int) -> None:
    """While it rings there, while the summary is read, and while they are joined: nobody is left on a line."""
    desk = Callee(ring_ms=3_000, talk_ms=600_000)
    world, ask = transferring(carrier, summary, desk, plans=person(most_ms=after_ms))
    world.run(30)
    assert world.answered(ask)
    assert len(world.calls["on_call_end"]) == 1
    assert not world.leg_to(DESK).live
    assert world.reason() in (EndReason.CALLER_HUNG_UP, EndReason.TRANSFERRED)
    if after_ms < 5_000:
        assert world.reason() is EndReason.CALLER_HUNG_UP
        assert world.answer(ask)["transferred"] is False
    world.over()


@both
@pytest.mark.parametrize("who", ["caller", "application", "server"])
def test_the_call_ends_while_the_other_leg_is_being_ordered(carrier: str, who: str) -> None:
    """The carrier's answer, which names that leg, is awaited; then the leg is hung up."""
    world = CarriersWorld(
        carrier,
        speaker(),
        person(most_ms=4_000 if who == "caller" else 600_000),
        callees={DESK: Callee(ring_ms=20_000)},
        latency_us=400_000,
    )
    world.until(lambda: world.leg().stream is not None and world.calls["on_call_start"])
    world.run(1 if who != "caller" else 0)
    if who == "caller":
        world.until(lambda: not world.leg().live)  # its end is under way
    ask = world.ask("transfer", call_id=world.first, to=DESK, summary=SUMMARY)
    if who == "application":
        world.ask("end_call", call_id=world.first, force=True)
    elif who == "server":
        world.stop()
    world.run(15)
    assert world.answer(ask)["transferred"] is False
    assert not world.leg_to(DESK).live
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@manners
@pytest.mark.parametrize("after_s", [0.5, 2, 3.5, 4.5, 6, 12])
def test_the_server_stops_on_the_way(carrier: str, summary: str, after_s: float) -> None:
    """In every stage of a transfer: every leg is hung up and every question answered, within the bounds."""
    world, ask = transferring(carrier, summary, Callee(ring_ms=3_000, talk_ms=600_000))
    world.run(after_s)
    world.stop(20)
    assert world.server.exit_code == 0
    assert world.answered(ask)
    assert len(world.calls["on_call_end"]) == 1
    world.over()


@both
@manners
@pytest.mark.parametrize("after_s", [0.5, 2, 4.5, 6])
def test_the_application_hangs_up_on_the_way(carrier: str, summary: str, after_s: float) -> None:
    world, ask = transferring(carrier, summary, Callee(ring_ms=3_000, talk_ms=600_000))
    world.run(after_s)
    end = world.ask("end_call", call_id=world.first, force=True)
    world.run(10)
    assert world.answer(end) is True
    assert world.answered(ask)
    assert not world.leg().live
    assert not world.leg_to(DESK).live
    assert world.rests(HangUpCall)
    world.over()


# --- where nobody is sent --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("to", "by_model", "code"),
    [
        ("911", False, "bad_target"),
        ("+1555; drop", False, "bad_target"),
        ("sip:desk", False, "bad_target"),
        ("+15559999999", True, "not_allowed"),
    ],
)
def test_a_refused_target_is_refused_aloud(carrier: str, to: str, by_model: bool, code: str) -> None:
    agent = speaker(transfer_refused_message=REFUSED, system_prompt=f"Transfer to {DESK} when asked.")
    world = CarriersWorld(carrier, agent, person())
    world.run(1)
    ask = world.ask("transfer", call_id=world.first, to=to, by_model=by_model)
    world.run(5)
    assert world.answer(ask)[0] == code
    assert world.said() == [REFUSED]
    assert world.leg().live
    assert world.sim_told(SimDialled) == []
    world.over()
    assert hears(world.done().heard, REFUSED)


@both
def test_one_transfer_at_a_time(carrier: str) -> None:
    world, first = transferring(carrier, "", Callee(ring_ms=3_000, talk_ms=3_000))
    second = world.ask("transfer", call_id=world.first, to="+15550004444")
    world.run(30)
    assert world.answer(second)[0] == "busy"
    assert world.answer(first)["transferred"] is True
    world.over()


@both
@manners
def test_a_sip_address_is_a_target_too(carrier: str, summary: str) -> None:
    world = CarriersWorld(carrier, speaker(), person(), callees={"sip:desk@example.com": Callee(talk_ms=3_000)})
    world.run(1)
    ask = world.ask("transfer", call_id=world.first, to="sip:desk@example.com", summary=summary)
    world.run(30)
    assert world.answer(ask)["transferred"] is True
    assert [e.to for e in world.sim_told(SimDialled)] == ["sip:desk@example.com"]
    world.over()
