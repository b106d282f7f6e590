"""From the scores of an image's boxes to its detections."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.detection.detector import best_detections


@given(st.integers(0, 25), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.7]), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_detection_scores_above_the_threshold_and_repeats_no_better_one(count, num_classes, nms_threshold, seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 20, (count, 2))]).astype(np.float32)
    scores = rng.permutation(count * num_classes).reshape(count, num_classes).astype(np.float32)
    thresh = float(count)

    found = best_detections(boxes, scores, thresh, nms_threshold)

    expected = []
    for index in range(num_classes):
        kept = []
        for row in np.argsort(-scores[:, index]):
            free = not kept or iou_matrix(boxes[[row]], boxes[kept]).max() <= nms_threshold
            if scores[row, index] > thresh and free:
                kept.append(row)
        expected += [(scores[row, index], index, *boxes[row]) for row in kept]
    rows = [(score, cls, *box) for score, cls, box in zip(found.scores, found.cls, found.boxes, strict=True)]
    assert rows == sorted(expected, reverse=True)
    assert (found.cls.dtype, found.scores.dtype) == (np.int32, np.float32)
