"""Server stories against ``patter_core``: ``run(case)`` says what is wrong, or None.

A story is what clients do to a server at virtual times, and what they and the carrier's REST API see of it. Nothing
passes but time and bytes, so any server that can be put on a clock of ours can be told the same stories; one with a
clock of its own can be told those whose times are small, with some patience around ``at_ms``.

A step does one thing on one named connection (``on``; opened, as ``peer``, when its name first appears), lets what
follows at that very millisecond happen, and compares. ``{name}`` in a path is what an earlier step bound.
"""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from patter_core.carriers.form import encode_form
from patter_core.carriers.twilio import signature
from patter_core.config import AgentSpec, CarrierSpec, EchoSpec, PublicUrl, ServerConfig
from patter_core.contract import Fact, Order, Request, StopRequested
from patter_core.events import ShutdownStep
from patter_core.settings import CallSettings, ServerSettings
from patter_core.simulator.carrier import SimulatedCarrier, SimulatorConfig
from patter_core.simulator.checker import ContractChecker
from patter_core.simulator.network import VirtualNetwork
from patter_core.simulator.puppet import Line, Puppet
from patter_core.switchboard import Switchboard
from patter_core.wire.events import HttpResponse

__all__ = ["run"]

_REST = "rest.example"
_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_SETTINGS = {"max_streams_per_ip": 10, "max_calls": None, "finish_calls_s": 0}
_ECHO = {"": AgentSpec(engine=EchoSpec())}


class _Wrong(Exception):
    """The story went differently."""


class _Deaf:
    """A REST API that accepts connections and never says a word."""

    deadline = None

    def __init__(self) -> None:
        self._names = 0

    def reserve(self) -> Any:
        self._names += 1
        return self._names

    def handle(self, now: int, fact: Fact) -> list[Order]:
        return []


def run(case: dict[str, Any]) -> str | None:
    """A description of the first thing that went differently, or None."""
    story = _Story(case["config"])
    for number, step in enumerate(case["steps"]):
        try:
            story.step(step)
        except _Wrong as wrong:
            return f"{case['id']}: step {number} at {step['at_ms']} ms: {wrong}"
        except AssertionError as broken:
            return f"{case['id']}: step {number} at {step['at_ms']} ms: {type(broken).__name__}: {broken}"
    return None


