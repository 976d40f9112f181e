"""``run_call`` on each loop: whatever the framework around it does, the call ends once and properly."""

from __future__ import annotations

import importlib
import json

import pytest

from patter_core import ConfigError, Echo, EndReason
from patter_core.carriers.twilio.stream_peer import TwilioStreamPeer
from patter_core.events import CallEnded, CallStarted

SID = "CA" + "0" * 32
FRAME = bytes(range(160))


class Socket:
    """A framework's WebSocket: messages wait in a list; ``receive`` waits for more."""

    def __init__(self, loop, texts) -> None:
        self.native = importlib.import_module(loop.__name__.removeprefix("patter_"))
        self.texts = list(texts)
        self.sent: list[str] = []
        self.more = self.native.Event()
        self.heard = self.native.Event()

    async def receive(self):
        while not self.texts:
            self.more = self.native.Event()
            await self.more.wait()
        item = self.texts.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    async def send(self, text: str) -> None:
        self.sent.append(text)
        self.heard.set()

    def put(self, item) -> None:
        self.texts.append(item)
        self.more.set()


def opening(frames: int = 1) -> tuple[TwilioStreamPeer, list[str]]:
    peer = TwilioStreamPeer("MZ" + "0" * 32, SID, "AC" + "0" * 32)
    texts = [peer.connected(), peer.start()]
    texts += [peer.media(FRAME, 20 * (i + 1)) for i in range(frames)]
    return peer, texts


def run(line, socket, scenario=None, plan_options=None, **options):
    """Run a call; the events it told and what it returned."""
    events, ends, result = [], [], []
    plan = line.phone.plan(
        line.phone.agent(engine=Echo()),
        SID,
        on_call_end=lambda call: ends.append(call["reason"]),
        **(plan_options or {}),
    )

    async def call() -> None:
        result.append(await line.loop.run_call(plan, socket.receive, socket.send, on_event=events.append, **options))

    async def other() -> None:
        if scenario is not None:
            await scenario()

    async def close_unused() -> None:
        line.server_socket.close()
        line.rest_socket.close()

    line.loop.run(lambda: line.loop.together(call, other, close_unused))
    return events, ends, result


def test_an_echo_and_a_stop(line):
    line = line()
    peer, texts = opening()
    socket = Socket(line.loop, texts)

    async def scenario():
        await socket.heard.wait()
        socket.put(peer.stop())

    _, ends, result = run(line, socket, scenario)
    assert result == [EndReason.CALLER_HUNG_UP]
    assert ends == ["caller_hung_up"]
    assert json.loads(socket.sent[0])["event"] == "media"


@pytest.mark.parametrize("last", [None, RuntimeError("disconnected"), {"type": "websocket.receive"}])
def test_a_socket_that_ends_in_any_way_ends_the_call(line, last):
    line = line()
    _, texts = opening()
    socket = Socket(line.loop, texts)

    async def scenario():
        await socket.heard.wait()
        socket.put(last)

    events, ends, result = run(line, socket, scenario)
    assert ends == ["stream_lost"]
    assert result == [EndReason.STREAM_LOST]
    assert len([e for e in events if isinstance(e, CallEnded)]) == 1


def test_a_cancellation_inside_the_framework_is_an_end_too(line):
    """asyncio's; trio has no cancellation that is nobody's."""
    line = line()
    _, texts = opening()
    socket = Socket(line.loop, texts)
    if line.loop.__name__ != "patter_asyncio":
        line.server_socket.close()
        line.rest_socket.close()
        pytest.skip("trio has no cancellation that is nobody's")

    async def scenario():
        await socket.heard.wait()
        socket.put(socket.native.CancelledError())

    _, ends, _ = run(line, socket, scenario)
    assert ends == ["stream_lost"]


def test_cancelled_from_outside_it_ends_the_call_once_and_soon(line, tmp_path):
    line = line()
    _, texts = opening()
    socket = Socket(line.loop, texts)
    events, ends = [], []
    plan = line.phone.plan(
        line.phone.agent(engine=Echo()),
        SID,
        on_call_end=lambda call: ends.append(call["reason"]),
        trace=str(tmp_path),
    )
    native = socket.native

    async def main() -> None:
        line.server_socket.close()
        line.rest_socket.close()
        if native.__name__ == "asyncio":
            task = native.ensure_future(line.loop.run_call(plan, socket.receive, socket.send, on_event=events.append))
            await socket.heard.wait()
            task.cancel()
            with pytest.raises(native.CancelledError):
                await task
        else:
            async with native.open_nursery() as nursery:

                async def call() -> None:
                    await line.loop.run_call(plan, socket.receive, socket.send, on_event=events.append)

                nursery.start_soon(call)
                await socket.heard.wait()
                nursery.cancel_scope.cancel()

    line.loop.run(main)
    assert ends == ["cancelled"]
    assert [type(e) for e in events if isinstance(e, CallStarted | CallEnded)] == [CallStarted, CallEnded]
    assert (tmp_path / f"{SID}.jsonl").exists()


def test_hangup_from_on_message_reaches_the_call(line):
    line = line()
    peer, texts = opening(0)
    socket = Socket(line.loop, texts)
    ends = []

    def on_message(message, call):
        call.hangup()
        return ""

    from patter_core.audio.tones import tone

    loud = tone(300, 600, 8000)
    from patter_core.audio.g711 import ulaw_encode

    speech = ulaw_encode(loud) + b"\xff" * 160 * 50
    for i in range(0, len(speech), 160):
        socket.texts.append(peer.media(speech[i : i + 160], i // 8))
    agent = line.phone.agent(stt=lambda pcm, rate: "bye", tts=lambda text: b"\0\0" * 160)
    plan = line.phone.plan(agent, SID, on_message=on_message, on_call_end=lambda call: ends.append(call["reason"]))

    async def main() -> None:
        line.server_socket.close()
        line.rest_socket.close()
        await line.loop.run_call(plan, socket.receive, socket.send)

    line.loop.run(main)
    assert ends == ["agent_hung_up"]


def test_unknown_options_are_named(line):
    line = line()
    line.server_socket.close()
    line.rest_socket.close()
    with pytest.raises(ConfigError, match="on_mesage"):
        line.phone.plan(line.phone.agent(engine=Echo()), SID, on_mesage=print)
