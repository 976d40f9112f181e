"""One call from offer to over: every state and fact, every deadline to the microsecond, every reason, any history."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.call.call import Call, CallState
from patter_core.call.leg import LegState
from patter_core.call.words import (
    CarrierSaid,
    CloseStream,
    Drop,
    EndWanted,
    Hurried,
    LegEnded,
    Over,
    Pressure,
    Rest,
    RestDone,
    Run,
    SayWanted,
    StreamCame,
    StreamWent,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
    Tell,
    Ticked,
    ToCarrier,
)
from patter_core.carriers.carrier import RestOutcome
from patter_core.contract import Fault
from patter_core.events import (
    CallEnded,
    CallStarted,
    HangUpFailed,
    MalformedMessage,
    StreamAttached,
    StreamDetached,
    TranscriptLine,
)
from patter_core.reasons import EndReason
from patter_core.trace import header_line, replay, step_line
from tests.core.call_kit import (
    CALL,
    CALLBACKS,
    DIALLED_REASONS,
    LIMIT_REASONS,
    MS,
    QUIET,
    STREAM,
    VOICE,
    Rig,
    S,
    echo,
    mark_text,
    media_text,
    of,
    pipeline,
    start_text,
    text,
    told,
)


def closes(orders: list[Any]) -> list[tuple[int, str]]:
    return [(order.code, order.reason) for order in of(CloseStream, orders)]


def talking(*callbacks: str, **config: Any) -> Rig:
    rig = Rig(echo(*callbacks), **config)
    rig.begin()
    return rig


def finish(rig: Rig) -> list[Any]:
    """Give the call everything it still waits for."""
    out: list[Any] = []
    for _ in range(40):
        if rig.over:
            break
        if rig.call._leg.state is LegState.HANGING_UP and rig.asked:
            out += rig.rest()
        elif rig.call._socket.there:
            out += rig.lose(1000)
        elif not rig.callback():
            out += rig.later(S)
    assert len(rig.over) == 1
    assert rig.call.deadline is None
    return out


# --- the way of a call -----------------------------------------------------------------------------------------------


def test_a_whole_call() -> None:
    rig = Rig(echo("on_call_end"))
    assert told(StreamAttached, rig.attach()) == [StreamAttached(CALL, 1)]
    assert rig.call.attached
    assert rig.say(text("connected")) == []
    out = rig.say(start_text())
    assert told(CallStarted, out) == [CallStarted(CALL, "+15550100001", "+15550001234", "inbound")]
    assert rig.call.state is CallState.TALKING
    rig.listen(*[VOICE] * 10)
    out = rig.stop()
    assert closes(out) == [(1000, "call ended")]
    assert not rig.call.leg_up
    (run,) = of(Run, out)
    payload = run.args[0]
    assert (payload["call_id"], payload["reason"]) == (CALL, "caller_hung_up")
    assert payload["metrics"].frames_in == 10
    assert payload["metrics"].duration_seconds == 0.2
    assert rig.lose(1000) == [Tell(StreamDetached(CALL, 1, True))]
    out = rig.returned(run.name)
    assert [type(order) for order in out] == [Tell, Over]
    assert out[1].reason is EndReason.CALLER_HUNG_UP
    (ended,) = rig.events(CallEnded)
    assert (ended.duration_ms, ended.frames_in, ended.frames_out) == (200, 10, 10)
    assert not rig.call.attached


def test_a_call_admitted_by_its_ticket_alone_learns_who_is_calling() -> None:
    rig = Rig(echo("on_call_start"))
    rig.call = Call(0, msgspec.structs.replace(rig.spec, caller="", callee=""))
    out = rig.begin(parameters={"caller": "+1", "callee": "+2"})
    assert told(CallStarted, out) == [CallStarted(CALL, "+1", "+2", "inbound")]
    (run,) = of(Run, out)
    assert (run.args[0]["caller"], run.args[0]["callee"]) == ("+1", "+2")


# --- every state, every fact -----------------------------------------------------------------------------------------


def offered() -> Rig:
    return Rig(pipeline("on_call_end"))


def opened() -> Rig:
    rig = offered()
    rig.attach()
    return rig


def started() -> Rig:
    rig = offered()
    rig.begin()
    return rig


def detached() -> Rig:
    rig = started()
    rig.lose()
    return rig


def reopened() -> Rig:
    rig = detached()
    rig.attach()
    return rig


def ending() -> Rig:
    rig = started()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    return rig


def hung_up() -> Rig:
    rig = ending()
    rig.rest()
    return rig


def closing() -> Rig:
    rig = started()
    rig.stop()
    return rig


def over() -> Rig:
    rig = started()
    rig.stop()
    finish(rig)
    return rig


STATES = (offered, opened, started, detached, reopened, ending, hung_up, closing, over)
F, T, D, E, V = CallState.OFFERED, CallState.TALKING, CallState.DETACHED, CallState.ENDING, CallState.OVER
FACTS: dict[str, Any] = {
    "stream came": StreamCame(),
    "connected": CarrierSaid(text("connected")),
    "start": CarrierSaid(start_text()),
    "wrong start": CarrierSaid(start_text("CA" + "9" * 32)),
    "media": CarrierSaid(media_text(VOICE)),
    "mark": CarrierSaid(mark_text("p1.1")),
    "stop": CarrierSaid(text("stop")),
    "garbage": CarrierSaid("\x00"),
    "stream went": StreamWent(1006),
    "pressure": Pressure(True),
    "task": TaskReturned("stt:1", "hello"),
    "rest done": RestDone("hangup:1", RestOutcome.DONE, ""),
    "end wanted": EndWanted(EndReason.AGENT_HUNG_UP),
    "shutdown": EndWanted(EndReason.SHUTDOWN, True),
    "leg ended": LegEnded(),
    "say": SayWanted("Hello."),
    "hurried": Hurried(),
    "tick": Ticked(),
}
# What each fact leads to, by state; the rest stay where they are.
MOVES: dict[str, dict[Callable[[], Rig], CallState]] = {
    "start": {opened: T, reopened: T},
    "stream came": {started: D},  # instead of the first, which is let go
    "stop": {started: E},
    "stream went": {started: D},
    "end wanted": {offered: E, opened: E, started: E, detached: E, reopened: E},
    "shutdown": {offered: E, opened: E, started: E, detached: E, reopened: E},
    # Nothing holds a call that never started, or whose stream is gone, once the leg is down (callbacks apart).
    "leg ended": {offered: V, opened: E, started: E, detached: E, reopened: E},
}
HOME = {offered: F, opened: F, started: T, detached: D, reopened: D, ending: E, hung_up: E, closing: E, over: V}


@pytest.mark.parametrize(
    ("state", "fact"), list(itertools.product(STATES, FACTS)), ids=lambda x: getattr(x, "__name__", x)
)
def test_every_state_and_fact(state: Callable[[], Rig], fact: str) -> None:
    rig = state()
    assert rig.call.state is HOME[state]
    rig.do(FACTS[fact])
    assert rig.call.state is MOVES.get(fact, {}).get(state, HOME[state])
    if rig.call.state is not V:
        rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
        finish(rig)
    assert len(rig.runs("on_call_end")) == (HOME[state] is not F or rig.events(CallStarted) != [])
    assert rig.do(Ticked()) == rig.attach() == rig.lose() == []


# --- deadlines, to the microsecond -----------------------------------------------------------------------------------


def test_a_call_whose_stream_never_comes_is_over_after_offer_s() -> None:
    rig = Rig(echo(*CALLBACKS), at=7)
    assert rig.until(7 + 30 * S - 1) == []
    out = rig.until(7 + 30 * S)
    assert out[-1] == Over(EndReason.NEVER_STARTED)
    assert rig.all(Run) == rig.all(Rest) == []


def test_no_start_closes_the_socket_after_start_s() -> None:
    rig = Rig(at=3)
    rig.attach()
    rig.say(text("connected"))
    assert rig.until(3 + 5 * S - 1) == []
    assert rig.until(3 + 5 * S) == [CloseStream(1008, "no start")]
    assert rig.call.state is CallState.OFFERED


def test_after_that_close_a_start_comes_too_late() -> None:
    rig = Rig()
    rig.attach()
    rig.until(5 * S)
    for message in (text("connected"), start_text(), media_text(VOICE), text("stop")):
        assert rig.say(message) == []
    assert rig.call.state is CallState.OFFERED
    rig.lose(1008)
    rig.begin()
    assert rig.call.state is CallState.TALKING


def test_a_start_in_time_stops_that_clock() -> None:
    rig = Rig()
    rig.attach()
    rig.until(5 * S - 1)
    rig.say(start_text())
    assert closes(rig.until(30 * S)) == []
    assert rig.call.state is CallState.TALKING


def test_a_stream_lost_may_come_back_within_reattach_s() -> None:
    rig = talking("on_call_end")
    rig.until(S)
    rig.lose()
    assert rig.call.state is CallState.DETACHED
    assert rig.until(3 * S - 1) == []
    out = rig.begin()
    assert told(StreamAttached, out) == [StreamAttached(CALL, 2)]
    assert told(CallStarted, out) == []
    assert rig.call.state is CallState.TALKING
    rig.lose()
    out = rig.until(5 * S - 2)
    assert out == []
    rig.until(5 * S - 1)
    assert rig.call.reason is EndReason.STREAM_LOST
    assert len(rig.all(Rest)) == 1  # the leg may still be up
    finish(rig)
    assert len(rig.runs("on_call_end")) == 1


def test_silence_on_the_stream_ends_the_call_after_silence_s() -> None:
    rig = talking()
    rig.until(10 * S + 3)
    rig.say(mark_text("x"))  # anything at all is a sign of life
    assert rig.until(70 * S + 2) == []
    rig.until(70 * S + 3)
    assert rig.call.reason is EndReason.STREAM_SILENT


def test_the_longest_call() -> None:
    rig = talking(max_duration_s=100.0)
    for second in range(1, 100):
        rig.until(second * S)
        rig.hear(QUIET)
    assert of(Rest, rig.until(100 * S - 1)) == []
    assert len(of(Rest, rig.until(100 * S))) == 1
    assert rig.call.reason is EndReason.MAX_DURATION


def test_a_stream_that_comes_back_does_not_make_the_call_longer() -> None:
    rig = talking(max_duration_s=4.0, silence_s=3.0)
    rig.until(2 * S)
    rig.lose()
    rig.begin()
    rig.until(3 * S)
    rig.hear(QUIET)
    rig.until(4 * S)
    assert rig.call.reason is EndReason.MAX_DURATION


def test_a_hang_up_is_given_up_after_hangup_s() -> None:
    rig = talking()
    rig.until(S)
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    (rest,) = rig.all(Rest)
    assert of(Drop, rig.until(4 * S - 1)) == []
    out = rig.until(4 * S)
    assert out[0] == Drop(rest.name)
    assert len(told(HangUpFailed, out)) == 1
    assert not rig.call.leg_up


def test_the_carrier_has_linger_s_to_close_after_a_hang_up() -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    assert rig.all(CloseStream) == []
    rig.later(500 * MS)
    rig.rest()
    assert rig.until(1_500 * MS - 1) == []
    assert closes(rig.until(1_500 * MS)) == [(1000, "call ended")]
    finish(rig)


def test_a_socket_that_the_carrier_closes_needs_no_linger() -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.rest()
    assert type(rig.lose(1000)[-1]) is Over


def test_bounds_of_nothing_are_over_at_once_but_not_now() -> None:
    for name in ("offer_s", "start_s", "reattach_s", "silence_s", "max_duration_s", "hangup_s", "linger_s"):
        rig = Rig(echo("on_call_end"), **{name: 0.0})
        rig.begin()
        rig.lose()
        rig.begin()
        rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
        rig.later(60 * S)
        finish(rig)


def test_what_is_due_fires_oldest_first() -> None:
    rig = Rig(echo("on_call_start"), max_duration_s=1.0, on_call_start_s=0.5)
    rig.begin()
    out = rig.do(Ticked(), 3 * S)
    kinds = [type(order).__name__ for order in out]
    assert kinds.index("Drop") < kinds.index("Rest")
    rig = Rig(echo("on_call_start"), max_duration_s=0.5, on_call_start_s=1.0)
    rig.begin()
    kinds = [type(order).__name__ for order in rig.do(Ticked(), 3 * S)]
    assert kinds.index("Rest") < kinds.index("Drop")


# --- malformed messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [99, 100, 101])
def test_a_hundred_malformed_messages_close_the_stream(n: int) -> None:
    rig = talking("on_call_end")
    out: list[Any] = []
    for _ in range(n):
        out += rig.say("\x00")
    assert closes(out) == ([(1008, "too many malformed messages")] if n >= 100 else [])
    assert len(told(MalformedMessage, out)) == 1
    assert (rig.call.reason is EndReason.PROTOCOL_ERROR) == (n >= 100)
    if n < 100:
        rig.stop()
    finish(rig)
    assert rig.events(CallEnded)[0].malformed == min(n, 100)


@pytest.mark.parametrize(("window", "closed"), [(10 * S - 1, True), (10 * S, True), (10 * S + 1, False)])
def test_the_edge_of_the_window(window: int, closed: bool) -> None:
    rig = talking(malformed=3)
    rig.say("\x00")
    rig.until(window // 2)
    rig.say("\x00")
    rig.until(window)
    assert bool(closes(rig.say("\x00"))) is closed


def test_after_the_window_has_passed_as_many_are_allowed_again() -> None:
    rig = talking()
    for _ in range(3):
        for _ in range(99):
            assert closes(rig.say("{}")) == []
        rig.later(10 * S + 1)
        rig.hear(QUIET)
    assert rig.call.state is CallState.TALKING


def test_each_code_is_told_once_and_the_call_goes_on() -> None:
    rig = talking()
    for message in (
        "\x00",
        "[]",
        "{}",
        text("media", media={}),
        text("media", media={"payload": "%"}),
        start_text(),
        "\x00",
    ):
        rig.say(message)
    codes = [event.code for event in rig.events(MalformedMessage)]
    assert codes == ["not_json", "not_an_object", "no_event", "missing_field", "bad_base64", "second_start"]
    assert len(of(ToCarrier, rig.hear(VOICE))) == 1


def test_a_flood_before_the_start_closes_the_socket_but_not_the_call() -> None:
    rig = Rig()
    rig.attach()
    out = [order for _ in range(150) for order in rig.say("\x00")]
    assert closes(out) == [(1008, "too many malformed messages")]
    assert rig.call.state is CallState.OFFERED
    rig.lose(1008)
    rig.begin()
    assert rig.call.state is CallState.TALKING


def test_one_malformed_message_may_be_too_many() -> None:
    for allowed in (0, 1):
        assert closes(talking(malformed=allowed).say("\x00"))


# --- starts that are not ours ----------------------------------------------------------------------------------------


def test_a_start_that_names_another_call_closes_the_socket_and_means_nothing_else() -> None:
    rig = Rig()
    rig.attach()
    out = rig.say(start_text("CA" + "9" * 32))
    assert closes(out) == [(1008, "wrong call")]
    for message in (media_text(VOICE), text("stop"), start_text()):
        assert rig.say(message) == []
    assert rig.call.state is CallState.OFFERED
    assert rig.call.leg_up
    rig.lose(1008)
    rig.begin()
    assert rig.call.state is CallState.TALKING


def test_a_second_start_is_reported_and_changes_nothing() -> None:
    rig = talking("on_call_start")
    out = rig.say(start_text())
    assert told(MalformedMessage, out)[0].code == "second_start"
    assert told(CallStarted, out) == of(Run, out) == closes(out) == []


@pytest.mark.parametrize(
    "form",
    [
        {"encoding": "audio/opus"},
        {"channels": 2},
        {"sampleRate": 0},
        {"sampleRate": 48_001},
        {"sampleRate": 11_025},
        {"sampleRate": 22_050},
        {"sampleRate": 12_000},
        {"sampleRate": 44_100},
        {"encoding": "audio/x-l16", "sampleRate": 32_000},
    ],
)
@pytest.mark.parametrize("agent", [echo(), pipeline(first_message="Hi.")], ids=["echo", "pipeline"])
def test_audio_we_cannot_read_ends_the_call(form: dict[str, Any], agent: Any) -> None:
    rig = Rig(agent)
    rig.begin(**form)
    assert rig.call.reason is EndReason.UNSUPPORTED_CODEC
    assert rig.events(MalformedMessage)[0].code == "unsupported_format"
    finish(rig)


@pytest.mark.parametrize("encoding", ["audio/x-mulaw", "audio/x-alaw", "audio/x-l16"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_audio_we_can_read(encoding: str, rate: int) -> None:
    for agent in (echo(), pipeline(first_message="Hi.")):
        rig = Rig(agent)
        rig.begin(encoding=encoding, sampleRate=rate)
        rig.listen(*[bytes(640)] * 20)
        if agent.callbacks or rig.runs("tts"):
            rig.speak(500)
        assert rig.call.state is CallState.TALKING


# --- sockets ---------------------------------------------------------------------------------------------------------


def test_a_second_socket_takes_the_place_of_the_first() -> None:
    rig = talking()
    out = rig.attach()
    assert [type(event) for event in [order.event for order in of(Tell, out)]] == [StreamDetached, StreamAttached]
    assert rig.call.state is CallState.DETACHED
    rig.say(start_text())
    assert rig.call.state is CallState.TALKING


def test_a_socket_that_comes_when_the_call_is_ending_is_closed() -> None:
    rig = talking("on_call_end")
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.rest()
    rig.lose()
    out = rig.attach()
    assert closes(out) == [(1000, "call ended")]
    assert rig.say(start_text()) == []
    assert not rig.over
    rig.callback()
    assert not rig.over
    rig.lose()
    assert rig.over


def test_after_our_close_nothing_is_sent() -> None:
    rig = talking()
    for _ in range(100):
        rig.say("\x00")
    assert rig.hear(VOICE) == []
    assert rig.later(10 * MS) == []


def test_what_a_gone_socket_said_means_nothing() -> None:
    rig = talking()
    rig.lose()
    assert rig.hear(VOICE) == rig.stop() == rig.lose() == []


# --- hanging up ------------------------------------------------------------------------------------------------------


def test_a_call_that_was_over_already_is_a_success() -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.rest(RestOutcome.ALREADY_ENDED, "HTTP 404")
    assert not rig.call.leg_up
    finish(rig)
    assert rig.events(HangUpFailed) == []


@pytest.mark.parametrize("outcome", [RestOutcome.REFUSED, RestOutcome.UNAUTHORIZED])
def test_a_refused_hang_up_is_told_and_the_call_ends(outcome: RestOutcome) -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    out = rig.rest(outcome, "HTTP 400")
    assert told(HangUpFailed, out) == [HangUpFailed(CALL, "HTTP 400")]
    assert len(rig.all(Rest)) == 1
    finish(rig)


@pytest.mark.parametrize("outcome", [RestOutcome.RETRY, None])
def test_a_hang_up_is_tried_again_with_longer_pauses_within_its_time(outcome: RestOutcome | None) -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    asked = [0]
    while rig.call.leg_up:
        rig.rest(outcome)
        for at, order in [(rig.now, o) for o in rig.later(10 * MS)]:
            if type(order) is Rest:
                asked.append(at)
        while rig.call.leg_up and not rig.asked:
            if of(Rest, rig.later(10 * MS)):
                asked.append(rig.now)
    assert [at // (10 * MS) for at in asked] == [0, 25, 75, 175]
    assert rig.now == 1760 * MS  # the next pause would end after hangup_s: this answer is the last
    names = [order.name for order in rig.all(Rest)]
    assert len(set(names)) == len(names)
    assert len(rig.events(HangUpFailed)) == 1


def test_an_answer_to_a_request_we_gave_up_means_nothing() -> None:
    rig = talking("on_call_end")
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.until(3 * S)
    assert rig.rest() == []
    assert rig.do(RestDone("", RestOutcome.DONE, "")) == []


@pytest.mark.parametrize("how", ["stop", "webhook"])
def test_a_leg_that_ends_while_we_hang_up_needs_no_answer(how: str) -> None:
    rig = talking("on_call_end")
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    (rest,) = rig.all(Rest)
    out = rig.stop() if how == "stop" else rig.do(LegEnded())
    assert out == [Drop(rest.name)]
    assert not rig.call.leg_up
    rig.until(9 * S)
    assert rig.events(HangUpFailed) == []
    assert rig.call.reason is EndReason.AGENT_HUNG_UP


def test_a_leg_that_ends_between_two_tries() -> None:
    rig = talking()
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    rig.rest(RestOutcome.RETRY)
    assert rig.do(LegEnded()) == []
    assert of(Rest, rig.later(5 * S)) == []


def test_when_the_carrier_will_not_speak_the_line_is_freed_all_the_same() -> None:
    rig = Rig(pipeline(first_message="Hi."))
    rig.begin()
    rig.raised(rig.running("tts"))
    assert b"Twiml" in rig.all(Rest)[0].request.body
    rig.rest(RestOutcome.REFUSED)
    assert rig.all(Rest)[1].request.body == b"Status=completed"
    rig.rest(RestOutcome.REFUSED)
    assert len(rig.events(HangUpFailed)) == 1
    assert len(rig.all(Rest)) == 2


def test_on_the_way_down_the_socket_is_kept_for_the_server_to_close() -> None:
    rig = talking("on_call_end")
    out = rig.do(EndWanted(EndReason.SHUTDOWN, keep_stream=True))
    out += rig.rest()
    rig.callback()
    out += rig.later(60 * S)
    assert closes(out) == []
    assert not rig.over
    assert type(rig.lose(1001)[-1]) is Over


def test_on_the_way_down_a_leg_that_is_down_keeps_its_socket_too() -> None:
    rig = talking("on_call_end")
    rig.do(EndWanted(EndReason.SHUTDOWN, keep_stream=True))
    assert closes([*rig.stop(), *rig.later(60 * S)]) == []


def test_the_first_reason_stands() -> None:
    rig = talking("on_call_end")
    rig.do(EndWanted(EndReason.AGENT_HUNG_UP))
    for fact in (EndWanted(EndReason.SHUTDOWN), LegEnded(), CarrierSaid(text("stop"))):
        rig.do(fact)
    finish(rig)
    assert rig.over[0].reason is EndReason.AGENT_HUNG_UP


# --- every reason ----------------------------------------------------------------------------------------------------


def _flood(rig: Rig) -> None:
    for _ in range(100):
        rig.say("\x00")


def _mute(rig: Rig) -> None:
    rig.raised(rig.running("tts"))


REASONS: dict[EndReason, Callable[[Rig], object]] = {
    EndReason.CALLER_HUNG_UP: lambda rig: rig.stop(),
    EndReason.AGENT_HUNG_UP: lambda rig: rig.do(EndWanted(EndReason.AGENT_HUNG_UP)),
    EndReason.STREAM_LOST: lambda rig: (rig.lose(), rig.later(2 * S)),
    EndReason.STREAM_SILENT: lambda rig: rig.later(60 * S),
    EndReason.PROTOCOL_ERROR: _flood,
    EndReason.UNSUPPORTED_CODEC: lambda rig: (rig.lose(), rig.begin(encoding="audio/opus")),
    EndReason.ENGINE_FAILED: _mute,
    EndReason.MAX_DURATION: lambda rig: rig.later(50 * S),
    EndReason.SHUTDOWN: lambda rig: rig.do(EndWanted(EndReason.SHUTDOWN, True)),
    EndReason.CANCELLED: lambda rig: rig.do(EndWanted(EndReason.CANCELLED)),
    EndReason.BUG: lambda rig: rig.do(EndWanted(EndReason.BUG)),
}


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason not in DIALLED_REASONS + LIMIT_REASONS])
def test_every_reason_is_reached_once_and_told_three_times(reason: EndReason) -> None:
    longest = 50.0 if reason is EndReason.MAX_DURATION else 1_000.0
    rig = Rig(pipeline("on_call_end", first_message="Hi."), max_duration_s=longest, tts_s=1_000.0)
    if reason is EndReason.NEVER_STARTED:
        rig.later(30 * S)
    else:
        rig.begin()
        REASONS[reason](rig)
    if not rig.over:
        finish(rig)
    assert [over.reason for over in rig.over] == [reason]
    assert [event.reason for event in rig.events(CallEnded)] == [reason]
    ends = [run.args[0]["reason"] for run in rig.runs("on_call_end")]
    assert ends == ([] if reason is EndReason.NEVER_STARTED else [reason.value])


def test_nothing_is_missing_from_that_list() -> None:
    assert set(REASONS) | {EndReason.NEVER_STARTED} | set(DIALLED_REASONS + LIMIT_REASONS) == set(EndReason)


# --- on_call_end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["returns", "raises", "is too slow"])
def test_on_call_end_holds_the_call_until_it_is_done(how: str) -> None:
    rig = talking("on_call_end")
    rig.stop()
    rig.lose(1000)
    assert not rig.over
    name = rig.running("on_call_end")
    if how == "returns":
        rig.returned(name)
    elif how == "raises":
        rig.raised(name)
    else:
        assert rig.until(10 * S - 1) == []
        assert rig.until(10 * S)[0] == Drop(name)
    assert rig.over


def test_on_call_end_comes_after_every_other_callback() -> None:
    rig = Rig(pipeline(*CALLBACKS, first_message="One two three. Four."))
    rig.begin()
    rig.callback()
    rig.speak(500)
    rig.later(400 * MS)
    rig.stop()
    handlers = []
    while handler := rig.callback():
        handlers.append(handler)
    assert handlers == ["on_transcript", "on_call_end"]
    rig.lose()
    assert rig.over


def test_in_a_hurry_on_call_end_does_not_wait() -> None:
    rig = Rig(pipeline(*CALLBACKS, first_message="One two three. Four."))
    rig.begin()
    rig.callback()
    rig.speak(500)
    rig.later(400 * MS)
    rig.do(EndWanted(EndReason.SHUTDOWN, True))
    assert rig.runs("on_call_end") == []
    rig.do(Hurried())
    assert len(rig.runs("on_call_end")) == 1


# --- any history -----------------------------------------------------------------------------------------------------

STRANGE = st.sampled_from(
    [
        "",
        "\x00",
        "{}",
        "[]",
        "null",
        '{"event":7}',
        '{"event":"media"}',
        text("media", media={"payload": "@@@"}),
        text("media", media={"payload": ""}),
        text("media", media={"payload": "AA==", "timestamp": -5}),
        text("media", media={"payload": "AA==", "chunk": 2**70}),
        text("dtmf", dtmf={"digit": "99"}),
        text("dtmf", dtmf={"digit": "#"}),
        text("mark", mark={"name": "\u0000" * 50}),
        text("mark", mark={}),
        text("unheard-of"),
        json.dumps({"event": "media", "streamSid": "MZother", "media": {"payload": "AAAA"}}),
        "[" * 5_000,
        '{"event":"start","streamSid":"\\ud800"}',
        start_text("CA" + "9" * 32),
        start_text(sampleRate=11_025),
        start_text(encoding="audio/x-l16", sampleRate=16_000),
        start_text(encoding="nonsense"),
        media_text(b"\x80" * 5_000),
        text("connected"),
        text("stop"),
    ]
)
ORDINARY = st.sampled_from([text("connected"), start_text(), start_text(), media_text(VOICE), media_text(QUIET)])
VALUE = st.sampled_from(
    [
        None,
        "",
        "Hello there. How are you?",
        7,
        True,
        [],
        {"first_message": "Hi.", "zz": 1, "aa": []},
        {"variables": {"a": "b"}},
        "x" * 500,
    ]
)
STEP = st.integers(0, 3) | st.sampled_from([1 * MS, 20 * MS, 200 * MS, 700 * MS, 3 * S, 11 * S, 31 * S])
FACT = st.one_of(
    st.tuples(st.just("text"), ORDINARY | STRANGE),
    st.tuples(st.just("frames"), st.sampled_from([VOICE, QUIET]), st.integers(1, 50)),
    st.tuples(st.just("flood"), st.integers(90, 110)),
    st.tuples(st.just("came")),
    st.tuples(st.just("went"), st.sampled_from([1000, 1001, 1006])),
    st.tuples(st.just("pressure"), st.booleans()),
    st.tuples(st.just("task"), st.sampled_from(["yield", "return", "raise", "audio"]), st.integers(0, 3), VALUE),
    st.tuples(st.just("marks"), st.integers(0, 5)),
    st.tuples(st.just("rest"), st.sampled_from([*RestOutcome, None])),
    st.tuples(st.just("end"), st.sampled_from(list(EndReason)), st.booleans()),
    st.tuples(st.just("leg")),
    st.tuples(st.just("say"), st.sampled_from(["Hi.", "", "\ud800", "x. " * 50])),
    st.tuples(st.just("hurry")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("wake")),
)
SMALL = {
    "callback_backlog": 3,
    "utterance_s": 2.0,
    "reply_chars": 600,
    "sentence_s": 3.0,
    "history": 4,
    "transcript": 6,
    "endpoint_s": 0.2,
    "speech_ahead_s": 0.5,
}
AGENTS = [
    echo(),
    echo(*CALLBACKS),
    pipeline(first_message="Hi {a}."),
    pipeline(*CALLBACKS, first_message="One. Two. Three."),
]


class History:
    """Feeds what hypothesis draws, answering with the names that are really running."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def running(self) -> list[str]:
        started = [order.name for order in self.rig.all(Run)]
        gone = {order.name for order in self.rig.all(Drop)}
        done = {fact.name for _, fact, _ in self.rig.history if isinstance(fact, TaskReturned | TaskRaised)}
        return [name for name in started if name not in gone and name not in done]

    def feed(self, fact: Any) -> None:
        rig = self.rig
        match fact:
            case ("text", message):
                rig.say(message)
            case ("frames", frame, n):
                for _ in range(n):
                    rig.hear(frame)
                    rig.now += 20 * MS
            case ("flood", n):
                for _ in range(n):
                    rig.say("\x00")
            case ("came",):
                rig.attach()
            case ("went", code):
                rig.lose(code)
            case ("pressure", high):
                rig.do(Pressure(high))
            case ("task", how, n, value):
                names = self.running() or ["tts:1"]
                name = names[-1 - n % len(names)]
                rig.do(
                    {
                        "yield": TaskYielded(name, value),
                        "return": TaskReturned(name, value),
                        "raise": TaskRaised(name, Fault.USER, "boom"),
                        "audio": TaskAudio(name, bytes(32 * 700 + n)),
                    }[how]
                )
            case ("marks", n):
                names = [json.loads(o.text)["mark"]["name"] for o in rig.all(ToCarrier) if '"mark"' in o.text]
                for name in names[-n:]:
                    rig.say(mark_text(name))
            case ("rest", outcome):
                rig.do(RestDone(rig.asked or "hangup:1", outcome, ""))
            case ("end", reason, keep):
                rig.do(EndWanted(reason, keep))
            case ("leg",):
                rig.do(LegEnded())
            case ("say", words):
                rig.do(SayWanted(words))
            case ("hurry",):
                rig.do(Hurried())
            case ("tick",):
                rig.do(Ticked())
            case ("wake",):
                if rig.call.deadline is not None:
                    rig.until(rig.call.deadline)
        self.check()

    def check(self) -> None:
        call, rig = self.rig.call, self.rig
        talk = call._conversation
        names = [order.name for order in rig.all(Run)] + [order.name for order in rig.all(Rest)]
        assert len(names) == len(set(names)), "no name is used twice"
        assert len(rig.runs("on_call_end")) <= 1
        assert len(rig.events(CallStarted)) <= 1
        assert len(talk.callbacks._waiting) <= SMALL["callback_backlog"] + 1
        assert len(talk._transcript._lines) <= SMALL["transcript"]
        assert len(talk._turns.closed) <= SMALL["transcript"]
        assert len(talk._early_says) <= 16
        assert talk._early_bytes <= 32_000 * 2
        assert len(call._socket._times) <= 100
        engine = talk._engine
        if engine is not None and hasattr(engine, "_lines"):
            assert len(engine._lines) <= 250
            assert sum(len(w) for line in engine._lines for w in line.waiting) <= 5 * 600
            assert engine._ears._utterance_bytes <= engine._ears.limit + 20_000
        if talk.mouth._playback is not None:
            assert talk.mouth._playback.queued_us <= 5 * S

    def end(self) -> None:
        rig = self.rig
        if not rig.over:
            rig.do(EndWanted(EndReason.CANCELLED))
        for _ in range(20):
            if rig.over:
                break
            rig.later(4 * S)
            rig.lose(1000)
        assert len(rig.over) == 1, "every call ends"
        assert type(rig.out[-1][1]) is Over
        ends = len(rig.runs("on_call_end"))
        wanted = "on_call_end" in rig.spec.agent.callbacks and bool(rig.events(CallStarted))
        assert ends == wanted
        for fact in (StreamCame(), CarrierSaid(start_text()), EndWanted(EndReason.BUG), LegEnded(), Ticked()):
            assert rig.do(fact) == []


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(AGENTS), st.booleans(), st.lists(st.tuples(STEP, FACT), max_size=40))
def test_any_history(agent: Any, begun: bool, history: list[tuple[int, Any]]) -> None:
    rig = Rig(agent, **SMALL)
    if begun:
        rig.begin()
    story = History(rig)
    for step, fact in history:
        rig.now += step
        story.feed(fact)
    story.end()
    trace = [header_line(0, rig.spec), *(step_line(at, fact, orders) for at, fact, orders in rig.history)]
    if not any(isinstance(fact, SayWanted) and "\ud800" in fact.text for _, fact, _ in rig.history):
        assert replay(trace) == (len(rig.history), None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text() | STRANGE, max_size=20))
