"""Measures on a feature cache how unequal the examples of a detector are: how many are easy or hard, and what share
of the loss each kind carries, in the SVM's reading of the scores (hinge loss) and in a logistic one (cross-entropy,
with and without the focal loss's weighting).

Prints the tables and writes imbalance.csv, imbalance.json and imbalance.png.

  rcnn-svm imbalance --features cache/features/NAME --model cache/models/NAME.h5
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from rcnn_svm import paper
from rcnn_svm.cli.arguments import add_neg_overlap_argument, positive_float
from rcnn_svm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to measure on")
    parser.add_argument("--model", metavar="FILE", type=Path, required=True, help="model of the train stage")
    add_neg_overlap_argument(parser)
    parser.add_argument(
        "--easy-loss",
        metavar="LOSS",
        type=positive_float,
        default=math.log(2),
        help="an example is easy when its cross-entropy is below this (default: log 2, a score on the right side of 0)",
    )
    parser.add_argument(
        "--gamma",
        metavar="X",
        type=positive_float,
        default=paper.FOCAL_GAMMA,
        help="gamma of the focal loss (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: cache/reports/<name of the model>/)"
    )


def run(args: argparse.Namespace) -> None:
    """Measure, print the tables and write the report."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, fingerprint, provenance, write_text
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.image_set import check_features, run_settings
    from rcnn_svm.mining.imbalance import measure_cache
    from rcnn_svm.reports.imbalance import (
        imbalance_csv,
        imbalance_json,
        imbalance_records,
        imbalance_text,
        save_imbalance,
    )

    if not 0 <= args.neg_overlap <= 1:
        raise InputError(f"--neg-overlap {args.neg_overlap} must be between 0 and 1")
    cache, detector = FeatureCache.open(args.features), Detector.load(args.model)
    check_features(detector, cache, str(args.model), str(args.features))
    out = args.out or Path("cache/reports") / args.model.stem
    check_writable(out / "imbalance.json")
    thresholds = {
        "neg_overlap": args.neg_overlap,
        "hard_thresh": paper.HARD_THRESH,
        "easy_loss": args.easy_loss,
        "gamma": args.gamma,
    }
    measured = measure_cache(cache, detector, **thresholds)
    records = imbalance_records(measured, detector.classes)
    print(imbalance_text(records, thresholds), end="\n\n", flush=True)

    inputs = {key: run_settings(cache, detector)[key] for key in ("image_set", "features", "detector")}
    settings = {**inputs, **thresholds}
    with claimed(out / "imbalance.json"):
        write_text(out / "imbalance.csv", imbalance_csv(records))
        made_by = {"fingerprint": fingerprint(settings), "provenance": provenance()}
        write_text(out / "imbalance.json", imbalance_json(records, settings, made_by))
        title = f"{cache.name}: {sum(r['positives'] for r in records[:-1]):,} positives, "
        title += f"{sum(r['negatives'] for r in records[:-1]):,} negatives of {len(detector.classes)} classes"
        save_imbalance(measured, args.easy_loss, title, out / "imbalance.png")
    say_written(out, *(out / f"imbalance.{kind}" for kind in ("csv", "json", "png")))
