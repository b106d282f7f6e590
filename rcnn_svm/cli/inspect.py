"""Says what an artefact holds and what made it: a feature cache, a model or detector of any kind, proposals,
detections, a checkpoint, fine-tuned weights, an exported detector, mined regions, or a folder of several, such as that
of a run.

With a model, --class shows the hardest negatives of that class; with a feature cache, --image shows the
regions of an image, and --verify reads every byte and checks it. --json prints all that was found.

  rcnn-svm inspect cache/run
  rcnn-svm inspect cache/run/model.h5 --class car --top 50
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rcnn_svm.cli.arguments import add_stored_layer_arguments, open_features, positive_int
from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from rcnn_svm.reports.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("path", metavar="PATH", type=Path, help="an .h5 file of any stage, or a folder of artefacts")
    parser.add_argument("--verify", action="store_true", help="check every shard of a feature cache")
    parser.add_argument("--image", metavar="ID", help="show the regions of this image of a feature cache")
    add_stored_layer_arguments(parser, "the one that is stored")
    parser.add_argument("--class", dest="cls", metavar="NAME", help="show the hardest negatives of a class of a model")
    parser.add_argument(
        "--top", metavar="N", type=positive_int, default=20, help="rows of a table to show (default: %(default)s)"
    )
    parser.add_argument("--settings", action="store_true", help="print every recorded setting as JSON")
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON, and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print what was found; return 1 if a verification found something wrong."""
    from rcnn_svm.cache.plan import MANIFEST

    if args.path.is_dir() and (args.path / MANIFEST).is_file():
        return _inspect_cache(args)
    for option in ("verify", "image", "layer"):
        if getattr(args, option):
            raise InputError(f"--{option} needs a feature cache folder, {args.path} is not one")
    from rcnn_svm.reports.inspection import inspect_artefact
    from rcnn_svm.reports.inspection.detector import with_hardest

    found = inspect_artefact(args.path)
    if args.cls:
        if found.kind != "detector":
            raise InputError(f"--class needs a model file, {args.path} holds {found.kind}")
        found = with_hardest(found, args.path, args.cls, args.top)
    _print(args, found)
    return 0


def _inspect_cache(args: argparse.Namespace) -> int:
    from rcnn_svm.reports.inspection import inspect_artefact
    from rcnn_svm.reports.inspection.cache import with_image

    if args.cls:
        raise InputError(f"--class needs a model file, {args.path} is a folder; give the .h5 file of the train stage")
    if not (args.image or args.verify or args.layer):
        _print(args, inspect_artefact(args.path))
        return 0
    cache = open_features(args.path, args.layer, args.weights)
    found = inspect_artefact(args.path, cache if args.layer else None)
    if args.image:
        found = with_image(found, cache, args.image, args.top)
    if not args.verify:
        _print(args, found)
        return 0
    problems = cache.verify()
    _print(args, replace(found, record={**found.record, "problems": problems}))
    if not args.json:
        print("\n".join(problems) or f"verified: {found.record['shards']['number']} shards, every checksum matches")
    return 1 if problems else 0


def _print(args: argparse.Namespace, found: Inspection) -> None:
    if args.json:
        print(found.json(), end="")
        return
    print(found.text(args.top))
    if args.settings:
        print(json.dumps(found.record.get("settings", {}), indent=1))
