"""One story for every engine: what a caller asks, what the providers make of it, and how long they think.

The caller asks ``turns`` questions and hears each answer to its end; then they have the menu read out, interrupt it,
and hang up once that was answered. The questions are recorded speech (``patter_core/edge/assets``), which the simulated
providers detect and end by its sound; what words it was, and every answer, is scripted here.

``THINKING`` are the providers' own times, constants of the script. A turn's silence, less ``scripted_ms``, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from patter_core import (
    DeepgramSTT,
    ElevenLabsConvAI,
    ElevenLabsTTS,
    ElevenLabsWebSocketTTS,
    OpenAILLM,
    OpenAIRealtime,
    OpenAITranscribeSTT,
    OpenAITTS,
)
from patter_core.audio.g711 import ulaw_encode
from patter_core.edge.speech import Utterance, caller_utterances
from patter_core.simulator.deepgram_peer import Deepgram, DeepgramFaults
from patter_core.simulator.elevenlabs_peer import ConvAIPeer, ConvAIPlan
from patter_core.simulator.elevenlabs_voice_peer import SpeechPlan
from patter_core.simulator.llm_peer import LlmAnswer, WebhookPeer
from patter_core.simulator.openai_realtime_peer import Answer, OpenAIRealtimePeer, RealtimePlan
from patter_core.simulator.provider_script import ProviderScript, standard
from patter_core.simulator.providers import Routes
from patter_core.simulator.script import Act, HangUp, ListenUntilQuiet, Speak, WaitForAgent

__all__ = [
    "ENGINES",
    "FIRST",
    "MENU",
    "THINKING",
    "acts",
    "agent_options",
    "answer_to",
    "links_of",
    "replies",
    "routes",
    "scripted_ms",
    "speech_missing",
    "words",
]

KEY = "simulated-key"
FIRST = "Hello."
MENU = (
    "To begin with, there is onion soup with toasted bread. Then there is grilled mackerel with potatoes, or a pie. "
    "For dessert, there is lemon tart."
)
_ANSWERS = {
    "hours": "From nine to ten, every day.",
    "book": "Your table is booked, for two.",
    "menu": MENU,
    "stop": "All right, I have stopped.",
}
_ASKED = ("hours", "book")
_TALKED_OVER_MS = 1500  # of the menu, before the caller interrupts
_QUIET_MS = 600  # after which an answer is over: longer than any gap between two sentences' audio

#: Milliseconds. What the providers' own voice detection waits for belongs to them as well.
THINKING: dict[str, dict[str, int]] = {
    "openai": {"silence that ends a turn": 500, "to the first audio": 300},
    "convai": {"silence that ends a turn": 500, "to the first audio": 400},
    "pipeline": {"silence that ends a turn": 300, "words": 50, "first token": 250, "a word": 10, "voice": 120},
    "pipeline-openai": {"silence that ends a turn": 600, "words": 150, "first token": 250, "a word": 10, "voice": 150},
    "on-message-url": {"silence that ends a turn": 300, "words": 50, "first text": 100, "a sentence": 20, "voice": 120},
}
"""The third engine's and the last one's silence is Deepgram's ``endpointing``; in ``pipeline-openai`` our own detector
ends turns, after ``CallSettings.endpoint_s``."""

ENGINES = tuple(THINKING)

#: By engine: the routes of its WebSockets, and of its requests.
_LINKS = {
    "openai": ("/v1/realtime",),
    "convai": ("/v1/convai/conversation",),
    "pipeline": ("/v1/listen",),
    "pipeline-openai": (),
    "on-message-url": ("/v1/listen", "/v1/text-to-speech"),
}


def links_of(engine: str) -> tuple[str, ...]:
    """The routes on which an engine keeps one WebSocket for the length of a call."""
    return _LINKS[engine]


def speech_missing() -> str:
    """Why there is no caller's speech here; '' when there is."""
    try:
        missing = set(_ANSWERS) - set(caller_utterances())
    except OSError as error:
        return f"the recorded caller cannot be read ({error}): conformance/speech/make_caller.sh makes it again"
    return f"the recorded caller does not say {', '.join(sorted(missing))}" if missing else ""


def _names(turns: int) -> list[str]:
    return [*(_ASKED[n % len(_ASKED)] for n in range(turns)), "menu", "stop"]


def _speech(utterance: Utterance) -> bytes:
    if utterance.rate != 8000:
        raise ValueError(f"{utterance.name} is recorded at {utterance.rate} Hz: a telephone carries 8000")
    return ulaw_encode(utterance.pcm)


def words(turns: int) -> list[str]:
    """What the caller says, turn by turn."""
    return [caller_utterances()[name].text for name in _names(turns)]


