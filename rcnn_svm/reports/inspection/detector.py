"""What a detector is: its weights, its training, class by class, and the negatives that stayed hard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.artefacts.header import Header
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain
from rcnn_svm.reports.inspection.result import Inspection, Section, header_facts, header_record
from rcnn_svm.reports.mining import budget_sentences, examples_table, mining_records
from rcnn_svm.reports.settings_in_words import data_in_words, features_in_words, training_in_words
from rcnn_svm.reports.table import Table
from rcnn_svm.reports.thresholds import thresholds_in_words
from rcnn_svm.tuning.svm_C import best_C
from rcnn_svm.words import names_in_words

# So many classes are named with what belongs to each; of more, the lowest and the highest.
_NAMED = 6


def inspect_detector(header: Header) -> Inspection:
    """Return what a detector's file holds.

    Raises:
        InputError: the file is damaged.
    """
    detector, history = Detector.load(header.path), Detector.load_history(header.path)
    with reading(header.path):
        records = _class_records(detector, history)
        facts = {
            **header_facts(header),
            "trained on": data_in_words(detector.training),
            "features": features_in_words(detector.feature_settings, f"{detector.dim}-d")
            + f", mean norm {detector.feat_norm_mean:.4g}",
            "settings": training_in_words(detector.training),
            **_parts_in_words(detector),
            "weights": _weights_in_words(detector),
            **_per_class(detector, records),
            **_training_in_words(detector, history),
        }
        record = {
            **header_record(header),
            "dim": detector.dim,
            "feat_norm_mean": float(detector.feat_norm_mean),
            "digest": detector.digest,
            "recipe": detector.recipe.to_json(),
            "classes": records,
            "convergence": history.get("convergence", np.empty((0, 4))).tolist(),
            "validation": history.get("validation", np.empty((0, 3))).tolist(),
            "selection": history.get("selection", np.empty((0, 3))).tolist(),
        }
        sections = (Section("classes", examples_table(detector, history)),) if history else ()
    return Inspection(header.kind, header.path, facts, record, sections)


def _class_records(detector: Detector, history: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    mined = mining_records(detector, history) if history else [{"class": name} for name in detector.classes]
    norms = np.linalg.norm(detector.W.astype(np.float64), axis=0)
    for k, record in enumerate(mined):
        record |= {"norm": float(norms[k]), "bias": float(detector.B[k])}
        if "support" in history:
            record["support"] = int((history["support"][:, 0] == k).sum())
        weights = detector.training.get("pos_loss_weight")
        if isinstance(weights, Sequence) and len(weights) == len(mined):
            record["pos_loss_weight"] = float(weights[k])
        if detector.thresholds is not None:
            record["threshold"] = float(detector.thresholds[k])
        if detector.calibration is not None:
            record |= {
                "calibration": detector.calibration[k].tolist(),
                "even_odds_at": float(detector.scores_at(0.5)[k]),
            }
    return mined


def _parts_in_words(detector: Detector) -> dict[str, str]:
    """Return the facts of a detector that has more than its weights."""
    parts = ", ".join(part.KIND for part in detector.parts().values())
    recipe = str(detector.recipe)
    facts = {**({"parts": parts} if parts else {}), **({} if recipe == "none" else {"recipe": recipe})}
    if detector.thresholds is not None:
        facts["thresholds"] = thresholds_in_words(detector.classes, detector.thresholds, detector.thresholds_from)
    return facts


def _weights_in_words(detector: Detector) -> str:
    """Return how large weights and biases are, and how many features no class uses."""
    norms = np.linalg.norm(detector.W.astype(np.float64), axis=0)
    unused = int((detector.W == 0).all(axis=1).sum())
    return (
        f"norm of W {norms.min():.4g} to {norms.max():.4g}, bias {detector.B.min():.4g} to {detector.B.max():.4g}; "
        f"{unused:,} of {detector.dim:,} features have weight 0 for every class"
    )


def _per_class(detector: Detector, records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the facts of numbers that every class has."""
    facts = {}
    for name, key in (("positives weigh", "pos_loss_weight"), ("probability 0.5", "even_odds_at")):
        if all(key in record for record in records):
            values = {record["class"]: record[key] for record in records}
            at = "at score " if key == "even_odds_at" else ""
            if len(set(values.values())) == 1:
                facts[name] = f"{at}{next(iter(values.values())):.3g} for every class"
            elif len(values) <= _NAMED:
                facts[name] = at + ", ".join(f"{value:.3g} ({cls})" for cls, value in values.items())
            else:
                low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
                facts[name] = f"{at}{values[low]:.3g} ({low}) to {values[high]:.3g} ({high})"
    return facts


def _training_in_words(detector: Detector, history: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the facts of a training that not every one has."""
    if not history:
        return {"classes": f"{names_in_words(detector.classes)} (without a record of the training)"}
    facts = {}
    if len(history.get("selection", ())):
        table = history["selection"]
        best = best_C(table)
        precision = table[table[:, 0] == best, 1][0]
        facts["choice of C"] = f"{best:.2g} of {len(table)} values, held-out mAP {100 * precision:.1f} (area)"
    if len(history.get("validation", ())):
        table = history["validation"]
        judged = len(np.unique(table[:, 1]))
        facts["validation"] = f"{judged} passes judged, best held-out AP {100 * table[:, 2].max():.1f} (area)"
    if len(history.get("convergence", ())):
        ratio = history["convergence"][:, 3] / history["convergence"][:, 2]
        facts["convergence"] = f"objective on all data {ratio.min():.3f} to {ratio.max():.3f} of that on the cache"
    sentences = budget_sentences(detector, history)
    if sentences:
        more = f" (and for {len(sentences) - 1} more classes)" if len(sentences) > 1 else ""
        facts["memory budget"] = sentences[0] + more
    return facts


def with_hardest(inspection: Inspection, path: str | Path, name: str, top: int) -> Inspection:
    """Return an inspection of a detector with the hardest negatives of a class at its last training.

    Raises:
        InputError: the model has no such class, or no record of its training.
    """
    detector, history = Detector.load(path), Detector.load_history(path)
    if name not in detector.classes:
        raise InputError(f"class {plain(name)!r} is not in {path}; it has {', '.join(detector.classes)}")
    if "support" not in history:
        raise InputError(f"{path} has no record of its training, only the detector")
    with reading(path):
        of_class = history["support"][:, 0] == detector.classes.index(name)
        keys, scores = history["support"][of_class, 1:], history["support_scores"][of_class]
        records, rows = [], []
        for position in np.argsort(-scores, kind="stable")[:top]:
            image, row = keys[position].tolist()
            image_id = str(history["image_ids"][image])
            score = float(scores[position])
            records.append({"image": image_id, "key": [image, row], "score": score})
            rows.append([image_id, f"({image}, {row})", f"{score:.3f}"])
    title = f"{name}: {len(scores)} negatives on or inside the margin at last, the hardest first"
    return inspection.adding(
        Section("negatives", Table(("image", "key", "score"), rows), title), hardest={name: records}
    )
