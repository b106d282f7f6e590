"""Where two feature caches differ: images, classes, labels, proposals, overlaps, features."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import MANIFEST, CachePlan, read_plan
from rcnn_svm.progress import progress_bar
from rcnn_svm.reports.difference.arrays import match_rows
from rcnn_svm.reports.difference.boxes import box_in_words, first_box
from rcnn_svm.reports.difference.inputs import classes_step, images_step
from rcnn_svm.reports.difference.result import Comparison, Step, differs, same, unknown
from rcnn_svm.reports.difference.settings import differing_settings, settings_step, versions
from rcnn_svm.words import counted

DECIDES = (
    ("^proposals", "proposals"),
    ("^stored$", "features"),
    (".", "features"),
)


def compare_caches(a: Path, b: Path) -> Comparison:
    """Return where two complete feature caches differ; every feature of the same box in both is compared.

    Args:
        a, b: their folders.

    Raises:
        InputError: one is not complete, or damaged.
    """
    plans = read_plan(a), read_plan(b)
    caches = FeatureCache.open(a), FeatureCache.open(b)
    settings = differing_settings(*map(_settings, plans), decides=DECIDES)
    steps = [_images(*plans), classes_step(*(plan.classes for plan in plans))]
    steps += [*_of_regions(*caches), settings_step(*map(_settings, plans))]
    return Comparison("feature cache", a, b, tuple(steps), settings, versions(*map(_provenance, (a, b))))


def _settings(plan: CachePlan) -> dict[str, Any]:
    return {**plan.settings, "stored": plan.dtype}


def _provenance(folder: Path) -> dict[str, Any]:
    with reading(folder / MANIFEST):
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["provenance"])


def _images(a: CachePlan, b: CachePlan) -> Step:
    return images_step(a.image_ids, b.image_ids, digests_a=_image_digests(a), digests_b=_image_digests(b))


def _image_digests(plan: CachePlan) -> dict[str, str]:
    """Return the digests of the images' files by id, of those where they are known."""
    found: dict[str, str] = {}
    for shard in range(plan.num_shards):
        ids = [plan.image_ids[image] for image in plan.images_of(shard)]
        found.update(zip(ids, plan.read_shard(shard).image_digests, strict=False))
    return found


@dataclass
class _Tally:
    """What differs in the images that two caches have in common."""

    images: int = 0
    objects: int = 0
    proposals: int = 0
    other_labels: list[str] = field(default_factory=list)  # ids of the images
    other_proposals: list[str] = field(default_factory=list)
    in_another_order: int = 0
    label_example: str = ""
    proposal_example: str = ""
    overlaps: int = 0  # rows of equal boxes, and those of which the overlaps differ
    other_overlaps: int = 0
    largest_overlap: float = 0.0
    overlap_example: str = ""
    rows: int = 0  # rows of equal boxes whose features were compared
    largest: list[np.ndarray] = field(default_factory=list)  # per row that differs, the largest difference
    relative: list[np.ndarray] = field(default_factory=list)  # per row that differs, length of difference / of A's row
    feature_example: str = ""


def _of_regions(a: FeatureCache, b: FeatureCache) -> list[Step]:
    """Return the comparison of regions and features, over the images that both have."""
    names = ("labels", "proposals", "overlaps", "features")
    if a.fingerprint == b.fingerprint:
        return [same(name, "by the digest of the whole content") for name in names]
    place = {image_id: index for index, image_id in enumerate(b.image_ids)}
    pairs = [(index, place[image_id]) for index, image_id in enumerate(a.image_ids) if image_id in place]
    common = [(a.classes.index(name), b.classes.index(name)) for name in a.classes if name in b.classes]
    tally = _Tally()
    with progress_bar(len(pairs), "compare", "image") as bar:
        for index_a, index_b in pairs:
            _compare_image(tally, (a, a.block(index_a)), (b, b.block(index_b)), common)
            bar.update()
    if not pairs:
        return [unknown(name, "no image is in both") for name in names]
    return [_labels(tally), _proposals(tally), _overlaps(tally), _features(tally, a, b)]


def _compare_image(
    tally: _Tally, a: tuple[FeatureCache, Block], b: tuple[FeatureCache, Block], common: list[tuple[int, int]]
) -> None:
    (cache_a, block_a), (cache_b, block_b) = a, b
    image_id = cache_a.image_ids[block_a.images.start]
    tally.images += 1
    tally.objects += int(block_a.gt.sum())
    tally.proposals += int((~block_a.gt).sum())
    objects = [_objects(cache, block) for cache, block in (a, b)]
    if objects[0] != objects[1]:
        tally.label_example = tally.label_example or f"{image_id}: {_first_object(*objects)}"
        tally.other_labels.append(image_id)
    boxes_a, boxes_b = block_a.boxes[~block_a.gt], block_b.boxes[~block_b.gt]
    if not np.array_equal(boxes_a, boxes_b):
        rows_a, _ = match_rows(boxes_a, boxes_b)
        reordered = len(rows_a) == len(boxes_a) == len(boxes_b)
        tally.in_another_order += reordered
        tally.proposal_example = tally.proposal_example or f"{image_id}: {first_box(boxes_a, boxes_b)}"
        tally.other_proposals.append(image_id)
    rows = _same_boxes(block_a, block_b)
    _compare_overlaps(tally, image_id, block_a, block_b, rows, common)
    if cache_a.dim == cache_b.dim:
        _compare_features(tally, image_id, block_a, block_b, rows)


