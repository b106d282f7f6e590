"""Puts all that detect needs into one model file: a copy of a detector of the train stage, with the box regression of
train-bbox and the ranker of its proposals inside, with what is done with the boxes that are found, and with the scores
above which they are worth reporting: of the best F1 of each class, from the report of evaluate.

Whatever takes a model takes the result; detect uses all of it, the other stages the detector alone. Parts that the
model has already stay unless others are given.

  rcnn-svm assemble --model MODEL.h5 --bbox BBOX.h5 --ranker RANKER.h5 --vote
  rcnn-svm assemble --model MODEL.h5 --vote --operating-points results.json
  rcnn-svm detect --model MODEL.detector.h5 street.jpg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm.cli.arguments import add_overwrite_argument, add_soft_nms_argument, add_update_argument, add_vote_argument
from rcnn_svm.detection.recipe import PER_IMAGE

if TYPE_CHECKING:
    import numpy as np

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
    parser.add_argument(
        "--operating-points",
        metavar="FILE",
        type=Path,
        help="results.json of the evaluate stage, of what this model found, or one trained alike on other images "
        "(default: as the model has them, at first none)",
    )
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
    from rcnn_svm.reports.table import wrapped
    from rcnn_svm.reports.thresholds import thresholds_in_words

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
    if args.operating_points:
        thresholds, chosen = _read_thresholds(args.operating_points, detector)
        detector = replace(detector, thresholds=thresholds, thresholds_from=chosen)
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
    if detector.thresholds is not None:
        words = thresholds_in_words(detector.classes, detector.thresholds, detector.thresholds_from)
        print(wrapped(f"thresholds: {words}"))
    say_written(out)


def _read_thresholds(path: Path, detector: Detector) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the thresholds of an evaluation, (K,), and how they were chosen.

    Raises:
        InputError: the file is no report of evaluate, or of detections that neither the detector would make nor one
            trained alike on other images.
    """
    import numpy as np

    from rcnn_svm import paper
    from rcnn_svm.artefacts.files import reading, require_file
    from rcnn_svm.artefacts.identity import without_data
    from rcnn_svm.errors import InputError
    from rcnn_svm.evaluation.operating_points import MIN_OBJECTS

    require_file(path)
    with reading(path):
        report = json.loads(path.read_text(encoding="utf-8"))
        made, points = report["made_from"]["detections"], report.get("operating_points")
        regressor, tested = detector.bbox_regressor, made.get("detector", {})
        itself = tested.get("digest") == detector.digest
        # Trained alike on other images: on all, say, when the figures are known.
        trained = [training.get("identity") for training in (tested.get("training", {}), detector.training)]
        alike = None not in trained and without_data(trained[0], "classes") == without_data(trained[1], "classes")
        regressors = (made.get("bbox", {}).get("digest"), regressor and regressor.digest)
        pairs = {
            "training": (itself or alike, True),
            "box regression": regressors if itself else tuple(digest is not None for digest in regressors),
            "box voting": ("voting" in made, detector.recipe.vote),
            "boxes scored again": ("also" in made, detector.recipe.again > 0),
            "soft-NMS": ("soft_nms" in made, detector.recipe.soft_nms),
            "suppression": (report["nms"], None if detector.recipe.soft_nms else paper.NMS_THRESHOLD),
        }
        if points is None:
            raise InputError(f"{path} is a report without operating points; evaluate again with --overwrite")
        other = next((name for name, (there, here) in pairs.items() if there != here), None)
        if other:
            raise InputError(
                f"{path} is of detections that were not made as this model makes them: {other} differs; test and "
                "evaluate with its parts and recipe"
            )
        thresh = {point["class"]: point["thresh"] for point in points}
        borrowed = {point["class"] for point in points if point["borrowed"]}
        borrowed |= {name for name in detector.classes if name not in thresh}
        known = [value for name, value in thresh.items() if name not in borrowed] or list(thresh.values())
        chosen = {
            "chosen": "best F1",
            "image_set": report["image_set"],
            "images": report["images"],
            "of_this_model": itself,
            "iou": report["iou"],
            "min_objects": MIN_OBJECTS,
            "borrowed": [name for name in detector.classes if name in borrowed],
        }
        return np.array([thresh.get(name, float(np.median(known))) for name in detector.classes]), chosen


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
    # Present in any case: they follow from test images, and files of earlier versions have none.
    identity["thresholds"] = {"digest": None if detector.thresholds is None else array_digest(detector.thresholds)}
    return identity