def test_any_text_on_the_stream(messages: list[str]) -> None:
    rig = talking("on_call_end")
    for message in messages:
        rig.say(message)
    rig.do(EndWanted(EndReason.CANCELLED))
    finish(rig)


def test_now_going_backwards_is_ignored() -> None:
    rig = talking()
    rig.until(S)
    assert rig.call.handle(S // 2, CarrierSaid(media_text(VOICE))) != []
    assert rig.call.deadline is not None
    assert rig.call.deadline > S


def test_stream_ids_in_orders_are_the_streams() -> None:
    rig = talking()
    assert json.loads(of(ToCarrier, rig.hear(VOICE))[0].text)["streamSid"] == STREAM


def test_keys_faster_than_any_dialler_are_skipped_and_told_once() -> None:
    rig = talking(keys=3, keys_window_s=1.0)

    def press() -> bool:
        return bool(told(TranscriptLine, rig.say(text("dtmf", dtmf={"digit": "#"}))))  # a group of its own

    assert [press() for _ in range(3)] == [True] * 3
    assert [press() for _ in range(3)] == [False] * 3
    assert len(rig.events(MalformedMessage)) == 1
    rig.later(1 * S)
    assert not press()  # exactly a window after the third
    rig.later(1)
    assert [press() for _ in range(4)] == [True] * 3 + [False]
