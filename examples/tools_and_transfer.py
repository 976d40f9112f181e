"""What a model may do: look something up, book a table (which takes a while), and put the caller through.

``python examples/tools_and_transfer.py --simulate [trio]`` runs one call on this machine, with carrier, caller,
providers and the person at the desk simulated. Without it: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, DEEPGRAM_API_KEY,
OPENAI_API_KEY, DESK_NUMBER, and PUBLIC_HOST, where Twilio reaches us.
"""

import importlib
import os
import sys
import time
from typing import Any

from simulated import show, simulate

from patter_core import DeepgramSTT, Guardrail, OpenAILLM, OpenAITTS, ToolContext, tool

DESK = os.environ.get("DESK_NUMBER", "+15550100021")


@tool
def opening_hours(day: str) -> str:
    """When the restaurant is open.

    Args:
        day: A day of the week, in English.
    """
    return "noon to nine" if day.lower() == "sunday" else "nine in the morning to ten in the evening"


@tool(waiting_message="One moment, I look at the book.", waiting_after_s=0.3, timeout_s=20)
def book_table(people: int, context: ToolContext) -> dict[str, Any]:
    """Book a table for tonight.

    Args:
        people: How many will come.
    """
    time.sleep(1.2)  # in a worker thread: the call goes on
    return {"booked": people, "at": "seven", "for": context.caller[-4:]}


def on_transcript(line: dict[str, Any]) -> None:
    if line["role"] == "tool":
        print(f"{line['tool_name']}({line['tool_args']}) -> {line['tool_result']}")


async def main(phone: Any, at: str = "", **serve: Any) -> None:
    agent = phone.agent(
        stt=DeepgramSTT(base_url=f"ws://{at}") if at else DeepgramSTT(),
        llm=OpenAILLM(base_url=f"http://{at}/v1") if at else OpenAILLM(),
        tts=OpenAITTS(base_url=f"http://{at}/v1") if at else OpenAITTS(),
        system_prompt=f"You answer the telephone of the Harbour Kitchen. For anything else, transfer to {DESK}.",
        first_message="Harbour Kitchen, how can I help?",
        tools=[opening_hours, book_table],
        guardrails=[Guardrail("no-names", blocked_terms=["Elena"], replacement="That is not for me to say.")],
    )
    await phone.serve(agent, on_call_end=show, on_transcript=on_transcript, **serve)


def scripted() -> Any:
    """What the simulated providers hear, and answer."""
    from patter_core.simulator.llm_peer import LlmAnswer, ToolUse
    from patter_core.simulator.provider_script import ProviderScript

    transfer = f'{{"number": "{DESK}", "summary": "A guest asks for the owner."}}'
    return ProviderScript(
        deepgram=("are you open on sunday", "book a table for two", "who owns the place", "let me talk to her"),
        deepgram_key="simulated",
        chat=(
            LlmAnswer(tools=(ToolUse("1", "opening_hours", '{"day": "Sunday"}'),)),
            LlmAnswer(text=("On Sundays we are open from noon to nine.",)),
            LlmAnswer(tools=(ToolUse("2", "book_table", '{"people": 2}'),)),
            LlmAnswer(text=("A table for two, tonight at seven.",)),
            LlmAnswer(text=("It belongs to Elena.",)),
            LlmAnswer(text=("I put you through.",), tools=(ToolUse("3", "transfer_call", transfer),)),
            LlmAnswer(text=("",)),
        ),
        chat_key="simulated",
        openai=(),
        openai_key="simulated",
    )


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    if "--simulate" in sys.argv:
        patter.run(lambda: simulate(patter, scripted(), ["hours", "book", "menu", "stop"], main))
    else:
        patter.run(lambda: main(patter.Patter(carrier=patter.Twilio(), webhook_url=os.environ["PUBLIC_HOST"])))
