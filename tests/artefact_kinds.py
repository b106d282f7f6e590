"""One small artefact of every kind, in a folder laid out as that of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.files import create_h5, file_digest, provenance
from rcnn_svm.artefacts.header import read_arrays
from rcnn_svm.detection.bbox_training import BoxRegressorTrainer
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.fast_rcnn.roi_head import RoIHead
from rcnn_svm.finetune.record import RECORD, WEIGHTS, FineTuningRecord
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from rcnn_svm.proposals.ranker import OUTPUTS, ProposalRanker
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.table import EVALUATION, SCHEMA
from tests.toys import CLASSES, stored, telling

SETTINGS = {
    "backbone": {"name": "lite0", "layer": "penultimate", "weights": "trained", "weights_digest": "ab" * 32},
    "crop_size": 64,
    "padding": 0,
    "crop_mode": "warp",
    "proposals": {"method": "sliding", "max_boxes": 12, "database": "toy"},
}


def write_artefacts(folder: Path) -> dict[str, Path]:
    """Write one artefact of every kind and return their paths by kind."""
    cache = stored(telling(1, 10, "toy"), folder / "features/toy", shard_images=4)
    miner = HardNegativeMiner(svm_C=0.1, retrain_limit=20, n_jobs=1).fit(cache)
    miner.save(folder / "model.h5")
    BoxRegressorTrainer(min_overlap=0.3).fit(cache).save(folder / "bbox.h5")
    detect_in_cache(cache, miner.detector_).save(folder / "detections.h5")
    proposals_of(cache).save(folder / "proposals/toy.sliding.h5")
    write_ranker(folder / "ranker.h5")
    write_head(folder / "head.h5")
    write_network(folder / "network.h5")
    identity = {"parameters": {"svm_C": 0.1}, "cache": cache.fingerprint}
    added, updates = np.zeros((7, 4), np.int32), np.zeros((2, 8), np.int32)
    Checkpoint(folder / "other.h5.checkpoint", identity).save(3, {"added": added, "updates": updates})
    write_finetuned(folder / "finetuned")
    return {
        "feature cache": folder / "features/toy",
        "detector": folder / "model.h5",
        "box regressor": folder / "bbox.h5",
        "proposal ranker": folder / "ranker.h5",
        "RoI head": folder / "head.h5",
        "Fast R-CNN network": folder / "network.h5",
        "detections": folder / "detections.h5",
        "proposals": folder / "proposals/toy.sliding.h5",
        "training checkpoint": folder / "other.h5.checkpoint",
        "fine-tuned network": folder / "finetuned",
    }


def content_of(path: Path) -> dict[str, bytes]:
    """Return the bytes of every array of an HDF5 artefact, or of all files of a folder."""
    files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    return {
        f"{file.name if path.is_dir() else ''}/{name}": repr(array.tolist()).encode()
        if array.dtype == object
        else array.tobytes()
        for file in files
        for name, array in read_arrays(file).items()
    }


def proposals_of(cache: Any, **settings: Any) -> ProposalSet:
    """Return the proposals that a cache has, as if a search had made them."""
    boxes = [regions.boxes[~regions.gt] for regions in map(cache.regions, range(cache.num_images))]
    made = {"method": "sliding", "max_boxes": 12, "database": cache.name, **settings}
    return ProposalSet(cache.image_ids, boxes, made, tuple(f"{number:064d}" for number in range(cache.num_images)))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Return some numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write_ranker(path: Path, **training: Any) -> None:
    """Write a proposal ranker that learnt nothing."""
    arrays = numbers(3, 6, 4), numbers(3, 4), numbers(3, 4, OUTPUTS), numbers(3, OUTPUTS)
    identity = {"parameters": {"epochs": 2}, "images": "00" * 8}
    made = {"identity": identity, "image_set": "toy", "num_images": 10, "num_objects": 30, **training}
    ProposalRanker(*arrays, maps={"name": "lite0", "long_side": 448}, training=made).save(path)


def write_head(path: Path, lr: float = 0.001, shift: float = 0.0) -> None:
    """Write a RoI head that learnt nothing, with a history."""
    K = len(CLASSES) + 1
    head = RoIHead(
        classes=CLASSES,
        W=numbers(8, K) + np.float32(shift),
        B=numbers(K),
        box_W=numbers(8, 4 * K),
        box_B=numbers(4 * K),
        hidden_W=np.empty((8, 0), np.float32),
        hidden_B=np.empty(0, np.float32),
        box_stds=(0.1, 0.1, 0.2, 0.2),
        feat_norm_mean=2.0,
        feature_settings=SETTINGS,
        training={"identity": {"parameters": {"lr": lr}, "cache": "00" * 8}, "image_set": "toy", "num_images": 10},
    )
    steps = np.tile(np.float32([1, 0.5, 64, 16]), (20, 1))
    steps[10:, :2] /= 4
    head.save(path, {"steps": steps, "probes": np.zeros((0, 3), np.float32)})


def write_network(path: Path, seed: int = 3) -> None:
    """Write what a file of a Fast R-CNN network has, of two layers."""
    identity = {"parameters": {"seed": seed}, "network": {"name": "vgg16"}, "image_set": "toy", "images": "00" * 8}
    settings = {"classes": list(CLASSES), "network": {"name": "vgg16"}, "training": {"identity": identity}}
    with create_h5(path, "Fast R-CNN network", 1, settings) as handle:
        handle["state/first"], handle["state/second"] = numbers(4, 3), numbers(4)
        handle["history/steps"], handle["history/probes"] = np.ones((5, 4), np.float32), np.ones((2, 3))


def write_finetuned(folder: Path, lr: float = 0.001, weights: bytes = b"weights") -> None:
    """Write the record of a fine-tuning beside bytes that stand for its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    identity = {
        "parameters": {"iterations": 20, "lr": lr},
        "network": {"name": "alexnet", "crop_size": 227},
        "classes": list(CLASSES),
        "image_set": "toy",
        "images": "00" * 8,
        "proposals": "11" * 8,
    }
    lines = [(10, 1.5, 0.25, 0.5), (20, 0.5, 0.75, 0.875)]
    log = [dict(zip(("iteration", "loss", "accuracy", "foreground_accuracy"), line, strict=True)) for line in lines]
    FineTuningRecord(identity, log, file_digest(folder / WEIGHTS), provenance()).save(folder / RECORD)


def write_results(path: Path, map_voc07: float = 0.5) -> None:
    """Write the results of an evaluation, as far as others read them."""
    classes = [{"class": name, "objects": 10, "ap_voc07": map_voc07, "ap_area": 0.4} for name in CLASSES]
    figures = {"map_voc07": map_voc07, "map_area": 0.4, "iou": 0.5, "nms": 0.3}
    what = {"kind": EVALUATION, "schema": SCHEMA, "image_set": "toy", "images": 10}
    content = {**what, **figures, "classes": classes, "made_from": {"detections": {}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
