"""The generated feature caches that the original's mining was timed on: the same numbers on every machine.

Twenty classes, 200 images of about a thousand regions. A region's features are sparse non-negative prototypes of
the classes it overlaps, of background that resembles the classes, of its image, and noise, less an offset, cut at
zero. The published times are those of `rcnn_train.m` under GNU Octave with liblinear 1.94 on a comparable machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm.cache import FeatureCache

NUM_CLASSES = 20
NUM_IMAGES = 200
NUM_BOXES = 1000
NUM_BACKGROUNDS = 10


@dataclass(frozen=True)
class PerfCase:
    """One of the caches.

    Attributes:
        seed: of everything.
        dim: D.
        strength: of the classes' prototypes; lower is harder.
        confuse: how much every other background resembles a class.
        overlap_power: exponent of the overlap in a prototype's weight.
        svm_C: weight of the hinge loss to train with.
        original_seconds: what the original took.
    """

    seed: int
    dim: int
    original_seconds: float
    strength: float = 1.2
    confuse: float = 0.85
    overlap_power: float = 0.8
    svm_C: float = 1e-3


CASES = {
    "perf": PerfCase(9001, 1024, 18.5),
    "perf_hard": PerfCase(9002, 1024, 17.4, strength=0.65, confuse=0.9, overlap_power=0.6, svm_C=5e-3),
    "perf_4096": PerfCase(9003, 4096, 118.0),
}


def make_perf_cache(name: str) -> FeatureCache:
    """Return a case's cache in memory; perf_4096 takes 3.3 GB, twice that while it is made."""
    case = CASES[name]
    rng = np.random.default_rng(case.seed)
    classes = _prototypes(rng, NUM_CLASSES, case.dim, 0.35)
    shared = _prototypes(rng, 1, case.dim, 0.8)[0]
    background = _prototypes(rng, NUM_BACKGROUNDS, case.dim, 0.35)
    for m in range(0, NUM_BACKGROUNDS, 2):
        background[m] = case.confuse * classes[m // 2] + (1 - case.confuse) * background[m]
        background[m] /= np.linalg.norm(background[m])
    frequency = rng.dirichlet(np.full(NUM_CLASSES, 4.0))
    images = [_make_image(rng, i, case, classes, shared, background, frequency) for i in range(NUM_IMAGES)]
    boxes, labels, overlaps, features, sizes = zip(*images, strict=True)
    label = np.concatenate(labels)
    return FeatureCache.from_arrays(
        features=np.concatenate(features),
        image_start=np.concatenate([[0], np.cumsum([len(part) for part in labels])]),
        boxes=np.concatenate(boxes).astype(np.float32) - 1,
        gt=label > 0,
        label=label,
        overlap=np.concatenate(overlaps),
        image_size=np.array(sizes, np.int32),
        classes=[f"c{k}" for k in range(NUM_CLASSES)],
        name=name,
    )


def _prototypes(rng: np.random.Generator, count: int, dim: int, share: float) -> np.ndarray:
    """Return sparse non-negative directions, (count, D), of which a share of the entries is not zero."""
    drawn = rng.gamma(2.0, 1.0, (count, dim)) * (rng.uniform(size=(count, dim)) < share)
    drawn[:, 0] += 1e-3
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _make_image(rng, index, case, classes, shared, background, frequency):
    """Return boxes (n, 4) counted from 1, labels (n,), overlaps (n, K), features (n, D) and (height, width)."""
    width, height = int(rng.integers(280, 501)), int(rng.integers(200, 401))
    count = 1 + min(5, rng.poisson(4.0))
    objects = rng.choice(NUM_CLASSES, count, p=frequency)
    truth = _random_boxes(rng, count, width, height, 0.15, 0.7)
    num_boxes = round(NUM_BOXES * rng.uniform(0.8, 1.2))
    if 0 < index <= 2 * NUM_CLASSES:  # every class occurs in the first images
        objects[0] = (index - 1) % NUM_CLASSES
    num_near = round(num_boxes * 0.45)
    proposals = _random_boxes(rng, num_boxes - num_near, width, height, 0.05, 0.9)
    nearest = rng.integers(0, count, num_near)
    near = np.concatenate([_near(rng, truth[k], int((nearest == k).sum()), width, height) for k in range(count)])
    near[0] = truth[0]
    proposals = np.concatenate([proposals, near])
    boxes = np.concatenate([truth, proposals[rng.permutation(len(proposals))]])
    total = len(boxes)
    overlap = np.zeros((total, NUM_CLASSES))
    for k in range(count):
        overlap[:, objects[k]] = np.maximum(overlap[:, objects[k]], _iou(boxes, truth[k]))
    label = np.zeros(total, np.int32)
    label[:count] = objects + 1

    unit = np.sqrt(32.0 / case.dim)
    own = rng.gamma(2.0, 0.5, case.dim) * (rng.uniform(size=case.dim) < 0.3) * 0.15
    evidence = case.strength * rng.gamma(12, 1 / 12, (total, NUM_CLASSES)) * np.power(overlap, case.overlap_power)
    mixture = rng.dirichlet(np.full(NUM_BACKGROUNDS, 0.25), total) * rng.gamma(6, 1 / 6, total)[:, None]
    mixture *= (1 - 0.7 * overlap.max(axis=1))[:, None]
    values = 3.0 * shared + 9.0 * (evidence @ classes) + 9.0 * (mixture @ background) + own * unit * 6
    values = values + 1.5 * 0.45 * unit * rng.normal(size=(total, case.dim)) * 2.0 - 1.8 * unit
    features = (np.round(np.maximum(0, values) * 32.0) / 32.0).astype(np.float32)
    return boxes, label, overlap.astype(np.float32), features, (height, width)


def _random_boxes(rng, count, width, height, smallest, largest):
    w = np.maximum(1, np.round(width * rng.uniform(smallest, largest, count)))
    h = np.maximum(1, np.round(height * rng.uniform(smallest, largest, count)))
    x1 = np.floor(rng.uniform(0, 1, count) * (width - w + 1)) + 1
    y1 = np.floor(rng.uniform(0, 1, count) * (height - h + 1)) + 1
    return np.stack([x1, y1, np.minimum(width, x1 + w - 1), np.minimum(height, y1 + h - 1)], axis=1)


def _near(rng, box, count, width, height):
    """Return boxes that differ from `box` by up to about its size."""
    size = np.tile([box[2] - box[0] + 1, box[3] - box[1] + 1], 2)
    amount = np.abs(rng.normal(0, 0.6, count))
    moved = np.round(box + rng.normal(0, 1, (count, 4)) * amount[:, None] * size * 0.5)
    moved[:, 0::2] = np.clip(moved[:, 0::2], 1, width)
    moved[:, 1::2] = np.clip(moved[:, 1::2], 1, height)
    return np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1)


def _iou(boxes, box):
    """Return the IoU of boxes with one, in double precision as the recorded cases have it."""
    w = np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0]) + 1
    h = np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1]) + 1
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    shared = np.where((w > 0) & (h > 0), w * h, 0)
    return shared / (area + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - shared)
