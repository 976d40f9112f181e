"""Calls that the simulated carrier brings, on both carriers: webhooks, streams, orders by REST."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core.audio.formats import L16_16K, PCMA_8K, PCMU_8K, AudioFormat
from patter_core.audio.g711 import ulaw_decode
from patter_core.carriers.carrier import (
    CallerAudio,
    CallOffered,
    CallStatus,
    CallStatusChanged,
    CarrierSpoke,
    HookPlace,
    MarkReturned,
    MediaStream,
    Pressed,
    RecordingChanged,
    RecordingStatus,
    RecordingStep,
    RestOutcome,
    StreamChange,
    StreamChanged,
    StreamStarted,
    StreamStopped,
    Verdict,
)
from patter_core.simulator.events import (
    SimCallDone,
    SimDelivered,
    SimHook,
    SimKeys,
    SimProblem,
    SimRecording,
    SimRest,
    SimSaid,
)
from patter_core.simulator.script import HangUp, Press, Speak, Wait

from .simulator_kit import (
    CALLER,
    HOST,
    LONG,
    US,
    VOICE,
    World,
    both,
    one,
)


@both
def test_an_incoming_call(carrier: str) -> None:
    world = World(carrier, one(Wait(100), Speak(VOICE * 20), Press("5"), Wait(200), HangUp()))
    world.run(5)
    (socket,) = world.server.sockets
    assert socket["proof"] is Verdict.VALID
    started = [e for e in socket["events"] if isinstance(e, StreamStarted)]
    assert [(s.call_id, s.parameters.get("a")) for s in started] == [(world.sim.call_ids[0], "b")]
    audio = b"".join(e.payload for e in socket["events"] if isinstance(e, CallerAudio))
    assert VOICE * 20 in audio
    assert [e.digit for e in socket["events"] if isinstance(e, Pressed)] == ["5"]
    assert isinstance(socket["events"][-1], StreamStopped)
    assert socket["closed"] == 1000
    call = world.done()
    assert (call.outcome, call.detail, call.streams, call.hung_up_by_rest) == ("completed", "hung up", 1, False)
    (offered,) = world.hooks(CallOffered)
    assert (offered.caller, offered.callee) == (CALLER, US)
    assert world.told(SimProblem) == []


def test_what_telnyx_tells_of_an_incoming_call_and_in_which_order() -> None:
    world = World("telnyx", one(Wait(100), HangUp()))
    world.run(5)
    kinds = [type(hook.event).__name__ for _, _, hook in world.server.heard]
    assert kinds == ["CallOffered", "CallStatusChanged", "StreamChanged", "StreamChanged", "CallStatusChanged"]
    assert [e.change for e in world.hooks(StreamChanged)] == [StreamChange.STARTED, StreamChange.STOPPED]
    assert world.statuses() == [CallStatus.IN_PROGRESS, CallStatus.COMPLETED]
    assert len(set(world.server.ids)) == 5


def test_twilio_tells_the_status_of_an_incoming_call_where_the_number_says() -> None:
    world = World("twilio", one(Wait(100), HangUp()), status_url=f"https://{HOST}/webhooks/twilio/status")
    world.run(5)
    (ended,) = world.hooks(CallStatusChanged)
    assert (ended.status, ended.duration_s) == (CallStatus.COMPLETED, 1)


@both
def test_what_the_server_plays_is_heard_and_marked(carrier: str) -> None:
    world = World(carrier, one(Wait(2_000), HangUp()))
    marks: list[str] = []

    def on_text(socket: dict[str, Any], event: Any) -> None:
        stream: MediaStream = socket["stream"]
        if isinstance(event, StreamStarted):
            for text in (stream.media(VOICE * 10), stream.mark("one"), stream.media(VOICE * 50), stream.mark("two")):
                world.server.say(socket, text)
        elif isinstance(event, MarkReturned):
            marks.append(event.name)
            if event.name == "one":
                world.server.say(socket, stream.clear())

    world.server.on_text = on_text
    world.run(5)
    call = world.done()
    assert marks == ["one", "two"]
    assert VOICE * 10 in call.heard
    assert call.cleared_bytes > 0
    assert world.told(SimProblem) == []


@pytest.mark.parametrize(("line", "asked"), [(PCMA_8K, PCMA_8K), (PCMU_8K, L16_16K)])
def test_telnyx_streams_in_what_was_asked(line: AudioFormat, asked: AudioFormat) -> None:
    """A tone comes across in A-law and in 16 kHz linear PCM, both ways."""
    tone = bytes([0x1E, 0x1E, 0x9E, 0x9E]) * 2000
    world = World("telnyx", one(Speak(tone), Wait(500), HangUp(), line=line))
    world.server.line = asked

    def on_text(socket: dict[str, Any], event: Any) -> None:
        if isinstance(event, CallerAudio):
            assert len(event.payload) == asked.bytes_for_ms(20)
            world.server.say(socket, socket["stream"].media(event.payload))

    world.server.on_text = on_text
    world.run(5)
    (socket,) = world.server.sockets
    (started,) = [e for e in socket["events"] if isinstance(e, StreamStarted)]
    assert started.format == asked
    call = world.done()
    assert call.outcome == "completed"
    energy = [sum(s * s for s in memoryview(ulaw_decode(part)).cast("h")) for part in (call.caller, call.heard)]
    assert energy[1] > energy[0] * 0.8
    assert world.told(SimProblem) == []


@both
def test_a_call_that_is_turned_away(carrier: str) -> None:
    world = World(carrier, one(HangUp()))
    dialect = world.server.dialect
    world.server.takes = False
    world.server.next["voice"] = dialect.busy()
    world.run(0.5)
    if carrier == "telnyx":
        assert world.outcome(dialect.reject(world.server.leg(world.sim.call_ids[0]))) is RestOutcome.DONE
    world.run(1)
    assert (world.done().outcome, world.done().streams) == ("busy", 0)


@both
def test_nobody_takes_the_call(carrier: str) -> None:
    world = World(carrier, one(HangUp(), ring_ms=10_000))
    world.server.takes = False
    world.server.silent = carrier == "twilio"
    world.run(60)
    call = world.done()
    assert (call.outcome, call.streams) == ("unanswered", 0)
    if carrier == "telnyx":
        assert world.statuses() == [CallStatus.CANCELED]


@both
def test_a_webhook_refused_is_a_call_refused(carrier: str) -> None:
    world = World(carrier, one(HangUp()))
    world.server.status = 403
    world.run(30)
    assert world.done().outcome == "rejected"
    assert "403" in world.done().detail
    assert len({e.status for e in world.told(SimDelivered)}) == 1


def test_telnyx_repeats_a_webhook_three_times() -> None:
    world = World("telnyx", one(HangUp()))
    world.server.status = 500
    world.run(30)
    offered = world.hooks(CallOffered)
    assert len(offered) == 3
    assert len(set(world.server.ids[:3])) == 1
    assert world.done().outcome == "rejected"


def test_telnyx_repeats_a_webhook_that_is_not_answered_in_two_seconds() -> None:
    world = World("telnyx", one(HangUp()))
    world.server.silent = True
    world.run(30)
    first, second, third = (at for at, _, hook in world.server.heard if isinstance(hook.event, CallOffered))
    assert second - first == third - second == 3_000_000  # 2 s of patience, 1 s until it tries again
    assert world.done().outcome == "unreachable"


def test_twilio_waits_fifteen_seconds_for_twiml() -> None:
    world = World("twilio", one(HangUp()))
    world.server.silent = True
    world.run(14)
    assert world.told(SimCallDone) == []
    world.run(2)
    assert (world.done().outcome, world.done().detail) == ("unreachable", "webhook: timeout")


def test_a_repeated_command_is_done_once() -> None:
    world = World("telnyx", LONG)
    world.run(1)
    call_id = world.sim.call_ids[0]
    leg = world.server.leg(call_id)
    for _ in range(2):
        assert world.outcome(world.server.dialect.send_keys(leg, "12#", 250)) is RestOutcome.DONE
    assert [e.digits for e in world.told(SimKeys)] == ["12#"]
    world.outcome(world.server.dialect.send_keys(world.server.leg(call_id), "3", 250))
    world.outcome(world.server.dialect.hang_up(world.server.leg(call_id)))
    assert world.done().keys == "12#3"


@both
def test_the_server_closes_the_stream(carrier: str) -> None:
    """Twilio's program is then over, and with it the call; a Telnyx call lives until it is hung up."""
    world = World(carrier, LONG)
    world.run(1)
    world.do(lambda: world.server.close(world.server.sockets[0]))
    world.run(1)
    call_id = world.sim.call_ids[0]
    if carrier == "telnyx":
        assert world.told(SimCallDone) == []
        assert world.hooks(StreamChanged)[-1].change is StreamChange.STOPPED
        again = world.server.dialect.restart_stream(world.server.leg(call_id), world.server.plan())
        assert world.outcome(again) is RestOutcome.DONE
        world.run(1)
        assert len(world.server.sockets) == 2
        assert world.outcome(world.server.dialect.hang_up(world.server.leg(call_id))) is RestOutcome.DONE
        world.run(1)
    assert world.done().outcome == "completed"
    assert world.done().streams == (2 if carrier == "telnyx" else 1)


