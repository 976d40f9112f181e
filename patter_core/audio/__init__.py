"""Sound as bytes: companding, sample rates, files in memory, tones, voice activity.

Everything here is pure and works alone, without a server: mono ``bytes`` in, ``bytes`` out. Nothing here knows a
carrier, a message or a clock; positions are counted in the sound itself.
"""

from __future__ import annotations

from .formats import L16_8K, L16_16K, L16_24K, PCMA_8K, PCMU_8K, AudioFormat, Encoding
from .g711 import alaw_decode, alaw_encode, ulaw_decode, ulaw_encode
from .resample import Resampler, resample
from .tones import dtmf, level_dbfs, tone
from .transcode import Transcoder
from .vad import EnergyVad, SpeechStarted, SpeechStopped, VadEvent
from .wav import Wav, interleave, read_wav, to_mono, wav_header, write_wav

__all__ = [
    "L16_8K",
    "L16_16K",
    "L16_24K",
    "PCMA_8K",
    "PCMU_8K",
    "AudioFormat",
    "Encoding",
    "EnergyVad",
    "Resampler",
    "SpeechStarted",
    "SpeechStopped",
    "Transcoder",
    "VadEvent",
    "Wav",
    "alaw_decode",
    "alaw_encode",
    "dtmf",
    "interleave",
    "level_dbfs",
    "read_wav",
    "resample",
    "to_mono",
    "tone",
    "ulaw_decode",
    "ulaw_encode",
    "wav_header",
    "write_wav",
]
