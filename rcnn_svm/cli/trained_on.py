"""The features and the images that a model was trained on, named by a command or found beside the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_negatives_arguments, layer_to_compute, open_features
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection.detector import Detector

# Features of the images that `rcnn-svm run --negatives` was given, in its folder.
_NEGATIVES_OF_RUN = "negatives.*"


def add_trained_on_arguments(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Add what names the features that a model was trained on.

    Args:
        parser: where.
        of: what they are for, at the end of the help, such as ", for film".
    """
    parser.add_argument(
        "--features",
        metavar="DIR",
        type=Path,
        help=f"feature cache that it was trained on{of} (default: the one of its image set in a folder features beside "
        "it, with the negatives there of a run)",
    )
    more = parser.add_argument_group("more negatives", "as for train, where it had some")
    add_negatives_arguments(more)
    more.add_argument("--negatives-images", metavar="DIR", type=Path, help="image folder of --negatives, for crops")


def open_trained_on(args: argparse.Namespace, model: Path, detector: Detector) -> FeatureCache:
    """Return the features that a model was trained on: those of images with labels, then those of more negatives.

    Args:
        args: with what `add_trained_on_arguments` adds, and perhaps `layer`.
        model: the file.
        detector: what it holds.

    Raises:
        InputError: they are not there, or cannot be read.
    """
    from rcnn_svm.mining.background import with_negatives

    def opened(folder: Path) -> FeatureCache:
        layer = getattr(args, "layer", None) or layer_to_compute(detector, folder)
        return open_features(folder, layer, args.weights)

    folder = args.features or trained_on(model, detector)
    cache, wanted = opened(folder), detector.training.get("identity", {}).get("cache")
    if args.negatives or args.mined:
        return with_negatives(cache, [opened(path) for path in args.negatives], args.mined)
    if wanted not in (None, cache.fingerprint):
        for path in sorted(folder.resolve().parent.glob(_NEGATIVES_OF_RUN)):
            joined = with_negatives(cache, [opened(path)])
            if joined.fingerprint == wanted:
                return joined
    return cache


def with_negatives_images(args: argparse.Namespace, images: ImageDatabase, cache: FeatureCache) -> ImageDatabase:
    """Return images, and those of the background that a model was trained on, where their folder is given.

    Args:
        args: with what `add_trained_on_arguments` adds.
        images: those with labels.
        cache: what `open_trained_on` returns.

    Raises:
        InputError: there is no image in the folder, or the features are of no background.
    """
    from rcnn_svm.data.background import background_images, joined_images

    if not args.negatives_images:
        return images
    known = set(images.image_ids)
    names = {image_id.partition("/")[0] for image_id in cache.image_ids if image_id not in known and "/" in image_id}
    if not names:
        raise InputError(f"--negatives-images {args.negatives_images}: {cache.name} has no images of --negatives")
    return joined_images(images, [background_images(args.negatives_images, images.classes, name) for name in names])


def trained_on(model: Path, detector: Detector) -> Path:
    """Return the feature cache of a model's image set in a folder `features` beside its file, or beside its folder.

    Args:
        model: the file.
        detector: what it holds.

    Raises:
        InputError: there is none with the features of the model.
    """
    from rcnn_svm.cache import read_plan
    from rcnn_svm.cache.plan import MANIFEST

    image_set = detector.training.get("image_set")
    beside = model.resolve().parent
    for folder in (beside / "features", beside.parent / "features"):
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            plan = read_plan(manifest.parent)
            computed = layer_to_compute(detector, manifest.parent) is not None
            if plan.name == image_set and (computed or plan.settings == detector.feature_settings):
                return manifest.parent
    of_set = f", those of {image_set}" if image_set else ""
    raise InputError(
        f"no folder features beside {model} has the features that it was trained on{of_set}; give them with "
        "--features DIR"
    )
