"""What the folder of an exported detector holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rcnn_svm.artefacts.exported_folder import DESCRIPTION, KIND, NETWORK, SCHEMA, read_description, read_part
from rcnn_svm.artefacts.files import reading
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.reports.inspection.result import Inspection, made_by
from rcnn_svm.reports.settings_in_words import data_in_words, features_in_words, proposals_in_words, training_in_words
from rcnn_svm.reports.thresholds import thresholds_in_words
from rcnn_svm.words import names_in_words, size_in_words


def inspect_exported(folder: Path) -> Inspection:
    """Return what an exported detector is.

    Raises:
        InputError: a file is missing, damaged, or of another export.
    """
    described = read_description(folder)
    with reading(folder / DESCRIPTION):
        sizes = {name: len(read_part(folder, name, described)) for name in described["files"]}
        source, classes = described["source"], described["classes"]
        chosen = described["thresholds"]
        thresholds = (
            "none recorded"
            if chosen is None
            else thresholds_in_words(classes, np.array(chosen), source.get("thresholds_from"))
        )
        facts = {
            **made_by(described["provenance"]),
            "size": "; ".join(f"{name} {size_in_words(size)}" for name, size in sizes.items()),
            "trained on": data_in_words(source["training"]),
            "features": features_in_words(source["features"], f"inside {NETWORK},"),
            "proposals": proposals_in_words(described["proposals"]),
            "settings": training_in_words(source["training"]),
            "recipe": str(Recipe.from_json(described["recipe"])),
            "thresholds": thresholds,
            "classes": f"{len(classes)}: {names_in_words(classes)}",
        }
        names = ("classes", "recipe", "thresholds", "calibration", "crop", "proposals", "files")
        record = {
            "bytes": sizes,
            "made_by": described["provenance"],
            "settings": source,
            "schema": SCHEMA,
            **{name: described[name] for name in names},
        }
    return Inspection(KIND, folder, facts, record)
