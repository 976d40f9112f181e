"""Whole calls with OpenAI's Realtime service, simulated: from the webhook to the hang-up, on every carrier."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core import Agent, Guardrail, Interruptions, OpenAIRealtime, Patience, Tool
from patter_core.carriers.telnyx.stream_peer import TelnyxStreamPeer
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.events import (
    BargedIn,
    CallEnded,
    CallStarted,
    ProviderReported,
    ProviderSwitched,
    SpeechFailed,
    ToolRan,
    TransferStepped,
)
from patter_core.reasons import EndReason
from patter_core.simulator.callee import Callee, Does
from patter_core.simulator.network import After
from patter_core.simulator.openai_realtime_peer import Answer, OpenAIRealtimePeer, Progress, RealtimePlan
from patter_core.simulator.orders import HangUpCall, PressKeys
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import Routes
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Press, Wait, WaitForAgent
from tests.core.carriers_world import DESK, THEM, audible, both, person, pitch, pitch_ms, talk
from tests.core.provider_kit import ProviderWorld, realtime, spoken, voiced_frames

pytestmark = pytest.mark.usefixtures(spoken.__name__)

ROUTE = "/v1/realtime"
HELLO = "Hello, this is the agent."
NOON = "It is noon."
LONG = "Well, that is a long story which I shall tell you from the very beginning to its happy end, if I may."


def a_call(carrier: str, *answers: Answer, acts: tuple[Act, ...] = (), **options: Any) -> ProviderWorld:
    """A call to an agent of OpenAI's."""
    plan = options.pop("plan", {})
    words = options.pop("words", ("What time is it?", "And now?", "Thanks."))
    agent = {
        "engine": OpenAIRealtime(),
        "first_message": HELLO,
        "system_prompt": "Be kind.",
        **options.pop("agent", {}),
    }
    return ProviderWorld(
        Agent(**agent),
        person(*acts),
        routes=options.pop("routes", realtime(*answers, words=words, **plan)),
        carrier=carrier,
        **options,
    )


def said(*texts: str, **more: Any) -> Answer:
    return Answer(texts=texts, **more)


def told(peer: Any, kind: str) -> list[dict[str, Any]]:
    """The messages of a kind that a service got."""
    return [message for message in peer.messages if message["type"] == kind]


def outputs(peer: Any) -> list[Any]:
    """What tools gave, as the model got it."""
    items = [message["item"] for message in told(peer, "conversation.item.create")]
    return [msgspec.json.decode(item["output"]) for item in items if item["type"] == "function_call_output"]


# --- a plain call ----------------------------------------------------------------------------------------------------


@both
def test_a_call_from_the_webhook_to_the_hang_up(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), talk(600), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, said(NOON), said("Still noon."), acts=acts)
    world.run(20)
    assert world.whole(HELLO)
    assert world.whole(NOON)
    assert world.whole("Still noon.")
    assert world.said("user") == ["What time is it?", "And now?"]
    assert world.said() == [HELLO, NOON, "Still noon."]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    (peer,) = world.links(ROUTE)
    assert peer.refused == []
    assert world.outcomes() == [("closed", 1000)]
    world.over()


