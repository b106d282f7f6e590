"""Scores every proposal of a feature cache with a model and keeps the best 100 of each class in an image, and
the best 40 times the number of images of each class in the whole set.

The cache must hold the features that the model was trained on: same backbone, layer and crops; for a model of
fc6 or fc7 it may hold pool5. Its proposals may be others. The result holds boxes before non-maximum suppression;
the evaluate stage suppresses. With --bbox the boxes that are kept are corrected; their scores stay.

  rcnn-svm test --features cache/features/voc_2007_test.lite0.penultimate --model cache/models/MODEL.h5

With --scores softmax the model is the weights.pt of the finetune stage, and the cache holds the features that
extract makes with it. Scores are then log-odds: they rank as the softmax's probabilities, which tie near 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_layer_arguments, open_features, positive_int
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.detector import Detector

HELP = "score a feature cache with a model and keep the best boxes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache of the image set")
    parser.add_argument("--model", metavar="FILE", type=Path, required=True, help="model of the train stage")
    add_layer_arguments(parser, "the model's")
    parser.add_argument(
        "--scores",
        choices=("svm", "softmax"),
        default="svm",
        help="what the model is: SVMs, or the last layer of a fine-tuned network (default: %(default)s)",
    )
    parser.add_argument(
        "--max-per-image",
        metavar="N",
        type=positive_int,
        default=100,
        help="boxes of a class to keep in one image (default: %(default)s)",
    )
    parser.add_argument("--bbox", metavar="FILE", type=Path, help="correct the boxes with this file of the bbox stage")
    parser.add_argument(
        "--bbox-features",
        metavar="DIR",
        type=Path,
        help="feature cache to correct from: the same regions in the layer that --bbox was trained on "
        "(default: that of --features)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write (default: cache/detections/<name of DIR>.h5, or .softmax.h5)",
    )


def run(args: argparse.Namespace) -> None:
    """Score, correct where asked for, and write, or find it done."""
    from rcnn_svm.detection.bbox_correction import correct_detections, correction_settings
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.softmax import SoftmaxClassifier
    from rcnn_svm.detection.testing import check_features, run_settings, test_cache
    from rcnn_svm.files import check_writable

    detector = (SoftmaxClassifier if args.scores == "softmax" else Detector).load(args.model)
    cache = open_features(args.features, args.layer or _layer_to_compute(detector, args.features), args.weights)
    check_features(detector, cache, f"model {args.model}", f"cache {args.features}")
    suffix = ".softmax" if args.scores == "softmax" else ""
    out = args.out or Path("cache/detections") / f"{args.features.resolve().name}{suffix}.h5"
    check_writable(out)
    settings = run_settings(cache, detector, max_per_image=args.max_per_image)
    correction = _correction(args, cache, detector.classes)
    if correction:
        settings["bbox"] = correction_settings(*correction)
    if out.exists() and Detections.load(out).settings == settings:
        print(f"{out} holds these detections already")
    else:
        detections = test_cache(cache, detector, max_per_image=args.max_per_image)
        if correction:
            detections = correct_detections(detections, *correction)
        detections.save(out)
        print(
            f"{cache.num_images} images, {cache.num_rows} regions, {len(detector.classes)} classes: "
            f"{len(detections)} boxes kept, before non-maximum suppression"
        )
    print(f"wrote {out}")


def _correction(
    args: argparse.Namespace, cache: FeatureCache, classes: Sequence[str]
) -> tuple[BoxRegressor, FeatureCache] | None:
    """Return the box regressor and the features it is applied to, or None without --bbox."""
    from rcnn_svm.detection.bbox_correction import check_same_regions
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.testing import check_features

    if args.bbox is None:
        if args.bbox_features:
            raise InputError("--bbox-features needs --bbox, the file that says how to correct boxes")
        return None
    regressor, folder = BoxRegressor.load(args.bbox), args.bbox_features or args.features
    regressor.columns(classes)
    features = open_features(folder, _layer_to_compute(regressor, folder), args.weights)
    check_features(regressor, features, f"box regressor {args.bbox}", f"cache {folder}")
    if args.bbox_features:
        check_same_regions(cache, features, f"cache {args.features}", f"cache {folder}")
    return regressor, features


def _layer_to_compute(detector: Detector | BoxRegressor, features: Path) -> str | None:
    """Return the model's layer where it can be computed from what the cache stores, else None."""
    from rcnn_svm.cache import read_plan
    from rcnn_svm.features.backbones import FULLY_CONNECTED, POOL5

    trained, stored = (
        (settings.get("backbone") or {}).get("layer")
        for settings in (detector.feature_settings, read_plan(features).settings)
    )
    return trained if stored == POOL5 and trained in FULLY_CONNECTED else None
