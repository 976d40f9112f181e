"""What ``--simulate`` of the other examples shares: one call on this machine, with everybody else simulated.

A carrier posts the webhook and opens the media stream, a recorded caller speaks, and the providers answer on their own
paths at a local port. No account, no key, no network. The words are scripted; the audio, the requests, the timing and
the bills are made as the real ones make them.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from patter_core.audio.g711 import ulaw_encode
from patter_core.edge.sockets import listen
from patter_core.edge.speech import caller_utterances
from patter_core.simulator.callee import Callee
from patter_core.simulator.carrier import CallPlan, SimulatedCarrier, SimulatorConfig
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import SimulatedProviders
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Speak

KEYS = dict.fromkeys(("OPENAI_API_KEY", "DEEPGRAM_API_KEY", "ELEVENLABS_API_KEY"), "simulated") | {
    "ELEVENLABS_AGENT_ID": "agent_1"
}


async def simulate(
    patter: Any,
    script: ProviderScript,
    says: Sequence[str],
    main: Callable[..., Awaitable[None]],
) -> None:
    """One call: the caller says these recorded utterances, each when the agent is quiet, and hangs up. ``main`` is
    called as ``main(phone, at, **serve)``, where ``at`` is the host and port of the providers."""
    server, rest, providers = (listen("127.0.0.1", 0) for _ in range(3))
    host, port = providers.getsockname()[:2]
    acts: list[Act] = [ListenUntilQuiet(900)]
    for name in says:
        acts += [Speak(ulaw_encode(caller_utterances()[name].pcm)), ListenUntilQuiet(1200)]
    config = SimulatorConfig(
        webhook_url="https://app.example.com/webhooks/twilio/voice",
        connect_to=server.getsockname()[:2],
        epoch=int(time.time() * 1_000_000),
        callee=Callee(acts=(ListenUntilQuiet(300),), ring_ms=400, talk_ms=1500),  # who a caller is put through to
    )
    carrier = patter.Twilio(config.account_sid, config.auth_token, base_url=f"http://127.0.0.1:{rest.getsockname()[1]}")
    phone = patter.Patter(carrier=carrier, webhook_url="app.example.com", environ=KEYS)
    board = patter.Drive(SimulatedProviders(standard(script)), listener=providers)

    plan = CallPlan(acts=(*acts, HangUp()), at_ms=300)
    line = patter.Drive(SimulatedCarrier(config, [plan]), listener=rest)

    async def called() -> None:
        await line.run()
        await phone.disconnect()
        board.stop_soon()

    async def served() -> None:
        await main(phone, f"{host}:{port}", listener=server, manage_webhook=False)

    await patter.together(called, served, board.run)


def show(call: dict[str, Any]) -> None:
    """An ``on_call_end``: what was said, how long the caller waited, what it cost."""
    figures = call["metrics"]
    print(f"{call['telephony_provider']}, {figures.duration_seconds:.1f} s, ended: {call['reason']}")
    for line in call["transcript"]:
        print(f"  {line['role']:>9}: {line['text']}")
    waits = [turn.latency for turn in figures.turns if turn.latency.agent_response_ms]

    def mean(*stages: str) -> float:
        return sum(getattr(wait, stage) for wait in waits for stage in stages) / max(1, len(waits))

    print(f"  the caller waited {mean('agent_response_ms'):.0f} ms on average: ", end="")
    print(f"{mean('endpoint_ms'):.0f} to be sure they had finished, {mean('stt_ms'):.0f} stt, ", end="")
    print(f"{mean('llm_ms'):.0f} llm, {mean('tts_ms'):.0f} tts, {mean('send_ms', 'play_ms'):.0f} on the line")
    parts = ((name, getattr(figures.cost, name)) for name in ("stt", "llm", "tts", "telephony"))
    shown = ", ".join(f"{name} {'unknown' if part is None else f'${part:.4f}'}" for name, part in parts)
    print(f"  it cost ${figures.cost.total:.4f}: {shown}")
    if figures.cost.unknown:
        print(f"  and what has no price in the table: {', '.join(figures.cost.unknown)}")
