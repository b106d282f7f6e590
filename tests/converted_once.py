"""Networks are converted to ONNX once for all tests of a process: many run commands with the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from rcnn_svm.features import map_network, runtime

_CONVERTED: dict[str, bytes] = {}
_convert = runtime.export_onnx


@contextmanager
def converted_once() -> Iterator[None]:
    """Let a network be the bytes that were made of it before, with the same weights, input and outputs."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (runtime, map_network):
            patch.setattr(module, "export_onnx", _converted)
        yield


def _converted(module: nn.Module, example: torch.Tensor, *about: Any) -> bytes:
    digest = hashlib.sha256(repr([module, module.training, example.shape, about]).encode())
    for name, tensor in module.state_dict().items():
        digest.update(repr([name, tensor.shape]).encode())
        digest.update(tensor.detach().numpy().tobytes())
    key = digest.hexdigest()
    if key not in _CONVERTED:
        _CONVERTED[key] = _convert(module, example, *about)
    return _CONVERTED[key]
