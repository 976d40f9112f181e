"""The tools of a call, in virtual time: each wanted once is answered once, whatever happens in between."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.built_in_tools import BUILT_INS
from patter_core.call.tools import (
    MOST_AT_ONCE,
    MOST_REPLY,
    MOST_RESULT,
    BuiltIn,
    SayWhile,
    ToolOrder,
    Tools,
    ToolTold,
)
from patter_core.call.words import (
    Drop,
    Fetch,
    FetchEnded,
    FetchFailed,
    FetchGot,
    FetchStarted,
    Run,
    TaskAudio,
    TaskRaised,
    TaskReturned,
    TaskYielded,
)
from patter_core.contract import Fault, Lane
from patter_core.engines.engine import ToolAnswered
from patter_core.engines.policy import HandlerSpec, ToolSpec
from patter_core.settings import CallSettings

S = 1_000_000
WHO = {"call_id": "CA1", "caller": "+15550100001", "callee": "+15550001234"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ROME = '{"city": "Rome"}'

WEATHER = ToolSpec(name="weather", parameters=CITY, handler=HandlerSpec("tool:weather", Lane.THREAD))
SLOW = ToolSpec(
    name="slow", handler=HandlerSpec("tool:slow"), waiting_message="One moment.", waiting_after_s=2.0, timeout_s=5.0
)
MUTE = ToolSpec(name="mute", handler=HandlerSpec("tool:mute"), cancel_on_barge_in=True)
HOOK = ToolSpec(
    name="hook",
    parameters=CITY,
    url="https://example.com/hook",
    sign="signing",
    headers=(("x-shop", "7"),),
    tries=3,
    cancel_on_barge_in=True,
)
ONCE = ToolSpec(name="once", url="https://example.com/once", tries=1)


def tools(*more: ToolSpec) -> Tools:
    return Tools((WEATHER, SLOW, MUTE, HOOK, ONCE, *more, *BUILT_INS), CallSettings(), WHO)


def split(orders: list[ToolOrder]) -> tuple[ToolAnswered, ToolTold, list[ToolOrder]]:
    """The answer, what is told about it, and the rest."""
    (answer,) = (one for one in orders if isinstance(one, ToolAnswered))
    (told,) = (one for one in orders if isinstance(one, ToolTold))
    assert told.result == answer.output
    assert told.ok is not answer.error
    json.loads(answer.output)
    return answer, told, [one for one in orders if one is not answer and one is not told]


def error_of(orders: list[ToolOrder]) -> str:
    answer, _, _ = split(orders)
    assert answer.error
    return str(json.loads(answer.output)["error"])


# --- handlers --------------------------------------------------------------------------------------------------------


def test_a_handler_runs_and_is_answered() -> None:
    machine = tools()
    assert machine.wants(0, "c1", "weather", ROME) == [
        Run("tool:1", Lane.THREAD, "tool:weather", ({"city": "Rome"}, WHO))
    ]
    assert machine.busy
    assert machine.deadline == 10 * S
    assert machine.owns("tool:1")
    assert not machine.owns("stt:1")
    out = machine.handle(S, TaskReturned("tool:1", {"sun": True}))
    assert out == [
        ToolTold("weather", {"city": "Rome"}, '{"sun":true}', True, 1000),
        ToolAnswered("c1", '{"sun":true}'),
    ]
    assert machine.deadline is None
    assert not machine.busy
    assert machine.handle(S, TaskReturned("tool:1", 1)) == []


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (None, "null"),
        ("it is 5", '"it is 5"'),
        ('{"a": 1}', '{"a": 1}'),
        (" [1]", " [1]"),
        ("{broken", '"{broken"'),
        ("5", '"5"'),
        (5, "5"),
        ([1, {"a": None}], '[1,{"a":null}]'),
        ({"result": "x"}, '"x"'),
        ({"result": "x", "more": 1}, '{"result":"x","more":1}'),
        ({"error": "x"}, '{"error":"x"}'),
        ("\ud800", '"?"'),
    ],
)
def test_results_are_json(value: Any, output: str) -> None:
    machine = tools()
    machine.wants(0, "c1", "mute", "")
    answer, _, rest = split(machine.handle(1, TaskReturned("tool:1", value)))
    assert (answer.output, answer.error, answer.quiet, rest) == (output, False, False, [])


@pytest.mark.parametrize(
    "value", ["x" * 100_000, "é" * 30_000, "\x00" * 20_000, ["😀" * 9_000], '{"a":"' + "b" * 20_000 + '"}']
)
def test_a_long_result_is_cut_with_a_note(value: Any) -> None:
    machine = tools()
    machine.wants(0, "c1", "mute", "")
    answer, _, _ = split(machine.handle(1, TaskReturned("tool:1", value)))
    assert MOST_RESULT - 24 < len(answer.output.encode()) <= MOST_RESULT
    cut = json.loads(answer.output)
    assert set(cut) == {"beginning", "note"}
    whole = value if isinstance(value, str) and value.startswith("{") else msgspec.json.encode(value).decode()
    assert whole.startswith(cut["beginning"])
    assert str(len(whole.encode())) in cut["note"]


def test_a_result_of_exactly_the_most_is_whole() -> None:
    machine = tools()
    machine.wants(0, "c1", "mute", "")
    answer, _, _ = split(machine.handle(1, TaskReturned("tool:1", "x" * (MOST_RESULT - 2))))
    assert json.loads(answer.output) == "x" * (MOST_RESULT - 2)


def test_a_handler_that_raises_is_told_to_the_model_and_not_run_again() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    out = machine.handle(5, TaskRaised("tool:1", Fault.USER, "KeyError: 'Rome'" + "x" * 5_000))
    assert error_of(out).startswith("The tool failed: KeyError: 'Rome'")
    assert len(error_of(out)) < 600
    assert len(out) == 2
    assert machine.deadline is None


def test_a_handler_that_is_not_there() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    assert "not available" in error_of(
        machine.handle(5, TaskRaised("tool:1", Fault.UNKNOWN_HANDLER, "no tool:weather"))
    )


def test_a_handler_that_takes_too_long_is_dropped() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    assert machine.tick(10 * S - 1) == []
    out = machine.tick(10 * S)
    assert "within 10 seconds" in error_of(out)
    _, told, rest = split(out)
    assert rest == [Drop("tool:1")]
    assert told.ms == 10_000
    assert machine.handle(10 * S, TaskReturned("tool:1", "late")) == []
    assert machine.tick(99 * S) == []


def test_bytes_are_no_result_for_a_model() -> None:
    machine = tools()
    machine.wants(0, "c1", "mute", "")
    assert machine.handle(1, TaskAudio("tool:1", b"xyz")) == []
    assert "3 bytes" in split(machine.handle(1, TaskReturned("tool:1", None)))[0].output


# --- generators ------------------------------------------------------------------------------------------------------


def test_progress_is_spoken_and_the_result_answered() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    assert machine.handle(1, TaskYielded("tool:1", {"progress": " Looking\n it up. "})) == [SayWhile("Looking it up.")]
    assert machine.handle(2, TaskYielded("tool:1", {"result": [1]})) == []
    assert machine.handle(3, TaskYielded("tool:1", {"progress": ""})) == []
    assert machine.deadline == 5 * S  # progress said enough: no waiting message
    assert split(machine.handle(4, TaskReturned("tool:1", None)))[0].output == "[1]"


def test_the_last_value_is_the_result() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    assert machine.handle(1, TaskYielded("tool:1", "one")) == []
    assert machine.handle(1, TaskYielded("tool:1", {"progress": 5})) == []  # that is a value
    assert split(machine.handle(4, TaskReturned("tool:1", None)))[0].output == '{"progress":5}'
    machine.wants(5, "c2", "slow", "{}")
    machine.handle(6, TaskYielded("tool:2", "one"))
    assert split(machine.handle(7, TaskReturned("tool:2", "returned")))[0].output == '"returned"'


def test_a_result_survives_what_comes_after_it() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    machine.handle(1, TaskYielded("tool:1", {"result": "done"}))
    answer, _, _ = split(machine.handle(2, TaskRaised("tool:1", Fault.USER, "while cleaning up")))
    assert (answer.output, answer.error) == ('"done"', False)
    machine.wants(3, "c2", "slow", "{}")
    machine.handle(4, TaskYielded("tool:2", {"result": "done"}))
    machine.tick(2 * S + 3)
    answer, _, rest = split(machine.tick(5 * S + 3))
    assert (answer.output, rest) == ('"done"', [Drop("tool:2")])


def test_progress_has_a_bound() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    spoken = [
        order for n in range(100) for order in machine.handle(n, TaskYielded("tool:1", {"progress": "x" * 9_999}))
    ]
    assert spoken == [SayWhile("x" * 500)] * 20


# --- the waiting message ---------------------------------------------------------------------------------------------


def test_the_waiting_message_is_said_once() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    assert machine.deadline == 2 * S
    assert machine.tick(2 * S) == [SayWhile("One moment.")]
    assert machine.tick(4 * S) == []
    assert split(machine.handle(4 * S, TaskReturned("tool:1", 1)))[2] == []


def test_a_fast_tool_has_no_waiting_message() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    machine.handle(2 * S - 1, TaskReturned("tool:1", 1))
    assert machine.deadline is None
    assert machine.tick(2 * S) == []


def test_of_several_tools_one_asks_to_wait() -> None:
    machine = tools()
    machine.wants(0, "c1", "slow", "{}")
    machine.wants(S, "c2", "slow", "{}")
    assert machine.tick(2 * S) == [SayWhile("One moment.")]
    assert machine.tick(3 * S) == []
    machine.handle(3 * S, TaskReturned("tool:1", 1))
    machine.handle(3 * S, TaskReturned("tool:2", 1))
    machine.wants(4 * S, "c3", "slow", "{}")
    assert machine.tick(6 * S) == [SayWhile("One moment.")]


# --- what is refused at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("wether", ROME, "no tool 'wether'. The tools are: weather, slow"),
        ("x" * 999, ROME, "There is no tool"),
        ("", "", "There is no tool ''"),
        ("\ud800", "", "There is no tool"),
        ("weather", "", "city is missing. Call it again"),
        ("weather", "{", "not JSON"),
        ("weather", "[]", "JSON object"),
        ("weather", '{"city": null}', "city must be of type string, not null"),
        ("end_call", "{}", "reason is missing"),
        ("send_dtmf", '{"digits": ""}', "at least 1 characters"),
        ("hook", "{}", "city is missing"),
    ],
)
def test_refused_at_once(name: str, arguments: str, told: str) -> None:
    machine = tools()
    out = machine.wants(0, "c1", name, arguments)
    assert told in error_of(out)
    assert len(split(out)[1].name) <= 64
    assert split(out)[2] == []
    assert machine.deadline is None
    assert machine.wants(1, "c1", "weather", ROME) == []  # that call is answered


def test_without_tools_the_model_is_told_so() -> None:
    assert "The tools are: none." in error_of(Tools((), CallSettings(), WHO).wants(0, "c1", "x", "{}"))


def test_at_most_so_many_at_once() -> None:
    machine = tools()
    for n in range(MOST_AT_ONCE):
        assert len(machine.wants(0, f"c{n}", "weather", ROME)) == 1
    assert "running already" in error_of(machine.wants(0, "more", "weather", ROME))
    machine.handle(1, TaskReturned("tool:1", 1))
    assert isinstance(machine.wants(1, "again", "weather", ROME)[0], Run)


def test_the_same_call_twice_is_done_once() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    assert machine.wants(0, "c1", "weather", ROME) == []
    machine.handle(1, TaskReturned("tool:1", 1))
    assert machine.wants(2, "c1", "weather", ROME) == []
    for n in range(999):
        machine.wants(3, f"other{n}", "nothing", "")
    assert machine.wants(4, "c1", "weather", ROME) == []
    assert len(machine._seen) == 1000
    machine.wants(5, "one more", "nothing", "")
    assert len(machine._seen) == 1000


# --- webhooks --------------------------------------------------------------------------------------------------------


def post(orders: list[ToolOrder]) -> Fetch:
    (order,) = orders
    assert isinstance(order, Fetch)
    return order


def test_a_webhook_is_posted_to() -> None:
    machine = tools()
    order = post(machine.wants(0, "c1", "hook", ROME))
    assert (order.name, order.method, order.url) == ("tool:1", "POST", "https://example.com/hook")
    assert (order.sign, order.auth, order.max_body) == ("signing", "", MOST_REPLY)
    headers = dict(order.headers)
    assert headers.pop("idempotency-key").isalnum()
    assert headers == {"content-type": "application/json", "x-shop": "7"}
    assert json.loads(order.body) == {"tool": "hook", "arguments": {"city": "Rome"}, **WHO, "attempt": 1}
    assert machine.handle(1, FetchStarted("tool:1", 200, {})) == []
    assert machine.handle(1, FetchGot("tool:1", b'{"a"')) == []
    assert machine.handle(1, FetchGot("tool:1", b":1}")) == []
    answer, told, rest = split(machine.handle(S, FetchEnded("tool:1")))
    assert (answer.output, told.ms, rest) == ('{"a":1}', 1000, [])
    assert machine.deadline is None


@pytest.mark.parametrize(
    ("status", "body", "output"),
    [
        (200, b"it is sunny", '"it is sunny"'),
        (200, b"", '""'),
        (204, b"", '""'),
        (299, b"5", "5"),
        (200, b"\xff", '"�"'),
        (200, b"[" * 2_000, '"' + "[" * 2_000 + '"'),
        (200, b'{"error": "no"}', '{"error": "no"}'),
    ],
)
def test_a_webhook_may_answer_json_or_text(status: int, body: bytes, output: str) -> None:
    machine = tools()
    machine.wants(0, "c1", "once", "")
    machine.handle(1, FetchStarted("tool:1", status, {}))
    machine.handle(1, FetchGot("tool:1", body))
    answer, _, _ = split(machine.handle(1, FetchEnded("tool:1")))
    assert (answer.output, answer.error) == (output, False)


@pytest.mark.parametrize("status", [199, 301, 307, 400, 401, 404, 428])
def test_a_webhook_that_refuses_is_not_asked_again(status: int) -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    assert machine.handle(1, FetchStarted("tool:1", status, {})) == []
    machine.handle(1, FetchGot("tool:1", b"no  such\ncity" + b"x" * 5_000))
    out = machine.handle(1, FetchEnded("tool:1"))
    assert error_of(out).startswith(f"The tool failed: it answered HTTP {status}: no such city")
    assert len(error_of(out)) <= 500


@pytest.mark.parametrize("trouble", [429, 500, 503, Fault.REFUSED, Fault.UNREACHABLE, Fault.RESET, Fault.TIMEOUT])
def test_three_tries_with_one_key(trouble: int | Fault) -> None:
    machine = tools()
    fetches = [post(machine.wants(0, "c1", "hook", ROME))]
    now = 0
    for attempt, pause in ((1, S // 2), (2, S)):
        now += 100
        fact: Any = FetchStarted(f"tool:{attempt}", trouble, {}) if isinstance(trouble, int) else None
        out = machine.handle(now, fact or FetchFailed(f"tool:{attempt}", trouble))  # type: ignore[arg-type]
        assert out == ([Drop(f"tool:{attempt}")] if fact else [])
        assert machine.handle(now, FetchEnded(f"tool:{attempt}")) == []
        assert machine.deadline == now + pause
        assert machine.tick(now + pause - 1) == []
        now += pause
        fetches.append(post(machine.tick(now)))
        assert machine.deadline == now + 10 * S
    assert [json.loads(one.body)["attempt"] for one in fetches] == [1, 2, 3]
    assert len({dict(one.headers)["idempotency-key"] for one in fetches}) == 1
    assert [one.name for one in fetches] == ["tool:1", "tool:2", "tool:3"]
    if isinstance(trouble, int):
        assert machine.handle(now, FetchStarted("tool:3", trouble, {})) == []
        assert f"HTTP {trouble}" in error_of(machine.handle(now, FetchEnded("tool:3")))
    else:
        assert "The tool failed" in error_of(machine.handle(now, FetchFailed("tool:3", trouble)))
    assert machine.deadline is None


def test_a_later_try_that_succeeds() -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    machine.handle(0, FetchFailed("tool:1", Fault.REFUSED))
    machine.tick(S)
    machine.handle(S, FetchStarted("tool:2", 200, {}))
    assert split(machine.handle(S, FetchEnded("tool:2")))[0].error is False
    assert machine.deadline is None


def test_other_calls_have_other_keys() -> None:
    machine, other = tools(), Tools((HOOK,), CallSettings(), {**WHO, "call_id": "CA2"})
    orders = [
        machine.wants(0, "c1", "hook", ROME),
        machine.wants(0, "c2", "hook", ROME),
        other.wants(0, "c1", "hook", ROME),
    ]
    assert len({dict(post(one).headers)["idempotency-key"] for one in orders}) == 3


@pytest.mark.parametrize("fault", [Fault.TLS, Fault.BAD_REPLY, Fault.TOO_LARGE, Fault.OTHER])
def test_what_another_try_would_not_mend(fault: Fault) -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    assert "The tool failed" in error_of(machine.handle(1, FetchFailed("tool:1", fault)))


def test_an_answer_that_breaks_off_is_not_asked_for_again() -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    machine.handle(1, FetchStarted("tool:1", 200, {}))
    assert "cut" in error_of(machine.handle(2, FetchFailed("tool:1", Fault.RESET)))


def test_a_timeout_is_per_try_and_the_last_word() -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    machine.handle(9 * S, FetchFailed("tool:1", Fault.REFUSED))
    machine.tick(9 * S + S // 2)
    out = machine.tick(19 * S + S // 2)
    assert "within 10 seconds" in error_of(out)
    assert split(out)[2] == [Drop("tool:2")]


def test_an_answer_has_a_bound() -> None:
    machine = tools()
    machine.wants(0, "c1", "hook", ROME)
    machine.handle(1, FetchStarted("tool:1", 200, {}))
    assert machine.handle(1, FetchGot("tool:1", b"x" * MOST_REPLY)) == []
    out = machine.handle(1, FetchGot("tool:1", b"x"))
    assert "longer than" in error_of(out)
    assert split(out)[2] == [Drop("tool:1")]


def test_who_is_told_of_the_call_when_it_is_known() -> None:
    machine = tools()
    machine.who = {"call_id": "CA9", "caller": "", "callee": ""}
    (order,) = machine.wants(0, "c1", "mute", "")
    assert isinstance(order, Run)
    assert order.args[1] == {"call_id": "CA9", "caller": "", "callee": ""}
    assert json.loads(post(machine.wants(0, "c2", "once", "")).body)["call_id"] == "CA9"


# --- what the call itself does ---------------------------------------------------------------------------------------


def test_a_built_in_is_the_calls_business() -> None:
    machine = tools()
    assert machine.wants(0, "c1", "end_call", '{"reason": "done"}') == [BuiltIn("c1", "end_call", {"reason": "done"})]
    assert machine.done_built_in(0, "nobody", True, "", False) == []
    out = machine.done_built_in(S, "c1", True, "", True)
    assert out[-1] == ToolAnswered("c1", '{"ok":true}', quiet=True)
    assert machine.done_built_in(S, "c1", True, "", True) == []
    assert machine.deadline is None


def test_a_built_in_that_is_refused_or_has_something_to_say() -> None:
    machine = tools()
    machine.wants(0, "c1", "transfer_call", '{"number": "+15550100009"}')
    answer, told, _ = split(machine.done_built_in(5 * S, "c1", False, "That number may not be called.", False))
    assert answer == ToolAnswered("c1", '{"error":"That number may not be called."}', error=True)
    assert (told.name, told.arguments, told.ms) == ("transfer_call", {"number": "+15550100009"}, 5000)
    machine.wants(0, "c2", "send_dtmf", '{"digits": 12}')
    assert split(machine.done_built_in(0, "c2", True, "pressed", False))[0].output == '{"ok":true,"detail":"pressed"}'


def test_a_handlers_tool_is_not_the_calls_to_answer() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    assert machine.done_built_in(0, "c1", True, "", False) == []
    assert machine.busy


def test_a_built_in_nobody_answers_is_answered_in_the_end() -> None:
    machine = tools()
    machine.wants(0, "c1", "transfer_call", '{"number": "+15550100009"}')
    settings = CallSettings()
    assert machine.deadline is not None
    assert machine.deadline > (settings.ring_s + settings.brief_s) * S
    assert "did not answer" in error_of(machine.tick(machine.deadline))
    assert machine.done_built_in(999 * S, "c1", True, "", False) == []


# --- barge-in and the end --------------------------------------------------------------------------------------------


def test_the_callers_interrupting_gives_up_what_says_so() -> None:
    machine = tools()
    machine.wants(0, "c1", "weather", ROME)
    machine.wants(0, "c2", "mute", "")
    machine.wants(0, "c3", "hook", ROME)
    machine.handle(1, FetchFailed("tool:3", Fault.REFUSED))  # between two tries: nothing to drop
    out = machine.barged_in(S)
    answers = [one for one in out if isinstance(one, ToolAnswered)]
    assert [(one.call, one.error) for one in answers] == [("c2", True), ("c3", True)]
    assert all("The caller spoke" in one.output for one in answers)
    assert [one for one in out if isinstance(one, Drop)] == [Drop("tool:2")]
    assert machine.barged_in(S) == []
    assert machine.deadline == 10 * S
    assert len(machine.handle(2 * S, TaskReturned("tool:1", 1))) == 2


def test_the_end_drops_everything() -> None:
    machine = tools()
    for call, name, arguments in (("c1", "weather", ROME), ("c2", "hook", ROME), ("c3", "end_call", '{"reason": ""}')):
        machine.wants(0, call, name, arguments)
    assert machine.end(S) == [Drop("tool:1"), Drop("tool:2")]
    assert machine.deadline is None
    assert machine.end(S) == []
    assert machine.wants(S, "c4", "weather", ROME) == []
    assert machine.handle(S, TaskReturned("tool:1", 1)) == []
    assert machine.done_built_in(S, "c3", True, "", True) == []
    assert machine.barged_in(S) == []
    assert machine.tick(99 * S) == []


# --- whatever happens ------------------------------------------------------------------------------------------------

NAMES = ["weather", "slow", "mute", "hook", "once", "end_call", "transfer_call", "nothing"]
ARGUMENTS = [ROME, "{}", "", "{", '{"reason": "x", "number": "+15550100009"}', '{"number": "+15550100009"}']
STEPS = st.one_of(
    st.tuples(
        st.just("wants"), st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(NAMES), st.sampled_from(ARGUMENTS)
    ),
    st.tuples(st.just("fact"), st.integers(0, 8), st.sampled_from(["returned", "raised", "yielded", "audio"])),
    st.tuples(st.just("fact"), st.integers(0, 8), st.sampled_from(["started", "bad", "got", "ended", "failed"])),
    st.tuples(st.just("tick"), st.integers(0, 20_000_000)),
    st.tuples(st.just("barged")),
    st.tuples(st.just("built"), st.sampled_from(["a", "b", "c", "d"]), st.booleans()),
)


def fact_of(name: str, kind: str) -> Any:
    return {
        "returned": TaskReturned(name, {"x": 1}),
        "raised": TaskRaised(name, Fault.USER, "ValueError: x"),
        "yielded": TaskYielded(name, {"progress": "x"}),
        "audio": TaskAudio(name, b"x"),
        "started": FetchStarted(name, 200, {}),
        "bad": FetchStarted(name, 503, {}),
        "got": FetchGot(name, b"x" * 40_000),
        "ended": FetchEnded(name),
        "failed": FetchFailed(name, Fault.REFUSED),
    }[kind]


@given(st.lists(STEPS, max_size=40), st.booleans())
def test_every_tool_wanted_is_answered_exactly_once(steps: list[Any], ends: bool) -> None:
    """Facts come only for what is under way, as the Host promises; everything else comes in any order."""
    machine = tools()
    now = 0
    wanted: list[str] = []
    live: dict[str, type] = {}
    answered: list[str] = []
    told = 0

    def take(orders: list[ToolOrder]) -> None:
        nonlocal told
        for order in orders:
            if isinstance(order, Run | Fetch):
                assert order.name not in live
                live[order.name] = type(order)
            elif isinstance(order, Drop):
                del live[order.name]
            elif isinstance(order, ToolAnswered):
                answered.append(order.call)
            elif isinstance(order, ToolTold):
                told += 1
        assert machine.deadline is None or machine.deadline > now

    for step in steps:
        if step[0] == "wants":
            if step[1] not in wanted:
                wanted.append(step[1])
            take(machine.wants(now, *step[1:]))
        elif step[0] == "fact":
            name = f"tool:{step[1]}"
            fact = fact_of(name, step[2])
            if live.get(name) is (Fetch if type(fact).__name__.startswith("Fetch") else Run):
                if type(fact) in (TaskReturned, TaskRaised, FetchEnded, FetchFailed):
                    del live[name]
                take(machine.handle(now, fact))
            elif name not in live:
                assert machine.handle(now, fact) == []
        elif step[0] == "tick":
            now += step[1]
            take(machine.tick(now))
        elif step[0] == "barged":
            take(machine.barged_in(now))
        else:
            take(machine.done_built_in(now, step[1], step[2], "", False))
        assert len(answered) == len(set(answered)) == told
    if ends:
        dropped = machine.end(now)
        assert {order.name for order in dropped if isinstance(order, Drop)} == set(live)
        assert not set(answered) - set(wanted)
        return
    for _ in range(50):
        if (deadline := machine.deadline) is None:
            break
        now = max(now, deadline)
        take(machine.tick(now))
    assert sorted(answered) == sorted(wanted)
    assert not machine.busy
    assert live == {}