@both
def test_mu_law_goes_through_untouched_both_ways(carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte: what the service says is what is played, what the caller says is what the service hears."""
    sent: list[bytes] = []
    for kind in (TelnyxStreamPeer, TwilioStreamPeer):

        def media(self: Any, payload: bytes, timestamp_ms: int, *, then: Any = kind.media) -> str:
            sent.append(payload)
            return then(self, payload, timestamp_ms)  # type: ignore[no-any-return]

        monkeypatch.setattr(kind, "media", media)
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), Wait(500), HangUp())
    world = a_call(carrier, said(NOON), acts=acts, twins=False)
    world.until(lambda: world.whole(NOON))
    stream = world.leg().stream
    assert stream is not None
    (peer,) = world.links(ROUTE)
    assert len(peer.sent) > 8 * 60 * len(NOON)
    assert stream.kept == peer.sent  # type: ignore[attr-defined]
    heard, caller = bytes(peer.audio), b"".join(sent)
    assert caller[: len(heard)] == heard
    assert len(caller) - len(heard) <= 320  # still on its way
    world.over()


# --- interruptions ---------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("after_ms", [600, 4_000], ids=["while it is being made", "long after it was made"])
def test_the_caller_barges_in_and_the_service_learns_what_was_heard(carrier: str, after_ms: int) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(after_ms), talk(800), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, said(LONG), said(NOON), acts=acts)
    world.run(25)
    (barged,) = world.told(BargedIn)
    heard = world.ms_of(LONG)
    assert (
        after_ms <= heard <= after_ms + 500
    )  # 300 ms of a voice interrupt; and what the carrier had to play meanwhile
    assert abs(barged.heard_ms - heard) <= 40
    (peer,) = world.links(ROUTE)
    (truncated,) = told(peer, "conversation.item.truncate")
    assert truncated["audio_end_ms"] == barged.heard_ms
    assert [code for code in peer.refused if code != "response_cancel_not_active"] == []
    if after_ms == 4_000:
        assert told(peer, "response.cancel") == []  # it had ended, for the service, long before
    (line,) = [text for text in world.said() if LONG.startswith(text)]
    assert 60 * len(line) <= heard + 60  # better a word too few than one that was never heard
    assert len(line) > (60 if after_ms == 4_000 else 4)
    assert world.whole(NOON)
    world.over()


@both
def test_marks_that_a_clear_returned_prove_nothing(carrier: str) -> None:
    """A carrier returns every mark at once when its buffer is cleared: that is not a caller who heard it all."""
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_500), talk(800), Wait(3_000), HangUp())
    world = a_call(carrier, said(LONG), said(""), acts=acts, plan={"repeat": False})
    world.run(20)
    (barged,) = world.told(BargedIn)
    (ended,) = world.told(CallEnded)
    assert ended.marks_discarded >= 1
    assert barged.heard_ms < 2_100
    assert LONG not in world.said()
    world.over()


@both
@pytest.mark.parametrize("short_ms", [0, 60, 120, 200, 280, 340])
def test_what_is_truncated_is_never_longer_than_what_was_said(carrier: str, short_ms: int) -> None:
    """The caller begins to speak just as the last words are heard."""
    text = NOON * 2
    begins = 60 * len(text) - short_ms - 300
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(begins), talk(600), Wait(4_000), HangUp())
    world = a_call(carrier, said(text), said("Yes?"), acts=acts)
    world.run(20)
    (peer,) = world.links(ROUTE)
    assert [code for code in peer.refused if code != "response_cancel_not_active"] == []
    for message in told(peer, "conversation.item.truncate"):
        assert 0 <= message["audio_end_ms"] <= 60 * len(text)
    assert world.whole("Yes?")
    world.over()


@both
def test_no_tail_of_an_interrupted_answer_is_heard_in_the_next(carrier: str) -> None:
    """24 kHz speech is converted for the line: what is left in the converter belongs to what was cut."""
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(1_000), talk(800), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, said(LONG), said(NOON), acts=acts, agent={"engine": OpenAIRealtime(audio="pcm24")})
    world.run(20)
    ear = world.ear()
    frames = voiced_frames(ear)
    last = max(frames)
    first = next(n for n in range(last, 0, -1) if n - 1 not in frames)
    assert pitch_ms(ear[first * 160 :], pitch(LONG)) == 0
    assert pitch_ms(ear[first * 160 :], pitch(NOON)) >= 60 * len(NOON) - 60
    world.over()


@both
def test_a_single_word_does_not_interrupt_where_two_are_wanted(carrier: str) -> None:
    """Words are known after the voice, with this service: it has stopped talking already, but what was said is
    heard."""
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(800), talk(400), Wait(9_000), HangUp())
    engine = OpenAIRealtime(turn_detection={"type": "server_vad", "silence_duration_ms": 400})
    agent = {"engine": engine, "interruptions": Interruptions(speaking_words=2)}
    world = a_call(carrier, said(LONG), said(NOON), words=("Well?", "Aha."), acts=acts, agent=agent)
    world.run(25)
    assert world.told(BargedIn) == []
    assert world.ms_of(LONG) >= 800
    world.over()


@both
def test_the_first_message_is_protected(carrier: str) -> None:
    acts = (WaitForAgent(200), talk(600), Wait(6_000), HangUp())
    agent = {"interruptions": Interruptions(first_message=Interruptions.PROTECT)}
    world = a_call(carrier, said(NOON), acts=acts, agent=agent)
    world.run(12)
    assert world.told(BargedIn) == []
    assert world.whole(HELLO)
    world.over()


# --- tools -----------------------------------------------------------------------------------------------------------

WEATHER = '{"city":"Rome"}'


@both
def test_a_tool_is_used_while_the_model_speaks(carrier: str) -> None:
    """One answer speaks and calls a tool; its result is answered when what is being said was heard."""
    used: list[Any] = []

    def weather(arguments: dict[str, Any], context: dict[str, str]) -> dict[str, Any]:
        used.append((arguments, context["caller"]))
        return {"sky": "blue"}

    first = said("Let me look that up for you right away.", calls=(("weather", WEATHER),))
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(1_500), HangUp())
    agent = {"tools": [Tool("weather", "The weather", {"properties": {"city": {"type": "string"}}}, weather)]}
    world = a_call(carrier, first, said("The sky is blue."), acts=acts, agent=agent)
    world.run(20)
    assert used == [({"city": "Rome"}, "+15550100001")]
    (peer,) = world.links(ROUTE)
    assert outputs(peer) == [{"sky": "blue"}]
    assert world.whole("Let me look that up for you right away.")
    assert world.whole("The sky is blue.")
    assert [tool.ok for tool in world.told(ToolRan)] == [True]
    assert [line["role"] for line in world.calls["on_transcript"]].count("tool") == 1
    assert peer.refused == []
    world.over()


@both
def test_a_slow_tool_is_waited_for_with_a_word(carrier: str) -> None:
    def slow(arguments: dict[str, Any]) -> After:
        return After(6_000_000, "done")

    wait = "One moment, please."
    acts = (ListenUntilQuiet(), talk(1_000), Wait(12_000), HangUp())
    agent = {"tools": [Tool("slow", handler=slow, waiting_message=wait)]}
    world = a_call(carrier, Answer(calls=(("slow", "{}"),)), said("It is done."), acts=acts, agent=agent)
    world.run(20)
    assert world.whole(wait)
    assert world.whole("It is done.")
    assert world.said()[1:] == [wait, "It is done."]
    (peer,) = world.links(ROUTE)
    assert outputs(peer) == ["done"]
    assert peer.refused == []
    world.over()


@both
def test_a_tool_is_given_up_when_the_caller_barges_in(carrier: str) -> None:
    def slow(arguments: dict[str, Any]) -> After:
        return After(20_000_000, "done")

    first = said(LONG, calls=(("slow", "{}"),))
    acts = (ListenUntilQuiet(), talk(1_000), WaitForAgent(3_000), talk(800), ListenUntilQuiet(), HangUp())
    agent = {"tools": [Tool("slow", handler=slow, timeout_s=60, cancel_on_barge_in=True)]}
    world = a_call(carrier, first, said(NOON), acts=acts, agent=agent)
    world.run(20)
    (tool,) = world.told(ToolRan)
    assert not tool.ok
    (peer,) = world.links(ROUTE)
    assert len(outputs(peer)) == 1
    assert "error" in outputs(peer)[0]
    assert world.whole(NOON)
    world.over()


@both
def test_a_tool_that_is_a_url_is_posted_to_and_signed(carrier: str) -> None:
    """The webhook's peer refuses what is not signed with its secret."""
    bodies: list[dict[str, Any]] = []

    def reply(payload: dict[str, Any]) -> list[str]:
        bodies.append(payload)
        return ['{"table": 7}']

    plan = RealtimePlan(
        key="openai-key", words=("A table.",), answers=(Answer(calls=(("book", '{"for":2}'),)), said("Table seven."))
    )
    script = ProviderScript(realtime=(plan,), webhook=reply, webhook_secret="s3cret")
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    tool = Tool(
        "book",
        parameters={"properties": {"for": {"type": "integer"}}},
        webhook_url="https://hooks.example/webhook/book",
        secret="s3cret",
    )
    world = a_call(carrier, acts=acts, routes=lambda: standard(script), agent={"tools": [tool]})
    world.run(20)
    assert {(body["tool"], body["arguments"]["for"], body["attempt"]) for body in bodies} == {("book", 2, 1)}
    assert {body["call_id"] for body in bodies} == {world.first}
    assert world.whole("Table seven.")
    (peer,) = world.links(ROUTE)
    assert outputs(peer) == [{"table": 7}]
    assert ("answered", 200) in world.outcomes("/webhook")
    world.over()


# --- the tools every model has ---------------------------------------------------------------------------------------


@both
def test_the_goodbye_is_heard_whole_before_the_model_hangs_up(carrier: str) -> None:
    bye = "Goodbye then, and do come back whenever you like."
    acts = (ListenUntilQuiet(), talk(1_000), Wait(60_000))
    world = a_call(carrier, said(bye, calls=(("end_call", '{"reason":"done"}'),)), acts=acts)
    world.until(lambda: world.told(CallEnded), 30)
    assert world.reason() is EndReason.AGENT_HUNG_UP
    assert world.whole(bye)
    assert len(world.rests(HangUpCall)) == 1
    world.over()


class Talkative(OpenAIRealtimePeer):
    """A service that goes on by itself when it has said the first message."""

    eager = True

    def _end(self, now: int, response: Any, *args: Any, **kwargs: Any) -> None:
        super()._end(now, response, *args, **kwargs)
        if self.eager:
            self.eager = False
            self._begin(now + 500_000, None, None)


@both
def test_a_model_may_not_hang_up_on_somebody_who_has_not_spoken(carrier: str) -> None:
    """It is refused within ``hang_up_guard_s``, and told so."""
    end = Answer(calls=(("end_call", '{"reason":"nobody"}'),))
    answers = (end, said("Are you there?"), said("Goodbye.", calls=end.calls))
    plan = RealtimePlan(key="openai-key", words=("Yes.",), answers=answers)
    acts = (ListenUntilQuiet(), Wait(3_000), talk(600), Wait(60_000))
    world = a_call(carrier, acts=acts, routes=lambda: Routes({ROUTE: lambda number: Talkative(plan)}))
    world.until(lambda: world.told(CallEnded), 40)
    (peer,) = world.links(ROUTE)
    first, second = outputs(peer)
    assert "too_soon" in str(first)
    assert "too_soon" not in str(second)
    assert world.whole("Are you there?")
    assert world.reason() is EndReason.AGENT_HUNG_UP
    world.over()


@both
def test_a_model_transfers_where_it_may(carrier: str) -> None:
    answer = said("I put you through.", calls=(("transfer_call", msgspec.json.encode({"number": DESK}).decode()),))
    acts = (ListenUntilQuiet(), talk(1_000), Wait(60_000))
    world = a_call(
        carrier, answer, acts=acts, agent={"transfer_allow": ("+1555000",)}, callees={DESK: Callee(talk_ms=3_000)}
    )
    world.until(lambda: world.told(CallEnded), 60)
    assert world.reason() is EndReason.TRANSFERRED
    assert world.whole("I put you through.")
    world.over()


@both
def test_a_model_does_not_transfer_where_it_may_not(carrier: str) -> None:
    sorry = "I am sorry, I cannot transfer you there."
    answer = Answer(calls=(("transfer_call", '{"number":"+15559999999"}'),))
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(2_000), HangUp())
    agent = {"transfer_allow": (DESK,), "transfer_refused_message": sorry}
    world = a_call(carrier, answer, said("Anything else?"), acts=acts, agent=agent)
    world.run(30)
    (peer,) = world.links(ROUTE)
    (output,) = outputs(peer)
    assert "not_allowed" in str(output) or "refused" in str(output)
    assert world.whole(sorry)
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
def test_nobody_answers_there_and_the_same_call_goes_on(carrier: str) -> None:
    sorry = "Nobody is there at the moment."
    answer = said("I put you through.", calls=(("transfer_call", msgspec.json.encode({"number": DESK}).decode()),))
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(8_000, 60_000), talk(800), ListenUntilQuiet(), HangUp())
    agent = {"transfer_allow": (DESK,), "transfer_failed_message": sorry}
    world = a_call(carrier, answer, said(NOON), acts=acts, agent=agent, callees={DESK: Callee(does=Does.BUSY)})
    world.until(lambda: world.told(TransferStepped), 30)
    assert world.net.now < 8_000_000  # at once, when it was said
    world.until(lambda: world.told(CallEnded), 120)
    (peer,) = world.links(ROUTE)
    (output,) = outputs(peer)
    assert "transferred" in str(output)
    assert world.whole(sorry)
    assert world.whole(NOON)
    assert world.said("user") == ["What time is it?", "And now?"]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
