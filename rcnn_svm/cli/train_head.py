"""Trains the last layers of Fast R-CNN, softmax and box regression, on cached features.

A mini-batch has two images; --sampler says which of their boxes are learnt from:
  random     64 of each, a quarter of them on objects
  heuristic  the same, background only from boxes with an IoU of 0.1 to 0.5 with an object (Fast R-CNN)
  ohem       the 64 of highest loss, without near repetitions (online hard example mining)
  ratio      all on objects and three times as many others, those of highest loss (SSD)
  all        all
An interrupted training goes on from its last checkpoint. The test stage takes the result as --model.

  rcnn-svm train-head --features cache/features/voc_2007_trainval.lite0.penultimate --sampler ohem
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import positive_float, positive_int
from rcnn_svm.errors import InputError

HELP = "train the last layers of Fast R-CNN on cached features, with a sampler or online hard example mining"
SAMPLERS = ("random", "heuristic", "ohem", "ratio", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to train on")
    parser.add_argument(
        "--sampler", choices=SAMPLERS, default="heuristic", help="which boxes to learn from (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="head file, with a picture of the losses beside it (default: cache/models/<name of DIR>.<sampler>.h5)",
    )
    parser.add_argument(
        "--hidden", metavar="N", type=int, default=0, help="width of a hidden layer; 0 for none (default: %(default)s)"
    )
    descent = parser.add_argument_group("descent")
    descent.add_argument(
        "--iterations", metavar="N", type=positive_int, default=40_000, help="steps (default: %(default)s)"
    )
    descent.add_argument("--lr", type=positive_float, default=1e-3, help="learning rate (default: %(default)s)")
    descent.add_argument(
        "--step",
        metavar="N",
        type=positive_int,
        help="steps after which the learning rate falls to a tenth, again and again (default: 3/4 of --iterations)",
    )
    descent.add_argument(
        "--seed", type=int, default=3, help="of initial weights, images and boxes (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Train and write the head, or find it done."""
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.cache.feature_cache import first_difference
    from rcnn_svm.detection.roi_head import RoIHead, load_head_history
    from rcnn_svm.fast_rcnn.head_training import SHARDS_MAPPED, RoIHeadTrainer
    from rcnn_svm.files import check_writable
    from rcnn_svm.reports.heads import save_head_figure

    cache = FeatureCache.open(args.features, shards_mapped=SHARDS_MAPPED)
    out = args.out or Path("cache/models") / f"{args.features.resolve().name}.{args.sampler}.h5"
    trainer = RoIHeadTrainer(
        sampler=args.sampler,
        iterations=args.iterations,
        hidden=args.hidden,
        lr=args.lr,
        step=args.step,
        seed=args.seed,
    )
    check_writable(out)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if out.exists():
        found, wanted = RoIHead.load(out).training.get("identity"), trainer.identity(cache)
        if found != wanted:
            raise InputError(
                f"{out} was trained otherwise ({first_difference(found, wanted)}); "
                "give another --out, or delete it to train it again"
            )
        print(f"{out} is trained already with these settings")
    else:
        trainer.fit(cache, checkpoint=checkpoint).save(out)
    checkpoint.unlink(missing_ok=True)
    history = load_head_history(out)
    save_head_figure(history, out.with_suffix(".loss.png"))
    taken, foreground = history["steps"][:, 2:].sum(axis=0)
    (_, *first), (_, *last) = history["probes"][[0, -1]].tolist()
    print(
        f"{len(history['steps'])} steps, {taken / len(history['steps']):.0f} boxes each, "
        f"{100 * foreground / max(taken, 1):.0f} % on objects"
    )
    print(
        f"over all boxes of some images: loss {first[0]:.3f} at first, {last[0]:.3f} at last; "
        f"of box regression {first[1]:.3f} and {last[1]:.3f}"
    )
    print(f"wrote {out}")
