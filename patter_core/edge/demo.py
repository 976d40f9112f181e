"""``patter demo``: a real call to a real server on this machine, with a simulated carrier, no account and no key.

Loop-neutral: the adapter's module is passed in, and everything that waits is awaited on whichever loop that is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from patter_core.audio.g711 import ulaw_decode, ulaw_encode
from patter_core.audio.resample import resample
from patter_core.audio.wav import interleave, write_wav
from patter_core.call.result import CallResult
from patter_core.carriers.telnyx.options import Telnyx
from patter_core.carriers.twilio.options import Twilio
from patter_core.simulator.callee import Callee
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone, SimDialled
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Speak, Wait, WaitForAgent

from .demo_agent import CALLER_SCRIPT, FIRST_MESSAGE, FIRST_MESSAGE_OUT, PHRASES, reply
from .screen import Screen, table
from .sockets import listen
from .speech import caller_utterances, find_recogniser, find_voice

__all__ = ["config", "demo", "demo_acts", "file_name", "save_call", "serve_demo"]

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "simulated"
NUMBER = "+15550001234"
CALLER = "+15550100001"
HOST = "demo.example.com"


def config(carrier: str, **options: Any) -> SimulatorConfig:
    """A simulated carrier of the demo's account, by the wall's clock."""
    defaults = {"webhook_url": f"https://{HOST}/webhooks/{carrier}/voice", "account_sid": ACCOUNT, "auth_token": TOKEN}
    epoch = int(time.time() * 1_000_000)
    return SimulatorConfig(**{**defaults, "carrier": carrier, "epoch": epoch, **options})


def _option(carrier: str, rest_port: int) -> Twilio | Telnyx:
    """The demo's account at the carrier whose REST API is simulated on that port."""
    rest = f"http://127.0.0.1:{rest_port}"
    if carrier == "twilio":
        return Twilio(ACCOUNT, TOKEN, base_url=rest)
    plain = config(carrier)
    return Telnyx(TOKEN, plain.connection_id, plain.public_key, base_url=rest)


class DemoAgent:
    """The offline agent's ears, mind and voice, shared by every call."""

    sample_rate = 8000  # what the caller's line carries: the recogniser brings it to its model's rate itself

    def __init__(self) -> None:
        self.listener = find_recogniser(PHRASES)
        self.voice = find_voice()

    def warm_up(self) -> None:
        """Load what takes time before the first caller has to wait for it."""
        self.listener.warm_up()
        for _ in self.voice.speak("Ready."):
            pass

    def recognise(self, pcm: bytes, rate: int) -> str:
        """Speech to text; what the grammar does not know is still somebody speaking."""
        return self.listener.recognise(pcm, rate) or "(not understood)"

    def on_message(self, message: dict[str, Any]) -> str:
        """The reply to one utterance."""
        asked = sum(line["role"] == "user" for line in message["history"]) - 1
        return reply(message["text"], asked)


def demo_acts() -> tuple[Act, ...]:
    """The scripted caller: four questions, an interruption, a goodbye."""
    acts: list[Act] = [ListenUntilQuiet(700)]
    for name in CALLER_SCRIPT:
        utterance = caller_utterances()[name]
        audio = ulaw_encode(resample(utterance.pcm, utterance.rate, 8000) if utterance.rate != 8000 else utterance.pcm)
        if name == "stop":
            acts[-1] = WaitForAgent(1500)  # not until the menu is over: that is the point
        acts += [Speak(audio), ListenUntilQuiet(700)]
    return (*acts, HangUp())


def file_name(call_id: str) -> str:
    """A call's id as the name of a file: what some file systems do not take is escaped."""
    return quote(call_id, safe="")[:200]


