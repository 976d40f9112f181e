"""Provider vectors against ``patter_core``: ``run(case)`` says what is wrong, or None.

``schema/providers.schema.json`` says what a case is. A provider is named in ``PROVIDERS``; what is asked of it in
``OPERATIONS``. Answers that come as a body are read whole, byte by byte and in pieces of several sizes, and must mean
the same each time.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.call.words import Fetch, FetchEnded, FetchGot, FetchStarted, OpenLink
from patter_core.contract import Request, RequestId
from patter_core.edge.secrets import Secrets
from patter_core.engines.elevenlabs_convai import wire as convai
from patter_core.engines.elevenlabs_convai.options import ElevenLabsConvAI
from patter_core.engines.engine import CallTool, EngineContext, ProviderWarned, StageFailed, ToolAnswered, Used
from patter_core.engines.openai_realtime import events as realtime_events
from patter_core.engines.openai_realtime import wire as realtime
from patter_core.engines.openai_realtime.options import OpenAIRealtime
from patter_core.engines.policy import ToolSpec
from patter_core.engines.stage_table import build_brain, build_ear, build_voice
from patter_core.engines.stages import Lost, Question, Recognised, Replied, Spoke, Text, Voiced
from patter_core.errors import ConfigError
from patter_core.providers.anthropic.options import AnthropicLLM
from patter_core.providers.chat.options import CerebrasLLM, CompatibleLLM, GroqLLM, OpenAILLM
from patter_core.providers.deepgram import wire as deepgram
from patter_core.providers.deepgram.options import DeepgramSTT
from patter_core.providers.elevenlabs import wire as speech
from patter_core.providers.elevenlabs.options import ElevenLabsTTS, ElevenLabsWebSocketTTS
from patter_core.providers.keys import Resolving
from patter_core.providers.openai_speech.options import OpenAITranscribeSTT, OpenAITTS, WhisperSTT
from patter_core.providers.remote.options import remote_spec
from patter_core.settings import CallSettings

__all__ = ["OPERATIONS", "PROVIDERS", "message", "option", "run"]

KEY = "the-key"
"""The key of every provider that wants one."""

PROVIDERS: dict[str, Callable[..., Any]] = {
    "openai_realtime": OpenAIRealtime,
    "elevenlabs_convai": ElevenLabsConvAI,
    "deepgram": DeepgramSTT,
    "openai_transcribe": OpenAITranscribeSTT,
    "whisper": WhisperSTT,
    "openai": OpenAILLM,
    "groq": GroqLLM,
    "cerebras": CerebrasLLM,
    "compatible": CompatibleLLM,
    "anthropic": AnthropicLLM,
    "elevenlabs_tts": ElevenLabsTTS,
    "elevenlabs_ws_tts": ElevenLabsWebSocketTTS,
    "openai_tts": OpenAITTS,
}
"""``on_message`` besides: its options are a url and a secret."""

_KEYLESS = ("compatible",)
_EARS = ("deepgram", "openai_transcribe", "whisper")
_BRAINS = ("openai", "groq", "cerebras", "compatible", "anthropic", "on_message")
_CUTS = (1, 2, 3, 5, 7, 16, 61)


# --- what a case is about --------------------------------------------------------------------------------------------


def option(provider: str, options: dict[str, Any], resolving: Resolving) -> Any:
    """A provider's spec, resolved as an application's would be."""
    if provider == "on_message":
        return remote_spec(options["url"], options.get("secret", ""), resolving)
    given = dict(options)
    if provider not in _KEYLESS and not given.get("public") and "signed_url" not in given:
        given.setdefault("api_key", KEY)
    if provider == "elevenlabs_convai":
        given.setdefault("agent_id", "agent-1")
    return PROVIDERS[provider](**given).resolve(resolving)


def line_of(name: str) -> AudioFormat:
    """``pcmu/8000``"""
    encoding, _, rate = name.partition("/")
    return AudioFormat(Encoding(encoding), int(rate))


def _context(given: dict[str, Any]) -> EngineContext:
    call = given.get("call", {})
    return EngineContext(
        call_id="call-1",
        caller="+15550100001",
        callee="+15550001234",
        line=line_of(given.get("line", "pcmu/8000")),
        system_prompt=call.get("prompt", ""),
        first_message="",
        language=call.get("language", "en"),
        voice=call.get("voice", ""),
        tools=tuple(ToolSpec(**tool) for tool in call.get("tools", ())),
    )


class _Side:
    """A provider of a case: its spec, the secrets found, and its stage where it is one."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.provider: str = given["provider"]
        self.resolving = Resolving({})
        self.spec = option(self.provider, given.get("options", {}), self.resolving)
        self.line = line_of(given.get("line", "pcmu/8000"))

    def stage(self) -> Any:
        context = _context(self.given)
        build = build_ear if self.provider in _EARS else build_brain if self.provider in _BRAINS else build_voice
        return build(self.spec, "x", context, CallSettings())

    def ask(self, stage: Any) -> list[Any]:
        """Begin, and ask it what the case asks."""
        out: list[Any] = list(stage.begin(0))
        if self.provider in _EARS:
            return out + list(stage.utterance(0, 0, bytes.fromhex(self.given["audio"])))
        if self.provider in _BRAINS:
            messages = tuple(self.given["messages"])
            payload = self.given.get("payload", {})
            return out + list(stage.reply(0, Question(messages[-1]["content"], messages, payload)))
        return out + list(stage.speak(0, self.given["text"]))

    def headers(self, order: Fetch | OpenLink) -> dict[str, str]:
        """As they are sent: with the secret ones."""
        body, sign = (order.body, order.sign) if isinstance(order, Fetch) else (b"", "")
        request = Request(RequestId(1), "POST", order.url, order.headers, body, auth=order.auth, sign=sign)
        sent = Secrets(self.resolving.secrets).headers(request)
        assert sent is not None, "an order names a secret that nobody has"
        return {name.lower(): value for name, value in sent}