@both
def test_a_stream_that_is_refused(carrier: str) -> None:
    world = World(carrier, one(HangUp(), most_ms=5_000))
    world.server.attach = False
    world.run(2)
    if carrier == "telnyx":
        assert [e.change for e in world.hooks(StreamChanged)] == [StreamChange.ERROR]
        world.rest(world.server.dialect.hang_up(world.server.leg(world.sim.call_ids[0])))
        world.run(1)
    call = world.done()
    assert (call.outcome, call.close_code) == ("rejected", 403)


@both
def test_hanging_up_twice_is_answered_as_recorded(carrier: str) -> None:
    world = World(carrier, LONG)
    world.run(1)
    call_id = world.sim.call_ids[0]
    assert world.outcome(world.server.dialect.hang_up(world.server.leg(call_id))) is RestOutcome.DONE
    world.run(1)
    status, body = world.rest(world.server.dialect.hang_up(world.server.leg(call_id)))
    assert world.server.dialect.outcome(status, body) is RestOutcome.ALREADY_ENDED
    code = msgspec.json.decode(body)
    assert (status, code["code"] if carrier == "twilio" else code["errors"][0]["code"]) == (
        (404, 20404) if carrier == "twilio" else (422, "90018")
    )
    assert world.done().hung_up_by_rest
    assert [type(e.order).__name__ for e in world.told(SimRest)][-2:] == ["HangUpCall", "HangUpCall"]


