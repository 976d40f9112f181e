"""What is said on the WebSocket of ElevenLabs' agents: messages to and from plain data, formats, and why it closed.

Sources: the vendor's own contract of this WebSocket (``packages/types/schemas/agent.asyncapi.yaml`` in its repository
elevenlabs/packages: every event and field below, its error types and close codes), its API reference "Agent
WebSockets", and, for a refused override, the threads elevenlabs/packages #23, #92, #241 and #337 (the conversation is
closed with 1008 and "Override for field '...' is not allowed by config", sometimes after the metadata has come).
"""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote

import msgspec

from ...audio.formats import AudioFormat, Encoding
from ...audio.resample import INPUT_RATES, OUTPUT_RATES
from ...contract import Fault
from ...providers.sendable import to_json
from .options import ElevenLabsConvAISpec

__all__ = [
    "ServerEvent",
    "Trouble",
    "audio_format",
    "audio_message",
    "client_data",
    "contextual_update",
    "conversation_url",
    "parse",
    "pong",
    "tool_result",
    "trouble",
    "user_message",
]


# --- from ElevenLabs -------------------------------------------------------------------------------------------------


class Metadata(msgspec.Struct, frozen=True):
    conversation_id: str = ""
    agent_output_audio_format: str = ""
    user_input_audio_format: str = ""


class Audio(msgspec.Struct, frozen=True, gc=False):
    audio_base_64: bytes = b""  # decoded while it is read
    event_id: int | None = None


class UserTranscript(msgspec.Struct, frozen=True, gc=False):
    user_transcript: str = ""


class AgentResponse(msgspec.Struct, frozen=True, gc=False):
    agent_response: str = ""


class Correction(msgspec.Struct, frozen=True, gc=False):
    original_agent_response: str = ""
    corrected_agent_response: str = ""


class Interruption(msgspec.Struct, frozen=True, gc=False):
    event_id: int | None = None


class Ping(msgspec.Struct, frozen=True, gc=False):
    event_id: int | None = None


class ToolCall(msgspec.Struct, frozen=True):
    tool_name: str = ""
    tool_call_id: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class ToolResponse(msgspec.Struct, frozen=True):
    tool_name: str = ""
    tool_type: str = ""
    is_error: bool = False


class Error(msgspec.Struct, frozen=True):
    code: int = 0
    message: str | None = None
    error_type: str | None = None
    reason: str | None = None


class ServerEvent(msgspec.Struct, frozen=True):
    """Any event; the field that belongs to its ``type`` is set. Types and fields unknown here are skipped."""

    type: str
    conversation_initiation_metadata_event: Metadata | None = None
    audio_event: Audio | None = None
    user_transcription_event: UserTranscript | None = None
    tentative_user_transcription_event: UserTranscript | None = None
    agent_response_event: AgentResponse | None = None
    agent_response_correction_event: Correction | None = None
    interruption_event: Interruption | None = None
    ping_event: Ping | None = None
    client_tool_call: ToolCall | None = None
    agent_tool_response: ToolResponse | None = None
    error_event: Error | None = None


_DECODER = msgspec.json.Decoder(ServerEvent)


def parse(text: str) -> ServerEvent | None:
    """An event, or None for what is none."""
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


# --- to ElevenLabs ---------------------------------------------------------------------------------------------------


def audio_message(audio: bytes) -> str:
    """The hot path: the one message without a type, as the vendor wants it."""
    return '{"user_audio_chunk":"' + base64.b64encode(audio).decode("ascii") + '"}'


def pong(event_id: int) -> str:
    return f'{{"type":"pong","event_id":{event_id}}}'


def user_message(text: str) -> str:
    """What the caller says, in writing; the agent answers it."""
    return _json({"type": "user_message", "text": text})


def contextual_update(text: str) -> str:
    """What the agent is to know; it does not answer."""
    return _json({"type": "contextual_update", "text": text})


def tool_result(call: str, output: str, error: bool) -> str:
    return _json({"type": "client_tool_result", "tool_call_id": call, "result": output, "is_error": error})


def client_data(
    spec: ElevenLabsConvAISpec, prompt: str, first_message: str | None, variables: dict[str, str], ulaw: bool
) -> tuple[str, list[str]]:
    """The first message of a conversation, and what it overrides. ``first_message`` '' has the agent wait; None leaves
    it to the dashboard."""
    agent: dict[str, Any] = {}
    if prompt:
        agent["prompt"] = {"prompt": prompt}
    if first_message is not None:
        agent["first_message"] = first_message
    if spec.language:
        agent["language"] = spec.language
    tts: dict[str, Any] = {}
    if spec.voice:
        tts["voice_id"] = spec.voice
    if ulaw:
        tts["output_format"] = "ulaw_8000"
    override = {"agent": agent, "tts": tts, "asr": {"input_format": "ulaw_8000"} if ulaw else {}}
    data: dict[str, Any] = {"type": "conversation_initiation_client_data"}
    if given := {part: fields for part, fields in override.items() if fields}:
        data["conversation_config_override"] = given
    if variables:
        data["dynamic_variables"] = variables
    if spec.user_id:
        data["user_id"] = spec.user_id
    return _json(data), [field for fields in given.values() for field in fields]


def conversation_url(spec: ElevenLabsConvAISpec) -> str:
    return f"{spec.base_url}/v1/convai/conversation?agent_id={quote(spec.agent_id, safe='')}"


