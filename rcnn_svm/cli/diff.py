"""Says where two artefacts of one kind differ first in the order of the pipeline (images, labels, proposals, features,
negatives, weights, scores), by how much, and which setting explains it: two feature caches, models, proposals,
detections, or the folders of two runs.

Exit code 0 if they are equal, 1 if they differ.

  rcnn-svm diff cache/run other/run
  rcnn-svm diff cache/run/model.h5 other/run/model.h5 --json
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("a", metavar="A", type=Path, help="an .h5 file of any stage, or a folder of artefacts")
    parser.add_argument("b", metavar="B", type=Path, help="another one of the same kind")
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON, and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print where they differ; return 1 if they do."""
    from rcnn_svm.reports.difference import compare_artefacts

    found = compare_artefacts(args.a, args.b)
    print(found.json() if args.json else f"{found.text()}\n", end="")
    return 0 if found.equal else 1
