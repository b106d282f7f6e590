"""Says what a feature cache, model, box regressor, proposal file or detection file holds and what made it.

With a model, --class shows the hardest negatives of that class; with a feature cache, --image shows the
regions of an image, and --verify reads every byte and checks it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rcnn_svm.cli.arguments import add_stored_layer_arguments, open_features, positive_int
from rcnn_svm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("path", metavar="PATH", type=Path, help="feature cache folder, or an .h5 file of any stage")
    parser.add_argument("--verify", action="store_true", help="check every shard of a feature cache")
    parser.add_argument("--image", metavar="ID", help="show the regions of this image of a feature cache")
    add_stored_layer_arguments(parser, "the one that is stored")
    parser.add_argument("--class", dest="cls", metavar="NAME", help="show the hardest negatives of a class of a model")
    parser.add_argument("--top", metavar="N", type=positive_int, default=20, help="rows to show (default: %(default)s)")
    parser.add_argument("--settings", action="store_true", help="print every recorded setting as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the summary; return 1 if a verification found something wrong."""
    if args.path.is_dir():
        return _inspect_cache(args)
    for option in ("verify", "image", "layer"):
        if getattr(args, option):
            raise InputError(f"--{option} needs a feature cache folder, {args.path} is not one")
    _inspect_file(args)
    return 0


def _inspect_cache(args: argparse.Namespace) -> int:
    from rcnn_svm.cache import read_plan
    from rcnn_svm.reports.inspection import cache_summary, image_table

    if args.cls:
        raise InputError(f"--class needs a model file, {args.path} is a folder; give the .h5 file of the train stage")
    plan = read_plan(args.path)
    print(cache_summary(plan))
    if args.settings:
        print(json.dumps(plan.settings, indent=1))
    if not (args.verify or args.image):
        return 0
    cache = open_features(args.path, args.layer, args.weights)
    if args.image:
        print(image_table(cache, args.image, args.top))
    if args.verify:
        problems = cache.verify()
        print("\n".join(problems) or f"verified: {plan.num_shards} shards, every checksum matches")
        return 1 if problems else 0
    return 0


def _inspect_file(args: argparse.Namespace) -> None:
    from rcnn_svm.reports.bbox import bbox_table
    from rcnn_svm.reports.inspection import file_summary, hardest_table
    from rcnn_svm.reports.mining import mining_table

    summary, kind, settings = file_summary(args.path)
    print(summary)
    if kind == "detector":
        print(mining_table(args.path))
        if args.cls:
            print(hardest_table(args.path, args.cls, args.top))
    elif args.cls:
        raise InputError(f"--class needs a model file, {args.path} holds {kind}")
    if kind == "box regressor":
        print(bbox_table(args.path))
    if args.settings:
        print(json.dumps(settings, indent=1))
