"""How much of the ground truth the proposals cover: the ceiling for every detector on top of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data import ImageDatabase
from rcnn_svm.proposals.store import ProposalSet


@dataclass(frozen=True)
class Coverage:
    """How well proposals cover some objects.

    Attributes:
        objects: how many objects.
        recall: per threshold, the share of objects with a proposal of at least that IoU; NaN without objects.
        best_overlap: mean over the objects of the IoU of the best proposal; NaN without objects.
    """

    objects: int
    recall: tuple[float, ...]
    best_overlap: float


@dataclass(frozen=True)
class RecallReport:
    """Coverage of an image set. Objects marked `difficult` count in `with_difficult` only.

    Attributes:
        thresholds: IoU values.
        by_class: class name -> coverage of its objects.
        overall: all objects together.
        with_difficult: the same and the difficult ones.
        boxes_per_image: (I,) int64.
    """

    thresholds: tuple[float, ...]
    by_class: dict[str, Coverage]
    overall: Coverage
    with_difficult: Coverage
    boxes_per_image: np.ndarray


def best_overlaps(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the IoU of every object with the proposal that fits it best.

    Args:
        boxes: (N, 4) float, proposals, x1 y1 x2 y2, inclusive pixels.
        objects: (M, 4) float, the same convention.

    Returns:
        (M,) float64; 0 without proposals.
    """
    return iou_matrix(boxes, objects).max(axis=0, initial=0)


def coverage(overlaps: np.ndarray, thresholds: Sequence[float]) -> Coverage:
    """Return recall and mean best overlap.

    Args:
        overlaps: (M,) float, IoU of every object's best proposal.
        thresholds: IoU values; reaching one counts.
    """
    if not len(overlaps):
        return Coverage(0, (np.nan,) * len(thresholds), np.nan)
    recall = tuple(float((overlaps >= threshold).mean()) for threshold in thresholds)
    return Coverage(len(overlaps), recall, float(overlaps.mean()))


def recall_report(
    database: ImageDatabase, proposals: ProposalSet, thresholds: Sequence[float] = (0.5, 0.7)
) -> RecallReport:
    """Return how well proposals cover the ground truth of an image set.

    Args:
        database: images and ground truth.
        proposals: boxes for all of them.
        thresholds: IoU values.

    Raises:
        InputError: an image has no proposals.

    Source: `roidb_compute_recall.m`.
    """
    boxes = [proposals.boxes_of(image_id) for image_id in database.image_ids]
    annotations = [database.annotation(i) for i in range(len(database))]
    overlaps = np.concatenate([best_overlaps(b, a.boxes) for b, a in zip(boxes, annotations, strict=True)])
    classes = np.concatenate([annotation.classes for annotation in annotations])
    easy = ~np.concatenate([annotation.difficult for annotation in annotations])
    return RecallReport(
        thresholds=tuple(thresholds),
        by_class={
            name: coverage(overlaps[easy & (classes == k)], thresholds) for k, name in enumerate(database.classes)
        },
        overall=coverage(overlaps[easy], thresholds),
        with_difficult=coverage(overlaps, thresholds),
        boxes_per_image=np.array([len(b) for b in boxes]),
    )


def format_recall(report: RecallReport) -> str:
    """Return the report as a table: a line per class, the totals, the number of boxes."""
    head = f"{'class':<16}{'objects':>8}" + "".join(f"{f'recall@{t:g}':>12}" for t in report.thresholds)
    rows = [head + f"{'best IoU':>12}"]
    named = [*report.by_class.items(), ("all", report.overall), ("all + difficult", report.with_difficult)]
    for name, row in named:
        shares = [*row.recall, row.best_overlap] if row.objects else []
        cells = [f"{share:.3f}" for share in shares] or ["-"] * (len(row.recall) + 1)
        rows.append(f"{name:<16}{row.objects:>8}" + "".join(f"{c:>12}" for c in cells))
    counts = report.boxes_per_image
    rows.append(
        f"boxes per image: min {counts.min()}, median {np.median(counts):.0f}, mean {counts.mean():.0f}, "
        f"max {counts.max()}"
    )
    return "\n".join(rows)
