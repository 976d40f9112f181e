"""The caller's side of the demo: utterances recorded once and kept beside the code (see assets/PROVENANCE.md)."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import msgspec

from patter_core.audio.wav import read_wav

__all__ = ["Utterance", "caller_utterances"]

_ASSETS = Path(__file__).parent.parent / "assets"


class Utterance(msgspec.Struct, frozen=True):
    """Something the caller says: ``pcm`` is PCM16 little-endian mono at ``rate`` Hz, ``ms`` long."""

    name: str
    text: str
    ms: int
    rate: int
    pcm: bytes


class _Entry(msgspec.Struct, frozen=True):
    name: str
    file: str
    text: str
    ms: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    utterances: list[_Entry]


@functools.cache
def caller_utterances() -> dict[str, Utterance]:
    """Name -> utterance, in the order of the scripted call. OSError when a file is missing or is not what was made."""
    manifest = msgspec.json.decode((_ASSETS / "caller.json").read_bytes(), type=_Manifest)
    found: dict[str, Utterance] = {}
    for entry in manifest.utterances:
        data = (_ASSETS / entry.file).read_bytes()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise OSError(f"{entry.file} is not the recording the manifest names")
        wav = read_wav(data)
        found[entry.name] = Utterance(entry.name, entry.text, entry.ms, wav.rate, wav.pcm)
    return found
