"""Runs every stage on an image set: propose and extract for both splits, then train, test and evaluate.

The splits are those of a VOC devkit. Other sources are split by a seed, with every class on both sides, unless the
test images have a file or folder of their own. OUT/train_ids.txt and OUT/test_ids.txt list which images were used.

  rcnn-svm run --voc VOCdevkit --train-split trainval --test-split test
  rcnn-svm run --csv boxes.csv --images photos --test-fraction 0.2
  rcnn-svm run --coco train.json --images photos --test-coco test.json

Prints each command before running it, so that any stage can be repeated by hand. What was made with the same
settings is done already, and an interrupted run goes on where it stopped. What was made with other settings is
refused; with --overwrite every stage replaces it.
"""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rcnn_svm import paper
from rcnn_svm.cli.arguments import (
    add_backbone_argument,
    add_crop_size_argument,
    add_data_arguments,
    add_jobs_argument,
    add_layer_argument,
    add_limit_arguments,
    add_method_argument,
    add_overwrite_argument,
    add_solver_argument,
    add_weights_argument,
    check_sets,
    open_split,
    positive_float_or_auto,
    positive_int,
    read_ids,
)
from rcnn_svm.errors import InputError
from rcnn_svm.svm.class_weights import AUTO

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase

SOURCES = ("voc", "coco", "xml", "csv")


