"""ONNX models, ready to run on a CPU."""

from __future__ import annotations

import os

# Before its import ends, ONNX Runtime would make an id of this machine and send what it counts to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def onnx_session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return an ONNX model ready to run.

    Args:
        model: the model.
        threads: how many work at one call. With 1, threads may share the session and each runs in itself alone.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
