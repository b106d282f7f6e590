"""Searches every image for boxes that may hold an object, and reports how much of the ground truth they cover.

Stopped at any moment, the same command goes on where it was. Methods:

  fast            selective search as R-CNN runs it: HSV and Lab, k 50 and 100
  quality         five colour spaces, four k: 5 times the boxes and the time
  opencv-fast     selective search with OpenCV's settings for fast
  opencv-quality  selective search with OpenCV's settings for quality
  sliding         a regular grid of windows, whatever the image shows
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_jobs_argument,
    add_limit_arguments,
    add_method_argument,
    add_overwrite_argument,
    add_update_argument,
    load_database,
)

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase


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
    add_limit_arguments(parser)
    add_jobs_argument(parser, "images")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: cache/proposals/IMAGESET.METHOD.h5)"
    )
    add_overwrite_argument(parser, "proposals")
    add_update_argument(parser, "proposals")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.proposals.methods import make_proposer
    from rcnn_svm.proposals.precomputed import import_proposals
    from rcnn_svm.proposals.propose import existing_proposals, propose_database
    from rcnn_svm.proposals.recall import format_recall, recall_report

    method = "precomputed" if args.precomputed else args.method

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/proposals") / f"{database.name}.{method}.h5"

    database = load_database(args, None if args.precomputed else out_of)
    out = out_of(database)
    check_writable(out)
    if args.precomputed:
        proposals = import_proposals(args.precomputed, database, args.max_boxes, args.merge_iou)
        with claimed(out):
            may = {"overwrite": args.overwrite, "update": args.update}
            if existing_proposals(out, database, proposals.settings, **may) is None:
                proposals.save(out)
    else:
        proposals = propose_database(
            database,
            make_proposer({"method": method, "max_boxes": args.max_boxes, "merge_iou": args.merge_iou}),
            out,
            jobs=args.jobs,
            overwrite=args.overwrite,
            update=args.update,
        )
    print(format_recall(recall_report(database, proposals)))
    say_written(out)