def test_a_model_presses_keys(carrier: str) -> None:
    answer = Answer(calls=(("send_dtmf", '{"digits":"12#"}'),))
    acts = (ListenUntilQuiet(), talk(1_000), Wait(6_000), HangUp())
    world = a_call(carrier, answer, said("Done."), acts=acts)
    world.run(20)
    (peer,) = world.links(ROUTE)
    assert len(outputs(peer)) == 1
    assert world.whole("Done.")
    if carrier == "telnyx":
        assert [order.digits for order in world.rests(PressKeys)] == ["12#"]
    world.over()


# --- keys ------------------------------------------------------------------------------------------------------------


@both
def test_keys_are_told_to_the_model_and_answered(carrier: str) -> None:
    acts = (ListenUntilQuiet(), Press("4"), Wait(300), Press("2"), Wait(6_000), HangUp())
    world = a_call(carrier, said("Forty-two it is."), acts=acts)
    world.run(20)
    (peer,) = world.links(ROUTE)
    items = [message["item"] for message in told(peer, "conversation.item.create")]
    assert [item["content"][0]["text"] for item in items] == ["[DTMF: 42]"]
    assert world.said("user") == ["[DTMF: 42]"]
    assert world.whole("Forty-two it is.")
    world.over()


# --- guardrails ------------------------------------------------------------------------------------------------------


