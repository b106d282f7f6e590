"""Hard negatives among images that nobody has labelled: which regions to take, and which show the same thing again.

A detector is run on images that are not of its training set. Most of what it fires on there is background that looks
like its objects: the hard negatives that its training images lack. Some are real objects, so that a person has to look;
`mined_regions.py` keeps what was taken until then.

    Guards         which regions of an image are taken
    RepeatMerger   which regions of a video show what a frame before showed
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import nms

# A negative on the margin has weight in a detector, and one below has none.
MARGIN = -1.0
PER_IMAGE = 5

# Cosine of the features of two regions from which they show the same. On 100 images of VOC 2007 with features of
# several layers, 99 of 100 pairs of boxes that overlap by 0.6 or more are above it, 99 of 100 pairs of regions of an
# image that one class fired on at different places are below it.
SAME = 0.75
# Frames after which a thing that was not seen is forgotten.
MEMORY = 5


@dataclass(frozen=True)
class Guards:
    """Which regions of an image that nobody has labelled are taken as hard negatives.

    Args:
        thresh: lowest score: a region is taken where it scores strictly above.
        max_score: highest score: what scores above is probably an object; no such limit where None.
        per_image: so many regions of an image at most, those of the highest scores; all where None.
        nms_threshold: of the regions that a class fires on and that overlap by more than this, the best stands for
            all.

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm.mining import Guards
        >>> boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
        >>> scores = np.float32([[0.4, -1.5], [0.7, -0.9], [-0.8, 3]])
        >>> rows, cls = Guards(max_score=1.0).select(boxes, scores)
        >>> rows.tolist(), cls.tolist()
        ([1, 2, 1], [0, 0, 1])
    """

    thresh: float = MARGIN
    max_score: float | None = None
    per_image: int | None = PER_IMAGE
    nms_threshold: float = paper.NMS_THRESHOLD

    def select(self, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the regions of an image to take, and the class that fired on each, the best first.

        Args:
            boxes: (N, 4) float32, x1 y1 x2 y2, 0-based inclusive pixels.
            scores: (N, K) float32.

        Returns:
            (n,) int64, rows, and (n,) int64, class indices; a row may come with several classes.
        """
        fires = scores > self.thresh
        if self.max_score is not None:
            fires &= scores <= self.max_score
        rows, classes = [], []
        for cls in np.flatnonzero(fires.any(axis=0)):
            found = np.flatnonzero(fires[:, cls])
            rows.append(found[nms(boxes[found], scores[found, cls], self.nms_threshold)])
            classes.append(np.full(len(rows[-1]), cls))
        row, of_class = (np.concatenate(part) if part else np.empty(0, np.int64) for part in (rows, classes))
        best = np.argsort(-scores[row, of_class], kind="stable")[: self.per_image]
        return row[best], of_class[best]


@dataclass
class Thing:
    """What regions of neighbouring frames show.

    Attributes:
        cls: index of the class that fires on it.
        region: number of its best region.
        score: that region's score.
        regions: how many regions show it.
        last_frame: number of the last frame that showed it.
        feature: (D,) float32 of length 1, of its last region.
    """

    cls: int
    region: int
    score: float
    last_frame: int
    feature: np.ndarray = field(repr=False)
    regions: int = 1


class RepeatMerger:
    """Merges the regions of a video's frames that show the same thing: the same class fires, and features are alike.

    Where a region is does not count: a camera moves, and so do things. Memory holds what the last frames showed.

    Args:
        same: cosine of the features from which two regions of a class show the same.
        memory: frames after which a thing that was not seen is forgotten.
    """

    def __init__(self, same: float = SAME, memory: int = MEMORY):
        self.same, self.memory = same, memory
        self._seen: list[Thing] = []
        self._frame = 0

    def add(self, regions: np.ndarray, cls: np.ndarray, scores: np.ndarray, features: np.ndarray) -> list[Thing]:
        """Take the regions of the next frame; return the things that are forgotten with it.

        Args:
            regions: (n,) int64, their numbers.
            cls: (n,) int64, class indices.
            scores: (n,) float32.
            features: (n, D) float32.
        """
        directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        for place in np.argsort(-scores, kind="stable"):
            self._take(int(regions[place]), int(cls[place]), float(scores[place]), directions[place])
        forgotten = [thing for thing in self._seen if self._frame - thing.last_frame >= self.memory]
        self._seen = [thing for thing in self._seen if self._frame - thing.last_frame < self.memory]
        self._frame += 1
        return forgotten

    def finish(self) -> list[Thing]:
        """Return the things that are not forgotten yet; what is added next shows others."""
        seen, self._seen = self._seen, []
        return seen

    def _take(self, region: int, cls: int, score: float, feature: np.ndarray) -> None:
        """Add a region to the thing that it shows, or as a new one."""
        of_class = [thing for thing in self._seen if thing.cls == cls]
        alike = [float(thing.feature @ feature) for thing in of_class]
        if not alike or max(alike) < self.same:
            self._seen.append(Thing(cls, region, score, self._frame, feature))
            return
        thing = of_class[int(np.argmax(alike))]
        thing.regions, thing.last_frame, thing.feature = thing.regions + 1, self._frame, feature
        if score > thing.score:
            thing.region, thing.score = region, score
