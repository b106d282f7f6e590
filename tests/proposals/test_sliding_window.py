from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_svm.boxes import iou_matrix
from rcnn_svm.errors import InputError
from rcnn_svm.proposals.sliding_window import SlidingWindow


def test_windows_by_hand():
    # Shorter side 8: one square of 4 pixels, steps of 2 or less; the last window ends at the border.
    boxes = SlidingWindow(scales=[0.5], aspect_ratios=[1], stride=0.5)(np.zeros((8, 9, 3), np.uint8))
    expected = [[x, y, x + 3, y + 3] for x in (0, 2, 3, 5) for y in (0, 2, 4)]
    assert sorted(boxes.tolist()) == sorted(expected)


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=40, deadline=None)
def test_any_size_is_covered_from_border_to_border(height, width):
    boxes = SlidingWindow(max_boxes=None)(np.zeros((height, width, 3), np.uint8))
    assert boxes.dtype == np.float32 and (boxes == np.floor(boxes)).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    assert boxes.min(axis=0)[:2].tolist() == [0, 0]
    assert boxes.max(axis=0)[2:].tolist() == [width - 1, height - 1]
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_every_object_of_a_searched_shape_is_met():
    boxes = SlidingWindow(scales=[0.5], aspect_ratios=[1], stride=0.25)(np.zeros((60, 80, 3), np.uint8))
    corners = np.stack(np.meshgrid(np.arange(0, 51), np.arange(0, 31)), -1).reshape(-1, 2)
    objects = np.hstack([corners, corners + 29])
    # At worst an eighth of the side off in both directions: (7/8)^2 / (2 - (7/8)^2) = 0.62.
    assert iou_matrix(boxes, objects).max(axis=0).min() > 0.6


def test_same_windows_for_every_image_and_a_limit_keeps_the_first():
    everything = SlidingWindow()(np.zeros((50, 70, 3), np.uint8))
    np.testing.assert_array_equal(SlidingWindow()(np.ones((50, 70, 3), np.uint8)), everything)
    np.testing.assert_array_equal(SlidingWindow(max_boxes=9)(np.zeros((50, 70, 3), np.uint8)), everything[:9])


@pytest.mark.parametrize(
    "wrong",
    [
        *({"scales": []}, {"scales": [0]}, {"scales": None}, {"scales": ["cone"]}, {"aspect_ratios": [-1]}),
        *({"stride": 0}, {"stride": np.nan}, {"stride": [0.5]}),
    ],
)
def test_numbers_that_make_no_window_are_refused(wrong):
    with pytest.raises(InputError, match="above 0"):
        SlidingWindow(**wrong)


@pytest.mark.parametrize("shape", [(3, 20_000, 3), (20_000, 3, 3)])
def test_a_strip_has_no_more_windows_than_an_image_of_20_to_1(shape):
    """There were 719,980, ranked in over two minutes."""
    boxes = SlidingWindow()(np.zeros(shape, np.uint8))
    assert 100 < len(boxes) < 60_000
    assert boxes[:, 2:].max(axis=0).tolist() == [shape[1] - 1, shape[0] - 1]


def test_other_arrays_are_refused():
    with pytest.raises(InputError, match=r"shape \(4, 5\) and type float64, expected an array, \(H, W, 3\) uint8 RGB"):
        SlidingWindow()(np.zeros((4, 5)))
