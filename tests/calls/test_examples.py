"""The examples, run against the simulated carrier: one call inside somebody else's server, on each loop."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import threading
import time
from pathlib import Path

import pytest

from patter_core import Echo, Telnyx, Twilio
from patter_core.edge.sockets import listen
from patter_core.simulator.callee import Callee
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone, SimHook, SimJoined
from patter_core.simulator.script import HangUp, ListenUntilQuiet, Press, Speak, Wait

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEECH = bytes(range(1, 161)) * 8
PLAN = CallPlan(acts=(Speak(SPEECH), Wait(300), HangUp()))


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 31 + "1")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "secret")
    monkeypatch.setenv("PUBLIC_HOST", "app.example.com")


def carrier(port: int, path: str) -> SimulatedCarrier:
    config = SimulatorConfig(
        webhook_url=f"https://app.example.com{path}", connect_to=("127.0.0.1", port), auth_token="secret"
    )
    return SimulatedCarrier(config, [PLAN, PLAN], seed=os.urandom(8))


def finished(events) -> list[SimCallDone]:
    return [event for event in events if isinstance(event, SimCallDone)]


def check(events) -> None:
    done = finished(events)
    assert [call.outcome for call in done] == ["completed", "completed"], done
    for call in done:
        assert SPEECH in call.heard


def test_starlette_under_uvicorn(environment):
    uvicorn = pytest.importorskip("uvicorn")
    app = runpy.run_path(str(EXAMPLES / "starlette_app.py"))["app"]
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        import patter_asyncio

        events = []
        board = carrier(listener.getsockname()[1], "/voice")
        patter_asyncio.run(lambda: patter_asyncio.carry(board, on_event=events.append))
        check(events)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def test_bare_trio(environment):
    trio = pytest.importorskip("trio")
    import patter_trio

    example = runpy.run_path(str(EXAMPLES / "trio_server.py"))
    events = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, example["visit"], 0)
            board = carrier(listeners[0].socket.getsockname()[1], "/voice")
            await patter_trio.carry(board, on_event=events.append)
            nursery.cancel_scope.cancel()

    trio.run(main)
    check(events)


@pytest.mark.parametrize("name", ["patter_asyncio", "patter_trio"])
def test_the_ten_line_server(environment, name):
    loop = importlib.import_module(name)
    example = runpy.run_path(str(EXAMPLES / "echo_line.py"))
    listener = listen("127.0.0.1", 0)
    events = []

    async def call() -> None:
        board = carrier(listener.getsockname()[1], "/webhooks/twilio/voice")
        await loop.carry(board, on_event=events.append)
        phones[0].stop_soon()

    phones = []

    class Module:
        Echo, Twilio = Echo, Twilio

        @staticmethod
        def Patter(**options):
            phones.append(loop.Patter(**options))
            return phones[0]

    loop.run(lambda: loop.together(lambda: example["main"](Module, listener=listener), call))
    check(events)


def test_your_own_functions(environment, capsys):
    pytest.importorskip("pocketsphinx")
    import patter_asyncio
    from patter_core.audio.g711 import ulaw_encode
    from patter_core.edge.speech import caller_utterances

    example = runpy.run_path(str(EXAMPLES / "shop_line.py"))
    listener = listen("127.0.0.1", 0)
    phone = patter_asyncio.Patter(carrier=Twilio(), webhook_url="app.example.com")
    events = []
    hours = Speak(ulaw_encode(caller_utterances()["book"].pcm))
    acts = (ListenUntilQuiet(300), hours, ListenUntilQuiet(300), HangUp())
    config = SimulatorConfig(
        webhook_url="https://app.example.com/webhooks/twilio/voice",
        connect_to=("127.0.0.1", listener.getsockname()[1]),
        auth_token="secret",
    )

    async def call() -> None:
        await patter_asyncio.carry(SimulatedCarrier(config, [CallPlan(acts=acts)]), on_event=events.append)
        await phone.disconnect()

    patter_asyncio.run(lambda: patter_asyncio.together(lambda: example["main"](phone, listener=listener), call))
    shown = capsys.readouterr().out
    assert "assistant: Good to hear Elena. What can I do?" in shown
    assert "user: book a table for two" in shown
    assert "assistant: Let me see. I have booked a table for two" in shown


@pytest.mark.parametrize("loop", ["patter_asyncio", "patter_trio"])
def test_a_campaign_of_calls_out(loop, capsys):
    """As its ``--simulate`` runs it: five people, five outcomes."""
    example = runpy.run_path(str(EXAMPLES / "outbound_campaign.py"))
    patter = importlib.import_module(loop)
    patter.run(lambda: example["simulate"](patter))
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {number: line.split()[1] for number, line in shown.items()} == {
        "+15550100011": "answered",
        "+15550100012": "busy",
        "+15550100013": "no_answer",
        "+15550100014": "voicemail",
        "5550100015": "not",
    }
    assert "Hello Ann. Your table is ready at seven." in shown["+15550100011"]
    assert "Please call us back." in shown["+15550100014"]
    assert "not called: to must be an E.164 number" in shown["5550100015"]


@pytest.mark.parametrize("name", ["patter_asyncio", "patter_trio"])
def test_a_telnyx_line_puts_callers_through(name, monkeypatch, capsys):
    loop = importlib.import_module(name)
    monkeypatch.setenv("PUBLIC_HOST", "app.example.com")
    monkeypatch.setenv("DESK_NUMBER", "+15550100021")
    example = runpy.run_path(str(EXAMPLES / "telnyx_line.py"))
    listener, rest = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    events = []
    config = SimulatorConfig(
        webhook_url="https://app.example.com/webhooks/telnyx/voice",
        connect_to=("127.0.0.1", listener.getsockname()[1]),
        carrier="telnyx",
        epoch=int(time.time() * 1e6),
        callee=Callee(acts=(ListenUntilQuiet(300), Press("1"), Wait(60_000)), ring_ms=350, talk_ms=20_000),
    )
    acts = (ListenUntilQuiet(300), Press("1"), Press("#"), Wait(60_000))
    board = SimulatedCarrier(config, [CallPlan(acts=acts, at_ms=500, most_ms=40_000)])
    monkeypatch.setenv("TELNYX_API_KEY", "key")
    monkeypatch.setenv("TELNYX_CONNECTION_ID", config.connection_id)
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", config.public_key)
    phones = []

    class Module:
        @staticmethod
        def Telnyx():
            return Telnyx(base_url=f"http://127.0.0.1:{rest.getsockname()[1]}")

        @staticmethod
        def Patter(**options):
            phones.append(loop.Patter(**options))
            return phones[0]

    async def call() -> None:
        def told(event):
            events.append(event)
            if isinstance(event, SimJoined):
                drive.stop()

        drive = loop.Drive(board, listener=rest, on_event=told)
        await drive.run()
        await phones[0].disconnect()

    loop.run(lambda: loop.together(lambda: example["main"](Module, listener=listener), call))
    assert [event.url for event in events if isinstance(event, SimHook)] == [config.webhook_url]
    assert [event for event in events if isinstance(event, SimJoined)]
    assert "transferred after" in capsys.readouterr().out


#: By example: the loop it is run on here, what its caller says, and what must be shown.
SIMULATED = {
    "openai_realtime": (
        "patter_asyncio",
        ["hours", "goodbye"],
        [
            "assistant: Harbour Kitchen, how can I help?",
            "user: What are your opening hours?",
            "assistant: From nine until ten, on Sundays from noon.",
        ],
    ),
    "elevenlabs_convai": (
        "patter_trio",
        ["book", "goodbye"],
        [
            "assistant: Harbour Kitchen, how can I help?",
            "user: Book a table for two.",
            "assistant: A table for two, tonight at seven.",
        ],
    ),
    "pipeline": (
        "patter_asyncio",
        ["hours", "goodbye"],
        [
            "user: what are the harbour kitchen's opening hours",
            "assistant: We are open from nine until ten. On Sundays, from noon.",
        ],
    ),
    "tools_and_transfer": (
        "patter_trio",
        ["hours", "book", "menu", "stop"],
        [
            "opening_hours({'day': 'Sunday'}) -> \"noon to nine\"",
            'book_table({\'people\': 2}) -> {"booked":2,"at":"seven","for":"0001"}',
            "assistant: One moment, I look at the book.",
            "assistant: That is not for me to say.",
            "ended: transferred",
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATED)
def test_what_talks_simulated(name, monkeypatch, capsys):
    """As ``--simulate`` runs them."""
    module, says, wanted = SIMULATED[name]
    patter = importlib.import_module(module)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for variable in ("DESK_NUMBER", "LLM_URL"):
        monkeypatch.delenv(variable, raising=False)
    example = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    patter.run(lambda: example["simulate"](patter, example["scripted"](), says, example["main"]))
    shown = capsys.readouterr().out
    assert [line for line in wanted if line not in shown] == [], shown
    assert "it cost $0.0" in shown
    assert "telephony $0.0085" in shown
    waited = int(shown.partition("the caller waited ")[2].partition(" ms")[0])
    assert waited > 300  # a turn's end alone takes that long to decide
    if name == "tools_and_transfer":
        assert "It belongs to" not in shown


def test_every_example_is_here():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    covered = {"echo_line.py", "outbound_campaign.py", "shop_line.py", "starlette_app.py", "telnyx_line.py"}
    shared = {"simulated.py"}
    assert names == {*covered, *shared, "trio_server.py", *(f"{name}.py" for name in SIMULATED)}
    assert "patter_core" in sys.modules
