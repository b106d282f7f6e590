"""What was mined from images that nobody has labelled, and what a person left of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.cache.plan import read_plan
from rcnn_svm.mining.mined_regions import FEATURES, KIND, MANIFEST, RECORD, MinedRegion, read_manifest, read_record
from rcnn_svm.reports.inspection.result import Inspection, Section, made_by
from rcnn_svm.reports.settings_in_words import in_words
from rcnn_svm.reports.table import Table
from rcnn_svm.words import counted


def inspect_mined(folder: Path) -> Inspection:
    """Return what a folder of mined regions holds.

    Raises:
        InputError: a file is missing or damaged.
    """
    record, kept = read_record(folder), read_manifest(folder / MANIFEST)
    plan = read_plan(folder / FEATURES)
    with reading(folder / RECORD):
        identity = record["identity"]
        facts = {
            **made_by(record["provenance"]),
            "mined by": f"{record['model']}, {counted(len(identity['images']), 'file')} looked at",
            "settings": in_words(identity, ("detector", "images")),
            "regions": f"{sum(plan.rows):,} of {counted(len(plan.image_ids), 'image')}, {plan.dim} dimensions each",
            "kept": f"{len(kept):,} as background, {sum(plan.rows) - len(kept):,} struck out",
        }
    classes = [name for name in plan.classes if any(region.cls == name for region in kept)]
    records = [_of_class(name, [region for region in kept if region.cls == name]) for name in classes]
    rows = [
        [name, f"{cls['kept']:,}", f"{cls['above_0']:,}", f"{cls['highest']:+.3f}", f"{cls['median']:+.3f}"]
        for name, cls in zip(classes, records, strict=True)
    ]
    section = Section("classes", Table(("class", "kept", "above 0", "highest", "median"), rows))
    found = {
        "made_by": record["provenance"],
        "model": record["model"],
        "settings": identity,
        "regions": sum(plan.rows),
        "kept": len(kept),
        "classes": records,
    }
    return Inspection(KIND, folder, facts, found, (section,) if rows else ())


def _of_class(name: str, regions: list[MinedRegion]) -> dict[str, str | int | float]:
    """Return how many regions are kept of the class that fired on them, and their scores."""
    scores = np.array([region.score for region in regions])
    return {
        "class": name,
        "kept": len(regions),
        "above_0": int((scores > 0).sum()),
        "highest": float(scores.max()),
        "median": float(np.median(scores)),
    }
