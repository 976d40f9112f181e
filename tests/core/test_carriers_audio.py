"""What is on the line, on every carrier: the codec it has, the one that was asked for, and one nobody can read."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.audio.formats import L16_16K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from patter_core.carriers.telnyx import stream_peer as telnyx_stream_peer
from patter_core.carriers.telnyx.stream_peer import TelnyxStreamPeer
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.events import CallStarted, MalformedMessage
from patter_core.reasons import EndReason
from patter_core.simulator import telnyx_side
from patter_core.simulator.callee import Callee
from patter_core.simulator.media import StreamEnd
from patter_core.simulator.orders import AnswerCall, StartStream, StreamWanted
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Wait

from .carriers_world import (
    ECHO,
    THEM,
    CarriersWorld,
    Ears,
    Mouth,
    Speaker,
    both,
    hears,
    person,
    pitch_ms,
    say,
    speaker,
    talk,
)


def line_of(world: CarriersWorld) -> tuple[AudioFormat, AudioFormat]:
    """What the server hears and what it plays, as the carrier's end of the stream has it."""
    stream = world.leg().stream
    assert stream is not None
    return stream.peer._peer._format, stream.wanted.plays  # type: ignore[attr-defined]


@pytest.fixture
def payloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """Every piece of audio as it is on the wire, by who sent it."""
    kept: dict[str, list[bytes]] = {"server": [], "carrier": []}
    played = StreamEnd.played
    heard = {kind: kind.media for kind in (TelnyxStreamPeer, TwilioStreamPeer)}

    def server(self: StreamEnd, payload: bytes) -> bytes:
        kept["server"].append(payload)
        return played(self, payload)

    monkeypatch.setattr(StreamEnd, "played", server)
    for kind, media in heard.items():

        def carrier(self: Any, payload: bytes, timestamp_ms: int, *, media: Any = media) -> str:
            kept["carrier"].append(payload)
            return media(self, payload, timestamp_ms)  # type: ignore[no-any-return]

        monkeypatch.setattr(kind, "media", carrier)
    return kept


@both
def test_an_echo_passes_through_untouched(carrier: str, payloads: dict[str, list[bytes]]) -> None:
    """Mu-law in, mu-law out, byte for byte, on both carriers."""
    world = CarriersWorld(carrier, ECHO, person(talk(1_000), Wait(1_000), HangUp()), twins=False)
    world.run(1)
    if carrier == "telnyx":
        assert line_of(world) == (PCMU_8K, PCMU_8K)
    world.run(3)
    sent, echoed = b"".join(payloads["carrier"]), b"".join(payloads["server"])
    assert len(echoed) > 10_000
    assert echoed in sent
    world.over()


@pytest.mark.parametrize("ignored", [False, True], ids=["as asked", "the line's own"])
def test_a_european_line(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telnyx: the line is A-law and mu-law was asked for. Whatever it then sends, both sides hear each other. That it
    may ignore ``stream_codec`` is documented only indirectly, so ``start.media_format`` is what counts."""
    if ignored:
        original = telnyx_side._stream

        def as_the_line(wish: Any) -> StreamWanted:
            wanted = original(wish)
            return StreamWanted(wanted.url, wanted.parameters, wanted.token, None, wanted.plays)

        monkeypatch.setattr(telnyx_side, "_stream", as_the_line)
    world = CarriersWorld("telnyx", ECHO, person(talk(1_000), Wait(500), HangUp(), line=PCMA_8K))
    world.run(0.5)
    assert line_of(world) == (PCMA_8K if ignored else PCMU_8K, PCMU_8K)
    world.run(4)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert pitch_ms(world.done().heard, 300) >= 900
    assert world.told(MalformedMessage) == []
    world.over()


@both
def test_a_wide_band_agent_gets_a_wide_band_line_where_there_is_one(
    carrier: str, payloads: dict[str, list[bytes]]
) -> None:
    """Linear 16 kHz end to end on Telnyx: nothing is transcoded by us. On Twilio the line is what it always is."""
    hello = "Good morning to you."
    ears = Ears("my order")
    agent = Speaker(stt=ears, tts=Mouth(16_000), first_message=hello)
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = CarriersWorld(carrier, agent, person(*acts), twins=False)
    world.run(1)
    if carrier == "telnyx":
        assert line_of(world) == (L16_16K, L16_16K)
    world.run(10)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert hears(world.done().heard, hello)
    assert hears(world.done().heard, "You said my order")
    spoken, listened = b"".join(payloads["server"]), b"".join(payloads["carrier"])
    assert (say(hello) in spoken) is (carrier == "telnyx")
    assert (ears.got[0] in listened) is (carrier == "telnyx")
    world.over()


@both
@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_voices_of_other_rates_are_heard_at_their_pitch(carrier: str, rate: int) -> None:
    hello = "Good morning to you, whoever you are."
    agent = speaker(first_message=hello, mouth=Mouth(rate))
    world = CarriersWorld(carrier, agent, person(ListenUntilQuiet(), HangUp()))
    world.run(8)
    assert hears(world.done().heard, hello)
    world.over()


# --- codecs that nobody can read -------------------------------------------------------------------------------------


def test_an_unreadable_codec_is_asked_for_once_more_as_mu_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telnyx: the wide-band line that was asked for comes as something else; plain mu-law then does."""
    monkeypatch.setitem(telnyx_stream_peer._NAMES, Encoding.L16, "OPUS")
    hello = "Good morning to you."
    world = CarriersWorld("telnyx", speaker(first_message=hello), person(ListenUntilQuiet(), HangUp()))
    world.run(1)
    assert [order.stream.hears for order in world.rests(AnswerCall, StartStream)] == [L16_16K, PCMU_8K]
    assert line_of(world) == (PCMU_8K, PCMU_8K)
    assert [e.code for e in world.told(MalformedMessage)] == ["unsupported_format"]
    world.run(8)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert hears(world.done().heard, hello)
    assert len(world.told(CallStarted)) == len(world.calls["on_call_start"]) == 1
    world.over()


def _unreadable(carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if carrier == "telnyx":
        for encoding in Encoding:
            monkeypatch.setitem(telnyx_stream_peer._NAMES, encoding, "AMR-WB")
    else:
        start = TwilioStreamPeer.start

        def odd(self: TwilioStreamPeer) -> str:
            return start(self).replace("audio/x-mulaw", "audio/x-something")

        monkeypatch.setattr(TwilioStreamPeer, "start", odd)


@both
@pytest.mark.parametrize("wide", [True, False])
def test_a_line_that_nobody_can_read_is_hung_up(carrier: str, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _unreadable(carrier, monkeypatch)
    world = CarriersWorld(carrier, speaker(first_message="Hello?") if wide else ECHO, person())
    world.run(5)
    assert world.reason() is EndReason.UNSUPPORTED_CODEC
    assert not world.leg().live
    assert world.done().hung_up_by_rest
    tries = len(world.rests(AnswerCall, StartStream))
    assert tries == (0 if carrier == "twilio" else 2 if wide else 1)
    assert world.calls["on_call_start"] == []
    world.over()


@both
def test_a_dialled_line_that_nobody_can_read(carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _unreadable(carrier, monkeypatch)
    world = CarriersWorld(carrier, ECHO, callee=Callee(acts=(Wait(60_000),)))
    ask = world.call(wait=True)
    world.run(15)
    found = world.answer(ask)
    assert (found.outcome, found.reason) == ("failed", EndReason.UNSUPPORTED_CODEC)
    assert not world.leg_to(THEM).live
    world.over()