def replies(turns: int) -> list[str]:
    """What is answered; the one before the last is interrupted."""
    return [_ANSWERS[name] for name in _names(turns)]


def answer_to(text: str) -> str:
    """The answer to what a caller said."""
    for name, utterance in caller_utterances().items():
        if utterance.text == text:
            return _ANSWERS.get(name, "Goodbye.")
    return f"I heard {text!r}, which nobody said."


def acts(turns: int) -> tuple[Act, ...]:
    """What the simulated caller does."""
    done: list[Act] = [ListenUntilQuiet(_QUIET_MS)]
    for name in _names(turns):
        done.append(Speak(_speech(caller_utterances()[name])))
        done.append(WaitForAgent(_TALKED_OVER_MS) if name == "menu" else ListenUntilQuiet(_QUIET_MS))
    return (*done, HangUp())


def scripted_ms(engine: str, reply: str) -> int:
    """What the providers take of the silence before ``reply``."""
    times = dict(THINKING[engine])
    if "a word" in times:
        # The first sentence is known when the next one begins, or when the answer ends: one piece later.
        times["a word"] *= len(reply.partition(". ")[0].split()) + 1
    return sum(times.values())


# --- the providers ---------------------------------------------------------------------------------------------------


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(word + " " for word in text.split())


def _thought(body: dict[str, Any]) -> LlmAnswer:
    said = [message.get("content") for message in body.get("messages", ()) if message.get("role") == "user"]
    return LlmAnswer(text=_pieces(answer_to(str(said[-1] if said else ""))), first_us=250_000, piece_us=10_000)


def _posted(message: dict[str, Any]) -> Sequence[str]:
    return (answer_to(str(message.get("text"))),)


def routes(engine: str, turns: int, calls: int) -> Routes:
    """The providers of one engine, each call with a script of its own."""
    said, answered = tuple(words(turns)), tuple(replies(turns))
    if engine == "openai":
        plan = RealtimePlan(
            key=KEY, words=said, answers=tuple(Answer(texts=(text,), think_us=300_000) for text in answered)
        )
        return Routes({"/v1/realtime": lambda number: OpenAIRealtimePeer(plan)})
    if engine == "convai":
        hosted = ConvAIPlan(key=KEY, heard=said, replies=answered, think_us=400_000, first_message=FIRST)
        return Routes({"/v1/convai/conversation": lambda number: ConvAIPeer(hosted)})
    spoken = (SpeechPlan(key=KEY, first_us=120_000),)
    late = DeepgramFaults(latency_s=0.05)
    listening = Routes({"/v1/listen": lambda number: Deepgram(said, (late,), key=KEY).link()})
    if engine == "pipeline":
        return standard(ProviderScript(chat=_thought, chat_key=KEY, voice=spoken), listening)
    if engine == "pipeline-openai":
        return standard(ProviderScript(chat=_thought, chat_key=KEY, openai=said * calls, openai_key=KEY))
    return standard(
        ProviderScript(voice_socket=spoken),
        listening.joined(Routes(fetches={"/reply": partial(_application, KEY)})),
    )


def _application(secret: str, number: int) -> WebhookPeer:
    return WebhookPeer(_posted, secret=secret, first_us=100_000, piece_us=20_000)


def agent_options(engine: str, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``phone.agent`` and ``phone.serve`` are given, with the providers on that port of this machine."""
    http, ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    prompt = {"system_prompt": "You answer the telephone of a restaurant. Be brief.", "first_message": FIRST}
    listen = DeepgramSTT(api_key=KEY, base_url=ws)
    think = OpenAILLM(api_key=KEY, base_url=f"{http}/v1")
    match engine:
        case "openai":
            return {**prompt, "engine": OpenAIRealtime(api_key=KEY, base_url=f"{ws}/v1/realtime")}, {}
        case "convai":
            return {**prompt, "engine": ElevenLabsConvAI(agent_id="agent_1", api_key=KEY, base_url=ws)}, {}
        case "pipeline":
            return {**prompt, "stt": listen, "llm": think, "tts": ElevenLabsTTS(api_key=KEY, base_url=http)}, {}
        case "pipeline-openai":
            ears = OpenAITranscribeSTT(api_key=KEY, base_url=f"{http}/v1")
            return {**prompt, "stt": ears, "llm": think, "tts": OpenAITTS(api_key=KEY, base_url=f"{http}/v1")}, {}
    voice = ElevenLabsWebSocketTTS(api_key=KEY, base_url=ws)
    return {"first_message": FIRST, "stt": listen, "tts": voice}, {"on_message": f"{http}/reply"}