class Side(NamedTuple):
    """The images to train on, or those to test on.

    Attributes:
        source: the arguments that name the source of the images, as every stage spells them.
        split: split of the source.
        ids: file that restricts the split, or None.
        database: the images.
        label: stands for the images in names of files.
    """

    source: argparse.Namespace
    split: str
    ids: Path | None
    database: ImageDatabase
    label: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    add_data_arguments(parser, split=False)
    parser.add_argument(
        "--train-split",
        metavar="NAME",
        help="split to train on (default: trainval of a devkit; of other sources train, or all)",
    )
    parser.add_argument("--train-ids", metavar="FILE", type=Path, help="only these training images, one id a line")
    parser.add_argument(
        "--test-split", metavar="NAME", help="split to test on (default: test; all where it has a source of its own)"
    )
    parser.add_argument("--test-ids", metavar="FILE", type=Path, help="only these test images, one id a line")
    own = parser.add_mutually_exclusive_group()
    own.add_argument("--test-coco", metavar="FILE", type=Path, help="test on what this COCO file annotates")
    own.add_argument("--test-xml", metavar="DIR", type=Path, help="test on what this folder of XML files annotates")
    own.add_argument("--test-csv", metavar="FILE", type=Path, help="test on what this CSV file annotates")
    parser.add_argument("--test-images", metavar="DIR", type=Path, help="image folder of these (default: --images)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("cache/run"),
        help="folder for everything that is made (default: %(default)s)",
    )
    add_overwrite_argument(parser, "what DIR holds,")
    add_jobs_argument(parser, "images or classes")
    stages = parser.add_argument_group("stages")
    add_method_argument(stages)
    add_limit_arguments(stages)
    add_backbone_argument(stages)
    add_layer_argument(stages)
    add_weights_argument(stages)
    add_crop_size_argument(stages)
    stages.add_argument(
        "--epochs",
        metavar="N",
        type=positive_int,
        default=paper.MAX_EPOCHS,
        help="passes of mining over the images, at most (default: %(default)s)",
    )
    add_solver_argument(stages)
    stages.add_argument(
        "--svm-C",
        metavar="C",
        type=positive_float_or_auto,
        help="weight of the loss, or auto (default: the paper's)",
    )
    stages.add_argument(
        "--pos-loss-weight",
        metavar="WEIGHT",
        type=positive_float_or_auto,
        help="weight of a positive, or auto, by the number of objects (default: the paper's with --voc, else auto)",
    )
    stages.add_argument("--calibrate", action="store_true", help="also find each class's probabilities, for detect")
    stages.add_argument("--bbox", action="store_true", help="also train and use bounding-box regression")
    stages.add_argument(
        "--pictures", metavar="N", type=int, default=12, help="test images to draw (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages one after the other."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.identity import check_still_there
    from rcnn_svm.data.checks import require_ground_truth, require_two_images
    from rcnn_svm.features.backbones import load_backbone

    train, test = _sides(args)
    # A class without examples would only be found out after hours of extraction, a network that is not available after
    # hours of proposals.
    require_ground_truth(train.database)
    if args.calibrate:
        require_two_images(train.database)
    load_backbone(args.backbone, args.layer, args.weights, crop_size=args.crop_size)
    with claimed(args.out / "train_ids.txt"):
        _record(train, test, args.out, overwrite=args.overwrite)
        _run_stages(args, train, test)
    made = ("train_ids.txt", "model.h5", "detections.h5", "report/results.json")
    check_still_there(*(args.out / name for name in made))
    print(f"\nreport: {args.out / 'report'}")
    if args.pictures > 0:
        print(f"pictures: {args.out / 'report' / 'pictures' / 'contact_sheet.jpg'} and others beside it")
    return 0


def _run_stages(args: argparse.Namespace, train: Side, test: Side) -> None:
    def features(side: Side) -> Path:
        return args.out / "features" / f"{side.label}.{args.backbone}"

    def stage(name: str, *words: object) -> None:
        _stage(name, *words, *(["--overwrite"] if args.overwrite else []))

    model, regressor = args.out / "model.h5", args.out / "bbox.h5"
    detections = args.out / "detections.h5"
    for side in (train, test):
        data = _data(side)
        proposals = args.out / "proposals" / f"{side.label}.{args.method}.h5"
        stage(
            "propose",
            *data,
            *("--method", args.method, "--jobs", args.jobs, "--out", proposals),
            *_optional(args, "max_boxes", "merge_iou"),
        )
        stage(
            "extract",
            *data,
            *("--proposals", proposals, "--backbone", args.backbone, "--out", features(side)),
            *_optional(args, "layer", "weights", "crop_size"),
        )
    svm_C, pos_loss_weight = _constants(args, train.database)
    stage(
        "train",
        *("--features", features(train), "--out", model, "--jobs", args.jobs, "--epochs", args.epochs),
        *("--solver", args.solver, "--svm-C", svm_C, "--pos-loss-weight", pos_loss_weight),
        *(["--calibrate"] if args.calibrate else []),
    )
    if args.bbox:
        stage("train-bbox", "--features", features(train), "--out", regressor)
    stage(
        "test",
        *("--features", features(test), "--model", model, "--out", detections),
        *(["--bbox", regressor] if args.bbox else []),
    )
    stage(
        "evaluate",
        *("--detections", detections, *_data(test)),
        *("--pictures", args.pictures, "--out", args.out / "report"),
    )


def _constants(args: argparse.Namespace, train: ImageDatabase) -> tuple[float | str, float | str]:
    """Return svm_C and pos_loss_weight: as given; else the paper's with a devkit, by the number of objects without.

    C is not cross-validated by itself: that costs several trainings, and on few images it gained less than the
    weights alone (docs/own_data.md, "Few images").
    """
    svm_C = paper.SVM_C if args.svm_C is None else args.svm_C
    if args.pos_loss_weight is not None:
        return svm_C, args.pos_loss_weight
    if args.voc:
        return svm_C, paper.POS_LOSS_WEIGHT
    import numpy as np

    from rcnn_svm.data.checks import count_classes

    typical = int(np.median(count_classes(train)[0]))
    kept = "" if args.svm_C is not None else f"; C is the paper's, as --svm-C {AUTO} takes several trainings"
    print(
        f"chosen: --svm-C {svm_C} --pos-loss-weight {AUTO}, because a class has {typical} objects (median); the "
        f"paper's weight of {paper.POS_LOSS_WEIGHT:g} for every class is for thousands of them, which {AUTO} "
        f"then comes down to{kept}"
    )
    return svm_C, AUTO


def _sides(args: argparse.Namespace) -> tuple[Side, Side]:
    """Return the images to train on and those to test on."""
    from rcnn_svm.data.class_names import write_class_list

    own_test = {name: getattr(args, f"test_{name}", None) for name in SOURCES}
    separate = any(own_test.values())
    if args.test_images and not separate:
        raise InputError("--test-images needs --test-coco, --test-xml or --test-csv, which say what the images show")
    chosen = separate or (args.train_ids and args.test_ids)
    defaults = ("trainval", "test") if args.voc else ("all", "all") if chosen else ("train", "test")
    train_split, test_split = args.train_split or defaults[0], args.test_split or ("all" if separate else defaults[1])
    # What was proposed for was decoded before.
    read = "headers" if (args.out / "proposals").exists() else "pixels"
    train = open_split(args, train_split, args.train_ids, read)
    source = args
    if separate:
        # The classes are those of the training, whether or not all of them occur among the test images.
        images = {"images": args.test_images or args.images, "classes": write_class_list(train.classes)}
        source = argparse.Namespace(**{**vars(args), **own_test, **images})
    test = open_split(source, test_split, args.test_ids, read)
    check_sets([train, test], read, args)
    labels = (train.name, test.name) if train.name != test.name else (f"{train.name}_train", f"{test.name}_test")
    return (
        Side(args, train_split, args.train_ids, train, labels[0]),
        Side(source, test_split, args.test_ids, test, labels[1]),
    )


def _record(train: Side, test: Side, out: Path, *, overwrite: bool) -> None:
    """Print how many images are on each side, and write which."""
    from rcnn_svm import __version__
    from rcnn_svm.artefacts.files import fingerprint, write_text
    from rcnn_svm.artefacts.identity import check_same

    sides = {"train": train, "test": test}
    for name, side in sides.items():
        path = out / f"{name}_ids.txt"
        if path.exists() and not overwrite:
            check_same(path, {"images": read_ids(path)}, {"images": list(side.database.image_ids)})
    for name, side in sides.items():
        ids = side.database.image_ids
        made = f"# {shlex.join(str(word) for word in _data(side))}; rcnn-svm {__version__}; {fingerprint(ids)}"
        write_text(out / f"{name}_ids.txt", "\n".join([made, *ids, ""]))
        print(f"{name}: {side.database.name}, {len(ids)} images")
    paths = ({side.database.image_path(i) for i in range(len(side.database))} for side in (train, test))
    common = len(set.intersection(*paths))
    if common:
        print(f"warning: {common} images are on both sides, so the result says little about new images")


def _data(side: Side) -> list[object]:
    """Return the arguments that name one of the two image sets."""
    source, words = side.source, []
    for name in (*SOURCES, "images"):
        if getattr(source, name):
            words += [f"--{name}", getattr(source, name)]
    if source.voc:
        words += ["--year", source.year]
    elif side.split != "all":
        words += ["--test-fraction", source.test_fraction, "--split-seed", source.split_seed]
    words += ["--split", side.split]
    if side.ids:
        words += ["--ids", side.ids]
    if source.classes:
        words += ["--classes", source.classes]
    words += [f"--{name.replace('_', '-')}" for name in ("ignore_exif", "skip_bad_images") if getattr(source, name)]
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
