"""The programs people know: the names, positions and defaults of the reference's documentation, on either loop.

Each program here differs from one written for it by its import line only. They are constructed, and resolved as
``serve`` would (by ``plan``), but not served: ``tests/calls`` does that.

Source: the public documentation of getpatter's local mode (names and defaults).
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import pytest

import patter_core
from patter_core.call.payloads import apply_override
from patter_core.config import AgentSpec, PipelineSpec
from patter_core.edge.control import CallControl
from patter_core.providers.chat.options import ChatSpec
from patter_core.providers.deepgram.options import DeepgramSpec
from patter_core.providers.openai_speech.options import OpenAIVoiceSpec

ENVIRON = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 31 + "1",
    "TWILIO_AUTH_TOKEN": "a-twilio-token",
    "TELNYX_API_KEY": "a-telnyx-key",
    "TELNYX_CONNECTION_ID": "1684641123236054244",
    "TELNYX_PUBLIC_KEY": "e8SlSZ0fPhMuI7s0WSVWxzC5LU8mWR2eEZ0eXwzY1Q8=",
    "OPENAI_API_KEY": "an-openai-key",
    "ELEVENLABS_API_KEY": "an-elevenlabs-key",
    "ELEVENLABS_AGENT_ID": "agent_1",
    "DEEPGRAM_API_KEY": "a-deepgram-key",
    "ANTHROPIC_API_KEY": "an-anthropic-key",
    "GROQ_API_KEY": "a-groq-key",
    "CEREBRAS_API_KEY": "a-cerebras-key",
}


@pytest.fixture(params=["patter_asyncio", "patter_trio"])
def loop(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "patter_trio":
        pytest.importorskip("trio")
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def resolved(loop: ModuleType, program: str, **callbacks: Any) -> Any:
    """The spec that the ``agent`` of a program comes to."""
    space: dict[str, Any] = {}
    exec(compile(program.replace("getpatter", loop.__name__), "program", "exec"), space)
    for name in ("on_message", "on_call_start", "on_call_end", "on_transcript", "on_metrics"):
        if name in space:
            callbacks.setdefault(name, space[name])

    async def made() -> Any:
        phone = space["phone"]
        return phone.plan(space["agent"], "CA" + "0" * 32, carrier_name=phone.carriers[0].name, **callbacks).spec.agent

    return loop.run(made)


# --- programs --------------------------------------------------------------------------------------------------------

REALTIME = """
from getpatter import Patter, Twilio, OpenAIRealtime
phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(
    engine=OpenAIRealtime(voice="nova"),
    system_prompt="You are a receptionist for {shop}.",
    first_message="Hello from {shop}.",
    variables={"shop": "the bakery"},
)
"""

NOTHING_NAMED = """
from getpatter import Patter, Twilio
phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(system_prompt="You are helpful.", first_message="Hello!")
"""

CONVAI = """
from getpatter import Patter, Telnyx, ElevenLabsConvAI
phone = Patter(carrier=Telnyx(), phone_number="+15550001234", webhook_url="https://agent.example.com")
agent = phone.agent(engine=ElevenLabsConvAI(agent_id="agent_2"), first_message="Hello!")
"""

PIPELINE = """
from getpatter import Patter, Twilio, DeepgramSTT, AnthropicLLM, ElevenLabsTTS
phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(
    stt=DeepgramSTT(endpointing_ms=200),
    llm=AnthropicLLM(),
    tts=ElevenLabsTTS(voice_id="21m00Tcm4TlvDq8ikWAM"),
    system_prompt="You are helpful.",
    language="en",
    barge_in_threshold_ms=200,
)
"""

ON_MESSAGE = """
from getpatter import Patter, Twilio, CallControl, DeepgramSTT, OpenAITTS
phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(stt=DeepgramSTT(), tts=OpenAITTS(), first_message="Hello!")

async def on_message(data, call: CallControl):
    if "person" in data["text"]:
        await call.transfer("+15550002222")
        return ""
    return f"You said {data['text']}, for the {len(data['history'])}th time."

