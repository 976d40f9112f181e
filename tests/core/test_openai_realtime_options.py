"""What people write for OpenAI's Realtime service, and what is refused with advice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core.engines.openai_realtime import OpenAIRealtime, OpenAIRealtimeSpec, SemanticVad, ServerVad
from patter_core.engines.openai_realtime.events import spoken_wait_s
from patter_core.errors import ConfigError
from patter_core.providers.keys import Resolving


def resolve(**options: Any) -> OpenAIRealtimeSpec:
    return OpenAIRealtime(**{"api_key": "sk-1", **options}).resolve(Resolving({}))


def test_the_key_comes_from_the_environment_and_is_only_named_in_the_spec() -> None:
    resolving = Resolving({"OPENAI_API_KEY": "sk-env"})
    spec = OpenAIRealtime().resolve(resolving)
    assert spec.auth == "openai"
    assert resolving.secrets == {"openai": ("Authorization", "Bearer sk-env")}
    assert resolving.missing == []
    assert "sk-env" not in repr(spec) + msgspec.json.encode(spec).decode()


def test_a_given_key_wins_and_is_never_shown() -> None:
    resolving = Resolving({"OPENAI_API_KEY": "sk-env"})
    option = OpenAIRealtime(api_key="sk-given")
    option.resolve(resolving)
    assert resolving.secrets["openai"][1] == "Bearer sk-given"
    assert "sk-given" not in repr(option)


def test_a_missing_key_is_noted() -> None:
    resolving = Resolving({})
    assert OpenAIRealtime().resolve(resolving).auth == ""
    assert resolving.missing == ["OPENAI_API_KEY"]


def test_the_spec_survives_a_trace() -> None:
    spec = resolve(turn_detection={"type": "semantic_vad", "eagerness": "low"}, max_output_tokens=500, speed=1.1)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=OpenAIRealtimeSpec) == spec
    assert msgspec.to_builtins(spec)["type"] == "openai-realtime"


def test_turn_detection_is_a_struct_or_a_dict() -> None:
    assert resolve().turn_detection == ServerVad()
    assert resolve(turn_detection={"silence_duration_ms": 300}).turn_detection == ServerVad(silence_duration_ms=300)
    assert resolve(turn_detection=SemanticVad(eagerness="high")).turn_detection == SemanticVad(eagerness="high")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0.8}, "leave it out"),
        ({"temperature": 5.0, "protocol": "beta"}, "temperature"),
        ({"audio": "mp3"}, "auto, pcmu, pcm24"),
        ({"audio": None}, "auto, pcmu, pcm24"),
        ({"protocol": "v2"}, "ga, beta"),
        ({"model": " "}, "name a model"),
        ({"model": 7}, "must be text"),
        ({"voice": None}, "must be text"),
        ({"base_url": "https://api.openai.com/v1/realtime"}, "WebSocket"),
        ({"base_url": "wss://key@host/x"}, "WebSocket"),
        ({"base_url": "wss://host:99999/x"}, "WebSocket"),
        ({"base_url": "wss://host/x#y"}, "WebSocket"),
        ({"noise_reduction": "much"}, "near_field, far_field"),
        ({"reasoning_effort": "huge"}, "minimal, low"),
        ({"max_output_tokens": 0}, "1 to 4096"),
        ({"max_output_tokens": True}, "1 to 4096"),
        ({"max_output_tokens": 5000}, "1 to 4096"),
        ({"speed": 3}, "0.25 to 1.5"),
        ({"speed": float("nan")}, "a number"),
        ({"tool_choice": ""}, "auto, none, required"),
        ({"fallback_text": " "}, "silence"),
        ({"turn_detection": {"type": "manual"}}, "server_vad or semantic_vad"),
        ({"turn_detection": {"threshold": 2}}, "from 0.0 to 1.0"),
        ({"turn_detection": {"eagerness": "low"}}, "unknown eagerness"),
        ({"turn_detection": ServerVad(silence_duration_ms=5)}, "50 to 10000"),
        ({"turn_detection": ServerVad(prefix_padding_ms=-1)}, "0 to 5000"),
        ({"turn_detection": SemanticVad(eagerness="eager")}, "low, medium"),
        ({"turn_detection": 3}, "ServerVad"),
    ],
)
def test_a_wrong_option_is_refused_with_advice(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match="OpenAIRealtime") as refusal:
        resolve(**options)
    assert says in str(refusal.value)


def test_temperature_is_for_compatible_servers() -> None:
    assert resolve(protocol="beta", temperature=0.7).temperature == 0.7


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        # livekit/agents pull 2967 and openai/openai-agents-js issue 1022 quote such messages
        ("Rate limit reached ... Please try again in 1m26.4s. Visit https://...", 86.4),
        ("Please try again in 350ms.", 0.35),
        ("please try again in 2s", 2.0),
        ("Please try again in 1h2m3s", 3723.0),
        ("Please try again in 5m.", 300.0),
        ("Please try again in a moment", None),
        ("", None),
        ("try again in " + "9" * 500, None),
    ],
)
def test_how_long_a_rate_limit_asks_to_wait(message: str, seconds: float | None) -> None:
    assert spoken_wait_s(message) == pytest.approx(seconds)
