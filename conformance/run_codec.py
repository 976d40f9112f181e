"""Runs codec vectors (schema ``codec-1``) against the core: G.711 exactly, resamplers against their masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.audio_quality import broken, measure_pair
from patter_core.audio import alaw_decode, alaw_encode, ulaw_decode, ulaw_encode

__all__ = ["run"]

_ENCODE: dict[str, Callable[[bytes], bytes]] = {"pcmu": ulaw_encode, "pcma": alaw_encode}
_DECODE: dict[str, Callable[[bytes], bytes]] = {"pcmu": ulaw_decode, "pcma": alaw_decode}


def run(case: dict[str, Any]) -> str | None:
    """What is wrong, or None."""
    if case["op"] == "mask":
        return "; ".join(broken(case, measure_pair(case, tones=5))) or None
    got, wanted = _answer(case), case.get("out", case.get("sha256"))
    return None if got == wanted else f"expected {wanted}, got {got}"


def _answer(case: dict[str, Any]) -> str:
    codec = case["codec"]
    match case["op"]:
        case "encode":
            return _ENCODE[codec](bytes.fromhex(case["pcm"])).hex()
        case "decode":
            return _DECODE[codec](bytes.fromhex(case["codes"])).hex()
        case "recode":
            return _ENCODE[codec](_DECODE[codec](bytes.fromhex(case["codes"]))).hex()
        case "encode-sweep":
            sweep = np.arange(case["first"], case["last"] + 1).astype("<i2").tobytes()
            return hashlib.sha256(_ENCODE[codec](sweep)).hexdigest()
        case "decode-sweep":
            return hashlib.sha256(_DECODE[codec](bytes(range(256)))).hexdigest()
        case op:
            return f"unknown op {op}"
