"""Where two files of boxes differ: proposals, detections."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.header import read_header
from rcnn_svm.detection.detections import Detections
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.difference.arrays import far_in_words, how_far, match_rows
from rcnn_svm.reports.difference.inputs import classes_step, images_step
from rcnn_svm.reports.difference.result import Comparison, Step, differs, same, sequence_step, unknown
from rcnn_svm.reports.difference.settings import differing_settings, settings_step, versions
from rcnn_svm.words import counted

PROPOSALS_DECIDE = ((".", "boxes"),)
DETECTIONS_DECIDE = (
    (r"^detector\.training\.identity\.", "weights"),
    (r"^bbox\.training\.identity\.", "box regression"),
    (r"^also\.(bbox\.training\.identity\.|max_)", "merged with"),
    (r"^voting", "boxes"),
    (r"^soft_nms", "scores"),
    (r"^(nms|max_per_image|max_per_set)", "kept"),
)


def compare_proposals(a: Path, b: Path) -> Comparison:
    """Return where two proposals files differ.

    Raises:
        InputError: a file is missing or damaged.
    """
    headers, sets = (read_header(a), read_header(b)), (ProposalSet.load(a), ProposalSet.load(b))
    settings = differing_settings(*(header.settings for header in headers), decides=PROPOSALS_DECIDE)
    digests_a, digests_b = (dict(zip(found.image_ids, found.image_digests, strict=False)) for found in sets)
    steps = (
        images_step(*(found.image_ids for found in sets), digests_a=digests_a, digests_b=digests_b),
        _boxes(*sets),
        settings_step(*(header.settings for header in headers)),
    )
    return Comparison("proposals", a, b, steps, settings, versions(*(header.provenance for header in headers)))


def _boxes(a: ProposalSet, b: ProposalSet) -> Step:
    """Return the comparison of the boxes of images that both have."""
    both = [image_id for image_id in a.image_ids if image_id in set(b.image_ids)]
    if not both:
        return unknown("boxes", "no image is in both")
    changed, in_order_only, common, total, example = [], 0, 0, 0, ""
    for image_id in both:
        of_a, of_b = a.boxes_of(image_id), b.boxes_of(image_id)
        total += len(of_a)
        if np.array_equal(of_a, of_b):
            common += len(of_a)
            continue
        rows, _ = match_rows(of_a, of_b)
        common += len(rows)
        in_order_only += len(rows) == len(of_a) == len(of_b)
        changed.append(image_id)
        example = example or f"{image_id}: {first_box(of_a, of_b)}"
    figures = {"images": changed, "in_another_order": in_order_only, "common": common}
    if not changed:
        return same("boxes", f"{counted(total, 'box', 'boxes')} in {counted(len(both), 'image')}", **figures)
    order = f", {in_order_only:,} of them in order only" if in_order_only else ""
    images = f"{counted(len(changed), 'image')} of {len(both):,} with other boxes{order}"
    return differs("boxes", f"{images}, {common:,} boxes in both; {example}", **figures)


def first_box(a: np.ndarray, b: np.ndarray) -> str:
    """Return how the boxes of an image differ first.

    Args:
        a, b: (n, 4) and (m, 4) float32, not the same.
    """
    both = min(len(a), len(b))
    wrong = (a[:both] != b[:both]).any(axis=1)
    counts = "" if len(a) == len(b) else f"{counted(len(a), 'box', 'boxes')} in A, {len(b):,} in B"
    if not wrong.any():
        return f"{counts}, the first {both:,} the same"
    number = int(wrong.argmax())
    said = f"box {number} is [{box_in_words(a[number])}] in A, [{box_in_words(b[number])}] in B"
    return f"{counts}; {said}" if counts else said


def box_in_words(box: Iterable[float]) -> str:
    """Return a box as its four numbers."""
    return " ".join(f"{value:g}" for value in box)


def compare_detections(a: Path, b: Path) -> Comparison:
    """Return where two detections files differ.

    Raises:
        InputError: a file is missing or damaged.
    """
    headers, found = (read_header(a), read_header(b)), (Detections.load(a), Detections.load(b))
    settings = differing_settings(*(header.settings for header in headers), decides=DETECTIONS_DECIDE)
    steps = [
        sequence_step("images", *(those.image_ids for those in found), noun="image"),
        classes_step(*(those.classes for those in found)),
        _digest_step("features", "caches", [those.settings.get("features") for those in found]),
        _digest_step("weights", "models", [_digest(those.settings, "detector") for those in found]),
        _digest_step("box regression", "box regressors", [_digest(those.settings, "bbox") for those in found]),
        _digest_step("merged with", "detections before", [_merged(those.settings) for those in found]),
        *_of_boxes(*found),
        settings_step(*(header.settings for header in headers)),
    ]
    return Comparison("detections", a, b, tuple(steps), settings, versions(*(header.provenance for header in headers)))


def _digest(settings: dict[str, Any], name: str) -> str | None:
    model = settings.get(name)
    return model.get("digest") if isinstance(model, dict) else None


def _merged(settings: dict[str, Any]) -> str | None:
    """Return the digest of the features of the detections that were merged in."""
    earlier = settings.get("also")
    return earlier.get("features") if isinstance(earlier, dict) else None


def _digest_step(name: str, inputs: str, digests: list[str | None]) -> Step:
    """Return the comparison of what detections were made from, by its digest.

    Args:
        name: name of the step.
        inputs: what the digests are of.
        digests: of both; None where there was no such input.
    """
    if digests[0] == digests[1]:
        return same(name, "none" if digests[0] is None else f"digest {digests[0]}")
    of_a, of_b = ("none" if digest is None else digest for digest in digests)
    more = "" if None in digests else f"; compare the {inputs}"
    return differs(name, f"digest {of_a} in A, {of_b} in B{more}", digests=digests)


def _of_boxes(a: Detections, b: Detections) -> list[Step]:
    """Return the comparison of scores and boxes of the same regions, and of which regions were kept."""
    rows_a, rows_b = _same_regions(a, b)
    if not len(rows_a):
        nothing = "none is in both" if len(a) and len(b) else "no boxes"
        kept = same("kept", "no boxes") if not len(a) and not len(b) else _kept(a, b, rows_a)
        return [unknown("scores", nothing), unknown("boxes", nothing), kept]
    where = lambda row: f"is of {a.classes[a.cls[rows_a[row]]]} in image {a.image_ids[a.image[rows_a[row]]]}"  # noqa: E731
    by = "class, image and row" if _rows_known(a, b) else "class and image"
    of = f"of {counted(len(rows_a), 'box', 'boxes')} of the same {by}"
    steps = []
    for name, of_a, of_b in (
        ("scores", a.score[rows_a], b.score[rows_b]),
        ("boxes", a.box[rows_a], b.box[rows_b]),
    ):
        figures = how_far(of_a, of_b)
        if figures["differing"]:
            steps.append(differs(name, f"{of}: {far_in_words(figures, where(figures['first'][0]))}", **figures))
        else:
            steps.append(same(name, of))
    return [*steps, _kept(a, b, rows_a)]


def _same_regions(a: Detections, b: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of detections of the same class, image and region.

    A region is known by its row in the feature cache, which means the same in two caches of the same proposals, or else
    by its box; what is left then, class by class in an image, by its place among the others.
    """
    image_ids = {image_id: number for number, image_id in enumerate(a.image_ids)}
    classes = {name: number for number, name in enumerate(a.classes)}
    images = np.array([image_ids.get(image_id, -1) for image_id in b.image_ids], np.int64)[b.image]
    of_class = np.array([classes.get(name, -1) for name in b.classes], np.int64)[b.cls]
    groups_a, groups_b = np.column_stack([a.cls, a.image]), np.column_stack([of_class, images])
    if _rows_known(a, b):
        return match_rows(np.column_stack([groups_a, a.row]), np.column_stack([groups_b, b.row]))
    rows_a, rows_b = match_rows(np.column_stack([groups_a, a.box]), np.column_stack([groups_b, b.box]))
    left_a, left_b = np.setdiff1d(np.arange(len(a)), rows_a), np.setdiff1d(np.arange(len(b)), rows_b)
    more_a, more_b = match_rows(groups_a[left_a], groups_b[left_b])
    return np.concatenate([rows_a, left_a[more_a]]), np.concatenate([rows_b, left_b[more_b]])


def _rows_known(a: Detections, b: Detections) -> bool:
    return bool((a.row >= 0).all() and (b.row >= 0).all())


def _kept(a: Detections, b: Detections, common: np.ndarray) -> Step:
    """Return the comparison of which boxes are there; `common` are rows of `a` that `b` has too."""
    if len(a) == len(b) == len(common):
        return same("kept", counted(len(a), "box", "boxes"), a=len(a), b=len(b), common=len(common))
    said = f"{counted(len(a), 'box', 'boxes')} in A, {len(b):,} in B, {len(common):,} in both"
    left = np.setdiff1d(np.arange(len(a)), common)
    if len(left):
        row = left[0]
        what = f"{a.classes[a.cls[row]]} in image {a.image_ids[a.image[row]]}"
        said += f"; the first only in A is {what}, score {a.score[row]:.4g}"
    return differs("kept", said, a=len(a), b=len(b), common=len(common))
