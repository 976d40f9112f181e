"""The checks. Each takes a ``Target`` and raises ``Failed``; its docstring's first line is its title."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from urllib.parse import quote

from .target import Failed, Media, Target

__all__ = ["CHECKS", "STOPPING"]

FRAME = bytes(range(160))


def _expect(condition: object, text: str) -> None:
    if not condition:
        raise Failed(text)


def health(target: Target) -> None:
    """GET /health answers 200 with status ok."""
    answer = target.http("GET", "/health")
    _expect(answer.status == 200 and b'"ok"' in answer.body, f"got {answer.status} {answer.body!r}")


def unknown_path(target: Target) -> None:
    """An unknown path is 404, a wrong method 405 with Allow."""
    _expect(target.http("GET", "/nothing/here").status == 404, "expected 404")
    answer = target.http("GET", f"/webhooks/{target.carrier.name}/voice")
    _expect(answer.status == 405 and answer.header("allow") == "POST", f"got {answer.status}")


def forged_webhook(target: Target) -> None:
    """A webhook with a wrong or no signature is 403."""
    unsigned = target.carrier.voice(target.public, target.new_call_id(), sign=False)
    _expect(target.post(unsigned).status == 403, "unsigned: expected 403")
    stranger = target.carrier.stranger().voice(target.public, target.new_call_id())
    _expect(target.post(stranger).status == 403, "wrong key: expected 403")


def malformed_call_id(target: Target) -> None:
    """A malformed call id is 400 even when signed."""
    answer = target.post(target.carrier.voice(target.public, "../../x\n y"))
    _expect(answer.status == 400, f"expected 400, got {answer.status}")


def callbacks_answer(target: Target) -> None:
    """Reports about a call that the server does not know are taken, and answered as the carrier expects."""
    for letter in target.carrier.reports(target.public, target.new_call_id()):
        status = target.post(letter).status
        _expect(status == target.carrier.thanks, f"{letter.what}: expected {target.carrier.thanks}, got {status}")


def echo(target: Target) -> None:
    """A call is connected and its audio comes back."""
    media = target.call()
    for i in range(5):
        media.echo(bytes([i]) + FRAME[1:], 20 * (i + 1))
    media.hang_up()


def bad_ticket(target: Target) -> None:
    """A media socket without a good ticket is 403."""
    call_id = target.new_call_id()
    url = target.offer(call_id)
    forged = url[:-4] + ("AAAA" if not url.endswith("AAAA") else "BBBB")
    other = url.replace(quote(call_id, safe=""), quote(target.new_call_id(), safe=""))
    for candidate in (forged, url.rsplit("/", 1)[0], other):
        media = Media(target, candidate, call_id)
        status = media.refused.status if media.refused else 101
        media.close()
        _expect(status == 403, f"expected 403, got {status}")


def ticket_twice(target: Target) -> None:
    """A ticket admits one socket only."""
    call_id = target.new_call_id()
    url = target.offer(call_id)
    first = Media(target, url, call_id).begin()
    second = Media(target, url, call_id)
    status = second.refused.status if second.refused else 101
    second.close()
    first.echo(FRAME)
    first.hang_up()
    _expect(status == 403, f"expected 403, got {status}")


def false_proof(target: Target) -> None:
    """A wrong signature or token on the upgrade is 403 even with a good ticket."""
    call_id = target.new_call_id()
    media = Media(target, target.offer(call_id), call_id, proof=target.carrier.false_proof())
    status = media.refused.status if media.refused else 101
    media.close()
    _expect(status == 403, f"expected 403, got {status}")


def eleventh_socket(target: Target) -> None:
    """The 11th media socket of one address is 429 with Retry-After; a place freed can be used."""
    calls = [target.call() for _ in range(10)]
    try:
        call_id = target.new_call_id()
        url = target.offer(call_id)
        media = Media(target, url, call_id)
        refused = media.refused
        media.close()
        _expect(refused is not None and refused.status == 429, f"expected 429, got {refused and refused.status}")
        _expect(refused is not None and refused.header("retry-after"), "expected Retry-After")
        calls.pop().hang_up()
        again = Media(target, url, call_id)
        _expect(again.refused is None, "a freed place was not given to the next")
        again.begin().echo(FRAME)
        calls.append(again)
    finally:
        for call in calls:
            call.hang_up()


def malformed_frames(target: Target) -> None:
    """Malformed messages are skipped: the call goes on."""
    media = target.call()
    media.echo(FRAME)
    for text in (
        "{",
        "[]",
        "[" * 2000,
        '{"event":"media"}',
        '{"event":"media","media":null}',
        '{"event":"media","streamSid":"MZ0","stream_id":"0","media":{"payload":"!"}}',
        '{"event":"later"}',
        '{"event":"start","streamSid":"MZ0","start":{"streamSid":"MZ0","callSid":"CA0"}}',
    ):
        media.say(text)
    media.wire.send(b"\x00\x01")
    media.echo(FRAME[::-1], 40)
    media.hang_up()


def malformed_flood(target: Target) -> None:
    """A flood of malformed messages closes that socket with 1008, and no other."""
    other = target.call()
    media = target.call()
    for _ in range(100):
        media.say("{")
    media.until(lambda: media.done is not None, "close of the flooding socket")
    code = media.done.code if media.done else 0
    media.close()
    other.echo(FRAME)
    other.hang_up()
    _expect(code == 1008, f"expected 1008, got {code}")


def garbage(target: Target) -> None:
    """Garbage on the port gets a 400 or a close; the server goes on."""
    for data in (b"\x16\x03\x01\x02\x00", b"\x00" * 64, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"):
        with target.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(10)
            try:
                while sock.recv(4096):
                    pass
            except OSError:
                pass
    health(target)


def resets(target: Target) -> None:
    """Six hundred connections reset at once do no harm."""
    linger = struct.pack("ii", 1, 0)
    for _ in range(600):
        sock = target.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.close()
    health(target)


def big_message(target: Target) -> None:
    """A message beyond 1 MiB closes that socket with 1009."""
    media = target.call()
    media.wire.send("x" * ((1 << 20) + 1))
    try:
        media.sock.sendall(media.wire.data_to_send())
    except OSError:
        pass  # closed in the middle of it, as it should be
    media.until(lambda: media.done is not None, "close of the socket")
    code = media.done.code if media.done else 0
    media.close()
    _expect(code == 1009, f"expected 1009, got {code}")


def shutdown(target: Target) -> None:
    """On stop every call is hung up by REST, every socket closed with 1001, in bounded time; it exits 0."""
    if target.stop is None or target.wait is None or target.api is None:
        raise Failed("the target cannot be stopped from here")
    calls = [target.call() for _ in range(3)]
    for call in calls:
        call.echo(FRAME)
    target.api.requests.clear()
    began = time.monotonic()
    target.stop()
    for call in calls:
        call.until(lambda call=call: call.done is not None, "close of the media socket", 8)  # type: ignore[misc]
    closes = [(call.done.code, call.done.reason) for call in calls if call.done]
    code = target.wait(15)
    took = time.monotonic() - began
    for call in calls:
        call.close()
    _expect(closes == [(1001, "Server shutting down")] * 3, f"expected 1001 three times, got {closes}")
    hung_up = {target.carrier.hung_up(order) for order in target.api.requests}
    missing = [call.call_id for call in calls if call.call_id not in hung_up]
    _expect(not missing, f"calls not hung up by REST: {missing}")
    scheme = target.carrier.scheme
    _expect(all(order.authorization.startswith(scheme) for order in target.api.requests), "REST without credentials")
    _expect(code == 0, f"expected exit code 0, got {code}")
    _expect(took < 15, f"took {took:.1f} s")


CHECKS: list[Callable[[Target], None]] = [
    health,
    unknown_path,
    forged_webhook,
    malformed_call_id,
    callbacks_answer,
    echo,
    bad_ticket,
    ticket_twice,
    false_proof,
    eleventh_socket,
    malformed_frames,
    malformed_flood,
    garbage,
    resets,
    big_message,
]
STOPPING: list[Callable[[Target], None]] = [shutdown]
