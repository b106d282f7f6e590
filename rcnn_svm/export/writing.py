"""Writes a detector as a folder that runs without torch."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.exported_folder import DESCRIPTION, KIND, MAPS, NETWORK, RANKER, SCHEMA, digest_of
from rcnn_svm.artefacts.files import array_digest, atomic_stream, check_writable, provenance, write_text
from rcnn_svm.artefacts.model_file import Model
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.export.scoring_network import ScoringNetwork
from rcnn_svm.features.map_network import load_recorded_network
from rcnn_svm.features.runtime import cpu_batch_size
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.proposals.methods import RANKED, make_proposer


def export_detector(
    detector: Detector, out_dir: str | os.PathLike, *, weights: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Write a detector with all that it needs to find objects in images, but for numpy, OpenCV and ONNX Runtime.

    Args:
        detector: the detector, with its parts.
        out_dir: folder of the files; an earlier export in it is replaced.
        weights: state dict file of the network, where the features were made with one.

    Returns:
        What `detector.json` holds.

    Raises:
        InputError: the detector does not record how features or proposals were made, they cannot be made again from
            images alone, the weights at hand are others, or nothing can be written there.
    """
    folder = Path(out_dir)
    check_writable(folder / DESCRIPTION)
    proposals, files = _proposals(detector, weights)
    network = ScoringNetwork(detector, weights)
    files[NETWORK] = network.to_onnx()
    settings, backbone = FeatureSettings.from_json(detector.feature_settings), network.backbone
    described = {
        "kind": KIND,
        "schema": SCHEMA,
        "classes": list(detector.classes),
        "recipe": detector.recipe.to_json(),
        "calibration": None if detector.calibration is None else detector.calibration.tolist(),
        "thresholds": None if detector.thresholds is None else detector.thresholds.tolist(),
        "crop": {
            "geometry": {
                "crop_size": backbone.crop_size,
                "padding": backbone.padding,
                "mode": settings.crop_mode,
                "context": settings.context,
                "scene": settings.scene,
            },
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "batch_size": cpu_batch_size(backbone),
        },
        "proposals": proposals,
        "source": source_of(detector),
        "files": {name: digest_of(content) for name, content in files.items()},
        "provenance": provenance(),
    }
    # A folder whose description is gone or names other files is refused, not misread.
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for name, content in files.items():
        with atomic_stream(folder / name) as stream:
            stream.write(content)
    write_text(folder / DESCRIPTION, json.dumps(described, indent=1) + "\n")
    return described


def source_of(model: Model) -> dict[str, Any]:
    """Return what decides an export, JSON-able: settings of a model and of its parts, and digests of their arrays."""
    parts = {name: source_of(part) for name, part in model.parts().items()}
    return {**model.settings(), "arrays": array_digest(*model.arrays().values()), **parts}


def _proposals(detector: Detector, weights: str | os.PathLike | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return how the proposals of an image are made, JSON-able, and the files that this needs, by name.

    Raises:
        InputError: they cannot be made of an image, or the weights at hand are not those of the ranker's maps.
    """
    recorded = dict(FeatureSettings.from_json(detector.feature_settings).proposals or {})
    if not recorded:
        raise InputError(
            "the detector does not record how proposals were made for its training (its features came from arrays), so "
            "it cannot be exported to find objects in images"
        )
    if detector.ranker is None or recorded.get("method") != RANKED:
        make_proposer(recorded)  # refuses those that were read from a file
        return recorded, {}
    network = load_recorded_network(detector.ranker.maps, weights)
    limits = {name: recorded.get(name) for name in ("max_boxes", "merge_iou")}
    content = io.BytesIO()
    arrays: dict[str, Any] = detector.ranker.arrays()
    np.savez(content, **arrays)
    files = {MAPS: network.to_onnx(), RANKER: content.getvalue()}
    return {"method": RANKED, **limits, "maps": network.settings}, files
