"""The Twilio vectors: every file is what its schema says, and every case holds here."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_messages, run_signature

CONFORMANCE = Path(__file__).parents[2] / "conformance"
SIGNATURES = ("signature/twilio.json",)
MESSAGES = tuple(f"messages/twilio_{name}.json" for name in ("stream", "twiml", "rest", "webhook"))
FILES = SIGNATURES + MESSAGES


def load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((CONFORMANCE / "vectors" / name).read_text("utf-8"))
    return data


def cases(files: tuple[str, ...]) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for name in files for case in load(name)["cases"]]


def schema(kind: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((CONFORMANCE / "schema" / f"{kind}.schema.json").read_text("utf-8"))
    return data


@pytest.mark.parametrize("case", cases(SIGNATURES))
def test_signature(case: dict[str, Any]) -> None:
    assert run_signature.run(case) is None


@pytest.mark.parametrize("case", cases(MESSAGES))
def test_message(case: dict[str, Any]) -> None:
    assert run_messages.run(case) is None


@pytest.mark.parametrize("name", FILES)
def test_file_is_what_its_schema_says(name: str) -> None:
    data = load(name)
    kind = data["schema"].partition("-")[0]
    jsonschema.Draft202012Validator(schema(kind)).validate(data)
    identifiers = [case["id"] for case in data["cases"]]
    assert len(set(identifiers)) == len(identifiers)
    titles = [case["title"] for case in data["cases"]]
    assert len(set(titles)) == len(titles)
    used = {flag for case in data["cases"] for flag in case["flags"]}
    assert used == set(data["notes"])


def test_codec_files_are_what_their_schema_says() -> None:
    files = sorted((CONFORMANCE / "vectors" / "codec").glob("*.json"))
    assert files
    for file in files:
        jsonschema.Draft202012Validator(schema("codec")).validate(json.loads(file.read_text("utf-8")))


@pytest.mark.parametrize("kind", ["codec", "signature", "messages"])
def test_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(kind))


def _broken(change: Any) -> dict[str, Any]:
    data = copy.deepcopy(load(SIGNATURES[0]))
    change(data)
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(schema="signature-2"),
        lambda data: data.update(extra=1),
        lambda data: data.pop("source"),
        lambda data: data["cases"].clear(),
        lambda data: data["cases"][0].update(title="it should verify"),
        lambda data: data["cases"][0].update(title="x" * 71),
        lambda data: data["cases"][0].update(level="PERHAPS"),
        lambda data: data["cases"][0].update(result="true"),
        lambda data: data["cases"][0].pop("id"),
        lambda data: data["cases"][0]["in"].pop("url"),
        lambda data: data["cases"][0]["in"].update(body_b64=""),
        lambda data: data["cases"][0]["in"].update(secrets="12345"),
        lambda data: data["cases"][0]["in"].update(params=[["a"]]),
    ],
)
def test_schema_notices_a_broken_file(change: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("signature")).validate(_broken(change))


def test_signature_runner_notices_a_wrong_expectation() -> None:
    for case in load(SIGNATURES[0])["cases"]:
        swapped = case | {"result": "invalid" if case["result"] == "valid" else "valid"}
        assert run_signature.run(swapped) is not None
        assert run_signature.run(case | {"verdict": "never"}) is not None
    assert run_signature.run({"id": "x", "in": {"scheme": "none"}, "result": "valid"}) is not None


@pytest.mark.parametrize("name", MESSAGES)
def test_message_runner_notices_a_wrong_expectation(name: str) -> None:
    for case in load(name)["cases"]:
        for out in ({"error": True}, [], "nothing", [{"type": "nothing"}]):
            if out != case["out"]:
                assert run_messages.run(case | {"out": out}) is not None, (case["id"], out)
    assert run_messages.run({"id": "x", "in": {"op": "none"}, "out": None}) is not None


def test_message_runner_compares_every_field_it_is_given() -> None:
    for case in load(MESSAGES[0])["cases"]:
        for index, event in enumerate(case["out"]):
            for field in event:
                changed = copy.deepcopy(case)
                changed["out"][index][field] = ["something else"]
                assert run_messages.run(changed) is not None, (case["id"], field)
