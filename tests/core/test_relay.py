"""One stage takes the place of another: nothing that was asked for is lost, nothing is heard twice, and the last one
stays."""

from __future__ import annotations

from typing import Any

import pytest

from patter_core.audio.formats import L16_8K, L16_16K, PCMU_8K
from patter_core.call.words import CloseLink
from patter_core.engines.engine import CallTool, ProviderWarned, StageFailed, Switched, ToolAnswered
from patter_core.engines.relay import BrainRelay, EarRelay, VoiceRelay
from patter_core.engines.stages import Lost, Partial, Question, Recognised, Replied, Spoke, Text, Voiced
from tests.core.stage_kit import ScriptedBrain, ScriptedEar, ScriptedVoice, says

FAILED = {"stt": StageFailed("stt", "boom"), "reply": StageFailed("reply", "boom"), "tts": StageFailed("tts", "boom")}


def question(text: str = "Hello.") -> Question:
    return Question(text, ({"role": "user", "content": text},), {})


# --- ears ------------------------------------------------------------------------------------------------------------


def ears(*hears: Any, limit: int = 16_000) -> tuple[EarRelay, list[ScriptedEar]]:
    members = [ScriptedEar(f"ear{n}", one) for n, one in enumerate(hears or (PCMU_8K, PCMU_8K, PCMU_8K))]
    relay = EarRelay(members, [f"tag{n}" for n in range(len(members))], limit)
    assert relay.begin(0) == []
    assert [member.told for member in members] == [[("begin",)], *([[]] * (len(members) - 1))]
    return relay, members


def test_a_good_ear_is_left_alone() -> None:
    relay, (_, second, _) = ears()
    relay.hear(0, b"a")
    relay.utterance(0, 1, b"a")
    orders = [Partial("He"), Recognised("Hello.", 1), ProviderWarned("x", "y", "z")]
    assert relay.handle(0, says("ear0", *orders)) == orders
    assert second.told == []
    assert relay.end(0) == [CloseLink("ear0")]


@pytest.mark.parametrize("how", [Lost("gone"), FAILED["stt"]])
def test_what_an_ear_owed_is_asked_of_the_next_one(how: Any) -> None:
    relay, (_, second, _) = ears()
    relay.utterance(0, 1, b"aa")
    relay.utterance(0, 2, b"bb")
    relay.utterance(0, 3, b"cc")
    relay.handle(0, says("ear0", Recognised("One.", 1)))
    relay.hear(0, b"dd")
    out = relay.handle(0, says("ear0", how, Recognised("", 2)))
    assert out[-1] == Switched("stt", "tag1", "gone" if isinstance(how, Lost) else "boom")
    assert (CloseLink("ear0") in out) is not isinstance(how, Lost)  # who is lost has let go of everything
    assert [order for order in out if isinstance(order, Recognised | StageFailed | Lost)] == []
    expected = [("begin",), ("hear", b"bb"), ("utterance", 2, b"bb"), ("hear", b"cc"), ("utterance", 3, b"cc")]
    assert second.told == [*expected, ("hear", b"dd")]
    answers = [Recognised("Two.", 2), Recognised("Three.", 3)]
    assert relay.handle(0, says("ear1", *answers)) == answers
    assert relay.handle(0, says("ear0", Recognised("late", 2))) == []


def test_the_third_ear_gets_what_two_did_not_answer() -> None:
    relay, (_, second, third) = ears()
    second.then["utterance"] = lambda: [Lost("also gone")]
    relay.utterance(0, 1, b"aa")
    relay.utterance(0, 2, b"bb")
    out = relay.handle(0, says("ear0", Lost("gone")))
    assert [order.to for order in out if isinstance(order, Switched)] == ["tag1", "tag2"]
    assert third.all("utterance") == [(1, b"aa"), (2, b"bb")]


def test_the_last_ear_stays_until_it_is_lost() -> None:
    relay, _ = ears(PCMU_8K, PCMU_8K)
    relay.utterance(0, 1, b"aa")
    relay.handle(0, says("ear0", Lost("gone")))
    failure = [FAILED["stt"], Recognised("", 1)]
    assert relay.handle(0, says("ear1", *failure)) == failure
    assert relay.handle(0, says("ear1", Lost("gone too"))) == [Lost("gone too")]


def test_a_last_ear_that_is_lost_at_once_is_not_used() -> None:
    relay, (_, second) = ears(PCMU_8K, PCMU_8K)
    second.then["begin"] = lambda: [Lost("no such host")]
    relay.utterance(0, 1, b"aa")
    relay.hear(0, b"b")
    assert relay.handle(0, says("ear0", Lost("gone"))) == [Switched("stt", "tag1", "gone"), Lost("no such host")]
    assert second.told == [("begin",)]


