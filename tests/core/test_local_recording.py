"""A call's own recording, from the first frame to a file that players read."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patter_core.agent import Agent, Echo, resolve_agent
from patter_core.audio.g711 import ulaw_encode
from patter_core.audio.tones import tone
from patter_core.call.words import Tape
from patter_core.edge import files
from patter_core.events import RecordingBroken
from patter_core.simulator.carrier import CallPlan
from patter_core.simulator.events import SimCallDone
from patter_core.simulator.network import After
from patter_core.simulator.script import HangUp, Speak, Wait
from patter_core.writer import Writer
from tests.core.call_kit import MS, Phone, Rig, S, pipeline
from tests.core.world import World, server_config, sid

SPOKEN = ulaw_encode(tone(400, 1000, 8000))


def wav(pieces: list[Tape]) -> wave.Wave_read:
    file = bytearray()
    for piece in pieces:
        if piece.offset < 0:
            file += piece.data
        else:
            file[piece.offset : piece.offset + len(piece.data)] = piece.data
    return wave.open(io.BytesIO(bytes(file)))


def channels(recording: wave.Wave_read) -> tuple[Any, Any]:
    samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").reshape(-1, 2)
    return samples[:, 0].astype(float), samples[:, 1].astype(float)


def loud_ms(samples: Any) -> tuple[int, int]:
    """Where a channel begins and stops to be loud, in ms at 8 kHz."""
    (found,) = np.nonzero(np.abs(samples) > 500)
    return (int(found[0]) // 8, int(found[-1]) // 8) if len(found) else (-1, -1)


def recorded(agent: Any, story: Any) -> list[Tape]:
    rig = Rig(agent)
    rig.spec = type(rig.spec)(
        **{**{n: getattr(rig.spec, n) for n in rig.spec.__struct_fields__}, "local_recording": "d"}
    )
    rig.call = type(rig.call)(0, rig.spec)
    story(rig)
    return rig.all(Tape)


def test_both_sides_where_and_when_they_were_heard() -> None:
    def story(rig: Rig) -> None:
        rig.begin()
        phone = Phone(rig, latency_us=10 * MS)
        name = rig.running("tts")
        phone.run(500 * MS)
        rig.audio(name, tone(800, 1000, 16000))  # one second, sent far ahead of the ear
        rig.returned(name)
        phone.run(3 * S)
        rig.stop()

    recording = wav(recorded(pipeline(first_message="Hello there."), story))
    assert (recording.getnchannels(), recording.getframerate(), recording.getsampwidth()) == (2, 8000, 2)
    caller, agent = channels(recording)
    assert loud_ms(caller) == (-1, -1)
    first, last = loud_ms(agent)
    assert 450 <= first <= 560
    assert 960 <= last - first <= 1010  # in real time, although it was sent in bursts


def test_what_a_barge_in_cut_is_not_in_the_recording() -> None:
    def story(rig: Rig) -> None:
        rig.begin()
        phone = Phone(rig)
        name = rig.running("tts")
        rig.audio(name, tone(800, 5000, 16000))
        rig.returned(name)
        phone.run(1 * S)
        phone.run(1 * S, lambda: ulaw_encode(tone(300, 20, 8000)))  # the caller insists
        phone.run(2 * S)
        rig.stop()

    caller, agent = channels(wav(recorded(pipeline(first_message="Hello there."), story)))
    start, stop = loud_ms(caller)
    first, last = loud_ms(agent)
    assert stop - start >= 900
    assert start < last < start + 700  # barge_in_threshold_ms after the caller began, and a message or two
    assert last - first < 2000


def test_nothing_is_taped_unless_asked() -> None:
    rig = Rig(pipeline(first_message="Hello."))
    rig.begin()
    rig.later(20 * S)
    rig.stop()
    assert rig.all(Tape) == []


# --- on the disk -----------------------------------------------------------------------------------------------------


def test_a_server_writes_one_file_for_each_call(tmp_path: Path) -> None:
    ends: list[Any] = []
    handlers: dict[str, Any] = {"file.create": files.create, "file.append": files.append, "file.patch": files.patch}
    agents = {"": resolve_agent(Agent(engine=Echo()), {"on_call_end": ends.append}, handlers)}
    world = World(
        server_config(agents, local_recording=str(tmp_path)),
        handlers,
        plans=tuple(
            CallPlan(call_sid=sid(n), acts=(Wait(200), Speak(SPOKEN * 4), Wait(200), HangUp()), at_ms=n * 100)
            for n in (1, 2)
        ),
    )
    world.run(30)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{sid(n)}.wav" for n in (1, 2)]
    for end in ends:
        with wave.open(end["recording_path"]) as recording:
            caller, agent = channels(recording)
        assert 3900 <= np.subtract(*loud_ms(caller)[::-1]) <= 4100
        assert 3900 <= np.subtract(*loud_ms(agent)[::-1]) <= 4100  # the echo
    assert len(ends) == 2


def test_a_disk_that_fails_costs_the_recording_and_not_the_call() -> None:
    def broken(path: str, data: bytes) -> None:
        raise OSError("disk full")

    world = World(
        server_config(local_recording="there"),
        {"file.create": broken, "file.append": broken, "file.patch": broken},
        plans=(CallPlan(call_sid=sid(1), acts=(Speak(SPOKEN * 20), HangUp())),),
    )
    world.run(40)
    (event,) = world.told(RecordingBroken)
    assert "disk full" in event.detail
    assert [done.outcome for done in world.carrier.told(SimCallDone)] == ["completed"]


def test_the_last_piece_is_waited_for_on_the_way_down() -> None:
    written: list[str] = []

    def slow(name: str) -> Any:
        def write(*args: Any) -> Any:
            written.append(name)
            return After(200_000)

        return write

    handlers = {f"file.{name}": slow(name) for name in ("create", "append", "patch")}
    world = World(server_config(local_recording="there"), handlers)
    line = world.open(sid(1))
    for number in range(100):
        world.frame(line, number, SPOKEN[:160])
        world.run(0.02)
    world.server.ask("stop")
    world.run(10)
    assert written[0] == "create"
    assert written[-1] == "patch"
    assert world.server.exit_code == 0


@pytest.mark.parametrize("size", [99, 100, 101])
def test_what_waits_for_the_disk_is_bounded(size: int) -> None:
    writer = Writer("x", limit=100)
    assert writer.put(b"a" * size) is (size <= 100)
    assert writer.broken is (size > 100)
    assert (writer.next() is None) is (size > 100)


def test_pieces_are_written_one_at_a_time_in_order() -> None:
    writer = Writer("x")
    assert writer.put(b"1")
    assert writer.put(b"2")
    assert writer.put(b"h", 0)
    assert writer.next() == ("file.create", ("x", b"1"))
    assert writer.next() is None
    writer.written(True)
    assert writer.next() == ("file.append", ("x", b"2"))
    writer.written(True)
    assert not writer.done
    assert writer.next() == ("file.patch", ("x", 0, b"h"))
    writer.written(True)
    assert writer.done


def test_a_piece_that_was_lost_ends_the_file() -> None:
    writer = Writer("x")
    writer.put(b"1")
    writer.put(b"2")
    writer.next()
    writer.written(False)
    assert writer.done
    assert not writer.put(b"3")
