"""What was consumed at a provider, in the units it bills: never money, which is the price table's business."""

from __future__ import annotations

import msgspec

__all__ = ["Usage"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One report. ``provider`` and ``model`` are the keys of the price table; ``stage`` is stt, llm or tts (a realtime
    engine, which is all three, counts as llm). Token counts are whole, each token in exactly one of them:
    ``input_*`` are those that were *not* cached."""

    stage: str
    provider: str
    model: str = ""
    audio_us: int = 0  # recognised or synthesised, or connected: whatever the provider bills by time
    characters: int = 0
    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0
