"""What is odd about labels: what their counts are, and what a person should look at before hours are spent on them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_svm.artefacts.files import array_digest, fingerprint
from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.checks import count_classes
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.words import counted

SAME_OBJECT_IOU = 0.9  # two boxes of an image that overlap by it are one object labelled twice
ODD_SHAPE = 6.0  # times wider or narrower than the median of the class
ENOUGH_FOR_MEDIAN = 5  # objects; those of a rarer class are compared with a square


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        kind: stands for it in JSON, such as `duplicates`.
        one: what it is, after the number 1: `object labelled twice`.
        several: the same after another number.
        places: where, in words, one each.
    """

    kind: str
    one: str
    several: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return counted(len(self.places), self.one, self.several)


@dataclass(frozen=True)
class SideCounts:
    """How much is labelled on a side.

    Attributes:
        images: how many images.
        without_objects: how many of these show no object.
        objects: number of objects of every class, (K,).
        images_with: number of images that show every class, (K,).
    """

    images: int
    without_objects: int
    objects: tuple[int, ...]
    images_with: tuple[int, ...]


@dataclass(frozen=True)
class LabelFindings:
    """The counts of a labelled set, and what is odd about it.

    Attributes:
        classes: K names.
        sides: counts by the name of the side, such as `train`.
        findings: what to look at; empty where nothing is odd.
    """

    classes: tuple[str, ...]
    sides: Mapping[str, SideCounts]
    findings: tuple[Finding, ...]

    def record(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "sides": {
                name: {
                    "images": counts.images,
                    "without_objects": counts.without_objects,
                    "classes": {
                        cls: {"objects": objects, "images": images}
                        for cls, objects, images in zip(self.classes, counts.objects, counts.images_with, strict=True)
                    },
                }
                for name, counts in self.sides.items()
            },
            "findings": [
                {"kind": finding.kind, "what": finding.several, "count": len(finding.places), "places": finding.places}
                for finding in self.findings
            ],
        }


def label_findings(sides: Mapping[str, ImageDatabase], unlabelled: Sequence[str] = ()) -> LabelFindings:
    """Return what is odd about the labels of image sets. Reads annotations, and the files of equal length.

    Args:
        sides: one image set, or those to train and to test on, of the same classes.
        unlabelled: image files that have no label and are not used.

    Raises:
        InputError: an annotation or an image file cannot be read.
    """
    classes = next(iter(sides.values())).classes
    counts = {name: _counts(database) for name, database in sides.items()}
    totals = np.sum([side.objects for side in counts.values()], axis=0)
    shape = f"of a shape {ODD_SHAPE:g} times off that of"
    kinds = (
        ("alike", "pair of names that are alike", "pairs of names that are alike", _alike(classes, totals.tolist())),
        ("duplicates", "object labelled twice", "objects labelled twice", _duplicates(sides)),
        ("pixel", "box of one pixel in width or height", "boxes of one pixel in width or height", _of_one_pixel(sides)),
        ("shape", f"box {shape} its class", f"boxes {shape} their class", _odd_shapes(sides)),
        ("both_sides", "image on both sides", "images on both sides", _identical(sides, across=True)),
        ("identical", "group of identical images", "groups of identical images", _identical(sides, across=False)),
        ("unlabelled", "image without a label, not used", "images without a label, not used", unlabelled),
    )
    findings = [Finding(kind, one, several, tuple(places)) for kind, one, several, places in kinds]
    return LabelFindings(classes, counts, tuple(finding for finding in findings if finding.places))


def labels_digest(database: ImageDatabase) -> str:
    """Return a digest of the names and objects of all images. Reads annotations."""
    truths = [database.annotation(index) for index in range(len(database))]
    digests = [array_digest(truth.boxes, truth.classes, truth.difficult) for truth in truths]
    return fingerprint([list(database.classes), list(database.image_ids), digests])