@both
def test_blocked_words_are_stopped_and_replaced(carrier: str) -> None:
    """The words of this service come with their audio, which may be a little ahead of them: what is heard is the
    beginning of the sentence at most, never the word."""
    text = "You could sue them all for a lot of money, I suppose, my dear friend."
    instead = "I may not advise on that."
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(1_500), HangUp())
    agent = {"guardrails": [Guardrail("legal", ("sue",), replacement=instead)]}
    world = a_call(carrier, said(text), acts=acts, agent=agent)
    world.run(20)
    assert world.ms_of(text) <= 60 * text.index("sue")
    assert world.whole(instead)
    assert all("sue" not in line for line in world.said())
    world.over()


# --- links -----------------------------------------------------------------------------------------------------------


@both
def test_it_is_dialled_with_the_webhook_and_a_call_never_answered_leaves_nothing(carrier: str) -> None:
    world = a_call(carrier, said(NOON))
    assert world.post(world.offer(world.new_id(7))).status == 200
    world.run(1)
    assert len(world.links(ROUTE)) >= 1
    opened = len(world.links(ROUTE))
    assert opened == 2  # the planned caller's, and this one's, whose stream never comes
    world.run(60)
    assert len([how for how, _ in world.outcomes() if how == "closed"]) == 1
    world.over()


