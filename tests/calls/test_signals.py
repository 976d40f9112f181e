"""A program of the README's kind, signalled and cancelled with a call up: the six steps happen all the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from conformance.live.target import ACCOUNT, PUBLIC_HOST, TOKEN, CarrierApi, Target

PROGRAM = """
import json, sys
from {loop} import Echo, Patter, Twilio, run
from patter_core.edge.sockets import listen

async def main():
    listener = listen("127.0.0.1", 0)
    phone = Patter(carrier=Twilio({account!r}, {token!r}, base_url={rest!r}), webhook_url={host!r})
    agent = phone.agent(engine=Echo())
    print(json.dumps({{"port": listener.getsockname()[1]}}), flush=True)
    await phone.serve(
        agent,
        listener=listener,
        on_call_end=lambda call: print(json.dumps({{"end": call["reason"]}}), flush=True),
        {options}
    )

run(main)
"""


@pytest.mark.parametrize("loop", ["patter_asyncio", "patter_trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_means_disconnect_where_it_was_asked_for(loop, number):
    api = CarrierApi()
    program = textwrap.dedent(PROGRAM).format(
        loop=loop, account=ACCOUNT, token=TOKEN, rest=api.url, host=PUBLIC_HOST, options="stop_on_signals=True,"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        target = Target("127.0.0.1", json.loads(process.stdout.readline())["port"])
        media = target.call()
        media.echo(bytes(range(160)))
        process.send_signal(number)
        media.until(lambda: media.done is not None, "close")
        assert process.wait(15) == 0
        assert media.done is not None
        assert (media.done.code, media.done.reason) == (1001, "Server shutting down")
        media.close()
        assert [fields["Status"] for _, fields, _ in api.requests] == ["completed"]
        assert json.loads(process.stdout.readline()) == {"end": "shutdown"}
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        api.close()


def test_a_cancelled_server_hangs_up_before_it_goes(line):
    """Cancelling ``serve`` from outside is a way to stop it too."""
    from patter_core import Echo
    from patter_core.events import CallStarted, ShutdownStep
    from patter_core.simulator.carrier import CallPlan, SimulatedCarrier
    from patter_core.simulator.script import Wait

    line = line()
    ends = []
    native = sys.modules[line.loop.__name__.removeprefix("patter_")]
    carrier = SimulatedCarrier(line.config(), [CallPlan(acts=(Wait(60_000),))])

    async def serve() -> None:
        await line.phone.serve(
            line.phone.agent(engine=Echo()),
            listener=line.server_socket,
            on_event=line.hear,
            on_call_end=lambda call: ends.append(call["reason"]),
        )

    async def call() -> None:
        await line.phone.ready
        await line.loop.carry(carrier, listener=line.rest_socket, on_event=line.carrier_events.append)

    async def main() -> None:
        if native.__name__ == "asyncio":
            serving = native.ensure_future(serve())
            calling = native.ensure_future(call())
            await line.until(CallStarted)
            serving.cancel()
            with pytest.raises(native.CancelledError):
                await serving
            await calling
        else:
            async with native.open_nursery() as nursery:
                scope = native.CancelScope()

                async def cancellable() -> None:
                    with scope:
                        await serve()

                nursery.start_soon(cancellable)
                nursery.start_soon(call)
                await line.until(CallStarted)
                scope.cancel()

    line.loop.run(main)
    assert ends == ["shutdown"]
    assert line.done[0].hung_up_by_rest
    assert [e.step for e in line.told(ShutdownStep)] == [1, 2, 3, 4, 5, 6]


DEAF = """
import json
import {native}
from {loop} import Echo, Patter, Twilio, run
from patter_core.edge.demo import _leave_now
from patter_core.edge.sockets import listen

async def deaf(call):
    while True:
        try:
            await {forever}
        except BaseException:
            pass

async def main():
    listener = listen("127.0.0.1", 0)
    phone = Patter(carrier=Twilio({account!r}, {token!r}, base_url={rest!r}), webhook_url={host!r})
    print(json.dumps({{"port": listener.getsockname()[1]}}), flush=True)
    await phone.serve(
        phone.agent(engine=Echo()),
        listener=listener,
        on_call_end=deaf,
        on_event=lambda event: print(json.dumps({{"event": type(event).__name__}}), flush=True),
        stop_on_signals=True,
        on_stuck=_leave_now,
        leave_s=0.2,
    )

run(main)
"""


@pytest.mark.parametrize(
    ("loop", "native", "forever"),
    [("patter_asyncio", "asyncio", "asyncio.Event().wait()"), ("patter_trio", "trio", "trio.sleep_forever()")],
)
def test_the_command_line_ends_a_process_that_user_code_holds(loop, native, forever):
    """The callback swallows its cancellation: the process ends all the same, with code 70, and names it."""
    api = CarrierApi()
    program = DEAF.format(
        loop=loop, native=native, forever=forever, account=ACCOUNT, token=TOKEN, rest=api.url, host=PUBLIC_HOST
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], text=True, **pipes)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        target = Target("127.0.0.1", json.loads(process.stdout.readline())["port"])
        media = target.call()
        media.echo(bytes(range(160)))
        process.send_signal(signal.SIGTERM)
        media.until(lambda: media.done is not None, "close")
        media.close()
        process.send_signal(signal.SIGTERM)  # no need to wait the whole drain for a callback that never ends
        assert process.wait(30) == 70
        assert "on_call_end" in process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
        api.close()