# --- WebSockets ------------------------------------------------------------------------------------------------------


def _connect(given: dict[str, Any]) -> Any:
    """The address and the headers of the upgrade."""
    side = _Side(given)
    spec = side.spec
    match side.provider:
        case "openai_realtime":
            order = OpenLink("x", realtime.target(spec), realtime.headers(spec), spec.auth)
        case "elevenlabs_convai":
            order = OpenLink("x", convai.conversation_url(spec), (), spec.auth)
        case _:
            orders = side.stage().begin(0)
            order = next(order for order in orders if isinstance(order, OpenLink))
    return _address(order.url) | {"headers": side.headers(order)}


def _address(url: str) -> dict[str, Any]:
    base, _, query = url.partition("?")
    return {"url": base, "query": [list(pair) for pair in sorted(parse_qsl(query, keep_blank_values=True))]}


def _client_writes(given: dict[str, Any]) -> Any:
    side = _Side(given)
    write = {"openai_realtime": _realtime, "elevenlabs_convai": _convai, "deepgram": _deepgram}
    writer = write.get(side.provider, _speech)(side)
    return [message(writer(dict(action))) for action in given["say"]]


def message(text: str) -> Any:
    """A message of ours to a provider: as JSON, or, where it is none, as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    ours = isinstance(found, dict) and "event_id" in found and found.get("type") != "pong"
    return _event(found) if ours else found


def _event(event: dict[str, Any]) -> Any:
    """The id of a Realtime event is its sender's own choice; what must be said word for word is the last line of a
    response's instructions, as a JSON string."""
    del event["event_id"]
    response = event.get("response", {})
    if "instructions" in response:
        response["instructions"] = {"to_say": json.loads(response["instructions"].rpartition("\n")[2])}
    return event


_Writer = Callable[[dict[str, Any]], str]


def _realtime(side: _Side) -> _Writer:
    context, call = _context(side.given), side.given.get("call", {})
    made = realtime.Wire(
        side.spec, context.system_prompt, context.voice, context.language, context.tools, call.get("interrupts", True)
    )

    def write(action: dict[str, Any]) -> str:
        do = action.pop("do")
        if do == "append":
            return realtime.append(bytes.fromhex(action["audio"]))
        if do in ("session_update", "format_update"):
            action = {"audio": line_of(action["format"])}
        if do == "spoken":
            action["audio"] = bytes.fromhex(action["audio"])
        text: str = getattr(made, do)(**action)
        return text

    return write


def _convai(side: _Side) -> _Writer:
    def write(action: dict[str, Any]) -> str:
        do = action.pop("do")
        if do == "initiation":
            ulaw, variables = action.get("ulaw", False), action.get("variables", {})
            return convai.client_data(
                side.spec, action.get("prompt", ""), action.get("first_message"), variables, ulaw
            )[0]
        if do == "audio":
            return convai.audio_message(bytes.fromhex(action["audio"]))
        text: str = getattr(convai, do)(**action)
        return text

    return write


def _deepgram(side: _Side) -> _Writer:
    texts = {"keep_alive": deepgram.KEEP_ALIVE, "finalize": deepgram.FINALIZE, "close": deepgram.CLOSE_STREAM}
    return lambda action: texts[action["do"]]


def _speech(side: _Side) -> _Writer:
    def write(action: dict[str, Any]) -> str:
        do = action.pop("do")
        if do == "open_context":
            return speech.open_context(action["context"], side.spec.voice_settings)
        text: str = getattr(speech, do)(**action)
        return text

    return write


