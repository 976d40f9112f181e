"""What people write to have ElevenLabs: keys found and hidden, odd values refused with advice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from patter_core.engines.elevenlabs_convai import ElevenLabsConvAI, ElevenLabsConvAISpec
from patter_core.engines.policy import HandlerSpec
from patter_core.errors import ConfigError
from patter_core.providers.elevenlabs import (
    ElevenLabsTTS,
    ElevenLabsVoiceSpec,
    ElevenLabsWebSocketTTS,
    ElevenLabsWsVoiceSpec,
)
from patter_core.providers.elevenlabs.options import VoiceSettings
from patter_core.providers.keys import Resolving

ENVIRON = {"ELEVENLABS_API_KEY": "xi-secret", "ELEVENLABS_AGENT_ID": "agent_7"}


def test_keys_come_from_the_option_or_the_environment_and_become_names() -> None:
    resolving = Resolving(ENVIRON)
    spec = ElevenLabsConvAI(voice="v1").resolve(resolving)
    assert spec == ElevenLabsConvAISpec(agent_id="agent_7", auth="elevenlabs", voice="v1")
    assert ElevenLabsTTS().resolve(resolving).auth == "elevenlabs"
    assert ElevenLabsWebSocketTTS(api_key="other").resolve(resolving).auth == "elevenlabs2"
    assert resolving.secrets == {
        "elevenlabs": ("xi-api-key", "xi-secret"),
        "elevenlabs2": ("xi-api-key", "other"),
    }
    assert resolving.missing == []
    assert "xi-secret" not in msgspec.json.encode(spec).decode()


def test_what_is_missing_is_noted() -> None:
    resolving = Resolving({})
    ElevenLabsConvAI().resolve(resolving)
    ElevenLabsTTS().resolve(resolving)
    assert resolving.missing == ["ELEVENLABS_AGENT_ID", "ELEVENLABS_API_KEY"]
    assert resolving.secrets == {}


@pytest.mark.parametrize("key", ["a key", "key\nX-Evil: 1", "schl\u00fcssel"])
def test_a_key_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    for option in (ElevenLabsConvAI(api_key=key), ElevenLabsTTS(api_key=key), ElevenLabsWebSocketTTS(api_key=key)):
        with pytest.raises(ConfigError, match="copy it again") as caught:
            option.resolve(Resolving(ENVIRON))
        assert key not in str(caught.value)


def test_an_agent_id_no_url_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="agent_id must be"):
        ElevenLabsConvAI(agent_id="agent\ud800").resolve(Resolving(ENVIRON))


def test_a_public_agent_and_a_signed_url_need_no_key() -> None:
    resolving = Resolving({"ELEVENLABS_AGENT_ID": "agent_7"})
    assert ElevenLabsConvAI(public=True).resolve(resolving).auth == ""
    spec = ElevenLabsConvAI(signed_url="wss://x.test/c?token=t").resolve(resolving)
    assert (spec.url, spec.signed_url, spec.agent_id) == ("wss://x.test/c?token=t", None, "")
    handler = HandlerSpec("signed_url")
    spec = ElevenLabsConvAI(signed_url=lambda: "wss://x.test/").resolve(resolving, handler)
    assert (spec.url, spec.signed_url) == ("", handler)
    assert resolving.missing == []
    with pytest.raises(ConfigError, match="no place to run it"):
        ElevenLabsConvAI(signed_url=lambda: "wss://x.test/").resolve(resolving)


@pytest.mark.parametrize(
    "option",
    [
        ElevenLabsConvAI(api_key="xi-secret", signed_url="wss://x.test/?token=xi-secret"),
        ElevenLabsTTS(api_key="xi-secret"),
        ElevenLabsWebSocketTTS(api_key="xi-secret"),
    ],
)
def test_a_repr_shows_no_key(option: Any) -> None:
    assert "xi-secret" not in repr(option)
    assert type(option).__name__ in repr(option)


@pytest.mark.parametrize(
    ("option", "fields", "advice"),
    [
        (ElevenLabsConvAI, {"voice": None}, "voice must be text"),
        (ElevenLabsConvAI, {"base_url": "https://api.elevenlabs.io"}, "wss://"),
        (ElevenLabsConvAI, {"base_url": "wss://[x"}, "wss://"),
        (ElevenLabsConvAI, {"signed_url": "http://x.test"}, "signed_url must begin with wss://"),
        (ElevenLabsConvAI, {"signed_url": 7}, "a function that returns one"),
        (ElevenLabsTTS, {"voice_id": ""}, "voice_id must be"),
        (ElevenLabsTTS, {"model": 3}, "model must be text"),
        (ElevenLabsTTS, {"output_format": "mp3_44100_128"}, "ulaw_8000"),
        (ElevenLabsTTS, {"base_url": "wss://api.elevenlabs.io"}, "https://"),
        (ElevenLabsTTS, {"voice_settings": {"speed": 2}}, "speed must be 0.7 to 1.2"),
        (ElevenLabsTTS, {"voice_settings": {"stability": float("nan")}}, "stability must be 0.0 to 1.0"),
        (ElevenLabsTTS, {"voice_settings": {"use_speaker_boost": 1}}, "True or False"),
        (ElevenLabsTTS, {"voice_settings": {"pitch": 1}}, "not 'pitch'"),
        (ElevenLabsTTS, {"voice_settings": [1]}, "not list"),
        (ElevenLabsWebSocketTTS, {"model": "eleven_v3"}, "no WebSocket for eleven_v3"),
        (ElevenLabsWebSocketTTS, {"base_url": "https://api.elevenlabs.io"}, "wss://"),
    ],
)
def test_odd_values_are_refused_with_advice(option: Any, fields: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        option(**fields)


def test_specs_are_data_and_go_through_json() -> None:
    resolving = Resolving(ENVIRON)
    settings = {"stability": 0.5, "use_speaker_boost": False}
    specs: list[Any] = [
        ElevenLabsTTS(voice_settings=settings, language="de").resolve(resolving),
        ElevenLabsWebSocketTTS(base_url="wss://eu.test/").resolve(resolving),
        ElevenLabsConvAI(language="de", allow_audio_override=True).resolve(resolving),
    ]
    union = ElevenLabsVoiceSpec | ElevenLabsWsVoiceSpec | ElevenLabsConvAISpec
    assert [msgspec.json.decode(msgspec.json.encode(spec), type=union) for spec in specs] == specs
    assert specs[0].voice_settings == VoiceSettings(stability=0.5, use_speaker_boost=False)
    assert specs[1].base_url == "wss://eu.test"