def _counts(database: ImageDatabase) -> SideCounts:
    objects, images = count_classes(database)
    without = sum(not len(database.annotation(index).boxes) for index in range(len(database)))
    return SideCounts(len(database), without, tuple(objects.tolist()), tuple(images.tolist()))


def _alike(classes: Sequence[str], totals: Sequence[int]) -> Iterator[str]:
    first: dict[str, int] = {}
    for index, name in enumerate(classes):
        other = first.setdefault(re.sub(r"[\W_]", "", name.casefold()) or name, index)
        if other != index:
            yield f"{classes[other]!r} ({totals[other]}) beside {name!r} ({totals[index]})"


def _duplicates(sides: Mapping[str, ImageDatabase]) -> Iterator[str]:
    for name, database in sides.items():
        for index, image_id in enumerate(database.image_ids):
            truth = database.annotation(index)
            overlaps = np.triu(iou_matrix(truth.boxes, truth.boxes), 1)
            for a, b in np.argwhere(overlaps >= SAME_OBJECT_IOU).tolist():
                pair = " and ".join(database.classes[truth.classes[row]] for row in (a, b))
                yield f"{_image(image_id, name, sides)}: {pair}, IoU {overlaps[a, b]:.2f}"


def _of_one_pixel(sides: Mapping[str, ImageDatabase]) -> Iterator[str]:
    for where, cls, box in _objects(sides):
        if min(_size(box)) < 2:
            yield f"{where}: {cls}, {_box_in_words(box)}"


def _odd_shapes(sides: Mapping[str, ImageDatabase]) -> Iterator[str]:
    objects = [entry for entry in _objects(sides) if min(_size(entry[2])) >= 2]
    shapes = [math.log(width / height) for width, height in (_size(box) for _, _, box in objects)]
    of_class: dict[str, list[float]] = {}
    for (_, cls, _), shape in zip(objects, shapes, strict=True):
        of_class.setdefault(cls, []).append(shape)
    usual = {cls: np.median(own) if len(own) >= ENOUGH_FOR_MEDIAN else 0.0 for cls, own in of_class.items()}
    for (where, cls, box), shape in zip(objects, shapes, strict=True):
        if abs(shape - usual[cls]) > math.log(ODD_SHAPE):
            yield f"{where}: {cls}, {_box_in_words(box)}"


def _identical(sides: Mapping[str, ImageDatabase], *, across: bool) -> Iterator[str]:
    """Yield groups of image files of the same bytes: those on two sides, or the others."""
    by_length: dict[int, list[tuple[str, int]]] = {}
    for name, database in sides.items():
        for index in range(len(database)):
            path = database.image_path(index)
            by_length.setdefault(path.stat().st_size if os.path.exists(path) else -1, []).append((name, index))
    for places in by_length.values():
        # Only files of one length can be the same; the bytes of all others are not read.
        groups: dict[str, list[tuple[str, int]]] = {}
        for name, index in places if len(places) > 1 else ():
            groups.setdefault(sides[name].image_digest(index), []).append((name, index))
        for group in groups.values():
            if len(group) > 1 and (len({name for name, _ in group}) > 1) == across:
                yield ", ".join(_image(sides[name].image_ids[index], name, sides) for name, index in group)


def _objects(sides: Mapping[str, ImageDatabase]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield image in words, class and box of every object."""
    for name, database in sides.items():
        for index, image_id in enumerate(database.image_ids):
            truth = database.annotation(index)
            for box, cls in zip(truth.boxes, truth.classes, strict=True):
                yield _image(image_id, name, sides), database.classes[cls], box


def _image(image_id: str, side: str, sides: Mapping[str, ImageDatabase]) -> str:
    return f"{image_id} ({side})" if len(sides) > 1 else image_id


def _size(box: np.ndarray) -> tuple[float, float]:
    return float(box[2] - box[0] + 1), float(box[3] - box[1] + 1)


def _box_in_words(box: np.ndarray) -> str:
    width, height = _size(box)
    return f"{width:.0f} x {height:.0f} pixels at {box[0]:.0f}, {box[1]:.0f}"
