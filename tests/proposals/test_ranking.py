from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import box_areas, iou_matrix
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.ranking import check_limits, limit_boxes, rank_boxes

corner = st.integers(0, 12)
box_lists = st.lists(
    st.tuples(corner, corner, corner, corner).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])), max_size=40
)


def test_repeats_by_hand():
    box, near, small = [0, 0, 99, 99], [0, 0, 99, 98], [200, 200, 205, 205]  # IoU 0.99 of the first two
    ranked = rank_boxes(np.array([box, small, near, box], float)).tolist()
    assert len(ranked) == 3 and ranked[2] in (box, near) and small in ranked
    assert limit_boxes(np.array([box, near, small], np.float32), None, 0.9).tolist() == [box, small]


@given(box_lists, st.randoms())
@settings(max_examples=60, deadline=None)
def test_order_depends_on_the_set_alone_and_loses_nothing(boxes, random):
    ranked = rank_boxes(np.array(boxes, float).reshape(-1, 4))
    shuffled = boxes + boxes[:3]
    random.shuffle(shuffled)
    assert ranked.tolist() == rank_boxes(np.array(shuffled, np.float32).reshape(-1, 4)).tolist()
    assert sorted(map(tuple, ranked.tolist())) == sorted({tuple(map(float, box)) for box in boxes})
    assert ranked.dtype == np.float32


@given(box_lists, st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_near_duplicates_come_after_everything_else(boxes, max_boxes):
    ranked = rank_boxes(np.array(boxes, float).reshape(-1, 4))
    first = rank_boxes(np.array(boxes, float).reshape(-1, 4), max_boxes)
    assert first.tolist() == ranked[:max_boxes].tolist()
    iou = iou_matrix(ranked, ranked)
    repeats = [bool((iou[i, :i] > 0.8).any()) for i in range(len(ranked))]
    assert repeats == sorted(repeats)


def test_large_boxes_tend_to_come_first_but_small_ones_mix_in():
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 300, (500, 2))
    boxes = np.hstack([corners, corners + rng.integers(5, 200, (500, 2))])
    areas = box_areas(rank_boxes(boxes))
    assert areas[:100].mean() > 1.5 * areas.mean()
    assert areas[:100].min() < np.median(areas)


def test_no_boxes():
    assert rank_boxes(np.empty((0, 4))).shape == (0, 4)


@given(box_lists, st.none() | st.integers(1, 50), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(max_examples=60, deadline=None)
def test_merging_drops_what_repeats_an_earlier_box_and_nothing_else(boxes, max_boxes, merge_iou):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    expected = []
    for box in boxes[:max_boxes]:
        if not expected or iou_matrix(box, expected).max() <= merge_iou:
            expected.append(box)
    limited = limit_boxes(boxes, max_boxes, merge_iou)
    np.testing.assert_array_equal(limited, np.reshape(expected, (-1, 4)))
    assert limited.dtype == boxes.dtype


def test_without_merging_the_first_boxes_stay():
    boxes = np.tile(np.arange(5.0)[:, None], 4)
    np.testing.assert_array_equal(limit_boxes(boxes, 3), boxes[:3])
    np.testing.assert_array_equal(limit_boxes(boxes), boxes)


def test_limits_without_meaning_are_refused():
    check_limits(None, None)
    check_limits(1, 0.5)
    with pytest.raises(InputError, match="at least 1"):
        check_limits(0, None)
    for merge_iou in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="IoU between 0 and 1"):
            check_limits(None, merge_iou)
