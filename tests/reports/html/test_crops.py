"""Which boxes have a crop, and what becomes of images that cannot be used."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.reports.html.crops import CONTEXT, SIDE, crop_texts
from rcnn_svm.reports.pictures import crop_with_context
from tests.reports.html.made import images_of, named
from tests.toys import few_objects

LIMIT = 10**7


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.fixture
def some(tmp_path):
    """Two boxes in each of four images, as `crop_texts` takes them."""
    cache = named(few_objects(0, 4), "train")
    image, row = np.tile(np.arange(4), 2), np.repeat([1, 9], 4)
    boxes = np.stack([cache.regions(i).boxes[r] for i, r in zip(image, row, strict=True)])
    return image, boxes, cache.image_ids, images_of(cache, tmp_path)


def test_every_box_has_a_crop(some):
    texts, problems = crop_texts(*some, LIMIT)
    assert problems == []
    for text, number, box in zip(texts, *some[:2], strict=True):
        expected = crop_with_context(some[3].load_image(number), box, context=CONTEXT, side=SIDE)
        found = np.asarray(opened(text)).astype(int)
        assert found.shape[1::-1] == expected.size and np.abs(found - np.asarray(expected)).mean() < 12


def test_images_that_cannot_be_used_have_none_and_say_why(some):
    *boxes, image_ids, images = some
    images.image_path(0).write_bytes(b"no image")
    images.image_path(1).unlink()
    with_one_less = images.subset([image_id for image_id in image_ids if image_id != image_ids[2]])
    texts, problems = crop_texts(*boxes, image_ids, with_one_less, LIMIT)
    assert [text is not None for text in texts] == [False, False, False, True] * 2
    assert len(problems) == 3 and "is not in" in problems[2]


def test_boxes_of_another_image_are_no_crops(some):
    image, boxes, *others = some
    texts, problems = crop_texts(image, boxes + np.float32([0, 0, 300, 0]), *others, LIMIT)
    assert set(texts) == {None} and "is smaller than the boxes in it" in problems[0]


def test_the_least_wanted_go_where_all_are_too_many(some):
    sizes = [len(text) for text in crop_texts(*some, LIMIT)[0]]
    texts, problems = crop_texts(*some, sum(sizes[:5]))
    assert [text is not None for text in texts] == [True] * 5 + [False] * 3 and problems == []
