"""``python -m conformance``: the vectors' part, and that a failure is one."""

from __future__ import annotations

import json

import pytest

from conformance import vectors_runner
from conformance.__main__ import main


def test_every_vector_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors"]) == 0
    assert "0 failed" in capsys.readouterr().out


def test_a_wrong_answer_and_a_broken_file_are_reported(tmp_path, monkeypatch, capsys) -> None:
    suite = json.loads((vectors_runner.VECTORS / "codec" / "g711.json").read_text())
    suite["cases"] = suite["cases"][:2]
    suite["cases"][0]["out"] = "00"
    del suite["cases"][1]["id"]
    (tmp_path / "codec.json").write_text(json.dumps(suite))
    monkeypatch.setattr(vectors_runner, "VECTORS", tmp_path)
    monkeypatch.setattr(vectors_runner, "cases", lambda path: [("codec-1", suite["cases"][0])])
    assert main(["vectors"]) == 1
    shown = capsys.readouterr().out
    assert "against its schema" in shown
    assert "expected 00" in shown


def test_ids_are_unique_across_all_files() -> None:
    ids = [case["id"] for path in vectors_runner.files() for _, case in vectors_runner.cases(path)]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 1400


def test_every_case_says_why_and_from_where() -> None:
    for path in vectors_runner.files():
        suite = json.loads(path.read_text())
        for case in suite["cases"]:
            source = case.get("source") or case.get("ref") or suite.get("source")
            assert source, case["id"]
            assert case["title"], case["id"]
