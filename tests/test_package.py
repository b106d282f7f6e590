"""What a user imports is there, and comes without waiting for what it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rcnn_svm


def test_every_public_name_exists():
    for name in rcnn_svm.__all__:
        assert getattr(rcnn_svm, name) is not None
    assert {"ImageDatabase", "FeatureCache", "HardNegativeMiner", "Detector"} <= set(rcnn_svm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rcnn_svm.nonsense


def test_names_are_listed_before_they_are_loaded():
    code = "import rcnn_svm; print(*sorted(set(rcnn_svm.__all__) - set(dir(rcnn_svm))), 'numpy' in dir(rcnn_svm))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_command_line_is_a_module_too():
    argv = [sys.executable, "-m", "rcnn_svm", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"rcnn-svm {rcnn_svm.__version__}\n"
