"""The call traces: every file is what its schema says, every case holds here on each carrier that it names, and a
changed case does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_trace
from patter_core.audio import ulaw_encode
from patter_core.engines.elevenlabs_convai.engine import ElevenLabsConvAIEngine
from patter_core.engines.openai_realtime.engine import OpenAIRealtimeEngine
from patter_core.engines.openai_realtime.memory import Memory
from patter_core.engines.stages import Replied
from patter_core.providers import language
from patter_core.providers.deepgram.kept import Kept
from patter_core.providers.remote.http_brain import RemoteBrain

CONFORMANCE = Path(__file__).parents[2] / "conformance"
FILES = sorted((CONFORMANCE / "vectors" / "call").glob("*.json"))
WANTED = {
    "call/answer-and-echo",
    "call/barge-in-while-buffered",
    "call/clear-returns-marks",
    "call/malformed-is-counted",
    "call/malformed-flood",
    "call/no-start",
    "call/second-start",
    "call/wrong-call",
    "call/reply-streams-by-sentence",
    "call/reply-fails",
    "call/voice-fails",
    "call/on-call-start-too-slow",
    "call/hang-up-already-ended",
    "call/shutdown-keeps-stream",
    "call/stream-lost-and-back",
    "call/dialled",
    "call/dialled-reordered",
    "call/dial-429",
    "call/dial-5xx",
    "call/dialled-not-reported",
    "call/called-off-unnamed",
    "call/machine-message",
    "call/machine-late",
    "call/transfer-cold",
    "call/transfer-no-answer",
    "call/transfer-warm",
    "call/transfer-warm-caller-leaves",
    "call/keys-pause",
    "call/collect-timeout",
    "call/press",
    "call/press-not-interrupted",
    "call/recording",
    "call/gently",
    "call/codec-retried",
    "call/realtime-barge-in",
    "call/realtime-barge-in-after-generation",
    "call/realtime-barge-in-on-a-pause",
    "call/realtime-tool-during-speech",
    "call/realtime-reconnect",
    "call/realtime-deaf",
    "call/convai-barge-in",
    "call/convai-odd-bytes",
    "call/convai-reconnect",
    "call/providers-ear-reconnects",
    "call/providers-odd-bytes",
    "call/providers-keys",
    "call/providers-on-message-fails",
    "call/providers-on-message-link",
    "call/providers-model-fails-once",
}
SUITES = {
    "convai",
    "dialled",
    "keys",
    "lifecycle",
    "machine",
    "pipeline",
    "playback",
    "providers",
    "realtime",
    "recording",
    "robustness",
    "transfer",
}


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


WRITTEN = [case for path in FILES for case in load(path)["cases"]]
CASES = [one for case in WRITTEN for one in run_trace.each(case)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_trace(case: dict[str, Any]) -> None:
    assert run_trace.run(case) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_what_its_schema_says(path: Path) -> None:
    data = load(path)
    schema = json.loads((CONFORMANCE / "schema" / "trace.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(data)
    assert data["suite"] == f"call/{path.stem}"
    titles = [case["title"] for case in data["cases"]]
    assert len(set(titles)) == len(titles)
    assert {flag for case in data["cases"] for flag in case["flags"]} == set(data["notes"])


def test_ids_are_unique_and_nothing_is_missing() -> None:
    ids = [case["id"] for case in CASES]
    assert len(set(ids)) == len(ids)
    written = {case["id"] for case in WRITTEN}
    assert len(written) == len(WRITTEN)
    assert written >= WANTED
    assert {path.stem for path in FILES} == SUITES


def test_most_cases_are_run_on_both_carriers() -> None:
    """What is on one alone is its own wire, or something that the other carrier cannot do."""
    alone = [case["id"] for case in WRITTEN if len(run_trace.each(case)) < 2]
    assert len(alone) * 5 < len(WRITTEN), alone
    for path in FILES:
        shared = {case.get("on") for written in load(path)["cases"] for case in run_trace.each(written)}
        assert shared >= {"twilio", "telnyx"}, path


def test_a_shared_case_holds_when_it_holds_on_each_carrier_and_says_where_it_does_not() -> None:
    case = next(case for case in WRITTEN if case["id"] == "call/transfer-cold")
    assert run_trace.run(case) is None
    changed = copy.deepcopy(case)
    here = next(step for step in changed["steps"] if step.get("only") == "telnyx" and step["out"])
    here["out"].clear()
    problem = run_trace.run(changed)
    assert problem is not None
    assert problem.startswith("call/transfer-cold@telnyx: step")


def test_each_chooses_what_is_said_of_a_carrier() -> None:
    shared = {
        "id": "call/x",
        "carriers": ["twilio", "telnyx"],
        "config": {"engine": "echo"},
        "steps": [
            {"at_ms": 0, "in": {"$per": {"twilio": 1, "telnyx": {"id": {"$id": "carrier"}}}}, "out": []},
            {"at_ms": 1, "only": "telnyx", "in": 2, "out": [{"type": "a", "only": "twilio"}, {"type": "b"}]},
        ],
    }
    twilio, telnyx = run_trace.each(shared)
    assert (twilio["id"], telnyx["id"]) == ("call/x@twilio", "call/x@telnyx")
    assert [step["in"] for step in twilio["steps"]] == [1]
    assert [step["in"] for step in telnyx["steps"]] == [{"id": "telnyx"}, 2]
    assert telnyx["steps"][1]["out"] == [{"type": "b"}]
    assert twilio["config"]["call_id"] != telnyx["config"]["call_id"]
    plain = {"id": "call/y", "config": {"carrier": "twilio", "call_id": "CA1"}, "steps": []}
    assert run_trace.each(plain) == [plain]


def test_time_does_not_run_backwards_and_every_binding_is_bound_before_it_is_used() -> None:
    for case in CASES:
        bound: set[str] = set()
        last = 0
        for step in case["steps"]:
            assert step["at_ms"] >= last, case["id"]
            last = step["at_ms"] + (step.get("times", 1) - 1) * step.get("every_ms", 0)
            assert set(_bindings(step["in"])) <= bound, case["id"]
            bound.update(_bindings(step["out"]))


def _bindings(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$bind"]] if "$bind" in value else []
        return own + [name for item in value.values() for name in _bindings(item)]
    return [name for item in value for name in _bindings(item)] if isinstance(value, list) else []


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        if "$any" in value or "$bind" in value:
            return []
        return [leaf for name, item in value.items() for leaf in _leaves(item, (*path, name))]
    if isinstance(value, list):
        return [leaf for n, item in enumerate(value) for leaf in _leaves(item, (*path, n))]
    return [path]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_changed_expectation_is_found(case: dict[str, Any]) -> None:
    """The runner can fail: at a wrong value, at an order too few or too many, and at a wrong wake-up."""
    for n, step in enumerate(case["steps"]):
        changed = copy.deepcopy(case)
        out = changed["steps"][n]["out"]
        out.append({"type": "tell", "event": {"type": "bug"}})
        assert run_trace.run(changed) is not None
        if "wake_ms" in step:
            changed = copy.deepcopy(case)
            changed["steps"][n]["wake_ms"] = 1 if step["wake_ms"] is None else step["wake_ms"] + 1
            assert run_trace.run(changed) is not None
    for number, leaf in [(n, leaf) for n, step in enumerate(case["steps"]) for leaf in _leaves(step["out"])]:
        changed = copy.deepcopy(case)
        place = changed["steps"][number]["out"]
        for key in leaf[:-1]:
            place = place[key]
        value = place[leaf[-1]]
        if leaf[-1] == "sound":
            place["sound"] = "voice" if value == "quiet" else "quiet"
        elif leaf[-1] == "rate" and "$audio_ms" in place:
            place["rate"] = value * 2
        else:
            place[leaf[-1]] = (
                (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else "other"
            )
        assert run_trace.run(changed) is not None, leaf


def test_matchers() -> None:
    bound = run_trace._Bound()

    def same(found: Any, expected: Any) -> bool:
        return run_trace._differs(found, expected, bound, 0, "") is None

    assert same("x", {"$any": "string"})
    assert not same(1, {"$any": "string"})
    assert same(1.5, {"$any": "number"})
    assert same("a", {"$bind": "n"})
    assert same("a", {"$bind": "n"})
    assert not same("b", {"$bind": "n"})
    assert same({"type": "t", "a": 1, "b": 2}, {"type": "t", "a": 1})
    assert not same({"a": 1, "b": 2}, {"a": 1})
    assert not same({"type": "t"}, {"type": "t", "a": 1})
    assert not same(True, 1)
    assert not same([1], [1, 1])
    assert same('<a b="1" c="2"/>', "<a c='2' b='1'></a>")
    assert same("/////w==", {"$audio_ms": 0}) is False
    assert same("/////////////w==", {"$audio_ms": 1}) is False
    assert same("//////////8=", {"$audio_ms": 1, "sound": "quiet"})
    assert not same("kJCQkJCQkJA=", {"$audio_ms": 1, "sound": "quiet"})
    assert same("kJCQkJCQkJA=", {"$audio_ms": 1, "sound": "voice"})
    assert same("AAAAAAAAAAAAAAAAAAAAAA==", {"$audio_ms": 1, "rate": 8000, "sound": "quiet"})
    assert not same("AAAAAAAAAAAAAAAAAAAAAA==", {"$audio_ms": 1, "rate": 8000, "sound": "voice"})
    assert not same("AAAAAAAAAAAAAAAAAAAAAA==", {"$audio_ms": 1, "rate": 16000})


def test_sound_of_another_rate_and_a_part_of_it() -> None:
    voice = run_trace._sound({"$audio_ms": 5, "rate": 8000, "sound": "voice"}, 0)
    assert ulaw_encode(voice) == run_trace._sound({"$audio_ms": 5, "sound": "voice"}, 0)
    assert len(run_trace._sound({"$audio_ms": 5, "rate": 24000, "sound": "voice"}, 0)) == 240
    assert run_trace._sound({"$audio_ms": 5, "rate": 8000, "sound": "voice", "bytes": [3, 7]}, 0) == voice[3:7]


def test_adjacent_audio_to_one_link_is_one_piece_and_to_another_is_not() -> None:
    def said(name: str, text: dict[str, str]) -> dict[str, Any]:
        return {"type": "say_on_link", "name": name, "text": text}

    append = "input_audio_buffer.append"
    one, two = said("a", {"type": append, "audio": "AAA="}), said("a", {"type": append, "audio": "AQE="})
    assert run_trace._merged(copy.deepcopy([one, two])) == [said("a", {"type": append, "audio": "AAABAQ=="})]
    other = said("b", {"user_audio_chunk": "AAA="})
    assert len(run_trace._merged([one, other])) == 2
    raw = {"type": "send_on_link", "name": "a", "audio": "AAA="}
    assert run_trace._merged(copy.deepcopy([raw, raw])) == [{**raw, "audio": "AAAAAA=="}]


# --- a changed implementation ----------------------------------------------------------------------------------------


def _cancels_always(self: OpenAIRealtimeEngine, reply: Any, out: list[Any]) -> None:
    reply.silenced = True
    self._lifeline.send(self._wire.response_cancel(reply.id), out)


MUTANTS: dict[str, tuple[Any, str, Any, str]] = {
    "a reply that is done is cancelled": (
        OpenAIRealtimeEngine,
        "_silence",
        _cancels_always,
        "call/realtime-barge-in-after-generation",
    ),
    "the next session is told nothing": (Memory, "tell", lambda self: [], "call/realtime-reconnect"),
    "what the caller said meanwhile is lost": (
        OpenAIRealtimeEngine,
        "refreshed",
        lambda self, session, out: None,
        "call/realtime-reconnect",
    ),
    "an interruption says nothing of what was heard": (
        OpenAIRealtimeEngine,
        "_forget_unheard",
        lambda self, item, heard_us, heard_text, out: None,
        "call/realtime-barge-in",
    ),
    "a second conversation greets again": (ElevenLabsConvAIEngine, "_resumed", False, "call/convai-reconnect"),
    "nothing is kept for the next link": (Kept, "add", lambda self, audio: None, "call/providers-ear-reconnects"),
    "a model is asked once": (language, "_REPETITIONS", 0, "call/providers-model-fails-once"),
    "a reply that failed is nothing": (
        RemoteBrain,
        "_fail",
        lambda self, now, detail, out: out.append(Replied()),
        "call/providers-on-message-fails",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_changed_implementation_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant, found_by = MUTANTS[name]
    case = next(case for case in WRITTEN if case["id"] == found_by)
    assert run_trace.run(case) is None
    monkeypatch.setattr(place, attribute, mutant)
    assert run_trace.run(case) is not None
