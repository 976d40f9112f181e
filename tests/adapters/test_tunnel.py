"""The tunnel with a real program, pipes, signals and sockets, on both loops: a stand-in prints cloudflared's lines.

The lines' sources are named in ``tests/core/test_tunnel.py``. What is probed instead of the public name is the server
itself, on the loopback address; the carrier is a small HTTP server that keeps one number's record.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from conformance.adapter_kit.adapters import Adapter
from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.edge.sockets import listen
from patter_core.events import (
    ServerReady,
    ShutdownStep,
    StartupRefused,
    TunnelLost,
    TunnelOpened,
    WebhookChanged,
)
from patter_core.settings import ServerSettings
from patter_core.startup import REFUSED_CODE
from patter_core.switchboard import Switchboard
from patter_core.tunnel import TunnelSpec

LIMIT_S = 20.0
OLD = "https://old.example.com/voice"
NUMBER = "+15550001111"

STAND_IN = r"""
import os, signal, sys, time

notes, *ways = sys.argv[1:]
run = len(os.listdir(notes))
open(os.path.join(notes, f"run{run}"), "w").write(f"{os.getpid()} {os.getpgrp()}")
way = ways[min(run, len(ways) - 1)]
name = f"run-{run}-two-words.trycloudflare.com"


def bye(*_):
    open(os.path.join(notes, f"run{run}"), "a").write(" bye")
    sys.exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if way == "deaf" else bye)


def say(text, out=sys.stderr):
    out.write(text)
    out.flush()


say("2026-05-29T09:25:34Z INF Requesting new quick Tunnel on trycloudflare.com...\n")
if way == "refused":
    say('failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": context deadline exceeded\n')
    sys.exit(1)
if way == "limited":
    say("2026-05-29T09:25:34Z ERR Error unmarshaling QuickTunnel response: error code: 1015 ")
    say('status_code="429 Too Many Requests"\nfailed to unmarshal quick Tunnel: invalid character\n')
    sys.exit(1)
if way == "mute":
    while True:
        say("x" * 100_000)
if way == "pieces":
    for letter in f"INF |  https://{name}  |\n":
        say(letter)
else:
    say(f"INF |  https://{name}  |\n")
say("INF Registered tunnel connection connIndex=0\n")
if way == "talker":
    for _ in range(40):
        say("y" * 100_000 + "\n")
        say("z" * 100_000 + "\n", sys.stdout)
    say("ERR out of breath\n")
    sys.exit(3)
while True:
    signal.pause()
