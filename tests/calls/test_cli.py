"""The command line, as a person types it."""

from __future__ import annotations

import json
import signal
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


@pytest.mark.parametrize("carrier", ["twilio", "telnyx"])
def test_the_demos_server_is_called_as_it_says(wav, tmp_path, capsys, carrier):
    command = [sys.executable, "-m", "patter_asyncio", "demo", "--serve", "--port", "0"]
    command += ["--telnyx"] if carrier == "telnyx" else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        while " simulate " not in said:
            assert said, "the server ended"
            said = server.stdout.readline()
        argv = [word for word in said.split()[1:] if word != "--demo-caller"]
        assert main([*argv, "--wav", str(wav), "--out", str(tmp_path / "out")]) == 0
        shown = capsys.readouterr().out
        assert "completed" in shown
        assert ("TELNYX_PUBLIC_KEY must be" in shown) is (carrier == "telnyx")
        (recording,) = (tmp_path / "out").glob("*.wav")
        assert ":" not in recording.name
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        server.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize(("module", "more"), [("patter_asyncio", ["--call", "--telnyx"]), ("patter_trio", ["--call"])])
def test_the_demo_calls_somebody(module, more, tmp_path):
    pytest.importorskip("pocketsphinx", reason="no offline recogniser on this platform (extra `demo`)")
    command = [sys.executable, "-m", module, "demo", *more, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("set at the carrier", "callee  book a table for two", "outcome", "answered", "a human", "6/6"):
        assert words in done.stdout
    assert "problem" not in done.stdout
    trace = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("  trace"))
    assert main(["replay", trace]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["simulate", "--url", "x.example.com"], "nothing to say"),
        (["simulate", "--url", "x", "--wav", "missing.wav"], "missing.wav"),
        (["simulate", "--url", "x", "--wav", __file__], "test_cli.py"),
        (["simulate", "--url", "x", "--demo-caller", "--connect", "localhost"], "HOST:PORT"),
        (["replay", "missing.jsonl"], "missing.jsonl"),
        (["simulate", "--url", "x.example.com", "--carrier", "telnyx", "--demo-caller"], "--rest-port"),
        (["demo", "--serve", "--call"], "--call"),
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
