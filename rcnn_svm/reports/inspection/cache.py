"""What a feature cache holds, complete or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import reading
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.cache.plan import MANIFEST, CachePlan
from rcnn_svm.cache.statistics import (
    IOU_BINS,
    SAMPLE_IMAGES,
    FeatureLook,
    RegionCounts,
    count_regions,
    look_at_features,
    spread,
)
from rcnn_svm.errors import InputError
from rcnn_svm.reports.inspection.result import Inspection, Section, made_by
from rcnn_svm.reports.settings_in_words import features_in_words, proposals_in_words
from rcnn_svm.reports.table import Table, percent
from rcnn_svm.words import counted, size_in_words, spread_in_words

NORM_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class ShardStates:
    """Which shards of a cache are there.

    Attributes:
        complete: numbers of those that can be read and are as they were written.
        missing: numbers of those that are not written yet, or were removed.
        wrong: what is wrong with the others, by number.
        num_bytes: size of all that are there.
    """

    complete: tuple[int, ...]
    missing: tuple[int, ...]
    wrong: dict[int, str]
    num_bytes: int


def shard_states(plan: CachePlan) -> ShardStates:
    """Return which shards are there and whole; their features are not read, which `FeatureCache.verify` does."""
    complete, missing, wrong, num_bytes = [], [], {}, 0
    for shard in range(plan.num_shards):
        path = plan.shard_path(shard)
        if not path.exists():
            missing.append(shard)
            continue
        num_bytes += path.stat().st_size
        try:
            plan.read_shard(shard)
            complete.append(shard)
        except InputError as error:
            wrong[shard] = str(error)
    return ShardStates(tuple(complete), tuple(missing), wrong, num_bytes)


def inspect_cache(plan: CachePlan, layer_cache: FeatureCache | None = None) -> Inspection:
    """Return what a feature cache holds, of the shards that are there.

    Regions are all counted; features are looked at in a sample of rows, so that a large cache takes seconds too.

    Args:
        plan: the cache.
        layer_cache: the same regions with features that are computed from the stored ones; None for those.
    """
    states = shard_states(plan)
    cache = FeatureCache(plan, plan.read_shard) if layer_cache is None else layer_cache
    images = [image for shard in states.complete for image in plan.images_of(shard)]
    counts, look = count_regions(cache, images), look_at_features(cache, images)
    looked_at = len(spread(images, SAMPLE_IMAGES))
    with reading(plan.folder / MANIFEST):
        made = dict(json.loads((plan.folder / MANIFEST).read_text(encoding="utf-8"))["provenance"])
        written = made_by(made)
    facts = {
        **written,
        "image set": f"{plan.name}: {counted(len(plan.image_ids), 'image')}, "
        f"{counted(len(plan.classes), 'class', 'classes')}",
        "shards": _shards_in_words(plan, states),
        **_regions_in_words(counts, len(plan.image_ids)),
        "features": features_in_words(cache.settings, f"{cache.dim}-d {cache.dtype}"),
    }
    proposals = cache.settings.get("proposals")
    if proposals is not None:
        facts["proposals"] = proposals_in_words(proposals)
    facts |= _features_in_words(look, looked_at)
    digest = cache.fingerprint if len(states.complete) == plan.num_shards else None
    facts["fingerprint"] = f"{plan.fingerprint}, with the content {digest or 'not known before it is complete'}"
    record = {
        "made_by": made,
        "fingerprint": plan.fingerprint,
        "digest": digest,
        "image_set": plan.name,
        "image_ids": list(plan.image_ids),
        "regions": list(plan.rows),
        "dim": cache.dim,
        "dtype": cache.dtype,
        "bytes": states.num_bytes,
        "shards": {
            "number": plan.num_shards,
            "images_each": plan.shard_images,
            "complete": len(states.complete),
            "missing": [plan.shard_path(shard).name for shard in states.missing],
            "wrong": {plan.shard_path(shard).name: problem for shard, problem in states.wrong.items()},
        },
        "images_counted": len(images),
        "proposals": counts.proposals.tolist(),
        "image_size": counts.image_size.tolist(),
        "iou_bins": [*IOU_BINS, 1.0],
        "classes": _class_records(plan.classes, counts),
        "features": {**_look_record(look), "images_looked_at": looked_at},
        "settings": cache.settings,
    }
    return Inspection(
        "feature cache", plan.folder, facts, record, (Section("classes", _class_table(plan.classes, counts)),)
    )


def _shards_in_words(plan: CachePlan, states: ShardStates) -> str:
    said = f"{len(states.complete)} of {plan.num_shards} complete, {size_in_words(states.num_bytes)}"
    if states.missing:
        said += f"; {len(states.missing)} missing, the first is {plan.shard_path(states.missing[0]).name}"
    if states.wrong:
        shard, problem = next(iter(states.wrong.items()))
        said += f"; {len(states.wrong)} damaged, the first is {plan.shard_path(shard).name}: {problem}"
    return said


def _regions_in_words(counts: RegionCounts, num_images: int) -> dict[str, str]:
    if not len(counts.regions):
        return {}
    objects = int(counts.regions.sum() - counts.proposals.sum())
    of = "" if len(counts.regions) == num_images else f", in the {counted(len(counts.regions), 'image')} that are there"
    height, width = counts.image_size.T
    return {
        "regions": f"{counts.regions.sum():,}: {counted(objects, 'object')} ({counts.difficult.sum():,} difficult), "
        f"{counted(int(counts.proposals.sum()), 'proposal')}{of}",
        "in an image": f"{spread_in_words(counts.proposals)} proposals; "
        f"{spread_in_words(counts.regions - counts.proposals)} objects",
        "image size": f"{width.min()} to {width.max()} x {height.min()} to {height.max()}, median "
        f"{np.median(width):.0f} x {np.median(height):.0f} pixels",
    }


def _features_in_words(look: FeatureLook, images: int) -> dict[str, str]:
    facts = {}
    if look.damaged:
        facts["damaged"] = f"{look.damaged[0]} (in {len(look.damaged)} of {counted(images, 'image')} looked at)"
    if look.not_finite:
        facts["not finite"] = f"{counted(look.not_finite, 'row')} looked at; --verify finds all"
    if not look.num_rows:
        return {**facts, "norms": "no row was looked at that is whole and finite"}
    low, _, middle, _, high = _norm_quantiles(look)
    dim = len(look.zeros)
    return {
        **facts,
        "norms": f"{low:.4g} to {high:.4g}, median {middle:.4g}, mean {look.norms.mean():.4g} "
        f"(in {counted(look.num_rows, 'row')} of {counted(images, 'image')} looked at)",
        "values": f"{look.lowest.min():.4g} to {look.highest.max():.4g}, {percent(look.sparsity)} % are 0; of {dim:,} "
        f"features {len(look.dead):,} are dead (one value in all rows), {len(look.saturated):,} saturated (at their "
        "largest in over 10 % of rows)",
    }


def _norm_quantiles(look: FeatureLook) -> list[float]:
    return np.quantile(look.norms, NORM_QUANTILES).tolist()


def _look_record(look: FeatureLook) -> dict[str, Any]:
    record = {
        "rows_looked_at": look.num_rows + look.not_finite,
        "rows_not_finite": look.not_finite,
        "damaged": list(look.damaged),
    }
    if not look.num_rows:
        return record
    return {
        **record,
        "norm_mean": float(look.norms.mean()),
        "norm_quantiles": dict(zip(map(str, NORM_QUANTILES), _norm_quantiles(look), strict=True)),
        "lowest": float(look.lowest.min()),
        "highest": float(look.highest.max()),
        "zero": look.sparsity,
        "dead": look.dead.tolist(),
        "saturated": look.saturated.tolist(),
    }


def _class_records(classes: Sequence[str], counts: RegionCounts) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "objects": int(counts.objects[k]),
            "difficult": int(counts.difficult[k]),
            "images": int(counts.images_with[k]),
            "proposals_by_iou": counts.near[k].tolist(),
        }
        for k, name in enumerate(classes)
    ]


def _class_table(classes: Sequence[str], counts: RegionCounts) -> Table:
    edges = [*IOU_BINS, 1.0]
    bins = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    bins[0] = f"IoU {bins[0]}"  # of proposals with the objects of the class
    columns = np.column_stack([counts.objects, counts.difficult, counts.images_with, counts.near])
    rows = [[name, *(f"{value:,}" for value in row)] for name, row in zip(classes, columns.tolist(), strict=True)]
    totals = [f"{value:,}" for value in columns.sum(axis=0).tolist()]
    totals[2] = ""  # an image has objects of several classes
    return Table(("class", "objects", "difficult", "images", *bins), rows, ["total", *totals])


def with_image(inspection: Inspection, cache: FeatureCache, image_id: str, top: int) -> Inspection:
    """Return an inspection of a cache with the first regions of an image: key, box, label, best overlap, feature norm.

    Raises:
        InputError: the image is not in the cache.
    """
    if image_id not in cache.image_ids:
        raise InputError(f"image {image_id} is not in {cache.name} ({cache.num_images} images)")
    index = cache.image_ids.index(image_id)
    regions = cache.regions(index)
    records = []
    for row in range(min(top, len(regions))):
        best = int(regions.overlap[row].argmax())
        overlap = float(regions.overlap[row, best])
        records.append(
            {
                "key": [index, row],
                "box": regions.boxes[row].tolist(),
                "label": cache.classes[regions.label[row] - 1] if regions.label[row] else None,
                "difficult": bool(regions.difficult[row]),
                "best_overlap": overlap,
                "overlaps": cache.classes[best] if overlap else None,
                "norm": float(np.linalg.norm(regions.computed_features[row])),
            }
        )
    rows = [
        [
            f"({index}, {row})",
            " ".join(f"{value:g}" for value in found["box"]),
            (found["label"] or "proposal") + (" (difficult)" if found["difficult"] else ""),
            f"{found['best_overlap']:.2f} {found['overlaps']}" if found["overlaps"] else "-",
            f"{found['norm']:.2f}",
        ]
        for row, found in enumerate(records)
    ]
    height, width = regions.image_size
    counts = f"{counted(len(regions), 'region')}, {counted(int(regions.gt.sum()), 'object')}"
    title = f"image {image_id}: {width} x {height} pixels, {counts}"
    section = Section("regions", Table(("key", "box", "label", "best overlap", "norm"), rows), title)
    return inspection.adding(section, image={"id": image_id, "size": [height, width], "rows": records})