def test_sound_kept_for_the_next_ear_is_bounded_and_what_was_not_kept_is_said() -> None:
    relay, (_, second, _) = ears(limit=100)
    relay.utterance(0, 1, b"a" * 60)
    relay.utterance(0, 2, b"b" * 60)
    out = relay.handle(0, says("ear0", Lost("gone")))
    assert StageFailed("stt", "gone") in out
    assert Recognised("", 1) in out
    assert second.all("utterance") == [(2, b"b" * 60)]


def test_of_the_present_utterance_the_next_ear_hears_the_last_seconds() -> None:
    relay, (_, second, _) = ears()
    for n in range(400):
        relay.hear(0, bytes([n % 256]) * 160)
    relay.handle(0, says("ear0", Lost("gone")))
    (heard,) = second.all("hear")
    assert len(heard) == 5 * 8_000
    assert heard.endswith(bytes([399 % 256]) * 160)


def test_ears_hear_what_they_want_to_hear() -> None:
    relay, (_, second, _) = ears(PCMU_8K, L16_8K, PCMU_8K)
    assert relay.hears == PCMU_8K
    relay.utterance(0, 1, b"\xff" * 160)
    relay.handle(0, says("ear0", Lost("gone")))
    assert second.told == [("begin",), ("hear", bytes(320)), ("utterance", 1, bytes(320))]


# --- brains ----------------------------------------------------------------------------------------------------------


def brains(count: int = 3) -> tuple[BrainRelay, list[ScriptedBrain]]:
    members = [ScriptedBrain(f"brain{n}") for n in range(count)]
    relay = BrainRelay(members, [f"tag{n}" for n in range(count)])
    relay.begin(0)
    return relay, members


@pytest.mark.parametrize(
    "how", [[Lost("boom")], [FAILED["reply"]], [FAILED["reply"], Replied()], [Text(" "), Lost("boom")]]
)
def test_before_the_first_word_the_question_goes_to_the_next_brain(how: list[Any]) -> None:
    relay, (_, second, _) = brains()
    relay.reply(0, question())
    out = relay.handle(0, says("brain0", *how))
    assert Switched("llm", "tag1", "boom") in out
    assert [order for order in out if isinstance(order, StageFailed | Lost | Replied)] == []
    assert second.told == [("begin",), ("reply", question())]
    assert relay.handle(0, says("brain1", Text("Hi."), Replied())) == [Text("Hi."), Replied()]
    assert relay.handle(0, says("brain0", Text("late"))) == []


def test_a_brain_lost_after_the_first_word_fails_and_the_next_question_is_the_next_ones() -> None:
    relay, (_, second, _) = brains()
    relay.reply(0, question())
    relay.handle(0, says("brain0", Text("Well, ")))
    out = relay.handle(0, says("brain0", Lost("gone")))
    assert out == [StageFailed("reply", "gone"), Switched("llm", "tag1", "gone")]
    assert second.told == [("begin",)]
    relay.reply(0, question("Go on."))
    assert second.all("reply") == [question("Go on.")]


def test_a_brain_that_fails_after_the_first_word_is_kept() -> None:
    relay, (first, second, _) = brains()
    relay.reply(0, question())
    out = relay.handle(0, says("brain0", Text("Well, "), FAILED["reply"]))
    assert out == [Text("Well, "), FAILED["reply"]]
    relay.reply(0, question("Go on."))
    assert second.told == []
    assert len(first.all("reply")) == 2


@pytest.mark.parametrize("how", [Lost("boom"), FAILED["reply"]])
def test_a_tool_is_not_called_twice(how: Any) -> None:
    relay, (_, second, _) = brains()
    relay.reply(0, question())
    relay.handle(0, says("brain0", CallTool("t1", "book", "{}")))
    out = relay.handle(0, says("brain0", how))
    assert StageFailed("reply", "boom") in out
    assert second.all("reply") == []
    relay.tool_answered(0, ToolAnswered("t1", "{}"))
    assert second.all("tool_answered") == []


def test_a_tools_answer_is_for_who_called_it() -> None:
    relay, (first, _, _) = brains()
    relay.reply(0, question())
    relay.handle(0, says("brain0", CallTool("t1", "book", "{}")))
    for call in ("t2", "t1", "t1"):
        relay.tool_answered(0, ToolAnswered(call, "{}"))
    assert first.all("tool_answered") == [ToolAnswered("t1", "{}")]


def test_a_brain_lost_between_questions() -> None:
    relay, (_, second, _) = brains()
    relay.reply(0, question())
    relay.handle(0, says("brain0", Text("Hi."), Replied()))
    assert relay.handle(0, says("brain0", Lost("gone"))) == [Switched("llm", "tag1", "gone")]
    assert second.told == [("begin",)]


def test_the_last_brain_stays_and_a_stopped_question_is_not_asked_again() -> None:
    relay, (_, second) = brains(2)
    relay.reply(0, question())
    relay.stop(0)
    assert relay.handle(0, says("brain0", Lost("gone"))) == [Switched("llm", "tag1", "gone")]
    assert second.all("reply") == []
    relay.reply(0, question())
    assert relay.handle(0, says("brain1", FAILED["reply"])) == [FAILED["reply"]]
    assert relay.handle(0, says("brain1", Lost("gone too"))) == [Lost("gone too")]


