"""The tensors in an ONNX file, without onnx: a file is nested protobuf messages, and only five kinds of them matter.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx, IR version 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["tensors_by_graph"]

_GRAPH_OF_MODEL = 7
_NODE_OF_GRAPH, _TENSOR_OF_GRAPH = 1, 5
_ATTRIBUTE_OF_NODE = 5
_TENSOR_OF_ATTRIBUTE, _GRAPH_OF_ATTRIBUTE = 5, 6
_DIMS, _KIND, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_FLOAT32 = 1
_MOST_MESSAGES = 100_000

_Field = tuple[int, int | memoryview]


def tensors_by_graph(data: bytes) -> list[dict[str, NDArray[np.float32]]]:
    """For every graph in the model, also those inside a node (the branches of an ``If``): its named float tensors,
    whether they are initializers or constants. ValueError for what is no such file."""
    found: list[dict[str, NDArray[np.float32]]] = []
    graphs = [part for number, part in _fields(memoryview(data)) if number == _GRAPH_OF_MODEL]
    room = _MOST_MESSAGES
    while graphs:
        own: dict[str, NDArray[np.float32]] = {}
        found.append(own)
        for number, part in _inside(graphs.pop()):
            room -= 1
            if room < 0:
                raise ValueError("more messages than a model of this kind has")
            if number == _TENSOR_OF_GRAPH:
                _take(part, own)
            elif number == _NODE_OF_GRAPH:
                for of_node, attribute in _inside(part):
                    if of_node != _ATTRIBUTE_OF_NODE:
                        continue
                    for of_attribute, value in _inside(attribute):
                        if of_attribute == _TENSOR_OF_ATTRIBUTE:
                            _take(value, own)
                        elif of_attribute == _GRAPH_OF_ATTRIBUTE:
                            graphs.append(value)
    return found


def _take(part: int | memoryview, into: dict[str, NDArray[np.float32]]) -> None:
    dims: list[int] = []
    name, kind = "", 0
    raw: Any = b""
    for number, value in _inside(part):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == _KIND and isinstance(value, int):
            kind = value
        elif number == _NAME and not isinstance(value, int):
            name = bytes(value).decode("utf-8", "replace")
        elif number in (_RAW, _FLOATS) and not isinstance(value, int):
            raw = value
    if name and kind == _FLOAT32 and len(raw) % 4 == 0:
        values = np.frombuffer(raw, "<f4")
        if values.size == int(np.prod(dims, dtype=object)):
            into[name] = values.reshape(dims)


def _inside(part: int | memoryview) -> Iterator[_Field]:
    if isinstance(part, int):
        raise ValueError("a number where a message was expected")
    return _fields(part)


def _fields(data: memoryview) -> Iterator[_Field]:
    """A message's fields; those of fixed width are passed over."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        width = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif key & 7 == 2:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError("a field is longer than what is around it")
            yield key >> 3, data[at : at + length]
            at += length
        elif width:
            at += width
        else:
            raise ValueError(f"wire type {key & 7} is not used in such files")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it breaks off within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _varints(data: memoryview) -> list[int]:
    at, values = 0, []
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values