@both
def test_the_engine_is_dialled_before_the_stream_comes(carrier: str) -> None:
    world = a_call(carrier, said(NOON), latency_us=50_000)
    world.until(lambda: world.links(ROUTE), 5)
    assert world.told(CallStarted) == []
    world.run(3)
    assert len(world.told(CallStarted)) == 1
    assert len(world.links(ROUTE)) == 1
    world.over()


@both
def test_what_on_call_start_returns_counts(carrier: str) -> None:
    def start(data: dict[str, Any]) -> dict[str, Any]:
        return {"system_prompt": "Speak like a pirate.", "voice": "verse", "first_message": "Ahoy!"}

    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, said(NOON), acts=acts, on={"on_call_start": start})
    world.run(15)
    assert world.whole("Ahoy!")
    assert world.ms_of(HELLO) == 0
    peer = world.links(ROUTE)[-1]
    assert peer.session["instructions"] == "Speak like a pirate."
    assert peer.session["audio"]["output"]["voice"] == "verse"
    assert world.whole(NOON)
    assert set(world.outcomes()) == {("closed", 1000)}
    world.over()


@both
@pytest.mark.parametrize("in_reply", [True, False], ids=["in the middle of its answer", "while the caller speaks"])
def test_a_lost_link_is_dialled_again_and_knows_what_was_said(carrier: str, in_reply: bool) -> None:
    first = RealtimePlan(
        key="openai-key",
        words=("What time is it?", "And now?"),
        answers=(said(NOON), said(LONG, drop_after_ms=1_000) if in_reply else said("Still noon."), said("So be it.")),
    )
    second = msgspec.structs.replace(first)
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), talk(2_000), ListenUntilQuiet(2_500), HangUp())
    world = a_call(carrier, acts=acts, routes=lambda: standard(ProviderScript(realtime=(first, second))))
    if not in_reply:
        world.until(lambda: world.whole(NOON))
        world.until(lambda: voiced_frames(world.mouth())[-1] * 20 > 1_000 + 20 * 50 + 3_000)
        world.break_links()
    world.run(40)
    assert len(world.links(ROUTE)) == 2
    _, new = world.links(ROUTE)
    restored = str([message["item"] for message in told(new, "conversation.item.create")])
    assert NOON in restored
    assert "What time is it?" in restored
    assert world.reason() is EndReason.CALLER_HUNG_UP
    assert len(world.told(ProviderSwitched)) >= 1
    assert new.refused == []
    if in_reply:
        assert world.whole("So be it.") or world.ms_of(LONG) > 1_000
    else:
        assert world.said("user")[-1] == "And now?"
        assert world.whole("Still noon.")
    world.over()


