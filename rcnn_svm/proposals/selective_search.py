"""Selective search (Uijlings et al., 2013) on OpenCV's parts: R-CNN's settings and OpenCV's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rcnn_svm import paper
from rcnn_svm.boxes import clip_boxes
from rcnn_svm.data.pixels import check_image
from rcnn_svm.errors import InputError
from rcnn_svm.opencv import cv2
from rcnn_svm.parameters import plain
from rcnn_svm.proposals.ranking import check_limits, limit_boxes, limit_settings, rank_boxes

MAX_SIDE = 1000  # pixels; time and memory grow with the square of the area


class SelectiveSearch:
    """Proposer: the regions met while similar segments are merged, in several colour spaces and ways.

    `fast` and `quality` are R-CNN's settings: the image at a width of 500, boxes narrower or lower than 20
    pixels at that scale dropped. `opencv-fast` and `opencv-quality` are OpenCV's: the image as it is, coarser
    segmentations, no lower limit. No image is searched at more than 1000 pixels a side.

    Args:
        mode: `fast`, `quality`, `opencv-fast` or `opencv-quality`.
        max_boxes, merge_iou: which boxes of an image to keep, as in `limit_boxes`, in the order of `rank_boxes`.

    Raises:
        InputError: no such mode, or a limit without meaning.

    Source: `selective_search_boxes.m` of R-CNN. OpenCV computes the textures its own way (Scharr instead of
    Gaussian derivatives), and its random order of boxes is replaced by one that depends on the image alone.
    """

    def __init__(self, mode: str = "fast", max_boxes: int | None = None, merge_iou: float | None = None):
        if mode not in _SEARCHES:
            raise InputError(f"selective search has no mode {plain(mode)!r}; it has {', '.join(_SEARCHES)}")
        check_limits(max_boxes, merge_iou)
        self.mode = mode
        self.max_boxes = max_boxes
        self.merge_iou = merge_iou

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the boxes, JSON-able."""
        return {"method": self.mode, **limit_settings(self.max_boxes, self.merge_iou), "opencv": cv2.__version__}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the proposals of an image.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, whole 0-based inclusive pixels, distinct, N >= 1: the whole image
            where nothing else is found.

        Raises:
            InputError: `image` is no such array.
        """
        image = check_image(image)
        height, width = image.shape[:2]
        search = _SEARCHES[self.mode]
        scale = min(search.width / width if search.width else 1.0, MAX_SIDE / max(height, width))
        rects = np.asarray(search(_resize(image, scale)), np.float64).reshape(-1, 4)
        rects = rects[(rects[:, 2:] >= search.min_box).all(axis=1)]
        corners = np.hstack([rects[:, :2], rects[:, :2] + rects[:, 2:] - 1])
        boxes = clip_boxes(np.floor(corners / scale + 0.5), (height, width))
        if not len(boxes):
            boxes = np.array([[0, 0, width - 1, height - 1]])
        return limit_boxes(rank_boxes(boxes, self.max_boxes), merge_iou=self.merge_iou)


def _resize(image, scale):
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


# The colour spaces of `Image2ColourSpace.m`, from and to 8 bits. A space of one channel repeats it three times,
# as there: the segmentation's distance between pixels counts it so.


def _hsv(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)


def _lab(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2Lab)


def _hue(image):
    return cv2.merge([_hsv(image)[..., 0]] * 3)


def _intensity(image):
    return cv2.merge([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3)


def _rgi(image):
    """Normalised red and green (1/3 each for black), and the mean of the channels."""
    total = image.sum(axis=2, keepdims=True, dtype=np.float64)
    red_green = np.divide(image[..., :2], total, out=np.full((*image.shape[:2], 2), 1 / 3), where=total > 0)
    return np.rint(np.dstack([255 * red_green, total / 3])).astype(np.uint8)


try:
    _segmentation = cv2.ximgproc.segmentation
except AttributeError as error:
    raise InputError(
        "this OpenCV has no selective search, which is one of its contributed modules; install "
        "opencv-contrib-python-headless in the place of opencv-python-headless"
    ) from error
_SIMILARITIES = {
    "colour": _segmentation.createSelectiveSearchSegmentationStrategyColor,
    "texture": _segmentation.createSelectiveSearchSegmentationStrategyTexture,
    "size": _segmentation.createSelectiveSearchSegmentationStrategySize,
    "fill": _segmentation.createSelectiveSearchSegmentationStrategyFill,
}


@dataclass(frozen=True)
class _OriginalSearch:
    """One hierarchy of regions for every colour space, segmentation threshold and sum of similarities."""

    colour_spaces: tuple[Callable[[np.ndarray], np.ndarray], ...]
    similarities: tuple[tuple[str, ...], ...]
    thresholds: tuple[int, ...]
    width: ClassVar[int | None] = paper.SEARCH_WIDTH  # what is found depends on the scale
    min_box: ClassVar[int] = paper.SEARCH_MIN_SIDE

    def __call__(self, image):
        search = _segmentation.createSelectiveSearchSegmentation()
        for to_space in self.colour_spaces:
            search.addImage(to_space(image))
        for k in self.thresholds:
            search.addGraphSegmentation(_segmentation.createGraphSegmentation(paper.SEARCH_SIGMA, k, k))
        # Shared between the sums and made anew for every image: each caches histograms of the last one it saw.
        parts = {name: create() for name, create in _SIMILARITIES.items()}
        for names in self.similarities:
            total = _segmentation.createSelectiveSearchSegmentationStrategyMultiple()
            for name in names:
                total.addStrategy(parts[name], 1 / len(names))
            search.addStrategy(total)
        return search.process()


@dataclass(frozen=True)
class _OpenCVSearch:
    """What OpenCV calls fast or quality, with its defaults."""

    quality: bool
    width: ClassVar[int | None] = None  # the image as it is
    min_box: ClassVar[int] = 1

    def __call__(self, image):
        search = _segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if self.quality:
            search.switchToSelectiveSearchQuality()
        else:
            search.switchToSelectiveSearchFast()
        return search.process()


_ALL_FOUR, _NO_COLOUR = ("colour", "texture", "size", "fill"), ("texture", "size", "fill")
_SEARCHES: dict[str, _OriginalSearch | _OpenCVSearch] = {
    "fast": _OriginalSearch((_hsv, _lab), (_ALL_FOUR, _NO_COLOUR), paper.SEARCH_FAST_K),
    "quality": _OriginalSearch(
        (_hsv, _lab, _rgi, _hue, _intensity),
        (_ALL_FOUR, _NO_COLOUR, ("fill",), ("size",)),
        paper.SEARCH_QUALITY_K,
    ),
    "opencv-fast": _OpenCVSearch(quality=False),
    "opencv-quality": _OpenCVSearch(quality=True),
}
