"""R-CNN with SVM hard negative mining, and the family of hard example mining methods around it."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "BootstrapClassifier": "rcnn_svm.mining.bootstrap",
    "BoxRegressor": "rcnn_svm.detection.bbox_regression",
    "BoxRegressorTrainer": "rcnn_svm.detection.bbox_training",
    "Detector": "rcnn_svm.detection.detector",
    "FeatureCache": "rcnn_svm.cache",
    "FeatureExtractor": "rcnn_svm.features.extract",
    "HardNegativeMiner": "rcnn_svm.mining.hard_negatives",
    "ImageDatabase": "rcnn_svm.data",
    "ImageDetector": "rcnn_svm.detection.detect",
    "InputError": "rcnn_svm.errors",
    "ProposalSet": "rcnn_svm.proposals.store",
    "RegionSet": "rcnn_svm.cache",
    "evaluate_coco": "rcnn_svm.evaluation.coco",
    "evaluate_detections": "rcnn_svm.evaluation.voc",
    "extract_database": "rcnn_svm.features.extract",
    "load_backbone": "rcnn_svm.features.backbones",
    "load_coco": "rcnn_svm.data",
    "load_csv": "rcnn_svm.data",
    "load_image": "rcnn_svm.data",
    "load_voc": "rcnn_svm.data",
    "load_xml_folder": "rcnn_svm.data",
    "make_proposer": "rcnn_svm.proposals.methods",
    "make_runtime": "rcnn_svm.features.runtime",
    "propose_database": "rcnn_svm.proposals.propose",
    "split_database": "rcnn_svm.data",
    "detect_in_cache": "rcnn_svm.detection.image_set",
}

__all__ = ["__version__", *_HOME]


def __dir__() -> list[str]:
    # What is not loaded yet is to be found too, by whoever completes names.
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that `rcnn-svm --help` does not wait for torch and scikit-learn.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rcnn_svm' has no attribute {name!r}")
