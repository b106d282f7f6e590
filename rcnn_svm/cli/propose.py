"""Searches every image for boxes that may hold an object, and reports how much of the ground truth they cover.

Stopped at any moment, the same command goes on where it was. Methods:

  fast            selective search as R-CNN runs it: HSV and Lab, k 50 and 100
  quality         five colour spaces, four k: 5 times the boxes and the time
  opencv-fast     selective search with OpenCV's settings for fast
  opencv-quality  selective search with OpenCV's settings for quality
  sliding         a regular grid of windows, whatever the image shows

With --ranker the boxes are windows in the order that the rank stage learnt, without any search.

With --detections the boxes are the best that a model found, corrected and, with --vote, voted: they can be scored
again:

  rcnn-svm test --features DIR --model FILE --out FOUND
  rcnn-svm propose --detections FOUND --vote --voc VOCdevkit --split test
  rcnn-svm extract --proposals FILE --voc VOCdevkit --split test --out AGAIN
  rcnn-svm test --features AGAIN --model FILE --vote --also FOUND --out BOTH
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_jobs_argument,
    add_limit_arguments,
    add_made_with_argument,
    add_method_argument,
    add_overwrite_argument,
    add_reuse_argument,
    add_update_argument,
    add_vote_argument,
    load_database,
    positive_int,
)
from rcnn_svm.cli.sharing import add_sharing_arguments, say_part
from rcnn_svm.detection.recipe import PER_CLASS, PER_IMAGE
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.methods import RANKED

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.proposals import ProposalSet
    from rcnn_svm.proposals.methods import RecordedProposer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the stage."""
    add_data_arguments(parser)
    source = parser.add_argument_group("where the boxes come from").add_mutually_exclusive_group()
    add_method_argument(source)
    source.add_argument(
        "--precomputed",
        metavar="FILE",
        type=Path,
        help="boxes computed elsewhere: a proposals file, or a selective_search_data/*.mat of R-CNN",
    )
    source.add_argument(
        "--ranker", metavar="FILE", type=Path, help="windows, moved and ordered by what the rank stage learnt"
    )
    source.add_argument(
        "--detections", metavar="FILE", type=Path, help="the best boxes that the test stage found, to be scored again"
    )
    parser.add_argument(
        "--per-image",
        metavar="N",
        type=positive_int,
        help=f"with --detections: boxes of an image (default: {PER_IMAGE})",
    )
    parser.add_argument(
        "--per-class",
        metavar="N",
        type=positive_int,
        help=f"with --detections: boxes of each class among them (default: {PER_CLASS})",
    )
    add_vote_argument(parser)
    add_limit_arguments(parser)
    add_made_with_argument(parser, "with --ranker: state dict of its network, where it was trained with one")
    add_jobs_argument(parser, "images")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: cache/proposals/IMAGESET.METHOD.h5)"
    )
    add_sharing_arguments(parser, "the images")
    add_reuse_argument(parser, "FILE", "proposals")
    add_overwrite_argument(parser, "proposals")
    add_update_argument(parser, "proposals")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.proposals.propose import existing_proposals, propose_database
    from rcnn_svm.proposals.recall import format_recall, recall_report

    _check_options(args)
    given = args.precomputed or args.detections
    named = {"precomputed": args.precomputed, "detections": args.detections, RANKED: args.ranker}
    method = next((name for name, file in named.items() if file), args.method)

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/proposals") / f"{database.name}.{method}.h5"

    database = load_database(args, None if given else out_of)
    out = out_of(database)
    check_writable(out)
    if given:
        proposals = _given_proposals(args, database)
        with claimed(out):
            may = {"overwrite": args.overwrite, "update": args.update}
            if existing_proposals(out, database, proposals.settings, **may) is None:
                proposals.save(out)
    else:
        made = propose_database(
            database,
            _proposer(args),
            out,
            jobs=args.jobs,
            part=args.part,
            overwrite=args.overwrite,
            update=args.update,
            reuse=args.reuse,
        )
        if made is None:
            say_part(args.part, out)
            return
        proposals = made
    print(format_recall(recall_report(database, proposals)))
    say_written(out)


def _proposer(args: argparse.Namespace) -> RecordedProposer:
    """Return what makes the proposals: a ranker, or --method."""
    limits = {"max_boxes": args.max_boxes, "merge_iou": args.merge_iou}
    if args.ranker:
        from rcnn_svm.features.ranked_proposer import RankedProposer
        from rcnn_svm.proposals.ranker import ProposalRanker

        return RankedProposer(ProposalRanker.load(args.ranker), weights=args.weights, threads=args.jobs, **limits)
    from rcnn_svm.proposals.methods import make_proposer

    return make_proposer({"method": args.method, **limits})


def _check_options(args: argparse.Namespace) -> None:
    """Check that options go together.

    Raises:
        InputError: an option is of another source of boxes.
    """
    if args.part != WHOLE and (args.precomputed or args.detections):
        raise InputError(
            "--part is for proposals that are computed; those of --precomputed and --detections are only read"
        )
    for option in ("per_image", "per_class", "vote"):
        if getattr(args, option) and not args.detections:
            raise InputError(f"--{option.replace('_', '-')} needs --detections; limit others with --max-boxes")
    if args.weights and not args.ranker:
        raise InputError("--weights needs --ranker; no other source of boxes has a network")
    for option in ("max_boxes", "merge_iou"):
        if getattr(args, option) is not None and args.detections:
            raise InputError(
                f"--{option.replace('_', '-')} does not go with --detections; limit those with --per-image"
            )


def _given_proposals(args: argparse.Namespace, database: ImageDatabase) -> ProposalSet:
    """Return the proposals that --precomputed or --detections names."""
    from rcnn_svm.detection.again import proposals_to_score_again
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.proposals.precomputed import import_proposals

    if args.precomputed:
        return import_proposals(args.precomputed, database, args.max_boxes, args.merge_iou)
    detections = Detections.load(args.detections)
    return proposals_to_score_again(
        detections.after_voting() if args.vote else detections,
        database,
        per_image=args.per_image or PER_IMAGE,
        per_class=args.per_class or PER_CLASS,
    )