def test_telnyx_refuses_what_needs_an_answered_call() -> None:
    world = World("telnyx", one(HangUp()))
    world.server.takes = False
    world.run(0.5)
    leg = world.server.leg(world.sim.call_ids[0])
    assert world.outcome(world.server.dialect.speak(leg, "hello", "en")[0]) is RestOutcome.NOT_YET
    assert world.outcome(world.server.dialect.hang_up(world.server.leg("v3:nobody"))) is RestOutcome.REFUSED


def test_telnyx_has_one_stream_a_call() -> None:
    world = World("telnyx", LONG)
    world.run(1)
    again = world.server.dialect.restart_stream(world.server.leg(world.sim.call_ids[0]), world.server.plan())
    assert world.outcome(again) is RestOutcome.REFUSED


@both
def test_a_last_line_in_the_carriers_voice(carrier: str) -> None:
    world = World(carrier, LONG)
    world.run(1)
    call_id = world.sim.call_ids[0]
    request, ends = world.server.dialect.speak(world.server.leg(call_id), "Goodbye & farewell", "en")
    assert world.outcome(request) is RestOutcome.DONE
    assert [e.text for e in world.told(SimSaid)] == ["Goodbye & farewell"]
    assert world.told(SimCallDone) == []  # it takes its time
    world.run(3)
    if carrier == "telnyx":
        assert not ends
        assert [(e.call_id, e.completed) for e in world.hooks(CarrierSpoke)] == [(call_id, True)]
        world.rest(world.server.dialect.hang_up(world.server.leg(call_id)))
        world.run(1)
    assert world.done().said_by_carrier == ("Goodbye & farewell",)
    assert world.done().outcome == "completed"


