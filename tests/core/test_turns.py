"""Turns: one record each, from the caller's last voiced sample to what they heard, on virtual time."""

from __future__ import annotations

import pytest

from patter_core.audio.formats import PCMU_8K
from patter_core.call.costs import Costs
from patter_core.call.metrics import PARTS, CostBreakdown, TurnMetrics
from patter_core.call.playback import Media, Playback, Played, SetMark
from patter_core.call.pricing import DEFAULT_TABLE
from patter_core.call.turns import Turns
from patter_core.engines.usage import Usage
from patter_core.settings import CallSettings
from patter_core.simulator.handset import Handset

MS, S = 1_000, 1_000_000
CALL = "CAfeedfeedfeedfeedfeedfeedfeedfeed"


def parts(turn: TurnMetrics) -> list[float]:
    return [getattr(turn.latency, part) for part in PARTS]


def asked(turns: Turns, at: int = S, text: str = "Hello?") -> None:
    """The caller spoke for a second until ``at``; 600 ms later the turn was over, 200 ms later the words were known."""
    turns.started(at - S)
    turns.stopped(at + 600 * MS, at)
    turns.said(at + 800 * MS, 0.0, text, at)


def answered(turns: Turns, at: int, item: str = "reply:1") -> None:
    """First text at ``at``, sentence 50, audio 150 and sent 151 ms later."""
    turns.began(at, item)
    turns.saying(at + 50 * MS, item, "Good day.")
    turns.audio(at + 150 * MS, item)
    turns.sent(lambda _: at + 151 * MS)


# --- one record ------------------------------------------------------------------------------------------------------


def test_a_turn_from_the_last_voice_to_the_callers_ear() -> None:
    turns = Turns(10, CALL)
    asked(turns)
    answered(turns, 2 * S + 100 * MS)
    turns.played("reply:1", 2 * S + 300 * MS)
    turns.played("reply:1", 9 * S)  # the first one counts
    turns.audio(3 * S, "reply:1")
    (turn,) = turns.spoken("reply:1", 7.5, "Good day.", False, 4 * S)
    assert parts(turn) == [600, 200, 300, 50, 100, 1, 49]
    assert turn.latency.agent_response_ms == 1300 == sum(parts(turn))
    assert (turn.latency.user_speech_duration_ms, turn.latency.llm_total_ms) == (1000, 350)
    assert (turn.latency.tts_total_ms, turn.latency.bargein_ms) == (850, 0)
    assert (turn.turn_id, turn.turn_index) == (f"{CALL}/1", 1)
    assert (turn.user_text, turn.agent_text, turn.timestamp) == ("Hello?", "Good day.", 7.5)


def test_an_answer_nobody_acknowledged_was_sent_and_is_not_known_to_be_played() -> None:
    turns = Turns(10, CALL)
    asked(turns)
    answered(turns, 2 * S)
    (turn,) = turns.end(0.0)
    assert parts(turn) == [600, 200, 200, 50, 100, 1, 0]


def test_ids_are_unique_and_follow_the_calls_name() -> None:
    turns = Turns(10)
    turns.call_id = CALL
    ids = []
    for i in range(3):
        asked(turns, (i + 1) * 10 * S)
        answered(turns, (i + 1) * 10 * S + 2 * S, f"reply:{i}")
        ids += [turn.turn_id for turn in turns.spoken(f"reply:{i}", 0.0, "", False)]
    assert ids == [f"{CALL}/1", f"{CALL}/2", f"{CALL}/3"]


def test_an_interruption_is_from_the_callers_voice_to_our_silence() -> None:
    turns = Turns(10, CALL)
    asked(turns)
    answered(turns, 2 * S)
    turns.started(5 * S)
    (turn,) = turns.spoken("reply:1", 0.0, "Good", True, 5 * S + 320 * MS)
    assert turn.interrupted
    assert turn.latency.bargein_ms == 320


# --- voice to voice --------------------------------------------------------------------------------------------------


def test_a_reply_that_begins_before_the_words_are_known_opens_the_turn() -> None:
    turns = Turns(10, CALL)
    turns.started(0)
    turns.stopped(S + 500 * MS, S)
    turns.began(2 * S, "item_1")
    assert turns.saying(2 * S, "item_1", "") == 1
    turns.audio(2 * S + 10 * MS, "item_1")
    turns.sent(lambda _: 2 * S + 11 * MS)
    turns.played("item_1", 2 * S + 60 * MS)
    turn, closed = turns.said(3 * S, 0.0, "What time is it?", S)
    assert (turn.index, closed) == (1, [])
    (one,) = turns.spoken("item_1", 0.0, "Noon.", False)
    assert (one.user_text, one.agent_text) == ("What time is it?", "Noon.")
    assert parts(one) == [500, 0, 500, 0, 10, 1, 49]
    assert turns.end(0.0) == []


