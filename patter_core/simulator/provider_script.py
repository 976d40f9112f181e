"""Who plays which provider, as data: what the simulated providers answer, on the real ones' paths.

The n-th exchange gets the n-th of a provider's plans, and the last plan stays. A provider without a plan is not there:
its paths are 404.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from .deepgram_peer import Deepgram, DeepgramFaults
from .elevenlabs_peer import ConvAIPeer, ConvAIPlan
from .elevenlabs_voice_peer import ElevenLabsSpeechPeer, ElevenLabsSpeechSocketPeer, SpeechPlan
from .llm_peer import AnthropicPeer, ChatPeer, LlmScript, WebhookLinkPeer, WebhookPeer
from .openai_realtime_peer import RealtimePlan, realtime_links
from .openai_speech_peer import OpenAISpeech, OpenAISpeechFault
from .provider_peer import FetchPeer, LinkPeer
from .providers import Routes

__all__ = ["GROQ", "ProviderScript", "standard"]

GROQ = "api.groq.com/openai/v1/chat/completions"
"""Groq's own path: its answers count in a field of their own."""

Plan = TypeVar("Plan")
Link = TypeVar("Link", bound=LinkPeer)
Fetch = TypeVar("Fetch", bound=FetchPeer)


class ProviderScript(msgspec.Struct, frozen=True, kw_only=True):
    """What every provider does. Keys are what each wants to be shown; '' takes any.

    ``chat`` answers at every host (OpenAI's, and endpoints that speak like it) but ``backup``, which is another one, at
    ``backup.example``. ``deepgram`` and ``openai`` (its audio API) are the texts they recognise, one after the other,
    whatever the connection. ``webhook`` is what an application's own server replies, posted to at ``/webhook`` or
    spoken to on a WebSocket.
    """

    realtime: tuple[RealtimePlan, ...] = ()
    convai: tuple[ConvAIPlan, ...] = ()
    voice: tuple[SpeechPlan, ...] = ()
    voice_socket: tuple[SpeechPlan, ...] = ()
    deepgram: tuple[str, ...] | None = None
    deepgram_faults: tuple[DeepgramFaults, ...] = ()
    deepgram_key: str = ""
    openai: tuple[str, ...] | None = None
    openai_faults: tuple[OpenAISpeechFault, ...] = ()
    openai_key: str = ""
    chat: LlmScript | None = None
    chat_key: str = ""
    backup: LlmScript | None = None
    backup_key: str = ""
    groq: LlmScript | None = None
    groq_key: str = ""
    anthropic: LlmScript | None = None
    anthropic_key: str = ""
    webhook: Callable[[dict[str, Any]], Sequence[str]] | None = None
    webhook_style: str = "text"
    webhook_link_style: str = "ids"
    webhook_secret: str = ""


def _in_turn(peer: Callable[[Plan], Link], plans: Sequence[Plan]) -> Callable[[int], Link]:
    """A maker that gives each peer the plan whose turn it is."""
    return lambda number: peer(plans[min(number, len(plans) - 1)])


def _fetch_in_turn(peer: Callable[[Plan], Fetch], plans: Sequence[Plan]) -> Callable[[int], Fetch]:
    return lambda number: peer(plans[min(number, len(plans) - 1)])


def standard(script: ProviderScript, more: Routes | None = None) -> Routes:
    """The providers of a script, each on the path where the real one is, and ``more``. Anew for each board: a service
    remembers how far it has got."""
    routes = _heard(script).joined(_thought(script)).joined(_application(script))
    return routes if more is None else routes.joined(more)


def _heard(script: ProviderScript) -> Routes:
    """What hears and speaks."""
    routes = Routes()
    if script.realtime:
        routes = routes.joined(Routes({"/v1/realtime": realtime_links(*script.realtime)}))
    if script.convai:
        routes = routes.joined(Routes({"/v1/convai/conversation": _in_turn(ConvAIPeer, script.convai)}))
    if script.voice:
        voice = _fetch_in_turn(ElevenLabsSpeechPeer, script.voice)
        routes = routes.joined(Routes(fetches={"/v1/text-to-speech": voice}))
    if script.voice_socket:
        voice_link = _in_turn(ElevenLabsSpeechSocketPeer, script.voice_socket)
        routes = routes.joined(Routes({"/v1/text-to-speech": voice_link}))
    if script.deepgram is not None:
        service = Deepgram(script.deepgram, script.deepgram_faults, key=script.deepgram_key)
        routes = routes.joined(Routes({"/v1/listen": lambda number: service.link()}))
    if script.openai is not None:
        account = OpenAISpeech(script.openai, script.openai_faults, key=script.openai_key)
        audio = dict.fromkeys(("/v1/audio/speech", "/v1/audio/transcriptions"), lambda number: account.fetch())
        routes = routes.joined(Routes(fetches=audio))
    return routes


def _thought(script: ProviderScript) -> Routes:
    """Language models."""
    fetches: dict[str, Callable[[int], FetchPeer]] = {}
    chat, backup, groq, anthropic = script.chat, script.backup, script.groq, script.anthropic
    if chat is not None:
        fetches["/v1/chat/completions"] = lambda number: ChatPeer(chat, number, script.chat_key)
    if backup is not None:
        at = "backup.example/v1/chat/completions"
        fetches[at] = lambda number: ChatPeer(backup, number, script.backup_key)
    if groq is not None:
        fetches[GROQ] = lambda number: ChatPeer(groq, number, script.groq_key, dialect="groq")
    if anthropic is not None:
        fetches["/v1/messages"] = lambda number: AnthropicPeer(anthropic, number, script.anthropic_key)
    return Routes(fetches=fetches)


def _application(script: ProviderScript) -> Routes:
    """An application's own server."""
    reply = script.webhook
    if reply is None:
        return Routes()
    return Routes(
        {"/webhook": lambda number: WebhookLinkPeer(reply, script.webhook_link_style)},
        {"/webhook": lambda number: WebhookPeer(reply, script.webhook_style, script.webhook_secret)},
    )
