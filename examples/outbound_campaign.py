"""Calls a list of numbers, a few at a time, and says what became of each.

``python examples/outbound_campaign.py --simulate [trio]`` does it on this machine, with a carrier and five people that
are simulated: no account, no key, no network. Without ``--simulate`` the numbers are arguments, and it needs
TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, PUBLIC_HOST (where Twilio reaches this machine) and FROM_NUMBER (one of yours).
"""

import importlib
import os
import sys
import time
from typing import Any

from patter_core import CallResult, RefusedError
from patter_core.edge.demo_agent import PHRASES, reply
from patter_core.edge.sockets import listen
from patter_core.edge.speech import find_recogniser, find_voice

AT_ONCE = 3


def on_message(message: dict[str, Any]) -> str:
    """What is said to somebody who answers back."""
    return reply(message["text"], len(message["history"]))


async def campaign(patter: Any, phone: Any, people: dict[str, str], **call: Any) -> dict[str, CallResult | str]:
    """Number -> what its call came to, for every number."""
    left = list(people)
    found: dict[str, CallResult | str] = {}

    async def worker() -> None:
        while left:
            number = left.pop(0)
            try:
                found[number] = await phone.call(
                    number,
                    first_message="Hello {name}. Your table is ready at seven.",
                    variables={"name": people[number]},
                    voicemail_message="Your table is ready at seven. Please call us back.",
                    wait=True,
                    **call,
                )
            except RefusedError as exc:  # not a number, or the carrier would not dial it
                found[number] = exc.detail

    await patter.together(*[worker] * AT_ONCE)
    return found


def show(found: dict[str, CallResult | str]) -> None:
    for number, result in found.items():
        if isinstance(result, str):
            print(f"{number:<14} not called: {result}")
        else:
            said = " / ".join(line["text"] for line in result.transcript)
            print(f"{number:<14} {result.outcome:<10} {result.duration_seconds:5.1f} s  {said}")


async def main(patter: Any, phone: Any, people: dict[str, str], *, call: dict[str, Any], **serve: Any) -> None:
    agent = phone.agent(stt=find_recogniser(PHRASES), tts=find_voice(), first_message="Hello, how can I help?")

    async def server() -> None:  # calls go out while it runs; whoever calls back gets the same agent
        await phone.serve(agent, on_message=on_message, **serve)

    async def calls() -> None:
        await phone.ready
        show(await campaign(patter, phone, people, **call))
        await phone.disconnect()

    await patter.together(server, calls)


async def simulate(patter: Any) -> None:
    from patter_core.simulator.callee import Callee, Does
    from patter_core.simulator.carrier import SimulatedCarrier, SimulatorConfig
    from patter_core.simulator.script import HangUp, ListenUntilQuiet

    people = {
        "+15550100011": "Ann",
        "+15550100012": "Ben",
        "+15550100013": "Cleo",
        "+15550100014": "Dan",
        "5550100015": "Eve",
    }
    callees = {
        "+15550100011": Callee(acts=(ListenUntilQuiet(700), HangUp()), verdict_ms=500),
        "+15550100012": Callee(does=Does.BUSY),
        "+15550100013": Callee(does=Does.NO_ANSWER),
        "+15550100014": Callee(does=Does.MACHINE, greeting_ms=2000, verdict_ms=500),
    }
    server, rest = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    config = SimulatorConfig(
        webhook_url="https://app.example.com/webhooks/twilio/voice",
        connect_to=server.getsockname()[:2],
        callees=callees,
        dials=len(callees),  # it leaves after so many calls
        epoch=int(time.time() * 1_000_000),
    )
    carrier = patter.Twilio(config.account_sid, config.auth_token, base_url=f"http://127.0.0.1:{rest.getsockname()[1]}")
    phone = patter.Patter(carrier=carrier, phone_number="+15550001234", webhook_url="app.example.com")

    async def carried() -> None:
        await patter.carry(SimulatedCarrier(config, ()), listener=rest)

    async def served() -> None:
        await main(patter, phone, people, call={"ring_timeout": 5}, listener=server, manage_webhook=False)

    await patter.together(carried, served)


async def really(patter: Any, numbers: list[str]) -> None:
    phone = patter.Patter(
        carrier=patter.Twilio(), phone_number=os.environ["FROM_NUMBER"], webhook_url=os.environ["PUBLIC_HOST"]
    )
    await main(patter, phone, dict.fromkeys(numbers, "there"), call={})


if __name__ == "__main__":
    arguments = sys.argv[1:]
    patter = importlib.import_module("patter_trio" if "trio" in arguments else "patter_asyncio")
    if "--simulate" in arguments:
        patter.run(lambda: simulate(patter))
    else:
        patter.run(lambda: really(patter, [number for number in arguments if number != "trio"]))
