"""The objects that a detector found in one image."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rcnn_svm.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


class FoundObject(NamedTuple):
    """An object that a detector found.

    Attributes:
        name: name of the class; its number in text where names are not known.
        score: the score.
        box: x1 y1 x2 y2, 0-based inclusive pixels.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageDetections:
    """The objects that a detector found in one image, best first; iteration yields a `FoundObject` for each.

    Attributes:
        cls: (n,) int32, class indices.
        boxes: (n, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
        scores: (n,) float32, descending.
        classes: K class names, where a detector of images made them; else None.
        image: (H, W, 3) uint8 RGB, the image, where a detector of images made them; else None.
    """

    cls: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...] | None = field(default=None, repr=False)
    image: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[FoundObject]:
        for index, score, box in zip(self.cls.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True):
            yield FoundObject(str(index) if self.classes is None else self.classes[index], score, tuple(box))

    def above(self, thresh: float | np.ndarray) -> ImageDetections:
        """Return the detections with a score strictly above `thresh`, one number or (K,), one per class."""
        keep = self.scores > (thresh if np.ndim(thresh) == 0 else np.asarray(thresh)[self.cls])
        return replace(self, cls=self.cls[keep], boxes=self.boxes[keep], scores=self.scores[keep])

    def draw(self) -> Image:
        """Return a picture of the image with the objects in it, an RGB image of Pillow's.

        Raises:
            InputError: the detections do not come with their image.
        """
        if self.image is None or self.classes is None:
            raise InputError(
                "these detections came without their image; rcnn_svm.reports.draw_detections takes one beside them"
            )
        try:
            # By name, as reports import detection.
            pictures = importlib.import_module("rcnn_svm.reports.pictures")
        except ImportError as error:
            raise InputError(
                "draw needs packages that an exported detector lacks; rcnn_svm.export.draw_detections draws by OpenCV"
            ) from error
        return pictures.draw_detections(self.image, self, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the objects as a JSON object: class, score and box of each; and the image's size where it is known."""
        size = {} if self.image is None else {"width": self.image.shape[1], "height": self.image.shape[0]}
        objects = [{"class": name, "score": score, "box": list(box)} for name, score, box in self]
        return {**size, "objects": objects}

    def to_supervision(self) -> Any:
        """Return the objects as `supervision.Detections`, whose boxes end at the pixel after the last one inside.

        Raises:
            InputError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise InputError("to_supervision needs the package supervision; pip install supervision") from error
        names = np.array([found.name for found in self], dtype=str)
        return supervision.Detections(
            xyxy=(self.boxes + np.array([0, 0, 1, 1], np.float32)).reshape(-1, 4),
            confidence=np.asarray(self.scores, np.float32),
            class_id=self.cls.astype(int),
            data={"class_name": names},
        )


def best_of_groups(groups: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
    """Return the rows of the best of each group, at most `limit` of each, by group and descending score.

    Args:
        groups: (N,) int.
        scores: (N,) float.
        limit: rows of a group.
    """
    rows = np.lexsort((-scores, groups))
    place = np.arange(len(rows)) - np.searchsorted(groups[rows], groups[rows])
    return rows[place < limit]
