"""Stories nobody thought of, the same on every carrier: people, orders and trouble drawn by lot, from a seed.

What must hold in each: the contract, on both boards; every ask answered once; ``on_call_end`` once for each call; the
way down in its bounds; nothing left in a table; every trace replays; nobody left on a line where nothing went wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

import pytest

from patter_core.settings import CallSettings
from patter_core.simulator.callee import Callee, Does, Misbehaviour, RestTrouble
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Press, Wait

from .carriers_world import DESK, ECHO, SECOND, THEM, CarriersWorld, Mouth, both, person, speaker, talk

T = TypeVar("T")
ORDERS = (
    "Dial",
    "AnswerCall",
    "HangUpCall",
    "Run",
    "Transfer",
    "Bridge",
    "Speak",
    "Record",
    "StartStream",
    "PressKeys",
)
VERBS = ("call", "transfer", "transfer", "end_call", "say", "send_dtmf", "collect_digits", "record", "drop")
BOUND_US = 18 * SECOND  # 5 + 10 + 2, and one more


class Lot:
    """What is drawn for one story."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)

    def one(self, *of: T) -> T:
        return self.draw.choice(of)

    def rarely(self, share: float) -> bool:
        return self.draw.random() < share

    def acts(self) -> tuple[Act, ...]:
        kinds: Sequence[Act] = [
            talk(self.draw.randrange(100, 1_500, 20)),
            Wait(self.draw.randrange(100, 4_000, 20)),
            Press(self.one(*"0123456789*#")),
            ListenUntilQuiet(limit_ms=5_000),
        ]
        acts = [self.draw.choice(kinds) for _ in range(self.draw.randint(0, 6))]
        return (*acts, self.one(HangUp(), Wait(600_000)))

    def trouble(self, on: str) -> RestTrouble:
        status = self.one(0, 400, 429, 500)
        return RestTrouble(status=status, on=on, times=self.one(1, 1, 2, -1), done_anyway=self.rarely(0.4))

    def callee(self) -> Callee:
        return Callee(
            does=self.one(*Does, Does.HUMAN, Does.HUMAN, Does.HUMAN),
            acts=self.acts(),
            ring_ms=self.one(1, 300, 2_000, 8_000, 40_000),
            verdict_ms=self.one(200, 1_500, 6_000),
            greeting_ms=self.one(0, 2_000, 6_000),
            beep=self.rarely(0.7),
            talk_ms=self.one(500, 5_000, 40_000),
            most_ms=self.one(5_000, 60_000),
        )

    def agent(self) -> Any:
        return self.one(
            ECHO,
            speaker("one", "two", "three", "four", first_message="Good morning."),
            speaker("one", "two", first_message="Hello.", mouth=Mouth(broken="You said two")),
            speaker("one", first_message="Hello.", mouth=Mouth(broken="Hello")),
        )


def order(world: CarriersWorld, lot: Lot) -> Any:
    """The application wants something of a call that is, was, or never will be."""
    known = [*world.sim.call_ids, *(leg.id for leg in world.sim._exchange.legs if leg.outgoing)]
    call_id = lot.one(*known, *world.board._host.call_ids())
    match lot.one(*VERBS):
        case "call":
            return world.call(lot.one(THEM, DESK), wait=lot.rarely(0.5), machine_detection=lot.rarely(0.5))
        case "transfer":
            summary = lot.one("", "About an invoice.")
            return world.ask("transfer", call_id=call_id, to=lot.one(DESK, THEM, "911"), summary=summary)
        case "end_call":
            return world.ask("end_call", call_id=call_id, force=lot.rarely(0.5))
        case "say":
            return world.ask("say", call_id=call_id, text="By the way.")
        case "send_dtmf":
            return world.ask("send_dtmf", call_id=call_id, digits="12w3")
        case "collect_digits":
            return world.ask("collect_digits", call_id=call_id, timeout_s=5)
        case "record":
            return world.ask("record", call_id=call_id, step=lot.one("start", "pause", "resume", "stop"))
        case _:
            world.run(0.0037)  # not on a frame's edge
            media = [name for name, conn in world.board._conns.items() if conn.call_id]
            if media:
                world.net.drop(world.server, lot.one(*media))
            return None


@both
@pytest.mark.parametrize("seed", range(20))
def test_a_story(carrier: str, seed: int) -> None:
    lot = Lot(seed)
    rough = lot.rarely(0.5)
    plans = tuple(
        plan
        for _ in range(lot.draw.randint(1, 3))
        for plan in person(*lot.acts(), at_ms=lot.draw.randint(1, 3_000), most_ms=lot.one(3_000, 20_000, 90_000))
    )
    world = CarriersWorld(
        carrier,
        lot.agent(),
        plans,
        callees={DESK: lot.callee(), THEM: lot.callee()},
        rest_trouble=tuple(lot.trouble(lot.one(*ORDERS)) for _ in range(2)) if rough else (),
        misbehaves=frozenset(kind for kind in Misbehaviour if rough and lot.rarely(0.1)),
        latency_us=lot.one(0, 1_000, 50_000, 300_000),
        config={"recording": lot.rarely(0.4), "voicemail_message": lot.one("", "Call back.")},
        call=CallSettings(max_duration_s=lot.one(14_400.0, 30.0)),
        sign_upgrade=lot.rarely(0.9),
    )
    asks = []
    for _ in range(lot.draw.randint(0, 10)):
        world.run(lot.one(0, 0.01, 0.3, 1, 3, 10))
        if (ask := order(world, lot)) is not None:
            asks.append(ask)
    world.run(lot.one(0, 2, 60, 150))
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 30)
    assert world.net.now - began <= BOUND_US
    assert all(world.answered(ask) for ask in asks)
    ended = [end["call_id"] for end in world.calls["on_call_end"]]
    assert len(set(ended)) == len(ended)
    world.run(6 if not rough else 700)  # last words in the carrier's voice; after trouble, people hang up by themselves
    world.problems_expected = True  # a caller who rings after the end finds nobody
    world.over()
