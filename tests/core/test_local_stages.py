"""The application's functions as stages, each alone: what it orders, what it answers, and what it never does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, PCMU_8K
from patter_core.call.words import Drop, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded
from patter_core.contract import Fault, Lane
from patter_core.engines.engine import StageFailed, ToolAnswered
from patter_core.engines.local_stages import BrainFunction, EarFunction, VoiceFunction
from patter_core.engines.policy import HandlerSpec
from patter_core.engines.stages import Lost, Question, Recognised, Replied, Spoke, Text, Voiced
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.settings import CallSettings

S = 1_000_000


def ear(**settings: Any) -> EarFunction:
    spec = CallableEar(HandlerSpec("a.stt", Lane.THREAD))
    return EarFunction(spec, "x:stt:", PCMU_8K, CallSettings(**settings))


def brain() -> BrainFunction:
    return BrainFunction(CallableBrain(HandlerSpec("a.on_message")), "reply:", CallSettings())


def voice() -> VoiceFunction:
    return VoiceFunction(CallableVoice(HandlerSpec("a.tts"), L16_8K), "tts:", CallSettings())


def asked(one: BrainFunction, text: str = "Hello.") -> str:
    (run,) = one.reply(0, Question(text, (), {"text": text}))
    assert isinstance(run, Run)
    return run.name


def spoken(one: VoiceFunction) -> str:
    (run,) = one.speak(0, "Hello.")
    assert isinstance(run, Run)
    return run.name


# --- the ear ---------------------------------------------------------------------------------------------------------


def test_an_utterance_is_converted_and_the_line_is_not() -> None:
    one = ear()
    assert one.hears == PCMU_8K
    assert one.begin(0) == one.hear(0, b"\xff" * 160) == []
    (run,) = one.utterance(0, 5, b"\xff" * 8_000)
    assert isinstance(run, Run)
    assert (run.name, run.lane, run.handler) == ("x:stt:1", Lane.THREAD, "a.stt")
    assert len(run.args[0]) == pytest.approx(32_000, abs=64)
    assert run.args[1] == 16_000


def test_utterances_are_recognised_one_after_the_other_and_each_is_answered() -> None:
    one = ear()
    one.utterance(0, 1, b"\xff" * 800)
    assert one.utterance(1, 2, b"\xff" * 800) == []
    first, run = one.handle(2, TaskReturned("x:stt:1", "One."))
    assert first == Recognised("One.", 1)
    assert isinstance(run, Run)
    assert run.name == "x:stt:2"
    assert one.handle(3, TaskRaised("x:stt:2", Fault.USER, "boom")) == [StageFailed("stt", "boom"), Recognised("", 2)]
    assert one.deadline is None


def test_of_too_much_the_oldest_is_not_recognised_but_answered() -> None:
    one = ear(utterance_s=1.0)
    one.utterance(0, 1, b"\xff" * 800)
    one.utterance(0, 2, b"\xff" * 4_000)
    failed, answer = one.utterance(0, 3, b"\xff" * 4_001)
    assert isinstance(failed, StageFailed)
    assert "too slow" in failed.detail
    assert answer == Recognised("", 2)


def test_the_ear_is_given_its_time() -> None:
    one = ear()
    one.utterance(0, 1, b"\xff" * 800)
    assert one.deadline == 15 * S
    assert one.tick(15 * S - 1) == []
    assert one.tick(15 * S) == [Drop("x:stt:1"), StageFailed("stt", "took too long"), Recognised("", 1)]
    assert one.handle(16 * S, TaskReturned("x:stt:1", "late")) == []


def test_an_ear_that_ends_lets_go() -> None:
    one = ear()
    one.utterance(0, 1, b"\xff" * 800)
    one.utterance(0, 2, b"\xff" * 800)
    assert one.end(0) == [Drop("x:stt:1")]
    assert one.handle(0, TaskReturned("x:stt:1", "late")) == one.end(0) == []
    assert one.deadline is None


# --- the brain -------------------------------------------------------------------------------------------------------


def test_a_reply_in_pieces_and_a_reply_at_once() -> None:
    one = brain()
    name = asked(one)
    assert one.handle(0, TaskYielded(name, "Hello ")) == [Text("Hello ")]
    assert one.handle(0, TaskYielded(name, "")) == []
    assert one.handle(0, TaskReturned(name, "there.")) == [Text("there."), Replied()]
    assert one.handle(0, TaskReturned(name, "again")) == []
    name = asked(one)
    assert one.handle(0, TaskReturned(name)) == [Replied()]
    assert one.tool_answered(0, ToolAnswered("t", "{}")) == []


@pytest.mark.parametrize("wrong", [TaskYielded("", 7), TaskAudio("", b"xx")])
def test_a_reply_of_what_is_not_text(wrong: Any) -> None:
    one = brain()
    name = asked(one)
    fields = [getattr(wrong, field) for field in wrong.__struct_fields__[1:]]
    assert one.handle(0, type(wrong)(name, *fields)) == []
    (failed,) = one.handle(0, TaskReturned(name))
    assert isinstance(failed, StageFailed)
    assert failed.detail.endswith("not text")
    assert one.handle(0, TaskReturned(asked(one))) == [Replied()]  # that was the other reply


def test_the_brain_is_given_its_time_and_can_be_stopped() -> None:
    one = brain()
    name = asked(one)
    assert one.deadline == 30 * S
    assert one.tick(30 * S) == [Drop(name), StageFailed("reply", "took too long")]
    name = asked(one)
    assert one.stop(0) == [Drop(name)]
    assert one.stop(0) == one.end(0) == one.tick(99 * S) == []


# --- the voice -------------------------------------------------------------------------------------------------------


def test_half_a_sample_waits_for_its_other_half() -> None:
    one = voice()
    name = spoken(one)
    assert one.handle(0, TaskAudio(name, b"abc")) == [Voiced(b"ab")]
    assert one.handle(0, TaskAudio(name, b"d")) == [Voiced(b"cd")]
    assert one.handle(0, TaskAudio(name, b"e")) == []
    assert one.handle(0, TaskReturned(name)) == [Spoke()]
    name = spoken(one)
    assert one.handle(0, TaskAudio(name, b"xy")) == [Voiced(b"xy")]


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_however_audio_is_cut_no_sample_is_shifted(pieces: list[bytes]) -> None:
    one = voice()
    name = spoken(one)
    orders = [order for piece in pieces for order in one.handle(0, TaskAudio(name, piece))]
    assert all(isinstance(order, Voiced) and order.audio and len(order.audio) % 2 == 0 for order in orders)
    whole = b"".join(pieces)
    assert b"".join(order.audio for order in orders if isinstance(order, Voiced)) == whole[: len(whole) // 2 * 2]


def test_what_was_stopped_never_leaks() -> None:
    one = voice()
    name = spoken(one)
    one.handle(0, TaskAudio(name, b"abc"))
    assert one.stop(0) == [Drop(name)]
    for late in (TaskAudio(name, b"xx"), TaskReturned(name), TaskRaised(name, Fault.USER, "x")):
        assert one.handle(0, late) == []
    again = spoken(one)
    assert again != name
    assert one.handle(0, TaskAudio(again, b"xy")) == [Voiced(b"xy")]


@pytest.mark.parametrize("how", ["raises", "returns", "half a sample", "too long"])
def test_a_voice_that_fails_is_lost(how: str) -> None:
    one = voice()
    name = spoken(one)
    if how == "raises":
        orders = one.handle(0, TaskRaised(name, Fault.USER, "boom"))
    elif how == "too long":
        assert one.deadline == 10 * S
        dropped, *orders = one.tick(10 * S)
        assert dropped == Drop(name)
    else:
        one.handle(0, TaskAudio(name, b"x" if how == "half a sample" else b""))
        orders = one.handle(0, TaskReturned(name))
    assert [type(order) for order in orders] == [StageFailed, Lost]
    assert one.deadline is None


def test_its_time_runs_from_audio_to_audio() -> None:
    one = voice()
    name = spoken(one)
    one.handle(9 * S, TaskAudio(name, b"xx"))
    assert one.deadline == 19 * S
    one.handle(12 * S, TaskAudio(name, b""))
    assert one.deadline == 19 * S
    assert one.speaks == L16_8K != L16_16K
