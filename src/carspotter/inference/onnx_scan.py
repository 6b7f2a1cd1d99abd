"""Look through an ONNX file, before any library runs it, for tensors that would be read from elsewhere.

ONNX lets a tensor name another file ("external data"). Loading from bytes does not prevent it: ONNX Runtime 1.32 then
resolves the name against the current folder (measured; `tests/inference/test_onnx_scan.py` keeps the proof). The base
install has no `onnx` package, so this walks the protobuf wire format itself, over the few messages that hold tensors.
Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Iterator

from carspotter.errors import BundleError

_HOLDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1  # of TensorProto; the last is the value EXTERNAL
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3, 4) do not occur in ONNX
_DEEPEST = 64  # nested messages; assumption: real nets reach 5, protobuf itself stops at 100


def refuse_external_data(data: bytes, name: str) -> None:
    """Pass when every tensor of this ONNX model lies inside it.

    Args:
        data: the bytes of the file.
        name: how the message calls it.

    Raises:
        BundleError: a tensor lies in another file, or the bytes are no ONNX model.
    """
    if data[4:8] == b"ORTM":
        raise BundleError(f"{name} is in ONNX Runtime's own format; expected ONNX: export the model again")
    try:
        elsewhere = _finds_external(memoryview(data), "model", 0)
    except _MalformedError as fault:
        raise BundleError(f"{name} is no ONNX model ({fault}); copy the model folder again, or train again") from None
    if elsewhere:
        raise BundleError(
            f"{name} reads tensors from another file (external data), which is refused; export them all inside"
        )


class _MalformedError(ValueError):
    """The bytes do not follow the protobuf wire format."""


def _finds_external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise _MalformedError(f"nested deeper than {_DEEPEST}")
    inside = _HOLDS[kind]
    for number, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL)):
            return True
        if isinstance(value, int) or number not in inside:
            continue
        if _finds_external(value, inside[number], depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of each field; a fixed-width value is not needed and given as 0."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: int | memoryview = 0
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire == _BYTES:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise _MalformedError(f"wire type {wire} at byte {at}")
        if at > len(message):
            raise _MalformedError("it ends within a field")
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _MalformedError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError("a number longer than 10 bytes")
