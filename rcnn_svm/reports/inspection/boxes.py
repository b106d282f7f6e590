"""What files of boxes hold: proposals and detections."""

from __future__ import annotations

from typing import Any

import numpy as np

from rcnn_svm.artefacts.header import Header
from rcnn_svm.boxes import box_areas
from rcnn_svm.detection.detections import Detections, suppression_in_words
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.inspection.result import Inspection, Section, header_facts, header_record
from rcnn_svm.reports.settings_in_words import data_in_words, proposals_in_words, training_in_words
from rcnn_svm.reports.table import Table, cell
from rcnn_svm.words import counted, names_in_words, spread_in_words


def inspect_proposals(header: Header) -> Inspection:
    """Return what a proposals file holds.

    Raises:
        InputError: the file is damaged.
    """
    found = ProposalSet.load(header.path)
    counts = np.array([len(boxes) for boxes in found.boxes], np.int64)
    boxes = np.concatenate(found.boxes) if found.boxes else np.empty((0, 4), np.float32)
    sides = np.sqrt(box_areas(boxes))
    aspect = (boxes[:, 2] - boxes[:, 0] + 1) / (boxes[:, 3] - boxes[:, 1] + 1)
    repeated = sum(len(boxes) - len(np.unique(boxes, axis=0)) for boxes in found.boxes)
    empty = int((counts == 0).sum())
    facts = {
        **header_facts(header),
        "image set": f"{found.settings.get('database', 'not recorded')}: {counted(len(found), 'image')}",
        "method": proposals_in_words(found.settings),
        "boxes": f"{counted(len(boxes), 'box', 'boxes')}; in an image {spread_in_words(counts)}"
        + (f"; none in {counted(empty, 'image')}" if empty else ""),
        "size of a box": f"{spread_in_words(sides)} pixels (root of the area)",
        "width / height": spread_in_words(aspect, ".2f"),
    }
    if repeated:
        facts["repetitions"] = f"{counted(repeated, 'box', 'boxes')} with the corners of another one of the image"
    record = {
        **header_record(header),
        "image_ids": list(found.image_ids),
        "boxes": counts.tolist(),
        "repeated": repeated,
        "side": _five_numbers(sides),
        "aspect_ratio": _five_numbers(aspect),
        "image_digests": list(found.image_digests),
    }
    return Inspection(header.kind, header.path, facts, record)


def inspect_detections(header: Header) -> Inspection:
    """Return what a detections file holds.

    Raises:
        InputError: the file is damaged.
    """
    found = Detections.load(header.path)
    records = _class_records(found)
    per_image = np.bincount(found.image, minlength=len(found.image_ids))
    settings = found.settings
    facts = {
        **header_facts(header),
        "image set": f"{settings.get('image_set', 'not recorded')}: {counted(len(found.image_ids), 'image')}",
        "boxes": f"{counted(len(found), 'box', 'boxes')} of {counted(len(found.classes), 'class', 'classes')}; "
        f"in an image {spread_in_words(per_image)}",
        **_made_from(settings),
        "done to boxes": _done_to_boxes(settings),
        "limits": ", ".join(
            f"at most {settings[name]:,} of a class {where}"
            for name, where in (("max_per_image", "in an image"), ("max_per_set", "over all images"))
            if name in settings
        )
        or "not recorded",
    }
    if not len(found):
        facts["classes"] = names_in_words(found.classes)
    table = Table(
        ("class", "boxes", "images", "best score", "median", "lowest", "cut below"),
        [
            [
                record["class"],
                f"{record['boxes']:,}",
                f"{record['images']:,}",
                *(cell(record["score"][number], ".3f") for number in (4, 2, 0)),
                cell(record["thresh"], ".3f"),
            ]
            for record in records
        ],
    )
    record = {
        **header_record(header),
        "image_ids": list(found.image_ids),
        "boxes": len(found),
        "boxes_per_image": per_image.tolist(),
        "classes": records,
    }
    return Inspection(header.kind, header.path, facts, record, (Section("classes", table),))


def _class_records(found: Detections) -> list[dict[str, Any]]:
    records = []
    for index, name in enumerate(found.classes):
        rows = found.of_class(index)
        thresh = float(found.thresh[index])
        records.append(
            {
                "class": name,
                "boxes": rows.stop - rows.start,
                "images": len(np.unique(found.image[rows])),
                "score": _five_numbers(found.score[rows]),
                "thresh": thresh if np.isfinite(thresh) else None,
                "boxes_before_cut": int(found.box_counts[index]),
            }
        )
    return records


def _made_from(settings: dict[str, Any]) -> dict[str, str]:
    """Return the facts of the features and models that detections are made from."""
    facts = {}
    if "features" in settings:
        facts["features"] = f"cache with digest {settings['features']}"
    for key, name in (("detector", "detector"), ("model", "network"), ("bbox", "box regressor")):
        made = settings.get(key)
        if isinstance(made, dict):
            facts[name] = f"digest {made.get('digest', 'not recorded')}, {training_in_words(made.get('training', {}))}"
    trained = settings.get("detector", {}).get("training", {})
    if trained:
        facts["trained on"] = data_in_words(trained)
    return facts


def _done_to_boxes(settings: dict[str, Any]) -> str:
    """Return what happened to the boxes after they were scored, in the order of it."""
    done = [
        *(["corrected by regression"] if "bbox" in settings else []),
        *(["merged with those found before"] if "also" in settings else []),
        *([f"voted at IoU {settings['voting']['iou']:g}"] if "voting" in settings else []),
        suppression_in_words(settings),
    ]
    return ", ".join(done)


def _five_numbers(values: np.ndarray) -> list[float | None]:
    """Return minimum, quartiles and maximum; None where there are no numbers."""
    return np.quantile(values.astype(np.float64), (0, 0.25, 0.5, 0.75, 1)).tolist() if len(values) else [None] * 5
