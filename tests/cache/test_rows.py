"""Stored features in single precision."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cache.rows import as_float32

EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(512, 128)


def test_four_halves_by_hand():
    halves = np.array([[1, -0.5], [65504, 2**-24]], np.float16)  # the largest and the smallest above 0
    assert as_float32(halves).tolist() == [[1, -0.5], [65504, 2**-24]]


@pytest.mark.parametrize("writeable", [True, False])
def test_every_half_is_widened_as_numpy_does(writeable):
    stored = EVERY_HALF.copy()
    stored.flags.writeable = writeable  # mapped files are read-only
    widened = as_float32(stored)
    assert widened.dtype == np.float32
    np.testing.assert_array_equal(widened, EVERY_HALF.astype(np.float32))
    assert (np.signbit(widened) == np.signbit(EVERY_HALF)).all()


def test_widening_fills_the_first_rows_of_a_buffer():
    buffer = np.full((600, 128), 7, np.float32)
    rows = EVERY_HALF[::2]  # not contiguous
    widened = as_float32(rows, out=buffer)
    assert np.shares_memory(widened, buffer)
    np.testing.assert_array_equal(widened, rows.astype(np.float32))
    assert (buffer[len(rows) :] == 7).all()
    assert as_float32(rows[:0], out=buffer).shape == (0, 128)


def test_single_precision_is_not_copied():
    features = np.zeros((3, 4), np.float32)
    assert as_float32(features, out=np.ones((5, 4), np.float32)) is features
