"""Keys, the same on every carrier: the caller's reach the agent in order with speech, ours reach the caller's ear."""

from __future__ import annotations

import numpy as np
import pytest

from patter_core.audio.g711 import ulaw_decode
from patter_core.audio.tones import DTMF_HZ
from patter_core.events import KeysSent
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, RestTrouble
from patter_core.simulator.orders import PressKeys
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Press, Wait

from .carriers_world import THEM, CarriersWorld, both, hears, person, speaker, talk

ROWS = sorted({low for low, _ in DTMF_HZ.values()})
COLUMNS = sorted({high for _, high in DTMF_HZ.values()})


def keys_in(heard: bytes) -> str:
    """The keys whose two tones are in this mu-law, in order: a key counts after 40 ms (ITU-T Q.24), and once until it
    stops."""
    samples = np.frombuffer(ulaw_decode(heard), "<i2").astype(np.float64)
    at = np.arange(160) / 8000.0
    found, last, length = [], "", 0
    by_tones = {pair: key for key, pair in DTMF_HZ.items()}
    for start in range(0, len(samples) - 159, 160):
        frame = samples[start : start + 160]
        power = float(np.dot(frame, frame))

        def share(hz: int, frame: object = frame, power: float = power) -> float:
            return float(abs(np.dot(frame, np.exp(-2j * np.pi * hz * at))) ** 2 / 80 / power) if power else 0.0

        low, high = max(ROWS, key=share), max(COLUMNS, key=share)
        loud = power > 160 * 500.0**2 and share(low) > 0.15 and share(high) > 0.15
        both_tones = loud and share(low) + share(high) > 0.8
        key = by_tones[low, high] if both_tones else ""
        length = length + 20 if key and key == last else 20 if key else 0
        last = key
        if length == 40:
            found.append(key)
    return "".join(found)


def test_the_ear_hears_keys_and_nothing_else() -> None:
    """What the stories below listen with."""
    from patter_core.audio.g711 import ulaw_encode
    from patter_core.audio.tones import dtmf, tone

    keys = "".join(DTMF_HZ)
    pcm = b"".join(dtmf(key, 100, 8000) + bytes(1600) for key in keys)
    assert keys_in(ulaw_encode(pcm)) == keys
    assert keys_in(ulaw_encode(tone(697, 1_000, 8000) + tone(1209, 1_000, 8000))) == ""


# --- the caller's ----------------------------------------------------------------------------------------------------


@both
def test_keys_reach_the_agent_in_order_with_speech(carrier: str) -> None:
    acts = (
        talk(600), Wait(1_500), Press("1"), Wait(200), Press("2"), Wait(200), Press("#"), ListenUntilQuiet(),
        talk(600), ListenUntilQuiet(), HangUp(),
    )  # fmt: skip
    world = CarriersWorld(carrier, speaker("my number", "that was it"), person(*acts))
    world.run(20)
    texts = [message["text"] for message in world.calls["on_message"]]
    assert texts == ["my number", "[DTMF: 12#]", "that was it"]
    assert world.said("user") == texts
    assert hears(world.done().heard, "You said [DTMF: 12#]")
    world.over()


@both
def test_collected_keys_are_the_applications(carrier: str) -> None:
    acts = (Wait(1_000), Press("4"), Wait(300), Press("2"), Wait(300), Press("#"), Wait(3_000), HangUp())
    world = CarriersWorld(carrier, speaker(), person(*acts))
    world.run(0.5)
    ask = world.ask("collect_digits", call_id=world.first, most=8)
    world.run(7)
    assert world.answer(ask) == {"digits": "42", "ended_by": "terminator"}
    assert world.calls["on_message"] == []
    world.over()


@both
def test_a_collection_ends_by_length_by_time_and_with_the_call(carrier: str) -> None:
    acts = (Wait(1_000), Press("7"), Wait(200), Press("8"), Wait(8_000), HangUp())
    world = CarriersWorld(carrier, speaker(), person(*acts))
    world.run(0.5)
    by_length = world.ask("collect_digits", call_id=world.first, most=2)
    world.run(2)
    assert world.answer(by_length) == {"digits": "78", "ended_by": "length"}
    by_time = world.ask("collect_digits", call_id=world.first, timeout_s=2)
    world.run(3)
    assert world.answer(by_time) == {"digits": "", "ended_by": "timeout"}
    at_the_end = world.ask("collect_digits", call_id=world.first, timeout_s=60)
    world.run(8)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert world.answered(at_the_end)
    world.over()