@both
def test_a_session_that_is_about_to_expire_is_left_between_turns(carrier: str) -> None:
    acts: list[Act] = [ListenUntilQuiet()]
    for _ in range(12):
        acts += [talk(1_000), ListenUntilQuiet(), Wait(6_000)]
    world = a_call(carrier, said(NOON), acts=(*acts, HangUp()), plan={"lifetime_s": 90.0})
    world.run(150)
    assert len(world.links(ROUTE)) >= 2
    assert ("dropped", 0) not in world.outcomes()
    assert "session_expired" not in [code for peer in world.links(ROUTE) for code in peer.refused]
    assert len([text for text in world.said() if text == NOON]) == 12
    assert world.told(BargedIn) == []
    world.over()


@both
def test_an_expired_session_is_replaced(carrier: str) -> None:
    """It says nothing of its end, and ends while it is being used."""
    first = RealtimePlan(
        key="openai-key", lifetime_s=6.0, epoch=0, words=("What time is it?", "And now?"), answers=(said(NOON),)
    )
    later = msgspec.structs.replace(first, lifetime_s=3600.0)
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), Wait(5_000), talk(1_000), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, acts=acts, routes=lambda: standard(ProviderScript(realtime=(first, later))))
    world.run(40)
    assert len(world.links(ROUTE)) >= 2
    assert [text for text in world.said() if text == NOON] == [NOON, NOON]
    assert world.reason() is EndReason.CALLER_HUNG_UP
    world.over()


