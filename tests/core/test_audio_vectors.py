"""The codec vectors, run in process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conformance.run_codec import run

FOLDER = Path(__file__).parents[2] / "conformance" / "vectors" / "codec"
G711 = json.loads((FOLDER / "g711.json").read_text(encoding="utf-8"))
RESAMPLE = json.loads((FOLDER / "resample.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", G711["cases"], ids=lambda case: case["id"])
def test_g711(case):
    assert run(case) is None


def test_the_runner_notices_a_wrong_answer():
    for case in G711["cases"]:
        key = "out" if "out" in case else "sha256"
        assert run({**case, key: "00" + case[key]}) is not None


@pytest.mark.parametrize("suite", [G711, RESAMPLE], ids=lambda suite: suite["suite"])
def test_every_case_is_well_formed(suite):
    assert suite["schema"] == "codec-1"
    ids = [case["id"] for case in suite["cases"]]
    assert len(ids) == len(set(ids))
    for case in suite["cases"]:
        assert re.fullmatch(rf"codec/{suite['suite']}/[a-z0-9-]+", case["id"])
        assert 0 < len(case["title"]) <= 70
        assert "should" not in case["title"]
        assert case["level"] == "MUST"
        assert {"flags", "ref", "source", "comment", "op"} <= case.keys()


def test_both_codecs_have_every_kind_of_case():
    kinds = {(case["codec"], case["op"]) for case in G711["cases"]}
    assert kinds == {
        (codec, op)
        for codec in ("pcmu", "pcma")
        for op in ("encode", "decode", "recode", "encode-sweep", "decode-sweep")
    }
    edges = [case for case in G711["cases"] if "audioop-differs" in case["flags"]]
    assert sum(len(case["out"]) // 2 for case in edges) == 508
