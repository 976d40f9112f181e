"""``serve(tunnel=...)`` on each loop, with a stand-in for cloudflared and a carrier's REST API that holds a webhook."""

from __future__ import annotations

import logging
import sys

import msgspec
import pytest

from patter_core import CloudflareTunnel, ConfigError, Echo, PatterConnectionError, Static
from patter_core.events import ServerReady, ShutdownStep, StartupRefused, TunnelOpened, WebhookChanged
from patter_core.simulator.callee import Callee
from patter_core.simulator.events import SimHook
from patter_core.simulator.script import HangUp, Speak, Wait

CARRIERS = ("twilio", "telnyx")
US, THEM = "+15550001234", "+15550100001"
NAME = "two-words-here.trycloudflare.com"
OLD = "https://old.example.com/voice"
SPEECH = bytes(range(1, 161)) * 8

STAND_IN = """#!{python} -IS
import signal, sys

def note(text):
    with open({notes!r}, "a") as notes:
        notes.write(text + "\\n")

def bye(*_):
    note("bye")
    sys.exit(0)

signal.signal(signal.SIGTERM, bye)
note(" ".join(sys.argv[1:]))
sys.stderr.write("INF |  https://{name}  |\\nINF Registered tunnel connection connIndex=0\\n")
sys.stderr.flush()
while True:
    signal.pause()
"""


@pytest.fixture
def program(tmp_path):
    """Says what cloudflared says, and writes down how it was called."""
    path, notes = tmp_path / "cloudflared", tmp_path / "notes"
    path.write_text(STAND_IN.format(python=sys.executable, notes=str(notes), name=NAME))
    path.chmod(0o700)
    path_of = {"program": str(path), "notes": notes}
    return path_of


@pytest.fixture(autouse=True)
def probed_at_home(monkeypatch):
    """Whether the public name answers is asked of the server itself: nothing here leaves the machine."""
    for option in (CloudflareTunnel, Static):

        def spec(self, port, real=option.spec):
            return msgspec.structs.replace(real(self, port), probe=f"http://127.0.0.1:{port}")

        monkeypatch.setattr(option, "spec", spec)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("where", ["serve", "Patter"])
def test_a_call_through_a_tunnel_and_the_webhook_put_back(line, program, carrier, where):
    tunnel = {"tunnel": CloudflareTunnel(program=program["program"])}
    line = line([carrier], phone_number=US, webhook_url="", **(tunnel if where == "Patter" else {}))
    names, results = [], []
    callee = Callee(acts=(Wait(200), Speak(SPEECH), Wait(400), HangUp()), ring_ms=320)

    async def scenario():
        names.append(await line.phone.tunnel_ready)
        results.append(await line.phone.call(THEM, wait=True))

    voice = f"https://{NAME}/webhooks/{carrier}/voice"
    line.talk(
        line.phone.agent(engine=Echo()),
        scenario,
        simulator={"hook_url": OLD, "callee": callee, "webhook_url": voice},
        **(tunnel if where == "serve" else {}),
    )
    assert line.code == 0
    assert names == [NAME]
    assert [result.outcome for result in results] == ["answered"]
    assert SPEECH in line.done[0].heard
    assert line.told(TunnelOpened) == [TunnelOpened(NAME)]
    assert [(event.was, event.now) for event in line.told(WebhookChanged)] == [(OLD, voice), (voice, OLD)]
    assert [event.url for event in line.seen(SimHook)] == [voice, OLD]
    assert line.carriers[carrier].hook_url == OLD
    assert line.told(ShutdownStep)[-1].name == "close the tunnel"
    called, last = program["notes"].read_text().splitlines()
    assert called.endswith(f"--url http://127.0.0.1:{line.port}")  # where the server is, not where it might have been
    assert last == "bye"


def test_a_tunnel_of_somebody_elses_keeps_its_webhook(line):
    line = line(phone_number=US, webhook_url="")

    async def scenario():
        assert await line.phone.tunnel_ready == "abc.example.com"

    line.talk(line.phone.agent(engine=Echo()), scenario, simulator={"hook_url": OLD}, tunnel=Static("abc.example.com"))
    assert line.code == 0
    assert [event.url for event in line.seen(SimHook)] == ["https://abc.example.com/webhooks/twilio/voice"]


def test_an_unmanaged_webhook_is_left_alone(line):
    line = line(phone_number=US)

    async def scenario():
        pass

    line.talk(line.phone.agent(engine=Echo()), scenario, simulator={"hook_url": OLD}, manage_webhook=False)
    assert line.carriers["twilio"].hook_url == OLD


def test_a_missing_program_is_one_clear_refusal(line, caplog):
    line = line(phone_number=US, webhook_url="")
    line.rest_socket.close()
    tunnel = CloudflareTunnel(program="no-such-cloudflared")
    waited = []

    async def serve():
        agent = line.phone.agent(engine=Echo())
        with pytest.raises(ConfigError, match="no-such-cloudflared was not found: install it"):
            await line.phone.serve(agent, listener=line.server_socket, on_event=line.hear, tunnel=tunnel)

    async def wait(what):
        try:
            await what
        except PatterConnectionError as exc:
            waited.append(str(exc))

    phone = line.phone
    with caplog.at_level(logging.INFO, "patter"):
        line.loop.run(lambda: line.loop.together(serve, lambda: wait(phone.ready), lambda: wait(phone.tunnel_ready)))
    (refused,) = line.told(StartupRefused)
    assert refused.code == "no_tunnel_program"
    for advice in ("no-such-cloudflared was not found", "install it", "CloudflareTunnel(program=...)", "webhook_url"):
        assert advice in refused.detail
        assert advice in caplog.text
    assert sorted(waited) == [
        "serve() ended before the server was ready",
        "serve() ended before the tunnel had a name",
    ]
    assert not line.told(ServerReady)
