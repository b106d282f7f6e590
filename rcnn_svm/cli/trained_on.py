"""The features that a model was trained on, where a command does not name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import layer_to_compute
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.detection.detector import Detector


def trained_on(model: Path, detector: Detector) -> Path:
    """Return the feature cache of a model's image set in a folder `features` beside its file, or beside its folder.

    Args:
        model: the file.
        detector: what it holds.

    Raises:
        InputError: there is none with the features of the model.
    """
    from rcnn_svm.cache import read_plan
    from rcnn_svm.cache.plan import MANIFEST

    image_set = detector.training.get("image_set")
    beside = model.resolve().parent
    for folder in (beside / "features", beside.parent / "features"):
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            plan = read_plan(manifest.parent)
            computed = layer_to_compute(detector, manifest.parent) is not None
            if plan.name == image_set and (computed or plan.settings == detector.feature_settings):
                return manifest.parent
    of_set = f", those of {image_set}" if image_set else ""
    raise InputError(
        f"no folder features beside {model} has the features that it was trained on{of_set}; give them with "
        "--features DIR"
    )