# --- ours ------------------------------------------------------------------------------------------------------------


@both
def test_keys_that_we_press_reach_the_other_side(carrier: str) -> None:
    """By the carrier's API where it has one for a live call (Telnyx), else as tones in the audio (Twilio)."""
    digits = "0123456789*#ABCD"
    world = CarriersWorld(carrier, speaker(), callee=Callee(acts=(Wait(20_000), HangUp())))
    world.call(wait=False)
    world.run(4)
    call_id = world.leg_to(THEM).id
    ask = world.ask("send_dtmf", call_id=call_id, digits=digits)
    world.run(8)
    assert world.answer(ask) is True
    assert [e.count for e in world.told(KeysSent)] == [len(digits)]
    world.run(20)
    done = world.done(call_id)
    if carrier == "telnyx":
        assert done.keys == digits
        assert keys_in(done.heard) == ""
    else:
        assert done.keys == ""
        assert keys_in(done.heard) == digits
    world.over()


@both
def test_keys_come_after_what_is_being_said_where_they_are_tones(carrier: str) -> None:
    line = "I am going to press some keys for you now."
    world = CarriersWorld(carrier, speaker(first_message=line), person(Wait(10_000), HangUp()))
    world.run(0.3)
    ask = world.ask("send_dtmf", call_id=world.first, digits="1w2W3", delay_ms=200)
    world.run(6)
    assert world.answer(ask) is True
    world.run(8)
    heard = world.done().heard
    assert hears(heard, line)
    if carrier == "twilio":
        assert keys_in(heard) == "123"
    else:
        assert world.done().keys == "1w2W3"
    world.over()


@both
def test_nobody_barges_in_on_keys(carrier: str) -> None:
    world = CarriersWorld(carrier, speaker("hey"), person(Wait(1_000), talk(3_000), Wait(3_000), HangUp()))
    world.run(1)
    ask = world.ask("send_dtmf", call_id=world.first, digits="123456")
    world.run(12)
    assert world.answer(ask) is True
    if carrier == "twilio":
        assert keys_in(world.done().heard) == "123456"
    world.over()


@both
@pytest.mark.parametrize("args", [{"digits": ""}, {"digits": "12x"}, {"digits": 5}, {"digits": "1", "delay_ms": 5}])
def test_what_are_no_keys_is_refused(carrier: str, args: dict[str, object]) -> None:
    world = CarriersWorld(carrier, plans=person())
    world.run(1)
    assert world.answer(world.ask("send_dtmf", call_id=world.first, **args))[0] == "bad_arguments"
    assert world.told(KeysSent) == []
    world.over()


@both
@pytest.mark.parametrize("count", [64, 65, 100, 101])
def test_as_many_keys_as_every_carrier_takes(carrier: str, count: int) -> None:
    """64 in one order: Telnyx's limit (developers.telnyx.com, send_dtmf). More are refused, and harm nothing."""
    world = CarriersWorld(carrier, plans=person())
    world.run(1)
    ask = world.ask("send_dtmf", call_id=world.first, digits="5" * count, delay_ms=150)
    world.run(20)
    if count <= 64:
        assert world.answer(ask) is True
    else:
        assert world.answer(ask)[0] == "bad_arguments"
    assert world.leg().live
    world.over()


@both
def test_keys_that_the_carrier_does_not_press(carrier: str) -> None:
    world = CarriersWorld(
        carrier, plans=person(), rest_trouble=(RestTrouble(status=422, on="PressKeys", code="10015"),)
    )
    world.run(1)
    ask = world.ask("send_dtmf", call_id=world.first, digits="1")
    world.run(3)
    if carrier == "telnyx":
        assert world.answer(ask)[0] == "carrier_refused"
    else:
        assert world.answer(ask) is True
    assert len(world.rests(PressKeys)) == (carrier == "telnyx")
    assert world.leg().live
    world.over()


@both
def test_the_call_ends_while_keys_are_pressed(carrier: str) -> None:
    world = CarriersWorld(carrier, plans=person(most_ms=2_000), latency_us=300_000)
    world.until(lambda: world.leg().stream is not None and world.leg().frames > 60)
    ask = world.ask("send_dtmf", call_id=world.first, digits="1234567890")
    world.run(8)
    answer = world.answer(ask)
    assert answer is True or answer[0] in ("call_ended", "carrier_refused", "unknown_call")
    world.over()
