"""One call inside a bare trio server: sockets are trio's, HTTP and WebSocket are ``patter_core.wire``, the call is
``run_call``'s. Nothing else.

Needs TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_HOST in the environment; ``python examples/trio_server.py``.
"""

import math
import os
import time

import trio

from patter_core.admission import Tickets, TicketVerdict
from patter_core.carriers.carrier import CallOffered, Verdict
from patter_core.carriers.form import parse_form
from patter_core.carriers.twilio import signature, twiml, webhook
from patter_core.wire import Done, HttpRequest, Phase, ServerConnection, Text, Transport, UpgradeRequest, WireEvent
from patter_trio import Echo, Patter, Twilio, run_call

HOST = os.environ.get("PUBLIC_HOST", "app.example.com")
phone = Patter(carrier=Twilio(), webhook_url=HOST)
TOKENS = phone.carriers[0].keys
agent = phone.agent(engine=Echo())
tickets = Tickets(os.urandom(32), lifetime_s=60)


def now_us() -> int:
    return int(trio.current_time() * 1_000_000)


class Visitor:
    """One TCP connection."""

    def __init__(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        self.stream = stream
        self.nursery = nursery
        self.wire = ServerConnection(now_us())
        self.lock = trio.Lock()
        self.inbox: trio.MemorySendChannel[str] | None = None

    async def flush(self) -> None:
        async with self.lock:
            if data := self.wire.data_to_send():
                await self.stream.send_all(data)

    async def serve(self) -> None:
        """Read, let the machine decide, write; until it says the connection is over."""
        while self.wire.transport is Transport.OPEN:
            due = self.wire.deadline
            data: bytes | None = None
            with trio.CancelScope(deadline=math.inf if due is None else due / 1_000_000):
                data = await self.stream.receive_some(65536)
            events = self.wire.tick(now_us()) if data is None else self.wire.receive(now_us(), bytes(data))
            while events:
                event = events.pop(0)
                events += self.handle(event)
            await self.flush()
        if self.inbox is not None:
            self.inbox.close()

    def handle(self, event: WireEvent) -> list[WireEvent]:
        if isinstance(event, HttpRequest):
            return self.wire.respond(now_us(), *self.voice(event))
        if isinstance(event, UpgradeRequest):
            return self.media(event)
        if isinstance(event, Text) and self.inbox is not None:
            self.inbox.send_nowait(event.data)
        if isinstance(event, Done) and self.inbox is not None:
            self.inbox.close()
        return []

    def voice(self, request: HttpRequest) -> tuple[int, list[tuple[str, str]], bytes]:
        form = parse_form(request.body)
        given = request.header("x-twilio-signature")
        if signature.verify(TOKENS, f"https://{HOST}{request.target}", form, given) is not Verdict.VALID:
            return 403, [], b"invalid signature"
        call = webhook.parse_voice(form)
        if not isinstance(call, CallOffered):
            return 400, [], call.code.value.encode()
        ticket = tickets.mint(call.call_id, int(time.time()))
        answer = twiml.connect_stream(f"wss://{HOST}/media/{call.call_id}/{ticket}", {"caller": call.caller})
        return 200, [("Content-Type", "text/xml")], answer.encode()

    def media(self, request: UpgradeRequest) -> list[WireEvent]:
        parts = request.path.split("/")
        if len(parts) != 4 or tickets.check(parts[2], parts[3], int(time.time())) is not TicketVerdict.VALID:
            return self.wire.reject(now_us(), 403)
        tickets.use(parts[3], int(time.time()))
        self.inbox, outbox = trio.open_memory_channel[str](math.inf)
        self.nursery.start_soon(self.call, parts[2], outbox)
        return self.wire.accept(now_us())

    async def call(self, call_id: str, outbox: trio.MemoryReceiveChannel[str]) -> None:
        async def send(text: str) -> None:
            if self.wire.phase is Phase.WEBSOCKET:
                self.wire.send(text)
                await self.flush()

        await run_call(phone.plan(agent, call_id), outbox.receive, send)
        if self.wire.phase is Phase.WEBSOCKET:
            self.wire.close(now_us())
            await self.flush()


async def visit(stream: trio.SocketStream) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await Visitor(stream, nursery).serve()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer went away in the middle of a write
    finally:
        await trio.aclose_forcefully(stream)


async def main(port: int = 8000) -> None:
    await trio.serve_tcp(visit, port)


if __name__ == "__main__":
    trio.run(main)
