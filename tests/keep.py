"""Writes one small artefact of every kind, as this version writes it, into tests/kept/NAME, where it stays for ever.

  python -m tests.keep NAME

When the schema of a kind rises, its new files get a folder of their own; those that are there are never replaced.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.export import export_detector
from rcnn_svm.mining.mined_regions import write_record
from tests.artefact_kinds import write_artefacts, write_results
from tests.export.detectors import make_detector, make_ranker
from tests.small_networks import small_pooled_network

KEPT = Path(__file__).parent / "kept"


def write_all(folder: Path) -> None:
    """Write one artefact of every kind into a folder."""
    write_artefacts(folder)
    write_results(folder / "report/results.json")
    write_record(folder / "mined", {"detector": "ab" * 8, "thresh": -1.0, "images": []}, "model.h5")
    with small_pooled_network():
        export_detector(make_detector(make_ranker(), recipe=Recipe(vote=True)), folder / "exported")


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    sys.argv = ["rcnn-svm", "kept"]  # what the files say that made them
    target = KEPT / name
    target.mkdir(parents=True)
    write_all(target)
