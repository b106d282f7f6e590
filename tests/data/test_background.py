"""Images without objects as a set, alone and beside another."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data.background import background_images, joined_images
from rcnn_svm.errors import InputError


def save(path, seed):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (20 + seed, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_every_image_of_a_folder_is_there_and_shows_nothing(tmp_path):
    pixels = [save(tmp_path / name, seed) for seed, name in enumerate(("a.png", "b.png", "more/a.png"))]
    images = background_images(tmp_path, ("cat", "dog"), "street")
    assert (images.name, images.classes, images.image_ids) == ("street", ("cat", "dog"), ("a", "b", "more/a"))
    for index, expected in enumerate(pixels):
        np.testing.assert_array_equal(images.load_image(index), expected)
        truth = images.annotation(index)
        assert truth.image_size == expected.shape[:2] and truth.boxes.shape == (0, 4) and not len(truth.classes)
    with pytest.raises(InputError, match="holds no image"):
        background_images(save_nothing(tmp_path), ("cat",), "street")


def save_nothing(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_joined_sets_keep_their_images_apart(tmp_path):
    for seed, name in enumerate(("first/a.png", "second/a.png", "third/a.png")):
        save(tmp_path / name, seed)
    first, *others = (background_images(tmp_path / name, ("cat",), name) for name in ("first", "second", "third"))
    images = joined_images(first, others)
    assert images.name == "first" and images.image_ids == ("a", "second/a", "third/a")
    assert [images.load_image(index).shape[0] for index in range(3)] == [20, 21, 22]
    assert [images.annotation(index).image_size for index in range(3)] == [(20, 30), (21, 30), (22, 30)]
    assert joined_images(first, []).image_ids == first.image_ids
