"""A block's rows and images."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.mining.engine.block import ScanBlock


def block(epoch: int, first_image: int) -> ScanBlock:
    """Return three images of 2, 0 and 3 regions."""
    return ScanBlock(
        epoch=epoch,
        images=range(first_image, first_image + 3),
        first_region=40,
        image_start=np.array([0, 2, 2, 5]),
        overlap=np.zeros((5, 1), np.float32),
        features=np.zeros((5, 4), np.float32),
    )


def test_rows_are_counted_by_image():
    found = block(0, 7)
    assert (len(found), found.num_images) == (5, 3)
    assert found.per_image(np.array([True, True, False, True, True])).tolist() == [2, 0, 2]
    assert found.per_image(np.zeros(5, bool)).tolist() == [0, 0, 0]
    assert [list(range(5))[found.rows_from(image)] for image in range(4)] == [[0, 1, 2, 3, 4], [2, 3, 4], [2, 3, 4], []]


@pytest.mark.parametrize(("epoch", "first_image", "first"), [(0, 0, True), (1, 0, False), (0, 3, False)])
def test_only_the_first_image_of_the_first_pass_is_first(epoch, first_image, first):
    assert block(epoch, first_image).first == first


def test_rows_of_the_first_image_of_the_first_pass():
    assert block(0, 0).of_first_image.tolist() == [True, True, False, False, False]
    assert block(0, 3).of_first_image is False and block(1, 0).of_first_image is False
