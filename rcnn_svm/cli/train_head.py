r"""Trains the last layers of Fast R-CNN, softmax and box regression, on cached features.

A mini-batch has two images; --sampler says which of their boxes are learnt from:

  random     64 of each, a quarter of them on objects
  heuristic  the same, background of IoU 0.1 to 0.5 with an object (Fast R-CNN)
  ohem       the 64 of highest loss without near repetitions (OHEM)
  ratio      all on objects, three times as many others of highest loss (SSD)
  all        all

An interrupted training goes on from its last checkpoint. The test stage takes the result as --model.

  rcnn-svm train-head --sampler ohem \
    --features cache/features/voc_2007_trainval.lite0.penultimate

With --end-to-end the whole network is trained on images and proposals, with RoI pooling; that takes a GPU. Under
`torchrun --nproc-per-node N` N of them share the work, two images each at every step.

  rcnn-svm train-head --end-to-end --voc VOCdevkit --proposals FILE \
    --backbone vgg16 --sampler ohem
"""

from __future__ import annotations

import argparse
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    BOX_TARGETS,
    SAMPLERS,
    add_data_arguments,
    add_device_argument,
    add_overwrite_argument,
    add_proposals_argument,
    add_seed_argument,
    add_weights_argument,
    load_database,
    names_images,
    positive_float,
    positive_int,
)
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from rcnn_svm.data import ImageDatabase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--features", metavar="DIR", type=Path, help="feature cache to train on")
    source.add_argument("--end-to-end", action="store_true", help="train the whole network on images and proposals")
    parser.add_argument(
        "--sampler", choices=SAMPLERS, default="heuristic", help="which boxes to learn from (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write, with a picture of the losses beside it (default: in cache/models, named for the "
        "features or images and the sampler)",
    )
    add_overwrite_argument(parser, "a head or network")
    parser.add_argument(
        "--hidden",
        metavar="N",
        type=int,
        default=0,
        help="with --features, width of a hidden layer; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--box-targets",
        choices=BOX_TARGETS,
        default=BOX_TARGETS[0],
        help="how box targets are normalised: by four fixed numbers, as in py-faster-rcnn, or by each class's mean and "
        "deviation in the data, as in the paper (default: %(default)s)",
    )
    descent = parser.add_argument_group("descent")
    descent.add_argument(
        "--iterations",
        metavar="N",
        type=positive_int,
        default=paper.FAST_RCNN_ITERATIONS,
        help="steps (default: %(default)s)",
    )
    descent.add_argument(
        "--lr", metavar="RATE", type=positive_float, default=paper.LR, help="learning rate (default: %(default)s)"
    )
    descent.add_argument(
        "--step",
        metavar="N",
        type=positive_int,
        help="steps after which the learning rate falls to a tenth, again and again (default: 3/4 of --iterations)",
    )
    add_seed_argument(descent, "initial weights, images and boxes")
    add_data_arguments(parser, required=False)
    network = parser.add_argument_group("network, with --end-to-end")
    add_proposals_argument(network)
    network.add_argument(
        "--backbone", metavar="NAME", default="vgg16", help="alexnet, a vgg or a resnet (default: %(default)s)"
    )
    add_weights_argument(network)
    network.add_argument(
        "--short-side",
        metavar="PIXELS",
        type=positive_int,
        default=paper.SHORT_SIDE,
        help="length of an image's shorter side, where the longer one stays within 5/3 of it (default: %(default)s)",
    )
    add_device_argument(network)


def run(args: argparse.Namespace) -> None:
    """Train and write, or find it done."""
    if args.features:
        _train_on_features(args)
        return
    from rcnn_svm.fast_rcnn.image_training import process_group

    if not (names_images(args) and args.proposals):
        raise InputError("--end-to-end needs --voc (or --coco, --xml, --csv, --yolo) and --proposals")
    if args.hidden:
        raise InputError("--hidden is for --features; with --end-to-end the network has its own layers")
    with process_group(args.device):
        _train_on_images(args)


