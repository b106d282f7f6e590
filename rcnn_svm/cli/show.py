r"""Draws a sheet of pictures: what proposals hold, which negatives were hardest, what was found.

  rcnn-svm show proposals cache/proposals/voc_2007_test.ranked.h5 \
    --voc VOCdevkit --split test --top 20
  rcnn-svm show negatives cache/run/model.h5 --features DIR \
    --voc VOCdevkit --split trainval --class dog
  rcnn-svm show detections cache/run/detections.h5 --voc VOCdevkit --split test

proposals and detections show images spread evenly over the set, or those of --image; negatives the hardest of every
class, or of --class. From Python the same as matplotlib figures: rcnn_svm.reports.proposals_sheet and so on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_data_arguments, load_database, positive_int, say_letters
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rcnn_svm.data import ImageDatabase

PROPOSALS, NEGATIVES, DETECTIONS = KINDS = ("proposals", "negatives", "detections")
# Options that not every sheet has, and which have them.
OF_KINDS = {
    "features": (NEGATIVES,),
    "cls": (NEGATIVES,),
    "image": (PROPOSALS, DETECTIONS),
    "top": (PROPOSALS,),
    "thresh": (DETECTIONS,),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("what", choices=KINDS, help="what to draw")
    parser.add_argument("path", metavar="FILE", type=Path, help="proposals, a model, or detections")
    add_data_arguments(parser, voc_split="trainval, for detections test")
    parser.add_argument("--features", metavar="DIR", type=Path, help="features of the training, for negatives")
    parser.add_argument("--class", dest="cls", metavar="NAME", nargs="+", help="these classes, for negatives")
    parser.add_argument("--image", metavar="ID", nargs="+", help="these images")
    parser.add_argument("--top", metavar="N", type=positive_int, help="the first N of an image, for proposals")
    parser.add_argument(
        "--thresh",
        metavar="SCORE",
        type=float,
        help="those with a score above this, for detections (default: in each class, the score of the best F1 here)",
    )
    parser.add_argument(
        "--count", metavar="N", type=positive_int, help="images (default: 12), or negatives of a class (default: 8)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="PNG or JPEG to write (default: cache/pictures/NAME.WHAT.jpg)"
    )


def run(args: argparse.Namespace) -> None:
    """Draw the sheet and write it."""
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.reports.style import save_figure

    for option, kinds in OF_KINDS.items():
        if getattr(args, option) is not None and args.what not in kinds:
            name = "class" if option == "cls" else option
            raise InputError(f"--{name} is for {' and '.join(kinds)}, not for {args.what}")
    if args.what == NEGATIVES and args.features is None:
        raise InputError("negatives need --features, the feature cache that the model was trained on")
    out = args.out or Path("cache/pictures") / f"{args.path.stem}.{args.what}.jpg"
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out} is no name of a picture; end it with .png or .jpg")
    check_writable(out)
    args.voc_split = "test" if args.what == DETECTIONS else "trainval"
    database = load_database(args)
    say_letters(database.classes)
    save_figure(_figure(args, database), out)
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
        shown = {"images": args.image or (), "count": args.count or 12}
        return detections_sheet(database, detections, thresh=args.thresh, **shown)
    from rcnn_svm.cache.feature_cache import FeatureCache
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.reports.sheets import negatives_sheet

    detector, history = Detector.load(args.path), Detector.load_history(args.path)
    cache = FeatureCache.open(args.features)
    chosen = args.cls or ()
    return negatives_sheet(database, cache, history, detector.classes, chosen=chosen, count=args.count or 8)