def _client_reads(given: dict[str, Any]) -> Any:
    read = {"openai_realtime": _realtime_said, "elevenlabs_convai": convai.parse, "deepgram": _deepgram_said}
    reader: Callable[[str], Any] = read.get(given["provider"], speech.parse)
    return [_plain(reader(message if isinstance(message, str) else json.dumps(message))) for message in given["said"]]


def _realtime_said(text: str) -> Any:
    event = realtime_events.read(text)
    if event is None:
        return None
    found = _plain(event) | {"type": event.kind}
    if event.response is not None and event.response.usage is not None:
        del found["response"]["usage"]
        found["usage"] = _usage(realtime_events.usage_of(event.response.usage, "m"))
    elif event.usage is not None:
        found["usage"] = _usage(realtime_events.transcription_usage(event.usage, "m"))
    if event.delta is not None and event.kind == "response.output_audio.delta":
        audio = realtime_events.audio_of(event.delta)
        found["delta"] = None if audio is None else {"audio": audio.hex()}
    details = event.response.status_details if event.response is not None else None
    failure = event.error if event.error is not None else details.error if details is not None else None
    wait = realtime_events.spoken_wait_s(failure.message or "") if failure is not None else None
    return found if wait is None else found | {"wait_ms": round(wait * 1000)}


