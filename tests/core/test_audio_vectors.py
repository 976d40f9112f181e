"""The codec vectors, run in process."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from patter_core.audio import alaw_decode, alaw_encode, ulaw_decode, ulaw_encode

FOLDER = Path(__file__).parents[2] / "conformance" / "vectors" / "codec"
G711 = json.loads((FOLDER / "g711.json").read_text(encoding="utf-8"))
RESAMPLE = json.loads((FOLDER / "resample.json").read_text(encoding="utf-8"))

ENCODE = {"pcmu": ulaw_encode, "pcma": alaw_encode}
DECODE = {"pcmu": ulaw_decode, "pcma": alaw_decode}


def answer(case: dict) -> str:
    """What we make of a case, as hex."""
    codec = case["codec"]
    match case["op"]:
        case "encode":
            return ENCODE[codec](bytes.fromhex(case["pcm"])).hex()
        case "decode":
            return DECODE[codec](bytes.fromhex(case["codes"])).hex()
        case "recode":
            return ENCODE[codec](DECODE[codec](bytes.fromhex(case["codes"]))).hex()
        case "encode-sweep":
            sweep = np.arange(case["first"], case["last"] + 1).astype("<i2").tobytes()
            return hashlib.sha256(ENCODE[codec](sweep)).hexdigest()
        case "decode-sweep":
            return hashlib.sha256(DECODE[codec](bytes(range(256)))).hexdigest()
        case op:
            raise AssertionError(f"unknown op {op}")


@pytest.mark.parametrize("case", G711["cases"], ids=lambda case: case["id"])
def test_g711(case):
    assert answer(case) == case.get("out", case.get("sha256"))


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