@both
def test_a_key_that_is_not_good_ends_the_call_with_words(carrier: str) -> None:
    acts = (Wait(30_000),)
    world = a_call(carrier, acts=acts, agent={"engine": OpenAIRealtime(api_key="no-good-key")})
    world.run(20)
    assert world.reason() is EndReason.ENGINE_FAILED
    assert len(world.done().said_by_carrier) == 1
    assert "no-good-key" not in str(world.server.events)
    assert [code for how, code in world.outcomes() if how == "refused"][:1] == [401]
    world.over()


@both
def test_nothing_is_left_of_a_call_when_the_server_stops(carrier: str) -> None:
    acts = (ListenUntilQuiet(), talk(1_000), Wait(600_000))
    world = a_call(carrier, said(LONG), acts=acts)
    world.run(5)
    world.stop()
    began = world.net.now
    world.until(lambda: world.server.exit_code is not None, 60)
    assert world.net.now - began < 20_000_000
    assert world.outcomes() == [("closed", 1000)]
    assert world.reason() is EndReason.SHUTDOWN
    assert len(world.calls["on_call_end"]) == 1
    world.over()


# --- two calls -------------------------------------------------------------------------------------------------------


@both
def test_two_calls_share_nothing(carrier: str) -> None:
    """Two numbers, two agents with different keys, prompts and words, at the same time."""
    one, two = "+15550001234", "+15550001235"
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), Wait(500), HangUp())
    plans = (
        *person(*acts, callee=one, caller="+15550100001"),
        *person(*acts, callee=two, caller="+15550100002", at_ms=15),
    )
    agents = {
        one: Agent(engine=OpenAIRealtime(api_key="key-one"), system_prompt="You are One.", first_message="I am One."),
        two: Agent(engine=OpenAIRealtime(api_key="key-two"), system_prompt="You are Two.", first_message="I am Two!"),
    }
    scripts = (
        RealtimePlan(key="key-one", words=("To the first.",), answers=(said("The first hears you."),)),
        RealtimePlan(key="key-two", words=("To the second.",), answers=(said("Second here, hello."),)),
    )

    def routes() -> Any:
        return standard(ProviderScript(), None).joined(_by_key(*scripts))

    world = ProviderWorld(
        agents, plans, routes=routes, carrier=carrier, numbers=(one, two), config={"numbers": (one, two)}
    )
    world.run(20)
    first, second = world.sim.call_ids
    assert world.whole("I am One.", first)
    assert world.whole("The first hears you.", first)
    assert world.whole("I am Two!", second)
    assert world.whole("Second here, hello.", second)
    assert world.ms_of("Second here, hello.", first) == world.ms_of("The first hears you.", second) == 0
    ends = {end["call_id"]: [line["text"] for line in end["transcript"]] for end in world.calls["on_call_end"]}
    assert ends == {
        first: ["I am One.", "To the first.", "The first hears you."],
        second: ["I am Two!", "To the second.", "Second here, hello."],
    }
    for peer in world.links(ROUTE):
        name = "One" if peer.headers["authorization"] == "Bearer key-one" else "Two"
        assert peer.session["instructions"] == f"You are {name}."
    world.over()


def _by_key(*plans: RealtimePlan) -> Any:
    """Whoever comes with a key meets the plan of that key."""

    class Door(OpenAIRealtimePeer):
        def opened(self, now: int, target: str, headers: dict[str, str]) -> Any:
            names = {name.lower(): value for name, value in headers.items()}
            self.plan = next(plan for plan in plans if names.get("authorization") == f"Bearer {plan.key}")
            self.progress = Progress()
            return super().opened(now, target, headers)

    return Routes({ROUTE: lambda number: Door()})


