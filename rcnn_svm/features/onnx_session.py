"""ONNX models, ready to run on a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before its import ends, ONNX Runtime would make an id of this machine and send what it counts to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from rcnn_svm.errors import InputError

# Where messages of onnx.proto hold others: message -> number of a field -> message in it.
_PARTS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_OP_TYPE = ("node", 4)
_EXTERNAL_DATA = ("tensor", 13)
_LOOPS = (b"Loop", b"Scan")  # a network has none, and they may never end


def onnx_session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return an ONNX model ready to run.

    Args:
        model: the model.
        threads: how many work at one call. With 1, threads may share the session and each runs in itself alone.

    Raises:
        InputError: it is damaged, has loops, or takes values from other files: ONNX Runtime would read those in the
            working folder.
    """
    _check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it thinks of a damaged model is one sentence here
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # Each of its errors is a class of its own.
    except Exception as error:
        raise InputError(
            f"ONNX Runtime cannot make this network ready: {_first_line(error)}; export it again"
        ) from error


def run_session(session: onnxruntime.InferenceSession, feeds: dict) -> list:
    """Return the outputs of a model for its inputs.

    Raises:
        InputError: it cannot be computed, as where its layers do not fit each other.
    """
    try:
        return session.run(None, feeds)
    except Exception as error:
        raise InputError(f"ONNX Runtime cannot run this network: {_first_line(error)}; export it again") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _check_model(model: bytes) -> None:
    """Check a model as `onnx_session` says, before ONNX Runtime sees it."""
    left = [("model", memoryview(model))]
    while left:
        message, content = left.pop()
        for field, value in _fields(content):
            if (message, field) == _EXTERNAL_DATA:
                raise InputError(
                    "this network is refused: values of it are in other files; export it again, with them inside"
                )
            if (message, field) == _OP_TYPE and bytes(value) in _LOOPS:
                raise InputError(f"this network is refused: it has a {bytes(value).decode()}, which may never end")
            part = _PARTS.get(message, {}).get(field)
            if part:
                left.append((part, value))


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields of a message of Protocol Buffers that have a length, by their numbers."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(content, at)
        elif kind == 2:
            length, at = _varint(content, at)
            if at + length > len(content):
                raise _damaged()
            yield key >> 3, content[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise _damaged()
    if at > len(content):
        raise _damaged()


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    number = 0
    for byte, value in enumerate(content[at : at + 10]):
        number |= (value & 0x7F) << (7 * byte)
        if value < 0x80:
            return number, at + byte + 1
    raise _damaged()


def _damaged() -> InputError:
    return InputError("this network is damaged: it is no ONNX model; export it again")
