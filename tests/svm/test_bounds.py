"""Compiled loops look at no bounds: what does not fit is refused at their doors, where it was read beyond."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache.rows import as_float32
from rcnn_svm.errors import InputError
from rcnn_svm.features.warp import plan_crops, sample_crops
from rcnn_svm.svm.dual_coordinate_descent import DualCoordinateDescent
from rcnn_svm.svm.kernels import score_regions
from rcnn_svm.svm.problem import SvmProblem
from tests.toys import toy_cache

ROWS = np.ones((3, 4), np.float32)


def test_scores_of_arrays_that_fit():
    assert score_regions(ROWS, ROWS[:2], np.float32([0, 1])).tolist() == [[4, 5]] * 3


@pytest.mark.parametrize(("weights", "biases"), [((2, 5), 2), ((2, 4), 1), ((2, 4), 3)])
def test_scores_of_arrays_that_do_not_fit_are_refused(weights, biases):
    with pytest.raises(InputError, match="do not fit together"):
        score_regions(ROWS, np.ones(weights, np.float32), np.zeros(biases, np.float32))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"y": np.ones(1)}, "does not fit"),
        ({"upper": np.ones(3)}, "does not fit"),
        ({"norms": np.ones(2)}, "does not fit"),
        ({"slots": np.array([0, 3])}, "slots beyond its 3 rows"),
        ({"slots": np.array([-1, 0])}, "slots beyond its 3 rows"),
    ],
)
def test_problems_that_do_not_fit_are_refused(change, told):
    good = {"rows": ROWS, "slots": np.array([0, 2]), "y": np.ones(2), "upper": np.ones(2), "norms": np.full(3, 4.0)}
    SvmProblem(**good, bias_mult=1.0)
    with pytest.raises(InputError, match=told):
        SvmProblem(**{**good, **change}, bias_mult=1.0)


@pytest.mark.parametrize("start", [{"alpha": np.zeros(1)}, {"scores": np.zeros(3, np.float32)}])
def test_a_start_that_does_not_fit_is_refused(start):
    problem = SvmProblem(ROWS, np.array([0, 2]), np.array([1.0, -1]), np.ones(2), 1.0, np.full(3, 4.0))
    with pytest.raises(InputError, match=r"expected \(2,\)"):
        DualCoordinateDescent().solve(problem, **start)


@pytest.mark.parametrize("out", [np.empty((1, 4), np.float32), np.empty((2, 3), np.float32), np.empty((2, 4))])
def test_memory_that_halves_do_not_fit_into_is_refused(out):
    with pytest.raises(InputError, match="expected contiguous float32"):
        as_float32(np.ones((2, 4), np.float16), out)


def test_norms_of_rows_that_a_block_does_not_have_are_an_error():
    block = toy_cache([3, 2]).block(0)
    assert block.norms(np.array([2])).shape == (1,)
    with pytest.raises(IndexError):
        block.norms(np.array([10**7]))


@pytest.mark.parametrize(
    ("image", "out", "told"),
    [((5, 9, 3), (1, 3, 8, 8), "is not the one"), ((20, 30, 3), (1, 3, 8, 4), "expected float32")],
)
def test_crops_of_another_image_than_planned_are_refused(image, out, told):
    plan = plan_crops(np.array([[2, 3, 25, 18]]), (20, 30), crop_size=8, padding=0)
    with pytest.raises(InputError, match=told):
        sample_crops(np.zeros(image, np.uint8), plan, (0, 0, 0), (1, 1, 1), np.empty(out, np.float32))
