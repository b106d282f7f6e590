"""Overlap and suppression against the original's outputs, torchvision, brute force and their own laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rcnn_svm.boxes import (
    apply_box_deltas,
    box_areas,
    box_deltas,
    class_overlaps,
    clip_boxes,
    iou_matrix,
    nms,
    shares_inside,
)
from rcnn_svm.errors import InputError


@st.composite
def box_arrays(draw, max_boxes=12, limit=60):
    """(N, 4) float32 boxes on quarter pixels, small enough that they often overlap or coincide."""
    count = draw(st.integers(0, max_boxes))
    corner = draw(hnp.arrays(np.int32, (count, 2), elements=st.integers(0, 4 * limit)))
    extent = draw(hnp.arrays(np.int32, (count, 2), elements=st.integers(0, 4 * limit // 2)))
    return np.hstack([corner, corner + extent]).astype(np.float32) / 4


def literal_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def literal_nms(boxes, scores, threshold):
    """Take the best remaining box, the highest row among equals; delete what it overlaps too much; repeat."""
    remaining = sorted(range(len(boxes)), key=lambda row: (-scores[row], -row))
    kept = []
    while remaining:
        best = remaining.pop(0)
        kept.append(best)
        remaining = [row for row in remaining if literal_iou(boxes[best], boxes[row]) <= threshold]
    return kept


def continuous(boxes):
    """Inclusive pixels to the continuous corners torchvision measures between."""
    return torch.tensor(np.add(boxes, [0, 0, 1, 1]))


def test_inclusive_pixels():
    np.testing.assert_array_equal(box_areas(np.array([[5, 5, 5, 5], [0, 0, 9, 4]])), [1, 50])
    assert iou_matrix([[0, 0, 9, 9]], [[9, 9, 9, 9]])[0, 0] == pytest.approx(1 / 100)
    assert iou_matrix([[0, 0, 9, 9]], [[10, 0, 19, 9]])[0, 0] == 0


def test_share_inside_by_hand():
    found = shares_inside([[0, 0, 9, 9], [2, 2, 3, 3]], [[0, 0, 9, 4], [20, 20, 29, 29], [3, 0, 3, 9]])
    np.testing.assert_allclose(found, [[0.5, 0, 0.1], [1, 0, 0.5]])
    assert shares_inside(np.empty((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_nms_refuses_a_threshold_that_is_no_overlap(threshold):
    with pytest.raises(InputError, match="expected an IoU between 0 and 1"):
        nms(np.zeros((1, 4)), np.zeros(1), threshold)


@pytest.mark.golden
def test_overlap_equals_original(golden_dir):
    given_boxes, expected = (np.load(golden_dir / "overlap" / f"{name}.npz") for name in ("inputs", "expected"))
    np.testing.assert_allclose(iou_matrix(given_boxes["a"], given_boxes["b"]), expected["iou"], rtol=1e-12, atol=0)


@pytest.mark.golden
def test_nms_equals_original(golden_dir):
    sets, expected = (np.load(golden_dir / "nms" / f"{name}.npz") for name in ("inputs", "expected"))
    starts = zip(sets["start"], sets["start"][1:], expected["start"], expected["start"][1:], strict=False)
    for number, (first, last, want_first, want_last) in enumerate(starts):
        boxes = sets["boxes"][first:last]
        keep = nms(boxes[:, :4], boxes[:, 4], sets["thresh"][number])
        np.testing.assert_array_equal(keep, expected["pick"][want_first:want_last], err_msg=f"set {number}")


@given(box_arrays(), box_arrays())
@settings(max_examples=100, deadline=None)
def test_iou_equals_torchvision_and_brute_force(a, b):
    found = iou_matrix(a, b)
    assert found.shape == (len(a), len(b))
    np.testing.assert_allclose(found, torchvision.ops.box_iou(continuous(a), continuous(b)).numpy(), atol=1e-12)
    np.testing.assert_allclose(found, [[literal_iou(p, q) for q in b] for p in a] or found, atol=1e-12)


@given(box_arrays())
@settings(max_examples=50, deadline=None)
def test_iou_is_symmetric_and_one_with_itself(boxes):
    iou = iou_matrix(boxes, boxes)
    np.testing.assert_array_equal(iou, iou.T)
    np.testing.assert_array_equal(np.diag(iou), np.ones(len(boxes)))
    assert ((iou >= 0) & (iou <= 1)).all()


@given(box_arrays(max_boxes=25), st.data())
@settings(max_examples=100, deadline=None)
def test_nms_equals_brute_force_with_ties(boxes, data):
    scores = data.draw(hnp.arrays(np.float32, len(boxes), elements=st.integers(-3, 3)))
    threshold = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    assert nms(boxes, scores, threshold).tolist() == literal_nms(boxes.tolist(), scores.tolist(), threshold)


@given(box_arrays(max_boxes=25), st.randoms(use_true_random=False), st.sampled_from([0.1, 0.35, 0.5, 0.7]))
@settings(max_examples=100, deadline=None)
def test_nms_equals_torchvision(boxes, random, threshold):
    scores = np.array(random.sample(range(100), len(boxes)), np.float32)
    want = torchvision.ops.nms(continuous(boxes), torch.tensor(scores, dtype=torch.float64), threshold)
    assert nms(boxes, scores, threshold).tolist() == want.tolist()


@given(box_arrays(max_boxes=25), st.data())
@settings(max_examples=50, deadline=None)
def test_nms_laws(boxes, data):
    scores = data.draw(hnp.arrays(np.float32, len(boxes), elements=st.integers(-9, 9)))
    keep = nms(boxes, scores, 0.3)
    assert nms(boxes, scores, 0.3, max_boxes=3).tolist() == keep[:3].tolist()
    assert (np.diff(scores[keep]) <= 0).all()
    kept_iou = iou_matrix(boxes[keep], boxes[keep])
    assert (kept_iou[~np.eye(len(keep), dtype=bool)] <= 0.3).all()
    dropped = np.setdiff1d(np.arange(len(boxes)), keep)
    assert all((iou_matrix(boxes[[row]], boxes[keep][scores[keep] >= scores[row]]) > 0.3).any() for row in dropped)
    # Doing it again drops nothing, and order is kept once ties stand the way the first pass broke them.
    again = nms(boxes[keep], np.arange(len(keep))[::-1], 0.3)
    assert again.tolist() == list(range(len(keep)))


def test_nms_keeps_an_overlap_of_exactly_the_threshold():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 4]])  # IoU 0.5
    assert nms(boxes, np.array([2.0, 1.0]), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([2.0, 1.0]), 0.499).tolist() == [0]


@pytest.mark.parametrize("boxes", [np.zeros((1, 4)), np.zeros((3, 4)), np.zeros((8, 1)), np.zeros(8)])
def test_nms_of_two_scores_and_other_boxes_is_refused(boxes):
    """Compiled code would read beyond the boxes: wrong rows, or the end of the process."""
    with pytest.raises(InputError, match=r"nms: boxes have shape .* and scores \(2,\), expected \(N, 4\) and \(N,\)"):
        nms(boxes, np.array([2.0, 1.0]), 0.3)


def test_nms_without_boxes_and_with_a_score_that_is_no_number():
    assert nms(np.empty((0, 4)), np.empty(0), 0.3).shape == (0,)
    with pytest.raises(InputError, match="1 of 2 scores are NaN"):
        nms(np.zeros((2, 4)), np.array([1.0, np.nan]), 0.3)


@given(box_arrays(), box_arrays(max_boxes=6), st.data())
@settings(max_examples=50, deadline=None)
def test_class_overlaps_equal_brute_force(boxes, objects, data):
    classes = data.draw(hnp.arrays(np.int64, len(objects), elements=st.integers(0, 2)))
    found = class_overlaps(boxes, objects, classes, 4)
    assert found.shape == (len(boxes), 4)
    assert found.dtype == np.float32
    for row, box in enumerate(boxes):
        for index in range(4):
            of_class = objects[classes == index]
            want = max((literal_iou(box.tolist(), other.tolist()) for other in of_class), default=0.0)
            assert found[row, index] == np.float32(want)


@given(box_arrays(), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_clip_keeps_boxes_inside(boxes, height, width):
    clipped = clip_boxes(boxes, (height, width))
    assert clipped.dtype == boxes.dtype
    assert (clipped >= 0).all()
    assert (clipped <= [width - 1, height - 1, width - 1, height - 1]).all()
    np.testing.assert_array_equal(clip_boxes(clipped, (height, width)), clipped)
    inside = (boxes <= [width - 1, height - 1, width - 1, height - 1]).all(axis=1)
    np.testing.assert_array_equal(clipped[inside], boxes[inside])


def test_deltas_by_hand():
    deltas = box_deltas([[10, 10, 30, 50]], [[20, 0, 60, 20]])
    np.testing.assert_allclose(deltas, [[20 / 20, -20 / 40, np.log(2), np.log(0.5)]], atol=1e-12)


@given(box_arrays(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_deltas_lead_back_to_the_object_wherever_both_lie(boxes, seed):
    boxes[:, 2:] += 1  # a width of 0 has no ratio
    objects = np.random.default_rng(seed).permutation(boxes)
    deltas = box_deltas(boxes, objects)
    np.testing.assert_allclose(apply_box_deltas(boxes, deltas), objects, atol=1e-4)
    np.testing.assert_allclose(box_deltas(2 * boxes + 7, 2 * objects + 7), deltas, atol=1e-9)


def test_a_correction_beyond_all_bounds_is_clipped_to_the_image():
    huge = apply_box_deltas([[2, 2, 8, 8]], [[0, 0, 800, 800]])
    assert clip_boxes(huge, (10, 20)).tolist() == [[0, 0, 19, 9]]
