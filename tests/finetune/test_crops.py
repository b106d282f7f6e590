"""The crops of a batch: those of the warp, mirrored, in order; and the images kept for them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features.warp import warp_regions
from rcnn_svm.finetune.crops import crop_batches, load_crops
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.network import FineTuneNetwork
from rcnn_svm.finetune.windows import Minibatch, MinibatchSampler, Windows


@pytest.fixture
def sampler(database, proposals):
    return MinibatchSampler(Windows(database, proposals), batch_size=24, foreground=6)


def expected_crops(batch, database, network):
    crops = []
    for image, box, mirrored in zip(batch.images, batch.boxes, batch.mirrored, strict=True):
        (crop,) = warp_regions(
            database.load_image(image),
            box[None],
            crop_size=network.crop_size,
            padding=network.padding,
            mean=network.mean,
            std=network.std,
        )
        crops.append(crop[:, :, ::-1] if mirrored else crop)
    return np.stack(crops)


def test_two_by_two_pixels_and_their_mirror_by_hand():
    image = np.array([[[1], [2]], [[3], [4]]], np.uint8).repeat(3, axis=2)
    network = FineTuneNetwork(nn.Identity(), ("cat",), "", 2, 0, (1.0,) * 3, (2.0,) * 3, {})
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1))
    batch = Minibatch(np.array([0, 0]), boxes, np.array([1, 1]), np.array([False, True]))
    with ThreadPoolExecutor(1) as threads:
        crops = load_crops(batch, ImageCache(lambda index: image, 100), network, threads)
    expected = [[[0, 0.5], [1, 1.5]], [[0.5, 0], [1.5, 1]]]  # less 1, over 2
    np.testing.assert_allclose(crops, np.array(expected)[:, None].repeat(3, axis=1), atol=1e-6)


def test_crops_are_those_of_the_warp(database, sampler, small_network):
    network, batch = small_network(), sampler.draw(0)
    assert 0 < batch.mirrored.sum() < 24
    with ThreadPoolExecutor(3) as threads:
        crops = load_crops(batch, ImageCache(database.load_image, 10**6), network, threads)
    np.testing.assert_array_equal(crops, expected_crops(batch, database, network))


def test_batches_are_those_of_their_steps(database, proposals, sampler, small_network):
    network, images = small_network(), ImageCache(database.load_image, 10**6)
    found = list(crop_batches(sampler, images, network, torch.device("cpu"), range(3, 8)))
    again = MinibatchSampler(Windows(database, proposals), batch_size=24, foreground=6)
    for step, (crops, labels) in enumerate(found, 3):
        batch = again.draw(step)
        np.testing.assert_array_equal(crops.numpy(), expected_crops(batch, database, network))
        np.testing.assert_array_equal(labels.numpy(), batch.labels)
    assert len(found) == 5


def test_an_image_that_cannot_be_read_stops_the_batches(database, sampler, small_network):
    for i in range(len(database)):
        database.image_path(i).unlink()
    with pytest.raises(InputError, match=r"im\d\.png does not exist"):
        list(
            crop_batches(
                sampler, ImageCache(database.load_image, 10**6), small_network(), torch.device("cpu"), range(2)
            )
        )


def test_memory_for_images_is_bounded():
    loaded = []

    def load(index):
        loaded.append(index)
        return np.full((10, 10, 3), index, np.uint8)

    images = ImageCache(load, 3 * 300)
    for index in (0, 1, 2, 0, 3, 0, 1):
        assert (images.get(index) == index).all()
        assert images.nbytes <= 900
    assert loaded == [0, 1, 2, 3, 1]  # 3 pushed out 1, not 0, which was asked for since
    none = ImageCache(load, 299)
    assert (none.get(7) == 7).all() and none.nbytes == 0


def test_threads_share_the_images():
    images = ImageCache(lambda index: np.full((10, 10, 3), index, np.uint8), 5 * 300)
    wanted = np.random.default_rng(0).integers(0, 20, 2000).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda index: int(images.get(index)[0, 0, 0]), wanted))
    assert found == wanted
    assert images.nbytes == 1500
