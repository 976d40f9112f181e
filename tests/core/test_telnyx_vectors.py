"""The Telnyx vectors: every file is what its schema says, every case holds here, the signatures are genuine."""

from __future__ import annotations

import copy
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conformance import run_messages, run_signature
from patter_core.carriers.telnyx.signature import public_key, sign

CONFORMANCE = Path(__file__).parents[2] / "conformance"
SIGNATURES = ("signature/telnyx.json",)
MESSAGES = tuple(f"messages/telnyx_{name}.json" for name in ("stream", "rest", "webhook"))
FILES = SIGNATURES + MESSAGES

# RFC 8032, section 7.1, TEST 1: private and public key, and the signature over no bytes.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


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
    jsonschema.Draft202012Validator(schema(data["schema"].partition("-")[0])).validate(data)
    for field in ("id", "title"):
        values = [case[field] for case in data["cases"]]
        assert len(set(values)) == len(values)
    assert {flag for case in data["cases"] for flag in case["flags"]} == set(data["notes"])


def test_genuine_signatures_are_the_published_keys() -> None:
    assert b64decode(public_key(SEED)) == PUBLIC
    genuine = [case["in"] for case in load(SIGNATURES[0])["cases"] if case.get("verdict") == "valid"]
    signed = [given for given in genuine if given["scheme"] == "telnyx-ed25519"]
    assert len(signed) > 10
    for given in signed:
        assert sign(SEED, given["timestamp"], b64decode(given["body_b64"])) == given["signature"]


def test_signature_runner_notices_a_wrong_expectation() -> None:
    for case in load(SIGNATURES[0])["cases"]:
        swapped = case | {"result": "invalid" if case["result"] == "valid" else "valid"}
        assert run_signature.run(swapped) is not None
        assert run_signature.run(case | {"verdict": "never"}) is not None


@pytest.mark.parametrize("name", MESSAGES)
def test_message_runner_notices_a_wrong_expectation(name: str) -> None:
    for case in load(name)["cases"]:
        for out in ({"error": True}, [], "nothing", [{"type": "nothing"}]):
            if out != case["out"]:
                assert run_messages.run(case | {"out": out}) is not None, (case["id"], out)
    assert run_messages.run({"id": "x", "in": {"op": "read_form", "carrier": "telnyx"}, "out": None}) is not None


def test_message_runner_compares_every_field_it_is_given() -> None:
    for case in load("messages/telnyx_webhook.json")["cases"]:
        if case["in"]["op"] != "read_webhook":
            continue
        for field in case["out"]["event"]:
            changed = copy.deepcopy(case)
            changed["out"]["event"][field] = ["something else"]
            assert run_messages.run(changed) is not None, (case["id"], field)


@pytest.mark.parametrize("change", [lambda i: i.pop("keys"), lambda i: i.update(now="1"), lambda i: i.update(url="x")])
def test_schema_notices_a_broken_signature_case(change: Any) -> None:
    data = copy.deepcopy(load(SIGNATURES[0]))
    change(data["cases"][0]["in"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("signature")).validate(data)