def test_brains_that_are_all_lost_at_once() -> None:
    relay, members = brains()
    for one in members[1:]:
        one.then["begin"] = lambda: [Lost("no such host")]
    relay.reply(0, question())
    out = relay.handle(0, says("brain0", Lost("gone")))
    assert [type(order) for order in out] == [Switched, Switched, Lost]
    assert members[2].all("reply") == []


# --- voices ----------------------------------------------------------------------------------------------------------


def voices(*speaks: Any) -> tuple[VoiceRelay, list[ScriptedVoice]]:
    members = [ScriptedVoice(f"voice{n}", one) for n, one in enumerate(speaks or (L16_8K, L16_8K, L16_8K))]
    relay = VoiceRelay(members, [f"tag{n}" for n in range(len(members))])
    relay.begin(0)
    return relay, members


@pytest.mark.parametrize(
    "how", [[Lost("boom")], [FAILED["tts"]], [FAILED["tts"], Spoke()], [FAILED["tts"], Lost("boom")]]
)
def test_a_sentence_of_which_nothing_was_heard_is_spoken_by_the_next_voice(how: list[Any]) -> None:
    relay, (_, second, _) = voices()
    relay.speak(0, "Hello.")
    out = relay.handle(0, says("voice0", *how))
    assert Switched("tts", "tag1", "boom") in out
    assert [order for order in out if isinstance(order, StageFailed | Lost | Spoke)] == []
    assert second.told == [("begin",), ("speak", "Hello.")]
    assert relay.handle(0, says("voice1", Voiced(b"xx"), Spoke())) == [Voiced(b"xx"), Spoke()]
    assert relay.handle(0, says("voice0", Voiced(b"late"))) == []


def test_a_sentence_that_came_to_nothing_is_spoken_by_the_next_voice_too() -> None:
    relay, (_, second, _) = voices()
    relay.speak(0, "Hello.")
    relay.handle(0, says("voice0", Spoke()))
    assert second.all("speak") == ["Hello."]


def test_a_voice_lost_in_the_middle_of_a_sentence_ends_it() -> None:
    relay, (_, second, _) = voices()
    relay.speak(0, "Hello.")
    relay.handle(0, says("voice0", Voiced(b"xx")))
    assert relay.handle(0, says("voice0", Lost("gone"))) == [Spoke(), Switched("tts", "tag1", "gone")]
    relay.speak(0, "How are you?")
    assert second.all("speak") == ["How are you?"]


def test_a_voice_that_fails_in_the_middle_of_a_sentence_is_kept() -> None:
    relay, (first, second, _) = voices()
    relay.speak(0, "Hello.")
    relay.handle(0, says("voice0", Voiced(b"xx")))
    assert relay.handle(0, says("voice0", FAILED["tts"])) == [FAILED["tts"], Spoke()]
    assert ("stop",) in first.told
    assert second.told == []


def test_a_voice_lost_between_sentences_and_one_that_was_stopped() -> None:
    relay, (_, _, third) = voices()
    assert relay.handle(0, says("voice0", Lost("gone"))) == [Switched("tts", "tag1", "gone")]
    relay.speak(0, "Hello.")
    relay.stop(0)
    relay.handle(0, says("voice1", Lost("gone")))
    assert third.all("speak") == []


def test_the_last_voice_stays_until_it_is_lost() -> None:
    relay, _ = voices(L16_8K, L16_8K)
    relay.speak(0, "Hello.")
    relay.handle(0, says("voice0", Lost("gone")))
    assert relay.handle(0, says("voice1", FAILED["tts"])) == [FAILED["tts"]]
    assert relay.handle(0, says("voice1", Lost("gone too"))) == [Lost("gone too")]


def test_every_voice_sounds_in_the_format_of_the_first() -> None:
    relay, _ = voices(L16_8K, L16_16K)
    relay.handle(0, says("voice0", Lost("gone")))
    assert relay.speaks == L16_8K
    lengths = []
    for _ in range(2):
        relay.speak(0, "Hello.")
        out = relay.handle(0, says("voice1", Voiced(bytes(3_200)), Voiced(bytes(3_200)), Spoke()))
        assert out[-1] == Spoke()
        lengths.append(sum(len(order.audio) for order in out if isinstance(order, Voiced)))
    assert lengths[0] == lengths[1]  # nothing of one sentence is in the next
    assert 3_200 <= lengths[0] <= 3_300  # all of it, and what rings in the filter
    relay.speak(0, "Hello.")
    relay.handle(0, says("voice1", Voiced(b"\xff\x3f" * 1_600)))
    relay.stop(0)
    relay.speak(0, "Bye.")
    out = relay.handle(0, says("voice1", Voiced(bytes(3_200)), Spoke()))
    assert not any(b"".join(order.audio for order in out if isinstance(order, Voiced)))