def _train_on_features(args: argparse.Namespace) -> None:
    from rcnn_svm.artefacts.checkpoint import checkpoint_beside
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.fast_rcnn.head_training import SHARDS_MAPPED, RoIHeadTrainer
    from rcnn_svm.fast_rcnn.roi_head import RoIHead

    if names_images(args) or args.proposals or args.weights:
        raise InputError(
            "images, --proposals and --weights are for --end-to-end; with --features the cache has boxes and objects"
        )
    cache = FeatureCache.open(args.features, shards_mapped=SHARDS_MAPPED)
    out = args.out or Path("cache/models") / f"{args.features.resolve().name}.{args.sampler}.h5"
    trainer = RoIHeadTrainer(
        sampler=args.sampler,
        iterations=args.iterations,
        hidden=args.hidden,
        box_targets=args.box_targets,
        lr=args.lr,
        step=args.step,
        seed=args.seed,
    )
    check_writable(out)
    identity = trainer.identity(cache)
    with claimed(out):
        checkpoint = checkpoint_beside(out, identity, overwrite=args.overwrite)
        if not already_done(
            out, lambda: RoIHead.load(out).training.get("identity"), identity, overwrite=args.overwrite
        ):
            trainer.fit(cache, checkpoint=checkpoint).save(out)
        checkpoint.unlink(missing_ok=True)
        _report(out, RoIHead.load_history(out))


def _train_on_images(args: argparse.Namespace) -> None:
    from rcnn_svm.artefacts.checkpoint import checkpoint_beside
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done
    from rcnn_svm.data.checks import require_ground_truth
    from rcnn_svm.descent import Schedule
    from rcnn_svm.fast_rcnn.image_training import FastRCNNTrainer, rank
    from rcnn_svm.fast_rcnn.model import FastRCNN
    from rcnn_svm.fast_rcnn.roi_pool import RoIPoolingNetwork
    from rcnn_svm.proposals.store import ProposalSet

    trainer = FastRCNNTrainer(
        sampler=args.sampler,
        schedule=Schedule(iterations=args.iterations, lr=args.lr, step=args.step),
        box_targets=args.box_targets,
        seed=args.seed,
        device=args.device,
    )

    def out_of(database: ImageDatabase) -> Path:
        name = re.sub(r"[^\w.-]+", "-", f"{database.name}.{args.backbone}.{args.sampler}.h5")
        return args.out or Path("cache/models") / name

    database = load_database(args, out_of)
    out = out_of(database)
    require_ground_truth(database)
    proposals = ProposalSet.load(args.proposals)
    network = RoIPoolingNetwork(
        args.backbone,
        database.classes,
        args.weights,
        seed=args.seed,
        short_side=args.short_side,
        long_side=5 * args.short_side // 3,
    )
    identity = trainer.identity(network, database, proposals)
    check_writable(out)
    with claimed(out) if rank() == 0 else nullcontext():
        checkpoint = checkpoint_beside(out, identity, overwrite=args.overwrite)
        if not already_done(
            out, lambda: FastRCNN.load(out).training.get("identity"), identity, overwrite=args.overwrite
        ):
            history = trainer.fit(network, database, proposals, checkpoint=checkpoint)
            if rank() == 0:
                FastRCNN(network, {"identity": identity}).save(out, history)
        if rank() == 0:
            checkpoint.unlink(missing_ok=True)
            _report(out, FastRCNN.load_history(out))


def _report(out: Path, history: dict[str, np.ndarray]) -> None:
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.reports.heads import save_head_figure

    save_head_figure(history, out.with_suffix(".loss.png"))
    steps, probes = history["steps"], history["probes"]
    taken, foreground = steps[:, 2:].sum(axis=0)
    print(
        f"{len(steps)} steps, {taken / len(steps):.0f} boxes each, {100 * foreground / max(taken, 1):.0f} % on objects"
    )
    if len(probes):
        (_, *first), (_, *last) = probes[[0, -1]].tolist()
        print(
            f"over all boxes of some images: loss {first[0]:.3f} at first, {last[0]:.3f} at last; "
            f"of box regression {first[1]:.3f} and {last[1]:.3f}"
        )
    say_written(out, out.with_suffix(".loss.png"))
