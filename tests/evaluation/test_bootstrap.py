"""The bootstrap interval of mAP against an evaluation of image sets that really repeat their images."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.detection.detections import Detections
from rcnn_svm.evaluation.bootstrap import bootstrap_map, interval
from rcnn_svm.evaluation.voc import evaluate_detections

CLASSES = ("cat", "dog")


def _made(rng, images):
    """Return annotations and detections of images: objects, boxes that nearly fit some of them, and others."""
    annotations, found = [], []
    for _ in range(images):
        count = rng.integers(0, 4)
        corners = rng.integers(0, 60, (count, 2)).astype(np.float32)
        boxes = np.hstack([corners, corners + 20])
        difficult, none = rng.random(count) < 0.2, np.zeros(count, bool)
        annotations.append(Annotation((100, 100), boxes, rng.integers(0, 2, count), difficult, none))
        guesses = np.vstack(
            [boxes + rng.integers(-8, 8, boxes.shape), np.add(rng.integers(0, 30, (2, 4)), [0, 0, 30, 30])]
        )
        found.append((guesses.astype(np.float32), rng.integers(0, 2, len(guesses)), rng.normal(size=len(guesses))))
    return annotations, found


def _set(annotations, found, draw):
    """Return the image set and detections of images drawn, the repeated ones under names of their own."""
    numbers = np.repeat(np.arange(len(annotations)), draw)
    ids = [f"{place}" for place in range(len(numbers))]
    by_id = dict(zip(ids, (annotations[number] for number in numbers), strict=True))
    database = ImageDatabase("drawn", CLASSES, ids, lambda i: f"{i}.png", by_id.__getitem__)
    boxes, cls, scores = (np.concatenate([found[number][part] for number in numbers]) for part in range(3))
    image = np.repeat(np.arange(len(numbers)), [len(found[number][1]) for number in numbers])
    return database, Detections(tuple(ids), CLASSES, image, cls, boxes, scores)


def test_a_resample_is_the_evaluation_of_the_images_drawn():
    annotations, found = _made(np.random.default_rng(0), 12)
    database, detections = _set(annotations, found, np.ones(12, int))
    values = bootstrap_map(detections, database, resamples=5, seed=1)
    draws = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=5)
    for value, draw in zip(values, draws, strict=True):
        drawn, of_drawn = _set(annotations, found, draw)
        result = evaluate_detections(of_drawn, drawn)
        np.testing.assert_allclose(value, [result.map11, result.map_area])


def test_the_interval_holds_the_map_and_shrinks_with_more_images():
    widths = []
    for images in (20, 200):
        annotations, found = _made(np.random.default_rng(2), images)
        database, detections = _set(annotations, found, np.ones(images, int))
        low, high = interval(bootstrap_map(detections, database)[:, 1])
        assert low < evaluate_detections(detections, database).map_area < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_interval_is_of_the_middle():
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