def _deepgram_said(text: str) -> Any:
    """Times are milliseconds of the stream."""
    match deepgram.read(text):
        case deepgram.Result(heard, words, start, end, final, speech_final, from_finalize):
            flags = {"final": final, "speech_final": speech_final, "from_finalize": from_finalize}
            spelled = [[word.word, word.punctuated_word, _ms(word.start), _ms(word.end)] for word in words]
            return {
                "type": "result",
                "text": heard,
                "words": spelled,
                "start_ms": _ms(start),
                "end_ms": _ms(end),
            } | flags
        case deepgram.TurnEnded():
            return {"type": "turn_ended"}
        case deepgram.Complaint(code):
            return {"type": "complaint", "code": code}
    return None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _usage(usage: Any) -> dict[str, Any]:
    """Only what was used."""
    plain = {name: getattr(usage, name) for name in usage.__struct_fields__}
    used = {name: value for name, value in plain.items() if isinstance(value, int) and value}
    return used | {"audio_ms": used.pop("audio_us") // 1000} if "audio_us" in used else used


def _plain(value: Any) -> Any:
    """A message as it was read: what is absent, empty or null is left out."""
    if isinstance(value, msgspec.Struct):
        fields = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        return {name: item for name, item in fields.items() if item or (item == 0 and item is not False)}
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _closed(given: dict[str, Any]) -> Any:
    """What a close means: whether another try would end alike, and whether the agent itself ended it."""
    side = _Side(given)
    error = msgspec.convert(given["error"], convai.Error) if "error" in given else None
    why = convai.trouble(
        side.spec, given.get("code", 1006), given.get("reason", ""), given.get("status", 0), None, error
    )
    return {"fatal": why.fatal, "over": why.over}


def _format(given: dict[str, Any]) -> Any:
    if given["provider"] == "elevenlabs_convai":
        found = convai.audio_format(given["name"], ours=given["ours"])
        return None if found is None else f"{found.encoding.value}/{found.rate}"
    name, found = speech.output_format(given["name"], line_of(given["line"]))
    return [name, f"{found.encoding.value}/{found.rate}"]


# --- HTTP ------------------------------------------------------------------------------------------------------------


def _ask(given: dict[str, Any]) -> Any:
    """The request that a stage makes, after the rounds of tools that came before it in the same reply."""
    side = _Side(given)
    stage = side.stage()
    orders = side.ask(stage)
    for round_ in given.get("rounds", ()):
        name = next(order.name for order in orders if isinstance(order, Fetch))
        orders = list(stage.handle(0, FetchStarted(name, 200, {"content-type": "text/event-stream"})))
        orders += stage.handle(0, FetchGot(name, "".join(f"{line}\n" for line in round_["lines"]).encode()))
        orders += stage.handle(0, FetchEnded(name))
        calls = [order for order in orders if isinstance(order, CallTool)]
        for call, output in zip(calls, round_["outputs"], strict=True):
            orders = list(stage.tool_answered(0, ToolAnswered(call.call, output)))
    order = next(order for order in orders if isinstance(order, Fetch))
    headers = side.headers(order)
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/"):
        body: Any = _form(kind.partition("boundary=")[2], order.body)
        headers["content-type"] = kind.partition(";")[0]
    else:
        body = json.loads(order.body)
    return {"method": order.method, **_address(order.url), "headers": headers, "body": body}


def _form(boundary: str, body: bytes) -> list[list[str]]:
    """Name and value of each part; of a file its name, type and bytes (hexadecimal)."""
    parts = body.split(f"--{boundary}".encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n"), "no form"
    found: list[list[str]] = []
    for part in parts[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        named = dict(item.strip().split("=", 1) for item in lines[0].split(";")[1:])
        name = named["name"].strip('"')
        if "filename" in named:
            found.append([name, named["filename"].strip('"'), lines[1].partition(": ")[2], value.hex()])
        else:
            found.append([name, value.decode()])
    return found


def _answer(given: dict[str, Any]) -> Any:
    """What an answer means, however it is cut."""
    body = _body(given)
    meanings = [_meaning(given, pieces) for pieces in _pieces(body)]
    for meaning in meanings:
        if meaning != meanings[0]:
            raise AssertionError(f"cut otherwise it means {meaning!r} instead of {meanings[0]!r}")
    return meanings[0]


def _body(given: dict[str, Any]) -> bytes:
    if "lines" in given:
        return "".join(line + given.get("line_end", "\n") for line in given["lines"]).encode()
    return bytes.fromhex(given["hex"]) if "hex" in given else str(given.get("body", "")).encode()


def _pieces(body: bytes) -> Iterator[list[bytes]]:
    yield [body]
    for size in _CUTS:
        yield [body[at : at + size] for at in range(0, len(body), size)]


def _meaning(given: dict[str, Any], pieces: list[bytes]) -> dict[str, Any]:
    side = _Side(given)
    stage = side.stage()
    orders = side.ask(stage)
    name = next(order.name for order in orders if isinstance(order, Fetch))
    headers = {"content-type": given.get("content_type", "text/event-stream")}
    orders += stage.handle(0, FetchStarted(name, given.get("status", 200), headers))
    for piece in pieces:
        orders += stage.handle(0, FetchGot(name, piece))
    orders += stage.handle(0, FetchEnded(name))
    return _come_of_it(orders)


def _come_of_it(orders: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for order in orders:
        match order:
            case Text(text) | Recognised(text):
                found["text"] = found.get("text", "") + text
            case Voiced(audio):
                found["audio"] = found.get("audio", "") + audio.hex()
            case CallTool(_, name, arguments):
                found.setdefault("tools", []).append({"name": name, "arguments": arguments})
            case Used(usage):
                found["usage"] = _usage(usage)
            case ProviderWarned(_, code):
                found.setdefault("warned", []).append(code)
            case StageFailed():
                found["failed"] = True
            case Lost():
                found["lost"] = True
            case Replied() | Spoke():
                found["over"] = True
    return found


# --- the rest --------------------------------------------------------------------------------------------------------


def _sign(given: dict[str, Any]) -> Any:
    """The signature of a body, or of the URL that a WebSocket is asked for at."""
    side = _Side(given | {"options": {"url": given["url"], "secret": given["key"]}, "provider": "on_message"})
    body = given.get("body")
    if body is None:
        return side.headers(OpenLink("x", given["url"], auth=side.spec.auth))["x-patter-signature"]
    order = Fetch("x", "POST", side.spec.url, body=bytes.fromhex(body), sign=side.spec.sign)
    return side.headers(order).get("x-patter-signature")


def _refused_options(given: dict[str, Any]) -> Any:
    """Whether options are refused before any call."""
    try:
        _Side(given)
    except ConfigError:
        return True
    return False


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "connect": _connect,
    "client_writes": _client_writes,
    "client_reads": _client_reads,
    "closed": _closed,
    "format": _format,
    "ask": _ask,
    "answer": _answer,
    "sign": _sign,
    "refused": _refused_options,
}
"""What a case's ``op`` asks for."""


def _differs(found: Any, expected: Any, where: str = "out", loose: bool = False) -> str | None:
    """In what was read (``loose``) an object with a ``type`` may have more fields than a vector names; all else is
    equal or not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if not (loose and "type" in expected) and found.keys() != expected.keys():
            return f"{where}: {json.dumps(found)} instead of {json.dumps(expected)}"
        for name, value in expected.items():
            if name not in found:
                return f"{where}: no {name} in {json.dumps(found)}"
            if (problem := _differs(found[name], value, f"{where}/{name}", loose)) is not None:
                return problem
        return None
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        problems = (_differs(a, b, f"{where}/{n}", loose) for n, (a, b) in pairs)
        return next((problem for problem in problems if problem is not None), None)
    same = found == expected and isinstance(found, bool) is isinstance(expected, bool)
    return None if same else f"{where}: {json.dumps(found)} instead of {json.dumps(expected)}"


def run(case: dict[str, Any]) -> str | None:
    """What is wrong with our answer, or None."""
    operation = OPERATIONS.get(case["in"]["op"])
    if operation is None:
        return f"no operation {case['in']['op']}"
    return _differs(operation(case["in"]), case["out"], loose=case["in"]["op"] == "client_reads")
