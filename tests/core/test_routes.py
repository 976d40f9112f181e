"""Paths, methods and the bounds of a request, as whoever calls the server meets them."""

from __future__ import annotations

import json

import pytest

from patter_core.contract import Abort, StopRequested
from patter_core.events import CarrierReported, Refused
from patter_core.routes import Target, find_route, split_stream_path
from patter_core.settings import ServerSettings
from patter_core.wire.limits import Limits

from .world import CARRIER, World, server_config, sid

PAIRS = [("CallSid", sid(1)), ("AccountSid", "AC" + "0" * 31 + "1"), ("From", "+15550100001"), ("To", "+15550001234")]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/health", Target.HEALTH),
        ("/ready", Target.READY),
        ("/webhooks/twilio/voice", Target.WEBHOOK),
        ("/ws/stream/CA1/t", Target.STREAM),
        ("/", Target.NOTHING),
        ("/health/", Target.NOTHING),
        ("/HEALTH", Target.NOTHING),
        ("//health", Target.NOTHING),
        ("/%68ealth", Target.NOTHING),
        ("/webhooks/twilio", Target.NOTHING),
        ("/webhooks/twilio/voice/", Target.NOTHING),
        ("/webhooks/twilio/voice/x", Target.NOTHING),
        ("/docs", Target.NOTHING),
        ("/openapi.json", Target.NOTHING),
    ],
)
def test_matching_is_exact(path: str, target: Target) -> None:
    assert find_route(path, "").target is target


def test_a_prefix_is_stripped_by_the_proxy_or_not() -> None:
    assert find_route("/voice/health", "/voice").target is Target.HEALTH
    assert find_route("/health", "/voice").target is Target.HEALTH
    assert find_route("/voicex/health", "/voice").target is Target.NOTHING
    assert find_route("/voice", "/voice").target is Target.NOTHING
    assert split_stream_path("/voice/ws/stream/CA1/t", "/voice") == ("CA1", "t")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/ws/stream/CA1/t", ("CA1", "t")),
        ("/ws/stream/CA1", ("CA1", "")),
        ("/ws/stream/CA1/", ("CA1", "")),
        ("/ws/stream/v3%3Aab%2Fc/t", ("v3:ab/c", "t")),
        ("/ws/stream/", None),
        ("/ws/stream//t", None),
        ("/ws/stream/CA1/t/x", None),
    ],
)
def test_the_stream_path(path: str, found: tuple[str, str] | None) -> None:
    assert split_stream_path(path, "") == found


def test_health_and_ready() -> None:
    world = World()
    health = world.get("/health")
    assert (health.status, json.loads(health.body)) == (200, {"status": "ok", "mode": "local"})
    assert health.header("content-type") == "application/json"
    ready = world.get("/ready")
    assert (ready.status, json.loads(ready.body)) == (200, {"status": "ready"})
    head = world.get("/health", "HEAD")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(health.body)))


def test_nothing_else_is_there() -> None:
    world = World()
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/dashboard", "/webhooks/telnyx/voice", "/webhooks/twilio/x"):
        answer = world.get(path)
        assert (answer.status, json.loads(answer.body)) == (404, {"error": "not_found"}), path


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/ready", "GET, HEAD"),
        ("GET", "/webhooks/twilio/voice", "POST"),
        ("PUT", "/webhooks/twilio/status", "POST"),
    ],
)
def test_wrong_methods(method: str, path: str, allow: str) -> None:
    answer = World().get(path, method)
    assert (answer.status, answer.header("allow")) == (405, allow)


def test_a_stream_without_upgrade() -> None:
    answer = World().get("/ws/stream/CA1/t")
    assert (answer.status, answer.header("upgrade")) == (426, "websocket")


def test_keep_alive_and_pipelining() -> None:
    world = World()
    line = world.line()
    line.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET /nope HTTP/1.1\r\nHost: a\r\n\r\n")
    world.run(0.1)
    assert line.received.count(b"HTTP/1.1 200") == 3
    assert line.received.count(b"HTTP/1.1 404") == 1
    assert not line.ended
    line.close()
    world.run(1)
    world.assert_empty()


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * Limits().header_bytes, 431, "headers_too_large"),
        (
            b"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
            % (Limits().body_bytes + 1),
            413,
            "body_too_large",
        ),
    ],
)
def test_what_cannot_be_read_is_answered_and_told_once(raw: bytes, status: int, code: str) -> None:
    world = World()
    for _ in range(3):
        line = world.line()
        line.send(raw)
        world.run(0.1)
        assert line.received.startswith(b"HTTP/1.1 %d " % status)
        assert line.ended
    assert [(event.status, event.code, event.peer) for event in world.told(Refused)] == [(status, code, CARRIER)]
    world.run(60)
    world.assert_empty()


def test_a_body_at_the_limit_is_read() -> None:
    world = World()
    line = world.line()
    size = Limits().body_bytes
    answer = line.ask("POST", "/nothing/here", [("Content-Type", "text/plain")], b"x" * size)
    assert answer.status == 404


