"""What README and docs say is what happens: their programs run as they stand, or are constructed, on either loop."""

from __future__ import annotations

import hmac
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import patter_core
from patter_core import Agent
from patter_core.call import payloads
from patter_core.call.spec import CallSpec
from patter_core.carriers.twilio import signature
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.config import AgentSpec, EchoSpec
from patter_core.edge.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


README = PAGES[0].read_text(encoding="utf-8")
BLOCKS = blocks(PAGES[0])
CONSTRUCTED = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page))
    if "phone = Patter(" in text and "serve(" not in text
]
KEYS = [
    "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "OPENAI_API_KEY", "ELEVENLABS_API_KEY", "ELEVENLABS_AGENT_ID",
    "DEEPGRAM_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY",
]  # fmt: skip
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


@pytest.mark.parametrize("loop", ["patter_asyncio", "patter_trio"])
@pytest.mark.parametrize("program", CONSTRUCTED)
def test_what_is_constructed(program, loop, monkeypatch):
    """Every agent of the page comes to what a call would be carried with."""
    patter = importlib.import_module(loop)
    for name in KEYS:
        monkeypatch.setenv(name, "simulated")
    space = {"__name__": "page"}
    exec(program.replace("patter_asyncio", loop), space)
    agents = [value for value in space.values() if isinstance(value, Agent)]
    assert agents or "pricing=" in program

    async def planned():
        return [space["phone"].plan(agent, "CA" + "0" * 32).spec for agent in agents]

    assert len(patter.run(planned)) == len(agents)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_a_program(page):
    for text in blocks(page):
        compile(text, page.name, "exec", flags=8192)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_a_signature_is_checked_as_the_page_says():
    (program,) = [text for text in blocks(ROOT / "docs" / "callbacks.md") if "def signed" in text]
    space = {}
    exec(program, space)
    assert space["signed"]("key", b"body", hmac.new(b"key", b"body", "sha256").hexdigest())
    assert not space["signed"]("key", b"body", hmac.new(b"other", b"body", "sha256").hexdigest())


def test_every_provider_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    options = [name for name in patter_core.__all__ if hasattr(getattr(patter_core, name), "resolve")]
    assert len(options) > 14
    assert [name for name in options if not re.search(rf"`{name}\b", text)] == []


def test_payloads_are_as_the_page_says():
    page = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
    spec = CallSpec(call_id="CA1", carrier="twilio", agent=AgentSpec(engine=EchoSpec()))
    for payload, section in (
        (payloads.start(spec, {}), "## on_call_start"),
        (payloads.message(spec, "", []), "## on_message"),
        (payloads.tool(spec, "", {}, "", []), "## on_transcript"),
        (payloads.end(spec, "", 0.0, [], [], None), "## on_call_end"),
    ):
        part = page.partition(section + "\n")[2].partition("\n## ")[0]
        assert [key for key in payload if f"`{key}`" not in part] == [], section
    result = page.partition("## CallResult")[2]
    assert [field for field in patter_core.CallResult.__struct_fields__ if f"`{field}`" not in result] == []
    overrides = page.partition("## on_call_start\n")[2].partition("\n## ")[0]
    given = {"system_prompt": "", "first_message": "", "language": "", "voice": "", "tools": [], "variables": {}}
    assert payloads.apply_override(spec.agent, given)[1] == []
    assert [key for key in given if f"`{key}`" not in overrides] == []


def test_figures_are_as_the_page_says():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for kind in (patter_core.LatencyBreakdown, patter_core.TurnMetrics, patter_core.CostBreakdown):
        assert [field for field in kind.__struct_fields__ if f"`{field}`" not in page] == []
