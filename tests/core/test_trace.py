"""A trace replays bit for bit; what is no trace is an error that names its line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from patter_core.call.words import SayWanted, TaskReturned, Tell, Ticked
from patter_core.trace import Difference, TraceError, Tracer, header_line, replay, step_line
from tests.core.call_kit import MS, QUIET, VOICE, Phone, Rig, S, pipeline


def story() -> Rig:
    """A conversation with a barge-in, callbacks and an override whose keys are not in the alphabet's order."""
    rig = Rig(pipeline("on_call_start", "on_call_end", "on_transcript", first_message="Hello {b} {a}. How are you?"))
    phone = Phone(rig, 20 * MS)
    rig.begin(parameters={"z": "1", "a": "2"})
    rig.returned(rig.running("on_call_start"), {"zzz": 1, "variables": {"b": "x", "a": "y"}, "aaa": 2, "mmm": None})
    rig.speak(900)
    rig.speak(900)
    phone.run(300 * MS)
    phone.run(700 * MS, lambda: VOICE)
    phone.run(700 * MS)
    rig.returned(rig.running("stt"), "Wait! Ünïcode.")
    rig.yielded(rig.running("reply"), "Yes. ")
    rig.returned(rig.running("reply"))
    rig.speak(300)
    phone.run(2 * S)
    rig.say("garbage \x00 {")
    rig.stop()
    while rig.callback():
        pass
    rig.lose(1000)
    assert rig.over
    return rig


def lines(rig: Rig) -> list[bytes]:
    return [header_line(0, rig.spec), *(step_line(at, fact, orders) for at, fact, orders in rig.history)]


def test_a_story_replays_bit_for_bit() -> None:
    rig = story()
    trace = lines(rig)
    assert replay(trace) == (len(trace) - 1, None)
    assert replay(b"".join(trace).splitlines()) == (len(trace) - 1, None)
    assert replay([*trace[:3], b"\n", b"  \n", *trace[3:]]) == (len(trace) - 1, None)


def test_a_changed_order_is_the_first_difference() -> None:
    trace = lines(story())
    number = next(n for n, line in enumerate(trace) if b"BargedIn" in line)
    changed = trace[number].replace(b'"heard_ms":', b'"heard_ms":1')
    count, difference = replay([*trace[:number], changed, *trace[number + 1 :]])
    assert count == number - 1
    assert isinstance(difference, Difference)
    assert difference.line == number + 1
    assert len(difference.expected) == len(difference.got)
    assert sum(a != b for a, b in zip(difference.expected, difference.got, strict=True)) == 1
    assert json.loads(difference.fact)["type"] in ("CarrierSaid", "Ticked")


def test_a_missing_step_shows_too() -> None:
    trace = lines(story())
    number = next(n for n, line in enumerate(trace) if b'"handler":"on_call_start"' in line)
    _, difference = replay([*trace[:number], *trace[number + 1 :]])
    assert difference is not None


def header() -> bytes:
    return header_line(0, Rig().spec)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ([], 1),
        ([b""], 1),
        ([b"{}"], 1),
        ([b"\xff\xfe"], 1),
        ([b"[" * 100_000], 1),
        ([b'"\xff"'], 1),
        ([lambda: header().replace(b'"patter_trace":1', b'"patter_trace":2')], 1),
        ([lambda: header().replace(b'"twilio"', b'"nobody"')], 1),
        ([lambda: header().replace(b'"window_s":0.2', b'"window_s":-1')], 1),
        ([header, b"{}"], 2),
        ([header, b"x"], 2),
        ([header, b'{"at":0,"fact":{"type":"Ticked"},"orders":[]}', b'{"at":1,"fa'], 3),
        ([header, b'{"at":0,"fact":{"type":"Dreamt"},"orders":[]}'], 2),
        ([header, b'{"at":"x","fact":{"type":"Ticked"},"orders":[]}'], 2),
        ([header, b'{"at":0,"fact":{"type":"CarrierSaid","text":"\xff"},"orders":[]}'], 2),
        ([header, b'{"at":0,"fact":{"type":"Ticked"},"orders":' + b"[" * 100_000], 2),
        ([header, b"\n", b"\n", b"?"], 4),
    ],
)
def test_what_is_no_trace_is_an_error_with_its_line(text: list[Any], line: int) -> None:
    with pytest.raises(TraceError, match=rf"^line {line}\b"):
        replay([part() if callable(part) else part for part in text])


def test_every_cut_of_a_trace_is_a_shorter_trace_or_an_error() -> None:
    rig = Rig()
    rig.begin()
    rig.listen(VOICE, QUIET)
    whole = b"".join(lines(rig))
    for end in range(0, len(whole), 7):
        try:
            _, difference = replay(whole[:end].splitlines())
        except TraceError:
            continue
        assert difference is None


def test_what_has_no_json_form_is_replaced_rather_than_lost() -> None:
    rig = Rig(pipeline())
    rig.begin()
    half = "half \ud800 pair"
    orders = rig.do(SayWanted(half))
    line = step_line(0, SayWanted(half), orders)
    assert json.loads(line)["fact"]["text"] == "half ? pair"
    for value in (object(), 10**30, {1: 2}, {("a",): object()}, "\udfff", float("nan")):
        json.loads(step_line(0, TaskReturned("x", value), [Tell(value)]))
    spec = msgspec.structs.replace(rig.spec, caller="\ud800")
    assert replay([header_line(0, spec)]) == (0, None)


def test_a_trace_of_a_surrogate_replays() -> None:
    rig = Rig(pipeline())
    rig.begin()
    rig.do(SayWanted("half \ud800 pair."))
    assert replay(lines(rig)) == (len(rig.history), None)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_tracer_is_bounded_and_says_so(extra: int) -> None:
    spec, step = Rig().spec, len(step_line(0, Ticked(), []))
    head = len(header_line(0, spec))
    tracer = Tracer("x", 0, spec, limit=head + 10 * step - extra)
    for _ in range(10):
        tracer.step(0, Ticked(), [])
    assert tracer.truncated is bool(extra)
    data = tracer.take(1)
    assert len(data) == head + (10 - extra) * step
    tracer.step(0, Ticked(), [])
    assert len(tracer.take(1)) == (0 if extra else step)  # what broke off does not go on
    assert replay(data.splitlines())[1] is None


def test_a_tracer_gives_pieces_worth_writing_one_at_a_time() -> None:
    tracer = Tracer("x", 0, Rig().spec)
    size = len(header_line(0, Rig().spec))
    assert tracer.take(size + 1) == b""
    tracer.busy = True
    assert tracer.take(1) == b""
    tracer.busy = False
    assert len(tracer.take(size)) == size
    assert tracer.take(0) == b""
