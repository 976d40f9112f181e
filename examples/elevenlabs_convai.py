"""A line that an agent made in ElevenLabs' dashboard answers.

``python examples/elevenlabs_convai.py --simulate [trio]`` runs one call on this machine, with carrier, caller and
ElevenLabs simulated. Without it: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, ELEVENLABS_API_KEY, ELEVENLABS_AGENT_ID, and
PUBLIC_HOST, where Twilio reaches us.

In the dashboard, choose "u-law 8000 Hz" as the agent's input and output format: nothing is converted then. The Security
tab says what may be overridden from here; a first message set here needs that switch.
"""

import importlib
import os
import sys
from typing import Any

from simulated import show, simulate

from patter_core import ElevenLabsConvAI


async def main(phone: Any, at: str = "", **serve: Any) -> None:
    engine = ElevenLabsConvAI(base_url=f"ws://{at}") if at else ElevenLabsConvAI()
    agent = phone.agent(engine=engine, variables={"shop": "the Harbour Kitchen"})  # dynamic variables of the agent
    await phone.serve(agent, on_call_end=show, **serve)


def scripted() -> Any:
    """What the simulated ElevenLabs hears, and answers."""
    from patter_core.simulator.elevenlabs_peer import ConvAIPlan
    from patter_core.simulator.provider_script import ProviderScript

    plan = ConvAIPlan(
        key="simulated",
        first_message="Harbour Kitchen, how can I help?",
        heard=("Book a table for two.", "Goodbye."),
        replies=("A table for two, tonight at seven.", "Goodbye!"),
    )
    return ProviderScript(convai=(plan,))


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    if "--simulate" in sys.argv:
        patter.run(lambda: simulate(patter, scripted(), ["book", "goodbye"], main))
    else:
        patter.run(lambda: main(patter.Patter(carrier=patter.Twilio(), webhook_url=os.environ["PUBLIC_HOST"])))
