"""Trains bounding-box regression on a feature cache: for every class a linear function from the features of a
box that shows an object to a box that fits it better, as rcnn_train_bbox_regressor.m does.

Classes in which corrections bring boxes of images that were not learnt from no nearer to their objects are named, and
their boxes stay as they are. The defaults are the paper's, which uses pool5 features. The test and detect stages take
the result with --bbox. An interrupted training goes on with the classes that are not done.

  rcnn-svm train-bbox --features cache/features/voc_2007_trainval.alexnet.pool5
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_overwrite_argument,
    add_seed_argument,
    add_stored_layer_arguments,
    add_update_argument,
    open_features,
    positive_float,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to train on")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: cache/models/<name of DIR>.bbox.h5)"
    )
    add_overwrite_argument(parser, "a regressor")
    add_update_argument(parser, "a regressor")
    add_stored_layer_arguments(parser, "what the cache holds")
    parser.add_argument(
        "--lambda",
        dest="ridge_lambda",
        metavar="X",
        type=positive_float,
        default=paper.BBOX_RIDGE_LAMBDA,
        help="weight of the squared weights in the ridge regression (default: %(default)s)",
    )
    parser.add_argument(
        "--min-overlap",
        metavar="IOU",
        type=float,
        default=paper.BBOX_MIN_OVERLAP,
        help="learn from boxes that overlap an object by more than this (default: %(default)s)",
    )
    add_seed_argument(parser, "the sample of norms")


def run(args: argparse.Namespace) -> None:
    """Train and write the regressor, or find it done."""
    from rcnn_svm.artefacts.checkpoint import checkpoint_beside
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, only_data_differs, say_written
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.bbox_training import BoxRegressorTrainer
    from rcnn_svm.detection.image_set import is_of_same_set
    from rcnn_svm.reports.bbox import bbox_table

    cache = open_features(args.features, args.layer, args.weights)
    suffix = f".{args.layer}" if args.layer else ""
    out = args.out or Path("cache/models") / f"{args.features.resolve().name}{suffix}.bbox.h5"
    trainer = BoxRegressorTrainer(ridge_lambda=args.ridge_lambda, min_overlap=args.min_overlap, seed=args.seed)
    check_writable(out)
    identity = trainer.identity(cache)
    with claimed(out):
        checkpoint = checkpoint_beside(out, identity, overwrite=args.overwrite, update=args.update, derived=["classes"])
        if not already_done(
            out,
            lambda: BoxRegressor.load(out).training.get("identity"),
            identity,
            overwrite=args.overwrite,
            update=args.update,
            same_settings=lambda found: (
                only_data_differs(found, identity, ["classes"]) and is_of_same_set(BoxRegressor.load(out), cache)
            ),
        ):
            trainer.fit(cache, checkpoint=checkpoint).save(out)
        checkpoint.unlink(missing_ok=True)
    print(bbox_table(out))
    say_written(out)
