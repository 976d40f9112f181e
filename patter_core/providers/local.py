"""The application's own functions as stages: specs for a callable ear, brain and voice."""

from __future__ import annotations

import msgspec

from ..audio.formats import L16_16K, AudioFormat
from ..engines.policy import HandlerSpec

__all__ = ["CallableBrain", "CallableEar", "CallableVoice"]


class CallableEar(msgspec.Struct, frozen=True, tag="callable-ear"):
    """``(pcm16, rate) -> text`` for each utterance."""

    handler: HandlerSpec
    format: AudioFormat = L16_16K


class CallableBrain(msgspec.Struct, frozen=True, tag="callable-brain"):
    """``on_message``: the payload -> text, or a generator of pieces."""

    handler: HandlerSpec


class CallableVoice(msgspec.Struct, frozen=True, tag="callable-voice"):
    """``(sentence) -> audio``, or a generator of pieces, in ``format``."""

    handler: HandlerSpec
    format: AudioFormat = L16_16K
