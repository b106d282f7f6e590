"""Runs every stage on a VOC devkit: propose and extract for both splits, then train, test and evaluate.

Prints each command before running it, so that any stage can be repeated by hand. Stages whose result is
there already, made with the same settings, are skipped; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_jobs_argument,
    load_split,
    positive_float_or_auto,
    positive_int,
)
from rcnn_svm.proposals.methods import METHODS

HELP = "run all stages: images in, mAP out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    add_data_arguments(parser, split=False)
    parser.add_argument("--train-split", default="trainval", help="split to train on (default: %(default)s)")
    parser.add_argument("--train-ids", metavar="FILE", type=Path, help="only these training images, one id a line")
    parser.add_argument("--test-split", default="test", help="split to test on (default: %(default)s)")
    parser.add_argument("--test-ids", metavar="FILE", type=Path, help="only these test images, one id a line")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("cache/run"), help="for everything (default: %(default)s)"
    )
    add_jobs_argument(parser, "images or classes")
    stages = parser.add_argument_group("stages")
    stages.add_argument("--method", choices=METHODS, default="fast", help="proposals (default: %(default)s)")
    stages.add_argument(
        "--max-boxes",
        metavar="N",
        type=positive_int,
        help="proposals per image (default: all); with lite0, 400 lost nothing, see the README",
    )
    stages.add_argument(
        "--merge-iou", metavar="IOU", type=float, help="drop proposals that overlap an earlier one by more than this"
    )
    stages.add_argument("--backbone", default="lite0", help="network (default: %(default)s)")
    stages.add_argument("--layer", help="of the network (default: the last before the classifier)")
    stages.add_argument("--weights", metavar="FILE", help="state dict of the network (default: the published one)")
    stages.add_argument("--crop-size", metavar="PIXELS", type=positive_int, help="default: the network's own")
    stages.add_argument("--epochs", type=positive_int, default=1, help="of mining (default: %(default)s)")
    stages.add_argument("--solver", choices=("dcd", "liblinear"), default="dcd", help="SVM (default: %(default)s)")
    stages.add_argument("--svm-C", type=positive_float_or_auto, default=1e-3, help="or auto (default: %(default)s)")
    stages.add_argument(
        "--pos-loss-weight", type=positive_float_or_auto, default=2.0, help="or auto (default: %(default)s)"
    )
    stages.add_argument("--pictures", type=int, default=12, help="test images to draw (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the stages one after the other."""
    from rcnn_svm.data.checks import require_ground_truth

    train = load_split(args, args.train_split, args.train_ids)
    test = load_split(args, args.test_split, args.test_ids)
    # A class without examples would only be found out after hours of extraction.
    require_ground_truth(train)

    sets = {
        name: (database.name, split, ids)
        for name, database, split, ids in (
            ("train", train, args.train_split, args.train_ids),
            ("test", test, args.test_split, args.test_ids),
        )
    }
    features = {name: args.out / "features" / f"{sets[name][0]}.{args.backbone}" for name in sets}
    model = args.out / "model.h5"
    detections = args.out / "detections.h5"
    for name, (label, split, ids) in sets.items():
        data = _data(args, split, ids)
        proposals = args.out / "proposals" / f"{label}.{args.method}.h5"
        _stage(
            "propose",
            *data,
            *("--method", args.method, "--jobs", args.jobs, "--out", proposals),
            *_optional(args, "max_boxes", "merge_iou"),
        )
        _stage(
            "extract",
            *data,
            *("--proposals", proposals, "--backbone", args.backbone, "--out", features[name]),
            *_optional(args, "layer", "weights", "crop_size"),
        )
    _stage(
        "train",
        *("--features", features["train"], "--out", model, "--jobs", args.jobs, "--epochs", args.epochs),
        *("--solver", args.solver, "--svm-C", args.svm_C, "--pos-loss-weight", args.pos_loss_weight),
    )
    _stage("test", "--features", features["test"], "--model", model, "--out", detections)
    _stage(
        "evaluate",
        *("--detections", detections, *_data(args, args.test_split, args.test_ids)),
        *("--pictures", args.pictures, "--out", args.out / "report"),
    )
    print(f"\nreport: {args.out / 'report'}")
    if args.pictures > 0:
        print(f"pictures: {args.out / 'report' / 'pictures' / 'contact_sheet.jpg'} and others beside it")
    return 0


def _data(args: argparse.Namespace, split: str, ids: Path | None) -> list[object]:
    """Return the arguments that name one of the two image sets."""
    words: list[object] = ["--voc", args.voc, "--year", args.year, "--split", split]
    if ids:
        words += ["--ids", ids]
    if args.classes:
        words += ["--classes", args.classes]
    return words


def _optional(args: argparse.Namespace, *names: str) -> list[object]:
    """Return the options among `names` that were given."""
    words: list[object] = []
    for name in names:
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", getattr(args, name)]
    return words


def _stage(stage: str, *words: object) -> None:
    """Print, run and time one stage; what stops it stops the run."""
    from rcnn_svm.cli.main import run_arguments

    argv = [str(word) for word in words]
    print(f"\n$ rcnn-svm {stage} {shlex.join(argv)}", flush=True)
    start = time.perf_counter()
    run_arguments(stage, argv)
    print(f"{stage}: {time.perf_counter() - start:.1f} s", flush=True)
