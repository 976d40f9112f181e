"""What providers and carriers ask, as data: list prices in US dollars, with where each was read and when.

The form is the one ``pricing=`` takes, so an override is written as an entry here is. ``unit`` is ``minute``,
``1k_chars`` or ``token``. A provider whose price depends on the model has no price of its own: a model that is not in
its list has an unknown price, and its cost is told as unknown. An entry whose source is another program's table was not
compared with the provider's own page. Not in here, because no usage report tells them: taxes,
plans and volume discounts, a carrier's charges for media streams, recordings and machine detection, the second leg of
a transfer, and the writing of a prompt cache (Anthropic asks a quarter more for those tokens).
"""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULTS", "VERSION"]

VERSION = "2026-11-22"
"""The day this table was last looked through. Entries say when their own source was read or dated."""

_SDK = "getpatter 0.7.0, price table 2026.3 (2026-07)"
_OPENAI = "developers.openai.com/api/docs/models"


def _each(names: tuple[str, ...], entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names, entry)


def _tokens(text: str, audio: str = "") -> dict[str, str]:
    """A million tokens as price lists have them: "input cached-input output"; "-" where there is no such price."""
    rates: dict[str, str] = {}
    for kind, given in (("text", text), ("audio", audio)):
        keys = (f"{kind}_input_per_token", f"cached_{kind}_input_per_token", f"{kind}_output_per_token")
        for key, price in zip(keys, given.split(), strict=False):
            if price != "-":
                rates[key] = f"{price}e-6"
    return rates


