"""Finds objects in image files: proposals and features are made as they were for the model's training.

Prints what it finds, best first, with boxes as x1 y1 x2 y2 in pixels from 0, and writes each image with its
boxes drawn. Images are turned upright by their EXIF orientation, also where --ignore-exif was trained with.

Reported are scores above the model's thresholds, where it has them: run and assemble put in those of the best F1 of
each class. Without them a score above 0 means the class, and the training's negatives are pushed below -1: a model
trained on few objects puts many true ones between the two. --thresh SCORE goes before both. A model that was trained
with --calibrate gives probabilities instead of scores: 0.5 is a box as likely right as wrong, in every class.

A folder means the images in it and in its sub-folders. Images that cannot be read are named and left out, and the exit
code is 2.

A model of the assemble stage holds all that detect needs: box regression, voting, scoring again and soft-NMS are done
as it says.

  rcnn-svm detect --model cache/models/MODEL.h5 street.jpg harbour.png holidays/
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_made_with_argument,
    add_method_argument,
    add_soft_nms_argument,
    add_vote_argument,
    positive_int,
    say_letters,
)
from rcnn_svm.cli.surroundings import say
from rcnn_svm.detection.recipe import PER_IMAGE

if TYPE_CHECKING:
    import numpy as np

    from rcnn_svm.detection.detector import Detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="image file, or folder of images")
    parser.add_argument("--model", metavar="FILE", type=Path, required=True, help="model of the train stage")
    add_method_argument(parser, otherwise="as for the model's training images")
    parser.add_argument("--max-boxes", metavar="N", type=positive_int, help="with --method: only the first N proposals")
    add_made_with_argument(parser, "state dict of the network, where the features were made with one")
    parser.add_argument(
        "--bbox",
        metavar="FILE",
        type=Path,
        help="correct the boxes with this file of the train-bbox stage, made from the model's layer, or from pool5 for "
        "fc6 and fc7",
    )
    add_vote_argument(parser, otherwise="as the model says")
    parser.add_argument(
        "--again",
        metavar="N",
        type=int,
        help=f"score the best N boxes of an image again, such as {PER_IMAGE}; 0 for none (default: as the model says)",
    )
    parser.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        help="report scores strictly above this, or probabilities (default: the model's thresholds, where it has them "
        "and scores are as it says; else 0, or a probability of 0.5)",
    )
    parser.add_argument(
        "--nms",
        metavar="IOU",
        type=float,
        help="drop a box that overlaps a better one of its class by more than this, also where the model says soft-NMS "
        f"(default: {paper.NMS_THRESHOLD})",
    )
    add_soft_nms_argument(parser, otherwise="as the model says")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("cache/reports/detect"),
        help="where to write the pictures (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write what was found as JSON")


def run(args: argparse.Namespace) -> None:
    """Detect, print and draw, one image after the other.

    Raises:
        InputError: nothing can be detected with what is given; or, when all images are done, some could not be read.
    """
    import numpy as np

    from rcnn_svm.artefacts.files import check_writable, write_text
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.data.image_folder import images_at
    from rcnn_svm.data.images import load_image
    from rcnn_svm.detection.bbox_correction import check_regressor
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.detect import ImageDetector
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.errors import InputError
    from rcnn_svm.proposals.methods import make_proposer
    from rcnn_svm.reports.pictures import draw_detections, picture_names, save_picture
    from rcnn_svm.reports.table import Table, wrapped

    if args.nms is not None and args.soft_nms:
        raise InputError("--nms and --soft-nms are two suppressions; give one of them")
    if args.max_boxes and not args.method:
        raise InputError("--max-boxes needs --method: without it, proposals are made as for the training images")
    for path in (args.out / "picture.jpg", args.json):
        if path:
            check_writable(path)
    images = images_at(args.images, aside=args.out)
    pictures = [args.out / name for name in picture_names(path.stem for path in images)]
    given = {os.path.realpath(path) for path in images}
    for picture in pictures:
        if os.path.realpath(picture) in given:
            raise InputError(f"{picture} is one of the images, and a picture would replace it; give another --out")
    detector = Detector.load(args.model)
    say_letters(detector.classes)
    bbox_regressor = BoxRegressor.load(args.bbox) if args.bbox else None
    if bbox_regressor:
        check_regressor(bbox_regressor, detector, f"box regressor {args.bbox}", f"model {args.model}")
    proposer = make_proposer({"method": args.method, "max_boxes": args.max_boxes}) if args.method else None
    finder = ImageDetector(
        detector,
        proposer=proposer,
        weights=args.weights,
        bbox_regressor=bbox_regressor,
        vote=args.vote,
        again=args.again,
        soft_nms=args.soft_nms if args.nms is None else False,
    )
    nms_threshold = paper.NMS_THRESHOLD if args.nms is None else args.nms
    calibrated = detector.calibration is not None
    kind = "probability" if calibrated else "score"
    thresh, told = _threshold(args, detector)
    # Of every class for itself: a flat sigmoid has its threshold far below the scores of all regions.
    floor = np.minimum(thresh, paper.DETECT_THRESH)
    print(wrapped(told), end="\n\n", flush=True)
    entries, written, refused = [], [], []
    try:
        for path, picture in zip(images, pictures, strict=True):
            try:
                image = load_image(path)
            except InputError as error:
                refused.append(path)
                say(f"rcnn-svm detect: error: {error}")
                continue
            candidates = finder.detect(image, thresh=floor, nms_threshold=nms_threshold)
            found = candidates.above(thresh)
            if calibrated:
                candidates, found = detector.calibrated(candidates), detector.calibrated(found)
            save_picture(draw_detections(image, found, detector.classes), picture)
            written.append(picture)
            names = [detector.classes[index] for index in found.cls]
            entries.append(
                {
                    "image": str(path),
                    "picture": str(picture),
                    "objects": [
                        {"class": name, kind: score, "box": box}
                        for name, score, box in zip(names, found.scores.tolist(), found.boxes.tolist(), strict=True)
                    ],
                }
            )
            print(f"{path}: {len(found)} found")
            if len(candidates) and not len(found):
                best = detector.classes[candidates.cls[0]]
                print(f"the best below is {best} at {candidates.scores[0]:.3f}; lower --thresh to see it")
            if len(found):
                rows = [
                    [name, f"{score:.3f}", *(f"{value:.0f}" for value in box)]
                    for name, score, box in zip(names, found.scores, found.boxes, strict=True)
                ]
                print(Table(("class", kind, "x1", "y1", "x2", "y2"), rows).text())
            print(flush=True)
    finally:
        # What was found before a full disk or a Ctrl-C is worth keeping.
        if args.json:
            write_text(args.json, json.dumps(entries, indent=1) + "\n")
    if args.json:
        say_written(args.json)
    if written:
        say_written(args.out, *written)
    if refused:
        raise InputError(f"{len(refused)} of {len(images)} images could not be read, the first is {refused[0]}")


def _threshold(args: argparse.Namespace, detector: Detector) -> tuple[float | np.ndarray, str]:
    """Return the score above which detections are reported, one or (K,), and a sentence that says which."""
    from rcnn_svm.errors import InputError
    from rcnn_svm.reports.operating_points import thresholds_in_words

    calibrated = detector.calibration is not None
    if args.thresh is None and detector.thresholds is not None:
        given = {name: getattr(args, name) for name in ("vote", "again", "soft_nms")}
        others = [name for name, value in given.items() if value not in (None, getattr(detector.recipe, name))]
        others += [name for name in ("nms", "bbox", "method") if getattr(args, name) is not None]
        if not others:
            words = thresholds_in_words(detector.classes, detector.thresholds, detector.thresholds_from)
            return detector.thresholds, f"reported: scores above {words}; --thresh SCORE for another"
        why = f", as the thresholds of the model are for its own --{others[0].replace('_', '-')}"
    else:
        why = ""
    thresh = (0.5 if calibrated else 0.0) if args.thresh is None else args.thresh
    if not calibrated:
        return thresh, f"reported: scores above {thresh:g}{why}"
    if not 0 <= thresh <= 1:
        raise InputError(
            f"--thresh {thresh:g} must be between 0 and 1: {args.model} is calibrated, it has probabilities"
        )
    return detector.scores_at(thresh), f"reported: probabilities above {thresh:g}{why}"
