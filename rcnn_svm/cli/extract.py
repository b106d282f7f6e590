"""Warps every ground-truth box and proposal of an image set and caches what the network makes of it.

Stopped at any moment, the same command goes on after the last complete shard. Several processes or machines
share the work with --part 1/N ... --part N/N and the same --out, or with --scheduler.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import (
    CROP_MODES,
    DTYPES,
    add_backbone_argument,
    add_context_argument,
    add_crop_size_argument,
    add_data_arguments,
    add_device_argument,
    add_layer_argument,
    add_limit_arguments,
    add_overwrite_argument,
    add_padding_argument,
    add_proposals_argument,
    add_reuse_argument,
    add_runtime_argument,
    add_scene_argument,
    add_shard_images_argument,
    add_update_argument,
    add_weights_argument,
    load_database,
    positive_int,
)
from rcnn_svm.cli.sharing import add_sharing_arguments
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.data import ImageDatabase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the stage."""
    add_data_arguments(parser)
    add_proposals_argument(parser, default=" (default: the one file cache/proposals/IMAGESET.*.h5)")
    add_limit_arguments(parser)

    network = parser.add_argument_group("network")
    add_backbone_argument(network)
    add_layer_argument(network)
    add_weights_argument(network)
    add_device_argument(network)
    add_runtime_argument(network)
    network.add_argument("--threads", metavar="N", type=positive_int, help="CPU threads (default: one per core)")
    network.add_argument(
        "--batch-size", metavar="N", type=positive_int, help="crops at once, per thread (default: what is fastest)"
    )

    crop = parser.add_argument_group("crop")
    add_crop_size_argument(crop)
    add_padding_argument(crop)
    crop.add_argument("--crop-mode", choices=CROP_MODES, default="warp", help="stretch the box, or square it first")
    add_context_argument(crop)
    add_scene_argument(crop)

    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: cache/features/IMAGESET.BACKBONE.LAYER)"
    )
    output.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float16",
        help="how features are stored (default: %(default)s, half the size and nearly the same negatives)",
    )
    add_shard_images_argument(output)
    add_sharing_arguments(output, "the shards")
    add_reuse_argument(output, "DIR", "feature caches")
    add_overwrite_argument(output, "a feature cache")
    add_update_argument(output, "a feature cache")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    from rcnn_svm.artefacts.claims import claimed, share_of
    from rcnn_svm.artefacts.identity import say_done, say_written
    from rcnn_svm.cache.plan import MANIFEST
    from rcnn_svm.features.backbones import load_backbone
    from rcnn_svm.features.extract import FeatureExtractor, extract_database
    from rcnn_svm.features.runtime import make_runtime
    from rcnn_svm.features.warp import context_padding
    from rcnn_svm.proposals.store import ProposalSet

    backbone = load_backbone(args.backbone, args.layer, args.weights, crop_size=args.crop_size, padding=args.padding)
    network = re.sub(r"[^\w.-]+", "-", f"{args.backbone}.{backbone.settings['layer']}")

    def out_of(database: ImageDatabase) -> Path:
        return args.out or Path("cache/features") / f"{database.name}.{network}"

    database = load_database(args, lambda database: out_of(database) / MANIFEST)
    out = out_of(database)
    proposals = ProposalSet.load(args.proposals or _find_proposals(database.name))
    if args.max_boxes is not None or args.merge_iou is not None:
        proposals = proposals.limited(args.max_boxes, args.merge_iou)
    extractor = FeatureExtractor(
        backbone,
        make_runtime(backbone, args.runtime, args.device, args.threads),
        crop_mode=args.crop_mode,
        batch_size=args.batch_size,
        context=context_padding(backbone.crop_size) if args.context else None,
        scene=bool(args.scene),
    )
    index, parts = args.part
    with claimed(share_of(out / MANIFEST, args.part)):
        summary = extract_database(
            database,
            proposals,
            extractor,
            out,
            shard_images=args.shard_images,
            dtype=args.dtype,
            part=args.part,
            overwrite=args.overwrite,
            update=args.update,
            reuse=args.reuse,
        )
    plan = summary.plan
    if not summary.images and not summary.kept:
        say_done(out)
    rate = f", {summary.rows / summary.seconds:.0f} crops/s" if summary.rows else ""
    print(f"computed now: {summary.images} images, {summary.rows} regions in {summary.seconds:.1f} s{rate}")
    if summary.kept:
        print(f"taken over: {summary.kept} regions whose images and boxes are as they were")
    size = sum(path.stat().st_size for path in map(plan.shard_path, range(plan.num_shards)) if path.exists())
    print(
        f"cache: {len(plan.image_ids)} images, {sum(plan.rows)} regions, {plan.dim} dimensions of {plan.dtype}, "
        f"{size / 1e6:.0f} MB"
    )
    say_written(out, out / MANIFEST, *map(plan.shard_path, range(index, plan.num_shards, parts)))


def _find_proposals(name: str) -> Path:
    found = sorted(Path("cache/proposals").glob(f"{name}.*.h5"))
    if len(found) != 1:
        listed = f"found {', '.join(map(str, found))}; say which with" if found else "run the propose stage or give"
        raise InputError(f"expected one proposals file cache/proposals/{name}.*.h5, {listed} --proposals FILE")
    return found[0]
