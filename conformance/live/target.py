"""The server under test, and the carrier's side of it, with plain blocking sockets: every wait has a limit."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from patter_core.wire import ClientConnection, Done, HttpClient, HttpResponse, Opened, Text

from .carriers import ACCOUNT, TOKEN, CarrierEnd, Letter, RestCall, TwilioEnd

__all__ = ["ACCOUNT", "PUBLIC_HOST", "TOKEN", "CarrierApi", "Failed", "Media", "Target"]

PUBLIC_HOST = "conformance.example.com"
PATIENCE_S = 10.0


class Failed(AssertionError):
    """A check did not hold; the text says what was expected."""


def _now() -> int:
    return time.monotonic_ns() // 1000


class CarrierApi:
    """The carrier's REST API on a port of its own: remembers what was asked, says that it is done."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[RestCall] = []
        self._came = threading.Condition()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
                fields = dict(parse_qsl(body, keep_blank_values=True)) if form else json.loads(body)
                with api._came:
                    api.requests.append(RestCall(self.path, fields, self.headers.get("Authorization", "")))
                    api._came.notify_all()
                # What Twilio says of a call, and what Telnyx says of a command.
                answer = json.dumps({"status": "completed", "data": {"result": "ok"}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def wait_for(self, found: Callable[[list[RestCall]], str], limit_s: float = PATIENCE_S) -> str:
        """What ``found`` makes of the requests, once it makes something of them; '' when it never does."""
        with self._came:
            self._came.wait_for(lambda: found(self.requests), limit_s)
            return found(self.requests)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


class Media:
    """One media socket, the carrier's end. Not opened when ``refused`` has the HTTP response."""

    def __init__(self, target: Target, url: str, call_id: str, proof: list[tuple[str, str]] | None = None) -> None:
        parts = urlsplit(url)
        headers = target.carrier.proof(url, call_id) if proof is None else proof
        self.target, self.call_id = target, call_id
        self.sock = target.connect()
        self.wire = ClientConnection(_now(), parts.netloc, parts.path, headers, seed=secrets.token_bytes(16))
        self.peer = target.carrier.peer(call_id)
        self.texts: list[str] = []
        self.refused: HttpResponse | None = None
        self.done: Done | None = None
        self.opened = False
        self._flush()
        self.until(lambda: self.opened or self.refused is not None or self.done is not None, "an answer to the upgrade")

    def _flush(self) -> None:
        data = self.wire.data_to_send()
        if data:
            self.sock.sendall(data)

    def until(self, met: Callable[[], object], what: str, limit_s: float = PATIENCE_S) -> None:
        """Read until ``met()``; Failed when it takes longer than ``limit_s``."""
        deadline = time.monotonic() + limit_s
        while not met():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"no {what} within {limit_s:g} s")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise Failed(f"no {what} within {limit_s:g} s") from None
            except OSError:
                data = b""
            for event in self.wire.receive(_now(), data):
                if isinstance(event, Text):
                    self.texts.append(event.data)
                elif isinstance(event, Opened):
                    self.opened = True
                elif isinstance(event, HttpResponse):
                    self.refused = event
                elif isinstance(event, Done):
                    self.done = event
            try:
                self._flush()
            except OSError:
                pass  # it is gone; the next read says so
            if not data and not met():
                raise Failed(f"the server closed the connection before {what}")

    def say(self, text: str) -> None:
        """Send a text message."""
        self.wire.send(text)
        self._flush()

    def begin(self, call_id: str = "") -> Media:
        """``connected`` and ``start``."""
        self.say(self.peer.connected())
        self.say(self.peer.start())
        return self

    def frame(self, payload: bytes, at_ms: int) -> None:
        """One frame of the caller."""
        self.say(self.peer.media(payload, at_ms))

    def heard(self) -> bytes:
        """All audio the server has sent."""
        played = [self.peer_audio(text) for text in self.texts]
        return b"".join(played)

    def peer_audio(self, text: str) -> bytes:
        """The audio of one message of the server's, if it has any."""
        event = self.peer.receive(text)
        return getattr(event, "payload", b"")

    def echo(self, payload: bytes, at_ms: int = 20) -> None:
        """Send a frame and wait for it to come back."""
        self.texts.clear()
        self.frame(payload, at_ms)
        self.until(lambda: payload in self.heard(), "echo of the frame")

    def hang_up(self) -> None:
        """``stop``, and the socket's close."""
        self.say(self.peer.stop())
        for letter in self.target.carrier.after_stop(self.target.public, self.call_id):
            self.target.post(letter)
        self.until(lambda: self.done is not None, "close after stop")
        self.sock.close()

    def close(self) -> None:
        """Let go, politely or not."""
        self.sock.close()


class Target:
    """Where the server is, and how to speak to it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        carrier: CarrierEnd | None = None,
        public: str = f"https://{PUBLIC_HOST}",
        api: CarrierApi | None = None,
        stop: Callable[[], None] | None = None,
        wait: Callable[[float], int] | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.carrier = carrier or TwilioEnd()
        self.public = public
        self.api = api
        self.stop = stop
        self.wait = wait

    def connect(self) -> socket.socket:
        """A TCP connection to it."""
        return socket.create_connection((self.host, self.port), PATIENCE_S)

    def http(
        self, method: str, path: str, headers: list[tuple[str, str]] | None = None, body: bytes = b""
    ) -> HttpResponse:
        """One request, one response."""
        with self.connect() as sock:
            client = HttpClient(_now(), host=f"{self.host}:{self.port}")
            client.request(_now(), method, path, headers or [], body)
            sock.sendall(client.data_to_send())
            while True:
                data = sock.recv(65536)
                for event in client.receive(_now(), data):
                    if isinstance(event, HttpResponse):
                        return event
                if not data:
                    raise Failed(f"{method} {path}: the server closed without an answer")

    def new_call_id(self) -> str:
        """A call id nobody has used."""
        return self.carrier.new_call_id()

    def post(self, letter: Letter) -> HttpResponse:
        """Deliver a webhook."""
        return self.http("POST", letter.path, letter.headers, letter.body)

    def offer(self, call_id: str) -> str:
        """Announce a call; the stream URL that the server gives for it."""
        answer = self.post(self.carrier.voice(self.public, call_id))
        if answer.status != 200:
            raise Failed(f"voice webhook: expected 200, got {answer.status}")
        if url := self.carrier.stream_url(answer.body, call_id, ()):
            return url
        if self.api is not None:
            url = self.api.wait_for(lambda orders: self.carrier.stream_url(b"", call_id, orders))
        if not url:
            raise Failed(f"the server named no media stream for the call; it answered {answer.body!r}")
        return url

    def call(self) -> Media:
        """A call, announced, connected and started."""
        call_id = self.new_call_id()
        media = Media(self, self.offer(call_id), call_id)
        if media.refused is not None:
            raise Failed(f"media socket: expected 101, got {media.refused.status}")
        return media.begin()
