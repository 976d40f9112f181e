"""OpenAI's Realtime service when it fails, falls silent, forgets, expires or talks nonsense: never silence for long."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patter_core.audio.formats import L16_24K, PCMU_8K
from patter_core.call.words import CloseLink, LinkClosed, LinkOpened, LinkSaid, OpenLink, TaskReturned
from patter_core.contract import Fault
from patter_core.engines.engine import (
    CallerSaid,
    CallerStarted,
    CallerStopped,
    Ended,
    GaveUp,
    Interrupted,
    Keyed,
    Played,
    ReplyBegan,
    Said,
    Say,
    Saying,
    Speak,
    SpeechEnded,
    SpeechEnough,
    StageFailed,
    ToolAnswered,
    Worded,
)
from patter_core.engines.openai_realtime import OpenAIRealtimeEngine
from patter_core.engines.policy import GuardSpec, HandlerSpec, Interruptions, ToolSpec
from patter_core.settings import CallSettings
from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
from tests.core.realtime_kit import KEY, Stand, make_context, make_spec

FALLBACK = make_spec().fallback_text
LONG = "This is a long answer, and it goes on and on, and on, and then it still goes on for a while."


def plan(*texts: str, **changes: Any) -> RealtimePlan:
    values: dict[str, Any] = {
        "key": KEY,
        "words": ("First question.", "Second question.", "Third question."),
        "answers": tuple(Answer(texts=(text,)) for text in texts),
    }
    return RealtimePlan(**{**values, **changes})


def begun(*plans: RealtimePlan, **changes: Any) -> Stand:
    stand = Stand(*plans, **changes)
    stand.begin()
    stand.run(500)
    return stand


# --- it cannot be reached --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "advice"), [(401, "OPENAI_API_KEY"), (404, "model"), (403, "OPENAI_API_KEY")])
def test_a_refusal_that_nothing_helps_with_ends_it_at_once(status: int, advice: str) -> None:
    stand = begun(plan(refuse=status))
    [gave_up] = stand.gave_up
    assert str(status) in gave_up.detail
    assert advice in gave_up.detail
    assert KEY not in gave_up.detail
    assert gave_up.say == FALLBACK
    assert len(stand.told(OpenLink)) == 1
    assert stand.engine.deadline is None


@pytest.mark.parametrize(
    ("code", "advice"), [("invalid_api_key", "key"), ("invalid_model", "model"), ("insufficient_quota", "credit")]
)
def test_an_error_that_nothing_helps_with_ends_it_at_once(code: str, advice: str) -> None:
    stand = begun(plan(first_error=code))
    [gave_up] = stand.gave_up
    assert code in gave_up.detail
    assert advice in gave_up.detail


def test_a_close_that_names_such_an_error_does_too() -> None:
    stand = Stand(plan())
    stand.begin()
    stand.tell(LinkClosed("engine:1", 3000, "invalid_request_error.invalid_api_key"))
    assert "OPENAI_API_KEY" in stand.gave_up[0].detail


def test_a_busy_service_is_tried_again() -> None:
    stand = begun(plan(refuse=503), plan("Yes."), context=make_context(first_message="Hello."))
    stand.run(2000)
    assert stand.heard == ["Hello."]
    assert len(stand.told(OpenLink)) == 2
    assert stand.warned == ["link_lost"]
    assert [one.to for one in stand.switched] == ["openai_realtime"]


def test_a_service_that_stays_away_is_given_up_in_bounded_time() -> None:
    stand = begun(plan(refuse=503))
    stand.run(30_000)
    assert len(stand.gave_up) == 1
    assert 3 <= len(stand.told(OpenLink)) <= 8
    assert stand.when(GaveUp)[0] < 20_000_000


def test_a_service_that_does_not_begin_is_given_up_in_bounded_time() -> None:
    stand = begun(plan(mute=True))
    stand.run(60_000)
    assert len(stand.gave_up) == 1
    assert stand.when(GaveUp)[0] < 30_000_000
    assert len(stand.told(CloseLink)) == len(stand.told(OpenLink))


def test_an_address_that_cannot_be_reached_is_tried_again() -> None:
    stand = Stand(plan("Yes."), context=make_context(first_message="Hello."))
    stand.begin()
    stand.open_links.clear()
    stand.tell(LinkClosed("engine:1", 1006, fault=Fault.UNREACHABLE))
    stand.by_link.clear()
    stand.run(2000)
    assert stand.heard == ["Hello."]


def test_what_fails_while_warming_up_is_tried_again_by_begin() -> None:
    stand = Stand(plan(refuse=401), plan("Yes."), context=make_context(first_message="Hello."))
    stand.warm()
    stand.run(1000)
    assert stand.gave_up == []
    assert stand.warned == ["warm_up_failed"]
    stand.begin()
    stand.run(2000)
    assert stand.heard == ["Hello."]


def test_no_answer_to_session_update_is_reported_and_not_waited_for() -> None:
    stand = begun(plan("Yes.", no_updated=True), audio="pcm24", context=make_context(first_message="Hello."))
    stand.run(6000)
    assert stand.warned == ["session_update_unanswered"]
    assert stand.heard == ["Hello."]


def test_refused_settings_end_it_with_advice() -> None:
    stand = begun(plan(refuse_update="invalid_value"))
    [gave_up] = stand.gave_up
    assert "session.model" in gave_up.detail
    assert "check the options" in gave_up.detail


# --- it does not hear ------------------------------------------------------------------------------------------------


def test_a_service_deaf_to_mu_law_is_spoken_to_in_24_khz() -> None:
    stand = begun(plan("Now I hear you.", deaf_to_g711=True))
    stand.say(1000, 9000)
    assert stand.warned == ["audio_ignored"]
    assert stand.engine.hears == stand.engine.speaks == L16_24K
    assert stand.said == ["First question."]  # and what was said in vain was said again
    assert stand.heard == ["Now I hear you."]
    assert stand.peer.refused == []


def test_the_first_message_is_no_sign_of_hearing() -> None:
    stand = begun(plan("Now.", deaf_to_g711=True), context=make_context(first_message="Hi."))
    stand.run(1500)
    stand.say(1000, 9000)
    assert stand.engine.hears == L16_24K
    assert stand.heard == ["Hi.", "Now."]


def test_one_that_hears_is_left_alone() -> None:
    stand = begun(plan("Yes."))
    for _ in range(3):
        stand.say(1000, 5000)
    assert stand.engine.hears == PCMU_8K
    assert stand.warned == []


def test_it_is_not_doubted_while_it_speaks() -> None:
    stand = Stand(plan("Now.", deaf_to_g711=True), context=make_context(first_message=LONG), interrupts=False)
    stand.begin()
    stand.run(400)
    stand.say(300, 4000)
    assert stand.engine.hears == PCMU_8K
    stand.say(800, 6000)  # but it is the next time
    assert stand.engine.hears == L16_24K


def test_it_is_not_doubted_where_mu_law_was_asked_for() -> None:
    stand = begun(plan("Yes.", deaf_to_g711=True), audio="pcmu")
    stand.say(1000, 9000)
    assert stand.engine.hears == PCMU_8K
    assert stand.warned == []


# --- the connection is lost ------------------------------------------------------------------------------------------


def test_a_loss_between_turns_is_not_noticed() -> None:
    stand = begun(plan("One.", "Two.", drop_after_us=6_000_000), plan("One.", "Two."))
    stand.say(800, 7000)
    stand.say(800, 3000)
    assert stand.heard == ["One.", "Two."]
    assert stand.said == ["First question.", "Second question."]
    assert [(item["role"], item["text"]) for item in stand.peer.items][:2] == [
        ("user", "First question."),
        ("assistant", "One."),
    ]
    assert len(stand.switched) == 1
    assert stand.peer.refused == []


def test_what_was_said_while_the_connection_was_gone_is_answered() -> None:
    stand = begun(plan("One.", drop_after_us=1_200_000), plan("One."))
    stand.say(1500, 6000)
    assert stand.said == ["First question."] or stand.said == ["Second question."]
    assert stand.heard == ["One."]


def test_a_loss_in_the_middle_of_a_question_loses_none_of_it() -> None:
    stand = begun(plan("One.", drop_after_us=1_000_000), plan("One."))
    stand.say(2500, 4000)
    first, second = stand.peers
    assert PCMU_8K.duration_us(len(second.audio)) > 2_500_000
    assert len(first.audio) > 0
    assert stand.heard == ["One."]
    started, stopped = stand.told(CallerStarted), stand.told(CallerStopped)
    assert len(started) == len(stopped)
    assert abs(started[-1].at - 500_000) <= 320_000  # when it was really said


def test_a_loss_before_the_answer_asks_for_it_again() -> None:
    slow = Answer(texts=("It is noon.",), think_us=2_000_000)
    stand = begun(plan(answers=(slow,), drop_after_us=2_500_000), plan("It is noon."))
    stand.say(800, 8000)
    assert stand.heard == ["It is noon."]
    assert [item["text"] for item in stand.peer.items if item["role"] == "user"] == ["First question."]
    assert len(stand.told(ReplyBegan)) == 1


def test_a_loss_before_the_words_are_known_tells_the_next_session_the_sound() -> None:
    slow = Answer(texts=("It is noon.",), think_us=2_000_000)
    stand = begun(plan(answers=(slow,), drop_after_us=2_300_000, words_us=5_000_000), plan("It is noon."))
    stand.say(800, 8000)
    assert stand.heard == ["It is noon."]
    assert stand.failed == ["stt"]
    user = next(item for item in stand.peer.items if item["role"] == "user")
    assert PCMU_8K.duration_us(user["bytes"]) >= 800_000


def test_a_loss_in_the_middle_of_an_answer_goes_on_with_it() -> None:
    stand = begun(
        plan(answers=(Answer(texts=(LONG,), drop_after_ms=1600),)),
        plan(answers=(Answer(texts=("and so on.",)),)),
    )
    stand.say(800, 12_000)
    assert len(stand.heard) == 2
    assert LONG.startswith(stand.heard[0])
    assert stand.heard[1] == "and so on."
    note = next(item for item in stand.peer.items if item["role"] == "system")
    assert stand.heard[0] in note["text"]
    assert len(stand.told(SpeechEnded)) == 2


def test_a_loss_in_the_middle_of_the_first_message_says_it_again() -> None:
    stand = begun(plan(drop_after_us=500_000), plan(), context=make_context(first_message=LONG))
    stand.run(10_000)
    assert stand.heard[-1] == LONG


def test_tools_survive_a_new_session() -> None:
    call = Answer(calls=(("slow", '{"a":1}'),))
    stand = begun(
        plan(answers=(call,), drop_after_us=4_000_000),
        plan(answers=(Answer(texts=("Done.",)),)),
        context=make_context(tools=(ToolSpec(name="slow"),)),
    )
    stand.say(800, 5000)
    assert len(stand.tools) == 1
    stand.tell(ToolAnswered(stand.tools[0].call, "42"))
    stand.run(3000)
    assert stand.heard == ["Done."]
    assert [item["type"] for item in stand.peer.items][1:3] == ["function_call", "function_call_output"]
    assert stand.peer.refused == []


def test_a_new_session_is_told_what_was_heard_not_what_was_said() -> None:
    stand = begun(plan(LONG, "Yes?", drop_after_us=9_000_000), plan("Yes?"))
    stand.say(800, 2500)
    stand.say(800, 8000)
    cut = stand.items[stand.words_order[0]]
    assert cut.cut
    texts = [item["text"] for item in stand.peer.items if item["role"] == "assistant"]
    assert texts[0] == cut.heard != LONG


def test_what_is_interrupted_after_a_new_session_was_told_of_it_is_corrected() -> None:
    stand = begun(
        plan(LONG, drop_after_us=3_400_000),
        plan("Yes?"),
        context=make_context(interruptions=Interruptions()),
    )
    stand.say(800, 2500)
    assert len(stand.peers) == 2
    assert stand.audible
    name = stand.words_order[0]
    told = [item for item in stand.peer.items if item["role"] == "assistant"]
    assert told[0]["text"] == LONG
    stand.tell(Interrupted(name, 1_000_000, "This is a long"))
    stand.run(500)
    assert [item["text"] for item in stand.peer.items if item["role"] == "assistant"] == ["This is a long"]
    assert [item["role"] for item in stand.peer.items] == ["user", "assistant"]
    assert stand.peer.refused == []


def test_a_connection_that_keeps_breaking_is_given_up() -> None:
    stand = begun(*[plan("One.", drop_after_us=300_000)] * 20)
    stand.run(120_000)
    assert len(stand.gave_up) == 1
    assert len(stand.told(OpenLink)) <= 7


# --- it expires ------------------------------------------------------------------------------------------------------


def test_a_session_is_rolled_over_before_it_expires_when_nobody_speaks() -> None:
    stand = begun(plan("One.", "Two.", lifetime_s=400), plan("One.", "Two."))
    stand.say(800, 4000)
    stand.run(300_000)
    assert len(stand.peers) == 2
    assert stand.peers[0].gone
    assert "expire" in stand.switched[0].detail
    assert 290_000_000 <= stand.when(OpenLink)[1] <= 310_000_000
    stand.say(800, 4000)
    assert stand.heard == ["One.", "Two."]
    assert stand.peer.items[0]["text"] == "First question."
    assert len(stand.open_links) == 1
    assert stand.warned == []


def test_the_old_session_serves_until_the_new_one_is_ready() -> None:
    stand = begun(plan(lifetime_s=100), plan(greet_us=3_000_000))
    stand.run(82_000)
    closes = stand.when(CloseLink)
    ready = next(at for at, order in stand.orders if isinstance(order, CloseLink))
    assert closes == [ready]
    assert ready - stand.when(OpenLink)[1] > 3_000_000


def test_it_waits_for_a_quiet_moment() -> None:
    stand = begun(plan(LONG * 3, lifetime_s=60), plan("Two."))
    stand.run(42_000)
    stand.say(1000, 1200)
    assert stand.audible
    stand.run(8000)
    assert stand.audible
    assert len(stand.peers) == 1  # it is past the time, but there is no quiet moment
    stand.run(3000)
    assert len(stand.peers) == 2  # now there must be one
    stand.run(10_000)
    assert stand.heard == [LONG * 3]


def test_an_expired_session_is_replaced_all_the_same() -> None:
    stand = begun(plan("One.", lifetime_s=5), plan("One."), epoch=0)  # it cannot be known when it expires
    stand.run(6000)
    stand.say(800, 3000)
    assert stand.heard == ["One."]
    assert stand.warned == ["link_lost"]


def test_without_a_clock_a_session_lives_for_an_hour() -> None:
    stand = begun(plan(lifetime_s=3600), plan(), epoch=0)
    stand.hearing = False
    stand.run(3_470_000)
    assert len(stand.peers) == 1
    stand.run(30_000)
    assert len(stand.peers) == 2


def test_a_failed_roll_over_is_tried_again_and_the_old_session_serves_on() -> None:
    stand = begun(plan("One.", lifetime_s=200), plan(refuse=503), plan("One."))
    stand.run(160_000)
    assert len(stand.peers) == 3
    assert stand.warned == ["roll_over_failed"]
    stand.say(800, 3000)
    assert stand.heard == ["One."]


# --- replies fail ----------------------------------------------------------------------------------------------------


def test_a_slow_first_token_is_waited_for() -> None:
    stand = begun(plan(answers=(Answer(texts=("At last.",), think_us=9_000_000),)))
    stand.say(800, 14_000)
    assert stand.heard == ["At last."]
    assert stand.failed == []


def test_a_reply_that_hangs_is_asked_for_again() -> None:
    stand = begun(plan(answers=(Answer(hang=True), Answer(texts=("Here.",)))), settings=CallSettings(reply_s=5.0))
    stand.say(800, 12_000)
    assert stand.failed == ["reply"]
    assert stand.heard == ["Here."]


def test_a_service_that_never_replies_is_given_up_in_bounded_time() -> None:
    stand = begun(plan(never_begins=True), context=make_context(first_message="Hello."))
    stand.run(120_000)
    assert len(stand.gave_up) == 1
    assert stand.when(GaveUp)[0] < 45_000_000


def test_a_rate_limit_is_waited_for_as_long_as_it_says() -> None:
    limited = Answer(fail="rate_limit_exceeded", message="Rate limit reached. Please try again in 2.5s. Visit ...")
    stand = begun(plan(answers=(limited, Answer(texts=("Here.",)))))
    stand.say(800, 8000)
    assert stand.heard == ["Here."]
    assert stand.failed == []
    created = stand.messages("response.create")
    assert len(created) == 1
    assert stand.warned == ["reply_rate_limit_exceeded"]
    assert stand.when(Speak)[0] > 4_000_000


def test_a_rate_limit_that_asks_for_too_much_is_apologised_for() -> None:
    limited = Answer(fail="rate_limit_exceeded", message="Please try again in 1m20s.")
    stand = begun(plan(answers=(limited,)))
    stand.say(800, 6000)
    assert stand.heard == [FALLBACK]
    assert stand.failed == ["reply"]


@pytest.mark.parametrize("wait", ["1.2s", "4s"])
def test_what_is_asked_again_is_not_when_the_caller_goes_on(wait: str) -> None:
    limited = Answer(fail="rate_limit_exceeded", message=f"Please try again in {wait}.")
    stand = begun(plan(answers=(limited, Answer(texts=("Here.",)))))
    stand.say(800, 1300)
    stand.say(2000, 9000)
    assert stand.heard == ["Here."]
    assert stand.messages("response.create") == []
    assert stand.peer.refused == []


def test_a_refused_request_for_a_reply_is_repeated() -> None:
    refused = Answer(refuse="rate_limit_exceeded", message="Please try again in 500ms.")
    stand = begun(plan(answers=(refused, Answer(texts=("Here.",)))))
    stand.tell(Keyed("[DTMF: 1]"))
    stand.run(4000)
    assert stand.heard == ["Here."]


def test_a_reply_that_fails_for_good_is_apologised_for() -> None:
    stand = begun(plan(answers=(Answer(fail="server_error"),)))
    stand.say(800, 8000)
    assert stand.heard == [FALLBACK]
    assert stand.failed == ["reply"]
    assert len(stand.told(ReplyBegan)) == 1
    assert stand.gave_up == []


def test_when_not_even_the_apology_can_be_spoken_it_is_over() -> None:
    stand = begun(plan(answers=(Answer(fail="server_error"),), verbatim=False))
    stand.say(800, 12_000)
    assert len(stand.gave_up) == 1
    assert stand.gave_up[0].say == FALLBACK


def test_an_empty_reply_is_asked_for_again() -> None:
    stand = begun(plan(answers=(Answer(), Answer(texts=("Here.",)))))
    stand.say(800, 5000)
    assert stand.heard == ["Here."]


def test_no_credit_in_the_middle_of_a_call_ends_it() -> None:
    stand = begun(plan(answers=(Answer(fail="insufficient_quota"),)))
    stand.say(800, 5000)
    assert "credit" in stand.gave_up[0].detail


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_a_reply_that_breaks_off_stands_as_far_as_it_went(reason: str) -> None:
    stand = begun(plan(answers=(Answer(texts=("As far as this.", "Never said."), incomplete=reason),)))
    stand.say(800, 5000)
    assert stand.heard == ["As far as this."]
    assert stand.warned == [reason]


def test_a_reply_that_runs_away_is_cut() -> None:
    stand = begun(plan(LONG * 5), settings=CallSettings(reply_chars=100))
    stand.say(800, 20_000)
    assert stand.failed == ["reply"]
    assert len("".join(order.text for order in stand.told(Worded))) == 100
    assert len(stand.messages("response.cancel")) == 1


def test_a_reply_is_not_asked_for_while_another_is_under_way() -> None:
    stand = begun(plan(LONG, "Five."), interrupts=False)
    stand.say(800, 1000)
    stand.tell(Keyed("[DTMF: 5]"))
    stand.tell(Say("say:1", "By the way."))
    stand.run(16_000)
    assert stand.peer.refused == []
    assert stand.heard == [LONG, "Five.", "By the way."]


# --- nonsense --------------------------------------------------------------------------------------------------------


def test_garbage_is_skipped_and_reported_once() -> None:
    stand = begun(plan("Yes.", garbage=True), context=make_context(first_message="Hello."))
    stand.run(1500)
    stand.say(800, 3000)
    assert stand.heard == ["Hello.", "Yes."]
    assert stand.warned == ["malformed"]


def test_audio_that_is_no_base64_is_skipped() -> None:
    stand = begun(plan("Yes."))
    stand.speak(800)
    while not stand.told(Speak):
        stand.run(20)
    active = stand.engine._active
    assert active is not None
    item = next(iter(active.items))
    event = {"type": "response.output_audio.delta", "response_id": active.id, "item_id": item, "delta": "!?"}
    stand.tell(LinkSaid("engine:1", msgspec.json.encode(event).decode()))
    assert stand.warned == ["malformed"]


def test_benign_errors_are_nothing() -> None:
    stand = begun(plan("Yes."))
    for code in ("response_cancel_not_active", "item_truncate_invalid_item_id"):
        event = {"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": "no"}}
        stand.tell(LinkSaid("engine:1", msgspec.json.encode(event).decode()))
    assert stand.warned == []


def test_other_errors_are_reported_once_each() -> None:
    stand = begun(plan("Yes."))
    event = {"type": "error", "error": {"type": "server_error", "code": "odd", "message": "x" * 9000}}
    for _ in range(3):
        stand.tell(LinkSaid("engine:1", msgspec.json.encode(event).decode()))
    assert stand.warned == ["odd"]
    stand.say(800, 3000)
    assert stand.heard == ["Yes."]


KINDS = [
    "session.created", "session.updated", "error", "input_audio_buffer.speech_started", "response.audio.delta",
    "input_audio_buffer.speech_stopped", "input_audio_buffer.committed", "conversation.item.created",
    "conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed", "response.created", "response.output_audio.delta",
    "response.output_audio_transcript.delta", "response.output_audio_transcript.done", "response.output_item.done",
    "response.function_call_arguments.done", "response.done", "response.output_text.delta", "rate_limits.updated",
]  # fmt: skip
small = st.sampled_from(["", "a", "b", "item_1", "resp_1", "blockhead ", None])
text = st.sampled_from(["", "So much"])
odd = st.one_of(small, st.integers(-(2**70), 2**70), st.booleans(), st.lists(st.integers(), max_size=2))
usage = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": st.integers(-5, 10**12),
        "seconds": st.floats(allow_nan=False, allow_infinity=False),
        "input_token_details": st.fixed_dictionaries({"text_tokens": st.integers(-9, 99), "cached_tokens": odd}),
    },
)
item = st.fixed_dictionaries(
    {"id": small, "type": st.sampled_from(["message", "function_call", "odd"])},
    optional={
        "call_id": small, "name": small, "arguments": small, "status": st.sampled_from(["completed", "incomplete"]),
        "content": st.lists(st.fixed_dictionaries({"type": small, "text": small}), max_size=2),
    },
)  # fmt: skip
error = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(
            ["conversation_already_has_active_response", "rate_limit_exceeded", "session_expired", "odd", None]
        ),
        "message": small, "event_id": st.sampled_from(["create_1", "update_1", "truncate_1", None]), "type": small,
    },
)  # fmt: skip
response = st.fixed_dictionaries(
    {"id": st.sampled_from(["resp_1", "resp_2", ""])},
    optional={
        "status": st.sampled_from(["completed", "failed", "cancelled", "incomplete", "odd"]),
        "status_details": st.fixed_dictionaries({"reason": small, "error": error}),
        "output": st.lists(item, max_size=3),
        "usage": usage,
        "metadata": st.one_of(st.none(), st.just({"patter": "engine:2"}), st.just({"patter": 5})),
    },
)
event = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "response_id": st.sampled_from(["resp_1", "resp_2"]), "item_id": small, "delta": st.one_of(
            small, st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode())
        ),
        "transcript": small, "audio_start_ms": st.integers(-(2**62), 2**62), "audio_end_ms": odd,
        "item": item, "response": response, "error": error, "usage": usage,
        "session": st.fixed_dictionaries({"expires_at": st.integers(-(2**62), 2**62)}),
    },
)  # fmt: skip
names = st.sampled_from([f"engine:{number}" for number in range(1, 12)])
fact = st.one_of(
    st.builds(LinkSaid, names, event.map(lambda value: msgspec.json.encode(value).decode())),
    st.builds(LinkSaid, st.just("engine:1"), event.map(lambda value: msgspec.json.encode(value).decode())),
    st.builds(LinkSaid, names, st.text(max_size=9)),
    st.builds(LinkOpened, names),
    st.builds(LinkClosed, names, st.integers(1000, 4999), st.text(max_size=5)),
    st.builds(Interrupted, st.sampled_from(["first", "", "say:1", "engine:3:reply"]), st.integers(0, 10**9), text),
    st.builds(Played, st.sampled_from(["first", "say:1"])),
    st.builds(Say, st.sampled_from(["say:1", "say:2"]), st.text(max_size=5)),
    st.builds(Keyed, st.just("[DTMF: 1]")),
    st.builds(ToolAnswered, st.sampled_from(["a", "b"]), st.just("{}"), st.booleans(), st.booleans()),
    st.builds(TaskReturned, names, odd),
    st.just(SpeechEnough()),
    st.just(Ended()),
)  # fmt: skip
step = st.one_of(
    st.tuples(st.just("fact"), fact),
    st.tuples(st.just("fact"), fact),
    st.tuples(st.just("hear"), st.binary(max_size=400)),
    st.tuples(st.just("pass"), st.integers(1, 20_000_000)),
)
GUARDS = (
    GuardSpec(name="rude", blocked_terms=("blockhead",)),
    GuardSpec(name="check", check=HandlerSpec("check")),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    steps=st.lists(step, max_size=60),
    ready=st.booleans(),
    own=st.booleans(),
    beta=st.booleans(),
)
def test_whatever_happens_nothing_raises_and_time_goes_on(steps: list[Any], ready: bool, own: bool, beta: bool) -> None:
    context = make_context(first_message="Hello.", guards=GUARDS, interruptions=Interruptions() if own else None)
    engine = OpenAIRealtimeEngine(context, make_spec(protocol="beta" if beta else "ga"), CallSettings(), 10**15)
    now = 0
    orders = engine.begin(now)
    if ready:
        orders += engine.handle(now, LinkOpened("engine:1"))
        orders += engine.handle(now, LinkSaid("engine:1", '{"type":"session.created","session":{}}'))
        orders += engine.handle(now, LinkSaid("engine:1", '{"type":"session.updated"}'))
    for kind, value in steps:
        if kind == "pass":
            now += value
            for _ in itertools.count():
                deadline = engine.deadline
                if deadline is None or deadline > now:
                    break
                orders += engine.tick(now)
                assert engine.deadline is None or engine.deadline > now
        elif kind == "hear":
            now += 20_000
            orders += engine.hear(now, value)
        else:
            orders += engine.handle(now, value)
        assert engine.voiced_us >= 0
        assert engine.hears == engine.speaks
        assert isinstance(engine.busy, bool)
    given_up = [order for order in orders if isinstance(order, GaveUp)]
    assert len(given_up) <= 1
    if given_up:
        assert orders[-1] is given_up[0]
        assert engine.deadline is None
    check(orders)


def check(orders: list[Any]) -> None:
    """What must hold whatever the service does: items begin before they are spoken and end once; times are ours."""
    begun_items: set[str] = set()
    ended: set[str] = set()
    speaking = False
    for order in orders:
        if isinstance(order, Saying):
            assert order.item not in ended or order.item in ("first", "say:1", "say:2")
            begun_items.add(order.item)
            ended.discard(order.item)
        elif isinstance(order, Speak | Worded | Said | SpeechEnded):
            assert order.item in begun_items
            assert order.item not in ended
            if isinstance(order, SpeechEnded):
                ended.add(order.item)
        elif isinstance(order, CallerStarted | CallerStopped):
            assert isinstance(order, CallerStarted) is not speaking
            speaking = not speaking
            assert order.at >= 0
        elif isinstance(order, CallerSaid):
            assert order.text
        elif isinstance(order, StageFailed):
            assert order.detail
