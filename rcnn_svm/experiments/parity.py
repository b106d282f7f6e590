"""Comparison of a training with the record of another program's training of the same case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.errors import InputError
from rcnn_svm.mining.hard_negatives import HardNegativeMiner

ARRAYS = ("feat", "image_start", "boxes", "gt", "overlap", "cls", "image_size")
PARAMETERS = (
    *("num_classes", "layer", "k_folds", "max_hard_epochs", "svm_C", "pos_loss_weight", "bias_mult"),
    *("retrain_limit", "hard_thresh", "evict_thresh", "neg_ovr_thresh"),
)

WEIGHT_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ParityRow:
    """One line of the comparison: what, whether it is equal, and how much or where not."""

    what: str
    equal: bool
    detail: str


def case_cache(inputs: Mapping[str, np.ndarray], name: str) -> FeatureCache:
    """Return the feature cache of a case, after the fully connected layers where it has some.

    Args:
        inputs: the contents of `inputs.npz`, ARRAYS (boxes 1-based) and PARAMETERS.
        name: name of the case.

    Raises:
        InputError: something is missing.
    """
    layers = ("fc6_w", "fc6_b", "fc7_w", "fc7_b") if inputs.get("layer") == 7 else ()
    missing = [key for key in (*ARRAYS, *PARAMETERS, *layers) if key not in inputs]
    if missing:
        raise InputError(f"case {name} lacks {', '.join(missing)}")
    features = inputs["feat"]
    if int(inputs["layer"]) == 7:
        features = np.maximum(features @ inputs["fc6_w"] + inputs["fc6_b"], 0)
        features = np.maximum(features @ inputs["fc7_w"] + inputs["fc7_b"], 0)
    return FeatureCache.from_arrays(
        features=features,
        image_start=inputs["image_start"],
        boxes=inputs["boxes"] - 1,
        gt=inputs["gt"],
        label=inputs["cls"],
        overlap=inputs["overlap"],
        image_size=inputs["image_size"],
        classes=[f"c{k}" for k in range(int(inputs["num_classes"]))],
        name=name,
    )


def case_miner(inputs: Mapping[str, np.ndarray], **options) -> HardNegativeMiner:
    """Return a miner with the parameters of a case; `options` are further keywords of the miner."""
    norm = inputs.get("feat_norm_mean")
    return HardNegativeMiner(
        svm_C=float(inputs["svm_C"]),
        pos_loss_weight=float(inputs["pos_loss_weight"]),
        bias_mult=float(inputs["bias_mult"]),
        hard_thresh=float(inputs["hard_thresh"]),
        evict_thresh=float(inputs["evict_thresh"]),
        neg_overlap=float(inputs["neg_ovr_thresh"]),
        retrain_limit=int(inputs["retrain_limit"]),
        max_epochs=int(inputs["max_hard_epochs"]),
        feat_norm_mean=None if norm is None else float(norm),
        **options,
    )


def result_arrays(miner: HardNegativeMiner) -> dict[str, np.ndarray]:
    """Return what a fitted miner found, under the names and in the layout of `expected.npz`."""
    history = miner.history_
    arrays = {
        "W": miner.detector_.W,
        "B": miner.detector_.B,
        "added": history.table("added"),
        "scan": history.table("scan"),
        "updates": history.table("updates"),
        "update_loss": history.table("update_loss"),
        "evicted": history.table("evicted"),
        "keys_neg": miner.negatives_,
        "feat_norm_mean": np.asarray(miner.detector_.feat_norm_mean, np.float32),
    }
    if miner.fold_detectors_:
        arrays["fold_W"] = np.stack([detector.W for detector in miner.fold_detectors_])
        arrays["fold_B"] = np.stack([detector.B for detector in miner.fold_detectors_])
    return arrays


def compare(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> list[ParityRow]:
    """Compare two records: keys, schedule and evictions exactly, weights and losses within tolerance."""
    rows = [
        _exact("keys added", found["added"], expected["added"], "class, epoch, image, box"),
        _exact("candidates and duplicates", found["scan"], expected["scan"], "class, epoch, image, passed, added"),
        _exact("schedule of updates", found["updates"][:, :7], expected["updates"][:, :7], _UPDATE_COLUMNS),
        _exact("evictions", found["evicted"], expected["evicted"], "update, image, box"),
        _exact("final caches", found["keys_neg"], expected["keys_neg"], "class, image, box"),
        _close("W", found["W"], expected["W"], WEIGHT_TOLERANCE),
        _close("B", found["B"], expected["B"], WEIGHT_TOLERANCE),
        _close("losses", found["update_loss"], expected["update_loss"], LOSS_TOLERANCE),
    ]
    for name in ("fold_W", "fold_B"):
        if name in found and name in expected:
            rows.append(_close(name, found[name], expected[name], WEIGHT_TOLERANCE))
    return rows


_UPDATE_COLUMNS = "class, epoch, image, positives, negatives, left, added"


def _exact(what: str, found: np.ndarray, expected: np.ndarray, columns: str) -> ParityRow:
    if np.array_equal(found, expected):
        return ParityRow(what, True, f"{len(found):,} rows")
    common = min(len(found), len(expected))
    different = np.flatnonzero((found[:common] != expected[:common]).any(axis=1))
    if not len(different):
        return ParityRow(what, False, f"{len(found):,} rows, expected {len(expected):,}; equal up to the shorter")
    first = different[0]
    return ParityRow(
        what,
        False,
        f"{len(found):,} rows, expected {len(expected):,}; first difference in row {first} ({columns}): "
        f"{found[first].tolist()}, expected {expected[first].tolist()}",
    )


def _close(what: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> ParityRow:
    if found.shape != expected.shape:
        return ParityRow(what, False, f"shape {found.shape}, expected {expected.shape}")
    # By column: a class's weights or one of the losses, none of which must hide behind larger ones.
    size = np.abs(expected).max(axis=-2 if expected.ndim > 1 else 0, keepdims=True, initial=1e-30)
    error = float((np.abs(found - expected) / size).max(initial=0))
    return ParityRow(what, error <= tolerance, f"relative difference {error:.1e}, allowed {tolerance:.0e}")
