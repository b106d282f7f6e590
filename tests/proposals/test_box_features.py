"""What a ranker sees of a box, against sums over cells one by one."""

from unittest import mock

import numpy as np
import pytest

from rcnn_svm.proposals import box_features as module
from rcnn_svm.proposals.box_features import GEOMETRY, RING, box_features


def test_a_box_of_one_colour_on_another_by_hand():
    """The box is the left half of a map of two channels, red left and blue right."""
    red_and_blue = np.zeros((2, 2, 4), np.float32)
    red_and_blue[0, :, :2] = 3
    red_and_blue[1, :, 2:] = 5
    features = box_features([red_and_blue], np.array([[0, 0, 19, 19]]), (20, 40))
    assert features.shape == (1, 4 + GEOMETRY) and features.dtype == np.float32
    inside, difference, geometry = np.split(features[0], [2, 4])
    assert inside.tolist() == [1, 0]
    np.testing.assert_allclose(difference, np.array([3, -5]) / np.hypot(3, 5), rtol=1e-6)  # around it all is blue
    assert geometry[:6].tolist() == [0, 0, 0.5, 0, 0.5, 1]
    assert geometry[11:15].tolist() == [1, 0, 1, 1]  # it touches all borders but the right one


def share_of_cells(first: float, last: float, cells: int) -> np.ndarray:
    """Return how much of each of `cells` cells lies between two edges, shares of the whole length."""
    edges = np.arange(cells)
    return np.clip(np.minimum(edges + 1, last * cells) - np.maximum(edges, first * cells), 0, None)


def slow_features(values: np.ndarray, box: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    _, rows, columns = values.shape
    height, width = image_size
    x1, y1, x2, y2 = box[0] / width, box[1] / height, (box[2] + 1) / width, (box[3] + 1) / height

    def sums(x1: float, y1: float, x2: float, y2: float) -> tuple[np.ndarray, float]:
        weights = np.outer(share_of_cells(y1, y2, rows), share_of_cells(x1, x2, columns))
        return (values * weights).sum(axis=(1, 2)), weights.sum()

    more_x, more_y = RING / 2 * (x2 - x1), RING / 2 * (y2 - y1)
    inside, area = sums(x1, y1, x2, y2)
    whole, whole_area = sums(x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y)
    mean, around = inside / area, 0
    if whole_area - area > 1e-6:
        around = (whole - inside) / (whole_area - area)
    return np.concatenate([part / max(np.linalg.norm(part), 1e-6) for part in (mean, mean - around)])


@pytest.mark.parametrize("loop", ["_inside_and_around", "_inside_and_around_in_arrays"])
def test_means_and_differences_are_those_of_cells_weighted_by_area(loop):
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(3, 7, 9)).astype(np.float32), rng.normal(size=(5, 2, 3)).astype(np.float32)]
    height, width = 50, 81
    corners = np.sort(rng.integers(0, [width, height], size=(40, 2, 2)), axis=1)
    boxes = np.concatenate([corners.reshape(40, 4), [[0, 0, width - 1, height - 1], [80, 49, 80, 49]]])
    with mock.patch.object(module, "_inside_and_around", getattr(module, loop)), mock.patch.object(module, "_BOXES", 7):
        features = box_features(maps, boxes, (height, width))
    for box, found in zip(boxes, features, strict=True):
        expected = np.concatenate([slow_features(values, box, (height, width)) for values in maps])
        np.testing.assert_allclose(found[:-GEOMETRY], expected, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_few_boxes(count):
    boxes = np.zeros((count, 4), np.float32)
    assert box_features([np.ones((2, 3, 3), np.float32)], boxes, (9, 9)).shape == (count, 4 + GEOMETRY)
