"""What the page shows of a test: what the detector finds and what it gets wrong, with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.at_threshold import AtThreshold, errors_at
from rcnn_svm.evaluation.errors import DetectionErrors, HoiemKind, TideKind, detection_errors
from rcnn_svm.evaluation.tide import MENDED, error_costs
from rcnn_svm.evaluation.voc import PrecisionRecall, VocResult, evaluate_detections
from rcnn_svm.reports.error_tables import HOIEM, cost_table, error_lines, work_table
from rcnn_svm.reports.html.charts import cost_chart, precision_chart
from rcnn_svm.reports.html.crops import crop_texts, jpeg_text
from rcnn_svm.reports.html.page import score_text
from rcnn_svm.reports.pictures import draw_detections
from rcnn_svm.reports.table import percent
from rcnn_svm.reports.voc_tables import voc_table

# Of every class: false positives of each of Hoiem's kinds, and missed objects, that are shown.
PER_KIND, MISSED = 4, 6
# Images that are shown as the best, and as the worst; their longer side in pixels.
PICTURES, PICTURE_SIDE = 6, 480
MISSED_KIND = "missed"
# Of the crops of all errors.
MOST_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Cases:
    """Errors that the page shows, class after class, each with a crop.

    Attributes:
        cls: (n,) int64, class of the detection or of the missed object.
        kind: n names: one of Hoiem's, or `MISSED_KIND`.
        image: (n,) int64, index of the image.
        box: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        score: (n,) float64, NaN of a missed object.
        says: what is wrong, in words.
    """

    cls: np.ndarray
    kind: list[str]
    image: np.ndarray
    box: np.ndarray
    score: np.ndarray
    says: list[str]


@dataclass(frozen=True, eq=False)
class Found:
    """A test as the page takes it.

    Attributes:
        given: what was found, before or after non-maximum suppression.
        images: the test images with their objects.
    """

    given: Detections
    images: ImageDatabase

    @property
    def content(self) -> dict[str, Any]:
        """What the template shows; crops of `cases` are numbered from 0."""
        costs = error_costs(self.errors)
        best, worst = best_and_worst(self.errors, self.at.thresh, PICTURES)
        return {
            "summary": [*self._means, *error_lines(costs, self.at).splitlines()],
            "cost_chart": cost_chart(costs.mean_gain[:6], MENDED[:6]),
            "tables": [
                ("Average precision", voc_table(self.result)),
                ("What each kind of error costs", cost_table(costs)),
                ("At the working threshold", work_table(self.at)),
            ],
            "confusion": confusion(self.at),
            "curves": [
                {"name": entry.name, "says": _curve_says(entry), "chart": precision_chart(entry)}
                for entry in self.result.classes
            ],
            "kinds": [*HOIEM, MISSED_KIND],
            "cases": self._groups,
            "best": self._pictures(best),
            "worst": self._pictures(worst),
        }

    @cached_property
    def crops(self) -> tuple[list[str | None], list[str]]:
        """The crop of every case, and why some images gave none."""
        return crop_texts(self.cases.image, self.cases.box, self.images.image_ids, self.images, MOST_CHARACTERS)

    @cached_property
    def errors(self) -> DetectionErrors:
        """Why every detection is right or wrong."""
        return detection_errors(self.given, self.images)

    @cached_property
    def result(self) -> VocResult:
        """Average precision."""
        return evaluate_detections(self.errors.detections, self.images, nms_threshold=None)

    @cached_property
    def at(self) -> AtThreshold:
        """What is found and wrong at the best F1 of every class."""
        return errors_at(self.errors, self.result.best_f1_thresh)

    @cached_property
    def cases(self) -> Cases:
        """The errors that are shown."""
        return choose_cases(self.errors)

    @property
    def _means(self) -> list[str]:
        means = f"mAP {percent(self.result.map11)} (VOC07, 11 points) | {percent(self.result.map_area)} (area)"
        return [f"{self.images.name}: {len(self.images):,} images, {means}."]

    @property
    def _groups(self) -> list[dict[str, Any]]:
        """The cases of every class as the template takes them."""
        cases = self.cases
        return [
            {
                "name": name,
                "wrong": int(self.at.wrong[index]),
                "missed": int(self.at.missed[index]),
                "cases": [
                    {
                        "number": number,
                        "kind": cases.kind[number],
                        "score": "" if np.isnan(cases.score[number]) else score_text(cases.score[number]),
                        "says": cases.says[number],
                        "image": self.images.image_ids[cases.image[number]],
                    }
                    for number in np.flatnonzero(cases.cls == index).tolist()
                ],
            }
            for index, name in enumerate(self.at.classes)
        ]

    def _pictures(self, chosen: np.ndarray) -> list[dict[str, str]]:
        """Return pictures of some images with what was found above the threshold; none of those that cannot be read."""
        found, thresh = self.errors.detections, self.at.thresh
        counts, pictures = image_counts(self.errors, thresh), []
        for index in chosen.tolist():
            right, wrong, missed = counts[:, index].tolist()
            says = f"{right} found, {missed} missed, {wrong} false positives"
            try:
                pixels = self.images.load_image(index)
            except InputError as error:
                pictures.append({"image": self.images.image_ids[index], "says": f"{says} ({error})", "jpeg": ""})
                continue
            drawn = draw_detections(
                pixels, found.of_image(index).above(thresh), self.at.classes, self.images.annotation(index)
            )
            small = ImageOps.contain(drawn, (PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
            pictures.append({"image": self.images.image_ids[index], "says": says, "jpeg": jpeg_text(small)})
        return pictures


def image_counts(errors: DetectionErrors, thresh: np.ndarray) -> np.ndarray:
    """Return what is right, wrong and missed in every image at a threshold per class (K,): (3, I) int64."""
    found, num_images = errors.detections, len(errors.detections.image_ids)
    accepted = found.score > thresh[found.cls]
    places = (
        found.image[errors.right & accepted],
        found.image[errors.wrong & accepted],
        errors.objects.image[errors.missed(thresh)],
    )
    return np.stack([np.bincount(place, minlength=num_images) for place in places])


def best_and_worst(errors: DetectionErrors, thresh: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images with the fewest and the most errors at a threshold per class (K,), at most `count` of each.

    Among the best are images in which something is found; of equals they have more hits, and the worst fewer. No image
    is among both, and none of the worst is without an error.
    """
    right, wrong, missed = image_counts(errors, thresh)
    bad = wrong + missed
    best = np.lexsort((-right, bad))
    best = best[right[best] > 0][:count]
    worst = np.lexsort((right, -bad))
    worst = worst[(bad[worst] > 0) & ~np.isin(worst, best)][:count]
    return best, worst


