r"""Draws a sheet of pictures: what proposals hold, which negatives were hardest, how a class was mined, what was found.

  rcnn-svm show proposals cache/proposals/voc_2007_test.ranked.h5 \
    --voc VOCdevkit --split test --top 20
  rcnn-svm show negatives cache/run/model.h5 --voc VOCdevkit --class dog
  rcnn-svm show film cache/run/model.h5 --voc VOCdevkit --class dog
  rcnn-svm show detections cache/run/detections.h5 --voc VOCdevkit --split test

proposals and detections show images spread evenly over the set, or those of --image; negatives the hardest of every
class, or of --class. film shows the trainings of one class, a row each: what came in and what left, with scores, which
it finds by mining again, the size of the set and the objective. From Python the same as matplotlib figures:
rcnn_svm.reports.proposals_sheet and so on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_made_with_argument,
    layer_to_compute,
    load_database,
    open_features,
    positive_int,
    say_letters,
)
from rcnn_svm.cli.trained_on import add_trained_on_arguments, open_trained_on, with_negatives_images
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection.detector import Detector

PROPOSALS, NEGATIVES, FILM, DETECTIONS = KINDS = ("proposals", "negatives", "film", "detections")
# Options that not every sheet has, and which have them.
OF_KINDS = {
    "features": (NEGATIVES, FILM),
    "negatives": (NEGATIVES, FILM),
    "mined": (NEGATIVES, FILM),
    "negatives_images": (NEGATIVES, FILM),
    "weights": (FILM,),
    "validate": (FILM,),
    "cls": (NEGATIVES, FILM),
    "image": (PROPOSALS, DETECTIONS),
    "top": (PROPOSALS,),
    "thresh": (DETECTIONS,),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("what", choices=KINDS, help="what to draw")
    parser.add_argument("path", metavar="FILE", type=Path, help="proposals, a model, or detections")
    add_data_arguments(parser, voc_split="trainval, for detections test")
    add_trained_on_arguments(parser, ", for negatives and film")
    add_made_with_argument(parser, "with features of pool5, for film: state dict that they were made with, if any")
    parser.add_argument(
        "--validate", metavar="DIR", type=Path, help="feature cache that train validated on, if any, for film"
    )
    parser.add_argument(
        "--class", dest="cls", metavar="NAME", nargs="+", help="these classes, for negatives; the class of a film"
    )
    parser.add_argument("--image", metavar="ID", nargs="+", help="these images")
    parser.add_argument("--top", metavar="N", type=positive_int, help="the first N of an image, for proposals")
    parser.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        help="those with a score above this, for detections (default: in each class, the score of the best F1 here)",
    )
    parser.add_argument(
        "--count",
        metavar="N",
        type=positive_int,
        help="images (default: 12), negatives of a class (default: 8), or trainings of a film (default: 8)",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="PNG or JPEG to write (default: cache/pictures/NAME.WHAT.jpg)"
    )


def run(args: argparse.Namespace) -> None:
    """Draw the sheet and write it."""
    from rcnn_svm.artefacts.files import check_writable, reading_unsealed
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.reports.style import save_figure

    for option, kinds in OF_KINDS.items():
        if getattr(args, option) not in (None, []) and args.what not in kinds:
            name = "class" if option == "cls" else option.replace("_", "-")
            raise InputError(f"--{name} is for {' and '.join(kinds)}, not for {args.what}")
    out = args.out or Path("cache/pictures") / f"{args.path.stem}.{args.what}.jpg"
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out} is no name of a picture; end it with .png or .jpg")
    check_writable(out)
    args.voc_split = "test" if args.what == DETECTIONS else "trainval"
    database = load_database(args)
    say_letters(database.classes)
    with reading_unsealed(args.path):
        figure = _figure(args, database)
    save_figure(figure, out)
    say_written(out)


def _figure(args: argparse.Namespace, database: ImageDatabase) -> Figure:
    """Return the sheet."""
    if args.what == PROPOSALS:
        from rcnn_svm.proposals.store import ProposalSet
        from rcnn_svm.reports.sheets import proposals_sheet

        proposals = ProposalSet.load(args.path)
        return proposals_sheet(database, proposals, images=args.image or (), count=args.count or 12, top=args.top)
    if args.what == DETECTIONS:
        from rcnn_svm.detection.detections import Detections
        from rcnn_svm.reports.sheets import detections_sheet

        detections = Detections.load(args.path)
        return detections_sheet(
            database, detections, thresh=args.thresh, images=args.image or (), count=args.count or 12
        )
    from rcnn_svm.detection.detector import Detector

    detector, history = Detector.load(args.path), Detector.load_history(args.path)
    cache = open_trained_on(args, args.path, detector)
    database = with_negatives_images(args, database, cache)
    if args.what == FILM:
        return _film(args, database, detector, history, cache)
    from rcnn_svm.reports.sheets import negatives_sheet

    return negatives_sheet(database, cache, history, detector.classes, chosen=args.cls or (), count=args.count or 8)


def _film(
    args: argparse.Namespace,
    database: ImageDatabase,
    detector: Detector,
    history: dict[str, np.ndarray],
    cache: FeatureCache,
) -> Figure:
    from rcnn_svm.mining.replay import replay_mining
    from rcnn_svm.reports.film_figure import film_sheet
    from rcnn_svm.reports.sheets import class_index

    names = args.cls or detector.classes
    if len(names) > 1:
        raise InputError(f"a film is of one class; give --class with one of {', '.join(detector.classes)}")
    class_index(names[0], detector.classes)  # before it is mined again, which takes longer
    validate = None
    if args.validate is not None:
        validate = open_features(args.validate, layer_to_compute(detector, args.validate), args.weights)
    replay = replay_mining(detector, history, cache, validate=validate, name=str(args.path))
    return film_sheet(database, cache, history, replay, detector.classes, names[0], count=args.count or 8)
