r"""Scores every proposal of a feature cache with a model and keeps the best 100 of each class in an image, and
the best 40 times the number of images of each class in the whole set.

The cache must hold the features that the model was trained on: same backbone, layer and crops; for a model of
fc6 or fc7 it may hold pool5. Its proposals may be others. The result holds boxes before non-maximum suppression;
the evaluate stage suppresses. With --bbox the boxes that are kept are corrected, with --vote they then become the mean
of those of their class that overlap them, which add to their scores. With --soft-nms boxes that overlap better ones of
their class lose score at the end, and evaluate suppresses none.

  rcnn-svm test --features cache/features/voc_2007_test.lite0.penultimate \
    --model cache/models/MODEL.h5

With --also the result holds earlier detections of the same model and images too: boxes of a cache that was made from
them (propose --detections) are scored beside them, and --vote is for all.

With --scores softmax the model is the weights.pt of the finetune stage, and the cache holds the features that
extract makes with it. Scores are then log-odds: they rank as the softmax's probabilities, which tie near 1.
So are those of a head of the train-head stage, which also corrects the boxes. What train-head made with --end-to-end
takes images and proposals in the place of features:

  rcnn-svm test --voc VOCdevkit --split test --proposals FILE \
    --model cache/models/MODEL.h5
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcnn_svm import paper
from rcnn_svm.artefacts.claims import WHOLE
from rcnn_svm.cli.arguments import (
    add_data_arguments,
    add_device_argument,
    add_overwrite_argument,
    add_proposals_argument,
    add_soft_nms_argument,
    add_stored_layer_arguments,
    add_update_argument,
    add_vote_argument,
    layer_to_compute,
    load_database,
    names_images,
    open_features,
    positive_int,
)
from rcnn_svm.cli.sharing import add_sharing_arguments, say_part
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.data import ImageDatabase
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.detection.interfaces import BoxCorrector, RegionScorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, help="feature cache of the image set")
    parser.add_argument(
        "--model", metavar="FILE", type=Path, required=True, help="model of the train stage, or head of train-head"
    )
    add_stored_layer_arguments(parser, "the model's")
    parser.add_argument(
        "--scores",
        choices=("svm", "softmax"),
        default="svm",
        help="what the model is: SVMs, or the last layer of a fine-tuned network (default: %(default)s)",
    )
    parser.add_argument(
        "--max-per-image",
        metavar="N",
        type=positive_int,
        default=paper.MAX_PER_IMAGE,
        help="boxes of a class to keep in one image (default: %(default)s)",
    )
    parser.add_argument(
        "--bbox", metavar="FILE", type=Path, help="correct the boxes with this file of the train-bbox stage"
    )
    parser.add_argument(
        "--bbox-features",
        metavar="DIR",
        type=Path,
        help="feature cache to correct from: the same regions in the layer that --bbox was trained on "
        "(default: that of --features)",
    )
    parser.add_argument(
        "--also",
        metavar="FILE",
        type=Path,
        help="add what the model found in these images before: a file of this stage",
    )
    add_vote_argument(parser)
    add_soft_nms_argument(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write (default: cache/detections/<name of DIR>.h5, .softmax.h5 or .head.h5; of images "
        "<image set>.<model>.h5)",
    )
    add_overwrite_argument(parser, "detections")
    add_update_argument(parser, "detections")
    add_sharing_arguments(parser, "the images")
    add_data_arguments(parser, required=False, voc_split="test")
    add_proposals_argument(parser)
    add_device_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Score, correct where asked for, and write, or find it done."""
    if names_images(args) or args.proposals:
        _test_images(args)
        return
    if not args.features:
        raise InputError(
            "--features is missing; or give --voc (--coco, --xml, --csv, --yolo) and --proposals for a network of "
            "train-head --end-to-end"
        )
    from rcnn_svm.artefacts.claims import claimed, share_of
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.detection.bbox_correction import correct_detections, correction_settings
    from rcnn_svm.detection.detections import Detections, merging_settings
    from rcnn_svm.detection.image_set import check_features, detect_in_cache, differs_in_data, run_settings
    from rcnn_svm.detection.parts import TestParts
    from rcnn_svm.detection.softmax import SoftmaxClassifier
    from rcnn_svm.fast_rcnn.roi_head import RoIHead

    detector = _load_model(args)
    cache = open_features(args.features, args.layer or layer_to_compute(detector, args.features), args.weights)
    check_features(detector, cache, f"model {args.model}", f"cache {args.features}")
    suffix = {SoftmaxClassifier: ".softmax", RoIHead: ".head"}.get(type(detector), "")
    out = args.out or Path("cache/detections") / f"{args.features.resolve().name}{suffix}.h5"
    check_writable(out)
    settings_of_scores = run_settings(cache, detector, max_per_image=args.max_per_image)
    settings = dict(settings_of_scores)
    correction = _correction(args, cache, detector)
    if correction:
        settings["bbox"] = correction_settings(*correction)
    earlier = None
    if args.also:
        earlier = Detections.load(args.also)
        name = f"the detections of {args.also}"
        settings["also"] = merging_settings(settings, cache.image_ids, detector.classes, earlier, name)
    parts = TestParts(out, cache, detector, settings_of_scores)
    settings |= _last_steps_settings(args)
    with claimed(share_of(out, args.part)):
        if not already_done(
            out,
            lambda: Detections.load(out).settings,
            settings,
            overwrite=args.overwrite,
            update=args.update,
            same_settings=lambda found: differs_in_data(found, settings),
        ):
            if args.part != WHOLE:
                parts.compute(args.part)
                say_part(args.part, out)
                return
            if parts.folder.exists():
                parts.compute(WHOLE)
                detections = parts.join()
            else:
                detections = detect_in_cache(cache, detector, max_per_image=args.max_per_image)
            if correction:
                detections = correct_detections(detections, *correction)
            if earlier:
                detections = detections.merged(earlier, settings["max_per_image"], settings["max_per_set"])
            detections = _after_last_steps(detections, args)
            detections.save(out)
            print(
                f"{cache.num_images} images, {cache.num_rows} regions, {len(detector.classes)} classes: "
                f"{len(detections)} boxes kept, {_suppression(args)}"
            )
        parts.remove()
    say_written(out)


