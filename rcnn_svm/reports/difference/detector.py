"""Where two detectors differ: what they were trained on, the negatives they met, their weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.header import read_header
from rcnn_svm.detection.detector import Detector
from rcnn_svm.reports.difference.arrays import far_in_words, how_far, match_rows
from rcnn_svm.reports.difference.inputs import classes_step, data_step, features_step, number_step
from rcnn_svm.reports.difference.result import Comparison, Step, differs, same, sequence_step, unknown
from rcnn_svm.reports.difference.settings import differing_settings, settings_step, versions
from rcnn_svm.words import counted

DECIDES = (
    (r"^features\.", "features"),
    (r"\.parameters\.(feat_norm_mean|seed)$", "scale"),
    (r"\.parameters\.classes", "classes"),
    (r"^training\.identity\.", "keys"),
    (r"^recipe", "recipe"),
)
# Columns of the tables that hold keys: where the class is, and the image that a row counts in.
_ADDED, _NEGATIVES = (0, 2), (0, 1)


def compare_detectors(a: Path, b: Path) -> Comparison:
    """Return where two detectors differ.

    Raises:
        InputError: a file is missing or damaged.
    """
    headers = read_header(a), read_header(b)
    detectors, histories = [Detector.load(path) for path in (a, b)], [Detector.load_history(path) for path in (a, b)]
    training = [header.settings["training"] for header in headers]
    steps = (
        _images(histories, training),
        classes_step(*(detector.classes for detector in detectors)),
        features_step(*(header.settings for header in headers), dims=[detector.dim for detector in detectors]),
        number_step("scale", "mean norm of the features", *(d.feat_norm_mean for d in detectors)),
        *_of_history(detectors, histories),
        _weights(*detectors),
        _calibration(*detectors),
        _parts(*detectors),
        _recipe(*detectors),
        settings_step(*(header.settings for header in headers)),
    )
    settings = differing_settings(*(header.settings for header in headers), decides=DECIDES)
    return Comparison("detector", a, b, steps, settings, versions(*(header.provenance for header in headers)))


def _images(histories: list[dict[str, np.ndarray]], training: list[dict[str, Any]]) -> Step:
    if all("image_ids" in history for history in histories):
        return sequence_step("images", *(history["image_ids"].tolist() for history in histories), noun="image")
    return data_step(*training)


def _of_history(detectors: list[Detector], histories: list[dict[str, np.ndarray]]) -> list[Step]:
    names = ("keys", "updates", "evictions", "cached negatives")
    if not all(histories):
        return [unknown(name, "a file has no record of its training") for name in names]
    named = [_Named(detector, history) for detector, history in zip(detectors, histories, strict=True)]
    updates = [history["updates"] for history in histories]
    for history in histories:
        history["evicted by"] = _evicted_keys(history)
    return [
        _keys("keys", named, "added", _ADDED, "hard negative"),
        _table("updates", named, updates),
        _keys("evictions", named, "evicted by", _NEGATIVES, "eviction"),
        _keys("cached negatives", named, "negatives", _NEGATIVES, "negative"),
    ]


def _evicted_keys(history: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return class, image and row of every eviction, (E, 3)."""
    evicted = history["evicted"]
    return np.column_stack([history["updates"][evicted[:, 0], 0], evicted[:, 1:]])


class _Named:
    """Keys of a detector by the names of classes and images, which two files may count otherwise."""

    def __init__(self, detector: Detector, history: Mapping[str, np.ndarray]):
        self.classes, self.image_ids, self.history = detector.classes, history["image_ids"], history

    def key(self, row: np.ndarray, places: tuple[int, int]) -> str:
        """Return a row of a table as "cat, image 000012, row 5"."""
        name, image_id = self.classes[row[places[0]]], self.image_ids[row[places[1]]]
        return f"{name}, image {image_id}, row {row[-1]}"

    def numbers(self, other: _Named, table: str, places: tuple[int, int]) -> np.ndarray:
        """Return a table with classes and images counted as `other` counts them; -1 for what it does not have."""
        found = self.history[table].astype(np.int64)
        names = dict(zip(other.classes, range(len(other.classes)), strict=True))
        ids = dict(zip(other.image_ids.tolist(), range(len(other.image_ids)), strict=True))
        by_class = np.array([names.get(name, -1) for name in self.classes], np.int64)
        by_image = np.array([ids.get(image_id, -1) for image_id in self.image_ids.tolist()], np.int64)
        found[:, places[0]] = by_class[found[:, places[0]]]
        found[:, places[1]] = by_image[found[:, places[1]]]
        return found


def _keys(name: str, named: list[_Named], table: str, places: tuple[int, int], noun: str) -> Step:
    """Return the comparison of keys in the order in which they came."""
    a, b = named[0].numbers(named[0], table, places), named[1].numbers(named[0], table, places)
    if np.array_equal(a, b):
        return same(name, counted(len(a), noun), rows=len(a))
    columns = [*places, a.shape[1] - 1]  # class, image and row: the same key may have come in another pass
    rows_a, _ = match_rows(a[:, columns], b[:, columns])
    only_a, only_b = len(a) - len(rows_a), len(b) - len(rows_a)
    figures = {"a": len(a), "b": len(b), "common": len(rows_a)}
    counts = f"{counted(len(a), noun)} in A, {len(b):,} in B, {len(rows_a):,} in both"
    first = _first_row(a, b)
    shown = [
        named[side].key(named[side].history[table][first], places) if first < len(rows) else "none"
        for side, rows in enumerate((a, b))
    ]
    order = "" if only_a or only_b else ", in another order"
    said = f"{counts}{order}; the first that differs is number {first}: {shown[0]} in A, {shown[1]} in B"
    return differs(name, said, **figures, first=first, first_a=shown[0], first_b=shown[1])


