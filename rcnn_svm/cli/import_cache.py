"""Turns the original's feature cache, one .mat file per image, into ours.

Both MATLAB formats are read. Boxes become 0-based; rows, order and overlaps stay as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import add_overwrite_argument, add_shard_images_argument, class_names, read_ids


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--mat", metavar="DIR", type=Path, required=True, help="folder of <image id>.mat files")
    parser.add_argument("--ids", metavar="FILE", type=Path, help="images in their order (default: all, sorted)")
    parser.add_argument(
        "--classes", metavar="A,B,...", help="class names in the order of the overlaps (default: the 20 VOC classes)"
    )
    parser.add_argument("--network", metavar="WORDS", help="what made the features, so that others are refused")
    add_shard_images_argument(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="feature cache to write (default: cache/features/<name of DIR>)"
    )
    add_overwrite_argument(parser, "a feature cache")


def run(args: argparse.Namespace) -> None:
    """Import and write the cache."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.cache.importers import import_girshick_cache
    from rcnn_svm.cache.plan import MANIFEST
    from rcnn_svm.data.voc import VOC_CLASSES

    out = args.out or Path("cache/features") / args.mat.resolve().name
    with claimed(out / MANIFEST):
        import_girshick_cache(
            args.mat,
            out,
            classes=class_names(args) or VOC_CLASSES,
            image_ids=read_ids(args.ids) if args.ids else None,
            network=args.network,
            shard_images=args.shard_images,
            overwrite=args.overwrite,
        )
    print(FeatureCache.open(out))
    say_written(out)