# --- machines, patience ----------------------------------------------------------------------------------------------


@both
def test_the_first_message_waits_until_it_is_known_who_answered(carrier: str) -> None:
    callee = Callee(acts=(Wait(8_000), HangUp()), verdict_ms=2_500)
    world = ProviderWorld(
        Agent(engine=OpenAIRealtime(), first_message=HELLO), routes=realtime(said(NOON)), carrier=carrier, callee=callee
    )
    world.call(THEM, machine_detection=True)
    world.run(20)
    leg = world.leg_to(THEM)
    frames = voiced_frames(world.ear(leg.id))
    assert frames[0] * 20 >= 2_400
    assert world.whole(HELLO, leg.id)
    assert len(world.links(ROUTE)) == 1  # what was dialled ahead is what is used
    world.over()


@both
def test_a_machine_hears_the_message_in_the_agents_voice(carrier: str) -> None:
    message = "Please call us back tomorrow."
    callee = Callee(does=Does.MACHINE, greeting_ms=4_000)
    world = ProviderWorld(
        Agent(engine=OpenAIRealtime(), first_message=HELLO), routes=realtime(said(NOON)), carrier=carrier, callee=callee
    )
    ask = world.call(THEM, machine_detection=True, voicemail_message=message, wait=True)
    world.until(lambda: world.answered(ask), 60)
    assert world.answer(ask).reason is EndReason.VOICEMAIL_LEFT
    leg = world.leg_to(THEM)
    assert world.whole(message, leg.id)
    late = world.ear(leg.id)[8 * 4_400 :]  # they talk, then they listen
    assert pitch_ms(late, pitch(message)) >= 60 * len(message) - 60
    world.over()


@both
def test_a_caller_who_is_silent_is_asked_and_then_taken_leave_of(carrier: str) -> None:
    patience = Patience(idle_s=5, idle_tries=2, idle_message="Hello? Anybody?", goodbye_message="Then goodbye.")
    world = a_call(carrier, said(NOON), acts=(Wait(120_000),), agent={"patience": patience})
    world.until(lambda: world.told(CallEnded), 60)
    assert world.reason() is EndReason.IDLE
    assert world.said() == [HELLO, "Hello? Anybody?", "Hello? Anybody?", "Then goodbye."]
    assert world.whole("Then goodbye.")
    world.over()


@both
def test_a_call_that_costs_too_much_is_ended_with_words(carrier: str) -> None:
    patience = Patience(max_cost=0.1, limit_message="Soon we must end.", goodbye_message="Thank you, goodbye.")
    acts: list[Act] = [ListenUntilQuiet()]
    for _ in range(30):
        acts += [talk(1_000), ListenUntilQuiet(), Wait(4_000)]
    world = a_call(carrier, said(NOON * 4), acts=tuple(acts), agent={"patience": patience})
    world.until(lambda: world.told(CallEnded), 200)
    assert world.reason() is EndReason.MAX_COST
    assert "Soon we must end." in world.said()
    assert "Thank you, goodbye." in world.said()
    assert world.calls["on_call_end"][0]["metrics"].cost.total >= 0.1
    world.over()


@both
def test_trouble_is_told_and_the_call_goes_on(carrier: str) -> None:
    """A reply that fails at the service is asked for again."""
    acts = (ListenUntilQuiet(), talk(1_000), ListenUntilQuiet(), HangUp())
    world = a_call(carrier, Answer(fail="server_error"), said(NOON), acts=acts)
    world.run(20)
    assert world.whole(NOON)
    assert world.told(ProviderReported) or world.told(SpeechFailed)
    assert audible(world.ear()) >= 60 * len(HELLO + NOON) - 200
    world.over()