def _test_images(args: argparse.Namespace) -> None:
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable
    from rcnn_svm.artefacts.identity import already_done, say_written
    from rcnn_svm.detection.detections import Detections
    from rcnn_svm.fast_rcnn.image_set import detect_in_images, run_settings
    from rcnn_svm.fast_rcnn.model import FastRCNN
    from rcnn_svm.proposals.store import ProposalSet

    if not (names_images(args) and args.proposals):
        raise InputError(
            "a network is tested on images, which needs --voc (or --coco, --xml, --csv, --yolo) and --proposals"
        )
    if args.part != WHOLE:
        raise InputError("--part shares out the images of --features; test a network on images as a whole")
    for option in ("features", "bbox", "bbox_features", "also", "layer", "weights"):
        if getattr(args, option):
            raise InputError(f"--{option.replace('_', '-')} does not go with images and --proposals; leave it away")
    if args.scores == "softmax":
        raise InputError("--scores softmax is for --features; what train-head made has scores of its own")
    model = FastRCNN.load(args.model)

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/detections") / f"{database.name}.{args.model.stem}.h5"

    database = load_database(args, out_of)
    out, proposals = out_of(database), ProposalSet.load(args.proposals)
    check_writable(out)
    settings = run_settings(database, proposals, model, args.max_per_image)
    settings |= _last_steps_settings(args)
    with claimed(out):
        if not already_done(out, lambda: Detections.load(out).settings, settings, overwrite=args.overwrite):
            detections = detect_in_images(
                database, proposals, model, device=args.device, max_per_image=args.max_per_image
            )
            detections = _after_last_steps(detections, args)
            detections.save(out)
            print(f"{len(database)} images: {len(detections)} boxes kept, {_suppression(args)}")
    say_written(out)


def _last_steps_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the detections record of `_after_last_steps`."""
    from rcnn_svm.detection.soft_nms import soft_nms_settings
    from rcnn_svm.detection.voting import voting_settings

    return {
        **({"voting": voting_settings()} if args.vote else {}),
        **({"soft_nms": soft_nms_settings()} if args.soft_nms else {}),
    }


def _after_last_steps(detections: Detections, args: argparse.Namespace) -> Detections:
    """Return the detections after box voting and soft-NMS, where asked for."""
    if args.vote:
        detections = detections.after_voting()
    return detections.after_soft_nms() if args.soft_nms else detections


def _suppression(args: argparse.Namespace) -> str:
    return "after soft-NMS" if args.soft_nms else "before non-maximum suppression"


def _load_model(args: argparse.Namespace) -> RegionScorer:
    """Return the model, of the kind that --scores or its file says it is."""
    from rcnn_svm.artefacts.model_file import load_model
    from rcnn_svm.detection.detector import Detector
    from rcnn_svm.fast_rcnn.roi_head import RoIHead
    from rcnn_svm.finetune.record import WEIGHTS
    from rcnn_svm.finetune.weights import load_softmax

    if args.scores == "softmax":
        return load_softmax(args.model)
    if args.model.name == WEIGHTS and args.model.is_file():
        raise InputError(f"{args.model} holds the weights of a network, no SVMs; test it with --scores softmax")
    model = load_model(args.model, [Detector.KIND, RoIHead.KIND])
    if not isinstance(model, Detector | RoIHead):
        raise TypeError(f"a file of a {model.KIND} was accepted as one of a detector")
    return model


def _correction(
    args: argparse.Namespace, cache: FeatureCache, detector: RegionScorer
) -> tuple[BoxCorrector, FeatureCache] | None:
    """Return what corrects boxes and the features it is applied to, or None where nothing does."""
    from rcnn_svm.detection.bbox_correction import check_same_regions
    from rcnn_svm.detection.bbox_regression import BoxRegressor
    from rcnn_svm.detection.image_set import check_features
    from rcnn_svm.fast_rcnn.roi_head import RoIHead

    if isinstance(detector, RoIHead):
        if args.bbox or args.bbox_features:
            raise InputError(f"{args.model} is a RoI head, which corrects boxes itself; leave --bbox away")
        return detector, cache
    if args.bbox is None:
        if args.bbox_features:
            raise InputError("--bbox-features needs --bbox, the file that says how to correct boxes")
        return None
    regressor, folder = BoxRegressor.load(args.bbox), args.bbox_features or args.features
    regressor.columns(detector.classes)
    features = open_features(folder, layer_to_compute(regressor, folder), args.weights)
    check_features(regressor, features, f"box regressor {args.bbox}", f"cache {folder}")
    if args.bbox_features:
        check_same_regions(cache, features, f"cache {args.features}", f"cache {folder}")
    return regressor, features
