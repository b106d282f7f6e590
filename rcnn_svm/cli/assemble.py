"""Puts all that detect needs into one model file: a copy of a detector of the train stage, with the box regression of
train-bbox and the ranker of its proposals inside, and with what is done with the boxes that are found.

Whatever takes a model takes the result; detect uses all of it, the other stages the detector alone. Parts that the
model has already stay unless others are given.

  rcnn-svm assemble --model MODEL.h5 --bbox BBOX.h5 --ranker RANKER.h5 --vote
  rcnn-svm detect --model MODEL.detector.h5 street.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm.cli.arguments import add_overwrite_argument, add_soft_nms_argument, add_update_argument, add_vote_argument
from rcnn_svm.detection.recipe import PER_IMAGE

if TYPE_CHECKING:
    from rcnn_svm.detection.detector import Detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--model", metavar="FILE", type=Path, required=True, help="model of the train stage")
    parser.add_argument("--bbox", metavar="FILE", type=Path, help="box regression of the train-bbox stage")
    parser.add_argument("--ranker", metavar="FILE", type=Path, help="ranker of the rank stage that made the proposals")
    add_vote_argument(parser, otherwise="as the model says, at first not")
    parser.add_argument(
        "--again",
        metavar="N",
        type=int,
        help=f"score the best N boxes of an image again, such as {PER_IMAGE}; 0 for none (default: as the model says, "
        "at first none)",
    )
    add_soft_nms_argument(parser, otherwise="as the model says, at first not")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where to write (default: NAME.detector.h5 beside it)")
    add_overwrite_argument(parser, "a model")
    add_update_argument(parser, "a model")


def run(args: argparse.Namespace) -> None:
    """Put the parts together and write the model, or find it done."""
    from dataclasses import replace

    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.detection.bbox_correction import check_regressor
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.detection.image_set import differs_in_data
    from rcnn_svm.detection.recipe import Recipe
    from rcnn_svm.errors import InputError
    from rcnn_svm.features.settings import FeatureSettings
    from rcnn_svm.proposals.ranker import ProposalRanker

    out = args.out or args.model.with_name(f"{args.model.stem}.detector.h5")
    detector, history = Detector.load(args.model), Detector.load_history(args.model)
    if args.bbox:
        regressor = BoxRegressor.load(args.bbox)
        check_regressor(regressor, detector, f"box regressor {args.bbox}", f"model {args.model}")
        detector = replace(detector, bbox_regressor=regressor)
    if args.ranker:
        ranker = ProposalRanker.load(args.ranker)
        recorded = FeatureSettings.from_json(detector.feature_settings).proposals or {}
        if recorded.get("ranker") != ranker.digest:
            raise InputError(
                f"the proposals that model {args.model} was trained on were not made by {args.ranker}; give the ranker "
                "that propose was given, or none where it had a --method"
            )
        detector = replace(detector, ranker=ranker)
    given = {name: getattr(args, name) for name in ("vote", "again", "soft_nms") if getattr(args, name) is not None}
    detector = replace(detector, recipe=Recipe(**{**detector.recipe.to_json(), **given}))
    check_writable(out)
    with claimed(out):
        if not already_done(
            out,
            lambda: _identity(Detector.load(out)),
            _identity(detector),
            overwrite=args.overwrite,
            update=args.update,
            same_settings=lambda found: differs_in_data(found, _identity(detector)),
        ):
            detector.save(out, history)
    parts = ", ".join(part.KIND for part in detector.parts().values()) or "none"
    print(f"parts: {parts}; recipe: {detector.recipe}")
    say_written(out)


def _identity(detector: Detector) -> dict[str, Any]:
    """Return what decides an assembled model, with names that a user understands."""
    from rcnn_svm.artefacts.files import array_digest

    identity = {
        "detector": {"digest": detector.digest, "training": detector.training},
        "recipe": detector.recipe.to_json(),
    }
    if detector.calibration is not None:
        identity["calibration"] = {"digest": array_digest(detector.calibration)}
    if detector.bbox_regressor is not None:
        identity["bbox"] = {"digest": detector.bbox_regressor.digest, "training": detector.bbox_regressor.training}
    if detector.ranker is not None:
        identity["ranker"] = {"digest": detector.ranker.digest, "training": detector.ranker.training}
    return identity
