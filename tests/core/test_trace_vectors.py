"""The call traces: every file is what its schema says, every case holds here, and a changed case does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_trace

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
}


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


CASES = [case for path in FILES for case in load(path)["cases"]]


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
    assert set(ids) >= WANTED


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
    number, step = next((n, step) for n, step in enumerate(case["steps"]) if step["out"])
    for leaf in _leaves(step["out"]):
        changed = copy.deepcopy(case)
        place = changed["steps"][number]["out"]
        for key in leaf[:-1]:
            place = place[key]
        value = place[leaf[-1]]
        if leaf[-1] == "sound":
            place["sound"] = "voice" if value == "quiet" else "quiet"
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
