"""Crops of regions on a sheet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.errors import InputError
from rcnn_svm.mining.kinds_of_negatives import NegativeKind, NegativeKinds
from rcnn_svm.reports.pictures import crop_with_context
from rcnn_svm.reports.sheets import kinds_in_lines, region_crops
from tests.reports.html.made import images_of, named
from tests.toys import few_objects

KEYS = np.array([[2, 1], [0, 9], [2, 1], [2, 4]])


@pytest.fixture
def some(tmp_path):
    """Images and the cache of their regions."""
    cache = named(few_objects(0, 3), "train")
    return images_of(cache, tmp_path), cache


def test_crops_come_in_the_order_of_the_keys_on_white_squares(some):
    images, cache = some
    for (image, row), square in zip(KEYS, region_crops(*some, KEYS), strict=True):
        crop = crop_with_context(images.load_image(image), cache.regions(image).boxes[row])
        assert square.size == (max(crop.size),) * 2
        left, top = ((side - part) // 2 for side, part in zip(square.size, crop.size, strict=True))
        inside = square.crop((left, top, left + crop.width, top + crop.height))
        np.testing.assert_array_equal(inside, crop)
        around = np.ones(square.size, bool)
        around[top : top + crop.height, left : left + crop.width] = False
        assert (np.asarray(square)[around] == 255).all()


def test_images_that_are_missing_or_of_another_size_are_refused(some):
    images, cache = some
    with pytest.raises(InputError, match=r"image .* is not in photos"):
        region_crops(images.subset(images.image_ids[:2], "photos"), cache, KEYS)
    Image.new("RGB", (20, 20)).save(images.image_path(2))
    with pytest.raises(InputError, match="its annotation says"):
        region_crops(images, cache, KEYS)


def test_kinds_fit_below_a_crop():
    kinds = [NegativeKind.LOCALISATION, NegativeKind.LOOK_ALIKE, NegativeKind.BACKGROUND]
    classes = ("a: b", "a class with a rather long name")
    shown = NegativeKinds(classes, np.int8(kinds), np.int32([0, 1, -1]), np.float32([0.2, 0.9, 0]))
    first, second, third = kinds_in_lines(shown)
    assert (first, third) == ("poor localisation\na: b, IoU 0.20", "background")
    assert second.startswith("look-alike\na class") and second.endswith(", IoU 0.90")
    assert max(map(len, second.split("\n"))) <= 24
