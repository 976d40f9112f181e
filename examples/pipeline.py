"""Three providers in a row: Deepgram listens, a language model answers, ElevenLabs speaks.

``python examples/pipeline.py --simulate [trio]`` runs one call on this machine, with carrier, caller and providers
simulated. Without it: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, DEEPGRAM_API_KEY, ELEVENLABS_API_KEY, OPENAI_API_KEY, and
PUBLIC_HOST, where Twilio reaches us. With LLM_URL (such as http://127.0.0.1:11434/v1, Ollama's) and LLM_MODEL the model
is one of your own, and no OPENAI_API_KEY is needed.
"""

import importlib
import os
import sys
from typing import Any

from simulated import show, simulate

from patter_core import CompatibleLLM, DeepgramSTT, ElevenLabsTTS, Fallback, OpenAILLM, PipelineHooks


def corrected(text: str) -> str:
    """What the recogniser gets wrong on this line."""
    return text.replace("harbor", "harbour")


async def main(phone: Any, at: str = "", **serve: Any) -> None:
    stt, tts = DeepgramSTT(keyterms=["Harbour Kitchen"]), ElevenLabsTTS()
    llm: Any = OpenAILLM()
    if own := os.environ.get("LLM_URL"):
        llm = CompatibleLLM(base_url=own, model=os.environ["LLM_MODEL"])
    if at:  # the simulated providers
        stt = DeepgramSTT(keyterms=["Harbour Kitchen"], base_url=f"ws://{at}")
        tts = ElevenLabsTTS(base_url=f"http://{at}")
        gone = CompatibleLLM(base_url="http://127.0.0.1:9/v1", model="local")  # nobody listens there
        llm = Fallback(gone, OpenAILLM(base_url=f"http://{at}/v1"))
    agent = phone.agent(
        stt=stt,
        llm=llm,
        tts=tts,
        system_prompt="You answer the telephone of the Harbour Kitchen. Answer in one or two sentences.",
        first_message="Harbour Kitchen, how can I help?",
        hooks=PipelineHooks(after_transcribe=corrected),
    )
    await phone.serve(agent, on_call_end=show, **serve)


def scripted() -> Any:
    """What the simulated providers hear, and answer."""
    from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
    from patter_core.simulator.llm_peer import LlmAnswer
    from patter_core.simulator.provider_script import ProviderScript

    return ProviderScript(
        deepgram=("what are the harbor kitchen's opening hours", "goodbye"),
        deepgram_key="simulated",
        chat=(
            LlmAnswer(text=("We are open from nine ", "until ten. ", "On Sundays, from noon."), usage=(80, 0, 14)),
            LlmAnswer(text=("Goodbye!",), usage=(110, 0, 3)),
        ),
        chat_key="simulated",
        voice=(SpeechPlan(key="simulated"),),
    )


if __name__ == "__main__":
    patter = importlib.import_module("patter_trio" if "trio" in sys.argv else "patter_asyncio")
    if "--simulate" in sys.argv:
        patter.run(lambda: simulate(patter, scripted(), ["hours", "goodbye"], main))
    else:
        patter.run(lambda: main(patter.Patter(carrier=patter.Twilio(), webhook_url=os.environ["PUBLIC_HOST"])))