class _Story:
    def __init__(self, config: dict[str, Any]) -> None:
        self._public = PublicUrl.parse(config["public_url"])
        self._net = VirtualNetwork()
        account, keys = config["account"], tuple(config["keys"])
        settings = {key: value for key, value in config.items() if key in _SETTINGS}
        options = {
            key: config[key]
            for key in ("require_signature", "require_upgrade_signature", "authenticate_streams", "ticket_secret")
            if key in config
        }
        server = ServerConfig(
            public_url=self._public,
            carriers=(CarrierSpec(name="twilio", account=account, keys=keys, base_url=f"http://{_REST}", api_key="t"),),
            agents=_ECHO,
            settings=ServerSettings(**settings),
            call=CallSettings(),
            trusted_proxies=tuple(config.get("trusted_proxies", ())),
            **options,
        )
        board = Switchboard(server, epoch=config["epoch_s"] * 1_000_000, seed=b"conformance" * 3, bulkhead=False)
        self._server = self._net.add("server", ContractChecker(board))
        self._server.orders = []
        rest = config.get("rest", "confirms")
        if rest == "confirms":
            carrier = SimulatedCarrier(
                SimulatorConfig(webhook_url=self._public.origin, account_sid=account, leave_when_done=False), []
            )
            self._net.place(_REST, 80, self._net.add("rest", carrier))
        elif rest == "silent":
            self._net.place(_REST, 80, self._net.add("rest", _Deaf()))
        self._puppet = Puppet(self._net, self._server, host=self._public.host)
        self._lines: dict[str, Line] = {}
        self._bound: dict[str, str] = {}

    def step(self, step: dict[str, Any]) -> None:
        """Wait for the step's time, do it, and compare."""
        self._net.run(until_us=step["at_ms"] * 1000)
        line = None
        if "on" in step:
            name = step["on"]
            if name not in self._lines:
                self._lines[name] = self._puppet.dial(step.get("peer", "203.0.113.7"))
                self._lines[name].polite = step.get("polite", True)
            line = self._lines[name]
        before = 0 if line is None else len(line.responses)
        self._do(line, step["in"])
        self._net.run(until_us=step["at_ms"] * 1000)
        answer = None if line is None or len(line.responses) == before else line.responses[-1]
        self._compare(line, answer, step.get("expect", {}))

    # --- doing -------------------------------------------------------------------------------------------------------

    def _fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self._bound[found[1]], text)

    def _do(self, line: Line | None, act: dict[str, Any]) -> None:
        kind = act["kind"]
        if kind == "tick":
            return
        if kind == "stop":
            self._server.feed(StopRequested())
            return
        assert line is not None
        if kind == "request":
            self._request(line, act)
        elif kind == "upgrade":
            path = self._fill(act["path"])
            headers = [tuple(pair) for pair in act.get("headers", ())]
            if "sign_with" in act:
                headers.append(
                    ("X-Twilio-Signature", signature.sign(act["sign_with"], self._public.stream_origin + path))
                )
            line.begin_upgrade(self._public.prefix + path, headers)
        elif kind == "bytes":
            line.send(act["latin1"].encode("latin-1"))
        elif kind == "message":
            line.say(json.dumps(act["json"]) if "json" in act else act["text"])
        elif kind == "close_socket":
            line.hang_up()
        elif kind == "close":
            line.close()
        else:
            raise _Wrong(f"no act {kind!r}")

    def _request(self, line: Line, act: dict[str, Any]) -> None:
        path = self._fill(act["path"])
        headers = [tuple(pair) for pair in act.get("headers", ())]
        body = act.get("body", "").encode()
        pairs: list[tuple[str, str]] = [(name, value) for name, value in act.get("form", ())]
        if "form" in act:
            headers.append(_FORM)
            body = encode_form(pairs)
        if "sign_with" in act:
            headers.append(("X-Twilio-Signature", signature.sign(act["sign_with"], self._public.origin + path, pairs)))
        line.begin(act["method"], self._public.prefix + path, headers, body)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def _compare(self, line: Line | None, answer: HttpResponse | None, expect: dict[str, Any]) -> None:
        for key, wanted in expect.items():
            check = getattr(self, f"_check_{key}", None)
            if check is None:
                raise _Wrong(f"no expectation {key!r}")
            check(line, answer, wanted)

    @staticmethod
    def _equal(what: str, found: object, wanted: object) -> None:
        if wanted == {"$any": "string"} and isinstance(found, str):
            return
        if found != wanted:
            raise _Wrong(f"{what} is {found!r}, expected {wanted!r}")

    def _check_status(self, line: Line, answer: HttpResponse | None, wanted: int) -> None:
        if wanted == 101:
            self._equal("the socket open", line.opened, True)
        elif answer is None:
            raise _Wrong(f"no answer, expected {wanted}")
        else:
            self._equal("status", answer.status, wanted)

    def _check_headers(self, line: Line, answer: HttpResponse, wanted: dict[str, Any]) -> None:
        for name, value in wanted.items():
            self._equal(f"header {name}", answer.header(name), value)

    def _check_json(self, line: Line, answer: HttpResponse, wanted: Any) -> None:
        self._equal("body", json.loads(answer.body), wanted)

    def _check_body(self, line: Line, answer: HttpResponse, wanted: str) -> None:
        self._equal("body", answer.body.decode(), wanted)

    def _check_matches(self, line: Line, answer: HttpResponse, wanted: list[str]) -> None:
        for pattern in wanted:
            if not re.search(pattern, answer.body.decode()):
                raise _Wrong(f"body {answer.body!r} does not match {pattern!r}")

    def _check_bind_stream(self, line: Line, answer: HttpResponse, wanted: str) -> None:
        """The path of the media stream in the answer gets this name."""
        found = re.search(r"<Stream\s[^>]*url=\"([^\"]+)\"", answer.body.decode())
        if found is None:
            raise _Wrong(f"no stream in {answer.body!r}")
        url = unescape(found[1])
        origin = self._public.stream_origin
        if not url.startswith(origin):
            raise _Wrong(f"the stream is at {url}, not below {origin}")
        self._bound[wanted] = urlsplit(url).path.removeprefix(self._public.prefix)

    def _check_bind_body(self, line: Line, answer: HttpResponse, wanted: str) -> None:
        """The body gets this name; a later step with the same name expects the same body."""
        text = answer.body.decode()
        if self._bound.setdefault(wanted, text) != text:
            raise _Wrong(f"the body is {text!r}, and was {self._bound[wanted]!r}")

    def _check_close(self, line: Line, answer: HttpResponse | None, wanted: list[Any]) -> None:
        self._equal("the close frame", [line.close_code, line.close_reason], wanted)

    def _check_closed(self, line: Line, answer: HttpResponse | None, wanted: bool) -> None:
        self._equal("the connection over", line.closed, wanted)

    def _check_raw_status(self, line: Line, answer: HttpResponse | None, wanted: int) -> None:
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", bytes(line.received))
        self._equal("status line", None if found is None else int(found[1]), wanted)

    def _check_heard(self, line: Line, answer: HttpResponse | None, wanted: dict[str, int]) -> None:
        """At least so many messages of each event came on this socket."""
        events = [json.loads(text)["event"] for text in line.texts]
        for event, least in wanted.items():
            if events.count(event) < least:
                raise _Wrong(f"{events.count(event)} {event} messages, expected at least {least}")

    def _check_shutdown(self, line: Line | None, answer: HttpResponse | None, wanted: list[int]) -> None:
        """The steps of the way down so far."""
        self._equal("shutdown", [event.step for event in self._server.told(ShutdownStep)], wanted)

    def _check_hang_ups(self, line: Line | None, answer: HttpResponse | None, wanted: list[str]) -> None:
        """The calls whose end was asked of the carrier so far, each once or more, in no order."""
        assert self._server.orders is not None
        urls = [order.url for _, order in self._server.orders if isinstance(order, Request)]
        self._equal("hang-ups", sorted({url.rpartition("/")[2].removesuffix(".json") for url in urls}), sorted(wanted))

    def _check_exit(self, line: Line | None, answer: HttpResponse | None, wanted: int | None) -> None:
        self._equal("exit", self._server.exit_code, wanted)
