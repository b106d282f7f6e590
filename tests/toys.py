"""Toy feature caches and pictures, which several rooms' tests share."""

from __future__ import annotations

import numpy as np

from rcnn_svm.cache import FeatureCache

CLASSES = ("rare", "middling", "common")


def few_objects(
    seed: int, num_images: int, num_boxes: int = 80, dim: int = 24, noise: float = 1.0, objects=(0.4, 0.7, 1.5)
) -> FeatureCache:
    """A cache whose classes have about `objects` objects an image, and look like them by how far they overlap."""
    rng = np.random.default_rng(seed)
    prototypes = np.random.default_rng(0).random((len(CLASSES), dim)) * 2
    parts = {name: [] for name in ("features", "boxes", "gt", "label", "overlap")}
    for _ in range(num_images):
        classes = np.repeat(np.arange(len(CLASSES)), rng.poisson(objects))
        corners = rng.integers(0, 150, (len(classes), 2))
        own = np.concatenate([corners, corners + rng.integers(30, 60, (len(classes), 2))], axis=1)
        corners = rng.integers(0, 150, (num_boxes, 2))
        other = np.concatenate([corners, corners + rng.integers(20, 60, (num_boxes, 2))], axis=1)
        near = rng.random(num_boxes) < 0.3
        if len(own):
            other[near] = own[rng.integers(0, len(own), near.sum())] + rng.integers(-12, 13, (near.sum(), 4))
        boxes = np.concatenate([own, other]).astype(np.float32)
        overlap = np.zeros((len(boxes), len(CLASSES)), np.float32)
        for box, c in zip(own, classes, strict=True):
            overlap[:, c] = np.maximum(overlap[:, c], iou_with(boxes, box))
        features = overlap**2 @ prototypes + noise * rng.standard_normal((len(boxes), dim)) + 0.5
        label = np.concatenate([classes + 1, np.zeros(num_boxes, int)])
        parts["features"].append(np.maximum(0, features).astype(np.float32))
        parts["boxes"].append(boxes)
        parts["gt"].append(label > 0)
        parts["label"].append(label)
        parts["overlap"].append(overlap)
    start = np.cumsum([0, *map(len, parts["label"])])
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return FeatureCache.from_arrays(**joined, image_start=start, classes=CLASSES, name="few")


def iou_with(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes (N, 4) with one box, inclusive pixels."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]) + 1
    inside = np.prod(np.maximum(sides, 0), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1) + np.prod(box[2:] - box[:2] + 1)
    return inside / (area - inside)


def make_scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return overlapping rectangles of noisy colour, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 120.0)
    for _ in range(25):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 12 + 1, width // 3 + 2), rng.integers(height // 12 + 1, height // 3 + 2)
        image[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def one_feature() -> FeatureCache:
    """Three images of one class whose regions have one feature, for mining with pencil and paper."""
    feature = [[4, 1, 0, 3], [2, 0.5, 3], [1.5]]
    overlap = [[1, 0.1, 0, 0.3], [0, 0, 0.5], [0]]
    count = [len(values) for values in feature]
    gt = np.arange(sum(count)) == 0
    return FeatureCache.from_arrays(
        features=np.concatenate(feature)[:, None],
        boxes=np.tile([0, 0, 9, 9], (sum(count), 1)),
        gt=gt,
        label=gt,
        overlap=np.concatenate(overlap)[:, None],
        image_start=np.cumsum([0, *count]),
        classes=["thing"],
        name="one feature",
    )