def _json(data: dict[str, Any]) -> str:
    return to_json(data).decode()


# --- formats ---------------------------------------------------------------------------------------------------------

_FORMAT = re.compile(r"(pcm|ulaw|alaw)_(\d{4,5})")
_ENCODINGS = {"pcm": Encoding.L16, "ulaw": Encoding.PCMU, "alaw": Encoding.PCMA}


def audio_format(name: str, ours: bool) -> AudioFormat | None:
    """A format as ElevenLabs spells it; None for one we cannot speak (``ours``) or hear."""
    match = _FORMAT.fullmatch(name)
    if match is None:
        return None
    rate = int(match[2])
    if rate not in (OUTPUT_RATES if ours else INPUT_RATES) or (match[1] != "pcm" and rate != 8000):
        return None
    return AudioFormat(_ENCODINGS[match[1]], rate)


# --- why it closed ---------------------------------------------------------------------------------------------------


class Trouble(msgspec.Struct, frozen=True):
    """Why a conversation ended. ``fatal``: the next would end alike. ``over``: the agent itself ended it."""

    detail: str
    fatal: bool = False
    over: bool = False


_SWITCHES = {
    "prompt": "System prompt",
    "first_message": "First message",
    "language": "Agent language",
    "voice_id": "Voice",
    "output_format": "Audio format",
    "input_format": "Audio format",
}
_FIELD = re.compile(r"[Oo]verride for field '?([A-Za-z_.]{1,64})'?")
_SPAN = 300  # characters of a peer's text in one of our details
_FATAL_TYPES = (
    "override_error",
    "missing_dynamic_variable",
    "missing_dynamic_variable_transfer",
    "telephony_agent_error",
    "mcp_tool_error",
    "mcp_https_error",
)
_KEY = "check ELEVENLABS_API_KEY (or ElevenLabsConvAI(api_key=...)): it must belong to the agent's workspace"
_SIGNED = "a signed URL is good for some minutes only: give signed_url= a function that fetches a new one"


def trouble(
    spec: ElevenLabsConvAISpec,
    code: int,
    reason: str,
    status: int = 0,
    fault: Fault | None = None,
    error: Error | None = None,
    overrides: list[str] | None = None,
) -> Trouble:
    """What a close means, and what to do about it. ``error`` is the error event that came before it."""
    if fault is not None:
        return Trouble(f"ElevenLabs could not be reached ({fault.value})")
    if status:
        return _refused(spec, status, reason[:_SPAN])
    kind = (error.error_type or "") if error is not None else ""
    parts = (reason, error.reason, error.message) if error is not None else (reason,)
    said = " ".join(dict.fromkeys(part for part in parts if part))[:_SPAN]
    lower = said.lower()
    if kind == "override_error" or "override" in lower:
        return Trouble(_override(said, overrides or []), fatal=True)
    if kind.startswith("missing_dynamic_variable"):
        return Trouble(f"the agent needs a dynamic variable: add it to the agent's variables= ({said})", fatal=True)
    if "quota" in lower or "payment" in lower:
        return Trouble(f"the ElevenLabs plan is used up: see its Subscription page ({said})", fatal=True)
    if code == 3000 or "authoriz" in lower or "authenticat" in lower or "api key" in lower:
        return Trouble(f"ElevenLabs refused our credentials: {_SIGNED if spec.url else _KEY} ({said})", fatal=True)
    if kind in _FATAL_TYPES or code == 1008:
        return Trouble(f"ElevenLabs does not accept this conversation: {said or kind or 'no reason given'}", fatal=True)
    if kind == "max_duration_exceeded" or "max duration" in lower or "maximum duration" in lower:
        return Trouble("the conversation reached the agent's maximum duration: raise it in its dashboard")
    if code == 1000 and not kind:
        return Trouble("the ElevenLabs agent ended the conversation", over=True)
    return Trouble(f"the conversation broke off ({code}{': ' if said or kind else ''}{said or kind})")


def _override(said: str, overrides: list[str]) -> str:
    match = _FIELD.search(said)
    fields = [match[1].rpartition(".")[2]] if match else overrides
    switches = list(dict.fromkeys(_SWITCHES.get(field, field) for field in fields)) or ["the one in question"]
    return (
        f"the agent does not allow an override: in ElevenLabs' dashboard, open the agent's Security tab and switch on "
        f"Overrides > {', '.join(switches)}, or leave it out here ({said})"
    )


def _refused(spec: ElevenLabsConvAISpec, status: int, reason: str) -> Trouble:
    said = f"HTTP {status}{': ' if reason else ''}{reason}"
    if status == 401:
        said = "HTTP 401"  # some quote the key
    if status in (401, 403):
        if spec.signed_url is not None:
            return Trouble(f"ElevenLabs refused the URL that signed_url returned ({said})")
        return Trouble(f"ElevenLabs refused our credentials: {_SIGNED if spec.url else _KEY} ({said})", fatal=True)
    if status == 404:
        return Trouble(f"ElevenLabs has no such agent: check ELEVENLABS_AGENT_ID ({said})", fatal=True)
    if status == 402:
        return Trouble(f"the ElevenLabs plan does not pay for this: see its Subscription page ({said})", fatal=True)
    if status == 429:
        return Trouble(f"too many conversations at once for the ElevenLabs plan ({said})")
    return Trouble(f"ElevenLabs refused the connection ({said})", fatal=400 <= status < 500)