def test_words_that_come_when_the_turn_is_over_still_belong_to_it() -> None:
    turns = Turns(10, CALL)
    turns.stopped(1, 1)  # without a start: nothing
    turns.started(0)
    turns.stopped(2 * S, S)
    turns.began(2 * S, "item_1")
    turns.spoken("item_1", 0.0, "Noon.", False)
    turn, closed = turns.said(3 * S, 0.0, "What time is it?", S)
    assert (turn.index, closed, turns.count) == (1, [], 1)
    assert turns.end(0.0) == []


def test_words_that_never_come_do_not_shift_those_of_later_turns() -> None:
    turns = Turns(10, CALL)
    for i in range(3):
        turns.started(10 * i * S)
        turns.stopped((10 * i + 2) * S, (10 * i + 1) * S)
        turns.began((10 * i + 3) * S, f"item_{i}")
    assert turns.said(24 * S, 0.0, "third", 21 * S)[0].index == 3
    assert turns.said(25 * S, 0.0, "late", 11 * S)[0].index == 4  # somebody else's by now
    closed = [turn for i in range(3) for turn in turns.spoken(f"item_{i}", 0.0, "", False)]
    assert [turn.user_text for turn in closed] == ["", "", "third"]


def test_pressed_keys_are_a_turn_of_their_own_and_not_the_missing_words() -> None:
    turns = Turns(10, CALL)
    turns.started(0)
    turns.stopped(2 * S, S)
    turns.began(3 * S, "item_1")
    assert turns.said(4 * S, 0.0, "[DTMF: 5]", -1)[0].index == 2
    assert turns.said(5 * S, 0.0, "Hello", S)[0].index == 1


def test_a_reply_that_is_heard_before_it_is_said_what_it_answers() -> None:
    turns = Turns(10, CALL)
    turns.started(0)
    turns.stopped(S + 500 * MS, S)
    turns.audio(2 * S, "item_1")
    turns.played("item_1", 2 * S + 60 * MS)
    turns.said(3 * S, 0.0, "What time is it?", S)
    turns.began(3 * S, "item_1")
    turns.sent(lambda _: 2 * S + MS)
    turns.audio(3 * S + MS, "item_1")
    (one,) = turns.spoken("item_1", 0.0, "Noon.", False)
    assert parts(one) == [500, 0, 0, 0, 500, 1, 59]


def test_items_that_answer_nobody_do_not_pile_up() -> None:
    turns = Turns(10, CALL)
    for i in range(100):
        turns.audio(i, f"say:{i}")
    assert len(turns._early) == 16
    turns.audio(0, "x")
    turns.spoken("x", 0.0, "", False)
    assert len(turns._early) == 15


def test_a_reply_to_nobody_is_no_turn() -> None:
    turns = Turns(10, CALL)
    turns.began(0, "first")
    assert (turns.count, turns.open) == (0, [])


# --- who pays --------------------------------------------------------------------------------------------------------


def test_what_was_consumed_is_for_the_turn_it_was_for() -> None:
    turns = Turns(10, CALL)
    assert turns.payer("first", "tts") == 0  # the first message is no turn's
    assert turns.payer("", "stt") == 1  # recognised before the words are told: the turn they will open
    asked(turns)
    assert turns.payer("", "stt") == 1
    assert turns.payer("reply:1", "llm") == 1  # its reply has not begun: a tool was called
    assert turns.payer("first", "tts") == 0
    answered(turns, 2 * S)
    assert turns.payer("reply:1", "tts") == turns.payer("reply:1", "llm") == 1
    assert turns.payer("", "stt") == 2
    turns.spoken("reply:1", 0.0, "", False)
    asked(turns, 10 * S)
    assert turns.payer("reply:1", "llm") == 0  # reported when its turn was over
    assert turns.payer("reply:2", "llm") == 2
    assert turns.payer("", "llm") == 2


def test_recognition_told_after_a_voice_to_voice_reply_began_is_for_that_turn() -> None:
    turns = Turns(10, CALL)
    turns.started(0)
    turns.stopped(2 * S, S)
    turns.began(3 * S, "item_1")
    assert turns.payer("", "stt") == 1
    turns.spoken("item_1", 0.0, "", False)
    assert turns.payer("", "stt") == 2


def test_a_turn_is_told_with_its_cost() -> None:
    costs = Costs(DEFAULT_TABLE)
    turns = Turns(10, CALL, costs.turn_closed)
    stt = Usage(stage="stt", provider="deepgram", model="nova-3", audio_us=30 * S)
    llm = Usage(stage="llm", provider="openai", model="gpt-4o", output_text=100)
    costs.used(stt, turns.payer("", "stt"))
    asked(turns)
    answered(turns, 2 * S)
    costs.used(llm, turns.payer("reply:1", "llm"))
    (turn,) = turns.spoken("reply:1", 0.0, "", False)
    assert turn.cost == CostBreakdown(0.0024, 0.0, 0.001, 0.0, 0.0034)
    assert costs.outside_turns(0) == CostBreakdown(telephony=0.0)
    assert Turns(10).said(0, 0.0, "x", -1)[0].index == 1  # without a book, too


