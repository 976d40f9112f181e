"""Options become data, once, or are refused with everything that is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patter_core.agent import Agent, Echo, lane_of, resolve_agent
from patter_core.audio.formats import AudioFormat, Encoding
from patter_core.carriers.twilio.options import Twilio
from patter_core.config import (
    AgentSpec,
    CarrierSpec,
    EchoSpec,
    HandlerSpec,
    PipelineSpec,
    PublicUrl,
    ServerConfig,
    check_port,
    fill,
)
from patter_core.contract import Lane
from patter_core.engines.elevenlabs_convai.options import ElevenLabsConvAI
from patter_core.engines.openai_realtime.options import OpenAIRealtime, OpenAIRealtimeSpec
from patter_core.engines.policy import Interruptions, Patience
from patter_core.errors import ConfigError
from patter_core.providers.deepgram.options import DeepgramSTT
from patter_core.providers.keys import Resolving
from patter_core.providers.local import CallableBrain, CallableEar, CallableVoice


@pytest.mark.parametrize(
    ("text", "origin", "stream"),
    [
        ("abc.ngrok.io", "https://abc.ngrok.io", "wss://abc.ngrok.io"),
        ("https://abc.ngrok.io/", "https://abc.ngrok.io", "wss://abc.ngrok.io"),
        ("https://example.com:8443/voice/", "https://example.com:8443/voice", "wss://example.com:8443/voice"),
        ("example.com/a/b", "https://example.com/a/b", "wss://example.com/a/b"),
        ("http://localhost:8000", "http://localhost:8000", "ws://localhost:8000"),
        ("wss://example.com", "https://example.com", "wss://example.com"),
        ("ws://example.com", "http://example.com", "ws://example.com"),
        ("https://[::1]:8000", "https://[::1]:8000", "wss://[::1]:8000"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", "wss://[2001:db8::1]"),
        ("example.com:443", "https://example.com:443", "wss://example.com:443"),
    ],
)
def test_public_urls(text: str, origin: str, stream: str) -> None:
    url = PublicUrl.parse(text)
    assert (url.origin, url.stream_origin) == (origin, stream)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "https://", "ftp://example.com", "https://user:secret@example.com", "example.com?x=1",
        "example.com#x", "https://example.com:99999", "https://example.com:x", "exa mple.com", "-example.com",
        "https://[::1", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_is_no_public_url(text: str) -> None:
    with pytest.raises(ConfigError, match="webhook_url"):
        PublicUrl.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = PublicUrl.parse(text)
    except ConfigError:
        return
    assert url.origin.startswith(("https://", "http://"))
    assert "?" not in url.origin
    assert not any(c.isspace() for c in url.host)


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_ports(port: int) -> None:
    assert check_port(port) == port


@pytest.mark.parametrize("port", [0, -1, 65536, True, "80", 80.0, None])
def test_what_is_no_port(port: Any) -> None:
    with pytest.raises(ConfigError, match="port must be an integer from 1 to 65535"):
        check_port(port)


def test_twilio_from_arguments_and_environment() -> None:
    missing: list[str] = []
    environ = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "new, old ,"}
    assert Twilio().resolve(environ, missing).keys == ("new", "old")
    assert Twilio("AC2", "mine").resolve(environ, missing) == CarrierSpec(
        name="twilio", account="AC2", keys=("mine",), base_url="https://api.twilio.com", api_key="mine"
    )
    assert missing == []
    Twilio().resolve({}, missing)
    assert [text.split()[0] for text in missing] == ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]


def test_secrets_are_in_no_repr() -> None:
    spec = Twilio("AC1", "hunter2").resolve({}, [])
    config = ServerConfig(public_url=PublicUrl.parse("a.example"), carriers=(spec,), agents={}, ticket_secret="hunter3")
    for thing in (Twilio("AC1", "hunter2"), spec, config, [spec], {"x": config}):
        assert "hunter" not in repr(thing)
        assert "hunter" not in str(thing)


def test_agents_by_number() -> None:
    one, other = AgentSpec(engine=EchoSpec(), voice="one"), AgentSpec(engine=EchoSpec(), voice="other")
    config = ServerConfig(public_url=PublicUrl.parse("a.example"), carriers=(), agents={"+1": one, "": other})
    assert config.agent_for("+1") is one
    assert config.agent_for("+2") is other
    assert config.agent_for("") is other


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hello {name}", "Hello Ann"),
        ("{name}{name}", "AnnAnn"),
        ("{nobody}", "{nobody}"),
        ("{evil}", "{name}"),  # a value is not expanded again
        ("{ name }", "{ name }"),
        ("{n}", "5"),
        ("{{name}}", "{Ann}"),
        ("{name!r} {0} {", "{name!r} {0} {"),
    ],
)
def test_variables_are_filled_in_one_pass(text: str, filled: str) -> None:
    assert fill(text, {"name": "Ann", "evil": "{name}", "n": 5}) == filled


# --- agents ----------------------------------------------------------------------------------------------------------


def reply(data: Any) -> str:
    return "yes"


async def reply_async(data: Any) -> str:
    return "yes"


async def reply_stream(data: Any) -> Any:
    yield "yes"


class Voice:
    sample_rate = 22050

    def speak(self, text: str) -> bytes:
        return b""


class Ears:
    rate = 8000

    async def recognise(self, pcm: bytes, rate: int) -> str:
        return ""


class AsyncCallable:
    async def __call__(self, data: Any) -> str:
        return "yes"


@pytest.mark.parametrize(
    ("handler", "lane"),
    [
        (reply, Lane.THREAD),
        (reply_async, Lane.LOOP),
        (reply_stream, Lane.LOOP),
        (AsyncCallable(), Lane.LOOP),
        (Ears().recognise, Lane.LOOP),
        (Voice().speak, Lane.THREAD),
        (print, Lane.THREAD),
        (lambda data: None, Lane.THREAD),
    ],
)
def test_lanes(handler: Any, lane: Lane) -> None:
    assert lane_of(handler) is lane


def test_a_pipeline_becomes_names() -> None:
    handlers: dict[str, Any] = {}
    agent = Agent(stt=Ears(), tts=Voice(), first_message="Hi {name}", variables={"name": 5})
    spec = resolve_agent(agent, {"on_message": reply_async, "on_call_end": reply}, handlers, "a1.")
    assert spec.engine == PipelineSpec(
        brain=(CallableBrain(HandlerSpec("a1.on_message", Lane.LOOP)),),
        voice=(CallableVoice(HandlerSpec("a1.tts", Lane.THREAD), AudioFormat(Encoding.L16, 22050)),),
        ear=(CallableEar(HandlerSpec("a1.stt", Lane.LOOP), AudioFormat(Encoding.L16, 8000)),),
    )
    assert spec.variables == {"name": "5"}
    assert spec.callbacks == {"on_call_end": HandlerSpec("a1.on_call_end", Lane.THREAD)}
    assert set(handlers) == {"a1.on_message", "a1.tts", "a1.stt", "a1.on_call_end"}
    assert handlers["a1.on_message"] is reply_async


def test_an_echo_needs_nothing() -> None:
    assert resolve_agent(Agent(engine=Echo()), {}, {}) == AgentSpec(engine=EchoSpec(), voice="alloy")


@pytest.mark.parametrize(
    ("options", "callbacks", "said"),
    [
        ({}, {}, "missing: OPENAI_API_KEY"),
        ({"stt": Ears()}, {}, "tts= and llm= or on_message="),
        ({"tts": Voice()}, {}, "llm= or on_message="),
        ({}, {"on_message": reply}, "no part in an engine that thinks"),
        ({"stt": Ears()}, {"on_message": reply}, "needs tts="),
        ({"engine": Echo()}, {"on_message": reply}, "no part in an echo"),
        ({"tts": Voice()}, {"on_message": 5}, "on_message must be callable"),
        ({"engine": Echo()}, {"on_call_end": 5}, "on_call_end must be callable"),
    ],
)
def test_agents_that_cannot_answer(options: dict[str, Any], callbacks: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolve_agent(Agent(**options), callbacks, {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": Echo(), "tts": Voice()}, "exclude each other"),
        ({"engine": Echo(), "stt": Ears()}, "exclude each other"),
        ({"engine": "gpt"}, "engine must be OpenAIRealtime"),
        ({"stt": 5}, "stt must be callable"),
        ({"tts": "x"}, "tts must be callable"),
        ({"barge_in_threshold_ms": -1}, "barge_in_threshold_ms"),
        ({"barge_in_threshold_ms": True}, "barge_in_threshold_ms"),
        ({"barge_in_threshold_ms": 10_001}, "barge_in_threshold_ms"),
        ({"system_prompt": None}, "system_prompt must be text"),
        ({"first_message": b"x"}, "first_message must be text"),
    ],
)
def test_options_that_contradict(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Agent(**options)


def test_an_unknown_rate_is_refused_with_the_known_ones() -> None:
    class Odd(Voice):
        sample_rate = 12345

    with pytest.raises(ConfigError, match=r"12345; supported: \["):
        resolve_agent(Agent(tts=Odd()), {"on_message": reply}, {})


def test_the_operators_apology_is_every_engines() -> None:
    for engine, field in ((OpenAIRealtime("key"), "fallback_text"), (ElevenLabsConvAI("key", "agent"), "apology")):
        spec = resolve_agent(Agent(engine=engine, fallback_message="Oh dear."), {}, {})
        assert getattr(spec.engine, field) == "Oh dear."
        usual = resolve_agent(Agent(engine=engine), {}, {})
        assert getattr(usual.engine, field) not in ("", "Oh dear.")


def test_engines_take_key_and_voice_by_place_and_hide_the_key() -> None:
    engine = OpenAIRealtime("s3cret", "nova")
    resolving = Resolving({})
    spec = resolve_agent(Agent(engine=engine), {}, {}, resolving=resolving)
    assert isinstance(spec.engine, OpenAIRealtimeSpec)
    assert spec.engine.voice == "nova"
    assert resolving.secrets[spec.engine.auth] == ("Authorization", "Bearer s3cret")
    assert "s3cret" not in repr(engine) + repr(spec)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Interruptions(speaking_ms="400"), r"Interruptions\(speaking_ms=...\) must be a number"),
        (lambda: Interruptions(speaking_ms=-1), "at least 0"),
        (lambda: Interruptions(speaking_words=1.5), "whole number"),
        (lambda: Interruptions(first_message="protekt"), "'allow' or 'protect'"),
        (lambda: Interruptions(resume_s=float("nan")), "must be a number"),
        (lambda: Patience(max_cost="0.5"), r"Patience\(max_cost=...\) must be a number"),
        (lambda: Patience(idle_message=None), "must be text"),
        (lambda: Patience(idle_tries=True), "must be a number"),
        (lambda: Agent(engine=OpenAIRealtime), r"engine=OpenAIRealtime is the class: write OpenAIRealtime\(\)"),
        (lambda: Agent(stt=DeepgramSTT, tts=Voice()), r"stt=DeepgramSTT is the class"),
    ],
)
def test_mistakes_that_would_break_every_call_are_told_at_once(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
