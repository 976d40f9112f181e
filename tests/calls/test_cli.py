"""The command line, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from conformance.live.runner import ours
from conformance.live.target import TOKEN
from patter_core.audio.tones import tone
from patter_core.audio.wav import read_wav, write_wav
from patter_core.edge.cli import main


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "caller.wav"
    path.write_bytes(write_wav(16000, 1, tone(300, 400, 16000)))
    return path


def simulate(target, wav, tmp_path, *more: str) -> int:
    return main(
        [
            "simulate",
            "--url",
            target.public,
            "--connect",
            f"{target.host}:{target.port}",
            "--wav",
            str(wav),
            "--auth-token",
            TOKEN,
            "--out",
            str(tmp_path / "out"),
            *more,
        ]
    )


def test_simulate_calls_a_server_and_saves_what_was_heard(wav, tmp_path, capsys):
    with ours("asyncio") as target:
        assert simulate(target, wav, tmp_path, "--calls", "2") == 0
        shown = capsys.readouterr().out
        assert shown.count("completed") == 2
        recordings = list((tmp_path / "out").glob("*.wav"))
        assert len(recordings) == 2
        wave = read_wav(recordings[0].read_bytes())
        assert (wave.rate, wave.channels) == (8000, 2)
        capsys.readouterr()
        assert simulate(target, wav, tmp_path, "--trio", "--auth-token", "wrong") == 1
        assert "webhook answered HTTP 403" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["simulate", "--url", "x.example.com"], "nothing to say"),
        (["simulate", "--url", "x", "--wav", "missing.wav"], "missing.wav"),
        (["simulate", "--url", "x", "--wav", __file__], "test_cli.py"),
        (["simulate", "--url", "x", "--demo-caller", "--connect", "localhost"], "HOST:PORT"),
        (["replay", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_mistakes_are_explained(argv, message, capsys):
    assert main(argv) == 2
    assert message in capsys.readouterr().err


def test_replay_says_the_same_or_where_it_differs(line, tmp_path, capsys):
    from patter_core import Echo
    from patter_core.simulator.carrier import CallPlan
    from patter_core.simulator.script import HangUp, Wait

    line = line()
    plan = CallPlan(acts=(Wait(200), HangUp()))
    line.run(line.phone.agent(engine=Echo()), [plan], trace=str(tmp_path / "traces"))
    (trace,) = (tmp_path / "traces").iterdir()
    assert main(["replay", str(trace)]) == 0
    assert "every order the same" in capsys.readouterr().out

    lines = trace.read_text().splitlines(keepends=True)
    at = next(i for i, text in enumerate(lines) if '"ToCarrier"' in text)
    step = json.loads(lines[at])
    step["orders"][0]["text"] = "{}"
    lines[at] = json.dumps(step) + "\n"
    trace.write_text("".join(lines))
    assert main(["replay", str(trace)]) == 1
    shown = capsys.readouterr().out
    assert f"line {at + 1}" in shown
    assert "expected" in shown

    trace.write_text("not a trace\n")
    assert main(["replay", str(trace)]) == 2


@pytest.mark.parametrize("module", ["patter_asyncio", "patter_trio", "patter_core.edge.cli"])
def test_the_modules_are_commands(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "simulate" in done.stdout