DEFAULTS: dict[str, dict[str, Any]] = {
    # --- speech to text, by the minute of audio ----------------------------------------------------------------------
    "deepgram": {
        "unit": "minute",
        "source": _SDK,
        "models": {
            **_each(("nova-3", "nova-3-general", "nova-3-medical"), {"price": "0.0048"}),
            "nova-3-multilingual": {"price": "0.0058"},
            **_each(
                ("nova-2", "nova-2-general", "nova-2-phonecall", "nova-2-meeting", "nova-2-conversationalai"),
                {"price": "0.0058"},
            ),
            "nova": {"price": "0.0043"},
            **_each(("flux", "flux-general-en"), {"price": "0.0065"}),
            **_each(("flux-multilingual", "flux-general-multi"), {"price": "0.0078"}),
        },
    },
    "whisper": {
        "unit": "minute",
        "source": _SDK,
        "models": {
            "whisper-1": {"price": "0.006"},
            "gpt-4o-transcribe": {"price": "0.006"},
            "gpt-4o-mini-transcribe": {"price": "0.003"},
            "gpt-realtime-whisper": {"price": "0.017"},
        },
    },
    "openai_transcribe": {
        "unit": "minute",
        "source": _SDK,
        "models": {
            "whisper-1": {"price": "0.006"},
            "gpt-4o-transcribe": {"price": "0.006"},
            "gpt-4o-mini-transcribe": {"price": "0.003"},
            "gpt-realtime-whisper": {"price": "0.017"},
        },
    },
    "assemblyai": {"unit": "minute", "price": "0.0025", "source": _SDK},
    "cartesia_stt": {"unit": "minute", "price": "0.0025", "source": _SDK},
    "soniox": {"unit": "minute", "price": "0.002", "source": _SDK},
    "speechmatics": {"unit": "minute", "price": "0.004", "source": _SDK},
    # --- text to speech, by the thousand characters ------------------------------------------------------------------
    **_each(
        ("elevenlabs", "elevenlabs_ws"),
        {
            "unit": "1k_chars",
            "source": _SDK,
            "models": {
                **_each(
                    ("eleven_flash_v2_5", "eleven_flash_v2", "eleven_turbo_v2_5", "eleven_turbo_v2"), {"price": "0.05"}
                ),
                **_each(("eleven_multilingual_v2", "eleven_v3"), {"price": "0.10"}),
            },
        },
    ),
    "openai_tts": {
        "unit": "1k_chars",
        "source": f"{_SDK}; gpt-4o-mini-tts bills tokens: an estimate",
        "models": {
            "tts-1": {"price": "0.015"},
            "tts-1-hd": {"price": "0.03"},
            "gpt-4o-mini-tts": {"price": "0.012"},
        },
    },
    "cartesia_tts": {"unit": "1k_chars", "price": "0.03", "source": _SDK},
    "rime": {
        "unit": "1k_chars",
        "source": _SDK,
        "models": {**_each(("mist", "mistv2"), {"price": "0.03"}), "arcana": {"price": "0.04"}},
    },
    "lmnt": {"unit": "1k_chars", "price": "0.05", "source": _SDK},
    "inworld": {"unit": "1k_chars", "price": "0.025", "source": _SDK},
    # --- language models, by the token -------------------------------------------------------------------------------
    "openai": {
        "unit": "token",
        "source": f"{_OPENAI}, standard tier, and articles that agree with it; 2026-03 to 2026-11",
        "models": {
            "gpt-4o": _tokens("2.50 1.25 10"),
            "gpt-4o-mini": _tokens("0.15 0.075 0.60"),
            "gpt-4.1": _tokens("2 0.50 8"),
            "gpt-4.1-mini": _tokens("0.40 0.10 1.60"),
            "gpt-4.1-nano": _tokens("0.10 0.025 0.40"),
            "gpt-5": _tokens("1.25 0.125 10"),
            "gpt-5-mini": _tokens("0.25 0.025 2"),
            "gpt-5-nano": _tokens("0.05 0.005 0.40"),
            "gpt-5.1": _tokens("1.25 0.125 10"),
            "gpt-5.4": _tokens("2.50 0.25 15"),
            "gpt-5.4-mini": _tokens("0.75 0.075 4.50"),
        },
    },
    "anthropic": {
        "unit": "token",
        "source": "platform.claude.com/docs/en/about-claude/pricing and the models' own pages; 2026",
        "models": {
            **_each(
                ("claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5"),
                _tokens("5 0.50 25"),
            ),
            "claude-opus-5-5": _tokens("4 0.20 20"),
            "claude-opus-4-1": _tokens("15 1.50 75"),
            **_each(("claude-sonnet-5-5", "claude-sonnet-5"), _tokens("2 0.20 10")),
            **_each(("claude-sonnet-4-6", "claude-sonnet-4-5", "claude-sonnet-4"), _tokens("3 0.30 15")),
            "claude-haiku-4-5": _tokens("1 0.10 5"),
            "claude-3-5-haiku": _tokens("0.80 0.08 4"),
        },
    },
    "groq": {
        "unit": "token",
        "source": "articles that quote groq.com/pricing; console.groq.com/docs/prompt-caching; 2026-04 to 2026-10",
        "models": {
            "llama-3.3-70b-versatile": _tokens("0.59 - 0.79"),
            "llama-3.1-8b-instant": _tokens("0.05 - 0.08"),
            "openai/gpt-oss-120b": _tokens("0.15 0.075 0.60"),
        },
    },
    # --- voice to voice ----------------------------------------------------------------------------------------------
    "openai_realtime": {
        "unit": "token",
        "source": f"{_OPENAI}; 2026",
        "models": {
            **_each(("gpt-realtime", "gpt-realtime-1.5"), _tokens("4 0.40 16", "32 0.40 64")),
            "gpt-realtime-2": _tokens("4 0.40 24", "32 0.40 64"),
            **_each(("gpt-realtime-mini", "gpt-realtime-2.1-mini"), _tokens("0.60 0.06 2.40", "10 0.30 20")),
            "gpt-4o-realtime-preview": _tokens("5 2.50 20", "40 2.50 80"),
            "gpt-4o-mini-realtime-preview": _tokens("0.60 0.30 2.40", "10 0.30 20"),
        },
    },
    "elevenlabs_convai": {  # connected time; the language model it uses comes on top and is not told to us
        "unit": "minute",
        "price": "0.12",
        "source": "help.elevenlabs.io, Agents: Creator plan, 400 credits a minute at $0.30 for 1000; 2026-02",
    },
    # --- carriers, by the minute of a call that was answered; US local numbers ---------------------------------------
    "twilio": {
        "unit": "minute",
        "inbound": "0.0085",
        "outbound": "0.014",
        "round_up": True,
        "source": "list price, local numbers; 2026-07. Started minutes: support.twilio.com/hc/en-us/articles/223132307",
    },
    "telnyx": {
        "unit": "minute",
        "inbound": "0.0035",
        "outbound": "0.007",
        "round_up": True,
        "source": "list price, local numbers; 2026-07. Started minutes (six-second increments are no longer offered): "
        "support.telnyx.com/en/articles/1130659",
    },
    "plivo": {"unit": "minute", "price": "0.0055", "round_up": True, "source": _SDK},
    "browser": {"unit": "minute", "price": "0", "source": "no carrier is involved"},
}
