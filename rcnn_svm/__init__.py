"""R-CNN with SVM hard negative mining, and the family of hard example mining methods around it."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "BootstrapClassifier": "rcnn_svm.mining.bootstrap",
    "Detector": "rcnn_svm.detection.detector",
    "FeatureCache": "rcnn_svm.cache",
    "HardNegativeMiner": "rcnn_svm.mining.hard_negatives",
    "ImageDatabase": "rcnn_svm.data",
    "InputError": "rcnn_svm.errors",
    "ProposalSet": "rcnn_svm.proposals.store",
    "RegionSet": "rcnn_svm.cache",
    "load_voc": "rcnn_svm.data",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that `rcnn-svm --help` does not wait for torch and scikit-learn.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rcnn_svm' has no attribute {name!r}")