async def on_call_start(data):
    return {"variables": {"name": data["caller"]}}

async def on_call_end(data):
    print(data["metrics"].cost.total, data["transcript"])

async def on_transcript(data):
    print(data["role"], data["text"])

async def on_metrics(data):
    print(data["turn"].latency.total_ms, data["cost_so_far"].total)
"""

TOOLS = """
from getpatter import Patter, Twilio, OpenAIRealtime, Tool, tool, Guardrail, guardrail

async def book(arguments, context):
    yield {"progress": "One moment."}
    yield {"result": {"booked": arguments["day"], "for": context["caller"]}}

@tool
async def opening_hours(day: str) -> str:
    '''When the shop is open.

    Args:
        day: The day of the week.
    '''
    return "nine to five"

phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(
    engine=OpenAIRealtime(),
    system_prompt="You are helpful.",
    tools=[
        Tool(
            name="book",
            description="Book a table",
            parameters={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
            handler=book,
        ),
        Tool(name="stock", description="What there is", webhook_url="https://shop.example.com/stock"),
        tool(name="price", description="What it costs", parameters={"type": "object"}, handler=lambda a, c: "ten"),
        {"name": "weather", "description": "Today's", "parameters": {}, "webhook_url": "https://w.example.com/"},
        opening_hours,
    ],
    guardrails=[
        Guardrail(name="no-law", blocked_terms=["lawsuit"], replacement="I can't talk about that."),
        guardrail("no-medicine", check=lambda text: "medicine" in text.lower()),
        {"name": "no-names", "blocked_terms": ["Voldemort"]},
    ],
)
"""

HOOKS = """
from getpatter import Patter, Twilio, PipelineHooks, HookContext, WhisperSTT, GroqLLM, ElevenLabsWebSocketTTS

async def after_transcribe(text: str, context: HookContext):
    return None if not text.strip() else text

phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")
agent = phone.agent(
    stt=WhisperSTT(),
    llm=GroqLLM(model="llama-3.1-8b-instant"),
    tts=ElevenLabsWebSocketTTS(),
    hooks=PipelineHooks(
        after_transcribe=after_transcribe,
        before_llm=lambda messages, context: messages,
        after_llm=lambda text, context: text,
        before_synthesize=lambda text, context: text.replace("API", "A P I"),
    ),
)
"""


def test_openai_realtime(loop: ModuleType) -> None:
    agent = resolved(loop, REALTIME)
    assert agent.engine.__struct_config__.tag == "openai-realtime"
    assert (agent.voice or agent.engine.voice) == "nova"
    assert agent.variables == {"shop": "the bakery"}


def test_a_voice_of_the_agents_own_wins(loop: ModuleType) -> None:
    agent = resolved(loop, REALTIME.replace("variables=", 'voice="sage", variables='))
    assert agent.voice == "sage"


def test_no_engine_named_is_openai_realtime_when_its_key_is_there(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = resolved(loop, NOTHING_NAMED)
    assert agent.engine.__struct_config__.tag == "openai-realtime"
    assert agent.voice == "alloy"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        resolved(loop, NOTHING_NAMED)


def test_elevenlabs_convai(loop: ModuleType) -> None:
    agent = resolved(loop, CONVAI)
    assert (agent.engine.__struct_config__.tag, agent.engine.agent_id) == ("elevenlabs-convai", "agent_2")
    agent = resolved(loop, CONVAI.replace('agent_id="agent_2"', ""))
    assert agent.engine.agent_id == "agent_1"


def test_a_pipeline(loop: ModuleType) -> None:
    agent = resolved(loop, PIPELINE)
    engine = agent.engine
    tags = [stage.__struct_config__.tag for stage in (*engine.ear, *engine.brain, *engine.voice)]
    assert tags == ["deepgram", "anthropic", "elevenlabs-voice"]
    assert engine.ear[0].endpointing_ms == 200
    assert agent.barge_in_threshold_ms == 200
    agent = resolved(loop, PIPELINE.replace("language=", 'model="claude-sonnet-4-5", language='))
    assert agent.engine.brain[0].model == "claude-sonnet-4-5"


def test_a_pipeline_speaks_with_the_agents_voice_unless_its_own_is_named(loop: ModuleType) -> None:
    voice = "pNInz6obpgDQGcFmaJgB"
    named = PIPELINE.replace("language=", f"voice={voice!r}, language=")
    assert resolved(loop, named).engine.voice[0].voice_id == "pNInz6obpgDQGcFmaJgB"
    assert resolved(loop, named.replace("21m00Tcm4TlvDq8ikWAM", "another")).engine.voice[0].voice_id == "another"
    openai = named.replace('ElevenLabsTTS(voice_id="21m00Tcm4TlvDq8ikWAM")', "OpenAITTS()").replace(voice, "nova")
    assert resolved(loop, openai.replace("ElevenLabsTTS", "OpenAITTS")).engine.voice[0].voice == "nova"


def test_on_message_in_place_of_a_model(loop: ModuleType) -> None:
    agent = resolved(loop, ON_MESSAGE)
    assert agent.engine.brain[0].handler.name == "on_message"
    assert set(agent.callbacks) == {"on_call_start", "on_call_end", "on_transcript", "on_metrics"}
    assert agent.system_prompt == ""


@pytest.mark.parametrize("url", ["https://brain.example.com/reply", "ws://127.0.0.1:9000/reply"])
def test_on_message_as_a_url(loop: ModuleType, url: str) -> None:
    agent = resolved(loop, ON_MESSAGE, on_message=url)
    assert agent.engine.brain[0].url == url


def test_tools_and_guardrails(loop: ModuleType) -> None:
    agent = resolved(loop, TOOLS)
    assert [tool.name for tool in agent.tools] == [
        "book", "stock", "price", "weather", "opening_hours", "transfer_call", "end_call", "send_dtmf",
    ]  # fmt: skip
    hours = agent.tools[4]
    assert hours.description == "When the shop is open."
    assert hours.parameters["properties"]["day"] == {"type": "string", "description": "The day of the week."}
    assert [guard.name for guard in agent.guards] == ["no-law", "no-medicine", "no-names"]
    assert agent.guards[1].replacement == "I'm sorry, I can't respond to that."
    built_in = {tool.name: tool.parameters["required"] for tool in agent.tools if tool.built_in}
    assert (built_in["transfer_call"], built_in["end_call"]) == (["number"], ["reason"])


def test_hooks(loop: ModuleType) -> None:
    agent = resolved(loop, HOOKS)
    assert isinstance(agent.engine, PipelineSpec)
    hooks = agent.engine.hooks
    assert None not in (hooks.after_transcribe, hooks.before_llm, hooks.after_llm, hooks.before_synthesize)


@pytest.mark.parametrize(
    ("stage", "option"),
    [
        ("stt", "DeepgramSTT"),
        ("stt", "WhisperSTT"),
        ("stt", "OpenAITranscribeSTT"),
        ("llm", "OpenAILLM"),
        ("llm", "AnthropicLLM"),
        ("llm", "GroqLLM"),
        ("llm", "CerebrasLLM"),
        ("tts", "ElevenLabsTTS"),
        ("tts", "ElevenLabsWebSocketTTS"),
        ("tts", "OpenAITTS"),
    ],
)
def test_every_provider_takes_its_key_from_its_variable_or_as_api_key(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch, stage: str, option: str
) -> None:
    stages = {"stt": "DeepgramSTT()", "llm": "OpenAILLM()", "tts": "OpenAITTS()"}

    def keys(written: str) -> set[str]:
        arguments = ", ".join(f"{name}={text}" for name, text in {**stages, stage: written}.items())
        program = f"from getpatter import *\nphone = Patter(carrier=Twilio())\nagent = phone.agent({arguments})"
        space: dict[str, Any] = {}
        exec(program.replace("getpatter", loop.__name__), space)

        async def made() -> set[str]:
            return {value for _, value in space["phone"].plan(space["agent"], "CA" + "0" * 32).secrets.values()}

        found: set[str] = loop.run(made)
        return found

    def has(secrets: set[str], key: str) -> bool:
        return any(value.split(" ")[-1] == key for value in secrets)

    of = {
        "Deepgram": "DEEPGRAM",
        "Anthropic": "ANTHROPIC",
        "Groq": "GROQ",
        "Cerebras": "CEREBRAS",
        "ElevenLabs": "ELEVENLABS",
    }
    (variable,) = [f"{of[name]}_API_KEY" for name in of if option.startswith(name)] or ["OPENAI_API_KEY"]
    assert has(keys(f"{option}()"), ENVIRON[variable])
    assert has(keys(f"{option}(api_key='another')"), "another")
    assert has(keys(f"{option}('another')"), "another")
    monkeypatch.delenv(variable)
    with pytest.raises(ValueError, match=variable):
        keys(f"{option}()")


# --- signatures ------------------------------------------------------------------------------------------------------

#: By method: the documented parameters, in their order, and their defaults. ``...`` where ours may choose.
SIGNATURES: dict[str, list[tuple[str, Any]]] = {
    "__init__": [("carrier", None), ("phone_number", ""), ("webhook_url", ""), ("tunnel", None), ("pricing", None)],
    "agent": [
        ("system_prompt", ""), ("engine", None), ("stt", None), ("llm", None), ("tts", None), ("voice", "alloy"),
        ("model", ...), ("language", "en"), ("first_message", ""), ("tools", None), ("variables", None),
        ("guardrails", None), ("hooks", None), ("text_transforms", None), ("vad", None), ("audio_filter", None),
        ("background_audio", None), ("barge_in_threshold_ms", 300), ("aggressive_first_flush", False),
    ],
    "serve": [
        ("agent", ...), ("port", 8000), ("recording", False), ("on_call_start", None), ("on_call_end", None),
        ("on_transcript", None), ("on_message", None), ("on_metrics", None), ("voicemail_message", ""),
        ("dashboard", True), ("dashboard_token", ""), ("tunnel", False), ("pricing", None), ("manage_webhook", True),
    ],
    "call": [
        ("to", ...), ("agent", None), ("first_message", ""), ("from_number", ""), ("machine_detection", False),
        ("on_machine_detection", None), ("voicemail_message", ""), ("ring_timeout", ...), ("wait", False),
    ],
    "test": [("agent", ...), ("on_message", None), ("on_call_start", None), ("on_call_end", None)],
    "end_call": [("call_id", ...)],
    "disconnect": [],
}  # fmt: skip


def _parameters(function: Any, bound: bool = True) -> list[tuple[str, Any]]:
    found = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    return [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]


def _agree(written: list[tuple[str, Any]], ours: list[tuple[str, Any]]) -> None:
    assert [name for name, _ in ours[: len(written)]] == [name for name, _ in written]
    for (name, default), (_, our) in zip(written, ours, strict=False):
        assert default is ... or our == default, name


@pytest.mark.parametrize("method", SIGNATURES)
def test_what_a_patter_takes(loop: ModuleType, method: str) -> None:
    function = getattr(loop.Patter, method)
    if method == "__init__":
        from patter_core.edge.app import PatterBase

        function = PatterBase.__init__
    _agree(SIGNATURES[method], _parameters(function))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Twilio", [("account_sid", None), ("auth_token", None)]),
        ("Telnyx", [("api_key", None), ("connection_id", None), ("public_key", None)]),
        (
            "Tool",
            [("name", ...), ("description", ""), ("parameters", None), ("handler", None), ("webhook_url", "")],
        ),
        (
            "Guardrail",
            [
                ("name", ...),
                ("blocked_terms", None),
                ("check", None),
                ("replacement", "I'm sorry, I can't respond to that."),
            ],
        ),
        (
            "guardrail",
            [
                ("name", ...),
                ("blocked_terms", None),
                ("check", None),
                ("replacement", "I'm sorry, I can't respond to that."),
            ],
        ),
        ("HookContext", [("call_id", ...), ("caller", ...), ("callee", ...), ("history", ...)]),
    ],
)
def test_what_options_take(loop: ModuleType, name: str, written: list[tuple[str, Any]]) -> None:
    _agree(written, _parameters(getattr(loop, name), bound=False))


NAMES = [
    "Patter", "Twilio", "Telnyx", "OpenAIRealtime", "ElevenLabsConvAI", "DeepgramSTT", "WhisperSTT",
    "OpenAITranscribeSTT", "ElevenLabsTTS", "ElevenLabsWebSocketTTS", "OpenAITTS", "OpenAILLM", "AnthropicLLM",
    "GroqLLM", "CerebrasLLM", "Tool", "tool", "Guardrail", "guardrail", "PipelineHooks", "HookContext",
    "CallControl", "CloudflareTunnel", "Static", "Ngrok", "CallMetrics", "TurnMetrics", "CostBreakdown",
    "LatencyBreakdown", "PatterError", "PatterConnectionError", "AuthenticationError", "ProvisionError",
]  # fmt: skip


def test_every_documented_name_is_there(loop: ModuleType) -> None:
    missing = [name for name in NAMES if not hasattr(loop, name)]
    assert missing == [], f"from {loop.__name__} import {', '.join(missing)}"


def test_the_errors() -> None:
    for name in ("PatterConnectionError", "AuthenticationError", "ProvisionError"):
        assert issubclass(getattr(patter_core, name), patter_core.PatterError)
    assert issubclass(patter_core.ConfigError, ValueError)


def test_the_call_control() -> None:
    assert _parameters(CallControl.transfer)[:1] == [("number", inspect.Parameter.empty)]
    assert _parameters(CallControl.send_dtmf) == [("digits", inspect.Parameter.empty), ("delay_ms", 300)]
    payload = {"call_id": "CA1", "caller": "+15550100001", "callee": "+15550001234", "telephony_provider": "twilio"}
    given: list[str] = []
    call = CallControl(payload, lambda verb, **args: given.append(verb), lambda verb, **args: None)  # type: ignore[arg-type]
    assert {name: getattr(call, name) for name in payload} == payload
    assert call.ended is False
    call.transfer("+15550002222")
    call.send_dtmf("1")
    call.hangup()
    assert given == ["transfer", "send_dtmf", "end_call"]
    assert call.ended is True


FIGURES = {
    "LatencyBreakdown": [
        "stt_ms", "llm_ms", "tts_ms", "total_ms", "user_speech_duration_ms", "llm_ttft_ms", "llm_total_ms",
        "endpoint_ms", "bargein_ms", "tts_total_ms", "agent_response_ms",
    ],
    "TurnMetrics": [
        "turn_index", "user_text", "agent_text", "latency", "stt_audio_seconds", "tts_characters", "timestamp",
    ],
    "CostBreakdown": ["stt", "tts", "llm", "telephony", "total", "llm_cached_savings"],
    "CallMetrics": [
        "call_id", "duration_seconds", "turns", "cost", "latency_avg", "latency_p50", "latency_p90", "latency_p95",
        "latency_p99", "provider_mode", "stt_provider", "tts_provider", "llm_provider", "telephony_provider",
        "stt_model", "tts_model", "llm_model", "error_code",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures(name: str) -> None:
    assert [field for field in FIGURES[name] if not hasattr(getattr(patter_core, name), field)] == []


# --- refused ---------------------------------------------------------------------------------------------------------


def _heard() -> dict[str, Any]:
    return {"stt": patter_core.DeepgramSTT(), "llm": patter_core.OpenAILLM(), "tts": patter_core.OpenAITTS()}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "vad": ({"vad": object()}, "vad takes 'silero'"),
    "audio_filter": ({"audio_filter": object()}, "audio_filter= is not available"),
    "background_audio": ({"background_audio": object()}, "background_audio= is not available"),
    "aggressive_first_flush": ({"aggressive_first_flush": True}, "speech starts at the first sentence"),
    "an engine and stages": ({"engine": patter_core.OpenAIRealtime(), **_heard()}, "exclude each other"),
    "hooks of an engine": ({"hooks": {"after_llm": lambda text: text}}, "is for a pipeline"),
    "guardrails of ConvAI": (
        {"engine": patter_core.ElevenLabsConvAI(), "guardrails": [patter_core.Guardrail("x", ["y"])]},
        "cannot hold with ElevenLabsConvAI",
    ),
    "a model for a function": ({**_heard(), "llm": len, "model": "gpt-4.1"}, "this agent has none"),
    "a voice for a function": ({**_heard(), "tts": len, "voice": "nova"}, "has no part in a tts= of your own"),
    "an option nobody knows": ({"temperature": 1}, "has no option temperature"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_so(loop: ModuleType, what: str) -> None:
    options, why = REFUSED[what]

    async def made() -> None:
        phone = loop.Patter(carrier=loop.Twilio())
        phone.plan(phone.agent(**options), "CA" + "0" * 32)

    with pytest.raises(patter_core.ConfigError, match=why):
        loop.run(made)


@pytest.mark.parametrize("hook", ["before_send_to_stt", "after_synthesize"])
def test_hooks_on_audio_are_refused(hook: str) -> None:
    with pytest.raises(patter_core.ConfigError, match=f"{hook} is not available"):
        patter_core.PipelineHooks(**{hook: lambda value, context: value})


def test_a_tool_has_exactly_one_way_to_run() -> None:
    for both in ({}, {"handler": print, "webhook_url": "https://shop.example.com/"}):
        with pytest.raises(ValueError, match="exactly one of"):
            patter_core.Tool(name="book", **both)  # type: ignore[arg-type]


def test_what_serve_refuses(loop: ModuleType) -> None:
    async def served(**options: Any) -> None:
        phone = loop.Patter(carrier=loop.Twilio(), webhook_url="agent.example.com")
        agent = phone.agent(**options.pop("agent", _heard()))
        await phone.serve(agent, **options)

    for options, why in (
        ({"dashboard_token": "secret"}, "dashboard_token= is not available"),
        ({"on_message": lambda data: "hello"}, "llm= and on_message= exclude each other"),
        ({"agent": {}, "on_message": lambda data: "hello"}, "thinks for itself"),
        ({"port": 0}, "port must be"),
        ({"pricing": {"deepgram": {"minute": 1}}}, "pricing"),
    ):
        with pytest.raises(ValueError, match=why):
            loop.run(lambda options=options: served(**options))


def test_prices_of_a_patter(loop: ModuleType) -> None:
    async def made() -> Any:
        phone = loop.Patter(carrier=loop.Twilio(), pricing={"deepgram": {"price": 0.001}})
        return phone.plan(phone.agent(**_heard()), "CA" + "0" * 32).spec.price_table

    table = loop.run(made)
    assert table.rates("deepgram", "nova-3").price == 10**12


def test_what_on_call_start_may_return() -> None:
    """These are applied; what is documented beyond them is told as ignored, never silently."""
    spec = DeepgramSpec(auth=""), ChatSpec(provider="openai", base_url="", model="a"), OpenAIVoiceSpec(auth="")
    agent = AgentSpec(engine=PipelineSpec(ear=spec[:1], brain=spec[1:2], voice=spec[2:]))
    given = {
        "system_prompt": "p", "voice": "v", "language": "de", "first_message": "f", "variables": {"a": 1},
    }  # fmt: skip
    changed, ignored = apply_override(agent, given)
    assert ignored == []
    assert (changed.system_prompt, changed.voice, changed.variables) == ("p", "v", {"a": "1"})
    _, ignored = apply_override(agent, {"provider": "openai", "stt": {}, "tts": {}})
    assert [key for key, _ in ignored] == ["provider", "stt", "tts"]
