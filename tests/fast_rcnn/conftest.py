"""A cache whose features tell the class of a box and where its object is."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.boxes import box_deltas, class_overlaps, iou_matrix
from rcnn_svm.cache import FeatureCache

CLASSES = ("cat", "cow", "dog")


def telling_cache(seed: int, num_images: int, num_boxes: int = 50, name: str = "telling") -> FeatureCache:
    """Images of 1 or 2 objects, boxes around and beside them; the last image has no object."""
    random = np.random.default_rng(seed)
    parts = {key: [] for key in ("features", "boxes", "gt", "label", "overlap")}
    for number in range(num_images):
        count = 0 if number == num_images - 1 else random.integers(1, 3)
        classes = random.integers(0, len(CLASSES), count)
        corners = random.integers(20, 100, (count, 2))
        objects = np.hstack([corners, corners + random.integers(30, 60, (count, 2))])
        corners = random.integers(0, 140, (num_boxes, 2))
        boxes = np.hstack([corners, corners + random.integers(20, 50, (num_boxes, 2))])
        if count:
            near = objects[random.integers(0, count, num_boxes // 2)]
            boxes[: len(near)] = near + random.integers(-9, 10, near.shape)
        boxes = np.concatenate([objects, boxes]).astype(np.float32)
        overlap = class_overlaps(boxes, objects, classes, len(CLASSES))
        features = np.hstack([overlap**2 * 3, np.zeros((len(boxes), 4)), np.ones((len(boxes), 1))])
        if count:
            iou = iou_matrix(boxes, objects)
            on_object = iou.max(axis=1) >= 0.4
            features[on_object, 3:7] = 3 * box_deltas(boxes, objects[iou.argmax(axis=1)])[on_object]
        features += 0.1 * random.standard_normal(features.shape)
        parts["features"].append(features.astype(np.float32))
        parts["boxes"].append(boxes)
        parts["label"].append(np.concatenate([classes + 1, np.zeros(num_boxes, int)]))
        parts["gt"].append(parts["label"][-1] > 0)
        parts["overlap"].append(overlap)
    start = np.cumsum([0, *map(len, parts["label"])])
    joined = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    size = np.full((num_images, 2), 200)
    return FeatureCache.from_arrays(**joined, image_start=start, image_size=size, classes=CLASSES, name=name)


@pytest.fixture(scope="session")
def telling() -> FeatureCache:
    """12 images to train on."""
    return telling_cache(1, 12)


@pytest.fixture(scope="session")
def unseen() -> FeatureCache:
    """8 more images of the same kind."""
    return telling_cache(2, 8, name="unseen")
