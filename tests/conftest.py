"""Fixtures that find the optional reference data, and skip what needs it where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _reference(variable: str, default: Path, what: str) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"{what} not found at {path}; set {variable} to its folder to run this test")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder with inputs and outputs of the original MATLAB code."""
    return _reference("RCNN_SVM_GOLDEN", SHARED / "golden", "golden files of the original code")


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOCdevkit folder that holds VOC2007."""
    return _reference("RCNN_SVM_VOC", SHARED / "VOCdevkit", "PASCAL VOC 2007 images")
