"""What the application may order about a call: every limit at n, n+1 and back to n; nothing it passes can raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.call.words import CollectWanted, EndWanted, KeysWanted, RecordingWanted, SayWanted, TransferWanted
from patter_core.carriers.carrier import CarrierSpec, RecordingStep
from patter_core.commands import COMMANDS, BadCommand, read_command
from patter_core.config import AgentSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.dialling import BadDial, dial_spec, valid_number
from patter_core.reasons import EndReason

GOOD: list[tuple[str, dict[str, Any], Any]] = [
    ("end_call", {}, EndWanted(EndReason.AGENT_HUNG_UP, gently=True)),
    ("end_call", {"force": True}, EndWanted(EndReason.AGENT_HUNG_UP)),
    ("say", {"text": "x" * 5000}, SayWanted("x" * 5000)),
    ("transfer", {"to": "+15550001111"}, TransferWanted("+15550001111", ask="a")),
    ("transfer", {"to": "sip:x@y", "summary": "s", "by_model": True}, TransferWanted("sip:x@y", "s", True, "a")),
    ("transfer", {"to": "sip:x@y", "summary": "s" * 1000}, TransferWanted("sip:x@y", "s" * 1000, ask="a")),
    ("send_dtmf", {"digits": "0123456789*#ABCDwW"}, KeysWanted("0123456789*#ABCDwW", 300, "a")),
    ("send_dtmf", {"digits": "1" * 64, "delay_ms": 100}, KeysWanted("1" * 64, 100, "a")),
    ("send_dtmf", {"digits": "1", "delay_ms": 5000}, KeysWanted("1", 5000, "a")),
    ("collect_digits", {}, CollectWanted("a", 32, "#", 10.0)),
    ("collect_digits", {"most": 128, "terminator": "", "timeout_s": 300}, CollectWanted("a", 128, "", 300.0)),
    ("record", {"step": "pause"}, RecordingWanted(RecordingStep.PAUSE, "a")),
]  # fmt: skip

BAD: list[tuple[str, dict[str, Any]]] = [
    ("say", {}),
    ("say", {"text": ""}),
    ("say", {"text": "x" * 5001}),
    ("say", {"text": 7}),
    ("transfer", {}),
    ("transfer", {"to": ""}),
    ("transfer", {"to": "+" + "1" * 512}),
    ("transfer", {"to": "+15550001111", "summary": "s" * 1001}),
    ("send_dtmf", {}),
    ("send_dtmf", {"digits": ""}),
    ("send_dtmf", {"digits": "E"}),
    ("send_dtmf", {"digits": "1\n"}),
    ("send_dtmf", {"digits": "1" * 65}),
    ("send_dtmf", {"digits": "1", "delay_ms": 99}),
    ("send_dtmf", {"digits": "1", "delay_ms": 5001}),
    ("send_dtmf", {"digits": "1", "delay_ms": True}),
    ("collect_digits", {"most": 0}),
    ("collect_digits", {"most": 129}),
    ("collect_digits", {"most": 4.0}),
    ("collect_digits", {"terminator": "##"}),
    ("collect_digits", {"timeout_s": 0}),
    ("collect_digits", {"timeout_s": 301}),
    ("collect_digits", {"timeout_s": float("nan")}),
    ("record", {}),
    ("record", {"step": "rewind"}),
]


@pytest.mark.parametrize(("verb", "args", "fact"), GOOD, ids=lambda value: str(value)[:40])
def test_good_orders(verb: str, args: dict[str, Any], fact: Any) -> None:
    assert read_command(verb, args, "a") == fact


@pytest.mark.parametrize(("verb", "args"), BAD, ids=lambda value: str(value)[:40])
def test_bad_orders_say_what_would_do(verb: str, args: dict[str, Any]) -> None:
    found = read_command(verb, args, "a")
    assert isinstance(found, BadCommand)
    assert "must be" in found.detail


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("text", "to", "summary", "digits", "delay_ms", "most", "terminator", "timeout_s", "step", "force", "by_model")


@given(st.sampled_from(sorted(COMMANDS)), st.dictionaries(st.sampled_from(NAMES), anything))
def test_no_argument_can_raise(verb: str, args: dict[str, Any]) -> None:
    read_command(verb, args, "a")


# --- dialling --------------------------------------------------------------------------------------------------------

SERVED = AgentSpec(engine=EchoSpec(), first_message="Hi.", variables={"shop": "Main"})
CONFIG = ServerConfig(
    public_url=PublicUrl.parse("agent.example"),
    carriers=(CarrierSpec(name="telnyx", account="c1", api_key="k"), CarrierSpec(name="twilio", api_key="k")),
    agents={"": SERVED},
    numbers=("+15550001234",),
    voicemail_message="The server's.",
)  # fmt: skip


def dialled(**args: Any) -> Any:
    return dial_spec(CONFIG, {"to": "+15550100001", **args}, ref="r", origin="https://agent.example", epoch=0)


def test_defaults() -> None:
    spec = dialled()
    assert (spec.call_id, spec.caller, spec.callee, spec.direction) == ("r", "+15550001234", "+15550100001", "outbound")
    assert (spec.carrier, spec.account, spec.webhooks) == ("telnyx", "c1", "https://agent.example/webhooks/telnyx")
    assert (spec.dial.ring_timeout_s, spec.dial.machine_detection) == (25, False)
    assert spec.agent == SERVED
    assert spec.voicemail_message == "The server's."


def test_what_is_given_wins_for_this_call_only() -> None:
    spec = dialled(
        first_message="Hello {name}.", voicemail_message="Ours, {name}.", variables={"name": "Ann"}, ring_timeout=600
    )
    assert spec.agent.first_message == "Hello {name}."
    assert spec.agent.variables == {"shop": "Main", "name": "Ann"}
    assert spec.voicemail_message == "Ours, Ann."
    assert SERVED.variables == {"shop": "Main"}


BAD_DIALS: list[dict[str, Any]] = [
    {"to": "5550100001"},
    {"to": "+0155501000"},
    {"to": "+155501"},
    {"to": "+1555010000155501"},
    {"to": "sip:x@y"},
    {"to": None},
    {"from_number": "me"},
    {"from_number": 5},
    {"carrier": "plivo"},
    {"carrier": "twilio"},  # its account is missing
    {"ring_timeout": 4},
    {"ring_timeout": 601},
    {"ring_timeout": True},
    {"ring_timeout": float("inf")},
    {"agent": "an agent"},
    {"first_message": "x" * 5001},
    {"voicemail_message": ["x"]},
    {"variables": [1]},
]


@pytest.mark.parametrize("args", BAD_DIALS, ids=str)
def test_a_call_that_cannot_be_placed_like_this(args: dict[str, Any]) -> None:
    found = dialled(**args)
    assert isinstance(found, BadDial)
    assert found.detail


@pytest.mark.parametrize("digits", [6, 7, 15, 16])
def test_numbers(digits: int) -> None:
    assert valid_number("+" + "2" * digits) is (7 <= digits <= 15)
    assert not valid_number("+" + "2" * digits + "\n")