@both
def test_a_recording_is_finished_after_the_call(carrier: str) -> None:
    world = World(carrier, LONG)
    world.run(1)
    call_id = world.sim.call_ids[0]
    hooks = f"https://{HOST}/webhooks/{carrier}"

    def record(step: RecordingStep) -> RestOutcome:
        return world.outcome(world.server.dialect.record(world.server.leg(call_id), step, hooks))

    assert record(RecordingStep.PAUSE) in (RestOutcome.REFUSED, RestOutcome.ALREADY_ENDED)  # there is none
    for step in (RecordingStep.START, RecordingStep.PAUSE, RecordingStep.RESUME):
        assert record(step) is RestOutcome.DONE
    world.run(4)
    world.rest(world.server.dialect.hang_up(world.server.leg(call_id)))
    before = [e.status for e in world.hooks(RecordingChanged)]
    assert before == ([RecordingStatus.IN_PROGRESS] if carrier == "twilio" else [])
    world.run(5)
    saved = world.hooks(RecordingChanged)[-1]
    assert (saved.call_id, saved.status) == (call_id, RecordingStatus.COMPLETED)
    assert saved.duration_s == 5
    assert saved.url.startswith("https://")
    (told,) = world.told(SimRecording)
    assert told.recording_id == saved.recording_id
    assert 4_000 <= told.duration_ms <= 4_200


@both
def test_a_recording_may_be_stopped_while_the_call_goes_on(carrier: str) -> None:
    world = World(carrier, LONG)
    world.run(1)
    call_id = world.sim.call_ids[0]
    for step in (RecordingStep.START, RecordingStep.STOP):
        leg = world.server.leg(call_id)
        assert world.outcome(world.server.dialect.record(leg, step, f"https://{HOST}/webhooks/{carrier}")) is (
            RestOutcome.DONE
        )
    world.run(3)
    assert world.hooks(RecordingChanged)[-1].status is RecordingStatus.COMPLETED
    assert world.told(SimCallDone) == []


@both
def test_the_hook_is_found_and_changed(carrier: str) -> None:
    world = World(carrier, hook_url="https://old.example/x")
    dialect, spec = world.server.dialect, world.server.spec
    place = dialect.read_hook(*world.rest(dialect.find_hook(spec, US)), US)
    assert isinstance(place, HookPlace)
    assert (place.url, place.ruled_by) == ("https://old.example/x", "")
    assert world.outcome(dialect.set_hook(spec, place, "https://new.example/y")) is RestOutcome.DONE
    assert world.sim.hook_url == "https://new.example/y"
    assert [e.url for e in world.told(SimHook)] == ["https://new.example/y"]
    again = dialect.read_hook(*world.rest(dialect.find_hook(spec, US)), US)
    assert (again.id, again.url) == (place.id, "https://new.example/y")


@pytest.mark.parametrize(("carrier", "ruled"), [("twilio", "AP1"), ("twilio", "TK1"), ("telnyx", "inactive")])
def test_a_hook_that_something_else_rules(carrier: str, ruled: str) -> None:
    world = World(carrier, hook_ruled_by=ruled)
    place = world.server.dialect.read_hook(*world.rest(world.server.dialect.find_hook(world.server.spec, US)), US)
    assert isinstance(place, HookPlace)
    assert place.ruled_by != ""


@both
def test_a_hook_that_is_not_there(carrier: str) -> None:
    world = World(carrier, numbers=(), connection_id="other")
    spec = msgspec.structs.replace(world.server.spec, account="nobody") if carrier == "telnyx" else world.server.spec
    answer = world.rest(world.server.dialect.find_hook(spec, US))
    assert isinstance(world.server.dialect.read_hook(*answer, US), str)
