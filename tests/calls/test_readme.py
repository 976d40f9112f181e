"""What README says is what happens: its program runs as it stands, its codec lines too."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from patter_core.carriers.twilio import signature
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.edge.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
TOKEN = "the-token"


def block(start: str) -> str:
    (found,) = [text for text in BLOCKS if text.startswith(start)]
    return found


@pytest.mark.parametrize("loop", ["patter_asyncio", "patter_trio"])
def test_the_whole_server(loop, tmp_path, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # As it stands, but for what would reach the network: looking up the number's webhook at the carrier.
    program = block("import logging").replace("port=8000", f"port={port}, manage_webhook=False")
    program = program.replace("patter_asyncio", loop, 1)
    environ = {**os.environ, "TWILIO_ACCOUNT_SID": "AC" + "0" * 31 + "1", "TWILIO_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        while f"listening on 0.0.0.0:{port}" not in said:
            assert said, "the program ended"
            said = process.stderr.readline()
        assert "carriers call https://abc.example.com/webhooks/twilio/voice" in process.stderr.readline()
        wav = Path(__file__).parents[2] / "patter_core" / "edge" / "assets" / "caller-goodbye.wav"
        command = ["simulate", "--url", "https://abc.example.com", "--connect", f"127.0.0.1:{port}"]
        assert main([*command, "--wav", str(wav), "--auth-token", TOKEN, "--out", str(tmp_path)]) == 0
        assert "completed" in capsys.readouterr().out
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(15) == 0
        assert "shutdown 6/6" in log
        assert "+15550100001" not in log
        assert TOKEN not in log
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def test_the_codecs():
    peer = TwilioStreamPeer("MZ" + "0" * 32, "CA" + "0" * 32, "AC" + "0" * 32)
    form = {"CallSid": "CA" + "0" * 32, "From": "+15550100001"}
    space = {
        "form": form,
        "header": signature.sign("the auth token", "https://abc.example.com/voice", form),
        "messages_of_the_websocket": [peer.connected(), peer.start(), peer.media(b"\xff" * 160, 20), "{"],
    }
    exec(block("from patter_core.audio"), space)
    assert space["answer"].startswith("<?xml")
    assert len(space["pcm"]) == 640


def test_the_line_inside_another_server():
    (line,) = [text for text in BLOCKS if text.startswith("await run_call")]
    compile(line, "README", "exec", flags=8192)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
