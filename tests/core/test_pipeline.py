"""The pipeline engine alone: what runs when, what the caller hears when something fails, and every limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.audio.formats import L16_8K, L16_16K, PCMU_8K
from patter_core.call.words import Drop, Run, TaskAudio, TaskRaised, TaskReturned, TaskYielded
from patter_core.config import FALLBACK_TEXT, HandlerSpec, PipelineSpec
from patter_core.contract import Fault, Lane
from patter_core.engines.ears import Ears, Spoken
from patter_core.engines.engine import (
    Asking,
    AskReply,
    CallerSaid,
    CallerStarted,
    CallerStopped,
    Ended,
    EngineContext,
    EngineOrder,
    GaveUp,
    Interrupted,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    SpeechWanted,
    StageFailed,
)
from patter_core.engines.pipeline import PipelineEngine
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.settings import CallSettings
from tests.core.call_kit import MS, QUIET, VOICE, S

SPEC = PipelineSpec(
    brain=(CallableBrain(HandlerSpec("reply")),),
    voice=(CallableVoice(HandlerSpec("tts", Lane.THREAD)),),
    ear=(CallableEar(HandlerSpec("stt")),),
    fallback_text="Sorry.",
)
DEAF = PipelineSpec(brain=SPEC.brain, voice=SPEC.voice)


class Bench:
    """An engine, its clock, and all it ordered."""

    def __init__(self, spec: PipelineSpec = SPEC, first: str = "", **settings: Any) -> None:
        context = EngineContext("CA1", "+1", "+2", PCMU_8K, "", first, "en", "")
        self.engine = PipelineEngine(context, spec, CallSettings(**settings))
        self.now = 0
        self.out: list[EngineOrder] = []
        self.take(self.engine.begin(0))

    def take(self, orders: list[EngineOrder]) -> list[EngineOrder]:
        for ask in of(AskReply, orders):
            orders = [*orders, *self.engine.handle(self.now, Asking(ask.ask, {"text": ask.text}))]
        self.out += orders
        deadline = self.engine.deadline
        assert deadline is None or deadline > self.now
        return orders

    def listen(self, *frames: bytes) -> list[EngineOrder]:
        out = []
        for frame in frames:
            end = self.now + 20 * MS
            while self.engine.deadline is not None and self.engine.deadline <= end:
                out += self.tick()
            self.now = end
            out += self.take(self.engine.hear(self.now, frame))
        return out

    def tell(self, fact: Any) -> list[EngineOrder]:
        return self.take(self.engine.handle(self.now, fact))

    def tick(self) -> list[EngineOrder]:
        assert self.engine.deadline is not None
        self.now = self.engine.deadline
        return self.take(self.engine.tick(self.now))

    def task(self, kind: str) -> str:
        return [o.name for o in self.out if isinstance(o, Run) and o.name.startswith(kind)][-1]

    def running(self, kind: str = "") -> str:
        """The task of this kind that was not dropped and has not answered; '' when there is none."""
        stages = self.engine
        halves = stages._listening._ear, stages._thinking._brain, stages._speaking._voice
        return next((half._task for half in halves if half is not None and half._task.startswith(kind)), "")

    def hear_words(self, text: Any) -> list[EngineOrder]:
        self.listen(*[VOICE] * 20, *[QUIET] * 35)
        return self.tell(TaskReturned(self.task("stt"), text))

    def voice(self, ms: int = 100) -> list[EngineOrder]:
        name = self.task("tts")
        return self.tell(TaskAudio(name, bytes(32 * ms))) + self.tell(TaskReturned(name))

    def reply(self, text: Any, ended: bool = True) -> list[EngineOrder]:
        name = self.task("reply")
        return self.tell(TaskReturned(name, text) if ended else TaskYielded(name, text))

    def raised(self, kind: str) -> list[EngineOrder]:
        return self.tell(TaskRaised(self.task(kind), Fault.USER, "boom"))


def waiting(bench: Bench) -> int:
    """Utterances that wait for the recogniser."""
    return len(bench.engine._listening._ear._waiting)


def of(kind: type, orders: list[EngineOrder]) -> list[Any]:
    return [order for order in orders if type(order) is kind]


def spoken(orders: list[EngineOrder]) -> list[str]:
    return [order.text for order in of(Saying, orders)]


# --- the way of a turn -----------------------------------------------------------------------------------------------


def test_from_voice_to_voice() -> None:
    bench = Bench()
    out = bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    (started,), (stopped,), (run,) = of(CallerStarted, out), of(CallerStopped, out), of(Run, out)
    assert (started.at, stopped.at) == (0, 400 * MS)
    assert (run.handler, run.lane) == ("stt", Lane.LOOP)
    pcm, rate = run.args
    assert rate == 16000
    assert len(pcm) == pytest.approx(32 * 1_000, abs=64)  # 400 ms of voice and 600 ms that ended the turn
    said, asked, thinks = bench.tell(TaskReturned(run.name, " Hello. "))
    assert said == CallerSaid("Hello.", True, stopped.at)
    assert asked == AskReply(asked.ask, "Hello.")
    assert (thinks.handler, thinks.args) == ("reply", ({"text": "Hello."},))
    out = bench.reply("Hi there. ", ended=False)
    assert [type(o) for o in out] == [ReplyBegan, Saying, Run]
    assert out[2].args == ("Hi there.",)
    assert out[2].lane is Lane.THREAD
    item = out[0].item
    assert bench.voice() == [Speak(item, bytes(3_200)), Said(item)]
    assert bench.reply(None) == [SpeechEnded(item)]
    assert bench.engine.deadline is None


def test_the_first_sentence_is_spoken_while_the_rest_is_generated() -> None:
    bench = Bench()
    bench.hear_words("Tell me.")
    assert of(Run, bench.reply("One is", False)) == []
    assert spoken(bench.reply(" here. Two is", False)) == ["One is here."]
    assert bench.reply(" there. Th", False) == []  # one sentence at a time
    assert spoken(bench.voice()) == ["Two is there."]
    assert spoken(bench.reply("ree.", False)) == []
    assert spoken(bench.voice()) == []
    assert spoken(bench.reply(None)) == ["Three."]
    assert [type(o) for o in bench.voice()] == [Speak, Said, SpeechEnded]


def test_the_first_message_is_spoken_at_once() -> None:
    bench = Bench(first="Welcome. How can I help?")
    assert bench.out[0] == Saying("first", "Welcome.")
    bench.voice()
    assert bench.voice()[-1] == SpeechEnded("first")


def test_what_a_voice_has_nothing_to_say_to_is_skipped() -> None:
    bench = Bench()
    bench.hear_words("x")
    assert spoken(bench.reply("***\n-- \nYes.\n:-)\n")) == ["Yes."]
    assert bench.voice()[-1] == SpeechEnded(of(ReplyBegan, bench.out)[0].item)
    bench.hear_words("y")
    assert [type(o) for o in bench.reply("😀")] == [ReplyBegan, SpeechEnded]


def test_say_waits_for_what_is_being_said() -> None:
    bench = Bench(first="Welcome.")
    assert bench.tell(Say("say:1", "Later. Much later.")) == []
    assert spoken(bench.voice()) == ["Later."]
    assert spoken(bench.voice()) == ["Much later."]
    assert bench.voice()[-1] == SpeechEnded("say:1")


def test_enough_speech_makes_the_next_sentence_wait() -> None:
    bench = Bench(first="One. Two.")
    bench.tell(SpeechEnough())
    assert of(Run, bench.voice()) == []
    assert spoken(bench.tell(SpeechWanted())) == ["Two."]


# --- nobody spoke, and wrong answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "   ", "\n"])
def test_nothing_recognised_is_nothing_said(value: Any) -> None:
    bench = Bench()
    assert bench.hear_words(value) == []
    assert bench.engine.deadline is None


@pytest.mark.parametrize("value", [7, {"text": "hello"}, ["hello"], False])
def test_a_recogniser_that_does_not_return_text_is_an_error_that_the_caller_hears(value: Any) -> None:
    bench = Bench()
    out = bench.hear_words(value)
    assert of(StageFailed, out)[0].stage == "stt"
    assert spoken(out) == ["Sorry."]
    assert of(CallerSaid, out) == []


@pytest.mark.parametrize("fact", [TaskAudio("", b"xx"), TaskYielded("", "hello")])
def test_a_recogniser_that_gives_audio_or_yields_is_an_error_too(fact: Any) -> None:
    bench = Bench()
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    name = bench.task("stt")
    bench.tell(type(fact)(name, *[getattr(fact, field) for field in fact.__struct_fields__[1:]]))
    assert spoken(bench.tell(TaskReturned(name))) == ["Sorry."]


def test_a_recogniser_that_fails_and_then_works() -> None:
    bench = Bench()
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    out = bench.raised("stt")
    assert of(StageFailed, out) == [StageFailed("stt", "boom")]
    assert spoken(out) == ["Sorry."]
    bench.voice()
    assert bench.engine.deadline is None
    failed = bench.task("stt")
    assert of(AskReply, bench.hear_words("Again."))[0].text == "Again."
    assert bench.task("stt") != failed


def test_one_apology_at_a_time() -> None:
    bench = Bench()
    for _ in range(5):
        bench.listen(*[VOICE] * 20, *[QUIET] * 35)
        bench.raised("stt")
    assert spoken(bench.out) == ["Sorry."]
    assert len(bench.engine._speaking.lines) == 1


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_reply_may_choose_silence(value: Any) -> None:
    bench = Bench()
    bench.hear_words("Bye.")
    assert of(StageFailed, bench.reply(value)) == []
    assert spoken(bench.out) == []
    assert not bench.engine._speaking.lines


@pytest.mark.parametrize("value", [7, {"text": "x"}, b"", object()])
def test_a_reply_that_is_not_text_is_an_error_that_the_caller_hears(value: Any) -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    out = bench.reply(value)
    assert of(StageFailed, out)[0].stage == "reply"
    assert spoken(out) == ["Sorry."]
    assert of(ReplyBegan, out)[0].item == of(Saying, out)[0].item  # the apology is this turn's answer


@pytest.mark.parametrize("wrong", [TaskYielded("", {"delta": "x"}), TaskAudio("", b"xx")])
def test_a_reply_that_yields_only_what_is_not_text_is_an_error(wrong: Any) -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    name = bench.task("reply")
    bench.tell(type(wrong)(name, *[getattr(wrong, field) for field in wrong.__struct_fields__[1:]]))
    assert spoken(bench.tell(TaskReturned(name))) == ["Sorry."]


def test_what_one_reply_did_wrong_is_not_held_against_the_next() -> None:
    bench = Bench()
    bench.hear_words("One.")
    bench.reply(7, False)
    bench.hear_words("Two.")
    assert of(StageFailed, bench.reply(None)) == []


def test_what_is_not_text_among_text_is_left_out() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    bench.reply(7, False)
    assert spoken(bench.reply("Fine. ", False)) == ["Fine."]
    assert of(StageFailed, bench.reply(None)) == []


def test_a_reply_that_fails_before_it_began() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    out = bench.raised("reply")
    assert of(StageFailed, out) == [StageFailed("reply", "boom")]
    assert spoken(out) == ["Sorry."]
    assert len(bench.engine._speaking.lines) == 1


def test_a_reply_that_fails_half_way_is_spoken_that_far_then_the_apology() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    bench.reply("First. Sec", False)
    bench.raised("reply")
    bench.voice()
    bench.voice()
    bench.voice()
    assert spoken(bench.out) == ["First.", "Sec", "Sorry."]
    assert len(of(ReplyBegan, bench.out)) == 1


# --- the voice fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "returns nothing", "returns text", "yields text", "times out", "half way"])
def test_without_a_voice_the_engine_gives_up(how: str) -> None:
    bench = Bench(first="Welcome.")
    name = bench.task("tts")
    if how == "raises":
        out = bench.raised("tts")
    elif how == "returns nothing":
        bench.tell(TaskAudio(name, b""))
        out = bench.tell(TaskReturned(name))
    elif how == "returns text":
        out = bench.tell(TaskReturned(name, "audio"))
    elif how == "yields text":
        bench.tell(TaskYielded(name, "audio"))
        out = bench.tell(TaskReturned(name))
    elif how == "half way":
        bench.tell(TaskAudio(name, bytes(320)))
        out = bench.raised("tts")
    else:
        out = bench.tick()
        assert bench.now == 10 * S
        assert out[0] == Drop(name)
    assert [type(o) for o in out][-2:] == [StageFailed, GaveUp]
    assert out[-1].say == "Sorry."
    assert bench.engine.deadline is None
    for fact in (Say("say:1", "Hello."), SpeechWanted(), TaskAudio(name, b"xx"), TaskReturned(name), Ended()):
        assert bench.tell(fact) == []
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    assert of(Run, bench.out) == of(Run, bench.out)[:1]


def test_what_else_runs_is_dropped_when_the_voice_fails() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    bench.reply("Yes. ", False)
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    dropped = {order.name for order in of(Drop, bench.raised("tts"))}
    assert dropped == {bench.task("reply"), bench.task("stt")}


def test_the_default_fallback_is_a_sentence_to_say() -> None:
    assert DEAF.fallback_text == FALLBACK_TEXT
    assert len(FALLBACK_TEXT) > 20


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "us"), [("stt", 15 * S), ("reply", 30 * S), ("tts", 10 * S)])
def test_each_stage_has_its_time_and_not_a_microsecond_less(kind: str, us: int) -> None:
    bench = Bench(first="Hi." if kind == "tts" else "")
    if kind != "tts":
        bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    began = {"stt": bench.now - 100 * MS, "reply": bench.now, "tts": 0}[kind]  # the turn ended 100 ms ago
    if kind == "reply":
        bench.tell(TaskReturned(bench.task("stt"), "Hello."))
    assert bench.engine.deadline == began + us
    bench.now = began + us - 1
    assert bench.take(bench.engine.tick(bench.now)) == []
    bench.now += 1
    out = bench.take(bench.engine.tick(bench.now))
    assert out[0] == Drop(bench.task(kind))
    assert of(StageFailed, out) == [StageFailed(kind, "took too long")]
    assert (spoken(out) == ["Sorry."]) == (kind != "tts")


def test_the_voice_has_its_time_to_its_next_audio() -> None:
    bench = Bench(first="Hi.")
    name = bench.task("tts")
    for _ in range(5):
        bench.now += 9 * S
        assert bench.tell(TaskAudio(name, bytes(320))) != []
    assert bench.engine.deadline == bench.now + 10 * S
    bench.now += 9 * S
    bench.tell(TaskAudio(name, b""))  # nothing is not audio
    assert bench.engine.deadline == bench.now + S


def test_a_streamed_reply_has_its_time_as_a_whole() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    began = bench.now
    for _ in range(3):
        bench.now += 9 * S
        bench.reply("more ", False)
    bench.now = began + 30 * S
    assert of(StageFailed, bench.take(bench.engine.tick(bench.now))) == [StageFailed("reply", "took too long")]


def test_no_time_at_all_is_not_now() -> None:
    bench = Bench(first="Hi.", stt_s=0.0, reply_s=0.0, tts_s=0.0, endpoint_s=0.0, preroll_s=0.0)
    assert bench.engine.deadline == 1
    bench.listen(VOICE, QUIET, *[VOICE] * 20, *[QUIET] * 35)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "cut"), [(49, False), (50, False), (51, True), (500, True)])
def test_reply_chars(n: int, cut: bool) -> None:
    bench = Bench(reply_chars=50)
    bench.hear_words("Hello.")
    name = bench.task("reply")
    out = bench.reply("x" * (n - 10), False) + bench.reply("y" * 10, False)
    assert bool(of(StageFailed, out)) is cut
    assert (Drop(name) in out) is cut
    if cut:
        assert bench.reply("more", False) == []  # it is nobody's any more
    else:
        bench.reply(None)
    assert len(spoken(bench.out)[0]) == min(n, 50)
    bench.voice()
    bench.hear_words("Again.")  # and back to n
    assert of(StageFailed, bench.reply("z" * 50)) == []


def test_a_reply_returned_whole_is_cut_too_and_there_is_nothing_to_drop() -> None:
    bench = Bench(reply_chars=50)
    bench.hear_words("Hello.")
    out = bench.reply("x" * 51)
    assert of(Drop, out) == []
    assert spoken(out) == ["x" * 50]


@pytest.mark.parametrize(("ms", "cut"), [(999, False), (1_000, False), (1_001, True), (60_000, True)])
def test_a_sentence_without_an_end_is_cut(ms: int, cut: bool) -> None:
    bench = Bench(first="Welcome. Bye.", sentence_s=1.0)
    name = bench.task("tts")
    out = bench.tell(TaskAudio(name, bytes(32 * (ms - 500)))) + bench.tell(TaskAudio(name, bytes(32 * 500)))
    assert bool(of(StageFailed, out)) is cut
    assert (Drop(name) in out) is cut
    assert sum(len(order.audio) for order in of(Speak, bench.out)) == 32 * min(ms, 1_000)
    assert (spoken(bench.out) == ["Welcome.", "Bye."]) is cut  # the next one has all of its time
    assert of(GaveUp, bench.out) == []


@pytest.mark.parametrize("extra", [0, 1])
def test_what_waits_to_be_said_is_bounded(extra: int) -> None:
    bench = Bench(first="Hi.", reply_chars=20)
    bench.tell(Say("say:1", "x" * 10))
    out = bench.tell(Say("say:2", "y" * (10 + extra)))
    assert bool(of(StageFailed, out)) is bool(extra)
    assert len(bench.engine._speaking.lines) == 3 - extra


def test_a_monologue_is_recognised_in_pieces_and_the_caller_is_still_speaking() -> None:
    bench = Bench(utterance_s=1.0)
    out = bench.listen(*([VOICE] * 7 + [QUIET] * 7) * 10)
    kinds = [CallerStarted, CallerStopped, Run, CallerStarted, CallerStopped, CallerStarted]
    assert [type(o) for o in out] == kinds
    assert len(out[2].args[0]) == pytest.approx(32_000, abs=64)
    assert waiting(bench) == 1


def test_a_piece_a_little_longer_than_the_limit_is_recognised_all_the_same() -> None:
    bench = Bench(utterance_s=0.99)  # frames are 20 ms
    out = bench.listen(*([VOICE] * 7 + [QUIET] * 7) * 4)
    assert len(of(Run, out)) == 1
    assert of(StageFailed, out) == []


@pytest.mark.parametrize(("frames", "cut"), [(49, False), (50, True)])
def test_an_utterance(frames: int, cut: bool) -> None:
    bench = Bench(utterance_s=1.0)
    assert bool(of(CallerStopped, bench.listen(*[VOICE] * frames))) is cut


def test_utterances_wait_for_the_recogniser_in_order_and_bounded() -> None:
    bench = Bench(utterance_s=3.0)
    for _ in range(3):
        bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    first = bench.task("stt")
    assert of(StageFailed, bench.out) == []
    assert waiting(bench) == 2
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)  # with this one, more than three seconds wait
    assert [o.stage for o in of(StageFailed, bench.out)] == ["stt"]
    out = bench.tell(TaskReturned(first, "One."))
    assert of(CallerSaid, out)[0].text == "One."
    assert of(Run, out)[0].handler == "stt"
    bench.tell(TaskReturned(bench.task("stt"), "Three."))
    assert [said.text for said in of(CallerSaid, bench.out)] == ["One.", "Three."]


@pytest.mark.parametrize("extra_ms", [0, -1])
def test_the_limit_of_what_waits_for_the_recogniser_exactly(extra_ms: int) -> None:
    each_ms = 300 + 340 + 600  # kept from before, the rest of the voice, the quiet that ended it
    bench = Bench(utterance_s=(2 * each_ms + extra_ms) / 1000)
    bench.listen(*[QUIET] * 50)
    for _ in range(3):
        bench.listen(*[VOICE] * 20, *[QUIET] * 50)
    assert waiting(bench) == (2 if extra_ms == 0 else 1)
    assert {len(audio) for _, audio in bench.engine._listening._ear._waiting} == {8 * each_ms}


def test_without_any_preroll_the_sound_that_was_sure_is_kept() -> None:
    ears = Ears(PCMU_8K, CallSettings(preroll_s=0.0))
    out: list[Any] = []
    for n, frame in enumerate([QUIET] * 10 + [VOICE] * 10 + [QUIET] * 40):
        out += ears.hear((n + 1) * 20 * MS, frame)
    assert len(out[1].audio) == 160 * (8 + 30)


def test_ears_keep_a_little_from_before_the_voice_and_no_more() -> None:
    ears = Ears(PCMU_8K, CallSettings(preroll_s=0.1))
    now = 0
    out: list[Any] = []
    for frame in [QUIET] * 50 + [VOICE] * 10 + [QUIET] * 40:
        now += 20 * MS
        out += ears.hear(now, frame)
    assert [type(o) for o in out] == [CallerStarted, Spoken]
    assert out[0].at == 1_000 * MS
    assert out[1].at == 1_200 * MS
    # 100 ms until the voice was sure (60 ms of them are voice), the voice, and what ended it
    assert len(out[1].audio) == 160 * (2 + 10 + 30)
    assert ears._preroll_bytes <= 160 * 6


def test_empty_audio_costs_nothing() -> None:
    ears = Ears(PCMU_8K, CallSettings())
    for _ in range(10_000):
        assert ears.hear(0, b"") == []
    assert not ears._preroll


@pytest.mark.parametrize("spec", [SPEC, DEAF])
def test_without_a_recogniser_the_agent_only_speaks(spec: PipelineSpec) -> None:
    bench = Bench(spec)
    out = bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    assert bool(of(Run, out)) is bool(spec.ear)
    assert of(CallerStopped, out)


def test_formats_are_what_the_providers_declare() -> None:
    spec = PipelineSpec(
        brain=SPEC.brain,
        voice=(CallableVoice(HandlerSpec("t"), L16_16K),),
        ear=(CallableEar(HandlerSpec("s"), L16_8K),),
    )
    bench = Bench(spec)
    (run,) = of(Run, bench.listen(*[VOICE] * 20, *[QUIET] * 35))
    assert run.args[1] == 8000
    assert len(run.args[0]) == 16_000
    assert bench.engine.speaks == L16_16K
    assert bench.engine.hears == PCMU_8K


# --- saying more, and barging in -------------------------------------------------------------------------------------


def test_what_is_said_before_anything_of_the_reply_was_heard_is_answered_together() -> None:
    bench = Bench()
    bench.hear_words("Book a table.")
    first = bench.task("reply")
    bench.reply("Sure, ", False)
    item = of(ReplyBegan, bench.out)[0].item
    out = bench.hear_words("For two.")
    assert Drop(first) in out
    assert SpeechEnded(item) in out
    assert of(AskReply, out)[0].text == "Book a table. For two."
    out = bench.hear_words("At eight.")
    assert of(AskReply, out)[0].text == "Book a table. For two. At eight."
    bench.reply("Done.")
    bench.voice()
    assert of(AskReply, bench.hear_words("Thanks."))[0].text == "Thanks."


def test_a_sentence_at_the_voice_of_which_nothing_came_is_dropped_with_its_reply() -> None:
    bench = Bench()
    bench.hear_words("One.")
    bench.reply("Answer one. ", False)
    voice = bench.task("tts")
    out = bench.hear_words("Two.")
    assert Drop(voice) in out
    assert bench.tell(TaskAudio(voice, bytes(320))) == []
    assert of(AskReply, out)[0].text == "One. Two."


def test_what_is_said_while_the_reply_is_being_spoken_is_answered_after_it() -> None:
    bench = Bench()
    bench.hear_words("One.")
    bench.reply("Answer. ", False)
    bench.tell(TaskAudio(bench.task("tts"), bytes(320)))
    out = bench.hear_words("Uh-huh.")
    assert of(CallerSaid, out)[0].text == "Uh-huh."
    assert of(AskReply, out) == of(Drop, out) == []
    bench.hear_words("Right.")
    out = bench.reply("The end.")
    assert of(AskReply, out)[0].text == "Uh-huh. Right."


def test_so_much_at_most_waits_for_a_reply() -> None:
    bench = Bench(endpoint_s=0.1, reply_s=300.0, tts_s=300.0)
    bench.hear_words("First.")
    bench.reply("Answer. ", False)
    bench.tell(TaskAudio(bench.task("tts"), bytes(320)))
    for n in range(25):
        bench.hear_words(f"w{n}.")
    assert of(AskReply, bench.reply(None))[0].text.split() == [f"w{n}." for n in range(5, 25)]


def test_an_interruption_drops_all_that_was_to_be_said() -> None:
    bench = Bench(first="Welcome. How are you?")
    bench.tell(TaskAudio(bench.task("tts"), bytes(320)))
    bench.hear_words("Hello.")
    tts, reply = bench.task("tts"), bench.task("reply")
    bench.tell(Say("say:1", "Something."))
    assert {o.name for o in of(Drop, bench.tell(Interrupted("first", 10, "Wel")))} == {tts, reply}
    assert not bench.engine._speaking.lines
    for fact in (TaskAudio(tts, bytes(320)), TaskReturned(tts), TaskYielded(reply, "Late. "), TaskReturned(reply, "x")):
        assert bench.tell(fact) == []
    assert bench.engine.deadline is None
    assert of(AskReply, bench.hear_words("No."))[0].text == "No."


def test_what_waited_for_the_reply_is_not_asked_after_an_interruption() -> None:
    bench = Bench()
    bench.hear_words("One.")
    bench.reply("Answer. ", False)
    bench.tell(TaskAudio(bench.task("tts"), bytes(320)))
    bench.hear_words("Uh-huh.")
    bench.tell(Interrupted("r", 10, ""))
    assert of(AskReply, bench.hear_words("Stop."))[0].text == "Stop."
    assert of(AskReply, bench.reply(None)) == []


def test_an_interruption_while_thinking() -> None:
    bench = Bench()
    bench.hear_words("Hello.")
    reply = bench.task("reply")
    assert bench.tell(Interrupted("first", 0, "")) == [Drop(reply)]
    assert of(AskReply, bench.hear_words("Wait."))[0].text == "Wait."


def test_the_end_drops_everything_and_nothing_follows() -> None:
    bench = Bench(first="Welcome.")
    bench.hear_words("Hello.")
    bench.listen(*[VOICE] * 20, *[QUIET] * 35)
    tasks = {bench.task("tts"), bench.task("reply"), bench.task("stt")}
    assert {o.name for o in of(Drop, bench.tell(Ended()))} == tasks
    for name in tasks:
        assert bench.tell(TaskReturned(name, "x")) == []
    assert bench.engine.deadline is None


def test_how_long_the_caller_has_been_speaking_is_measured_on_the_line() -> None:
    bench = Bench()
    assert bench.engine.voiced_us == 0
    bench.listen(*[VOICE] * 5)
    assert bench.engine.voiced_us == 100 * MS
    bench.listen(*[QUIET] * 20)
    assert bench.engine.voiced_us == 100 * MS  # a cough stays short however long its end takes to be sure
    bench.listen(*[QUIET] * 20)
    assert bench.engine.voiced_us == 0


# --- any history -----------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(["Yes. ", "no end", "", None, 7, {"a": 1}, "x" * 400, "。", "*** "])
STEPS = st.one_of(
    st.tuples(st.just("listen"), st.sampled_from([1, 5, 20, 40]), st.booleans()),
    st.tuples(
        st.just("result"),
        st.sampled_from(["stt", "reply", "tts"]),
        st.sampled_from(["yield", "return", "raise", "audio"]),
        VALUES,
    ),
    st.tuples(st.just("late"), st.integers(0, 40), VALUES),
    st.tuples(
        st.just("fact"), st.sampled_from([Interrupted("x", 0, ""), SpeechEnough(), SpeechWanted(), Say("s", "Hi. Ho.")])
    ),
    st.tuples(st.just("tick")),
)


@given(st.lists(STEPS, max_size=40), st.booleans())
def test_any_history(history: list[Any], greet: bool) -> None:
    bench = Bench(first="Welcome. Hello." if greet else "", endpoint_s=0.1, utterance_s=2.0, reply_chars=300)
    for step in history:
        before = len(bench.out)
        match step:
            case ("listen", n, voiced):
                bench.listen(*[VOICE if voiced else QUIET] * n)
            case ("result", kind, how, value):
                name = bench.running(kind)
                match how:
                    case "yield":
                        bench.tell(TaskYielded(name, value))
                    case "return":
                        bench.tell(TaskReturned(name, value))
                    case "raise":
                        bench.tell(TaskRaised(name, Fault.USER, "x"))
                    case _:
                        bench.tell(TaskAudio(name, bytes(321)))
            case ("late", n, value):
                bench.tell(TaskReturned(f"stt:{n}" if n % 2 else f"tts:{n}", value))
            case ("fact", fact):
                bench.tell(fact)
            case _:
                if bench.engine.deadline is not None:
                    bench.tick()
        engine = bench.engine
        assert len(engine._speaking.lines) < 60
        running = {name for name in map(bench.running, ("stt", "reply", "tts")) if name}
        started = [o.name for o in of(Run, bench.out)]
        assert len(started) == len(set(started)), "names are never used twice"
        assert running <= set(started)
        assert not {o.name for o in of(Drop, bench.out)} & running, "what was dropped does not run"
        assert all(o.audio for o in of(Speak, bench.out[before:]))
        if of(GaveUp, bench.out[:before]):
            assert [o for o in bench.out[before:] if not isinstance(o, CallerStarted | CallerStopped)] == []
        else:
            assert (engine.deadline is None) == (not running)
    ended = [o.item for o in of(SpeechEnded, bench.out)]
    assert len(ended) == len(set(ended)) or "s" in ended
