"""A small image set on disk and a picture worth segmenting."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.data import Annotation, ImageDatabase


def make_scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return overlapping rectangles of noisy colour, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 120.0)
    for _ in range(25):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 12 + 1, width // 3 + 2), rng.integers(height // 12 + 1, height // 3 + 2)
        image[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def scene():
    """The function that draws a picture: scene(height, width, seed=0)."""
    return make_scene


@pytest.fixture
def make_database(tmp_path):
    """make_database(sizes, objects=None) writes an image per (height, width) and returns the database.

    `objects` lists per image (class index, x1, y1, x2, y2, difficult).
    """

    def make(sizes, objects=None, name="toys"):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        ids = [f"{i:03d}" for i in range(len(sizes))]
        for i, (image_id, (height, width)) in enumerate(zip(ids, sizes, strict=True)):
            Image.fromarray(make_scene(height, width, i)).save(folder / f"{image_id}.png")

        def annotation(image_id):
            rows = np.array(objects[int(image_id)] if objects else [], float).reshape(-1, 6)
            return Annotation(
                image_size=sizes[int(image_id)],
                boxes=rows[:, 1:5].astype(np.float32),
                classes=rows[:, 0].astype(np.int64),
                difficult=rows[:, 5].astype(bool),
                truncated=np.zeros(len(rows), bool),
            )

        return ImageDatabase(name, ("cat", "dog", "cow"), ids, lambda i: folder / f"{i}.png", annotation)

    return make
