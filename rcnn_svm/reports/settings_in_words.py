"""Settings of artefacts in words, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.words import counted, shortened

# What settings are called here; the others by their names, with spaces for `_`.
_NAMES = {
    "svm_C": "C",
    "pos_loss_weight": "weight of a positive",
    "bias_mult": "bias feature",
    "neg_overlap": "negatives below IoU",
    "hard_thresh": "hard above score",
    "evict_thresh": "evicted below score",
    "retrain_limit": "retrained after",
    "max_epochs": "passes",
    "k_folds": "folds",
    "feat_norm_mean": "mean norm of the features",
    "num_negatives": "negatives of each class",
    "min_overlap": "examples from IoU",
    "ridge_lambda": "lambda",
    "lr": "learning rate",
    "max_boxes": "boxes of an image at most",
    "merge_iou": "merged above IoU",
    "crop_size": "side of a crop",
    "padding": "context of a crop",
    "crop_mode": "shape of a crop",
    "weights_digest": "digest of the network's weights",
    "initial_digest": "digest of the initial weights",
    "cache": "digest of the features",
    "images": "digest of the images",
    "database": "image set",
    "max_per_image": "boxes of a class in an image at most",
    "max_per_set": "boxes of a class at most",
    "again": "boxes scored again",
    "vote": "box voting",
    "soft_nms": "soft-NMS",
    "also": "merged with earlier detections",
    "bbox": "box regression",
}
# Settings that are digests and lists of other things, which say nothing to a reader.
_NOT_SAID = {"classes", "parts", "mean", "std", "database", "images", "opencv"}
_DIGEST = re.compile("[0-9a-f]{16,}")


def name_in_words(path: str) -> str:
    """Return what a setting is called; `path` is its dotted name, such as `features.backbone.layer`."""
    *outer, last = path.split(".")
    if last == "name" and outer and outer[-1] in ("backbone", "network", "maps"):
        return "network"
    return _NAMES.get(last, last.replace("_", " "))


def value_in_words(value: Any) -> str:
    """Return a setting's value, a long one or a digest shortened."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return shortened(in_words(value) or "none")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return shortened(" ".join(map(value_in_words, value)) or "none")
    return value[:8] if isinstance(value, str) and _DIGEST.fullmatch(value) else shortened(str(value))


def pair_in_words(a: Any, b: Any) -> str:
    """Return two values of a setting that differ as "1 in A, 2 in B", in full where they are alike when shortened."""
    said = value_in_words(a), value_in_words(b)
    if said[0] == said[1]:
        said = str(a), str(b)
    return f"{said[0]} in A, {said[1]} in B"


def in_words(settings: Mapping[str, Any], left_out: Sequence[str] = ()) -> str:
    """Return settings as "name value, name value".

    Those that are None are left out, and what says nothing to a reader.

    Args:
        settings: JSON-able.
        left_out: names that are not said either.
    """
    names = sorted(settings, key=lambda name: list(_NAMES).index(name) if name in _NAMES else len(_NAMES))
    return ", ".join(
        f"{name_in_words(name)} {value_in_words(settings[name])}"
        for name in names
        if settings[name] is not None and name not in _NOT_SAID and name not in left_out
    )


def features_in_words(settings: Mapping[str, Any], kind: str) -> str:
    """Return what made features, as far as it is recorded.

    Args:
        settings: those of a cache, or of the features of a model.
        kind: what they are, such as "4096-d float32".
    """
    made = FeatureSettings.from_json(settings)
    parts = [made.description(kind)]
    if made.crop_size is not None:
        parts.append(f"{'square' if made.crop_mode == 'square' else 'warped'} crops of {made.crop_size} px")
        parts.append(f"{made.padding} px of context" if made.padding else "no context")
    if made.weights is not None:
        digest = value_in_words(made.backbone.get("weights_digest"))
        parts.append(f"{made.weights} weights {digest}")
    if not made.backbone and "source" in settings:
        parts.append(f"from {settings['source']}")
    return ", ".join(parts)


def network_in_words(settings: Mapping[str, Any]) -> str:
    """Return the settings of a network, its name first."""
    return ", ".join(filter(None, [str(settings.get("name", "unknown")), in_words(settings, ["name"])]))


def proposals_in_words(settings: Mapping[str, Any]) -> str:
    """Return what made proposals."""
    return ", ".join(filter(None, [str(settings.get("method", "unknown")), in_words(settings, ["method"])]))


def training_in_words(training: Mapping[str, Any]) -> str:
    """Return the parameters of a training, by what a model records of it."""
    identity = training.get("identity") or {}
    said = [str(identity.get("training", "")), in_words(identity.get("parameters") or {})]
    return ", ".join(filter(None, said)) or "not recorded"


def data_in_words(training: Mapping[str, Any]) -> str:
    """Return what a model was trained on, by what it records of it."""
    counts = [
        counted(training[f"num_{noun}s"], noun) for noun in ("image", "region", "object") if f"num_{noun}s" in training
    ]
    identity = training.get("identity") or {}
    digest = identity.get("cache")
    name = training.get("image_set") or identity.get("image_set") or "data that is not recorded"
    said = f"{name}: {', '.join(counts)}" if counts else str(name)
    return f"{said} (features {digest})" if digest else said