def test_a_webhook_at_its_own_limit_is_judged_and_beyond_it_refused() -> None:
    world = World()
    line = world.line()
    size = ServerSettings().webhook_bytes
    for length, status in ((size, 403), (size + 1, 413), (size, 403)):
        answer = line.ask("POST", "/webhooks/twilio/voice", [("Content-Type", "text/plain")], b"x" * length)
        assert answer.status == status  # 403: read, and not signed


def test_slow_heads_and_bodies_time_out() -> None:
    world = World()
    head, body, silent = world.line(), world.line(), world.line()
    head.send(b"GET /health HTTP/1.1\r\nHo")
    body.send(b"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    world.run(9.9)
    assert not head.received
    world.run(0.2)
    assert head.received.startswith(b"HTTP/1.1 408 ")
    assert silent.closed
    assert not silent.received
    world.run(20)
    assert body.received.startswith(b"HTTP/1.1 408 ")
    world.run(10)
    world.assert_empty()


def test_an_idle_keep_alive_connection_is_closed_in_time() -> None:
    world = World()
    line = world.line()
    line.ask("GET", "/health")
    world.run(74.9)
    assert not line.closed
    world.run(0.2)
    assert line.closed
    world.assert_empty()


def test_a_closing_peer_that_reads_nothing_is_dropped() -> None:
    world = World()
    line = world.line()
    conn = next(iter(world.board._conns))
    line.stall(world.server, conn)
    line.send(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    world.run(29.9)
    assert not world.orders(Abort)
    world.run(0.2)
    assert world.orders(Abort) == [Abort(conn)]
    world.run(1)
    world.assert_empty()


@pytest.mark.parametrize("kind", ["status", "recording", "amd", "stream"])
def test_reports_are_answered_204_and_told_typed(kind: str) -> None:
    world = World()
    extra = {
        "status": [("CallStatus", "ringing")],
        "recording": [
            ("RecordingSid", "RE" + "1" * 32),
            ("RecordingStatus", "completed"),
            ("RecordingUrl", "https://api.twilio.com/recording"),
        ],
        "amd": [("AnsweredBy", "human")],
        "stream": [("StreamSid", "MZ" + "1" * 32), ("StreamEvent", "stream-started")],
    }
    answer = world.post(f"/webhooks/twilio/{kind}", PAIRS + extra[kind])
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("content-length") is None
    told = world.told(CarrierReported)
    assert [event.call_id for event in told] == [sid(1)]
    assert not world.told(Refused)


@pytest.mark.parametrize("kind", ["voice", "status", "recording", "amd", "stream"])
@pytest.mark.parametrize("bad", ["notasid", '../../x?a="b&<', "CA" + "g" * 32, "CA" + "1" * 31, ""])
def test_a_malformed_call_sid_is_400(kind: str, bad: str) -> None:
    world = World()
    answer = world.post(f"/webhooks/twilio/{kind}", [("CallSid", bad), *PAIRS[1:]])
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "bad_call_sid"})
    assert not world.told(CarrierReported)
    assert world.board.calls == 0


def test_unsigned_and_forged_webhooks_do_nothing() -> None:
    for token in (None, "wrong"):
        world = World()
        for kind in ("voice", "status"):
            answer = world.post(f"/webhooks/twilio/{kind}", [*PAIRS, ("CallStatus", "completed")], token=token)
            assert (answer.status, json.loads(answer.body)) == (403, {"error": "invalid_signature"})
        assert not world.told(CarrierReported)
        assert world.board.calls == 0
        assert [event.code for event in world.told(Refused)] == ["bad_signature"]


def test_the_query_is_signed() -> None:
    world = World()
    good = world.post("/webhooks/twilio/status", [*PAIRS, ("CallStatus", "ringing")], query="?leg=2&x=%20")
    assert good.status == 204


def test_without_keys_503() -> None:
    world = World(server_config(keys=()))
    answer = world.voice(sid(1))
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "signature_required"})
    assert world.board.calls == 0


def test_require_signature_false_takes_anything_and_says_so() -> None:
    world = World(server_config(keys=(), require_signature=False))
    assert world.voice(sid(1), token=None).status == 200
    assert world.board.calls == 1


def test_a_prefix_is_part_of_signatures_and_stream_urls() -> None:
    world = World(server_config(url="https://agent.example.com/voice"))
    line = world.open(sid(1))
    assert world.board.media_sockets == 1
    world.frame(line, 1)
    world.run(0.5)
    assert line.texts


def test_ready_says_no_on_the_way_down() -> None:
    world = World(rest=False)  # the hang-up is being retried
    world.open(sid(1))
    line = world.line()
    assert line.ask("GET", "/ready").status == 200
    world.server.feed(StopRequested())
    world.run(0)
    assert world.board.phase.value != "serving"
    answer = line.ask("GET", "/ready")
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "draining"})
