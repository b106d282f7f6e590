"""Command line arguments that every stage spells alike."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from joblib import cpu_count

from rcnn_svm.data import ImageDatabase
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache


def add_data_arguments(parser: argparse.ArgumentParser, *, split: bool = True, required: bool = True) -> None:
    """Add the arguments that name an image set."""
    group = parser.add_argument_group("image set")
    group.add_argument(
        "--voc", metavar="ROOT", type=Path, required=required, help="VOCdevkit folder, the one that holds VOC2007"
    )
    group.add_argument("--year", default="2007", help="year of the VOC release (default: %(default)s)")
    if split:
        group.add_argument(
            "--split", default="trainval", help="image set file in ImageSets/Main (default: %(default)s)"
        )
        group.add_argument("--ids", metavar="FILE", type=Path, help="only these images of the split, one id a line")
    group.add_argument(
        "--classes", metavar="A,B,...", help="class names, comma-separated (default: the 20 VOC classes)"
    )


def add_jobs_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --jobs, the number of `what` to work on at once."""
    parser.add_argument(
        "--jobs", metavar="N", type=positive_int, default=cpu_count(), help=f"{what} at once (default: one per core)"
    )


def add_layer_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the arguments that choose a layer of a pool5 cache; `default` says which one is taken otherwise."""
    parser.add_argument(
        "--layer",
        choices=("pool5", "fc6", "fc7"),
        help=f"with a cache of pool5: fc6 and fc7 are computed from it on the fly (default: {default})",
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="with --layer: state dict that the cache was made with, if any"
    )


def open_features(folder: Path, layer: str | None, weights: Path | None) -> FeatureCache:
    """Return a feature cache, of another layer than the stored one where `layer` says so."""
    from rcnn_svm.cache import FeatureCache

    cache = FeatureCache.open(folder)
    if layer is None:
        return cache
    from rcnn_svm.features.layers import layer_cache

    return layer_cache(cache, layer, weights)


def load_database(args: argparse.Namespace) -> ImageDatabase:
    """Return the image set that `add_data_arguments` describes."""
    return load_split(args, args.split, args.ids)


def load_split(args: argparse.Namespace, split: str, ids: Path | None) -> ImageDatabase:
    """Return one split of the devkit that `add_data_arguments` describes."""
    from rcnn_svm.data.voc import load_voc

    return load_voc(args.voc, args.year, split, ids=read_ids(ids) if ids else None, classes=class_names(args))


def class_names(args: argparse.Namespace) -> list[str] | None:
    """Return the names given with --classes, or None."""
    if args.classes is None:
        return None
    names = [name.strip() for name in args.classes.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise InputError(f"--classes {args.classes!r} must list different class names, separated by commas")
    return names


def read_ids(path: Path) -> list[str]:
    """Return the image ids of a text file, one a line; empty lines and # comments are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of image ids {path}: {error}") from error
    ids = [line.split("#")[0].strip() for line in lines]
    ids = [image_id for image_id in ids if image_id]
    if not ids:
        raise InputError(f"{path} lists no image ids; write one a line")
    return ids


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value