def save_call(call: SimCallDone, folder: Path) -> Path:
    """What both sides heard, as a stereo WAV: the person left, the agent right."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(call.call_id)}.wav"
    path.write_bytes(write_wav(8000, 2, interleave(ulaw_decode(call.caller), ulaw_decode(call.heard))))
    return path


async def demo(
    loop: ModuleType,
    *,
    folder: str = "demo-output",
    rate: float = 1.0,
    trace: bool = True,
    carrier: str = "twilio",
    call: bool = False,
) -> int:
    """One call, shown: somebody calls, or (``call``) is called. 0 when they were talked to and nothing went wrong."""
    screen = Screen()
    agent = DemoAgent()
    screen.line(f"patter demo on {loop.__name__.removeprefix('patter_')}, {carrier.capitalize()}")
    screen.line(f"  ears    {agent.listener.describe}")
    screen.line(f"  voice   {agent.voice.describe}")
    screen.status("  loading speech")
    agent.warm_up()

    server_socket, rest_socket = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    port, rest_port = server_socket.getsockname()[1], rest_socket.getsockname()[1]
    phone = loop.Patter(carrier=_option(carrier, rest_port), phone_number=NUMBER, webhook_url=HOST, environ={})
    spoken = phone.agent(stt=agent, tts=agent.voice, first_message=FIRST_MESSAGE)
    # The second caller says nothing: they are there to be hung up on, properly, when the server is stopped.
    silent = CallPlan(acts=(Wait(3_600_000),), callee=NUMBER, caller="+15550100002", at_ms=10_000, most_ms=3_600_000)
    planned = CallPlan(acts=demo_acts(), callee=NUMBER, caller=CALLER, at_ms=500)
    simulator = SimulatedCarrier(
        config(carrier, connect_to=("127.0.0.1", port), rate=rate, callees={CALLER: Callee(acts=demo_acts())}),
        [silent] if call else [planned, silent],
        seed=os.urandom(16),
    )
    screen.follow = "" if call else simulator.call_ids[0]
    screen.they = "callee" if call else "caller"
    results: list[CallResult] = []
    screen.status("")
    what = "calling through" if call else "called by"
    screen.line(f"  server  127.0.0.1:{port}, {what} a simulated carrier over real sockets")

    async def server() -> None:
        await phone.serve(
            spoken,
            listener=server_socket,
            on_message=agent.on_message,
            on_event=screen.hear,
            on_stuck=_leave_now,
            stop_on_signals=True,
            trace=f"{folder}/traces" if trace else "",
        )

    def stop() -> None:
        screen.line()
        screen.line("The server is stopped while another caller is on the line:")
        phone.stop_soon()

    def carrier_told(event: object) -> None:
        if isinstance(event, SimDialled):
            screen.follow = event.call_id
        screen.hear(event)
        if isinstance(event, SimCallDone) and event.call_id == screen.follow:
            if not call:
                stop()
        elif isinstance(event, SimCallDone):
            how = "hung up through the carrier" if event.hung_up_by_rest else f"closed with {event.close_code}"
            screen.line(f"       the other caller was {how}")

    async def carried() -> None:
        await loop.carry(simulator, listener=rest_socket, on_event=carrier_told)

    async def place() -> None:
        await phone.ready
        results.append(await phone.call(CALLER, first_message=FIRST_MESSAGE_OUT, machine_detection=True, wait=True))
        stop()

    await loop.together(server, carried, *([place] if call else []))
    return _report(screen, Path(folder), results)


def _report(screen: Screen, folder: Path, results: list[CallResult]) -> int:
    screen.line()
    if not screen.done or not screen.ended:
        screen.line("No call was connected.")
        return 1
    call, ended = screen.done[0], screen.ended[0]
    screen.line(screen.turn_table())
    screen.line()
    rows = [
        ("frames in / out", f"{ended.frames_in} / {ended.frames_out}"),
        ("marks played / discarded", f"{ended.marks_played} / {ended.marks_discarded}"),
        ("ended because", ended.reason.value.replace("_", " ")),
        ("length", f"{ended.duration_ms / 1000:.1f} s"),
        ("cost", "0 (no paid service was used)"),
        ("recording", str(save_call(call, folder))),
    ]
    for result in results:
        found = result.machine_detection
        rows.insert(0, ("taken by", "not known" if found is None else f"a {found.classification}"))
        rows.insert(0, ("outcome", result.outcome.replace("_", " ")))
    trace = folder / "traces" / f"{file_name(screen.named.get(call.call_id, call.call_id))}.jsonl"
    if trace.exists():
        rows.append(("trace", f"{trace}   (patter replay FILE)"))
    screen.line(table(("the call", ""), rows))
    return 0 if call.outcome == "completed" and screen.turns and not screen.problems else 1


async def serve_demo(loop: ModuleType, *, host: str = "127.0.0.1", port: int = 8000, carrier: str = "twilio") -> int:
    """The demo's server without its caller: for ``patter simulate``."""
    screen = Screen()
    agent = DemoAgent()
    agent.warm_up()
    listener = listen(host, port)
    port = listener.getsockname()[1]
    rest_port = port + 1 if port < 65535 else port - 1
    phone = loop.Patter(carrier=_option(carrier, rest_port), phone_number=NUMBER, webhook_url=HOST, environ={})
    spoken = phone.agent(stt=agent, tts=agent.voice, first_message=FIRST_MESSAGE)
    screen.line(f"  ears    {agent.listener.describe}")
    screen.line(f"  voice   {agent.voice.describe}")
    screen.line(f"Listening on {host}:{port}. Call it from another terminal:")
    program = sys.argv[0] if sys.argv[0].endswith("patter") else "patter"
    where = f"--url https://{HOST} --connect {host}:{port} --rest-port {rest_port}"
    screen.line(f"  {program} simulate --carrier {carrier} {where} --demo-caller")
    screen.line("Ctrl-C stops it.")
    code: int = await phone.serve(
        spoken,
        listener=listener,
        on_message=agent.on_message,
        on_event=screen.hear,
        on_stuck=_leave_now,
        stop_on_signals=True,
        manage_webhook=False,  # the simulated carrier that calls knows where to
    )
    return code


def _leave_now(names: list[str]) -> None:
    """User code ignores its cancellation and would keep the process here. Only the command line may do this."""
    print(f"patter: ending the process although this still runs: {', '.join(names)}", file=sys.stderr, flush=True)
    os._exit(70)