def _objects(cache: FeatureCache, block: Block) -> list[tuple[str, bool, tuple[float, ...]]]:
    """Return class, difficult flag and box of the objects of an image."""
    return [
        (cache.classes[label - 1], bool(difficult), tuple(box))
        for label, difficult, box in zip(
            block.label[block.gt].tolist(),
            block.difficult[block.gt].tolist(),
            block.boxes[block.gt].tolist(),
            strict=True,
        )
    ]


def _first_object(a: list[Any], b: list[Any]) -> str:
    if len(a) != len(b):
        return f"{counted(len(a), 'object')} in A, {len(b):,} in B"
    number = next(number for number, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
    return f"object {number} is {_object_in_words(a[number])} in A, {_object_in_words(b[number])} in B"


def _object_in_words(found: tuple[str, bool, tuple[float, ...]]) -> str:
    name, difficult, box = found
    return f"{name}{' (difficult)' if difficult else ''} [{box_in_words(box)}]"


def _same_boxes(a: Block, b: Block) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of an image that have the same box in both, objects with objects."""
    if np.array_equal(a.boxes, b.boxes) and np.array_equal(a.gt, b.gt):
        rows = np.arange(len(a))
        return rows, rows
    return match_rows(*(np.column_stack([block.gt, block.boxes]) for block in (a, b)))


def _compare_overlaps(
    tally: _Tally,
    image_id: str,
    a: Block,
    b: Block,
    rows: tuple[np.ndarray, np.ndarray],
    common: list[tuple[int, int]],
) -> None:
    tally.overlaps += len(rows[0])
    if not common:
        return
    columns_a, columns_b = map(list, zip(*common, strict=True))
    by = np.abs(a.overlap[rows[0]][:, columns_a] - b.overlap[rows[1]][:, columns_b])
    wrong = (by > 0).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        tally.overlap_example = tally.overlap_example or f"row {rows[0][row]} of image {image_id}"
        tally.other_overlaps += int(wrong.sum())
        tally.largest_overlap = max(tally.largest_overlap, float(by.max()))


def _compare_features(tally: _Tally, image_id: str, a: Block, b: Block, rows: tuple[np.ndarray, np.ndarray]) -> None:
    of_a, of_b = a.features(rows[0]), b.features(rows[1])
    tally.rows += len(of_a)
    same_value = (of_a == of_b) | (np.isnan(of_a) & np.isnan(of_b))
    wrong = np.flatnonzero(~same_value.all(axis=1))
    if not len(wrong):
        return
    by = of_a[wrong].astype(np.float64) - of_b[wrong]
    length = np.linalg.norm(of_a[wrong].astype(np.float64), axis=1)
    tally.largest.append(np.abs(by).max(axis=1))
    tally.relative.append(np.linalg.norm(by, axis=1) / np.where(length > 0, length, 1))
    if not tally.feature_example:
        row, column = wrong[0], int((~same_value[wrong[0]]).argmax())
        tally.feature_example = (
            f"feature {column} of row {rows[0][row]} of image {image_id}: {of_a[row, column]:.7g} in A, "
            f"{of_b[row, column]:.7g} in B"
        )


def _labels(tally: _Tally) -> Step:
    if not tally.other_labels:
        return same("labels", f"{counted(tally.objects, 'object')} in {counted(tally.images, 'image')}")
    said = f"{counted(len(tally.other_labels), 'image')} of {tally.images:,} with other objects; {tally.label_example}"
    return differs("labels", said, images=tally.other_labels)


def _proposals(tally: _Tally) -> Step:
    if not tally.other_proposals:
        return same("proposals", f"{counted(tally.proposals, 'box', 'boxes')} in {counted(tally.images, 'image')}")
    number = len(tally.other_proposals)
    order = f", {tally.in_another_order:,} of them in order only" if tally.in_another_order else ""
    said = f"{counted(number, 'image')} of {tally.images:,} with other boxes{order}; {tally.proposal_example}"
    return differs("proposals", said, images=tally.other_proposals, in_another_order=tally.in_another_order)


def _overlaps(tally: _Tally) -> Step:
    of = f"{counted(tally.overlaps, 'row')} of the same box"
    if not tally.other_overlaps:
        return same("overlaps", of)
    said = f"{tally.other_overlaps:,} of {of}, by {tally.largest_overlap:.2g} at most"
    figures = {"rows": tally.other_overlaps, "largest": tally.largest_overlap}
    return differs("overlaps", f"{said}; the first is {tally.overlap_example}", **figures)


def _features(tally: _Tally, a: FeatureCache, b: FeatureCache) -> Step:
    if a.dim != b.dim:
        return differs("features", f"{a.dim:,} numbers of a region in A, {b.dim:,} in B", dim=[a.dim, b.dim])
    of = f"{counted(tally.rows, 'row')} of the same box"
    if not tally.rows:
        return unknown("features", "no box is in both")
    if not tally.largest:
        return same("features", f"{a.dim:,} numbers in {of}", rows=tally.rows)
    largest, relative = np.concatenate(tally.largest), np.concatenate(tally.relative)
    figures = {
        "rows": tally.rows,
        "differing": len(largest),
        "largest": float(largest.max()),
        "median_of_rows": float(np.median(largest)),
        "relative_median": float(np.median(relative)),
        "relative_largest": float(relative.max()),
    }
    said = (
        f"{len(largest):,} of {of} differ; a number by {figures['median_of_rows']:.2g} in the median row and "
        f"{figures['largest']:.2g} at most, a row by {figures['relative_median']:.1e} of its length in the median and "
        f"{figures['relative_largest']:.1e} at most; first {tally.feature_example}"
    )
    return differs("features", said, **figures)