# --- played: against a handset ---------------------------------------------------------------------------------------


def marks(orders: list[Media | SetMark | Played]) -> list[str]:
    return [order.name for order in orders if isinstance(order, SetMark)]


def ledger(**settings: float) -> Playback:
    playback = Playback(PCMU_8K, CallSettings(**settings))  # type: ignore[arg-type]
    playback.attach(0, PCMU_8K)
    return playback


def test_played_is_the_first_mark_less_the_audio_before_it() -> None:
    playback = ledger()
    playback.queue("a", bytes(4000))
    (name,) = marks(playback.pump(S))  # 200 ms of audio, and a mark behind it
    assert playback.first_heard() == []
    playback.mark_returned(S + 260 * MS, name)
    assert playback.first_heard() == [("a", S + 60 * MS)]
    assert playback.first_heard() == []  # once
    (name,) = marks(playback.pump(S + 300 * MS))
    playback.mark_returned(S + 600 * MS, name)
    assert playback.first_heard() == []


def test_played_is_never_before_it_was_sent() -> None:
    playback = ledger()
    playback.queue("a", bytes(800))
    playback.end("a")
    (name,) = marks(playback.pump(S))
    assert playback.mark_returned(S + 10 * MS, name) == [Played("a")]  # a carrier that does not wait
    assert playback.first_heard() == [("a", S)]


def test_a_lost_mark_is_made_up_for_by_its_successor() -> None:
    playback = ledger()
    playback.queue("a", bytes(4000))
    names = marks(playback.pump(S))
    for ms in range(0, 240, 40):
        names += marks(playback.pump(S + ms * MS))
    assert len(names) == 2
    playback.mark_returned(S + 450 * MS, names[1])
    assert playback.first_heard() == [("a", S + 50 * MS)]


def test_each_item_counts_from_its_own_first_byte() -> None:
    playback = ledger()
    for item in ("a", "b"):
        playback.queue(item, bytes(640))  # 80 ms
        playback.end(item)
    one, other = marks(playback.pump(S))
    playback.mark_returned(S + 110 * MS, one)
    playback.mark_returned(S + 195 * MS, other)
    assert playback.first_heard() == [("a", S + 30 * MS), ("b", S + 115 * MS)]


def test_a_mark_that_a_clear_threw_back_or_patience_gave_up_proves_nothing() -> None:
    playback = ledger()
    playback.queue("a", bytes(4000))
    (name,) = marks(playback.pump(S))
    playback.clear(S + 50 * MS)
    playback.mark_returned(S + 80 * MS, name)
    assert playback.first_heard() == []
    playback.queue("b", bytes(800))
    playback.end("b")
    playback.pump(2 * S)
    assert Played("b") in playback.pump(9 * S)
    assert playback.first_heard() == []


def test_what_was_never_asked_for_does_not_pile_up() -> None:
    playback = ledger()
    for i in range(200):
        playback.queue(f"i{i}", bytes(160))
        playback.end(f"i{i}")
        for name in marks(playback.pump(i * S)):
            playback.mark_returned(i * S + 30 * MS, name)
    assert len(playback.first_heard()) == 64


@pytest.mark.parametrize("latency_ms", [0, 5, 40, 120])
def test_played_is_true_but_for_the_way_back(latency_ms: int) -> None:
    """The handset knows when its ear got the first byte; the ledger says so too late by the mark's way back, and by the
    frame of 20 ms in which the handset notices a mark."""
    playback, handset = ledger(), Handset(160)
    playback.queue("a", bytes(8000))
    playback.end("a")
    down: list[tuple[int, Media | SetMark]] = []
    up: list[tuple[int, str]] = []
    truth, told = -1, []
    for ms in range(2000):
        while down and down[0][0] <= ms:
            order = down.pop(0)[1]
            if isinstance(order, Media):
                handset.media(order.payload)
            else:
                up += [(ms + latency_ms, name) for name in handset.mark(order.name)]
        if ms % 20 == 0:
            before = handset.buffered
            up += [(ms + latency_ms, name) for name in handset.play()[1]]
            if truth < 0 and handset.buffered < before:
                truth = ms
        while up and up[0][0] <= ms:
            playback.mark_returned(ms * MS, up.pop(0)[1])
            told += playback.first_heard()
        down += [(ms + latency_ms, o) for o in playback.pump(ms * MS) if not isinstance(o, Played)]
    ((item, at),) = told
    assert item == "a"
    assert truth + latency_ms - 20 <= at // MS <= truth + latency_ms + 20
