"""Box voting: what a box becomes among those that overlap it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.detection.detections import Detections
from rcnn_svm.detection.one_image import best_detections
from rcnn_svm.detection.voting import vote_boxes, voting_settings
from rcnn_svm.errors import InputError

cases = given(st.integers(0, 30), st.integers(1, 4), st.sampled_from([0.3, 0.5, 1.0]), st.integers(0, 1000))


def random_boxes(count, num_groups, seed):
    """Return boxes with scores about the margin of negatives, and groups in no order."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 8, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(5, 15, (count, 2))]).astype(np.float32)
    return boxes, rng.normal(-1, 0.7, count).astype(np.float32), rng.integers(0, num_groups, count)


def voted_slowly(boxes, scores, groups, vote_iou):
    """Voting box by box, by its definition."""
    voted, new_scores = boxes.astype(float), scores.astype(float)
    for row in range(len(boxes)):
        voters = (groups == groups[row]) & (iou_matrix(boxes[[row]], boxes)[0] >= vote_iou)
        weights = np.maximum(scores[voters].astype(float) + 1.3, 0)
        if weights.sum() > 0:
            voted[row] = np.average(boxes[voters], axis=0, weights=weights)
        new_scores[row] += 0.6 * np.log((weights.sum() + 0.1) / 12.5)
    return voted, new_scores


def test_a_box_moves_towards_the_better_of_two():
    """Weights are 3 and 1; the third box is elsewhere, the fourth of another class."""
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 13, 9], [40, 40, 49, 49], [0, 0, 11, 9]])
    voted, scores = vote_boxes(boxes, np.float32([1.7, -0.3, 0, 5]), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(
        scores, [1.7, -0.3, 0, 5] + 0.6 * np.log(np.array([4.1, 4.1, 1.4, 6.4]) / 12.5), rtol=1e-6
    )
    np.testing.assert_allclose(voted, [[0, 0, 10, 9], [0, 0, 10, 9], [40, 40, 49, 49], [0, 0, 11, 9]], rtol=1e-6)


def test_an_overlap_of_exactly_the_iou_votes():
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 4]])
    assert vote_boxes(boxes, np.zeros(2), np.zeros(2, int), 0.5)[0][0].tolist() == [0, 0, 9, 7 - 0.5]
    assert vote_boxes(boxes, np.zeros(2), np.zeros(2, int), 0.51)[0].tolist() == boxes.tolist()


def test_boxes_without_weight_stay_and_move_none():
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [30, 30, 39, 39], [30, 30, 39, 38]])
    voted, _ = vote_boxes(boxes, np.float32([-1.4, -2, -1.4, 0]), np.zeros(4, int))
    assert voted.tolist() == [*boxes[:2].tolist(), boxes[3].tolist(), boxes[3].tolist()]


@cases
@settings(max_examples=60, deadline=None)
def test_all_boxes_are_as_by_the_definition(count, num_groups, vote_iou, seed):
    boxes, scores, groups = random_boxes(count, num_groups, seed)
    voted = vote_boxes(boxes, scores, groups, vote_iou)
    for ours, expected in zip(voted, voted_slowly(boxes, scores, groups, vote_iou), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
        assert ours.dtype == np.float32


@cases
@settings(max_examples=60, deadline=None)
def test_a_box_stays_within_its_group_and_the_order_does_not_matter(count, num_groups, vote_iou, seed):
    boxes, scores, groups = random_boxes(count, num_groups, seed)
    voted, _ = vote_boxes(boxes, scores, groups, vote_iou)
    for group in np.unique(groups):
        of_group = groups == group
        assert (voted[of_group] >= boxes[of_group].min(axis=0)).all()
        assert (voted[of_group] <= boxes[of_group].max(axis=0)).all()
        alone, _ = vote_boxes(boxes[of_group], scores[of_group], groups[of_group], vote_iou)
        np.testing.assert_array_equal(alone, voted[of_group])
    order = np.random.default_rng(seed).permutation(count)
    np.testing.assert_allclose(
        vote_boxes(boxes[order], scores[order], groups[order], vote_iou)[0], voted[order], rtol=1e-6
    )


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1, 1e4, width=32))
def test_one_box_becomes_itself(place, score):
    box = np.float32([[place, place, place + 7.3, place + 3.1]])
    assert vote_boxes(box, np.float32([score]), np.zeros(1, int))[0].tolist() == box.tolist()


@pytest.mark.parametrize("vote_iou", [0, -0.5, 1.5, np.nan])
def test_what_is_no_iou_is_refused(vote_iou):
    with pytest.raises(InputError, match="IoU of box voting must be above 0 and at most 1"):
        vote_boxes(np.zeros((1, 4)), np.zeros(1), np.zeros(1, int), vote_iou)


@pytest.mark.parametrize("shapes", [((2, 4), 3, 3), ((3, 4), 3, 2), ((3, 3), 3, 3)])
def test_arrays_that_do_not_fit_are_refused(shapes):
    boxes, scores, groups = (np.zeros(shape, int) for shape in shapes)
    with pytest.raises(InputError, match="box voting: boxes have shape"):
        vote_boxes(boxes, scores, groups)


def detections_of_two():
    """Boxes of two images and classes, interleaved; two of them overlap."""
    boxes = [[0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 13, 9], [0, 0, 9, 9]]
    score = [1.7, 0.1, -0.3, 0.2]
    return Detections(("a", "b"), ("cat", "dog"), [0, 1, 0, 0], [0, 0, 0, 1], boxes, score, settings={"image_set": "x"})


def test_detections_vote_within_image_and_class():
    voted = detections_of_two().after_voting()
    np.testing.assert_allclose(voted.box, [[0, 0, 10, 9], [0, 0, 9, 9], [0, 0, 10, 9], [0, 0, 9, 9]], rtol=1e-6)
    assert np.argsort(voted.score).tolist() == [1, 3, 2, 0]  # those with a neighbour gain
    assert voted.settings == {
        "image_set": "x",
        "voting": voting_settings(0.5),
    }
    assert len(replace(voted, image_ids=("a", "b")).after_nms(0.3)) == 3


def test_detections_that_voted_or_were_suppressed_are_not_voted_again():
    detections = detections_of_two()
    voted = detections.after_voting()
    assert voted.after_voting() is voted
    assert voted.after_nms(0.3).after_voting().settings["nms"] == 0.3
    with pytest.raises(InputError, match=r"the boxes were voted with .*0\.5.* take detections before box voting"):
        voted.after_voting(0.7)
    with pytest.raises(InputError, match=r"suppressed above IoU 0\.3, so those that would vote are gone"):
        detections.after_nms(0.3).after_voting()


@given(st.integers(0, 60), st.integers(1, 3), st.sampled_from([-2.0, -1.0, 0.0]), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_an_image_is_voted_as_an_image_set_is(count, num_classes, thresh, seed):
    boxes = random_boxes(count, 1, seed)[0]
    scores = np.random.default_rng(seed).normal(-1, 0.7, (count, num_classes)).astype(np.float32)
    cls, row = np.divmod(np.arange(scores.size), max(count, 1))
    everything = Detections(
        ("a",), ("cat", "cow", "dog")[:num_classes], np.zeros(scores.size), cls, boxes[row], scores[row, cls]
    )
    expected = everything.after_voting().after_nms(0.3).of_image(0).above(thresh)
    found = best_detections(boxes, scores, thresh, 0.3, vote=True)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.cls, expected.cls)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-6)
