"""Scores every proposal of a feature cache with a model and keeps the best 100 of each class in an image, and
the best 40 times the number of images of each class in the whole set.

The cache must hold the features that the model was trained on: same backbone, layer and crops; for a model of
fc6 or fc7 it may hold pool5. Its proposals may be others. The result holds boxes before non-maximum suppression;
the evaluate stage suppresses.

  rcnn-svm test --features cache/features/voc_2007_test.lite0.penultimate --model cache/models/MODEL.h5
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_layer_arguments, open_features, positive_int

if TYPE_CHECKING:
    from rcnn_svm.detection.detector import Detector

HELP = "score a feature cache with a model and keep the best boxes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache of the image set")
    parser.add_argument("--model", metavar="FILE", type=Path, required=True, help="model of the train stage")
    add_layer_arguments(parser, "the model's")
    parser.add_argument(
        "--max-per-image",
        metavar="N",
        type=positive_int,
        default=100,
        help="boxes of a class to keep in one image (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: cache/detections/<name of DIR>.h5)"
    )


def run(args: argparse.Namespace) -> None:
    """Score and write, or find it done."""
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.testing import check_features, run_settings, test_cache
    from rcnn_svm.files import check_writable

    detector = Detector.load(args.model)
    cache = open_features(args.features, args.layer or _layer_to_compute(detector, args.features), args.weights)
    check_features(detector, cache, f"model {args.model}", f"cache {args.features}")
    out = args.out or Path("cache/detections") / f"{args.features.resolve().name}.h5"
    check_writable(out)
    settings = run_settings(cache, detector, max_per_image=args.max_per_image)
    if out.exists() and Detections.load(out).settings == settings:
        print(f"{out} holds these detections already")
    else:
        detections = test_cache(cache, detector, max_per_image=args.max_per_image)
        detections.save(out)
        print(
            f"{cache.num_images} images, {cache.num_rows} regions, {len(detector.classes)} classes: "
            f"{len(detections)} boxes kept, before non-maximum suppression"
        )
    print(f"wrote {out}")


def _layer_to_compute(detector: Detector, features: Path) -> str | None:
    """Return the model's layer where it can be computed from what the cache stores, else None."""
    from rcnn_svm.cache import read_plan
    from rcnn_svm.features.backbones import FULLY_CONNECTED, POOL5

    trained, stored = (
        (settings.get("backbone") or {}).get("layer")
        for settings in (detector.feature_settings, read_plan(features).settings)
    )
    return trained if stored == POOL5 and trained in FULLY_CONNECTED else None
