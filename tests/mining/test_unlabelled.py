"""What is taken of an image that nobody labelled, and what a video shows again."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.mining.unlabelled import Guards, RepeatMerger
from rcnn_svm.paper import NMS_THRESHOLD


@pytest.fixture
def image():
    """60 boxes of an image and their scores for 3 classes."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 80, (60, 2))
    return np.hstack([corner, corner + rng.integers(10, 40, (60, 2))]).astype(np.float32), rng.normal(-1, 1, (60, 3))


@pytest.mark.parametrize("thresh", [-1.0, 0.0, 5.0])
@pytest.mark.parametrize("max_score", [None, 0.5])
@pytest.mark.parametrize("per_image", [None, 4])
def test_what_is_taken_keeps_to_the_guards(image, thresh, max_score, per_image):
    boxes, scores = image
    rows, cls = Guards(thresh=thresh, max_score=max_score, per_image=per_image).select(boxes, scores)
    taken = scores[rows, cls]
    assert (taken > thresh).all()
    assert (np.diff(taken) <= 0).all()
    assert max_score is None or (taken <= max_score).all()
    assert per_image is None or len(rows) <= per_image
    for index in range(3):
        of_class = boxes[rows[cls == index]]
        overlap = iou_matrix(of_class, of_class)
        assert (overlap[~np.eye(len(of_class), dtype=bool)] <= NMS_THRESHOLD).all()
    if per_image is None:
        # Nothing is left out but what overlaps a better one that was taken.
        fires = (scores > thresh) & (True if max_score is None else scores <= max_score)
        for row, index in np.argwhere(fires):
            better = rows[(cls == index) & (taken >= scores[row, index])]
            assert (iou_matrix(boxes[row], boxes[better]) > NMS_THRESHOLD).any()


def test_an_object_above_the_highest_score_suppresses_nothing():
    boxes, scores = np.float32([[0, 0, 9, 9], [0, 0, 9, 8]]), np.array([[2.0], [0.5]])
    rows, _ = Guards(max_score=1).select(boxes, scores)
    assert rows.tolist() == [1]


def direction(angle):
    """A feature at an angle, in degrees, of any length."""
    return np.float32([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * (1 + angle % 7)


def things_of(frames, **options):
    """Merge frames of (region, class, score, angle) and return (region, regions) of all things, sorted."""
    merger, things = RepeatMerger(**options), []
    for frame in frames:
        numbers, cls, scores, angles = zip(*frame, strict=True) if frame else [[]] * 4
        features = np.array([direction(angle) for angle in angles], np.float32).reshape(-1, 2)
        things += merger.add(np.array(numbers, int), np.array(cls, int), np.array(scores, float), features)
    return sorted((thing.region, thing.regions) for thing in things + merger.finish())


def test_a_thing_in_several_frames_is_its_best_region():
    frames = [[(0, 0, 0.1, 10), (1, 0, 0.3, 90)], [(2, 0, 0.5, 12)], [(3, 0, 0.2, 95), (4, 0, 0.4, 20)]]
    assert things_of(frames) == [(1, 2), (2, 3)]


def test_another_class_shows_another_thing():
    assert things_of([[(0, 0, 0.1, 10), (1, 1, 0.1, 10)], [(2, 1, 0.2, 10)]]) == [(0, 1), (2, 2)]


def test_features_decide_from_which_cosine_on():
    at = np.degrees(np.arccos(0.75))
    assert things_of([[(0, 0, 0.1, 0)], [(1, 0, 0.2, at - 0.1)]]) == [(1, 2)]
    assert things_of([[(0, 0, 0.1, 0)], [(1, 0, 0.2, at + 0.1)]]) == [(0, 1), (1, 1)]


def test_a_thing_that_changes_slowly_is_one():
    assert things_of([[(n, 0, -n, 20 * n)] for n in range(9)]) == [(0, 9)]


@pytest.mark.parametrize(("gap", "expected"), [(4, [(0, 2)]), (5, [(0, 1), (1, 1)])])
def test_a_thing_is_forgotten_after_some_frames(gap, expected):
    assert things_of([[(0, 0, 0.5, 0)], *[[]] * gap, [(1, 0, 0.1, 0)]], memory=5) == expected


def test_memory_holds_what_the_last_frames_showed():
    merger = RepeatMerger(memory=3)
    for frame in range(50):
        merger.add(np.array([frame]), np.array([0]), np.array([0.0]), np.eye(50, dtype=np.float32)[[frame]])
        assert len(merger._seen) <= 3
