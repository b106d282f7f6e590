r"""Fine-tunes a network to classify windows as one of the classes or background, as the paper does before it
trains the SVMs.

A mini-batch has 128 windows of all images, 32 of them on objects. The defaults are the paper's and take a GPU. An
interrupted fine-tuning goes on from its last checkpoint. The extract stage takes the weights:

  rcnn-svm finetune --voc VOCdevkit --proposals FILE --backbone alexnet
  rcnn-svm extract --voc VOCdevkit --proposals FILE --backbone alexnet \
    --weights cache/finetuned/voc_2007_trainval.alexnet/weights.pt
"""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_backbone_argument,
    add_crop_size_argument,
    add_data_arguments,
    add_device_argument,
    add_overwrite_argument,
    add_padding_argument,
    add_proposals_argument,
    add_seed_argument,
    add_weights_argument,
    load_database,
    positive_float,
    positive_int,
)

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    add_data_arguments(parser)
    add_proposals_argument(parser, required=True)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="folder for weights.pt, finetune.json and loss.png (default: cache/finetuned/IMAGESET.BACKBONE)",
    )
    add_overwrite_argument(parser, "a network")
    network = parser.add_argument_group("network")
    add_backbone_argument(network)
    add_weights_argument(network)
    add_crop_size_argument(network)
    add_padding_argument(network)
    descent = parser.add_argument_group("descent")
    descent.add_argument(
        "--iterations",
        metavar="N",
        type=positive_int,
        default=paper.FINETUNE_ITERATIONS,
        help="steps (default: %(default)s)",
    )
    descent.add_argument(
        "--batch-size",
        metavar="N",
        type=positive_int,
        default=paper.FINETUNE_BATCH_SIZE,
        help="windows of a step (default: %(default)s)",
    )
    descent.add_argument(
        "--foreground",
        metavar="N",
        type=positive_int,
        default=paper.FINETUNE_FOREGROUND,
        help="windows of these that are on objects (default: %(default)s)",
    )
    descent.add_argument(
        "--lr",
        metavar="RATE",
        type=positive_float,
        default=paper.LR,
        help="learning rate; the new layer's is 10 times that (default: %(default)s)",
    )
    descent.add_argument(
        "--step",
        metavar="N",
        type=positive_int,
        default=paper.FINETUNE_STEP,
        help="steps after which the learning rate falls to a tenth, again and again (default: %(default)s)",
    )
    add_seed_argument(descent, "the new layer, the windows and dropout")
    add_device_argument(descent)


def run(args: argparse.Namespace) -> None:
    """Fine-tune and write the weights, or find it done."""
    from rcnn_svm.artefacts.checkpoint import remove_other
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.data.checks import require_ground_truth
    from rcnn_svm.finetune.network import build_network
    from rcnn_svm.finetune.record import RECORD, WEIGHTS, load_record
    from rcnn_svm.finetune.tuner import FineTuner
    from rcnn_svm.finetune.weights import save_finetuned
    from rcnn_svm.proposals.store import ProposalSet
    from rcnn_svm.reports.finetuning import save_finetuning

    tuner = FineTuner(
        iterations=args.iterations,
        batch_size=args.batch_size,
        foreground=args.foreground,
        lr=args.lr,
        step=args.step,
        seed=args.seed,
        device=args.device,
    )

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/finetuned") / re.sub(r"[^\w.-]+", "-", f"{database.name}.{args.backbone}")

    database = load_database(args, out_of)
    out = out_of(database)
    require_ground_truth(database)
    proposals = ProposalSet.load(args.proposals)
    network = build_network(
        args.backbone,
        database.classes,
        args.weights,
        crop_size=args.crop_size,
        padding=args.padding,
        seed=args.seed,
    )
    identity = tuner.identity(network, database, proposals)
    weights, checkpoint = out / WEIGHTS, out / "checkpoint.h5"
    check_writable(weights)
    found = functools.cache(lambda: load_record(weights))
    with claimed(out / RECORD):
        if already_done(out / RECORD, lambda: found().identity, identity, overwrite=args.overwrite):
            record = found()
        else:
            if args.overwrite:
                remove_other(checkpoint, identity)
            history = tuner.fit(network, database, proposals, checkpoint=checkpoint)
            record = save_finetuned(out, network, identity, history)
        save_finetuning(record.log, out / "loss.png")
        checkpoint.unlink(missing_ok=True)
    first, last = record.log[0], record.log[-1]
    print(
        f"{args.iterations} steps of {args.batch_size} windows: loss {first['loss']:.3f} at first, {last['loss']:.3f} "
        f"at last; {100 * last['accuracy']:.1f} % of the windows classified correctly, of those on objects "
        f"{100 * last['foreground_accuracy']:.1f} %"
    )
    crop = f"--crop-size {network.crop_size} --padding {network.padding}"
    print(f"for the extract stage: --backbone {args.backbone} --weights {weights} {crop}")
    say_written(out, out / RECORD, weights, out / "loss.png")