def _first_row(a: np.ndarray, b: np.ndarray) -> int:
    """Return the first row in which two tables differ; the length of the shorter where they agree up to there."""
    common = min(len(a), len(b))
    wrong = (a[:common] != b[:common]).any(axis=1)
    return int(wrong.argmax()) if wrong.any() else common


def _table(name: str, named: list[_Named], tables: list[np.ndarray]) -> Step:
    """Return the comparison of the schedule of updates: class, epoch, image, counts of examples; no solver passes."""
    a, b = (table[:, :7] for table in tables)
    if np.array_equal(a, b):
        return same(name, counted(len(a), "update"), rows=len(a))
    first = _first_row(a, b)
    shown = [
        f"{side.classes[rows[first, 0]]} after image {side.image_ids[rows[first, 2]]} with {rows[first, 3]} positives "
        f"and {rows[first, 4]} negatives"
        if first < len(rows)
        else "none"
        for side, rows in zip(named, (a, b), strict=True)
    ]
    said = f"{counted(len(a), 'update')} in A, {len(b):,} in B; the first that differs is number {first}: "
    return differs(name, f"{said}{shown[0]} in A, {shown[1]} in B", a=len(a), b=len(b), first=first)


def _weights(a: Detector, b: Detector) -> Step:
    """Return the comparison of weights and biases, class by class."""
    if a.dim != b.dim:
        return differs("weights", f"{a.dim:,} weights of a class in A, {b.dim:,} in B", dim=[a.dim, b.dim])
    common = [name for name in a.classes if name in b.classes]
    if not common:
        return unknown("weights", "no class is in both")
    rows = [np.vstack([model.W, model.B]).T.astype(np.float64) for model in (a, b)]
    of_a, of_b = (rows[side][model.columns(common)] for side, model in enumerate((a, b)))  # (K, D + 1)
    figures = how_far(of_a, of_b)
    if not figures["differing"]:
        return same("weights", f"{a.dim:,} weights and a bias of {counted(len(common), 'class', 'classes')}")
    size = np.maximum(np.linalg.norm(of_a, axis=1), np.finfo(np.float64).tiny)
    relative = np.linalg.norm(of_a - of_b, axis=1) / size
    cosine = (of_a * of_b).sum(axis=1) / np.maximum(size * np.linalg.norm(of_b, axis=1), np.finfo(np.float64).tiny)
    changed, worst = np.flatnonzero(relative), int(relative.argmax())
    k, d = figures["first"]
    what = "the bias" if d == a.dim else f"weight {d}"
    said = (
        f"{counted(len(changed), 'class', 'classes')} of {len(common)}, by {np.median(relative[changed]):.1e} of their "
        f"length in the median and {relative[worst]:.1e} at most ({common[worst]}, cosine {cosine[worst]:.6f}); "
        f"{far_in_words(figures, f'is {what} of {common[k]}')}"
    )
    by_class = {name: float(value) for name, value in zip(common, relative, strict=True)}
    return differs("weights", said, **figures, relative_by_class=by_class)


def _calibration(a: Detector, b: Detector) -> Step:
    if a.calibration is None and b.calibration is None:
        return same("calibration", "none")
    if a.calibration is None or b.calibration is None:
        return differs("calibration", f"{_has(a.calibration)} in A, {_has(b.calibration)} in B")
    if a.calibration.shape != b.calibration.shape:
        return unknown("calibration", "the classes differ")
    figures = how_far(a.calibration, b.calibration)
    if not figures["differing"]:
        return same("calibration", "slope and offset of every class")
    k, column = figures["first"]
    where = f"is the {('slope', 'offset')[column]} of {a.classes[k]}"
    return differs("calibration", far_in_words(figures, where), **figures)


def _parts(a: Detector, b: Detector) -> Step:
    parts = a.parts(), b.parts()
    names = [name for name in Detector.PARTS if name in parts[0] or name in parts[1]]
    wrong = []
    for name in names:
        digests = [of[name].digest if name in of else "none" for of in parts]
        if digests[0] != digests[1]:
            wrong.append(f"{Detector.PARTS[name]} {digests[0]} in A, {digests[1]} in B")
    if wrong:
        return differs("parts", "; ".join(wrong))
    return same("parts", ", ".join(Detector.PARTS[name] for name in names) or "none")


def _recipe(a: Detector, b: Detector) -> Step:
    if a.recipe == b.recipe:
        return same("recipe", str(a.recipe))
    return differs("recipe", f"{a.recipe} in A, {b.recipe} in B")


def _has(value: Any) -> str:
    return "none" if value is None else "one"
