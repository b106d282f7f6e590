"""What a detector finds and gets wrong where only detections with a score above a threshold are accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.evaluation.errors import DetectionErrors, HoiemKind, TideKind


@dataclass(frozen=True)
class AtThreshold:
    """What a detector finds and gets wrong at a threshold, class by class.

    Attributes:
        classes: K class names.
        thresh: (K,) float64, detections with a score above this are accepted.
        objects: (K,) int64, objects to be found, the difficult ones not counted.
        right, wrong: (K,) int64, how many of the detections are hits and false positives.
        hoiem: (K, 4) int64, false positives by Hoiem's reasons, from `HoiemKind.LOCALISATION` on.
        tide: (K, 5) int64, false positives by TIDE's reasons, from `TideKind.CLS` on.
        images: number of images.
        images_without_class: (K,) int64, images without any object of the class, difficult ones counted.
        images_without_objects: number of images without any object of any class.
        wrong_without_class: (K,) int64, false positives on the images without the class.
        wrong_without_objects: (K,) int64, false positives on the images without objects.
        confusion: (K + 1, K + 1) int64. In row i and column j the detections of class j that are well placed on an
            object of class i: on the diagonal hits, elsewhere false positives. The last row has all other false
            positives: on the background, badly placed, or on an object found before. The last column has the missed
            objects that no detection of another class is well placed on either. Objects may be in several cells.
    """

    classes: tuple[str, ...]
    thresh: np.ndarray
    objects: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    hoiem: np.ndarray
    tide: np.ndarray
    images: int
    images_without_class: np.ndarray
    images_without_objects: int
    wrong_without_class: np.ndarray
    wrong_without_objects: np.ndarray
    confusion: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(K,) float64; NaN where no detection is right or wrong."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> np.ndarray:
        """(K,) float64; NaN without objects."""
        return _ratio(self.right, self.objects)

    @property
    def f1(self) -> np.ndarray:
        """(K,) float64, the harmonic mean of precision and recall, 0 where nothing is hit; NaN without objects."""
        return np.where(self.objects > 0, _ratio(2 * self.right, self.right + self.wrong + self.objects), np.nan)

    @property
    def means(self) -> tuple[float, float, float]:
        """The means of precision, recall and F1 over the classes that have objects; NaN where none has a value."""
        values = np.stack([self.precision, self.recall, self.f1])[:, self.objects > 0]
        known = ~np.isnan(values)
        return tuple(_ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1)).tolist())

    @property
    def missed(self) -> np.ndarray:
        """(K,) int64, objects that no detection hits."""
        return self.objects - self.right

    @property
    def wrong_per_image(self) -> np.ndarray:
        """(K,) float64, false positives an image."""
        return self.wrong / self.images

    @property
    def wrong_per_image_without_class(self) -> np.ndarray:
        """(K,) float64, false positives an image on those without any object of the class; NaN where there are none."""
        return _ratio(self.wrong_without_class, self.images_without_class)

    @property
    def wrong_per_image_without_objects(self) -> np.ndarray:
        """(K,) float64, false positives an image on those without any object at all; NaN where there are none."""
        return _ratio(self.wrong_without_objects, np.full(len(self.classes), self.images_without_objects))


def errors_at(errors: DetectionErrors, thresh: np.ndarray | float) -> AtThreshold:
    """Return what is found and wrong at a threshold.

    Args:
        errors: why every detection is right or wrong.
        thresh: detections with a score above this are accepted; one number or (K,), one per class, such as
            `VocResult.best_f1_thresh`.
    """
    found, objects = errors.detections, errors.objects
    num_classes, num_images = len(found.classes), len(found.image_ids)
    thresh = np.broadcast_to(np.asarray(thresh, np.float64), num_classes)
    accepted = found.score > thresh[found.cls]
    right, wrong = errors.right & accepted, errors.wrong & accepted
    shows = np.zeros((num_images, num_classes), bool)
    shows[objects.image, objects.cls] = True
    shows_any = np.asarray(shows.any(axis=1))

    def count(cls: np.ndarray) -> np.ndarray:
        return np.bincount(cls, minlength=num_classes)

    def count_kinds(kind: np.ndarray, first: int, last: int) -> np.ndarray:
        return np.stack([count(found.cls[wrong & (kind == value)]) for value in range(first, last + 1)], axis=1)

    return AtThreshold(
        classes=found.classes,
        thresh=thresh,
        objects=count(objects.cls[~objects.difficult]),
        right=count(found.cls[right]),
        wrong=count(found.cls[wrong]),
        hoiem=count_kinds(errors.hoiem.kind, HoiemKind.LOCALISATION, HoiemKind.BACKGROUND),
        tide=count_kinds(errors.tide.kind, TideKind.CLS, TideKind.BKG),
        images=num_images,
        images_without_class=(~shows).sum(axis=0),
        images_without_objects=int((~shows_any).sum()),
        wrong_without_class=count(found.cls[wrong & ~shows[found.image, found.cls]]),
        wrong_without_objects=count(found.cls[wrong & ~shows_any[found.image]]),
        confusion=_confusion(errors, thresh, right, wrong),
    )


def _confusion(errors: DetectionErrors, thresh: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return the confusion of `AtThreshold`, given the hits and false positives that are accepted, (N,) bool each."""
    found, objects = errors.detections, errors.objects
    last = len(found.classes)
    table = np.zeros((last + 1, last + 1), np.int64)
    taken = wrong & (errors.own_iou < errors.iou) & (errors.other_iou >= errors.iou)
    np.add.at(table, (found.cls[right], found.cls[right]), 1)
    np.add.at(table, (objects.cls[errors.other[taken]], found.cls[taken]), 1)
    np.add.at(table[last], found.cls[wrong & ~taken], 1)
    missed = errors.missed(thresh)
    missed[errors.other[taken]] = False
    np.add.at(table[:, last], objects.cls[missed], 1)
    return table


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return a quotient, (n,) float64; NaN where it would be by 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
