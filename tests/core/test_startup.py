"""The way up: ready in the first step, or refused with a reason and an exit code."""

from __future__ import annotations

import pytest

from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.contract import Answer, Asked, AskId, Exit, Notify, Refuse, StopListening, Ticked
from patter_core.events import ServerReady, SignatureUnchecked, StartupRefused
from patter_core.startup import REFUSED_CODE, Phase, WayUp
from patter_core.switchboard import Switchboard

TWILIO = CarrierSpec(name="twilio", account="AC1", keys=("t",))
ECHO = AgentSpec(engine=EchoSpec())


def config(carriers=(TWILIO,), agents=None, **options) -> ServerConfig:
    agents = {"": ECHO} if agents is None else agents
    return ServerConfig(public_url=PublicUrl.parse("a.example.com"), carriers=carriers, agents=agents, **options)


def test_a_server_is_ready_in_its_first_step_and_says_so_once() -> None:
    board = Switchboard(config(), epoch=0, seed=b"s")
    assert board.handle(0, Ticked()) == [Notify(ServerReady())]
    assert board.handle(1, Ticked()) == []
    way_up = WayUp(config())
    assert [type(event) for event in way_up.begin()] == [ServerReady]
    assert way_up.phase is Phase.READY
    assert way_up.begin() == []


def test_what_was_switched_off_is_said_before_it_is_ready() -> None:
    events = WayUp(config(require_signature=False, authenticate_streams=False)).begin()
    assert [type(event) for event in events] == [SignatureUnchecked, SignatureUnchecked, ServerReady]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"carriers": ()}, "no_carrier"),
        ({"agents": {}}, "no_agent"),
        ({"carriers": (TWILIO, TWILIO)}, "carrier_twice"),
    ],
)
def test_what_cannot_take_a_call_is_refused(wrong, code) -> None:
    board = Switchboard(config(**wrong), epoch=0, seed=b"s")
    orders = board.handle(0, Asked(AskId(1), "calls"))
    assert [type(order) for order in orders] == [Notify, StopListening, Refuse, Exit]
    assert isinstance(orders[0].event, StartupRefused)
    assert orders[0].event.code == code
    assert orders[-1] == Exit(REFUSED_CODE)
    assert board.deadline is None
    assert board.handle(1, Ticked()) == []


def test_a_question_in_the_first_step_is_answered_after_it_is_ready() -> None:
    board = Switchboard(config(), epoch=0, seed=b"s")
    assert board.handle(0, Asked(AskId(1), "calls")) == [Notify(ServerReady()), Answer(AskId(1), [])]
