r"""Writes one page that shows what was hard for a model: the film of its mining, training by training, and its
hardest negatives; with --detections also what it gets wrong in the test images, and the best and the worst of these.
The page is one file, works without a network and is read with any browser. --suspects FILE lists hard negatives that
look like objects that nobody labelled, for review, as boxes in CSV.

It needs the features that the model was trained on, on which it repeats the mining to see the scores, and the images.
Which images were trained on and tested says what was made of them. Features of `rcnn-svm run` are found by themselves:

  rcnn-svm report cache/run/model.h5 --detections cache/run/detections.h5 \
    --csv boxes.csv --images photos
  rcnn-svm report MODEL --features DIR --voc VOCdevkit --out DIR

A report of the same artefacts is written again; one of others is refused, or replaced with --overwrite.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_jobs_argument,
    add_overwrite_argument,
    add_stored_layer_arguments,
    check_sets,
    layer_to_compute,
    names_images,
    open_features,
    open_split,
)
from rcnn_svm.cli.sides import add_test_source_arguments, has_test_source, with_test_source
from rcnn_svm.cli.trained_on import add_trained_on_arguments, open_trained_on, with_negatives_images
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.mining.suspects import Suspects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="model of the train stage")
    add_trained_on_arguments(parser)
    add_stored_layer_arguments(parser, "the model's")
    parser.add_argument(
        "--validate", metavar="DIR", type=Path, help="feature cache that it was validated on, where train had one"
    )
    parser.add_argument("--detections", metavar="FILE", type=Path, help="what the test stage found with it")
    parser.add_argument(
        "--suspects",
        metavar="FILE",
        type=Path,
        help="also write hard negatives that look like unlabelled objects, as CSV",
    )
    add_data_arguments(parser, split=False, required=False)
    parser.add_argument(
        "--train-split", metavar="NAME", help="split of a devkit with the training images (default: trainval)"
    )
    parser.add_argument("--test-split", metavar="NAME", help="split of a devkit with the test images (default: test)")
    add_test_source_arguments(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder of report.html (default: cache/reports/<name of the model>/)"
    )
    add_overwrite_argument(parser, "a report")
    add_jobs_argument(parser, "classes")


def run(args: argparse.Namespace) -> None:
    """Gather and write the page."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, reading_unsealed
    from rcnn_svm.artefacts.identity import check_same, say_written
    from rcnn_svm.detection.detections import KIND, Detections
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.reports.html import PAGE, Report, made_by, read_made_from

    out = args.out or Path("cache/reports") / args.model.stem
    path = out / PAGE
    check_writable(path)
    if args.suspects:
        check_writable(args.suspects)
    detector = Detector.load(args.model)
    cache = open_trained_on(args, args.model, detector)
    of_test = {}
    if args.detections:
        found = Detections.load(args.detections)
        made = {"Detections": made_by(args.detections, KIND)}
        of_test = {"detections": found, "test_images": _test_images(args, found), "made": made}
    with reading_unsealed(args.model):
        report = Report.of_model(
            args.model,
            cache,
            validate=None if args.validate is None else _open(args.validate, args, detector),
            images=_training_images(args, cache),
            n_jobs=args.jobs,
            **of_test,
        )
        with claimed(path):
            # The same report is made again: it takes little time, and images may be there that were missing.
            if path.exists() and not args.overwrite:
                check_same(path, read_made_from(path)["settings"], json.loads(json.dumps(report.settings)))
            report.save(out)
    print(report.summary)
    for note in report.notes:
        print(f"note: {note}")
    say_written(path)
    if args.suspects:
        _write_suspects(args.suspects, report.suspects, overwrite=args.overwrite)
        say_written(args.suspects)


def _write_suspects(path: Path, suspects: Suspects, *, overwrite: bool) -> None:
    """Write suspects as CSV; what someone made of an earlier list stays, unless it is to be overwritten."""
    from rcnn_svm.artefacts.files import reading
    from rcnn_svm.reports.suspects import save_suspects, suspects_csv

    if path.exists() and not overwrite:
        with reading(path):
            if path.read_text(encoding="utf-8") == suspects_csv(suspects):
                return
        raise InputError(f"{path} holds something else than these suspects; give another FILE, or --overwrite")
    save_suspects(suspects, path)


def _open(folder: Path, args: argparse.Namespace, detector: Detector) -> FeatureCache:
    return open_features(folder, args.layer or layer_to_compute(detector, folder), args.weights)


def _training_images(args: argparse.Namespace, cache: FeatureCache) -> ImageDatabase | None:
    """Return the training images of a cache, as far as the image set has them."""
    if not names_images(args):
        return None
    source = _with_classes(args, cache.classes)
    found = open_split(source, args.train_split or ("trainval" if args.voc else "all"), None, "annotations")
    known = set(found.image_ids)
    ids = [image_id for image_id in cache.image_ids if image_id in known]
    if not ids:
        raise InputError(
            f"none of the {cache.num_images} training images of {cache.name} is in {found.name}; give the images that "
            "the model was trained on"
        )
    return with_negatives_images(args, found.subset(ids, cache.name), cache)


def _test_images(args: argparse.Namespace, detections: Detections) -> ImageDatabase:
    """Return the images of detections, with their objects."""
    if not names_images(args):
        raise InputError(
            "--detections needs the images for their objects; give --voc (--coco, --xml, --csv, --yolo) too"
        )
    separate = has_test_source(args)
    source = with_test_source(args, detections.classes) if separate else _with_classes(args, detections.classes)
    split = args.test_split or ("test" if source.voc else "all")
    images = open_split(source, split, None, "annotations")
    images = images.subset(detections.image_ids, detections.settings.get("image_set"))
    check_sets([images], "annotations", args)
    return images


def _with_classes(args: argparse.Namespace, classes: Sequence[str]) -> argparse.Namespace:
    """Return the arguments with the classes of an artefact, where none are given."""
    from rcnn_svm.data.class_names import write_class_list

    return argparse.Namespace(**{**vars(args), "classes": args.classes or write_class_list(classes)})
