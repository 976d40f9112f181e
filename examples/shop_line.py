"""Your own ears, mind and voice: three functions, and every callback. Here they are the offline demo's.

``stt`` is called with one utterance, ``on_message`` with what was said, ``tts`` with one sentence. Plain functions run
in worker threads, ``async`` ones on the loop; a generator's first sentence is spoken while the rest is being made.
"""

from collections.abc import Iterator
from typing import Any

from patter_asyncio import Patter, Twilio, run
from patter_core.edge.demo_agent import PHRASES, reply
from patter_core.edge.speech import find_recogniser, find_voice

recogniser = find_recogniser(PHRASES)
voice = find_voice()


def stt(pcm: bytes, rate: int) -> str:
    return recogniser.recognise(pcm, rate)


def on_message(message: dict[str, Any]) -> Iterator[str]:
    yield "Let me see. "
    yield reply(message["text"], len(message["history"]))


def on_call_start(call: dict[str, Any]) -> dict[str, Any]:
    return {"variables": {"who": "Elena" if call["caller"].endswith("01") else "you"}}


async def on_call_end(call: dict[str, Any]) -> None:
    print(f"{call['call_id']}: {call['reason']}, {call['metrics'].duration_seconds} s")
    for line in call["transcript"]:
        print(f"  {line['role']}: {line['text']}")


async def main(phone: Patter, **serve: Any) -> None:
    agent = phone.agent(stt=stt, tts=voice, first_message="Good to hear {who}. What can I do?")
    await phone.serve(agent, on_message=on_message, on_call_start=on_call_start, on_call_end=on_call_end, **serve)


if __name__ == "__main__":
    run(lambda: main(Patter(carrier=Twilio(), webhook_url="abc.example.com")))
