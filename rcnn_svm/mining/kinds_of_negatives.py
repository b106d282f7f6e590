"""Why a negative is hard: what the region shows, by the objects that it overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from rcnn_svm import paper
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.mining.examples import class_columns
from rcnn_svm.progress import progress_bar


class NegativeKind(IntEnum):
    """What a negative of a class shows; these are Hoiem's reasons of false positives, seen in training.

    Source: Hoiem et al., 2012, section 2, which asks for an IoU of 0.1 too. Negatives of R-CNN have an IoU below 0.3
    with every object of their class.
    """

    LOCALISATION = 0  # an object of its class, badly placed: an IoU of 0.1 or more
    LOOK_ALIKE = 1  # an object of another class, or a part of it
    BACKGROUND = 2


WORDS = {
    NegativeKind.LOCALISATION: "poor localisation",
    NegativeKind.LOOK_ALIKE: "look-alike",
    NegativeKind.BACKGROUND: "background",
}


@dataclass(frozen=True)
class NegativeKinds:
    """What negatives show.

    Attributes:
        classes: names of the classes that objects have.
        kind: (n,) int8, a `NegativeKind`.
        cls: (n,) int32, the class of the object that the region overlaps best, an index into `classes`: its own where
            badly placed, another for a look-alike; -1 for background.
        iou: (n,) float32, the IoU with that object; 0 for background.
    """

    classes: tuple[str, ...]
    kind: np.ndarray
    cls: np.ndarray
    iou: np.ndarray

    @property
    def words(self) -> list[str]:
        """What every negative shows, such as `look-alike: dog, IoU 0.24`."""
        return [
            WORDS[kind] if cls < 0 else f"{WORDS[kind]}: {self.classes[cls]}, IoU {iou:.2f}"
            for kind, cls, iou in zip(self.kind.tolist(), self.cls.tolist(), self.iou.tolist(), strict=True)
        ]


def negative_kinds(cache: FeatureCache, classes: tuple[str, ...], keys: np.ndarray) -> NegativeKinds:
    """Return what negatives show; no features are read.

    Args:
        cache: the regions.
        classes: names of the classes that `keys` count, all of them the cache's.
        keys: (n, 3) int, class, image and row, such as the `support` of a training's record.

    Raises:
        InputError: the cache lacks a class.
    """
    column = np.array(class_columns(cache, classes))[keys[:, 0]]
    kind = np.full(len(keys), NegativeKind.BACKGROUND, np.int8)
    shown, iou = np.full(len(keys), -1, np.int32), np.zeros(len(keys), np.float32)
    images = np.unique(keys[:, 1]).tolist()
    with progress_bar(len(images), "kinds of negatives", "image") as bar:
        for image in images:
            bar.update()
            regions = cache.block(image)
            if not regions.label.any():
                continue  # no object there; of mined regions the overlap only says whose negatives they are
            places = np.flatnonzero(keys[:, 1] == image)
            overlap = regions.overlap[keys[places, 2]]
            rows, own = np.arange(len(places)), column[places]
            of_own = overlap[rows, own]
            overlap[rows, own] = -1
            other = overlap.argmax(axis=1)
            of_other = overlap[rows, other]
            near = [of_own >= np.float32(paper.BACKGROUND_IOU), of_other >= np.float32(paper.BACKGROUND_IOU)]
            kind[places] = np.select(
                near, [NegativeKind.LOCALISATION, NegativeKind.LOOK_ALIKE], NegativeKind.BACKGROUND
            )
            shown[places] = np.select(near, [own, other], -1)
            iou[places] = np.select(near, [of_own, of_other], 0)
    return NegativeKinds(cache.classes, kind, shown, iou)
