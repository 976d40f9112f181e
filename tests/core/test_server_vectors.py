"""The server stories: every file is what its schema says, every story holds, and the runner knows one that does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_server

CONFORMANCE = Path(__file__).parents[2] / "conformance"
FILES = sorted((CONFORMANCE / "vectors" / "server").glob("*.json"))
SCHEMA: dict[str, Any] = json.loads((CONFORMANCE / "schema" / "server.schema.json").read_text("utf-8"))


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


CASES = [case for path in FILES for case in load(path)["cases"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_story(case: dict[str, Any]) -> None:
    assert run_server.run(case) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_what_its_schema_says(path: Path) -> None:
    data = load(path)
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    assert {flag for case in data["cases"] for flag in case["flags"]} == set(data["notes"])
    for case in data["cases"]:
        times = [step["at_ms"] for step in case["steps"]]
        assert times == sorted(times), case["id"]
        assert any("expect" in step for step in case["steps"]), case["id"]


def test_there_are_stories_and_their_names_are_their_own() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert len(CASES) >= 30
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert len({case["title"] for case in CASES}) == len(CASES)


def test_no_story_speaks_python() -> None:
    for path in FILES:
        assert "patter_core" not in path.read_text("utf-8")


def _wrong(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [*value, 6] if not value or isinstance(value[0], int) else [*value, "no such thing"]
    if isinstance(value, dict):
        return {key: _wrong(item) for key, item in value.items()} if value != {"$any": "string"} else "x"
    return 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_every_expectation_bites(case: dict[str, Any]) -> None:
    """Each expectation, made wrong, fails its story: none is looked at without being compared."""
    for number, step in enumerate(case["steps"]):
        for key in step.get("expect", {}):
            if key in ("bind_stream", "bind_body"):
                continue
            changed = copy.deepcopy(case)
            expect = changed["steps"][number]["expect"]
            if key == "heard":
                expect[key] = dict.fromkeys(expect[key], 10_000)
            elif key == "status" and expect[key] == 101:
                expect[key] = 200
            else:
                expect[key] = _wrong(expect[key])
            changed["steps"] = changed["steps"][: number + 1]
            assert run_server.run(changed) is not None, (number, key)


def test_a_second_answer_must_be_the_same() -> None:
    case = copy.deepcopy(next(case for case in CASES if case["id"] == "http/repeated-voice"))
    case["steps"][1]["in"]["form"][0][1] = "CA" + "9" * 32
    assert "was" in (run_server.run(case) or "")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(schema="server-2"),
        lambda data: data["cases"][0]["steps"][0].pop("at_ms"),
        lambda data: data["cases"][0]["steps"][0].update(at_ms=0.5),
        lambda data: data["cases"][0]["steps"][0]["expect"].update(nothing=1),
        lambda data: data["cases"][0]["steps"][0]["in"].update(kind="sing"),
        lambda data: data["cases"][0].update(title="it should work"),
        lambda data: data["cases"][0]["config"].update(python="x"),
    ],
)
def test_the_schema_refuses(change: Any) -> None:
    data = load(FILES[0])
    change(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(data)
