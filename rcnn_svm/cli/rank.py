r"""Learns where objects are from the boxes of an image set, of whatever class: a ranker, which makes proposals.

One pass of the network over the whole image, windows all over it, moved and ordered in three stages: no search, and
the first 100 boxes hold more of the objects than the first 400 of selective search. The propose stage takes the
result with --ranker; assemble puts it into a detector. An interrupted training goes on with the stage it was in.

  rcnn-svm rank --voc VOCdevkit --split trainval
  rcnn-svm propose --voc VOCdevkit --split trainval \
    --ranker cache/models/voc_2007_trainval.ranker.h5 --max-boxes 100
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import (
    add_backbone_argument,
    add_data_arguments,
    add_device_argument,
    add_jobs_argument,
    add_overwrite_argument,
    add_runtime_argument,
    add_seed_argument,
    add_update_argument,
    add_weights_argument,
    load_database,
)

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the stage."""
    add_data_arguments(parser)
    add_backbone_argument(parser)
    add_weights_argument(parser)
    add_runtime_argument(parser)
    add_device_argument(parser)
    add_jobs_argument(parser, "images")
    add_seed_argument(parser, "boxes, first weights and steps")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write (default: cache/models/IMAGESET.ranker.h5)"
    )
    add_overwrite_argument(parser, "a ranker")
    add_update_argument(parser, "a ranker")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    from rcnn_svm.artefacts.checkpoint import checkpoint_beside
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, only_data_differs, say_written
    from rcnn_svm.features.map_network import load_image_maps
    from rcnn_svm.proposals.ranker import ProposalRanker
    from rcnn_svm.proposals.ranker_training import RankerTrainer

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/models") / f"{database.name}.ranker.h5"

    maps = load_image_maps(args.backbone, args.weights, runtime=args.runtime, device=args.device, threads=args.jobs)
    database = load_database(args, out_of)
    out = out_of(database)
    check_writable(out)
    trainer = RankerTrainer(seed=args.seed)
    identity = trainer.identity(database, maps)
    with claimed(out):
        checkpoint = checkpoint_beside(out, identity, overwrite=args.overwrite, update=args.update)
        if not already_done(
            out,
            lambda: ProposalRanker.load(out).training.get("identity"),
            identity,
            overwrite=args.overwrite,
            update=args.update,
            same_settings=lambda found: only_data_differs(found, identity),
        ):
            trainer.fit(database, maps, jobs=args.jobs, checkpoint=checkpoint).ranker_.save(out)
            trained = trainer.ranker_.training
            print(f"learnt from {trained['num_objects']} objects in {trained['num_images']} images")
        checkpoint.unlink(missing_ok=True)
    say_written(out)
