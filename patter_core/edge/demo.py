"""``patter demo``: a real call to a real server on this machine, with a simulated carrier, no account and no key.

Loop-neutral: the adapter's module is passed in, and everything that waits is awaited on whichever loop that is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from patter_core.audio.g711 import ulaw_decode, ulaw_encode
from patter_core.audio.resample import resample
from patter_core.audio.wav import interleave, write_wav
from patter_core.carriers.twilio.options import Twilio
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.events import SimCallDone
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Speak, Wait, WaitForAgent

from .demo_agent import CALLER_SCRIPT, FIRST_MESSAGE, PHRASES, reply
from .screen import Screen, table
from .sockets import listen
from .speech import caller_utterances, find_recogniser, find_voice

__all__ = ["demo", "demo_acts", "save_call", "serve_demo"]

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "simulated"
NUMBER = "+15550001234"


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


def save_call(call: SimCallDone, folder: Path) -> Path:
    """What both sides heard, as a stereo WAV: the caller left, the agent right."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{call.call_id}.wav"
    path.write_bytes(write_wav(8000, 2, interleave(ulaw_decode(call.caller), ulaw_decode(call.heard))))
    return path


async def demo(loop: ModuleType, *, folder: str = "demo-output", rate: float = 1.0, trace: bool = True) -> int:
    """Place one call and show it. 0 when the caller was answered and nothing went wrong."""
    screen = Screen()
    agent = DemoAgent()
    screen.line(f"patter demo on {loop.__name__.removeprefix('patter_')}")
    screen.line(f"  ears    {agent.listener.describe}")
    screen.line(f"  voice   {agent.voice.describe}")
    screen.status("  loading speech")
    agent.warm_up()

    server_socket, rest_socket = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    port, rest_port = server_socket.getsockname()[1], rest_socket.getsockname()[1]
    carrier = Twilio(ACCOUNT, TOKEN, base_url=f"http://127.0.0.1:{rest_port}")
    phone = loop.Patter(carrier=carrier, phone_number=NUMBER, webhook_url="demo.example.com", environ={})
    spoken = phone.agent(stt=agent, tts=agent.voice, first_message=FIRST_MESSAGE)
    config = SimulatorConfig(
        webhook_url="https://demo.example.com/webhooks/twilio/voice",
        connect_to=("127.0.0.1", port),
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        rate=rate,
    )
    # The second caller says nothing: they are there to be hung up on, properly, when the server is stopped.
    plans = [
        CallPlan(acts=demo_acts(), callee=NUMBER),
        CallPlan(acts=(Wait(3_600_000),), callee=NUMBER, caller="+15550100002", at_ms=10_000, most_ms=3_600_000),
    ]
    simulator = SimulatedCarrier(config, plans, seed=os.urandom(16))
    first = simulator.call_ids[0]
    screen.follow = first
    screen.status("")
    screen.line(f"  server  127.0.0.1:{port}, called by a simulated carrier over real sockets")
    screen.line()

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

    def carrier_told(event: object) -> None:
        screen.hear(event)
        if isinstance(event, SimCallDone) and event.call_id == first:
            screen.line()
            screen.line("The server is stopped while another caller is on the line:")
            phone.stop_soon()
        elif isinstance(event, SimCallDone):
            how = "hung up through the carrier" if event.hung_up_by_rest else f"closed with {event.close_code}"
            screen.line(f"       the other caller was {how}")

    async def caller() -> None:
        await phone.ready
        await loop.carry(simulator, listener=rest_socket, on_event=carrier_told)

    await loop.together(server, caller)
    return _report(screen, Path(folder))


def _report(screen: Screen, folder: Path) -> int:
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
    if (folder / "traces" / f"{call.call_id}.jsonl").exists():
        rows.append(("trace", f"{folder / 'traces' / call.call_id}.jsonl   (patter replay FILE)"))
    screen.line(table(("the call", ""), rows))
    return 0 if call.outcome == "completed" and screen.turns and not screen.problems else 1


async def serve_demo(loop: ModuleType, *, host: str = "127.0.0.1", port: int = 8000) -> int:
    """The demo's server without its caller: for ``patter simulate``, or for a carrier you point at it."""
    screen = Screen()
    agent = DemoAgent()
    agent.warm_up()
    phone = loop.Patter(carrier=Twilio(ACCOUNT, TOKEN), phone_number=NUMBER, webhook_url="demo.example.com", environ={})
    spoken = phone.agent(stt=agent, tts=agent.voice, first_message=FIRST_MESSAGE)
    listener = listen(host, port)
    screen.line(f"  ears    {agent.listener.describe}")
    screen.line(f"  voice   {agent.voice.describe}")
    screen.line(f"Listening on {host}:{port}. Call it from another terminal:")
    program = sys.argv[0] if sys.argv[0].endswith("patter") else "patter"
    screen.line(f"  {program} simulate --url https://demo.example.com --connect {host}:{port} --demo-caller")
    screen.line("Ctrl-C stops it.")
    code: int = await phone.serve(
        spoken,
        listener=listener,
        on_message=agent.on_message,
        on_event=screen.hear,
        on_stuck=_leave_now,
        stop_on_signals=True,
    )
    return code


def _leave_now(names: list[str]) -> None:
    """User code ignores its cancellation and would keep the process here. Only the command line may do this."""
    print(f"patter: ending the process although this still runs: {', '.join(names)}", file=sys.stderr, flush=True)
    os._exit(70)
