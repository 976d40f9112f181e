"""A line that OpenAI Realtime answers: it hears, thinks and speaks; patter connects it to the telephone.

``python examples/openai_realtime.py --simulate [trio]`` runs one call on this machine, with carrier, caller and OpenAI
simulated. Without it: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, OPENAI_API_KEY, and PUBLIC_HOST, where Twilio reaches us.
"""

import importlib
import os
import sys
from typing import Any

from simulated import show, simulate

from patter_core import OpenAIRealtime


async def main(phone: Any, at: str = "", **serve: Any) -> None:
    engine = OpenAIRealtime(base_url=f"ws://{at}/v1/realtime") if at else OpenAIRealtime()
    agent = phone.agent(
        engine=engine,
        system_prompt="You answer the telephone of the Harbour Kitchen. Answer in one sentence.",
        first_message="Harbour Kitchen, how can I help?",
        voice="sage",
    )
    await phone.serve(agent, on_call_end=show, **serve)


def scripted() -> Any:
    """What the simulated OpenAI hears, and answers."""
    from patter_core.simulator.openai_realtime_peer import Answer, RealtimePlan
    from patter_core.simulator.provider_script import ProviderScript

    plan = RealtimePlan(
        key="simulated",
        words=("What are your opening hours?", "Goodbye."),
        answers=(Answer(texts=("From nine until ten, on Sundays from noon.",)), Answer(texts=("Goodbye!",))),
    )
    return ProviderScript(realtime=(plan,))


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    if "--simulate" in sys.argv:
        patter.run(lambda: simulate(patter, scripted(), ["hours", "goodbye"], main))
    else:
        patter.run(lambda: main(patter.Patter(carrier=patter.Twilio(), webhook_url=os.environ["PUBLIC_HOST"])))