def choose_cases(errors: DetectionErrors) -> Cases:
    """Return the errors to show: of every class the false positives of every kind with the highest scores, and the
    largest objects that are missed at any threshold.
    """
    found, objects = errors.detections, errors.objects
    missed = np.flatnonzero(errors.missed())
    extent = objects.box[missed, 2:] - objects.box[missed, :2] + 1
    missed = missed[np.argsort(-extent.prod(axis=1), kind="stable")]
    cls, kinds, image, box, score, says = [], [], [], [], [], []
    for index in range(len(found.classes)):
        own = found.of_class(index)
        for name, kind in zip(HOIEM, range(HoiemKind.LOCALISATION, HoiemKind.BACKGROUND + 1), strict=True):
            rows = own.start + np.flatnonzero(errors.hoiem.kind[own] == kind)
            for row in rows[np.argsort(-found.score[rows], kind="stable")[:PER_KIND]].tolist():
                cls.append(index)
                kinds.append(name)
                image.append(found.image[row])
                box.append(found.box[row])
                score.append(float(found.score[row]))
                says.append(_why(errors, row))
        for place in missed[objects.cls[missed] == index][:MISSED].tolist():
            cls.append(index)
            kinds.append(MISSED_KIND)
            image.append(objects.image[place])
            box.append(objects.box[place])
            score.append(np.nan)
            says.append(f"best box: IoU {errors.nearest_iou[place]:.2f}")
    return Cases(
        np.array(cls, np.int64),
        kinds,
        np.array(image, np.int64),
        np.array(box, np.float32).reshape(-1, 4),
        np.array(score, np.float64),
        says,
    )


def _why(errors: DetectionErrors, row: int) -> str:
    """Return in words why a detection is a false positive."""
    tide = MENDED[errors.tide.kind[row] - TideKind.CLS]
    place = errors.hoiem.object[row]
    if place < 0:
        return f"on nothing ({tide})"
    name = errors.detections.classes[errors.objects.cls[place]]
    return f"IoU {errors.hoiem.iou[row]:.2f} with {name} ({tide})"


def confusion(at: AtThreshold) -> dict[str, Any]:
    """Return the confusion of classes as a table: names of rows and columns, and rows of count and share of the row."""
    sums = np.maximum(at.confusion.sum(axis=1, keepdims=True), 1)
    shares = at.confusion / sums
    return {
        "columns": [*at.classes, "missed"],
        "rows": [
            {
                "name": name,
                "cells": [
                    {"count": count, "share": round(share, 3), "right": row == column}
                    for column, (count, share) in enumerate(zip(counts.tolist(), of_row.tolist(), strict=True))
                ],
            }
            for row, (name, counts, of_row) in enumerate(
                zip((*at.classes, "no object"), at.confusion, shares, strict=True)
            )
        ],
    }


def _curve_says(entry: PrecisionRecall) -> str:
    if not entry.num_objects:
        return "no objects"
    return f"{percent(entry.ap11)} | {percent(entry.ap_area)}"
