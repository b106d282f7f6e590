"""The crops of mini-batches, prepared while the network works on those before."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from joblib import cpu_count

from rcnn_svm.features.prefetch import prefetch
from rcnn_svm.features.warp import plan_crops, sample_crops
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.network import FineTuneNetwork
from rcnn_svm.finetune.windows import Minibatch, MinibatchSampler

BATCHES_AHEAD = 2


class CropBatch(NamedTuple):
    """A mini-batch as the network takes it.

    Attributes:
        crops: (B, 3, S, S) float32, on the device.
        labels: (B,) int64, on the device; 0 for background, c + 1 for class c.
    """

    crops: torch.Tensor
    labels: torch.Tensor


def load_crops(
    batch: Minibatch, images: ImageCache, network: FineTuneNetwork, threads: ThreadPoolExecutor
) -> np.ndarray:
    """Return the warped crops of a mini-batch, mirrored where it says so.

    Nearly every window is of another image, so each of the threads decodes an image and warps its windows, on the
    CPU: on a GPU the gathers of `sample_crops_torch` would be launched anew for every crop.

    Returns:
        (B, 3, S, S) float32, (pixel - mean) / std; 0 beyond the image, which is the mean colour.

    Raises:
        InputError: an image cannot be read.
    """
    size = network.crop_size
    crops = np.empty((len(batch.images), 3, size, size), np.float32)

    def fill(index: int) -> None:
        image = images.get(index)
        rows = np.flatnonzero(batch.images == index)
        plan = plan_crops(batch.boxes[rows], image.shape[:2], crop_size=size, padding=network.padding)
        for place, row in enumerate(rows):
            part = plan.part(slice(place, place + 1))
            sample_crops(image, part, network.mean, network.std, crops[row : row + 1])
            if batch.mirrored[row]:
                crops[row] = crops[row, :, :, ::-1].copy()

    list(threads.map(fill, np.unique(batch.images).tolist()))
    return crops


def crop_batches(
    sampler: MinibatchSampler, images: ImageCache, network: FineTuneNetwork, device: torch.device, steps: range
) -> Generator[CropBatch, None, None]:
    """Yield the mini-batches of some steps on the device, in order, while those that follow are prepared.

    Args:
        sampler: draws the windows.
        images: the decoded images.
        network: gives size, context, mean and standard deviation of the crops.
        device: device of the crops and labels.
        steps: numbers of the steps.

    Raises:
        InputError: an image cannot be read.
    """

    def prepare() -> Iterator[CropBatch]:
        with ThreadPoolExecutor(cpu_count(), thread_name_prefix="crops") as threads:
            for step in steps:
                batch = sampler.draw(step)
                crops = torch.from_numpy(load_crops(batch, images, network, threads))
                yield CropBatch(crops.to(device), torch.from_numpy(batch.labels).to(device))

    with closing(prefetch(prepare(), BATCHES_AHEAD)) as batches:
        yield from batches
