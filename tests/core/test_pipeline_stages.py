"""The pipeline over scripted stages: who is told what and when, hooks, guardrails, memory, false interruptions, and
what becomes of a call whose stages are lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, PCMU_8K
from patter_core.call.words import CloseLink, Drop, OpenLink, Run, TaskRaised, TaskReturned, TaskYielded
from patter_core.config import PipelineSpec
from patter_core.contract import Fault, Lane
from patter_core.engines import pipeline
from patter_core.engines.engine import (
    Asking,
    AskReply,
    CallerSaid,
    CallerStarted,
    CallerStopped,
    CallTool,
    Ended,
    EngineContext,
    EngineOrder,
    GaveUp,
    Interrupted,
    Keyed,
    Played,
    ProviderWarned,
    ReplyBegan,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    StageFailed,
    Switched,
    ToolAnswered,
    Unasked,
    Used,
)
from patter_core.engines.pipeline import PipelineEngine
from patter_core.engines.policy import GuardSpec, HandlerSpec, HookSpecs, Interruptions
from patter_core.engines.stages import Lost, Partial, Recognised, Replied, Spoke, Text, Voiced
from patter_core.engines.usage import Usage
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.settings import CallSettings
from tests.core.call_kit import MS, QUIET, VOICE, S
from tests.core.stage_kit import ScriptedBrain, ScriptedEar, ScriptedVoice, says

SPEC = PipelineSpec(
    brain=(CallableBrain(HandlerSpec("reply")),),
    voice=(CallableVoice(HandlerSpec("tts"), L16_8K),),
    ear=(CallableEar(HandlerSpec("stt")),),
    fallback_text="Sorry.",
)
TWO = PipelineSpec(brain=SPEC.brain * 2, voice=SPEC.voice * 2, ear=SPEC.ear * 2, fallback_text="Sorry.")
SOUND = bytes(1_600)  # 100 ms


class Bench:
    """An engine over scripted stages, its clock, and all it ordered."""

    def __init__(self, engine: PipelineEngine, ear: ScriptedEar, brain: ScriptedBrain, voice: ScriptedVoice) -> None:
        self.engine, self.ear, self.brain, self.voice = engine, ear, brain, voice
        self.now = 0
        self.out: list[EngineOrder] = []
        self.unasked = False

    def take(self, orders: list[EngineOrder]) -> list[EngineOrder]:
        for ask in of(AskReply, orders):
            answer = Unasked(ask.ask) if self.unasked else Asking(ask.ask, {"text": ask.text})
            orders = [*orders, *self.take(self.engine.handle(self.now, answer))]
        return orders

    def tell(self, fact: Any) -> list[EngineOrder]:
        return self.note(self.take(self.engine.handle(self.now, fact)))

    def note(self, orders: list[EngineOrder]) -> list[EngineOrder]:
        self.out += orders
        deadline = self.engine.deadline
        assert deadline is None or deadline > self.now
        return orders

    def begin(self) -> list[EngineOrder]:
        return self.note(self.take(self.engine.begin(self.now)))

    def listen(self, *frames: bytes) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        for frame in frames:
            end = self.now + 20 * MS
            out += self.until(end)
            out += self.note(self.take(self.engine.hear(self.now, frame)))
        return out

    def until(self, at: int) -> list[EngineOrder]:
        out: list[EngineOrder] = []
        while (deadline := self.engine.deadline) is not None and deadline <= at:
            self.now = deadline
            out += self.note(self.take(self.engine.tick(self.now)))
        self.now = at
        return out

    def speak(self, ms: int = 400) -> int:
        """The caller speaks and falls silent; when that was, as the ear was told."""
        self.listen(*[VOICE] * (ms // 20), *[QUIET] * 35)
        return int(self.ear.all("utterance")[-1][0])

    def utter(self, text: str, ms: int = 400) -> list[EngineOrder]:
        return self.tell(says("ear", Recognised(text, self.speak(ms))))

    def reply(self, *texts: str) -> list[EngineOrder]:
        return self.tell(says("brain", *map(Text, texts), Replied()))

    def spoke(self) -> list[EngineOrder]:
        return self.tell(says("voice", Voiced(SOUND), Spoke()))

    def run(self, handler: str) -> Run:
        return [order for order in self.out if isinstance(order, Run) and order.handler == handler][-1]

    def returned(self, handler: str, value: Any) -> list[EngineOrder]:
        return self.tell(TaskReturned(self.run(handler).name, value))

    @property
    def question(self) -> Any:
        return self.brain.all("reply")[-1]

    @property
    def messages(self) -> list[str]:
        return [f"{one['role'][0]}: {one['content']}" for one in self.question.messages]


Make = Callable[..., Bench]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(
        first: str = "",
        begin: bool = True,
        hooks: HookSpecs = HookSpecs(),  # noqa: B008
        ear: ScriptedEar | None = None,
        limits: dict[str, Any] | None = None,
        plain_speech: bool = True,
        **context: Any,
    ) -> Bench:
        ear, brain, voice = ear or ScriptedEar(), ScriptedBrain(), ScriptedVoice()
        monkeypatch.setattr(pipeline, "ear_of", lambda *_: ear)
        monkeypatch.setattr(pipeline, "brain_of", lambda *_: brain)
        monkeypatch.setattr(pipeline, "voice_of", lambda *_: voice)
        spec = PipelineSpec(
            brain=SPEC.brain,
            voice=SPEC.voice,
            ear=SPEC.ear,
            fallback_text="Sorry.",
            hooks=hooks,
            plain_speech=plain_speech,
        )
        about = EngineContext("CA1", "+15550100001", "+15550001234", PCMU_8K, "", first, "en", "", **context)
        bench = Bench(PipelineEngine(about, spec, CallSettings(**(limits or {}))), ear, brain, voice)
        if begin:
            bench.begin()
        return bench

    return made


def of(kind: type, orders: list[EngineOrder]) -> list[Any]:
    return [order for order in orders if type(order) is kind]


def spoken(orders: list[EngineOrder]) -> list[str]:
    return [order.text for order in of(Saying, orders)]


# --- beginning and ending --------------------------------------------------------------------------------------------


def test_stages_begin_once_and_before_the_conversation_when_that_is_wanted(make: Make) -> None:
    bench = make(first="Welcome.", begin=False)
    bench.ear.then["begin"] = lambda: [OpenLink("ear", "wss://ear.example")]
    assert bench.engine.warm(0) == [OpenLink("ear", "wss://ear.example")]
    assert bench.engine.warm(0) == []
    assert spoken(bench.begin()) == ["Welcome."]
    for stage in (bench.ear, bench.brain, bench.voice):
        assert stage.told.count(("begin",)) == 1
    assert {type(order) for order in bench.tell(Ended())} == {CloseLink}
    assert bench.tell(Ended()) == bench.tell(says("ear", Lost("x"))) == []


def test_a_stage_that_is_lost_before_the_conversation(make: Make) -> None:
    bench = make(first="Welcome.", begin=False)
    bench.voice.then["begin"] = lambda: [Lost("refused")]
    out = bench.engine.warm(0)
    assert of(GaveUp, out) == [GaveUp("refused", "Sorry.")]
    assert bench.begin() == []


def test_an_engine_that_takes_over_does_not_greet_and_knows_what_was_said(make: Make) -> None:
    past = (("assistant", "Welcome."), ("user", "Hello."))
    bench = make(first="Welcome.", speech_goes_on=True, past=past, prefix="e2.")
    assert bench.out == []
    bench.utter("Are you there?")
    assert bench.messages == ["a: Welcome.", "u: Hello.", "u: Are you there?"]
    assert of(ReplyBegan, bench.reply("Yes."))[0].item.startswith("e2.")


# --- the ear ---------------------------------------------------------------------------------------------------------


def test_the_ear_hears_everything_and_is_told_of_utterances(make: Make) -> None:
    bench = make()
    at = bench.speak()
    assert b"".join(bench.ear.all("hear")) == VOICE * 20 + QUIET * 35
    assert bench.ear.all("utterance") == [(at, VOICE * 20 + QUIET * 30)]
    assert bench.ear.told.index(("utterance", at, VOICE * 20 + QUIET * 30)) > bench.ear.told.index(("hear", VOICE))


def test_the_ear_hears_in_its_own_format(make: Make) -> None:
    bench = make(ear=ScriptedEar(hears=L16_16K))
    bench.speak()
    assert len(b"".join(bench.ear.all("hear"))) == pytest.approx(55 * 640, abs=64)
    assert len(bench.ear.all("utterance")[0][1]) == pytest.approx(50 * 640, abs=64)


def test_partials_are_passed_on_and_are_no_turn(make: Make) -> None:
    bench = make()
    bench.listen(*[VOICE] * 20)
    out = bench.tell(says("ear", Partial(" Hel "), Partial(" ")))
    assert out == [CallerSaid("Hel", False)]


def test_a_turn_that_the_ear_ends_is_not_ended_again(make: Make) -> None:
    bench = make()
    bench.listen(*[VOICE] * 20, *[QUIET] * 10)
    assert bench.engine.voiced_us == 400 * MS
    out = bench.tell(says("ear", Recognised("Hello.", -1)))
    assert out[:2] == [CallerStopped(400 * MS), CallerSaid("Hello.", True, 400 * MS)]
    assert bench.engine.voiced_us == 0
    out = bench.listen(*[QUIET] * 60)
    assert of(CallerStopped, out) == []
    assert bench.ear.all("utterance") == []
    assert len(of(CallerStarted, bench.listen(*[VOICE] * 10))) == 1


def test_who_goes_on_speaking_after_the_ear_ended_the_turn_begins_another(make: Make) -> None:
    bench = make()
    bench.listen(*[VOICE] * 20)
    bench.tell(says("ear", Recognised("Hello.", -1)))
    assert of(CallerStarted, bench.listen(VOICE, QUIET, QUIET)) == []  # a click
    started = of(CallerStarted, bench.listen(*[VOICE] * 10))
    assert len(started) == 1
    bench.listen(*[QUIET] * 35)
    assert len(bench.ear.all("utterance")) == 1


def test_a_turn_that_the_ear_ends_late_comes_before_what_is_owed(make: Make) -> None:
    bench = make()
    at = bench.speak()
    bench.tell(Keyed("[DTMF: 1]"))
    out = bench.tell(says("ear", Recognised("Hello.", -1)))
    assert of(CallerSaid, out) == [CallerSaid("Hello.", True, at)]
    out = bench.tell(says("ear", Recognised("", at)))
    assert of(CallerSaid, out) == [CallerSaid("[DTMF: 1]")]


def test_the_ear_may_end_a_turn_without_words(make: Make) -> None:
    bench = make()
    bench.listen(*[VOICE] * 20)
    assert bench.tell(says("ear", Recognised(" ", -1))) == [CallerStopped(400 * MS)]
    assert not bench.engine.busy


def test_keys_keep_their_place_among_words(make: Make) -> None:
    bench = make()
    first = bench.speak()
    bench.tell(Keyed("[DTMF: 1]"))
    second = bench.speak()
    assert of(CallerSaid, bench.tell(says("ear", Recognised("Two.", second)))) == []
    out = bench.tell(says("ear", Recognised("One.", first)))
    assert [said.text for said in of(CallerSaid, out)] == ["One.", "[DTMF: 1]", "Two."]
    assert bench.question.text == "One. [DTMF: 1] Two."


def test_answers_to_nothing_are_nothing(make: Make) -> None:
    bench = make()
    at = bench.speak()
    assert bench.tell(says("ear", Recognised("x", 12345))) == []
    bench.tell(says("ear", Recognised("One.", at)))
    assert bench.tell(says("ear", Recognised("One.", at))) == []


def test_what_waits_for_words_is_bounded(make: Make) -> None:
    bench = make()
    at = bench.speak()
    for n in range(200):
        bench.tell(Keyed(f"[DTMF: {n}]"))
    out = bench.tell(says("ear", Recognised("One.", at)))
    texts = [said.text for said in of(CallerSaid, out)]
    assert texts[0] == "One."
    assert texts[1:] == [f"[DTMF: {n}]" for n in range(137, 200)]


def test_an_ear_that_fails_is_apologised_for_and_one_that_is_lost_ends_the_call(make: Make) -> None:
    bench = make()
    at = bench.speak()
    assert spoken(bench.tell(says("ear", StageFailed("stt", "x"), Recognised("", at)))) == ["Sorry."]
    out = bench.tell(says("ear", Lost("no link")))
    assert out[0] == StageFailed("stt", "no link")
    assert out[-1] == GaveUp("no link", "Sorry.")
    bench.listen(*[VOICE] * 20)  # it is not told any more, or the script would object


def test_what_was_used_is_told_with_its_reply(make: Make) -> None:
    bench = make()
    heard, thought, said = (Usage(stage=stage, provider="p") for stage in ("stt", "llm", "tts"))
    assert bench.tell(says("ear", Used(heard))) == [Used(heard)]
    bench.utter("Hello.")
    out = bench.tell(says("brain", Text("Hi. "), Used(thought)))
    item = of(ReplyBegan, out)[0].item
    assert of(Used, out) == [Used(thought, item)]
    assert bench.tell(says("voice", Used(said))) == [Used(said, item)]
    warned = ProviderWarned("p", "odd", "x")
    assert bench.tell(says("voice", warned)) == [warned]


# --- the brain -------------------------------------------------------------------------------------------------------


def test_a_question(make: Make) -> None:
    bench = make(first="Welcome.")
    bench.utter("Hello.")
    assert bench.question.text == "Hello."
    assert bench.question.payload == {"text": "Hello."}
    assert bench.messages == ["a: Welcome.", "u: Hello."]


def test_a_question_that_is_not_to_be_asked(make: Make) -> None:
    bench = make()
    bench.unasked = True
    bench.utter("Hello.")
    assert bench.brain.all("reply") == []
    assert not bench.engine.busy
    bench.unasked = False
    bench.utter("And now?")
    assert bench.messages == ["u: Hello.", "u: And now?"]


def test_answers_to_another_question_are_nothing(make: Make) -> None:
    bench = make()
    for fact in (Asking("", {}), Asking("ask:9", {}), Unasked(""), Unasked("ask:9")):
        assert bench.tell(fact) == []


def test_tools_are_passed_through_and_waiting_for_one_is_not_being_busy(make: Make) -> None:
    bench = make()
    bench.utter("Book it.")
    call = CallTool("t1", "book", "{}")
    assert bench.tell(says("brain", call)) == [call]
    assert not bench.engine.busy
    bench.brain.then["tool_answered"] = lambda: [Text("Booked."), Replied()]
    assert spoken(bench.tell(ToolAnswered("t1", '"ok"'))) == ["Booked."]
    assert bench.brain.all("tool_answered") == [ToolAnswered("t1", '"ok"')]


def test_a_brain_that_was_stopped_says_nothing(make: Make) -> None:
    bench = make()
    bench.utter("One.")
    bench.brain.then["stop"] = lambda: [Text("late"), CallTool("t1", "x", "{}"), Replied(), CloseLink("b")]
    out = bench.tell(Interrupted("", 0, ""))
    assert out == [CloseLink("b")]
    assert bench.tell(says("brain", Text("later. "), CallTool("t2", "x", "{}"), StageFailed("reply", "x"))) == [
        StageFailed("reply", "x")
    ]
    assert not bench.engine.busy


def test_a_failure_ends_the_reply_even_if_the_brain_says_more(make: Make) -> None:
    bench = make()
    bench.utter("One.")
    out = bench.tell(says("brain", StageFailed("reply", "x"), Replied()))
    assert spoken(out) == ["Sorry."]
    bench.utter("Two.")
    assert spoken(bench.tell(says("brain", Text("Fine. "), StageFailed("reply", "x")))) == []
    assert ("stop",) in bench.brain.told


def test_without_a_brain_there_are_three_apologies_at_most(make: Make) -> None:
    bench = make()
    bench.utter("One.")
    out = bench.tell(says("brain", Lost("no key")))
    assert of(StageFailed, out) == [StageFailed("reply", "no key")]
    assert spoken(out) == ["Sorry."]
    bench.spoke()
    assert spoken(bench.utter("Two.")) == ["Sorry."]
    bench.spoke()
    out = bench.utter("Three.")
    assert of(GaveUp, out) == [GaveUp("no key", "Sorry.")]
    assert len(bench.brain.all("reply")) == 1


def test_a_brain_that_is_lost_while_nothing_is_asked(make: Make) -> None:
    bench = make()
    assert bench.tell(says("brain", Lost("no key"))) == [StageFailed("reply", "no key")]
    assert spoken(bench.utter("One.")) == ["Sorry."]


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_the_brain_sees_what_was_heard(make: Make) -> None:
    bench = make(first="Welcome.")
    bench.spoke()
    bench.tell(Played("first"))
    bench.tell(Say("say:1", "By the way."))
    bench.spoke()
    bench.utter("Tell me.")
    item = of(ReplyBegan, bench.reply("It is long. ", "It began in May. ", "It ended in June."))[0].item
    bench.spoke()
    bench.tell(says("voice", Voiced(SOUND)))
    bench.tell(Interrupted(item, 1, "It is long. It"))
    bench.utter("Shorter.")
    lines = ["a: Welcome.", "a: By the way.", "u: Tell me.", "a: It is long. It", "u: Shorter."]
    assert bench.messages == lines


def test_what_is_asked_again_with_more_is_remembered_once(make: Make) -> None:
    bench = make()
    bench.utter("Book a table.")
    bench.utter("For two.")
    assert bench.messages == ["u: Book a table. For two."]
    bench.reply("Done.")
    bench.tell(says("voice", Voiced(SOUND)))
    bench.utter("Thanks.")
    bench.utter("Bye.")
    out = bench.tell(says("voice", Spoke()))
    assert of(AskReply, out) == []  # the reply ended before they spoke: they were asked at once
    assert bench.messages == ["u: Book a table. For two.", "a: Done.", "u: Thanks. Bye."]


def test_what_was_said_while_the_reply_was_spoken_is_asked_after_it(make: Make) -> None:
    bench = make()
    bench.utter("One.")
    bench.tell(says("brain", Text("Answer. ")))
    bench.tell(says("voice", Voiced(SOUND)))
    bench.utter("Uh-huh.")
    bench.utter("Right.")
    bench.reply("More.")
    assert bench.question.text == "Uh-huh. Right."
    assert bench.messages == ["u: One.", "a: Answer.", "u: Uh-huh. Right."]


def test_memory_is_bounded(make: Make) -> None:
    bench = make(limits={"history": 3})
    for n in range(5):
        bench.utter(f"{n}.")
        bench.reply("Yes.")
        bench.spoke()
    assert bench.messages == ["u: 3.", "a: Yes.", "u: 4."]


# --- clean-up --------------------------------------------------------------------------------------------------------


def test_what_is_spoken_is_plain_and_so_is_the_transcript(make: Make) -> None:
    bench = make(first="**Welcome!** 👋")
    assert spoken(bench.out) == ["Welcome!"]
    bench.spoke()
    bench.utter("Hours?")
    bench.reply("## Hours\n", "- *Monday*: 9 to 5\n", "---\n", "See [the site](https://x.example).")
    for _ in range(2):
        bench.spoke()
    assert spoken(bench.out)[1:] == ["Hours", "Monday: 9 to 5", "See the site."]
    assert bench.voice.all("speak")[1:] == ["Hours", "Monday: 9 to 5", "See the site."]
    bench.spoke()
    bench.utter("Thanks.")
    assert bench.messages[-2] == "a: Hours Monday: 9 to 5 See the site."


def test_plain_speech_can_be_left_to_the_voice(make: Make) -> None:
    bench = make(first="**Welcome!**", plain_speech=False)
    assert spoken(bench.out) == ["**Welcome!**"]


# --- guardrails ------------------------------------------------------------------------------------------------------

TERMS = GuardSpec(name="rivals", blocked_terms=("acme",), replacement="Let us talk about us.")
CHECK = GuardSpec(name="tone", check=HandlerSpec("tone", Lane.THREAD), replacement="Let me put it another way.")


def test_a_blocked_sentence_is_replaced_and_the_rest_is_not_said(make: Make) -> None:
    bench = make(guards=(TERMS,))
    bench.utter("Who is better?")
    bench.brain.then["stop"] = lambda: [CloseLink("b")]
    bench.tell(says("brain", Text("Well. ")))
    out = bench.tell(says("brain", Text("**ACME** is. "), Text("Really. "), Text("Go there. ")))
    assert of(ProviderWarned, out) == [ProviderWarned("guardrail", "rivals", "a sentence of the reply was not said")]
    assert CloseLink("b") in out
    assert bench.tell(says("brain", Text("Trust me. "), Replied())) == []
    bench.spoke()
    out = bench.spoke()
    assert of(SpeechEnded, out)
    assert spoken(bench.out) == ["Well.", "Let us talk about us."]
    bench.utter("Hm.")
    assert bench.messages[-2] == "a: Well. Let us talk about us."


def test_a_blocked_reply_lets_what_waited_be_asked(make: Make) -> None:
    bench = make(guards=(TERMS,))
    bench.utter("One.")
    bench.tell(says("brain", Text("Well. ")))
    bench.tell(says("voice", Voiced(SOUND)))
    bench.utter("Two.")
    bench.tell(says("brain", Text("Acme. ")))
    assert bench.question.text == "Two."


def test_what_the_operator_wrote_is_not_checked(make: Make) -> None:
    bench = make(first="Not Acme.", guards=(TERMS, CHECK))
    assert spoken(bench.out) == ["Not Acme."]
    bench.spoke()
    assert spoken(bench.tell(Say("say:1", "Acme it is."))) == ["Acme it is."]
    assert of(Run, bench.out) == []


def test_a_sentence_waits_for_its_verdict_and_the_next_is_checked_meanwhile(make: Make) -> None:
    bench = make(guards=(CHECK,))
    bench.utter("Hello.")
    out = bench.tell(says("brain", Text("Hi. "), Text("Ho. "), Replied()))
    (run,) = of(Run, out)
    assert (run.handler, run.lane, run.args) == ("tone", Lane.THREAD, ("Hi.",))
    assert spoken(out) == []
    out = bench.returned("tone", False)
    assert spoken(out) == ["Hi."]
    assert of(Run, out)[0].args == ("Ho.",)
    assert of(SpeechEnded, bench.spoke()) == []  # the verdict on the next is not in
    assert bench.engine.busy
    out = bench.returned("tone", True)
    assert spoken(out) == ["Let me put it another way."]


@pytest.mark.parametrize("how", ["late", "raises", "yields", "text"])
def test_a_check_that_fails_blocks(make: Make, how: str) -> None:
    bench = make(guards=(CHECK,))
    bench.utter("Hello.")
    bench.reply("Hi.")
    began = bench.now
    name = bench.run("tone").name
    if how == "late":
        assert bench.until(began + 3 * S - 1) == []
        out = bench.until(began + 3 * S)
        assert Drop(name) in out
    elif how == "raises":
        out = bench.tell(TaskRaised(name, Fault.USER, "boom"))
    elif how == "yields":
        bench.tell(TaskYielded(name, False))
        out = bench.tell(TaskReturned(name))
    else:
        out = bench.tell(TaskReturned(name, "fine"))
    assert of(StageFailed, out)[0].stage == "guard"
    assert spoken(out) == ["Let me put it another way."]


def test_a_check_is_given_up_with_its_reply(make: Make) -> None:
    bench = make(guards=(CHECK,))
    bench.utter("Hello.")
    bench.reply("Hi.")
    name = bench.run("tone").name
    assert Drop(name) in bench.tell(Interrupted("", 0, ""))
    assert bench.tell(TaskReturned(name, True)) == []
    assert not bench.engine.busy


# --- hooks -----------------------------------------------------------------------------------------------------------

CONTEXT = {"call_id": "CA1", "caller": "+15550100001", "callee": "+15550001234"}


def hook(name: str) -> HookSpecs:
    return HookSpecs(**{name: HandlerSpec(name)})


def test_after_transcribe_may_change_what_was_said(make: Make) -> None:
    bench = make(hooks=hook("after_transcribe"))
    out = bench.utter("helo")
    assert of(CallerSaid, out) == []
    run = bench.run("after_transcribe")
    assert run.args == ("helo", {**CONTEXT, "history": []})
    assert bench.engine.busy
    out = bench.returned("after_transcribe", " Hello. ")
    assert of(CallerSaid, out)[0].text == "Hello."
    assert bench.question.text == "Hello."


@pytest.mark.parametrize("value", [None, "", " "])
def test_after_transcribe_may_leave_it_out(make: Make, value: Any) -> None:
    bench = make(hooks=hook("after_transcribe"))
    bench.utter("mumble")
    assert bench.returned("after_transcribe", value) == []
    assert not bench.engine.busy


@pytest.mark.parametrize("how", ["late", "raises", "number"])
@pytest.mark.parametrize("name", ["after_transcribe", "before_llm", "after_llm", "before_synthesize"])
def test_a_hook_that_fails_changes_nothing(make: Make, name: str, how: str) -> None:
    bench = make(hooks=hook(name))
    bench.utter("Hello.")
    if name not in ("after_transcribe", "before_llm"):
        bench.reply("Hi.")
    task = bench.run(name).name
    if how == "late":
        out = bench.until(bench.now + 2 * S)
        assert Drop(task) in out
    elif how == "raises":
        out = bench.tell(TaskRaised(task, Fault.USER, "boom"))
    else:
        out = bench.tell(TaskReturned(task, 7))
    (failed,) = of(StageFailed, out)
    assert failed.stage == "hook"
    assert failed.detail.startswith(f"{name}: ")
    if name == "after_transcribe":
        assert of(CallerSaid, out)[0].text == "Hello."
    if name in ("after_transcribe", "before_llm"):
        assert bench.messages == ["u: Hello."]
    else:
        assert spoken(out) == ["Hi."]


def test_keys_and_words_wait_for_the_hook_in_order(make: Make) -> None:
    bench = make(hooks=hook("after_transcribe"))
    bench.utter("one")
    bench.tell(Keyed("[DTMF: 1]"))
    bench.utter("two")
    out = bench.returned("after_transcribe", "One.")
    assert [said.text for said in of(CallerSaid, out)] == ["One.", "[DTMF: 1]"]
    assert bench.run("after_transcribe").args[0] == "two"
    assert [said.text for said in of(CallerSaid, bench.returned("after_transcribe", "Two."))] == ["Two."]


def test_before_llm_may_change_what_the_model_sees(make: Make) -> None:
    bench = make(hooks=hook("before_llm"))
    bench.utter("Hello.")
    messages = [{"role": "user", "content": "Hello."}]
    assert bench.run("before_llm").args == (messages, {**CONTEXT, "history": messages})
    assert bench.brain.all("reply") == []
    bench.returned("before_llm", [{"role": "system", "content": "Be brief."}, *messages])
    assert bench.messages == ["s: Be brief.", "u: Hello."]
    assert bench.question.text == "Hello."


def test_before_llm_may_leave_it_as_it_is_and_is_given_up_with_its_question(make: Make) -> None:
    bench = make(hooks=hook("before_llm"))
    bench.utter("One.")
    first = bench.run("before_llm").name
    assert Drop(first) in bench.utter("Two.")
    bench.tell(TaskReturned(first, []))
    assert bench.brain.all("reply") == []
    bench.returned("before_llm", None)
    assert bench.messages == ["u: One. Two."]


def test_after_llm_and_before_synthesize_may_change_or_leave_out_a_sentence(make: Make) -> None:
    hooks = HookSpecs(after_llm=HandlerSpec("after_llm"), before_synthesize=HandlerSpec("before_synthesize"))
    bench = make(first="Welcome.", hooks=hooks)
    assert [run.handler for run in of(Run, bench.out)] == ["before_synthesize"]  # nobody wrote that
    assert spoken(bench.returned("before_synthesize", "Well come.")) == ["Well come."]
    bench.spoke()
    bench.utter("Hello.")
    bench.reply("One. ", "Two. ", "Three.")
    bench.returned("after_llm", None)
    assert bench.run("after_llm").args[0] == "Two."
    bench.returned("after_llm", "**Zwei**.")
    assert bench.run("before_synthesize").args[0] == "Zwei."
    assert spoken(bench.returned("before_synthesize", "Tsvai.")) == ["Tsvai."]
    bench.returned("after_llm", "Three.")
    bench.spoke()
    out = bench.returned("before_synthesize", None)
    assert spoken(out) == []
    assert len(of(SpeechEnded, out)) == 1


# --- the voice -------------------------------------------------------------------------------------------------------


def test_a_sentence_that_could_not_be_spoken_is_left_out(make: Make) -> None:
    bench = make()
    bench.utter("Hello.")
    bench.reply("One. ", "Two.")
    out = bench.tell(says("voice", StageFailed("tts", "no audio")))
    assert ("stop",) in bench.voice.told  # whatever it still does
    assert spoken(out) == ["Two."]
    out = bench.spoke()
    assert of(SpeechEnded, out)
    assert of(GaveUp, bench.out) == []


def test_a_line_that_came_to_nothing_is_apologised_for(make: Make) -> None:
    bench = make()
    bench.utter("Hello.")
    bench.reply("One.")
    assert spoken(bench.tell(says("voice", Spoke()))) == ["Sorry."]
    bench.spoke()
    bench.utter("Again.")
    bench.reply("One.")
    assert spoken(bench.tell(says("voice", StageFailed("tts", "x"), Spoke()))) == ["Sorry."]
    assert of(GaveUp, bench.tell(says("voice", Spoke())))


def test_a_sentence_that_breaks_off_is_spoken_that_far(make: Make) -> None:
    bench = make()
    bench.utter("Hello.")
    bench.reply("One. ", "Two.")
    out = bench.tell(says("voice", Voiced(SOUND), StageFailed("tts", "x")))
    assert spoken(out) == ["Two."]


def test_a_voice_that_was_stopped_never_leaks(make: Make) -> None:
    bench = make()
    bench.utter("Hello.")
    bench.reply("One. ", "Two.")
    bench.voice.then["stop"] = lambda: [Voiced(SOUND), Spoke(), CloseLink("v")]
    out = bench.tell(Interrupted("x", 0, ""))
    assert out == [CloseLink("v")]
    assert bench.tell(says("voice", Voiced(SOUND), Spoke())) == []


def test_a_voice_that_is_lost_while_it_is_stopped(make: Make) -> None:
    bench = make()
    bench.utter("Hello.")
    bench.reply("One.")
    bench.voice.then["stop"] = lambda: [Lost("gone")]
    assert of(GaveUp, bench.tell(Interrupted("x", 0, ""))) == [GaveUp("gone", "Sorry.")]


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "text", "ms", "restarts"),
    [
        ({}, "Hm.", 200, True),
        ({"thinking_ms": 300}, "For two.", 280, False),
        ({"thinking_ms": 300}, "For two.", 300, True),
        ({"thinking_words": 2}, "Hm.", 400, False),
        ({"thinking_words": 2}, "For two.", 400, True),
        ({"thinking_words": 2}, "两位", 400, True),
        ({"thinking_words": 2, "thinking_ms": 500}, "For two.", 400, False),
    ],
)
def test_what_restarts_a_reply_that_is_not_heard_yet(
    make: Make, policy: dict[str, Any], text: str, ms: int, restarts: bool
) -> None:
    bench = make(interruptions=Interruptions(**policy))
    bench.utter("A table.")
    bench.utter(text, ms)
    assert (("stop",) in bench.brain.told) is restarts
    assert len(bench.brain.all("reply")) == 1 + restarts
    if not restarts:
        bench.reply("Yes.")
    assert bench.question.text == (f"A table. {text}" if restarts else text)


def test_keys_always_restart_it(make: Make) -> None:
    bench = make(interruptions=Interruptions(thinking_ms=1_000, thinking_words=9))
    bench.utter("A table.")
    bench.utter("Uh.", 200)
    bench.tell(Keyed("[DTMF: 1]"))
    assert bench.question.text == "A table. Uh. [DTMF: 1]"
    assert bench.messages == ["u: A table. Uh. [DTMF: 1]"]


def interrupted(bench: Bench, heard: str = "It is a") -> str:
    """A reply of three sentences; the caller makes a sound in the middle of the first."""
    bench.utter("Tell me.")
    item: str = of(ReplyBegan, bench.reply("It is a story. ", "It is long. ", "Yes."))[0].item
    bench.spoke()
    bench.tell(says("voice", Voiced(SOUND)))
    bench.listen(*[VOICE] * 20)
    bench.tell(Interrupted(item, 1, heard))
    return item


@pytest.mark.parametrize(
    ("heard", "rest"),
    [
        ("", ["It is a story.", "It is long.", "Yes."]),
        ("It is a", ["It is a story.", "It is long.", "Yes."]),
        ("It is a story.", ["It is long.", "Yes."]),
        ("It is a story. It is", ["It is long.", "Yes."]),
        ("It is a story. It is long.", ["Yes."]),
    ],
)
def test_a_false_interruption_is_made_good(make: Make, heard: str, rest: list[str]) -> None:
    bench = make()
    item = interrupted(bench, heard)
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("", at)))
    assert bench.engine.deadline == at + 2 * S
    assert spoken(bench.until(at + 2 * S - 1)) == []
    out = bench.until(at + 2 * S)
    while of(Saying, out)[-1].text != rest[-1]:
        out += bench.spoke()
    out += bench.spoke()
    assert spoken(out) == rest
    assert {order.item for order in of(Saying, out)} == {of(SpeechEnded, out)[0].item} != {item}
    bench.utter("Thanks.")
    told = [f"a: {heard}"] if heard else []
    assert bench.messages == ["u: Tell me.", *told, f"a: {' '.join(rest)}", "u: Thanks."]


def test_words_cancel_it(make: Make) -> None:
    bench = make()
    interrupted(bench)
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("Stop.", at)))
    bench.reply("")
    assert spoken(bench.until(bench.now + 10 * S)) == []


def test_words_that_come_late_cancel_it_too_and_so_do_keys(make: Make) -> None:
    bench = make()
    interrupted(bench)
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    assert bench.until(at + 5 * S) == []  # the recogniser is slow
    bench.tell(says("ear", Recognised("Stop.", at)))
    assert bench.reply("") == []
    bench = make()
    interrupted(bench)
    bench.tell(Keyed("[DTMF: 1]"))
    bench.listen(*[QUIET] * 35)
    bench.tell(says("ear", Recognised("", bench.ear.all("utterance")[-1][0])))
    assert spoken(bench.until(bench.now + 5 * S)) == []


def test_silence_that_comes_late_is_answered_at_once(make: Make) -> None:
    bench = make()
    interrupted(bench)
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    assert bench.until(at + 5 * S) == []
    assert spoken(bench.tell(says("ear", Recognised("", at)))) == ["It is a story."]


def test_who_coughs_again_is_waited_for(make: Make) -> None:
    bench = make()
    interrupted(bench)
    bench.listen(*[QUIET] * 35)
    bench.tell(says("ear", Recognised("", bench.ear.all("utterance")[-1][0])))
    bench.listen(*[VOICE] * 100)  # over the time
    assert spoken(bench.out)[-1] == "It is long."
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("", at)))
    assert spoken(bench.until(at + 2 * S)) == ["It is a story."]


def test_it_is_made_good_once(make: Make) -> None:
    bench = make()
    interrupted(bench)
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("", at)))
    (saying,) = of(Saying, bench.until(at + 2 * S))
    bench.tell(says("voice", Voiced(SOUND)))
    bench.listen(*[VOICE] * 20)
    bench.tell(Interrupted(saying.item, 1, "It"))
    bench.listen(*[QUIET] * 35)
    bench.tell(says("ear", Recognised("", bench.ear.all("utterance")[-1][0])))
    assert spoken(bench.until(bench.now + 5 * S)) == []


@pytest.mark.parametrize("why", ["off", "not the caller", "hushed"])
def test_what_is_not_made_good(make: Make, why: str) -> None:
    bench = make(interruptions=Interruptions(resume_s=0.0 if why == "off" else 2.0))
    if why == "not the caller":
        bench.utter("Tell me.")
        item = of(ReplyBegan, bench.reply("It is a story."))[0].item
        bench.tell(Interrupted(item, 1, "It"))
    else:
        interrupted(bench)
        if why == "hushed":
            bench.tell(Interrupted("", 0, ""))
        bench.listen(*[QUIET] * 35)
        bench.tell(says("ear", Recognised("", bench.ear.all("utterance")[-1][0])))
    before = len(bench.out)
    bench.until(bench.now + 5 * S)
    assert spoken(bench.out[before:]) == []


def test_everything_that_was_cut_is_said(make: Make) -> None:
    bench = make(first="Welcome. How are you?")
    bench.tell(Say("say:1", "We record. Calls."))
    bench.tell(says("voice", Voiced(SOUND)))
    bench.listen(*[VOICE] * 20)
    bench.tell(Interrupted("first", 1, ""))
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("", at)))
    out = bench.until(at + 2 * S)
    for _ in range(3):
        out += bench.spoke()
    assert spoken(out) == ["Welcome.", "How are you?", "We record.", "Calls."]


def test_a_reply_that_was_blocked_stays_blocked(make: Make) -> None:
    bench = make(guards=(CHECK,))
    bench.utter("Hello.")
    item = of(ReplyBegan, bench.reply("One. ", "Two."))[0].item
    bench.returned("tone", False)
    bench.tell(says("voice", Voiced(SOUND)))
    bench.listen(*[VOICE] * 20)
    bench.tell(Interrupted(item, 1, ""))  # "Two." was being checked
    bench.listen(*[QUIET] * 35)
    at, _ = bench.ear.all("utterance")[-1]
    bench.tell(says("ear", Recognised("", at)))
    assert spoken(bench.until(at + 2 * S)) == ["One."]
    assert bench.run("tone").args == ("Two.",)
    bench.returned("tone", True)
    assert spoken(bench.spoke()) == [CHECK.replacement]


# --- two of each -----------------------------------------------------------------------------------------------------


def functions(spec: PipelineSpec = TWO) -> tuple[PipelineEngine, list[EngineOrder]]:
    about = EngineContext("CA1", "+15550100001", "+15550001234", PCMU_8K, "", "", "en", "")
    engine = PipelineEngine(about, spec, CallSettings())
    assert engine.begin(0) == []
    out: list[EngineOrder] = []
    for n, frame in enumerate([VOICE] * 20 + [QUIET] * 35):
        out += engine.hear((n + 1) * 20 * MS, frame)
    return engine, out


def test_every_stage_has_a_second_one() -> None:
    engine, out = functions()
    now = 2 * S
    (run,) = of(Run, out)
    out = engine.handle(now, TaskRaised(run.name, Fault.USER, "deaf"))
    assert Switched("stt", "callable-ear", "deaf") in out
    (again,) = of(Run, out)
    assert again.args == run.args
    (ask,) = of(AskReply, engine.handle(now, TaskReturned(again.name, "Hello.")))
    (run,) = of(Run, engine.handle(now, Asking(ask.ask, {"text": "Hello."})))
    out = engine.handle(now, TaskRaised(run.name, Fault.USER, "dumb"))
    assert Switched("llm", "callable-brain", "dumb") in out
    (again,) = of(Run, out)
    assert again.args == run.args
    (run,) = of(Run, engine.handle(now, TaskReturned(again.name, "Hi.")))
    out = engine.handle(now, TaskRaised(run.name, Fault.USER, "hoarse"))
    assert Switched("tts", "callable-voice", "hoarse") in out
    (again,) = of(Run, out)
    assert again.args == ("Hi.",)
    assert of(StageFailed, out) == []
    assert of(GaveUp, engine.handle(now, TaskRaised(again.name, Fault.USER, "x"))) == [GaveUp("x", "Sorry.")]


# --- any history -----------------------------------------------------------------------------------------------------

STAGE_ORDERS = {
    "ear": [Partial("He"), Recognised("Hello.", -1), Recognised("", -1), StageFailed("stt", "x")],
    "brain": [
        Text("Yes. "),
        Text("no end"),
        Text("Acme. "),
        Replied(),
        StageFailed("reply", "x"),
        CallTool("t", "f", "{}"),
    ],
    "voice": [Voiced(SOUND), Spoke(), StageFailed("tts", "x"), Voiced(b"")],
}
LOSSES = {"ear": Lost("x"), "brain": Lost("x"), "voice": Lost("x")}


@pytest.mark.parametrize("hooked", [False, True])
@given(st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=60)
def test_any_history(hooked: bool, seed: int, lossy: bool) -> None:
    dice = random.Random(seed)
    hooks = HookSpecs(**{name: HandlerSpec(name) for name in HookSpecs.__struct_fields__}) if hooked else HookSpecs()
    with pytest.MonkeyPatch.context() as patch:
        ear, brain, voice = ScriptedEar(), ScriptedBrain(), ScriptedVoice()
        patch.setattr(pipeline, "ear_of", lambda *_: ear)
        patch.setattr(pipeline, "brain_of", lambda *_: brain)
        patch.setattr(pipeline, "voice_of", lambda *_: voice)
        spec = PipelineSpec(brain=SPEC.brain, voice=SPEC.voice, ear=SPEC.ear, hooks=hooks)
        guards = (TERMS, CHECK) if hooked else (TERMS,)
        about = EngineContext("CA1", "", "", PCMU_8K, "", "Welcome. Hello.", "en", "", guards=guards)
        bench = Bench(PipelineEngine(about, spec, CallSettings(endpoint_s=0.1, reply_chars=200)), ear, brain, voice)
    bench.begin()
    running: set[str] = set()
    for _ in range(60):
        before = len(bench.out)
        match dice.randrange(8):
            case 0 | 1:
                bench.listen(*[dice.choice((VOICE, QUIET))] * dice.choice((1, 8, 30)))
            case 2 | 3:
                name = dice.choice(("ear", "brain", "voice"))
                orders: list[Any] = dice.choices(STAGE_ORDERS[name], k=dice.randrange(1, 4))
                if lossy and dice.randrange(20) == 0:
                    orders.append(LOSSES[name])
                stage = {"ear": ear, "brain": brain, "voice": voice}[name]
                bench.tell(says(name, *orders))
                stage.gone = stage.gone or isinstance(orders[-1], Lost)
            case 4 if ear.all("utterance"):
                bench.tell(says("ear", Recognised(dice.choice(("", "Hello.")), dice.choice(ear.all("utterance"))[0])))
            case 5 if running:
                value = dice.choice((None, "Changed.", 7, True, [{"role": "user", "content": "x"}]))
                bench.tell(TaskReturned(dice.choice(sorted(running)), value))
            case 6:
                items = [order.item for order in of(Saying, bench.out)] or [""]
                facts = [Interrupted(dice.choice(items), 1, "Wel"), Played(dice.choice(items)), Say("say", "Hi. Ho.")]
                bench.tell(dice.choice([*facts, Keyed("[DTMF: 1]"), ToolAnswered("t", "{}")]))
            case _:
                if bench.engine.deadline is not None:
                    bench.until(bench.engine.deadline)
        new = bench.out[before:]
        for order in new:
            if isinstance(order, Run):
                assert order.name not in running
                running.add(order.name)
        running -= {order.name for order in of(Drop, bench.out)}
        assert all(order.audio for order in of(Speak, new))
        if of(GaveUp, bench.out[:before]):
            assert all(isinstance(order, CallerStarted | CallerStopped) for order in new)
        if not hooked:
            assert "Acme." not in spoken(new)
        for question in brain.all("reply"):
            assert hooked or question.messages[-1] == {"role": "user", "content": question.text}
    begun = [order.item for order in of(ReplyBegan, bench.out)]
    assert len(begun) == len(set(begun))