"""


class Carrier:
    """Keeps one number's Voice URL."""

    def __init__(self) -> None:
        carrier = self
        self.url = OLD
        self.posts = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply({"incoming_phone_numbers": [carrier.record()]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                carrier.url = parse_qs(body, keep_blank_values=True)["VoiceUrl"][0]
                carrier.posts += 1
                self.reply(carrier.record())

            def reply(self, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def record(self) -> dict[str, Any]:
        return {"sid": "PN" + "0" * 32, "phone_number": NUMBER, "voice_url": self.url, "voice_method": "POST"}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    carrier = Carrier()
    yield carrier
    carrier.close()


class Server:
    """A server behind the stand-in; ``run`` until what ``until`` waits for was told, then stopped."""

    def __init__(self, adapter: Adapter, carrier: Carrier, notes: Path, *ways: str, **settings: Any) -> None:
        self.adapter = adapter
        self.notes = notes
        self.events: list[Any] = []
        sock = listen("127.0.0.1", 0)
        program = (sys.executable, "-I", "-S", "-c", STAND_IN, str(notes), *ways)
        account = "AC" + "0" * 31 + "1"
        config = ServerConfig(
            public_url=PublicUrl.parse("placeholder.invalid"),
            carriers=(CarrierSpec("twilio", account, ("t",), carrier.origin, "t"),),
            agents={"": AgentSpec(engine=EchoSpec())},
            settings=ServerSettings(**{"tunnel_backoff_s": 0.01, "tunnel_backoff_most_s": 0.05, **settings}),
            tunnel=TunnelSpec(program, probe=f"http://127.0.0.1:{sock.getsockname()[1]}"),
            numbers=(NUMBER,),
        )
        board = Switchboard(config, epoch=0, seed=b"s" * 32)
        self.drive = adapter.package.Drive(
            board,
            listener=sock,
            secrets={"twilio": ("Authorization", "Basic dDp0")},
            on_event=self._told,
            leave_s=LIMIT_S,
        )
        self._until: Callable[[Any], bool] = lambda event: False

    def _told(self, event: Any) -> None:
        self.events.append(event)
        if self._until(event):
            self.drive.stop()

    def run(self, until: Callable[[Any], bool]) -> int:
        self._until = until

        async def main() -> int:
            return await self.adapter.within(LIMIT_S, self.drive.run)

        code: int = self.adapter.run(main)
        return code

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def note(self, run: int) -> str:
        return (self.notes / f"run{run}").read_text()


def is_ready(event: Any) -> bool:
    return isinstance(event, ServerReady)


def hook(run: int) -> str:
    return f"https://run-{run}-two-words.trycloudflare.com/webhooks/twilio/voice"


@pytest.mark.parametrize("way", ["plain", "pieces"])
def test_it_is_opened_announced_taken_back_and_ended_politely(
    adapter: Adapter, carrier: Carrier, tmp_path: Path, way: str
) -> None:
    server = Server(adapter, carrier, tmp_path, way)
    assert server.run(is_ready) == 0
    assert server.told(TunnelOpened) == [TunnelOpened("run-0-two-words.trycloudflare.com")]
    assert server.told(WebhookChanged) == [
        WebhookChanged("twilio", NUMBER, OLD, hook(0)),
        WebhookChanged("twilio", NUMBER, hook(0), OLD),
    ]
    assert carrier.url == OLD
    assert [event.name for event in server.told(ShutdownStep)][-1] == "close the tunnel"
    pid, group, last = server.note(0).split()
    assert last == "bye"
    assert group == pid  # Ctrl-C at our terminal does not reach it: it is closed after the last call, not with it


def test_failures_are_waited_out_and_their_words_are_said(adapter: Adapter, carrier: Carrier, tmp_path: Path) -> None:
    server = Server(adapter, carrier, tmp_path, "refused", "limited", "plain")
    assert server.run(is_ready) == 0
    refused, limited = server.told(TunnelLost)
    assert "failed to request quick Tunnel" in refused.detail
    assert "429" in limited.detail
    assert server.told(TunnelOpened) == [TunnelOpened("run-2-two-words.trycloudflare.com")]
    assert carrier.posts == 2  # set, put back: nothing was set to the name in an error line


def test_its_pipes_are_drained_and_a_crash_brings_a_new_name_to_the_carrier(
    adapter: Adapter, carrier: Carrier, tmp_path: Path
) -> None:
    def back_again(event: Any) -> bool:
        return isinstance(event, WebhookChanged) and event.now == hook(1)

    server = Server(adapter, carrier, tmp_path, "talker", "plain")
    assert server.run(back_again) == 0
    (lost,) = server.told(TunnelLost)  # 8 MB later, which no pipe holds
    assert "status 3" in lost.detail
    assert "out of breath" in lost.detail
    assert server.told(TunnelOpened)[-1] == TunnelOpened("run-1-two-words.trycloudflare.com")
    assert carrier.url == OLD
    assert server.note(1).endswith(" bye")


def test_one_that_never_says_a_name_is_killed_and_refused(adapter: Adapter, carrier: Carrier, tmp_path: Path) -> None:
    server = Server(adapter, carrier, tmp_path, "mute", tunnel_name_s=0.2, tunnel_start_s=0.6)
    assert server.run(is_ready) == REFUSED_CODE
    assert server.told(StartupRefused)[0].code == "no_tunnel"
    assert server.told(TunnelLost)
    assert carrier.posts == 0
    gone(server)


def test_one_that_does_not_listen_is_killed(adapter: Adapter, carrier: Carrier, tmp_path: Path) -> None:
    server = Server(adapter, carrier, tmp_path, "deaf", close_tunnel_s=0.05)
    assert server.run(is_ready) == 0
    assert carrier.url == OLD
    gone(server)


def gone(server: Server) -> None:
    """No process of these is left."""
    pids = [int(path.read_text().split()[0]) for path in server.notes.iterdir() if path.read_text()]
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_missing_program_is_one_clear_refusal(adapter: Adapter, carrier: Carrier) -> None:
    sock = listen("127.0.0.1", 0)
    config = ServerConfig(
        public_url=PublicUrl.parse("placeholder.invalid"),
        carriers=(CarrierSpec("twilio", "AC1", ("t",), carrier.origin, "t"),),
        agents={"": AgentSpec(engine=EchoSpec())},
        tunnel=TunnelSpec(("no-such-program-anywhere",), hint="install it"),
    )
    events: list[Any] = []
    drive = adapter.package.Drive(Switchboard(config, epoch=0, seed=b"s"), listener=sock, on_event=events.append)

    async def main() -> int:
        return await adapter.within(LIMIT_S, drive.run)

    assert adapter.run(main) == REFUSED_CODE
    (refused,) = [event for event in events if isinstance(event, StartupRefused)]
    assert (refused.code, refused.detail) == ("no_tunnel_program", "no-such-program-anywhere was not found: install it")
