"""How long a call may go on: in silence, at all, and for what money."""

from __future__ import annotations

from patter_core.call.patience import Leave, Limits, Remark
from patter_core.call.pricing import resolve_pricing
from patter_core.engines.policy import Patience
from patter_core.reasons import EndReason
from tests.core.call_kit import MS, QUIET, VOICE, Phone, Rig, S, pipeline

IDLE = Patience(idle_s=8.0, idle_tries=2, idle_message="Are you there?", goodbye_message="Goodbye.")


def spoken(rig: Rig) -> list[str]:
    return [run.args[0] for run in rig.runs("tts")]


class Talk:
    """A caller on the line; every sentence takes 200 ms to say."""

    def __init__(self, patience: Patience, **more: object) -> None:
        self.rig = Rig(pipeline("on_call_end", patience=patience, **more), goodbye_s=5.0)  # type: ignore[arg-type]
        self.rig.begin()
        self.phone = Phone(self.rig)
        self.said = self.heard = 0

    def run(self, seconds: float, frame: bytes = QUIET) -> None:
        for _ in range(round(seconds * 10)):
            self.phone.run(100 * MS, lambda: frame)
            while len(self.rig.runs("tts")) > self.said and not self.rig.over:
                self.said += 1
                self.rig.speak(200)
            while len(self.rig.runs("stt")) > self.heard and not self.rig.over:
                self.heard += 1
                self.rig.returned(self.rig.running("stt"), "")


def test_silence_is_asked_about_and_then_ended() -> None:
    talk = Talk(IDLE)
    talk.run(7.8)
    assert spoken(talk.rig) == []
    talk.run(0.4)
    assert spoken(talk.rig) == ["Are you there?"]
    talk.run(8.4)
    assert spoken(talk.rig) == ["Are you there?"] * 2
    talk.run(8.4)
    assert spoken(talk.rig)[-1] == "Goodbye."
    assert not talk.rig.over
    talk.run(4)
    assert talk.rig.call.reason is EndReason.IDLE
    assert [run.args[0]["reason"] for run in talk.rig.runs("on_call_end")] == ["idle"]


def test_who_speaks_is_not_idle() -> None:
    talk = Talk(IDLE)
    for _ in range(5):
        talk.run(6)
        talk.run(1, VOICE)
    assert spoken(talk.rig) == []


def test_an_answer_begins_the_count_anew() -> None:
    talk = Talk(IDLE)
    talk.run(17)
    assert spoken(talk.rig) == ["Are you there?"] * 2
    talk.run(1, VOICE)
    talk.run(17)
    assert spoken(talk.rig) == ["Are you there?"] * 4


def test_the_longest_a_call_may_last() -> None:
    talk = Talk(Patience(max_duration_s=60, warning_s=20, limit_message="Soon.", goodbye_message="Bye."))
    talk.run(39.8)
    assert spoken(talk.rig) == []
    talk.run(0.4)
    assert spoken(talk.rig) == ["Soon."]
    talk.run(20)
    assert spoken(talk.rig) == ["Soon.", "Bye."]
    talk.run(4)
    assert talk.rig.call.reason is EndReason.MAX_DURATION


def test_the_most_a_call_may_cost() -> None:
    rig_prices = resolve_pricing({"twilio": {"price": 1.0}})  # a dollar for each minute begun
    talk = Talk(Patience(max_cost=2.1, limit_message="Soon.", goodbye_message="Bye."))
    talk.rig.call._conversation.costs._table = rig_prices
    talk.run(59)
    assert spoken(talk.rig) == []
    talk.run(10)
    assert spoken(talk.rig) == ["Soon."]  # the second minute: nine tenths
    talk.run(60)
    assert spoken(talk.rig) == ["Soon.", "Bye."]
    assert talk.rig.call.reason is EndReason.MAX_COST


def test_at_the_limit_and_beside_it() -> None:
    limits = Limits(Patience(max_cost=1.0, limit_message="Soon.", goodbye_message="Bye."))
    limits.begin(0)
    assert limits.deadline == 5 * S
    assert limits.tick(5 * S, 0.89) == []
    assert limits.tick(10 * S, 0.9) == [Remark("Soon.")]
    assert limits.tick(15 * S, 0.99) == []
    assert limits.tick(20 * S, 1.0) == [Leave(EndReason.MAX_COST, "Bye.")]
    assert limits.deadline is None
    assert limits.tick(99 * S, 5.0) == []


def test_without_limits_nothing_is_watched() -> None:
    limits = Limits(Patience())
    limits.begin(0)
    assert limits.deadline is None
    assert not limits.watches_silence
