"""Soft-NMS: what the score of a box becomes among better ones that overlap it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import iou_matrix, nms
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.one_image import best_detections
from rcnn_svm.detection.soft_nms import soft_nms, soft_nms_settings
from rcnn_svm.errors import InputError

cases = given(st.integers(0, 30), st.integers(1, 4), st.sampled_from([0.1, 0.3, 2.0]), st.integers(0, 1000))


def random_boxes(count, num_groups, seed):
    """Return boxes with scores on both sides of 0, some of them equal, and groups in no order."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 8, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(5, 15, (count, 2))]).astype(np.float32)
    return boxes, rng.normal(-0.5, 1, count).round(1).astype(np.float32), rng.integers(0, num_groups, count)


def probability(scores):
    return 1 / (1 + np.exp(-np.asarray(scores, np.float64)))


def lowered_slowly(boxes, scores, groups, sigma):
    """Return the lowered probabilities, as figure 2 of the paper has it: take the best, lower the rest, repeat."""
    left, lowered = list(range(len(boxes))), probability(scores)
    while left:
        best = max(left, key=lambda row: (lowered[row], row))
        left.remove(best)
        for row in left:
            if groups[row] == groups[best]:
                lowered[row] *= np.exp(-(iou_matrix(boxes[[row]], boxes[[best]])[0, 0] ** 2) / sigma)
    return lowered


@cases
@settings(max_examples=60, deadline=None)
def test_probabilities_are_as_by_the_definition(count, num_groups, sigma, seed):
    boxes, scores, groups = random_boxes(count, num_groups, seed)
    lowered = soft_nms(boxes, scores, groups, sigma)
    assert lowered.dtype == np.float32
    np.testing.assert_allclose(probability(lowered), lowered_slowly(boxes, scores, groups, sigma), rtol=1e-5)


@cases
@settings(max_examples=60, deadline=None)
def test_scores_only_fall_and_the_best_of_a_group_keeps_its_own(count, num_groups, sigma, seed):
    boxes, scores, groups = random_boxes(count, num_groups, seed)
    lowered = soft_nms(boxes, scores, groups, sigma)
    assert (lowered <= scores).all()
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        assert lowered[rows].max() == scores[rows].max()
        np.testing.assert_array_equal(soft_nms(boxes[rows], scores[rows], groups[rows], sigma), lowered[rows])


@cases
@settings(max_examples=30, deadline=None)
def test_a_tiny_sigma_leaves_what_suppression_of_all_overlaps_leaves(count, num_groups, sigma, seed):
    boxes, scores, groups = random_boxes(count, num_groups, seed)
    unlowered = soft_nms(boxes, scores, groups, 1e-9) > -1e3
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        assert set(rows[unlowered[rows]]) == set(rows[nms(boxes[rows], scores[rows], 0)])


@given(st.floats(-80, 80, width=32))
def test_the_same_box_twice_loses_by_sigma_alone_at_any_score(score):
    boxes = np.float32([[3, 4, 9, 12]] * 2)
    first, second = soft_nms(boxes, np.float32([score, score]), np.zeros(2, int), 0.5)
    expected = probability(score) * np.exp(-2)
    assert (first, second) != (score, score) and score in (first, second)
    np.testing.assert_allclose(probability(min(first, second)), expected, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0, -0.5, np.nan, np.inf])
def test_what_is_no_sigma_is_refused(sigma):
    with pytest.raises(InputError, match="the sigma of soft-NMS must be a number above 0"):
        soft_nms(np.zeros((1, 4)), np.zeros(1), np.zeros(1, int), sigma)


@pytest.mark.parametrize("shapes", [((2, 4), 3, 3), ((3, 4), 3, 2), ((3, 3), 3, 3)])
def test_arrays_that_do_not_fit_are_refused(shapes):
    with pytest.raises(InputError, match="soft-NMS: boxes have shape"):
        soft_nms(*(np.zeros(shape, int) for shape in shapes))
    with pytest.raises(InputError, match="soft-NMS: 1 of 2 scores are NaN"):
        soft_nms(np.zeros((2, 4)), np.array([0, np.nan]), np.zeros(2, int))


def detections_of_two():
    """Boxes of two images and classes, interleaved; two of them overlap."""
    boxes = [[0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 13, 9], [0, 0, 9, 9]]
    score = [1.7, 0.1, 0.3, 0.2]
    return Detections(("a", "b"), ("cat", "dog"), [0, 1, 0, 0], [0, 0, 0, 1], boxes, score, settings={"image_set": "x"})


def test_detections_are_lowered_within_image_and_class_and_dropped_no_more():
    detections = detections_of_two()
    lowered = detections.after_soft_nms(0.5)
    assert (lowered.score < detections.score).tolist() == [False, False, True, False]
    assert lowered.settings == {"image_set": "x", "soft_nms": soft_nms_settings(0.5)}
    assert lowered.after_soft_nms(0.5) is lowered and lowered.after_nms(0) is lowered


def test_detections_are_suppressed_in_one_way_and_after_all_else():
    detections = detections_of_two()
    lowered = detections.after_soft_nms(0.5)
    with pytest.raises(InputError, match=r"suppressed softly \(sigma 0\.5\) already; take detections before it"):
        lowered.after_soft_nms(0.3)
    with pytest.raises(InputError, match=r"suppressed above IoU 0\.3 already"):
        detections.after_nms(0.3).after_soft_nms()
    with pytest.raises(InputError, match=r"suppressed softly .* so those that would vote are gone or count less"):
        lowered.after_voting()
    for pair in ((detections, lowered), (lowered, detections)):
        with pytest.raises(InputError, match="were suppressed"):
            pair[0].merged(pair[1], max_per_image=100, max_per_set=100)


@given(st.integers(0, 60), st.integers(1, 3), st.sampled_from([-2.0, -1.0, 0.0]), st.booleans(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_an_image_is_lowered_as_an_image_set_is(count, num_classes, thresh, vote, seed):
    boxes = random_boxes(count, 1, seed)[0]
    scores = np.random.default_rng(seed).normal(-1, 0.7, (count, num_classes)).astype(np.float32)
    cls, row = np.divmod(np.arange(scores.size), max(count, 1))
    everything = Detections(
        ("a",), ("cat", "cow", "dog")[:num_classes], np.zeros(scores.size), cls, boxes[row], scores[row, cls]
    )
    voted = everything.after_voting() if vote else everything
    expected = voted.after_soft_nms().of_image(0).above(thresh)
    found = best_detections(boxes, scores, thresh, 0.3, vote=vote, soft=True)
    np.testing.assert_array_equal(found.cls, expected.cls)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-6)
