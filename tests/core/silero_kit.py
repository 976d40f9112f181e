"""Weights that need no package: a network of Silero's shape that tells loud from quiet, and one of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from patter_core.audio.silero import SileroWeights

Tensors = dict[str, NDArray[np.float32]]

SHAPES: dict[str, tuple[int, ...]] = {
    "stft.forward_basis_buffer": (130, 1, 128),
    "encoder.0.reparam_conv.weight": (128, 65, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (512, 128),
    "decoder.rnn.weight_hh": (512, 128),
    "decoder.rnn.bias_ih": (512,),
    "decoder.rnn.bias_hh": (512,),
    "decoder.decoder.2.weight": (1, 128, 1),
    "decoder.decoder.2.bias": (1,),
}


def basis() -> NDArray[np.float32]:
    """A windowed Fourier transform: real parts, then imaginary ones."""
    at, bins = np.arange(128), np.arange(65)[:, None]
    turns = 2 * np.pi * bins * at / 128
    wave = np.concatenate([np.cos(turns), np.sin(turns)]) * (0.5 - 0.5 * np.cos(2 * np.pi * at / 128))
    return np.asarray(wave[:, None, :], np.float32)


def loud_tensors() -> Tensors:
    """A window is a voice when its second half is loud: a tone of -20 dBFS is, of -50 dBFS is not. What was before the
    window does not count."""
    made: Tensors = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    made["stft.forward_basis_buffer"] = basis()
    made["encoder.0.reparam_conv.weight"][0, :, 1] = 1.0
    made["encoder.1.reparam_conv.weight"][0, 0, 1:] = 1.0
    made["encoder.2.reparam_conv.weight"][0, 0, 2] = 1.0
    made["encoder.3.reparam_conv.weight"][0, 0, 1] = 1.0
    gates = made["decoder.rnn.bias_ih"]  # in, forget, kept, out
    gates[0:128], gates[128:256], gates[384:512] = 20.0, -20.0, 20.0
    gates[256] = -3.0
    made["decoder.rnn.weight_ih"][256, 0] = 1.0
    made["decoder.decoder.2.weight"][0, 0, 0] = 12.0
    made["decoder.decoder.2.bias"][0] = -4.0
    return made


def random_tensors(seed: int = 1) -> Tensors:
    random = np.random.default_rng(seed)
    made: Tensors = {name: random.normal(0, 0.12, shape).astype(np.float32) for name, shape in SHAPES.items()}
    made["stft.forward_basis_buffer"] = basis()
    made["decoder.decoder.2.weight"] *= 20
    return made


LOUD = SileroWeights(loud_tensors())
RANDOM = SileroWeights(random_tensors())


def field(number: int, payload: Any) -> bytes:
    """One field of a protobuf message: a number, or bytes."""
    if isinstance(payload, int):
        return _varint(number << 3) + _varint(payload)
    return bytes(_varint(number << 3 | 2) + _varint(len(payload)) + payload)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tensor_message(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, 1) + field(8, name.encode()) + field(9, values.astype("<f4").tobytes())


def model(tensors: Tensors, *, inside_branch: bool = True) -> bytes:
    """An ONNX file as Silero's: every tensor is a constant in a branch of an ``If``; or plain initializers."""
    if not inside_branch:
        return field(1, 8) + field(7, b"".join(field(5, tensor_message(*item)) for item in tensors.items()))
    constants = b""
    for name, values in tensors.items():
        attribute = field(1, b"value") + field(5, tensor_message(name, values)) + field(20, 4)
        constants += field(1, field(2, b"out") + field(4, b"Constant") + field(5, attribute))
    other = field(1, field(4, b"Constant") + field(5, field(1, b"v") + b"\x15\x00\x00\x80\x3f"))  # a lone float
    branches = b"".join(
        field(5, field(1, label) + field(6, graph) + field(20, 5))
        for label, graph in ((b"else_branch", constants), (b"then_branch", other))
    )
    return field(1, 8) + field(2, b"test") + field(7, field(1, field(4, b"If") + branches) + field(2, b"main"))
