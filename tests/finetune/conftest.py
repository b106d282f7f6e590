"""A small image set of coloured squares, with proposals around and beside them, and a small network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.finetune.network import FineTuneNetwork
from rcnn_svm.proposals.store import ProposalSet
from tests.small_networks import one_thread

CLASSES = ("red", "green")
HEIGHT, WIDTH = 48, 64


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture
def database(tmp_path):
    """Six images, the last of them without objects."""
    random = np.random.default_rng(0)
    annotations = {}
    for number in range(6):
        pixels = random.integers(90, 150, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        boxes = np.empty((0, 4), np.float32)
        if number < 5:
            x, y = random.integers(2, 20, size=2)
            boxes = np.array([[x, y, x + 11, y + 11], [x + 24, y + 8, x + 39, y + 23]], np.float32)
            for (x1, y1, x2, y2), channel in zip(boxes.astype(int), (0, 1), strict=True):
                pixels[y1 : y2 + 1, x1 : x2 + 1] = 20
                pixels[y1 : y2 + 1, x1 : x2 + 1, channel] = 230
        Image.fromarray(pixels).save(tmp_path / f"im{number}.png")
        none = np.zeros(len(boxes), bool)
        annotations[f"im{number}"] = Annotation(
            (HEIGHT, WIDTH), boxes, np.arange(len(boxes), dtype=np.int64), none, none
        )
    return ImageDatabase(
        "squares", CLASSES, list(annotations), lambda image_id: tmp_path / f"{image_id}.png", annotations.__getitem__
    )


@pytest.fixture
def proposals(database):
    """Twelve boxes an image, some of them near the objects."""
    random = np.random.default_rng(1)
    boxes = []
    for i in range(len(database)):
        objects = database.annotation(i).boxes
        near = np.clip(objects + random.integers(-2, 3, objects.shape), 0, 47)
        corners = random.integers(0, 30, (12 - len(near), 2))
        boxes.append(np.concatenate([near, np.hstack([corners, corners + random.integers(4, 17, corners.shape)])]))
    return ProposalSet(database.image_ids, boxes, {"method": "test"})


@pytest.fixture
def small_network():
    """A function that returns one and the same new network: convolution, batch normalisation, dropout."""

    def build() -> FineTuneNetwork:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = nn.Sequential(
                *(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()),
                *(nn.Dropout(0.3), nn.Linear(8 * 16, 3)),
            )
        settings = {"name": "small", "last_layer": "5"}
        return FineTuneNetwork(module, CLASSES, "5", 16, 2, (120.0,) * 3, (60.0,) * 3, settings)

    return build
