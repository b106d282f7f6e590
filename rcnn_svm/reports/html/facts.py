"""What a report was made from, in words: parameters, files, commands and fingerprints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from rcnn_svm.artefacts.files import open_h5_of
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.features.settings import FeatureSettings


def made_by(path: str | os.PathLike, kind: str) -> dict[str, str]:
    """Return what an HDF5 artefact says of how it was made.

    Args:
        path: the file.
        kind: what it must be.

    Raises:
        InputError: it is missing, damaged or of another kind.
    """
    with open_h5_of(path, [kind]) as handle:
        made = json.loads(handle.attrs["provenance"])
        return {
            "file": str(path),
            "fingerprint": str(handle.attrs["fingerprint"]),
            "command": str(made["command"]),
            "made": f"{made['time']} by rcnn-svm {made['rcnn_svm']}",
        }


def mining_facts(detector: Detector) -> dict[str, Any]:
    """Return the parameters of a training, in the order and by the names of the estimator."""
    parameters = detector.training.get("identity", {}).get("parameters", {})
    left_out = {"classes", "feat_norm_mean"}
    shown = {name: value for name, value in parameters.items() if name not in left_out and value is not None}
    return {**shown, "feat_norm_mean": f"{detector.feat_norm_mean:.5g}"}


def cache_facts(cache: FeatureCache) -> dict[str, Any]:
    """Return what a feature cache holds."""
    return {
        "image set": f"{cache.name}, {cache.num_images} images, {cache.num_rows:,} regions",
        "features": FeatureSettings.from_json(cache.settings).description(f"{cache.dim}-d {cache.dtype}"),
        "fingerprint": cache.fingerprint,
    }


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as JSON for people."""
    return json.dumps(settings, indent=1, ensure_ascii=False)
